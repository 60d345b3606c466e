//! Where a call goes by the dial plan: a pure function of the settings and of what is known about the call. The engine
//! and `dialtone explain` ask the same function; the second one also looks at what it says about each rule.
//!
//! Rules are tried in their order and the first one that matches counts. What no rule matches goes to the user of a
//! domain of ours, or, for a foreign domain, is refused unless [`Settings::foreign`] says otherwise. A user's name may
//! be an alias: that is looked at last, wherever the name came from.

use std::fmt;

use dialtone_wire::Status;
use dialtone_wire::uri::{UriBuf, escape_user};
use smol_str::{SmolStr, format_smolstr};

use crate::settings::dial_plan::{
    Action, CallerPattern, DialPlan, DomainPattern, Fit, Pattern, Rule, thousandths,
};
use crate::settings::{Domain, Foreign, Settings};

/// What a plan is asked about.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The called number or name: the user part without escapes, or the digits of a tel URI.
    pub number: &'a str,
    /// The called domain.
    pub domain: Called<'a>,
    /// Who calls.
    pub caller: Caller,
    /// When, in seconds of Unix time.
    pub unix_s: u64,
}

/// The called domain.
#[derive(Clone, Copy, Debug)]
pub enum Called<'a> {
    /// One of ours.
    Own(&'a Domain),
    /// Another one, in lower case.
    Foreign(&'a str),
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A user of a domain of ours. Who is one only by his own word has to show his password before anything is done.
    User {
        /// The user part.
        user: SmolStr,
        /// The name of the domain.
        domain: SmolStr,
    },
    /// Somebody behind a trunk.
    Trunk(SmolStr),
    /// Anybody else.
    Stranger,
}

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It matches: by this pattern, if it has any.
    Matches(Option<&'a Pattern>),
    /// The domain is another one.
    Domain,
    /// The number is another one.
    Number,
    /// The number fits this pattern as far as it goes, and digits are missing.
    TooShort(&'a Pattern),
    /// Somebody else calls.
    Caller,
    /// The time is another one.
    Time,
}

/// What is to be done with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Index of the rule that says so; `None` if no rule matches.
    pub rule: Option<usize>,
    /// Where it goes.
    pub end: End,
    /// Whether the caller has to show a password first, if passwords are asked for at all.
    pub asks: bool,
    /// The name that was an alias of where it goes.
    pub alias: Option<SmolStr>,
    /// Index of a rule that would match if more digits were dialled.
    pub incomplete: Option<usize>,
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// To a user of ours.
    User {
        /// The user part.
        user: SmolStr,
        /// The name of the domain.
        domain: SmolStr,
    },
    /// To a group.
    Group(SmolStr),
    /// To a number behind a trunk.
    Trunk {
        /// The name of the trunk.
        trunk: SmolStr,
        /// The number.
        number: SmolStr,
    },
    /// To a URI.
    Uri(UriBuf),
    /// Where the Request-URI says, in a foreign domain.
    AsDialled,
    /// The caller is sent elsewhere.
    Redirect {
        /// 300, 301, 302, 305 or 380.
        status: Status,
        /// Contact values, the best first.
        contacts: Vec<SmolStr>,
    },
    /// Refused.
    Refuse {
        /// With what.
        status: Status,
        /// Why, in words for the caller.
        reason: Option<SmolStr>,
        /// Where he is told more (Error-Info).
        error_info: Option<UriBuf>,
    },
    /// Refused with 485: the name means several users.
    Ambiguous {
        /// The users and their domains.
        users: Vec<(SmolStr, SmolStr)>,
    },
}

/// Decides about a call; `see` is told what became of each rule, in their order, up to the one that matches.
pub fn decide<'s>(
    settings: &'s Settings,
    call: &Call<'_>,
    mut see: impl FnMut(usize, &Verdict<'s>),
) -> Planned {
    let plan = &settings.dial_plan;
    let international = plan.numbering.international(call.number);
    let mut incomplete = None;
    for (index, rule) in plan.rules.iter().enumerate() {
        let verdict = judge(rule, call, international.as_deref());
        see(index, &verdict);
        match verdict {
            Verdict::Matches(pattern) => {
                let is_international = pattern.is_some_and(Pattern::is_international);
                let number = international.as_deref().filter(|_| is_international).unwrap_or(call.number);
                let (end, alias) = end_of(settings, rule, number, call);
                let asks = asks(rule, &call.caller);
                return Planned { rule: Some(index), end, asks, alias, incomplete: None };
            }
            Verdict::TooShort(_) => incomplete = incomplete.or(Some(index)),
            Verdict::Domain | Verdict::Number | Verdict::Caller | Verdict::Time => {}
        }
    }
    let asks = !matches!(call.caller, Caller::Trunk(_));
    let (end, alias) = match call.domain {
        Called::Own(domain) => user_or_alias(plan, call.number.into(), domain.name.clone()),
        Called::Foreign(_) => (End::AsDialled, None),
    };
    match (call.domain, settings.foreign) {
        (Called::Foreign(_), Foreign::Refuse) => {
            let end = End::Refuse {
                status: Status::of(403),
                reason: Some(SmolStr::new_static(FOREIGN)),
                error_info: None,
            };
            Planned { rule: None, end, asks: false, alias, incomplete }
        }
        (Called::Foreign(_), Foreign::Open) => Planned { rule: None, end, asks: false, alias, incomplete },
        // Who comes in over a trunk has no password; without a rule he reaches users and no foreign domain.
        (Called::Foreign(_), Foreign::Authenticated) => {
            Planned { rule: None, end, asks: true, alias, incomplete }
        }
        (Called::Own(_), _) => Planned { rule: None, end, asks, alias, incomplete },
    }
}

/// Why a call to a foreign domain is refused.
const FOREIGN: &str = "no rule allows calls to this domain";

/// What becomes of one rule. Time comes last: it costs most.
fn judge<'s>(rule: &'s Rule, call: &Call<'_>, international: Option<&str>) -> Verdict<'s> {
    if !is_domain(rule, call.domain) {
        return Verdict::Domain;
    }
    let mut short = None;
    let mut full = None;
    for pattern in &rule.numbers {
        let number =
            if pattern.is_international() { international.unwrap_or(call.number) } else { call.number };
        match pattern.fit(number) {
            Fit::Full => {
                full = Some(pattern);
                break;
            }
            Fit::TooShort => short = short.or(Some(pattern)),
            Fit::No => {}
        }
    }
    if full.is_none() && short.is_none() && !rule.numbers.is_empty() {
        return Verdict::Number;
    }
    if !is_caller(rule, &call.caller) {
        return Verdict::Caller;
    }
    if rule.times.as_ref().is_some_and(|times| !times.include(call.unix_s)) {
        return Verdict::Time;
    }
    match short.filter(|_| full.is_none()) {
        Some(short) => Verdict::TooShort(short),
        None => Verdict::Matches(full),
    }
}

fn is_domain(rule: &Rule, called: Called<'_>) -> bool {
    let fits = |pattern: &DomainPattern, name: &str| match pattern {
        DomainPattern::Any => true,
        DomainPattern::Name(own) => own == name,
        DomainPattern::Below(own) => {
            name.strip_suffix(own.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        }
    };
    match called {
        Called::Own(domain) => {
            let names = || std::iter::once(&domain.name).chain(&domain.aliases);
            rule.domains.is_empty()
                || rule.domains.iter().any(|pattern| names().any(|name| fits(pattern, name)))
        }
        Called::Foreign(name) => rule.domains.iter().any(|pattern| fits(pattern, name)),
    }
}

fn is_caller(rule: &Rule, caller: &Caller) -> bool {
    if rule.callers.is_empty() {
        return matches!(rule.action, Action::Refuse { .. }) || matches!(caller, Caller::User { .. });
    }
    rule.callers.iter().any(|pattern| match (pattern, caller) {
        (CallerPattern::Anyone, _) | (CallerPattern::Users, Caller::User { .. }) => true,
        (CallerPattern::User { user, domain }, Caller::User { user: calls, domain: from }) => {
            user == calls && domain.as_ref().is_none_or(|domain| domain == from)
        }
        (CallerPattern::Trunk(trunk), Caller::Trunk(from)) => trunk == from,
        (CallerPattern::Users | CallerPattern::User { .. } | CallerPattern::Trunk(_), _) => false,
    })
}

/// Whether somebody has to show a password before a rule is carried out. Whoever says that he is a user of ours has
/// to, also where anyone may call: nobody calls in another one's name. What is refused to all is refused at once.
fn asks(rule: &Rule, caller: &Caller) -> bool {
    let is_for_all = rule.callers.is_empty() || rule.callers.contains(&CallerPattern::Anyone);
    match caller {
        Caller::User { .. } => !(is_for_all && matches!(rule.action, Action::Refuse { .. })),
        Caller::Trunk(_) | Caller::Stranger => false,
    }
}

/// Where a rule leads, and the alias on the way.
fn end_of(settings: &Settings, rule: &Rule, number: &str, call: &Call<'_>) -> (End, Option<SmolStr>) {
    let plan = &settings.dial_plan;
    let number = rewritten(rule, number);
    let called = match call.domain {
        Called::Own(domain) => Some(domain.name.clone()),
        Called::Foreign(_) => None,
    };
    let uri = |text: SmolStr| match UriBuf::parse(&text) {
        Ok(uri) => End::Uri(uri),
        // The settings let only texts through that are URIs with any number in them.
        Err(_) => End::Refuse { status: Status::of(500), reason: None, error_info: None },
    };
    let end = match &rule.action {
        Action::AsDialled => match (called, call.domain) {
            (Some(domain), _) => return user_or_alias(plan, number, domain),
            (None, Called::Foreign(host)) if number != call.number => {
                uri(format_smolstr!("sip:{}@{host}", escape_user(&number)))
            }
            (None, _) => End::AsDialled,
        },
        Action::User { user, domain } => {
            let user = user.with(&number);
            let first = || settings.domains.first().map(|domain| domain.name.clone());
            return match domain.clone().or(called).or_else(first) {
                Some(domain) => user_or_alias(plan, user, domain),
                None => (End::Refuse { status: Status::of(404), reason: None, error_info: None }, None),
            };
        }
        Action::Group(group) => End::Group(group.clone()),
        Action::Trunk(trunk) => End::Trunk { trunk: trunk.clone(), number },
        Action::Uri(template) => uri(template.with_escaped(&number)),
        Action::Redirect { status, contacts } => {
            let contacts = contacts.iter().map(|contact| contact.with_escaped(&number));
            End::Redirect { status: *status, contacts: ranked(contacts.collect()) }
        }
        Action::Refuse { status, reason, error_info } => {
            End::Refuse { status: *status, reason: reason.clone(), error_info: error_info.clone() }
        }
    };
    (end, None)
}

/// The number as the rule passes it on.
fn rewritten(rule: &Rule, number: &str) -> SmolStr {
    if rule.strip == 0 && rule.prepend.is_empty() {
        return SmolStr::new(number);
    }
    let rest = number.char_indices().nth(rule.strip).map_or("", |(at, _)| &number[at..]);
    format_smolstr!("{}{rest}", rule.prepend)
}

fn user_or_alias(plan: &DialPlan, name: SmolStr, domain: SmolStr) -> (End, Option<SmolStr>) {
    if plan.aliases.is_empty() {
        return (End::User { user: name, domain }, None);
    }
    let mut users = plan.aliases.of(&name, &domain);
    match (users.pop(), users.is_empty()) {
        (None, _) => (End::User { user: name, domain }, None),
        (Some((user, domain)), true) => (End::User { user, domain }, Some(name)),
        (Some(last), false) => {
            users.push(last);
            (End::Ambiguous { users }, Some(name))
        }
    }
}

/// Contact values by their `q`, the best first; those of equal `q` in the order of the rule. Without one it is 1
/// (RFC 3261 §20.10 leaves it open; callers try those first).
fn ranked(mut contacts: Vec<SmolStr>) -> Vec<SmolStr> {
    contacts.sort_by_key(|contact| {
        let read = dialtone_wire::headers::NameAddr::parse(contact.as_bytes()).ok();
        let q = read.and_then(|contact| contact.params.value("q").and_then(thousandths));
        std::cmp::Reverse(q.unwrap_or(1000))
    });
    contacts
}

/// Why a rule does not match, or by what it does, in words for an operator.
#[derive(Debug)]
pub struct Explained<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// What became of it.
    pub verdict: &'a Verdict<'a>,
    /// The call.
    pub call: &'a Call<'a>,
    /// The plan.
    pub plan: &'a DialPlan,
}

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explained { rule, verdict, call, plan } = self;
        match verdict {
            Verdict::Matches(None) => f.write_str("matches any number"),
            Verdict::Matches(Some(pattern)) => write!(f, "matches `{pattern}`"),
            Verdict::TooShort(pattern) => {
                write!(f, "not matched: `{}` has too few digits for `{pattern}`", call.number)
            }
            Verdict::Number => {
                write!(f, "not matched: `{}`", call.number)?;
                let international = plan.numbering.international(call.number);
                if let Some(number) = international.filter(|number| number != call.number) {
                    write!(f, " (`{number}`)")?;
                }
                f.write_str(" is not ")?;
                list(f, rule.numbers.iter())
            }
            Verdict::Domain => {
                let name = match call.domain {
                    Called::Own(domain) => domain.name.as_str(),
                    Called::Foreign(name) => name,
                };
                if rule.domains.is_empty() {
                    return write!(
                        f,
                        "not matched: without `domain` a rule is not for foreign domains, as {name} is"
                    );
                }
                write!(f, "not matched: the domain {name} is not ")?;
                list(f, rule.domains.iter())
            }
            Verdict::Caller => {
                write!(f, "not matched: the caller is {}, not ", call.caller)?;
                if rule.callers.is_empty() { f.write_str("`users`") } else { list(f, rule.callers.iter()) }
            }
            Verdict::Time => {
                let Some(times) = &rule.times else { return f.write_str("not matched: another time") };
                f.write_str("not matched: it is ")?;
                if let Some(local) = times.zone.local(call.unix_s) {
                    let day = crate::settings::dial_plan::day_word(local.weekday());
                    write!(f, "{day} {:02}:{:02}", local.hour(), local.minute())?;
                }
                write!(f, " in {}, not ", times.zone.as_str())?;
                list(f, times.days.iter())?;
                f.write_str(if times.days.is_empty() || times.hours.is_empty() { "" } else { " at " })?;
                list(f, times.hours.iter())
            }
        }
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = T>) -> fmt::Result {
    for (index, item) in items.enumerate() {
        write!(f, "{}`{item}`", if index == 0 { "" } else { " or " })?;
    }
    Ok(())
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caller::User { user, domain } => write!(f, "{user}@{domain}"),
            Caller::Trunk(trunk) => write!(f, "trunk:{trunk}"),
            Caller::Stranger => f.write_str("nobody of ours"),
        }
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DomainPattern::Any => f.write_str("*"),
            DomainPattern::Name(name) => f.write_str(name),
            DomainPattern::Below(name) => write!(f, "*.{name}"),
        }
    }
}

impl fmt::Display for CallerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallerPattern::Anyone => f.write_str("anyone"),
            CallerPattern::Users => f.write_str("users"),
            CallerPattern::User { user, domain: None } => f.write_str(user),
            CallerPattern::User { user, domain: Some(domain) } => write!(f, "{user}@{domain}"),
            CallerPattern::Trunk(trunk) => write!(f, "trunk:{trunk}"),
        }
    }
}

#[cfg(test)]
mod tests;
