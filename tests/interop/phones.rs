//! Real phones: two baresips at our server.

use std::time::Duration;

use crate::lab::{Lab, lab};
use crate::phone::{Phone, Setup};
use crate::serve::{DOMAIN, Server, User};

/// How long the phones talk.
const TALK: Duration = Duration::from_secs(4);

#[test]
fn two_phones_hear_each_other_in_pcmu() {
    lab(|lab| two_phones(lab, "PCMU"));
}

#[test]
fn two_phones_hear_each_other_in_pcma() {
    lab(|lab| two_phones(lab, "PCMA"));
}

/// The caller plays 440 Hz and the callee 1000 Hz: finding each in the other's recording proves both directions.
fn two_phones(lab: &Lab, codec: &str) {
    let mut server = Server::start(lab);
    let (alice, bob) = (server.user("alice"), server.user("bob"));
    let setup = |number, user, hertz, answers| Setup { number, user, hertz, answers, codec };
    let mut callee = Phone::register(lab, &server, &setup(2, &bob, 1000.0, true));
    let mut caller = Phone::register(lab, &server, &setup(1, &alice, 440.0, false));
    caller.call(&format!("sip:bob@{DOMAIN}"));
    caller.talk(TALK);
    caller.hang_up();
    callee.wait_for_the_end();
    let (at_caller, at_callee) = (caller.recording(), callee.recording());
    assert!(at_caller.find(1000.0).is_heard(), "alice does not hear bob: {:?}", at_caller.find(1000.0));
    assert!(at_callee.find(440.0).is_heard(), "bob does not hear alice: {:?}", at_callee.find(440.0));
    server.stop();
}

#[test]
fn the_callee_hangs_up_and_the_caller_knows() {
    lab(|lab| {
        let server = Server::start(lab);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        let setup = |number, user, answers| Setup { number, user, hertz: 440.0, answers, codec: "PCMU" };
        let mut callee = Phone::register(lab, &server, &setup(2, &bob, true));
        let mut caller = Phone::register(lab, &server, &setup(1, &alice, false));
        caller.call(&format!("sip:bob@{DOMAIN}"));
        callee.hang_up();
        caller.wait_for_the_end();
    });
}

#[test]
fn the_echo_robot_returns_what_a_phone_says() {
    lab(|lab| {
        let server = Server::start(lab);
        let alice = server.user("alice");
        let setup = Setup { number: 1, user: &alice, hertz: 440.0, answers: false, codec: "PCMU" };
        let mut phone = Phone::register(lab, &server, &setup);
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
        let setup = Setup { number: 1, user: &alice, hertz: 440.0, answers: false, codec: "PCMU" };
        let mut phone = Phone::register(lab, &server, &setup);
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
        let setup = Setup { number: 1, user: &wrong, hertz: 440.0, answers: false, codec: "PCMU" };
        let refused = Phone::refused(lab, &server, &setup);
        assert!(refused.contains("40"), "{refused}");
        server.stop();
    });
}
