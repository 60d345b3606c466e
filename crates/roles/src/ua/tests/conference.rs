//! Three-way calls: two calls of ours that are joined, and a third who asks to be let in (RFC 3911, RFC 4579,
//! RFC 5359 §2.10, §2.11).

use std::time::Duration;

use dialtone_wire::{HeaderName, Message, Status};
use smol_str::SmolStr;

use super::bench::{Bench, brief, header, sdp, settings, uri};
use super::hostile::invite;
use super::net::{A, B, C, Net, address_of};
use crate::io::{CallHandle, ChangeBy, Command, EndReason, Event, JoinTarget, Play, TransferTo};
use crate::settings::JoinPolicy;

const CONTACT: &str = "Contact: <sip:bob@192.0.2.9>";

/// The calls that a phone was told are joined, and those that are not.
fn joined(phone: &Bench) -> (Vec<CallHandle>, Vec<CallHandle>) {
    let of = |is: fn(&Event) -> Option<CallHandle>| phone.events.iter().filter_map(is).collect();
    let joined = |event: &Event| if let Event::Joined { call } = event { Some(*call) } else { None };
    let refused = |event: &Event| if let Event::NotJoined { call } = event { Some(*call) } else { None };
    (of(joined), of(refused))
}

/// The number of the conference that the sound of a call belongs to.
fn mixed(phone: &Bench, call: CallHandle) -> Option<u64> {
    match phone.plays.get(&call) {
        Some(Play::Conference { number, .. }) => Some(*number),
        _ => None,
    }
}

/// The dialog of this INVITE and its 2xx, as the one who was called sees it.
fn target(invite: &Message, accepted: &Message) -> JoinTarget {
    JoinTarget {
        call_id: SmolStr::new(invite.call_id().unwrap()),
        to_tag: SmolStr::new(accepted.to_tag().unwrap().unwrap()),
        from_tag: SmolStr::new(invite.from_tag().unwrap().unwrap()),
    }
}

impl Net {
    /// Alice talks with bob, who holds her and talks with carol.
    fn two_calls(&mut self) -> (CallHandle, CallHandle) {
        let (_, of_bob) = self.call(A, B);
        self.hold(B, of_bob);
        let (second, _) = self.call(B, C);
        (of_bob, second)
    }

    /// Alice talks with bob, and carol asks to be let in: the call of bob with alice, and that of carol at bob's.
    fn asked_in(&mut self) -> (CallHandle, CallHandle) {
        let (_, of_bob) = self.call(A, B);
        let joins = target(self.last("INVITE"), self.last("200/INVITE"));
        self.ask_in(joins);
        (of_bob, self.phones[B].last_call())
    }

    fn ask_in(&mut self, joins: JoinTarget) {
        let to = uri(&address_of(B));
        self.command(C, Command::CallToJoin { token: 9, to, play: Play::Silence, joins });
    }

    fn answer(&mut self, phone: usize, call: CallHandle) {
        self.command(phone, Command::Answer { call, play: Play::Silence });
    }
}

