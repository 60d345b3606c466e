//! Changes of the session that we ask for, by re-INVITE (RFC 3261 §14.1), UPDATE (RFC 3311) or PRACK (RFC 3262 §5), and
//! their glare.

use std::time::Duration;

use dialtone_dialog::ends_call;
use dialtone_dialog::reliable::{Came, ReliableReceiver};
use dialtone_wire::headers::RSeq;
use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::SmolStr;

use super::Ua;
use super::call::{Call, Stage, Step};
use super::deadlines::Wake;
use super::desk::{Desk, Purpose, Sent};
use super::prack::Prack;
use super::refusal::{ALLOW, SDP, SUPPORTED, description_of};
use super::session::{Change, Hold, Session};
use crate::context::{Context, Failure, UaRequest};
use crate::io::{CallHandle, ChangeBy, EndReason, Event, HoldForm, Side};

/// How often a change is tried again that met a 491, or a 500 with Retry-After: RFC 3261 §14.1 "once more". As often is one
/// taken back that was refused after it was agreed to.
const RETRIES_MAX: u8 = 1;
/// The longest Retry-After that a change waits for; RFC 3311 §5.2 has nobody ask for more than 10 seconds.
const RETRY_AFTER_S_MAX: u32 = 32;

/// Changes of the session that we ask for.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) pending: Pending,
    /// What was asked for and has not been sent.
    pub(super) wanted: Option<Wanted>,
    /// What the branch of a fork that is heard has agreed to before any answered.
    early: Option<Wanted>,
    retries: u8,
}

/// A change that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) what: What,
    pub(super) by: ChangeBy,
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The session is offered anew.
    Offer(Change),
    /// Nothing: the session goes on.
    Refresh,
}

impl What {
    /// Both; an offer refreshes the session too.
    fn and(self, later: What) -> What {
        match (self, later) {
            (What::Offer(change), What::Offer(later)) => What::Offer(change.and(later)),
            (What::Offer(change), What::Refresh) | (What::Refresh, What::Offer(change)) => {
                What::Offer(change)
            }
            (What::Refresh, What::Refresh) => What::Refresh,
        }
    }
}

/// A change that is under way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Pending {
    /// There is none.
    #[default]
    None,
    /// Its request waits for its final response.
    Sent(Asked),
    /// It met a 491, and the timer of RFC 3261 §14.1 runs; or a 500 with Retry-After.
    Waiting,
}

/// A request that changes the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) request: UaRequest,
    pub(super) method: Carrier,
    pub(super) wanted: Wanted,
    /// Whether it has an offer that has no answer yet.
    pub(super) offers: bool,
    /// What was in force when it was sent.
    before: Change,
    /// The reliable provisional responses to a re-INVITE.
    received: ReliableReceiver,
}

/// What carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// A re-INVITE.
    Invite,
    /// An UPDATE.
    Update,
    /// The PRACK of this reliable response to the INVITE with this CSeq number.
    Prack { rseq: RSeq, invite_cseq: u32 },
}

impl Changes {
    /// The request that is under way.
    pub(super) const fn asked(&self) -> Option<&Asked> {
        match &self.pending {
            Pending::Sent(asked) => Some(asked),
            Pending::None | Pending::Waiting => None,
        }
    }

    /// Whether an offer of ours waits for its answer.
    pub(super) fn offers(&self) -> bool {
        self.asked().is_some_and(|asked| asked.offers)
    }

    /// Whether we are about to hold the other side, or to take it off hold; `None` where neither is asked for.
    pub(super) fn holds(&self) -> Option<bool> {
        let asked = self.wanted.or(self.asked().map(|asked| asked.wanted))?;
        match asked.what {
            What::Offer(change) => Some(change.hold? != Hold::No),
            What::Refresh => None,
        }
    }

    /// The re-INVITE that is under way.
    pub(super) fn invite(&self) -> Option<UaRequest> {
        self.asked().filter(|asked| asked.method == Carrier::Invite).map(|asked| asked.request)
    }

    /// A change that did not go through is wanted again, as far as nothing else is wanted meanwhile.
    fn want_again(&mut self, asked: Wanted) {
        self.wanted = Some(match self.wanted {
            Some(later) => Wanted { what: asked.what.and(later.what), by: later.by },
            None => asked,
        });
    }

    /// The branch that is heard is the call: what it has agreed to stays.
    pub(super) const fn keep_early(&mut self) {
        self.early = None;
    }

