//! Calls of three, and transfers by one who hosts them: RFC 5359 §2.10 and §2.11, RFC 5589 §9 and §10.

use std::net::SocketAddr;
use std::time::Duration;

use dialtone_sim::roles::io::{CallHandle, Command, Event, JoinTarget, Play, TransferTo};
use dialtone_sim::roles::settings::{ReferPolicy, TransferSettings};
use dialtone_sim::{Habits, HostId, World, phone_settings};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{Limits, Message};

use crate::fields::Field;
use crate::raw::PASSWORD;
use crate::{ALICE, BOB, Flow, Source, compare};

const CAROL: SocketAddr = crate::address(100);
const ORIGINATOR: SocketAddr = crate::address(41);
const FACILITATOR: SocketAddr = crate::address(42);
const SCREENER: SocketAddr = crate::address(43);
const RECIPIENT: SocketAddr = crate::address(44);

const FRIENDS: &[(&str, SocketAddr)] = &[("Alice", ALICE), ("Bob", BOB), ("Carol", CAROL)];
const IS_200: &str =
    "RFC 7647 §5: \"an element accepting a REFER request MUST NOT reply with a 202\", but with 200";

/// A three-way call of RFC 5359, each message printed.
const RFC_5359: Flow = Flow {
    source: Source::Rfc(5359),
    participants: FRIENDS,
    // Some of its Contacts are GRUUs, its focus is called Mixer, and its numbers begin anywhere.
    omits: &[Field::Contact, Field::RequestUri, Field::CSeq],
    ..Flow::RFC_3665
};

/// A transfer of RFC 5589, drawn only.
const RFC_5589: Flow = Flow { source: Source::Rfc(5589), ..Flow::RFC_3665 };

pub(crate) const THIRD_IS_ADDED: Flow = Flow {
    section: "2.10",
    title: "3-Way Conference - Third Party Is Added",
    text: "Alice has called Bob, who calls Carol into their conversation. His phone becomes the focus of a conference: to \
           Alice it says so in a re-INVITE, to Carol in the INVITE, both from the same Contact, which has isfocus. It then \
           mixes the two calls.",
    shows: &[("F5", Field::Direction, "sendrecv"), ("F8", Field::Direction, "sendrecv")],
    play: || {
        let (mut world, [alice, bob, carol]) = friends();
        act(&mut world, alice, call_to("sip:bob@biloxi.example.com"));
        answer(&mut world, bob);
        let call = world.calls(bob)[0];
        let to = uri("sip:carol@chicago.example.com");
        act(&mut world, bob, Command::CallIn { token: 2, to, play: Play::Silence, call });
        answer(&mut world, carol);
        joined(&world, bob);
        (world, 0)
    },
    ..RFC_5359
};

pub(crate) const THIRD_JOINS: Flow = Flow {
    section: "2.11",
    title: "3-Way Conference - Third Party Joins",
    text: "Carol knows the dialog of Alice and Bob, and asks Bob to be let into it (Join). His phone rings, and says which \
           conversation she asks for. When he answers, it becomes the focus of a conference; Carol gets her 200 once Alice \
           has agreed.",
    shows: &[("F7", Field::Direction, "sendrecv"), ("F10", Field::Direction, "sendrecv")],
    play: || {
        let (mut world, [alice, bob, carol]) = friends();
        act(&mut world, alice, call_to("sip:bob@biloxi.example.com"));
        answer(&mut world, bob);
        let joins = dialog(&world);
        let to = uri("sip:bob@biloxi.example.com");
        act(&mut world, carol, Command::CallToJoin { token: 2, to, play: Play::Silence, joins });
        let asked = |event: &Event| matches!(event, Event::JoinAsked { .. });
        assert!(world.events(bob).any(asked));
        answer(&mut world, bob);
        joined(&world, bob);
        (world, 0)
    },
    ..RFC_5359
};

