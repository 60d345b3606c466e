//! Ringback: what a caller hears while the far end rings.

use std::f64::consts::{SQRT_2, TAU};

/// The sampling rate.
const RATE: usize = 8000;
/// Samples in a millisecond.
const PER_MS: usize = RATE / 1000;
/// RMS level of the tone relative to full scale.
const DBFS: f64 = -19.0;

/// The ringback of some countries, as ITU-T E.180 lists it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ringback {
    /// 425 Hz, 1 s on and 4 s off: Germany and most of Europe.
    #[default]
    Europe,
    /// 440 and 480 Hz, 2 s on and 4 s off: the United States and Canada.
    NorthAmerica,
    /// 400 and 450 Hz, twice 0.4 s with 0.2 s between and 2 s after: the United Kingdom.
    Britain,
}

impl Ringback {
    /// Its frequencies in hertz.
    const fn tones(self) -> &'static [f64] {
        match self {
            Ringback::Europe => &[425.0],
            Ringback::NorthAmerica => &[440.0, 480.0],
            Ringback::Britain => &[400.0, 450.0],
        }
    }

    /// Milliseconds on and off in turn; then it begins anew.
    const fn cadence(self) -> &'static [usize] {
        match self {
            Ringback::Europe => &[1000, 4000],
            Ringback::NorthAmerica => &[2000, 4000],
            Ringback::Britain => &[400, 200, 400, 2000],
        }
    }

    /// Its first `count` samples at 8 kHz; the tone comes first.
    pub fn samples(self, count: usize) -> Vec<i16> {
        let tones = self.tones();
        let amplitude = 32_768.0 * 10f64.powf(DBFS / 20.0) * SQRT_2 / (tones.len() as f64).sqrt();
        let mut samples = Vec::with_capacity(count);
        for (part, ms) in self.cadence().iter().enumerate().cycle() {
            let end = count.min(samples.len() + ms * PER_MS);
            let is_on = part % 2 == 0;
            // The tones go on unheard in the pauses.
            let sample = |index: usize| {
                let phase = |hz: &f64| (TAU * hz * index as f64 / RATE as f64).sin();
                if is_on { (tones.iter().map(phase).sum::<f64>() * amplitude).round() as i16 } else { 0 }
            };
            samples.extend((samples.len()..end).map(sample));
            if samples.len() == count {
                break;
            }
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::level_dbfs;

    /// The power of a tone in a frame, as a share of all.
    fn share(frame: &[i16], hz: f64) -> f64 {
        let step = TAU * hz / RATE as f64;
        let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
        for (index, sample) in frame.iter().enumerate() {
            let (sample, angle) = (f64::from(*sample), step * index as f64);
            (re, im, all) = (re + sample * angle.cos(), im + sample * angle.sin(), all + sample * sample);
        }
        2.0 * (re * re + im * im) / (frame.len() as f64 * all)
    }

    /// The milliseconds on and off in turn, looked at in tenths of a second.
    fn cadence(samples: &[i16]) -> Vec<usize> {
        let loud: Vec<bool> =
            samples.chunks(800).map(|frame| frame.iter().any(|sample| *sample != 0)).collect();
        loud.chunk_by(|one, next| one == next).map(|run| run.len() * 100).collect()
    }

    #[test]
    fn each_country_has_its_cadence() {
        for (ringback, expected) in [
            (Ringback::Europe, &[1000, 4000, 1000, 4000, 1000, 1000][..]),
            (Ringback::NorthAmerica, &[2000, 4000, 2000, 4000]),
            (
                Ringback::Britain,
                &[400, 200, 400, 2000, 400, 200, 400, 2000, 400, 200, 400, 2000, 400, 200, 400, 2000],
            ),
        ] {
            let samples = ringback.samples(12 * RATE);
            assert_eq!((samples.len(), cadence(&samples)), (12 * RATE, expected.to_vec()), "{ringback:?}");
        }
    }

    #[test]
    fn each_country_has_its_tones_at_one_level() {
        for (ringback, tones) in [
            (Ringback::Europe, &[425.0][..]),
            (Ringback::NorthAmerica, &[440.0, 480.0]),
            (Ringback::Britain, &[400.0, 450.0]),
        ] {
            let samples = ringback.samples(3200);
            assert!((level_dbfs(&samples) - DBFS).abs() < 0.2, "{ringback:?}: {}", level_dbfs(&samples));
            for hz in tones {
                let (found, expected) = (share(&samples, *hz), 1.0 / tones.len() as f64);
                assert!((found - expected).abs() < 0.05, "{ringback:?}: {found} of {hz}");
            }
        }
    }

    #[test]
    fn any_length_is_given_and_none_is_nothing() {
        for count in [0, 1, 7_999, 8_000, 8_001, 40_001] {
            assert_eq!(Ringback::Europe.samples(count).len(), count);
        }
    }
}
