//! Calls that we make: the INVITE, its provisional and final responses, the forks, CANCEL (RFC 3261 §9.1, §13.2).

use bytes::Bytes;
use dialtone_dialog::reliable::{Came, ReliableReceiver};
use dialtone_dialog::{Dialog, Draft, RouteSet};
use dialtone_wire::net::Transmit;
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::{SmolStr, format_smolstr};

use super::Ua;
use super::call::{Call, Calling, Early, Stage, Step, Talk};
use super::deadlines::Wake;
use super::desk::{Desk, Purpose, Sent, end_reason, own_user};
use super::info;
use super::prack::Prack;
use super::redirect::{self, Redirects};
use super::refusal::{ALLOW, SDP, SUPPORTED, description_of};
use super::registration::by_service_route;
use super::session::{Change, Session};
use super::transfer;
use crate::context::{Context, Failure, UaRequest};
use crate::io::{CallHandle, EndReason, Event, JoinTarget, Play};

/// Characters of what a 182 says of its queue that are told at most.
const QUEUE_WORDS_MAX: usize = 100;

impl Ua {
    /// Calls somebody.
    pub(super) fn start_call(&mut self, cx: &mut Context<'_>, token: u64, to: UriBuf, play: Play) {
        let (handle, full) = self.add_outgoing(cx, play);
        cx.event(Event::CallStarted { token, call: handle });
        if full {
            return self.end(cx, handle, EndReason::Overload);
        }
        match transfer::read_link(cx.settings, to) {
            Ok((to, referred)) => self.with_call(cx, handle, |call, desk, cx| {
                call.ties.referred = referred;
                call.begin(desk, cx, to)
            }),
            Err(refusal) => self.end(cx, handle, EndReason::Refused(refusal.status())),
        }
    }

    /// Calls somebody to be let into a conversation of his (RFC 3911 §5).
    pub(super) fn call_to_join(
        &mut self,
        cx: &mut Context<'_>,
        token: u64,
        to: UriBuf,
        play: Play,
        joins: &JoinTarget,
    ) {
        let (handle, full) = self.add_outgoing(cx, play);
        cx.event(Event::CallStarted { token, call: handle });
        if full {
            return self.end(cx, handle, EndReason::Overload);
        }
        self.with_call(cx, handle, |call, desk, cx| {
            call.ties.set_join(joins);
            call.begin(desk, cx, to)
        });
    }

    /// A call whose INVITE is to be sent, and whether there are too many of them already.
    pub(super) fn add_outgoing(&mut self, cx: &mut Context<'_>, play: Play) -> (CallHandle, bool) {
        let full = self.calls.len() >= cx.settings.limits.calls;
        let contact_user = own_user(cx.settings).into();
        let handle = self.calls.insert(|handle| {
            // Until the INVITE is sent, the call waits for nothing.
            let stage = Stage::Cancelling { invite: UaRequest(0), reason: EndReason::Overload };
            Call { play, ..Call::new(handle, true, contact_user, stage) }
        });
        cx.core.counters.calls += 1;
        (handle, full)
    }

    /// A response to the INVITE of a call, or to one whose call is over.
    pub(super) fn handle_invite_response(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        handle: CallHandle,
        response: &Message,
        status: Status,
    ) {
        if status.is_success() {
            return self.handle_invite_accepted(cx, request, handle, response);
        }
        if status.is_provisional() {
            return self.with_call(cx, handle, |call, desk, cx| {
                call.handle_progress(desk, cx, request, response, status)
            });
        }
        if self.calls.get(handle).is_some_and(|call| call.invite_is(request)) {
            return self.with_call(cx, handle, |call, desk, cx| {
                call.handle_refused(desk, cx, request, response, status)
            });
        }
        // RFC 6026 §8.4 lets nothing but 2xx follow a 2xx; what comes here belongs to a call that is over.
        self.desk.abandon_record(request);
    }

