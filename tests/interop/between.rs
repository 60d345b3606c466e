//! Calls through foreign servers: the B2BUA of sippy and Kamailio behind our proxy and our B2BUA, sippy before our server
//! and between our phone and a foreign one.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::kamailio::Kamailio;
use crate::lab::{ADDRESS, Lab, dialtone, lab, wait_until_bound};
use crate::pjsua2::{Foreign, Settings, Wire, peers, port};
use crate::process::Process;
use crate::serve::{DOMAIN, PORT, Server};
use crate::services::{B2BUA, CALL, attended_at, consulted_transfer_at, serve};

const PATIENCE: Duration = Duration::from_secs(15);

/// Where it listens.
const SIPPY: u16 = 5180;

/// Starts it; it calls `next` for each call that it gets.
fn sippy(next: SocketAddr) -> Process {
    let mut command = Command::new(peers().join("bin/b2bua_simple"));
    command.args(["-f", "-l", ADDRESS, "-p", &SIPPY.to_string(), "-n", &next.to_string()]);
    let process = Process::start(&mut command);
    wait_until_bound(&[SIPPY]);
    process
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(ADDRESS.parse().expect("an address"), port)
}

/// A server that sends all calls on to `next`.
fn server(lab: &Lab, mode: &str, next: u16) -> Server {
    let settings = lab.path("dialtone.toml");
    let text =
        format!("[[domain]]\nname = \"{DOMAIN}\"\nmode = \"{mode}\"\nnext_hop = [\"sip:{}\"]\n", at(next));
    std::fs::write(&settings, text).expect("a file of the lab can be written");
    Server::start_with(lab, &["--config", &settings.to_string_lossy()])
}

#[test]
fn sippy_stands_behind_our_proxy() {
    lab(|lab| behind_sippy(lab, "call"));
}

#[test]
fn sippy_stands_behind_our_b2bua() {
    lab(|lab| behind_sippy(lab, "b2bua"));
}

fn behind_sippy(lab: &Lab, mode: &str) {
    let _sippy = sippy(at(port(2)));
    talk_over(lab, mode, SIPPY);
}

/// It puts itself into the route of each call (Record-Route).
#[test]
fn kamailio_stands_between_our_b2bua_and_the_phone() {
    lab(|lab| {
        let kamailio = Kamailio::edge(lab, at(5080), at(port(2)));
        let bob = talk_over(lab, "b2bua", kamailio.address.port());
        // What bob's phone sends goes to Kamailio first, and nobody before our B2BUA is known to it.
        let route = format!("<sip:{}", kamailio.address);
        let bye = bob.iter().find(|one| one.asks("BYE")).expect("bob's phone ended the second call");
        assert!(bye.header("Route").starts_with(&route), "{}", bye.text());
        let alice = format!("{}", at(port(1)));
        assert!(!bob.iter().any(|one| one.text().contains(&alice)), "alice's address is known");
    });
}

/// Kamailio is in the way of all that the phones send, and in the Path of their registrations.
#[test]
fn kamailio_stands_between_the_phones_and_our_proxy_and_a_call_is_transferred_after_consultation() {
    lab(|lab| behind_kamailio(lab, CALL, attended_at));
}

#[test]
fn kamailio_stands_between_the_phones_and_our_b2bua_and_a_call_is_transferred_after_consultation() {
    lab(|lab| behind_kamailio(lab, B2BUA, consulted_transfer_at));
}

fn behind_kamailio(lab: &Lab, mode: &str, transfer: fn(&Lab, &Server, SocketAddr)) {
    let mut server = serve(lab, mode, "[registrar]\npath_unasked = true\n");
    let kamailio = Kamailio::edge_with_path(lab, at(5080), server.address);
    // Nothing goes past it.
    lab.nft(&format!(
        "table inet past {{\nchain in {{\ntype filter hook input priority 0;\n\
         udp sport {PORT} udp dport {{ {}, {}, {} }} drop\n}}\n}}\n",
        port(1),
        port(2),
        port(3)
    ));
    transfer(lab, &server, kamailio.address);
    server.stop();
}

/// alice – ours – theirs – bob: a call that alice ends, and one that bob ends. Returns what bob's phone sent.
fn talk_over(lab: &Lab, mode: &str, next: u16) -> Vec<Wire> {
    let mut server = server(lab, mode, next);
    let mut bob = Foreign::at(at(SIPPY), "bob", &Settings::new(2));
    let mut alice = Foreign::at(server.address, "alice", &Settings::new(1));
    for call in 0..2 {
        alice.call("bob");
        bob.wait_for_call(call, "INCOMING");
        bob.act(&format!("answer {call} 180"));
        alice.wait_for_response(180, "INVITE");
        bob.act(&format!("answer {call} 200"));
        alice.wait_for_call(call, "CONFIRMED");
        bob.wait_for_call(call, "CONFIRMED");
        alice.wait_until_sent("ACK");
        bob.wait_for_request("ACK");
        alice.act(&format!("hold {call}"));
        bob.wait_for_media(call, "remote-hold");
        bob.wait_for_request("ACK");
        alice.wait_until_sent("ACK");
        bob.act(&format!("reinvite {call}"));
        alice.wait_for_request("INVITE");
        alice.wait_for_request("ACK");
        let (first, second) = if call == 0 { (&mut alice, &mut bob) } else { (&mut bob, &mut alice) };
        first.act(&format!("hangup {call}"));
        second.wait_for_call(call, "DISCONNECTED");
        first.wait_for_response(200, "BYE");
    }
    let sent = bob.wire("sent");
    alice.switch_off();
    bob.switch_off();
    server.stop();
    sent
}

#[test]
fn our_phone_calls_a_foreign_one_through_sippy() {
    lab(|_| {
        let _sippy = sippy(at(port(2)));
        let mut bob = Foreign::at(at(SIPPY), "bob", &Settings::new(2));
        let proxy = format!("sip:{}", at(SIPPY));
        let mut call = Command::new(dialtone());
        call.args(["call", "--user", "alice", "--password", "secret", "--domain", DOMAIN, "--proxy", &proxy]);
        call.args(["--json", "bob", "--tone", "440", "--no-media", "--duration", "1"]);
        let mut alice = Process::start(&mut call);
        bob.wait_for_call(0, "INCOMING");
        bob.act("answer 0 200");
        bob.wait_for_call(0, "DISCONNECTED");
        let status = alice.finish(PATIENCE);
        assert!(status.success(), "{status}\n{}\n{}", alice.output(), bob.told());
        bob.switch_off();
    });
}

#[test]
fn sippy_stands_before_our_server_and_a_foreign_phone_is_called_through_both() {
    lab(|lab| {
        let mut server = Server::start_with(lab, &["--open"]);
        let _sippy = sippy(at(PORT));
        let mut bob = Foreign::register(&server, "bob", &Settings::new(2));
        let mut alice = Foreign::at(at(SIPPY), "alice", &Settings::new(1));
        alice.call("bob");
        bob.wait_for_call(0, "INCOMING");
        bob.act("answer 0 200");
        alice.wait_for_call(0, "CONFIRMED");
        bob.wait_for_call(0, "CONFIRMED");
        bob.act("hangup 0");
        alice.wait_for_call(0, "DISCONNECTED");
        alice.call("nobody");
        assert_eq!(alice.wait_for_call(1, "DISCONNECTED")["code"], 404);
        alice.switch_off();
        bob.switch_off();
        server.stop();
    });
}
