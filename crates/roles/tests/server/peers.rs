//! The engine under test, and the requests that peers send to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialtone_dialog::digest::{
    Attempt, DigestClient, OutgoingRequest, Secret as DigestSecret, Side, StoredCredential,
};
use dialtone_roles::Settings;
use dialtone_roles::io::{Answer, CallRecord, Event, Input, Output, Query, QueryId};
use dialtone_roles::settings::{Domain, Listener, Robot, RobotKind, Secret};
use dialtone_wire::auth::Challenge;
use dialtone_wire::net::{Flow, Transport};
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Limits, Message, Method};

use crate::shards::Shards;

pub(crate) const SERVER: &str = "127.0.0.1:5060";

pub(crate) struct Server {
    pub(crate) engine: Shards,
    pub(crate) now: Instant,
    /// What went out in the last turn: where to, and the message.
    pub(crate) sent: Vec<(String, Message)>,
    pub(crate) next: Option<(Instant, &'static str)>,
    /// The store takes its time: its answers are kept in `held`.
    pub(crate) holds_answers: bool,
    pub(crate) held: Vec<(QueryId, Answer)>,
    /// Host names that are asked for.
    pub(crate) names: Vec<(QueryId, String)>,
    /// What became of calls.
    pub(crate) records: Vec<CallRecord>,
}

pub(crate) fn settings() -> Settings {
    Settings {
        listeners: vec![Listener {
            transport: Transport::Udp,
            address: SERVER.parse().unwrap(),
            prefix_length: 8,
        }],
        domains: vec![Domain { name: "sip.test".into(), ..Default::default() }],
        robots: vec![Robot { user: "echo".into(), kind: RobotKind::Echo }],
        ..Settings::new(Secret([7; 32]))
    }
}

impl Server {
    pub(crate) fn new(settings: Settings) -> Server {
        let engine = Shards::new(settings);
        Server {
            engine,
            now: Instant::from_millis(1000),
            sent: Vec::new(),
            next: None,
            holds_answers: false,
            held: Vec::new(),
            names: Vec::new(),
            records: Vec::new(),
        }
    }

    pub(crate) fn input(&mut self, input: Input) {
        let (mut queries, mut found) = (Vec::new(), Vec::new());
        let (sent, names, records) = (&mut self.sent, &mut self.names, &mut self.records);
        self.next = self.engine.turn(self.now, input, |shard, output| match output {
            Output::Transmit(transmit) => {
                let message = Message::parse(transmit.bytes, &Limits::default()).unwrap();
                message.check().unwrap();
                sent.push((transmit.flow.remote.to_string(), message));
            }
            Output::Query(id, Query::Credential { domain, user }) => queries.push((shard, id, domain, user)),
            // The one name that is known.
            Output::Query(id, Query::Resolve { host }) if host == "P3.EXAMPLEHOME.COM" => found.push(id),
            Output::Event(Event::CallRecorded(record)) => records.push(*record),
            Output::Query(id, Query::Resolve { host }) => names.push((id, host.to_string())),
            Output::Query(..) | Output::Notice { .. } | Output::Media(_) | Output::Event(_) => {}
            other => panic!("unexpected {other:?}"),
        });
        for id in found {
            self.input(Input::Answer(id, Answer::Addresses(vec!["127.0.0.8".parse().unwrap()])));
        }
        for (shard, id, domain, user) in queries {
            let known = ["alice", "bob", "carol"].contains(&user.as_str());
            let stored = known.then(|| {
                // Equal user parts of two domains are two people.
                let password =
                    if domain == "second.test" { format!("{user}@second") } else { format!("{user}-pw") };
                Arc::new(StoredCredential::from_password(&user, &domain, &domain, &password))
            });
            let answer = Answer::Credential(stored);
            if self.holds_answers {
                self.held.push((id, answer));
            } else {
                self.engine.asker = shard;
                self.input(Input::Answer(id, answer));
            }
        }
    }

    /// A datagram from a peer; gives back all that it caused.
    pub(crate) fn receive(&mut self, from: &str, text: &str) -> Vec<(String, Message)> {
        self.receive_on(Flow::udp(SERVER.parse().unwrap(), from.parse().unwrap()), text)
    }

    /// A message on some flow; gives back all that it caused.
    pub(crate) fn receive_on(&mut self, flow: Flow, text: &str) -> Vec<(String, Message)> {
        self.sent.clear();
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.input(Input::Packet { flow, bytes: bytes.clone() });
        let sent = std::mem::take(&mut self.sent);
        self.repeat(flow, bytes, &sent);
        sent
    }

