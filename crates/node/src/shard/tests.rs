//! Whole servers in this process, spoken to with plain sockets.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use dialtone_roles::io::Input;
use dialtone_roles::settings::{Domain, Listener, Secret, Settings};
use dialtone_transport::stream::StreamSettings;
use dialtone_wire::net::Transport;

use super::DumpPlace;
use crate::counters::Counters;
use crate::listen::ListenAddress;
use crate::media::MediaSettings;
use crate::running::{ENGINE_TURN, NodeParts, Running, StartError};
use crate::server::{Data, Server, ServerConfig};
use crate::store::StoreError;
use crate::users::Users;

/// A plain SIP client.
struct Client {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Client {
    fn new(server: SocketAddr) -> Client {
        let socket = UdpSocket::bind((server.ip(), 0)).expect("a port of the loopback");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket has a time");
        Client { socket, server }
    }

    fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).expect("a datagram can be sent");
    }

    fn options(&self, call_id: &str, more: &str) {
        let own = self.socket.local_addr().expect("it is bound");
        let text = format!(
            "OPTIONS sip:{} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{call_id};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:c@{own}>;tag=1\r\nTo: <sip:{}>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n{more}\
             Content-Length: 0\r\n\r\n",
            self.server, self.server
        );
        self.send(text.as_bytes());
    }

    /// REGISTER of a user; gives the whole answer.
    fn register(&self, user: u32, lives: u32, contact: &str) -> String {
        let own = self.socket.local_addr().expect("it is bound");
        let text = format!(
            "REGISTER sip:sip.test SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{user}-{lives};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:u{user}@sip.test>;tag=1\r\nTo: <sip:u{user}@sip.test>\r\n\
             Call-ID: reg-{user}\r\nCSeq: {lives} REGISTER\r\n{contact}Content-Length: 0\r\n\r\n"
        );
        self.send(text.as_bytes());
        let mut room = [0; 65_536];
        let (length, _) = self.socket.recv_from(&mut room).expect("a response");
        String::from_utf8_lossy(&room[..length]).into_owned()
    }

    /// The first line of the next response, and its Call-ID.
    fn receive(&self) -> (String, String) {
        let mut room = [0; 65_536];
        let (length, from) = self.socket.recv_from(&mut room).expect("a response");
        assert_eq!(from, self.server, "the answer comes from where it was asked");
        let text = String::from_utf8_lossy(&room[..length]).into_owned();
        let call_id = text.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap_or_default();
        (text.lines().next().unwrap_or_default().to_owned(), call_id.to_owned())
    }
}

fn config(data: Data, listen: &str, shards: u16) -> ServerConfig {
    let listen: ListenAddress = listen.parse().expect("an address");
    ServerConfig {
        domains: vec!["sip.test".into()],
        listen: vec![listen],
        shards: Some(shards),
        ..ServerConfig::new(data)
    }
}

fn loopback(shards: u16) -> Server {
    Server::start(config(Data::Memory, "udp:127.0.0.1:0", shards)).expect("a server")
}

fn count(counters: &Counters, name: &str) -> u64 {
    counters.number("sockets", name).expect("a counter of the shard")
}

#[test]
fn every_request_is_answered_whatever_shard_it_belongs_to() {
    for listen in ["udp:127.0.0.1:0", "udp:[::1]:0"] {
        let server = Server::start(config(Data::Memory, listen, 2)).expect("a server");
        let client = Client::new(server.listeners()[0].address);
        let mut asked: Vec<String> = (0..64).map(|number| format!("call-{number}")).collect();
        asked.iter().for_each(|call_id| client.options(call_id, ""));
        let mut answered: Vec<String> = asked.iter().map(|_| client.receive().1).collect();
        asked.sort();
        answered.sort();
        assert_eq!(asked, answered);
        let counters = server.stop();
        assert_eq!(count(&counters, "datagrams"), 64);
        assert_eq!(count(&counters, "sent"), 64);
        // One client fills one socket, and about half of its calls belong to the other shard.
        assert!((8..=56).contains(&count(&counters, "hand_offs")), "{counters:?}");
        assert_eq!(count(&counters, "hand_offs_refused"), 0);
    }
}