    pub(super) fn sent(
        &mut self,
        request: UaRequest,
        method: Carrier,
        wanted: Wanted,
        offers: bool,
        before: Change,
    ) {
        let received = ReliableReceiver::default();
        self.pending = Pending::Sent(Asked { request, method, wanted, offers, before, received });
    }

    /// The change that this request carries, if it is the one that waits; it waits no more then.
    fn take(&mut self, request: UaRequest) -> Option<Asked> {
        let asked = *self.asked().filter(|asked| asked.request == request)?;
        self.pending = Pending::None;
        Some(asked)
    }
}

impl Ua {
    /// A response to a re-INVITE of ours.
    pub(super) fn handle_reinvite_response(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        handle: CallHandle,
        response: &Message,
        status: Status,
    ) {
        if status.is_provisional() {
            return self.with_call(cx, handle, |call, desk, cx| {
                call.handle_reinvite_progress(desk, cx, request, response)
            });
        }
        if !status.is_success() {
            self.desk.deadlines.stop(Wake::InviteOver(request));
            let Some(sent) = self.desk.requests.remove(&request) else { return };
            return self.with_call(cx, handle, |call, desk, cx| {
                call.handle_change_refused(desk, cx, request, sent, response, status)
            });
        }
        if !self.desk.ack_reinvite(cx, request, response) {
            return;
        }
        self.desk.limit_invite(cx, request);
        self.with_call(cx, handle, |call, desk, cx| call.handle_change_accepted(desk, cx, request, response));
    }

    /// A response to a PRACK or an UPDATE of ours.
    pub(super) fn handle_in_dialog_response(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        handle: CallHandle,
        response: &Message,
        status: Status,
    ) {
        if status.is_provisional() {
            return;
        }
        let Some(sent) = self.desk.requests.remove(&request) else { return };
        self.with_call(cx, handle, |call, desk, cx| {
            let is_change = call.changes.asked().is_some_and(|asked| asked.request == request);
            match (is_change, status.is_success()) {
                (true, true) => call.handle_change_accepted(desk, cx, request, response),
                (true, false) => call.handle_change_refused(desk, cx, request, sent, response, status),
                (false, _) if status.is_challenge() => call.authenticate_prack(desk, cx, sent, response),
                // RFC 3262 §4 asks nothing of the client: the INVITE goes on, or gets its final response.
                (false, _) => Step::Stay,
            }
        });
    }

    /// A request of ours that changes the session, or a PRACK, got no response.
    pub(super) fn handle_change_failure(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        handle: CallHandle,
        failure: Failure,
    ) {
        self.desk.abandon_record(request);
        self.with_call(cx, handle, |call, desk, cx| {
            let Some(asked) = call.changes.take(request) else { return Step::Stay };
            // RFC 3261 §14.1: no response at all ends the dialog. §8.1.3.1 makes a transport error a 503, which does
            // not.
            match failure {
                Failure::TimedOut => call.dialog_lost(desk, cx, asked.wanted),
                Failure::BadResponse | Failure::Transport | Failure::Unresolvable | Failure::Overload => {
                    call.keep_session(cx, asked);
                    call.not_changed(cx, asked.wanted.what, None);
                    call.try_change(desk, cx)
                }
            }
        });
    }
}

impl Call {
    /// The owner wants the session changed.
    pub(super) fn want(&mut self, desk: &mut Desk, cx: &mut Context<'_>, what: What, by: ChangeBy) -> Step {
        let what = self.changes.wanted.map_or(what, |wanted| wanted.what.and(what));
        self.changes.wanted = Some(Wanted { what, by });
        self.changes.retries = 0;
        self.try_change(desk, cx)
    }

    /// The branch of a fork that was heard does not become the call. What was changed in it, or was about to be, is
    /// wanted from the one that does (RFC 6337 §2.2: "each has a separate offer/answer negotiation").
    pub(super) fn leave_branch(&mut self, desk: &mut Desk) {
        let asked = match std::mem::take(&mut self.changes.pending) {
            Pending::Sent(asked) => Some(asked.wanted),
            // It is wanted already.
            Pending::None | Pending::Waiting => None,
        };
        desk.deadlines.stop(Wake::Reoffer(self.handle));
        for change in asked.into_iter().chain(self.changes.early.take()) {
            self.changes.want_again(change);
        }
    }

