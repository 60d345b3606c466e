//! Two phones that call each other over a network without loss, until a test holds messages back.

use std::time::Duration;

use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::time::Instant;
use dialtone_wire::{Limits as MessageLimits, Message, Status};

use super::bench::{Bench, brief, settings, uri};
use crate::io::{CallHandle, Command, Input, Play};
use crate::settings::{SessionSettings, Settings};

pub(super) struct Pair {
    pub(super) phones: [Bench; 2],
    ladder: Vec<String>,
    /// What happens to the message with this number.
    pub(super) fault: Option<(usize, Fault)>,
    /// Copies that come later, with their senders.
    late: Vec<(Instant, usize, Transmit)>,
}

/// What the network does to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Lose,
    /// It comes once more, so much later.
    Double(Duration),
}

pub(super) const ALICE: usize = 0;
pub(super) const BOB: usize = 1;

impl Pair {
    pub(super) fn new() -> Pair {
        Pair::of(SessionSettings::default())
    }

    pub(super) fn of(session: SessionSettings) -> Pair {
        Pair::with(|settings| settings.session = session)
    }

    pub(super) fn with(change: impl Fn(&mut Settings)) -> Pair {
        let phone = |name, address| {
            let mut settings = settings(name, address);
            change(&mut settings);
            Bench::new(settings)
        };
        Pair {
            phones: [phone("alice", "192.0.2.1:5060"), phone("bob", "192.0.2.2:5060")],
            ladder: Vec::new(),
            fault: None,
            late: Vec::new(),
        }
    }

    /// Carries messages to and fro until none is left.
    fn carry(&mut self) {
        loop {
            let mut moved = false;
            for from in [ALICE, BOB] {
                while let Some(transmit) = self.phones[from].transmits.pop_front() {
                    moved = true;
                    match self.fault.take_if(|(number, _)| *number == self.ladder.len()) {
                        Some((_, Fault::Lose)) => continue,
                        Some((_, Fault::Double(after))) => {
                            self.late.push((self.phones[from].now + after, from, transmit.clone()));
                        }
                        None => {}
                    }
                    self.deliver(from, transmit);
                }
            }
            if !moved {
                return;
            }
        }
    }

    pub(super) fn deliver(&mut self, from: usize, transmit: Transmit) {
        let message = Message::parse(transmit.bytes.clone(), &MessageLimits::default()).unwrap();
        let arrow = if from == ALICE { ">" } else { "<" };
        self.ladder.push(format!("{arrow}{}", brief(&message)));
        // Whoever is sent to himself calls himself.
        let is_own = transmit.flow.remote == self.phones[from].address;
        let to = &mut self.phones[if is_own { from } else { 1 - from }];
        assert_eq!(transmit.flow.remote, to.address);
        let flow = Flow::udp(transmit.flow.remote, transmit.flow.local);
        to.input(Input::Packet { flow, bytes: transmit.bytes });
    }

    pub(super) fn ladder(&mut self) -> String {
        std::mem::take(&mut self.ladder).join(" ")
    }

    pub(super) fn wait(&mut self, duration: Duration) {
        let step = Duration::from_millis(10);
        let mut left = duration;
        while !left.is_zero() {
            self.phones.iter_mut().for_each(|phone| phone.wait(step.min(left)));
            left = left.saturating_sub(step);
            let now = self.phones[ALICE].now;
            for (_, from, transmit) in self.late.extract_if(.., |(at, ..)| *at <= now).collect::<Vec<_>>() {
                self.deliver(from, transmit);
            }
            self.carry();
        }
    }

    fn call(&mut self) -> (CallHandle, CallHandle) {
        let call = Command::Call { token: 7, to: uri("sip:bob@192.0.2.2"), play: Play::Silence };
        self.phones[ALICE].command(call);
        self.carry();
        (self.phones[ALICE].last_call(), self.phones[BOB].last_call())
    }

    pub(super) fn established() -> (Pair, CallHandle, CallHandle) {
        let mut pair = Pair::new();
        let (of_alice, of_bob) = pair.call();
        pair.phones[BOB].command(Command::Answer { call: of_bob, play: Play::Echo });
        pair.carry();
        assert_eq!(pair.ladder(), ">INVITE <180/INVITE <200/INVITE >ACK");
        assert!(pair.phones.iter().all(|phone| phone.media_of_call().len() == 1));
        (pair, of_alice, of_bob)
    }

    fn ended(&mut self) -> [Option<String>; 2] {
        [self.phones[ALICE].ended(), self.phones[BOB].ended()]
    }

    fn assert_over(&mut self, alice: &str, bob: &str) {
        assert_eq!(self.ended(), [Some(alice.into()), Some(bob.into())]);
        self.phones.iter_mut().for_each(Bench::assert_at_rest);
    }
}

#[test]
fn a_call_is_made_answered_and_hung_up_by_the_callee() {
    let (mut pair, _, of_bob) = Pair::established();
    let events = pair.phones[ALICE].events();
    assert_eq!(events.len(), 3, "{events:?}");
    assert!(events[1].contains("180 Ringing") && events[2].starts_with("Answered"), "{events:?}");
    pair.phones[BOB].command(Command::Hangup { call: of_bob });
    pair.carry();
    assert_eq!(pair.ladder(), "<BYE >200/BYE");
    pair.assert_over("RemoteHangup", "LocalHangup");
}

