//! Packets and requests from the network, up to the point where a role takes over.

use std::time::Duration;

use bytes::Bytes;
use dialtone_transaction::{Matched, Received, ServerId};
use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::SipUri;
use dialtone_wire::{HeaderName, Message, Method, Status, refusal};
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::stateless::response_flow;
use super::{Arrived, Engine};
use crate::auth::{Presented, credentials_for};
use crate::context::{Failure, ServerRecord, ServerUse};
use crate::io::{Event, Output};
use crate::loopback;
use crate::policy::{Decision, decide};
use crate::proxy::{Onward, forward};
use crate::reply::Reply;
use crate::settings::{Mode, Trunk};

/// When to try again after a 503, in seconds.
const RETRY_AFTER_S: u32 = 10;

fn begins_call(request: &Message) -> bool {
    request.method() == Some(&Method::Invite) && request.to().is_ok_and(|to| to.tag().is_none())
}

impl Engine {
    pub(super) fn packet(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        if loopback::is_loopback(&flow) {
            // No transport has such a connection.
            self.core.counters.garbage += 1;
            return;
        }
        let bytes = self.read_to_its_end(flow, bytes);
        let message = match Message::parse(bytes.clone(), &self.settings.limits.message) {
            Ok(message) => message,
            Err(error) => {
                let tag = self.core.random.token();
                let refusal = refusal::refuse(&bytes, error, flow.remote, &tag);
                return self.refused(flow, refusal);
            }
        };
        if let Err(screened) = message.screen() {
            if !message.is_request() {
                self.core.counters.stray_responses += 1;
                return self.bad_response(now, &message);
            }
            let tag = self.stateless_tag(&message);
            let refusal = refusal::refuse_screened(&message, &screened, flow.remote, &tag);
            return self.refused(flow, refusal);
        }
        if message.is_request() && self.authenticator.is_blocked(now, flow.remote.ip()) {
            self.core.counters.blocked += 1;
            return;
        }
        if self.core.loopback.is_feigned_by(&message) {
            // Who has seen our Vias could name one that is not topmost on any wire.
            let counters = &mut self.core.counters;
            let stray =
                if message.is_request() { &mut counters.garbage } else { &mut counters.stray_responses };
            *stray += 1;
            return;
        }
        let message = self.loosened(message);
        match message.is_request() {
            // What another shard has passed on was counted there.
            _ if self.core.hops > 0 => {}
            true => self.core.counters.requests += 1,
            false => self.core.counters.responses += 1,
        }
        match message.method() {
            None => self.response(now, flow, message),
            Some(Method::Ack) => self.ack(now, flow, message),
            Some(Method::Cancel) => self.cancel(now, flow, message),
            Some(_) => self.request(now, flow, message),
        }
    }

    /// A response that can be matched and goes no further: its addresses can't be read. A refusal ends its transaction
    /// all the same, which acknowledges it, and counts as 502 (RFC 3261 §21.5.3); all else is passed over.
    fn bad_response(&mut self, now: Instant, response: &Message) {
        let is_refusal = response.status().is_some_and(|status| status.class() > 2);
        if !is_refusal || response.check().is_err() {
            return;
        }
        if let Some(Matched::PassUp(client)) = self.core.transactions.receive_response(now, response) {
            self.client_failed(now, client, Failure::BadResponse);
        }
    }

    /// Where that is chosen, a datagram with a Content-Length that covers all of it.
    fn read_to_its_end(&self, flow: Flow, bytes: Bytes) -> Bytes {
        if !self.settings.lenient || flow.transport.is_reliable() {
            return bytes;
        }
        dialtone_wire::with_whole_body(&bytes, &self.settings.limits.message).unwrap_or(bytes)
    }

    /// Sends the answer to a malformed request, if it can be answered at all.
    fn refused(&mut self, flow: Flow, refusal: Option<refusal::Refusal>) {
        match refusal {
            Some(refusal) => {
                self.core.counters.malformed += 1;
                let flow = response_flow(flow, refusal.destination);
                self.core.transmit(Transmit { flow, bytes: refusal.bytes });
            }
            None => self.core.counters.garbage += 1,
        }
    }

