//! Two phones and a server, each an engine of its own, on a wire without loss: the first call.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dialtone_dialog::digest::StoredCredential;
use dialtone_roles::io::{
    Answer, CallEnd, CallHandle, Command, EndReason, Event, Input, Lease, MediaCommand, MediaEvent, Output,
    Play, Query, Side,
};
use dialtone_roles::settings::{Account, Domain, Listener, Password, Robot, RobotKind, Secret};
use dialtone_roles::{Engine, Settings, turn};
use dialtone_wire::net::{Transmit, Transport};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{Limits, Message};

const SERVER: &str = "127.0.0.1:5060";

struct Party {
    engine: Engine,
    address: &'static str,
    next: Option<(Instant, &'static str)>,
    events: Vec<Event>,
    /// Leases that run a session now.
    running: Vec<Lease>,
    released: usize,
    leased: u16,
}

struct World {
    parties: Vec<Party>,
    now: Instant,
    on_the_wire: VecDeque<Transmit>,
    /// First lines of all that was sent, with sender and receiver.
    log: Vec<String>,
}

fn listener(address: &str) -> Listener {
    Listener { transport: Transport::Udp, address: address.parse().unwrap(), prefix_length: 8 }
}

fn phone(user: &str, address: &'static str) -> Settings {
    Settings {
        listeners: vec![listener(address)],
        account: Some(Account {
            aor: UriBuf::parse(&format!("sip:{user}@sip.test")).unwrap(),
            display_name: None,
            auth_user: user.into(),
            password: Password(format!("{user}-pw").into()),
            proxy: Some(UriBuf::parse(&format!("sip:{SERVER};lr")).unwrap()),
            backup_proxy: None,
            realms: Vec::new(),
            expires_s: 600,
        }),
        ..Settings::new(Secret([1; 32]))
    }
}

impl World {
    fn new() -> World {
        let server = Settings {
            listeners: vec![listener(SERVER)],
            domains: vec![Domain { name: "sip.test".into(), ..Default::default() }],
            robots: vec![Robot { user: "echo".into(), kind: RobotKind::Echo }],
            ..Settings::new(Secret([7; 32]))
        };
        let alice = phone("alice", "127.0.0.2:5070");
        let bob = phone("bob", "127.0.0.3:5080");
        let parties = [(server, SERVER), (alice, "127.0.0.2:5070"), (bob, "127.0.0.3:5080")]
            .into_iter()
            .enumerate()
            .map(|(index, (settings, address))| Party {
                engine: Engine::new(0, [index as u8 + 1; 32], Arc::new(settings)),
                address,
                next: None,
                events: Vec::new(),
                running: Vec::new(),
                released: 0,
                leased: 0,
            })
            .collect();
        World { parties, now: Instant::from_millis(1), on_the_wire: VecDeque::new(), log: Vec::new() }
    }

    fn input(&mut self, index: usize, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let party = &mut self.parties[index];
            let mut outputs = Vec::new();
            party.next = turn(&mut party.engine, self.now, input, |output| outputs.push(output));
            for output in outputs {
                inputs.extend(self.carry_out(index, output));
            }
        }
    }

