//! Offers in every place and requests that meet each other, through a call of which the server is both ends
//! (RFC 3261 §14, RFC 3311, RFC 3262, RFC 6337).

use dialtone_wire::{HeaderName, Message};

use crate::b2bua::{
    ALICE, ANSWER, BOB, Call, OFFER, Phone, alices_invite, at_rest, body, code, method, only, response,
    server, server_with, talking_on, text_of, to, value,
};
use crate::peers::{Request, Server, invite, settings};

const CELL: &str = "127.0.0.4:5090";
const ALLOW: &str = "Allow: INVITE, ACK, CANCEL, BYE, UPDATE, PRACK, INFO\r\n";

fn held(text: &str) -> String {
    format!("{text}a=sendonly\r\n")
}

fn origin(message: &Message) -> String {
    let text = body(message);
    text.lines().find(|line| line.starts_with("o=")).unwrap_or_default().to_owned()
}

/// A call in which both phones take UPDATE.
fn updating() -> Call {
    talking_on(server(), ALLOW, ALLOW)
}

/// The ACK of a phone for the INVITE with this number.
fn ack_of(phone: &Phone, cseq: u32, body: &str) -> String {
    let mut phone = phone.clone();
    phone.cseq = cseq;
    phone.request("ACK", "", body)
}

/// Answers each BYE that was sent, and says to whom.
fn answer_byes(server: &mut Server, sent: &[(String, Message)]) -> Vec<String> {
    let byes: Vec<_> = sent.iter().filter(|(_, message)| method(message) == "BYE").collect();
    for (address, bye) in &byes {
        server.receive(address, &response(bye, "200 OK", "", address, "", ""));
    }
    let mut told: Vec<String> = byes.into_iter().map(|(address, _)| address.clone()).collect();
    told.sort();
    told
}

#[test]
fn a_late_offer_in_the_2xx_is_answered_in_the_ack_and_each_side_has_one_session() {
    let mut server = server();
    let sent = server.receive(ALICE, &alices_invite("", ""));
    let at_bob = only(&sent, BOB).clone();
    assert!(at_bob.body().is_empty() && !at_bob.has(HeaderName::ContentType));
    server.receive(BOB, &response(&at_bob, "180 Ringing", "t", BOB, "", ""));
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", OFFER));
    assert!(to(&sent, BOB).is_empty(), "its ACK waits for the answer");
    let ok = only(&sent, ALICE).clone();
    assert!(origin(&ok).starts_with("o=- ") && body(&ok).contains("m=audio 4000"));
    let mut alice = Phone::caller(ALICE, &ok);
    let sent = server.receive(ALICE, &alice.request("ACK", "", ANSWER));
    let ack = only(&sent, BOB).clone();
    assert!(method(&ack) == "ACK" && body(&ack).contains("m=audio 6000"));
    // A repeated 2xx gets the same ACK, with the same answer.
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", OFFER));
    assert_eq!((sent.len(), body(only(&sent, BOB))), (1, body(&ack)));
    // Now alice offers, and bob's description goes on from the version that he has.
    let sent = server.receive(ALICE, &alice.request("INVITE", "", &held(ANSWER)));
    let again = only(&sent, BOB).clone();
    assert_eq!(origin(&again), origin(&ack).replace(" 1 IN ", " 2 IN "));
    let sent = server.receive(BOB, &response(&again, "200 OK", "", BOB, "", OFFER));
    assert_eq!(origin(only(&sent, ALICE)), origin(&ok), "nothing new, and no new version");
    server.receive(ALICE, &alice.request("ACK", "", ""));
    let bob = Phone::callee(BOB, &at_bob, "t");
    Call { server, alice, bob, bobs_invite: at_bob, alices_answer: ok }.end();
}

