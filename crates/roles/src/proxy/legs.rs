//! How the legs of a response context go on: what is begun next, and when one is over.

use dialtone_wire::Status;
use dialtone_wire::uri::{UriBuf, unescape};
use std::cmp::Reverse;
use std::collections::VecDeque;

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::best::Best;
use super::forward::hop_to;
use super::preferences::{Disposition, Preferences};
use super::tree::{Cause, Leg, LegId, LegState, Outcome, Stage, Turn};
use super::{BranchState, ContextId, Proxy, ResponseContext, Target};
use crate::binding::Binding;
use crate::context::{Context, Hop, hop_of};
use crate::gruu::Key;
use crate::io::{Found, Notice, Output, Query};
use crate::queries::Waiting;
use crate::services;
use crate::settings::{Destination, Group, Member, Strategy};
use crate::steer::shard_of_aor;

/// A binding with its place among the others: its q, and how well it fits what the caller asks for.
type Rated<'a> = ((u16, u16), &'a Binding, Target);

impl Proxy {
    /// What is known of the user of a leg; `None` when nobody said so in time.
    pub(crate) fn found(&mut self, cx: &mut Context<'_>, id: ContextId, leg: LegId, found: Option<Found>) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if !context.answer_is_there(leg) {
            return;
        }
        match found {
            Some(found) => context.found(cx, id, leg, found),
            None => context.note(leg, Best::own(Status::of(500))),
        }
        self.settle(cx, id);
    }

    /// Whether the user of a leg, who has no bindings, exists.
    pub(crate) fn exists(&mut self, cx: &mut Context<'_>, id: ContextId, leg: LegId, exists: bool) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if !context.answer_is_there(leg) {
            return;
        }
        if !exists {
            context.note_unknown(cx, leg);
        }
        let nobody = context.onward.nobody.unwrap_or(Status::of(404));
        context.note(leg, Best::own(if exists { Status::of(480) } else { nobody }));
        self.settle(cx, id);
    }

    /// The address of a target's host name is known, or why it is not.
    pub(crate) fn resolved(
        &mut self,
        cx: &mut Context<'_>,
        id: ContextId,
        leg: LegId,
        target: &Target,
        address: Result<(dialtone_wire::net::Transport, std::net::SocketAddr), Status>,
    ) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if !context.answer_is_there(leg) {
            return;
        }
        let flow = address.and_then(|(transport, remote)| {
            cx.flow_to(transport, remote, context.onward.local).ok_or(Status::of(503))
        });
        match flow {
            Ok(flow) => context.send(cx, id, leg, target, flow),
            Err(status) => context.note(leg, Best::own(status)),
        }
        self.settle(cx, id);
    }

    /// Lets all legs go on as far as they can, and the context end when none is left.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>, id: ContextId) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        context.advance(cx, id);
        let next = context.tree.poll_timeout();
        if next != context.leg_timer {
            let before = std::mem::replace(&mut context.leg_timer, next);
            before.map(|at| self.leg_timers.remove(&(at, id)));
            next.map(|at| self.leg_timers.insert((at, id)));
        }
        if std::mem::take(&mut context.sent_more) && !context.is_stopped() {
            // §16.6 step 11: each branch has its time.
            let at = cx.now + cx.settings.timer_c;
            self.set_timer_c(id, at);
        }
        if next.is_some()
            && let Some(context) = self.contexts.get_mut(&id)
        {
            // Nobody rings yet, but somebody will.
            context.trying(cx);
        }
        self.finish_if_done(cx, id);
    }
}

impl ResponseContext {
    /// Whether nothing new is to be begun.
    pub(super) fn is_stopped(&self) -> bool {
        self.answered || self.cancelled || self.refused
    }

    /// Something that a leg waited for is there; `false` when the leg does not wait any more.
    fn answer_is_there(&mut self, leg: LegId) -> bool {
        let leg = self.tree.leg_mut(leg);
        leg.waiting = leg.waiting.saturating_sub(1);
        !leg.is_done()
    }

