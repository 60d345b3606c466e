//! RFC 3665 §2.

use std::time::Duration;

use dialtone_sim::roles::io::{Command, Event};
use dialtone_sim::{Habits, Mute, World, phone_settings, server_settings};
use dialtone_wire::Message;

use crate::fields::Field;
use crate::raw::{PASSWORD, RawBob};
use crate::{BOB, Flow, PROXY_2};

const BOTH: &[(&str, std::net::SocketAddr)] = &[("Bob", BOB), ("SIP Server", PROXY_2)];
const DOMAIN: &str = "biloxi.example.com";
/// RFC 3261 §10.2: "The Request-URI names the domain of the location service".
const NAMES_DOMAIN: &str =
    "our phone names the domain, as RFC 3261 §10.2 has it; the RFC's names a server of the domain";

pub(crate) const NEW: Flow = Flow {
    section: "2.1",
    title: "Successful New Registration",
    text: "Bob's phone registers; the server asks who it is, and takes the registration.",
    participants: BOTH,
    differences: &[("F1", Field::RequestUri, NAMES_DOMAIN), ("F3", Field::RequestUri, NAMES_DOMAIN)],
    play: || (phone(PASSWORD), 0),
    ..Flow::RFC_3665
};

pub(crate) const UPDATE: Flow = Flow {
    section: "2.2",
    title: "Update of Contact List",
    text: "Bob, who has registered and knows a nonce, adds a second contact, which is no SIP address. The answer \
           lists both.",
    participants: BOTH,
    differences: &[],
    play: || {
        let (mut world, mut bob, challenge) = registered();
        let (_, from) = bob.register(&mut world, &challenge, "2.2-F1-REGISTER.sip");
        (world, from)
    },
    ..Flow::RFC_3665
};

pub(crate) const QUERY: Flow = Flow {
    section: "2.3",
    title: "Request for Current Contact List",
    text: "A REGISTER without contacts changes nothing; the answer lists what is registered.",
    participants: BOTH,
    differences: &[],
    play: || {
        let (mut world, mut bob, challenge) = registered();
        bob.register(&mut world, &challenge, "2.2-F1-REGISTER.sip");
        let (_, from) = bob.register(&mut world, &challenge, "2.3-F1-REGISTER.sip");
        (world, from)
    },
    ..Flow::RFC_3665
};

pub(crate) const CANCELLATION: Flow = Flow {
    section: "2.4",
    title: "Cancellation of Registration",
    text: "`Contact: *` with `Expires: 0` takes all contacts away; the answer lists none.",
    participants: BOTH,
    differences: &[],
    play: || {
        let (mut world, mut bob, challenge) = registered();
        bob.register(&mut world, &challenge, "2.2-F1-REGISTER.sip");
        let (_, from) = bob.register(&mut world, &challenge, "2.4-F1-REGISTER.sip");
        (world, from)
    },
    ..Flow::RFC_3665
};

pub(crate) const UNSUCCESSFUL: Flow = Flow {
    section: "2.5",
    title: "Unsuccessful Registration",
    text: "Bob's phone has a wrong password: it is challenged a second time and does not try again.",
    participants: BOTH,
    differences: &[
        ("F1", Field::RequestUri, NAMES_DOMAIN),
        ("F1", Field::MaxForwards, "the RFC forgot it"),
        ("F3", Field::RequestUri, NAMES_DOMAIN),
    ],
    play: || {
        let world = phone("wrong");
        let refused = |event: &Event| matches!(event, Event::RegistrationFailed { wrong_password: true, .. });
        assert!(world.notes().iter().any(|note| match &note.what {
            dialtone_sim::What::Event(event) => refused(event),
            _ => false,
        }));
        (world, 0)
    },
    ..Flow::RFC_3665
};

/// A server that knows Bob.
fn server() -> World {
    let mut world = World::new(3665);
    let mut settings = server_settings(DOMAIN, PROXY_2, 1);
    settings.domains[0].aliases.push("ss2.biloxi.example.com".into());
    world.add_host("SIP Server", settings, None);
    world.store.add_name(DOMAIN, PROXY_2.ip());
    world.store.add_user(DOMAIN, "bob", PASSWORD);
    world
}

/// Bob's phone is switched on.
fn phone(password: &str) -> World {
    let mut world = server();
    let settings = phone_settings("sip:bob@biloxi.example.com", password, BOB, None);
    let bob = world.add_host("Bob", settings, Some(Habits::NONE));
    world.command(bob, Command::Register);
    world.run_for(Duration::from_secs(5));
    world
}

/// Bob has registered as in §2.1, and knows a nonce.
fn registered() -> (World, RawBob, Message) {
    let mut world = server();
    world.add_agent("Bob", BOB, Box::new(Mute));
    let challenge = RawBob::challenge(&mut world);
    let mut bob = RawBob::default();
    let (answer, _) = bob.register(&mut world, &challenge, "2.1-F3-REGISTER.sip");
    assert_eq!(answer.status().map(|status| status.code()), Some(200));
    (world, bob, challenge)
}
