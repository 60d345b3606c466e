//! Transfers that we are asked for: the transferee (RFC 3515 §2.4.2–§2.4.7, RFC 7647).
//!
//! ```text
//!   REFER               200                                  AnswerTransfer, no
//!     | policy: ask +---------+ ------------------------------------------------+
//!     |------------>| Pending | AnswerTransfer, yes                             |
//!     |             +---------+---------+                                       |
//!     | policy: accept                  v   the call answered, failed, ended    v
//!     |  200, INVITE               +--------+   SUBSCRIBE that ends it, time  +------+ NOTIFY answered
//!     +--------------------------->| Active |-------------------------------->| Over |----------------> gone
//!                                  +--------+                                 +------+
//! ```

use std::time::Duration;

use dialtone_dialog::{Dialog, DialogId, State};
use dialtone_wire::bodies::{SIPFRAG, sipfrag, sipfrag_with_dialog};
use dialtone_wire::headers::{
    Event as EventHeader, Expires, Params, ReferSub, ReferTo, ReferredBy, Replaces, TargetDialog,
    TypedHeader as _,
};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::{SipUri, Uri, UriBuf, unescape};
use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::{SmolStr, format_smolstr};

use super::{Incoming, OwnDialog, PACKAGE, Referred, Transfers, Way};
use crate::context::{Context, UaRequest};
use crate::events::ends_subscription;
use crate::io::{CallHandle, EndReason, Event, Play};
use crate::settings::{ReferPolicy, Settings};
use crate::ua::Ua;
use crate::ua::deadlines::Wake;
use crate::ua::desk::{Purpose, own_user};
use crate::ua::in_dialog::own_flow;
use crate::ua::incoming::dialog_headers;
use crate::ua::refusal::Refusal;

/// The longest fragment that is told: with it, a NOTIFY fits into a datagram (RFC 3261 §18.1.1: 1300 bytes).
const FRAGMENT_BYTES_MAX: usize = 700;

/// A transfer that we are asked for.
#[derive(Debug)]
pub(super) struct Referral {
    pub(super) way: Way,
    /// The call in which it was asked for.
    call: Option<CallHandle>,
    new_call: Option<CallHandle>,
    to: UriBuf,
    referred: Referred,
    play: Play,
    /// The Event value of its NOTIFYs.
    event: SmolStr,
    /// RFC 4488: nothing is told.
    is_silent: bool,
    stage: Stage,
    /// How the call goes.
    status: Status,
    /// What names the dialog of the call, once it was answered, for a referrer who may know it.
    answer: Option<Vec<u8>>,
    /// There is something that was not told.
    is_due: bool,
    outstanding: Option<UaRequest>,
    /// The last NOTIFY is on the way.
    last_sent: bool,
    over_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The owner was asked.
    Pending,
    /// The call was made.
    Active,
    /// It ends with the next NOTIFY, for this reason (RFC 6665 §4.1.3).
    Over(&'static str),
}

/// What a REFER asks for.
struct Wanted {
    to: UriBuf,
    referred: Referred,
    is_silent: bool,
    by: Option<UriBuf>,
}

impl Ua {
    /// A REFER in a call.
    pub(super) fn handle_refer(&mut self, cx: &mut Context<'_>, incoming: Incoming<'_>, handle: CallHandle) {
        let policy = cx.settings.transfer.referred;
        let admitted = self.admit(cx, incoming.request, Some(handle), policy);
        let (wanted, policy) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return incoming.refuse(cx, &refusal),
        };
        let Some(call) = self.calls.get_mut(handle) else { return };
        // RFC 3515 §2.4.6: the first one may go without id, and there are those who expect none.
        let event = match std::mem::replace(&mut call.ties.was_referred, true) {
            false => SmolStr::new_static(PACKAGE),
            true => {
                let cseq = incoming.request.cseq().map_or(0, |cseq| cseq.number);
                format_smolstr!("{PACKAGE};id={cseq}")
            }
        };
        let contact = cx.contact_of(&incoming.flow, &call.contact_user);
        // RFC 7647 §5: "MUST NOT reply with a 202 response code", but with 200.
        incoming.accept(cx, |writer| {
            writer.header(HeaderName::Contact, contact);
            if wanted.is_silent {
                writer.line("Refer-Sub", "false");
            }
        });
        self.begin_referral(cx, Way::Call(handle), Some(handle), wanted, event, policy);
    }

