//! The SIP server of one shard, without a socket: joins transactions, dialogs and roles.
//!
//! ```text
//!   Packet -> parse -> screen -> decide (policy) -+-> answered without state: refusals, challenges, OPTIONS
//!                                                 +-> server transaction -> who is it? -> role
//!   role -> Context -> client transactions, responses, questions -> Output
//! ```

use std::sync::Arc;
use std::time::Duration;

use dialtone_transaction::{EdgeCounts, Event as TransactionEvent, Matched, ServerId};
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::{Message, Status};
use smol_str::{SmolStr, format_smolstr};

use crate::auth::Authenticator;
use crate::b2bua::B2bua;
use crate::context::{
    ClientUse, Context, Core, Failure, ServerUse, UaRequest, loopback_limit, transaction_limits,
};
use crate::counters::{Counters, Tables};
use crate::events::Subscriptions;
use crate::events::reg::ContactEvent;
use crate::guesses::{Freed, Guesser, HeldOff, Source};
use crate::io::{Answer, CallRecord, DialState, Input, MediaCommand, Output};
use crate::keep_alive::KeepAlive;
use crate::listing::{CallCursor, ListedBinding, ListedCall, ListedTrunk, Page};
use crate::location::Location;
use crate::policy::Decision;
use crate::proxy::Proxy;
use crate::proxy::stateless::forward_response;
use crate::records::Records;
use crate::route_token::RouteTokens;
use crate::settings::Settings;
use crate::trunks::keeper::Keeper;
use crate::ua::{ServerEvent, Ua};

mod act;
mod answers;
mod bridging;
pub(crate) mod meeting;
mod pass;
mod requests;
pub(crate) mod services;
mod stateless;

use services::Asker;

/// A request that has a server transaction and waits to be handled.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) server: ServerId,
    pub(crate) request: Message,
    pub(crate) flow: Flow,
    pub(crate) decision: Decision,
    /// Who sent it, once that is known.
    pub(crate) caller: Option<Caller>,
    /// The trunk that it came from.
    pub(crate) trunk: Option<SmolStr>,
    /// How many shards it has passed, on its way to a call of another one.
    pub(crate) hops: u8,
}

/// A user of ours who has shown a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The user part, unescaped.
    pub(crate) user: SmolStr,
    /// The name of the domain.
    pub(crate) domain: SmolStr,
}

impl Caller {
    /// The canonical address-of-record.
    pub(crate) fn aor(&self) -> SmolStr {
        format_smolstr!("sip:{}@{}", dialtone_wire::uri::escape_user(&self.user), self.domain)
    }
}

/// One shard.
#[derive(Debug)]
pub struct Engine {
    settings: Arc<Settings>,
    core: Core,
    authenticator: Authenticator,
    proxy: Proxy,
    ua: Ua,
    b2bua: B2bua,
    keeper: Keeper,
    keep_alive: KeepAlive,
    subscriptions: Subscriptions,
    tokens: RouteTokens,
    /// Nothing was done yet: no ports are leased, no trunk is looked after.
    start_due: bool,
}

/// Handles one input, carries out all that follows from it, and says when to come back: the one loop that node and
/// simulator both run. Whoever owns the engine calls it with [`Input::Timeout`] when the returned time has come;
/// the text names the timer.
pub fn turn(
    engine: &mut Engine,
    now: Instant,
    input: Input,
    mut carry_out: impl FnMut(Output),
) -> Option<(Instant, &'static str)> {
    engine.handle(now, input);
    engine.settle(now);
    while let Some(output) = engine.core.outputs.pop_front() {
        carry_out(output);
    }
    engine.poll_timeout()
}

impl Engine {
    /// An engine for one of the shards of a server, or for a phone. The same seed and the same inputs give the
    /// same outputs; the seeds of two engines must differ and be unguessable.
    pub fn new(shard: u16, seed: [u8; 32], settings: Arc<Settings>) -> Engine {
        let mut core = Core::new(shard, seed, &settings);
        let epoch = (settings.unix_start_s & u64::from(u32::MAX)) as u32;
        let authenticator = Authenticator::new(shard, epoch, core.random.next_u64(), &settings);
        core.location = Location::new(core.random.next_u64());
        Engine {
            authenticator,
            proxy: Proxy::new(core.random.next_u64()),
            ua: Ua::new(),
            b2bua: B2bua::default(),
            keeper: Keeper::default(),
            keep_alive: KeepAlive::default(),
            subscriptions: Subscriptions::default(),
            tokens: RouteTokens::new(&settings.secret, epoch),
            start_due: true,
            core,
            settings,
        }
    }

