//! The figures of the deck that show messages between several parties: registration, authentication, the basic call,
//! forking. Its slides print few headers; what they print is compared.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dialtone_sim::roles::io::{Command, Event, Play, TransferTo};
use dialtone_sim::roles::services::Services;
use dialtone_sim::roles::settings::{Foreign, Mode};
use dialtone_sim::{HostId, Mute, World, server_settings};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{Limits, Message};

use crate::Flow;
use crate::fields::Field;
use crate::people::{answer, begin, hang_up, phone, register, simple_phone};
use crate::raw::PASSWORD;

const TIN: SocketAddr = address(2);
const BOB: SocketAddr = address(3);
const ROB: SocketAddr = address(4);
const ROB_AT_HOME: SocketAddr = address(5);
const REGISTRAR: SocketAddr = address(10);
const PROXY: SocketAddr = address(11);
const P1: SocketAddr = address(12);
const P2: SocketAddr = address(13);
/// Whom Tin calls.
const CALLED: &str = "sip:rob@orange.com";
const ORANGE: &str = "orange.com";
const FRANCE_TELECOM: &str = "francetelecom.com";

const fn address(host: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)), 5060)
}

pub(crate) const BASIC_CALL: Flow = Flow {
    section: "basic-call",
    title: "Basic Call Flow dissection",
    text: "Tin calls Rob; both hear each other; Rob hangs up.",
    participants: &[("Tin", TIN), ("Rob", ROB)],
    shows: &[
        ("F1", Field::RequestUri, "rob@orange.com"),
        ("F1", Field::Parties, "tin@francetelecom.com rob@orange.com"),
        ("F1", Field::Contact, "tin@10.0.0.2"),
        ("F1", Field::CSeq, "1 INVITE"),
        ("F1", Field::ToTag, "false"),
        ("F1", Field::Body, "true"),
        ("F2", Field::ToTag, "true"),
        ("F3", Field::Contact, "rob@10.0.0.4"),
        ("F3", Field::Body, "true"),
        ("F4", Field::RequestUri, "rob@10.0.0.4"),
        ("F4", Field::CSeq, "1 ACK"),
        ("F5", Field::RequestUri, "tin@10.0.0.2"),
        ("F5", Field::Parties, "rob@orange.com tin@francetelecom.com"),
    ],
    figure: "F1 INVITE: Tin -> Rob\n\
             F2 180 INVITE: Rob -> Tin\n\
             F3 200 INVITE: Rob -> Tin\n\
             F4 ACK: Tin -> Rob\n\
             F5 BYE: Rob -> Tin\n\
             F6 200 BYE: Tin -> Rob",
    play: || {
        let mut world = World::new(1);
        world.store.add_name(ORANGE, ROB.ip());
        let tin = phone(&mut world, "tin", FRANCE_TELECOM, TIN, None);
        let rob = phone(&mut world, "rob", ORANGE, ROB, None);
        begin(&mut world, tin, CALLED);
        answer(&mut world, rob);
        hang_up(&mut world, rob);
        assert!(world.calls(tin).is_empty() && world.calls(rob).is_empty());
        (world, 0)
    },
    ..Flow::DECK
};

pub(crate) const SESSION_UPDATE: Flow = Flow {
    section: "session-update",
    title: "Session update",
    text: "Tin adds video to the call by UPDATE: the same dialog, the same lines with one more behind them, the next \
           version of the description. Rob's phone has no picture: it answers the new line with port 0, and the sound \
           goes on.",
    participants: &[("Tin", TIN), ("Rob", ROB)],
    shows: &[
        ("F5", Field::RequestUri, "rob@10.0.0.4"),
        ("F5", Field::Parties, "tin@francetelecom.com rob@orange.com"),
        ("F5", Field::CSeq, "3 UPDATE"),
        ("F5", Field::ToTag, "true"),
        ("F5", Field::Body, "true"),
        ("F6", Field::Body, "true"),
    ],
    figure: "F1 INVITE: Tin -> Rob\n\
             F2 180 INVITE: Rob -> Tin\n\
             F3 200 INVITE: Rob -> Tin\n\
             F4 ACK: Tin -> Rob\n\
             F5 UPDATE: Tin -> Rob\n\
             F6 200 UPDATE: Rob -> Tin",
    play: || {
        let mut world = World::new(1);
        world.store.add_name(ORANGE, ROB.ip());
        world.add_agent("Tin", TIN, Box::new(Mute));
        let rob = phone(&mut world, "rob", ORANGE, ROB, None);
        let from = world.packets().len();
        let video = add_video(&mut world, rob);
        assert_eq!(video, "m=video 0 RTP/AVP 31");
        (world, from)
    },
    ..Flow::DECK
};

