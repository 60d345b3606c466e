//! One phone of a demonstration: what it is told to do, and what it is waited for.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dialtone_roles::io::{CallHandle, Command, EndReason, Event, Play};
use dialtone_roles::settings::{Account, AudioCodec, Password, TransferSettings};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use thiserror::Error;

use super::judge::{Heard, Sound};
use crate::clock;
use crate::media::{MediaReport, MediaSettings};
use crate::phone::{Phone, PhoneConfig, PhoneEvent};
use crate::running::StartError;
use crate::tap::Tap;

/// How long each step of the signalling may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The talk goes on after the sound is over, so that all of it has arrived.
const AFTER_SOUND: Duration = Duration::from_millis(400);
/// Recorded beyond the talk, in samples: one second.
const RECORD_MORE: usize = 8_000;
/// Registration time asked for, in seconds.
const EXPIRES_S: u32 = 600;

/// Why there was no call that could be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Failure {
    /// A phone could not register.
    #[error("{phone} could not register: {}", registration(*status, *wrong_password))]
    Registration {
        /// Which.
        phone: &'static str,
        /// The status; `None` when nobody answered.
        status: Option<u16>,
        /// Whether the password was refused.
        wrong_password: bool,
    },
    /// A call ended before its time.
    #[error("the call of {phone} ended: {}", ended(*reason))]
    Ended {
        /// Whose.
        phone: &'static str,
        /// Why.
        reason: EndReason,
    },
    /// Something did not happen in time.
    #[error("{phone} waited in vain for {awaited}")]
    TooLate {
        /// Which.
        phone: &'static str,
        /// What it waited for.
        awaited: &'static str,
    },
    /// A phone took no command.
    #[error("{phone} has too much to do")]
    Busy {
        /// Which.
        phone: &'static str,
    },
}

fn registration(status: Option<u16>, wrong_password: bool) -> String {
    match status {
        _ if wrong_password => "the password was refused".to_owned(),
        Some(status) => format!("the server answered {status}"),
        None => "the server did not answer".to_owned(),
    }
}