    /// The records of all calls that are still going on, at the end of a server; they are forgotten with this.
    pub fn stop_records(&mut self, now: Instant) -> Vec<CallRecord> {
        let mut records = self.core.records.take();
        std::iter::from_fn(|| records.as_mut()?.stopped(now)).collect()
    }

    /// What happened since the start.
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// What happened in the transaction layer since the start.
    pub fn transaction_counters(&self) -> &dialtone_transaction::Counters {
        self.core.transactions.counters()
    }

    /// How often each arrow of the four state machines was taken.
    pub fn edges(&self) -> &EdgeCounts {
        self.core.transactions.edges()
    }

    /// How much the tables hold.
    pub fn tables(&self) -> Tables {
        Tables {
            server_transactions: self.core.transactions.servers_len(),
            client_transactions: self.core.transactions.clients_len(),
            kept_bytes: self.core.transactions.kept_bytes(),
            proxy_contexts: self.proxy.len(),
            calls: self.ua.calls(),
            bridges: self.b2bua.bridges(),
            bridge_requests: self.b2bua.requests(),
            aliases: self.core.aliases.len(),
            calls_forwarding: self.proxy.forwarding(),
            calls_talking: self.core.records.as_ref().map_or(0, Records::len),
            bindings: self.core.location.len(),
            kept_alive: self.keep_alive.len(),
            services: self.core.services.len(),
            subscriptions: self.subscriptions.len(),
            watched: self.core.watched.len(),
            queries: self.core.queries.len(),
            guessers: self.authenticator.guessers(),
        }
    }

    /// What a server that is about to end waits for: calls of its own that have not ended, and INVITEs that it
    /// forwarded and that nobody has answered. Looks at all that is being forwarded.
    pub fn unfinished(&self) -> usize {
        self.ua.calls() + self.b2bua.bridges() + self.proxy.unanswered()
    }

    /// How far a call is that [`Input::Dial`] has asked for; `None` when there is no room for more, or it is long over.
    pub fn dialled(&self, token: u64) -> Option<DialState> {
        self.b2bua.dialled(token)
    }

    /// A page of the bindings of the registrar: those of the first `aors_max` addresses-of-record after this one.
    pub fn bindings(
        &self,
        now: Instant,
        after: Option<&str>,
        aors_max: usize,
    ) -> Page<ListedBinding, SmolStr> {
        let mut page = self.core.location.page(now, after, aors_max);
        for entry in &mut page.entries {
            entry.reach = self.keep_alive.reach(&entry.aor, entry.binding.contact.as_str());
        }
        page
    }

    /// Those who are held off or blocked now, at most `most`.
    pub fn held_off(&self, now: Instant, most: usize) -> Vec<HeldOff> {
        self.authenticator.list_held_off(now, most)
    }

    /// Drops all requests of a source from now on, until it is freed or for a time; false when too many are blocked.
    /// All shards have to be told.
    pub fn block(&mut self, now: Instant, source: Source, time: Option<Duration>) -> bool {
        self.authenticator.block(now, source, time)
    }

    /// Frees those who are held off or blocked; gives them. All shards have to be told.
    pub fn free(&mut self, now: Instant, freed: &Freed) -> Vec<Guesser> {
        self.authenticator.free(now, freed)
    }

    /// The trunks as this shard sees them.
    pub fn trunks(&self) -> Vec<ListedTrunk> {
        self.core.trunks.list(&self.settings)
    }

    /// A page of the calls: first those of the user agent, then those that go through the back-to-back user agent, each
    /// with what the caller's side names, then INVITEs that the proxy forwards, then calls between
    /// others that were answered. It looks at `count`
    /// places.
    pub fn calls(&self, from: CallCursor, count: usize) -> Page<ListedCall, CallCursor> {
        match from {
            CallCursor::Own(slot) => {
                let Page { entries, next } = self.ua.page(slot, count);
                let bridged = CallCursor::Bridged(0);
                Page { entries, next: Some(next.map_or(bridged, CallCursor::Own)) }
            }
            CallCursor::Bridged(after) => {
                let Page { entries, next } = self.b2bua.page(after, count);
                // The times of all timers come after the first one.
                let forwarded = CallCursor::Forwarded(Instant::START, 0);
                Page { entries, next: Some(next.map_or(forwarded, CallCursor::Bridged)) }
            }
            CallCursor::Forwarded(at, id) => {
                let Page { entries, next } = self.proxy.page(Some((at, id)), count);
                let talking = self.core.records.is_some().then_some(CallCursor::Talking(0));
                Page { entries, next: next.map(|(at, id)| CallCursor::Forwarded(at, id)).or(talking) }
            }
            CallCursor::Talking(number) => {
                let page = self.core.records.as_ref().map(|records| records.page(number, count));
                let Page { entries, next } = page.unwrap_or(Page { entries: Vec::new(), next: None });
                Page { entries, next: next.map(CallCursor::Talking) }
            }
        }
    }

