//! Calls that come to the phone, from a scripted peer.

use std::sync::Arc;
use std::time::Duration;

use dialtone_wire::{HeaderName, Message};

use super::bench::{Bench, header, sdp, settings};
use crate::io::{CallHandle, Command, Input, Play};
use crate::settings::Settings;

/// A request of the peer. With a `to_tag` it is within the dialog.
pub(super) fn request(method: &str, cseq: u32, to_tag: &str, more: &str, body: &str) -> String {
    let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:alice@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK{method}{cseq}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:bob@192.0.2.9>;tag=b\r\nTo: <sip:alice@192.0.2.9>{tag}\r\n\
         Call-ID: c1\r\nCSeq: {cseq} {}\r\nContact: <sip:bob@192.0.2.9>\r\n{more}{kind}Content-Length: {}\r\n\r\n{body}",
        method.split('-').next().unwrap(),
        body.len()
    )
    .replacen("-again", "", 1)
}

struct Ringing {
    bench: Bench,
    call: CallHandle,
    /// The phone's tag.
    tag: String,
}

fn ringing(body: &str) -> Ringing {
    let mut bench = Bench::phone();
    bench.receive(&request("INVITE", 1, "", "Record-Route: <sip:192.0.2.9;lr>\r\n", body));
    let ring = bench.take();
    assert_eq!(ring.status().unwrap().code(), 180);
    assert_eq!(header(&ring, HeaderName::RecordRoute), "<sip:192.0.2.9;lr>");
    let tag = ring.to().unwrap().tag().unwrap().to_owned();
    let call = bench.last_call();
    Ringing { bench, call, tag }
}

impl Ringing {
    fn answer(mut self) -> (Answered, Message) {
        self.bench.command(Command::Answer { call: self.call, play: Play::Echo });
        let ok = self.bench.take();
        assert_eq!(ok.status().unwrap().code(), 200);
        assert_eq!(header(&ok, HeaderName::RecordRoute), "<sip:192.0.2.9;lr>");
        assert_eq!(header(&ok, HeaderName::Contact), "<sip:alice@192.0.2.1:5060>");
        assert_eq!(ok.to().unwrap().tag(), Some(self.tag.as_str()));
        (Answered { bench: self.bench, call: self.call, tag: self.tag }, ok)
    }
}

struct Answered {
    bench: Bench,
    call: CallHandle,
    tag: String,
}

impl Answered {
    fn give(&mut self, method: &str, cseq: u32, more: &str, body: &str) {
        self.bench.receive(&request(method, cseq, &self.tag, more, body));
    }

    /// The status of the response to a request within the dialog.
    fn status_of(&mut self, method: &str, cseq: u32, more: &str, body: &str) -> u16 {
        self.give(method, cseq, more, body);
        self.bench.take().status().unwrap().code()
    }

    fn bye(&mut self, cseq: u32, reason: &str) {
        assert_eq!(self.status_of("BYE", cseq, "", ""), 200);
        assert_eq!(self.bench.take_all(), "");
        assert_eq!(self.bench.ended().as_deref(), Some(reason));
        self.bench.assert_at_rest();
    }
}

fn in_call() -> Answered {
    let (mut answered, _) = ringing(&sdp(4000, "sendrecv")).answer();
    answered.give("ACK", 1, "", "");
    assert_eq!(answered.bench.take_all(), "");
    answered
}

#[test]
fn the_2xx_is_repeated_until_its_ack_comes() {
    let (mut answered, _) = ringing(&sdp(4000, "sendrecv")).answer();
    answered.bench.wait(Duration::from_millis(3600));
    // After 0.5, 1.5 and 3.5 seconds.
    assert_eq!(answered.bench.take_all(), "200/INVITE 200/INVITE 200/INVITE");
    assert!(!answered.bench.events().iter().any(|event| event.starts_with("Answered")));
    answered.give("ACK", 1, "", "");
    answered.bench.wait(Duration::from_secs(40));
    assert_eq!(answered.bench.take_all(), "");
    assert!(answered.bench.events().iter().any(|event| event.starts_with("Answered")));
    answered.bye(2, "RemoteHangup");
}

