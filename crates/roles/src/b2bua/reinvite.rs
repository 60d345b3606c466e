//! The session changes: re-INVITE and UPDATE (RFC 3261 §14, RFC 3311), what happens when two of them meet, and session
//! timers, of which each leg has its own (RFC 4028).
//!
//! A change passes from end to end. Two ends that offer at the same time are told so with a 491 each, and try again after
//! the times of §14.1, in which they differ. A refresh that changes nothing is answered by us, and ours goes to one side.

use std::time::Duration;

use bytes::Bytes;
use dialtone_dialog::session_timer::{Answer, Due};
use dialtone_wire::headers::RetryAfter;
use dialtone_wire::{HeaderName, Message, Method, Status, Writer};

use super::bodies;
use super::deadlines::Wake;
use super::description;
use super::desk::{Purpose, Sent, Why, copy};
use super::in_dialog::Came;
use super::outcome;
use super::pass;
use super::progress::write_grant;
use super::refusal::Refusal;
use super::setup::{ask_for_timer, granted, policy};
use super::{Asked, B2bua, Leg, LegId, Stage, Unacked};
use crate::context::{Context, UaRequest};
use crate::ua::own_flow;

/// The longest Retry-After that a refresh waits for; RFC 3261 §14.2 and RFC 3311 §5.2 have nobody ask for more than 10
/// seconds.
const RETRY_AFTER_S_MAX: u32 = 30;

impl B2bua {
    /// A re-INVITE of a peer.
    pub(super) fn handle_reinvite(&mut self, cx: &mut Context<'_>, came: &Came<'_>) {
        if let Err(refusal) = self.may_change(cx, came) {
            return came.refuse(cx, &refusal);
        }
        let Some(leg) = self.legs.get_mut(&came.leg) else { return };
        let strand = &mut leg.strands[came.strand];
        let offer = bodies::description(came.request);
        let is_same = offer.is_some_and(|offer| offer == &strand.described.received[..]);
        if strand.dialog.refresh_target(came.request).is_err() {
            return came.refuse(cx, &Refusal::of(400));
        }
        // The phone may have moved.
        if leg.flow.is_none_or(|flow| !crate::loopback::is_loopback(&flow)) {
            leg.flow = own_flow(came.request, came.flow);
        }
        if is_same && !strand.described.sent.is_empty() {
            return self.answer_refresh(cx, came);
        }
        self.carry_reinvite(cx, came);
    }

    /// RFC 3261 §14.2, RFC 3311 §5.2: whether a peer may offer now. Nothing else may be under way on either side.
    fn may_change(&mut self, cx: &mut Context<'_>, came: &Came<'_>) -> Result<(), Refusal> {
        let is_invite = came.request.method() == Some(&Method::Invite);
        // An UPDATE may have been sent before our 2xx came (RFC 3311 §5.1).
        if is_invite {
            self.take_as_acknowledged(came.leg);
        }
        let Some(leg) = self.legs.get(&came.leg) else { return Err(Refusal::of(481)) };
        let is_busy = |leg: &Leg| leg.asked.is_some() || leg.updates;
        if leg.stage == Stage::Setup && is_invite {
            return Err(if leg.outgoing { Refusal::of(491) } else { Refusal::later(cx) });
        }
        if leg.stage == Stage::Setup {
            // Whether an UPDATE fits there is known by the other end.
            return if leg.updates { Err(Refusal::later(cx)) } else { Ok(()) };
        }
        if is_busy(leg) {
            return Err(Refusal::later(cx));
        }
        let peer = leg.peer.and_then(|peer| self.legs.get(&peer));
        let waits = |leg: &Leg| leg.invite.is_some() || leg.unacked.is_some() || leg.owes_ack.is_some();
        if waits(leg) || peer.is_some_and(|peer| is_busy(peer) || waits(peer)) {
            return Err(Refusal::of(491));
        }
        match leg.timer.answer(policy(cx.settings), came.request) {
            Answer::TooSmall { min_s } => Err(Refusal::of(422).with(HeaderName::MinSe, min_s)),
            Answer::NoTimer | Answer::Timer(_) => Ok(()),
        }
    }

