//! A server engine, spoken to in raw messages: what strangers, users and their phones get.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialtone_dialog::digest::{
    Attempt, DigestClient, OutgoingRequest, Secret as DigestSecret, Side, StoredCredential,
};
use dialtone_roles::io::{Answer, Input, Output, Query};
use dialtone_roles::settings::{Domain, Listener, Robot, RobotKind, Secret};
use dialtone_roles::{Engine, Settings, turn};
use dialtone_wire::auth::Challenge;
use dialtone_wire::net::{Flow, Transport};
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Limits, Message};

const SERVER: &str = "127.0.0.1:5060";

struct Server {
    engine: Engine,
    now: Instant,
    /// What went out in the last turn: where to, and the message.
    sent: Vec<(String, Message)>,
    next: Option<(Instant, &'static str)>,
}

fn settings() -> Settings {
    Settings {
        listeners: vec![Listener {
            transport: Transport::Udp,
            address: SERVER.parse().unwrap(),
            prefix_length: 8,
        }],
        domains: vec![Domain { name: "sip.test".into(), aliases: Vec::new() }],
        robots: vec![Robot { user: "echo".into(), kind: RobotKind::Echo }],
        ..Settings::new(Secret([7; 32]))
    }
}

impl Server {
    fn new(settings: Settings) -> Server {
        let engine = Engine::new(0, [3; 32], Arc::new(settings));
        Server { engine, now: Instant::from_millis(1000), sent: Vec::new(), next: None }
    }

    fn input(&mut self, input: Input) {
        let mut queries = Vec::new();
        let sent = &mut self.sent;
        self.next = turn(&mut self.engine, self.now, input, |output| match output {
            Output::Transmit(transmit) => {
                let message = Message::parse(transmit.bytes, &Limits::default()).unwrap();
                message.check().unwrap();
                sent.push((transmit.flow.remote.to_string(), message));
            }
            Output::Query(id, Query::Credential { domain, user }) => queries.push((id, domain, user)),
            Output::Query(..) | Output::Notice { .. } | Output::Media(_) | Output::Event(_) => {}
            other => panic!("unexpected {other:?}"),
        });
        for (id, domain, user) in queries {
            let known = ["alice", "bob", "carol"].contains(&user.as_str());
            let stored = known.then(|| {
                Arc::new(StoredCredential::from_password(&user, &domain, &domain, &format!("{user}-pw")))
            });
            self.input(Input::Answer(id, Answer::Credential(stored)));
        }
    }

    /// A datagram from a peer; gives back all that it caused.
    fn receive(&mut self, from: &str, text: &str) -> Vec<(String, Message)> {
        self.sent.clear();
        let flow = Flow::udp(SERVER.parse().unwrap(), from.parse().unwrap());
        self.input(Input::Packet { flow, bytes: Bytes::copy_from_slice(text.as_bytes()) });
        std::mem::take(&mut self.sent)
    }

    /// Lets time pass, timer by timer; gives back all that was sent.
    fn pass(&mut self, seconds: u64) -> Vec<(String, Message)> {
        self.sent.clear();
        let end = self.now + Duration::from_secs(seconds);
        while let Some((at, _)) = self.next.filter(|(at, _)| *at <= end) {
            self.now = at;
            self.input(Input::Timeout);
        }
        self.now = end;
        self.input(Input::Timeout);
        std::mem::take(&mut self.sent)
    }

    fn status(&mut self, from: &str, text: &str) -> u16 {
        let sent = self.receive(from, text);
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!(sent[0].0, from);
        sent[0].1.status().map_or(0, |status| status.code())
    }
}

/// A request with its headers in one place.
struct Request<'a> {
    method: &'a str,
    uri: &'a str,
    from: &'a str,
    to: &'a str,
    via: &'a str,
    call_id: &'a str,
    cseq: u32,
    extra: String,
}

impl Request<'_> {
    fn text(&self) -> String {
        let Request { method, uri, from, to, via, call_id, cseq, extra } = self;
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via};rport;branch=z9hG4bK{call_id}{cseq}{method}\r\n\
             Max-Forwards: 70\r\nFrom: <{from}>;tag=f\r\nTo: <{to}>\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\n{extra}\r\n"
        )
    }

    /// The same request with credentials for the challenges of a response, and the next CSeq.
    fn with_credentials(&mut self, user: &str, password: &str, response: &Message) {
        let credentials = credentials(self.method, self.uri, user, password, response);
        self.cseq += 1;
        self.extra.push_str(&credentials);
    }
}

fn credentials(method: &str, uri: &str, user: &str, password: &str, response: &Message) -> String {
    let mut client = DigestClient::new(false);
    let mut attempt = Attempt::default();
    let challenges: Vec<(Side, Challenge)> =
        [(HeaderName::WwwAuthenticate, Side::UserAgent), (HeaderName::ProxyAuthenticate, Side::Proxy)]
            .into_iter()
            .flat_map(|(name, side)| {
                response.values(name).map(move |value| (side, Challenge::parse(value).unwrap()))
            })
            .collect();
    assert!(!challenges.is_empty());
    let mut secret =
        |_: &str| Some(DigestSecret::Password { username: user.into(), password: password.into() });
    client.handle_challenges(&mut attempt, &challenges, &mut secret, &mut || 42).unwrap();
    let outgoing = OutgoingRequest { method, uri, body: b"" };
    let lines = client.authorize(&mut attempt, &outgoing);
    lines
        .iter()
        .map(|(side, credentials)| match side {
            Side::UserAgent => format!("Authorization: {credentials}\r\n"),
            Side::Proxy => format!("Proxy-Authorization: {credentials}\r\n"),
        })
        .collect()
}

fn register<'a>(user_uri: &'a str, via: &'a str, call_id: &'a str) -> Request<'a> {
    Request {
        method: "REGISTER",
        uri: "sip:sip.test",
        from: user_uri,
        to: user_uri,
        via,
        call_id,
        cseq: 1,
        extra: format!("Contact: <sip:x@{via}>\r\n"),
    }
}

fn invite<'a>(to: &'a str) -> Request<'a> {
    Request {
        method: "INVITE",
        uri: to,
        from: "sip:alice@sip.test",
        to,
        via: "127.0.0.2:5070",
        call_id: "call",
        cseq: 1,
        extra: "Contact: <sip:alice@127.0.0.2:5070>\r\n".into(),
    }
}

fn register_bob(server: &mut Server) {
    let mut request = register("sip:bob@sip.test", "127.0.0.3:5080", "reg-bob");
    let challenge = server.receive("127.0.0.3:5080", &request.text()).remove(0).1;
    assert_eq!(challenge.status().unwrap().code(), 401);
    request.with_credentials("bob", "bob-pw", &challenge);
    let granted = server.receive("127.0.0.3:5080", &request.text()).remove(0).1;
    assert_eq!(granted.status().unwrap().code(), 200);
    assert_eq!(granted.value(HeaderName::Contact), Some(&b"<sip:x@127.0.0.3:5080>;expires=3600"[..]));
    assert!(granted.has(HeaderName::Date));
}

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

fn authorized_invite(server: &mut Server, to: &'static str) -> Vec<(String, Message)> {
    let mut request = invite(to);
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    server.receive("127.0.0.2:5070", &request.text())
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
