//! The transaction layer of one shard: all its transactions, their deadlines, and what they want to be sent.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::num::NonZeroU64;

use bytes::Bytes;
use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::time::Instant;
use foldhash::fast::FixedState;

use crate::client::Client;
use crate::deadlines::Deadlines;
use crate::peers::Peers;
use crate::server::Server;
use crate::slab::{Handle, Slab};
use crate::{Counters, EdgeCounts, Timers};

/// Handle of a client transaction. Once the transaction has ended it finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(crate) Handle);

/// Handle of a server transaction. Once the transaction has ended it finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub(crate) Handle);

/// How much the layer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionLimits {
    /// Client transactions at once.
    pub clients_max: usize,
    /// Server transactions at once.
    pub servers_max: usize,
    /// Bytes of messages kept for retransmission and of keys, over all transactions.
    pub kept_bytes_max: usize,
}

impl Default for TransactionLimits {
    fn default() -> TransactionLimits {
        TransactionLimits { clients_max: 100_000, servers_max: 100_000, kept_bytes_max: 256 << 20 }
    }
}

impl TransactionLimits {
    /// A slot has 32 bits.
    fn in_range(self) -> TransactionLimits {
        let most = u32::MAX as usize;
        TransactionLimits {
            clients_max: self.clients_max.min(most),
            servers_max: self.servers_max.min(most),
            ..self
        }
    }
}

/// What the transaction user has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// No final response came in time (Timer B or F). [`Event::ClientTerminated`] follows.
    TimedOut(ClientId),
    /// The request or its ACK could not be sent. [`Event::ClientTerminated`] follows.
    RequestNotSent(ClientId),
    /// The client transaction is gone; its handle finds nothing any more.
    ClientTerminated(ClientId),
    /// A response could not be sent. An INVITE server transaction stays (RFC 6026 §8.8); another one is gone, and
    /// [`Event::ServerTerminated`] follows.
    ResponseNotSent(ServerId),
    /// The ACK for a final response other than 2xx never came (Timer H). [`Event::ServerTerminated`] follows.
    NoAck(ServerId),
    /// The transaction user gave no final response while the client waited (RFC 4320 §4.2).
    /// [`Event::ServerTerminated`] follows.
    Unanswered(ServerId),
    /// The server transaction is gone; its handle finds nothing any more.
    ServerTerminated(ServerId),
}

/// A transaction of either kind, in the queue of deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Client(Handle),
    Server(Handle),
}

/// All transactions of one shard (RFC 3261 §17).
///
/// Its user gives it messages and `now`, and after each such call takes what [`Transactions::poll_transmit`] and
/// [`Transactions::poll_event`] have until they have nothing, and the deadline of [`Transactions::poll_timeout`].
///
/// Sketch of the cost: a transaction is one slot of a slab (216 bytes for a client, 256 for a server: its machine,
/// its flow, shared buffers), the text of its key, an entry in a map from the key's hash to the slot, and one or two
/// entries in the queue of deadlines, beside the messages that it keeps. Creating one copies the request once and
/// hashes some 60 bytes; a retransmission is a look-up, or the front of the queue, and a reference count.
#[derive(Debug)]
pub struct Transactions {
    pub(crate) timers: Timers,
    pub(crate) limits: TransactionLimits,
    pub(crate) clients: Slab<Client>,
    pub(crate) servers: Slab<Server>,
    pub(crate) client_slots: HashMap<u64, u32, FixedState>,
    pub(crate) server_slots: HashMap<u64, u32, FixedState>,
    pub(crate) client_peers: Peers,
    pub(crate) server_peers: Peers,
    /// How many server transactions have the same From tag, Call-ID and CSeq, by the hash of these.
    pub(crate) same_request: HashMap<NonZeroU64, u32, FixedState>,
    pub(crate) deadlines: Deadlines<Owner>,
    pub(crate) transmits: VecDeque<Transmit>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) counters: Counters,
    pub(crate) edges: EdgeCounts,
    pub(crate) kept_bytes: usize,
    /// The key that is looked for.
    pub(crate) key: Vec<u8>,
    hasher: FixedState,
    spare_keys: Vec<Vec<u8>>,
}

