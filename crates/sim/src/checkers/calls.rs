//! What the owner of a phone is told about calls.

use std::collections::BTreeMap;
use std::time::Duration;

use dialtone_roles::io::{CallHandle, Command, Event};
use dialtone_wire::time::Instant;

use super::Verdict;
use super::answers::TIMEOUT;
use crate::checkers::Traffic;
use crate::history::{History, Note, What};
use crate::world::HostId;

/// One call of one shard of one life of one host.
type Key = (HostId, u32, u16, CallHandle);

/// What is known of a call.
#[derive(Debug, Default)]
struct Life {
    began: Vec<Instant>,
    answered: Vec<Instant>,
    ended: Vec<Instant>,
    hung_up: Option<Instant>,
    last: Instant,
}

/// The longest that hanging up may take: waiting for the ACK, or for the final response after CANCEL, and then the
/// BYE.
const HANG_UP_MAX: Duration = Duration::from_secs(2 * TIMEOUT.as_secs() + 1);

/// "Each call ends on both sides."
pub(super) fn each_call_ends_once(history: &History, _: &Traffic, verdict: &mut Verdict) {
    for ((host, life, _, call), known) in calls(history) {
        let went_down = history.downs(host).count() as u32 > life;
        let ended = known.ended.len() == 1 || (known.ended.is_empty() && went_down);
        let in_order = known.began.len() == 1
            && known.answered.len() <= 1
            && known.ended.iter().all(|end| known.last <= *end);
        verdict.judge(ended && in_order, || {
            format!("{} {call:?} of life {life}: {known:?}", history.hosts[host.0].name)
        });
    }
}

/// A command to call somebody makes one call, not two.
pub(super) fn each_command_starts_once(history: &History, _: &Traffic, verdict: &mut Verdict) {
    let mut started: BTreeMap<(HostId, u32, u64), usize> = BTreeMap::new();
    for note in &history.notes {
        if let What::Event(Event::CallStarted { token, .. }) = &note.what {
            *started.entry((note.host, note.life, *token)).or_default() += 1;
        }
    }
    for note in &history.notes {
        if let What::Command(Command::Call { token, .. }) = &note.what {
            let count = started.get(&(note.host, note.life, *token)).copied().unwrap_or(0);
            verdict.judge(count == 1, || {
                format!("{}: command {token} started {count} calls", history.hosts[note.host.0].name)
            });
        }
    }
}

/// "Nothing outlives its timers", as a person sees it.
pub(super) fn hang_up_ends_in_time(history: &History, _: &Traffic, verdict: &mut Verdict) {
    for ((host, _, _, call), known) in calls(history) {
        let (Some(hung_up), Some(ended)) = (known.hung_up, known.ended.first()) else { continue };
        verdict.judge(ended.since(hung_up) <= HANG_UP_MAX, || {
            format!("{} {call:?}: hung up at {hung_up:?}, ended at {ended:?}", history.hosts[host.0].name)
        });
    }
}

fn calls(history: &History) -> BTreeMap<Key, Life> {
    let mut calls: BTreeMap<Key, Life> = BTreeMap::new();
    for note in &history.notes {
        let Some(call) = call_of(note) else { continue };
        let known = calls.entry((note.host, note.life, note.shard, call)).or_default();
        match &note.what {
            What::Event(Event::CallStarted { .. } | Event::Incoming { .. } | Event::TransferBegun { .. }) => {
                known.began.push(note.at)
            }
            What::Event(Event::Answered { .. }) => known.answered.push(note.at),
            What::Event(Event::Ended { .. }) => known.ended.push(note.at),
            What::Command(_) => {
                known.hung_up.get_or_insert(note.at);
            }
            _ => {}
        }
        if matches!(note.what, What::Event(_)) {
            known.last = known.last.max(note.at);
        }
    }
    // A command may name a call that is over.
    calls.retain(|_, known| !known.began.is_empty() || !known.ended.is_empty() || !known.answered.is_empty());
    calls
}

fn call_of(note: &Note) -> Option<CallHandle> {
    match &note.what {
        What::Event(
            Event::CallStarted { call, .. }
            | Event::TransferBegun { new_call: call, .. }
            | Event::Incoming { call, .. }
            | Event::Progress { call, .. }
            | Event::Answered { call }
            | Event::SessionChanged { call }
            | Event::Ended { call, .. },
        )
        | What::Command(Command::Hangup { call }) => Some(*call),
        _ => None,
    }
}
