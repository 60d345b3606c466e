//! Forwarding by the server: always, when busy, without an answer, when not reachable; do-not-disturb; chains and loops.

use std::time::Duration;

use dialtone_roles::Settings;
use dialtone_roles::services::Services;
use dialtone_roles::settings::{
    Destination, Domain, Foreign, ForwardingSettings, Group, Member, NextHops, Strategy,
};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message, Method, Status};

use crate::peers::{Request, Server, invite, register, settings};
use crate::proxying::response;

const ALICE: &str = "127.0.0.2:5070";
const BOB: &str = "127.0.0.3:5080";
const BOB_2: &str = "127.0.0.4:5080";
const CAROL: &str = "127.0.0.5:5080";

fn to(user: &'static str) -> Option<smol_str::SmolStr> {
    Some(smol_str::SmolStr::new_static(user))
}

/// A closed network in which these users have these services.
fn server(users: &[(&str, Services)]) -> Server {
    server_with(users, |_| ())
}

fn server_with(users: &[(&str, Services)], change: impl FnOnce(&mut Settings)) -> Server {
    let users =
        users.iter().map(|(user, services)| (format!("sip:{user}@sip.test").into(), services.clone()));
    let forwarding = ForwardingSettings { users: users.collect(), ..ForwardingSettings::default() };
    let mut settings = Settings { authenticate: false, forwarding, ..settings() };
    change(&mut settings);
    Server::new(settings)
}

fn registers(server: &mut Server, user: &str, address: &str) {
    let aor = format!("sip:{user}@sip.test");
    let request = register(&aor, address, address);
    assert_eq!(server.status(address, &request.text()), 200);
}

fn calls(server: &mut Server, user: &str, extra: &str) -> Vec<(String, Message)> {
    let uri = format!("sip:{user}@sip.test");
    let mut request = invite(&uri);
    request.extra.push_str(extra);
    server.receive(ALICE, &request.text())
}

/// What goes where: the method or status, and for an INVITE its user.
fn check(sent: &[(String, Message)], expected: &[&str]) {
    let names = [(ALICE, "alice"), (BOB, "bob"), (BOB_2, "bob's second"), (CAROL, "carol")];
    let line = |(to, message): &(String, Message)| {
        let to = names.iter().find(|(address, _)| address == to).map_or(to.as_str(), |(_, name)| name);
        match (message.method(), message.status()) {
            (Some(method), _) => format!("{} -> {to}", method.as_str()),
            (None, status) => format!("{} -> {to}", status.map_or(0, Status::code)),
        }
    };
    assert_eq!(sent.iter().map(line).collect::<Vec<_>>(), expected);
}

fn invite_to<'a>(sent: &'a [(String, Message)], address: &str) -> &'a Message {
    let is = |(to, message): &&(String, Message)| to == address && message.method() == Some(&Method::Invite);
    &sent.iter().find(is).unwrap_or_else(|| panic!("no INVITE to {address}: {sent:?}")).1
}