    /// An early dialog is over, and the INVITE goes on: its peer has hung up (RFC 3261 §15), or has no such dialog (RFC 5057
    /// §5.1: that one is "terminated", no other). If it was heard, another branch may be now.
    pub(super) fn lose_branch(&mut self, desk: &mut Desk, cx: &mut Context<'_>, tag: &str) -> Step {
        let Stage::Calling(calling) = &mut self.stage else { return Step::Stay };
        if let Some(place) = calling.early.iter().position(|early| early.dialog.id().remote_tag == tag) {
            desk.forget_dialog(&calling.early.swap_remove(place).dialog);
        }
        if calling.answered_by.take_if(|heard| heard == tag).is_none() {
            return Step::Stay;
        }
        self.leave_branch(desk);
        if let Some(session) = &mut self.session {
            session.rewind();
        }
        self.apply(cx);
        let status = Status::of(183);
        cx.event(Event::Progress { call: self.handle, status, has_media: false, queue: SmolStr::default() });
        Step::Stay
    }

    /// The dialog of a change is gone: the call with it, or where it is not answered yet one branch.
    fn dialog_lost(&mut self, desk: &mut Desk, cx: &mut Context<'_>, wanted: Wanted) -> Step {
        let Stage::Calling(calling) = &self.stage else {
            return self.terminate(desk, cx, EndReason::DialogLost);
        };
        let Some(tag) = calling.answered_by.clone() else { return Step::Stay };
        self.changes.want_again(wanted);
        self.lose_branch(desk, cx, &tag)
    }

    /// The owner wants the other side held, or not.
    pub(super) fn want_hold(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        hold: Option<HoldForm>,
        by: ChangeBy,
    ) -> Step {
        let hold = Some(hold.map_or(Hold::No, Hold::Yes));
        self.want(desk, cx, What::Offer(Change { hold, video: None }), by)
    }

    /// The owner wants pictures, or none any more.
    pub(super) fn want_video(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        on: bool,
        by: ChangeBy,
    ) -> Step {
        self.want(desk, cx, What::Offer(Change { hold: None, video: Some(on) }), by)
    }

    /// With which request a change may go out now. RFC 3261 §14.1: "MUST NOT initiate a new INVITE transaction within a
    /// dialog while another INVITE transaction is in progress in either direction"; RFC 3311 §5.1 for UPDATE.
    fn way(&mut self, by: ChangeBy) -> Option<Method> {
        if self.changes.pending != Pending::None {
            return None;
        }
        let takes_update = self.takes_update;
        self.session_dialog_mut()?;
        match &self.stage {
            Stage::Calling(_) | Stage::Ringing(_) => takes_update.then_some(Method::Update),
            Stage::Confirmed(talk) if talk.unacked.is_none() => match by {
                ChangeBy::Update if takes_update => Some(Method::Update),
                ChangeBy::Update | ChangeBy::Invite => Some(Method::Invite),
            },
            Stage::Confirmed(_) | Stage::Answered(_) | Stage::Cancelling { .. } | Stage::Ending { .. } => {
                None
            }
        }
    }

    /// Sends the change that was asked for, unless something is in its way.
    pub(super) fn try_change(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        let Some(wanted) = self.changes.wanted else { return Step::Stay };
        let Some(method) = self.way(wanted.by) else { return Step::Stay };
        self.changes.wanted = None;
        let agreed = self.session.as_ref().map(Session::agreed).unwrap_or_default();
        let offer = match (wanted.what, &method, &mut self.session) {
            (What::Refresh, Method::Update, _) => None,
            (What::Refresh, _, Some(session)) => session.offer_unchanged().ok(),
            (What::Offer(change), _, Some(session)) => session.offer(cx, change).ok(),
            (What::Refresh | What::Offer(_), _, None) => None,
        };
        let offers = offer.is_some();
        if !offers && (method == Method::Invite || wanted.what != What::Refresh) {
            self.not_changed(cx, wanted.what, None);
            return Step::Stay;
        }
        let (handle, flow) = (self.handle, self.flow);
        let is_confirmed = matches!(self.stage, Stage::Confirmed(_));
        let Some(dialog) = self.session_dialog_mut() else { return Step::Stay };
        let before = dialog.clone();
        let draft = dialog.request(method.clone());
        let mut draft = draft
            .header(HeaderName::UserAgent, &cx.settings.product)
            .header(HeaderName::Allow, ALLOW)
            .header(HeaderName::Supported, SUPPORTED);
        // RFC 4028 §7.4: the session timer begins with the 2xx to the INVITE.
        if is_confirmed {
            self.ask_timer(cx.settings, &mut draft);
        }
        let draft = match offer {
            Some(offer) => draft.body(SDP, offer),
            None => draft,
        };
        let (carrier, purpose) = match method {
            Method::Invite => {
                let dialog = Box::new(before);
                (Carrier::Invite, Purpose::Reinvite { call: handle, dialog, ack: None })
            }
            _ => {
                let tag = before.id().remote_tag.clone();
                (Carrier::Update, Purpose::InDialog { call: handle, tag })
            }
        };
        match desk.send_over(cx, draft, Some(self.contact_user.clone()), purpose, flow) {
            Ok(request) => self.changes.sent(request, carrier, wanted, offers, agreed),
            Err(_) => {
                self.withdraw(offers);
                self.not_changed(cx, wanted.what, None);
            }
        }
        Step::Stay
    }