    /// Whether the user agent holds nothing any more.
    #[cfg(test)]
    pub(crate) fn is_ua_at_rest(&self) -> bool {
        self.ua.is_at_rest()
    }

    fn handle(&mut self, now: Instant, input: Input) {
        if std::mem::take(&mut self.start_due) {
            self.order_leases();
            self.configure_trunks(now);
            self.configure_keep_alive(now);
        }
        match input {
            Input::Packet { flow, bytes } => {
                self.core.counters.packets += 1;
                self.core.hops = 0;
                self.packet(now, flow, bytes);
            }
            Input::FlowClosed(flow) => {
                self.core.transactions.flow_failed(now, &flow);
                if let Some(connection) = flow.connection {
                    for aor in self.core.location.connection_closed(connection) {
                        self.bindings_lost(now, aor, ContactEvent::Deactivated);
                    }
                }
            }
            Input::TransmitFailed(flow) => self.core.transactions.flow_failed(now, &flow),
            Input::Answer(id, answer) => {
                if let Some(waiting) = self.core.queries.take(id) {
                    self.answered(now, waiting, answer);
                }
            }
            Input::Notice(notice) => self.notice(now, notice),
            Input::Media(event) => self.core.leases.handle(event),
            Input::Command(command) => {
                let (ua, mut cx) = self.ua_and_context(now);
                ua.command(&mut cx, command);
            }
            Input::Restore(bindings) => self.restore(now, bindings),
            Input::Forget(aor) => self.forget(now, &aor),
            Input::RestoreServices(users) => self.restore_services(users),
            Input::ChangeServices { token, aor, changes } => {
                self.change_services(now, aor, &changes, Asker::Outside(token));
            }
            Input::Configure(settings) => {
                self.core.transactions.set_timers(settings.timers);
                self.core.transactions.set_limits(transaction_limits(&settings));
                self.core.loopback_max = loopback_limit(&settings);
                self.settings = settings;
                self.order_leases();
                self.configure_trunks(now);
                self.configure_keep_alive(now);
                if self.settings.draining {
                    let (ua, mut cx) = self.ua_and_context(now);
                    ua.hang_up_all(&mut cx);
                    let (b2bua, mut cx) = self.b2bua_and_context(now);
                    b2bua.hang_up_all(&mut cx);
                }
            }
            Input::Dial(dial) => self.dial(now, dial),
            Input::Timeout => {}
        }
    }

    fn configure_trunks(&mut self, now: Instant) {
        let (keeper, mut cx) = self.keeper_and_context(now);
        keeper.configure(&mut cx);
    }

    fn configure_keep_alive(&mut self, now: Instant) {
        let (keep_alive, mut cx) = self.keep_alive_and_context(now);
        keep_alive.configure(&mut cx);
    }

    /// Ports are ready before the first call needs them.
    fn order_leases(&mut self) {
        if self.settings.account.is_none() && self.settings.robots.is_empty() {
            return;
        }
        for listener in &self.settings.listeners {
            if let Some(MediaCommand::Lease { address, count }) =
                self.core.leases.wanted(listener.address.ip(), self.settings.limits.leases_ready)
            {
                self.core.outputs.push_back(Output::Media(MediaCommand::Lease { address, count }));
            }
        }
    }

