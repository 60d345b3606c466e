//! How calls of which the server is both ends begin and end: CANCEL, forks, late offers, refusals, limits, session timers.

use dialtone_roles::Settings;
use dialtone_roles::io::{CallEnd, Input};
use dialtone_roles::settings::{BridgeSettings, CallSettings};
use dialtone_wire::{HeaderName, Message};

use crate::b2bua::{
    ALICE, ANSWER, BOB, Call, OFFER, Phone, alices_invite, at_rest, body, code, method, only, response,
    server, server_with, talking, talking_on, to, value,
};
use crate::peers::{Request, Server, invite, settings};

const CELL: &str = "127.0.0.4:5090";

/// Alice's INVITE as it reaches bob.
fn invited(server: &mut Server, extra: &str, body: &str) -> Message {
    let sent = server.receive(ALICE, &alices_invite(extra, body));
    only(&sent, BOB).clone()
}

fn cancel() -> String {
    let cancel = Request { method: "CANCEL", ..invite("sip:bob@sip.test") };
    cancel.text().replace("callCANCEL", "call").replace("call1CANCEL", "call1INVITE")
}

/// Answers each BYE that was sent.
fn answer_byes(server: &mut Server, sent: Vec<(String, Message)>) -> Vec<String> {
    let byes: Vec<_> = sent.into_iter().filter(|(_, message)| method(message) == "BYE").collect();
    for (address, bye) in &byes {
        server.receive(address, &response(bye, "200 OK", "", address, "", ""));
    }
    let mut to: Vec<String> = byes.into_iter().map(|(address, _)| address).collect();
    to.sort();
    // One may have been sent twice within the time that was let pass.
    to.dedup();
    to
}

#[test]
fn a_call_that_is_cancelled_is_487_to_alice_and_cancelled_at_bob() {
    let mut server = server();
    let at_bob = invited(&mut server, "", OFFER);
    server.receive(BOB, &response(&at_bob, "180 Ringing", "t", BOB, "", ""));
    let sent = server.receive(ALICE, &cancel());
    let codes: Vec<u16> = to(&sent, ALICE).into_iter().map(code).collect();
    assert_eq!(codes, [200, 487]);
    assert_eq!(value(to(&sent, ALICE)[0], HeaderName::To), value(to(&sent, ALICE)[1], HeaderName::To));
    let cancelled = only(&sent, BOB).clone();
    assert_eq!(method(&cancelled), "CANCEL");
    server.receive(BOB, &response(&cancelled, "200 OK", "", BOB, "", ""));
    let sent = server.receive(BOB, &response(&at_bob, "487 Request Terminated", "t", BOB, "", ""));
    assert_eq!((sent.len(), method(only(&sent, BOB))), (1, "ACK"));
    at_rest(&mut server);
    let ends: Vec<_> = server.records.iter().map(|record| record.end).collect();
    assert_eq!(ends, [CallEnd::Cancelled]);
}

#[test]
fn a_cancel_that_comes_again_when_its_invite_is_forgotten_gets_the_answer_that_it_had() {
    let mut server = server();
    let at_bob = invited(&mut server, "", OFFER);
    server.receive(BOB, &response(&at_bob, "180 Ringing", "t", BOB, "", ""));
    let sent = server.receive(ALICE, &cancel());
    let answer = to(&sent, ALICE)[0].clone();
    let cancelled = only(&sent, BOB).clone();
    server.receive(BOB, &response(&cancelled, "200 OK", "", BOB, "", ""));
    server.receive(BOB, &response(&at_bob, "487 Request Terminated", "t", BOB, "", ""));
    server.receive(ALICE, &cancel().replace("CANCEL", "ACK"));
    // Timer I of the INVITE is over, Timer J of the CANCEL is not.
    server.pass(8);
    let sent = server.receive(ALICE, &cancel());
    assert_eq!((sent.len(), only(&sent, ALICE).bytes()), (1, answer.bytes()));
    at_rest(&mut server);
}