    /// Each step begins a leg, begins a stage of it or ends it, and there is a limit on each.
    fn advance(&mut self, cx: &mut Context<'_>, id: ContextId) {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for leg in self.tree.ids() {
                moved |= self.step(cx, id, leg);
            }
        }
    }

    /// Does the next thing about a leg; `false` when it has to wait.
    fn step(&mut self, cx: &mut Context<'_>, id: ContextId, at: LegId) -> bool {
        let is_stopped = self.is_stopped();
        let leg = self.tree.leg_mut(at);
        match leg.state {
            LegState::Done => return false,
            LegState::Delayed(_) if is_stopped => {
                leg.state = LegState::Done;
                return true;
            }
            LegState::Delayed(until) if until > cx.now => return false,
            LegState::Delayed(_) => {
                leg.state = LegState::Trying;
                leg.ring_until = leg.ring.map(|ring| cx.now + ring);
                self.begin(cx, id, at);
                return true;
            }
            LegState::Trying => {}
        }
        if leg.ring_until.is_some_and(|until| until <= cx.now) {
            self.ring_out(cx, at);
            return true;
        }
        if leg.stage_until.is_some_and(|until| until <= cx.now) {
            leg.stage_until = None;
            for client in self.silent(at) {
                self.trunk_failed(cx, client, Status::of(408), true);
            }
            self.leave_branches(cx, at, None);
            return true;
        }
        if self.is_open(at) {
            return false;
        }
        let leg = self.tree.leg_mut(at);
        if is_stopped {
            leg.state = LegState::Done;
        } else if let Some(turn) = leg.turns.pop_front() {
            self.begin_turn(cx, at, turn);
        } else if let Some(stage) = leg.stages.pop_front() {
            return self.begin_stage(cx, id, at, stage);
        } else {
            self.conclude(cx, at);
        }
        true
    }

    /// Sends the request to targets at once, as many of them as Max-Breadth allows (RFC 5393 §5.3.3): the others wait
    /// until branches have ended. `false` when it allows none now.
    fn begin_stage(&mut self, cx: &mut Context<'_>, id: ContextId, at: LegId, mut stage: Stage) -> bool {
        let free = self.breadth_left();
        let is_limited = usize::try_from(free).is_ok_and(|free| free < stage.len());
        if free == 0 && self.has_open_branch() {
            self.tree.leg_mut(at).stages.push_front(stage);
            return false;
        }
        if free == 0 {
            self.note(at, Best::own(Status::of(440)));
            return true;
        }
        if is_limited {
            let rest = stage.drain(usize::try_from(free).unwrap_or(1)..).collect();
            self.tree.leg_mut(at).stages.push_front(rest);
        }
        let shares = u32::try_from(stage.len() + self.tree.unsent_beside(at)).unwrap_or(u32::MAX);
        // A phone that nobody waits for any more keeps its part until it says so: something is left for the next one.
        let kept_back = u32::from(self.may_be_followed(cx, at));
        let breadth = (free / shares.saturating_mul(1 + kept_back)).max(1);
        let time = self.stage_time(cx, at);
        let leg = self.tree.leg_mut(at);
        leg.is_sent = true;
        leg.stage_until = (!leg.stages.is_empty()).then(|| cx.now + time);
        for target in stage {
            self.add_branch(cx, id, at, &Target { breadth: Some(breadth), ..target });
        }
        true
    }

    /// Whether the phones of a leg may be given up for others that ring after them.
    fn may_be_followed(&self, cx: &Context<'_>, at: LegId) -> bool {
        let waits = |leg: &Leg| leg.ring.is_some() || !leg.stages.is_empty() || !leg.turns.is_empty();
        self.tree.iter().any(waits) || self.goes_on_after(cx, at, Outcome::NoAnswer)
    }

    /// What is left of Max-Breadth: the branches that have no final response have the rest.
    fn breadth_left(&self) -> u32 {
        let open = self.branches.iter().filter(|branch| branch.state != BranchState::Done);
        self.breadth.saturating_sub(open.map(|branch| branch.breadth).sum())
    }

    /// Whether a leg waits for something.
    fn is_open(&self, at: LegId) -> bool {
        let leg = self.tree.leg(at);
        let waits = leg.waiting > 0 && !self.is_stopped();
        let of_leg = |branch: &super::Branch| branch.leg == at && !branch.is_left;
        waits
            || self.branches.iter().any(|branch| of_leg(branch) && branch.state != BranchState::Done)
            || self.tree.has_open_child(at)
    }

    /// Tries a destination.
    fn begin(&mut self, cx: &mut Context<'_>, id: ContextId, at: LegId) {
        match &self.tree.leg(at).destination {
            None => {
                let mut target = Target { flow: self.onward.flow, ..Target::unchanged() };
                if self.onward.flow.is_some_and(|flow| flow.connection.is_some()) && !self.onward.by_path {
                    // The connection may be gone, and the contact lead there all the same.
                    target.spares.push(Target::unchanged());
                }
                self.tree.leg_mut(at).stages.push_back(SmallVec::from_iter([target]));
            }
            Some(Destination::Uri(uri)) => {
                let host = uri.uri().as_sip().and_then(|sip| cx.settings.domain_of(&sip.host, sip.port));
                let hop = host.and_then(|domain| hop_to(domain, &self.request));
                let target = Target { hop, ..Target::uri(uri.as_str()) };
                self.tree.leg_mut(at).stages.push_back(SmallVec::from_iter([target]));
            }
            Some(Destination::User(aor)) if let Some(hop) = self.hop_of_user(cx, aor) => {
                let target = Target { hop: Some(hop), ..Target::uri(aor) };
                self.tree.leg_mut(at).stages.push_back(SmallVec::from_iter([target]));
            }
            Some(Destination::User(aor)) => {
                let aor = aor.clone();
                self.look_up(cx, id, at, aor);
            }
            Some(Destination::Group(name)) => {
                let group = cx.settings.group(name);
                match group.filter(|_| self.is_invite) {
                    None => self.note(at, Best::own(Status::of(480))),
                    Some(group) => self.ring_group(cx, at, group),
                }
            }
            Some(Destination::Trunk { trunk, number }) => {
                let (trunk, number) = (trunk.clone(), number.clone());
                self.begin_trunk(cx, id, at, &trunk, &number);
            }
        }
    }

    /// The server that has a user, where his domain is another server's.
    fn hop_of_user(&self, cx: &Context<'_>, key: &str) -> Option<UriBuf> {
        let Key::User(aor) = Key::read(key) else { return None };
        let name = services::domain_of(aor);
        let domain = cx.settings.domains.iter().find(|domain| domain.name == name)?;
        hop_to(domain, &self.request)
    }

    /// The members of a group: each is a leg of its own.
    fn ring_group(&mut self, cx: &Context<'_>, at: LegId, group: &Group) {
        let cause = Cause::Member;
        match group.strategy {
            Strategy::InTurn => {
                let turn = |member: &Member| Turn { cause, members: SmallVec::from_iter([member.clone()]) };
                self.tree.leg_mut(at).turns = group.members.iter().map(turn).collect();
            }
            Strategy::All => {
                self.begin_turn(cx, at, Turn { cause, members: group.members.iter().cloned().collect() });
            }
        }
    }

    /// Begins legs below another one.
    pub(super) fn begin_turn(&mut self, cx: &Context<'_>, parent: LegId, turn: Turn) {
        for Member { destination, delay, ring } in turn.members {
            let begins = cx.now + delay;
            let leg = self.tree.add(destination, Some(parent), turn.cause, begins, &cx.settings.limits);
            if let Some(leg) = leg {
                self.tree.leg_mut(leg).ring = ring;
            }
        }
    }

    /// Looks for the bindings of a user, here or on the shard that owns them.
    pub(super) fn look_up(&mut self, cx: &mut Context<'_>, id: ContextId, at: LegId, aor: SmolStr) {
        let owner = shard_of_aor(cx.settings, &aor);
        if owner == cx.core.shard {
            let found = cx.core.find(cx.settings, cx.now, &aor);
            return self.found(cx, id, at, found);
        }
        let from = cx.core.shard;
        match cx.wait(Waiting::Leg { context: id, leg: at }) {
            Some(query) => {
                self.tree.leg_mut(at).waiting += 1;
                let notice = Notice::AskBindings { from, query, aor };
                cx.core.outputs.push_back(Output::Notice { to: owner, notice });
            }
            None => {
                cx.core.counters.overload += 1;
                self.note(at, Best::own(Status::of(500)));
            }
        }
    }

    /// Tries the devices of a user, or what his services name in their place.
    fn found(&mut self, cx: &mut Context<'_>, id: ContextId, at: LegId, found: Found) {
        if let Some(Destination::Trunk { .. }) = &self.tree.leg(at).destination {
            return self.found_trunk(cx, at, &found);
        }
        self.tree.leg_mut(at).has_bindings = !found.bindings.is_empty();
        let is_asked_for = self.onward.redirects && self.tree.leg(at).cause == Cause::Request;
        if is_asked_for && !found.bindings.is_empty() {
            return self.redirect(cx, &found.bindings);
        }
        if self.serve(cx, at, found.services) {
            return;
        }
        if !found.bindings.is_empty() {
            let stages = self.stages(&found.bindings);
            if stages.is_empty() {
                // No phone of his is one that the caller asks for.
                self.note(at, Best::own(Status::of(480)));
            }
            self.tree.leg_mut(at).stages = stages;
            return;
        }
        cx.core.counters.not_found += 1;
        let leg = self.tree.leg(at);
        if leg.cause == Cause::Request
            && leg.services.not_reachable.is_none()
            && let Some(Destination::User(key)) = &leg.destination
        {
            let (Key::User(aor) | Key::Device { aor, .. }) = Key::read(key) else {
                // RFC 5627 §6.1: a temporary GRUU ends with its registration.
                return self.note(at, Best::own(Status::of(404)));
            };
            let (user, domain) =
                aor.strip_prefix("sip:").and_then(|rest| rest.split_once('@')).unwrap_or_default();
            // Does the user exist at all?
            let query = Query::Credential { domain: SmolStr::new(domain), user: unescape(user) };
            if cx.ask(query, Waiting::Exists { context: id, leg: at }).is_some() {
                self.tree.leg_mut(at).waiting += 1;
                return;
            }
        }
        self.note(at, Best::own(Status::of(480)));
    }

    /// RFC 3261 §16.6: those with the highest q first, those with equal q at once, unless the caller prefers some of
    /// them (RFC 3841 §7.2.4). Only an INVITE rings long enough to be tried at one after the other.
    fn stages(&self, bindings: &[Binding]) -> VecDeque<Stage> {
        let preferences = Preferences::of(&self.request);
        // RFC 5626 §7: of one device one contact is tried at a time; RFC 5627 §6.1: the one refreshed last first.
        let mut rated: SmallVec<[Rated<'_>; 2]> = SmallVec::new();
        for binding in bindings {
            let Some(rating) = preferences.judge(binding.params()) else { continue };
            let same = binding
                .instance()
                .and_then(|instance| rated.iter_mut().find(|(_, other, _)| other.is_of_instance(instance)));
            match same {
                Some((.., target)) => target.spares.push(Target::of_binding(binding)),
                None => rated.push(((binding.q_milli, rating), binding, Target::of_binding(binding))),
            }
        }
        // Stable: those that are equal stay in their order.
        rated.sort_by_key(|(rating, ..)| Reverse(*rating));
        let Disposition { no_fork, sequential, parallel, .. } = self.disposition;
        if no_fork {
            rated.truncate(1);
        }
        let mut stages: VecDeque<Stage> = VecDeque::new();
        let mut last = None;
        for (rating, _, target) in rated {
            let together = parallel || (!sequential && last == Some(rating));
            match stages.back_mut() {
                Some(stage) if !self.is_invite || together => stage.push(target),
                _ => stages.push_back(SmallVec::from_iter([target])),
            }
            last = Some(rating);
        }
        stages
    }

    /// The ring time of a leg is over: what rings there is cancelled, and nobody waits for it.
    fn ring_out(&mut self, cx: &mut Context<'_>, at: LegId) {
        self.note_history_of_leg(at);
        self.leave(cx, at, None);
        let leg = self.tree.leg_mut(at);
        leg.ring_until = None;
        leg.rang_out = true;
        self.note(at, Best::own(Status::of(480)));
    }

    /// Cancels all branches of a leg and of those below it, and goes on without them.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>, top: LegId, reason: Option<SmolStr>) {
        for at in self.tree.ids() {
            if self.tree.is_within(at, top) {
                let leg = self.tree.leg_mut(at);
                leg.stages.clear();
                leg.turns.clear();
                leg.waiting = 0;
                if at != top {
                    leg.state = LegState::Done;
                }
            }
        }
        self.leave_branches(cx, top, reason);
    }

    /// Cancels the branches of a leg and of those below it.
    fn leave_branches(&mut self, cx: &mut Context<'_>, top: LegId, reason: Option<SmolStr>) {
        for branch in &mut self.branches {
            if branch.state != BranchState::Done && self.tree.is_within(branch.leg, top) {
                branch.is_left = true;
                if self.is_invite {
                    branch.cancel(cx, reason.clone());
                }
            }
        }
    }

    /// A leg has come to its end without an answer: the call goes where its services say, else its parent goes on.
    fn conclude(&mut self, cx: &mut Context<'_>, at: LegId) {
        let leg = self.tree.leg_mut(at);
        leg.state = LegState::Done;
        let (parent, status) = (leg.parent, leg.status);
        if self.forward_after(cx, at) {
            return;
        }
        if let (Some(parent), Some(status)) = (parent, status) {
            self.tree.leg_mut(parent).note(status);
        }
    }

    /// Sends the request to one more target, or looks its name up first.
    pub(super) fn add_branch(&mut self, cx: &mut Context<'_>, id: ContextId, leg: LegId, target: &Target) {
        if self.branches.len() >= cx.settings.limits.branches {
            cx.core.counters.overload += 1;
            return self.note(leg, Best::own(Status::of(480)));
        }
        self.trying(cx);
        if let Some(flow) = target.flow {
            return self.send(cx, id, leg, target, flow);
        }
        let Some(next_hop) = self.onward.next_hop(&self.request, target) else {
            return self.note(leg, Best::own(Status::of(416)));
        };
        match hop_of(&next_hop) {
            Err(_) => self.note(leg, Best::own(Status::of(416))),
            Ok(Hop::Address(transport, remote)) => match cx.flow_to(transport, remote, self.onward.local) {
                Some(flow) => self.send(cx, id, leg, target, flow),
                None => self.note(leg, Best::own(Status::of(503))),
            },
            Ok(Hop::Name(transport, host, port)) => {
                let host = SmolStr::new(host);
                let target = Box::new(target.clone());
                let waiting = Waiting::Branch { context: id, leg, target, transport, port };
                match cx.ask(Query::Resolve { host }, waiting) {
                    Some(_) => self.tree.leg_mut(leg).waiting += 1,
                    None => self.note(leg, Best::own(Status::of(500))),
                }
            }
        }
    }

    /// Tells the caller of an INVITE at once that it is being worked on (RFC 3261 §16.2), so that he stops to
    /// retransmit whatever the targets do.
    pub(super) fn trying(&mut self, cx: &mut Context<'_>) {
        if self.is_invite && !std::mem::replace(&mut self.is_trying, true) {
            cx.respond(self.server, &self.request, Status::of(100), None, |_| (), None);
        }
    }
}
