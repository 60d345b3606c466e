//! The user agent (RFC 3261 §8, §10.2, §11–§15): a phone, and the robots of a server.
//!
//! The engine hands it requests for us, responses to our requests, the commands of the owner and the time; it answers
//! through its [`Context`]. A call is one state machine ([`call`]); what calls share lies on one desk ([`desk`]).

use dialtone_dialog::DialogId;
use dialtone_transaction::ServerId;
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::{Message, Method, Status};
use smol_str::SmolStr;

use crate::context::{Context, Failure, UaRequest};
use crate::io::{CallHandle, ChangeBy, Command, EndReason, Event, HoldForm};
use crate::listing::{ListedCall, Page};
use crate::settings::Robot;

mod call;
mod conference;
mod deadlines;
mod desk;
mod in_dialog;
mod incoming;
mod info;
mod leftover;
mod options;
mod outgoing;
mod prack;
mod redirect;
mod refusal;
pub(crate) mod registration;
mod reoffer;
mod session;
mod table;
#[cfg(test)]
mod tests;
mod timer;
mod transfer;
mod update;

use call::{Call, Stage, Step};
use conference::Conferences;
use deadlines::Wake;
use desk::{Desk, Purpose};
pub(crate) use in_dialog::own_flow;
pub(crate) use outgoing::preloaded;
use refusal::{Refusal, check_method, check_require};
use registration::Registration;
use reoffer::What;
use table::Calls;

/// What became of a server transaction that the user agent had to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerEvent {
    /// A final response other than 2xx was never acknowledged (Timer H).
    NoAck,
    /// A response could not be sent.
    TransportFailed,
    /// The transaction is gone.
    Terminated,
}

/// The user agent of one shard.
#[derive(Debug)]
pub(crate) struct Ua {
    calls: Calls,
    desk: Desk,
    conferences: Conferences,
    registration: Registration,
}

impl Ua {
    /// A user agent without calls.
    pub(crate) fn new() -> Ua {
        Ua {
            calls: Calls::default(),
            desk: Desk::new(),
            conferences: Conferences::default(),
            registration: Registration::default(),
        }
    }

    /// Does what the owner wants. A command for a call that is over, or whose state does not fit, changes nothing.
    pub(crate) fn command(&mut self, cx: &mut Context<'_>, command: Command) {
        match command {
            Command::Register => self.register(cx),
            Command::Unregister => self.unregister(cx),
            Command::Call { token, to, play } => self.start_call(cx, token, to, play),
            Command::CallToJoin { token, to, play, joins } => self.call_to_join(cx, token, to, play, &joins),
            Command::CallIn { token, to, play, call } => self.call_in(cx, token, to, play, call),
            Command::Join { call, with } => self.join(cx, call, with),
            Command::Focus { call, hold } => self.focus(cx, call, hold),
            Command::Answer { call, play } => self.answer_call(cx, call, play),
            Command::Decline { call, status } => {
                let status = if status.code() < 300 { Status::of(603) } else { status };
                self.with_call(cx, call, |call, _, cx| call.refuse(cx, status, EndReason::LocalHangup));
            }
            Command::Hangup { call } => self.with_call(cx, call, |call, desk, cx| call.hang_up(desk, cx)),
            Command::Reoffer { call, hold } => {
                let hold = hold.then_some(HoldForm::Direction);
                self.with_call(cx, call, |call, desk, cx| call.want_hold(desk, cx, hold, ChangeBy::Invite));
            }
            Command::Hold { call, form, by } => {
                self.with_call(cx, call, |call, desk, cx| call.want_hold(desk, cx, Some(form), by));
            }
            Command::Resume { call, by } => {
                self.with_call(cx, call, |call, desk, cx| call.want_hold(desk, cx, None, by));
            }
            Command::Refresh { call, by } => {
                self.with_call(cx, call, |call, desk, cx| call.want(desk, cx, What::Refresh, by));
            }
            Command::Video { call, on, by } => {
                self.with_call(cx, call, |call, desk, cx| call.want_video(desk, cx, on, by));
            }
            Command::Progress { call, play } => {
                self.with_call(cx, call, |call, desk, cx| call.progress(desk, cx, play));
            }
            Command::Options { token, to } => self.ask_options(cx, token, to),
            Command::Transfer { call, to } => self.transfer(cx, call, to),
            Command::Music { call, source } => self.play_music(cx, call, source),
            Command::AnswerTransfer { referral, accept, play } => {
                self.answer_transfer(cx, referral, accept, play);
            }
            Command::SendInfo { call, package, content_type, body } => {
                self.send_info(cx, call, package, &content_type, body);
            }
            Command::SendDigit { call, digit, duration_ms, form } => {
                self.send_digit(cx, call, digit, duration_ms, form);
            }
        }
    }

