//! The registrar (RFC 3261 §10.3): what a REGISTER does to the bindings of its address-of-record.
//!
//! The engine has checked the domain, the credentials and who may register whom (steps 1 to 5); this is steps 6
//! to 8. Either all of a request is done or nothing of it.

use dialtone_wire::headers::{Contact, Expires, NameAddr};
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::uri::{SipUri, UriBuf, escape_user};
use dialtone_wire::{HeaderName, Message, Status};
use smol_str::{SmolStr, SmolStrBuilder};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Arrived;
use crate::io::Found;
use crate::location::{Binding, Location};
use crate::services::Services;
use crate::settings::RegistrarSettings;
use crate::text::push_number;

/// What became of a REGISTER.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Registered {
    /// 200 with these Contact values: all bindings that hold now; and what changed, if anything did.
    Granted { contacts: Vec<String>, change: Option<Change> },
    /// 423 with the shortest time that is granted, in seconds.
    TooBrief { min_s: u32 },
    /// Another status, with words for a Warning header.
    Refused { status: Status, why: &'static str },
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
    pub(crate) contacts: Vec<String>,
    pub(crate) change: Change,
}

const fn refused(code: u16, why: &'static str) -> Registered {
    Registered::Refused { status: Status::of(code), why }
}

/// The canonical form of an address-of-record (RFC 3261 §10.3 step 5): `sip:user@domain` with the user's escapes
/// undone and done again in one way, the domain's own name, and no parameters.
pub(crate) fn canonical_aor(uri: &SipUri<'_>, domain: &str) -> SmolStr {
    let user = uri.user_unescaped().unwrap_or_default();
    let mut aor = SmolStrBuilder::new();
    for part in ["sip:", &escape_user(&user), "@", domain] {
        aor.push_str(part);
    }
    aor.finish()
}

/// Carries out a REGISTER.
pub(crate) fn register(
    location: &mut Location,
    now: Instant,
    settings: &RegistrarSettings,
    bindings_max: usize,
    request: &Message,
    flow: Flow,
    aor: &SmolStr,
) -> Registered {
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
    match changes {
        Changes::RemoveAll => {
            if after.iter().any(|binding| !order.may_change(binding)) {
                return refused(500, "an older request than the one that made the binding");
            }
            after.clear();
        }
        // The same request once more, long after its transaction or after a restart: it has been done.
        Changes::Each(changes) if order.is_repeated(&changes, &before) => {}
        Changes::Each(changes) => {
            for change in changes {
                let is_newer = |binding: &Binding| {
                    !order.may_change(binding) && binding.contact.uri().equivalent(&change.contact.uri)
                };
                if before.iter().any(is_newer) {
                    return refused(500, "an older request than the one that made the binding");
                }
                apply(&mut after, now, &change, &order, flow, request);
            }
        }
    }
    if after.len() > settings.bindings_per_aor.max(before.len()) {
        return refused(403, "too many contacts for one address-of-record");
    }
    if location.len() - before.len() + after.len() > bindings_max.max(location.len()) {
        return refused(503, "the registrar is full");
    }
    let contacts = after.iter().map(|binding| contact_value(binding, now)).collect();
    let change = (after != before).then(|| Change { before, after: after.as_slice().into() });
    if change.is_some() {
        location.replace(aor, after);
    }
    Registered::Granted { contacts, change }
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
    let of = |list: &[Binding], contact: &UriBuf| {
        list.iter().position(|binding| binding.contact.uri().equivalent(&contact.uri()))
    };
    let made_by = |binding: &Binding| (binding.call_id.clone(), binding.cseq, binding.expires_at);
    let held: Vec<Binding> = location.of(now, aor).cloned().collect();
    let mut bindings = held.clone();
    for binding in change.after.iter().filter(|binding| !change.before.contains(binding)) {
        let Some(at) = of(&bindings, &binding.contact) else { continue };
        if made_by(&bindings[at]) != made_by(binding) {
            continue;
        }
        match of(&change.before, &binding.contact) {
            Some(old) => bindings[at] = change.before[old].clone(),
            None => drop(bindings.remove(at)),
        }
    }
    for binding in &change.before {
        let was_removed = of(&change.after, &binding.contact).is_none();
        if was_removed && binding.expires_at > now && of(&bindings, &binding.contact).is_none() {
            bindings.push(binding.clone());
        }
    }
    (bindings != held).then(|| {
        location.replace(aor, bindings.clone());
        bindings
    })
}

/// What is known of an address-of-record: its bindings, the preferred first; of equals the newest first.
pub(crate) fn find(location: &Location, now: Instant, aor: &str) -> Found {
    let mut bindings: Vec<Binding> = location.of(now, aor).cloned().collect();
    bindings.reverse();
    bindings.sort_by_key(|binding| std::cmp::Reverse(binding.q_milli));
    Found { bindings, services: Services::default() }
}