#[test]
fn without_an_ack_a_bye_follows_after_64_t1_and_not_before() {
    let (mut answered, _) = ringing(&sdp(4000, "sendrecv")).answer();
    answered.bench.wait(Duration::from_millis(31_900));
    let repeated = answered.bench.take_all();
    // 0.5, 1.5, 3.5, 7.5, 11.5 … 31.5 seconds.
    assert_eq!(repeated.split(' ').filter(|word| *word == "200/INVITE").count(), 10, "{repeated}");
    assert!(!repeated.contains("BYE"));
    answered.bench.wait(Duration::from_millis(200));
    let bye = answered.bench.take();
    assert_eq!(bye.method().unwrap().as_str(), "BYE");
    assert_eq!(header(&bye, HeaderName::Route), "<sip:192.0.2.9;lr>");
    answered.bench.respond(&bye, 200, "b", "", "");
    assert_eq!(answered.bench.ended().as_deref(), Some("NoAck"));
    answered.bench.assert_at_rest();
}

#[test]
fn a_hang_up_between_2xx_and_ack_waits_for_the_ack() {
    let (mut answered, _) = ringing(&sdp(4000, "sendrecv")).answer();
    let call = answered.call;
    answered.bench.command(Command::Hangup { call });
    assert_eq!(answered.bench.take_all(), "");
    answered.give("ACK", 1, "", "");
    let bye = answered.bench.take();
    assert_eq!(bye.method().unwrap().as_str(), "BYE");
    answered.bench.respond(&bye, 200, "b", "", "");
    assert_eq!(answered.bench.ended().as_deref(), Some("LocalHangup"));
    answered.bench.assert_at_rest();
}

#[test]
fn an_invite_without_offer_gets_one_in_the_2xx_and_the_ack_answers() {
    let (mut answered, ok) = ringing("").answer();
    assert!(String::from_utf8_lossy(ok.body()).contains("m=audio"));
    assert!(answered.bench.media_of_call().is_empty());
    // RFC 5407 §3.1.5: an offer now would cross ours.
    assert_eq!(answered.status_of("INVITE", 2, "", &sdp(4000, "sendrecv")), 491);
    answered.give("ACK", 1, "", &sdp(4000, "sendrecv"));
    assert_eq!(answered.bench.media_of_call(), ["192.0.2.9:4000 sendrecv"]);
    answered.bye(3, "RemoteHangup");
}

#[test]
fn an_ack_without_the_answer_ends_the_call() {
    let (mut answered, _) = ringing("").answer();
    answered.give("ACK", 1, "", "");
    let bye = answered.bench.take();
    answered.bench.respond(&bye, 200, "b", "", "");
    assert_eq!(answered.bench.ended().as_deref(), Some("BadSession"));
    answered.bench.assert_at_rest();
}

#[test]
fn a_cancel_gets_487_and_one_that_is_too_late_changes_nothing() {
    let Ringing { mut bench, .. } = ringing(&sdp(4000, "sendrecv"));
    let cancel = request("CANCEL", 1, "", "", "").replace("bKCANCEL1", "bKINVITE1");
    bench.receive(&cancel);
    assert_eq!(bench.take_all(), "200/CANCEL 487/INVITE");
    assert_eq!(bench.ended().as_deref(), Some("Cancelled"));
    bench.assert_at_rest();

    let (mut answered, _) = ringing(&sdp(4000, "sendrecv")).answer();
    answered.bench.receive(&cancel);
    assert_eq!(answered.bench.take_all(), "200/CANCEL");
    answered.give("ACK", 1, "", "");
    answered.bye(2, "RemoteHangup");
}

#[test]
fn a_bye_in_the_early_dialog_ends_the_invite_with_487() {
    let Ringing { mut bench, tag, .. } = ringing(&sdp(4000, "sendrecv"));
    bench.receive(&request("BYE", 2, &tag, "", ""));
    assert_eq!(bench.take_all(), "200/BYE 487/INVITE");
    assert_eq!(bench.ended().as_deref(), Some("Cancelled"));
    bench.assert_at_rest();
}

#[test]
fn a_bye_before_the_ack_ends_the_call() {
    let (mut answered, _) = ringing(&sdp(4000, "sendrecv")).answer();
    answered.bye(2, "RemoteHangup");
}

