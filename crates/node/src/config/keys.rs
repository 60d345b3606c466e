//! The one table of all keys.

use std::ops::RangeInclusive;
use std::time::Duration;

use dialtone_roles::services::NO_ANSWER_AFTER;
use dialtone_roles::settings::dial_plan::{
    Ambiguous, CallerPattern, Days, DomainPattern, Hours, Pattern, Zone,
};
use dialtone_roles::settings::{
    BridgeSettings, CallSettings, DigestSettings, Foreign, GuessSettings, Integrity, KeepAliveContacts,
    KeepAliveSettings, Mode, ProxySettings, RegistrarSettings, SessionSettings, Strategy, TrunkFrom,
};

use crate::listen::ListenAddress;

use super::address::{HostName, HttpListen, NextHop, UserName};
use super::dial_plan::{
    Announcement, ContactValue, CountryCode, Label, OneOrMore, Prefix, To, UnknownUser, UserAt, Words,
};
use super::forwarding::{Code, DoNotDisturb, ForwardTarget, UserAddress};
use super::group::{Callee, MemberEntry};
use super::media::{BodyType, MediaKindName};
use super::route::{MusicUri, RouteUri};
use super::table::{Table, tables};
use super::trunks::{CallerIds, NumberMap, ServerUri, ServerUris, ShownNumber, TrunkName, TrunkUser};
use super::value::{AskedMethod, Extension, FilePath, LogFormat, LogLevel, Required, Setting, Size};

/// What a running server does with a changed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A reload takes it.
    Reload,
    /// It counts from the next start on.
    Restart,
}

/// What is to be known about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name within its table.
    pub name: &'static str,
    /// The name with its table.
    pub path: &'static str,
    /// What it means, one paragraph.
    pub doc: String,
    /// The type of its value.
    pub kind: String,
    /// The default, as TOML.
    pub default: String,
    /// A right value, as TOML, of a key that has no default.
    pub example: String,
    /// Whether the key may be left out although it has no default.
    pub optional: bool,
    /// Limits or choices; empty where there are none.
    pub limits: String,
    /// Whether a reload takes it.
    pub change: Change,
}

/// What is to be known about one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name.
    pub name: &'static str,
    /// How often it may stand, as `[[name]]`; `None` if it stands once, as `[name]`.
    pub entries_max: Option<usize>,
    /// What it is about.
    pub doc: String,
    /// Its keys in the order of the manual.
    pub keys: Vec<KeyInfo>,
}

impl TableInfo {
    /// Whether it may stand several times.
    pub fn repeats(&self) -> bool {
        self.entries_max.is_some()
    }

