//! Each checker can fail: a fault is planted into the history of a good call, and the checker finds it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dialtone_sim::checkers::{CHECKERS, Traffic};
use dialtone_sim::roles::io::{Command, Event, Play};
use dialtone_sim::scene::{Scene, address, findings};
use dialtone_sim::swarm::{self, NO_PANIC, Report, SAME_RUN, TWICE};
use dialtone_sim::{History, LeaseEvent, Note, Packet, What};

/// The history of a good call.
fn good() -> History {
    let mut scene = Scene::new(1, 1);
    scene.basic_call();
    scene.finish().0
}

/// Plants a fault; the named checker must find it, and must have found nothing before.
fn check(name: &str, plant: impl FnOnce(&mut History)) {
    check_in(name, good(), plant);
}

fn check_in(name: &str, mut history: History, plant: impl FnOnce(&mut History)) {
    let checker = CHECKERS.iter().find(|checker| checker.name == name).expect("the checker exists");
    let before = checker.judge(&history, &Traffic::of(&history));
    assert!(before.judged > 0, "{name} judged nothing in a good call");
    assert_eq!(before.findings, Vec::<String>::new());
    plant(&mut history);
    let after = checker.judge(&history, &Traffic::of(&history));
    assert!(!after.findings.is_empty(), "{name} did not find what was planted");
}

/// Whether a packet went from a host of the scene to another and begins with this.
fn is(packet: &Packet, from: u8, to: u8, start: &str) -> bool {
    packet.from == address(from) && packet.to == address(to) && packet.bytes.starts_with(start.as_bytes())
}

const PROXY: u8 = 1;
const ALICE: u8 = 11;
const BOB: u8 = 12;

fn has(packet: &Packet, text: &str) -> bool {
    String::from_utf8_lossy(&packet.bytes).contains(text)
}

fn first(history: &History, which: impl Fn(&Packet) -> bool) -> Packet {
    history.packets.iter().find(|packet| which(packet)).expect("the good call has it").clone()
}

/// A copy of a packet with another text in place of the first.
fn changed(packet: &Packet, from: &str, to: &str) -> Packet {
    let text = String::from_utf8(packet.bytes.to_vec()).expect("our own messages are text");
    assert!(text.contains(from), "{text} has {from}");
    Packet { bytes: text.replacen(from, to, 1).into(), ..packet.clone() }
}

fn later(packet: &Packet, by: Duration) -> Packet {
    let arrivals = packet.arrivals.iter().map(|at| *at + by).collect();
    Packet { sent: packet.sent + by, arrivals, ..packet.clone() }
}

fn is_ended(note: &Note) -> bool {
    matches!(note.what, What::Event(Event::Ended { .. }))
}

#[test]
fn the_good_call_is_found_good() {
    assert_eq!(findings(&good()), Vec::<String>::new());
}

#[test]
fn an_invite_without_final_answer_is_found() {
    check("each INVITE gets exactly one final answer", |history| {
        history
            .packets
            .retain(|packet| !(is(packet, BOB, PROXY, "SIP/2.0 200") && has(packet, " INVITE\r\n")));
    });
}

#[test]
fn a_refusal_after_a_success_is_found() {
    check("each INVITE gets exactly one final answer", |history| {
        let success =
            first(history, |packet| is(packet, BOB, PROXY, "SIP/2.0 200") && has(packet, " INVITE\r\n"));
        history.packets.push(changed(&success, "200 OK", "486 Busy Here"));
    });
}

#[test]
fn an_answer_to_an_ack_is_found() {
    check("no answer to an ACK", |history| {
        let success =
            first(history, |packet| is(packet, BOB, PROXY, "SIP/2.0 200") && has(packet, " INVITE\r\n"));
        history.packets.push(changed(
            &changed(&success, "200 OK", "502 Bad Gateway"),
            " INVITE\r\n",
            " ACK\r\n",
        ));
    });
}

#[test]
fn a_2xx_that_is_not_repeated_is_found() {
    check("a 2xx is repeated until its ACK", |history| {
        history.packets.retain(|packet| !is(packet, PROXY, BOB, "ACK") && !has(packet, " BYE\r\n"));
    });
}

#[test]
fn a_bye_ahead_of_the_ack_is_found() {
    check("no BYE before the ACK by the callee", |history| {
        let acks = history.packets.iter_mut().filter(|packet| is(packet, PROXY, BOB, "ACK"));
        acks.for_each(|ack| ack.arrivals.clear());
    });
}

#[test]
fn a_second_bye_is_found() {
    check("one BYE by each side", |history| {
        let bye = first(history, |packet| is(packet, BOB, PROXY, "BYE"));
        history.packets.push(changed(&bye, "branch=z9hG4bK", "branch=z9hG4bKagain"));
    });
}

#[test]
fn a_cseq_that_does_not_rise_is_found() {
    check("CSeq numbers of a dialog rise", |history| {
        let invite = history.packets.iter().rfind(|packet| is(packet, ALICE, PROXY, "INVITE")).unwrap();
        let again = changed(invite, "branch=z9hG4bK", "branch=z9hG4bKagain");
        history.packets.push(again);
    });
}

#[test]
fn a_call_that_never_ends_is_found() {
    check("each call ends, once", |history| {
        let at = history.notes.iter().position(is_ended).unwrap();
        history.notes.remove(at);
    });
}

