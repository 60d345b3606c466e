//! What passed on the wire, from the taps of all participants, in the order in which it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dialtone_wire::time::Instant;
use dialtone_wire::{Limits, Message};

use super::PARTICIPANTS;
use crate::tap::{Tap, Tapped, Way};

/// Messages that wait to be taken at most; more are not shown.
const MESSAGES_MAX: usize = 2_000;
/// After this time, what was sent before has been told by whoever sent it.
const TOLD_WITHIN: Duration = Duration::from_millis(10);
/// What has not arrived after this time is lost: on one machine, messages take less than a thousandth of it.
const LOST_AFTER: Duration = Duration::from_millis(300);

/// One message that passed.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// `F1`, `F2` …
    pub number: String,
    /// When it was sent, in milliseconds after the first one.
    pub time_ms: f64,
    /// The sender's name.
    pub from: String,
    /// The receiver's name, or its address when it is none of the participants.
    pub to: String,
    /// The method, or the status with its reason.
    pub message: String,
    /// Whether it arrived.
    pub arrived: bool,
}

/// A message that was sent, by the numbers of the participants.
#[derive(Clone, Debug)]
pub(super) struct Passed {
    pub(super) at: Instant,
    pub(super) from: usize,
    /// None of the participants has the address.
    pub(super) to: Result<usize, SocketAddr>,
    pub(super) bytes: Bytes,
    pub(super) arrived: bool,
}

/// Collects messages from several taps.
#[derive(Clone, Debug, Default)]
pub(super) struct Capture {
    messages: Arc<Mutex<Vec<(usize, Tapped)>>>,
}

impl Capture {
    /// The tap of one participant.
    pub(super) fn tap(&self, participant: usize) -> Tap {
        let messages = self.messages.clone();
        Tap::new(move |tapped| {
            let mut messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
            if messages.len() < MESSAGES_MAX {
                messages.push((participant, tapped));
            }
        })
    }

    /// Takes what was sent, in order, up to the first message of which is not known yet whether it arrives; with
    /// `None` for the time, all of it.
    pub(super) fn take(&self, now: Option<Instant>, addresses: &[SocketAddr]) -> Vec<Passed> {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.sort_by_key(|(_, tapped)| tapped.at);
        let mut passed = Vec::new();
        while let Some(place) = messages.iter().position(|(_, tapped)| tapped.way == Way::Out) {
            let (from, sent) = &messages[place];
            let to = addresses.iter().position(|address| *address == sent.flow.remote);
            let came = messages.iter().position(|(participant, other)| {
                other.way == Way::In
                    && Some(*participant) == to
                    && other.flow.remote == sent.flow.local
                    && other.flow.local == sent.flow.remote
                    && other.bytes == sent.bytes
            });
            let wait = if came.is_some() { TOLD_WITHIN } else { LOST_AFTER };
            if now.is_some_and(|now| now.since(sent.at) < wait) {
                break;
            }
            passed.push(Passed {
                at: sent.at,
                from: *from,
                to: to.ok_or(sent.flow.remote),
                bytes: sent.bytes.clone(),
                arrived: came.is_some(),
            });
            // The later one first, so that the other keeps its place.
            let (later, earlier) = (came.max(Some(place)), came.map(|came| came.min(place)));
            for place in [later, earlier].into_iter().flatten() {
                messages.remove(place);
            }
        }
        passed
    }

    /// All that passed, as the steps of a ladder.
    pub(super) fn ladder(&self, addresses: &[SocketAddr; 3]) -> Vec<Step> {
        let mut ladder = Vec::new();
        let mut start = None;
        for passed in self.take(None, addresses) {
            let start = *start.get_or_insert(passed.at);
            ladder.push(passed.step(start, ladder.len() + 1, &PARTICIPANTS));
        }
        ladder
    }
}

impl Passed {
    /// As a step of a ladder that began at `start`.
    pub(super) fn step(&self, start: Instant, number: usize, names: &[&str]) -> Step {
        Step {
            number: format!("F{number}"),
            time_ms: self.at.since(start).as_secs_f64() * 1000.0,
            from: names[self.from].to_owned(),
            to: self.to.map_or_else(|address| address.to_string(), |to| names[to].to_owned()),
            message: self
                .message()
                .map_or_else(|| "(no SIP message)".to_owned(), |message| describe(&message)),
            arrived: self.arrived,
        }
    }

    /// The message, if it is one.
    pub(super) fn message(&self) -> Option<Message> {
        Message::parse(self.bytes.clone(), &Limits::default()).ok()
    }
}

fn describe(message: &Message) -> String {
    match message.status() {
        None => message.method().map(ToString::to_string).unwrap_or_default(),
        Some(status) => format!("{} {}", status.code(), String::from_utf8_lossy(message.reason())),
    }
}
