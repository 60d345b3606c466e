//! OPTIONS to registered contacts (RFC 3261 §11), most of all to those behind a NAT, whose binding it keeps open
//! (RFC 4787 §4.3: what goes out to the phone and comes back refreshes it).
//!
//! ```text
//!   binding made -> due within an interval -> OPTIONS -+-> any answer:  reachable, due again after an interval
//!                                                      +-> none (Timer F), or it can't be sent: unreachable if it
//!                                                          ever answered; due again after an interval
//! ```
//!
//! The first OPTIONS to a contact comes at a time within the interval that chance chooses, so that the phones that came
//! back together after a power cut are not asked together; and no more than so many a second go out. A contact that does
//! not answer stays registered: its phone may be back before it registers anew. It is called last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dialtone_dialog::Draft;
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Method};
use smol_str::{SmolStr, format_smolstr};

use crate::binding::Binding;
use crate::context::{Context, UaRequest};
use crate::io::Event;
use crate::settings::KeepAliveContacts;

/// Where more is due than may go out, it goes on after this time.
const TICK: Duration = Duration::from_millis(10);
const TICKS_PER_SECOND: u32 = 100;

/// What is known of a contact from its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It answered the last OPTIONS, after this time.
    Reachable {
        /// From the first packet to the answer.
        round_trip: Duration,
    },
    /// It has answered before, and not the last OPTIONS.
    Unreachable,
}

/// Whose contact: the canonical address-of-record, and the contact as text.
type Key = (SmolStr, SmolStr);

/// The contacts of one shard that are asked.
#[derive(Debug, Default)]
pub(crate) struct KeepAlive {
    contacts: BTreeMap<Key, Kept>,
    due: BTreeSet<(Instant, Key)>,
    requests: BTreeMap<UaRequest, Key>,
    /// Nothing goes out before this.
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Kept {
    /// When it is asked next; `None` while it is.
    due: Option<Instant>,
    sent: Option<(UaRequest, Instant)>,
    call_id: SmolStr,
    from_tag: SmolStr,
    cseq: u32,
    /// The REGISTER that made the binding: a newer one shows that the phone is there.
    registered: (SmolStr, u32),
    reach: Option<Reach>,
}

impl KeepAlive {
    /// How many contacts are asked.
    pub(crate) fn len(&self) -> usize {
        self.contacts.len()
    }

    /// What is known of a contact; `None` when it has never answered, or is not asked.
    pub(crate) fn reach(&self, aor: &str, contact: &str) -> Option<Reach> {
        self.contacts.get(&(SmolStr::new(aor), SmolStr::new(contact)))?.reach
    }

    /// Whether a request is one of these.
    pub(crate) fn owns(&self, request: UaRequest) -> bool {
        self.requests.contains_key(&request)
    }

    /// When something is to be done next.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let (at, _) = self.due.first()?;
        Some((self.not_before.map_or(*at, |not_before| not_before.max(*at)), "keep_alive"))
    }

    /// Takes the settings that hold from now on.
    pub(crate) fn configure(&mut self, cx: &mut Context<'_>) {
        let contacts = cx.settings.keep_alive.contacts;
        if cx.core.location.kept_alive(contacts) {
            let aors: BTreeSet<SmolStr> = self.contacts.keys().map(|(aor, _)| aor.clone()).collect();
            for aor in aors {
                self.note(cx, &aor);
            }
        }
    }

