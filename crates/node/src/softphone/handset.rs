//! A phone's calls, and what is done with them: actions and events go in, commands and news come out. No socket and no
//! clock: [`Softphone`](super::Softphone) has those.
//!
//! One call talks at a time: whoever calls, answers or goes on with a call puts the others on hold.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use dialtone_media::Ringback;
use dialtone_roles::io::{
    CallHandle, ChangeBy, Command, DigitForm, EndReason, Event, HoldForm, Play, Side, TransferOutcome,
    TransferTo,
};
use dialtone_wire::Status;
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use thiserror::Error;

use super::END_TIME;
use super::action::{Action, DIGITS_MAX};
use super::line::{Info, Line, LineState};
use super::news::News;
use super::verdict::Verdict;
use crate::media::{MediaReport, Meter};

mod music;

pub(super) use music::Music;

/// Calls at a time; whoever calls then finds the phone busy.
const CALLS_MAX: usize = 1_000;
/// Questions (OPTIONS) that wait for their answer at a time.
const QUESTIONS_MAX: usize = 100;
/// INFOs of a call that wait to be sent.
const INFOS_MAX: usize = 2 * DIGITS_MAX;
/// Transfers that far ends ask for, and nobody has answered yet.
const REFERRALS_MAX: usize = 16;
/// How long a key of a telephone is pressed, in milliseconds.
const DIGIT_MS: u32 = 160;

/// What a phone does with a call by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Lets it ring so long, then answers.
    Answer(Duration),
    /// 486 Busy Here.
    Busy,
    /// 603 Decline.
    Decline,
    /// Another refusal; see [`Reply::refusal`].
    Refuse(Status),
}

impl Reply {
    /// A refusal with a status from 400 to 699.
    pub fn refusal(code: u16) -> Option<Reply> {
        Status::new(code).filter(|status| status.class() >= 4).map(Reply::Refuse)
    }
}

/// How the registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Nobody asked for it.
    Off,
    /// It is asked for.
    Asked,
    /// It stands, for so many seconds at a time.
    On(u32),
    /// It was refused with this status, or nobody answered; it is tried again.
    Failed(Option<Status>),
    /// The password is wrong.
    WrongPassword,
}

/// Why an action can't be done now.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CannotDo {
    /// There is no call.
    #[error("there is no call")]
    NoCall,
    /// No call has this number.
    #[error("there is no call {0}")]
    NoSuchCall(u64),
    /// Nobody calls.
    #[error("no call rings here")]
    NothingRings,
    /// The call is not answered.
    #[error("call {0} is not answered")]
    NotTalking(u64),
    /// The far end hears a music server: its call is not here.
    #[error("the far end of call {0} hears music: resume takes it back")]
    HearsMusic(u64),
    /// The other call of a transfer is not there.
    #[error("there is no other call {0}")]
    NoOtherCall(u64),
    /// There is no second call that could be joined to the first.
    #[error("there is no other call that talks, to join it to call {0}")]
    NothingToJoin(u64),
    /// No far end asks for a transfer.
    #[error("nobody asks for a transfer")]
    NothingAsked,
    /// There are as many calls or questions as there may be.
    #[error("there are too many calls or questions at a time")]
    TooMany,
}

/// All calls of a phone.
#[derive(Debug)]
pub struct Handset {
    play: Play,
    reply: Option<Reply>,
    ringback: Option<Ringback>,
    registration: Registration,
    lines: BTreeMap<u64, Line>,
    by_handle: BTreeMap<CallHandle, u64>,
    selected: Option<u64>,
    last_number: u64,
    /// Calls that ended while their transfer is still under way, or were given away a while ago.
    given_away: BTreeMap<CallHandle, u64>,
    /// The music server for those who are held.
    music: Option<UriBuf>,
    /// Calls for which it was asked, and has not answered.
    music_of: BTreeMap<CallHandle, u64>,
    /// Whether it calls whom those ask for who are in no call with it.
    obeys_strangers: bool,
    /// Transfers that far ends ask for, the oldest first.
    referrals: VecDeque<u64>,
    questions: BTreeMap<u64, UriBuf>,
    last_question: u64,
    commands: VecDeque<Command>,
    news: VecDeque<News>,
}

