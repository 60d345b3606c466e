//! How a call went, in one word for programs and one sentence for people.

use std::fmt;

use dialtone_media::Report;
use dialtone_roles::io::EndReason;
use dialtone_wire::Status;

/// Below this level nothing counts as sound, in dBFS. Digital silence in A-law is −72.
const SOUND_DBFS_MIN: f64 = -60.0;
/// How far a tone may be from the one that was expected.
const TONE_TOLERANCE_HZ: f64 = 5.0;
/// What the expected tone must have at least of all energy.
const TONE_SHARE_MIN: f64 = 0.5;
/// RTP packets after which a far end that hears us must have said so: ten seconds, twice the interval of RTCP
/// (RFC 3550 §6.2).
const SENT_MIN: u64 = 500;
/// RTCP packets of the far end after which the same holds.
const RTCP_MIN: u64 = 2;

/// How a call, or a question, went.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// It was answered, ended well, and what was to be heard was heard.
    Ok,
    /// The far end is busy.
    Busy(Status),
    /// It rang, and nobody answered.
    NoAnswer,
    /// The far end does not want the call.
    Declined(Status),
    /// The password, or that there is none, was refused.
    WrongPassword,
    /// The user is not known, or has no phone that is switched on.
    NobodyThere(Status),
    /// Nothing came back from the address.
    Unreachable,
    /// Refused for another reason.
    Refused(Status),
    /// It was given up before it was answered.
    GivenUp,
    /// It broke off.
    BrokenOff(EndReason),
    /// No audio was received.
    NoAudio,
    /// What was received was silence.
    Silence,
    /// The far end hears us, and nothing comes back.
    OnlyThere,
    /// We hear the far end, and it reports that nothing of ours arrives.
    OnlyHere,
    /// Another sound than the expected tone was heard.
    ToneNotHeard {
        /// The expected frequency.
        expected_hz: f64,
        /// The strongest tone instead; `None` when there is none.
        heard_hz: Option<f64>,
        /// The level of what was heard.
        level_dbfs: f64,
    },
}

