//! `dialtone explain`: what the dial plan says about a call, rule by rule. It asks the function that the engine asks.

use std::fmt;
use std::time::Duration;

use dialtone_roles::dial_plan::{Call, Called, Caller, End, Explained, Verdict, decide};
use dialtone_roles::services::{CallCode, ForwardKind, ServiceCode, of_calls, of_services};
use dialtone_roles::settings::{Destination, Domain, Mode, Secret, Settings, StarAction};
use dialtone_wire::uri::{Uri, UriBuf};
use smol_str::{SmolStr, format_smolstr};
use thiserror::Error;

use crate::clock;
use crate::config::Config;
use crate::running::StartError;
use crate::server::ServerConfig;
use crate::utc;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The called number or name, `user@domain`, or a SIP or tel URI.
    pub number: String,
    /// Who calls: a user, `user@domain`, `trunk:NAME` or `anyone`; without one, some user of the called domain.
    pub from: Option<String>,
    /// When: RFC 3339, or without an offset in the time zone of the plan; without one, now.
    pub at: Option<String>,
}

/// Why a question has no answer.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// The settings can't be read.
    #[error(transparent)]
    Settings(#[from] StartError),
    /// The number is no number.
    #[error(
        "{0:?} is nothing that can be called: expected a number, a name, name@domain, or a SIP or tel URI"
    )]
    Number(String),
    /// The caller is none.
    #[error("{0:?} is nobody who calls: expected a user, user@domain, trunk:NAME or anyone")]
    From(String),
    /// The time is none.
    #[error("{0:?} is no time: expected something like 2026-11-22T21:30 or 2026-11-22T20:30:00Z")]
    At(String),
}

