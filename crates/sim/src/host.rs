//! Hosts that run engines of ours, and the settings that they begin with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use dialtone_roles::Engine;
use dialtone_roles::settings::{
    Account, Domain, Listener, Password, ReferPolicy, Robot, RobotKind, Secret, Settings, TransferSettings,
};
use dialtone_wire::net::Transport;
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;

use crate::phone::Person;
use crate::random::Random;

/// Seconds of Unix time at which every simulation starts.
const UNIX_START_S: u64 = 1_800_000_000;

/// A host with engines of ours.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) settings: Arc<Settings>,
    pub(crate) person: Option<Person>,
    /// Counts the restarts.
    pub(crate) life: u32,
    /// False while it is down.
    pub(crate) up: bool,
    pub(crate) shards: Vec<Shard>,
    /// When the last word from one shard to another arrives: word comes in order.
    pub(crate) words: BTreeMap<(u16, u16), Instant>,
    pub(crate) random: Random,
}

/// One engine.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) engine: Engine,
    /// The deadline that the engine asked for last.
    pub(crate) deadline: Option<Instant>,
    /// The earliest time in the queue at which the engine is woken.
    pub(crate) wakes_at: Option<Instant>,
    /// How often in a row the engine was woken without the time going on.
    pub(crate) spins: u32,
}

impl Host {
    pub(crate) fn new(name: &str, settings: Arc<Settings>, person: Option<Person>, random: Random) -> Host {
        let mut host = Host {
            name: name.to_owned(),
            settings,
            person,
            life: 0,
            up: true,
            shards: Vec::new(),
            words: BTreeMap::new(),
            random,
        };
        host.make_shards();
        host
    }

    /// Makes all engines anew, with nothing in them.
    pub(crate) fn make_shards(&mut self) {
        self.words.clear();
        let count = self.settings.shards;
        self.shards = (0..count)
            .map(|shard| {
                let engine = Engine::new(shard, self.random.bytes(), Arc::clone(&self.settings));
                Shard { engine, deadline: None, wakes_at: None, spins: 0 }
            })
            .collect();
    }
}

/// Settings of a server for one domain.
pub fn server_settings(domain: &str, address: SocketAddr, shards: u16) -> Settings {
    let robot = Robot { user: SmolStr::new_static("echo"), kind: RobotKind::Echo };
    Settings {
        shards,
        listeners: vec![listener(address)],
        domains: vec![Domain { name: SmolStr::new(domain), ..Default::default() }],
        robots: vec![robot],
        authenticate: true,
        journal: true,
        ..bare_settings()
    }
}

/// Settings of a phone. It registers at, and calls through, `proxy` if there is one.
pub fn phone_settings(aor: &str, password: &str, address: SocketAddr, proxy: Option<&str>) -> Settings {
    let aor = UriBuf::parse(aor).expect("the simulation writes right addresses");
    let user = aor.uri().as_sip().and_then(|uri| uri.user_unescaped()).unwrap_or_default();
    let account = Account {
        aor,
        display_name: None,
        auth_user: user,
        password: Password(SmolStr::new(password)),
        proxy: proxy.map(|proxy| UriBuf::parse(proxy).expect("the simulation writes right addresses")),
        backup_proxy: None,
        realms: Vec::new(),
        expires_s: 600,
    };
    let transfer = TransferSettings { referred: ReferPolicy::Accept, ..TransferSettings::default() };
    Settings { listeners: vec![listener(address)], account: Some(account), transfer, ..bare_settings() }
}

fn bare_settings() -> Settings {
    Settings {
        unix_start_s: UNIX_START_S,
        product: SmolStr::new_static("dialtone/sim"),
        ..Settings::new(Secret([7; 32]))
    }
}

const fn listener(address: SocketAddr) -> Listener {
    let prefix_length = if address.is_ipv4() { 8 } else { 64 };
    Listener { transport: Transport::Udp, address, prefix_length }
}