#[test]
fn an_answer_that_crosses_with_the_cancel_gets_its_ack_and_a_bye() {
    for (offer, answer) in [(OFFER, ANSWER), ("", OFFER)] {
        let mut server = server();
        let at_bob = invited(&mut server, "", offer);
        server.receive(BOB, &response(&at_bob, "180 Ringing", "t", BOB, "", ""));
        server.receive(ALICE, &cancel());
        let ok = response(&at_bob, "200 OK", "t", BOB, "", answer);
        let sent = server.receive(BOB, &ok);
        let methods: Vec<&str> = to(&sent, BOB).into_iter().map(method).collect();
        assert_eq!(methods, ["ACK", "BYE"]);
        assert!(to(&sent, ALICE).is_empty(), "{sent:?}");
        let ack = to(&sent, BOB)[0].clone();
        assert_eq!(body(&ack).contains("m=audio 0 "), offer.is_empty(), "a late offer is refused: {ack:?}");
        answer_byes(&mut server, sent);
        let again = server.receive(BOB, &ok);
        assert_eq!((again.len(), method(only(&again, BOB))), (1, "ACK"), "its ACK was lost");
        at_rest(&mut server);
    }
}

#[test]
fn each_fork_is_an_early_dialog_of_alices_and_the_first_that_answers_is_hers() {
    let mut server = server_with(settings(), &[BOB, CELL]);
    let sent = server.receive(ALICE, &alices_invite("", OFFER));
    let (desk, cell) = (only(&sent, BOB).clone(), only(&sent, CELL).clone());
    let mut tags = Vec::new();
    for (phone, at, tag) in [(BOB, &desk, "d"), (CELL, &cell, "c")] {
        let sent = server.receive(phone, &response(at, "183 Session Progress", tag, phone, "", ANSWER));
        tags.push(value(only(&sent, ALICE), HeaderName::To));
    }
    assert_ne!(tags[0], tags[1]);
    let sent = server.receive(CELL, &response(&cell, "200 OK", "c", CELL, "", ANSWER));
    let ok = only(&sent, ALICE).clone();
    assert_eq!(value(&ok, HeaderName::To), tags[1]);
    assert_eq!(method(only(&sent, CELL)), "ACK");
    let cancel = only(&sent, BOB).clone();
    assert_eq!(method(&cancel), "CANCEL");
    // The desk phone was picked up in the same moment.
    let sent = server.receive(BOB, &response(&desk, "200 OK", "d", BOB, "", ANSWER));
    let methods: Vec<&str> = to(&sent, BOB).into_iter().map(method).collect();
    assert_eq!(methods, ["ACK", "BYE"]);
    assert!(to(&sent, ALICE).is_empty());
    answer_byes(&mut server, sent);
    let mut alice = Phone::caller(ALICE, &ok);
    let ack = alice.request("ACK", "", "");
    server.receive(ALICE, &ack);
    let bye = alice.request("BYE", "", "");
    let sent = server.receive(ALICE, &bye);
    assert_eq!(method(only(&sent, CELL)), "BYE");
    answer_byes(&mut server, sent);
    at_rest(&mut server);
}

