//! Calls that the proxy follows, in mode `call`, and that it does not in mode `transaction`.

use dialtone_roles::Settings;
use dialtone_roles::io::CallEnd;
use dialtone_roles::listing::CallCursor;
use dialtone_roles::settings::{CallSettings, Domain, Mode};
use dialtone_wire::{HeaderName, Message};

use crate::peers::{Request, Server, invite, register, settings};

const ALICE: &str = "127.0.0.2:5070";
const BOB: &str = "127.0.0.3:5080";

/// A server that asks nobody for a password, at which bob is registered.
fn server(mode: Mode, calls: CallSettings) -> Server {
    let domain = Domain { name: "sip.test".into(), mode, ..Domain::default() };
    let mut server =
        Server::new(Settings { authenticate: false, calls, domains: vec![domain], ..settings() });
    assert_eq!(server.status(BOB, &register("sip:bob@sip.test", BOB, "reg-bob").text()), 200);
    server
}

/// The calls, as state and Call-ID.
fn listed(server: &Server) -> Vec<(&'static str, String)> {
    let (mut all, mut cursor) = (Vec::new(), Some(CallCursor::START));
    while let Some(from) = cursor {
        let page = server.engine.calls(from, 1);
        all.extend(
            page.entries.into_iter().map(|call| (call.state.word(), call.call_id.expect("one").to_string())),
        );
        cursor = page.next;
    }
    all
}

