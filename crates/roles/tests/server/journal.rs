//! Registrations that are granted once they are journalled.

use std::sync::Arc;
use std::time::Duration;

use dialtone_roles::io::{Answer, Input, Output, Query, QueryId};
use dialtone_roles::{Binding, Engine, Settings, turn};
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Limits, Message};

use crate::peers::{SERVER, register, settings};

const BOB: &str = "127.0.0.3:5080";
const AOR: &str = "sip:bob@sip.test";

struct Journalled {
    engine: Engine,
    now: Instant,
    sent: Vec<Message>,
    asked: Vec<(QueryId, Vec<Binding>)>,
    next: Option<Instant>,
}

impl Journalled {
    fn new() -> Journalled {
        let settings = Settings { journal: true, authenticate: false, ..settings() };
        let engine = Engine::new(0, [3; 32], Arc::new(settings));
        let now = Instant::from_millis(1000);
        Journalled { engine, now, sent: Vec::new(), asked: Vec::new(), next: None }
    }

    fn input(&mut self, input: Input) {
        let (sent, asked) = (&mut self.sent, &mut self.asked);
        let next = turn(&mut self.engine, self.now, input, |output| match output {
            Output::Transmit(transmit) => {
                sent.push(Message::parse(transmit.bytes, &Limits::default()).unwrap());
            }
            Output::Query(id, Query::Journal { aor, bindings }) => {
                assert_eq!(aor, AOR);
                asked.push((id, bindings.to_vec()));
            }
            _ => {}
        });
        self.next = next.map(|(at, _)| at);
    }

    /// REGISTER with that CSeq and these header lines.
    fn register(&mut self, cseq: u32, extra: &str) {
        let mut request = register(AOR, BOB, "reg");
        (request.cseq, request.extra) = (cseq, extra.to_owned());
        let flow = Flow::udp(SERVER.parse().unwrap(), BOB.parse().unwrap());
        self.input(Input::Packet { flow, bytes: request.text().into_bytes().into() });
    }

    /// The question that was asked last, and its contacts.
    fn last_asked(&self) -> (QueryId, Vec<String>) {
        let (id, bindings) = self.asked.last().expect("a question");
        (*id, bindings.iter().map(|binding| binding.contact.to_string()).collect())
    }

    /// The statuses that were sent since the last look.
    fn statuses(&mut self) -> Vec<u16> {
        self.sent.drain(..).map(|message| message.status().map_or(0, |status| status.code())).collect()
    }

    /// The contacts that a query without changes is answered with: nothing is asked of the journal.
    fn contacts(&mut self, cseq: u32) -> Vec<String> {
        let asked = self.asked.len();
        self.register(cseq, "");
        assert_eq!(self.asked.len(), asked, "a query changes nothing");
        let granted = self.sent.pop().expect("an answer at once");
        assert_eq!(granted.status().unwrap().code(), 200);
        let values = granted.values(HeaderName::Contact);
        values
            .map(|value| String::from_utf8(value.split(|b| *b == b';').next().unwrap().to_vec()).unwrap())
            .collect()
    }
}

const A: &str = "Contact: <sip:a@192.0.2.4>\r\n";
const B: &str = "Contact: <sip:b@192.0.2.5>\r\n";

#[test]
fn a_registration_is_granted_once_it_is_journalled_and_not_before() {
    let mut server = Journalled::new();
    server.register(1, A);
    assert_eq!(server.statuses(), [], "not yet");
    server.register(1, A);
    assert_eq!(server.statuses(), [], "a repetition changes nothing");
    assert_eq!(server.asked.len(), 1);
    let (id, contacts) = server.last_asked();
    assert_eq!(contacts, ["sip:a@192.0.2.4"]);
    server.input(Input::Answer(id, Answer::Journalled));
    assert_eq!(server.statuses(), [200]);
    assert_eq!(server.contacts(2), ["<sip:a@192.0.2.4>"]);
}

