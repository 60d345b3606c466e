//! Calls that come in place of another: the target of a transfer (RFC 3891 §3).

use dialtone_dialog::DialogId;
use dialtone_wire::headers::{NameAddr, ReferredBy, Replaces, TypedHeader as _};
use dialtone_wire::uri::{Uri, UriBuf};
use dialtone_wire::{HeaderName, Message};
use smol_str::SmolStr;

use crate::context::Context;
use crate::io::{CallHandle, EndReason, Event, Play};
use crate::settings::ReplacesPolicy;
use crate::ua::Ua;
use crate::ua::call::{Call, Stage, Step};
use crate::ua::desk::Desk;
use crate::ua::refusal::Refusal;

/// §3: "if a Replaces header field is present in a request other than INVITE, the UAS MUST reject the request with a 400
/// Bad Request response." Within a dialog there is nothing to be replaced either.
pub(in crate::ua) fn check_absent(request: &Message) -> Result<(), Refusal> {
    // RFC 3911 §4 says the same of Join.
    if request.has(HeaderName::Replaces) || request.has(HeaderName::Join) {
        Err(Refusal::new(400))
    } else {
        Ok(())
    }
}

impl Ua {
    /// The call whose place an INVITE takes, if it takes one, and the other side of that call, if he has sent it.
    pub(in crate::ua) fn replaced_by(
        &self,
        cx: &Context<'_>,
        request: &Message,
    ) -> Result<(Option<CallHandle>, Option<UriBuf>), Refusal> {
        let mut values = request.values(HeaderName::Replaces);
        let Some(value) = values.next() else { return Ok((None, None)) };
        let fault = |text| Err(Refusal::new(400).warning(cx.settings, 399, text));
        if values.next().is_some() {
            return fault("There is more than one Replaces");
        }
        // RFC 3911 §4 as an example of "another header field with contradictory semantics".
        if request.has(HeaderName::Join) {
            return fault("Replaces and Join contradict each other");
        }
        let Ok(replaces) = Replaces::parse(value) else { return fault("Replaces can't be read") };
        let Some((handle, id)) = self.named(&replaces) else {
            let is_over = self.desk.transfers.ended.iter().any(|id| is_named(id, &replaces));
            // "If the Replaces header field matches a dialog which has already terminated, the UA SHOULD decline".
            return Err(Refusal::new(if is_over { 603 } else { 481 }));
        };
        let Some(call) = self.calls.get(handle) else { return Err(Refusal::new(481)) };
        let status = match &call.stage {
            Stage::Confirmed(talk) | Stage::Answered(talk) if talk.hung_up => Some(603),
            Stage::Confirmed(_) | Stage::Answered(_) if replaces.early_only => Some(486),
            Stage::Confirmed(_) | Stage::Answered(_) | Stage::Calling(_) => None,
            // "an early dialog that was not initiated by this UA".
            Stage::Ringing(_) => Some(481),
            Stage::Cancelling { .. } | Stage::Ending { .. } => Some(603),
        };
        if let Some(code) = status {
            return Err(Refusal::new(code));
        }
        let is_allowed = match cx.settings.transfer.replaces {
            ReplacesPolicy::Refuse => false,
            ReplacesPolicy::Named => !call.ties.is_robots,
            ReplacesPolicy::Referred => !call.ties.is_robots && is_referred(request, call, &id),
        };
        if is_allowed {
            return Ok((Some(handle), sender(request, call, &id)));
        }
        Err(Refusal::new(403).warning(cx.settings, 399, "This call may not be replaced by you"))
    }

    /// The call that a Replaces names: its tags are those of a request that comes in the dialog.
    fn named(&self, replaces: &Replaces<'_>) -> Option<(CallHandle, DialogId)> {
        let id = |remote_tag: &str| DialogId {
            call_id: SmolStr::new(&replaces.call_id),
            local_tag: SmolStr::new(&replaces.to_tag),
            remote_tag: SmolStr::new(remote_tag),
        };
        // RFC 3891 §6.1: "0" stands also for no tag.
        let without = (replaces.from_tag == "0").then(|| id(""));
        std::iter::once(id(&replaces.from_tag))
            .chain(without)
            .find_map(|id| self.desk.dialogs.get(&id).map(|handle| (*handle, id)))
    }

