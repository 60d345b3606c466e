//! From [`Config`] and the facts of this start to what the server runs with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dialtone_roles::Settings;
use dialtone_roles::settings::dial_plan::DialPlan;
use dialtone_roles::settings::{
    BridgeSettings, CallSettings, DigestSettings, Domain, Foreign, ForwardingSettings, Group, GuessSettings,
    KeepAliveSettings, Limits, Listener, NextHops, ProxySettings, RegistrarSettings, Robot, RobotKind,
    Secret, SessionSettings, StarCodes, Timers, Trunk,
};
use smol_str::SmolStr;

use crate::listen::{ListenAddress, is_public};

use super::address::HostName;
use super::keys::Config;
use super::problem::{Place, Problem, Remedy, What};
use super::read::bytes_of;
use super::route::RouteUri;
use super::value::{LogFormat, LogLevel, Scalar, Setting};

/// Bytes of the path of a Unix socket (`sun_path` of unix(7), less the closing zero).
const SOCKET_PATH_MAX: usize = 107;

/// What a start knows beside the file.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The data folder.
    pub data: &'a Path,
    /// `--listen`; not empty, they replace those of the file.
    pub listen: Vec<ListenAddress>,
    /// `--domain`; not empty, they replace those of the file, whose aliases stay.
    pub domains: Vec<HostName>,
    /// `--public`.
    pub public: bool,
    /// `--open`: nobody is asked for a password, and requests are forwarded to any domain, whatever the file says.
    pub open: bool,
    /// The domain where neither the file nor the command line names one.
    pub fallback_domain: HostName,
}

/// What the server runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// Where to listen; empty for the loopback and all private addresses.
    pub listen: Vec<ListenAddress>,
    /// Whether addresses that can be reached from outside may be listened on.
    pub public: bool,
    /// How many shards.
    pub shards: u16,
    /// How long the end may take.
    pub drain: Duration,
    /// Whether datagrams are read beyond their Content-Length.
    pub lenient: bool,
    /// The domains, at least one.
    pub domains: Vec<Domain>,
    /// The trunks.
    pub trunks: Vec<Trunk>,
    /// The users that the server plays.
    pub robots: Vec<Robot>,
    /// The ring groups.
    pub groups: Vec<Group>,
    /// Whether requests need digest authentication.
    pub authenticate: bool,
    /// What happens to requests for other domains.
    pub foreign: Foreign,
    /// Where calls go.
    pub dial_plan: DialPlan,
    /// Timers of transactions.
    pub timers: Timers,
    /// Timer C.
    pub timer_c: Duration,
    /// The rules of the proxy.
    pub proxy: ProxySettings,
    /// Calls that are followed.
    pub calls: CallSettings,
    /// Sessions of the server's own calls.
    pub session: SessionSettings,
    /// Calls of which the server is both ends.
    pub bridges: BridgeSettings,
    /// The registrar.
    pub registrar: RegistrarSettings,
    /// Which registered phones are asked whether they are there.
    pub keep_alive: KeepAliveSettings,
    /// Forwarding and do-not-disturb.
    pub forwarding: ForwardingSettings,
    /// Star codes.
    pub star_codes: StarCodes,
    /// Option tags that a phone must support to be registered.
    pub register_requires: Vec<SmolStr>,
    /// Digest.
    pub digest: DigestSettings,
    /// Who guesses passwords.
    pub guesses: GuessSettings,
    /// Limits.
    pub limits: Limits,
    /// The store.
    pub store: StoreSettings,
    /// The control socket.
    pub control: PathBuf,
    /// Where HTTP listens: an address of the loopback.
    pub http: Option<SocketAddr>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The least important lines.
    pub log_level: LogLevel,
}

/// How registrations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Whether they are journalled.
    pub journal: bool,
    /// How long one waits for others to be journalled with.
    pub batch: Duration,
    /// How long call records are kept.
    pub keep_records: Duration,
}