pub(crate) const AD_HOC: Flow = Flow {
    section: "9",
    title: "Transfer as an Ad Hoc Conference",
    text: "Bob is the focus of a conference from the moment on at which he holds Alice. He calls Carol from the same Contact, \
           holds her too, and sends Alice to her in his place; then he hangs up. In the RFC's figure Alice and Carol also \
           subscribe to the conference package (RFC 4575), so that they see who is held: SUBSCRIBE and NOTIFY (Conf-Info) \
           are left out here, since our phone does not serve that package.",
    participants: FRIENDS,
    figure: "\
F1 INVITE: Alice -> Bob
F2 180 INVITE: Bob -> Alice
F3 200 INVITE: Bob -> Alice
F4 ACK: Alice -> Bob
F5 INVITE: Bob -> Alice
F6 200 INVITE: Alice -> Bob
F7 ACK: Bob -> Alice
F8 INVITE: Bob -> Carol
F9 180 INVITE: Carol -> Bob
F10 200 INVITE: Carol -> Bob
F11 ACK: Bob -> Carol
F12 INVITE: Bob -> Carol
F13 200 INVITE: Carol -> Bob
F14 ACK: Bob -> Carol
F15 REFER: Bob -> Alice
F16 202 REFER: Alice -> Bob
F17 NOTIFY: Alice -> Bob
F18 200 NOTIFY: Bob -> Alice
F19 INVITE: Alice -> Carol
F20 200 INVITE: Carol -> Alice
F21 ACK: Alice -> Carol
F22 BYE: Carol -> Bob
F23 200 BYE: Bob -> Carol
F24 NOTIFY: Alice -> Bob
F25 200 NOTIFY: Bob -> Alice
F26 BYE: Bob -> Alice
F27 200 BYE: Alice -> Bob",
    differences: &[("F16", Field::Status, IS_200)],
    shows: &[
        ("F5", Field::Focus, "isfocus"),
        ("F5", Field::Direction, "sendonly"),
        ("F8", Field::Focus, "isfocus"),
        ("F12", Field::Focus, "isfocus"),
        ("F12", Field::Direction, "sendonly"),
        ("F19", Field::Focus, ""),
        ("F24", Field::Told, "refer; terminated;reason=noresource; SIP/2.0 200 OK"),
    ],
    play: || {
        let (mut world, [alice, bob, carol]) = friends();
        act(&mut world, alice, call_to("sip:bob@biloxi.example.com"));
        answer(&mut world, bob);
        let call = world.calls(bob)[0];
        act(&mut world, bob, Command::Focus { call, hold: true });
        let to = uri("sip:carol@chicago.example.com");
        act(&mut world, bob, Command::CallIn { token: 2, to, play: Play::Silence, call });
        answer(&mut world, carol);
        joined(&world, bob);
        let consultation = world.calls(bob)[1];
        act(&mut world, bob, Command::Reoffer { call: consultation, hold: true });
        act(&mut world, bob, Command::Transfer { call, to: TransferTo::Call(consultation) });
        assert!(world.calls(bob).is_empty());
        assert_eq!([world.calls(alice).len(), world.calls(carol).len()], [1, 1]);
        (world, 0)
    },
    ..RFC_5589
};