#[test]
fn a_second_invite_before_the_first_is_answered_gets_500_with_retry_after() {
    let Ringing { mut bench, tag, call } = ringing(&sdp(4000, "sendrecv"));
    bench.receive(&request("INVITE", 2, &tag, "", &sdp(4000, "sendrecv")));
    let refused = bench.take();
    assert_eq!(refused.status().unwrap().code(), 500);
    let retry_after: u32 = header(&refused, HeaderName::RetryAfter).parse().unwrap();
    assert!(retry_after <= 10);
    bench.command(Command::Hangup { call });
    assert_eq!(bench.take_all(), "603/INVITE");
    bench.assert_at_rest();
}

#[test]
fn a_re_invite_before_the_ack_is_accepted_and_stands_for_it() {
    let (mut answered, _) = ringing(&sdp(4000, "sendrecv")).answer();
    assert_eq!(answered.status_of("INVITE", 2, "", &sdp(4002, "sendrecv")), 200);
    answered.give("ACK", 1, "", "");
    answered.give("ACK", 2, "", "");
    answered.bench.wait(Duration::from_secs(40));
    assert_eq!(answered.bench.take_all(), "");
    assert_eq!(answered.bench.media_of_call().last().unwrap(), "192.0.2.9:4002 sendrecv");
    answered.bye(3, "RemoteHangup");
}

#[test]
fn a_re_invite_changes_the_session_or_leaves_it_whole() {
    let mut answered = in_call();
    assert_eq!(answered.status_of("INVITE", 2, "", &sdp(4000, "sendonly")), 200);
    answered.give("ACK", 2, "", "");
    assert_eq!(answered.bench.media_of_call().last().unwrap(), "192.0.2.9:4000 recvonly");
    let other_codec = sdp(4000, "sendrecv").replace("AVP 0", "AVP 18").replace("0 PCMU", "18 G729");
    assert_eq!(answered.status_of("INVITE", 3, "", &other_codec), 488);
    answered.give("ACK", 3, "", "");
    assert_eq!(answered.status_of("INVITE", 4, "", "v=1\r\n"), 400);
    answered.give("ACK", 4, "", "");
    assert_eq!(answered.bench.media_of_call().len(), 2);
    // Without an offer: ours is in the 2xx, the answer in the ACK.
    assert_eq!(answered.status_of("INVITE", 5, "", ""), 200);
    answered.give("ACK", 5, "", &sdp(4004, "sendrecv"));
    assert_eq!(answered.bench.media_of_call().last().unwrap(), "192.0.2.9:4004 sendrecv");
    answered.bye(6, "RemoteHangup");
}

#[test]
fn a_re_invite_moves_the_remote_target() {
    let mut answered = in_call();
    let moved = request("INVITE", 2, &answered.tag, "", &sdp(4000, "sendrecv"))
        .replace("Contact: <sip:bob@192.0.2.9>", "Contact: <sip:bob@192.0.2.77>");
    answered.bench.receive(&moved);
    assert_eq!(answered.bench.take_all(), "200/INVITE");
    answered.give("ACK", 2, "", "");
    let call = answered.call;
    answered.bench.command(Command::Hangup { call });
    let bye = answered.bench.take();
    assert_eq!(bye.uri_text(), "sip:bob@192.0.2.77");
    answered.bench.respond(&bye, 200, "b", "", "");
    answered.bench.assert_at_rest();
}

#[test]
fn requests_within_the_dialog_are_checked_in_their_order() {
    let mut answered = in_call();
    assert_eq!(answered.status_of("OPTIONS", 5, "", ""), 200);
    assert_eq!(answered.status_of("OPTIONS", 4, "", ""), 500);
    assert_eq!(answered.status_of("MESSAGE", 6, "", ""), 405);
    assert_eq!(answered.status_of("FROB", 7, "", ""), 501);
    assert_eq!(answered.status_of("INVITE", 8, "Require: foo\r\n", &sdp(4000, "sendrecv")), 420);
    answered.give("ACK", 8, "", "");
    let tag = std::mem::replace(&mut answered.tag, "stranger".to_owned());
    assert_eq!(answered.status_of("BYE", 9, "", ""), 481);
    answered.tag = tag;
    answered.bye(10, "RemoteHangup");
}