#[test]
fn both_hang_up_at_once_and_both_byes_get_200() {
    let (mut pair, of_alice, of_bob) = Pair::established();
    pair.phones[ALICE].command(Command::Hangup { call: of_alice });
    pair.phones[BOB].command(Command::Hangup { call: of_bob });
    pair.carry();
    assert_eq!(pair.ladder(), ">BYE <BYE <200/BYE >200/BYE");
    pair.assert_over("LocalHangup", "LocalHangup");
}

#[test]
fn the_caller_gives_up_while_the_phone_rings() {
    let mut pair = Pair::new();
    let (of_alice, _) = pair.call();
    pair.phones[ALICE].command(Command::Hangup { call: of_alice });
    pair.carry();
    assert_eq!(pair.ladder(), ">INVITE <180/INVITE >CANCEL <200/CANCEL <487/INVITE >ACK");
    pair.assert_over("LocalHangup", "Cancelled");
}

#[test]
fn the_answer_crosses_the_cancel_and_is_acknowledged_and_hung_up() {
    let mut pair = Pair::new();
    let (of_alice, of_bob) = pair.call();
    pair.ladder();
    pair.phones[BOB].command(Command::Answer { call: of_bob, play: Play::Echo });
    pair.phones[ALICE].command(Command::Hangup { call: of_alice });
    pair.carry();
    let ladder = pair.ladder();
    assert_eq!(ladder, ">CANCEL <200/INVITE <200/CANCEL >ACK >BYE <200/BYE");
    pair.assert_over("LocalHangup", "RemoteHangup");
}

#[test]
fn the_callee_declines() {
    let mut pair = Pair::new();
    let (_, of_bob) = pair.call();
    pair.phones[BOB].command(Command::Decline { call: of_bob, status: Status::of(486) });
    pair.carry();
    assert_eq!(pair.ladder(), ">INVITE <180/INVITE <486/INVITE >ACK");
    pair.assert_over("Refused(486 Busy Here)", "LocalHangup");
}

#[test]
fn a_call_that_nobody_answers_ends_by_itself() {
    let mut pair = Pair::new();
    pair.call();
    pair.wait(Duration::from_secs(186));
    assert_eq!(pair.ladder(), ">INVITE <180/INVITE <180/INVITE <180/INVITE <180/INVITE <480/INVITE >ACK");
    pair.assert_over("Refused(480 Temporarily Unavailable)", "NoResponse");
}

#[test]
fn hold_and_resume_change_the_session_on_both_sides() {
    let (mut pair, of_alice, _) = Pair::established();
    pair.phones[ALICE].command(Command::Reoffer { call: of_alice, hold: true });
    pair.carry();
    assert_eq!(pair.ladder(), ">INVITE <200/INVITE >ACK");
    assert!(pair.phones[ALICE].media_of_call()[1].ends_with("sendonly"));
    assert!(pair.phones[BOB].media_of_call()[1].ends_with("recvonly"));
    pair.phones[ALICE].command(Command::Reoffer { call: of_alice, hold: false });
    pair.carry();
    assert!(pair.phones[ALICE].media_of_call()[2].ends_with("sendrecv"));
    assert!(pair.phones[BOB].media_of_call()[2].ends_with("sendrecv"));
    assert!(
        pair.phones[ALICE].events().iter().filter(|event| event.starts_with("SessionChanged")).count() == 2
    );
    pair.ladder();
    pair.phones[ALICE].command(Command::Hangup { call: of_alice });
    pair.carry();
    pair.assert_over("LocalHangup", "RemoteHangup");
}

#[test]
fn re_invites_that_cross_are_both_refused_and_both_tried_again() {
    let (mut pair, of_alice, of_bob) = Pair::established();
    pair.phones[ALICE].command(Command::Reoffer { call: of_alice, hold: true });
    pair.phones[BOB].command(Command::Reoffer { call: of_bob, hold: true });
    pair.carry();
    assert_eq!(pair.ladder(), ">INVITE <INVITE <491/INVITE >491/INVITE >ACK <ACK");
    // RFC 3261 §14.1: the callee tries again within 2 seconds, the caller after 2.1 seconds.
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.ladder(), "<INVITE >200/INVITE <ACK");
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.ladder(), ">INVITE <200/INVITE >ACK");
    assert!(pair.phones.iter().all(|phone| phone.media_of_call().last().unwrap().ends_with("inactive")));
    pair.phones[ALICE].command(Command::Hangup { call: of_alice });
    pair.carry();
    pair.assert_over("LocalHangup", "RemoteHangup");
}

#[test]
fn a_re_invite_that_meets_our_bye_gets_481_and_changes_nothing() {
    let (mut pair, of_alice, of_bob) = Pair::established();
    pair.phones[ALICE].command(Command::Hangup { call: of_alice });
    pair.phones[BOB].command(Command::Reoffer { call: of_bob, hold: true });
    pair.carry();
    assert_eq!(pair.ladder(), ">BYE <INVITE <200/BYE >481/INVITE <ACK");
    pair.assert_over("LocalHangup", "RemoteHangup");
}