impl Resolved {
    /// The settings of the engines, with what only the start itself knows: the version, which rises with each
    /// reload, the secret, Unix time in seconds at [`Instant::START`](dialtone_wire::time::Instant::START), and the
    /// addresses that are listened on.
    pub fn settings(
        &self,
        version: u64,
        secret: Secret,
        unix_start_s: u64,
        listeners: Vec<Listener>,
    ) -> Settings {
        Settings {
            version,
            shards: self.shards,
            unix_start_s,
            listeners,
            domains: self.domains.clone(),
            trunks: self.trunks.clone(),
            robots: self.robots.clone(),
            groups: self.groups.clone(),
            authenticate: self.authenticate,
            foreign: self.foreign,
            dial_plan: self.dial_plan.clone(),
            timers: self.timers,
            timer_c: self.timer_c,
            lenient: self.lenient,
            proxy: self.proxy,
            calls: self.calls,
            session: self.session,
            bridges: self.bridges.clone(),
            registrar: self.registrar,
            keep_alive: self.keep_alive,
            register_requires: self.register_requires.clone(),
            forwarding: self.forwarding.clone(),
            star_codes: self.star_codes.clone(),
            digest: self.digest,
            guesses: self.guesses,
            limits: self.limits,
            ..Settings::new(secret)
        }
    }
}

impl Config {
    /// Reads a file and resolves it, so that the problems of both are told together: what `dialtone check`, a start
    /// and a reload do. Without a file, all keys have their defaults.
    ///
    /// # Errors
    /// All problems, those with a place in the order of their places.
    pub fn load_and_resolve(
        path: Option<&Path>,
        facts: &Facts<'_>,
    ) -> Result<(Config, Resolved), Vec<Problem>> {
        match path {
            Some(path) => Config::read_and_resolve(bytes_of(path)?, &path.display().to_string(), facts),
            None => Config::read_and_resolve("", "(no settings file)", facts),
        }
    }

    /// Reads the text of a file and resolves it; see [`Config::load_and_resolve`].
    ///
    /// # Errors
    /// All problems, those with a place in the order of their places.
    pub fn read_and_resolve(
        text: impl AsRef<[u8]>,
        file_name: &str,
        facts: &Facts<'_>,
    ) -> Result<(Config, Resolved), Vec<Problem>> {
        let (config, mut problems) = Config::read_all(text.as_ref(), file_name);
        match config.resolve(facts) {
            Ok(resolved) if problems.is_empty() => return Ok((config, resolved)),
            Ok(_) => {}
            Err(more) => {
                // A value that was refused counts as the default: what follows from that is no news.
                let is_news =
                    |new: &Problem| problems.iter().all(|old| old.line == 0 || old.line != new.line);
                let news: Vec<Problem> = more.into_iter().filter(is_news).collect();
                problems.extend(news);
            }
        }
        problems.sort_by_key(|problem| (problem.line == 0, problem.line, problem.column));
        Err(problems)
    }

