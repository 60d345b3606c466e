//! REFER within a call of which the server is both ends: it makes the call itself (RFC 3515, RFC 5589).

use std::time::Duration;

use dialtone_roles::Settings;
use dialtone_roles::settings::Limits;
use dialtone_wire::{HeaderName, Message};

use crate::b2bua::{
    ALICE, ANSWER, BOB, Call, OFFER, Phone, at_rest, body, code, method, only, response, talking, text_of,
    to, value,
};
use crate::peers::{Request, Server, invite, register, settings};

pub(crate) const CAROL: &str = "127.0.0.4:5090";
/// What carol offers.
pub(crate) const CAROLS: &str = "v=0\r\no=carol 3 3 IN IP4 127.0.0.4\r\ns=-\r\nc=IN IP4 127.0.0.4\r\nt=0 0\r\n\
                                 m=audio 7000 RTP/AVP 0\r\n";
const TO_CAROL: &str = "Refer-To: <sip:carol@sip.test>\r\n";

pub(crate) fn with_carol(server: &mut Server) {
    assert_eq!(server.status(CAROL, &register("sip:carol@sip.test", CAROL, "reg-carol").text()), 200);
}

/// Alice and bob talk, and carol is registered.
pub(crate) fn talking_near_carol() -> Call {
    let mut call = talking();
    with_carol(&mut call.server);
    call
}

pub(crate) fn ok(server: &mut Server, from: &'static str, request: &Message) -> Vec<(String, Message)> {
    server.receive(from, &response(request, "200 OK", "", from, "", ""))
}

/// Takes the NOTIFY among what was sent to a phone, answers it, and gives its body.
pub(crate) fn notified(server: &mut Server, sent: &[(String, Message)], phone: &'static str) -> String {
    let notify =
        to(sent, phone).into_iter().find(|message| method(message) == "NOTIFY").expect("a NOTIFY").clone();
    assert!(ok(server, phone, &notify).is_empty());
    format!(
        "{} {}",
        value(&notify, HeaderName::SubscriptionState).split(';').next().unwrap_or(""),
        body(&notify).trim()
    )
}

/// Bob refers alice to carol; gives carol's INVITE.
fn referred(call: &mut Call) -> Message {
    let refer = call.bob.request("REFER", TO_CAROL, "");
    let sent = call.server.receive(BOB, &refer);
    assert_eq!(code(to(&sent, BOB)[0]), 200);
    assert_eq!(notified(&mut call.server, &sent, BOB), "active SIP/2.0 100 Trying");
    assert!(to(&sent, ALICE).is_empty(), "she hears nothing of it: {sent:?}");
    only(&sent, CAROL).clone()
}

/// Carol answers, alice takes the offer, both talk.
fn joined(call: &mut Call, carols: &Message) -> (Phone, Vec<(String, Message)>) {
    let sent = call.server.receive(CAROL, &response(carols, "200 OK", "c", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    assert_eq!(method(&reinvite), "INVITE");
    assert!(body(&reinvite).contains("c=IN IP4 127.0.0.4\r\n"), "{}", body(&reinvite));
    assert!(to(&sent, CAROL).is_empty(), "her ACK waits for the answer of alice");
    let sent = call.server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER));
    assert_eq!(method(only(&sent, ALICE)), "ACK");
    let ack = only(&sent, CAROL);
    assert_eq!((method(ack), body(ack).contains("c=IN IP4 127.0.0.2\r\n")), ("ACK", true));
    (Phone::callee(CAROL, carols, "c"), sent)
}

