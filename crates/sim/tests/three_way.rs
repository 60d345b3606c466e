//! A third joins a call of two: every single packet of it is lost once and doubled once.

use std::time::Duration;

use dialtone_sim::roles::io::{Command, EndReason, Event, JoinTarget, Play};
use dialtone_sim::scene::{Scene, address, findings};
use dialtone_sim::{Habits, History, HostId, Planned, World, phone_settings};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{Limits, Message, Method};

const PATIENCE: Duration = Duration::from_secs(120);

/// What became of the three: whether each step was reached, and why each call ended.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    joined: usize,
    ended: Vec<Vec<EndReason>>,
}

impl Outcome {
    /// Carol joins and leaves, alice and bob go on until bob hangs up.
    fn good() -> Outcome {
        let ended = vec![
            vec![EndReason::RemoteHangup],
            vec![EndReason::RemoteHangup, EndReason::LocalHangup],
            vec![EndReason::LocalHangup],
        ];
        Outcome { joined: 2, ended }
    }
}

fn count(world: &World, phone: HostId, is_it: impl Fn(&Event) -> bool) -> usize {
    world.events(phone).filter(|event| is_it(event)).count()
}

/// The dialog of the call with alice, as bob sees it: from the ACK, which has both tags.
fn dialog(world: &World) -> JoinTarget {
    let packets = world.packets().iter();
    let mut messages =
        packets.filter_map(|packet| Message::parse(packet.bytes.clone(), &Limits::default()).ok());
    // The one for the 407 came before it.
    let ack = messages.rfind(|message| message.method() == Some(&Method::Ack)).expect("an ACK");
    JoinTarget {
        call_id: ack.call_id().expect("a Call-ID").into(),
        to_tag: ack.to_tag().ok().flatten().expect("a tag").into(),
        from_tag: ack.from_tag().ok().flatten().expect("a tag").into(),
    }
}

fn three_way(faults: &[(usize, Planned)]) -> (History, Outcome) {
    let mut scene = Scene::new(5, 1);
    scene.world.network.plan.extend(faults.iter().copied());
    let (alice, bob) = (scene.alice, scene.bob);
    let world = &mut scene.world;
    world.store.add_user("example.com", "carol", "secret");
    let proxy = format!("sip:{};lr", address(1));
    let settings = phone_settings("sip:carol@example.com", "secret", address(13), Some(&proxy));
    let carol = world.add_host("carol", settings, Some(Habits::NONE));
    for phone in [alice, bob, carol] {
        scene.register(phone);
    }
    let (_, at_bob) = scene.ring();
    scene.world.command(bob, Command::Answer { call: at_bob, play: Play::Silence });
    for phone in [alice, bob] {
        assert!(scene.answered(phone), "{faults:?}");
    }
    let joins = dialog(&scene.world);
    let to = UriBuf::parse("sip:bob@example.com").unwrap();
    scene.world.command(carol, Command::CallToJoin { token: 1, to, play: Play::Silence, joins });
    let asked = |world: &World| count(world, bob, |event| matches!(event, Event::JoinAsked { .. })) == 1;
    assert!(scene.world.run_until(PATIENCE, asked), "{faults:?}");
    let asks = scene.world.calls(bob)[1];
    scene.world.command(bob, Command::Answer { call: asks, play: Play::Silence });
    let joined = |world: &World| count(world, bob, |event| matches!(event, Event::Joined { .. })) == 2;
    scene.world.run_until(PATIENCE, joined);
    assert!(scene.answered(carol), "{faults:?}");
    scene.world.run_for(Duration::from_secs(2));
    let at_carol = scene.world.calls(carol)[0];
    scene.world.command(carol, Command::Hangup { call: at_carol });
    scene.world.run_until(PATIENCE, |world| world.calls(bob).len() == 1);
    assert_eq!(scene.world.calls(bob), [at_bob], "the other goes on: {faults:?}");
    scene.world.command(bob, Command::Hangup { call: at_bob });
    for phone in [alice, bob, carol] {
        scene.ended(phone);
    }
    scene.world.command(carol, Command::Unregister);
    let joined = count(&scene.world, bob, |event| matches!(event, Event::Joined { .. }));
    let reasons = |phone| {
        let reasons = scene.world.events(phone).filter_map(|event| match event {
            Event::Ended { reason, .. } => Some(*reason),
            _ => None,
        });
        reasons.collect()
    };
    let ended = [alice, bob, carol].map(reasons).to_vec();
    (scene.finish().0, Outcome { joined, ended })
}

#[test]
fn a_third_joins_whichever_packet_is_lost_or_comes_twice() {
    let (clean, outcome) = three_way(&[]);
    assert_eq!(outcome, Outcome::good());
    assert_eq!(findings(&clean), Vec::<String>::new());
    for number in 0..clean.packets.len() {
        for fault in [Planned::Lose, Planned::Double(Duration::ZERO), Planned::Double(Duration::from_secs(2))]
        {
            let (history, outcome) = three_way(&[(number, fault)]);
            assert_eq!(outcome, Outcome::good(), "{number} {fault:?}");
            assert_eq!(findings(&history), Vec::<String>::new(), "{number} {fault:?}");
        }
    }
}