#[test]
fn two_calls_become_one_conversation_whose_focus_we_are() {
    let mut net = Net::new();
    let (first, second) = net.two_calls();
    assert_eq!((mixed(&net.phones[B], first), mixed(&net.phones[B], second)), (None, None));
    net.command(B, Command::Join { call: second, with: first });
    assert_eq!(
        net.ladder(),
        "BA:INVITE BC:INVITE CB:200/INVITE AB:200/INVITE BC:ACK BA:ACK",
        "both are told of the focus, and the first one is taken off hold"
    );
    let contacts: Vec<String> = net
        .messages
        .iter()
        .filter(|message| brief(message) == "INVITE")
        .take(2)
        .map(|invite| header(invite, HeaderName::Contact))
        .collect();
    assert!(
        contacts[0].starts_with("<sip:conf-") && contacts[0].ends_with("@192.0.2.2:5060>;isfocus"),
        "{contacts:?}"
    );
    assert_eq!(contacts[0], contacts[1], "they are in one conference");
    assert_eq!(joined(&net.phones[B]), (vec![second, first], vec![]));
    assert!(
        net.phones[B]
            .applied
            .values()
            .filter(|told| !told.is_empty())
            .all(|told| told.last().unwrap().ends_with("sendrecv"))
    );
    let number = mixed(&net.phones[B], first);
    assert!(number.is_some() && number == mixed(&net.phones[B], second));
    // One of the two hangs up: the other goes on.
    let of_alice = net.calls(A)[0];
    net.command(A, Command::Hangup { call: of_alice });
    assert_eq!(net.ladder(), "AB:BYE BA:200/BYE");
    assert_eq!((net.calls(B), net.calls(C).len()), (vec![second], 1));
    // And a third can be joined to it again.
    let (third, _) = net.call(B, A);
    net.command(B, Command::Join { call: third, with: second });
    assert_eq!(net.ladder(), "BA:INVITE AB:200/INVITE BA:ACK", "carol knows the focus");
    assert_eq!(mixed(&net.phones[B], third), number);
    // The focus leaves: a BYE to each.
    net.command(B, Command::Hangup { call: second });
    net.command(B, Command::Hangup { call: third });
    assert_eq!(net.ladder(), "BC:BYE CB:200/BYE BA:BYE AB:200/BYE");
    net.assert_at_rest();
}

#[test]
fn somebody_is_called_into_a_conversation() {
    let mut net = Net::new();
    let (_, first) = net.call(A, B);
    net.command(B, Command::CallIn { token: 8, to: uri(&address_of(C)), play: Play::Silence, call: first });
    assert_eq!(net.ladder(), "BA:INVITE BC:INVITE CB:180/INVITE AB:200/INVITE BA:ACK");
    let invite = net.last("INVITE").clone();
    assert!(header(&invite, HeaderName::Contact).ends_with(";isfocus"));
    assert_eq!(joined(&net.phones[B]).0, [first]);
    let (second, of_carol) = (net.phones[B].last_call(), net.phones[C].last_call());
    net.answer(C, of_carol);
    assert_eq!(net.ladder(), "CB:200/INVITE BC:ACK");
    assert_eq!(joined(&net.phones[B]), (vec![first, second], vec![]));
    assert_eq!(mixed(&net.phones[B], first), mixed(&net.phones[B], second));
    // There is room for two.
    net.command(B, Command::CallIn { token: 9, to: uri(&address_of(C)), play: Play::Silence, call: first });
    assert_eq!(net.ladder(), "");
    assert_eq!(joined(&net.phones[B]).1.len(), 1);
    net.assert_at_rest();
}

#[test]
fn one_who_does_not_answer_leaves_the_other_as_he_is() {
    let mut net = Net::new();
    let (_, first) = net.call(A, B);
    net.command(B, Command::CallIn { token: 8, to: uri(&address_of(C)), play: Play::Silence, call: first });
    let of_carol = net.phones[C].last_call();
    net.command(C, Command::Decline { call: of_carol, status: Status::of(486) });
    assert_eq!(net.calls(B), [first]);
    assert_eq!(joined(&net.phones[B]).0, [first]);
    net.assert_at_rest();
}

#[test]
fn a_third_who_asks_by_join_is_let_in_by_the_answer() {
    let mut net = Net::new();
    let (first, asks) = net.asked_in();
    assert_eq!(net.ladder(), "CB:INVITE BC:180/INVITE", "nothing changes for alice before he is let in");
    let ringing = net.last("180/INVITE").clone();
    let contact = header(&ringing, HeaderName::Contact);
    assert!(contact.starts_with("<sip:conf-") && contact.ends_with(";isfocus"), "{contact}");
    let asked = net.phones[B]
        .events
        .iter()
        .any(|event| matches!(event, Event::JoinAsked { call, joins } if (*call, *joins) == (asks, first)));
    assert!(asked);
    assert_eq!((joined(&net.phones[B]).0, mixed(&net.phones[B], first)), (vec![], None));
    net.answer(B, asks);
    assert_eq!(net.ladder(), "BA:INVITE AB:200/INVITE BA:ACK BC:200/INVITE CB:ACK");
    assert_eq!(header(net.last("200/INVITE"), HeaderName::Contact), contact);
    let to_alice = net.messages.iter().find(|message| brief(message) == "INVITE").unwrap();
    assert_eq!(header(to_alice, HeaderName::Contact), contact);
    assert_eq!(joined(&net.phones[B]), (vec![first, asks], vec![]));
    assert!(mixed(&net.phones[B], first).is_some());
    assert_eq!(mixed(&net.phones[B], first), mixed(&net.phones[B], asks));
    net.assert_at_rest();
}

