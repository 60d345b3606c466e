//! The stream connections of one shard: framing, reuse, limits and deadlines, without a socket.
//!
//! ```text
//!   socket --accepted, bytes, closed--> +-------------+ --Message, Closed--> engine
//!                                       | Connections |
//!   socket <--Open, Write, Finish------ +-------------+ <-------send-------- engine
//!                    ^ handle_timeout when poll_timeout has come
//! ```
//!
//! Whoever owns it (the node with sockets, the simulator with virtual ones) calls the `handle_*` functions, then takes
//! all events. The bytes of TLS come decrypted.
//!
//! ```text
//!             Open (ours)               final words queued           all is written
//!   Connecting ----------> Established --------------------> Ending ----------------> Draining
//!                ^ accepted                                                           waits for the peer's end
//!   each state -- deadline, error, limit --> gone, Event::Closed
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use dialtone_wire::net::{ConnectionId, Flow, Transport};
use dialtone_wire::time::Instant;

mod back_off;
mod connection;
mod counters;
mod deadlines;
mod random;
mod receive;
mod send;
mod send_queue;
mod settings;
mod slots;
mod source;
#[cfg(test)]
mod tests;

pub use counters::StreamCounters;
pub use send::SendError;
pub use settings::StreamSettings;

use back_off::BackOff;
use connection::{Connection, State};
use deadlines::Deadlines;
use random::Random;
use slots::Slots;
use source::Source;

/// Something that the owner of the connections shall do or know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Connect to `remote`, from the address (not the port) of `local`; then call [`Connections::handle_connected`] or
    /// [`Connections::handle_connect_failed`].
    Open {
        /// The connection, the same as in its flow.
        id: ConnectionId,
        /// TCP, TLS …
        transport: Transport,
        /// Our address.
        local: SocketAddr,
        /// Theirs.
        remote: SocketAddr,
    },
    /// Something is to be written: take it from [`Connections::unwritten`], and go on whenever the socket is writable
    /// until that is empty.
    Write(ConnectionId),
    /// All is written and nothing more will be: end the sending direction (TCP: FIN), read on and throw away, so that
    /// the last words are not lost to a reset.
    Finish(ConnectionId),
    /// A whole message came.
    Message {
        /// The connection that it came over; its local address is the listener's, also for connections that we
        /// opened.
        flow: Flow,
        /// The message, an exact-size copy.
        bytes: Bytes,
    },
    /// The connection, which its peer opened, has brought its first message: others who have something to send to that
    /// peer may do it over this one.
    Proven(Flow),
    /// The connection is gone from the table: close its socket, tell the engines that the flow is closed. What was not
    /// written yet is lost.
    Closed {
        /// The connection.
        id: ConnectionId,
        /// Its flow.
        flow: Flow,
        /// Why.
        reason: CloseReason,
        /// Whether a message went over it or was to: if not, no engine knows of it.
        used: bool,
    },
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CloseReason {
    /// The other side ended or reset it.
    Peer,
    /// It could not be opened.
    ConnectFailed,
    /// It was not open within [`StreamSettings::connect_time`].
    ConnectTimedOut,
    /// No whole message came within [`StreamSettings::first_message_time`] after it was accepted.
    Silent,
    /// A message was not whole within [`StreamSettings::message_time`] after its first byte.
    SlowMessage,
    /// Nothing came or went for [`StreamSettings::idle_time`].
    Idle,
    /// The peer does not read: more than [`StreamSettings::send_bytes_max`] wait for it, or nothing was taken for
    /// [`StreamSettings::stall_time`].
    NotReading,
    /// What came can't be cut into messages; where it could be answered, it was.
    Malformed,
    /// All connections together hold more than [`StreamSettings::bytes_max`], and this one the most of it.
    OutOfMemory,
    /// The table is full and this connection had not brought a message yet.
    MadeRoom,
    /// The owner ended it.
    Stopped,
}

impl CloseReason {
    /// The reason as a word for logs.
    pub const fn name(self) -> &'static str {
        match self {
            CloseReason::Peer => "peer",
            CloseReason::ConnectFailed => "connect_failed",
            CloseReason::ConnectTimedOut => "connect_timed_out",
            CloseReason::Silent => "silent",
            CloseReason::SlowMessage => "slow_message",
            CloseReason::Idle => "idle",
            CloseReason::NotReading => "not_reading",
            CloseReason::Malformed => "malformed",
            CloseReason::OutOfMemory => "out_of_memory",
            CloseReason::MadeRoom => "made_room",
            CloseReason::Stopped => "stopped",
        }
    }

    /// Whether a connection of ours that ends so before it brought a message speaks against its destination.
    const fn is_failure(self) -> bool {
        match self {
            CloseReason::Peer
            | CloseReason::ConnectFailed
            | CloseReason::ConnectTimedOut
            | CloseReason::Silent
            | CloseReason::SlowMessage
            | CloseReason::NotReading
            | CloseReason::Malformed => true,
            CloseReason::Idle | CloseReason::OutOfMemory | CloseReason::MadeRoom | CloseReason::Stopped => {
                false
            }
        }
    }
}