#[test]
fn a_late_offer_in_a_reliable_183_is_answered_in_the_prack_and_changed_before_the_answer() {
    let mut server = server();
    let sent = server.receive(ALICE, &alices_invite(&format!("Supported: 100rel\r\n{ALLOW}"), ""));
    let at_bob = only(&sent, BOB).clone();
    let reliable = format!("Require: 100rel\r\nRSeq: 5\r\n{ALLOW}");
    let sent = server.receive(BOB, &response(&at_bob, "183 Session Progress", "t", BOB, &reliable, OFFER));
    let progress = only(&sent, ALICE).clone();
    let mut alice = Phone::caller(ALICE, &progress);
    let rack = format!("RAck: {} 1 INVITE\r\n", value(&progress, HeaderName::RSeq));
    let sent = server.receive(ALICE, &alice.request("PRACK", &rack, ANSWER));
    let prack = only(&sent, BOB).clone();
    assert!(body(&prack).contains("m=audio 6000") && origin(&prack).starts_with("o=- "));
    server.receive(BOB, &response(&prack, "200 OK", "", BOB, "", ""));
    // Bob offers anew in an UPDATE before he answers.
    let mut bob = Phone::callee(BOB, &at_bob, "t");
    let sent = server.receive(BOB, &bob.request("UPDATE", "", &held(OFFER)));
    let update = only(&sent, ALICE).clone();
    assert_eq!(origin(&update), origin(&progress).replace(" 1 IN ", " 2 IN "));
    let sent = server.receive(ALICE, &response(&update, "200 OK", "", ALICE, "", &held(ANSWER)));
    assert_eq!(origin(only(&sent, BOB)), origin(&prack).replace(" 1 IN ", " 2 IN "));
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", ""));
    assert_eq!(method(only(&sent, BOB)), "ACK");
    let ok = only(&sent, ALICE).clone();
    assert!(ok.body().is_empty());
    assert!(server.receive(ALICE, &ack_of(&alice, 1, "")).is_empty());
    Call { server, alice, bob, bobs_invite: at_bob, alices_answer: ok }.end();
}

/// RFC 6337 §2.3: bob has not acknowledged anything with his 488, nor have we; "UAC may send again a PRACK request without
/// an offer".
#[test]
fn a_prack_whose_offer_is_refused_acknowledges_nothing_and_the_next_one_does() {
    let mut server = server();
    let sent = server.receive(ALICE, &alices_invite(&format!("Supported: 100rel\r\n{ALLOW}"), OFFER));
    let at_bob = only(&sent, BOB).clone();
    let reliable = format!("Require: 100rel\r\nRSeq: 5\r\n{ALLOW}");
    let sent = server.receive(BOB, &response(&at_bob, "183 Session Progress", "t", BOB, &reliable, ANSWER));
    let progress = only(&sent, ALICE).clone();
    // What follows waits until the first one is acknowledged.
    let second = reliable.replace("RSeq: 5", "RSeq: 6");
    assert!(server.receive(BOB, &response(&at_bob, "180 Ringing", "t", BOB, &second, "")).is_empty());
    let mut alice = Phone::caller(ALICE, &progress);
    let rack = format!("RAck: {} 1 INVITE\r\n", value(&progress, HeaderName::RSeq));
    let sent = server.receive(ALICE, &alice.request("PRACK", &rack, &held(OFFER)));
    let prack = only(&sent, BOB).clone();
    let sent = server.receive(BOB, &response(&prack, "488 Not Acceptable Here", "", BOB, "", ""));
    assert_eq!((sent.len(), code(only(&sent, ALICE))), (1, 488));
    // Bob repeats his 183, and alice has ours again.
    assert!(
        server
            .receive(BOB, &response(&at_bob, "183 Session Progress", "t", BOB, &reliable, ANSWER))
            .is_empty()
    );
    let sent = server.pass(1);
    assert_eq!(only(&sent, ALICE).bytes(), progress.bytes());
    let sent = server.receive(ALICE, &alice.request("PRACK", &rack, ""));
    let prack = only(&sent, BOB).clone();
    assert_eq!(
        (method(&prack), value(&prack, HeaderName::RAck)),
        ("PRACK", format!("5 {} INVITE", at_bob.cseq().unwrap().number))
    );
    assert!(prack.body().is_empty());
    let sent = server.receive(BOB, &response(&prack, "200 OK", "", BOB, "", ""));
    let codes: Vec<u16> = sent.iter().filter(|sent| sent.0 == ALICE).map(|sent| code(&sent.1)).collect();
    assert_eq!(codes, [200, 180], "and the one that waited");
}

