//! Requests within a dialog, of the peer and of ours: BYE, re-INVITE, OPTIONS (RFC 3261 §12.2, §14.2, §15).

use dialtone_dialog::session_timer::Grant;
use dialtone_dialog::{Dialog, DialogId};
use dialtone_transaction::ServerId;
use dialtone_wire::headers::NameAddr;
use dialtone_wire::net::Flow;
use dialtone_wire::{HeaderName, Message, Method, Status};

use super::call::{Call, Stage, Step, Unacked};
use super::desk::{Desk, NotRetried, Purpose, Sent, end_reason};
use super::incoming::answer_headers;
use super::refusal::{
    Refusal, SDP, check_accept, check_method, check_require, check_size, description_of, offer_pending,
};
use super::{Ua, transfer};
use crate::context::{Context, SendError, UaRequest};
use crate::io::{CallHandle, EndReason, Side};
use crate::registrar::is_behind_nat;

/// A request within a dialog, with what its answer needs.
#[derive(Clone, Copy)]
pub(super) struct Incoming<'a> {
    pub(super) server: ServerId,
    pub(super) request: &'a Message,
    pub(super) flow: Flow,
}

impl Incoming<'_> {
    pub(super) fn refuse(&self, cx: &mut Context<'_>, refusal: &Refusal) -> Step {
        refusal.send(cx, self.server, self.request, None);
        Step::Stay
    }

    pub(super) fn accept(&self, cx: &mut Context<'_>) {
        self.respond_200(cx, None);
    }

    /// Accepts it with the answer to its offer.
    pub(super) fn accept_with(&self, cx: &mut Context<'_>, answer: &[u8]) {
        self.respond_200(cx, Some((SDP, answer)));
    }

    fn respond_200(&self, cx: &mut Context<'_>, body: Option<(&str, &[u8])>) {
        let product = cx.settings.product.clone();
        let headers = |writer: &mut dialtone_wire::Writer| {
            writer.header(HeaderName::Server, product);
        };
        // A transaction that is gone needs no answer any more.
        let _ = cx.respond(self.server, self.request, Status::of(200), None, headers, body);
    }
}

impl Ua {
    /// A request with a To tag (RFC 3261 §12.2.2).
    pub(super) fn handle_in_dialog(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        flow: Flow,
    ) {
        let incoming = Incoming { server, request, flow };
        let id = DialogId::of_request(request).ok();
        let found = id.and_then(|id| self.desk.dialogs.get(&id).map(|call| (*call, id.remote_tag)));
        let beside = transfer::Incoming { server, request, flow };
        let Some((handle, remote_tag)) = found else {
            return self.handle_beside_calls(cx, beside, DialogId::of_request(request).ok());
        };
        if let Some(Method::Refer | Method::Notify | Method::Subscribe | Method::Info) = request.method() {
            return self.handle_beside_call(cx, beside, handle, &remote_tag);
        }
        self.with_call(cx, handle, |call, desk, cx| {
            let Some(dialog) = call.dialog_mut(&remote_tag) else {
                return incoming.refuse(cx, &Refusal::new(481));
            };
            if let Err(error) = dialog.check_request(request) {
                return incoming.refuse(cx, &Refusal::new(error.status().code()));
            }
            let checked = request.method().map_or(Ok(()), check_method).and_then(|()| check_require(request));
            let checked = checked.and_then(|()| transfer::check_no_replaces(request));
            if let Err(refusal) = checked {
                return incoming.refuse(cx, &refusal);
            }
            match request.method() {
                Some(Method::Bye) => call.handle_bye(desk, cx, &incoming, &remote_tag),
                Some(Method::Invite) => call.handle_reinvite(desk, cx, &incoming),
                Some(Method::Prack) => call.handle_prack(desk, cx, &incoming),
                Some(Method::Update) => call.handle_update(desk, cx, &incoming, &remote_tag),
                Some(Method::Options) => {
                    super::options::answer(cx, server, request, flow, false);
                    Step::Stay
                }
                _ => incoming.refuse(cx, &Refusal::new(481)),
            }
        });
    }

    /// A final response to a BYE of ours, or none.
    pub(super) fn handle_bye_response(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        response: Option<&Message>,
    ) {
        let Some(sent) = self.desk.requests.remove(&request) else { return };
        let Purpose::Bye { call: Some(handle) } = sent.purpose else {
            self.retry_stray_bye(cx, sent, response);
            return;
        };
        self.with_call(cx, handle, |call, desk, cx| {
            let Stage::Ending { dialog, bye, reason } = &mut call.stage else { return Step::Stay };
            if let Some(response) =
                response.filter(|response| response.status().is_some_and(Status::is_challenge))
            {
                let cseq = dialog.next_cseq();
                if let Ok(again) = desk.retry(cx, sent, response, cseq) {
                    *bye = again;
                    return Step::Stay;
                }
            }
            // RFC 3261 §15.1.1: whatever the answer, the session and the dialog are over.
            Step::End(*reason)
        });
    }