    /// Its name in brackets, as it stands in the file.
    pub fn header(&self) -> String {
        if self.repeats() { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }
}

/// Entries of `[[forward]]`.
pub(super) const FORWARDS_MAX: usize = 10_000;
/// Entries of `[[trunk]]`.
pub(super) const TRUNKS_MAX: usize = 256;
/// Entries of `[[domain]]`.
pub(super) const DOMAINS_MAX: usize = 256;
/// Entries of `[[rule]]`.
const RULES_MAX: usize = 1_000;
/// Entries of `[[alias]]`.
const ALIASES_MAX: usize = 10_000;

/// Entries of `[[group]]`.
pub(super) const GROUPS_MAX: usize = 1_000;

const fn ms(least: u64, most: u64) -> RangeInclusive<Duration> {
    Duration::from_millis(least)..=Duration::from_millis(most)
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn roles() -> dialtone_roles::settings::Limits {
    dialtone_roles::settings::Limits::default()
}

fn forwarding() -> dialtone_roles::settings::ForwardingSettings {
    dialtone_roles::settings::ForwardingSettings::default()
}

fn count(value: usize) -> u64 {
    value as u64
}

tables! {
    /// The server as a whole.
    "server", server: Server {
        /// Where SIP is received. Empty: UDP and TCP port 5060 of the loopback and of each private address, with
        /// `public` of all addresses. `0.0.0.0` and `[::]` stand for all addresses of their family, port 0 for any
        /// free port, which is printed. `--listen` on the command line replaces this list.
        listen: Vec<ListenAddress> = Vec::new(), (), Restart;
        /// Whether addresses may be listened on that can be reached from outside of this machine and its private
        /// networks.
        public: bool = false, (), Restart;
        /// How many threads share the SIP work. One carries thousands of calls a second.
        shards: u64 = 1, 1..=64, Restart;
        /// How long a server that was asked to stop takes for the calls that still run.
        drain: Duration = Duration::from_secs(30), ms(0, HOUR), Reload;
        /// Whether a UDP message that is longer than its Content-Length says is read to its end. RFC 3261 §18.3 has the
        /// rest thrown away, which cuts the session descriptions of phones that count wrong.
        lenient: bool = false, (), Reload;
    }
    /// Digest authentication (RFC 7616, RFC 8760).
    "digest", digest: Digest {
        /// Whether requests of users need a password. `false` is for tests and closed networks: everybody can be
        /// anybody.
        required: bool = true, (), Reload;
        /// How long a challenge is good; a phone that answers later is asked again, without a word to its user.
        nonce_life: Duration = DigestSettings::default().nonce_life, ms(10 * SECOND, DAY), Restart;
        /// Challenges whose use each shard follows, against replayed answers.
        nonces_max: u64 = count(DigestSettings::default().nonces_max), 1_024..=16_777_216, Restart;
        /// Whether a challenge can be answered only from the address that it was sent to (of IPv6, its network of 64
        /// bits). It keeps others from holding a user off in the name of his address; RFC 7616 §3.3 warns of clients
        /// whose requests come by different addresses, which would be asked again each time.
        bind_nonce: bool = false, (), Restart;
        /// Whether passwords protect the bodies of requests too (`qop=auth-int`). `off`: they never do, and a body that
        /// somebody changes on its way passes. `offered`: the phone chooses. `required`: a changed body is refused
        /// with 401 or 407, and phones that can't do it are kept out.
        integrity: Integrity = Integrity::Offered, (), Restart;
        /// Methods that need no password outside of calls. ACK and CANCEL never need one; REGISTER, and what leads out of
        /// our domains or over a trunk, always does.
        free_methods: Vec<AskedMethod> = Vec::new(), (), Reload;
        /// Methods that need a password within calls and subscriptions too, if From names a user of ours: `["BYE"]`,
        /// say. Usually who began a dialog has shown a password, and the route through this server is known to nobody
        /// else.
        dialog_methods: Vec<AskedMethod> = Vec::new(), (), Reload;
    }
    /// Who guesses passwords is held off: answered 403 with Retry-After, without a look at the password. Phones of real
    /// users behind the same address go on.
    "guesses", guesses: Guesses {
        /// Wrong passwords of one user from one address (of IPv6, a network of 64 bits) within `window`, until both
        /// together are held off. 0: never. Each shard counts for itself, but whom one holds off, all do.
        failures: u64 = u64::from(GuessSettings::default().failures), 0..=1_000_000, Reload;
        /// The same from one address, whoever the user; four times as many where somebody has shown a right password
        /// within a day. 0: never.
        source_failures: u64 = u64::from(GuessSettings::default().source_failures), 0..=1_000_000, Reload;
        /// The time in which they are counted.
        window: Duration = GuessSettings::default().window, ms(SECOND, DAY), Reload;
        /// How long somebody is held off the first time. Each wrong password after that doubles it.
        hold: Duration = GuessSettings::default().hold, ms(SECOND, DAY), Reload;
        /// How long at most.
        hold_max: Duration = GuessSettings::default().hold_max, ms(SECOND, 30 * DAY), Reload;
        /// Users and addresses whose failures each shard remembers.
        entries: u64 = count(GuessSettings::default().entries_max), 100..=16_777_216, Reload;
    }
    /// The registrar (RFC 3261 §10).
    "registrar", registrar: Registrar {
        /// Shorter registrations are refused with 423 and this time.
        expires_min: Duration = seconds(RegistrarSettings::default().expires_min_s), ms(SECOND, DAY), Reload;
        /// For phones that ask for no time.
        expires_default: Duration =
            seconds(RegistrarSettings::default().expires_default_s), ms(SECOND, 30 * DAY), Reload;
        /// Longer registrations are cut to this.
        expires_max: Duration =
            seconds(RegistrarSettings::default().expires_max_s), ms(SECOND, 30 * DAY), Reload;
        /// Phones that one address-of-record can be registered from at the same time.
        bindings_per_aor: u64 = count(RegistrarSettings::default().bindings_per_aor), 1..=100, Reload;
        /// Bytes of one registration: its Contact with all parameters, its Path and its Call-ID. What is longer is
        /// refused with 403.
        binding_bytes: u64 = count(RegistrarSettings::default().binding_bytes), 256..=65_536, Reload;
        /// Whether a Path is taken too where the phone does not say `Supported: path`. RFC 3327 §5.3 recommends to
        /// refuse it with 420: somebody on the way has put it in unasked.
        path_unasked: bool = RegistrarSettings::default().path_unasked, (), Reload;
        /// How often phones that keep their flow open (RFC 5626) are told to show that it is alive (Flow-Timer). `"0s"`
        /// leaves it to the phone.
        flow_timer: Duration = seconds(RegistrarSettings::default().flow_timer_s), ms(0, DAY), Reload;
        /// Extensions that a phone must support (`Supported`, or `Require`) to be registered. Others get 421, which names
        /// what they lack.
        requires: Vec<Extension> = Vec::new(), (), Reload;
    }
    /// OPTIONS to registered phones: it keeps the way to those behind a NAT open, and shows who is not there any more.
    "keep_alive", keep_alive: KeepAlive {
        /// Who is asked: phones behind a NAT over UDP that keep no flow open themselves (RFC 5626), all that the server
        /// reaches without an edge, or nobody.
        contacts: KeepAliveContacts = KeepAliveSettings::default().contacts, (), Reload;
        /// How often. Many NATs forget a UDP binding after 30 seconds.
        interval: Duration = KeepAliveSettings::default().interval, ms(SECOND, DAY), Reload;
        /// How many phones each shard asks in one second at most.
        per_second: u64 = u64::from(KeepAliveSettings::default().per_second), 100..=100_000, Reload;
    }
    /// The proxy (RFC 3261 §16).
    "proxy", proxy: Proxy {
        /// What happens to requests for domains that are not ours: refused with 403, forwarded for users of ours, or
        /// forwarded for everybody (for closed networks).
        foreign: Foreign = Foreign::Refuse, (), Reload;
        /// Timer C: how long a called phone may ring. RFC 3261 §16.6 wants more than 3 minutes.
        timer_c: Duration = Duration::from_secs(181), ms(181 * SECOND, DAY), Reload;
        /// How long the phones of a user ring to which he gave a higher `q` than to others, before the others ring. Those
        /// with the same `q` ring together; phones that give none have the highest.
        stage_ring: Duration = ProxySettings::default().stage_ring, ms(SECOND, HOUR), Reload;
        /// Whether a call that a phone sends elsewhere (3xx) goes on there by itself. To foreign domains it goes only
        /// where `foreign` lets users of ours call; what is not followed is told to the caller, as all of it is with
        /// `false`.
        recurse: bool = ProxySettings::default().recurse, (), Reload;
    }
    /// What dialled numbers mean. Where they lead say the rules, `[[rule]]`, and `[[alias]]`: see
    /// [the dial plan](dial-plan.md).
    "dial_plan", dial_plan: DialPlan {
        /// The time zone of rules that name none.
        zone: Zone = Zone::UTC, (), Reload;
        /// The country code. With it, numbers are brought into international form before they are compared with
        /// patterns that begin with `+`.
        country: Option<CountryCode> = None, (), Reload;
        /// What is dialled before a number of the own country.
        national: Prefix = Prefix("0".into()), (), Reload;
        /// What is dialled before a country code.
        international: Prefix = Prefix("00".into()), (), Reload;
        /// The answer for a user that nobody knows. `604` says that no other server knows him either.
        unknown_user: UnknownUser = UnknownUser::NotFound, (), Reload;
        /// The answer for a name that is an alias of several users; with contacts, it tells who they are.
        ambiguous: Ambiguous = Ambiguous::Bare, (), Reload;
    }
    /// Calls that the proxy follows, those of domains with `mode = "call"` (RFC 4028 §8).
    "calls", calls: Calls {
        /// The session interval that is asked for where nobody else does, and to which longer ones are cut: when no
        /// phone refreshes a session within it, the call counts as over. `"0s"` asks for none and watches those that the
        /// phones agree on.
        session_expires: Duration = Duration::ZERO, ms(0, DAY), Reload;
        /// Shorter session intervals are refused with 422 and this one.
        session_expires_min: Duration = seconds(CallSettings::default().session_min_s), ms(90 * SECOND, DAY), Reload;
    }
    /// The server's own calls, those of its robots: how long a session may go on without a sign of life of the other side
    /// (RFC 4028), and provisional responses. `dialtone phone` and `dialtone call` have the defaults.
    "session", session: Session {
        /// The session interval that is asked for, and to which longer ones are cut; half of it later the session is
        /// refreshed. `"0s"` asks for none, and takes part where the other side asks.
        expires: Duration = seconds(SessionSettings::default().timer_s.unwrap_or_default()), ms(0, DAY), Reload;
        /// Shorter intervals are refused with 422 and this one.
        expires_min: Duration = seconds(SessionSettings::default().timer_min_s), ms(90 * SECOND, DAY), Reload;
        /// Whether callers who know reliable provisional responses get them (RFC 3262); those who require them always
        /// do.
        reliable_ringing: bool = SessionSettings::default().reliable_ringing, (), Reload;
    }
    /// The back-to-back user agent: calls of domains and rules with `mode = "b2bua"`.
    "b2bua", b2bua: B2bua {
        /// The kinds of media that pass from one phone to the other, as `m=` lines name them. A stream of another kind is
        /// refused, and the call goes on without it.
        media: Vec<MediaKindName> = MediaKindName::all(), (), Reload;
        /// The types of parts that pass beside the session description, where a body has several (RFC 5621): `"type/subtype"`,
        /// `"type/*"` or `"*/*"`. A part of another type is left out where its handling is optional, else the request is refused
        /// with 415. `message/sip`, a whole message of the other side, passes only where it is named.
        parts: Vec<BodyType> = BodyType::all(), (), Reload;
        /// The session interval that the server asks each side for where `calls.session_expires` asks for none, and to which
        /// longer ones are cut (RFC 4028). A side that nobody is at any more is found within it, and the other one gets a
        /// BYE. `"0s"` asks for none.
        session_expires: Duration = seconds(BridgeSettings::default().session_s.unwrap_or_default()), ms(0, DAY), Reload;
        /// Whether the server acts on REFER itself, for phones that can't; else it passes to the other phone. Those of
        /// people behind a trunk or in another domain pass always.
        transfers: bool = BridgeSettings::default().transfers, (), Reload;
        /// Who has transferred a call and does not hang up gets a BYE after this time.
        transferor_time: Duration = BridgeSettings::default().release_after, ms(100, HOUR), Reload;
        /// A parked call that nobody fetches within this time goes back to who has parked it.
        park_time: Duration = BridgeSettings::default().park_time, ms(SECOND, DAY), Reload;
        /// Who is called to play music to those who are held or whose calls are parked: a user of this server, or whom else
        /// the dial plan lets the one call who holds or has parked. Without it they hear what the phone that holds sends, and
        /// nothing where a call is parked.
        music: Option<MusicUri> = None, (), Reload;
    }
    /// The timers of transactions (RFC 3261 §17, Table 4). A change counts for those that start later.
    "timers", timers: Timers {
        /// T1, the estimate of the round-trip time: the first retransmission comes after it, giving up after 64 of it.
        t1: Duration = dialtone_roles::settings::Timers::default().t1(), ms(10, MINUTE), Reload;
        /// T2, the longest time between retransmissions.
        t2: Duration = dialtone_roles::settings::Timers::default().t2(), ms(10, HOUR), Reload;
        /// T4, the longest time that a message stays in the network.
        t4: Duration = dialtone_roles::settings::Timers::default().t4(), ms(10, HOUR), Reload;
    }
    /// What one shard holds at most. What comes when a limit is reached is refused and counted.
    "limits", limits: Limits {
        /// Bytes of one message.
        message_bytes: Size = Size(count(roles().message.message_bytes)), Size(KIB)..=Size(16 * MIB), Restart;
        /// Header lines of one message.
        headers: u64 = count(roles().message.headers), 32..=10_000, Reload;
        /// Via values of one message: how many proxies it may have come through.
        vias: u64 = count(roles().message.vias), 2..=255, Reload;
        /// Bytes of a Request-URI: a request with a longer one gets 414.
        uri_bytes: Size = Size(count(roles().message.uri_bytes)), Size(128)..=Size(64 * KIB), Reload;
        /// Bytes of the bodies that the server itself reads, those of calls to robots: a longer one gets 413.
        body_bytes: Size = Size(count(roles().body_bytes)), Size(KIB)..=Size(MIB), Reload;
        /// Server transactions.
        server_transactions: u64 = count(roles().server_transactions), 100..=100_000_000, Reload;
        /// Client transactions.
        client_transactions: u64 = count(roles().client_transactions), 100..=100_000_000, Reload;
        /// Bytes of the messages that are kept for retransmission and forwarding.
        kept_bytes: Size = Size(count(roles().kept_bytes)), Size(16 * MIB)..=Size(1_024 * GIB), Reload;
        /// Requests that wait for an answer of the store or of DNS.
        queries: u64 = count(roles().queries), 100..=100_000_000, Reload;
        /// How long they wait.
        query_time: Duration = roles().query_time, ms(100, MINUTE), Reload;
        /// Requests that are being forwarded.
        proxy_contexts: u64 = count(roles().proxy_contexts), 100..=100_000_000, Reload;
        /// Places that one request is forwarded to.
        branches: u64 = count(roles().branches), 1..=100, Reload;
        /// Destinations that are tried for one request: members of ring groups, forwards.
        legs: u64 = count(roles().legs), 1..=1_000, Reload;
        /// How many ring groups and forwards may lead to one of them.
        leg_depth: u64 = count(roles().leg_depth), 1..=100, Reload;
        /// Calls in which the server itself takes part, those of robots.
        calls: u64 = count(roles().calls), 1..=1_000_000, Reload;
        /// Calls that go through the back-to-back user agent: one more gets 480.
        bridges: u64 = count(roles().bridges), 1..=10_000_000, Reload;
        /// Requests of one side of such a call that wait for the answer of the other: one more gets 500.
        bridge_requests: u64 = count(roles().bridge_requests), 1..=1_000, Reload;
        /// How often one call may be transferred by the server: one more gets 483.
        transfers: u64 = u64::from(roles().transfers), 0..=1_000, Reload;
        /// Callers who wait in queues: one more gets the refusal.
        queued: u64 = count(roles().queued), 0..=1_000_000, Reload;
        /// Calls that are parked: one more is not, and goes back.
        parked: u64 = count(roles().parked), 0..=1_000_000, Reload;
        /// Calls at a time that `dialtone dial` has asked for, and those whose end is remembered.
        dials: u64 = count(roles().dials), 0..=10_000, Reload;
        /// Calls, and slots of parked ones, that went from one shard to another since they met a call there; one more INVITE
        /// for that gets 480, one more transfer 500.
        aliases: u64 = count(roles().aliases), 0..=1_000_000, Reload;
        /// Users who have chosen services by star code or command.
        services: u64 = count(roles().services), 0..=1_000_000_000, Reload;
        /// Subscriptions of those who watch a registration; one more is refused with 503.
        subscriptions: u64 = count(roles().subscriptions), 0..=100_000_000, Reload;
        /// Of the registration of one user; one more is refused with 403.
        subscriptions_per_aor: u64 = count(roles().subscriptions_per_aor), 0..=100_000, Reload;
        /// Registered phones.
        bindings: u64 = count(roles().bindings), 100..=1_000_000_000, Reload;
        /// Media ports kept ready for the next calls at each local address.
        leases_ready: u64 = u64::from(roles().leases_ready), 1..=1_000, Reload;
    }
    /// How calls are forwarded. Who forwards what stands in `[[forward]]`, and users change it by star code.
    "forwarding", forwarding: Forwarding {
        /// How long a user's phones ring before a call counts as not answered, for users who chose no time.
        no_answer_after: Duration = forwarding().no_answer_after, NO_ANSWER_AFTER, Reload;
        /// How often one call may be forwarded, before it came here and here. One more is refused with 480.
        forwards_max: u64 = count(forwarding().forwards_max), 0..=20, Reload;
        /// Whether forwarded calls say for whom they were in History-Info (RFC 7044).
        history_info: bool = forwarding().history_info, (), Reload;
        /// Whether forwarded calls say who forwarded them in Diversion (RFC 5806).
        diversion: bool = forwarding().diversion, (), Reload;
        /// Whether the caller is told of each forwarding (181 Call Is Being Forwarded).
        tell_caller: bool = forwarding().tell_caller, (), Reload;
    }
    /// Star codes: what users dial to change what is done with their own calls. An empty text is no code.
    "star_codes", star_codes: StarCodeTable {
        /// Whether there are any.
        enabled: bool = true, (), Reload;
        /// Forwards each call to the number behind the code.
        always: Code = Code::new("*72"), (), Reload;
        /// Does so no longer.
        always_off: Code = Code::new("*73"), (), Reload;
        /// Forwards calls to the number behind the code while the user is busy.
        busy: Code = Code::new("*90"), (), Reload;
        /// Does so no longer.
        busy_off: Code = Code::new("*91"), (), Reload;
        /// Forwards calls that are not answered to the number behind the code; `*` and a number of seconds behind that
        /// say after what time.
        no_answer: Code = Code::new("*92"), (), Reload;
        /// Does so no longer.
        no_answer_off: Code = Code::new("*93"), (), Reload;
        /// Forwards calls to the number behind the code while no phone of the user can be reached.
        not_reachable: Code = Code::new("*94"), (), Reload;
        /// Does so no longer.
        not_reachable_off: Code = Code::new("*95"), (), Reload;
        /// Switches do-not-disturb on.
        do_not_disturb: Code = Code::new("*78"), (), Reload;
        /// Switches it off.
        do_not_disturb_off: Code = Code::new("*79"), (), Reload;
        /// With up to four digits behind it, a slot for parked calls: a call that is transferred there waits, and who calls it
        /// takes it. In domains with `mode = "b2bua"`.
        park: Code = Code::new("*5"), (), Reload;
        /// Takes the call that rings at the extension behind it. In domains with `mode = "b2bua"`.
        pick_up: Code = Code::new("*8"), (), Reload;
        /// With which status do-not-disturb refuses that was set by star code. 486 is followed by forwarding on busy
        /// and 480 by forwarding when not reachable, where the user has them.
        do_not_disturb_status: DoNotDisturb = DoNotDisturb::Busy, (), Reload;
    }
    /// Users that the server plays itself.
    "robots", robots: Robots {
        /// Users that answer every call and send back what they hear.
        echo: Vec<UserName> = vec![UserName("echo".into())], (), Reload;
    }
    /// The store in the data folder.
    "store", store: Store {
        /// Whether registrations are journalled, so that they are there again after a restart or a crash. `false`
        /// keeps them in memory only.
        journal: bool = true, (), Restart;
        /// How long a registration waits for others, to be journalled and acknowledged together with them.
        batch: Duration = Duration::from_millis(5), ms(0, SECOND), Restart;
        /// How long records of calls are kept (`dialtone calls` lists them): who called whom, when and for how long.
        keep_records: Duration = Duration::from_secs(90 * 86_400), ms(SECOND, 3_650 * DAY), Restart;
    }
    /// The Unix socket that `dialtone user`, `status` and `reload` talk to.
    "control", control: Control {
        /// Its path; a relative one starts at the data folder.
        socket: FilePath = FilePath("dialtone.sock".into()), (), Restart;
    }
    /// HTTP for monitoring: `/metrics`, `/healthz`, `/registrations` and `/calls`.
    "http", http: Http {
        /// Where it listens. Only the loopback is possible: nobody is asked for a password.
        listen: HttpListen = HttpListen(None), (), Restart;
    }
    /// The log, written to standard error.
    "log", log: Log {
        /// For people, or one JSON object a line.
        format: LogFormat = LogFormat::Text, (), Restart;
        /// The least important lines that are written. Below `info` they name users and addresses.
        level: LogLevel = LogLevel::Info, (), Reload;
    }
    repeated
    /// A domain that this server is responsible for. The first one also takes the requests that name only an address
    /// of this server. Without any, there is one domain with a name found at the start. `--domain` on the command
    /// line replaces the list; a domain of the file that it names keeps its aliases.
    "domain", domain: DomainEntry, at most DOMAINS_MAX {
        /// The name: it stands behind the `@` of its users, and is the realm of its digest challenges. It must be
        /// there.
        name: HostName = HostName::default(), (), Reload;
        /// Other names and addresses that mean the same domain.
        aliases: Vec<HostName> = Vec::new(), (), Reload;
        /// The servers that requests of its users shall pass on their way out, the first one first: told to each phone
        /// that registers (Service-Route, RFC 3608). Empty: none.
        service_route: Vec<RouteUri> = Vec::new(), (), Reload;
        /// Users who may register the phones of all other users of the domain (RFC 3261 §10.2, third-party
        /// registration). Everybody else registers only himself.
        registrants: Vec<UserName> = Vec::new(), (), Reload;
        /// How much the proxy remembers of requests for this domain. `"stateless"`: nothing (RFC 3261 §16.11); the next
        /// hop repeats what is lost and asks for passwords, and of several phones of a user one rings.
        /// `"transaction"`: each request until it is answered. `"call"`: beside that each call until its end, so that
        /// it is listed and recorded. `"redirect"`: no request is forwarded to its users; their callers get 302 with
        /// the phones that are registered, and call these themselves. `"b2bua"`: the server is both ends of each call (a
        /// back-to-back user agent), so that neither phone sees anything of the other.
        mode: Mode = Mode::Call, (), Reload;
        /// Whether the proxy stays in the path of calls for this domain (Record-Route). With `false` the phones send each
        /// other all that follows the first answer themselves: the call is not listed and not recorded, and phones
        /// that can't reach each other, for a NAT, another network or another transport, can't end it.
        record_route: bool = true, (), Reload;
        /// Whether registrations that are handed on to `next_hop` say that the calls of their phones shall come back
        /// through this server (Path, RFC 3327). With `false` they come by the servers that have said so, or straight:
        /// not for phones behind a NAT of which only this server knows the way.
        path: bool = true, (), Reload;
        /// The server that has the users of this domain, when it is not this one: all requests for the domain go
        /// there, REGISTER too, and it is that server which asks for passwords. Of several one is taken by a hash of
        /// the Call-ID.
        next_hop: Vec<NextHop> = Vec::new(), (), Reload;
    }
    /// A rule of the dial plan. They are tried in the order of the file, and the first one whose conditions all hold
    /// counts. `dialtone explain` tells of each rule whether it matches and why not. See
    /// [the dial plan](dial-plan.md).
    "rule", rule: RuleEntry, at most RULES_MAX {
        /// Its name, for `dialtone explain`, the log and refusals. It must be there.
        name: Required<Option<Label>> = Required::default(), (), Reload;
        /// The called number or name: `x` is a digit, `[2-9]` one of some, `*` at the end whatever follows. Without it
        /// any.
        number: OneOrMore<Pattern> = OneOrMore::default(), (), Reload;
        /// The called domain. Without it any of this server; a foreign one is reached only by a rule that names it.
        domain: OneOrMore<DomainPattern> = OneOrMore::default(), (), Reload;
        /// Who calls. Without it any user of this server, who shows his password; for `refuse` anyone.
        from: OneOrMore<CallerPattern> = OneOrMore::default(), (), Reload;
        /// The days on which it counts. Without it all.
        days: OneOrMore<Days> = OneOrMore::default(), (), Reload;
        /// The hours in which it counts; those that run over midnight belong to the day on which they begin. Without it
        /// all.
        hours: OneOrMore<Hours> = OneOrMore::default(), (), Reload;
        /// The time zone of `days` and `hours`. Without it `dial_plan.zone`.
        zone: Option<Zone> = None, (), Reload;
        /// How many characters are taken from the front of the number.
        strip: u64 = 0, 0..=64, Reload;
        /// What is put in front of the number then.
        prepend: Option<Prefix> = None, (), Reload;
        /// Where it goes; `{number}` in a user or URI stands for the number. It must be there.
        to: Required<Option<To>> = Required::default(), (), Reload;
        /// Where `redirect` sends the caller, with `q` from 0 to 1: he tries the greatest first.
        contacts: OneOrMore<ContactValue> = OneOrMore::default(), (), Reload;
        /// The code of `redirect` (300, 301, 302, 305 or 380; without it 302) or `refuse` (400 to 699; without it 403).
        code: Option<u64> = None, 300..=699, Reload;
        /// Why `refuse` refuses, in words for the caller.
        reason: Option<Words> = None, (), Reload;
        /// Where a caller that `refuse` refuses is told more: the SIP URI of an announcement, for Error-Info (RFC 3261
        /// §20.18). His phone may call it.
        error_info: Option<Announcement> = None, (), Reload;
        /// How much is remembered of the call, as `domain.mode` says of all. Without it as its domain has it.
        /// `"stateless"` counts for what nobody is asked a password for (`from` is `anyone`) and that goes to one place;
        /// other calls are then forwarded as in mode `"transaction"`.
        mode: Option<Mode> = None, (), Reload;
    }
    /// Other names of a user. One that stands for several users is ambiguous: `dial_plan.ambiguous` says what is
    /// answered then.
    "alias", alias: AliasEntry, at most ALIASES_MAX {
        /// The names. They must be there.
        name: Required<OneOrMore<UserName>> = Required::default(), (), Reload;
        /// The user. He must be there.
        user: Required<OneOrMore<UserAt>> = Required::default(), (), Reload;
        /// The domain in which the names count. Without it each of this server.
        domain: Option<HostName> = None, (), Reload;
    }
    /// A ring group: one name or number at which several phones ring. All phones of each member ring, and a member
    /// without any stops nothing. The forwards that a member has for calls he does not take are for calls to himself:
    /// they don't count here.
    "group", group: GroupEntry, at most GROUPS_MAX {
        /// Its name, which no other group has: whoever calls it in the domain, calls the group. It must be there.
        name: Required<Option<UserName>> = Required::default(), (), Reload;
        /// The domain in which it is called. Without it the first one.
        domain: Option<HostName> = None, (), Reload;
        /// Other names and numbers at which it is called.
        numbers: Vec<UserName> = Vec::new(), (), Reload;
        /// Who rings: users, other groups as `group:NAME`, SIP URIs as `uri:sip:…`. In a table, `ring` is how long, in
        /// place of that of the group, and `delay` how long after the others. They must be there.
        members: Required<OneOrMore<MemberEntry>> = Required::default(), (), Reload;
        /// All at once, or one after the other.
        strategy: Strategy = Strategy::All, (), Reload;
        /// How long each member rings.
        ring: Duration = Duration::from_secs(30), ms(SECOND, DAY), Reload;
        /// Where the call goes when nobody has answered. Without it the caller is told.
        otherwise: Option<Callee> = None, (), Reload;
        /// Callers wait so long for a member while all are busy, and are told their position (182 Queued); `otherwise`
        /// counts when it is over. In domains whose mode is `b2bua`. Without it nobody waits.
        queue: Option<Duration> = None, ms(SECOND, DAY), Reload;
    }
    /// What is done with the calls of one user, until he chooses something else by star code or somebody does so with
    /// `dialtone forward`. A target is what the user could dial himself: a number, a user, or a URI that a rule allows.
    "forward", forward: ForwardEntry, at most FORWARDS_MAX {
        /// The user; without `@` one of the first domain. It must be there.
        user: UserAddress = UserAddress::default(), (), Reload;
        /// Where each call goes.
        always: Option<ForwardTarget> = None, (), Reload;
        /// Where calls go while the user is busy: a phone answered 486.
        busy: Option<ForwardTarget> = None, (), Reload;
        /// Where calls go that nobody answers in time.
        no_answer: Option<ForwardTarget> = None, (), Reload;
        /// In what time; without it that of `forwarding.no_answer_after`.
        no_answer_after: Option<Duration> = None, NO_ANSWER_AFTER, Reload;
        /// Where calls go while no phone of the user is registered, or none can be reached.
        not_reachable: Option<ForwardTarget> = None, (), Reload;
        /// Do-not-disturb: refuses calls with this status. 486 is followed by `busy` and 480 by `not_reachable`, where
        /// they are set.
        do_not_disturb: Option<DoNotDisturb> = None, (), Reload;
    }
    /// A way to another telephone system. How the two find each other say `address`, `registrar` or `account`, of which
    /// one must be there. Rules send calls out over it, `numbers` say whose calls come in. See [trunks](trunk.md).
    "trunk", trunk: TrunkEntry, at most TRUNKS_MAX {
        /// Its name, for rules, the log and `dialtone status`. It must be there.
        name: TrunkName = TrunkName::default(), (), Reload;
        /// Where it is, the preferred address first. Calls from these addresses come in without a password.
        address: ServerUris = ServerUris::default(), (), Reload;
        /// The registrar that this server registers with as `user`.
        registrar: Option<ServerUri> = None, (), Reload;
        /// The user of this server that the other side registers as.
        account: Option<TrunkUser> = None, (), Reload;
        /// Who this server is on the other side, when that asks; with `@`, its domain there.
        user: Option<TrunkUser> = None, (), Reload;
        /// The user name of digest, where it is another one.
        auth_user: Option<TrunkUser> = None, (), Reload;
        /// A file whose first line is the password of `user`; a relative path starts at the data folder.
        password_file: Option<FilePath> = None, (), Reload;
        /// Where all requests to the other side go first.
        proxy: Option<ServerUri> = None, (), Reload;
        /// For how long this server registers.
        expires: Duration = Duration::from_secs(3600), ms(10 * SECOND, 7 * DAY), Reload;
        /// Whether one registration with `registrar` stands for all numbers (RFC 6140).
        gin: bool = false, (), Reload;
        /// Whose the numbers are that are called from there: `user:NAME`, `user:NAME@DOMAIN`, `group:NAME`, `trunk:NAME` or a
        /// SIP URI.
        /// The first that fits counts. In a number `x` is any digit; a `*` at its end stands for whatever follows.
        numbers: NumberMap = NumberMap::default(), (), Reload;
        /// Whether the other side is told who really calls, and believed in that (P-Asserted-Identity, RFC 3325).
        trust: bool = false, (), Reload;
        /// The number that callers show who have none of their own.
        caller_id: Option<ShownNumber> = None, (), Reload;
        /// The numbers that users show, by `NAME` or `NAME@DOMAIN`. Others show the number in `numbers` that is theirs.
        caller_ids: CallerIds = CallerIds::default(), (), Reload;
        /// What From says: the number of the caller, the account that this server has there, or what his phone wrote.
        from: TrunkFrom = TrunkFrom::Number, (), Reload;
        /// Whether called numbers are marked with `user=phone`.
        user_phone: bool = true, (), Reload;
        /// Calls at the same time in both directions, of each shard. More are refused with 480.
        calls: u64 = 1_000, 1..=1_000_000, Reload;
        /// How often each `address` is asked with OPTIONS whether it is there; `"0s"` is never.
        probe: Duration = Duration::from_secs(30), ms(0, HOUR), Reload;
        /// How long an address may be silent after an INVITE before the next one is tried.
        answer_within: Duration = Duration::from_secs(4), ms(500, MINUTE), Reload;
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