/// Alice hangs up: carol is told, and nobody else.
pub(crate) fn end_with_carol(mut call: Call) {
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    assert_eq!(code(only(&sent, ALICE)), 200);
    let bye = only(&sent, CAROL).clone();
    assert_eq!(method(&bye), "BYE");
    assert!(to(&sent, BOB).is_empty());
    ok(&mut call.server, CAROL, &bye);
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn the_server_brings_the_target_and_the_transferor_hangs_up() {
    let mut call = talking_near_carol();
    let carols = referred(&mut call);
    assert_eq!(value(&carols, HeaderName::ReferredBy), "<sip:bob@sip.test>");
    assert!(
        value(&carols, HeaderName::From).starts_with("<sip:alice@sip.test>;tag="),
        "she sees who is coming"
    );
    assert!(carols.body().is_empty(), "a late offer");
    let sent = call.server.receive(CAROL, &response(&carols, "180 Ringing", "c", CAROL, "", ""));
    assert_eq!(notified(&mut call.server, &sent, BOB), "active SIP/2.0 180 Ringing");
    let (mut carol, sent) = joined(&mut call, &carols);
    assert_eq!(notified(&mut call.server, &sent, BOB), "terminated SIP/2.0 200 OK");
    let bye = call.bob.request("BYE", "", "");
    let sent = call.server.receive(BOB, &bye);
    assert_eq!((sent.len(), code(only(&sent, BOB))), (1, 200), "the others talk on");
    // What carol does now concerns alice.
    let hold = CAROLS.replace("m=audio 7000 RTP/AVP 0\r\n", "m=audio 7000 RTP/AVP 0\r\na=sendonly\r\n");
    let reinvite = carol.request("INVITE", "", &hold);
    let sent = call.server.receive(CAROL, &reinvite);
    assert!(body(only(&sent, ALICE)).contains("a=sendonly"));
    let answer = response(only(&sent, ALICE), "200 OK", "", ALICE, "", OFFER);
    call.server.receive(ALICE, &answer);
    let ack = carol.request("ACK", "", "");
    call.server.receive(CAROL, &ack);
    let counters = call.server.engine.counters();
    assert_eq!((counters.transfers, counters.transfers_done, counters.bridges_joined), (1, 1, 1));
    end_with_carol(call);
}

#[test]
pub(crate) fn the_caller_transfers_the_one_whom_he_called() {
    let mut call = talking_near_carol();
    let refer = call.alice.request("REFER", TO_CAROL, "");
    let sent = call.server.receive(ALICE, &refer);
    assert_eq!(code(to(&sent, ALICE)[0]), 200);
    notified(&mut call.server, &sent, ALICE);
    let carols = only(&sent, CAROL).clone();
    assert!(value(&carols, HeaderName::From).starts_with("<sip:bob@sip.test>"));
    let sent = call.server.receive(CAROL, &response(&carols, "200 OK", "c", CAROL, "", CAROLS));
    let reinvite = only(&sent, BOB).clone();
    let sent = call.server.receive(BOB, &response(&reinvite, "200 OK", "", BOB, "", ANSWER));
    assert_eq!(notified(&mut call.server, &sent, ALICE), "terminated SIP/2.0 200 OK");
    // She does not hang up, so that the server does.
    let sent = call.server.pass(5);
    let bye = only(&sent, ALICE).clone();
    assert_eq!(method(&bye), "BYE");
    ok(&mut call.server, ALICE, &bye);
    let bye = call.bob.request("BYE", "", "");
    let sent = call.server.receive(BOB, &bye);
    let bye = only(&sent, CAROL).clone();
    ok(&mut call.server, CAROL, &bye);
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn a_target_that_is_busy_gives_the_call_back() {
    let mut call = talking_near_carol();
    let carols = referred(&mut call);
    let sent = call.server.receive(CAROL, &response(&carols, "486 Busy Here", "c", CAROL, "", ""));
    assert_eq!(method(only(&sent, CAROL)), "ACK");
    assert_eq!(notified(&mut call.server, &sent, BOB), "terminated SIP/2.0 486 Busy Here");
    assert!(to(&sent, ALICE).is_empty());
    assert_eq!(call.server.engine.counters().transfers_failed, 1);
    // They talk on, and he may try again.
    let carols = referred(&mut call);
    let sent = call.server.receive(CAROL, &response(&carols, "603 Decline", "c2", CAROL, "", ""));
    assert_eq!(notified(&mut call.server, &sent, BOB), "terminated SIP/2.0 603 Decline");
    call.end();
}

#[test]
pub(crate) fn nobody_there_gives_the_call_back_too() {
    let mut call = talking();
    let refer = call.bob.request("REFER", "Refer-To: sip:nobody@sip.test\r\n", "");
    let sent = call.server.receive(BOB, &refer);
    let notifies: Vec<_> = to(&sent, BOB).into_iter().filter(|message| method(message) == "NOTIFY").collect();
    assert_eq!(notifies.len(), 2);
    assert!(body(notifies[1]).starts_with("SIP/2.0 4"), "{}", body(notifies[1]));
    for notify in notifies {
        ok(&mut call.server, BOB, notify);
    }
    call.end();
}

#[test]
pub(crate) fn a_transferor_who_hangs_up_at_once_does_not_stop_it() {
    let mut call = talking_near_carol();
    let carols = referred(&mut call);
    let bye = call.bob.request("BYE", "", "");
    let sent = call.server.receive(BOB, &bye);
    assert_eq!((sent.len(), code(only(&sent, BOB))), (1, 200));
    let (_, sent) = joined(&mut call, &carols);
    assert!(to(&sent, BOB).is_empty());
    end_with_carol(call);
}

#[test]
pub(crate) fn without_transferor_a_failure_ends_the_call_of_the_transferee() {
    let mut call = talking_near_carol();
    let carols = referred(&mut call);
    let bye = call.bob.request("BYE", "", "");
    call.server.receive(BOB, &bye);
    let sent = call.server.receive(CAROL, &response(&carols, "486 Busy Here", "c", CAROL, "", ""));
    let bye = only(&sent, ALICE).clone();
    assert_eq!((method(&bye), value(&bye, HeaderName::Reason).contains("cause=486")), ("BYE", true));
    ok(&mut call.server, ALICE, &bye);
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn a_transferee_who_hangs_up_while_the_target_rings_ends_all() {
    let mut call = talking_near_carol();
    let carols = referred(&mut call);
    call.server.receive(CAROL, &response(&carols, "180 Ringing", "c", CAROL, "", ""));
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    assert_eq!(code(only(&sent, ALICE)), 200);
    let cancel = only(&sent, CAROL).clone();
    assert_eq!(method(&cancel), "CANCEL");
    let to_bob: Vec<_> = to(&sent, BOB);
    assert_eq!(to_bob.iter().map(|message| method(message)).collect::<Vec<_>>(), ["NOTIFY", "BYE"]);
    assert!(body(to_bob[0]).contains("487"));
    for message in to_bob {
        ok(&mut call.server, BOB, message);
    }
    ok(&mut call.server, CAROL, &cancel);
    let sent = call.server.receive(CAROL, &response(&carols, "487 Request Terminated", "c", CAROL, "", ""));
    assert_eq!(method(only(&sent, CAROL)), "ACK");
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn an_answer_that_crosses_the_cancel_is_acknowledged_and_hung_up_once() {
    let mut call = talking_near_carol();
    let carols = referred(&mut call);
    call.server.receive(CAROL, &response(&carols, "180 Ringing", "c", CAROL, "", ""));
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    for message in to(&sent, BOB) {
        ok(&mut call.server, BOB, message);
    }
    let sent = call.server.receive(CAROL, &response(&carols, "200 OK", "c", CAROL, "", CAROLS));
    let methods: Vec<_> = to(&sent, CAROL).into_iter().map(method).collect();
    assert_eq!(methods, ["ACK", "BYE"]);
    assert!(body(to(&sent, CAROL)[0]).contains("m=audio 0 "), "{}", body(to(&sent, CAROL)[0]));
    let bye = to(&sent, CAROL)[1].clone();
    ok(&mut call.server, CAROL, &bye);
    let later: Vec<_> =
        call.server.pass(120).into_iter().filter(|(_, message)| method(message) == "BYE").collect();
    assert!(later.is_empty(), "{later:?}");
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn a_target_that_hangs_up_in_the_middle_gives_the_call_back_with_its_session() {
    let mut call = talking_near_carol();
    let carols = referred(&mut call);
    let sent = call.server.receive(CAROL, &response(&carols, "200 OK", "c", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    let mut carol = Phone::callee(CAROL, &carols, "c");
    let bye = carol.request("BYE", "", "");
    let sent = call.server.receive(CAROL, &bye);
    let to_carol: Vec<_> =
        to(&sent, CAROL).into_iter().map(|message| (method(message), code(message))).collect();
    assert_eq!(to_carol, [("", 200), ("ACK", 0)], "no BYE for a BYE");
    assert!(notified(&mut call.server, &sent, BOB).starts_with("terminated SIP/2.0 487"));
    // Alice has taken what nobody offers any more: she gets back what held.
    let sent = call.server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER));
    let methods: Vec<_> = to(&sent, ALICE).into_iter().map(method).collect();
    assert_eq!(methods, ["ACK", "INVITE"]);
    let again = to(&sent, ALICE)[1].clone();
    assert!(body(&again).contains("c=IN IP4 127.0.0.3\r\n"), "bob's: {}", body(&again));
    call.server.receive(ALICE, &response(&again, "200 OK", "", ALICE, "", OFFER));
    call.end();
}

#[test]
pub(crate) fn a_transferee_who_refuses_the_offer_stays_and_the_target_goes() {
    let mut call = talking_near_carol();
    let carols = referred(&mut call);
    let sent = call.server.receive(CAROL, &response(&carols, "200 OK", "c", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    let sent = call.server.receive(ALICE, &response(&reinvite, "488 Not Acceptable Here", "", ALICE, "", ""));
    assert_eq!(notified(&mut call.server, &sent, BOB), "terminated SIP/2.0 488 Not Acceptable Here");
    let methods: Vec<_> = to(&sent, CAROL).into_iter().map(method).collect();
    assert_eq!(methods, ["ACK", "BYE"]);
    let bye = to(&sent, CAROL)[1].clone();
    ok(&mut call.server, CAROL, &bye);
    call.end();
}

#[test]
pub(crate) fn glare_at_the_transferee_is_waited_out() {
    let mut call = talking_near_carol();
    let carols = referred(&mut call);
    let sent = call.server.receive(CAROL, &response(&carols, "200 OK", "c", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    call.server.receive(ALICE, &response(&reinvite, "491 Request Pending", "", ALICE, "", ""));
    let sent = call.server.pass(3);
    let reinvite = to(&sent, ALICE)[0].clone();
    assert_eq!(method(&reinvite), "INVITE");
    let sent = call.server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER));
    assert_eq!(method(only(&sent, CAROL)), "ACK");
    assert_eq!(notified(&mut call.server, &sent, BOB), "terminated SIP/2.0 200 OK");
    let bye = call.bob.request("BYE", "", "");
    call.server.receive(BOB, &bye);
    end_with_carol(call);
}

#[test]
pub(crate) fn a_target_gets_its_ack_before_it_gives_up_however_long_the_transferee_is_busy() {
    let mut call = talking_near_carol();
    let carols = referred(&mut call);
    let mut sent = call.server.receive(CAROL, &response(&carols, "200 OK", "c", CAROL, "", CAROLS));
    let answered = call.server.now;
    let acked = loop {
        if let Some(ack) = to(&sent, CAROL).into_iter().find(|message| method(message) == "ACK") {
            break ack.clone();
        }
        let reinvite = to(&sent, ALICE).into_iter().find(|message| method(message) == "INVITE").cloned();
        sent = match reinvite {
            Some(reinvite) => {
                call.server.receive(ALICE, &response(&reinvite, "491 Request Pending", "", ALICE, "", ""))
            }
            None => call.server.pass(1),
        };
        assert!(call.server.now - answered < Duration::from_secs(32), "64 times T1, and carol would hang up");
    };
    assert!(body(&acked).contains("m=audio"), "an offer gets its answer");
    let bye = to(&sent, CAROL).into_iter().find(|message| method(message) == "BYE").expect("a BYE").clone();
    ok(&mut call.server, CAROL, &bye);
    assert!(notified(&mut call.server, &sent, BOB).starts_with("terminated SIP/2.0 5"));
    call.end();
}

#[test]
pub(crate) fn a_refer_without_subscription_gets_no_notify() {
    let mut call = talking_near_carol();
    let extra = format!("{TO_CAROL}Refer-Sub: false\r\nSupported: norefersub\r\n");
    let refer = call.bob.request("REFER", &extra, "");
    let sent = call.server.receive(BOB, &refer);
    let accepted = only(&sent, BOB);
    assert_eq!((code(accepted), accepted.value_by_text("Refer-Sub")), (200, Some(&b"false"[..])));
    let carols = only(&sent, CAROL).clone();
    let (_, sent) = joined(&mut call, &carols);
    assert!(to(&sent, BOB).is_empty());
    let bye = call.bob.request("BYE", "", "");
    call.server.receive(BOB, &bye);
    end_with_carol(call);
}

#[test]
pub(crate) fn nonsense_is_refused_and_the_call_goes_on() {
    let mut call = talking_near_carol();
    for (extra, expected) in [
        ("", 400),
        ("Refer-To: <sip:carol@sip.test>, <sip:bob@sip.test>\r\n", 400),
        ("Refer-To: <sip:carol@sip.test\r\n", 400),
        ("Refer-To: <sip:carol@sip.test?Replaces=nonsense>\r\n", 400),
    ] {
        let refer = call.bob.request("REFER", extra, "");
        let sent = call.server.receive(BOB, &refer);
        assert_eq!((sent.len(), code(only(&sent, BOB))), (1, expected), "{extra}");
        assert!(value(only(&sent, BOB), HeaderName::Warning).contains("Refer-To names nobody"));
    }
    // Something else than a call is the other phone's matter.
    let refer = call.bob.request("REFER", "Refer-To: <sip:carol@sip.test;method=MESSAGE>\r\n", "");
    let sent = call.server.receive(BOB, &refer);
    let carried = only(&sent, ALICE).clone();
    assert_eq!(method(&carried), "REFER");
    call.server.receive(ALICE, &response(&carried, "603 Decline", "", ALICE, "", ""));
    call.end();
}

/// Bob calls carol with the Call-ID `consult`, and she answers; gives his phone and hers.
pub(crate) fn consulted(call: &mut Call) -> (Phone, Phone) {
    let request = Request {
        from: "sip:bob@sip.test",
        via: BOB,
        call_id: "consult",
        extra: format!("Contact: <sip:bob@{BOB}>\r\n"),
        ..invite("sip:carol@sip.test")
    };
    let sent = call.server.receive(BOB, &text_of(&request, ANSWER));
    let carols = only(&sent, CAROL).clone();
    let sent = call.server.receive(CAROL, &response(&carols, "200 OK", "c", CAROL, "", CAROLS));
    let mut bob = Phone::caller(BOB, only(&sent, BOB));
    let ack = bob.request("ACK", "", "");
    assert!(call.server.receive(BOB, &ack).is_empty());
    (bob, Phone::callee(CAROL, &carols, "c"))
}

/// Refer-To with the dialog of the consultation as bob has it.
pub(crate) fn replacing(bob: &Phone) -> String {
    let [call_id, ours, theirs] = bob.dialog();
    format!("Refer-To: <sip:carol@sip.test?Replaces={call_id}%3Bto-tag%3D{theirs}%3Bfrom-tag%3D{ours}>\r\n")
}

#[test]
pub(crate) fn an_attended_transfer_joins_the_two_who_are_left() {
    let mut call = talking_near_carol();
    let (consult, _) = consulted(&mut call);
    let refer = call.bob.request("REFER", &replacing(&consult), "");
    let sent = call.server.receive(BOB, &refer);
    assert_eq!(code(to(&sent, BOB)[0]), 200);
    notified(&mut call.server, &sent, BOB);
    let asks = only(&sent, CAROL).clone();
    assert_eq!((method(&asks), asks.body().is_empty(), to(&sent, ALICE).len()), ("INVITE", true, 0));
    let sent = call.server.receive(CAROL, &response(&asks, "200 OK", "", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    let sent = call.server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER));
    assert!(body(only(&sent, CAROL)).contains("c=IN IP4 127.0.0.2\r\n"));
    assert_eq!(notified(&mut call.server, &sent, BOB), "terminated SIP/2.0 200 OK");
    let bye = to(&sent, BOB).into_iter().find(|message| method(message) == "BYE").expect("a BYE").clone();
    assert_eq!(value(&bye, HeaderName::CallId), "consult", "his call with carol has been replaced");
    ok(&mut call.server, BOB, &bye);
    let bye = call.bob.request("BYE", "", "");
    let sent = call.server.receive(BOB, &bye);
    assert_eq!(sent.len(), 1);
    end_with_carol(call);
}

#[test]
pub(crate) fn a_phone_that_hangs_up_both_calls_at_once_has_transferred_all_the_same() {
    let mut call = talking_near_carol();
    let (mut consult, _) = consulted(&mut call);
    let refer = call.bob.request("REFER", &replacing(&consult), "");
    let sent = call.server.receive(BOB, &refer);
    let asks = only(&sent, CAROL).clone();
    notified(&mut call.server, &sent, BOB);
    for phone in [&mut call.bob, &mut consult] {
        let bye = phone.request("BYE", "", "");
        let sent = call.server.receive(BOB, &bye);
        assert_eq!((sent.len(), code(only(&sent, BOB))), (1, 200));
    }
    let sent = call.server.receive(CAROL, &response(&asks, "200 OK", "", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    let sent = call.server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER));
    assert_eq!((method(only(&sent, CAROL)), to(&sent, BOB).len()), ("ACK", 0));
    end_with_carol(call);
}

#[test]
pub(crate) fn an_attended_transfer_that_fails_leaves_both_calls_as_they_were() {
    let mut call = talking_near_carol();
    let (mut consult, _) = consulted(&mut call);
    let refer = call.bob.request("REFER", &replacing(&consult), "");
    let sent = call.server.receive(BOB, &refer);
    let asks = only(&sent, CAROL).clone();
    notified(&mut call.server, &sent, BOB);
    let sent = call.server.receive(CAROL, &response(&asks, "200 OK", "", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    let sent = call.server.receive(ALICE, &response(&reinvite, "488 Not Acceptable Here", "", ALICE, "", ""));
    assert!(notified(&mut call.server, &sent, BOB).contains("488"));
    let ack = only(&sent, CAROL);
    assert!(body(ack).contains("c=IN IP4 127.0.0.3\r\n"), "bob is still there for her: {}", body(ack));
    let bye = consult.request("BYE", "", "");
    let sent = call.server.receive(BOB, &bye);
    let bye = only(&sent, CAROL).clone();
    ok(&mut call.server, CAROL, &bye);
    call.end();
}

/// What was sent until somebody gives up a phone that says every ten seconds that it works on a re-INVITE.
fn given_up(server: &mut Server, phone: &str, reinvite: &Message) -> Vec<(String, Message)> {
    for _ in 0..23 {
        server.receive(phone, &response(reinvite, "180 Ringing", "", phone, "", ""));
        let sent = server.pass(10);
        if !sent.is_empty() {
            return sent;
        }
    }
    panic!("nobody gives up");
}

#[test]
pub(crate) fn a_transferee_whose_phone_never_answers_the_offer_is_hung_up_and_the_referrer_is_told() {
    let mut call = talking_near_carol();
    let carols = referred(&mut call);
    let sent = call.server.receive(CAROL, &response(&carols, "200 OK", "c", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    let sent = given_up(&mut call.server, ALICE, &reinvite);
    assert_eq!(notified(&mut call.server, &sent, BOB), "terminated SIP/2.0 408 Request Timeout");
    for phone in [ALICE, BOB, CAROL] {
        let mut byes = to(&sent, phone).into_iter().filter(|message| method(message) == "BYE");
        let bye = byes.next().expect("a BYE").clone();
        ok(&mut call.server, phone, &bye);
    }
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn a_target_whose_phone_never_makes_an_offer_is_hung_up_and_the_call_goes_on() {
    let mut call = talking_near_carol();
    let (consult, _) = consulted(&mut call);
    let refer = call.bob.request("REFER", &replacing(&consult), "");
    let sent = call.server.receive(BOB, &refer);
    let asks = only(&sent, CAROL).clone();
    notified(&mut call.server, &sent, BOB);
    let sent = given_up(&mut call.server, CAROL, &asks);
    assert_eq!(notified(&mut call.server, &sent, BOB), "terminated SIP/2.0 408 Request Timeout");
    assert!(to(&sent, ALICE).is_empty(), "she has heard nothing of it");
    for phone in [BOB, CAROL] {
        let mut byes = to(&sent, phone).into_iter().filter(|message| method(message) == "BYE");
        let bye = byes.next().expect("a BYE").clone();
        assert!(value(&bye, HeaderName::CallId) != "call", "bob's call with her alone");
        ok(&mut call.server, phone, &bye);
    }
    // The proxy on the way has a Timer C of its own.
    call.server.pass(181);
    call.end();
}

/// RFC 3515 §2.1: "the Refer-To header field value" is where the request goes, with its parameters.
#[test]
pub(crate) fn a_transfer_to_a_gruu_reaches_that_device_alone() {
    const CELL: &str = "127.0.0.5:5095";
    let mut call = talking_near_carol();
    let mut cell = register("sip:carol@sip.test", CELL, "reg-cell");
    cell.extra =
        format!("Contact: <sip:carol@{CELL}>;+sip.instance=\"<urn:uuid:1-2-3>\"\r\nSupported: gruu\r\n");
    assert_eq!(call.server.status(CELL, &cell.text()), 200);
    let gruu = "sip:carol@sip.test;gr=urn:uuid:1-2-3";
    let refer = call.bob.request("REFER", &format!("Refer-To: <{gruu};method=INVITE?Subject=x>\r\n"), "");
    let sent = call.server.receive(BOB, &refer);
    assert_eq!(code(to(&sent, BOB)[0]), 200);
    notified(&mut call.server, &sent, BOB);
    assert!(to(&sent, CAROL).is_empty(), "the other phone of hers does not ring");
    let cells = only(&sent, CELL).clone();
    assert_eq!(value(&cells, HeaderName::To), "<sip:carol@sip.test>");
    let sent = call.server.receive(CELL, &response(&cells, "486 Busy Here", "c", CELL, "", ""));
    assert_eq!(notified(&mut call.server, &sent, BOB), "terminated SIP/2.0 486 Busy Here");
    // A device that is not there is not replaced by another one.
    let refer = call.bob.request("REFER", "Refer-To: <sip:carol@sip.test;gr=urn:uuid:none>\r\n", "");
    let sent = call.server.receive(BOB, &refer);
    let told: Vec<_> = to(&sent, BOB).into_iter().filter(|message| method(message) == "NOTIFY").collect();
    assert!(body(told[1]).starts_with("SIP/2.0 480"), "{}", body(told[1]));
    assert!(to(&sent, CAROL).is_empty() && to(&sent, CELL).is_empty());
    for notify in told {
        ok(&mut call.server, BOB, notify);
    }
    call.end();
}

#[test]
pub(crate) fn nobody_transfers_to_a_call_that_is_not_his_own() {
    let mut call = talking_near_carol();
    let (consult, _) = consulted(&mut call);
    // Alice has seen the names of that call, and is no party of it.
    let refer = call.alice.request("REFER", &replacing(&consult), "");
    let sent = call.server.receive(ALICE, &refer);
    assert_eq!((sent.len(), code(only(&sent, ALICE))), (1, 403));
    assert_eq!(call.server.engine.counters().transfers_refused, 1);
    // Nor to the call that is transferred itself.
    let refer = call.bob.request("REFER", &replacing(&call.bob.clone()), "");
    let sent = call.server.receive(BOB, &refer);
    assert_eq!((sent.len(), code(only(&sent, BOB))), (1, 403));
}

#[test]
pub(crate) fn a_call_is_transferred_so_often_and_no_more() {
    let limits = Limits { transfers: 2, ..Limits::default() };
    let mut call = crate::b2bua::talking_on(
        crate::b2bua::server_with(Settings { limits, ..settings() }, &[BOB]),
        "",
        "",
    );
    with_carol(&mut call.server);
    let carols = referred(&mut call);
    let (mut carol, _) = joined(&mut call, &carols);
    let refer = carol.request("REFER", "Refer-To: <sip:bob@sip.test>\r\n", "");
    let sent = call.server.receive(CAROL, &refer);
    let bobs =
        to(&sent, BOB).into_iter().find(|message| method(message) == "INVITE").expect("an INVITE").clone();
    let sent = call.server.receive(BOB, &response(&bobs, "200 OK", "b2", BOB, "", ANSWER));
    let reinvite = only(&sent, ALICE).clone();
    call.server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER));
    let mut bob = Phone::callee(BOB, &bobs, "b2");
    bob.cseq = 500;
    let refer = bob.request("REFER", TO_CAROL, "");
    let sent = call.server.receive(BOB, &refer);
    let refused = to(&sent, BOB).into_iter().find(|message| !message.is_request()).expect("an answer");
    assert_eq!(code(refused), 483);
    assert!(value(refused, HeaderName::Warning).contains("transferred too often"));
}

#[test]
pub(crate) fn a_transfer_survives_lost_packets() {
    let mut call = talking_near_carol();
    let carols = referred(&mut call);
    // Her 200 comes twice, the first re-INVITE is lost, and so is the ACK that she waits for.
    let answer = response(&carols, "200 OK", "c", CAROL, "", CAROLS);
    call.server.receive(CAROL, &answer);
    assert!(call.server.receive(CAROL, &answer).is_empty());
    let sent = call.server.pass(1);
    let reinvite = to(&sent, ALICE)[0].clone();
    let accepted = response(&reinvite, "200 OK", "", ALICE, "", OFFER);
    let sent = call.server.receive(ALICE, &accepted);
    let first = body(only(&sent, CAROL));
    let sent = call.server.receive(CAROL, &answer);
    let again = only(&sent, CAROL);
    assert_eq!((method(again), body(again)), ("ACK", first), "the same ACK again");
    let sent = call.server.receive(ALICE, &accepted);
    assert_eq!(method(only(&sent, ALICE)), "ACK");
    let bye = call.bob.request("BYE", "", "");
    call.server.receive(BOB, &bye);
    end_with_carol(call);
}

#[test]
pub(crate) fn a_second_refer_waits_for_the_first_one() {
    let mut call = talking_near_carol();
    let carols = referred(&mut call);
    let refer = call.bob.request("REFER", TO_CAROL, "");
    let sent = call.server.receive(BOB, &refer);
    assert_eq!((code(only(&sent, BOB)), only(&sent, BOB).has(HeaderName::RetryAfter)), (500, true));
    joined(&mut call, &carols);
    let bye = call.bob.request("BYE", "", "");
    call.server.receive(BOB, &bye);
    end_with_carol(call);
}

/// Carol's phone with the call that bob had with her goes to alice, and from there to dave, who calls carol in between.
#[test]
pub(crate) fn a_call_that_was_joined_twice_goes_on_both_ways() {
    let mut call = talking_near_carol();
    let (consult, mut carol) = consulted(&mut call);
    let refer = call.bob.request("REFER", &replacing(&consult), "");
    let sent = call.server.receive(BOB, &refer);
    let asks = only(&sent, CAROL).clone();
    notified(&mut call.server, &sent, BOB);
    let sent = call.server.receive(CAROL, &response(&asks, "200 OK", "", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    let sent = call.server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER));
    notified(&mut call.server, &sent, BOB);
    let bye = to(&sent, BOB).into_iter().find(|message| method(message) == "BYE").expect("a BYE").clone();
    ok(&mut call.server, BOB, &bye);
    let bye = call.bob.request("BYE", "", "");
    call.server.receive(BOB, &bye);
    // Carol has another call, with bob once more, and makes one of both.
    let mut request = Request {
        from: "sip:carol@sip.test",
        via: CAROL,
        call_id: "second",
        extra: format!("Contact: <sip:carol@{CAROL}>\r\n"),
        ..invite("sip:bob@sip.test")
    };
    request.cseq = 7;
    let sent = call.server.receive(CAROL, &text_of(&request, CAROLS));
    let bobs = only(&sent, BOB).clone();
    let sent = call.server.receive(BOB, &response(&bobs, "200 OK", "b2", BOB, "", ANSWER));
    let mut second = Phone::caller(CAROL, only(&sent, CAROL));
    second.cseq = 7;
    let ack = second.request("ACK", "", "");
    assert!(call.server.receive(CAROL, &ack).is_empty());
    let [call_id, ours, theirs] = carol.dialog();
    let names = format!("{call_id}%3Bto-tag%3D{theirs}%3Bfrom-tag%3D{ours}");
    let refer = second.request("REFER", &format!("Refer-To: <sip:alice@sip.test?Replaces={names}>\r\n"), "");
    let sent = call.server.receive(CAROL, &refer);
    assert_eq!(code(to(&sent, CAROL)[0]), 200);
    notified(&mut call.server, &sent, CAROL);
    let asks = only(&sent, ALICE).clone();
    let sent = call.server.receive(ALICE, &response(&asks, "200 OK", "", ALICE, "", OFFER));
    let reinvite = only(&sent, BOB).clone();
    let sent = call.server.receive(BOB, &response(&reinvite, "200 OK", "", BOB, "", ANSWER));
    assert_eq!(notified(&mut call.server, &sent, CAROL), "terminated SIP/2.0 200 OK");
    for bye in
        to(&sent, CAROL).into_iter().filter(|message| method(message) == "BYE").cloned().collect::<Vec<_>>()
    {
        ok(&mut call.server, CAROL, &bye);
    }
    let bye = second.request("BYE", "", "");
    call.server.receive(CAROL, &bye);
    assert_eq!(call.server.engine.counters().transfers_done, 2);
    // Both sides hold, and one refreshes by UPDATE.
    let mut bob = Phone::callee(BOB, &bobs, "b2");
    for (from, at, to, mut phone) in
        [(ALICE, OFFER, BOB, call.alice.clone()), (BOB, ANSWER, ALICE, bob.clone())]
    {
        let held = format!("{at}a=sendonly\r\n");
        let reinvite = phone.request("INVITE", "", &held);
        let sent = call.server.receive(from, &reinvite);
        let carried = only(&sent, to).clone();
        assert!(body(&carried).contains("a=sendonly"), "{}", body(&carried));
        let answer = if to == BOB { ANSWER } else { OFFER };
        let sent = call.server.receive(to, &response(&carried, "200 OK", "", to, "", answer));
        assert_eq!(code(only(&sent, from)), 200);
        assert!(call.server.receive(from, &phone.request("ACK", "", "")).is_empty());
        let update = phone.request("UPDATE", "", "");
        let sent = call.server.receive(from, &update);
        assert_eq!(code(only(&sent, from)), 200);
        match from {
            ALICE => call.alice = phone,
            _ => bob = phone,
        }
    }
    let _ = carol.request("ACK", "", "");
    let bye = bob.request("BYE", "", "");
    let sent = call.server.receive(BOB, &bye);
    assert_eq!(code(only(&sent, BOB)), 200);
    let bye = only(&sent, ALICE).clone();
    assert_eq!(method(&bye), "BYE");
    ok(&mut call.server, ALICE, &bye);
    at_rest(&mut call.server);
}