    /// A response to a request of ours: each provisional one, the final one, and each 2xx to an INVITE.
    pub(crate) fn handle_response(&mut self, cx: &mut Context<'_>, request: UaRequest, response: &Message) {
        let (Some(sent), Some(status)) = (self.desk.requests.get(&request), response.status()) else {
            return;
        };
        match sent.purpose {
            Purpose::Register => self.handle_register_response(cx, request, response, status),
            Purpose::Options { token } => self.handle_options_response(cx, request, token, Some(response)),
            Purpose::Capabilities { call } => self.handle_capabilities(cx, request, call, Some(response)),
            Purpose::Invite { call, .. } => self.handle_invite_response(cx, request, call, response, status),
            Purpose::Reinvite { call, .. } => {
                self.handle_reinvite_response(cx, request, call, response, status);
            }
            Purpose::Refer { transfer } => {
                self.handle_refer_response(cx, request, transfer, response, status);
            }
            Purpose::Notify { referral } => {
                self.handle_notify_response(cx, request, referral, Some(response))
            }
            Purpose::Info { call } => self.handle_info_response(cx, request, call, Some(response)),
            Purpose::InDialog { call, .. } => {
                self.handle_in_dialog_response(cx, request, call, response, status);
            }
            Purpose::Bye { .. } if status.is_provisional() => {}
            Purpose::Bye { .. } => self.handle_bye_response(cx, request, Some(response)),
        }
    }

    /// No response will come to a request of ours.
    pub(crate) fn handle_failure(&mut self, cx: &mut Context<'_>, request: UaRequest, failure: Failure) {
        if self.desk.leave_flow(cx, request, failure) {
            return;
        }
        let Some(sent) = self.desk.requests.get(&request) else { return };
        match sent.purpose {
            Purpose::Register => self.handle_register_failure(cx, request, failure),
            Purpose::Options { token } => self.handle_options_response(cx, request, token, None),
            Purpose::Capabilities { call } => self.handle_capabilities(cx, request, call, None),
            Purpose::Invite { call, .. } => self.handle_invite_failure(cx, request, call, failure),
            Purpose::Refer { transfer } => self.handle_refer_failure(cx, request, transfer, failure),
            Purpose::Notify { referral } => self.handle_notify_response(cx, request, referral, None),
            Purpose::Info { call } => self.handle_info_response(cx, request, call, None),
            Purpose::Reinvite { call, .. } | Purpose::InDialog { call, .. } => {
                self.handle_change_failure(cx, request, call, failure);
            }
            Purpose::Bye { .. } => self.handle_bye_response(cx, request, None),
        }
    }

