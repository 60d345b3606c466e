//! The sockets under the stream connections of one shard: carries out what [`Connections`] orders and tells it what
//! happens.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;

use bytes::Bytes;
use dialtone_wire::net::{ConnectionId, Flow, Transmit, Transport};
use dialtone_wire::time::Instant;

use super::poller::{Poller, Readiness};
use super::tcp::{Accepted, TcpListener, TcpStream};
use crate::stream::{CloseReason, Connections, Event, Refused, SendError};

/// Marks the tokens of connections; the generation (without its first bit) and the slot stand below it.
const STREAM_TOKEN: u64 = 1 << 63;
/// Marks the tokens of listeners; their number stands below it.
const LISTENER_TOKEN: u64 = 1 << 62;
/// Connections accepted before others have their turn.
const ACCEPTS_MAX: usize = 64;
/// Reads from one connection before others have their turn.
const READS_MAX: usize = 4;
/// Bytes of one read.
const ROOM: usize = 16 * 1024;
/// Pieces that one system call writes.
const PIECES: usize = 32;

/// What happened that the owner has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEvent {
    /// A whole message came.
    Message {
        /// Its connection is named.
        flow: Flow,
        /// The message, an exact-size copy.
        bytes: Bytes,
    },
    /// A connection that its peer opened has brought its first message: see [`Event::Proven`].
    Proven(Flow),
    /// A connection is gone: all engines are to be told, if it was used.
    Closed {
        /// Its flow.
        flow: Flow,
        /// Why.
        reason: CloseReason,
        /// Whether a message went over it or was to.
        used: bool,
    },
    /// A connection was not taken in.
    Refused {
        /// Who wanted it; `None` when the process has too many open files.
        remote: Option<SocketAddr>,
        /// Why; `None` when it was lost, or the process has too many open files.
        reason: Option<Refused>,
    },
}

/// A connection's socket.
#[derive(Debug)]
struct Stream {
    id: ConnectionId,
    socket: TcpStream,
    /// It is being opened.
    connecting: bool,
    /// The poller has been asked for room to send.
    waits_for_room: bool,
}

/// The listening sockets and the connections of one shard.
#[derive(Debug)]
pub struct StreamSockets {
    connections: Connections,
    listeners: Vec<TcpListener>,
    /// By the slot of the connection.
    streams: Vec<Option<Stream>>,
    room: Box<[u8]>,
    events: VecDeque<StreamEvent>,
}

impl StreamSockets {
    /// Puts listeners into the poller, under tokens from 2^62 up: those of datagram sockets are to be below.
    ///
    /// # Errors
    /// When a listener can't be added to the poller.
    pub fn new(
        connections: Connections,
        listeners: Vec<TcpListener>,
        poller: &Poller,
    ) -> io::Result<StreamSockets> {
        for (index, listener) in listeners.iter().enumerate() {
            poller.add(listener, LISTENER_TOKEN | index as u64)?;
        }
        Ok(StreamSockets {
            connections,
            listeners,
            streams: Vec::new(),
            room: vec![0; ROOM].into_boxed_slice(),
            events: VecDeque::new(),
        })
    }

    /// Whether a token of the poller is one of ours.
    pub const fn owns(token: u64) -> bool {
        token >= LISTENER_TOKEN
    }

    /// The table of connections: counters, limits, the flow of an id.
    pub const fn connections(&self) -> &Connections {
        &self.connections
    }

    /// The table of connections, for new settings.
    pub const fn connections_mut(&mut self) -> &mut Connections {
        &mut self.connections
    }

    /// Handles a token of the poller that is ours.
    pub fn handle_ready(&mut self, now: Instant, poller: &Poller, token: u64, readiness: Readiness) {
        if token & STREAM_TOKEN == 0 {
            self.accept(now, poller, (token & !LISTENER_TOKEN) as usize);
        } else if let Some(id) = self.id_of(token) {
            self.stream_ready(now, poller, id, readiness);
        }
        self.settle(now, poller);
    }

    /// Lets all deadlines pass that are due.
    pub fn handle_timeout(&mut self, now: Instant, poller: &Poller) {
        self.connections.handle_timeout(now);
        self.settle(now, poller);
    }

    /// Sends a message over the connection of its flow, or one to the same peer, or a new one.
    ///
    /// # Errors
    /// As [`Connections::send`]. An error that is found out later comes as [`StreamEvent::Closed`].
    pub fn send(
        &mut self,
        now: Instant,
        poller: &Poller,
        transmit: Transmit,
    ) -> Result<ConnectionId, SendError> {
        let sent = self.connections.send(now, transmit);
        self.settle(now, poller);
        sent
    }

