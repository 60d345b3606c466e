//! Calls that are sent elsewhere: recursion on 3xx (RFC 3261 §8.1.3.4).
//!
//! The contacts of a 3xx are added to those that are left, those with the best q first, and tried one after the other
//! until one answers or refuses for all (6xx). No place is tried twice, and there are no more tries than
//! [`Limits::branches`](crate::settings::Limits::branches). An `expires` of a contact counts for those who keep it for
//! later calls (RFC 3261 §20.10), and we keep none.

use std::cmp::Reverse;

use dialtone_dialog::Draft;
use dialtone_wire::headers::{Contact, NameAddr};
use dialtone_wire::uri::{Uri, UriBuf};
use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::SmolStr;

use super::call::{Call, Stage, Step};
use super::desk::Desk;
use super::outgoing::preloaded;
use crate::context::Context;
use crate::io::{EndReason, Event};
use crate::settings::dial_plan::thousandths;

/// Where a call that was redirected goes on, and where it has been.
#[derive(Debug)]
pub(super) struct Redirects {
    tried: Vec<Place>,
    /// What is left, the best first, with its q in thousandths.
    left: Vec<(u16, Place)>,
    /// An announcement is among them.
    is_explained: bool,
    from: SmolStr,
    to: SmolStr,
    call_id: SmolStr,
    cseq: u32,
}

/// One place to try.
#[derive(Clone, Debug)]
struct Place {
    uri: UriBuf,
    /// The proxy that a 305 named.
    proxy: Option<UriBuf>,
}

impl Place {
    fn is(&self, other: &Place) -> bool {
        let same_proxy = match (&self.proxy, &other.proxy) {
            (Some(one), Some(two)) => one.uri().equivalent(&two.uri()),
            (None, None) => true,
            _ => false,
        };
        same_proxy && self.uri.uri().equivalent(&other.uri.uri())
    }
}

impl Redirects {
    /// What an INVITE that has been sent begins with: its own Request-URI has been tried.
    pub(super) fn new(sent: &Draft, uri: &UriBuf) -> Redirects {
        Redirects {
            tried: vec![Place { uri: uri.clone(), proxy: None }],
            left: Vec::new(),
            is_explained: false,
            from: sent.from().into(),
            to: sent.to().into(),
            call_id: sent.call_id().into(),
            cseq: sent.cseq(),
        }
    }

    /// The INVITE before the next one had this number.
    pub(super) const fn set_cseq(&mut self, cseq: u32) {
        self.cseq = cseq;
    }

    /// Takes in the contacts of a 3xx.
    pub(super) fn add(&mut self, response: &Message, status: Status, most: usize) {
        let Some(now) = self.tried.last().cloned() else { return };
        for contact in response.contacts().take(most) {
            let Ok(Contact::Address(contact)) = contact else { continue };
            let Some(uri) = usable(&contact, &now.uri) else { continue };
            // §21.3.4: "The recipient is expected to repeat this single request via the proxy."
            let place = match status.code() {
                305 => Place { uri: now.uri.clone(), proxy: Some(uri) },
                _ => Place { uri, proxy: None },
            };
            let is_known = self.tried.iter().chain(self.left.iter().map(|(_, place)| place));
            let is_room = self.tried.len() + self.left.len() < most;
            if is_room && !is_known.into_iter().any(|known| known.is(&place)) {
                let q = contact.params.value("q").and_then(thousandths).unwrap_or(1000);
                self.left.push((q, place));
            }
        }
        self.left.sort_by_key(|(q, _)| Reverse(*q));
    }

    /// Who refuses the call for all places says where to hear why; or whoever was asked last does, and no other place is
    /// left before it. That is tried once in a call, like any place.
    pub(super) fn add_announcement(&mut self, uri: UriBuf, most: usize) {
        let Some(now) = self.tried.last() else { return };
        let is_secure = |uri: &UriBuf| uri.uri().as_sip().is_some_and(|sip| sip.secure);
        let place = Place { uri, proxy: None };
        let is_known = self.tried.iter().chain(self.left.iter().map(|(_, place)| place));
        let is_lesser = is_secure(&now.uri) && !is_secure(&place.uri);
        let is_room = self.tried.len() + self.left.len() < most;
        if is_room && !self.is_explained && !is_lesser && !is_known.into_iter().any(|known| known.is(&place))
        {
            self.is_explained = true;
            self.left.push((0, place));
        }
    }