    /// A REFER outside of any call (RFC 7647 §4), which may name one all the same (Target-Dialog, RFC 4538).
    pub(in crate::ua) fn handle_refer_outside(&mut self, cx: &mut Context<'_>, incoming: Incoming<'_>) {
        let request = incoming.request;
        // RFC 4538 §4: what does not name a dialog is passed over.
        let target =
            request.value_by_text(TargetDialog::NAME).and_then(|value| TargetDialog::parse(value).ok());
        let call = target.and_then(|target| {
            let id = DialogId {
                call_id: SmolStr::new(target.call_id),
                local_tag: SmolStr::new(target.local_tag),
                remote_tag: SmolStr::new(target.remote_tag),
            };
            self.desk.dialogs.get(&id).copied()
        });
        let rules = &cx.settings.transfer;
        let policy = if call.is_some() { rules.referred } else { rules.strangers };
        let tag = cx.token();
        let dialog = Dialog::uas(request, &tag, State::Confirmed)
            .map_err(|error| Refusal::new(400).warning(cx.settings, 399, error));
        let admitted = dialog.and_then(|dialog| Ok((dialog, self.admit(cx, request, call, policy)?)));
        let (dialog, (wanted, policy)) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return refusal.send(cx, incoming.server, request, Some(&tag)),
        };
        let contact_user = own_user(cx.settings).into();
        let headers = dialog_headers(cx, request, &incoming.flow, &contact_user);
        let is_silent = wanted.is_silent;
        let headers = |writer: &mut dialtone_wire::Writer| {
            headers(writer);
            if is_silent {
                writer.line("Refer-Sub", "false");
            }
        };
        let _ = cx.respond(incoming.server, request, Status::of(200), Some(&tag), headers, None);
        let way = Way::Own(dialog.id().clone());
        let own = OwnDialog { flow: own_flow(request, incoming.flow), dialog, contact_user };
        self.desk.transfers.dialogs.insert(own.dialog.id().clone(), own);
        self.begin_referral(cx, way, call, wanted, SmolStr::new_static(PACKAGE), policy);
    }

    /// What a REFER asks for and what happens with it, or its refusal.
    fn admit(
        &mut self,
        cx: &mut Context<'_>,
        request: &Message,
        handle: Option<CallHandle>,
        policy: ReferPolicy,
    ) -> Result<(Wanted, ReferPolicy), Refusal> {
        let call = handle.and_then(|handle| self.calls.get_mut(handle));
        let hops = call.as_ref().map_or(dialtone_dialog::MAX_FORWARDS, |call| call.ties.hops);
        let wanted = wanted(cx, request, hops)?;
        let is_robots =
            call.as_ref().is_some_and(|call| call.ties.is_robots) || cx.settings.account.is_none();
        if is_robots || policy == ReferPolicy::Refuse {
            let refusal = Refusal::new(403);
            return Err(refusal.warning(cx.settings, 399, "Nobody is called here because others ask for it"));
        }
        let is_talking = call.is_none_or(|call| {
            call.confirmed_dialog_mut().is_some() && call.talk_mut().is_some_and(|talk| !talk.hung_up)
        });
        if !is_talking {
            // The call is not answered yet, or its end is under way.
            return Err(Refusal::new(481));
        }
        let limits = &cx.settings.limits;
        let transfers = &self.desk.transfers;
        let of_call = handle.map_or(0, |handle| transfers.of_call(handle));
        if transfers.is_full(cx.settings) || of_call >= limits.referrals_per_call {
            let retry_after = 1 + cx.random_u64() % 10;
            return Err(Refusal::new(500).with(HeaderName::RetryAfter, retry_after));
        }
        if wanted.referred.hops < limits.referred_hops_min {
            let text = "This call has been transferred too often";
            return Err(Refusal::new(483).warning(cx.settings, 399, text));
        }
        Ok((wanted, policy))
    }

    /// A REFER was accepted: its subscription begins, and the call too unless the owner is to be asked.
    fn begin_referral(
        &mut self,
        cx: &mut Context<'_>,
        way: Way,
        call: Option<CallHandle>,
        wanted: Wanted,
        event: SmolStr,
        policy: ReferPolicy,
    ) {
        let id = self.desk.transfers.add();
        let Wanted { to, referred, is_silent, by } = wanted;
        let over_at = cx.now + cx.settings.transfer.time;
        let play = call.and_then(|call| self.calls.get(call)).map_or(Play::Silence, |call| call.play.clone());
        let asks = policy == ReferPolicy::Ask;
        let replaces = referred.replaces.is_some();
        let referral = Referral {
            way,
            call,
            new_call: None,
            to: to.clone(),
            referred,
            play,
            event,
            is_silent,
            stage: if asks { Stage::Pending } else { Stage::Active },
            status: Status::of(100),
            answer: None,
            is_due: true,
            outstanding: None,
            last_sent: false,
            over_at,
        };
        self.desk.transfers.referrals.insert(id, referral);
        self.desk.deadlines.start(Wake::Transfer(id), over_at);
        // RFC 6665 §4.2.1.2: a NOTIFY follows at once.
        self.tell(cx, id);
        if asks {
            cx.event(Event::TransferAsked { referral: id, call, to, replaces, referred_by: by });
        } else {
            self.make_call(cx, id);
        }
    }

    /// The owner has been asked and answers.
    pub(in crate::ua) fn answer_transfer(&mut self, cx: &mut Context<'_>, id: u64, accept: bool, play: Play) {
        let Some(referral) = self.desk.transfers.referrals.get_mut(&id) else { return };
        if referral.stage != Stage::Pending {
            return;
        }
        referral.is_due = true;
        if !accept {
            referral.status = Status::of(603);
            referral.stage = Stage::Over("rejected");
            return self.tell(cx, id);
        }
        referral.stage = Stage::Active;
        referral.play = play;
        self.tell(cx, id);
        self.make_call(cx, id);
    }

    /// Calls whom the REFER names.
    fn make_call(&mut self, cx: &mut Context<'_>, id: u64) {
        let Some(referral) = self.desk.transfers.referrals.get(&id) else { return };
        let (to, play, call) = (referral.to.clone(), referral.play.clone(), referral.call);
        let referred = Box::new(referral.referred.clone());
        let hops = referred.hops;
        let (new_call, is_full) = self.add_outgoing(cx, play);
        if let Some(referral) = self.desk.transfers.referrals.get_mut(&id) {
            referral.new_call = Some(new_call);
        }
        self.desk.transfers.by_call.insert(new_call, id);
        cx.event(Event::TransferBegun { referral: id, call, new_call, to: to.clone() });
        if is_full {
            self.end(cx, new_call, EndReason::Overload);
            return self.settle_transfers(cx);
        }
        self.with_call(cx, new_call, |call, desk, cx| {
            call.ties.hops = hops;
            call.ties.referred = Some(referred);
            call.begin(desk, cx, to)
        });
    }

    /// Sends the next NOTIFY, if there is something to tell and the last one was answered (RFC 3515 §2.4.5).
    pub(super) fn tell(&mut self, cx: &mut Context<'_>, id: u64) {
        let Some(referral) = self.desk.transfers.referrals.get_mut(&id) else { return };
        if referral.outstanding.is_some() || !referral.is_due {
            return;
        }
        let is_over = matches!(referral.stage, Stage::Over(_));
        if referral.is_silent {
            if is_over {
                self.drop_referral(id);
            }
            return;
        }
        let left_s = referral.over_at.since(cx.now).as_secs();
        let state = match referral.stage {
            Stage::Pending => format_smolstr!("pending;expires={left_s}"),
            Stage::Active => format_smolstr!("active;expires={left_s}"),
            Stage::Over(reason) => format_smolstr!("terminated;reason={reason}"),
        };
        referral.is_due = false;
        referral.last_sent = is_over;
        let (way, event) = (referral.way.clone(), referral.event.clone());
        let answer = referral.answer.take().filter(|_| referral.status.is_success());
        let body = answer.unwrap_or_else(|| sipfrag(referral.status).as_bytes().to_vec());
        let Some((draft, flow, contact_user)) = self.request_in(&way, Method::Notify) else {
            return self.drop_referral(id);
        };
        let draft = draft
            .header(HeaderName::Event, &event)
            .header(HeaderName::SubscriptionState, &state)
            .header(HeaderName::UserAgent, &cx.settings.product)
            .body(SIPFRAG, body);
        let purpose = Purpose::Notify { referral: id };
        match self.desk.send_over(cx, draft, Some(contact_user), purpose, flow) {
            Ok(request) => {
                if let Some(referral) = self.desk.transfers.referrals.get_mut(&id) {
                    referral.outstanding = Some(request);
                }
            }
            Err(_) => self.drop_referral(id),
        }
    }

    /// The answer to a NOTIFY of ours; `None` when nobody answered.
    pub(in crate::ua) fn handle_notify_response(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        id: u64,
        response: Option<&Message>,
    ) {
        let status = response.and_then(Message::status);
        if status.is_some_and(Status::is_provisional) {
            return;
        }
        let Some(sent) = self.desk.requests.remove(&request) else { return };
        let Some(referral) = self.desk.transfers.referrals.get_mut(&id) else { return };
        referral.outstanding = None;
        let way = referral.way.clone();
        if let Some(response) = response.filter(|_| status.is_some_and(Status::is_challenge))
            && let Some(cseq) = self.next_cseq_in(&way)
            && let Ok(again) = self.desk.retry(cx, sent, response, cseq)
        {
            if let Some(referral) = self.desk.transfers.referrals.get_mut(&id) {
                referral.outstanding = Some(again);
            }
            return;
        }
        let Some(referral) = self.desk.transfers.referrals.get_mut(&id) else { return };
        // RFC 6665 §4.2.2: who can't be told has no subscription any more. The call goes on without it.
        if referral.last_sent || status.is_none_or(ends_subscription) {
            return self.drop_referral(id);
        }
        self.tell(cx, id);
    }

    /// A SUBSCRIBE that makes a subscription last, or ends it (RFC 3515 §2.4.4).
    pub(super) fn handle_refresh(&mut self, cx: &mut Context<'_>, incoming: Incoming<'_>, way: &Way) {
        let request = incoming.request;
        let event = match request.header::<EventHeader<'_>>() {
            Some(Ok(event)) if event.package.eq_ignore_ascii_case(PACKAGE) => event,
            Some(Err(_)) => return incoming.refuse(cx, &Refusal::new(400)),
            Some(Ok(_)) | None => {
                let refusal = Refusal::new(489).with(HeaderName::AllowEvents, PACKAGE);
                return incoming.refuse(cx, &refusal);
            }
        };
        let is_named = |known: &Referral| {
            let id = known.event.split_once("id=").map(|(_, id)| id);
            known.way == *way && id == event.id()
        };
        let found = self.desk.transfers.referrals.iter_mut().find(|(_, known)| is_named(known));
        let Some((&id, referral)) = found.filter(|(_, known)| !matches!(known.stage, Stage::Over(_))) else {
            // "If a SUBSCRIBE request … attempting to create": only REFER does.
            return incoming.refuse(cx, &Refusal::new(403));
        };
        let most = cx.settings.transfer.time;
        let asked = request.header::<Expires>().and_then(Result::ok);
        let time = asked.map_or(most, |Expires(seconds)| most.min(Duration::from_secs(seconds.into())));
        referral.over_at = cx.now + time;
        referral.is_due = true;
        if time.is_zero() {
            referral.stage = Stage::Over("timeout");
        } else {
            self.desk.deadlines.start(Wake::Transfer(id), cx.now + time);
        }
        let contact_user = match way {
            Way::Call(handle) => self.calls.get(*handle).map(|call| call.contact_user.clone()),
            Way::Own(own) => self.desk.transfers.dialogs.get(own).map(|own| own.contact_user.clone()),
        };
        let contact = cx.contact_of(&incoming.flow, &contact_user.unwrap_or_default());
        incoming.accept(cx, |writer| {
            writer.header(HeaderName::Contact, contact);
            writer.header(HeaderName::Expires, time.as_secs());
        });
        self.tell(cx, id);
    }

    /// A transfer that we were asked for is told of no more, for this reason.
    pub(super) fn referral_over(&mut self, cx: &mut Context<'_>, id: u64, reason: &'static str) {
        let Some(referral) = self.desk.transfers.referrals.get_mut(&id) else { return };
        referral.stage = Stage::Over(reason);
        referral.is_due = true;
        self.tell(cx, id);
    }

    pub(super) fn drop_referral(&mut self, id: u64) {
        let Some(referral) = self.desk.transfers.referrals.remove(&id) else { return };
        self.desk.stop_transfer(id);
        self.desk.transfers.due.remove(&id);
        if let Some(new_call) = referral.new_call {
            self.desk.transfers.by_call.remove(&new_call);
        }
        self.desk.transfers.prune(&referral.way);
    }
}

