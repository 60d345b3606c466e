use std::time::Duration;

use dialtone_wire::net::Transmit;
use dialtone_wire::{Limits, Message};
use proptest::prelude::*;

use super::*;

const LOCAL: &str = "192.0.2.1:5060";

/// One side of all connections: it reads what is written and tells events as text.
struct Peers {
    connections: Connections,
    now: Instant,
    /// What was written on each connection, while the socket took it.
    written: BTreeMap<ConnectionId, Vec<u8>>,
    /// Sockets that take nothing.
    stuck: BTreeSet<ConnectionId>,
    /// How many bytes a socket takes at once.
    piece: usize,
    opened: BTreeSet<ConnectionId>,
    proven: BTreeSet<ConnectionId>,
    log: Vec<String>,
    messages: Vec<Bytes>,
}

impl Peers {
    fn new(settings: StreamSettings) -> Peers {
        Peers {
            connections: Connections::new(3, 1, settings),
            now: Instant::START,
            written: BTreeMap::new(),
            stuck: BTreeSet::new(),
            piece: usize::MAX,
            opened: BTreeSet::new(),
            proven: BTreeSet::new(),
            log: Vec::new(),
            messages: Vec::new(),
        }
    }

    fn accept(&mut self, remote: &str) -> Result<ConnectionId, Refused> {
        let accepted =
            self.connections.handle_accepted(self.now, Transport::Tcp, address(LOCAL), address(remote));
        self.settle();
        accepted
    }

    fn accepted(&mut self, remote: &str) -> ConnectionId {
        self.accept(remote).expect("there is room")
    }

    fn bytes(&mut self, id: ConnectionId, bytes: impl AsRef<[u8]>) {
        self.connections.handle_bytes(self.now, id, bytes.as_ref());
        self.settle();
    }

    fn send(
        &mut self,
        connection: Option<ConnectionId>,
        remote: &str,
        text: &str,
    ) -> Result<ConnectionId, SendError> {
        let flow =
            Flow { transport: Transport::Tcp, local: address(LOCAL), remote: address(remote), connection };
        let sent = self
            .connections
            .send(self.now, Transmit { flow, bytes: Bytes::copy_from_slice(text.as_bytes()) });
        self.settle();
        sent
    }

    fn connected(&mut self, id: ConnectionId) {
        self.connections.handle_connected(self.now, id);
        self.settle();
    }

    fn connect_failed(&mut self, id: ConnectionId) {
        self.connections.handle_connect_failed(self.now, id);
        self.settle();
    }

    fn closed(&mut self, id: ConnectionId) {
        self.connections.handle_closed(self.now, id);
        self.settle();
    }

