//! REFERs that we send: those of the transferor (RFC 3515 §2.4.1, RFC 5589 §6, §7), and those to a music server
//! ([`music`](super::music)).

use dialtone_dialog::{Dialog, DialogId, Draft};
use dialtone_wire::bodies::{SIPFRAG, sipfrag_status};
use dialtone_wire::headers::{ContentType, Event as EventHeader, NameAddr, SubscriptionState, TargetDialog};
use dialtone_wire::uri::{SipUri, Uri, UriBuf, escape_header};
use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::{SmolStr, format_smolstr};

use super::music::{begin_at, replaces_in, told_of_music};
use super::{Begun, Incoming, OwnDialog, PACKAGE, Transfers, Way};
use crate::contact_user::ContactUser;
use crate::context::{Context, Failure, UaRequest};
use crate::io::{CallHandle, ChangeBy, EndReason, Event, TransferOutcome, TransferTo};
use crate::ua::Ua;
use crate::ua::call::{Call, Step};
use crate::ua::deadlines::Wake;
use crate::ua::desk::{Desk, Purpose};
use crate::ua::outgoing::out_of_dialog;
use crate::ua::refusal::{ALLOW, Refusal, SUPPORTED};

/// A transfer that we asked for.
#[derive(Debug)]
pub(super) struct Asked {
    /// The call that is given away, or whose other side is to hear music.
    pub(super) call: CallHandle,
    /// The other call of an attended transfer.
    other: Option<CallHandle>,
    /// Who got the REFER.
    pub(super) through: Through,
    /// Its Refer-To.
    pub(super) place: SmolStr,
    /// From the last NOTIFY of a music server: the dialog of its call, as Replaces names it.
    pub(super) replaces: Option<SmolStr>,
    pub(super) way: Way,
    /// The CSeq number of the REFER, by which NOTIFYs may name it (RFC 3515 §2.4.6).
    cseq: u32,
    /// A NOTIFY has come.
    told: bool,
    /// What is tried after it.
    left: Vec<Try>,
}

/// A REFER that may be sent.
#[derive(Clone, Debug)]
pub(super) struct Try {
    /// Who gets it.
    pub(super) through: Through,
    /// The Refer-To.
    pub(super) place: SmolStr,
}

/// Who gets a REFER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Through {
    /// The other side of a call.
    Call(CallHandle),
    /// A music server, outside of any call.
    Source(UriBuf),
}

impl Ua {
    /// The owner wants the other side of a call to call somebody else.
    pub(in crate::ua) fn transfer(&mut self, cx: &mut Context<'_>, call: CallHandle, to: TransferTo) {
        let transfers = &self.desk.transfers;
        // One at a time for each call, on whichever side of it that is.
        let is_other_free =
            !matches!(to, TransferTo::Call(other) if other == call || transfers.is_asked_for(other));
        let is_free = is_other_free && !transfers.is_asked_for(call) && !transfers.is_full(cx.settings);
        let is_under_way = is_free
            && match to {
                TransferTo::Address(uri) => self.send_to(cx, call, format_smolstr!("<{uri}>")),
                TransferTo::Call(other) => self.join_with(cx, call, other),
            };
        if !is_under_way {
            Ua::not_possible(cx, call);
        }
    }

    /// Sends the other side of a call to a place. Says whether the REFER is under way.
    pub(super) fn send_to(&mut self, cx: &mut Context<'_>, call: CallHandle, place: SmolStr) -> bool {
        self.send_refer(cx, call, None, vec![Try { through: Through::Call(call), place }])
    }

    /// Joins the other sides of two calls: the one whose call is given away is sent to the other (RFC 5589 §7.3). If it
    /// does not know REFER, it is the turn of the other (§7.4).
    pub(super) fn send_joining(&mut self, cx: &mut Context<'_>, call: CallHandle, other: CallHandle) -> bool {
        let mut tries = self.tries(cx, call, other);
        if tries.is_empty() {
            return false;
        }
        if self.calls.get(call).is_some_and(|call| call.packages.knows_replaces) {
            tries.append(&mut self.tries(cx, other, call));
        }
        self.send_refer(cx, call, Some(other), tries)
    }

    /// The other way round from the start: the target is sent to the one whose call is given away.
    pub(super) fn send_joining_reversed(
        &mut self,
        cx: &mut Context<'_>,
        call: CallHandle,
        other: CallHandle,
    ) -> bool {
        let tries = self.tries(cx, other, call);
        self.send_refer(cx, call, Some(other), tries)
    }

