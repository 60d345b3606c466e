//! A SIP server: domains with their users, on real sockets.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dialtone_dialog::digest::StoredCredential;
use dialtone_roles::io::Event;
use dialtone_roles::settings::{Listener, Secret, Settings};
use dialtone_transport::stream::StreamSettings;
use serde_json::json;
use smol_str::SmolStr;

use crate::configured::{Configured, LogControl, ReloadReport};
use crate::control::{Controls, Facts, Handler, NamedUser, Put, UserError, bind_http};
use crate::counters::Counters;
use crate::inbox::Sender;
use crate::listen::{ListenAddress, listeners, own_addresses};
use crate::media::{MediaReport, MediaSettings};
use crate::running::{ENGINE_TURN, NodeParts, Running, StartError};
use crate::shard::{DumpPlace, Word};
use crate::store::{Folder, JournalParts, MemoryStore, SqliteStore, Store};
use crate::subscribers::Subscribers;
use crate::tap::Tap;
use crate::users::Users;
use crate::{clock, random};

/// The users of a server that has none.
pub const FIRST_USERS: [&str; 2] = ["alice", "bob"];
/// The robot that sends back what it hears.
pub const ECHO_USER: &str = "echo";

/// Where a server keeps its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nowhere: all is forgotten at the end.
    Memory,
    /// In a folder of its own, which is made when it is not there.
    Folder(PathBuf),
}

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where the data is kept.
    pub data: Data,
    /// The domains that it is responsible for; without one, the name of the machine.
    pub domains: Vec<String>,
    /// Where it listens; without one, UDP port 5060 on the loopback and on all private addresses.
    pub listen: Vec<ListenAddress>,
    /// Whether it may listen on addresses that others can reach.
    pub public: bool,
    /// Whether nobody is asked for a password and requests are forwarded to any domain. For closed networks and tests;
    /// refused on addresses that others can reach.
    pub open: bool,
    /// How many shards there are, 1 to 64, whatever the settings file says.
    pub shards: Option<u16>,
    /// The settings file. What stands here wins over it.
    pub file: Option<PathBuf>,
    /// Settings as the text of a file, for a server that has no file.
    pub text: Option<String>,
    /// Who is told of a new level of the log.
    pub log: Option<LogControl>,
    /// What the media thread does.
    pub media: MediaSettings,
    /// Listens in on all messages.
    pub tap: Option<Tap>,
}

impl ServerConfig {
    /// The defaults, with data at this place.
    pub fn new(data: Data) -> ServerConfig {
        ServerConfig {
            data,
            domains: Vec::new(),
            listen: Vec::new(),
            public: false,
            open: false,
            shards: None,
            file: None,
            text: None,
            log: None,
            media: MediaSettings::default(),
            tap: None,
        }
    }
}

/// A user that was made at the first start, with the password that nobody can show again.
#[derive(Clone, PartialEq, Eq)]
pub struct NewUser {
    /// The name.
    pub name: SmolStr,
    /// The password. Only its digests are kept.
    pub password: SmolStr,
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A running server.
pub struct Server {
    running: Running,
    configured: Arc<Configured>,
    controls: Controls,
    new_users: Vec<NewUser>,
    user_names: Vec<SmolStr>,
}

impl Server {
    /// Starts a server. In a store without users, alice and bob are made; see [`Server::new_users`].
    ///
    /// # Errors
    /// When an address can't be listened on, or the data can't be used.
    pub fn start(config: ServerConfig) -> Result<Server, StartError> {
        let (file, resolved) = config.resolve()?;
        let own = own_addresses()?;
        let listeners = listeners(&resolved.listen, resolved.public, &own)?;
        let (mut store, dumps) = open(&config.data)?;
        let domain = resolved.domains[0].name.clone();
        // Where another server has the users, none are made here.
        let is_edge = !resolved.domains[0].next_hops.is_empty();
        let new_users = if is_edge { Vec::new() } else { first_users(store.as_mut(), &domain)? };
        let users = store.users()?;
        let user_names: Vec<SmolStr> = users
            .iter()
            .filter(|user| user.domain() == domain)
            .map(|user| SmolStr::new(user.user()))
            .collect();
        if user_names.is_empty() && !is_edge {
            tracing::warn!(%domain, "the domain has no users, but the data has users of another one: is --domain right?");
        }
        if config.open {
            tracing::warn!("OPEN: nobody is asked for a password, and requests are forwarded to any domain");
        }
        let mut streams = StreamSettings::default();
        streams.message.message_bytes = resolved.limits.message.message_bytes;
        let http = resolved
            .http
            .map(|address| bind_http(address).map_err(|source| StartError::Http { address, source }))
            .transpose()?;
        let secret = Secret(store.secret()?);
        let settings = resolved.settings(0, secret, clock::unix_start_s(), listeners);
        let journal = store.journal()?.filter(|_| resolved.store.journal);
        let journal = journal.map(|store| JournalParts {
            store,
            batch: resolved.store.batch,
            keep_records: resolved.store.keep_records,
        });
        let running = Running::start(NodeParts {
            settings,
            users: Users::new(users),
            media: config.media.clone(),
            events: Arc::new(log_event),
            reports: Box::new(|report| log_report(&report)),
            tap: config.tap.clone(),
            dumps,
            streams,
            turn: ENGINE_TURN,
            journal,
        })?;
        let socket = match &config.data {
            Data::Memory => None,
            Data::Folder(path) => Some((path.clone(), resolved.control.clone())),
        };
        let configured = Arc::new(Configured::new(config, file, resolved));
        let controls = controls(&running, &configured, store, socket, http)?;
        Ok(Server { running, configured, controls, new_users, user_names })
    }

