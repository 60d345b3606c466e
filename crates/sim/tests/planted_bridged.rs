//! Each checker of calls judges the legs of the back-to-back user agent too: a fault is planted into what the server says
//! on one of them, and the checker finds it.

use std::time::Duration;

use dialtone_sim::checkers::{CHECKERS, Traffic};
use dialtone_sim::roles::io::{ChangeBy, Command, HoldForm, Play};
use dialtone_sim::roles::settings::Mode;
use dialtone_sim::scene::{Scene, address, findings};
use dialtone_sim::{History, Packet};

const SERVER: u8 = 1;
const ALICE: u8 = 11;
const BOB: u8 = 12;

/// The histories of good calls of alice and bob through the back-to-back user agent.
#[derive(Clone, Copy, Debug)]
enum Call {
    /// Bob hangs up, so that the server says BYE to alice.
    EndedByBob,
    /// And the other way round.
    EndedByAlice,
    /// Alice gives up while it rings.
    Cancelled,
}

fn bridged(call: Call) -> History {
    let mut scene = Scene::with(1, 1, |settings| {
        settings.domains.iter_mut().for_each(|domain| domain.mode = Mode::B2bua);
    });
    let (alice, bob) = (scene.alice, scene.bob);
    scene.register(alice);
    scene.register(bob);
    let (at_alice, at_bob) = scene.ring();
    let second = Duration::from_secs(1);
    scene.world.run_for(second);
    if !matches!(call, Call::Cancelled) {
        scene.world.command(bob, Command::Answer { call: at_bob, play: Play::Silence });
        scene.answered(alice);
        scene.answered(bob);
        scene.world.run_for(second);
        for by in [ChangeBy::Invite, ChangeBy::Update] {
            scene.world.command(alice, Command::Hold { call: at_alice, form: HoldForm::Direction, by });
            scene.world.run_for(second);
            scene.world.command(alice, Command::Resume { call: at_alice, by });
            scene.world.run_for(second);
        }
    }
    match call {
        Call::EndedByBob => scene.world.command(bob, Command::Hangup { call: at_bob }),
        Call::EndedByAlice | Call::Cancelled => {
            scene.world.command(alice, Command::Hangup { call: at_alice });
        }
    }
    scene.ended(alice);
    scene.ended(bob);
    scene.finish().0
}

/// Plants a fault; the named checker must find it, and must have judged the call and found nothing before.
fn check(name: &str, call: Call, plant: impl FnOnce(&mut History)) {
    let checker = CHECKERS.iter().find(|checker| checker.name == name).expect("the checker exists");
    let mut history = bridged(call);
    assert_eq!(findings(&history), Vec::<String>::new());
    assert!(checker.judge(&history, &Traffic::of(&history)).judged > 0, "{name} judged nothing");
    plant(&mut history);
    let after = checker.judge(&history, &Traffic::of(&history));
    assert!(!after.findings.is_empty(), "{name} did not find what was planted");
}

fn text(packet: &Packet) -> String {
    String::from_utf8(packet.bytes.to_vec()).expect("our own messages are text")
}

/// Whether a packet went from one host to another, begins with this, and has that in it.
fn is(packet: &Packet, from: u8, to: u8, start: &str, has: &str) -> bool {
    packet.from == address(from)
        && packet.to == address(to)
        && text(packet).starts_with(start)
        && text(packet).contains(has)
}

fn place(history: &History, which: impl Fn(&Packet) -> bool) -> usize {
    history.packets.iter().position(which).expect("the call has it")
}

/// A copy of a packet with other texts in place of some.
fn changed(packet: &Packet, changes: &[(&str, &str)]) -> Packet {
    let mut text = text(packet);
    for (from, to) in changes {
        assert!(text.contains(from), "{text} has {from}");
        text = text.replacen(from, to, 1);
    }
    Packet { bytes: text.into(), ..packet.clone() }
}

/// A request that was made anew: it has another branch and the next number.
fn renewed(packet: &Packet) -> Packet {
    let before = text(packet);
    let line = before.lines().find(|line| line.starts_with("CSeq: ")).expect("a CSeq");
    let number: u32 = line.split(' ').nth(1).expect("a number").parse().expect("a number");
    let next = line.replacen(&number.to_string(), &(number + 1).to_string(), 1);
    changed(packet, &[("branch=z9hG4bK", "branch=z9hG4bKanew"), (line, &next)])
}

/// Each leg, and the call in which the server hangs up there.
const LEGS: [(u8, Call); 2] = [(ALICE, Call::EndedByBob), (BOB, Call::EndedByAlice)];

#[test]
fn a_second_bye_to_either_side_is_found() {
    for (phone, call) in LEGS {
        check("one BYE by each side", call, |history| {
            let at = place(history, |packet| is(packet, SERVER, phone, "BYE", ""));
            let again = renewed(&history.packets[at]);
            history.packets.push(again);
        });
    }
}

#[test]
fn a_bye_to_the_caller_ahead_of_her_ack_is_found() {
    check("no BYE before the ACK by the callee", Call::EndedByBob, |history| {
        // Her re-INVITEs would say as well that she has the answer.
        history.packets.retain(|packet| !is_reinvite(packet));
        let acks = history.packets.iter_mut().filter(|packet| is(packet, ALICE, SERVER, "ACK", ""));
        acks.for_each(|ack| ack.arrivals.clear());
    });
}

/// Whether a packet is one of the two re-INVITEs of alice.
fn is_reinvite(packet: &Packet) -> bool {
    ["CSeq: 3 INVITE", "CSeq: 4 INVITE"].iter().any(|cseq| is(packet, ALICE, SERVER, "INVITE", cseq))
}

