//! RFC 5359 §2.4 to §2.6: Alice, Bob and Carol.

use std::net::SocketAddr;
use std::time::Duration;

use dialtone_sim::roles::io::{Command, Event, TransferTo};
use dialtone_sim::{HostId, World};
use dialtone_wire::uri::escape_header;
use dialtone_wire::{Limits, Message};

use super::{A_HOP_LESS, IS_200, NO_GRUU, act, answer, call_to, phones, uri};
use crate::fields::{Field, tag};
use crate::raw::plain;
use crate::{ALICE, BOB, Flow, Source};

const CAROL: SocketAddr = crate::address(100);

/// A transfer of RFC 5359, each message printed.
const RFC_5359: Flow = Flow {
    source: Source::Rfc(5359),
    participants: &[("Alice", ALICE), ("Bob", BOB), ("Carol", CAROL)],
    // Some of its Contacts are GRUUs, and its numbers begin anywhere.
    omits: &[Field::Contact, Field::RequestUri, Field::CSeq],
    ..Flow::RFC_3665
};

pub(crate) const UNATTENDED: Flow = Flow {
    section: "2.4",
    title: "Transfer - Unattended",
    text: "Bob has called Alice, who sends him to Carol and hangs up at once. The dialog of their call lives on until Bob \
           has told her how it went.",
    differences: &[("F6", Field::Status, IS_200), ("F11", Field::MaxForwards, A_HOP_LESS)],
    shows: &[("F15", Field::Told, "refer; terminated;reason=noresource; SIP/2.0 200 OK")],
    play: || {
        let (mut world, [alice, bob, carol]) = friends();
        act(&mut world, bob, call_to("sip:alice@atlanta.example.com"));
        answer(&mut world, alice);
        let call = world.calls(alice)[0];
        let to = TransferTo::Address(uri("sip:carol@chicago.example.com"));
        // She hangs up before Carol's phone has rung for long.
        world.command(alice, Command::Transfer { call, to });
        let told =
            |world: &World| world.events(alice).any(|event| matches!(event, Event::TransferProgress { .. }));
        assert!(world.run_until(Duration::from_secs(5), told));
        act(&mut world, alice, Command::Hangup { call });
        answer(&mut world, carol);
        assert!(world.calls(alice).is_empty());
        (world, 0)
    },
    ..RFC_5359
};

pub(crate) const FRIENDS_ATTENDED: Flow = Flow {
    section: "2.5",
    title: "Transfer - Attended",
    text: "Alice has called Bob, who speaks with Carol and joins the two.",
    differences: &[
        ("F16", Field::Status, IS_200),
        ("F19", Field::MaxForwards, A_HOP_LESS),
        ("F19", Field::Parties, NO_GRUU),
        ("F20", Field::Parties, NO_GRUU),
        ("F21", Field::Parties, NO_GRUU),
    ],
    play: || {
        let (mut world, [alice, bob, carol]) = friends();
        act(&mut world, alice, call_to("sip:bob@biloxi.example.com"));
        answer(&mut world, bob);
        let call = world.calls(bob)[0];
        act(&mut world, bob, Command::Reoffer { call, hold: true });
        act(&mut world, bob, call_to("sip:carol@chicago.example.com"));
        answer(&mut world, carol);
        let consultation = world.calls(bob)[1];
        act(&mut world, bob, Command::Reoffer { call: consultation, hold: true });
        act(&mut world, bob, Command::Transfer { call, to: TransferTo::Call(consultation) });
        assert!(world.calls(bob).is_empty());
        (world, 0)
    },
    ..RFC_5359
};

const NO_MESSAGES: &str = "our phone takes no MESSAGE yet: \"another IM protocol or other method could have been used to pass the URI\"";

pub(crate) const INSTANT_MESSAGE: Flow = Flow {
    section: "2.6",
    title: "Transfer - Instant Messaging",
    text: "Bob wants Carol to take his call with Alice, and sends her a link: Alice's address with the call that is to be \
           replaced. Carol's phone calls by it. (Bob's MESSAGE is sent by hand, and waits for phones that take one; so is \
           the link given to Carol. Alice's phone lets whoever can name the call replace it.)",
    differences: &[
        ("F6", Field::Status, NO_MESSAGES),
        ("F6", Field::Expires, NO_MESSAGES),
        ("F7", Field::Parties, NO_GRUU),
        ("F8", Field::Parties, NO_GRUU),
        ("F9", Field::Parties, NO_GRUU),
    ],
    shows: &[("F7", Field::Requires, "replaces")],
    play: || {
        let (mut world, [alice, bob, carol]) = friends();
        act(&mut world, alice, call_to("sip:bob@biloxi.example.com"));
        answer(&mut world, bob);
        // `sip:` in place of `sips:` is shorter.
        let message = plain(Source::Rfc(5359), "2.6-F5-MESSAGE.sip").replace(": 242", ": 241");
        world.send(BOB, CAROL, message.into_bytes());
        world.run_for(Duration::from_secs(1));
        let link = link_to_alice(&world);
        act(&mut world, carol, call_to(&link));
        assert!(world.calls(bob).is_empty());
        assert_eq!([world.calls(alice).len(), world.calls(carol).len()], [1, 1]);
        (world, 0)
    },
    ..RFC_5359
};

/// Alice's address with her call with Bob, as Bob's phone sees it.
fn link_to_alice(world: &World) -> String {
    let sent = world.packets().iter().map(|packet| Message::parse(packet.bytes.clone(), &Limits::default()));
    let mut answers =
        sent.flatten().filter(|message| message.status().is_some_and(|status| status.is_success()));
    let answer = answers.next().expect("Bob's answer");
    let tag = |party| tag(party).expect("a tag");
    let (to, from) = (tag(answer.to().ok()), tag(answer.from().ok()));
    let replaces = format!("{};to-tag={from};from-tag={to}", answer.call_id().expect("a Call-ID"));
    format!("sip:alice@192.0.2.101?Replaces={}&Require=replaces", escape_header(&replaces))
}

/// Alice, Bob and Carol.
fn friends() -> (World, [HostId; 3]) {
    let mut world = World::new(5359);
    let phones = phones(
        &mut world,
        [
            ("alice", "atlanta.example.com", ALICE),
            ("bob", "biloxi.example.com", BOB),
            ("carol", "chicago.example.com", CAROL),
        ],
        |_| {},
    );
    (world, phones)
}
