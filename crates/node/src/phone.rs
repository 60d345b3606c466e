//! A telephone: one account on sockets of its own, driven by commands and told of by events.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use dialtone_roles::io::{Command, Event};
use dialtone_roles::settings::{
    Account, AudioCodec, Listener, Secret, SessionSettings, Settings, TransferSettings,
};
use dialtone_transport::stream::StreamSettings;
use dialtone_wire::net::Transport;

use crate::counters::Counters;
use crate::listen::{own_addresses, prefix_length};
use crate::media::{MediaReport, MediaSettings, Meter};
use crate::running::{ENGINE_TURN, NodeParts, Running, StartError};
use crate::shard::DumpPlace;
use crate::tap::Tap;
use crate::users::Users;
use crate::{clock, random};

/// Events that wait for the owner at most; more are dropped and logged.
const EVENTS_MAX: usize = 4_096;
/// Connections that a phone has at most.
const CONNECTIONS_MAX: usize = 256;

/// What a phone is started with.
#[derive(Clone, Debug)]
pub struct PhoneConfig {
    /// Who it is.
    pub account: Account,
    /// Its own address.
    pub ip: IpAddr,
    /// Its own port, of UDP and of TCP; 0 for any two. It speaks TCP where a URI says `transport=tcp`: that of its
    /// proxy, or of whom it calls.
    pub port: u16,
    /// The codecs that it offers and takes, the preferred one first.
    pub codecs: Vec<AudioCodec>,
    /// Whether it takes the video that it is offered: received and counted, nothing is sent.
    pub video: bool,
    /// Who may transfer its calls.
    pub transfer: TransferSettings,
    /// What its media thread does.
    pub media: MediaSettings,
    /// Listens in on all messages.
    pub tap: Option<Tap>,
}

/// What a phone tells its owner.
#[derive(Debug)]
#[non_exhaustive]
pub enum PhoneEvent {
    /// What happened in the signalling.
    Signalling(Event),
    /// How the audio of a call was: after its end.
    Audio(Box<MediaReport>),
}

/// The phone has too much to do; the command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the phone has too much to do")]
pub struct Busy;

/// A running phone.
#[derive(Debug)]
pub struct Phone {
    running: Running,
    events: Receiver<PhoneEvent>,
}

impl Phone {
    /// Starts a phone. It does nothing until it is told to: [`Command::Register`] comes first.
    ///
    /// # Errors
    /// When its address can't be bound.
    pub fn start(config: PhoneConfig) -> Result<Phone, StartError> {
        let own = own_addresses()?;
        let listener = |transport| Listener {
            transport,
            address: SocketAddr::new(config.ip, config.port),
            prefix_length: prefix_length(config.ip, &own),
        };
        let settings = Settings {
            unix_start_s: clock::unix_start_s(),
            listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
            account: Some(config.account),
            codecs: config.codecs,
            transfer: config.transfer,
            session: SessionSettings { video: config.video, ..SessionSettings::default() },
            ..Settings::new(Secret(random::seed()))
        };
        let (events, waiting) = sync_channel(EVENTS_MAX);
        let reports = events.clone();
        let running = Running::start(NodeParts {
            settings,
            users: Users::default(),
            media: config.media,
            events: Arc::new(move |_, event| tell(&events, PhoneEvent::Signalling(event))),
            reports: Box::new(move |report| tell(&reports, PhoneEvent::Audio(Box::new(report)))),
            tap: config.tap,
            dumps: DumpPlace::default(),
            streams: StreamSettings { connections_max: CONNECTIONS_MAX, ..StreamSettings::default() },
            turn: ENGINE_TURN,
            journal: None,
        })?;
        Ok(Phone { running, events: waiting })
    }

    /// Its address of UDP, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.running.settings().listeners[0].address
    }

    /// Gives it a command.
    ///
    /// # Errors
    /// When it has too much to do.
    pub fn command(&self, command: Command) -> Result<(), Busy> {
        if self.running.command(0, command) { Ok(()) } else { Err(Busy) }
    }

    /// The next event, or `None` when none comes within this time.
    pub fn next(&self, patience: Duration) -> Option<PhoneEvent> {
        self.events.recv_timeout(patience).ok()
    }

    /// What the audio of its calls is like now, changes of their sessions that it has told of included; `None` when its
    /// media thread is too busy to tell. Its levels are those since the last look.
    pub fn meters(&self) -> Option<Vec<Meter>> {
        self.running.meters()
    }

    /// Ends it and gives its counters. A registration stays at the registrar until it expires: send
    /// [`Command::Unregister`] before.
    pub fn stop(self) -> Counters {
        self.running.stop()
    }
}

fn tell(owner: &SyncSender<PhoneEvent>, event: PhoneEvent) {
    if owner.try_send(event).is_err() {
        tracing::warn!("an event was dropped: the owner of the phone does not take them");
    }
}