/// RFC 3262 §3: "If the PRACK does match an unacknowledged reliable provisional response, it MUST be responded to with a
/// 2xx response", after the final response too.
#[test]
fn a_prack_that_crosses_the_2xx_of_its_invite_is_answered_and_one_for_nothing_gets_481() {
    let mut server = server();
    let sent = server.receive(ALICE, &alices_invite(&format!("Supported: 100rel\r\n{ALLOW}"), OFFER));
    let at_bob = only(&sent, BOB).clone();
    let reliable = format!("Require: 100rel\r\nRSeq: 5\r\n{ALLOW}");
    let sent = server.receive(BOB, &response(&at_bob, "180 Ringing", "t", BOB, &reliable, ""));
    let ringing = only(&sent, ALICE).clone();
    // One more waits for the PRACK of the first, and goes nowhere any more.
    let second = reliable.replace("RSeq: 5", "RSeq: 6");
    assert!(server.receive(BOB, &response(&at_bob, "180 Ringing", "t", BOB, &second, "")).is_empty());
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", ANSWER));
    let ok = only(&sent, ALICE).clone();
    let mut alice = Phone::caller(ALICE, &ringing);
    let rack = format!("RAck: {} 1 INVITE\r\n", value(&ringing, HeaderName::RSeq));
    let other = "RAck: 1 7 INVITE\r\n";
    for (rack, expected) in [(other, 481), (&rack, 200), (&rack, 481)] {
        let sent = server.receive(ALICE, &alice.request("PRACK", rack, ""));
        assert_eq!((sent.len(), code(only(&sent, ALICE))), (1, expected), "{rack}");
    }
    assert!(server.receive(ALICE, &ack_of(&alice, 1, "")).is_empty());
    let sent = server.pass(40);
    assert!(sent.is_empty(), "nothing is sent again: {sent:?}");
    let bob = Phone::callee(BOB, &at_bob, "t");
    Call { server, alice, bob, bobs_invite: at_bob, alices_answer: ok }.end();
}

/// The session was agreed on in a 183, so that the PRACK of the 180 after it may offer anew (RFC 3262 §5).
#[test]
fn a_prack_with_an_offer_that_crosses_the_2xx_is_answered_by_the_other_side() {
    let mut server = server();
    let sent = server.receive(ALICE, &alices_invite(&format!("Supported: 100rel\r\n{ALLOW}"), OFFER));
    let at_bob = only(&sent, BOB).clone();
    let mut alice = None;
    for (status, rseq, answer) in [("183 Session Progress", 5, ANSWER), ("180 Ringing", 6, "")] {
        let reliable = format!("Require: 100rel\r\nRSeq: {rseq}\r\n{ALLOW}");
        let sent = server.receive(BOB, &response(&at_bob, status, "t", BOB, &reliable, answer));
        let progress = only(&sent, ALICE).clone();
        let alice = alice.get_or_insert_with(|| Phone::caller(ALICE, &progress));
        let rack = format!("RAck: {} 1 INVITE\r\n", value(&progress, HeaderName::RSeq));
        if rseq == 5 {
            let sent = server.receive(ALICE, &alice.request("PRACK", &rack, ""));
            let prack = only(&sent, BOB).clone();
            server.receive(BOB, &response(&prack, "200 OK", "", BOB, "", ""));
            continue;
        }
        let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", ""));
        let ok = only(&sent, ALICE).clone();
        let sent = server.receive(ALICE, &alice.request("PRACK", &rack, &held(OFFER)));
        let prack = only(&sent, BOB).clone();
        assert_eq!((method(&prack), body(&prack).contains("a=sendonly")), ("PRACK", true));
        assert!(value(&prack, HeaderName::RAck).starts_with("6 "));
        let answer = format!("{ANSWER}a=recvonly\r\n");
        let sent = server.receive(BOB, &response(&prack, "200 OK", "", BOB, "", &answer));
        let accepted = only(&sent, ALICE);
        assert_eq!((code(accepted), body(accepted).contains("a=recvonly")), (200, true));
        assert!(server.receive(ALICE, &ack_of(alice, 1, "")).is_empty());
        let bob = Phone::callee(BOB, &at_bob, "t");
        return Call { server, alice: alice.clone(), bob, bobs_invite: at_bob, alices_answer: ok }.end();
    }
}

