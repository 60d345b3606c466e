//! `dialtone status`, `reload`, `block` and `unblock`, and what all commands share that speak with a running server.

use std::path::PathBuf;

use clap::Args;
use dialtone_node::control::{AskError, Control};
use serde_json::{Value, json};

use crate::Outcome;
use crate::exit::Exit;
use crate::say;

/// Which server, and how it is told.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The data folder of the server.
    #[arg(long, value_name = "DIR", default_value = "dialtone-data")]
    pub(crate) data: PathBuf,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `dialtone status`.
///
/// Exit code 1 means that no server runs there.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Status {
    #[command(flatten)]
    target: Target,
}

/// The arguments of `dialtone reload`.
///
/// A bad file changes nothing: its problems are told, and the exit code is 1. Keys that need a restart are named.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Reload {
    #[command(flatten)]
    target: Target,
}

/// The arguments of `dialtone block`.
///
/// What the address sends is dropped without an answer, until it is freed or the server ends. Of an IPv6 address, its
/// whole network of 64 bits is meant.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Block {
    /// The IP address.
    address: String,
    /// For this many seconds only.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    #[command(flatten)]
    target: Target,
}

/// The arguments of `dialtone unblock`.
///
/// Frees who is blocked, or held off for too many wrong passwords; `dialtone status` lists them.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Unblock {
    /// An IP address, with all users that are held off there, or a user (NAME or NAME@DOMAIN), wherever held off.
    #[arg(value_name = "ADDRESS|USER", required_unless_present = "all")]
    whom: Option<String>,
    /// Frees everybody.
    #[arg(long, conflicts_with = "whom")]
    all: bool,
    #[command(flatten)]
    target: Target,
}

impl Block {
    pub(crate) fn run(&self) -> Outcome {
        let asked = Control::connect(&self.target.data);
        let answer = match asked.and_then(|mut control| control.block(&self.address, self.seconds)) {
            Ok(answer) => answer,
            Err(error) => return Ok(failed(&error, self.target.json)),
        };
        let source = answer["source"].as_str().unwrap_or_default();
        let time = self.seconds.map_or("until it is freed".to_owned(), |seconds| format!("for {seconds} s"));
        say(&if self.target.json { format!("{answer}\n") } else { format!("{source} is blocked {time}\n") });
        Ok(Exit::Success)
    }
}

impl Unblock {
    pub(crate) fn run(&self) -> Outcome {
        let asked = Control::connect(&self.target.data);
        let answer = match asked.and_then(|mut control| control.unblock(self.whom.as_deref())) {
            Ok(answer) => answer,
            Err(error) => return Ok(failed(&error, self.target.json)),
        };
        let freed = answer["freed"].as_array().map(Vec::as_slice).unwrap_or_default();
        if self.target.json {
            say(&format!("{answer}\n"));
        } else if freed.is_empty() {
            say("Nobody like that is held off or blocked.\n");
        } else {
            let lines: Vec<String> = freed.iter().map(|entry| format!("{} is free\n", who(entry))).collect();
            say(&lines.concat());
        }
        Ok(if freed.is_empty() && self.whom.is_some() { Exit::Failed } else { Exit::Success })
    }
}

/// A source, or a user at a source.
fn who(entry: &Value) -> String {
    let source = entry["source"].as_str().unwrap_or_default();
    entry["user"].as_str().map_or_else(|| source.to_owned(), |user| format!("{user} at {source}"))
}

impl Status {
    pub(crate) fn run(&self) -> Outcome {
        let status = match Control::connect(&self.target.data).and_then(|mut control| control.status()) {
            Ok(status) => status,
            Err(error) => return Ok(failed(&error, self.target.json)),
        };
        say(&if self.target.json { format!("{status}\n") } else { status_text(&status) });
        Ok(Exit::Success)
    }
}