fn values(message: &Message, name: HeaderName) -> Vec<String> {
    message.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

fn always(user: &'static str) -> Services {
    Services { always: to(user), ..Services::default() }
}

#[test]
fn always_goes_at_once_and_the_caller_is_told() {
    let mut server = server(&[("bob", always("carol"))]);
    registers(&mut server, "bob", BOB);
    registers(&mut server, "carol", CAROL);
    let sent = calls(&mut server, "bob", "Supported: histinfo\r\n");
    check(&sent, &["100 -> alice", "181 -> alice", "INVITE -> carol"]);
    assert!(sent[1].1.to_tag().unwrap().is_some(), "RFC 3261 §8.2.6.2");
    let invite = invite_to(&sent, CAROL);
    assert_eq!(
        values(invite, HeaderName::HistoryInfo),
        [
            "<sip:bob@sip.test>;index=1",
            "<sip:carol@sip.test;cause=302>;index=1.1;mp=1",
            "<sip:x@127.0.0.5:5080>;index=1.1.1;rc=1.1",
        ]
    );
    assert_eq!(values(invite, HeaderName::Diversion), ["<sip:bob@sip.test>;reason=unconditional;counter=1"]);
    let back = server.receive(CAROL, &response(invite, "180 Ringing", "c", ""));
    check(&back, &["180 -> alice"]);
    assert_eq!(values(&back[0].1, HeaderName::HistoryInfo), values(invite, HeaderName::HistoryInfo));
    let back = server.receive(CAROL, &response(invite, "200 OK", "c", "Contact: <sip:x@127.0.0.5:5080>\r\n"));
    check(&back, &["200 -> alice"]);
    assert_eq!(server.engine.counters().calls_forwarded, 1);
}

#[test]
fn who_does_not_ask_for_the_history_gets_none_back_and_each_part_can_be_switched_off() {
    let mut one = server(&[("bob", always("carol"))]);
    registers(&mut one, "carol", CAROL);
    let sent = calls(&mut one, "bob", "");
    let with = "History-Info: <sip:bob@sip.test>;index=1\r\n";
    let back = one.receive(CAROL, &response(invite_to(&sent, CAROL), "180 Ringing", "c", with));
    check(&back, &["180 -> alice"]);
    assert!(!back[0].1.has(HeaderName::HistoryInfo));
    let mut silent = server_with(&[("bob", always("carol"))], |settings| {
        let forwarding = &mut settings.forwarding;
        (forwarding.history_info, forwarding.diversion, forwarding.tell_caller) = (false, false, false);
    });
    registers(&mut silent, "carol", CAROL);
    let sent = calls(&mut silent, "bob", "Supported: histinfo\r\n");
    check(&sent, &["100 -> alice", "INVITE -> carol"]);
    let invite = invite_to(&sent, CAROL);
    assert!(!invite.has(HeaderName::HistoryInfo) && !invite.has(HeaderName::Diversion));
}

#[test]
fn busy_is_when_no_phone_rings_any_more_and_one_of_them_was_busy() {
    let busy = Services { busy: to("carol"), ..Services::default() };
    let mut server = server(&[("bob", busy)]);
    registers(&mut server, "bob", BOB);
    registers(&mut server, "bob", BOB_2);
    registers(&mut server, "carol", CAROL);
    let sent = calls(&mut server, "bob", "");
    check(&sent, &["100 -> alice", "INVITE -> bob's second", "INVITE -> bob"]);
    let (one, two) = (invite_to(&sent, BOB).clone(), invite_to(&sent, BOB_2).clone());
    check(&server.receive(BOB_2, &response(&two, "180 Ringing", "b", "")), &["180 -> alice"]);
    check(&server.receive(BOB, &response(&one, "486 Busy Here", "a", "")), &["ACK -> bob"]);
    let sent = server.receive(BOB_2, &response(&two, "486 Busy Here", "b", ""));
    check(&sent, &["ACK -> bob's second", "181 -> alice", "INVITE -> carol"]);
    let invite = invite_to(&sent, CAROL);
    assert_eq!(
        values(invite, HeaderName::HistoryInfo),
        [
            "<sip:bob@sip.test>;index=1",
            "<sip:x@127.0.0.4:5080?Reason=SIP%3Bcause%3D486>;index=1.1;rc=1",
            "<sip:x@127.0.0.3:5080?Reason=SIP%3Bcause%3D486>;index=1.2;rc=1",
            "<sip:carol@sip.test;cause=486>;index=1.3;mp=1",
            "<sip:x@127.0.0.5:5080>;index=1.3.1;rc=1.3",
        ]
    );
    assert_eq!(values(invite, HeaderName::Diversion), ["<sip:bob@sip.test>;reason=user-busy;counter=1"]);
    // Carol is busy too: the caller hears it.
    let sent = server.receive(CAROL, &response(invite, "486 Busy Here", "c", ""));
    check(&sent, &["ACK -> carol", "486 -> alice"]);
    server.pass(60);
    assert_eq!(server.engine.tables().proxy_contexts, 0);
}

#[test]
fn a_phone_that_answers_is_not_forwarded_though_another_was_busy() {
    let busy = Services { busy: to("carol"), ..Services::default() };
    let mut server = server(&[("bob", busy)]);
    registers(&mut server, "bob", BOB);
    registers(&mut server, "bob", BOB_2);
    registers(&mut server, "carol", CAROL);
    let sent = calls(&mut server, "bob", "");
    let (one, two) = (invite_to(&sent, BOB).clone(), invite_to(&sent, BOB_2).clone());
    check(&server.receive(BOB, &response(&one, "486 Busy Here", "a", "")), &["ACK -> bob"]);
    let ok = response(&two, "200 OK", "b", "Contact: <sip:x@127.0.0.4:5080>\r\n");
    check(&server.receive(BOB_2, &ok), &["200 -> alice"]);
    assert_eq!(server.engine.counters().calls_forwarded, 0);
}

#[test]
fn nobody_answers_in_the_users_own_time() {
    let after = Some(Duration::from_secs(7));
    let no_answer = Services { no_answer: to("carol"), no_answer_after: after, ..Services::default() };
    let mut server = server(&[("bob", no_answer)]);
    registers(&mut server, "bob", BOB);
    registers(&mut server, "carol", CAROL);
    let sent = calls(&mut server, "bob", "");
    let ringing = invite_to(&sent, BOB).clone();
    check(&server.receive(BOB, &response(&ringing, "180 Ringing", "a", "")), &["180 -> alice"]);
    assert!(server.pass(6).is_empty());
    let sent = server.pass(1);
    check(&sent, &["CANCEL -> bob", "181 -> alice", "INVITE -> carol"]);
    let invite = invite_to(&sent, CAROL);
    assert_eq!(
        values(invite, HeaderName::HistoryInfo)[1..3],
        [
            "<sip:x@127.0.0.3:5080?Reason=SIP%3Bcause%3D408>;index=1.1;rc=1",
            "<sip:carol@sip.test;cause=408>;index=1.2;mp=1",
        ]
    );
    assert_eq!(values(invite, HeaderName::Diversion), ["<sip:bob@sip.test>;reason=no-answer;counter=1"]);
    // Bob picks up in the last moment: his 200 crosses our CANCEL, and the call is his.
    let ok = response(&ringing, "200 OK", "a", "Contact: <sip:x@127.0.0.3:5080>\r\n");
    let sent = server.receive(BOB, &ok);
    assert!(sent.iter().any(|(to, message)| to == ALICE && message.status() == Some(Status::of(200))));
}

#[test]
fn not_reachable_is_without_a_phone_or_with_one_that_is_gone() {
    let services = Services { not_reachable: to("carol"), ..Services::default() };
    let mut one = server(&[("bob", services.clone())]);
    registers(&mut one, "carol", CAROL);
    let sent = calls(&mut one, "bob", "");
    check(&sent, &["100 -> alice", "181 -> alice", "INVITE -> carol"]);
    let invite = invite_to(&sent, CAROL);
    assert_eq!(values(invite, HeaderName::HistoryInfo)[1], "<sip:carol@sip.test;cause=404>;index=1.1;mp=1");
    assert_eq!(values(invite, HeaderName::Diversion), ["<sip:bob@sip.test>;reason=unavailable;counter=1"]);
    // A phone that does not even say 100 until Timer B is over.
    let mut two = server(&[("bob", services)]);
    registers(&mut two, "bob", BOB);
    registers(&mut two, "carol", CAROL);
    calls(&mut two, "bob", "");
    let sent = two.pass(33);
    let invite = invite_to(&sent, CAROL);
    assert_eq!(values(invite, HeaderName::HistoryInfo)[2], "<sip:carol@sip.test;cause=503>;index=1.2;mp=1");
}

#[test]
fn do_not_disturb_refuses_with_its_status_and_no_phone_rings() {
    for (code, forwards) in [(480, "not_reachable"), (486, "busy"), (603, "")] {
        let dnd = Services { do_not_disturb: Some(Status::of(code)), ..Services::default() };
        let mut quiet = server(&[("bob", dnd.clone())]);
        registers(&mut quiet, "bob", BOB);
        let sent = calls(&mut quiet, "bob", "");
        assert_eq!(sent.last().map(|(_, message)| message.status()), Some(Some(Status::of(code))));
        assert!(sent.iter().all(|(to, _)| to == ALICE));
        let (busy, not_reachable) = (to("carol"), to("carol"));
        let also = match forwards {
            "busy" => Services { busy, ..dnd },
            "not_reachable" => Services { not_reachable, ..dnd },
            _ => Services { busy, not_reachable, ..dnd },
        };
        let mut both = server(&[("bob", also)]);
        registers(&mut both, "bob", BOB);
        registers(&mut both, "carol", CAROL);
        let sent = calls(&mut both, "bob", "");
        let is_forwarded = sent.iter().any(|(to, _)| to == CAROL);
        assert_eq!(is_forwarded, code != 603, "{code}");
        if is_forwarded {
            let diversion = values(invite_to(&sent, CAROL), HeaderName::Diversion);
            assert_eq!(diversion, ["<sip:bob@sip.test>;reason=do-not-disturb;counter=1"]);
        }
    }
}

#[test]
fn a_decline_is_a_decline() {
    let (busy, no_answer, not_reachable) = (to("carol"), to("carol"), to("carol"));
    let mut server = server(&[("bob", Services { busy, no_answer, not_reachable, ..Services::default() })]);
    registers(&mut server, "bob", BOB);
    registers(&mut server, "carol", CAROL);
    let sent = calls(&mut server, "bob", "");
    let sent = server.receive(BOB, &response(invite_to(&sent, BOB), "603 Decline", "a", ""));
    check(&sent, &["ACK -> bob", "603 -> alice"]);
}

#[test]
fn chains_go_on_as_long_as_they_may() {
    let users = [("bob", always("carol")), ("carol", always("alice")), ("alice", Services::default())];
    let mut two = server(&users);
    registers(&mut two, "alice", BOB_2);
    let sent = calls(&mut two, "bob", "");
    check(&sent, &["100 -> alice", "181 -> alice", "181 -> alice", "INVITE -> bob's second"]);
    let invite = invite_to(&sent, BOB_2);
    assert_eq!(
        values(invite, HeaderName::HistoryInfo),
        [
            "<sip:bob@sip.test>;index=1",
            "<sip:carol@sip.test;cause=302>;index=1.1;mp=1",
            "<sip:alice@sip.test;cause=302>;index=1.1.1;mp=1.1",
            "<sip:x@127.0.0.4:5080>;index=1.1.1.1;rc=1.1.1",
        ]
    );
    assert_eq!(
        values(invite, HeaderName::Diversion),
        [
            "<sip:carol@sip.test>;reason=unconditional;counter=1",
            "<sip:bob@sip.test>;reason=unconditional;counter=1",
        ]
    );
    let mut one = server_with(&users, |settings| settings.forwarding.forwards_max = 1);
    registers(&mut one, "alice", BOB_2);
    check(&calls(&mut one, "bob", ""), &["100 -> alice", "181 -> alice", "480 -> alice"]);
    assert_eq!(one.engine.counters().forwards_stopped, 1);
    // What was forwarded elsewhere before counts too.
    let mut far = server(&users);
    let sent = calls(&mut far, "bob", "Diversion: <sip:a@a.test>;counter=5\r\n");
    assert_eq!(sent.last().and_then(|(_, message)| message.status()), Some(Status::of(480)));
    let mut near = server(&users);
    registers(&mut near, "alice", BOB_2);
    let sent = calls(&mut near, "bob", "Diversion: <sip:a@a.test>;counter=3\r\n");
    let diversions = values(invite_to(&sent, BOB_2), HeaderName::Diversion);
    assert_eq!(diversions.last().map(String::as_str), Some("<sip:a@a.test>;counter=3"));
}

#[test]
fn loops_are_stopped_and_each_user_is_tried_once() {
    let mut circle = server(&[("bob", always("carol")), ("carol", always("bob"))]);
    registers(&mut circle, "bob", BOB);
    registers(&mut circle, "carol", CAROL);
    let sent = calls(&mut circle, "bob", "");
    check(&sent, &["100 -> alice", "181 -> alice", "482 -> alice"]);
    let warning = "399 sip.test \"The callee forwards to somebody who was tried before\"";
    assert_eq!(values(&sent[2].1, HeaderName::Warning), [warning]);
    let mut own = server(&[("bob", always("bob"))]);
    assert_eq!(calls(&mut own, "bob", "").last().and_then(|(_, m)| m.status()), Some(Status::of(482)));
    // Two who are busy: the caller hears that.
    let busy = |user| Services { busy: to(user), ..Services::default() };
    let mut both = server(&[("bob", busy("carol")), ("carol", busy("bob"))]);
    registers(&mut both, "bob", BOB);
    registers(&mut both, "carol", CAROL);
    let sent = calls(&mut both, "bob", "");
    let sent = both.receive(BOB, &response(invite_to(&sent, BOB), "486 Busy Here", "a", ""));
    check(&sent, &["ACK -> bob", "181 -> alice", "INVITE -> carol"]);
    let sent = both.receive(CAROL, &response(invite_to(&sent, CAROL), "486 Busy Here", "c", ""));
    check(&sent, &["ACK -> carol", "486 -> alice"]);
    assert_eq!(both.engine.counters().forwards_stopped, 1);
}

#[test]
fn nobody_forwards_to_where_he_may_not_call() {
    let abroad = always("sip:carol@127.0.0.5:5080");
    let mut closed = server(&[("bob", abroad.clone())]);
    let sent = calls(&mut closed, "bob", "");
    assert_eq!(sent.last().and_then(|(_, message)| message.status()), Some(Status::of(403)));
    let mut open = server_with(&[("bob", abroad)], |settings| settings.foreign = Foreign::Open);
    let sent = calls(&mut open, "bob", "");
    let invite = invite_to(&sent, CAROL);
    assert_eq!(invite.uri_text(), "sip:carol@127.0.0.5:5080");
    assert_eq!(
        values(invite, HeaderName::HistoryInfo),
        ["<sip:bob@sip.test>;index=1", "<sip:carol@127.0.0.5:5080;cause=302>;index=1.1;mp=1"]
    );
}

#[test]
fn the_rules_of_the_dial_plan_count_for_who_forwards_and_not_for_who_calls() {
    use dialtone_roles::settings::dial_plan::{Action, CallerPattern, Rule, Template};
    let rule = Rule {
        name: "abroad".into(),
        numbers: vec!["00*".parse().unwrap()],
        domains: Vec::new(),
        callers: vec![CallerPattern::User { user: "bob".into(), domain: None }],
        times: None,
        strip: 2,
        prepend: "+".into(),
        action: Action::Uri(Template::of_uri("sip:{number}@127.0.0.5:5080").unwrap()),
        mode: None,
    };
    let rest = Rule {
        name: "nobody else".into(),
        callers: Vec::new(),
        action: Action::Refuse { status: Status::of(403), reason: None, error_info: None },
        ..rule.clone()
    };
    let users = [("bob", always("00491")), ("carol", always("00491"))];
    let mut server = server_with(&users, |settings| settings.dial_plan.rules = vec![rule, rest]);
    let sent = calls(&mut server, "bob", "");
    assert_eq!(invite_to(&sent, CAROL).uri_text(), "sip:+491@127.0.0.5:5080");
    let request = Request { call_id: "two", ..invite("sip:carol@sip.test") };
    let sent = server.receive(ALICE, &request.text());
    check(&sent, &["403 -> alice"]);
}

#[test]
fn a_forwarded_call_goes_over_the_trunk_that_its_user_may_use() {
    use dialtone_roles::settings::dial_plan::{Action, CallerPattern, Rule};
    use dialtone_roles::settings::{Trunk, TrunkAccess};
    let rule = Rule {
        name: "out".into(),
        numbers: vec!["+1*".parse().unwrap()],
        domains: Vec::new(),
        callers: vec![CallerPattern::User { user: "bob".into(), domain: None }],
        times: None,
        strip: 0,
        prepend: "".into(),
        action: Action::Trunk("carrier".into()),
        mode: None,
    };
    let users = [("bob", always("+12125550100")), ("carol", always("+12125550100"))];
    let mut server = server_with(&users, |settings| {
        let hop = dialtone_wire::uri::UriBuf::parse("sip:127.0.1.1").unwrap();
        settings.trunks = vec![Trunk::new("carrier", TrunkAccess::Addresses(vec![hop]))];
        settings.dial_plan.rules = vec![rule];
    });
    let sent = calls(&mut server, "bob", "");
    let out = invite_to(&sent, "127.0.1.1:5060");
    assert!(out.uri_text().starts_with("sip:+12125550100@127.0.1.1"), "{}", out.uri_text());
    assert_eq!(values(out, HeaderName::Diversion), ["<sip:bob@sip.test>;reason=unconditional;counter=1"]);
    assert_eq!(
        values(out, HeaderName::HistoryInfo)[1],
        "<sip:+12125550100@sip.test;cause=302>;index=1.1;mp=1"
    );
    let request = Request { call_id: "two", ..invite("sip:carol@sip.test") };
    let sent = server.receive(ALICE, &request.text());
    assert!(sent.iter().all(|(to, _)| to == ALICE), "there is no rule for her: {sent:?}");
}

#[test]
fn a_phone_that_sends_elsewhere_is_followed_and_stands_in_the_history() {
    let mut server = server_with(&[], |settings| settings.foreign = Foreign::Open);
    registers(&mut server, "bob", BOB);
    let sent = calls(&mut server, "bob", "Supported: histinfo\r\n");
    let contact = "Contact: <sip:carol@127.0.0.5:5080>\r\n";
    let moved = response(invite_to(&sent, BOB), "302 Moved Temporarily", "b", contact);
    let sent = server.receive(BOB, &moved);
    assert_eq!(
        values(invite_to(&sent, CAROL), HeaderName::HistoryInfo),
        [
            "<sip:bob@sip.test>;index=1",
            "<sip:x@127.0.0.3:5080?Reason=SIP%3Bcause%3D302>;index=1.1;rc=1",
            "<sip:carol@127.0.0.5:5080>;index=1.2",
        ]
    );
}

#[test]
fn a_call_that_stands_is_not_forwarded() {
    let mut server = server(&[("bob", always("carol"))]);
    registers(&mut server, "bob", BOB);
    registers(&mut server, "carol", CAROL);
    // Bob's phone has given its address-of-record as the Contact of the dialog.
    let request = Request { to: "sip:bob@sip.test>;tag=b;x=<", ..invite("sip:bob@sip.test") };
    let sent = server.receive(ALICE, &request.text().replace(";x=<>", ""));
    invite_to(&sent, BOB);
    assert!(sent.iter().all(|(to, _)| to != CAROL), "{sent:?}");
}

#[test]
fn a_cancelled_call_is_not_forwarded() {
    let (busy, no_answer) = (to("carol"), to("carol"));
    let mut server = server(&[("bob", Services { busy, no_answer, ..Services::default() })]);
    registers(&mut server, "bob", BOB);
    registers(&mut server, "carol", CAROL);
    let sent = calls(&mut server, "bob", "");
    let ringing = invite_to(&sent, BOB).clone();
    server.receive(BOB, &response(&ringing, "180 Ringing", "a", ""));
    let uri = "sip:bob@sip.test";
    let cancel = Request { method: "CANCEL", extra: String::new(), ..invite(uri) };
    let cancel = cancel.text().replace("CANCEL;", "INVITE;").replace("1CANCEL", "1INVITE");
    server.receive(ALICE, &cancel);
    let sent = server.receive(BOB, &response(&ringing, "486 Busy Here", "a", ""));
    check(&sent, &["ACK -> bob", "486 -> alice"]);
    assert!(server.pass(60).iter().all(|(to, _)| to != CAROL));
}

#[test]
fn a_group_can_be_forwarded_to_and_its_members_forward_only_calls_to_themselves() {
    let member = |user: &str, ring| Member {
        destination: Destination::User(format!("sip:{user}@sip.test").into()),
        delay: Duration::ZERO,
        ring,
    };
    let members = vec![member("bob", Some(Duration::from_secs(5))), member("alice", None)];
    let group = Group {
        name: "sales".into(),
        domain: "sip.test".into(),
        numbers: vec!["600".into()],
        members,
        strategy: Strategy::InTurn,
        otherwise: None,
    };
    let after = Some(Duration::from_secs(2));
    let services =
        Services { no_answer: to("carol"), busy: to("carol"), no_answer_after: after, ..Services::default() };
    let begin = || {
        let users = [("bob", services.clone()), ("front", always("600"))];
        let mut server = server_with(&users, |settings| settings.groups = vec![group.clone()]);
        for (user, address) in [("bob", BOB), ("alice", BOB_2), ("carol", CAROL)] {
            registers(&mut server, user, address);
        }
        let sent = calls(&mut server, "front", "");
        let ringing = invite_to(&sent, BOB).clone();
        server.receive(BOB, &response(&ringing, "180 Ringing", "a", ""));
        (server, ringing)
    };
    let (mut server, ringing) = begin();
    assert_eq!(
        values(&ringing, HeaderName::HistoryInfo)[..3],
        [
            "<sip:front@sip.test>;index=1",
            "<sip:600@sip.test;cause=302>;index=1.1;mp=1",
            "<sip:bob@sip.test>;index=1.1.1;mp=1.1",
        ]
    );
    assert!(server.pass(4).is_empty(), "his own time is for calls to himself");
    let sent = server.pass(1);
    check(&sent, &["CANCEL -> bob", "INVITE -> bob's second"]);
    let (mut server, ringing) = begin();
    let sent = server.receive(BOB, &response(&ringing, "486 Busy Here", "a", ""));
    check(&sent, &["ACK -> bob", "INVITE -> bob's second"]);
}

#[test]
fn calls_are_forwarded_into_a_domain_that_another_server_has() {
    let services = Services { always: Some("carol@far.test".into()), ..Services::default() };
    let mut server = server_with(&[("bob", services)], |settings| {
        let next_hops = NextHops(vec![UriBuf::parse(&format!("sip:{CAROL}")).unwrap()]);
        settings.domains.push(Domain { name: "far.test".into(), next_hops, ..Domain::default() });
    });
    let sent = calls(&mut server, "bob", "");
    check(&sent, &["100 -> alice", "181 -> alice", "INVITE -> carol"]);
    assert_eq!(sent[2].1.uri_text(), "sip:carol@far.test");
}
