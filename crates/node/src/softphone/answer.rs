//! A phone that is registered and answers, or refuses, whoever calls.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dialtone_roles::io::{CallHandle, Command, EndReason, Event};
use dialtone_roles::settings::AudioCodec;
use dialtone_wire::Status;
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;

use super::sound::{NewSound, SoundError};
use super::verdict::{end_word, end_words};
use super::{END_TIME, Identity, RECORD_SAMPLES_MAX, SoftphoneError, Sound, TICK};
use crate::clock;
use crate::media::{MediaReport, MediaSettings};
use crate::phone::{Phone, PhoneEvent};

/// What a phone does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Lets it ring so long, then answers.
    Answer(Duration),
    /// 486 Busy Here.
    Busy,
    /// 603 Decline.
    Decline,
    /// Another refusal; see [`Reply::refusal`].
    Refuse(Status),
}

impl Reply {
    /// A refusal with a status from 400 to 699.
    pub fn refusal(code: u16) -> Option<Reply> {
        Status::new(code).filter(|status| status.class() >= 4).map(Reply::Refuse)
    }
}

/// What a phone is started with.
#[derive(Clone, Debug)]
pub struct AnswerConfig {
    /// Who it is.
    pub identity: Identity,
    /// What it does with calls.
    pub reply: Reply,
    /// What it plays into them.
    pub sound: Sound,
    /// The codecs that it takes, the preferred one first.
    pub codecs: Vec<AudioCodec>,
    /// The folder that each call is recorded in.
    pub record: Option<PathBuf>,
}

/// What a phone tells its owner. Calls are numbered from 1.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnswerEvent {
    /// It runs, and listens here.
    Ready(SocketAddr),
    /// Its registration stands for so many seconds.
    Registered(u32),
    /// The server's clock is ahead of ours by so many seconds, or behind where that is negative.
    ClockDiffers(i64),
    /// Its registration was refused, or nobody answered; unless the password is wrong it is tried again.
    RegistrationFailed {
        /// The status; `None` when nobody answered.
        status: Option<Status>,
        /// Whether the password is wrong.
        wrong_password: bool,
    },
    /// Somebody calls.
    Incoming {
        /// The call.
        number: u64,
        /// Who.
        from: UriBuf,
    },
    /// The two talk.
    Answered {
        /// The call.
        number: u64,
    },
    /// A call is over.
    Ended {
        /// The call.
        number: u64,
        /// Why, as one word.
        reason: &'static str,
        /// Why, in words.
        words: &'static str,
        /// Its audio.
        audio: Option<Box<MediaReport>>,
        /// Where it was recorded, if it was to be.
        recording: Option<Result<PathBuf, SoundError>>,
    },
    /// Its registration was taken away.
    Unregistered,
}

/// Why a phone ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerEnd {
    /// Its owner wanted it, and all was taken down in good order.
    Stopped,
    /// Its owner wanted it, and the server did not confirm the end of the registration.
    StillRegistered,
    /// The password is wrong.
    WrongPassword,
}

/// Registers and answers until `stop` is set; then hangs up and takes the registration away.
///
/// # Errors
/// When there is no phone.
pub fn answer(
    config: &AnswerConfig,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(AnswerEvent),
) -> Result<AnswerEnd, SoftphoneError> {
    let media = MediaSettings {
        record_samples_max: if config.record.is_some() { RECORD_SAMPLES_MAX } else { 0 },
        prepared: config.sound.prepared(),
        ..MediaSettings::default()
    };
    let phone = config.identity.start(None, config.codecs.clone(), media)?;
    let mut desk = Desk {
        config,
        phone: &phone,
        tell,
        calls: BTreeMap::new(),
        last_number: 0,
        is_registered: false,
        wrong_password: false,
    };
    (desk.tell)(AnswerEvent::Ready(phone.address()));
    desk.command(Command::Register);
    while !stop.load(Ordering::Relaxed) && !desk.wrong_password {
        desk.step();
    }
    let end = desk.close();
    phone.stop();
    Ok(end)
}

/// One call of the phone.
struct Call {
    number: u64,
    /// When it is answered, if it still rings.
    answer_at: Option<Instant>,
    /// Whether it was answered: then figures of its audio come.
    accepted: bool,
    ended: Option<(EndReason, Instant)>,
    audio: Option<Box<MediaReport>>,
}

struct Desk<'a> {
    config: &'a AnswerConfig,
    phone: &'a Phone,
    tell: &'a mut dyn FnMut(AnswerEvent),
    calls: BTreeMap<CallHandle, Call>,
    last_number: u64,
    is_registered: bool,
    wrong_password: bool,
}

