//! Messages for the tests of dialogs.
#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use dialtone_dialog::{Dialog, State};
use dialtone_wire::{HeaderName, Limits, Message};

/// Reads a message whose lines end with LF only and that has no body.
pub(crate) fn message(text: &str) -> Message {
    let text = format!("{}\r\n\r\n", text.trim().replace('\n', "\r\n"));
    Message::parse(Bytes::from(text), &Limits::default()).expect("the test's message is well-formed")
}

pub(crate) fn read(bytes: Bytes) -> Message {
    Message::parse(bytes, &Limits::default()).expect("a message of ours is well-formed")
}

/// A message of RFC 3261 as printed.
pub(crate) fn printed(name: &str) -> Message {
    Message::parse(Bytes::from(bytes_of(name)), &Limits::default()).expect("the RFC's message is well-formed")
}

/// A message of RFC 3261 §16.12.1, which is printed without the headers that every message has.
pub(crate) fn completed(name: &str, from_tag: &str, to_tag: &str, cseq: &str) -> Message {
    let text = String::from_utf8(bytes_of(name)).expect("the RFC is ASCII");
    let (start, rest) = text.split_once("\r\n").expect("a start line");
    let tag = |tag: &str| if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
    let text = format!(
        "{start}\r\nVia: SIP/2.0/UDP x.example.com;branch=z9hG4bK1\r\nFrom: <sip:caller@example.com>{}\r\n\
         To: <sip:callee@domain.com>{}\r\nCall-ID: c\r\nCSeq: {cseq}\r\n{rest}",
        tag(from_tag),
        tag(to_tag)
    );
    read(Bytes::from(text))
}

fn bytes_of(name: &str) -> Vec<u8> {
    let path = format!("{}/../../tests/messages/flows/rfc3261/fixed/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Alice's INVITE, with further header lines.
pub(crate) fn invite(more: &str) -> Message {
    message(&format!(
        "INVITE sip:bob@biloxi.com SIP/2.0\nVia: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKa\n\
         From: Alice <sip:alice@atlanta.com>;tag=a\nTo: Bob <sip:bob@biloxi.com>\nCall-ID: c\n\
         CSeq: 7 INVITE\n{more}"
    ))
}

/// A response to [`invite`], with a To tag where one is given, and further header lines.
pub(crate) fn response(code: u16, to_tag: &str, more: &str) -> Message {
    let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    message(&format!(
        "SIP/2.0 {code} Whatever\nVia: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKa\n\
         From: Alice <sip:alice@atlanta.com>;tag=a\nTo: Bob <sip:bob@biloxi.com>{tag}\nCall-ID: c\n\
         CSeq: 7 INVITE\n{more}"
    ))
}

/// A request that Bob sends to Alice within their dialog.
pub(crate) fn from_bob(method: &str, cseq: u32, more: &str) -> Message {
    message(&format!(
        "{method} sip:alice@pc33.atlanta.com SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.4;branch=z9hG4bKb\n\
         From: Bob <sip:bob@biloxi.com>;tag=b\nTo: Alice <sip:alice@atlanta.com>;tag=a\nCall-ID: c\n\
         CSeq: {cseq} {method}\n{more}"
    ))
}

pub(crate) const BOB: &str = "Contact: <sip:bob@192.0.2.4>";
pub(crate) const ALICE: &str = "Contact: <sip:alice@pc33.atlanta.com>";

/// Alice's dialog with Bob, confirmed.
pub(crate) fn alice() -> Dialog {
    Dialog::uac(&invite(ALICE), &response(200, "b", BOB)).expect("the 2xx makes a dialog")
}

/// Bob's dialog with Alice, confirmed.
pub(crate) fn bob() -> Dialog {
    Dialog::uas(&invite(ALICE), "b", State::Confirmed).expect("the INVITE makes a dialog")
}

/// Record-Route lines, the topmost proxy first.
pub(crate) fn record_route(routes: &[&str]) -> String {
    routes.iter().map(|route| format!("Record-Route: <{route}>\n")).collect()
}

/// The Request-URI and the Route URIs of a message.
pub(crate) fn routing(message: &Message) -> (String, Vec<String>) {
    let routes = message.addresses(HeaderName::Route).map(|route| route.unwrap().uri_text.to_owned());
    (message.uri_text().to_owned(), routes.collect())
}
