//! What a proxy does about a 3xx itself (RFC 3261 §16.7 step 4).

use std::cmp::Reverse;
use std::time::Duration;

use dialtone_wire::headers::{Contact, NameAddr};
use dialtone_wire::uri::{Uri, UriBuf};
use dialtone_wire::{Edits, HeaderName, Limits, Message};
use smallvec::SmallVec;
use smol_str::{SmolStr, format_smolstr};

use super::ResponseContext;
use super::tree::{Cause, LegId, Turn};
use crate::context::Context;
use crate::gruu::Key;
use crate::registrar::canonical_aor;
use crate::services;
use crate::settings::{Destination, Foreign, Member};

/// Contacts of one 3xx that are looked at.
const CONTACTS_MAX: usize = 16;

impl ResponseContext {
    /// Has the contacts of a 3xx tried, those with the best q first. `None` when none of them may be; else what is
    /// left of the response for the caller: the contacts that were not taken, if there are any.
    pub(super) fn recurse(
        &mut self,
        cx: &Context<'_>,
        leg: LegId,
        response: &Message,
    ) -> Option<Option<Message>> {
        // 305 asks for another hop, 380 for another service: neither names other places of the same user.
        let names_places = matches!(response.status()?.code(), 300..=302);
        if !cx.settings.proxy.recurse || self.disposition.no_recurse || !names_places || self.is_stopped() {
            return None;
        }
        let mut taken: Vec<(u16, Destination)> = Vec::new();
        let mut left: SmallVec<[&str; 2]> = SmallVec::new();
        for contact in response.contacts().take(CONTACTS_MAX) {
            let Ok(Contact::Address(contact)) = contact else { continue };
            let destination = self.destination_of(cx, leg, &contact);
            match destination.filter(|destination| self.tree.is_new(destination)) {
                Some(destination) => taken.push((q_of(&contact), destination)),
                None => left.push(contact.uri_text),
            }
        }
        taken.sort_by_key(|(q, _)| Reverse(*q));
        let mut turns: Vec<(u16, Turn)> = Vec::new();
        for (q, destination) in taken {
            let member = Member { destination, delay: Duration::ZERO, ring: None };
            match turns.last_mut() {
                Some((same, turn)) if *same == q => turn.members.push(member),
                _ => {
                    let members = SmallVec::from_iter([member]);
                    turns.push((q, Turn { cause: Cause::Redirect, members }));
                }
            }
        }
        let mut turns = turns.into_iter().map(|(_, turn)| turn);
        self.begin_turn(cx, leg, turns.next()?);
        self.tree.leg_mut(leg).turns.extend(turns);
        Some((!left.is_empty()).then(|| with_contacts(response, &left)).flatten())
    }

    /// Where a contact leads, if the call may go there: where the user whose phone says so could call himself. Others
    /// than users of ours lead to users and groups of ours, and elsewhere only where everybody may call.
    fn destination_of(&self, cx: &Context<'_>, leg: LegId, contact: &NameAddr<'_>) -> Option<Destination> {
        let settings = cx.settings;
        let is_secure = |uri: &Uri<'_>| uri.as_sip().is_some_and(|sip| sip.secure);
        if self.request.uri().is_ok_and(|uri| is_secure(&uri)) && !is_secure(&contact.uri) {
            return None;
        }
        if let Some(Destination::User(key)) = &self.tree.leg(leg).destination {
            let (Key::User(aor) | Key::Device { aor, .. }) = Key::read(key) else { return None };
            let unix_s = settings.unix_start_s + cx.now.as_nanos() / 1_000_000_000;
            return services::destination(settings, unix_s, aor, contact.uri_text).ok();
        }
        let Uri::Sip(sip) = &contact.uri else { return None };
        if let Some(domain) = settings.domain_of(&sip.host, sip.port) {
            let user = sip.called_user()?;
            return Some(match settings.group_called(&user, &domain.name) {
                Some(group) => Destination::Group(group.name.clone()),
                None => Destination::User(canonical_aor(sip, &domain.name)),
            });
        }
        let may = settings.foreign == Foreign::Open;
        may.then(|| UriBuf::parse(contact.uri_text).ok()).flatten().map(Destination::Uri)
    }
}

fn q_of(contact: &NameAddr<'_>) -> u16 {
    let q = contact.params.value("q").and_then(|text| text.parse::<f32>().ok());
    q.filter(|q| (0.0..=1.0).contains(q)).map_or(1000, |q| (q * 1000.0).round() as u16)
}

/// A response with these contacts in place of its own.
fn with_contacts(response: &Message, contacts: &[&str]) -> Option<Message> {
    let values: Vec<SmolStr> = contacts.iter().map(|uri| format_smolstr!("<{uri}>")).collect();
    let mut edits = Edits::new();
    edits.remove(HeaderName::Contact);
    for value in &values {
        edits.append("Contact", value);
    }
    let mut out = Vec::new();
    edits.write(response, &mut out);
    let limits =
        Limits { message_bytes: usize::MAX, headers: usize::MAX, vias: usize::MAX, uri_bytes: usize::MAX };
    Message::parse(out.into(), &limits).ok()
}