/// What the plan says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The number as it is compared.
    pub number: String,
    /// The called domain.
    pub domain: String,
    /// Whether that is one of this server.
    pub own: bool,
    /// Who calls.
    pub from: String,
    /// When, as RFC 3339.
    pub at: String,
    /// What a clock in the zone of the plan shows then.
    pub clock: String,
    /// What became of the rules that were looked at.
    pub rules: Vec<RuleLine>,
    /// A star code, which goes before the rules.
    pub star_code: bool,
    /// How many come after the one that matches.
    pub unseen: usize,
    /// The rule that counts.
    pub rule: Option<String>,
    /// Where the call goes.
    pub goes: Goes,
    /// Whether the caller has to show a password first.
    pub password: bool,
    /// The rule that would match a longer number.
    pub incomplete: Option<String>,
}

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleLine {
    /// Its name.
    pub name: String,
    /// Its line in the file.
    pub line: u32,
    /// Whether it matches.
    pub matches: bool,
    /// By what, or why not.
    pub why: String,
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Goes {
    /// One word: `user`, `robot`, `star-code`, `park`, `pick-up`, `group`, `trunk`, `uri`, `as-dialled`, `redirect`, `refuse`.
    pub way: &'static str,
    /// The user, group, trunk, URI, slot or extension, or what a star code does; empty where there is none.
    pub to: String,
    /// How long callers of a group wait while all of its members are busy, and where they go then.
    pub queue: Option<String>,
    /// The number that a trunk gets.
    pub number: Option<String>,
    /// The status of a redirection or refusal.
    pub status: Option<u16>,
    /// The contacts of it.
    pub contacts: Vec<String>,
    /// Why it is refused, in words.
    pub reason: Option<String>,
    /// Where the caller is told more (Error-Info).
    pub error_info: Option<String>,
}

/// Says what the dial plan of these settings does with a call.
///
/// # Errors
/// When the settings have problems, or the question has no meaning.
pub fn explain(config: &ServerConfig, question: &Question) -> Result<Explanation, ExplainError> {
    let (file, resolved) = config.resolve()?;
    let settings = resolved.settings(0, Secret([0; 32]), 0, Vec::new());
    explain_with(&settings, &file, question, clock::unix_start_s)
}

fn explain_with(
    settings: &Settings,
    file: &Config,
    question: &Question,
    now: impl FnOnce() -> u64,
) -> Result<Explanation, ExplainError> {
    let zone = &settings.dial_plan.zone;
    let (number, host) =
        called(settings, &question.number).ok_or_else(|| ExplainError::Number(question.number.clone()))?;
    let own = settings.domains.iter().find(|domain| domain.name == host || domain.aliases.contains(&host));
    let home = own.or(settings.domains.first()).map_or_else(SmolStr::default, |domain| domain.name.clone());
    let caller = match &question.from {
        None => Caller::User { user: SmolStr::default(), domain: home },
        Some(from) => caller(settings, from, home).ok_or_else(|| ExplainError::From(from.clone()))?,
    };
    let unix_s = match &question.at {
        None => now(),
        Some(at) => zone.read(at).ok_or_else(|| ExplainError::At(at.clone()))?,
    };
    let domain = own.map_or(Called::Foreign(&host), Called::Own);
    let call = Call { number: &number, domain, caller, unix_s };
    let plan = &settings.dial_plan;
    let mut rules = Vec::new();
    // A star code goes before the rules.
    let star_code = own.and_then(|own| of_services(settings, own, &number));
    let is_star_code = star_code.is_some();
    let planned = decide(settings, &call, |index, verdict| {
        let rule = &plan.rules[index];
        if is_star_code {
            return;
        }
        rules.push(RuleLine {
            name: rule.name.to_string(),
            line: file.rule.get(index).and_then(|entry| entry.name.place).map_or(0, |place| place.line),
            matches: matches!(verdict, Verdict::Matches(_)),
            why: Explained { rule, verdict, call: &call, plan }.to_string(),
        });
    });
    let name = |index: usize| plan.rules.get(index).map(|rule| rule.name.to_string());
    Ok(Explanation {
        domain: own.map_or(&host, |domain| &domain.name).to_string(),
        own: own.is_some(),
        from: match &call.caller {
            Caller::User { user, domain } if user.is_empty() => format!("a user of {domain}"),
            caller => caller.to_string(),
        },
        at: utc::rfc3339(unix_s),
        clock: zone.write(unix_s),
        unseen: if is_star_code { 0 } else { plan.rules.len().saturating_sub(rules.len()) },
        rules,
        star_code: is_star_code,
        rule: planned.rule.filter(|_| !is_star_code).and_then(name),
        goes: match star_code {
            Some(code) => Goes::star_code(code),
            None => {
                let asked = planned.rule.and_then(|index| plan.rules.get(index)?.mode);
                bridged(settings, own, asked, &number, goes(settings, &number, planned.end))
            }
        },
        password: (planned.asks || is_star_code) && settings.authenticate,
        incomplete: planned.incomplete.filter(|_| !is_star_code).and_then(name),
        number: number.to_string(),
    })
}

/// The number and the domain of what is called.
fn called(settings: &Settings, text: &str) -> Option<(SmolStr, SmolStr)> {
    let first = || settings.domains.first().map(|domain| domain.name.clone());
    let is_uri = ["sip:", "sips:", "tel:"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let text = match (is_uri, text.contains('@')) {
        (true, _) => SmolStr::new(text),
        (false, true) => format_smolstr!("sip:{text}"),
        (false, false) => {
            let is_name =
                !text.is_empty() && !text.chars().any(|one| one.is_whitespace() || one.is_control());
            return is_name.then(|| Some((SmolStr::new(text), first()?)))?;
        }
    };
    let uri = UriBuf::parse(&text).ok()?;
    match uri.uri() {
        Uri::Sip(sip) => {
            let host = match settings.domain_of(&sip.host, sip.port) {
                Some(domain) => domain.name.clone(),
                None => sip.host.to_string().trim_end_matches('.').to_ascii_lowercase().into(),
            };
            Some((sip.user_unescaped().unwrap_or_default(), host))
        }
        Uri::Tel(tel) => Some((tel.digits().collect(), first()?)),
        _ => None,
    }
}

fn caller(settings: &Settings, text: &str, home: SmolStr) -> Option<Caller> {
    if text == "anyone" {
        return Some(Caller::Stranger);
    }
    if let Some(trunk) = text.strip_prefix("trunk:") {
        return (!trunk.is_empty()).then(|| Caller::Trunk(trunk.into()));
    }
    let text = text.strip_prefix("sip:").unwrap_or(text);
    if !text.contains('@') {
        return (!text.is_empty()).then(|| Caller::User { user: text.into(), domain: home });
    }
    let uri = UriBuf::parse(&format_smolstr!("sip:{text}")).ok()?;
    let uri = uri.uri();
    let sip = uri.as_sip()?;
    Some(match settings.domain_of(&sip.host, sip.port) {
        Some(domain) => Caller::User { user: sip.user_unescaped()?, domain: domain.name.clone() },
        None => Caller::Stranger,
    })
}

impl Goes {
    /// To the server, which changes what is done with the calls of who calls.
    fn star_code(code: ServiceCode<'_>) -> Goes {
        let (action, number) = match code {
            ServiceCode::Changes { action, number } => (action, number),
            // The server says the same.
            ServiceCode::Wrong(why) => return Goes::refused(484, why),
        };
        let when = |kind| match kind {
            ForwardKind::Always => "all calls",
            ForwardKind::Busy => "calls while he is busy",
            ForwardKind::NoAnswer => "calls that he does not answer",
            ForwardKind::NotReachable => "calls while he has no phone",
        };
        let to = match action {
            StarAction::Forward(kind) => format!("{} go to {number}", when(kind)),
            StarAction::Stop(kind) => format!("{} are no longer forwarded", when(kind)),
            StarAction::DoNotDisturb => "he is not disturbed".into(),
            StarAction::Disturb => "he may be disturbed again".into(),
            // They change nothing, and are read as codes for calls.
            StarAction::Park | StarAction::PickUp => String::new(),
        };
        Goes { way: "star-code", to, ..Goes::nowhere() }
    }

    fn refused(status: u16, why: &str) -> Goes {
        Goes { way: "refuse", status: Some(status), reason: Some(why.into()), ..Goes::nowhere() }
    }

    const fn nowhere() -> Goes {
        Goes {
            way: "",
            to: String::new(),
            queue: None,
            number: None,
            status: None,
            contacts: Vec::new(),
            reason: None,
            error_info: None,
        }
    }
}

/// What the back-to-back user agent makes of a call: a code for calls, or a queue. A rule may choose the mode.
fn bridged(settings: &Settings, own: Option<&Domain>, asked: Option<Mode>, number: &str, goes: Goes) -> Goes {
    let Some(domain) = own.filter(|own| asked.unwrap_or(own.mode) == Mode::B2bua) else { return goes };
    match (of_calls(&settings.star_codes, number), goes.way) {
        (_, "refuse") => goes,
        (Some(CallCode::Slot(slot)), "user") => Goes { way: "park", to: slot.into(), ..goes },
        (Some(CallCode::PickUp(extension)), "user") => {
            Goes { way: "pick-up", to: format!("{extension}@{}", domain.name), ..goes }
        }
        (Some(_), _) => Goes::refused(403, "a rule leads this code elsewhere"),
        (None, "group") => {
            let queue = settings.bridges.queues.get(goes.to.as_str()).map(|queue| {
                let time = time_text(queue.time);
                match queue.otherwise.as_ref().map(destination_text) {
                    Some(otherwise) => format!("{time}; then it goes to {otherwise}"),
                    None => time,
                }
            });
            Goes { queue, ..goes }
        }
        (None, _) => goes,
    }
}

/// As the settings write it.
fn time_text(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds > 0 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

fn destination_text(destination: &Destination) -> String {
    match destination {
        Destination::User(aor) => aor.trim_start_matches("sip:").to_owned(),
        Destination::Group(group) => format!("the group {group}"),
        Destination::Trunk { trunk, number } => format!("{number} over the trunk {trunk}"),
        Destination::Uri(uri) => uri.to_string(),
    }
}

fn goes(settings: &Settings, called: &str, end: End) -> Goes {
    let none = Goes::nowhere();
    match end {
        End::User { user, domain } => {
            let to = format!("{user}@{domain}");
            if settings.robots.iter().any(|robot| robot.user == user) {
                return Goes { way: "robot", to, ..none };
            }
            match settings.group_called(&user, &domain) {
                Some(group) => Goes { way: "group", to: group.name.to_string(), ..none },
                None => Goes { way: "user", to, ..none },
            }
        }
        End::Group(group) => Goes { way: "group", to: group.to_string(), ..none },
        End::Trunk { trunk, number } => {
            Goes { way: "trunk", to: trunk.to_string(), number: Some(number.to_string()), ..none }
        }
        End::Uri(uri) => Goes { way: "uri", to: uri.to_string(), ..none },
        End::AsDialled => Goes { way: "as-dialled", ..none },
        End::Redirect { status, contacts } => Goes {
            way: "redirect",
            status: Some(status.code()),
            contacts: contacts.iter().map(ToString::to_string).collect(),
            ..none
        },
        End::Refuse { status, reason, error_info } => Goes {
            way: "refuse",
            status: Some(status.code()),
            reason: reason.map(|reason| reason.to_string()),
            error_info: error_info.map(|uri| uri.to_string()),
            ..none
        },
        End::Ambiguous { users } => {
            let users: Vec<String> = users.iter().map(|(user, domain)| format!("{user}@{domain}")).collect();
            let status = settings.dial_plan.ambiguous.status().code();
            let reason = Some(format!("{called} is an alias of {}", users.join(" and ")));
            Goes { way: "refuse", status: Some(status), reason, ..none }
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { number, domain, from, clock, .. } = self;
        let kind = if self.own { "" } else { ", which is not of this server" };
        writeln!(f, "{number} in {domain}{kind}, called by {from}, {clock}\n")?;
        let width = self.rules.iter().map(|rule| rule.name.chars().count()).max().unwrap_or(0);
        for RuleLine { name, line, why, .. } in &self.rules {
            writeln!(f, "  {name:<width$}  line {line:<4}  {why}")?;
        }
        if self.unseen > 0 {
            let rules = if self.unseen == 1 { "rule comes" } else { "rules come" };
            writeln!(f, "  {} more {rules} after it", self.unseen)?;
        }
        if self.star_code {
            writeln!(f, "  no rule is asked")?;
        } else if self.rules.is_empty() {
            writeln!(f, "  there is no rule")?;
        } else if self.rule.is_none() {
            writeln!(f, "  no rule matches")?;
        }
        let Goes { way, to, queue, number: goes_on, status, contacts, reason, error_info } = &self.goes;
        let status = status.map(|status| status.to_string()).unwrap_or_default();
        f.write_str("\n")?;
        match *way {
            "user" => write!(f, "It goes to the phones of {to}")?,
            "robot" => write!(f, "The server answers itself, as {to}")?,
            "star-code" => {
                write!(f, "A star code: the server changes what is done with the caller's own calls: {to}")?;
            }
            "park" => write!(
                f,
                "It takes the call that is parked in slot {to}; who transfers a call there parks it"
            )?,
            "pick-up" => write!(f, "It takes the call that rings at {to}")?,
            "group" => write!(f, "It goes to the group {to}")?,
            "trunk" => {
                write!(f, "It goes to {} over the trunk {to}", goes_on.as_deref().unwrap_or_default())?;
            }
            "uri" => write!(f, "It goes to {to}")?,
            "as-dialled" => write!(f, "It goes to {domain}")?,
            "redirect" => write!(f, "{status}: the caller is sent to {}", contacts.join(", "))?,
            _ => write!(f, "{status}: it is refused")?,
        }
        if let Some(queue) = queue {
            write!(f, ", where callers wait while all are busy, for {queue}")?;
        }
        if let Some(reason) = reason {
            write!(f, ": {reason}")?;
        }
        if let Some(uri) = error_info {
            write!(f, ", and told more by {uri}")?;
        }
        f.write_str(if self.password { ", after the caller has shown a password.\n" } else { ".\n" })?;
        if let Some(incomplete) = &self.incomplete {
            writeln!(
                f,
                "If nobody has this number, it is refused with 484: the rule {incomplete} needs more digits."
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
