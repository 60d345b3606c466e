//! What the phone refuses, with which status and which headers.

use dialtone_wire::HeaderName;

use super::bench::{Bench, header, sdp, settings};
use super::callee::request;
use crate::settings::Settings;

/// What the phone says that it handles.
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, REFER, NOTIFY, INFO";

/// Gives a request and compares the final response: its status and, if asked for, one header. A response has a To tag.
fn check(text: &str, status: u16, expected: Option<(HeaderName, &str)>) {
    let mut bench = Bench::phone();
    bench.receive(text);
    let response = bench.take();
    assert_eq!(response.status().unwrap().code(), status, "{text}");
    assert!(response.to().unwrap().tag().is_some());
    if let Some((name, value)) = expected {
        assert_eq!(header(&response, name), value, "{text}");
    }
    assert_eq!(bench.ended(), None);
    bench.assert_at_rest();
}

#[test]
fn methods_that_are_not_handled() {
    let allow = ALLOW;
    for method in ["REGISTER", "MESSAGE"] {
        check(&request(method, 1, "", "", ""), 405, Some((HeaderName::Allow, allow)));
    }
    check(&request("FROB", 1, "", "", ""), 501, Some((HeaderName::Allow, allow)));
    // RFC 3311 §5.2, RFC 3262 §3: they belong into a dialog.
    for method in ["UPDATE", "PRACK"] {
        check(&request(method, 1, "", "", ""), 481, None);
    }
}

#[test]
fn events_that_nobody_here_knows() {
    for method in ["SUBSCRIBE", "PUBLISH"] {
        check(&request(method, 1, "", "Event: presence\r\n", ""), 489, None);
    }
    // RFC 3515 §2.4.4: only a REFER subscribes to it.
    check(&request("SUBSCRIBE", 1, "", "Event: refer\r\n", ""), 403, None);
    check(&request("SUBSCRIBE", 1, "", "Event: ;\r\n", ""), 400, None);
    check(&request("NOTIFY", 1, "", "Event: presence\r\nSubscription-State: active\r\n", ""), 481, None);
}

#[test]
fn a_body_that_is_too_large_or_encrypted_and_an_answer_that_is_not_wanted() {
    let large = format!("{}a=x:{}\r\n", sdp(4000, "sendrecv"), "y".repeat(16 * 1024));
    check(&request("INVITE", 1, "", "", &large), 413, None);
    let invite = request("INVITE", 1, "", "", &sdp(4000, "sendrecv"));
    check(&invite.replace("application/sdp", "application/pkcs7-mime;smime-type=enveloped-data"), 493, None);
    let accept = Some((HeaderName::Accept, "application/sdp"));
    for wanted in ["text/plain", "", "application/sdp;q=0.0", "audio/*, text/*"] {
        let more = format!("Accept: {wanted}\r\n");
        check(&request("INVITE", 1, "", &more, &sdp(4000, "sendrecv")), 406, accept);
    }
    for wanted in ["application/sdp;q=0.5", "text/plain, application/*", "*/*"] {
        let mut bench = Bench::phone();
        let more = format!("Accept: {wanted}\r\n");
        bench.receive(&request("INVITE", 1, "", &more, &sdp(4000, "sendrecv")));
        assert_eq!(bench.take_all(), "180/INVITE", "{wanted}");
    }
}

#[test]
fn the_user_can_refuse_with_any_code_and_an_unacceptable_session_has_a_warning() {
    for code in [480, 486, 488, 600, 603, 606, 699] {
        let mut bench = Bench::phone();
        bench.receive(&request("INVITE", 1, "", "", &sdp(4000, "sendrecv")));
        bench.take();
        let call = bench.last_call();
        bench.command(crate::io::Command::Decline { call, status: dialtone_wire::Status::of(code) });
        let refused = bench.take();
        assert_eq!(refused.status().unwrap().code(), code);
        assert_eq!(refused.has(HeaderName::Warning), matches!(code, 488 | 606), "{code}");
        assert_eq!(bench.ended().as_deref(), Some("LocalHangup"));
    }
}

#[test]
fn requests_of_dialogs_that_are_not_there() {
    check(&request("BYE", 1, "", "", ""), 481, None);
    for method in ["BYE", "INVITE", "OPTIONS", "UPDATE"] {
        check(&request(method, 1, "gone", "", ""), 481, None);
    }
}

#[test]
fn what_is_required_and_not_understood_is_named() {
    let expected = Some((HeaderName::Unsupported, "foo, bar"));
    for method in ["INVITE", "OPTIONS"] {
        check(&request(method, 1, "", "Require: 100rel, foo, TIMER, bar\r\n", ""), 420, expected);
    }
}

#[test]
fn bodies_that_are_no_session_description() {
    let invite = |kind: &str| {
        request("INVITE", 1, "", "", &sdp(4000, "sendrecv")).replace("Content-Type: application/sdp", kind)
    };
    let accept = Some((HeaderName::Accept, "application/sdp"));
    check(&invite("Content-Type: text/plain"), 415, accept);
    check(&invite("X-Nothing: 1"), 415, accept);
    check(&invite("Content-Type: multipart/mixed;boundary=x"), 415, accept);
    check(
        &invite("Content-Encoding: gzip\r\nContent-Type: application/sdp"),
        415,
        Some((HeaderName::AcceptEncoding, "identity")),
    );
    check(&invite("Content-Type: nonsense"), 400, None);
}

