//! What a refusal of one side is for the other, code by code and method by method: the answer that goes back, and whether
//! the call is over (RFC 3261 §12.2.1.2, §14.1, RFC 3311 §5.3, RFC 4028 §7.3).
//!
//! Which codes end a call beside 408 and 481 is what RFC 5057 §5.1 says; RFC 6665 §4.1.2.2 has the same list for
//! subscriptions, with 405, 489 and 501 that end nothing here.

use dialtone_roles::Settings;
use dialtone_roles::settings::{BridgeSettings, Domain, Mode, NextHops};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message};

use crate::b2bua::{
    ALICE, ANSWER, BOB, Call, OFFER, Phone, alices_invite, at_rest, body, code, method, only, response,
    server, server_with, talking_on, to, value,
};
use crate::peers::{Server, settings};

const ALLOW: &str =
    "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK, INFO, MESSAGE, REFER, NOTIFY, SUBSCRIBE\r\n";

/// What shows who has refused, and where he is.
const SECRETS: &str = "Server: InnerPhone\r\nUser-Agent: InnerPhone\r\nX-Where: 10.9.9.9\r\n\
                       Warning: 399 10.9.9.9 \"refused by gw.inner.example\", 399 gw.inner.example \"no tea\"\r\n";

/// Each final response: what goes back for it, and what of the call ends.
const CODES: &[(u16, u16, Ends)] = &[
    (300, 500, Ends::Nothing),
    (301, 500, Ends::Nothing),
    (302, 500, Ends::Nothing),
    (305, 500, Ends::Nothing),
    (380, 500, Ends::Nothing),
    (400, 400, Ends::Nothing),
    (401, 403, Ends::Nothing),
    (402, 402, Ends::Nothing),
    (403, 403, Ends::Nothing),
    (404, 404, Ends::OfCall),
    (405, 405, Ends::Nothing),
    (406, 406, Ends::Nothing),
    (407, 403, Ends::Nothing),
    (408, 408, Ends::OfDialog),
    (410, 410, Ends::OfCall),
    (413, 413, Ends::Nothing),
    (414, 414, Ends::Nothing),
    (415, 415, Ends::Nothing),
    (416, 416, Ends::OfCall),
    (420, 420, Ends::Nothing),
    (421, 421, Ends::Nothing),
    (422, 500, Ends::Nothing),
    (469, 469, Ends::Nothing),
    (480, 480, Ends::OfCall),
    (481, 481, Ends::OfDialog),
    (482, 482, Ends::OfCall),
    (483, 483, Ends::OfCall),
    (484, 484, Ends::OfCall),
    (485, 485, Ends::OfCall),
    (486, 486, Ends::Nothing),
    (487, 487, Ends::Nothing),
    (488, 488, Ends::Nothing),
    (489, 489, Ends::Nothing),
    (491, 491, Ends::Nothing),
    (493, 493, Ends::Nothing),
    (494, 403, Ends::Nothing),
    (499, 499, Ends::Nothing),
    (500, 500, Ends::Nothing),
    (501, 501, Ends::Nothing),
    (502, 502, Ends::OfCall),
    (503, 500, Ends::Nothing),
    (504, 504, Ends::Nothing),
    (505, 505, Ends::Nothing),
    (513, 513, Ends::Nothing),
    (580, 580, Ends::Nothing),
    (600, 600, Ends::Nothing),
    (603, 603, Ends::Nothing),
    (604, 604, Ends::OfCall),
    (606, 606, Ends::Nothing),
];

/// What ends with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Nothing,
    /// The call, when a request was refused that belongs to it.
    OfCall,
    /// The call, whatever was refused that is no subscription's.
    OfDialog,
}

impl Ends {
    fn call(self, method: &str) -> bool {
        match method {
            "INVITE" | "UPDATE" | "INFO" => self != Ends::Nothing,
            "REFER" | "MESSAGE" => self == Ends::OfDialog,
            _ => false,
        }
    }
}