/// RFC 3261 §12.2.1.1, found by the swarm: the BYE had the number of the PRACK, got 500, and the phone was left behind.
#[test]
fn a_fork_that_answers_too_late_gets_a_bye_with_the_number_after_that_of_its_prack() {
    let mut server = server_with(settings(), &[BOB, CELL]);
    let sent = server.receive(ALICE, &alices_invite("Supported: 100rel\r\n", OFFER));
    let (desk, cell) = (only(&sent, BOB).clone(), only(&sent, CELL).clone());
    let reliable = "Require: 100rel\r\nRSeq: 5\r\n";
    let sent = server.receive(BOB, &response(&desk, "180 Ringing", "d", BOB, reliable, ""));
    let ringing = only(&sent, ALICE).clone();
    let rack = format!("RAck: {} 1 INVITE\r\n", value(&ringing, HeaderName::RSeq));
    let prack = Phone::caller(ALICE, &ringing).request("PRACK", &rack, "");
    let sent = server.receive(ALICE, &prack);
    let prack = only(&sent, BOB).clone();
    server.receive(BOB, &response(&prack, "200 OK", "", BOB, "", ""));
    let sent = server.receive(CELL, &response(&cell, "200 OK", "c", CELL, "", ANSWER));
    let ok = only(&sent, ALICE).clone();
    let sent = server.receive(BOB, &response(&desk, "200 OK", "d", BOB, "", ANSWER));
    let [ack, bye] = to(&sent, BOB)[..] else { panic!("{sent:?}") };
    assert_eq!((method(ack), method(bye)), ("ACK", "BYE"));
    assert_eq!(bye.cseq().unwrap().number, prack.cseq().unwrap().number + 1);
    answer_byes(&mut server, sent.clone());
    let mut alice = Phone::caller(ALICE, &ok);
    for request in ["ACK", "BYE"] {
        let request = alice.request(request, "", "");
        let sent = server.receive(ALICE, &request);
        answer_byes(&mut server, sent);
    }
    at_rest(&mut server);
}

#[test]
fn a_late_offer_goes_to_alice_and_her_answer_into_the_ack_for_bob() {
    let mut server = server();
    let at_bob = invited(&mut server, "", "");
    assert!(at_bob.body().is_empty());
    let ok = response(&at_bob, "200 OK", "t", BOB, "", OFFER);
    let sent = server.receive(BOB, &ok);
    assert!(to(&sent, BOB).is_empty(), "no ACK yet: {sent:?}");
    let answer = only(&sent, ALICE).clone();
    assert!(body(&answer).contains("m=audio 4000"));
    assert!(to(&server.receive(BOB, &ok), BOB).is_empty());
    let mut alice = Phone::caller(ALICE, &answer);
    let ack = alice.request("ACK", "", ANSWER);
    let sent = server.receive(ALICE, &ack);
    let ack = only(&sent, BOB).clone();
    assert_eq!((method(&ack), body(&ack).contains("m=audio 6000")), ("ACK", true));
    assert!(!body(&ack).contains("o=bob"));
    let again = server.receive(BOB, &ok);
    assert_eq!((method(only(&again, BOB)), body(only(&again, BOB))), ("ACK", body(&ack)));
    let bob = Phone::callee(BOB, &at_bob, "t");
    Call { server, alice, bob, bobs_invite: at_bob, alices_answer: answer }.end();
}

#[test]
fn an_ack_without_the_answer_to_a_late_offer_ends_the_call() {
    let mut server = server();
    let at_bob = invited(&mut server, "", "");
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", OFFER));
    let mut alice = Phone::caller(ALICE, only(&sent, ALICE));
    let ack = alice.request("ACK", "", "");
    let sent = server.receive(ALICE, &ack);
    let methods: Vec<&str> = to(&sent, BOB).into_iter().map(method).collect();
    assert_eq!(methods, ["ACK", "BYE"]);
    assert_eq!(answer_byes(&mut server, sent), [ALICE, BOB]);
    at_rest(&mut server);
}

#[test]
fn an_answer_is_repeated_until_its_ack_and_without_one_both_get_bye() {
    let mut server = server();
    let at_bob = invited(&mut server, "", OFFER);
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", ANSWER));
    assert_eq!(code(only(&sent, ALICE)), 200);
    let sent = server.pass(31);
    let oks = to(&sent, ALICE).into_iter().filter(|message| code(message) == 200).count();
    assert_eq!(oks, 9, "after 0.5, 1.5, 3.5 and then every 4 s");
    assert!(sent.iter().all(|(_, message)| method(message) != "BYE"));
    let sent = server.pass(2);
    assert_eq!(answer_byes(&mut server, sent), [ALICE, BOB]);
    at_rest(&mut server);
}

