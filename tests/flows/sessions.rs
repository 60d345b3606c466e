//! RFC 3665 §3.1 to §3.3.

use std::net::SocketAddr;
use std::time::Duration;

use dialtone_sim::roles::io::{Command, Event, Play};
use dialtone_sim::roles::settings::dial_plan::{Action, CallerPattern, Rule, Template};
use dialtone_sim::roles::settings::{Foreign, Settings};
use dialtone_sim::{Habits, HostId, Mute, World, phone_settings, server_settings};
use dialtone_wire::Status;
use dialtone_wire::uri::UriBuf;

use crate::fields::Field;
use crate::people::{answer, call, hang_up, phone, register};
use crate::raw::{MovingBob, PASSWORD, QuickBob, RawBob};
use crate::{ALICE, BOB, Flow, PROXY_1, PROXY_2};

pub(crate) const ATLANTA: &str = "atlanta.example.com";
pub(crate) const BILOXI: &str = "biloxi.example.com";
/// Whom Alice calls.
pub(crate) const CALLED: &str = "sip:bob@biloxi.example.com";
pub(crate) const PROXY_OF_ALICE: &str = "sip:ss1.atlanta.example.com;lr";
pub(crate) const ALL: &[(&str, SocketAddr)] =
    &[("Alice", ALICE), ("Proxy 1", PROXY_1), ("Proxy 2", PROXY_2), ("Bob", BOB)];
const SAME_CREDENTIALS: &str =
    "RFC 3261 §13.2.2.4: \"The ACK MUST contain the same credentials as the INVITE\"";
const PROXIES_ADD_NONE: &str = "the RFC's proxy adds a Contact to the ACK that its sender did not put there";
pub(crate) const ACK_HAS_ROUTE: &str = "RFC 3261 §17.1.1.3: the ACK of a refusal has the Route of its INVITE";

const ALG: SocketAddr = crate::address(128);

pub(crate) const CHICAGO: &str = "chicago.example.com";
const REDIRECT_SERVER: SocketAddr = crate::address(222);
const PROXY_3: SocketAddr = crate::address(233);
const BOB_AWAY: SocketAddr = crate::address(100);
const NOBODY: SocketAddr = crate::address(240);
const BOB_MOVED: SocketAddr = crate::address(100);
const BACKUP_IN_ROUTE: &str =
    "our phone names the proxy that it is set up with; the RFC's finds it in its target";

pub(crate) const DIRECT: Flow = Flow {
    section: "3.1",
    title: "Successful Session Establishment",
    text: "Alice's phone calls Bob's without a proxy between them. Bob answers, and later hangs up.",
    participants: &[("Alice", ALICE), ("Bob", BOB)],
    differences: &[],
    play: || {
        let mut world = World::new(3665);
        world.store.add_name(BILOXI, BOB.ip());
        let alice = phone(&mut world, "alice", ATLANTA, ALICE, None);
        let bob = phone(&mut world, "bob", BILOXI, BOB, None);
        call(&mut world, alice, CALLED);
        answer_and_hang_up(&mut world, alice, bob);
        (world, 0)
    },
    ..Flow::RFC_3665
};

pub(crate) const TWO_PROXIES: Flow = Flow {
    section: "3.2",
    title: "Session Establishment Through Two Proxies",
    text: "Alice's phone calls through her own proxy, which asks who she is, and Bob's. Both proxies stay in the \
           path (Record-Route), so that ACK and BYE pass them too. Proxy 2 belongs to a closed network: it asks \
           nobody.",
    participants: ALL,
    differences: &[("F3", Field::Route, ACK_HAS_ROUTE), ("F15", Field::Credentials, SAME_CREDENTIALS)],
    play: || {
        let mut world = proxies(false);
        let alice = phone(&mut world, "alice", ATLANTA, ALICE, Some(PROXY_OF_ALICE));
        let bob = phone(&mut world, "bob", BILOXI, BOB, None);
        register(&mut world, bob);
        let from = world.packets().len();
        call(&mut world, alice, CALLED);
        answer_and_hang_up(&mut world, alice, bob);
        (world, from)
    },
    ..Flow::RFC_3665
};

