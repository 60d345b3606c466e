//! The location service (RFC 3261 §10.2, §10.3): which contacts an address-of-record has, until when.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::ops::Bound;

use dialtone_wire::net::ConnectionId;
use dialtone_wire::time::Instant;
use foldhash::fast::FixedState;
use smol_str::SmolStr;

use crate::binding::Binding;
use crate::gruu::Key;
use crate::keep_alive;
use crate::listing::{ListedBinding, Page};
use crate::settings::KeepAliveContacts;

/// The bindings of all addresses-of-record of one shard.
#[derive(Debug)]
pub(crate) struct Location {
    bindings: HashMap<SmolStr, Vec<Binding>, FixedState>,
    count: usize,
    /// All addresses-of-record that have bindings, in order: what pages are cut from.
    aors: BTreeSet<SmolStr>,
    /// Whose device each series of temporary GRUUs leads to.
    by_gruu: HashMap<u64, SmolStr, FixedState>,
    /// Whose bindings each connection leads to.
    by_connection: BTreeSet<(ConnectionId, SmolStr)>,
    /// When a binding of an address-of-record may be over; entries that no binding has any more are passed over.
    deadlines: BinaryHeap<Reverse<(Instant, SmolStr)>>,
    /// Whose contacts are asked whether they are there, and the addresses-of-record of which one has come or gone.
    keep_alive: KeepAliveContacts,
    changed: Vec<SmolStr>,
    /// Contacts that are called last, since they do not answer.
    last: BTreeSet<(SmolStr, SmolStr)>,
}

impl Location {
    pub(crate) fn new(seed: u64) -> Location {
        let hasher = FixedState::with_seed(seed);
        Location {
            bindings: HashMap::with_hasher(hasher.clone()),
            by_gruu: HashMap::with_hasher(hasher),
            count: 0,
            aors: BTreeSet::new(),
            by_connection: BTreeSet::new(),
            deadlines: BinaryHeap::new(),
            keep_alive: KeepAliveContacts::default(),
            changed: Vec::new(),
            last: BTreeSet::new(),
        }
    }

    /// Takes the setting that says whose contacts are asked; says whether it is another than before. All
    /// addresses-of-record then count as changed.
    pub(crate) fn kept_alive(&mut self, contacts: KeepAliveContacts) -> bool {
        let is_new = self.keep_alive != contacts;
        if is_new {
            self.keep_alive = contacts;
            self.changed = self.aors.iter().cloned().collect();
        }
        is_new
    }

    /// The addresses-of-record whose contacts may have come or gone since the last time, as far as some are asked.
    pub(crate) fn take_changed(&mut self) -> Vec<SmolStr> {
        std::mem::take(&mut self.changed)
    }

    /// Has a contact called after all others, or in its turn.
    pub(crate) fn set_last(&mut self, aor: &SmolStr, contact: &SmolStr, is_last: bool) {
        let key = (aor.clone(), contact.clone());
        match is_last {
            true => self.last.insert(key),
            false => self.last.remove(&key),
        };
    }

    /// The bindings that a call is sent to, as [`Location::found`]; one that does not answer has the lowest preference.
    pub(crate) fn callable(&self, now: Instant, key: &str) -> Vec<Binding> {
        let mut found: Vec<Binding> = self.found(now, key).cloned().collect();
        if !self.last.is_empty()
            && let Some(aor) = self.aor_of(key).map(SmolStr::new)
        {
            for binding in &mut found {
                let contact = SmolStr::new(binding.contact.as_str());
                if self.last.contains(&(aor.clone(), contact)) {
                    binding.q_milli = 0;
                }
            }
        }
        found
    }