    /// A 2xx: the first of a dialog gets its ACK, a repeated one the same ACK again (RFC 3261 §13.2.2.4).
    fn handle_invite_accepted(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        handle: CallHandle,
        response: &Message,
    ) {
        let tag = response.to().ok().and_then(|to| to.tag()).unwrap_or_default();
        let Some(acks) = self.desk.acks_mut(request) else { return };
        if let Some((_, ack)) = acks.iter().find(|(of, _)| of == tag) {
            if let Some(ack) = ack.clone() {
                cx.transmit(ack);
            }
            return;
        }
        if acks.len() >= cx.settings.limits.branches {
            return;
        }
        self.desk.limit_invite(cx, request);
        if self.calls.get(handle).is_some_and(|call| call.invite_is(request)) {
            self.with_call(cx, handle, |call, desk, cx| {
                call.handle_accepted(desk, cx, request, response, tag)
            });
        } else {
            // Another branch of the fork was faster, or we hung up: RFC 3261 §13.2.2.4 "MUST terminate the dialog by
            // sending a BYE".
            let Some(mut dialog) = self.desk.dialog_of(request, response) else { return };
            self.desk.ack(cx, request, &dialog, tag, None);
            // If it can't be sent, the peer finds out by itself: there is no call of ours to end.
            let _ = self.desk.bye(cx, &mut dialog, None, None);
        }
    }

    /// The host name that an ACK goes to was looked up, and the ACK sent if it has an address.
    pub(crate) fn ack_resolved(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        tag: &str,
        sent: Option<Transmit>,
    ) {
        let is_lost = sent.is_none();
        let Some(invite) = self.desk.requests.get_mut(&request) else { return };
        let handle = match &mut invite.purpose {
            Purpose::Invite { call, acks } => {
                if let Some((_, ack)) = acks.iter_mut().find(|(of, _)| of == tag) {
                    *ack = sent;
                }
                *call
            }
            Purpose::Reinvite { call, ack, .. } => {
                *ack = Some(sent);
                *call
            }
            Purpose::Register
            | Purpose::Options { .. }
            | Purpose::Capabilities { .. }
            | Purpose::Refer { .. }
            | Purpose::Notify { .. }
            | Purpose::Info { .. }
            | Purpose::InDialog { .. }
            | Purpose::Bye { .. } => return,
        };
        if is_lost {
            // The peer will repeat its 2xx in vain; nor will it get a BYE, but we are done with it.
            self.with_call(cx, handle, |call, desk, cx| call.ack_lost(desk, cx, tag));
        }
    }

    /// The INVITE of a call got no response.
    pub(super) fn handle_invite_failure(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        handle: CallHandle,
        failure: Failure,
    ) {
        let cseq = self.desk.requests.get(&request).map(|sent| sent.draft.cseq());
        self.desk.abandon_record(request);
        self.with_call(cx, handle, |call, desk, cx| match &mut call.stage {
            Stage::Cancelling { invite, reason } if *invite == request => Step::End(*reason),
            Stage::Calling(calling) if calling.invite == request => match (failure, calling.again.take()) {
                (Failure::Overload, _) => Step::End(EndReason::Overload),
                (_, Some(to)) => call.try_backup(desk, cx, to),
                (failure, None) => {
                    let reason = match failure {
                        Failure::Overload => EndReason::Overload,
                        Failure::TimedOut => EndReason::NoResponse,
                        Failure::BadResponse => EndReason::Refused(Status::of(502)),
                        Failure::Transport | Failure::Unresolvable => EndReason::TransportFailed,
                    };
                    match (calling.redirects.take(), cseq) {
                        (Some(mut redirects), Some(cseq)) => {
                            redirects.set_cseq(cseq);
                            call.try_elsewhere(desk, cx, redirects, reason)
                        }
                        _ => Step::End(reason),
                    }
                }
            },
            Stage::Calling(_)
            | Stage::Cancelling { .. }
            | Stage::Ringing(_)
            | Stage::Answered(_)
            | Stage::Confirmed(_)
            | Stage::Ending { .. } => Step::Stay,
        });
    }
}

impl Call {
    fn invite_is(&self, request: UaRequest) -> bool {
        match &self.stage {
            Stage::Calling(Calling { invite, .. }) | Stage::Cancelling { invite, .. } => *invite == request,
            Stage::Ringing(_) | Stage::Answered(_) | Stage::Confirmed(_) | Stage::Ending { .. } => false,
        }
    }

