//! The torture messages at the running server, as they are and spoilt, while calls are up: it answers as the RFC asks
//! or drops with a counter, and the calls lose nothing.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Client;
use crate::lab::{ADDRESS, Lab, lab};
use crate::process::Process;
use crate::serve::{DOMAIN, Server, User, tcp};
use crate::sipp::sipp;

/// Calls that are up all the time.
const CALLS: usize = 100;
/// Spoilt messages, each sent over UDP and over TCP.
const SPOILT: u64 = 10_000;
/// Chooses what is spoilt.
const SEED: u64 = 4475;
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the answer to one message may take.
const MOMENT: Duration = Duration::from_millis(250);
/// What the server may take for all of it: calls, connections, refusals that are repeated.
const RESIDENT_BYTES_MAX: u64 = 128 << 20;

/// What becomes of a message: the status of the answer, or none. Each agrees with what the RFC says of the message;
/// where it allows several answers, the table of docs/torture.md says why it is this one.
#[rustfmt::skip]
const VERDICTS: &[(&str, Answer, Answer)] = &[
    ("badaspec.dat", 400, 400),
    ("badbranch.dat", 407, 407),
    ("baddate.dat", 407, 407),
    ("baddn.dat", 400, 0),
    ("badinv01.dat", 400, 400),
    ("badvers.dat", 505, 505),
    ("bcast.dat", 0, 0),
    ("bext01.dat", 420, 420),
    ("bigcode.dat", 0, 0),
    ("clerr.dat", 400, 0),
    ("cparam01.dat", 401, 401),
    ("cparam02.dat", 401, 401),
    ("dblreq.dat", 401, 401),
    ("esc01.dat", 407, 407),
    ("esc02.dat", 501, 501),
    ("escnull.dat", 401, 401),
    ("escruri.dat", 400, 400),
    ("insuf.dat", 400, 400),
    ("intmeth.dat", 407, 407),
    ("inv2543.dat", 407, 400),
    ("invut.dat", 407, 407),
    ("ipv4-mapped-ipv6.dat", 407, 407),
    ("ipv6-bad.dat", 400, 400),
    ("ipv6-bug-abnf-3-colons.dat", 403, 403),
    ("ipv6-correct-abnf-2-colons.dat", 403, 403),
    ("ipv6-good.dat", 401, 401),
    ("ipv6-in-sdp.dat", 407, 407),
    ("longreq.dat", 407, 407),
    ("ltgtruri.dat", 400, 400),
    ("lwsdisp.dat", 407, 407),
    ("lwsruri.dat", 400, 400),
    ("lwsstart.dat", 400, 400),
    ("mcl01.dat", 400, 400),
    ("mismatch01.dat", 400, 400),
    ("mismatch02.dat", 501, 501),
    ("mpart01.dat", 403, 403),
    ("mult-ip-in-header.dat", 407, 407),
    ("mult-ip-in-sdp.dat", 407, 407),
    ("multi01.dat", 400, 400),
    ("ncl.dat", 400, 400),
    ("noreason.dat", 0, 0),
    ("novelsc.dat", 416, 416),
    ("port-ambiguous.dat", 404, 404),
    ("port-unambiguous.dat", 401, 401),
    ("quotbal.dat", 400, 400),
    ("regaut01.dat", 401, 401),
    ("regbadct.dat", 400, 400),
    ("regescrt.dat", 401, 401),
    ("scalar02.dat", 400, 400),
    ("scalarlg.dat", 0, 0),
    ("sdp01.dat", 407, 407),
    ("semiuri.dat", 407, 407),
    ("transports.dat", 407, 407),
    ("trws.dat", 400, 400),
    ("unkscm.dat", 416, 416),
    ("unksm2.dat", 400, 400),
    ("unreason.dat", 0, 0),
    ("via-received-param-no-delim.dat", 200, 200),
    ("via-received-param-with-delim.dat", 481, 481),
    ("wsinv.dat", 403, 403),
    ("zeromf.dat", 200, 200),
];

/// The status of an answer; zero for none.
type Answer = u16;

#[test]
fn the_torture_messages_get_their_answers_while_a_hundred_calls_are_up() {
    lab(|lab| {
        let mut server = Server::start_with(lab, &["--listen", &tcp(), "--config", &config(lab)]);
        let calls = Calls::start(lab, &server);
        let mut over_udp = OverUdp::new(&server);
        let mut came = BTreeMap::new();
        for (name, bytes) in messages() {
            came.insert(name, (over_udp.answer(&bytes), over_tcp(&server, &bytes)));
        }
        let expected: BTreeMap<String, (Answer, Answer)> =
            VERDICTS.iter().map(|(name, udp, tcp)| ((*name).to_owned(), (*udp, *tcp))).collect();
        assert_eq!(came, expected);
        calls.end(&server);
        let counters = server.stop();
        for name in ["malformed", "garbage", "stray_responses"] {
            assert!(count(&counters, name) > 0, "`{name}` in {counters}");
        }
    });
}