    /// A request from a strict router in the form that a loose one would have sent (RFC 3261 §16.4).
    fn loosened(&self, message: Message) -> Message {
        if !message.is_request() || self.settings.domains.is_empty() {
            return message;
        }
        let is_own = |uri: &SipUri<'_>| self.settings.is_own_hop(uri);
        let loosened = forward::loosened(&message, is_own);
        let parsed = loosened.map(|bytes| Message::parse(bytes.into(), &self.settings.limits.message));
        parsed.and_then(Result::ok).unwrap_or(message)
    }

    /// Any request but ACK and CANCEL.
    fn request(&mut self, now: Instant, flow: Flow, request: Message) {
        if self.is_elsewhere(&request) {
            // What began before the call went there is answered here.
            if !self.core.transactions.absorb_repetition(now, &request) {
                self.follow(flow, &request);
            }
            return;
        }
        let is_our_dialog = self.ua.owns_dialog(&request) || self.b2bua.owns_dialog(&request);
        let source = self.source_trunk(&request, flow);
        let trunk = source.map(|trunk| trunk.name.clone());
        let unix_s = self.unix_s(now);
        let mut decision =
            decide(&self.settings, &self.tokens, &request, &flow, is_our_dialog, source, unix_s);
        if request.method() == Some(&Method::Subscribe)
            && let Some((domain, aor)) = self.subscriptions.watched_by(&request)
        {
            // Whatever its Request-URI is: within a dialog that is our Contact.
            decision = Decision::Watch { domain, aor };
        }
        if decision.is_stateless() {
            if !self.core.transactions.absorb_repetition(now, &request) {
                self.pass(now, flow, request, decision);
            }
            return;
        }
        if let Decision::To { onward, .. } | Decision::FromTrunk { onward, .. } = &mut decision {
            // §16.3 step 4; RFC 5393 §4.2: bindings that lead back to us would multiply with each round.
            let trace = self.trace(&request);
            if forward::is_loop(&request, trace) {
                return self.respond_stateless(&request, flow, Status::of(482), |_| ());
            }
            onward.trace = Some(trace);
        }
        // A copy of a request that has a transaction is the transaction's, here and below, whatever a reload or the
        // time have changed since.
        let refuses = match &decision {
            Decision::Refuse(_) | Decision::BadExtension | Decision::ServerItself => true,
            Decision::Reply { asks, .. } => !(*asks && self.settings.authenticate),
            _ => false,
        };
        if refuses && self.core.transactions.absorb_repetition(now, &request) {
            return;
        }
        match &decision {
            Decision::Refuse(status) => {
                let status = *status;
                // A REGISTER for a domain of others is 404, any other request for one 403.
                self.core.counters.foreign += u64::from(matches!(status.code(), 403 | 404));
                return self.respond_stateless(&request, flow, status, |_| ());
            }
            Decision::Reply { reply, .. } if refuses => {
                let reply = reply.clone();
                self.count_reply(&reply);
                let names_rule = !self.settings.authenticate;
                return self.respond_stateless(&request, flow, reply.status, |writer| {
                    reply.write(writer, names_rule);
                });
            }
            Decision::BadExtension => {
                return self.refuse_extensions(&request, flow, HeaderName::ProxyRequire);
            }
            Decision::ServerItself => return self.answer_for_server(&request, flow),
            _ => {}
        }
        // Who must show a password and shows none is challenged before anything is kept of him.
        let credentials = match decision.asks(&self.settings, &request) {
            None => None,
            Some((side, domain)) => {
                let shown = credentials_for(&request, side, &domain);
                let stale = shown.is_some();
                match shown.filter(|shown| self.authenticator.has_live_nonce(now, flow.remote, shown)) {
                    Some(credentials) => {
                        let held = self.authenticator.held_off(now, flow.remote, &credentials, &domain);
                        if let Some(left) = held {
                            return self.hold_off(now, &request, flow, left);
                        }
                        Some((side, domain, credentials))
                    }
                    None if self.core.transactions.absorb_repetition(now, &request) => return,
                    None => return self.challenge_stateless(now, &request, flow, side, &domain, stale),
                }
            }
        };
        let Some(server) = self.begin(now, flow, &request, decision.mode()) else { return };
        // Not before: a copy of an INVITE that rings belongs to a call that may still be answered.
        if self.settings.draining && begins_call(&request) {
            // The whole server is about to go: its clients do well to try another one (RFC 3261 §21.5.4).
            self.core.counters.draining += 1;
            let mut cx = self.context(now);
            return cx.respond_and_forget(server, &request, Status::of(503), |writer| {
                writer.number(HeaderName::RetryAfter, RETRY_AFTER_S);
            });
        }
        let arrived = Arrived { server, request, flow, decision, caller: None, trunk, hops: 0 };
        match credentials {
            None => self.act(now, arrived),
            Some((side, domain, credentials)) => {
                let presented = Presented { arrived, side, domain, credentials };
                let mut cx = crate::context::Context { now, settings: &self.settings, core: &mut self.core };
                self.authenticator.begin(&mut cx, presented);
            }
        }
    }

