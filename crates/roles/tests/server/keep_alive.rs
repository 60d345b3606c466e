//! OPTIONS to registered phones: keeps the way to those behind a NAT open, and shows who is not there any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dialtone_roles::Settings;
use dialtone_roles::io::Input;
use dialtone_roles::listing::Reach;
use dialtone_roles::settings::{KeepAliveContacts, KeepAliveSettings};
use dialtone_wire::{HeaderName, Message, Method};

use crate::peers::{Request, Server, invite, register, settings};
use crate::proxying::response;

/// What bob's phone believes to be its address, and what its NAT makes of it.
const INSIDE: &str = "10.0.0.7:5060";
const NAT: &str = "127.0.0.9:7000";
const ALICE: &str = "127.0.0.2:5070";
const INTERVAL_S: u64 = 25;

fn server_with(contacts: KeepAliveContacts) -> Server {
    let keep_alive = KeepAliveSettings { contacts, ..KeepAliveSettings::default() };
    Server::new(Settings { authenticate: false, keep_alive, ..settings() })
}

/// bob's phone registers from behind its NAT.
fn register_behind_nat(server: &mut Server, cseq: u32) {
    let request = Request { cseq, ..register("sip:bob@sip.test", INSIDE, "reg-bob") };
    let sent = server.receive(NAT, &request.text());
    assert_eq!(sent.first().and_then(|(_, answer)| answer.status()).map(|status| status.code()), Some(200));
}

fn options(sent: &[(String, Message)]) -> Vec<&(String, Message)> {
    sent.iter().filter(|(_, message)| message.method() == Some(&Method::Options)).collect()
}

/// Lets time pass until an OPTIONS goes out to the NAT; gives it.
fn asked(server: &mut Server) -> Message {
    let end = server.now + Duration::from_secs(2 * INTERVAL_S);
    while let Some((at, _)) = server.next.filter(|(at, _)| *at <= end) {
        server.now = at;
        server.sent.clear();
        server.input(Input::Timeout);
        if let Some((to, message)) = options(&server.sent).first() {
            assert_eq!(to, NAT);
            return message.clone();
        }
    }
    panic!("nobody was asked");
}

fn answer(server: &mut Server, options: &Message, status: &str) {
    server.receive(NAT, &response(options, status, "phone", ""));
}

fn reach(server: &Server) -> Option<Reach> {
    let page = server.engine.bindings(server.now, None, 10);
    page.entries.iter().find(|entry| entry.aor == "sip:bob@sip.test").expect("bob is registered").reach
}

#[test]
fn a_phone_behind_a_nat_is_asked_over_its_flow_before_the_nat_forgets_it() {
    let mut server = server_with(KeepAliveContacts::Nat);
    register_behind_nat(&mut server, 1);
    let start = server.now;
    let first = asked(&mut server);
    assert!(server.now.since(start) <= Duration::from_secs(INTERVAL_S), "within one interval");
    assert_eq!(first.uri_text(), "sip:x@10.0.0.7:5060");
    assert_eq!(first.from().unwrap().uri_text, "sip:sip.test");
    server.now = server.now + Duration::from_millis(40);
    answer(&mut server, &first, "200 OK");
    assert_eq!(reach(&server), Some(Reach::Reachable { round_trip: Duration::from_millis(40) }));
    // A refusal shows as well that the phone is there (RFC 3261 §11).
    let mut before = server.now;
    for status in ["501 Not Implemented", "404 Not Found", "486 Busy Here", "200 OK"] {
        let next = asked(&mut server);
        let gap = server.now.since(before);
        assert!((24..=26).contains(&gap.as_secs()), "{gap:?}");
        before = server.now;
        answer(&mut server, &next, status);
        assert!(matches!(reach(&server), Some(Reach::Reachable { .. })), "{status}");
    }
    assert_eq!(server.engine.counters().keep_alives, 5);
    assert_eq!(server.engine.counters().keep_alives_unanswered, 0);
}

#[test]
fn who_keeps_his_own_way_open_or_needs_none_is_not_asked() {
    for contacts in [KeepAliveContacts::Nat, KeepAliveContacts::Off] {
        let mut server = server_with(contacts);
        server.receive(ALICE, &register("sip:alice@sip.test", ALICE, "reg-alice").text());
        let flow = "Supported: path, outbound\r\nContact: <sip:x@10.0.0.7:5060>;reg-id=1;\
                    +sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\"\r\n";
        let outbound = Request { extra: flow.into(), ..register("sip:carol@sip.test", INSIDE, "reg-carol") };
        server.receive("127.0.0.10:7000", &outbound.text());
        if contacts == KeepAliveContacts::Off {
            register_behind_nat(&mut server, 1);
        }
        assert_eq!(options(&server.pass(300)).len(), 0, "{contacts:?}");
        assert_eq!(server.engine.tables().kept_alive, 0);
    }
    let mut server = server_with(KeepAliveContacts::All);
    server.receive(ALICE, &register("sip:alice@sip.test", ALICE, "reg-alice").text());
    let sent = server.pass(INTERVAL_S);
    assert_eq!(options(&sent).first().map(|(to, _)| to.as_str()), Some(ALICE));
}