    /// A new request for us, other than ACK and CANCEL. `as_robot` is the robot that it was sent to.
    pub(crate) fn handle_request(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        flow: Flow,
        as_robot: Option<&Robot>,
    ) {
        let has_tag = request.to().is_ok_and(|to| to.tag().is_some());
        if has_tag {
            return self.handle_in_dialog(cx, server, request, flow);
        }
        let Some(method) = request.method() else { return };
        // RFC 3261 §8.2 in its order: method, then headers.
        let checked = check_method(method).and_then(|()| match method {
            Method::Invite => Ok(()),
            _ => incoming::check_merged(cx, server, request)
                .and_then(|()| check_require(request))
                .and_then(|()| transfer::check_no_replaces(request)),
        });
        match (checked, method) {
            (Err(refusal), _) => refusal.send(cx, server, request, None),
            (Ok(()), Method::Invite) => self.handle_invite(cx, server, request, flow, as_robot),
            (Ok(()), Method::Options) => {
                let busy = self.calls.len() >= cx.settings.limits.calls;
                options::answer(cx, server, request, flow, busy);
            }
            (Ok(()), Method::Refer) => {
                self.handle_refer_outside(cx, transfer::Incoming { server, request, flow });
            }
            (Ok(()), Method::Subscribe) => transfer::no_subscription(request).send(cx, server, request, None),
            // What is left belongs into a dialog: BYE (RFC 3261 §15.1.2), INFO (RFC 6086 §4.2.1), and NOTIFY, since
            // nobody has subscribed (RFC 6665 §4.1.3).
            (Ok(()), _) => Refusal::new(481).send(cx, server, request, None),
        }
    }

    /// An ACK that no server transaction took: that for a 2xx. Says whether it belongs to a dialog of ours.
    pub(crate) fn handle_ack(&mut self, cx: &mut Context<'_>, ack: &Message) -> bool {
        if self.desk.dialogs.is_empty() && self.desk.leftovers.is_empty() {
            return false;
        }
        let Ok(id) = DialogId::of_request(ack) else { return false };
        if self.desk.leftover_acknowledged(&id, ack) {
            return true;
        }
        let Some(&handle) = self.desk.dialogs.get(&id) else { return false };
        self.with_call(cx, handle, |call, desk, cx| call.handle_ack(desk, cx, ack));
        true
    }

    /// The CANCEL for an INVITE of the peer, which the engine has answered with 200.
    pub(crate) fn handle_cancel(&mut self, cx: &mut Context<'_>, invite: ServerId) {
        self.cancelled(cx, invite);
    }

    /// What became of a server transaction.
    pub(crate) fn handle_server_event(&mut self, cx: &mut Context<'_>, server: ServerId, event: ServerEvent) {
        match event {
            // RFC 6026 §8.8 keeps the transaction, and so do we: over UDP the next copy of the INVITE fetches the 180
            // again. Where no copy will come the call is over, and its transaction gets its final response. An
            // answer that could not be sent is repeated by its call.
            ServerEvent::TransportFailed => {
                let Some(&handle) = self.desk.servers.get(&server) else { return };
                self.with_call(cx, handle, |call, _, cx| call.not_told(cx));
            }
            ServerEvent::Terminated => {
                let Some(&handle) = self.desk.servers.get(&server) else { return };
                self.with_call(cx, handle, |_, _, _| Step::End(EndReason::TransportFailed));
            }
            // The call ended with the refusal that was not acknowledged.
            ServerEvent::NoAck => {}
        }
    }

    /// Whether a request belongs to a dialog of ours.
    pub(crate) fn owns_dialog(&self, request: &Message) -> bool {
        let is_none = self.desk.dialogs.is_empty() && self.desk.transfers.has_no_dialogs();
        !is_none
            && DialogId::of_request(request)
                .is_ok_and(|id| self.desk.dialogs.contains_key(&id) || self.desk.transfers.owns_dialog(&id))
    }

    /// Our tag in the dialog that the caller with this From tag began.
    pub(crate) fn tag_towards(&self, request: &Message) -> Option<SmolStr> {
        let call_id = SmolStr::new(request.call_id().ok()?);
        let from = request.from().ok()?;
        let first = DialogId { call_id, local_tag: SmolStr::default(), remote_tag: SmolStr::default() };
        let dialogs = self.desk.dialogs.range(&first..).map(|(id, _)| id);
        let mut of_call = dialogs.take_while(|id| id.call_id == first.call_id);
        let towards = of_call.find(|id| id.remote_tag == from.tag().unwrap_or_default());
        towards.map(|id| id.local_tag.clone())
    }