    /// The time after a 491 is over.
    pub(super) fn glare_over(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        self.changes.pending = Pending::None;
        self.try_change(desk, cx)
    }

    /// A provisional response to a re-INVITE of ours: a reliable one is acknowledged, and may have the answer.
    fn handle_reinvite_progress(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        request: UaRequest,
        response: &Message,
    ) -> Step {
        let Pending::Sent(asked) = &mut self.changes.pending else { return Step::Stay };
        if asked.request != request {
            return Step::Stay;
        }
        let Some(Came::Next(rseq)) = asked.received.receive(response) else { return Step::Stay };
        let answer = description_of(response).ok().flatten().filter(|_| asked.offers);
        let is_answered = answer.is_some();
        let taken = match (&mut self.session, answer) {
            (Some(session), Some(answer)) => session.take_answer(answer).is_ok(),
            (_, None) | (None, Some(_)) => true,
        };
        asked.offers &= !is_answered;
        let Some(sent) = desk.requests.get(&request) else { return Step::Stay };
        let invite_cseq = sent.draft.cseq();
        let Some(dialog) = self.session_dialog_mut() else { return Step::Stay };
        // RFC 6141 §4.7: a reliable response refreshes the target too.
        let _ = dialog.refresh_target(response);
        let tag = dialog.id().remote_tag.clone();
        self.acknowledge(desk, cx, &tag, Prack { rseq, invite_cseq, body: None, change: None });
        if !taken {
            return self.terminate(desk, cx, EndReason::BadSession);
        }
        if is_answered {
            self.session_changed(cx);
        }
        Step::Stay
    }

    fn handle_change_accepted(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        request: UaRequest,
        response: &Message,
    ) -> Step {
        let Some(asked) = self.changes.take(request) else { return Step::Stay };
        self.changes.retries = 0;
        self.focus_accepted();
        self.packages.learn(response);
        self.note_allow(response);
        if matches!(self.stage, Stage::Answered(_) | Stage::Confirmed(_))
            && !matches!(asked.method, Carrier::Prack { .. })
        {
            self.timer.answered(cx.now, response);
            self.restart_timer(desk);
        }
        // A Contact that can't be read leaves the old target, to which the ACK went too.
        let _ = self.session_dialog_mut().map(|dialog| dialog.refresh_target(response));
        if asked.offers {
            let answer = description_of(response).ok().flatten();
            let taken = match (&mut self.session, answer) {
                (Some(session), Some(answer)) => session.take_answer(answer).is_ok(),
                _ => false,
            };
            if !taken {
                return self.terminate(desk, cx, EndReason::BadSession);
            }
        }
        if matches!((&self.stage, asked.wanted.what), (Stage::Calling(_), What::Offer(_))) {
            let early =
                self.changes.early.map_or(asked.wanted.what, |early| early.what.and(asked.wanted.what));
            self.changes.early = Some(Wanted { what: early, by: asked.wanted.by });
        }
        match asked.wanted.what {
            What::Offer(_) if asked.offers => self.session_changed(cx),
            // It was told with the reliable response that had the answer.
            What::Offer(_) => {}
            What::Refresh => self.refreshed(cx, Side::Local),
        }
        if let What::Offer(Change { video: Some(true), .. }) = asked.wanted.what
            && !self.has_video()
        {
            cx.event(Event::VideoRefused { call: self.handle });
        }
        self.go_on(desk, cx)
    }

    /// What waited for the end of a change.
    fn go_on(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        match self.answer_that_waits(desk, cx) {
            Step::Stay => self.try_change(desk, cx),
            end @ Step::End(_) => end,
        }
    }

