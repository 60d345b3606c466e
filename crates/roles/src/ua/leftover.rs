//! Answers that outlive their call: a BYE may pass the ACK, or overtake the 2xx itself. The INVITE still wants its three
//! messages (RFC 3261 §13.3.1.4, RFC 5407 §3.1.3 and appendix D), so the 2xx is repeated until its ACK comes.

use dialtone_dialog::DialogId;
use dialtone_wire::Message;
use dialtone_wire::time::Instant;

use super::call::Unacked;
use super::deadlines::Wake;
use super::desk::Desk;
use crate::context::Context;
use crate::io::CallHandle;

/// A 2xx of ours without ACK, whose call is over.
#[derive(Debug)]
pub(super) struct Leftover {
    dialog: DialogId,
    answer: Unacked,
    /// 64·T1 after it was sent first.
    over: Instant,
}

impl Desk {
    /// Takes the 2xx over from its call, whose timers still run.
    pub(super) fn leave_answer(
        &mut self,
        cx: &Context<'_>,
        call: CallHandle,
        dialog: &DialogId,
        answer: Unacked,
    ) {
        let next = self.deadlines.at(Wake::RepeatAnswer(call));
        let (Some(next), Some(over)) = (next, self.deadlines.at(Wake::NoAck(call))) else { return };
        if self.leftovers.len() >= cx.settings.limits.calls {
            return;
        }
        self.next_leftover += 1;
        self.deadlines.start(Wake::Leftover(self.next_leftover), next.min(over));
        self.leftovers.insert(self.next_leftover, Leftover { dialog: dialog.clone(), answer, over });
    }

    /// Sends one again, or gives it up.
    pub(super) fn repeat_leftover(&mut self, cx: &mut Context<'_>, number: u64) {
        let Some(leftover) = self.leftovers.get_mut(&number) else { return };
        if leftover.over <= cx.now {
            self.leftovers.remove(&number);
            return;
        }
        let answer = &mut leftover.answer;
        answer.interval = answer.interval.saturating_mul(2).min(cx.settings.timers.t2());
        cx.transmit(answer.transmit.clone());
        let next = (cx.now + answer.interval).min(leftover.over);
        self.deadlines.start(Wake::Leftover(number), next);
    }

    /// The ACK of one has come; says whether it was one.
    pub(super) fn leftover_acknowledged(&mut self, dialog: &DialogId, ack: &Message) -> bool {
        let Ok(cseq) = ack.cseq() else { return false };
        let found = self
            .leftovers
            .iter()
            .find(|(_, leftover)| leftover.answer.cseq == cseq.number && leftover.dialog == *dialog);
        let Some(number) = found.map(|(number, _)| *number) else { return false };
        self.leftovers.remove(&number);
        self.deadlines.stop(Wake::Leftover(number));
        true
    }
}