#[test]
fn ten_thousand_spoilt_torture_messages_harm_no_call() {
    lab(|lab| {
        let mut server = Server::start_with(lab, &["--listen", &tcp(), "--config", &config(lab)]);
        let calls = Calls::start(lab, &server);
        let (mut probe, messages) = (Client::new(server.address), messages());
        let over_udp = OverUdp::new(&server);
        let mut random = Random(SEED);
        for number in 0..SPOILT {
            let (_, bytes) = &messages[random.below(messages.len())];
            let spoilt = random.spoil(bytes);
            over_udp.send(&spoilt);
            let mut stream = TcpStream::connect(server.address).expect("the server accepts");
            // A server that has seen enough may close while we still write.
            let _ = stream.write_all(&spoilt).and_then(|()| stream.shutdown(Shutdown::Write));
            if number % 100 == 0 {
                assert!(probe.is_answered(), "after {number} spoilt messages");
            }
        }
        assert_eq!(calls.ended(), 0, "no call has ended before it was told to");
        let resident = server.resident_bytes();
        assert!(resident < RESIDENT_BYTES_MAX, "{resident} bytes");
        calls.end(&server);
        assert!(probe.is_answered());
        let counters = server.stop();
        // Whatever came in was answered or counted; some datagrams are lost in the socket's buffer.
        assert!(count(&counters, "packets") > SPOILT, "{counters}");
        assert!(count(&counters, "malformed") > SPOILT / 4, "{counters}");
        assert!(count(&counters, "garbage") > 0, "{counters}");
    });
}

/// Settings under which the domains of the messages are ours, so that they come to the roles.
fn config(lab: &Lab) -> String {
    let path = lab.path("dialtone.toml");
    let text = format!(
        "[[domain]]\nname = \"{DOMAIN}\"\naliases = [\"example.com\", \"example.net\", \"example.org\", \
         \"company.com\", \"host.example.net\", \"registrar.example.com\", \"chair-dnrc.example.com\", \
         \"[2001:db8::10]\"]\n"
    );
    std::fs::write(&path, text).expect("a file of the lab can be written");
    path.display().to_string()
}

/// All messages with their names.
fn messages() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("messages");
    let mut files: Vec<PathBuf> = Vec::new();
    for part in ["rfc4475", "rfc5118/fixed"] {
        let entries = std::fs::read_dir(folder.join(part)).expect("a folder of messages");
        files.extend(entries.map(|entry| entry.expect("a file").path()));
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "dat"));
    files.sort();
    assert_eq!(files.len(), 61);
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        (name, std::fs::read(&path).expect("a file that can be read"))
    };
    files.into_iter().map(read).collect()
}

/// Datagrams, and the answers wherever the topmost Via sends them: to a port of this host.
struct OverUdp {
    server: SocketAddr,
    sockets: BTreeMap<u16, UdpSocket>,
}

impl OverUdp {
    /// Hears what is sent to any port that a message names.
    fn new(server: &Server) -> OverUdp {
        let mut over = OverUdp { server: server.address, sockets: BTreeMap::new() };
        for (_, bytes) in messages() {
            over.socket(port_of_via(&bytes));
        }
        over
    }

    fn socket(&mut self, port: u16) -> &UdpSocket {
        self.sockets.entry(port).or_insert_with(|| {
            // Another address than the server's: it has port 5060 itself.
            let socket = UdpSocket::bind(("127.0.0.1", port)).expect("a port of the lab");
            socket.set_read_timeout(Some(MOMENT)).expect("a timeout can be set");
            socket
        })
    }

    fn send(&self, bytes: &[u8]) {
        let (_, socket) = self.sockets.first_key_value().expect("some port");
        socket.send_to(bytes, self.server).expect("a datagram can be sent");
    }

    /// The status of the first answer.
    fn answer(&mut self, bytes: &[u8]) -> Answer {
        let server = self.server;
        let socket = self.socket(port_of_via(bytes));
        let mut buffer = [0; 65_535];
        socket.set_nonblocking(true).expect("it can be");
        while socket.recv(&mut buffer).is_ok() {}
        socket.set_nonblocking(false).expect("it can be");
        socket.send_to(bytes, server).expect("a datagram can be sent");
        loop {
            match socket.recv(&mut buffer).map(|length| status(&buffer[..length])) {
                Ok(100) => {}
                Ok(status) => return status,
                Err(_) => return 0,
            }
        }
    }
}