#[test]
fn one_who_is_not_let_in_or_gives_up_changes_nothing() {
    for gives_up in [false, true] {
        let mut net = Net::new();
        let (first, asks) = net.asked_in();
        net.ladder();
        if gives_up {
            let of_carol = net.calls(C)[0];
            net.command(C, Command::Hangup { call: of_carol });
            assert_eq!(net.ladder(), "CB:CANCEL BC:200/CANCEL BC:487/INVITE CB:ACK");
        } else {
            net.command(B, Command::Decline { call: asks, status: Status::of(603) });
            assert_eq!(net.ladder(), "BC:603/INVITE CB:ACK");
        }
        assert_eq!((net.calls(B), net.calls(C)), (vec![first], vec![]));
        // The call is what it was: its next offer says nothing of a focus.
        net.command(B, Command::Reoffer { call: first, hold: true });
        assert!(!header(net.last("INVITE"), HeaderName::Contact).contains("focus"));
        assert_eq!(mixed(&net.phones[B], first), None);
        net.assert_at_rest();
    }
}

#[test]
fn where_the_one_who_is_to_be_joined_hangs_up_there_is_nothing_left_to_join() {
    let mut net = Net::new();
    net.asked_in();
    net.ladder();
    let of_alice = net.calls(A)[0];
    net.command(A, Command::Hangup { call: of_alice });
    assert_eq!(net.ladder(), "AB:BYE BA:200/BYE BC:481/INVITE CB:ACK");
    assert_eq!((net.calls(B), net.calls(C)), (vec![], vec![]));
    net.assert_at_rest();
}

#[test]
fn a_call_that_is_not_answered_yet_can_be_joined() {
    // RFC 3911 §4: "no limitation on its use with early dialogs".
    let mut net = Net::new();
    let (of_bob, of_alice) = net.ring(B, A);
    // Bob made this call: what is his is the other way round.
    let named = target(net.last("INVITE"), net.last("180/INVITE"));
    net.ask_in(JoinTarget { to_tag: named.from_tag, from_tag: named.to_tag, ..named });
    let asks = net.phones[B].last_call();
    net.ladder();
    net.answer(B, asks);
    assert_eq!(net.ladder(), "BC:200/INVITE CB:ACK", "he need not wait for alice");
    assert_eq!(joined(&net.phones[B]).0, [asks]);
    net.answer(A, of_alice);
    assert_eq!(net.ladder(), "AB:200/INVITE BA:ACK BA:INVITE AB:200/INVITE BA:ACK");
    assert!(header(net.last("INVITE"), HeaderName::Contact).ends_with(";isfocus"));
    assert_eq!(joined(&net.phones[B]), (vec![asks, of_bob], vec![]));
    net.assert_at_rest();
}

#[test]
fn a_call_that_rings_here_can_be_joined() {
    let mut net = Net::new();
    let (_, of_bob) = net.ring(A, B);
    let joins = target(net.last("INVITE"), net.last("180/INVITE"));
    net.ask_in(joins);
    let asks = net.phones[B].last_call();
    net.ladder();
    net.answer(B, asks);
    assert_eq!(net.ladder(), "BC:200/INVITE CB:ACK");
    net.answer(B, of_bob);
    assert_eq!(net.ladder(), "BA:200/INVITE AB:ACK");
    assert!(header(net.last("200/INVITE"), HeaderName::Contact).ends_with(";isfocus"));
    assert_eq!(joined(&net.phones[B]).0, [asks, of_bob]);
    net.assert_at_rest();
}

