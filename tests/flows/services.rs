//! The forwarding, group and screening services of RFC 5359 that a proxy does: §2.7 to §2.9 and §2.12 to §2.14.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dialtone_sim::roles::io::{Command, Event, Play};
use dialtone_sim::roles::services::Services;
use dialtone_sim::roles::settings::dial_plan::{Action, CallerPattern, DomainPattern, Rule, Template};
use dialtone_sim::roles::settings::{
    Announcements, Destination, Domain, Foreign, Group, Member, Settings, Strategy,
};
use dialtone_sim::{Agent, AgentContext, Habits, Mute, World, phone_settings, server_settings};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{Limits, Message, Method, Status, Writer};

use crate::fields::Field;
use crate::people::{answer, begin, hang_up, phone, simple_phone};
use crate::raw::PASSWORD;
use crate::sessions::{ATLANTA, BILOXI, CALLED, PROXY_OF_ALICE};
use crate::{ALICE, BOB, Flow, PROXY_1, PROXY_2};

const GATEWAY: SocketAddr = crate::address(203);
const B2: SocketAddr = crate::address(202);
const B3: SocketAddr = crate::address(204);
const B4: SocketAddr = crate::address(205);
const ANNOUNCEMENTS: SocketAddr = crate::address(207);
const ANNOUNCEMENT: &str = "sip:screen-fail-term-ann@ms.biloxi.example.com";
const NUMBER: &str = "+19727293660";

const ACK_AS_ITS_INVITE: &str = "the Route that F4 has goes along with all that follows on the same way (RFC 3261 §17.1.1.3, §22.2); the RFC leaves it out";
const OWN_NUMBERS: &str = "each side begins its numbers where it likes (RFC 3261 §12.2.1.1)";
const PHONES_HAVE_USERS: &str = "the Contact of our announcement server names a user, the RFC's does not";
const ROUTE_OF_PROXY: &str = "Alice's phone is set up with its proxy as a route";

pub(crate) const ALWAYS: Flow = Flow {
    section: "2.7",
    title: "Call Forwarding Unconditional",
    text: "Bob wants all his calls forwarded to a number behind a gateway. The proxy tells Alice so and calls the \
           gateway; what passes it there is Bob's call with another Request-URI.",
    participants: &[("Alice", ALICE), ("Proxy", PROXY_2), ("Gateway", GATEWAY)],
    play: || {
        let to = format!("sip:{NUMBER}@gw1.example.com");
        let mut world = world(Services { always: Some(to.into()), ..Services::default() });
        let alice = phone(&mut world, "alice", ATLANTA, ALICE, None);
        let gateway = phone(&mut world, NUMBER, "gw1.example.com", GATEWAY, None);
        let from = begin(&mut world, alice, CALLED);
        answer(&mut world, gateway);
        hang_up(&mut world, alice);
        (world, from)
    },
    ..RFC_5359
};

pub(crate) const BUSY: Flow = Flow {
    section: "2.8",
    title: "Call Forwarding - Busy",
    text: "Bob wants calls forwarded to his second phone while the first one is busy. It says 486; the proxy \
           acknowledges that, tells Alice and calls the second phone.",
    participants: &[("Alice", ALICE), ("Proxy", PROXY_2), ("B1", BOB), ("B2", B2)],
    play: || {
        let busy = Some("sip:bob@client2.biloxi.example.com".into());
        let mut world = world(Services { busy, ..Services::default() });
        let alice = phone(&mut world, "alice", ATLANTA, ALICE, None);
        let b1 = simple_phone(&mut world, "bob", BILOXI, BOB);
        world.add_agent("Carol", crate::address(206), Box::new(Mute));
        let carol = UriBuf::parse("sip:carol@192.0.2.206").expect("an address");
        world.command(b1, Command::Call { token: 1, to: carol, play: Play::Silence });
        let b2 = phone(&mut world, "bob", BILOXI, B2, None);
        let from = begin(&mut world, alice, CALLED);
        answer(&mut world, b2);
        hang_up(&mut world, alice);
        (world, from)
    },
    ..RFC_5359
};

pub(crate) const NO_ANSWER: Flow = Flow {
    section: "2.9",
    title: "Call Forwarding - No Answer",
    text: "Bob wants calls that he does not answer forwarded to his second phone. When the first one has rung for \
           ten seconds, the proxy cancels there and calls the second one at once: it does not wait for the 487.",
    participants: &[("Alice", ALICE), ("Proxy", PROXY_2), ("B1", BOB), ("B2", B2)],
    play: || {
        let no_answer = Some("sip:bob@client2.biloxi.example.com".into());
        let no_answer_after = Some(Duration::from_secs(10));
        let mut world = world(Services { no_answer, no_answer_after, ..Services::default() });
        let alice = phone(&mut world, "alice", ATLANTA, ALICE, None);
        simple_phone(&mut world, "bob", BILOXI, BOB);
        let b2 = phone(&mut world, "bob", BILOXI, B2, None);
        let from = begin(&mut world, alice, CALLED);
        world.run_for(Duration::from_secs(10));
        answer(&mut world, b2);
        hang_up(&mut world, alice);
        (world, from)
    },
    ..RFC_5359
};

