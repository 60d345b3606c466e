//! What the person at a phone does: a few habits, carried out when something happens.

use std::time::Duration;

use dialtone_roles::io::{
    CallHandle, ChangeBy, Command, DigitForm, Event, HoldForm, Play, TransferOutcome, TransferTo,
};
use dialtone_wire::Status;
use dialtone_wire::uri::UriBuf;

use crate::random::Random;

/// The habits of a person. Shares are in thousandths; a span of time is its shortest and its longest.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Answers after this time; `None` leaves it ringing.
    pub answer_after: Option<(Duration, Duration)>,
    /// Declines instead.
    pub decline: u32,
    /// Lets it ring.
    pub ignore: u32,
    /// Hangs up after this time of talking; `None` never.
    pub talk: Option<(Duration, Duration)>,
    /// Gives up calling after this time; `None` never.
    pub patience: Option<(Duration, Duration)>,
    /// Puts the other side on hold and takes it back during a call.
    pub hold: u32,
    /// Sends the other side of a call to one of these.
    pub transfer: u32,
    /// Where to.
    pub transfer_to: Vec<UriBuf>,
    /// Joins the other sides of two calls, where there are two.
    pub join: u32,
    /// Presses a key during a call.
    pub digits: u32,
    /// Lets the caller hear something before answering (RFC 3960), and changes what is heard early.
    pub early: u32,
    /// Changes sessions by UPDATE (RFC 3311) rather than by re-INVITE.
    pub updates: u32,
    /// Refreshes the session of a call without being asked to.
    pub refresh: u32,
    /// Calls one of these when a transfer is done: whoever has parked a call fetches it.
    pub fetch: u32,
    /// Where parked calls are.
    pub slots: Vec<UriBuf>,
}

impl Habits {
    /// Does nothing by itself: the test gives every command.
    pub const NONE: Habits = Habits {
        answer_after: None,
        decline: 0,
        ignore: 0,
        talk: None,
        patience: None,
        hold: 0,
        transfer: 0,
        transfer_to: Vec::new(),
        join: 0,
        digits: 0,
        early: 0,
        updates: 0,
        refresh: 0,
        fetch: 0,
        slots: Vec::new(),
    };
}

/// A person at a phone.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) habits: Habits,
    random: Random,
    /// Calls that exist, each at its shard.
    pub(crate) calls: Vec<(u16, CallHandle)>,
    /// How many calls were begun to fetch something.
    fetched: u64,
}

/// Where the tokens of these begin.
const FETCHING: u64 = 1_000;

impl Person {
    pub(crate) const fn new(habits: Habits, random: Random) -> Person {
        Person { habits, random, calls: Vec::new(), fetched: 0 }
    }

