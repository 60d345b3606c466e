//! `dialtone dial`.

use std::time::Duration;

use clap::Args;
use dialtone_node::control::{AskError, Control};
use serde_json::{Value, json};

use crate::Outcome;
use crate::exit::Exit;
use crate::manage::{Target, failed};
use crate::say;

/// How often the server is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// The arguments of `dialtone dial`.
///
/// The phones of FIRST ring; when one is answered, SECOND is called, and both are joined. The command ends when they talk, or
/// when one of them can't be had; Ctrl-C ends the command, and not the call.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Dial {
    /// A user of the server, who is called first: NAME or NAME@DOMAIN.
    first: String,
    /// Whom he is to talk with: a number, a user or a SIP URI, as he would dial it.
    second: String,
    /// Another user of the server, whom SECOND sees, and by whose right he is called.
    #[arg(long = "as", value_name = "CALLER")]
    caller: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl Dial {
    pub(crate) fn run(&self) -> Outcome {
        Ok(self.dial().unwrap_or_else(|error| failed(&error, self.target.json)))
    }

    fn dial(&self) -> Result<Exit, AskError> {
        let mut control = Control::connect(&self.target.data)?;
        let id = control.dial(&self.first, &self.second, self.caller.as_deref())?;
        let mut before = Value::Null;
        let (_sender, tick) = std::sync::mpsc::sync_channel::<()>(0);
        loop {
            let state = control.dialled(id)?;
            if state != before {
                say(&if self.target.json { line(&state) } else { self.text(&state) });
            }
            match state["state"].as_str() {
                Some("talking") => return Ok(Exit::Success),
                Some("refused") => return Ok(exit_of(state["status"].as_u64().unwrap_or_default())),
                Some("calling" | "ringing") => {}
                _ => return Err(AskError::Strange),
            }
            before = state;
            // Nobody sends: it only waits.
            let _ = tick.recv_timeout(ASK_EVERY);
        }
    }

    fn text(&self, state: &Value) -> String {
        let who = if state["who"] == "second" { &self.second } else { &self.first };
        match state["state"].as_str() {
            Some("calling") => format!("calling {who}\n"),
            Some("ringing") => format!("{who} rings\n"),
            Some("talking") => format!("{} and {} talk\n", self.first, self.second),
            _ => {
                let reason = state["reason"].as_str().unwrap_or_default();
                format!("{who} can't be had: {} {reason}\n", state["status"])
            }
        }
    }
}

/// One state as a line of JSON.
fn line(state: &Value) -> String {
    let mut object = json!({"schema": 1, "ok": true});
    for name in ["state", "who", "status", "reason"] {
        if !state[name].is_null() {
            object[name] = state[name].clone();
        }
    }
    format!("{object}\n")
}

/// What a refusal means, in the exit codes of `dialtone call`.
const fn exit_of(status: u64) -> Exit {
    match status {
        486 | 600 => Exit::Busy,
        408 | 487 => Exit::NoAnswer,
        603 => Exit::Declined,
        404 | 410 | 480 | 484 | 604 => Exit::NobodyThere,
        _ => Exit::Refused,
    }
}
