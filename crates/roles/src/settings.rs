//! Everything that can be chosen, with a name and a default. A reload is a new value of this type.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use dialtone_transaction::Timers;
use dialtone_wire::net::Transport;
use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;

mod bridges;
mod calls;
mod destination;
pub mod dial_plan;
mod digest;
mod keep_alive;
mod mode;
mod services;
mod session;
mod transfer;
mod trunk;

pub use bridges::{BridgeSettings, Queue};
pub use calls::CallSettings;
pub use destination::{Destination, Group, Member, Strategy};
pub use digest::{DigestSettings, GuessSettings, Integrity, Methods};
pub use keep_alive::{KeepAliveContacts, KeepAliveSettings};
pub use mode::{Mode, NextHops};
pub use services::{ForwardingSettings, StarAction, StarCodes};
pub use session::SessionSettings;
pub use transfer::{JoinPolicy, ReferPolicy, ReplacesPolicy, TransferSettings};
pub use trunk::{InboundNumber, Trunk, TrunkAccess, TrunkFrom};

/// The settings of one engine. All shards of a server hold the same value.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Rises with each change.
    pub version: u64,
    /// How many shards there are.
    pub shards: u16,
    /// Known to all shards of a server and to nobody else: signs nonces and route tokens, keys the hash that
    /// steers messages to shards.
    pub secret: Secret,
    /// Seconds of Unix time at [`Instant::START`](dialtone_wire::time::Instant::START).
    pub unix_start_s: u64,
    /// The product token of User-Agent and Server headers.
    pub product: SmolStr,
    /// Where we are reachable.
    pub listeners: Vec<Listener>,
    /// The domains that we are responsible for; empty for a phone.
    pub domains: Vec<Domain>,
    /// The ways to other telephone systems.
    pub trunks: Vec<Trunk>,
    /// Users of the domain that we play ourselves.
    pub robots: Vec<Robot>,
    /// Groups that ring together.
    pub groups: Vec<Group>,
    /// Whether requests need digest authentication. Off is for tests and closed networks.
    pub authenticate: bool,
    /// What happens to requests for domains that are not ours.
    pub foreign: Foreign,
    /// Where calls go.
    pub dial_plan: dial_plan::DialPlan,
    /// The account of a phone.
    pub account: Option<Account>,
    /// The codecs that calls of our own offer and take, the preferred one first.
    pub codecs: Vec<AudioCodec>,
    /// Durations of transactions.
    pub timers: Timers,
    /// RFC 3261 §16.6 step 11: more than 3 minutes.
    pub timer_c: Duration,
    /// Proxy.
    pub proxy: ProxySettings,
    /// Sessions of our own calls: their timers, and provisional responses.
    pub session: SessionSettings,
    /// Calls that are followed.
    pub calls: CallSettings,
    /// Calls of which we are both ends.
    pub bridges: BridgeSettings,
    /// Registrar.
    pub registrar: RegistrarSettings,
    /// Which registered phones are asked whether they are there.
    pub keep_alive: KeepAliveSettings,
    /// Option tags that a phone must support to be registered; others get 421.
    pub register_requires: Vec<SmolStr>,
    /// Whether a REGISTER that changes bindings is granted only when its owner has journalled them
    /// ([`Query::Journal`](crate::io::Query::Journal)).
    pub journal: bool,
    /// Forwarding and do-not-disturb.
    pub forwarding: ForwardingSettings,
    /// What users dial to change theirs.
    pub star_codes: StarCodes,
    /// Who may transfer our calls.
    pub transfer: TransferSettings,
    /// What our phone does when it is refused and told where to hear why.
    pub announcements: Announcements,
    /// Info Packages that we take (RFC 6086), told in Recv-Info.
    pub info_packages: Vec<SmolStr>,
    /// Digest.
    pub digest: DigestSettings,
    /// Who guesses passwords.
    pub guesses: GuessSettings,
    /// Limits.
    pub limits: Limits,
    /// Whether a datagram that is longer than its Content-Length says is read to its end, against RFC 3261 §18.3.
    pub lenient: bool,
    /// Whether the server is about to end: new calls are refused with 503, and the calls in which it takes part itself
    /// are ended with BYE.
    pub draining: bool,
}

/// 32 secret bytes that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// One address that we receive on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The transport.
    pub transport: Transport,
    /// The real address, never a wildcard, with the real port.
    pub address: SocketAddr,
    /// Bits of the network that the address is in: tells which of our addresses a peer can reach.
    pub prefix_length: u8,
}

