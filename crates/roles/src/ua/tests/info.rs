//! INFO: digits and Info Packages (RFC 6086).

use bytes::Bytes;
use dialtone_wire::{HeaderName, Status};

use super::bench::header;
use super::net::{A, B, Net};
use crate::io::{Command, DigitForm, Event};

fn digits(net: &Net, phone: usize) -> Vec<(char, Option<u32>)> {
    let digits = net.phones[phone].events.iter().filter_map(|event| match event {
        Event::DigitReceived { digit, duration_ms, .. } => Some((*digit, *duration_ms)),
        _ => None,
    });
    digits.collect()
}

fn answers(net: &Net, phone: usize) -> Vec<Option<u16>> {
    let answers = net.phones[phone].events.iter().filter_map(|event| match event {
        Event::InfoAnswered { status, .. } => Some(status.map(Status::code)),
        _ => None,
    });
    answers.collect()
}

#[test]
fn digits_pass_in_both_forms() {
    let mut net = Net::new();
    let (call, _) = net.call(A, B);
    net.command(A, Command::SendDigit { call, digit: '5', duration_ms: 160, form: DigitForm::Relay });
    assert_eq!(net.ladder(), "AB:INFO BA:200/INFO");
    assert_eq!(net.last("INFO").body(), b"Signal=5\r\nDuration=160\r\n");
    assert_eq!(header(net.last("INFO"), HeaderName::ContentType), "application/dtmf-relay");
    net.command(A, Command::SendDigit { call, digit: 'b', duration_ms: 160, form: DigitForm::Plain });
    assert_eq!(net.last("INFO").body(), b"B");
    assert_eq!(digits(&net, B), [('5', Some(160)), ('B', None)]);
    // What is no digit is not sent.
    net.command(A, Command::SendDigit { call, digit: 'x', duration_ms: 160, form: DigitForm::Plain });
    assert_eq!(answers(&net, A), [Some(200), Some(200), None]);
    net.assert_at_rest();
    net.command(A, Command::SendDigit { call, digit: '5', duration_ms: 160, form: DigitForm::Relay });
    assert_eq!(answers(&net, A).last(), Some(&None));
}

#[test]
fn bodies_that_nobody_knows_get_415_and_leave_the_call() {
    let mut net = Net::new();
    let (call, _) = net.call(A, B);
    let mut send = |content_type: &str, body: &'static [u8]| {
        let content_type = content_type.into();
        let info = Command::SendInfo { call, package: None, content_type, body: Bytes::from_static(body) };
        net.command(A, info);
        answers(&net, A).last().copied().flatten()
    };
    assert_eq!(send("text/plain", b"hello"), Some(415));
    assert_eq!(send("application/dtmf-relay", b"Signal=12345"), Some(400));
    assert_eq!(send("application/dtmf", b"hello"), Some(400));
    // RFC 6086 §4.2.2, as RFC 2976 §2.2 had it: without a body there is nothing to be wrong.
    assert_eq!(send("text/plain", b""), Some(200));
    assert_eq!(header(net.last("415/INFO"), HeaderName::Accept), "application/dtmf-relay, application/dtmf");
    assert_eq!(net.calls(A), [call]);
    assert_eq!(digits(&net, B), []);
    net.assert_at_rest();
}

#[test]
fn packages_are_named_at_the_start_and_others_get_469() {
    let mut net = Net::with(|settings| {
        if settings.listeners[0].address.ip().to_string() == "192.0.2.2" {
            settings.info_packages = vec!["g.test".into(), "other".into()];
        }
    });
    let (call, of_bob) = net.call(A, B);
    // RFC 6086 §5.2.2: who takes none says so with an empty header.
    assert_eq!(net.last("INVITE").value_by_text("Recv-Info"), Some(&b""[..]));
    assert_eq!(net.last("200/INVITE").value_by_text("Recv-Info"), Some(&b"g.test, other"[..]));
    let info = |call, package: &str| Command::SendInfo {
        call,
        package: Some(package.into()),
        content_type: "text/plain".into(),
        body: Bytes::from_static(b"hello"),
    };
    net.command(A, info(call, "G.test"));
    assert_eq!(net.ladder(), "AB:INFO BA:200/INFO");
    assert_eq!(net.last("INFO").value_by_text("Info-Package"), Some(&b"G.test"[..]));
    assert_eq!(header(net.last("INFO"), HeaderName::ContentDisposition), "Info-Package");
    let received = net.phones[B].events.iter().find_map(|event| match event {
        Event::InfoReceived { package, content_type, body, .. } => {
            Some((package.clone(), content_type.clone(), body.clone()))
        }
        _ => None,
    });
    assert_eq!(received, Some(("g.test".into(), "text/plain".into(), Bytes::from_static(b"hello"))));
    // What the other side has not named is not sent (§4.2.1).
    net.command(A, info(call, "third"));
    net.command(B, info(of_bob, "g.test"));
    assert_eq!(net.ladder(), "");
    assert_eq!((answers(&net, A), answers(&net, B)), (vec![Some(200), Some(469)], vec![Some(469)]));
    net.assert_at_rest();
}

#[test]
fn a_package_that_was_never_named_gets_469_with_those_that_were() {
    let mut net = Net::with(|settings| settings.info_packages = vec!["g.test".into()]);
    net.call(A, B);
    let (invite, answer) = (net.last("INVITE").clone(), net.last("200/INVITE").clone());
    let text = |cseq: u32, to_tag: &str, package: &str| {
        format!(
            "INFO sip:bob@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKi{cseq}\r\nMax-Forwards: 70\r\n\
             From: {}\r\nTo: <sip:bob@192.0.2.2>;tag={to_tag}\r\nCall-ID: {}\r\nCSeq: {cseq} INFO\r\n\
             Info-Package: {package}\r\nContent-Length: 0\r\n\r\n",
            header(&invite, HeaderName::From),
            invite.call_id().unwrap(),
        )
    };
    let tag = answer.to_tag().unwrap().unwrap();
    net.phones[B].receive(&text(5, tag, "third;x=1"));
    let refused = net.phones[B].take();
    assert_eq!(refused.status().unwrap().code(), 469);
    assert_eq!(refused.value_by_text("Recv-Info"), Some(&b"g.test"[..]));
    net.phones[B].receive(&text(6, tag, ";"));
    assert_eq!(net.phones[B].take_all(), "400/INFO");
    // RFC 6086 §4.2.1: never outside of a call.
    net.phones[B].receive(&text(7, "unknown", "g.test"));
    assert_eq!(net.phones[B].take_all(), "481/INFO");
    let outside = text(8, "x", "g.test").replace(";tag=x", "").replace("Call-ID: ", "Call-ID: z");
    net.phones[B].receive(&outside);
    assert_eq!(net.phones[B].take_all(), "481/INFO");
    net.assert_at_rest();
}