    /// When to call [`StreamSockets::handle_timeout`]; ask again after each call of the others.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.connections.poll_timeout()
    }

    /// What happened; call it until it gives `None` after each call of the others.
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    fn accept(&mut self, now: Instant, poller: &Poller, index: usize) {
        for _ in 0..ACCEPTS_MAX {
            let Some(listener) = self.listeners.get_mut(index) else { return };
            let local = listener.local();
            match listener.accept() {
                Ok(Accepted::Stream(socket, remote)) => {
                    match self.connections.handle_accepted(now, Transport::Tcp, local, remote) {
                        Ok(id) => self.keep(now, poller, Stream::new(id, socket, false)),
                        Err(reason) => {
                            let (remote, reason) = (Some(remote), Some(reason));
                            self.events.push_back(StreamEvent::Refused { remote, reason });
                        }
                    }
                }
                Ok(Accepted::Lost) => {
                    self.events.push_back(StreamEvent::Refused { remote: None, reason: None });
                }
                Ok(Accepted::None) | Err(_) => return,
            }
        }
    }

    /// Puts a socket into the poller and into the place of its connection.
    fn keep(&mut self, now: Instant, poller: &Poller, stream: Stream) {
        let (id, token) = (stream.id, token_of(stream.id));
        let added = if stream.connecting {
            poller.add_for_writing(&stream.socket, token)
        } else {
            poller.add(&stream.socket, token)
        };
        if added.is_err() {
            return self.connections.handle_connect_failed(now, id);
        }
        let slot = id.slot as usize;
        if self.streams.len() <= slot {
            self.streams.resize_with(slot + 1, || None);
        }
        // The one before in this place is closed, and may not have been dropped yet.
        self.streams[slot] = Some(stream);
    }

    fn stream_ready(&mut self, now: Instant, poller: &Poller, id: ConnectionId, readiness: Readiness) {
        let Some(stream) = self.stream(id) else { return };
        if stream.connecting {
            match stream.socket.connected() {
                Ok(()) => {
                    stream.connecting = false;
                    stream.waits_for_room = true;
                    self.connections.handle_connected(now, id);
                }
                Err(_) => return self.connections.handle_connect_failed(now, id),
            }
        }
        if readiness.write {
            self.write(now, poller, id);
        }
        // An error is told by reading.
        if readiness.read || readiness.error {
            self.read(now, poller, id);
        }
    }

    fn read(&mut self, now: Instant, poller: &Poller, id: ConnectionId) {
        for _ in 0..READS_MAX {
            let Some(stream) = self.streams.get(id.slot as usize).and_then(Option::as_ref) else { return };
            if stream.id != id {
                return;
            }
            match stream.socket.read(&mut self.room) {
                Ok(None) => return,
                Ok(Some(0)) | Err(_) => {
                    return self.connections.handle_closed(now, id);
                }
                Ok(Some(count)) => self.connections.handle_bytes(now, id, &self.room[..count]),
            }
            self.settle(now, poller);
        }
    }

    /// Writes as much as there is room for, and asks to be told of more room if that was not all.
    fn write(&mut self, now: Instant, poller: &Poller, id: ConnectionId) {
        let is_done = loop {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = self.connections.unwritten(id, &mut pieces);
            if count == 0 {
                break true;
            }
            let Some(stream) = self.streams.get(id.slot as usize).and_then(Option::as_ref) else { return };
            match stream.socket.write(&pieces[..count]) {
                Ok(Some(written)) => self.connections.handle_written(now, id, written),
                Ok(None) => break false,
                Err(_) => return self.connections.handle_closed(now, id),
            }
        };
        let Some(stream) = self.stream(id) else { return };
        if stream.waits_for_room == is_done {
            stream.waits_for_room = !is_done;
            let asked = poller.ask_for_room(&stream.socket, token_of(id), !is_done);
            if asked.is_err() {
                self.connections.handle_closed(now, id);
            }
        }
    }

    /// Carries out all that the table orders.
    fn settle(&mut self, now: Instant, poller: &Poller) {
        while let Some(event) = self.connections.poll_event() {
            match event {
                Event::Open { id, transport, local, remote } => {
                    self.open(now, poller, id, transport, local, remote)
                }
                Event::Write(id) => self.write(now, poller, id),
                Event::Finish(id) => {
                    if self.stream(id).is_some_and(|stream| stream.socket.finish().is_err()) {
                        self.connections.handle_closed(now, id);
                    }
                }
                Event::Message { flow, bytes } => self.events.push_back(StreamEvent::Message { flow, bytes }),
                Event::Proven(flow) => self.events.push_back(StreamEvent::Proven(flow)),
                Event::Closed { id, flow, reason, used } => {
                    if self.stream(id).is_some() {
                        self.streams[id.slot as usize] = None;
                    }
                    self.events.push_back(StreamEvent::Closed { flow, reason, used });
                }
            }
        }
    }

    fn open(
        &mut self,
        now: Instant,
        poller: &Poller,
        id: ConnectionId,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
    ) {
        let stream = match transport {
            Transport::Tcp => TcpStream::connect(local.ip(), remote),
            _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
        };
        match stream {
            Ok(socket) => self.keep(now, poller, Stream::new(id, socket, true)),
            Err(_) => self.connections.handle_connect_failed(now, id),
        }
    }

    fn stream(&mut self, id: ConnectionId) -> Option<&mut Stream> {
        self.streams.get_mut(id.slot as usize)?.as_mut().filter(|stream| stream.id == id)
    }

    /// The connection of a token; `None` for one that is gone.
    fn id_of(&self, token: u64) -> Option<ConnectionId> {
        let stream = self.streams.get((token & u64::from(u32::MAX)) as usize)?.as_ref()?;
        (token_of(stream.id) == token).then_some(stream.id)
    }
}

impl Stream {
    fn new(id: ConnectionId, socket: TcpStream, connecting: bool) -> Stream {
        Stream { id, socket, connecting, waits_for_room: connecting }
    }
}

/// The generation is part of it: an event of a connection that is gone, taken from the system together with the one
/// that ended it, must not reach the next one in its slot.
const fn token_of(id: ConnectionId) -> u64 {
    STREAM_TOKEN | (((id.generation & 0x7fff_ffff) as u64) << 32) | id.slot as u64
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
