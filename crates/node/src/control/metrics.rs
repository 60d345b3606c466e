//! The counters in the text format of Prometheus. The names are part of the interface: docs/manual/metrics.md.

use std::fmt::Write as _;

use super::handler::{Handler, Refused};
use super::shards;
use crate::clock;

/// All metrics.
pub(crate) fn text(handler: &Handler) -> Result<String, Refused> {
    let message = "no server runs".to_owned();
    let facts = handler.facts.as_ref().ok_or(Refused { code: "not-running", message })?;
    let shards = handler.subscribers.shards();
    let (counters, silent) = shards::counters(shards);
    let users = handler.subscribers.list()?.len();
    let mut out = String::from("# TYPE dialtone_info gauge\n");
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(out, "dialtone_info{{version=\"{version}\"}} 1");
    let uptime_s = clock::now().since(facts.started).as_secs();
    let own = [
        ("uptime_seconds", uptime_s),
        ("users", users as u64),
        ("shards", shards.len() as u64),
        ("shards_silent", silent as u64),
    ];
    for (name, number) in own {
        line(&mut out, "gauge", &format!("dialtone_{name}"), number);
    }
    for (group, numbers) in counters.groups() {
        for (name, number) in numbers {
            match group {
                "tables" => line(&mut out, "gauge", &format!("dialtone_{name}"), *number),
                _ => line(&mut out, "counter", &format!("dialtone_{group}_{name}_total"), *number),
            }
        }
    }
    Ok(out)
}

fn line(out: &mut String, kind: &str, name: &str, number: u64) {
    // A String takes all that is written.
    let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {number}");
}