pub(crate) const TWO_CHALLENGES: Flow = Flow {
    section: "3.3",
    title: "Session with Multiple Proxy Authentication",
    text: "Both proxies ask who Alice is, and her phone is set up with the realms of both. Her third INVITE has the credentials for both; each proxy takes its own \
           away. Bob answers at once.",
    participants: ALL,
    differences: &[
        ("F3", Field::Route, ACK_HAS_ROUTE),
        ("F10", Field::Route, ACK_HAS_ROUTE),
        ("F11", Field::Route, "the RFC forgot the Route that F1 and F4 have"),
        ("F20", Field::Contact, PROXIES_ADD_NONE),
        ("F20", Field::Expires, PROXIES_ADD_NONE),
        ("F21", Field::Contact, PROXIES_ADD_NONE),
        ("F21", Field::Expires, PROXIES_ADD_NONE),
    ],
    play: || {
        let mut world = proxies(true);
        world.store.add_user(BILOXI, "alice", PASSWORD);
        let alice = phone(&mut world, "alice", ATLANTA, ALICE, Some(PROXY_OF_ALICE));
        answers_biloxi(&mut world, alice);
        world.add_agent("Bob", BOB, Box::new(QuickBob));
        let challenge = RawBob::challenge(&mut world);
        RawBob::default().register(&mut world, &challenge, "2.1-F3-REGISTER.sip");
        let from = world.packets().len();
        call(&mut world, alice, CALLED);
        world.run_for(Duration::from_secs(5));
        assert!(world.events(alice).any(|event| matches!(event, Event::Answered { .. })));
        (world, from)
    },
    ..Flow::RFC_3665
};

pub(crate) const PROXY_FAILURE: Flow = Flow {
    section: "3.4",
    title: "Successful Session with Proxy Failure",
    text: "Proxy 1 is silent. Alice's phone repeats its INVITE until Timer B ends it, and begins anew by way of the \
           backup proxy that it is set up with, as it is with the realm of that.",
    participants: ALL,
    differences: &[
        ("F8", Field::Route, BACKUP_IN_ROUTE),
        ("F10", Field::Route, BACKUP_IN_ROUTE),
        ("F11", Field::Route, BACKUP_IN_ROUTE),
        ("F18", Field::Credentials, SAME_CREDENTIALS),
    ],
    play: || {
        let mut world = World::new(3665);
        world.add_agent("Proxy 1", PROXY_1, Box::new(Mute));
        second_proxy(&mut world, true);
        world.store.add_user(BILOXI, "alice", PASSWORD);
        let mut settings =
            phone_settings("sip:alice@atlanta.example.com", PASSWORD, ALICE, Some(PROXY_OF_ALICE));
        let account = settings.account.as_mut().expect("a phone has an account");
        account.realms.push(BILOXI.into());
        account.backup_proxy = UriBuf::parse("sip:ss2.biloxi.example.com;lr").ok();
        let alice = world.add_host("alice", settings, Some(Habits::NONE));
        let bob = phone(&mut world, "bob", BILOXI, BOB, None);
        register(&mut world, bob);
        let from = world.packets().len();
        call(&mut world, alice, CALLED);
        world.run_for(Duration::from_secs(32));
        answer_and_hang_up(&mut world, alice, bob);
        (world, from)
    },
    ..Flow::RFC_3665
};

/// Alice has a password for that realm too (RFC 3261 §22.3).
fn answers_biloxi(world: &mut World, alice: HostId) {
    world.reload_at(world.now(), alice, |settings| {
        settings.account.iter_mut().for_each(|account| account.realms.push(BILOXI.into()));
    });
}