    /// Where it listens, with the real ports.
    pub fn listeners(&self) -> &[Listener] {
        &self.running.settings().listeners
    }

    /// The first domain of the start: users that are made without naming a domain are in it.
    pub fn domain(&self) -> &str {
        &self.running.settings().domains[0].name
    }

    /// The users that this start has made. Their passwords are known to nobody else.
    pub fn new_users(&self) -> &[NewUser] {
        &self.new_users
    }

    /// The names of all users of the first domain.
    pub fn user_names(&self) -> &[SmolStr] {
        &self.user_names
    }

    /// Adds a user to the first domain, or gives an old one a new password; known at once.
    ///
    /// # Errors
    /// When the name or the password can't be used, or the store fails; nothing changes then.
    pub fn put_user(&mut self, name: &str, password: &str) -> Result<(), UserError> {
        let user = NamedUser { name: name.into(), domain: None, password: password.into() };
        self.controls.subscribers().put(&[user], Put::Any)?;
        if !self.user_names.iter().any(|known| known == name) {
            self.user_names.push(SmolStr::new(name));
        }
        Ok(())
    }

    /// What it counted so far, without the media thread.
    pub fn counters(&self) -> Counters {
        self.running.counters()
    }

    /// Reads the settings file again. What is good counts at once, in every shard as an input among others; what is
    /// bad changes nothing. The log is told too.
    pub fn reload(&self) -> ReloadReport {
        let (settings, shards) = self.running.shared();
        reload(&self.configured, &settings, &shards)
    }

    /// Where HTTP for monitoring listens, with the real port.
    pub fn http(&self) -> Option<SocketAddr> {
        self.controls.http()
    }

    /// Takes no new calls from now on, and ends those that it has itself. How long it may wait for what others have not
    /// finished is given back.
    pub fn drain(&self) -> Duration {
        self.configured.drain(self.running.settings(), |settings| self.running.configure(&settings));
        self.configured.resolved().drain
    }

    /// How much of what was begun before [`Server::drain`] is not finished: calls of its own, and calls that ring. `None` when a shard does not tell within a second.
    pub fn unfinished(&self) -> Option<usize> {
        self.running.unfinished()
    }

