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
use dialtone_wire::{Message, Method, Status};
use foldhash::fast::FixedState;
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::context::{ClientUse, Context, Hop, ServerUse, hop_of};
use crate::engine::Arrived;
use crate::io::Query;
use crate::listing::{CallState, ListedCall, Page};
use crate::queries::Waiting;

pub(crate) mod best;
pub(crate) mod forward;
mod responses;

use best::Best;
pub(crate) use forward::Onward;

/// Names a response context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ContextId(u64);

/// One place that a request is forwarded to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The new Request-URI; `None` leaves it as it is.
    pub(crate) uri: Option<SmolStr>,
    /// The flow to use, where the address of the URI leads nowhere.
    pub(crate) flow: Option<Flow>,
}

/// All that is being forwarded.
#[derive(Debug)]
pub(crate) struct Proxy {
    contexts: HashMap<ContextId, ResponseContext, FixedState>,
    timers_c: BTreeSet<(Instant, ContextId)>,
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
    branches: SmallVec<[Branch; 2]>,
    /// Targets whose host name is being looked up.
    resolving: usize,
    /// A final response went back.
    answered: bool,
    /// The caller has given up.
    cancelled: bool,
    /// The server transaction has ended.
    server_gone: bool,
    best: Option<Best>,
    /// Challenges of branches that are not the best response: they go back with it.
    challenged: Vec<Message>,
    timer_c: Instant,
}

#[derive(Debug)]
struct Branch {
    client: ClientId,
    /// The INVITE as it was sent, for its CANCEL.
    sent: bytes::Bytes,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CancelState {
    Unasked,
    /// To be sent with the first provisional response (RFC 3261 §9.1).
    Wanted(CancelReason),
    Sent,
}

/// Why a branch is cancelled: what its Reason header says (RFC 3326).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CancelReason {
    /// The caller gave up, or Timer C fired.
    None,
    /// Another branch was answered.
    AnsweredElsewhere,
    /// Another branch was refused for all (6xx).
    Refused,
}

impl CancelReason {
    const fn header(self) -> Option<&'static str> {
        match self {
            CancelReason::None => None,
            CancelReason::AnsweredElsewhere => Some("SIP ;cause=200 ;text=\"Call completed elsewhere\""),
            CancelReason::Refused => Some("SIP ;cause=603 ;text=\"Declined\""),
        }
    }
}

const fn is_challenge(status: Status) -> bool {
    matches!(status.code(), 401 | 407)
}

impl Proxy {
    pub(crate) fn new(seed: u64) -> Proxy {
        Proxy {
            contexts: HashMap::with_hasher(FixedState::with_seed(seed)),
            timers_c: BTreeSet::new(),
            next: 0,
        }
    }

    /// How many calls have no final answer yet. Other requests are over in seconds, and their senders repeat them.
    pub(crate) fn unanswered(&self) -> usize {
        let waits =
            |context: &&ResponseContext| context.is_invite && !context.answered && !context.server_gone;
        self.contexts.values().filter(waits).count()
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
        let open =
            seen.iter().filter_map(|(_, id)| self.contexts.get(id)).filter(|context| !context.answered);
        let entries = open.map(|context| ListedCall::of_invite(CallState::Forwarding, &context.request));
        let next = rest.next().and(seen.last()).map(|(at, id)| (*at, id.0));
        Page { entries: entries.collect(), next }
    }

