//! Forwarding by the server, with phones that are really busy, and star codes as phones dial them.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::{Lab, Network, lab, system};
use crate::manage::run_json;
use crate::phone::{Phone, Setup};
use crate::serve::{DOMAIN, Server, User};
use crate::sipp::sipp;

/// How long the phones talk.
const TALK: Duration = Duration::from_secs(3);

fn setup<'a>(network: &'a Network, user: &'a User, number: u16, hertz: f64, answers: bool) -> Setup<'a> {
    Setup { number, network, user, hertz, answers, transport: "udp", codec: "PCMU" }
}

fn add_user(lab: &Lab, name: &str) -> User {
    let (code, added) = run_json(lab, &["user", "add", name]);
    assert_eq!(code, 0, "{added}");
    let password = added["users"][0]["password"].as_str().expect("a password was made").to_owned();
    User { name: name.to_owned(), password }
}

/// What holds for bob, as `dialtone forward` says.
fn services_of_bob(lab: &Lab) -> Value {
    let (code, shown) = run_json(lab, &["forward", "bob"]);
    assert_eq!(code, 0, "{shown}");
    shown["services"].clone()
}

/// Bob dials a star code, talks with the echo robot, and is called: his phone takes one call at a time and says 486.
#[test]
fn the_calls_of_a_busy_phone_go_where_its_star_code_says() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let (alice, bob, carol) = (server.user("alice"), server.user("bob"), add_user(lab, "carol"));
        let home = Network::home();
        let mut bobs = Phone::register_for_one_call(lab, &setup(&home, &bob, 2, 660.0, false));
        let mut carols = Phone::register(lab, &setup(&home, &carol, 3, 1000.0, true));
        let mut alices = Phone::register(lab, &setup(&home, &alice, 1, 440.0, false));
        bobs.call(&format!("sip:*90carol@{DOMAIN}"));
        bobs.wait_for_the_end();
        assert_eq!(services_of_bob(lab)["busy"], "carol");
        bobs.call(&format!("sip:echo@{DOMAIN}"));
        alices.call(&format!("sip:bob@{DOMAIN}"));
        alices.talk(TALK);
        alices.hang_up();
        carols.wait_for_the_end();
        let (at_alice, at_carol) = (alices.recording(), carols.recording());
        assert!(at_alice.find(1000.0).is_heard(), "alice does not hear carol: {:?}", at_alice.find(1000.0));
        assert!(at_carol.find(440.0).is_heard(), "carol does not hear alice: {:?}", at_carol.find(440.0));
        bobs.hang_up();
        let counters = server.stop();
        assert_eq!(counters["engine"]["calls_forwarded"], 1, "{counters}");
    });
}

#[test]
fn a_wrong_number_behind_a_star_code_is_refused_and_changes_nothing() {
    lab(|lab| {
        let server = Server::start(lab);
        let bob = server.user("bob");
        let home = Network::home();
        let mut phone = Phone::register(lab, &setup(&home, &bob, 2, 660.0, false));
        for (number, code) in [("*72nobody", "404"), ("*72", "484"), ("*72bob", "482")] {
            let reason = phone.call_in_vain(&format!("sip:{number}@{DOMAIN}"));
            assert!(reason.contains(code), "{number}: {reason}");
        }
        assert_eq!(services_of_bob(lab)["always"], Value::Null);
    });
}

/// SIPp, a stranger to our own phones, hears the answer and gets the BYE; what it chose outlives kill -9.
#[test]
fn what_a_star_code_chose_is_there_after_kill_9() {
    lab(|lab| {
        let server = Server::start_with(lab, &["--open"]);
        let bob = server.user("bob");
        for number in ["*92alice*7", "*78"] {
            system(sipp(lab, &server, "call_until_bye", &bob, 5150).args(["-s", number, "-m", "1"]));
        }
        let chosen = services_of_bob(lab);
        system(Command::new("kill").args(["-9", &server.process.id().to_string()]));
        drop(server);
        let mut server = Server::start_with(lab, &["--open"]);
        let again = services_of_bob(lab);
        assert_eq!(again, chosen);
        assert_eq!(
            (&again["no_answer"], &again["no_answer_after_s"], &again["do_not_disturb"]),
            (&json!("alice"), &json!(7), &json!(486))
        );
        server.stop();
    });
}
