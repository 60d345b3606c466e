//! Calls through the back-to-back user agent: figures of our own, since no RFC draws them.

use std::collections::BTreeSet;
use std::time::Duration;

use dialtone_sim::roles::io::{Command, Event, Play};
use dialtone_sim::roles::settings::Mode;
use dialtone_sim::{Habits, HostId, World, phone_settings, server_settings};
use dialtone_wire::{HeaderName, Limits, Message};

use crate::fields::Field;
use crate::people::{call, phone};
use crate::raw::PASSWORD;
use crate::sessions::{ATLANTA, BILOXI, CALLED};
use crate::{ALICE, BOB, Flow, PROXY_2, Source};

pub(crate) const CALL: Flow = Flow {
    source: Source::Own,
    section: "b2bua-call",
    title: "A call through the back-to-back user agent",
    text: "The domain that Alice calls has `mode = \"b2bua\"`: the server is the other end for both of them. There are two \
           dialogs, each with a Call-ID and tags of its own; what passes is the description of the session, with an \
           origin line of the server. Bob's answer has its ACK at once, Alice's when hers comes. Bob puts her on hold, \
           which goes from end to end; he hangs up, and she gets a BYE of the server's own.",
    participants: &[("Alice", ALICE), ("B2BUA", PROXY_2), ("Bob", BOB)],
    shows: &[
        ("F1", Field::RequestUri, "bob@biloxi.example.com"),
        ("F1", Field::Vias, "1"),
        ("F3", Field::RequestUri, "bob@Bob"),
        ("F3", Field::Contact, "alice@Proxy 2"),
        ("F3", Field::MaxForwards, "69"),
        ("F5", Field::Contact, "bob@Proxy 2"),
        ("F5", Field::RecordRoute, ""),
        ("F8", Field::Contact, "bob@Proxy 2"),
        ("F9", Field::RequestUri, "bob@Proxy 2"),
        ("F10", Field::CSeq, "1 INVITE"),
        ("F10", Field::RequestUri, "alice@Proxy 2"),
        ("F12", Field::RequestUri, "alice@Alice"),
        ("F19", Field::RequestUri, "alice@Alice"),
        ("F19", Field::CSeq, "2 BYE"),
    ],
    figure: "F1 INVITE: Alice -> B2BUA\n\
             F2 100 INVITE: B2BUA -> Alice\n\
             F3 INVITE: B2BUA -> Bob\n\
             F4 180 INVITE: Bob -> B2BUA\n\
             F5 180 INVITE: B2BUA -> Alice\n\
             F6 200 INVITE: Bob -> B2BUA\n\
             F7 ACK: B2BUA -> Bob\n\
             F8 200 INVITE: B2BUA -> Alice\n\
             F9 ACK: Alice -> B2BUA\n\
             F10 INVITE: Bob -> B2BUA\n\
             F11 100 INVITE: B2BUA -> Bob\n\
             F12 INVITE: B2BUA -> Alice\n\
             F13 200 INVITE: Alice -> B2BUA\n\
             F14 ACK: B2BUA -> Alice\n\
             F15 200 INVITE: B2BUA -> Bob\n\
             F16 ACK: Bob -> B2BUA\n\
             F17 BYE: Bob -> B2BUA\n\
             F18 200 BYE: B2BUA -> Bob\n\
             F19 BYE: B2BUA -> Alice\n\
             F20 200 BYE: Alice -> B2BUA",
    play: || {
        let (mut world, alice, bob) = world();
        let from = begin(&mut world, alice);
        answer(&mut world, bob);
        let held = world.calls(bob)[0];
        world.command(bob, Command::Reoffer { call: held, hold: true });
        world.run_for(Duration::from_secs(2));
        world.command(bob, Command::Hangup { call: held });
        world.run_for(Duration::from_secs(2));
        assert!(world.calls(alice).is_empty() && world.calls(bob).is_empty());
        two_call_ids(&world, from);
        (world, from)
    },
    ..Flow::RFC_3665
};

