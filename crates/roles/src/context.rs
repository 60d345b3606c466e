//! What a role may do: send, respond, lease ports, tell. It is lent to a role for the time of one call, so that
//! the role itself holds no reference to anything.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dialtone_dialog::Draft;
use dialtone_transaction::{ClientId, ServerId, TransactionLimits, Transactions};
use dialtone_wire::headers::MAGIC_COOKIE;
use dialtone_wire::net::{Flow, Transmit, Transport};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::{Host, Uri, UriBuf};
use dialtone_wire::{HeaderName, Message, Method, Status, Writer};
use foldhash::fast::FixedState;
use smallvec::SmallVec;
use smol_str::{SmolStr, SmolStrBuilder, format_smolstr};

use crate::aliases::Aliases;
use crate::contact_user::ContactUser;
use crate::counters::Counters;
use crate::events::Watched;
use crate::gruu::Key;
use crate::handover::{Handover, Word};
use crate::io::{CallRecord, Event, Found, Lease, MediaCommand, Notice, Output, Query, QueryId};
use crate::leases::Leases;
use crate::location::Location;
use crate::loopback::{self, Loopback};
use crate::proxy::{ContextId, FlowTokens};
use crate::queries::{Queries, Waiting};
use crate::random::{self, Random};
use crate::records::{Pair, Records};
use crate::registrar;
use crate::services::{ServiceTable, Services};
use crate::settings::{Mode, Settings};
use crate::steer::{half_hash, shard_of};
use crate::text::push_address;
use crate::trunks::Trunks;

mod client_use;

pub(crate) use client_use::{ClientUse, UaClient};

/// Calls that one INVITE begins at most, as far as the records follow them: each phone that it rings may answer.
const ANSWERS_MAX: usize = 16;

/// Names one request of our own user agent, from the first sending until its last response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UaRequest(pub(crate) u64);

/// Why a request of ours got no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Timer B or F.
    TimedOut,
    /// The response can't be read.
    BadResponse,
    /// It could not be sent.
    Transport,
    /// Its host has no address.
    Unresolvable,
    /// A limit was reached.
    Overload,
}

/// Why a request of ours can't even be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    /// The URI of the next hop is no SIP URI.
    #[error("the next hop is no sip: URI")]
    Scheme,
    /// We have no address of the family and transport that the next hop needs.
    #[error("no listener reaches the next hop")]
    NoListener,
    /// A limit was reached.
    #[error("a limit was reached")]
    Overload,
}

/// Who answers a server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerUse {
    /// The engine itself, now or when an answer from outside is there.
    Engine,
    /// The proxy: its response context.
    Proxy(ContextId),
    /// The user agent.
    Ua,
    /// The back-to-back user agent.
    B2bua,
}

/// What is known of a server transaction beside the transaction itself.
#[derive(Clone, Debug)]
pub(crate) struct ServerRecord {
    pub(crate) used_by: ServerUse,
    /// Where the request came from, and to which of our addresses.
    pub(crate) flow: Flow,
    /// When it came.
    pub(crate) since: Instant,
    /// How much is remembered of it.
    pub(crate) mode: Mode,
    /// The To tags of the calls that it began, for the records: a 2xx that comes again, after the BYE even, begins none.
    pub(crate) answered: SmallVec<[SmolStr; 1]>,
}

/// What the roles of one shard share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) shard: u16,
    pub(crate) random: Random,
    pub(crate) transactions: Transactions,
    pub(crate) clients: HashMap<ClientId, ClientUse, FixedState>,
    pub(crate) servers: HashMap<ServerId, ServerRecord, FixedState>,
    pub(crate) requests: HashMap<UaRequest, ClientId, FixedState>,
    pub(crate) leases: Leases,
    pub(crate) location: Location,
    /// What the users of this shard chose.
    pub(crate) services: ServiceTable,
    pub(crate) queries: Queries,
    pub(crate) outputs: VecDeque<Output>,
    /// What goes from our back-to-back user agent to our proxy and back, and how much may at once.
    pub(crate) loopback: Loopback,
    pub(crate) loopback_max: usize,
    pub(crate) counters: Counters,
    /// Calls of this shard that others have.
    pub(crate) aliases: Aliases,
    /// How many shards the packet at hand has passed.
    pub(crate) hops: u8,
    /// Flows as tokens, for Record-Routes.
    pub(crate) flows: FlowTokens,
    /// Calls that are followed for their records; `None` for a phone.
    pub(crate) records: Option<Records>,
    /// The trunks, as far as this shard knows of them.
    pub(crate) trunks: Trunks,
    /// Requests of the user agent that failed before they had a transaction, to be told after this call.
    pub(crate) failed: VecDeque<(UaRequest, Failure)>,
    /// Which addresses-of-record of this shard are watched.
    pub(crate) watched: Watched,
    /// Keys the names of contacts for those who watch: the same in all shards.
    pub(crate) reg_key: u64,
    /// Keys the tags of answers that keep no state.
    pub(crate) tag_seed: u64,
    next_request: u64,
}

