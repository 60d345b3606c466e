//! `[[group]]`: who rings when a group is called.

use std::collections::BTreeMap;
use std::time::Duration;

use dialtone_roles::settings::{Destination, Domain, Group, Member, Mode, Queue, Strategy};
use dialtone_wire::uri::{UriBuf, escape_user};
use smol_str::{SmolStr, format_smolstr};
use toml::de::{DeTable, DeValue};

use super::address::{HostName, UserName};
use super::dial_plan::To;
use super::keys::Config;
use super::problem::{Place, Remedy, What};
use super::value::{Fault, Scalar, choice, malformed, quoted, shortened, wrong_type};

const DAY: Duration = Duration::from_secs(86_400);

choice!(
    Strategy, "in which order members ring",
    "all" => Strategy::All, "in-turn" => Strategy::InTurn
);

/// Who is meant: a user, another group, or a URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callee {
    /// A user, `bob` or `bob@example.com`.
    User(UserName, Option<HostName>),
    /// A group.
    Group(UserName),
    /// A URI.
    Uri(UriBuf),
}

impl Callee {
    const EXAMPLE: &'static str =
        "\"bob\", \"bob@example.com\", \"group:night\" or \"uri:sip:desk@192.0.2.9\"";

    fn from_text(text: &str) -> Option<Callee> {
        let name = |text: &str| UserName::parse(&DeValue::String(text.into()), &()).ok();
        if let Some(group) = text.strip_prefix("group:") {
            return name(group).map(Callee::Group);
        }
        if let Some(uri) = text.strip_prefix("uri:") {
            let uri = UriBuf::parse(uri).ok()?;
            return uri.uri().as_sip().is_some().then_some(Callee::Uri(uri));
        }
        let user = text.strip_prefix("user:").unwrap_or(text);
        match user.split_once('@') {
            Some((user, domain)) => Some(Callee::User(name(user)?, Some(domain.parse().ok()?))),
            None => name(user).map(|user| Callee::User(user, None)),
        }
    }

    fn destination(&self, domain: &str) -> Destination {
        match self {
            Callee::User(user, own) => {
                let domain = own.as_ref().map_or(domain, HostName::as_str);
                Destination::User(format_smolstr!("sip:{}@{domain}", escape_user(user.as_str())))
            }
            Callee::Group(name) => Destination::Group(name.as_str().into()),
            Callee::Uri(uri) => Destination::Uri(uri.clone()),
        }
    }
}

impl Scalar for Callee {
    type Bounds = ();
    const KIND: &'static str = "a user, group:NAME or uri:URI";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<Callee, Fault> {
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, Self::EXAMPLE))?;
        Callee::from_text(text).ok_or_else(|| malformed(text, Self::KIND, Self::EXAMPLE))
    }

    fn write(&self) -> String {
        match self {
            Callee::User(user, None) => quoted(user.as_str()),
            Callee::User(user, Some(domain)) => quoted(&format!("{}@{}", user.as_str(), domain.as_str())),
            Callee::Group(name) => quoted(&format!("group:{}", name.as_str())),
            Callee::Uri(uri) => quoted(&format!("uri:{}", uri.as_str())),
        }
    }

    fn example((): &()) -> String {
        quoted("bob")
    }
}

/// One member: who, and times of his own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberEntry {
    callee: Callee,
    delay: Option<Duration>,
    ring: Option<Duration>,
}

impl MemberEntry {
    const EXAMPLE: &'static str = "\"bob\" or { to = \"bob\", delay = \"5s\", ring = \"20s\" }";

    fn from_table(table: &DeTable<'_>) -> Result<MemberEntry, Fault> {
        let mut member = (None, None, None);
        for (key, value) in table.iter() {
            let value = value.get_ref();
            let from = |least| Duration::parse(value, &(Duration::from_secs(least)..=DAY));
            match key.get_ref().as_ref() {
                "to" => member.0 = Some(Callee::parse(value, &())?),
                "delay" => member.1 = Some(from(0)?),
                "ring" => member.2 = Some(from(1)?),
                other => {
                    return Err(malformed(other, "`to`, `delay` or `ring`", Self::EXAMPLE));
                }
            }
        }
        match member {
            (Some(callee), delay, ring) => Ok(MemberEntry { callee, delay, ring }),
            (None, ..) => Err((What::Missing("to"), Remedy::Example(Self::EXAMPLE))),
        }
    }
}

impl Scalar for MemberEntry {
    type Bounds = ();
    const KIND: &'static str = "a user, group:NAME or uri:URI, or a table with `to`, `delay` and `ring`";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<MemberEntry, Fault> {
        match value {
            DeValue::Table(table) => MemberEntry::from_table(table),
            DeValue::String(_) => {
                Ok(MemberEntry { callee: Callee::parse(value, &())?, delay: None, ring: None })
            }
            other => Err(wrong_type(other, Self::KIND, Self::EXAMPLE)),
        }
    }

    fn write(&self) -> String {
        let callee = Scalar::write(&self.callee);
        if self.delay.is_none() && self.ring.is_none() {
            return callee;
        }
        let mut table = format!("{{ to = {callee}");
        for (key, time) in [("delay", self.delay), ("ring", self.ring)] {
            if let Some(time) = time {
                table.push_str(&format!(", {key} = {}", Scalar::write(&time)));
            }
        }
        table + " }"
    }

    fn example((): &()) -> String {
        quoted("bob")
    }
}

