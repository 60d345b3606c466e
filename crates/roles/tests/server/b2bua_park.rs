//! Calls that wait in a slot, and calls that are taken by another one than was called (RFC 5359 §2.15, §2.16).

use std::time::Duration;

use dialtone_roles::Settings;
use dialtone_roles::io::CallEnd;
use dialtone_roles::settings::{BridgeSettings, Destination, Group, Limits, Member, Strategy};
use dialtone_wire::{HeaderName, Message};

use crate::b2bua::{
    ALICE, ANSWER, BOB, Call, OFFER, Phone, alices_invite, at_rest, body, code, method, only, response,
    server, server_with, talking, talking_on, text_of, to, value,
};
use crate::b2bua_records::{ended, of};
use crate::b2bua_transfer::{CAROL, CAROLS, with_carol};
use crate::peers::{Request, Server, invite, settings};

const TO_SLOT: &str = "Refer-To: <sip:*51@sip.test>\r\n";

pub(crate) fn ok(server: &mut Server, from: &'static str, request: &Message) -> Vec<(String, Message)> {
    server.receive(from, &response(request, "200 OK", "", from, "", ""))
}

/// Carol calls a number.
pub(crate) fn carol_calls(
    server: &mut Server,
    number: &str,
    call_id: &str,
    offer: &str,
) -> Vec<(String, Message)> {
    let uri = format!("sip:{number}@sip.test");
    let extra = format!("Contact: <sip:carol@{CAROL}>\r\n");
    let request =
        Request { uri: &uri, from: "sip:carol@sip.test", to: &uri, via: CAROL, call_id, extra, ..invite("") };
    server.receive(CAROL, &text_of(&request, offer))
}

/// Bob parks the call of alice in slot 1 and hangs up.
fn parked_on(server: Server) -> Call {
    parked_with(server).0
}

/// The same, with all that was sent when he asked for it.
pub(crate) fn parked_with(server: Server) -> (Call, Vec<(String, Message)>) {
    let mut call = talking_on(server, "", "");
    with_carol(&mut call.server);
    let refer = call.bob.request("REFER", TO_SLOT, "");
    let sent = call.server.receive(BOB, &refer);
    let to_bob: Vec<_> = to(&sent, BOB).into_iter().cloned().collect();
    assert_eq!((code(&to_bob[0]), to_bob.len()), (200, 3));
    assert!(body(&to_bob[2]).starts_with("SIP/2.0 200 OK"));
    for notify in &to_bob[1..] {
        ok(&mut call.server, BOB, notify);
    }
    let hold = only(&sent, ALICE).clone();
    assert!(body(&hold).contains("a=inactive\r\n"), "nothing flows: {}", body(&hold));
    let inactive = format!("{OFFER}a=inactive\r\n");
    call.server.receive(ALICE, &response(&hold, "200 OK", "", ALICE, "", &inactive));
    let bye = call.bob.request("BYE", "", "");
    let alone = call.server.receive(BOB, &bye);
    assert_eq!(alone.len(), 1, "alice waits");
    (call, sent)
}

fn parked() -> Call {
    parked_on(server())
}

/// Whoever was accepted with nobody there acknowledges, and is asked for an offer.
fn accepted(server: &mut Server, sent: &[(String, Message)]) -> (Phone, Vec<(String, Message)>) {
    let answer = to(sent, CAROL).into_iter().find(|message| code(message) == 200).expect("a 200").clone();
    assert!(body(&answer).contains("m=audio 9 RTP/AVP 0\r\na=inactive\r\n"), "{}", body(&answer));
    let mut carol = Phone::caller(CAROL, &answer);
    let ack = carol.request("ACK", "", "");
    let sent = server.receive(CAROL, &ack);
    (carol, sent)
}

