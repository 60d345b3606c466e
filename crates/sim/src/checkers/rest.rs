//! The end of a run.

use super::Verdict;
use super::traffic::Traffic;
use crate::history::History;

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
pub(super) fn tables_are_empty(history: &History, _: &Traffic, verdict: &mut Verdict) {
    for host in &history.hosts {
        // What users chose stays until they choose otherwise.
        for (name, count) in host.tables.iter().filter(|(name, _)| *name != "services") {
            verdict.judge(count == 0, || format!("{}: {count} {name} are left", host.name));
        }
    }
}