    /// Refuses credentials without a look at them: their sender has failed too often. A copy of a request that was
    /// let in before is still that one.
    fn hold_off(&mut self, now: Instant, request: &Message, flow: Flow, left: Duration) {
        if self.core.transactions.absorb_repetition(now, request) {
            return;
        }
        self.core.counters.held_off += 1;
        let seconds = left.as_millis().div_ceil(1000);
        self.respond_stateless(request, flow, Status::of(403), |writer| {
            writer.header(HeaderName::RetryAfter, seconds);
        });
    }

    /// The time in seconds of Unix time.
    pub(super) fn unix_s(&self, now: Instant) -> u64 {
        self.settings.unix_start_s + now.as_nanos() / 1_000_000_000
    }

    /// Counts what the dial plan answers, and tells the log of a rule that does.
    pub(super) fn count_reply(&mut self, reply: &Reply) {
        let counters = &mut self.core.counters;
        match (&reply.rule, reply.status.class()) {
            (_, 3) => counters.redirected += 1,
            (Some(_), _) => counters.ruled_out += 1,
            (None, _) => counters.foreign += u64::from(reply.status.code() == 403),
        }
        if let Some(rule) = &reply.rule {
            let event = Event::RuleAnswered { rule: rule.clone(), status: reply.status };
            self.core.outputs.push_back(Output::Event(event));
        }
    }

    /// The trunk that a request comes from.
    fn source_trunk(&self, request: &Message, flow: Flow) -> Option<&Trunk> {
        if self.settings.trunks.is_empty() {
            return None;
        }
        self.core.trunks.source(&self.settings, request, flow)
    }