#[test]
fn keep_alives_and_stun_are_passed_over_and_garbage_does_no_harm() {
    let server = loopback(1);
    let client = Client::new(server.listeners()[0].address);
    let mut stun = [0; 20];
    stun[1] = 1;
    for bytes in [&b"\r\n\r\n"[..], b"", b"\0", &stun, b"garbage", b"INVITE\r\n\r\n"] {
        client.send(bytes);
    }
    client.options("after", "");
    assert_eq!(client.receive().1, "after", "nothing else was answered");
    let counters = server.stop();
    assert_eq!(count(&counters, "keep_alives"), 3);
    assert_eq!(count(&counters, "not_sip"), 1);
    assert_eq!(counters.number("engine", "packets"), Some(3), "the engine sees nothing else");
}

#[test]
fn a_phone_is_told_over_stun_that_its_flow_is_alive() {
    let server = loopback(1);
    let phone = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    phone.set_read_timeout(Some(std::time::Duration::from_secs(10))).expect("a time-out");
    let request = b"\x00\x01\x00\x00\x21\x12\xa4\x42twelve bytes";
    phone.send_to(request, server.listeners()[0].address).expect("sent");
    let mut answer = [0; 64];
    let (length, from) = phone.recv_from(&mut answer).expect("an answer");
    assert_eq!(from, server.listeners()[0].address);
    assert_eq!((length, &answer[..2], &answer[4..20]), (32, &[1, 1][..], &request[4..]));
    let port = u16::from_be_bytes([answer[26] ^ 0x21, answer[27] ^ 0x12]);
    assert_eq!(port, phone.local_addr().expect("bound").port());
    assert_eq!(count(&server.stop(), "stun_keep_alives"), 1);
}

#[test]
fn counters_of_a_running_server_can_be_asked_for() {
    let server = loopback(2);
    let client = Client::new(server.listeners()[0].address);
    client.options("one", "");
    client.receive();
    assert_eq!(count(&server.counters(), "datagrams"), 1);
    server.stop();
}

#[test]
fn a_user_that_is_added_is_known_at_once() {
    let mut server = loopback(2);
    assert_eq!(server.user_names(), ["alice", "bob"]);
    server.put_user("carol", "secret").expect("the store takes her");
    assert_eq!(server.user_names(), ["alice", "bob", "carol"]);
    server.stop();
}

#[test]
fn a_port_in_use_is_refused_also_with_shards_that_share_it() {
    let server = loopback(2);
    let address = server.listeners()[0].address;
    for shards in [1, 2] {
        let error =
            Server::start(config(Data::Memory, &format!("udp:{address}"), shards)).expect_err("in use");
        assert!(matches!(error, StartError::Bind { address: found, .. } if found == address), "{error}");
        assert!(error.to_string().contains("another program has the port"), "{error}");
    }
    server.stop();
}

#[test]
fn a_public_address_is_refused_and_an_open_server_stays_private() {
    let error = Server::start(config(Data::Memory, "udp:192.0.2.1:0", 1)).expect_err("it is public");
    assert!(error.to_string().contains("--public"), "{error}");
    let open = ServerConfig { public: true, open: true, ..config(Data::Memory, "udp:192.0.2.1:0", 1) };
    assert!(matches!(Server::start(open), Err(StartError::Config(_))));
    assert!(matches!(
        Server::start(config(Data::Memory, "udp:127.0.0.1:0", 0)),
        Err(StartError::Shards { asked: 0, .. })
    ));
}

