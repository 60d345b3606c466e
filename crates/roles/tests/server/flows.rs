//! Phones that only the flow which they opened leads to (RFC 5626): behind a NAT, on a connection, by an edge; and the
//! devices that GRUUs name (RFC 5627) within a dialog.

use dialtone_roles::Settings;
use dialtone_roles::io::Input;
use dialtone_roles::settings::{Domain, Listener, NextHops};
use dialtone_wire::net::{ConnectionId, Flow, Transport};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message};

use crate::peers::{Request, SERVER, Server, invite, register, settings};
use crate::proxying::response;

const ALICE: &str = "127.0.0.2:40000";
const BOB: &str = "127.0.0.3:41000";
const INSTANCE: &str = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\"";

fn open() -> Settings {
    let tcp = Listener { transport: Transport::Tcp, address: SERVER.parse().unwrap(), prefix_length: 8 };
    let mut settings = Settings { authenticate: false, ..settings() };
    settings.listeners.push(tcp);
    settings
}

/// A connection that a phone has opened.
fn connection(from: &str, slot: u32) -> Flow {
    let connection = Some(ConnectionId { shard: 0, slot, generation: 1 });
    Flow {
        transport: Transport::Tcp,
        local: SERVER.parse().unwrap(),
        remote: from.parse().unwrap(),
        connection,
    }
}

fn udp(from: &str) -> Flow {
    Flow::udp(SERVER.parse().unwrap(), from.parse().unwrap())
}

fn values(message: &Message, name: HeaderName) -> Vec<String> {
    message.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// The request that reaches an address, if one does.
fn reached<'a>(sent: &'a [(String, Message)], address: &str) -> Option<&'a Message> {
    let request = |(to, message): &&(String, Message)| to == address && message.is_request();
    sent.iter().find(request).map(|(_, message)| message)
}

/// A call that is up: the Record-Routes, as the called phone saw them.
fn call(server: &mut Server, caller: Flow, contact: &str, callee: Flow, phone: &str) -> Vec<String> {
    let request = register("sip:bob@sip.test", phone, "reg-bob");
    server.receive_on(callee, &request.text());
    let extra = format!("Contact: <{contact}>\r\n");
    let via = contact.split(['@', ';']).nth(1).unwrap();
    let request = Request { via, extra, ..invite("sip:bob@sip.test") };
    let sent = server.receive_on(caller, &request.text());
    let ringing = reached(&sent, &callee.remote.to_string()).unwrap_or_else(|| panic!("{sent:?}")).clone();
    let answer = response(&ringing, "200 OK", "t", &format!("Contact: <sip:x@{phone}>\r\n"));
    let sent = server.receive_on(callee, &answer);
    assert!(sent.iter().any(|(to, _)| *to == caller.remote.to_string()), "{sent:?}");
    values(&ringing, HeaderName::RecordRoute)
}

/// A request within the call, with its route.
fn within(method: &str, uri: &str, cseq: u32, routes: &[String], from_callee: bool) -> String {
    let extra: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
    let text = Request { method, uri, cseq, extra, ..invite("sip:bob@sip.test") }.text();
    let (from, to) = ("From: <sip:alice@sip.test>;tag=f", "To: <sip:bob@sip.test>");
    let (new_from, new_to) = match from_callee {
        true => ("From: <sip:bob@sip.test>;tag=t", "To: <sip:alice@sip.test>;tag=f"),
        false => (from, "To: <sip:bob@sip.test>;tag=t"),
    };
    text.replace(from, new_from).replace(to, new_to)
}

fn reversed(routes: &[String]) -> Vec<String> {
    routes.iter().rev().cloned().collect()
}

#[test]
fn ack_and_bye_reach_both_sides_behind_nats() {
    let mut server = Server::new(open());
    let (alice, bob) = ("sip:alice@192.168.1.5:5060", "192.168.7.9:5060");
    let routes = call(&mut server, udp(ALICE), alice, udp(BOB), bob);
    assert_eq!(routes.len(), 2, "{routes:?}");
    for (at, method) in ["ACK", "INVITE", "BYE"].into_iter().enumerate() {
        let cseq = at as u32 + 1;
        let text = within(method, "sip:x@192.168.7.9:5060", cseq, &reversed(&routes), false);
        let sent = server.receive(ALICE, &text);
        let message = reached(&sent, BOB).unwrap_or_else(|| panic!("{method}: {sent:?}"));
        assert!(!message.has(HeaderName::Route), "both values were ours");
        let text = within(method, alice, cseq + 10, &routes, true);
        let sent = server.receive(BOB, &text);
        assert!(reached(&sent, ALICE).is_some(), "{method}: {sent:?}");
    }
    // Her NAT has given her another port meanwhile.
    let text = within("INVITE", "sip:x@192.168.7.9:5060", 20, &reversed(&routes), false);
    let sent = server.receive("127.0.0.2:45000", &text);
    assert!(reached(&sent, BOB).is_some(), "{sent:?}");
}

