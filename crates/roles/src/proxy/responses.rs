//! What responses do to a response context (RFC 3261 §16.7), and time-outs and failures in their place.

use dialtone_transaction::ClientId;
use dialtone_wire::{Edits, HeaderName, Message, Status, Writer};

use super::services::replace_history;
use super::session;
use super::shift;
use super::{
    ANSWERED_ELSEWHERE, Best, Branch, BranchState, CancelState, ContextId, LegId, Proxy, REFUSED_FOR_ALL,
    ResponseContext, Target,
};
use crate::context::Context;
use crate::settings::Mode;

/// When to try again after a 500 of our own, in seconds.
const RETRY_AFTER_S: u32 = 5;

/// How many times T1 the caller waits, once all else has failed, for phones that were cancelled when their ring time was
/// over: time for their 487, or for the 200 that crossed with the CANCEL.
const LEFT_T1: u32 = 4;

impl Proxy {
    /// A response that belongs to a branch.
    pub(crate) fn handle_response(
        &mut self,
        cx: &mut Context<'_>,
        id: ContextId,
        client: ClientId,
        response: Message,
    ) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        let Some(status) = response.status() else { return };
        context.note_history(client, status);
        if status.is_provisional() {
            context.provisional(cx, client, status, &response);
            let rings = |branch: &Branch| branch.client == client && branch.cancel == CancelState::Unasked;
            if status.code() > 100 && !context.answered && context.branches.iter().any(rings) {
                // §16.7 step 2. A branch that was cancelled rings on at its own expense.
                let at = cx.now + cx.settings.timer_c;
                self.set_timer_c(id, at);
            }
            return;
        }
        let branch = context.branches.iter_mut().find(|branch| branch.client == client);
        let Some(Branch { state, leg, is_left, spares, .. }) = branch else { return };
        *state = BranchState::Done;
        let (leg, is_left, spares) = (*leg, *is_left, std::mem::take(spares));
        if matches!(status.code(), 408 | 430) && !is_left && context.try_spare(cx, id, leg, spares) {
            return self.settle(cx, id);
        }
        if status.is_success() {
            // §16.7 step 5: each 2xx to an INVITE goes back at once; of other requests the first.
            if context.is_invite || !context.answered {
                context.answered = true;
                context.send_back(cx, status, &response);
            }
            if context.has_open_branch() && !context.disposition.no_cancel {
                context.cancel_branches(cx, Some(ANSWERED_ELSEWHERE));
                self.bound_cancelled(cx, id);
            }
            return self.settle(cx, id);
        }
        if status.is_challenge() && context.answer_challenge(cx, id, client, &response) {
            return self.settle(cx, id);
        }
        context.trunk_failed(cx, client, status, false);
        if is_left && status.code() == 487 {
            // What our own CANCEL brought about says nothing about the user.
            return self.settle(cx, id);
        }
        if status.class() == 3
            && let Some(rest) = context.recurse(cx, leg, &response)
        {
            if let Some(rest) = rest {
                context.note(leg, Best::Received(Box::new(rest)));
            }
            return self.settle(cx, id);
        }
        if status.class() == 6 && !context.answered {
            context.tree.leg_mut(leg).note(status);
            if context.survives(cx, leg) {
                context.leave(cx, leg, Some(REFUSED_FOR_ALL));
                return self.settle(cx, id);
            }
            // §16.7 step 5: nobody else is asked.
            context.refused = true;
            context.note(leg, Best::Received(Box::new(response)));
            if context.has_open_branch() {
                context.cancel_branches(cx, Some(REFUSED_FOR_ALL));
                self.bound_cancelled(cx, id);
            }
            return self.settle(cx, id);
        }
        if status.code() == 430 && context.onward.flow.is_none() {
            // RFC 5626 §11.5: a word between the edge and us, "endpoints should never receive" it.
            context.note(leg, Best::own(Status::of(480)));
        } else {
            context.note(leg, Best::Received(Box::new(response)));
        }
        self.settle(cx, id);
    }

    /// A branch got no final response (Timer B or F), or could not be sent at all.
    pub(crate) fn branch_failed(
        &mut self,
        cx: &mut Context<'_>,
        id: ContextId,
        client: ClientId,
        status: Status,
    ) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        let Some(branch) = context.branches.iter_mut().find(|branch| branch.client == client) else { return };
        if std::mem::replace(&mut branch.state, BranchState::Done) != BranchState::Done {
            let (leg, is_left, spares) = (branch.leg, branch.is_left, std::mem::take(&mut branch.spares));
            context.note_history(client, status);
            context.trunk_failed(cx, client, status, true);
            if is_left || !context.try_spare(cx, id, leg, spares) {
                // RFC 5626 §5.3.1: who has the registration may know another flow.
                let is_flow = status.code() == 503 && context.onward.by_path;
                context.note(leg, Best::own(if is_flow { Status::of(430) } else { status }));
            }
            self.settle(cx, id);
        }
    }

    /// Sends the best response back once no branch waits any more.
    pub(super) fn finish_if_done(&mut self, cx: &mut Context<'_>, id: ContextId) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if context.is_unfinished() {
            let soon = cx.now + cx.settings.timers.t1() * LEFT_T1;
            if context.waits_for_left_only() && context.timer_c > soon {
                self.set_timer_c(id, soon);
            }
            return;
        }
        self.timers_c.remove(&(context.timer_c, id));
        if context.server_gone {
            return self.remove(id);
        }
        if std::mem::replace(&mut context.answered, true) {
            return;
        }
        let is_late =
            !context.is_invite && context.best.as_ref().is_some_and(|best| best.status().code() == 408);
        if is_late {
            // RFC 4320 §4.2: the client has given up by now, and a 408 would only blame us. Its transaction ends by itself.
            return self.remove(id);
        }
        context.free_trunk(cx);
        match context.best.take() {
            // §16.7 step 6: a 503 is about that one server; our caller would shun us for it.
            Some(best) if best.status().code() == 503 => context.answer(cx, Status::of(500)),
            Some(Best::Received(response)) => {
                let status = response.status().unwrap_or(Status::of(500));
                context.send_best(cx, status, &response);
            }
            Some(Best::Own(_)) | None if context.cancelled => context.answer(cx, Status::of(487)),
            Some(Best::Own(status)) => context.answer(cx, status),
            None => context.answer(cx, Status::of(480)),
        }
    }
}