/// She talks with alice, and hangs up.
fn end_by_carol(mut call: Call, mut carol: Phone) {
    let bye = carol.request("BYE", "", "");
    let sent = call.server.receive(CAROL, &bye);
    assert_eq!(code(only(&sent, CAROL)), 200);
    let bye = only(&sent, ALICE).clone();
    assert_eq!(method(&bye), "BYE");
    ok(&mut call.server, ALICE, &bye);
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn a_call_is_parked_and_taken_by_whoever_calls_its_slot() {
    let mut call = parked();
    let sent = carol_calls(&mut call.server, "*51", "fetch", CAROLS);
    let (carol, sent) = accepted(&mut call.server, &sent);
    let asks = only(&sent, CAROL).clone();
    assert_eq!((method(&asks), asks.body().is_empty()), ("INVITE", true));
    let sent = call.server.receive(CAROL, &response(&asks, "200 OK", "", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    assert!(body(&reinvite).contains("c=IN IP4 127.0.0.4\r\n"));
    let sent = call.server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER));
    assert!(body(only(&sent, CAROL)).contains("c=IN IP4 127.0.0.2\r\n"));
    // The slot is free again.
    let sent = carol_calls(&mut call.server, "*51", "again", CAROLS);
    assert_eq!(code(to(&sent, CAROL)[1]), 404);
    assert_eq!(call.server.engine.counters().calls_parked, 1);
    end_by_carol(call, carol);
}

#[test]
pub(crate) fn a_call_that_nobody_takes_goes_back_to_who_has_parked_it() {
    let mut call = parked();
    let sent = call.server.pass(121);
    let bobs = to(&sent, BOB)[0].clone();
    assert_eq!(method(&bobs), "INVITE");
    assert!(value(&bobs, HeaderName::From).starts_with("<sip:alice@sip.test>"));
    // He is busy: it waits on, and comes again.
    call.server.receive(BOB, &response(&bobs, "486 Busy Here", "b", BOB, "", ""));
    let sent = call.server.pass(121);
    let bobs =
        to(&sent, BOB).into_iter().find(|message| method(message) == "INVITE").expect("an INVITE").clone();
    let sent = call.server.receive(BOB, &response(&bobs, "200 OK", "b2", BOB, "", ANSWER));
    let reinvite = only(&sent, ALICE).clone();
    let sent = call.server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER));
    assert_eq!(method(only(&sent, BOB)), "ACK");
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    let bye = only(&sent, BOB).clone();
    ok(&mut call.server, BOB, &bye);
    at_rest(&mut call.server);
    let expected = [of("alice", "bob", CallEnd::Callee), of("alice", "bob", CallEnd::Caller)];
    assert_eq!(ended(&call.server), expected, "the call that came back is one of its own");
}

