//! Which addresses-of-record of this shard are watched, and by which shards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dialtone_wire::time::Instant;
use smol_str::SmolStr;

use super::reg::{ContactEvent, ContactState, id_of_binding};
use crate::location::Location;

/// The watched addresses-of-record that this shard owns: at most as many as all shards have subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    all: BTreeMap<SmolStr, OfOne>,
}

#[derive(Debug, Default)]
struct OfOne {
    shards: BTreeSet<u16>,
    /// The contacts as they were told last.
    told: BTreeMap<SmolStr, ContactState>,
}

/// Who is to be told, and what.
pub(crate) struct News {
    pub(crate) shards: Vec<u16>,
    pub(crate) contacts: Arc<[ContactState]>,
}

impl Watched {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A shard wants to be told of changes; gives the contacts as they were told last to others.
    pub(crate) fn watch(
        &mut self,
        now: Instant,
        location: &Location,
        key: u64,
        aor: &SmolStr,
        shard: u16,
    ) -> Arc<[ContactState]> {
        let of_one = self.all.entry(aor.clone()).or_default();
        if of_one.shards.is_empty() {
            of_one.told = states(now, location, key, aor);
        }
        of_one.shards.insert(shard);
        of_one.told.values().cloned().collect()
    }

    pub(crate) fn unwatch(&mut self, aor: &SmolStr, shard: u16) {
        if let Some(of_one) = self.all.get_mut(aor) {
            of_one.shards.remove(&shard);
            if of_one.shards.is_empty() {
                self.all.remove(aor);
            }
        }
    }

    /// The bindings of an address-of-record may have changed: what of it is news. Those that are gone before their time
    /// are gone for this reason.
    pub(crate) fn changed(
        &mut self,
        now: Instant,
        location: &Location,
        key: u64,
        aor: &SmolStr,
        gone: ContactEvent,
    ) -> Option<News> {
        let of_one = self.all.get_mut(aor)?;
        let mut after = states(now, location, key, aor);
        let mut news = Vec::new();
        for (id, old) in &of_one.told {
            if !after.contains_key(id) {
                // RFC 3680 §3.2.
                let event = if old.expires_at <= now { ContactEvent::Expired } else { gone };
                news.push(ContactState { event, ..old.clone() });
            }
        }
        for (id, contact) in &mut after {
            match of_one.told.get(id) {
                Some(old) if old.is_as(contact) => contact.event = old.event,
                Some(old) => {
                    let is_shorter = contact.expires_at < old.expires_at;
                    contact.event =
                        if is_shorter { ContactEvent::Shortened } else { ContactEvent::Refreshed };
                    news.push(contact.clone());
                }
                None => news.push(contact.clone()),
            }
        }
        of_one.told = after;
        let shards = of_one.shards.iter().copied().collect();
        (!news.is_empty()).then(|| News { shards, contacts: news.into() })
    }
}

fn states(now: Instant, location: &Location, key: u64, aor: &SmolStr) -> BTreeMap<SmolStr, ContactState> {
    let state = |binding: &crate::binding::Binding| ContactState {
        id: id_of_binding(key, aor, binding),
        uri: SmolStr::new(binding.contact.as_str()),
        event: ContactEvent::Registered,
        expires_at: binding.expires_at,
        q_milli: binding.q_milli,
        call_id: binding.call_id.clone(),
        cseq: binding.cseq,
    };
    location.of(now, aor).map(state).map(|contact| (contact.id.clone(), contact)).collect()
}
