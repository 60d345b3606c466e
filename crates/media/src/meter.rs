//! Measuring what is heard: level, the tone in it, and a known signal in a recording.

use crate::spectrum::{Complex, transform, twiddles};

/// Samples in one spectrum: 128 ms, bins of 7.8 Hz.
const WINDOW: usize = 1024;
/// Bins on each side of the peak that belong to it (Hann window: two, and one for a tone between bins).
const PEAK_HALF_WIDTH: usize = 3;
/// Bins at the lower end that are left out: direct current and its leakage, below 24 Hz.
const LOWEST_BIN: usize = 3;
/// Mean power of a bin below which there is no tone to speak of: some −70 dBFS.
const POWER_FLOOR: f64 = 1e4;
/// The level told for digital silence.
pub const SILENCE_DBFS: f64 = -96.0;
/// Samples in the pieces in which a signal is looked for, half a second.
const PIECE: usize = 4000;
/// Samples of a reference or recording that are looked at, five minutes.
pub const SEARCH_SAMPLES_MAX: usize = 2_400_000;

/// The RMS level in dB relative to a full-scale square wave; [`SILENCE_DBFS`] for silence.
pub fn level_dbfs(samples: &[i16]) -> f64 {
    let mut level = Level::default();
    level.add(samples);
    level.dbfs()
}

/// A running RMS level.
#[derive(Clone, Copy, Debug, Default)]
pub struct Level {
    squares: f64,
    count: u64,
}

impl Level {
    /// Takes in samples.
    pub fn add(&mut self, samples: &[i16]) {
        self.squares += samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
        self.count += samples.len() as u64;
    }

    /// The level of all samples in dBFS.
    pub fn dbfs(&self) -> f64 {
        if self.count == 0 || self.squares == 0.0 {
            return SILENCE_DBFS;
        }
        let mean = self.squares / self.count as f64;
        (10.0 * (mean / (32768.0 * 32768.0)).log10()).max(SILENCE_DBFS)
    }
}

/// The strongest tone of a sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tone {
    /// Frequency in hertz.
    pub hz: f64,
    /// Its share of all energy, 0 to 1. A pure tone has nearly 1, speech some tenths.
    pub share: f64,
}

/// Finds the strongest tone in 8 kHz sound, over any length in bounded memory.
#[derive(Clone, Debug)]
pub struct ToneMeter {
    twiddles: Vec<Complex>,
    window: Vec<f32>,
    pending: Vec<Complex>,
    power: Vec<f64>,
    spectra: u64,
}

impl ToneMeter {
    /// A meter that heard nothing.
    pub fn new() -> ToneMeter {
        let hann = |index: usize| 0.5 - 0.5 * (std::f32::consts::TAU * index as f32 / WINDOW as f32).cos();
        ToneMeter {
            twiddles: twiddles(WINDOW),
            window: (0..WINDOW).map(hann).collect(),
            pending: Vec::with_capacity(WINDOW),
            power: vec![0.0; WINDOW / 2],
            spectra: 0,
        }
    }

    /// Takes in samples.
    pub fn add(&mut self, samples: &[i16]) {
        for sample in samples {
            let weight = self.window[self.pending.len()];
            self.pending.push(Complex::real(f32::from(*sample) * weight));
            if self.pending.len() == WINDOW {
                transform(&mut self.pending, &self.twiddles);
                for (sum, value) in self.power.iter_mut().zip(&self.pending) {
                    *sum += f64::from(value.power());
                }
                self.spectra += 1;
                self.pending.clear();
            }
        }
    }

    /// The strongest tone so far; `None` for silence and for less than 128 ms.
    pub fn tone(&self) -> Option<Tone> {
        let bins = &self.power[LOWEST_BIN..];
        let total: f64 = bins.iter().sum();
        if self.spectra == 0 || total / self.spectra as f64 / (bins.len() as f64) < POWER_FLOOR {
            return None;
        }
        let (peak, _) = bins.iter().enumerate().max_by(|left, right| left.1.total_cmp(right.1))?;
        let around =
            &bins[peak.saturating_sub(PEAK_HALF_WIDTH)..(peak + PEAK_HALF_WIDTH + 1).min(bins.len())];
        let share = around.iter().sum::<f64>() / total;
        let at = |index: usize| bins.get(index).copied().unwrap_or(0.0).max(1e-9).ln();
        // A parabola through the logarithms of three bins: for a Hann window good to a tenth of a bin.
        let (left, middle, right) = (at(peak.wrapping_sub(1)), at(peak), at(peak + 1));
        let curve = left - 2.0 * middle + right;
        let offset = if curve < 0.0 { (0.5 * (left - right) / curve).clamp(-0.5, 0.5) } else { 0.0 };
        let hz = ((peak + LOWEST_BIN) as f64 + offset) * 8000.0 / WINDOW as f64;
        Some(Tone { hz, share })
    }
}

impl Default for ToneMeter {
    fn default() -> ToneMeter {
        ToneMeter::new()
    }
}

/// Where and how well a reference was found in a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Samples from the start of the recording to the start of the reference, by the piece that fits best.
    pub lag: i64,
    /// Mean of the normalized correlations of all pieces, weighted by their energy: 1 for a copy, whatever its level.
    pub correlation: f64,
}

