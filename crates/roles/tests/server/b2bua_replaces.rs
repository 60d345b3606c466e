//! INVITEs that come in place of a leg of a call of which the server is both ends (RFC 3891).

use dialtone_wire::{HeaderName, Message};

use crate::b2bua::{
    ALICE, BOB, Call, OFFER, Phone, alices_invite, at_rest, body, code, method, only, response, server,
    text_of, to, value,
};
use crate::b2bua_transfer::{CAROL, CAROLS, end_with_carol, ok, talking_near_carol, with_carol};
use crate::peers::{Request, Server, invite};

/// The dialog of a phone as one names it who takes its place.
fn naming(phone: &Phone) -> String {
    let [call_id, own, servers] = phone.dialog();
    format!("Replaces: {call_id};to-tag={servers};from-tag={own}")
}

/// An INVITE of carol's phone with a Replaces.
fn comes(server: &mut Server, from: &str, replaces: &str, more: &str) -> Vec<(String, Message)> {
    let extra = format!("Contact: <sip:carol@{CAROL}>\r\nRequire: replaces\r\n{replaces}\r\n{more}");
    let request = Request { from, via: CAROL, call_id: "comes", extra, ..invite("sip:bob@sip.test") };
    server.receive(CAROL, &text_of(&request, CAROLS))
}

const REFERRED: &str = "Referred-By: <sip:bob@sip.test>\r\n";

/// Alice gets carol's offer; gives that re-INVITE.
fn offered(sent: &[(String, Message)]) -> Message {
    let reinvite = only(sent, ALICE).clone();
    assert!(body(&reinvite).contains("c=IN IP4 127.0.0.4\r\n"), "{}", body(&reinvite));
    assert!(to(sent, BOB).is_empty(), "he is there until she has agreed");
    reinvite
}

/// Alice takes carol in place of bob, who is hung up.
fn taken(mut call: Call, sent: &[(String, Message)]) {
    let reinvite = offered(sent);
    let sent = call.server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER));
    let answer = only(&sent, CAROL).clone();
    assert_eq!((code(&answer), body(&answer).contains("c=IN IP4 127.0.0.2\r\n")), (200, true));
    let bye = only(&sent, BOB).clone();
    assert_eq!(method(&bye), "BYE");
    assert!(value(&bye, HeaderName::Reason).contains("elsewhere"));
    ok(&mut call.server, BOB, &bye);
    let mut carol = Phone::caller(CAROL, &answer);
    let ack = carol.request("ACK", "", "");
    assert!(call.server.receive(CAROL, &ack).is_empty());
    assert_eq!(call.server.engine.counters().calls_replaced, 1);
    end_with_carol(call);
}

#[test]
pub(crate) fn whom_a_party_has_referred_takes_its_place() {
    let mut call = talking_near_carol();
    let sent = comes(&mut call.server, "sip:carol@sip.test", &naming(&call.bob), REFERRED);
    taken(call, &sent);
}

#[test]
pub(crate) fn a_user_takes_his_call_to_another_phone_of_his() {
    let mut call = talking_near_carol();
    let sent = comes(&mut call.server, "sip:bob@sip.test", &naming(&call.bob), "");
    taken(call, &sent);
}

#[test]
pub(crate) fn who_was_not_referred_is_refused_and_the_call_goes_on() {
    let mut call = talking_near_carol();
    for more in ["", "Referred-By: <sip:alice@sip.test>\r\n"] {
        let sent = comes(&mut call.server, "sip:carol@sip.test", &naming(&call.bob), more);
        assert_eq!(code(only(&sent, CAROL)), 403);
        let ack = Request { method: "ACK", via: CAROL, call_id: "comes", ..invite("sip:bob@sip.test") };
        call.server.receive(CAROL, &ack.text());
        call.server.pass(60);
    }
    call.end();
}