impl Transfers {
    /// A call has got a provisional response, or its 2xx.
    pub(in crate::ua) fn call_goes_on(&mut self, call: CallHandle, status: Status, tells_progress: bool) {
        if status.is_provisional() && (status.code() == 100 || !tells_progress) {
            return;
        }
        self.target_goes_on(call, status);
        self.report(call, status);
    }

    /// A call has got its 2xx. Its dialog is told to a referrer who has named the call that it takes the place of (RFC 5359
    /// §2.3, F17: "Bob obtains the dialog identifiers from the headers included"): he was part of that one, so that he
    /// learns nothing of anybody whom he does not know. Others get the status alone (RFC 3515 §5.3.3).
    pub(in crate::ua) fn call_answered(&mut self, call: CallHandle, response: &Message) {
        let id = self.by_call.get(&call);
        let Some(referral) = id.and_then(|id| self.referrals.get_mut(id)) else { return };
        if referral.referred.replaces.is_some() {
            referral.answer = sipfrag_with_dialog(response, FRAGMENT_BYTES_MAX);
        }
    }

    /// A call is over.
    pub(super) fn call_ended(&mut self, call: CallHandle, reason: EndReason) {
        self.report(call, status_of(reason));
    }

    fn report(&mut self, call: CallHandle, status: Status) {
        let Some(&id) = self.by_call.get(&call) else { return };
        let Some(referral) = self.referrals.get_mut(&id) else { return };
        if referral.stage != Stage::Active || referral.status == status {
            return;
        }
        referral.status = status;
        referral.is_due = true;
        if status.is_final() {
            // RFC 3515 §2.4.7: nothing is left to be told.
            referral.stage = Stage::Over("noresource");
        }
        self.due.insert(id);
    }

