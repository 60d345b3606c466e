//! The stream connections of a shard. Each is owned by the shard that accepted or opened it; another shard that has
//! something to send on it passes it on, and all are told when it is gone.
//!
//! ```text
//!   connection of shard 0 -- message, steered by Call-ID --> shard 1 (its engine answers)
//!   connection of shard 0 <-- Word::Transmit --------------- shard 1
//!   has brought a message: Word::FlowOpened to every shard, so that no other opens one to the same peer
//!   gone: Word::FlowClosed to every shard; could not be sent: Word::TransmitFailed to the one that wanted to
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dialtone_roles::io::Input;
use dialtone_transport::stream::{CloseReason, Connections, Refused, StreamSettings};
use dialtone_transport::sys::{Poller, Readiness, StreamEvent, StreamSockets, TcpListener};
use dialtone_wire::net::{ConnectionId, Flow, Transmit, Transport};
use dialtone_wire::time::Instant;

use super::{Shard, Word};
use crate::{clock, random};

/// How often the log says that connections end for the same reason.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The connections of one shard, and what the log was told of them.
#[derive(Debug)]
pub(super) struct Streams {
    sockets: StreamSockets,
    /// Connections that peers opened to other shards: as many as those may have.
    elsewhere: BTreeMap<FlowKey, ConnectionId>,
    logged: BTreeMap<&'static str, Logged>,
}

/// Transport, our address, and theirs.
type FlowKey = (Transport, IpAddr, SocketAddr);

#[derive(Clone, Copy, Debug)]
struct Logged {
    next: Instant,
    unheard: u64,
}

impl Streams {
    pub(super) fn new(
        shard: u16,
        settings: StreamSettings,
        listeners: Vec<TcpListener>,
        poller: &Poller,
    ) -> std::io::Result<Streams> {
        let seed = random::seed();
        let seed = u64::from_le_bytes(seed[..8].try_into().expect("a seed has 32 bytes"));
        let connections = Connections::new(shard, seed, settings);
        Ok(Streams {
            sockets: StreamSockets::new(connections, listeners, poller)?,
            elsewhere: BTreeMap::new(),
            logged: BTreeMap::new(),
        })
    }

    /// When a deadline of a connection is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sockets.poll_timeout().map(|(at, _)| at)
    }

    /// The table of connections.
    pub(super) const fn connections(&self) -> &Connections {
        self.sockets.connections()
    }

    /// Remembers a connection of another shard.
    pub(super) fn opened_elsewhere(&mut self, flow: Flow) {
        if let Some(connection) = flow.connection {
            self.elsewhere.insert(key_of(&flow), connection);
        }
    }

    /// Forgets a connection of another shard.
    pub(super) fn closed_elsewhere(&mut self, flow: &Flow) {
        if self.elsewhere.get(&key_of(flow)).copied() == flow.connection {
            self.elsewhere.remove(&key_of(flow));
        }
    }

    /// The shard that a message goes to. Names the connection of another shard that leads to the same peer, where we
    /// have none.
    fn owner_of(&self, flow: &mut Flow, own: u16) -> u16 {
        if flow.connection.is_none()
            && self.connections().find(flow.transport, flow.local, flow.remote).is_none()
        {
            flow.connection = self.elsewhere.get(&key_of(flow)).copied();
        }
        flow.connection.map_or(own, |connection| connection.shard)
    }

    /// One log line a minute for each reason. No address: a flood would fill the log with them.
    fn log(&mut self, now: Instant, shard: u16, reason: &'static str, is_alarming: bool) {
        let logged = self.logged.entry(reason).or_insert(Logged { next: Instant::START, unheard: 0 });
        if now < logged.next {
            logged.unheard += 1;
            return;
        }
        let unheard = logged.unheard;
        *logged = Logged { next: now + LOG_EVERY, unheard: 0 };
        if is_alarming {
            tracing::warn!(shard, reason, unheard, "connections are refused or ended");
        } else {
            tracing::info!(shard, reason, unheard, "connections are ended");
        }
    }

    fn log_close(&mut self, now: Instant, shard: u16, reason: CloseReason) {
        match reason {
            CloseReason::NotReading | CloseReason::OutOfMemory | CloseReason::MadeRoom => {
                self.log(now, shard, reason.name(), true);
            }
            CloseReason::Silent | CloseReason::SlowMessage | CloseReason::Malformed => {
                self.log(now, shard, reason.name(), false);
            }
            _ => tracing::debug!(shard, reason = reason.name(), "a connection ended"),
        }
    }

    fn log_refused(&mut self, now: Instant, shard: u16, reason: Option<Refused>) {
        let reason = match reason {
            Some(Refused::TooMany) => "too_many",
            Some(Refused::TooManyFromSource) => "too_many_from_source",
            None => "lost_or_too_many_open_files",
        };
        self.log(now, shard, reason, true);
    }
}

