//! Responses to the INVITE that begins a leg, and to a re-INVITE that is carried: provisional ones, the first 2xx and all
//! others, refusals (RFC 3261 §13.2.2).
//!
//! Each fork of the callee's side is a dialog of its own on the caller's side too, with a tag of its own: the caller sees
//! as many early dialogs as there are, and each has one description and one order of reliable responses.

use dialtone_dialog::reliable::{Came, Due, OPTION_TAG, ReliableSender};
use dialtone_dialog::{Dialog, State};
use dialtone_wire::headers::RSeq;
use dialtone_wire::{HeaderName, Message, Method, Status, Writer};
use smol_str::SmolStr;

use super::bodies::{self, SDP};
use super::deadlines::Wake;
use super::desk::{Purpose, Sent, Why};
use super::outcome;
use super::pass;
use super::setup::{ask_for_timer, granted, policy, timer_value};
use super::{Asked, B2bua, Described, Leg, LegId, OwesAck, Reliable, STRANDS_MAX, Stage, Strand, Unacked};
use crate::context::{Context, UaRequest};

/// Provisional responses that wait for the PRACK of the one before them.
const QUEUE_MAX: usize = 8;

/// What a 2xx of ours has beside its description.
pub(super) struct Accepted<'a> {
    pub(super) allow: String,
    pub(super) supported: String,
    /// The 2xx of the other side that it stands for.
    pub(super) response: Option<&'a Message>,
    /// Its description is an offer.
    pub(super) offers: bool,
}

impl B2bua {
    /// A response to an INVITE of ours.
    pub(super) fn invite_answered(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        response: &Message,
        status: Status,
    ) {
        match status.class() {
            1 => self.progress(cx, request, response, status),
            2 => self.accepted(cx, request, response),
            _ => self.invite_refused(cx, request, Some(response), status),
        }
    }

    /// A provisional response.
    fn progress(&mut self, cx: &mut Context<'_>, request: UaRequest, response: &Message, status: Status) {
        let Some(sent) = self.desk.requests.get(&request) else { return };
        let id = sent.leg;
        let begins = matches!(sent.purpose, Purpose::Invite { why: Why::Begin, .. });
        let Some(leg) = self.legs.get(&id).filter(|leg| leg.invite == Some(request)) else { return };
        if leg.stage == Stage::Over {
            return;
        }
        if leg.stage == Stage::Setup {
            self.wait_for_answer(cx, id);
        }
        if status.code() == 100 {
            return;
        }
        if begins && self.legs.get(&id).is_some_and(|leg| leg.task.is_some()) {
            return self.task_progress(cx, id, status);
        }
        let Some((id, near)) = self.pair(id) else { return };
        if !begins {
            // Of a re-INVITE no more passes than that it is being worked on.
            if let Some(Asked { server, request, .. }) =
                self.legs.get(&near).and_then(|near| near.asked.as_ref())
            {
                let _ = cx.respond(*server, request, status, None, |_| (), None);
            }
            return;
        }
        let tag = response.to_tag().ok().flatten().unwrap_or_default();
        if !tag.is_empty() && self.strand(cx, request, id, near, tag, response).is_none() {
            return;
        }
        let strand = self.legs.get_mut(&id).and_then(|leg| leg.twin_by_remote(tag));
        let came = strand.and_then(|strand| strand.receiver.receive(response));
        match came {
            // Its PRACK is under way, or an earlier response is missing and will come again (RFC 3262 §4).
            Some(Came::Repeated | Came::OutOfOrder) => {}
            Some(Came::Next(_)) if self.wants_reliable(near) => self.tell_reliably(cx, near, tag, response),
            Some(Came::Next(rseq)) => {
                // Only a callee that heeds no Supported sends one to a caller who knows of none.
                self.prack_alone(cx, request, id, tag, rseq);
                self.tell(cx, near, tag, response, None);
            }
            None => self.tell(cx, near, tag, response, None),
        }
    }

    /// Whether the caller knows of reliable provisional responses.
    fn wants_reliable(&self, near: LegId) -> bool {
        let asked = self.legs.get(&near).and_then(|near| near.asked.as_ref());
        asked.is_some_and(|asked| {
            [HeaderName::Supported, HeaderName::Require]
                .into_iter()
                .any(|name| asked.request.has_token(name, OPTION_TAG))
        })
    }

