//! Proxies on the way of a registration and of a call: Path (RFC 3327 §5.5) and Service-Route (RFC 3608 §6.4).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dialtone_sim::roles::io::Event;
use dialtone_sim::roles::settings::{Foreign, NextHops, Settings};
use dialtone_sim::{HostId, World, server_settings};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{Limits, Message};

use crate::fields::Field;
use crate::people::{answer, begin, hang_up, phone, register};
use crate::raw::PASSWORD;
use crate::{Flow, Source};

const UA1: SocketAddr = address([192, 0, 2, 4]);
const P1: SocketAddr = address([112, 68, 155, 4]);
const P2: SocketAddr = address([178, 73, 76, 230]);
const P3: SocketAddr = address([19, 31, 97, 3]);
const REGISTRAR: SocketAddr = address([143, 70, 6, 83]);
const UA2: SocketAddr = address([71, 91, 180, 10]);
const HOME: &str = "examplehome.com";

/// RFC 3608 has names only.
const LAWYER: SocketAddr = crate::address(11);
const CUSTOMER: SocketAddr = crate::address(12);
const VISITED: SocketAddr = crate::address(21);
const EDGE: SocketAddr = crate::address(31);
const R: SocketAddr = crate::address(41);
const HSP: SocketAddr = crate::address(51);
const LAWYERS_HOME: &str = "home.example.com";

const ROUTE_OF_PHONE: &str = "our phone names the proxy that it is set up with; the RFC's finds it otherwise";
const TWO_VALUES: &str =
    "a proxy of ours that a Path leads through has two values, one for each of its sides";
const PATH_OF_CUSTOMER: &str =
    "our HSP finds P2 in the Path that UA2 is registered with, the RFC's in its settings";

const fn address([a, b, c, d]: [u8; 4]) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), 5060)
}

pub(crate) const PATH_OF_REGISTER: Flow = Flow {
    section: "5.5.1",
    title: "Path: Example of Mechanism in REGISTER Transaction",
    text: "UA1 registers by way of three proxies. P1 and P3 write themselves into Path; P2 does not (`path = false`). \
           The registrar keeps the Path with the binding, and its answer tells it.",
    participants: &[("UA1", UA1), ("P1", P1), ("P2", P2), ("P3", P3), ("REGISTRAR", REGISTRAR)],
    differences: &[("F1", Field::Route, ROUTE_OF_PHONE)],
    steps: &["F5"],
    play: || {
        let (mut world, ua1) = home();
        register(&mut world, ua1);
        (world, 0)
    },
    ..RFC_3327
};

pub(crate) const PATH_OF_INVITE: Flow = Flow {
    section: "5.5.2",
    title: "Path: Example of Mechanism in INVITE Transaction",
    text: "UA2 calls UA1. The registrar puts the Path of the binding into Route, and the Contact into the \
           Request-URI; it does not stay in the path of the call itself (`record_route = false`), P3 and P1 do. P2 \
           was on the way of the REGISTER only.",
    participants: &[("UA1", UA1), ("P1", P1), ("P3", P3), ("REGISTRAR", REGISTRAR), ("UA2", UA2)],
    differences: &[("F4", Field::RecordRoute, TWO_VALUES), ("F5", Field::RecordRoute, TWO_VALUES)],
    shows: &[
        ("F16", Field::Route, "P3, P3, P1, P1"),
        ("F17", Field::Route, "P1, P1"),
        ("F18", Field::Route, ""),
        ("F18", Field::RequestUri, "UA1@192.0.2.4"),
    ],
    figure: "F1 INVITE: UA2 -> REGISTRAR\n\
             F2 100 INVITE: REGISTRAR -> UA2\n\
             F3 INVITE: REGISTRAR -> P3\n\
             F4 INVITE: P3 -> P1\n\
             F5 INVITE: P1 -> UA1\n\
             F6 100 INVITE: P3 -> REGISTRAR\n\
             F7 100 INVITE: P1 -> P3\n\
             F8 180 INVITE: UA1 -> P1\n\
             F9 180 INVITE: P1 -> P3\n\
             F10 180 INVITE: P3 -> REGISTRAR\n\
             F11 180 INVITE: REGISTRAR -> UA2\n\
             F12 200 INVITE: UA1 -> P1\n\
             F13 200 INVITE: P1 -> P3\n\
             F14 200 INVITE: P3 -> REGISTRAR\n\
             F15 200 INVITE: REGISTRAR -> UA2\n\
             F16 ACK: UA2 -> P3\n\
             F17 ACK: P3 -> P1\n\
             F18 ACK: P1 -> UA1",
    afterwards: "Afterwards UA1 hangs up.",
    play: || {
        let (mut world, ua1) = home();
        register(&mut world, ua1);
        let ua2 = phone(&mut world, "UA2", "foreign.elsewhere.org", UA2, None);
        let from = talk(&mut world, ua2, ua1, "sip:UA1@examplehome.com");
        (world, from)
    },
    ..RFC_3327
};

