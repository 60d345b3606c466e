//! Two phones, a bad network and owners who press buttons at random: whatever happens, each call ends once, each lease
//! is given back once, and nothing is left.

use std::collections::BTreeMap;
use std::time::Duration;

use dialtone_wire::Status;
use dialtone_wire::net::Transmit;

use super::bench::{Bench, uri};
use super::calls::{ALICE, BOB, Pair};
use crate::io::{
    CallHandle, ChangeBy, Command, DigitForm, Event, HoldForm, Play, TransferOutcome, TransferTo,
};
use crate::settings::{ReferPolicy, SessionSettings};

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}

struct Run {
    pair: Pair,
    random: Random,
    /// How many there are to be pressed: the last ones transfer calls.
    buttons: usize,
    /// On the way, with the phone that sent it.
    network: Vec<(usize, Transmit)>,
    /// For each call of each phone, how often it has ended.
    ends: [BTreeMap<CallHandle, usize>; 2],
    answered: usize,
    /// Transfers that each phone is asked for.
    asked: [Vec<u64>; 2],
    transferred: usize,
    replaced: usize,
}

impl Run {
    fn collect(&mut self) {
        for side in [ALICE, BOB] {
            let phone = &mut self.pair.phones[side];
            self.network.extend(phone.transmits.drain(..).map(|transmit| (side, transmit)));
            for event in phone.events.drain(..) {
                match event {
                    Event::CallStarted { call, .. }
                    | Event::Incoming { call, .. }
                    | Event::TransferBegun { new_call: call, .. } => {
                        assert_eq!(self.ends[side].insert(call, 0), None, "a handle names one call");
                    }
                    Event::Ended { call, .. } => *self.ends[side].get_mut(&call).expect("a call began") += 1,
                    Event::Answered { .. } => self.answered += 1,
                    Event::TransferAsked { referral, .. } => self.asked[side].push(referral),
                    Event::TransferEnded { outcome: TransferOutcome::Done, .. } => self.transferred += 1,
                    Event::Replaced { .. } => self.replaced += 1,
                    _ => {}
                }
            }
        }
    }

    /// One message arrives, maybe not the oldest; or gets lost, or comes twice.
    fn carry_one(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let limit = self.network.len().min(3);
        let (from, transmit) = self.network.remove(self.random.below(limit));
        match self.random.below(10) {
            0 => {}
            1 => {
                self.pair.deliver(from, transmit.clone());
                self.pair.deliver(from, transmit);
            }
            _ => self.pair.deliver(from, transmit),
        }
    }

    fn press(&mut self) {
        let side = self.random.below(2);
        let calls: Vec<CallHandle> = self.ends[side].keys().rev().take(2).copied().collect();
        let call = (!calls.is_empty()).then(|| calls[self.random.below(calls.len())]);
        let to = uri(if side == ALICE { "sip:bob@192.0.2.2" } else { "sip:alice@192.0.2.1" });
        let by = if self.random.below(2) == 0 { ChangeBy::Invite } else { ChangeBy::Update };
        let form = if self.random.below(2) == 0 { HoldForm::Direction } else { HoldForm::Address };
        let command = match (self.random.below(self.buttons), call) {
            (18..=21, Some(call)) => {
                // To the other one, to oneself, or to whom another call leads.
                let own = uri(if side == ALICE { "sip:alice@192.0.2.1" } else { "sip:bob@192.0.2.2" });
                let to = match self.random.below(4) {
                    0 => TransferTo::Address(to),
                    1 => TransferTo::Address(own),
                    _ => TransferTo::Call(calls[self.random.below(calls.len())]),
                };
                Command::Transfer { call, to }
            }
            (22, _) => {
                let accept = self.random.below(3) > 0;
                let Some(referral) = self.asked[side].pop() else { return };
                Command::AnswerTransfer { referral, accept, play: Play::Silence }
            }
            (23, Some(call)) => {
                Command::SendDigit { call, digit: '5', duration_ms: 100, form: DigitForm::Relay }
            }
            (24, Some(call)) => Command::Music { call, source: to },
            (0 | 1, _) => Command::Call { token: 1, to, play: Play::Silence },
            (2..=6, Some(call)) => Command::Answer { call, play: Play::Echo },
            (7, Some(call)) => Command::Decline { call, status: Status::of(486) },
            (8, Some(call)) => Command::Hangup { call },
            (9, _) => Command::Options { token: 2, to },
            (10, Some(call)) => Command::Refresh { call, by },
            (11..=13, Some(call)) => Command::Progress { call, play: Play::Silence },
            (14 | 15, Some(call)) => Command::Hold { call, form, by },
            (16, Some(call)) => Command::Resume { call, by },
            (_, Some(call)) => Command::Reoffer { call, hold: self.random.below(2) == 0 },
            (_, None) => return,
        };
        self.pair.phones[side].command(command);
    }

