//! One call: placed, listened to, ended and judged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dialtone_media::Ringback;
use dialtone_roles::io::{CallHandle, Command, EndReason, Event};
use dialtone_roles::settings::{AudioCodec, JoinPolicy, ReplacesPolicy, TransferSettings};
use dialtone_wire::Status;
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;

use super::ear::Ear;
use super::verdict::{Verdict, end_word, end_words};
use super::{END_TIME, Identity, RECORD_SAMPLES_MAX, SoftphoneError, Sound, TICK};
use crate::clock;
use crate::media::{MediaReport, MediaSettings};
use crate::phone::{Phone, PhoneEvent};

/// What a call is placed with.
#[derive(Clone, Debug)]
pub struct CallConfig {
    /// Who calls.
    pub identity: Identity,
    /// Whom.
    pub to: UriBuf,
    /// What is played.
    pub sound: Sound,
    /// The codecs that are offered, the preferred one first.
    pub codecs: Vec<AudioCodec>,
    /// How long it may ring.
    pub ring: Duration,
    /// How long the talk lasts, unless the far end hangs up before.
    pub duration: Duration,
    /// Whether what is heard is kept.
    pub record: bool,
    /// The ringback that is heard while the far end rings and sends no sound.
    pub ringback: Option<Ringback>,
    /// Whether sound must arrive for the call to be well.
    pub needs_audio: bool,
    /// The tone that must be heard, in hertz.
    pub expect_tone_hz: Option<f64>,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Progress {
    /// Nothing came back yet, for so long.
    Calling(Duration),
    /// It rings, for so long.
    Ringing(Duration),
    /// The two talk, for so long.
    Talking(Duration),
}

/// How a call went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallReport {
    /// The judgement.
    pub verdict: Verdict,
    /// The final status of a call that was not answered.
    pub status: Option<Status>,
    /// Whether it rang.
    pub rang: bool,
    /// How long there was ringback of our own making.
    pub ringback_time: Duration,
    /// That ringback at 8 kHz, where the call is recorded: what was heard before [`CallReport::audio`].
    pub ringback: Vec<i16>,
    /// Where it was sent by 3xx answers and went, one after the other.
    pub redirected: Vec<UriBuf>,
    /// The realms of those who asked for the password and are not our own server: they got nothing.
    pub password_kept: Vec<SmolStr>,
    /// Where a refusal says that more can be heard or read of it (Error-Info, RFC 3261 §20.18).
    pub error_info: Option<UriBuf>,
    /// From the call to the answer.
    pub answered_after: Option<Duration>,
    /// From the answer to the end.
    pub talk: Option<Duration>,
    /// Why it ended; `None` when its end was not seen.
    pub ended: Option<EndReason>,
    /// The audio of an answered call.
    pub audio: Option<MediaReport>,
}

impl CallReport {
    /// What was heard, at 8 kHz and for an hour at most: ringback, then the far end.
    pub fn heard(&self) -> Vec<i16> {
        let recording = self.audio.as_ref().map_or(&[][..], |audio| &audio.recording);
        self.ringback.iter().chain(recording).copied().take(RECORD_SAMPLES_MAX).collect()
    }

    /// Why it ended, as one word and in words.
    pub fn ended_words(&self) -> Option<(&'static str, &'static str)> {
        self.ended.map(|reason| (end_word(reason), end_words(reason)))
    }
}

/// Most realms whose names a report keeps.
const REALMS_MAX: usize = 16;

/// Places a call and waits for its end. Setting `stop` hangs up; `tell` hears of its progress some times a second.
///
/// # Errors
/// When there is no phone to call with.
pub fn call(
    config: &CallConfig,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Progress),
) -> Result<CallReport, SoftphoneError> {
    let media = MediaSettings {
        record_samples_max: if config.record { RECORD_SAMPLES_MAX } else { 0 },
        prepared: config.sound.prepared(),
        ..MediaSettings::default()
    };
    // There is this one call, and nobody takes its place or joins it.
    let transfer = TransferSettings {
        replaces: ReplacesPolicy::Refuse,
        joins: JoinPolicy::Refuse,
        ..TransferSettings::default()
    };
    let phone = config.identity.start(Some(&config.to), config.codecs.clone(), transfer, false, media)?;
    let begun = clock::now();
    let mut course = Course::new(begun, Ear::new(config.ringback, config.record));
    let command = Command::Call { token: 1, to: config.to.clone(), play: config.sound.play() };
    if phone.command(command).is_err() {
        course.ended = Some((EndReason::Overload, begun));
    }
    course.run(config, &phone, stop, tell);
    phone.stop();
    Ok(course.report(config))
}

/// What has been seen of the call.
struct Course {
    begun: Instant,
    call: Option<CallHandle>,
    redirected: Vec<UriBuf>,
    password_kept: Vec<SmolStr>,
    error_info: Option<UriBuf>,
    rang_at: Option<Instant>,
    ear: Ear,
    answered_at: Option<Instant>,
    /// When we hung up.
    hung_up_at: Option<Instant>,
    ended: Option<(EndReason, Instant)>,
    audio: Option<MediaReport>,
    /// Whether the owner wanted to stop.
    stopped: bool,
}