impl Verdict {
    /// One word for programs.
    pub const fn word(&self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Busy(_) => "busy",
            Verdict::NoAnswer => "no-answer",
            Verdict::Declined(_) => "declined",
            Verdict::WrongPassword => "wrong-password",
            Verdict::NobodyThere(_) => "nobody-there",
            Verdict::Unreachable => "unreachable",
            Verdict::Refused(_) => "refused",
            Verdict::GivenUp => "given-up",
            Verdict::BrokenOff(_) => "broken-off",
            Verdict::NoAudio => "no-audio",
            Verdict::Silence => "silence",
            Verdict::OnlyThere | Verdict::OnlyHere => "one-way-audio",
            Verdict::ToneNotHeard { .. } => "tone-not-heard",
        }
    }

    /// What a final status means to whoever called (RFC 3261 §21.4 to §21.6).
    pub(super) fn of_status(status: Status, rang: bool) -> Verdict {
        match status.code() {
            200..=299 => Verdict::Ok,
            401 | 407 => Verdict::WrongPassword,
            486 | 600 => Verdict::Busy(status),
            408 | 480 if rang => Verdict::NoAnswer,
            603 => Verdict::Declined(status),
            404 | 410 | 480 | 484 | 604 => Verdict::NobodyThere(status),
            // A proxy says so when nothing came back from where it went.
            408 => Verdict::Unreachable,
            _ => Verdict::Refused(status),
        }
    }

    /// What the end of a call that was not answered means.
    pub(super) fn of_end(reason: EndReason, rang: bool) -> Verdict {
        match reason {
            EndReason::Refused(status) => Verdict::of_status(status, rang),
            EndReason::WrongPassword => Verdict::WrongPassword,
            EndReason::NoResponse | EndReason::TransportFailed if !rang => Verdict::Unreachable,
            EndReason::NoResponse => Verdict::NoAnswer,
            other => Verdict::BrokenOff(other),
        }
    }

    /// What the figures of an answered call say.
    pub(super) fn of_audio(report: Option<&Report>, expected_hz: Option<f64>) -> Verdict {
        let Some(report) = report else { return Verdict::NoAudio };
        let heard = &report.received;
        if heard.packets == 0 {
            let is_heard_there = report.sent.loss.is_some();
            return if is_heard_there { Verdict::OnlyThere } else { Verdict::NoAudio };
        }
        let tone = heard.tone.filter(|tone| tone.share >= TONE_SHARE_MIN);
        match expected_hz {
            Some(expected_hz) => {
                let near = |hz: f64| (hz - expected_hz).abs() <= TONE_TOLERANCE_HZ.max(expected_hz * 0.01);
                let is_loud = heard.level_dbfs >= SOUND_DBFS_MIN;
                if !tone.is_some_and(|tone| is_loud && near(tone.hz)) {
                    let heard_hz = heard.tone.map(|tone| tone.hz);
                    return Verdict::ToneNotHeard { expected_hz, heard_hz, level_dbfs: heard.level_dbfs };
                }
            }
            None if heard.level_dbfs < SOUND_DBFS_MIN => return Verdict::Silence,
            None => {}
        }
        // RFC 3550 §6.4.1: a receiver puts a report block on each source that it hears into each packet.
        let says_nothing = report.sent.loss.is_none() && report.rtcp_received >= RTCP_MIN;
        if says_nothing && report.sent.packets >= SENT_MIN {
            return Verdict::OnlyHere;
        }
        Verdict::Ok
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |f: &mut fmt::Formatter<'_>, words: &str, status: &Status| {
            write!(f, "{words} ({} {})", status.code(), status.reason())
        };
        match self {
            Verdict::Ok => f.write_str("all went well"),
            Verdict::Busy(status) => with(f, "busy", status),
            Verdict::NoAnswer => f.write_str("no answer: it rang, and nobody picked up"),
            Verdict::Declined(status) => with(f, "declined: the far end does not want the call", status),
            Verdict::WrongPassword => {
                f.write_str("the password was refused, or one is asked for and none was given")
            }
            Verdict::NobodyThere(status) => {
                with(f, "nobody there: the user is unknown or has no phone switched on", status)
            }
            Verdict::Unreachable => {
                f.write_str("nothing came back: is the address right, and is anybody listening there?")
            }
            Verdict::Refused(status) => with(f, "refused", status),
            Verdict::GivenUp => f.write_str("given up before it was answered"),
            Verdict::BrokenOff(reason) => write!(f, "broke off: {}", end_words(*reason)),
            Verdict::NoAudio => f.write_str("answered, but no audio was received"),
            Verdict::Silence => f.write_str("answered, but only silence was received"),
            Verdict::OnlyThere => {
                f.write_str("audio in one direction only: the far end hears us, but nothing comes back")
            }
            Verdict::OnlyHere => f.write_str(
                "audio in one direction only: we hear the far end, but it reports nothing of ours arriving",
            ),
            Verdict::ToneNotHeard { expected_hz, heard_hz, level_dbfs } => {
                write!(f, "the tone of {expected_hz:.0} Hz was not heard: ")?;
                match heard_hz {
                    Some(hz) => write!(f, "the strongest was {hz:.1} Hz, at {level_dbfs:.1} dBFS"),
                    None => write!(f, "there was no tone, at {level_dbfs:.1} dBFS"),
                }
            }
        }
    }
}

/// Why a call ended, in words.
pub(super) fn end_words(reason: EndReason) -> &'static str {
    match reason {
        EndReason::LocalHangup => "we hung up",
        EndReason::RemoteHangup => "the far end hung up",
        EndReason::Refused(_) => "refused",
        EndReason::WrongPassword => "the password was refused",
        EndReason::Cancelled => "the caller gave up",
        EndReason::NoResponse => "nothing came back",
        EndReason::TransportFailed => "nothing could be sent",
        EndReason::NoAck => "the answer was never acknowledged",
        EndReason::BadSession => "the two have no codec or address in common",
        EndReason::DialogLost => "the far end does not know the call any more",
        EndReason::Replaced => "another call has taken its place",
        EndReason::SessionExpired => "the far end gave no sign of life for too long",
        EndReason::Overload => "a limit of this phone was reached",
        _ => "for an unknown reason",
    }
}

