//! What the records and the list say of calls that the server has brought together.

use dialtone_roles::io::CallEnd;
use dialtone_roles::listing::CallCursor;
use dialtone_wire::{Message, Status};

use crate::b2bua::{
    ALICE, ANSWER, BOB, Call, OFFER, Phone, alices_invite, at_rest, body, code, method, only, response,
    server, talking, text_of, to,
};
use crate::b2bua_dial::{answered, dialled};
use crate::b2bua_park::carol_calls;
use crate::b2bua_queue::{tried, waiting};
use crate::b2bua_transfer::{CAROL, CAROLS, with_carol};
use crate::peers::{Request, Server, invite};

/// A call with carol registered.
fn office() -> Call {
    let mut call = talking();
    with_carol(&mut call.server);
    call
}

/// Who called whom, and how it ended.
pub(crate) fn ended(server: &Server) -> Vec<(String, String, CallEnd)> {
    let user = |uri: &str| uri.trim_start_matches("sip:").split('@').next().unwrap_or_default().to_owned();
    server.records.iter().map(|record| (user(&record.caller), user(&record.callee), record.end)).collect()
}

pub(crate) fn of(caller: &str, callee: &str, end: CallEnd) -> (String, String, CallEnd) {
    (caller.into(), callee.into(), end)
}

/// Who talks with whom.
fn listed(server: &Server) -> Vec<(String, String)> {
    let text =
        |text: Option<smol_str::SmolStr>| text.unwrap_or_default().trim_start_matches("sip:").to_owned();
    let (mut all, mut cursor) = (Vec::new(), Some(CallCursor::START));
    while let Some(from) = cursor {
        let page = server.engine.calls(from, 10);
        all.extend(page.entries.into_iter().map(|call| (text(call.from), text(call.to))));
        cursor = page.next;
    }
    all
}

/// Answers each request of the server that was sent to a phone but INVITE and ACK.
fn answer_all(server: &mut Server, sent: &[(String, Message)]) {
    for (address, request) in sent.iter().filter(|(_, message)| message.is_request()) {
        if !matches!(method(request), "INVITE" | "ACK" | "CANCEL") {
            server.receive(address, &response(request, "200 OK", "", address, "", ""));
        }
    }
}

/// One of the two transfers the other to carol, who answers; gives carol's phone.
fn transfer(call: &mut Call, by: &'static str) -> Phone {
    let (phone, other, answer) =
        if by == ALICE { (&mut call.alice, BOB, ANSWER) } else { (&mut call.bob, ALICE, OFFER) };
    let refer = phone.request("REFER", "Refer-To: <sip:carol@sip.test>\r\n", "");
    let sent = call.server.receive(by, &refer);
    answer_all(&mut call.server, &sent);
    let carols = only(&sent, CAROL).clone();
    let sent = call.server.receive(CAROL, &response(&carols, "200 OK", "c", CAROL, "", CAROLS));
    let reinvite = only(&sent, other).clone();
    let sent = call.server.receive(other, &response(&reinvite, "200 OK", "", other, "", answer));
    assert!(body(only(&sent, CAROL)).contains("m=audio"), "her ACK has the answer");
    answer_all(&mut call.server, &sent);
    Phone::callee(CAROL, &carols, "c")
}

/// A phone hangs up, and what follows is answered.
fn hang_up(server: &mut Server, phone: &mut Phone) {
    let address = phone.address;
    let bye = phone.request("BYE", "", "");
    let sent = server.receive(address, &bye);
    assert_eq!(to(&sent, address).into_iter().map(code).find(|code| *code > 0), Some(200));
    answer_all(server, &sent);
}

#[test]
fn a_pair_that_a_transfer_has_made_has_a_record_of_its_own_whoever_transferred() {
    // The caller transfers: her own call ends with her BYE.
    let mut call = office();
    let mut carol = transfer(&mut call, ALICE);
    assert!(
        listed(&call.server).contains(&("bob@sip.test".into(), "carol@sip.test".into())),
        "{:?}",
        listed(&call.server)
    );
    call.server.pass(2);
    hang_up(&mut call.server, &mut call.alice);
    call.server.pass(60);
    hang_up(&mut call.server, &mut carol);
    at_rest(&mut call.server);
    let expected = [of("alice", "bob", CallEnd::Caller), of("bob", "carol", CallEnd::Callee)];
    assert_eq!(ended(&call.server), expected);
    let [first, second] = &call.server.records[..] else { panic!("two records") };
    assert!(second.answered >= first.answered && second.ended > first.ended);

    // The callee transfers: alice's call with him is over when she talks with carol.
    let mut call = office();
    transfer(&mut call, BOB);
    assert_eq!(ended(&call.server), [of("alice", "bob", CallEnd::Callee)]);
    assert!(
        listed(&call.server).contains(&("alice@sip.test".into(), "carol@sip.test".into())),
        "{:?}",
        listed(&call.server)
    );
    hang_up(&mut call.server, &mut call.bob);
    hang_up(&mut call.server, &mut call.alice);
    at_rest(&mut call.server);
    let expected = [of("alice", "bob", CallEnd::Callee), of("alice", "carol", CallEnd::Caller)];
    assert_eq!(ended(&call.server), expected);
}