    /// Lets all timers fire that are due, and carries on until nothing moves any more.
    fn settle(&mut self, now: Instant) {
        self.core.transactions.handle_timeout(now);
        self.core.aliases.handle_timeout(now);
        while let Some(waiting) = self.core.queries.take_expired(now) {
            self.core.counters.queries_expired += 1;
            self.answered(now, waiting, Answer::Failed);
        }
        while let Some((aor, bindings)) = self.core.location.expire(now) {
            if self.settings.journal {
                let left = self.core.location.of(now, &aor).cloned().collect();
                self.journal_unanswered(&aor, left);
            }
            self.bindings_changed(now, aor, bindings, ContactEvent::Expired);
        }
        self.authenticator.handle_timeout(now);
        while let Some(record) = self.core.records.as_mut().and_then(|records| records.run_out(now)) {
            self.core.call_recorded(Some(record));
        }
        let (proxy, mut cx) = self.proxy_and_context(now);
        proxy.handle_timeout(&mut cx);
        let (ua, mut cx) = self.ua_and_context(now);
        ua.handle_timeout(&mut cx);
        let (b2bua, mut cx) = self.b2bua_and_context(now);
        b2bua.handle_timeout(&mut cx);
        let (keeper, mut cx) = self.keeper_and_context(now);
        keeper.handle_timeout(&mut cx);
        let (keep_alive, mut cx) = self.keep_alive_and_context(now);
        keep_alive.handle_timeout(&mut cx);
        let (subscriptions, mut cx) = self.subscriptions_and_context(now);
        subscriptions.handle_timeout(&mut cx);
        // What a role does in answer to an event may cause another; each transaction gives a bounded number. What comes
        // over the loopback begins no other bridge, so that this ends too.
        self.drain_transmits();
        loop {
            if let Some(event) = self.core.transactions.poll_event() {
                self.transaction_event(now, event);
            } else if let Some((request, failure)) = self.core.failed.pop_front() {
                self.own_request_failed(now, request, failure);
            } else if let Some(looped) = self.core.loopback.pop() {
                self.looped(now, looped);
            } else {
                break;
            }
            self.drain_transmits();
        }
        let (b2bua, mut cx) = self.b2bua_and_context(now);
        b2bua.tell_moved_up(&mut cx);
        self.drain_transmits();
        self.give_back();
    }

    fn drain_transmits(&mut self) {
        while let Some(transmit) = self.core.transactions.poll_transmit() {
            self.core.transmit(transmit);
        }
    }

