//! A server engine, spoken to in raw messages: what strangers, users and their phones get.

mod b2bua;
mod b2bua_answers;
mod b2bua_bodies;
mod b2bua_dial;
mod b2bua_dialog;
mod b2bua_hold;
mod b2bua_music;
mod b2bua_park;
mod b2bua_queue;
mod b2bua_races;
mod b2bua_records;
mod b2bua_replaces;
mod b2bua_setup;
mod b2bua_storms;
mod b2bua_transfer;
mod b2bua_ways;
mod calls;
mod domains;
mod draining;
mod flows;
mod forking;
mod forwarding;
mod groups;
mod guessing;
mod hostile;
mod journal;
mod keep_alive;
mod peers;
mod planned;
mod proxying;
mod refusals;
mod reginfo;
mod registering;
mod section16;
mod services;
mod shards;
mod star_codes;
mod stateless;
mod trunks;
mod watching;

use dialtone_wire::HeaderName;

use peers::{Request, Server, authorized_invite, invite, register, register_bob, settings};

#[test]
fn a_phone_registers_with_its_password_and_not_with_another() {
    let mut server = Server::new(settings());
    register_bob(&mut server);
    let mut request = register("sip:alice@sip.test", "127.0.0.2:5070", "reg");
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials("alice", "wrong", &challenge);
    assert_eq!(server.status("127.0.0.2:5070", &request.text()), 401);
    // Another user's own password does not let her register alice.
    let mut request = register("sip:alice@sip.test", "127.0.0.2:5070", "reg2");
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials("bob", "bob-pw", &challenge);
    assert_eq!(server.status("127.0.0.2:5070", &request.text()), 403);
    assert_eq!(server.engine.counters().wrong_password, 1);
    assert_eq!(server.engine.tables().bindings, 1);
}

#[test]
fn strangers_cost_no_memory() {
    let mut server = Server::new(settings());
    assert_eq!(server.status("127.0.0.9:1", &invite("sip:bob@sip.test").text()), 407);
    assert_eq!(server.status("127.0.0.9:1", &invite("sip:bob@elsewhere.test").text()), 403);
    assert_eq!(server.status("127.0.0.9:1", &invite("mailto:bob@sip.test").text()), 416);
    let foreign = Request { uri: "sip:elsewhere.test", ..register("sip:x@elsewhere.test", "h", "r") };
    assert_eq!(server.status("127.0.0.9:1", &foreign.text()), 404);
    let options = Request { method: "OPTIONS", ..invite("sip:sip.test") };
    assert_eq!(server.status("127.0.0.9:1", &options.text()), 200);
    let cancel = Request { method: "CANCEL", ..invite("sip:bob@sip.test") };
    assert_eq!(server.status("127.0.0.9:1", &cancel.text()), 481);
    assert!(server.receive("127.0.0.9:1", "nonsense").is_empty());
    assert!(
        server
            .receive("127.0.0.9:1", &Request { method: "ACK", ..invite("sip:bob@sip.test") }.text())
            .is_empty()
    );
    assert!(server.engine.tables().iter().all(|(_, size)| size == 0), "{:?}", server.engine.tables());
}

