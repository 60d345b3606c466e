//! The audio of one call leg: source, codec, RTP, jitter buffer, meter, recording.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dialtone_wire::rtp::RtpPacket;
use dialtone_wire::time::Instant;

use crate::codecs::Codec;
use crate::jitter_buffer::PAYLOAD_LEN_MAX;
use crate::meter::{Level, ToneMeter};
use crate::playout::Playout;
use crate::report::{DirectionReport, Loss, Report};
use crate::rtp::{Arrival, RtpSession, RtpSessionSettings};
use crate::signal::{Generator, Source};

/// The longest packet time, in milliseconds.
pub const PTIME_MS_MAX: u32 = 60;
/// Samples in the longest frame.
const FRAME_LEN_MAX: usize = 480;
/// Samples of another session that wait to be sent with ours: 100 ms, so that what is late is left out.
const MIX_LEN_MAX: usize = 800;
/// How far the caller may be behind before frames are left out instead of sent in a burst.
const BEHIND_MAX: Duration = Duration::from_millis(200);

/// The direction of the audio as SDP tells it (RFC 8866 §6.7), seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// We send only.
    SendOnly,
    /// We receive only.
    RecvOnly,
    /// Nothing flows; RTCP goes on (RFC 3264 §5.1).
    Inactive,
}

impl Direction {
    /// Whether we send RTP.
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether we take RTP.
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }
}

/// Whose packets are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Accept {
    /// Those from the signalled address and port only.
    Exact,
    /// Those from the signalled host, whatever the port: a peer may send from another port than it receives on.
    #[default]
    SameHost,
    /// Anybody's.
    Anyone,
}

/// How an audio session begins.
#[derive(Clone, Debug)]
pub struct AudioSettings {
    /// Decides SSRC, first sequence number and the like; unpredictable in production.
    pub seed: u64,
    /// The CNAME (RFC 3550 §6.5.1).
    pub cname: String,
    /// The codec to send with.
    pub codec: Codec,
    /// The payload type to send with.
    pub payload_type: u8,
    /// Payload types to receive, beside the static ones of RFC 3551.
    pub receive: Vec<(u8, Codec)>,
    /// Milliseconds in a packet that we send, 10 to [`PTIME_MS_MAX`] in steps of 10.
    pub ptime_ms: u32,
    /// Where RTP goes; nothing is sent without.
    pub remote: Option<SocketAddr>,
    /// Where RTCP goes; by default the port after that of RTP (RFC 3550 §11).
    pub remote_rtcp: Option<SocketAddr>,
    /// Whose packets are taken.
    pub accept: Accept,
    /// Which way audio flows.
    pub direction: Direction,
    /// What is sent.
    pub source: Source,
    /// Samples of received audio that are recorded at most; 0 for no recording. Reserved at once.
    pub record_samples_max: usize,
    /// Whether the tone in both directions is looked for, which costs some microseconds a packet.
    pub measure_tone: bool,
    /// NTP timestamp of [`Instant::START`], see [`RtpSessionSettings::ntp_at_start`].
    pub ntp_at_start: u64,
}

impl AudioSettings {
    /// Settings for a codec with a static payload type: 20 ms, both ways, silence, no peer yet.
    pub fn new(seed: u64, cname: impl Into<String>, codec: Codec) -> AudioSettings {
        AudioSettings {
            seed,
            cname: cname.into(),
            codec,
            payload_type: codec.static_payload_type().unwrap_or(96),
            receive: Vec::new(),
            ptime_ms: 20,
            remote: None,
            remote_rtcp: None,
            accept: Accept::default(),
            direction: Direction::default(),
            source: Source::Silence,
            record_samples_max: 0,
            measure_tone: false,
            ntp_at_start: 0,
        }
    }
}

/// Where a packet written by [`AudioSession::poll_transmit`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Whether it is RTCP, to be sent from the RTCP socket.
    pub is_rtcp: bool,
    /// The destination.
    pub remote: SocketAddr,
}

/// A packet of a source in probation, kept until the next one proves it.
#[derive(Clone, Debug, Default)]
struct Held {
    key: Option<(u32, u16)>,
    arrived: Instant,
    timestamp: u32,
    payload_type: u8,
    payload: Vec<u8>,
}