#[test]
fn bob_who_hangs_up_before_alices_ack_is_answered_and_alice_gets_her_bye_after_it() {
    let mut server = server();
    let at_bob = invited(&mut server, "", OFFER);
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", ANSWER));
    let mut alice = Phone::caller(ALICE, only(&sent, ALICE));
    let mut bob = Phone::callee(BOB, &at_bob, "t");
    let bye = bob.request("BYE", "", "");
    let sent = server.receive(BOB, &bye);
    assert_eq!((sent.len(), code(only(&sent, BOB))), (1, 200), "no BYE before the ACK (RFC 3261 §15)");
    let ack = alice.request("ACK", "", "");
    let sent = server.receive(ALICE, &ack);
    assert_eq!(method(only(&sent, ALICE)), "BYE");
    answer_byes(&mut server, sent);
    at_rest(&mut server);
}

#[test]
fn both_who_hang_up_at_once_are_answered() {
    let mut call = talking();
    let from_alice = call.alice.request("BYE", "", "");
    let from_bob = call.bob.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &from_alice);
    let at_bob = only(&sent, BOB).clone();
    let sent = call.server.receive(BOB, &from_bob);
    assert_eq!((sent.len(), code(only(&sent, BOB))), (1, 200));
    call.server.receive(BOB, &response(&at_bob, "481 Gone", "", BOB, "", ""));
    at_rest(&mut call.server);
}

#[test]
fn alice_who_hangs_up_an_early_dialog_has_cancelled_her_call() {
    let mut server = server();
    let at_bob = invited(&mut server, "", OFFER);
    let sent = server.receive(BOB, &response(&at_bob, "180 Ringing", "t", BOB, "", ""));
    let mut alice = Phone::caller(ALICE, only(&sent, ALICE));
    let bye = alice.request("BYE", "", "");
    let sent = server.receive(ALICE, &bye);
    let codes: Vec<u16> = to(&sent, ALICE).into_iter().map(code).collect();
    assert_eq!(codes, [200, 487]);
    assert_eq!(method(only(&sent, BOB)), "CANCEL");
    server.receive(BOB, &response(&at_bob, "487 Request Terminated", "t", BOB, "", ""));
    at_rest(&mut server);
}

#[test]
fn a_refusal_reaches_alice_and_a_foreign_challenge_does_not() {
    let busy = ("486 Busy Here", "Retry-After: 9\r\nWarning: 399 x \"tea\"\r\n", 486);
    let challenge =
        ("407 Proxy Authentication Required", "Proxy-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n", 403);
    for (status, extra, expected) in [busy, challenge] {
        let mut server = server();
        let at_bob = invited(&mut server, "", OFFER);
        let sent = server.receive(BOB, &response(&at_bob, status, "t", BOB, extra, ""));
        let refusal = only(&sent, ALICE);
        assert_eq!(code(refusal), expected);
        assert!(!refusal.has(HeaderName::ProxyAuthenticate));
        assert_eq!(refusal.has(HeaderName::RetryAfter), expected == 486);
        assert_eq!(method(only(&sent, BOB)), "ACK");
        at_rest(&mut server);
        let ends: Vec<_> = server.records.iter().map(|record| record.end).collect();
        assert_eq!(ends, [CallEnd::Refused(dialtone_wire::Status::of(expected))]);
    }
}

#[test]
fn a_silent_phone_is_408_and_one_that_is_not_there_480() {
    let mut server = server();
    invited(&mut server, "", OFFER);
    let sent = server.pass(33);
    let last = to(&sent, ALICE).into_iter().map(code).find(|code| *code >= 300);
    assert_eq!(last, Some(408));
    at_rest(&mut server);
    let mut server = server_with(settings(), &[]);
    let sent = server.receive(ALICE, &alices_invite("", OFFER));
    assert_eq!(to(&sent, ALICE).into_iter().map(code).collect::<Vec<_>>(), [100, 480]);
    at_rest(&mut server);
}

