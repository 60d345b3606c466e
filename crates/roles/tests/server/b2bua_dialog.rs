//! What passes within a call of which the server is both ends, and what it answers by itself.

use dialtone_roles::Settings;
use dialtone_roles::settings::BridgeSettings;
use dialtone_wire::HeaderName;

use crate::b2bua::{
    ALICE, ANSWER, BOB, Call, OFFER, Phone, alices_invite, at_rest, body, code, method, only, response,
    server, server_with, talking, talking_on, to, value,
};
use crate::peers::settings;

const ALLOW: &str =
    "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK, INFO, MESSAGE, REFER, NOTIFY\r\n";

fn held(text: &str) -> String {
    format!("{text}a=sendonly\r\n")
}

#[test]
fn info_passes_with_its_body_and_so_does_its_answer() {
    let mut call = talking();
    let digits = "Content-Type: application/dtmf-relay\r\nInfo-Package: x\r\nX-Own: 1\r\nContent-Length: 8\r\n\r\nSignal=5";
    let info = call.alice.request("INFO", "", "").replace("Content-Length: 0\r\n\r\n", digits);
    let sent = call.server.receive(ALICE, &info);
    let info = only(&sent, BOB).clone();
    assert_eq!((method(&info), body(&info).as_str()), ("INFO", "Signal=5"));
    assert_eq!(value(&info, HeaderName::ContentType), "application/dtmf-relay");
    assert!(!info.header_lines().any(|header| header.name_text == b"X-Own"));
    let sent = call.server.receive(BOB, &response(&info, "200 OK", "", BOB, "", ""));
    assert_eq!(code(only(&sent, ALICE)), 200);
    call.end();
}