    /// How many were asked for in a call.
    fn of_call(&self, call: CallHandle) -> usize {
        self.referrals.values().filter(|known| known.call == Some(call)).count()
    }
}

/// How a call that was not answered is told of.
pub(super) const fn status_of(reason: EndReason) -> Status {
    match reason {
        EndReason::Refused(status) => status,
        EndReason::WrongPassword => Status::of(401),
        EndReason::LocalHangup | EndReason::Cancelled | EndReason::Replaced => Status::of(487),
        EndReason::NoResponse | EndReason::NoAck | EndReason::SessionExpired => Status::of(408),
        EndReason::BadSession => Status::of(488),
        EndReason::TransportFailed | EndReason::Overload => Status::of(503),
        EndReason::RemoteHangup => Status::of(480),
        EndReason::DialogLost => Status::of(481),
    }
}

/// Reads a REFER: 400, 416 or 420 where it can't be done.
fn wanted(cx: &Context<'_>, request: &Message, hops: u8) -> Result<Wanted, Refusal> {
    let fault = |text: &str| Refusal::new(400).warning(cx.settings, 399, text);
    let mut values = request.values(HeaderName::ReferTo);
    // RFC 3515 §2.4.2: "zero or more than one Refer-To header field values".
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(fault("There must be one Refer-To"));
    };
    let ReferTo(refer_to) = ReferTo::parse(value).map_err(|_| fault("Refer-To can't be read"))?;
    let is_phone = cx.settings.account.as_ref().is_some_and(|account| account.proxy.is_some());
    let sip = match refer_to.uri {
        Uri::Sip(sip) => sip,
        // A number is called by way of the proxy.
        Uri::Tel(_) if is_phone => {
            let to = UriBuf::parse(refer_to.uri_text).map_err(|_| fault("Refer-To can't be read"))?;
            return completed(
                cx,
                request,
                to,
                Referred { hops: hops.saturating_sub(1), ..Referred::default() },
            );
        }
        _ => return Err(Refusal::new(416).warning(cx.settings, 399, "Only SIP URIs can be called")),
    };
    if sip.params.value("method").is_some_and(|method| !method.eq_ignore_ascii_case("INVITE")) {
        let text = "Only INVITE is sent because others ask for it";
        return Err(Refusal::new(403).warning(cx.settings, 399, text));
    }
    let (to, referred) = read_headers(cx.settings, &sip)?;
    completed(cx, request, to, Referred { hops: hops.saturating_sub(1), ..referred })
}