impl Course {
    fn new(begun: Instant, ear: Ear) -> Course {
        Course {
            begun,
            call: None,
            redirected: Vec::new(),
            password_kept: Vec::new(),
            error_info: None,
            rang_at: None,
            ear,
            answered_at: None,
            hung_up_at: None,
            ended: None,
            audio: None,
            stopped: false,
        }
    }

    fn run(&mut self, config: &CallConfig, phone: &Phone, stop: &AtomicBool, tell: &mut dyn FnMut(Progress)) {
        while !self.is_over() {
            let patience = self.deadline(config).since(clock::now()).min(TICK);
            match phone.next(patience) {
                Some(PhoneEvent::Signalling(event)) => self.handle(&event),
                Some(PhoneEvent::Audio(report)) => self.audio = Some(*report),
                None => {}
            }
            let now = clock::now();
            if stop.load(Ordering::Relaxed) {
                self.stopped = true;
            }
            if self.hung_up_at.is_none() && (self.stopped || now >= self.deadline(config)) {
                self.hung_up_at = Some(now);
                self.ear.stop(now);
                if let Some(call) = self.call {
                    // A phone with one call has room for a command.
                    let _ = phone.command(Command::Hangup { call });
                }
            } else if self.hung_up_at.is_some_and(|at| now >= at + END_TIME) {
                return;
            }
            if self.hung_up_at.is_none() && self.ended.is_none() {
                tell(self.progress(now));
            }
        }
    }

    fn handle(&mut self, event: &Event) {
        let now = clock::now();
        if self.hung_up_at.is_none() {
            self.ear.handle(now, event);
        }
        match event {
            Event::CallStarted { call, .. } => self.call = Some(*call),
            // RFC 3261 §21.1.1: 100 says only that a server has the request.
            Event::Progress { status, .. } if status.code() > 100 => {
                self.rang_at.get_or_insert(now);
            }
            Event::Redirected { to, .. } => self.redirected.push(to.clone()),
            Event::PasswordKept { realm } if self.password_kept.len() < REALMS_MAX => {
                self.password_kept.push(realm.clone());
            }
            Event::ErrorInfo { uri, .. } => self.error_info = Some(uri.clone()),
            Event::Answered { .. } => {
                self.answered_at.get_or_insert(now);
            }
            Event::Ended { reason, .. } => self.ended = Some((*reason, now)),
            _ => {}
        }
    }

    /// When something must have happened: the answer, the end of the talk, or the last word about it.
    fn deadline(&self, config: &CallConfig) -> Instant {
        match (self.ended, self.hung_up_at, self.answered_at) {
            (Some((_, at)), _, _) | (None, Some(at), _) => at + END_TIME,
            (None, None, Some(at)) => at + config.duration,
            (None, None, None) => self.begun + config.ring,
        }
    }

    fn is_over(&self) -> bool {
        let Some((_, at)) = self.ended else { return false };
        let awaits_audio = self.answered_at.is_some() && self.audio.is_none();
        !awaits_audio || clock::now() >= at + END_TIME
    }

    fn progress(&self, now: Instant) -> Progress {
        match (self.answered_at, self.rang_at) {
            (Some(at), _) => Progress::Talking(now.since(at)),
            (None, Some(at)) => Progress::Ringing(now.since(at)),
            (None, None) => Progress::Calling(now.since(self.begun)),
        }
    }

    fn report(self, config: &CallConfig) -> CallReport {
        let rang = self.rang_at.is_some();
        let ended = self.ended.map(|(reason, _)| reason);
        let ended_at = self.hung_up_at.or(self.ended.map(|(_, at)| at));
        let verdict = match (self.answered_at, ended) {
            (Some(_), Some(EndReason::LocalHangup | EndReason::RemoteHangup)) if config.needs_audio => {
                let report = self.audio.as_ref().map(|audio| &audio.report);
                Verdict::of_audio(report, config.expect_tone_hz)
            }
            (Some(_), Some(EndReason::LocalHangup | EndReason::RemoteHangup)) => Verdict::Ok,
            (Some(_), Some(reason)) => Verdict::BrokenOff(reason),
            // Our BYE was never answered.
            (Some(_), None) => Verdict::BrokenOff(EndReason::NoResponse),
            (None, _) if self.stopped => Verdict::GivenUp,
            (None, Some(EndReason::LocalHangup) | None) if rang => Verdict::NoAnswer,
            (None, Some(EndReason::LocalHangup) | None) => Verdict::Unreachable,
            (None, Some(reason)) => Verdict::of_end(reason, rang),
        };
        let status = match ended {
            Some(EndReason::Refused(status)) => Some(status),
            _ => None,
        };
        let (ringback_time, ringback) = self.ear.heard();
        CallReport {
            verdict,
            status,
            rang,
            ringback_time,
            ringback,
            redirected: self.redirected,
            password_kept: self.password_kept,
            error_info: self.error_info,
            answered_after: self.answered_at.map(|at| at.since(self.begun)),
            talk: self.answered_at.zip(ended_at).map(|(from, to)| to.since(from)),
            ended,
            audio: self.audio,
        }
    }
}
