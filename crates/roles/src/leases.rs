//! The pool of leased RTP ports: they are there before they are needed, so that an SDP is written in the same turn.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use crate::io::{Lease, MediaCommand, MediaEvent};

/// Leases that are ready, by local address.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    pools: BTreeMap<IpAddr, Pool>,
    epoch: u32,
}

#[derive(Debug, Default)]
struct Pool {
    ready: VecDeque<Lease>,
    /// Asked for and not there yet.
    ordered: u16,
}

impl Leases {
    /// Takes a lease out of the pool.
    pub(crate) fn take(&mut self, ip: IpAddr) -> Option<Lease> {
        self.pools.get_mut(&ip)?.ready.pop_front()
    }

    /// What must be ordered so that `ready` leases are there.
    pub(crate) fn wanted(&mut self, ip: IpAddr, ready: u16) -> Option<MediaCommand> {
        let pool = self.pools.entry(ip).or_default();
        let have = u16::try_from(pool.ready.len()).unwrap_or(u16::MAX).saturating_add(pool.ordered);
        // Half a pool at a time, so that not each call costs a message to the media plane.
        if have > ready / 2 {
            return None;
        }
        let count = ready - have;
        pool.ordered += count;
        (count > 0).then_some(MediaCommand::Lease { address: ip, count })
    }

    /// Word from the media plane.
    pub(crate) fn handle(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Leased(leases) => {
                for lease in leases.into_iter().filter(|lease| lease.epoch >= self.epoch) {
                    let pool = self.pools.entry(lease.rtp.ip()).or_default();
                    pool.ordered = pool.ordered.saturating_sub(1);
                    pool.ready.push_back(lease);
                }
            }
            MediaEvent::Exhausted(ip) => {
                if let Some(pool) = self.pools.get_mut(&ip) {
                    pool.ordered = 0;
                }
            }
            MediaEvent::Restarted { epoch } => {
                self.epoch = epoch;
                self.pools.clear();
            }
        }
    }
}