    /// Looks at the bindings that have changed, and asks those whose time has come.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        for aor in cx.core.location.take_changed() {
            self.note(cx, &aor);
        }
        if self.not_before.is_some_and(|at| at > cx.now) {
            return;
        }
        self.not_before = None;
        let mut left = cx.settings.keep_alive.per_second.div_ceil(TICKS_PER_SECOND).max(1);
        while let Some((_, key)) = self.due.first().filter(|(at, _)| *at <= cx.now).cloned() {
            if left == 0 {
                self.not_before = Some(cx.now + TICK);
                break;
            }
            left -= 1;
            self.ask(cx, &key);
        }
    }

    /// A final response to one of these requests.
    pub(crate) fn handle_response(&mut self, cx: &mut Context<'_>, request: UaRequest) {
        let Some(key) = self.requests.remove(&request) else { return };
        let Some(kept) = self.contacts.get_mut(&key) else { return };
        let Some((_, since)) = kept.sent.take() else { return };
        let was_lost = kept.reach == Some(Reach::Unreachable);
        kept.reach = Some(Reach::Reachable { round_trip: cx.now.since(since) });
        self.set_due(&key, since + cx.settings.keep_alive.interval);
        if was_lost {
            found(cx, &key);
        }
    }

    /// No answer came to one of these requests.
    pub(crate) fn handle_failure(&mut self, cx: &mut Context<'_>, request: UaRequest) {
        let Some(key) = self.requests.remove(&request) else { return };
        if let Some(kept) = self.contacts.get_mut(&key) {
            kept.sent = None;
            self.unanswered(cx, &key);
        }
    }

    fn unanswered(&mut self, cx: &mut Context<'_>, key: &Key) {
        cx.core.counters.keep_alives_unanswered += 1;
        // As soon as if it had answered: between its last packet and the next one the NAT must not forget it.
        self.set_due(key, cx.now + cx.settings.keep_alive.interval);
        let Some(kept) = self.contacts.get_mut(key) else { return };
        // Some phones never answer an OPTIONS: their silence says nothing.
        if matches!(kept.reach, Some(Reach::Reachable { .. })) {
            kept.reach = Some(Reach::Unreachable);
            cx.core.location.set_last(&key.0, &key.1, true);
            cx.event(Event::ContactReach { aor: key.0.clone(), contact: key.1.clone(), reachable: false });
        }
    }

    /// The bindings of an address-of-record are others than before.
    fn note(&mut self, cx: &mut Context<'_>, aor: &SmolStr) {
        let who = cx.settings.keep_alive.contacts;
        let wanted: BTreeMap<SmolStr, (SmolStr, u32)> = cx
            .core
            .location
            .of(cx.now, aor)
            .filter(|binding| who.takes(binding))
            .map(|binding| (SmolStr::new(binding.contact.as_str()), (binding.call_id.clone(), binding.cseq)))
            .collect();
        let known = self.contacts.range((aor.clone(), SmolStr::default())..);
        let known: Vec<Key> = known.map(|(key, _)| key).take_while(|(own, _)| own == aor).cloned().collect();
        for key in known.into_iter().filter(|(_, contact)| !wanted.contains_key(contact)) {
            self.forget(cx, &key);
        }
        for (contact, registered) in wanted {
            let key = (aor.clone(), contact);
            match self.contacts.get(&key) {
                None => self.begin(cx, key, registered),
                Some(kept) if kept.registered != registered => self.registered(cx, &key, registered),
                Some(_) => {}
            }
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>, key: Key, registered: (SmolStr, u32)) {
        let interval = u64::try_from(cx.settings.keep_alive.interval.as_millis()).unwrap_or(u64::MAX);
        let at = cx.now + Duration::from_millis(cx.random_u64() % interval.max(1));
        let (call_id, from_tag) = (cx.home_call_id(), cx.token());
        let kept = Kept { due: None, sent: None, call_id, from_tag, cseq: 0, registered, reach: None };
        self.contacts.insert(key.clone(), kept);
        self.set_due(&key, at);
    }

    /// Its phone has registered again: it is there, and its NAT has a binding.
    fn registered(&mut self, cx: &mut Context<'_>, key: &Key, registered: (SmolStr, u32)) {
        let Some(kept) = self.contacts.get_mut(key) else { return };
        kept.registered = registered;
        let was_lost = kept.reach == Some(Reach::Unreachable);
        if was_lost {
            kept.reach = None;
            found(cx, key);
        }
        // It may have another port by now: what was asked at the old one says nothing of it.
        if let Some((request, _)) = kept.sent.take() {
            self.requests.remove(&request);
            cx.abandon(request);
        }
        self.set_due(key, cx.now + cx.settings.keep_alive.interval);
    }

    fn forget(&mut self, cx: &mut Context<'_>, key: &Key) {
        let Some(kept) = self.contacts.remove(key) else { return };
        kept.due.map(|at| self.due.remove(&(at, key.clone())));
        if let Some((request, _)) = kept.sent {
            self.requests.remove(&request);
            cx.abandon(request);
        }
        cx.core.location.set_last(&key.0, &key.1, false);
    }

    fn set_due(&mut self, key: &Key, at: Instant) {
        let Some(kept) = self.contacts.get_mut(key) else { return };
        let before = kept.due.replace(at);
        before.map(|before| self.due.remove(&(before, key.clone())));
        self.due.insert((at, key.clone()));
    }

    fn ask(&mut self, cx: &mut Context<'_>, key: &Key) {
        let is_it = |binding: &&Binding| binding.contact.as_str() == key.1;
        let binding = cx.core.location.of(cx.now, &key.0).find(is_it).cloned();
        let Some(kept) = self.contacts.get_mut(key) else { return };
        kept.due.take().map(|at| self.due.remove(&(at, key.clone())));
        let Some(binding) = binding else { return self.forget(cx, key) };
        kept.cseq = kept.cseq.wrapping_add(1) & (u32::MAX >> 1);
        let draft = options(&key.0, &binding, kept);
        let request = cx.next_request();
        kept.sent = Some((request, cx.now));
        self.requests.insert(request, key.clone());
        cx.core.counters.keep_alives += 1;
        let only_its_flow = binding.behind_nat || binding.flow.connection.is_some();
        let sent = match only_its_flow {
            true => cx.send_on(request, &draft, None, binding.flow),
            false => cx.send(request, &draft, None),
        };
        if sent.is_err() {
            // Nothing was learned of the phone: our own table is full, or we can't listen there any more.
            self.requests.remove(&request);
            self.contacts.get_mut(key).map(|kept| kept.sent.take());
            self.set_due(key, cx.now + cx.settings.keep_alive.interval);
        }
    }
}

fn found(cx: &mut Context<'_>, key: &Key) {
    cx.core.location.set_last(&key.0, &key.1, false);
    cx.event(Event::ContactReach { aor: key.0.clone(), contact: key.1.clone(), reachable: true });
}

/// From the domain of the user to his contact (RFC 3261 §11.1).
fn options(aor: &str, binding: &Binding, kept: &Kept) -> Draft {
    let domain = aor.rsplit_once('@').map_or("anonymous.invalid", |(_, domain)| domain);
    let from = format_smolstr!("<sip:{domain}>;tag={}", kept.from_tag);
    let to = format_smolstr!("<{}>", binding.contact);
    Draft::new(Method::Options, binding.contact.clone(), &from, &to, &kept.call_id, kept.cseq)
        .header(HeaderName::Accept, "application/sdp")
}

/// The contacts of one address-of-record that changed are looked at only where one of them may be asked.
pub(crate) fn concerns(who: KeepAliveContacts, bindings: &[Binding]) -> bool {
    bindings.iter().any(|binding| who.takes(binding))
}