impl Handset {
    /// One that plays this into its calls, and does that with those that come in; without a reply they ring until their
    /// owner does something.
    pub fn new(play: Play, reply: Option<Reply>, ringback: Option<Ringback>) -> Handset {
        Handset {
            play,
            reply,
            ringback,
            registration: Registration::Off,
            lines: BTreeMap::new(),
            by_handle: BTreeMap::new(),
            selected: None,
            last_number: 0,
            given_away: BTreeMap::new(),
            music: None,
            music_of: BTreeMap::new(),
            obeys_strangers: false,
            referrals: VecDeque::new(),
            questions: BTreeMap::new(),
            last_question: 0,
            commands: VecDeque::new(),
            news: VecDeque::new(),
        }
    }

    /// Calls whom those ask for who are in no call with it (REFER), without asking its owner, and plays to them what it plays
    /// into all its calls: a music server.
    #[must_use]
    pub fn obeying_strangers(mut self, obeys: bool) -> Handset {
        self.obeys_strangers = obeys;
        self
    }

    /// How its registration stands.
    pub fn registration(&self) -> Registration {
        self.registration
    }

    /// Its calls by their numbers, those that are over until they were told of.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.values()
    }

    /// Whether a call is one of several that are a conversation of their own, with us in their midst.
    pub fn is_joined(&self, number: u64) -> bool {
        let is_in = |line: &&Line| line.joined && line.state != LineState::Over;
        let is_it = self.lines.get(&number).as_ref().is_some_and(is_in);
        is_it && self.lines.values().filter(is_in).count() > 1
    }

    /// The call that actions are about.
    pub fn selected(&self) -> Option<&Line> {
        self.lines.get(&self.selected?)
    }

    /// Whether a far end asks for a transfer.
    pub fn transfer_is_asked(&self) -> bool {
        !self.referrals.is_empty()
    }

    /// Does it, or says why that can't be done now.
    ///
    /// # Errors
    /// When there is no call for it, or too many of them.
    pub fn act(&mut self, now: Instant, action: &Action) -> Result<(), CannotDo> {
        match action {
            Action::Register => {
                self.registration = Registration::Asked;
                self.commands.push_back(Command::Register);
            }
            Action::Unregister => self.commands.push_back(Command::Unregister),
            Action::Call(to) => self.call(now, to)?,
            Action::Answer => self.answer(now)?,
            Action::Decline(status) => {
                let (call, number) = self.ringing_here()?;
                self.close_line(now, number);
                self.commands.push_back(Command::Decline { call, status: *status });
            }
            Action::Hangup => {
                let number = self.selected().ok_or(CannotDo::NoCall)?.number;
                self.hang_up(now, number);
            }
            Action::HangupAll => {
                let all: Vec<u64> = self.lines.keys().copied().collect();
                all.into_iter().for_each(|number| self.hang_up(now, number));
            }
            Action::Join(other) => self.join(*other)?,
            Action::Progress => {
                let (call, _) = self.ringing_here()?;
                self.commands.push_back(Command::Progress { call, play: self.play.clone() });
            }
            Action::Update => {
                let (call, by) = (self.talking_handle()?, ChangeBy::Update);
                self.commands.push_back(Command::Refresh { call, by });
            }
            Action::Video(on, by) => {
                let (call, on, by) = (self.talking_handle()?, *on, *by);
                self.commands.push_back(Command::Video { call, on, by });
            }
            Action::Hold(by) => {
                self.hold(true, *by)?;
                self.want_music();
            }
            Action::Resume(by) => {
                self.hold(false, *by)?;
                self.hold_others();
            }
            Action::Transfer(to) => {
                self.transfer(TransferTo::Address(to.clone()))?;
            }
            Action::TransferTo(number) => {
                let call = self.talking_handle()?;
                let other = self.lines.get(number).filter(|line| line.state != LineState::Over);
                let other = other.and_then(|line| line.handle).filter(|other| *other != call);
                self.transfer(TransferTo::Call(other.ok_or(CannotDo::NoOtherCall(*number))?))?;
            }
            Action::Accept => self.answer_transfer(true)?,
            Action::Refuse => self.answer_transfer(false)?,
            Action::Dtmf(keys) => {
                let call = self.talking_handle()?;
                let form = DigitForm::Relay;
                let press = |digit| Command::SendDigit { call, digit, duration_ms: DIGIT_MS, form };
                self.send_infos(keys.chars().map(press).collect())?;
            }
            Action::Info { package, content_type, body } => {
                let call = self.talking_handle()?;
                let (package, content_type) = (package.clone(), content_type.clone());
                let body = Bytes::copy_from_slice(body.as_bytes());
                self.send_infos(vec![Command::SendInfo { call, package, content_type, body }])?;
            }
            Action::Options(to) => {
                if self.questions.len() >= QUESTIONS_MAX {
                    return Err(CannotDo::TooMany);
                }
                self.last_question += 1;
                let token = self.last_question;
                self.questions.insert(token, to.clone());
                self.commands.push_back(Command::Options { token, to: to.clone() });
            }
            Action::Select(number) => {
                let line = self.lines.get(number).filter(|line| line.state != LineState::Over);
                self.selected = Some(line.ok_or(CannotDo::NoSuchCall(*number))?.number);
            }
            Action::Quit => {
                let all: Vec<u64> = self.lines.keys().copied().collect();
                all.into_iter().for_each(|number| self.hang_up(now, number));
                if !matches!(self.registration, Registration::Off | Registration::WrongPassword) {
                    self.commands.push_back(Command::Unregister);
                }
            }
        }
        Ok(())
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn call(&mut self, now: Instant, to: &UriBuf) -> Result<(), CannotDo> {
        if self.lines.len() >= CALLS_MAX {
            return Err(CannotDo::TooMany);
        }
        let number = self.next_number();
        self.lines.insert(number, Line::new(now, number, to.clone(), self.ringback));
        self.selected = Some(number);
        self.hold_others();
        self.commands.push_back(Command::Call { token: number, to: to.clone(), play: self.play.clone() });
        self.news.push_back(News::Calling { number, to: to.clone() });
        Ok(())
    }

    fn answer(&mut self, now: Instant) -> Result<(), CannotDo> {
        let (_, number) = self.ringing_here()?;
        self.selected = Some(number);
        if let Some(other) = self.lines.get(&number).and_then(|line| line.asks_in) {
            self.mark_joined(&[number, other], true);
        }
        self.hold_others();
        self.pick_up(now, number);
        Ok(())
    }

    fn pick_up(&mut self, now: Instant, number: u64) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        let Some(call) = line.handle else { return };
        line.answer_at = None;
        line.accepted = true;
        line.enter(now, LineState::Answering);
        self.commands.push_back(Command::Answer { call, play: self.play.clone() });
    }

    /// The call that rings here: the selected one, else the oldest.
    fn ringing_here(&self) -> Result<(CallHandle, u64), CannotDo> {
        let mut ringing = self.lines.values().filter(|line| line.state == LineState::RingsHere);
        let selected = self.selected().filter(|line| line.state == LineState::RingsHere);
        let line = selected.or_else(|| ringing.next()).ok_or(CannotDo::NothingRings)?;
        line.handle.map(|handle| (handle, line.number)).ok_or(CannotDo::NothingRings)
    }

    fn talking(&self) -> Result<u64, CannotDo> {
        let line = self.selected().ok_or(CannotDo::NoCall)?;
        if line.state == LineState::Talking {
            Ok(line.number)
        } else {
            Err(CannotDo::NotTalking(line.number))
        }
    }

    fn talking_handle(&self) -> Result<CallHandle, CannotDo> {
        let number = self.talking()?;
        let line = self.lines.get(&number);
        if line.is_some_and(Line::hears_music) {
            return Err(CannotDo::HearsMusic(number));
        }
        line.and_then(|line| line.handle).ok_or(CannotDo::NotTalking(number))
    }

    fn transfer(&mut self, to: TransferTo) -> Result<(), CannotDo> {
        let call = self.talking_handle()?;
        if let Some(line) = self.selected.and_then(|number| self.lines.get_mut(&number)) {
            line.transfers = true;
        }
        self.commands.push_back(Command::Transfer { call, to });
        Ok(())
    }

    /// The selected call and another one become a three-way call.
    fn join(&mut self, other: Option<u64>) -> Result<(), CannotDo> {
        let (number, call) = (self.talking()?, self.talking_handle()?);
        let mut others = self.lines.values().rev().filter(|line| {
            line.state == LineState::Talking
                && line.number != number
                && other.is_none_or(|other| other == line.number)
        });
        let found = others.next().and_then(|line| Some((line.number, line.handle?)));
        let Some((other, with)) = found else {
            return Err(match other {
                Some(other) => CannotDo::NoOtherCall(other),
                None => CannotDo::NothingToJoin(number),
            });
        };
        self.mark_joined(&[number, other], true);
        self.commands.push_back(Command::Join { call, with });
        Ok(())
    }

    fn mark_joined(&mut self, numbers: &[u64], joined: bool) {
        for number in numbers {
            if let Some(line) = self.lines.get_mut(number) {
                line.joined = joined;
                // Whoever is joined is taken off hold with it.
                line.asked_hold = line.asked_hold.filter(|_| !joined);
            }
        }
    }

    fn answer_transfer(&mut self, accept: bool) -> Result<(), CannotDo> {
        let referral = self.referrals.pop_front().ok_or(CannotDo::NothingAsked)?;
        let play = self.play.clone();
        self.commands.push_back(Command::AnswerTransfer { referral, accept, play });
        Ok(())
    }

    /// Sends them over the selected call, one after the other: a far end may refuse what overtakes (RFC 3261 §12.2.2).
    fn send_infos(&mut self, commands: Vec<Command>) -> Result<(), CannotDo> {
        let number = self.talking()?;
        let Some(line) = self.lines.get_mut(&number) else { return Err(CannotDo::NoCall) };
        if line.infos.len() + commands.len() > INFOS_MAX {
            return Err(CannotDo::TooMany);
        }
        let is_first = line.infos.is_empty();
        let last = commands.len();
        let infos = commands.into_iter().zip(1..);
        line.infos.extend(infos.map(|(command, index)| Info { command, is_last: index == last }));
        if is_first {
            self.commands.extend(line.infos.front().map(|info| info.command.clone()));
        }
        Ok(())
    }

    fn info_answered(&mut self, number: u64, status: Option<Status>) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        let Some(mut info) = line.infos.pop_front() else { return };
        // What follows a key that was not taken would be another number.
        while !info.is_last && !status.is_some_and(Status::is_success) {
            let Some(next) = line.infos.pop_front() else { break };
            info = next;
        }
        if info.is_last {
            self.news.push_back(News::InfoAnswered { number, status });
        }
        self.commands.extend(line.infos.front().map(|info| info.command.clone()));
    }

    fn hold(&mut self, hold: bool, by: ChangeBy) -> Result<(), CannotDo> {
        let number = self.talking()?;
        let hears_music = self.lines.get(&number).is_some_and(Line::hears_music);
        match hold {
            true if hears_music => self.news.push_back(News::Held { number }),
            false if self.take_back(number) => {}
            hold => self.ask_hold(number, hold, by),
        }
        Ok(())
    }

    fn ask_hold(&mut self, number: u64, hold: bool, by: ChangeBy) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        let Some(call) = line.handle else { return };
        if line.asked_hold == Some(hold) {
            return;
        }
        if line.held == hold && line.asked_hold.is_none() {
            // It is so already; who waits for it may go on.
            self.news.push_back(if hold { News::Held { number } } else { News::Resumed { number } });
            return;
        }
        line.asked_hold = Some(hold);
        let form = HoldForm::Direction;
        self.commands.push_back(match hold {
            true => Command::Hold { call, form, by },
            false => Command::Resume { call, by },
        });
    }

    /// Puts all calls that talk on hold, but the selected one.
    fn hold_others(&mut self) {
        let is_three_way = self.selected().is_some_and(|line| line.joined);
        let others = self.lines.values().filter(|line| {
            line.state == LineState::Talking
                && !(is_three_way && line.joined)
                && Some(line.number) != self.selected
                && !line.asked_hold.unwrap_or(line.held)
        });
        let others: Vec<u64> = others.map(|line| line.number).collect();
        others.into_iter().for_each(|number| self.ask_hold(number, true, ChangeBy::Invite));
    }

    fn hang_up(&mut self, now: Instant, number: u64) {
        let Some(line) = self.lines.get_mut(&number).filter(|line| line.state != LineState::Over) else {
            return;
        };
        match line.handle {
            _ if line.hears_music() || line.word_is_due().is_some() => self.hang_up_music(number),
            Some(call) => self.commands.push_back(Command::Hangup { call }),
            None => line.hangs_up = true,
        }
        self.close_line(now, number);
        self.tell_ended(now);
    }

    /// The call is over, or will be as soon as the far end knows.
    fn close_line(&mut self, now: Instant, number: u64) {
        if let Some(line) = self.lines.get_mut(&number) {
            line.ear.stop(now);
            line.answer_at = None;
            line.enter(now, LineState::Over);
        }
        self.select_another();
    }

    /// Selects a call in place of one that is over: one that talks, else the oldest.
    fn select_another(&mut self) {
        let is_over = |number: &u64| self.lines.get(number).is_none_or(|line| line.state == LineState::Over);
        if self.selected.as_ref().is_some_and(|number| !is_over(number)) {
            return;
        }
        let alive = || self.lines.values().filter(|line| line.state != LineState::Over);
        let talking = alive().find(|line| line.state == LineState::Talking);
        self.selected = talking.or_else(|| alive().next()).map(|line| line.number);
    }

    /// Takes in what the signalling tells.
    pub fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Registered { expires_s } => {
                self.registration = Registration::On(expires_s);
                self.news.push_back(News::Registered(expires_s));
            }
            Event::ClockDiffers { ahead_s } => self.news.push_back(News::ClockDiffers(ahead_s)),
            Event::RegistrationFailed { status, wrong_password } => {
                self.registration = match wrong_password {
                    true => Registration::WrongPassword,
                    false => Registration::Failed(status),
                };
                self.news.push_back(News::RegistrationFailed { status, wrong_password });
            }
            Event::Unregistered => {
                self.registration = Registration::Off;
                self.news.push_back(News::Unregistered);
            }
            Event::PasswordKept { realm } => self.news.push_back(News::PasswordKept { realm }),
            Event::OptionsAnswered { token, status, .. } => {
                if let Some(to) = self.questions.remove(&token) {
                    self.news.push_back(News::Options { to, status });
                }
            }
            Event::Incoming { call, from } => self.incoming(now, call, from),
            Event::CallStarted { token, call } => self.started(token, call),
            Event::MusicBegan { call, back } => self.music_began(now, call, back),
            Event::NoMusic { call, outcome } => self.no_music(now, call, outcome),
            Event::TransferAsked { referral, call: None, .. } if self.obeys_strangers => {
                let play = self.play.clone();
                self.commands.push_back(Command::AnswerTransfer { referral, accept: true, play });
            }
            Event::TransferAsked { referral, call, to, replaces, referred_by } => {
                let number = call.and_then(|call| self.by_handle.get(&call).copied());
                self.referrals.push_back(referral);
                if self.referrals.len() > REFERRALS_MAX {
                    // The oldest one, which nobody answers.
                    let _ = self.answer_transfer(false);
                }
                self.news.push_back(News::TransferAsked { number, to, replaces, referred_by });
            }
            Event::TransferBegun { call, new_call, to, .. } => self.transfer_begun(now, call, new_call, to),
            Event::Replaced { call, by } => self.replaced(now, call, by),
            Event::JoinAsked { call, joins } => {
                let (number, joins) =
                    (self.by_handle.get(&call).copied(), self.by_handle.get(&joins).copied());
                if let (Some(number), Some(joins)) = (number, joins) {
                    if let Some(line) = self.lines.get_mut(&number) {
                        line.asks_in = Some(joins);
                    }
                    self.news.push_back(News::JoinAsked { number, joins });
                }
            }
            Event::Joined { call } | Event::NotJoined { call } => {
                let joined = matches!(event, Event::Joined { .. });
                if let Some(number) = self.by_handle.get(&call).copied() {
                    self.mark_joined(&[number], joined);
                    self.news.push_back(match joined {
                        true => News::Joined { number },
                        false => News::NotJoined { number },
                    });
                }
            }
            Event::TransferEnded { call, outcome } => {
                // The call may be over and told of.
                if let Some(number) = self.given_away.remove(&call).or(self.by_handle.get(&call).copied()) {
                    self.news.push_back(match outcome {
                        TransferOutcome::Done => News::Transferred { number },
                        outcome => News::TransferFailed { number, outcome },
                    });
                }
            }
            Event::TransferProgress { call, .. }
            | Event::DigitReceived { call, .. }
            | Event::InfoReceived { call, .. }
            | Event::InfoAnswered { call, .. }
            | Event::Progress { call, .. }
            | Event::Answered { call }
            | Event::Redirected { call, .. }
            | Event::ErrorInfo { call, .. }
            | Event::SessionChanged { call }
            | Event::Refreshed { call, .. }
            | Event::VideoStarted { call }
            | Event::VideoStopped { call }
            | Event::VideoRefused { call }
            | Event::Held { call, .. }
            | Event::Resumed { call, .. }
            | Event::ChangeRefused { call, .. }
            | Event::RefreshFailed { call, .. }
            | Event::Ended { call, .. } => {
                if let Some(number) = self.by_handle.get(&call).copied() {
                    self.handle_of_call(now, number, &event);
                }
            }
            // Event may grow, and has words for servers.
            _ => {}
        }
    }

    fn started(&mut self, token: u64, call: CallHandle) {
        let Some(line) = self.lines.get_mut(&token) else { return };
        line.handle = Some(call);
        self.by_handle.insert(call, token);
        if line.hangs_up {
            self.commands.push_back(Command::Hangup { call });
        }
    }

    fn incoming(&mut self, now: Instant, call: CallHandle, from: UriBuf) {
        if self.lines.len() >= CALLS_MAX {
            self.commands.push_back(Command::Decline { call, status: Status::of(486) });
            return;
        }
        let number = self.next_number();
        let mut line = Line::incoming(now, number, from.clone(), call);
        let refused = match self.reply {
            None => None,
            Some(Reply::Answer(after)) => {
                line.answer_at = Some(now + after);
                None
            }
            Some(Reply::Busy) => Some(Status::of(486)),
            Some(Reply::Decline) => Some(Status::of(603)),
            Some(Reply::Refuse(status)) => Some(status),
        };
        self.lines.insert(number, line);
        self.by_handle.insert(call, number);
        self.news.push_back(News::Incoming { number, from });
        if let Some(status) = refused {
            self.commands.push_back(Command::Decline { call, status });
            self.close_line(now, number);
        }
        self.select_another();
    }

    /// A far end has us call somebody: that call goes on in place of the one in which it was asked for.
    fn transfer_begun(&mut self, now: Instant, call: Option<CallHandle>, new_call: CallHandle, to: UriBuf) {
        let number = call.and_then(|call| self.by_handle.get(&call).copied());
        let new = self.next_number();
        let line = Line { handle: Some(new_call), ..Line::new(now, new, to.clone(), self.ringback) };
        self.lines.insert(new, line);
        self.by_handle.insert(new_call, new);
        if number.is_none_or(|number| self.selected == Some(number)) {
            self.selected = Some(new);
        }
        self.news.push_back(News::TransferBegun { number, new, to });
    }

    /// A new call, which is answered already, has taken the place of one of ours.
    fn replaced(&mut self, now: Instant, call: CallHandle, by: CallHandle) {
        let Some(number) = self.by_handle.get(&call).copied() else { return };
        let new = match self.by_handle.get(&by).copied() {
            Some(new) => new,
            None => {
                let new = self.next_number();
                let peer = self.lines.get(&number).map(|line| line.peer.clone());
                self.lines.extend(peer.map(|peer| (new, Line::incoming(now, new, peer, by))));
                self.by_handle.insert(by, new);
                new
            }
        };
        if let Some(line) = self.lines.get_mut(&new) {
            line.answer_at = None;
            line.accepted = true;
            line.enter(now, LineState::Answering);
        }
        if self.selected == Some(number) {
            self.selected = Some(new);
        }
        self.news.push_back(News::Replaced { number, by: new });
    }

    fn handle_of_call(&mut self, now: Instant, number: u64, event: &Event) {
        if self.is_about_music(now, number, event) {
            return;
        }
        let Some(line) = self.lines.get_mut(&number) else { return };
        let is_over = line.state == LineState::Over;
        if !is_over {
            line.listen(now, event);
        }
        match event {
            // RFC 3261 §21.1.4: it may come again and again.
            Event::Progress { status, has_media: false, queue, .. }
                if status.code() == 182 && !is_over && line.state != LineState::EarlyMedia =>
            {
                line.rang = true;
                let is_new = line.state != LineState::Queued || line.queue != *queue;
                line.queue = queue.clone();
                line.enter(now, LineState::Queued);
                if is_new {
                    self.news.push_back(News::Queued { number, words: queue.clone() });
                }
            }
            // RFC 3261 §21.1.1: 100 says only that a server has the request.
            Event::Progress { status, has_media, .. } if status.code() > 100 && !is_over => {
                line.rang = true;
                let state = if *has_media { LineState::EarlyMedia } else { LineState::Ringing };
                let is_new = line.state != state && line.state != LineState::EarlyMedia;
                if is_new {
                    line.enter(now, state);
                    self.news.push_back(match has_media {
                        true => News::EarlyMedia { number },
                        false => News::Ringing { number, status: *status },
                    });
                }
            }
            Event::ErrorInfo { status, uri, .. } => {
                self.news.push_back(News::ErrorInfo { number, status: *status, uri: uri.clone() });
            }
            Event::Redirected { to, .. } => {
                line.enter(now, LineState::Calling);
                self.news.push_back(News::Redirected { number, to: to.clone() });
            }
            Event::Answered { .. } => {
                line.accepted = true;
                if !is_over {
                    line.enter(now, LineState::Talking);
                    self.news.push_back(News::Answered { number });
                }
            }
            Event::TransferProgress { status, .. } => {
                self.news.push_back(News::TransferProgress { number, status: *status });
            }
            Event::DigitReceived { digit, duration_ms, .. } => {
                let (digit, duration_ms) = (*digit, *duration_ms);
                self.news.push_back(News::Dtmf { number, digit, duration_ms });
            }
            Event::InfoReceived { package, content_type, body, .. } => {
                let body = String::from_utf8_lossy(body).into_owned();
                let (package, content_type) = (package.clone(), content_type.clone());
                self.news.push_back(News::Info { number, package, content_type, body });
            }
            Event::InfoAnswered { status, .. } => self.info_answered(number, *status),
            Event::SessionChanged { .. } if !is_over => self.news.push_back(News::SessionChanged { number }),
            Event::Refreshed { by, .. } if !is_over => self.news.push_back(match by {
                Side::Local => News::Refreshed { number },
                Side::Remote => News::RefreshedByPeer { number },
            }),
            Event::VideoStarted { .. } if !is_over => self.news.push_back(News::Video { number }),
            Event::VideoStopped { .. } if !is_over => self.news.push_back(News::VideoEnded { number }),
            Event::VideoRefused { .. } if !is_over => self.news.push_back(News::VideoRefused { number }),
            Event::Held { by, .. } if !is_over => self.hold_changed(number, *by, true),
            Event::Resumed { by, .. } if !is_over => self.hold_changed(number, *by, false),
            Event::ChangeRefused { status, .. } if !is_over => {
                line.asked_hold = None;
                self.news.push_back(News::ChangeRefused { number, status: *status });
            }
            Event::RefreshFailed { status, .. } if !is_over => {
                self.news.push_back(News::RefreshFailed { number, status: *status });
            }
            Event::Ended { reason, .. } => {
                let reason = if line.releases { EndReason::LocalHangup } else { *reason };
                line.ended = Some((reason, now));
                self.close_line(now, number);
                self.tell_ended(now);
            }
            _ => {}
        }
    }

    /// One side has put the other on hold, or taken it off.
    fn hold_changed(&mut self, number: u64, by: Side, is: bool) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        match by {
            Side::Local => (line.held, line.asked_hold) = (is, line.asked_hold.filter(|asked| *asked != is)),
            Side::Remote => line.held_by_peer = is,
        }
        self.news.push_back(match (by, is) {
            (Side::Local, true) => News::Held { number },
            (Side::Local, false) => News::Resumed { number },
            (Side::Remote, true) => News::HeldByPeer { number },
            (Side::Remote, false) => News::ResumedByPeer { number },
        });
        if (by, is) == (Side::Local, true) {
            self.ask_music(number);
        }
    }

    /// Takes in what the audio of the calls is like now.
    pub fn take_meters(&mut self, meters: Vec<Meter>) {
        for meter in meters {
            let number = self.by_handle.get(&meter.call);
            if let Some(line) = number.and_then(|number| self.lines.get_mut(number)) {
                line.meter = Some(meter);
            }
        }
    }

    /// Takes in what the audio of a call was like.
    pub fn take_audio(&mut self, now: Instant, report: Box<MediaReport>) {
        let number = self.by_handle.get(&report.call);
        if let Some(line) = number.and_then(|number| self.lines.get_mut(number)) {
            line.audio = Some(report);
        }
        self.tell_ended(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = self.lines.values().filter(|line| line.answer_at.is_some_and(|at| at <= now));
        let due: Vec<u64> = due.map(|line| line.number).collect();
        for number in due {
            // A robot talks with all of them at once.
            self.pick_up(now, number);
        }
        self.end_unheard(now);
        self.tell_ended(now);
    }

    /// When [`Handset::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let answers = self.lines.values().filter_map(|line| line.answer_at);
        let ends = self.lines.values().filter_map(|line| line.ended.map(|(_, at)| at + END_TIME));
        let words = self.lines.values().filter_map(Line::word_is_due);
        answers.chain(ends).chain(words).min()
    }

    /// The next command for the engine; ask until there is none, after each input.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// What happened next; ask until there is none, after each input.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// Tells of calls that are over once the figures of their audio are there, or will not come.
    fn tell_ended(&mut self, now: Instant) {
        let over = self.lines.values().filter(|line| {
            let has_all = !line.accepted || line.audio.is_some();
            line.ended.is_some_and(|(_, at)| has_all || now >= at + END_TIME)
        });
        let over: Vec<u64> = over.map(|line| line.number).collect();
        for number in over {
            let Some(line) = self.lines.remove(&number) else { continue };
            if let Some(handle) = line.handle {
                self.by_handle.remove(&handle);
                if line.transfers && self.given_away.len() < CALLS_MAX {
                    self.given_away.insert(handle, number);
                }
            }
            let Some((reason, _)) = line.ended.filter(|_| !line.is_untold) else { continue };
            let is_verdict = line.outgoing && !line.accepted && reason != EndReason::LocalHangup;
            let unanswered = is_verdict.then(|| Verdict::of_end(reason, line.rang));
            let audio = line.audio;
            self.news.push_back(News::Ended { number, reason, unanswered, audio, recording: None });
        }
        self.select_another();
    }
}

#[cfg(test)]
mod tests;