#[test]
fn an_answer_of_the_server_to_an_ack_is_found() {
    for (phone, start) in [(ALICE, "SIP/2.0 200"), (BOB, "SIP/2.0 200")] {
        check("no answer to an ACK", Call::EndedByBob, |history| {
            let method = if phone == ALICE { " INVITE\r\n" } else { " BYE\r\n" };
            let at = place(history, |packet| is(packet, SERVER, phone, start, method));
            let answer =
                changed(&history.packets[at], &[("200 OK", "502 Bad Gateway"), (method, " ACK\r\n")]);
            history.packets.push(answer);
        });
    }
}

#[test]
fn a_leg_that_is_left_behind_is_found() {
    for (phone, call) in LEGS {
        for name in ["each dialog ends with a BYE", "no leg of a bridge is left behind"] {
            check(name, call, |history| {
                history.packets.retain(|packet| !is(packet, SERVER, phone, "BYE", ""))
            });
        }
        // That the phone ends it at some time is no excuse.
        check("no leg of a bridge is left behind", call, |history| {
            for packet in history.packets.iter_mut().filter(|packet| is(packet, SERVER, phone, "BYE", "")) {
                packet.sent = packet.sent + Duration::from_secs(60);
            }
        });
    }
}

#[test]
fn a_re_invite_of_the_server_while_another_is_pending_is_found() {
    check("one INVITE at a time in a dialog", Call::EndedByBob, |history| {
        let at = place(history, |packet| is(packet, SERVER, BOB, "INVITE", "CSeq: 2 INVITE"));
        let second = renewed(&history.packets[at]);
        history.packets.insert(at + 1, second);
    });
}

#[test]
fn a_re_invite_of_the_server_against_one_of_the_peer_is_found() {
    check("one INVITE at a time in a dialog", Call::EndedByBob, |history| {
        // Alice's is there and not answered, and the server sends her one too.
        let at = place(history, |packet| is(packet, ALICE, SERVER, "INVITE", "CSeq: 3 INVITE"));
        let hers = &history.packets[at];
        let header = |name: &str| {
            let text = text(hers);
            let line = text.lines().find(|line| line.starts_with(name)).expect("the header");
            line[name.len()..].to_owned()
        };
        let (from, to) = (header("From: "), header("To: "));
        let glare = changed(hers, &[("branch=z9hG4bK", "branch=z9hG4bKglare"), (&from, "X"), (&to, "Y")]);
        let glare =
            changed(&glare, &[("From: X", &format!("From: {to}")), ("To: Y", &format!("To: {from}"))]);
        let sent = hers.arrivals[0] + Duration::from_nanos(1);
        let glare = Packet { from: address(SERVER), to: address(ALICE), sent, ..glare };
        history.packets.insert(at + 1, glare);
    });
}

#[test]
fn an_update_that_the_server_answers_twice_is_found() {
    check("each request gets one final answer", Call::EndedByBob, |history| {
        let at = place(history, |packet| is(packet, SERVER, ALICE, "SIP/2.0 200", " UPDATE\r\n"));
        let other = changed(&history.packets[at], &[("200 OK", "500 Server Internal Error")]);
        history.packets.insert(at + 1, other);
    });
}

#[test]
fn a_cancel_after_the_final_response_or_before_any_is_found() {
    let name = "CANCEL after a provisional and before the final response";
    let cancel = |packet: &Packet| changed(packet, &[("INVITE ", "CANCEL "), (" INVITE\r\n", " CANCEL\r\n")]);
    check(name, Call::Cancelled, |history| {
        let at = place(history, |packet| is(packet, SERVER, BOB, "CANCEL", ""));
        let late = Packet { sent: history.ended, ..history.packets.remove(at) };
        history.packets.retain(|packet| !is(packet, SERVER, BOB, "CANCEL", ""));
        history.packets.push(late);
    });
    check(name, Call::Cancelled, |history| {
        history.packets.retain(|packet| !is(packet, SERVER, BOB, "CANCEL", ""));
        let at = place(history, |packet| is(packet, SERVER, BOB, "INVITE", ""));
        let early = cancel(&history.packets[at]);
        history.packets.insert(at + 1, early);
    });
}

#[test]
fn a_2xx_of_the_server_that_is_not_repeated_is_found() {
    check("a 2xx is repeated until its ACK", Call::EndedByBob, |history| {
        history.packets.retain(|packet| !is(packet, ALICE, SERVER, "ACK", "") && !is_reinvite(packet));
    });
}

#[test]
fn a_number_of_the_server_that_does_not_rise_is_found() {
    check("CSeq numbers of a dialog rise", Call::EndedByBob, |history| {
        let at = place(history, |packet| is(packet, SERVER, BOB, "INVITE", "CSeq: 2 INVITE"));
        let again = changed(&history.packets[at], &[("branch=z9hG4bK", "branch=z9hG4bKagain")]);
        history.packets.push(again);
    });
}

#[test]
fn a_second_answer_of_the_server_to_an_invite_is_found() {
    check("each INVITE gets exactly one final answer", Call::EndedByBob, |history| {
        let at = place(history, |packet| is(packet, SERVER, ALICE, "SIP/2.0 200", " INVITE\r\n"));
        let to = text(&history.packets[at]);
        let to = to.lines().find(|line| line.starts_with("To: ")).expect("a To");
        // As if two forks had answered: a server that is the user agent has one answer.
        let other = changed(&history.packets[at], &[(to, "To: <sip:bob@example.com>;tag=other")]);
        history.packets.insert(at + 1, other);
    });
}
