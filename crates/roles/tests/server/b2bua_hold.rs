//! Music for those who are held (RFC 7088): bob holds alice, and who plays is called for her.

use dialtone_roles::Settings;
use dialtone_roles::settings::BridgeSettings;
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message};

use crate::b2bua::{
    ALICE, ANSWER, BOB, Call, OFFER, Phone, at_rest, body, code, method, only, response, server_with,
    talking_on, text_of, to, value,
};
use crate::b2bua_park::ok;
use crate::b2bua_transfer::{CAROL, CAROLS, consulted, notified, replacing, with_carol};
use crate::peers::{Request, Server, invite, register, settings};

const MUSIC: &str = "127.0.0.6:5100";
const PLAYED: &str = "v=0\r\no=music 5 5 IN IP4 127.0.0.6\r\ns=-\r\nc=IN IP4 127.0.0.6\r\nt=0 0\r\n\
                      m=audio 8000 RTP/AVP 0\r\n";
const SENDS: &str = "a=sendonly\r\n";
const HEARS: &str = "a=recvonly\r\n";
const NOTHING: &str = "a=inactive\r\n";

fn server() -> Server {
    let music = UriBuf::parse("sip:music@sip.test").ok();
    let bridges = BridgeSettings { music, ..BridgeSettings::default() };
    let mut server = server_with(Settings { bridges, ..settings() }, &[BOB]);
    assert_eq!(server.status(MUSIC, &register("sip:music@sip.test", MUSIC, "reg-music").text()), 200);
    with_carol(&mut server);
    server
}

fn accept(call: &mut Call, phone: &'static str, request: &Message, session: &str) -> Vec<(String, Message)> {
    call.server.receive(phone, &response(request, "200 OK", "", phone, "", session))
}

/// Bob offers something, and alice accepts it; all that follows, his ACK included.
fn bob_offers(call: &mut Call, offer: &str, answer: &str) -> Vec<(String, Message)> {
    let reinvite = call.bob.request("INVITE", "", offer);
    let sent = call.server.receive(BOB, &reinvite);
    let alices = to(&sent, ALICE)[0].clone();
    assert!(body(&alices).contains("c=IN IP4 127.0.0.3\r\n"), "{}", body(&alices));
    let mut sent = accept(call, ALICE, &alices, answer);
    let ack = call.bob.request("ACK", "", "");
    sent.extend(call.server.receive(BOB, &ack));
    sent
}

fn held_with(offer: &str, answer: &str) -> (Call, Vec<(String, Message)>) {
    let mut call = talking_on(server(), "", "");
    let sent = bob_offers(&mut call, offer, answer);
    (call, sent)
}

/// Bob holds alice; the INVITE for who plays.
fn held() -> (Call, Message) {
    let (call, sent) = held_with(&format!("{ANSWER}{SENDS}"), &format!("{OFFER}{HEARS}"));
    assert_eq!(method(to(&sent, ALICE)[0]), "ACK");
    let answer = to(&sent, BOB)[0];
    assert!(body(answer).ends_with(NOTHING), "nobody hears him: {}", body(answer));
    let asks = only(&sent, MUSIC).clone();
    assert_eq!((method(&asks), asks.body().is_empty()), ("INVITE", true));
    assert!(value(&asks, HeaderName::From).starts_with("<sip:alice@sip.test>"));
    (call, asks)
}

/// Who plays has made an offer: alice gets it, and her answer goes back.
fn joined(call: &mut Call, sent: &[(String, Message)]) -> Vec<(String, Message)> {
    let plays = only(sent, ALICE).clone();
    assert!(body(&plays).contains("c=IN IP4 127.0.0.6\r\n"), "{}", body(&plays));
    assert!(body(&plays).ends_with(SENDS), "{}", body(&plays));
    let sent = accept(call, ALICE, &plays, &format!("{OFFER}{HEARS}"));
    assert_eq!(method(only(&sent, ALICE)), "ACK");
    let ack = only(&sent, MUSIC);
    assert_eq!(method(ack), "ACK");
    assert!(body(ack).contains("c=IN IP4 127.0.0.2\r\n") && body(ack).ends_with(HEARS), "{}", body(ack));
    sent
}

/// Alice hears music.
fn hearing() -> (Call, Phone) {
    let (mut call, asks) = held();
    let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "m", MUSIC, "", PLAYED));
    let sent = joined(&mut call, &sent);
    assert!(to(&sent, BOB).is_empty(), "it is nothing to him");
    (call, Phone::callee(MUSIC, &asks, "m"))
}

/// Who plays is hung up.
fn music_ends(call: &mut Call, sent: &[(String, Message)]) {
    let bye = only(sent, MUSIC).clone();
    assert_eq!(method(&bye), "BYE");
    ok(&mut call.server, MUSIC, &bye);
}

