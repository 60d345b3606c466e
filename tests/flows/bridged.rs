//! Calls through the back-to-back user agent: figures of our own, since no RFC draws them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use dialtone_sim::roles::io::{Command, Event, Play, TransferTo};
use dialtone_sim::roles::settings::{Destination, Group, Member, Mode, Queue, Settings, Strategy};
use dialtone_sim::{Habits, HostId, World, phone_settings, server_settings};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Limits, Message, Status};

use crate::fields::Field;
use crate::people::{begin as people_call, call, hang_up, phone};
use crate::raw::PASSWORD;
use crate::sessions::{ATLANTA, BILOXI, CALLED};
use crate::{ALICE, BOB, Flow, PROXY_2, Source};

const CAROL: SocketAddr = crate::address(100);
const MUSIC: SocketAddr = crate::address(110);

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

pub(crate) const PARKED: Flow = Flow {
    source: Source::Own,
    section: "b2bua-park",
    title: "A call is parked, hears music, and is taken",
    text: "Bob transfers his call with Alice to `*51`: slot 1. The server holds her, tells him that it is done, and calls \
           `b2bua.music`, whose offer goes to her as one that only sends (RFC 7088); the music passes the server by. Carol \
           calls `*51` and is joined with Alice; who has played the music is hung up. The flow of RFC 5359 §2.15, where \
           phones find the call by the dialog event package, waits for that package.",
    participants: &[("Alice", ALICE), ("B2BUA", PROXY_2), ("Bob", BOB), ("Carol", CAROL), ("Music", MUSIC)],
    shows: &[
        ("F12", Field::Direction, "inactive"),
        ("F14", Field::RequestUri, "music@192.0.2.110"),
        ("F24", Field::Direction, "sendonly"),
        ("F25", Field::Direction, "recvonly"),
        ("F27", Field::Direction, "recvonly"),
        ("F34", Field::Direction, "sendrecv"),
        ("F35", Field::Direction, "sendrecv"),
    ],
    figure: "F1 INVITE: Alice -> B2BUA\n\
             F2 100 INVITE: B2BUA -> Alice\n\
             F3 INVITE: B2BUA -> Bob\n\
             F4 180 INVITE: Bob -> B2BUA\n\
             F5 180 INVITE: B2BUA -> Alice\n\
             F6 200 INVITE: Bob -> B2BUA\n\
             F7 200 INVITE: B2BUA -> Alice\n\
             F8 ACK: B2BUA -> Bob\n\
             F9 ACK: Alice -> B2BUA\n\
             F10 REFER: Bob -> B2BUA\n\
             F11 200 REFER: B2BUA -> Bob\n\
             F12 INVITE: B2BUA -> Alice\n\
             F13 NOTIFY: B2BUA -> Bob\n\
             F14 INVITE: B2BUA -> Music\n\
             F15 NOTIFY: B2BUA -> Bob\n\
             F16 200 INVITE: Alice -> B2BUA\n\
             F17 180 INVITE: Music -> B2BUA\n\
             F18 200 NOTIFY: Bob -> B2BUA\n\
             F19 200 NOTIFY: Bob -> B2BUA\n\
             F20 BYE: Bob -> B2BUA\n\
             F21 ACK: B2BUA -> Alice\n\
             F22 200 BYE: B2BUA -> Bob\n\
             F23 200 INVITE: Music -> B2BUA\n\
             F24 INVITE: B2BUA -> Alice\n\
             F25 200 INVITE: Alice -> B2BUA\n\
             F26 ACK: B2BUA -> Alice\n\
             F27 ACK: B2BUA -> Music\n\
             F28 INVITE: Carol -> B2BUA\n\
             F29 100 INVITE: B2BUA -> Carol\n\
             F30 200 INVITE: B2BUA -> Carol\n\
             F31 ACK: Carol -> B2BUA\n\
             F32 INVITE: B2BUA -> Carol\n\
             F33 200 INVITE: Carol -> B2BUA\n\
             F34 INVITE: B2BUA -> Alice\n\
             F35 200 INVITE: Alice -> B2BUA\n\
             F36 ACK: B2BUA -> Alice\n\
             F37 ACK: B2BUA -> Carol\n\
             F38 BYE: B2BUA -> Music\n\
             F39 200 BYE: Music -> B2BUA\n\
             F40 BYE: Carol -> B2BUA\n\
             F41 200 BYE: B2BUA -> Carol\n\
             F42 BYE: B2BUA -> Alice\n\
             F43 200 BYE: Alice -> B2BUA",
    play: || {
        let (mut world, alice, bob) = world_with(|settings| {
            settings.bridges.music = UriBuf::parse("sip:music@biloxi.example.com").ok();
        });
        let carol = member(&mut world, "carol", CAROL);
        let music = member(&mut world, "music", MUSIC);
        let from = begin(&mut world, alice);
        answer(&mut world, bob);
        let call = world.calls(bob)[0];
        let to = UriBuf::parse("sip:*51@biloxi.example.com").expect("an address");
        world.command(bob, Command::Transfer { call, to: TransferTo::Address(to) });
        world.run_for(Duration::from_secs(2));
        assert!(world.calls(bob).is_empty());
        answer(&mut world, music);
        people_call(&mut world, carol, "sip:*51@biloxi.example.com");
        assert!(world.calls(music).is_empty());
        hang_up(&mut world, carol);
        assert!(world.calls(alice).is_empty());
        (world, from)
    },
    ..Flow::RFC_3665
};

