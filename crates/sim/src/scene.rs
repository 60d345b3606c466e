//! The scene of most tests: one server, alice and bob, and a call between them, in a calm network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dialtone_roles::io::{CallHandle, Command, EndReason, Event, Play};
use dialtone_roles::settings::Settings;
use dialtone_wire::uri::UriBuf;

use crate::checkers::{CHECKERS, Traffic};
use crate::history::{History, What};
use crate::host::{phone_settings, server_settings};
use crate::phone::Habits;
use crate::world::{HostId, World};

/// Longer than everything that is waited for in a call.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than a registration.
const REST: Duration = Duration::from_secs(7_200);
/// The domain of the scene.
const DOMAIN: &str = "example.com";

/// One server, alice and bob.
#[derive(Debug)]
pub struct Scene {
    /// The world that they are in.
    pub world: World,
    /// The server of example.com.
    pub server: HostId,
    /// Alice's phone.
    pub alice: HostId,
    /// Bob's phone.
    pub bob: HostId,
}

/// How the call went for its two sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOutcome {
    /// How often alice's call was answered, and why each ended.
    pub alice: (usize, Vec<EndReason>),
    /// How often bob's call was answered, and why each ended.
    pub bob: (usize, Vec<EndReason>),
}

impl CallOutcome {
    /// A call that bob answered and ended.
    pub fn good() -> CallOutcome {
        CallOutcome { alice: (1, vec![EndReason::RemoteHangup]), bob: (1, vec![EndReason::LocalHangup]) }
    }
}

/// The address of a host of the scene.
pub const fn address(host: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)), 5060)
}

impl Scene {
    /// Sets the scene: passwords are asked for, both phones use the server as their proxy.
    pub fn new(seed: u64, shards: u16) -> Scene {
        Scene::with(seed, shards, |_| ())
    }

    /// The same with other settings of the server.
    pub fn with(seed: u64, shards: u16, change: impl FnOnce(&mut Settings)) -> Scene {
        let mut world = World::new(seed);
        let at = address(1);
        let mut settings = server_settings(DOMAIN, at, shards);
        change(&mut settings);
        let server = world.add_host("proxy", settings, Some(Habits::NONE));
        world.store.add_name(DOMAIN, at.ip());
        let mut phone = |name: &str, host| {
            world.store.add_user(DOMAIN, name, "secret");
            let proxy = format!("sip:{at};lr");
            let settings =
                phone_settings(&format!("sip:{name}@{DOMAIN}"), "secret", address(host), Some(&proxy));
            world.add_host(name, settings, Some(Habits::NONE))
        };
        let (alice, bob) = (phone("alice", 11), phone("bob", 12));
        Scene { world, server, alice, bob }
    }

    /// Registers a phone; whether it is registered.
    pub fn register(&mut self, phone: HostId) -> bool {
        self.world.command(phone, Command::Register);
        let registered = |event: &Event| matches!(event, Event::Registered { .. });
        self.world.run_until(PATIENCE, |world| world.events(phone).any(registered))
    }

    /// Lets alice call bob; the call as alice's phone and as bob's phone name it.
    ///
    /// # Panics
    /// When bob's phone never rings.
    pub fn ring(&mut self) -> (CallHandle, CallHandle) {
        let to = UriBuf::parse("sip:bob@example.com").expect("an address");
        self.world.command(self.alice, Command::Call { token: 1, to, play: Play::Silence });
        let bob = self.bob;
        assert!(self.world.run_until(PATIENCE, |world| !world.calls(bob).is_empty()), "bob's phone rings");
        (self.world.calls(self.alice)[0], self.world.calls(bob)[0])
    }

    /// Waits until a phone says that its call is answered; whether it does.
    pub fn answered(&mut self, phone: HostId) -> bool {
        let answered = |event: &Event| matches!(event, Event::Answered { .. });
        self.world.run_until(PATIENCE, |world| world.events(phone).any(answered))
    }

    /// Waits until a phone has no call; whether it has none.
    pub fn ended(&mut self, phone: HostId) -> bool {
        self.world.run_until(PATIENCE, |world| world.calls(phone).is_empty())
    }

    /// The basic call: both register, alice calls, bob answers after a second and hangs up a second after the
    /// call stands at both.
    pub fn basic_call(&mut self) {
        self.register(self.alice);
        self.register(self.bob);
        let (_, at_bob) = self.ring();
        self.world.run_for(Duration::from_secs(1));
        self.world.command(self.bob, Command::Answer { call: at_bob, play: Play::Silence });
        self.answered(self.alice);
        self.answered(self.bob);
        self.world.run_for(Duration::from_secs(1));
        self.world.command(self.bob, Command::Hangup { call: at_bob });
        self.ended(self.bob);
        self.ended(self.alice);
    }

    /// Takes the registrations away and lets everything come to rest: what happened, and how the call went.
    pub fn finish(mut self) -> (History, CallOutcome) {
        self.world.command(self.alice, Command::Unregister);
        self.world.command(self.bob, Command::Unregister);
        self.world.run_to_rest(REST);
        let (alice, bob) = (self.alice, self.bob);
        let history = self.world.into_history();
        let outcome = Scene::outcome(alice, bob, &history);
        (history, outcome)
    }

    /// How the call went, from the events.
    fn outcome(alice: HostId, bob: HostId, history: &History) -> CallOutcome {
        let of = |host: HostId| {
            let events =
                history.notes.iter().filter(|note| note.host == host).filter_map(|note| match &note.what {
                    What::Event(event) => Some(event),
                    _ => None,
                });
            let answered = events.clone().filter(|event| matches!(event, Event::Answered { .. })).count();
            let ends = events.filter_map(|event| match event {
                Event::Ended { reason, .. } => Some(*reason),
                _ => None,
            });
            (answered, ends.collect())
        };
        CallOutcome { alice: of(alice), bob: of(bob) }
    }
}

/// Lets all checkers judge a history: what they found, with the checker's name.
pub fn findings(history: &History) -> Vec<String> {
    let traffic = Traffic::of(history);
    let of = |checker: &crate::checkers::Checker| {
        let found = checker.judge(history, &traffic).findings;
        found.into_iter().map(|finding| format!("{}: {finding}", checker.name)).collect::<Vec<_>>()
    };
    CHECKERS.iter().flat_map(of).collect()
}
