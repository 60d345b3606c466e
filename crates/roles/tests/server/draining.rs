//! A server that is about to end.

use std::sync::Arc;

use dialtone_roles::Settings;
use dialtone_roles::io::Input;
use dialtone_wire::HeaderName;

use crate::peers::{Request, Server, authorized_invite, invite, register, register_bob, settings};

fn drain(server: &mut Server) {
    let draining = Settings { draining: true, version: 1, ..settings() };
    server.sent.clear();
    server.input(Input::Configure(Arc::new(draining)));
}

#[test]
fn a_new_call_is_refused_with_503_and_a_time_and_keeps_nothing() {
    let mut server = Server::new(settings());
    register_bob(&mut server);
    drain(&mut server);
    let sent = authorized_invite(&mut server, "sip:bob@sip.test");
    let refused = &sent[0].1;
    assert_eq!(refused.status().map(|status| status.code()), Some(503));
    assert_eq!(refused.value(HeaderName::RetryAfter), Some(&b"10"[..]));
    assert_eq!((sent.len(), server.engine.counters().draining, server.engine.unfinished()), (1, 1, 0));
    // Registrations go on: they are there again at the next start.
    register_bob(&mut server);
}

#[test]
fn a_call_that_rings_may_be_answered_and_is_waited_for() {
    let mut server = Server::new(settings());
    register_bob(&mut server);
    let mut request = invite("sip:bob@sip.test");
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    let sent = server.receive("127.0.0.2:5070", &request.text());
    let forwarded = &sent[1].1;
    assert_eq!(server.engine.unfinished(), 1);
    drain(&mut server);
    assert!(server.sent.is_empty(), "{:?}", server.sent);
    // A copy of the INVITE is no new call.
    let sent = server.receive("127.0.0.2:5070", &request.text());
    assert!(sent.iter().all(|(_, message)| message.status().is_some_and(|status| status.code() == 100)));
    let mut vias = String::new();
    for via in forwarded.values(HeaderName::Via) {
        vias.push_str(&format!("Via: {}\r\n", String::from_utf8_lossy(via)));
    }
    let ok = format!(
        "SIP/2.0 200 OK\r\n{vias}From: <sip:alice@sip.test>;tag=f\r\nTo: <sip:bob@sip.test>;tag=t\r\n\
         Call-ID: call\r\nCSeq: 2 INVITE\r\nContact: <sip:x@127.0.0.3:5080>\r\n\r\n"
    );
    assert_eq!(server.receive("127.0.0.3:5080", &ok).len(), 1);
    assert_eq!(server.engine.unfinished(), 0);
}

#[test]
fn another_request_that_nobody_answers_is_not_waited_for() {
    let mut server = Server::new(Settings { authenticate: false, ..settings() });
    register_open(&mut server);
    let options = Request { method: "OPTIONS", ..invite("sip:bob@sip.test") };
    let sent = server.receive("127.0.0.2:5070", &options.text());
    assert!(sent.iter().any(|(to, message)| to == "127.0.0.3:5080" && message.is_request()), "{sent:?}");
    assert_eq!((server.engine.tables().proxy_contexts, server.engine.unfinished()), (1, 0));
}

fn register_open(server: &mut Server) {
    let mut request = register("sip:bob@sip.test", "127.0.0.3:5080", "reg-bob");
    request.extra = "Contact: <sip:bob@127.0.0.3:5080>\r\n".into();
    assert_eq!(server.status("127.0.0.3:5080", &request.text()), 200);
}
