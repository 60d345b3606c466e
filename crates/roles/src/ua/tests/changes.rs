//! Each change of the session that passes is told to the owners of both sides, as one that is refused is to its own.

use std::time::Duration;

use super::bench::sdp;
use super::calls::{ALICE, BOB, Pair};
use super::updates::Callee;
use crate::io::{CallHandle, ChangeBy, Command, HoldForm};

/// The events of a phone, by their names and sides.
fn told(pair: &mut Pair, side: usize) -> String {
    brief(pair.phones[side].events())
}

fn brief(events: Vec<String>) -> String {
    let brief = events.iter().map(|event| {
        let side = ["Local", "Remote"].into_iter().find(|side| event.contains(side)).unwrap_or_default();
        format!("{}{side}", event.split([' ', '{']).next().unwrap_or_default())
    });
    brief.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_change_that_passes_is_told_to_both_sides() {
    type Ask = fn(CallHandle, ChangeBy) -> Command;
    let hold: Ask = |call, by| Command::Hold { call, form: HoldForm::Direction, by };
    let refresh: Ask = |call, by| Command::Refresh { call, by };
    let resume: Ask = |call, by| Command::Resume { call, by };
    for by in [ChangeBy::Update, ChangeBy::Invite] {
        for asking in [ALICE, BOB] {
            let (mut pair, of_alice, of_bob) = Pair::established();
            for side in [ALICE, BOB] {
                told(&mut pair, side);
            }
            let call = [of_alice, of_bob][asking];
            for (ask, own, other) in [
                (refresh, "RefreshedLocal", "RefreshedRemote"),
                (hold, "SessionChanged HeldLocal", "SessionChanged HeldRemote"),
                (refresh, "RefreshedLocal", "RefreshedRemote"),
                (resume, "SessionChanged ResumedLocal", "SessionChanged ResumedRemote"),
            ] {
                pair.phones[asking].command(ask(call, by));
                pair.wait(Duration::from_millis(100));
                let case = format!("{asking} by {by:?}");
                assert_eq!(told(&mut pair, asking), own, "{case}");
                assert_eq!(told(&mut pair, 1 - asking), other, "{case}");
            }
        }
    }
}

#[test]
fn a_change_without_offer_is_told_when_its_ack_has_brought_the_answer() {
    let mut callee = Callee::talking("");
    let ok = callee.ask("INVITE", "", "");
    assert!(String::from_utf8_lossy(ok.body()).contains("m=audio"));
    assert_eq!(brief(callee.bench.events()), "");
    callee.bench.receive(&super::callee::request("ACK", 2, &callee.tag, "", &sdp(4000, "sendonly")));
    assert_eq!(brief(callee.bench.events()), "SessionChanged HeldRemote");
    assert_eq!(callee.bench.media_of_call().last().unwrap(), "192.0.2.9:4000 recvonly");
}

#[test]
fn the_same_session_offered_once_more_is_a_refresh_and_another_one_a_change() {
    let mut callee = Callee::talking("");
    let moved = sdp(4002, "sendrecv").replace("o=- 1 1", "o=- 1 2");
    for (method, offer, expected) in [
        ("UPDATE", sdp(4000, "sendrecv"), "RefreshedRemote"),
        ("UPDATE", moved.clone(), "SessionChanged"),
        ("UPDATE", String::new(), "RefreshedRemote"),
        ("INVITE", moved, "RefreshedRemote"),
    ] {
        callee.ask(method, "", &offer);
        assert_eq!(brief(callee.bench.events()), expected, "{method} {offer}");
    }
}
