//! What a wrong peer makes of REFER, NOTIFY, SUBSCRIBE and Replaces.

use std::time::Duration;

use dialtone_wire::{HeaderName, Message};

use super::bench::{Bench, header, sdp, settings, uri};
use crate::io::{CallHandle, Command, Event, Play, TransferOutcome, TransferTo};
use crate::settings::{Limits, ReferPolicy, ReplacesPolicy, Settings};

const CONTACT: &str = "Contact: <sip:bob@192.0.2.9>";
const TO_CAROL: &str = "Refer-To: <sip:carol@192.0.2.9>";
const TAKES: &str = "Content-Type: message/sipfrag";

/// An INVITE from outside of any dialog, with this header.
pub(super) fn invite(more: &str) -> String {
    let body = sdp(4000, "sendrecv");
    format!(
        "INVITE sip:alice@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKr{more_hash}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:dave@192.0.2.9>;tag=d\r\nTo: <sip:alice@192.0.2.1>\r\nCall-ID: r{more_hash}\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:dave@192.0.2.9>\r\n{more}\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len(),
        more_hash = more.bytes().fold(7_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())),
    )
}

/// A phone in a call that it made, whose peer is the test.
struct Peer {
    bench: Bench,
    call: CallHandle,
    invite: Message,
    cseq: u32,
}

