//! Nothing outlives its timers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use dialtone_wire::Method;
use dialtone_wire::time::Instant;
use smol_str::SmolStr;

use super::Verdict;
use super::answers::TIMEOUT;
use super::traffic::{Traffic, Unit};
use crate::history::{History, What};
use crate::world::HostId;

/// Timers D and L to M run as long as the peer may repeat; the network keeps a datagram for less than T4.
const T4: Duration = Duration::from_secs(5);

/// One transaction of one life of a host.
type Key<'a> = (HostId, u32, SocketAddr, &'a SmolStr, &'a str, u16, &'a SmolStr);

/// Timers B and F end the repetition of requests; an ACK answers what the peer repeats.
pub(super) fn requests_stop(history: &History, traffic: &Traffic, verdict: &mut Verdict) {
    for spans in spans(traffic, Unit::is_request) {
        let limit = if spans.0.method == Method::Ack { 2 * TIMEOUT + 2 * T4 } else { TIMEOUT };
        // A proxy without state passes on what comes, the first copy sooner and the last one later.
        let passes_on = spans.0.sender.is_some_and(|(host, _)| history.hosts[host.0].is_stateless);
        if passes_on && spans.0.tampered {
            // Somebody else may send the same at any time.
            continue;
        }
        judge(spans, if passes_on { limit + 2 * T4 } else { limit }, verdict);
    }
}

/// Timers G, H, J and L end the repetition of responses; a request that is repeated for 64·T1 gets its last answer
/// as late, and a 2xx that is forwarded comes from a UAS that repeats it for as long.
pub(super) fn responses_stop(_: &History, traffic: &Traffic, verdict: &mut Verdict) {
    for spans in spans(traffic, Unit::is_final) {
        judge(spans, 2 * TIMEOUT + 2 * T4, verdict);
    }
}

/// An engine that asks to be woken at once, again and again, burns a processor.
pub(super) fn engines_sleep(history: &History, _: &Traffic, verdict: &mut Verdict) {
    let spins: Vec<&HostId> =
        history.notes.iter().filter(|note| matches!(note.what, What::Spins)).map(|note| &note.host).collect();
    for (index, host) in history.hosts.iter().enumerate() {
        verdict.judge(!spins.contains(&&HostId(index)), || format!("{} does not sleep", host.name));
    }
}

fn judge((first, last): (&Unit, Instant), limit: Duration, verdict: &mut Verdict) {
    verdict
        .judge(last.since(first.sent) <= limit, || format!("{} was still sent at {last:?}", first.brief()));
}

/// The first and the last sending of each message of ours.
fn spans(traffic: &Traffic, which: impl Fn(&Unit) -> bool) -> impl Iterator<Item = (&Unit, Instant)> {
    let mut spans: BTreeMap<Key<'_>, (&Unit, Instant)> = BTreeMap::new();
    for unit in traffic.units.iter().filter(|unit| which(unit)) {
        let Some((host, life)) = unit.sender else { continue };
        let status = unit.status.unwrap_or(0);
        let key = (host, life, unit.to, &unit.branch, unit.method.as_str(), status, &unit.to_tag);
        spans.entry(key).or_insert((unit, unit.sent)).1 = unit.sent;
    }
    spans.into_values()
}