/// A domain that we are responsible for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    /// Its name; also the realm of its digest challenges, whatever alias a phone used.
    pub name: SmolStr,
    /// Other names for the same domain.
    pub aliases: Vec<SmolStr>,
    /// The route that requests of its users shall take, told with each registration (RFC 3608): Route values, the first
    /// hop first.
    pub service_route: Vec<SmolStr>,
    /// Users who may register for all others of the domain (RFC 3261 §10.2, third-party registration).
    pub registrants: Vec<SmolStr>,
    /// How much is remembered of requests for it.
    pub mode: Mode,
    /// The proxy leaves the path of a call after its first transaction: it adds no Record-Route (RFC 3261 §16.6 step 4).
    pub leaves_path: bool,
    /// REGISTERs that are handed on to its next hop get no Path of ours (RFC 3327 §5.2): requests for their phones come
    /// by another way.
    pub skips_path: bool,
    /// Where all requests for it go, REGISTER too; empty when we are its registrar.
    pub next_hops: NextHops,
}

/// A user that the server plays itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Robot {
    /// The user part of its address.
    pub user: SmolStr,
    /// What it does.
    pub kind: RobotKind,
}

/// What a robot does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RobotKind {
    /// Answers and sends back what it hears.
    Echo,
    /// Answers, sends a short tone that says that something is done, and hangs up.
    Confirm,
}

/// What happens to a request whose Request-URI names a domain that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// 403: no open relay.
    Refuse,
    /// Forwarded for whoever has authenticated as a user of ours.
    Authenticated,
    /// Forwarded for everybody. For closed networks.
    Open,
}

/// Who a phone is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The address-of-record, `sip:alice@example.com`.
    pub aor: UriBuf,
    /// The display name, where one is wanted.
    pub display_name: Option<SmolStr>,
    /// The user name of digest; usually the user part of the address-of-record.
    pub auth_user: SmolStr,
    /// The password.
    pub password: Password,
    /// Where all requests go first; `None` sends them where their URI says.
    pub proxy: Option<UriBuf>,
    /// What takes its place when it does not answer.
    pub backup_proxy: Option<UriBuf>,
    /// Realms that get an answer whoever asks, besides its domain and those that its registrar names, which get one where
    /// its own server was asked. Credentials go with all further requests that the proxy gets first, and else stay within
    /// their call (RFC 3261 §22.3). Other realms get none: [`Event::PasswordKept`](crate::io::Event::PasswordKept).
    pub realms: Vec<SmolStr>,
    /// The registration time asked for, in seconds.
    pub expires_s: u32,
}

/// What becomes of an Error-Info in a refusal (RFC 3261 §20.18): the owner is told of it in any case, and "the UAC MAY treat
/// a SIP or SIPS URI in an Error-Info header field as if it were a Contact in a redirect". Whoever refuses a call chooses
/// that URI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Announcements {
    /// It is called only when the owner does it.
    #[default]
    Tell,
    /// It is called if it is of the account's own domain.
    Own,
    /// It is called wherever it is.
    Any,
}

impl Announcements {
    /// Whether it is called unasked.
    pub(crate) fn follows(self, uri: &UriBuf, account: Option<&Account>) -> bool {
        let host_is_own = || {
            let (uri, aor) = (uri.uri(), account?.aor.uri());
            Some(uri.as_sip()?.host.equivalent(&aor.as_sip()?.host))
        };
        match self {
            Announcements::Tell => false,
            Announcements::Own => host_is_own() == Some(true),
            Announcements::Any => true,
        }
    }
}

/// A codec of the media plane (RFC 3551 §4.5.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AudioCodec {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
}

impl AudioCodec {
    /// All codecs in the order in which they are offered when nobody chooses.
    pub const ALL: [AudioCodec; 2] = [AudioCodec::Pcmu, AudioCodec::Pcma];

    /// Its name in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            AudioCodec::Pcmu => "PCMU",
            AudioCodec::Pcma => "PCMA",
        }
    }

    /// Its static payload type (RFC 3551 §6, table 4).
    pub const fn payload_type(self) -> u8 {
        match self {
            AudioCodec::Pcmu => 0,
            AudioCodec::Pcma => 8,
        }
    }

    /// The codec of a name in any case.
    pub fn from_name(name: &str) -> Option<AudioCodec> {
        AudioCodec::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }
}

/// A password that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub SmolStr);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// The proxy's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// How long the devices of one q ring before those of the next lower one do.
    pub stage_ring: Duration,
    /// Whether a call goes on to the contacts of a 3xx (RFC 3261 §16.7 step 4), as far as the caller could have been
    /// sent there by the server itself; else the 3xx goes back to the caller.
    pub recurse: bool,
}

impl Default for ProxySettings {
    fn default() -> Self {
        ProxySettings { stage_ring: Duration::from_secs(15), recurse: true }
    }
}

