//! Dialogs in any order of events against a small reference model, and against hostile messages.

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::{ALICE, from_bob, invite, read, response};
use dialtone_dialog::{Dialog, DialogId, OutOfOrder, State};
use dialtone_wire::{HeaderName, Limits, Message, Method, Status};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

const VIA: &str = "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx";
const TAGS: [&str; 3] = ["b", "b2", "b3"];
const PROXIES: [&str; 4] = ["sip:p0;lr", "sip:p1", "sip:p2;lr", "sips:p3;lr=on"];
const METHODS: [&str; 8] = ["INVITE", "UPDATE", "BYE", "ACK", "CANCEL", "INFO", "NOTIFY", "PRACK"];

/// The same run every time.
fn config(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(3261), failure_persistence: None, ..Config::default() }
}

/// What happens to the dialogs of one INVITE at its UAC.
#[derive(Clone, Debug)]
enum Event {
    /// A response to the INVITE from one branch of the fork.
    Response { code: u16, tag: usize, contact: Option<u8>, proxies: Vec<usize> },
    /// We send a request.
    Send { tag: usize, method: usize },
    /// The peer sends a request; accepted unless it is out of order.
    Receive { tag: usize, method: usize, cseq: u32, contact: Option<u8> },
    /// The peer answers a re-INVITE.
    Answer { tag: usize, code: u16, contact: Option<u8> },
}

/// One dialog as RFC 3261 §12 describes it, with nothing clever.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    confirmed: bool,
    local_seq: u32,
    remote_seq: Option<u32>,
    routes: Vec<String>,
    target: String,
}

impl Model {
    fn of(dialog: &Dialog) -> Model {
        let uri = |value: &str| value.trim_matches(['<', '>']).to_owned();
        Model {
            confirmed: dialog.state() == State::Confirmed,
            local_seq: dialog.local_seq().expect("the INVITE had a number"),
            remote_seq: dialog.remote_seq(),
            routes: dialog.route_set().values().iter().map(|value| uri(value)).collect(),
            target: dialog.remote_target().as_str().to_owned(),
        }
    }

    /// Request-URI and Route of a request.
    fn routing(&self) -> (String, Vec<String>) {
        let mut routes = self.routes.clone();
        if routes.is_empty() || routes[0].contains(";lr") {
            return (self.target.clone(), routes);
        }
        let uri = routes.remove(0);
        routes.push(self.target.clone());
        (uri, routes)
    }
}

fn contact_uri(host: u8) -> String {
    format!("sip:bob@192.0.2.{host}")
}

fn contact_line(contact: Option<u8>) -> String {
    contact.map(|host| format!("Contact: <{}>\n", contact_uri(host))).unwrap_or_default()
}

fn event() -> impl Strategy<Value = Event> {
    let tag = 0..TAGS.len();
    let method = 0..METHODS.len();
    let contact = || proptest::option::weighted(0.8, 1..6u8);
    let codes = prop::sample::select(vec![100, 180, 183, 199, 200, 202, 302, 404, 500]);
    let proxies = prop::collection::vec(0..PROXIES.len(), 0..4);
    prop_oneof![
        3 => (codes.clone(), tag.clone(), contact(), proxies)
            .prop_map(|(code, tag, contact, proxies)| Event::Response { code, tag, contact, proxies }),
        2 => (tag.clone(), method.clone()).prop_map(|(tag, method)| Event::Send { tag, method }),
        4 => (tag.clone(), method, 0..12u32, contact())
            .prop_map(|(tag, method, cseq, contact)| Event::Receive { tag, method, cseq, contact }),
        1 => (tag, codes, contact()).prop_map(|(tag, code, contact)| Event::Answer { tag, code, contact }),
    ]
}

/// Both sides of the comparison.
#[derive(Default)]
struct Bench {
    dialogs: BTreeMap<usize, Dialog>,
    models: BTreeMap<usize, Model>,
}

impl Bench {
    fn happen(&mut self, event: &Event) {
        match event {
            Event::Response { code, tag, contact, proxies } => self.response(*code, *tag, *contact, proxies),
            Event::Send { tag, method } => self.send(*tag, METHODS[*method]),
            Event::Receive { tag, method, cseq, contact } => {
                self.receive(*tag, METHODS[*method], *cseq, *contact);
            }
            Event::Answer { tag, code, contact } => self.answer(*tag, *code, *contact),
        }
        let seen: BTreeMap<usize, Model> =
            self.dialogs.iter().map(|(tag, dialog)| (*tag, Model::of(dialog))).collect();
        assert_eq!(seen, self.models, "after {event:?}");
        for (tag, dialog) in &self.dialogs {
            self.check_bye(*tag, &mut dialog.clone());
        }
    }

