use std::io::{Read, Write};
use std::time::Duration;

use super::*;
use crate::stream::StreamSettings;
use crate::sys::TcpOptions;

/// One shard's streams, its poller, and what it has told. Time stands still, unless a test moves it.
struct Node {
    poller: Poller,
    sockets: StreamSockets,
    local: SocketAddr,
    now: Instant,
    told: Vec<StreamEvent>,
}

impl Node {
    fn new(ip: &str, settings: StreamSettings) -> Node {
        let address = SocketAddr::new(ip.parse().expect("an address"), 0);
        let listener = TcpListener::bind(address, TcpOptions::default()).expect("a port of the loopback");
        let local = listener.local();
        let poller = Poller::new().expect("an epoll");
        let sockets = StreamSockets::new(Connections::new(0, 1, settings), vec![listener], &poller);
        let sockets = sockets.expect("a listener can be added");
        Node { poller, sockets, local, now: Instant::START, told: Vec::new() }
    }

    /// Waits once, and handles what the poller tells.
    fn step(&mut self) {
        let mut ready = Vec::new();
        let ten = Some(Duration::from_secs(10));
        self.poller.wait(ten, |token, readiness| ready.push((token, readiness))).expect("waiting");
        assert!(!ready.is_empty(), "nothing happened for ten seconds; before that: {:?}", self.told);
        for (token, readiness) in ready {
            assert!(StreamSockets::owns(token));
            self.sockets.handle_ready(self.now, &self.poller, token, readiness);
        }
        self.take_events();
    }

    fn take_events(&mut self) {
        while let Some(event) = self.sockets.poll_event() {
            if !matches!(event, StreamEvent::Proven(_)) {
                self.told.push(event);
            }
        }
    }

    /// Runs until that many things have been told, and takes them.
    fn told(&mut self, count: usize) -> Vec<StreamEvent> {
        while self.told.len() < count {
            self.step();
        }
        self.told.drain(..count).collect()
    }

    /// Runs until a message comes.
    fn message(&mut self) -> (Flow, Bytes) {
        match self.told(1).remove(0) {
            StreamEvent::Message { flow, bytes } => (flow, bytes),
            other => panic!("{other:?} instead of a message"),
        }
    }

    /// Runs until a connection ends.
    fn closed(&mut self) -> CloseReason {
        match self.told(1).remove(0) {
            StreamEvent::Closed { reason, .. } => reason,
            other => panic!("{other:?} instead of an end"),
        }
    }

    fn send(&mut self, flow: Flow, text: &str) -> Result<ConnectionId, SendError> {
        let transmit = Transmit { flow, bytes: Bytes::copy_from_slice(text.as_bytes()) };
        let sent = self.sockets.send(self.now, &self.poller, transmit);
        self.take_events();
        sent
    }

    fn flow_to(&self, remote: SocketAddr) -> Flow {
        Flow { transport: Transport::Tcp, local: self.local, remote, connection: None }
    }
}

fn message(body: &str) -> String {
    let length = body.len();
    format!(
        "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP a.b;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b@b>\r\n\
         Call-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn connect(node: &Node) -> std::net::TcpStream {
    std::net::TcpStream::connect(node.local).expect("somebody listens")
}

#[test]
fn messages_come_and_answers_go_back_on_the_same_connection() {
    for ip in ["127.0.0.1", "::1"] {
        let mut node = Node::new(ip, StreamSettings::default());
        let mut peer = connect(&node);
        peer.write_all((message("one") + &message("two")).as_bytes()).expect("it takes them");
        let ((flow, one), (_, two)) = (node.message(), node.message());
        assert_eq!((&one[..], &two[..]), (message("one").as_bytes(), message("two").as_bytes()));
        assert_eq!((flow.local, flow.remote), (node.local, peer.local_addr().expect("an address")));
        node.send(flow, "an answer").expect("it is open");
        let mut answer = [0; 9];
        peer.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"an answer");
        drop(peer);
        assert_eq!(node.closed(), CloseReason::Peer);
        assert!(node.sockets.connections().is_empty());
    }
}

#[test]
fn two_nodes_talk_over_the_connection_that_one_of_them_opened() {
    let (mut one, mut two) = (
        Node::new("127.0.0.1", StreamSettings::default()),
        Node::new("127.0.0.1", StreamSettings::default()),
    );
    let out = one.flow_to(two.local);
    one.send(out, &message("1")).expect("it is opened");
    one.send(out, &message("2")).expect("it is being opened");
    one.step();
    let (back, first) = two.message();
    assert_eq!((first, two.message().1), (Bytes::from(message("1")), Bytes::from(message("2"))));
    two.send(back, &message("3")).expect("it is open");
    let (flow, third) = one.message();
    assert_eq!(third, message("3"));
    assert_eq!(
        (flow.local, flow.remote),
        (one.local, two.local),
        "our end is known by the address of our listener"
    );
    one.send(flow, &message("4")).expect("it is open");
    assert_eq!(two.message().1, message("4"));
    assert_eq!((one.sockets.connections().len(), two.sockets.connections().len()), (1, 1));
    one.sockets.connections_mut().stop(Instant::START, flow.connection.expect("it is named"));
    one.sockets.handle_timeout(Instant::START, &one.poller);
    assert_eq!(two.closed(), CloseReason::Peer);
}

#[test]
fn a_port_that_nobody_listens_on_is_told() {
    let mut node = Node::new("127.0.0.1", StreamSettings::default());
    // Bound, so that nobody else gets the port, but not listening.
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let gone = silent.local_addr().expect("an address").as_socket().expect("of IPv4");
    // The system may know at once or later.
    let _ = node.send(node.flow_to(gone), &message(""));
    assert_eq!(node.closed(), CloseReason::ConnectFailed);
    assert!(matches!(node.send(node.flow_to(gone), "x"), Err(SendError::BackingOff { .. })));
}