pub(crate) const SESSION_UPDATE_ACCEPTED: Flow = Flow {
    section: "session-update-accepted",
    title: "Session update, accepted",
    text: "The same UPDATE to a phone that takes video: the new line has a port in the answer, at which the pictures \
           come in. It has none to send and says so: `recvonly`.",
    play: || {
        let mut world = World::new(1);
        world.store.add_name(ORANGE, ROB.ip());
        world.add_agent("Tin", TIN, Box::new(Mute));
        let rob = phone(&mut world, "rob", ORANGE, ROB, None);
        world.reload_at(world.now(), rob, |settings| settings.session.video = true);
        let from = world.packets().len();
        let video = add_video(&mut world, rob);
        let port = video.strip_prefix("m=video ").and_then(|rest| rest.strip_suffix(" RTP/AVP 31"));
        assert!(port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)), "{video}");
        assert!(world.events(rob).any(|event| matches!(event, Event::VideoStarted { .. })));
        (world, from)
    },
    ..SESSION_UPDATE
};

/// Tin calls Rob, who answers, and adds video; what stands in the line of video in Rob's answer.
fn add_video(world: &mut World, rob: HostId) -> String {
    request_of_tin(world, "INVITE", 1, &description(562_413, ""));
    let call = world.calls(rob)[0];
    world.command(rob, Command::Answer { call, play: Play::Silence });
    world.run_for(Duration::from_millis(100));
    request_of_tin(world, "ACK", 1, "");
    request_of_tin(world, "UPDATE", 3, &description(562_414, VIDEO));
    let answer = world.packets().last().expect("an answer").bytes.clone();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let lines: Vec<&str> = answer.lines().filter(|line| line.starts_with("m=")).collect();
    let [audio, video] = lines[..] else { panic!("{lines:?}") };
    assert!(audio.starts_with("m=audio ") && !audio.starts_with("m=audio 0 "), "{audio}");
    assert_eq!(world.calls(rob).len(), 1);
    video.to_owned()
}

/// What the deck adds.
const VIDEO: &str = "m=video 5643 RTP/AVP 31\r\na=rtpmap:31 H261/90000\r\n";

/// The description of the deck, with a codec that Rob's phone has.
fn description(version: u32, more: &str) -> String {
    format!(
        "v=0\r\no=Tin 562413 {version} IN IP4 10.0.0.2\r\ns=phone call\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\n\
         m=audio 4710 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n{more}"
    )
}

