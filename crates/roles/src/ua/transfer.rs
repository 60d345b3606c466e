//! Transfer by REFER (RFC 3515, RFC 5589): we ask for it ([`asked`]), are asked for it ([`referred`]), or are the one to
//! whom a call comes in place of another (Replaces, RFC 3891; [`replaces`]). By the same means a music server plays to
//! somebody whom we hold ([`music`]).
//!
//! ```text
//!      transferor                transferee                 target
//!          |  REFER                   |                        |
//!          |------------------------->|   INVITE (Replaces)    |
//!          |  NOTIFY 100, 180 ...     |----------------------->|
//!          |<-------------------------|                    200 |
//!          |  NOTIFY 200, terminated  |<-----------------------|
//!          |<-------------------------|                        |
//!          |  BYE                     |   BYE to the transferor, whose
//!          |------------------------->|   call with the target is replaced
//! ```
//!
//! A REFER begins a subscription in the dialog of the call, which may outlive the call (RFC 5057 §3.2): the dialog then
//! stays with the desk until the last of its subscriptions is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dialtone_dialog::{Dialog, DialogId, Draft, State};
use dialtone_transaction::ServerId;
use dialtone_wire::headers::Event as EventHeader;
use dialtone_wire::net::Flow;
use dialtone_wire::uri::{Uri, UriBuf};
use dialtone_wire::{HeaderName, Message, Method, Status, Writer};
use smol_str::{SmolStr, format_smolstr};

use super::Ua;
use super::call::{Call, Stage};
use super::deadlines::Wake;
use super::desk::Desk;
use super::refusal::{Refusal, check_method, check_require};
use crate::contact_user::ContactUser;
use crate::context::Context;
use crate::io::{CallHandle, EndReason, Event, JoinTarget, TransferOutcome};
use crate::settings::Settings;

mod asked;
mod capable;
mod music;
mod referred;
mod replaces;

use asked::Asked;
use capable::Waiting;
use referred::Referral;
pub(super) use replaces::check_absent as check_no_replaces;

/// The address that a link leads to, and what else an INVITE by it has: `sip:alice@example.com?Replaces=…` (RFC 3261
/// §19.1.5, RFC 5359 §2.6).
pub(super) fn read_link(
    settings: &Settings,
    link: UriBuf,
) -> Result<(UriBuf, Option<Box<Referred>>), Refusal> {
    match link.uri() {
        Uri::Sip(sip) if !sip.headers.is_empty() => {
            let (to, referred) = referred::read_headers(settings, &sip)?;
            Ok((to, Some(Box::new(referred))))
        }
        _ => Ok((link, None)),
    }
}

/// The one event package of ours (RFC 3515 §2.4.4).
const PACKAGE: &str = "refer";

/// All transfers under way, by number: one series for both kinds.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    next: u64,
    /// Those that we asked for.
    asked: BTreeMap<u64, Asked>,
    /// Those that we were asked for.
    referrals: BTreeMap<u64, Referral>,
    /// Which of them a call was made for.
    by_call: BTreeMap<CallHandle, u64>,
    /// Those of them that have something to tell.
    due: BTreeSet<u64>,
    /// Attended transfers that can't begin yet, by the call with the target. No call is part of two.
    waiting: BTreeMap<CallHandle, Waiting>,
    /// Those of them that can.
    ready: BTreeSet<CallHandle>,
    /// Dialogs that belong to no call, or to none any more.
    dialogs: BTreeMap<DialogId, OwnDialog>,
    /// Dialogs of calls that are over, the oldest first.
    ended: VecDeque<DialogId>,
}

/// A dialog without call.
#[derive(Debug)]
struct OwnDialog {
    dialog: Dialog,
    flow: Option<Flow>,
    contact_user: ContactUser,
}

/// A request about a transfer that is about to be sent: its dialog, the flow that it goes on, and who we are in its
/// Contact.
type Begun = (Way, Draft, Option<Flow>, ContactUser);

/// The dialog in which a transfer is spoken of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// That of a call.
    Call(CallHandle),
    /// One without call.
    Own(DialogId),
}

/// The refusal of a SUBSCRIBE outside of any dialog. RFC 3515 §2.4.4: only a REFER begins a subscription to `refer`
/// (403); other packages are not served (489).
pub(super) fn no_subscription(request: &Message) -> Refusal {
    match request.header::<EventHeader<'_>>() {
        Some(Ok(event)) if event.package.eq_ignore_ascii_case(PACKAGE) => Refusal::new(403),
        // RFC 6665 §4.2.1.1.
        Some(Ok(_)) | None => Refusal::new(489),
        Some(Err(_)) => Refusal::new(400),
    }
}