/// Bob resumes: alice talks with him again.
fn resume(call: &mut Call) -> Vec<(String, Message)> {
    let sent = bob_offers(call, ANSWER, OFFER);
    let answer = to(&sent, BOB)[0];
    assert!(body(answer).ends_with("m=audio 4000 RTP/AVP 0\r\n"), "both ways: {}", body(answer));
    sent
}

#[test]
pub(crate) fn who_is_held_hears_music_until_the_holder_resumes() {
    let (mut call, _) = hearing();
    let sent = resume(&mut call);
    music_ends(&mut call, &sent);
    call.end();
}

#[test]
pub(crate) fn hold_and_resume_by_update_are_the_same() {
    let mut call = talking_on(server(), "Allow: INVITE, ACK, BYE, UPDATE\r\n", "");
    for round in 0..2 {
        let update = call.bob.request("UPDATE", "", &format!("{ANSWER}{NOTHING}"));
        let sent = call.server.receive(BOB, &update);
        let alices = only(&sent, ALICE).clone();
        assert!(body(&alices).ends_with(NOTHING));
        let sent = accept(&mut call, ALICE, &alices, &format!("{OFFER}{NOTHING}"));
        assert!(body(only(&sent, BOB)).ends_with(NOTHING));
        let asks = only(&sent, MUSIC).clone();
        let tag = format!("m{round}");
        let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", &tag, MUSIC, "", PLAYED));
        joined(&mut call, &sent);
        let update = call.bob.request("UPDATE", "", ANSWER);
        let sent = call.server.receive(BOB, &update);
        let alices = only(&sent, ALICE).clone();
        let sent = accept(&mut call, ALICE, &alices, OFFER);
        assert!(!body(only(&sent, BOB)).contains("a="));
        music_ends(&mut call, &sent);
    }
    call.end();
}

#[test]
pub(crate) fn a_phone_that_answers_a_hold_as_inactive_hears_music_too() {
    let inactive = format!("{OFFER}{NOTHING}");
    let (mut call, sent) = held_with(&format!("{ANSWER}{SENDS}"), &inactive);
    let asks = only(&sent, MUSIC).clone();
    let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "m", MUSIC, "", PLAYED));
    joined(&mut call, &sent);
    let sent = resume(&mut call);
    music_ends(&mut call, &sent);
    call.end();
}

#[test]
pub(crate) fn whoever_of_the_two_hangs_up_ends_the_call_and_the_music() {
    let (mut call, _) = hearing();
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    assert_eq!(code(only(&sent, ALICE)), 200);
    music_ends(&mut call, &sent);
    let bobs = only(&sent, BOB).clone();
    assert_eq!(method(&bobs), "BYE");
    ok(&mut call.server, BOB, &bobs);
    at_rest(&mut call.server);

    let (mut call, _) = hearing();
    let bye = call.bob.request("BYE", "", "");
    let sent = call.server.receive(BOB, &bye);
    music_ends(&mut call, &sent);
    let alices = only(&sent, ALICE).clone();
    assert_eq!(method(&alices), "BYE");
    ok(&mut call.server, ALICE, &alices);
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn who_hangs_up_before_the_music_has_answered_leaves_nothing() {
    let (mut call, asks) = held();
    call.server.receive(MUSIC, &response(&asks, "180 Ringing", "m", MUSIC, "", ""));
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    let cancel = only(&sent, MUSIC).clone();
    assert_eq!(method(&cancel), "CANCEL");
    // Its answer crosses with that.
    let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "m", MUSIC, "", PLAYED));
    let mut methods: Vec<_> = to(&sent, MUSIC).into_iter().map(method).collect();
    methods.sort_unstable();
    assert_eq!(methods, ["ACK", "BYE"]);
    at_rest(&mut call.server);
}

/// Alice is offered again what bob has described when he held her.
fn held_plainly(call: &mut Call, sent: &[(String, Message)]) {
    let again = only(sent, ALICE).clone();
    assert!(body(&again).contains("c=IN IP4 127.0.0.3\r\n"), "{}", body(&again));
    assert!(body(&again).ends_with(SENDS), "{}", body(&again));
    let sent = accept(call, ALICE, &again, &format!("{OFFER}{HEARS}"));
    assert_eq!((sent.len(), method(only(&sent, ALICE))), (1, "ACK"), "bob hears nothing of that");
}

#[test]
pub(crate) fn who_plays_and_hangs_up_leaves_the_other_held() {
    let (mut call, mut music) = hearing();
    let bye = music.request("BYE", "", "");
    let sent = call.server.receive(MUSIC, &bye);
    assert_eq!(code(only(&sent, MUSIC)), 200);
    held_plainly(&mut call, &sent);
    let sent = resume(&mut call);
    assert!(to(&sent, MUSIC).is_empty());
    call.end();
}