#[test]
fn who_calls_the_uri_of_a_conference_asks_to_be_let_in() {
    let mut net = Net::new();
    let (_, first) = net.call(A, B);
    net.command(B, Command::Focus { call: first, hold: false });
    let contact = header(net.last("INVITE"), HeaderName::Contact);
    let conference = uri(contact.trim_start_matches('<').split('>').next().unwrap());
    net.ladder();
    // A Join of nothing is passed over then (§4).
    let joins = JoinTarget { call_id: "nothing".into(), to_tag: "1".into(), from_tag: "2".into() };
    net.command(C, Command::CallToJoin { token: 9, to: conference, play: Play::Silence, joins });
    assert_eq!(net.ladder(), "CB:INVITE BC:180/INVITE");
    let asks = net.phones[B].last_call();
    assert!(
        net.phones[B]
            .events
            .iter()
            .any(|event| matches!(event, Event::JoinAsked { joins, .. } if *joins == first))
    );
    net.answer(B, asks);
    assert_eq!(net.ladder(), "BC:200/INVITE CB:ACK");
    assert_eq!(joined(&net.phones[B]).0, [first, asks]);
    net.assert_at_rest();
}

#[test]
fn offers_that_cross_a_join_wait_and_it_is_answered_after_them() {
    let mut net = Net::new();
    let (first, asks) = net.asked_in();
    net.ladder();
    let of_alice = net.calls(A)[0];
    net.phones[A].command(Command::Hold { call: of_alice, form: Default::default(), by: ChangeBy::Invite });
    net.phones[B].command(Command::Answer { call: asks, play: Play::Silence });
    net.carry();
    assert_eq!(net.ladder(), "AB:INVITE BA:INVITE BA:491/INVITE AB:491/INVITE AB:ACK BA:ACK");
    assert_eq!(joined(&net.phones[B]), (vec![], vec![]));
    net.wait(Duration::from_secs(5));
    let ladder = net.ladder();
    assert_eq!(ladder.matches("BC:200/INVITE CB:ACK").count(), 1, "{ladder}");
    assert_eq!(joined(&net.phones[B]), (vec![first, asks], vec![]));
    assert_eq!((net.calls(A).len(), net.calls(B).len(), net.calls(C).len()), (1, 2, 1));
    net.assert_at_rest();
}

