//! The INVITE that begins a call: what is refused at once, the second leg, and CANCEL (RFC 3261 §9.2, §13.3).

use dialtone_dialog::session_timer::{Answer, Ask, Grant, SessionTimer, SessionTimerPolicy};
use dialtone_dialog::{Dialog, Draft, State};
use dialtone_transaction::ServerId;
use dialtone_wire::net::Flow;
use dialtone_wire::{HeaderName, Message, Method, Status};
use smallvec::SmallVec;
use smol_str::{SmolStr, format_smolstr};

use super::bodies;
use super::deadlines::Wake;
use super::description::Described;
use super::desk::{Purpose, Why, copy};
use super::hold::Hold;
use super::originate::Party;
use super::park;
use super::pass::{self, Allowed};
use super::refusal::Refusal;
use super::{Asked, B2bua, Errand, Leg, LegId, Stage};
use crate::context::Context;
use crate::engine::Arrived;
use crate::listing::{CallState, ListedCall};
use crate::loopback;
use crate::policy::Decision;
use crate::settings::Settings;
use crate::ua::own_flow;

/// What an INVITE that begins a call has been found to be.
struct Checked {
    /// The user part of our Contact towards the caller, and towards the callee.
    users: [SmolStr; 2],
    draft: Draft,
    tag: SmolStr,
    /// Whether its description is one that we read.
    described: Described,
}

impl B2bua {
    /// The INVITE of a call that we are to be both ends of, by somebody who may call.
    pub(crate) fn start(&mut self, cx: &mut Context<'_>, arrived: Arrived) {
        let Arrived { server, request, flow, decision, caller, trunk, hops } = arrived;
        cx.core.counters.bridged += 1;
        let tag = cx.token();
        let checked = match self.check(cx, &request, &decision, &flow, &tag) {
            Ok(checked) => checked,
            Err(refusal) => return refusal.send(cx, server, &request, Some(&tag)),
        };
        let near_party = Party::caller(&request, caller.as_ref(), trunk.is_some());
        let place = match self.place_of(cx, &request, &near_party) {
            Ok(place) => place,
            Err(refusal) => return refusal.send(cx, server, &request, Some(&tag)),
        };
        cx.respond(server, &request, Status::of(100), None, |_| (), None);
        let Checked { users: [own, callers], draft, tag: far_tag, described } = checked;
        let challenged = passes_challenges(&decision);
        let listed = Box::new(ListedCall::of_invite(CallState::Forwarding, &request));
        let call_id = SmolStr::new(request.call_id().unwrap_or_default());
        let request = copy(&request);
        let code = request.uri_buf().ok().and_then(|uri| park::read(cx.settings, &uri));
        let far_party = Party::called(&request, &decision);
        let mut allowed = Allowed::default();
        allowed.learn(&request);
        let near = self.insert(|id| Leg {
            flow: own_flow(&request, flow),
            asked: Some(Asked { server, request, flow }),
            allowed,
            challenged,
            listed: Some(listed),
            party: near_party,
            home: cx.home_elsewhere(&call_id),
            moves: hops,
            ..Leg::new(id, own, flow, call_id, tag)
        });
        self.desk.servers.insert(server, near);
        self.begin_renewing(cx, near);
        if let Some(place) = place {
            return self.replace(cx, near, place);
        }
        if let Some(code) = code {
            return self.code_called(cx, near, code, &decision);
        }
        let loopback = loopback::over(&flow);
        let far_id = SmolStr::new(draft.call_id());
        let far = self.insert(|id| Leg {
            peer: Some(near),
            outgoing: true,
            flow: Some(loopback),
            described,
            errand: Some(Box::new(Errand { decision, caller, trunk })),
            party: far_party,
            ..Leg::new(id, callers, loopback, far_id.clone(), far_tag.clone())
        });
        self.desk.dialogs.insert((far_id, far_tag), far);
        if let Some(leg) = self.legs.get_mut(&near) {
            leg.peer = Some(far);
        }
        if self.has_to_wait(cx.settings, far)
            && let Some(leg) = self.legs.get(&far)
        {
            let sent = super::desk::Sent::unsent(leg, draft);
            if !self.enqueue(cx, sent, Status::of(486)) {
                self.give_up(cx, near, Status::of(486), None);
            }
            return;
        }
        self.invite(cx, far, draft);
    }

    /// Sends the INVITE that begins a leg.
    pub(super) fn invite(&mut self, cx: &mut Context<'_>, id: LegId, mut draft: Draft) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        ask_for_timer(&mut draft, &leg.timer.ask(policy(cx.settings)));
        let purpose = Purpose::Invite { acks: Vec::new(), why: Why::Begin };
        let leg = &*leg;
        match self.desk.send(cx, leg, draft, purpose) {
            Some(request) => {
                self.wait_for_answer(cx, id);
                if let Some(leg) = self.legs.get_mut(&id) {
                    leg.invite = Some(request);
                }
            }
            None => {
                cx.core.counters.overload += 1;
                let near = self.legs.get(&id).and_then(|leg| leg.peer);
                self.remove(id);
                if let Some(near) = near {
                    self.hang_up(cx, near, Status::of(500), None);
                }
            }
        }
    }