/// What a URI is without headers and method (RFC 3261 §19.1.1: neither stands in a Request-URI), and what its headers ask
/// an INVITE to have.
pub(in crate::ua) fn read_headers(
    settings: &Settings,
    sip: &SipUri<'_>,
) -> Result<(UriBuf, Referred), Refusal> {
    let fault = |text: &str| Refusal::new(400).warning(settings, 399, text);
    let mut referred = Referred { hops: dialtone_dialog::MAX_FORWARDS, ..Referred::default() };
    for (name, value) in sip.headers.split('&').filter_map(|piece| piece.split_once('=')) {
        let (name, value) = (unescape(name), unescape(value));
        match name.to_ascii_lowercase().as_str() {
            "replaces" if referred.replaces.is_none() => {
                Replaces::parse(value.as_bytes()).map_err(|_| fault("Replaces in a URI can't be read"))?;
                referred.replaces = Some(value);
            }
            "replaces" => return Err(fault("There is more than one Replaces in a URI")),
            "require" => {
                let mut tokens = value.split(',').map(str::trim);
                if let Some(unknown) = tokens.find(|token| !token.eq_ignore_ascii_case("replaces")) {
                    return Err(Refusal::new(420).with(HeaderName::Unsupported, unknown));
                }
                referred.requires_replaces = true;
            }
            // RFC 3261 §19.1.5: other headers that somebody else wants us to send are not sent.
            _ => {}
        }
    }
    let mut text = format!("{}", SipUri { headers: "", params: Params::default(), ..*sip });
    let is_method =
        |piece: &&str| piece.split('=').next().is_some_and(|name| name.eq_ignore_ascii_case("method"));
    for piece in sip.params.pieces().filter(|piece| !is_method(piece)) {
        text.push(';');
        text.push_str(piece);
    }
    let to = UriBuf::parse(&text).map_err(|_| fault("The URI can't be read"))?;
    Ok((to, referred))
}