    fn tries(&mut self, cx: &Context<'_>, through: CallHandle, replaced: CallHandle) -> Vec<Try> {
        let places = self.places_of(cx, replaced, false).unwrap_or_default();
        places.into_iter().map(|place| Try { through: Through::Call(through), place }).collect()
    }

    /// Where the other side of a call is called so that its call with us is replaced. RFC 5589 §7.5: a Contact that is no
    /// GRUU may lead nowhere from outside of the dialog; the address-of-record does, and a phone of it that has not that
    /// call says so, since it must understand Replaces. If that fails, it is the Contact's turn. RFC 4508 §5: with "all
    /// feature tags that were listed in the most recent Contact".
    pub(super) fn places_of(
        &mut self,
        cx: &Context<'_>,
        call: CallHandle,
        requires: bool,
    ) -> Option<Vec<SmolStr>> {
        let call = self.calls.get_mut(call)?;
        let features = call.packages.features.clone();
        let talk = call.talk_mut().filter(|talk| !talk.hung_up)?;
        let dialog = &talk.dialog;
        let id = dialog.id();
        // RFC 3891 §3: named as the one sees it who gets the INVITE.
        let named = format_smolstr!("{};to-tag={};from-tag={}", id.call_id, id.remote_tag, id.local_tag);
        let replaces = escape_header(&named);
        let contact = plain(&dialog.remote_target().uri())?;
        let is_gruu = dialog.remote_target().uri().as_sip().is_some_and(|uri| uri.params.has("gr"));
        // RFC 5589 §7.3: a GRUU leads to that phone, which is to say so if it can't do it.
        let required = if is_gruu || requires { "&Require=replaces" } else { "" };
        let contact = format_smolstr!("<{contact}?Replaces={replaces}{required}>{features}");
        let has_proxy = cx.settings.account.as_ref().is_some_and(|account| account.proxy.is_some());
        let address = address_of(dialog).filter(|_| has_proxy && !is_gruu);
        let address = address
            .map(|address| format_smolstr!("<{address}?Replaces={replaces}&Require=replaces>{features}"));
        Some(address.into_iter().chain([contact]).collect())
    }

    /// The address-of-record of the other side of a call, for a Refer-To.
    pub(super) fn place_of_record(&mut self, call: CallHandle) -> Option<SmolStr> {
        let address = address_of(&self.calls.get_mut(call)?.talk_mut()?.dialog)?;
        Some(format_smolstr!("<{address}>"))
    }

    /// Sends the first of these REFERs. Says whether it is under way.
    pub(super) fn send_refer(
        &mut self,
        cx: &mut Context<'_>,
        call: CallHandle,
        other: Option<CallHandle>,
        mut tries: Vec<Try>,
    ) -> bool {
        if tries.is_empty() {
            return false;
        }
        let Try { through, place } = tries.remove(0);
        let begun = match &through {
            Through::Call(through) if self.is_talking(*through) => {
                self.begin_outside(cx, *through).or_else(|| {
                    let way = Way::Call(*through);
                    let (draft, flow, contact_user) = self.request_in(&way, Method::Refer)?;
                    Some((way, draft, flow, contact_user))
                })
            }
            Through::Source(source) if self.is_talking(call) => begin_at(cx, source),
            // It is over, or about to be.
            Through::Call(_) | Through::Source(_) => None,
        };
        let Some((way, draft, flow, contact_user)) = begun else { return false };
        let mut draft = draft.header(HeaderName::ReferTo, &place);
        if let Some(account) = &cx.settings.account {
            draft = draft.header(HeaderName::ReferredBy, &format_smolstr!("<{}>", account.aor));
        }
        let draft = draft
            .header(HeaderName::Allow, ALLOW)
            .header(HeaderName::Supported, SUPPORTED)
            .header(HeaderName::UserAgent, &cx.settings.product);
        let cseq = draft.cseq();
        let transfer = self.desk.transfers.add();
        let purpose = Purpose::Refer { transfer };
        if self.desk.send_over(cx, draft, Some(contact_user), purpose, flow).is_err() {
            return false;
        }
        let told = false;
        let asked = Asked { call, other, through, place, replaces: None, way, cseq, told, left: tries };
        self.desk.transfers.asked.insert(transfer, asked);
        // The transaction's own timer is shorter.
        self.desk.deadlines.start(Wake::Transfer(transfer), cx.now + cx.settings.transfer.time);
        true
    }

