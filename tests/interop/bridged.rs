//! Calls through our back-to-back user agent between foreign programs: SIPp, and pjsua2 phones that hold, update, send
//! digits and want their provisional responses acknowledged; two Call-IDs are seen on the wire.

use std::time::{Duration, Instant};

use crate::lab::{Lab, lab, system};
use crate::manage::run_json;
use crate::pjsua2::{Foreign, Settings};
use crate::serve::{DOMAIN, Server};
use crate::services::{now, pair, switch_off, talk, wait_until_over};
use crate::sipp::{listening, sipp};

const PATIENCE: Duration = Duration::from_secs(30);
/// Calls of one run of SIPp.
const CALLS: &str = "30";

/// A server whose domain has `mode = "b2bua"`, with more settings.
fn server(lab: &Lab, more: &str, arguments: &[&str]) -> Server {
    let file = lab.path("dialtone.toml");
    let text = format!("{more}\n[[domain]]\nname = \"{DOMAIN}\"\nmode = \"b2bua\"\n");
    std::fs::write(&file, text).expect("a file of the lab can be written");
    let file = file.display().to_string();
    let mut all = vec!["--config", file.as_str()];
    all.extend_from_slice(arguments);
    Server::start_with(lab, &all)
}

#[test]
fn calls_of_sipp_pass_and_its_callee_sees_nothing_of_its_caller() {
    lab(|lab| {
        let mut server = server(lab, "", &[]);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        system(sipp(lab, &server, "register", &bob, 5160).args(["-m", "1"]));
        let mut answering = listening(sipp(lab, &server, "bridged_answer", &bob, 5160).args(["-m", CALLS]));
        let mut calling = sipp(lab, &server, "call", &alice, 5150);
        let text = system(calling.args(["-s", "bob", "-m", CALLS, "-r", "15"]));
        let status = answering.finish(PATIENCE);
        assert!(status.success(), "the callee ended with {status}\n{}\n{text}", answering.output());
        let counters = server.stop();
        assert_eq!(counters["engine"]["bridged"], 30, "{counters}");
        assert_eq!(counters["engine"]["call_records"], 30, "{counters}");
    });
}

#[test]
fn foreign_phones_hold_update_and_send_digits_through_two_dialogs() {
    lab(|lab| {
        let mut server = server(lab, "", &[]);
        let (mut alice, mut bob) = pair(&server);
        talk(&mut alice, &mut bob);
        let at_bob = bob.wire("received").into_iter().find(|one| one.asks("INVITE")).expect("an INVITE");
        let of_alice = alice.wire("sent").into_iter().find(|one| one.asks("INVITE")).expect("an INVITE");
        assert_ne!(at_bob.header("Call-ID"), of_alice.header("Call-ID"));
        assert!(!at_bob.text().contains(of_alice.header("Call-ID")), "{}", at_bob.text());
        assert!(at_bob.header("User-Agent").starts_with("Dialtone/"), "{}", at_bob.text());
        assert_eq!(now(lab), ["alice bob talking"]);
        alice.act("hold 0");
        assert_eq!(bob.wait_for_request("INVITE").direction(), "sendonly", "{}", bob.told());
        bob.wait_for_media(0, "remote-hold");
        bob.wait_for_request("ACK");
        alice.act("resume 0");
        assert_eq!(bob.wait_for_request("INVITE").direction(), "sendrecv", "{}", bob.told());
        bob.wait_for_media(0, "active");
        // Until alice's ACK is there, her side may have no other offer (RFC 3261 §14.1), and his would get 491.
        alice.wait_until_acknowledged();
        bob.act("hold-update 0");
        assert_eq!(alice.wait_for_request("UPDATE").direction(), "sendonly", "{}", alice.told());
        assert_eq!(bob.wait_for_response(200, "UPDATE").direction(), "recvonly", "{}", bob.told());
        bob.act("resume-update 0");
        assert_eq!(alice.wait_for_request("UPDATE").direction(), "sendrecv", "{}", alice.told());
        alice.wait_for_media(0, "active");
        for (digit, to_bob) in [("7", true), ("*", false)] {
            let (sender, receiver) = if to_bob { (&mut alice, &mut bob) } else { (&mut bob, &mut alice) };
            sender.act(&format!("info 0 {digit}"));
            let info = receiver.wait_for_request("INFO");
            assert!(info.body().contains(&format!("Signal={digit}")), "{}", info.text());
            sender.wait_for_response(200, "INFO");
        }
        alice.act("hangup 0");
        bob.wait_for_call(0, "DISCONNECTED");
        wait_until_over(lab, &["alice bob caller"]);
        switch_off([alice, bob]);
        server.stop();
    });
}