/// The audio of one call leg.
///
/// One thread drives as many as it likes: [`AudioSession::handle_packet`] with what arrives;
/// [`AudioSession::handle_timeout`] at the time of [`AudioSession::poll_timeout`]; after either,
/// [`AudioSession::poll_transmit`] until it gives `None`.
#[derive(Debug)]
pub struct AudioSession {
    now: Instant,
    rtp: RtpSession,
    playout: Playout,
    codec: Codec,
    payload_type: u8,
    receive: Vec<(u8, Codec)>,
    ptime: Duration,
    remote: Option<SocketAddr>,
    remote_rtcp: Option<SocketAddr>,
    accept: Accept,
    direction: Direction,
    generator: Generator,
    /// What is heard in other sessions of the conversation and is sent with ours.
    mixed: Vec<(u32, VecDeque<i16>)>,
    /// Whether a frame was played that nobody has taken.
    has_played: bool,
    next_tick: Option<Instant>,
    timestamp: u32,
    /// The next packet starts a talkspurt: marker bit (RFC 3551 §4.1).
    marker: bool,
    current: Option<u32>,
    held: Held,
    payload: Vec<u8>,
    packet: Vec<u8>,
    played: [i16; FRAME_LEN_MAX],
    recording: Vec<i16>,
    record_samples_max: usize,
    sent_level: Level,
    heard_level: Level,
    /// The same since they were last taken.
    sent_lately: Level,
    heard_lately: Level,
    sent_tone: Option<ToneMeter>,
    heard_tone: Option<ToneMeter>,
    strangers: u64,
    unwanted: u64,
    unknown_payload: u64,
    skipped_frames: u64,
}

impl AudioSession {
    /// Begins a session; the first packet is due at `now`.
    pub fn new(now: Instant, settings: AudioSettings) -> AudioSession {
        let mut rtp_settings = RtpSessionSettings::new(settings.seed, settings.cname);
        rtp_settings.clock_rate = settings.codec.clock_rate();
        rtp_settings.ntp_at_start = settings.ntp_at_start;
        let rtp = RtpSession::new(now, rtp_settings);
        let ptime_ms = settings.ptime_ms.clamp(10, PTIME_MS_MAX) / 10 * 10;
        let meter = || settings.measure_tone.then(ToneMeter::new);
        AudioSession {
            now,
            timestamp: rtp.first_timestamp(),
            rtp,
            playout: Playout::new(),
            codec: settings.codec,
            payload_type: settings.payload_type,
            receive: settings.receive,
            ptime: Duration::from_millis(u64::from(ptime_ms)),
            remote: settings.remote,
            remote_rtcp: settings.remote_rtcp.or(settings.remote.map(next_port)),
            accept: settings.accept,
            direction: settings.direction,
            generator: Generator::new(&settings.source),
            mixed: Vec::new(),
            has_played: false,
            next_tick: Some(now),
            marker: true,
            current: None,
            held: Held { payload: Vec::with_capacity(PAYLOAD_LEN_MAX), ..Held::default() },
            payload: Vec::with_capacity(PAYLOAD_LEN_MAX),
            packet: Vec::with_capacity(PAYLOAD_LEN_MAX + 12),
            played: [0; FRAME_LEN_MAX],
            recording: Vec::with_capacity(settings.record_samples_max),
            record_samples_max: settings.record_samples_max,
            sent_level: Level::default(),
            heard_level: Level::default(),
            sent_lately: Level::default(),
            heard_lately: Level::default(),
            sent_tone: meter(),
            heard_tone: meter(),
            strangers: 0,
            unwanted: 0,
            unknown_payload: 0,
            skipped_frames: 0,
        }
    }

    /// Takes in a datagram that arrived from `remote` on the RTP or the RTCP socket. What is wrong with it is counted
    /// in the [`Report`].
    pub fn handle_packet(&mut self, now: Instant, is_rtcp: bool, remote: SocketAddr, datagram: &[u8]) {
        self.now = self.now.max(now);
        let expected = if is_rtcp { self.remote_rtcp } else { self.remote };
        if !self.is_accepted(expected, remote) {
            self.strangers += 1;
            return;
        }
        if is_rtcp {
            // What is invalid is counted by the session.
            let _ = self.rtp.handle_rtcp(now, remote, datagram);
        } else {
            self.handle_rtp(now, remote, datagram);
        }
    }

    fn is_accepted(&self, expected: Option<SocketAddr>, remote: SocketAddr) -> bool {
        match (self.accept, expected) {
            (Accept::Anyone, _) => true,
            (_, None) => false,
            (Accept::Exact, Some(expected)) => {
                same_host(expected, remote) && expected.port() == remote.port()
            }
            (Accept::SameHost, Some(expected)) => same_host(expected, remote),
        }
    }

