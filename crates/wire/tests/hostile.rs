//! Messages as large as the limits allow, made of what a parser could stumble over again and again. Each case asks
//! thousands of pieces; work that grew with the square of them would take minutes here.

use bytes::Bytes;
use dialtone_wire::headers::{NameAddr, TypedHeader, Via};
use dialtone_wire::{Edits, Fault, HeaderName, Limits, Message, UriError, Writer, refusal};

const HEADERS: &str = "CSeq: 1 INVITE\r\nCall-ID: c\r\nMax-Forwards: 70\r\n";
const FROM_TO: &str = "From: <sip:a@b>;tag=1\r\nTo: <sip:b@c>\r\n";
const VIA: &str = "Via: SIP/2.0/UDP a.b;branch=z9hG4bK1\r\n";

/// `start`, then `piece` as often as 60,000 bytes hold, then `end`.
fn filled(start: &str, piece: &str, end: &str) -> String {
    format!("{start}{}{end}", piece.repeat(60_000 / piece.len()))
}

fn parse(headers: &str) -> Message {
    let text = format!("INVITE sip:a@b SIP/2.0\r\n{HEADERS}{headers}\r\n");
    Message::parse(Bytes::from(text), &Limits::default()).expect("within the limits")
}

/// Screens, edits and answers the message.
fn use_up(message: &Message) -> bool {
    let source = "192.0.2.1:5060".parse().expect("an address");
    let screened = message.screen();
    let mut out = Vec::new();
    let mut edits = Edits::new();
    edits.pop_via().pop_routes(1_000_000).set_source(source).set_max_forwards(1);
    edits.write(message, &mut out);
    assert!(out.len() <= message.bytes().len() + 64);
    Writer::response_to(message, dialtone_wire::Status::of(100), source, Some("t")).finish();
    if let Err(screened) = screened {
        refusal::refuse_screened(message, &screened, source, "t");
    }
    screened.is_ok()
}

#[test]
fn sixty_thousand_parameters_commas_or_contacts_are_read_in_one_go() {
    for (headers, accepted) in [
        (filled(&format!("{VIA}To: <sip:b@c>\r\nFrom: <sip:a@b>;tag=1"), ";a", "\r\n"), true),
        (filled(&format!("{FROM_TO}Via: SIP/2.0/UDP a.b;rport"), ";a=\";\"", "\r\n"), true),
        (filled(&format!("{VIA}{FROM_TO}Contact: <sip:a@b>"), ",", "\r\n"), true),
        (filled(&format!("{VIA}{FROM_TO}Contact: <sip:a@b>"), ",sip:a@b", "\r\n"), true),
        (filled(&format!("{VIA}{FROM_TO}Route: <sip:a@b;lr>"), ",<sip:a>", "\r\n"), true),
        (filled(&format!("{VIA}{FROM_TO}Contact: <sip:a@b>"), ",\"", "\r\n"), false),
        (filled(&format!("{VIA}{FROM_TO}Contact: <sip:a@b>"), ",<", "\r\n"), false),
        (filled(&format!("{VIA}{FROM_TO}Contact: "), "\\\"", "\r\n"), false),
        (filled(&format!("{VIA}{FROM_TO}X: a"), "\r\n ", "\r\n"), true),
        (filled(&format!("{VIA}{FROM_TO}Subject: \""), "\\\0", "\"\r\n"), true),
        (filled(&format!("{VIA}From: <sip:a@b>\r\nTo: <sip:b@c"), ";a", ">\r\n"), false),
    ] {
        assert_eq!(use_up(&parse(&headers)), accepted, "{:?}", &headers[..120]);
    }
}

#[test]
fn two_hundred_lists_of_commas_are_read_in_one_go() {
    let list = format!("Route: {}<sip:p;lr>\r\n", ",".repeat(200));
    let message = parse(&format!("{VIA}{FROM_TO}{}", list.repeat(240)));
    assert!(use_up(&message));
    assert_eq!(message.values(HeaderName::Route).count(), 240);
}

#[test]
fn what_has_a_limit_is_refused_at_it() {
    let vias = filled("Via: SIP/2.0/UDP a", ",SIP/2.0/UDP a", "\r\n");
    let text = format!("INVITE sip:a@b SIP/2.0\r\n{vias}\r\n");
    assert!(Message::parse(Bytes::from(text), &Limits::default()).is_err());
    let uri = filled("<sip:a@b?x=1", "&x=1", ">");
    assert_eq!(NameAddr::parse(uri.as_bytes()).err(), Some(Fault::Uri(UriError::TooMany)));
    let via = filled("SIP/2.0/UDP a;branch=z9hG4bK", "x", "");
    assert!(Via::parse(via.as_bytes()).is_ok());
}
