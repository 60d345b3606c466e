//! Transfers and digits between our phone and foreign ones, through our proxy: ours as transferor, transferee and target.

use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, Network, lab};
use crate::phone::{Phone, Setup};
use crate::pjsua2::{Foreign, Settings};
use crate::process::Process;
use crate::scripts::{add_user, finish, last_of, script, script_of, words};
use crate::serve::{DOMAIN, Server};
use crate::services::{B2BUA, now, serve};

const PATIENCE: Duration = Duration::from_secs(20);
/// Our phone speaks with bob, then with carol, and joins the two.
const CONSULTS_AND_JOINS: &str = "call bob\nwait for answered\nwait 1s\ncall carol\nwait for answered\nwait 1s\n\
                                  select 1\ntransfer to 2\nwait for transferred\nwait for ended\n";

/// Our phone of a user, registered, that does what these lines say after that.
fn ours(lab: &Lab, server: &Server, name: &str, lines: &str) -> Process {
    let lines = format!("wait for registered\n{lines}");
    let mut phone = match name {
        "carol" => script_of(lab, server, &add_user(lab, name), &["--tone", "700"], &lines),
        _ => script(lab, server, name, &["--tone", "440"], &lines),
    };
    phone.wait_for("\"registered\"", PATIENCE);
    phone
}

/// A foreign phone answers the first call to it.
fn answer(phone: &mut Foreign) {
    phone.wait_for_call(0, "INCOMING");
    phone.act("answer 0 200");
    phone.wait_for_call(0, "CONFIRMED");
    phone.wait_for_request("ACK");
}

fn has(events: &[Value], word: &str) -> bool {
    words(events).contains(&word)
}

#[test]
fn our_phone_sends_a_foreign_one_to_a_third() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let carol = "wait for incoming\nanswer\nwait for answered\nwait for ended\n";
        let carol = ours(lab, &server, "carol", carol);
        let mut bob = Foreign::register(&server, "bob", &Settings::new(2));
        let alice = "call bob\nwait for answered\nwait 1s\ntransfer carol\nwait for transfer-progress\n\
                     wait for transferred\nwait for ended\n";
        let alice = ours(lab, &server, "alice", alice);
        answer(&mut bob);
        let refer = bob.wait_for_request("REFER");
        assert!(refer.header("Refer-To").contains("sip:carol@"), "{}", refer.text());
        assert!(refer.header("Referred-By").contains("sip:alice@"), "{}", refer.text());
        bob.wait_for_call(1, "CONFIRMED");
        bob.wait_for_call(0, "DISCONNECTED");
        let alice = finish(alice, 0);
        assert_eq!(last_of(&alice, "ended")["reason"], "local-hangup");
        bob.act("hangup 1");
        finish(carol, 0);
        bob.switch_off();
        server.stop();
    });
}

#[test]
fn our_phone_takes_a_call_back_whose_transfer_fails() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let carol = ours(lab, &server, "carol", "wait for incoming\ndecline 486\nwait for ended\n");
        let mut bob = Foreign::register(&server, "bob", &Settings::new(2));
        let alice = "call bob\nwait for answered\nwait 1s\nhold\nwait for held\ntransfer carol\nwait for transfer-failed\n\
                     wait for resumed\nwait 1s\nhangup\nwait for ended\n";
        let alice = ours(lab, &server, "alice", alice);
        answer(&mut bob);
        let alice = finish(alice, 0);
        let failed = last_of(&alice, "transfer-failed");
        assert_eq!((failed["reason"].as_str(), failed["status"].as_u64()), (Some("call-failed"), Some(486)));
        bob.wait_for_call(0, "DISCONNECTED");
        finish(carol, 0);
        bob.switch_off();
        server.stop();
    });
}

#[test]
fn our_phone_joins_a_foreign_one_with_one_of_ours_after_consultation() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let carol = "wait for incoming\nanswer\nwait for answered\nwait for replaced\nwait for ended\nwait 2s\nhangup\n\
                     wait for ended\n";
        let carol = ours(lab, &server, "carol", carol);
        let mut bob = Foreign::register(&server, "bob", &Settings::new(2));
        let alice = ours(lab, &server, "alice", CONSULTS_AND_JOINS);
        answer(&mut bob);
        let refer = bob.wait_for_request("REFER");
        let refer_to = refer.header("Refer-To");
        assert!(refer_to.contains(&format!("sip:carol@{DOMAIN}?Replaces=")), "{}", refer.text());
        bob.wait_for_call(1, "CONFIRMED");
        bob.wait_for_call(0, "DISCONNECTED");
        finish(alice, 0);
        let carol = finish(carol, 0);
        assert!(has(&carol, "replaced"), "{carol:?}");
        bob.wait_for_call(1, "DISCONNECTED");
        bob.switch_off();
        server.stop();
    });
}