pub(crate) const GATEWAY: Flow = Flow {
    section: "3.5",
    title: "Session Through a SIP ALG",
    text: "An application layer gateway at the edge of Alice's network is her route to the outside. It stays in the \
           path, Bob's proxy does not: ACK and BYE go from the gateway to Bob. Alice's phone is set up with \
           the realm of Bob's proxy and knows its challenge from a call before: it answers at once. This is the signalling only: the gateway of the RFC \
           bridges the media too and writes its own address into the session descriptions, which ours does not yet.",
    participants: &[("Alice", ALICE), ("SIP ALG", ALG), ("Proxy 2", PROXY_2), ("Bob", BOB)],
    differences: &[
        ("F12", Field::Credentials, SAME_CREDENTIALS),
        ("F13", Field::Credentials, SAME_CREDENTIALS),
    ],
    play: || {
        let mut world = World::new(3665);
        let mut gateway = proxy(ATLANTA, "alg1.atlanta.example.com", ALG);
        gateway.authenticate = false;
        gateway.foreign = Foreign::Open;
        world.add_host("SIP ALG", gateway, None);
        world.store.add_name("alg1.atlanta.example.com", ALG.ip());
        second_proxy(&mut world, true);
        world.reload_at(world.now(), HostId(1), |settings| settings.domains[0].leaves_path = true);
        world.store.add_user(BILOXI, "alice", PASSWORD);
        let alice = phone(&mut world, "alice", ATLANTA, ALICE, Some("sip:alg1.atlanta.example.com;lr"));
        answers_biloxi(&mut world, alice);
        let bob = phone(&mut world, "bob", BILOXI, BOB, None);
        world.command(bob, Command::Register);
        call(&mut world, alice, CALLED);
        answer_and_hang_up(&mut world, alice, bob);
        let from = world.packets().len();
        call(&mut world, alice, CALLED);
        talk(&mut world, alice, bob);
        hang_up(&mut world, alice);
        assert!(world.calls(bob).is_empty());
        (world, from)
    },
    ..Flow::RFC_3665
};

pub(crate) const REDIRECT: Flow = Flow {
    section: "3.6",
    title: "Session via Redirect and Proxy Servers with SDP in ACK",
    text: "The redirect server of Bob's domain names another place in its 302; Alice's phone calls there, by way of \
           that domain's proxy. It has no ports ready yet and sends no offer, so that the offer is in Bob's 200 and \
           the answer in the ACK.",
    participants: &[
        ("Alice", ALICE),
        ("Redirect Server", REDIRECT_SERVER),
        ("Proxy 3", PROXY_3),
        ("Bob", BOB_AWAY),
    ],
    play: || {
        let mut world = World::new(3665);
        let mut redirecting = proxy(BILOXI, "ss2.biloxi.example.com", REDIRECT_SERVER);
        redirecting.authenticate = false;
        let contact = Template::of_contact("<sip:bob@chicago.example.com>").expect("a contact");
        redirecting.dial_plan.rules.push(Rule {
            name: "bob-is-away".into(),
            numbers: vec!["bob".parse().expect("a pattern")],
            domains: Vec::new(),
            callers: vec![CallerPattern::Anyone],
            times: None,
            strip: 0,
            prepend: Default::default(),
            action: Action::Redirect { status: Status::of(302), contacts: vec![contact] },
            mode: None,
        });
        world.add_host("Redirect Server", redirecting, None);
        let mut third = proxy(CHICAGO, "ss3.chicago.example.com", PROXY_3);
        third.authenticate = false;
        world.add_host("Proxy 3", third, None);
        world.store.add_name(BILOXI, REDIRECT_SERVER.ip());
        world.store.add_name(CHICAGO, PROXY_3.ip());
        world.add_agent("Nobody", NOBODY, Box::new(Mute));
        let bob = phone(&mut world, "bob", CHICAGO, BOB_AWAY, None);
        register(&mut world, bob);
        world.no_ports = 1_000;
        let alice = phone(&mut world, "alice", ATLANTA, ALICE, None);
        let from = world.packets().len();
        call(&mut world, alice, CALLED);
        world.run_for(Duration::from_secs(1));
        // Another call orders ports, and gets them after it has begun without.
        world.no_ports = 0;
        let nobody = UriBuf::parse("sip:nobody@192.0.2.240").expect("an address");
        world.command(alice, Command::Call { token: 2, to: nobody, play: Play::Silence });
        world.run_for(Duration::from_secs(1));
        let other = world.calls(alice)[1];
        world.command(alice, Command::Hangup { call: other });
        world.run_for(Duration::from_secs(40));
        answer_and_hang_up(&mut world, alice, bob);
        (world, from)
    },
    ..Flow::RFC_3665
};

