//! From what was negotiated to an audio session: the one place that knows both.

use std::sync::Arc;

use dialtone_dialog::offer_answer::{Negotiated, NegotiatedCodec};
use dialtone_media::{AudioSession, AudioSettings, Codec, Direction, Source};
use dialtone_roles::io::Play;
use dialtone_wire::sdp::Direction as SdpDirection;
use dialtone_wire::time::Instant;

use super::MediaSettings;
use crate::{clock, random};

/// The level of tones that we play: loud and clear, and far from the limit (−3 dBFS for a sine).
const TONE_DBFS: f64 = -16.0;
/// Packet time unless the other side asks for another, in milliseconds (RFC 3551 §4.2).
const PTIME_MS: u32 = 20;

/// The formats of a negotiated stream that we can send and receive.
fn codecs(session: &Negotiated) -> impl Iterator<Item = (&NegotiatedCodec, Codec)> {
    session.codecs.iter().filter_map(|format| {
        let codec = Codec::from_encoding(format.encoding.as_str(), format.clock_hz)?;
        (format.channels == 1).then_some((format, codec))
    })
}

/// Begins the session of a call; `None` when no format is one of ours.
pub(super) fn begin(
    now: Instant,
    session: &Negotiated,
    play: &Play,
    settings: &MediaSettings,
) -> Option<AudioSession> {
    let (format, codec) = codecs(session).next()?;
    // RFC 7022 §4.2: a name for this session only, that tells nothing of the user.
    let cname = format!("{:016x}{:08x}", random::number(), random::number() >> 32);
    let mut audio = AudioSettings::new(random::number(), cname, codec);
    audio.payload_type = format.send_payload_type;
    audio.receive = receive(session);
    audio.ptime_ms = session.ptime_ms.unwrap_or(PTIME_MS);
    audio.remote = session.remote_rtp;
    audio.remote_rtcp = session.remote_rtcp;
    audio.direction = direction(session);
    audio.source = source(play, settings);
    audio.record_samples_max = settings.record_samples_max;
    audio.measure_tone = settings.measure_tone;
    audio.ntp_at_start = clock::ntp_at_start();
    Some(AudioSession::new(now, audio))
}

/// Changes a running session to what was negotiated anew; false when no format is one of ours.
pub(super) fn change(audio: &mut AudioSession, session: &Negotiated) -> bool {
    let Some((format, codec)) = codecs(session).next() else { return false };
    audio.set_codec(codec, format.send_payload_type);
    audio.set_receive(receive(session));
    if let Some(remote) = session.remote_rtp {
        audio.set_remote(remote, session.remote_rtcp);
    }
    audio.set_direction(direction(session));
    true
}

fn receive(session: &Negotiated) -> Vec<(u8, Codec)> {
    codecs(session).map(|(format, codec)| (format.receive_payload_type, codec)).collect()
}

/// The direction; without an address of the other side (RFC 3264 §8.4) nothing is sent.
fn direction(session: &Negotiated) -> Direction {
    let sends = session.remote_rtp.is_some();
    match session.direction {
        SdpDirection::SendRecv if sends => Direction::SendRecv,
        SdpDirection::SendRecv | SdpDirection::RecvOnly => Direction::RecvOnly,
        SdpDirection::SendOnly if sends => Direction::SendOnly,
        SdpDirection::SendOnly | SdpDirection::Inactive => Direction::Inactive,
    }
}

pub(super) fn source(play: &Play, settings: &MediaSettings) -> Source {
    match play {
        Play::Tone { hz } => Source::Tone { hz: f64::from(*hz), dbfs: TONE_DBFS },
        Play::SpeechLike { seed } => Source::SpeechLike { seed: *seed },
        Play::Echo => Source::Echo,
        Play::Conference { own, .. } => source(own, settings),
        Play::Prepared(number) => match settings.prepared.get(*number as usize) {
            Some(samples) => Source::Samples { samples: Arc::clone(samples), repeat: false },
            None => Source::Silence,
        },
        // Play may grow; what this plane does not know is silent.
        _ => Source::Silence,
    }
}

/// What is played into a call, beside the sound of others.
pub(super) fn own(play: &Play) -> &Play {
    match play {
        Play::Conference { own, .. } => own,
        play => play,
    }
}

/// The conference that a call is part of.
pub(super) fn conference(play: &Play) -> Option<u64> {
    match play {
        Play::Conference { number, .. } => Some(*number),
        _ => None,
    }
}
