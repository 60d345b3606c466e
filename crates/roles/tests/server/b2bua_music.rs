//! Music for those whose calls are parked (RFC 7088): carol plays it, and bob takes the call back that he has parked.

use dialtone_roles::Settings;
use dialtone_roles::settings::BridgeSettings;
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message};

use crate::b2bua::{
    ALICE, ANSWER, BOB, Call, OFFER, Phone, at_rest, body, code, method, only, response, server_with,
    text_of, to, value,
};
use crate::b2bua_park::{ok, parked_with};
use crate::b2bua_transfer::{CAROL, CAROLS};
use crate::peers::{Request, Server, invite, settings};

const SENDING: &str = "m=audio 7000 RTP/AVP 0\r\na=sendonly\r\n";
const HEARS: &str = "a=recvonly\r\n";

/// Alice is parked; the INVITE for who plays music to her.
fn parked() -> (Call, Message) {
    let music = UriBuf::parse("sip:carol@sip.test").ok();
    let bridges = BridgeSettings { music, ..BridgeSettings::default() };
    let (call, sent) = parked_with(server_with(Settings { bridges, ..settings() }, &[BOB]));
    let asks = only(&sent, CAROL).clone();
    assert_eq!((method(&asks), asks.body().is_empty()), ("INVITE", true));
    assert!(value(&asks, HeaderName::From).starts_with("<sip:alice@sip.test>"));
    (call, asks)
}

/// Alice hears it.
fn hearing() -> (Call, Phone) {
    let (mut call, asks) = parked();
    let sent = call.server.receive(CAROL, &response(&asks, "200 OK", "m", CAROL, "", CAROLS));
    let plays = only(&sent, ALICE).clone();
    assert!(body(&plays).ends_with(SENDING), "{}", body(&plays));
    assert!(body(&plays).contains("c=IN IP4 127.0.0.4\r\n"));
    let answer = format!("{OFFER}{HEARS}");
    let sent = call.server.receive(ALICE, &response(&plays, "200 OK", "", ALICE, "", &answer));
    assert_eq!(method(only(&sent, ALICE)), "ACK");
    let ack = only(&sent, CAROL).clone();
    assert_eq!(method(&ack), "ACK");
    assert!(body(&ack).contains("c=IN IP4 127.0.0.2\r\n") && body(&ack).ends_with(HEARS), "{}", body(&ack));
    let carol = Phone::callee(CAROL, &asks, "m");
    (call, carol)
}

/// Bob calls the slot and is joined with alice; his phone, and what was sent at the end.
fn taken(server: &mut Server) -> (Phone, Vec<(String, Message)>) {
    let (mut bob, mut all) = taking(server);
    let asks = taken_by(server, &mut bob);
    let sent = server.receive(BOB, &response(&asks, "200 OK", "", BOB, "", ANSWER));
    let reinvite = only(&sent, ALICE).clone();
    assert!(body(&reinvite).contains("c=IN IP4 127.0.0.3\r\n"), "{}", body(&reinvite));
    assert!(!body(&reinvite).contains("a=sendonly"), "both ways again: {}", body(&reinvite));
    all.extend(server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER)));
    (bob, all)
}

/// Bob calls the slot and is answered; his phone, and what was sent.
fn taking(server: &mut Server) -> (Phone, Vec<(String, Message)>) {
    let extra = format!("Contact: <sip:bob@{BOB}>\r\n");
    let request = Request {
        uri: "sip:*51@sip.test",
        from: "sip:bob@sip.test",
        to: "sip:*51@sip.test",
        via: BOB,
        call_id: "fetch",
        extra,
        ..invite("")
    };
    let all = server.receive(BOB, &text_of(&request, ANSWER));
    let answer = to(&all, BOB).into_iter().find(|message| code(message) == 200).expect("a 200").clone();
    (Phone::caller(BOB, &answer), all)
}

/// He acknowledges, and is asked for an offer.
fn taken_by(server: &mut Server, bob: &mut Phone) -> Message {
    let ack = bob.request("ACK", "", "");
    let sent = server.receive(BOB, &ack);
    only(&sent, BOB).clone()
}

/// Bob hangs up, and nothing is left.
fn end_by_bob(mut call: Call, mut bob: Phone) {
    let bye = bob.request("BYE", "", "");
    let sent = call.server.receive(BOB, &bye);
    assert_eq!(code(only(&sent, BOB)), 200);
    let bye = only(&sent, ALICE).clone();
    ok(&mut call.server, ALICE, &bye);
    at_rest(&mut call.server);
}

#[test]
fn music_plays_to_a_parked_call_until_it_is_taken() {
    let (mut call, _) = hearing();
    let (bob, sent) = taken(&mut call.server);
    let bye = only(&sent, CAROL).clone();
    assert_eq!(method(&bye), "BYE");
    ok(&mut call.server, CAROL, &bye);
    end_by_bob(call, bob);
}

#[test]
fn who_plays_music_and_hangs_up_leaves_the_call_in_its_slot_and_held() {
    let (mut call, mut carol) = hearing();
    let bye = carol.request("BYE", "", "");
    let sent = call.server.receive(CAROL, &bye);
    assert_eq!(code(only(&sent, CAROL)), 200);
    let hold = only(&sent, ALICE).clone();
    assert!(body(&hold).ends_with("a=inactive\r\n"), "{}", body(&hold));
    let inactive = format!("{OFFER}a=inactive\r\n");
    call.server.receive(ALICE, &response(&hold, "200 OK", "", ALICE, "", &inactive));
    let (bob, sent) = taken(&mut call.server);
    assert!(to(&sent, CAROL).is_empty());
    end_by_bob(call, bob);
}