#[test]
fn a_prack_with_a_new_offer_brings_its_answer_back() {
    let mut server = server();
    let sent = server.receive(ALICE, &alices_invite(&format!("Supported: 100rel\r\n{ALLOW}"), OFFER));
    let at_bob = only(&sent, BOB).clone();
    let reliable = format!("Require: 100rel\r\nRSeq: 5\r\n{ALLOW}");
    let sent = server.receive(BOB, &response(&at_bob, "183 Session Progress", "t", BOB, &reliable, ANSWER));
    let progress = only(&sent, ALICE).clone();
    let mut alice = Phone::caller(ALICE, &progress);
    let rack = format!("RAck: {} 1 INVITE\r\n", value(&progress, HeaderName::RSeq));
    let sent = server.receive(ALICE, &alice.request("PRACK", &rack, &held(OFFER)));
    let prack = only(&sent, BOB).clone();
    assert_eq!(origin(&prack), origin(&at_bob).replace(" 1 IN ", " 2 IN "));
    let answer = format!("{ANSWER}a=recvonly\r\n");
    let sent = server.receive(BOB, &response(&prack, "200 OK", "", BOB, "", &answer));
    let ok = only(&sent, ALICE);
    assert_eq!((code(ok), origin(ok)), (200, origin(&progress).replace(" 1 IN ", " 2 IN ")));
    // The 2xx of the INVITE repeats nothing, and what holds is what the PRACK has brought about.
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", ""));
    let ok = only(&sent, ALICE).clone();
    server.receive(ALICE, &ack_of(&alice, 1, ""));
    let sent = server.pass(900);
    let refresh = only(&sent, BOB).clone();
    assert_eq!((method(&refresh), body(&refresh)), ("INVITE", body(&prack)), "bob's 200 allowed no UPDATE");
    let told = server.receive(BOB, &response(&refresh, "200 OK", "", BOB, "", &answer));
    assert_eq!((told.len(), method(only(&told, BOB))), (1, "ACK"), "alice knows that answer");
    let refresh = only(&sent, ALICE).clone();
    server.receive(ALICE, &response(&refresh, "200 OK", "", ALICE, "", ""));
    let bob = Phone::callee(BOB, &at_bob, "t");
    Call { server, alice, bob, bobs_invite: at_bob, alices_answer: ok }.end();
}