    /// When Timer C fires next.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.timers_c.first().map(|(at, _)| (*at, "timer_c"))
    }

    /// Forwards a request to all targets at once (RFC 3261 §16.6). It must have at least one.
    pub(crate) fn start(
        &mut self,
        cx: &mut Context<'_>,
        arrived: Arrived,
        onward: Onward,
        targets: &[Target],
    ) {
        let Arrived { server, request, flow, .. } = arrived;
        if self.contexts.len() >= cx.settings.limits.proxy_contexts {
            cx.core.counters.overload += 1;
            let tag = cx.token();
            cx.respond(server, &request, Status::of(500), Some(&tag), |_| (), None);
            return;
        }
        self.next += 1;
        let id = ContextId(self.next);
        let is_invite = request.method() == Some(&Method::Invite);
        if is_invite {
            // RFC 3261 §16.2: at once, so that the caller stops to retransmit whatever the targets do.
            cx.respond(server, &request, Status::of(100), None, |_| (), None);
        }
        if let Some(record) = cx.core.servers.get_mut(&server) {
            record.used_by = ServerUse::Proxy(id);
        }
        let timer_c = cx.now + cx.settings.timer_c;
        let context = ResponseContext {
            server,
            request,
            flow,
            onward,
            is_invite,
            branches: SmallVec::new(),
            resolving: 0,
            answered: false,
            cancelled: false,
            server_gone: false,
            best: None,
            challenged: Vec::new(),
            timer_c,
        };
        self.contexts.insert(id, context);
        if is_invite {
            self.timers_c.insert((timer_c, id));
        }
        for target in targets.iter().take(cx.settings.limits.branches) {
            self.add_branch(cx, id, target);
        }
        self.finish_if_done(cx, id);
    }

    /// Sends the request to one more target, or looks its name up first.
    fn add_branch(&mut self, cx: &mut Context<'_>, id: ContextId, target: &Target) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if let Some(flow) = target.flow {
            return context.send(cx, id, target.uri.as_deref(), flow);
        }
        let next_hop = context.onward.next_hop(&context.request, target.uri.as_deref());
        let Some(next_hop) = next_hop else { return context.note(Best::own(Status::of(416))) };
        match hop_of(&next_hop) {
            Err(_) => context.note(Best::own(Status::of(416))),
            Ok(Hop::Address(transport, remote)) => {
                match cx.flow_to(transport, remote, context.onward.local) {
                    Some(flow) => context.send(cx, id, target.uri.as_deref(), flow),
                    None => context.note(Best::own(Status::of(503))),
                }
            }
            Ok(Hop::Name(transport, host, port)) => {
                let uri = target.uri.clone().unwrap_or_default();
                let waiting = Waiting::Branch { context: id, uri, transport, port };
                match cx.ask(Query::Resolve { host: SmolStr::new(host) }, waiting) {
                    Some(_) => context.resolving += 1,
                    None => context.note(Best::own(Status::of(500))),
                }
            }
        }
    }

    /// The address of a target's host name is known; `None` when it has none.
    pub(crate) fn resolved(
        &mut self,
        cx: &mut Context<'_>,
        id: ContextId,
        uri: &str,
        address: Option<(dialtone_wire::net::Transport, std::net::SocketAddr)>,
    ) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        context.resolving -= 1;
        let uri = Some(uri).filter(|uri| !uri.is_empty());
        if !context.answered && !context.cancelled {
            let flow =
                address.and_then(|(transport, remote)| cx.flow_to(transport, remote, context.onward.local));
            match flow {
                Some(flow) => context.send(cx, id, uri, flow),
                None => context.note(Best::own(Status::of(503))),
            }
        }
        self.finish_if_done(cx, id);
    }

    /// The caller has cancelled (RFC 3261 §16.10); the CANCEL itself has been answered.
    pub(crate) fn cancel(&mut self, cx: &mut Context<'_>, id: ContextId) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if context.answered || std::mem::replace(&mut context.cancelled, true) {
            return;
        }
        context.cancel_branches(cx, CancelReason::None);
        self.bound_cancelled(cx, id);
        self.finish_if_done(cx, id);
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

    /// Lets each Timer C fire that is due (RFC 3261 §16.8).
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        while let Some(&(_, id)) = self.timers_c.first().filter(|(at, _)| *at <= cx.now) {
            self.bound_cancelled(cx, id);
            let Some(context) = self.contexts.get_mut(&id) else { continue };
            if !context.is_open() {
                let at = context.timer_c;
                self.timers_c.remove(&(at, id));
                continue;
            }
            context.give_up_branches(cx);
            self.finish_if_done(cx, id);
        }
    }

    /// The server transaction is gone: nothing can go back any more. Branches that still wait are cancelled, and the
    /// context stays until the last of them has ended.
    pub(crate) fn server_terminated(&mut self, cx: &mut Context<'_>, id: ContextId) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        context.server_gone = true;
        context.answered = true;
        context.cancel_branches(cx, CancelReason::None);
        if context.is_open() {
            self.bound_cancelled(cx, id);
        } else {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: ContextId) {
        if let Some(context) = self.contexts.remove(&id) {
            self.timers_c.remove(&(context.timer_c, id));
        }
    }
}