    /// What the person does about an event: commands, each after some time.
    pub(crate) fn handle(&mut self, shard: u16, event: &Event) -> Vec<(Duration, Command)> {
        match event {
            Event::CallStarted { call, .. } => {
                self.calls.push((shard, *call));
                let patience = self.habits.patience.map(|span| self.pick(span));
                patience.map(|wait| (wait, Command::Hangup { call: *call })).into_iter().collect()
            }
            Event::TransferBegun { new_call, .. } => {
                self.calls.push((shard, *new_call));
                let patience = self.habits.patience.map(|span| self.pick(span));
                patience.map(|wait| (wait, Command::Hangup { call: *new_call })).into_iter().collect()
            }
            Event::Incoming { call, .. } => {
                self.calls.push((shard, *call));
                self.ring(*call)
            }
            Event::Progress { call, has_media: true, .. } => self.change_early(*call),
            Event::Answered { call } => self.talk(*call),
            Event::TransferEnded { outcome: TransferOutcome::Done, .. } => self.fetch(),
            Event::Ended { call, .. } => {
                self.calls.retain(|own| *own != (shard, *call));
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn ring(&mut self, call: CallHandle) -> Vec<(Duration, Command)> {
        let Some(span) = self.habits.answer_after else { return Vec::new() };
        let wait = self.pick(span);
        if self.random.chance(self.habits.ignore) {
            return Vec::new();
        }
        if self.random.chance(self.habits.decline) {
            let status = if self.random.chance(500) { 486 } else { 603 };
            return vec![(wait, Command::Decline { call, status: Status::of(status) })];
        }
        let mut acts = vec![(wait, Command::Answer { call, play: Play::Silence })];
        if self.random.chance(self.habits.early) {
            acts.push((wait / 2, Command::Progress { call, play: Play::Silence }));
            acts.push((wait, Command::Resume { call, by: ChangeBy::Update }));
        }
        acts
    }

    /// Holds and takes back what is heard before the answer.
    fn change_early(&mut self, call: CallHandle) -> Vec<(Duration, Command)> {
        if !self.random.chance(self.habits.early) {
            return Vec::new();
        }
        let wait = self.random.between(Duration::ZERO, Duration::from_secs(2));
        let (form, by) = (HoldForm::Direction, ChangeBy::Update);
        vec![(wait, Command::Hold { call, form, by }), (wait * 2, Command::Resume { call, by })]
    }

    /// Calls a slot in which a call may be parked.
    fn fetch(&mut self) -> Vec<(Duration, Command)> {
        let Some(to) = self.random.choose(&self.habits.slots).cloned() else { return Vec::new() };
        if !self.random.chance(self.habits.fetch) {
            return Vec::new();
        }
        self.fetched += 1;
        let wait = self.random.between(Duration::ZERO, Duration::from_secs(10));
        vec![(wait, Command::Call { token: FETCHING + self.fetched, to, play: Play::Silence })]
    }

    /// Puts the other side on hold, and takes it back.
    fn hold(&mut self, call: CallHandle) -> [(Duration, Command); 2] {
        let (hold, back) = (Duration::from_secs(2), Duration::from_secs(3));
        let wait = self.random.between(Duration::ZERO, hold);
        let [first, second] = if self.random.chance(self.habits.updates) {
            let by = ChangeBy::Update;
            [Command::Hold { call, form: HoldForm::Direction, by }, Command::Resume { call, by }]
        } else {
            [true, false].map(|hold| Command::Reoffer { call, hold })
        };
        [(wait, first), (wait + back, second)]
    }

    fn talk(&mut self, call: CallHandle) -> Vec<(Duration, Command)> {
        let mut acts = Vec::new();
        if self.random.chance(self.habits.hold) {
            acts.extend(self.hold(call));
        }
        if self.random.chance(self.habits.refresh) {
            let by = if self.random.chance(500) { ChangeBy::Update } else { ChangeBy::Invite };
            let wait = self.random.between(Duration::ZERO, Duration::from_secs(3));
            acts.push((wait, Command::Refresh { call, by }));
        }
        let wait = self.random.between(Duration::ZERO, Duration::from_secs(4));
        if self.random.chance(self.habits.digits) {
            let (digit, duration_ms) = ('5', 160);
            acts.push((wait, Command::SendDigit { call, digit, duration_ms, form: DigitForm::Relay }));
        }
        let other = self.calls.iter().map(|(_, other)| *other).find(|other| *other != call);
        if let Some(other) = other.filter(|_| self.random.chance(self.habits.join)) {
            acts.push((wait, Command::Transfer { call, to: TransferTo::Call(other) }));
        } else if self.random.chance(self.habits.transfer)
            && let Some(to) = self.random.choose(&self.habits.transfer_to).cloned()
        {
            acts.push((wait, Command::Transfer { call, to: TransferTo::Address(to) }));
        }
        if let Some(span) = self.habits.talk {
            acts.push((self.pick(span), Command::Hangup { call }));
        }
        acts
    }

    fn pick(&mut self, (shortest, longest): (Duration, Duration)) -> Duration {
        self.random.between(shortest, longest)
    }
}