/// What ties a call to others.
#[derive(Debug)]
pub(super) struct Ties {
    /// Somebody asked for it, or the link that it was made by.
    pub(super) referred: Option<Box<Referred>>,
    /// The hops that its INVITE had left where it came, or began with.
    hops: u8,
    /// A REFER was accepted in it: the next ones have an `id` (RFC 3515 §2.4.6).
    was_referred: bool,
    /// A robot has it.
    is_robots: bool,
    /// Another call has taken its place, and it ends as soon as its peer has our 2xx.
    gave_way: bool,
    /// It has taken the place of a call with him who has sent it: he may take it back.
    sent_by: Option<UriBuf>,
    /// The conversation of the called one that it asks to be let into (RFC 3911 §5).
    join: Option<SmolStr>,
}

/// What an INVITE has because a REFER asked for it, or a link.
#[derive(Clone, Debug, Default)]
pub(super) struct Referred {
    replaces: Option<SmolStr>,
    /// Whether Replaces must be understood.
    requires_replaces: bool,
    /// As it came (RFC 3892 §3).
    referred_by: Option<SmolStr>,
    hops: u8,
}

impl Default for Ties {
    fn default() -> Ties {
        Ties {
            referred: None,
            hops: dialtone_dialog::MAX_FORWARDS,
            was_referred: false,
            is_robots: false,
            gave_way: false,
            sent_by: None,
            join: None,
        }
    }
}

impl Ties {
    /// Those of a call that came, in place of one with him who has sent it or not.
    pub(super) fn of_invite(invite: &Message, is_robots: bool, sent_by: Option<UriBuf>) -> Ties {
        let most = Ties::default();
        let hops = invite.max_forwards().ok().flatten().and_then(|hops| u8::try_from(hops).ok());
        Ties { hops: hops.map_or(most.hops, |hops| hops.min(most.hops)), is_robots, sent_by, ..most }
    }

    /// Why a call ends that we have hung up before its peer had our 2xx.
    pub(super) const fn hangup_reason(&self) -> EndReason {
        if self.gave_way { EndReason::Replaced } else { EndReason::LocalHangup }
    }

    /// Whether a robot has the call.
    pub(super) const fn is_robots(&self) -> bool {
        self.is_robots
    }

    /// It asks to be let into a conversation.
    pub(super) fn set_join(&mut self, joins: &JoinTarget) {
        let JoinTarget { call_id, to_tag, from_tag } = joins;
        self.join = Some(format_smolstr!("{call_id};to-tag={to_tag};from-tag={from_tag}"));
    }

    /// Adds what an INVITE of the call has because of them.
    pub(super) fn mark(&self, draft: Draft) -> Draft {
        let draft = match &self.join {
            Some(join) => draft.header(HeaderName::Join, join),
            None => draft,
        };
        let Some(referred) = &self.referred else { return draft };
        let mut draft = draft.max_forwards(referred.hops);
        if let Some(replaces) = &referred.replaces {
            draft = draft.header(HeaderName::Replaces, replaces);
        }
        if referred.requires_replaces {
            draft = draft.header(HeaderName::Require, "replaces");
        }
        match &referred.referred_by {
            Some(by) => draft.header(HeaderName::ReferredBy, by),
            None => draft,
        }
    }
}

impl Transfers {
    fn add(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn is_full(&self, settings: &Settings) -> bool {
        self.asked.len() + self.waiting.len() + self.referrals.len() >= settings.limits.referrals
    }

    /// Whether there is no dialog without call.
    pub(super) fn has_no_dialogs(&self) -> bool {
        self.dialogs.is_empty()
    }

    /// Whether a request belongs to a dialog without call.
    pub(super) fn owns_dialog(&self, id: &DialogId) -> bool {
        self.dialogs.contains_key(id)
    }

    /// Forgets a dialog without call once nothing is spoken of in it.
    fn prune(&mut self, way: &Way) {
        let Way::Own(id) = way else { return };
        let mut ways = self
            .asked
            .values()
            .map(|asked| &asked.way)
            .chain(self.referrals.values().map(|known| &known.way));
        if !ways.any(|used| used == way) {
            self.dialogs.remove(id);
        }
    }

    /// Whether the call of a dialog is over.
    pub(super) fn has_ended(&self, id: &DialogId) -> bool {
        self.ended.contains(id)
    }

    /// Whether no table holds anything.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.asked.is_empty()
            && self.referrals.is_empty()
            && self.by_call.is_empty()
            && self.due.is_empty()
            && self.waiting.is_empty()
            && self.ready.is_empty()
            && self.dialogs.is_empty()
    }
}