#[test]
fn a_body_that_is_too_long_within_a_call_gets_413() {
    let mut call = talking();
    let info = call.alice.request("INFO", "", "");
    let body = "x".repeat(settings().limits.body_bytes + 1);
    let lines = format!("Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let info = info.replace("Content-Length: 0\r\n\r\n", &lines);
    assert_eq!(call.server.status(ALICE, &info), 413);
    call.end();
}

#[test]
fn nobody_says_within_a_call_that_he_is_somebody_else() {
    let mut call = talking_on(server(), ALLOW, ALLOW);
    let claims = "P-Asserted-Identity: <sip:boss@sip.test>\r\nP-Preferred-Identity: <sip:boss@sip.test>\r\nSubject: tea\r\n";
    for asked in ["INVITE", "UPDATE", "INFO", "MESSAGE"] {
        let body = if matches!(asked, "INVITE" | "UPDATE") { held(ANSWER) } else { String::new() };
        let request = call.bob.request(asked, claims, &body);
        let sent = call.server.receive(BOB, &request);
        let at_alice = only(&sent, ALICE).clone();
        assert_eq!((method(&at_alice), value(&at_alice, HeaderName::Subject).as_str()), (asked, "tea"));
        assert!(!at_alice.has(HeaderName::PAssertedIdentity), "{asked}");
        assert!(!at_alice.has(HeaderName::PPreferredIdentity), "{asked}");
        let refused = response(&at_alice, "488 Not Acceptable Here", "", ALICE, "", "");
        let sent = call.server.receive(ALICE, &refused);
        assert_eq!(code(only(&sent, BOB)), 488, "{asked}");
    }
    call.end();
}

#[test]
fn options_is_answered_by_the_server_with_what_the_other_phone_takes() {
    let mut call = talking_on(server(), "", "Allow: INVITE, ACK, CANCEL, BYE, INFO, NEWTHING\r\n");
    let options = call.alice.request("OPTIONS", "", "");
    let sent = call.server.receive(ALICE, &options);
    assert_eq!((sent.len(), code(only(&sent, ALICE))), (1, 200));
    let allow = value(only(&sent, ALICE), HeaderName::Allow);
    assert_eq!(allow, "INVITE");
    let text = String::from_utf8_lossy(only(&sent, ALICE).bytes()).into_owned();
    assert!(
        text.contains("Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, REFER, NEWTHING\r\n"),
        "{text}"
    );
    call.end();
}

#[test]
fn what_the_other_phone_does_not_allow_is_405_and_what_nobody_knows_501() {
    let mut call = talking_on(server(), "", "Allow: INVITE, ACK, CANCEL, BYE, NEWTHING\r\n");
    for (asked, expected) in [("INFO", 405), ("MESSAGE", 405), ("OTHERTHING", 501), ("REGISTER", 405)] {
        let request = call.alice.request(asked, "", "");
        let sent = call.server.receive(ALICE, &request);
        assert_eq!((sent.len(), code(only(&sent, ALICE))), (1, expected), "{asked}");
        assert!(only(&sent, ALICE).has(HeaderName::Allow));
    }
    let request = call.alice.request("NEWTHING", "", "");
    let sent = call.server.receive(ALICE, &request);
    let new = only(&sent, BOB).clone();
    assert_eq!(method(&new), "NEWTHING");
    let sent = call.server.receive(BOB, &response(&new, "299 Fine", "", BOB, "", ""));
    assert_eq!(code(only(&sent, ALICE)), 299);
    call.end();
}

#[test]
fn refer_passes_with_its_target_and_notify_comes_back() {
    let bridges = BridgeSettings { transfers: false, ..BridgeSettings::default() };
    let server = server_with(Settings { bridges, ..settings() }, &[BOB]);
    let mut call = talking_on(server, "", "");
    let refer = call.alice.request(
        "REFER",
        "Refer-To: <sip:carol@sip.test>\r\nReferred-By: <sip:alice@sip.test>\r\n",
        "",
    );
    let sent = call.server.receive(ALICE, &refer);
    let refer = only(&sent, BOB).clone();
    assert_eq!(value(&refer, HeaderName::ReferTo), "<sip:carol@sip.test>");
    assert_eq!(value(&refer, HeaderName::ReferredBy), "<sip:alice@sip.test>");
    let sent = call.server.receive(BOB, &response(&refer, "202 Accepted", "", BOB, "", ""));
    assert_eq!(code(only(&sent, ALICE)), 202);
    let notify = call.bob.request("NOTIFY", "Event: refer\r\nSubscription-State: active;expires=60\r\n", "");
    let sent = call.server.receive(BOB, &notify);
    let notify = only(&sent, ALICE).clone();
    assert_eq!((method(&notify), value(&notify, HeaderName::Event).as_str()), ("NOTIFY", "refer"));
    let sent = call.server.receive(ALICE, &response(&notify, "200 OK", "", ALICE, "", ""));
    assert_eq!(code(only(&sent, BOB)), 200);
    call.end();
}

#[test]
fn a_reinvite_passes_both_ways_and_the_version_of_each_description_rises_by_one() {
    let mut call = talking();
    let version = |body: &str| -> u64 {
        let origin = body.lines().find(|line| line.starts_with("o=")).expect("an origin");
        origin.split(' ').nth(2).expect("a version").parse().expect("a number")
    };
    let first = version(&body(&call.bobs_invite));
    let reinvite = call.alice.request("INVITE", "", &held(OFFER));
    let sent = call.server.receive(ALICE, &reinvite);
    assert_eq!(code(only(&sent, ALICE)), 100);
    let at_bob = only(&sent, BOB).clone();
    assert_eq!((method(&at_bob), version(&body(&at_bob))), ("INVITE", first + 1));
    assert!(body(&at_bob).ends_with("a=sendonly\r\n"));
    let answer = format!("{ANSWER}a=recvonly\r\n");
    let sent = call.server.receive(BOB, &response(&at_bob, "200 OK", "", BOB, "", &answer));
    assert_eq!(method(only(&sent, BOB)), "ACK");
    let ok = only(&sent, ALICE).clone();
    assert_eq!((code(&ok), version(&body(&ok))), (200, version(&body(&call.alices_answer)) + 1));
    let ack = call.alice.request("ACK", "", "");
    assert!(call.server.receive(ALICE, &ack).is_empty());
    // Now bob, who is refused: the call goes on as it was.
    let reinvite = call.bob.request("INVITE", "", &held(ANSWER));
    let sent = call.server.receive(BOB, &reinvite);
    let at_alice = only(&sent, ALICE).clone();
    let sent = call.server.receive(ALICE, &response(&at_alice, "488 Not Acceptable Here", "", ALICE, "", ""));
    assert_eq!(method(only(&sent, ALICE)), "ACK");
    assert_eq!(code(only(&sent, BOB)), 488);
    call.end();
}

#[test]
fn what_was_refused_is_not_offered_again_and_not_taken_for_what_holds() {
    for asked in ["INVITE", "UPDATE"] {
        let mut call = talking_on(server(), "", "");
        let first = body(&call.bobs_invite);
        let change = call.alice.request(asked, "", &held(OFFER));
        let sent = call.server.receive(ALICE, &change);
        let at_bob = only(&sent, BOB).clone();
        assert_eq!(method(&at_bob), asked);
        let sent = call.server.receive(BOB, &response(&at_bob, "488 Not Acceptable Here", "", BOB, "", ""));
        assert_eq!(code(only(&sent, ALICE)), 488);
        // Bob asks whether all is as it was: it is.
        let same = call.bob.request("INVITE", "", ANSWER);
        let sent = call.server.receive(BOB, &same);
        assert_eq!((sent.len(), code(only(&sent, BOB))), (1, 200), "{asked}");
        assert_eq!(body(only(&sent, BOB)), first, "{asked}");
        let ack = call.bob.request("ACK", "", "");
        assert!(call.server.receive(BOB, &ack).is_empty());
        // The server refreshes the session by what holds, under a version that bob has not seen.
        let mut sent = call.server.pass(900);
        sent.retain(|(_, message)| method(message) == "INVITE");
        let refresh = only(&sent, BOB).clone();
        let origin = |body: &str| body.lines().find(|line| line.starts_with("o=")).map(str::to_owned);
        let version = |body: &str| origin(body).and_then(|line| line.split(' ').nth(2).map(str::to_owned));
        let holds = body(&refresh);
        assert_eq!(version(&holds).as_deref(), Some("3"), "{asked}: {holds}");
        let without = |body: &str| body.replace(&origin(body).unwrap_or_default(), "");
        assert_eq!(without(&holds), without(&first), "{asked}");
        let sent = call.server.receive(BOB, &response(&refresh, "200 OK", "", BOB, "", ANSWER));
        assert_eq!((sent.len(), method(only(&sent, BOB))), (1, "ACK"));
        let refresh = to(&call.server.pass(1), ALICE).first().map(|again| (*again).clone());
        if let Some(refresh) = refresh {
            call.server.receive(ALICE, &response(&refresh, "200 OK", "", ALICE, "", OFFER));
        }
        call.end();
    }
}

#[test]
fn a_reinvite_that_changes_nothing_is_answered_by_the_server() {
    let mut call = talking();
    let reinvite = call.alice.request("INVITE", "", OFFER);
    let sent = call.server.receive(ALICE, &reinvite);
    assert_eq!((sent.len(), code(only(&sent, ALICE))), (1, 200));
    assert_eq!(
        body(only(&sent, ALICE)),
        body(&call.alices_answer),
        "the same version of the same description"
    );
    let ack = call.alice.request("ACK", "", "");
    assert!(call.server.receive(ALICE, &ack).is_empty());
    call.end();
}

#[test]
fn two_who_offer_at_once_get_491_each() {
    let mut call = talking();
    let from_alice = call.alice.request("INVITE", "", &held(OFFER));
    let sent = call.server.receive(ALICE, &from_alice);
    let at_bob = only(&sent, BOB).clone();
    let from_bob = call.bob.request("INVITE", "", &held(ANSWER));
    let sent = call.server.receive(BOB, &from_bob);
    assert_eq!((sent.len(), code(only(&sent, BOB))), (1, 491));
    // A second one of alice's before the first has its answer: RFC 3261 §14.2.
    let mut other = call.alice.clone();
    let again = other.request("INVITE", "", &held(OFFER));
    let sent = call.server.receive(ALICE, &again);
    assert_eq!(code(only(&sent, ALICE)), 500);
    assert!(only(&sent, ALICE).has(HeaderName::RetryAfter));
    let sent = call.server.receive(BOB, &response(&at_bob, "491 Request Pending", "", BOB, "", ""));
    assert_eq!(code(only(&sent, ALICE)), 491);
    call.alice.cseq += 1;
    call.end();
}

/// Found by the swarm: the 2xx was not sent again, and the BYE came before any ACK.
#[test]
fn an_update_before_the_ack_gets_491_and_says_nothing_of_the_answer() {
    let mut server = server();
    let sent = server.receive(ALICE, &alices_invite("Allow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n", OFFER));
    let invite = only(&sent, BOB).clone();
    let sent = server.receive(BOB, &response(&invite, "200 OK", "t", BOB, "", ANSWER));
    let ok = only(&sent, ALICE).clone();
    // It may have been sent before the 200 came (RFC 3311 §5.1), which was lost.
    let mut alice = Phone::caller(ALICE, &ok);
    let update = alice.request("UPDATE", "", &held(OFFER));
    let sent = server.receive(ALICE, &update);
    assert_eq!((sent.len(), code(only(&sent, ALICE))), (1, 491));
    let again = server.pass(1);
    assert!(to(&again, ALICE).iter().any(|message| message.bytes() == ok.bytes()), "{again:?}");
    alice.cseq = 1;
    let ack = alice.request("ACK", "", "");
    assert!(server.receive(ALICE, &ack).is_empty());
    alice.cseq = 2;
    let update = alice.request("UPDATE", "", &held(OFFER));
    let sent = server.receive(ALICE, &update);
    assert_eq!(method(only(&sent, BOB)), "UPDATE");
}

#[test]
fn a_re_invite_that_overtakes_the_ack_of_its_sender_passes() {
    // RFC 5407 §3.1.4: alice's hold comes before her ACK, or the ACK was lost.
    let mut call = talking();
    let first = call.alice.request("INVITE", "", &held(OFFER));
    let sent = call.server.receive(ALICE, &first);
    let at_bob = only(&sent, BOB).clone();
    let answer = format!("{ANSWER}a=recvonly\r\n");
    let sent = call.server.receive(BOB, &response(&at_bob, "200 OK", "", BOB, "", &answer));
    assert_eq!(code(only(&sent, ALICE)), 200);
    let late = call.alice.clone().request("ACK", "", "");
    let second = call.alice.request("INVITE", "", OFFER);
    let sent = call.server.receive(ALICE, &second);
    let at_bob = only(&sent, BOB).clone();
    assert_eq!(method(&at_bob), "INVITE");
    // The first 2xx is not sent again, and the ACK for it changes nothing.
    assert!(call.server.receive(ALICE, &late).is_empty());
    let sent = call.server.receive(BOB, &response(&at_bob, "200 OK", "", BOB, "", ANSWER));
    assert_eq!(code(only(&sent, ALICE)), 200);
    let ack = call.alice.request("ACK", "", "");
    assert!(call.server.receive(ALICE, &ack).is_empty());
    assert!(call.server.pass(60).is_empty());
    call.end();
}

#[test]
fn an_update_with_an_offer_passes_and_one_without_is_answered_by_the_server() {
    let mut call = talking_on(server(), ALLOW, ALLOW);
    let update = call.alice.request("UPDATE", "", &held(OFFER));
    let sent = call.server.receive(ALICE, &update);
    let at_bob = only(&sent, BOB).clone();
    assert_eq!((method(&at_bob), body(&at_bob).ends_with("a=sendonly\r\n")), ("UPDATE", true));
    // Meanwhile bob may not offer, nor alice a second time.
    let from_bob = call.bob.request("UPDATE", "", &held(ANSWER));
    assert_eq!(call.server.status(BOB, &from_bob), 491);
    let second = call.alice.clone().request("UPDATE", "", OFFER);
    assert_eq!(call.server.status(ALICE, &second), 500);
    call.alice.cseq += 1;
    let sent = call
        .server
        .receive(BOB, &response(&at_bob, "200 OK", "", BOB, "", &format!("{ANSWER}a=recvonly\r\n")));
    assert!(body(only(&sent, ALICE)).contains("a=recvonly"));
    let refresh = call.bob.request("UPDATE", "", "");
    assert_eq!(call.server.status(BOB, &refresh), 200);
    call.end();
}

#[test]
fn an_update_in_an_early_dialog_finds_the_fork_that_it_is_for() {
    let mut server = server();
    let sent = server.receive(ALICE, &alices_invite(&format!("Supported: 100rel\r\n{ALLOW}"), OFFER));
    let invite = only(&sent, BOB).clone();
    let reliable = format!("Require: 100rel\r\nRSeq: 17\r\n{ALLOW}");
    let sent = server.receive(BOB, &response(&invite, "183 Session Progress", "t", BOB, &reliable, ANSWER));
    let progress = only(&sent, ALICE).clone();
    assert_eq!(value(&progress, HeaderName::Require), "100rel");
    let rseq = value(&progress, HeaderName::RSeq);
    let mut alice = Phone::caller(ALICE, &progress);
    let prack = alice.request("PRACK", &format!("RAck: {rseq} 1 INVITE\r\n"), "");
    let sent = server.receive(ALICE, &prack);
    let prack = only(&sent, BOB).clone();
    assert_eq!(prack.header::<dialtone_wire::headers::RAck>().unwrap().unwrap().rseq, 17);
    let sent = server.receive(BOB, &response(&prack, "200 OK", "", BOB, "", ""));
    assert_eq!(code(only(&sent, ALICE)), 200);
    let update = alice.request("UPDATE", "", &held(OFFER));
    let sent = server.receive(ALICE, &update);
    let update = only(&sent, BOB).clone();
    assert_eq!(method(&update), "UPDATE");
    let sent = server.receive(BOB, &response(&update, "200 OK", "", BOB, "", &held(ANSWER)));
    assert_eq!(code(only(&sent, ALICE)), 200);
    let sent = server.receive(BOB, &response(&invite, "200 OK", "t", BOB, "", ""));
    let ok = only(&sent, ALICE).clone();
    let ack = alice.request("ACK", "", "").replace("CSeq: 3 ACK", "CSeq: 1 ACK");
    assert!(server.receive(ALICE, &ack).is_empty());
    let bob = Phone::callee(BOB, &invite, "t");
    Call { server, alice, bob, bobs_invite: invite, alices_answer: ok }.end();
}

#[test]
fn a_reliable_response_is_sent_to_alice_until_her_prack_and_after_64_t1_the_call_is_refused() {
    let mut server = server();
    let sent = server.receive(ALICE, &alices_invite("Supported: 100rel\r\n", OFFER));
    let invite = only(&sent, BOB).clone();
    assert!(value(&invite, HeaderName::Supported).contains("100rel"));
    let progress =
        response(&invite, "183 Session Progress", "t", BOB, "Require: 100rel\r\nRSeq: 17\r\n", ANSWER);
    let sent = server.receive(BOB, &progress);
    let first = only(&sent, ALICE).clone();
    assert!(server.receive(BOB, &progress).is_empty(), "one that comes again is told when its time has come");
    let second = response(&invite, "180 Ringing", "t", BOB, "Require: 100rel\r\nRSeq: 18\r\n", "");
    assert!(server.receive(BOB, &second).is_empty(), "one at a time");
    let sent = server.pass(1);
    assert_eq!(to(&sent, ALICE).iter().map(|again| again.bytes()).collect::<Vec<_>>(), [first.bytes()]);
    let mut alice = Phone::caller(ALICE, &first);
    let wrong = alice.request("PRACK", "RAck: 1 1 INVITE\r\n", "");
    assert_eq!(server.status(ALICE, &wrong), 481);
    let prack =
        alice.request("PRACK", &format!("RAck: {} 1 INVITE\r\n", value(&first, HeaderName::RSeq)), "");
    let sent = server.receive(ALICE, &prack);
    let prack = only(&sent, BOB).clone();
    let sent = server.receive(BOB, &response(&prack, "200 OK", "", BOB, "", ""));
    let codes: Vec<u16> = to(&sent, ALICE).into_iter().map(code).collect();
    assert_eq!(codes, [200, 180], "and now the next");
    let sent = server.pass(40);
    let last = to(&sent, ALICE).into_iter().find(|message| code(message) >= 300).map(code);
    assert_eq!(last, Some(504));
    let cancel = to(&sent, BOB).into_iter().find(|message| method(message) == "CANCEL").cloned();
    let cancel = cancel.expect("bob is told");
    server.receive(BOB, &response(&cancel, "200 OK", "", BOB, "", ""));
    let sent = server.receive(BOB, &response(&invite, "487 Request Terminated", "t", BOB, "", ""));
    assert_eq!(method(only(&sent, BOB)), "ACK");
    at_rest(&mut server);
}

#[test]
fn requests_in_dialogs_that_are_not_there_are_481() {
    let mut server = server();
    for asked in ["UPDATE", "BYE", "INFO", "PRACK", "INVITE", "NOTIFY"] {
        let request = crate::peers::Request { method: asked, ..crate::peers::invite("sip:x@127.0.0.1:5060") };
        let text =
            request.text().replace("To: <sip:x@127.0.0.1:5060>", "To: <sip:x@127.0.0.1:5060>;tag=none");
        let expected = if asked == "NOTIFY" { 404 } else { 481 };
        assert_eq!(server.status(ALICE, &text), expected, "{asked}");
    }
    let mut call = talking();
    let text = call.alice.request("UPDATE", "", "");
    let other = text.replace(";tag=f", ";tag=other");
    assert_eq!(call.server.status(ALICE, &other), 481, "an UPDATE of nobody's dialog");
    call.end();
}

#[test]
fn a_phone_that_does_not_know_the_call_any_more_ends_it_for_both() {
    let mut call = talking();
    let info = call.alice.request("INFO", "", "");
    let sent = call.server.receive(ALICE, &info);
    let info = only(&sent, BOB).clone();
    let sent =
        call.server.receive(BOB, &response(&info, "481 Call/Transaction Does Not Exist", "", BOB, "", ""));
    let mut alices: Vec<&str> = to(&sent, ALICE).into_iter().map(method).collect();
    alices.sort_unstable();
    assert_eq!(alices, ["", "BYE"], "her 481, and a BYE");
    let byes: Vec<_> = sent.into_iter().filter(|(_, message)| method(message) == "BYE").collect();
    assert_eq!(byes.len(), 2);
    for (address, bye) in byes {
        call.server.receive(&address, &response(&bye, "200 OK", "", &address, "", ""));
    }
    at_rest(&mut call.server);
}

#[test]
fn only_so_many_requests_of_one_side_wait_for_the_other() {
    let mut settings = crate::peers::settings();
    settings.limits.bridge_requests = 2;
    let mut call = talking_on(crate::b2bua::server_with(settings, &[BOB]), "", "");
    let mut at_bob = Vec::new();
    for _ in 0..2 {
        let info = call.alice.request("INFO", "", "");
        let sent = call.server.receive(ALICE, &info);
        at_bob.push(only(&sent, BOB).clone());
    }
    let info = call.alice.request("INFO", "", "");
    assert_eq!(call.server.status(ALICE, &info), 500);
    for info in at_bob {
        call.server.receive(BOB, &response(&info, "200 OK", "", BOB, "", ""));
    }
    let info = call.alice.request("INFO", "", "");
    let sent = call.server.receive(ALICE, &info);
    let info = only(&sent, BOB).clone();
    call.server.receive(BOB, &response(&info, "200 OK", "", BOB, "", ""));
    call.end();
}

#[test]
fn a_phone_that_answers_a_refresh_with_something_new_is_told_of_to_the_other_side() {
    let mut call = talking();
    let sent = call.server.pass(900);
    for (address, answer) in [(ALICE, OFFER), (BOB, ANSWER)] {
        let refresh = only(&sent, address).clone();
        assert_eq!(method(&refresh), "INVITE", "no UPDATE, since nobody has allowed one");
        let answer = if address == BOB { answer.replace("6000", "6002") } else { answer.to_owned() };
        let sent = call.server.receive(address, &response(&refresh, "200 OK", "", address, "", &answer));
        let other = to(&sent, if address == BOB { ALICE } else { BOB });
        assert_eq!(other.len(), usize::from(address == BOB), "{sent:?}");
        if let Some(told) = other.first() {
            assert!(body(told).contains("m=audio 6002 "), "{told:?}");
            let taken = response(told, "200 OK", "", ALICE, "", OFFER);
            let sent = call.server.receive(ALICE, &taken);
            assert_eq!((sent.len(), method(only(&sent, ALICE))), (1, "ACK"));
        }
    }
    call.end();
}

#[test]
fn a_call_of_two_phones_that_are_gone_is_ended_within_its_session_interval() {
    let mut call = talking();
    call.server.pass(900 + 70);
    assert_eq!(call.server.engine.tables().bridges, 0);
    at_rest(&mut call.server);
}

/// The CANCEL of a request.
pub(crate) fn cancel_of(request: &str) -> String {
    let (head, _) = request.split_once("Contact:").expect("a Contact");
    format!(
        "{}Content-Length: 0\r\n\r\n",
        head.replace("INVITE", "CANCEL")
            .replace("branch=z9hG4bK127.0.0.2:50702CANCEL", "branch=z9hG4bK127.0.0.2:50702INVITE")
    )
}

#[test]
fn a_reinvite_that_is_cancelled_too_late_is_taken_back_at_the_other_side() {
    let mut call = talking();
    let reinvite = call.alice.request("INVITE", "", &held(OFFER));
    let sent = call.server.receive(ALICE, &reinvite);
    let at_bob = only(&sent, BOB).clone();
    call.server.receive(BOB, &response(&at_bob, "100 Trying", "", BOB, "", ""));
    let sent = call.server.receive(ALICE, &cancel_of(&reinvite));
    let codes: Vec<u16> = to(&sent, ALICE).into_iter().map(code).collect();
    assert_eq!(codes, [200, 487]);
    let sent = call
        .server
        .receive(BOB, &response(&at_bob, "200 OK", "", BOB, "", &format!("{ANSWER}a=recvonly\r\n")));
    let methods: Vec<&str> = to(&sent, BOB).into_iter().map(method).collect();
    assert_eq!(methods, ["ACK", "INVITE"]);
    let back = to(&sent, BOB)[1].clone();
    assert!(!body(&back).contains("a=sendonly"), "what held before is offered again: {}", body(&back));
    let sent = call.server.receive(BOB, &response(&back, "200 OK", "", BOB, "", ANSWER));
    assert_eq!((sent.len(), method(only(&sent, BOB))), (1, "ACK"));
    call.end();
}

#[test]
fn a_reinvite_that_nobody_ever_answers_ends_the_call_after_timer_c() {
    let mut call = talking();
    let reinvite = call.bob.request("INVITE", "", &held(ANSWER));
    let sent = call.server.receive(BOB, &reinvite);
    let at_alice = only(&sent, ALICE).clone();
    call.server.receive(ALICE, &response(&at_alice, "100 Trying", "", ALICE, "", ""));
    let sent = call.server.pass(181 + 33);
    assert!(to(&sent, BOB).into_iter().any(|message| code(message) == 408), "{sent:?}");
    for address in [ALICE, BOB] {
        let bye =
            to(&sent, address).into_iter().find(|message| method(message) == "BYE").expect("a BYE").clone();
        call.server.receive(address, &response(&bye, "200 OK", "", address, "", ""));
    }
    at_rest(&mut call.server);
}