pub(crate) const SERVICE_ROUTE_OF_REGISTER: Flow = Flow {
    section: "6.4.1",
    title: "Service-Route: Example of Mechanism in REGISTER Transaction",
    text: "UA1, a lawyer's phone, registers from a network that he visits. The registrar tells which servers his \
           calls shall pass on their way out: the edge P2 and the home service proxy (`service_route`).",
    participants: &[("UA1", LAWYER), ("P1", VISITED), ("P2", EDGE), ("R", R)],
    differences: &[("F1", Field::Route, ROUTE_OF_PHONE)],
    steps: &["F4", "F5"],
    play: || {
        let (mut world, lawyer) = lawyers_home();
        register(&mut world, lawyer);
        (world, 0)
    },
    ..RFC_3608
};

pub(crate) const SERVICE_ROUTE_OF_INVITE: Flow = Flow {
    section: "6.4.2",
    title: "Service-Route: Example of Mechanism in INVITE Transaction",
    text: "The lawyer calls a customer: his INVITE passes his outbound proxy P1, then the Service-Route of his \
           registration. The home service proxy writes down the call, and sends it to where the customer is \
           registered, again by P2.",
    participants: &[("UA1", LAWYER), ("P1", VISITED), ("P2", EDGE), ("HSP", HSP), ("UA2", CUSTOMER)],
    differences: &[("F1", Field::Route, ROUTE_OF_PHONE), ("F5", Field::Route, PATH_OF_CUSTOMER)],
    figure: "F1 INVITE: UA1 -> P1\n\
             F2 INVITE: P1 -> P2\n\
             F3 INVITE: P2 -> HSP\n\
             F4 100 INVITE: HSP -> P2\n\
             F5 INVITE: HSP -> P2\n\
             F6 100 INVITE: P1 -> UA1\n\
             F7 100 INVITE: P2 -> P1\n\
             F8 INVITE: P2 -> UA2\n\
             F9 100 INVITE: P2 -> HSP\n\
             F10 180 INVITE: UA2 -> P2\n\
             F11 180 INVITE: P2 -> HSP\n\
             F12 180 INVITE: HSP -> P2\n\
             F13 180 INVITE: P2 -> P1\n\
             F14 180 INVITE: P1 -> UA1\n\
             F15 200 INVITE: UA2 -> P2\n\
             F16 200 INVITE: P2 -> HSP\n\
             F17 200 INVITE: HSP -> P2\n\
             F18 200 INVITE: P2 -> P1\n\
             F19 200 INVITE: P1 -> UA1",
    afterwards: "The ACK takes the same way. Afterwards UA2 hangs up.",
    play: || {
        let (mut world, lawyer) = lawyers_home();
        register(&mut world, lawyer);
        let customer = phone(&mut world, "UA2", LAWYERS_HOME, CUSTOMER, None);
        register_by_path(&mut world);
        let from = talk(&mut world, lawyer, customer, "sip:UA2@home.example.com");
        (world, from)
    },
    ..RFC_3608
};

/// What its examples leave out, or begin where they like.
const OMITTED: &[Field] = &[Field::MaxForwards, Field::Body, Field::CSeq, Field::Expires];

const RFC_3327: Flow = Flow { source: Source::Rfc(3327), omits: OMITTED, ..Flow::RFC_3665 };

const RFC_3608: Flow = Flow { source: Source::Rfc(3608), omits: OMITTED, ..Flow::RFC_3665 };

