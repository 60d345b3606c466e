//! UPDATE, PRACK and session timers, against a scripted peer.

use std::sync::Arc;
use std::time::Duration;

use dialtone_wire::{HeaderName, Message};

use super::bench::{Bench, brief, header, sdp, settings};
use super::callee::request;
use crate::io::{CallHandle, ChangeBy, Command, HoldForm, Input, Play};
use crate::settings::{SessionSettings, Settings};

const ALLOW: &str = "Allow: INVITE, ACK, CANCEL, BYE, PRACK, UPDATE\r\n";

/// A call of the peer, up to a state that the test wants.
pub(super) struct Callee {
    pub(super) bench: Bench,
    pub(super) call: CallHandle,
    pub(super) tag: String,
    cseq: u32,
}

impl Callee {
    /// The phone rings; returns its provisional response too.
    pub(super) fn ringing(more: &str, body: &str) -> (Callee, Message) {
        let mut bench = Bench::phone();
        bench.receive(&request("INVITE", 1, "", &format!("{ALLOW}{more}"), body));
        let ring = bench.take();
        let (tag, call) = (ring.to().unwrap().tag().unwrap().to_owned(), bench.last_call());
        (Callee { bench, call, tag, cseq: 1 }, ring)
    }

    /// The call stands.
    pub(super) fn talking(more: &str) -> Callee {
        let (mut callee, _) = Callee::ringing(more, &sdp(4000, "sendrecv"));
        callee.bench.command(Command::Answer { call: callee.call, play: Play::Silence });
        assert_eq!(brief(&callee.bench.take()), "200/INVITE");
        callee.ack(1);
        callee.bench.events();
        callee
    }

    pub(super) fn ack(&mut self, cseq: u32) {
        self.bench.receive(&request("ACK", cseq, &self.tag, "", ""));
    }

    /// The response to a request within the dialog.
    pub(super) fn ask(&mut self, method: &str, more: &str, body: &str) -> Message {
        self.cseq += 1;
        self.bench.receive(&request(method, self.cseq, &self.tag, more, body));
        self.bench.take()
    }

    /// A PRACK for a response.
    pub(super) fn prack(&mut self, response: &Message, body: &str) -> Message {
        let rack = format!("RAck: {} 1 INVITE\r\n", header(response, HeaderName::RSeq));
        self.ask("PRACK", &rack, body)
    }

    /// Gives a PRACK; all that was sent, in its order.
    fn prack_and_all(&mut self, response: &Message) -> String {
        self.cseq += 1;
        let rack = format!("RAck: {} 1 INVITE\r\n", header(response, HeaderName::RSeq));
        self.bench.receive(&request("PRACK", self.cseq, &self.tag, &rack, ""));
        self.bench.take_all()
    }

    fn hang_up(mut self) {
        assert_eq!(code(&self.ask("BYE", "", "")), 200);
        self.bench.assert_at_rest();
    }
}

fn code(response: &Message) -> u16 {
    response.status().unwrap().code()
}

fn body(message: &Message) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// A call of the phone that the peer has answered; `more` are headers of the 200.
fn caller(settings: Settings, more: &str) -> (Bench, CallHandle, Message) {
    let mut bench = Bench::new(settings);
    let (call, invite) = bench.call_bob();
    let more = format!("Contact: <sip:bob@192.0.2.9>\r\n{ALLOW}{more}");
    bench.respond(&invite, 200, "b", &more, &sdp(4000, "sendrecv"));
    assert_eq!(bench.take_all(), "ACK");
    bench.events();
    (bench, call, invite)
}

fn phone() -> Settings {
    settings("alice", "192.0.2.1:5060")
}

const CONTACT: &str = "Contact: <sip:bob@192.0.2.9>\r\n";

#[test]
fn an_update_of_the_peer_holds_and_resumes_and_says_nothing_without_a_body() {
    let mut callee = Callee::talking("");
    for (theirs, ours, told) in [
        ("sendonly", "recvonly", "Held"),
        ("sendrecv", "sendrecv", "Resumed"),
        ("inactive", "inactive", "Held"),
    ] {
        let ok = callee.ask("UPDATE", "", &sdp(4000, theirs));
        assert_eq!(code(&ok), 200);
        assert!(body(&ok).contains(&format!("a={ours}\r\n")), "{}", body(&ok));
        assert_eq!(header(&ok, HeaderName::Contact), "<sip:alice@192.0.2.1:5060>");
        let events = callee.bench.events().join(" ");
        assert!(events.starts_with("SessionChanged") && events.contains(told), "{events}");
    }
    let zeros = sdp(4000, "sendrecv").replace("c=IN IP4 192.0.2.9", "c=IN IP4 0.0.0.0");
    let ok = callee.ask("UPDATE", "", &zeros);
    assert!(body(&ok).contains("a=recvonly"), "RFC 3264 §8.4 reads the old form as sendonly: {}", body(&ok));
    let ok = callee.ask("UPDATE", "", "");
    assert_eq!((code(&ok), body(&ok).as_str()), (200, ""));
    assert_eq!(callee.bench.media_of_call().last().unwrap(), "none recvonly");
    callee.hang_up();
}