    fn response(&mut self, code: u16, tag: usize, contact: Option<u8>, proxies: &[usize]) {
        let proxies: Vec<&str> = proxies.iter().map(|at| PROXIES[*at]).collect();
        let more = format!("{}{}", contact_line(contact), common::record_route(&proxies));
        let message = response(code, TAGS[tag], &more);
        let routes = proxies.iter().rev().map(|proxy| (*proxy).to_owned()).collect();
        let success = code / 100 == 2;
        match self.models.get_mut(&tag) {
            Some(model) => {
                let confirmed = self.dialogs.get_mut(&tag).expect("as the model has it").confirm(&message);
                assert_eq!(confirmed.is_ok(), success);
                if success && !model.confirmed {
                    model.confirmed = true;
                    model.routes = routes;
                    model.target = contact.map_or(model.target.clone(), contact_uri);
                }
            }
            None => {
                let made = Dialog::uac(&invite(ALICE), &message);
                let makes = (success && contact.is_some()) || (101..200).contains(&code);
                assert_eq!(made.is_ok(), makes, "{code} with {contact:?}");
                if let Ok(dialog) = made {
                    let target = contact.map_or("sip:bob@biloxi.com".to_owned(), contact_uri);
                    let model = Model { confirmed: success, local_seq: 7, remote_seq: None, routes, target };
                    self.dialogs.insert(tag, dialog);
                    self.models.insert(tag, model);
                }
            }
        }
    }

    fn send(&mut self, tag: usize, method: &str) {
        let (Some(dialog), Some(model)) = (self.dialogs.get_mut(&tag), self.models.get_mut(&tag)) else {
            return;
        };
        if !matches!(method, "ACK" | "CANCEL") {
            model.local_seq += 1;
        }
        let draft = dialog.request(Method::parse(method.as_bytes()).expect("a method"));
        assert_eq!(draft.cseq(), model.local_seq);
    }

    fn receive(&mut self, tag: usize, method: &str, cseq: u32, contact: Option<u8>) {
        let (Some(dialog), Some(model)) = (self.dialogs.get_mut(&tag), self.models.get_mut(&tag)) else {
            return;
        };
        let message = from_bob(method, cseq, &contact_line(contact));
        let expected = match model.remote_seq {
            _ if matches!(method, "ACK" | "CANCEL") => Ok(()),
            Some(last) if cseq < last => Err(OutOfOrder::Lower { came: cseq, last }),
            Some(last) if cseq == last => Err(OutOfOrder::Repeated { came: cseq }),
            _ => {
                model.remote_seq = Some(cseq);
                Ok(())
            }
        };
        assert_eq!(dialog.check_request(&message), expected, "{method} {cseq}");
        if expected.is_err() {
            return;
        }
        let before = model.target.clone();
        if let (Some(host), "INVITE" | "UPDATE" | "NOTIFY") = (contact, method) {
            model.target = contact_uri(host);
        }
        assert_eq!(dialog.refresh_target(&message), Ok(before != model.target));
    }

    fn answer(&mut self, tag: usize, code: u16, contact: Option<u8>) {
        let (Some(dialog), Some(model)) = (self.dialogs.get_mut(&tag), self.models.get_mut(&tag)) else {
            return;
        };
        let answer = response(code, TAGS[tag], &contact_line(contact));
        let before = model.target.clone();
        if let (Some(host), 2) = (contact, code / 100) {
            model.target = contact_uri(host);
        }
        assert_eq!(dialog.refresh_target(&answer), Ok(before != model.target));
    }

    /// The BYE that would be sent now is the one that the model would send.
    fn check_bye(&self, tag: usize, dialog: &mut Dialog) {
        let model = &self.models[&tag];
        let bye = read(dialog.request(Method::Bye).write(VIA, None));
        assert_eq!(bye.check(), Ok(()));
        assert_eq!(common::routing(&bye), model.routing());
        assert_eq!(bye.cseq().map(|cseq| cseq.number), Ok(model.local_seq + 1));
        let id = DialogId { call_id: "c".into(), local_tag: "a".into(), remote_tag: TAGS[tag].into() };
        assert_eq!(DialogId::of_response(&bye), Ok(id));
    }
}

