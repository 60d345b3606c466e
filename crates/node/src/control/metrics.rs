//! The counters in the text format of Prometheus. The names are part of the interface: docs/manual/metrics.md.

use std::fmt::Write as _;

use serde_json::Value;

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
    trunks(&mut out, &shards::trunks(shards));
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

/// Each trunk has its own lines. Names of trunks and their addresses have no character that would need an escape.
fn trunks(out: &mut String, trunks: &[Value]) {
    if trunks.is_empty() {
        return;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    out.push_str("# TYPE dialtone_trunk_calls gauge\n");
    for trunk in trunks {
        let _ =
            writeln!(out, "dialtone_trunk_calls{{trunk=\"{}\"}} {}", text(&trunk["name"]), trunk["calls"]);
    }
    out.push_str("# TYPE dialtone_trunk_registered gauge\n");
    for trunk in trunks.iter().filter(|trunk| trunk["registered"].is_boolean()) {
        let is = u8::from(trunk["registered"] == true);
        let _ = writeln!(out, "dialtone_trunk_registered{{trunk=\"{}\"}} {is}", text(&trunk["name"]));
    }
    out.push_str("# TYPE dialtone_trunk_address_up gauge\n");
    for trunk in trunks {
        let addresses = trunk["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
        for address in addresses.iter().filter(|address| address["state"] != "unknown") {
            let (trunk, up) = (text(&trunk["name"]), u8::from(address["state"] == "up"));
            let address = text(&address["address"]);
            let _ =
                writeln!(out, "dialtone_trunk_address_up{{trunk=\"{trunk}\",address=\"{address}\"}} {up}");
        }
    }
}

fn line(out: &mut String, kind: &str, name: &str, number: u64) {
    // A String takes all that is written.
    let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {number}");
}
