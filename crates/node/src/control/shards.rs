//! Questions to shards: they go through the inbox of each, and come back within a second or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use dialtone_roles::io::HopState;
use dialtone_roles::listing::{CallCursor, ListedBinding, ListedCall, ListedTrunk, Page, Reach};
use dialtone_roles::{Freed, Guesser, HeldOff, Source};
use dialtone_wire::time::Instant;
use serde_json::{Value, json};
use smol_str::SmolStr;

use super::handler::Refused;
use crate::clock;
use crate::counters::{Counters, ShardCounters};
use crate::inbox::Sender;
use crate::shard::Word;

/// How long a shard may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The counters of all shards, and how many of them did not tell in time.
pub(crate) fn counters(shards: &[Sender<Word>]) -> (Counters, usize) {
    let (told, silent): (Vec<ShardCounters>, usize) = ask_all(shards, Word::Report);
    (Counters::new(&told, None), silent)
}

/// A page of the bindings. `after` is the `next` of the page before.
pub(crate) fn registrations(
    shards: &[Sender<Word>],
    after: Option<&str>,
    limit: usize,
) -> Result<Value, Refused> {
    let (number, shard, rest) = place(shards, after)?;
    let now = clock::now();
    let after = Some(SmolStr::new(rest)).filter(|after| !after.is_empty());
    let (to, from) = sync_channel(1);
    let page: Page<ListedBinding, SmolStr> =
        ask(shard, Word::Bindings { after, aors_max: limit, to }, &from)?;
    let entries: Vec<Value> = page.entries.iter().map(|entry| registration(now, entry)).collect();
    let next = next(number, shards.len(), page.next.map(String::from));
    Ok(json!({"registrations": entries, "next": next}))
}

fn registration(now: Instant, entry: &ListedBinding) -> Value {
    let ListedBinding { aor, binding, reach } = entry;
    let (reachable, round_trip) = match reach {
        Some(Reach::Reachable { round_trip }) => (Some(true), Some(round_trip.as_secs_f64() * 1000.0)),
        Some(Reach::Unreachable) => (Some(false), None),
        None => (None, None),
    };
    json!({
        "aor": aor.as_str(),
        "contact": binding.contact.as_str(),
        "expires_in_s": binding.expires_at.since(now).as_secs(),
        "q": f64::from(binding.q_milli) / 1000.0,
        "transport": binding.flow.transport.token().to_ascii_lowercase(),
        "remote": binding.flow.remote.to_string(),
        "behind_nat": binding.behind_nat,
        "reachable": reachable,
        "round_trip_ms": round_trip,
        "path": binding.path().iter().map(SmolStr::as_str).collect::<Vec<_>>(),
        "params": binding.params(),
        "instance": binding.instance(),
        "reg_id": binding.reg_id(),
    })
}

/// A page of the calls. `after` is the `next` of the page before.
pub(crate) fn calls(shards: &[Sender<Word>], after: Option<&str>, limit: usize) -> Result<Value, Refused> {
    let (number, shard, rest) = place(shards, after)?;
    let cursor = read_cursor(rest).ok_or_else(|| Refused::bad("expected `after`: the `next` of a page"))?;
    let (to, from) = sync_channel(1);
    let page: Page<ListedCall, CallCursor> =
        ask(shard, Word::Calls { from: cursor, count: limit, to }, &from)?;
    let text = |text: &Option<SmolStr>| text.as_ref().map(|text| text.to_string());
    let entry = |call: &ListedCall| {
        json!({
            "state": call.state.word(),
            "call_id": text(&call.call_id),
            "from": text(&call.from),
            "to": text(&call.to),
            "from_name": text(&call.from_name),
            "to_name": text(&call.to_name),
        })
    };
    let entries: Vec<Value> = page.entries.iter().map(entry).collect();
    let next = next(number, shards.len(), page.next.map(write_cursor));
    Ok(json!({"calls": entries, "next": next}))
}

/// Waits until the records of the calls that have ended are in the store: a call that is not in the list any more is among
/// the ended ones. After a second they are read as they are.
pub(crate) fn await_records(shards: &[Sender<Word>]) {
    ask_all(shards, Word::RecordsKept);
}

/// Those who are held off or blocked, at most `most`, each once: shards know of each other's.
pub(crate) fn held_off(shards: &[Sender<Word>], most: usize) -> Vec<Value> {
    let (told, _) = ask_all(shards, |to| Word::HeldOff { most, to });
    let mut all: BTreeMap<(bool, Guesser), Option<Duration>> = BTreeMap::new();
    for HeldOff { guesser, left, blocked } in told.into_iter().flatten() {
        let known = all.entry((!blocked, guesser)).or_insert(left);
        *known = match (*known, left) {
            (Some(one), Some(other)) => Some(one.max(other)),
            _ => None,
        };
    }
    let entry = |((held, guesser), left): ((bool, Guesser), Option<Duration>)| {
        let mut entry = described(&guesser);
        entry["blocked"] = json!(!held);
        entry["left_s"] = json!(left.map(|left| left.as_millis().div_ceil(1000)));
        entry
    };
    all.into_iter().take(most).map(entry).collect()
}