    /// The dialogs of one fork on both sides, made with its first response.
    fn strand(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        id: LegId,
        near: LegId,
        tag: &str,
        response: &Message,
    ) -> Option<()> {
        let sent = self.desk.requests.get(&request)?;
        let leg = self.legs.get_mut(&id)?;
        if leg.twin_by_remote(tag).is_some() {
            return Some(());
        }
        if leg.strands.len() >= STRANDS_MAX {
            return None;
        }
        let dialog = Dialog::uac(&sent.message()?, response).ok()?;
        let described = leg.described.clone();
        let is_first = leg.strands.is_empty();
        let own = self.legs.get(&near)?.tag.clone();
        let twin = if is_first { own } else { cx.token() };
        self.legs.get_mut(&id)?.strands.push(Strand::new(dialog, twin.clone(), described));
        let near = self.legs.get_mut(&near)?;
        let asked = near.asked.as_ref()?;
        let dialog = Dialog::uas(&asked.request, &twin, State::Early).ok()?;
        self.desk.add_dialog(&dialog, near.id);
        let described = Described::new(cx.random_u64());
        near.strands.push(Strand::new(dialog, SmolStr::new(tag), described));
        Some(())
    }

    /// Tells the caller of a provisional response, reliably with an RSeq.
    fn tell(&mut self, cx: &mut Context<'_>, near: LegId, tag: &str, response: &Message, rseq: Option<RSeq>) {
        let Some(status) = response.status() else { return };
        let far = self.legs.get(&near).and_then(|near| near.peer).and_then(|far| self.legs.get(&far));
        let allow = far.map(|far| far.allowed.value()).unwrap_or_default();
        let Some(near) = self.legs.get_mut(&near) else { return };
        let contact = near.contact(cx);
        let (ip, own) = (near.local.local.ip(), near.tag.clone());
        let settings = cx.settings.clone();
        let Some(asked) = &near.asked else { return };
        let (server, request) = (asked.server, asked.request.clone());
        let strand = near.strands.iter_mut().find(|strand| strand.twin == tag);
        let own = strand.as_ref().map_or(own, |strand| strand.dialog.id().local_tag.clone());
        let body = strand
            .and_then(|strand| bodies::passed(response, &mut strand.described, &cx.settings.bridges, ip));
        let extra = |writer: &mut Writer| {
            writer.copy(&request, HeaderName::RecordRoute);
            writer.header(HeaderName::Contact, contact);
            writer.text(HeaderName::Allow, &allow);
            if let Some(RSeq(rseq)) = rseq {
                writer.text(HeaderName::Require, OPTION_TAG).number(HeaderName::RSeq, rseq);
            }
            pass::response(writer, response, &settings);
        };
        let body = body.as_ref().map(|(kind, body)| (kind.as_str(), &body[..]));
        let sent = cx.respond(server, &request, status, Some(&own), extra, body);
        if let (Some(transmit), Some(_)) = (sent, rseq)
            && let Some(reliable) = near.strand_by_twin(tag).and_then(|strand| strand.sender.as_mut())
        {
            reliable.sender.sent(cx.now, cx.settings.timers.t1(), transmit.bytes);
        }
    }

    /// Tells the caller of a provisional response with an RSeq of our own, once those before it have their PRACK.
    fn tell_reliably(&mut self, cx: &mut Context<'_>, near: LegId, tag: &str, response: &Message) {
        let random = cx.random_u64() as u32;
        let Some(leg) = self.legs.get_mut(&near) else { return };
        let cseq = leg.asked.as_ref().and_then(|asked| asked.request.cseq().ok());
        let (Some(strand), Some(cseq)) = (leg.strand_by_twin(tag), cseq) else { return };
        let reliable = strand.sender.get_or_insert_with(|| Reliable {
            sender: ReliableSender::new(cseq.number, random),
            waiting: None,
            queue: Default::default(),
        });
        if reliable.sender.is_waiting() || reliable.waiting.is_some() {
            if reliable.queue.len() < QUEUE_MAX {
                reliable.queue.push_back(super::desk::copy(response));
            }
            return;
        }
        let far = response.header::<RSeq>().and_then(Result::ok).zip(response.cseq().ok());
        reliable.waiting = far.map(|(RSeq(rseq), cseq)| (rseq, cseq.number));
        let rseq = reliable.sender.next_rseq();
        self.tell(cx, near, tag, response, rseq);
        self.time_reliable(near);
    }

