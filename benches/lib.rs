//! What the measurements share: a server engine without sockets, and the messages that its phones send.
//!
//! Times: `cargo bench -p dialtone-benches --bench NAME -- --quick`. Instructions: `cargo xtask instructions`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialtone_roles::io::{Input, Output};
use dialtone_roles::settings::{Domain, Foreign, Listener, Secret};
use dialtone_roles::{Engine, Settings, turn};
use dialtone_wire::net::{Flow, Transport};
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Limits, Message};

/// Where the server listens.
pub const SERVER: &str = "127.0.0.1:5060";
/// Where alice's phone is.
pub const ALICE: &str = "127.0.0.2:5070";
/// Where bob's phone is.
pub const BOB: &str = "127.0.0.3:5080";

/// A server without passwords, and the wire it sends on.
pub struct Server {
    engine: Engine,
    now: Instant,
    sent: Vec<Bytes>,
    count: u64,
}

impl Server {
    /// A server that knows nobody yet.
    #[allow(clippy::new_without_default, reason = "it is an act, not a default")]
    pub fn new() -> Server {
        let settings = Settings {
            listeners: vec![Listener {
                transport: Transport::Udp,
                address: SERVER.parse().expect("an address"),
                prefix_length: 8,
            }],
            domains: vec![Domain { name: "sip.test".into(), ..Default::default() }],
            authenticate: false,
            foreign: Foreign::Open,
            ..Settings::new(Secret([7; 32]))
        };
        let engine = Engine::new(0, [1; 32], Arc::new(settings));
        Server { engine, now: Instant::from_millis(1), sent: Vec::new(), count: 0 }
    }

    /// Takes in one datagram; what it causes is in `sent` until the next.
    pub fn receive(&mut self, from: &str, text: String) {
        // Time goes on as under a load of 10,000 messages a second, so that old transactions end.
        self.now = self.now + Duration::from_micros(100);
        let flow = Flow::udp(SERVER.parse().expect("an address"), from.parse().expect("an address"));
        let sent = &mut self.sent;
        sent.clear();
        let input = Input::Packet { flow, bytes: Bytes::from(text) };
        turn(&mut self.engine, self.now, input, |output| {
            if let Output::Transmit(transmit) = output {
                sent.push(transmit.bytes);
            }
        });
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

/// Any request of alice's phone; `n` makes it unique.
pub fn request(method: &str, uri: &str, via: &str, n: u64, cseq: u32, extra: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK-{n}-{cseq}-{method};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"Alice\" <sip:alice@sip.test>;tag=f{n}\r\nTo: <sip:bob@sip.test>\r\n\
         Call-ID: {n}@{via}\r\nCSeq: {cseq} {method}\r\nContact: <sip:alice@{via}>\r\n\
         User-Agent: bench\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

/// A REGISTER of bob's phone; `n` makes it unique.
pub fn register(n: u64) -> String {
    request("REGISTER", "sip:sip.test", BOB, n, 1, "Expires: 3600\r\n")
        .replace("sip:alice@sip.test", "sip:bob@sip.test")
}

/// A response of bob to what the server has just sent to him.
fn answer(request: &Bytes, status: &str, contact: &str) -> String {
    let request =
        Message::parse(request.clone(), &Limits::default()).expect("the server writes legal messages");
    let mut text = format!("SIP/2.0 {status}\r\n");
    for header in request.header_lines() {
        match header.name {
            HeaderName::Via
            | HeaderName::RecordRoute
            | HeaderName::From
            | HeaderName::CallId
            | HeaderName::CSeq => {
                text.push_str(std::str::from_utf8(header.line).expect("UTF-8"));
            }
            HeaderName::To => {
                let value = std::str::from_utf8(header.value).expect("UTF-8");
                let tag = if value.contains("tag=") { "" } else { ";tag=bob" };
                text.push_str(&format!("To: {value}{tag}\r\n"));
            }
            _ => {}
        }
    }
    text + contact + "Content-Length: 0\r\n\r\n"
}

/// One whole call through the server: six messages in, seven out.
///
/// # Panics
/// When the server does not do its part.
pub fn call(server: &mut Server) {
    let n = server.next();
    server.receive(ALICE, request("INVITE", "sip:bob@sip.test", ALICE, n, 1, ""));
    let invite = server.sent.last().expect("forwarded").clone();
    let contact = format!("Contact: <sip:bob@{BOB}>\r\n");
    server.receive(BOB, answer(&invite, "180 Ringing", &contact));
    server.receive(BOB, answer(&invite, "200 OK", &contact));
    let parsed = Message::parse(invite, &Limits::default()).expect("legal");
    let route = parsed.value(HeaderName::RecordRoute).expect("we record-route");
    let route = format!("Route: {}\r\n", std::str::from_utf8(route).expect("UTF-8"));
    let target = format!("sip:bob@{BOB}");
    server.receive(ALICE, request("ACK", &target, ALICE, n, 1, &route));
    server.receive(ALICE, request("BYE", &target, ALICE, n, 2, &route));
    let bye = server.sent.last().expect("forwarded").clone();
    server.receive(BOB, answer(&bye, "200 OK", ""));
    assert_eq!(server.sent.len(), 1, "the answer to the BYE went back");
}
