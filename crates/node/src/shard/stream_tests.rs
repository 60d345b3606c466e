//! Whole servers in this process, spoken to over TCP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use dialtone_roles::io::{Command, Event, Play};
use dialtone_roles::settings::{
    Account, AudioCodec, Domain, Foreign, Listener, Password, Secret, Settings, TransferSettings,
};
use dialtone_transport::stream::StreamSettings;
use dialtone_wire::net::Transport;
use dialtone_wire::uri::UriBuf;

use super::DumpPlace;
use crate::counters::Counters;
use crate::media::MediaSettings;
use crate::phone::{PhoneConfig, PhoneEvent};
use crate::running::{ENGINE_TURN, NodeParts, Running};
use crate::server::{Data, Server, ServerConfig};
use crate::users::Users;

/// A server that asks nobody for a password, on UDP and TCP.
fn server(shards: u16, streams: StreamSettings) -> (Running, SocketAddr, SocketAddr) {
    let listener = |transport| Listener {
        transport,
        address: "127.0.0.1:0".parse().expect("an address"),
        prefix_length: 8,
    };
    let running = Running::start(NodeParts {
        settings: Settings {
            shards,
            listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
            domains: vec![Domain { name: "sip.test".into(), ..Default::default() }],
            authenticate: false,
            foreign: Foreign::Open,
            ..Settings::new(Secret([7; 32]))
        },
        users: Users::default(),
        media: MediaSettings::default(),
        events: Arc::new(|_, _| {}),
        reports: Box::new(|_| {}),
        tap: None,
        dumps: DumpPlace::default(),
        streams,
        turn: ENGINE_TURN,
        journal: None,
    })
    .expect("a server");
    let address = |index: usize| running.settings().listeners[index].address;
    let (udp, tcp) = (address(0), address(1));
    (running, udp, tcp)
}

fn number(counters: &Counters, group: &str, name: &str) -> u64 {
    counters.number(group, name).expect("a counter")
}

/// One end of a TCP connection that speaks SIP.
struct Peer {
    reader: BufReader<TcpStream>,
}

impl Peer {
    fn connect(to: SocketAddr) -> Peer {
        Peer::new(TcpStream::connect(to).expect("somebody listens"))
    }

    fn new(stream: TcpStream) -> Peer {
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket has a time");
        Peer { reader: BufReader::new(stream) }
    }

    fn local(&self) -> SocketAddr {
        self.reader.get_ref().local_addr().expect("it is connected")
    }

    fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).expect("it takes it");
    }

    /// The next message, without its body.
    fn receive(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(
                self.reader.read_line(&mut head).expect("a message") > 0,
                "the connection ended: {head:?}"
            );
        }
        let length: usize = header(&head, "Content-Length").parse().expect("a length");
        self.reader.read_exact(&mut vec![0; length]).expect("its body");
        head
    }

    /// Everything up to the end of the connection.
    fn rest(&mut self) -> String {
        let mut all = Vec::new();
        // A reset is an end too.
        let _ = self.reader.read_to_end(&mut all);
        String::from_utf8(all).expect("text")
    }
}

/// A plain phone on UDP.
struct Phone {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Phone {
    fn new(server: SocketAddr) -> Phone {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port of the loopback");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket has a time");
        Phone { socket, server }
    }

    fn local(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is bound")
    }

    fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.server).expect("a datagram can be sent");
    }

    fn receive(&self) -> String {
        let mut room = [0; 65_536];
        let length = self.socket.recv(&mut room).expect("a message");
        String::from_utf8(room[..length].to_vec()).expect("text")
    }

    /// The first message that is not a provisional response.
    fn receive_final(&self) -> String {
        loop {
            let text = self.receive();
            if !text.starts_with("SIP/2.0 1") {
                return text;
            }
        }
    }
}

/// The value of the first header of this name.
fn header<'a>(message: &'a str, name: &str) -> &'a str {
    headers(message, name).next().unwrap_or_else(|| panic!("no {name} in {message}"))
}

fn headers<'a>(message: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    message.split("\r\n").filter_map(move |line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// A request of one who is at `own`; what is the same in all of a call is fixed.
fn request(start: &str, transport: &str, own: SocketAddr, call_id: &str, more: &str) -> String {
    let method = start.split(' ').next().unwrap_or_default();
    format!(
        "{start} SIP/2.0\r\nVia: SIP/2.0/{transport} {own};branch=z9hG4bK{call_id}{method};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{own}>;tag=f\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n\
         Content-Length: 0\r\n{more}\r\n"
    )
}

fn options(own: SocketAddr, call_id: &str) -> String {
    request("OPTIONS sip:sip.test", "TCP", own, call_id, "To: <sip:sip.test>\r\n")
}