    fn retry_stray_bye(&mut self, cx: &mut Context<'_>, sent: Sent, response: Option<&Message>) {
        let challenge = response.filter(|response| response.status().is_some_and(Status::is_challenge));
        if let Some(response) = challenge {
            let cseq = sent.draft.cseq().saturating_add(1);
            // If it can't be authenticated, nothing more can be done for a dialog that is no call of ours.
            let _: Result<UaRequest, NotRetried> = self.desk.retry(cx, sent, response, cseq);
        }
    }
}

impl Call {
    /// The peer hangs up (RFC 3261 §15.1.2).
    fn handle_bye(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        incoming: &Incoming<'_>,
        remote_tag: &str,
    ) -> Step {
        incoming.accept(cx);
        match &mut self.stage {
            // One branch of the fork leaves; the INVITE goes on.
            Stage::Calling(_) => self.lose_branch(desk, cx, remote_tag),
            Stage::Cancelling { .. } => Step::Stay,
            // "it is RECOMMENDED that a 487 (Request Terminated) response be generated to those pending requests."
            Stage::Ringing(_) => self.refuse(cx, Status::of(487), EndReason::Cancelled),
            Stage::Answered(talk) | Stage::Confirmed(talk) => {
                if let Some(invite) = self.changes.invite() {
                    desk.limit_invite(cx, invite);
                }
                Step::End(if talk.hung_up { self.ties.hangup_reason() } else { EndReason::RemoteHangup })
            }
            // Both hung up at once: both get their 200, and ours is still to come.
            Stage::Ending { .. } => Step::Stay,
        }
    }

    /// The peer changes the session, or only refreshes its address (RFC 3261 §14.2).
    fn handle_reinvite(&mut self, desk: &mut Desk, cx: &mut Context<'_>, incoming: &Incoming<'_>) -> Step {
        match &self.stage {
            Stage::Answered(_) | Stage::Confirmed(_) => {}
            // The first INVITE has no final response yet.
            Stage::Ringing(_) => {
                let refusal = offer_pending(cx.random_u64());
                return incoming.refuse(cx, &refusal);
            }
            Stage::Calling(_) | Stage::Cancelling { .. } => return incoming.refuse(cx, &Refusal::new(491)),
            // RFC 5407 §3.2.2.
            Stage::Ending { .. } => return incoming.refuse(cx, &Refusal::new(481)),
        }
        // RFC 3261 §14.2 for a re-INVITE of ours; RFC 5407 §3.1.5 for an offer of ours in a 2xx without ACK.
        let may_offer = match self.changes.invite() {
            Some(_) => Err(Refusal::new(491)),
            None => self.may_offer(cx, ""),
        };
        let grant = match may_offer.and_then(|()| self.grant(cx.settings, incoming.request)) {
            Ok(grant) => grant,
            Err(refusal) => return incoming.refuse(cx, &refusal),
        };
        let checked = check_size(cx.settings, incoming.request).and_then(|()| check_accept(incoming.request));
        let offer = match checked.and_then(|()| description_of(incoming.request)) {
            Ok(offer) => offer,
            Err(refusal) => return incoming.refuse(cx, &refusal),
        };
        let Some(mut dialog) = self.talk_mut().map(|talk| talk.dialog.clone()) else { return Step::Stay };
        if dialog.refresh_target(incoming.request).is_err() {
            return incoming.refuse(cx, &Refusal::new(400));
        }
        let is_same = offer.is_some_and(|offer| self.offers_the_same(offer));
        let Some(session) = &mut self.session else { return incoming.refuse(cx, &Refusal::new(488)) };
        let described = match offer {
            Some(offer) => session.answer(cx, offer),
            None => session.offer_again(cx),
        };
        let description = match described {
            Ok(description) => description,
            Err(error) => {
                let refusal = error.refusal(cx.settings);
                return incoming.refuse(cx, &refusal);
            }
        };
        if let Some(talk) = self.talk_mut() {
            talk.dialog = dialog;
        }
        self.packages.learn(incoming.request);
        self.note_allow(incoming.request);
        // It moves with the phone; a proxy that comes between has its Record-Route in the dialog from its start.
        self.flow = own_flow(incoming.request, incoming.flow);
        let step = self.accept_reinvite(desk, cx, incoming, &description, offer.is_none(), grant);
        match offer {
            Some(_) if is_same => self.refreshed(cx, Side::Remote),
            Some(_) => self.session_changed(cx),
            // The ACK brings the answer.
            None => {}
        }
        step
    }