pub(crate) const HELD: Flow = Flow {
    source: Source::Own,
    section: "b2bua-hold",
    title: "Who is held hears music",
    text: "Bob holds Alice, and the server calls `b2bua.music`, by the technique of RFC 7088 but for him: his phone has no part \
           in it, and is told that nobody hears it. Who plays makes an offer, which goes to Alice as one that only sends; the \
           music passes the server by. Bob resumes: Alice's session is with him again, and who has played is hung up.",
    participants: &[("Alice", ALICE), ("B2BUA", PROXY_2), ("Bob", BOB), ("Music", MUSIC)],
    shows: &[
        ("F11", Field::Direction, "sendonly"),
        ("F13", Field::Direction, "recvonly"),
        ("F15", Field::Direction, "inactive"),
        ("F16", Field::RequestUri, "music@192.0.2.110"),
        ("F20", Field::Direction, "sendonly"),
        ("F23", Field::Direction, "recvonly"),
        ("F25", Field::Direction, "sendrecv"),
        ("F29", Field::Direction, "sendrecv"),
    ],
    figure: "F1 INVITE: Alice -> B2BUA\n\
             F2 100 INVITE: B2BUA -> Alice\n\
             F3 INVITE: B2BUA -> Bob\n\
             F4 180 INVITE: Bob -> B2BUA\n\
             F5 180 INVITE: B2BUA -> Alice\n\
             F6 200 INVITE: Bob -> B2BUA\n\
             F7 200 INVITE: B2BUA -> Alice\n\
             F8 ACK: B2BUA -> Bob\n\
             F9 ACK: Alice -> B2BUA\n\
             F10 INVITE: Bob -> B2BUA\n\
             F11 INVITE: B2BUA -> Alice\n\
             F12 100 INVITE: B2BUA -> Bob\n\
             F13 200 INVITE: Alice -> B2BUA\n\
             F14 ACK: B2BUA -> Alice\n\
             F15 200 INVITE: B2BUA -> Bob\n\
             F16 INVITE: B2BUA -> Music\n\
             F17 180 INVITE: Music -> B2BUA\n\
             F18 ACK: Bob -> B2BUA\n\
             F19 200 INVITE: Music -> B2BUA\n\
             F20 INVITE: B2BUA -> Alice\n\
             F21 200 INVITE: Alice -> B2BUA\n\
             F22 ACK: B2BUA -> Alice\n\
             F23 ACK: B2BUA -> Music\n\
             F24 INVITE: Bob -> B2BUA\n\
             F25 INVITE: B2BUA -> Alice\n\
             F26 100 INVITE: B2BUA -> Bob\n\
             F27 200 INVITE: Alice -> B2BUA\n\
             F28 ACK: B2BUA -> Alice\n\
             F29 200 INVITE: B2BUA -> Bob\n\
             F30 BYE: B2BUA -> Music\n\
             F31 ACK: Bob -> B2BUA\n\
             F32 200 BYE: Music -> B2BUA\n\
             F33 BYE: Bob -> B2BUA\n\
             F34 200 BYE: B2BUA -> Bob\n\
             F35 BYE: B2BUA -> Alice\n\
             F36 200 BYE: Alice -> B2BUA",
    play: || {
        let (mut world, alice, bob) = world_with(|settings| {
            settings.bridges.music = UriBuf::parse("sip:music@biloxi.example.com").ok();
        });
        let music = member(&mut world, "music", MUSIC);
        let from = begin(&mut world, alice);
        answer(&mut world, bob);
        let call = world.calls(bob)[0];
        world.command(bob, Command::Reoffer { call, hold: true });
        world.run_for(Duration::from_secs(2));
        answer(&mut world, music);
        world.command(bob, Command::Reoffer { call, hold: false });
        world.run_for(Duration::from_secs(2));
        assert!(world.calls(music).is_empty());
        hang_up(&mut world, bob);
        assert!(world.calls(alice).is_empty());
        (world, from)
    },
    ..Flow::RFC_3665
};