#[test]
pub(crate) fn who_plays_and_is_there_no_more_leaves_the_other_held() {
    let (mut call, asks) = held();
    let timer = "Session-Expires: 90;refresher=uas\r\nRequire: timer\r\n";
    let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "m", MUSIC, timer, PLAYED));
    joined(&mut call, &sent);
    let mut sent = Vec::new();
    while to(&sent, ALICE).is_empty() {
        sent = call.server.pass(1);
    }
    held_plainly(&mut call, &sent);
    resume(&mut call);
    call.end();
}

#[test]
pub(crate) fn where_nobody_plays_the_other_is_held_and_nobody_is_told() {
    for refusal in ["486 Busy Here", "302 Moved Temporarily", "603 Decline"] {
        let (mut call, asks) = held();
        let sent = call.server.receive(MUSIC, &response(&asks, refusal, "m", MUSIC, "", ""));
        assert_eq!((sent.len(), method(only(&sent, MUSIC))), (1, "ACK"));
        resume(&mut call);
        call.end();
    }
    // No sound at all.
    let (mut call, asks) = held();
    let video = PLAYED.replace("audio", "video");
    let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "m", MUSIC, "", &video));
    assert!(to(&sent, ALICE).is_empty());
    assert_eq!(to(&sent, MUSIC).into_iter().map(method).collect::<Vec<_>>(), ["ACK", "BYE"]);
    let bye = to(&sent, MUSIC)[1].clone();
    ok(&mut call.server, MUSIC, &bye);
    resume(&mut call);
    call.end();
}

#[test]
pub(crate) fn a_phone_that_does_not_want_the_music_is_held() {
    let (mut call, asks) = held();
    let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "m", MUSIC, "", PLAYED));
    let plays = only(&sent, ALICE).clone();
    let sent = call.server.receive(ALICE, &response(&plays, "488 Not Acceptable Here", "", ALICE, "", ""));
    assert!(to(&sent, BOB).is_empty());
    assert_eq!(to(&sent, MUSIC).into_iter().map(method).collect::<Vec<_>>(), ["ACK", "BYE"]);
    let bye = to(&sent, MUSIC)[1].clone();
    ok(&mut call.server, MUSIC, &bye);
    resume(&mut call);
    call.end();
}

#[test]
pub(crate) fn a_holder_who_resumes_before_the_music_answers_waits_for_nothing() {
    let (mut call, asks) = held();
    call.server.receive(MUSIC, &response(&asks, "180 Ringing", "m", MUSIC, "", ""));
    let sent = resume(&mut call);
    let cancel = only(&sent, MUSIC).clone();
    assert_eq!(method(&cancel), "CANCEL");
    ok(&mut call.server, MUSIC, &cancel);
    call.server.receive(MUSIC, &response(&asks, "487 Request Terminated", "m", MUSIC, "", ""));
    call.end();
}

#[test]
pub(crate) fn a_holder_who_resumes_while_the_music_is_being_joined_is_told_to_try_again() {
    let (mut call, asks) = held();
    let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "m", MUSIC, "", PLAYED));
    let reinvite = call.bob.request("INVITE", "", ANSWER);
    let refused = call.server.receive(BOB, &reinvite);
    assert_eq!((refused.len(), code(only(&refused, BOB))), (1, 491));
    let ack = call.bob.request("ACK", "", "");
    call.server.receive(BOB, &ack);
    joined(&mut call, &sent);
    let sent = resume(&mut call);
    music_ends(&mut call, &sent);
    call.end();
}

#[test]
pub(crate) fn a_phone_that_is_busy_with_its_own_change_hears_music_afterwards() {
    let (mut call, asks) = held();
    // Alice offers what bob is to answer.
    let reinvite = call.alice.request("INVITE", "", &OFFER.replace("4000", "4444"));
    let sent = call.server.receive(ALICE, &reinvite);
    let bobs = only(&sent, BOB).clone();
    let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "m", MUSIC, "", PLAYED));
    assert!(to(&sent, ALICE).is_empty(), "not now");
    let sent = accept(&mut call, BOB, &bobs, &format!("{ANSWER}{SENDS}"));
    assert!(to(&sent, MUSIC).is_empty() && code(only(&sent, ALICE)) == 200, "he still holds her");
    let ack = call.alice.request("ACK", "", "");
    let mut sent = call.server.receive(ALICE, &ack);
    sent.extend(call.server.pass(1));
    sent.retain(|(phone, message)| phone != ALICE || method(message) == "INVITE");
    let plays = to(&sent, ALICE)[0].clone();
    assert!(body(&plays).contains("c=IN IP4 127.0.0.6\r\n"));
    let sent = accept(&mut call, ALICE, &plays, &format!("{}{HEARS}", OFFER.replace("4000", "4444")));
    assert!(body(only(&sent, MUSIC)).contains("m=audio 4444 "));
    let sent = resume(&mut call);
    music_ends(&mut call, &sent);
    call.end();
}

