//! From packets to an even flow of samples: reordering, adaptive delay, decoding, concealment.
//!
//! ```text
//! packets -> JitterBuffer -> decode or conceal -> shorten or stretch by a pitch period -> frames of the sound card
//!                 ^ target delay from the spread of arrivals
//! ```

use dialtone_wire::time::Instant;

use crate::codecs::Codec;
use crate::concealment::{Concealer, similarity};
use crate::delay::DelayEstimator;
use crate::jitter_buffer::{Inserted, JitterBuffer};
use crate::rtp::timestamp_units;

/// The sampling rate that frames are played at.
const RATE: u32 = 8000;
/// The longest frame that one packet decodes to: 80 ms.
const FRAME_LEN_MAX: usize = 640;
/// Decoded samples that wait at most.
const READY_MAX: usize = 4 * FRAME_LEN_MAX;
/// The delay before anything is known of the stream, 20 ms; the next frame of the player adds up to as much.
const DELAY_INITIAL: u32 = 160;
/// The least delay, 20 ms: one frame of the player.
const DELAY_MIN: u32 = 160;
/// The most delay, 400 ms; later packets are lost.
const DELAY_MAX: u32 = 3200;
/// How far the delay may be below its target before it is raised, 10 ms.
const SHORTFALL_MAX: i32 = 80;
/// How far it may be above before it is lowered, 20 ms: the phase of the player's frames alone makes as much.
const EXCESS_MAX: i32 = 160;
/// A deviation that is corrected with each frame, 100 ms.
const FAR: u32 = 800;
/// Frames between two corrections.
const FRAMES_BETWEEN_CORRECTIONS: u32 = 3;
/// A jump of timestamps beyond this starts the stream anew, 2 s.
const JUMP: u32 = 16_000;
/// Without packets for this long the stream pauses, 200 ms.
const PAUSE: u32 = 1600;
/// Lags and overlap of a correction.
const CORRECTION_LAG_MIN: usize = 40;
const CORRECTION_LAG_MAX: usize = 120;
const CORRECTION_OVERLAP: usize = 80;

/// Counts of the player.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlayoutStats {
    /// Packets that were decoded and played.
    pub played: u64,
    /// Packets that came after their time.
    pub late: u64,
    /// Packets refused because the buffer was full or the payload too long.
    pub overflow: u64,
    /// Packets with a payload type that nobody decodes.
    pub undecodable: u64,
    /// Samples that were invented.
    pub concealed_samples: u64,
    /// Pitch periods taken out to lower the delay.
    pub shortened: u64,
    /// Pitch periods put in to raise the delay.
    pub stretched: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing to play.
    Idle,
    /// The first packet waits until its delay is over.
    Filling { start: Instant },
    /// The sample with this timestamp is decoded next; so many were invented instead of it already.
    Playing { next: u32, invented: u32 },
}

/// The player of one received stream.
#[derive(Clone, Debug)]
pub struct Playout {
    buffer: JitterBuffer,
    delay: DelayEstimator,
    concealer: Concealer,
    state: State,
    ready: Vec<i16>,
    frame_len: usize,
    since_correction: u32,
    delay_now: i32,
    stats: PlayoutStats,
}

impl Playout {
    /// A player without a stream.
    pub fn new() -> Playout {
        Playout {
            buffer: JitterBuffer::new(),
            delay: DelayEstimator::new(),
            concealer: Concealer::new(),
            state: State::Idle,
            ready: Vec::with_capacity(READY_MAX),
            frame_len: 160,
            since_correction: 0,
            delay_now: 0,
            stats: PlayoutStats::default(),
        }
    }

    /// The counters.
    pub fn stats(&self) -> PlayoutStats {
        self.stats
    }

    /// The delay from the arrival of the fastest packet to its playing, in milliseconds.
    pub fn delay_ms(&self) -> f64 {
        f64::from(self.delay_now.max(0)) * 1000.0 / f64::from(RATE)
    }

    /// The delay that the spread of arrivals asks for, in milliseconds.
    pub fn target_delay_ms(&self) -> f64 {
        f64::from(self.target()) * 1000.0 / f64::from(RATE)
    }

    fn target(&self) -> u32 {
        self.delay.target().clamp(DELAY_MIN, DELAY_MAX)
    }

