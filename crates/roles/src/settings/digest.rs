//! What is asked of whom, and what becomes of those who guess.

use std::time::Duration;

use dialtone_wire::Method;

/// The rules of digest authentication on the server's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestSettings {
    /// How long a nonce is good.
    pub nonce_life: Duration,
    /// Nonces whose counts a shard follows.
    pub nonces_max: usize,
    /// Whether a nonce is good only for the address that it was given to.
    pub bind_nonce: bool,
    /// Whether the digest covers bodies.
    pub integrity: Integrity,
    /// Methods that need no password outside of dialogs. ACK and CANCEL never need one; REGISTER, and what leads
    /// out of our domains or over a trunk, always does.
    pub free: Methods,
    /// Methods that need a password within dialogs too, from users of ours.
    pub in_dialog: Methods,
}

impl Default for DigestSettings {
    fn default() -> Self {
        DigestSettings {
            nonce_life: Duration::from_secs(300),
            nonces_max: 65_536,
            bind_nonce: false,
            integrity: Integrity::Offered,
            free: Methods::default(),
            in_dialog: Methods::default(),
        }
    }
}

/// Whether the digest covers the body of a request (RFC 7616 §3.4, `qop=auth-int`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Integrity {
    /// It never does: a changed body passes.
    Off,
    /// The phone chooses.
    Offered,
    /// It always does: phones that can't are kept out.
    Required,
}

/// A set of methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Methods(u16);

impl Methods {
    /// Whether a method is in it. Methods that no RFC of ours defines never are.
    pub fn contains(self, method: &Method) -> bool {
        self.0 & bit(method) != 0
    }
}

impl FromIterator<Method> for Methods {
    fn from_iter<T: IntoIterator<Item = Method>>(methods: T) -> Methods {
        Methods(methods.into_iter().fold(0, |set, method| set | bit(&method)))
    }
}

const fn bit(method: &Method) -> u16 {
    1 << match method {
        Method::Invite => 0,
        Method::Ack => 1,
        Method::Bye => 2,
        Method::Cancel => 3,
        Method::Options => 4,
        Method::Register => 5,
        Method::Prack => 6,
        Method::Update => 7,
        Method::Info => 8,
        Method::Refer => 9,
        Method::Subscribe => 10,
        Method::Notify => 11,
        Method::Publish => 12,
        Method::Message => 13,
        _ => return 0,
    }
}

/// When somebody who fails to show a password is held off. Numbers are per shard, but whom one shard holds off, all do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuessSettings {
    /// Wrong passwords of one user at one source within the window; 0 holds nobody off for that.
    pub failures: u32,
    /// Wrong passwords at one source, whoever the user; 0 holds nobody off for that.
    pub source_failures: u32,
    /// The window.
    pub window: Duration,
    /// For how long somebody is held off the first time; each failure after that doubles it.
    pub hold: Duration,
    /// For how long at most.
    pub hold_max: Duration,
    /// Users and sources whose failures are remembered.
    pub entries_max: usize,
}

impl Default for GuessSettings {
    fn default() -> Self {
        GuessSettings {
            failures: 5,
            source_failures: 20,
            window: Duration::from_secs(60),
            hold: Duration::from_secs(30),
            hold_max: Duration::from_secs(3600),
            entries_max: 65_536,
        }
    }
}