#[test]
pub(crate) fn one_who_hears_music_and_changes_her_session_has_it_with_the_holder_and_then_the_same_music() {
    let (mut call, _) = hearing();
    let reinvite = call.alice.request("INVITE", "", &OFFER.replace("4000", "4444"));
    let sent = call.server.receive(ALICE, &reinvite);
    let bobs = only(&sent, BOB).clone();
    let sent = accept(&mut call, BOB, &bobs, &format!("{ANSWER}{SENDS}"));
    let answer = only(&sent, ALICE);
    assert!(body(answer).contains("c=IN IP4 127.0.0.3\r\n"), "{}", body(answer));
    let asks = only(&sent, MUSIC).clone();
    assert_eq!((method(&asks), asks.body().is_empty()), ("INVITE", true));
    let ack = call.alice.request("ACK", "", "");
    call.server.receive(ALICE, &ack);
    let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "", MUSIC, "", PLAYED));
    joined(&mut call, &sent);
    let sent = resume(&mut call);
    music_ends(&mut call, &sent);
    call.end();
}

#[test]
pub(crate) fn who_holds_again_and_again_needs_one_call_to_who_plays() {
    let (mut call, mut music) = hearing();
    for round in 0..50 {
        let offer = format!("{}{SENDS}", ANSWER.replace("7 7", &format!("7 {}", 8 + round)));
        let sent = bob_offers(&mut call, &offer, &format!("{OFFER}{HEARS}"));
        assert!(body(to(&sent, BOB)[0]).ends_with(NOTHING));
        let asks = only(&sent, MUSIC).clone();
        assert_eq!((method(&asks), asks.body().is_empty()), ("INVITE", true));
        assert_eq!(value(&asks, HeaderName::CallId), music.dialog()[0], "the same call");
        let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "", MUSIC, "", PLAYED));
        joined(&mut call, &sent);
        assert!(call.server.engine.tables().bridges <= 2);
    }
    let bye = music.request("BYE", "", "");
    let sent = call.server.receive(MUSIC, &bye);
    held_plainly(&mut call, &sent);
    call.end();
}

#[test]
pub(crate) fn who_holds_and_resumes_a_thousand_times_calls_nobody_over_and_over_who_does_not_answer() {
    let mut call = talking_on(server(), "", "");
    let mut called = 0;
    for _ in 0..1000 {
        let sent = bob_offers(&mut call, &format!("{ANSWER}{SENDS}"), &format!("{OFFER}{HEARS}"));
        called += to(&sent, MUSIC).into_iter().filter(|message| method(message) == "INVITE").count();
        bob_offers(&mut call, ANSWER, OFFER);
        assert!(call.server.engine.tables().bridges <= 2);
    }
    assert_eq!(called, 1, "in no time");
    call.server.pass(70);
    let sent = bob_offers(&mut call, &format!("{ANSWER}{SENDS}"), &format!("{OFFER}{HEARS}"));
    let asks = only(&sent, MUSIC).clone();
    let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "m", MUSIC, "", PLAYED));
    joined(&mut call, &sent);
    let sent = resume(&mut call);
    music_ends(&mut call, &sent);
    call.end();
}

#[test]
pub(crate) fn two_who_hold_each_other_hear_nothing_and_the_one_who_resumes_hears_music() {
    let (mut call, _) = hearing();
    let reinvite = call.alice.request("INVITE", "", &format!("{OFFER}{SENDS}"));
    let sent = call.server.receive(ALICE, &reinvite);
    let bobs = only(&sent, BOB).clone();
    let sent = accept(&mut call, BOB, &bobs, &format!("{ANSWER}{NOTHING}"));
    music_ends(&mut call, &sent);
    let ack = call.alice.request("ACK", "", "");
    call.server.receive(ALICE, &ack);
    // She resumes, and he holds still.
    let reinvite = call.alice.request("INVITE", "", OFFER);
    let sent = call.server.receive(ALICE, &reinvite);
    let bobs = only(&sent, BOB).clone();
    let sent = accept(&mut call, BOB, &bobs, &format!("{ANSWER}{SENDS}"));
    let asks = only(&sent, MUSIC).clone();
    let ack = call.alice.request("ACK", "", "");
    call.server.receive(ALICE, &ack);
    let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "m2", MUSIC, "", PLAYED));
    joined(&mut call, &sent);
    let sent = resume(&mut call);
    music_ends(&mut call, &sent);
    call.end();
}