    fn wait(&mut self) {
        const WAITS_MS: [u64; 6] = [1, 20, 200, 1000, 4000, 33_000];
        let wait = Duration::from_millis(WAITS_MS[self.random.below(WAITS_MS.len())]);
        self.pair.phones.iter_mut().for_each(|phone| phone.wait(wait));
    }

    /// Everybody hangs up, and the network is good until all is over.
    fn finish(mut self) -> [usize; 3] {
        self.collect();
        for side in [ALICE, BOB] {
            let calls: Vec<CallHandle> = self.ends[side].keys().copied().collect();
            calls.into_iter().for_each(|call| self.pair.phones[side].command(Command::Hangup { call }));
        }
        self.collect();
        for (from, transmit) in std::mem::take(&mut self.network) {
            self.pair.deliver(from, transmit);
        }
        for _ in 0..40 {
            self.pair.wait(Duration::from_secs(3));
            self.collect();
            for side in [ALICE, BOB] {
                // A call that came late is hung up too.
                let open: Vec<CallHandle> =
                    self.ends[side].iter().filter(|(_, ends)| **ends == 0).map(|(call, _)| *call).collect();
                open.into_iter().for_each(|call| self.pair.phones[side].command(Command::Hangup { call }));
            }
        }
        self.collect();
        assert!(self.ends.iter().flat_map(BTreeMap::values).all(|ends| *ends == 1), "{:?}", self.ends);
        self.pair.phones.iter_mut().for_each(Bench::assert_at_rest);
        [self.answered, self.transferred, self.replaced]
    }
}

#[test]
fn each_call_ends_once_and_nothing_is_left_whatever_happens() {
    let mut answered = 0;
    for seed in 0..120 {
        let mut run = Run {
            // Half of the phones acknowledge each other's provisional responses.
            pair: Pair::of(SessionSettings { reliable_ringing: seed % 2 == 1, ..SessionSettings::default() }),
            random: Random(seed),
            buttons: 18,
            network: Vec::new(),
            ends: Default::default(),
            answered: 0,
            asked: Default::default(),
            transferred: 0,
            replaced: 0,
        };
        for _ in 0..150 {
            match run.random.below(10) {
                0 | 1 => run.press(),
                2 => run.wait(),
                _ => run.carry_one(),
            }
            run.collect();
        }
        answered += run.finish()[0];
    }
    assert!(answered > 100, "calls are answered too: {answered}");
}

#[test]
fn transfers_at_random_leave_nothing_either() {
    let mut seen = [0; 3];
    for seed in 0..80 {
        let referred = if seed % 3 == 0 { ReferPolicy::Ask } else { ReferPolicy::Accept };
        let mut run = Run {
            pair: Pair::with(|settings| {
                settings.transfer.referred = referred;
                settings.transfer.strangers = referred;
            }),
            random: Random(1_000 + seed),
            buttons: 25,
            network: Vec::new(),
            ends: Default::default(),
            answered: 0,
            asked: Default::default(),
            transferred: 0,
            replaced: 0,
        };
        for _ in 0..500 {
            match run.random.below(10) {
                0 | 1 => run.press(),
                2 if run.random.below(3) == 0 => run.wait(),
                _ => run.carry_one(),
            }
            run.collect();
        }
        for (all, more) in seen.iter_mut().zip(run.finish()) {
            *all += more;
        }
    }
    assert!(seen[0] > 100 && seen[1] > 5 && seen[2] > 0, "calls are transferred and replaced too: {seen:?}");
}
