//! Several early dialogs of one call: what the caller hears until one of them answers (RFC 3960 §3.2, RFC 6337 §2.2).

use std::time::Duration;

use dialtone_wire::{HeaderName, Message};

use super::bench::{Bench, brief, header, sdp};
use crate::io::{CallHandle, ChangeBy, Command, Event, HoldForm};

/// A provisional response: its status, the branch, and the description, by the direction of its sound.
type Response = (u16, &'static str, Option<&'static str>);

/// What is heard after each response: ringback that we make, the far end at this address, or nothing.
fn heard(responses: &[Response], reliable: bool) -> Vec<String> {
    let mut bench = Bench::phone();
    let (_, invite) = bench.call_bob();
    let mut rings = false;
    let mut out = Vec::new();
    for (status, tag, direction) in responses {
        let port = if *tag == "a" { 4000 } else { 4002 };
        let body = direction.map(|direction| sdp(port, direction)).unwrap_or_default();
        let rseq = if reliable { "\nRequire: 100rel\nRSeq: 1" } else { "" };
        bench.respond(&invite, *status, tag, &format!("Contact: <sip:{tag}@192.0.2.9>{rseq}"), &body);
        bench.take_all();
        for event in bench.events.drain(..) {
            if let Event::Progress { status, has_media, .. } = event {
                rings = !has_media && (rings || status.code() == 180);
            }
        }
        let media = bench.media_of_call().last().cloned().unwrap_or_default();
        let is_heard = media.ends_with("sendrecv") || media.ends_with("recvonly");
        assert!(!(rings && is_heard), "never both: {responses:?}");
        out.push(match rings {
            true => "ringback".to_owned(),
            false if is_heard => media.split(' ').next().unwrap_or_default().to_owned(),
            false => "nothing".to_owned(),
        });
    }
    // The branch that answers is the call, whichever was heard.
    bench.respond(&invite, 200, "b", "Contact: <sip:b@192.0.2.9>", &sdp(4002, "sendrecv"));
    assert_eq!(bench.take_all(), "ACK");
    assert_eq!(bench.media_of_call().last().map(String::as_str), Some("192.0.2.9:4002 sendrecv"));
    out
}

#[test]
fn one_branch_is_heard_or_we_ring_ourselves_and_never_both() {
    const A: &str = "192.0.2.9:4000";
    let sound = Some("sendrecv");
    for reliable in [false, true] {
        for (responses, expected) in [
            (&[(180, "a", None), (180, "b", None)][..], &["ringback", "ringback"][..]),
            (&[(183, "a", sound), (180, "b", None)], &[A, A]),
            (&[(180, "a", None), (183, "b", sound)], &["ringback", "192.0.2.9:4002"]),
            (&[(183, "a", sound), (183, "b", sound)], &[A, A]),
            (&[(183, "a", Some("inactive")), (180, "b", None)], &["nothing", "ringback"]),
            (&[(183, "a", None), (180, "b", None)], &["nothing", "ringback"]),
        ] {
            assert_eq!(heard(responses, reliable), expected, "{responses:?}, reliable: {reliable}");
        }
    }
}

#[test]
fn each_branch_of_an_invite_without_offer_makes_its_own() {
    let mut bench = Bench::with_ports(super::bench::settings("alice", "192.0.2.1:5060"), false);
    bench.has_ports = true;
    let (_, invite) = bench.call_bob();
    assert!(invite.body().is_empty());
    let early = "Contact: <sip:a@192.0.2.9>\nRequire: 100rel\nRSeq: 1";
    bench.respond(&invite, 183, "a", early, &sdp(4000, "sendrecv"));
    assert!(String::from_utf8_lossy(bench.take().body()).contains("m=audio"), "the answer in the PRACK");
    assert_eq!(bench.media_of_call(), ["192.0.2.9:4000 sendrecv"]);
    bench.respond(&invite, 200, "b", "Contact: <sip:b@192.0.2.9>", &sdp(4002, "sendrecv"));
    let ack = bench.take();
    assert!(String::from_utf8_lossy(ack.body()).contains("m=audio"), "the answer in the ACK");
    assert_eq!(bench.take_all(), "", "no BYE");
    assert_eq!(bench.media_of_call().last().map(String::as_str), Some("192.0.2.9:4002 sendrecv"));
}

const ALLOW: &str = "Allow: INVITE, ACK, CANCEL, BYE, PRACK, UPDATE";

fn reliable(branch: &str, rseq: u32) -> String {
    format!("Contact: <sip:{branch}@192.0.2.9>\n{ALLOW}\nRequire: 100rel\nRSeq: {rseq}")
}

