//! Reliable provisional responses (RFC 3262): the PRACKs of the peer for ours, and ours for its.

use bytes::Bytes;
use dialtone_dialog::reliable::Due;
use dialtone_wire::headers::RSeq;
use dialtone_wire::net::Transmit;
use dialtone_wire::{HeaderName, Message, Method, Status, Writer};
use smol_str::{SmolStr, format_smolstr};

use super::call::{Call, Exchange, Ringing, Stage, Step};
use super::deadlines::Wake;
use super::desk::{Desk, Purpose, Sent};
use super::in_dialog::Incoming;
use super::refusal::{Refusal, SDP, check_size, description_of, offer_pending};
use super::reoffer::{Carrier, Wanted, What};
use super::session::Change;
use crate::context::Context;
use crate::io::EndReason;

/// A PRACK of ours.
#[derive(Debug)]
pub(super) struct Prack {
    pub(super) rseq: RSeq,
    /// The CSeq number of the INVITE.
    pub(super) invite_cseq: u32,
    pub(super) body: Option<Bytes>,
    /// The change that its body offers.
    pub(super) change: Option<Wanted>,
}

impl Ringing {
    /// The next reliable response may go out, or the responses are not reliable.
    pub(super) fn is_free(&self) -> bool {
        self.reliable.as_ref().is_none_or(|reliable| !reliable.is_waiting())
    }
}

impl Call {
    /// A PRACK (RFC 3262 §3): 481 where it is for nothing that waits.
    pub(super) fn handle_prack(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        incoming: &Incoming<'_>,
    ) -> Step {
        let ours = self.changes.offers();
        let reliable = match &self.stage {
            Stage::Ringing(ringing) => ringing.reliable.as_ref(),
            Stage::Answered(talk) | Stage::Confirmed(talk) => talk.reliable.as_ref(),
            Stage::Calling(_) | Stage::Cancelling { .. } | Stage::Ending { .. } => None,
        };
        if !reliable.is_some_and(|reliable| reliable.awaits(incoming.request)) {
            return incoming.refuse(cx, &Refusal::new(481));
        }
        let checked =
            check_size(cx.settings, incoming.request).and_then(|()| description_of(incoming.request));
        let description = match checked {
            Ok(description) => description,
            Err(refusal) => return incoming.refuse(cx, &refusal),
        };
        if matches!(self.stage, Stage::Answered(_) | Stage::Confirmed(_)) {
            // Our 2xx has overtaken it. An offer would have had to come in an UPDATE.
            self.acknowledged(incoming.request);
            incoming.accept(cx);
            return Step::Stay;
        }
        let Stage::Ringing(ringing) = &mut self.stage else { return Step::Stay };
        let answer = match (description, ringing.exchange, ringing.offers, &mut self.session) {
            (None, ..) => None,
            (Some(answer), Exchange::Sent, true, Some(session)) => {
                let taken = session.take_answer(answer).is_ok();
                self.acknowledged(incoming.request);
                incoming.accept(cx);
                return self.offer_answered(desk, cx, taken);
            }
            // RFC 6337 §2.2: "only if the reliable response that it acknowledges contains an answer". With the answer
            // still to come it is an offer too many.
            (Some(_), Exchange::Open, ..) => {
                let refusal = offer_pending(cx.random_u64());
                return incoming.refuse(cx, &refusal);
            }
            (Some(_), ..) if ours => return incoming.refuse(cx, &Refusal::new(491)),
            // §2.3: a 488 leaves the response unacknowledged; the client may send a PRACK without offer.
            (Some(_), _, _, None) => return incoming.refuse(cx, &Refusal::new(488)),
            (Some(offer), _, _, Some(session)) => match session.answer(cx, offer) {
                Ok(answer) => Some(answer),
                Err(error) => {
                    let refusal = error.refusal(cx.settings);
                    return incoming.refuse(cx, &refusal);
                }
            },
        };
        let owes_answer = ringing.exchange == Exchange::Sent && ringing.offers;
        self.acknowledged(incoming.request);
        match &answer {
            Some(answer) => incoming.accept_with(cx, answer),
            None => incoming.accept(cx),
        }
        if owes_answer {
            // RFC 3262 §5: "it MUST generate an answer in the PRACK".
            return self.offer_answered(desk, cx, false);
        }
        if answer.is_some() {
            self.session_changed(cx);
        }
        self.after_prack(desk, cx)
    }

    fn acknowledged(&mut self, prack: &Message) {
        let ringing = match &mut self.stage {
            Stage::Ringing(ringing) => ringing,
            Stage::Answered(talk) | Stage::Confirmed(talk) => {
                talk.reliable = None;
                return;
            }
            Stage::Calling(_) | Stage::Cancelling { .. } | Stage::Ending { .. } => return,
        };
        let matches = ringing.reliable.as_mut().is_some_and(|reliable| reliable.acknowledged(prack));
        if matches && ringing.exchange == Exchange::Sent {
            ringing.exchange = Exchange::Done;
        }
    }