#[test]
pub(crate) fn a_call_whose_parker_never_answers_ends_after_three_returns() {
    let mut call = parked();
    let mut byes = Vec::new();
    for _ in 0..4 {
        for (_, message) in call.server.pass(121) {
            match method(&message) {
                "INVITE" => {
                    call.server.receive(BOB, &response(&message, "486 Busy Here", "b", BOB, "", ""));
                }
                "BYE" => byes.push(message),
                _ => {}
            }
        }
    }
    // The last refusal came outside of `pass`.
    let sent = call.server.pass(1);
    byes.extend(to(&sent, ALICE).into_iter().filter(|message| method(message) == "BYE").cloned());
    assert!(!byes.is_empty());
    ok(&mut call.server, ALICE, &byes[0]);
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn who_hangs_up_while_parked_frees_the_slot() {
    let mut call = parked();
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    assert_eq!(sent.len(), 1);
    let sent = carol_calls(&mut call.server, "*51", "fetch", CAROLS);
    assert_eq!(code(to(&sent, CAROL)[1]), 404);
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn who_hangs_up_while_taking_it_leaves_it_in_its_slot() {
    let mut call = parked();
    let sent = carol_calls(&mut call.server, "*51", "fetch", CAROLS);
    let (mut carol, sent) = accepted(&mut call.server, &sent);
    let asks = only(&sent, CAROL).clone();
    let bye = carol.request("BYE", "", "");
    let sent = call.server.receive(CAROL, &bye);
    assert_eq!((code(only(&sent, CAROL)), to(&sent, ALICE).len()), (200, 0));
    call.server.receive(CAROL, &response(&asks, "487 Request Terminated", "", CAROL, "", ""));
    let sent = carol_calls(&mut call.server, "*51", "fetch2", CAROLS);
    let (mut carol, sent) = accepted(&mut call.server, &sent);
    carol.cseq = 40;
    let asks = only(&sent, CAROL).clone();
    let sent = call.server.receive(CAROL, &response(&asks, "200 OK", "", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    call.server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER));
    end_by_carol(call, carol);
}

#[test]
pub(crate) fn a_slot_that_is_taken_gives_the_call_back_at_once() {
    let mut call = parked();
    // Carol calls bob, who wants to park her in the same slot.
    let sent = carol_calls(&mut call.server, "bob", "second", CAROLS);
    let bobs = only(&sent, BOB).clone();
    let sent = call.server.receive(BOB, &response(&bobs, "200 OK", "t2", BOB, "", ANSWER));
    let mut carol = Phone::caller(CAROL, only(&sent, CAROL));
    let ack = carol.request("ACK", "", "");
    call.server.receive(CAROL, &ack);
    let mut bob = Phone::callee(BOB, &bobs, "t2");
    bob.cseq = 300;
    let refer = bob.request("REFER", TO_SLOT, "");
    let sent = call.server.receive(BOB, &refer);
    let last = to(&sent, BOB).pop().expect("a NOTIFY").clone();
    assert!(body(&last).starts_with("SIP/2.0 486"), "{}", body(&last));
    assert!(to(&sent, CAROL).is_empty());
}

#[test]
pub(crate) fn as_many_are_parked_as_may() {
    let limits = Limits { parked: 0, ..Limits::default() };
    let mut call = talking_on(server_with(Settings { limits, ..settings() }, &[BOB]), "", "");
    let refer = call.bob.request("REFER", TO_SLOT, "");
    let sent = call.server.receive(BOB, &refer);
    let to_bob: Vec<_> = to(&sent, BOB).into_iter().cloned().collect();
    assert!(body(&to_bob[2]).starts_with("SIP/2.0 480"));
    for notify in &to_bob[1..] {
        ok(&mut call.server, BOB, notify);
    }
    call.end();
}

/// Bob parks the call of alice, whose phone has this header; gives the re-INVITE that is to hold her.
fn holding(server: Server, asks: &str) -> (Call, Message) {
    let mut call = talking_on(server, asks, "");
    let refer = call.bob.request("REFER", TO_SLOT, "");
    let sent = call.server.receive(BOB, &refer);
    for notify in to(&sent, BOB).into_iter().filter(|message| method(message) == "NOTIFY") {
        ok(&mut call.server, BOB, notify);
    }
    let hold = only(&sent, ALICE).clone();
    assert!(body(&hold).contains("a=inactive\r\n"), "{}", body(&hold));
    let bye = call.bob.request("BYE", "", "");
    assert_eq!(call.server.receive(BOB, &bye).len(), 1);
    (call, hold)
}

/// What alice's phone is told that holds when it refreshes its session with what it has offered.
fn refreshed(call: &mut Call, offer: &str) -> String {
    let reinvite = call.alice.request("INVITE", "", offer);
    let sent = call.server.receive(ALICE, &reinvite);
    let answer = only(&sent, ALICE).clone();
    assert_eq!(code(&answer), 200);
    let ack = call.alice.clone().request("ACK", "", "");
    assert!(call.server.receive(ALICE, &ack).is_empty());
    body(&answer)
}

fn end_by_alice(mut call: Call) {
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    assert_eq!((sent.len(), code(only(&sent, ALICE))), (1, 200));
    at_rest(&mut call.server);
}

/// RFC 3261 §14.1: "as if no re-INVITE had been issued".
#[test]
pub(crate) fn who_refuses_to_be_held_has_the_session_as_it_was() {
    let (mut call, hold) = holding(server(), "");
    let sent = call.server.receive(ALICE, &response(&hold, "488 Not Acceptable Here", "", ALICE, "", ""));
    assert_eq!(method(only(&sent, ALICE)), "ACK");
    let held = refreshed(&mut call, OFFER);
    assert!(held.contains("m=audio 6000") && !held.contains("a=inactive"), "{held}");
    end_by_alice(call);
}

#[test]
pub(crate) fn a_hold_that_meets_another_request_is_offered_again_by_a_phone_with_update_too() {
    for status in ["491 Request Pending", "500 Server Internal Error"] {
        for refused_for_good in [false, true] {
            let (mut call, hold) = holding(server(), "Allow: INVITE, ACK, CANCEL, BYE, UPDATE\r\n");
            call.server.receive(ALICE, &response(&hold, status, "", ALICE, "", ""));
            let sent = call.server.pass(5);
            let again = to(&sent, ALICE)[0].clone();
            assert_eq!((method(&again), body(&again).contains("a=inactive\r\n")), ("INVITE", true));
            let (answer, offer) = if refused_for_good {
                (response(&again, "488 Not Acceptable Here", "", ALICE, "", ""), OFFER.to_owned())
            } else {
                let inactive = format!("{OFFER}a=inactive\r\n");
                (response(&again, "200 OK", "", ALICE, "", &inactive), inactive)
            };
            call.server.receive(ALICE, &answer);
            let held = refreshed(&mut call, &offer);
            assert_eq!(held.contains("a=inactive"), !refused_for_good, "{held}");
            end_by_alice(call);
        }
    }
}

/// RFC 3261 §12.2.1.2: a phone that never answers the re-INVITE is treated as if it had said 408.
#[test]
pub(crate) fn a_phone_that_says_for_ever_that_it_works_on_being_held_is_given_up() {
    let bridges = BridgeSettings { park_time: Duration::from_secs(900), ..BridgeSettings::default() };
    let (mut call, hold) = holding(server_with(Settings { bridges, ..settings() }, &[BOB]), "");
    let mut sent = Vec::new();
    for second in (0..230).step_by(10) {
        let working = response(&hold, "180 Ringing", "", ALICE, "", "");
        assert!(sent.is_empty(), "after {second} s: {sent:?}");
        call.server.receive(ALICE, &working);
        sent = call.server.pass(10);
        if let Some((_, bye)) = sent.first() {
            assert_eq!((method(bye), second), ("BYE", 210));
            ok(&mut call.server, ALICE, &bye.clone());
            break;
        }
    }
    assert!(!sent.is_empty(), "somebody gives up");
    at_rest(&mut call.server);
}

/// Alice calls bob, whose phone rings: his INVITE and her 180.
fn ringing(server: &mut Server) -> (Message, Message) {
    let sent = server.receive(ALICE, &alices_invite("", OFFER));
    let bobs = only(&sent, BOB).clone();
    let sent = server.receive(BOB, &response(&bobs, "180 Ringing", "t", BOB, "", ""));
    (bobs, only(&sent, ALICE).clone())
}

/// Carol takes the call that rings at bob; gives her phone, her re-INVITE and the CANCEL for bob.
fn picking_up(server: &mut Server, bobs: &Message) -> (Phone, Message) {
    let sent = carol_calls(server, "*8bob", "pick", CAROLS);
    let cancel = only(&sent, BOB).clone();
    assert_eq!(method(&cancel), "CANCEL");
    assert_eq!(value(&cancel, HeaderName::Reason), "SIP ;cause=200 ;text=\"Call completed elsewhere\"");
    server.receive(BOB, &response(&cancel, "200 OK", "t", BOB, "", ""));
    server.receive(BOB, &response(bobs, "487 Request Terminated", "t", BOB, "", ""));
    assert!(to(&sent, ALICE).is_empty());
    let (carol, sent) = accepted(server, &sent);
    let reinvite = only(&sent, CAROL).clone();
    assert!(body(&reinvite).contains("c=IN IP4 127.0.0.2\r\n"), "what alice offers: {}", body(&reinvite));
    (carol, reinvite)
}

#[test]
pub(crate) fn a_call_that_rings_elsewhere_is_taken_and_the_other_phones_stop() {
    let mut server = server();
    with_carol(&mut server);
    let (bobs, early) = ringing(&mut server);
    let (mut carol, reinvite) = picking_up(&mut server, &bobs);
    let sent = server.receive(CAROL, &response(&reinvite, "200 OK", "", CAROL, "", CAROLS));
    assert_eq!(method(only(&sent, CAROL)), "ACK");
    let answer = only(&sent, ALICE).clone();
    assert_eq!(code(&answer), 200);
    assert!(body(&answer).contains("c=IN IP4 127.0.0.4\r\n"));
    // It is another fork than that of bob's 180, in which he may have sent requests and had answers.
    assert_ne!(answer.to_tag(), early.to_tag());
    let mut alice = Phone::caller(ALICE, &answer);
    let ack = alice.request("ACK", "", "");
    assert!(server.receive(ALICE, &ack).is_empty());
    assert_eq!(server.engine.counters().calls_picked_up, 1);
    let bye = carol.request("BYE", "", "");
    let sent = server.receive(CAROL, &bye);
    let bye = only(&sent, ALICE).clone();
    ok(&mut server, ALICE, &bye);
    at_rest(&mut server);
}

#[test]
pub(crate) fn a_caller_who_gives_up_while_his_call_is_taken_ends_it() {
    let mut server = server();
    with_carol(&mut server);
    let (bobs, _) = ringing(&mut server);
    let (_, reinvite) = picking_up(&mut server, &bobs);
    let cancel = Request { method: "CANCEL", ..invite("sip:bob@sip.test") };
    let text = cancel.text().replace("1CANCEL", "1INVITE");
    let sent = server.receive(ALICE, &text);
    let codes: Vec<_> = to(&sent, ALICE).into_iter().map(code).collect();
    assert_eq!(codes, [200, 487]);
    let bye = only(&sent, CAROL).clone();
    assert_eq!(method(&bye), "BYE");
    let sent = server.receive(CAROL, &response(&reinvite, "200 OK", "", CAROL, "", CAROLS));
    assert_eq!(method(only(&sent, CAROL)), "ACK", "no offer for who is gone");
    ok(&mut server, CAROL, &bye);
    at_rest(&mut server);
}

#[test]
pub(crate) fn who_takes_a_call_and_hangs_up_at_once_leaves_the_caller_with_a_refusal() {
    let mut server = server();
    with_carol(&mut server);
    let (bobs, _) = ringing(&mut server);
    let (mut carol, reinvite) = picking_up(&mut server, &bobs);
    let bye = carol.request("BYE", "", "");
    let sent = server.receive(CAROL, &bye);
    assert_eq!((code(only(&sent, CAROL)), code(only(&sent, ALICE))), (200, 487));
    server.receive(CAROL, &response(&reinvite, "487 Request Terminated", "", CAROL, "", ""));
    at_rest(&mut server);
}

#[test]
pub(crate) fn an_answer_that_crosses_with_the_pickup_is_hung_up_once() {
    let mut server = server();
    with_carol(&mut server);
    let (bobs, _) = ringing(&mut server);
    carol_calls(&mut server, "*8bob", "pick", CAROLS);
    let sent = server.receive(BOB, &response(&bobs, "200 OK", "t", BOB, "", ANSWER));
    let methods: Vec<_> = to(&sent, BOB).into_iter().map(method).collect();
    assert_eq!(methods, ["ACK", "BYE"]);
    assert!(to(&sent, ALICE).is_empty());
    let bye = to(&sent, BOB)[1].clone();
    assert!(ok(&mut server, BOB, &bye).is_empty());
}

#[test]
pub(crate) fn where_nothing_rings_there_is_nothing_to_take() {
    let mut server = server();
    with_carol(&mut server);
    let sent = carol_calls(&mut server, "*8bob", "pick", CAROLS);
    assert_eq!(code(to(&sent, CAROL)[1]), 404);
    // One that talks is not taken either.
    let mut call = talking();
    with_carol(&mut call.server);
    let sent = carol_calls(&mut call.server, "*8bob", "pick", CAROLS);
    assert_eq!(code(to(&sent, CAROL)[1]), 404);
    let sent = carol_calls(&mut call.server, "*51", "late", "");
    assert_eq!(code(to(&sent, CAROL)[1]), 488, "she has to offer something");
}

#[test]
pub(crate) fn a_member_of_a_group_takes_its_call_by_the_number_of_a_colleague() {
    let member = |aor: &str| Member {
        destination: Destination::User(aor.into()),
        delay: Default::default(),
        ring: None,
    };
    let group = Group {
        name: "sales".into(),
        domain: "sip.test".into(),
        numbers: vec!["600".into()],
        members: vec![member("sip:bob@sip.test")],
        strategy: Strategy::All,
        otherwise: None,
    };
    let mut server = server_with(Settings { groups: vec![group], ..settings() }, &[BOB]);
    with_carol(&mut server);
    let sent = server.receive(ALICE, &text_of(&invite("sip:600@sip.test"), OFFER));
    let bobs = only(&sent, BOB).clone();
    server.receive(BOB, &response(&bobs, "180 Ringing", "t", BOB, "", ""));
    picking_up(&mut server, &bobs);
}