    fn handle_change_refused(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        request: UaRequest,
        mut sent: Sent,
        response: &Message,
        status: Status,
    ) -> Step {
        let Some(asked) = self.changes.take(request) else { return Step::Stay };
        let handle = self.handle;
        if status.is_challenge()
            && let Some(dialog) = self.session_dialog_mut()
        {
            let cseq = dialog.next_cseq();
            if let Ok(request) = desk.retry(cx, sent, response, cseq) {
                self.changes.pending = Pending::Sent(Asked { request, ..asked });
                return Step::Stay;
            }
            self.keep_session(cx, asked);
            self.not_changed(cx, asked.wanted.what, Some(status));
            return self.go_on(desk, cx);
        }
        // RFC 4028 §7.4: again, with the interval that it wants.
        if status.code() == 422 && self.timer.too_small(response) {
            let settings = cx.settings.clone();
            self.ask_timer(&settings, &mut sent.draft);
            if let Some(dialog) = self.session_dialog_mut() {
                let cseq = dialog.next_cseq();
                if let Ok(request) = desk.resend(cx, sent, cseq) {
                    self.changes.pending = Pending::Sent(Asked { request, ..asked });
                    return Step::Stay;
                }
            }
        }
        self.keep_session(cx, asked);
        if !ends_call(status) {
            self.acknowledge_without(desk, cx, asked);
        }
        let wait = match (status.code(), retry_after_s(response)) {
            (491, _) => Some(glare_wait(cx.random_u64(), self.outgoing)),
            // RFC 3311 §5.2: the other side owes an answer, and says when to come back.
            (500, Some(seconds)) if seconds <= RETRY_AFTER_S_MAX => Some(Duration::from_secs(seconds.into())),
            _ => None,
        };
        if let Some(wait) = wait.filter(|_| self.changes.retries < RETRIES_MAX) {
            self.changes.retries += 1;
            self.changes.want_again(asked.wanted);
            self.changes.pending = Pending::Waiting;
            desk.deadlines.start(Wake::Reoffer(handle), cx.now + wait);
            return self.answer_that_waits(desk, cx);
        }
        match status.code() {
            _ if ends_call(status) => return self.dialog_lost(desk, cx, asked.wanted),
            // Its Allow said otherwise; a re-INVITE can do the same once the call is answered.
            405 | 501 if asked.method == Carrier::Update => {
                self.takes_update = false;
                self.changes.want_again(asked.wanted);
            }
            _ => {
                self.not_changed(cx, asked.wanted.what, Some(status));
                // RFC 6141 §3.4: what a reliable response has agreed to was executed, and the refusal undoes it.
                if asked.method == Carrier::Invite && !asked.offers && self.changes.retries < RETRIES_MAX {
                    self.changes.retries += 1;
                    self.changes.want_again(Wanted { what: What::Offer(asked.before), ..asked.wanted });
                }
            }
        }
        self.go_on(desk, cx)
    }

    /// RFC 6337 §2.3: the offer in our PRACK was refused, and with it the PRACK, so that the far end still waits for one;
    /// "UAC may send again a PRACK request without an offer".
    fn acknowledge_without(&mut self, desk: &mut Desk, cx: &mut Context<'_>, asked: Asked) {
        if let Carrier::Prack { rseq, invite_cseq } = asked.method
            && matches!(self.stage, Stage::Calling(_))
            && let Some(tag) = self.session_dialog_mut().map(|dialog| dialog.id().remote_tag.clone())
        {
            self.acknowledge(desk, cx, &tag, Prack { rseq, invite_cseq, body: None, change: None });
        }
    }

    /// RFC 3261 §14.1: "the session parameters MUST remain unchanged, as if no re-INVITE had been issued".
    fn keep_session(&mut self, cx: &mut Context<'_>, asked: Asked) {
        self.withdraw(asked.offers);
        // Ports that it named are free again.
        self.apply(cx);
    }

    fn has_video(&self) -> bool {
        self.session.as_ref().is_some_and(Session::has_video)
    }

    fn withdraw(&mut self, offers: bool) {
        if let Some(session) = self.session.as_mut().filter(|_| offers) {
            session.withdraw();
        }
    }

    fn not_changed(&mut self, cx: &mut Context<'_>, what: What, status: Option<Status>) {
        self.focus_refused();
        let call = self.handle;
        cx.event(match what {
            What::Offer(_) => Event::ChangeRefused { call, status },
            What::Refresh => Event::RefreshFailed { call, status },
        });
    }

