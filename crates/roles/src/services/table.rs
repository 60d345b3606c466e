//! What the users of one shard chose: of those addresses-of-record whose bindings it owns.

use std::collections::BTreeMap;
use std::ops::Bound;

use smol_str::SmolStr;

use super::{Change, Choices, Services};
use crate::listing::{ListedServices, Page};
use crate::settings::ForwardingSettings;

/// What users chose, by canonical address-of-record. Who chose nothing is not in it.
#[derive(Debug, Default)]
pub(crate) struct ServiceTable {
    chosen: BTreeMap<SmolStr, Choices>,
}

impl ServiceTable {
    /// What a user chose.
    pub(crate) fn of(&self, aor: &str) -> Option<&Choices> {
        // Most servers have few users who chose anything.
        if self.chosen.is_empty() { None } else { self.chosen.get(aor) }
    }

    /// What holds for a user.
    pub(crate) fn effective(&self, settings: &ForwardingSettings, aor: &str) -> Services {
        let users = &settings.users;
        // Calls for most users find both tables empty.
        let base = if users.is_empty() { None } else { users.get(aor) };
        match (self.of(aor), base) {
            (None, None) => Services::default(),
            (None, Some(base)) => base.clone(),
            (Some(choices), base) => choices.over(base.unwrap_or(&Services::default())),
        }
    }

    /// Makes changes of one user, all of them or none; gives what he had chosen before. `None` when more users than
    /// `users_max` would have chosen something.
    pub(crate) fn change(&mut self, aor: &SmolStr, changes: &[Change], users_max: usize) -> Option<Choices> {
        let before = self.of(aor).cloned().unwrap_or_default();
        let mut after = before.clone();
        for change in changes {
            after.apply(change);
        }
        if before.is_empty() && !after.is_empty() && self.chosen.len() >= users_max {
            return None;
        }
        self.put(aor, after);
        Some(before)
    }

    /// Puts choices in place of those that a user had.
    pub(crate) fn put(&mut self, aor: &SmolStr, choices: Choices) {
        if choices.is_empty() {
            self.chosen.remove(aor);
        } else {
            self.chosen.insert(aor.clone(), choices);
        }
    }

    /// How many users chose something.
    pub(crate) fn len(&self) -> usize {
        self.chosen.len()
    }

    /// The first `count` users after this one, in the order of their addresses.
    pub(crate) fn page(&self, after: Option<&str>, count: usize) -> Page<ListedServices, SmolStr> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.chosen.range::<str, _>((from, Bound::Unbounded));
        let entries: Vec<ListedServices> = rest
            .by_ref()
            .take(count.max(1))
            .map(|(aor, choices)| ListedServices { aor: aor.clone(), choices: choices.clone() })
            .collect();
        let next = rest.next().and(entries.last()).map(|last| last.aor.clone());
        Page { entries, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::{Choice, ForwardKind};

    fn forward(to: &str) -> Vec<Change> {
        vec![Change::Forward(ForwardKind::Always, Choice::On(to.into()))]
    }

    #[test]
    fn only_so_many_users_can_choose_and_who_takes_all_back_makes_room() {
        let mut table = ServiceTable::default();
        let (a, b) = (SmolStr::new("sip:a@x"), SmolStr::new("sip:b@x"));
        assert_eq!(table.change(&a, &forward("1"), 1), Some(Choices::default()));
        assert_eq!(table.change(&b, &forward("1"), 1), None);
        assert!(table.change(&a, &forward("2"), 1).is_some_and(|before| !before.is_empty()));
        let back = [Change::Forward(ForwardKind::Always, Choice::AsConfigured)];
        assert!(table.change(&a, &back, 1).is_some());
        assert_eq!(table.len(), 0);
        assert!(table.change(&b, &forward("1"), 1).is_some());
    }

    #[test]
    fn users_are_listed_in_their_order_page_by_page() {
        let mut table = ServiceTable::default();
        for user in ["c", "a", "b"] {
            let aor = SmolStr::from(format!("sip:{user}@x"));
            table.change(&aor, &forward("1"), 9);
        }
        let first = table.page(None, 2);
        let names = |page: &Page<ListedServices, SmolStr>| {
            page.entries.iter().map(|entry| entry.aor.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&first), ["sip:a@x", "sip:b@x"]);
        let second = table.page(first.next.as_deref(), 2);
        assert_eq!((names(&second), second.next), (vec!["sip:c@x".to_owned()], None));
    }
}