#[test]
fn two_servers_never_share_a_folder_and_passwords_are_shown_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = Data::Folder(folder.path().join("data"));
    let start = || Server::start(config(data.clone(), "udp:127.0.0.1:0", 1));
    let first = start().expect("a server");
    assert_eq!(first.new_users().len(), 2);
    assert!(!format!("{:?}", first.new_users()).contains(first.new_users()[0].password.as_str()));
    let error = start().expect_err("the folder is in use");
    assert!(matches!(error, StartError::Store(StoreError::Locked(_))), "{error}");
    first.stop();
    let second = start().expect("the folder is free");
    assert!(second.new_users().is_empty());
    assert_eq!(second.user_names(), ["alice", "bob"]);
    second.stop();
}

#[test]
fn registrations_outlive_the_process_whatever_shard_owns_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = Data::Folder(folder.path().join("data"));
    let start = |shards, journal| {
        let config = config(data.clone(), "udp:127.0.0.1:0", shards);
        let file = folder.path().join("dialtone.toml");
        std::fs::write(&file, format!("[store]\njournal = {journal}\n")).expect("a file");
        Server::start(ServerConfig { open: true, file: Some(file), ..config }).expect("a server")
    };
    let register = |server: &Server, lives: u32, contact: &str| {
        let client = Client::new(server.listeners()[0].address);
        (0..20).map(|user| client.register(user, lives, contact)).collect::<Vec<String>>()
    };
    let first = start(2, true);
    let contact = "Contact: <sip:x@127.0.0.1:9>;expires=600\r\n";
    assert!(register(&first, 1, contact).iter().all(|answer| answer.starts_with("SIP/2.0 200")));
    let counters = first.stop();
    assert_eq!(counters.number("store", "journalled"), Some(20));
    let second = start(3, true);
    for answer in register(&second, 2, "") {
        assert!(answer.contains("\r\nContact: <sip:x@127.0.0.1:9>;expires="), "{answer}");
    }
    assert_eq!(second.stop().number("store", "restored"), Some(20));
    let third = start(1, false);
    assert!(register(&third, 3, "").iter().all(|answer| !answer.contains("Contact:")), "it forgets");
    assert_eq!(third.stop().number("store", "restored"), None);
}

/// The loop of the engine with a bug: it panics at messages that hold this header.
const TRAP: &str = "X-Trap: 1\r\n";

fn trapped(dumps: DumpPlace) -> Running {
    let listener = Listener {
        transport: Transport::Udp,
        address: "127.0.0.1:0".parse().expect("an address"),
        prefix_length: 8,
    };
    let domain = Domain { name: "sip.test".into(), ..Default::default() };
    Running::start(NodeParts {
        journal: None,
        settings: Settings {
            listeners: vec![listener],
            domains: vec![domain],
            ..Settings::new(Secret([7; 32]))
        },
        users: Users::default(),
        media: MediaSettings::default(),
        events: Arc::new(|_, _| {}),
        reports: Box::new(|_| {}),
        tap: None,
        dumps,
        streams: StreamSettings::default(),
        turn: |engine, now, input, outputs| {
            if let Input::Packet { bytes, .. } = &input {
                assert!(!bytes.windows(TRAP.len()).any(|window| window == TRAP.as_bytes()), "the bug");
            }
            ENGINE_TURN(engine, now, input, outputs)
        },
    })
    .expect("a server")
}

#[test]
fn a_panic_is_survived_written_down_and_not_repeated_by_the_same_packet() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = trapped(DumpPlace(Some(folder.path().to_path_buf())));
    let client = Client::new(server.settings().listeners[0].address);
    client.options("before", "");
    assert_eq!(client.receive().1, "before");
    for _ in 0..3 {
        client.options("trap", TRAP);
    }
    client.options("after", "");
    assert_eq!(client.receive(), ("SIP/2.0 200 OK".to_owned(), "after".to_owned()));
    let counters = server.stop();
    assert_eq!(count(&counters, "panics"), 1);
    assert_eq!(count(&counters, "poison_kept_out"), 2);
    assert_eq!(counters.number("engine", "packets"), Some(2), "of the engine before and the one after");
    assert_eq!(counters.number("media", "stale_commands"), Some(0));
    let files: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").collect();
    assert_eq!(files.len(), 1);
}
