//! Where the deck's own messages are wrong: docs/deck-corrections.md says what is right.

use bytes::Bytes;
use dialtone_wire::sdp::{Limits, Mode, Session};
use dialtone_wire::{Limits as MessageLimits, Message};

use crate::verdict::read;

/// Header and body of a message of the deck, as they were printed.
fn printed(file: &str) -> (String, String) {
    let text = String::from_utf8(read("deck", file)).expect("UTF-8");
    let (header, body) = text.split_once("\r\n\r\n").expect("a body");
    (header.to_owned(), body.to_owned())
}

/// The ports of the streams that `body` describes, with their kinds.
fn ports(body: &str) -> Vec<(String, u16)> {
    let session =
        Session::parse(body.as_bytes(), Mode::Lenient, &Limits::default()).expect("lenient").session;
    session.media.iter().map(|media| (media.kind.as_str().to_owned(), media.port)).collect()
}

#[test]
fn the_decks_invite_announces_148_bytes_and_brings_194() {
    let (header, body) = printed("invite-behind-nat.sip");
    assert!(header.ends_with("Content-Length: 148"));
    assert_eq!(body.len(), 194);
    assert_eq!(body.replace('\r', "").len(), 185, "nor does it fit with bare line feeds");
    // RFC 3261 §18.3: what follows the announced bytes is discarded.
    let whole = Bytes::from(read("deck", "invite-behind-nat.sip"));
    let message = Message::parse(whole, &MessageLimits::default()).expect("accepted");
    assert_eq!(message.body(), &body.as_bytes()[..148]);
    assert!(!message.body().ends_with(b"\n"), "the cut is in the midst of a line");
}

#[test]
fn the_decks_update_says_that_tags_are_equal_and_shows_none_and_has_an_odd_video_port() {
    let (header, body) = printed("update-adds-video.sip");
    assert!(header.starts_with("UPDATE ") && !header.contains("tag="));
    assert_eq!(ports(&body), [("audio".to_owned(), 4710), ("video".to_owned(), 5643)]);
}

#[test]
fn the_decks_gateway_maps_the_audio_port_and_forgets_the_video_port() {
    let inside = ports(&printed("invite-behind-nat.sip").1);
    let outside = ports(&printed("invite-after-alg-as-printed.sip").1);
    let right = ports(&printed("invite-after-alg-right.sip").1);
    assert_eq!([inside[0].1, outside[0].1, right[0].1], [4710, 9400, 9400]);
    assert_eq!([inside[1].1, outside[1].1, right[1].1], [8524, 8524, 9402]);
}
