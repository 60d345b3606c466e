//! Requests within a dialog (RFC 3261 §12.2.2): OPTIONS is answered here, what belongs to the call passes to the other side
//! as a request of its own dialog, and so does its answer.

use dialtone_dialog::{DialogId, Draft};
use dialtone_transaction::ServerId;
use dialtone_wire::net::Flow;
use dialtone_wire::{HeaderName, Message, Method, Status, Writer};
use smol_str::SmolStr;

use super::bodies;
use super::description::changes_session;
use super::desk::{Purpose, Sent, copy};
use super::outcome;
use super::pass::{self, METHODS};
use super::progress::write_grant;
use super::refusal::Refusal;
use super::setup::{ask_for_timer, check_require, granted, policy};
use super::{B2bua, LegId, Reliable, Stage};
use crate::context::{Context, UaRequest};

/// A request within a dialog, with what its answer needs.
#[derive(Clone, Copy)]
pub(super) struct Came<'a> {
    pub(super) leg: LegId,
    /// The place of its dialog among those of the leg.
    pub(super) strand: usize,
    pub(super) server: ServerId,
    pub(super) request: &'a Message,
    pub(super) flow: Flow,
}

impl Came<'_> {
    pub(super) fn refuse(&self, cx: &mut Context<'_>, refusal: &Refusal) {
        refusal.send(cx, self.server, self.request, None);
    }
}

