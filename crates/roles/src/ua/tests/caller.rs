//! Calls that the phone makes, against a scripted peer.

use std::time::Duration;

use dialtone_wire::{HeaderName, Message};

use super::bench::{Bench, brief, header, response, sdp};
use crate::io::Command;

const CONTACT: &str = "Contact: <sip:bob@192.0.2.9>";
const CHALLENGE: &str = "Proxy-Authenticate: Digest realm=\"example.com\", nonce=\"n1\", qop=\"auth\"";

fn branch(message: &Message) -> String {
    message.via().unwrap().branch().unwrap().to_owned()
}

/// The phone in a call that it made.
fn in_call() -> (Bench, crate::io::CallHandle, Message) {
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    bench.respond(&invite, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
    assert_eq!(bench.take_all(), "ACK");
    (bench, call, invite)
}

fn hang_up(bench: &mut Bench, call: crate::io::CallHandle) {
    bench.command(Command::Hangup { call });
    let bye = bench.take();
    bench.respond(&bye, 200, "b", "", "");
    assert_eq!(bench.ended().as_deref(), Some("LocalHangup"));
}

#[test]
fn a_challenge_is_answered_with_the_same_call_id_and_the_next_cseq() {
    let mut bench = Bench::phone();
    let (call, first) = bench.call_bob();
    bench.respond(&first, 407, "p", CHALLENGE, "");
    assert_eq!(bench.take().method().unwrap().as_str(), "ACK");
    let second = bench.take();
    assert_eq!(second.call_id().unwrap(), first.call_id().unwrap());
    assert_eq!(header(&second, HeaderName::From), header(&first, HeaderName::From));
    assert_eq!(second.cseq().unwrap().number, first.cseq().unwrap().number + 1);
    assert_ne!(branch(&second), branch(&first));
    assert_eq!(second.body(), first.body());
    let credentials = header(&second, HeaderName::ProxyAuthorization);
    assert!(credentials.contains("username=\"alice\"") && credentials.contains("nonce=\"n1\""));
    bench.respond(&second, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
    // RFC 3261 §22.1: the ACK has the credentials of its INVITE.
    let ack = bench.take();
    assert_eq!(header(&ack, HeaderName::ProxyAuthorization), credentials);
    assert_eq!(ack.cseq().unwrap().number, second.cseq().unwrap().number);
    // A later request within the dialog carries credentials unasked, with the next nonce count.
    bench.command(Command::Hangup { call });
    let bye = bench.take();
    assert!(header(&bye, HeaderName::ProxyAuthorization).contains("nc=00000002"));
    assert_eq!(bye.cseq().unwrap().number, second.cseq().unwrap().number + 1);
    // The nonce is too old: a stale challenge is answered without asking anybody.
    bench.respond(&bye, 407, "b", &CHALLENGE.replace("n1\"", "n2\", stale=true"), "");
    let again = bench.take();
    assert!(header(&again, HeaderName::ProxyAuthorization).contains("nonce=\"n2\""));
    assert_eq!(again.cseq().unwrap().number, bye.cseq().unwrap().number + 1);
    bench.respond(&again, 200, "b", "", "");
    assert_eq!(bench.ended().as_deref(), Some("LocalHangup"));
    bench.assert_at_rest();
}

#[test]
fn two_realms_are_answered_together_and_a_second_refusal_means_a_wrong_password() {
    let mut bench = Bench::phone();
    let (_, first) = bench.call_bob();
    let other = CHALLENGE.replace("example.com", "other.example");
    bench.respond(&first, 407, "p", &format!("{CHALLENGE}\n{other}"), "");
    assert_eq!(bench.take_all().split(' ').next(), Some("ACK"));
    let mut bench = Bench::phone();
    let (_, first) = bench.call_bob();
    bench.respond(&first, 407, "p", &format!("{CHALLENGE}\n{other}"), "");
    bench.take();
    let second = bench.take();
    assert_eq!(second.values(HeaderName::ProxyAuthorization).count(), 2);
    bench.respond(&second, 407, "p", CHALLENGE, "");
    assert_eq!(bench.take_all(), "ACK");
    assert_eq!(bench.ended().as_deref(), Some("WrongPassword"));
    bench.assert_at_rest();
}

#[test]
fn a_challenge_that_cannot_be_answered_ends_the_call() {
    let mut bench = Bench::phone();
    let (_, invite) = bench.call_bob();
    bench.respond(&invite, 401, "p", "WWW-Authenticate: Basic realm=\"x\"", "");
    assert_eq!(bench.ended().as_deref(), Some("Refused(401 Unauthorized)"));
    bench.assert_at_rest();
}

#[test]
fn codes_that_nobody_has_defined_count_as_the_first_of_their_class() {
    // RFC 3261 §8.1.3.2: 189 as 183, 299 as 200, 399 to 699 as 300 to 600.
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    bench.respond(&invite, 189, "b", CONTACT, "");
    bench.respond(&invite, 299, "b", CONTACT, &sdp(4000, "sendrecv"));
    assert_eq!(bench.take_all(), "ACK");
    let events = bench.events().join(" ");
    assert!(events.contains("Progress") && events.contains("Answered"), "{events}");
    hang_up(&mut bench, call);
    for code in [399, 499, 599, 699] {
        let mut bench = Bench::phone();
        let (_, invite) = bench.call_bob();
        bench.respond(&invite, code, "b", "", "");
        assert_eq!(bench.take_all(), "ACK", "{code}");
        assert!(bench.ended().is_some_and(|reason| reason.starts_with(&format!("Refused({code}"))), "{code}");
        bench.assert_at_rest();
    }
}

#[test]
fn one_branch_of_a_fork_becomes_the_call_and_the_other_is_acknowledged_and_hung_up() {
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    bench.respond(&invite, 180, "a", CONTACT, "");
    bench.respond(&invite, 183, "b", CONTACT, "");
    bench.respond(&invite, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
    let ack = bench.transmits[0].bytes.clone();
    assert_eq!(bench.take_all(), "ACK");
    bench.respond(&invite, 200, "a", CONTACT, &sdp(5000, "sendrecv"));
    assert_eq!(bench.take().to().unwrap().tag(), Some("a"));
    let bye = bench.take();
    assert_eq!((bye.method().unwrap().as_str(), bye.to().unwrap().tag()), ("BYE", Some("a")));
    bench.respond(&bye, 200, "a", "", "");
    // A repeated 2xx gets the very same ACK.
    bench.respond(&invite, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
    assert_eq!(bench.transmits[0].bytes, ack);
    assert_eq!(bench.take_all(), "ACK");
    bench.respond(&invite, 200, "a", CONTACT, &sdp(5000, "sendrecv"));
    assert_eq!(bench.take_all(), "ACK");
    assert_eq!(bench.media_of_call(), ["192.0.2.9:4000 sendrecv"]);
    hang_up(&mut bench, call);
    // After the call too.
    bench.respond(&invite, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
    assert_eq!(bench.take_all(), "ACK");
    bench.assert_at_rest();
}

#[test]
fn early_media_of_one_branch_give_way_to_the_branch_that_answers() {
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    bench.respond(&invite, 183, "a", CONTACT, &sdp(5000, "sendrecv"));
    assert_eq!(bench.media_of_call(), ["192.0.2.9:5000 sendrecv"]);
    bench.respond(&invite, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
    assert_eq!(bench.media_of_call(), ["192.0.2.9:5000 sendrecv", "192.0.2.9:4000 sendrecv"]);
    bench.take_all();
    hang_up(&mut bench, call);
    bench.assert_at_rest();
}

#[test]
fn progress_tells_whether_the_far_end_is_heard_already() {
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    bench.respond(&invite, 180, "a", CONTACT, "");
    bench.respond(&invite, 183, "b", CONTACT, &sdp(5000, "sendrecv"));
    bench.respond(&invite, 180, "a", CONTACT, "");
    let events = bench.events();
    let told: Vec<bool> = events
        .iter()
        .filter(|event| event.starts_with("Progress"))
        .map(|event| event.contains("has_media: true"))
        .collect();
    assert_eq!(told, [false, true, true], "{events:?}");
    bench.respond(&invite, 200, "b", CONTACT, "");
    bench.take_all();
    hang_up(&mut bench, call);
    bench.assert_at_rest();
}

#[test]
fn what_a_182_says_of_the_queue_is_told_as_the_server_has_written_it() {
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    let told = |bench: &mut Bench, reason: &str| {
        let text = String::from_utf8_lossy(&response(&invite, 182, "q", CONTACT, "")).into_owned();
        bench.receive(&text.replacen("182 Queued", &format!("182 {reason}"), 1));
        let event = bench.events().pop().expect("an event");
        event[event.find("queue: ").expect("a queue")..].trim_end_matches(" }").to_owned()
    };
    let long = "5 ahead, ".repeat(30);
    for (reason, expected) in [
        ("Queued, position 2", "queue: \"Queued, position 2\""),
        ("Queued", "queue: \"\""),
        ("", "queue: \"\""),
        ("Queued \u{9b}2J", "queue: \"Queued 2J\""),
        (long.as_str(), &format!("queue: {:?}", &long[..100])),
    ] {
        assert_eq!(told(&mut bench, reason), expected);
    }
    bench.command(Command::Hangup { call });
    bench.respond(&invite, 487, "q", "", "");
    bench.take_all();
    bench.assert_at_rest();
}

#[test]
fn a_description_after_the_early_answer_is_ignored() {
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    bench.respond(&invite, 183, "b", CONTACT, &sdp(5000, "sendrecv"));
    bench.respond(&invite, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
    assert_eq!(bench.media_of_call(), ["192.0.2.9:5000 sendrecv"]);
    bench.take_all();
    hang_up(&mut bench, call);
    bench.assert_at_rest();
}

#[test]
fn ack_and_bye_follow_the_route_set_backwards() {
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    let more =
        format!("Record-Route: <sip:192.0.2.9:5062;lr>\nRecord-Route: <sip:192.0.2.9:5061;lr>\n{CONTACT}");
    bench.respond(&invite, 200, "b", &more, &sdp(4000, "sendrecv"));
    bench.command(Command::Hangup { call });
    for method in ["ACK", "BYE"] {
        assert_eq!(bench.transmits[0].flow.remote.port(), 5061);
        let message = bench.take();
        assert_eq!(message.method().unwrap().as_str(), method);
        assert_eq!(message.uri_text(), "sip:bob@192.0.2.9");
        assert_eq!(header(&message, HeaderName::Route), "<sip:192.0.2.9:5061;lr>, <sip:192.0.2.9:5062;lr>");
    }
    bench.assert_at_rest();
}

#[test]
fn an_answer_without_a_session_is_acknowledged_and_hung_up() {
    for body in [String::new(), "garbage".to_owned(), sdp(4000, "sendrecv").replace("AVP 0", "AVP 18")] {
        let mut bench = Bench::phone();
        let (_, invite) = bench.call_bob();
        bench.respond(&invite, 200, "b", CONTACT, &body);
        assert_eq!(bench.take().method().unwrap().as_str(), "ACK");
        let bye = bench.take();
        bench.respond(&bye, 200, "b", "", "");
        assert_eq!(bench.ended().as_deref(), Some("BadSession"));
        bench.assert_at_rest();
    }
}

#[test]
fn without_ports_the_peer_offers_and_the_ack_answers() {
    let mut bench = Bench::phone();
    // The pool is drained, and the media plane has no more for now.
    bench.has_ports = false;
    let mut calls = Vec::new();
    let invite = loop {
        let (call, invite) = bench.call_bob();
        if invite.body().is_empty() {
            break invite;
        }
        calls.push((call, invite));
        assert!(calls.len() < 100, "the pool ends");
    };
    bench.has_ports = true;
    let last = bench.last_call();
    // A call in vain orders new ports.
    let (_, drained) = bench.call_bob();
    bench.respond(&drained, 486, "x", "", "");
    bench.respond(&invite, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
    bench.take();
    let ack = bench.take();
    assert_eq!(ack.method().unwrap().as_str(), "ACK");
    assert!(String::from_utf8_lossy(ack.body()).contains("m=audio"), "{ack:?}");
    assert_eq!(bench.media_of_call(), ["192.0.2.9:4000 sendrecv"]);
    calls.iter().for_each(|(_, invite)| bench.respond(invite, 486, "x", "", ""));
    bench.take_all();
    hang_up(&mut bench, last);
    bench.assert_at_rest();
}

#[test]
fn a_cancel_waits_for_the_first_provisional_response() {
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    bench.command(Command::Hangup { call });
    assert_eq!(bench.take_all(), "");
    assert!(bench.applied.values().all(Vec::is_empty));
    bench.respond(&invite, 100, "", "", "");
    let cancel = bench.take();
    assert_eq!(cancel.method().unwrap().as_str(), "CANCEL");
    assert_eq!(branch(&cancel), branch(&invite));
    bench.respond(&cancel, 200, "b", "", "");
    bench.respond(&invite, 487, "b", "", "");
    assert_eq!(bench.take_all(), "ACK");
    assert_eq!(bench.ended().as_deref(), Some("LocalHangup"));
    bench.assert_at_rest();
}

/// RFC 3261 §12.2.1.1, found by the swarm: the BYE had the number of the PRACK, got 500, and the other side talked on.
#[test]
fn the_bye_after_an_answer_that_crosses_the_cancel_has_the_number_after_that_of_the_prack() {
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    bench.respond(&invite, 180, "b", &format!("{CONTACT}\r\nRequire: 100rel\r\nRSeq: 1"), "");
    let prack = bench.take();
    assert_eq!(brief(&prack), "PRACK");
    bench.respond(&prack, 200, "b", "", "");
    bench.command(Command::Hangup { call });
    assert_eq!(bench.take_all(), "CANCEL");
    bench.respond(&invite, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
    assert_eq!(brief(&bench.take()), "ACK");
    let bye = bench.take();
    assert_eq!(brief(&bye), "BYE");
    assert_eq!(bye.cseq().unwrap().number, prack.cseq().unwrap().number + 1);
    bench.respond(&bye, 200, "b", "", "");
    bench.assert_at_rest();
}

#[test]
fn a_cancelled_invite_without_final_response_is_given_up() {
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    bench.respond(&invite, 180, "b", CONTACT, "");
    bench.command(Command::Hangup { call });
    bench.wait(Duration::from_secs(31));
    assert_eq!(bench.ended(), None);
    bench.wait(Duration::from_secs(2));
    assert_eq!(bench.ended().as_deref(), Some("LocalHangup"));
    bench.assert_at_rest();
}

#[test]
fn a_call_that_is_never_answered_is_cancelled_after_timer_c() {
    let mut bench = Bench::phone();
    let (_, invite) = bench.call_bob();
    bench.respond(&invite, 180, "b", CONTACT, "");
    bench.wait(Duration::from_secs(185 + 33));
    let cancel = bench.take();
    bench.respond(&cancel, 200, "b", "", "");
    bench.respond(&invite, 487, "b", "", "");
    assert_eq!(bench.ended().as_deref(), Some("NoResponse"));
    bench.assert_at_rest();
}

#[test]
fn an_invite_that_nobody_answers_times_out() {
    let mut bench = Bench::phone();
    bench.call_bob();
    bench.wait(Duration::from_secs(33));
    assert_eq!(bench.ended().as_deref(), Some("NoResponse"));
    bench.assert_at_rest();
}

#[test]
fn refusals_end_the_call_with_their_status() {
    for (code, reason) in [
        (302, "Refused(302 Moved Temporarily)"),
        (404, "Refused(404 Not Found)"),
        (486, "Refused(486 Busy Here)"),
        (503, "Refused(503 Service Unavailable)"),
        (603, "Refused(603 Decline)"),
    ] {
        let mut bench = Bench::phone();
        let (_, invite) = bench.call_bob();
        bench.respond(&invite, 180, "b", CONTACT, "");
        bench.respond(&invite, code, "b", "", "");
        assert_eq!(bench.take_all(), "ACK");
        assert_eq!(bench.ended().as_deref(), Some(reason));
        bench.assert_at_rest();
    }
}

#[test]
fn a_bye_that_gets_no_answer_ends_the_call_all_the_same() {
    let (mut bench, call, _) = in_call();
    bench.command(Command::Hangup { call });
    assert!(bench.applied.values().all(Vec::is_empty), "media stop with the BYE");
    bench.wait(Duration::from_secs(33));
    assert_eq!(bench.ended().as_deref(), Some("LocalHangup"));
    bench.assert_at_rest();
}

#[test]
fn a_refused_re_invite_keeps_the_session_and_a_lost_dialog_ends_it() {
    let (mut bench, call, _) = in_call();
    bench.command(Command::Reoffer { call, hold: true });
    let reinvite = bench.take();
    assert_eq!(reinvite.to().unwrap().tag(), Some("b"));
    bench.respond(&reinvite, 488, "b", "", "");
    assert_eq!(bench.take_all(), "ACK");
    assert_eq!(bench.media_of_call(), ["192.0.2.9:4000 sendrecv"]);
    bench.command(Command::Reoffer { call, hold: false });
    let reinvite = bench.take();
    assert!(String::from_utf8_lossy(reinvite.body()).contains("a=sendrecv"));
    bench.respond(&reinvite, 481, "b", "", "");
    assert_eq!(bench.take().method().unwrap().as_str(), "ACK");
    let bye = bench.take();
    assert_eq!(bye.method().unwrap().as_str(), "BYE");
    bench.respond(&bye, 481, "b", "", "");
    assert_eq!(bench.ended().as_deref(), Some("DialogLost"));
    bench.assert_at_rest();
}

#[test]
fn a_challenged_re_invite_is_sent_again_and_its_2xx_gets_one_ack_each() {
    let (mut bench, call, _) = in_call();
    bench.command(Command::Reoffer { call, hold: true });
    let first = bench.take();
    bench.respond(&first, 407, "b", CHALLENGE, "");
    bench.take();
    let second = bench.take();
    assert_eq!(second.cseq().unwrap().number, first.cseq().unwrap().number + 1);
    bench.respond(&second, 200, "b", CONTACT, &sdp(4000, "recvonly"));
    bench.respond(&second, 200, "b", CONTACT, &sdp(4000, "recvonly"));
    assert_eq!(bench.transmits[0], bench.transmits[1]);
    assert_eq!(bench.take_all(), "ACK ACK");
    assert_eq!(bench.media_of_call().len(), 2);
    hang_up(&mut bench, call);
    bench.assert_at_rest();
}

#[test]
fn a_re_invite_that_is_pending_when_the_call_ends_leaves_nothing_behind() {
    let (mut bench, call, _) = in_call();
    bench.command(Command::Reoffer { call, hold: true });
    let reinvite = bench.take();
    bench.respond(&reinvite, 100, "b", "", "");
    bench.command(Command::Hangup { call });
    let bye = bench.take();
    bench.respond(&bye, 200, "b", "", "");
    assert_eq!(bench.ended().as_deref(), Some("LocalHangup"));
    bench.assert_at_rest();
}

#[test]
fn a_re_invite_without_response_ends_the_dialog() {
    let (mut bench, call, _) = in_call();
    bench.command(Command::Reoffer { call, hold: true });
    bench.wait(Duration::from_secs(33));
    assert!(bench.take_all().ends_with("BYE"));
    bench.wait(Duration::from_secs(33));
    assert_eq!(bench.ended().as_deref(), Some("DialogLost"));
    bench.assert_at_rest();
}

#[test]
fn a_stale_handle_finds_no_other_call() {
    let (mut bench, call, _) = in_call();
    hang_up(&mut bench, call);
    let (second, invite) = bench.call_bob();
    assert_eq!((second.slot, second.generation), (call.slot, call.generation + 1));
    bench.command(Command::Hangup { call });
    assert_eq!(bench.take_all(), "");
    bench.respond(&invite, 486, "b", "", "");
    bench.assert_at_rest();
}

#[test]
fn the_account_s_proxy_gets_every_request_first() {
    let mut settings = super::bench::settings("alice", "192.0.2.1:5060");
    settings.account.as_mut().unwrap().proxy = Some(super::bench::uri("sip:192.0.2.9:5070"));
    let mut bench = Bench::new(settings);
    bench.command(Command::Register);
    bench.command(Command::Options { token: 3, to: super::bench::uri("sip:carol@203.0.113.1") });
    bench.call_bob();
    // The INVITE has been taken; what is left is of the same kind.
    bench.wait(Duration::from_millis(600));
    assert!(bench.transmits.len() >= 3);
    while let Some(transmit) = bench.transmits.front() {
        assert_eq!(transmit.flow.remote.port(), 5070);
        assert_eq!(header(&bench.take(), HeaderName::Route), "<sip:192.0.2.9:5070;lr>");
    }
}

#[test]
fn the_backup_proxy_is_tried_when_the_first_refuses_or_is_silent() {
    for is_silent in [true, false] {
        let mut settings = super::bench::settings("alice", "192.0.2.1:5060");
        let account = settings.account.as_mut().unwrap();
        account.proxy = Some(super::bench::uri("sip:192.0.2.9:5070"));
        account.backup_proxy = Some(super::bench::uri("sip:192.0.2.9:5071"));
        let mut bench = Bench::new(settings);
        let (call, first) = bench.call_bob();
        assert_eq!(header(&first, HeaderName::Route), "<sip:192.0.2.9:5070;lr>");
        if is_silent {
            bench.wait(Duration::from_millis(32_100));
            // After 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 seconds.
            (0..6).for_each(|_| assert_eq!(bench.take().bytes(), first.bytes()));
        } else {
            bench.respond(&first, 503, "a", "", "");
            assert_eq!(brief(&bench.take()), "ACK");
        }
        let second = bench.take();
        assert_eq!(header(&second, HeaderName::Route), "<sip:192.0.2.9:5071;lr>");
        assert_ne!(header(&second, HeaderName::CallId), header(&first, HeaderName::CallId));
        assert!(bench.ended().is_none(), "the call goes on");
        // There is no third.
        bench.respond(&second, 503, "b", "", "");
        assert_eq!(bench.take_all(), "ACK");
        assert_eq!(bench.ended().as_deref(), Some("Refused(503 Service Unavailable)"));
        bench.command(Command::Hangup { call });
        bench.assert_at_rest();
    }
}