fn ended(reason: EndReason) -> String {
    match reason {
        EndReason::LocalHangup => "it hung up itself".to_owned(),
        EndReason::RemoteHangup => "the other side hung up".to_owned(),
        EndReason::Refused(status) => format!("refused with {}", status.code()),
        EndReason::WrongPassword => "the password was refused".to_owned(),
        EndReason::NoResponse => "nobody answered".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Lets a call that the caller has begun be answered, lets both talk, and has the called one hang up.
pub(super) fn converse(caller: &mut Seat, called: &mut Seat, talk: Duration) -> Result<(), Failure> {
    let incoming = called.expect("the call", |event| match event {
        Event::Incoming { call, .. } => Some(*call),
        _ => None,
    })?;
    // It rings at the caller before it is answered, as among people.
    caller.expect("ringing", |event| matches!(event, Event::Progress { .. }).then_some(()))?;
    called.command(Command::Answer { call: incoming, play: Play::Prepared(0) })?;
    let answered = |event: &Event| match event {
        Event::Answered { call } => Some(*call),
        _ => None,
    };
    caller.expect("the answer", answered)?;
    let call: CallHandle = called.expect("the acknowledgement", answered)?;
    caller.stay(talk + AFTER_SOUND)?;
    called.command(Command::Hangup { call })?;
    for seat in [called, caller] {
        seat.ending = true;
        seat.expect("the end of the call", |event| matches!(event, Event::Ended { .. }).then_some(()))?;
        seat.await_audio()?;
    }
    Ok(())
}

/// Somebody of a domain, whose requests go to this server.
pub(super) fn account(name: &str, domain: &str, password: Password, server: SocketAddr) -> Account {
    Account {
        aor: UriBuf::parse(&format!("sip:{name}@{domain}")).expect("both are plain words"),
        display_name: None,
        auth_user: name.into(),
        password,
        proxy: Some(UriBuf::for_address(None, server)),
        backup_proxy: None,
        realms: Vec::new(),
        expires_s: EXPIRES_S,
    }
}

/// One phone with what it told and nobody asked for yet.
pub(super) struct Seat {
    name: &'static str,
    phone: Phone,
    events: VecDeque<Event>,
    audio: Option<MediaReport>,
    /// The end of the call is what everybody waits for.
    ending: bool,
}

impl Seat {
    /// A phone of this name at this address, which plays this sound.
    pub(super) fn start(
        name: &'static str,
        ip: IpAddr,
        account: Account,
        sound: &Sound,
        tap: Tap,
    ) -> Result<Seat, StartError> {
        let media = MediaSettings {
            record_samples_max: sound.samples.len() + RECORD_MORE,
            prepared: vec![Arc::clone(&sound.samples)],
            ..MediaSettings::default()
        };
        let tap = Some(tap);
        let phone = Phone::start(PhoneConfig {
            account,
            ip,
            port: 0,
            codecs: AudioCodec::ALL.to_vec(),
            video: false,
            transfer: TransferSettings::default(),
            media,
            tap,
        })?;
        Ok(Seat { name, phone, events: VecDeque::new(), audio: None, ending: false })
    }

    /// Where it is.
    pub(super) fn address(&self) -> SocketAddr {
        self.phone.address()
    }

    /// Registers.
    pub(super) fn register(&mut self) -> Result<(), Failure> {
        self.command(Command::Register)?;
        self.expect("the registration", |event| matches!(event, Event::Registered { .. }).then_some(()))
    }

    /// Ends the registration.
    pub(super) fn unregister(&mut self) -> Result<(), Failure> {
        self.command(Command::Unregister)?;
        self.expect("the end of the registration", |event| matches!(event, Event::Unregistered).then_some(()))
    }

    /// Calls somebody.
    pub(super) fn call(&self, to: &str) -> Result<(), Failure> {
        let to = UriBuf::parse(to).expect("the script has it right");
        self.command(Command::Call { token: 1, to, play: Play::Prepared(0) })
    }

    pub(super) fn command(&self, command: Command) -> Result<(), Failure> {
        self.phone.command(command).map_err(|_| Failure::Busy { phone: self.name })
    }

    /// Takes the next thing that comes; false when the time is over.
    fn take(&mut self, deadline: Instant) -> Result<bool, Failure> {
        match self.phone.next(deadline.since(clock::now())) {
            Some(PhoneEvent::Signalling(event)) => {
                self.judge(&event)?;
                self.events.push_back(event);
            }
            Some(PhoneEvent::Audio(report)) => self.audio = Some(*report),
            None => return Ok(false),
        }
        Ok(true)
    }

    fn judge(&self, event: &Event) -> Result<(), Failure> {
        let phone = self.name;
        match event {
            Event::RegistrationFailed { status, wrong_password } => Err(Failure::Registration {
                phone,
                status: status.map(|status| status.code()),
                wrong_password: *wrong_password,
            }),
            Event::Ended { reason, .. } if !self.ending => Err(Failure::Ended { phone, reason: *reason }),
            _ => Ok(()),
        }
    }

    /// Waits for an event; those before it are forgotten.
    pub(super) fn expect<T>(
        &mut self,
        awaited: &'static str,
        pick: impl Fn(&Event) -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = clock::now() + PATIENCE;
        loop {
            while let Some(event) = self.events.pop_front() {
                if let Some(found) = pick(&event) {
                    return Ok(found);
                }
            }
            if !self.take(deadline)? {
                return Err(Failure::TooLate { phone: self.name, awaited });
            }
        }
    }

    /// Lets the time pass.
    fn stay(&mut self, time: Duration) -> Result<(), Failure> {
        let deadline = clock::now() + time;
        while self.take(deadline)? {}
        Ok(())
    }

    fn await_audio(&mut self) -> Result<(), Failure> {
        let deadline = clock::now() + PATIENCE;
        while self.audio.is_none() {
            if !self.take(deadline)? {
                return Err(Failure::TooLate { phone: self.name, awaited: "the figures of its audio" });
            }
        }
        Ok(())
    }

    pub(super) fn stop(self) -> Option<Heard> {
        self.phone.stop();
        self.audio.map(|audio| Heard { report: audio.report, recording: audio.recording })
    }
}