fn text(message: &Message, name: HeaderName) -> String {
    message.value(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

/// The request as it reaches the other side; it must be sent there and nowhere else.
fn forwarded(server: &mut Server, from: &str, request: &str) -> Message {
    let mut sent = server.receive(from, request);
    sent.retain(|(_, message)| message.is_request());
    assert_eq!(sent.len(), 1, "{sent:?}");
    sent.remove(0).1
}

/// What comes back for the answer of the one who was asked.
fn back(server: &mut Server, from: &str, request: &Message, status: &str, extra: &str) -> Message {
    let mut answer = format!("SIP/2.0 {status}\r\n");
    for name in
        [HeaderName::Via, HeaderName::RecordRoute, HeaderName::From, HeaderName::CallId, HeaderName::CSeq]
    {
        for value in request.values(name) {
            answer.push_str(&format!("{}: {}\r\n", name.as_str(), String::from_utf8_lossy(value)));
        }
    }
    let to = text(request, HeaderName::To);
    let tag = if to.contains(";tag=") { "" } else { ";tag=t" };
    let contact = format!("Contact: <sip:x@{from}>\r\n");
    let mut sent = server.receive(from, &format!("{answer}To: {to}{tag}\r\n{contact}{extra}\r\n"));
    sent.retain(|(_, message)| message.status().is_some());
    assert_eq!(sent.len(), 1, "{sent:?}");
    sent.remove(0).1
}

/// A call that bob has answered; gives the 200 as alice gets it.
fn answered(server: &mut Server, extra: &str, answer: &str) -> Message {
    let mut call = invite("sip:bob@sip.test");
    call.extra.push_str(extra);
    let request = forwarded(server, ALICE, &call.text());
    back(server, BOB, &request, "200 OK", answer)
}

/// A request of alice within the dialog.
fn within(method: &'static str, cseq: u32, ok: &Message, extra: &str) -> String {
    let extra = format!("Route: {}\r\n{extra}", text(ok, HeaderName::RecordRoute));
    let request = Request { method, uri: "sip:x@127.0.0.3:5080", cseq, extra, ..invite("sip:bob@sip.test") };
    request.text().replace("To: <sip:bob@sip.test>", "To: <sip:bob@sip.test>;tag=t")
}

#[test]
fn a_call_is_listed_from_its_invite_until_its_bye() {
    let mut server = server(Mode::Call, CallSettings::default());
    assert_eq!(listed(&server), []);
    let request = forwarded(&mut server, ALICE, &invite("sip:bob@sip.test").text());
    assert_eq!(listed(&server), [("forwarding", "call".to_owned())]);
    back(&mut server, BOB, &request, "180 Ringing", "");
    assert_eq!(listed(&server), [("forwarding", "call".to_owned())]);
    let ok = back(&mut server, BOB, &request, "200 OK", "");
    assert_eq!(listed(&server), [("talking", "call".to_owned())]);
    // Long after the transaction.
    server.pass(3_600);
    assert_eq!(listed(&server), [("talking", "call".to_owned())]);
    assert_eq!((server.engine.tables().calls_talking, server.engine.tables().calls_forwarding), (1, 0));
    forwarded(&mut server, ALICE, &within("BYE", 2, &ok, ""));
    assert_eq!(listed(&server), []);
    let ends: Vec<CallEnd> = server.records.iter().map(|record| record.end).collect();
    assert_eq!((ends, server.engine.tables().calls_talking), (vec![CallEnd::Caller], 0));
}

#[test]
fn in_mode_transaction_no_call_is_listed_or_recorded() {
    let mut server = server(Mode::Transaction, CallSettings { session_s: Some(600), session_min_s: 90 });
    let ok = answered(&mut server, "", "Session-Expires: 600;refresher=uac\r\n");
    assert!(!text(&ok, HeaderName::RecordRoute).is_empty());
    server.pass(60);
    assert_eq!((listed(&server), server.engine.tables().calls_talking), (vec![], 0));
    // Nor is a session timer asked for within its dialog.
    let again = forwarded(&mut server, ALICE, &within("UPDATE", 2, &ok, ""));
    assert!(!again.has(HeaderName::SessionExpires));
    back(&mut server, BOB, &again, "200 OK", "Session-Expires: 600;refresher=uac\r\n");
    forwarded(&mut server, ALICE, &within("BYE", 3, &ok, ""));
    let refused =
        forwarded(&mut server, ALICE, &Request { call_id: "two", ..invite("sip:bob@sip.test") }.text());
    back(&mut server, BOB, &refused, "486 Busy Here", "");
    server.pass(60);
    assert!(server.records.is_empty() && listed(&server).is_empty());
    assert_eq!(server.engine.counters().call_records, 0);
}

#[test]
fn a_call_both_sides_of_which_have_died_is_over_when_its_session_is_and_no_bye_is_sent() {
    let mut server = server(Mode::Call, CallSettings::default());
    let ok = answered(
        &mut server,
        "Supported: timer\r\nSession-Expires: 200\r\n",
        "Session-Expires: 200;refresher=uac\r\n",
    );
    assert_eq!(text(&ok, HeaderName::SessionExpires), "200;refresher=uac");
    // A refresh within the dialog by each method, the second one by the other side.
    server.pass(150);
    let update = within("UPDATE", 2, &ok, "Supported: timer\r\nSession-Expires: 200;refresher=uac\r\n");
    let update = forwarded(&mut server, ALICE, &update);
    back(&mut server, BOB, &update, "200 OK", "Session-Expires: 200;refresher=uac\r\n");
    server.pass(199);
    assert_eq!(listed(&server).len(), 1);
    let again = Request {
        method: "INVITE",
        uri: "sip:alice@127.0.0.2:5070",
        from: "sip:bob@sip.test",
        to: "sip:alice@sip.test",
        via: BOB,
        cseq: 1,
        extra: format!("Route: {}\r\nContact: <sip:x@{BOB}>\r\n", text(&ok, HeaderName::RecordRoute)),
        ..invite("sip:bob@sip.test")
    };
    let again = again
        .text()
        .replace(">;tag=f", ">;tag=t")
        .replace("To: <sip:alice@sip.test>", "To: <sip:alice@sip.test>;tag=f");
    let again = forwarded(&mut server, BOB, &again);
    back(&mut server, ALICE, &again, "200 OK", "Session-Expires: 100;refresher=uas\r\n");
    // Nobody refreshes it any more. What is sent are the retransmissions of nobody: both have died.
    server.pass(99);
    assert_eq!(listed(&server).len(), 1);
    let sent = server.pass(1);
    assert!(
        sent.iter().all(|(_, message)| message.method().is_none_or(|method| method.as_str() != "BYE")),
        "{sent:?}"
    );
    assert_eq!(listed(&server), []);
    let [record] = server.records.as_slice() else { panic!("{:?}", server.records) };
    assert_eq!(
        (record.end, record.ended.since(record.answered.expect("it was")).as_secs()),
        (CallEnd::RanOut, 449)
    );
    server.pass(300);
    let mut tables = server.engine.tables();
    tables.bindings = 0;
    assert!(tables.iter().all(|(_, size)| size == 0), "{tables:?}");
    assert_eq!(server.records.len(), 1);
}

#[test]
fn an_interval_that_is_too_small_is_422_with_ours() {
    let mut server = server(Mode::Call, CallSettings { session_s: None, session_min_s: 300 });
    let mut call = invite("sip:bob@sip.test");
    call.extra.push_str("Supported: timer\r\nSession-Expires: 299\r\n");
    let sent = server.receive(ALICE, &call.text());
    let [(to, refused)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((to.as_str(), refused.status().map(|status| status.code())), (ALICE, Some(422)));
    assert_eq!(text(refused, HeaderName::MinSe), "300");
}

#[test]
fn a_session_timer_is_asked_for_where_the_settings_say_so() {
    let mut server = server(Mode::Call, CallSettings { session_s: Some(600), session_min_s: 90 });
    let mut call = invite("sip:bob@sip.test");
    call.extra.push_str("Supported: timer\r\n");
    let request = forwarded(&mut server, ALICE, &call.text());
    assert_eq!(text(&request, HeaderName::SessionExpires), "600");
    // Bob's phone has never heard of it: alice's refreshes (RFC 4028 §8.2).
    let ok = back(&mut server, BOB, &request, "200 OK", "Require: foo\r\n");
    assert_eq!(text(&ok, HeaderName::SessionExpires), "600;refresher=uac");
    assert!(ok.has_token(HeaderName::Require, "timer") && ok.has_token(HeaderName::Require, "foo"));
    server.pass(600);
    assert_eq!(server.records.last().map(|record| record.end), Some(CallEnd::RanOut));
    // Neither side knows of timers: there is none.
    let call = Request { call_id: "two", ..invite("sip:bob@sip.test") };
    let request = forwarded(&mut server, ALICE, &call.text());
    let ok = back(&mut server, BOB, &request, "200 OK", "");
    assert!(!ok.has(HeaderName::SessionExpires));
    server.pass(86_000);
    assert_eq!(listed(&server), [("talking", "two".to_owned())]);
}
