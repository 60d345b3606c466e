//! What an attended transfer waits for before its REFER is sent: that the target answers (RFC 5589 §7.6), that it says
//! whether it knows Replaces, and, where it does not, that our call with it is over (§7.7).
//!
//! ```text
//!   transferor                                  target
//!       |  INVITE, 200, ACK: no Supported          |
//!       |----------------------------------------->|
//!       |  OPTIONS                                 |   200 with replaces: REFER with Replaces
//!       |----------------------------------------->|   200 without, with REFER: it gets the REFER
//!       |  BYE                                     |   200 without both: as here
//!       |----------------------------------------->|
//!       |  REFER to the transferee, without Replaces
//! ```

use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::SmolStr;

use super::referred::status_of;
use super::{Transfers, Way};
use crate::context::{Context, UaRequest};
use crate::io::{CallHandle, EndReason, Event, TransferOutcome};
use crate::ua::Ua;
use crate::ua::call::Stage;
use crate::ua::desk::Purpose;
use crate::ua::refusal::SDP;

/// An attended transfer that can't begin yet.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The call that is given away.
    pub(super) call: CallHandle,
    until: Until,
}

/// What it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Until {
    /// The target answers.
    Answered,
    /// The target says what it can do.
    Told,
    /// The call with the target is over; its address-of-record as a Refer-To.
    Over(SmolStr),
}

impl Ua {
    /// The owner wants the other sides of two calls to talk with each other. Says whether that is under way.
    pub(super) fn join_with(&mut self, cx: &mut Context<'_>, call: CallHandle, other: CallHandle) -> bool {
        if !self.is_talking(call) {
            return false;
        }
        let Some(target) = self.calls.get(other) else { return false };
        match &target.stage {
            // RFC 5589 §7.6, Figure 11: "the Transferor's User Agent continues the transfer as an attended transfer even
            // after the Transferor hangs up".
            Stage::Calling(_) => {
                self.desk.transfers.waiting.insert(other, Waiting { call, until: Until::Answered });
                true
            }
            Stage::Answered(talk) | Stage::Confirmed(talk) if !talk.hung_up => {
                let is_able = target.packages.knows_replaces;
                (!is_able && self.ask_capabilities(cx, call, other)) || self.send_joining(cx, call, other)
            }
            Stage::Answered(_)
            | Stage::Confirmed(_)
            | Stage::Cancelling { .. }
            | Stage::Ringing(_)
            | Stage::Ending { .. } => false,
        }
    }

    /// RFC 5589 §7.7, Figure 15: asks the target, which has not said that it knows Replaces.
    fn ask_capabilities(&mut self, cx: &mut Context<'_>, call: CallHandle, other: CallHandle) -> bool {
        let Some((draft, flow, contact_user)) = self.request_in(&Way::Call(other), Method::Options) else {
            return false;
        };
        let draft = draft.header(HeaderName::Accept, SDP).header(HeaderName::UserAgent, &cx.settings.product);
        let purpose = Purpose::Capabilities { call: other };
        if self.desk.send_over(cx, draft, Some(contact_user), purpose, flow).is_err() {
            return false;
        }
        self.desk.transfers.waiting.insert(other, Waiting { call, until: Until::Told });
        true
    }

    /// The answer of a target that was asked what it can do; `None` where it has not answered.
    pub(in crate::ua) fn handle_capabilities(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        other: CallHandle,
        response: Option<&Message>,
    ) {
        let status = response.and_then(Message::status);
        if status.is_some_and(Status::is_provisional) {
            return;
        }
        let Some(sent) = self.desk.requests.remove(&request) else { return };
        if let Some(response) = response.filter(|_| status.is_some_and(Status::is_challenge))
            && let Some(cseq) = self.next_cseq_in(&Way::Call(other))
            && self.desk.retry(cx, sent, response, cseq).is_ok()
        {
            return;
        }
        let is_told = |waiting: &mut Waiting| waiting.until == Until::Told;
        let transfers = &mut self.desk.transfers;
        if !transfers.waiting.get_mut(&other).is_some_and(is_told) {
            return;
        }
        let Some(Waiting { call, .. }) = transfers.waiting.remove(&other) else { return };
        // Who does not say what it can do may still do it.
        let told = response.filter(|told| {
            status.is_some_and(Status::is_success)
                && (told.has(HeaderName::Supported) || told.has(HeaderName::Allow))
        });
        let is_able = told.is_none_or(|told| told.has_token(HeaderName::Supported, "replaces"));
        let takes_refer = told.is_some_and(|told| told.has_token(HeaderName::Allow, "REFER"));
        let may_replace = self.calls.get(call).is_some_and(|call| call.packages.knows_replaces);
        if let Some(target) = self.calls.get_mut(other) {
            target.packages.knows_replaces |= is_able;
        }
        let is_under_way = if is_able {
            self.send_joining(cx, call, other)
        } else if takes_refer && may_replace {
            self.send_joining_reversed(cx, call, other)
        } else {
            self.fall_back(cx, call, other)
        };
        if !is_under_way {
            Ua::not_possible(cx, call);
            self.give_back(cx, call, Some(other));
        }
    }

    /// RFC 5589 §7.7: "ends dialog2 by sending a BYE then sends a REFER to the Transferee using the AOR URI".
    fn fall_back(&mut self, cx: &mut Context<'_>, call: CallHandle, other: CallHandle) -> bool {
        let Some(place) = self.place_of_record(other).filter(|_| self.is_talking(call)) else { return false };
        self.desk.transfers.waiting.insert(other, Waiting { call, until: Until::Over(place) });
        self.with_call(cx, other, |call, desk, cx| call.hang_up(desk, cx));
        true
    }

    /// The target has answered a call that was to be joined as soon as it does.
    pub(super) fn target_answered(&mut self, cx: &mut Context<'_>, other: CallHandle) {
        let Some(Waiting { call, .. }) = self.desk.transfers.waiting.remove(&other) else { return };
        if !self.join_with(cx, call, other) {
            Ua::not_possible(cx, call);
            self.give_back(cx, call, Some(other));
        }
    }

    /// A call is over that a transfer waited with.
    pub(super) fn leave_waiting(&mut self, cx: &mut Context<'_>, ended: CallHandle, reason: EndReason) {
        let transfers = &mut self.desk.transfers;
        transfers.ready.remove(&ended);
        let given_away = transfers.waiting.iter().find(|(_, waiting)| waiting.call == ended);
        if let Some(other) = given_away.map(|(other, _)| *other) {
            transfers.waiting.remove(&other);
            transfers.ready.remove(&other);
            return Ua::not_possible(cx, ended);
        }
        let Some(Waiting { call, until }) = transfers.waiting.remove(&ended) else { return };
        let outcome = match until {
            Until::Over(place) if self.send_to(cx, call, place.clone()) => return,
            Until::Answered => TransferOutcome::Failed(status_of(reason)),
            Until::Told | Until::Over(_) => TransferOutcome::NotPossible,
        };
        cx.event(Event::TransferEnded { call, outcome });
        self.give_back(cx, call, None);
    }
}

impl Transfers {
    /// A call of ours was answered.
    pub(super) fn target_goes_on(&mut self, call: CallHandle, status: Status) {
        let waits = self.waiting.get(&call).is_some_and(|waiting| waiting.until == Until::Answered);
        if waits && status.is_success() {
            self.ready.insert(call);
        }
    }
}
