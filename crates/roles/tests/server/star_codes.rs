//! Star codes: what users dial to change what is done with their own calls.

use std::sync::Arc;

use dialtone_roles::io::{Answer, ChangeOutcome, Event, Input, Lease, MediaEvent, Notice, Output, Query};
use dialtone_roles::services::{Change, Choice, Choices, ForwardKind, Services};
use dialtone_roles::{Engine, Settings, shard_of_aor, turn};
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message, Status};

use crate::peers::{Request, Server, invite, settings};

const ALICE: &str = "127.0.0.2:5070";
const AOR: &str = "sip:alice@sip.test";
const OFFER: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// A server with ports for calls of its own.
fn server() -> Server {
    let mut server = Server::new(settings());
    let lease = |id| {
        let port = 40_000 + u16::try_from(id).unwrap() * 2;
        Lease { id, epoch: 1, rtp: format!("127.0.0.1:{port}").parse().unwrap() }
    };
    server.input(Input::Media(MediaEvent::Leased((0..6).map(lease).collect())));
    server
}

/// Alice dials it with her password; gives what she gets.
fn dial(server: &mut Server, number: &str, call_id: &str) -> Vec<Message> {
    let uri = format!("sip:{number}@sip.test");
    let mut request = Request { call_id, ..invite(&uri) };
    request.extra.push_str(&format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", OFFER.len()));
    let challenge = server.receive(ALICE, &format!("{}{OFFER}", request.text())).remove(0).1;
    assert_eq!(challenge.status().map(|status| status.code()), Some(407), "a password is asked for");
    request.with_credentials("alice", "alice-pw", &challenge);
    let sent = server.receive(ALICE, &format!("{}{OFFER}", request.text()));
    sent.into_iter()
        .map(|(to, message)| {
            assert_eq!(to, ALICE);
            message
        })
        .collect()
}

fn status(messages: &[Message]) -> u16 {
    messages.last().and_then(Message::status).map_or(0, |status| status.code())
}

fn warning(messages: &[Message]) -> String {
    let value = messages.last().and_then(|message| message.value(HeaderName::Warning));
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

#[test]
fn a_code_is_answered_with_a_tone_and_holds_until_its_counterpart() {
    let mut server = server();
    let sent = dial(&mut server, "*72bob", "one");
    assert_eq!(status(&sent), 200);
    assert!(!sent[0].body().is_empty(), "there is something to hear");
    let forwards = |server: &Server| server.engine.services(AOR);
    assert_eq!(forwards(&server), Services { always: Some("bob".into()), ..Services::default() });
    // The ACK comes; after a second and a half the server hangs up.
    let tag = sent[0].to_tag().unwrap().unwrap().to_owned();
    let to = format!("sip:*72bob@sip.test>;tag={tag};x=<");
    let ack =
        Request { method: "ACK", cseq: 2, call_id: "one", to: &to, ..invite("sip:*72bob@127.0.0.1:5060") };
    assert!(server.receive(ALICE, &ack.text().replace(";x=<>", "")).is_empty());
    assert!(server.pass(1).is_empty());
    let sent = server.pass(1);
    assert_eq!(sent[0].1.method().map(|method| method.as_str()), Some("BYE"));
    assert_eq!(status(&dial(&mut server, "*73", "two")), 200);
    assert!(forwards(&server).is_empty());
    assert_eq!(status(&dial(&mut server, "*92bob*7", "three")), 200);
    let services = forwards(&server);
    assert_eq!(services.no_answer.as_deref(), Some("bob"));
    assert_eq!(services.no_answer_after.map(|after| after.as_secs()), Some(7));
    assert_eq!(status(&dial(&mut server, "*78", "four")), 200);
    assert_eq!(forwards(&server).do_not_disturb, Some(Status::of(486)));
    assert_eq!(server.engine.counters().services_changed, 4);
    assert_eq!(server.engine.tables().services, 1);
}

#[test]
fn wrong_numbers_are_refused_with_words_and_change_nothing() {
    let mut server = server();
    for (at, (number, code, words)) in [
        ("*72", 484, "Dial the number to forward to behind the code"),
        ("*72nobody", 404, "There is no such number"),
        ("*72alice", 482, "Calls can't be forwarded to yourself"),
        ("*731", 484, "Nothing is dialled behind this code"),
        ("*92bob*999", 484, "The time without an answer is 1 to 180 seconds"),
    ]
    .into_iter()
    .enumerate()
    {
        let sent = dial(&mut server, number, &format!("call-{at}"));
        assert_eq!((status(&sent), warning(&sent)), (code, format!("399 sip.test \"{words}\"")), "{number}");
    }
    assert_eq!(server.engine.tables().services, 0);
    assert_eq!(server.engine.counters().services_refused, 5);
    server.pass(60);
    assert_eq!(server.engine.tables().server_transactions, 0);
}

#[test]
fn nobody_changes_the_services_of_another() {
    let mut server = server();
    // Alice's password and bob's name.
    let mut request = Request { from: "sip:bob@sip.test", ..invite("sip:*72alice@sip.test") };
    let challenge = server.receive(ALICE, &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    assert_eq!(server.status(ALICE, &request.text()), 403);
    // And with the name of a domain of others, which is for calls only.
    let mut request =
        Request { from: "sip:bob@elsewhere.test", call_id: "b", ..invite("sip:*72bob@sip.test") };
    let challenge = server.receive(ALICE, &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    assert_eq!(server.status(ALICE, &request.text()), 403);
    assert_eq!(server.engine.tables().services, 0);
}

#[test]
fn without_star_codes_they_are_numbers_like_others() {
    let mut server = Server::new(Settings {
        star_codes: dialtone_roles::settings::StarCodes {
            codes: Vec::new(),
            ..dialtone_roles::settings::StarCodes::default()
        },
        ..settings()
    });
    let sent = dial(&mut server, "*72bob", "one");
    assert_eq!(status(&sent), 404);
    assert_eq!(server.engine.tables().services, 0);
}

/// One shard and what it puts out.
struct Shard {
    engine: Engine,
    out: Vec<Output>,
}

impl Shard {
    fn new(number: u16, settings: &Arc<Settings>) -> Shard {
        Shard { engine: Engine::new(number, [number as u8; 32], settings.clone()), out: Vec::new() }
    }

    fn input(&mut self, at_ms: u64, input: Input) {
        let out = &mut self.out;
        turn(&mut self.engine, Instant::from_millis(at_ms), input, |output| out.push(output));
    }

    fn kept(&mut self) -> Option<(dialtone_roles::io::QueryId, Arc<Choices>)> {
        let at = self
            .out
            .iter()
            .position(|output| matches!(output, Output::Query(_, Query::KeepServices { .. })))?;
        match self.out.remove(at) {
            Output::Query(id, Query::KeepServices { choices, .. }) => Some((id, choices)),
            _ => None,
        }
    }
}

fn forward_to(to: &str) -> Vec<Change> {
    vec![Change::Forward(ForwardKind::Busy, Choice::On(to.into()))]
}

fn outcome(shard: &Shard) -> Option<ChangeOutcome> {
    shard.out.iter().rev().find_map(|output| match output {
        Output::Event(Event::ServicesChanged { outcome, .. }) => Some(*outcome),
        Output::Notice { notice: Notice::ServicesChanged { outcome, .. }, .. } => Some(*outcome),
        _ => None,
    })
}

#[test]
fn a_change_is_told_when_it_is_kept_and_taken_back_when_it_can_not_be() {
    let settings = Arc::new(Settings { journal: true, ..settings() });
    let mut shard = Shard::new(0, &settings);
    let change = |token, to| Input::ChangeServices { token, aor: AOR.into(), changes: forward_to(to) };
    shard.input(1, change(1, "201"));
    let (id, choices) = shard.kept().expect("it is to be kept");
    assert_eq!(choices.busy, Choice::On("201".into()));
    assert_eq!(outcome(&shard), None, "nobody is told before");
    shard.input(2, Input::Answer(id, Answer::Journalled));
    assert_eq!(outcome(&shard), Some(ChangeOutcome::Done));
    shard.input(3, change(2, "202"));
    let (id, _) = shard.kept().expect("it is to be kept");
    shard.input(4, Input::Answer(id, Answer::Failed));
    assert_eq!(outcome(&shard), Some(ChangeOutcome::NotKept));
    assert_eq!(shard.engine.services(AOR).busy.as_deref(), Some("201"));
    assert_eq!(shard.kept().expect("what holds is kept again").1.busy, Choice::On("201".into()));
    // The store never answers: after its deadline it is the same.
    shard.out.clear();
    shard.input(5, change(3, "203"));
    shard.input(6_000, Input::Timeout);
    assert_eq!(outcome(&shard), Some(ChangeOutcome::NotKept));
    assert_eq!(shard.engine.services(AOR).busy.as_deref(), Some("201"));
}

#[test]
fn the_shard_that_owns_the_user_makes_the_change_and_tells_who_asked() {
    let settings = Arc::new(Settings { journal: true, shards: 2, ..settings() });
    let owner = shard_of_aor(&settings, AOR);
    let mut shard = Shard::new(owner, &settings);
    let query = dialtone_roles::io::QueryId(9);
    let notice =
        Notice::ChangeServices { from: 1 - owner, query, aor: AOR.into(), changes: forward_to("201") };
    shard.input(1, Input::Notice(notice));
    let (id, _) = shard.kept().expect("it is to be kept");
    shard.input(2, Input::Answer(id, Answer::Journalled));
    let told = shard.out.iter().any(|output| {
        matches!(output, Output::Notice { to, notice: Notice::ServicesChanged { query: asked, outcome } }
            if *to == 1 - owner && *asked == query && *outcome == ChangeOutcome::Done)
    });
    assert!(told, "{:?}", shard.out);
}

#[test]
fn what_was_chosen_in_an_earlier_life_counts_unless_it_was_chosen_anew() {
    let settings = Arc::new(settings());
    let mut shard = Shard::new(0, &settings);
    let chosen = |to: &str| {
        let mut choices = Choices::default();
        forward_to(to).iter().for_each(|change| choices.apply(change));
        choices
    };
    let change = Input::ChangeServices { token: 1, aor: AOR.into(), changes: forward_to("new") };
    shard.input(1, change);
    let users = vec![(AOR.into(), chosen("old")), ("sip:bob@sip.test".into(), chosen("old"))];
    shard.input(2, Input::RestoreServices(users));
    assert_eq!(shard.engine.services(AOR).busy.as_deref(), Some("new"));
    assert_eq!(shard.engine.services("sip:bob@sip.test").busy.as_deref(), Some("old"));
}
