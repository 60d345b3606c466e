//! REFER within a bridge (RFC 3515, RFC 5589): the server does what the other phone would have to do.
//!
//! ```text
//!   transferor R      server      transferee X      target Y
//!     |--- REFER ------>|               |              |
//!     |<-- 200 ---------|               |              |
//!     |<-- NOTIFY 100 --|------- INVITE (late offer) ->|     blind: Y is called by R's right, and sees X
//!     |                 |  or re-INVITE (late offer) ->|     attended: Y is whom R talks with in another call
//!     |                 |<------ 200, offer -----------|
//!     |                 |-- re-INVITE ->|              |
//!     |                 |<- 200 --------|--- ACK ----->|
//!     |<-- NOTIFY 200 --|               |              |
//!     |--- BYE -------->|     (from us, after a time)
//! ```
//!
//! When Y can't be had, R is told by a NOTIFY with its status, and X, who has heard nothing of it, is still his partner.
//!
//! Whoever is reached over a trunk or in another domain transfers nobody here: such a REFER is carried to the other phone,
//! and so is one that asks for something else than a call.

use dialtone_wire::headers::{NameAddr, ReferSub, Replaces};
use dialtone_wire::uri::{Uri, UriBuf, escape_user, unescape};
use dialtone_wire::{HeaderName, Message, Method, Status, Writer};
use smol_str::{SmolStr, format_smolstr};

use super::deadlines::Wake;
use super::desk::Purpose;
use super::in_dialog::Came;
use super::join::{Goal, Task, TaskId, TaskStage};
use super::originate::{Wanted, address_of};
use super::park;
use super::record::Sought;
use super::refusal::Refusal;
use super::{B2bua, LegId, Stage};
use crate::context::Context;

/// The type of the body of a NOTIFY about a REFER (RFC 3515 §2.4.5).
const SIPFRAG: &str = "message/sipfrag;version=2.0";

/// A REFER that we act on.
#[derive(Debug)]
pub(super) struct Transfer {
    /// Who has sent it, as long as he is there.
    pub(super) referrer: Option<LegId>,
    /// His leg of the call with the target, where he has one.
    pub(super) consult: Option<LegId>,
    /// The CSeq of the REFER: the `id` of the event (RFC 3515 §2.4.6).
    event: u32,
    /// Whether it has begun a subscription (RFC 4488).
    subscribed: bool,
    told_ringing: bool,
    /// For its record, should it fail.
    sought: Sought,
}

impl Transfer {
    /// Whether a leg was one of him who has asked for it; it no longer is.
    pub(super) fn leave(&mut self, id: LegId) -> bool {
        for own in [&mut self.referrer, &mut self.consult] {
            if *own == Some(id) {
                *own = None;
                return true;
            }
        }
        false
    }
}

/// What a REFER asks for.
struct Asked {
    to: UriBuf,
    /// The dialog whose place is to be taken.
    replaces: Option<Replaces<'static>>,
    replaces_text: Option<SmolStr>,
}

impl B2bua {
    /// A REFER within a dialog.
    pub(super) fn handle_refer(&mut self, cx: &mut Context<'_>, came: &Came<'_>) {
        self.refer(cx, came, None);
    }

