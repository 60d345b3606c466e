//! RFC 3261 §16 in raw messages: forks, strict routers, several challenges, calls that end while others ring.

use dialtone_wire::{HeaderName, Message};

use crate::peers::{Request, Server, authorized_invite, invite, register, register_bob, settings};

/// The response of a phone to a request that was forwarded to it.
pub(crate) fn response(request: &Message, status: &str, tag: &str, extra: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in [HeaderName::Via, HeaderName::RecordRoute] {
        for value in request.values(name) {
            text.push_str(&format!("{}: {}\r\n", name.as_str(), std::str::from_utf8(value).unwrap()));
        }
    }
    for name in [HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
        let value = std::str::from_utf8(request.value(name).unwrap()).unwrap();
        text.push_str(&format!("{}: {value}\r\n", name.as_str()));
    }
    let to = std::str::from_utf8(request.value(HeaderName::To).unwrap()).unwrap();
    format!("{text}To: {to};tag={tag}\r\n{extra}Content-Length: 0\r\n\r\n")
}

/// Bob has two phones; the INVITEs that they get from alice.
pub(crate) fn fork(server: &mut Server) -> [Message; 2] {
    register_bob(server);
    let mut second = register("sip:bob@sip.test", "127.0.0.4:5080", "reg-bob-2");
    let challenge = server.receive("127.0.0.4:5080", &second.text()).remove(0).1;
    second.with_credentials("bob", "bob-pw", &challenge);
    assert_eq!(server.status("127.0.0.4:5080", &second.text()), 200);
    let mut request = invite("sip:bob@sip.test");
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    let sent = server.receive("127.0.0.2:5070", &request.text());
    let to = |address: &str| sent.iter().find(|(to, _)| to == address).unwrap().1.clone();
    [to("127.0.0.3:5080"), to("127.0.0.4:5080")]
}

#[test]
fn the_challenges_of_all_branches_go_back_together() {
    let mut server = Server::new(settings());
    let [one, two] = fork(&mut server);
    let challenge = |name: &str, realm: &str| format!("{name}: Digest realm=\"{realm}\", nonce=\"n\"\r\n");
    let first = response(&one, "401 Unauthorized", "a", &challenge("WWW-Authenticate", "one"));
    let sent = server.receive("127.0.0.3:5080", &first);
    assert!(sent.iter().all(|(to, _)| to == "127.0.0.3:5080"), "only the ACK: {sent:?}");
    let second =
        response(&two, "407 Proxy Authentication Required", "b", &challenge("Proxy-Authenticate", "two"));
    let sent = server.receive("127.0.0.4:5080", &second);
    let back = &sent.iter().find(|(to, _)| to == "127.0.0.2:5070").unwrap().1;
    assert_eq!(back.status().unwrap().code(), 401);
    assert_eq!(back.value(HeaderName::WwwAuthenticate), Some(&b"Digest realm=\"one\", nonce=\"n\""[..]));
    assert_eq!(back.value(HeaderName::ProxyAuthenticate), Some(&b"Digest realm=\"two\", nonce=\"n\""[..]));
}

#[test]
fn a_phone_that_rings_on_after_another_was_answered_is_forgotten() {
    let mut server = Server::new(settings());
    let [one, two] = fork(&mut server);
    server.receive("127.0.0.4:5080", &response(&two, "180 Ringing", "b", ""));
    let ok = response(&one, "200 OK", "a", "Contact: <sip:x@127.0.0.3:5080>\r\n");
    let sent = server.receive("127.0.0.3:5080", &ok);
    let cancel = sent.iter().find(|(to, message)| to == "127.0.0.4:5080" && message.is_request());
    let (_, cancel) = cancel.expect("a CANCEL");
    assert_eq!(cancel.method().unwrap().as_str(), "CANCEL");
    // RFC 3326 §2.
    let reason = &b"SIP ;cause=200 ;text=\"Call completed elsewhere\""[..];
    assert_eq!(cancel.value(HeaderName::Reason), Some(reason));
    // The phone takes no notice of the CANCEL and the first one repeats its answer.
    for _ in 0..4 {
        server.pass(4);
        server.receive("127.0.0.3:5080", &ok);
        server.receive("127.0.0.4:5080", &response(&two, "180 Ringing", "b", ""));
    }
    server.pass(300);
    let tables = server.engine.tables();
    assert_eq!((tables.proxy_contexts, tables.client_transactions, tables.server_transactions), (0, 0, 0));
    assert_eq!(tables.kept_bytes, 0);
}

