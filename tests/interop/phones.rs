//! Real phones: two baresips at our server.

use std::time::Duration;

use crate::lab::{Lab, Network, lab};
use crate::phone::{Phone, Setup};
use crate::serve::{DOMAIN, PORT, Server, User, tcp};

/// How long the phones talk.
const TALK: Duration = Duration::from_secs(4);

/// Both phones on UDP.
const UDP: [&str; 2] = ["udp", "udp"];

#[test]
fn two_phones_hear_each_other_in_pcmu() {
    lab(|lab| two_phones(lab, "PCMU"));
}

#[test]
fn two_phones_hear_each_other_in_pcma() {
    lab(|lab| two_phones(lab, "PCMA"));
}

fn two_phones(lab: &Lab, codec: &str) {
    let mut server = Server::start(lab);
    let home = Network::home();
    hear_each_other(lab, &server, [&home, &home], UDP, codec);
    server.stop();
}

#[test]
fn two_phones_hear_each_other_over_tcp() {
    lab(|lab| over(lab, ["tcp", "tcp"]));
}

#[test]
fn a_phone_on_tcp_calls_one_on_udp_and_both_hear() {
    lab(|lab| over(lab, ["tcp", "udp"]));
}

#[test]
fn a_phone_on_udp_calls_one_on_tcp_and_both_hear() {
    lab(|lab| over(lab, ["udp", "tcp"]));
}

fn over(lab: &Lab, transports: [&str; 2]) {
    let mut server = Server::start_with(lab, &["--listen", &tcp()]);
    let home = Network::home();
    hear_each_other(lab, &server, [&home, &home], transports, "PCMU");
    let counters = server.stop();
    let accepted = counters["streams"]["accepted"].as_u64().unwrap_or_default();
    let on_tcp = transports.iter().filter(|transport| **transport == "tcp").count() as u64;
    assert!(accepted >= on_tcp, "{counters}");
}

#[test]
fn two_phones_on_two_networks_hear_each_other() {
    lab(|lab| {
        let networks = [lab.add_network(1, true), lab.add_network(2, true)];
        let listen = networks.each_ref().map(|network| format!("udp:{}:{PORT}", network.ours));
        let mut server = Server::start_bare(lab, &["--listen", &listen[0], "--listen", &listen[1]]);
        hear_each_other(lab, &server, networks.each_ref(), UDP, "PCMU");
        server.stop();
    });
}

/// Each phone can send to the server's address in its own network and to nothing else, so that every Via, Record-Route
/// and Contact on a side must carry the address of that side. (No sound can pass; that is not asked here.)
#[test]
fn two_phones_that_only_the_server_can_reach_set_a_call_up_and_end_it() {
    lab(|lab| {
        let networks = [lab.add_network(1, false), lab.add_network(2, false)];
        let listen = networks.each_ref().map(|network| format!("udp:{}:{PORT}", network.ours));
        let server = Server::start_bare(lab, &["--listen", &listen[0], "--listen", &listen[1]]);
        for caller_ends in [true, false] {
            let (mut caller, mut callee) = phones(lab, &server, networks.each_ref(), UDP, "PCMU");
            caller.call(&format!("sip:bob@{DOMAIN}"));
            callee.wait_until_established();
            let (first, second) =
                if caller_ends { (&mut caller, &mut callee) } else { (&mut callee, &mut caller) };
            first.hang_up();
            second.wait_for_the_end();
        }
    });
}

/// The caller plays 440 Hz and the callee 1000 Hz: finding each in the other's recording proves both directions.
fn hear_each_other(lab: &Lab, server: &Server, networks: [&Network; 2], transports: [&str; 2], codec: &str) {
    let (mut caller, mut callee) = phones(lab, server, networks, transports, codec);
    caller.call(&format!("sip:bob@{DOMAIN}"));
    caller.talk(TALK);
    caller.hang_up();
    callee.wait_for_the_end();
    let (at_caller, at_callee) = (caller.recording(), callee.recording());
    assert!(at_caller.find(1000.0).is_heard(), "alice does not hear bob: {:?}", at_caller.find(1000.0));
    assert!(at_callee.find(440.0).is_heard(), "bob does not hear alice: {:?}", at_callee.find(440.0));
}

/// Alice, who calls, and bob, who picks up.
fn phones(
    lab: &Lab,
    server: &Server,
    networks: [&Network; 2],
    transports: [&str; 2],
    codec: &str,
) -> (Phone, Phone) {
    let (alice, bob) = (server.user("alice"), server.user("bob"));
    let [caller, callee] = transports;
    let callee = Setup {
        number: 2,
        network: networks[1],
        user: &bob,
        hertz: 1000.0,
        answers: true,
        transport: callee,
        codec,
    };
    let caller = Setup {
        number: 1,
        network: networks[0],
        user: &alice,
        hertz: 440.0,
        answers: false,
        transport: caller,
        codec,
    };
    let callee = Phone::register(lab, &callee);
    (Phone::register(lab, &caller), callee)
}

#[test]
fn the_callee_hangs_up_and_the_caller_knows() {
    lab(|lab| {
        let server = Server::start(lab);
        let home = Network::home();
        let (mut caller, mut callee) = phones(lab, &server, [&home, &home], UDP, "PCMU");
        caller.call(&format!("sip:bob@{DOMAIN}"));
        callee.wait_until_established();
        callee.hang_up();
        caller.wait_for_the_end();
    });
}

#[test]
fn the_echo_robot_returns_what_a_phone_says() {
    lab(|lab| {
        let server = Server::start(lab);
        let alice = server.user("alice");
        let home = Network::home();
        let setup = Setup {
            number: 1,
            network: &home,
            user: &alice,
            hertz: 440.0,
            answers: false,
            transport: "udp",
            codec: "PCMU",
        };
        let mut phone = Phone::register(lab, &setup);
        phone.call(&format!("sip:echo@{DOMAIN}"));
        phone.talk(TALK);
        phone.hang_up();
        let heard = phone.recording();
        assert!(heard.find(440.0).is_heard(), "the echo is not heard: {:?}", heard.find(440.0));
    });
}

#[test]
fn a_call_to_nobody_and_a_call_to_a_phone_that_is_off_fail_by_different_codes() {
    lab(|lab| {
        let server = Server::start(lab);
        let alice = server.user("alice");
        let home = Network::home();
        let setup = Setup {
            number: 1,
            network: &home,
            user: &alice,
            hertz: 440.0,
            answers: false,
            transport: "udp",
            codec: "PCMU",
        };
        let mut phone = Phone::register(lab, &setup);
        // RFC 3261 §21.4.5 and §21.4.18.
        let nobody = phone.call_in_vain(&format!("sip:nobody@{DOMAIN}"));
        assert!(nobody.contains("404"), "{nobody}");
        let off = phone.call_in_vain(&format!("sip:bob@{DOMAIN}"));
        assert!(off.contains("480"), "{off}");
    });
}

#[test]
fn a_phone_with_a_wrong_secret_does_not_register() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let wrong = User { name: "alice".to_owned(), password: "guessed".to_owned() };
        let home = Network::home();
        let setup = Setup {
            number: 1,
            network: &home,
            user: &wrong,
            hertz: 440.0,
            answers: false,
            transport: "udp",
            codec: "PCMU",
        };
        let refused = Phone::refused(lab, &setup);
        assert!(refused.contains("40"), "{refused}");
        server.stop();
    });
}
