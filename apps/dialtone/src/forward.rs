//! `dialtone forward`.

use clap::Args;
use dialtone_node::control::{AskError, Control};
use serde_json::{Map, Value, json};

use crate::Outcome;
use crate::exit::Exit;
use crate::manage::{Target, failed};
use crate::say;

/// The arguments of `dialtone forward`.
///
/// What is set here, or by the user's star codes, goes before the settings file. TO is a number, a user or a SIP URI that the
/// user could dial himself; `off` switches the service off, `default` leaves it to the settings file. Without an option,
/// what holds is shown; without a user, all who have chosen something are listed.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Forward {
    /// The user's name.
    user: Option<String>,
    /// Where each call goes.
    #[arg(long, value_name = "TO", requires = "user")]
    always: Option<String>,
    /// Where calls go while the user is busy.
    #[arg(long, value_name = "TO", requires = "user")]
    busy: Option<String>,
    /// Where calls go that nobody answers.
    #[arg(long, value_name = "TO", requires = "user")]
    no_answer: Option<String>,
    /// After how many seconds without an answer; or `default`.
    #[arg(long, value_name = "SECONDS", requires = "user")]
    after: Option<String>,
    /// Where calls go while no phone of the user can be reached.
    #[arg(long, value_name = "TO", requires = "user")]
    not_reachable: Option<String>,
    /// Refuses calls with this status: 480, 486 or 603; or `off` or `default`.
    #[arg(long, value_name = "STATUS", requires = "user")]
    do_not_disturb: Option<String>,
    /// The domain; by default the first one of the server.
    #[arg(long, value_name = "NAME", requires = "user")]
    domain: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl Forward {
    pub(crate) fn run(&self) -> Outcome {
        let result = match &self.user {
            Some(user) => self.one(user),
            None => self.list(),
        };
        Ok(result.unwrap_or_else(|error| failed(&error, self.target.json)))
    }

    fn one(&self, user: &str) -> Result<Exit, AskError> {
        let mut control = Control::connect(&self.target.data)?;
        let changes = self.changes();
        let answer = if changes.is_empty() {
            control.services(user, self.domain.as_deref())?
        } else {
            control.change_services(user, self.domain.as_deref(), &Value::Object(changes))?
        };
        say(&if self.target.json { format!("{answer}\n") } else { text(&answer) });
        Ok(Exit::Success)
    }

    fn list(&self) -> Result<Exit, AskError> {
        let users = Control::connect(&self.target.data)?.services_of_all()?;
        if self.target.json {
            say(&format!("{}\n", json!({"schema": 1, "ok": true, "users": users})));
            return Ok(Exit::Success);
        }
        let mut out = String::new();
        for user in &users {
            let chosen = user["chosen"].as_object().into_iter().flatten();
            let chosen: Vec<String> =
                chosen.map(|(name, value)| format!("{name} {}", shown(value))).collect();
            let aor = user["aor"].as_str().unwrap_or_default();
            out.push_str(&format!("{aor}  {}\n", chosen.join(", ")));
        }
        say(if out.is_empty() { "Nobody has chosen anything.\n" } else { &out });
        Ok(Exit::Success)
    }

    fn changes(&self) -> Map<String, Value> {
        let all = [
            ("always", &self.always),
            ("busy", &self.busy),
            ("no_answer", &self.no_answer),
            ("no_answer_after_s", &self.after),
            ("not_reachable", &self.not_reachable),
            ("do_not_disturb", &self.do_not_disturb),
        ];
        let set = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.as_deref()?)));
        set.map(|(name, value)| {
            let is_number = matches!(name.as_str(), "no_answer_after_s" | "do_not_disturb");
            let value = match (value, value.parse::<u64>()) {
                ("off", _) => json!(false),
                ("default", _) => Value::Null,
                (_, Ok(number)) if is_number => json!(number),
                (text, _) => json!(text),
            };
            (name, value)
        })
        .collect()
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) => "off".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What holds for a user, a line for each service, and which of it was chosen.
fn text(answer: &Value) -> String {
    let mut out = format!("{}\n\n", answer["aor"].as_str().unwrap_or_default());
    let rows = [
        ("always", "always"),
        ("busy", "busy"),
        ("no_answer", "no answer"),
        ("no_answer_after_s", "  after seconds"),
        ("not_reachable", "not reachable"),
        ("do_not_disturb", "do not disturb"),
    ];
    for (name, title) in rows {
        let value = &answer["services"][name];
        let by = if answer["chosen"].get(name).is_some() { "  (chosen)" } else { "" };
        let value =
            if name == "no_answer_after_s" && value.is_null() { "default".to_owned() } else { shown(value) };
        out.push_str(&format!("  {title:<16} {value}{by}\n"));
    }
    out
}
