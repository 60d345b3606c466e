//! Calls of this shard by their Call-ID that another shard has now (DESIGN: calls that join), and slots of parked calls.
//!
//! The shard of a packet stays the hash of its Call-ID ([`steer`](crate::steer())): its *home*. Two calls that are to meet
//! may have different homes; one of them is then handed over, and its home keeps an alias that names the new owner. What
//! comes for it goes on as a [`Notice`](crate::io::Notice), behind what went before, so that its order is kept.
//!
//! An alias is a lease: the owner renews it as long as the call lives and gives it back at the end, when it stays for the
//! time of a transaction, for late copies. So a word that is lost leaves nothing behind. A call that moves twice is known
//! by how often it moved; an older word about it is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dialtone_wire::time::Instant;
use smol_str::{SmolStr, format_smolstr};

/// How long an alias holds that nobody renews.
pub(crate) const LEASE: Duration = Duration::from_secs(600);
/// How often the owner renews it.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(240);
/// How many shards a packet or a request passes at most before it is given up: its call moves faster than it does.
pub(crate) const HOPS_MAX: u8 = 8;

/// The name of a slot among the aliases. No Call-ID has a blank.
pub(crate) fn slot_name(domain: &str, number: &str) -> SmolStr {
    format_smolstr!("slot {domain} {number}")
}

/// The name of the queue of a group, for its home.
pub(crate) fn queue_name(group: &str) -> SmolStr {
    format_smolstr!("queue {group}")
}

/// Where the owner of a call is.
#[derive(Clone, Copy, Debug)]
struct Alias {
    owner: u16,
    /// How often the call had moved when it came there.
    moves: u8,
    until: Instant,
}

/// What this shard is the home of and others have.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    entries: BTreeMap<SmolStr, Alias>,
    order: BTreeSet<(Instant, SmolStr)>,
}

impl Aliases {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Who has a call.
    pub(crate) fn owner_of(&self, name: &str) -> Option<u16> {
        self.entries.get(name).map(|alias| alias.owner)
    }

    /// Notes, until a time, that another shard has a call; `false` when `limit` of them are elsewhere already.
    pub(crate) fn set(&mut self, name: &str, owner: u16, moves: u8, until: Instant, limit: usize) -> bool {
        match self.entries.get(name).copied() {
            Some(before) if before.moves > moves => return true,
            Some(before) => {
                self.order.remove(&(before.until, SmolStr::new(name)));
            }
            None if self.entries.len() >= limit => return false,
            None => {}
        }
        let name = SmolStr::new(name);
        self.order.insert((until, name.clone()));
        self.entries.insert(name, Alias { owner, moves, until });
        true
    }

    /// The owner has it no more: late copies still go there until this time.
    pub(crate) fn release(&mut self, name: &str, owner: u16, until: Instant) {
        let Some(alias) = self.entries.get_mut(name) else { return };
        if alias.owner == owner && alias.until > until {
            let name = SmolStr::new(name);
            self.order.remove(&(alias.until, name.clone()));
            alias.until = until;
            self.order.insert((until, name));
        }
    }

    /// It is here now, or it is nowhere.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(alias) = self.entries.remove(name) {
            self.order.remove(&(alias.until, SmolStr::new(name)));
        }
    }

    /// Forgets those whose time is over.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, name)) = self.order.first().filter(|(until, _)| *until <= now).cloned() {
            self.remove(&name);
        }
    }

    /// When the first one is over.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.order.first().map(|(until, _)| (*until, "alias"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn an_older_word_about_a_call_does_not_bring_it_back_where_it_was() {
        let mut aliases = Aliases::default();
        assert!(aliases.set("call", 1, 1, at(10), 2));
        assert!(aliases.set("call", 2, 2, at(10), 2));
        assert!(aliases.set("call", 1, 1, at(60), 2), "it is known, and newer");
        assert_eq!(aliases.owner_of("call"), Some(2));
        aliases.release("call", 1, at(3));
        aliases.handle_timeout(at(9));
        assert_eq!(aliases.owner_of("call"), Some(2), "who has it no more releases nothing");
        aliases.release("call", 2, at(9));
        assert_eq!(aliases.poll_timeout(), Some((at(9), "alias")));
        aliases.handle_timeout(at(9));
        assert_eq!((aliases.len(), aliases.poll_timeout()), (0, None));
    }

    #[test]
    fn a_full_table_takes_no_more_but_renews_what_it_has() {
        let mut aliases = Aliases::default();
        assert!(aliases.set("one", 1, 1, at(10), 1));
        assert!(!aliases.set("two", 1, 1, at(10), 1));
        assert!(aliases.set("one", 1, 1, at(20), 1));
        aliases.handle_timeout(at(15));
        assert_eq!(aliases.len(), 1);
    }
}
