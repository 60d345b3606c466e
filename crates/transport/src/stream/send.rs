//! From messages to the bytes of connections.

use std::io::IoSlice;
use std::net::SocketAddr;

use bytes::Bytes;
use dialtone_wire::net::{ConnectionId, Flow, Transmit, Transport};
use dialtone_wire::time::Instant;
use dialtone_wire::{Limits, Message};
use thiserror::Error;

use super::connection::{Connection, State};
use super::deadlines::Deadlines;
use super::{CloseReason, Connections, Event};

/// Why a message is not sent. Its sender is told as of a transport error (RFC 3261 §18.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is gone, and there is no way to open another in its place.
    #[error("the connection is gone")]
    Gone,
    /// The destination failed a short while ago and is left alone for now.
    #[error("the destination failed a short while ago")]
    BackingOff {
        /// Until then.
        until: Instant,
    },
    /// There is no room for another connection.
    #[error("there are as many connections as may be")]
    TooManyConnections,
    /// Too much waits already: the connection was ended.
    #[error("the peer does not read")]
    NotReading,
    /// All connections together hold too much, and this one the most: it was ended.
    #[error("the connections hold as many bytes as they may")]
    OutOfMemory,
}

impl Connections {
    /// Sends a message over the connection that its flow names. A flow without one goes over an open connection from
    /// the same address of ours to the same peer, or opens one.
    ///
    /// RFC 3261 §18.2.2: a response whose connection is gone goes to the address that its request came from
    /// (which is what `received` says) and the port of sent-by, over a new connection or one that is open. Where that
    /// fails too it is given up: finding the peer by its name is for those who can ask.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(&mut self, now: Instant, transmit: Transmit) -> Result<ConnectionId, SendError> {
        let Transmit { flow, bytes } = transmit;
        let Some(id) = flow.connection else { return self.send_to_peer(now, flow, bytes) };
        if self.slots.get(id).is_some_and(Connection::takes_messages) {
            return self.enqueue(now, id, bytes).map(|()| id);
        }
        self.counters.sent_to_gone += 1;
        let remote = sent_by_address(&flow, &bytes).ok_or(SendError::Gone)?;
        self.counters.responses_reopened += 1;
        self.send_to_peer(now, Flow { remote, connection: None, ..flow }, bytes)
    }

    /// The connection over which a message to this peer would go: one that is open or being opened, from the same
    /// address of ours. It may be one that the peer opened.
    pub fn find(&self, transport: Transport, local: SocketAddr, remote: SocketAddr) -> Option<ConnectionId> {
        let slots = self.by_remote.get(&(transport, remote))?;
        slots.iter().find_map(|slot| {
            let id = self.slots.id_at(self.shard, *slot)?;
            let connection = self.slots.get(id)?;
            (connection.flow.local.ip() == local.ip() && connection.ending.is_none()).then_some(id)
        })
    }

    /// What is to be written on a connection, in order; empty when it is not open. At most `slices.len()` pieces.
    /// Returns how many there are.
    pub fn unwritten<'a>(&'a self, id: ConnectionId, slices: &mut [IoSlice<'a>]) -> usize {
        let Some(connection) = self.slots.get(id) else { return 0 };
        if connection.state == State::Connecting {
            return 0;
        }
        let mut count = 0;
        for (place, slice) in slices.iter_mut().zip(connection.queue.slices()) {
            *place = slice;
            count += 1;
        }
        count
    }

    /// Takes note that the socket took `count` bytes of [`Connections::unwritten`].
    pub fn handle_written(&mut self, now: Instant, id: ConnectionId, count: usize) {
        let stall = now + self.settings.stall_time;
        let idle = now + self.settings.idle_time;
        let Some(connection) = self.slots.get_mut(id) else { return };
        if count == 0 {
            return;
        }
        self.counters.bytes_written += count as u64;
        self.held_bytes -= connection.queue.advance(count);
        let is_done = connection.queue.is_empty();
        connection.deadlines.stall = (!is_done).then_some(stall);
        connection.deadlines.idle = Some(idle);
        if is_done && connection.state == State::Ending && !connection.answers_due {
            connection.state = State::Draining;
            self.events.push_back(Event::Finish(id));
        }
        self.schedule(id);
    }

    fn send_to_peer(&mut self, now: Instant, flow: Flow, bytes: Bytes) -> Result<ConnectionId, SendError> {
        if let Some(id) = self.find(flow.transport, flow.local, flow.remote) {
            self.counters.reused += 1;
            return self.enqueue(now, id, bytes).map(|()| id);
        }
        if let Some(until) = self.back_off.until(now, (flow.transport, flow.remote)) {
            self.counters.backed_off += 1;
            return Err(SendError::BackingOff { until });
        }
        if !self.make_room() {
            return Err(SendError::TooManyConnections);
        }
        self.counters.opened += 1;
        let deadlines = Deadlines { connect: Some(now + self.settings.connect_time), ..Deadlines::default() };
        let flow = Flow { connection: None, ..flow };
        let id = self.insert(Connection::new(flow, State::Connecting, None, deadlines));
        let Flow { transport, local, remote, .. } = flow;
        self.events.push_back(Event::Open { id, transport, local, remote });
        self.enqueue(now, id, bytes).map(|()| id)
    }

    /// Puts bytes into the queue of a connection, which is ended when that holds too much.
    pub(super) fn enqueue(&mut self, now: Instant, id: ConnectionId, bytes: Bytes) -> Result<(), SendError> {
        let stall = now + self.settings.stall_time;
        let Some(connection) = self.slots.get_mut(id) else { return Err(SendError::Gone) };
        if connection.queue.bytes() + bytes.len() > self.settings.send_bytes_max {
            self.close(now, id, CloseReason::NotReading);
            return Err(SendError::NotReading);
        }
        let was_empty = connection.queue.is_empty();
        self.held_bytes += bytes.len();
        connection.queue.push(bytes);
        self.counters.messages_queued += 1;
        if was_empty && connection.state != State::Connecting {
            connection.deadlines.stall = Some(stall);
            self.events.push_back(Event::Write(id));
            self.schedule(id);
        }
        self.shed(now);
        if self.slots.get(id).is_some() { Ok(()) } else { Err(SendError::OutOfMemory) }
    }
}

/// Where a response goes whose connection is gone (RFC 3261 §18.2.2); `None` for requests, and for transports whose
/// clients can't be connected to.
fn sent_by_address(flow: &Flow, bytes: &Bytes) -> Option<SocketAddr> {
    if !matches!(flow.transport, Transport::Tcp | Transport::Tls) || !bytes.starts_with(b"SIP/") {
        return None;
    }
    let response = Message::parse(bytes.clone(), &Limits::default()).ok()?;
    let port = response.via().ok()?.port.unwrap_or(flow.transport.default_port());
    Some(SocketAddr::new(flow.remote.ip(), port))
}