    /// The PRACK of the one that waited has been answered: the next one.
    pub(super) fn next_reliable(&mut self, cx: &mut Context<'_>, near: LegId, tag: &str) {
        let Some(leg) = self.legs.get_mut(&near) else { return };
        let next = leg.strand_by_twin(tag).and_then(|strand| strand.sender.as_mut()).and_then(|reliable| {
            reliable.waiting = None;
            reliable.queue.pop_front()
        });
        self.time_reliable(near);
        if let Some(response) = next {
            self.tell_reliably(cx, near, tag, &response);
        }
    }

    pub(super) fn time_reliable(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(&id) else { return };
        let senders = leg.strands.iter().filter_map(|strand| strand.sender.as_ref());
        let at = senders.filter_map(|reliable| reliable.sender.poll_timeout()).map(|(at, _)| at).min();
        self.desk.deadlines.set(Wake::Reliable(id), at);
    }

    /// RFC 3262 §3: without PRACK a reliable response is sent again, and after 64·T1 its INVITE is refused.
    pub(super) fn repeat_reliable(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let flow = leg.asked.as_ref().and_then(|asked| cx.core.transactions.server_flow(asked.server));
        let mut gives_up = false;
        for strand in &mut leg.strands {
            match strand.sender.as_mut().and_then(|reliable| reliable.sender.handle_timeout(cx.now)) {
                Some(Due::Resend(bytes)) => {
                    if let Some(flow) = flow {
                        cx.transmit(dialtone_wire::net::Transmit { flow, bytes });
                    }
                }
                Some(Due::GiveUp) => gives_up = true,
                None => {}
            }
        }
        if gives_up && leg.stage == Stage::Setup {
            return self.give_up(cx, id, Status::of(504), None);
        }
        self.time_reliable(id);
    }

    /// Acknowledges a reliable response that the caller knows nothing of.
    fn prack_alone(&mut self, cx: &mut Context<'_>, invite: UaRequest, id: LegId, tag: &str, rseq: RSeq) {
        let Some(cseq) = self.desk.requests.get(&invite).map(|sent| sent.draft.cseq()) else { return };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(strand) = leg.twin_by_remote(tag) else { return };
        let draft = strand.dialog.request(Method::Prack);
        let draft = draft.header(HeaderName::RAck, &format!("{} {cseq} INVITE", rseq.0));
        let leg = &*leg;
        self.desk.send(cx, leg, draft, Purpose::Alone);
    }

    /// A 2xx: the first of a dialog, or one that has come before.
    fn accepted(&mut self, cx: &mut Context<'_>, request: UaRequest, response: &Message) {
        let tag = SmolStr::new(response.to_tag().ok().flatten().unwrap_or_default());
        let Some(sent) = self.desk.requests.get_mut(&request) else { return };
        let id = sent.leg;
        let Purpose::Invite { acks, why } = &mut sent.purpose else { return };
        if let Some((_, ack)) = acks.iter().find(|(of, _)| *of == tag) {
            if let Some(ack) = ack.clone() {
                cx.transmit(ack);
            }
            return;
        }
        if acks.len() >= STRANDS_MAX {
            return;
        }
        let why = why.clone();
        if !matches!(why, Why::Begin) {
            self.desk.deadlines.stop(Wake::Unanswered(id));
        }
        let is_first = self.legs.get(&id).is_some_and(|leg| leg.invite == Some(request));
        self.desk.limit_invite(cx, request);
        match why {
            Why::Begin if is_first => self.answered(cx, request, id, &tag, response),
            Why::Begin => self.orphan(cx, request, &tag, response),
            Why::Carry { before } => self.reinvite_accepted(cx, request, id, &tag, response, &before),
            Why::Refresh { .. } | Why::Tell { .. } => {
                let tells = matches!(why, Why::Refresh { .. });
                self.refresh_accepted(cx, request, id, &tag, response, tells);
            }
            Why::Join { before, task } => {
                self.join_accepted(cx, request, id, &tag, response, (&before, task));
            }
        }
    }