#[test]
fn a_call_goes_through_and_so_does_what_follows_in_its_dialog() {
    let mut server = Server::new(settings());
    register_bob(&mut server);
    let mut request = invite("sip:bob@sip.test");
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    assert_eq!(challenge.status().unwrap().code(), 407);
    request.with_credentials("alice", "alice-pw", &challenge);
    let sent = server.receive("127.0.0.2:5070", &request.text());
    assert_eq!(sent[0].1.status().unwrap().code(), 100);
    let (to, forwarded) = &sent[1];
    assert_eq!(to, "127.0.0.3:5080");
    assert_eq!(forwarded.uri_text(), "sip:x@127.0.0.3:5080");
    assert_eq!(forwarded.values(HeaderName::Via).count(), 2);
    assert_eq!(forwarded.max_forwards().unwrap(), Some(69));
    assert!(!forwarded.has(HeaderName::ProxyAuthorization));
    let route = String::from_utf8(forwarded.value(HeaderName::RecordRoute).unwrap().to_vec()).unwrap();

    // Bob answers.
    let mut vias = String::new();
    for via in forwarded.values(HeaderName::Via) {
        vias.push_str(&format!("Via: {}\r\n", std::str::from_utf8(via).unwrap()));
    }
    let ok = format!(
        "SIP/2.0 200 OK\r\n{vias}Record-Route: {route}\r\nFrom: <sip:alice@sip.test>;tag=f\r\n\
         To: <sip:bob@sip.test>;tag=t\r\nCall-ID: call\r\nCSeq: 2 INVITE\r\nContact: <sip:x@127.0.0.3:5080>\r\n\r\n"
    );
    let back = server.receive("127.0.0.3:5080", &ok);
    assert_eq!((back[0].0.as_str(), back[0].1.status().unwrap().code()), ("127.0.0.2:5070", 200));
    assert_eq!(back[0].1.values(HeaderName::Via).count(), 1);

    // ACK and BYE carry the route that we gave; no password is asked for.
    for (method, cseq) in [("ACK", 2), ("BYE", 3)] {
        let request = Request {
            method,
            uri: "sip:x@127.0.0.3:5080",
            to: "sip:bob@sip.test>;tag=t;x=<",
            cseq,
            extra: format!("Route: {route}\r\n"),
            ..invite("sip:bob@sip.test")
        };
        let text = request.text().replace(";x=<>", "");
        let sent = server.receive("127.0.0.2:5070", &text);
        let (to, forwarded) = sent.last().unwrap();
        assert_eq!((to.as_str(), forwarded.method().unwrap().as_str()), ("127.0.0.3:5080", method));
        assert!(!forwarded.has(HeaderName::Route));
    }

    // The same with a token of another call is refused.
    let forged = Request {
        method: "BYE",
        uri: "sip:x@127.0.0.3:5080",
        call_id: "other",
        extra: format!("Route: {route}\r\n"),
        ..invite("sip:bob@sip.test")
    };
    assert_eq!(server.status("127.0.0.2:5070", &forged.text()), 403);

    server.pass(400);
    let tables = server.engine.tables();
    assert_eq!((tables.bindings, tables.proxy_contexts, tables.client_transactions), (1, 0, 0));
    assert_eq!((tables.server_transactions, tables.kept_bytes, tables.queries), (0, 0, 0));
}

#[test]
fn who_is_not_there_is_480_and_who_does_not_exist_is_404() {
    let mut server = Server::new(settings());
    let sent = authorized_invite(&mut server, "sip:carol@sip.test");
    assert_eq!(sent[0].1.status().unwrap().code(), 480);
    let mut server = Server::new(settings());
    let sent = authorized_invite(&mut server, "sip:nobody@sip.test");
    assert_eq!(sent[0].1.status().unwrap().code(), 404);
    server.pass(60);
    assert!(server.engine.tables().iter().all(|(_, size)| size == 0), "{:?}", server.engine.tables());
}

#[test]
fn a_silent_phone_is_408_after_timer_b_and_a_cancelled_call_is_487() {
    let mut server = Server::new(settings());
    register_bob(&mut server);
    authorized_invite(&mut server, "sip:bob@sip.test");
    let sent = server.pass(33);
    let to_alice: Vec<u16> = sent
        .iter()
        .filter(|(to, message)| to == "127.0.0.2:5070" && !message.is_request())
        .map(|(_, message)| message.status().unwrap().code())
        .collect();
    assert_eq!(to_alice[0], 408);
    let invites = sent.iter().filter(|(to, _)| to == "127.0.0.3:5080").count();
    assert_eq!(invites, 6, "Timer A doubles: 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s");
    server.pass(60);
    assert_eq!(server.engine.tables().proxy_contexts, 0);
}

#[test]
fn nobody_calls_in_the_name_of_another() {
    let mut server = Server::new(settings());
    register_bob(&mut server);
    let mut request = Request { from: "sip:carol@sip.test", ..invite("sip:bob@sip.test") };
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    assert_eq!(server.status("127.0.0.2:5070", &request.text()), 403);
}
