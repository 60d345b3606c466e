//! What happened in a world: plain values that the checkers judge.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;

use dialtone_roles::io::{Command, Event};
use dialtone_roles::{Counters, EdgeCounts, Tables};
use dialtone_wire::time::Instant;

use crate::media_plane::LeaseFact;
use crate::network::{FaultCounts, Packet};
use crate::world::HostId;

/// Something that happened at a host.
#[derive(Clone, Debug)]
pub struct Note {
    /// When.
    pub at: Instant,
    /// Where.
    pub host: HostId,
    /// In which life of the host.
    pub life: u32,
    /// At which of its shards.
    pub shard: u16,
    /// What.
    pub what: What,
}

/// What can happen at a host.
#[derive(Clone, Debug)]
pub enum What {
    /// Its engine was given a command.
    Command(Command),
    /// Its engine told of an event.
    Event(Event),
    /// It went down; its engines are gone.
    WentDown,
    /// An engine asked to be woken again and again without the time going on.
    Spins,
}

/// A host at the end.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<SocketAddr>,
    /// Whether it is a phone, not a server.
    pub is_phone: bool,
    /// Whether it is a proxy that keeps nothing (RFC 3261 §16.11): it repeats and answers what others do.
    pub is_stateless: bool,
    /// Whether it is both ends of the calls of its domain.
    pub is_b2bua: bool,
    /// What its tables hold.
    pub tables: Tables,
    /// What its engines have counted since they were made last.
    pub counters: Counters,
    /// How many of its shards still wait for a time to come.
    pub deadlines: usize,
}

/// An agent.
#[derive(Clone, Debug)]
pub struct AgentFacts {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
    /// Whether it sends what it should, or garbage.
    pub honest: bool,
}

/// Everything that happened.
#[derive(Clone, Debug)]
pub struct History {
    /// The hosts; [`HostId`] is the index.
    pub hosts: Vec<HostFacts>,
    /// The agents.
    pub agents: Vec<AgentFacts>,
    /// Every datagram in the order of sending.
    pub packets: Vec<Packet>,
    /// What happened at the hosts.
    pub notes: Vec<Note>,
    /// What happened to leased ports.
    pub leases: Vec<LeaseFact>,
    /// How often each fault fired.
    pub faults: FaultCounts,
    /// How often each arrow of the four figures was taken; `None` without hosts.
    pub edges: Option<EdgeCounts>,
    /// When the run ended.
    pub ended: Instant,
    /// Whether nothing was left to happen.
    pub at_rest: bool,
}

impl History {
    /// The host that has an address.
    pub fn host_at(&self, address: SocketAddr) -> Option<HostId> {
        self.hosts.iter().position(|host| host.addresses.contains(&address)).map(HostId)
    }

    /// The phone that has an address.
    pub fn phone_at(&self, address: SocketAddr) -> Option<HostId> {
        self.host_at(address).filter(|host| self.hosts[host.0].is_phone)
    }

    /// Whether who has this address sends what it should; strangers do not count.
    pub fn is_honest(&self, address: SocketAddr) -> bool {
        self.agents.iter().all(|agent| agent.honest || agent.address != address)
    }

    /// Which life a host was in at a time.
    pub fn life_at(&self, host: HostId, at: Instant) -> u32 {
        self.downs(host).filter(|down| *down < at).count() as u32
    }

    /// When a host went down.
    pub fn downs(&self, host: HostId) -> impl Iterator<Item = Instant> {
        let of_host = self.notes.iter().filter(move |note| note.host == host);
        of_host.filter(|note| matches!(note.what, What::WentDown)).map(|note| note.at)
    }

    /// A number that is the same for the same run.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for packet in &self.packets {
            packet.sent.hash(&mut hasher);
            packet.from.hash(&mut hasher);
            packet.to.hash(&mut hasher);
            packet.bytes.hash(&mut hasher);
            packet.arrivals.hash(&mut hasher);
        }
        self.notes.len().hash(&mut hasher);
        self.leases.len().hash(&mut hasher);
        self.ended.hash(&mut hasher);
        hasher.finish()
    }
}
