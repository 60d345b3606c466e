//! Destinations that failed are left alone for a while.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use dialtone_wire::net::Transport;
use dialtone_wire::time::Instant;

use super::random::Random;
use super::settings::StreamSettings;

#[derive(Debug, Default)]
pub(super) struct BackOff {
    destinations: BTreeMap<(Transport, SocketAddr), Failing>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    failures: u32,
    until: Instant,
}

impl BackOff {
    /// Until when the destination is left alone; `None` when it may be tried.
    pub(super) fn until(&self, now: Instant, key: (Transport, SocketAddr)) -> Option<Instant> {
        self.destinations.get(&key).map(|failing| failing.until).filter(|until| *until > now)
    }

    /// One more failure: the time doubles each time, up to its limit. Half of it is random, so that those who lost a
    /// server together don't come back together.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        key: (Transport, SocketAddr),
        settings: &StreamSettings,
        random: &mut Random,
    ) {
        let long_ago = |failing: &Failing| now.since(failing.until) > settings.back_off_max;
        let before = self.destinations.get(&key).filter(|failing| !long_ago(failing));
        let failures = before.map_or(0, |failing| failing.failures).saturating_add(1);
        let doublings = (failures - 1).min(31);
        let whole = settings.back_off_first.saturating_mul(1 << doublings).min(settings.back_off_max);
        let half = u64::try_from(whole.as_nanos() / 2).unwrap_or(u64::MAX / 2);
        let time = Duration::from_nanos(half.saturating_add(random.below(half.saturating_add(1))));
        if !self.destinations.contains_key(&key) && self.destinations.len() >= settings.back_offs_max {
            self.forget_one();
        }
        self.destinations.insert(key, Failing { failures, until: now + time });
    }

    /// The destination works.
    pub(super) fn works(&mut self, key: (Transport, SocketAddr)) {
        self.destinations.remove(&key);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.destinations.len()
    }

    /// Drops the destination that may be tried first.
    fn forget_one(&mut self) {
        let first = self.destinations.iter().min_by_key(|(_, failing)| failing.until).map(|(key, _)| *key);
        if let Some(key) = first {
            self.destinations.remove(&key);
        }
    }
}