/// A call whose branch `a` has answered our offer before it answers the call, and our UPDATE that holds it.
fn holding_early() -> (Bench, CallHandle, [Message; 2]) {
    let mut bench = Bench::phone();
    let (call, invite) = bench.call_bob();
    bench.respond(&invite, 183, "a", &reliable("a", 1), &sdp(4000, "sendrecv"));
    let prack = bench.take();
    bench.respond(&prack, 200, "a", "", "");
    bench.command(Command::Hold { call, form: HoldForm::Direction, by: ChangeBy::Update });
    let update = bench.take();
    assert_eq!(brief(&update), "UPDATE");
    (bench, call, [invite, update])
}

/// What happens to the UPDATE before the other branch answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hold {
    UnderWay,
    Agreed,
    MetGlare,
}

impl Hold {
    fn happen(self, bench: &mut Bench, update: &Message) {
        match self {
            Hold::UnderWay => {}
            Hold::Agreed => {
                bench.respond(update, 200, "a", "Contact: <sip:a@192.0.2.9>", &sdp(4000, "recvonly"))
            }
            Hold::MetGlare => bench.respond(update, 491, "a", "", ""),
        }
        assert_eq!(bench.take_all(), "");
    }
}

/// Branch `b` has answered: it is put on hold like the first, and the owner is told when it is.
fn held_in_the_end(bench: &mut Bench, call: CallHandle) {
    let tag = "b";
    let hold = bench.take();
    assert_eq!(brief(&hold), "UPDATE");
    assert_eq!(hold.to_tag().unwrap(), Some(tag));
    assert!(String::from_utf8_lossy(hold.body()).contains("a=sendonly"));
    let before = bench.events().join(" ");
    let held = before.matches("Held").count() - before.matches("Resumed").count();
    assert_eq!(held, 0, "nobody is held yet: {before}");
    bench.respond(&hold, 200, tag, "Contact: <sip:b@192.0.2.9>", &sdp(4002, "recvonly"));
    let told = bench.events().join(" ");
    assert!(told.contains("Held") && told.contains("Local"), "{told}");
    bench.wait(Duration::from_secs(5));
    assert_eq!(bench.take_all(), "", "once is enough");
    assert!(bench.media_of_call().last().unwrap().ends_with("192.0.2.9:4002 sendonly"));
    bench.command(Command::Hangup { call });
    let bye = bench.take();
    bench.respond(&bye, 200, tag, "", "");
    bench.assert_at_rest();
}

#[test]
fn who_was_to_be_held_is_held_whichever_branch_answers() {
    for hold in [Hold::UnderWay, Hold::Agreed, Hold::MetGlare] {
        for settled in [false, true] {
            let (mut bench, call, [invite, update]) = holding_early();
            if settled {
                bench.respond(&invite, 183, "b", &reliable("b", 1), &sdp(4002, "sendrecv"));
                let prack = bench.take();
                bench.respond(&prack, 200, "b", "", "");
            }
            hold.happen(&mut bench, &update);
            let body = if settled { String::new() } else { sdp(4002, "sendrecv") };
            bench.respond(&invite, 200, "b", &format!("Contact: <sip:b@192.0.2.9>\n{ALLOW}"), &body);
            assert_eq!(brief(&bench.take()), "ACK", "{hold:?}, {settled}");
            bench.respond(&update, 487, "a", "", "");
            held_in_the_end(&mut bench, call);
        }
    }
}

#[test]
fn who_was_to_be_held_is_held_after_the_invite_had_to_be_sent_again() {
    for hold in [Hold::UnderWay, Hold::Agreed, Hold::MetGlare] {
        for (status, why) in [
            (401, "WWW-Authenticate: Digest realm=\"192.0.2.9\", nonce=\"n\", qop=\"auth\""),
            (407, "Proxy-Authenticate: Digest realm=\"192.0.2.9\", nonce=\"n\", qop=\"auth\""),
            (422, "Min-SE: 3600"),
            (302, "Contact: <sip:carol@192.0.2.9>"),
        ] {
            let (mut bench, call, [invite, update]) = holding_early();
            hold.happen(&mut bench, &update);
            bench.respond(&invite, status, "p", why, "");
            assert_eq!(brief(&bench.take()), "ACK");
            let again = bench.take();
            assert_eq!(brief(&again), "INVITE", "{hold:?}, {status}");
            assert!(String::from_utf8_lossy(again.body()).contains("a=sendrecv"));
            // RFC 3261 §13.2.2.3: the early dialog is no more.
            bench.respond(&update, 481, "a", "", "");
            bench.wait(Duration::from_secs(5));
            assert_eq!(
                bench.take_all(),
                "INVITE INVITE INVITE",
                "{hold:?}, {status}: not before there is an answer"
            );
            let contact = format!("Contact: <sip:b@192.0.2.9>\n{ALLOW}");
            bench.respond(&again, 200, "b", &contact, &sdp(4002, "sendrecv"));
            assert_eq!(brief(&bench.take()), "ACK");
            held_in_the_end(&mut bench, call);
        }
    }
}

