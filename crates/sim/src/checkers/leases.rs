//! Leased ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use dialtone_roles::io::Lease;

use super::Verdict;
use super::traffic::Traffic;
use crate::history::History;
use crate::media_plane::LeaseEvent;
use crate::world::HostId;

/// Where a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Running,
    Released,
}

/// Each lease is given once, and given back at most once; nothing runs on it before or after; at rest, no session
/// runs.
pub(super) fn balance(history: &History, _: &Traffic, verdict: &mut Verdict) {
    let mut states: BTreeMap<(HostId, u32, u32), State> = BTreeMap::new();
    for fact in &history.leases {
        let key = (fact.host, fact.life, fact.lease.id);
        let before = states.get(&key).copied();
        let (right, after) = match fact.event {
            LeaseEvent::Leased => (before.is_none(), State::Ready),
            LeaseEvent::Applied(_) => (matches!(before, Some(State::Ready | State::Running)), State::Running),
            LeaseEvent::Released => (matches!(before, Some(State::Ready | State::Running)), State::Released),
        };
        states.insert(key, after);
        verdict.judge(right, || {
            format!(
                "{}: {:?} after {before:?}: {:?}",
                history.hosts[fact.host.0].name, fact.event, fact.lease
            )
        });
    }
    for ((host, life, lease), state) in states {
        let went_down = history.downs(host).count() as u32 > life;
        verdict.judge(state != State::Running || went_down, || {
            format!("{}: a session still runs on lease {lease}", history.hosts[host.0].name)
        });
    }
}

/// A port that stood in a session description of ours was taken out of the pool: it must come back.
pub(super) fn offered_ports_come_back(history: &History, traffic: &Traffic, verdict: &mut Verdict) {
    let released: BTreeSet<(HostId, u32, u32)> = history
        .leases
        .iter()
        .filter(|fact| fact.event == LeaseEvent::Released)
        .map(|fact| (fact.host, fact.life, fact.lease.id))
        .collect();
    let mut leased: BTreeMap<(HostId, u32, SocketAddr), Lease> = BTreeMap::new();
    for fact in history.leases.iter().filter(|fact| fact.event == LeaseEvent::Leased) {
        leased.insert((fact.host, fact.life, fact.lease.rtp), fact.lease);
    }
    let mut seen = BTreeSet::new();
    for unit in &traffic.units {
        let (Some((host, life)), Some(media)) = (unit.sender, unit.media) else { continue };
        let Some(lease) = leased.get(&(host, life, media)) else { continue };
        if !seen.insert((host, life, lease.id)) || history.downs(host).count() as u32 > life {
            continue;
        }
        verdict.judge(released.contains(&(host, life, lease.id)), || {
            format!("{}: {media} in {} never came back", history.hosts[host.0].name, unit.brief())
        });
    }
}