/// A problem of an entry: where, at which key, what, and what to do.
pub(super) type GroupProblem = (Option<Place>, &'static str, What, Remedy);

/// The groups of the file, for these domains.
pub(super) fn groups(config: &Config, domains: &[Domain]) -> (Vec<Group>, Vec<GroupProblem>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut problems = Vec::new();
    for entry in &config.group {
        let Some(name) = &entry.name.value.0 else {
            let remedy = Remedy::Add("name = \"sales\"");
            problems.push((entry.name.place, "group", What::Missing("name"), remedy));
            continue;
        };
        let named = |domain: &&Domain| match &entry.domain.value {
            Some(name) => domain.name == name.as_str(),
            None => true,
        };
        let Some(domain) = domains.iter().find(named).map(|domain| domain.name.clone()) else {
            let came = entry.domain.value.as_ref().map_or("", HostName::as_str);
            let what = What::Malformed { expected: "a domain of this server", came: shortened(came) };
            problems.push((entry.domain.place, "group.domain", what, Remedy::Header("domain")));
            continue;
        };
        let mut numbers: Vec<SmolStr> = vec![name.as_str().into()];
        numbers.extend(entry.numbers.value.iter().map(|number| SmolStr::new(number.as_str())));
        let taken = |number: &&SmolStr| {
            groups.iter().any(|other| other.domain == domain && other.numbers.contains(*number))
        };
        if let Some(number) = numbers.iter().find(taken) {
            let what = What::Twice(number.as_str().into());
            problems.push((entry.name.place, "group", what, Remedy::KeepOne));
        }
        if groups.iter().any(|other| other.name == name.as_str()) {
            let what = What::Twice(name.as_str().into());
            problems.push((entry.name.place, "group.name", what, Remedy::KeepOne));
        }
        let listed = &entry.members.value.0.0;
        if listed.is_empty() {
            let remedy = Remedy::Add("members = [\"bob\", \"carol\"]");
            problems.push((entry.members.place, "group", What::Missing("members"), remedy));
        }
        let members = listed.iter().map(|member| Member {
            destination: member.callee.destination(&domain),
            delay: member.delay.unwrap_or_default(),
            ring: Some(member.ring.unwrap_or(entry.ring.value)),
        });
        groups.push(Group {
            name: name.as_str().into(),
            members: members.collect(),
            numbers,
            strategy: entry.strategy.value,
            otherwise: entry.otherwise.value.as_ref().map(|callee| callee.destination(&domain)),
            domain,
        });
    }
    let is_known = |name: &str| {
        let mut names = config.group.iter().filter_map(|entry| entry.name.value.0.as_ref());
        names.any(|known| known.as_str() == name)
    };
    let mut named: Vec<(&str, Option<Place>, &'static str)> = Vec::new();
    for entry in &config.group {
        let members = entry
            .members
            .value
            .0
            .0
            .iter()
            .map(|member| (&member.callee, entry.members.place, "group.members"));
        let otherwise =
            entry.otherwise.value.iter().map(|callee| (callee, entry.otherwise.place, "group.otherwise"));
        for (callee, place, key) in members.chain(otherwise) {
            if let Callee::Group(name) = callee {
                named.push((name.as_str(), place, key));
            }
        }
    }
    for rule in &config.rule {
        if let Some(To::Group(name)) = &rule.to.value.0 {
            named.push((name, rule.to.place, "rule.to"));
        }
    }
    for (name, place, key) in named.into_iter().filter(|(name, ..)| !is_known(name)) {
        let what = What::Malformed { expected: "the name of a group", came: shortened(name) };
        problems.push((place, key, what, Remedy::Header("group")));
    }
    (groups, problems)
}

/// Takes the queues out of groups whose callers wait: where the call goes when nobody has answered counts after it.
pub(super) fn queues(config: &Config, domains: &[Domain], groups: &mut [Group]) -> BTreeMap<SmolStr, Queue> {
    let mut queues = BTreeMap::new();
    for entry in &config.group {
        let (Some(time), Some(name)) = (entry.queue.value, &entry.name.value.0) else { continue };
        let Some(group) = groups.iter_mut().find(|group| group.name == name.as_str()) else { continue };
        let is_bridged =
            domains.iter().any(|domain| domain.name == group.domain && domain.mode == Mode::B2bua);
        if is_bridged {
            queues.insert(group.name.clone(), Queue { time, otherwise: group.otherwise.take() });
        }
    }
    queues
}

#[cfg(test)]
mod tests;