    /// RFC 3261 §21.6: no other place has whom we call.
    pub(super) fn give_up_places(&mut self) {
        self.left.clear();
    }

    fn next(&mut self) -> Option<Place> {
        let place = (!self.left.is_empty()).then(|| self.left.remove(0).1)?;
        self.tried.push(place.clone());
        Some(place)
    }
}

/// Whether a status names other places. 380 is about other services, in a body that nobody has defined (§21.3.5); a 3xx
/// that nobody has defined counts as 300 (§8.1.3.2).
pub(super) const fn names_places(status: Status) -> bool {
    status.class() == 3 && status.code() != 380
}

/// Where a refusal says that its reason is heard (RFC 3261 §20.18): the first SIP URI of Error-Info.
pub(super) fn announcement(response: &Message, status: Status, most: usize) -> Option<UriBuf> {
    if status.class() < 4 || status.is_challenge() {
        return None;
    }
    response.values(HeaderName::ErrorInfo).take(most).find_map(|value| {
        let value = NameAddr::parse(value).ok().filter(|value| value.uri.as_sip().is_some())?;
        let text = value.uri_text.split_once('?').map_or(value.uri_text, |(uri, _)| uri);
        UriBuf::parse(text).ok()
    })
}

/// The URI of a contact as a Request-URI: without headers (RFC 3261 §19.1.1, table). `None` if it can't be called, or is
/// less secure than what was called (§8.1.3.4).
fn usable(contact: &NameAddr<'_>, called: &UriBuf) -> Option<UriBuf> {
    let is_secure = |uri: &Uri<'_>| uri.as_sip().is_some_and(|sip| sip.secure);
    if is_secure(&called.uri()) && !is_secure(&contact.uri) {
        return None;
    }
    match contact.uri {
        Uri::Sip(_) | Uri::Tel(_) => {
            let text = contact.uri_text.split_once('?').map_or(contact.uri_text, |(uri, _)| uri);
            UriBuf::parse(text).ok()
        }
        _ => None,
    }
}

impl Call {
    /// Calls the next place; without one, the call ends for this reason.
    pub(super) fn try_elsewhere(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        mut redirects: Box<Redirects>,
        otherwise: EndReason,
    ) -> Step {
        let mut reason = otherwise;
        while let Some(place) = redirects.next() {
            redirects.cseq = redirects.cseq.saturating_add(1);
            self.release(cx);
            desk.leave_proxies(&redirects.call_id);
            let draft = draft(cx, &redirects, &place);
            match self.invite(desk, cx, draft, None) {
                Step::Stay => {
                    let to = place.proxy.unwrap_or(place.uri);
                    cx.event(Event::Redirected { call: self.handle, to });
                    if let Stage::Calling(calling) = &mut self.stage {
                        calling.redirects = Some(redirects);
                    }
                    return Step::Stay;
                }
                Step::End(why) => reason = why,
            }
        }
        Step::End(reason)
    }
}

/// §8.1.3.4: "it is RECOMMENDED that the UAC reuse the same To, From, and Call-ID used in the original redirected
/// request".
fn draft(cx: &Context<'_>, redirects: &Redirects, place: &Place) -> Draft {
    let Redirects { from, to, call_id, cseq, .. } = redirects;
    let draft = Draft::new(Method::Invite, place.uri.clone(), from, to, call_id, *cseq)
        .header(HeaderName::UserAgent, &cx.settings.product);
    let account = cx.settings.account.as_ref();
    let own_proxy = || {
        let account = account?;
        // The account's proxy is for its own domain, and for what has no host to go to. Another place is called where
        // it is: a server that redirects has said that it will not forward.
        let is_own = match (place.uri.uri(), account.aor.uri()) {
            (Uri::Sip(uri), Uri::Sip(own)) => uri.host.equivalent(&own.host),
            _ => true,
        };
        account.proxy.as_ref().filter(|_| is_own)
    };
    match place.proxy.as_ref().or_else(own_proxy).and_then(preloaded) {
        Some(routes) => draft.with_routes(&routes),
        None => draft,
    }
}