impl Reload {
    pub(crate) fn run(&self) -> Outcome {
        let report = match Control::connect(&self.target.data).and_then(|mut control| control.reload()) {
            Ok(report) => report,
            Err(error) => return Ok(failed(&error, self.target.json)),
        };
        let texts = |name: &str| -> Vec<&str> {
            report[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
        };
        let problems = texts("problems");
        if self.target.json {
            say(&format!("{report}\n"));
        } else if problems.is_empty() {
            say(&reload_text(&texts("changed"), &texts("needs_restart")));
        } else {
            say(&format!("{}\nThe settings of before go on.\n", problems.join("\n")));
        }
        Ok(if problems.is_empty() { Exit::Success } else { Exit::Failed })
    }
}

fn reload_text(changed: &[&str], needs_restart: &[&str]) -> String {
    let mut out = if changed.is_empty() {
        "Nothing has changed.\n".to_owned()
    } else {
        format!("In force from now on: {}\n", changed.join(", "))
    };
    if !needs_restart.is_empty() {
        out.push_str(&format!("In force from the next start on: {}\n", needs_restart.join(", ")));
    }
    out
}

/// Tells why there is no answer: a sentence on standard error, and with `--json` an object on standard output.
pub(crate) fn failed(error: &AskError, as_json: bool) -> Exit {
    let (exit, code) = match error {
        AskError::NotRunning(_) => (Exit::Failed, "not-running"),
        AskError::NoFolder(_) => (Exit::Data, "no-folder"),
        AskError::Store(_) => (Exit::Data, "store"),
        AskError::Refused { code, .. } => {
            let exit = match code.as_str() {
                "exists" | "no-such-user" | "no-such-call" => Exit::Failed,
                "bad-request" | "no-such-domain" => Exit::Usage,
                "store" => Exit::Data,
                _ => Exit::System,
            };
            (exit, code.as_str())
        }
        _ => (Exit::System, "system"),
    };
    if as_json {
        say(&format!("{}\n", json!({"schema": 1, "ok": false, "code": code, "error": error.to_string()})));
    }
    eprintln!("dialtone: {error}");
    exit
}

/// One line for each trunk.
fn trunks_text(status: &Value) -> String {
    let trunks = status["trunks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = if trunks.is_empty() { String::new() } else { "\n  trunks\n".to_owned() };
    for trunk in trunks {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let registered = match trunk["registered"].as_bool() {
            Some(true) => ", registered",
            Some(false) => ", NOT registered",
            None => "",
        };
        let addresses = trunk["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
        let addresses: Vec<String> = addresses
            .iter()
            .map(|address| match address["state"].as_str() {
                Some(state @ ("up" | "down")) => format!("{} {state}", text(&address["address"])),
                _ => text(&address["address"]),
            })
            .collect();
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let (name, calls, most) =
            (text(&trunk["name"]), number(&trunk["calls"]), number(&trunk["calls_max"]));
        out.push_str(&format!("    {name} {calls} calls of {most}{registered}  {}\n", addresses.join(", ")));
    }
    out
}

fn status_text(status: &Value) -> String {
    let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| status[name].as_u64().unwrap_or_default();
    let list = |name: &str| -> String {
        let texts: Vec<&str> =
            status[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        texts.join(" ")
    };
    let uptime = number("uptime_s");
    let mut out = format!(
        "dialtone {} runs since {}, for {} d {:02} h {:02} min {:02} s\n\n",
        text("version"),
        text("started"),
        uptime / 86_400,
        uptime / 3600 % 24,
        uptime / 60 % 60,
        uptime % 60
    );
    out.push_str(&format!("  domains        {}\n", list("domains")));
    out.push_str(&format!("  listening on   {}\n", list("listen")));
    if let Some(http) = status["http"].as_str() {
        out.push_str(&format!("  http           {http}\n"));
    }
    for name in ["users", "registrations", "calls"] {
        out.push_str(&format!("  {name:<14} {}\n", number(name)));
    }
    if number("shards_silent") > 0 {
        out.push_str(&format!(
            "  {} of {} shards do not answer\n",
            number("shards_silent"),
            number("shards")
        ));
    }
    out.push_str(&trunks_text(status));
    let held_off = status["held_off"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !held_off.is_empty() {
        out.push_str("\n  held off or blocked (freed by `dialtone unblock`)\n");
    }
    for entry in held_off {
        let how = if entry["blocked"] == true { "blocked" } else { "held off" };
        let left = entry["left_s"].as_u64().map_or("until freed".to_owned(), |left| format!("for {left} s"));
        out.push_str(&format!("    {} {how} {left}\n", who(entry)));
    }
    out.push_str("\n  counted since the start (those that are not zero)\n");
    for (group, numbers) in status["counters"].as_object().into_iter().flatten() {
        for (name, number) in numbers.as_object().into_iter().flatten() {
            if number.as_u64() != Some(0) {
                out.push_str(&format!("    {group}.{name} {number}\n"));
            }
        }
    }
    out
}
