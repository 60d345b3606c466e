//! Several phones for one call: a user's phones by their preference, and a ring group.

use std::net::UdpSocket;
use std::time::Duration;

use crate::lab::{ADDRESS, Lab, Network, lab, system};
use crate::phone::{Phone, Setup};
use crate::serve::{DOMAIN, Server, User};
use crate::sipp::{listening, sipp};

const PATIENCE: Duration = Duration::from_secs(30);

fn user(name: &str) -> User {
    User { name: name.to_owned(), password: String::new() }
}

/// A server with this settings file, which asks nobody for a password.
fn server(lab: &Lab, settings: &str) -> Server {
    let file = lab.path("dialtone.toml");
    std::fs::write(&file, settings).expect("a file of the lab can be written");
    Server::start_with(lab, &["--open", "--config", &file.display().to_string()])
}

/// Three SIPps are phones of bob: the first is busy, the second answers, and the third, which is a bare socket, must hear
/// nothing.
#[test]
fn phones_are_tried_one_after_the_other_by_q() {
    lab(|lab| {
        let mut server = server(lab, "");
        let bob = user("bob");
        for (port, q) in [(5160, "0.9"), (5161, "0.5"), (5162, "0.1")] {
            system(sipp(lab, &server, "register_q", &bob, port).args(["-key", "q", q, "-m", "1"]));
        }
        let last = UdpSocket::bind((ADDRESS, 5162)).expect("the port is free");
        last.set_nonblocking(true).expect("a socket can be told not to wait");
        let mut first = listening(sipp(lab, &server, "busy", &bob, 5160).args(["-m", "3"]));
        let mut second = listening(sipp(lab, &server, "answer", &bob, 5161).args(["-m", "3"]));
        system(sipp(lab, &server, "call_open", &user("alice"), 5150).args(["-s", "bob", "-m", "3"]));
        for phone in [&mut first, &mut second] {
            let status = phone.finish(PATIENCE);
            assert!(status.success(), "a phone ended with {status}\n{}", phone.output());
        }
        assert!(last.recv_from(&mut [0; 4096]).is_err(), "the phone of the lowest q rang");
        server.stop();
    });
}

/// Bob rings until he is told that carol has the call; dave has no phone.
#[test]
fn a_group_rings_everywhere_and_the_first_who_answers_silences_the_others() {
    lab(|lab| {
        let settings = "[[group]]\nname = \"sales\"\nmembers = [\"bob\", \"dave\", { to = \"carol\", delay = \"1s\" }]\n";
        let mut server = server(lab, settings);
        let (bob, carol) = (user("bob"), user("carol"));
        for (user, port) in [(&bob, 5160), (&carol, 5161)] {
            system(sipp(lab, &server, "register_q", user, port).args(["-key", "q", "1.0", "-m", "1"]));
        }
        let mut ringing = listening(sipp(lab, &server, "ring_until_cancelled", &bob, 5160).args(["-m", "1"]));
        let mut answering = listening(sipp(lab, &server, "answer", &carol, 5161).args(["-m", "1"]));
        system(sipp(lab, &server, "call_open", &user("alice"), 5150).args(["-s", "sales", "-m", "1"]));
        for phone in [&mut ringing, &mut answering] {
            let status = phone.finish(PATIENCE);
            assert!(status.success(), "a phone ended with {status}\n{}", phone.output());
        }
        server.stop();
    });
}

#[test]
fn two_baresips_of_a_group_ring_and_the_one_that_is_not_picked_up_stops() {
    lab(|lab| {
        let mut server =
            server(lab, "[[group]]\nname = \"sales\"\nnumbers = [\"600\"]\nmembers = [\"bob\", \"carol\"]\n");
        let home = Network::home();
        let phone = |number, name: &str, hertz| {
            let setup = Setup {
                number,
                network: &home,
                user: &user(name),
                hertz,
                answers: false,
                transport: "udp",
                codec: "PCMU",
            };
            Phone::register(lab, &setup)
        };
        let (mut alice, mut bob, mut carol) =
            (phone(1, "alice", 440.0), phone(2, "bob", 1000.0), phone(3, "carol", 1500.0));
        alice.dial(&format!("sip:600@{DOMAIN}"));
        carol.wait_until_it_rings();
        bob.accept();
        carol.wait_for_the_end();
        alice.wait_until_established();
        alice.talk(Duration::from_secs(4));
        alice.hang_up();
        bob.wait_for_the_end();
        let heard = alice.recording();
        assert!(heard.find(1000.0).is_heard(), "alice does not hear bob: {:?}", heard.find(1000.0));
        server.stop();
    });
}