#[test]
pub(crate) fn a_phone_that_brings_music_itself_is_left_alone() {
    // RFC 7088 §2: the session of who plays, from the phone that holds.
    let brought = format!("{PLAYED}{SENDS}");
    let mut call = talking_on(server(), "", "");
    let reinvite = call.bob.request("INVITE", "", &brought);
    let sent = call.server.receive(BOB, &reinvite);
    let alices = only(&sent, ALICE).clone();
    let sent = accept(&mut call, ALICE, &alices, &format!("{OFFER}{HEARS}"));
    assert!(to(&sent, MUSIC).is_empty());
    assert!(body(only(&sent, BOB)).ends_with(HEARS));
    let ack = call.bob.request("ACK", "", "");
    call.server.receive(BOB, &ack);
    resume(&mut call);
    call.end();
}

#[test]
pub(crate) fn what_the_two_say_to_each_other_passes_while_music_plays() {
    let (mut call, mut music) = hearing();
    let info = call.bob.request("INFO", "", "");
    let sent = call.server.receive(BOB, &info);
    let alices = only(&sent, ALICE).clone();
    assert_eq!(method(&alices), "INFO");
    let sent = ok(&mut call.server, ALICE, &alices);
    assert_eq!(code(only(&sent, BOB)), 200);
    let options = call.bob.request("OPTIONS", "", "");
    assert_eq!(code(only(&call.server.receive(BOB, &options), BOB)), 200);
    // A refresh of either one changes nothing.
    let refresh = call.bob.request("INVITE", "", &format!("{ANSWER}{SENDS}"));
    let sent = call.server.receive(BOB, &refresh);
    assert!(body(only(&sent, BOB)).ends_with(NOTHING));
    let ack = call.bob.request("ACK", "", "");
    call.server.receive(BOB, &ack);
    let refresh = call.alice.request("INVITE", "", &format!("{OFFER}{HEARS}"));
    let sent = call.server.receive(ALICE, &refresh);
    assert!(body(only(&sent, ALICE)).contains("c=IN IP4 127.0.0.6\r\n"));
    let ack = call.alice.request("ACK", "", "");
    call.server.receive(ALICE, &ack);
    // Who plays has nobody to talk with, and his session is as it was.
    for (name, extra, session, expected) in [
        ("INVITE", "", PLAYED.replace("8000", "8002"), 488),
        ("UPDATE", "", PLAYED.replace("8000", "8002"), 403),
        ("INFO", "", String::new(), 403),
        ("REFER", "Refer-To: <sip:carol@sip.test>\r\n", String::new(), 500),
    ] {
        let request = music.request(name, extra, &session);
        let sent = call.server.receive(MUSIC, &request);
        assert_eq!((code(only(&sent, MUSIC)), sent.len()), (expected, 1), "{name}");
        if name == "INVITE" {
            let ack = music.request("ACK", "", "");
            call.server.receive(MUSIC, &ack);
        }
    }
    let sent = resume(&mut call);
    music_ends(&mut call, &sent);
    call.end();
}

#[test]
pub(crate) fn streams_that_who_plays_has_beside_the_sound_are_refused() {
    let (mut call, asks) = held();
    let played = PLAYED.replace("m=audio", "m=video 8002 RTP/AVP 31\r\nm=audio");
    let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "m", MUSIC, "", &played));
    let plays = only(&sent, ALICE).clone();
    assert!(!body(&plays).contains("m=video"), "her session has one stream: {}", body(&plays));
    let sent = accept(&mut call, ALICE, &plays, &format!("{OFFER}{HEARS}"));
    let ack = body(only(&sent, MUSIC));
    assert!(ack.contains("m=video 0 RTP/AVP 31\r\nm=audio 4000 "), "{ack}");
    let sent = resume(&mut call);
    music_ends(&mut call, &sent);
    call.end();
}

#[test]
pub(crate) fn each_of_the_three_is_refreshed_and_a_session_that_is_new_then_is_the_holders_again() {
    let (mut call, _) = hearing();
    let sent = call.server.pass(900);
    for (phone, place, session) in [
        (BOB, "127.0.0.2", format!("{ANSWER}{SENDS}")),
        // His new port is told to nobody, since nothing is sent to him.
        (MUSIC, "127.0.0.2", PLAYED.replace("8000", "8002")),
    ] {
        let refresh = to(&sent, phone)[0].clone();
        assert!(method(&refresh) == "INVITE" && body(&refresh).contains(place), "{}", body(&refresh));
        let sent = accept(&mut call, phone, &refresh, &session);
        assert_eq!((sent.len(), method(only(&sent, phone))), (1, "ACK"));
    }
    let refresh = to(&sent, ALICE)[0].clone();
    assert!(body(&refresh).contains("c=IN IP4 127.0.0.6\r\n"), "{}", body(&refresh));
    let moved = format!("{}{HEARS}", OFFER.replace("4000", "4444"));
    let sent = accept(&mut call, ALICE, &refresh, &moved);
    music_ends(&mut call, &sent);
    let held = to(&sent, ALICE).into_iter().find(|message| method(message) == "INVITE").expect("one").clone();
    assert!(body(&held).contains("c=IN IP4 127.0.0.3\r\n") && body(&held).ends_with(SENDS));
    let sent = accept(&mut call, ALICE, &held, &moved);
    let told = only(&sent, BOB).clone();
    assert!(body(&told).contains("m=audio 4444 "), "{}", body(&told));
    accept(&mut call, BOB, &told, &format!("{ANSWER}{SENDS}"));
    call.end();
}