pub(crate) const CROSSING: Flow = Flow {
    source: Source::Own,
    section: "b2bua-cancel",
    title: "A CANCEL that crosses with the answer, at the back-to-back user agent",
    text: "Alice gives up in the moment in which Bob answers. She has her 487 at once. Bob's answer, which the CANCEL has \
           passed on its way, gets the ACK that it wants and then a BYE.",
    participants: &[("Alice", ALICE), ("B2BUA", PROXY_2), ("Bob", BOB)],
    figure: "F1 INVITE: Alice -> B2BUA\n\
             F2 100 INVITE: B2BUA -> Alice\n\
             F3 INVITE: B2BUA -> Bob\n\
             F4 180 INVITE: Bob -> B2BUA\n\
             F5 180 INVITE: B2BUA -> Alice\n\
             F6 CANCEL: Alice -> B2BUA\n\
             F7 200 CANCEL: B2BUA -> Alice\n\
             F8 487 INVITE: B2BUA -> Alice\n\
             F9 CANCEL: B2BUA -> Bob\n\
             F10 200 INVITE: Bob -> B2BUA\n\
             F11 ACK: Alice -> B2BUA\n\
             F12 ACK: B2BUA -> Bob\n\
             F13 BYE: B2BUA -> Bob\n\
             F14 200 CANCEL: Bob -> B2BUA\n\
             F15 200 BYE: Bob -> B2BUA",
    crossing: &[("F9", "F10")],
    play: || {
        let (mut world, alice, bob) = world();
        let from = begin(&mut world, alice);
        let (hers, his) = (world.calls(alice)[0], world.calls(bob)[0]);
        world.command(alice, Command::Hangup { call: hers });
        // The CANCEL has left the server and is not at Bob's phone yet.
        let is_cancelled = |world: &World| {
            world.packets()[from..].iter().any(|packet| packet.title() == "CANCEL" && packet.to == BOB)
        };
        assert!(world.run_until(Duration::from_secs(1), is_cancelled));
        world.command(bob, Command::Answer { call: his, play: Play::Silence });
        world.run_for(Duration::from_secs(2));
        assert!(world.calls(alice).is_empty() && world.calls(bob).is_empty());
        (world, from)
    },
    ..Flow::RFC_3665
};

fn world() -> (World, HostId, HostId) {
    let mut world = World::new(7092);
    let mut settings = server_settings(BILOXI, PROXY_2, 1);
    settings.authenticate = false;
    settings.domains[0].mode = Mode::B2bua;
    world.add_host("B2BUA", settings, None);
    world.store.add_name(BILOXI, PROXY_2.ip());
    world.store.add_user(BILOXI, "bob", PASSWORD);
    let alice = phone(&mut world, "alice", ATLANTA, ALICE, None);
    let bob = phone_settings("sip:bob@biloxi.example.com", PASSWORD, BOB, None);
    let bob = world.add_host("bob", bob, Some(Habits::NONE));
    world.command(bob, Command::Register);
    world.run_for(Duration::from_secs(2));
    (world, alice, bob)
}

/// Alice calls, and Bob's phone rings; the number of packets before.
fn begin(world: &mut World, alice: HostId) -> usize {
    let from = world.packets().len();
    call(world, alice, CALLED);
    world.run_for(Duration::from_secs(2));
    from
}

fn answer(world: &mut World, phone: HostId) {
    let call = world.calls(phone)[0];
    world.command(phone, Command::Answer { call, play: Play::Silence });
    world.run_for(Duration::from_secs(2));
    assert!(world.events(phone).any(|event| matches!(event, Event::Answered { .. })));
}

/// What is between Alice and the server has one Call-ID, what is between the server and Bob another.
fn two_call_ids(world: &World, from: usize) {
    let of = |phone| -> BTreeSet<Vec<u8>> {
        let packets = world.packets()[from..].iter();
        let of_phone = packets.filter(|packet| packet.from == phone || packet.to == phone);
        let messages =
            of_phone.map(|packet| Message::parse(packet.bytes.clone(), &Limits::default()).expect("SIP"));
        messages.map(|message| message.value(HeaderName::CallId).expect("a Call-ID").to_vec()).collect()
    };
    let (hers, his) = (of(ALICE), of(BOB));
    assert_eq!((hers.len(), his.len(), hers.intersection(&his).count()), (1, 1, 0));
}