#[test]
fn a_call_that_has_made_all_its_hops_is_483_and_an_unknown_extension_420() {
    let mut server = server();
    let text = alices_invite("", OFFER);
    assert_eq!(server.status(ALICE, &text.replace("Max-Forwards: 70", "Max-Forwards: 0")), 483);
    let sent = server.receive(ALICE, &alices_invite("Require: 100rel, teleport\r\n", OFFER));
    assert_eq!(
        (code(only(&sent, ALICE)), value(only(&sent, ALICE), HeaderName::Unsupported).as_str()),
        (420, "teleport")
    );
    let sent = server.receive(
        ALICE,
        &text
            .replace("Max-Forwards: 70", "Max-Forwards: 1")
            .replace("ID: call", "ID: last")
            .replace("call1", "last1"),
    );
    assert_eq!(only(&sent, BOB).max_forwards().unwrap(), Some(0));
}

#[test]
fn a_call_that_comes_round_again_ends_after_its_hops() {
    // Bob's phone sends all calls back to the server as new ones of the same user.
    let mut server = server();
    let mut text = alices_invite("", OFFER);
    let mut rounds = 0;
    loop {
        let sent = server.receive(BOB, &text);
        let Some(next) = to(&sent, BOB).into_iter().find(|message| method(message) == "INVITE").cloned()
        else {
            let last = sent.iter().map(|(_, message)| code(message)).max();
            assert_eq!(last, Some(483));
            break;
        };
        rounds += 1;
        let hops = next.max_forwards().unwrap().expect("some");
        let mut again = invite("sip:bob@sip.test");
        let call_id = format!("round{rounds}");
        again.call_id = &call_id;
        text = crate::b2bua::text_of(&again, OFFER)
            .replace("Max-Forwards: 70", &format!("Max-Forwards: {hops}"));
    }
    assert_eq!(rounds, 70);
}

#[test]
fn both_sides_hear_that_calls_can_be_replaced_where_the_server_transfers() {
    for transfers in [true, false] {
        let bridges = BridgeSettings { transfers, ..BridgeSettings::default() };
        let mut call = talking_on(server_with(Settings { bridges, ..settings() }, &[BOB]), "", "");
        let says =
            |message: &Message| message.values(HeaderName::Supported).any(|option| option == b"replaces");
        assert_eq!((says(&call.bobs_invite), says(&call.alices_answer)), (transfers, transfers));
        let changed = call.alice.request("INVITE", "", OFFER);
        let sent = call.server.receive(ALICE, &changed);
        assert_eq!(says(only(&sent, ALICE)), transfers, "it changes nothing, and is answered here");
        let held = call.alice.request("INVITE", "", &format!("{OFFER}a=inactive\r\n"));
        let sent = call.server.receive(ALICE, &held);
        assert!(sent.iter().all(|(to, message)| to != BOB || says(message)) == transfers, "{sent:?}");
    }
}

#[test]
fn replaces_of_a_call_that_is_not_ones_own_is_481() {
    let mut call = talking();
    let replaces = "Replaces: call;to-tag=x;from-tag=f\r\nRequire: replaces\r\n";
    let sent = call.server.receive(
        CELL,
        &alices_invite(replaces, OFFER).replace("call1", "other1").replace("Call-ID: call", "Call-ID: other"),
    );
    assert_eq!(sent.iter().map(|(_, message)| code(message)).collect::<Vec<_>>(), [481]);
    call.end();
}

#[test]
fn a_stream_of_an_unknown_kind_has_port_0_for_bob_and_the_call_lives() {
    let mut server = server();
    let offer = format!("{OFFER}m=smell 4002 RTP/AVP 99\r\n");
    let at_bob = invited(&mut server, "", &offer);
    assert!(body(&at_bob).contains("m=audio 4000 ") && body(&at_bob).contains("m=smell 0 RTP/AVP 99"));
    let answer = format!("{ANSWER}m=smell 0 RTP/AVP 99\r\n");
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", &answer));
    let ok = only(&sent, ALICE).clone();
    assert!(body(&ok).contains("m=audio 6000 ") && body(&ok).contains("m=smell 0 "));
    let alice = Phone::caller(ALICE, &ok);
    let mut call =
        Call { bob: Phone::callee(BOB, &at_bob, "t"), alice, server, bobs_invite: at_bob, alices_answer: ok };
    let ack = call.alice.request("ACK", "", "");
    call.server.receive(ALICE, &ack);
    call.end();
}

