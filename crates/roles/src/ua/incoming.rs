//! Calls that come to us: the INVITE is checked, rings, and is answered, refused or cancelled (RFC 3261 §13.3).

use std::time::Duration;

use bytes::Bytes;
use dialtone_dialog::reliable::{OPTION_TAG, ReliableSender};
use dialtone_dialog::session_timer::{Answer, Grant, SessionTimer};
use dialtone_dialog::{Dialog, State};
use dialtone_transaction::ServerId;
use dialtone_wire::net::Flow;
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Limits, Message, Status, Writer};
use smol_str::SmolStr;

use super::Ua;
use super::call::{Call, Exchange, Ringing, Stage, Step, Talk, Unacked};
use super::deadlines::Wake;
use super::desk::{Desk, own_user};
use super::in_dialog::own_flow;
use super::info::{self, Packages};
use super::prack::write_reliable;
use super::refusal::{
    ALLOW, Refusal, SDP, SUPPORTED, check_accept, check_require, check_size, description_of,
};
use super::session::{Change, Session};
use super::timer::write_grant;
use super::transfer::Ties;
use crate::contact_user::ContactUser;
use crate::context::Context;
use crate::io::{EndReason, Event, Play};
use crate::settings::{Robot, RobotKind};

/// How often a call that rings says so: RFC 3261 §13.3.1.1 "a non-100 provisional response at every minute".
const RING_INTERVAL: Duration = Duration::from_secs(60);

/// How long a tone says that something is done: long enough to be heard over a phone that takes its time.
const CONFIRM_TIME: Duration = Duration::from_millis(1_500);
/// Its frequency: the concert pitch, which every codec carries.
const CONFIRM_HZ: f32 = 440.0;

/// An INVITE that has passed all checks.
struct Checked {
    dialog: Dialog,
    from: UriBuf,
    session: Session,
    description: Bytes,
    offers: bool,
}

impl Ua {
    /// An INVITE outside any dialog.
    pub(super) fn handle_invite(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        flow: Flow,
        as_robot: Option<&Robot>,
    ) {
        let tag = cx.token();
        let (replaced, sent_by) = match self.replaced_by(cx, request) {
            Ok(replaced) => replaced,
            Err(refusal) => return refusal.send(cx, server, request, Some(&tag)),
        };
        let joined = match self.joined_by(cx, request) {
            Ok(joined) => joined,
            Err(refusal) => return refusal.send(cx, server, request, Some(&tag)),
        };
        let checked = match self.check_invite(cx, server, request, flow, &tag) {
            Ok(checked) => checked,
            Err(refusal) => return refusal.send(cx, server, request, Some(&tag)),
        };
        let kept = Bytes::copy_from_slice(request.bytes());
        // What is kept is a copy of its own, so that it does not pin the buffer that it came in.
        let request =
            Message::parse(kept, &Limits { message_bytes: usize::MAX, ..cx.settings.limits.message })
                .unwrap_or_else(|_| request.clone());
        let straight = own_flow(&request, flow);
        let Checked { dialog, from, session, description, offers } = checked;
        let ties = Ties::of_invite(&request, as_robot.is_some(), sent_by);
        let mut packages = Packages::default();
        packages.learn(&request);
        let conference = joined.as_ref().map(|joined| self.conference_for(cx, joined));
        let of_replaced = replaced.and_then(|old| Some(self.calls.get(old)?.contact_user.clone()));
        let contact_user = conference.clone().map(ContactUser::focus).or(of_replaced).unwrap_or_else(|| {
            as_robot.map_or_else(|| own_user(cx.settings), |robot| robot.user.clone()).into()
        });
        let dialog_of_call = dialog.clone();
        // RFC 3262 §3: "MUST send any non-100 provisional response reliably" where the caller requires it.
        let has_tag = |name| request.has_token(name, OPTION_TAG);
        let is_reliable = has_tag(HeaderName::Require)
            || (cx.settings.session.reliable_ringing && has_tag(HeaderName::Supported));
        let cseq = request.cseq().map_or(0, |cseq| cseq.number);
        let reliable = is_reliable.then(|| ReliableSender::new(cseq, (cx.random_u64() >> 32) as u32));
        let ringing = Ringing {
            server,
            request,
            flow,
            dialog,
            description,
            offers,
            status: Status::of(180),
            reliable,
            reliable_flow: None,
            exchange: Exchange::Open,
            owes_progress: false,
            answer: None,
        };
        let handle = self.calls.insert(|handle| {
            let takes_update = ringing.request.has_token(HeaderName::Allow, "UPDATE");
            let stage = Stage::Ringing(Box::new(ringing));
            let call = Call::new(handle, false, contact_user, stage);
            Call { flow: straight, session: Some(session), takes_update, ties, packages, ..call }
        });
        cx.core.counters.calls += 1;
        self.desk.servers.insert(server, handle);
        self.desk.add_dialog(&dialog_of_call, handle);
        cx.event(Event::Incoming { call: handle, from });
        if let Some((joined, name)) = joined.zip(conference) {
            self.asks_in(cx, &joined, &name, handle);
        }
        if let Some(replaced) = replaced {
            self.inherits(replaced, handle);
            return self.take_place(cx, replaced, handle);
        }
        let robot = as_robot.map(|robot| robot.kind);
        self.with_call(cx, handle, |call, desk, cx| match robot {
            Some(RobotKind::Echo) => call.answer(desk, cx, Play::Echo),
            Some(RobotKind::Confirm) => call.confirm_and_hang_up(desk, cx),
            None => call.ring(desk, cx),
        });
    }

