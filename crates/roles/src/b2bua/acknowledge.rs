//! ACK: 2xx of ours until theirs comes, and ours for the 2xx of a peer (RFC 3261 §13.2.2.4, §13.3.1.4).
//!
//! A 2xx gets its ACK at once, unless it has an offer: then the ACK has the answer of the other side, and waits for the
//! ACK from there.

use bytes::Bytes;
use dialtone_dialog::DialogId;
use dialtone_wire::net::Transmit;
use dialtone_wire::{Message, Status};
use smol_str::SmolStr;

use super::bodies;
use super::deadlines::Wake;
use super::desk::Purpose;
use super::{B2bua, LegId};
use crate::context::{Context, UaRequest};

impl B2bua {
    /// An ACK from the network; says whether it belongs to a leg.
    pub(crate) fn handle_ack(&mut self, cx: &mut Context<'_>, ack: &Message) -> bool {
        let Some(id) = self.leg_towards(ack) else { return false };
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        if !DialogId::of_request(ack).is_ok_and(|dialog| leg.strand_of(&dialog).is_some()) {
            return false;
        }
        let cseq = ack.cseq().map(|cseq| cseq.number).ok();
        let Some(unacked) = leg.unacked.take_if(|unacked| Some(unacked.cseq) == cseq) else {
            // One more of the same.
            return true;
        };
        self.desk.deadlines.stop(Wake::RepeatAnswer(id));
        self.desk.deadlines.stop(Wake::NoAck(id));
        if unacked.offers {
            self.carry_answer(cx, id, ack);
        }
        self.pay_bye(cx, id);
        self.task_goes_on(cx, id);
        self.sweep(id);
        true
    }

    /// The ACK has the answer to the offer of the other side's 2xx.
    fn carry_answer(&mut self, cx: &mut Context<'_>, id: LegId, ack: &Message) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let answer = bodies::description(ack).map(Bytes::copy_from_slice);
        if let (Some(answer), Some(strand)) = (&answer, leg.strands.first_mut()) {
            strand.described.received = answer.clone();
        }
        let Some(peer) = leg.peer else { return };
        match answer {
            Some(answer) => {
                self.pay_ack(cx, peer, Some(&answer));
                self.late_offer_answered(cx, id, &answer);
            }
            // RFC 3261 §13.2.1 wants one: nobody knows what to send where.
            None => self.give_up(cx, id, Status::of(500), None),
        }
    }

    /// A 2xx of a leg wants its ACK.
    pub(super) fn owe_ack(&mut self, id: LegId, request: UaRequest, tag: &str) {
        let Some(sent) = self.desk.requests.get_mut(&request) else { return };
        if let Purpose::Invite { acks, .. } = &mut sent.purpose {
            acks.push((SmolStr::new(tag), None));
        }
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.owe(request, tag);
        }
    }

    /// Sends the ACK that a leg owes, with the answer of the other side to its offer.
    pub(super) fn pay_ack(&mut self, cx: &mut Context<'_>, id: LegId, answer: Option<&[u8]>) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let ip = leg.local.local.ip();
        let (Some(owed), Some(strand)) = (leg.owes_ack.take(), leg.strands.first_mut()) else { return };
        let body =
            answer.map(|answer| ("application/sdp", strand.described.pass(&cx.settings.bridges, answer, ip)));
        self.desk.acknowledge(cx, owed.request, &strand.dialog, &owed.tag, body);
    }

    /// Sends the ACK that a leg owes, whose offer nobody answers any more: all of its streams are refused.
    pub(super) fn refuse_offer(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let ip = leg.local.local.ip();
        let (Some(owed), Some(strand)) = (leg.owes_ack.take(), leg.strands.first_mut()) else { return };
        let offers = self.desk.requests.get(&owed.request).is_some_and(|sent| !sent.offers());
        let offer = strand.described.received.clone();
        let body =
            (offers && !offer.is_empty()).then(|| ("application/sdp", strand.described.refuse(&offer, ip)));
        self.desk.acknowledge(cx, owed.request, &strand.dialog, &owed.tag, body);
    }

    /// The host name that an ACK goes to was looked up, and the ACK sent if it has an address.
    pub(crate) fn ack_resolved(&mut self, request: UaRequest, tag: &str, ack: Option<Transmit>) {
        let Some(sent) = self.desk.requests.get_mut(&request) else { return };
        if let Purpose::Invite { acks, .. } = &mut sent.purpose
            && let Some((_, kept)) = acks.iter_mut().find(|(of, _)| of == tag)
        {
            *kept = ack;
        }
    }

    /// A 2xx without ACK is sent again after T1, and after twice the time up to T2, over reliable transports too.
    pub(super) fn repeat_answer(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(unacked) = self.legs.get_mut(&id).and_then(|leg| leg.unacked.as_mut()) else { return };
        unacked.interval = unacked.interval.saturating_mul(2).min(cx.settings.timers.t2());
        cx.transmit(unacked.transmit.clone());
        self.desk.deadlines.start(Wake::RepeatAnswer(id), cx.now + unacked.interval);
    }

    /// RFC 3261 §13.3.1.4: "the dialog is confirmed, but the session SHOULD be terminated".
    pub(super) fn no_ack(&mut self, cx: &mut Context<'_>, id: LegId) {
        self.desk.deadlines.stop(Wake::RepeatAnswer(id));
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.unacked.take().is_none() {
            return;
        }
        if leg.owes_bye.is_some() {
            self.pay_bye(cx, id);
        } else {
            self.give_up(
                cx,
                id,
                Status::of(408),
                Some(SmolStr::new_static("SIP ;cause=408 ;text=\"No ACK\"")),
            );
        }
        self.sweep(id);
    }
}