#[test]
fn early_media_of_two_forks_are_two_dialogs_each_with_a_description_of_its_own() {
    let mut server = server_with(settings(), &[BOB, CELL]);
    let sent = server.receive(ALICE, &alices_invite("Supported: 100rel\r\n", OFFER));
    let (at_bob, at_cell) = (only(&sent, BOB).clone(), only(&sent, CELL).clone());
    let cells = ANSWER.replace("6000", "7000").replace("o=bob", "o=cell");
    let reliable = "Require: 100rel\r\nRSeq: 9\r\n";
    let sent = server.receive(BOB, &response(&at_bob, "183 Session Progress", "b", BOB, "", ANSWER));
    let first = only(&sent, ALICE).clone();
    let sent = server.receive(CELL, &response(&at_cell, "183 Session Progress", "c", CELL, reliable, &cells));
    let second = only(&sent, ALICE).clone();
    assert_ne!(value(&first, HeaderName::To), value(&second, HeaderName::To));
    assert!(body(&first).contains("m=audio 6000") && body(&second).contains("m=audio 7000"));
    assert_ne!(origin(&first), origin(&second), "two sessions");
    // Her PRACK reaches the one that it is for.
    let mut to_cell = Phone::caller(ALICE, &second);
    let rack = format!("RAck: {} 1 INVITE\r\n", value(&second, HeaderName::RSeq));
    let sent = server.receive(ALICE, &to_cell.request("PRACK", &rack, ""));
    let prack = only(&sent, CELL).clone();
    server.receive(CELL, &response(&prack, "200 OK", "", CELL, "", ""));
    // Bob answers: alice's dialog is the first one, the other fork is cancelled and leaves nothing.
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "b", BOB, "", ANSWER));
    let ok = only(&sent, ALICE).clone();
    assert_eq!((code(&ok), value(&ok, HeaderName::To)), (200, value(&first, HeaderName::To)));
    assert_eq!(origin(&ok), origin(&first));
    let cancel =
        to(&sent, CELL).into_iter().find(|message| method(message) == "CANCEL").expect("a CANCEL").clone();
    server.receive(CELL, &response(&cancel, "200 OK", "", CELL, "", ""));
    server.receive(CELL, &response(&at_cell, "487 Request Terminated", "c", CELL, "", ""));
    let update = to_cell.request("UPDATE", "", OFFER);
    assert_eq!(server.status(ALICE, &update), 481, "that dialog is over");
    let mut alice = Phone::caller(ALICE, &ok);
    server.receive(ALICE, &alice.request("ACK", "", ""));
    let bye = alice.request("BYE", "", "");
    let sent = server.receive(ALICE, &bye);
    assert_eq!(answer_byes(&mut server, &sent), [BOB]);
    at_rest(&mut server);
}

#[test]
fn a_reinvite_that_meets_an_update_of_the_other_side_gets_491_whichever_came_first() {
    for (first, second) in
        [("INVITE", "UPDATE"), ("UPDATE", "INVITE"), ("UPDATE", "UPDATE"), ("INVITE", "INVITE")]
    {
        let what = format!("{first} meets {second}");
        let mut call = updating();
        let sent = call.server.receive(ALICE, &call.alice.request(first, "", &held(OFFER)));
        let at_bob = only(&sent, BOB).clone();
        let sent = call.server.receive(BOB, &call.bob.request(second, "", &held(ANSWER)));
        assert_eq!((sent.len(), code(only(&sent, BOB))), (1, 491), "{what}");
        if second == "INVITE" {
            let ack = call.bob.clone().request("ACK", "", "");
            assert!(call.server.receive(BOB, &ack).is_empty(), "{what}");
        }
        // Bob's phone has an offer of its own under way, and refuses hers as well.
        let sent = call.server.receive(BOB, &response(&at_bob, "491 Request Pending", "", BOB, "", ""));
        let refusal = to(&sent, ALICE).into_iter().find(|message| !message.is_request()).expect("an answer");
        assert_eq!(code(refusal), 491, "{what}");
        if first == "INVITE" {
            assert!(call.server.receive(ALICE, &call.alice.clone().request("ACK", "", "")).is_empty());
        }
        // Both try again, one after the other.
        for (near, far, text, answer) in
            [(BOB, ALICE, held(ANSWER), OFFER), (ALICE, BOB, held(OFFER), ANSWER)]
        {
            let phone = if near == BOB { &mut call.bob } else { &mut call.alice };
            let sent = call.server.receive(near, &phone.request("UPDATE", "", &text));
            let at_far = only(&sent, far).clone();
            let sent = call.server.receive(far, &response(&at_far, "200 OK", "", far, "", answer));
            assert_eq!(code(only(&sent, near)), 200, "{what}");
        }
        call.end();
    }
}