pub(crate) const FIND_ME: Flow = Flow {
    section: "2.12",
    title: "Find-Me",
    text: "Bob is looked for at four places, one after the other: a ring group of his. The first one rings in vain, \
           the second says that he is not there, the third is busy, and at the fourth he answers. It is Bob who hangs \
           up.",
    participants: &[("Alice", ALICE), ("Proxy", PROXY_2), ("B1", BOB), ("B2", B2), ("B3", B3), ("B4", B4)],
    play: || {
        let places = ["client", "client2", "client3", "client4"];
        let member = |place: &&str| Member {
            destination: Destination::Uri(
                UriBuf::parse(&format!("sip:bob@{place}.biloxi.example.com")).expect("an address"),
            ),
            delay: Duration::ZERO,
            ring: Some(Duration::from_secs(5)),
        };
        let group = Group {
            name: "find-bob".into(),
            domain: BILOXI.into(),
            numbers: vec!["bob".into()],
            members: places.iter().map(member).collect(),
            strategy: Strategy::InTurn,
            otherwise: None,
        };
        let mut world = world_with(|settings| settings.groups = vec![group]);
        let alice = phone(&mut world, "alice", ATLANTA, ALICE, None);
        phone(&mut world, "bob", BILOXI, BOB, None);
        world.add_agent("B2", B2, Box::new(Refuses(480)));
        world.add_agent("B3", B3, Box::new(Refuses(486)));
        let b4 = phone(&mut world, "bob", BILOXI, B4, None);
        let from = begin(&mut world, alice, CALLED);
        world.run_for(Duration::from_secs(5));
        answer(&mut world, b4);
        hang_up(&mut world, b4);
        assert!(world.calls(alice).is_empty());
        (world, from)
    },
    ..RFC_5359
};

pub(crate) const SCREENED_BY_CALLEE: Flow = Flow {
    section: "2.13",
    title: "Call Management (Incoming Call Screening)",
    text: "Bob takes calls only that his proxy lets through, and sends Alice there (305). It asks who she is, and a rule \
           of its dial plan refuses her, with the address of an announcement (`error_info`). Her phone tells her of it; \
           it is set up to call such addresses (by default it does not), once in a call, with no credentials for \
           others.",
    participants: &[
        ("Alice", ALICE),
        ("Proxy 1", PROXY_2),
        ("Bob", BOB),
        ("Announcement Server", ANNOUNCEMENTS),
    ],
    differences: &[
        ("F6", Field::Route, ACK_AS_ITS_INVITE),
        ("F7", Field::Route, ACK_AS_ITS_INVITE),
        ("F9", Field::Route, ACK_AS_ITS_INVITE),
        ("F11", Field::Contact, PHONES_HAVE_USERS),
        ("F12", Field::RequestUri, PHONES_HAVE_USERS),
        ("F13", Field::CSeq, OWN_NUMBERS),
        ("F14", Field::CSeq, OWN_NUMBERS),
    ],
    adds: &[("180 INVITE", "our announcement server is a phone, which rings before it is answered")],
    shows: &[
        ("F8", Field::ErrorInfo, "<sip:screen-fail-term-ann@ms.biloxi.example.com>"),
        ("F10", Field::Credentials, "0"),
    ],
    play: || {
        let mut world = screening_world();
        let mut settings = phone_settings("sip:alice@atlanta.example.com", PASSWORD, ALICE, None);
        settings.announcements = Announcements::Any;
        settings.account.iter_mut().for_each(|account| account.realms.push(ATLANTA.into()));
        let alice = world.add_host("alice", settings, Some(Habits::NONE));
        let announcements =
            phone(&mut world, "screen-fail-term-ann", "ms.biloxi.example.com", ANNOUNCEMENTS, None);
        let from = begin(&mut world, alice, CALLED);
        answer(&mut world, announcements);
        hang_up(&mut world, announcements);
        assert!(world.calls(alice).is_empty());
        let told = world.events(alice).any(|event| {
            matches!(event, Event::ErrorInfo { status, uri, .. }
                if status.code() == 403 && uri.as_str() == ANNOUNCEMENT)
        });
        assert!(told, "Alice knows why, and where to hear it");
        (world, from)
    },
    ..RFC_5359
};