/// The trunks, as all shards together see them.
pub(crate) fn trunks(shards: &[Sender<Word>]) -> Vec<Value> {
    let (told, _) = ask_all(shards, Word::Trunks);
    let mut all: Vec<ListedTrunk> = Vec::new();
    for trunk in told.into_iter().flatten() {
        let Some(known) = all.iter_mut().find(|known| known.name == trunk.name) else {
            all.push(trunk);
            continue;
        };
        known.calls += trunk.calls;
        known.calls_max = known.calls_max.saturating_add(trunk.calls_max);
        known.registered = known.registered.or(trunk.registered);
        for ((_, known), (_, state)) in known.hops.iter_mut().zip(&trunk.hops) {
            if *known == HopState::Unknown {
                *known = *state;
            }
        }
    }
    let hop =
        |(address, state): &(SmolStr, HopState)| json!({"address": address.as_str(), "state": state.word()});
    let entry = |trunk: &ListedTrunk| {
        let addresses: Vec<Value> = trunk.hops.iter().map(hop).collect();
        let ListedTrunk { name, registered, calls, calls_max, .. } = trunk;
        json!({
            "name": name.as_str(),
            "registered": registered,
            "calls": calls,
            "calls_max": calls_max,
            "addresses": addresses,
        })
    };
    all.iter().map(entry).collect()
}

fn described(guesser: &Guesser) -> Value {
    json!({"source": guesser.source.to_string(), "user": guesser.user.as_deref()})
}

/// Blocks a source in all shards.
pub(crate) fn block(
    shards: &[Sender<Word>],
    source: Source,
    time: Option<Duration>,
) -> Result<Value, Refused> {
    let (told, silent) = ask_all(shards, |to| Word::Block { source, time, to });
    if silent > 0 {
        return Err(busy());
    }
    if !told.into_iter().all(|has_room| has_room) {
        return Err(Refused { code: "full", message: "too many sources are blocked: free some".to_owned() });
    }
    Ok(json!({"source": source.to_string(), "time_s": time.map(|time| time.as_secs())}))
}

/// Frees those who are held off or blocked, in all shards.
pub(crate) fn free(shards: &[Sender<Word>], freed: &Freed) -> Result<Value, Refused> {
    let (told, silent) = ask_all(shards, |to| Word::Free { freed: freed.clone(), to });
    if silent > 0 {
        return Err(busy());
    }
    let all: BTreeSet<Guesser> = told.into_iter().flatten().collect();
    Ok(json!({"freed": all.iter().map(described).collect::<Vec<_>>()}))
}

/// What all shards answer, and how many of them did not in time.
fn ask_all<T>(shards: &[Sender<Word>], word: impl Fn(SyncSender<T>) -> Word) -> (Vec<T>, usize) {
    let deadline = clock::now() + PATIENCE;
    let asked: Vec<_> = shards
        .iter()
        .map(|shard| {
            let (to, from) = sync_channel(1);
            shard.send(word(to)).ok().map(|()| from)
        })
        .collect();
    let told: Vec<T> =
        asked.into_iter().filter_map(|from| from?.recv_timeout(deadline.since(clock::now())).ok()).collect();
    let silent = shards.len() - told.len();
    (told, silent)
}

pub(super) fn busy() -> Refused {
    Refused { code: "busy", message: "a shard is too busy to tell: ask again".to_owned() }
}

pub(super) fn ask<T>(
    shard: &Sender<Word>,
    word: Word,
    from: &std::sync::mpsc::Receiver<T>,
) -> Result<T, Refused> {
    shard.send(word).map_err(|_| busy())?;
    from.recv_timeout(PATIENCE).map_err(|_| busy())
}

/// Which shard a page is of, and where it begins there: `SHARD:REST`.
pub(super) fn place<'a, 'b>(
    shards: &'a [Sender<Word>],
    after: Option<&'b str>,
) -> Result<(usize, &'a Sender<Word>, &'b str), Refused> {
    let (number, rest) = after.unwrap_or("0:").split_once(':').unwrap_or(("", ""));
    let found = number.parse::<usize>().ok().and_then(|number| Some((number, shards.get(number)?, rest)));
    found.ok_or_else(|| Refused::bad("expected `after`: the `next` of a page"))
}

pub(super) fn next(number: usize, shards: usize, rest: Option<String>) -> Option<String> {
    match rest {
        Some(rest) => Some(format!("{number}:{rest}")),
        None => (number + 1 < shards).then(|| format!("{}:", number + 1)),
    }
}

fn write_cursor(cursor: CallCursor) -> String {
    match cursor {
        CallCursor::Own(slot) => format!("own.{slot}"),
        CallCursor::Forwarded(at, id) => format!("forwarded.{}.{id}", at.as_nanos()),
        CallCursor::Bridged(number) => format!("bridged.{number}"),
        CallCursor::Talking(number) => format!("talking.{number}"),
    }
}

fn read_cursor(text: &str) -> Option<CallCursor> {
    if text.is_empty() {
        return Some(CallCursor::START);
    }
    match text.split_once('.')? {
        ("own", slot) => slot.parse().ok().map(CallCursor::Own),
        ("bridged", number) => number.parse().ok().map(CallCursor::Bridged),
        ("talking", number) => number.parse().ok().map(CallCursor::Talking),
        ("forwarded", rest) => {
            let (at, id) = rest.split_once('.')?;
            Some(CallCursor::Forwarded(Instant::from_nanos(at.parse().ok()?), id.parse().ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_page_is_read_as_it_was_written() {
        for cursor in [
            CallCursor::START,
            CallCursor::Own(7),
            CallCursor::Bridged(11),
            CallCursor::Forwarded(Instant::from_nanos(9), 3),
            CallCursor::Talking(5),
        ] {
            assert_eq!(read_cursor(&write_cursor(cursor)), Some(cursor));
        }
        for text in ["own", "own.", "own.x", "forwarded.1", "forwarded.1.x", "other.1"] {
            assert_eq!(read_cursor(text), None, "{text}");
        }
        assert_eq!(next(0, 2, None), Some("1:".to_owned()));
        assert_eq!(next(1, 2, None), None);
        assert_eq!(next(1, 2, Some("sip:a@b".to_owned())), Some("1:sip:a@b".to_owned()));
    }
}