/// The network of RFC 3327 §5.5.
fn home() -> (World, HostId) {
    let mut world = World::new(3327);
    let proxies = [
        ("P1", P1, "p1.examplevisited.com", P2),
        ("P2", P2, "p2", P3),
        ("P3", P3, "p3.examplehome.com", REGISTRAR),
    ];
    for (name, place, alias, next) in proxies {
        let mut settings = edge(HOME, place, alias, next);
        settings.domains[0].skips_path = name == "P2";
        world.add_host(name, settings, None);
    }
    let mut registrar = server_settings(HOME, REGISTRAR, 1);
    registrar.authenticate = false;
    registrar.domains[0].leaves_path = true;
    world.add_host("REGISTRAR", registrar, None);
    world.store.add_name(HOME, REGISTRAR.ip());
    world.store.add_name("p1.examplevisited.com", P1.ip());
    world.store.add_user(HOME, "UA1", PASSWORD);
    let ua1 = phone(&mut world, "UA1", HOME, UA1, Some("sip:p1.examplevisited.com;lr"));
    (world, ua1)
}

/// The network of RFC 3608 §6.4.
fn lawyers_home() -> (World, HostId) {
    let mut world = World::new(3608);
    let names = ["p1.visited.example.org", "p2.home.example.com", "hsp.home.example.com"];
    for (name, place, alias, next) in [("P1", VISITED, names[0], EDGE), ("P2", EDGE, names[1], R)] {
        let mut settings = edge(LAWYERS_HOME, place, alias, next);
        settings.domains[0].skips_path = true;
        settings.foreign = Foreign::Open;
        world.add_host(name, settings, None);
    }
    for (name, place) in [("R", R), ("HSP", HSP)] {
        let mut settings = server_settings(LAWYERS_HOME, place, 1);
        settings.authenticate = false;
        settings.domains[0].aliases.push(format!("{name}.{LAWYERS_HOME}").to_ascii_lowercase().into());
        if name == "R" {
            settings.domains[0].service_route =
                names[1..].iter().map(|hop| format!("<sip:{hop};lr>").into()).collect();
        }
        world.add_host(name, settings, None);
    }
    for (name, place) in names.iter().zip([VISITED, EDGE, HSP]) {
        world.store.add_name(name, place.ip());
    }
    for user in ["UA1", "UA2"] {
        world.store.add_user(LAWYERS_HOME, user, PASSWORD);
    }
    let lawyer = phone(&mut world, "UA1", LAWYERS_HOME, LAWYER, Some("sip:p1.visited.example.org;lr"));
    (world, lawyer)
}

/// A proxy in front of another one.
fn edge(domain: &str, place: SocketAddr, alias: &str, next: SocketAddr) -> Settings {
    let mut settings = server_settings(domain, place, 1);
    settings.domains[0].aliases.push(alias.into());
    settings.domains[0].next_hops = NextHops(vec![UriBuf::for_address(None, next)]);
    settings
}

/// The home service proxy knows where UA2 is, as if it shared the registrar's data: behind P2.
fn register_by_path(world: &mut World) {
    let request = format!(
        "REGISTER sip:{LAWYERS_HOME} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {CUSTOMER};branch=z9hG4bKcustomer\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:UA2@{LAWYERS_HOME}>;tag=2\r\n\
         To: <sip:UA2@{LAWYERS_HOME}>\r\n\
         Call-ID: customer\r\n\
         CSeq: 1 REGISTER\r\n\
         Supported: path\r\n\
         Path: <sip:p2.home.example.com;lr>\r\n\
         Contact: <sip:UA2@{CUSTOMER}>\r\n\
         Content-Length: 0\r\n\r\n"
    );
    world.send(CUSTOMER, HSP, request.into_bytes());
    world.run_for(Duration::from_secs(1));
    let answers = world.packets().iter().filter(|packet| packet.from == HSP && packet.to == CUSTOMER);
    let answer = answers.last().expect("an answer").bytes.clone();
    let answer = Message::parse(answer, &Limits::default()).expect("an answer of ours");
    assert_eq!(answer.status().map(|status| status.code()), Some(200));
}

/// One calls the other, who answers, and hangs up later; the number of packets before.
fn talk(world: &mut World, caller: HostId, called: HostId, to: &str) -> usize {
    let from = begin(world, caller, to);
    answer(world, called);
    assert!(world.events(caller).any(|event| matches!(event, Event::Answered { .. })));
    hang_up(world, called);
    assert!(world.calls(caller).is_empty());
    from
}