pub(crate) const MULTIPLE: Flow = Flow {
    section: "10",
    title: "Transfer with Multiple Parties",
    text: "The originator asks the facilitator for the recipient, and the facilitator asks a screener. The screener calls the \
           recipient and sends the facilitator to him; the facilitator sends the originator. Each of them calls the recipient \
           anew, and the one who has sent another hangs up. The RFC draws INVITE/200 OK/ACK in one line; here each message \
           has its own, and a phone that rings says so (180).",
    participants: &[
        ("Originator", ORIGINATOR),
        ("Facilitator", FACILITATOR),
        ("Screener", SCREENER),
        ("Recipient", RECIPIENT),
    ],
    figure: "\
F1 INVITE: Originator -> Facilitator
F2 180 INVITE: Facilitator -> Originator
F3 200 INVITE: Facilitator -> Originator
F4 ACK: Originator -> Facilitator
F5 INVITE: Facilitator -> Originator
F6 200 INVITE: Originator -> Facilitator
F7 ACK: Facilitator -> Originator
F8 INVITE: Facilitator -> Screener
F9 180 INVITE: Screener -> Facilitator
F10 200 INVITE: Screener -> Facilitator
F11 ACK: Facilitator -> Screener
F12 INVITE: Screener -> Facilitator
F13 200 INVITE: Facilitator -> Screener
F14 ACK: Screener -> Facilitator
F15 INVITE: Screener -> Recipient
F16 180 INVITE: Recipient -> Screener
F17 200 INVITE: Recipient -> Screener
F18 ACK: Screener -> Recipient
F19 INVITE: Screener -> Recipient
F20 200 INVITE: Recipient -> Screener
F21 ACK: Screener -> Recipient
F22 REFER: Screener -> Facilitator
F23 202 REFER: Facilitator -> Screener
F24 NOTIFY: Facilitator -> Screener
F25 200 NOTIFY: Screener -> Facilitator
F26 INVITE: Facilitator -> Recipient
F27 180 INVITE: Recipient -> Facilitator
F28 200 INVITE: Recipient -> Facilitator
F29 ACK: Facilitator -> Recipient
F30 NOTIFY: Facilitator -> Screener
F31 200 NOTIFY: Screener -> Facilitator
F32 BYE: Screener -> Facilitator
F33 200 BYE: Facilitator -> Screener
F34 BYE: Screener -> Recipient
F35 200 BYE: Recipient -> Screener
F36 INVITE: Facilitator -> Recipient
F37 200 INVITE: Recipient -> Facilitator
F38 ACK: Facilitator -> Recipient
F39 REFER: Facilitator -> Originator
F40 202 REFER: Originator -> Facilitator
F41 NOTIFY: Originator -> Facilitator
F42 200 NOTIFY: Facilitator -> Originator
F43 INVITE: Originator -> Recipient
F44 180 INVITE: Recipient -> Originator
F45 200 INVITE: Recipient -> Originator
F46 ACK: Originator -> Recipient
F47 NOTIFY: Originator -> Facilitator
F48 200 NOTIFY: Facilitator -> Originator
F49 BYE: Facilitator -> Originator
F50 200 BYE: Originator -> Facilitator
F51 BYE: Facilitator -> Recipient
F52 200 BYE: Recipient -> Facilitator
F53 BYE: Recipient -> Originator
F54 200 BYE: Originator -> Recipient",
    differences: &[("F23", Field::Status, IS_200), ("F40", Field::Status, IS_200)],
    shows: &[
        ("F5", Field::Direction, "sendonly"),
        ("F12", Field::Direction, "sendonly"),
        ("F19", Field::Direction, "sendonly"),
        ("F22", Field::Refer, "Refer-To: <sip:recipient@tokyo.example.com>"),
        ("F30", Field::Told, "refer; terminated;reason=noresource; SIP/2.0 200 OK"),
        ("F36", Field::Direction, "sendonly"),
        ("F39", Field::Refer, "Refer-To: <sip:recipient@tokyo.example.com>"),
        ("F47", Field::Told, "refer; terminated;reason=noresource; SIP/2.0 200 OK"),
    ],
    play: || {
        let mut world = World::new(5589);
        let [originator, facilitator, screener, recipient] = phones(
            &mut world,
            [
                ("originator", "atlanta.example.com", ORIGINATOR),
                ("facilitator", "biloxi.example.com", FACILITATOR),
                ("screener", "chicago.example.com", SCREENER),
                ("recipient", "tokyo.example.com", RECIPIENT),
            ],
        );
        let to_recipient = "sip:recipient@tokyo.example.com";
        let hold = |world: &mut World, phone, call| act(world, phone, Command::Reoffer { call, hold: true });
        let send = |world: &mut World, phone, call| {
            act(world, phone, Command::Transfer { call, to: TransferTo::Address(uri(to_recipient)) });
        };
        act(&mut world, originator, call_to("sip:facilitator@biloxi.example.com"));
        answer(&mut world, facilitator);
        let from_originator = world.calls(facilitator)[0];
        hold(&mut world, facilitator, from_originator);
        act(&mut world, facilitator, call_to("sip:screener@chicago.example.com"));
        answer(&mut world, screener);
        let from_facilitator = world.calls(screener)[0];
        hold(&mut world, screener, from_facilitator);
        act(&mut world, screener, call_to(to_recipient));
        answer(&mut world, recipient);
        let screened = last_call(&world, screener);
        hold(&mut world, screener, screened);
        send(&mut world, screener, from_facilitator);
        answer(&mut world, recipient);
        act(&mut world, screener, Command::Hangup { call: screened });
        assert!(world.calls(screener).is_empty());
        let facilitated = last_call(&world, facilitator);
        hold(&mut world, facilitator, facilitated);
        send(&mut world, facilitator, from_originator);
        answer(&mut world, recipient);
        act(&mut world, facilitator, Command::Hangup { call: facilitated });
        assert!(world.calls(facilitator).is_empty());
        let call = last_call(&world, recipient);
        act(&mut world, recipient, Command::Hangup { call });
        assert!(world.calls(originator).is_empty() && world.calls(recipient).is_empty());
        (world, 0)
    },
    ..RFC_5589
};

