//! Transfers between three phones: transferor, transferee and target (RFC 3515, RFC 3891, RFC 5589).

use std::time::Duration;

use dialtone_wire::{HeaderName, Status};

use super::bench::header;
use super::net::{A, B, C, Net, address_of};
use crate::io::{Command, Event, Play, TransferOutcome, TransferTo};
use crate::settings::{ReferPolicy, ReplacesPolicy};

const DONE: [TransferOutcome; 1] = [TransferOutcome::Done];

#[test]
fn a_blind_transfer_lets_the_other_side_talk_to_the_target_and_hangs_up() {
    let mut net = Net::new();
    let (of_alice, _) = net.call(A, B);
    net.transfer(A, of_alice, C);
    assert_eq!(
        net.ladder(),
        "AB:REFER BA:200/REFER BA:NOTIFY BC:INVITE CB:180/INVITE AB:200/NOTIFY BA:NOTIFY AB:200/NOTIFY"
    );
    let refer = net.last("REFER");
    assert_eq!(header(refer, HeaderName::ReferTo), "<sip:carol@192.0.2.3>");
    assert_eq!(header(refer, HeaderName::ReferredBy), "<sip:alice@192.0.2.1>");
    assert!(!header(refer, HeaderName::Contact).is_empty());
    // RFC 3892 §3: as it came.
    assert_eq!(header(net.last("INVITE"), HeaderName::ReferredBy), "<sip:alice@192.0.2.1>");
    let of_carol = net.phones[C].last_call();
    net.command(C, Command::Answer { call: of_carol, play: Play::Silence });
    assert_eq!(net.ladder(), "CB:200/INVITE BC:ACK BA:NOTIFY AB:200/NOTIFY AB:BYE BA:200/BYE");
    let told = [
        "active: SIP/2.0 100 Trying",
        "active: SIP/2.0 180 Ringing",
        "terminated;reason=noresource: SIP/2.0 200 OK",
    ];
    assert_eq!(net.told(), told);
    assert_eq!(header(net.last("NOTIFY"), HeaderName::Event), "refer");
    assert_eq!(net.outcomes(A), DONE);
    assert_eq!(net.calls(A), []);
    assert_eq!([net.calls(B).len(), net.calls(C).len()], [1, 1]);
    // Media of bob and carol flow between the two.
    assert!(net.phones[C].media_of_call()[0].starts_with("192.0.2.2:"));
    let progress =
        net.phones[A].events.iter().filter(|event| matches!(event, Event::TransferProgress { .. }));
    assert_eq!(progress.count(), 2);
    net.assert_at_rest();
}

#[test]
fn progress_is_not_told_where_it_is_not_wanted() {
    let mut net = Net::with(|settings| settings.transfer.tells_progress = false);
    let (of_alice, _) = net.call(A, B);
    net.transfer(A, of_alice, C);
    let of_carol = net.phones[C].last_call();
    net.command(C, Command::Answer { call: of_carol, play: Play::Silence });
    assert_eq!(net.told(), ["active: SIP/2.0 100 Trying", "terminated;reason=noresource: SIP/2.0 200 OK"]);
    net.assert_at_rest();
}

#[test]
fn a_transfer_that_fails_gives_the_call_back_and_takes_it_off_hold() {
    // RFC 5589 §6.3.1.
    let mut net = Net::new();
    let (of_alice, of_bob) = net.call(A, B);
    net.hold(A, of_alice);
    net.transfer(A, of_alice, C);
    net.ladder();
    let of_carol = net.phones[C].last_call();
    net.command(C, Command::Decline { call: of_carol, status: Status::of(486) });
    assert_eq!(net.ladder(), "CB:486/INVITE BC:ACK BA:NOTIFY AB:200/NOTIFY AB:INVITE BA:200/INVITE AB:ACK");
    assert_eq!(net.outcomes(A), [TransferOutcome::Failed(Status::of(486))]);
    assert_eq!(net.told().last().unwrap(), "terminated;reason=noresource: SIP/2.0 486 Busy Here");
    assert_eq!((net.calls(A), net.calls(B)), (vec![of_alice], vec![of_bob]));
    assert!(net.phones[A].media_of_call().last().unwrap().ends_with("sendrecv"));
    net.assert_at_rest();
}