    /// The first 2xx to the INVITE that begins a leg: this fork it is.
    fn answered(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        id: LegId,
        tag: &str,
        response: &Message,
    ) {
        self.desk.deadlines.stop(Wake::Unanswered(id));
        self.desk.deadlines.stop(Wake::CancelOver(id));
        let pair = self.pair(id);
        let known = self.legs.get_mut(&id).and_then(|leg| {
            let place = leg.strands.iter().position(|strand| strand.dialog.id().remote_tag == tag)?;
            Some(leg.strands.swap_remove(place))
        });
        let is_known = known.is_some();
        let confirmed = match known {
            Some(mut strand) => strand.dialog.confirm(response).is_ok().then_some(strand),
            None => self.late_strand(cx, request, id, response),
        };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.invite = None;
        leg.errand = None;
        leg.plan = None;
        self.queues.leave(id);
        let Some(mut strand) = confirmed else {
            // Without a Contact there is nowhere to send an ACK or a BYE to.
            let (peer, task) = (leg.peer, leg.task);
            self.remove(id);
            if let Some(task) = task {
                self.task_refused(cx, task, Status::of(502));
            }
            if let Some(peer) = peer {
                self.hang_up(cx, peer, Status::of(502), None);
            }
            return;
        };
        let was_over = leg.stage == Stage::Over;
        let description = bodies::description(response);
        if let Some(description) = description {
            strand.described.received = bytes::Bytes::copy_from_slice(description);
        }
        let last = leg.strands.iter().map(|strand| strand.dialog.last_cseq()).max();
        if let Some(sent) = self.desk.requests.get_mut(&request) {
            sent.early_cseq = last.unwrap_or(0);
        }
        leg.strands.clear();
        leg.strands.push(strand);
        leg.stage = Stage::Talking;
        leg.allowed.learn(response);
        leg.timer.answered(cx.now, response);
        self.time_session(id);
        let offered = self.desk.requests.get(&request).is_some_and(Sent::offers);
        if !was_over && self.legs.get(&id).is_some_and(|leg| leg.task.is_some()) {
            self.owe_ack(id, request, tag);
            return self.task_answered(cx, id, response);
        }
        let Some((_, near)) = pair.filter(|_| !was_over) else {
            // The caller has given up: the CANCEL has crossed with this answer.
            self.owe_ack(id, request, tag);
            return self.hang_up(cx, id, Status::of(487), None);
        };
        let Some(strand) = self.legs.get(&id).and_then(|leg| leg.strands.first()) else { return };
        let twin = strand.twin.clone();
        // RFC 3261 §13.2.1: the offer of a 2xx gets its answer in the ACK.
        let offers = !offered && !strand.agreed && description.is_some();
        self.owe_ack(id, request, tag);
        if !offers {
            self.pay_ack(cx, id, None);
        }
        self.choose(cx, near, if is_known { Some(&twin) } else { None }, tag);
        if !self.answer(cx, near, id, response, offers) {
            self.hang_up(cx, id, Status::of(500), None);
        }
    }

    /// A fork whose first response is its 2xx.
    fn late_strand(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        id: LegId,
        response: &Message,
    ) -> Option<Strand> {
        let dialog = Dialog::uac(&self.desk.requests.get(&request)?.message()?, response).ok()?;
        let leg = self.legs.get(&id)?;
        let near = leg.peer.and_then(|near| self.legs.get(&near));
        // Another fork may have used our first tag.
        let twin = near.filter(|near| near.strands.is_empty()).map(|near| near.tag.clone());
        let twin = twin.unwrap_or_else(|| cx.token());
        Some(Strand::new(dialog, twin, leg.described.clone()))
    }