#[test]
fn a_message_without_room_in_the_socket_is_written_when_there_is_room() {
    let settings = StreamSettings {
        send_bytes_max: 64 * 1024 * 1024,
        bytes_max: 64 * 1024 * 1024,
        ..StreamSettings::default()
    };
    let mut node = Node::new("127.0.0.1", settings);
    let mut peer = connect(&node);
    peer.write_all(message("").as_bytes()).expect("it takes it");
    let (flow, _) = node.message();
    let text = message(&"0123456789".repeat(5_000));
    let count = 400;
    for _ in 0..count {
        node.send(flow, &text).expect("there is room in the queue");
    }
    assert!(node.sockets.connections().held_bytes() > 1_000_000, "the buffers of the system are not endless");
    let expected = text.len() * count;
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; expected];
        peer.read_exact(&mut all).map(|()| all)
    });
    while node.sockets.connections().held_bytes() > 0 {
        node.step();
    }
    let all = reader.join().expect("it ends").expect("all of it");
    assert!(all.chunks(text.len()).all(|chunk| chunk == text.as_bytes()));
}

#[test]
fn a_peer_that_stops_reading_is_ended_and_the_others_are_served() {
    let mut node = Node::new("127.0.0.1", StreamSettings::default());
    let (mut deaf, mut other) = (connect(&node), connect(&node));
    deaf.write_all(message("").as_bytes()).expect("it takes it");
    let (flow, _) = node.message();
    let text = message(&"0123456789".repeat(3_000));
    let mut sent = 0;
    while node.send(flow, &text).is_ok() {
        sent += text.len();
        assert!(sent < 100_000_000, "the queue has an end");
        assert!(node.sockets.connections().held_bytes() <= 256 * 1024);
    }
    assert_eq!(node.closed(), CloseReason::NotReading);
    other.write_all(message("still there?").as_bytes()).expect("it takes it");
    let (flow, _) = node.message();
    node.send(flow, "yes").expect("it is open");
    let mut answer = [0; 3];
    other.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"yes");
}

#[test]
fn the_last_words_reach_a_peer_that_went_on_sending() {
    let mut node = Node::new("127.0.0.1", StreamSettings::default());
    let mut peer = connect(&node);
    let announced = message("").replace("Content-Length: 0", "Content-Length: 1073741824");
    peer.write_all(announced.as_bytes()).expect("it takes it");
    peer.write_all(&[b'x'; 100_000]).expect("it takes it");
    let reader = std::thread::spawn(move || {
        let mut words = String::new();
        peer.read_to_string(&mut words).map(|_| words)
    });
    // The peer ends when it has read our end.
    assert_eq!(node.closed(), CloseReason::Malformed);
    let words = reader.join().expect("it ends").expect("no reset");
    assert!(words.starts_with("SIP/2.0 513 "), "{words}");
}

#[test]
fn a_silent_peer_is_ended_by_its_deadline() {
    let mut node = Node::new("127.0.0.1", StreamSettings::default());
    let mut peer = connect(&node);
    node.step();
    let (at, name) = node.sockets.poll_timeout().expect("a deadline");
    assert_eq!((at, name), (Instant::from_millis(10_000), "stream first message"));
    node.sockets.handle_timeout(at, &node.poller);
    let mut nothing = Vec::new();
    assert_eq!(peer.read_to_end(&mut nothing).expect("an end"), 0);
}

#[test]
fn connections_of_one_source_beyond_its_share_are_ended_at_once() {
    let settings = StreamSettings { connections_per_source_max: 10, ..StreamSettings::default() };
    let mut node = Node::new("127.0.0.1", settings);
    let mut peers: Vec<_> = (0..50).map(|_| connect(&node)).collect();
    let told = node.told(40);
    assert!(told.iter().all(|event| {
        matches!(event, StreamEvent::Refused { remote: Some(_), reason: Some(Refused::TooManyFromSource) })
    }));
    assert_eq!(node.sockets.connections().len(), 10);
    assert_eq!(peers[49].read(&mut [0]).unwrap_or(0), 0, "ended or reset");
    peers[0].write_all(message("").as_bytes()).expect("it takes it");
    node.message();
}

#[test]
fn what_the_poller_told_of_a_connection_does_not_reach_the_next_in_its_slot() {
    let mut node = Node::new("127.0.0.1", StreamSettings::default());
    let first = connect(&node);
    node.step();
    let stale = token_of(ConnectionId { shard: 0, slot: 0, generation: 0 });
    drop(first);
    assert_eq!(node.closed(), CloseReason::Peer);
    let _second = connect(&node);
    node.step();
    let ended = Readiness { read: true, write: false, error: true };
    node.sockets.handle_ready(node.now, &node.poller, stale, ended);
    assert_eq!(node.sockets.poll_event(), None);
    assert_eq!(node.sockets.connections().len(), 1);
}

#[test]
fn two_listeners_share_a_port_when_both_ask_for_it_and_wildcards_are_refused() {
    let options = TcpOptions { reuse_port: true, ..TcpOptions::default() };
    let first = TcpListener::bind("127.0.0.1:0".parse().expect("an address"), options).expect("a port");
    let second = TcpListener::bind(first.local(), options).expect("the same port");
    assert_eq!(first.local(), second.local());
    let alone = TcpListener::bind(first.local(), TcpOptions::default()).expect_err("it is in use");
    assert_eq!(alone.kind(), io::ErrorKind::AddrInUse);
    let wildcard =
        TcpListener::bind("0.0.0.0:0".parse().expect("an address"), options).expect_err("no wildcard");
    assert_eq!(wildcard.kind(), io::ErrorKind::InvalidInput);
}