    /// RFC 3261 §8.2 in its order, and §13.3.1.
    fn check_invite(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        flow: Flow,
        tag: &SmolStr,
    ) -> Result<Checked, Refusal> {
        check_merged(cx, server, request)?;
        check_require(request)?;
        check_size(cx.settings, request)?;
        check_accept(request)?;
        let offer = description_of(request)?;
        let from = request.from().ok().and_then(|from| UriBuf::parse(from.uri_text).ok());
        let from = from.ok_or(Refusal::new(400))?;
        let dialog = Dialog::uas(request, tag, State::Early)
            .map_err(|error| Refusal::new(400).warning(cx.settings, 399, error))?;
        if let Answer::TooSmall { min_s } =
            SessionTimer::default().answer(cx.settings.session.timer(), request)
        {
            return Err(Refusal::new(422).with(HeaderName::MinSe, min_s));
        }
        // One that takes the place of another, which was found before, is none more.
        if self.calls.len() >= cx.settings.limits.calls && !request.has(HeaderName::Replaces) {
            // RFC 3261 §21.4.24: "not willing or able to take additional calls at this end system". Not 503, which
            // would turn clients away from the whole server, and not 480, which says nothing of a next try.
            return Err(Refusal::new(486));
        }
        let Some(mut session) = Session::lease(cx, flow.local.ip()) else {
            // Ports are on order: the callee is there and can't take the call just now (RFC 3261 §21.4.18).
            return Err(Refusal::new(480).with(HeaderName::RetryAfter, 1));
        };
        let described = match offer {
            Some(offer) => session.answer(cx, offer),
            None => session.offer(cx, Change::default()),
        };
        match described {
            Ok(description) => Ok(Checked { dialog, from, session, description, offers: offer.is_none() }),
            Err(error) => {
                session.release(cx);
                Err(error.refusal(cx.settings))
            }
        }
    }

    /// The CANCEL of an INVITE that we have not answered (RFC 3261 §9.2).
    pub(super) fn cancelled(&mut self, cx: &mut Context<'_>, invite: ServerId) {
        let Some(&handle) = self.desk.servers.get(&invite) else { return };
        self.with_call(cx, handle, |call, _, cx| call.refuse(cx, Status::of(487), EndReason::Cancelled));
    }
}

/// RFC 3261 §8.2.2.2: the same request has come on another path already.
pub(super) fn check_merged(
    cx: &mut Context<'_>,
    _server: ServerId,
    request: &Message,
) -> Result<(), Refusal> {
    if cx.core.transactions.is_merged(request) { Err(Refusal::new(482)) } else { Ok(()) }
}

