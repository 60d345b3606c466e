//! The transaction-stateful proxy (RFC 3261 §16): response contexts and their branches.
//!
//! ```text
//!                  server transaction            client transactions
//!   UAC ----- INVITE --> [ response context ] --- branch 1 ----> target
//!       <--- 100, best -       |                --- branch 2 ----> target
//!                              +-- Timer C, the responses so far
//! ```
//!
//! It never sends a BYE and never answers for a user agent: a call is ended by those who have it.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use dialtone_transaction::{ClientId, ServerId};
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message, Method, Status};
use foldhash::fast::FixedState;
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::context::{ClientUse, Context, ServerUse};
use crate::engine::Arrived;
use crate::listing::{CallState, ListedCall, Page};
use crate::settings::Destination;

pub(crate) mod best;
mod flow_token;
pub(crate) mod forward;
mod legs;
mod preferences;
mod recursion;
mod redirect;
mod responses;
mod services;
pub(crate) mod session;
pub(crate) mod shift;
pub(crate) mod stateless;
mod target;
mod tree;
pub(crate) mod trunk;

use best::Best;
pub(crate) use flow_token::{FlowTokens, Named, Opens};
pub(crate) use forward::{Onward, hop_to};
pub(crate) use preferences::BASE as FEATURE_TAGS;
use preferences::Disposition;
use services::LegHistory;
pub(crate) use session::Session;
pub(crate) use stateless::{Branches, Passing};
pub(crate) use target::Target;
pub(crate) use tree::LegId;
use tree::{Leg, Tree};

/// Names a response context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ContextId(u64);

/// All that is being forwarded.
#[derive(Debug)]
pub(crate) struct Proxy {
    contexts: HashMap<ContextId, ResponseContext, FixedState>,
    timers_c: BTreeSet<(Instant, ContextId)>,
    /// When a leg of a context is to begin, or its ring time is over.
    leg_timers: BTreeSet<(Instant, ContextId)>,
    next: u64,
}