    /// Sends the first INVITE, by way of the account's proxy.
    pub(super) fn begin(&mut self, desk: &mut Desk, cx: &mut Context<'_>, to: UriBuf) -> Step {
        let has_backup = cx.settings.account.as_ref().is_some_and(|account| account.backup_proxy.is_some());
        let again = has_backup.then(|| to.clone());
        let draft = out_of_dialog(cx, Method::Invite, to.clone(), &format_smolstr!("<{to}>"));
        let draft = by_service_route(cx.settings, &desk.service_route, draft);
        self.invite(desk, cx, draft, again)
    }

    /// Begins anew by way of the backup proxy (RFC 3261 §8.1.2, RFC 3665 §3.4): another Call-ID, since the first proxy
    /// may have forwarded the INVITE all the same.
    fn try_backup(&mut self, desk: &mut Desk, cx: &mut Context<'_>, to: UriBuf) -> Step {
        let backup = cx.settings.account.as_ref().and_then(|account| account.backup_proxy.clone());
        let draft = out_of_dialog(cx, Method::Invite, to.clone(), &format_smolstr!("<{to}>"));
        let draft = match backup.as_ref().and_then(preloaded) {
            Some(routes) => draft.with_routes(&routes),
            None => draft,
        };
        self.release(cx);
        self.invite(desk, cx, draft, None)
    }

    /// Sends an INVITE (RFC 3261 §13.2.1).
    pub(super) fn invite(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        draft: Draft,
        again: Option<UriBuf>,
    ) -> Step {
        let draft = draft.header(HeaderName::Allow, ALLOW).header(HeaderName::Accept, SDP);
        let draft = self.ties.mark(draft.header(HeaderName::Supported, SUPPORTED));
        let mut draft = draft.line(info::RECV_INFO, &info::packages(cx.settings));
        self.ask_timer(cx.settings, &mut draft);
        let Some(address) = cx.local_ip_for(draft.next_hop()) else {
            return Step::End(EndReason::TransportFailed);
        };
        self.session = Session::lease(cx, address);
        // Without ports we ask the peer for its offer, and answer it in the ACK: by then there are some.
        let draft = match self.session.as_mut().map(|session| session.offer(cx, Change::default())) {
            Some(Ok(offer)) => draft.body(SDP, offer),
            Some(Err(_)) => return Step::End(EndReason::BadSession),
            None => draft,
        };
        let purpose = Purpose::Invite { call: self.handle, acks: Vec::new() };
        match desk.send(cx, draft, Some(self.contact_user.clone()), purpose) {
            Ok(invite) => {
                // RFC 3261 §16.6 step 11: a proxy gives up after Timer C; we give it the time to say so.
                let over = cx.now + cx.settings.timer_c + cx.settings.timers.transaction_timeout();
                desk.deadlines.start(Wake::Unanswered(self.handle), over);
                self.stage = Stage::Calling(Calling {
                    invite,
                    early: Vec::new(),
                    answered_by: None,
                    again,
                    redirects: None,
                });
                Step::Stay
            }
            Err(error) => Step::End(end_reason(error)),
        }
    }

    /// A provisional response: it may make an early dialog and bring early media (RFC 3261 §13.2.2.1).
    fn handle_progress(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        request: UaRequest,
        response: &Message,
        status: Status,
    ) -> Step {
        match &mut self.stage {
            Stage::Calling(calling) if calling.invite == request => {}
            Stage::Cancelling { invite, .. } if *invite == request => {
                // The INVITE may have had to wait for an address when we gave up.
                cx.cancel(request, None);
                return Step::Stay;
            }
            Stage::Calling(_)
            | Stage::Cancelling { .. }
            | Stage::Ringing(_)
            | Stage::Answered(_)
            | Stage::Confirmed(_)
            | Stage::Ending { .. } => return Step::Stay,
        }
        if status.code() == 100 {
            return Step::Stay;
        }
        let step = match response.to().ok().and_then(|to| to.tag()) {
            Some(tag) => self.handle_early(desk, cx, request, response, tag),
            None => Some(Step::Stay),
        };
        let Some(step) = step else { return Step::Stay };
        if step == Step::Stay && matches!(self.stage, Stage::Calling(_)) {
            desk.transfers.call_goes_on(self.handle, status, cx.settings.transfer.tells_progress);
            // RFC 3960 §3.2: a branch that says that nothing will be heard leaves the ringing to us.
            let is_answered = matches!(&self.stage, Stage::Calling(calling) if calling.answered_by.is_some());
            let has_media = is_answered && self.session.as_ref().is_some_and(Session::hears);
            let queue = queue_of(response, status);
            cx.event(Event::Progress { call: self.handle, status, has_media, queue });
            return self.try_change(desk, cx);
        }
        step
    }