/// Why an accepted connection is not taken in: its socket has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The table is full of connections that have brought messages.
    #[error("there are as many connections as may be")]
    TooMany,
    /// The source has [`StreamSettings::connections_per_source_max`] already.
    #[error("this source has as many connections as it may")]
    TooManyFromSource,
}

/// The connections of one shard.
#[derive(Debug)]
pub struct Connections {
    shard: u16,
    settings: StreamSettings,
    slots: Slots,
    /// The slots of the connections to each peer, in the order in which they were made.
    by_remote: BTreeMap<(Transport, SocketAddr), Vec<u32>>,
    /// How many connections each source has opened.
    sources: BTreeMap<Source, usize>,
    /// Accepted connections that have not brought a message yet, the oldest first.
    newcomers: BTreeSet<(Instant, u32)>,
    /// When each connection has to be looked at.
    deadlines: BTreeSet<(Instant, u32)>,
    back_off: BackOff,
    random: Random,
    /// Bytes that wait to become whole messages, and bytes that wait to be written.
    held_bytes: usize,
    events: VecDeque<Event>,
    counters: StreamCounters,
}

impl Connections {
    /// An empty table. The same seed and the same calls give the same events.
    pub fn new(shard: u16, seed: u64, settings: StreamSettings) -> Connections {
        Connections {
            shard,
            settings,
            slots: Slots::default(),
            by_remote: BTreeMap::new(),
            sources: BTreeMap::new(),
            newcomers: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            back_off: BackOff::default(),
            random: Random::new(seed),
            held_bytes: 0,
            events: VecDeque::new(),
            counters: StreamCounters::default(),
        }
    }

    /// What happened since the start.
    pub fn counters(&self) -> &StreamCounters {
        &self.counters
    }

    /// How many connections there are, those that are being opened or ended included.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait to become whole messages or to be written, of all connections.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// The flow of a connection; `None` when it is gone.
    pub fn flow(&self, id: ConnectionId) -> Option<Flow> {
        self.slots.get(id).map(|connection| connection.flow)
    }

    /// Takes new settings. Deadlines that run keep their time, connections beyond a new limit stay.
    pub fn set_settings(&mut self, settings: StreamSettings) {
        self.settings = settings;
    }