/// The registrar's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistrarSettings {
    /// Shorter registrations are refused with 423, in seconds. Zero (removal) is always taken.
    pub expires_min_s: u32,
    /// For those who ask for no time, in seconds.
    pub expires_default_s: u32,
    /// Longer ones are cut to this, in seconds.
    pub expires_max_s: u32,
    /// Bindings of one address-of-record.
    pub bindings_per_aor: usize,
    /// Bytes of one binding: its contact with all parameters, its Path, its Call-ID.
    pub binding_bytes: usize,
    /// Whether a Path is taken too where the phone does not say that it knows of it (RFC 3327 §5.3).
    pub path_unasked: bool,
    /// How often a phone shall show that its flow is alive, in seconds (RFC 5626 Flow-Timer); 0 leaves that to the
    /// phone.
    pub flow_timer_s: u32,
}

impl Default for RegistrarSettings {
    fn default() -> Self {
        RegistrarSettings {
            expires_min_s: 60,
            expires_default_s: 3600,
            expires_max_s: 7200,
            bindings_per_aor: 10,
            binding_bytes: 2_048,
            path_unasked: false,
            flow_timer_s: 0,
        }
    }
}

/// A number on everything (ARCHITECTURE.md, invariant 5). Each is per shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one message.
    pub message: dialtone_wire::Limits,
    /// Bytes of a body that we read ourselves: a session description.
    pub body_bytes: usize,
    /// Server transactions.
    pub server_transactions: usize,
    /// Client transactions.
    pub client_transactions: usize,
    /// Bytes of messages that transactions and contexts keep.
    pub kept_bytes: usize,
    /// Requests that wait for an answer to a query.
    pub queries: usize,
    /// How long they wait.
    pub query_time: Duration,
    /// Requests being forwarded.
    pub proxy_contexts: usize,
    /// Branches of one request.
    pub branches: usize,
    /// Destinations that are tried for one request: members of groups, forwards, redirections.
    pub legs: usize,
    /// How many groups, forwards and redirections may lead to one of them.
    pub leg_depth: usize,
    /// Calls of our own (phone, robots).
    pub calls: usize,
    /// Bindings in all.
    pub bindings: usize,
    /// Users who have chosen services.
    pub services: usize,
    /// Subscriptions to registrations.
    pub subscriptions: usize,
    /// Of one address-of-record.
    pub subscriptions_per_aor: usize,
    /// Calls that go through the back-to-back user agent.
    pub bridges: usize,
    /// Requests of one side of such a call that wait for the answer of the other.
    pub bridge_requests: usize,
    /// How often a call may be transferred by the server.
    pub transfers: u16,
    /// Calls that are parked.
    pub parked: usize,
    /// Callers who wait for a member of a group.
    pub queued: usize,
    /// Calls at a time that were asked for from outside of SIP.
    pub dials: usize,
    /// Calls, and slots of parked ones, whose home a shard is and that another shard has since they met a call of that one.
    pub aliases: usize,
    /// Leased ports kept ready for each local address.
    pub leases_ready: u16,
    /// Transfers under way, those that we asked for and those that we were asked for.
    pub referrals: usize,
    /// Of one call.
    pub referrals_per_call: usize,
    /// Hops (Max-Forwards) that must be left to a call that a REFER asks for. Each such call begins with one hop less
    /// than the call in which it was asked for, so that a chain of transfers ends, whoever takes part in it.
    pub referred_hops_min: u8,
    /// Calls that a phone joins into one conversation.
    pub conference_calls: usize,
    /// Dialogs that are over and are known for a while, so that a call that comes to replace one is declined.
    pub ended_dialogs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message: dialtone_wire::Limits::default(),
            body_bytes: 16 * 1024,
            server_transactions: 100_000,
            client_transactions: 100_000,
            kept_bytes: 256 * 1024 * 1024,
            queries: 20_000,
            query_time: Duration::from_secs(5),
            proxy_contexts: 50_000,
            branches: 64,
            legs: 64,
            leg_depth: 8,
            calls: 2_000,
            bindings: 1_000_000,
            services: 1_000_000,
            subscriptions: 20_000,
            subscriptions_per_aor: 20,
            bridges: 10_000,
            bridge_requests: 16,
            transfers: 32,
            parked: 1_000,
            queued: 1_000,
            dials: 64,
            aliases: 10_000,
            leases_ready: 8,
            referrals: 1_000,
            referrals_per_call: 4,
            referred_hops_min: 20,
            conference_calls: 2,
            ended_dialogs: 256,
        }
    }
}

impl Settings {
    /// The trunk of this name.
    pub fn trunk(&self, name: &str) -> Option<&Trunk> {
        self.trunks.iter().find(|trunk| trunk.name == name)
    }

