//! Click to dial: a call between two that neither of them has begun (RFC 3725, RFC 5359 §2.18).

use dialtone_roles::io::CallEnd;
use dialtone_roles::io::{Dial, DialState, Input};
use dialtone_roles::settings::Limits;
use dialtone_roles::{Settings, settings::Domain};
use dialtone_wire::{HeaderName, Message, Status};

use crate::b2bua::{ANSWER, BOB, Phone, at_rest, body, code, method, only, response, server, to, value};
use crate::b2bua_records::{ended, of};
use crate::b2bua_transfer::{CAROL, CAROLS, with_carol};
use crate::peers::{Server, register_bob, settings};

fn dial(server: &mut Server, token: u64, second: &str) -> Vec<(String, Message)> {
    let second = dialtone_wire::uri::UriBuf::parse(second).expect("a URI");
    let (first, caller) = ("sip:bob@sip.test".into(), "sip:bob@sip.test".into());
    server.sent.clear();
    server.input(Input::Dial(Dial { token, first, second, caller }));
    std::mem::take(&mut server.sent)
}

pub(crate) fn dialled() -> (Server, Message) {
    let mut server = server();
    with_carol(&mut server);
    let sent = dial(&mut server, 7, "sip:carol@sip.test");
    assert_eq!(sent.len(), 1, "he is asked first: {sent:?}");
    let bobs = only(&sent, BOB).clone();
    (server, bobs)
}

fn refused(second: bool, code: u16) -> Option<DialState> {
    Some(DialState::Refused { second, status: Status::of(code) })
}

/// Bob answers and carol is called.
pub(crate) fn answered(server: &mut Server, bobs: &Message) -> (Phone, Message) {
    let sent = server.receive(BOB, &response(bobs, "200 OK", "b", BOB, "", ANSWER));
    let ack = only(&sent, BOB);
    assert_eq!(method(ack), "ACK");
    let hole = body(ack);
    assert!(
        hole.contains("c=IN IP4 127.0.0.1\r\n") && hole.contains("m=audio 9 RTP/AVP 0\r\na=inactive"),
        "{hole}"
    );
    assert_eq!(server.engine.dialled(7), Some(DialState::Calling { second: true }));
    (Phone::callee(BOB, bobs, "b"), only(&sent, CAROL).clone())
}

#[test]
pub(crate) fn both_are_called_one_after_the_other_and_talk() {
    let (mut server, bobs) = dialled();
    assert!(bobs.body().is_empty());
    assert!(
        value(&bobs, HeaderName::From).starts_with("<sip:carol@sip.test>;tag="),
        "he sees whom he will talk with"
    );
    assert_eq!(server.engine.dialled(7), Some(DialState::Calling { second: false }));
    server.receive(BOB, &response(&bobs, "180 Ringing", "b", BOB, "", ""));
    assert_eq!(server.engine.dialled(7), Some(DialState::Ringing { second: false }));
    let (mut bob, carols) = answered(&mut server, &bobs);
    assert!(value(&carols, HeaderName::From).starts_with("<sip:bob@sip.test>;tag="));
    server.receive(CAROL, &response(&carols, "180 Ringing", "c", CAROL, "", ""));
    assert_eq!(server.engine.dialled(7), Some(DialState::Ringing { second: true }));
    let sent = server.receive(CAROL, &response(&carols, "200 OK", "c", CAROL, "", CAROLS));
    let reinvite = only(&sent, BOB).clone();
    assert!(body(&reinvite).contains("c=IN IP4 127.0.0.4\r\n"));
    let version =
        |text: &str| text.lines().nth(1).and_then(|line| line.split(' ').nth(2)?.parse::<u32>().ok());
    assert_eq!(version(&body(&reinvite)), Some(2), "one more than that of the answer of nobody");
    let sent = server.receive(BOB, &response(&reinvite, "200 OK", "", BOB, "", ANSWER));
    assert_eq!(method(only(&sent, BOB)), "ACK");
    assert!(body(only(&sent, CAROL)).contains("c=IN IP4 127.0.0.3\r\n"));
    assert_eq!(server.engine.dialled(7), Some(DialState::Talking));
    let bye = bob.request("BYE", "", "");
    let sent = server.receive(BOB, &bye);
    let bye = only(&sent, CAROL).clone();
    server.receive(CAROL, &response(&bye, "200 OK", "", CAROL, "", ""));
    at_rest(&mut server);
    assert_eq!(ended(&server), [of("bob", "carol", CallEnd::Caller)], "a call of its own");
}

