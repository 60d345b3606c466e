//! The registrar (RFC 3261 §10.3): what a REGISTER does to the bindings of its address-of-record.
//!
//! The engine has checked the domain, the credentials and who may register whom (steps 1 to 5); this is steps 6
//! to 8. Either all of a request is done or nothing of it.

use dialtone_wire::headers::NameAddr;
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::uri::{SipUri, UriBuf, escape_user};
use dialtone_wire::{HeaderName, Message, Status};
use smol_str::{SmolStr, SmolStrBuilder};
use std::sync::Arc;
use std::time::Duration;

use crate::binding::Binding;
use crate::engine::Arrived;
use crate::gruu::GruuKeys;
use crate::location::Location;
use crate::settings::RegistrarSettings;
use crate::text::push_number;

mod asked;

use asked::{Asked, Changes, read_changes};

/// Extensions of REGISTER that the registrar knows (RFC 3327, RFC 5626, RFC 5627).
pub(crate) const EXTENSIONS: [&str; 3] = ["path", "outbound", "gruu"];

/// What became of a REGISTER.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Registered {
    /// 200 with this; and what changed, if anything did.
    Granted { granted: Granted, change: Option<Change> },
    /// 423 with the shortest time that is granted, in seconds.
    TooBrief { min_s: u32 },
    /// 420: this extension is used although the phone does not know it.
    Unsupported { option: &'static str },
    /// Another status, with words for a Warning header.
    Refused { status: Status, why: &'static str },
}

/// What a 200 says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// The Contact values of all bindings that hold now.
    pub(crate) contacts: Vec<String>,
    /// The contact was bound by the rules of RFC 5626, as the phone asked for.
    pub(crate) outbound: bool,
}

/// What a REGISTER changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// All bindings that held before.
    pub(crate) before: Vec<Binding>,
    /// All that hold now.
    pub(crate) after: Arc<[Binding]>,
}

/// A REGISTER that is granted once its change is journalled.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) arrived: Arrived,
    pub(crate) aor: SmolStr,
    pub(crate) granted: Granted,
    pub(crate) change: Change,
}

const fn refused(code: u16, why: &'static str) -> Registered {
    Registered::Refused { status: Status::of(code), why }
}

/// The canonical form of an address-of-record (RFC 3261 §10.3 step 5): `sip:user@domain` with the user's escapes
/// undone and done again in one way, the domain's own name, and no parameters. A number is its digits.
pub(crate) fn canonical_aor(uri: &SipUri<'_>, domain: &str) -> SmolStr {
    let user = uri.called_user().unwrap_or_default();
    let mut aor = SmolStrBuilder::new();
    for part in ["sip:", &escape_user(&user), "@", domain] {
        aor.push_str(part);
    }
    aor.finish()
}

/// A REGISTER and what it is judged by.
pub(crate) struct Registration<'a> {
    pub(crate) now: Instant,
    pub(crate) settings: &'a RegistrarSettings,
    /// Bindings of all addresses-of-record.
    pub(crate) bindings_max: usize,
    pub(crate) request: &'a Message,
    pub(crate) flow: Flow,
    pub(crate) aor: &'a SmolStr,
    pub(crate) gruus: &'a GruuKeys,
    /// 64 random bits where the phone knows GRUUs.
    pub(crate) random: u64,
}