    fn poll_timeout(&mut self) -> Option<(Instant, &'static str)> {
        [
            self.core.transactions.poll_timeout(),
            self.core.queries.poll_timeout(),
            self.core.aliases.poll_timeout(),
            self.core.location.poll_timeout(),
            self.authenticator.poll_timeout(),
            self.proxy.poll_timeout(),
            self.ua.poll_timeout(),
            self.b2bua.poll_timeout(),
            self.core.records.as_ref().and_then(Records::poll_timeout),
            self.keeper.poll_timeout(),
            self.keep_alive.poll_timeout(),
            self.subscriptions.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    fn ua_and_context(&mut self, now: Instant) -> (&mut Ua, Context<'_>) {
        (&mut self.ua, Context { now, settings: &self.settings, core: &mut self.core })
    }

    fn b2bua_and_context(&mut self, now: Instant) -> (&mut B2bua, Context<'_>) {
        (&mut self.b2bua, Context { now, settings: &self.settings, core: &mut self.core })
    }

    fn keeper_and_context(&mut self, now: Instant) -> (&mut Keeper, Context<'_>) {
        (&mut self.keeper, Context { now, settings: &self.settings, core: &mut self.core })
    }

    fn keep_alive_and_context(&mut self, now: Instant) -> (&mut KeepAlive, Context<'_>) {
        (&mut self.keep_alive, Context { now, settings: &self.settings, core: &mut self.core })
    }

    fn subscriptions_and_context(&mut self, now: Instant) -> (&mut Subscriptions, Context<'_>) {
        (&mut self.subscriptions, Context { now, settings: &self.settings, core: &mut self.core })
    }

    fn proxy_and_context(&mut self, now: Instant) -> (&mut Proxy, Context<'_>) {
        (&mut self.proxy, Context { now, settings: &self.settings, core: &mut self.core })
    }

    fn context(&mut self, now: Instant) -> Context<'_> {
        Context { now, settings: &self.settings, core: &mut self.core }
    }

    /// A response from the network.
    fn response(&mut self, now: Instant, flow: Flow, response: Message) {
        let client = match self.core.transactions.receive_response(now, &response) {
            Some(Matched::PassUp(client)) => client,
            Some(Matched::Absorbed(_)) => return,
            None if self.follow(flow, &response) => return,
            None => {
                let mut cx = Context { now, settings: &self.settings, core: &mut self.core };
                if !forward_response(&mut cx, &self.tokens.branches, &response) {
                    self.core.counters.stray_responses += 1;
                }
                return;
            }
        };
        let Some(status) = response.status() else { return };
        match self.core.clients.get_mut(&client) {
            Some(ClientUse::Proxy(context)) => {
                let context = *context;
                let (proxy, mut cx) = self.proxy_and_context(now);
                proxy.handle_response(&mut cx, context, client, response);
            }
            Some(ClientUse::Ua(used)) => {
                let request = used.request;
                let cancel = if status.is_provisional() { used.provisional() } else { None };
                if status.is_final() {
                    used.finish();
                }
                if self.keeper.owns(request) {
                    let (keeper, mut cx) = self.keeper_and_context(now);
                    return keeper.handle_response(&mut cx, request, &response);
                }
                if self.keep_alive.owns(request) {
                    if status.is_final() {
                        let (keep_alive, mut cx) = self.keep_alive_and_context(now);
                        keep_alive.handle_response(&mut cx, request);
                    }
                    return;
                }
                if self.subscriptions.owns(request) {
                    let (subscriptions, mut cx) = self.subscriptions_and_context(now);
                    return subscriptions.handle_response(&mut cx, request, &response);
                }
                if let Some((invite, reason)) = cancel {
                    self.context(now).send_cancel(client, &invite, reason.as_deref());
                }
                if self.b2bua.owns(request) {
                    let (b2bua, mut cx) = self.b2bua_and_context(now);
                    return b2bua.handle_response(&mut cx, request, &response);
                }
                let (ua, mut cx) = self.ua_and_context(now);
                ua.handle_response(&mut cx, request, &response);
            }
            Some(ClientUse::Cancel) | None => {}
        }
    }

    fn transaction_event(&mut self, now: Instant, event: TransactionEvent) {
        match event {
            TransactionEvent::TimedOut(client) => self.client_failed(now, client, Failure::TimedOut),
            TransactionEvent::RequestNotSent(client) => self.client_failed(now, client, Failure::Transport),
            TransactionEvent::ClientTerminated(client) => {
                if let Some(ClientUse::Ua(used)) = self.core.clients.remove(&client)
                    && self.core.requests.get(&used.request) == Some(&client)
                {
                    self.core.requests.remove(&used.request);
                }
            }
            TransactionEvent::NoAck(server) => self.server_event(now, server, ServerEvent::NoAck),
            TransactionEvent::ResponseNotSent(server) => {
                self.server_event(now, server, ServerEvent::TransportFailed);
            }
            TransactionEvent::Unanswered(_) => {}
            TransactionEvent::ServerTerminated(server) => {
                self.server_event(now, server, ServerEvent::Terminated);
                self.core.servers.remove(&server);
            }
            _ => {}
        }
    }

    fn client_failed(&mut self, now: Instant, client: dialtone_transaction::ClientId, failure: Failure) {
        match self.core.clients.get(&client) {
            Some(ClientUse::Proxy(context)) => {
                let context = *context;
                let status = match failure {
                    Failure::TimedOut => Status::of(408),
                    Failure::BadResponse => Status::of(502),
                    // RFC 3261 §16.9: a transport error is as good as a 503.
                    Failure::Transport | Failure::Unresolvable | Failure::Overload => Status::of(503),
                };
                let (proxy, mut cx) = self.proxy_and_context(now);
                proxy.branch_failed(&mut cx, context, client, status);
            }
            Some(ClientUse::Ua(used)) => {
                let request = used.request;
                self.own_request_failed(now, request, failure);
            }
            Some(ClientUse::Cancel) | None => {}
        }
    }

    /// A request that no other element's request has caused got no answer.
    fn own_request_failed(&mut self, now: Instant, request: UaRequest, failure: Failure) {
        if self.keeper.owns(request) {
            let (keeper, mut cx) = self.keeper_and_context(now);
            return keeper.handle_failure(&mut cx, request, failure);
        }
        if self.keep_alive.owns(request) {
            let (keep_alive, mut cx) = self.keep_alive_and_context(now);
            return keep_alive.handle_failure(&mut cx, request);
        }
        if self.subscriptions.owns(request) {
            let (subscriptions, mut cx) = self.subscriptions_and_context(now);
            return subscriptions.handle_failure(&mut cx, request);
        }
        if self.b2bua.owns(request) {
            let (b2bua, mut cx) = self.b2bua_and_context(now);
            return b2bua.handle_failure(&mut cx, request, failure);
        }
        let (ua, mut cx) = self.ua_and_context(now);
        ua.handle_failure(&mut cx, request, failure);
    }

    fn server_event(&mut self, now: Instant, server: ServerId, event: ServerEvent) {
        match self.core.servers.get(&server).map(|record| record.used_by) {
            Some(ServerUse::Proxy(context)) if event == ServerEvent::Terminated => {
                let (proxy, mut cx) = self.proxy_and_context(now);
                proxy.server_terminated(&mut cx, context);
            }
            Some(ServerUse::Ua) => {
                let (ua, mut cx) = self.ua_and_context(now);
                ua.handle_server_event(&mut cx, server, event);
            }
            Some(ServerUse::B2bua) => {
                let (b2bua, mut cx) = self.b2bua_and_context(now);
                b2bua.handle_server_event(&mut cx, server, event);
            }
            Some(ServerUse::Engine | ServerUse::Proxy(_)) | None => {}
        }
    }
}
