//! What passed on the wire, from the taps of all three, as the steps of a ladder.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use dialtone_wire::{Limits, Message};

use super::PARTICIPANTS;
use crate::tap::{Tap, Tapped, Way};

/// Messages that are kept at most.
const MESSAGES_MAX: usize = 2_000;

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

    /// The messages in the order in which they were sent. Each that was sent is looked for among those that the other
    /// side received.
    pub(super) fn ladder(&self, addresses: &[SocketAddr; 3]) -> Vec<Step> {
        let mut messages = std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner));
        messages.sort_by_key(|(_, tapped)| tapped.at);
        let (sent, mut received): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|(_, tapped)| tapped.way == Way::Out);
        let start = sent.first().map(|(_, first)| first.at);
        let mut steps = Vec::new();
        for (from, tapped) in sent {
            let to = addresses.iter().position(|address| *address == tapped.flow.remote);
            let came = received.iter().position(|(participant, other)| {
                Some(*participant) == to
                    && other.flow.remote == tapped.flow.local
                    && other.flow.local == tapped.flow.remote
                    && other.bytes == tapped.bytes
            });
            if let Some(came) = came {
                received.remove(came);
            }
            steps.push(Step {
                number: format!("F{}", steps.len() + 1),
                time_ms: start.map_or(0.0, |start| tapped.at.since(start).as_secs_f64() * 1000.0),
                from: PARTICIPANTS[from].to_owned(),
                to: to.map_or_else(|| tapped.flow.remote.to_string(), |to| PARTICIPANTS[to].to_owned()),
                message: describe(&tapped),
                arrived: came.is_some(),
            });
        }
        steps
    }
}

fn describe(tapped: &Tapped) -> String {
    let Ok(message) = Message::parse(tapped.bytes.clone(), &Limits::default()) else {
        return "(no SIP message)".to_owned();
    };
    match message.status() {
        None => message.method().map(ToString::to_string).unwrap_or_default(),
        Some(status) => format!("{} {}", status.code(), String::from_utf8_lossy(message.reason())),
    }
}