#[test]
fn offers_that_cross_on_the_wire_are_refused_on_both_sides_and_nothing_has_changed() {
    // Alice's re-INVITE is on its way to bob when the session timer is due on bob's side: no second offer there.
    let mut call = crate::b2bua::talking();
    call.server.pass(899);
    let sent = call.server.receive(ALICE, &call.alice.request("INVITE", "", &held(OFFER)));
    let at_bob = only(&sent, BOB).clone();
    call.server.receive(BOB, &response(&at_bob, "100 Trying", "", BOB, "", ""));
    let sent = call.server.pass(1);
    assert!(to(&sent, BOB).is_empty() && to(&sent, ALICE).is_empty(), "{sent:?}");
    let sent = call.server.receive(BOB, &response(&at_bob, "488 Not Acceptable Here", "", BOB, "", ""));
    assert_eq!(code(to(&sent, ALICE)[0]), 488);
    call.server.receive(ALICE, &call.alice.clone().request("ACK", "", ""));
    // Both are refreshed later, with what held before.
    let sent = call.server.pass(5);
    for (address, answer) in [(ALICE, OFFER), (BOB, ANSWER)] {
        let refresh = to(&sent, address)[0].clone();
        assert!(!body(&refresh).contains("a=sendonly"), "{refresh:?}");
        call.server.receive(address, &response(&refresh, "200 OK", "", address, "", answer));
    }
    call.end();
}

#[test]
fn no_refresh_with_an_offer_is_sent_while_an_update_with_one_is_under_way_to_the_same_side() {
    let mut call = talking_on(server(), ALLOW, "");
    call.server.pass(899);
    let sent = call.server.receive(ALICE, &call.alice.request("UPDATE", "", &held(OFFER)));
    let update = only(&sent, BOB).clone();
    let sent = call.server.pass(2);
    assert!(
        to(&sent, BOB).iter().all(|message| method(message) == "UPDATE"),
        "hers again, and no INVITE: {sent:?}"
    );
    let sent = call.server.receive(BOB, &response(&update, "200 OK", "", BOB, "", ANSWER));
    assert!(to(&sent, ALICE).into_iter().any(|message| code(message) == 200));
    call.end();
}

#[test]
fn a_reinvite_before_the_ack_of_the_one_before_it_waits_or_passes_as_its_offer_needs() {
    // An answer to a late offer is still owed: nobody can offer before it has come.
    let mut server = server();
    let sent = server.receive(ALICE, &alices_invite("", ""));
    let at_bob = only(&sent, BOB).clone();
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", OFFER));
    let ok = only(&sent, ALICE).clone();
    let mut alice = Phone::caller(ALICE, &ok);
    let mut bob = Phone::callee(BOB, &at_bob, "t");
    let first_ack = alice.clone().request("ACK", "", ANSWER);
    for (phone, address) in [(&mut alice, ALICE), (&mut bob, BOB)] {
        let request = phone.request("INVITE", "", &held(OFFER));
        let sent = server.receive(address, &request);
        assert!(matches!(code(only(&sent, address)), 491 | 500), "{sent:?}");
        let ack = phone.clone().request("ACK", "", "");
        assert!(server.receive(address, &ack).is_empty(), "the ACK of a refusal is no answer");
    }
    let sent = server.receive(ALICE, &first_ack);
    assert!(body(only(&sent, BOB)).contains("m=audio 6000"));
    Call { server, alice, bob, bobs_invite: at_bob, alices_answer: ok }.end();
}