    /// Checks what concerns several keys, and puts the parts together.
    ///
    /// # Errors
    /// All problems, in the order of their tables.
    pub fn resolve(&self, facts: &Facts<'_>) -> Result<Resolved, Vec<Problem>> {
        let mut check = Check { config: self, facts, problems: Vec::new() };
        let listen = check.listen();
        let domains = check.domains();
        let mut groups = check.groups(&domains);
        let trunks = check.trunks(&domains);
        check.orders();
        check.whole_seconds();
        check.doors();
        let control = check.control();
        let dial_plan = check.dial_plan(&domains);
        let mut told = Vec::new();
        let (forwarding, star_codes) = (self.forwarding(&domains, &mut told), self.star_codes(&mut told));
        for (place, key, what, remedy) in told {
            check.problem(place, key, what, remedy);
        }
        let problems = check.problems;
        if !problems.is_empty() {
            return Err(problems);
        }
        let queues = super::group::queues(self, &domains, &mut groups);
        let robot = |user: &super::UserName| Robot { user: user.as_str().into(), kind: RobotKind::Echo };
        Ok(Resolved {
            listen,
            public: self.server.public.value || facts.public,
            shards: u16::try_from(self.server.shards.value).unwrap_or(u16::MAX),
            drain: self.server.drain.value,
            lenient: self.server.lenient.value,
            domains,
            trunks,
            robots: self.robots.echo.value.iter().map(robot).collect(),
            groups,
            authenticate: self.digest.required.value && !facts.open,
            dial_plan,
            foreign: if facts.open { Foreign::Open } else { self.proxy.foreign.value },
            timers: Timers::new(self.timers.t1.value, self.timers.t2.value, self.timers.t4.value),
            timer_c: self.proxy.timer_c.value,
            proxy: ProxySettings {
                stage_ring: self.proxy.stage_ring.value,
                recurse: self.proxy.recurse.value,
            },
            registrar: self.registrar_settings(),
            keep_alive: KeepAliveSettings {
                contacts: self.keep_alive.contacts.value,
                interval: self.keep_alive.interval.value,
                per_second: u32::try_from(self.keep_alive.per_second.value).unwrap_or(u32::MAX),
            },
            register_requires: self.registrar.requires.value.iter().map(|tag| tag.tag().into()).collect(),
            forwarding,
            star_codes,
            digest: DigestSettings {
                nonce_life: self.digest.nonce_life.value,
                nonces_max: count(&self.digest.nonces_max),
                bind_nonce: self.digest.bind_nonce.value,
                integrity: self.digest.integrity.value,
                free: self.digest.free_methods.value.iter().map(|method| method.method()).collect(),
                in_dialog: self.digest.dialog_methods.value.iter().map(|method| method.method()).collect(),
            },
            guesses: self.guess_settings(),
            limits: self.limits(),
            store: StoreSettings {
                journal: self.store.journal.value,
                batch: self.store.batch.value,
                keep_records: self.store.keep_records.value,
            },
            calls: self.call_settings(),
            session: self.session_settings(),
            bridges: BridgeSettings {
                session_s: u32::try_from(self.b2bua.session_expires.value.as_secs())
                    .ok()
                    .filter(|seconds| *seconds > 0),
                media: self.b2bua.media.value.iter().map(|kind| kind.0.clone()).collect(),
                parts: self.b2bua.parts.value.iter().map(|kind| kind.0.clone()).collect(),
                transfers: self.b2bua.transfers.value,
                release_after: self.b2bua.transferor_time.value,
                park_time: self.b2bua.park_time.value,
                music: self.b2bua.music.value.as_ref().map(|music| music.uri().clone()),
                queues,
            },
            control,
            http: self.http.listen.value.0,
            log_format: self.log.format.value,
            log_level: self.log.level.value,
        })
    }

    fn call_settings(&self) -> CallSettings {
        let seconds = |time: &Setting<Duration>| u32::try_from(time.value.as_secs()).unwrap_or(u32::MAX);
        CallSettings {
            session_s: Some(seconds(&self.calls.session_expires)).filter(|seconds| *seconds > 0),
            session_min_s: seconds(&self.calls.session_expires_min),
        }
    }

    fn session_settings(&self) -> SessionSettings {
        let seconds = |time: &Setting<Duration>| u32::try_from(time.value.as_secs()).unwrap_or(u32::MAX);
        SessionSettings {
            timer_s: Some(seconds(&self.session.expires)).filter(|seconds| *seconds > 0),
            timer_min_s: seconds(&self.session.expires_min),
            reliable_ringing: self.session.reliable_ringing.value,
            // For phones: a server has no calls with pictures.
            video: false,
        }
    }

    fn registrar_settings(&self) -> RegistrarSettings {
        let seconds = |time: &Setting<Duration>| u32::try_from(time.value.as_secs()).unwrap_or(u32::MAX);
        RegistrarSettings {
            expires_min_s: seconds(&self.registrar.expires_min),
            expires_default_s: seconds(&self.registrar.expires_default),
            expires_max_s: seconds(&self.registrar.expires_max),
            bindings_per_aor: count(&self.registrar.bindings_per_aor),
            binding_bytes: count(&self.registrar.binding_bytes),
            path_unasked: self.registrar.path_unasked.value,
            flow_timer_s: seconds(&self.registrar.flow_timer),
        }
    }

    fn guess_settings(&self) -> GuessSettings {
        let number = |setting: &Setting<u64>| u32::try_from(setting.value).unwrap_or(u32::MAX);
        GuessSettings {
            failures: number(&self.guesses.failures),
            source_failures: number(&self.guesses.source_failures),
            window: self.guesses.window.value,
            hold: self.guesses.hold.value,
            hold_max: self.guesses.hold_max.value,
            entries_max: count(&self.guesses.entries),
        }
    }