#[test]
fn an_update_whose_offer_fits_nothing_is_refused_and_the_session_stays() {
    let mut callee = Callee::talking("");
    let before = callee.bench.media_of_call();
    let video = sdp(4000, "sendrecv").replace("m=audio", "m=video");
    let refusal = callee.ask("UPDATE", "", &video);
    assert_eq!(code(&refusal), 488);
    assert!(!header(&refusal, HeaderName::Warning).is_empty());
    assert_eq!(code(&callee.ask("UPDATE", "Content-Type: text/plain\r\n", "")), 200, "an empty body is none");
    let nonsense = callee.ask("UPDATE", "", "nonsense");
    assert_eq!(code(&nonsense), 400);
    assert_eq!(callee.bench.media_of_call(), before);
    callee.hang_up();
}

#[test]
fn offers_that_cross_get_491_and_an_update_without_offer_passes() {
    for by in [ChangeBy::Invite, ChangeBy::Update] {
        let mut callee = Callee::talking("");
        let call = callee.call;
        callee.bench.command(Command::Hold { call, form: HoldForm::Direction, by });
        let ours = callee.bench.take();
        assert_eq!(brief(&ours), if by == ChangeBy::Invite { "INVITE" } else { "UPDATE" });
        assert_eq!(code(&callee.ask("UPDATE", "", &sdp(4000, "inactive"))), 491);
        assert_eq!(code(&callee.ask("INVITE", "", &sdp(4000, "inactive"))), 491);
        callee.ack(3);
        assert_eq!(code(&callee.ask("UPDATE", "", "")), 200);
        callee.bench.respond(&ours, 200, "b", CONTACT, &sdp(4000, "recvonly"));
        assert_eq!(callee.bench.take_all(), if by == ChangeBy::Invite { "ACK" } else { "" });
        let events = callee.bench.events().join(" ");
        assert!(events.contains("Held") && events.contains("Local"), "{events}");
        assert!(callee.bench.media_of_call().last().unwrap().ends_with("sendonly"));
        callee.hang_up();
    }
}

#[test]
fn a_change_that_meets_491_is_tried_once_more_and_then_told_as_refused() {
    for by in [ChangeBy::Invite, ChangeBy::Update] {
        let mut callee = Callee::talking("");
        let call = callee.call;
        callee.bench.command(Command::Hold { call, form: HoldForm::Direction, by });
        for round in 1..=2 {
            let ours = callee.bench.take();
            callee.bench.respond(&ours, 491, "b", "", "");
            assert_eq!(callee.bench.take_all(), if by == ChangeBy::Invite { "ACK" } else { "" });
            let refused = callee.bench.events().join(" ").contains("ChangeRefused");
            assert_eq!(refused, round == 2);
            // RFC 3261 §14.1: the peer owns the Call-ID, so we come within two seconds.
            let tried = (0..200).any(|_| {
                callee.bench.wait(Duration::from_millis(10));
                !callee.bench.transmits.is_empty()
            });
            assert_eq!(tried, round == 1);
        }
        let again = callee.ask("INVITE", "", &sdp(4000, "sendrecv"));
        assert!(body(&again).contains("a=sendrecv"), "the session stays");
        callee.ack(2);
        callee.hang_up();
    }
}

#[test]
fn a_500_with_retry_after_is_waited_for_and_a_405_to_update_leads_to_a_re_invite() {
    let mut callee = Callee::talking("");
    let call = callee.call;
    callee.bench.command(Command::Hold { call, form: HoldForm::Direction, by: ChangeBy::Update });
    let ours = callee.bench.take();
    callee.bench.respond(&ours, 500, "b", "Retry-After: 7\r\n", "");
    callee.bench.wait(Duration::from_millis(6_900));
    assert_eq!(callee.bench.take_all(), "");
    callee.bench.wait(Duration::from_millis(200));
    let ours = callee.bench.take();
    assert_eq!(brief(&ours), "UPDATE");
    callee.bench.respond(&ours, 405, "b", "Allow: INVITE, ACK, BYE, CANCEL\r\n", "");
    let ours = callee.bench.take();
    assert_eq!(brief(&ours), "INVITE");
    callee.bench.respond(&ours, 488, "b", "", "");
    assert_eq!(callee.bench.take_all(), "ACK");
    assert!(callee.bench.events().join(" ").contains("ChangeRefused"));
    assert!(callee.bench.media_of_call().last().unwrap().ends_with("sendrecv"));
    callee.hang_up();
}

#[test]
fn a_481_or_no_answer_at_all_to_an_update_ends_the_call() {
    for lost in [true, false] {
        let mut callee = Callee::talking("");
        let call = callee.call;
        callee.bench.command(Command::Refresh { call, by: ChangeBy::Update });
        let ours = callee.bench.take();
        assert_eq!(body(&ours), "");
        if lost {
            callee.bench.wait(Duration::from_secs(33));
        } else {
            callee.bench.respond(&ours, 481, "b", "", "");
        }
        let sent = callee.bench.take_all();
        assert!(sent.ends_with("BYE"), "{sent}");
        callee.bench.wait(Duration::from_secs(40));
        assert_eq!(callee.bench.ended().as_deref(), Some("DialogLost"));
    }
}

