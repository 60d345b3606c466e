//! Which transactions have a peer in common: found without a look at all others when messages to it can't be sent.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// No slot.
const NONE: u32 = u32::MAX;

/// The place of a slot in the list of its peer.
#[derive(Clone, Copy, Debug)]
struct Link {
    peer: u64,
    before: u32,
    after: u32,
}

/// A list of slots for each peer, which is named by a hash: two peers may share one.
///
/// Each list is linked through its slots, so that entering and leaving it is one look-up at most.
#[derive(Debug)]
pub(crate) struct Peers {
    first: HashMap<u64, u32, FixedState>,
    links: Vec<Link>,
}

impl Peers {
    pub(crate) fn new(hasher: FixedState) -> Peers {
        Peers { first: HashMap::with_hasher(hasher), links: Vec::new() }
    }

    /// Enters a slot that is in no list.
    pub(crate) fn enter(&mut self, peer: u64, slot: u32) {
        let at = slot as usize;
        if at >= self.links.len() {
            self.links.resize(at + 1, Link { peer: 0, before: NONE, after: NONE });
        }
        let after = self.first.insert(peer, slot).unwrap_or(NONE);
        self.links[at] = Link { peer, before: NONE, after };
        if after != NONE {
            self.links[after as usize].before = slot;
        }
    }

    /// Takes a slot out of its list.
    pub(crate) fn leave(&mut self, slot: u32) {
        let Link { peer, before, after } = self.links[slot as usize];
        if after != NONE {
            self.links[after as usize].before = before;
        }
        if before != NONE {
            self.links[before as usize].after = after;
        } else if after != NONE {
            self.first.insert(peer, after);
        } else {
            self.first.remove(&peer);
        }
    }

    /// The slots of a peer, the last that was entered first.
    pub(crate) fn of(&self, peer: u64) -> impl Iterator<Item = u32> {
        let first = self.first.get(&peer).copied();
        std::iter::successors(first, |slot| {
            Some(self.links[*slot as usize].after).filter(|after| *after != NONE)
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peers: &Peers, peer: u64) -> Vec<u32> {
        peers.of(peer).collect()
    }

    #[test]
    fn slots_are_found_by_their_peer_whatever_order_they_leave_in() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1]] {
            let mut peers = Peers::new(FixedState::with_seed(1));
            for slot in 0..3 {
                peers.enter(7, slot);
            }
            peers.enter(8, 5);
            assert_eq!(of(&peers, 7), [2, 1, 0]);
            let mut left = vec![2, 1, 0];
            for slot in order {
                peers.leave(slot);
                left.retain(|other| *other != slot);
                assert_eq!(of(&peers, 7), left, "{order:?}");
                assert_eq!(of(&peers, 8), [5]);
            }
            peers.enter(9, 1);
            assert_eq!((of(&peers, 7), of(&peers, 9)), (vec![], vec![1]), "a slot is used again");
            peers.leave(1);
            peers.leave(5);
            assert!(peers.is_empty());
        }
    }
}