/// One request and what became of it (RFC 3261 §16.2, §16.6 to §16.8).
#[derive(Debug)]
struct ResponseContext {
    server: ServerId,
    request: Message,
    flow: Flow,
    onward: Onward,
    is_invite: bool,
    disposition: Disposition,
    /// How many branches there may be at once (RFC 5393 §5.3.2, Incoming Max-Breadth).
    breadth: u32,
    tree: Tree,
    branches: SmallVec<[Branch; 2]>,
    /// 100 went back.
    is_trying: bool,
    /// A branch was sent since Timer C was set.
    sent_more: bool,
    /// A branch was refused for all (6xx).
    refused: bool,
    /// A final response went back.
    answered: bool,
    /// The caller has given up.
    cancelled: bool,
    /// The server transaction has ended.
    server_gone: bool,
    /// The user who sent it, by his canonical address-of-record, if he has shown his password.
    caller: Option<SmolStr>,
    /// The trunk that it came from.
    trunk: Option<SmolStr>,
    /// It came from a trunk of our trust domain.
    is_trusted: bool,
    /// It goes over a trunk: CSeq and From may be others on the far side.
    is_shifted: bool,
    best: Option<Best>,
    /// Challenges of branches that are not the best response: they go back with it.
    challenged: Vec<Message>,
    timer_c: Instant,
    /// Its entry in [`Proxy::leg_timers`].
    leg_timer: Option<Instant>,
    /// A forwarding that was stopped: the status for it, and why.
    stopped: Option<(Status, &'static str)>,
    /// The tag of our 181s.
    forward_tag: Option<SmolStr>,
    /// Where it has been, if that is kept.
    history: Option<Box<LegHistory>>,
}

#[derive(Debug)]
struct Branch {
    client: ClientId,
    /// What it was sent for.
    leg: LegId,
    /// Its leg went on without it.
    is_left: bool,
    /// Its part of Max-Breadth.
    breadth: u32,
    /// Other ways to the same device.
    spares: Vec<Target>,
    /// The INVITE as it was sent, for its CANCEL.
    sent: bytes::Bytes,
    /// Where it went, if that is over a trunk.
    target: Option<Box<Target>>,
    state: BranchState,
    cancel: CancelState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BranchState {
    /// No response.
    Calling,
    /// A provisional response.
    Proceeding,
    /// A final response, a time-out or a failure.
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum CancelState {
    Unasked,
    /// To be sent with the first provisional response (RFC 3261 §9.1), with this Reason (RFC 3326).
    Wanted(Option<SmolStr>),
    Sent,
}

/// The Reason (RFC 3326) with which branches are cancelled when another one was answered.
const ANSWERED_ELSEWHERE: SmolStr = SmolStr::new_static("SIP ;cause=200 ;text=\"Call completed elsewhere\"");
/// The same when another one was refused for all (6xx).
const REFUSED_FOR_ALL: SmolStr = SmolStr::new_static("SIP ;cause=603 ;text=\"Declined\"");

impl Proxy {
    pub(crate) fn new(seed: u64) -> Proxy {
        Proxy {
            contexts: HashMap::with_hasher(FixedState::with_seed(seed)),
            timers_c: BTreeSet::new(),
            leg_timers: BTreeSet::new(),
            next: 0,
        }
    }

    /// How many calls have no final answer yet. Other requests are over in seconds, and their senders repeat them.
    pub(crate) fn unanswered(&self) -> usize {
        let waits = |context: &&ResponseContext| {
            context.is_invite && !context.answered && !context.server_gone && !context.is_bridged()
        };
        self.contexts.values().filter(waits).count()
    }

    /// How many INVITEs are being forwarded and have no final response, but for those of bridges, which count there.
    pub(crate) fn forwarding(&self) -> usize {
        let contexts = self.timers_c.iter().filter_map(|(_, id)| self.contexts.get(id));
        contexts.filter(|context| !context.is_bridged()).count()
    }

    /// How many requests are being forwarded.
    pub(crate) fn len(&self) -> usize {
        self.contexts.len()
    }

    /// The first `count` INVITEs that have no final response, after this one, in the order of their Timer C.
    pub(crate) fn page(
        &self,
        after: Option<(Instant, u64)>,
        count: usize,
    ) -> Page<ListedCall, (Instant, u64)> {
        let from = after.map_or(Bound::Unbounded, |(at, id)| Bound::Excluded((at, ContextId(id))));
        let mut rest = self.timers_c.range((from, Bound::Unbounded));
        let seen: Vec<_> = rest.by_ref().take(count.max(1)).collect();
        let open = seen
            .iter()
            .filter_map(|(_, id)| self.contexts.get(id))
            .filter(|context| !context.answered && !context.is_bridged());
        let entries = open.map(|context| ListedCall::of_invite(CallState::Forwarding, &context.request));
        let next = rest.next().and(seen.last()).map(|(at, id)| (*at, id.0));
        Page { entries: entries.collect(), next }
    }

    /// When Timer C or that of a leg fires next.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let timer_c = self.timers_c.first().map(|(at, _)| (*at, "timer_c"));
        let leg = self.leg_timers.first().map(|(at, _)| (*at, "leg"));
        [timer_c, leg].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Forwards a request to a destination (RFC 3261 §16.5, §16.6); without one, to where its Route or Request-URI
    /// says.
    pub(crate) fn start(
        &mut self,
        cx: &mut Context<'_>,
        arrived: Arrived,
        onward: Onward,
        destination: Option<Destination>,
    ) {
        let is_trusted =
            arrived.trunk.as_ref().and_then(|name| cx.settings.trunk(name)).is_some_and(|trunk| trunk.trust);
        let Arrived { server, request, flow, caller, trunk, .. } = arrived;
        if self.contexts.len() >= cx.settings.limits.proxy_contexts {
            cx.core.counters.overload += 1;
            let tag = cx.token();
            cx.respond(server, &request, Status::of(500), Some(&tag), |_| (), None);
            return;
        }
        self.next += 1;
        let id = ContextId(self.next);
        let is_invite = request.method() == Some(&Method::Invite);
        if let Some(record) = cx.core.servers.get_mut(&server) {
            record.used_by = ServerUse::Proxy(id);
        }
        let timer_c = cx.now + cx.settings.timer_c;
        let context = ResponseContext {
            server,
            disposition: Disposition::of(&request),
            breadth: forward::max_breadth(&request),
            request,
            flow,
            is_invite,
            tree: Tree::new(cx.now, destination),
            branches: SmallVec::new(),
            is_trying: false,
            sent_more: false,
            refused: false,
            answered: false,
            cancelled: false,
            server_gone: false,
            caller: caller.map(|caller| caller.aor()),
            trunk,
            is_trusted,
            is_shifted: onward.shift.is_some(),
            onward,
            best: None,
            challenged: Vec::new(),
            timer_c,
            leg_timer: None,
            stopped: None,
            forward_tag: None,
            history: None,
        };
        self.contexts.insert(id, context);
        if is_invite {
            self.timers_c.insert((timer_c, id));
        }
        self.settle(cx, id);
    }

    /// The caller has cancelled (RFC 3261 §16.10); the CANCEL itself has been answered.
    pub(crate) fn cancel(&mut self, cx: &mut Context<'_>, id: ContextId, cancel: &Message) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if context.answered || std::mem::replace(&mut context.cancelled, true) {
            return;
        }
        // A phone behind us is to know as much as we do: a proxy before us may have forked.
        let reason = cancel.value(HeaderName::Reason).and_then(|reason| std::str::from_utf8(reason).ok());
        context.cancel_branches(cx, reason.map(SmolStr::new));
        self.bound_cancelled(cx, id);
        self.settle(cx, id);
    }

    /// Gives cancelled branches 64·T1 for their final response (RFC 3261 §9.1).
    fn bound_cancelled(&mut self, cx: &Context<'_>, id: ContextId) {
        let limit = cx.now + cx.settings.timers.t1() * 64;
        self.set_timer_c(id, limit);
    }

    fn set_timer_c(&mut self, id: ContextId, at: Instant) {
        let Some(context) = self.contexts.get_mut(&id).filter(|context| context.is_invite) else { return };
        self.timers_c.remove(&(context.timer_c, id));
        context.timer_c = at;
        self.timers_c.insert((at, id));
    }

    /// Lets each timer of a leg fire that is due, and each Timer C (RFC 3261 §16.8).
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        while let Some((_, id)) = self.leg_timers.first().copied().filter(|(at, _)| *at <= cx.now) {
            self.settle(cx, id);
        }
        while let Some(&(_, id)) = self.timers_c.first().filter(|(at, _)| *at <= cx.now) {
            self.bound_cancelled(cx, id);
            let Some(context) = self.contexts.get_mut(&id) else { continue };
            if !context.is_unfinished() {
                let at = context.timer_c;
                self.timers_c.remove(&(at, id));
                continue;
            }
            context.give_up_branches(cx);
            self.settle(cx, id);
        }
    }

