//! The media plane of the simulation: it leases ports, and remembers what it was told about each.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use dialtone_roles::io::{CallHandle, Lease, MediaCommand, MediaEvent};
use dialtone_wire::time::Instant;

use crate::world::HostId;

/// The first port that is leased on each address.
const FIRST_PORT: u16 = 20_000;
/// How many pairs of ports each address has.
const PAIRS: u32 = 20_000;

/// What happened to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEvent {
    /// It was given to a shard.
    Leased,
    /// A session was started or changed on it.
    Applied(CallHandle),
    /// It was given back.
    Released,
}

/// One fact about one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseFact {
    /// When.
    pub at: Instant,
    /// Whose shard.
    pub host: HostId,
    /// Which life of that host.
    pub life: u32,
    /// The lease.
    pub lease: Lease,
    /// What happened.
    pub event: LeaseEvent,
}

/// The media plane of all hosts.
#[derive(Debug, Default)]
pub(crate) struct MediaPlane {
    next_id: u32,
    next_pair: BTreeMap<IpAddr, u32>,
    pub(crate) facts: Vec<LeaseFact>,
}

impl MediaPlane {
    /// Carries out a command; the answer, if there is one.
    pub(crate) fn handle(
        &mut self,
        at: Instant,
        host: HostId,
        life: u32,
        command: MediaCommand,
        exhausted: bool,
    ) -> Option<MediaEvent> {
        let mut note = |lease, event| self.facts.push(LeaseFact { at, host, life, lease, event });
        match command {
            MediaCommand::Lease { address, .. } if exhausted => Some(MediaEvent::Exhausted(address)),
            MediaCommand::Lease { address, count } => {
                let next = self.next_pair.entry(address).or_default();
                let leases: Vec<Lease> = (0..count)
                    .map(|_| {
                        let port = FIRST_PORT + u16::try_from(*next % PAIRS * 2).unwrap_or(0);
                        *next += 1;
                        self.next_id += 1;
                        Lease { id: self.next_id, epoch: 0, rtp: SocketAddr::new(address, port) }
                    })
                    .collect();
                for lease in &leases {
                    note(*lease, LeaseEvent::Leased);
                }
                Some(MediaEvent::Leased(leases))
            }
            MediaCommand::Apply { lease, call, .. } | MediaCommand::Count { lease, call, .. } => {
                note(lease, LeaseEvent::Applied(call));
                None
            }
            MediaCommand::Release { lease } => {
                note(lease, LeaseEvent::Released);
                None
            }
            _ => None,
        }
    }
}