/// How many buffers for keys are put aside for the next transactions.
const SPARE_KEYS_MAX: usize = 1024;
/// Longer ones are given back.
const SPARE_KEY_BYTES_MAX: usize = 256;

impl Transactions {
    /// An empty layer. `seed` keys its hashes, so that a stranger can't choose keys that collide; the same seed
    /// gives the same run.
    pub fn new(timers: Timers, limits: TransactionLimits, seed: u64) -> Transactions {
        let hasher = FixedState::with_seed(seed);
        Transactions {
            timers,
            limits: limits.in_range(),
            clients: Slab::new(),
            servers: Slab::new(),
            client_slots: HashMap::with_hasher(hasher.clone()),
            server_slots: HashMap::with_hasher(hasher.clone()),
            client_peers: Peers::new(hasher.clone()),
            server_peers: Peers::new(hasher.clone()),
            same_request: HashMap::with_hasher(hasher.clone()),
            deadlines: Deadlines::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            edges: EdgeCounts::default(),
            kept_bytes: 0,
            key: Vec::new(),
            hasher,
            spare_keys: Vec::new(),
        }
    }

    /// Changes the timer values. Timers that run already keep theirs.
    pub fn set_timers(&mut self, timers: Timers) {
        self.timers = timers;
    }

    /// Changes the limits. Transactions beyond a smaller limit live on; new ones are refused.
    pub fn set_limits(&mut self, limits: TransactionLimits) {
        self.limits = limits.in_range();
    }

    /// The next message to be sent. Call until `None` after each call that takes `now`.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing to know. Call until `None` after each call that takes `now`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Transactions::handle_timeout`] is to be called next, and which timer fires then. Changes with each
    /// call that takes `now`.
    pub fn poll_timeout(&mut self) -> Option<(Instant, &'static str)> {
        loop {
            let (at, owner) = self.deadlines.peek()?;
            match self.wakes(at, owner) {
                Some((next, name)) if next == at => return Some((at, name)),
                Some((next, _)) => {
                    self.deadlines.pop();
                    self.set_deadline(owner, next);
                    self.deadlines.push(next, owner);
                }
                None => {
                    self.deadlines.pop();
                }
            }
        }
    }