impl Peer {
    fn with(change: impl Fn(&mut Settings)) -> Peer {
        let mut settings = settings("alice", "192.0.2.1:5060");
        settings.transfer.referred = ReferPolicy::Accept;
        change(&mut settings);
        let mut bench = Bench::new(settings);
        let (call, invite) = bench.call_bob();
        bench.respond(&invite, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
        assert_eq!(bench.take_all(), "ACK");
        Peer { bench, call, invite, cseq: 0 }
    }

    fn new() -> Peer {
        Peer::with(|_| {})
    }

    /// A request of the peer within the dialog of the call.
    fn ask(&mut self, method: &str, more: &str, body: &str) {
        self.cseq += 1;
        let tag = self.invite.from_tag().unwrap().unwrap().to_owned();
        let text = format!(
            "{method} sip:alice@192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKp{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:bob@192.0.2.9>;tag=b\r\nTo: <sip:alice@192.0.2.9>;tag={tag}\r\n\
             Call-ID: {}\r\nCSeq: {cseq} {method}\r\n{CONTACT}\r\n{}Content-Length: {}\r\n\r\n{body}",
            self.invite.call_id().unwrap(),
            if more.is_empty() { String::new() } else { format!("{more}\r\n") },
            body.len(),
            cseq = self.cseq,
        );
        self.bench.receive(&text);
    }

    /// The status that it gets at once.
    fn asked(&mut self, method: &str, more: &str, body: &str) -> u16 {
        self.ask(method, more, body);
        self.bench.take().status().unwrap().code()
    }

    /// The phone transfers the peer, which accepts.
    fn transferred(&mut self) -> Message {
        let to = TransferTo::Address(uri("sip:carol@192.0.2.9"));
        self.bench.command(Command::Transfer { call: self.call, to });
        let refer = self.bench.take();
        self.bench.respond(&refer, 200, "b", CONTACT, "");
        refer
    }

    fn outcomes(&mut self) -> Vec<TransferOutcome> {
        let ended = self.bench.events.drain(..).filter_map(|event| match event {
            Event::TransferEnded { outcome, .. } => Some(outcome),
            _ => None,
        });
        ended.collect()
    }

    fn over(mut self) {
        self.bench.transmits.clear();
        self.bench.command(Command::Hangup { call: self.call });
        self.bench.wait(Duration::from_secs(400));
        self.bench.transmits.clear();
        self.bench.assert_at_rest();
    }
}

#[test]
fn a_refer_that_makes_no_sense_gets_400_416_or_420_and_calls_nobody() {
    let mut peer = Peer::new();
    let to_carol = |more: &str| format!("Refer-To: <sip:carol@192.0.2.9{more}>");
    for (more, status) in [
        ("", 400),
        ("Refer-To: ", 400),
        ("Refer-To: <sip:carol@", 400),
        ("Refer-To: nonsense here", 400),
        ("Refer-To: <sip:a@b>, <sip:c@d>", 400),
        (&*format!("{TO_CAROL}\r\nRefer-To: <sip:dave@192.0.2.9>"), 400),
        (&*to_carol("?Replaces=nonsense"), 400),
        (&*to_carol("?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2&Replaces=b%3Bto-tag%3D1%3Bfrom-tag%3D2"), 400),
        (&*format!("{TO_CAROL}\r\nReferred-By: <sip:"), 400),
        (&*format!("{TO_CAROL}\r\nReferred-By: <sip:a@b>\r\nReferred-By: <sip:c@d>"), 400),
        (&*format!("{TO_CAROL}\r\nRefer-Sub: maybe"), 400),
        (&*format!("{TO_CAROL}\r\nReplaces: a;to-tag=1;from-tag=2"), 400),
        ("Refer-To: <http://example.com/>", 416),
        ("Refer-To: <mailto:carol@example.com>", 416),
        ("Refer-To: <tel:+15550100>", 416),
        (&*format!("{TO_CAROL}\r\nRequire: explicitsub"), 420),
        (&*to_carol("?Require=100rel"), 420),
        (&*to_carol(";method=BYE"), 403),
    ] {
        assert_eq!(peer.asked("REFER", more, ""), status, "{more}");
        assert_eq!(peer.bench.take_all(), "", "{more}");
    }
    peer.over();
}

#[test]
fn what_a_refer_wants_in_the_invite_is_sent_only_where_it_is_known_to_be_harmless() {
    let mut peer = Peer::new();
    let refer_to = "Refer-To: <sip:carol@192.0.2.9;method=INVITE;user=phone?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2\
                    &Require=replaces&Subject=x&Route=%3Csip%3Aevil%40192.0.2.66%3E&body=x>";
    assert_eq!(peer.asked("REFER", refer_to, ""), 200);
    let notify = peer.bench.take();
    assert_eq!(notify.method().unwrap().as_str(), "NOTIFY");
    let invite = peer.bench.take();
    assert_eq!(invite.uri_text(), "sip:carol@192.0.2.9;user=phone");
    assert_eq!(header(&invite, HeaderName::Replaces), "a@b;to-tag=1;from-tag=2");
    assert_eq!(header(&invite, HeaderName::Require), "replaces");
    assert_eq!(header(&invite, HeaderName::Route), "");
    assert_eq!(header(&invite, HeaderName::Subject), "");
    assert_eq!(invite.max_forwards().unwrap(), Some(69));
    // A redirection takes them along.
    peer.bench.respond(&invite, 302, "c", "Contact: <sip:carol@192.0.2.8>", "");
    assert_eq!(peer.bench.take().method().unwrap().as_str(), "ACK");
    let again = peer.bench.take();
    assert_eq!(header(&again, HeaderName::Replaces), "a@b;to-tag=1;from-tag=2");
    assert_eq!(again.max_forwards().unwrap(), Some(69));
    peer.bench.respond(&again, 404, "c", "", "");
    peer.over();
}

#[test]
fn without_subscription_nothing_is_told() {
    // RFC 4488, and RFC 7614 whose option must be obeyed.
    for more in ["Refer-Sub: false", "Require: norefersub\r\nRefer-Sub: false", "Require: nosub"] {
        let mut peer = Peer::new();
        peer.ask("REFER", &format!("{TO_CAROL}\r\n{more}"), "");
        let accepted = peer.bench.take();
        assert_eq!(accepted.status().unwrap().code(), 200);
        assert_eq!(accepted.value_by_text("Refer-Sub"), Some(&b"false"[..]));
        let invite = peer.bench.take();
        assert_eq!(invite.method().unwrap().as_str(), "INVITE");
        peer.bench.respond(&invite, 486, "c", "", "");
        assert_eq!(peer.bench.take_all(), "ACK");
        peer.over();
    }
}

#[test]
fn a_refer_outside_of_a_call_is_refused_unless_it_names_one_or_strangers_may() {
    let outside = |more: &str| {
        format!(
            "REFER sip:alice@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKo{}\r\nMax-Forwards: 70\r\n\
             From: <sip:bob@192.0.2.9>;tag=o\r\nTo: <sip:alice@192.0.2.1>\r\nCall-ID: o{}\r\nCSeq: 1 REFER\r\n{TO_CAROL}\r\n\
             {more}Content-Length: 0\r\n\r\n",
            more.len(),
            more.len()
        )
    };
    let mut peer = Peer::new();
    let contact = format!("{CONTACT}\r\n");
    // Without Contact there is nobody to be told (RFC 3515 §2.2).
    peer.bench.receive(&outside(""));
    assert_eq!(peer.bench.take().status().unwrap().code(), 400);
    peer.bench.receive(&outside(&contact));
    let refused = peer.bench.take();
    assert_eq!(refused.status().unwrap().code(), 403);
    assert!(header(&refused, HeaderName::Warning).contains("Nobody is called"));
    peer.bench.receive(&outside(&format!("{contact}Target-Dialog: x;local-tag=1;remote-tag=2\r\n")));
    assert_eq!(peer.bench.take_all(), "403/REFER");
    // RFC 4538: the call is known by its Call-ID and both tags.
    let (call_id, tag) =
        (peer.invite.call_id().unwrap().to_owned(), peer.invite.from_tag().unwrap().unwrap().to_owned());
    let target =
        format!("{contact}Require: tdialog\r\nTarget-Dialog: {call_id};local-tag={tag};remote-tag=b\r\n");
    peer.bench.receive(&outside(&target));
    let accepted = peer.bench.take();
    assert_eq!(accepted.status().unwrap().code(), 200);
    let notify = peer.bench.take();
    assert_eq!(notify.call_id().unwrap(), accepted.call_id().unwrap());
    assert_eq!(notify.to_tag().unwrap(), Some("o"));
    assert_eq!(notify.from_tag().unwrap(), accepted.to_tag().unwrap());
    let invite = peer.bench.take();
    peer.bench.respond(&notify, 200, "", "", "");
    peer.bench.respond(&invite, 404, "c", "", "");
    assert_eq!(peer.bench.take_all(), "ACK NOTIFY");
    peer.over();
    // Strangers, where they may.
    let mut peer = Peer::with(|settings| settings.transfer.strangers = ReferPolicy::Accept);
    peer.bench.receive(&outside(&contact));
    assert_eq!(peer.bench.take_all(), "200/REFER NOTIFY INVITE");
    peer.over();
}

#[test]
fn notifies_for_nothing_get_481_and_leave_nothing() {
    let mut peer = Peer::new();
    let fragment = "SIP/2.0 200 OK";
    let told = |event: &str, state: &str| format!("Event: {event}\r\nSubscription-State: {state}\r\n{TAKES}");
    for _ in 0..1_000 {
        assert_eq!(peer.asked("NOTIFY", &told("refer", "active;expires=60"), fragment), 481);
    }
    peer.transferred();
    for (more, body, status) in [
        (&*told("presence", "active"), fragment, 489),
        (&*told("refer;id=99", "active"), fragment, 481),
        ("Subscription-State: active", fragment, 400),
        ("Event: refer", fragment, 400),
        (&*told("refer", ";x"), fragment, 400),
        ("Event: refer\r\nSubscription-State: active\r\nContent-Type: text/plain", "hello", 415),
        ("Event: refer\r\nSubscription-State: active", "", 415),
        (&*told("refer", "active"), "hello", 400),
    ] {
        assert_eq!(peer.asked("NOTIFY", more, body), status, "{more}");
    }
    assert_eq!(peer.outcomes(), []);
    // A storm of progress is told and answered, and keeps nothing.
    for _ in 0..100 {
        assert_eq!(peer.asked("NOTIFY", &told("refer", "active;expires=60"), "SIP/2.0 180 Ringing"), 200);
    }
    assert_eq!(
        peer.asked("NOTIFY", &told("refer", "terminated;reason=noresource"), "SIP/2.0 404 Not Found"),
        200
    );
    assert_eq!(format!("{:?}", peer.outcomes()), "[Failed(404 Not Found)]");
    assert_eq!(peer.asked("NOTIFY", &told("refer", "active;expires=60"), fragment), 481);
    peer.over();
}

#[test]
fn a_transferee_that_never_tells_is_given_up() {
    let mut peer = Peer::new();
    peer.transferred();
    // RFC 6665 §4.1.2.4: Timer N.
    peer.bench.wait(Duration::from_secs(33));
    assert_eq!(peer.outcomes(), [TransferOutcome::Unknown]);
    peer.over();
    let mut peer = Peer::new();
    peer.transferred();
    let more = format!("Event: refer\r\nSubscription-State: active;expires=60\r\n{TAKES}");
    assert_eq!(peer.asked("NOTIFY", &more, "SIP/2.0 100 Trying"), 200);
    peer.bench.wait(Duration::from_secs(61));
    assert_eq!(peer.outcomes(), []);
    peer.bench.wait(Duration::from_secs(32));
    assert_eq!(peer.outcomes(), [TransferOutcome::Unknown]);
    peer.over();
}

#[test]
fn a_refer_that_is_refused_or_lost_ends_the_transfer() {
    for (code, outcome) in [(202, None), (403, Some("Refused(403 Forbidden)")), (481, Some("481"))] {
        let mut peer = Peer::new();
        let to = TransferTo::Address(uri("sip:carol@192.0.2.9"));
        peer.bench.command(Command::Transfer { call: peer.call, to });
        let refer = peer.bench.take();
        peer.bench.respond(&refer, code, "b", "", "");
        let outcomes = format!("{:?}", peer.outcomes());
        assert!(outcome.is_none_or(|outcome| outcomes.contains(outcome)), "{code}: {outcomes}");
        // RFC 5057: 481 ends the call, all else does not.
        assert_eq!(peer.bench.take_all(), if code == 481 { "BYE" } else { "" }, "{code}");
        peer.over();
    }
    let mut peer = Peer::new();
    let to = TransferTo::Address(uri("sip:carol@192.0.2.9"));
    peer.bench.command(Command::Transfer { call: peer.call, to });
    peer.bench.wait(Duration::from_secs(33));
    assert_eq!(format!("{:?}", peer.outcomes()), "[Refused(408 Request Timeout)]");
    peer.over();
}

#[test]
fn a_challenged_refer_goes_again_and_its_notifies_name_the_number_that_was_accepted() {
    let mut peer = Peer::new();
    let to = TransferTo::Address(uri("sip:carol@192.0.2.9"));
    peer.bench.command(Command::Transfer { call: peer.call, to });
    let first = peer.bench.take();
    let challenge = "Proxy-Authenticate: Digest realm=\"example.com\", nonce=\"n1\", qop=\"auth\"";
    peer.bench.respond(&first, 407, "b", challenge, "");
    let second = peer.bench.take();
    let cseq = second.cseq().unwrap().number;
    assert_eq!(cseq, first.cseq().unwrap().number + 1);
    peer.bench.respond(&second, 202, "b", CONTACT, "");
    let told = |id: u32| format!("Event: refer;id={id}\r\nSubscription-State: active\r\n{TAKES}");
    assert_eq!(peer.asked("NOTIFY", &told(cseq - 1), "SIP/2.0 100 Trying"), 481);
    // A NOTIFY may come before its REFER is answered, and its end ends the transfer.
    assert_eq!(peer.asked("NOTIFY", &told(cseq), "SIP/2.0 200 OK"), 200);
    assert_eq!(peer.outcomes(), [TransferOutcome::Done]);
    assert_eq!(peer.bench.take_all(), "BYE");
    peer.over();
}

#[test]
fn a_refer_that_is_challenged_after_the_bye_takes_the_number_after_that() {
    let mut peer = Peer::new();
    let to = TransferTo::Address(uri("sip:carol@192.0.2.9"));
    peer.bench.command(Command::Transfer { call: peer.call, to });
    let first = peer.bench.take();
    peer.bench.command(Command::Hangup { call: peer.call });
    let bye = peer.bench.take();
    let challenge = "Proxy-Authenticate: Digest realm=\"example.com\", nonce=\"n1\", qop=\"auth\"";
    peer.bench.respond(&first, 407, "b", challenge, "");
    let second = peer.bench.take();
    let numbers = [&first, &bye, &second].map(|request| request.cseq().unwrap().number);
    assert_eq!(numbers, [numbers[0], numbers[0] + 1, numbers[0] + 2]);
    peer.bench.respond(&bye, 200, "b", "", "");
    peer.bench.respond(&second, 481, "b", "", "");
    assert_eq!(format!("{:?}", peer.outcomes()), "[Refused(481 Call/Transaction Does Not Exist)]");
}

#[test]
fn an_attended_transfer_goes_to_the_address_first_and_to_the_contact_where_that_fails() {
    // RFC 5589 §7.5: whether a Contact leads anywhere from outside of its dialog is not known.
    let mut peer = Peer::with(|settings| {
        settings.account.as_mut().unwrap().proxy = Some(uri("sip:192.0.2.9;lr"));
    });
    peer.bench.command(Command::Call { token: 2, to: uri("sip:carol@example.com"), play: Play::Silence });
    let consultation = peer.bench.last_call();
    let invite = peer.bench.take();
    let contact = "Contact: <sip:carol@192.0.2.9:5070>\nSupported: replaces";
    peer.bench.respond(&invite, 200, "c", contact, &sdp(4002, "sendrecv"));
    assert_eq!(peer.bench.take_all(), "ACK");
    peer.bench.command(Command::Transfer { call: peer.call, to: TransferTo::Call(consultation) });
    let (call_id, tag) = (invite.call_id().unwrap(), invite.from_tag().unwrap().unwrap());
    let replaces = format!("Replaces={call_id}%3Bto-tag%3Dc%3Bfrom-tag%3D{tag}");
    let first = peer.bench.take();
    let expected = format!("<sip:carol@example.com?{replaces}&Require=replaces>");
    assert_eq!(header(&first, HeaderName::ReferTo), expected);
    peer.bench.respond(&first, 202, "b", CONTACT, "");
    let more = format!("Event: refer\r\nSubscription-State: terminated;reason=noresource\r\n{TAKES}");
    assert_eq!(peer.asked("NOTIFY", &more, "SIP/2.0 403 Forbidden"), 200);
    assert_eq!(peer.outcomes(), []);
    let second = peer.bench.take();
    assert_eq!(header(&second, HeaderName::ReferTo), format!("<sip:carol@192.0.2.9:5070?{replaces}>"));
    peer.bench.respond(&second, 202, "b", CONTACT, "");
    assert_eq!(peer.asked("NOTIFY", &more, "SIP/2.0 486 Busy Here"), 200);
    assert_eq!(format!("{:?}", peer.outcomes()), "[Failed(486 Busy Here)]");
    peer.bench.command(Command::Hangup { call: consultation });
    peer.over();
}

/// Alice refers bob, whose Contact is a GRUU, to carol: her phone, her INVITE and the REFER.
fn begun_outside() -> (Bench, CallHandle, [Message; 2]) {
    let mut settings = settings("alice", "192.0.2.1:5060");
    settings.transfer.referred = ReferPolicy::Accept;
    let mut bench = Bench::new(settings);
    let (call, invite) = bench.call_bob();
    let contact = "Contact: <sip:bob@192.0.2.9;gr=urn:x>\nSupported: replaces, tdialog";
    bench.respond(&invite, 200, "b", contact, &sdp(4000, "sendrecv"));
    assert_eq!(bench.take_all(), "ACK");
    let to = TransferTo::Address(uri("sip:carol@192.0.2.9"));
    bench.command(Command::Transfer { call, to });
    let refer = bench.take();
    (bench, call, [invite, refer])
}

/// What bob tells of a REFER that came to him outside of the call.
fn news(refer: &Message, cseq: u32, call_id: &str, state: &str, body: &str) -> String {
    format!(
        "NOTIFY sip:alice@192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKg{cseq}{}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:bob@192.0.2.9>;tag=g\r\nTo: <sip:alice@192.0.2.9>;tag={}\r\n\
         Call-ID: {call_id}\r\nCSeq: {cseq} NOTIFY\r\n{CONTACT}\r\nEvent: refer\r\n\
         Subscription-State: {state}\r\n{TAKES}\r\nContent-Length: {}\r\n\r\n{body}",
        call_id.len(),
        refer.from_tag().unwrap().unwrap(),
        body.len(),
    )
}

#[test]
fn a_refer_outside_of_the_call_that_is_refused_with_481_ends_no_call() {
    for news_first in [true, false] {
        let (mut bench, call, [_, refer]) = begun_outside();
        if news_first {
            bench.receive(&news(&refer, 1, refer.call_id().unwrap(), "active", "SIP/2.0 100 Trying"));
            assert_eq!(bench.take_all(), "200/NOTIFY");
        }
        bench.respond(&refer, 481, "g", "", "");
        assert_eq!(bench.take_all(), "", "the dialog of the call is another one");
        let events = bench.events().join(" ");
        assert!(events.contains("outcome: Refused(481") && !events.contains(" Ended {"), "{events}");
        bench.command(Command::Hangup { call });
        let bye = bench.take();
        bench.respond(&bye, 200, "b", "", "");
        bench.assert_at_rest();
    }
}

#[test]
fn a_refer_to_a_contact_that_is_a_gruu_goes_in_a_dialog_of_its_own() {
    // RFC 7647 §4, RFC 5589 §6.1. The first news may come before the answer to the REFER, or after it.
    for news_first in [true, false] {
        let (mut bench, _, [invite, refused]) = begun_outside();
        // A challenge is answered in the same new dialog.
        let challenge = "Proxy-Authenticate: Digest realm=\"example.com\", nonce=\"n1\", qop=\"auth\"";
        bench.respond(&refused, 407, "p", challenge, "");
        let refer = bench.take();
        assert_eq!(refer.call_id().unwrap(), refused.call_id().unwrap());
        assert_ne!(refer.call_id().unwrap(), invite.call_id().unwrap());
        assert_eq!(refer.uri_text(), "sip:bob@192.0.2.9;gr=urn:x");
        assert_eq!(refer.to_tag().unwrap(), None);
        assert_eq!(header(&refer, HeaderName::Require), "tdialog");
        let (call_id, tag) = (invite.call_id().unwrap(), invite.from_tag().unwrap().unwrap());
        let named = format!("{call_id};local-tag=b;remote-tag={tag}");
        assert_eq!(refer.value_by_text("Target-Dialog"), Some(named.as_bytes()));
        let notify = |cseq, call_id: &str, state: &str, body: &str| news(&refer, cseq, call_id, state, body);
        let own = refer.call_id().unwrap();
        bench.receive(&notify(1, "elsewhere", "active", "SIP/2.0 100 Trying"));
        assert_eq!(bench.take_all(), "481/NOTIFY");
        let first = notify(1, own, "active;expires=60", "SIP/2.0 100 Trying");
        if news_first {
            bench.receive(&first);
            assert_eq!(bench.take_all(), "200/NOTIFY");
            bench.respond(&refer, 200, "g", CONTACT, "");
        } else {
            bench.respond(&refer, 200, "g", CONTACT, "");
            bench.receive(&first);
            assert_eq!(bench.take_all(), "200/NOTIFY");
        }
        bench.receive(&notify(2, own, "terminated;reason=noresource", "SIP/2.0 200 OK"));
        assert_eq!(bench.take_all(), "200/NOTIFY BYE");
        let events = bench.events().join(" ");
        assert!(events.contains("TransferProgress") && events.contains("outcome: Done"), "{events}");
        bench.receive(&notify(3, own, "active", "SIP/2.0 200 OK"));
        assert_eq!(bench.take_all(), "481/NOTIFY");
        bench.wait(Duration::from_secs(400));
        bench.transmits.clear();
        bench.assert_at_rest();
    }
}

#[test]
fn a_subscription_is_made_longer_and_ended_by_subscribe() {
    let mut peer = Peer::new();
    assert_eq!(peer.asked("REFER", TO_CAROL, ""), 200);
    let notify = peer.bench.take();
    peer.bench.respond(&notify, 200, "", "", "");
    let invite = peer.bench.take();
    assert_eq!(peer.asked("SUBSCRIBE", "Event: presence\r\nExpires: 60", ""), 489);
    assert_eq!(peer.asked("SUBSCRIBE", "Event: refer;id=7\r\nExpires: 60", ""), 403);
    peer.ask("SUBSCRIBE", "Event: refer\r\nExpires: 60", "");
    let accepted = peer.bench.take();
    assert_eq!(
        (accepted.status().unwrap().code(), header(&accepted, HeaderName::Expires)),
        (200, "60".into())
    );
    let notify = peer.bench.take();
    assert_eq!(header(&notify, HeaderName::SubscriptionState), "active;expires=60");
    peer.bench.respond(&notify, 200, "", "", "");
    assert_eq!(peer.asked("SUBSCRIBE", "Event: refer\r\nExpires: 0", ""), 200);
    let last = peer.bench.take();
    assert_eq!(header(&last, HeaderName::SubscriptionState), "terminated;reason=timeout");
    peer.bench.respond(&last, 200, "", "", "");
    // The call goes on, and nobody is told of it.
    peer.bench.respond(&invite, 486, "c", "", "");
    assert_eq!(peer.bench.take_all(), "ACK");
    assert_eq!(peer.asked("SUBSCRIBE", "Event: refer\r\nExpires: 60", ""), 403);
    peer.over();
}

#[test]
fn a_notify_that_gets_481_ends_the_subscription_and_not_the_call() {
    let mut peer = Peer::new();
    assert_eq!(peer.asked("REFER", TO_CAROL, ""), 200);
    let notify = peer.bench.take();
    let invite = peer.bench.take();
    peer.bench.respond(&notify, 481, "", "", "");
    peer.bench.respond(&invite, 200, "c", "Contact: <sip:carol@192.0.2.9>", &sdp(4002, "sendrecv"));
    assert_eq!(peer.bench.take_all(), "ACK");
    let events = peer.bench.events().join(" ");
    assert!(events.contains("Answered"), "{events}");
    let call = CallHandle { slot: 1, generation: 0 };
    peer.bench.command(Command::Hangup { call });
    peer.over();
}

#[test]
fn transfers_are_limited_in_all_and_of_one_call() {
    let limits = Limits { referrals_per_call: 2, ..Limits::default() };
    let mut peer = Peer::with(|settings| settings.limits = limits);
    for _ in 0..2 {
        assert_eq!(peer.asked("REFER", TO_CAROL, ""), 200);
        peer.bench.transmits.clear();
    }
    peer.ask("REFER", TO_CAROL, "");
    let refused = peer.bench.take();
    assert_eq!(refused.status().unwrap().code(), 500);
    assert!(!header(&refused, HeaderName::RetryAfter).is_empty());
    peer.over();
    let mut peer = Peer::with(|settings| settings.limits.referrals = 1);
    assert_eq!(peer.asked("REFER", TO_CAROL, ""), 200);
    peer.bench.transmits.clear();
    assert_eq!(peer.asked("REFER", TO_CAROL, ""), 500);
    let to = TransferTo::Address(uri("sip:carol@192.0.2.9"));
    peer.bench.command(Command::Transfer { call: peer.call, to });
    assert_eq!(peer.outcomes(), [TransferOutcome::NotPossible]);
    peer.over();
    // With as many calls as may be, the new one fails and says so.
    let mut peer = Peer::with(|settings| settings.limits.calls = 1);
    assert_eq!(peer.asked("REFER", TO_CAROL, ""), 200);
    let first = peer.bench.take();
    peer.bench.respond(&first, 200, "", "", "");
    let told = peer.bench.take();
    assert_eq!(told.body(), b"SIP/2.0 503 Service Unavailable\r\n");
    peer.bench.respond(&told, 200, "", "", "");
    peer.over();
}

#[test]
fn replaces_of_calls_that_are_not_there_or_are_over_or_are_not_ours_to_give_are_refused() {
    let mut peer = Peer::new();
    let (call_id, tag) =
        (peer.invite.call_id().unwrap().to_owned(), peer.invite.from_tag().unwrap().unwrap().to_owned());
    let named = format!("Replaces: {call_id};to-tag={tag};from-tag=b");
    for (more, status) in [
        (format!("{named}\r\n{named}"), 400),
        (format!("{named}\r\nJoin: {call_id};to-tag={tag};from-tag=b"), 400),
        ("Replaces: nonsense".into(), 400),
        (format!("{named};early-only"), 486),
        (format!("Replaces: {call_id};to-tag=b;from-tag={tag}"), 481),
        (format!("Replaces: {call_id};to-tag={tag};from-tag=0"), 481),
        (format!("Replaces: other;to-tag={tag};from-tag=b"), 481),
    ] {
        peer.bench.receive(&invite(&more));
        assert_eq!(peer.bench.take().status().unwrap().code(), status, "{more}");
        assert_eq!(peer.bench.take_all(), "", "{more}");
    }
    // Within the call it stands nowhere.
    assert_eq!(peer.asked("BYE", &named, ""), 400);
    // An offer that can't be taken leaves the call as it is (§3).
    let bad = invite(&named).replace("RTP/AVP 0", "RTP/AVP 9").replace("0 PCMU", "9 G722");
    peer.bench.receive(&bad);
    assert_eq!(peer.bench.take_all(), "488/INVITE");
    assert_eq!(peer.bench.ended(), None);
    // A call that is over is not to be replaced by one that rings (§3): 603.
    peer.bench.command(Command::Hangup { call: peer.call });
    let bye = peer.bench.take();
    peer.bench.receive(&invite(&format!("Subject: 1\r\n{named}")));
    assert_eq!(peer.bench.take_all(), "603/INVITE");
    peer.bench.respond(&bye, 200, "b", "", "");
    peer.bench.receive(&invite(&format!("Subject: 2\r\n{named}")));
    assert_eq!(peer.bench.take_all(), "603/INVITE");
    peer.over();
}

#[test]
fn a_call_that_rings_here_is_not_replaced() {
    let mut bench = Bench::phone();
    bench.receive(&invite("Subject: first"));
    let ringing = bench.take();
    let named = format!(
        "Replaces: {};to-tag={};from-tag=d",
        ringing.call_id().unwrap(),
        ringing.to_tag().unwrap().unwrap()
    );
    bench.receive(&invite(&named));
    assert_eq!(bench.take_all(), "481/INVITE");
}

#[test]
fn a_phone_that_takes_one_call_at_a_time_lets_it_be_replaced() {
    let mut peer = Peer::with(|settings| settings.limits.calls = 1);
    let (call_id, tag) =
        (peer.invite.call_id().unwrap().to_owned(), peer.invite.from_tag().unwrap().unwrap().to_owned());
    peer.bench.receive(&invite("Subject: one more"));
    assert_eq!(peer.bench.take_all(), "486/INVITE");
    let named = format!("Replaces: {call_id};to-tag={tag};from-tag=b");
    peer.bench.receive(&invite(&named));
    assert_eq!(peer.bench.take_all(), "200/INVITE BYE");
    // While the BYE of the first one is under way, it is not replaced again.
    peer.bench.receive(&invite(&format!("Subject: again\r\n{named}")));
    assert_eq!(peer.bench.take_all(), "603/INVITE");
}

#[test]
fn who_may_replace_a_call_is_a_choice() {
    let check = |policy: ReplacesPolicy, more: &str, expected: &str| {
        let mut peer = Peer::with(|settings| settings.transfer.replaces = policy);
        let (call_id, tag) =
            (peer.invite.call_id().unwrap().to_owned(), peer.invite.from_tag().unwrap().unwrap().to_owned());
        peer.bench.receive(&invite(&format!("Replaces: {call_id};to-tag={tag};from-tag=b{more}")));
        assert_eq!(peer.bench.take_all(), expected, "{policy:?} {more}");
        peer.bench.transmits.clear();
    };
    let (taken, refused) = ("200/INVITE BYE", "403/INVITE");
    check(ReplacesPolicy::Named, "", taken);
    check(ReplacesPolicy::Refuse, "", refused);
    check(ReplacesPolicy::Referred, "", refused);
    check(ReplacesPolicy::Referred, "\r\nReferred-By: <sip:eve@192.0.2.9>", refused);
    check(ReplacesPolicy::Referred, "\r\nReferred-By: <sip:bob@192.0.2.9>", taken);
}