/// Lent to a role for one call.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) settings: &'a Arc<Settings>,
    pub(crate) core: &'a mut Core,
}

/// Where a request goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hop<'a> {
    /// An address.
    Address(Transport, SocketAddr),
    /// A name that has to be looked up first.
    Name(Transport, &'a str, u16),
}

impl Core {
    pub(crate) fn new(shard: u16, seed: [u8; 32], settings: &Settings) -> Core {
        let mut random = Random::new(seed);
        let limits = transaction_limits(settings);
        let hash_seed = random.next_u64();
        let hasher = FixedState::with_seed(hash_seed);
        // A copy may follow its call to another shard, and gets the same answer there.
        let own_seed = random.next_u64();
        let half = |key: &[u8]| u64::from(half_hash(&settings.secret, key));
        let shared_seed = half(b"stateless tags") << 32 | half(b"tags without state");
        let tag_seed = if settings.shards > 1 { shared_seed } else { own_seed };
        Core {
            shard,
            transactions: Transactions::new(settings.timers, limits, random.next_u64()),
            random,
            clients: HashMap::with_hasher(hasher.clone()),
            servers: HashMap::with_hasher(hasher.clone()),
            requests: HashMap::with_hasher(hasher),
            leases: Leases::default(),
            location: Location::new(hash_seed),
            services: ServiceTable::default(),
            queries: Queries::default(),
            outputs: VecDeque::new(),
            loopback: Loopback::default(),
            loopback_max: loopback_limit(settings),
            counters: Counters::default(),
            aliases: Aliases::default(),
            hops: 0,
            flows: FlowTokens::new(&settings.secret, (settings.unix_start_s & u64::from(u32::MAX)) as u32),
            records: (!settings.domains.is_empty()).then(|| Records::new(hash_seed)),
            trunks: Trunks::new(&settings.secret),
            failed: VecDeque::new(),
            watched: Watched::default(),
            reg_key: u64::from(half_hash(&settings.secret, b"contacts of watched registrations")),
            tag_seed,
            next_request: 0,
        }
    }

    /// A tag for an answer that keeps no state: the same request gets the same one, however often it comes
    /// (RFC 3261 §8.2.7).
    pub(crate) fn stateless_tag(&self, request: &Message) -> SmolStr {
        let mut hasher = FixedState::with_seed(self.tag_seed).build_hasher();
        hasher.write(request.value(HeaderName::CallId).unwrap_or(b""));
        hasher.write(request.value(HeaderName::Via).unwrap_or(b""));
        random::word(hasher.finish())
    }

    /// A BYE was seen: what the records make of it.
    pub(crate) fn record_bye(&mut self, now: Instant, bye: &Message) {
        if let Ok(call_id) = bye.call_id() {
            // Whether the call is followed for its record or not.
            self.trunks.end_call(call_id);
        }
        let record = self.records.as_mut().and_then(|records| records.bye(now, bye));
        self.call_recorded(record);
    }

    pub(crate) fn call_recorded(&mut self, record: Option<CallRecord>) {
        if let Some(record) = record {
            self.trunks.end_call(&record.call_id);
            self.put_record(record);
        }
    }

    /// Tells another shard something about calls that meet.
    pub(crate) fn tell_shard(&mut self, to: u16, word: Word) {
        let notice = Notice::Handover(Handover::new(word));
        self.outputs.push_back(Output::Notice { to, notice });
    }

    /// The dialogs of the call may go on: a trunk has it still.
    fn put_record(&mut self, record: CallRecord) {
        self.counters.call_records += 1;
        self.outputs.push_back(Output::Event(Event::CallRecorded(Box::new(record))));
    }

    pub(crate) fn transmit(&mut self, transmit: Transmit) {
        if !loopback::is_loopback(&transmit.flow) {
            self.outputs.push_back(Output::Transmit(transmit));
        } else if !self.loopback.push(transmit, self.loopback_max) {
            self.counters.overload += 1;
        }
    }
}

