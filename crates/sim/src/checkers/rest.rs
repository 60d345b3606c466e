//! The end of a run.

use std::collections::BTreeSet;

use dialtone_wire::Method;
use smol_str::SmolStr;

use super::Verdict;
use super::traffic::{Traffic, Unit};
use crate::history::History;
use crate::world::HostId;

/// When everybody has hung up and registrations are over, nothing is left to happen.
pub(super) fn at_rest(history: &History, _: &Traffic, verdict: &mut Verdict) {
    verdict.judge(history.at_rest, || format!("something is still going on at {:?}", history.ended));
    for host in &history.hosts {
        verdict.judge(host.deadlines == 0, || {
            format!("{} of the shards of {} wait for a deadline", host.deadlines, host.name)
        });
    }
}

/// "Tables are empty at rest." The run goes on until the last binding has expired, so that these are gone
/// too.
pub(super) fn tables_are_empty(history: &History, traffic: &Traffic, verdict: &mut Verdict) {
    for (index, host) in history.hosts.iter().enumerate() {
        // What users chose stays until they choose otherwise.
        for (name, count) in host.tables.iter().filter(|(name, _)| *name != "services") {
            let allowed = if name == "calls_talking" { ends_unseen(HostId(index), traffic) } else { 0 };
            verdict.judge(count <= allowed, || format!("{}: {count} {name} are left", host.name));
        }
    }
}

/// How many calls that a server passed on have no end that it could have seen: both phones are gone, or their BYE never
/// came, or somebody has made another answer of theirs, whose call nobody knows. It follows them for a day.
fn ends_unseen(host: HostId, traffic: &Traffic) -> usize {
    let of_host = |sender: Option<(HostId, u32)>| sender.is_some_and(|(sender, _)| sender == host);
    let answers = traffic
        .units
        .iter()
        .filter(|unit| unit.is_success() && unit.method == Method::Invite && of_host(unit.sender));
    let byes = traffic.requests(&Method::Bye);
    let came = byes.filter(|bye| bye.receiver == Some(host) && !bye.arrivals.is_empty() && !bye.tampered);
    let ended: BTreeSet<_> = came.map(dialog).collect();
    let begun: BTreeSet<_> = answers.map(dialog).collect();
    begun.difference(&ended).count()
}

/// Call-ID and both tags, whoever speaks.
fn dialog(unit: &Unit) -> (&SmolStr, [&SmolStr; 2]) {
    let mut tags = [&unit.from_tag, &unit.to_tag];
    tags.sort();
    (&unit.call_id, tags)
}