    /// An offer has its answer: media follow, and the owner is told.
    pub(super) fn session_changed(&mut self, cx: &mut Context<'_>) {
        self.apply(cx);
        cx.event(Event::SessionChanged { call: self.handle });
        self.tell_hold(cx);
    }

    /// The session goes on as it was; where its description stood in the request, media may go elsewhere all the same.
    pub(super) fn refreshed(&mut self, cx: &mut Context<'_>, by: Side) {
        self.apply(cx);
        cx.event(Event::Refreshed { call: self.handle, by });
        self.tell_hold(cx);
    }

    /// Tells the owner who holds whom, and whether there are pictures, where that has changed.
    pub(super) fn tell_hold(&mut self, cx: &mut Context<'_>) {
        let Some(session) = &self.session else { return };
        let call = self.handle;
        let has_video = session.has_video();
        if std::mem::replace(&mut self.told_video, has_video) != has_video {
            cx.event(if has_video { Event::VideoStarted { call } } else { Event::VideoStopped { call } });
        }
        for ((told, is), by) in self.told_held.iter_mut().zip(session.held()).zip([Side::Local, Side::Remote])
        {
            if *told != is {
                *told = is;
                cx.event(if is { Event::Held { call, by } } else { Event::Resumed { call, by } });
            }
        }
    }

    /// Takes note of what the other side allows (RFC 3311 §4).
    pub(super) fn note_allow(&mut self, message: &Message) {
        if message.has(HeaderName::Allow) {
            self.takes_update = message.has_token(HeaderName::Allow, "UPDATE");
        }
    }

    /// Ends a call of which nothing can become any more, as its state asks for.
    pub(super) fn terminate(&mut self, desk: &mut Desk, cx: &mut Context<'_>, reason: EndReason) -> Step {
        match &self.stage {
            Stage::Calling(_) => self.give_up(desk, cx, reason),
            Stage::Ringing(_) => {
                let status = if reason == EndReason::BadSession { 488 } else { 480 };
                self.refuse(cx, Status::of(status), reason)
            }
            Stage::Answered(_) => self.hang_up(desk, cx),
            Stage::Confirmed(_) => self.say_bye_now(desk, cx, reason),
            Stage::Cancelling { .. } | Stage::Ending { .. } => Step::Stay,
        }
    }
}

/// The seconds of Retry-After (RFC 3261 §20.33), whatever stands behind them.
fn retry_after_s(response: &Message) -> Option<u32> {
    let value = response.value(HeaderName::RetryAfter)?;
    let digits = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    std::str::from_utf8(&value[..digits]).ok()?.parse().ok()
}

impl Desk {
    /// Sends the ACK for a 2xx to a re-INVITE, the same one for each repetition. Says whether the 2xx is the first.
    fn ack_reinvite(&mut self, cx: &mut Context<'_>, request: UaRequest, response: &Message) -> bool {
        let Some(sent) = self.requests.get_mut(&request) else { return false };
        let cseq = sent.draft.cseq();
        let Purpose::Reinvite { dialog, ack, .. } = &mut sent.purpose else { return false };
        if let Some(ack) = ack {
            if let Some(ack) = ack.clone() {
                cx.transmit(ack);
            }
            return false;
        }
        // A Contact that can't be read leaves the old target.
        let _ = dialog.refresh_target(response);
        let draft = dialog.ack(cseq);
        let tag = dialog.id().remote_tag.clone();
        let draft = sent.add_credentials(draft);
        let transmit = match sent.flow {
            Some(flow) => Some(cx.send_ack_on(&draft, flow)),
            None => cx.send_ack(request, &tag, &draft).ok().flatten(),
        };
        if let Purpose::Reinvite { ack, .. } = &mut sent.purpose {
            *ack = Some(transmit);
        }
        true
    }
}

/// RFC 3261 §14.1: 2.1 to 4 seconds for the owner of the Call-ID, 0 to 2 seconds for the other, in units of 10 ms.
fn glare_wait(random: u64, owns_call_id: bool) -> Duration {
    let units = if owns_call_id { 210 + random % 191 } else { random % 201 };
    Duration::from_millis(units * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_after_a_491_depends_on_who_made_the_call_id() {
        for random in (0..10_000).chain([u64::MAX]) {
            let (owner, other) = (glare_wait(random, true), glare_wait(random, false));
            assert!(owner >= Duration::from_millis(2100) && owner <= Duration::from_secs(4));
            assert!(other <= Duration::from_secs(2));
            assert_eq!((owner.as_millis() % 10, other.as_millis() % 10), (0, 0));
        }
    }
}