/// What a REGISTER asks for.
enum Changes<'a> {
    RemoveAll,
    Each(Vec<Asked<'a>>),
}

struct Asked<'a> {
    contact: NameAddr<'a>,
    expires_s: u32,
    q_milli: u16,
}

/// Step 6 and the first part of step 7: reads the Contact values and the time that each asks for.
fn read_changes<'a>(request: &'a Message, settings: &RegistrarSettings) -> Result<Changes<'a>, Registered> {
    // RFC 3261 §20.19: a malformed Expires is as good as one of 3600.
    let header_s =
        request.header::<Expires>().map(|expires| expires.map_or(3600, |Expires(seconds)| seconds));
    let mut changes = Vec::new();
    let mut star = false;
    for contact in request.contacts() {
        match contact {
            Err(_) => return Err(refused(400, "a Contact value is malformed")),
            Ok(Contact::Star) => star = true,
            Ok(Contact::Address(contact)) => {
                let expires_s = expires_of(&contact).or(header_s).unwrap_or(settings.expires_default_s);
                if expires_s > 0 && expires_s < settings.expires_min_s {
                    return Err(Registered::TooBrief { min_s: settings.expires_min_s });
                }
                // Each may replace a binding by another; comparing more of them would only cost time.
                if changes.len() >= settings.bindings_per_aor.saturating_mul(2) {
                    return Err(refused(403, "too many contacts in one request"));
                }
                let expires_s = expires_s.min(settings.expires_max_s);
                changes.push(Asked { expires_s, q_milli: q_of(&contact), contact });
            }
        }
    }
    if star && (!changes.is_empty() || header_s != Some(0) || request.values(HeaderName::Contact).count() > 1)
    {
        return Err(refused(400, "Contact: * stands alone and with Expires: 0"));
    }
    Ok(if star { Changes::RemoveAll } else { Changes::Each(changes) })
}

/// RFC 3261 §20.10: a malformed `expires` parameter is as good as 3600.
fn expires_of(contact: &NameAddr<'_>) -> Option<u32> {
    contact.params.value("expires").map(|text| text.parse().unwrap_or(3600))
}

/// `q` in thousandths; absent or malformed is 1 (the caller did not say that it is worse than others).
fn q_of(contact: &NameAddr<'_>) -> u16 {
    let q = contact.params.value("q").and_then(|text| text.parse::<f32>().ok());
    q.filter(|q| (0.0..=1.0).contains(q)).map_or(1000, |q| (q * 1000.0).round() as u16)
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
                    && binding.contact.uri().equivalent(&change.contact.uri)
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
    now: Instant,
    change: &Asked<'_>,
    order: &Order<'_>,
    flow: Flow,
    request: &Message,
) {
    let known = bindings.iter().position(|binding| {
        // The same text is the same URI: nearly every refresh.
        binding.contact.as_str() == change.contact.uri_text
            || binding.contact.uri().equivalent(&change.contact.uri)
    });
    let as_before =
        known.map(|at| &bindings[at].contact).filter(|uri| uri.as_str() == change.contact.uri_text);
    let contact = match as_before {
        Some(contact) => contact.clone(),
        None => match UriBuf::parse(change.contact.uri_text) {
            Ok(contact) => contact,
            Err(_) => return,
        },
    };
    let binding = Binding {
        contact,
        q_milli: change.q_milli,
        expires_at: now + Duration::from_secs(change.expires_s.into()),
        call_id: SmolStr::new(order.call_id),
        cseq: order.cseq,
        flow,
        behind_nat: is_behind_nat(&change.contact, flow, request),
    };
    match (known, change.expires_s) {
        (Some(at), 0) => {
            bindings.remove(at);
        }
        (Some(at), _) => bindings[at] = binding,
        (None, 0) => {}
        (None, _) => bindings.push(binding),
    }
}

/// A phone that writes its own address into Via and Contact, and whose packets come from another one, is behind a
/// NAT: its contact leads nowhere.
fn is_behind_nat(contact: &NameAddr<'_>, flow: Flow, request: &Message) -> bool {
    let Some(contact_ip) = contact.uri.as_sip().and_then(|uri| uri.host.ip()) else { return false };
    contact_ip != flow.remote.ip()
        && request.via().is_ok_and(|via| via.host.ip() == Some(contact_ip))
        // It is the only hop.
        && request.values(HeaderName::Via).count() == 1
}

fn contact_value(binding: &Binding, now: Instant) -> String {
    let left = binding.expires_at - now;
    // A part of a second left still counts as one: the binding is there.
    let expires_s = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let contact = binding.contact.as_str();
    let mut value = String::with_capacity(contact.len() + 32);
    for part in ["<", contact, ">;expires="] {
        value.push_str(part);
    }
    push_number(&mut value, expires_s);
    match binding.q_milli {
        1000 => value,
        q => format!("{value};q=0.{q:03}"),
    }
}

#[cfg(test)]
mod tests;