    fn aor_of<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        match Key::read(key) {
            Key::User(aor) | Key::Device { aor, .. } => Some(aor),
            Key::Series { series, domain } => {
                self.by_gruu.get(&series).map(SmolStr::as_str).filter(|aor| aor.ends_with(domain))
            }
        }
    }

    /// The bindings that hold at `now` of an address-of-record, of one of its devices, or of the device that a temporary
    /// GRUU leads to.
    pub(crate) fn found<'a>(&'a self, now: Instant, key: &'a str) -> impl Iterator<Item = &'a Binding> {
        let aor = self.aor_of(key);
        let key = Key::read(key);
        let all = aor.into_iter().flat_map(move |aor| self.of(now, aor));
        all.filter(move |binding| key.takes(binding))
    }

    /// The bindings that hold at `now`, in the order in which they were made.
    pub(crate) fn of(&self, now: Instant, aor: &str) -> impl Iterator<Item = &Binding> {
        self.bindings.get(aor).into_iter().flatten().filter(move |binding| binding.expires_at > now)
    }

    /// Replaces all bindings of an address-of-record.
    pub(crate) fn replace(&mut self, aor: &SmolStr, bindings: Vec<Binding>) {
        self.count += bindings.len();
        let is_asked = keep_alive::concerns(self.keep_alive, &bindings);
        for connection in self.bindings.get(aor).into_iter().flatten().filter_map(connection_of) {
            self.by_connection.remove(&(connection, aor.clone()));
        }
        for gruu in self.bindings.get(aor).into_iter().flatten().map(Binding::gruu).filter(|gruu| *gruu != 0)
        {
            self.by_gruu.remove(&gruu);
        }
        for gruu in bindings.iter().map(Binding::gruu).filter(|gruu| *gruu != 0) {
            self.by_gruu.insert(gruu, aor.clone());
        }
        for connection in bindings.iter().filter_map(connection_of) {
            self.by_connection.insert((connection, aor.clone()));
        }
        let before = if bindings.is_empty() {
            self.aors.remove(aor);
            self.bindings.remove(aor)
        } else {
            for binding in &bindings {
                self.deadlines.push(Reverse((binding.expires_at, aor.clone())));
            }
            let before = self.bindings.insert(aor.clone(), bindings);
            if before.is_none() {
                self.aors.insert(aor.clone());
            }
            before
        };
        if is_asked || before.as_ref().is_some_and(|before| keep_alive::concerns(self.keep_alive, before)) {
            self.changed.push(aor.clone());
        }
        self.count -= before.map_or(0, |before| before.len());
        self.sweep();
    }

    /// A connection is gone: its bindings are reached by their contacts from now on. Where a NAT is in between that
    /// is no use, and requests fail until the phone has registered again. Flows of RFC 5626 end with it (§7); says whose.
    pub(crate) fn connection_closed(&mut self, connection: ConnectionId) -> Vec<SmolStr> {
        let mut lost = Vec::new();
        while let Some((first, aor)) =
            self.by_connection.range((connection, SmolStr::default())..).next().cloned()
            && first == connection
        {
            let over_it = |binding: &Binding| binding.flow.connection == Some(connection);
            let ends = |binding: &Binding| over_it(binding) && binding.reg_id().is_some();
            if self.bindings.get(&aor).into_iter().flatten().any(ends) {
                let held = self.bindings.get(&aor).cloned().unwrap_or_default();
                self.replace(&aor, held.into_iter().filter(|binding| !ends(binding)).collect());
                lost.push(aor.clone());
            }
            for binding in self.bindings.get_mut(&aor).into_iter().flatten() {
                if over_it(binding) && !binding.behind_nat {
                    binding.flow.connection = None;
                }
            }
            self.by_connection.remove(&(first, aor));
        }
        lost
    }

    /// The bindings of the first `aors_max` addresses-of-record after this one, in their order.
    pub(crate) fn page(
        &self,
        now: Instant,
        after: Option<&str>,
        aors_max: usize,
    ) -> Page<ListedBinding, SmolStr> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.aors.range::<str, _>((from, Bound::Unbounded));
        let aors: Vec<&SmolStr> = rest.by_ref().take(aors_max.max(1)).collect();
        let entries = aors.iter().flat_map(|aor| {
            self.of(now, aor).map(|binding| ListedBinding {
                aor: (*aor).clone(),
                binding: binding.clone(),
                reach: None,
            })
        });
        let next = rest.next().and(aors.last()).map(|aor| (*aor).clone());
        Page { entries: entries.collect(), next }
    }

    /// How many bindings there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// When the next binding may be over.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.deadlines.peek().map(|Reverse((at, _))| (*at, "binding"))
    }

    /// Takes out the bindings of one address-of-record that are over at `now`; says whose they were and how many
    /// are left. Call until `None`.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<(SmolStr, usize)> {
        while self.deadlines.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Reverse((_, aor)) = self.deadlines.pop()?;
            let Some(bindings) = self.bindings.get_mut(&aor) else { continue };
            let before = bindings.len();
            for connection in
                bindings.iter().filter(|binding| binding.expires_at <= now).filter_map(connection_of)
            {
                self.by_connection.remove(&(connection, aor.clone()));
            }
            for gruu in bindings.iter().map(Binding::gruu).filter(|gruu| *gruu != 0) {
                self.by_gruu.remove(&gruu);
            }
            bindings.retain(|binding| binding.expires_at > now);
            for gruu in bindings.iter().map(Binding::gruu).filter(|gruu| *gruu != 0) {
                self.by_gruu.insert(gruu, aor.clone());
            }
            // A phone may have two contacts on one connection.
            for connection in bindings.iter().filter_map(connection_of) {
                self.by_connection.insert((connection, aor.clone()));
            }
            let left = bindings.len();
            if left == before {
                continue;
            }
            self.count -= before - left;
            if left == 0 {
                self.bindings.remove(&aor);
                self.aors.remove(&aor);
            }
            if self.keep_alive != KeepAliveContacts::Off {
                self.changed.push(aor.clone());
            }
            return Some((aor, left));
        }
        None
    }

    /// Each refresh leaves an old deadline behind: when these outnumber the bindings, the queue is made anew.
    fn sweep(&mut self) {
        if self.deadlines.len() > 2 * self.count + 64 {
            let bindings = self.bindings.iter();
            self.deadlines = bindings
                .flat_map(|(aor, list)| list.iter().map(|binding| Reverse((binding.expires_at, aor.clone()))))
                .collect();
        }
    }
}

