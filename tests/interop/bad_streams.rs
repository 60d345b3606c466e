//! TCP peers that mean no good: each is ended by itself, and the others are served meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::client::Client;
use crate::lab::lab;
use crate::serve::{Server, tcp};

/// How long an answer, or the end of a connection, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the server may take for all that these tests do to it.
const RESIDENT_BYTES_MAX: u64 = 192 << 20;
/// Connections of one source (docs/manual/serve.md).
const OF_ONE_SOURCE: usize = 1_000;

/// A TCP peer.
struct Peer {
    stream: TcpStream,
    count: u32,
}

impl Peer {
    fn connect(server: &Server) -> Peer {
        let stream = TcpStream::connect(server.address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a time");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket has a time");
        Peer { stream, count: 0 }
    }

    fn options(&mut self) -> String {
        self.count += 1;
        let (own, count) = (self.stream.local_addr().expect("it is connected"), self.count);
        format!(
            "OPTIONS sip:{own} SIP/2.0\r\nVia: SIP/2.0/TCP {own};branch=z9hG4bK{count}\r\nMax-Forwards: 70\r\n\
             From: <sip:x@{own}>;tag=1\r\nTo: <sip:sip.test>\r\nCall-ID: {count}@{own}\r\nCSeq: {count} OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        )
    }

    /// Whether a whole answer comes to a request; nothing else is to be on its way.
    fn is_served(&mut self) -> bool {
        let request = self.options();
        self.stream.write_all(request.as_bytes()).expect("the connection is open");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        answer.starts_with(b"SIP/2.0 ")
    }

    /// All that comes until the end of the connection.
    fn rest(&mut self) -> String {
        let mut all = Vec::new();
        match self.stream.read_to_end(&mut all) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the connection goes on"),
            // A reset is an end too.
            _ => String::from_utf8_lossy(&all).into_owned(),
        }
    }
}

fn streams(counters: &Value, name: &str) -> u64 {
    counters["streams"][name].as_u64().unwrap_or_else(|| panic!("no `{name}` in {counters}"))
}

#[test]
fn ten_thousand_connections_of_one_source_get_its_share_and_the_others_are_served() {
    lab(|lab| {
        let mut server = Server::start_with(lab, &["--listen", &tcp()]);
        let (mut over_udp, mut over_tcp) = (Client::new(server.address), Peer::connect(&server));
        assert!(over_tcp.is_served());
        let mut flood = Vec::new();
        for number in 0..10_000 {
            flood.push(Peer::connect(&server));
            if number % 1_000 == 0 {
                assert!(over_udp.is_answered() && over_tcp.is_served(), "after {number} connections");
            }
        }
        let resident = server.resident_bytes();
        assert!(resident <= RESIDENT_BYTES_MAX, "{resident} bytes");
        // Of those that are left, each is ended when it has said nothing for a while.
        assert!(flood.iter_mut().all(|peer| peer.rest().is_empty()));
        assert!(over_tcp.is_served() && Peer::connect(&server).is_served());
        let counters = server.stop();
        let (refused, silent) = (streams(&counters, "refused_source"), streams(&counters, "closed_silent"));
        assert_eq!(refused + silent, 10_000, "{counters}");
        assert!(silent >= OF_ONE_SOURCE as u64 - 1, "{counters}");
        assert!(refused >= 1_000, "{counters}");
        let log = server.process.output();
        assert_eq!(
            log.matches("too_many_from_source").count(),
            1,
            "one line says it, not each connection: {log}"
        );
    });
}

#[test]
fn slow_lying_and_deaf_peers_are_ended_and_the_others_are_served() {
    lab(|lab| {
        let mut server = Server::start_with(lab, &["--listen", &tcp()]);
        let mut good = Peer::connect(&server);
        let mut lying = Peer::connect(&server);
        let announced = lying.options().replace("Content-Length: 0", "Content-Length: 1073741824");
        lying.stream.write_all(announced.as_bytes()).expect("the connection is open");
        assert!(lying.rest().starts_with("SIP/2.0 513 "));
        assert!(good.is_served());

        // It asks and asks, and reads nothing.
        let mut deaf = Peer::connect(&server);
        let mut asked = 0;
        loop {
            let requests: String = (0..100).map(|_| deaf.options()).collect();
            if deaf.stream.write_all(requests.as_bytes()).is_err() {
                break;
            }
            asked += requests.len();
            assert!(asked < 1 << 30, "it is never ended");
        }
        assert!(good.is_served());

        let mut slow = Peer::connect(&server);
        let message = slow.options();
        slow.stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket has a time");
        let mut sent = 0;
        for byte in message.bytes() {
            // A byte a second: waiting for what never comes takes the second.
            let is_open = slow.stream.write_all(&[byte]).is_ok()
                && matches!(slow.stream.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
            if !is_open {
                break;
            }
            sent += 1;
            assert!(good.is_served());
        }
        assert!(sent < 15, "{sent} bytes, one a second");
        let resident = server.resident_bytes();
        assert!(resident <= RESIDENT_BYTES_MAX, "{resident} bytes");
        let counters = server.stop();
        assert_eq!(streams(&counters, "closed_malformed"), 1, "{counters}");
        assert_eq!(streams(&counters, "closed_not_reading"), 1, "{counters}");
        let slow = streams(&counters, "closed_slow_message") + streams(&counters, "closed_silent");
        assert_eq!(slow, 1, "{counters}");
    });
}