#[test]
pub(crate) fn who_does_not_want_it_is_told_with_the_reason() {
    let (mut server, bobs) = dialled();
    let sent = server.receive(BOB, &response(&bobs, "486 Busy Here", "b", BOB, "", ""));
    assert_eq!(method(only(&sent, BOB)), "ACK");
    assert_eq!(server.engine.dialled(7), refused(false, 486));
    at_rest(&mut server);
    let sent = dial(&mut server, 8, "sip:nobody@sip.test");
    let bobs = only(&sent, BOB).clone();
    let sent = server.receive(BOB, &response(&bobs, "200 OK", "b", BOB, "", ANSWER));
    let methods: Vec<_> = to(&sent, BOB).into_iter().map(method).collect();
    assert_eq!(methods, ["ACK", "BYE"]);
    let bye = to(&sent, BOB)[1].clone();
    assert!(value(&bye, HeaderName::Reason).starts_with("SIP ;cause=4"));
    server.receive(BOB, &response(&bye, "200 OK", "", BOB, "", ""));
    assert!(matches!(server.engine.dialled(8), Some(DialState::Refused { second: true, .. })));
    at_rest(&mut server);
}

#[test]
pub(crate) fn who_hangs_up_while_the_other_rings_ends_it() {
    let (mut server, bobs) = dialled();
    let (mut bob, carols) = answered(&mut server, &bobs);
    server.receive(CAROL, &response(&carols, "180 Ringing", "c", CAROL, "", ""));
    let bye = bob.request("BYE", "", "");
    let sent = server.receive(BOB, &bye);
    assert_eq!(code(only(&sent, BOB)), 200);
    let cancel = only(&sent, CAROL).clone();
    assert_eq!(method(&cancel), "CANCEL");
    server.receive(CAROL, &response(&cancel, "200 OK", "c", CAROL, "", ""));
    server.receive(CAROL, &response(&carols, "487 Request Terminated", "c", CAROL, "", ""));
    assert_eq!(server.engine.dialled(7), refused(true, 487));
    at_rest(&mut server);
}

#[test]
pub(crate) fn nobody_who_answers_leaves_nothing() {
    let (mut server, bobs) = dialled();
    server.receive(BOB, &response(&bobs, "180 Ringing", "b", BOB, "", ""));
    // Timer C (RFC 3261 §16.6 step 11) and what follows it.
    let sent = server.pass(400);
    assert!(to(&sent, BOB).into_iter().any(|message| method(message) == "CANCEL"));
    assert!(matches!(server.engine.dialled(7), Some(DialState::Refused { second: false, .. })));
    at_rest(&mut server);
}

#[test]
pub(crate) fn calls_that_are_asked_for_are_limited_and_those_that_are_over_forgotten() {
    let limits = Limits { dials: 2, ..Limits::default() };
    let mut server = crate::b2bua::server_with(Settings { limits, ..settings() }, &[BOB]);
    for token in 0..3 {
        dial(&mut server, token, "sip:bob@sip.test");
    }
    assert_eq!(server.engine.dialled(2), None, "both places are taken");
    server.pass(60);
    dial(&mut server, 3, "sip:bob@sip.test");
    assert_eq!(server.engine.dialled(3), Some(DialState::Calling { second: false }));
    assert_eq!(server.engine.dialled(0), None, "forgotten for it");
}

#[test]
pub(crate) fn a_server_that_only_forwards_does_it_too() {
    let domain = Domain { name: "sip.test".into(), ..Domain::default() };
    let mut server = Server::new(Settings { domains: vec![domain], ..settings() });
    register_bob(&mut server);
    let sent = dial(&mut server, 7, "sip:echo@sip.test");
    let bobs = only(&sent, BOB).clone();
    // No password is asked of us; a robot is called by people only.
    let sent = server.receive(BOB, &response(&bobs, "200 OK", "b", BOB, "", ANSWER));
    assert_eq!(to(&sent, BOB).len(), 2);
    assert_eq!(server.engine.dialled(7), refused(true, 403));
}