    /// RFC 5407 §3.1.4: who changes the session has the answer in our 2xx, whatever became of his ACK. One that has to
    /// bring an answer itself is waited for, and so is one before our BYE (RFC 3261 §15).
    fn take_as_acknowledged(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.owes_bye.is_none()) else { return };
        if leg.unacked.take_if(|unacked| !unacked.offers).is_some() {
            self.desk.deadlines.stop(Wake::RepeatAnswer(id));
            self.desk.deadlines.stop(Wake::NoAck(id));
        }
    }

    /// A re-INVITE that offers what holds already: what we sent last is its answer.
    fn answer_refresh(&mut self, cx: &mut Context<'_>, came: &Came<'_>) {
        let allow = self.peer_allow(came.leg);
        let Some(leg) = self.legs.get_mut(&came.leg) else { return };
        let contact = leg.contact(cx);
        let body = leg.strands[came.strand].described.sent.clone();
        let grant = granted(leg.timer.answer(policy(cx.settings), came.request));
        let extra = |writer: &mut Writer| {
            writer.copy(came.request, HeaderName::RecordRoute);
            writer.header(HeaderName::Contact, contact);
            writer.text(HeaderName::Allow, &allow);
            writer.text(HeaderName::Supported, pass::own_supported(cx.settings));
            write_grant(writer, grant);
        };
        let body = Some(("application/sdp", &body[..]));
        let sent = cx.respond(came.server, came.request, Status::of(200), None, extra, body);
        let (Some(transmit), Ok(cseq)) = (sent, came.request.cseq()) else { return };
        let interval = cx.settings.timers.t1();
        leg.unacked = Some(Unacked { cseq: cseq.number, transmit, interval, offers: false });
        leg.timer.granted(cx.now, came.request, grant);
        self.desk.deadlines.start(Wake::RepeatAnswer(came.leg), cx.now + interval);
        self.desk.deadlines.start(Wake::NoAck(came.leg), cx.now + cx.settings.timers.transaction_timeout());
        self.time_session(came.leg);
    }

    fn peer_allow(&self, id: LegId) -> String {
        let peer = self.legs.get(&id).and_then(|leg| leg.peer).and_then(|peer| self.legs.get(&peer));
        peer.map(|peer| peer.allowed.value()).unwrap_or_default()
    }

    /// Sends a re-INVITE on as one of the other leg.
    fn carry_reinvite(&mut self, cx: &mut Context<'_>, came: &Came<'_>) {
        if came.request.max_forwards().ok().flatten() == Some(0) {
            return came.refuse(cx, &Refusal::of(483));
        }
        if self.legs.get(&came.leg).is_some_and(|leg| leg.hold.plays_to.is_some()) {
            // Who plays has nobody whose session would change with his.
            return came.refuse(cx, &Refusal::of(488));
        }
        let Some((_, far)) = self.pair(came.leg) else {
            // It waits in a slot, or was transferred away and has not hung up.
            let refusal = Refusal::later(cx);
            return came.refuse(cx, &refusal);
        };
        let Some(leg) = self.legs.get_mut(&far).filter(|leg| leg.stage == Stage::Talking) else {
            return came.refuse(cx, &Refusal::of(491));
        };
        let (ip, ask) = (leg.local.local.ip(), leg.timer.ask(policy(cx.settings)));
        let Some(strand) = leg.strands.first_mut() else { return };
        let before = strand.described.sent.clone();
        let mut draft = pass::request(strand.dialog.request(Method::Invite), came.request, cx.settings);
        draft = pass::options_of(draft, came.request, false, cx.settings);
        ask_for_timer(&mut draft, &ask);
        if let Some((kind, body)) =
            bodies::passed(came.request, &mut strand.described, &cx.settings.bridges, ip)
        {
            draft = draft.body(&kind, body);
        }
        let allow = self.legs.get(&came.leg).map(|leg| leg.allowed.value()).unwrap_or_default();
        let draft = draft.header(HeaderName::Allow, &allow);
        let purpose = Purpose::Invite { acks: Vec::new(), why: Why::Carry { before } };
        let Some(leg) = self.legs.get(&far) else { return };
        let Some(request) = self.desk.send(cx, leg, draft, purpose) else {
            return came.refuse(cx, &Refusal::of(500));
        };
        if let Some(leg) = self.legs.get_mut(&far) {
            leg.invite = Some(request);
        }
        self.wait_for_answer(cx, far);
        cx.respond(came.server, came.request, Status::of(100), None, |_| (), None);
        self.desk.servers.insert(came.server, came.leg);
        if let Some(leg) = self.legs.get_mut(&came.leg) {
            leg.asked = Some(Asked { server: came.server, request: copy(came.request), flow: came.flow });
        }
    }

    /// The other side has taken a re-INVITE that was carried to it.
    pub(super) fn reinvite_accepted(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        id: LegId,
        tag: &str,
        response: &Message,
        before: &Bytes,
    ) {
        let offered = self.desk.requests.get(&request).is_some_and(Sent::offers);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let is_awaited = leg.invite == Some(request);
        leg.invite = leg.invite.filter(|invite| *invite != request);
        leg.allowed.learn(response);
        let description = bodies::description(response);
        let Some(strand) = leg.strands.first_mut() else { return };
        let _ = strand.dialog.refresh_target(response);
        if let Some(description) = description {
            strand.described.received = Bytes::copy_from_slice(description);
        }
        leg.timer.answered(cx.now, response);
        let is_over = leg.stage == Stage::Over;
        if !is_over {
            self.time_session(id);
        }
        let offers = !offered && description.is_some();
        self.owe_ack(id, request, tag);
        let near = self.pair(id).map(|(_, near)| near);
        let asked = near.filter(|near| self.legs.get(near).is_some_and(|near| near.asked.is_some()));
        match asked {
            Some(near) if is_awaited && !is_over => {
                if !offers {
                    self.pay_ack(cx, id, None);
                    let offer = self.legs.get(&near).and_then(|near| near.asked.as_ref());
                    if let Some(offer) = offer.map(|asked| asked.request.clone()) {
                        self.change_agreed(cx, [near, id], &offer, response);
                    }
                }
                if !self.answer(cx, near, id, response, offers) {
                    self.refuse_offer(cx, id);
                }
                if !offers {
                    self.follow_change(cx, [near, id]);
                }
            }
            // Its CANCEL came too late: one side has changed the session and the other has not. What held before is
            // offered again.
            _ if offers => {
                let leg = self.legs.get_mut(&id).and_then(|leg| leg.owes_ack.take().zip(leg.strands.first()));
                if let Some((owed, strand)) = leg {
                    let body = ("application/sdp", before.clone());
                    self.desk.acknowledge(cx, owed.request, &strand.dialog, &owed.tag, Some(body));
                }
            }
            _ => {
                self.pay_ack(cx, id, None);
                if !is_over && offered {
                    self.offer_again(cx, id, before);
                }
            }
        }
        self.sweep(id);
    }

    /// Offers a description that held before.
    pub(super) fn offer_again(&mut self, cx: &mut Context<'_>, id: LegId, before: &Bytes) {
        let held = self.legs.get(&id).and_then(|leg| leg.strands.first());
        let held = held.map(|strand| strand.described.sent.clone()).unwrap_or_default();
        self.offer(cx, id, before, Why::Refresh { before: held });
    }

    /// Offers a description in a re-INVITE of our own.
    fn offer(&mut self, cx: &mut Context<'_>, id: LegId, description: &Bytes, why: Why) {
        let allow = self.peer_allow(id);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let (ip, ask) = (leg.local.local.ip(), leg.timer.ask(policy(cx.settings)));
        let Some(strand) = leg.strands.first_mut() else { return };
        let body = match why {
            Why::Tell { .. } => strand.described.pass(&cx.settings.bridges, description, ip),
            _ => strand.described.again(description, ip),
        };
        let mut draft = strand.dialog.request(Method::Invite).body("application/sdp", body);
        draft = draft
            .header(HeaderName::Supported, pass::own_supported(cx.settings))
            .header(HeaderName::Allow, &allow);
        ask_for_timer(&mut draft, &ask);
        let purpose = Purpose::Invite { acks: Vec::new(), why };
        let leg = &*leg;
        let sent = self.desk.send(cx, leg, draft, purpose);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.invite = sent;
        }
        self.wait_for_answer(cx, id);
    }

    /// The other side has refused a re-INVITE that was carried to it: the session is as before on both (RFC 3261 §14.1).
    pub(super) fn reinvite_refused(
        &mut self,
        cx: &mut Context<'_>,
        id: LegId,
        response: Option<&Message>,
        status: Status,
    ) {
        let near = self.pair(id).map(|(_, near)| near);
        if let Some(near) = near {
            self.refuse_asked(cx, near, response, status);
        }
        // §12.2.1.2: the other side has no such call any more.
        if outcome::is_end(&Method::Invite, status) {
            self.give_up(cx, id, Status::of(500), None);
        }
        self.sweep(id);
    }

    /// An UPDATE of a peer (RFC 3311): one without a description refreshes the session of its own leg and no other.
    pub(super) fn handle_update(&mut self, cx: &mut Context<'_>, came: &Came<'_>) {
        let has_offer = bodies::description(came.request).is_some();
        if has_offer {
            if let Err(refusal) = self.may_change(cx, came) {
                return came.refuse(cx, &refusal);
            }
            let before = self.legs.get(&came.leg).map_or(0, |leg| leg.carried);
            self.carry(cx, came, |draft| draft);
            let Some(leg) = self.legs.get_mut(&came.leg) else { return };
            leg.updates = leg.carried > before;
            if let Some(peer) = leg.peer.filter(|_| leg.updates)
                && let Some(peer) = self.legs.get_mut(&peer)
            {
                peer.updated = true;
            }
            return;
        }
        let allow = self.peer_allow(came.leg);
        let Some(leg) = self.legs.get_mut(&came.leg) else { return };
        // RFC 4028: a session begins with the 2xx to its INVITE, and so does its timer.
        let is_talking = leg.stage == Stage::Talking;
        let answer =
            if is_talking { leg.timer.answer(policy(cx.settings), came.request) } else { Answer::NoTimer };
        if let Answer::TooSmall { min_s } = answer {
            return came.refuse(cx, &Refusal::of(422).with(HeaderName::MinSe, min_s));
        }
        if leg.strands[came.strand].dialog.refresh_target(came.request).is_err() {
            return came.refuse(cx, &Refusal::of(400));
        }
        let (grant, contact) = (granted(answer), leg.contact(cx));
        let extra = |writer: &mut Writer| {
            writer.header(HeaderName::Contact, contact);
            writer.text(HeaderName::Allow, &allow);
            writer.text(HeaderName::Supported, pass::own_supported(cx.settings));
            write_grant(writer, grant);
        };
        let _ = cx.respond(came.server, came.request, Status::of(200), None, extra, None);
        if is_talking {
            leg.timer.granted(cx.now, came.request, grant);
        }
        self.time_session(came.leg);
    }

    /// Starts the session timer of a leg anew, by what it says now.
    pub(super) fn time_session(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(&id).filter(|leg| leg.stage != Stage::Over) else { return };
        let at = leg.timer.poll_timeout().map(|(at, _)| at);
        self.desk.deadlines.set(Wake::Session(id), at);
    }

    /// A session is to be refreshed, or nobody has refreshed it (RFC 4028 §10).
    pub(super) fn session_due(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match leg.timer.handle_timeout(cx.now) {
            Some(Due::Refresh) => {
                self.time_session(id);
                self.refresh(cx, id);
            }
            Some(Due::End) => {
                let reason = "SIP ;cause=408 ;text=\"Session not refreshed\"";
                self.give_up(cx, id, Status::of(408), Some(smol_str::SmolStr::new_static(reason)));
            }
            None => self.time_session(id),
        }
    }

    /// Refreshes the session of a leg: with an UPDATE where the peer takes one (RFC 4028 §7.4), else with a re-INVITE that
    /// offers what holds.
    pub(super) fn refresh(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.stage == Stage::Talking) else { return };
        if leg.is_busy() {
            // A change is under way that refreshes too, or else its end is near.
            return self.refresh_later(cx, id);
        }
        let postponed = leg.strands.first_mut().and_then(|strand| strand.described.take_postponed());
        if let Some(offer) = postponed {
            return self.offer_again(cx, id, &offer);
        }
        if leg.allowed.has(&Method::Update) != Some(true) {
            let held = leg.strands.first().map(|strand| strand.described.sent.clone()).unwrap_or_default();
            if !held.is_empty() {
                return self.offer_again(cx, id, &held);
            }
        }
        let ask = leg.timer.ask(policy(cx.settings));
        let Some(strand) = leg.strands.first_mut() else { return };
        let mut draft = strand
            .dialog
            .request(Method::Update)
            .header(HeaderName::Supported, pass::own_supported(cx.settings));
        ask_for_timer(&mut draft, &ask);
        let leg = &*leg;
        self.desk.send(cx, leg, draft, Purpose::Refresh);
    }

    /// RFC 3261 §14.1: who has made the Call-ID waits 2.1 to 4 seconds, the other up to 2, in steps of 10 ms.
    fn refresh_later(&mut self, cx: &mut Context<'_>, id: LegId) {
        let random = cx.random_u64();
        let Some(leg) = self.legs.get(&id) else { return };
        let wait = if leg.outgoing { 2_100 + random % 191 * 10 } else { random % 201 * 10 };
        self.desk.deadlines.start(Wake::Refresh(id), cx.now + Duration::from_millis(wait));
    }

    /// The answer to an UPDATE of ours that refreshes a session.
    pub(super) fn refresh_answered(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        response: Option<&Message>,
        status: Status,
    ) {
        let Some(sent) = self.desk.requests.remove(&request) else { return };
        let id = sent.leg;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match response {
            Some(response) if status.is_success() => {
                leg.timer.answered(cx.now, response);
                if let Some(strand) = leg.strands.first_mut() {
                    let _ = strand.dialog.refresh_target(response);
                }
                self.time_session(id);
            }
            Some(response) if status.code() == 422 && leg.timer.too_small(response) => self.refresh(cx, id),
            _ => self.refresh_refused(cx, id, response, status),
        }
    }

    /// The answer to a re-INVITE of ours that refreshes a session.
    pub(super) fn refresh_accepted(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        id: LegId,
        tag: &str,
        response: &Message,
        tells: bool,
    ) {
        self.owe_ack(id, request, tag);
        let mut news = None;
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.invite = leg.invite.filter(|invite| *invite != request);
            leg.timer.answered(cx.now, response);
            if let Some(strand) = leg.strands.first_mut() {
                let _ = strand.dialog.refresh_target(response);
                if let Some(description) = bodies::description(response) {
                    let is_new = !description::is_same(&strand.described.received, description);
                    strand.described.received = Bytes::copy_from_slice(description);
                    news = is_new.then(|| strand.described.received.clone());
                }
            }
        }
        self.pay_ack(cx, id, None);
        self.time_session(id);
        match news.filter(|_| tells) {
            // What it has told who plays is not what the other side would have to know.
            Some(_) if self.legs.get(&id).is_some_and(|leg| leg.hold.music.is_some()) => {
                self.end_music_and_hold(cx, id);
            }
            Some(news) => self.tell_change(cx, id, &news),
            None => {}
        }
        self.sweep(id);
    }

    /// A phone has answered a refresh with another description than before: the other side gets it as an offer, unless a
    /// change is under way there.
    fn tell_change(&mut self, cx: &mut Context<'_>, id: LegId, news: &Bytes) {
        let Some((_, far)) = self.pair(id) else { return };
        let Some(leg) = self.legs.get(&far).filter(|leg| leg.stage == Stage::Talking) else { return };
        let before = leg.strands.first().map(|strand| strand.described.sent.clone()).unwrap_or_default();
        if !leg.is_busy() && !description::is_same(&before, news) {
            self.offer(cx, far, news, Why::Tell { before });
        }
    }

    /// A re-INVITE that refreshes a session, or was to bring it back or hold it, was refused.
    pub(super) fn offer_refused(
        &mut self,
        cx: &mut Context<'_>,
        id: LegId,
        response: Option<&Message>,
        status: Status,
        before: Bytes,
    ) {
        if let Some(strand) = self.legs.get_mut(&id).and_then(|leg| leg.strands.first_mut()) {
            match status.code() {
                491 | 500 => strand.described.was_postponed(before),
                _ => strand.described.was_refused(before),
            }
        }
        self.refresh_refused(cx, id, response, status);
    }

    /// A refresh was refused: the session runs out, unless it meets another request or has no dialog any more.
    pub(super) fn refresh_refused(
        &mut self,
        cx: &mut Context<'_>,
        id: LegId,
        response: Option<&Message>,
        status: Status,
    ) {
        let asked = response.and_then(|response| response.header::<RetryAfter>()?.ok());
        match (status.code(), asked) {
            // RFC 3311 §5.2: the other side owes an answer, and says when to come back.
            (500, Some(RetryAfter(seconds))) if seconds <= RETRY_AFTER_S_MAX => {
                self.desk.deadlines.start(Wake::Refresh(id), cx.now + Duration::from_secs(seconds.into()));
            }
            (491 | 500, _) => self.refresh_later(cx, id),
            _ if outcome::is_end(&Method::Update, status) => self.give_up(cx, id, Status::of(408), None),
            _ => {}
        }
        self.sweep(id);
    }
}
