//! Every single packet of the basic call and of a registration is lost once, doubled once and refused once, with our proxy
//! between the phones and with our back-to-back user agent.

use std::time::Duration;

use dialtone_sim::roles::io::{ChangeBy, Command, EndReason, Event, HoldForm, Play};
use dialtone_sim::roles::settings::Mode;
use dialtone_sim::scene::{CallOutcome, Scene, findings};
use dialtone_sim::{History, Planned, What};

/// A basic call through a server of this mode, with these faults.
fn call(mode: Mode, shards: u16, faults: &[(usize, Planned)]) -> (History, CallOutcome) {
    let mut scene = Scene::with(1, shards, |settings| {
        settings.domains.iter_mut().for_each(|domain| domain.mode = mode);
    });
    scene.world.network.plan.extend(faults.iter().copied());
    scene.basic_call();
    scene.finish()
}

fn check_same_call(mode: Mode, shards: u16, faults: &[(usize, Planned)]) {
    let (history, outcome) = call(mode, shards, faults);
    assert_eq!(outcome, CallOutcome::good(), "{faults:?}");
    assert_eq!(findings(&history), Vec::<String>::new(), "{faults:?}");
}

/// The number of packets of an undisturbed call: both ends see the same ones, whether we are between or an end ourselves.
fn packets(mode: Mode, shards: u16) -> usize {
    let (history, outcome) = call(mode, shards, &[]);
    assert_eq!(outcome, CallOutcome::good());
    // Two registrations of 4, INVITE with 407 and ACK, INVITE to ACK of 9, BYE of 4, two removals of 2.
    assert_eq!(history.packets.len(), 28);
    history.packets.len()
}

fn check_each_lost(mode: Mode, shards: u16) {
    for number in 0..packets(mode, shards) {
        check_same_call(mode, shards, &[(number, Planned::Lose)]);
    }
}

fn check_each_twice(mode: Mode, shards: u16) {
    for number in 0..packets(mode, shards) {
        for after in [0, 1, 30, 700, 3_000] {
            check_same_call(mode, shards, &[(number, Planned::Double(Duration::from_millis(after)))]);
        }
    }
}

fn check_each_two_lost(mode: Mode) {
    // Also those that are sent only because the first was lost.
    let count = packets(mode, 1) + 4;
    for first in 0..count {
        for second in first + 1..count {
            check_same_call(mode, 1, &[(first, Planned::Lose), (second, Planned::Lose)]);
        }
    }
}

#[test]
fn the_call_is_the_same_whichever_packet_is_lost() {
    [1, 2].into_iter().for_each(|shards| check_each_lost(Mode::Call, shards));
}

#[test]
fn the_call_is_the_same_whichever_packet_comes_twice() {
    [1, 2].into_iter().for_each(|shards| check_each_twice(Mode::Call, shards));
}

#[test]
fn the_call_is_the_same_whichever_two_packets_are_lost() {
    check_each_two_lost(Mode::Call);
}

#[test]
fn a_bridged_call_is_the_same_whichever_packet_is_lost() {
    [1, 3].into_iter().for_each(|shards| check_each_lost(Mode::B2bua, shards));
}

#[test]
fn a_bridged_call_is_the_same_whichever_packet_comes_twice() {
    [1, 3].into_iter().for_each(|shards| check_each_twice(Mode::B2bua, shards));
}

#[test]
fn a_bridged_call_is_the_same_whichever_two_packets_are_lost() {
    check_each_two_lost(Mode::B2bua);
}

#[test]
fn whichever_packet_is_refused_by_the_sender_the_call_ends_and_leaves_nothing() {
    let mut good = 0;
    for number in 0..packets(Mode::Call, 1) {
        let (history, outcome) = call_or_none(&[(number, Planned::Refuse)]);
        assert_eq!(findings(&history), Vec::<String>::new(), "packet {number}");
        good += u32::from(outcome == CallOutcome::good());
    }
    // What only answers or repeats may fail; a request that can't be sent ends its call (RFC 3261 §8.1.3.1).
    assert!(good > 10, "only {good} calls were not disturbed");
}

/// As [`call`], where it may be that bob's phone never rings.
fn call_or_none(faults: &[(usize, Planned)]) -> (History, CallOutcome) {
    let mut scene = Scene::new(1, 1);
    scene.world.network.plan.extend(faults.iter().copied());
    let (alice, bob) = (scene.alice, scene.bob);
    scene.register(alice);
    scene.register(bob);
    let to = dialtone_wire::uri::UriBuf::parse("sip:bob@example.com").unwrap();
    let play = dialtone_sim::roles::io::Play::Silence;
    scene.world.command(alice, Command::Call { token: 1, to, play: play.clone() });
    scene.world.run_for(Duration::from_secs(1));
    for call in scene.world.calls(bob) {
        scene.world.command(bob, Command::Answer { call, play: play.clone() });
    }
    scene.world.run_for(Duration::from_secs(3));
    scene.world.hang_up_all(bob);
    scene.world.run_for(Duration::from_secs(70));
    scene.world.hang_up_all(alice);
    scene.world.run_for(Duration::from_secs(70));
    scene.finish()
}

#[test]
fn a_refused_180_does_not_end_the_call() {
    let (clean, _) = call(Mode::Call, 1, &[]);
    let ringing = clean.packets.iter().position(|packet| packet.title().starts_with("180")).unwrap();
    let (history, outcome) = call(Mode::Call, 1, &[(ringing, Planned::Refuse)]);
    assert_eq!(outcome, CallOutcome::good());
    assert_eq!(findings(&history), Vec::<String>::new());
}