#[test]
fn there_are_only_so_many_bridges_and_the_next_call_is_480() {
    let mut settings = settings();
    settings.limits.bridges = 1;
    let mut call = talking_on(server_with(settings, &[BOB]), "", "");
    let next = alices_invite("", OFFER).replace("call1", "other1").replace("Call-ID: call", "Call-ID: other");
    let sent = call.server.receive(ALICE, &next);
    assert_eq!((code(only(&sent, ALICE)), only(&sent, ALICE).has(HeaderName::RetryAfter)), (480, true));
    assert_eq!(call.server.engine.counters().bridges_full, 1);
    call.end();
}

#[test]
fn a_server_that_ends_says_bye_to_both_and_cancels_what_rings() {
    let mut call = talking();
    let domain = dialtone_roles::settings::Domain {
        name: "sip.test".into(),
        mode: dialtone_roles::settings::Mode::B2bua,
        ..Default::default()
    };
    let draining =
        || Settings { authenticate: false, domains: vec![domain.clone()], draining: true, ..settings() };
    assert_eq!(call.server.engine.unfinished(), 1);
    call.server.sent.clear();
    call.server.input(Input::Configure(std::sync::Arc::new(draining())));
    let sent = std::mem::take(&mut call.server.sent);
    assert_eq!(answer_byes(&mut call.server, sent), [ALICE, BOB]);
    assert_eq!(call.server.engine.unfinished(), 0);
    at_rest(&mut call.server);
    let mut server = server();
    let at_bob = invited(&mut server, "", OFFER);
    server.receive(BOB, &response(&at_bob, "180 Ringing", "t", BOB, "", ""));
    server.sent.clear();
    server.input(Input::Configure(std::sync::Arc::new(draining())));
    let sent = std::mem::take(&mut server.sent);
    assert_eq!((code(only(&sent, ALICE)), method(only(&sent, BOB))), (503, "CANCEL"));
    server.receive(BOB, &response(&at_bob, "487 Request Terminated", "t", BOB, "", ""));
    at_rest(&mut server);
}

#[test]
fn nobody_comes_in_over_the_way_from_leg_to_proxy() {
    let mut server = server();
    let at_bob = invited(&mut server, "", OFFER);
    let vias: Vec<String> =
        at_bob.values(HeaderName::Via).map(|via| String::from_utf8_lossy(via).into_owned()).collect();
    assert_eq!(vias.len(), 2);
    // Bob leaves the proxy out, and answers, cancels and acknowledges as if he were it.
    let forged =
        response(&at_bob, "200 OK", "t", BOB, "", ANSWER).replace(&format!("Via: {}\r\n", vias[0]), "");
    assert!(server.receive(BOB, &forged).is_empty());
    for asked in ["CANCEL", "ACK", "INVITE"] {
        let forged = format!(
            "{asked} {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 {asked}\r\n\r\n",
            at_bob.uri_text(),
            vias[1],
            value(&at_bob, HeaderName::From),
            value(&at_bob, HeaderName::To),
            value(&at_bob, HeaderName::CallId),
        );
        assert!(server.receive(BOB, &forged).is_empty(), "{asked}");
    }
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", ANSWER));
    assert_eq!(code(only(&sent, ALICE)), 200);
}

/// A server that asks for session timers of half an hour.
fn timing() -> Server {
    let calls = CallSettings { session_s: Some(1800), session_min_s: 120 };
    server_with(Settings { calls, ..settings() }, &[BOB])
}

const UPDATE: &str = "Allow: INVITE, ACK, CANCEL, BYE, UPDATE\r\n";