#[test]
fn a_call_that_was_to_be_joined_is_joined_whichever_branch_answers() {
    for agreed in [false, true] {
        let mut bench = Bench::phone();
        let contact = format!("Contact: <sip:b@192.0.2.9>\n{ALLOW}");
        let (first, invite) = bench.call_bob();
        bench.respond(&invite, 200, "c", &contact, &sdp(4010, "sendrecv"));
        bench.take();
        let (call, invite) = bench.call_bob();
        bench.respond(&invite, 183, "a", &reliable("a", 1), &sdp(4000, "sendrecv"));
        let prack = bench.take();
        bench.respond(&prack, 200, "a", "", "");
        bench.command(Command::Join { call, with: first });
        for _ in 0..2 {
            let change = bench.take();
            match brief(&change).as_str() {
                "INVITE" => bench.respond(&change, 200, "c", &contact, &sdp(4010, "sendrecv")),
                "UPDATE" if agreed => bench.respond(&change, 200, "a", &contact, &sdp(4000, "sendrecv")),
                other => assert_eq!(other, "UPDATE"),
            }
        }
        assert_eq!(bench.take_all(), "ACK");
        bench.events();
        bench.respond(&invite, 200, "b", &contact, &sdp(4002, "sendrecv"));
        assert_eq!(brief(&bench.take()), "ACK");
        let again = bench.take();
        assert_eq!((brief(&again).as_str(), again.to_tag().unwrap()), ("INVITE", Some("b")));
        assert!(header(&again, HeaderName::Contact).ends_with(";isfocus"));
        bench.respond(&again, 200, "b", &contact, &sdp(4002, "sendrecv"));
        assert_eq!(bench.take_all(), "ACK");
        let told = bench.events().join(" ");
        assert!(told.contains("Joined") && !told.contains("NotJoined"), "{told}");
        for (call, tag) in [(call, "b"), (first, "c")] {
            bench.command(Command::Hangup { call });
            let bye = bench.take();
            bench.respond(&bye, 200, tag, "", "");
        }
        bench.assert_at_rest();
    }
}

/// How the branch that is heard is lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Bye,
    Refused(u16),
    Silent,
}

#[test]
fn a_branch_that_is_lost_takes_no_other_with_it() {
    for loss in [Loss::Bye, Loss::Refused(481), Loss::Refused(408), Loss::Silent] {
        let (mut bench, call, [invite, update]) = holding_early();
        bench.respond(&invite, 180, "b", &format!("Contact: <sip:b@192.0.2.9>\n{ALLOW}"), "");
        bench.events.clear();
        match loss {
            Loss::Bye => {
                let bye = format!(
                    "BYE sip:alice@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKbye\r\n\
                     Max-Forwards: 70\r\nFrom: {};tag=a\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\n\
                     Content-Length: 0\r\n\r\n",
                    header(&invite, HeaderName::To),
                    header(&invite, HeaderName::From),
                    header(&invite, HeaderName::CallId),
                );
                bench.receive(&bye);
                assert_eq!(bench.take_all(), "200/BYE");
                // The hold was on its way when he hung up.
                bench.respond(&update, 481, "a", "", "");
            }
            Loss::Refused(status) => {
                bench.respond(&update, status, "a", "", "");
            }
            Loss::Silent => bench.wait(Duration::from_secs(33)),
        }
        bench.take_all();
        assert!(
            !bench.events.iter().any(|event| matches!(event, Event::Ended { .. })),
            "{loss:?}: it rings on"
        );
        let last = bench.media_of_call().last().cloned().unwrap_or_default();
        assert!(last.ends_with("inactive"), "{loss:?}: nobody is heard: {last}");
        let told = bench.events.iter().any(|event| matches!(event, Event::Progress { has_media: false, .. }));
        assert!(told, "{loss:?}: so that we ring ourselves");
        bench.respond(
            &invite,
            183,
            "b",
            &format!("Contact: <sip:b@192.0.2.9>\n{ALLOW}"),
            &sdp(4002, "sendrecv"),
        );
        let last = bench.media_of_call().last().cloned().unwrap_or_default();
        assert_eq!(last, "192.0.2.9:4002 sendrecv", "{loss:?}: now another one is");
        bench.respond(
            &invite,
            200,
            "b",
            &format!("Contact: <sip:b@192.0.2.9>\n{ALLOW}"),
            &sdp(4002, "sendrecv"),
        );
        assert_eq!(brief(&bench.take()), "ACK", "{loss:?}");
        held_in_the_end(&mut bench, call);
    }
}
