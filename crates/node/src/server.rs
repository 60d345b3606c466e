//! A SIP server: domains with their users, on real sockets.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dialtone_dialog::digest::StoredCredential;
use dialtone_roles::io::Event;
use dialtone_roles::settings::{Domain, Foreign, Listener, Robot, RobotKind, Secret, Settings};
use dialtone_transport::stream::StreamSettings;
use dialtone_wire::uri::Host;
use smol_str::SmolStr;

use crate::counters::Counters;
use crate::listen::{ListenAddress, is_public, listeners, own_addresses};
use crate::media::{MediaReport, MediaSettings};
use crate::running::{ENGINE_TURN, NodeParts, Running, StartError};
use crate::shard::DumpPlace;
use crate::store::{Folder, JournalParts, MemoryStore, SqliteStore, Store};
use crate::tap::Tap;
use crate::users::Users;
use crate::{clock, random};

/// The users of a server that has none.
pub const FIRST_USERS: [&str; 2] = ["alice", "bob"];
/// The robot that sends back what it hears.
pub const ECHO_USER: &str = "echo";
/// The domain of a machine without a name.
const NAMELESS: &str = "localhost";

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
    /// Whether registrations outlive the process, where the data is in a folder: each is acknowledged once it is
    /// written.
    pub journal: bool,
    /// How long a registration waits for others, to be written together with them.
    pub batch: Duration,
    /// How many shards there are, 1 to 64.
    pub shards: u16,
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
            journal: true,
            batch: Duration::from_millis(5),
            shards: 1,
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
    store: Box<dyn Store>,
    new_users: Vec<NewUser>,
    user_names: Vec<SmolStr>,
}

impl Server {
    /// Starts a server. In a store without users, alice and bob are made; see [`Server::new_users`].
    ///
    /// # Errors
    /// When an address can't be listened on, or the data can't be used.
    pub fn start(config: ServerConfig) -> Result<Server, StartError> {
        let domains = domains(&config.domains)?;
        let own = own_addresses()?;
        let listeners = listeners(&config.listen, config.public, &own)?;
        if config.open {
            refuse_public(&listeners)?;
        }
        let (mut store, dumps) = open(&config.data)?;
        let domain = domains[0].name.clone();
        let new_users = first_users(store.as_mut(), &domain)?;
        let users = store.users()?;
        let user_names: Vec<SmolStr> = users
            .iter()
            .filter(|user| user.domain() == domain)
            .map(|user| SmolStr::new(user.user()))
            .collect();
        if user_names.is_empty() {
            tracing::warn!(%domain, "the domain has no users, but the data has users of another one: is --domain right?");
        }
        if config.open {
            tracing::warn!("OPEN: nobody is asked for a password, and requests are forwarded to any domain");
        }
        let settings = Settings {
            shards: config.shards,
            unix_start_s: clock::unix_start_s(),
            listeners,
            domains,
            robots: vec![Robot { user: SmolStr::new_static(ECHO_USER), kind: RobotKind::Echo }],
            authenticate: !config.open,
            foreign: if config.open { Foreign::Open } else { Foreign::Refuse },
            ..Settings::new(Secret(random::seed()))
        };
        let journal = store.journal()?.filter(|_| config.journal);
        let journal = journal.map(|store| JournalParts { store, batch: config.batch });
        let running = Running::start(NodeParts {
            settings,
            users: Users::new(users),
            media: config.media,
            events: Arc::new(log_event),
            reports: Box::new(|report| log_report(&report)),
            tap: config.tap,
            dumps,
            streams: StreamSettings::default(),
            turn: ENGINE_TURN,
            journal,
        })?;
        Ok(Server { running, store, new_users, user_names })
    }

    /// Where it listens, with the real ports.
    pub fn listeners(&self) -> &[Listener] {
        &self.running.settings().listeners
    }

    /// The first domain.
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
    /// When the store fails; nothing changes then.
    pub fn put_user(&mut self, name: &str, password: &str) -> Result<(), StartError> {
        let domain = SmolStr::new(self.domain());
        self.store.put_user(&StoredCredential::from_password(name, &domain, &domain, password))?;
        self.running.set_users(Users::new(self.store.users()?));
        if !self.user_names.iter().any(|known| known == name) {
            self.user_names.push(SmolStr::new(name));
        }
        Ok(())
    }

    /// What it counted so far, without the media thread.
    pub fn counters(&self) -> Counters {
        self.running.counters()
    }

    /// Ends it and gives the last counters.
    pub fn stop(self) -> Counters {
        self.running.stop()
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("listeners", &self.listeners()).finish_non_exhaustive()
    }
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

/// The domains by name, at least one. The first one has the names of the machine as aliases, and answers to its
/// addresses.
fn domains(names: &[String]) -> Result<Vec<Domain>, StartError> {
    let machine = machine_name();
    let mut domains: Vec<Domain> = Vec::new();
    for name in names.iter().map(String::as_str).chain(names.is_empty().then_some(machine.as_str())) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if Host::parse(&name).is_err() {
            return Err(StartError::Domain(name));
        }
        if !domains.iter().any(|domain| domain.name == name) {
            domains.push(Domain { name: name.into(), aliases: Vec::new() });
        }
    }
    let aliases = [NAMELESS.to_owned(), format!("{machine}.local"), machine];
    for alias in aliases {
        let is_new = domains.iter().all(|domain| domain.name != alias);
        if is_new && Host::parse(&alias).is_ok() {
            domains[0].aliases.push(alias.into());
        }
    }
    Ok(domains)
}

fn machine_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().to_ascii_lowercase();
    if name.is_empty() || name == "(none)" || Host::parse(&name).is_err() {
        NAMELESS.to_owned()
    } else {
        name
    }
}

fn refuse_public(listeners: &[Listener]) -> Result<(), StartError> {
    let public = listeners.iter().map(|listener| listener.address.ip()).find(|ip: &IpAddr| is_public(*ip));
    public.map_or(Ok(()), |ip| Err(StartError::OpenToPublic(ip)))
}

/// No user, number or address above debug (invariant 8).
fn log_event(shard: u16, event: Event) {
    match event {
        Event::BindingsChanged { bindings, .. } => tracing::info!(shard, bindings, "registration"),
        Event::Incoming { .. } => tracing::info!(shard, "a robot is called"),
        Event::Answered { .. } => tracing::info!(shard, "a robot answered"),
        Event::Ended { reason, .. } => tracing::info!(shard, ?reason, "a robot's call ended"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_lower_case_and_differ_and_the_first_has_the_names_of_the_machine() {
        let names = ["Sip.Test.".to_owned(), "sip.test".to_owned(), "b.test".to_owned()];
        let domains = domains(&names).expect("domains");
        assert_eq!(
            domains.iter().map(|domain| domain.name.as_str()).collect::<Vec<_>>(),
            ["sip.test", "b.test"]
        );
        assert!(domains[0].aliases.iter().any(|alias| alias == "localhost"));
        assert!(domains[1].aliases.is_empty());
    }

    #[test]
    fn without_a_domain_it_is_that_of_the_machine() {
        let domains = domains(&[]).expect("a domain");
        assert_eq!(domains.len(), 1);
        assert_eq!(domains[0].name, machine_name());
    }

    #[test]
    fn a_name_that_no_uri_can_hold_is_refused() {
        for name in ["", "a b", "sip:a", "a@b"] {
            assert!(matches!(domains(&[name.to_owned()]), Err(StartError::Domain(_))), "{name:?}");
        }
    }
}
