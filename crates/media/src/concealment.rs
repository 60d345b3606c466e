//! Concealment of lost samples in the manner of G.711 Appendix I: the last pitch period is repeated, with more periods
//! as the gap grows, and fades to silence.

/// Samples of the past that are kept: 48.75 ms at 8 kHz, three of the longest periods and what the search needs.
const HISTORY_LEN: usize = 390;
/// The shortest pitch period, 5 ms: 200 Hz.
const PITCH_MIN: usize = 40;
/// The longest pitch period, 15 ms: 66 Hz.
const PITCH_MAX: usize = 120;
/// Samples that are compared in the pitch search, 20 ms.
const CORRELATION_LEN: usize = 160;
/// Ten milliseconds: the step in which the repetition changes and fades.
const STEP: usize = 80;
/// After this many samples of concealment there is silence, 60 ms.
const FADED: usize = 6 * STEP;

/// Keeps the recent past of a stream and invents what is missing.
#[derive(Clone, Debug)]
pub(crate) struct Concealer {
    history: [i16; HISTORY_LEN],
    /// The past as it was when the gap began: what is invented is no source for more of it.
    source: [i16; HISTORY_LEN],
    /// The synthetic cycle, three pitch periods at most.
    cycle: [f32; 3 * PITCH_MAX],
    pitch: usize,
    periods: usize,
    position: usize,
    /// Samples invented since the last good one.
    concealed: usize,
}

impl Concealer {
    /// A concealer whose past is silence.
    pub(crate) fn new() -> Concealer {
        Concealer {
            history: [0; HISTORY_LEN],
            source: [0; HISTORY_LEN],
            cycle: [0.0; 3 * PITCH_MAX],
            pitch: PITCH_MIN,
            periods: 1,
            position: 0,
            concealed: 0,
        }
    }

    /// Takes in good samples; the first of them after a gap are blended with the end of the concealment.
    pub(crate) fn good(&mut self, samples: &mut [i16]) {
        if self.concealed > 0 {
            // Appendix I: a quarter of the pitch, and 4 ms more for each further 10 ms of the gap, at most 10 ms.
            let more = (self.concealed / STEP) * 32;
            let overlap = (self.pitch / 4 + more).min(STEP).min(samples.len());
            for (index, sample) in samples[..overlap].iter_mut().enumerate() {
                let weight = (index + 1) as f32 / (overlap + 1) as f32;
                let invented = self.next_invented();
                *sample = (invented * (1.0 - weight) + f32::from(*sample) * weight) as i16;
            }
            self.concealed = 0;
        }
        self.remember(samples);
    }

    /// Fills `samples` with invented sound.
    pub(crate) fn conceal(&mut self, samples: &mut [i16]) {
        if self.concealed == 0 {
            self.source = self.history;
            self.pitch = find_pitch(&self.source);
            self.periods = 1;
            self.position = 0;
            self.build_cycle();
        }
        for sample in samples.iter_mut() {
            *sample = self.next_invented() as i16;
        }
        self.remember(samples);
    }

    fn remember(&mut self, samples: &[i16]) {
        let keep = HISTORY_LEN.saturating_sub(samples.len());
        self.history.copy_within(HISTORY_LEN - keep.., 0);
        let tail = &samples[samples.len() - (HISTORY_LEN - keep)..];
        self.history[keep..].copy_from_slice(tail);
    }

    fn next_invented(&mut self) -> f32 {
        if self.concealed >= FADED {
            return 0.0;
        }
        if (self.concealed == STEP || self.concealed == 2 * STEP) && self.periods < 3 {
            self.periods += 1;
            // Keep the phase within the period.
            self.position %= self.pitch;
            self.build_cycle();
        }
        let sample = self.cycle[self.position] * gain(self.concealed);
        self.position = (self.position + 1) % (self.pitch * self.periods);
        self.concealed += 1;
        sample
    }