#[test]
fn a_phone_that_falls_silent_is_called_last_until_it_answers_or_registers() {
    let mut server = server_with(KeepAliveContacts::Nat);
    register_behind_nat(&mut server, 1);
    // The desk phone of bob needs no NAT.
    let desk = Request { cseq: 1, ..register("sip:bob@sip.test", "127.0.0.3:5060", "reg-desk") };
    server.receive("127.0.0.3:5060", &desk.text());
    let first = asked(&mut server);
    answer(&mut server, &first, "200 OK");
    let rung = |server: &mut Server, call_id: &'static str| {
        let call = Request { call_id, via: ALICE, ..invite("sip:bob@sip.test") };
        let sent = server.receive(ALICE, &call.text());
        let invited = |(_, message): &&(String, Message)| message.method() == Some(&Method::Invite);
        let rung: Vec<String> = sent.iter().filter(invited).map(|(to, _)| to.clone()).collect();
        server.receive(ALICE, &Request { method: "CANCEL", ..call }.text());
        rung
    };
    assert_eq!(rung(&mut server, "both").len(), 2);
    server.pass(INTERVAL_S + 40);
    assert_eq!(reach(&server), Some(Reach::Unreachable));
    assert_eq!(server.engine.counters().keep_alives_unanswered, 1);
    assert_eq!(rung(&mut server, "one"), ["127.0.0.3:5060"]);
    // It is asked on, and its answer counts at once.
    let again = asked(&mut server);
    answer(&mut server, &again, "200 OK");
    assert!(matches!(reach(&server), Some(Reach::Reachable { .. })));
    assert_eq!(rung(&mut server, "again").len(), 2);
    server.pass(INTERVAL_S + 40);
    assert_eq!(reach(&server), Some(Reach::Unreachable));
    register_behind_nat(&mut server, 2);
    assert_eq!(reach(&server), None);
    assert_eq!(rung(&mut server, "registered").len(), 2);
}

#[test]
fn a_phone_that_comes_back_at_another_port_while_it_is_asked_is_there() {
    let mut server = server_with(KeepAliveContacts::Nat);
    register_behind_nat(&mut server, 1);
    let first = asked(&mut server);
    answer(&mut server, &first, "200 OK");
    asked(&mut server);
    // Its router has started anew.
    let request = Request { cseq: 2, ..register("sip:bob@sip.test", INSIDE, "reg-bob") };
    server.receive("127.0.0.9:7001", &request.text());
    let sent = server.pass(INTERVAL_S + 1);
    let places: Vec<&str> = options(&sent).iter().map(|(to, _)| to.as_str()).collect();
    assert_eq!(places.first(), Some(&"127.0.0.9:7001"));
    assert!(!places.contains(&NAT), "{places:?}");
    let (_, again) = options(&sent)[0].clone();
    server.receive("127.0.0.9:7001", &response(&again, "200 OK", "phone", ""));
    assert!(matches!(reach(&server), Some(Reach::Reachable { .. })));
    assert_eq!(server.engine.counters().keep_alives_unanswered, 0);
}

#[test]
fn the_way_to_a_phone_that_never_answers_options_is_kept_open_too() {
    let mut server = server_with(KeepAliveContacts::Nat);
    register_behind_nat(&mut server, 1);
    asked(&mut server);
    let (mut last, end) = (server.now, server.now + Duration::from_secs(600));
    while let Some((at, _)) = server.next.filter(|(at, _)| *at <= end) {
        server.now = at;
        server.sent.clear();
        server.input(Input::Timeout);
        if !options(&server.sent).is_empty() {
            assert!(at.since(last) < Duration::from_secs(30), "{:?}", at.since(last));
            last = at;
        }
    }
    assert!(end.since(last) < Duration::from_secs(30));
}