    /// Where packets come more than once, the last ones come again: nothing follows from them but what was said before.
    fn repeat(&mut self, flow: Flow, bytes: Bytes, sent: &[(String, Message)]) {
        if !self.engine.repeats {
            return;
        }
        self.engine.said.extend(sent.iter().map(|(_, message)| saying(message)));
        self.engine.came.push_back((flow, bytes));
        if self.engine.came.len() > REPEATED {
            self.engine.came.pop_front();
        }
        for (flow, bytes) in self.engine.came.clone() {
            self.input(Input::Packet { flow, bytes: bytes.clone() });
            for (_, message) in std::mem::take(&mut self.sent) {
                // A challenge has another nonce each time.
                let is_challenge = message.status().is_some_and(|status| status.is_challenge());
                // An ACK of a call that is over belongs to nobody, and goes where its URI says.
                let call_id = message.value(HeaderName::CallId).unwrap_or_default();
                let is_passed_on = message.method() == Some(&Method::Ack)
                    && bytes.starts_with(b"ACK")
                    && bytes.windows(call_id.len()).any(|part| part == call_id);
                let is_known = is_challenge || is_passed_on || self.engine.said.contains(&saying(&message));
                assert!(is_known, "{:?} follows from what came a second time: {bytes:?}", message.bytes());
            }
        }
    }

    /// Lets time pass, timer by timer; gives back all that was sent.
    pub(crate) fn pass(&mut self, seconds: u64) -> Vec<(String, Message)> {
        self.sent.clear();
        let end = self.now + Duration::from_secs(seconds);
        if end >= self.now + Duration::from_secs(30) {
            // No copy comes so late.
            self.engine.came.clear();
        }
        while let Some((at, _)) = self.next.filter(|(at, _)| *at <= end) {
            self.now = at;
            self.input(Input::Timeout);
        }
        self.now = end;
        self.input(Input::Timeout);
        self.engine.said.extend(self.sent.iter().map(|(_, message)| saying(message)));
        std::mem::take(&mut self.sent)
    }

    pub(crate) fn status(&mut self, from: &str, text: &str) -> u16 {
        let sent = self.receive(from, text);
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!(sent[0].0, from);
        sent[0].1.status().map_or(0, |status| status.code())
    }
}

/// So many packets come again after each one, where they do.
const REPEATED: usize = 4;

/// What a message says: an ACK for a 2xx that is forwarded again gets another branch of the proxy.
fn saying(message: &Message) -> Bytes {
    match message.method() {
        Some(Method::Ack) => {
            let name = |name| String::from_utf8_lossy(message.value(name).unwrap_or_default()).into_owned();
            format!("{} {}", name(HeaderName::CallId), name(HeaderName::CSeq)).into()
        }
        _ => message.bytes().clone(),
    }
}

/// A request with its headers in one place.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) via: &'a str,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    pub(crate) extra: String,
}

impl Request<'_> {
    pub(crate) fn text(&self) -> String {
        let Request { method, uri, from, to, via, call_id, cseq, extra } = self;
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via};rport;branch=z9hG4bK{call_id}{cseq}{method}\r\n\
             Max-Forwards: 70\r\nFrom: <{from}>;tag=f\r\nTo: <{to}>\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\n{extra}\r\n"
        )
    }

    /// The same request with credentials for the challenges of a response, and the next CSeq.
    pub(crate) fn with_credentials(&mut self, user: &str, password: &str, response: &Message) {
        let credentials = credentials(self.method, self.uri, user, password, response);
        self.cseq += 1;
        self.extra.push_str(&credentials);
    }
}

pub(crate) fn credentials(method: &str, uri: &str, user: &str, password: &str, response: &Message) -> String {
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
    let outgoing = OutgoingRequest { method, uri, body: b"", call_id: "", at_home: true };
    let lines = client.authorize(&mut attempt, &outgoing);
    lines
        .iter()
        .map(|(side, credentials)| match side {
            Side::UserAgent => format!("Authorization: {credentials}\r\n"),
            Side::Proxy => format!("Proxy-Authorization: {credentials}\r\n"),
        })
        .collect()
}

pub(crate) fn register<'a>(user_uri: &'a str, via: &'a str, call_id: &'a str) -> Request<'a> {
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

pub(crate) fn invite<'a>(to: &'a str) -> Request<'a> {
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

pub(crate) fn register_bob(server: &mut Server) {
    let mut request = register("sip:bob@sip.test", "127.0.0.3:5080", "reg-bob");
    let challenge = server.receive("127.0.0.3:5080", &request.text()).remove(0).1;
    assert_eq!(challenge.status().unwrap().code(), 401);
    request.with_credentials("bob", "bob-pw", &challenge);
    let granted = server.receive("127.0.0.3:5080", &request.text()).remove(0).1;
    assert_eq!(granted.status().unwrap().code(), 200);
    assert_eq!(granted.value(HeaderName::Contact), Some(&b"<sip:x@127.0.0.3:5080>;expires=3600"[..]));
    assert!(granted.has(HeaderName::Date));
}

pub(crate) fn authorized_invite(server: &mut Server, to: &'static str) -> Vec<(String, Message)> {
    let mut request = invite(to);
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    server.receive("127.0.0.2:5070", &request.text())
}