pub(crate) const PICKED_UP: Flow = Flow {
    source: Source::Own,
    section: "b2bua-pickup",
    title: "A call that rings at one phone is taken at another",
    text: "Alice's call rings at Bob's phone. Carol calls `*8bob`: her own call is answered and held, Bob's phone stops, and \
           what Alice has offered goes to Carol, whose answer Alice gets as that of Bob's. The flow of RFC 5359 §2.16, where \
           the phone learns of the call by the dialog event package, waits for that package.",
    participants: &[("Alice", ALICE), ("B2BUA", PROXY_2), ("Bob", BOB), ("Carol", CAROL)],
    figure: "F1 INVITE: Alice -> B2BUA\n\
             F2 100 INVITE: B2BUA -> Alice\n\
             F3 INVITE: B2BUA -> Bob\n\
             F4 180 INVITE: Bob -> B2BUA\n\
             F5 180 INVITE: B2BUA -> Alice\n\
             F6 INVITE: Carol -> B2BUA\n\
             F7 100 INVITE: B2BUA -> Carol\n\
             F8 200 INVITE: B2BUA -> Carol\n\
             F9 CANCEL: B2BUA -> Bob\n\
             F10 200 CANCEL: Bob -> B2BUA\n\
             F11 487 INVITE: Bob -> B2BUA\n\
             F12 ACK: Carol -> B2BUA\n\
             F13 INVITE: B2BUA -> Carol\n\
             F14 ACK: B2BUA -> Bob\n\
             F15 200 INVITE: Carol -> B2BUA\n\
             F16 ACK: B2BUA -> Carol\n\
             F17 200 INVITE: B2BUA -> Alice\n\
             F18 ACK: Alice -> B2BUA\n\
             F19 BYE: Carol -> B2BUA\n\
             F20 200 BYE: B2BUA -> Carol\n\
             F21 BYE: B2BUA -> Alice\n\
             F22 200 BYE: Alice -> B2BUA",
    play: || {
        let (mut world, alice, _) = world();
        let carol = member(&mut world, "carol", CAROL);
        let from = begin(&mut world, alice);
        people_call(&mut world, carol, "sip:*8bob@biloxi.example.com");
        hang_up(&mut world, carol);
        assert!(world.calls(alice).is_empty());
        (world, from)
    },
    ..Flow::RFC_3665
};