/// Carries out a REGISTER.
pub(crate) fn register(location: &mut Location, registration: &Registration<'_>) -> Registered {
    let Registration { now, settings, request, aor, .. } = *registration;
    let changes = match read_changes(request, settings) {
        Ok(changes) => changes,
        Err(refusal) => return refusal,
    };
    let (Ok(call_id), Ok(cseq)) = (request.call_id(), request.cseq()) else {
        return refused(400, "Call-ID or CSeq is malformed");
    };
    let before: Vec<Binding> = location.of(now, aor).cloned().collect();
    let mut after = before.clone();
    let order = Order { call_id, cseq: cseq.number };
    let mut outbound = false;
    match changes {
        Changes::RemoveAll => {
            if after.iter().any(|binding| !order.may_change(binding)) {
                return refused(500, "an older request than the one that made the binding");
            }
            after.clear();
        }
        Changes::Each(changes) => {
            if changes.iter().any(|change| change.leads_back(registration)) {
                // RFC 5627 §5.1: "this would cause a routing loop".
                return refused(403, "the contact is the address-of-record itself");
            }
            outbound = changes.iter().any(|change| change.reg_id.is_some() && change.expires_s > 0)
                && request.has_token(HeaderName::Supported, "outbound");
            // The same request once more, long after its transaction or after a restart: it has been done.
            if !order.is_repeated(&changes, &before) {
                for change in changes {
                    let is_newer = |binding: &Binding| !order.may_change(binding) && change.is_about(binding);
                    if before.iter().any(is_newer) {
                        return refused(500, "an older request than the one that made the binding");
                    }
                    apply(&mut after, &change, &order, registration);
                }
            }
        }
    }
    if after.len() > settings.bindings_per_aor.max(before.len()) {
        return refused(403, "too many contacts for one address-of-record");
    }
    let is_long = |binding: &&Binding| binding.kept_bytes() > settings.binding_bytes;
    if after.iter().filter(is_long).any(|binding| !before.contains(binding)) {
        return refused(403, "a contact with its parameters and Path is too long");
    }
    if location.len() - before.len() + after.len() > registration.bindings_max.max(location.len()) {
        return refused(503, "the registrar is full");
    }
    let gruus = request.has_token(HeaderName::Supported, "gruu");
    let contacts = after.iter().map(|binding| contact_value(binding, gruus, registration)).collect();
    let change = (after != before).then(|| Change { before, after: after.as_slice().into() });
    if change.is_some() {
        location.replace(aor, after);
    }
    Registered::Granted { granted: Granted { contacts, outbound }, change }
}

/// Takes a change back: "if commitment to the database fails, then all binding updates that would have committed
/// MUST be removed" (RFC 3261 §10.3 step 7). What a later request has changed since then stays. Gives all bindings
/// that hold now; `None` when nothing was left to be taken back.
pub(crate) fn take_back(
    location: &mut Location,
    now: Instant,
    aor: &SmolStr,
    change: &Change,
) -> Option<Vec<Binding>> {
    let of = |list: &[Binding], other: &Binding| list.iter().position(|own| own.is_in_place_of(other));
    let made_by = |binding: &Binding| (binding.call_id.clone(), binding.cseq, binding.expires_at);
    let held: Vec<Binding> = location.of(now, aor).cloned().collect();
    let mut bindings = held.clone();
    for binding in change.after.iter().filter(|binding| !change.before.contains(binding)) {
        let Some(at) = of(&bindings, binding) else { continue };
        if made_by(&bindings[at]) != made_by(binding) {
            continue;
        }
        match of(&change.before, binding) {
            Some(old) => bindings[at] = change.before[old].clone(),
            None => drop(bindings.remove(at)),
        }
    }
    for binding in &change.before {
        let was_removed = of(&change.after, binding).is_none();
        if was_removed && binding.expires_at > now && of(&bindings, binding).is_none() {
            bindings.push(binding.clone());
        }
    }
    (bindings != held).then(|| {
        location.replace(aor, bindings.clone());
        bindings
    })
}

/// The bindings of an address-of-record or a GRUU, the preferred first; of equals the newest first.
pub(crate) fn targets(location: &Location, now: Instant, key: &str) -> Vec<Binding> {
    let mut bindings = location.callable(now, key);
    bindings.reverse();
    bindings.sort_by_key(|binding| std::cmp::Reverse(binding.q_milli));
    bindings
}

/// The request's place among those of its user agent (RFC 3261 §10.3 step 7).
struct Order<'a> {
    call_id: &'a str,
    cseq: u32,
}

impl Order<'_> {
    /// Whether each of these contacts was bound by this very request.
    fn is_repeated(&self, changes: &[Asked<'_>], bindings: &[Binding]) -> bool {
        let bound = |change: &Asked<'_>| {
            bindings.iter().any(|binding| {
                (binding.cseq, binding.call_id.as_str()) == (self.cseq, self.call_id)
                    && change.is_about(binding)
            })
        };
        !changes.is_empty() && changes.iter().all(|change| change.expires_s > 0 && bound(change))
    }

    fn may_change(&self, binding: &Binding) -> bool {
        binding.call_id != self.call_id || self.cseq > binding.cseq
    }
}