    fn carry_out(&mut self, index: usize, output: Output) -> Option<Input> {
        let party = &mut self.parties[index];
        match output {
            Output::Transmit(transmit) => {
                self.on_the_wire.push_back(transmit);
                None
            }
            Output::Query(id, Query::Credential { domain, user }) => {
                let known = ["alice", "bob"].contains(&user.as_str());
                let stored = known.then(|| {
                    Arc::new(StoredCredential::from_password(&user, &domain, &domain, &format!("{user}-pw")))
                });
                Some(Input::Answer(id, Answer::Credential(stored)))
            }
            Output::Media(MediaCommand::Lease { address, count }) => {
                let first = party.leased;
                party.leased += count;
                let leases = (first..party.leased)
                    .map(|n| Lease { id: n.into(), epoch: 0, rtp: (address, 10_000 + 2 * n).into() })
                    .collect();
                Some(Input::Media(MediaEvent::Leased(leases)))
            }
            Output::Media(MediaCommand::Apply { lease, .. }) => {
                if !party.running.contains(&lease) {
                    party.running.push(lease);
                }
                None
            }
            Output::Media(MediaCommand::Release { lease }) => {
                party.running.retain(|running| *running != lease);
                party.released += 1;
                None
            }
            Output::Event(event) => {
                party.events.push(event);
                None
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn pump(&mut self) {
        while let Some(transmit) = self.on_the_wire.pop_front() {
            let to = self.parties.iter().position(|party| party.address == transmit.flow.remote.to_string());
            let message = Message::parse(transmit.bytes.clone(), &Limits::default()).unwrap();
            message.check().unwrap();
            let line = match message.method() {
                Some(method) => method.to_string(),
                None => message.status().unwrap().to_string(),
            };
            self.log.push(format!("{} -> {}: {line}", transmit.flow.local.ip(), transmit.flow.remote.ip()));
            let mut flow = transmit.flow;
            std::mem::swap(&mut flow.local, &mut flow.remote);
            self.input(to.expect("sent to a party"), Input::Packet { flow, bytes: transmit.bytes });
        }
    }

    fn command(&mut self, index: usize, command: Command) {
        self.input(index, Input::Command(command));
        self.pump();
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let due = self
                .parties
                .iter()
                .enumerate()
                .filter_map(|(i, party)| party.next.map(|(at, _)| (at, i)))
                .min();
            let Some((at, index)) = due.filter(|(at, _)| *at <= end) else { break };
            self.now = self.now.max(at);
            self.input(index, Input::Timeout);
            self.pump();
        }
        self.now = end;
    }

    fn events(&mut self, index: usize) -> Vec<Event> {
        std::mem::take(&mut self.parties[index].events)
    }

    /// The server's records: who called whom, and how it ended.
    fn recorded(&mut self) -> Vec<(String, String, CallEnd)> {
        let records = self.events(0).into_iter().filter_map(|event| match event {
            Event::CallRecorded(record) => Some(record),
            _ => None,
        });
        records.map(|record| (record.caller.to_string(), record.callee.to_string(), record.end)).collect()
    }

    fn register_all(&mut self) {
        for index in [1, 2] {
            self.command(index, Command::Register);
            let events = self.events(index);
            assert!(matches!(events[..], [Event::Registered { expires_s: 600 }]), "{events:?}");
        }
        self.log.clear();
    }

    fn assert_at_rest(&mut self) {
        self.pass(Duration::from_secs(70));
        for party in &self.parties {
            let mut tables = party.engine.tables();
            tables.bindings = 0;
            assert!(tables.iter().all(|(_, size)| size == 0), "{}: {tables:?}", party.address);
            assert!(party.running.is_empty());
        }
    }
}

const ALICE: usize = 1;
const BOB: usize = 2;

fn call_of(events: &[Event]) -> CallHandle {
    events
        .iter()
        .find_map(|event| match event {
            Event::CallStarted { call, .. } | Event::Incoming { call, .. } => Some(*call),
            _ => None,
        })
        .expect("a call")
}

fn call(to: &str) -> Command {
    Command::Call { token: 1, to: UriBuf::parse(to).unwrap(), play: Play::Silence }
}

#[test]
fn alice_calls_bob_and_bob_hangs_up() {
    let mut world = World::new();
    world.register_all();
    world.command(ALICE, call("sip:bob@sip.test"));
    let bobs = call_of(&world.events(BOB));
    world.command(BOB, Command::Answer { call: bobs, play: Play::Silence });
    world.command(BOB, Command::Hangup { call: bobs });
    let expected = "127.0.0.2 -> 127.0.0.1: INVITE
127.0.0.1 -> 127.0.0.2: 407
127.0.0.2 -> 127.0.0.1: ACK
127.0.0.2 -> 127.0.0.1: INVITE
127.0.0.1 -> 127.0.0.2: 100
127.0.0.1 -> 127.0.0.3: INVITE
127.0.0.3 -> 127.0.0.1: 180
127.0.0.1 -> 127.0.0.2: 180
127.0.0.3 -> 127.0.0.1: 200
127.0.0.1 -> 127.0.0.2: 200
127.0.0.2 -> 127.0.0.1: ACK
127.0.0.1 -> 127.0.0.3: ACK
127.0.0.3 -> 127.0.0.1: BYE
127.0.0.1 -> 127.0.0.2: BYE
127.0.0.2 -> 127.0.0.1: 200
127.0.0.1 -> 127.0.0.3: 200";
    assert_eq!(world.log.join("\n"), expected);
    let alices = world.events(ALICE);
    assert!(
        matches!(alices.last(), Some(Event::Ended { reason: EndReason::RemoteHangup, .. })),
        "{alices:?}"
    );
    assert!(alices.iter().any(|event| matches!(event, Event::Answered { .. })));
    let bobs = world.events(BOB);
    assert!(matches!(bobs.last(), Some(Event::Ended { reason: EndReason::LocalHangup, .. })), "{bobs:?}");
    assert_eq!(
        world.recorded(),
        [("sip:alice@sip.test".to_owned(), "sip:bob@sip.test".to_owned(), CallEnd::Callee)]
    );
    world.assert_at_rest();
}

#[test]
fn the_echo_robot_answers() {
    let mut world = World::new();
    world.register_all();
    world.command(ALICE, call("sip:echo@sip.test"));
    let events = world.events(ALICE);
    assert!(
        events.iter().any(|event| matches!(event, Event::Answered { .. })),
        "{events:?}\n{:#?}",
        world.log
    );
    assert_eq!(world.parties[0].running.len(), 1);
    world.command(ALICE, Command::Hangup { call: call_of(&events) });
    assert!(matches!(world.events(ALICE).last(), Some(Event::Ended { reason: EndReason::LocalHangup, .. })));
    assert_eq!(
        world.recorded(),
        [("sip:alice@sip.test".to_owned(), "sip:echo@sip.test".to_owned(), CallEnd::Caller)]
    );
    world.assert_at_rest();
}

#[test]
fn a_call_that_is_given_up_while_it_rings_ends_on_both_sides() {
    let mut world = World::new();
    world.register_all();
    world.command(ALICE, call("sip:bob@sip.test"));
    let alices = call_of(&world.events(ALICE));
    world.command(ALICE, Command::Hangup { call: alices });
    assert!(world.log.contains(&"127.0.0.1 -> 127.0.0.2: 487".to_string()), "{:#?}", world.log);
    let bobs = world.events(BOB);
    assert!(matches!(bobs.last(), Some(Event::Ended { reason: EndReason::Cancelled, .. })), "{bobs:?}");
    world.assert_at_rest();
}

#[test]
fn a_wrong_password_is_told_as_such() {
    let mut world = World::new();
    let mut settings = phone("alice", "127.0.0.2:5070");
    settings.account.as_mut().unwrap().password = Password("wrong".into());
    world.parties[ALICE].engine = Engine::new(0, [9; 32], Arc::new(settings));
    world.command(ALICE, Command::Register);
    let events = world.events(ALICE);
    assert!(matches!(events[..], [Event::RegistrationFailed { wrong_password: true, .. }]), "{events:?}");
}

#[test]
fn hold_and_resume_are_accepted() {
    let mut world = World::new();
    world.register_all();
    world.command(ALICE, call("sip:bob@sip.test"));
    let alices = call_of(&world.events(ALICE));
    let bobs = call_of(&world.events(BOB));
    world.command(BOB, Command::Answer { call: bobs, play: Play::Silence });
    world.events(BOB);
    for hold in [true, false] {
        world.command(ALICE, Command::Reoffer { call: alices, hold });
        let events = world.events(BOB);
        let by = Side::Remote;
        let told = match events[..] {
            [Event::SessionChanged { .. }, Event::Held { by: of, .. }] if of == by => Some(true),
            [Event::SessionChanged { .. }, Event::Resumed { by: of, .. }] if of == by => Some(false),
            _ => None,
        };
        assert_eq!(told, Some(hold), "{events:?}");
    }
    world.command(ALICE, Command::Hangup { call: alices });
    world.assert_at_rest();
}

#[test]
fn registrations_are_refreshed_before_they_end() {
    let mut world = World::new();
    world.register_all();
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.parties[0].engine.tables().bindings, 2);
    assert!(world.log.len() > 20);
    world.command(BOB, Command::Unregister);
    assert_eq!(world.parties[0].engine.tables().bindings, 1);
}
