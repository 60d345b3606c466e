//! Attended transfers where a party can't do its part, or has not answered yet (RFC 5589 §7.4 to §7.7, RFC 4508).

use dialtone_wire::{HeaderName, Message, Status};

use super::bench::{Bench, header, sdp, settings, uri};
use super::net::{A, B, C, Net};
use crate::io::{CallHandle, Command, Event, Play, TransferOutcome, TransferTo};
use crate::settings::ReferPolicy;

const KNOWS: &str = "Supported: replaces\nAllow: INVITE, REFER";
const TAKES_REFER: &str = "Supported: timer\nAllow: INVITE, ACK, BYE, REFER, NOTIFY";
const TAKES_NOTHING: &str = "Supported: timer\nAllow: INVITE, ACK, BYE";

/// A phone with two calls, whose peers are the test: bob, who is given away, and carol, the target.
struct Two {
    bench: Bench,
    bob: CallHandle,
    carol: CallHandle,
    /// The INVITEs of both calls.
    invites: [Message; 2],
    sent: u32,
}

impl Two {
    /// What bob and carol say of themselves when they answer.
    fn new(bob_says: &str, carol_says: &str) -> Two {
        let mut settings = settings("alice", "192.0.2.1:5060");
        settings.transfer.referred = ReferPolicy::Accept;
        let mut bench = Bench::new(settings);
        let mut call = |name: &str, says: &str| {
            let to = uri(&format!("sip:{name}@192.0.2.9"));
            bench.command(Command::Call { token: 1, to, play: Play::Silence });
            let (call, invite) = (bench.last_call(), bench.take());
            let more = format!("Contact: <sip:{name}@192.0.2.9>;audio;+x.y=\"z\";q=0.5;expires=9\n{says}");
            bench.respond(&invite, 200, name, &more, &sdp(4000, "sendrecv"));
            assert_eq!(bench.take_all(), "ACK");
            (call, invite)
        };
        let ((bob, first), (carol, second)) = (call("bob", bob_says), call("carol", carol_says));
        Two { bench, bob, carol, invites: [first, second], sent: 0 }
    }

    fn join(&mut self) {
        self.bench.command(Command::Transfer { call: self.bob, to: TransferTo::Call(self.carol) });
    }

    /// News of the transfer from one of the two.
    fn tell(&mut self, index: usize, fragment: &str) {
        self.sent += 1;
        let invite = &self.invites[index];
        let text = format!(
            "NOTIFY sip:alice@192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKn{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: {};tag={}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} NOTIFY\r\n\
             Event: refer\r\nSubscription-State: terminated;reason=noresource\r\n\
             Content-Type: message/sipfrag\r\nContent-Length: {}\r\n\r\n{fragment}",
            header(invite, HeaderName::To),
            ["bob", "carol"][index],
            header(invite, HeaderName::From),
            invite.call_id().unwrap(),
            fragment.len(),
            cseq = self.sent,
        );
        self.bench.receive(&text);
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
        for call in [self.bob, self.carol] {
            self.bench.command(Command::Hangup { call });
        }
        self.bench.wait(std::time::Duration::from_secs(400));
        self.bench.transmits.clear();
        self.bench.assert_at_rest();
    }
}