/// Adds, refreshes or removes one binding.
fn apply(
    bindings: &mut Vec<Binding>,
    change: &Asked<'_>,
    order: &Order<'_>,
    registration: &Registration<'_>,
) {
    let Registration { now, flow, request, .. } = *registration;
    let known = bindings.iter().position(|binding| change.is_about(binding));
    if change.expires_s == 0 {
        if let Some(at) = known {
            bindings.remove(at);
        }
        return;
    }
    let as_before =
        known.map(|at| &bindings[at].contact).filter(|uri| uri.as_str() == change.contact.uri_text);
    let contact = match as_before {
        Some(contact) => contact.clone(),
        None => match UriBuf::parse(change.contact.uri_text) {
            Ok(contact) => contact,
            Err(_) => return,
        },
    };
    let gruu = gruu_of(bindings, change, order, registration);
    let details = change.details(request, gruu);
    // Nearly every refresh says what was said before.
    let as_before =
        known.and_then(|at| bindings[at].details.clone()).filter(|old| details.as_ref() == Some(&**old));
    let binding = Binding {
        contact,
        q_milli: change.q_milli,
        expires_at: now + Duration::from_secs(change.expires_s.into()),
        call_id: SmolStr::new(order.call_id),
        cseq: order.cseq,
        flow,
        behind_nat: is_behind_nat(&change.contact, flow, request),
        details: as_before.or(details.map(Arc::new)),
    };
    match known {
        Some(at) => bindings[at] = binding,
        None => {
            if change.reg_id.is_none()
                && let Some(instance) = change.instance
            {
                // The same device under another address and another Call-ID: it has moved, or begun anew, and its
                // old contact leads nowhere.
                bindings.retain(|old| {
                    old.reg_id().is_some() || old.call_id == order.call_id || !old.is_of_instance(instance)
                });
            }
            bindings.push(binding);
        }
    }
}

/// What the temporary GRUUs of the instance have in common from now on; 0 for none (RFC 5627 §5.1).
fn gruu_of(
    bindings: &mut [Binding],
    change: &Asked<'_>,
    order: &Order<'_>,
    registration: &Registration<'_>,
) -> u64 {
    let Some(instance) = change.instance else { return 0 };
    let own = |binding: &&Binding| binding.is_of_instance(instance);
    let kept = bindings.iter().filter(own).map(Binding::gruu).find(|gruu| *gruu != 0);
    let same_flow = |binding: &&Binding| own(binding) && binding.reg_id() == change.reg_id;
    let last = bindings.iter().filter(same_flow).max_by_key(|binding| binding.expires_at);
    let is_anew = last.is_some_and(|last| last.call_id != order.call_id);
    match kept {
        Some(gruu) if !is_anew => gruu,
        // It begins anew: all temporary GRUUs that it had are void, those of its other flows too.
        _ if kept.is_some() || registration.random != 0 => {
            let made = registration.gruus.series(registration.aor, registration.random);
            for binding in bindings.iter_mut().filter(|binding| binding.is_of_instance(instance)) {
                if let Some(details) = &mut binding.details {
                    Arc::make_mut(details).gruu = made;
                }
            }
            made
        }
        _ => 0,
    }
}

/// A phone that writes its own address into Via and Contact, and whose packets come from another one, is behind a
/// NAT: its contact leads nowhere.
pub(crate) fn is_behind_nat(contact: &NameAddr<'_>, flow: Flow, request: &Message) -> bool {
    let Some(contact_ip) = contact.uri.as_sip().and_then(|uri| uri.host.ip()) else { return false };
    contact_ip != flow.remote.ip()
        && request.via().is_ok_and(|via| via.host.ip() == Some(contact_ip))
        // It is the only hop.
        && request.values(HeaderName::Via).count() == 1
}

fn contact_value(binding: &Binding, gruus: bool, registration: &Registration<'_>) -> String {
    let left = binding.expires_at - registration.now;
    // A part of a second left still counts as one: the binding is there.
    let expires_s = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let contact = binding.contact.as_str();
    let mut value = String::with_capacity(contact.len() + 32);
    for part in ["<", contact, ">", binding.params(), ";expires="] {
        value.push_str(part);
    }
    push_number(&mut value, expires_s);
    if binding.q_milli != 1000 {
        value.push_str(&format!(";q=0.{:03}", binding.q_milli));
    }
    if gruus && let Some(instance) = binding.instance() {
        registration.gruus.push(&mut value, binding, instance, registration);
    }
    value
}

#[cfg(test)]
mod tests;
