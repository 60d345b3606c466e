//! `dialtone options`.

use std::time::Duration;

use clap::Args;
use dialtone_node::softphone::{PingConfig, PingReport, parse_target, ping};
use serde_json::json;

use crate::Outcome;
use crate::exit::Exit;
use crate::say;
use crate::softphone::{self, Refusal, Who};

/// The arguments of `dialtone options`.
///
/// A SIP ping: asks whether somebody is there and what they can do. Exit code 0 means an answer of the 200s.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Options {
    /// Whom: a SIP URI, or the name of a user of --domain.
    #[arg(value_name = "URI")]
    to: String,
    /// Who asks; without it the question is anonymous.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    who: Who,
    /// How long to wait for an answer, in seconds.
    #[arg(long, value_name = "S", default_value = "5", value_parser = softphone::seconds)]
    wait: Duration,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

impl Options {
    pub(crate) fn run(self) -> Outcome {
        self.ask().unwrap_or_else(Refusal::outcome)
    }

    fn ask(self) -> Result<Outcome, Refusal> {
        let stop = softphone::stop_flag()?;
        let config = PingConfig {
            identity: self.who.identity(self.user.as_deref())?,
            to: parse_target(&self.to, self.who.domain.as_deref())?,
            patience: self.wait,
        };
        let report = ping(&config, &stop)?;
        let exit = softphone::exit_of(&report.verdict);
        let to = config.to.as_str();
        say(&if self.json { report_json(to, &report, exit) } else { report_text(to, &report) });
        Ok(Ok(exit))
    }
}

fn report_json(to: &str, report: &PingReport, exit: Exit) -> String {
    let report = json!({
        "schema": 1,
        "ok": exit == Exit::Success,
        "exit_code": exit as u8,
        "reason": report.verdict.word(),
        "verdict": report.verdict.to_string(),
        "to": to,
        "status": report.status.map(|status| status.code()),
        "round_trip_ms": report.round_trip.map(|time| softphone::round(time.as_secs_f64() * 1000.0, 3)),
        "product": report.product,
        "allow": report.allow,
        "accept": report.accept,
        "supported": report.supported,
    });
    format!("{report}\n")
}

fn report_text(to: &str, report: &PingReport) -> String {
    let (Some(status), Some(time)) = (report.status, report.round_trip) else {
        return format!("{to}: {}\n", report.verdict);
    };
    let millis = time.as_secs_f64() * 1000.0;
    let mut out = format!("{to}: {} {} after {millis:.1} ms\n", status.code(), status.reason());
    let product = report.product.clone().unwrap_or_default();
    let lists = [
        ("product", product),
        ("methods", report.allow.join(", ")),
        ("content", report.accept.join(", ")),
        ("extensions", report.supported.join(", ")),
    ];
    for (title, text) in lists.iter().filter(|(_, text)| !text.is_empty()) {
        out.push_str(&format!("  {title:<10} {text}\n"));
    }
    out
}