#[test]
fn our_re_invite_waits_for_the_ack_of_theirs_and_theirs_is_refused_while_ours_is_pending() {
    let mut answered = in_call();
    let call = answered.call;
    assert_eq!(answered.status_of("INVITE", 2, "", &sdp(4000, "sendrecv")), 200);
    answered.bench.command(Command::Reoffer { call, hold: true });
    assert_eq!(answered.bench.take_all(), "");
    answered.give("ACK", 2, "", "");
    let ours = answered.bench.take();
    assert_eq!(ours.method().unwrap().as_str(), "INVITE");
    assert_eq!(answered.status_of("INVITE", 3, "", &sdp(4000, "sendrecv")), 491);
    answered.give("ACK", 3, "", "");
    answered.bench.respond(&ours, 200, "b", "Contact: <sip:bob@192.0.2.9>", &sdp(4000, "recvonly"));
    assert_eq!(answered.bench.take_all(), "ACK");
    assert_eq!(answered.bench.media_of_call().last().unwrap(), "192.0.2.9:4000 sendonly");
    answered.bye(4, "RemoteHangup");
}

#[test]
fn the_echo_robot_answers_by_itself() {
    let mut settings = super::bench::settings("x", "192.0.2.1:5060");
    settings.account = None;
    settings.domains = vec![crate::settings::Domain { name: "192.0.2.9".into(), ..Default::default() }];
    settings.robots =
        vec![crate::settings::Robot { user: "echo".into(), kind: crate::settings::RobotKind::Echo }];
    let mut bench = Bench::new(settings);
    let invite = request("INVITE", 1, "", "", &sdp(4000, "sendrecv")).replace("sip:alice@", "sip:echo@");
    bench.receive(&invite);
    let ok = bench.take();
    assert_eq!(ok.status().unwrap().code(), 200);
    assert_eq!(header(&ok, HeaderName::Contact), "<sip:echo@192.0.2.1:5060>");
    let tag = ok.to().unwrap().tag().unwrap().to_owned();
    let in_dialog = |method, cseq| request(method, cseq, &tag, "", "").replace("sip:alice@", "sip:echo@");
    bench.receive(&in_dialog("ACK", 1));
    assert_eq!(bench.media_of_call().len(), 1);
    bench.receive(&in_dialog("BYE", 2));
    assert_eq!(bench.take_all(), "200/BYE");
    bench.assert_at_rest();
}

#[test]
fn a_hold_that_was_refused_is_not_offered_again() {
    let mut answered = in_call();
    let call = answered.call;
    assert_eq!(answered.status_of("INVITE", 2, "", &sdp(4000, "inactive")), 200);
    answered.give("ACK", 2, "", "");
    answered.bench.command(Command::Reoffer { call, hold: true });
    let hold = answered.bench.take();
    // RFC 3264 §8.4: the peer holds us already.
    assert!(String::from_utf8_lossy(hold.body()).contains("a=inactive"));
    answered.bench.respond(&hold, 488, "b", "", "");
    assert_eq!(answered.bench.take_all(), "ACK");
    answered.give("INVITE", 3, "", "");
    let ok = answered.bench.take();
    assert!(String::from_utf8_lossy(ok.body()).contains("a=sendrecv"));
    answered.give("ACK", 3, "", &sdp(4000, "sendrecv"));
    answered.bye(4, "RemoteHangup");
}

#[test]
fn a_server_that_drains_ends_each_call_as_its_state_asks_for() {
    let draining =
        || Input::Configure(Arc::new(Settings { draining: true, ..settings("alice", "192.0.2.1:5060") }));
    let mut answered = in_call();
    answered.bench.input(draining());
    let bye = answered.bench.take();
    assert_eq!(bye.method().unwrap().as_str(), "BYE");
    // Told again, it says nothing twice.
    answered.bench.input(draining());
    assert_eq!((answered.bench.take_all().as_str(), answered.bench.engine.unfinished()), ("", 1));
    answered.bench.respond(&bye, 200, "b", "", "");
    assert_eq!(answered.bench.ended().as_deref(), Some("LocalHangup"));
    assert_eq!(answered.bench.engine.unfinished(), 0);
    answered.bench.assert_at_rest();
    let mut ringing = ringing(&sdp(4000, "sendrecv"));
    ringing.bench.input(draining());
    assert_eq!(ringing.bench.take().status().unwrap().code(), 603);
}
