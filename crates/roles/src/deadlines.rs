//! The deadlines of a role: each of its timers runs at most once at a time.

use std::collections::{BTreeMap, BTreeSet};

use dialtone_wire::time::Instant;

/// A timer and whose it is.
pub(crate) trait Timer: Copy + Ord {
    /// What it is called in traces.
    fn name(self) -> &'static str;
}

/// The timers that run, by time and by owner.
#[derive(Debug)]
pub(crate) struct Deadlines<T> {
    order: BTreeSet<(Instant, T)>,
    running: BTreeMap<T, Instant>,
}

impl<T: Timer> Default for Deadlines<T> {
    fn default() -> Self {
        Deadlines { order: BTreeSet::new(), running: BTreeMap::new() }
    }
}

impl<T: Timer> Deadlines<T> {
    /// Starts a timer, or starts it anew.
    pub(crate) fn start(&mut self, timer: T, at: Instant) {
        if let Some(before) = self.running.insert(timer, at) {
            self.order.remove(&(before, timer));
        }
        self.order.insert((at, timer));
    }

    /// Starts a timer, or stops it where it is not to run.
    pub(crate) fn set(&mut self, timer: T, at: Option<Instant>) {
        match at {
            Some(at) => self.start(timer, at),
            None => self.stop(timer),
        }
    }

    /// Stops a timer if it runs.
    pub(crate) fn stop(&mut self, timer: T) {
        if let Some(at) = self.running.remove(&timer) {
            self.order.remove(&(at, timer));
        }
    }

    /// Whether a timer runs.
    pub(crate) fn runs(&self, timer: T) -> bool {
        self.running.contains_key(&timer)
    }

    /// When a timer is due, if it runs.
    pub(crate) fn at(&self, timer: T) -> Option<Instant> {
        self.running.get(&timer).copied()
    }

    /// Takes the next timer that is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<T> {
        let (_, timer) = *self.order.first().filter(|(at, _)| *at <= now)?;
        self.stop(timer);
        Some(timer)
    }

    /// The timer that is due next.
    pub(crate) fn next(&self) -> Option<(Instant, &'static str)> {
        self.order.first().map(|(at, timer)| (*at, timer.name()))
    }
}
