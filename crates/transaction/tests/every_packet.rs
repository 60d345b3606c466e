//! Two transaction layers back to back over a pipe that loses or doubles any one packet: each time the same outcome.

mod common;

use std::collections::VecDeque;

use bytes::Bytes;
use common::{Request, at, layer, parse_bytes, response, status, udp};
use dialtone_transaction::{Event, Matched, Received, ServerId, Transactions};
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message, Method, Writer};

/// One way through the pipe takes this long.
const DELAY_MS: u64 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Lose(usize),
    LoseBoth(usize, usize),
    Double(usize),
}

impl Fault {
    fn loses(self, packet: usize) -> bool {
        match self {
            Fault::Lose(lost) => packet == lost,
            Fault::LoseBoth(first, second) => packet == first || packet == second,
            Fault::None | Fault::Double(_) => false,
        }
    }
}

/// What the called side does, and when.
#[derive(Clone, Copy, Debug)]
struct Script {
    method: &'static str,
    /// Sent at once; 0 for none.
    provisional: u16,
    answer: u16,
    answer_after_ms: u64,
    flow: fn() -> Flow,
}

/// What the two transaction users know in the end.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Outcome {
    /// Requests passed up to the called side.
    requests: usize,
    /// Final responses passed up to the calling side, repetitions of a 2xx to INVITE left out.
    finals: Vec<u16>,
    /// The called side knows that its answer to an INVITE has arrived: it had the ACK for its 2xx.
    acknowledged: bool,
    /// Timeouts, transport errors, missing ACKs.
    failures: Vec<Event>,
}

/// Two layers, their users and the pipe between.
struct Pair {
    script: Script,
    fault: Fault,
    now: Instant,
    caller: Transactions,
    called: Transactions,
    /// Packets under way: when they arrive, whether at the called side, and their bytes.
    pipe: VecDeque<(Instant, bool, Bytes)>,
    packets: usize,
    outcome: Outcome,
    answer: Option<(Instant, ServerId, Message)>,
    /// RFC 3261 §13.3.1.4: the user agent itself repeats its 2xx until the ACK.
    repeat: Option<(Instant, u64, ServerId, Bytes)>,
}

/// Runs the script to its end; the outcome and how many packets were sent.
fn run(script: Script, fault: Fault) -> (Outcome, usize) {
    let mut pair = Pair {
        script,
        fault,
        now: Instant::START,
        caller: layer(),
        called: layer(),
        pipe: VecDeque::new(),
        packets: 0,
        outcome: Outcome::default(),
        answer: None,
        repeat: None,
    };
    pair.call();
    while let Some(next) = pair.next() {
        pair.now = next;
        pair.step();
    }
    assert!(pair.caller.is_at_rest(), "the calling side is not at rest under {fault:?}");
    assert!(pair.called.is_at_rest(), "the called side is not at rest under {fault:?}");
    assert!(pair.now <= at(120_000), "it took too long under {fault:?}: {:?}", pair.now);
    (pair.outcome, pair.packets)
}

impl Pair {
    fn call(&mut self) {
        let request = Request { method: self.script.method, ..Request::default() };
        let method = Method::parse(self.script.method.as_bytes()).unwrap();
        let flow = (self.script.flow)();
        self.caller.send_request(self.now, flow, &method, "z9hG4bK776", request.bytes()).unwrap();
        self.drain();
    }

    fn next(&mut self) -> Option<Instant> {
        let timers = [self.caller.poll_timeout(), self.called.poll_timeout()];
        let timers = timers.into_iter().flatten().map(|timer| timer.0);
        let packet = self.pipe.iter().map(|packet| packet.0);
        let users =
            self.answer.iter().map(|answer| answer.0).chain(self.repeat.iter().map(|repeat| repeat.0));
        timers.chain(packet).chain(users).min()
    }

    fn step(&mut self) {
        while let Some(index) = self.pipe.iter().position(|packet| packet.0 <= self.now) {
            let (_, to_called, bytes) = self.pipe.remove(index).unwrap();
            let message = parse_bytes(&bytes);
            if to_called {
                self.arrive_at_called(&message)
            } else {
                self.arrive_at_caller(&message)
            }
            self.drain();
        }
        if let Some((_, id, request)) = self.answer.take_if(|answer| answer.0 <= self.now) {
            self.respond(id, &request);
        }
        if let Some((_, interval, id, bytes)) = self.repeat.take_if(|repeat| repeat.0 <= self.now)
            && self.called.respond(self.now, id, status(self.script.answer), bytes.clone()).is_ok()
        {
            let interval = (interval * 2).min(4_000);
            self.repeat = Some((at(self.now.as_millis() + interval), interval, id, bytes));
        }
        self.caller.handle_timeout(self.now);
        self.called.handle_timeout(self.now);
        self.drain();
    }

    fn arrive_at_called(&mut self, request: &Message) {
        match self.called.receive_request(self.now, (self.script.flow)(), request) {
            Received::New(id) => {
                self.outcome.requests += 1;
                if self.script.provisional != 0 {
                    let bytes = response(request, self.script.provisional, "b");
                    self.called.respond(self.now, id, status(self.script.provisional), bytes).unwrap();
                }
                let when = at(self.now.as_millis() + self.script.answer_after_ms);
                self.answer = Some((when, id, request.clone()));
            }
            Received::Ack(_) => {
                self.outcome.acknowledged = true;
                self.repeat = None;
            }
            Received::Absorbed => {}
            other => panic!("{other:?}"),
        }
    }