    /// The server transaction is gone: nothing can go back any more. Branches that still wait are cancelled, and the
    /// context stays until the last of them has ended.
    pub(crate) fn server_terminated(&mut self, cx: &mut Context<'_>, id: ContextId) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        context.server_gone = true;
        if !std::mem::replace(&mut context.answered, true) {
            context.free_trunk(cx);
        }
        context.cancel_branches(cx, None);
        if context.has_open_branch() {
            self.bound_cancelled(cx, id);
        }
        self.settle(cx, id);
    }

    fn remove(&mut self, id: ContextId) {
        if let Some(context) = self.contexts.remove(&id) {
            self.timers_c.remove(&(context.timer_c, id));
            context.leg_timer.map(|at| self.leg_timers.remove(&(at, id)));
        }
    }
}

impl Branch {
    /// Cancels it if it waits for its final response.
    fn cancel(&mut self, cx: &mut Context<'_>, reason: Option<SmolStr>) {
        match (self.state, &self.cancel) {
            (BranchState::Calling, CancelState::Unasked) => self.cancel = CancelState::Wanted(reason),
            (BranchState::Proceeding, CancelState::Unasked) => {
                self.cancel = CancelState::Sent;
                cx.send_cancel(self.client, &self.sent, reason.as_deref());
            }
            (BranchState::Done, _) | (_, CancelState::Wanted(_) | CancelState::Sent) => {}
        }
    }
}

impl ResponseContext {
    /// Whether its caller is the second leg of a bridge, which lists the call itself.
    fn is_bridged(&self) -> bool {
        crate::loopback::is_loopback(&self.flow)
    }

    /// Whether a branch still waits for its final response.
    fn has_open_branch(&self) -> bool {
        self.branches.iter().any(|branch| branch.state != BranchState::Done)
    }