    /// A provisional response with a tag: an early dialog, and perhaps early media. `None` if it counts for nothing: it
    /// came before, or a reliable one before it is missing (RFC 3262 §4).
    fn handle_early(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        request: UaRequest,
        response: &Message,
        tag: &str,
    ) -> Option<Step> {
        let Stage::Calling(calling) = &mut self.stage else { return None };
        if calling.early_mut(tag).is_none() && calling.early.len() < cx.settings.limits.branches {
            let dialog = desk.dialog_of(request, response)?;
            desk.add_dialog(&dialog, self.handle);
            let received = ReliableReceiver::default();
            calling.early.push(Early { dialog, received, is_settled: false, apart: None });
        }
        let early = calling.early_mut(tag)?;
        let rseq = match early.received.receive(response) {
            Some(Came::Next(rseq)) => Some(rseq),
            Some(Came::Repeated | Came::OutOfOrder) => return None,
            None => None,
        };
        // RFC 6141 §4.7; a Contact that can't be read leaves the old target.
        let _ = early.dialog.refresh_target(response);
        let is_settled = early.is_settled;
        self.note_allow(response);
        let description = description_of(response).ok().flatten().filter(|_| !is_settled);
        let Some(rseq) = rseq else {
            if let Some(answer) = description {
                self.preview(cx, tag, answer);
            }
            return Some(Step::Stay);
        };
        let invite_cseq = desk.requests.get(&request).map(|sent| sent.draft.cseq())?;
        let settled = description.map(|description| self.settle(cx, tag, description)).transpose();
        match settled {
            Ok(body) => {
                let is_offer_due = body.as_ref().is_some_and(Option::is_none) && self.hears(tag);
                let (body, change) = match body.flatten() {
                    None if is_offer_due => self.offer_for_prack(cx),
                    body => (body, None),
                };
                self.acknowledge(desk, cx, tag, Prack { rseq, invite_cseq, body, change });
                Some(Step::Stay)
            }
            // RFC 6337 §2.3: a response with an offer or answer can't be refused; the INVITE is given up.
            Err(reason) => {
                self.acknowledge(desk, cx, tag, Prack { rseq, invite_cseq, body: None, change: None });
                Some(self.give_up(desk, cx, reason))
            }
        }
    }

    fn hears(&self, tag: &str) -> bool {
        matches!(&self.stage, Stage::Calling(calling) if calling.answered_by.as_deref() == Some(tag))
    }

    /// A description in an unreliable response: what the answer will be (RFC 6337 §3.1.1), and where early media come
    /// from. That of the first branch to send one is heard, and no other: never two at once.
    fn preview(&mut self, cx: &mut Context<'_>, tag: &str, answer: &[u8]) {
        let Stage::Calling(calling) = &mut self.stage else { return };
        if calling.answered_by.is_none()
            && let Some(session) = &mut self.session
            && session.take_early_answer(answer).is_ok()
        {
            calling.answered_by = Some(SmolStr::new(tag));
            self.apply(cx);
        }
    }