/// Reads the rest of a REFER.
fn completed(
    cx: &Context<'_>,
    request: &Message,
    to: UriBuf,
    mut referred: Referred,
) -> Result<Wanted, Refusal> {
    let fault = |text: &str| Refusal::new(400).warning(cx.settings, 399, text);
    let mut by = request.values(HeaderName::ReferredBy);
    let uri = match (by.next(), by.next()) {
        (None, _) => None,
        (Some(value), None) => {
            // RFC 3892 §2.2: it goes into the INVITE as it came.
            let ReferredBy(address) =
                ReferredBy::parse(value).map_err(|_| fault("Referred-By can't be read"))?;
            referred.referred_by = std::str::from_utf8(value).ok().map(SmolStr::new);
            UriBuf::parse(address.uri_text).ok()
        }
        (Some(_), Some(_)) => return Err(fault("There is more than one Referred-By")),
    };
    let refer_sub = request.value_by_text(ReferSub::NAME).map(ReferSub::parse).transpose();
    let refer_sub = refer_sub.map_err(|_| fault("Refer-Sub is neither true nor false"))?;
    // RFC 7614 §4: "nosub" asks for no subscription, and must be obeyed.
    let is_silent = refer_sub == Some(ReferSub(false)) || request.has_token(HeaderName::Require, "nosub");
    Ok(Wanted { to, referred, is_silent, by: uri })
}