    /// Keeps of the caller's early dialogs the one whose fork has answered, and makes it if there is none.
    fn choose(&mut self, cx: &mut Context<'_>, near: LegId, twin: Option<&str>, far_tag: &str) {
        let new_tag = {
            let far = self.legs.get(&near).and_then(|near| near.peer).and_then(|far| self.legs.get(&far));
            far.and_then(|far| far.strands.first()).map(|strand| strand.twin.clone())
        };
        let Some(leg) = self.legs.get_mut(&near) else { return };
        let mut strands = std::mem::take(&mut leg.strands);
        let chosen = twin.and_then(|_| strands.iter().position(|strand| strand.twin == far_tag));
        let chosen = chosen.map(|place| strands.swap_remove(place));
        for strand in &strands {
            self.desk.forget_dialog(&strand.dialog);
        }
        self.desk.deadlines.stop(Wake::Reliable(near));
        let strand = chosen.or_else(|| {
            let asked = leg.asked.as_ref()?;
            let dialog = Dialog::uas(&asked.request, new_tag.as_deref()?, State::Early).ok()?;
            Some(Strand::new(dialog, SmolStr::new(far_tag), Described::new(cx.random_u64())))
        });
        if let Some(mut strand) = strand {
            strand.dialog.accept();
            // RFC 3262 §3: nothing is sent again after the final response, but the PRACK of what went out may still come.
            strand.sender.take_if(|reliable| !reliable.sender.is_waiting());
            if let Some(reliable) = &mut strand.sender {
                reliable.sender.stop();
                reliable.queue.clear();
            }
            self.desk.add_dialog(&strand.dialog, near);
            leg.strands.push(strand);
        }
    }

    /// Answers the INVITE that a leg was asked with a 2xx of the other side; `false` when that can't be sent.
    pub(super) fn answer(
        &mut self,
        cx: &mut Context<'_>,
        near: LegId,
        far: LegId,
        response: &Message,
        offers: bool,
    ) -> bool {
        let allow = self.legs.get(&far).map(|far| far.allowed.value()).unwrap_or_default();
        let supported = pass::supported(response, true, cx.settings);
        let accepted = Accepted { allow, supported, response: Some(response), offers };
        self.accept(cx, near, accepted, bodies::description(response))
    }

    /// Answers the INVITE that a leg was asked; `false` when that can't be sent.
    pub(super) fn accept(
        &mut self,
        cx: &mut Context<'_>,
        near: LegId,
        accepted: Accepted<'_>,
        description: Option<&[u8]>,
    ) -> bool {
        let Accepted { allow, supported, response, offers } = accepted;
        let Some(leg) = self.legs.get_mut(&near) else { return false };
        let contact = leg.contact(cx);
        let Some(Asked { server, request, .. }) = leg.asked.take() else { return false };
        self.desk.servers.remove(&server);
        let Some(strand) = leg.strands.first_mut() else { return false };
        if let Some(offer) = bodies::description(&request) {
            strand.described.received = bytes::Bytes::copy_from_slice(offer);
        }
        let ip = leg.local.local.ip();
        let (settings, described) = (&cx.settings.bridges, &mut strand.described);
        let body = match (response, description) {
            (Some(response), _) => bodies::passed(response, described, settings, ip),
            (None, Some(own)) => Some((SmolStr::new_static(SDP), described.pass(settings, own, ip))),
            (None, None) => None,
        };
        let grant = granted(leg.timer.answer(policy(cx.settings), &request));
        let status = response.and_then(Message::status).unwrap_or(Status::of(200));
        let tag = strand.dialog.id().local_tag.clone();
        let settings = cx.settings.clone();
        let extra = |writer: &mut Writer| {
            writer.copy(&request, HeaderName::RecordRoute);
            writer.header(HeaderName::Contact, contact);
            writer.text(HeaderName::Allow, &allow);
            writer.text(HeaderName::Supported, &supported);
            write_grant(writer, grant);
            if let Some(response) = response {
                pass::response(writer, response, &settings);
            }
        };
        let body = body.as_ref().map(|(kind, body)| (kind.as_str(), &body[..]));
        let Some(transmit) = cx.respond(server, &request, status, Some(&tag), extra, body) else {
            return false;
        };
        let cseq = request.cseq().map_or(0, |cseq| cseq.number);
        let interval = cx.settings.timers.t1();
        leg.unacked = Some(Unacked { cseq, transmit, interval, offers });
        leg.stage = Stage::Talking;
        leg.timer.granted(cx.now, &request, grant);
        self.desk.deadlines.start(Wake::RepeatAnswer(near), cx.now + interval);
        self.desk.deadlines.start(Wake::NoAck(near), cx.now + cx.settings.timers.transaction_timeout());
        self.time_session(near);
        true
    }