/// Pieces that break careless readers and writers.
const SHARDS: [&str; 30] = [
    "<",
    ">",
    "\"",
    "\\",
    ";",
    ",",
    ":",
    "@",
    "?",
    "=",
    "%",
    " ",
    "\r\n ",
    "\\\0",
    "*",
    "[::1]",
    "sip:",
    "sips:",
    "tel:+1",
    "a",
    "b.example.com",
    ";tag=",
    ";lr",
    ";method=BYE",
    "?Route=%3Csip:x%3E",
    "é",
    "<sip:a@b>",
    "sip:a@b;tag=1",
    ";tag",
    "<sip:a@b>;tag=\"x;y\"",
];

/// A value that is half legal and half noise.
fn value(legal: &'static str) -> impl Strategy<Value = String> {
    let noise = || prop::collection::vec(prop::sample::select(SHARDS.to_vec()), 0..5);
    prop_oneof![
        2 => Just(legal.to_owned()),
        1 => (noise(), noise()).prop_map(move |(before, after)| before.concat() + legal + &after.concat()),
        1 => noise().prop_map(|noise| noise.concat()),
    ]
}

prop_compose! {
    fn hostile(start: &'static str, cseq: &'static str, to: &'static str)(
        from in value("Alice <sip:alice@atlanta.com>;tag=a"),
        to in value(to),
        contact in value("<sip:bob@192.0.2.4>"),
        routes in prop::collection::vec(value("<sip:p1;lr>"), 0..3),
        cseq in value(cseq),
        call_id in value("c"),
    ) -> Option<Message> {
        let routes: String = routes.iter().map(|route| format!("Record-Route: {route}\r\n")).collect();
        let text = format!(
            "{start}\r\nVia: SIP/2.0/TLS x;branch=z9hG4bK1\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq}\r\nContact: {contact}\r\n{routes}\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).ok()
    }
}

/// Whatever dialog came of hostile messages: what it sends is well-formed and names the dialog.
fn sends_sound_requests(mut dialog: Dialog) {
    let bye = dialog.request(Method::Bye).write(VIA, Some("<sip:me@192.0.2.9>"));
    let text = String::from_utf8_lossy(&bye).into_owned();
    let bye =
        Message::parse(bye.clone(), &Limits::default()).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(bye.check(), Ok(()), "{text}");
    assert!(bye.uri().is_ok(), "{text}");
    assert_eq!(DialogId::of_response(&bye).as_ref(), Ok(dialog.id()), "{text}");
    assert!(bye.addresses(HeaderName::Route).all(|route| route.is_ok()), "{text}");
    assert_eq!(bye.values(HeaderName::Contact).count(), 1, "{text}");
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn any_order_of_events_leaves_the_state_of_the_model(events in prop::collection::vec(event(), 1..40)) {
        let mut bench = Bench::default();
        for event in &events {
            bench.happen(event);
        }
    }
}

proptest! {
    #![proptest_config(config(4_000))]

    #[test]
    fn hostile_messages_give_errors_or_dialogs_whose_requests_are_sound(
        request in hostile("INVITE sip:bob@biloxi.com SIP/2.0", "1 INVITE", "<sip:bob@biloxi.com>"),
        answer in hostile("SIP/2.0 200 OK", "1 INVITE", "Bob <sip:bob@biloxi.com>;tag=b"),
        ringing in hostile("SIP/2.0 180 Ringing", "1 INVITE", "Bob <sip:bob@biloxi.com>;tag=b"),
        update in hostile("UPDATE sips:a@b SIP/2.0", "2 UPDATE", "<sip:alice@atlanta.com>;tag=a"),
    ) {
        if let Some(request) = &request
            && let Ok(dialog) = Dialog::uas(request, "mine", State::Early) {
            sends_sound_requests(dialog);
        }
        for (code, response) in [(200, &answer), (180, &ringing)] {
            let Some(response) = response else { continue };
            prop_assert_eq!(response.status(), Status::new(code));
            let Ok(mut dialog) = Dialog::uac(&invite(ALICE), response) else { continue };
            sends_sound_requests(dialog.clone());
            for later in [&answer, &update, &request].into_iter().flatten() {
                let _ = dialog.confirm(later);
                let _ = dialog.check_request(later);
                let _ = dialog.refresh_target(later);
                sends_sound_requests(dialog.clone());
            }
        }
    }
}