pub(crate) const QUEUED: Flow = Flow {
    source: Source::Own,
    section: "b2bua-queue",
    title: "A caller waits for a group",
    text: "The one member of the group is busy. Alice and Carol wait, and are told their positions (182, RFC 3261 §21.1.4). \
           Carol gives up. Five seconds after he was busy Bob's phone is tried again, and he answers Alice.",
    participants: &[("Alice", ALICE), ("Carol", CAROL), ("B2BUA", PROXY_2), ("Bob", BOB)],
    figure: "F1 INVITE: Alice -> B2BUA\n\
             F2 100 INVITE: B2BUA -> Alice\n\
             F3 INVITE: B2BUA -> Bob\n\
             F4 180 INVITE: Bob -> B2BUA\n\
             F5 486 INVITE: Bob -> B2BUA\n\
             F6 180 INVITE: B2BUA -> Alice\n\
             F7 ACK: B2BUA -> Bob\n\
             F8 182 INVITE: B2BUA -> Alice\n\
             F9 INVITE: Carol -> B2BUA\n\
             F10 100 INVITE: B2BUA -> Carol\n\
             F11 182 INVITE: B2BUA -> Carol\n\
             F12 CANCEL: Carol -> B2BUA\n\
             F13 200 CANCEL: B2BUA -> Carol\n\
             F14 487 INVITE: B2BUA -> Carol\n\
             F15 ACK: Carol -> B2BUA\n\
             F16 INVITE: B2BUA -> Bob\n\
             F17 180 INVITE: Bob -> B2BUA\n\
             F18 200 INVITE: Bob -> B2BUA\n\
             F19 180 INVITE: B2BUA -> Alice\n\
             F20 200 INVITE: B2BUA -> Alice\n\
             F21 ACK: B2BUA -> Bob\n\
             F22 ACK: Alice -> B2BUA\n\
             F23 BYE: Alice -> B2BUA\n\
             F24 200 BYE: B2BUA -> Alice\n\
             F25 BYE: B2BUA -> Bob\n\
             F26 200 BYE: Bob -> B2BUA",
    play: || {
        let user = |name: &str| Destination::User(format!("sip:{name}@biloxi.example.com").into());
        let (mut world, alice, bob) = world_with(|settings| {
            settings.groups.push(Group {
                name: "sales".into(),
                domain: BILOXI.into(),
                numbers: vec!["600".into()],
                members: vec![Member { destination: user("bob"), delay: Duration::ZERO, ring: None }],
                strategy: Strategy::All,
                otherwise: None,
            });
            let queue = Queue { time: Duration::from_secs(60), otherwise: None };
            settings.bridges.queues.insert("sales".into(), queue);
        });
        let carol = member(&mut world, "carol", CAROL);
        let from = world.packets().len();
        call(&mut world, alice, "sip:600@biloxi.example.com");
        let rings = |world: &World| !world.calls(bob).is_empty();
        assert!(world.run_until(Duration::from_secs(2), rings));
        let bobs = world.calls(bob)[0];
        world.command(bob, Command::Decline { call: bobs, status: Status::of(486) });
        world.run_for(Duration::from_secs(1));
        call(&mut world, carol, "sip:600@biloxi.example.com");
        world.run_for(Duration::from_secs(1));
        hang_up(&mut world, carol);
        assert!(world.run_until(Duration::from_secs(9), rings));
        answer(&mut world, bob);
        for (phone, told) in [(alice, &["Queued, position 1"][..]), (carol, &["Queued, position 2"])] {
            let words: Vec<String> = world.events(phone).filter_map(queue_words).collect();
            assert_eq!(words, told);
        }
        hang_up(&mut world, alice);
        assert!(world.calls(bob).is_empty());
        (world, from)
    },
    ..Flow::RFC_3665
};

/// What a caller is told of his place.
fn queue_words(event: &Event) -> Option<String> {
    match event {
        Event::Progress { status, queue, .. } if status.code() == 182 => Some(queue.to_string()),
        _ => None,
    }
}

fn world() -> (World, HostId, HostId) {
    world_with(|_| ())
}

/// Alice, Bob, and the server that is both ends of their calls.
fn world_with(change: impl FnOnce(&mut Settings)) -> (World, HostId, HostId) {
    let mut world = World::new(7092);
    let mut settings = server_settings(BILOXI, PROXY_2, 1);
    settings.authenticate = false;
    settings.domains[0].mode = Mode::B2bua;
    change(&mut settings);
    world.add_host("B2BUA", settings, None);
    world.store.add_name(BILOXI, PROXY_2.ip());
    let alice = phone(&mut world, "alice", ATLANTA, ALICE, None);
    let bob = member(&mut world, "bob", BOB);
    (world, alice, bob)
}

/// A phone of Bob's domain, registered.
fn member(world: &mut World, user: &str, address: SocketAddr) -> HostId {
    world.store.add_user(BILOXI, user, PASSWORD);
    let settings = phone_settings(&format!("sip:{user}@{BILOXI}"), PASSWORD, address, None);
    let phone = world.add_host(user, settings, Some(Habits::NONE));
    world.command(phone, Command::Register);
    world.run_for(Duration::from_secs(2));
    phone
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