impl Call {
    /// Sends 180, or 183 where there is something to hear, and again every minute.
    pub(super) fn ring(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        let Stage::Ringing(ringing) = &self.stage else { return Step::Stay };
        // RFC 3261 §13.2.1: the offer that the INVITE lacks stands in the first reliable response.
        let is_due = ringing.offers && ringing.reliable.is_some() && ringing.exchange == Exchange::Open;
        self.provisional(desk, cx, is_due)
    }

    /// Sends what there is to hear before the call is answered (RFC 3960 §3).
    pub(super) fn progress(&mut self, desk: &mut Desk, cx: &mut Context<'_>, play: Play) -> Step {
        let Stage::Ringing(ringing) = &mut self.stage else { return Step::Stay };
        if ringing.offers && ringing.reliable.is_none() {
            return Step::Stay;
        }
        self.play = play;
        if !ringing.is_free() {
            ringing.owes_progress = true;
            return Step::Stay;
        }
        self.say_progress(desk, cx)
    }

    /// Sends the 183: with our description, unless the caller has it already.
    pub(super) fn say_progress(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        let Stage::Ringing(ringing) = &mut self.stage else { return Step::Stay };
        ringing.status = Status::of(183);
        let is_due = ringing.exchange == Exchange::Open;
        let has_remote = !ringing.offers || ringing.exchange == Exchange::Done;
        let step = self.provisional(desk, cx, is_due);
        if has_remote && step == Step::Stay {
            self.apply(cx);
        }
        step
    }

    /// Sends a provisional response, reliably where the caller takes that. One that waits for its PRACK is repeated
    /// anyway.
    fn provisional(&mut self, desk: &mut Desk, cx: &mut Context<'_>, describes: bool) -> Step {
        let handle = self.handle;
        let Stage::Ringing(ringing) = &mut self.stage else { return Step::Stay };
        if ringing.is_free() {
            let rseq = ringing.reliable.as_ref().and_then(ReliableSender::next_rseq);
            let of_dialog = dialog_headers(cx, &ringing.request, &ringing.flow, &self.contact_user);
            let headers = |writer: &mut Writer| {
                of_dialog(writer);
                write_reliable(writer, rseq);
            };
            let tag = ringing.dialog.id().local_tag.clone();
            let body = describes.then_some((SDP, &ringing.description[..]));
            let sent =
                cx.respond(ringing.server, &ringing.request, ringing.status, Some(&tag), headers, body);
            let Some(sent) = sent else { return Step::End(EndReason::TransportFailed) };
            if let Some(reliable) = &mut ringing.reliable {
                reliable.sent(cx.now, cx.settings.timers.t1(), sent.bytes);
                ringing.reliable_flow = Some(sent.flow);
                if describes {
                    ringing.exchange = Exchange::Sent;
                }
                if let Some((at, _)) = reliable.poll_timeout() {
                    desk.deadlines.start(Wake::Reliable(handle), at);
                }
            }
        }
        desk.deadlines.start(Wake::RepeatRinging(handle), cx.now + RING_INTERVAL);
        if !desk.deadlines.runs(Wake::Unanswered(handle)) {
            desk.deadlines.start(Wake::Unanswered(handle), cx.now + cx.settings.timer_c);
        }
        Step::Stay
    }