#[test]
fn each_side_has_a_session_timer_of_its_own_and_is_refreshed_by_itself() {
    let asks = format!("{UPDATE}Supported: timer\r\nSession-Expires: 600;refresher=uas\r\n");
    let grants = format!("{UPDATE}Require: timer\r\nSession-Expires: 900;refresher=uac\r\n");
    let mut call = talking_on(timing(), &asks, &grants);
    assert_eq!(value(&call.bobs_invite, HeaderName::SessionExpires), "1800");
    assert_eq!(value(&call.alices_answer, HeaderName::SessionExpires), "600;refresher=uas");
    for (seconds, address) in [(300, ALICE), (150, BOB), (150, ALICE)] {
        let sent = call.server.pass(seconds);
        let update = only(&sent, address).clone();
        assert_eq!((sent.len(), method(&update), update.body().len()), (1, "UPDATE", 0));
        let expires = value(&update, HeaderName::SessionExpires);
        let granted = format!("Require: timer\r\nSession-Expires: {expires}\r\n");
        assert!(
            call.server.receive(address, &response(&update, "200 OK", "", address, &granted, "")).is_empty()
        );
    }
    call.end();
}

#[test]
fn a_phone_without_update_is_refreshed_with_the_description_that_holds() {
    let grants =
        "Require: timer\r\nSession-Expires: 600;refresher=uac\r\nAllow: INVITE, ACK, CANCEL, BYE\r\n";
    let mut call =
        talking_on(timing(), "Supported: timer\r\nSession-Expires: 7200;refresher=uac\r\n", grants);
    let sent = call.server.pass(300);
    let reinvite = only(&sent, BOB).clone();
    assert_eq!((method(&reinvite), body(&reinvite)), ("INVITE", body(&call.bobs_invite)));
    let sent = call.server.receive(BOB, &response(&reinvite, "491 Request Pending", "", BOB, "", ""));
    assert_eq!(method(only(&sent, BOB)), "ACK");
    let sent = call.server.pass(4);
    let again = to(&sent, BOB)[0].clone();
    assert_eq!(method(&again), "INVITE", "after 2.1 to 4 s (RFC 3261 §14.1)");
    let granted = "Require: timer\r\nSession-Expires: 600;refresher=uac\r\n";
    let sent = call.server.receive(BOB, &response(&again, "200 OK", "", BOB, granted, ANSWER));
    assert_eq!((sent.len(), method(only(&sent, BOB))), (1, "ACK"));
    call.end();
}