#[test]
fn what_a_call_has_told_opens_nothing_outside_of_it() {
    let mut server = Server::new(open());
    let routes = call(&mut server, udp(ALICE), "sip:alice@192.168.1.5:5060", udp(BOB), "192.168.7.9:5060");
    server.input(Input::Configure(std::sync::Arc::new(Settings { authenticate: true, ..open() })));
    for (call_id, text) in [
        ("new", within("INVITE", "sip:alice@192.168.1.5:5060", 1, &routes, false).replace(";tag=t", "")),
        ("other", within("INVITE", "sip:alice@192.168.1.5:5060", 2, &routes, true)),
    ] {
        let text = text
            .replace("Call-ID: call", &format!("Call-ID: {call_id}"))
            .replace("z9hG4bKcall", &format!("z9hG4bK{call_id}"));
        let sent = server.receive(BOB, &text.replace("z9hG4bKcall", "z9hG4bKx"));
        assert!(reached(&sent, ALICE).is_none(), "{call_id}: {sent:?}");
        let status = sent[0].1.status().unwrap().code();
        assert!(matches!(status, 403 | 407), "{call_id}: {status}");
    }
}

#[test]
fn ack_and_bye_take_the_connections_that_the_phones_opened() {
    let mut server = Server::new(open());
    let (alice, bob) = (connection(ALICE, 5), connection(BOB, 6));
    // Their contacts are ports that nobody listens on.
    let contact = "sip:alice@127.0.0.2:5060;transport=tcp";
    let routes = call(&mut server, alice, contact, bob, "127.0.0.3:5060;transport=tcp");
    for (at, method) in ["ACK", "BYE"].into_iter().enumerate() {
        let cseq = at as u32 + 1;
        let text = within(method, "sip:x@127.0.0.3:5060;transport=tcp", cseq, &reversed(&routes), false);
        let sent = server.receive_on(alice, &text);
        assert!(reached(&sent, BOB).is_some(), "{method}: {sent:?}");
        let sent = server.receive_on(bob, &within(method, contact, cseq + 10, &routes, true));
        assert!(reached(&sent, ALICE).is_some(), "{method}: {sent:?}");
    }
    // Her connection is gone: what her contact says is tried next.
    let sent = server.receive_on(bob, &within("INFO", contact, 20, &routes, true));
    assert!(reached(&sent, ALICE).is_some(), "{sent:?}");
    server.sent.clear();
    server.input(Input::TransmitFailed(alice));
    let sent = std::mem::take(&mut server.sent);
    assert!(reached(&sent, "127.0.0.2:5060").is_some(), "{sent:?}");
}

#[test]
fn a_phone_that_asks_for_it_is_reached_by_its_flow() {
    let mut server = Server::new(open());
    // RFC 5626 §5.3.2: ob in the Contact of who calls.
    let contact = "sip:alice@127.0.0.2:5060;ob";
    let routes = call(&mut server, udp(ALICE), contact, udp("127.0.0.3:5060"), "127.0.0.3:5060");
    assert_eq!(routes.len(), 2, "{routes:?}");
    let sent = server.receive("127.0.0.3:5060", &within("BYE", contact, 1, &routes, true));
    assert!(reached(&sent, ALICE).is_some(), "{sent:?}");
    // Who needs no flow gets the Record-Route that he always got.
    let mut server = Server::new(open());
    let near = udp("127.0.0.2:5060");
    let routes = call(&mut server, near, "sip:alice@127.0.0.2:5060", udp("127.0.0.3:5060"), "127.0.0.3:5060");
    assert_eq!(routes.len(), 1);
    assert!(routes[0].starts_with("<sip:127.0.0.1:5060;lr;dt="), "{routes:?}");
}

