//! How the legs of a response context go on: what is begun next, and when one is over.

use dialtone_wire::Status;
use dialtone_wire::uri::unescape;
use std::collections::VecDeque;

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::best::Best;
use super::tree::{Cause, LegId, LegState, Stage};
use super::{BranchState, CancelReason, ContextId, Proxy, ResponseContext, Target};
use crate::binding::Binding;
use crate::context::{Context, Hop, hop_of};
use crate::io::{Found, Notice, Output, Query};
use crate::queries::Waiting;
use crate::registrar;
use crate::settings::{Destination, Strategy};
use crate::steer::shard_of_aor;

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
        context.note(leg, Best::own(Status::of(if exists { 480 } else { 404 })));
        self.settle(cx, id);
    }

    /// The address of a target's host name is known; `None` when it has none.
    pub(crate) fn resolved(
        &mut self,
        cx: &mut Context<'_>,
        id: ContextId,
        leg: LegId,
        target: &Target,
        address: Option<(dialtone_wire::net::Transport, std::net::SocketAddr)>,
    ) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if !context.answer_is_there(leg) {
            return;
        }
        let flow =
            address.and_then(|(transport, remote)| cx.flow_to(transport, remote, context.onward.local));
        match flow {
            Some(flow) => context.send(cx, id, leg, target, flow),
            None => context.note(leg, Best::own(Status::of(503))),
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
            self.leave_branches(cx, at, CancelReason::None);
            return true;
        }
        if self.is_open(at) {
            return false;
        }
        let leg = self.tree.leg_mut(at);
        if is_stopped {
            leg.state = LegState::Done;
        } else if let Some(stage) = leg.stages.pop_front() {
            let is_last = leg.stages.is_empty();
            leg.stage_until = (!is_last).then(|| cx.now + cx.settings.proxy.stage_ring);
            for target in stage {
                self.add_branch(cx, id, at, &target);
            }
        } else if let Some(member) = leg.members.pop_front() {
            let limits = &cx.settings.limits;
            let member_leg = self.tree.add(member.destination, Some(at), Cause::Member, cx.now, limits);
            if let Some(member_leg) = member_leg {
                self.tree.leg_mut(member_leg).ring = member.ring;
            }
        } else {
            self.conclude(cx, at);
        }
        true
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
                let target = Target { flow: self.onward.flow, ..Target::unchanged() };
                self.tree.leg_mut(at).stages.push_back(SmallVec::from_iter([target]));
            }
            Some(Destination::Uri(uri)) => {
                let target = Target::uri(uri.as_str());
                self.tree.leg_mut(at).stages.push_back(SmallVec::from_iter([target]));
            }
            Some(Destination::User(aor)) => {
                let aor = aor.clone();
                self.look_up(cx, id, at, aor);
            }
            Some(Destination::Group(name)) => {
                let group = cx.settings.groups.iter().find(|group| group.name == *name);
                match group.filter(|_| self.is_invite) {
                    None => self.note(at, Best::own(Status::of(480))),
                    Some(group) => self.ring_group(cx, at, group),
                }
            }
            Some(Destination::Trunk { .. }) => self.note(at, Best::own(Status::of(480))),
        }
    }

    /// The members of a group: each is a leg of its own.
    fn ring_group(&mut self, cx: &Context<'_>, at: LegId, group: &crate::settings::Group) {
        match group.strategy {
            Strategy::InTurn => self.tree.leg_mut(at).members.extend(group.members.iter().cloned()),
            Strategy::All => {
                for member in &group.members {
                    let begins = cx.now + member.delay;
                    let destination = member.destination.clone();
                    let limits = &cx.settings.limits;
                    if let Some(leg) = self.tree.add(destination, Some(at), Cause::Member, begins, limits) {
                        self.tree.leg_mut(leg).ring = member.ring;
                    }
                }
            }
        }
    }

    /// Looks for the bindings of a user, here or on the shard that owns them.
    fn look_up(&mut self, cx: &mut Context<'_>, id: ContextId, at: LegId, aor: SmolStr) {
        let owner = shard_of_aor(cx.settings, &aor);
        if owner == cx.core.shard {
            let found = registrar::find(&cx.core.location, cx.now, &aor);
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
        let leg = self.tree.leg_mut(at);
        leg.services = found.services;
        if self.is_invite
            && let Some(instead) = leg.services.next(None)
            && self.forward(cx, at, instead, None)
        {
            self.tree.leg_mut(at).state = LegState::Done;
            return;
        }
        if !found.bindings.is_empty() {
            self.tree.leg_mut(at).stages = self.stages(&found.bindings);
            return;
        }
        cx.core.counters.not_found += 1;
        let leg = self.tree.leg(at);
        if leg.cause == Cause::Request
            && let Some(Destination::User(aor)) = &leg.destination
            && let Some((user, domain)) = aor.strip_prefix("sip:").and_then(|rest| rest.rsplit_once('@'))
        {
            // Does the user exist at all?
            let query = Query::Credential { domain: SmolStr::new(domain), user: unescape(user) };
            if cx.ask(query, Waiting::Exists { context: id, leg: at }).is_some() {
                self.tree.leg_mut(at).waiting += 1;
                return;
            }
        }
        self.note(at, Best::own(Status::of(480)));
    }

    /// RFC 3261 §16.6: those with the highest q first, those with equal q at once. Only an INVITE rings long enough to
    /// be tried at one after the other.
    fn stages(&self, bindings: &[Binding]) -> VecDeque<Stage> {
        let mut stages: VecDeque<Stage> = VecDeque::new();
        for target in bindings.iter().map(Target::of_binding) {
            match stages.back_mut() {
                Some(stage) if !self.is_invite || stage[0].q_milli == target.q_milli => stage.push(target),
                _ => stages.push_back(SmallVec::from_iter([target])),
            }
        }
        stages
    }

    /// The ring time of a leg is over: what rings there is cancelled, and nobody waits for it.
    fn ring_out(&mut self, cx: &mut Context<'_>, at: LegId) {
        self.leave(cx, at, CancelReason::None);
        let leg = self.tree.leg_mut(at);
        leg.ring_until = None;
        leg.rang_out = true;
        self.note(at, Best::own(Status::of(480)));
    }

    /// Cancels all branches of a leg and of those below it, and goes on without them.
    fn leave(&mut self, cx: &mut Context<'_>, top: LegId, reason: CancelReason) {
        for at in self.tree.ids() {
            if self.tree.is_within(at, top) {
                let leg = self.tree.leg_mut(at);
                leg.stages.clear();
                leg.members.clear();
                leg.waiting = 0;
                if at != top {
                    leg.state = LegState::Done;
                }
            }
        }
        self.leave_branches(cx, top, reason);
    }

    /// Cancels the branches of a leg and of those below it.
    fn leave_branches(&mut self, cx: &mut Context<'_>, top: LegId, reason: CancelReason) {
        for branch in &mut self.branches {
            if branch.state != BranchState::Done && self.tree.is_within(branch.leg, top) {
                branch.is_left = true;
                if self.is_invite {
                    branch.cancel(cx, reason);
                }
            }
        }
    }

    /// A leg has come to its end without an answer: the call goes where its services say, else its parent goes on.
    fn conclude(&mut self, cx: &Context<'_>, at: LegId) {
        let leg = self.tree.leg_mut(at);
        leg.state = LegState::Done;
        let (outcome, parent, status) = (leg.outcome(), leg.parent, leg.status);
        if self.is_invite
            && let Some(next) = leg.services.next(Some(outcome))
            && self.forward(cx, at, next, Some(outcome))
        {
            return;
        }
        if let (Some(parent), Some(status)) = (parent, status) {
            self.tree.leg_mut(parent).note(status);
        }
    }

    /// Adds the leg that the services of another one name; `false` when it may not be tried.
    fn forward(
        &mut self,
        cx: &Context<'_>,
        from: LegId,
        to: Destination,
        outcome: Option<super::Outcome>,
    ) -> bool {
        let parent = self.tree.leg(from).parent;
        let cause = Cause::Forward(from, outcome);
        self.tree.add(to, parent, cause, cx.now, &cx.settings.limits).is_some()
    }

    /// Sends the request to one more target, or looks its name up first.
    fn add_branch(&mut self, cx: &mut Context<'_>, id: ContextId, leg: LegId, target: &Target) {
        if self.branches.len() >= cx.settings.limits.branches {
            return;
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
    fn trying(&mut self, cx: &mut Context<'_>) {
        if self.is_invite && !std::mem::replace(&mut self.is_trying, true) {
            cx.respond(self.server, &self.request, Status::of(100), None, |_| (), None);
        }
    }
}