/// A call with early media in a reliable 183, that is held by UPDATE before it is answered and resumed after.
fn updated_call(faults: &[(usize, Planned)]) -> (History, CallOutcome) {
    let mut scene = Scene::new(3, 1);
    scene.world.network.plan.extend(faults.iter().copied());
    let (alice, bob, now) = (scene.alice, scene.bob, scene.world.now());
    scene.world.reload_at(now, bob, |settings| settings.session.reliable_ringing = true);
    scene.register(alice);
    scene.register(bob);
    let (at_alice, at_bob) = scene.ring();
    let by = ChangeBy::Update;
    let steps = [
        (bob, Command::Progress { call: at_bob, play: Play::Silence }),
        (alice, Command::Hold { call: at_alice, form: HoldForm::Direction, by }),
        (bob, Command::Answer { call: at_bob, play: Play::Silence }),
        (alice, Command::Resume { call: at_alice, by }),
        (bob, Command::Refresh { call: at_bob, by }),
    ];
    for (host, command) in steps {
        scene.world.run_for(Duration::from_secs(6));
        scene.world.command(host, command);
    }
    scene.world.run_for(Duration::from_secs(6));
    for host in [alice, bob] {
        let held = scene.world.events(host).filter(|event| matches!(event, Event::Held { .. })).count();
        let resumed = scene.world.events(host).filter(|event| matches!(event, Event::Resumed { .. })).count();
        assert_eq!((held, resumed), (1, 1), "{faults:?}");
    }
    scene.world.command(bob, Command::Hangup { call: at_bob });
    scene.ended(bob);
    scene.ended(alice);
    scene.finish()
}

#[test]
fn a_call_with_prack_and_update_is_the_same_whichever_packet_is_lost_or_comes_twice() {
    let (clean, outcome) = updated_call(&[]);
    assert_eq!(outcome, CallOutcome::good());
    let of = |method: &str| clean.packets.iter().filter(|packet| packet.title().starts_with(method)).count();
    // Each passes the proxy, and is sent twice.
    assert_eq!((of("PRACK"), of("UPDATE")), (4, 6));
    for number in 0..clean.packets.len() {
        for fault in [Planned::Lose, Planned::Double(Duration::ZERO), Planned::Double(Duration::from_secs(2))]
        {
            let (history, outcome) = updated_call(&[(number, fault)]);
            assert_eq!(outcome, CallOutcome::good(), "{number} {fault:?}");
            assert_eq!(findings(&history), Vec::<String>::new(), "{number} {fault:?}");
        }
    }
}

/// Registers, refreshes once and unregisters.
fn registration(faults: &[(usize, Planned)]) -> (History, Vec<&'static str>) {
    let mut scene = Scene::new(2, 2);
    scene.world.network.plan.extend(faults.iter().copied());
    let alice = scene.alice;
    scene.register(alice);
    // Long enough for the refresh of a registration of 600 s.
    scene.world.run_for(Duration::from_secs(620));
    scene.world.command(alice, Command::Unregister);
    scene.world.run_for(Duration::from_secs(40));
    let events = scene.world.events(alice).map(name).collect();
    (scene.finish().0, events)
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::Registered { .. } => "registered",
        Event::Unregistered => "unregistered",
        Event::RegistrationFailed { .. } => "failed",
        _ => "other",
    }
}

#[test]
fn the_registration_is_the_same_whichever_packet_is_lost_or_comes_twice() {
    let (clean, events) = registration(&[]);
    assert_eq!(events, ["registered", "registered", "unregistered"]);
    let count = clean.packets.len();
    assert!(count >= 8, "challenge, refresh and removal: {count}");
    for number in 0..count {
        for fault in [Planned::Lose, Planned::Double(Duration::ZERO), Planned::Double(Duration::from_secs(2))]
        {
            let (history, found) = registration(&[(number, fault)]);
            assert_eq!(found, events, "{number} {fault:?}");
            assert_eq!(findings(&history), Vec::<String>::new(), "{number} {fault:?}");
        }
    }
}

#[test]
fn a_caller_that_gives_up_leaves_nothing_whichever_packet_is_lost() {
    let run = |fault: Option<usize>| {
        let mut scene = Scene::new(3, 1);
        scene.world.network.plan.extend(fault.map(|number| (number, Planned::Lose)));
        let (alice, bob) = (scene.alice, scene.bob);
        scene.register(alice);
        scene.register(bob);
        let (at_alice, _) = scene.ring();
        scene.world.run_for(Duration::from_secs(2));
        scene.world.command(alice, Command::Hangup { call: at_alice });
        scene.ended(alice);
        scene.ended(bob);
        scene.finish()
    };
    let (clean, outcome) = run(None);
    let expected =
        CallOutcome { alice: (0, vec![EndReason::LocalHangup]), bob: (0, vec![EndReason::Cancelled]) };
    assert_eq!(outcome, expected);
    assert!(clean.notes.iter().any(|note| matches!(note.what, What::Command(Command::Hangup { .. }))));
    for number in 0..clean.packets.len() {
        let (history, outcome) = run(Some(number));
        assert_eq!(outcome, expected, "{number}");
        assert_eq!(findings(&history), Vec::<String>::new(), "{number}");
    }
}