    /// Ends it at once and gives the last counters.
    pub fn stop(self) -> Counters {
        let store = self.controls.stop();
        let counters = self.running.stop();
        // The data folder is taken until the last registration is written.
        store.free();
        counters
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("listeners", &self.listeners()).finish_non_exhaustive()
    }
}

fn reload(configured: &Configured, settings: &Settings, shards: &[Sender<Word>]) -> ReloadReport {
    let report = configured.reload(settings, |settings| {
        for shard in shards {
            // A shard that is gone needs no settings.
            let _ = shard.send_patiently(Word::Configure(settings.clone()));
        }
    });
    for problem in &report.problems {
        tracing::error!(%problem, "the settings can't be taken; those of before go on");
    }
    if report.problems.is_empty() {
        let (changed, needs_restart) = (report.changed.join(" "), report.needs_restart.join(" "));
        tracing::info!(changed, needs_restart, "the settings were read again");
    }
    report
}

/// The control socket (in a folder, at a path) and HTTP.
fn controls(
    running: &Running,
    configured: &Arc<Configured>,
    store: Box<dyn Store>,
    socket: Option<(PathBuf, PathBuf)>,
    http: Option<TcpListener>,
) -> Result<Controls, StartError> {
    let (settings, shards) = running.shared();
    let domains = settings.domains.iter().map(|domain| domain.name.clone()).collect();
    let listen = settings
        .listeners
        .iter()
        .map(|listener| format!("{}:{}", listener.transport.token().to_ascii_lowercase(), listener.address));
    let listen = listen.collect();
    let (configured, to, of_start) = (configured.clone(), shards.clone(), settings.clone());
    let reload = move || {
        let report = reload(&configured, &settings, &to);
        let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        json!({"changed": report.changed, "needs_restart": report.needs_restart, "problems": problems})
    };
    let facts = Facts {
        listen,
        http: http.as_ref().and_then(|listener| listener.local_addr().ok()),
        started: clock::now(),
        settings: of_start,
        reload: Some(Box::new(reload)),
    };
    let handler = Handler {
        subscribers: Subscribers::new(store, shards, domains),
        facts: Some(facts),
        dialled: Default::default(),
    };
    let socket = socket.as_ref().map(|(folder, path)| (folder.as_path(), path.as_path()));
    Controls::start(handler, socket, http)
}

fn open(data: &Data) -> Result<(Box<dyn Store>, DumpPlace), StartError> {
    Ok(match data {
        Data::Memory => (Box::new(MemoryStore::new()), DumpPlace::default()),
        Data::Folder(path) => {
            let store = SqliteStore::open(Folder::take(path)?)?;
            let dumps = DumpPlace(Some(store.folder().path().to_path_buf()));
            (Box::new(store), dumps)
        }
    })
}

/// Makes the first users of an empty store.
fn first_users(store: &mut dyn Store, domain: &str) -> Result<Vec<NewUser>, StartError> {
    if !store.users()?.is_empty() {
        return Ok(Vec::new());
    }
    let mut new_users = Vec::new();
    for name in FIRST_USERS {
        let password = random::password();
        store.put_user(&StoredCredential::from_password(name, domain, domain, &password))?;
        new_users.push(NewUser { name: SmolStr::new_static(name), password });
    }
    Ok(new_users)
}

/// No user, number or address above debug (invariant 8).
fn log_event(shard: u16, event: Event) {
    match event {
        Event::BindingsChanged { bindings, .. } => tracing::info!(shard, bindings, "registration"),
        Event::HeldOff { guesser, time, times } => {
            let (hold_s, whole_source) = (time.as_secs(), guesser.user.is_none());
            tracing::warn!(shard, hold_s, times, whole_source, "too many wrong passwords: held off");
            tracing::debug!(shard, source = %guesser.source, user = guesser.user.as_deref(), "held off");
        }
        Event::Incoming { .. } => tracing::info!(shard, "a robot is called"),
        Event::Answered { .. } => tracing::info!(shard, "a robot answered"),
        Event::Ended { reason, .. } => tracing::info!(shard, ?reason, "a robot's call ended"),
        Event::ContactReach { aor, contact, reachable } => {
            tracing::info!(shard, reachable, "a registered phone answers, or does not any more");
            tracing::debug!(shard, reachable, %aor, %contact, "reach of a contact");
        }
        Event::TrunkAddress { trunk, address, up: true } => {
            tracing::info!(shard, %trunk, %address, "an address of a trunk answers");
        }
        Event::TrunkAddress { trunk, address, .. } => {
            tracing::warn!(shard, %trunk, %address, "an address of a trunk does not answer");
        }
        Event::TrunkRegistered { trunk, expires_s } => {
            tracing::info!(shard, %trunk, expires_s, "registered with a trunk");
        }
        Event::TrunkNotRegistered { trunk, status } => {
            let status = status.map(|status| status.code());
            tracing::warn!(shard, %trunk, status, "not registered with a trunk");
        }
        Event::TrunkUnknownNumber { trunk, number } => {
            tracing::warn!(shard, %trunk, "a number of nobody was called from a trunk");
            tracing::debug!(shard, %trunk, %number, "a number of nobody was called from a trunk");
        }
        Event::RuleAnswered { rule, status } => {
            tracing::debug!(shard, %rule, status = status.code(), "a rule of the dial plan answered");
        }
        other => tracing::debug!(shard, event = ?other),
    }
}

fn log_report(report: &MediaReport) {
    let MediaReport { shard, report, .. } = report;
    tracing::info!(
        shard,
        sent = report.sent.packets,
        received = report.received.packets,
        lost = report.received.loss.map_or(0, |loss| loss.packets),
        jitter_ms = report.received.jitter_ms.unwrap_or_default(),
        level_dbfs = report.received.level_dbfs,
        "audio of a robot's call"
    );
}