#[test]
fn where_nobody_plays_music_the_call_waits_in_silence() {
    let (mut call, asks) = parked();
    let sent = call.server.receive(CAROL, &response(&asks, "486 Busy Here", "m", CAROL, "", ""));
    assert!(to(&sent, ALICE).is_empty());
    let (bob, _) = taken(&mut call.server);
    end_by_bob(call, bob);
}

#[test]
fn music_that_has_not_begun_holds_nobody_up_who_takes_the_call() {
    let (mut call, asks) = parked();
    call.server.receive(CAROL, &response(&asks, "180 Ringing", "m", CAROL, "", ""));
    let (bob, sent) = taken(&mut call.server);
    let cancel = only(&sent, CAROL).clone();
    assert_eq!(method(&cancel), "CANCEL");
    ok(&mut call.server, CAROL, &cancel);
    call.server.receive(CAROL, &response(&asks, "487 Request Terminated", "m", CAROL, "", ""));
    end_by_bob(call, bob);
}

#[test]
fn music_that_is_just_beginning_holds_nobody_up_who_takes_the_call() {
    let (mut call, asks) = parked();
    let sent = call.server.receive(CAROL, &response(&asks, "200 OK", "m", CAROL, "", CAROLS));
    let plays = only(&sent, ALICE).clone();
    let (mut bob, sent) = taking(&mut call.server);
    let bye = to(&sent, CAROL).into_iter().find(|message| method(message) == "BYE").expect("a BYE").clone();
    ok(&mut call.server, CAROL, &bye);
    let asks = taken_by(&mut call.server, &mut bob);
    // Alice takes the offer of who is gone: she is held again, and then has that of bob.
    let sent = call.server.receive(ALICE, &response(&plays, "200 OK", "", ALICE, "", OFFER));
    assert!(to(&sent, BOB).is_empty(), "{sent:?}");
    let again = to(&sent, ALICE)[1].clone();
    assert!(body(&again).ends_with("a=inactive\r\n"), "{}", body(&again));
    let inactive = format!("{OFFER}a=inactive\r\n");
    call.server.receive(ALICE, &response(&again, "200 OK", "", ALICE, "", &inactive));
    let sent = call.server.receive(BOB, &response(&asks, "200 OK", "", BOB, "", ANSWER));
    let reinvite = only(&sent, ALICE).clone();
    assert!(body(&reinvite).contains("c=IN IP4 127.0.0.3\r\n"), "{}", body(&reinvite));
    call.server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER));
    end_by_bob(call, bob);
}

#[test]
fn music_ends_with_the_parked_call() {
    let (mut call, _) = hearing();
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    let bye = only(&sent, CAROL).clone();
    assert_eq!(method(&bye), "BYE");
    ok(&mut call.server, CAROL, &bye);
    at_rest(&mut call.server);
}

#[test]
fn nobody_is_transferred_by_who_plays_music() {
    let (mut call, mut carol) = hearing();
    let refer = carol.request("REFER", "Refer-To: <sip:bob@sip.test>\r\n", "");
    let sent = call.server.receive(CAROL, &refer);
    assert_eq!((code(only(&sent, CAROL)) / 100, sent.len()), (5, 1), "{sent:?}");
}

#[test]
fn a_call_that_goes_back_hears_music_until_its_parker_answers_and_ends_with_it_where_he_never_does() {
    let (mut call, _) = hearing();
    let sent = call.server.pass(121);
    // The INVITE, and it once more.
    let bobs = to(&sent, BOB)[0].clone();
    assert!(to(&sent, CAROL).is_empty(), "it plays on");
    let sent = call.server.receive(BOB, &response(&bobs, "200 OK", "b", BOB, "", ANSWER));
    let reinvite = only(&sent, ALICE).clone();
    let sent = call.server.receive(ALICE, &response(&reinvite, "200 OK", "", ALICE, "", OFFER));
    let bye = only(&sent, CAROL).clone();
    assert_eq!(method(&bye), "BYE");
    ok(&mut call.server, CAROL, &bye);
    end_by_bob(call, Phone::callee(BOB, &bobs, "b"));

    let (mut call, _) = hearing();
    let mut byes = Vec::new();
    let mut sent = Vec::new();
    for _ in 0..4 {
        sent.extend(call.server.pass(121));
        for (phone, message) in std::mem::take(&mut sent) {
            match (phone.as_str(), method(&message)) {
                (BOB, "INVITE") => {
                    let busy = response(&message, "486 Busy Here", "b", BOB, "", "");
                    sent.extend(call.server.receive(BOB, &busy));
                }
                (_, "BYE") => byes.push((phone, message)),
                _ => {}
            }
        }
    }
    let mut ended: Vec<&str> = byes.iter().map(|(phone, _)| phone.as_str()).collect();
    ended.dedup();
    ended.sort_unstable();
    ended.dedup();
    assert_eq!(ended, [ALICE, CAROL]);
}