#[test]
fn both_hang_up_at_once_while_a_change_is_under_way_and_all_is_answered() {
    for crossing in ["INVITE", "UPDATE"] {
        let mut call = updating();
        let sent = call.server.receive(ALICE, &call.alice.request(crossing, "", &held(OFFER)));
        let at_bob = only(&sent, BOB).clone();
        let (alices, bobs) = (call.alice.request("BYE", "", ""), call.bob.request("BYE", "", ""));
        let sent = call.server.receive(ALICE, &alices);
        let codes: Vec<u16> = to(&sent, ALICE).into_iter().map(code).collect();
        if crossing == "INVITE" {
            assert_eq!(codes, [200, 487], "RFC 3261 §15.1.2");
        } else {
            assert_eq!(codes, [200]);
        }
        let at_bobs =
            to(&sent, BOB).into_iter().find(|message| method(message) == "BYE").expect("a BYE").clone();
        let sent = call.server.receive(BOB, &bobs);
        assert_eq!((sent.len(), code(only(&sent, BOB))), (1, 200));
        call.server.receive(BOB, &response(&at_bobs, "481 Gone", "", BOB, "", ""));
        // What bob's phone still answers is acknowledged, and nothing else comes of it.
        let sent = call.server.receive(BOB, &response(&at_bob, "200 OK", "", BOB, "", ANSWER));
        assert!(sent.iter().all(|(to, message)| to == BOB && method(message) == "ACK"), "{sent:?}");
        at_rest(&mut call.server);
    }
}

#[test]
fn who_hangs_up_with_his_own_change_under_way_or_one_of_the_other_side_ends_both() {
    for by in [ALICE, BOB] {
        let mut call = updating();
        let sent = call.server.receive(ALICE, &call.alice.request("INVITE", "", &held(OFFER)));
        let at_bob = only(&sent, BOB).clone();
        call.server.receive(BOB, &response(&at_bob, "100 Trying", "", BOB, "", ""));
        let phone = if by == ALICE { &mut call.alice } else { &mut call.bob };
        let sent = call.server.receive(by, &phone.request("BYE", "", ""));
        let other = if by == ALICE { BOB } else { ALICE };
        assert_eq!(answer_byes(&mut call.server, &sent), [other]);
        let refused = to(&sent, ALICE).into_iter().filter(|message| code(message) == 487).count();
        assert_eq!(refused, 1, "{sent:?}");
        let ended = call.server.receive(BOB, &response(&at_bob, "487 Request Terminated", "", BOB, "", ""));
        assert_eq!(ended.iter().map(|(_, message)| method(message)).collect::<Vec<_>>(), ["ACK"]);
        at_rest(&mut call.server);
    }
}

#[test]
fn a_cancel_that_crosses_the_2xx_on_the_first_leg_too_ends_what_was_answered() {
    let mut server = server();
    let sent = server.receive(ALICE, &alices_invite("", ""));
    let at_bob = only(&sent, BOB).clone();
    // Bob's 2xx has an offer; alice's CANCEL comes when ours to her has gone: it is too late (RFC 3261 §9.2).
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", OFFER));
    let ok = only(&sent, ALICE).clone();
    let cancel = Request { method: "CANCEL", ..invite("sip:bob@sip.test") };
    let cancel = text_of(&cancel, "").replace("callCANCEL", "call").replace("call1CANCEL", "call1INVITE");
    let sent = server.receive(ALICE, &cancel);
    assert_eq!((sent.len(), code(only(&sent, ALICE))), (1, 200), "and nothing else comes of it");
    let mut alice = Phone::caller(ALICE, &ok);
    let sent = server.receive(ALICE, &alice.request("ACK", "", ANSWER));
    assert_eq!(method(only(&sent, BOB)), "ACK");
    let bob = Phone::callee(BOB, &at_bob, "t");
    Call { server, alice, bob, bobs_invite: at_bob, alices_answer: ok }.end();
    // The same the other way round: her CANCEL was first, and bob's answer has an offer that nobody takes.
    let mut server = crate::b2bua::server();
    let sent = server.receive(ALICE, &alices_invite("", ""));
    let at_bob = only(&sent, BOB).clone();
    server.receive(BOB, &response(&at_bob, "180 Ringing", "t", BOB, "", ""));
    server.receive(ALICE, &cancel);
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", OFFER));
    let refusal = to(&sent, BOB).into_iter().find(|message| method(message) == "ACK").expect("an ACK");
    assert!(body(refusal).contains("m=audio 0 "), "an answer that takes nothing: {refusal:?}");
    assert_eq!(answer_byes(&mut server, &sent), [BOB]);
    at_rest(&mut server);
}