impl Call {
    /// The dialog that requests of ours within the call belong to.
    fn confirmed_dialog_mut(&mut self) -> Option<&mut Dialog> {
        match &mut self.stage {
            Stage::Answered(talk) | Stage::Confirmed(talk) => Some(&mut talk.dialog),
            Stage::Ending { dialog, .. } => Some(dialog),
            Stage::Calling(_) | Stage::Cancelling { .. } | Stage::Ringing(_) => None,
        }
    }
}

/// A request about a transfer, with what its answer needs.
#[derive(Clone, Copy)]
pub(super) struct Incoming<'a> {
    pub(super) server: ServerId,
    pub(super) request: &'a Message,
    pub(super) flow: Flow,
}

impl Incoming<'_> {
    pub(super) fn refuse(&self, cx: &mut Context<'_>, refusal: &Refusal) {
        refusal.send(cx, self.server, self.request, None);
    }

    pub(super) fn accept(&self, cx: &mut Context<'_>, more: impl FnOnce(&mut Writer)) {
        let product = cx.settings.product.clone();
        let headers = |writer: &mut Writer| {
            more(writer);
            writer.header(HeaderName::Server, product);
        };
        // A transaction that is gone needs no answer any more.
        let _ = cx.respond(self.server, self.request, Status::of(200), None, headers, None);
    }
}

impl Ua {
    /// REFER, NOTIFY, SUBSCRIBE or INFO within the dialog of a call.
    pub(super) fn handle_beside_call(
        &mut self,
        cx: &mut Context<'_>,
        incoming: Incoming<'_>,
        handle: CallHandle,
        remote_tag: &str,
    ) {
        let request = incoming.request;
        let dialog = self.calls.get_mut(handle).and_then(|call| call.dialog_mut(remote_tag));
        let Some(dialog) = dialog else { return incoming.refuse(cx, &Refusal::new(481)) };
        if let Err(error) = dialog.check_request(request) {
            return incoming.refuse(cx, &Refusal::new(error.status().code()));
        }
        let checked = request.method().map_or(Ok(()), check_method).and_then(|()| check_require(request));
        if let Err(refusal) = checked.and_then(|()| replaces::check_absent(request)) {
            return incoming.refuse(cx, &refusal);
        }
        let way = Way::Call(handle);
        match request.method() {
            Some(Method::Refer) => self.handle_refer(cx, incoming, handle),
            Some(Method::Notify) => self.handle_notify(cx, incoming, &way),
            Some(Method::Subscribe) => self.handle_refresh(cx, incoming, &way),
            _ => self.handle_info(cx, incoming, handle),
        }
    }

    /// A request with a To tag that belongs to no call: to a subscription that has outlived its call, or to none.
    pub(super) fn handle_beside_calls(
        &mut self,
        cx: &mut Context<'_>,
        incoming: Incoming<'_>,
        id: Option<DialogId>,
    ) {
        let request = incoming.request;
        let is_unknown = id.as_ref().is_some_and(|id| !self.desk.transfers.owns_dialog(id));
        let may_begin = is_unknown && request.method() == Some(&Method::Notify);
        let made = may_begin.then(|| Dialog::uas(request, "", State::Confirmed).ok()).flatten();
        let is_first = made.is_some_and(|dialog| self.settle_outside(dialog));
        let own = id.as_ref().and_then(|id| self.desk.transfers.dialogs.get_mut(id));
        let (Some(own), Some(id)) = (own, id.clone()) else {
            return incoming.refuse(cx, &Refusal::new(481));
        };
        // The request that has made the dialog is in order.
        if let Err(error) = own.dialog.check_request(request)
            && !is_first
        {
            return incoming.refuse(cx, &Refusal::new(error.status().code()));
        }
        let checked = request.method().map_or(Ok(()), check_method).and_then(|()| check_require(request));
        if let Err(refusal) = checked {
            return incoming.refuse(cx, &refusal);
        }
        let way = Way::Own(id);
        match request.method() {
            Some(Method::Notify) => self.handle_notify(cx, incoming, &way),
            Some(Method::Subscribe) => self.handle_refresh(cx, incoming, &way),
            // RFC 5057 §5.3: "the invite usage is gone".
            _ => incoming.refuse(cx, &Refusal::new(481)),
        }
    }