    /// Gives a leg that was asked its one dialog, whatever early ones it had: nobody's fork is answered. It has a tag of its
    /// own then, since those had numbers and descriptions of theirs already.
    pub(super) fn choose_own(&mut self, cx: &mut Context<'_>, near: LegId) -> bool {
        let (random, fresh) = (cx.random_u64(), cx.token());
        let Some(leg) = self.legs.get_mut(&near) else { return false };
        let Some(asked) = &leg.asked else { return false };
        let tag = if leg.strands.is_empty() { leg.tag.clone() } else { fresh };
        let Ok(mut dialog) = Dialog::uas(&asked.request, &tag, State::Early) else { return false };
        dialog.accept();
        for strand in leg.strands.drain(..) {
            self.desk.forget_dialog(&strand.dialog);
        }
        self.desk.deadlines.stop(Wake::Reliable(near));
        self.desk.add_dialog(&dialog, near);
        leg.strands.push(Strand::new(dialog, tag, Described::new(random)));
        true
    }

    /// A 2xx of another fork, or to an INVITE whose leg is gone: RFC 3261 §13.2.2.4 "the UAC MUST … terminate the dialog
    /// by sending a BYE".
    fn orphan(&mut self, cx: &mut Context<'_>, request: UaRequest, tag: &str, response: &Message) {
        let Some(sent) = self.desk.requests.get(&request) else { return };
        let Some(mut dialog) = sent.message().and_then(|invite| Dialog::uac(&invite, response).ok()) else {
            return;
        };
        // A PRACK or an UPDATE may have been sent in it when it was an early one.
        dialog.go_on_after(sent.early_cseq);
        let offer = bodies::description(response).filter(|_| !sent.offers());
        let ip = sent.local_ip();
        let mut described = Described::new(cx.random_u64());
        let refused = offer.zip(ip).map(|(offer, ip)| ("application/sdp", described.refuse(offer, ip)));
        self.desk.acknowledge(cx, request, &dialog, tag, refused);
        let draft = dialog.request(Method::Bye);
        self.desk.send_beside(cx, request, draft, Purpose::Alone);
    }