    /// Begins a server transaction; `None` when the request repeats one, or is refused because there are too many.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        flow: Flow,
        request: &Message,
        mode: Mode,
    ) -> Option<ServerId> {
        let via = request.via().ok()?;
        let back = response_flow(flow, via.response_address(flow.remote));
        match self.core.transactions.receive_request(now, back, request) {
            Received::New(server) => {
                self.core.servers.insert(
                    server,
                    ServerRecord {
                        used_by: ServerUse::Engine,
                        flow,
                        since: now,
                        mode,
                        answered: SmallVec::new(),
                    },
                );
                Some(server)
            }
            Received::Absorbed | Received::Ack(_) | Received::Malformed(_) => None,
            Received::Full => {
                self.core.counters.overload += 1;
                self.respond_stateless(request, flow, Status::of(503), |writer| {
                    writer.number(HeaderName::RetryAfter, RETRY_AFTER_S);
                });
                None
            }
        }
    }

    /// RFC 3261 §9.2, §16.10.
    pub(super) fn cancel(&mut self, now: Instant, flow: Flow, cancel: Message) {
        // §17.2.2: one that was answered gets the same answer again, though its INVITE may be forgotten by now (Timer I).
        if self.core.transactions.absorb_repetition(now, &cancel) {
            return;
        }
        let invite = self.core.transactions.find_cancelled(&cancel);
        let Some(invite) = invite else {
            if self.follow(flow, &cancel) {
                return;
            }
            // §16.10: what we forwarded without state is cancelled by whoever has the transaction.
            let decision =
                decide(&self.settings, &self.tokens, &cancel, &flow, false, None, self.unix_s(now));
            if decision.is_stateless() {
                return self.pass(now, flow, cancel, decision);
            }
            return self.respond_stateless(&cancel, flow, Status::of(481), |_| ());
        };
        let Some(server) = self.begin(now, flow, &cancel, Mode::Transaction) else { return };
        let tag = self.tag_of_cancelled(invite, &cancel);
        let mut cx = self.context(now);
        cx.respond(server, &cancel, Status::of(200), Some(&tag), |_| (), None);
        if !self.core.transactions.awaits_answer(invite) {
            return;
        }
        match self.core.servers.get(&invite).map(|record| record.used_by) {
            Some(ServerUse::Proxy(context)) => {
                let (proxy, mut cx) = self.proxy_and_context(now);
                proxy.cancel(&mut cx, context, &cancel);
            }
            Some(ServerUse::Ua) => {
                let (ua, mut cx) = self.ua_and_context(now);
                ua.handle_cancel(&mut cx, invite);
            }
            Some(ServerUse::B2bua) => {
                let (b2bua, mut cx) = self.b2bua_and_context(now);
                b2bua.handle_cancel(&mut cx, invite, &cancel);
            }
            Some(ServerUse::Engine) => {
                // It waits for an answer from outside; that answer will find it answered.
                let request = self.core.transactions.server_request(invite).cloned();
                let limits = self.settings.limits.message;
                if let Some(request) = request.and_then(|bytes| Message::parse(bytes, &limits).ok()) {
                    let mut cx = self.context(now);
                    cx.respond(invite, &request, Status::of(487), Some(&tag), |_| (), None);
                }
            }
            None => {}
        }
    }

    /// RFC 3261 §9.2: "The To tag of the response to the CANCEL and the To tag in the response to the original request
    /// SHOULD be the same." A proxy answers a CANCEL by itself: its tag names no dialog.
    fn tag_of_cancelled(&self, invite: ServerId, cancel: &Message) -> SmolStr {
        let of_user_agent = match self.core.servers.get(&invite).map(|record| record.used_by) {
            Some(ServerUse::Ua) => {
                let kept = self.core.transactions.server_tag(invite).map(SmolStr::new);
                kept.or_else(|| self.ua.tag_towards(cancel))
            }
            Some(ServerUse::B2bua) => {
                let kept = self.core.transactions.server_tag(invite).map(SmolStr::new);
                kept.or_else(|| self.b2bua.tag_towards(invite))
            }
            Some(ServerUse::Engine | ServerUse::Proxy(_)) | None => None,
        };
        of_user_agent.unwrap_or_else(|| self.stateless_tag(cancel))
    }

    /// An ACK: absorbed by the transaction of a refused INVITE, else it belongs to a 2xx and goes to whoever has the
    /// dialog. It is never answered.
    pub(super) fn ack(&mut self, now: Instant, flow: Flow, ack: Message) {
        let Ok(via) = ack.via() else { return };
        let back = response_flow(flow, via.response_address(flow.remote));
        match self.core.transactions.receive_request(now, back, &ack) {
            Received::Ack(_) => {}
            Received::Absorbed | Received::New(_) | Received::Full | Received::Malformed(_) => return,
        }
        if self.follow(flow, &ack) {
            return;
        }
        let (ua, mut cx) = self.ua_and_context(now);
        if ua.handle_ack(&mut cx, &ack) {
            return;
        }
        let (b2bua, mut cx) = self.b2bua_and_context(now);
        if !loopback::is_loopback(&flow) && b2bua.handle_ack(&mut cx, &ack) {
            return;
        }
        match decide(&self.settings, &self.tokens, &ack, &flow, false, None, self.unix_s(now)) {
            decision if decision.is_stateless() => self.pass(now, flow, ack, decision),
            // To a GRUU (RFC 5627 §6.1).
            decision @ Decision::To { onward: Onward { in_dialog: true, .. }, .. } => {
                self.pass(now, flow, ack, decision);
            }
            Decision::Route { onward, authenticate: false } => {
                let mut cx = self.context(now);
                let sent = forward::forward_ack(&mut cx, &ack, flow, &onward);
                self.core.counters.stray_acks += u64::from(!sent);
            }
            _ => self.core.counters.stray_acks += 1,
        }
    }
}