#[test]
fn a_target_that_does_not_answer_is_told_of_and_the_call_comes_back() {
    // RFC 5589 §6.3.2.
    let mut net = Net::new();
    let (of_alice, _) = net.call(A, B);
    net.transfer(A, of_alice, C);
    net.wait(Duration::from_secs(200));
    assert_eq!(net.outcomes(A), [TransferOutcome::Failed(Status::of(480))]);
    assert_eq!(net.calls(A), [of_alice]);
    net.assert_at_rest();
}

#[test]
fn an_attended_transfer_joins_both_calls_of_the_transferor() {
    // RFC 5589 §7.3, RFC 5359 §2.5.
    let mut net = Net::new();
    let (of_bob, _) = net.call(B, A);
    net.hold(B, of_bob);
    let (consultation, _) = net.call(B, C);
    net.hold(B, consultation);
    net.command(B, Command::Transfer { call: of_bob, to: TransferTo::Call(consultation) });
    assert_eq!(
        net.ladder(),
        "BA:REFER AB:200/REFER AB:NOTIFY AC:INVITE BA:200/NOTIFY CA:200/INVITE CB:BYE AC:ACK AB:NOTIFY BC:200/BYE \
         BA:200/NOTIFY BA:BYE AB:200/BYE"
    );
    let invite = net.last("INVITE").clone();
    let replaces = header(&invite, HeaderName::Replaces);
    assert!(replaces.contains(";to-tag=") && replaces.contains(";from-tag="), "{replaces}");
    assert_eq!(net.outcomes(B), DONE);
    assert_eq!(net.calls(B), []);
    assert_eq!([net.calls(A).len(), net.calls(C).len()], [1, 1]);
    let carol = format!("{:?}", net.phones[C].events);
    assert!(carol.contains("Replaced {") && carol.contains("reason: Replaced"), "{carol}");
    // What carol's phone played to bob it plays to alice.
    assert!(net.phones[C].applied.values().any(|told| told.iter().any(|to| to.starts_with("192.0.2.1:"))));
    net.assert_at_rest();
}

#[test]
fn a_call_that_is_over_before_the_target_answers_is_told_of_all_the_same() {
    // RFC 5359 §2.4: alice hangs up at once; the dialog lives on until the subscription is over.
    let mut net = Net::new();
    let (of_alice, _) = net.call(A, B);
    net.transfer(A, of_alice, C);
    net.command(A, Command::Hangup { call: of_alice });
    net.ladder();
    assert_eq!(net.calls(A), []);
    net.wait(Duration::from_secs(5));
    let of_carol = net.phones[C].last_call();
    net.command(C, Command::Answer { call: of_carol, play: Play::Silence });
    assert_eq!(net.ladder(), "CB:200/INVITE BC:ACK BA:NOTIFY AB:200/NOTIFY");
    assert_eq!(net.outcomes(A), DONE);
    net.assert_at_rest();
}

#[test]
fn the_transferee_that_hangs_up_first_is_heard_to_the_end() {
    let mut net = Net::new();
    let (of_alice, of_bob) = net.call(A, B);
    net.transfer(A, of_alice, C);
    net.command(B, Command::Hangup { call: of_bob });
    let of_carol = net.phones[C].last_call();
    net.command(C, Command::Decline { call: of_carol, status: Status::of(603) });
    assert_eq!(net.outcomes(A), [TransferOutcome::Failed(Status::of(603))]);
    net.assert_at_rest();
}

