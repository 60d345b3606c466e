//! The location service (RFC 3261 §10.2, §10.3): which contacts an address-of-record has, until when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use foldhash::fast::FixedState;
use smol_str::SmolStr;

/// One contact of an address-of-record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Where the user is.
    pub contact: UriBuf,
    /// Preference in thousandths: 0 to 1000.
    pub q_milli: u16,
    /// Until when.
    pub expires_at: Instant,
    /// Call-ID of the REGISTER that made it.
    pub call_id: SmolStr,
    /// CSeq of the REGISTER that made it.
    pub cseq: u32,
    /// The flow that the REGISTER came over.
    pub flow: Flow,
    /// Whether the contact is an address behind a NAT, so that only the flow leads to it.
    pub behind_nat: bool,
}

/// The bindings of all addresses-of-record of one shard.
#[derive(Debug)]
pub(crate) struct Location {
    bindings: HashMap<SmolStr, Vec<Binding>, FixedState>,
    count: usize,
    /// When a binding of an address-of-record may be over; entries that no binding has any more are passed over.
    deadlines: BinaryHeap<Reverse<(Instant, SmolStr)>>,
}

impl Location {
    pub(crate) fn new(seed: u64) -> Location {
        let hasher = FixedState::with_seed(seed);
        Location { bindings: HashMap::with_hasher(hasher), count: 0, deadlines: BinaryHeap::new() }
    }

    /// The bindings that hold at `now`, in the order in which they were made.
    pub(crate) fn of(&self, now: Instant, aor: &str) -> impl Iterator<Item = &Binding> {
        self.bindings.get(aor).into_iter().flatten().filter(move |binding| binding.expires_at > now)
    }

    /// Replaces all bindings of an address-of-record.
    pub(crate) fn replace(&mut self, aor: &SmolStr, bindings: Vec<Binding>) {
        self.count += bindings.len();
        let before = if bindings.is_empty() {
            self.bindings.remove(aor)
        } else {
            for binding in &bindings {
                self.deadlines.push(Reverse((binding.expires_at, aor.clone())));
            }
            self.bindings.insert(aor.clone(), bindings)
        };
        self.count -= before.map_or(0, |before| before.len());
        self.sweep();
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
            bindings.retain(|binding| binding.expires_at > now);
            let left = bindings.len();
            if left == before {
                continue;
            }
            self.count -= before - left;
            if left == 0 {
                self.bindings.remove(&aor);
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