    /// Whether a call stands, and is not about to end.
    pub(super) fn is_talking(&mut self, call: CallHandle) -> bool {
        self.calls.get_mut(call).and_then(Call::talk_mut).is_some_and(|talk| !talk.hung_up)
    }

    /// Begins a REFER in a dialog of its own. RFC 7647 §4: where the other side's Contact is a GRUU it MUST be one; the
    /// call is then named by Target-Dialog, which the other side has to know (RFC 5589 §5). Its remote tag is not known
    /// until the other side has answered, or told the first news.
    fn begin_outside(&mut self, cx: &mut Context<'_>, call: CallHandle) -> Option<Begun> {
        let call = self.calls.get_mut(call).filter(|call| call.packages.knows_target_dialog)?;
        let contact_user = call.contact_user.clone();
        let dialog = &call.talk_mut()?.dialog;
        let target = dialog.remote_target().clone();
        target.uri().as_sip().filter(|uri| uri.params.has("gr"))?;
        // RFC 4538 §3.2: as the one sees it who gets the request.
        let id = dialog.id();
        let named = format_smolstr!("{};local-tag={};remote-tag={}", id.call_id, id.remote_tag, id.local_tag);
        let draft = out_of_dialog(cx, Method::Refer, target.clone(), &format_smolstr!("<{target}>"))
            .line(TargetDialog::NAME, &named)
            .header(HeaderName::Require, "tdialog");
        Some((way_of(&draft)?, draft, None, contact_user))
    }

    /// The other side of a REFER in a dialog of its own has a tag now (RFC 6665 §4.4.1: from its NOTIFY or from its
    /// response, whichever comes first). Says whether the dialog belongs to one.
    pub(super) fn settle_outside(&mut self, dialog: Dialog) -> bool {
        let id = dialog.id().clone();
        let begun = Way::Own(DialogId { remote_tag: SmolStr::default(), ..id.clone() });
        let Some(asked) = self.desk.transfers.asked.values_mut().find(|asked| asked.way == begun) else {
            return false;
        };
        asked.way = Way::Own(id.clone());
        let own = OwnDialog { dialog, flow: None, contact_user: ContactUser::default() };
        self.desk.transfers.dialogs.insert(id, own);
        true
    }

    /// A response to a REFER of ours.
    pub(in crate::ua) fn handle_refer_response(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        transfer: u64,
        response: &Message,
        status: Status,
    ) {
        if status.is_provisional() {
            return;
        }
        let Some(sent) = self.desk.requests.remove(&request) else { return };
        let Some(asked) = self.desk.transfers.asked.get(&transfer) else { return };
        let (through, way) = (asked.through.clone(), asked.way.clone());
        // The dialog of a call that has ended meanwhile goes on, and so do its CSeq numbers.
        let is_outside = matches!(&way, Way::Own(id) if id.remote_tag.is_empty());
        // The first NOTIFY may have made the dialog of a REFER that went outside of the call.
        let in_call = || sent.message().is_some_and(|refer| matches!(refer.to_tag(), Ok(Some(_))));
        let is_unknown = status.code() == 481 && in_call();
        let made = sent.message().filter(|_| is_outside && status.is_success());
        if let Some(dialog) = made.and_then(|refer| Dialog::uac(&refer, response).ok()) {
            self.settle_outside(dialog);
        }
        let outside = is_outside.then(|| sent.draft.cseq().saturating_add(1));
        if status.is_challenge()
            && let Some(cseq) = outside.or_else(|| self.next_cseq_in(&way))
            && self.desk.retry(cx, sent, response, cseq).is_ok()
        {
            if let Some(asked) = self.desk.transfers.asked.get_mut(&transfer) {
                asked.cseq = cseq;
            }
            return;
        }
        if status.is_success() {
            let begins_none = response.value_by_text("Refer-Sub").is_some_and(is_false);
            if begins_none {
                return self.finish(cx, transfer, TransferOutcome::Unknown);
            }
            // RFC 6665 §4.1.2.4, Timer N: by then the first NOTIFY has come, unless it was here before the response.
            let is_told = self.desk.transfers.asked.get(&transfer).is_some_and(|asked| asked.told);
            if !is_told {
                let first = cx.now + cx.settings.timers.transaction_timeout();
                self.desk.deadlines.start(Wake::Transfer(transfer), first);
            }
            return;
        }
        self.finish(cx, transfer, TransferOutcome::Refused(status));
        if let Through::Call(through) = through
            && is_unknown
        {
            // RFC 5057 §5.1: the peer does not know the dialog any more.
            self.with_call(cx, through, |call, desk, cx| call.say_bye_now(desk, cx, EndReason::DialogLost));
        }
    }

