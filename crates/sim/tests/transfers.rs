//! Transfers, and music for whom a phone holds, through a proxy that asks for passwords: every single packet of each is lost
//! once, and comes twice once.

use std::time::Duration;

use dialtone_sim::roles::io::{
    CallHandle, Command, EndReason, Event, Play, Side, TransferOutcome, TransferTo,
};
use dialtone_sim::roles::settings::{Limits, Mode, ReferPolicy};
use dialtone_sim::scene::{Scene, address, findings};
use dialtone_sim::{Habits, History, HostId, Planned, phone_settings};
use dialtone_wire::Status;
use dialtone_wire::uri::UriBuf;

const PATIENCE: Duration = Duration::from_secs(120);

/// alice, bob and carol behind one server.
struct Three {
    scene: Scene,
    carol: HostId,
}

fn uri(text: &str) -> UriBuf {
    UriBuf::parse(text).unwrap()
}

impl Three {
    fn new(shards: u16, faults: &[(usize, Planned)]) -> Three {
        Three::in_scene(Scene::new(1, shards), faults)
    }

    /// The same where the server is both ends of each call, and transfers for them.
    fn bridged(shards: u16) -> Three {
        let scene = Scene::with(1, shards, |settings| {
            settings.domains.iter_mut().for_each(|domain| domain.mode = Mode::B2bua);
        });
        Three::in_scene(scene, &[])
    }

    fn in_scene(mut scene: Scene, faults: &[(usize, Planned)]) -> Three {
        scene.world.network.plan.extend(faults.iter().copied());
        scene.world.store.add_user("example.com", "carol", "secret");
        let proxy = format!("sip:{};lr", address(1));
        let mut settings = phone_settings("sip:carol@example.com", "secret", address(13), Some(&proxy));
        // Hers is the music server, too.
        settings.transfer.strangers = ReferPolicy::Accept;
        let carol = scene.world.add_host("carol", settings, Some(Habits::NONE));
        for phone in [scene.alice, scene.bob, carol] {
            assert!(scene.register(phone));
        }
        Three { scene, carol }
    }

    /// A call that is answered; as its caller and as its callee name it.
    fn call(&mut self, from: HostId, to: (HostId, &str)) -> (CallHandle, CallHandle) {
        let (caller, callee) = self.ring(from, to);
        self.scene.world.command(to.0, Command::Answer { call: callee, play: Play::Silence });
        self.talks(from, caller);
        self.talks(to.0, callee);
        (caller, callee)
    }

    /// A call that rings.
    fn ring(&mut self, from: HostId, to: (HostId, &str)) -> (CallHandle, CallHandle) {
        let before = self.scene.world.calls(from).len();
        let to_uri = uri(&format!("sip:{}@example.com", to.1));
        self.scene
            .world
            .command(from, Command::Call { token: 10 + before as u64, to: to_uri, play: Play::Silence });
        assert!(
            self.scene.world.run_until(PATIENCE, |world| !world.calls(to.0).is_empty()),
            "{} rings",
            to.1
        );
        (self.scene.world.calls(from)[before], self.scene.world.calls(to.0)[0])
    }

    fn talks(&mut self, phone: HostId, call: CallHandle) {
        let answered = |event: &Event| matches!(event, Event::Answered { call: own } if *own == call);
        assert!(self.scene.world.run_until(PATIENCE, |world| world.events(phone).any(answered)));
    }

    fn outcome(&mut self, phone: HostId) -> TransferOutcome {
        let outcome = |event: &Event| match event {
            Event::TransferEnded { outcome, .. } => Some(*outcome),
            _ => None,
        };
        self.scene
            .world
            .run_until(PATIENCE, |world| world.events(phone).any(|event| outcome(event).is_some()));
        let found: Vec<_> = self.scene.world.events(phone).filter_map(outcome).collect();
        assert_eq!(found.len(), 1);
        found[0]
    }

    /// Everybody hangs up; what happened, with all that the checkers find.
    fn finish(mut self) -> History {
        for phone in [self.scene.alice, self.scene.bob, self.carol] {
            for call in self.scene.world.calls(phone) {
                self.scene.world.command(phone, Command::Hangup { call });
            }
            self.scene.world.run_until(PATIENCE, |world| world.calls(phone).is_empty());
        }
        self.scene.world.command(self.carol, Command::Unregister);
        self.scene.finish().0
    }
}