    fn handle_rtp(&mut self, now: Instant, remote: SocketAddr, datagram: &[u8]) {
        let Ok((arrival, packet)) = self.rtp.handle_rtp(now, remote, datagram) else { return };
        let header = packet.header;
        match arrival {
            Arrival::Duplicate => {}
            Arrival::Probation => self.hold(now, &packet),
            Arrival::Started { .. } => {
                self.playout.restart();
                self.current = Some(header.ssrc);
                if self.held.key.take() == Some((header.ssrc, header.sequence_number.wrapping_sub(1))) {
                    let held = std::mem::take(&mut self.held);
                    self.play_later(held.arrived, held.timestamp, held.payload_type, &held.payload);
                    self.held = held;
                }
                self.play_later(now, header.timestamp, header.payload_type, packet.payload);
            }
            Arrival::InStream { .. } => {
                // One stream is played; others are counted by the session and heard when they start.
                if self.current == Some(header.ssrc) {
                    self.play_later(now, header.timestamp, header.payload_type, packet.payload);
                }
            }
        }
    }

    fn hold(&mut self, now: Instant, packet: &RtpPacket<'_>) {
        self.held.payload.clear();
        self.held.key = None;
        if packet.payload.len() <= PAYLOAD_LEN_MAX {
            self.held.key = Some((packet.header.ssrc, packet.header.sequence_number));
            self.held.arrived = now;
            self.held.timestamp = packet.header.timestamp;
            self.held.payload_type = packet.header.payload_type;
            self.held.payload.extend_from_slice(packet.payload);
        }
    }

    fn play_later(&mut self, arrived: Instant, timestamp: u32, payload_type: u8, payload: &[u8]) {
        // What comes after a hold is part of the stream, so it isn't lost; but it is not to be heard.
        if !self.direction.receives() {
            self.unwanted += 1;
            return;
        }
        match decoder(&self.receive, payload_type) {
            Some(_) => self.playout.insert(arrived, timestamp, payload_type, payload),
            None => self.unknown_payload += 1,
        }
    }