#[test]
fn a_transfer_that_fails_is_a_call_that_was_refused() {
    for (by, who) in [(ALICE, "bob"), (BOB, "alice")] {
        let mut call = office();
        let phone = if by == ALICE { &mut call.alice } else { &mut call.bob };
        let refer = phone.request("REFER", "Refer-To: <sip:carol@sip.test>\r\n", "");
        let sent = call.server.receive(by, &refer);
        answer_all(&mut call.server, &sent);
        let carols = only(&sent, CAROL).clone();
        let sent = call.server.receive(CAROL, &response(&carols, "486 Busy Here", "c", CAROL, "", ""));
        answer_all(&mut call.server, &sent);
        let busy = CallEnd::Refused(Status::of(486));
        assert_eq!(ended(&call.server), [of(who, "carol", busy)]);
        assert_eq!(call.server.records[0].answered, None);
        hang_up(&mut call.server, &mut call.alice);
        at_rest(&mut call.server);
        assert_eq!(ended(&call.server), [of(who, "carol", busy), of("alice", "bob", CallEnd::Caller)]);
    }
}

#[test]
fn a_call_that_is_parked_and_taken_is_that_of_who_took_it() {
    let mut call = office();
    let refer = call.alice.request("REFER", "Refer-To: <sip:*51@sip.test>\r\n", "");
    let sent = call.server.receive(ALICE, &refer);
    answer_all(&mut call.server, &sent);
    let held =
        to(&sent, BOB).into_iter().find(|message| method(message) == "INVITE").expect("a hold").clone();
    call.server.receive(BOB, &response(&held, "200 OK", "", BOB, "", ANSWER));
    hang_up(&mut call.server, &mut call.alice);
    assert_eq!(ended(&call.server), [of("alice", "bob", CallEnd::Caller)]);
    // A slot that is taken is a transfer that fails.
    let mut second = crate::peers::invite("sip:bob@sip.test");
    second.call_id = "second";
    let sent = call.server.receive(ALICE, &crate::b2bua::text_of(&second, OFFER));
    let at_bob = only(&sent, BOB).clone();
    let sent = call.server.receive(BOB, &response(&at_bob, "200 OK", "u", BOB, "", ANSWER));
    let mut alice = Phone::caller(ALICE, only(&sent, ALICE));
    call.server.receive(ALICE, &alice.request("ACK", "", ""));
    // Another branch than in her first call.
    alice.cseq = 50;
    let refer = alice.request("REFER", "Refer-To: <sip:*51@sip.test>\r\n", "");
    let sent = call.server.receive(ALICE, &refer);
    let told: Vec<String> = to(&sent, ALICE).into_iter().map(body).collect();
    assert!(told.iter().any(|body| body.starts_with("SIP/2.0 486")), "{told:?}");
    answer_all(&mut call.server, &sent);
    assert_eq!(ended(&call.server).pop(), Some(of("bob", "*51", CallEnd::Refused(Status::of(486)))));
    hang_up(&mut call.server, &mut alice);
    hang_up(&mut call.server, &mut call.bob);
    at_rest(&mut call.server);
}

#[test]
fn a_call_that_is_only_answered_has_one_record_still() {
    let mut server = server();
    let sent = server.receive(ALICE, &alices_invite("", OFFER));
    let at_bob = only(&sent, BOB).clone();
    server.receive(BOB, &response(&at_bob, "486 Busy Here", "t", BOB, "", ""));
    at_rest(&mut server);
    assert_eq!(ended(&server), [of("alice", "bob", CallEnd::Refused(Status::of(486)))]);
}