    /// Lets every timer fire that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, owner)) = self.deadlines.peek().filter(|(at, _)| *at <= now) {
            self.deadlines.pop();
            match owner {
                Owner::Client(handle) => self.client_wakes(now, at, handle),
                Owner::Server(handle) => self.server_wakes(now, at, handle),
            }
        }
    }

    /// Tells the layer that messages can't be sent over `flow`: every transaction on it has a transport error
    /// (RFC 3261 §17.1.4, §17.2.4), in the order of their slots. Looks at the transactions of that peer.
    pub fn flow_failed(&mut self, now: Instant, flow: &Flow) {
        let peer = self.peer_hash(flow);
        let clients = self.client_peers.of(peer).filter_map(|slot| self.clients.at(slot));
        let clients = clients.filter(|(_, client)| shares_fate(&client.flow, flow));
        let mut clients: Vec<Handle> = clients.map(|(handle, _)| handle).collect();
        let servers = self.server_peers.of(peer).filter_map(|slot| self.servers.at(slot));
        let servers = servers.filter(|(_, server)| shares_fate(&server.flow, flow));
        let mut servers: Vec<Handle> = servers.map(|(handle, _)| handle).collect();
        clients.sort_unstable();
        servers.sort_unstable();
        for handle in clients {
            self.client_transport_error(now, ClientId(handle));
        }
        for handle in servers {
            self.server_transport_error(now, ServerId(handle));
        }
    }

    /// How many client transactions there are.
    pub fn clients_len(&self) -> usize {
        self.clients.len()
    }

    /// How many server transactions there are.
    pub fn servers_len(&self) -> usize {
        self.servers.len()
    }

    /// How many deadlines are queued, stale ones included: never more than a few for each transaction.
    pub fn deadlines_len(&self) -> usize {
        self.deadlines.len()
    }

    /// Bytes of messages and keys that are kept.
    pub const fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Whether nothing is left: no transaction, no kept byte, no deadline that counts, nothing to be polled.
    pub fn is_at_rest(&mut self) -> bool {
        self.poll_timeout().is_none()
            && self.clients.len() + self.servers.len() + self.kept_bytes == 0
            && self.client_slots.is_empty()
            && self.server_slots.is_empty()
            && self.client_peers.is_empty()
            && self.server_peers.is_empty()
            && self.same_request.is_empty()
            && self.transmits.is_empty()
            && self.events.is_empty()
    }

    /// What happened since the start.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How often each arrow of the four figures was taken.
    pub const fn edges(&self) -> &EdgeCounts {
        &self.edges
    }

    /// The hash of the key that is looked for.
    pub(crate) fn key_hash(&self) -> u64 {
        self.hash(&self.key)
    }

    /// The hash of who is at the other end of a flow.
    pub(crate) fn peer_hash(&self, flow: &Flow) -> u64 {
        self.hasher.hash_one((flow.transport, flow.remote))
    }

    /// The hash of a key.
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// A copy of the key that is looked for, in a buffer that was used before if there is one.
    pub(crate) fn copy_key(&mut self) -> Vec<u8> {
        let mut copy = self.spare_keys.pop().unwrap_or_default();
        copy.extend_from_slice(&self.key);
        self.kept_bytes += copy.len();
        copy
    }

    /// Takes back the key of a transaction that is gone.
    pub(crate) fn release_key(&mut self, mut key: Vec<u8>) {
        self.kept_bytes -= key.len();
        if self.spare_keys.len() < SPARE_KEYS_MAX && key.capacity() <= SPARE_KEY_BYTES_MAX {
            key.clear();
            self.spare_keys.push(key);
        }
    }

    /// Writes the deadline of a transaction into the queue when it comes earlier than the one that counts.
    pub(crate) fn schedule(&mut self, owner: Owner, counts: Instant, next: Option<Instant>) {
        if let Some(next) = next.filter(|next| *next < counts) {
            self.set_deadline(owner, next);
            self.deadlines.push(next, owner);
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        let (clients, servers) = (&self.clients, &self.servers);
        self.deadlines.sweep(clients.len() + servers.len(), |at, owner| match owner {
            Owner::Client(handle) => clients.get(handle).is_some_and(|client| client.deadline == at),
            Owner::Server(handle) => servers.get(handle).is_some_and(|server| server.deadline == at),
        });
    }

    fn set_deadline(&mut self, owner: Owner, at: Instant) {
        match owner {
            Owner::Client(handle) => {
                if let Some(client) = self.clients.get_mut(handle) {
                    client.deadline = at;
                }
            }
            Owner::Server(handle) => {
                if let Some(server) = self.servers.get_mut(handle) {
                    server.deadline = at;
                }
            }
        }
    }

    /// The next timer of the owner of a deadline; `None` when the deadline does not count any more.
    fn wakes(&mut self, at: Instant, owner: Owner) -> Option<(Instant, &'static str)> {
        let (deadline, wakes) = match owner {
            Owner::Client(handle) => {
                let client = self.clients.get_mut(handle)?;
                (&mut client.deadline, client.machine.wakes())
            }
            Owner::Server(handle) => {
                let server = self.servers.get_mut(handle)?;
                (&mut server.deadline, server.machine.wakes())
            }
        };
        if *deadline != at {
            return None;
        }
        if wakes.is_none() {
            *deadline = Instant::NEVER;
        }
        wakes
    }
}

/// Puts `bytes` in the place of what was kept.
pub(crate) fn keep(kept_bytes: &mut usize, place: &mut Bytes, bytes: Bytes) {
    *kept_bytes = *kept_bytes - place.len() + bytes.len();
    *place = bytes;
}

/// Whether what happened to the flow `failed` happened to `flow` too: the same flow, the same connection, or a flow
/// that asked for any connection to that peer.
fn shares_fate(flow: &Flow, failed: &Flow) -> bool {
    if flow.transport != failed.transport || flow.remote != failed.remote {
        return false;
    }
    match (flow.connection, failed.connection) {
        (Some(mine), Some(theirs)) => mine == theirs,
        _ => flow.transport.is_reliable() || flow.local == failed.local,
    }
}
