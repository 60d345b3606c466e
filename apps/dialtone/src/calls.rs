//! `dialtone calls`: those that are going on, and the records of those that have ended.

use clap::Args;
use dialtone_node::control::{AskError, Control};
use serde_json::{Value, json};

use crate::Outcome;
use crate::exit::Exit;
use crate::manage::{Target, failed};
use crate::say;

/// The arguments of `dialtone calls`.
///
/// Records are read from the data folder, whether a server runs or not; calls that are going on are known to a running
/// server.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Calls {
    /// How many of the calls that ended last are listed.
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    last: usize,
    #[command(flatten)]
    target: Target,
}

impl Calls {
    pub(crate) fn run(&self) -> Outcome {
        let asked = Control::connect_or_open(&self.target.data, false);
        let (now, ended) = match asked.and_then(|mut control| self.ask(&mut control)) {
            Ok(lists) => lists,
            Err(error) => return Ok(failed(&error, self.target.json)),
        };
        if self.target.json {
            say(&format!("{}\n", json!({"schema": 1, "ok": true, "now": now, "ended": ended})));
        } else {
            say(&text(&now, &ended));
        }
        Ok(Exit::Success)
    }

    fn ask(&self, control: &mut Control) -> Result<(Vec<Value>, Vec<Value>), AskError> {
        let now = if control.is_running() { control.calls()? } else { Vec::new() };
        Ok((now, control.ended_calls(self.last)?))
    }
}

fn text(now: &[Value], ended: &[Value]) -> String {
    let mut out = String::new();
    let field = |call: &Value, name: &str| call[name].as_str().unwrap_or("?").to_owned();
    for call in now {
        out.push_str(&format!(
            "{} -> {}  {}\n",
            field(call, "from"),
            field(call, "to"),
            field(call, "state")
        ));
    }
    for call in ended {
        let end = match call["status"].as_u64() {
            Some(status) => format!("{} {status}", field(call, "end")),
            None => field(call, "end"),
        };
        out.push_str(&format!(
            "{} -> {}  {}  {} s  {end}\n",
            field(call, "from"),
            field(call, "to"),
            field(call, "started"),
            call["talked_s"].as_u64().unwrap_or_default()
        ));
    }
    if out.is_empty() { "No calls.\n".to_owned() } else { out }
}