#[test]
fn the_silence_of_a_phone_that_never_answers_options_says_nothing() {
    let mut server = server_with(KeepAliveContacts::Nat);
    register_behind_nat(&mut server, 1);
    server.pass(300);
    assert!(server.engine.counters().keep_alives_unanswered >= 2);
    assert_eq!(reach(&server), None);
    let sent = server.receive(ALICE, &Request { via: ALICE, ..invite("sip:bob@sip.test") }.text());
    assert!(sent.iter().any(|(to, message)| to == NAT && message.method() == Some(&Method::Invite)));
}

#[test]
fn nothing_is_left_of_a_registration_that_ends_or_whose_setting_does() {
    let mut server = server_with(KeepAliveContacts::Nat);
    register_behind_nat(&mut server, 1);
    asked(&mut server);
    // An OPTIONS is under way.
    let extra = format!("Contact: <sip:x@{INSIDE}>;expires=0\r\n");
    server
        .receive(NAT, &Request { cseq: 2, extra, ..register("sip:bob@sip.test", INSIDE, "reg-bob") }.text());
    assert_eq!(server.engine.tables().kept_alive, 0);
    assert_eq!(options(&server.pass(200)).len(), 0);
    register_behind_nat(&mut server, 3);
    let off = KeepAliveSettings { contacts: KeepAliveContacts::Off, ..KeepAliveSettings::default() };
    server.input(Input::Configure(Arc::new(Settings { authenticate: false, keep_alive: off, ..settings() })));
    assert_eq!(server.engine.tables().kept_alive, 0);
    assert_eq!(options(&server.pass(200)).len(), 0);
    server.input(Input::Configure(Arc::new(Settings { authenticate: false, ..settings() })));
    assert_eq!(server.engine.tables().kept_alive, 1);
    server.pass(3600);
    assert_eq!((server.engine.tables().kept_alive, server.engine.tables().bindings), (0, 0));
}

#[test]
fn phones_that_come_back_together_are_not_asked_together() {
    const PHONES: usize = 1_500;
    let mut server = server_with(KeepAliveContacts::Nat);
    for number in 0..PHONES {
        let (user, inside) =
            (format!("sip:u{number}@sip.test"), format!("10.0.{}.{}:5060", number / 250, number % 250));
        let call_id = format!("reg-{number}");
        let from = format!("127.1.{}.{}:7000", number / 250, number % 250);
        server.receive(&from, &register(&user, &inside, &call_id).text());
    }
    assert_eq!(server.engine.tables().kept_alive, PHONES);
    let mut asked = BTreeMap::new();
    for second in 0..INTERVAL_S {
        let sent = server.pass(1);
        let fresh: Vec<(String, Message)> = options(&sent)
            .into_iter()
            .filter(|(to, _)| asked.insert(to.clone(), second).is_none())
            .cloned()
            .collect();
        // 60 a second on average.
        assert!(fresh.len() < 90, "{} in second {second}", fresh.len());
        for (to, options) in fresh {
            server.receive(&to, &response(&options, "200 OK", "t", ""));
        }
    }
    assert_eq!(asked.len(), PHONES, "each within one interval");
}

#[test]
fn no_more_than_the_setting_allows_are_asked_in_a_second() {
    let keep_alive = KeepAliveSettings {
        interval: Duration::from_secs(1),
        per_second: 100,
        ..KeepAliveSettings::default()
    };
    let mut server = Server::new(Settings { authenticate: false, keep_alive, ..settings() });
    for number in 0..1_000 {
        let (user, inside) =
            (format!("sip:u{number}@sip.test"), format!("10.0.{}.{}:5060", number / 250, number % 250));
        let call_id = format!("reg-{number}");
        let from = format!("127.1.{}.{}:7000", number / 250, number % 250);
        server.receive(&from, &register(&user, &inside, &call_id).text());
    }
    let before = server.engine.counters().keep_alives;
    server.pass(5);
    let in_five = server.engine.counters().keep_alives - before;
    assert!((450..=505).contains(&in_five), "{in_five}");
}

#[test]
fn the_answers_come_back_to_the_shard_that_asked() {
    let several = Settings { authenticate: false, shards: 7, ..settings() };
    let mut server = Server::new(several.clone());
    let mut seen = 0;
    for number in 0..20 {
        let (user, inside) = (format!("sip:u{number}@sip.test"), format!("10.0.0.{number}:5060"));
        server.receive(
            &format!("127.1.0.{number}:7000"),
            &register(&user, &inside, &format!("r{number}")).text(),
        );
    }
    for (_, message) in options(&server.pass(INTERVAL_S)) {
        seen += 1;
        let answer = response(message, "200 OK", "t", "");
        assert_eq!(dialtone_roles::steer(&several, answer.as_bytes()), 0);
        assert!(message.has(HeaderName::CallId));
    }
    assert!(seen > 0);
}