    /// Whether nothing is waited for but phones that were given up.
    fn waits_for_left_only(&self) -> bool {
        let is_over = |branch: &Branch| branch.is_left || branch.state == BranchState::Done;
        !self.answered && self.branches.iter().all(is_over) && self.tree.iter().all(Leg::is_done)
    }

    /// Whether anything can still come of it.
    fn is_unfinished(&self) -> bool {
        self.has_open_branch() || self.tree.iter().any(|leg| !leg.is_done())
    }

    /// A final response to a branch of a leg, or what stands in its place.
    fn note(&mut self, leg: LegId, response: Best) {
        self.tree.leg_mut(leg).note(response.status());
        let is_better = self.best.as_ref().is_none_or(|best| response.is_better_than(best));
        let other = if is_better { self.best.replace(response) } else { Some(response) };
        if let Some(Best::Received(other)) = other
            && other.status().is_some_and(Status::is_challenge)
        {
            self.challenged.push(*other);
        }
    }

    fn send(&mut self, cx: &mut Context<'_>, id: ContextId, leg: LegId, target: &Target, flow: Flow) {
        let changed = self.over_trunk_again(cx, target).or_else(|| self.unproven(target));
        let mut changed = changed.or_else(|| target.trunk.is_some().then(|| target.clone()));
        if let Some(target) = &mut changed {
            self.authorize(cx, target);
        }
        let target = changed.as_ref().unwrap_or(target);
        let with_history = self.with_history(cx, leg, target);
        let (target, entry) =
            with_history.as_ref().map_or((target, None), |(target, entry)| (target, *entry));
        let branch = self.onward.branch(cx);
        let with_token = forward::with_token(cx, &self.onward, target);
        let target = with_token.as_ref().unwrap_or(target);
        let bytes = forward::build(&self.request, self.flow, &self.onward, target, flow, &branch);
        let method = self.request.method().unwrap_or(&Method::Options);
        match cx.core.transactions.send_request(cx.now, flow, method, &branch, bytes.clone()) {
            Ok(client) => {
                cx.core.counters.forwarded += 1;
                cx.core.clients.insert(client, ClientUse::Proxy(id));
                let sent = if self.is_invite { bytes } else { bytes::Bytes::new() };
                let (state, cancel) = (BranchState::Calling, CancelState::Unasked);
                let breadth = target.breadth.unwrap_or(1);
                let spares = target.spares.clone();
                let target = changed.filter(|target| target.trunk.is_some()).map(Box::new);
                let is_left = false;
                self.branches.push(Branch {
                    client,
                    leg,
                    is_left,
                    breadth,
                    spares,
                    sent,
                    target,
                    state,
                    cancel,
                });
                self.sent_more = true;
                if let Some(entry) = entry {
                    self.sent_with_history(client, entry);
                }
            }
            Err(_) => {
                cx.core.counters.overload += 1;
                self.note(leg, Best::own(Status::of(500)));
            }
        }
    }

    /// Cancels each branch of an INVITE that waits for its final response.
    fn cancel_branches(&mut self, cx: &mut Context<'_>, reason: Option<SmolStr>) {
        if !self.is_invite {
            return;
        }
        for branch in &mut self.branches {
            branch.cancel(cx, reason.clone());
        }
    }

    /// Timer C: a branch that rings is cancelled; one that was cancelled before and is still not final, or that
    /// never gave a response, is given up as if it had timed out.
    fn give_up_branches(&mut self, cx: &mut Context<'_>) {
        let mut gone = SmallVec::<[LegId; 2]>::new();
        for branch in &mut self.branches {
            match (branch.state, &branch.cancel) {
                (BranchState::Proceeding, CancelState::Unasked) => {
                    branch.cancel = CancelState::Sent;
                    cx.send_cancel(branch.client, &branch.sent, None);
                }
                (BranchState::Proceeding | BranchState::Calling, _) => {
                    cx.core.transactions.abandon_client(branch.client);
                    cx.core.clients.remove(&branch.client);
                    branch.state = BranchState::Done;
                    if !branch.is_left {
                        gone.push(branch.leg);
                    }
                }
                (BranchState::Done, _) => {}
            }
        }
        for leg in gone {
            self.note(leg, Best::own(Status::of(408)));
        }
    }
}
