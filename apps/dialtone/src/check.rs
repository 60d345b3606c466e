//! `dialtone check`.

use std::path::PathBuf;

use clap::Args;
use dialtone_node::config::Problem;
use serde::Serialize;

use crate::Outcome;
use crate::exit::Exit;
use crate::say;

/// The arguments of `dialtone check`.
///
/// All problems of a settings file at once, each with its line and what to do about it. Nothing is started or changed.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The settings file; without it, the defaults are checked on this machine.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder that all data is kept in.
    #[arg(long, value_name = "DIR", default_value = "dialtone-data")]
    data: PathBuf,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    ok: bool,
    problems: Vec<Line>,
}

#[derive(Serialize)]
pub(crate) struct Line {
    file: String,
    line: u32,
    column: u32,
    key: String,
    problem: String,
    remedy: String,
}

/// Problems as JSON has them.
pub(crate) fn lines(problems: &[Problem]) -> Vec<Line> {
    let line = |problem: &Problem| Line {
        file: problem.file.to_string(),
        line: problem.line,
        column: problem.column,
        key: problem.key.clone(),
        problem: problem.what.to_string(),
        remedy: problem.remedy.to_string(),
    };
    problems.iter().map(line).collect()
}

impl Check {
    pub(crate) fn run(self) -> Outcome {
        let problems = dialtone_node::check(self.config, self.data).err().unwrap_or_default();
        let ok = problems.is_empty();
        if self.json {
            let report = Report { schema: 1, ok, problems: lines(&problems) };
            let text = serde_json::to_string(&report).expect("plain numbers and texts are JSON");
            say(&format!("{text}\n"));
        } else if ok {
            say("The settings are good.\n");
        } else {
            for problem in &problems {
                say(&format!("{problem}\n"));
            }
            say(&format!(
                "{} found.\n",
                if problems.len() == 1 { "1 problem".into() } else { format!("{} problems", problems.len()) }
            ));
        }
        Ok(if ok { Exit::Success } else { Exit::Failed })
    }
}