    /// The same; where it is about a call or a slot of another shard, what that one has said.
    pub(super) fn refer(&mut self, cx: &mut Context<'_>, came: &Came<'_>, elsewhere: Option<Status>) {
        let Some(leg) = self.legs.get(&came.leg) else { return };
        let asked = match read(came.request) {
            Ok(Some(asked)) if cx.settings.bridges.transfers && !leg.party.outside => asked,
            Ok(_) => return self.carry(cx, came, |draft| draft),
            Err(refusal) => {
                let refusal = refusal.because(cx.settings, "Refer-To names nobody who could be called");
                return came.refuse(cx, &refusal);
            }
        };
        let Some(transferee) = leg.peer.filter(|peer| {
            let peer = self.legs.get(peer);
            leg.stage == Stage::Talking && peer.is_some_and(|peer| peer.stage == Stage::Talking)
        }) else {
            // RFC 5589 §6.3: what is transferred is a call that was answered.
            let refusal = Refusal::later(cx);
            return came.refuse(cx, &refusal);
        };
        if self.is_engaged(came.leg) || self.is_engaged(transferee) || self.is_of_parked(came.leg) {
            let refusal = Refusal::later(cx);
            return came.refuse(cx, &refusal);
        }
        let depth = self.legs.get(&transferee).map_or(0, |leg| leg.depth).max(leg.depth);
        if depth >= cx.settings.limits.transfers {
            cx.core.counters.transfers_refused += 1;
            let refusal = Refusal::of(483).because(cx.settings, "This call was transferred too often");
            return came.refuse(cx, &refusal);
        }
        let slot = match park::read(cx.settings, &asked.to) {
            Some(park::Code::Slot(slot)) => Some(slot),
            _ => None,
        };
        if slot.as_ref().is_some_and(|slot| !leg.party.is_of(slot.domain())) {
            cx.core.counters.transfers_refused += 1;
            let refusal = Refusal::of(403).because(cx.settings, "That slot is of another domain");
            return came.refuse(cx, &refusal);
        }
        if elsewhere.is_none() && self.ask_elsewhere(cx, came, slot.as_ref(), asked.replaces.as_ref()) {
            return;
        }
        match elsewhere.map(Status::code) {
            Some(403) => {
                cx.core.counters.transfers_refused += 1;
                return came.refuse(cx, &Refusal::of(403));
            }
            Some(500) => {
                let refusal = Refusal::later(cx);
                return came.refuse(cx, &refusal);
            }
            _ => {}
        }
        let found = asked.replaces.as_ref().map(|replaces| self.replaced(came.leg, replaces));
        if let Some(Err(refusal)) = found {
            cx.core.counters.transfers_refused += 1;
            let refusal = refusal.because(cx.settings, "That call is somebody else's");
            return came.refuse(cx, &refusal);
        }
        let consult = found.and_then(Result::ok).flatten();
        let is_parked = consult.is_some_and(|consult| self.is_of_parked(consult));
        if consult == Some(came.leg)
            || consult == Some(transferee)
            || consult.is_some_and(|consult| self.is_engaged(consult))
            || is_parked
        {
            // The call that he transfers, or one that is being transferred.
            let refusal = Refusal::of(403).because(cx.settings, "That call is being transferred already");
            return came.refuse(cx, &refusal);
        }
        let partner = consult.and_then(|consult| self.legs.get(&consult)?.peer);
        for id in [Some(came.leg), Some(transferee), consult, partner].into_iter().flatten() {
            self.drop_music_task(cx, id);
        }
        let subscribed = self.accept_refer(cx, came);
        cx.core.counters.transfers += 1;
        let event = came.request.cseq().map_or(0, |cseq| cseq.number);
        let legs = self.legs.get(&came.leg).zip(self.legs.get(&transferee));
        let Some((own, brought)) = legs else { return };
        let sought = Sought {
            since: cx.now,
            call_id: own.call_id.clone(),
            parties: [brought.party.address.clone(), address_of(&asked.to)],
        };
        let referrer = Some(came.leg);
        let transfer = Transfer { referrer, consult, event, subscribed, told_ringing: false, sought };
        self.notify(cx, &transfer, Status::of(100), false);
        match (slot, elsewhere.map(Status::code)) {
            (Some(_), Some(486)) => return self.transfer_failed(cx, &transfer, Status::of(486)),
            (Some(slot), _) => return self.park_for(cx, transferee, came.leg, slot, transfer),
            // As where it is here: what has not been answered can't be joined.
            (None, Some(480)) => return self.transfer_failed(cx, &transfer, Status::of(481)),
            (None, _) => {}
        }
        let task = self.next_task();
        match consult {
            Some(consult) => self.join_calls(cx, task, transferee, consult, transfer),
            None => self.call_target(cx, task, transferee, came, asked, transfer),
        }
    }

    /// A transfer to a slot: the call waits there.
    fn park_for(
        &mut self,
        cx: &mut Context<'_>,
        transferee: LegId,
        by: LegId,
        slot: park::Slot,
        transfer: Transfer,
    ) {
        let parker = self.legs.get(&by).map(|leg| leg.party.clone()).unwrap_or_default();
        match self.park(cx, transferee, slot, parker) {
            Ok(()) => self.transfer_done(cx, transfer, [Some(by), None]),
            Err(status) => self.transfer_failed(cx, &transfer, status),
        }
    }

    /// RFC 3891 §3: the call that Replaces names, if it is one of ours: then his who refers to it, or else refused.
    fn replaced(&self, by: LegId, replaces: &Replaces<'_>) -> Result<Option<LegId>, Refusal> {
        let name = (SmolStr::new(&replaces.call_id), SmolStr::new(&replaces.to_tag));
        let Some(id) = self.desk.dialogs.get(&name) else { return Ok(None) };
        let (Some(leg), Some(own)) = (self.legs.get(id), self.legs.get(&by)) else { return Ok(None) };
        let is_it = |strand: &super::Strand| strand.dialog.id().remote_tag == *replaces.from_tag;
        if !leg.strands.iter().any(is_it) || leg.stage == Stage::Over {
            return Ok(None);
        }
        if !leg.party.is(&own.party) {
            return Err(Refusal::of(403));
        }
        Ok(Some(*id))
    }