    fn respond(&mut self, id: ServerId, request: &Message) {
        let bytes = response(request, self.script.answer, "b");
        self.called.respond(self.now, id, status(self.script.answer), bytes.clone()).unwrap();
        if self.script.method == "INVITE" && self.script.answer < 300 {
            self.repeat = Some((at(self.now.as_millis() + 500), 500, id, bytes));
        }
    }

    fn arrive_at_caller(&mut self, response: &Message) {
        let Some(Matched::PassUp(_)) = self.caller.receive_response(self.now, response) else { return };
        let code = response.status().unwrap().code();
        if code < 200 {
            return;
        }
        if self.script.method == "INVITE" && code < 300 {
            self.acknowledge(response);
            if self.outcome.finals.last() == Some(&code) {
                return;
            }
        }
        self.outcome.finals.push(code);
    }

    /// RFC 3261 §13.2.2.4: the user agent itself acknowledges each 2xx, with a branch of its own.
    fn acknowledge(&mut self, response: &Message) {
        let mut ack = Writer::request(&Method::Ack, "sip:bob@192.0.2.2");
        ack.line("Via", "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKack").line("CSeq", "314159 ACK");
        for name in [HeaderName::From, HeaderName::To, HeaderName::CallId] {
            ack.copy(response, name);
        }
        let bytes = ack.finish();
        self.put(true, bytes);
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.caller.poll_transmit() {
            self.put(true, transmit.bytes);
        }
        while let Some(transmit) = self.called.poll_transmit() {
            self.put(false, transmit.bytes);
        }
        let events = std::iter::from_fn(|| self.caller.poll_event());
        let events: Vec<Event> = events.chain(std::iter::from_fn(|| self.called.poll_event())).collect();
        self.outcome.failures.extend(
            events
                .into_iter()
                .filter(|e| !matches!(e, Event::ClientTerminated(_) | Event::ServerTerminated(_))),
        );
    }

    fn put(&mut self, to_called: bool, bytes: Bytes) {
        let index = self.packets;
        self.packets += 1;
        let arrives = at(self.now.as_millis() + DELAY_MS);
        if !self.fault.loses(index) {
            self.pipe.push_back((arrives, to_called, bytes.clone()));
        }
        if self.fault == Fault::Double(index) {
            self.pipe.push_back((at(arrives.as_millis() + 5), to_called, bytes));
        }
    }
}

/// Runs the script without a fault, then with each packet lost and each packet doubled.
fn check(script: Script, packets: usize, expected: &Outcome) {
    let (outcome, sent) = run(script, Fault::None);
    assert_eq!(&outcome, expected);
    assert_eq!(sent, packets, "packets without a fault");
    for index in 0..packets {
        for fault in [Fault::Lose(index), Fault::Double(index)] {
            assert_eq!(&run(script, fault).0, expected, "{fault:?}");
        }
    }
}

fn invite(answer: u16) -> Script {
    Script { method: "INVITE", provisional: 180, answer, answer_after_ms: 3_000, flow: udp }
}

fn options(answer_after_ms: u64) -> Script {
    Script { method: "OPTIONS", provisional: 0, answer: 200, answer_after_ms, flow: udp }
}

fn outcome(code: u16, acknowledged: bool) -> Outcome {
    Outcome { requests: 1, finals: vec![code], acknowledged, failures: vec![] }
}

#[test]
fn an_accepted_invite_survives_the_loss_or_doubling_of_any_packet() {
    check(invite(200), 4, &outcome(200, true));
}

#[test]
fn a_rejected_invite_survives_the_loss_or_doubling_of_any_packet() {
    check(invite(486), 4, &outcome(486, false));
}

#[test]
fn an_invite_answered_slowly_and_by_100_only_survives_the_loss_or_doubling_of_any_packet() {
    check(Script { provisional: 0, ..invite(603) }, 4, &outcome(603, false));
}

#[test]
fn a_quick_options_survives_the_loss_or_doubling_of_any_packet() {
    check(options(0), 2, &outcome(200, false));
}

#[test]
fn a_slow_options_survives_the_loss_or_doubling_of_any_packet() {
    // The request four times (Timer E), 100 at 3.5 s and at each repetition after it, 200 at 6 s.
    check(options(6_000), 6, &outcome(200, false));
}

#[test]
fn over_a_reliable_transport_nothing_is_sent_twice() {
    let flow = common::tcp;
    for (script, packets, code) in [(invite(486), 4, 486), (options(0), 2, 200), (options(6_000), 3, 200)] {
        let (result, sent) = run(Script { flow, ..script }, Fault::None);
        assert_eq!(result, outcome(code, false));
        assert_eq!(sent, packets);
    }
}

#[test]
fn any_two_packets_lost_are_repaired_too() {
    let scripts = [(invite(200), 200, true), (invite(486), 486, false), (options(6_000), 200, false)];
    for (script, code, acknowledged) in scripts {
        for (first, second) in (0..8).flat_map(|first| (first + 1..8).map(move |second| (first, second))) {
            let fault = Fault::LoseBoth(first, second);
            assert_eq!(run(script, fault).0, outcome(code, acknowledged), "{fault:?} of {script:?}");
        }
    }
}