impl ResponseContext {
    /// Tries the next way to a device that one did not lead to (RFC 5626 §7); `false` when there is none.
    fn try_spare(
        &mut self,
        cx: &mut Context<'_>,
        id: ContextId,
        leg: LegId,
        mut spares: Vec<Target>,
    ) -> bool {
        if spares.is_empty() || self.is_stopped() {
            return false;
        }
        let next = spares.remove(0);
        self.add_branch(cx, id, leg, &Target { spares, breadth: Some(1), ..next });
        true
    }

    fn provisional(&mut self, cx: &mut Context<'_>, client: ClientId, status: Status, response: &Message) {
        if let Some(branch) = self.branches.iter_mut().find(|branch| branch.client == client)
            && branch.state != BranchState::Done
        {
            branch.state = BranchState::Proceeding;
            if status.code() > 100 {
                self.tree.leg_mut(branch.leg).rang = true;
            }
            let leg = self.tree.leg_mut(branch.leg);
            if leg.answer_within.is_some() {
                // The address of a trunk that answers at all is not given up.
                leg.stage_until = None;
            }
            if let CancelState::Wanted(reason) = &branch.cancel {
                let reason = reason.clone();
                branch.cancel = CancelState::Sent;
                cx.send_cancel(client, &branch.sent, reason.as_deref());
            }
        }
        // §16.7 step 5: 100 is for one hop only. RFC 4320 §4.1: other requests than INVITE get no other one.
        if status.code() > 100 && self.is_invite && !self.answered {
            self.send_back(cx, status, response);
        }
    }