/// RFC 4028: a session begins with the 2xx to the INVITE; before it there is nothing to refresh, and nothing to end.
#[test]
fn an_update_of_an_early_dialog_begins_no_session_timer_on_either_side() {
    let allow = "Allow: INVITE, ACK, CANCEL, BYE, PRACK, UPDATE\r\n";
    let timed = "Require: timer\r\nSession-Expires: 120;refresher=uac\r\n";
    for offer in ["", ANSWER] {
        let mut server = timing();
        let asks = format!("{allow}Supported: 100rel, timer\r\n");
        let sent = server.receive(ALICE, &alices_invite(&asks, OFFER));
        let at_bob = only(&sent, BOB).clone();
        let reliable = format!("{allow}Require: 100rel\r\nRSeq: 5\r\n");
        let early = response(&at_bob, "183 Session Progress", "t", BOB, &reliable, ANSWER);
        let sent = server.receive(BOB, &early);
        let progress = only(&sent, ALICE).clone();
        let mut alice = Phone::caller(ALICE, &progress);
        let rack = format!("RAck: {} 1 INVITE\r\n", value(&progress, HeaderName::RSeq));
        let sent = server.receive(ALICE, &alice.request("PRACK", &rack, ""));
        let prack = only(&sent, BOB).clone();
        server.receive(BOB, &response(&prack, "200 OK", "", BOB, "", ""));
        let mut bob = Phone::callee(BOB, &at_bob, "t");
        let asks = "Supported: timer\r\nSession-Expires: 120;refresher=uac\r\n";
        let mut sent = server.receive(BOB, &bob.request("UPDATE", asks, offer));
        if !offer.is_empty() {
            let update = only(&sent, ALICE).clone();
            assert!(!update.has(HeaderName::SessionExpires), "{update:?}");
            sent = server.receive(ALICE, &response(&update, "200 OK", "", ALICE, timed, OFFER));
        }
        let answer = only(&sent, BOB);
        assert_eq!((code(answer), answer.has(HeaderName::SessionExpires)), (200, false));
        let sent = server.pass(150);
        assert!(sent.is_empty(), "it rings on: {sent:?}");
        // With the answer the timers begin: bob's 2xx asks for one, and ours to alice has what she may have.
        let answer = response(&at_bob, "200 OK", "t", BOB, &format!("{allow}{timed}"), "");
        let sent = server.receive(BOB, &answer);
        let ok = only(&sent, ALICE).clone();
        assert!(ok.has(HeaderName::SessionExpires), "{ok:?}");
        let mut acknowledging = alice.clone();
        acknowledging.cseq = 1;
        assert!(server.receive(ALICE, &acknowledging.request("ACK", "", "")).is_empty());
        let sent = server.pass(60);
        assert_eq!(method(only(&sent, BOB)), "UPDATE", "the half of 120 s");
        let update = only(&sent, BOB).clone();
        server.receive(BOB, &response(&update, "200 OK", "", BOB, timed, ""));
        Call { server, alice, bob, bobs_invite: at_bob, alices_answer: ok }.end();
    }
}

#[test]
fn when_the_side_that_refreshes_has_died_both_get_bye() {
    let asks = "Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n";
    let mut call = talking_on(timing(), asks, "");
    let sent = call.server.pass(567);
    assert!(sent.is_empty(), "{sent:?}");
    let sent = call.server.pass(2);
    assert_eq!(answer_byes(&mut call.server, sent), [ALICE, BOB]);
    at_rest(&mut call.server);
}

#[test]
fn a_refresh_that_nobody_answers_ends_the_call() {
    let mut call = talking_on(timing(), UPDATE, UPDATE);
    let sent = call.server.pass(900 + 33);
    assert!(sent.iter().any(|(_, message)| method(message) == "UPDATE"));
    let byes = answer_byes(&mut call.server, sent);
    assert!(byes.contains(&ALICE.to_owned()) && byes.contains(&BOB.to_owned()), "{byes:?}");
    at_rest(&mut call.server);
}

#[test]
fn an_interval_that_is_too_small_is_422_and_one_that_is_too_small_for_bob_is_asked_for_again() {
    let mut server = timing();
    let sent = server.receive(ALICE, &alices_invite("Supported: timer\r\nSession-Expires: 100\r\n", OFFER));
    assert_eq!(
        (code(only(&sent, ALICE)), value(only(&sent, ALICE), HeaderName::MinSe).as_str()),
        (422, "120")
    );
    let text = alices_invite("", OFFER).replace("call1", "call2").replace("CSeq: 1", "CSeq: 2");
    let sent = server.receive(ALICE, &text);
    let at_bob = only(&sent, BOB).clone();
    let sent = server
        .receive(BOB, &response(&at_bob, "422 Session Interval Too Small", "t", BOB, "Min-SE: 3600\r\n", ""));
    assert!(to(&sent, ALICE).is_empty());
    let again = to(&sent, BOB).into_iter().find(|message| method(message) == "INVITE").cloned();
    let again = again.expect("a second INVITE");
    assert_eq!(value(&again, HeaderName::CallId), value(&at_bob, HeaderName::CallId));
    assert_eq!(value(&again, HeaderName::CSeq), "2 INVITE");
    assert_eq!(
        (value(&again, HeaderName::SessionExpires).as_str(), value(&again, HeaderName::MinSe).as_str()),
        ("3600", "3600")
    );
}
