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
    for call in now {
        out.push_str(&format!(
            "{} -> {}  {}\n",
            party(call, "from", "from_name"),
            party(call, "to", "to_name"),
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
            party(call, "from", "from_name"),
            party(call, "to", "to_name"),
            field(call, "started"),
            call["talked_s"].as_u64().unwrap_or_default()
        ));
    }
    if out.is_empty() { "No calls.\n".to_owned() } else { out }
}

fn field(call: &Value, name: &str) -> String {
    // The server has replaced them already: nothing that a caller says may steer the terminal.
    call[name].as_str().unwrap_or("?").replace(char::is_control, "\u{fffd}")
}

/// Who calls or is called: the name in quotes, as in a header, so that it can't be taken for the address.
fn party(call: &Value, uri: &str, name: &str) -> String {
    match call[name].as_str() {
        Some(_) => {
            let name = field(call, name).replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{name}\" <{}>", field(call, uri))
        }
        None => field(call, uri),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_quotes_before_their_addresses_and_steer_no_terminal() {
        let now = json!({
            "state": "talking", "from": "sip:z@a.test", "from_name": "Zoë \"漢字\"", "to": "sip:b@a.test",
            "to_name": null,
        });
        let ended = json!({
            "from": "sip:z@a.test", "from_name": "\u{1b}]0;\u{7}\u{9b}2J", "to": "sip:b@a.test", "to_name": "Bob",
            "started": "then", "talked_s": 3, "end": "caller",
        });
        assert_eq!(
            text(&[now], &[ended]),
            "\"Zoë \\\"漢字\\\"\" <sip:z@a.test> -> sip:b@a.test  talking\n\
             \"\u{fffd}]0;\u{fffd}\u{fffd}2J\" <sip:z@a.test> -> \"Bob\" <sip:b@a.test>  then  3 s  caller\n"
        );
    }
}