    /// Sends the best response back; a challenge with those of all other branches (§16.7 step 7), so that the caller
    /// can answer all of them at once.
    fn send_best(&mut self, cx: &mut Context<'_>, status: Status, response: &Message) {
        let request = self.is_shifted.then(|| self.request.clone());
        let challenged = std::mem::take(&mut self.challenged);
        let history = self.history_back(cx.settings, response);
        let mut edits = restoring(request.as_ref());
        if let Some(values) = &history {
            replace_history(&mut edits, values);
        }
        if status.is_challenge() {
            for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
                let values = challenged.iter().flat_map(|other| other.values(name));
                for value in values.filter_map(|value| std::str::from_utf8(value).ok()) {
                    edits.append(name.as_str(), value);
                }
            }
        }
        self.send_edited(cx, status, response, edits);
    }

    /// Sends a response back without our Via (§16.7 step 3 and 9).
    fn send_back(&mut self, cx: &mut Context<'_>, status: Status, response: &Message) {
        let refreshes = status.is_success() && self.onward.mode == Mode::Call;
        let session = self.onward.session.as_ref().filter(|_| refreshes);
        let inserted = session.and_then(|session| session.insert(response));
        let granted = refreshes.then(|| session::granted(session, response)).flatten();
        let request = self.is_shifted.then(|| self.request.clone());
        let history = self.history_back(cx.settings, response);
        let mut edits = restoring(request.as_ref());
        if let Some(values) = &history {
            replace_history(&mut edits, values);
        }
        if let Some(inserted) = &inserted {
            edits.append("Session-Expires", inserted);
            if !response.has_token(HeaderName::Require, "timer") {
                edits.append("Require", "timer");
            }
        }
        self.send_edited(cx, status, response, edits);
        if refreshes {
            cx.record_session(&self.request, response.to_tag().ok().flatten(), granted);
        }
    }

    fn send_edited(
        &mut self,
        cx: &mut Context<'_>,
        status: Status,
        response: &Message,
        mut edits: Edits<'_>,
    ) {
        if response.values(HeaderName::Via).nth(1).is_none() {
            // §16.7 step 3: without another Via it was meant for us. Its sender has lost those of the request.
            if !status.is_provisional() {
                self.answer(cx, Status::of(502));
            }
            return;
        }
        let mut out = Vec::new();
        edits.pop_via();
        if self.flow.transport.is_reliable() {
            edits.ensure_content_length();
        }
        edits.write(response, &mut out);
        let bytes = bytes::Bytes::from(out.into_boxed_slice());
        if cx.core.transactions.respond(cx.now, self.server, status, bytes).is_ok() {
            cx.core.counters.responses_forwarded += 1;
            cx.record_answer(self.server, &self.request, status, response.to_tag().ok().flatten());
        }
    }

    /// Answers ourselves.
    fn answer(&mut self, cx: &mut Context<'_>, status: Status) {
        let tag = cx.token();
        let history = self.values_back(cx.settings, None);
        let stopped = self.stopped.filter(|(stopped, _)| *stopped == status);
        let agent = cx.settings.domains.first().map(|domain| domain.name.clone());
        let warning = agent.zip(stopped.map(|(_, words)| words));
        let extra = |writer: &mut Writer| {
            for value in history.iter().flatten() {
                writer.text(HeaderName::HistoryInfo, value);
            }
            if status.code() == 500 {
                writer.number(HeaderName::RetryAfter, RETRY_AFTER_S);
            }
            if let Some((agent, words)) = &warning {
                writer.header(HeaderName::Warning, format_args!("399 {agent} \"{words}\""));
            }
        };
        cx.respond(self.server, &self.request, status, Some(&tag), extra, None);
    }
}

/// The changes that give a response the CSeq and From of the request that it answers, where the far side saw others.
fn restoring(request: Option<&Message>) -> Edits<'_> {
    let mut edits = Edits::new();
    if let Some(request) = request {
        shift::restore(&mut edits, request);
    }
    edits
}