/// The port that the topmost Via names, as far as a text can tell.
fn port_of_via(message: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(message);
    let is_via = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("via") || name.eq_ignore_ascii_case("v")
    };
    let via = text.lines().find(is_via).unwrap_or_default();
    let sent_by = via.split([';', ',']).next().unwrap_or_default();
    let default = if sent_by.contains("/TLS") { 5061 } else { 5060 };
    sent_by.rsplit_once(':').and_then(|(_, port)| port.trim().parse().ok()).unwrap_or(default)
}

/// The status of the first answer that comes over a connection of its own.
fn over_tcp(server: &Server, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(server.address).expect("the server accepts");
    stream.set_read_timeout(Some(MOMENT)).expect("a timeout can be set");
    let _ = stream.write_all(bytes);
    let (mut all, mut buffer) = (Vec::new(), [0; 65_535]);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        all.extend_from_slice(&buffer[..length]);
        if status(&all) != 100 {
            return status(&all);
        }
        all.clear();
    }
    0
}

fn status(response: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(response);
    let code = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok());
    code.unwrap_or_else(|| panic!("not a response:\n{text}"))
}

/// Calls between two SIPps through the server.
struct Calls {
    caller: Process,
    callee: Process,
    marks: PathBuf,
}

impl Calls {
    /// Places them, and waits until all are answered.
    fn start(lab: &Lab, server: &Server) -> Calls {
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        crate::lab::system(sipp(lab, server, "register", &bob, 5160).args(["-m", "1"]));
        let (marks, count) = (lab.path("marks"), CALLS.to_string());
        let start = |scenario: &str, user: &User, port: u16, more: &[&str]| {
            let mut command = sipp(lab, server, scenario, user, port);
            command.args(["-m", &count, "-timeout", "170s", "-key", "marks"]).arg(&marks).args(more);
            Process::start(&mut command)
        };
        let callee = start("answer", &bob, 5160, &[]);
        let caller = start("call_held", &alice, 5150, &["-s", "bob", "-r", "50", "-cid_str", "held-%u"]);
        let mut calls = Calls { caller, callee, marks };
        let end = Instant::now() + PATIENCE;
        while calls.marked("up") < CALLS {
            if Instant::now() > end {
                calls.caller.absorb();
                panic!("{} calls of {CALLS} are up\n{}", calls.marked("up"), calls.caller.output());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        calls
    }

    fn marked(&self, mark: &str) -> usize {
        let text = std::fs::read_to_string(&self.marks).unwrap_or_default();
        text.lines().filter(|line| *line == mark).count()
    }

    /// How many are over.
    fn ended(&self) -> usize {
        self.marked("down")
    }

    /// Tells each that it may end, and sees that each does as it should.
    fn end(mut self, server: &Server) {
        let client = Client::new(server.address);
        let caller: SocketAddr = format!("{ADDRESS}:5150").parse().expect("an address");
        for number in 1..=CALLS {
            client.send_to(word(number, client.address()).as_bytes(), caller);
            // SIPp reads its socket a few messages at a time.
            std::thread::sleep(Duration::from_millis(2));
        }
        for process in [&mut self.caller, &mut self.callee] {
            let status = process.finish(PATIENCE);
            assert!(status.success(), "it ended with {status}\n{}", process.output());
        }
        assert_eq!(self.ended(), CALLS);
    }
}

/// The word on which a call ends.
fn word(number: usize, from: SocketAddr) -> String {
    format!(
        "OPTIONS sip:caller@{ADDRESS}:5150 SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:test@{DOMAIN}>;tag=1\r\nTo: <sip:caller@{DOMAIN}>\r\n\
         Call-ID: held-{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A xorshift generator: the same numbers each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }

    /// One to eight bytes changed, removed, doubled, or a part moved.
    fn spoil(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut spoilt = bytes.to_vec();
        for _ in 0..1 + self.below(8) {
            let place = self.below(spoilt.len());
            match self.below(5) {
                0 => spoilt[place] = self.next() as u8,
                1 => spoilt[place] ^= 1 << self.below(8),
                2 if spoilt.len() > 2 => drop(spoilt.remove(place)),
                3 => spoilt.insert(place, *b"\r\n:;,<>\"@%\0\xff ".get(self.below(13)).unwrap_or(&b'x')),
                _ => {
                    let end = spoilt.len().min(place + self.below(64));
                    let part = spoilt[place..end].to_vec();
                    let at = self.below(spoilt.len());
                    spoilt.splice(at..at, part);
                }
            }
        }
        spoilt
    }
}

fn count(counters: &Value, name: &str) -> u64 {
    counters["engine"][name].as_u64().unwrap_or_else(|| panic!("no counter `engine.{name}` in {counters}"))
}
