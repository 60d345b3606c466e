//! RFC 5359 §2.3: Bob holds Alice, who hears a music server meanwhile.

use std::net::SocketAddr;

use dialtone_sim::World;
use dialtone_sim::roles::io::{CallHandle, Command, EndReason, Event};
use dialtone_sim::roles::settings::{ReferPolicy, ReplacesPolicy};
use dialtone_wire::{Limits, Message};

use super::{A_HOP_LESS, IS_200, NO_GRUU, act, answer, call_to, phones, uri};
use crate::fields::Field;
use crate::{ALICE, BOB, Flow, Source};

const SOURCE: SocketAddr = crate::address(208);
const MUSIC_URI: &str = "sip:music@server.example.com";

const HAS_HOPS: &str = "RFC 3261 §8.1.1: each request has it; the RFC forgot it here";

pub(crate) const MUSIC: Flow = Flow {
    source: Source::Rfc(5359),
    section: "2.3",
    title: "Music on Hold",
    text: "Bob holds Alice and asks a music server to call her in his place. Its last NOTIFY says by which dialog she \
           hears it, and by that Bob takes her back. (The music server is a phone that does what strangers ask for. \
           Alice's phone lets a call be taken only by who was part of it; Bob may take back whom he has sent there. The \
           feature tags in the Contacts of F5 and F12, by which others may see what a call is for, are left out.)",
    participants: &[("Alice", ALICE), ("Bob", BOB), ("Music Server", SOURCE)],
    // Some of its Contacts are GRUUs, and its numbers begin anywhere.
    omits: &[Field::Contact, Field::RequestUri, Field::CSeq],
    differences: &[
        ("F5", Field::MaxForwards, HAS_HOPS),
        ("F7", Field::MaxForwards, HAS_HOPS),
        ("F9", Field::Status, IS_200),
        ("F12", Field::MaxForwards, A_HOP_LESS),
        ("F12", Field::Parties, NO_GRUU),
        ("F13", Field::Parties, NO_GRUU),
        ("F14", Field::Parties, NO_GRUU),
        ("F19", Field::MaxForwards, HAS_HOPS),
        ("F19", Field::Parties, NO_GRUU),
        ("F20", Field::Parties, NO_GRUU),
        ("F21", Field::MaxForwards, HAS_HOPS),
        ("F21", Field::Parties, NO_GRUU),
        ("F22", Field::Parties, NO_GRUU),
        ("F23", Field::Parties, NO_GRUU),
    ],
    shows: &[
        ("F5", Field::Direction, "sendonly"),
        ("F6", Field::Direction, "recvonly"),
        ("F8", Field::ReferredBy, "<sip:bob@biloxi.example.com>"),
        ("F10", Field::Told, "refer; active; SIP/2.0 100 Trying"),
        ("F12", Field::ReferredBy, "<sip:bob@biloxi.example.com>"),
        ("F12", Field::Requires, "replaces"),
        ("F17", Field::Told, "refer; terminated;reason=noresource; SIP/2.0 200 OK"),
        ("F20", Field::Direction, "sendrecv"),
    ],
    play: || {
        let mut world = World::new(5359);
        let [alice, bob, music] = phones(
            &mut world,
            [
                ("alice", "atlanta.example.com", ALICE),
                ("bob", "biloxi.example.com", BOB),
                ("music", "server.example.com", SOURCE),
            ],
            |settings| {
                settings.transfer.strangers = ReferPolicy::Accept;
                settings.transfer.replaces = ReplacesPolicy::Referred;
            },
        );
        act(&mut world, alice, call_to("sip:bob@biloxi.example.com"));
        answer(&mut world, bob);
        let call = world.calls(bob)[0];
        act(&mut world, bob, Command::Reoffer { call, hold: true });
        act(&mut world, bob, Command::Music { call, source: uri(MUSIC_URI) });
        assert_eq!(ended(&world, bob, call), Some(EndReason::RemoteHangup));
        assert_eq!([alice, bob, music].map(|phone| world.calls(phone).len()), [1, 0, 1]);
        check_fragment(&world);
        let back = world.events(bob).find_map(|event| match event {
            Event::MusicBegan { call: of, back } if *of == call => Some(back.clone()),
            _ => None,
        });
        act(&mut world, bob, call_to(back.expect("a way back").as_str()));
        assert_eq!([alice, bob, music].map(|phone| world.calls(phone).len()), [1, 1, 0]);
        (world, 0)
    },
    ..Flow::RFC_3665
};

fn ended(world: &World, phone: dialtone_sim::HostId, of: CallHandle) -> Option<EndReason> {
    world.events(phone).find_map(|event| match event {
        Event::Ended { call, reason } if *call == of => Some(*reason),
        _ => None,
    })
}

/// What F17 tells of F13 is what the RFC prints, but for Via, which names nothing of the dialog.
fn check_fragment(world: &World) {
    let sent = world.packets().iter();
    let mut sent = sent.filter_map(|packet| Message::parse(packet.bytes.clone(), &Limits::default()).ok());
    let is_answer = |message: &Message| {
        message.status().is_some_and(|status| status.is_success())
            && message.from().is_ok_and(|from| from.uri_text == MUSIC_URI)
            && message.cseq().is_ok_and(|cseq| cseq.method == dialtone_wire::Method::Invite)
    };
    let answer = sent.by_ref().find(is_answer).expect("F13");
    let told =
        sent.filter(|message| message.method() == Some(&dialtone_wire::Method::Notify)).last().expect("F17");
    let line = |name: &str| {
        let value = answer.value_by_text(name).expect("it is there");
        format!("{name}: {}\r\n", String::from_utf8_lossy(value))
    };
    let lines = ["From", "To", "Call-ID", "CSeq", "Contact"].map(line).concat();
    assert_eq!(String::from_utf8_lossy(told.body()), format!("SIP/2.0 200 OK\r\n{lines}"));
}