#[test]
fn a_phone_that_rings_for_ever_is_given_up_after_timer_c_whatever_it_says() {
    let mut server = Server::new(settings());
    let [one, two] = fork(&mut server);
    server.receive("127.0.0.4:5080", &response(&two, "486 Busy Here", "b", ""));
    server.receive("127.0.0.3:5080", &response(&one, "180 Ringing", "a", ""));
    let sent = server.pass(182);
    let cancels = sent.iter().filter(|(_, message)| message.method().is_some_and(|m| m.as_str() == "CANCEL"));
    assert!(cancels.count() > 0);
    // It was cancelled, so that its ringing does not buy time any more.
    for _ in 0..3 {
        server.receive("127.0.0.3:5080", &response(&one, "180 Ringing", "a", ""));
        server.pass(20);
    }
    server.pass(60);
    let tables = server.engine.tables();
    assert_eq!((tables.proxy_contexts, tables.client_transactions), (0, 0));
}

#[test]
fn a_603_of_one_phone_ends_the_ringing_of_the_others_and_goes_back() {
    let mut server = Server::new(settings());
    let [one, two] = fork(&mut server);
    server.receive("127.0.0.4:5080", &response(&two, "180 Ringing", "b", ""));
    let sent = server.receive("127.0.0.3:5080", &response(&one, "603 Decline", "a", ""));
    let cancelled = |(to, message): &(String, Message)| {
        to == "127.0.0.4:5080" && message.method().is_some_and(|method| method.as_str() == "CANCEL")
    };
    assert!(sent.iter().any(cancelled), "{sent:?}");
    // RFC 3261 §16.7 step 5: the 603 waits for the other branch.
    let sent = server.receive("127.0.0.4:5080", &response(&two, "487 Request Terminated", "b", ""));
    let back = sent.iter().find(|(to, _)| to == "127.0.0.2:5070").expect("a response to alice");
    assert_eq!(back.1.status().unwrap().code(), 603);
}

#[test]
fn each_ringing_starts_timer_c_anew_and_a_100_does_not() {
    let cancels = |sent: &[(String, Message)]| {
        sent.iter().filter(|(_, message)| message.method().is_some_and(|m| m.as_str() == "CANCEL")).count()
    };
    for (again, expected) in [("180 Ringing", false), ("100 Trying", true)] {
        let mut server = Server::new(settings());
        let [one, two] = fork(&mut server);
        server.receive("127.0.0.4:5080", &response(&two, "486 Busy Here", "b", ""));
        server.receive("127.0.0.3:5080", &response(&one, "180 Ringing", "a", ""));
        assert_eq!(cancels(&server.pass(100)), 0);
        server.receive("127.0.0.3:5080", &response(&one, again, "a", ""));
        // RFC 3261 §16.7 step 2.
        assert_eq!(cancels(&server.pass(100)) > 0, expected, "{again}");
        if !expected {
            assert!(cancels(&server.pass(100)) > 0, "{again}");
        }
    }
}

#[test]
fn a_strict_router_before_us_gets_the_route_that_it_means() {
    let mut server = Server::new(settings());
    let [one, _] = fork(&mut server);
    let own = String::from_utf8(one.value(HeaderName::RecordRoute).unwrap().to_vec()).unwrap();
    let own = own.trim_matches(['<', '>']);
    // RFC 3261 §16.4: our own Record-Route in the Request-URI, the target at the end of the Route.
    for (method, cseq) in [("ACK", 2), ("BYE", 3)] {
        let request = Request {
            method,
            uri: own,
            to: "sip:bob@sip.test>;tag=t;x=<",
            cseq,
            extra: "Route: <sip:x@127.0.0.3:5080>\r\n".into(),
            ..invite("sip:bob@sip.test")
        };
        let sent = server.receive("127.0.0.2:5070", &request.text().replace(";x=<>", ""));
        let (to, forwarded) = sent.last().unwrap();
        assert_eq!(
            (to.as_str(), forwarded.uri_text()),
            ("127.0.0.3:5080", "sip:x@127.0.0.3:5080"),
            "{method}"
        );
        assert!(!forwarded.has(HeaderName::Route));
    }
}

