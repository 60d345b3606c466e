//! What is played, and whether it was heard at the other end.

use std::f64::consts::{SQRT_2, TAU};
use std::sync::Arc;
use std::time::Duration;

use dialtone_media::meter::{SILENCE_DBFS, ToneMeter, find_signal, level_dbfs};
use dialtone_media::{Report, speech_like};

use super::seat::Failure;

/// The verdict when all is well.
pub(super) const OK: &str = "TWO-WAY AUDIO OK";

/// Samples a second.
const RATE: f64 = 8000.0;
/// The level of the tones.
const TONE_DBFS: f64 = -16.0;
/// How far the tone that is found may be from the one that was sent.
const TONE_TOLERANCE_HZ: f64 = 5.0;
/// What the tone must have at least of all energy while it sounds.
const TONE_SHARE_MIN: f64 = 0.5;
/// The correlation from which speech counts as that which was sent. G.711 alone leaves more than 0.99, another
/// than 0.5.
const CORRELATION_MIN: f64 = 0.7;
/// What a ratio of signal to noise is called at most: that of 16 bits.
const SNR_MAX_DB: f64 = 96.0;
/// Samples of the pieces in which speech is looked for: 200 ms.
const PIECE: usize = 1_600;
/// Samples that a piece may be earlier or later than it was sent: 400 ms, the most that the jitter buffer waits.
const WINDOW: usize = 3_200;
/// Samples at the ends of the tone that are not looked at: 50 ms.
const MARGIN: usize = 400;

/// What one of the two plays: a tone of its own, then a speech-like signal of its own.
#[derive(Clone, Debug)]
pub(super) struct Sound {
    hz: f64,
    /// Samples of the tone.
    tone_len: usize,
    speech: Vec<i16>,
    /// All of it.
    pub(super) samples: Arc<[i16]>,
}

/// What alice plays and what bob plays.
pub(super) fn sounds(talk: Duration) -> [Sound; 2] {
    let half = (talk.as_secs_f64() * RATE / 2.0) as usize;
    [(440.0, 1), (1000.0, 2)].map(|(hz, seed)| {
        let amplitude = 32768.0 * 10_f64.powf(TONE_DBFS / 20.0) * SQRT_2;
        let tone = (0..half).map(|at| ((at as f64 * hz / RATE * TAU).sin() * amplitude).round() as i16);
        let speech = speech_like(seed, half);
        let samples = tone.chain(speech.iter().copied()).collect();
        Sound { hz, tone_len: half, speech, samples }
    })
}

/// What one of the two told of its audio.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) report: Report,
    pub(super) recording: Vec<i16>,
}

/// One direction of the audio, measured at its receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Direction {
    /// Who spoke.
    pub from: &'static str,
    /// Who listened.
    pub to: &'static str,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// RTP packets received, each counted once.
    pub packets_received: u64,
    /// RTP packets that never arrived, by their sequence numbers.
    pub lost: u64,
    /// The same as a share of those that were expected, in percent.
    pub loss_percent: f64,
    /// Interarrival jitter in milliseconds (RFC 3550 §6.4.1).
    pub jitter_ms: f64,
    /// Level of all that was heard.
    pub level_dbfs: f64,
    /// The tone that was sent.
    pub tone_sent_hz: f64,
    /// The strongest tone in the first half of what was heard; 0 for none.
    pub tone_hz: f64,
    /// How much the speech-like signal that was sent is in what was heard, 0 to 1.
    pub speech_correlation: f64,
    /// Level of that signal above all else that was heard with it, 0 to 96.
    pub snr_db: f64,
    /// Whether tone and speech were heard as they were sent.
    pub heard: bool,
}