const fn key_of(flow: &Flow) -> FlowKey {
    (flow.transport, flow.local.ip(), flow.remote)
}

/// Takes what goes over streams out of what is to be sent. Nothing is allocated when there is none.
pub(super) fn take_stream_transmits(transmits: &mut Vec<Transmit>) -> Vec<Transmit> {
    transmits.extract_if(.., |transmit| transmit.flow.transport.is_reliable()).collect()
}

impl Shard {
    /// A listener or a connection is ready.
    pub(super) fn handle_stream_ready(&mut self, token: u64, readiness: Readiness) {
        let now = clock::now();
        self.streams.sockets.handle_ready(now, &self.poller, token, readiness);
        self.drain_streams(now);
        self.flush();
    }

    /// Ends the connections whose time is over.
    pub(super) fn handle_stream_timeout(&mut self, now: Instant) {
        if self.streams.deadline().is_some_and(|deadline| deadline <= now) {
            self.streams.sockets.handle_timeout(now, &self.poller);
            self.drain_streams(now);
        }
    }

    /// Sends what the engine wants to send over streams.
    pub(super) fn send_streams(&mut self, now: Instant, transmits: Vec<Transmit>) {
        for mut transmit in transmits {
            // What the engine knows it by.
            let flow = transmit.flow;
            let owner = self.streams.owner_of(&mut transmit.flow, self.number);
            let is_sent = if owner == self.number {
                self.streams.sockets.send(now, &self.poller, transmit).is_ok()
            } else {
                // A full queue is a transport error to the sender.
                let word = Word::Transmit { transmit, from: self.number };
                self.shards.get(usize::from(owner)).is_some_and(|shard| shard.send(word).is_ok())
            };
            if !is_sent {
                self.counters.send_failures += 1;
                self.feed(now, Input::TransmitFailed(flow));
            }
        }
        self.drain_streams(now);
    }

    /// Sends what another shard wants to send on a connection of ours.
    pub(super) fn send_for(&mut self, now: Instant, transmit: Transmit, from: u16) {
        let flow = transmit.flow;
        if self.streams.sockets.send(now, &self.poller, transmit).is_err() {
            self.counters.send_failures += 1;
            self.tell(from, Word::TransmitFailed(flow));
        }
        self.drain_streams(now);
    }

    /// Takes what the connections tell.
    fn drain_streams(&mut self, now: Instant) {
        while let Some(event) = self.streams.sockets.poll_event() {
            match event {
                StreamEvent::Message { flow, bytes } => {
                    self.counters.stream_messages += 1;
                    self.handle_message(now, flow, bytes);
                }
                StreamEvent::Proven(flow) => self.tell_others(|| Word::FlowOpened(flow)),
                StreamEvent::Closed { flow, reason, used } => {
                    self.streams.log_close(now, self.number, reason);
                    if used {
                        self.tell_others(|| Word::FlowClosed(flow));
                        self.feed(now, Input::FlowClosed(flow));
                    }
                }
                StreamEvent::Refused { reason, .. } => self.streams.log_refused(now, self.number, reason),
                // Streams may tell more than a shard has to know.
                _ => {}
            }
        }
    }

    fn tell_others(&mut self, word: impl Fn() -> Word) {
        for shard in 0..self.settings.shards {
            if shard != self.number {
                self.tell(shard, word());
            }
        }
    }

    /// A shard that does not hear of it finds out by its timers.
    fn tell(&mut self, shard: u16, word: Word) {
        let told = self.shards.get(usize::from(shard)).is_some_and(|shard| shard.send(word).is_ok());
        self.counters.notices_refused += u64::from(!told);
    }
}