/// A 200 to a request.
fn ok(request: &str, contact: &str) -> String {
    let mut out = String::from("SIP/2.0 200 OK\r\n");
    for line in request.split("\r\n") {
        let copied = ["Via:", "From:", "Call-ID:", "CSeq:", "Record-Route:"];
        if copied.iter().any(|name| line.starts_with(name)) {
            out += &format!("{line}\r\n");
        } else if line.starts_with("To:") {
            out += &format!("{line}{}\r\n", if line.contains(";tag=") { "" } else { ";tag=t" });
        }
    }
    out + &format!("Contact: {contact}\r\nContent-Length: 0\r\n\r\n")
}

#[test]
fn every_request_is_answered_on_its_connection_whatever_shard_it_belongs_to() {
    for shards in [1, 3] {
        let (server, _, tcp) = server(shards, StreamSettings::default());
        let mut peers: Vec<Peer> = (0..8).map(|_| Peer::connect(tcp)).collect();
        for (number, peer) in peers.iter_mut().enumerate() {
            let own = peer.local();
            let all: String = (0..20).map(|call| options(own, &format!("{number}-{call}"))).collect();
            peer.send(&all);
        }
        for (number, peer) in peers.iter_mut().enumerate() {
            let mut answered: Vec<String> = (0..20)
                .map(|_| {
                    let answer = peer.receive();
                    assert!(answer.starts_with("SIP/2.0 200 OK\r\n"), "{answer}");
                    header(&answer, "Call-ID").to_owned()
                })
                .collect();
            let mut asked: Vec<String> = (0..20).map(|call| format!("{number}-{call}")).collect();
            answered.sort();
            asked.sort();
            assert_eq!(answered, asked);
        }
        let counters = server.counters();
        assert_eq!(number(&counters, "tables", "connections"), 8);
        assert_eq!(number(&counters, "sockets", "stream_messages"), 160);
        let hand_offs = number(&counters, "sockets", "hand_offs");
        assert_eq!(hand_offs > 0, shards > 1, "{hand_offs}");
        drop(peers);
        let counters = server.stop();
        assert_eq!(number(&counters, "streams", "accepted"), 8);
        assert_eq!(number(&counters, "streams", "messages_unsent"), 0);
    }
}

#[test]
fn a_phone_on_tcp_is_called_from_udp_over_the_connection_that_it_opened() {
    for shards in [1, 4] {
        let (server, udp, tcp) = server(shards, StreamSettings::default());
        let mut bob = Peer::connect(tcp);
        let own = bob.local();
        // Where its contact says, nobody listens: what reaches it came over its connection.
        let contact = format!("<sip:bob@{own};transport=tcp>");
        let more = format!("To: <sip:bob@sip.test>\r\nContact: {contact}\r\n");
        bob.send(&request("REGISTER sip:sip.test", "TCP", own, "reg", &more));
        assert!(bob.receive().starts_with("SIP/2.0 200 OK\r\n"));

        let alice = Phone::new(udp);
        let at = alice.local();
        let invite = format!("To: <sip:bob@sip.test>\r\nContact: <sip:alice@{at}>\r\n");
        alice.send(&request("INVITE sip:bob@sip.test", "UDP", at, "call", &invite));
        let got = bob.receive();
        assert!(got.starts_with("INVITE sip:bob@"), "{got}");
        assert!(header(&got, "Via").starts_with(&format!("SIP/2.0/TCP {tcp};")), "{got}");
        // RFC 5658 §3: two transports, two Record-Routes, the side of the callee on top; it names its connection.
        let routes: Vec<&str> = headers(&got, "Record-Route").collect();
        assert_eq!(routes.len(), 2, "{got}");
        assert!(routes[0].contains(&format!("@{tcp};transport=tcp;lr")), "{got}");
        assert!(routes[1].starts_with(&format!("<sip:{udp};lr")), "{got}");
        bob.send(&ok(&got, &contact));
        let answer = alice.receive_final();
        assert!(answer.starts_with("SIP/2.0 200 OK\r\n"), "{answer}");

        let to = format!("To: <sip:bob@sip.test>;tag=t\r\nRoute: {}\r\nRoute: {}\r\n", routes[1], routes[0]);
        // Nobody listens where this contact says.
        alice.send(&request("ACK sip:bob@127.0.0.1:9;transport=tcp", "UDP", at, "call", &to));
        let ack = bob.receive();
        assert!(ack.starts_with("ACK ") && headers(&ack, "Route").count() == 0, "{ack}");

        let to = format!("To: <sip:x>;tag=f\r\nRoute: {}\r\nRoute: {}\r\n", routes[0], routes[1]);
        bob.send(&request(&format!("BYE sip:alice@{at}"), "TCP", own, "call", &to));
        let bye = alice.receive();
        assert!(bye.starts_with("BYE sip:alice@"), "{bye}");
        assert!(header(&bye, "Via").starts_with(&format!("SIP/2.0/UDP {udp};")), "{bye}");
        alice.send(&ok(&bye, &format!("<sip:alice@{at}>")));
        assert!(bob.receive().starts_with("SIP/2.0 200 OK\r\n"));
        let counters = server.stop();
        assert_eq!(number(&counters, "streams", "opened"), 0, "the one connection did it all");
    }
}

