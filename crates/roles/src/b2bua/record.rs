//! What the records and the list say of calls that the server has brought together: the pair is a call of its own, from him
//! who was there first to him who was brought, and what was before is over. A transfer that fails is a call that
//! was refused, and so is a call between two that does not come about.

use dialtone_wire::Status;
use dialtone_wire::time::Instant;
use smol_str::SmolStr;

use super::{B2bua, LegId};
use crate::context::Context;
use crate::listing::{CallState, ListedCall};
use crate::records::Pair;

/// What the record of a transfer, or of a call that was asked for on the command line, says should it fail.
#[derive(Clone, Debug)]
pub(super) struct Sought {
    pub(super) since: Instant,
    /// The call that was to be transferred; that of who was asked first.
    pub(super) call_id: SmolStr,
    /// Who was to be brought, and to whom.
    pub(super) parties: [SmolStr; 2],
}

impl Sought {
    pub(super) fn record(&self, cx: &mut Context<'_>, status: Status) {
        let [caller, callee] = &self.parties;
        cx.record_failed(self.since, &self.call_id, [caller, callee], status);
    }
}

impl B2bua {
    /// Two legs are one call.
    pub(super) fn record_pair(&mut self, cx: &mut Context<'_>, caller: LegId, callee: LegId) {
        let (Some(near), Some(far)) = (self.legs.get(&caller), self.legs.get(&callee)) else { return };
        let (Some(hers), Some(his)) = (near.strands.first(), far.strands.first()) else { return };
        let (hers, his) = (hers.dialog.id(), his.dialog.id());
        let pair = Pair {
            call_id: &hers.call_id,
            tags: [&hers.remote_tag, &hers.local_tag],
            other: (&his.call_id, [&his.remote_tag, &his.local_tag]),
            caller: &near.party.address,
            callee: &far.party.address,
        };
        let listed = ListedCall::of_parties(CallState::Talking, pair.call_id, [pair.caller, pair.callee]);
        cx.record_pair(pair);
        if let Some(leg) = self.legs.get_mut(&callee) {
            leg.listed = None;
        }
        if let Some(leg) = self.legs.get_mut(&caller) {
            leg.listed = Some(Box::new(listed));
        }
    }
}