    /// 200 (RFC 7647 §5: "MUST NOT reply with a 202 response code"), and whether NOTIFYs follow.
    fn accept_refer(&mut self, cx: &mut Context<'_>, came: &Came<'_>) -> bool {
        let asks_for_none = came.request.value_by_text(ReferSub::NAME).map(ReferSub::parse);
        let subscribed = !matches!(asks_for_none, Some(Ok(ReferSub(false))));
        let contact = self.legs.get(&came.leg).map(|leg| leg.contact(cx)).unwrap_or_default();
        let product = cx.settings.product.clone();
        let extra = |writer: &mut Writer| {
            writer.header(HeaderName::Contact, contact);
            if !subscribed {
                // RFC 4488 §4: "the REFER-Recipient … MUST insert a Refer-Sub header field … 'false'".
                writer.line(ReferSub::NAME, "false");
            }
            writer.header(HeaderName::Server, product);
        };
        let _ = cx.respond(came.server, came.request, Status::of(200), None, extra, None);
        subscribed
    }

    /// Blind: calls the target.
    fn call_target(
        &mut self,
        cx: &mut Context<'_>,
        task: TaskId,
        transferee: LegId,
        came: &Came<'_>,
        asked: Asked,
        transfer: Transfer,
    ) {
        let legs = self.legs.get(&came.leg).zip(self.legs.get(&transferee));
        let Some((by, from)) = legs.map(|(by, from)| (by.party.clone(), from.party.clone())) else { return };
        let depth = legs.map_or(0, |(by, from)| by.depth.max(from.depth)) + 1;
        let mut headers = Vec::new();
        // RFC 3892 §2.1; who refers needs not be the one whom he names, and without a name it is his own.
        let referred_by =
            came.request.value(HeaderName::ReferredBy).and_then(|value| std::str::from_utf8(value).ok());
        let referred_by = referred_by.map_or_else(|| format_smolstr!("<{}>", by.uri()), SmolStr::new);
        headers.push((HeaderName::ReferredBy, referred_by));
        if let Some(replaces) = asked.replaces_text {
            // The target's own phone knows that dialog, or refuses it.
            headers.push((HeaderName::Replaces, replaces));
        }
        self.begin_task(task, Task::new(None, transferee, TaskStage::Calling, Goal::Transfer(transfer)));
        let wanted = Wanted { to: asked.to, from: &from, by: &by, headers, local: came.flow, task };
        match self.originate(cx, wanted) {
            Some(target) => {
                self.task_calls(task, target);
                for id in [target, transferee] {
                    if let Some(leg) = self.legs.get_mut(&id) {
                        leg.depth = depth;
                    }
                }
            }
            None => self.task_failed(cx, task, Status::of(500)),
        }
    }

