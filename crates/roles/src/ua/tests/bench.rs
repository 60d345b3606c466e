//! One phone (or a server with a robot) whose peer is the test.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialtone_dialog::offer_answer::Negotiated;
use dialtone_wire::net::{Flow, Transmit, Transport};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Limits as MessageLimits, Message, Status, Writer};
use smol_str::SmolStr;

use crate::engine::{Engine, turn};
use crate::io::{CallHandle, Command, Event, Input, Lease, MediaCommand, MediaEvent, Output, Play};
use crate::settings::{Account, Limits, Listener, Password, Secret, Settings};

pub(super) const PEER: &str = "192.0.2.9:5060";

pub(super) fn uri(text: &str) -> UriBuf {
    UriBuf::parse(text).unwrap()
}

pub(super) fn settings(user: &str, address: &str) -> Settings {
    Settings {
        version: 1,
        unix_start_s: 1_700_000_000,
        product: SmolStr::new("Test/1"),
        listeners: vec![Listener {
            transport: Transport::Udp,
            address: address.parse().unwrap(),
            prefix_length: 24,
        }],
        authenticate: false,
        account: Some(Account {
            aor: uri(&format!("sip:{user}@192.0.2.9")),
            display_name: None,
            auth_user: SmolStr::new(user),
            password: Password(SmolStr::new("secret")),
            proxy: None,
            backup_proxy: None,
            // Whoever names them gets an answer.
            realms: ["example.com", "other.example"].map(SmolStr::new).to_vec(),
            expires_s: 3600,
        }),
        timer_c: Duration::from_secs(185),
        ..Settings::new(Secret([7; 32]))
    }
}

pub(super) struct Bench {
    pub(super) engine: Engine,
    pub(super) address: SocketAddr,
    pub(super) now: Instant,
    pub(super) transmits: VecDeque<Transmit>,
    pub(super) events: Vec<Event>,
    /// How often the media plane was told about each lease in use.
    pub(super) applied: BTreeMap<Lease, Vec<String>>,
    /// What it was told last to play into each call.
    pub(super) plays: BTreeMap<CallHandle, Play>,
    next_lease: u16,
    ready: usize,
    /// Whether the media plane hands out ports.
    pub(super) has_ports: bool,
    deadline: Option<(Instant, &'static str)>,
}

impl Bench {
    pub(super) fn new(settings: Settings) -> Bench {
        Bench::with_ports(settings, true)
    }

    /// One whose media plane has ports at once, or none until a test says so.
    pub(super) fn with_ports(settings: Settings, has_ports: bool) -> Bench {
        let address = settings.listeners[0].address;
        // No two phones have the same names for things.
        let seed =
            address.to_string().bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        let seed = [seed; 32];
        let mut bench = Bench {
            engine: Engine::new(0, seed, Arc::new(settings)),
            address,
            now: Instant::from_millis(1000),
            transmits: VecDeque::new(),
            events: Vec::new(),
            applied: BTreeMap::new(),
            plays: BTreeMap::new(),
            next_lease: 0,
            ready: 0,
            has_ports,
            deadline: None,
        };
        bench.input(Input::Timeout);
        bench
    }

    pub(super) fn phone() -> Bench {
        Bench::new(settings("alice", "192.0.2.1:5060"))
    }

