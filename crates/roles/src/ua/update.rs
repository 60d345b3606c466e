//! UPDATE requests of the peer (RFC 3311 §5.2), in early and confirmed dialogs.

use bytes::Bytes;
use dialtone_wire::Status;

use super::call::{Call, Exchange, Stage, Step};
use super::desk::Desk;
use super::in_dialog::{Incoming, own_flow};
use super::incoming::answer_headers;
use super::refusal::{Refusal, SDP, check_size, description_of, offer_pending};
use crate::context::Context;
use crate::io::Side;

impl Call {
    /// The peer changes the session, refreshes it, or tells where it is now.
    pub(super) fn handle_update(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        incoming: &Incoming<'_>,
        remote_tag: &str,
    ) -> Step {
        let request = incoming.request;
        let offer = match check_size(cx.settings, request).and_then(|()| description_of(request)) {
            Ok(offer) => offer,
            Err(refusal) => return incoming.refuse(cx, &refusal),
        };
        let may_offer = if offer.is_some() { self.may_offer(cx, remote_tag) } else { Ok(()) };
        let is_call = matches!(self.stage, Stage::Answered(_) | Stage::Confirmed(_));
        // RFC 4028 §7.4: the session timer begins with the 2xx to the INVITE.
        let granted = if is_call { self.grant(cx.settings, request) } else { Ok(None) };
        let grant = match may_offer.and(granted) {
            Ok(grant) => grant,
            Err(refusal) => return incoming.refuse(cx, &refusal),
        };
        let Some(mut dialog) = self.dialog_mut(remote_tag).map(|dialog| dialog.clone()) else {
            return incoming.refuse(cx, &Refusal::new(481));
        };
        if dialog.refresh_target(request).is_err() {
            return incoming.refuse(cx, &Refusal::new(400));
        }
        let is_same = offer.is_none_or(|offer| self.offers_the_same(offer));
        let answer = offer.map(|offer| self.answer_in(cx, remote_tag, offer)).transpose();
        let answer = match answer {
            Ok(answer) => answer,
            Err(refusal) => return incoming.refuse(cx, &refusal),
        };
        if let Some(known) = self.dialog_mut(remote_tag) {
            *known = dialog;
        }
        self.note_allow(request);
        if is_call {
            self.flow = own_flow(request, incoming.flow);
        }
        let headers = answer_headers(cx, request, &incoming.flow, &self.contact_user, grant);
        let body = answer.as_deref().map(|answer| (SDP, answer));
        // A transaction that is gone needs no answer any more.
        let _ = cx.respond(incoming.server, request, Status::of(200), None, headers, body);
        if is_call {
            self.granted(desk, cx, request, grant);
        }
        match is_same {
            _ if !self.is_heard(remote_tag) => {}
            true => self.refreshed(cx, Side::Remote),
            false => self.session_changed(cx),
        }
        Step::Stay
    }

    /// Whether an offer may come in this dialog now (RFC 3311 §5.2): 491 while one of ours waits for its answer, 500 while
    /// we owe the answer to one of theirs.
    pub(super) fn may_offer(&mut self, cx: &mut Context<'_>, remote_tag: &str) -> Result<(), Refusal> {
        let ours = self.changes.offers();
        match &mut self.stage {
            Stage::Calling(calling) => {
                let is_settled = calling.early_mut(remote_tag).is_some_and(|early| early.is_settled);
                if is_settled && !(ours && self.is_heard(remote_tag)) {
                    Ok(())
                } else {
                    Err(Refusal::new(491))
                }
            }
            Stage::Ringing(ringing) => match (ringing.exchange, ringing.offers) {
                // The offer of the INVITE has no answer, or it was a preview in an unreliable response.
                (Exchange::Open, false) => Err(offer_pending(cx.random_u64())),
                (Exchange::Open | Exchange::Sent, true) => Err(Refusal::new(491)),
                // It has overtaken the PRACK.
                (Exchange::Sent, false) | (Exchange::Done, _) if ours => Err(Refusal::new(491)),
                (Exchange::Sent, false) | (Exchange::Done, _) => Ok(()),
            },
            Stage::Answered(talk) | Stage::Confirmed(talk) => {
                let offered = talk.unacked.as_ref().is_some_and(|unacked| unacked.offers);
                if ours || offered || talk.hung_up { Err(Refusal::new(491)) } else { Ok(()) }
            }
            Stage::Cancelling { .. } | Stage::Ending { .. } => Err(Refusal::new(481)),
        }
    }

    /// Whether an offer of the peer is the session as it is.
    pub(super) fn offers_the_same(&self, offer: &[u8]) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_in_force(offer))
    }

    /// Whether the session in use is that of this dialog.
    fn is_heard(&self, remote_tag: &str) -> bool {
        match &self.stage {
            Stage::Calling(calling) => calling.answered_by.as_deref() == Some(remote_tag),
            Stage::Ringing(_) | Stage::Answered(_) | Stage::Confirmed(_) => true,
            Stage::Cancelling { .. } | Stage::Ending { .. } => false,
        }
    }

    /// Answers an offer in one of the dialogs of the call.
    fn answer_in(&mut self, cx: &mut Context<'_>, remote_tag: &str, offer: &[u8]) -> Result<Bytes, Refusal> {
        let is_heard = self.is_heard(remote_tag);
        let Some(session) = &mut self.session else { return Err(Refusal::new(488)) };
        let apart = match &mut self.stage {
            Stage::Calling(calling) if !is_heard => calling.early_mut(remote_tag),
            _ => None,
        };
        let answered = match apart {
            Some(early) => session.apart(&mut early.apart, |session| session.answer(cx, offer)),
            None => session.answer(cx, offer),
        };
        answered.map_err(|error| error.refusal(cx.settings))
    }
}