    fn accept_reinvite(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        incoming: &Incoming<'_>,
        description: &[u8],
        offers: bool,
        grant: Option<Grant>,
    ) -> Step {
        // RFC 5407 §3.1.4: the peer has sent its ACK for our first 2xx, since it goes on with the dialog.
        self.confirm(cx);
        let headers = answer_headers(cx, incoming.request, &incoming.flow, &self.contact_user, grant);
        let body = Some((SDP, description));
        let sent = cx.respond(incoming.server, incoming.request, Status::of(200), None, headers, body);
        let interval = cx.settings.timers.t1();
        let cseq = incoming.request.cseq().map(|cseq| cseq.number);
        let (Some(transmit), Ok(cseq), Some(talk)) = (sent, cseq, self.talk_mut()) else {
            return Step::Stay;
        };
        talk.unacked = Some(Unacked { cseq, transmit, interval, offers });
        self.start_repeating(desk, cx);
        self.granted(desk, cx, incoming.request, grant);
        Step::Stay
    }

    /// Ends a call whose dialog is confirmed. Between our 2xx and its ACK no BYE may be sent (RFC 3261 §15): it
    /// follows the ACK.
    pub(super) fn hang_up(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        match &mut self.stage {
            Stage::Calling(_) => self.give_up(desk, cx, EndReason::LocalHangup),
            Stage::Ringing(_) => self.refuse(cx, Status::of(603), EndReason::LocalHangup),
            Stage::Answered(talk) => {
                talk.hung_up = true;
                self.release(cx);
                Step::Stay
            }
            Stage::Confirmed(_) => self.say_bye_now(desk, cx, EndReason::LocalHangup),
            Stage::Cancelling { .. } | Stage::Ending { .. } => Step::Stay,
        }
    }

    /// Sends BYE in the dialog of the session in use.
    pub(super) fn say_bye_now(&mut self, desk: &mut Desk, cx: &mut Context<'_>, reason: EndReason) -> Step {
        if let Some(invite) = self.changes.invite() {
            desk.limit_invite(cx, invite);
        }
        let Some(talk) = self.talk_mut() else { return Step::Stay };
        let dialog = talk.dialog.clone();
        self.say_bye(desk, cx, dialog, reason)
    }

    /// Sends BYE. RFC 3261 §15.1.1: the session ends "as soon as the BYE request is passed to the client transaction".
    pub(super) fn say_bye(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        mut dialog: Dialog,
        reason: EndReason,
    ) -> Step {
        self.release(cx);
        self.leave_answer(desk, cx);
        desk.deadlines.stop_call(self.handle);
        let sent = desk.bye(cx, &mut dialog, Some(self.handle), self.flow);
        desk.add_dialog(&dialog, self.handle);
        match sent {
            Ok(bye) => {
                self.stage = Stage::Ending { dialog: Box::new(dialog), bye, reason };
                Step::Stay
            }
            Err(error) => {
                desk.forget_dialog(&dialog);
                Step::End(if reason == EndReason::LocalHangup { end_reason(error) } else { reason })
            }
        }
    }
}

/// The flow of an INVITE, if requests of ours in its dialog go there instead of to its Contact: the phone has sent it
/// itself, over a connection that it opened or from behind a NAT (RFC 5626 §5.3, in the spirit of RFC 3581).
pub(crate) fn own_flow(invite: &Message, flow: Flow) -> Option<Flow> {
    if invite.has(HeaderName::RecordRoute) || invite.values(HeaderName::Via).count() != 1 {
        return None;
    }
    let contact = NameAddr::parse(invite.value(HeaderName::Contact)?).ok()?;
    // RFC 3261 §12.1.1: what is secure goes where the URI says.
    let is_secure = contact.uri.as_sip().is_none_or(|uri| uri.secure);
    let is_only_way = flow.transport.is_reliable() || is_behind_nat(&contact, flow, invite);
    (!is_secure && is_only_way).then_some(flow)
}

impl Desk {
    /// Sends BYE within a dialog.
    pub(super) fn bye(
        &mut self,
        cx: &mut Context<'_>,
        dialog: &mut Dialog,
        call: Option<CallHandle>,
        flow: Option<Flow>,
    ) -> Result<UaRequest, SendError> {
        let draft = dialog.request(Method::Bye).header(HeaderName::UserAgent, &cx.settings.product);
        self.send_over(cx, draft, None, Purpose::Bye { call }, flow)
    }
}
