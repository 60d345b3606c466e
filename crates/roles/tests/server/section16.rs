//! RFC 3261 §16.3 and §16.4, §16.6: what is checked in which order, and the routes of a request.

use dialtone_roles::Settings;
use dialtone_roles::settings::{Foreign, Listener};
use dialtone_wire::net::Transport;
use dialtone_wire::{HeaderName, Message};

use crate::peers::{Request, Server, invite, register, register_bob, settings};

const ALICE: &str = "127.0.0.2:5070";

fn open(settings: Settings) -> Server {
    Server::new(Settings { authenticate: false, ..settings })
}

fn text_of(message: &Message, name: HeaderName) -> Vec<String> {
    message.values(name).map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
}

/// What of a request goes on: where to, and the message.
fn forwarded(server: &mut Server, text: &str) -> Vec<(String, Message)> {
    let mut sent = server.receive(ALICE, text);
    sent.retain(|(_, message)| message.is_request());
    sent
}

#[test]
fn a_request_is_checked_in_the_order_of_the_rfc() {
    // §16.3: syntax, scheme, Max-Forwards, loops, Proxy-Require, Proxy-Authorization.
    let mut server = Server::new(settings());
    register_bob(&mut server);
    let require = "Proxy-Require: magic\r\n";
    let check = |server: &mut Server, uri: &str, hops: &str, extra: &str, expected: u16| {
        let mut request = invite("sip:bob@sip.test");
        request.extra.push_str(extra);
        let text = request.text().replace("INVITE sip:bob@sip.test", &format!("INVITE {uri}"));
        let text = text.replace("Max-Forwards: 70", &format!("Max-Forwards: {hops}"));
        assert_eq!(server.status(ALICE, &text), expected, "{uri} {hops} {extra}");
    };
    let bad = format!("{require}CSeq: x\r\n");
    check(&mut server, "mailto:bob@sip.test", "0", &bad, 400);
    check(&mut server, "mailto:bob@sip.test", "0", require, 416);
    check(&mut server, "sip:bob@sip.test", "0", require, 483);
    check(&mut server, "sip:bob@sip.test", "70", require, 420);
    check(&mut server, "sip:bob@sip.test", "70", "", 407);
}

#[test]
fn a_pre_loaded_route_through_us_to_others_is_for_users_of_ours() {
    let route = "Route: <sip:127.0.0.1:5060;lr>, <sip:127.0.0.8:5060;lr>\r\n";
    let request = |method: &'static str, call_id: &'static str| {
        let mut request = Request { method, call_id, ..invite("sip:dora@127.0.0.9") };
        request.extra.push_str(route);
        request
    };
    let mut server = Server::new(settings());
    assert_eq!(server.status(ALICE, &request("INVITE", "refused").text()), 403, "no open relay");
    let mut server = Server::new(Settings { foreign: Foreign::Authenticated, ..settings() });
    let mut asked = request("INVITE", "asked");
    let challenge = server.receive(ALICE, &asked.text()).remove(0).1;
    assert_eq!(challenge.status().map(|status| status.code()), Some(407));
    asked.with_credentials("alice", "alice-pw", &challenge);
    let sent = forwarded(&mut server, &asked.text());
    let [(to, message)] = sent.as_slice() else { panic!("{sent:?}") };
    // §16.4: our own value comes off; §16.6 step 7: the next one is where it goes, and stays.
    assert_eq!(to, "127.0.0.8:5060");
    assert_eq!(message.uri_text(), "sip:dora@127.0.0.9");
    assert_eq!(text_of(message, HeaderName::Route), ["<sip:127.0.0.8:5060;lr>"]);
}

