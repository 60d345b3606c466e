//! The course of the demonstration: register, call, talk, hang up, unregister.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dialtone_roles::io::{CallHandle, Command, EndReason, Event, Play};
use dialtone_roles::settings::{Account, AudioCodec, Password};
use dialtone_wire::net::Transport;
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use thiserror::Error;

use super::capture::Capture;
use super::judge::{Heard, Sound};
use super::{ALICE, BOB, DemoConfig, PARTICIPANTS, SERVER};
use crate::clock;
use crate::listen::ListenAddress;
use crate::media::{MediaReport, MediaSettings};
use crate::phone::{Phone, PhoneConfig, PhoneEvent};
use crate::running::StartError;
use crate::server::{Data, Server, ServerConfig};

/// The domain of the demonstration; `.test` is nobody's (RFC 6761 §6.2).
pub const DOMAIN: &str = "demo.test";
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

/// What the script leaves behind.
pub(super) struct Outcome {
    /// Where the participants were.
    pub(super) addresses: [SocketAddr; 3],
    pub(super) failure: Option<Failure>,
    /// What alice and bob told of their audio.
    pub(super) heard: [Option<Heard>; 2],
}

/// Starts all three, lets them talk, and stops them.
pub(super) fn run(
    config: &DemoConfig,
    capture: &Capture,
    sounds: &[Sound; 2],
) -> Result<Outcome, StartError> {
    let ips = config.addresses();
    let listen = ListenAddress { transport: Transport::Udp, address: SocketAddr::new(ips[SERVER], 0) };
    let server = Server::start(ServerConfig {
        domains: vec![DOMAIN.to_owned()],
        listen: vec![listen],
        shards: Some(config.shards),
        tap: Some(capture.tap(SERVER)),
        ..ServerConfig::new(Data::Memory)
    })?;
    let address = server.listeners()[0].address;
    let seat = |participant: usize, sound: &Sound| {
        let name = PARTICIPANTS[participant];
        let user = server.new_users().iter().find(|user| user.name == name);
        let password = Password(user.map(|user| user.password.clone()).unwrap_or_default());
        Seat::start(participant, ips[participant], account(name, password, address), sound, capture)
    };
    let seats = seat(ALICE, &sounds[0]).and_then(|alice| Ok((alice, seat(BOB, &sounds[1])?)));
    let (mut alice, mut bob) = match seats {
        Ok(seats) => seats,
        Err(error) => {
            server.stop();
            return Err(error);
        }
    };
    let addresses = [alice.phone.address(), address, bob.phone.address()];
    let failure = call(&mut alice, &mut bob, config.talk()).err();
    let heard = [alice.stop(), bob.stop()];
    server.stop();
    Ok(Outcome { addresses, failure, heard })
}

fn account(name: &str, password: Password, server: SocketAddr) -> Account {
    Account {
        aor: UriBuf::parse(&format!("sip:{name}@{DOMAIN}")).expect("both are plain words"),
        display_name: None,
        auth_user: name.into(),
        password,
        proxy: Some(UriBuf::for_address(None, server)),
        backup_proxy: None,
        expires_s: EXPIRES_S,
    }
}

fn call(alice: &mut Seat, bob: &mut Seat, talk: Duration) -> Result<(), Failure> {
    for seat in [&mut *alice, &mut *bob] {
        seat.command(Command::Register)?;
        seat.expect("the registration", |event| matches!(event, Event::Registered { .. }).then_some(()))?;
    }
    let to = UriBuf::parse(&format!("sip:bob@{DOMAIN}")).expect("both are plain words");
    alice.command(Command::Call { token: 1, to, play: Play::Prepared(0) })?;
    let incoming = bob.expect("the call", |event| match event {
        Event::Incoming { call, .. } => Some(*call),
        _ => None,
    })?;
    // It rings at the caller before it is answered, as among people.
    alice.expect("ringing", |event| matches!(event, Event::Progress { .. }).then_some(()))?;
    bob.command(Command::Answer { call: incoming, play: Play::Prepared(0) })?;
    let answered = |event: &Event| match event {
        Event::Answered { call } => Some(*call),
        _ => None,
    };
    alice.expect("the answer", answered)?;
    let bobs: CallHandle = bob.expect("the acknowledgement", answered)?;
    alice.stay(talk + AFTER_SOUND)?;
    bob.command(Command::Hangup { call: bobs })?;
    for seat in [&mut *bob, &mut *alice] {
        seat.ending = true;
        seat.expect("the end of the call", |event| matches!(event, Event::Ended { .. }).then_some(()))?;
        seat.await_audio()?;
    }
    for seat in [alice, bob] {
        seat.command(Command::Unregister)?;
        seat.expect("the end of the registration", |event| {
            matches!(event, Event::Unregistered).then_some(())
        })?;
    }
    Ok(())
}

/// One phone with what it told and nobody asked for yet.
struct Seat {
    name: &'static str,
    phone: Phone,
    events: VecDeque<Event>,
    audio: Option<MediaReport>,
    /// The end of the call is what everybody waits for.
    ending: bool,
}

impl Seat {
    fn start(
        participant: usize,
        ip: IpAddr,
        account: Account,
        sound: &Sound,
        capture: &Capture,
    ) -> Result<Seat, StartError> {
        let media = MediaSettings {
            record_samples_max: sound.samples.len() + RECORD_MORE,
            prepared: vec![Arc::clone(&sound.samples)],
            ..MediaSettings::default()
        };
        let tap = Some(capture.tap(participant));
        let phone =
            Phone::start(PhoneConfig { account, ip, port: 0, codecs: AudioCodec::ALL.to_vec(), media, tap })?;
        Ok(Seat {
            name: PARTICIPANTS[participant],
            phone,
            events: VecDeque::new(),
            audio: None,
            ending: false,
        })
    }

    fn command(&self, command: Command) -> Result<(), Failure> {
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
    fn expect<T>(&mut self, awaited: &'static str, pick: impl Fn(&Event) -> Option<T>) -> Result<T, Failure> {
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

    fn stop(self) -> Option<Heard> {
        self.phone.stop();
        self.audio.map(|audio| Heard { report: audio.report, recording: audio.recording })
    }
}