#[test]
pub(crate) fn what_is_not_there_or_not_early_is_refused_as_the_rfc_says() {
    let mut call = talking_near_carol();
    let bobs = naming(&call.bob);
    let contradiction = format!("{bobs}\r\nJoin: x;to-tag=1;from-tag=2");
    for (replaces, status) in [
        ("Replaces: nothing;to-tag=1;from-tag=2".to_owned(), 481),
        (bobs.replace(";from-tag=", ";from-tag=other"), 481),
        ("Replaces: nothing;to-tag=1".to_owned(), 400),
        (format!("{bobs}\r\n{bobs}"), 400),
        (contradiction, 400),
        (format!("{bobs};early-only"), 486),
    ] {
        let sent = comes(&mut call.server, "sip:carol@sip.test", &replaces, REFERRED);
        assert_eq!(code(to(&sent, CAROL).last().expect("an answer")), status, "{replaces}");
        call.server.pass(60);
    }
    // He has hung up, and his call with the server waits for alice's answer only on her side: it is over for good.
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    let bye = only(&sent, BOB).clone();
    let sent = comes(&mut call.server, "sip:carol@sip.test", &bobs, REFERRED);
    assert_eq!(code(only(&sent, CAROL)), 603, "his side is over, and its BYE has no answer yet");
    ok(&mut call.server, BOB, &bye);
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn an_offer_that_is_refused_leaves_the_call_as_it_was() {
    let mut call = talking_near_carol();
    let sent = comes(&mut call.server, "sip:carol@sip.test", &naming(&call.bob), REFERRED);
    let reinvite = offered(&sent);
    let refusal = response(&reinvite, "488 Not Acceptable Here", "", ALICE, "", "");
    let sent = call.server.receive(ALICE, &refusal);
    assert_eq!(code(only(&sent, CAROL)), 488);
    assert!(to(&sent, BOB).is_empty());
    call.end();
}

#[test]
pub(crate) fn who_gives_up_while_he_takes_a_place_leaves_the_call_as_it_was() {
    let mut call = talking_near_carol();
    let sent = comes(&mut call.server, "sip:carol@sip.test", &naming(&call.bob), REFERRED);
    let reinvite = offered(&sent);
    let request = Request {
        method: "CANCEL",
        from: "sip:carol@sip.test",
        via: CAROL,
        call_id: "comes",
        extra: String::new(),
        ..invite("sip:bob@sip.test")
    };
    let cancel = request.text().replace("comes1CANCEL", "comes1INVITE");
    let sent = call.server.receive(CAROL, &cancel);
    let codes: Vec<u16> = to(&sent, CAROL).into_iter().map(code).collect();
    assert_eq!(codes, [200, 487]);
    // Alice accepts what nobody offers any more, and gets back what she had.
    let sent = call.server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER));
    let again =
        to(&sent, ALICE).into_iter().find(|message| method(message) == "INVITE").expect("an offer").clone();
    assert!(body(&again).contains("c=IN IP4 127.0.0.3\r\n"), "bob is there: {}", body(&again));
    call.server.receive(ALICE, &response(&again, "200 OK", "", ALICE, "", OFFER));
    call.end();
}

#[test]
pub(crate) fn a_call_that_rings_is_taken_by_naming_it() {
    let mut server = server();
    with_carol(&mut server);
    let sent = server.receive(ALICE, &alices_invite("", OFFER));
    let bobs = only(&sent, BOB).clone();
    server.receive(BOB, &response(&bobs, "180 Ringing", "t", BOB, "", ""));
    // Alice's own side was begun by her, and is not ours to give.
    let bob = Phone::callee(BOB, &bobs, "t");
    let sent = comes(&mut server, "sip:carol@sip.test", &naming(&bob), "");
    let cancel = only(&sent, BOB).clone();
    assert_eq!(method(&cancel), "CANCEL");
    server.receive(BOB, &response(&cancel, "200 OK", "t", BOB, "", ""));
    server.receive(BOB, &response(&bobs, "487 Request Terminated", "t", BOB, "", ""));
    let answer = to(&sent, CAROL).into_iter().find(|message| code(message) == 200).expect("a 200").clone();
    let mut carol = Phone::caller(CAROL, &answer);
    let sent = server.receive(CAROL, &carol.request("ACK", "", ""));
    let reinvite = only(&sent, CAROL).clone();
    let sent = server.receive(CAROL, &response(&reinvite, "200 OK", "", CAROL, "", CAROLS));
    let answer = only(&sent, ALICE).clone();
    assert_eq!((code(&answer), body(&answer).contains("c=IN IP4 127.0.0.4\r\n")), (200, true));
    let mut alice = Phone::caller(ALICE, &answer);
    server.receive(ALICE, &alice.request("ACK", "", ""));
    let bye = alice.request("BYE", "", "");
    let sent = server.receive(ALICE, &bye);
    let bye = only(&sent, CAROL).clone();
    ok(&mut server, CAROL, &bye);
    at_rest(&mut server);
}