/// A call in which each request passes.
fn passing() -> Call {
    let bridges = BridgeSettings { transfers: false, ..BridgeSettings::default() };
    talking_on(server_with(Settings { bridges, ..settings() }, &[BOB]), ALLOW, ALLOW)
}

/// What a phone sends with a method.
fn parts(method: &str) -> (&'static str, String) {
    let changed = format!("{OFFER}a=sendonly\r\n");
    match method {
        "INVITE" | "UPDATE" => ("", changed),
        "REFER" => ("Refer-To: <sip:carol@sip.test>\r\n", String::new()),
        "NOTIFY" => ("Event: refer\r\nSubscription-State: active;expires=60\r\n", String::new()),
        "SUBSCRIBE" => ("Event: refer\r\nExpires: 60\r\n", String::new()),
        _ => ("", String::new()),
    }
}

fn refusal(request: &Message, code: u16, phone: &str, extra: &str) -> String {
    response(request, &format!("{code} Refused at 10.9.9.9"), "", phone, &format!("{extra}{SECRETS}"), "")
}

fn shows_nothing_of(phone: &str, message: &Message) {
    let text = String::from_utf8_lossy(message.bytes()).into_owned();
    for secret in [phone, "InnerPhone", "10.9.9.9", "inner.example"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn a_refusal_in_a_dialog_goes_back_as_the_table_says_and_ends_the_call_where_that_is_gone() {
    for asked in ["INVITE", "UPDATE", "INFO", "REFER", "MESSAGE", "NOTIFY", "SUBSCRIBE"] {
        for (near, far) in [(ALICE, BOB), (BOB, ALICE)] {
            for &(refused, expected, ends) in CODES {
                let what = format!("{refused} to the {asked} from {near}");
                let mut call = passing();
                let (extra, body) = parts(asked);
                let phone = if near == ALICE { &mut call.alice } else { &mut call.bob };
                let request = phone.request(asked, extra, &body);
                let sent = call.server.receive(near, &request);
                let at_far = only(&sent, far).clone();
                let sent = call.server.receive(far, &refusal(&at_far, refused, far, "Retry-After: 7\r\n"));
                let answer = to(&sent, near).into_iter().find(|message| !message.is_request());
                // RFC 4320 §4.1: nobody is sent a 408, and bob's end with the proxy between.
                let is_dropped = refused == 408 && asked != "INVITE" && far == BOB;
                let expected = if refused == 408 && asked != "INVITE" { 504 } else { expected };
                if is_dropped {
                    assert!(answer.is_none(), "{what}: {sent:?}");
                    let sent = call.server.pass(33);
                    let byes = sent.iter().filter(|(_, message)| method(message) == "BYE");
                    assert_eq!(byes.count() > 0, ends.call(asked), "{what}: {sent:?}");
                    continue;
                }
                let answer = answer.unwrap_or_else(|| panic!("{what}: {sent:?}"));
                assert_eq!(code(answer), expected, "{what}");
                assert!(!answer.has(HeaderName::Contact) || expected == 200, "{what}");
                assert!(answer.has(HeaderName::RetryAfter), "{what}");
                shows_nothing_of(far, answer);
                let byes: Vec<_> =
                    sent.iter().filter(|(_, message)| method(message) == "BYE").cloned().collect();
                assert_eq!(byes.len(), if ends.call(asked) { 2 } else { 0 }, "{what}: {sent:?}");
                if byes.is_empty() {
                    call.end();
                } else {
                    for (address, bye) in byes {
                        call.server.receive(&address, &response(&bye, "200 OK", "", &address, "", ""));
                    }
                    at_rest(&mut call.server);
                }
            }
        }
    }
}

#[test]
fn options_in_a_dialog_never_reaches_the_other_side() {
    let mut call = passing();
    let (from_alice, from_bob) = (call.alice.request("OPTIONS", "", ""), call.bob.request("OPTIONS", "", ""));
    for (near, request) in [(ALICE, from_alice), (BOB, from_bob)] {
        let sent = call.server.receive(near, &request);
        assert_eq!((sent.len(), code(only(&sent, near))), (1, 200));
    }
    call.end();
}

/// A call that rings at bob, whose 183 waits for alice's PRACK; and alice.
fn with_early_media() -> (Server, Message, Phone, String) {
    let mut server = server();
    let sent = server.receive(ALICE, &alices_invite(&format!("Supported: 100rel\r\n{ALLOW}"), OFFER));
    let invite = only(&sent, BOB).clone();
    let reliable = format!("Require: 100rel\r\nRSeq: 17\r\n{ALLOW}");
    let sent = server.receive(BOB, &response(&invite, "183 Session Progress", "t", BOB, &reliable, ANSWER));
    let progress = only(&sent, ALICE).clone();
    let rack = format!("RAck: {} 1 INVITE\r\n", value(&progress, HeaderName::RSeq));
    (server, invite, Phone::caller(ALICE, &progress), rack)
}

#[test]
fn a_refused_prack_or_early_update_goes_back_and_the_call_that_rings_goes_on() {
    for asked in ["PRACK", "UPDATE"] {
        for &(refused, expected, _) in CODES {
            let (mut server, invite, mut alice, rack) = with_early_media();
            let sent = server.receive(ALICE, &alice.request("PRACK", &rack, ""));
            let mut at_bob = only(&sent, BOB).clone();
            if asked == "UPDATE" {
                server.receive(BOB, &response(&at_bob, "200 OK", "", BOB, "", ""));
                let update = alice.request("UPDATE", "", &format!("{OFFER}a=sendonly\r\n"));
                at_bob = only(&server.receive(ALICE, &update), BOB).clone();
            }
            let sent = server.receive(BOB, &refusal(&at_bob, refused, BOB, ""));
            // RFC 4320 §4.1: the proxy between lets no 408 pass.
            if refused != 408 {
                assert_eq!(code(only(&sent, ALICE)), expected, "{refused} to {asked}");
                shows_nothing_of(BOB, only(&sent, ALICE));
            }
            let sent = server.receive(BOB, &response(&invite, "200 OK", "t", BOB, "", ""));
            let ok = only(&sent, ALICE).clone();
            assert_eq!((code(&ok), method(only(&sent, BOB))), (200, "ACK"), "{refused} to {asked}");
            let cseq = std::mem::replace(&mut alice.cseq, 1);
            let ack = alice.request("ACK", "", "");
            server.receive(ALICE, &ack);
            alice.cseq = cseq;
            let bob = Phone::callee(BOB, &invite, "t");
            Call { server, alice, bob, bobs_invite: invite, alices_answer: ok }.end();
        }
    }
}

#[test]
fn an_interval_that_is_too_small_for_one_side_is_asked_for_again_and_the_other_never_hears_of_it() {
    for asked in ["INVITE", "UPDATE"] {
        for (near, far) in [(ALICE, BOB), (BOB, ALICE)] {
            let what = format!("{asked} from {near}");
            let mut call = passing();
            let phone = if near == ALICE { &mut call.alice } else { &mut call.bob };
            let request = phone.request(asked, "", &parts(asked).1);
            let mut at_far = only(&call.server.receive(near, &request), far).clone();
            for wanted in [3_600, 7_200] {
                let small = refusal(&at_far, 422, far, &format!("Min-SE: {wanted}\r\n"));
                let sent = call.server.receive(far, &small);
                assert!(to(&sent, near).is_empty(), "{what}: {sent:?}");
                let again = to(&sent, far).into_iter().find(|message| method(message) == asked).cloned();
                let again = again.unwrap_or_else(|| panic!("{what}: {sent:?}"));
                assert_eq!(again.cseq().unwrap().number, at_far.cseq().unwrap().number + 1, "{what}");
                assert_eq!(body(&again), body(&at_far), "{what}: the same version of the same offer");
                let timer = [HeaderName::SessionExpires, HeaderName::MinSe].map(|name| value(&again, name));
                assert!(
                    timer.iter().all(|value| value.starts_with(&wanted.to_string())),
                    "{what}: {timer:?}"
                );
                at_far = again;
            }
            let sent = call.server.receive(far, &response(&at_far, "200 OK", "", far, "", ANSWER));
            let ok = only(&sent, near).clone();
            assert_eq!(code(&ok), 200, "{what}");
            assert!(
                !value(&ok, HeaderName::SessionExpires).starts_with("7200"),
                "{what}: an interval of its own"
            );
            if asked == "INVITE" {
                let phone = if near == ALICE { &mut call.alice } else { &mut call.bob };
                let ack = phone.request("ACK", "", "");
                assert!(call.server.receive(near, &ack).is_empty(), "{what}");
            }
            call.end();
        }
    }
}

#[test]
fn a_side_that_wants_a_longer_interval_each_time_is_left_and_500_goes_back() {
    for asked in ["INVITE", "UPDATE"] {
        let mut call = passing();
        let request = call.alice.request(asked, "", &parts(asked).1);
        let mut at_bob = only(&call.server.receive(ALICE, &request), BOB).clone();
        let mut tries = 1;
        let last = loop {
            let small = refusal(&at_bob, 422, BOB, &format!("Min-SE: {}\r\n", 3_600 + tries));
            let sent = call.server.receive(BOB, &small);
            if let Some(last) = to(&sent, ALICE).first() {
                break code(last);
            }
            at_bob =
                to(&sent, BOB).into_iter().find(|message| method(message) == asked).expect("again").clone();
            tries += 1;
        };
        assert_eq!((last, tries), (500, 9), "{asked}");
        call.end();
    }
}

#[test]
fn a_reinvite_whose_sender_has_cancelled_it_is_not_sent_again_for_its_interval() {
    let mut call = passing();
    let request = call.alice.request("INVITE", "", &parts("INVITE").1);
    let at_bob = only(&call.server.receive(ALICE, &request), BOB).clone();
    call.server.receive(BOB, &response(&at_bob, "100 Trying", "", BOB, "", ""));
    let sent = call.server.receive(ALICE, &crate::b2bua_dialog::cancel_of(&request));
    assert_eq!(to(&sent, ALICE).into_iter().map(code).collect::<Vec<_>>(), [200, 487]);
    let sent = call.server.receive(BOB, &refusal(&at_bob, 422, BOB, "Min-SE: 3600\r\n"));
    assert_eq!(to(&sent, BOB).into_iter().map(method).collect::<Vec<_>>(), ["ACK"]);
    call.end();
}

#[test]
fn a_refusal_of_a_call_goes_back_as_the_table_says_and_shows_nothing_of_who_refused() {
    for &(refused, in_dialog, _) in CODES {
        // Of a redirection its places pass, and bob's own is none that may be seen.
        let expected = if refused < 400 { 480 } else { in_dialog };
        let mut server = server();
        let sent = server.receive(ALICE, &alices_invite("Supported: histinfo\r\n", OFFER));
        let at_bob = only(&sent, BOB).clone();
        // The server itself asks again where an interval is too small, and where nothing is said of a wait.
        let extra = "Retry-After: 7\r\nRecord-Route: <sip:10.9.9.9;lr>\r\n";
        let text = refusal(&at_bob, refused, BOB, extra)
            .replace("To: <sip:bob@sip.test>", "To: <sip:bob@sip.test>;tag=t");
        let sent = server.receive(BOB, &text);
        let answer = to(&sent, ALICE).into_iter().find(|message| code(message) >= 300);
        let answer = answer.unwrap_or_else(|| panic!("{refused}: {sent:?}"));
        assert_eq!(code(answer), expected, "{refused}");
        shows_nothing_of(BOB, answer);
        assert!(!answer.has(HeaderName::Contact) && !answer.has(HeaderName::RecordRoute), "{answer:?}");
        at_rest(&mut server);
    }
}

#[test]
fn a_redirection_leads_to_domains_and_not_to_addresses() {
    let contacts =
        "<sip:carol@elsewhere.test>;q=0.7;x=1, <sip:carol@10.9.9.9>, \"C\" <tel:+49301>, <sip:[2001:db8::9]>";
    const INNER: &str = "127.0.0.7:5060";
    let next_hops = NextHops(vec![UriBuf::parse("sip:127.0.0.7").expect("a URI")]);
    let domain = Domain { name: "sip.test".into(), mode: Mode::B2bua, next_hops, ..Domain::default() };
    let mut server = Server::new(Settings { authenticate: false, domains: vec![domain], ..settings() });
    let sent = server.receive(ALICE, &alices_invite("", OFFER));
    let at_inner = only(&sent, INNER).clone();
    let moved = response(&at_inner, "302 Moved", "t", INNER, "", "")
        .replace("Contact: <sip:x@127.0.0.7:5060>", &format!("Contact: {contacts}"));
    let sent = server.receive(INNER, &moved);
    let moved = to(&sent, ALICE).into_iter().find(|message| code(message) == 302).expect("a redirection");
    let led: Vec<_> = moved.values(HeaderName::Contact).map(String::from_utf8_lossy).collect();
    assert_eq!(led, ["<sip:carol@elsewhere.test>;q=0.7", "<tel:+49301>"]);
}

#[test]
fn a_warning_passes_with_the_words_of_its_code_and_own_words_that_name_no_place() {
    let mut call = passing();
    let request = call.alice.request("INVITE", "", &parts("INVITE").1);
    let at_bob = only(&call.server.receive(ALICE, &request), BOB).clone();
    let warnings = "Warning: 305 10.9.9.9:5060 \"10.9.9.9 has no such format\", 399 inner \"no tea\"\r\n\
                    Warning: 399 inner \"ask 10.9.9.9\"\r\nWarning: nonsense\r\n";
    let sent = call.server.receive(BOB, &response(&at_bob, "488 Not Acceptable Here", "", BOB, warnings, ""));
    let told: Vec<_> = only(&sent, ALICE).values(HeaderName::Warning).map(String::from_utf8_lossy).collect();
    assert_eq!(told, ["305 Dialtone \"Incompatible media format\"", "399 Dialtone \"no tea\""]);
    call.end();
}

#[test]
fn a_refresh_of_ours_that_comes_too_early_is_sent_when_the_other_side_wants_it() {
    let grants = format!("{ALLOW}Require: timer\r\nSession-Expires: 600;refresher=uac\r\n");
    let mut call = talking_on(
        server(),
        &format!("{ALLOW}Supported: timer\r\nSession-Expires: 7200;refresher=uac\r\n"),
        &grants,
    );
    let sent = call.server.pass(300);
    let update = only(&sent, BOB).clone();
    assert_eq!(method(&update), "UPDATE");
    call.server.receive(BOB, &refusal(&update, 500, BOB, "Retry-After: 9\r\n"));
    assert!(call.server.pass(8).is_empty(), "not before its time");
    let sent = call.server.pass(1);
    let again = only(&sent, BOB).clone();
    let small = refusal(&again, 422, BOB, "Min-SE: 900\r\n");
    let sent = call.server.receive(BOB, &small);
    assert_eq!(value(only(&sent, BOB), HeaderName::SessionExpires), "900;refresher=uac");
    let granted = "Require: timer\r\nSession-Expires: 900;refresher=uac\r\n";
    let again = only(&sent, BOB).clone();
    call.server.receive(BOB, &response(&again, "200 OK", "", BOB, granted, ""));
    call.end();
}