fn method(message: &Message) -> String {
    message.method().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn who_does_not_know_refer_is_called_by_the_target_instead() {
    // RFC 5589 §7.4: "a 405 Method Not Allowed might be returned instead of the 501 Not Implemented response".
    for status in [405, 501] {
        let mut two = Two::new(KNOWS, KNOWS);
        two.join();
        let refused = two.bench.take();
        assert_eq!(refused.uri_text(), "sip:bob@192.0.2.9");
        two.bench.respond(&refused, status, "bob", "", "");
        let refer = two.bench.take();
        assert_eq!((refer.uri_text(), method(&refer)), ("sip:carol@192.0.2.9", "REFER".into()));
        let invite = &two.invites[0];
        let named = format!(
            "Replaces={}%3Bto-tag%3Dbob%3Bfrom-tag%3D{}",
            invite.call_id().unwrap(),
            invite.from_tag().unwrap().unwrap()
        );
        assert_eq!(
            header(&refer, HeaderName::ReferTo),
            format!("<sip:bob@192.0.2.9?{named}>;audio;+x.y=\"z\"")
        );
        assert_eq!(two.outcomes(), []);
        two.bench.respond(&refer, 200, "carol", "", "");
        two.tell(1, "SIP/2.0 200 OK");
        // The call through which it was asked for ends; bob ends his, whose place was taken.
        assert_eq!(two.bench.take_all(), "200/NOTIFY BYE");
        assert_eq!(two.outcomes(), [TransferOutcome::Done]);
        two.over();
    }
}

#[test]
fn who_knows_neither_refer_nor_replaces_can_not_be_given_away() {
    let mut two = Two::new("Supported: timer", KNOWS);
    two.join();
    let refused = two.bench.take();
    two.bench.respond(&refused, 501, "bob", "", "");
    assert_eq!(two.bench.take_all(), "");
    assert_eq!(two.outcomes(), [TransferOutcome::Refused(Status::of(501))]);
    two.over();
}

#[test]
fn a_target_that_has_not_named_replaces_is_asked_by_options() {
    // RFC 5589 §7.7, Figure 15. Who does not say what it can do may still do it.
    for (status, says) in [(200, KNOWS), (200, "Server: x"), (501, ""), (481, ""), (408, "")] {
        let mut two = Two::new(KNOWS, "Server: x");
        two.join();
        let options = two.bench.take();
        assert_eq!((options.uri_text(), method(&options)), ("sip:carol@192.0.2.9", "OPTIONS".into()));
        assert_eq!(options.to_tag().unwrap(), Some("carol"));
        two.join();
        assert_eq!(two.outcomes(), [TransferOutcome::NotPossible], "one at a time");
        two.bench.respond(&options, status, "carol", says, "");
        let refer = two.bench.take();
        assert_eq!(
            (refer.uri_text(), method(&refer)),
            ("sip:bob@192.0.2.9", "REFER".into()),
            "{status} {says}"
        );
        assert!(header(&refer, HeaderName::ReferTo).starts_with("<sip:carol@192.0.2.9?Replaces="));
        two.over();
    }
}

#[test]
fn a_target_without_replaces_that_takes_refer_calls_the_other() {
    let mut two = Two::new(KNOWS, TAKES_REFER);
    two.join();
    let options = two.bench.take();
    two.bench.respond(&options, 200, "carol", TAKES_REFER, "");
    let refer = two.bench.take();
    assert_eq!((refer.uri_text(), method(&refer)), ("sip:carol@192.0.2.9", "REFER".into()));
    assert!(header(&refer, HeaderName::ReferTo).starts_with("<sip:bob@192.0.2.9?Replaces="));
    two.over();
}

#[test]
fn a_target_without_both_is_hung_up_and_called_anew() {
    for bob_says in [KNOWS, TAKES_REFER] {
        let carol_says = if bob_says == KNOWS { TAKES_NOTHING } else { TAKES_REFER };
        let mut two = Two::new(bob_says, carol_says);
        two.join();
        let options = two.bench.take();
        two.bench.respond(&options, 200, "carol", carol_says, "");
        let bye = two.bench.take();
        assert_eq!((bye.uri_text(), method(&bye)), ("sip:carol@192.0.2.9", "BYE".into()));
        assert_eq!(two.bench.take_all(), "");
        two.bench.respond(&bye, 200, "carol", "", "");
        let refer = two.bench.take();
        assert_eq!((refer.uri_text(), method(&refer)), ("sip:bob@192.0.2.9", "REFER".into()));
        assert_eq!(header(&refer, HeaderName::ReferTo), "<sip:carol@192.0.2.9>");
        assert_eq!(two.outcomes(), []);
        two.over();
    }
}

#[test]
fn a_target_that_is_gone_while_it_is_asked_is_no_target() {
    let mut two = Two::new(KNOWS, TAKES_NOTHING);
    two.join();
    let options = two.bench.take();
    two.bench.command(Command::Hangup { call: two.carol });
    let bye = two.bench.take();
    two.bench.respond(&bye, 200, "carol", "", "");
    assert_eq!(two.outcomes(), [TransferOutcome::NotPossible]);
    two.bench.respond(&options, 200, "carol", TAKES_NOTHING, "");
    assert_eq!(two.bench.take_all(), "");
    two.over();
}

#[test]
fn a_target_that_wants_proof_of_who_sends_the_call_gets_none() {
    // RFC 3892 §5: 429 comes back in the NOTIFY. We have no token, so no other place of the target is tried.
    for status in ["429 Provide Referrer Identity", "603 Decline"] {
        let mut two = Two::new(KNOWS, KNOWS);
        two.join();
        let refer = two.bench.take();
        assert_eq!(header(&refer, HeaderName::ReferredBy), "<sip:alice@192.0.2.9>");
        two.bench.respond(&refer, 200, "bob", "", "");
        two.tell(0, &format!("SIP/2.0 {status}"));
        assert_eq!(two.bench.take_all(), "200/NOTIFY");
        let code = status[..3].parse().unwrap();
        assert_eq!(two.outcomes(), [TransferOutcome::Failed(Status::of(code))]);
        two.over();
    }
}

#[test]
fn a_transferee_tells_429_like_any_other_failure() {
    let mut net = Net::new();
    let (of_alice, of_bob) = net.call(A, B);
    net.transfer(A, of_alice, C);
    let of_carol = net.phones[C].last_call();
    net.command(C, Command::Decline { call: of_carol, status: Status::of(429) });
    assert_eq!(
        net.told().last().unwrap(),
        "terminated;reason=noresource: SIP/2.0 429 Provide Referrer Identity"
    );
    assert_eq!(net.outcomes(A), [TransferOutcome::Failed(Status::of(429))]);
    assert_eq!((net.calls(A), net.calls(B)), (vec![of_alice], vec![of_bob]));
    net.assert_at_rest();
}

#[test]
fn a_transfer_to_one_who_still_rings_waits_for_the_answer() {
    // RFC 5589 §7.6, Figure 11.
    let mut net = Net::new();
    let (of_bob, _) = net.call(B, A);
    net.hold(B, of_bob);
    let (consultation, of_carol) = net.ring(B, C);
    net.ladder();
    net.command(B, Command::Transfer { call: of_bob, to: TransferTo::Call(consultation) });
    assert_eq!((net.ladder(), net.outcomes(B)), (String::new(), Vec::new()));
    net.command(C, Command::Answer { call: of_carol, play: Play::Silence });
    assert_eq!(net.outcomes(B), [TransferOutcome::Done]);
    assert_eq!(net.calls(B), []);
    assert_eq!([net.calls(A).len(), net.calls(C).len()], [1, 1]);
    net.assert_at_rest();
}

#[test]
fn a_transfer_to_one_who_never_answers_gives_the_call_back() {
    for gives_up in [false, true] {
        let mut net = Net::new();
        let (of_bob, _) = net.call(B, A);
        net.hold(B, of_bob);
        let (consultation, of_carol) = net.ring(B, C);
        net.command(B, Command::Transfer { call: of_bob, to: TransferTo::Call(consultation) });
        let status = if gives_up {
            net.command(B, Command::Hangup { call: consultation });
            487
        } else {
            net.command(C, Command::Decline { call: of_carol, status: Status::of(486) });
            486
        };
        assert_eq!(net.outcomes(B), [TransferOutcome::Failed(Status::of(status))]);
        assert_eq!(net.calls(B), [of_bob]);
        assert!(net.phones[B].media_of_call().last().unwrap().ends_with("sendrecv"), "taken off hold");
        net.assert_at_rest();
    }
}

#[test]
fn a_call_that_ends_while_its_transfer_waits_is_transferred_no_more() {
    let mut net = Net::new();
    let (of_bob, of_alice) = net.call(B, A);
    let (consultation, of_carol) = net.ring(B, C);
    net.command(B, Command::Transfer { call: of_bob, to: TransferTo::Call(consultation) });
    net.command(A, Command::Hangup { call: of_alice });
    assert_eq!(net.outcomes(B), [TransferOutcome::NotPossible]);
    net.command(C, Command::Answer { call: of_carol, play: Play::Silence });
    assert_eq!(net.calls(B), [consultation], "bob talks with carol");
    assert_eq!(net.outcomes(B).len(), 1);
    net.assert_at_rest();
}

/// Two calls can't be given away to the same one, and a call that is given away is nobody's target: each transfer has its
/// own end, whoever hangs up first.
#[test]
fn each_of_two_transfers_at_once_has_its_end_whoever_hangs_up_first() {
    // The first of alice's calls is given away to the second, which rings or has to be asked.
    for rings in [false, true] {
        // The second transfer: which call goes to which.
        for (call, to) in [(2, 1), (0, 2), (2, 0), (1, 2), (1, 0)] {
            for first_over in 0..3 {
                let mut bench = Bench::phone();
                let mut begin = |name: &str| {
                    let to = uri(&format!("sip:{name}@192.0.2.9"));
                    bench.command(Command::Call { token: 1, to, play: Play::Silence });
                    let (call, invite) = (bench.last_call(), bench.take());
                    let says = if name == "bob" { KNOWS } else { TAKES_NOTHING };
                    let more = format!("Contact: <sip:{name}@192.0.2.9>\n{says}");
                    let status = if name == "carol" && rings { 180 } else { 200 };
                    let body = if status == 200 { sdp(4000, "sendrecv") } else { String::new() };
                    bench.respond(&invite, status, name, &more, &body);
                    bench.take_all();
                    (call, invite)
                };
                let calls = [begin("bob"), begin("carol"), begin("dave")];
                let handles = [0, 1, 2].map(|place: usize| calls[place].0);
                for (call, to) in [(0, 1), (call, to)] {
                    let (call, to) = (handles[call], TransferTo::Call(handles[to]));
                    bench.command(Command::Transfer { call, to });
                }
                let mut ended = 0;
                for place in (0..3).map(|place| (place + first_over) % 3) {
                    bench.command(Command::Hangup { call: handles[place] });
                    for _ in 0..20 {
                        let Some(sent) = (!bench.transmits.is_empty()).then(|| bench.take()) else { break };
                        let name = ["bob", "carol", "dave"][place];
                        match method(&sent).as_str() {
                            "CANCEL" => {
                                bench.respond(&sent, 200, name, "", "");
                                bench.respond(&calls[1].1, 487, name, "", "");
                            }
                            "BYE" | "REFER" | "OPTIONS" => bench.respond(&sent, 481, name, "", ""),
                            _ => {}
                        }
                    }
                }
                bench.wait(std::time::Duration::from_secs(400));
                for event in bench.events.drain(..) {
                    ended += usize::from(matches!(event, Event::TransferEnded { .. }));
                }
                assert_eq!(ended, 2, "{rings} {call}-{to} {first_over}: each is told once");
                bench.transmits.clear();
                bench.assert_at_rest();
            }
        }
    }
}

#[test]
fn a_link_with_replaces_takes_the_place_of_a_call() {
    // RFC 5359 §2.6, RFC 3261 §19.1.5.
    let mut net = Net::new();
    net.call(A, B);
    let answer = net.last("200/INVITE").clone();
    let (call_id, tag) =
        (answer.call_id().unwrap(), |tag: Result<Option<&str>, _>| tag.ok().flatten().unwrap().to_owned());
    let (to, from) = (tag(answer.from_tag()), tag(answer.to_tag()));
    let named = format!("{call_id}%3Bto-tag%3D{to}%3Bfrom-tag%3D{from}");
    let link = format!("sip:alice@192.0.2.1?Replaces={named}&Require=replaces&Subject=x");
    net.command(C, Command::Call { token: 8, to: uri(&link), play: Play::Silence });
    let invite = net.last("INVITE");
    assert_eq!(invite.uri_text(), "sip:alice@192.0.2.1");
    assert_eq!(header(invite, HeaderName::To), "<sip:alice@192.0.2.1>");
    assert_eq!(header(invite, HeaderName::Require), "replaces");
    assert_eq!(header(invite, HeaderName::Replaces), format!("{call_id};to-tag={to};from-tag={from}"));
    assert_eq!(invite.value_by_text("Subject"), None);
    assert_eq!([net.calls(A).len(), net.calls(B).len(), net.calls(C).len()], [1, 0, 1]);
    net.assert_at_rest();
}

#[test]
fn a_link_that_can_not_be_read_calls_nobody() {
    for (headers, status) in [("Replaces=nonsense", 400), ("Require=100rel", 420)] {
        let mut bench = Bench::phone();
        let to = uri(&format!("sip:bob@192.0.2.9?{headers}"));
        bench.command(Command::Call { token: 1, to, play: Play::Silence });
        assert_eq!(bench.take_all(), "");
        assert!(bench.ended().unwrap().starts_with(&format!("Refused({status}")));
        bench.assert_at_rest();
    }
}

#[test]
fn a_contact_says_that_it_is_a_gruu_but_for_that_which_is_registered() {
    let mut settings = settings("alice", "192.0.2.1:5060");
    settings.transfer.self_made_gruu = true;
    let mut bench = Bench::new(settings);
    bench.command(Command::Register);
    let register = bench.take();
    assert_eq!(header(&register, HeaderName::Contact), "<sip:alice@192.0.2.1:5060>");
    let (_, invite) = bench.call_bob();
    assert_eq!(header(&invite, HeaderName::Contact), "<sip:alice@192.0.2.1:5060;gr>");
}