    /// The first description in a reliable response of a branch: the answer to our offer, or an offer, whose answer is
    /// returned.
    fn settle(
        &mut self,
        cx: &mut Context<'_>,
        tag: &str,
        description: &[u8],
    ) -> Result<Option<Bytes>, EndReason> {
        let Stage::Calling(calling) = &mut self.stage else { return Ok(None) };
        let is_heard = calling.answered_by.as_deref() == Some(tag);
        let is_first = calling.answered_by.is_none();
        let Some(early) = calling.early_mut(tag) else { return Ok(None) };
        early.is_settled = true;
        if is_heard {
            // What was a preview is the answer now.
            return Ok(None);
        }
        let leased = match &mut self.session {
            Some(session) => session,
            None => {
                let next_hop = early.dialog.ack(0);
                let address = cx.local_ip_for(next_hop.next_hop()).ok_or(EndReason::TransportFailed)?;
                self.session.insert(Session::lease(cx, address).ok_or(EndReason::Overload)?)
            }
        };
        let has_offered = leased.has_offered();
        let body = match (has_offered, is_first) {
            (true, true) => leased.take_early_answer(description).map(|()| None),
            (false, true) => leased.answer_early(cx, description).map(Some),
            (true, false) => {
                leased.apart(&mut early.apart, |branch| branch.take_answer(description).map(|()| None))
            }
            (false, false) => {
                leased.apart(&mut early.apart, |branch| branch.answer(cx, description).map(Some))
            }
        };
        let body = body.map_err(|_| EndReason::BadSession)?;
        if is_first {
            calling.answered_by = Some(SmolStr::new(tag));
            self.apply(cx);
        }
        Ok(body)
    }

    /// The first 2xx of a dialog of an INVITE that still waits: ACK, and the call stands, or BYE.
    fn handle_accepted(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        request: UaRequest,
        response: &Message,
        tag: &str,
    ) -> Step {
        let (mut early, answered_by, given_up) = match &mut self.stage {
            Stage::Calling(calling) => (std::mem::take(&mut calling.early), calling.answered_by.take(), None),
            Stage::Cancelling { reason, .. } => (Vec::new(), None, Some(*reason)),
            Stage::Ringing(_) | Stage::Answered(_) | Stage::Confirmed(_) | Stage::Ending { .. } => {
                return Step::Stay;
            }
        };
        desk.forget_early(request, &early);
        desk.deadlines.stop(Wake::Unanswered(self.handle));
        desk.deadlines.stop(Wake::CancelOver(self.handle));
        let known = early.iter().position(|early| early.dialog.id().remote_tag == tag);
        let known = known.map(|index| early.swap_remove(index));
        let is_settled = known.as_ref().is_some_and(|early| early.is_settled);
        let (known, apart) = known.map(|early| (early.dialog, early.apart)).unzip();
        let confirmed = known.and_then(|mut dialog| dialog.confirm(response).is_ok().then_some(dialog));
        let is_heard = answered_by.as_deref() == Some(tag);
        if is_heard {
            self.changes.keep_early();
        } else {
            self.leave_branch(desk);
        }
        if let (Some(branch), Some(session)) = (apart.flatten().filter(|_| is_settled), &mut self.session) {
            session.choose(*branch);
        }
        let Some(dialog) = confirmed.or_else(|| desk.dialog_of(request, response)) else {
            // Without a Contact there is nowhere to send an ACK or a BYE to.
            return Step::End(given_up.unwrap_or(EndReason::BadSession));
        };
        let agreed = match given_up {
            Some(reason) => Err(reason),
            None => self.agree(cx, response, is_heard || is_settled, &dialog),
        };
        let body = agreed.as_ref().ok().cloned().flatten();
        let acked = desk.ack(cx, request, &dialog, tag, body);
        desk.add_dialog(&dialog, self.handle);
        match (agreed, acked) {
            (Ok(_), true) => {
                self.stage = Stage::Confirmed(Box::new(Talk::new(dialog)));
                self.packages.learn(response);
                desk.transfers.call_answered(self.handle, response);
                desk.transfers.call_goes_on(self.handle, Status::of(200), true);
                self.note_allow(response);
                self.timer.answered(cx.now, response);
                self.restart_timer(desk);
                self.apply(cx);
                cx.event(Event::Answered { call: self.handle });
                self.tell_hold(cx);
                self.try_change(desk, cx)
            }
            (Ok(_), false) => self.say_bye(desk, cx, dialog, EndReason::TransportFailed),
            (Err(reason), _) => self.say_bye(desk, cx, dialog, reason),
        }
    }