#[test]
fn a_body_that_may_be_ignored_is_ignored() {
    let mut bench = Bench::phone();
    let disposition = "Content-Disposition: icon;handling=optional\r\n";
    let invite = request("INVITE", 1, "", disposition, "png").replace("application/sdp", "image/png");
    bench.receive(&invite);
    assert_eq!(bench.take_all(), "180/INVITE");
}

#[test]
fn session_descriptions_that_cannot_be_used() {
    let broken = sdp(4000, "sendrecv").replace("m=audio 4000", "m=audio 99999");
    let expected = "399 Test \"SDP line 6: expected a port from 0 to 65535\"";
    check(&request("INVITE", 1, "", "", &broken), 400, Some((HeaderName::Warning, expected)));
    let expected = Some((HeaderName::Warning, "305 Test \"Incompatible media format\""));
    let codec = sdp(4000, "sendrecv").replace("AVP 0", "AVP 18").replace("0 PCMU", "18 G729");
    check(&request("INVITE", 1, "", "", &codec), 488, expected);
    check(&request("INVITE", 1, "", "", &sdp(4000, "sendrecv").replace("audio", "video")), 488, expected);
}

#[test]
fn the_decks_invite_is_refused_for_the_line_that_its_length_cuts() {
    let invite = include_str!("../../../../../tests/messages/deck/invite-behind-nat.sip");
    let to_us = invite.replace("INVITE sip:Rob@orange.com", "INVITE sip:alice@192.0.2.1");
    let expected = "399 Test \"SDP line 8 (cut short): expected m=<media> <port> <proto> <fmt> …\"";
    check(&to_us, 400, Some((HeaderName::Warning, expected)));
}

#[test]
fn where_that_is_chosen_the_decks_invite_is_read_to_its_end() {
    let invite = include_str!("../../../../../tests/messages/deck/invite-behind-nat.sip");
    let to_us = invite.replace("INVITE sip:Rob@orange.com", "INVITE sip:alice@192.0.2.1");
    let mut bench = Bench::new(Settings { lenient: true, ..settings("alice", "192.0.2.1:5060") });
    bench.receive(&to_us);
    assert_eq!(bench.take_all(), "180/INVITE");
}

#[test]
fn an_invite_without_contact() {
    let invite = request("INVITE", 1, "", "", &sdp(4000, "sendrecv"));
    check(&invite.replace("Contact: <sip:bob@192.0.2.9>\r\n", ""), 400, None);
}

#[test]
fn an_invite_that_came_on_another_path_too() {
    let mut bench = Bench::phone();
    let invite = request("INVITE", 1, "", "", &sdp(4000, "sendrecv"));
    bench.receive(&invite);
    bench.receive(&invite.replace("z9hG4bKINVITE1", "z9hG4bKother"));
    assert_eq!(bench.take_all(), "180/INVITE 482/INVITE");
}

#[test]
fn more_calls_than_the_limit_and_calls_without_ports() {
    let mut few = settings("alice", "192.0.2.1:5060");
    few.limits.calls = 1;
    let mut bench = Bench::new(few);
    bench.receive(&request("INVITE", 1, "", "", &sdp(4000, "sendrecv")));
    bench
        .receive(&request("INVITE", 2, "", "", &sdp(4000, "sendrecv")).replace("Call-ID: c1", "Call-ID: c2"));
    // RFC 3261 §11.2: OPTIONS is answered as an INVITE would be.
    bench.receive(&request("OPTIONS", 3, "", "", "").replace("Call-ID: c1", "Call-ID: c3"));
    assert_eq!(bench.take_all(), "180/INVITE 486/INVITE 486/OPTIONS");
    bench.command(crate::io::Command::Call {
        token: 9,
        to: super::bench::uri("sip:bob@192.0.2.9"),
        play: crate::io::Play::Silence,
    });
    assert_eq!(bench.take_all(), "");
    assert_eq!(bench.ended().as_deref(), Some("Overload"));

    let mut none = settings("alice", "192.0.2.1:5060");
    none.limits.leases_ready = 0;
    let mut bench = Bench::new(none);
    bench.receive(&request("INVITE", 1, "", "", &sdp(4000, "sendrecv")));
    let refused = bench.take();
    assert_eq!(refused.status().unwrap().code(), 480);
    assert_eq!(header(&refused, HeaderName::RetryAfter), "1");
    bench.assert_at_rest();
}

#[test]
fn options_say_what_the_phone_can_do() {
    let mut bench = Bench::phone();
    bench.receive(&request("OPTIONS", 1, "", "Accept: application/sdp;level=1\r\n", ""));
    let ok = bench.take();
    assert_eq!(ok.status().unwrap().code(), 200);
    assert_eq!(header(&ok, HeaderName::Allow), ALLOW);
    assert_eq!(header(&ok, HeaderName::Accept), "application/sdp");
    assert!(ok.has(HeaderName::Supported) && ok.has(HeaderName::AcceptLanguage));
    assert!(ok.has(HeaderName::AcceptEncoding));
    // RFC 3264 §9.
    assert!(String::from_utf8_lossy(ok.body()).contains("m=audio 0 RTP/AVP 0 8\r\n"));
    bench.receive(&request("OPTIONS", 2, "", "", ""));
    assert!(bench.take().body().is_empty());
    bench.assert_at_rest();
}