    /// A REFER of ours got no response.
    pub(in crate::ua) fn handle_refer_failure(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        transfer: u64,
        failure: Failure,
    ) {
        self.desk.requests.remove(&request);
        // RFC 3261 §8.1.3.1.
        let status = if failure == Failure::TimedOut { 408 } else { 503 };
        self.finish(cx, transfer, TransferOutcome::Refused(Status::of(status)));
    }

    /// The other side tells how its call goes (RFC 3515 §2.4.5).
    pub(super) fn handle_notify(&mut self, cx: &mut Context<'_>, incoming: Incoming<'_>, way: &Way) {
        let request = incoming.request;
        let id = match self.asked_of(request, way) {
            Ok(id) => id,
            Err(code) => return incoming.refuse(cx, &Refusal::new(code)),
        };
        let Some(Ok(state)) = request.header::<SubscriptionState<'_>>() else {
            return incoming.refuse(cx, &Refusal::new(400));
        };
        let status = match request.body() {
            // Where it ends there may be nothing left to tell.
            b"" if state.is_terminated() => None,
            body => {
                let is_fragment = matches!(
                    request.header::<ContentType<'_>>(),
                    Some(Ok(kind)) if kind.is("message", "sipfrag")
                );
                if !is_fragment {
                    let refusal = Refusal::new(415).with(HeaderName::Accept, SIPFRAG);
                    return incoming.refuse(cx, &refusal);
                }
                match sipfrag_status(body) {
                    Some(status) => Some(status),
                    None => {
                        let refusal = Refusal::new(400);
                        let refusal = refusal.warning(cx.settings, 399, "The fragment has no status line");
                        return incoming.refuse(cx, &refusal);
                    }
                }
            }
        };
        incoming.accept(cx, |_| {});
        let is_rejected =
            state.params.value("reason").is_some_and(|reason| reason.eq_ignore_ascii_case("rejected"));
        let outcome = match status {
            Some(status) if status.is_success() => Some(TransferOutcome::Done),
            Some(status) if status.is_final() && is_rejected => Some(TransferOutcome::Refused(status)),
            Some(status) if status.is_final() => Some(TransferOutcome::Failed(status)),
            _ if state.is_terminated() && is_rejected => Some(TransferOutcome::Refused(Status::of(603))),
            _ if state.is_terminated() => Some(TransferOutcome::Unknown),
            _ => None,
        };
        if let Some(outcome) = outcome {
            if let Some(asked) = self.desk.transfers.asked.get_mut(&id) {
                asked.replaces = replaces_in(request.body(), &cx.settings.limits.message);
            }
            return self.finish(cx, id, outcome);
        }
        // It lasts as long as the notifier says, within what we wait for.
        let most = cx.settings.transfer.time;
        let time = state
            .expires_s()
            .map_or(most, |seconds| most.min(std::time::Duration::from_secs(seconds.into())));
        self.desk
            .deadlines
            .start(Wake::Transfer(id), cx.now + time + cx.settings.timers.transaction_timeout());
        if let Some(asked) = self.desk.transfers.asked.get_mut(&id) {
            asked.told = true;
            if let (Some(status), Through::Call(_)) = (status, &asked.through) {
                cx.event(Event::TransferProgress { call: asked.call, status });
            }
        }
    }

    /// Which transfer a NOTIFY tells of, or the status that refuses it.
    fn asked_of(&self, request: &Message, way: &Way) -> Result<u64, u16> {
        let event = match request.header::<EventHeader<'_>>() {
            Some(Ok(event)) => event,
            Some(Err(_)) | None => return Err(400),
        };
        // RFC 6665 §4.1.3: what nobody has subscribed to.
        if !event.package.eq_ignore_ascii_case(PACKAGE) {
            return Err(489);
        }
        // RFC 3515 §2.4.6: the first REFER of a dialog may go without id.
        let is_named = |cseq: u32| event.id().is_none_or(|id| id.parse() == Ok(cseq));
        let mut all = self.desk.transfers.asked.iter();
        all.find(|(_, asked)| asked.way == *way && is_named(asked.cseq)).map(|(id, _)| *id).ok_or(481)
    }

    /// A transfer that we asked for is over.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>, id: u64, outcome: TransferOutcome) {
        let Some(asked) = self.desk.transfers.asked.remove(&id) else { return };
        self.desk.stop_transfer(id);
        self.desk.transfers.prune(&asked.way);
        let Asked { call, other, through, place, replaces, mut left, .. } = asked;
        left.retain(|next| match outcome {
            TransferOutcome::Failed(status) => next.through == through && leads_on(status),
            TransferOutcome::Refused(status) => next.through != through && lacks_refer(status),
            TransferOutcome::Done | TransferOutcome::Unknown | TransferOutcome::NotPossible => false,
        });
        if self.send_refer(cx, call, other, left) {
            return;
        }
        let through = match through {
            Through::Call(through) => through,
            // The call ends by itself when its place is taken; until then it stays as it is.
            Through::Source(_) => return cx.event(told_of_music(call, &place, replaces.as_deref(), outcome)),
        };
        cx.event(Event::TransferEnded { call, outcome });
        if outcome == TransferOutcome::Done {
            // The call with the other one ends with the INVITE that takes its place (RFC 3891 §3).
            return self.with_call(cx, through, |call, desk, cx| call.hang_up(desk, cx));
        }
        self.give_back(cx, call, other);
    }

    /// A call could not be given away: one that we hold is taken back, unless we talk with the other one.
    pub(super) fn give_back(&mut self, cx: &mut Context<'_>, call: CallHandle, other: Option<CallHandle>) {
        // With two calls at hand the owner chooses to whom he talks.
        let is_talking =
            other.and_then(|other| self.calls.get_mut(other)).is_some_and(|other| !other.is_held());
        if !is_talking {
            self.with_call(cx, call, Call::take_back);
        }
    }
}