fn check(what: &str, transfer: fn(u16, &[(usize, Planned)]) -> History) {
    for shards in [1, 2] {
        let clean = transfer(shards, &[]);
        assert_eq!(findings(&clean), Vec::<String>::new(), "{what}");
        let count = clean.packets.len();
        assert!(count > 50, "{what}: {count} packets");
        for number in 0..count {
            for fault in [Planned::Lose, Planned::Double(Duration::from_millis(700))] {
                let history = transfer(shards, &[(number, fault)]);
                assert_eq!(
                    findings(&history),
                    Vec::<String>::new(),
                    "{what}, {shards} shards: {number} {fault:?}"
                );
            }
        }
    }
}

/// alice sends bob to carol, who answers; carol hangs up.
fn blind(shards: u16, faults: &[(usize, Planned)]) -> History {
    let mut three = Three::new(shards, faults);
    let (alice, bob, carol) = (three.scene.alice, three.scene.bob, three.carol);
    let (of_alice, of_bob) = three.call(alice, (bob, "bob"));
    three.scene.world.command(alice, Command::Reoffer { call: of_alice, hold: true });
    three.scene.world.run_for(Duration::from_secs(3));
    let to = TransferTo::Address(uri("sip:carol@example.com"));
    three.scene.world.command(alice, Command::Transfer { call: of_alice, to });
    assert!(three.scene.world.run_until(PATIENCE, |world| !world.calls(carol).is_empty()), "{faults:?}");
    let of_carol = three.scene.world.calls(carol)[0];
    three.scene.world.command(carol, Command::Answer { call: of_carol, play: Play::Silence });
    assert_eq!(three.outcome(alice), TransferOutcome::Done, "{faults:?}");
    three.talks(carol, of_carol);
    let gone =
        |world: &dialtone_sim::World| world.calls(alice).is_empty() && !world.calls(bob).contains(&of_bob);
    assert!(three.scene.world.run_until(PATIENCE, gone), "{faults:?}");
    assert_eq!(three.scene.world.calls(bob).len(), 1, "{faults:?}");
    three.scene.world.command(carol, Command::Hangup { call: of_carol });
    assert!(three.scene.world.run_until(PATIENCE, |world| world.calls(bob).is_empty()), "{faults:?}");
    three.finish()
}

/// alice calls bob, then carol, and joins the two; carol hangs up.
fn attended(shards: u16, faults: &[(usize, Planned)]) -> History {
    let mut three = Three::new(shards, faults);
    let (alice, bob, carol) = (three.scene.alice, three.scene.bob, three.carol);
    let (of_alice, of_bob) = three.call(alice, (bob, "bob"));
    three.scene.world.command(alice, Command::Reoffer { call: of_alice, hold: true });
    three.scene.world.run_for(Duration::from_secs(3));
    let (consultation, old) = three.call(alice, (carol, "carol"));
    let to = TransferTo::Call(consultation);
    three.scene.world.command(alice, Command::Transfer { call: of_alice, to });
    joined(three, of_bob, old, faults)
}

/// The same, but alice does not wait until carol answers (RFC 5589 §7.6, Figure 11).
fn semi_attended(shards: u16, faults: &[(usize, Planned)]) -> History {
    let mut three = Three::new(shards, faults);
    let (alice, bob, carol) = (three.scene.alice, three.scene.bob, three.carol);
    let (of_alice, of_bob) = three.call(alice, (bob, "bob"));
    three.scene.world.command(alice, Command::Reoffer { call: of_alice, hold: true });
    three.scene.world.run_for(Duration::from_secs(3));
    let (consultation, old) = three.ring(alice, (carol, "carol"));
    let to = TransferTo::Call(consultation);
    three.scene.world.command(alice, Command::Transfer { call: of_alice, to });
    three.scene.world.run_for(Duration::from_secs(2));
    three.scene.world.command(carol, Command::Answer { call: old, play: Play::Silence });
    joined(three, of_bob, old, faults)
}

