//! Peers who want memory, our bandwidth or a free ride.

use dialtone_roles::io::Input;

use crate::peers::{Request, Server, authorized_invite, invite, register_bob, settings};

#[test]
fn credentials_that_are_wrong_cost_one_answer_and_no_memory() {
    let mut server = Server::new(settings());
    // A nonce that we never gave: not even the store is asked.
    let forged = Request {
        extra: "Proxy-Authorization: Digest username=\"alice\", realm=\"sip.test\", nonce=\"x\", \
                uri=\"sip:bob@sip.test\", response=\"00000000000000000000000000000000\"\r\n"
            .into(),
        ..invite("sip:bob@sip.test")
    };
    assert_eq!(server.status("127.0.0.9:1", &forged.text()), 407);
    assert_eq!(server.engine.counters().queries, 0);
    // A nonce of ours, a user that does not exist and a password that is wrong.
    for (user, call_id) in [("alice", "one"), ("mallory", "two")] {
        let mut request = Request { call_id, ..invite("sip:bob@sip.test") };
        let challenge = server.receive("127.0.0.9:1", &request.text()).remove(0).1;
        request.with_credentials(user, "guess", &challenge);
        // However often it comes, it gets the same answer (RFC 3261 §8.2.7).
        let mut tag = || {
            let refused = server.receive("127.0.0.9:1", &request.text()).remove(0).1;
            assert_eq!(refused.status().unwrap().code(), 407);
            refused.to().unwrap().tag().unwrap().to_owned()
        };
        assert_eq!(tag(), tag());
    }
    let counters = server.engine.counters();
    assert_eq!((counters.wrong_password, counters.unknown_user), (2, 2));
    let mut tables = server.engine.tables();
    tables.guessers = 0;
    assert!(tables.iter().all(|(_, size)| size == 0), "{tables:?}");
    // The 407 is not repeated at somebody who may never have asked for it.
    assert!(server.pass(40).is_empty());
}

#[test]
fn a_copy_of_a_request_with_a_wrong_password_gets_the_same_tag() {
    let mut server = Server::new(settings());
    let mut request = invite("sip:bob@sip.test");
    let challenge = server.receive("127.0.0.9:1", &request.text()).remove(0).1;
    request.with_credentials("alice", "guess", &challenge);
    let text = request.text();
    let mut tag = || {
        let response = server.receive("127.0.0.9:1", &text).remove(0).1;
        assert_eq!(response.status().map(|status| status.code()), Some(407));
        response.to().unwrap().tag().unwrap().to_owned()
    };
    assert_eq!(tag(), tag());
}

#[test]
fn the_token_of_a_call_opens_no_other_request() {
    let mut server = Server::new(settings());
    register_bob(&mut server);
    let sent = authorized_invite(&mut server, "sip:bob@sip.test");
    let route = sent[1].1.value(dialtone_wire::HeaderName::RecordRoute).unwrap().to_vec();
    let route = String::from_utf8(route).unwrap();
    for method in ["INVITE", "MESSAGE", "REGISTER"] {
        let relayed = Request {
            method,
            cseq: 9,
            extra: format!("Route: {route}\r\n"),
            ..invite("sip:victim@192.0.2.9")
        };
        let status = server.status("127.0.0.3:5080", &relayed.text());
        assert!(matches!(status, 403 | 404), "{method} {status}");
        let hop = Request { extra: format!("Route: {route}, <sip:192.0.2.9;lr>\r\n"), ..relayed };
        let status = server.status("127.0.0.3:5080", &hop.text());
        assert!(matches!(status, 403 | 404), "{method} {status}");
    }
}

#[test]
fn a_reload_that_takes_a_domain_away_finds_no_request_that_still_names_it() {
    let mut server = Server::new(settings());
    server.holds_answers = true;
    let mut request = invite("sip:bob@sip.test");
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    assert!(server.receive("127.0.0.2:5070", &request.text()).is_empty());
    let emptied = dialtone_roles::Settings { domains: Vec::new(), robots: Vec::new(), ..settings() };
    server.input(Input::Configure(std::sync::Arc::new(emptied)));
    server.holds_answers = false;
    let (id, answer) = server.held.remove(0);
    server.input(Input::Answer(id, answer));
    assert!(server.sent.last().is_some_and(|(_, message)| !message.is_request()), "{:?}", server.sent);
}

#[test]
fn nobody_calls_a_robot_in_the_name_of_another() {
    let mut server = Server::new(settings());
    let mut request = Request { from: "sip:carol@sip.test", ..invite("sip:echo@sip.test") };
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    assert_eq!(server.status("127.0.0.2:5070", &request.text()), 403);
}

#[test]
fn a_request_that_a_failing_store_refused_stays_refused() {
    let mut server = Server::new(settings());
    register_bob(&mut server);
    let mut request = invite("sip:bob@sip.test");
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    server.holds_answers = true;
    assert!(server.receive("127.0.0.2:5070", &request.text()).is_empty());
    let answers: Vec<u16> =
        server.pass(6).iter().filter_map(|(_, message)| Some(message.status()?.code())).collect();
    assert_eq!(answers[..2], [100, 500]);
    // The store is well again; a late copy of the INVITE must not ring, since its caller has been refused.
    server.holds_answers = false;
    assert_eq!(server.status("127.0.0.2:5070", &request.text()), 500);
}