#[test]
fn the_owner_is_asked_and_says_yes_or_no() {
    for accept in [true, false] {
        let mut net = Net::with(|settings| settings.transfer.referred = ReferPolicy::Ask);
        let (of_alice, _) = net.call(A, B);
        net.transfer(A, of_alice, C);
        assert_eq!(net.ladder(), "AB:REFER BA:200/REFER BA:NOTIFY AB:200/NOTIFY");
        let asked = net.phones[B].events.iter().find_map(|event| match event {
            Event::TransferAsked { referral, to, replaces: false, referred_by: Some(by), .. } => {
                Some((*referral, to.to_string(), by.to_string()))
            }
            _ => None,
        });
        let (referral, to, by) = asked.unwrap();
        assert_eq!((to.as_str(), by), (&*address_of(C), address_of(A)));
        net.command(B, Command::AnswerTransfer { referral, accept, play: Play::Silence });
        if accept {
            assert_eq!(net.calls(B).len(), 2);
            assert_eq!(net.told()[..2], ["pending: SIP/2.0 100 Trying", "active: SIP/2.0 100 Trying"]);
        } else {
            assert_eq!(net.told()[1..], ["terminated;reason=rejected: SIP/2.0 603 Decline"]);
            assert_eq!(net.outcomes(A), [TransferOutcome::Refused(Status::of(603))]);
            assert_eq!(net.calls(A), [of_alice]);
        }
        // Answered once, it is answered.
        net.command(B, Command::AnswerTransfer { referral, accept: true, play: Play::Silence });
        assert_eq!(net.calls(B).len(), if accept { 2 } else { 1 });
        net.assert_at_rest();
    }
}

#[test]
fn a_target_may_ring_for_long_though_the_response_to_the_refer_came_after_the_first_notify() {
    let mut net = Net::new();
    let (of_alice, _) = net.call(A, B);
    net.lost = Some("BA:200/REFER");
    net.transfer(A, of_alice, C);
    assert_eq!(net.lost, None);
    net.wait(Duration::from_secs(40));
    assert_eq!(net.outcomes(A), []);
    let of_carol = net.phones[C].last_call();
    net.command(C, Command::Answer { call: of_carol, play: Play::Silence });
    assert_eq!(net.outcomes(A), DONE);
    assert_eq!(net.calls(A), []);
    net.assert_at_rest();
}

#[test]
fn an_owner_who_never_answers_is_given_up() {
    let mut net = Net::with(|settings| settings.transfer.referred = ReferPolicy::Ask);
    let (of_alice, _) = net.call(A, B);
    net.transfer(A, of_alice, C);
    net.wait(Duration::from_secs(301));
    assert_eq!(net.told().last().unwrap(), "terminated;reason=timeout: SIP/2.0 100 Trying");
    assert_eq!(net.outcomes(A), [TransferOutcome::Unknown]);
    net.assert_at_rest();
}

#[test]
fn a_refer_is_refused_where_nobody_follows_transfers() {
    let mut net = Net::with(|settings| settings.transfer.referred = ReferPolicy::Refuse);
    let (of_alice, of_bob) = net.call(A, B);
    net.hold(A, of_alice);
    net.transfer(A, of_alice, C);
    assert_eq!(net.ladder(), "AB:REFER BA:403/REFER AB:INVITE BA:200/INVITE AB:ACK");
    assert!(header(net.last("403/REFER"), HeaderName::Warning).contains("Nobody is called"));
    assert_eq!(net.outcomes(A), [TransferOutcome::Refused(Status::of(403))]);
    assert_eq!((net.calls(A), net.calls(B)), (vec![of_alice], vec![of_bob]));
    net.assert_at_rest();
}

#[test]
fn a_call_is_transferred_once_at_a_time_and_only_while_it_stands() {
    let mut net = Net::new();
    let (of_alice, _) = net.ring(A, B);
    net.transfer(A, of_alice, C);
    assert_eq!(net.outcomes(A), [TransferOutcome::NotPossible]);
    let of_bob = net.phones[B].last_call();
    net.command(B, Command::Answer { call: of_bob, play: Play::Silence });
    net.transfer(A, of_alice, C);
    net.transfer(A, of_alice, C);
    net.command(A, Command::Transfer { call: of_alice, to: TransferTo::Call(of_alice) });
    assert_eq!(net.outcomes(A), [TransferOutcome::NotPossible; 3]);
    net.assert_at_rest();
    net.transfer(A, of_alice, C);
    assert_eq!(net.outcomes(A).last(), Some(&TransferOutcome::NotPossible));
}

