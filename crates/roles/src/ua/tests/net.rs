//! Several phones that call each other over a network that loses what it is told to.

use std::time::Duration;

use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::{Limits as MessageLimits, Message};

use super::bench::{Bench, brief, settings, uri};
use crate::io::{CallHandle, Command, Event, Input, Play, TransferOutcome, TransferTo};
use crate::settings::{ReferPolicy, Settings};

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;
pub(super) const C: usize = 2;
const NAMES: [&str; 3] = ["alice", "bob", "carol"];

pub(super) struct Net {
    pub(super) phones: Vec<Bench>,
    ladder: Vec<String>,
    /// What passed last, the newest first.
    pub(super) messages: Vec<Message>,
    /// The next of these words that is sent is lost: `BA:200/REFER`.
    pub(super) lost: Option<&'static str>,
}

pub(super) fn address_of(phone: usize) -> String {
    format!("sip:{}@192.0.2.{}", NAMES[phone], phone + 1)
}

impl Net {
    /// Three phones that do what a REFER asks for.
    pub(super) fn new() -> Net {
        Net::with(|_| {})
    }

    pub(super) fn with(change: impl Fn(&mut Settings)) -> Net {
        let phone = |index: usize| {
            let mut settings = settings(NAMES[index], &format!("192.0.2.{}:5060", index + 1));
            settings.transfer.referred = ReferPolicy::Accept;
            settings.account.as_mut().unwrap().aor = uri(&address_of(index));
            change(&mut settings);
            Bench::new(settings)
        };
        Net { phones: (A..=C).map(phone).collect(), ladder: Vec::new(), messages: Vec::new(), lost: None }
    }

    /// Carries messages to and fro until none is left.
    pub(super) fn carry(&mut self) {
        loop {
            let mut moved = false;
            for from in A..=C {
                while let Some(transmit) = self.phones[from].transmits.pop_front() {
                    self.deliver(from, transmit);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn deliver(&mut self, from: usize, transmit: Transmit) {
        let message = Message::parse(transmit.bytes.clone(), &MessageLimits::default()).unwrap();
        let to = self.phones.iter().position(|phone| phone.address == transmit.flow.remote);
        let letter = |phone: usize| &"ABC"[phone..=phone];
        let word = format!("{}{}:{}", letter(from), to.map_or("?", letter), brief(&message));
        if self.lost.take_if(|lost| *lost == word).is_some() {
            return;
        }
        self.ladder.push(word);
        self.messages.insert(0, message);
        if let Some(to) = to {
            let flow = Flow::udp(transmit.flow.remote, transmit.flow.local);
            self.phones[to].input(Input::Packet { flow, bytes: transmit.bytes });
        }
    }

    /// What passed since the last time.
    pub(super) fn ladder(&mut self) -> String {
        std::mem::take(&mut self.ladder).join(" ")
    }

    pub(super) fn wait(&mut self, duration: Duration) {
        let step = Duration::from_millis(50);
        let mut left = duration;
        while !left.is_zero() {
            self.phones.iter_mut().for_each(|phone| phone.wait(step.min(left)));
            left = left.saturating_sub(step);
            self.carry();
        }
    }

    pub(super) fn command(&mut self, phone: usize, command: Command) {
        self.phones[phone].command(command);
        self.carry();
    }

    /// One phone calls another, which rings.
    pub(super) fn ring(&mut self, from: usize, to: usize) -> (CallHandle, CallHandle) {
        self.command(from, Command::Call { token: 7, to: uri(&address_of(to)), play: Play::Silence });
        (self.phones[from].last_call(), self.phones[to].last_call())
    }

    /// One phone calls another, which answers.
    pub(super) fn call(&mut self, from: usize, to: usize) -> (CallHandle, CallHandle) {
        let (of_caller, of_callee) = self.ring(from, to);
        self.command(to, Command::Answer { call: of_callee, play: Play::Echo });
        self.ladder();
        (of_caller, of_callee)
    }

    pub(super) fn transfer(&mut self, phone: usize, call: CallHandle, to: usize) {
        let to = TransferTo::Address(uri(&address_of(to)));
        self.command(phone, Command::Transfer { call, to });
    }

    pub(super) fn hold(&mut self, phone: usize, call: CallHandle) {
        self.command(phone, Command::Reoffer { call, hold: true });
        self.ladder();
    }

    /// The calls of a phone that are not over, the oldest first.
    pub(super) fn calls(&self, phone: usize) -> Vec<CallHandle> {
        let mut calls = Vec::new();
        for event in &self.phones[phone].events {
            match event {
                Event::CallStarted { call, .. }
                | Event::Incoming { call, .. }
                | Event::TransferBegun { new_call: call, .. } => calls.push(*call),
                Event::Ended { call, .. } => calls.retain(|own| own != call),
                _ => {}
            }
        }
        calls
    }

    /// What became of the transfers that a phone asked for.
    pub(super) fn outcomes(&self, phone: usize) -> Vec<TransferOutcome> {
        let outcomes = self.phones[phone].events.iter().filter_map(|event| match event {
            Event::TransferEnded { outcome, .. } => Some(*outcome),
            _ => None,
        });
        outcomes.collect()
    }

    /// The last message whose first line has these words.
    pub(super) fn last(&self, words: &str) -> &Message {
        let found = self.messages.iter().find(|message| brief(message) == words);
        found.unwrap_or_else(|| panic!("there was no {words}"))
    }

    /// All NOTIFYs so far, the oldest first: state and first line of the body.
    pub(super) fn told(&self) -> Vec<String> {
        let told = self.messages.iter().rev().filter(|message| brief(message) == "NOTIFY").map(|notify| {
            let state = super::bench::header(notify, dialtone_wire::HeaderName::SubscriptionState);
            let state = state.split(";expires").next().unwrap_or_default().to_owned();
            let body = std::str::from_utf8(notify.body()).unwrap();
            format!("{state}: {}", body.lines().next().unwrap_or_default())
        });
        told.collect()
    }

    /// Hangs everything up; then nothing may be left.
    pub(super) fn assert_at_rest(&mut self) {
        for phone in A..=C {
            for call in self.calls(phone) {
                self.phones[phone].command(Command::Hangup { call });
            }
        }
        self.wait(Duration::from_secs(40));
        self.phones.iter_mut().for_each(Bench::assert_at_rest);
    }
}