    /// Sends and plays one frame when it is due, and runs RTCP. Call it again while [`AudioSession::poll_timeout`]
    /// tells a time that has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.rtp.handle_timeout(now);
        let Some(mut tick) = self.next_tick else { return };
        if tick > now {
            return;
        }
        if now.since(tick) > BEHIND_MAX {
            let frames = now.since(tick).as_nanos() / self.ptime.as_nanos();
            self.skipped_frames += frames as u64;
            self.timestamp =
                self.timestamp.wrapping_add((frames as u32).wrapping_mul(self.frame_len() as u32));
            tick = tick + self.ptime.saturating_mul(frames as u32);
            self.marker = true;
        }
        self.next_tick = Some(tick + self.ptime);
        self.play(tick);
        self.send(now);
    }

    fn frame_len(&self) -> usize {
        self.codec.samples_per_packet(self.ptime.as_millis() as u32).min(FRAME_LEN_MAX)
    }

    fn play(&mut self, tick: Instant) {
        let len = self.frame_len();
        let (receive, frame) = (&self.receive, &mut self.played[..len]);
        if !self.playout.play(tick, |payload_type| decoder(receive, payload_type), frame) {
            return;
        }
        self.has_played = true;
        self.heard_level.add(frame);
        self.heard_lately.add(frame);
        if let Some(meter) = &mut self.heard_tone {
            meter.add(frame);
        }
        let room = self.record_samples_max.saturating_sub(self.recording.len());
        self.recording.extend_from_slice(&frame[..len.min(room)]);
    }

    fn send(&mut self, now: Instant) {
        let len = self.frame_len();
        let timestamp = self.timestamp;
        // Timestamps go on while nothing is sent: they are time (RFC 3550 §5.1).
        self.timestamp = timestamp.wrapping_add(len as u32);
        if !self.direction.sends() || self.remote.is_none() {
            self.marker = true;
            return;
        }
        let mut frame = [0i16; FRAME_LEN_MAX];
        let frame = &mut frame[..len];
        self.generator.fill(&self.played[..len], frame);
        for (_, queue) in &mut self.mixed {
            let count = queue.len().min(len);
            for (sample, other) in frame.iter_mut().zip(queue.drain(..count)) {
                *sample = sample.saturating_add(other);
            }
        }
        self.sent_level.add(frame);
        self.sent_lately.add(frame);
        if let Some(meter) = &mut self.sent_tone {
            meter.add(frame);
        }
        self.payload.clear();
        self.codec.encode(frame, &mut self.payload);
        self.packet.clear();
        let marker = std::mem::replace(&mut self.marker, false);
        let written =
            self.rtp.write_rtp(now, self.payload_type, marker, timestamp, &self.payload, &mut self.packet);
        if written.is_err() {
            self.packet.clear();
        }
    }

    /// The next point at which [`AudioSession::handle_timeout`] has something to do, and which timer it is.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let tick = self.next_tick.map(|tick| (tick, "audio_frame"));
        match (tick, self.rtp.poll_timeout()) {
            (Some(tick), Some(rtcp)) => Some(if rtcp.0 < tick.0 { rtcp } else { tick }),
            (tick, rtcp) => tick.or(rtcp),
        }
    }

    /// Writes the next packet to be sent into `out`, whose content is replaced. Call it until it gives `None`, after
    /// each call of another method with `now`.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<Outgoing> {
        out.clear();
        if !self.packet.is_empty() {
            out.extend_from_slice(&self.packet);
            self.packet.clear();
            if let Some(remote) = self.remote {
                return Some(Outgoing { is_rtcp: false, remote });
            }
        }
        let remote = self.remote_rtcp?;
        self.rtp.poll_transmit(self.now, out).then_some(Outgoing { is_rtcp: true, remote })
    }

    /// Moves the peer, as a new answer or offer tells; `remote_rtcp` defaults to the next port. The stream goes on.
    pub fn set_remote(&mut self, remote: SocketAddr, remote_rtcp: Option<SocketAddr>) {
        self.remote = Some(remote);
        self.remote_rtcp = Some(remote_rtcp.unwrap_or(next_port(remote)));
    }

    /// Changes what we send with; the stream and its clock go on. Codecs of another clock rate need a new session.
    pub fn set_codec(&mut self, codec: Codec, payload_type: u8) {
        self.codec = codec;
        self.payload_type = payload_type;
    }

    /// Changes the payload types that are received, beside the static ones.
    pub fn set_receive(&mut self, receive: Vec<(u8, Codec)>) {
        self.receive = receive;
    }

    /// Changes the direction: hold and resume.
    pub fn set_direction(&mut self, direction: Direction) {
        self.direction = direction;
        if direction != Direction::SendRecv {
            self.unmix(None);
        }
    }

    /// The present direction.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Takes in what is heard in another session of the same conversation: it is sent with what we send. What comes
    /// faster than it is sent is left out, the oldest first. Who is on hold hears nothing of it.
    pub fn mix_in(&mut self, from: u32, samples: &[i16]) {
        if self.direction != Direction::SendRecv || self.remote.is_none() {
            return;
        }
        let queue = match self.mixed.iter_mut().position(|(own, _)| *own == from) {
            Some(place) => &mut self.mixed[place].1,
            None => {
                self.mixed.push((from, VecDeque::with_capacity(MIX_LEN_MAX)));
                let Some((_, queue)) = self.mixed.last_mut() else { return };
                queue
            }
        };
        let samples = &samples[samples.len().saturating_sub(MIX_LEN_MAX)..];
        let over = (queue.len() + samples.len()).saturating_sub(MIX_LEN_MAX);
        queue.drain(..over);
        queue.extend(samples);
    }

    /// Nothing of other sessions is sent any more, or nothing of this one.
    pub fn unmix(&mut self, from: Option<u32>) {
        self.mixed.retain(|(own, _)| from.is_some_and(|from| from != *own));
    }

    /// The frame that was played since this was asked last, if there was one.
    pub fn take_played(&mut self) -> Option<&[i16]> {
        let is_new = std::mem::replace(&mut self.has_played, false);
        is_new.then(|| self.last_played())
    }

    /// Changes what is sent.
    pub fn set_source(&mut self, source: &Source) {
        self.generator = Generator::new(source);
    }

    /// The frame that was played last, for a loudspeaker.
    pub fn last_played(&self) -> &[i16] {
        &self.played[..self.frame_len()]
    }

    /// What was recorded so far: all that was played from the first packet on, pauses of the stream left out.
    pub fn recording(&self) -> &[i16] {
        &self.recording
    }

    /// Takes the recording out; recording goes on into an empty one.
    pub fn take_recording(&mut self) -> Vec<i16> {
        std::mem::take(&mut self.recording)
    }

    /// The levels in dBFS of what was sent and of what was played since the last call of this: for the needle of a meter,
    /// which wants some 100 ms. [`SILENCE_DBFS`](crate::meter::SILENCE_DBFS) where nothing was.
    pub fn take_levels(&mut self) -> (f64, f64) {
        (std::mem::take(&mut self.sent_lately).dbfs(), std::mem::take(&mut self.heard_lately).dbfs())
    }

    /// Ends the session: no more frames; a BYE is due (RFC 3550 §6.3.7).
    pub fn close(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.next_tick = None;
        self.packet.clear();
        self.rtp.leave(now);
    }

    /// Whether the session is closed and its BYE is out.
    pub fn is_closed(&self) -> bool {
        self.rtp.is_gone()
    }

    /// The RTP session, for what tests need.
    pub fn rtp_mut(&mut self) -> &mut RtpSession {
        &mut self.rtp
    }

    /// Shifts our media time, as a peer that is replaced by another one would.
    #[cfg(test)]
    pub(crate) fn jump_timestamp(&mut self, by: u32) {
        self.timestamp = self.timestamp.wrapping_add(by);
    }

    /// What the audio was like so far.
    pub fn report(&self) -> Report {
        let stats = self.rtp.stats();
        let playout = self.playout.stats();
        let lost = stats.expected.saturating_sub(stats.received_unique);
        let received_loss = (stats.expected > 0)
            .then(|| Loss { packets: lost as i64, fraction: lost as f64 / stats.expected as f64 });
        let sent_loss = stats.remote_view.map(|view| Loss {
            packets: i64::from(view.cumulative_lost),
            fraction: (f64::from(view.cumulative_lost) / stats.sent.packets.max(1) as f64).clamp(0.0, 1.0),
        });
        Report {
            codec: self.codec,
            ssrc: self.rtp.ssrc(),
            remote_ssrc: stats.remote_ssrc,
            sent: DirectionReport {
                packets: stats.sent.packets,
                octets: stats.sent.octets,
                loss: sent_loss,
                jitter_ms: stats.remote_view.map(|view| view.jitter_ms),
                level_dbfs: self.sent_level.dbfs(),
                tone: self.sent_tone.as_ref().and_then(ToneMeter::tone),
                first: stats.sent.first,
                last: stats.sent.last,
            },
            received: DirectionReport {
                packets: stats.received_unique,
                octets: stats.received.octets,
                loss: received_loss,
                jitter_ms: stats.remote_ssrc.map(|_| stats.jitter_ms),
                level_dbfs: self.heard_level.dbfs(),
                tone: self.heard_tone.as_ref().and_then(ToneMeter::tone),
                first: stats.received.first,
                last: stats.received.last,
            },
            round_trip: stats.round_trip,
            delay_ms: self.playout.delay_ms(),
            duplicates: stats.duplicates,
            late: playout.late,
            concealed_ms: playout.concealed_samples as f64 / 8.0,
            unknown_payload: self.unknown_payload + playout.undecodable,
            strangers: self.strangers,
            rejected: stats.rejected,
            unwanted: self.unwanted,
            collisions: stats.collisions,
            loops: stats.loops,
            skipped_frames: self.skipped_frames,
            rtcp_sent: stats.rtcp_sent,
            rtcp_received: stats.rtcp_received,
            remote_left: stats.remote_left,
        }
    }
}

/// The codec of a received payload type.
fn decoder(receive: &[(u8, Codec)], payload_type: u8) -> Option<Codec> {
    let mapped = receive.iter().find(|(number, _)| *number == payload_type).map(|(_, codec)| *codec);
    mapped.or_else(|| Codec::from_static_payload_type(payload_type))
}

/// RTCP's port beside RTP's (RFC 3550 §11).
fn next_port(rtp: SocketAddr) -> SocketAddr {
    SocketAddr::new(rtp.ip(), rtp.port().saturating_add(1))
}

/// Whether two addresses are of one host; an IPv4 address mapped into IPv6 is that address.
fn same_host(left: SocketAddr, right: SocketAddr) -> bool {
    let plain = |address: SocketAddr| -> IpAddr { address.ip().to_canonical() };
    plain(left) == plain(right)
}