    /// Takes in a connection that somebody opened to us. A source that has its fill is refused; so that a flood can't
    /// cost a registered phone its flow. When the table is full, the oldest connection that has not brought a message
    /// yet gives way.
    ///
    /// # Errors
    /// [`Refused`], and the socket has to be closed.
    pub fn handle_accepted(
        &mut self,
        now: Instant,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<ConnectionId, Refused> {
        let source = Source::of(remote);
        if self.sources.get(&source).is_some_and(|count| *count >= self.settings.connections_per_source_max) {
            self.counters.refused_source += 1;
            return Err(Refused::TooManyFromSource);
        }
        if !self.make_room() {
            self.counters.refused_full += 1;
            return Err(Refused::TooMany);
        }
        self.counters.accepted += 1;
        *self.sources.entry(source).or_default() += 1;
        let deadlines = Deadlines {
            first_message: Some(now + self.settings.first_message_time),
            idle: Some(now + self.settings.idle_time),
            ..Deadlines::default()
        };
        let flow = Flow { transport, local, remote, connection: None };
        let id = self.insert(Connection::new(flow, State::Established, Some(now), deadlines));
        self.newcomers.insert((now, id.slot));
        Ok(id)
    }

    /// The connection that was ordered by [`Event::Open`] is open.
    pub fn handle_connected(&mut self, now: Instant, id: ConnectionId) {
        let idle = now + self.settings.idle_time;
        let stall = now + self.settings.stall_time;
        let Some(connection) = self.slots.get_mut(id) else { return };
        if connection.state != State::Connecting {
            return;
        }
        connection.state = State::Established;
        connection.deadlines.connect = None;
        connection.deadlines.idle = Some(idle);
        if !connection.queue.is_empty() {
            connection.deadlines.stall = Some(stall);
            self.events.push_back(Event::Write(id));
        }
        self.counters.connected += 1;
        self.schedule(id);
    }

    /// The connection that was ordered by [`Event::Open`] can't be opened.
    pub fn handle_connect_failed(&mut self, now: Instant, id: ConnectionId) {
        self.close(now, id, CloseReason::ConnectFailed);
    }

    /// The other side ended or reset the connection.
    pub fn handle_closed(&mut self, now: Instant, id: ConnectionId) {
        // After our last words this is what we wait for; the reason is the one for which we ended it.
        let reason = self.slots.get(id).and_then(|connection| connection.ending).unwrap_or(CloseReason::Peer);
        self.close(now, id, reason);
    }

    /// Ends a connection at once.
    pub fn stop(&mut self, now: Instant, id: ConnectionId) {
        self.close(now, id, CloseReason::Stopped);
    }

    /// Lets all deadlines pass that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, slot)) = self.deadlines.first() {
            if at > now {
                return;
            }
            self.deadlines.pop_first();
            let Some(id) = self.slots.id_at(self.shard, slot) else { continue };
            let Some(connection) = self.slots.get_mut(id) else { continue };
            connection.scheduled = None;
            match connection.deadlines.first() {
                Some((at, _)) if at <= now && connection.answers_due => self.finish_answers(now, id),
                Some((at, which)) if at <= now => {
                    let reason = connection.ending.unwrap_or(which.reason());
                    self.close(now, id, reason);
                }
                // It was moved to later while it waited here.
                _ => self.schedule(id),
            }
        }
    }

    /// When to call [`Connections::handle_timeout`] and what for; the time may turn out to be early. Ask again after
    /// each call of any `handle_*` or `send`.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let (at, slot) = *self.deadlines.first()?;
        let connection = self.slots.get(self.slots.id_at(self.shard, slot)?)?;
        Some((at, connection.deadlines.first().map_or("stream", |(_, which)| which.name())))
    }

    /// What there is to do. Call it until it gives `None` after each call of any `handle_*` or `send`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn insert(&mut self, connection: Connection) -> ConnectionId {
        let key = (connection.flow.transport, connection.flow.remote);
        let id = self.slots.insert(self.shard, connection);
        self.by_remote.entry(key).or_default().push(id.slot);
        self.schedule(id);
        id
    }

    /// Sees to it that one more connection has room.
    fn make_room(&mut self) -> bool {
        if self.slots.len() < self.settings.connections_max {
            return true;
        }
        let Some(&(opened, slot)) = self.newcomers.first() else { return false };
        let Some(id) = self.slots.id_at(self.shard, slot) else { return false };
        self.close(opened, id, CloseReason::MadeRoom);
        true
    }

    /// Ends the connections that hold the most until all together hold no more than they may. One that behaves holds
    /// next to nothing, so it is those who cause the shortage that pay for it.
    fn shed(&mut self, now: Instant) {
        while self.held_bytes > self.settings.bytes_max {
            let Some(id) = self.slots.largest() else { return };
            self.close(now, id, CloseReason::OutOfMemory);
        }
    }

    /// Puts the connection under its first deadline, unless it is looked at before that anyway.
    fn schedule(&mut self, id: ConnectionId) {
        let Some(connection) = self.slots.get_mut(id) else { return };
        let Some((at, _)) = connection.deadlines.first() else { return };
        match connection.scheduled {
            Some(scheduled) if scheduled <= at => return,
            Some(scheduled) => {
                self.deadlines.remove(&(scheduled, id.slot));
            }
            None => {}
        }
        connection.scheduled = Some(at);
        self.deadlines.insert((at, id.slot));
    }

    /// The time of the answers that were due is over: what is written by now was all.
    fn finish_answers(&mut self, now: Instant, id: ConnectionId) {
        let linger = now + self.settings.linger_time;
        let Some(connection) = self.slots.get_mut(id) else { return };
        connection.answers_due = false;
        connection.deadlines.linger = Some(linger);
        if connection.queue.is_empty() {
            connection.state = State::Draining;
            self.events.push_back(Event::Finish(id));
        }
        self.schedule(id);
    }

    /// Takes a connection out of the table and says so. Nothing happens when it is gone already.
    fn close(&mut self, now: Instant, id: ConnectionId, reason: CloseReason) {
        let Some(connection) = self.slots.remove(id) else { return };
        if let Some(scheduled) = connection.scheduled {
            self.deadlines.remove(&(scheduled, id.slot));
        }
        let key = (connection.flow.transport, connection.flow.remote);
        if let Some(slots) = self.by_remote.get_mut(&key) {
            slots.retain(|slot| *slot != id.slot);
            if slots.is_empty() {
                self.by_remote.remove(&key);
            }
        }
        match connection.accepted {
            Some(accepted) => {
                self.newcomers.remove(&(accepted, id.slot));
                let source = Source::of(connection.flow.remote);
                if let Some(count) = self.sources.get_mut(&source) {
                    *count -= 1;
                    if *count == 0 {
                        self.sources.remove(&source);
                    }
                }
            }
            // A peer that takes connections and drops them is no better than one that refuses them.
            None if !connection.brought_message && reason.is_failure() => {
                self.back_off.failed(now, key, &self.settings, &mut self.random);
            }
            None => {}
        }
        self.held_bytes -= connection.held_bytes();
        self.counters.count_close(reason);
        self.counters.messages_unsent += connection.queue.chunks() as u64;
        let used = connection.accepted.is_none() || connection.brought_message;
        self.events.push_back(Event::Closed { id, flow: connection.flow, reason, used });
    }
}