impl Desk<'_> {
    fn command(&self, command: Command) {
        if self.phone.command(command).is_err() {
            tracing::warn!("the phone has too much to do: a command was lost");
        }
    }

    /// Takes what comes within a tick, and does what is due.
    fn step(&mut self) {
        let next_answer = self.calls.values().filter_map(|call| call.answer_at).min();
        let now = clock::now();
        let patience = next_answer.map_or(TICK, |at| at.since(now).min(TICK));
        match self.phone.next(patience) {
            Some(PhoneEvent::Signalling(event)) => self.handle(event),
            Some(PhoneEvent::Audio(report)) => {
                if let Some(call) = self.calls.get_mut(&report.call) {
                    call.audio = Some(report);
                }
            }
            None => {}
        }
        self.answer_due();
        self.forget_ended();
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Registered { expires_s } => {
                self.is_registered = true;
                (self.tell)(AnswerEvent::Registered(expires_s));
            }
            Event::ClockDiffers { ahead_s } => (self.tell)(AnswerEvent::ClockDiffers(ahead_s)),
            Event::RegistrationFailed { status, wrong_password } => {
                self.wrong_password |= wrong_password;
                (self.tell)(AnswerEvent::RegistrationFailed { status, wrong_password });
            }
            Event::Unregistered => {
                self.is_registered = false;
                (self.tell)(AnswerEvent::Unregistered);
            }
            Event::Incoming { call, from } => self.incoming(call, from),
            Event::Answered { call } => {
                if let Some(call) = self.calls.get(&call) {
                    (self.tell)(AnswerEvent::Answered { number: call.number });
                }
            }
            Event::Ended { call, reason } => {
                if let Some(call) = self.calls.get_mut(&call) {
                    call.answer_at = None;
                    call.ended = Some((reason, clock::now()));
                }
            }
            _ => {}
        }
    }

    fn incoming(&mut self, handle: CallHandle, from: UriBuf) {
        self.last_number += 1;
        let number = self.last_number;
        let mut call = Call { number, answer_at: None, accepted: false, ended: None, audio: None };
        (self.tell)(AnswerEvent::Incoming { number, from });
        match self.config.reply {
            Reply::Answer(after) => call.answer_at = Some(clock::now() + after),
            Reply::Busy => self.command(Command::Decline { call: handle, status: Status::of(486) }),
            Reply::Decline => self.command(Command::Decline { call: handle, status: Status::of(603) }),
            Reply::Refuse(status) => self.command(Command::Decline { call: handle, status }),
        }
        self.calls.insert(handle, call);
    }

    fn answer_due(&mut self) {
        let now = clock::now();
        for (handle, call) in &mut self.calls {
            if call.answer_at.take_if(|at| *at <= now).is_some() {
                call.accepted = true;
                let answer = Command::Answer { call: *handle, play: self.config.sound.play() };
                if self.phone.command(answer).is_err() {
                    tracing::warn!("the phone has too much to do: a call is not answered");
                }
            }
        }
    }

    /// Tells of calls that are over once the figures of their audio are there, or will not come.
    fn forget_ended(&mut self) {
        let now = clock::now();
        let over = self.calls.iter().filter(|(_, call)| {
            call.ended.is_some_and(|(_, at)| !call.accepted || call.audio.is_some() || now >= at + END_TIME)
        });
        let over: Vec<CallHandle> = over.map(|(handle, _)| *handle).collect();
        for handle in over {
            let Some(mut call) = self.calls.remove(&handle) else { continue };
            let Some((reason, _)) = call.ended else { continue };
            let samples = call.audio.as_mut().map(|audio| std::mem::take(&mut audio.recording));
            let recording = self.config.record.as_ref().zip(samples);
            let recording = recording
                .map(|(folder, samples)| NewSound::create_in(folder).and_then(|new| new.save(&samples)));
            (self.tell)(AnswerEvent::Ended {
                number: call.number,
                reason: end_word(reason),
                words: end_words(reason),
                audio: call.audio,
                recording,
            });
        }
    }

    /// Hangs up all calls, then takes the registration away.
    fn close(&mut self) -> AnswerEnd {
        for (handle, call) in &mut self.calls {
            call.answer_at = None;
            if self.phone.command(Command::Hangup { call: *handle }).is_err() {
                tracing::warn!("the phone has too much to do: a call is not ended");
            }
        }
        if self.wrong_password {
            return AnswerEnd::WrongPassword;
        }
        let was_registered = self.is_registered;
        self.command(Command::Unregister);
        let deadline = clock::now() + END_TIME;
        while (!self.calls.is_empty() || self.is_registered) && clock::now() < deadline {
            self.step();
        }
        if was_registered && self.is_registered { AnswerEnd::StillRegistered } else { AnswerEnd::Stopped }
    }
}
