//! re-INVITEs of two SIPps that cross at our B2BUA, and calls of foreign phones that lose one packet in five.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::{ADDRESS, Lab, lab, system};
use crate::manage::run_json;
use crate::pjsua2::port;
use crate::serve::{DOMAIN, PORT, Server, User};
use crate::services::{B2BUA, CALL, now, pair, serve, switch_off, wait_until_over};
use crate::sipp::{listening, sipp_to};

const PATIENCE: Duration = Duration::from_secs(40);
/// The port of the callee, and that of the caller.
const CALLEE: u16 = 5160;
const CALLER: u16 = 5150;
/// Calls of a run.
const CALLS: usize = 20;

/// RFC 3261 §14.1: each side is refused with 491, and the one that tries again is let through.
#[test]
fn re_invites_that_cross_at_our_b2bua_get_491_and_the_next_one_passes() {
    lab(|lab| calls(lab, B2BUA, ["glare_call", "glare_answer"]));
}

#[test]
fn calls_of_foreign_phones_through_the_proxy_stand_the_loss_of_every_fifth_packet() {
    lab(|lab| lossy(lab, CALL));
}

#[test]
fn bridged_calls_of_foreign_phones_stand_the_loss_of_every_fifth_packet() {
    lab(|lab| lossy(lab, B2BUA));
}

/// Every fifth datagram that goes to the server or to one of the phones is dropped.
fn lossy(lab: &Lab, mode: &str) {
    let mut server = serve(lab, mode, "");
    let (mut alice, mut bob) = pair(&server);
    lab.nft(&format!(
        "table inet loss {{\nchain in {{\ntype filter hook input priority 0;\n\
         udp dport {{ {PORT}, {}, {} }} numgen inc mod 5 == 0 drop\n}}\n}}\n",
        port(1),
        port(2)
    ));
    for call in 0..3 {
        alice.call("bob");
        bob.wait_for_call(call, "INCOMING");
        bob.act(&format!("answer {call} 200"));
        alice.wait_for_call(call, "CONFIRMED");
        bob.wait_for_call(call, "CONFIRMED");
        alice.act(&format!("hold {call}"));
        bob.wait_for_media(call, "remote-hold");
        alice.wait_for_media(call, "local-hold");
        let (first, second) = if call == 1 { (&mut bob, &mut alice) } else { (&mut alice, &mut bob) };
        first.act(&format!("hangup {call}"));
        first.wait_for_call(call, "DISCONNECTED");
        second.wait_for_call(call, "DISCONNECTED");
    }
    let ended: Vec<String> = ["caller", "callee", "caller"].map(|side| format!("alice bob {side}")).to_vec();
    wait_until_over(lab, &ended.iter().map(String::as_str).collect::<Vec<_>>());
    // A side of a bridged call stays until its BYE is answered.
    let end = Instant::now() + PATIENCE;
    while !now(lab).is_empty() {
        assert!(Instant::now() < end, "{:?}", now(lab));
        std::thread::sleep(Duration::from_millis(50));
    }
    switch_off([alice, bob]);
    server.stop();
}

/// Each SIPp ends with 0 only if each of its calls went as its scenario says; each call is recorded, none is left.
fn calls(lab: &Lab, mode: &str, [caller, callee]: [&str; 2]) {
    let settings = lab.path("dialtone.toml");
    let at = |port| SocketAddr::new(ADDRESS.parse().expect("an address"), port);
    let text =
        format!("[[domain]]\nname = \"{DOMAIN}\"\nmode = \"{mode}\"\nnext_hop = [\"sip:{}\"]\n", at(CALLEE));
    std::fs::write(&settings, text).expect("a file of the lab can be written");
    let mut server = Server::start_with(lab, &["--config", &settings.to_string_lossy()]);
    let alice = User { name: "alice".to_owned(), password: String::new() };
    let count = CALLS.to_string();
    let sipp = |to, scenario, port| -> Command {
        let mut command = sipp_to(lab, to, scenario, &alice, port);
        command.args(["-m", &count, "-r", "20", "-s", "bob"]);
        command
    };
    let mut answering = listening(&mut sipp(at(CALLER), callee, CALLEE));
    let text = system(&mut sipp(server.address, caller, CALLER));
    let status = answering.finish(PATIENCE);
    assert!(status.success(), "the callee ended with {status}\n{}\n{text}", answering.output());
    let end = Instant::now() + PATIENCE;
    loop {
        let (_, calls) = run_json(lab, &["calls"]);
        let (now, ended) = (calls["now"].as_array(), calls["ended"].as_array());
        if now.is_some_and(Vec::is_empty) && ended.is_some_and(|ended| ended.len() == CALLS) {
            let whole = |call: &serde_json::Value| call["end"] == "caller" && call["answered"].is_string();
            assert!(ended.is_some_and(|ended| ended.iter().all(whole)), "{calls}");
            break;
        }
        assert!(Instant::now() < end, "{calls}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let status = run_json(lab, &["status"]).1;
    assert_eq!(status["tables"]["bridges"], 0, "{status}");
    server.stop();
}