impl B2bua {
    /// A request with our tag in To, other than ACK and CANCEL.
    pub(crate) fn handle_request(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        flow: Flow,
    ) {
        let dialog = DialogId::of_request(request).ok();
        let found = dialog.zip(self.leg_towards(request)).and_then(|(dialog, id)| {
            let leg = self.legs.get(&id)?;
            Some((id, leg.strand_of(&dialog)?))
        });
        let Some((leg, strand)) = found else { return Refusal::of(481).send(cx, server, request, None) };
        let came = Came { leg, strand, server, request, flow };
        let checked = self.legs.get_mut(&leg).and_then(|leg| leg.strands.get_mut(strand));
        if let Some(Err(error)) = checked.map(|strand| strand.dialog.check_request(request)) {
            return came.refuse(cx, &Refusal::of(error.status().code()));
        }
        let Some(method) = request.method() else { return };
        if *method == Method::Bye {
            return self.handle_bye(cx, leg, server, request);
        }
        if self.legs.get(&leg).is_some_and(|leg| leg.stage == Stage::Over) {
            // RFC 5407 §3.2.2.
            return came.refuse(cx, &Refusal::of(481));
        }
        if let Err(refusal) = check_require(request) {
            return came.refuse(cx, &refusal);
        }
        if request.body().len() > cx.settings.limits.body_bytes {
            return came.refuse(cx, &Refusal::of(413));
        }
        if let Err(refusal) = bodies::check(request, cx.settings) {
            return came.refuse(cx, &refusal);
        }
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.allowed.learn(request);
        }
        match method {
            Method::Invite => self.handle_reinvite(cx, &came),
            Method::Update => self.handle_update(cx, &came),
            Method::Prack => self.handle_prack(cx, &came),
            Method::Options => self.answer_options(cx, &came),
            Method::Refer => self.handle_refer(cx, &came),
            Method::Register | Method::Publish => {
                let allow = self.allow_towards(leg);
                came.refuse(cx, &Refusal::of(405).with(HeaderName::Allow, allow));
            }
            _ => self.carry(cx, &came, |draft| draft),
        }
    }

    /// What the other side of a leg takes through us.
    fn allow_towards(&self, id: LegId) -> String {
        let peer = self.legs.get(&id).and_then(|leg| leg.peer).and_then(|peer| self.legs.get(&peer));
        peer.map_or_else(|| METHODS.join(", "), |peer| peer.allowed.value())
    }

    /// OPTIONS within a dialog asks whether we are there, and what can be had (RFC 3261 §11.2).
    fn answer_options(&mut self, cx: &mut Context<'_>, came: &Came<'_>) {
        let allow = self.allow_towards(came.leg);
        let contact = self.legs.get(&came.leg).map(|leg| leg.contact(cx));
        let product = cx.settings.product.clone();
        let accept = bodies::accepted(&cx.settings.bridges);
        let supported = pass::own_supported(cx.settings);
        let extra = |writer: &mut Writer| {
            writer.text(HeaderName::Allow, &allow);
            writer.text(HeaderName::Accept, &accept);
            writer.text(HeaderName::Supported, supported);
            if let Some(contact) = contact {
                writer.header(HeaderName::Contact, contact);
            }
            writer.header(HeaderName::Server, product);
        };
        let _ = cx.respond(came.server, came.request, Status::of(200), None, extra, None);
    }

    /// A PRACK is for a reliable response of ours, and goes on for the one that this stands for (RFC 3262 §3). After the 2xx
    /// only one with an offer goes on: the other side alone can answer that.
    fn handle_prack(&mut self, cx: &mut Context<'_>, came: &Came<'_>) {
        let describes = bodies::description(came.request).is_some();
        let strand = self.legs.get_mut(&came.leg).and_then(|leg| leg.strands.get_mut(came.strand));
        let waiting = strand.and_then(|strand| {
            let Reliable { sender, waiting, .. } = strand.sender.as_mut()?;
            // RFC 6337 §2.3: the other side may refuse what the PRACK offers, and then nothing is acknowledged: another one
            // may follow, "without an offer".
            let matches =
                if describes { sender.awaits(came.request) } else { sender.acknowledged(came.request) };
            (*waiting).filter(|_| matches)
        });
        self.time_reliable(came.leg);
        let Some((rseq, cseq)) = waiting else { return came.refuse(cx, &Refusal::of(481)) };
        if !describes && self.legs.get(&came.leg).is_some_and(|leg| leg.stage == Stage::Talking) {
            // It has crossed our 2xx. The other side has answered and waits for it no more.
            let product = cx.settings.product.clone();
            let accept = |writer: &mut Writer| {
                writer.header(HeaderName::Server, product);
            };
            let _ = cx.respond(came.server, came.request, Status::of(200), None, accept, None);
            return;
        }
        let value = format!("{rseq} {cseq} {}", Method::Invite);
        self.carry(cx, came, |draft| draft.header(HeaderName::RAck, &value));
        if describes {
            let peer = self.legs.get(&came.leg).and_then(|leg| leg.peer);
            let tag = self.naming_tag(came.leg, came.strand);
            let twin = peer.and_then(|peer| self.legs.get_mut(&peer)).zip(tag);
            if let Some(strand) = twin.and_then(|(peer, tag)| peer.twin_of(&tag)) {
                strand.agreed = true;
            }
        }
    }

    /// The tag by which the other leg names a dialog of this one.
    pub(super) fn naming_tag(&self, id: LegId, strand: usize) -> Option<SmolStr> {
        let leg = self.legs.get(&id)?;
        let id = leg.strands.get(strand)?.dialog.id();
        Some(if leg.outgoing { id.remote_tag.clone() } else { id.local_tag.clone() })
    }

    /// Sends a request on as one of the other leg's dialog.
    pub(super) fn carry(&mut self, cx: &mut Context<'_>, came: &Came<'_>, more: impl FnOnce(Draft) -> Draft) {
        let Some(method) = came.request.method().cloned() else { return };
        let limit = cx.settings.limits.bridge_requests;
        if self.legs.get(&came.leg).is_some_and(|leg| leg.carried >= limit) {
            cx.core.counters.overload += 1;
            let refusal = Refusal::later(cx);
            let refusal = refusal.because(cx.settings, "Too many requests of this call wait for an answer");
            return came.refuse(cx, &refusal);
        }
        if came.request.max_forwards().ok().flatten() == Some(0) {
            return came.refuse(cx, &Refusal::of(483));
        }
        if self.legs.get(&came.leg).is_some_and(|leg| leg.hold.plays_to.is_some()) {
            // Who plays talks with nobody; a 481 would end that.
            return came.refuse(cx, &Refusal::of(403));
        }
        let tag = self.naming_tag(came.leg, came.strand);
        let (Some((_, far)), Some(tag)) = (self.pair(came.leg), tag) else {
            return came.refuse(cx, &Refusal::of(481));
        };
        let Some(leg) = self.legs.get_mut(&far) else { return };
        let is_unknown = matches!(method, Method::Other(_));
        match leg.allowed.has(&method) {
            Some(true) => {}
            // PRACK is the other side's own wish: it sent what is acknowledged.
            _ if method == Method::Prack => {}
            None if !is_unknown => {}
            Some(false) | None => {
                let status = if is_unknown { 501 } else { 405 };
                return came.refuse(cx, &Refusal::of(status).with(HeaderName::Allow, leg.allowed.value()));
            }
        }
        let ip = leg.local.local.ip();
        // RFC 4028: a session begins with the 2xx to its INVITE, and so does its timer.
        let ask = (method == Method::Update && leg.stage == Stage::Talking)
            .then(|| leg.timer.ask(policy(cx.settings)));
        let Some(strand) = leg.twin_of(&tag) else { return came.refuse(cx, &Refusal::of(481)) };
        let mut draft = pass::request(strand.dialog.request(method.clone()), came.request, cx.settings);
        let mut before = None;
        if changes_session(&method) && bodies::description(came.request).is_some() {
            before = Some((strand.dialog.id().remote_tag.clone(), strand.described.sent.clone()));
        }
        if let Some((kind, body)) = strand
            .described
            .carry(&method, |described| bodies::passed(came.request, described, &cx.settings.bridges, ip))
        {
            draft = draft.body(&kind, body);
        }
        if method == Method::Update {
            draft = pass::options_of(draft, came.request, false, cx.settings);
        }
        if let Some(ask) = ask {
            ask_for_timer(&mut draft, &ask);
        }
        let request = Box::new(copy(came.request));
        let purpose = Purpose::Carried { from: came.leg, server: came.server, request, before };
        let draft = more(draft);
        let leg = &*leg;
        if self.desk.send(cx, leg, draft, purpose).is_none() {
            return came.refuse(cx, &Refusal::of(500));
        }
        if let Some(leg) = self.legs.get_mut(&came.leg) {
            leg.carried += 1;
        }
    }

    /// The answer of the other side, or what stands in its place.
    pub(super) fn carried_answered(
        &mut self,
        cx: &mut Context<'_>,
        ours: UaRequest,
        response: Option<&Message>,
        status: Status,
    ) {
        let Some(sent) = self.desk.requests.remove(&ours) else { return };
        let Some(sent) = self.update_again(cx, sent, response, status) else { return };
        let Purpose::Carried { from, server, request, before } = sent.purpose else { return };
        let far = sent.leg;
        let method = request.method().cloned().unwrap_or(Method::Options);
        let is_update = method == Method::Update;
        if let Some((tag, before)) = before.filter(|_| !status.is_success())
            && let Some(strand) = self.legs.get_mut(&far).and_then(|leg| leg.twin_by_remote(&tag))
        {
            strand.described.was_refused(before);
        }
        if let Some(leg) = self.legs.get_mut(&far)
            && let Some(response) = response
        {
            if status.is_success() {
                leg.allowed.learn(response);
            }
            let target = response.to_tag().ok().flatten().unwrap_or_default();
            if let Some(strand) =
                leg.strands.iter_mut().find(|strand| strand.dialog.id().remote_tag == target)
            {
                // What can't be read leaves the target as it is.
                let _ = strand.dialog.refresh_target(response);
                if let Some(description) = bodies::description(response)
                    && status.is_success()
                    && changes_session(&method)
                {
                    strand.described.received = bytes::Bytes::copy_from_slice(description);
                }
            }
            // One that was sent before the call was answered has asked for no timer.
            let is_timed = sent.draft.value(HeaderName::SessionExpires).is_some()
                || response.has(HeaderName::SessionExpires);
            if is_update && status.is_success() && leg.stage == Stage::Talking && is_timed {
                leg.timer.answered(cx.now, response);
            }
        }
        if is_update && let Some(leg) = self.legs.get_mut(&far) {
            leg.updated = false;
        }
        if is_update {
            self.time_session(far);
        }
        let dialog = DialogId::of_request(&request).ok();
        let changes = is_update && status.is_success();
        if changes && let Some(response) = response {
            self.change_agreed(cx, [from, far], &request, response);
        }
        if let Some(leg) = self.legs.get_mut(&from) {
            leg.carried = leg.carried.saturating_sub(1);
            let contact = leg.contact(cx);
            let ip = leg.local.local.ip();
            leg.updates &= !is_update;
            let grant = (is_update && status.is_success() && leg.stage == Stage::Talking)
                .then(|| granted(leg.timer.answer(policy(cx.settings), &request)));
            let place = dialog.as_ref().and_then(|dialog| leg.strand_of(dialog));
            // What a refusal describes is no session.
            let accepts = response.filter(|_| status.is_success());
            let body = match (accepts, place.and_then(|place| leg.strands.get_mut(place))) {
                (Some(response), Some(strand)) => {
                    if changes_session(&method)
                        && bodies::description(response).is_some()
                        && let Some(offer) = bodies::description(&request)
                    {
                        strand.described.received = bytes::Bytes::copy_from_slice(offer);
                    }
                    let settings = &cx.settings.bridges;
                    strand
                        .described
                        .carry(&method, |described| bodies::passed(response, described, settings, ip))
                }
                _ => None,
            };
            if is_update
                && status.is_success()
                && let Some(strand) = place.and_then(|place| leg.strands.get_mut(place))
            {
                let _ = strand.dialog.refresh_target(&request);
            }
            if let Some(grant) = grant {
                leg.timer.granted(cx.now, &request, grant);
            }
            let settings = cx.settings.clone();
            let extra = |writer: &mut Writer| {
                if is_update && status.is_success() {
                    writer.header(HeaderName::Contact, contact);
                }
                write_grant(writer, grant.flatten());
                if let Some(response) = response {
                    pass::response(writer, response, &settings);
                }
            };
            let body = body.as_ref().map(|(kind, body)| (kind.as_str(), &body[..]));
            let passed = outcome::of_request(&method, status);
            // RFC 4320 §4.2: nobody waits for a 408 to a request other than INVITE.
            if response.is_some() || status.code() != 408 {
                let _ = cx.respond(server, &request, passed, None, extra, body);
            }
        }
        if is_update {
            self.time_session(from);
        }
        if changes && response.is_some_and(|response| bodies::description(response).is_some()) {
            self.follow_change(cx, [from, far]);
        }
        if method == Method::Prack
            && let Some(leg) = self.legs.get_mut(&from)
            && let Some(place) = dialog.and_then(|dialog| leg.strand_of(&dialog))
            && let Some(strand) = leg.strands.get_mut(place)
        {
            let tag = strand.twin.clone();
            if let Some(reliable) = strand.sender.as_mut().filter(|_| status.is_success()) {
                reliable.sender.acknowledged(&request);
            }
            if strand.sender.as_ref().is_some_and(|reliable| !reliable.sender.is_waiting()) {
                self.next_reliable(cx, from, &tag);
            }
        }
        // Before the call is answered its INVITE has an answer to come, and one of its forks may be over without the others.
        let is_talking = self.legs.get(&far).is_some_and(|leg| leg.stage == Stage::Talking);
        if is_talking && outcome::is_end(&method, status) {
            self.give_up(cx, far, Status::of(500), None);
        }
    }

    /// RFC 4028 §7.4: an UPDATE whose interval is too small for the other side is sent again with the one that it wants;
    /// the side that it came from has an interval of its own. Gives back what is not sent again.
    fn update_again(
        &mut self,
        cx: &mut Context<'_>,
        mut sent: Sent,
        response: Option<&Message>,
        status: Status,
    ) -> Option<Sent> {
        let is_update = *sent.draft.method() == Method::Update;
        let Some(response) = response.filter(|_| is_update && status.code() == 422) else {
            return Some(sent);
        };
        let target = response.to_tag().ok().flatten().unwrap_or_default();
        // Before the answer there is no session whose interval could be spoken of.
        let Some(leg) = self.legs.get_mut(&sent.leg).filter(|leg| leg.stage == Stage::Talking) else {
            return Some(sent);
        };
        let strand = leg.strands.iter_mut().find(|strand| strand.dialog.id().remote_tag == target);
        let Some(strand) = strand.filter(|_| leg.timer.too_small(response)) else { return Some(sent) };
        sent.draft.set_cseq(strand.dialog.next_cseq());
        ask_for_timer(&mut sent.draft, &leg.timer.ask(policy(cx.settings)));
        self.desk.try_again(cx, sent)
    }
}
