//! Sounds to send: silence, a tone, something like speech, given samples.

use std::f64::consts::TAU;
use std::sync::Arc;

use crate::random::SplitMix64;

/// The sampling rate of all sources.
const RATE: f64 = 8000.0;

/// What an audio session sends.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Source {
    /// Silence.
    Silence,
    /// A sine.
    Tone {
        /// Frequency in hertz, below 4000.
        hz: f64,
        /// RMS level relative to full scale; a sine cannot be above −3.01.
        dbfs: f64,
    },
    /// A synthetic signal with the rhythm, pitch and formants of speech; each seed another one.
    SpeechLike {
        /// Decides the whole signal.
        seed: u64,
    },
    /// Given samples at 8 kHz, then silence or from the beginning again.
    Samples {
        /// The samples.
        samples: Arc<[i16]>,
        /// Whether they start again.
        repeat: bool,
    },
    /// What was received.
    Echo,
}

/// A running source.
#[derive(Clone, Debug)]
pub(crate) enum Generator {
    Silence,
    Tone { step: f64, amplitude: f64, phase: f64 },
    SpeechLike(Box<SpeechLike>),
    Samples { samples: Arc<[i16]>, repeat: bool, position: usize },
    Echo,
}

impl Generator {
    pub(crate) fn new(source: &Source) -> Generator {
        match source {
            Source::Silence => Generator::Silence,
            Source::Tone { hz, dbfs } => {
                let amplitude = (32768.0 * 10f64.powf(dbfs / 20.0) * std::f64::consts::SQRT_2).min(32767.0);
                Generator::Tone { step: hz / RATE, amplitude, phase: 0.0 }
            }
            Source::SpeechLike { seed } => Generator::SpeechLike(Box::new(SpeechLike::new(*seed))),
            Source::Samples { samples, repeat } => {
                Generator::Samples { samples: Arc::clone(samples), repeat: *repeat, position: 0 }
            }
            Source::Echo => Generator::Echo,
        }
    }

    /// Fills `out`; `echo` is the last frame that was received.
    pub(crate) fn fill(&mut self, echo: &[i16], out: &mut [i16]) {
        match self {
            Generator::Silence => out.fill(0),
            Generator::Tone { step, amplitude, phase } => {
                for sample in out {
                    *sample = ((*phase * TAU).sin() * *amplitude).round() as i16;
                    *phase = (*phase + *step).fract();
                }
            }
            Generator::SpeechLike(speech) => speech.fill(out),
            Generator::Samples { samples, repeat, position } => {
                for sample in out {
                    if *repeat && *position >= samples.len() {
                        *position = 0;
                    }
                    *sample = samples.get(*position).copied().unwrap_or(0);
                    *position = position.saturating_add(1);
                }
            }
            Generator::Echo => {
                let count = echo.len().min(out.len());
                out[..count].copy_from_slice(&echo[..count]);
                out[count..].fill(0);
            }
        }
    }
}

/// Makes the first `count` samples of the speech-like signal of `seed`: the reference to look for in a recording.
pub fn speech_like(seed: u64, count: usize) -> Vec<i16> {
    let mut samples = vec![0; count];
    SpeechLike::new(seed).fill(&mut samples);
    samples
}

/// A second-order resonator: one formant.
#[derive(Clone, Copy, Debug, Default)]
struct Resonator {
    last: f64,
    before: f64,
}

impl Resonator {
    fn next(&mut self, input: f64, hz: f64, bandwidth: f64) -> f64 {
        let radius = (-std::f64::consts::PI * bandwidth / RATE).exp();
        let feedback = 2.0 * radius * (TAU * hz / RATE).cos();
        let output = (1.0 - radius) * input + feedback * self.last - radius * radius * self.before;
        self.before = self.last;
        self.last = output;
        output
    }
}

/// A train of pulses with gliding pitch through three moving formants, in syllables with pauses between them.
#[derive(Clone, Debug)]
pub(crate) struct SpeechLike {
    random: SplitMix64,
    formants: [Resonator; 3],
    position: usize,
    len: usize,
    voiced: usize,
    pitch: (f64, f64),
    from: [f64; 3],
    to: [f64; 3],
    phase: f64,
}

