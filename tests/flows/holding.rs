//! Calls that are held (RFC 5359 §2.1 and §2.2).

use std::net::SocketAddr;

use dialtone_sim::roles::io::{Command, Event};
use dialtone_sim::roles::settings::Domain;
use dialtone_sim::{HostId, World, server_settings};

use crate::fields::Field;
use crate::people::{answer, begin, hang_up, phone, register};
use crate::raw::PASSWORD;
use crate::sessions::{ATLANTA, BILOXI, CALLED, CHICAGO};
use crate::{ALICE, BOB, Flow, PROXY_2, Source};

const CAROL: SocketAddr = crate::address(100);
const TRYING: (&str, &str) = (
    "100 INVITE",
    "our proxy answers each INVITE at once (RFC 3261 §16.2), the RFC's only those that begin a call",
);

pub(crate) const HOLD: Flow = Flow {
    section: "2.1",
    title: "Call Hold",
    text: "Bob holds the call by an offer that only sends (RFC 3264 §8.4), and takes it back by one that does both.",
    participants: &[("Alice", ALICE), ("Proxy 1", PROXY_2), ("Bob", BOB)],
    shows: &[
        ("F10", Field::Direction, "sendonly"),
        ("F12", Field::Direction, "recvonly"),
        ("F16", Field::Direction, "sendrecv"),
        ("F18", Field::Direction, "sendrecv"),
    ],
    adds: &[TRYING],
    play: || {
        let (mut world, alice, bob) = world();
        let from = begin(&mut world, alice, CALLED);
        answer(&mut world, bob);
        hold(&mut world, bob, true);
        hold(&mut world, bob, false);
        hang_up(&mut world, alice);
        assert!(world.calls(bob).is_empty());
        (world, from)
    },
    ..RFC_5359
};

pub(crate) const CONSULTATION: Flow = Flow {
    section: "2.2",
    title: "Consultation Hold",
    text: "Bob holds Alice, asks Carol, and takes the call with Alice back.",
    participants: &[("Alice", ALICE), ("Proxy 1", PROXY_2), ("Bob", BOB), ("Carol", CAROL)],
    shows: &[
        ("F10", Field::Direction, "sendonly"),
        ("F12", Field::Direction, "recvonly"),
        ("F16", Field::Direction, "sendrecv"),
        ("F29", Field::Direction, "sendrecv"),
    ],
    adds: &[TRYING],
    play: || {
        let (mut world, alice, bob) = world();
        let carol = phone(&mut world, "carol", CHICAGO, CAROL, None);
        register(&mut world, carol);
        let from = begin(&mut world, alice, CALLED);
        answer(&mut world, bob);
        hold(&mut world, bob, true);
        begin(&mut world, bob, "sip:carol@chicago.example.com");
        answer(&mut world, carol);
        let call = world.calls(bob)[1];
        world.command(bob, Command::Hangup { call });
        world.run_for(std::time::Duration::from_secs(2));
        assert!(world.calls(carol).is_empty());
        hold(&mut world, bob, false);
        hang_up(&mut world, alice);
        assert!(world.calls(bob).is_empty());
        (world, from)
    },
    ..RFC_5359
};

const RFC_5359: Flow = Flow { source: Source::Rfc(5359), ..Flow::RFC_3665 };

/// The proxy of Bob and Carol, which asks nobody; Alice and Bob.
fn world() -> (World, HostId, HostId) {
    let mut world = World::new(5359);
    let mut settings = server_settings(BILOXI, PROXY_2, 1);
    settings.domains[0].aliases.push("ss1.example.com".into());
    settings.domains.push(Domain { name: CHICAGO.into(), ..Domain::default() });
    settings.authenticate = false;
    world.add_host("Proxy 1", settings, None);
    for (user, domain) in [("bob", BILOXI), ("carol", CHICAGO)] {
        world.store.add_name(domain, PROXY_2.ip());
        world.store.add_user(domain, user, PASSWORD);
    }
    let alice = phone(&mut world, "alice", ATLANTA, ALICE, None);
    let bob = phone(&mut world, "bob", BILOXI, BOB, None);
    register(&mut world, bob);
    (world, alice, bob)
}

/// Holds the first call of a phone, or takes it back.
fn hold(world: &mut World, phone: HostId, hold: bool) {
    let call = world.calls(phone)[0];
    let changes = |world: &World| {
        world.events(phone).filter(|event| matches!(event, Event::SessionChanged { .. })).count()
    };
    let before = changes(world);
    world.command(phone, Command::Reoffer { call, hold });
    world.run_for(std::time::Duration::from_secs(2));
    assert_eq!(changes(world), before + 1);
}