/// However few bridges there may be, a call that forks widely has room on the loopback.
const LOOPBACK_MIN: usize = 1_000;

/// How many messages may be on the loopback at once: what each bridge can have to say in one turn.
pub(crate) fn loopback_limit(settings: &Settings) -> usize {
    settings.limits.bridges.saturating_mul(8).max(LOOPBACK_MIN)
}

pub(crate) fn transaction_limits(settings: &Settings) -> TransactionLimits {
    TransactionLimits {
        clients_max: settings.limits.client_transactions,
        servers_max: settings.limits.server_transactions,
        kept_bytes_max: settings.limits.kept_bytes,
    }
}

impl Core {
    /// What is known of a user of this shard: his bindings, and what he wants done with his calls.
    pub(crate) fn find(&self, settings: &Settings, now: Instant, aor: &str) -> Found {
        // RFC 5627 §6.1: "forwarding services … SHOULD NOT be provided for requests sent to a GRUU".
        let services = match Key::read(aor) {
            Key::User(aor) => self.services.effective(&settings.forwarding, aor),
            Key::Device { .. } | Key::Series { .. } => Services::default(),
        };
        Found { bindings: registrar::targets(&self.location, now, aor), services }
    }
}

impl Context<'_> {
    /// A fresh unguessable word.
    pub(crate) fn token(&mut self) -> SmolStr {
        self.core.random.token()
    }

    /// A Call-ID for requests of our own, so that their responses come back to this shard.
    pub(crate) fn home_call_id(&mut self) -> SmolStr {
        // Each has one chance in as many as there are shards; that none of so many fits does not happen.
        let tries = 64 * u32::from(self.settings.shards.max(1));
        let is_home = |call_id: &SmolStr| shard_of(self.settings, call_id.as_bytes()) == self.core.shard;
        let random = &mut self.core.random;
        (0..tries).map(|_| random.token()).find(is_home).unwrap_or_else(|| random.token())
    }

    /// Notes that another shard has a call, or a slot; `false`, and counted, when too many are elsewhere.
    pub(crate) fn alias(&mut self, name: &str, owner: u16, moves: u8, time: Duration) -> bool {
        let limit = self.settings.limits.aliases;
        let is_noted = self.core.aliases.set(name, owner, moves, self.now + time, limit);
        self.core.counters.aliases_full += u64::from(!is_noted);
        is_noted
    }

    /// The shard whose keys a name belongs to; `None` when it is this one.
    pub(crate) fn home_elsewhere(&self, name: &str) -> Option<u16> {
        let home = shard_of(self.settings, name.as_bytes());
        (home != self.core.shard).then_some(home)
    }

    /// 64 random bits.
    pub(crate) fn random_u64(&mut self) -> u64 {
        self.core.random.next_u64()
    }

    /// A name for a request that is about to be sent.
    pub(crate) fn next_request(&mut self) -> UaRequest {
        self.core.next_request += 1;
        UaRequest(self.core.next_request)
    }

    /// Sends a request of the user agent; see ARCHITECTURE.md, "The walk of one INVITE".
    ///
    /// # Errors
    /// When it can't be tried at all; later failures come back through the user agent.
    pub(crate) fn send(
        &mut self,
        request: UaRequest,
        draft: &Draft,
        contact_user: Option<&ContactUser>,
    ) -> Result<(), SendError> {
        match hop_of(draft.next_hop())? {
            Hop::Address(transport, remote) => {
                let flow = self.flow_to(transport, remote, None).ok_or(SendError::NoListener)?;
                self.send_on(request, draft, contact_user, flow)
            }
            Hop::Name(transport, host, port) => {
                let waiting = Waiting::UaSend {
                    request,
                    draft: Box::new(draft.clone()),
                    contact_user: contact_user.cloned(),
                    transport,
                    port,
                };
                self.ask(Query::Resolve { host: SmolStr::new(host) }, waiting)
                    .map(|_| ())
                    .ok_or(SendError::Overload)
            }
        }
    }

    /// Sends a request whose flow is known: here the Via and the Contact are written.
    pub(crate) fn send_on(
        &mut self,
        request: UaRequest,
        draft: &Draft,
        contact_user: Option<&ContactUser>,
        flow: Flow,
    ) -> Result<(), SendError> {
        let branch = self.branch_on(&flow);
        // RFC 5627 §4.2: what is registered is never a GRUU.
        let is_bare = *draft.method() == Method::Register;
        let contact = contact_user.map(|user| match is_bare {
            true => self.address_for(&flow, user.name(), ""),
            false => self.contact_of(&flow, user),
        });
        let bytes = draft.write(&via_value(&flow, &branch), contact.as_deref());
        let client = self
            .core
            .transactions
            .send_request(self.now, flow, draft.method(), &branch, bytes.clone())
            .map_err(|_| SendError::Overload)?;
        if *draft.method() == Method::Bye
            && let Ok(bye) = Message::parse(bytes.clone(), &self.settings.limits.message)
        {
            self.core.record_bye(self.now, &bye);
        }
        let invite = (*draft.method() == Method::Invite).then_some(bytes);
        self.core.clients.insert(client, ClientUse::Ua(UaClient::new(request, invite)));
        self.core.requests.insert(request, client);
        Ok(())
    }

    /// Cancels an INVITE of the user agent (RFC 3261 §9.1): at once when a provisional response has come, else
    /// when the first one comes. Nothing happens once it has its final response.
    pub(crate) fn cancel(&mut self, request: UaRequest, reason: Option<&str>) {
        let Some(&client) = self.core.requests.get(&request) else { return };
        if let Some(ClientUse::Ua(used)) = self.core.clients.get_mut(&client)
            && let Some(invite) = used.ask_cancel(reason)
        {
            self.send_cancel(client, &invite, reason);
        }
    }

    /// Gives up a request whatever its transaction does: no response to it comes up any more.
    pub(crate) fn abandon(&mut self, request: UaRequest) {
        if let Some(client) = self.core.requests.remove(&request) {
            self.core.clients.remove(&client);
            self.core.transactions.abandon_client(client);
        }
    }

    /// Sends the CANCEL for an INVITE as it was sent, on the flow of that INVITE.
    pub(crate) fn send_cancel(&mut self, client: ClientId, invite: &bytes::Bytes, reason: Option<&str>) {
        let Some(flow) = self.core.transactions.client_flow(client) else { return };
        let Some((branch, cancel)) = client_use::cancel_of(invite, reason) else { return };
        let sent = self.core.transactions.send_request(self.now, flow, &Method::Cancel, &branch, cancel);
        if let Ok(cancel) = sent {
            self.core.clients.insert(cancel, ClientUse::Cancel);
        }
    }

    /// Sends the ACK for a 2xx, which has no transaction (RFC 3261 §13.2.2.4), and returns it to be kept. `None` when
    /// the next hop is a name: the user agent is told once it is found, with the INVITE and the tag of the 2xx.
    ///
    /// # Errors
    /// As [`Context::send`].
    pub(crate) fn send_ack(
        &mut self,
        invite: UaRequest,
        tag: &str,
        draft: &Draft,
    ) -> Result<Option<Transmit>, SendError> {
        match hop_of(draft.next_hop())? {
            Hop::Address(transport, remote) => {
                let flow = self.flow_to(transport, remote, None).ok_or(SendError::NoListener)?;
                Ok(Some(self.send_ack_on(draft, flow)))
            }
            Hop::Name(transport, host, port) => {
                let (draft, tag) = (Box::new(draft.clone()), SmolStr::new(tag));
                let waiting = Waiting::UaAck { invite, tag, draft, transport, port };
                let asked = self.ask(Query::Resolve { host: SmolStr::new(host) }, waiting);
                asked.map(|_| None).ok_or(SendError::Overload)
            }
        }
    }

    /// Sends the ACK for a 2xx over a flow.
    pub(crate) fn send_ack_on(&mut self, draft: &Draft, flow: Flow) -> Transmit {
        let branch = self.branch_on(&flow);
        let transmit = Transmit { flow, bytes: draft.write(&via_value(&flow, &branch), None) };
        self.transmit(transmit.clone());
        transmit
    }

    /// Sends bytes that were built before.
    pub(crate) fn transmit(&mut self, transmit: Transmit) {
        self.core.transmit(transmit);
    }

    /// Responds to the request of a server transaction. `None` when the transaction is gone.
    pub(crate) fn respond(
        &mut self,
        server: ServerId,
        request: &Message,
        status: Status,
        to_tag: Option<&str>,
        extra: impl FnOnce(&mut Writer),
        body: Option<(&str, &[u8])>,
    ) -> Option<Transmit> {
        let record = self.core.servers.get(&server)?;
        let mut writer = Writer::response_to(request, status, record.flow.remote, to_tag);
        extra(&mut writer);
        let bytes = match body {
            Some((content_type, body)) => writer.finish_with(content_type, body),
            None => writer.finish(),
        };
        let flow = self.core.transactions.server_flow(server)?;
        self.core.transactions.respond(self.now, server, status, bytes.clone()).ok()?;
        self.record_answer(server, request, status, to_tag);
        Some(Transmit { flow, bytes })
    }

    /// Responds with a reason phrase of its own (RFC 3261 §7.2).
    pub(crate) fn respond_saying(
        &mut self,
        server: ServerId,
        request: &Message,
        status: Status,
        reason: &str,
        to_tag: &str,
        contact: &str,
    ) {
        let Some(record) = self.core.servers.get(&server) else { return };
        let mut writer = Writer::response_saying(request, status, reason, record.flow.remote, Some(to_tag));
        writer.copy(request, HeaderName::RecordRoute).text(HeaderName::Contact, contact);
        // A transaction that is gone needs no answer any more.
        let _ = self.core.transactions.respond(self.now, server, status, writer.finish());
    }

    /// A response to an INVITE went back: what the records make of it.
    pub(crate) fn record_answer(
        &mut self,
        server: ServerId,
        request: &Message,
        status: Status,
        to_tag: Option<&str>,
    ) {
        if status.is_provisional() || request.method() != Some(&Method::Invite) {
            return;
        }
        let followed = self
            .core
            .servers
            .get_mut(&server)
            .filter(|record| matches!(record.mode, Mode::Call | Mode::B2bua));
        let Some(ServerRecord { since, used_by, answered, .. }) = followed else { return };
        let tag = to_tag.unwrap_or_default();
        if status.is_success() {
            if answered.len() >= ANSWERS_MAX || answered.iter().any(|known| known == tag) {
                return;
            }
            answered.push(SmolStr::new(tag));
        }
        let (since, is_own) = (*since, matches!(used_by, ServerUse::Ua | ServerUse::B2bua));
        let records = self.core.records.as_mut();
        let record =
            records.and_then(|records| records.answered(self.now, since, request, status, to_tag, is_own));
        self.core.call_recorded(record);
    }

    /// Two sides of calls of ours are one call from now on: what the records make of it.
    pub(crate) fn record_pair(&mut self, pair: Pair<'_>) {
        let now = self.now;
        let gone = self.core.records.as_mut().map(|records| records.joined(now, pair));
        gone.into_iter().flatten().for_each(|record| self.core.put_record(record));
    }

    /// A call that we wanted to make for somebody was refused.
    pub(crate) fn record_failed(
        &mut self,
        started: Instant,
        call_id: &str,
        parties: [&str; 2],
        status: Status,
    ) {
        if self.core.records.is_some() {
            let record = Records::failed(self.now, started, call_id, parties, status);
            self.core.put_record(record);
        }
    }

    /// A 2xx to an INVITE or UPDATE went back: the session of its call runs out after this time, or never.
    pub(crate) fn record_session(&mut self, request: &Message, to_tag: Option<&str>, seconds: Option<u32>) {
        let session_end = seconds.map(|seconds| self.now + Duration::from_secs(seconds.into()));
        if matches!(request.method(), Some(Method::Invite | Method::Update))
            && let Some(records) = &mut self.core.records
        {
            records.refreshed(request, to_tag, session_end);
        }
    }

    /// Responds once and forgets the transaction: nothing is kept and nothing sent again. For those who have proven
    /// nothing yet.
    pub(crate) fn respond_and_forget(
        &mut self,
        server: ServerId,
        request: &Message,
        status: Status,
        extra: impl FnOnce(&mut Writer),
    ) {
        let tag = self.core.stateless_tag(request);
        let record = self.core.servers.remove(&server);
        if let (Some(record), Some(flow)) = (record, self.core.transactions.server_flow(server)) {
            let mut writer = Writer::response_to(request, status, record.flow.remote, Some(&tag));
            extra(&mut writer);
            self.transmit(Transmit { flow, bytes: writer.finish() });
        }
        self.core.transactions.abandon_server(server);
    }

    /// The flow to a peer: from the listener that it can reach.
    pub(crate) fn flow_to(
        &self,
        transport: Transport,
        remote: SocketAddr,
        preferred: Option<SocketAddr>,
    ) -> Option<Flow> {
        let listener = self.settings.listener_for(transport, remote.ip(), preferred)?;
        Some(Flow { transport, local: listener.address, remote, connection: None })
    }

    /// The address of ours that the next hop can reach, for SDP.
    pub(crate) fn local_ip_for(&self, next_hop: &UriBuf) -> Option<IpAddr> {
        let Ok(Hop::Address(transport, remote)) = hop_of(next_hop) else {
            return self.settings.listeners.first().map(|listener| listener.address.ip());
        };
        self.settings.listener_for(transport, remote.ip(), None).map(|listener| listener.address.ip())
    }

    /// Our Contact on a flow.
    pub(crate) fn contact_for(&self, flow: &Flow, user: &str) -> String {
        let gruu = if self.settings.transfer.self_made_gruu { ";gr" } else { "" };
        self.address_for(flow, user, gruu)
    }

    /// Our address on a flow.
    fn address_for(&self, flow: &Flow, user: &str, gruu: &str) -> String {
        let user = dialtone_wire::uri::escape_user(user);
        let transport = transport_param(flow.transport);
        format!("<sip:{user}@{}{transport}{gruu}>", flow.local)
    }

    /// Our Contact on a flow, with its parameters.
    pub(crate) fn contact_of(&self, flow: &Flow, user: &ContactUser) -> String {
        let mut contact = self.contact_for(flow, user.name());
        contact.push_str(user.params());
        contact
    }

    /// Ports for one audio stream on a local address; `None` when none are ready.
    pub(crate) fn lease(&mut self, ip: IpAddr) -> Option<Lease> {
        let lease = self.core.leases.take(ip);
        if let Some(command) = self.core.leases.wanted(ip, self.settings.limits.leases_ready) {
            self.media(command);
        }
        lease
    }

    /// Tells the media plane.
    pub(crate) fn media(&mut self, command: MediaCommand) {
        self.core.outputs.push_back(Output::Media(command));
    }

    /// Tells whoever watches.
    pub(crate) fn event(&mut self, event: Event) {
        self.core.outputs.push_back(Output::Event(event));
    }

    /// Asks the world outside. `None` when too many questions wait.
    pub(crate) fn ask(&mut self, query: Query, waiting: Waiting) -> Option<QueryId> {
        let id = self.wait(waiting)?;
        self.core.outputs.push_back(Output::Query(id, query));
        Some(id)
    }

    /// Puts something aside until an answer comes or its time is over. `None` when too many things wait.
    pub(crate) fn wait(&mut self, waiting: Waiting) -> Option<QueryId> {
        let limits = &self.settings.limits;
        let id = self.core.queries.add(self.now + limits.query_time, waiting, limits.queries)?;
        self.core.counters.queries += 1;
        Some(id)
    }

    fn branch_on(&mut self, flow: &Flow) -> SmolStr {
        let branch = self.branch();
        if loopback::is_loopback(flow) { format_smolstr!("{branch}{}", loopback::MARK) } else { branch }
    }

    /// A branch that no other request has.
    pub(crate) fn branch(&mut self) -> SmolStr {
        let mut branch = SmolStrBuilder::new();
        branch.push_str(MAGIC_COOKIE);
        branch.push_str(&self.core.random.token());
        branch.finish()
    }
}