#[test]
fn a_call_that_ends_twice_is_found() {
    check("each call ends, once", |history| {
        let note = history.notes.iter().find(|note| is_ended(note)).unwrap().clone();
        history.notes.push(note);
    });
}

#[test]
fn a_command_that_starts_two_calls_or_none_is_found() {
    let is_start = |note: &Note| matches!(note.what, What::Event(Event::CallStarted { .. }));
    check("each call command starts a call, once", |history| {
        let note = history.notes.iter().find(|note| is_start(note)).unwrap().clone();
        history.notes.push(note);
    });
    check("each call command starts a call, once", |history| history.notes.retain(|note| !is_start(note)));
}

#[test]
fn hanging_up_for_ever_is_found() {
    check("hanging up ends a call in time", |history| {
        for note in history.notes.iter_mut().filter(|note| is_ended(note)) {
            note.at = note.at + Duration::from_secs(70);
        }
    });
}

#[test]
fn a_request_that_outlives_its_timers_is_found() {
    check("no request is repeated beyond its timers", |history| {
        let register = first(history, |packet| is(packet, ALICE, PROXY, "REGISTER"));
        history.packets.push(later(&register, Duration::from_secs(33)));
    });
}

#[test]
fn a_response_that_outlives_its_timers_is_found() {
    check("no response is repeated beyond its timers", |history| {
        let answer = first(history, |packet| is(packet, BOB, PROXY, "SIP/2.0 200"));
        history.packets.push(later(&answer, Duration::from_secs(80)));
    });
}

#[test]
fn an_engine_that_does_not_sleep_is_found() {
    check("an engine sleeps until its deadline", |history| {
        let note = Note { what: What::Spins, ..history.notes[0].clone() };
        history.notes.push(note);
    });
}

#[test]
fn a_lease_that_is_given_back_twice_is_found() {
    check("leased ports are given back, once", |history| {
        let fact = *history.leases.iter().find(|fact| fact.event == LeaseEvent::Released).unwrap();
        history.leases.push(fact);
    });
}

#[test]
fn a_session_that_still_runs_is_found() {
    check("leased ports are given back, once", |history| {
        history.leases.retain(|fact| fact.event != LeaseEvent::Released);
    });
}

#[test]
fn offered_ports_that_never_come_back_are_found() {
    check("ports that were offered are given back", |history| {
        let at = history.leases.iter().position(|fact| fact.event == LeaseEvent::Released).unwrap();
        history.leases.remove(at);
    });
}

#[test]
fn what_goes_on_for_ever_is_found() {
    check("everything comes to rest", |history| history.at_rest = false);
    check("everything comes to rest", |history| history.hosts[0].deadlines = 1);
}

#[test]
fn a_table_that_is_not_empty_is_found() {
    check("tables are empty at rest", |history| history.hosts[0].tables.kept_bytes = 1);
    check("tables are empty at rest", |history| history.hosts[1].tables.calls = 1);
}

#[test]
fn a_panic_is_a_finding() {
    let outcome = swarm::judge_run(3, |_| panic!("planted"));
    assert_eq!(outcome.findings[0].0, NO_PANIC);
}

#[test]
fn two_runs_of_a_seed_that_differ_are_found() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let outcome = swarm::judge_run(TWICE, |_| {
        let mut history = good();
        history.packets.truncate(10 + RUNS.fetch_add(1, Ordering::Relaxed) as usize);
        history
    });
    assert!(outcome.findings.iter().any(|(name, _)| *name == SAME_RUN), "{:?}", outcome.findings);
}

#[test]
fn who_hangs_up_without_an_ack_says_bye_64_t1_after_the_answer_and_not_earlier() {
    let mut scene = Scene::new(1, 1);
    scene.world.network.swallows = Some(|bytes| bytes.starts_with(b"ACK "));
    let (alice, bob) = (scene.alice, scene.bob);
    scene.register(alice);
    scene.register(bob);
    let (_, call) = scene.ring();
    scene.world.command(bob, Command::Answer { call, play: Play::Silence });
    scene.answered(alice);
    scene.world.command(bob, Command::Hangup { call });
    scene.ended(bob);
    let (history, _) = scene.finish();
    assert_eq!(findings(&history), Vec::<String>::new());
    let answer =
        first(&history, |packet| is(packet, BOB, PROXY, "SIP/2.0 200") && has(packet, " INVITE\r\n"));
    let bye = first(&history, |packet| is(packet, BOB, PROXY, "BYE"));
    assert_eq!(bye.sent.since(answer.sent), Duration::from_secs(32));
}

#[test]
fn what_never_happened_fails_the_swarm() {
    let history = good();
    let mut report = Report::default();
    report.add(&swarm::judge_history(0, &history));
    let gaps = report.gaps();
    for expected in [
        "fault `partitioned` never fired",
        "arrow `INVITE client: Calling, Timer B -> Terminated` was never taken",
    ] {
        assert!(gaps.iter().any(|gap| gap == expected), "{gaps:?}");
    }
    let mut nothing = history.clone();
    nothing.packets.clear();
    let mut report = Report::default();
    report.add(&swarm::judge_history(1, &nothing));
    assert!(report.gaps().contains(&"checker `one BYE by each side` judged nothing".to_owned()));
    assert!(report.gaps().contains(&"no seed was run twice".to_owned()));
}