/// Looks for `reference` in `recording`, in pieces of half a second each of which may have a delay of its own, as
/// after a jitter buffer. Both at 8 kHz; at most [`SEARCH_SAMPLES_MAX`] samples are looked at. `None` where one of
/// them is too short or silent. Allocates; not for the packet path.
pub fn find_signal(reference: &[i16], recording: &[i16]) -> Option<Found> {
    let reference = &reference[..reference.len().min(SEARCH_SAMPLES_MAX)];
    let recording = &recording[..recording.len().min(SEARCH_SAMPLES_MAX)];
    let piece_len = PIECE.min(reference.len()).min(recording.len());
    if piece_len == 0 {
        return None;
    }
    let search = Search::new(recording, piece_len);
    let (mut weighted, mut energy_sum) = (0.0, 0.0);
    let mut best: Option<(f64, i64)> = None;
    for (index, piece) in reference.chunks_exact(piece_len).enumerate() {
        let energy: f64 = piece.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        if energy == 0.0 {
            continue;
        }
        let (correlation, at) = search.find(piece, energy);
        weighted += correlation * energy;
        energy_sum += energy;
        if best.is_none_or(|(before, _)| correlation > before) {
            best = Some((correlation, at as i64 - (index * piece_len) as i64));
        }
    }
    let (_, lag) = best?;
    Some(Found { lag, correlation: weighted / energy_sum })
}

/// A recording, transformed once.
struct Search {
    twiddles: Vec<Complex>,
    spectrum: Vec<Complex>,
    /// Energy of the samples before each index.
    energy_before: Vec<f64>,
    piece_len: usize,
    floor: f64,
}

impl Search {
    fn new(recording: &[i16], piece_len: usize) -> Search {
        let len = (recording.len() + piece_len).next_power_of_two();
        let table = twiddles(len);
        let mut spectrum = vec![Complex::default(); len];
        for (value, sample) in spectrum.iter_mut().zip(recording) {
            *value = Complex::real(f32::from(*sample));
        }
        transform(&mut spectrum, &table);
        let mut energy_before = Vec::with_capacity(recording.len() + 1);
        let mut sum = 0.0;
        energy_before.push(sum);
        for sample in recording {
            sum += f64::from(*sample).powi(2);
            energy_before.push(sum);
        }
        // Stretches that are nearly silent correlate by chance: they count as if they had some energy.
        let floor = sum / recording.len() as f64 * piece_len as f64 * 0.02 + 1.0;
        Search { twiddles: table, spectrum, energy_before, piece_len, floor }
    }

    /// The best normalized correlation of a piece and where it is.
    fn find(&self, piece: &[i16], energy: f64) -> (f64, usize) {
        let len = self.spectrum.len();
        let mut values = vec![Complex::default(); len];
        for (value, sample) in values.iter_mut().zip(piece) {
            *value = Complex::real(f32::from(*sample));
        }
        transform(&mut values, &self.twiddles);
        // Correlation is the inverse transform of X · conj(P), which is conj(transform(conj(X) · P)) / len.
        for (value, recorded) in values.iter_mut().zip(&self.spectrum) {
            *value = recorded.conjugate().times(*value);
        }
        transform(&mut values, &self.twiddles);
        let last = self.energy_before.len() - 1 - self.piece_len;
        let mut best = (0.0, 0);
        for (at, value) in values.iter().take(last + 1).enumerate() {
            let there = self.energy_before[at + self.piece_len] - self.energy_before[at];
            let product = f64::from(value.re) / len as f64;
            let correlation = product / (energy * there.max(self.floor)).sqrt();
            if correlation > best.0 {
                best = (correlation, at);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;
    use crate::signal::speech_like;

    fn sine(hz: f64, amplitude: f64, count: usize) -> Vec<i16> {
        (0..count)
            .map(|n| (amplitude * (n as f64 * hz * std::f64::consts::TAU / 8000.0).sin()) as i16)
            .collect()
    }

    #[test]
    fn levels_are_relative_to_full_scale() {
        assert!((level_dbfs(&sine(1000.0, 32767.0, 8000)) + 3.01).abs() < 0.01);
        assert_eq!(level_dbfs(&[0; 100]), SILENCE_DBFS);
        assert_eq!(level_dbfs(&[]), SILENCE_DBFS);
    }

    #[test]
    fn a_tone_is_found_to_a_hertz_between_bins_too() {
        for hz in [50.0, 300.0, 425.0, 440.0, 697.3, 1004.0, 2600.0, 3400.0] {
            let mut meter = ToneMeter::new();
            meter.add(&sine(hz, 8000.0, 8000));
            let tone = meter.tone().unwrap();
            assert!((tone.hz - hz).abs() < 1.0 && tone.share > 0.99, "{hz}: {tone:?}");
        }
    }

    #[test]
    fn silence_and_noise_hold_no_tone() {
        let mut meter = ToneMeter::new();
        meter.add(&[0; 8000]);
        assert_eq!(meter.tone(), None);
        let mut random = SplitMix64::new(1);
        let noise: Vec<i16> = (0..16_000).map(|_| (random.next_u32() >> 20) as i16 - 2048).collect();
        meter.add(&noise);
        assert!(meter.tone().unwrap().share < 0.1);
        let mut meter = ToneMeter::new();
        meter.add(&speech_like(3, 40_000));
        assert!(meter.tone().unwrap().share < 0.6, "{:?}", meter.tone());
    }

    #[test]
    fn a_signal_is_found_in_its_recording_and_not_in_another() {
        let reference = speech_like(7, 24_000);
        let mut recording = vec![0; 1234];
        recording.extend(reference.iter().map(|sample| sample / 4 + 3));
        recording.extend([0; 500]);
        let found = find_signal(&reference, &recording).unwrap();
        assert_eq!(found.lag, 1234);
        assert!(found.correlation > 0.99, "{found:?}");
        let other = find_signal(&speech_like(8, 24_000), &recording).unwrap();
        assert!(other.correlation < 0.5, "{other:?}");
        assert_eq!(find_signal(&reference, &[]), None);
        assert_eq!(find_signal(&[0; 8000], &recording), None);
    }
}
