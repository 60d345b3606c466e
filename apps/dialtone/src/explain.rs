//! `dialtone explain`.

use std::path::PathBuf;

use clap::Args;
use dialtone_node::{Data, ExplainError, Explanation, Question, ServerConfig};
use serde_json::json;

use crate::Outcome;
use crate::exit::Exit;
use crate::say;

/// The arguments of `dialtone explain`.
///
/// Says where the dial plan of a settings file leads a call: which rule matches, which do not and why. No server need run,
/// and nothing is called. Exit code 1 means that the call is refused.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Explain {
    /// What is called: a number, a name, name@domain, or a SIP or tel URI.
    #[arg(value_name = "NUMBER")]
    number: String,
    /// Who calls: a user, user@domain, trunk:NAME, or `anyone` for a stranger; by default some user of the called domain.
    #[arg(long, value_name = "USER")]
    from: Option<String>,
    /// When, for example 2026-11-22T21:30 in the time zone of the plan, or 2026-11-22T20:30:00Z; by default now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The settings file; without it, the defaults count.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A domain that the server is responsible for, as with `serve`.
    #[arg(long, value_name = "NAME")]
    domain: Vec<String>,
    /// The folder that all data is kept in.
    #[arg(long, value_name = "DIR", default_value = "dialtone-data")]
    data: PathBuf,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(crate) fn run(self) -> Outcome {
        let config = ServerConfig {
            file: self.config,
            domains: self.domain,
            ..ServerConfig::new(Data::Folder(self.data))
        };
        let question = Question { number: self.number, from: self.from, at: self.at };
        let explanation = match dialtone_node::explain(&config, &question) {
            Ok(explanation) => explanation,
            Err(ExplainError::Settings(error)) => return Err(error),
            Err(error) => {
                eprintln!("dialtone: {error}");
                return Ok(Exit::Usage);
            }
        };
        if self.json {
            say(&as_json(&explanation));
        } else {
            say(&explanation.to_string());
        }
        Ok(if explanation.goes.way == "refuse" { Exit::Failed } else { Exit::Success })
    }
}

fn as_json(explanation: &Explanation) -> String {
    let rule = |rule: &dialtone_node::RuleLine| json!({"name": rule.name, "line": rule.line, "matches": rule.matches, "why": rule.why});
    let goes = &explanation.goes;
    let report = json!({
        "schema": 1,
        "ok": goes.way != "refuse",
        "number": explanation.number,
        "domain": explanation.domain,
        "own": explanation.own,
        "from": explanation.from,
        "at": explanation.at,
        "rules": explanation.rules.iter().map(rule).collect::<Vec<_>>(),
        "unseen": explanation.unseen,
        "rule": explanation.rule,
        "way": goes.way,
        "to": goes.to,
        "queue": goes.queue,
        "trunk_number": goes.number,
        "status": goes.status,
        "contacts": goes.contacts,
        "reason": goes.reason,
        "error_info": goes.error_info,
        "password": explanation.password,
        "incomplete": explanation.incomplete,
    });
    format!("{report}\n")
}