#[test]
fn our_phone_joins_two_as_soon_as_the_foreign_one_answers() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let bob = "wait for incoming\nanswer\nwait for answered\nwait for transfer-asked\naccept\nwait for answered\n\
                   wait for ended\nwait 1s\nhangup\nwait for ended\n";
        let bob = ours(lab, &server, "bob", bob);
        let carol = add_user(lab, "carol");
        let mut carol = Foreign::register_at(server.address, &carol, &Settings::new(3));
        let alice = "call bob\nwait for answered\nwait 1s\ncall carol\nwait for ringing\nselect 1\ntransfer to 2\n\
                     wait for transferred\nwait for ended\n";
        let alice = ours(lab, &server, "alice", alice);
        carol.wait_for_call(0, "INCOMING");
        carol.act("answer 0 180");
        carol.act("answer 0 200");
        carol.wait_for_call(0, "CONFIRMED");
        let invite = carol.wait_for_request("INVITE");
        assert!(invite.header("From").contains("sip:alice@"), "{}", invite.text());
        let replacing = carol.wait_for_request("INVITE");
        assert!(replacing.header("From").contains("sip:bob@"), "{}", replacing.text());
        assert!(replacing.header("Replaces").contains("to-tag="), "{}", replacing.text());
        carol.wait_for_call(0, "DISCONNECTED");
        assert!(has(&finish(alice, 0), "transferred"));
        let bob = finish(bob, 0);
        assert_eq!(last_of(&bob, "transfer-asked")["replaces"], true, "{bob:?}");
        carol.switch_off();
        server.stop();
    });
}

#[test]
fn our_phone_joins_a_foreign_one_with_one_of_ours_through_the_bridge() {
    lab(|lab| {
        let mut server = serve(lab, B2BUA, "");
        let carol = "wait for incoming\nanswer\nwait for answered\nwait 6s\nhangup\nwait for ended\n";
        let carol = ours(lab, &server, "carol", carol);
        let mut bob = Foreign::register(&server, "bob", &Settings::new(2));
        let alice = ours(lab, &server, "alice", CONSULTS_AND_JOINS);
        answer(&mut bob);
        let hold = bob.wait_for_request("INVITE");
        assert_eq!(hold.direction(), "sendonly", "{}", bob.told());
        // The server acts on the REFER: bob's phone is told by re-INVITE where carol's is.
        let joined = bob.wait_for_request("INVITE");
        assert_eq!(joined.direction(), "sendrecv", "{}", bob.told());
        let alice = finish(alice, 0);
        assert!(has(&alice, "transferred"), "{alice:?}");
        bob.wait_for_media(0, "active");
        assert_eq!(now(lab).len(), 1, "{:?}", now(lab));
        assert!(!bob.wire("received").iter().any(|one| one.asks("REFER")), "{}", bob.told());
        bob.wait_for_call(0, "DISCONNECTED");
        let carol = finish(carol, 0);
        assert!(!has(&carol, "replaced"), "{carol:?}");
        let heard = &last_of(&carol, "ended")["audio"]["received"];
        assert!(heard["packets"].as_u64() > Some(50), "{carol:?}");
        bob.switch_off();
        server.stop();
    });
}

#[test]
fn a_foreign_phone_joins_two_of_ours_through_the_bridge() {
    lab(|lab| {
        let mut server = serve(lab, B2BUA, "");
        let answers = "wait for incoming\nanswer\nwait for answered\n";
        let bob = ours(lab, &server, "bob", &format!("{answers}wait 8s\nhangup\nwait for ended\n"));
        let carol = ours(lab, &server, "carol", &format!("{answers}wait for ended\n"));
        let mut alice = Foreign::register(&server, "alice", &Settings::new(1));
        alice.call("bob");
        alice.wait_for_call(0, "CONFIRMED");
        alice.call("carol");
        alice.wait_for_call(1, "CONFIRMED");
        alice.act("attended 0 1");
        let last = alice.wait("transfer", "final NOTIFY", |event| event["final"] == true);
        assert_eq!(last["code"], 200, "{last}");
        alice.act("hangup-all");
        let (bob, carol) = (finish(bob, 0), finish(carol, 0));
        for (events, hertz) in [(&bob, 700.0), (&carol, 440.0)] {
            assert!(!has(events, "transfer-asked"), "the server has done it: {events:?}");
            let heard = last_of(events, "ended")["audio"]["received"]["tone_hz"].as_f64();
            assert!(heard.is_some_and(|heard: f64| (heard - hertz).abs() < 5.0), "{events:?}");
        }
        alice.switch_off();
        server.stop();
    });
}

