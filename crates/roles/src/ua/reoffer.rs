//! Changes of the session that we ask for: re-INVITE and its glare (RFC 3261 §14.1).

use std::time::Duration;

use dialtone_wire::{HeaderName, Message, Method, Status};

use super::Ua;
use super::call::{Call, Reoffer, Stage, Step};
use super::deadlines::Wake;
use super::desk::{Desk, Purpose, Sent};
use super::refusal::{ALLOW, SDP, description_of};
use crate::context::{Context, Failure, UaRequest};
use crate::io::{CallHandle, EndReason, Event};

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
            return;
        }
        if !status.is_success() {
            self.desk.deadlines.stop(Wake::InviteOver(request));
            let Some(sent) = self.desk.requests.remove(&request) else { return };
            return self.with_call(cx, handle, |call, desk, cx| {
                call.handle_reinvite_refused(desk, cx, request, sent, response, status)
            });
        }
        if !self.desk.ack_reinvite(cx, request, response) {
            return;
        }
        self.desk.limit_invite(cx, request);
        self.with_call(cx, handle, |call, desk, cx| {
            call.handle_reinvite_accepted(desk, cx, request, response)
        });
    }

    /// A re-INVITE of ours got no response.
    pub(super) fn handle_reinvite_failure(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        handle: CallHandle,
        failure: Failure,
    ) {
        self.desk.abandon_record(request);
        self.with_call(cx, handle, |call, desk, cx| {
            if call.take_reoffer(request).is_none() {
                return Step::Stay;
            }
            // RFC 3261 §14.1: no response at all ends the dialog. §8.1.3.1 makes a transport error a 503, which does
            // not.
            match failure {
                Failure::TimedOut => call.say_bye_now(desk, cx, EndReason::DialogLost),
                Failure::BadResponse | Failure::Transport | Failure::Unresolvable | Failure::Overload => {
                    call.keep_session()
                }
            }
        });
    }
}

impl Call {
    /// Sends the re-INVITE that was asked for, unless another INVITE is in the way: RFC 3261 §14.1 "MUST NOT initiate a
    /// new INVITE transaction within a dialog while another INVITE transaction is in progress in either direction".
    pub(super) fn try_reoffer(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        let handle = self.handle;
        let Stage::Confirmed(talk) = &mut self.stage else { return Step::Stay };
        let (Some(hold), None, Reoffer::None) = (talk.wanted_hold, &talk.unacked, &talk.reoffer) else {
            return Step::Stay;
        };
        talk.wanted_hold = None;
        let Some(offer) = self.session.as_mut().and_then(|session| session.offer(hold).ok()) else {
            return Step::Stay;
        };
        let before = Box::new(talk.dialog.clone());
        let draft = talk.dialog.request(Method::Invite);
        let draft = draft
            .header(HeaderName::UserAgent, &cx.settings.product)
            .header(HeaderName::Allow, ALLOW)
            .body(SDP, offer);
        let purpose = Purpose::Reinvite { call: handle, dialog: before, ack: None };
        match desk.send_over(cx, draft, Some(self.contact_user.clone()), purpose, self.flow) {
            Ok(invite) => {
                talk.reoffer = Reoffer::Sent { invite, hold };
                Step::Stay
            }
            Err(_) => self.keep_session(),
        }
    }

    /// The owner wants the session changed.
    pub(super) fn want_hold(&mut self, desk: &mut Desk, cx: &mut Context<'_>, hold: bool) -> Step {
        if let Some(talk) = self.talk_mut() {
            talk.wanted_hold = Some(hold);
        }
        self.try_reoffer(desk, cx)
    }

    /// The time after a 491 is over.
    pub(super) fn glare_over(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        if let Some(talk) = self.talk_mut() {
            talk.reoffer = Reoffer::None;
        }
        self.try_reoffer(desk, cx)
    }

    fn handle_reinvite_accepted(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        request: UaRequest,
        response: &Message,
    ) -> Step {
        if self.take_reoffer(request).is_none() {
            return Step::Stay;
        }
        let Some(talk) = self.talk_mut() else { return Step::Stay };
        // A Contact that can't be read leaves the old target, to which the ACK went too.
        let _ = talk.dialog.refresh_target(response);
        self.packages.learn(response);
        let answer = description_of(response).ok().flatten();
        let taken = match (&mut self.session, answer) {
            (Some(session), Some(answer)) => session.take_answer(answer).is_ok(),
            _ => false,
        };
        if !taken {
            return self.say_bye_now(desk, cx, EndReason::BadSession);
        }
        self.apply(cx);
        cx.event(Event::SessionChanged { call: self.handle });
        self.try_reoffer(desk, cx)
    }

    fn handle_reinvite_refused(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        request: UaRequest,
        sent: Sent,
        response: &Message,
        status: Status,
    ) -> Step {
        let Some(hold) = self.take_reoffer(request) else { return Step::Stay };
        let (handle, outgoing) = (self.handle, self.outgoing);
        let Some(talk) = self.talk_mut() else { return Step::Stay };
        if status.is_challenge() {
            let cseq = talk.dialog.next_cseq();
            return match desk.retry(cx, sent, response, cseq) {
                Ok(invite) => {
                    talk.reoffer = Reoffer::Sent { invite, hold };
                    Step::Stay
                }
                Err(_) => self.keep_session(),
            };
        }
        match status.code() {
            491 => {
                talk.reoffer = Reoffer::Glare;
                talk.wanted_hold = talk.wanted_hold.or(Some(hold));
                let wait = glare_wait(cx.random_u64(), outgoing);
                desk.deadlines.start(Wake::Reoffer(handle), cx.now + wait);
                self.keep_session()
            }
            // RFC 3261 §12.2.1.2, §14.1.
            408 | 481 => self.say_bye_now(desk, cx, EndReason::DialogLost),
            _ => {
                let kept = self.keep_session();
                if kept == Step::Stay { self.try_reoffer(desk, cx) } else { kept }
            }
        }
    }

    /// Whether a re-INVITE put the peer on hold, if it is the one that waits; it waits no more then.
    fn take_reoffer(&mut self, request: UaRequest) -> Option<bool> {
        let talk = self.talk_mut()?;
        let Reoffer::Sent { invite, hold } = talk.reoffer else { return None };
        if invite != request {
            return None;
        }
        talk.reoffer = Reoffer::None;
        Some(hold)
    }

    /// RFC 3261 §14.1: "the session parameters MUST remain unchanged, as if no re-INVITE had been issued".
    fn keep_session(&mut self) -> Step {
        if let Some(session) = &mut self.session {
            session.withdraw();
        }
        Step::Stay
    }
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