/// One word for why a call ended.
pub(super) fn end_word(reason: EndReason) -> &'static str {
    match reason {
        EndReason::LocalHangup => "local-hangup",
        EndReason::RemoteHangup => "remote-hangup",
        EndReason::Refused(_) => "refused",
        EndReason::WrongPassword => "wrong-password",
        EndReason::Cancelled => "cancelled",
        EndReason::NoResponse => "no-response",
        EndReason::TransportFailed => "transport-failed",
        EndReason::NoAck => "no-ack",
        EndReason::BadSession => "bad-session",
        EndReason::DialogLost => "dialog-lost",
        EndReason::Replaced => "replaced",
        EndReason::SessionExpired => "session-expired",
        EndReason::Overload => "overload",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use dialtone_media::meter::Tone;
    use dialtone_media::{Codec, DirectionReport, Loss};

    use super::*;

    const NONE_LOST: Option<Loss> = Some(Loss { packets: 0, fraction: 0.0 });

    fn direction(packets: u64, level_dbfs: f64, hz: Option<f64>, loss: Option<Loss>) -> DirectionReport {
        let tone = hz.map(|hz| Tone { hz, share: 0.99 });
        let octets = packets * 160;
        DirectionReport { packets, octets, loss, jitter_ms: None, level_dbfs, tone, first: None, last: None }
    }

    fn report(sent: DirectionReport, received: DirectionReport) -> Report {
        Report {
            codec: Codec::Pcmu,
            ssrc: 1,
            remote_ssrc: None,
            sent,
            received,
            round_trip: None,
            delay_ms: 0.0,
            duplicates: 0,
            late: 0,
            concealed_ms: 0.0,
            unknown_payload: 0,
            strangers: 0,
            rejected: 0,
            unwanted: 0,
            collisions: 0,
            loops: 0,
            skipped_frames: 0,
            rtcp_sent: 2,
            rtcp_received: 2,
            remote_left: false,
        }
    }

    /// What comes of a call in which we sent 600 packets.
    fn check(received: DirectionReport, lost_there: Option<Loss>, expected_hz: Option<f64>, word: &str) {
        let report = report(direction(600, -16.0, Some(440.0), lost_there), received);
        let verdict = Verdict::of_audio(Some(&report), expected_hz);
        assert_eq!(verdict.word(), word, "{verdict}");
    }

    #[test]
    fn audio_both_ways_is_well_and_each_thing_that_lacks_has_its_word() {
        let tone = direction(600, -16.0, Some(440.0), NONE_LOST);
        check(tone, NONE_LOST, None, "ok");
        check(tone, NONE_LOST, Some(440.0), "ok");
        check(tone, NONE_LOST, Some(1000.0), "tone-not-heard");
        check(tone, None, None, "one-way-audio");
        check(direction(600, -70.0, None, NONE_LOST), NONE_LOST, None, "silence");
        check(direction(600, -70.0, Some(440.0), NONE_LOST), NONE_LOST, Some(440.0), "tone-not-heard");
        check(direction(0, -96.0, None, None), None, None, "no-audio");
        check(direction(0, -96.0, None, None), NONE_LOST, None, "one-way-audio");
        assert_eq!(Verdict::of_audio(None, None), Verdict::NoAudio);
    }

    #[test]
    fn a_far_end_that_had_no_time_to_report_is_not_accused() {
        let heard = direction(100, -16.0, None, NONE_LOST);
        let report = report(direction(100, -16.0, None, None), heard);
        assert_eq!(Verdict::of_audio(Some(&report), None), Verdict::Ok);
    }

    #[test]
    fn a_status_means_what_it_means_to_whoever_calls() {
        for (code, rang, word) in [
            (200, false, "ok"),
            (486, true, "busy"),
            (600, false, "busy"),
            (404, false, "nobody-there"),
            (480, false, "nobody-there"),
            (480, true, "no-answer"),
            (408, true, "no-answer"),
            (408, false, "unreachable"),
            (603, true, "declined"),
            (407, false, "wrong-password"),
            (488, false, "refused"),
        ] {
            assert_eq!(Verdict::of_status(Status::of(code), rang).word(), word, "{code}");
        }
        assert_eq!(Verdict::of_end(EndReason::NoResponse, false), Verdict::Unreachable);
        assert_eq!(Verdict::of_end(EndReason::NoResponse, true), Verdict::NoAnswer);
    }
}
