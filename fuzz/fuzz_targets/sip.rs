//! SIP: a message that parses is written back byte for byte; a proxy's edits leave a message that parses; all typed
//! headers can be asked for; and a refusal is itself a message.

#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use dialtone_wire::auth::{Challenge, Credentials};
use dialtone_wire::headers::{
    Event, Join, MinSe, RAck, RSeq, ReferSub, ReferTo, Replaces, SessionExpires, SubscriptionState, TypedHeader,
    Via,
};
use dialtone_wire::refusal::refuse;
use dialtone_wire::uri::Uri;
use dialtone_wire::{Edits, HeaderName, Limits, Message};
use libfuzzer_sys::fuzz_target;

const SOURCE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 7000);

/// The limits of an element behind us, which sees what we have added.
const WIDE: Limits = Limits { message_bytes: 1 << 20, headers: 1000, vias: 1000, uri_bytes: 1 << 20 };

fuzz_target!(|data: &[u8]| {
    let message = match Message::parse(Bytes::copy_from_slice(data), &Limits::default()) {
        Ok(message) => message,
        Err(error) => {
            if let Some(refusal) = refuse(data, error, SOURCE, "tag") {
                let answer = Message::parse(refusal.bytes.into(), &WIDE).expect("a refusal is a message");
                assert!(answer.status().is_some());
            }
            return;
        }
    };
    look_at(&message);
    // No role edits what was not screened before.
    if message.screen().is_err() {
        return;
    }
    let mut same = Vec::new();
    Edits::new().write(&message, &mut same);
    assert_eq!(same, message.bytes().as_ref(), "no edit changes nothing");
    let mut edits = Edits::new();
    edits.push_via("SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKfuzz").set_source(SOURCE).set_max_forwards(69);
    edits.push_record_route("<sip:192.0.2.9:5060;lr>").ensure_content_length();
    let forwarded = write_and_parse(&edits, &message);
    let via = forwarded.via().expect("our Via stands on top");
    assert_eq!(via.branch(), Some("z9hG4bKfuzz"));
    assert_eq!(forwarded.body(), message.body());
    assert_eq!(forwarded.max_forwards(), Ok(Some(69)));
    let mut edits = Edits::new();
    edits.pop_via().pop_routes(1).remove(HeaderName::Contact).set_body("text/plain", b"x");
    let changed = write_and_parse(&edits, &message);
    assert_eq!(changed.body(), b"x");
    assert!(!changed.has(HeaderName::Contact));
});

fn write_and_parse(edits: &Edits<'_>, message: &Message) -> Message {
    let mut written = Vec::new();
    edits.write(message, &mut written);
    let text = String::from_utf8_lossy(&written).into_owned();
    Message::parse(written.into(), &WIDE).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

/// Asks for everything that a role may ask for.
fn look_at(message: &Message) {
    let _ = (message.check(), message.screen(), message.reason(), message.uri());
    let _ = (message.via(), message.from(), message.to(), message.cseq(), message.call_id());
    if let Ok(uri) = message.uri() {
        assert!(uri.equivalent(&uri) || message.uri_text().is_empty());
    }
    for contact in message.contacts() {
        let _ = contact.is_ok();
    }
    for name in [HeaderName::Route, HeaderName::RecordRoute, HeaderName::Contact] {
        for address in message.addresses(name).flatten() {
            let _ = (address.tag(), address.display_name());
        }
    }
    for header in message.header_lines() {
        let _ = (Challenge::parse(header.value), Credentials::parse(header.value), Via::parse(header.value));
        let _ = (RSeq::parse(header.value), RAck::parse(header.value), SessionExpires::parse(header.value));
        let _ =
            (MinSe::parse(header.value), ReferSub::parse(header.value), ReferTo::parse(header.value).is_ok());
        let _ = Event::parse(header.value).map(|event| event.id().is_some());
        let _ = SubscriptionState::parse(header.value).map(|state| state.expires_s());
        if let Ok(text) = std::str::from_utf8(header.value) {
            let _ = (Replaces::parse(header.value), Replaces::from_uri_header(text));
            let _ = Join::parse(header.value);
            let _ = Uri::parse(text).map(|uri| uri.equivalent(&uri));
        }
    }
    if let Ok(via) = message.via() {
        let _ = (via.response_address(SOURCE), via.needs_received(SOURCE), via.port_or_default());
    }
}