/// Measures both directions.
pub(super) fn directions(
    names: [&'static str; 2],
    sounds: &[Sound; 2],
    heard: &[Option<Heard>; 2],
) -> Vec<Direction> {
    let [one, other] = [heard[0].as_ref(), heard[1].as_ref()];
    let [first, second] = names;
    vec![
        direction([first, second], &sounds[0], one, other),
        direction([second, first], &sounds[1], other, one),
    ]
}

fn direction(
    ends: [&'static str; 2],
    sound: &Sound,
    sender: Option<&Heard>,
    receiver: Option<&Heard>,
) -> Direction {
    let recording = receiver.map_or(&[][..], |heard| heard.recording.as_slice());
    let packets_sent = sender.map_or(0, |heard| heard.report.sent.packets);
    let received = receiver.map(|heard| heard.report.received);
    let packets_received = received.map_or(0, |received| received.packets);
    // Without a packet there is no sequence number to tell what is missing: then it is all that was sent.
    let lost = match received.and_then(|received| received.loss) {
        Some(loss) => loss.packets.max(0) as u64,
        None => packets_sent,
    };
    let expected = packets_received + lost;
    let mut meter = ToneMeter::new();
    let tone_end = sound.tone_len.saturating_sub(MARGIN).min(recording.len());
    meter.add(recording.get(MARGIN..tone_end).unwrap_or(&[]));
    let tone = meter.tone();
    let speech = Likeness::of(sound, recording);
    let has_tone = tone
        .is_some_and(|tone| (tone.hz - sound.hz).abs() <= TONE_TOLERANCE_HZ && tone.share >= TONE_SHARE_MIN);
    Direction {
        from: ends[0],
        to: ends[1],
        packets_sent,
        packets_received,
        lost,
        loss_percent: if expected == 0 { 0.0 } else { lost as f64 * 100.0 / expected as f64 },
        jitter_ms: received.and_then(|received| received.jitter_ms).unwrap_or(0.0),
        level_dbfs: if recording.is_empty() { SILENCE_DBFS } else { level_dbfs(recording) },
        tone_sent_hz: sound.hz,
        tone_hz: tone.map_or(0.0, |tone| tone.hz),
        speech_correlation: speech.correlation,
        snr_db: speech.snr_db(),
        heard: packets_received > 0 && has_tone && speech.correlation >= CORRELATION_MIN,
    }
}

/// How much of the speech-like signal is in a recording.
struct Likeness {
    /// 0 to 1.
    correlation: f64,
    /// The share of the energy that is the signal, at whatever level.
    share: f64,
}

impl Likeness {
    /// Each piece may be earlier or later by itself: the jitter buffer leaves out and puts in pitch periods to follow the
    /// network.
    fn of(sound: &Sound, recording: &[i16]) -> Likeness {
        let (mut correlations, mut signal, mut energies) = (0.0, 0.0, 0.0);
        for (number, piece) in sound.speech.chunks_exact(PIECE).enumerate() {
            let start = sound.tone_len + number * PIECE;
            let window = start.saturating_sub(WINDOW)..(start + PIECE + WINDOW).min(recording.len());
            let found = recording.get(window).and_then(|window| find_signal(piece, window));
            let energy: f64 = piece.iter().map(|sample| f64::from(*sample).powi(2)).sum();
            let correlation = found.map_or(0.0, |found| found.correlation.max(0.0));
            correlations += energy * correlation;
            signal += energy * correlation.powi(2);
            energies += energy;
        }
        let of_all = |sum: f64| if energies == 0.0 { 0.0 } else { sum / energies };
        Likeness { correlation: of_all(correlations), share: of_all(signal) }
    }

    fn snr_db(&self) -> f64 {
        let ratio = self.share / (1.0 - self.share).max(f64::MIN_POSITIVE);
        (10.0 * ratio.log10()).clamp(0.0, SNR_MAX_DB)
    }
}

/// The verdict: [`OK`], or what is missing and what was heard instead.
pub(super) fn verdict(failure: Option<&Failure>, directions: &[Direction]) -> String {
    if let Some(failure) = failure {
        return format!("NO CALL: {failure}");
    }
    let reasons: Vec<String> = directions.iter().filter(|direction| !direction.heard).map(reason).collect();
    match reasons.len() {
        0 => OK.to_owned(),
        1 => format!("AUDIO IN ONE DIRECTION ONLY: {}", reasons.join("; ")),
        _ => format!("NO AUDIO: {}", reasons.join("; ")),
    }
}

fn reason(direction: &Direction) -> String {
    let Direction { from, to, packets_sent, packets_received, tone_sent_hz, tone_hz, .. } = direction;
    if *packets_sent == 0 {
        return format!("{from} to {to} is missing: {from} sent no RTP packet");
    }
    if *packets_received == 0 {
        return format!("{from} to {to} is missing: none of {packets_sent} RTP packets arrived");
    }
    let heard = if *tone_hz == 0.0 { "no tone".to_owned() } else { format!("{tone_hz:.0} Hz") };
    format!(
        "{from} to {to} is not what was sent: {packets_received} of {packets_sent} RTP packets arrived, heard at \
         {:.0} dBFS with {heard} instead of {tone_sent_hz:.0} Hz, and speech correlates by {:.2} where \
         {CORRELATION_MIN} is the least",
        direction.level_dbfs, direction.speech_correlation,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(from: &'static str, to: &'static str, heard: bool, packets_received: u64) -> Direction {
        Direction {
            from,
            to,
            packets_sent: 150,
            packets_received,
            lost: 0,
            loss_percent: 0.0,
            jitter_ms: 0.0,
            level_dbfs: -40.0,
            tone_sent_hz: 440.0,
            tone_hz: 0.0,
            speech_correlation: 0.1,
            snr_db: 0.0,
            heard,
        }
    }

    #[test]
    fn both_ways_heard_is_ok() {
        assert_eq!(verdict(None, &[heard("alice", "bob", true, 150), heard("bob", "alice", true, 150)]), OK);
    }

    #[test]
    fn a_missing_direction_is_named_with_what_was_heard_instead() {
        let text = verdict(None, &[heard("alice", "bob", false, 0), heard("bob", "alice", true, 150)]);
        assert_eq!(
            text,
            "AUDIO IN ONE DIRECTION ONLY: alice to bob is missing: none of 150 RTP packets arrived"
        );
        let text = verdict(None, &[heard("alice", "bob", true, 150), heard("bob", "alice", false, 149)]);
        assert!(text.starts_with("AUDIO IN ONE DIRECTION ONLY: bob to alice is not what was sent"), "{text}");
        assert!(text.contains("no tone instead of 440 Hz"), "{text}");
        let text = verdict(None, &[heard("alice", "bob", false, 0), heard("bob", "alice", false, 0)]);
        assert!(text.starts_with("NO AUDIO: alice to bob") && text.contains("; bob to alice"), "{text}");
    }

    #[test]
    fn speech_is_found_though_the_jitter_buffer_left_something_out() {
        let sound = &sounds(Duration::from_secs(2))[0];
        let mut recording = sound.samples.to_vec();
        recording.drain(11_000..11_060);
        recording.drain(12_700..12_780);
        let correlation = Likeness::of(sound, &recording).correlation;
        assert!(correlation >= CORRELATION_MIN, "{correlation}");
    }

    #[test]
    fn another_sound_is_not_taken_for_the_one_that_was_sent() {
        let sounds = sounds(Duration::from_secs(2));
        for (sound, other) in [(&sounds[0], &sounds[1]), (&sounds[1], &sounds[0])] {
            for (recording, expected) in [(&sound.samples, true), (&other.samples, false)] {
                let correlation = Likeness::of(sound, recording).correlation;
                assert_eq!(correlation >= CORRELATION_MIN, expected, "{correlation}");
            }
        }
    }

    #[test]
    fn the_ratio_of_signal_to_noise_is_that_of_what_was_added() {
        let sound = &sounds(Duration::from_secs(2))[0];
        let snr = |recording: &[i16]| Likeness::of(sound, recording).snr_db();
        assert!(snr(&sound.samples) > 60.0);
        assert_eq!(snr(&vec![0; sound.samples.len()]), 0.0);
        let level = |samples: &[i16]| samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
        for expected_db in [10.0, 20.0, 38.0] {
            // What is added has no likeness with the signal; at half the level the ratio is the same.
            let noise = sound.speech.iter().rev();
            let scale = 10.0_f64.powf(-expected_db / 20.0);
            let mut recording = sound.samples.to_vec();
            for (sample, noise) in recording[sound.tone_len..].iter_mut().zip(noise) {
                *sample = ((f64::from(*sample) + f64::from(*noise) * scale) / 2.0).round() as i16;
            }
            assert!(level(&recording[sound.tone_len..]) < level(&sound.speech) / 2.0);
            let measured = snr(&recording);
            assert!((measured - expected_db).abs() < 1.0, "{measured} dB, expected {expected_db}");
        }
    }
}