/// Bob refers alice to carol.
fn referred(call: &mut Call) -> Message {
    let refer = call.bob.request("REFER", "Refer-To: <sip:carol@sip.test>\r\n", "");
    let sent = call.server.receive(BOB, &refer);
    notified(&mut call.server, &sent, BOB);
    only(&sent, CAROL).clone()
}

fn byes(call: &mut Call, sent: &[(String, Message)], phones: &[&'static str]) {
    for phone in phones {
        let bye =
            to(sent, phone).into_iter().find(|message| method(message) == "BYE").expect("a BYE").clone();
        ok(&mut call.server, phone, &bye);
    }
}

#[test]
pub(crate) fn who_is_transferred_hears_music_until_the_target_is_there() {
    let (mut call, _) = hearing();
    let carols = referred(&mut call);
    let sent = call.server.receive(CAROL, &response(&carols, "180 Ringing", "c", CAROL, "", ""));
    assert!(to(&sent, MUSIC).is_empty() && to(&sent, ALICE).is_empty(), "it plays on");
    notified(&mut call.server, &sent, BOB);
    let sent = call.server.receive(CAROL, &response(&carols, "200 OK", "c", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    assert!(body(&reinvite).contains("c=IN IP4 127.0.0.4\r\n"), "{}", body(&reinvite));
    let sent = accept(&mut call, ALICE, &reinvite, OFFER);
    notified(&mut call.server, &sent, BOB);
    music_ends(&mut call, &sent);
    let bye = call.bob.request("BYE", "", "");
    call.server.receive(BOB, &bye);
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    byes(&mut call, &sent, &[CAROL]);
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn a_transfer_that_fails_leaves_the_music_playing() {
    let (mut call, _) = hearing();
    let carols = referred(&mut call);
    let sent = call.server.receive(CAROL, &response(&carols, "486 Busy Here", "c", CAROL, "", ""));
    notified(&mut call.server, &sent, BOB);
    assert!(to(&sent, MUSIC).is_empty() && to(&sent, ALICE).is_empty());
    let sent = resume(&mut call);
    music_ends(&mut call, &sent);
    call.end();
}

#[test]
pub(crate) fn a_transfer_waits_for_no_music_that_is_only_called() {
    let (mut call, asks) = held();
    call.server.receive(MUSIC, &response(&asks, "180 Ringing", "m", MUSIC, "", ""));
    let refer = call.bob.request("REFER", "Refer-To: <sip:carol@sip.test>\r\n", "");
    let sent = call.server.receive(BOB, &refer);
    assert_eq!((code(to(&sent, BOB)[0]), method(only(&sent, MUSIC))), (200, "CANCEL"));
    notified(&mut call.server, &sent, BOB);
    let carols = only(&sent, CAROL).clone();
    call.server.receive(MUSIC, &response(&asks, "487 Request Terminated", "m", MUSIC, "", ""));
    let sent = call.server.receive(CAROL, &response(&carols, "200 OK", "c", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    let sent = accept(&mut call, ALICE, &reinvite, OFFER);
    notified(&mut call.server, &sent, BOB);
    let bye = call.bob.request("BYE", "", "");
    call.server.receive(BOB, &bye);
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    byes(&mut call, &sent, &[CAROL]);
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn a_transfer_that_comes_while_the_music_is_being_joined_takes_place() {
    let (mut call, asks) = held();
    let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "m", MUSIC, "", PLAYED));
    let plays = only(&sent, ALICE).clone();
    let refer = call.bob.request("REFER", "Refer-To: <sip:carol@sip.test>\r\n", "");
    let sent = call.server.receive(BOB, &refer);
    notified(&mut call.server, &sent, BOB);
    byes(&mut call, &sent, &[MUSIC]);
    let carols = only(&sent, CAROL).clone();
    // She takes the offer of who is gone, and gets that of bob again.
    let sent = accept(&mut call, ALICE, &plays, &format!("{OFFER}{HEARS}"));
    let again =
        to(&sent, ALICE).into_iter().find(|message| method(message) == "INVITE").expect("an INVITE").clone();
    assert!(body(&again).contains("c=IN IP4 127.0.0.3\r\n"), "{}", body(&again));
    accept(&mut call, ALICE, &again, &format!("{OFFER}{HEARS}"));
    let sent = call.server.receive(CAROL, &response(&carols, "200 OK", "c", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    assert!(body(&reinvite).contains("c=IN IP4 127.0.0.4\r\n"), "{}", body(&reinvite));
    let sent = accept(&mut call, ALICE, &reinvite, OFFER);
    assert!(notified(&mut call.server, &sent, BOB).ends_with("200 OK"));
    let bye = call.bob.request("BYE", "", "");
    call.server.receive(BOB, &bye);
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    byes(&mut call, &sent, &[CAROL]);
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn one_who_hears_music_is_joined_with_whom_the_holder_has_asked() {
    let (mut call, _) = hearing();
    let (consult, _) = consulted(&mut call);
    let refer = call.bob.request("REFER", &replacing(&consult), "");
    let sent = call.server.receive(BOB, &refer);
    notified(&mut call.server, &sent, BOB);
    let asks = only(&sent, CAROL).clone();
    let sent = call.server.receive(CAROL, &response(&asks, "200 OK", "", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    let sent = accept(&mut call, ALICE, &reinvite, OFFER);
    music_ends(&mut call, &sent);
    notified(&mut call.server, &sent, BOB);
    byes(&mut call, &sent, &[BOB]);
    let bye = call.bob.request("BYE", "", "");
    call.server.receive(BOB, &bye);
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    byes(&mut call, &sent, &[CAROL]);
    at_rest(&mut call.server);
}

/// Bob has asked carol, who hears music meanwhile; he transfers in the call with alice.
#[test]
pub(crate) fn whom_the_holder_has_asked_hears_music_until_both_are_joined() {
    let mut call = talking_on(server(), "", "");
    let (mut consult, _) = consulted(&mut call);
    let hold = consult.request("INVITE", "", &format!("{ANSWER}{SENDS}"));
    let sent = call.server.receive(BOB, &hold);
    let carols = only(&sent, CAROL).clone();
    let mut sent = accept(&mut call, CAROL, &carols, &format!("{CAROLS}{HEARS}"));
    let ack = consult.request("ACK", "", "");
    sent.extend(call.server.receive(BOB, &ack));
    let asks = only(&sent, MUSIC).clone();
    let sent = call.server.receive(MUSIC, &response(&asks, "200 OK", "m", MUSIC, "", PLAYED));
    let plays = only(&sent, CAROL).clone();
    accept(&mut call, CAROL, &plays, &format!("{CAROLS}{HEARS}"));
    let refer = call.bob.request("REFER", &replacing(&consult), "");
    let mut sent = call.server.receive(BOB, &refer);
    // On another shard the music ends before the call goes to that of alice; here when they are joined.
    if let Some(bye) = to(&sent, MUSIC).first() {
        let bye = (*bye).clone();
        ok(&mut call.server, MUSIC, &bye);
        let again = only(&sent, CAROL).clone();
        accept(&mut call, CAROL, &again, &format!("{CAROLS}{HEARS}"));
        sent = call.server.pass(1);
    }
    notified(&mut call.server, &sent, BOB);
    let asks = to(&sent, CAROL)[0].clone();
    assert!(asks.body().is_empty(), "{}", body(&asks));
    let sent = call.server.receive(CAROL, &response(&asks, "200 OK", "", CAROL, "", CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    let sent = accept(&mut call, ALICE, &reinvite, OFFER);
    notified(&mut call.server, &sent, BOB);
    if let Some(bye) = to(&sent, MUSIC).first() {
        let bye = (*bye).clone();
        ok(&mut call.server, MUSIC, &bye);
    }
    byes(&mut call, &sent, &[BOB]);
    let bye = call.bob.request("BYE", "", "");
    call.server.receive(BOB, &bye);
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    byes(&mut call, &sent, &[CAROL]);
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn one_who_hears_music_and_is_parked_hears_the_same_on() {
    let (mut call, _) = hearing();
    let refer = call.bob.request("REFER", "Refer-To: <sip:*51@sip.test>\r\n", "");
    let sent = call.server.receive(BOB, &refer);
    assert!(to(&sent, ALICE).is_empty() && to(&sent, MUSIC).is_empty(), "{sent:?}");
    for notify in to(&sent, BOB).into_iter().filter(|message| method(message) == "NOTIFY") {
        ok(&mut call.server, BOB, notify);
    }
    let bye = call.bob.request("BYE", "", "");
    call.server.receive(BOB, &bye);
    let bye = call.alice.request("BYE", "", "");
    let sent = call.server.receive(ALICE, &bye);
    music_ends(&mut call, &sent);
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn another_phone_that_comes_in_place_of_the_holder_ends_the_music() {
    let (mut call, _) = hearing();
    let [call_id, local, remote] = call.bob.dialog();
    let extra =
        format!("Contact: <sip:bob@{CAROL}>\r\nReplaces: {call_id};to-tag={remote};from-tag={local}\r\n");
    let request = Request {
        uri: "sip:alice@sip.test",
        from: "sip:bob@sip.test",
        to: "sip:alice@sip.test",
        via: CAROL,
        call_id: "again",
        extra,
        ..invite("")
    };
    let sent = call.server.receive(CAROL, &text_of(&request, CAROLS));
    let reinvite = only(&sent, ALICE).clone();
    assert!(body(&reinvite).contains("c=IN IP4 127.0.0.4\r\n"), "{}", body(&reinvite));
    let sent = accept(&mut call, ALICE, &reinvite, OFFER);
    music_ends(&mut call, &sent);
    byes(&mut call, &sent, &[BOB]);
    let answer = to(&sent, CAROL).into_iter().find(|message| code(message) == 200).expect("a 200").clone();
    let mut carol = Phone::caller(CAROL, &answer);
    let ack = carol.request("ACK", "", "");
    call.server.receive(CAROL, &ack);
    let bye = carol.request("BYE", "", "");
    let sent = call.server.receive(CAROL, &bye);
    byes(&mut call, &sent, &[ALICE]);
    at_rest(&mut call.server);
}

#[test]
pub(crate) fn an_offer_that_comes_late_brings_the_two_together_again() {
    let (mut call, _) = hearing();
    let reinvite = call.bob.request("INVITE", "", "");
    let sent = call.server.receive(BOB, &reinvite);
    let alices = only(&sent, ALICE).clone();
    assert!(alices.body().is_empty());
    let sent = accept(&mut call, ALICE, &alices, OFFER);
    assert!(body(only(&sent, BOB)).ends_with("m=audio 4000 RTP/AVP 0\r\n"));
    let ack = call.bob.request("ACK", "", ANSWER);
    let sent = call.server.receive(BOB, &ack);
    assert!(body(only(&sent, ALICE)).contains("c=IN IP4 127.0.0.3\r\n"));
    music_ends(&mut call, &sent);
    call.end();
}

#[test]
pub(crate) fn lost_packets_delay_the_music_and_no_more() {
    let mut call = talking_on(server(), "", "");
    let reinvite = call.bob.request("INVITE", "", &format!("{ANSWER}{SENDS}"));
    let sent = call.server.receive(BOB, &reinvite);
    let alices = only(&sent, ALICE).clone();
    let answer = response(&alices, "200 OK", "", ALICE, "", &format!("{OFFER}{HEARS}"));
    // The first INVITE for who plays is lost, and so are the 200 to bob and what he has sent twice.
    call.server.receive(ALICE, &answer);
    assert_eq!(method(only(&call.server.receive(ALICE, &answer), ALICE)), "ACK");
    let sent = call.server.pass(1);
    let asks = to(&sent, MUSIC)[0].clone();
    assert!(code(to(&sent, BOB)[0]) == 200 && asks.body().is_empty());
    let ack = call.bob.request("ACK", "", "");
    call.server.receive(BOB, &ack);
    let plays = response(&asks, "200 OK", "m", MUSIC, "", PLAYED);
    call.server.receive(MUSIC, &plays);
    assert!(call.server.receive(MUSIC, &plays).is_empty(), "its ACK waits for alice");
    let sent = call.server.pass(1);
    let offered = to(&sent, ALICE)[0].clone();
    let heard = response(&offered, "200 OK", "", ALICE, "", &format!("{OFFER}{HEARS}"));
    call.server.receive(ALICE, &heard);
    let again = call.server.receive(MUSIC, &plays);
    assert_eq!(method(only(&again, MUSIC)), "ACK");
    assert_eq!(method(only(&call.server.receive(ALICE, &heard), ALICE)), "ACK");
    // The BYE is lost once.
    resume(&mut call);
    let sent = call.server.pass(1);
    let bye = to(&sent, MUSIC)[0].clone();
    assert_eq!(method(&bye), "BYE");
    ok(&mut call.server, MUSIC, &bye);
    call.end();
}

#[test]
pub(crate) fn a_full_server_holds_without_music() {
    let music = UriBuf::parse("sip:music@sip.test").ok();
    let bridges = BridgeSettings { music, ..BridgeSettings::default() };
    let limits = dialtone_roles::settings::Limits { bridges: 1, ..Default::default() };
    let mut server = server_with(Settings { bridges, limits, ..settings() }, &[BOB]);
    assert_eq!(server.status(MUSIC, &register("sip:music@sip.test", MUSIC, "reg-music").text()), 200);
    let mut call = talking_on(server, "", "");
    let sent = bob_offers(&mut call, &format!("{ANSWER}{SENDS}"), &format!("{OFFER}{HEARS}"));
    assert!(to(&sent, MUSIC).is_empty());
    resume(&mut call);
    assert_eq!(call.server.engine.counters().bridges_full, 1);
    call.end();
}