pub(crate) const ADDRESS_CHANGE: Flow = Flow {
    section: "3.7",
    title: "Session with re-INVITE (IP Address Change)",
    text: "Proxy 2 does not stay in the path of the call: ACK, re-INVITE and BYE go from phone to phone. Bob's phone \
           moves to another address and says so in a re-INVITE; Alice's sends its media and its BYE there. (Bob is \
           played by hand. As everywhere in this flow of the RFC, Alice uses Bob's proxy without one of her own.)",
    participants: &[("Alice", ALICE), ("Proxy 2", PROXY_2), ("Bob", BOB), ("Bob", BOB_MOVED)],
    play: || {
        let mut world = World::new(3665);
        second_proxy(&mut world, false);
        world.reload_at(world.now(), HostId(0), |settings| settings.domains[0].leaves_path = true);
        let alice = phone(&mut world, "alice", ATLANTA, ALICE, None);
        world.add_agent("Bob", BOB, Box::new(MovingBob::default()));
        world.add_agent("Bob", BOB_MOVED, Box::new(MovingBob::default()));
        RawBob::register_unasked(&mut world);
        let from = world.packets().len();
        call(&mut world, alice, CALLED);
        world.run_for(Duration::from_secs(2));
        assert!(world.events(alice).any(|event| matches!(event, Event::Answered { .. })));
        let re_invite = MovingBob::re_invite(&world);
        world.send(BOB_MOVED, ALICE, re_invite);
        world.run_for(Duration::from_secs(2));
        assert!(world.events(alice).any(|event| matches!(event, Event::SessionChanged { .. })));
        hang_up(&mut world, alice);
        (world, from)
    },
    ..Flow::RFC_3665
};

/// Both proxies; the second asks who it is that calls, or not.
pub(crate) fn proxies(second_asks: bool) -> World {
    let mut world = World::new(3665);
    let mut first = proxy(ATLANTA, "ss1.atlanta.example.com", PROXY_1);
    first.foreign = Foreign::Authenticated;
    world.add_host("Proxy 1", first, None);
    second_proxy(&mut world, second_asks);
    world.store.add_name(ATLANTA, PROXY_1.ip());
    world.store.add_user(ATLANTA, "alice", PASSWORD);
    world
}

/// Bob's proxy, and the names that everybody knows.
fn second_proxy(world: &mut World, asks: bool) {
    let mut second = proxy(BILOXI, "ss2.biloxi.example.com", PROXY_2);
    second.authenticate = asks;
    world.add_host("Proxy 2", second, None);
    for (name, address) in [
        (BILOXI, PROXY_2),
        ("client.chicago.example.com", BOB_MOVED),
        ("ss1.atlanta.example.com", PROXY_1),
        ("ss2.biloxi.example.com", PROXY_2),
        ("client.biloxi.example.com", BOB),
    ] {
        world.store.add_name(name, address.ip());
    }
    world.store.add_user(BILOXI, "bob", PASSWORD);
}

fn proxy(domain: &str, alias: &str, address: SocketAddr) -> Settings {
    let mut settings = server_settings(domain, address, 1);
    settings.domains[0].aliases.push(alias.into());
    settings
}

fn answer_and_hang_up(world: &mut World, alice: HostId, bob: HostId) {
    talk(world, alice, bob);
    hang_up(world, bob);
    assert!(world.calls(alice).is_empty());
}

fn talk(world: &mut World, alice: HostId, bob: HostId) {
    world.run_for(Duration::from_secs(2));
    answer(world, bob);
    assert!(world.events(alice).any(|event| matches!(event, Event::Answered { .. })));
}