/// Our Via on a flow.
pub(crate) fn via_value(flow: &Flow, branch: &str) -> String {
    let mut value = String::with_capacity(96);
    value.push_str("SIP/2.0/");
    value.push_str(flow.transport.token());
    value.push(' ');
    push_address(&mut value, flow.local);
    value.push_str(";rport;branch=");
    value.push_str(branch);
    value
}

/// The `transport` parameter that a URI needs for all but UDP.
pub(crate) fn transport_param(transport: Transport) -> String {
    match transport {
        Transport::Udp => String::new(),
        other => format!(";transport={}", other.token().to_ascii_lowercase()),
    }
}

/// Where a SIP URI says that its request goes.
///
/// # Errors
/// [`SendError::Scheme`] for URIs that are no `sip:`.
pub(crate) fn hop_of(uri: &UriBuf) -> Result<Hop<'_>, SendError> {
    let Uri::Sip(sip) = uri.uri() else { return Err(SendError::Scheme) };
    let transport = sip.transport().unwrap_or(if sip.secure { Transport::Tls } else { Transport::Udp });
    let port = sip.port_or_default();
    Ok(match sip.host {
        Host::Ip(ip) => Hop::Address(transport, SocketAddr::new(ip, port)),
        Host::Name(name) => Hop::Name(transport, name, port),
    })
}