    fn limits(&self) -> Limits {
        let own = &self.limits;
        let mut limits = Limits::default();
        limits.message.message_bytes = usize::try_from(own.message_bytes.value.0).unwrap_or(usize::MAX);
        limits.message.headers = count(&own.headers);
        limits.message.vias = count(&own.vias);
        limits.message.uri_bytes = usize::try_from(own.uri_bytes.value.0).unwrap_or(usize::MAX);
        Limits {
            message: limits.message,
            body_bytes: usize::try_from(own.body_bytes.value.0).unwrap_or(usize::MAX),
            server_transactions: count(&own.server_transactions),
            client_transactions: count(&own.client_transactions),
            kept_bytes: usize::try_from(own.kept_bytes.value.0).unwrap_or(usize::MAX),
            queries: count(&own.queries),
            query_time: own.query_time.value,
            proxy_contexts: count(&own.proxy_contexts),
            branches: count(&own.branches),
            legs: count(&own.legs),
            leg_depth: count(&own.leg_depth),
            calls: count(&own.calls),
            bridges: count(&own.bridges),
            bridge_requests: count(&own.bridge_requests),
            transfers: u16::try_from(own.transfers.value).unwrap_or(u16::MAX),
            dials: count(&own.dials),
            aliases: count(&own.aliases),
            parked: count(&own.parked),
            queued: count(&own.queued),
            bindings: count(&own.bindings),
            services: count(&own.services),
            subscriptions: count(&own.subscriptions),
            subscriptions_per_aor: count(&own.subscriptions_per_aor),
            leases_ready: u16::try_from(own.leases_ready.value).unwrap_or(u16::MAX),
            // The rest is for phones, which no file configures.
            ..limits
        }
    }
}

/// A number of things; a machine that can't count that far has not the memory for them either.
fn count(setting: &Setting<u64>) -> usize {
    usize::try_from(setting.value).unwrap_or(usize::MAX)
}