    /// The ACK for the 2xx with this tag can't be sent.
    fn ack_lost(&mut self, desk: &mut Desk, cx: &mut Context<'_>, tag: &str) -> Step {
        match self.talk_mut() {
            Some(talk) if talk.dialog.id().remote_tag == tag => {
                self.say_bye_now(desk, cx, EndReason::TransportFailed)
            }
            _ => Step::Stay,
        }
    }

    /// Brings offer and answer to their end with the 2xx. Returns the answer for the ACK, where the 2xx has the offer.
    fn agree(
        &mut self,
        cx: &mut Context<'_>,
        response: &Message,
        answered_early: bool,
        dialog: &Dialog,
    ) -> Result<Option<Bytes>, EndReason> {
        if answered_early {
            // RFC 3261 §13.2.1: "MUST treat the first session description it receives as the answer, and MUST ignore
            // any session descriptions in subsequent responses to the initial INVITE".
            return Ok(None);
        }
        let description = description_of(response).ok().flatten().ok_or(EndReason::BadSession)?;
        if let Some(session) = &mut self.session {
            session.rewind();
            if !session.has_offered() {
                // RFC 6337 §2.2: the INVITE had no offer, and another branch has made its own before.
                return session.answer(cx, description).map(Some).map_err(|_| EndReason::BadSession);
            }
            session.take_answer(description).map_err(|_| EndReason::BadSession)?;
            return Ok(None);
        }
        let next_hop = dialog.ack(0);
        let address = cx.local_ip_for(next_hop.next_hop()).ok_or(EndReason::TransportFailed)?;
        let session = self.session.insert(Session::lease(cx, address).ok_or(EndReason::Overload)?);
        session.answer(cx, description).map(Some).map_err(|_| EndReason::BadSession)
    }

    /// A final response other than 2xx to the INVITE that still waits.
    fn handle_refused(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        request: UaRequest,
        response: &Message,
        status: Status,
    ) -> Step {
        let sent = desk.requests.remove(&request);
        let calling = match &mut self.stage {
            Stage::Calling(calling) => calling,
            Stage::Cancelling { reason, .. } => return Step::End(*reason),
            Stage::Ringing(_) | Stage::Answered(_) | Stage::Confirmed(_) | Stage::Ending { .. } => {
                return Step::Stay;
            }
        };
        // RFC 3261 §13.2.2.3: the early dialogs end with the INVITE.
        calling.early.drain(..).for_each(|early| desk.forget_dialog(&early.dialog));
        self.leave_branch(desk);
        let Stage::Calling(calling) = &mut self.stage else { return Step::Stay };
        // RFC 3261 §21.5.4: "A client … receiving a 503 … SHOULD attempt to forward the request to an alternate server."
        if status.code() == 503
            && let Some(to) = calling.again.take()
        {
            return self.try_backup(desk, cx, to);
        }
        if status.code() == 422
            && self.timer.too_small(response)
            && let Some(sent) = sent
        {
            return self.ask_longer(desk, cx, sent);
        }
        let announcement = redirect::announcement(response, status, cx.settings.limits.branches);
        if let Some(uri) = announcement.clone() {
            cx.event(Event::ErrorInfo { call: self.handle, status, uri });
        }
        // Who sent us there wants to know that he was refused, and not that an announcement was heard.
        let is_own = self.ties.referred.is_none();
        let heard = announcement
            .filter(|uri| is_own && cx.settings.announcements.follows(uri, cx.settings.account.as_ref()));
        let redirects = redirects_of(cx, calling, sent.as_ref(), response, status, heard);
        let Some(sent) = sent.filter(|_| status.is_challenge()) else {
            return match redirects {
                Some(redirects) => self.try_elsewhere(desk, cx, redirects, EndReason::Refused(status)),
                None => Step::End(EndReason::Refused(status)),
            };
        };
        if calling.answered_by.take().is_some()
            && let Some(session) = &mut self.session
        {
            session.rewind();
        }
        let cseq = sent.draft.cseq().saturating_add(1);
        match desk.retry(cx, sent, response, cseq) {
            Ok(invite) => {
                calling.invite = invite;
                calling.redirects = redirects;
                Step::Stay
            }
            Err(error) => match redirects {
                Some(redirects) => self.try_elsewhere(desk, cx, redirects, error.end_reason(status)),
                None => Step::End(error.end_reason(status)),
            },
        }
    }