/// A request of the call that Tin makes by hand.
fn request_of_tin(world: &mut World, method: &str, cseq: u32, body: &str) {
    let of_rob = |bytes: &[u8]| {
        let message = Message::parse(bytes.to_vec().into(), &Limits::default()).ok()?;
        Some(message.to().ok()?.tag()?.to_owned())
    };
    let tag = world.packets().iter().find_map(|packet| of_rob(&packet.bytes));
    let to_tag = tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
    let uri = if to_tag.is_empty() { CALLED } else { "sip:rob@10.0.0.4" };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let request = format!(
        "{method} {uri} SIP/2.0\r\n\
         Via: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK{method}{cseq}\r\n\
         Max-Forwards: 70\r\n\
         From: Tin <sip:tin@francetelecom.com>;tag=1\r\n\
         To: Rob <sip:rob@orange.com>{to_tag}\r\n\
         Call-ID: 124325617@host1.francetelecom.com\r\n\
         CSeq: {cseq} {method}\r\n\
         Contact: <sip:tin@10.0.0.2>\r\n\
         {kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    world.send(TIN, ROB, request.into_bytes());
    world.run_for(Duration::from_secs(1));
}

pub(crate) const REGISTRATION: Flow = Flow {
    section: "registration",
    title: "Registration",
    text: "The registrar takes the address-of-record from To and the place from Contact, and keeps Call-ID and CSeq. \
           Unless the phone asks for another time the binding holds for an hour: the answer says so.",
    participants: &[("Bob", BOB), ("Registrar", REGISTRAR)],
    shows: &[
        ("F1", Field::RequestUri, "orange.com"),
        ("F1", Field::Parties, "bob@orange.com bob@orange.com"),
        ("F1", Field::Contact, "bob@10.0.0.3"),
        ("F2", Field::Contact, "bob@10.0.0.3"),
        ("F2", Field::Lifetimes, "3600"),
    ],
    figure: "F1 REGISTER: Bob -> Registrar\n\
             F2 200 REGISTER: Registrar -> Bob",
    play: || {
        let mut world = registrar(false);
        world.add_agent("Bob", BOB, Box::new(Mute));
        register_bob(&mut world, 1826, "Contact: <sip:bob@10.0.0.3:5060>\r\n");
        (world, 0)
    },
    ..Flow::DECK
};

pub(crate) const REMOVAL: Flow = Flow {
    section: "remove-registration",
    title: "Remove registration",
    text: "`Contact: *` with `Expires: 0` takes every binding away.",
    participants: &[("Bob", BOB), ("Registrar", REGISTRAR)],
    shows: &[("F1", Field::Lifetimes, "0"), ("F1", Field::Contact, "*"), ("F2", Field::Contact, "")],
    figure: "F1 REGISTER: Bob -> Registrar\n\
             F2 200 REGISTER: Registrar -> Bob",
    play: || {
        let mut world = registrar(false);
        world.add_agent("Bob", BOB, Box::new(Mute));
        register_bob(&mut world, 1826, "Contact: <sip:bob@10.0.0.3:5060>\r\n");
        let from = world.packets().len();
        register_bob(&mut world, 1827, "Contact: *\r\nExpires: 0\r\n");
        (world, from)
    },
    ..Flow::DECK
};

pub(crate) const REGISTER_AUTHENTICATION: Flow = Flow {
    section: "register-authentication",
    title: "REGISTER Authentication",
    text: "The registrar asks who it is; the phone computes the response from the challenge and its password, and \
           sends the request again with the next CSeq. (The registrar offers SHA-512/256 and SHA-256 before the \
           MD5 of the slide, and auth-int beside its auth.)",
    participants: &[("Tin", TIN), ("Registrar", REGISTRAR)],
    shows: &[
        ("F1", Field::RequestUri, "orange.com"),
        ("F1", Field::CSeq, "1 REGISTER"),
        ("F1", Field::Credentials, "0"),
        ("F2", Field::Digest, "realm=orange.com qop=auth,auth-int stale=false algorithm=MD5"),
        ("F3", Field::RequestUri, "orange.com"),
        ("F3", Field::CSeq, "2 REGISTER"),
        ("F3", Field::Digest, "username=tin realm=orange.com uri=sip:orange.com"),
    ],
    figure: "F1 REGISTER: Tin -> Registrar\n\
             F2 401 REGISTER: Registrar -> Tin\n\
             F3 REGISTER: Tin -> Registrar\n\
             F4 200 REGISTER: Registrar -> Tin",
    play: || {
        let mut world = registrar(true);
        let tin = phone(&mut world, "tin", ORANGE, TIN, None);
        world.command(tin, Command::Register);
        world.run_for(Duration::from_secs(5));
        assert!(world.events(tin).any(|event| matches!(event, Event::Registered { .. })));
        (world, 0)
    },
    ..Flow::DECK
};

pub(crate) const INVITE_AUTHENTICATION: Flow = Flow {
    section: "invite-authentication",
    title: "INVITE Authentication",
    text: "The proxy asks with 407 in place of 401. The slide leaves out the ACKs, the 100 and the callee behind \
           the proxy.",
    participants: &[("Tin", TIN), ("Proxy", PROXY)],
    shows: &[
        ("F1", Field::CSeq, "1 INVITE"),
        ("F1", Field::Credentials, "0"),
        ("F2", Field::Challenges, "1"),
        ("F3", Field::CSeq, "1 ACK"),
        ("F4", Field::CSeq, "2 INVITE"),
        ("F4", Field::Credentials, "1"),
    ],
    figure: "F1 INVITE: Tin -> Proxy\n\
             F2 407 INVITE: Proxy -> Tin\n\
             F3 ACK: Tin -> Proxy\n\
             F4 INVITE: Tin -> Proxy\n\
             F5 100 INVITE: Proxy -> Tin\n\
             F6 180 INVITE: Proxy -> Tin\n\
             F7 200 INVITE: Proxy -> Tin\n\
             F8 ACK: Tin -> Proxy",
    afterwards: "Afterwards Rob hangs up.",
    play: || {
        let (mut world, tin, robs) = one_proxy(&[ROB], true);
        let from = begin(&mut world, tin, CALLED);
        answer(&mut world, robs[0]);
        hang_up(&mut world, robs[0]);
        (world, from)
    },
    ..Flow::DECK
};

pub(crate) const FORKING: Flow = Flow {
    section: "forking",
    title: "Forking mode (in parallel)",
    text: "Rob has two phones, and both ring: one request, two branches, each a transaction of its own. The first to \
           answer has the call; the other gets CANCEL with the reason that the call was taken elsewhere (RFC 3326), \
           and stops ringing.",
    participants: &[("Tin", TIN), ("Proxy", PROXY), ("Rob", ROB), ("Rob at home", ROB_AT_HOME)],
    shows: &[
        ("F1", Field::RequestUri, "rob@orange.com"),
        ("F3", Field::RequestUri, "rob@10.0.0.4"),
        ("F3", Field::Vias, "2"),
        ("F4", Field::RequestUri, "rob@10.0.0.5"),
        ("F4", Field::Vias, "2"),
        ("F11", Field::Reason, "SIP ;cause=200 ;text=\"Call completed elsewhere\""),
    ],
    figure: "F1 INVITE: Tin -> Proxy\n\
             F2 100 INVITE: Proxy -> Tin\n\
             F3 INVITE: Proxy -> Rob\n\
             F4 INVITE: Proxy -> Rob at home\n\
             F5 180 INVITE: Rob -> Proxy\n\
             F6 180 INVITE: Rob at home -> Proxy\n\
             F7 180 INVITE: Proxy -> Tin\n\
             F8 180 INVITE: Proxy -> Tin\n\
             F9 200 INVITE: Rob -> Proxy\n\
             F10 200 INVITE: Proxy -> Tin\n\
             F11 CANCEL: Proxy -> Rob at home\n\
             F12 ACK: Tin -> Proxy\n\
             F13 200 CANCEL: Rob at home -> Proxy\n\
             F14 487 INVITE: Rob at home -> Proxy\n\
             F15 ACK: Proxy -> Rob\n\
             F16 ACK: Proxy -> Rob at home",
    afterwards: "Afterwards Rob hangs up.",
    play: || {
        let (mut world, tin, robs) = one_proxy(&[ROB, ROB_AT_HOME], false);
        let from = begin(&mut world, tin, CALLED);
        answer(&mut world, robs[0]);
        assert!(world.calls(robs[1]).is_empty(), "the other phone is silent");
        hang_up(&mut world, robs[0]);
        (world, from)
    },
    ..Flow::DECK
};

pub(crate) const FORWARD: Flow = Flow {
    section: "forward",
    title: "Supplementary Service: Forward",
    text: "Rob is busy and has his calls forwarded to Bob then (Call Forward on Busy): the proxy does it when it \
           receives the 486. Tin is told of it (181), and the INVITE to Bob says for whom it was.",
    participants: &[("Tin", TIN), ("Proxy", PROXY), ("Rob", ROB), ("Bob", BOB)],
    shows: &[
        ("F1", Field::RequestUri, "rob@orange.com"),
        ("F3", Field::RequestUri, "rob@10.0.0.4"),
        ("F7", Field::RequestUri, "bob@10.0.0.3"),
        ("F7", Field::Vias, "2"),
        ("F7", Field::Parties, "tin@orange.com rob@orange.com"),
        (
            "F7",
            Field::History,
            "<sip:rob@orange.com>;index=1, <sip:rob@10.0.0.4:5060?Reason=SIP%3Bcause%3D486>;index=1.1;rc=1, \
             <sip:bob@orange.com;cause=486>;index=1.2;mp=1, <sip:bob@10.0.0.3:5060>;index=1.2.1;rc=1.2",
        ),
        ("F7", Field::Diversion, "<sip:rob@orange.com>;reason=user-busy;counter=1"),
    ],
    figure: "F1 INVITE: Tin -> Proxy\n\
             F2 100 INVITE: Proxy -> Tin\n\
             F3 INVITE: Proxy -> Rob\n\
             F4 486 INVITE: Rob -> Proxy\n\
             F5 ACK: Proxy -> Rob\n\
             F6 181 INVITE: Proxy -> Tin\n\
             F7 INVITE: Proxy -> Bob\n\
             F8 180 INVITE: Bob -> Proxy\n\
             F9 180 INVITE: Proxy -> Tin\n\
             F10 200 INVITE: Bob -> Proxy\n\
             F11 200 INVITE: Proxy -> Tin\n\
             F12 ACK: Tin -> Proxy\n\
             F13 ACK: Proxy -> Bob",
    afterwards: "Afterwards Bob hangs up.",
    play: || {
        let (mut world, tin, robs) = one_proxy(&[ROB], false);
        world.reload_at(world.now(), HostId(0), |settings| {
            let busy = Some("sip:bob@orange.com".into());
            let services = Services { busy, ..Services::default() };
            settings.forwarding.users.insert("sip:rob@orange.com".into(), services);
        });
        world.store.add_user(ORANGE, "bob", PASSWORD);
        let bob = phone(&mut world, "bob", ORANGE, BOB, None);
        register(&mut world, bob);
        // Rob speaks with somebody else: his phone takes one call.
        world.add_agent("Chantal", address(6), Box::new(Mute));
        let chantal = UriBuf::parse("sip:chantal@10.0.0.6").expect("an address");
        world.command(robs[0], Command::Call { token: 1, to: chantal, play: Play::Silence });
        world.run_for(Duration::from_secs(1));
        let from = begin(&mut world, tin, CALLED);
        answer(&mut world, bob);
        hang_up(&mut world, bob);
        (world, from)
    },
    ..Flow::DECK
};

pub(crate) const TRANSFER: Flow = Flow {
    section: "transfer",
    title: "Supplementary Service: Transfer",
    text: "Rob sends Tin on to Bob. The server performs it when it receives the REFER (`mode = \"b2bua\"`): it calls Bob, \
           gives his offer to Tin, whose phone sees no more of it than a change of the session, and tells Rob how far \
           it has come. Rob hangs up when it is done.",
    participants: &[("Tin", TIN), ("Server", PROXY), ("Rob", ROB), ("Bob", BOB)],
    shows: &[
        ("F10", Field::Refer, "Refer-To: <sip:bob@orange.com>"),
        ("F12", Field::Told, "refer;id=1; active; SIP/2.0 100 Trying"),
        ("F13", Field::Body, "false"),
        ("F13", Field::RequestUri, "bob@10.0.0.3"),
        ("F16", Field::Told, "refer;id=1; active; SIP/2.0 180 Ringing"),
        ("F18", Field::Body, "true"),
        ("F19", Field::Body, "true"),
        ("F19", Field::ToTag, "true"),
        ("F22", Field::Body, "true"),
        ("F23", Field::Told, "refer;id=1; terminated;reason=noresource; SIP/2.0 200 OK"),
    ],
    figure: "F1 INVITE: Tin -> Server\n\
             F2 100 INVITE: Server -> Tin\n\
             F3 INVITE: Server -> Rob\n\
             F4 180 INVITE: Rob -> Server\n\
             F5 180 INVITE: Server -> Tin\n\
             F6 200 INVITE: Rob -> Server\n\
             F7 200 INVITE: Server -> Tin\n\
             F8 ACK: Server -> Rob\n\
             F9 ACK: Tin -> Server\n\
             F10 REFER: Rob -> Server\n\
             F11 200 REFER: Server -> Rob\n\
             F12 NOTIFY: Server -> Rob\n\
             F13 INVITE: Server -> Bob\n\
             F14 200 NOTIFY: Rob -> Server\n\
             F15 180 INVITE: Bob -> Server\n\
             F16 NOTIFY: Server -> Rob\n\
             F17 200 NOTIFY: Rob -> Server\n\
             F18 200 INVITE: Bob -> Server\n\
             F19 INVITE: Server -> Tin\n\
             F20 200 INVITE: Tin -> Server\n\
             F21 ACK: Server -> Tin\n\
             F22 ACK: Server -> Bob\n\
             F23 NOTIFY: Server -> Rob\n\
             F24 200 NOTIFY: Rob -> Server\n\
             F25 BYE: Rob -> Server\n\
             F26 200 BYE: Server -> Rob",
    afterwards: "Afterwards Bob hangs up.",
    play: || {
        let (mut world, tin, robs) = one_proxy(&[ROB], false);
        world.reload_at(world.now(), HostId(0), |settings| settings.domains[0].mode = Mode::B2bua);
        world.store.add_user(ORANGE, "bob", PASSWORD);
        let bob = phone(&mut world, "bob", ORANGE, BOB, None);
        register(&mut world, bob);
        let from = begin(&mut world, tin, CALLED);
        answer(&mut world, robs[0]);
        let call = world.calls(robs[0])[0];
        let to = TransferTo::Address(UriBuf::parse("sip:bob@orange.com").expect("an address"));
        world.command(robs[0], Command::Transfer { call, to });
        world.run_for(Duration::from_secs(2));
        answer(&mut world, bob);
        world.run_for(Duration::from_secs(10));
        assert!(world.calls(robs[0]).is_empty(), "Rob is rid of the call");
        hang_up(&mut world, bob);
        assert!(world.calls(tin).is_empty());
        (world, from)
    },
    ..Flow::DECK
};

pub(crate) const PROXIES: Flow = Flow {
    section: "proxies",
    title: "Messages traversal in SIP network, and Proxy dialog stateful",
    text: "Both proxies are in the path of the first transaction: each adds its Via to the INVITE, and each response \
           loses them one by one on its way back. P1 writes itself into Record-Route, P2 does not (`record_route = \
           false`): from the ACK on P1 alone is in the path, by the Route that both phones made of Record-Route. The \
           five steps of the second figure: the INVITE (F1, F3, F5), the ringing (F6 to F8), the answer (F9 to F11), \
           the ACK (F12, F13), the BYE (F14 to F17).",
    participants: &[("Tin", TIN), ("P1", P1), ("P2", P2), ("Rob", ROB)],
    shows: &[
        ("F1", Field::Vias, "1"),
        ("F1", Field::RecordRoute, ""),
        ("F3", Field::Vias, "2"),
        ("F3", Field::RecordRoute, "10.0.0.12"),
        ("F3", Field::RequestUri, "rob@orange.com"),
        ("F5", Field::Vias, "3"),
        ("F5", Field::RecordRoute, "10.0.0.12"),
        ("F5", Field::RequestUri, "rob@10.0.0.4"),
        ("F9", Field::Vias, "3"),
        ("F9", Field::RecordRoute, "10.0.0.12"),
        ("F10", Field::Vias, "2"),
        ("F11", Field::Vias, "1"),
        ("F11", Field::RecordRoute, "10.0.0.12"),
        ("F12", Field::Route, "10.0.0.12"),
        ("F12", Field::RequestUri, "rob@10.0.0.4"),
        ("F12", Field::Vias, "1"),
        ("F13", Field::Route, ""),
        ("F13", Field::Vias, "2"),
        ("F14", Field::Route, "10.0.0.12"),
        ("F14", Field::RequestUri, "tin@10.0.0.2"),
        ("F15", Field::Route, ""),
        ("F15", Field::Vias, "2"),
        ("F16", Field::Vias, "2"),
        ("F17", Field::Vias, "1"),
    ],
    figure: "F1 INVITE: Tin -> P1\n\
             F2 100 INVITE: P1 -> Tin\n\
             F3 INVITE: P1 -> P2\n\
             F4 100 INVITE: P2 -> P1\n\
             F5 INVITE: P2 -> Rob\n\
             F6 180 INVITE: Rob -> P2\n\
             F7 180 INVITE: P2 -> P1\n\
             F8 180 INVITE: P1 -> Tin\n\
             F9 200 INVITE: Rob -> P2\n\
             F10 200 INVITE: P2 -> P1\n\
             F11 200 INVITE: P1 -> Tin\n\
             F12 ACK: Tin -> P1\n\
             F13 ACK: P1 -> Rob\n\
             F14 BYE: Rob -> P1\n\
             F15 BYE: P1 -> Tin\n\
             F16 200 BYE: Tin -> P1\n\
             F17 200 BYE: P1 -> Rob",
    play: || {
        let mut world = World::new(1);
        let mut first = server_settings(FRANCE_TELECOM, P1, 1);
        first.authenticate = false;
        first.foreign = Foreign::Open;
        world.add_host("P1", first, None);
        let mut second = server_settings(ORANGE, P2, 1);
        second.authenticate = false;
        second.domains[0].leaves_path = true;
        world.add_host("P2", second, None);
        world.store.add_name(FRANCE_TELECOM, P1.ip());
        world.store.add_name(ORANGE, P2.ip());
        let tin = phone(&mut world, "tin", FRANCE_TELECOM, TIN, Some("sip:francetelecom.com;lr"));
        let rob = phone(&mut world, "rob", ORANGE, ROB, None);
        register(&mut world, rob);
        let from = begin(&mut world, tin, CALLED);
        answer(&mut world, rob);
        hang_up(&mut world, rob);
        assert!(world.calls(tin).is_empty() && world.calls(rob).is_empty());
        (world, from)
    },
    ..Flow::DECK
};

fn registrar(asks: bool) -> World {
    let mut world = World::new(1);
    let mut settings = server_settings(ORANGE, REGISTRAR, 1);
    settings.authenticate = asks;
    world.add_host("Registrar", settings, None);
    world.store.add_name(ORANGE, REGISTRAR.ip());
    for user in ["tin", "bob"] {
        world.store.add_user(ORANGE, user, PASSWORD);
    }
    world
}

/// Bob's REGISTER as the deck has it, which gets 200.
fn register_bob(world: &mut World, cseq: u32, contacts: &str) {
    let request = format!(
        "REGISTER sip:orange.com SIP/2.0\r\n\
         Via: SIP/2.0/UDP 10.0.0.3:5060;branch=z9hG4bK{cseq}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:bob@orange.com>;tag=7\r\n\
         To: <sip:bob@orange.com>\r\n\
         Call-ID: 64367476413647@orange.com\r\n\
         CSeq: {cseq} REGISTER\r\n\
         {contacts}Content-Length: 0\r\n\r\n"
    );
    world.send(BOB, REGISTRAR, request.into_bytes());
    world.run_for(Duration::from_secs(1));
    let answer = world.packets().last().expect("an answer").bytes.clone();
    let answer = Message::parse(answer, &Limits::default()).expect("an answer of ours");
    assert_eq!(answer.status().map(|status| status.code()), Some(200));
}

/// Tin, whose proxy has Rob's registrations.
fn one_proxy(phones: &[SocketAddr], asks: bool) -> (World, HostId, Vec<HostId>) {
    let mut world = World::new(1);
    let mut settings = server_settings(ORANGE, PROXY, 1);
    settings.authenticate = asks;
    world.add_host("Proxy", settings, None);
    world.store.add_name(ORANGE, PROXY.ip());
    for user in ["tin", "rob"] {
        world.store.add_user(ORANGE, user, PASSWORD);
    }
    let tin = phone(&mut world, "tin", ORANGE, TIN, Some("sip:orange.com;lr"));
    let mut robs = Vec::new();
    for place in phones {
        robs.push(simple_phone(&mut world, "rob", ORANGE, *place));
    }
    (world, tin, robs)
}