/// The checks of one resolving.
pub(super) struct Check<'a> {
    pub(super) config: &'a Config,
    pub(super) facts: &'a Facts<'a>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    pub(super) fn problem(&mut self, place: Option<Place>, key: &str, what: What, remedy: Remedy) {
        let Place { line, column } = place.unwrap_or(Place { line: 0, column: 0 });
        let file = Arc::clone(&self.config.file);
        self.problems.push(Problem { file, line, column, key: key.to_owned(), what, remedy });
    }

    fn listen(&mut self) -> Vec<ListenAddress> {
        let (config, facts) = (self.config, self.facts);
        let file = &config.server.listen;
        let (listen, place) =
            if facts.listen.is_empty() { (&file.value, file.place) } else { (&facts.listen, None) };
        if !config.server.public.value && !facts.public {
            for address in listen.iter().filter(|listen| is_public(listen.address.ip())) {
                let what = What::Public(address.to_string().into());
                self.problem(place, "server.listen", what, Remedy::SayPublic);
            }
        }
        listen.clone()
    }

    fn domains(&mut self) -> Vec<Domain> {
        let (config, facts) = (self.config, self.facts);
        let mut names: Vec<&HostName> = Vec::new();
        for entry in &config.domain {
            if entry.name.value.as_str().is_empty() {
                let remedy = Remedy::Add("name = \"example.com\"");
                self.problem(entry.name.place, "domain", What::Missing("name"), remedy);
                continue;
            }
            let aliases =
                entry.aliases.value.iter().map(|alias| (alias, entry.aliases.place, "domain.aliases"));
            for (name, place, key) in
                std::iter::once((&entry.name.value, entry.name.place, "domain.name")).chain(aliases)
            {
                if names.contains(&name) {
                    self.problem(place, key, What::Twice(name.as_str().into()), Remedy::KeepOne);
                }
                names.push(name);
            }
        }
        let of_file: Vec<Domain> = config
            .domain
            .iter()
            .map(|entry| Domain {
                name: entry.name.value.as_str().into(),
                aliases: entry.aliases.value.iter().map(|alias| alias.as_str().into()).collect(),
                service_route: entry.service_route.value.iter().map(RouteUri::value).collect(),
                registrants: entry.registrants.value.iter().map(|user| user.as_str().into()).collect(),
                mode: entry.mode.value,
                leaves_path: !entry.record_route.value,
                skips_path: !entry.path.value,
                next_hops: NextHops(entry.next_hop.value.iter().map(|hop| hop.uri().clone()).collect()),
            })
            .collect();
        let named = |name: &HostName| {
            let known = of_file.iter().find(|domain| domain.name == name.as_str());
            known.cloned().unwrap_or_else(|| Domain { name: name.as_str().into(), ..Domain::default() })
        };
        if !facts.domains.is_empty() {
            facts.domains.iter().map(named).collect()
        } else if of_file.is_empty() {
            vec![named(&facts.fallback_domain)]
        } else {
            of_file
        }
    }

    fn groups(&mut self, domains: &[Domain]) -> Vec<Group> {
        let (groups, problems) = super::group::groups(self.config, domains);
        for (place, key, what, remedy) in problems {
            self.problem(place, key, what, remedy);
        }
        groups
    }

    fn trunks(&mut self, domains: &[Domain]) -> Vec<Trunk> {
        let (config, facts) = (self.config, self.facts);
        let mut report = |place: Option<Place>, key: &str, what: What, remedy: Remedy| {
            self.problem(place, key, what, remedy);
        };
        super::trunks::resolve(&config.trunk, facts.data, domains, &mut report)
    }

    /// Values of which one must not be larger than another.
    fn orders(&mut self) {
        let (registrar, timers) = (&self.config.registrar, &self.config.timers);
        let pairs = [
            (
                "registrar.expires_min",
                &registrar.expires_min,
                "registrar.expires_default",
                &registrar.expires_default,
            ),
            (
                "registrar.expires_default",
                &registrar.expires_default,
                "registrar.expires_max",
                &registrar.expires_max,
            ),
            ("timers.t1", &timers.t1, "timers.t2", &timers.t2),
            ("guesses.hold", &self.config.guesses.hold, "guesses.hold_max", &self.config.guesses.hold_max),
        ];
        for (less_key, less, more_key, more) in pairs {
            if less.value > more.value {
                // Of the two, that which the file sets, and the later one if it sets both.
                let (place, key) =
                    if more.place > less.place { (more.place, more_key) } else { (less.place, less_key) };
                let text = |key: &str, value: &Duration| format!("{key} = {}", Scalar::write(value)).into();
                let what =
                    What::Order { less: text(less_key, &less.value), more: text(more_key, &more.value) };
                self.problem(place, key, what, Remedy::ChangeEither);
            }
        }
    }

    /// The Expires header counts whole seconds (RFC 3261 §20.19).
    fn whole_seconds(&mut self) {
        let (registrar, calls) = (&self.config.registrar, &self.config.calls);
        let session = &self.config.session;
        let times = [
            ("registrar.expires_min", &registrar.expires_min),
            ("registrar.expires_default", &registrar.expires_default),
            ("registrar.expires_max", &registrar.expires_max),
            ("registrar.flow_timer", &registrar.flow_timer),
            ("calls.session_expires", &calls.session_expires),
            ("calls.session_expires_min", &calls.session_expires_min),
            ("session.expires", &session.expires),
            ("session.expires_min", &session.expires_min),
        ];
        for (key, time) in times.into_iter().filter(|(_, time)| time.value.subsec_nanos() > 0) {
            let came = Scalar::write(&time.value).trim_matches('"').into();
            let what = What::Malformed { expected: "whole seconds", came };
            self.problem(time.place, key, what, Remedy::Example("\"90s\""));
        }
    }

    /// What would let strangers in.
    fn doors(&mut self) {
        let config = self.config;
        let (required, foreign) = (&config.digest.required, &config.proxy.foreign);
        if self.facts.open {
            if config.server.public.value || self.facts.public {
                let remedy = Remedy::LeaveOutEither("--open", "public");
                self.problem(None, "--open", What::OpenRelay, remedy);
            }
            return;
        }
        if config.server.public.value || self.facts.public {
            if foreign.value == Foreign::Open {
                let remedy = Remedy::Close("proxy.foreign = \"authenticated\"");
                self.problem(foreign.place, "proxy.foreign", What::OpenRelay, remedy);
            }
            if !required.value {
                let remedy = Remedy::Close("digest.required = true");
                self.problem(required.place, "digest.required", What::OpenToAll, remedy);
            }
        }
        if foreign.value == Foreign::Authenticated && !required.value {
            let remedy = Remedy::OneOf(&["refuse", "open"]);
            self.problem(foreign.place, "proxy.foreign", What::NobodyAuthenticates, remedy);
        }
    }

    fn control(&mut self) -> PathBuf {
        let socket = &self.config.control.socket;
        let path = self.facts.data.join(socket.value.as_path());
        let length = path.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            let remedy = Remedy::ShorterPath(SOCKET_PATH_MAX);
            self.problem(socket.place, "control.socket", What::PathTooLong(length), remedy);
        }
        path
    }
}
