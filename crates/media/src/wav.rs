//! WAV in and out (16-bit PCM at 8 kHz); what has another form is mixed down and resampled. The file belongs to the
//! caller.

use std::io::{Read, Seek, Write};

/// The sampling rate of what is read and written.
const RATE: u32 = 8000;
/// Zero crossings of the resampling kernel on each side.
const KERNEL_HALF: f64 = 16.0;
/// The highest sampling rate that is read.
const RATE_MAX: u32 = 384_000;

/// The reason why a WAV was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WavError {
    /// Reading or writing failed, or the content is no WAV.
    #[error(transparent)]
    Format(#[from] hound::Error),
    /// More than the permitted number of samples.
    #[error("expected at most {0} samples")]
    TooLong(usize),
    /// A sampling rate of zero or above 384 kHz, or no channel.
    #[error("cannot read {channels} channels at {rate} Hz")]
    Spec {
        /// Channels of the file.
        channels: u16,
        /// Its sampling rate.
        rate: u32,
    },
}

/// Reads a WAV as mono samples at 8 kHz; `samples_max` bounds the samples read over all channels.
pub fn read_wav(reader: impl Read, samples_max: usize) -> Result<Vec<i16>, WavError> {
    let mut wav = hound::WavReader::new(reader)?;
    let spec = wav.spec();
    if spec.channels == 0 || spec.sample_rate == 0 || spec.sample_rate > RATE_MAX {
        return Err(WavError::Spec { channels: spec.channels, rate: spec.sample_rate });
    }
    if wav.len() as usize > samples_max {
        return Err(WavError::TooLong(samples_max));
    }
    // One scale for all depths: ±32768.
    let flat: Vec<f32> = match spec.sample_format {
        hound::SampleFormat::Float => wav
            .samples::<f32>()
            .map(|sample| sample.map(|value| value * 32768.0))
            .collect::<Result<_, _>>()?,
        hound::SampleFormat::Int => {
            let scale = 2f32.powi(16 - i32::from(spec.bits_per_sample));
            wav.samples::<i32>()
                .map(|sample| sample.map(|value| value as f32 * scale))
                .collect::<Result<_, _>>()?
        }
    };
    let channels = usize::from(spec.channels);
    let mono: Vec<f32> =
        flat.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32).collect();
    Ok(resample(&mono, spec.sample_rate))
}

/// Writes mono samples at 8 kHz as a 16-bit WAV.
pub fn write_wav(writer: impl Write + Seek, samples: &[i16]) -> Result<(), WavError> {
    write_channels(writer, 1, samples.iter().copied())
}

/// Writes two directions as the channels of a stereo WAV; the shorter one ends in silence.
pub fn write_stereo_wav(writer: impl Write + Seek, left: &[i16], right: &[i16]) -> Result<(), WavError> {
    let at = |samples: &[i16], index: usize| samples.get(index).copied().unwrap_or(0);
    let frames = (0..left.len().max(right.len())).flat_map(|index| [at(left, index), at(right, index)]);
    write_channels(writer, 2, frames)
}

fn write_channels(
    writer: impl Write + Seek,
    channels: u16,
    samples: impl Iterator<Item = i16>,
) -> Result<(), WavError> {
    let spec = hound::WavSpec {
        channels,
        sample_rate: RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = hound::WavWriter::new(writer, spec)?;
    for sample in samples {
        wav.write_sample(sample)?;
    }
    wav.finalize()?;
    Ok(())
}

/// Resamples to 8 kHz with a windowed sinc that cuts at the lower of the two bands.
fn resample(samples: &[f32], rate: u32) -> Vec<i16> {
    let round = |value: f64| value.round().clamp(-32768.0, 32767.0) as i16;
    if rate == RATE {
        return samples.iter().map(|sample| round(f64::from(*sample))).collect();
    }
    let ratio = f64::from(rate) / f64::from(RATE);
    // Downwards the kernel is as much longer as the new band is narrower, with a little room for its slope.
    let cutoff = (1.0 / ratio).min(1.0) * 0.95;
    let reach = KERNEL_HALF / cutoff;
    let count = (samples.len() as f64 / ratio) as usize;
    (0..count)
        .map(|index| {
            let centre = index as f64 * ratio;
            let first = (centre - reach).ceil().max(0.0) as usize;
            let last = ((centre + reach) as usize).min(samples.len().saturating_sub(1));
            let sum: f64 = (first..=last)
                .map(|at| {
                    let distance = at as f64 - centre;
                    f64::from(samples[at]) * cutoff * sinc(distance * cutoff) * hann(distance / reach)
                })
                .sum();
            round(sum)
        })
        .collect()
}

fn sinc(x: f64) -> f64 {
    let angle = std::f64::consts::PI * x;
    if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle }
}

fn hann(x: f64) -> f64 {
    0.5 + 0.5 * (std::f64::consts::PI * x).cos()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::meter::{ToneMeter, level_dbfs};

    fn stereo_tone(rate: u32, hz: f64, float: bool) -> Vec<u8> {
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: rate,
            bits_per_sample: if float { 32 } else { 24 },
            sample_format: if float { hound::SampleFormat::Float } else { hound::SampleFormat::Int },
        };
        let mut bytes = Cursor::new(Vec::new());
        let mut wav = hound::WavWriter::new(&mut bytes, spec).unwrap();
        for n in 0..rate {
            let value = 0.25 * (f64::from(n) * hz * std::f64::consts::TAU / f64::from(rate)).sin();
            for _ in 0..2 {
                match float {
                    true => wav.write_sample(value as f32).unwrap(),
                    false => wav.write_sample((value * 8_388_608.0) as i32).unwrap(),
                }
            }
        }
        wav.finalize().unwrap();
        bytes.into_inner()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let samples: Vec<i16> = (-500..500).map(|n| n * 60).collect();
        let mut file = Cursor::new(Vec::new());
        write_wav(&mut file, &samples).unwrap();
        assert_eq!(read_wav(&file.get_ref()[..], 10_000).unwrap(), samples);
        assert!(matches!(read_wav(&file.get_ref()[..], 999), Err(WavError::TooLong(999))));
    }

    #[test]
    fn two_directions_are_two_channels() {
        let mut file = Cursor::new(Vec::new());
        write_stereo_wav(&mut file, &[100, 200, 300], &[50]).unwrap();
        assert_eq!(read_wav(&file.get_ref()[..], 100).unwrap(), [75, 100, 150]);
    }

    #[test]
    fn other_rates_depths_and_channels_become_mono_at_8_khz() {
        for (rate, float) in [(48_000, false), (44_100, true), (16_000, true), (11_025, false)] {
            let samples = read_wav(&stereo_tone(rate, 1000.0, float)[..], 200_000).unwrap();
            assert_eq!(samples.len(), 8000, "{rate}");
            let mut meter = ToneMeter::new();
            meter.add(&samples);
            let tone = meter.tone().unwrap();
            assert!((tone.hz - 1000.0).abs() < 1.0 && tone.share > 0.99, "{rate}: {tone:?}");
            assert!((level_dbfs(&samples) + 15.05).abs() < 0.2, "{rate}: {}", level_dbfs(&samples));
        }
    }

    #[test]
    fn what_is_above_the_band_does_not_fold_into_it() {
        let samples = read_wav(&stereo_tone(48_000, 5000.0, true)[..], 200_000).unwrap();
        assert!(level_dbfs(&samples[100..7900]) < -60.0, "{}", level_dbfs(&samples[100..7900]));
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(matches!(read_wav(&b"RIFF????WAVEfmt "[..], 100), Err(WavError::Format(_))));
    }
}
