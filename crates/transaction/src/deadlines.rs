//! One queue of deadlines for the whole layer, cancelled lazily.
//!
//! Each transaction has at most one deadline that counts, the one that its owner has written down; others left in
//! the queue are stale and are skipped when they come up, or swept out when they outnumber the living.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use dialtone_wire::time::Instant;

/// The queue: earliest first, of several at the same point in time the one scheduled first.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    heap: BinaryHeap<Reverse<(Instant, u64, K)>>,
    scheduled: u64,
}

/// So few stale deadlines are never worth a sweep.
const SWEEP_AT_LEAST: usize = 64;

impl<K: Ord + Copy> Deadlines<K> {
    pub(crate) fn new() -> Deadlines<K> {
        Deadlines { heap: BinaryHeap::new(), scheduled: 0 }
    }

    pub(crate) fn push(&mut self, at: Instant, key: K) {
        self.heap.push(Reverse((at, self.scheduled, key)));
        self.scheduled += 1;
    }

    pub(crate) fn peek(&self) -> Option<(Instant, K)> {
        self.heap.peek().map(|Reverse((at, _, key))| (*at, *key))
    }

    pub(crate) fn pop(&mut self) -> Option<(Instant, K)> {
        self.heap.pop().map(|Reverse((at, _, key))| (at, key))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Sweeps the stale deadlines out when there are more of them than `living` ones. A sweep costs as much as the
    /// pushes since the last one, so that each push pays a constant share.
    pub(crate) fn sweep(&mut self, living: usize, mut counts: impl FnMut(Instant, K) -> bool) {
        if self.heap.len() > SWEEP_AT_LEAST.max(living.saturating_mul(3)) {
            self.heap.retain(|Reverse((at, _, key))| counts(*at, *key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_by_time_and_then_in_the_order_of_scheduling() {
        let mut queue = Deadlines::new();
        for (millis, key) in [(5, 9), (3, 1), (5, 2), (3, 7)] {
            queue.push(Instant::from_millis(millis), key);
        }
        let order: Vec<i32> = std::iter::from_fn(|| queue.pop().map(|(_, key)| key)).collect();
        assert_eq!(order, [1, 7, 9, 2]);
    }

    #[test]
    fn stale_deadlines_are_swept_out_once_they_outnumber_the_living() {
        let mut queue = Deadlines::new();
        for key in 0..200 {
            queue.push(Instant::from_millis(key), key);
        }
        queue.sweep(100, |_, _| panic!("no sweep is due"));
        queue.sweep(10, |_, key| key >= 190);
        assert_eq!(queue.len(), 10);
        assert_eq!(queue.peek(), Some((Instant::from_millis(190), 190)));
    }
}