/// The dialog of the one call that was answered, as the one who was called sees it.
fn dialog(world: &World) -> JoinTarget {
    let messages = world
        .packets()
        .iter()
        .filter_map(|packet| Message::parse(packet.bytes.clone(), &Limits::default()).ok());
    let accepted =
        messages.into_iter().find(|message| message.status().is_some_and(|status| status.code() == 200));
    let accepted = accepted.expect("a call that was answered");
    let tag = |party: Option<dialtone_wire::headers::NameAddr<'_>>| {
        crate::fields::tag(party).expect("a tag").into()
    };
    JoinTarget {
        call_id: accepted.call_id().expect("a Call-ID").into(),
        to_tag: tag(accepted.to().ok()),
        from_tag: tag(accepted.from().ok()),
    }
}

/// Both calls of the focus are in its conference.
fn joined(world: &World, focus: HostId) {
    let joined = world.events(focus).filter(|event| matches!(event, Event::Joined { .. })).count();
    assert_eq!((joined, world.calls(focus).len()), (2, 2));
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
    );
    (world, phones)
}

/// Phones that follow transfers and report no more than the RFCs' figures have.
fn phones<const COUNT: usize>(
    world: &mut World,
    parties: [(&str, &str, SocketAddr); COUNT],
) -> [HostId; COUNT] {
    let phones = parties.map(|(name, domain, address)| {
        world.store.add_name(domain, address.ip());
        let mut settings = phone_settings(&format!("sip:{name}@{domain}"), PASSWORD, address, None);
        settings.transfer = TransferSettings {
            referred: ReferPolicy::Accept,
            tells_progress: false,
            ..TransferSettings::default()
        };
        world.add_host(name, settings, Some(Habits::NONE))
    });
    // Until there are ports to use.
    world.run_for(Duration::from_secs(1));
    phones
}

fn uri(text: &str) -> UriBuf {
    UriBuf::parse(text).expect("an address")
}

fn call_to(to: &str) -> Command {
    Command::Call { token: 1, to: uri(to), play: Play::Silence }
}

fn last_call(world: &World, phone: HostId) -> CallHandle {
    *world.calls(phone).last().expect("a call")
}

/// Lets somebody do something, and two seconds pass.
fn act(world: &mut World, phone: HostId, command: Command) {
    world.command(phone, command);
    world.run_for(Duration::from_secs(2));
}

/// The last call of a phone is answered.
fn answer(world: &mut World, phone: HostId) {
    let call = last_call(world, phone);
    act(world, phone, Command::Answer { call, play: Play::Silence });
}

#[test]
fn rfc_5359_2_10_third_party_is_added() {
    compare::check(&THIRD_IS_ADDED);
}

#[test]
fn rfc_5359_2_11_third_party_joins() {
    compare::check(&THIRD_JOINS);
}

#[test]
fn rfc_5589_9_transfer_as_an_ad_hoc_conference() {
    compare::check(&AD_HOC);
}

#[test]
fn rfc_5589_10_transfer_with_multiple_parties() {
    compare::check(&MULTIPLE);
}