    /// Our offer in a reliable response has its answer, or none that can be used.
    fn offer_answered(&mut self, desk: &mut Desk, cx: &mut Context<'_>, taken: bool) -> Step {
        if !taken {
            return self.refuse(cx, Status::of(488), EndReason::BadSession);
        }
        self.apply(cx);
        self.tell_hold(cx);
        self.after_prack(desk, cx)
    }

    /// Nothing waits for a PRACK any more.
    fn after_prack(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        desk.deadlines.stop(Wake::Reliable(self.handle));
        let owes_progress = match &mut self.stage {
            Stage::Ringing(ringing) => std::mem::take(&mut ringing.owes_progress) && ringing.answer.is_none(),
            _ => false,
        };
        let step = if owes_progress { self.say_progress(desk, cx) } else { Step::Stay };
        let step = if step == Step::Stay { self.answer_that_waits(desk, cx) } else { step };
        match step {
            Step::Stay => self.try_change(desk, cx),
            end @ Step::End(_) => end,
        }
    }

    /// Sends the 2xx that had to wait, unless it still has to.
    pub(super) fn answer_that_waits(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        match &mut self.stage {
            Stage::Ringing(ringing) => match ringing.answer.take() {
                Some(play) => self.answer(desk, cx, play),
                None => Step::Stay,
            },
            _ => Step::Stay,
        }
    }

    /// A reliable response has not had its PRACK yet: it is sent again, or the call is given up (RFC 3262 §3).
    pub(super) fn reliable_due(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        let handle = self.handle;
        let Stage::Ringing(ringing) = &mut self.stage else { return Step::Stay };
        let Some(reliable) = &mut ringing.reliable else { return Step::Stay };
        match (reliable.handle_timeout(cx.now), ringing.reliable_flow) {
            (Some(Due::GiveUp), _) => return self.refuse(cx, Status::of(504), EndReason::NoAck),
            (Some(Due::Resend(bytes)), Some(flow)) => cx.transmit(Transmit { flow, bytes }),
            (Some(Due::Resend(_)), None) | (None, _) => {}
        }
        if let Some((at, _)) = reliable.poll_timeout() {
            desk.deadlines.start(Wake::Reliable(handle), at);
        }
        Step::Stay
    }

    /// Acknowledges a reliable response of the peer (RFC 3262 §4), with the answer to its offer, or with an offer of ours
    /// where there is a change to carry.
    pub(super) fn acknowledge(&mut self, desk: &mut Desk, cx: &mut Context<'_>, tag: &str, prack: Prack) {
        let Prack { rseq, invite_cseq, body, change } = prack;
        let (handle, flow) = (self.handle, self.flow);
        let Some(dialog) = self.dialog_mut(tag) else { return };
        let draft = dialog
            .request(Method::Prack)
            .header(HeaderName::RAck, &format_smolstr!("{} {invite_cseq} INVITE", rseq.0))
            .header(HeaderName::UserAgent, &cx.settings.product);
        let draft = match body {
            Some(body) => draft.body(SDP, body),
            None => draft,
        };
        let purpose = Purpose::InDialog { call: handle, tag: SmolStr::new(tag) };
        let sent = desk.send_over(cx, draft, None, purpose, flow);
        match (sent, change) {
            (Ok(request), Some(wanted)) => {
                let carrier = Carrier::Prack { rseq, invite_cseq };
                self.changes.sent(request, carrier, wanted, true, Change::default());
            }
            (Err(_), Some(_)) => {
                if let Some(session) = &mut self.session {
                    session.withdraw();
                }
            }
            // One that can't be sent is as one that is lost: the peer gives the INVITE up.
            (Ok(_) | Err(_), None) => {}
        }
    }

    /// The offer that our PRACK may carry: only now that the response has brought the answer (RFC 3262 §5).
    pub(super) fn offer_for_prack(&mut self, cx: &mut Context<'_>) -> (Option<Bytes>, Option<Wanted>) {
        let Some(wanted @ Wanted { what: What::Offer(change), .. }) = self.changes.wanted else {
            return (None, None);
        };
        if self.changes.asked().is_some() {
            return (None, None);
        }
        match self.session.as_mut().and_then(|session| session.offer(cx, change).ok()) {
            Some(offer) => {
                self.changes.wanted = None;
                (Some(offer), Some(wanted))
            }
            None => (None, None),
        }
    }

    /// A PRACK of ours was challenged.
    pub(super) fn authenticate_prack(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        sent: Sent,
        response: &Message,
    ) -> Step {
        let Purpose::InDialog { tag, .. } = &sent.purpose else { return Step::Stay };
        let Some(dialog) = self.dialog_mut(tag) else { return Step::Stay };
        let cseq = dialog.next_cseq();
        // Without credentials the peer gives the INVITE up.
        let _ = desk.retry(cx, sent, response, cseq);
        Step::Stay
    }
}

/// Writes what makes a provisional response reliable (RFC 3262 §3), and what may follow it.
pub(super) fn write_reliable(writer: &mut Writer, rseq: Option<RSeq>) {
    if let Some(RSeq(rseq)) = rseq {
        writer.header(HeaderName::Require, dialtone_dialog::reliable::OPTION_TAG);
        writer.header(HeaderName::RSeq, rseq);
        writer.header(HeaderName::Allow, super::refusal::ALLOW);
    }
}