    /// The new call is there and rings: it is answered in place of the old one, which ends.
    pub(in crate::ua) fn take_place(&mut self, cx: &mut Context<'_>, old: CallHandle, new: CallHandle) {
        let play = self.calls.get(old).map_or(Play::Silence, |call| call.play.clone());
        self.with_call(cx, new, |call, desk, cx| call.answer(desk, cx, play));
        if self.calls.get(new).is_some_and(|call| matches!(call.stage, Stage::Answered(_))) {
            cx.event(Event::Replaced { call: old, by: new });
            self.with_call(cx, old, Call::give_way);
        }
    }

    /// Remembers a dialog whose call is over.
    pub(super) fn remember_ended(&mut self, cx: &Context<'_>, id: &DialogId) {
        let (ended, limit) = (&mut self.desk.transfers.ended, cx.settings.limits.ended_dialogs);
        // Room is made first, so that the queue never grows beyond the limit.
        while ended.len() >= limit.max(1) {
            ended.pop_front();
        }
        if limit > 0 {
            ended.push_back(id.clone());
        }
    }
}

impl Call {
    /// Another call has taken its place: "shuts down the replaced dialog by sending a BYE", or a CANCEL.
    fn give_way(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        match &self.stage {
            Stage::Confirmed(_) => self.say_bye_now(desk, cx, EndReason::Replaced),
            Stage::Calling(_) => self.give_up(desk, cx, EndReason::Replaced),
            Stage::Answered(_) => {
                self.ties.gave_way = true;
                self.hang_up(desk, cx)
            }
            Stage::Ringing(_) | Stage::Cancelling { .. } | Stage::Ending { .. } => self.hang_up(desk, cx),
        }
    }
}

fn is_named(id: &DialogId, replaces: &Replaces<'_>) -> bool {
    let is_from =
        id.remote_tag == *replaces.from_tag || (replaces.from_tag == "0" && id.remote_tag.is_empty());
    is_from && id.call_id == *replaces.call_id && id.local_tag == *replaces.to_tag
}

/// Whether an INVITE comes from the other side of a call, or says that it sent him (RFC 3891 §3). The same may he who has
/// given us to that other side: it is how he takes the call back (RFC 5359 §2.3, F19).
fn is_referred(request: &Message, call: &Call, id: &DialogId) -> bool {
    let other = other_side(call, id);
    let giver = call.ties.sent_by.as_ref();
    let is_one = |uri: &Uri<'_>| {
        other.is_some_and(|other| uri.equivalent(&other.uri))
            || giver.is_some_and(|giver| uri.equivalent(&giver.uri()))
    };
    let referred_by = request.header::<ReferredBy<'_>>();
    request.from().is_ok_and(|from| is_one(&from.uri))
        || matches!(referred_by, Some(Ok(ReferredBy(by))) if is_one(&by.uri))
}

/// The other side of a call, if an INVITE says that it sent him.
fn sender(request: &Message, call: &Call, id: &DialogId) -> Option<UriBuf> {
    let Some(Ok(ReferredBy(by))) = request.header::<ReferredBy<'_>>() else { return None };
    let is_other = other_side(call, id)?.uri.equivalent(&by.uri);
    is_other.then(|| UriBuf::parse(by.uri_text).ok()).flatten()
}

fn other_side<'a>(call: &'a Call, id: &DialogId) -> Option<NameAddr<'a>> {
    let dialog = match &call.stage {
        Stage::Calling(calling) => {
            let dialogs = calling.early.iter().map(|early| &early.dialog);
            dialogs.into_iter().find(|dialog| dialog.id() == id)
        }
        Stage::Answered(talk) | Stage::Confirmed(talk) => Some(&talk.dialog),
        Stage::Cancelling { .. } | Stage::Ringing(_) | Stage::Ending { .. } => None,
    };
    NameAddr::parse(dialog?.remote().as_bytes()).ok()
}