    /// Lets time pass, each deadline at its time.
    fn pass(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while let Some((at, _)) = self.connections.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.connections.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    fn settle(&mut self) {
        while let Some(event) = self.connections.poll_event() {
            match event {
                Event::Open { id, remote, .. } => {
                    self.opened.insert(id);
                    self.log.push(format!("open {} {remote}", name(id)));
                }
                Event::Write(id) => self.writable(id),
                Event::Proven(flow) => {
                    let id = flow.connection.expect("it is named");
                    assert!(self.proven.insert(id), "it is told once");
                }
                Event::Finish(id) => self.log.push(format!("finish {}", name(id))),
                Event::Message { flow, bytes } => {
                    let id = flow.connection.expect("messages name their connection");
                    assert_eq!(flow.local, address(LOCAL));
                    let message = Message::parse(bytes.clone(), &Limits::default());
                    let message =
                        message.map_or_else(|error| error.to_string(), |message| format!("{message:?}"));
                    self.log.push(format!("{} {message}", name(id)));
                    self.messages.push(bytes);
                }
                Event::Closed { id, flow, reason, used } => {
                    assert_eq!(flow.connection, Some(id));
                    assert_eq!(used, self.proven.contains(&id) || self.opened.contains(&id));
                    assert!(used || reason != CloseReason::Idle, "who brings nothing is ended before that");
                    self.log.push(format!("closed {} {}", name(id), reason.name()));
                }
            }
        }
    }

    /// The socket takes all there is, piece by piece.
    fn writable(&mut self, id: ConnectionId) {
        while !self.stuck.contains(&id) {
            let mut slices = [std::io::IoSlice::new(&[]); 3];
            let count = self.connections.unwritten(id, &mut slices);
            let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
            if all.is_empty() {
                return;
            }
            let taken = all.len().min(self.piece);
            self.written.entry(id).or_default().extend_from_slice(&all[..taken]);
            self.connections.handle_written(self.now, id, taken);
        }
    }

    fn written(&self, id: ConnectionId) -> String {
        String::from_utf8(self.written.get(&id).cloned().unwrap_or_default()).expect("text")
    }

    /// Takes what happened since the last time.
    fn took_place(&mut self) -> String {
        std::mem::take(&mut self.log).join(", ")
    }

    fn count(&self, name: &str) -> u64 {
        self.connections.counters().iter().find(|(known, _)| *known == name).expect("a counter").1
    }

    fn assert_at_rest(&self) {
        let Connections { slots, by_remote, sources, newcomers, deadlines, held_bytes, .. } =
            &self.connections;
        assert_eq!((slots.len(), *held_bytes), (0, 0));
        assert!(by_remote.is_empty() && sources.is_empty() && newcomers.is_empty() && deadlines.is_empty());
    }
}

fn name(id: ConnectionId) -> String {
    assert_eq!(id.shard, 3);
    format!("{}.{}", id.slot, id.generation)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn request(via: &str, more: &str) -> String {
    format!(
        "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP {via};branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b@b>\r\n\
         Call-ID: c\r\nCSeq: 1 OPTIONS\r\n{more}\r\n"
    )
}

fn options() -> String {
    request("a.b", "Content-Length: 0\r\n")
}

fn response(via: &str) -> String {
    request(via, "l: 0\r\n").replace("OPTIONS sip:a@b SIP/2.0", "SIP/2.0 200 OK")
}

/// The table is as it was before anybody came, once all have had their time.
fn at_rest_in_the_end(peers: &mut Peers) {
    peers.pass(100_000.0);
    peers.assert_at_rest();
}

#[test]
fn many_messages_come_in_one_segment_and_one_in_many() {
    let mut peers = Peers::new(StreamSettings::default());
    let id = peers.accepted("192.0.2.7:4000");
    peers.bytes(id, options().repeat(3));
    assert_eq!(peers.took_place(), "0.0 Message(OPTIONS), 0.0 Message(OPTIONS), 0.0 Message(OPTIONS)");
    for byte in options().bytes() {
        assert_eq!(peers.took_place(), "");
        peers.bytes(id, [byte]);
    }
    assert_eq!(peers.took_place(), "0.0 Message(OPTIONS)");
    assert_eq!(peers.connections.held_bytes(), 0, "nothing is held between messages");
    at_rest_in_the_end(&mut peers);
    assert_eq!(peers.took_place(), "closed 0.0 idle");
}

#[test]
fn a_message_without_content_length_is_answered_with_400_and_the_connection_ended() {
    let mut peers = Peers::new(StreamSettings::default());
    let id = peers.accepted("192.0.2.7:4000");
    peers.bytes(id, options() + &request("a.b", ""));
    assert_eq!(peers.took_place(), "0.0 Message(OPTIONS)");
    peers.pass(2.0);
    assert_eq!(peers.took_place(), "finish 0.0", "the OPTIONS had time to be answered");
    assert!(
        peers
            .written(id)
            .starts_with("SIP/2.0 400 Bad Request: a message of a stream has no Content-Length\r\n")
    );
    peers.bytes(id, options());
    assert_eq!(peers.took_place(), "", "what comes after that is not read");
    peers.closed(id);
    assert_eq!(peers.took_place(), "closed 0.0 malformed");
    peers.assert_at_rest();
}

#[test]
fn a_gibibyte_announced_is_answered_with_513_and_takes_no_memory() {
    let mut peers = Peers::new(StreamSettings::default());
    let id = peers.accepted("192.0.2.7:4000");
    peers.bytes(id, request("a.b", "Content-Length: 1073741824\r\n"));
    assert!(peers.written(id).starts_with("SIP/2.0 513 "));
    for _ in 0..1000 {
        peers.bytes(id, [b'x'; 65_536]);
    }
    assert_eq!(peers.connections.held_bytes(), 0);
    peers.pass(2.0);
    assert_eq!(
        peers.took_place(),
        "finish 0.0, closed 0.0 malformed",
        "it lingers two seconds, not for ever"
    );
    peers.assert_at_rest();
}

#[test]
fn what_is_no_request_is_ended_without_an_answer() {
    let mut peers = Peers::new(StreamSettings::default());
    for garbage in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "\u{16}\u{3}\u{1}\n",
        &request("a", "").replace("OPTIONS sip:a@b SIP/2.0", "SIP/2.0 200 OK"),
    ] {
        let id = peers.accepted("192.0.2.7:4000");
        peers.bytes(id, garbage);
        assert_eq!(peers.written(id), "");
        assert!(peers.took_place().ends_with("malformed"), "{garbage}");
    }
    peers.assert_at_rest();
}

#[test]
fn what_came_before_the_malformed_part_of_a_segment_is_still_answered() {
    let mut peers = Peers::new(StreamSettings::default());
    let id = peers.accepted("192.0.2.9:4000");
    peers.bytes(id, [options(), options(), "no request\r\n\r\n".to_owned()].concat());
    assert_eq!(peers.messages.len(), 2, "both were whole");
    for _ in 0..2 {
        let sent = peers.send(Some(id), "192.0.2.9:4000", &response("192.0.2.9:4000"));
        assert_eq!(sent, Ok(id), "the answer goes back the way the request came");
    }
    assert_eq!(peers.written(id).matches("SIP/2.0 200").count(), 2);
    peers.bytes(id, options());
    assert_eq!(peers.messages.len(), 2, "nothing is read any more");
    assert!(peers.took_place().ends_with("Message(OPTIONS)"));
    peers.pass(2.0);
    assert_eq!(peers.took_place(), "finish 0.0");
    peers.pass(2.0);
    assert_eq!(peers.took_place(), "closed 0.0 malformed");
    peers.assert_at_rest();
}

#[test]
fn a_header_without_end_is_ended_at_the_limit() {
    let mut peers = Peers::new(StreamSettings::default());
    let id = peers.accepted("192.0.2.7:4000");
    let start = request("a.b", "").trim_end().to_owned() + "\r\n";
    peers.bytes(id, start);
    let mut most = 0;
    for _ in 0..100 {
        peers.bytes(id, "Subject: 0123456789\r\n".repeat(50));
        most = most.max(peers.connections.held_bytes());
    }
    assert!(peers.written(id).starts_with("SIP/2.0 513 "), "{}", peers.written(id));
    assert!(most < 80_000, "{most}");
    at_rest_in_the_end(&mut peers);
}

#[test]
fn one_byte_a_second_is_ended_while_others_are_served() {
    let mut peers = Peers::new(StreamSettings::default());
    let slow = peers.accepted("192.0.2.7:4000");
    let other = peers.accepted("192.0.2.8:4000");
    peers.bytes(slow, options());
    peers.took_place();
    let mut log = String::new();
    for byte in options().bytes().take(20) {
        peers.bytes(slow, [byte]);
        peers.bytes(other, options());
        peers.pass(1.0);
        log += &peers.took_place();
    }
    assert_eq!(log.matches("1.0 Message").count(), 20);
    assert_eq!(log.matches("closed 0.0 slow_message").count(), 1);
    assert_eq!(peers.count("closed_slow_message"), 1);
}

#[test]
fn each_message_has_the_whole_time_for_itself() {
    let mut peers = Peers::new(StreamSettings::default());
    let id = peers.accepted("192.0.2.7:4000");
    // Half a message more in each segment, so that one is always under way.
    let text = options();
    let (first, second) = text.split_at(100);
    peers.bytes(id, first);
    for _ in 0..10 {
        peers.pass(9.0);
        peers.bytes(id, format!("{second}{first}"));
    }
    assert_eq!(peers.count("messages_received"), 10);
    peers.pass(10.0);
    assert!(peers.took_place().ends_with("closed 0.0 slow_message"));
}

#[test]
fn who_says_nothing_is_ended_and_who_only_pings_too() {
    let mut peers = Peers::new(StreamSettings::default());
    let silent = peers.accepted("192.0.2.7:4000");
    let pinging = peers.accepted("192.0.2.7:4001");
    let talking = peers.accepted("192.0.2.7:4002");
    peers.bytes(talking, options());
    peers.took_place();
    peers.pass(9.0);
    peers.bytes(pinging, "\r\n\r\n");
    peers.pass(1.0);
    assert_eq!(peers.took_place(), "closed 0.0 silent, closed 1.0 silent");
    assert_eq!((peers.written(silent), peers.written(pinging)), (String::new(), "\r\n".to_owned()));
    peers.pass(3_000.0);
    peers.bytes(talking, "\r\n");
    peers.pass(3_000.0);
    assert_eq!(peers.took_place(), "", "a keep-alive keeps it alive");
    peers.pass(900.0);
    assert_eq!(peers.took_place(), "closed 2.0 idle");
    peers.assert_at_rest();
}

#[test]
fn a_ping_is_answered_with_a_pong_and_stray_line_ends_are_not() {
    let mut peers = Peers::new(StreamSettings::default());
    let id = peers.accepted("192.0.2.7:4000");
    peers.bytes(id, options());
    peers.bytes(id, "\r\n");
    assert_eq!(peers.written(id), "");
    peers.bytes(id, format!("{}\r\n\r\n", options()));
    assert_eq!(peers.written(id), "\r\n");
    for half in ["\r", "\n\r", "\n"] {
        peers.bytes(id, half);
    }
    assert_eq!(peers.written(id), "\r\n\r\n");
    peers.bytes(id, "\r\n\r\n".repeat(10_000));
    assert_eq!(peers.written(id), "\r\n\r\n\r\n", "many at once get one answer");
    peers.pass(60.0);
    assert_eq!(peers.took_place(), "0.0 Message(OPTIONS), 0.0 Message(OPTIONS)");
}

#[test]
fn ten_thousand_connections_of_one_source_take_its_share_and_no_more() {
    let mut peers = Peers::new(StreamSettings::default());
    let phone = peers.accepted("198.51.100.1:4000");
    peers.bytes(phone, options());
    let mut refused = 0;
    for port in 0..10_000 {
        match peers.accept(&format!("192.0.2.7:{}", 10_000 + port)) {
            Ok(id) => peers.bytes(id, "OPTIONS sip:a@b SIP/2.0\r\n"),
            Err(error) => {
                assert_eq!(error, Refused::TooManyFromSource);
                refused += 1;
            }
        }
    }
    assert_eq!((refused, peers.count("refused_source"), peers.connections.len()), (9_000, 9_000, 1_001));
    assert!(peers.connections.held_bytes() < 100_000);
    peers.accepted("192.0.2.8:4000");
    peers.bytes(phone, options());
    assert_eq!(peers.count("messages_received"), 2);
    peers.pass(20.0);
    assert_eq!(peers.connections.len(), 1);
    peers.accepted("192.0.2.7:10000");
}

#[test]
fn a_network_of_64_bits_is_one_source() {
    let settings = StreamSettings { connections_per_source_max: 2, ..StreamSettings::default() };
    let mut peers = Peers::new(settings);
    peers.accepted("[2001:db8::1]:1");
    peers.accepted("[2001:db8::ffff:2]:1");
    assert_eq!(peers.accept("[2001:db8::3]:1"), Err(Refused::TooManyFromSource));
    peers.accepted("[2001:db8:0:1::3]:1");
    peers.accepted("[::ffff:192.0.2.1]:1");
    peers.accepted("192.0.2.1:2");
    assert_eq!(peers.accept("192.0.2.1:3"), Err(Refused::TooManyFromSource));
}

#[test]
fn in_a_full_table_those_give_way_that_never_brought_a_message() {
    let settings = StreamSettings { connections_max: 3, ..StreamSettings::default() };
    let mut peers = Peers::new(settings);
    let phone = peers.accepted("192.0.2.1:1");
    peers.bytes(phone, options());
    peers.took_place();
    peers.accepted("192.0.2.2:1");
    peers.pass(1.0);
    let last = peers.accepted("192.0.2.3:1");
    let next = peers.accepted("192.0.2.4:1");
    assert_eq!(peers.took_place(), "closed 1.0 made_room");
    peers.bytes(last, options());
    peers.bytes(next, options());
    assert_eq!(peers.accept("192.0.2.5:1"), Err(Refused::TooMany));
    assert_eq!(peers.send(None, "192.0.2.6:5060", "x"), Err(SendError::TooManyConnections));
    assert_eq!(peers.count("refused_full"), 1);
    peers.send(Some(phone), "192.0.2.1:1", "still there").expect("it is open");
    assert_eq!(peers.written(phone), "still there");
}

#[test]
fn a_peer_that_stops_reading_is_ended_when_too_much_waits() {
    let mut peers = Peers::new(StreamSettings::default());
    let id = peers.accepted("192.0.2.7:4000");
    let other = peers.accepted("192.0.2.8:4000");
    peers.bytes(id, options());
    peers.bytes(other, options());
    peers.took_place();
    peers.stuck.insert(id);
    let message = options() + &"x".repeat(10_000);
    let mut sent = 0;
    let error = loop {
        match peers.send(Some(id), "192.0.2.7:4000", &message) {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
        peers.send(Some(other), "192.0.2.8:4000", &message).expect("this one reads");
        assert!(peers.connections.held_bytes() <= 256 * 1024 + 2 * message.len());
    };
    assert_eq!(error, SendError::NotReading);
    assert_eq!(sent, 256 * 1024 / message.len());
    assert_eq!(peers.took_place(), "closed 0.0 not_reading");
    assert_eq!((peers.count("closed_not_reading"), peers.count("messages_unsent")), (1, sent as u64));
    assert_eq!(peers.send(Some(id), "192.0.2.7:4000", &message), Err(SendError::Gone));
}

#[test]
fn a_peer_that_takes_nothing_for_a_while_is_ended() {
    let mut peers = Peers::new(StreamSettings::default());
    let id = peers.accepted("192.0.2.7:4000");
    peers.bytes(id, options());
    peers.took_place();
    peers.stuck.insert(id);
    peers.send(Some(id), "192.0.2.7:4000", "hello").expect("it is open");
    peers.pass(19.0);
    peers.connections.handle_written(peers.now, id, 2);
    peers.pass(19.0);
    assert_eq!(peers.took_place(), "");
    peers.pass(1.0);
    assert_eq!(peers.took_place(), "closed 0.0 not_reading");
    peers.assert_at_rest();
}

#[test]
fn when_memory_is_short_those_who_hold_the_most_are_ended() {
    let settings = StreamSettings { bytes_max: 100_000, ..StreamSettings::default() };
    let mut peers = Peers::new(settings);
    let phone = peers.accepted("198.51.100.1:4000");
    peers.bytes(phone, options());
    peers.bytes(phone, "OPTIONS sip:a@b");
    for host in 1..=20 {
        let id = peers.accepted(&format!("192.0.2.{host}:4000"));
        peers.bytes(id, format!("OPTIONS sip:a@b SIP/2.0\r\nSubject: {}", "x".repeat(10_000)));
        assert!(peers.connections.held_bytes() <= 100_000);
    }
    assert_eq!(peers.count("closed_out_of_memory"), 11);
    peers.bytes(phone, &options()["OPTIONS sip:a@b".len()..]);
    assert_eq!(peers.count("messages_received"), 2);
    at_rest_in_the_end(&mut peers);
}

#[test]
fn a_slot_is_used_again_under_another_name() {
    let mut peers = Peers::new(StreamSettings::default());
    let first = peers.accepted("192.0.2.7:4000");
    peers.bytes(first, options());
    peers.closed(first);
    let second = peers.accepted("192.0.2.8:4000");
    assert_eq!((first.slot, first.generation, second.slot, second.generation), (0, 0, 0, 1));
    peers.took_place();
    // Late words about the first do not touch the second.
    peers.bytes(first, options());
    peers.closed(first);
    peers.connected(first);
    peers.connect_failed(first);
    peers.connections.handle_written(peers.now, first, 5);
    assert_eq!(peers.send(Some(first), "192.0.2.7:4000", "x"), Err(SendError::Gone));
    assert_eq!(peers.took_place(), "");
    assert_eq!(peers.connections.flow(first), None);
    assert_eq!(peers.connections.flow(second).map(|flow| flow.remote), Some(address("192.0.2.8:4000")));
    let elsewhere = ConnectionId { shard: 9, ..second };
    assert_eq!(peers.send(Some(elsewhere), "192.0.2.8:4000", "x"), Err(SendError::Gone));
}

#[test]
fn messages_to_one_peer_share_one_connection_in_their_order() {
    let mut peers = Peers::new(StreamSettings::default());
    peers.piece = 2;
    let id = peers.send(None, "192.0.2.9:5060", "one ").expect("it is opened");
    assert_eq!(peers.send(None, "192.0.2.9:5060", "two "), Ok(id));
    assert_eq!((peers.took_place().as_str(), peers.written(id).as_str()), ("open 0.0 192.0.2.9:5060", ""));
    peers.connected(id);
    peers.send(Some(id), "192.0.2.9:5060", "three").expect("it is open");
    assert_eq!(peers.written(id), "one two three");
    peers.bytes(id, response("192.0.2.1"));
    assert_eq!(peers.took_place(), "0.0 Message(200 OK)");
    assert_eq!((peers.count("opened"), peers.count("reused"), peers.connections.held_bytes()), (1, 1, 0));
}

#[test]
fn a_request_goes_over_the_connection_that_its_peer_opened() {
    let mut peers = Peers::new(StreamSettings::default());
    let id = peers.accepted("192.0.2.7:4000");
    assert_eq!(peers.send(None, "192.0.2.7:4000", "x"), Ok(id));
    assert_ne!(peers.send(None, "192.0.2.7:4001", "x"), Ok(id));
    let other = peers.connections.find(Transport::Tcp, address("192.0.2.2:5060"), address("192.0.2.7:4000"));
    assert_eq!(other, None, "from another address of ours it is another flow");
    assert_eq!(peers.connections.find(Transport::Tls, address(LOCAL), address("192.0.2.7:4000")), None);
}

#[test]
fn a_destination_that_fails_is_left_alone_twice_as_long_each_time() {
    let settings = StreamSettings { back_off_max: Duration::from_secs(30), ..StreamSettings::default() };
    let mut peers = Peers::new(settings);
    let mut waits = Vec::new();
    for _ in 0..12 {
        let id = peers.send(None, "192.0.2.9:5060", "x").expect("it may be tried");
        peers.connect_failed(id);
        assert!(peers.took_place().ends_with("connect_failed"));
        let Err(SendError::BackingOff { until }) = peers.send(None, "192.0.2.9:5060", "x") else {
            panic!("it is left alone")
        };
        waits.push(until.since(peers.now).as_secs_f64());
        peers.now = until;
    }
    for (number, wait) in waits.iter().enumerate() {
        let whole = (0.5 * f64::from(1 << number)).min(30.0);
        assert!((whole / 2.0..=whole).contains(wait), "{number}: {wait}");
    }
    assert_eq!((peers.count("backed_off"), peers.count("closed_connect_failed")), (12, 12));
    // Once it works, the count begins anew.
    let id = peers.send(None, "192.0.2.9:5060", "x").expect("it may be tried");
    peers.connected(id);
    peers.bytes(id, response("192.0.2.1"));
    peers.closed(id);
    peers.send(None, "192.0.2.9:5060", "x").expect("it may be tried at once");
    peers.assert_backs_off_are_bounded();
}

impl Peers {
    /// Ten thousand destinations that fail do not fill the memory.
    fn assert_backs_off_are_bounded(&mut self) {
        for port in 1..10_000 {
            let id = self.send(None, &format!("192.0.2.10:{port}"), "x").expect("it may be tried");
            self.connect_failed(id);
        }
        assert_eq!(self.connections.back_off.len(), 1_024);
    }
}

#[test]
fn a_destination_that_takes_connections_and_drops_them_fails_too() {
    let mut peers = Peers::new(StreamSettings::default());
    let id = peers.send(None, "192.0.2.9:5060", "x").expect("it may be tried");
    peers.connected(id);
    peers.closed(id);
    assert!(matches!(peers.send(None, "192.0.2.9:5060", "x"), Err(SendError::BackingOff { .. })));
}

#[test]
fn a_connection_that_does_not_open_is_given_up() {
    let mut peers = Peers::new(StreamSettings::default());
    peers.send(None, "192.0.2.9:5060", "x").expect("it may be tried");
    peers.pass(5.0);
    assert_eq!(peers.took_place(), "open 0.0 192.0.2.9:5060, closed 0.0 connect_timed_out");
    assert_eq!(peers.count("messages_unsent"), 1);
    peers.assert_at_rest();
}

#[test]
fn a_response_whose_connection_is_gone_goes_to_the_port_of_sent_by() {
    let mut peers = Peers::new(StreamSettings::default());
    let id = peers.accepted("192.0.2.7:4000");
    peers.bytes(id, options());
    peers.closed(id);
    peers.took_place();
    // RFC 3261 §18.2.2: the host of sent-by is not believed, the address that the request came from is.
    let new = peers
        .send(Some(id), "192.0.2.7:4000", &response("203.0.113.5:5070"))
        .expect("a connection is opened");
    assert_eq!(peers.took_place(), "open 0.1 192.0.2.7:5070");
    let same = peers.send(Some(id), "192.0.2.7:4000", &response("203.0.113.5:5070"));
    assert_eq!(same, Ok(new));
    peers.send(Some(id), "192.0.2.7:4000", &response("a.b")).expect("a connection is opened");
    assert_eq!(peers.took_place(), "open 1.0 192.0.2.7:5060");
    assert_eq!(
        peers.send(Some(id), "192.0.2.7:4000", &options()),
        Err(SendError::Gone),
        "a request is not moved"
    );
}

#[test]
fn poll_timeout_names_what_is_waited_for() {
    let mut peers = Peers::new(StreamSettings::default());
    assert_eq!(peers.connections.poll_timeout(), None);
    let id = peers.accepted("192.0.2.7:4000");
    let at = Instant::from_millis(10_000);
    assert_eq!(peers.connections.poll_timeout(), Some((at, "stream first message")));
    peers.bytes(id, options());
    peers.pass(10.0);
    assert_eq!(peers.connections.poll_timeout(), Some((Instant::from_millis(3_900_000), "stream idle")));
}

/// What may happen to the table; the numbers pick a connection among those there ever were, or a peer.
#[derive(Clone, Debug)]
enum Step {
    Accept(u8),
    Bytes(u8, Vec<u8>),
    Send(Option<u8>, u8, u16),
    Connected(u8),
    ConnectFailed(u8),
    Closed(u8),
    Stop(u8),
    Stuck(u8),
    Writable(u8),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let text = prop_oneof![
        Just(options().into_bytes()),
        Just(options().into_bytes()[..70].to_vec()),
        Just(options().into_bytes()[70..].to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(request("a.b", "").into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    prop_oneof![
        any::<u8>().prop_map(Step::Accept),
        (any::<u8>(), text).prop_map(|(id, text)| Step::Bytes(id, text)),
        (any::<Option<u8>>(), any::<u8>(), any::<u16>())
            .prop_map(|(id, peer, size)| Step::Send(id, peer, size)),
        any::<u8>().prop_map(Step::Connected),
        any::<u8>().prop_map(Step::ConnectFailed),
        any::<u8>().prop_map(Step::Closed),
        any::<u8>().prop_map(Step::Stop),
        any::<u8>().prop_map(Step::Stuck),
        any::<u8>().prop_map(Step::Writable),
        any::<u16>().prop_map(Step::Pass),
    ]
}

/// Carries out one step; `known` are the connections that there ever were.
fn carry_out(peers: &mut Peers, known: &mut Vec<ConnectionId>, step: Step) {
    let pick = |number: u8, known: &[ConnectionId]| {
        (!known.is_empty()).then(|| known[usize::from(number) % known.len()])
    };
    let peer = |number: u8| format!("192.0.2.{}:{}", number % 3, 1 + number % 5);
    match step {
        Step::Accept(number) => known.extend(peers.accept(&peer(number))),
        Step::Send(number, to, size) => {
            let id = number.and_then(|number| pick(number, known));
            let text = response("a.b:3") + &"x".repeat(usize::from(size) / 8);
            known.extend(peers.send(id, &peer(to), &text));
        }
        Step::Pass(millis) => peers.pass(f64::from(millis) / 1000.0),
        Step::Bytes(number, _)
        | Step::Connected(number)
        | Step::ConnectFailed(number)
        | Step::Closed(number)
        | Step::Stop(number)
        | Step::Stuck(number)
        | Step::Writable(number) => {
            let Some(id) = pick(number, known) else { return };
            match step {
                Step::Bytes(_, text) => peers.bytes(id, text),
                Step::Connected(_) => peers.connected(id),
                Step::ConnectFailed(_) => peers.connect_failed(id),
                Step::Closed(_) => peers.closed(id),
                Step::Stop(_) => peers.connections.stop(peers.now, id),
                Step::Stuck(_) => {
                    peers.stuck.insert(id);
                }
                _ => {
                    peers.stuck.remove(&id);
                    peers.writable(id);
                }
            }
            peers.settle();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_a_stream_is_cut_the_messages_are_the_same(
        bodies in proptest::collection::vec((0_usize..300, 0_usize..3), 1..12),
        cuts in proptest::collection::vec(1_usize..400, 1..40),
    ) {
        let mut stream = String::new();
        let mut expected = Vec::new();
        for (length, line_ends) in bodies {
            stream += &"\r\n".repeat(line_ends);
            let message = request("a.b", &format!("l: {length}\r\n")) + &"\r\n0123456789".repeat(26)[..length];
            expected.push(message.clone());
            stream += &message;
        }
        let mut peers = Peers::new(StreamSettings::default());
        let id = peers.accepted("192.0.2.7:4000");
        let (mut rest, mut cuts) = (stream.as_bytes(), cuts.iter().cycle());
        while !rest.is_empty() {
            let cut = rest.len().min(*cuts.next().expect("it has no end"));
            peers.bytes(id, &rest[..cut]);
            rest = &rest[cut..];
        }
        prop_assert_eq!(&peers.messages, &expected);
        prop_assert_eq!(peers.connections.held_bytes(), 0);
    }

    #[test]
    fn whatever_happens_the_limits_hold_and_nothing_stays_behind(
        steps in proptest::collection::vec(step(), 1..120),
        piece in 1_usize..100,
    ) {
        let settings = StreamSettings { connections_max: 6, connections_per_source_max: 3, send_bytes_max: 10_000, bytes_max: 20_000, ..StreamSettings::default() };
        let mut peers = Peers::new(settings);
        peers.piece = piece;
        let mut known = Vec::new();
        for step in steps {
            carry_out(&mut peers, &mut known, step);
            prop_assert!(peers.connections.len() <= 6);
            prop_assert!(peers.connections.held_bytes() <= 20_000);
            let held: usize = known.iter().collect::<BTreeSet<_>>().into_iter()
                .filter_map(|id| peers.connections.slots.get(*id)).map(Connection::held_bytes).sum();
            prop_assert_eq!(peers.connections.held_bytes(), held);
            prop_assert!(peers.connections.deadlines.len() == peers.connections.len());
        }
        peers.pass(1_000_000.0);
        peers.assert_at_rest();
    }
}