    /// Attended: joins him whom the referrer talks with here and him whom he talks with there.
    fn join_calls(
        &mut self,
        cx: &mut Context<'_>,
        task: TaskId,
        transferee: LegId,
        consult: LegId,
        transfer: Transfer,
    ) {
        let target =
            self.legs.get(&consult).filter(|leg| leg.stage == Stage::Talking).and_then(|leg| leg.peer);
        let target = target.filter(|target| {
            self.legs.get(target).is_some_and(|leg| leg.stage == Stage::Talking && leg.task.is_none())
        });
        let Some(target) = target else {
            // RFC 3891 §3: an early dialog can be replaced at the side only that has begun it.
            return self.transfer_failed(cx, &transfer, Status::of(481));
        };
        let depth = self.legs.get(&transferee).map_or(0, |leg| leg.depth) + 1;
        for id in [target, transferee] {
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.depth = leg.depth.max(depth);
            }
        }
        let goal = Goal::Transfer(transfer);
        self.begin_task(task, Task::new(Some(target), transferee, TaskStage::Asking, goal));
        self.ask_for_offer(cx, task);
    }

    /// The target rings: told once.
    pub(super) fn tell_ringing(&mut self, cx: &mut Context<'_>, id: TaskId) {
        let Some(Task { goal: Goal::Transfer(transfer), .. }) = self.tasks.get_mut(&id) else { return };
        if std::mem::replace(&mut transfer.told_ringing, true) {
            return;
        }
        let Some(referrer) = transfer.referrer else { return };
        let (event, subscribed, sought) = (transfer.event, transfer.subscribed, transfer.sought.clone());
        let told = Transfer {
            referrer: Some(referrer),
            consult: None,
            event,
            subscribed,
            told_ringing: true,
            sought,
        };
        self.notify(cx, &told, Status::of(180), false);
    }

    /// Transferee and target talk. `left` are those who were their partners.
    pub(super) fn transfer_done(
        &mut self,
        cx: &mut Context<'_>,
        transfer: Transfer,
        left: [Option<LegId>; 2],
    ) {
        cx.core.counters.transfers_done += 1;
        self.notify(cx, &transfer, Status::of(200), true);
        for id in left.into_iter().flatten() {
            if Some(id) == transfer.referrer {
                // RFC 5589 §6.1: he hangs up when he has read that. Some phones wait for us to do it.
                self.desk.deadlines.start(Wake::Release(id), cx.now + cx.settings.bridges.release_after);
            } else {
                // RFC 3891 §3: who is replaced gets a BYE.
                self.hang_up(cx, id, Status::of(487), None);
            }
        }
    }

    /// The target could not be had.
    pub(super) fn transfer_failed(&mut self, cx: &mut Context<'_>, transfer: &Transfer, status: Status) {
        cx.core.counters.transfers_failed += 1;
        transfer.sought.record(cx, status);
        self.notify(cx, transfer, status, true);
    }

    /// The time is over in which a transferor hangs up by himself.
    pub(super) fn release(&mut self, cx: &mut Context<'_>, id: LegId) {
        if self.legs.get(&id).is_some_and(|leg| leg.peer.is_none()) {
            self.hang_up(cx, id, Status::of(487), None);
        }
    }

    /// Tells the referrer how far it is (RFC 3515 §2.4.4).
    fn notify(&mut self, cx: &mut Context<'_>, transfer: &Transfer, status: Status, is_last: bool) {
        let Transfer { referrer: Some(referrer), event, subscribed: true, .. } = *transfer else { return };
        let Some(leg) = self.legs.get_mut(&referrer).filter(|leg| leg.stage == Stage::Talking) else {
            return;
        };
        let Some(strand) = leg.strands.first_mut() else { return };
        let state = if is_last {
            SmolStr::new_static("terminated;reason=noresource")
        } else {
            let seconds = (cx.settings.timer_c + cx.settings.timers.transaction_timeout()).as_secs();
            format_smolstr!("active;expires={seconds}")
        };
        let body = format!("SIP/2.0 {} {}\r\n", status.code(), status.reason());
        let draft = strand.dialog.request(Method::Notify);
        let draft = draft
            .header(HeaderName::Event, &format_smolstr!("refer;id={event}"))
            .header(HeaderName::SubscriptionState, &state)
            .body(SIPFRAG, body.into_bytes());
        let leg = &*leg;
        self.desk.send(cx, leg, draft, Purpose::Alone);
    }
}

/// Reads Refer-To; `None` when it asks for something else than a call. The INVITE goes to its URI (RFC 3515 §2.1) with all
/// parameters but `method`, which may lead to one device (`gr`, RFC 5627).
fn read(refer: &Message) -> Result<Option<Asked>, Refusal> {
    // RFC 3515 §2.4.1: "A REFER request … MUST contain exactly one Refer-To".
    let mut values = refer.values(HeaderName::ReferTo);
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Refusal::of(400)) };
    let address = NameAddr::parse(value).map_err(|_| Refusal::of(400))?;
    let Uri::Sip(sip) = address.uri else { return Ok(None) };
    if sip.params.value("method").is_some_and(|method| !method.eq_ignore_ascii_case("INVITE")) {
        return Ok(None);
    }
    let mut replaces_text = None;
    for header in sip.headers.split('&').filter(|header| !header.is_empty()) {
        let (name, value) = header.split_once('=').unwrap_or((header, ""));
        if name.eq_ignore_ascii_case("Replaces") {
            replaces_text = Some(value);
        }
    }
    let replaces = replaces_text.map(Replaces::from_uri_header).transpose().map_err(|_| Refusal::of(400))?;
    let scheme = if sip.secure { "sips" } else { "sip" };
    let user =
        sip.user_unescaped().map(|user| format_smolstr!("{}@", escape_user(&user))).unwrap_or_default();
    let host = match (sip.host, sip.port) {
        (host, Some(port)) => format_smolstr!("{host}:{port}"),
        (host, None) => format_smolstr!("{host}"),
    };
    let mut to = format!("{scheme}:{user}{host}");
    let is_method = |piece: &str| {
        let name = piece.split('=').next().unwrap_or_default();
        unescape(name).eq_ignore_ascii_case("method")
    };
    for piece in sip.params.pieces().filter(|piece| !is_method(piece)) {
        to.push(';');
        to.push_str(piece);
    }
    let to = UriBuf::parse(&to).map_err(|_| Refusal::of(400))?;
    let replaces_text = replaces_text.map(unescape);
    Ok(Some(Asked { to, replaces, replaces_text }))
}