#[test]
fn a_far_end_that_does_not_agree_keeps_the_third_out() {
    // RFC 3911 §4: "MUST return an appropriate error response and MUST leave the matched dialog unchanged".
    let mut bench = Bench::phone();
    let (call, first) = bench.call_bob();
    bench.respond(&first, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
    bench.take_all();
    let named = format!(
        "Join: {};to-tag={};from-tag=b",
        first.call_id().unwrap(),
        first.from_tag().unwrap().unwrap()
    );
    bench.receive(&invite(&named));
    assert_eq!(bench.take_all(), "180/INVITE");
    let asks = bench.last_call();
    bench.command(Command::Answer { call: asks, play: Play::Silence });
    let to_bob = bench.take();
    assert!(header(&to_bob, HeaderName::Contact).ends_with(";isfocus"));
    assert_eq!(bench.take_all(), "", "he waits");
    bench.respond(&to_bob, 488, "b", "", "");
    assert_eq!(bench.take_all(), "ACK 488/INVITE");
    assert_eq!(joined(&bench), (vec![], vec![call]));
    assert_eq!(bench.ended(), Some("Refused(488 Not Acceptable Here)".into()));
    bench.command(Command::Reoffer { call, hold: true });
    let next = bench.take();
    assert!(
        header(&next, HeaderName::Contact).starts_with("<sip:alice@")
            && !header(&next, HeaderName::Contact).contains("focus")
    );
    assert_eq!(mixed(&bench, call), None);
    bench.respond(&next, 200, "b", CONTACT, &sdp(4000, "recvonly"));
    bench.take_all();
    bench.command(Command::Hangup { call });
    let bye = bench.take();
    bench.respond(&bye, 200, "b", "", "");
    bench.assert_at_rest();
}

/// A phone that talks with bob, and what a Join of that call begins with and names.
fn talking(change: impl Fn(&mut crate::settings::Settings)) -> (Bench, CallHandle, Message, String) {
    let mut settings = settings("alice", "192.0.2.1:5060");
    change(&mut settings);
    let mut bench = Bench::new(settings);
    let (call, first) = bench.call_bob();
    bench.respond(&first, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
    bench.take_all();
    let named = format!(
        "Join: {};to-tag={};from-tag=b",
        first.call_id().unwrap(),
        first.from_tag().unwrap().unwrap()
    );
    (bench, call, first, named)
}

#[test]
fn a_join_that_is_wrong_or_names_nothing_is_refused() {
    let (mut bench, call, first, named) = talking(|_| {});
    let (call_id, tag) = (first.call_id().unwrap().to_owned(), first.from_tag().unwrap().unwrap().to_owned());
    for (more, status) in [
        (format!("{named}\r\n{named}"), 400),
        (format!("{named}\r\nReplaces: {call_id};to-tag={tag};from-tag=b"), 400),
        ("Join: nonsense".into(), 400),
        (format!("Join: {call_id};to-tag={tag};to-tag={tag};from-tag=b"), 400),
        (format!("Join: {call_id};to-tag=b;from-tag={tag}"), 481),
        (format!("Join: {call_id};to-tag={tag};from-tag=0"), 481),
        (format!("Join: other;to-tag={tag};from-tag=b"), 481),
        (format!("Require: join\r\nJoin: other;to-tag={tag};from-tag=b"), 481),
    ] {
        bench.receive(&invite(&more));
        assert_eq!(bench.take().status().unwrap().code(), status, "{more}");
        assert_eq!(bench.take_all(), "", "{more}");
    }
    // In another request than an INVITE, and within a dialog, it stands nowhere (§4).
    let options = invite(&format!("Subject: o\r\n{named}")).replace("INVITE", "OPTIONS");
    bench.receive(&options);
    assert_eq!(bench.take_all(), "400/OPTIONS");
    let within = invite(&named)
        .replace("To: <sip:alice@192.0.2.1>", &format!("To: <sip:alice@192.0.2.9>;tag={tag}"))
        .replace("From: <sip:dave@192.0.2.9>;tag=d", "From: <sip:bob@192.0.2.9>;tag=b")
        .replace("Call-ID: r", "Call-ID: ");
    let own = within.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap().to_owned();
    bench.receive(&within.replace(&format!("Call-ID: {own}"), &format!("Call-ID: {call_id}")));
    assert_eq!(bench.take_all(), "400/INVITE");
    // An offer that can't be taken leaves the call as it is.
    let bad = invite(&format!("Subject: b\r\n{named}"))
        .replace("RTP/AVP 0", "RTP/AVP 9")
        .replace("0 PCMU", "9 G722");
    bench.receive(&bad);
    assert_eq!(bench.take_all(), "488/INVITE");
    assert!(bench.engine.counters().joins >= 8);
    // A call that is over is not joined: 603.
    bench.command(Command::Hangup { call });
    let bye = bench.take();
    bench.receive(&invite(&format!("Subject: 1\r\n{named}")));
    assert_eq!(bench.take_all(), "603/INVITE");
    bench.respond(&bye, 200, "b", "", "");
    bench.receive(&invite(&format!("Subject: 2\r\n{named}")));
    assert_eq!(bench.take_all(), "603/INVITE");
    bench.assert_at_rest();
}

#[test]
fn who_may_join_is_a_choice_and_nobody_does_unasked() {
    let (mut bench, _, _, named) = talking(|settings| settings.transfer.joins = JoinPolicy::Refuse);
    bench.receive(&invite(&named));
    assert_eq!(bench.take_all(), "403/INVITE");
    let (mut bench, _, _, named) = talking(|_| {});
    bench.receive(&invite(&named));
    assert_eq!(bench.take_all(), "180/INVITE");
    bench.wait(Duration::from_secs(30));
    assert!(bench.take_all().is_empty(), "he who knows the dialog is not let in by that");
}

#[test]
fn a_thousand_joins_find_room_for_as_many_as_may_be() {
    let (mut bench, call, _, named) = talking(|_| {});
    let mut answers = Vec::new();
    for number in 0..1_000 {
        bench.receive(&invite(&format!("Subject: {number}\r\n{named}")));
        answers.push(bench.take_all());
    }
    assert_eq!(answers.iter().filter(|answer| *answer == "180/INVITE").count(), 1);
    assert_eq!(answers.iter().filter(|answer| *answer == "488/INVITE").count(), 999);
    let counters = bench.engine.counters();
    assert_eq!((counters.joins, counters.joins_refused), (1_000, 999));
    // When the one who rings is sent away there is room again.
    let asks = bench.last_call();
    bench.command(Command::Decline { call: asks, status: Status::of(603) });
    assert_eq!(bench.take_all(), "603/INVITE");
    bench.receive(&invite(&format!("Subject: again\r\n{named}")));
    assert_eq!(bench.take_all(), "180/INVITE");
    let asks = bench.last_call();
    for call in [asks, call] {
        bench.command(Command::Hangup { call });
    }
    let mut left = Vec::new();
    while !bench.transmits.is_empty() {
        left.push(bench.take());
    }
    let bye = left.iter().find(|message| brief(message) == "BYE").unwrap();
    bench.respond(bye, 200, "b", "", "");
    bench.assert_at_rest();
}

#[test]
fn what_does_not_fit_is_told_and_changes_nothing() {
    let mut net = Net::new();
    let (first, second) = net.two_calls();
    let stale = CallHandle { slot: 99, generation: 0 };
    for (call, with) in [(first, first), (first, stale), (stale, second)] {
        net.command(B, Command::Join { call, with });
    }
    net.command(B, Command::Focus { call: stale, hold: false });
    assert_eq!(net.ladder(), "");
    assert_eq!(joined(&net.phones[B]), (vec![], vec![first, first, stale, stale]));
    net.assert_at_rest();
}

#[test]
fn the_focus_gives_the_one_to_the_other_and_leaves() {
    // RFC 5589 §9.
    let mut net = Net::new();
    let (first, second) = net.two_calls();
    net.command(B, Command::Join { call: first, with: second });
    net.ladder();
    net.command(B, Command::Transfer { call: first, to: TransferTo::Call(second) });
    assert_eq!((net.calls(A).len(), net.calls(B), net.calls(C).len()), (1, vec![], 1));
    net.assert_at_rest();
}

#[test]
fn a_call_that_takes_the_place_of_one_of_a_conference_is_in_it() {
    let mut net = Net::new();
    let (first, second) = net.two_calls();
    net.command(B, Command::Join { call: first, with: second });
    // Alice calls carol, and gives her call with bob to her.
    let of_alice = net.calls(A)[0];
    let (consultation, _) = {
        net.command(A, Command::Reoffer { call: of_alice, hold: true });
        net.call(A, C)
    };
    net.command(A, Command::Transfer { call: consultation, to: TransferTo::Call(of_alice) });
    let calls = net.calls(B);
    assert_eq!(calls.len(), 2, "{}", net.ladder());
    assert!(calls.contains(&second));
    let new = *calls.iter().find(|call| **call != second).unwrap();
    assert!(mixed(&net.phones[B], new).is_some());
    assert_eq!(mixed(&net.phones[B], new), mixed(&net.phones[B], second));
    net.assert_at_rest();
}

#[test]
fn one_who_hangs_up_while_he_is_let_in_leaves_nothing() {
    let mut net = Net::new();
    let (first, asks) = net.asked_in();
    net.ladder();
    // He gives up while alice is asked.
    net.phones[B].command(Command::Answer { call: asks, play: Play::Silence });
    let of_carol = net.calls(C)[0];
    net.phones[C].command(Command::Hangup { call: of_carol });
    net.carry();
    assert_eq!((net.calls(A).len(), net.calls(B).len()), (1, 1));
    assert_eq!(joined(&net.phones[B]).0, [first]);
    assert!(net.phones[B].events.iter().any(|event| matches!(event, Event::Ended { call, reason: EndReason::Cancelled | EndReason::RemoteHangup } if *call == asks)));
    net.assert_at_rest();
}