    pub(super) fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut outputs = Vec::new();
            self.deadline = turn(&mut self.engine, self.now, input, |output| outputs.push(output));
            for output in outputs {
                match output {
                    Output::Transmit(transmit) => self.transmits.push_back(transmit),
                    Output::Event(event) => self.events.push(event),
                    Output::Media(command) => inputs.extend(self.media(command)),
                    Output::Query(..) | Output::Notice { .. } => panic!("a phone asks nobody here"),
                }
            }
        }
    }

    fn media(&mut self, command: MediaCommand) -> Option<Input> {
        match command {
            MediaCommand::Lease { address, .. } if !self.has_ports => {
                Some(Input::Media(MediaEvent::Exhausted(address)))
            }
            MediaCommand::Lease { address, count } => {
                let leases = (0..count).map(|_| {
                    self.next_lease += 1;
                    let port = 10_000 + 2 * self.next_lease;
                    let rtp = SocketAddr::new(address, port);
                    Lease { id: self.next_lease.into(), epoch: 0, rtp }
                });
                let leases: Vec<Lease> = leases.collect();
                self.ready += leases.len();
                leases.iter().for_each(|lease| assert!(self.applied.insert(*lease, Vec::new()).is_none()));
                Some(Input::Media(MediaEvent::Leased(leases)))
            }
            MediaCommand::Apply { lease, session, call, play } => {
                self.plays.insert(call, play);
                self.tell(lease, &session);
                None
            }
            MediaCommand::Count { lease, session, .. } => {
                self.tell(lease, &session);
                None
            }
            MediaCommand::Release { lease } => {
                self.applied.remove(&lease).expect("a lease is released once");
                None
            }
        }
    }

    fn tell(&mut self, lease: Lease, session: &Negotiated) {
        let remote = session.remote_rtp.map_or("none".into(), |remote| remote.to_string());
        let told = format!("{remote} {}", session.direction.as_str());
        self.applied.get_mut(&lease).expect("a lease that was not released").push(told);
    }

    /// What the media plane was told for the one call there is.
    pub(super) fn media_of_call(&self) -> Vec<String> {
        self.applied.values().find(|told| !told.is_empty()).cloned().unwrap_or_default()
    }

    pub(super) fn receive(&mut self, text: &str) {
        self.receive_bytes(Bytes::copy_from_slice(text.as_bytes()));
    }

    pub(super) fn receive_bytes(&mut self, bytes: Bytes) {
        let flow = Flow::udp(self.address, PEER.parse().unwrap());
        self.input(Input::Packet { flow, bytes });
    }

    pub(super) fn command(&mut self, command: Command) {
        self.input(Input::Command(command));
    }

    /// The next message that was sent.
    pub(super) fn take(&mut self) -> Message {
        let transmit = self.transmits.pop_front().expect("a message was sent");
        Message::parse(transmit.bytes, &MessageLimits::default()).unwrap()
    }

    /// All that was sent, in one line: methods and statuses.
    pub(super) fn take_all(&mut self) -> String {
        let mut words = Vec::new();
        while !self.transmits.is_empty() {
            words.push(brief(&self.take()));
        }
        words.join(" ")
    }

    /// The events since the last time, as text.
    pub(super) fn events(&mut self) -> Vec<String> {
        self.events.drain(..).map(|event| format!("{event:?}")).collect()
    }

    /// How the call ended, if it did.
    pub(super) fn ended(&mut self) -> Option<String> {
        let reason = self.events.drain(..).filter_map(|event| match event {
            Event::Ended { reason, .. } => Some(format!("{reason:?}")),
            _ => None,
        });
        reason.last()
    }

    pub(super) fn last_call(&self) -> CallHandle {
        let call = self.events.iter().rev().find_map(|event| match event {
            Event::CallStarted { call, .. } | Event::Incoming { call, .. } => Some(*call),
            _ => None,
        });
        call.expect("a call began")
    }

    /// Lets time pass, with all timers on the way.
    pub(super) fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some((at, _)) = self.deadline.filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    /// Calls sip:bob at the peer; returns the INVITE.
    pub(super) fn call_bob(&mut self) -> (CallHandle, Message) {
        self.command(Command::Call { token: 1, to: uri("sip:bob@192.0.2.9"), play: Play::Silence });
        let call = self.last_call();
        (call, self.take())
    }

    /// Answers a request of the phone.
    pub(super) fn respond(&mut self, request: &Message, code: u16, tag: &str, more: &str, body: &str) {
        let bytes = response(request, code, tag, more, body);
        self.receive_bytes(bytes);
    }

    /// After everything is over: waits out all timers, and then nothing may be left.
    pub(super) fn assert_at_rest(&mut self) {
        self.wait(Duration::from_secs(400));
        let left: Vec<_> = self.engine.tables().iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(left, [], "tables are empty at rest");
        assert_eq!(self.deadline, None, "no timer runs at rest");
        let in_use = self.applied.len();
        let ready = usize::from(Limits::default().leases_ready);
        assert!(in_use <= ready, "{in_use} leases are out, of which the pool keeps {ready} at most");
        assert!(self.applied.values().all(Vec::is_empty), "no media session is left");
        assert!(self.engine.is_ua_at_rest());
    }
}

pub(super) fn response(request: &Message, code: u16, tag: &str, more: &str, body: &str) -> Bytes {
    let source = "192.0.2.1:5060".parse().unwrap();
    let mut writer = Writer::response_to(request, Status::of(code), source, Some(tag));
    for line in more.lines().filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        writer.line(name, value);
    }
    if body.is_empty() { writer.finish() } else { writer.finish_with("application/sdp", body.as_bytes()) }
}

/// The session description of the peer.
pub(super) fn sdp(port: u16, direction: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na={direction}\r\n"
    )
}

pub(super) fn brief(message: &Message) -> String {
    match (message.method(), message.status()) {
        (Some(method), _) => method.to_string(),
        (None, Some(status)) => format!("{status}/{}", message.cseq().unwrap().method),
        (None, None) => unreachable!("a message is one of both"),
    }
}

pub(super) fn header(message: &Message, name: HeaderName) -> String {
    let values: Vec<_> = message.values(name).map(|value| std::str::from_utf8(value).unwrap()).collect();
    values.join(", ")
}
