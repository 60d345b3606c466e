//! RFC 3665 §3.8 to §3.11: calls that nobody takes.

use std::net::SocketAddr;
use std::time::Duration;

use dialtone_sim::roles::io::{Command, EndReason, Event, Play};
use dialtone_sim::{HostId, Mute, World};
use dialtone_wire::Status;
use dialtone_wire::uri::UriBuf;

use crate::fields::Field;
use crate::people::{begin, phone, simple_phone};
use crate::raw::RawBob;
use crate::sessions::{ACK_HAS_ROUTE, ALL, ATLANTA, BILOXI, CALLED, PROXY_OF_ALICE, proxies};
use crate::{ALICE, BOB, Flow};

const HAS_TAG: &str = "RFC 3261 §8.2.6.2: a response that is not 100 has a tag in To";
const TIMED_OUT: &str = "RFC 3261 §16.7, §16.8: a branch that times out counts as 408";

pub(crate) const NO_ANSWER: Flow = Flow {
    section: "3.8",
    title: "Unsuccessful No Answer",
    text: "Bob's phone rings, and Alice gives up. Each proxy answers her CANCEL itself and sends its own; the 487 \
           comes back through both, each hop with its ACK.",
    participants: ALL,
    differences: &[
        ("F10", Field::ToTag, HAS_TAG),
        ("F11", Field::RequestUri, "a misprint of the RFC: RFC 3261 §9.1 has the Request-URI of the INVITE"),
        ("F12", Field::ToTag, HAS_TAG),
        ("F14", Field::ToTag, HAS_TAG),
        ("F20", Field::Route, ACK_HAS_ROUTE),
    ],
    play: || {
        let (mut world, alice) = known_caller();
        simple_phone(&mut world, "bob", BILOXI, BOB);
        let from = begin(&mut world, alice, CALLED);
        let own = world.calls(alice)[0];
        world.command(alice, Command::Hangup { call: own });
        world.run_for(Duration::from_secs(1));
        assert_ended(&world, alice, EndReason::LocalHangup);
        (world, from)
    },
    ..Flow::RFC_3665
};

pub(crate) const BUSY: Flow = Flow {
    section: "3.9",
    title: "Unsuccessful Busy",
    text: "Bob's phone takes one call and has one: it says 486 without ringing.",
    participants: ALL,
    differences: &[("F11", Field::Route, ACK_HAS_ROUTE)],
    play: || {
        let (mut world, alice) = known_caller();
        let bob = simple_phone(&mut world, "bob", BILOXI, BOB);
        world.add_agent("Carol", CAROL, Box::new(Mute));
        let carol = UriBuf::parse("sip:carol@192.0.2.202").expect("an address");
        world.command(bob, Command::Call { token: 1, to: carol, play: Play::Silence });
        let from = begin(&mut world, alice, CALLED);
        assert_ended(&world, alice, EndReason::Refused(Status::of(486)));
        (world, from)
    },
    ..Flow::RFC_3665
};

pub(crate) const NO_RESPONSE: Flow = Flow {
    section: "3.10",
    title: "Unsuccessful No Response from User Agent",
    text: "Bob has registered, and his phone is silent. Proxy 2 repeats the INVITE after 0.5, 1, 2, 4, 8 and 16 \
           seconds and gives up after 32.",
    participants: ALL,
    differences: &[
        ("F12", Field::Status, TIMED_OUT),
        ("F14", Field::Status, TIMED_OUT),
        ("F15", Field::Route, ACK_HAS_ROUTE),
    ],
    play: || {
        let (mut world, alice) = known_caller();
        world.add_agent("Bob", BOB, Box::new(Mute));
        RawBob::register_unasked(&mut world);
        let from = begin(&mut world, alice, CALLED);
        world.run_for(Duration::from_secs(40));
        assert_ended(&world, alice, EndReason::Refused(Status::of(408)));
        (world, from)
    },
    ..Flow::RFC_3665
};

pub(crate) const UNAVAILABLE: Flow = Flow {
    section: "3.11",
    title: "Unsuccessful Temporarily Unavailable",
    text: "Bob's phone rings and then says that Bob is not available.",
    participants: ALL,
    differences: &[("F14", Field::Route, ACK_HAS_ROUTE)],
    play: || {
        let (mut world, alice) = known_caller();
        let bob = simple_phone(&mut world, "bob", BILOXI, BOB);
        let from = begin(&mut world, alice, CALLED);
        let own = world.calls(bob)[0];
        world.command(bob, Command::Decline { call: own, status: Status::of(480) });
        world.run_for(Duration::from_secs(1));
        assert_ended(&world, alice, EndReason::Refused(Status::of(480)));
        (world, from)
    },
    ..Flow::RFC_3665
};

const CAROL: SocketAddr = crate::address(202);

/// Both proxies, and Alice, who has shown her password before: her INVITE has credentials.
fn known_caller() -> (World, HostId) {
    let mut world = proxies(false);
    let alice = phone(&mut world, "alice", ATLANTA, ALICE, Some(PROXY_OF_ALICE));
    world.run_for(Duration::from_secs(1));
    let to = UriBuf::parse("sip:bob@biloxi.example.com").expect("an address");
    world.command(alice, Command::Options { token: 1, to });
    world.run_for(Duration::from_secs(1));
    (world, alice)
}

fn assert_ended(world: &World, alice: HostId, expected: EndReason) {
    let ended = world.events(alice).find_map(|event| match event {
        Event::Ended { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(ended, Some(expected));
}