#[test]
fn a_foreign_phone_sends_ours_to_a_third() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let carol = "wait for incoming\nanswer\nwait for answered\nwait for ended\n";
        let carol = ours(lab, &server, "carol", carol);
        let bob = "wait for incoming\nanswer\nwait for answered\nwait for transfer-asked\naccept\nwait for answered\n\
                   wait for ended\nwait 2s\nhangup\nwait for ended\n";
        let bob = ours(lab, &server, "bob", bob);
        let mut alice = Foreign::register(&server, "alice", &Settings::new(1));
        alice.call("bob");
        alice.wait_for_call(0, "CONFIRMED");
        alice.act(&format!("transfer 0 sip:carol@{DOMAIN}"));
        let last = alice.wait("transfer", "final NOTIFY", |event| event["final"] == true);
        assert_eq!(last["code"], 200, "{last}");
        alice.act("hangup 0");
        let bob = finish(bob, 0);
        assert!(has(&bob, "transfer-asked") && has(&bob, "transfer-begun"), "{bob:?}");
        finish(carol, 0);
        alice.switch_off();
        server.stop();
    });
}

#[test]
fn a_foreign_phone_joins_ours_with_another_foreign_one_after_consultation() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let bob = "wait for incoming\nanswer\nwait for answered\nwait for transfer-asked\naccept\nwait for answered\n\
                   wait for ended\nwait 1s\nhangup\nwait for ended\n";
        let bob = ours(lab, &server, "bob", bob);
        let carol = add_user(lab, "carol");
        let mut carol = Foreign::register_at(server.address, &carol, &Settings::new(3));
        let mut alice = Foreign::register(&server, "alice", &Settings::new(1));
        alice.call("bob");
        alice.wait_for_call(0, "CONFIRMED");
        alice.call("carol");
        answer(&mut carol);
        alice.wait_for_call(1, "CONFIRMED");
        alice.act("attended 0 1");
        let invite = carol.wait_for_request("INVITE");
        assert!(invite.header("From").contains("sip:bob@"), "{}", invite.text());
        assert!(invite.header("Replaces").contains("to-tag="), "{}", invite.text());
        carol.wait_for_call(0, "DISCONNECTED");
        let last = alice.wait("transfer", "final NOTIFY", |event| event["final"] == true);
        assert_eq!(last["code"], 200, "{last}");
        alice.act("hangup 0");
        let bob = finish(bob, 0);
        assert_eq!(last_of(&bob, "transfer-asked")["replaces"], true, "{bob:?}");
        carol.switch_off();
        alice.switch_off();
        server.stop();
    });
}

#[test]
fn baresip_sends_our_phone_to_a_third() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let (home, alice) = (Network::home(), server.user("alice"));
        let carol = "wait for incoming\nanswer\nwait for answered\nwait for ended\n";
        let carol = ours(lab, &server, "carol", carol);
        let bob = "wait for incoming\nanswer\nwait for answered\nwait for transfer-asked\naccept\nwait for answered\n\
                   wait for ended\nwait 1s\nhangup\nwait for ended\n";
        let bob = ours(lab, &server, "bob", bob);
        let setup = Setup {
            number: 1,
            network: &home,
            user: &alice,
            hertz: 1000.0,
            answers: false,
            transport: "udp",
            codec: "PCMU",
        };
        let mut alice = Phone::register(lab, &setup);
        alice.call(&format!("sip:bob@{DOMAIN}"));
        alice.transfer(&format!("sip:carol@{DOMAIN}"));
        // It hangs up once it is told of the 200.
        alice.wait_for_the_end();
        let bob = finish(bob, 0);
        assert!(has(&bob, "transfer-begun"), "{bob:?}");
        finish(carol, 0);
        server.stop();
    });
}

#[test]
fn digits_go_by_info_between_ours_and_a_foreign_phone() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let bob = Settings::new(2);
        let mut bob = Foreign::register(&server, "bob", &bob);
        let alice = "call bob\nwait for answered\nwait 1s\ndtmf 5\nwait for info-answered\nwait for dtmf\nhangup\n\
                     wait for ended\n";
        let alice = ours(lab, &server, "alice", alice);
        answer(&mut bob);
        let info = bob.wait_for_request("INFO");
        assert_eq!(info.header("Content-Type"), "application/dtmf-relay", "{}", info.text());
        assert!(info.body().contains("Signal=5"), "{}", info.text());
        bob.act("info 0 7");
        let alice = finish(alice, 0);
        assert_eq!(last_of(&alice, "info-answered")["status"], 200, "{alice:?}");
        assert_eq!(last_of(&alice, "dtmf")["digit"], "7", "{alice:?}");
        bob.switch_off();
        server.stop();
    });
}
