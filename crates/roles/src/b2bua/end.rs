//! The end of a bridge: BYE on one side is answered at once and sent on the other (RFC 3261 §15).

use dialtone_transaction::ServerId;
use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::SmolStr;

use super::deadlines::Wake;
use super::desk::Purpose;
use super::refusal::Refusal;
use super::{Asked, B2bua, LegId, Stage};
use crate::context::{Context, UaRequest};

impl B2bua {
    /// A peer hangs up.
    pub(super) fn handle_bye(&mut self, cx: &mut Context<'_>, id: LegId, server: ServerId, bye: &Message) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.stage == Stage::Setup && leg.outgoing {
            // RFC 3261 §15: "the callee's UA MUST NOT send a BYE on early dialogs".
            return Refusal::of(481).send(cx, server, bye, None);
        }
        let product = cx.settings.product.clone();
        let accept = |writer: &mut dialtone_wire::Writer| {
            writer.header(HeaderName::Server, product);
        };
        let _ = cx.respond(server, bye, Status::of(200), None, accept, None);
        self.task_lost(cx, id);
        self.leave_to_silence(cx, id);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let reason = bye.value(HeaderName::Reason).and_then(|value| std::str::from_utf8(value).ok());
        let reason = reason.map(SmolStr::new);
        match leg.stage {
            // Both hung up at once: ours has its own answer to come.
            Stage::Over => {
                leg.owes_bye = None;
                self.sweep(id);
            }
            Stage::Setup => self.give_up(cx, id, Status::of(487), reason),
            Stage::Talking => {
                let peer = leg.peer.take();
                self.end_music(cx, id);
                // §15.1.2: "a 487 (Request Terminated) response be generated to those pending requests."
                self.refuse_pending(cx, id, Status::of(487));
                self.refuse_offer(cx, id);
                self.close(cx, id);
                if let Some(peer) = peer {
                    self.hang_up(cx, peer, Status::of(487), reason);
                }
                self.sweep(id);
            }
        }
    }

    /// Ends both sides, from ours.
    pub(super) fn give_up(
        &mut self,
        cx: &mut Context<'_>,
        id: LegId,
        status: Status,
        reason: Option<SmolStr>,
    ) {
        self.leave_to_silence(cx, id);
        let peer = self.legs.get(&id).and_then(|leg| leg.peer);
        self.hang_up(cx, id, status, reason.clone());
        if let Some(peer) = peer {
            self.hang_up(cx, peer, status, reason);
        }
    }

    /// Ends one side, as its state asks for: with a refusal that has this status, CANCEL, or BYE. It has no other side any
    /// more.
    pub(super) fn hang_up(
        &mut self,
        cx: &mut Context<'_>,
        id: LegId,
        status: Status,
        reason: Option<SmolStr>,
    ) {
        self.task_lost(cx, id);
        self.end_music(cx, id);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let other = leg.peer.take();
        if let Some(held) = leg.hold.plays_to.take().and_then(|held| self.legs.get_mut(&held)) {
            held.hold.music = None;
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match (leg.stage, leg.outgoing) {
            (Stage::Over, _) => {}
            (Stage::Setup, false) => {
                self.refuse_pending(cx, id, status);
                self.close(cx, id);
            }
            (Stage::Setup, true) => {
                leg.stage = Stage::Over;
                leg.errand = None;
                if let Some(invite) = leg.invite {
                    cx.cancel(invite, reason.as_deref());
                    let over = cx.now + cx.settings.timers.transaction_timeout() * 2;
                    self.desk.deadlines.stop(Wake::Unanswered(id));
                    self.desk.deadlines.start(Wake::CancelOver(id), over);
                }
            }
            (Stage::Talking, _) => {
                self.refuse_pending(cx, id, Status::of(487));
                self.refuse_offer(cx, id);
                self.close(cx, id);
                if let Some(leg) = self.legs.get_mut(&id) {
                    leg.owes_bye = Some(reason);
                }
                self.pay_bye(cx, id);
            }
        }
        if let Some(other) = other.and_then(|other| self.legs.get_mut(&other)) {
            other.peer = other.peer.filter(|peer| *peer != id);
        }
        self.sweep(id);
    }

    /// A leg whose INVITE has been refused: nothing of it is left.
    pub(super) fn end_quietly(&mut self, id: LegId) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.peer = None;
            leg.stage = Stage::Over;
        }
        self.sweep(id);
    }

    /// Refuses an INVITE that a leg was asked and that has no final response.
    fn refuse_pending(&mut self, cx: &mut Context<'_>, id: LegId, status: Status) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if let Some(Asked { server, request, .. }) = leg.asked.take() {
            self.desk.servers.remove(&server);
            let refusal = Refusal::of(status.code());
            let refusal = match status.code() {
                503 => refusal.with(HeaderName::RetryAfter, 10),
                _ => refusal,
            };
            refusal.send(cx, server, &request, Some(&leg.tag));
        }
    }

    /// Nothing but the last messages is waited for.
    fn close(&mut self, cx: &Context<'_>, id: LegId) {
        self.unpark(id);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.stage = Stage::Over;
        for wake in [
            Wake::Session(id),
            Wake::Refresh(id),
            Wake::Reliable(id),
            Wake::Unanswered(id),
            Wake::Release(id),
        ] {
            self.desk.deadlines.stop(wake);
        }
        // A re-INVITE of ours gets its answer, and that its ACK, within 64·T1; nobody waits for it.
        if let Some(invite) = leg.invite.take() {
            self.desk.limit_invite(cx, invite);
        }
    }

    /// Sends the BYE that is owed, unless our 2xx has no ACK yet: §15 "the callee's UA MUST NOT send a BYE on a confirmed
    /// dialog until it has received an ACK for its 2xx response or until the server transaction times out."
    pub(super) fn pay_bye(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.unacked.is_none()) else { return };
        let Some(reason) = leg.owes_bye.take() else { return };
        let Some(strand) = leg.strands.first_mut() else { return };
        let mut draft = strand.dialog.request(Method::Bye);
        if let Some(reason) = &reason {
            draft = draft.header(HeaderName::Reason, reason);
        }
        let leg = &*leg;
        let bye = self.desk.send(cx, leg, draft, Purpose::Bye);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.bye = bye;
        }
    }

    /// Our BYE has its answer, or none will come: §15.1.1 the dialog is over either way.
    pub(super) fn bye_answered(&mut self, request: UaRequest) {
        let Some(sent) = self.desk.requests.remove(&request) else { return };
        if let Some(leg) = self.legs.get_mut(&sent.leg) {
            leg.bye = None;
        }
        self.sweep(sent.leg);
    }

    /// The server is about to end: each call is ended.
    pub(crate) fn hang_up_all(&mut self, cx: &mut Context<'_>) {
        let ids: Vec<LegId> = self.legs.keys().copied().collect();
        for id in ids {
            self.hang_up(cx, id, Status::of(503), None);
        }
    }
}