fn connection_of(binding: &Binding) -> Option<ConnectionId> {
    binding.flow.connection
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::Details;
    use dialtone_wire::net::{Flow, Transport};
    use dialtone_wire::uri::UriBuf;
    use std::sync::Arc;

    fn binding(user: &str, slot: u32, until: u64, behind_nat: bool) -> Binding {
        let address = "192.0.2.1:5060".parse().expect("an address");
        let connection = Some(ConnectionId { shard: 0, slot, generation: 0 });
        Binding {
            contact: UriBuf::parse(&format!("sip:{user}@192.0.2.9;transport=tcp")).expect("a URI"),
            q_milli: 1000,
            expires_at: Instant::from_millis(until),
            call_id: "c".into(),
            cseq: 1,
            flow: Flow { transport: Transport::Tcp, local: address, remote: address, connection },
            behind_nat,
            details: None,
        }
    }

    fn connections(location: &Location, aor: &str) -> Vec<Option<u32>> {
        let all = location.of(Instant::START, aor);
        all.map(|binding| binding.flow.connection.map(|connection| connection.slot)).collect()
    }

    #[test]
    fn the_bindings_of_a_connection_that_is_gone_are_reached_by_their_contacts() {
        let mut location = Location::new(1);
        let (a, b) = (SmolStr::new("sip:a@b"), SmolStr::new("sip:b@b"));
        let all = vec![binding("a", 7, 5, false), binding("x", 7, 9, true), binding("y", 8, 9, false)];
        location.replace(&a, all);
        location.replace(&b, vec![binding("b", 7, 9, false)]);
        location.connection_closed(ConnectionId { shard: 0, slot: 7, generation: 1 });
        assert_eq!(connections(&location, "sip:a@b"), [Some(7), Some(7), Some(8)], "that was another one");
        location.connection_closed(ConnectionId { shard: 0, slot: 7, generation: 0 });
        assert_eq!(connections(&location, "sip:a@b"), [None, Some(7), Some(8)]);
        assert_eq!(connections(&location, "sip:b@b"), [None]);
    }

    #[test]
    fn a_flow_ends_with_its_connection_and_the_other_flows_stay() {
        let mut location = Location::new(1);
        let a = SmolStr::new("sip:a@b");
        let flow = |slot: u32, reg_id: u32| {
            let details = Details { reg_id: std::num::NonZeroU32::new(reg_id), ..Details::default() };
            Binding { details: Some(Arc::new(details)), ..binding("a", slot, 9, true) }
        };
        let mut udp = flow(7, 3);
        udp.flow.connection = None;
        location.replace(&a, vec![flow(7, 1), flow(8, 2), udp, binding("x", 7, 9, false)]);
        let lost = location.connection_closed(ConnectionId { shard: 0, slot: 7, generation: 0 });
        assert_eq!((lost, location.len()), (vec![a], 3));
        assert_eq!(connections(&location, "sip:a@b"), [Some(8), None, None]);
        assert!(location.connection_closed(ConnectionId { shard: 0, slot: 7, generation: 0 }).is_empty());
    }

    #[test]
    fn bindings_are_listed_in_the_order_of_their_owners_page_by_page() {
        let mut location = Location::new(1);
        for user in ["c", "a", "d", "b", "e"] {
            let aor = SmolStr::from(format!("sip:{user}@b"));
            location.replace(&aor, vec![binding(user, 7, 9, false), binding("x", 7, 5, false)]);
        }
        location.replace(&SmolStr::new("sip:d@b"), Vec::new());
        let mut after: Option<SmolStr> = None;
        let mut pages = Vec::new();
        loop {
            let page = location.page(Instant::from_millis(6), after.as_deref(), 2);
            pages.push(page.entries.iter().map(|entry| entry.aor.to_string()).collect::<Vec<_>>());
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(
            pages,
            [["sip:a@b", "sip:b@b"], ["sip:c@b", "sip:e@b"]],
            "a binding that is over is not shown"
        );
        while location.expire(Instant::from_millis(9)).is_some() {}
        assert!(location.aors.is_empty());
    }

    #[test]
    fn no_connection_is_remembered_longer_than_its_bindings() {
        let mut location = Location::new(1);
        let aor = SmolStr::new("sip:a@b");
        location.replace(&aor, vec![binding("a", 7, 5, false), binding("x", 7, 9, false)]);
        location.replace(&aor, vec![binding("a", 8, 5, false), binding("x", 8, 9, false)]);
        assert_eq!(location.by_connection.len(), 1);
        assert_eq!(location.expire(Instant::from_millis(5)), Some((aor.clone(), 1)));
        assert_eq!(location.by_connection.len(), 1, "the other contact is on the same connection");
        assert_eq!(location.expire(Instant::from_millis(9)), Some((aor.clone(), 0)));
        assert!(location.by_connection.is_empty());
        location.replace(&aor, vec![binding("a", 7, 5, false)]);
        location.replace(&aor, Vec::new());
        assert!(location.by_connection.is_empty());
    }
}