    /// A refusal of an INVITE of ours, or what stands in its place.
    pub(super) fn invite_refused(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        response: Option<&Message>,
        status: Status,
    ) {
        let Some(sent) = self.desk.requests.remove(&request) else { return };
        let id = sent.leg;
        let is_asked = self.is_asked_still(id, &sent);
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.invite == Some(request)) else { return };
        leg.invite = None;
        self.desk.deadlines.stop(Wake::Unanswered(id));
        let Purpose::Invite { why, .. } = &sent.purpose else { return };
        if status.code() == 422
            && leg.stage != Stage::Over
            && let Some(response) = response
            && leg.timer.too_small(response)
            && is_asked
        {
            return self.ask_again(cx, id, sent);
        }
        if let Why::Carry { before } | Why::Tell { before } | Why::Join { before, .. } = why
            && let Some(strand) = leg.strands.first_mut()
        {
            strand.described.was_refused(before.clone());
        }
        match why {
            Why::Begin => {
                let (peer, is_over, task) = (leg.peer, leg.stage == Stage::Over, leg.task);
                if !is_over && task.is_none() && self.enqueue(cx, sent, status) {
                    return;
                }
                self.remove(id);
                if let Some(task) = task.filter(|_| !is_over) {
                    return self.task_refused(cx, task, outcome::of_call(status, response, cx.settings));
                }
                if let Some(peer) = peer.filter(|_| !is_over) {
                    self.refuse_asked(cx, peer, response, status);
                    self.end_quietly(peer);
                }
            }
            Why::Carry { .. } => self.reinvite_refused(cx, id, response, status),
            Why::Refresh { before } => self.offer_refused(cx, id, response, status, before.clone()),
            // What it could not be told it may be told with the next change.
            Why::Tell { .. } if !outcome::is_end(&Method::Invite, status) => self.sweep(id),
            Why::Tell { .. } => self.refresh_refused(cx, id, response, status),
            Why::Join { task, .. } => self.join_refused(cx, id, *task, status),
        }
    }

    /// RFC 4028 §7.4: the same INVITE with the interval that the other side wants.
    pub(super) fn ask_again(&mut self, cx: &mut Context<'_>, id: LegId, mut sent: Sent) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let cseq = match leg.strands.first_mut() {
            Some(strand) if leg.stage == Stage::Talking => strand.dialog.next_cseq(),
            _ => sent.draft.cseq().saturating_add(1),
        };
        sent.draft.set_cseq(cseq);
        ask_for_timer(&mut sent.draft, &leg.timer.ask(policy(cx.settings)));
        let is_talking = leg.stage == Stage::Talking;
        match self.desk.send_again(cx, sent) {
            Some(again) => {
                leg.invite = Some(again);
                self.wait_for_answer(cx, id);
            }
            None if is_talking => self.reinvite_refused(cx, id, None, Status::of(500)),
            None => {
                let peer = leg.peer;
                self.remove(id);
                if let Some(peer) = peer {
                    self.hang_up(cx, peer, Status::of(500), None);
                }
            }
        }
    }

    /// Whether somebody waits for the answer to an INVITE of ours: one that carries another may have outlived it.
    fn is_asked_still(&self, id: LegId, sent: &Sent) -> bool {
        let near = self.legs.get(&id).and_then(|leg| leg.peer).and_then(|near| self.legs.get(&near));
        let carries = matches!(sent.purpose, Purpose::Invite { why: Why::Carry { .. }, .. });
        !carries || near.is_some_and(|near| near.asked.is_some())
    }

    /// Gives the INVITE that a leg was asked the refusal of the other side.
    pub(super) fn refuse_asked(
        &mut self,
        cx: &mut Context<'_>,
        near: LegId,
        response: Option<&Message>,
        status: Status,
    ) {
        let Some(leg) = self.legs.get_mut(&near) else { return };
        let Some(Asked { server, request, .. }) = leg.asked.take() else { return };
        self.desk.servers.remove(&server);
        let passes = leg.challenged && status.is_challenge();
        let status = match leg.stage {
            _ if passes => status,
            Stage::Setup => outcome::of_call(status, response, cx.settings),
            Stage::Talking | Stage::Over => outcome::of_request(&Method::Invite, status),
        };
        let settings = cx.settings.clone();
        let extra = |writer: &mut Writer| {
            if let Some(response) = response {
                pass::response(writer, response, &settings);
                if status.class() == 3 {
                    outcome::write_places(writer, response, &settings);
                }
                if passes {
                    pass::challenges(writer, response);
                }
            }
            writer.header(HeaderName::Server, &settings.product);
        };
        let _ = cx.respond(server, &request, status, Some(&leg.tag), extra, None);
    }
}

impl Strand {
    pub(super) fn new(dialog: Dialog, twin: SmolStr, described: Described) -> Strand {
        let receiver = Default::default();
        Strand { dialog, twin, described, receiver, sender: None, agreed: false }
    }
}

impl Leg {
    pub(super) fn twin_by_remote(&mut self, tag: &str) -> Option<&mut Strand> {
        self.strands.iter_mut().find(|strand| strand.dialog.id().remote_tag == tag)
    }

    /// The caller's dialog of the fork with this tag.
    pub(super) fn strand_by_twin(&mut self, tag: &str) -> Option<&mut Strand> {
        self.strands.iter_mut().find(|strand| strand.twin == tag)
    }

    pub(super) fn owe(&mut self, request: UaRequest, tag: &str) {
        self.owes_ack = Some(OwesAck { request, tag: SmolStr::new(tag) });
    }
}

/// Writes the session timer of a 2xx (RFC 4028 §9).
pub(super) fn write_grant(writer: &mut Writer, grant: Option<dialtone_dialog::session_timer::Grant>) {
    if let Some(grant) = grant {
        let expires = grant.session_expires;
        writer.text(HeaderName::SessionExpires, &timer_value(expires.seconds, expires.refresher));
        if grant.require {
            writer.text(HeaderName::Require, "timer");
        }
    }
}