/// bob and carol talk with each other; carol hangs up.
fn joined(mut three: Three, of_bob: CallHandle, old: CallHandle, faults: &[(usize, Planned)]) -> History {
    let (alice, bob, carol) = (three.scene.alice, three.scene.bob, three.carol);
    assert_eq!(three.outcome(alice), TransferOutcome::Done, "{faults:?}");
    let replaced = |event: &Event| matches!(event, Event::Replaced { call, .. } if *call == old);
    assert!(three.scene.world.events(carol).any(replaced), "{faults:?}");
    let ended =
        |event: &Event| matches!(event, Event::Ended { call, reason: EndReason::Replaced } if *call == old);
    assert!(three.scene.world.run_until(PATIENCE, |world| world.events(carol).any(ended)), "{faults:?}");
    let gone =
        |world: &dialtone_sim::World| world.calls(alice).is_empty() && !world.calls(bob).contains(&of_bob);
    assert!(three.scene.world.run_until(PATIENCE, gone), "{faults:?}");
    let (at_bob, at_carol) = (three.scene.world.calls(bob), three.scene.world.calls(carol));
    assert_eq!((at_bob.len(), at_carol.len()), (1, 1), "{faults:?}");
    three.scene.world.command(carol, Command::Hangup { call: at_carol[0] });
    assert!(three.scene.world.run_until(PATIENCE, |world| world.calls(bob).is_empty()), "{faults:?}");
    three.finish()
}

/// carol declines, and alice has bob back.
fn failing(shards: u16, faults: &[(usize, Planned)]) -> History {
    let mut three = Three::new(shards, faults);
    let (alice, bob, carol) = (three.scene.alice, three.scene.bob, three.carol);
    let (of_alice, of_bob) = three.call(alice, (bob, "bob"));
    let to = TransferTo::Address(uri("sip:carol@example.com"));
    three.scene.world.command(alice, Command::Transfer { call: of_alice, to });
    assert!(three.scene.world.run_until(PATIENCE, |world| !world.calls(carol).is_empty()), "{faults:?}");
    let of_carol = three.scene.world.calls(carol)[0];
    three.scene.world.command(carol, Command::Decline { call: of_carol, status: Status::of(486) });
    assert_eq!(three.outcome(alice), TransferOutcome::Failed(Status::of(486)), "{faults:?}");
    assert_eq!(three.scene.world.calls(alice), [of_alice], "{faults:?}");
    assert_eq!(three.scene.world.calls(bob), [of_bob], "{faults:?}");
    three.scene.world.run_for(Duration::from_secs(1));
    three.finish()
}

/// alice holds bob, who hears carol, takes him back, and hangs up.
fn with_music(shards: u16, faults: &[(usize, Planned)]) -> History {
    let mut three = Three::new(shards, faults);
    let (alice, bob, carol) = (three.scene.alice, three.scene.bob, three.carol);
    let (of_alice, of_bob) = three.call(alice, (bob, "bob"));
    let world = &mut three.scene.world;
    world.command(alice, Command::Reoffer { call: of_alice, hold: true });
    let held = |event: &Event| matches!(event, Event::Held { by: Side::Local, .. });
    assert!(world.run_until(PATIENCE, |world| world.events(alice).any(held)), "{faults:?}");
    world.command(alice, Command::Music { call: of_alice, source: uri("sip:carol@example.com") });
    let back = |event: &Event| match event {
        Event::MusicBegan { call, back } if *call == of_alice => Some(back.clone()),
        _ => None,
    };
    let is_told = |world: &dialtone_sim::World| world.events(alice).any(|event| back(event).is_some());
    assert!(world.run_until(PATIENCE, is_told), "{faults:?}");
    let gone =
        |world: &dialtone_sim::World| world.calls(alice).is_empty() && !world.calls(bob).contains(&of_bob);
    assert!(world.run_until(PATIENCE, gone), "{faults:?}");
    assert_eq!((world.calls(bob).len(), world.calls(carol).len()), (1, 1), "{faults:?}");
    let links: Vec<UriBuf> = world.events(alice).filter_map(back).collect();
    assert_eq!(links.len(), 1, "{faults:?}");
    world.command(alice, Command::Call { token: 99, to: links[0].clone(), play: Play::Silence });
    assert!(world.run_until(PATIENCE, |world| world.calls(carol).is_empty()), "{faults:?}");
    let taken = world.calls(alice)[0];
    three.talks(alice, taken);
    let world = &mut three.scene.world;
    assert!(world.run_until(PATIENCE, |world| world.calls(bob).len() == 1), "{faults:?}");
    assert_eq!(world.calls(alice), [taken], "{faults:?}");
    world.command(alice, Command::Hangup { call: taken });
    assert!(world.run_until(PATIENCE, |world| world.calls(bob).is_empty()), "{faults:?}");
    three.finish()
}