#[test]
fn foreign_phones_acknowledge_provisional_responses_through_two_dialogs() {
    lab(|lab| {
        let mut server = server(lab, "", &[]);
        let insists = |number| Settings { prack: true, ..Settings::new(number) };
        let mut bob = Foreign::register(&server, "bob", &insists(2));
        let mut alice = Foreign::register(&server, "alice", &insists(1));
        alice.call("bob");
        bob.wait_for_call(0, "INCOMING");
        bob.act("answer 0 183");
        let progress = alice.wait_for_response(183, "INVITE");
        assert!(progress.header("Require").contains("100rel"), "{}", progress.text());
        let prack = bob.wait_for_request("PRACK");
        let sent = bob.wire("sent").into_iter().find(|one| one.start().contains(" 183 ")).expect("his 183");
        assert_eq!(prack.header("RAck"), format!("{} {}", sent.header("RSeq"), sent.header("CSeq")));
        assert_ne!(progress.header("RSeq"), sent.header("RSeq"), "each side has numbers of its own");
        alice.wait_for_response(200, "PRACK");
        alice.wait_for_media(0, "active");
        assert_eq!(now(lab), ["alice bob forwarding"]);
        alice.act("update 0");
        assert_eq!(bob.wait_for_request("UPDATE").direction(), "sendrecv", "{}", bob.told());
        assert_eq!(alice.wait_for_response(200, "UPDATE").direction(), "sendrecv", "{}", alice.told());
        bob.act("answer 0 200");
        alice.wait_for_call(0, "CONFIRMED");
        bob.wait_for_call(0, "CONFIRMED");
        bob.act("hangup 0");
        alice.wait_for_call(0, "DISCONNECTED");
        wait_until_over(lab, &["alice bob callee"]);
        switch_off([alice, bob]);
        server.stop();
    });
}

/// RFC 4028 §10 with the shortest session interval that there is (§5). Alice's phone has promised to refresh her side: it is
/// missed when two thirds of the interval are over.
#[test]
fn a_caller_whose_phone_dies_is_missed_and_the_callee_gets_a_bye() {
    lab(|lab| {
        let mut server = server(lab, SHORT, &[]);
        let (mut alice, mut bob) = talking_with_timers(&server);
        let answer = alice.wire("received").into_iter().rfind(|one| one.start().contains(" 200 "));
        let answer = answer.expect("she was answered");
        assert_eq!(answer.header("Session-Expires"), "90;refresher=uac", "{}", answer.text());
        alice.kill();
        missed(lab, &mut bob);
        bob.switch_off();
        server.stop();
    });
}

/// The server itself refreshes the side of the callee, or bob's phone does; either way nobody answers there any more.
#[test]
fn a_callee_whose_phone_dies_is_missed_and_the_caller_gets_a_bye() {
    lab(|lab| {
        let mut server = server(lab, SHORT, &[]);
        let (mut alice, bob) = talking_with_timers(&server);
        bob.kill();
        missed(lab, &mut alice);
        alice.switch_off();
        server.stop();
    });
}

const SHORT: &str = "[b2bua]\nsession_expires = \"90s\"\n";
/// Half of the interval, and 64·T1 for the answer to a refresh.
const MISSED_WITHIN: Duration = Duration::from_secs(45 + 32 + 5);

fn talking_with_timers(server: &Server) -> (Foreign, Foreign) {
    let timed = |number| Settings { timer: Some((90, 90)), ..Settings::new(number) };
    let mut bob = Foreign::register(server, "bob", &timed(2));
    let mut alice = Foreign::register(server, "alice", &timed(1));
    talk(&mut alice, &mut bob);
    (alice, bob)
}

/// Who is left gets a BYE of the server in time, and the list of calls is empty.
fn missed(lab: &Lab, left: &mut Foreign) {
    assert_eq!(now(lab), ["alice bob talking"]);
    let bye = left.wait_for_bye(MISSED_WITHIN);
    assert!(bye.header("User-Agent").starts_with("Dialtone/"), "{}", bye.text());
    left.wait_for_call(0, "DISCONNECTED");
    // The BYE to the dead phone is given up 64·T1 later, and is no call any more.
    let ended = run_json(lab, &["calls"]).1;
    assert_eq!(ended["ended"].as_array().map(Vec::len), Some(1), "{ended}");
    let talking: Vec<String> = now(lab).into_iter().filter(|call| call.ends_with("talking")).collect();
    assert_eq!(talking, [""; 0]);
    let end = Instant::now() + Duration::from_secs(40);
    while !now(lab).is_empty() {
        assert!(Instant::now() < end, "{:?} is left", now(lab));
        std::thread::sleep(Duration::from_millis(200));
    }
}