#[test]
fn both_forms_of_hold_are_sent_and_taken_back() {
    let mut callee = Callee::talking("");
    let call = callee.call;
    for (form, line) in [(HoldForm::Address, "c=IN IP4 0.0.0.0"), (HoldForm::Direction, "c=IN IP4 192.0.2.1")]
    {
        callee.bench.command(Command::Hold { call, form, by: ChangeBy::Update });
        let ours = callee.bench.take();
        assert!(body(&ours).contains(line) && body(&ours).contains("a=sendonly"), "{}", body(&ours));
        callee.bench.respond(&ours, 200, "b", CONTACT, &sdp(4000, "recvonly"));
        callee.bench.command(Command::Resume { call, by: ChangeBy::Update });
        let ours = callee.bench.take();
        assert!(body(&ours).contains("c=IN IP4 192.0.2.1") && body(&ours).contains("a=sendrecv"));
        callee.bench.respond(&ours, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
        let told = callee.bench.events().join(" ");
        assert!(told.contains("Held") && told.contains("Resumed"), "{told}");
    }
    callee.hang_up();
}

#[test]
fn an_update_before_the_answer_gets_500_with_retry_after_and_one_without_offer_200() {
    let (mut callee, _) = Callee::ringing("", &sdp(4000, "sendrecv"));
    let refusal = callee.ask("UPDATE", "", &sdp(4002, "sendrecv"));
    assert_eq!(code(&refusal), 500);
    assert!(header(&refusal, HeaderName::RetryAfter).parse::<u32>().unwrap() <= 10);
    assert_eq!(code(&callee.ask("UPDATE", "", "")), 200);
    let call = callee.call;
    callee.bench.command(Command::Hangup { call });
    assert_eq!(callee.bench.take_all(), "603/INVITE");
    callee.bench.receive(&request("ACK", 1, &callee.tag, "", ""));
    callee.bench.assert_at_rest();
}

#[test]
fn a_reliable_180_is_repeated_with_doubling_intervals_until_its_prack() {
    let (mut callee, ring) = Callee::ringing("Require: 100rel\r\n", &sdp(4000, "sendrecv"));
    assert_eq!(header(&ring, HeaderName::Require), "100rel");
    callee.bench.wait(Duration::from_millis(3_600));
    assert_eq!(callee.bench.take_all(), "180/INVITE 180/INVITE 180/INVITE");
    assert_eq!(code(&callee.ask("PRACK", "RAck: 1 9 INVITE\r\n", "")), 481);
    assert_eq!(code(&callee.ask("PRACK", "", "")), 481);
    assert_eq!(code(&callee.prack(&ring, "")), 200);
    assert_eq!(code(&callee.prack(&ring, "")), 481, "it was acknowledged");
    callee.bench.wait(Duration::from_secs(30));
    assert_eq!(callee.bench.take_all(), "");
    let call = callee.call;
    callee.bench.command(Command::Answer { call, play: Play::Silence });
    let ok = callee.bench.take();
    assert!(body(&ok).contains("m=audio"), "nothing was answered before");
    callee.ack(1);
    callee.hang_up();
}

#[test]
fn without_a_prack_the_invite_is_refused_after_64_t1() {
    let (mut callee, _) = Callee::ringing("Require: 100rel\r\n", &sdp(4000, "sendrecv"));
    callee.bench.wait(Duration::from_millis(31_900));
    assert_eq!(callee.bench.take_all().split(' ').filter(|word| *word == "180/INVITE").count(), 6);
    callee.bench.wait(Duration::from_millis(200));
    assert_eq!(callee.bench.take_all(), "504/INVITE");
    callee.ack(1);
    assert_eq!(callee.bench.ended().as_deref(), Some("NoAck"));
    callee.bench.assert_at_rest();
}

#[test]
fn the_200_waits_for_the_prack_of_an_answer_and_not_for_that_of_a_180() {
    for early in [true, false] {
        let (mut callee, ring) = Callee::ringing("Require: 100rel\r\n", &sdp(4000, "sendrecv"));
        let call = callee.call;
        let mut last = ring;
        if early {
            assert_eq!(code(&callee.prack(&last, "")), 200);
            callee.bench.command(Command::Progress { call, play: Play::Silence });
            last = callee.bench.take();
            assert_eq!(code(&last), 183);
            assert!(body(&last).contains("m=audio"));
            assert_eq!(callee.bench.media_of_call().len(), 1, "early media flow");
        }
        callee.bench.command(Command::Answer { call, play: Play::Echo });
        assert_eq!(callee.bench.transmits.is_empty(), early);
        let sent = callee.prack_and_all(&last);
        assert_eq!(sent, if early { "200/PRACK 200/INVITE" } else { "200/INVITE 200/PRACK" });
        callee.ack(1);
        callee.hang_up();
    }
}

#[test]
fn an_early_session_is_changed_by_update_from_both_sides_and_the_200_has_no_body() {
    let (mut callee, ring) = Callee::ringing("Require: 100rel\r\n", &sdp(4000, "sendrecv"));
    let call = callee.call;
    callee.prack(&ring, "");
    callee.bench.command(Command::Progress { call, play: Play::Silence });
    let progress = callee.bench.take();
    // RFC 3262 §5: an offer in the PRACK of the answer.
    let ok = callee.prack(&progress, &sdp(4002, "sendonly"));
    assert!(body(&ok).contains("a=recvonly"), "{}", body(&ok));
    let ok = callee.ask("UPDATE", "", &sdp(4002, "sendrecv"));
    assert!(body(&ok).contains("a=sendrecv"));
    callee.bench.command(Command::Hold { call, form: HoldForm::Direction, by: ChangeBy::Invite });
    let ours = callee.bench.take();
    assert_eq!(brief(&ours), "UPDATE", "no re-INVITE before the answer");
    assert_eq!(code(&callee.ask("UPDATE", "", &sdp(4004, "sendrecv"))), 491);
    callee.bench.command(Command::Answer { call, play: Play::Echo });
    assert_eq!(callee.bench.take_all(), "", "the 200 waits for the answer to our offer");
    callee.bench.respond(&ours, 200, "b", CONTACT, &sdp(4002, "recvonly"));
    let ok = callee.bench.take();
    assert_eq!((brief(&ok).as_str(), body(&ok).as_str()), ("200/INVITE", ""));
    callee.ack(1);
    assert!(callee.bench.media_of_call().last().unwrap().ends_with("192.0.2.9:4002 sendonly"));
    callee.hang_up();
}

#[test]
fn an_invite_without_offer_gets_it_in_the_reliable_180_and_the_prack_answers() {
    for (answer, outcome) in [(sdp(4000, "sendrecv"), "200/PRACK"), (String::new(), "200/PRACK 488/INVITE")] {
        let (mut callee, ring) = Callee::ringing("Require: 100rel\r\n", "");
        assert!(body(&ring).contains("m=audio"), "RFC 3261 §13.2.1: in the first reliable response");
        assert_eq!(code(&callee.ask("UPDATE", "", &sdp(4000, "sendrecv"))), 491);
        callee.cseq += 1;
        let rack = format!("RAck: {} 1 INVITE\r\n", header(&ring, HeaderName::RSeq));
        callee.bench.receive(&request("PRACK", callee.cseq, &callee.tag, &rack, &answer));
        assert_eq!(callee.bench.take_all(), outcome);
        if answer.is_empty() {
            callee.ack(1);
            callee.bench.assert_at_rest();
            continue;
        }
        let call = callee.call;
        callee.bench.command(Command::Answer { call, play: Play::Silence });
        assert_eq!(body(&callee.bench.take()), "");
        callee.ack(1);
        callee.hang_up();
    }
}

#[test]
fn a_prack_may_not_offer_what_no_answer_went_before_and_a_bad_offer_leaves_it_unacknowledged() {
    let (mut callee, ring) = Callee::ringing("Require: 100rel\r\n", &sdp(4000, "sendrecv"));
    assert_eq!(code(&callee.prack(&ring, &sdp(4002, "sendrecv"))), 500);
    assert_eq!(code(&callee.prack(&ring, "")), 200);
    let call = callee.call;
    callee.bench.command(Command::Progress { call, play: Play::Silence });
    let progress = callee.bench.take();
    let video = sdp(4002, "sendrecv").replace("m=audio", "m=video");
    assert_eq!(code(&callee.prack(&progress, &video)), 488);
    // RFC 6337 §2.3: "UAC may send again a PRACK request without an offer".
    assert_eq!(code(&callee.prack(&progress, "")), 200);
    callee.bench.command(Command::Decline { call, status: dialtone_wire::Status::of(486) });
    assert_eq!(callee.bench.take_all(), "486/INVITE");
    callee.ack(1);
    callee.bench.assert_at_rest();
}

#[test]
fn the_caller_acknowledges_each_reliable_response_once_and_in_order() {
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    assert!(header(&invite, HeaderName::Supported).contains("100rel"));
    let reliable = |rseq: u32| format!("{CONTACT}{ALLOW}Require: 100rel\r\nRSeq: {rseq}\r\n");
    bench.respond(&invite, 180, "b", &reliable(7), "");
    let prack = bench.take();
    assert_eq!((brief(&prack).as_str(), header(&prack, HeaderName::RAck).as_str()), ("PRACK", "7 1 INVITE"));
    bench.respond(&invite, 180, "b", &reliable(7), "");
    bench.respond(&invite, 183, "b", &reliable(9), &sdp(4000, "sendrecv"));
    assert_eq!(bench.take_all(), "", "one came before, and one before the other is missing");
    assert!(bench.media_of_call().is_empty());
    bench.respond(&prack, 200, "b", "", "");
    bench.events();
    // A change that waits goes with the PRACK of the answer.
    bench.command(Command::Hold { call, form: HoldForm::Direction, by: ChangeBy::Invite });
    bench.respond(&invite, 183, "b", &reliable(8), &sdp(4000, "sendrecv"));
    let prack = bench.take();
    assert!(body(&prack).contains("a=sendonly"), "{}", body(&prack));
    bench.respond(&prack, 200, "b", "", &sdp(4000, "recvonly"));
    assert!(bench.media_of_call().last().unwrap().ends_with("sendonly"));
    bench.command(Command::Resume { call, by: ChangeBy::Invite });
    let update = bench.take();
    assert_eq!(brief(&update), "UPDATE");
    bench.respond(&update, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
    bench.respond(&invite, 200, "b", CONTACT, "");
    let ack = bench.take();
    assert_eq!((brief(&ack).as_str(), body(&ack).as_str()), ("ACK", ""));
    assert_eq!(ack.cseq().unwrap().number, 1);
    bench.command(Command::Hangup { call });
    let bye = bench.take();
    assert_eq!(bye.cseq().unwrap().number, 5, "after two PRACKs and an UPDATE");
    bench.respond(&bye, 200, "b", "", "");
    bench.assert_at_rest();
}

/// RFC 6337 §2.3: a 488 may come for a PRACK, "UAC may send again a PRACK request without an offer". The response that it
/// was for is acknowledged by that, and the far end goes on.
#[test]
fn a_prack_whose_offer_is_refused_is_followed_by_one_without() {
    for (status, more, told) in [
        (488, "", true),
        (500, "", true),
        (415, "", true),
        (500, "Retry-After: 3\r\n", false),
        (491, "", false),
    ] {
        let mut bench = Bench::phone();
        let (call, invite) = bench.call_bob();
        bench.command(Command::Hold { call, form: HoldForm::Direction, by: ChangeBy::Invite });
        let reliable = format!("{CONTACT}{ALLOW}Require: 100rel\r\nRSeq: 7\r\n");
        bench.respond(&invite, 183, "b", &reliable, &sdp(4000, "sendrecv"));
        let prack = bench.take();
        assert!(body(&prack).contains("a=sendonly"), "{}", body(&prack));
        bench.respond(&prack, status, "b", more, "");
        let bare = bench.take();
        assert_eq!((brief(&bare).as_str(), body(&bare).as_str()), ("PRACK", ""), "{status}");
        assert_eq!(header(&bare, HeaderName::RAck), "7 1 INVITE");
        assert_eq!(bare.cseq().unwrap().number, prack.cseq().unwrap().number + 1);
        // Who counts the first one as an acknowledgement has nothing left to acknowledge: that ends no call.
        bench.respond(&bare, if status == 488 { 481 } else { 200 }, "b", "", "");
        assert_eq!(bench.events().join(" ").contains("ChangeRefused"), told, "{status}");
        let is_tried_again = (0..500).any(|_| {
            bench.wait(Duration::from_millis(10));
            !bench.transmits.is_empty()
        });
        assert_eq!(is_tried_again, !told, "{status}");
        if is_tried_again {
            let update = bench.take();
            assert_eq!(brief(&update), "UPDATE");
            assert!(body(&update).contains("a=sendonly"));
            bench.respond(&update, 200, "b", CONTACT, &sdp(4000, "recvonly"));
        }
        bench.respond(&invite, 200, "b", CONTACT, "");
        assert_eq!(bench.take_all(), "ACK");
        let direction = if is_tried_again { "sendonly" } else { "sendrecv" };
        assert!(bench.media_of_call().last().unwrap().ends_with(direction), "{status}");
        bench.command(Command::Hangup { call });
        let bye = bench.take();
        bench.respond(&bye, 200, "b", "", "");
        bench.assert_at_rest();
    }
}

/// RFC 3262 is not for the first INVITE alone: the reliable responses to a re-INVITE are acknowledged in their order, each once,
/// and the first description in one of them is the answer.
#[test]
fn a_re_invite_is_answered_in_a_reliable_response_or_in_its_2xx() {
    for in_progress in [true, false] {
        let mut callee = Callee::talking("");
        let call = callee.call;
        callee.bench.command(Command::Hold { call, form: HoldForm::Direction, by: ChangeBy::Invite });
        let hold = callee.bench.take();
        assert_eq!(brief(&hold), "INVITE");
        let reliable = |rseq: u32| format!("{CONTACT}{ALLOW}Require: 100rel\r\nRSeq: {rseq}\r\n");
        callee.bench.respond(&hold, 180, "b", &reliable(7), "");
        let prack = callee.bench.take();
        let rack = format!("7 {} INVITE", hold.cseq().unwrap().number);
        assert_eq!((brief(&prack).as_str(), header(&prack, HeaderName::RAck)), ("PRACK", rack));
        callee.bench.respond(&hold, 180, "b", &reliable(7), "");
        callee.bench.respond(&hold, 183, "b", &reliable(9), &sdp(4000, "recvonly"));
        assert_eq!(callee.bench.take_all(), "", "one came before, and one before the other is missing");
        callee.bench.respond(&prack, 200, "b", "", "");
        // While it is open nothing else may change the session.
        assert_eq!(code(&callee.ask("UPDATE", "", &sdp(4002, "sendrecv"))), 491);
        assert!(!callee.bench.events().join(" ").contains("Held"));
        if in_progress {
            callee.bench.respond(&hold, 183, "b", &reliable(8), &sdp(4000, "recvonly"));
            let prack = callee.bench.take();
            assert_eq!((brief(&prack).as_str(), body(&prack).as_str()), ("PRACK", ""));
            assert_eq!(prack.to_tag().unwrap(), Some("b"));
            assert!(callee.bench.events().join(" ").contains("Held"), "it is in force before the 2xx");
            assert!(callee.bench.media_of_call().last().unwrap().ends_with("sendonly"));
            callee.bench.respond(&prack, 200, "b", "", "");
            // RFC 6337 §3.1.1: offers may follow, while the re-INVITE goes on; another INVITE may not.
            assert_eq!(code(&callee.ask("UPDATE", "", &sdp(4002, "recvonly"))), 200);
            assert_eq!(code(&callee.ask("INVITE", "", &sdp(4004, "sendrecv"))), 491);
            let cseq = callee.cseq;
            callee.ack(cseq);
            callee.bench.events();
        }
        // What the 2xx describes after that is no answer any more.
        let (again, media) = match in_progress {
            true => (sdp(4444, "sendrecv"), "192.0.2.9:4002 sendonly"),
            false => (sdp(4000, "recvonly"), "192.0.2.9:4000 sendonly"),
        };
        callee.bench.respond(&hold, 200, "b", CONTACT, &again);
        let ack = callee.bench.take();
        assert_eq!((brief(&ack).as_str(), body(&ack).as_str()), ("ACK", ""));
        assert_eq!(ack.cseq().unwrap().number, hold.cseq().unwrap().number);
        assert_eq!(callee.bench.events().join(" ").contains("Held"), !in_progress, "it is told once");
        assert_eq!(callee.bench.media_of_call().last().unwrap(), media);
        callee.hang_up();
    }
}

/// RFC 6141 §3.4: "a UAC that receives an error response to a re-INVITE for which changes have been already executed SHOULD
/// generate a new re-INVITE or UPDATE request"; its offer is "as close to those in the pre-re-INVITE state as possible".
#[test]
fn after_a_refusal_that_follows_a_reliable_answer_the_session_is_offered_as_it_was_before() {
    for refused_again in [None, Some(false), Some(true)] {
        let mut callee = Callee::talking("");
        let call = callee.call;
        callee.bench.command(Command::Hold { call, form: HoldForm::Direction, by: ChangeBy::Invite });
        let reliable = format!("{CONTACT}{ALLOW}Require: 100rel\r\nRSeq: 7\r\n");
        let refuse = |callee: &mut Callee, hold: &Message, direction: &str, early: bool| {
            assert_eq!(brief(hold), "INVITE");
            if early {
                callee.bench.respond(hold, 183, "b", &reliable, &sdp(4000, direction));
                let prack = callee.bench.take();
                callee.bench.respond(&prack, 200, "b", "", "");
            }
            callee.bench.respond(hold, 488, "b", "", "");
            assert_eq!(brief(&callee.bench.take()), "ACK");
            assert!(callee.bench.events().join(" ").contains("ChangeRefused"));
        };
        let hold = callee.bench.take();
        refuse(&mut callee, &hold, "recvonly", true);
        let back = callee.bench.take();
        assert!(body(&back).contains("a=sendrecv"), "{}", body(&back));
        match refused_again {
            None => {
                callee.bench.respond(&back, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
                assert_eq!(callee.bench.take_all(), "ACK");
                let told = callee.bench.events().join(" ");
                assert!(told.contains("Resumed"), "{told}");
            }
            // There is no third one, whatever the other side has agreed to before.
            Some(early) => refuse(&mut callee, &back, "sendrecv", early),
        }
        assert_eq!(callee.bench.take_all(), "");
        let direction = if refused_again == Some(false) { "sendonly" } else { "sendrecv" };
        assert!(callee.bench.media_of_call().last().unwrap().ends_with(direction), "{refused_again:?}");
        callee.hang_up();
    }
}

/// RFC 6337 §2.2, pattern 5, in a call: a PRACK may offer where the reliable response to a re-INVITE has answered. We answer
/// a re-INVITE at once with its 2xx, so that there is nothing to acknowledge; and what its owner wants meanwhile goes in a
/// request of its own, which may be refused without doubt about the PRACK.
#[test]
fn pattern_5_in_a_call_is_neither_answered_nor_begun_and_the_change_comes_after() {
    let mut callee = Callee::talking("");
    let call = callee.call;
    let before = callee.bench.media_of_call();
    let rack = "RAck: 1 1 INVITE\r\n";
    assert_eq!(code(&callee.ask("PRACK", rack, &sdp(4002, "sendonly"))), 481);
    let require = "Require: 100rel\r\n";
    let ok = callee.ask("INVITE", require, &sdp(4000, "sendrecv"));
    assert_eq!(brief(&ok), "200/INVITE", "no provisional response before it");
    let rack = format!("RAck: 1 {} INVITE\r\n", callee.cseq);
    assert_eq!(code(&callee.ask("PRACK", &rack, &sdp(4002, "sendonly"))), 481);
    callee.ack(3);
    assert_eq!(callee.bench.media_of_call(), before);
    // Ours.
    callee.bench.command(Command::Refresh { call, by: ChangeBy::Invite });
    let refresh = callee.bench.take();
    callee.bench.command(Command::Hold { call, form: HoldForm::Direction, by: ChangeBy::Invite });
    let reliable = format!("{CONTACT}{ALLOW}Require: 100rel\r\nRSeq: 7\r\n");
    callee.bench.respond(&refresh, 183, "b", &reliable, &sdp(4000, "sendrecv"));
    let prack = callee.bench.take();
    assert_eq!((brief(&prack).as_str(), body(&prack).as_str()), ("PRACK", ""));
    callee.bench.respond(&prack, 200, "b", "", "");
    assert_eq!(callee.bench.take_all(), "", "RFC 3261 §14.1: one INVITE at a time");
    callee.bench.respond(&refresh, 200, "b", CONTACT, "");
    assert_eq!(brief(&callee.bench.take()), "ACK");
    let hold = callee.bench.take();
    assert!(brief(&hold) == "INVITE" && body(&hold).contains("a=sendonly"));
    callee.bench.respond(&hold, 200, "b", CONTACT, &sdp(4000, "recvonly"));
    assert_eq!(callee.bench.take_all(), "ACK");
    assert!(callee.bench.media_of_call().last().unwrap().ends_with("sendonly"));
    callee.hang_up();
}

#[test]
fn no_prack_follows_one_whose_offer_is_refused_after_the_2xx() {
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    bench.command(Command::Hold { call, form: HoldForm::Direction, by: ChangeBy::Invite });
    let reliable = format!("{CONTACT}{ALLOW}Require: 100rel\r\nRSeq: 7\r\n");
    bench.respond(&invite, 183, "b", &reliable, &sdp(4000, "sendrecv"));
    let prack = bench.take();
    bench.respond(&invite, 200, "b", CONTACT, "");
    assert_eq!(bench.take_all(), "ACK");
    bench.respond(&prack, 488, "b", "", "");
    assert_eq!(bench.take_all(), "", "RFC 3262 §3: the final response has ended the repetitions");
    assert!(bench.events().join(" ").contains("ChangeRefused"));
    bench.command(Command::Hangup { call });
    let bye = bench.take();
    bench.respond(&bye, 200, "b", "", "");
    bench.assert_at_rest();
}

#[test]
fn branches_of_a_fork_agree_each_for_itself_and_the_one_that_answers_is_the_call() {
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    let reliable = format!("{CONTACT}{ALLOW}Require: 100rel\r\nRSeq: 1\r\n");
    for (tag, port) in [("one", 4000), ("two", 5000)] {
        bench.respond(&invite, 183, tag, &reliable, &sdp(port, "sendrecv"));
        let prack = bench.take();
        assert_eq!(prack.to().unwrap().tag(), Some(tag));
        bench.respond(&prack, 200, tag, "", "");
    }
    assert_eq!(bench.media_of_call(), ["192.0.2.9:4000 sendrecv"], "one is heard");
    // The other one moves; nobody hears that yet.
    let call_id = std::str::from_utf8(invite.value(HeaderName::CallId).unwrap()).unwrap().to_owned();
    let from = invite.from().unwrap().tag().unwrap().to_owned();
    let update = request("UPDATE", 1, "x", "", &sdp(5002, "sendrecv"))
        .replace("Call-ID: c1", &format!("Call-ID: {call_id}"))
        .replace("<sip:alice@192.0.2.9>;tag=x", &format!("<sip:alice@192.0.2.9>;tag={from}"))
        .replace(";tag=b", ";tag=two");
    bench.receive(&update);
    assert_eq!(bench.take_all(), "200/UPDATE");
    assert_eq!(bench.media_of_call().len(), 1);
    bench.respond(&invite, 200, "two", CONTACT, "");
    assert_eq!(bench.take_all(), "ACK");
    assert_eq!(bench.media_of_call().last().unwrap(), "192.0.2.9:5002 sendrecv");
    bench.command(Command::Hangup { call });
    let bye = bench.take();
    bench.respond(&bye, 200, "two", "", "");
    bench.assert_at_rest();
}

#[test]
fn a_422_is_answered_with_the_interval_that_it_wants() {
    let mut bench = Bench::new(phone());
    let (_, invite) = bench.call_bob();
    assert_eq!(header(&invite, HeaderName::SessionExpires), "1800");
    bench.respond(&invite, 422, "b", "Min-SE: 3600\r\n", "");
    assert_eq!(brief(&bench.take()), "ACK");
    let again = bench.take();
    assert_eq!(header(&again, HeaderName::SessionExpires), "3600");
    assert_eq!(header(&again, HeaderName::MinSe), "3600");
    assert_eq!(again.cseq().unwrap().number, 2);
    bench.respond(&again, 422, "b", "Min-SE: 3600\r\n", "");
    assert_eq!(bench.take_all(), "ACK", "no third time");
    assert!(bench.ended().unwrap().contains("422"));
    bench.assert_at_rest();
}

/// RFC 4028 §7.4: each further refresh has "the largest value among all Min-SE header field values" that a 422 or a request
/// of the dialog had; what a 422 to the INVITE named is "effectively 'cleared' once the dialog is established".
#[test]
fn a_refresh_and_all_after_it_have_the_min_se_that_a_422_or_a_request_has_named() {
    for (allow, method) in [(ALLOW, "UPDATE"), ("Allow: INVITE, ACK, BYE, CANCEL\r\n", "INVITE")] {
        let mut bench = Bench::new(phone());
        let (call, invite) = bench.call_bob();
        bench.respond(&invite, 422, "p", "Min-SE: 2400\r\n", "");
        assert_eq!(brief(&bench.take()), "ACK");
        let invite = bench.take();
        assert_eq!(header(&invite, HeaderName::MinSe), "2400");
        let timer = |seconds: u32| format!("{CONTACT}{allow}Session-Expires: {seconds};refresher=uac\r\n");
        bench.respond(&invite, 200, "b", &timer(600), &sdp(4000, "sendrecv"));
        assert_eq!(bench.take_all(), "ACK");
        let mut interval = 600;
        // Each 422, and the interval that is in force after it.
        for (refused, least) in
            [(None, None), (Some(900), Some(900)), (None, Some(900)), (Some(1_000), Some(1_000))]
        {
            bench.wait(Duration::from_secs(interval / 2));
            let mut refresh = bench.take();
            assert_eq!(brief(&refresh), method);
            if let Some(refused) = refused {
                bench.respond(&refresh, 422, "b", &format!("Min-SE: {refused}\r\n"), "");
                if method == "INVITE" {
                    assert_eq!(brief(&bench.take()), "ACK");
                }
                refresh = bench.take();
                assert_eq!(brief(&refresh), method);
            }
            let least_text = least.map(|least: u64| least.to_string()).unwrap_or_default();
            assert_eq!(header(&refresh, HeaderName::MinSe), least_text, "{method} {refused:?}");
            interval = interval.max(least.unwrap_or(0));
            assert_eq!(header(&refresh, HeaderName::SessionExpires), format!("{interval};refresher=uac"));
            let answer = if method == "INVITE" { sdp(4000, "sendrecv") } else { String::new() };
            bench.respond(&refresh, 200, "b", &timer(interval as u32), &answer);
            bench.take_all();
        }
        bench.command(Command::Hangup { call });
        let bye = bench.take();
        bench.respond(&bye, 200, "b", "", "");
        bench.assert_at_rest();
    }
    // Those of the other side's requests: of its INVITE, and of each that refreshes.
    let mut callee =
        Callee::talking("Supported: timer\r\nSession-Expires: 600;refresher=uas\r\nMin-SE: 200\r\n");
    let call = callee.call;
    for (named, least) in
        [(None, "200"), (Some(("UPDATE", 700)), "700"), (Some(("INVITE", 800)), "800"), (None, "800")]
    {
        if let Some((method, seconds)) = named {
            let more =
                format!("Supported: timer\r\nSession-Expires: 900;refresher=uas\r\nMin-SE: {seconds}\r\n");
            let offer = if method == "INVITE" { sdp(4000, "sendrecv") } else { String::new() };
            assert_eq!(code(&callee.ask(method, &more, &offer)), 200);
            let cseq = callee.cseq;
            callee.ack(cseq);
        }
        callee.bench.command(Command::Refresh { call, by: ChangeBy::Update });
        let refresh = callee.bench.take();
        assert_eq!(header(&refresh, HeaderName::MinSe), least);
        callee.bench.respond(&refresh, 200, "b", CONTACT, "");
    }
    callee.hang_up();
}

#[test]
fn we_refresh_by_update_where_it_is_allowed_and_else_by_the_same_offer() {
    for (allow, method) in [("", "UPDATE"), ("Allow: INVITE, ACK, BYE, CANCEL\r\n", "INVITE")] {
        let mut bench = Bench::new(phone());
        let (_, invite) = bench.call_bob();
        let more = format!(
            "{CONTACT}{}Require: timer\r\nSession-Expires: 1200;refresher=uac\r\n",
            if allow.is_empty() { ALLOW } else { allow }
        );
        bench.respond(&invite, 200, "b", &more, &sdp(4000, "sendrecv"));
        assert_eq!(bench.take_all(), "ACK");
        for _ in 0..2 {
            bench.wait(Duration::from_millis(599_900));
            assert_eq!(bench.take_all(), "");
            bench.wait(Duration::from_millis(200));
            let refresh = bench.take();
            assert_eq!(brief(&refresh), method);
            assert_eq!(header(&refresh, HeaderName::SessionExpires), "1200;refresher=uac");
            if method == "INVITE" {
                assert_eq!(refresh.body(), invite.body(), "unchanged, its version too");
            } else {
                assert!(refresh.body().is_empty());
            }
            let answer = if method == "INVITE" { sdp(4000, "sendrecv") } else { String::new() };
            bench.respond(&refresh, 200, "b", &more, &answer);
            assert_eq!(bench.take_all(), if method == "INVITE" { "ACK" } else { "" });
        }
        // The other side dies.
        bench.wait(Duration::from_secs(600));
        assert!(bench.take_all().starts_with(method));
        bench.wait(Duration::from_secs(33));
        assert!(bench.take_all().contains("BYE"));
        bench.wait(Duration::from_secs(40));
        assert_eq!(bench.ended().as_deref(), Some("DialogLost"));
        bench.assert_at_rest();
    }
}

#[test]
fn a_refresher_that_dies_is_sent_bye_before_the_session_is_over() {
    let mut callee = Callee::talking("Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n");
    // It refreshes once.
    callee.bench.wait(Duration::from_secs(300));
    assert_eq!(callee.bench.take_all(), "");
    let ok = callee.ask("UPDATE", "Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n", "");
    assert_eq!(header(&ok, HeaderName::SessionExpires), "600;refresher=uac");
    assert_eq!(header(&ok, HeaderName::Require), "timer");
    callee.bench.wait(Duration::from_millis(567_900));
    assert_eq!(callee.bench.take_all(), "");
    callee.bench.wait(Duration::from_millis(200));
    // RFC 4028 §10: min(32, 600 / 3) seconds before the end.
    let bye = callee.bench.take();
    assert_eq!(brief(&bye), "BYE");
    callee.bench.respond(&bye, 200, "b", "", "");
    assert_eq!(callee.bench.ended().as_deref(), Some("SessionExpired"));
    callee.bench.assert_at_rest();
}

#[test]
fn an_interval_below_our_minimum_gets_422_in_an_invite_and_in_an_update() {
    let session = SessionSettings { timer_min_s: 120, ..SessionSettings::default() };
    let mut bench = Bench::new(Settings { session, ..phone() });
    let short = "Supported: timer\r\nSession-Expires: 100\r\n";
    bench.receive(&request("INVITE", 1, "", short, &sdp(4000, "sendrecv")));
    let refusal = bench.take();
    assert_eq!((code(&refusal), header(&refusal, HeaderName::MinSe).as_str()), (422, "120"));
    bench.receive(&request("ACK", 1, refusal.to().unwrap().tag().unwrap(), "", ""));
    bench.assert_at_rest();

    let mut callee = Callee::talking("");
    callee.bench.input(Input::Configure(Arc::new(Settings { version: 2, session, ..phone() })));
    let refusal = callee.ask("UPDATE", short, "");
    assert_eq!((code(&refusal), header(&refusal, HeaderName::MinSe).as_str()), (422, "120"));
    callee.hang_up();
}

#[test]
fn a_refresh_that_is_refused_is_told_and_the_call_ends_when_the_session_does() {
    let (mut bench, _, _) = caller(phone(), "Session-Expires: 600;refresher=uac\r\n");
    bench.wait(Duration::from_secs(300));
    let refresh = bench.take();
    bench.respond(&refresh, 503, "b", "", "");
    assert!(bench.events().join(" ").contains("RefreshFailed"));
    bench.wait(Duration::from_secs(267));
    assert_eq!(bench.take_all(), "");
    bench.wait(Duration::from_secs(2));
    let bye = bench.take();
    bench.respond(&bye, 200, "b", "", "");
    assert_eq!(bench.ended().as_deref(), Some("SessionExpired"));
    bench.assert_at_rest();
}