/// Bob's device registers by an edge, as one of its flows.
fn register_flow(server: &mut Server, edge: &str, reg_id: u32) {
    let extra = format!(
        "Via: SIP/2.0/UDP 192.168.7.9:5060;branch=z9hG4bK{reg_id}\r\nSupported: path, outbound\r\n\
         Path: <sip:token@{edge};lr;ob>\r\nContact: <sip:bob@192.168.7.9;ob>;{INSTANCE};reg-id={reg_id}\r\n"
    );
    let call_id = format!("reg{reg_id}");
    let request = Request { extra, ..register("sip:bob@sip.test", edge, &call_id) };
    let granted = server.receive(edge, &request.text()).remove(0).1;
    assert_eq!(granted.status().unwrap().code(), 200);
    assert_eq!(values(&granted, HeaderName::Require), ["outbound"]);
}

#[test]
fn the_flows_of_a_device_are_tried_one_after_the_other() {
    const EDGES: [&str; 3] = ["127.0.0.7:5060", "127.0.0.8:5060", "127.0.0.9:5060"];
    let bob_rings = |server: &mut Server, call_id: &'static str| {
        let request = Request { call_id, ..invite("sip:bob@sip.test") };
        let sent = server.receive("127.0.0.2:5070", &request.text());
        let rings: Vec<(usize, Message)> =
            (0..3).filter_map(|at| Some((at, reached(&sent, EDGES[at])?.clone()))).collect();
        assert_eq!(rings.len(), 1, "one at a time: {sent:?}");
        rings.into_iter().next().unwrap()
    };
    let mut server = Server::new(open());
    for (at, edge) in EDGES.iter().enumerate() {
        register_flow(&mut server, edge, at as u32 + 1);
    }
    assert_eq!(server.engine.tables().bindings, 3);
    // RFC 5626 §7: 430 and 408 lead to the next one, the one registered last first.
    let (first, ringing) = bob_rings(&mut server, "one");
    assert_eq!(first, 2);
    let sent = server.receive(EDGES[2], &response(&ringing, "430 Flow Failed", "e", ""));
    let second = reached(&sent, EDGES[1]).unwrap_or_else(|| panic!("{sent:?}")).clone();
    assert!(sent.iter().all(|(to, message)| to != "127.0.0.2:5070" || message.is_request()), "{sent:?}");
    let sent = server.receive(EDGES[1], &response(&second, "408 Request Timeout", "e", ""));
    let third = reached(&sent, EDGES[0]).unwrap_or_else(|| panic!("{sent:?}")).clone();
    // No endpoint ever sees a 430 (§11.5).
    let sent = server.receive(EDGES[0], &response(&third, "430 Flow Failed", "e", ""));
    let back =
        sent.iter().find(|(to, _)| to == "127.0.0.2:5070").map(|(_, message)| message.status().unwrap());
    assert!(back.is_some_and(|status| matches!(status.code(), 408 | 480)), "{back:?}");
    // Any other answer is the answer of the device.
    let (_, ringing) = bob_rings(&mut server, "two");
    let sent = server.receive(EDGES[2], &response(&ringing, "486 Busy Here", "e", ""));
    assert!(reached(&sent, EDGES[1]).is_none(), "{sent:?}");
    assert!(sent.iter().any(|(_, message)| message.status().is_some_and(|status| status.code() == 486)));
    // Two devices ring together all the same.
    let desk = register("sip:bob@sip.test", "127.0.0.4:5080", "desk");
    assert_eq!(server.status("127.0.0.4:5080", &desk.text()), 200);
    let request = Request { call_id: "three", ..invite("sip:bob@sip.test") };
    let sent = server.receive("127.0.0.2:5070", &request.text());
    assert!(reached(&sent, EDGES[2]).is_some() && reached(&sent, "127.0.0.4:5080").is_some(), "{sent:?}");
}