    /// A 422: the INVITE goes out again with the interval that it wants (RFC 4028 §7.4).
    fn ask_longer(&mut self, desk: &mut Desk, cx: &mut Context<'_>, mut sent: Sent) -> Step {
        self.ask_timer(cx.settings, &mut sent.draft);
        let cseq = sent.draft.cseq().saturating_add(1);
        let Stage::Calling(calling) = &mut self.stage else { return Step::Stay };
        if calling.answered_by.take().is_some()
            && let Some(session) = &mut self.session
        {
            session.rewind();
        }
        match desk.resend(cx, sent, cseq) {
            Ok(invite) => {
                calling.invite = invite;
                Step::Stay
            }
            Err(error) => Step::End(end_reason(error)),
        }
    }

    /// Gives up an INVITE that has no final response (RFC 3261 §9.1).
    pub(super) fn give_up(&mut self, desk: &mut Desk, cx: &mut Context<'_>, reason: EndReason) -> Step {
        let Stage::Calling(calling) = &mut self.stage else { return Step::Stay };
        let invite = calling.invite;
        desk.forget_early(invite, &std::mem::take(&mut calling.early));
        self.stage = Stage::Cancelling { invite, reason };
        self.release(cx);
        desk.deadlines.stop(Wake::Unanswered(self.handle));
        let over = cx.now + cx.settings.timers.transaction_timeout();
        desk.deadlines.start(Wake::CancelOver(self.handle), over);
        cx.cancel(invite, None);
        Step::Stay
    }

    /// 64·T1 have passed since the CANCEL: "the client SHOULD then consider the original transaction cancelled"
    /// (RFC 3261 §9.1).
    pub(super) fn cancel_over(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        let Stage::Cancelling { invite, reason } = &self.stage else { return Step::Stay };
        desk.abandon(cx, *invite);
        Step::End(*reason)
    }
}

/// What a 182 says of the queue. RFC 3261 §21.1.4: "The reason phrase MAY give further details about the status of the
/// call".
fn queue_of(response: &Message, status: Status) -> SmolStr {
    if status.code() != 182 {
        return SmolStr::default();
    }
    let text = String::from_utf8_lossy(response.reason());
    let text = text.trim();
    if text.eq_ignore_ascii_case(status.reason()) {
        return SmolStr::default();
    }
    text.chars().filter(|character| !character.is_control()).take(QUEUE_WORDS_MAX).collect()
}

/// Where a call goes on that was refused: what was left, with the contacts of a 3xx.
fn redirects_of(
    cx: &Context<'_>,
    calling: &mut Calling,
    sent: Option<&Sent>,
    response: &Message,
    status: Status,
    announcement: Option<UriBuf>,
) -> Option<Box<Redirects>> {
    let draft = &sent?.draft;
    let names_places = redirect::names_places(status);
    let known = calling.redirects.take();
    let begin = || {
        // With a strict router in front the Request-URI is not that of the peer; then it is not known to be tried.
        let uri = UriBuf::parse(draft.uri()).ok()?;
        Some(Box::new(Redirects::new(draft, &uri)))
    };
    let mut redirects = known.or_else(|| (names_places || announcement.is_some()).then(begin).flatten())?;
    redirects.set_cseq(draft.cseq());
    if names_places {
        redirects.add(response, status, cx.settings.limits.branches);
    }
    // §21.6: who answers with 6xx knows that there is no other place.
    if status.class() == 6 {
        redirects.give_up_places();
    }
    if let Some(uri) = announcement {
        redirects.add_announcement(uri, cx.settings.limits.branches);
    }
    Some(redirects)
}