#[test]
fn a_phone_whose_connection_is_gone_is_not_waited_for() {
    let (server, udp, tcp) = server(2, StreamSettings::default());
    let mut bob = Peer::connect(tcp);
    let own = bob.local();
    let more = format!("To: <sip:bob@sip.test>\r\nContact: <sip:bob@{own};transport=tcp>\r\n");
    bob.send(&request("REGISTER sip:sip.test", "TCP", own, "reg", &more));
    bob.receive();
    let alice = Phone::new(udp);
    let invite = format!("To: <sip:bob@sip.test>\r\nContact: <sip:alice@{}>\r\n", alice.local());
    alice.send(&request("INVITE sip:bob@sip.test", "UDP", alice.local(), "first", &invite));
    assert!(bob.receive().starts_with("INVITE "));
    // The INVITE was taken, and the connection is lost before its answer.
    drop(bob);
    let answer = alice.receive_final();
    assert!(answer.starts_with("SIP/2.0 50") || answer.starts_with("SIP/2.0 480"), "{answer}");
    alice.send(&request("INVITE sip:bob@sip.test", "UDP", alice.local(), "second", &invite));
    // The answer to the first is perhaps sent again meanwhile.
    let answer = loop {
        let answer = alice.receive_final();
        if header(&answer, "Call-ID") == "second" {
            break answer;
        }
    };
    assert!(answer.starts_with("SIP/2.0 50") || answer.starts_with("SIP/2.0 480"), "{answer}");
    server.stop();
}

#[test]
fn a_connection_is_opened_to_who_asks_for_tcp_and_used_again() {
    let (server, udp, _) = server(1, StreamSettings::default());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback");
    let there = listener.local_addr().expect("it is bound");
    let alice = Phone::new(udp);
    let mut accepted: Option<Peer> = None;
    for call_id in ["one", "two"] {
        let to = format!("To: <sip:x@{there}>\r\n");
        let start = format!("OPTIONS sip:x@{there};transport=tcp");
        alice.send(&request(&start, "UDP", alice.local(), call_id, &to));
        let peer = accepted.get_or_insert_with(|| Peer::new(listener.accept().expect("the server").0));
        let got = peer.receive();
        assert!(got.starts_with(&start), "{got}");
        peer.send(&ok(&got, "<sip:x>"));
        assert!(alice.receive_final().starts_with("SIP/2.0 200 OK\r\n"));
    }
    let counters = server.stop();
    assert_eq!(number(&counters, "streams", "opened"), 1);
    assert_eq!(number(&counters, "streams", "reused"), 1);
}

#[test]
fn a_request_to_a_port_that_nobody_listens_on_is_answered_at_once() {
    let streams = StreamSettings {
        back_off_first: Duration::from_secs(60),
        back_off_max: Duration::from_secs(60),
        ..StreamSettings::default()
    };
    let (server, udp, _) = server(1, streams);
    // An address of its own, whose ports no other test is given.
    let gone = TcpListener::bind("127.0.0.77:0").expect("a port").local_addr().expect("it is bound");
    let alice = Phone::new(udp);
    for call_id in ["one", "two"] {
        let to = format!("To: <sip:x@{gone}>\r\n");
        alice.send(&request(
            &format!("OPTIONS sip:x@{gone};transport=tcp"),
            "UDP",
            alice.local(),
            call_id,
            &to,
        ));
        let answer = alice.receive_final();
        assert!(answer.starts_with("SIP/2.0 50"), "{answer}");
    }
    let counters = server.stop();
    assert_eq!(number(&counters, "streams", "closed_connect_failed"), 1);
    assert_eq!(number(&counters, "streams", "backed_off"), 1);
}