#[test]
fn an_edge_says_430_where_the_connection_of_a_registration_is_gone_and_403_to_a_token_of_its_own_making() {
    let mut settings = open();
    let next_hops = NextHops(vec![UriBuf::parse("sip:127.0.0.9").expect("a URI")]);
    settings.domains = vec![Domain { name: "sip.test".into(), next_hops, ..Domain::default() }];
    let mut server = Server::new(settings);
    let phone = connection(BOB, 6);
    let extra = format!(
        "Supported: path, outbound\r\nContact: <sip:bob@192.168.7.9;transport=tcp;ob>;{INSTANCE};reg-id=1\r\n"
    );
    let request = Request { extra, ..register("sip:bob@sip.test", "192.168.7.9", "reg") };
    let sent = server.receive_on(phone, &request.text());
    let path =
        values(reached(&sent, "127.0.0.9:5060").unwrap_or_else(|| panic!("{sent:?}")), HeaderName::Path);
    assert!(path.len() == 1 && path[0].ends_with(";transport=tcp;lr;ob>"), "{path:?}");
    let call = |call_id: &'static str, path: &str| {
        let extra = format!("Contact: <sip:alice@127.0.0.9>\r\nRoute: {path}\r\n");
        let uri = "sip:bob@192.168.7.9;transport=tcp;ob";
        Request { extra, call_id, ..invite(uri) }.text()
    };
    let sent = server.receive("127.0.0.9:5060", &call("one", &path[0]));
    let ringing = reached(&sent, BOB).unwrap_or_else(|| panic!("{sent:?}"));
    assert_eq!(values(ringing, HeaderName::RecordRoute).len(), 2);
    server.sent.clear();
    server.input(Input::TransmitFailed(phone));
    let status =
        |sent: &[(String, Message)]| sent.iter().filter_map(|(_, m)| m.status()).last().unwrap().code();
    assert_eq!(status(&server.sent), 430, "RFC 5626 §5.3.1");
    let forged = path[0].replacen(|digit: char| digit.is_ascii_digit(), "x", 1);
    assert_eq!(status(&server.receive("127.0.0.9:5060", &call("two", &forged))), 403);
    // Not the first hop: others keep that flow, or nobody does (§5.1).
    let extra = "Via: SIP/2.0/UDP 127.0.0.5;branch=z9hG4bKq\r\nSupported: path, outbound\r\n";
    let extra = format!("{extra}Contact: <sip:bob@127.0.0.5>;{INSTANCE};reg-id=1\r\n");
    let request = Request { extra, ..register("sip:bob@sip.test", "127.0.0.6", "reg2") };
    let sent = server.receive("127.0.0.6:5060", &request.text());
    let path =
        values(reached(&sent, "127.0.0.9:5060").unwrap_or_else(|| panic!("{sent:?}")), HeaderName::Path);
    assert!(path[0].ends_with(";lr>"), "{path:?}");
}

/// Sends a request, answers the challenge as this user, and gives all that follows.
fn authorized(
    server: &mut Server,
    mut request: Request<'_>,
    from: &str,
    user: &str,
) -> Vec<(String, Message)> {
    let challenge = server.receive(from, &request.text()).remove(0).1;
    request.with_credentials(user, &format!("{user}-pw"), &challenge);
    server.receive(from, &request.text())
}

#[test]
fn a_gruu_as_contact_leads_ack_and_bye_to_its_device_without_a_password() {
    let mut server = Server::new(settings());
    let alice = "127.0.0.2:5070";
    let extra = format!("Contact: <sip:a1@{alice}>;{INSTANCE}\r\nSupported: gruu\r\n");
    let granted = authorized(
        &mut server,
        Request { extra, ..register("sip:alice@sip.test", alice, "reg-a") },
        alice,
        "alice",
    );
    let contact = values(&granted[0].1, HeaderName::Contact).remove(0);
    let gruu = |name: &str| {
        contact.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let bob = "127.0.0.3:5080";
    authorized(&mut server, register("sip:bob@sip.test", bob, "reg-b"), bob, "bob");
    for (at, gruu) in [gruu("pub-gruu"), gruu("temp-gruu")].into_iter().enumerate() {
        let call_id = format!("call{at}");
        let extra = format!("Contact: <{gruu}>\r\n");
        let request = Request { extra, call_id: &call_id, ..invite("sip:bob@sip.test") };
        let sent = authorized(&mut server, request, alice, "alice");
        let ringing = reached(&sent, bob).unwrap_or_else(|| panic!("{sent:?}")).clone();
        let routes = values(&ringing, HeaderName::RecordRoute);
        for (method, cseq) in [("ACK", 1), ("BYE", 2)] {
            let text = within(method, &gruu, cseq, &routes, true)
                .replace("Call-ID: call", &format!("Call-ID: {call_id}"))
                .replace("z9hG4bKcall", &format!("z9hG4bK{call_id}"));
            let sent = server.receive(bob, &text);
            let request = reached(&sent, alice).unwrap_or_else(|| panic!("{method} {gruu}: {sent:?}"));
            assert_eq!(request.uri_text(), format!("sip:a1@{alice}"));
        }
    }
}