    /// The proxy gives up after Timer C: it has the time to say so.
    pub(super) fn wait_for_answer(&mut self, cx: &Context<'_>, id: LegId) {
        let over = cx.now + cx.settings.timer_c + cx.settings.timers.transaction_timeout();
        self.desk.deadlines.start(Wake::Unanswered(id), over);
    }

    /// RFC 3261 §8.2 in its order.
    fn check(
        &mut self,
        cx: &mut Context<'_>,
        request: &Message,
        decision: &Decision,
        flow: &Flow,
        tag: &SmolStr,
    ) -> Result<Checked, Refusal> {
        if cx.core.transactions.is_merged(request) {
            return Err(Refusal::of(482));
        }
        check_require(request)?;
        Dialog::uas(request, tag, State::Early).map_err(|_| Refusal::of(400))?;
        let uri = request.uri_buf().map_err(|_| Refusal::of(400))?;
        if let Answer::TooSmall { min_s } = SessionTimer::default().answer(policy(cx.settings), request) {
            return Err(Refusal::of(422).with(HeaderName::MinSe, min_s));
        }
        if request.body().len() > cx.settings.limits.body_bytes {
            return Err(Refusal::of(413));
        }
        bodies::check(request, cx.settings)?;
        if self.legs.len() + 2 > cx.settings.limits.bridges.saturating_mul(2) {
            cx.core.counters.bridges_full += 1;
            cx.core.counters.overload += 1;
            // Calls that are only forwarded still have room: not the whole server is full.
            return Err(Refusal::of(480).with(HeaderName::RetryAfter, 10));
        }
        let call_id = cx.home_call_id();
        let (Some(from), Some(to)) =
            (pass::address(request, HeaderName::From), pass::address(request, HeaderName::To))
        else {
            return Err(Refusal::of(400));
        };
        let far_tag = cx.token();
        let from = format_smolstr!("{from};tag={far_tag}");
        // RFC 7332 §5: the proxy on the loopback counts it down, as one that the caller's request had come to.
        let hops = request.max_forwards().ok().flatten().map_or(70, |hops| hops.min(255));
        let users = [called(request), caller(request)];
        let mut draft = Draft::new(Method::Invite, uri, &from, &to, &call_id, 1)
            .max_forwards(u8::try_from(hops).unwrap_or(u8::MAX));
        for route in request.values(HeaderName::Route).skip(own_routes(decision)) {
            draft = draft.header(HeaderName::Route, std::str::from_utf8(route).unwrap_or_default());
        }
        draft = pass::options_of(pass::request(draft, request, cx.settings), request, true, cx.settings);
        if passes_challenges(decision) {
            draft = pass::credentials(draft, request, own_credentials(decision));
        }
        let mut allowed = Allowed::default();
        allowed.learn(request);
        draft = draft.header(HeaderName::Allow, &allowed.value());
        let mut described = Described::new(cx.random_u64());
        let ip = flow.local.ip();
        if let Some((kind, body)) = bodies::passed(request, &mut described, &cx.settings.bridges, ip) {
            draft = draft.body(&kind, body);
        }
        Ok(Checked { users, draft, tag: far_tag, described })
    }

    /// The caller gives up before his INVITE, or his re-INVITE, has a final response (RFC 3261 §9.2).
    pub(crate) fn handle_cancel(&mut self, cx: &mut Context<'_>, invite: ServerId, cancel: &Message) {
        let Some(&id) = self.desk.servers.get(&invite) else { return };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let reason = cancel.value(HeaderName::Reason).and_then(|value| std::str::from_utf8(value).ok());
        let reason = reason.map(SmolStr::new);
        if leg.stage == Stage::Setup {
            return self.give_up(cx, id, Status::of(487), reason);
        }
        let Some(Asked { server, request, .. }) = leg.asked.take() else { return };
        self.desk.servers.remove(&server);
        Refusal::of(487).send(cx, server, &request, None);
        let far = leg.peer.and_then(|peer| self.legs.get(&peer)).and_then(|peer| peer.invite);
        if let Some(far) = far {
            cx.cancel(far, reason.as_deref());
        }
    }