#[test]
fn music_on_hold_is_the_same_whichever_packet_is_lost_or_comes_twice() {
    check("music on hold", with_music);
}

/// The server is an end of each call: the one who is held stays in his, and only who talks with him changes.
#[test]
fn whom_a_phone_holds_in_a_bridged_call_hears_music_and_comes_back() {
    for shards in [1, 2] {
        let mut three = Three::bridged(shards);
        let (alice, bob, carol) = (three.scene.alice, three.scene.bob, three.carol);
        let (of_alice, of_bob) = three.call(alice, (bob, "bob"));
        let world = &mut three.scene.world;
        world.command(alice, Command::Reoffer { call: of_alice, hold: true });
        let held = |event: &Event| matches!(event, Event::Held { by: Side::Local, .. });
        assert!(world.run_until(PATIENCE, |world| world.events(alice).any(held)));
        world.command(alice, Command::Music { call: of_alice, source: uri("sip:carol@example.com") });
        let back = |event: &Event| match event {
            Event::MusicBegan { back, .. } => Some(back.clone()),
            _ => None,
        };
        let is_told = |world: &dialtone_sim::World| world.events(alice).any(|event| back(event).is_some());
        assert!(world.run_until(PATIENCE, is_told), "{shards}");
        assert!(world.run_until(PATIENCE, |world| world.calls(alice).is_empty()));
        assert_eq!((world.calls(bob), world.calls(carol).len()), (vec![of_bob], 1));
        let to = world.events(alice).find_map(back).expect("a way back");
        world.command(alice, Command::Call { token: 99, to, play: Play::Silence });
        assert!(world.run_until(PATIENCE, |world| world.calls(carol).is_empty()), "{shards}");
        let taken = world.calls(alice)[0];
        three.talks(alice, taken);
        assert_eq!(three.scene.world.calls(bob), [of_bob]);
        assert_eq!(findings(&three.finish()), Vec::<String>::new());
    }
}

#[test]
fn a_blind_transfer_is_the_same_whichever_packet_is_lost_or_comes_twice() {
    check("blind", blind);
}

#[test]
fn an_attended_transfer_is_the_same_whichever_packet_is_lost_or_comes_twice() {
    check("attended", attended);
}

#[test]
fn a_transfer_that_waits_for_the_answer_is_the_same_whichever_packet_is_lost_or_comes_twice() {
    check("semi-attended", semi_attended);
}

#[test]
fn a_transfer_that_fails_gives_the_call_back_whichever_packet_is_lost_or_comes_twice() {
    check("failing", failing);
}

/// Whoever has just answered a call sends the caller on to the next one: a ring without anybody who hangs up.
#[test]
fn a_thousand_transfers_in_a_ring_end_by_themselves_and_say_why() {
    let mut three = Three::new(1, &[]);
    let phones = [three.scene.alice, three.scene.bob, three.carol];
    let names = ["alice", "bob", "carol"];
    three.call(phones[0], (phones[1], "bob"));
    let mut done = 0;
    let mut at = 1;
    let last = loop {
        // alice called bob; bob sends alice to carol; carol sends alice to bob …
        let next = if at == 1 { 2 } else { 1 };
        let call = three.scene.world.calls(phones[at])[0];
        let before = outcomes(&three, phones[at]);
        let to = TransferTo::Address(uri(&format!("sip:{}@example.com", names[next])));
        three.scene.world.command(phones[at], Command::Transfer { call, to });
        three.scene.world.run_until(PATIENCE, |world| {
            !world.calls(phones[next]).is_empty() || count(world, phones[at]) > before.len()
        });
        if let Some(call) = three.scene.world.calls(phones[next]).first().copied() {
            three.scene.world.command(phones[next], Command::Answer { call, play: Play::Silence });
        }
        three.scene.world.run_until(PATIENCE, |world| count(world, phones[at]) > before.len());
        three.scene.world.run_for(Duration::from_secs(1));
        match outcomes(&three, phones[at]).last() {
            Some(TransferOutcome::Done) if done < 1_000 => done += 1,
            other => break other.copied(),
        }
        at = next;
    };
    assert_eq!(last, Some(TransferOutcome::Refused(Status::of(483))));
    assert_eq!(done, 50, "each begins with a hop less, from 70 down to 20");
    assert_eq!(findings(&three.finish()), Vec::<String>::new());
}