#[test]
fn several_refers_of_one_call_are_told_apart_by_their_id() {
    // RFC 3515 §2.4.6.
    let mut net = Net::new();
    let (of_alice, _) = net.call(A, B);
    net.transfer(A, of_alice, C);
    let of_carol = net.phones[C].last_call();
    net.command(C, Command::Decline { call: of_carol, status: Status::of(486) });
    net.transfer(A, of_alice, C);
    let refer = net.last("REFER").cseq().unwrap().number;
    assert_eq!(header(net.last("NOTIFY"), HeaderName::Event), format!("refer;id={refer}"));
    let of_carol = net.phones[C].last_call();
    net.command(C, Command::Answer { call: of_carol, play: Play::Silence });
    assert_eq!(net.outcomes(A), [TransferOutcome::Failed(Status::of(486)), TransferOutcome::Done]);
    net.assert_at_rest();
}

#[test]
fn a_target_that_is_still_being_called_by_us_is_replaced_with_cancel() {
    // RFC 3891 §3: "an early dialog that was initiated by the UA": carol calls bob, and alice takes his place.
    let mut net = Net::with(|settings| settings.transfer.replaces = ReplacesPolicy::Named);
    net.ring(C, B);
    let invite = net.last("INVITE").clone();
    let ringing = net.last("180/INVITE").clone();
    let (call_id, from) =
        (invite.call_id().unwrap().to_owned(), invite.from_tag().unwrap().unwrap().to_owned());
    let to = ringing.to_tag().unwrap().unwrap().to_owned();
    net.ladder();
    let text = super::hostile::invite(&format!("Replaces: {call_id};to-tag={from};from-tag={to}"));
    net.phones[C].receive(&text);
    let sent = net.phones[C].take_all();
    assert_eq!(sent, "200/INVITE CANCEL");
    assert!(net.phones[C].events().iter().any(|event| event.starts_with("Replaced")));
}

#[test]
fn a_ring_of_transfers_comes_to_an_end() {
    // Whoever has been transferred transfers the other side on to the next, without end.
    let mut net = Net::new();
    net.call(A, B);
    let mut transfers = 0;
    for round in 0..1_000 {
        // The one who was called last sends his caller to the third.
        let [from, _, to] = [[B, A, C], [C, A, B]][round % 2];
        let Some(call) = net.calls(from).last().copied() else { break };
        net.transfer(from, call, to);
        let refused = matches!(net.outcomes(from).last(), Some(TransferOutcome::Refused(_)));
        if refused {
            break;
        }
        let of_target = net.phones[to].last_call();
        net.command(to, Command::Answer { call: of_target, play: Play::Silence });
        transfers += 1;
    }
    assert_eq!(net.outcomes(B).last(), Some(&TransferOutcome::Refused(Status::of(483))));
    assert!(header(net.last("483/REFER"), HeaderName::Warning).contains("too often"));
    assert_eq!(transfers, 50, "from 70 hops to 20");
    net.assert_at_rest();
}

#[test]
fn a_ring_in_which_each_is_sent_on_in_turn_comes_to_an_end_too() {
    // The hops travel in Max-Forwards, so that it does not matter who is sent where.
    let mut net = Net::new();
    net.call(A, B);
    let mut transfers = 0;
    for round in 0..1_000 {
        // The caller sends the one whom he called to the third: A→B, B→C, C→A …
        let [from, _, to] = [[A, B, C], [B, C, A], [C, A, B]][round % 3];
        let Some(call) = net.calls(from).last().copied() else { break };
        net.transfer(from, call, to);
        if matches!(net.outcomes(from).last(), Some(TransferOutcome::Refused(_))) {
            break;
        }
        let of_target = net.phones[to].last_call();
        net.command(to, Command::Answer { call: of_target, play: Play::Silence });
        transfers += 1;
    }
    assert_eq!(transfers, 50, "from 70 hops to 20");
    net.assert_at_rest();
}