    /// Puts in a packet that is no duplicate.
    pub fn insert(&mut self, now: Instant, timestamp: u32, payload_type: u8, payload: &[u8]) {
        if let State::Playing { next, .. } = self.state {
            let ahead = timestamp.wrapping_sub(next) as i32;
            if ahead.unsigned_abs() > JUMP {
                self.restart();
            } else {
                self.delay.update(timestamp_units(now, RATE), timestamp);
                if ahead < 0 {
                    self.stats.late += 1;
                    return;
                }
            }
        }
        if !matches!(self.state, State::Playing { .. }) {
            if self.buffer.distance_to_first(timestamp).is_some_and(|distance| distance.unsigned_abs() > JUMP)
            {
                self.buffer.clear();
            }
            if self.state == State::Idle {
                self.delay.resynchronize();
                let wait = if self.stats.played == 0 { DELAY_INITIAL } else { self.target() };
                let nanos = u64::from(wait) * 1_000_000_000 / u64::from(RATE);
                self.state = State::Filling { start: Instant::from_nanos(now.as_nanos() + nanos) };
            }
            self.delay.update(timestamp_units(now, RATE), timestamp);
        }
        match self.buffer.insert(timestamp, payload_type, payload) {
            Inserted::Kept | Inserted::Duplicate => {}
            Inserted::Full | Inserted::TooLong => self.stats.overflow += 1,
        }
    }

    /// Forgets the stream; the next packet starts another one.
    pub fn restart(&mut self) {
        self.buffer.clear();
        self.state = State::Idle;
    }

    /// Fills `out` with the next samples; `decoder` names the codec of a payload type. Returns whether anything but
    /// silence for want of a stream was played.
    pub fn play(&mut self, now: Instant, decoder: impl Fn(u8) -> Option<Codec>, out: &mut [i16]) -> bool {
        out.fill(0);
        if let State::Filling { start } = self.state {
            if now < start {
                return false;
            }
            self.begin();
        }
        if !matches!(self.state, State::Playing { .. }) {
            let rest = self.ready.len().min(out.len());
            out[..rest].copy_from_slice(&self.ready[..rest]);
            self.ready.drain(..rest);
            return rest > 0;
        }
        self.correct(now, &decoder);
        while self.ready.len() < out.len() {
            if !self.advance(&decoder) {
                break;
            }
        }
        let count = self.ready.len().min(out.len());
        out[..count].copy_from_slice(&self.ready[..count]);
        self.ready.drain(..count);
        true
    }

    fn begin(&mut self) {
        match self.buffer.distance_to_first(0) {
            Some(first) => self.state = State::Playing { next: first as u32, invented: 0 },
            None => self.state = State::Idle,
        }
        // Distances are signed: beside a wrap of the timestamps the first one may not be the smallest number.
        if let State::Playing { next, .. } = self.state
            && let Some(distance) = self.buffer.distance_to_first(next)
        {
            self.state = State::Playing { next: next.wrapping_add(distance as u32), invented: 0 };
        }
        self.since_correction = 0;
    }

    /// Makes more samples ready: decodes the next packet or invents its sound. False when the stream pauses.
    fn advance(&mut self, decoder: &impl Fn(u8) -> Option<Codec>) -> bool {
        let State::Playing { next, invented } = self.state else { return false };
        let mut frame = [0i16; FRAME_LEN_MAX];
        let taken = self.buffer.take(next, |payload_type, payload| {
            decoder(payload_type).map(|codec| codec.decode(payload, &mut frame))
        });
        match taken {
            Some(Some(count)) if count > 0 => {
                self.stats.played += 1;
                self.frame_len = count;
                self.concealer.good(&mut frame[..count]);
                self.push(&frame[..count]);
                self.state = State::Playing { next: next.wrapping_add(count as u32), invented: 0 };
                true
            }
            // What cannot be decoded is a gap.
            Some(_) => {
                self.stats.undecodable += 1;
                self.conceal(self.frame_len);
                let next = next.wrapping_add(self.frame_len as u32);
                self.state = State::Playing { next, invented: 0 };
                true
            }
            None => self.bridge(next, invented),
        }
    }

    /// The packet at `next` isn't there.
    fn bridge(&mut self, next: u32, invented: u32) -> bool {
        self.stats.late += self.buffer.discard_before(next) as u64;
        match self.buffer.distance_to_first(next) {
            // A later packet is there: this one is lost. What was invented while waiting stands for it.
            Some(distance) if distance as u32 <= invented => {
                let next = next.wrapping_add(distance as u32);
                self.state = State::Playing { next, invented: 0 };
            }
            Some(distance) => {
                let missing = distance as u32 - invented;
                let count = missing.min(self.frame_len as u32);
                self.conceal(count as usize);
                self.state = State::Playing { next, invented: invented + count };
            }
            // Nothing is there: the stream is late or over.
            None if invented >= PAUSE => {
                self.state = State::Idle;
                return false;
            }
            None => {
                let count = self.frame_len.min(160);
                self.conceal(count);
                self.state = State::Playing { next, invented: invented + count as u32 };
            }
        }
        true
    }