pub(crate) const SCREENED: Flow = Flow {
    section: "2.14",
    title: "Call Management (Outgoing Call Screening)",
    text: "A rule of Alice's proxy says that she may not call Bob. She has to show who she is first: a name in From \
           proves nothing.",
    participants: &[("Alice", ALICE), ("Proxy 1", PROXY_1)],
    differences: &[
        ("F1", Field::Route, ROUTE_OF_PROXY),
        ("F3", Field::Route, ROUTE_OF_PROXY),
        ("F4", Field::Route, ROUTE_OF_PROXY),
        ("F6", Field::Route, ROUTE_OF_PROXY),
    ],
    play: || {
        let mut settings = server_settings(ATLANTA, PROXY_1, 1);
        settings.domains[0].aliases.push("ss1.atlanta.example.com".into());
        settings.dial_plan.rules.push(Rule {
            name: "screening".into(),
            numbers: vec!["bob".parse().expect("a pattern")],
            domains: vec![DomainPattern::Name(BILOXI.into())],
            callers: vec![CallerPattern::User { user: "alice".into(), domain: None }],
            times: None,
            strip: 0,
            prepend: "".into(),
            action: Action::Refuse {
                status: Status::of(403),
                reason: Some("Screening failure".into()),
                error_info: None,
            },
            mode: None,
        });
        let mut world = World::new(5359);
        world.add_host("Proxy 1", settings, None);
        world.store.add_name("ss1.atlanta.example.com", PROXY_1.ip());
        world.store.add_user(ATLANTA, "alice", PASSWORD);
        let alice = phone(&mut world, "alice", ATLANTA, ALICE, Some(PROXY_OF_ALICE));
        let from = begin(&mut world, alice, CALLED);
        assert!(world.calls(alice).is_empty());
        (world, from)
    },
    ..RFC_5359
};

/// Bob, who sends everybody to his proxy, and the proxy, which does not let Alice through.
fn screening_world() -> World {
    let rule = |name: &str, action: Action| Rule {
        name: name.into(),
        numbers: vec!["bob".parse().expect("a pattern")],
        domains: vec![DomainPattern::Name(BILOXI.into())],
        callers: vec![CallerPattern::Anyone],
        times: None,
        strip: 0,
        prepend: "".into(),
        action,
        mode: None,
    };
    let mut world = World::new(5359);
    let mut bob = server_settings(BILOXI, BOB, 1);
    bob.authenticate = false;
    let contacts = vec![Template::of_contact("sip:ss1.example.com").expect("a contact")];
    bob.dial_plan.rules.push(rule("by-proxy", Action::Redirect { status: Status::of(305), contacts }));
    world.add_host("Bob", bob, None);
    let mut proxy = server_settings(BILOXI, PROXY_2, 1);
    proxy.domains[0].aliases.push("ss1.example.com".into());
    proxy.domains.push(Domain { name: ATLANTA.into(), ..Domain::default() });
    let refuse = Action::Refuse {
        status: Status::of(403),
        reason: Some("Screening failure (terminating)".into()),
        error_info: Some(UriBuf::parse(ANNOUNCEMENT).expect("an address")),
    };
    let callers = vec![CallerPattern::User { user: "alice".into(), domain: None }];
    proxy.dial_plan.rules.push(Rule { callers, ..rule("screening", refuse) });
    world.add_host("Proxy 1", proxy, None);
    for (name, address) in
        [(BILOXI, BOB), ("ss1.example.com", PROXY_2), ("ms.biloxi.example.com", ANNOUNCEMENTS)]
    {
        world.store.add_name(name, address.ip());
    }
    world.store.add_user(ATLANTA, "alice", PASSWORD);
    world
}

/// A service of RFC 5359, each message printed.
const RFC_5359: Flow = Flow { source: crate::Source::Rfc(5359), ..Flow::RFC_3665 };

/// Refuses each call at once.
#[derive(Debug)]
struct Refuses(u16);

impl Agent for Refuses {
    fn packet(&mut self, cx: &mut AgentContext<'_>, from: SocketAddr, bytes: &Bytes) {
        let Ok(request) = Message::parse(bytes.clone(), &Limits::default()) else { return };
        if request.method() == Some(&Method::Invite) {
            let tag = format!("t{}", self.0);
            let writer = Writer::response_to(&request, Status::of(self.0), from, Some(&tag));
            cx.send(from, writer.finish());
        }
    }
}

/// Bob's proxy, which asks nobody, with his services.
fn world(services: Services) -> World {
    world_with(|settings| {
        settings.forwarding.users.insert("sip:bob@biloxi.example.com".into(), services);
    })
}

fn world_with(change: impl FnOnce(&mut Settings)) -> World {
    let mut world = World::new(5359);
    let mut settings = server_settings(BILOXI, PROXY_2, 1);
    settings.domains[0].aliases.push("ss2.biloxi.example.com".into());
    settings.authenticate = false;
    settings.foreign = Foreign::Open;
    change(&mut settings);
    world.add_host("Proxy", settings, None);
    for (name, address) in [
        (BILOXI, PROXY_2),
        ("client.biloxi.example.com", BOB),
        ("client2.biloxi.example.com", B2),
        ("client3.biloxi.example.com", B3),
        ("client4.biloxi.example.com", B4),
        ("gw1.example.com", GATEWAY),
    ] {
        world.store.add_name(name, address.ip());
    }
    world.store.add_user(BILOXI, "bob", PASSWORD);
    world
}