#[test]
fn what_could_not_be_journalled_is_taken_back_and_said() {
    let mut server = Journalled::new();
    server.register(1, A);
    server.input(Input::Answer(server.last_asked().0, Answer::Journalled));
    // A new contact, a refresh, and a removal of all: each fails.
    for (cseq, headers) in
        [(2, B), (3, "Contact: <sip:a@192.0.2.4>;expires=120\r\n"), (4, "Contact: *\r\nExpires: 0\r\n")]
    {
        server.statuses();
        server.register(cseq, headers);
        server.input(Input::Answer(server.last_asked().0, Answer::Failed));
        assert_eq!(server.statuses(), [500]);
        // What was there before is journalled again: the failure may have been a late success.
        assert_eq!(server.last_asked(), (QueryId::UNANSWERED, vec!["sip:a@192.0.2.4".to_owned()]));
        assert_eq!(server.contacts(100 + cseq), ["<sip:a@192.0.2.4>"]);
    }
    assert_eq!(server.engine.counters().not_journalled, 3);
    assert_eq!(server.engine.counters().registrations, 4, "the first one, and the queries");
}

#[test]
fn a_journal_that_does_not_answer_is_as_good_as_one_that_failed() {
    let mut server = Journalled::new();
    server.register(1, A);
    let id = server.last_asked().0;
    server.now = server.now + Duration::from_secs(5);
    server.input(Input::Timeout);
    assert_eq!(server.statuses(), [100, 500], "RFC 4320 §4.1: a 100 meanwhile");
    server.input(Input::Answer(id, Answer::Journalled));
    assert_eq!(server.statuses(), [], "too late");
    assert_eq!(server.last_asked(), (QueryId::UNANSWERED, Vec::new()));
    assert_eq!(server.contacts(2), [] as [&str; 0]);
}

#[test]
fn of_two_requests_in_flight_only_the_one_that_failed_is_taken_back() {
    let mut server = Journalled::new();
    server.register(1, A);
    let first = server.last_asked().0;
    server.register(2, B);
    let (second, contacts) = server.last_asked();
    assert_eq!(contacts, ["sip:a@192.0.2.4", "sip:b@192.0.2.5"]);
    server.input(Input::Answer(first, Answer::Failed));
    assert_eq!(server.last_asked(), (QueryId::UNANSWERED, vec!["sip:b@192.0.2.5".to_owned()]));
    server.input(Input::Answer(second, Answer::Journalled));
    assert_eq!(server.statuses(), [500, 200]);
    assert_eq!(server.contacts(3), ["<sip:b@192.0.2.5>"]);
}

#[test]
fn a_binding_that_is_over_is_over_in_the_journal_too() {
    let mut server = Journalled::new();
    server.register(1, "Contact: <sip:a@192.0.2.4>;expires=60\r\n");
    server.input(Input::Answer(server.last_asked().0, Answer::Journalled));
    server.now = server.now + Duration::from_secs(60);
    server.input(Input::Timeout);
    assert_eq!(server.last_asked(), (QueryId::UNANSWERED, Vec::new()));
}

#[test]
fn bindings_of_an_earlier_life_are_restored_where_there_are_no_newer_ones() {
    let mut first = Journalled::new();
    first.register(1, A);
    let (_, bindings) = first.asked.pop().expect("a question");
    let mut server = Journalled::new();
    server.input(Input::Restore(vec![(AOR.into(), bindings.clone())]));
    assert_eq!(server.next, Some(bindings[0].expires_at), "its deadline is set");
    assert_eq!(server.contacts(2), ["<sip:a@192.0.2.4>"]);
    // The same user agent goes on with its CSeq: an older request changes nothing, and one whose answer the restart
    // swallowed finds itself done.
    server.register(0, "Contact: <sip:a@192.0.2.4>;expires=90\r\n");
    assert_eq!(server.statuses(), [500]);
    server.register(1, A);
    assert_eq!(server.statuses(), [200]);
    let mut server = Journalled::new();
    server.register(1, B);
    server.input(Input::Restore(vec![(AOR.into(), bindings)]));
    assert_eq!(server.contacts(2), ["<sip:b@192.0.2.5>"]);
}