    fn conceal(&mut self, count: usize) {
        let mut frame = [0i16; FRAME_LEN_MAX];
        let count = count.min(FRAME_LEN_MAX);
        self.concealer.conceal(&mut frame[..count]);
        self.stats.concealed_samples += count as u64;
        self.push(&frame[..count]);
    }

    fn push(&mut self, samples: &[i16]) {
        let room = READY_MAX.saturating_sub(self.ready.len());
        self.ready.extend_from_slice(&samples[..samples.len().min(room)]);
    }

    /// Brings the delay nearer to its target by a pitch period, now and then.
    fn correct(&mut self, now: Instant, decoder: &impl Fn(u8) -> Option<Codec>) {
        let State::Playing { next, invented } = self.state else { return };
        let playing = next.wrapping_sub(self.ready.len() as u32).wrapping_add(invented);
        self.delay_now = self.delay.delay_of(timestamp_units(now, RATE), playing);
        self.since_correction += 1;
        let excess = self.delay_now.saturating_sub(self.target() as i32);
        if excess > DELAY_MAX as i32 {
            self.skip(next, excess);
            return;
        }
        if (-SHORTFALL_MAX..=EXCESS_MAX).contains(&excess)
            || invented > 0
            || self.since_correction < FRAMES_BETWEEN_CORRECTIONS && excess.unsigned_abs() <= FAR
        {
            return;
        }
        // The search needs two pitch periods of true sound.
        let needed = CORRECTION_LAG_MAX + CORRECTION_OVERLAP;
        while self.ready.len() < needed {
            let is_there = matches!(self.state, State::Playing { next, .. }
                if self.buffer.distance_to_first(next) == Some(0));
            if !is_there || !self.advance(decoder) {
                return;
            }
        }
        self.since_correction = 0;
        if excess > 0 {
            self.shorten();
        } else {
            self.stretch();
        }
    }

    /// Leaves out sound that is far too late, in whole packets.
    fn skip(&mut self, next: u32, excess: i32) {
        let frames = excess.unsigned_abs() / self.frame_len as u32;
        let next = next.wrapping_add(frames.wrapping_mul(self.frame_len as u32));
        self.stats.late += self.buffer.discard_before(next) as u64;
        self.ready.clear();
        self.state = State::Playing { next, invented: 0 };
    }

    /// The lag at which the ready samples resemble their own beginning most.
    fn best_lag(&self) -> usize {
        let head = &self.ready[..CORRECTION_OVERLAP];
        let mut best = (f32::MIN, CORRECTION_LAG_MIN);
        for lag in CORRECTION_LAG_MIN..=CORRECTION_LAG_MAX {
            let score = similarity(head, &self.ready[lag..lag + CORRECTION_OVERLAP]);
            if score > best.0 {
                best = (score, lag);
            }
        }
        best.1
    }

    /// Takes one period out: the beginning fades into what stands one period later.
    fn shorten(&mut self) {
        let lag = self.best_lag();
        for index in 0..CORRECTION_OVERLAP {
            let weight = (index + 1) as f32 / (CORRECTION_OVERLAP + 1) as f32;
            let (from, to) = (f32::from(self.ready[index]), f32::from(self.ready[lag + index]));
            self.ready[lag + index] = (from * (1.0 - weight) + to * weight) as i16;
        }
        self.ready.drain(..lag);
        self.stats.shortened += 1;
    }

    /// Puts one period in: after the first period the sound goes back to its beginning.
    fn stretch(&mut self) {
        let lag = self.best_lag();
        let before = self.ready.len();
        if before + lag > READY_MAX {
            return;
        }
        self.ready.resize(before + lag, 0);
        self.ready.copy_within(..before, lag);
        // Samples lag.. are the old ones from their beginning; they fade in over what followed the first period.
        // The copy left the first `lag` samples as they were, so the joint at `lag` needs the blend.
        for index in 0..CORRECTION_OVERLAP {
            let weight = (index + 1) as f32 / (CORRECTION_OVERLAP + 1) as f32;
            let to = f32::from(self.ready[lag + index]);
            let from = match lag + index + lag < self.ready.len() {
                true => f32::from(self.ready[lag + index + lag]),
                false => to,
            };
            self.ready[lag + index] = (from * (1.0 - weight) + to * weight) as i16;
        }
        self.stats.stretched += 1;
    }
}

impl Default for Playout {
    fn default() -> Playout {
        Playout::new()
    }
}