impl Desk {
    /// Takes an INVITE out of the table when its transaction has ended by itself.
    pub(super) fn abandon_record(&mut self, request: UaRequest) {
        self.deadlines.stop(Wake::InviteOver(request));
        self.requests.remove(&request);
    }

    fn acks_mut(&mut self, request: UaRequest) -> Option<&mut Vec<(SmolStr, Option<Transmit>)>> {
        match &mut self.requests.get_mut(&request)?.purpose {
            Purpose::Invite { acks, .. } => Some(acks),
            Purpose::Register
            | Purpose::Options { .. }
            | Purpose::Capabilities { .. }
            | Purpose::Reinvite { .. }
            | Purpose::Refer { .. }
            | Purpose::Notify { .. }
            | Purpose::Info { .. }
            | Purpose::InDialog { .. }
            | Purpose::Bye { .. } => None,
        }
    }

    /// Forgets early dialogs of an INVITE that may still get a 2xx of each.
    fn forget_early(&mut self, invite: UaRequest, early: &[Early]) {
        early.iter().for_each(|early| self.forget_dialog(&early.dialog));
        if let Some(sent) = self.requests.get_mut(&invite) {
            let last = early.iter().map(|early| early.dialog.last_cseq()).max();
            sent.early_cseq = sent.early_cseq.max(last.unwrap_or(0));
        }
    }

    /// The dialog that a response to an INVITE of ours makes; `None` when it makes none. A PRACK or an UPDATE may have been
    /// sent in it when it was an early one.
    fn dialog_of(&self, request: UaRequest, response: &Message) -> Option<Dialog> {
        let sent = self.requests.get(&request)?;
        let mut dialog = Dialog::uac(&sent.message()?, response).ok()?;
        dialog.go_on_after(sent.early_cseq);
        Some(dialog)
    }

    /// Sends the ACK for a 2xx and keeps it for when the 2xx comes again. Says whether it was sent, or will be once its
    /// next hop is found.
    fn ack(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        dialog: &Dialog,
        tag: &str,
        body: Option<Bytes>,
    ) -> bool {
        let Some(sent) = self.requests.get(&request) else { return false };
        let ack = sent.add_credentials(dialog.ack(sent.draft.cseq()));
        let ack = match body {
            Some(body) => ack.body(SDP, body),
            None => ack,
        };
        let sent = cx.send_ack(request, tag, &ack);
        let is_sent = sent.is_ok();
        if let Some(acks) = self.acks_mut(request) {
            acks.push((SmolStr::new(tag), sent.ok().flatten()));
        }
        is_sent
    }
}

/// Begins a request of ours outside any dialog (RFC 3261 §8.1.1), by way of the account's proxy.
pub(super) fn out_of_dialog(cx: &mut Context<'_>, method: Method, uri: UriBuf, to: &str) -> Draft {
    let (tag, call_id) = (cx.token(), cx.token());
    let account = cx.settings.account.as_ref();
    let from = match account {
        Some(account) => {
            let display = account.display_name.as_deref().map(quoted).unwrap_or_default();
            format_smolstr!("{display}<{}>;tag={tag}", account.aor)
        }
        // RFC 3323 §4.1.1.3: for those who have no name to give.
        None => format_smolstr!("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag={tag}"),
    };
    let draft =
        Draft::new(method, uri, &from, to, &call_id, 1).header(HeaderName::UserAgent, &cx.settings.product);
    match account.and_then(|account| account.proxy.as_ref()).and_then(preloaded) {
        Some(routes) => draft.with_routes(&routes),
        None => draft,
    }
}

/// The proxy as a route set of one loose router (RFC 3261 §8.1.1.1, §8.1.2).
pub(crate) fn preloaded(proxy: &UriBuf) -> Option<RouteSet> {
    let is_loose = proxy.uri().as_sip()?.is_loose_router();
    let route = format!("<{proxy}{}>", if is_loose { "" } else { ";lr" });
    RouteSet::preloaded([route.as_str()]).ok()
}

/// A display name as a quoted string (RFC 3261 §25.1) and a blank.
pub(super) fn quoted(name: &str) -> String {
    let mut out = String::from("\"");
    for character in name.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push_str("\" ");
    out
}