#[test]
fn a_request_that_comes_round_again_is_482() {
    let mut server = Server::new(dialtone_roles::Settings { authenticate: false, ..settings() });
    // Bob's contact is bob.
    let mut loops = register("sip:bob@sip.test", "127.0.0.3:5080", "reg-bob");
    loops.extra = "Contact: <sip:bob@127.0.0.1>\r\n".into();
    assert_eq!(server.status("127.0.0.3:5080", &loops.text()), 200);
    let sent = server.receive("127.0.0.2:5070", &invite("sip:bob@sip.test").text());
    let (to, first) = sent.iter().find(|(_, message)| message.is_request()).unwrap().clone();
    assert_eq!(to, "127.0.0.1:5060");
    // One turn is a spiral: the Request-URI has changed. The second one is a loop.
    let sent = server.receive("127.0.0.1:5060", std::str::from_utf8(first.bytes()).unwrap());
    let (_, second) = sent.iter().find(|(_, message)| message.is_request()).unwrap().clone();
    let sent = server.receive("127.0.0.1:5060", std::str::from_utf8(second.bytes()).unwrap());
    assert_eq!(sent[0].1.status().map(|status| status.code()), Some(482), "{sent:?}");
}

#[test]
fn a_phone_on_our_host_at_the_default_port_is_not_taken_for_us() {
    let mut settings = settings();
    settings.listeners[0].address = "127.0.0.1:5062".parse().unwrap();
    let mut server = Server::new(settings);
    register_bob(&mut server);
    let sent = authorized_invite(&mut server, "sip:bob@sip.test");
    let route = String::from_utf8(sent[1].1.value(HeaderName::RecordRoute).unwrap().to_vec()).unwrap();
    // The address-of-record is ours with any port; a contact and a route without a port are at 5060.
    for (method, cseq, extra) in
        [("ACK", 2, ""), ("BYE", 3, ""), ("BYE", 4, ", <sip:127.0.0.1;lr>"), ("BYE", 5, ", <sip:[::1];lr>")]
    {
        let request = Request {
            method,
            uri: "sip:bob@127.0.0.1",
            to: "sip:bob@sip.test>;tag=t;x=<",
            cseq,
            extra: format!("Route: {route}{extra}\r\n"),
            ..invite("sip:bob@sip.test")
        };
        let sent = server.receive("127.0.0.2:5070", &request.text().replace(";x=<>", ""));
        let forwarded = sent.last().map(|(to, message)| (to.as_str(), message.is_request()));
        if extra.contains("::1") {
            assert_eq!(forwarded, Some(("127.0.0.2:5070", false)), "there is no way to IPv6");
        } else {
            assert_eq!(forwarded, Some(("127.0.0.1:5060", true)), "{method}");
        }
    }
}

#[test]
fn the_narrowest_network_that_holds_the_peer_is_the_way_to_it() {
    let mut settings = settings();
    let listener = |address: &str, prefix_length| dialtone_roles::settings::Listener {
        transport: dialtone_wire::net::Transport::Udp,
        address: address.parse().unwrap(),
        prefix_length,
    };
    settings.listeners =
        vec![listener("10.0.0.1:5060", 8), listener("10.1.0.1:5060", 16), listener("192.0.2.1:5060", 24)];
    let way = |peer: &str| {
        let listener = settings.listener_for(dialtone_wire::net::Transport::Udp, peer.parse().unwrap(), None);
        listener.unwrap().address.ip().to_string()
    };
    assert_eq!(way("10.2.0.9"), "10.0.0.1");
    assert_eq!(way("10.1.0.9"), "10.1.0.1");
    assert_eq!(way("192.0.2.77"), "192.0.2.1");
    assert_eq!(way("192.0.2.1"), "192.0.2.1");
    assert_eq!(way("203.0.113.1"), "10.0.0.1");
}

#[test]
fn a_caller_is_asked_for_the_password_of_his_own_domain() {
    let mut settings = settings();
    settings
        .domains
        .push(dialtone_roles::settings::Domain { name: "other.test".into(), ..Default::default() });
    let mut server = Server::new(settings);
    register_bob(&mut server);
    let mut request = Request { from: "sip:alice@other.test", ..invite("sip:bob@sip.test") };
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    let asked = String::from_utf8_lossy(challenge.value(HeaderName::ProxyAuthenticate).unwrap()).into_owned();
    assert!(asked.contains("realm=\"other.test\""), "{asked}");
    request.with_credentials("alice", "alice-pw", &challenge);
    let sent = server.receive("127.0.0.2:5070", &request.text());
    assert!(sent.iter().any(|(to, message)| to == "127.0.0.3:5080" && message.is_request()), "{sent:?}");
}