/// A REFER to the user with this number; how it ended.
fn refer(three: &mut Three, from: usize, to: usize) -> Option<TransferOutcome> {
    let phones = [three.scene.alice, three.scene.bob, three.carol];
    let call = three.scene.world.calls(phones[from])[0];
    let before = count(&three.scene.world, phones[from]);
    let name = ["alice", "bob", "carol"][to];
    let to_uri = TransferTo::Address(uri(&format!("sip:{name}@example.com")));
    three.scene.world.command(phones[from], Command::Transfer { call, to: to_uri });
    three.scene.world.run_until(PATIENCE, |world| {
        !world.calls(phones[to]).is_empty() || count(world, phones[from]) > before
    });
    if let Some(call) = three.scene.world.calls(phones[to]).first().copied() {
        three.scene.world.command(phones[to], Command::Answer { call, play: Play::Silence });
    }
    three.scene.world.run_until(PATIENCE, |world| count(world, phones[from]) > before);
    // Until who has transferred it is out of it, by himself or by the server.
    three.scene.world.run_for(Duration::from_secs(7));
    outcomes(three, phones[from]).last().copied()
}

/// A thousand transfers in a ring at the server, with its own limits: those that it makes are counted along the call, and
/// those above are refused and told why; the call goes on, and nothing piles up.
fn ring_at_the_server(next: fn(u32) -> [usize; 2]) {
    let mut three = Three::bridged(1);
    let server = three.scene.server;
    let bob = three.scene.bob;
    three.call(three.scene.alice, (bob, "bob"));
    let limit = u32::from(Limits::default().transfers);
    let mut most = [0; 4];
    for number in 0..1_000 {
        let [from, to] = next(number.min(limit));
        let expected = match number < limit {
            true => TransferOutcome::Done,
            false => TransferOutcome::Refused(Status::of(483)),
        };
        assert_eq!(refer(&mut three, from, to), Some(expected), "{number}");
        let tables = three.scene.world.tables(server);
        assert_eq!(tables.bridges, 1, "{number}");
        // Transactions live for 64·T1, so that no more are there at any time, however long it goes on.
        let now = [
            tables.server_transactions,
            tables.client_transactions,
            tables.kept_bytes,
            tables.bridge_requests,
        ];
        let is_later = number >= 300;
        for (most, now) in most.iter_mut().zip(now) {
            assert!(!is_later || now <= *most, "{number}: {tables:?}");
            *most = now.max(*most);
        }
    }
    let counters = three.scene.world.counters(server);
    assert_eq!((counters.transfers, counters.transfers_done), (32, 32));
    assert_eq!(counters.transfers_refused, 968);
    let history = three.finish();
    assert_eq!(findings(&history), Vec::<String>::new());
    let refusals: Vec<_> =
        history.packets.iter().filter(|packet| packet.title().starts_with("483")).collect();
    assert_eq!(refusals.len(), 968);
    let why = "transferred too often";
    assert!(refusals.iter().all(|packet| String::from_utf8_lossy(&packet.bytes).contains(why)));
}

/// Alice is sent from bob to carol and back, by whom she has reached.
#[test]
fn a_thousand_transfers_in_a_ring_at_the_server_are_thirty_two() {
    ring_at_the_server(|number| if number % 2 == 0 { [1, 2] } else { [2, 1] });
}

/// Each of the three sends another one on in turn: who has just been reached stays, and his partner goes.
#[test]
fn three_who_transfer_one_another_for_ever_are_stopped_by_the_server() {
    // alice-bob; alice brings carol to bob; bob brings alice to carol; carol brings bob to alice ...
    ring_at_the_server(|number| {
        let from = (number % 3) as usize;
        [from, (from + 2) % 3]
    });
}

fn outcomes(three: &Three, phone: HostId) -> Vec<TransferOutcome> {
    let outcomes = three.scene.world.events(phone).filter_map(|event| match event {
        Event::TransferEnded { outcome, .. } => Some(*outcome),
        _ => None,
    });
    outcomes.collect()
}

fn count(world: &dialtone_sim::World, phone: HostId) -> usize {
    world.events(phone).filter(|event| matches!(event, Event::TransferEnded { .. })).count()
}
