//! Calls through the back-to-back user agent that are cancelled or held, with every single packet lost once; the basic call
//! stands with the other ways in `exhaustive.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use dialtone_sim::roles::io::{Command, EndReason};
use dialtone_sim::roles::settings::Mode;
use dialtone_sim::scene::{CallOutcome, Scene, findings};
use dialtone_sim::{History, Planned};
use dialtone_wire::{HeaderName, Limits, Message};

fn scene(seed: u64, shards: u16, faults: &[(usize, Planned)]) -> Scene {
    let mut scene = Scene::with(seed, shards, |settings| {
        settings.domains.iter_mut().for_each(|domain| domain.mode = Mode::B2bua);
    });
    scene.world.network.plan.extend(faults.iter().copied());
    scene
}

/// A basic call.
fn call(seed: u64, shards: u16) -> (History, CallOutcome) {
    let mut scene = scene(seed, shards, &[]);
    scene.basic_call();
    scene.finish()
}

/// The Call-IDs of all INVITEs.
fn call_ids(history: &History) -> BTreeSet<String> {
    let packets = history.packets.iter().filter(|packet| packet.title().starts_with("INVITE"));
    packets
        .filter_map(|packet| Message::parse(packet.bytes.clone(), &Limits::default()).ok())
        .filter_map(|invite| Some(String::from_utf8_lossy(invite.value(HeaderName::CallId)?).into_owned()))
        .collect()
}

#[test]
fn both_legs_of_a_bridge_live_on_one_shard_however_many_there_are() {
    // Were the second leg's Call-ID not one of its own shard, its answers would come to another one and be strays.
    for seed in 0..24 {
        let (history, outcome) = call(seed, 7);
        assert_eq!(outcome, CallOutcome::good(), "seed {seed}");
        assert_eq!(findings(&history), Vec::<String>::new(), "seed {seed}");
        assert_eq!(history.packets.len(), 28, "seed {seed}");
        assert_eq!(call_ids(&history).len(), 2, "one on each side");
    }
}

#[test]
fn a_bridged_caller_that_gives_up_leaves_nothing_whichever_packet_is_lost() {
    let run = |fault: Option<usize>| {
        let faults: Vec<_> = fault.map(|number| (number, Planned::Lose)).into_iter().collect();
        let mut scene = scene(3, 1, &faults);
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
    for number in 0..clean.packets.len() {
        let (history, outcome) = run(Some(number));
        assert_eq!(outcome, expected, "{number}");
        assert_eq!(findings(&history), Vec::<String>::new(), "{number}");
    }
}

#[test]
fn a_bridged_hold_is_the_same_whichever_packet_is_lost() {
    let run = |fault: Option<usize>| {
        let faults: Vec<_> = fault.map(|number| (number, Planned::Lose)).into_iter().collect();
        let mut scene = scene(5, 1, &faults);
        let (alice, bob) = (scene.alice, scene.bob);
        scene.register(alice);
        scene.register(bob);
        let (at_alice, at_bob) = scene.ring();
        let play = dialtone_sim::roles::io::Play::Silence;
        scene.world.command(bob, Command::Answer { call: at_bob, play });
        scene.answered(alice);
        scene.answered(bob);
        for (phone, call, hold) in [(alice, at_alice, true), (bob, at_bob, true), (alice, at_alice, false)] {
            scene.world.command(phone, Command::Reoffer { call, hold });
            scene.world.run_for(Duration::from_secs(10));
        }
        scene.world.command(bob, Command::Hangup { call: at_bob });
        scene.ended(bob);
        scene.ended(alice);
        scene.finish()
    };
    let (clean, outcome) = run(None);
    assert_eq!(outcome, CallOutcome::good());
    let reinvites = clean.packets.iter().filter(|packet| packet.title().starts_with("INVITE")).count();
    assert_eq!(reinvites, 3 + 3 * 2, "each change passes to the other side");
    for number in 0..clean.packets.len() {
        let (history, outcome) = run(Some(number));
        assert_eq!(outcome, CallOutcome::good(), "{number}");
        assert_eq!(findings(&history), Vec::<String>::new(), "{number}");
    }
}