#[test]
fn a_strict_router_behind_us_gets_its_own_uri_and_the_target_as_the_last_route() {
    let mut server = open(Settings { foreign: Foreign::Open, ..settings() });
    let mut request = invite("sip:dora@127.0.0.9");
    request.extra.push_str("Route: <sip:127.0.0.8:5060>, <sip:127.0.0.7:5060;lr>\r\n");
    let sent = forwarded(&mut server, &request.text());
    let [(to, message)] = sent.as_slice() else { panic!("{sent:?}") };
    // §16.6 step 6.
    assert_eq!((to.as_str(), message.uri_text()), ("127.0.0.8:5060", "sip:127.0.0.8:5060"));
    assert_eq!(text_of(message, HeaderName::Route), ["<sip:127.0.0.7:5060;lr>", "<sip:dora@127.0.0.9>"]);
}

#[test]
fn a_call_between_two_networks_has_a_record_route_for_each_side() {
    let mut settings = settings();
    settings.listeners.push(Listener {
        transport: Transport::Udp,
        address: "10.0.0.1:5060".parse().unwrap(),
        prefix_length: 8,
    });
    let mut server = open(settings);
    let mut bob = register("sip:bob@sip.test", "10.0.0.3:5080", "reg-bob");
    bob.extra = "Contact: <sip:x@10.0.0.3:5080>\r\n".into();
    assert_eq!(server.status("10.0.0.3:5080", &bob.text()), 200);
    let sent = forwarded(&mut server, &invite("sip:bob@sip.test").text());
    let [(to, message)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(to, "10.0.0.3:5080");
    // RFC 5658 §3: the side of the next hop on top.
    let routes = text_of(message, HeaderName::RecordRoute);
    let hosts: Vec<&str> = routes.iter().map(|route| &route[..route.find(';').unwrap()]).collect();
    assert_eq!(hosts, ["<sip:10.0.0.1:5060", "<sip:127.0.0.1:5060"]);
    assert!(routes.iter().all(|route| route.contains(";lr")), "{routes:?}");
    // Bob's BYE names both; both come off, and it leaves on alice's side.
    let routes = routes.join(", ");
    let bye = Request {
        method: "BYE",
        uri: "sip:alice@127.0.0.2:5070",
        from: "sip:bob@sip.test>;tag=t;x=<",
        to: "sip:alice@sip.test>;tag=f;x=<",
        via: "10.0.0.3:5080",
        call_id: "call",
        cseq: 7,
        extra: format!("Route: {routes}\r\n"),
    };
    let text = bye.text().replace(";x=<>;tag=f", "").replace(";x=<>", "");
    let sent = server.receive("10.0.0.3:5080", &text);
    let (to, message) = sent.iter().find(|(_, message)| message.is_request()).expect("the BYE");
    assert_eq!(to, ALICE);
    assert!(text_of(message, HeaderName::Route).is_empty());
    assert!(text_of(message, HeaderName::Via)[0].contains("127.0.0.1:5060"), "{message:?}");
}

#[test]
fn the_best_response_is_chosen_as_the_rfc_says() {
    // §16.7 step 6: 6xx, else the lowest class, and in 4xx what says how to mend the request.
    for (first, second, expected) in [
        ("404 Not Found", "407 Proxy Authentication Required", 407),
        ("486 Busy Here", "302 Moved Temporarily", 302),
        ("500 Server Error", "486 Busy Here", 486),
        ("503 Service Unavailable", "500 Server Error", 500),
        ("480 Temporarily Unavailable", "415 Unsupported Media Type", 415),
        ("486 Busy Here", "606 Not Acceptable", 606),
        ("484 Address Incomplete", "404 Not Found", 484),
    ] {
        let mut room = crate::forking::Room::new(settings());
        room.phone(3, "bob", "").phone(4, "bob", "");
        room.call("bob", "");
        let extra = "Proxy-Authenticate: Digest realm=\"x\", nonce=\"n\"\r\n";
        assert_eq!(room.answer(3, first), "");
        assert_eq!(room.answer_with(4, second, extra), format!("a:{expected}"), "{first} {second}");
        room.at_rest();
    }
}