    /// Begins a request in the dialog of a transfer.
    fn request_in(&mut self, way: &Way, method: Method) -> Option<(Draft, Option<Flow>, ContactUser)> {
        match way {
            Way::Call(handle) => {
                let call = self.calls.get_mut(*handle)?;
                let (flow, contact_user) = (call.flow, call.contact_user.clone());
                Some((call.confirmed_dialog_mut()?.request(method), flow, contact_user))
            }
            Way::Own(id) => {
                let own = self.desk.transfers.dialogs.get_mut(id)?;
                Some((own.dialog.request(method), own.flow, own.contact_user.clone()))
            }
        }
    }

    /// The number of a request that is sent again with credentials.
    fn next_cseq_in(&mut self, way: &Way) -> Option<u32> {
        match way {
            Way::Call(handle) => Some(self.calls.get_mut(*handle)?.confirmed_dialog_mut()?.next_cseq()),
            Way::Own(id) => Some(self.desk.transfers.dialogs.get_mut(id)?.dialog.next_cseq()),
        }
    }

    /// A call is over: what is spoken of in its dialog goes on without it, unless the peer knows the dialog no more.
    pub(super) fn leave_transfers(&mut self, cx: &mut Context<'_>, call: &mut Call, reason: EndReason) {
        let way = Way::Call(call.handle);
        let (flow, contact_user) = (call.flow, call.contact_user.clone());
        if let Some(dialog) = call.confirmed_dialog_mut() {
            let dialog = dialog.clone();
            self.remember_ended(cx, dialog.id());
            let is_known = reason != EndReason::DialogLost;
            self.leave_dialog(cx, &way, is_known.then_some(OwnDialog { dialog, flow, contact_user }));
        }
        self.desk.transfers.call_ended(call.handle, reason);
        self.leave_waiting(cx, call.handle, reason);
    }

    fn leave_dialog(&mut self, cx: &mut Context<'_>, way: &Way, own: Option<OwnDialog>) {
        let transfers = &mut self.desk.transfers;
        let asked: Vec<u64> =
            transfers.asked.iter().filter(|(_, asked)| asked.way == *way).map(|(id, _)| *id).collect();
        let referrals: Vec<u64> =
            transfers.referrals.iter().filter(|(_, known)| known.way == *way).map(|(id, _)| *id).collect();
        if asked.is_empty() && referrals.is_empty() {
            return;
        }
        let Some(own) = own else {
            referrals.into_iter().for_each(|id| self.drop_referral(id));
            asked.into_iter().for_each(|id| self.finish(cx, id, TransferOutcome::Unknown));
            return;
        };
        let left = Way::Own(own.dialog.id().clone());
        for id in asked {
            if let Some(asked) = transfers.asked.get_mut(&id) {
                asked.way = left.clone();
            }
        }
        for id in referrals {
            if let Some(known) = transfers.referrals.get_mut(&id) {
                known.way = left.clone();
            }
        }
        transfers.dialogs.insert(own.dialog.id().clone(), own);
    }

    /// What has happened to calls that others asked for is told to them.
    pub(super) fn settle_transfers(&mut self, cx: &mut Context<'_>) {
        while let Some(id) = self.desk.transfers.due.pop_first() {
            self.tell(cx, id);
        }
        while let Some(other) = self.desk.transfers.ready.pop_first() {
            self.target_answered(cx, other);
        }
    }

    /// The time of a transfer is over.
    pub(super) fn transfer_over(&mut self, cx: &mut Context<'_>, id: u64) {
        if self.desk.transfers.asked.contains_key(&id) {
            return self.finish(cx, id, TransferOutcome::Unknown);
        }
        self.referral_over(cx, id, "timeout");
    }

    /// The owner wants the other side of a call to call somebody else, which can't be done.
    fn not_possible(cx: &mut Context<'_>, call: CallHandle) {
        cx.event(Event::TransferEnded { call, outcome: TransferOutcome::NotPossible });
    }
}

impl Desk {
    fn stop_transfer(&mut self, id: u64) {
        self.deadlines.stop(Wake::Transfer(id));
    }
}