    /// Lets every timer fire that is due.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        while let Some(wake) = self.desk.deadlines.take_due(cx.now) {
            match wake {
                Wake::Registration => self.registration_due(cx),
                Wake::InviteOver(request) => self.desk.abandon(cx, request),
                Wake::RepeatAnswer(call) => {
                    self.with_call(cx, call, |call, desk, cx| call.repeat_answer(desk, cx));
                }
                Wake::NoAck(call) => self.with_call(cx, call, |call, desk, cx| call.no_ack(desk, cx)),
                Wake::RepeatRinging(call) => self.with_call(cx, call, |call, desk, cx| call.ring(desk, cx)),
                Wake::Unanswered(call) => {
                    self.with_call(cx, call, |call, desk, cx| call.unanswered(desk, cx));
                }
                Wake::CancelOver(call) => {
                    self.with_call(cx, call, |call, desk, cx| call.cancel_over(desk, cx));
                }
                Wake::Leftover(number) => self.desk.repeat_leftover(cx, number),
                Wake::HangUp(call) => self.with_call(cx, call, |call, desk, cx| call.hang_up(desk, cx)),
                Wake::Transfer(id) => self.transfer_over(cx, id),
                Wake::Reoffer(call) => self.with_call(cx, call, |call, desk, cx| call.glare_over(desk, cx)),
                Wake::Reliable(call) => {
                    self.with_call(cx, call, |call, desk, cx| call.reliable_due(desk, cx));
                }
                Wake::Session(call) => self.with_call(cx, call, |call, desk, cx| call.timer_due(desk, cx)),
            }
        }
    }

    /// The next deadline and what it is for. Changes with each call that takes a [`Context`].
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.desk.deadlines.next()
    }

    /// Ends every call, each as its state asks for.
    pub(crate) fn hang_up_all(&mut self, cx: &mut Context<'_>) {
        for handle in self.calls.handles() {
            self.with_call(cx, handle, |call, desk, cx| call.hang_up(desk, cx));
        }
    }

    /// How many calls there are, with those whose last request has no answer yet.
    pub(crate) const fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The calls in `count` slots from this one on.
    pub(crate) fn page(&self, from: u32, count: usize) -> Page<ListedCall, u32> {
        let (calls, next) = self.calls.page(from, count);
        Page { entries: calls.map(Call::listed).collect(), next }
    }

    /// Gives a call something to do, and ends it if that was its end.
    fn with_call(
        &mut self,
        cx: &mut Context<'_>,
        handle: CallHandle,
        act: impl FnOnce(&mut Call, &mut Desk, &mut Context<'_>) -> Step,
    ) {
        let Some(call) = self.calls.get_mut(handle) else { return };
        let conference = call.contact_user.conference().cloned();
        let step = act(call, &mut self.desk, cx);
        let conference = conference.or_else(|| call.contact_user.conference().cloned());
        match step {
            Step::Stay => {}
            Step::End(reason) => self.end(cx, handle, reason),
        }
        if let Some(name) = conference {
            self.settle_conference(cx, &name);
        }
        self.settle_transfers(cx);
    }

    /// The one place where calls end: ports, tables and timers are given back.
    fn end(&mut self, cx: &mut Context<'_>, handle: CallHandle, reason: EndReason) {
        let Some(mut call) = self.calls.remove(handle) else { return };
        call.release(cx);
        self.leave_transfers(cx, &mut call, reason);
        call.forget(&mut self.desk, cx);
        cx.event(Event::Ended { call: handle, reason });
        self.leave_conference(cx, &call);
    }
}

impl Call {
    /// Nobody has answered for longer than any proxy waits.
    fn unanswered(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        match &self.stage {
            Stage::Calling(_) => self.give_up(desk, cx, EndReason::NoResponse),
            Stage::Ringing(_) => self.refuse(cx, Status::of(480), EndReason::NoResponse),
            Stage::Cancelling { .. } | Stage::Answered(_) | Stage::Confirmed(_) | Stage::Ending { .. } => {
                Step::Stay
            }
        }
    }
}

#[cfg(test)]
impl Ua {
    /// Whether no table holds anything.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.calls.len() == 0 && self.desk.is_at_rest() && self.conferences.is_empty()
    }
}