#[test]
fn a_call_that_rings_and_is_taken_has_one_record_with_an_answer() {
    let mut server = server();
    with_carol(&mut server);
    let sent = server.receive(ALICE, &alices_invite("", OFFER));
    let bobs = only(&sent, BOB).clone();
    server.receive(BOB, &response(&bobs, "180 Ringing", "t", BOB, "", ""));
    let sent = carol_calls(&mut server, "*8bob", "pick", CAROLS);
    let cancel = only(&sent, BOB).clone();
    server.receive(BOB, &response(&cancel, "200 OK", "t", BOB, "", ""));
    server.receive(BOB, &response(&bobs, "487 Request Terminated", "t", BOB, "", ""));
    let answer = to(&sent, CAROL).into_iter().find(|message| code(message) == 200).expect("a 200").clone();
    let mut carol = Phone::caller(CAROL, &answer);
    let sent = server.receive(CAROL, &carol.request("ACK", "", ""));
    let reinvite = only(&sent, CAROL).clone();
    let sent = server.receive(CAROL, &response(&reinvite, "200 OK", "", CAROL, "", CAROLS));
    let mut alice = Phone::caller(ALICE, only(&sent, ALICE));
    server.receive(ALICE, &alice.request("ACK", "", ""));
    server.pass(1);
    hang_up(&mut server, &mut alice);
    at_rest(&mut server);
    let by_alice =
        |server: &Server| ended(server).into_iter().filter(|(caller, ..)| caller == "alice").count();
    assert_eq!(by_alice(&server), 1);
    let [code, hers] = &server.records[..] else { panic!("two records: {:?}", server.records) };
    let (code, hers) = if &*code.caller == "sip:alice@sip.test" { (hers, code) } else { (code, hers) };
    assert_eq!((&*hers.callee, hers.end), ("sip:bob@sip.test", CallEnd::Caller), "whom she has called");
    assert_eq!((&*code.caller, &*code.callee), ("sip:carol@sip.test", "sip:*8bob@sip.test"), "who took it");
    assert!(hers.answered.is_some_and(|answered| Some(answered) >= code.answered), "since carol answered");
}

#[test]
fn a_call_that_has_waited_in_a_queue_has_one_record_with_its_answer() {
    let mut server = waiting(None);
    let (bobs, _) = tried(&mut server);
    let sent = server.receive(BOB, &response(&bobs, "200 OK", "free", BOB, "", ANSWER));
    let mut alice = Phone::caller(ALICE, only(&sent, ALICE));
    server.receive(ALICE, &alice.request("ACK", "", ""));
    server.pass(1);
    hang_up(&mut server, &mut alice);
    at_rest(&mut server);
    assert_eq!(ended(&server), [of("alice", "600", CallEnd::Caller)]);
    let record = &server.records[0];
    let waited = record.answered.expect("bob answered") - record.started;
    assert_eq!(waited.as_secs(), 5, "until the member was free");
}

#[test]
fn a_call_that_was_asked_for_and_not_taken_has_a_record() {
    let (mut server, bobs) = dialled();
    server.receive(BOB, &response(&bobs, "486 Busy Here", "b", BOB, "", ""));
    at_rest(&mut server);
    assert_eq!(
        ended(&server),
        [of("bob", "carol", CallEnd::Refused(Status::of(486)))],
        "bob did not want it"
    );
    assert_eq!(server.records[0].answered, None);
    let (mut server, bobs) = dialled();
    let (_, carols) = answered(&mut server, &bobs);
    let sent = server.receive(CAROL, &response(&carols, "603 Decline", "c", CAROL, "", ""));
    answer_all(&mut server, &sent);
    at_rest(&mut server);
    assert_eq!(ended(&server), [of("bob", "carol", CallEnd::Refused(Status::of(603)))]);
}

#[test]
fn a_transfer_to_a_call_that_was_not_answered_yet_has_a_record() {
    let mut call = office();
    // Bob's other call, to carol, rings.
    let request = Request {
        from: "sip:bob@sip.test",
        via: BOB,
        call_id: "consult",
        extra: format!("Contact: <sip:bob@{BOB}>\r\n"),
        ..invite("sip:carol@sip.test")
    };
    let sent = call.server.receive(BOB, &text_of(&request, OFFER));
    let carols = only(&sent, CAROL).clone();
    let sent = call.server.receive(CAROL, &response(&carols, "180 Ringing", "c", CAROL, "", ""));
    let consult = Phone::caller(BOB, only(&sent, BOB));
    let [call_id, own, servers] = consult.dialog();
    let refer = format!(
        "Refer-To: <sip:carol@sip.test?Replaces={call_id}%3Bto-tag%3D{servers}%3Bfrom-tag%3D{own}>\r\n"
    );
    let sent = call.server.receive(BOB, &call.bob.request("REFER", &refer, ""));
    let told: Vec<String> = to(&sent, BOB).into_iter().map(body).collect();
    assert!(told.iter().any(|body| body.starts_with("SIP/2.0 481")), "{told:?}");
    assert_eq!(ended(&call.server), [of("alice", "carol", CallEnd::Refused(Status::of(481)))]);
    assert_eq!(call.server.engine.counters().transfers_failed, 1);
}