impl SpeechLike {
    fn new(seed: u64) -> SpeechLike {
        let mut speech = SpeechLike {
            random: SplitMix64::new(seed ^ 0x5eec_4a11),
            formants: [Resonator::default(); 3],
            position: 0,
            len: 0,
            voiced: 0,
            pitch: (120.0, 120.0),
            from: [500.0, 1500.0, 2500.0],
            to: [500.0, 1500.0, 2500.0],
            phase: 0.0,
        };
        speech.next_syllable();
        speech
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.random.next_unit() * (high - low)
    }

    fn next_syllable(&mut self) {
        self.position = 0;
        self.voiced = self.between(0.12, 0.25).mul_add(RATE, 0.0) as usize;
        let pause = if self.random.next_unit() < 0.2 { 0.2 } else { 0.04 };
        self.len = self.voiced + self.between(0.02, pause).mul_add(RATE, 0.0) as usize;
        self.pitch = (self.between(95.0, 210.0), self.between(90.0, 190.0));
        self.from = self.to;
        self.to = [self.between(280.0, 850.0), self.between(900.0, 2200.0), self.between(2300.0, 3100.0)];
    }

    fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            *sample = self.next_sample();
        }
    }

    fn next_sample(&mut self) -> i16 {
        if self.position >= self.len {
            self.next_syllable();
        }
        let progress = (self.position as f64 / self.voiced as f64).min(1.0);
        let is_voiced = self.position < self.voiced;
        let envelope = if is_voiced { (progress * std::f64::consts::PI).sin() } else { 0.0 };
        let pitch = self.pitch.0 + (self.pitch.1 - self.pitch.0) * progress;
        self.phase += pitch / RATE;
        let mut excitation = (self.random.next_unit() - 0.5) * 0.05;
        if self.phase >= 1.0 {
            self.phase -= 1.0;
            excitation += 8.0;
        }
        excitation *= envelope;
        let mut sum = 0.0;
        for (index, weight) in [1.0, 0.6, 0.35].into_iter().enumerate() {
            let hz = self.from[index] + (self.to[index] - self.from[index]) * progress;
            sum += weight * self.formants[index].next(excitation, hz, 60.0 + 40.0 * index as f64);
        }
        self.position += 1;
        (sum * 24_000.0).clamp(-30_000.0, 30_000.0) as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::level_dbfs;

    #[test]
    fn speech_like_signals_are_the_same_for_a_seed_and_loud_enough() {
        let first = speech_like(1, 40_000);
        assert_eq!(first, speech_like(1, 40_000));
        assert_ne!(first, speech_like(2, 40_000));
        let level = level_dbfs(&first);
        assert!((-32.0..-12.0).contains(&level), "{level}");
        let clipped = first.iter().filter(|sample| sample.unsigned_abs() >= 30_000).count();
        assert!(clipped < 40, "{clipped}");
        let silent = first.chunks(160).filter(|frame| level_dbfs(frame) < -45.0).count();
        assert!((10..150).contains(&silent), "syllables have pauses between them: {silent} of 250");
    }

    #[test]
    fn a_tone_has_its_level() {
        let mut out = [0; 8000];
        Generator::new(&Source::Tone { hz: 440.0, dbfs: -16.0 }).fill(&[], &mut out);
        assert!((level_dbfs(&out) + 16.0).abs() < 0.01);
    }

    #[test]
    fn given_samples_repeat_when_asked() {
        let samples: Arc<[i16]> = Arc::from([1, 2, 3]);
        let mut out = [9; 7];
        Generator::new(&Source::Samples { samples: Arc::clone(&samples), repeat: true }).fill(&[], &mut out);
        assert_eq!(out, [1, 2, 3, 1, 2, 3, 1]);
        Generator::new(&Source::Samples { samples, repeat: false }).fill(&[], &mut out);
        assert_eq!(out, [1, 2, 3, 0, 0, 0, 0]);
    }
}
