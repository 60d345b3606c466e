//! Sound files: a tone to play, and what a recording holds.

use std::f64::consts::TAU;
use std::path::Path;

/// Samples per second of the files that we write; any phone resamples from here.
const RATE: u32 = 48_000;

/// Writes a sine of `hertz` at half of full scale: PCM, 16 bit, mono.
pub(crate) fn write_tone(path: &Path, hertz: f64, seconds: u32) {
    let samples = seconds * RATE;
    let bytes = samples * 2;
    let mut file = Vec::with_capacity(44 + bytes as usize);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + bytes).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16_u32.to_le_bytes());
    for half in [1_u16, 1] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    file.extend_from_slice(&RATE.to_le_bytes());
    file.extend_from_slice(&(RATE * 2).to_le_bytes());
    for half in [2_u16, 16] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    file.extend_from_slice(b"data");
    file.extend_from_slice(&bytes.to_le_bytes());
    for index in 0..samples {
        let sample = (TAU * hertz * f64::from(index) / f64::from(RATE)).sin() * 16_000.0;
        file.extend_from_slice(&(sample as i16).to_le_bytes());
    }
    std::fs::write(path, file).expect("a file of the lab can be written");
}

/// A recording.
pub(crate) struct Recording {
    rate: u32,
    samples: Vec<f64>,
}

/// How much of a recording holds a tone.
#[derive(Debug)]
pub(crate) struct Finding {
    /// Frames of a tenth of a second that are not silent.
    pub(crate) loud: usize,
    /// Frames among them in which the tone has most of the power.
    pub(crate) with_tone: usize,
}

impl Finding {
    /// A second of it at least, and hardly anything else.
    pub(crate) fn is_heard(&self) -> bool {
        self.with_tone >= 10 && self.with_tone * 10 >= self.loud * 8
    }
}

impl Recording {
    /// Reads a file of 16 bit PCM; the first channel counts. A length that the writer never filled in (the phone was
    /// killed) means all the rest.
    pub(crate) fn read(path: &Path) -> Recording {
        let file = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Recording::parse(&file).unwrap_or_else(|| panic!("{} is no WAV file of 16 bit PCM", path.display()))
    }

    fn parse(file: &[u8]) -> Option<Recording> {
        let rest = file.strip_prefix(b"RIFF")?.get(4..)?.strip_prefix(b"WAVE")?;
        let mut rest = rest;
        let mut format = None;
        loop {
            let (head, body) = rest.split_at_checked(8)?;
            let length = u32::from_le_bytes(head[4..8].try_into().ok()?) as usize;
            match &head[..4] {
                b"fmt " => {
                    let channels = u16::from_le_bytes(body.get(2..4)?.try_into().ok()?);
                    let bits = u16::from_le_bytes(body.get(14..16)?.try_into().ok()?);
                    let rate = u32::from_le_bytes(body.get(4..8)?.try_into().ok()?);
                    format = (bits == 16 && channels > 0).then_some((usize::from(channels), rate));
                    format?;
                }
                b"data" => {
                    let (channels, rate) = format?;
                    let data = if length == 0 { body } else { &body[..length.min(body.len())] };
                    let samples = data.chunks_exact(2 * channels);
                    let samples =
                        samples.map(|frame| f64::from(i16::from_le_bytes([frame[0], frame[1]])) / 32_768.0);
                    return Some(Recording { rate, samples: samples.collect() });
                }
                _ => {}
            }
            rest = body.get(length + length % 2..)?;
        }
    }

    /// How strong a tone is in each tenth of a second, as RMS relative to full scale.
    pub(crate) fn levels(&self, hertz: f64) -> Vec<f64> {
        let frames = self.samples.chunks_exact(self.rate as usize / 10);
        frames.map(|frame| goertzel_power(frame, hertz / f64::from(self.rate)).max(0.0).sqrt()).collect()
    }

    /// Looks for a tone in frames of a tenth of a second.
    pub(crate) fn find(&self, hertz: f64) -> Finding {
        let mut finding = Finding { loud: 0, with_tone: 0 };
        for frame in self.samples.chunks_exact(self.rate as usize / 10) {
            let power = frame.iter().map(|sample| sample * sample).sum::<f64>() / frame.len() as f64;
            // 0.02 of full scale: above the noise of a codec, below any tone of ours.
            if power.sqrt() < 0.02 {
                continue;
            }
            finding.loud += 1;
            if goertzel_power(frame, hertz / f64::from(self.rate)) > power * 0.7 {
                finding.with_tone += 1;
            }
        }
        finding
    }
}

/// Power of the part of `frame` at one frequency (in cycles per sample), by the Goertzel recurrence: a pure sine there
/// has all the power of the frame.
fn goertzel_power(frame: &[f64], frequency: f64) -> f64 {
    let coefficient = 2.0 * (TAU * frequency).cos();
    let (last, before) =
        frame.iter().fold((0.0, 0.0), |(last, before), sample| (sample + coefficient * last - before, last));
    let energy = last * last + before * before - coefficient * last * before;
    let length = frame.len() as f64;
    // A sine of amplitude A gives energy (A·n/2)² and has the power A²/2.
    2.0 * energy / (length * length)
}

#[test]
fn a_tone_is_found_in_its_own_file_and_not_in_another() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tone.wav");
    write_tone(&path, 440.0, 2);
    let recording = Recording::read(&path);
    let own = recording.find(440.0);
    assert_eq!((own.loud, own.with_tone), (20, 20));
    assert!(own.is_heard());
    let other = recording.find(1000.0);
    assert_eq!((other.loud, other.with_tone), (20, 0));
    assert!(!other.is_heard());
}