    /// Copies the last periods; the end is blended into what came before their beginning, so that it wraps smoothly.
    fn build_cycle(&mut self) {
        let len = self.pitch * self.periods;
        let start = HISTORY_LEN - len;
        for (target, sample) in self.cycle[..len].iter_mut().zip(&self.source[start..]) {
            *target = f32::from(*sample);
        }
        let overlap = (self.pitch / 4).min(start);
        for index in 0..overlap {
            let weight = (index + 1) as f32 / (overlap + 1) as f32;
            let before = f32::from(self.source[start - overlap + index]);
            let at = len - overlap + index;
            self.cycle[at] = self.cycle[at] * (1.0 - weight) + before * weight;
        }
    }
}

impl Default for Concealer {
    fn default() -> Concealer {
        Concealer::new()
    }
}

/// Full for 10 ms, then down by a fifth each 10 ms, zero at 60 ms.
fn gain(concealed: usize) -> f32 {
    match concealed.checked_sub(STEP) {
        None => 1.0,
        Some(beyond) => (1.0 - beyond as f32 / (FADED - STEP) as f32).max(0.0),
    }
}

/// The lag of the best normalized correlation of the last 20 ms.
fn find_pitch(history: &[i16; HISTORY_LEN]) -> usize {
    let now = &history[HISTORY_LEN - CORRELATION_LEN..];
    let mut best = (f32::MIN, PITCH_MIN);
    for lag in PITCH_MIN..=PITCH_MAX {
        let before = &history[HISTORY_LEN - CORRELATION_LEN - lag..HISTORY_LEN - lag];
        let score = similarity(now, before);
        if score > best.0 {
            best = (score, lag);
        }
    }
    best.1
}

/// Normalized correlation, -1 to 1.
pub(crate) fn similarity(left: &[i16], right: &[i16]) -> f32 {
    let (mut product, mut left_energy, mut right_energy) = (0.0f32, 1.0f32, 1.0f32);
    for (left, right) in left.iter().zip(right) {
        let (left, right) = (f32::from(*left), f32::from(*right));
        product += left * right;
        left_energy += left * left;
        right_energy += right * right;
    }
    product / (left_energy * right_energy).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, range: std::ops::Range<usize>) -> Vec<i16> {
        range.map(|n| (10000.0 * (n as f64 * hz * std::f64::consts::TAU / 8000.0).sin()) as i16).collect()
    }

    #[test]
    fn a_lost_frame_of_a_tone_sounds_like_the_tone() {
        for hz in [100.0, 440.0, 1000.0] {
            let mut concealer = Concealer::new();
            concealer.good(&mut tone(hz, 0..480));
            let mut invented = [0; 160];
            concealer.conceal(&mut invented);
            let likeness = similarity(&invented, &tone(hz, 480..640));
            assert!(likeness > 0.95, "{hz} Hz: {likeness}");
        }
    }

    #[test]
    fn a_long_gap_fades_to_silence_within_60_ms() {
        let mut concealer = Concealer::new();
        concealer.good(&mut tone(440.0, 0..480));
        let mut invented = [0; 640];
        concealer.conceal(&mut invented);
        assert!(invented[..80].iter().any(|sample| *sample > 9000));
        assert!(invented[400..480].iter().all(|sample| sample.abs() < 2500));
        assert!(invented[480..].iter().all(|sample| *sample == 0));
    }

    #[test]
    fn the_way_back_has_no_click() {
        let mut concealer = Concealer::new();
        concealer.good(&mut tone(400.0, 0..480));
        let mut heard = vec![0; 240];
        concealer.conceal(&mut heard);
        let mut after = tone(400.0, 720..880);
        concealer.good(&mut after);
        heard.extend(after);
        let steepest = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs()).max().unwrap();
        assert!(steepest < 4500, "{steepest}: a tone of 400 Hz rises by at most 3140 a sample");
    }

    #[test]
    fn silence_is_concealed_by_silence() {
        let mut concealer = Concealer::new();
        let mut invented = [7; 160];
        concealer.conceal(&mut invented);
        assert_eq!(invented, [0; 160]);
    }
}