#[test]
fn bad_peers_are_ended_and_counted_while_the_others_are_served() {
    let streams = StreamSettings {
        connections_per_source_max: 40,
        first_message_time: Duration::from_secs(2),
        message_time: Duration::from_millis(200),
        ..StreamSettings::default()
    };
    let (server, _, tcp) = server(1, streams);
    let mut good = Peer::connect(tcp);
    let own = good.local();
    let mut served = 0;
    let mut serve = || {
        served += 1;
        good.send(&options(own, &format!("good-{served}")));
        assert!(good.receive().starts_with("SIP/2.0 200 OK\r\n"));
    };
    serve();
    let mut huge = Peer::connect(tcp);
    let announced = options(huge.local(), "huge").replace("Content-Length: 0", "Content-Length: 1073741824");
    huge.send(&announced);
    assert!(huge.rest().starts_with("SIP/2.0 513 "), "it is answered and ended");
    serve();
    let mut endless = Peer::connect(tcp);
    endless.send(&options(endless.local(), "endless").replace("Content-Length: 0\r\n", ""));
    assert!(endless.rest().starts_with("SIP/2.0 400 "), "it is answered and ended");
    serve();
    let mut slow = Peer::connect(tcp);
    slow.send(&(options(slow.local(), "slow") + "O"));
    assert!(slow.rest().starts_with("SIP/2.0 200 "), "the first message is answered, the second never ends");
    serve();
    let mut silent: Vec<Peer> = (0..100).map(|_| Peer::connect(tcp)).collect();
    serve();
    assert!(silent.iter_mut().all(|peer| peer.rest().is_empty()), "all are ended, soon or at once");
    serve();
    let counters = server.stop();
    assert_eq!(number(&counters, "streams", "framing_answered"), 2);
    assert_eq!(number(&counters, "streams", "closed_malformed"), 2);
    assert_eq!(number(&counters, "streams", "closed_slow_message"), 1);
    let refused = number(&counters, "streams", "refused_source");
    assert_eq!(refused + number(&counters, "streams", "closed_silent"), 100);
    assert!(refused > 0);
    assert_eq!(number(&counters, "sockets", "panics"), 0);
}

/// Waits for an event of a phone.
fn wait_for<T>(phone: &crate::Phone, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> T {
    loop {
        match phone.next(Duration::from_secs(10)) {
            Some(PhoneEvent::Signalling(event)) => {
                if let Some(found) = pick(event) {
                    return found;
                }
            }
            Some(_) => {}
            None => panic!("no {what} within ten seconds"),
        }
    }
}

#[test]
fn phones_of_ours_register_with_passwords_and_call_each_other_over_tcp() {
    let listen = ["udp:127.0.0.1:0", "tcp:127.0.0.1:0"].map(|text| text.parse().expect("an address"));
    let server = Server::start(ServerConfig {
        domains: vec!["sip.test".into()],
        listen: listen.to_vec(),
        shards: Some(2),
        ..ServerConfig::new(Data::Memory)
    })
    .expect("a server");
    let start = |name: &str, transport: &str, listener: usize| {
        let user = server.new_users().iter().find(|user| user.name == name).expect("a first user");
        let proxy = format!("sip:{};lr{transport}", server.listeners()[listener].address);
        let phone = crate::Phone::start(PhoneConfig {
            account: Account {
                aor: UriBuf::parse(&format!("sip:{name}@sip.test")).expect("a URI"),
                display_name: None,
                auth_user: name.into(),
                password: Password(user.password.clone()),
                proxy: Some(UriBuf::parse(&proxy).expect("a URI")),
                backup_proxy: None,
                realms: Vec::new(),
                expires_s: 600,
            },
            ip: "127.0.0.1".parse().expect("an address"),
            port: 0,
            codecs: AudioCodec::ALL.to_vec(),
            video: false,
            transfer: TransferSettings::default(),
            media: MediaSettings::default(),
            tap: None,
        })
        .expect("a phone");
        phone.command(Command::Register).expect("it has nothing to do");
        wait_for(&phone, "registration", |event| matches!(event, Event::Registered { .. }).then_some(()));
        phone
    };
    let alice = start("alice", ";transport=tcp", 1);
    let bob = start("bob", ";transport=tcp", 1);
    let to = UriBuf::parse("sip:bob@sip.test").expect("a URI");
    alice.command(Command::Call { token: 1, to, play: Play::Silence }).expect("it has nothing to do");
    let call = wait_for(&bob, "call", |event| match event {
        Event::Incoming { call, .. } => Some(call),
        _ => None,
    });
    bob.command(Command::Answer { call, play: Play::Silence }).expect("it has nothing to do");
    for phone in [&alice, &bob] {
        wait_for(phone, "answer", |event| matches!(event, Event::Answered { .. }).then_some(()));
    }
    bob.command(Command::Hangup { call }).expect("it has nothing to do");
    for phone in [&alice, &bob] {
        wait_for(phone, "end", |event| matches!(event, Event::Ended { .. }).then_some(()));
    }
    let (alice, bob) = (alice.stop(), bob.stop());
    assert_eq!(number(&alice, "streams", "opened"), 1);
    assert_eq!(number(&bob, "streams", "opened"), 1);
    let counters = server.stop();
    assert_eq!(number(&counters, "sockets", "datagrams"), 0, "nothing went over UDP");
    assert_eq!(number(&counters, "streams", "accepted"), 2);
    // Within the dialog requests go to the Contacts, where the phones listen (RFC 3261 §12.2.1.1).
    assert!(number(&counters, "streams", "opened") <= 2);
}