    /// The defaults: no listener, no domain, no account; passwords are asked for and foreign domains refused.
    pub fn new(secret: Secret) -> Settings {
        Settings {
            version: 0,
            shards: 1,
            secret,
            unix_start_s: 0,
            product: SmolStr::new_static(concat!("Dialtone/", env!("CARGO_PKG_VERSION"))),
            listeners: Vec::new(),
            domains: Vec::new(),
            trunks: Vec::new(),
            robots: Vec::new(),
            groups: Vec::new(),
            authenticate: true,
            foreign: Foreign::Refuse,
            dial_plan: dial_plan::DialPlan::default(),
            account: None,
            codecs: AudioCodec::ALL.to_vec(),
            timers: Timers::default(),
            timer_c: Duration::from_secs(181),
            session: SessionSettings::default(),
            calls: CallSettings::default(),
            bridges: BridgeSettings::default(),
            proxy: ProxySettings::default(),
            registrar: RegistrarSettings::default(),
            keep_alive: KeepAliveSettings::default(),
            register_requires: Vec::new(),
            journal: false,
            forwarding: ForwardingSettings::default(),
            star_codes: StarCodes::default(),
            transfer: TransferSettings::default(),
            announcements: Announcements::default(),
            info_packages: Vec::new(),
            digest: DigestSettings::default(),
            guesses: GuessSettings::default(),
            limits: Limits::default(),
            lenient: false,
            draining: false,
        }
    }

    /// The domain that a host name or address stands for: one of [`Settings::domains`] or their aliases, or,
    /// for the first domain, any address that we listen on.
    pub fn domain_of(&self, host: &dialtone_wire::uri::Host<'_>, port: Option<u16>) -> Option<&Domain> {
        let named = self.domains.iter().find(|domain| {
            std::iter::once(&domain.name).chain(&domain.aliases).any(|name| is_host(name, host))
        });
        named.or_else(|| {
            let ip = host.ip()?;
            self.is_own_address(ip, port).then(|| self.domains.first()).flatten()
        })
    }

    /// A group by its name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The group that a user part stands for in one of our domains.
    pub fn group_called(&self, user: &str, domain: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.domain == domain && group.numbers.iter().any(|own| own == user))
    }

    /// Whether a URI leads to this server as a hop: a name of a domain of ours, or an address and port that we listen
    /// on. Unlike in an address-of-record ([`Settings::domain_of`]), an address without a port means the default
    /// port, and another port of the same host is somebody else: a phone, say.
    pub fn is_own_hop(&self, uri: &dialtone_wire::uri::SipUri<'_>) -> bool {
        let Some(ip) = uri.host.ip() else { return self.domain_of(&uri.host, uri.port).is_some() };
        let port = uri.port_or_default();
        let is_alias = || self.domain_of(&uri.host, Some(port)).is_some();
        self.is_own_address(ip, Some(port))
            || (self.listeners.iter().any(|listener| listener.address.port() == port) && is_alias())
    }

    /// Whether we listen on this address; without a port, on any port of it.
    pub fn is_own_address(&self, ip: IpAddr, port: Option<u16>) -> bool {
        self.listeners.iter().any(|listener| {
            listener.address.ip() == ip && port.is_none_or(|port| port == listener.address.port())
        })
    }

    /// Our listener that a peer can reach, and from which we reach it: `preferred` if it has the right family
    /// and transport; else the one whose network holds the peer (of several the narrowest, as the routes of the host
    /// have it), then one of the same scope (loopback or not), then any of the family.
    pub fn listener_for(
        &self,
        transport: Transport,
        remote: IpAddr,
        preferred: Option<SocketAddr>,
    ) -> Option<&Listener> {
        let rank = |listener: &&Listener| {
            let own = listener.address.ip();
            let network = same_network(own, remote, listener.prefix_length).then_some(listener.prefix_length);
            (
                own == remote,
                network,
                own.is_loopback() == remote.is_loopback(),
                Some(listener.address) == preferred,
            )
        };
        // The first of equals wins, so the order of the listeners is the order of preference.
        self.listeners
            .iter()
            .filter(|listener| listener.transport == transport)
            .filter(|listener| listener.address.is_ipv4() == remote.is_ipv4())
            .rev()
            .max_by_key(rank)
    }
}

/// Whether a configured name is the host of a URI: names in any case and without a closing dot, addresses by value.
fn is_host(name: &str, host: &dialtone_wire::uri::Host<'_>) -> bool {
    match host {
        dialtone_wire::uri::Host::Name(host) => {
            host.trim_end_matches('.').eq_ignore_ascii_case(name.trim_end_matches('.'))
        }
        dialtone_wire::uri::Host::Ip(ip) => {
            name.starts_with(|first: char| first.is_ascii_hexdigit() || matches!(first, ':' | '['))
                && name.trim_matches(['[', ']']).parse() == Ok(*ip)
        }
    }
}

fn same_network(one: IpAddr, two: IpAddr, prefix_length: u8) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    let ((one, width), (two, _)) = (bits(one), bits(two));
    let length = u32::from(prefix_length.min(width));
    length == 0 || (one ^ two) >> (128 - length) == 0
}