    /// Answers a call that rings with 200 (RFC 3261 §13.3.1.4). RFC 3262 §3: not while a reliable response with a session
    /// description waits for its PRACK; nor while the peer owes us an answer.
    pub(super) fn answer(&mut self, desk: &mut Desk, cx: &mut Context<'_>, play: Play) -> Step {
        let is_asking = self.changes.asked().is_some();
        let Stage::Ringing(ringing) = &mut self.stage else { return Step::Stay };
        if is_asking || ringing.exchange == Exchange::Sent {
            ringing.answer = Some(play);
            return Step::Stay;
        }
        self.play = play;
        let Stage::Ringing(ringing) = &self.stage else { return Step::Stay };
        // The INVITE was held against our minimum when it came.
        let grant = self.grant(cx.settings, &ringing.request).unwrap_or_default();
        let headers = answer_headers(cx, &ringing.request, &ringing.flow, &self.contact_user, grant);
        let tag = ringing.dialog.id().local_tag.clone();
        // RFC 6337 §3.1.1: none once offer and answer are done.
        let describes = ringing.exchange == Exchange::Open;
        let body = describes.then_some((SDP, &ringing.description[..]));
        let sent = cx.respond(ringing.server, &ringing.request, Status::of(200), Some(&tag), headers, body);
        let (Some(transmit), Ok(cseq)) = (sent, ringing.request.cseq()) else {
            return Step::End(EndReason::TransportFailed);
        };
        desk.servers.remove(&ringing.server);
        desk.deadlines.stop(Wake::RepeatRinging(self.handle));
        desk.deadlines.stop(Wake::Unanswered(self.handle));
        desk.deadlines.stop(Wake::Reliable(self.handle));
        let mut talk = Talk::new(ringing.dialog.clone());
        talk.dialog.accept();
        talk.reliable = ringing.reliable.clone().filter(ReliableSender::is_waiting);
        talk.reliable.iter_mut().for_each(ReliableSender::stop);
        let offers = ringing.offers && describes;
        let interval = cx.settings.timers.t1();
        talk.unacked = Some(Unacked { cseq: cseq.number, transmit, interval, offers });
        self.timer.granted(cx.now, &ringing.request, grant);
        self.stage = Stage::Answered(Box::new(talk));
        self.start_repeating(desk, cx);
        self.restart_timer(desk);
        if !offers {
            self.apply(cx);
        }
        Step::Stay
    }

    /// Answers with a tone that says that something is done, and hangs up after it.
    fn confirm_and_hang_up(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        let step = self.answer(desk, cx, Play::Tone { hz: CONFIRM_HZ });
        if matches!(self.stage, Stage::Answered(_)) {
            desk.deadlines.start(Wake::HangUp(self.handle), cx.now + CONFIRM_TIME);
        }
        step
    }

    /// Refuses a call that rings.
    pub(super) fn refuse(&mut self, cx: &mut Context<'_>, status: Status, reason: EndReason) -> Step {
        let Stage::Ringing(ringing) = &self.stage else { return Step::Stay };
        let tag = &ringing.dialog.id().local_tag;
        let mut refusal = Refusal::of(status);
        if matches!(status.code(), 488 | 606) {
            // RFC 3261 §21.4.26, §21.6.4: the reason in words.
            refusal = refusal.warning(cx.settings, 399, "The session is not acceptable to the callee");
        }
        refusal.send(cx, ringing.server, &ringing.request, Some(tag));
        Step::End(reason)
    }

    /// The caller could not be told that it rings.
    pub(super) fn not_told(&mut self, cx: &mut Context<'_>) -> Step {
        match &self.stage {
            Stage::Ringing(ringing) if ringing.flow.transport.is_reliable() => {
                self.refuse(cx, Status::of(500), EndReason::TransportFailed)
            }
            _ => Step::Stay,
        }
    }

    /// Starts the timers of a 2xx that has just been sent.
    pub(super) fn start_repeating(&mut self, desk: &mut Desk, cx: &Context<'_>) {
        let timers = &cx.settings.timers;
        desk.deadlines.start(Wake::RepeatAnswer(self.handle), cx.now + timers.t1());
        desk.deadlines.start(Wake::NoAck(self.handle), cx.now + timers.transaction_timeout());
    }

    /// RFC 3261 §13.3.1.4: the 2xx is sent again after T1, and after twice the time up to T2, over reliable transports
    /// too.
    pub(super) fn repeat_answer(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        let handle = self.handle;
        if let Some(unacked) = self.talk_mut().and_then(|talk| talk.unacked.as_mut()) {
            unacked.interval = unacked.interval.saturating_mul(2).min(cx.settings.timers.t2());
            cx.transmit(unacked.transmit.clone());
            desk.deadlines.start(Wake::RepeatAnswer(handle), cx.now + unacked.interval);
        }
        Step::Stay
    }