impl Transfers {
    /// Whether a call is being given away, or another one to it.
    pub(super) fn is_asked_for(&self, call: CallHandle) -> bool {
        self.asked.values().any(|asked| asked.call == call || asked.other == Some(call))
            || self.waiting.iter().any(|(other, waiting)| *other == call || waiting.call == call)
    }
}

impl Call {
    /// Whether we hold the other side, or are about to.
    fn is_held(&mut self) -> bool {
        let holds = self.session.as_ref().is_some_and(crate::ua::session::Session::holds);
        let is_call = self.talk_mut().is_some();
        is_call && self.changes.holds().unwrap_or(holds)
    }

    /// The other side could not be given away.
    fn take_back(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        if self.is_held() { self.want_hold(desk, cx, None, ChangeBy::Invite) } else { Step::Stay }
    }
}

/// The dialog of a request of ours that begins one.
pub(super) fn way_of(draft: &Draft) -> Option<Way> {
    let local_tag = SmolStr::new(NameAddr::parse(draft.from().as_bytes()).ok()?.tag()?);
    let call_id = SmolStr::new(draft.call_id());
    Some(Way::Own(DialogId { call_id, local_tag, remote_tag: SmolStr::default() }))
}

/// Whether another place may take a call that got this status. RFC 3261 §21.6: "no other" one where it is a 6xx; and
/// RFC 3892 §5: who wants to know who sends the call would ask there too, and we have nothing that proves it.
const fn leads_on(status: Status) -> bool {
    status.class() < 6 && status.code() != 429
}

/// RFC 5589 §7.4: the two ways of those who do not know REFER.
const fn lacks_refer(status: Status) -> bool {
    matches!(status.code(), 405 | 501)
}

fn is_false(value: &[u8]) -> bool {
    dialtone_wire::headers::ReferSub::parse(value).is_ok_and(|begins| !begins.0)
}

/// A URI without headers.
pub(super) fn plain(uri: &Uri<'_>) -> Option<SmolStr> {
    match uri {
        Uri::Sip(sip) => Some(format_smolstr!("{}", SipUri { headers: "", ..*sip })),
        _ => None,
    }
}

/// The address-of-record of the other side.
fn address_of(dialog: &Dialog) -> Option<SmolStr> {
    plain(&NameAddr::parse(dialog.remote().as_bytes()).ok()?.uri)
}