impl ResponseContext {
    /// Whether a branch still waits for its final response.
    fn is_open(&self) -> bool {
        self.resolving > 0 || self.branches.iter().any(|branch| branch.state != BranchState::Done)
    }

    fn note(&mut self, response: Best) {
        let is_better = self.best.as_ref().is_none_or(|best| response.is_better_than(best));
        let other = if is_better { self.best.replace(response) } else { Some(response) };
        if let Some(Best::Received(other)) = other
            && other.status().is_some_and(is_challenge)
        {
            self.challenged.push(*other);
        }
    }

    fn send(&mut self, cx: &mut Context<'_>, id: ContextId, uri: Option<&str>, flow: Flow) {
        let branch = self.onward.branch(cx);
        let bytes = forward::build(&self.request, self.flow, &self.onward, uri, flow, &branch);
        let method = self.request.method().unwrap_or(&Method::Options);
        match cx.core.transactions.send_request(cx.now, flow, method, &branch, bytes.clone()) {
            Ok(client) => {
                cx.core.counters.forwarded += 1;
                cx.core.clients.insert(client, ClientUse::Proxy(id));
                let sent = if self.is_invite { bytes } else { bytes::Bytes::new() };
                let (state, cancel) = (BranchState::Calling, CancelState::Unasked);
                self.branches.push(Branch { client, sent, state, cancel });
            }
            Err(_) => {
                cx.core.counters.overload += 1;
                self.note(Best::own(Status::of(500)));
            }
        }
    }

    /// Cancels each branch of an INVITE that waits for its final response.
    fn cancel_branches(&mut self, cx: &mut Context<'_>, reason: CancelReason) {
        if !self.is_invite {
            return;
        }
        for branch in &mut self.branches {
            match (branch.state, branch.cancel) {
                (BranchState::Calling, CancelState::Unasked) => branch.cancel = CancelState::Wanted(reason),
                (BranchState::Proceeding, CancelState::Unasked) => {
                    branch.cancel = CancelState::Sent;
                    cx.send_cancel(branch.client, &branch.sent, reason.header());
                }
                (BranchState::Done, _) | (_, CancelState::Wanted(_) | CancelState::Sent) => {}
            }
        }
    }

    /// Timer C: a branch that rings is cancelled; one that was cancelled before and is still not final, or that
    /// never gave a response, is given up as if it had timed out.
    fn give_up_branches(&mut self, cx: &mut Context<'_>) {
        let mut gone = false;
        for branch in &mut self.branches {
            match (branch.state, branch.cancel) {
                (BranchState::Proceeding, CancelState::Unasked) => {
                    branch.cancel = CancelState::Sent;
                    cx.send_cancel(branch.client, &branch.sent, None);
                }
                (BranchState::Proceeding | BranchState::Calling, _) => {
                    cx.core.transactions.abandon_client(branch.client);
                    cx.core.clients.remove(&branch.client);
                    branch.state = BranchState::Done;
                    gone = true;
                }
                (BranchState::Done, _) => {}
            }
        }
        if gone {
            self.note(Best::own(Status::of(408)));
        }
    }
}