    /// The ACK for a 2xx of ours (RFC 3261 §13.3.1.4). Any other ACK changes nothing.
    pub(super) fn handle_ack(&mut self, desk: &mut Desk, cx: &mut Context<'_>, ack: &Message) -> Step {
        let Some(talk) = self.talk_mut() else { return Step::Stay };
        let cseq = ack.cseq().map(|cseq| cseq.number).ok();
        let Some(unacked) = talk.unacked.take_if(|unacked| Some(unacked.cseq) == cseq) else {
            return Step::Stay;
        };
        self.stop_repeating(desk);
        if unacked.offers {
            let answer = description_of(ack).ok().flatten();
            let taken = match (&mut self.session, answer) {
                (Some(session), Some(answer)) => session.take_answer(answer).is_ok(),
                (None, _) => true,
                (Some(_), None) => false,
            };
            let is_first = matches!(self.stage, Stage::Answered(_));
            self.confirm(cx);
            if !taken {
                return self.say_bye_now(desk, cx, EndReason::BadSession);
            }
            match is_first {
                true => self.apply(cx),
                false => self.session_changed(cx),
            }
        } else {
            self.confirm(cx);
        }
        let reason = self.ties.hangup_reason();
        match self.talk_mut() {
            Some(talk) if talk.hung_up => self.say_bye_now(desk, cx, reason),
            _ => self.try_change(desk, cx),
        }
    }

    fn stop_repeating(&mut self, desk: &mut Desk) {
        desk.deadlines.stop(Wake::RepeatAnswer(self.handle));
        desk.deadlines.stop(Wake::NoAck(self.handle));
    }

    /// The peer has our 2xx: the call stands.
    pub(super) fn confirm(&mut self, cx: &mut Context<'_>) {
        if !matches!(self.stage, Stage::Answered(_)) {
            return;
        }
        let ended = Stage::Cancelling { invite: crate::context::UaRequest(0), reason: EndReason::NoAck };
        if let Stage::Answered(talk) = std::mem::replace(&mut self.stage, ended) {
            let is_wanted = !talk.hung_up;
            self.stage = Stage::Confirmed(talk);
            if is_wanted {
                cx.event(Event::Answered { call: self.handle });
                self.tell_hold(cx);
            }
        }
    }

    /// No ACK has come for 64·T1: RFC 3261 §13.3.1.4 "the dialog is confirmed, but the session SHOULD be terminated".
    pub(super) fn no_ack(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        let reason = self.ties.hangup_reason();
        let Some(talk) = self.talk_mut() else { return Step::Stay };
        talk.unacked = None;
        let reason = if talk.hung_up { reason } else { EndReason::NoAck };
        self.say_bye_now(desk, cx, reason)
    }
}

/// The headers of a response that makes a dialog (RFC 3261 §12.1.1): Record-Route as it came, and our Contact.
pub(super) fn dialog_headers<'a>(
    cx: &Context<'_>,
    request: &'a Message,
    flow: &Flow,
    contact_user: &ContactUser,
) -> impl FnOnce(&mut Writer) + use<'a> {
    let contact = cx.contact_of(flow, contact_user);
    let product = cx.settings.product.clone();
    move |writer| {
        writer.copy(request, HeaderName::RecordRoute);
        writer.header(HeaderName::Contact, contact);
        writer.header(HeaderName::Server, product);
    }
}

/// The headers of a 2xx to INVITE (RFC 3261 §13.3.1.4) or UPDATE (RFC 3311 §5.2).
pub(super) fn answer_headers<'a>(
    cx: &Context<'_>,
    request: &'a Message,
    flow: &Flow,
    contact_user: &ContactUser,
    grant: Option<Grant>,
) -> impl FnOnce(&mut Writer) + use<'a> {
    let of_dialog = dialog_headers(cx, request, flow, contact_user);
    let packages = info::packages(cx.settings);
    move |writer| {
        of_dialog(writer);
        writer.header(HeaderName::Allow, ALLOW);
        writer.header(HeaderName::Supported, SUPPORTED);
        // RFC 6086 §5.2.3: "MUST NOT include a Recv-Info header field in a response if the associated request did not".
        if request.value_by_text(info::RECV_INFO).is_some() {
            writer.line(info::RECV_INFO, packages);
        }
        write_grant(writer, grant);
    }
}