    /// An INVITE of ours that nobody answers, or that was cancelled in vain: it is over for us.
    pub(super) fn unanswered(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(request) = leg.invite else { return };
        if leg.stage == Stage::Talking {
            // RFC 3261 §12.2.1.2: as if it had been refused with a 408.
            self.invite_refused(cx, request, None, Status::of(408));
            return self.desk.abandon(cx, request);
        }
        leg.invite = None;
        let is_over = leg.stage == Stage::Over;
        self.desk.abandon(cx, request);
        if is_over {
            return self.sweep(id);
        }
        let (peer, task) = (leg.peer, leg.task);
        self.remove(id);
        if let Some(task) = task {
            self.task_refused(cx, task, Status::of(408));
        }
        if let Some(peer) = peer {
            self.hang_up(cx, peer, Status::of(408), None);
        }
    }
}

impl Leg {
    /// A leg that has nothing yet; it is the caller's.
    pub(super) fn new(id: LegId, user: SmolStr, local: Flow, call_id: SmolStr, tag: SmolStr) -> Leg {
        Leg {
            id,
            peer: None,
            outgoing: false,
            stage: Stage::Setup,
            user,
            local,
            flow: None,
            call_id,
            tag,
            strands: SmallVec::new(),
            asked: None,
            invite: None,
            unacked: None,
            owes_ack: None,
            owes_bye: None,
            bye: None,
            carried: 0,
            updates: false,
            updated: false,
            allowed: Allowed::default(),
            timer: SessionTimer::default(),
            described: Described::default(),
            errand: None,
            challenged: false,
            plan: None,
            party: Party::default(),
            task: None,
            sent_by: None,
            parked: None,
            hold: Hold::default(),
            depth: 0,
            home: None,
            moves: 0,
            wanted: None,
            listed: None,
        }
    }
}

/// RFC 3261 §8.2.2.3: what can't be had through us is named in a 420.
pub(super) fn check_require(request: &Message) -> Result<(), Refusal> {
    let unknown = request.values(HeaderName::Require).filter(|option| !pass::is_known_option(option));
    let unknown: Vec<&str> = unknown.filter_map(|option| std::str::from_utf8(option).ok()).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Refusal::of(420).with(HeaderName::Unsupported, unknown.join(", ")))
}

/// The session timers of all legs.
pub(super) fn policy(settings: &Settings) -> SessionTimerPolicy {
    let interval_s = settings.calls.session_s.or(settings.bridges.session_s);
    SessionTimerPolicy { interval_s, min_s: settings.calls.session_min_s }
}

/// Writes what our session refresh request says (RFC 4028 §7.1).
pub(super) fn ask_for_timer(draft: &mut Draft, ask: &Ask) {
    if let Some(session_expires) = ask.session_expires {
        draft.set_header(
            HeaderName::SessionExpires,
            &timer_value(session_expires.seconds, session_expires.refresher),
        );
    }
    if let Some(min_se) = ask.min_se_s {
        draft.set_header(HeaderName::MinSe, &format_smolstr!("{min_se}"));
    }
}

/// What our 2xx to a session refresh request says; `None` without a timer.
pub(super) fn granted(answer: Answer) -> Option<Grant> {
    match answer {
        Answer::Timer(grant) => Some(grant),
        // Refused before.
        Answer::TooSmall { .. } | Answer::NoTimer => None,
    }
}

/// A Session-Expires value (RFC 4028 §4).
pub(super) fn timer_value(seconds: u32, refresher: Option<dialtone_wire::headers::Refresher>) -> SmolStr {
    match refresher {
        Some(refresher) => format_smolstr!("{seconds};refresher={}", refresher.as_str()),
        None => format_smolstr!("{seconds}"),
    }
}

fn own_routes(decision: &Decision) -> usize {
    match decision {
        Decision::To { onward, .. } | Decision::Route { onward, .. } | Decision::FromTrunk { onward, .. } => {
            onward.own_routes
        }
        _ => 0,
    }
}

/// Whether the caller can answer the challenge of the server that his call goes to: it has the domain that he calls, and his
/// INVITE comes there with the Request-URI that he gave it.
fn passes_challenges(decision: &Decision) -> bool {
    matches!(decision, Decision::Route { onward, .. } if onward.next_hop.is_some())
}

/// The lines with credentials for us.
fn own_credentials(decision: &Decision) -> &[usize] {
    match decision {
        Decision::Route { onward, .. } => &onward.credentials,
        _ => &[],
    }
}

fn called(request: &Message) -> SmolStr {
    let user = request.uri().ok().and_then(|uri| uri.as_sip().and_then(|uri| uri.user_unescaped()));
    user.unwrap_or_else(|| SmolStr::new_static("called"))
}

fn caller(request: &Message) -> SmolStr {
    let from = request.from().ok();
    let user = from.and_then(|from| from.uri.as_sip().and_then(|uri| uri.user_unescaped()));
    user.unwrap_or_else(|| SmolStr::new_static("caller"))
}
