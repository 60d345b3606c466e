//! The values of `[dial_plan]`, `[[rule]]` and `[[alias]]`, and what is checked about them together.

use dialtone_roles::settings::Domain;
use dialtone_roles::settings::dial_plan::{
    Action, Alias, Aliases, Ambiguous, CallerPattern, Days, DialPlan, DomainPattern, Hours, Numbering,
    Pattern, Rule, Template, Times, Zone,
};
use dialtone_wire::Status;
use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;
use toml::Spanned;
use toml::de::DeValue;

use super::address::HostName;
use super::keys::{AliasEntry, RuleEntry};
use super::problem::{Place, Remedy, What};
use super::resolve::Check;
use super::value::{Fault, Faults, Scalar, Value, malformed, quoted, shortened, wrong_type};

/// One entry or several: `"112"` or `["112", "911"]`.
#[derive(Clone, Debug, PartialEq)]
pub struct OneOrMore<T>(pub Vec<T>);

impl<T> Default for OneOrMore<T> {
    fn default() -> OneOrMore<T> {
        OneOrMore(Vec::new())
    }
}

impl<T: Scalar<Bounds = ()>> Value for OneOrMore<T> {
    type Bounds = ();
    const OPTIONAL: bool = true;

    fn read(value: &Spanned<DeValue<'_>>, bounds: &(), faults: &mut Faults) -> Option<OneOrMore<T>> {
        if value.get_ref().is_array() {
            return <Vec<T> as Value>::read(value, bounds, faults).map(OneOrMore);
        }
        <T as Value>::read(value, bounds, faults).map(|one| OneOrMore(vec![one]))
    }

    fn write(&self) -> String {
        if self.0.is_empty() { quoted("") } else { <Vec<T> as Value>::write(&self.0) }
    }

    fn kind() -> String {
        format!("{}; or a list of them", T::KIND)
    }

    fn limits((): &()) -> String {
        <Vec<T> as Value>::limits(&())
    }

    fn example((): &()) -> String {
        <T as Scalar>::example(&())
    }
}

/// The first of several examples: a text in quotes.
fn first_of(examples: &'static str) -> &'static str {
    let end = examples.match_indices('"').nth(1).map_or(examples.len(), |(at, _)| at + 1);
    &examples[..end]
}

/// Implements [`Scalar`] for a value that is a text.
macro_rules! text {
    ($Type:ty, $kind:literal, $example:literal, $parse:expr, $write:expr) => {
        impl Scalar for $Type {
            type Bounds = ();
            const KIND: &'static str = $kind;

            fn parse(value: &DeValue<'_>, (): &()) -> Result<$Type, Fault> {
                let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, $example))?;
                let parse: fn(&str) -> Option<$Type> = $parse;
                parse(text).ok_or_else(|| malformed(text, Self::KIND, $example))
            }

            fn write(&self) -> String {
                let write: fn(&$Type) -> String = $write;
                quoted(&write(self))
            }

            fn example((): &()) -> String {
                first_of($example).to_owned()
            }
        }
    };
}

/// The name of a rule: some words on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(SmolStr);

impl Label {
    fn of(text: &str) -> Option<Label> {
        const CHARACTERS_MAX: usize = 64;
        let legal = |character: char| {
            character == ' ' || (character.is_ascii_graphic() && !matches!(character, '"' | '\\'))
        };
        let is_short = text.len() <= CHARACTERS_MAX && text.trim() == text && !text.is_empty();
        (is_short && text.chars().all(legal)).then(|| Label(text.into()))
    }
}

text!(
    Label,
    "a name of at most 64 letters, digits, signs and blanks",
    "\"to the carrier\"",
    Label::of,
    |label| { label.0.to_string() }
);

/// A pattern says itself what is wrong with it.
impl Scalar for Pattern {
    type Bounds = ();
    const KIND: &'static str = "a pattern of a number or name";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<Pattern, Fault> {
        const EXAMPLE: &str = "\"112\", \"1xx\", \"[2-9]x*\", \"+44*\" or \"alice\"";
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, EXAMPLE))?;
        text.parse().map_err(|error| (What::Pattern(shortened(text), error), Remedy::Example(EXAMPLE)))
    }

    fn write(&self) -> String {
        quoted(self.as_str())
    }

    fn example((): &()) -> String {
        quoted("0[1-9]x*")
    }
}

text!(
    DomainPattern,
    "a domain, one with `*.` for all below it, or `*` for any",
    "\"example.net\", \"*.example.net\" or \"*\"",
    |text| {
        let name = |text: &str| text.parse::<HostName>().ok().map(|name| SmolStr::new(name.as_str()));
        match text.strip_prefix('*') {
            Some("") => Some(DomainPattern::Any),
            Some(below) => name(below.strip_prefix('.')?).map(DomainPattern::Below),
            None => name(text).map(DomainPattern::Name),
        }
    },
    ToString::to_string
);

text!(
    CallerPattern,
    "`users`, `anyone`, a user, or `trunk:` with the name of a trunk",
    "\"users\", \"anyone\", \"alice\", \"alice@example.com\" or \"trunk:carrier\"",
    |text| match text {
        "anyone" => Some(CallerPattern::Anyone),
        "users" => Some(CallerPattern::Users),
        _ => match text.strip_prefix("trunk:") {
            Some(trunk) => Label::of(trunk).map(|Label(trunk)| CallerPattern::Trunk(trunk)),
            None => {
                let UserAt { user, domain } = UserAt::of(text)?;
                Some(CallerPattern::User { user, domain })
            }
        },
    },
    ToString::to_string
);

text!(
    Days,
    "a day or days of the week",
    "\"mon-fri\" or \"sat\" (mon, tue, wed, thu, fri, sat, sun)",
    |text| text.parse().ok(),
    ToString::to_string
);

text!(
    Hours,
    "hours of the day",
    "\"08:00-18:00\" or \"22:00-06:00\"",
    |text| text.parse().ok(),
    ToString::to_string
);

text!(
    Zone,
    "a time zone by its name in the IANA database",
    "\"Europe/Berlin\"",
    |text| text.parse().ok(),
    |zone| zone.as_str().to_owned()
);

/// What is dialled: digits, `+`, `*`, `#`, or the first letters of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(pub(super) SmolStr);

text!(
    Prefix,
    "digits that are dialled",
    "\"0\" or \"+49\"",
    |text| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+*#.-_".contains(&byte);
        (text.len() <= 32 && text.bytes().all(legal)).then(|| Prefix(text.into()))
    },
    |prefix| prefix.0.to_string()
);

/// A country code (ITU-T E.164): one to three digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountryCode(SmolStr);

text!(
    CountryCode,
    "a country code of one to three digits",
    "\"49\"",
    |text| {
        let is_code = (1..=3).contains(&text.len())
            && !text.starts_with('0')
            && text.bytes().all(|byte| byte.is_ascii_digit());
        is_code.then(|| CountryCode(text.into()))
    },
    |code| code.0.to_string()
);

/// Words for a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(SmolStr);

text!(
    Words,
    "words of at most 100 characters, without quotes",
    "\"This number is out of use\"",
    |text| {
        let legal = |character: char| !character.is_control() && !matches!(character, '"' | '\\');
        (!text.is_empty() && text.chars().count() <= 100 && text.chars().all(legal))
            .then(|| Words(text.into()))
    },
    |words| words.0.to_string()
);

/// Where a caller hears why he is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement(UriBuf);

text!(
    Announcement,
    "a SIP URI without headers",
    "\"sip:not-now@ann.example.com\"",
    |text| {
        let uri = UriBuf::parse(text).ok()?;
        uri.uri().as_sip().is_some_and(|sip| sip.headers.is_empty()).then_some(Announcement(uri))
    },
    |uri| uri.0.as_str().to_owned()
);

/// A user, with his domain or without: `bob` or `bob@example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAt {
    pub(super) user: SmolStr,
    pub(super) domain: Option<SmolStr>,
}

impl UserAt {
    pub(super) fn of(text: &str) -> Option<UserAt> {
        let (user, domain) = match text.rsplit_once('@') {
            Some((user, domain)) => (user, Some(domain.parse::<HostName>().ok()?.as_str().into())),
            None => (text, None),
        };
        Template::of_user(user).filter(|_| !user.contains("{number}"))?;
        Some(UserAt { user: user.into(), domain })
    }
}

text!(UserAt, "a user, with domain or without", "\"bob\" or \"bob@example.com\"", UserAt::of, |at| {
    match &at.domain {
        Some(domain) => format!("{}@{domain}", at.user),
        None => at.user.to_string(),
    }
});

/// Where a rule leads, as `to` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// Where it would go without the rule.
    AsDialled,
    /// A user of ours.
    User(Template, Option<SmolStr>),
    /// A group.
    Group(SmolStr),
    /// A trunk.
    Trunk(SmolStr),
    /// A URI.
    Uri(Template),
    /// Elsewhere, by the caller himself.
    Redirect,
    /// Nowhere.
    Refuse,
}

text!(
    To,
    "where it goes: user:, group:, trunk:, uri:, redirect, refuse or as-dialled",
    "\"user:bob\", \"group:sales\", \"trunk:carrier\", \"uri:sip:desk@192.0.2.9\", \"redirect\", \"refuse\" or \
     \"as-dialled\"",
    |text| match text {
        "as-dialled" => Some(To::AsDialled),
        "redirect" => Some(To::Redirect),
        "refuse" => Some(To::Refuse),
        _ => {
            let (kind, rest) = text.split_once(':')?;
            let label = || Label::of(rest).map(|Label(name)| name);
            match kind {
                "user" => {
                    let (user, domain) = match rest.rsplit_once('@') {
                        Some((user, domain)) => {
                            (user, Some(domain.parse::<HostName>().ok()?.as_str().into()))
                        }
                        None => (rest, None),
                    };
                    Some(To::User(Template::of_user(user)?, domain))
                }
                "group" => label().map(To::Group),
                "trunk" => label().map(To::Trunk),
                "uri" => Template::of_uri(rest).map(To::Uri),
                _ => None,
            }
        }
    },
    |to| match to {
        To::AsDialled => "as-dialled".to_owned(),
        To::Redirect => "redirect".to_owned(),
        To::Refuse => "refuse".to_owned(),
        To::User(user, None) => format!("user:{}", user.as_str()),
        To::User(user, Some(domain)) => format!("user:{}@{domain}", user.as_str()),
        To::Group(name) => format!("group:{name}"),
        To::Trunk(name) => format!("trunk:{name}"),
        To::Uri(uri) => format!("uri:{}", uri.as_str()),
    }
);

/// One contact of a redirection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactValue(Template);

text!(
    ContactValue,
    "a contact: a SIP or tel URI, perhaps with q",
    "\"sip:bob@example.net\" or \"<sip:{number}@192.0.2.9;transport=tcp>;q=0.7\"",
    |text| Template::of_contact(text).map(ContactValue),
    |contact| contact.0.as_str().to_owned()
);

/// What a caller is told of a number that nobody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownUser {
    /// 404: not here.
    NotFound,
    /// 604: nowhere.
    Nowhere,
}

super::value::choice!(
    UnknownUser, "the answer for a user that nobody knows",
    "404" => UnknownUser::NotFound, "604" => UnknownUser::Nowhere
);
super::value::choice!(
    Ambiguous, "the answer for a name of several users",
    "485" => Ambiguous::Bare, "485-with-contacts" => Ambiguous::WithContacts, "404" => Ambiguous::NotFound
);

impl Check<'_> {
    /// The dial plan, with all that is wrong with it.
    pub(super) fn dial_plan(&mut self, domains: &[Domain]) -> DialPlan {
        let config = self.config;
        let own = &config.dial_plan;
        let mut rules: Vec<Rule> = Vec::new();
        for entry in &config.rule {
            self.rule_fits_together(entry, domains);
            let name = entry.name.value.0.as_ref().map_or("", |Label(name)| name);
            if !name.is_empty() && rules.iter().any(|rule| rule.name == name) {
                self.problem(entry.name.place, "rule.name", What::Twice(name.into()), Remedy::KeepOne);
            }
            rules.push(rule(entry, &own.zone.value, domains));
        }
        let mut aliases = Aliases::default();
        for entry in &config.alias {
            self.alias(entry, domains, &mut aliases);
        }
        let digits = |prefix: &Prefix| prefix.0.clone();
        DialPlan {
            rules,
            aliases,
            zone: own.zone.value.clone(),
            numbering: Numbering {
                country: own.country.value.as_ref().map_or_else(SmolStr::default, |code| code.0.clone()),
                national: digits(&own.national.value),
                international: digits(&own.international.value),
            },
            nobody_anywhere: own.unknown_user.value == UnknownUser::Nowhere,
            ambiguous: own.ambiguous.value,
        }
    }

    fn rule_fits_together(&mut self, entry: &RuleEntry, domains: &[Domain]) {
        if entry.name.value.0.is_none() {
            let remedy = Remedy::Add("name = \"to the carrier\"");
            self.problem(entry.name.place, "rule", What::Missing("name"), remedy);
        }
        let Some(to) = &entry.to.value.0 else {
            let remedy = Remedy::Add("to = \"user:bob\"");
            return self.problem(entry.to.place, "rule", What::Missing("to"), remedy);
        };
        let (redirects, refuses) = (*to == To::Redirect, *to == To::Refuse);
        if redirects && entry.contacts.value.0.is_empty() {
            let remedy = Remedy::Add("contacts = [\"sip:bob@example.net\"]");
            self.problem(entry.to.place, "rule.to", What::Missing("contacts"), remedy);
        }
        if !redirects && !entry.contacts.value.0.is_empty() {
            self.without_meaning(entry.contacts.place, "rule.contacts", "redirect");
        }
        if !refuses && entry.reason.value.is_some() {
            self.without_meaning(entry.reason.place, "rule.reason", "refuse");
        }
        if !refuses && entry.error_info.value.is_some() {
            self.without_meaning(entry.error_info.place, "rule.error_info", "refuse");
        }
        if let Some(code) = entry.code.value {
            let (is_right, remedy) = if redirects {
                (REDIRECTIONS.contains(&code), Remedy::Example("302 (300, 301, 302, 305 or 380)"))
            } else {
                (code >= 400, Remedy::Example("403 (400 to 699)"))
            };
            if !redirects && !refuses {
                self.without_meaning(entry.code.place, "rule.code", "refuse");
            } else if !is_right {
                let what = What::Code(code.to_string().into(), if redirects { "redirect" } else { "refuse" });
                self.problem(entry.code.place, "rule.code", what, remedy);
            }
        }
        if let To::User(_, Some(domain)) = to {
            self.known_domain(entry.to.place, "rule.to", domain, domains);
        }
        for caller in &entry.from.value.0 {
            if let CallerPattern::User { domain: Some(domain), .. } = caller {
                self.known_domain(entry.from.place, "rule.from", domain, domains);
            }
        }
        if let To::Trunk(name) = to {
            self.known_trunk(entry.to.place, "rule.to", name);
        }
        for caller in &entry.from.value.0 {
            if let CallerPattern::Trunk(name) = caller {
                self.known_trunk(entry.from.place, "rule.from", name);
            }
        }
        let is_public = self.config.server.public.value || self.facts.public;
        let leads_out = match to {
            To::Trunk(_) => true,
            To::AsDialled => entry.domain.value.0.contains(&DomainPattern::Any),
            To::User(..) | To::Group(_) | To::Uri(_) | To::Redirect | To::Refuse => false,
        };
        if is_public && leads_out && entry.from.value.0.contains(&CallerPattern::Anyone) {
            let remedy = Remedy::Close("from = \"users\"");
            self.problem(entry.from.place, "rule.from", What::OpenRelay, remedy);
        }
    }

    fn alias(&mut self, entry: &AliasEntry, domains: &[Domain], aliases: &mut Aliases) {
        let own = entry.domain.value.as_ref().map(|name| SmolStr::new(name.as_str()));
        let (name, user) = (&entry.name, &entry.user);
        for (is_missing, place, key, example) in [
            (name.value.0.0.is_empty(), name.place, "name", "name = \"info\""),
            (user.value.0.0.is_empty(), user.place, "user", "user = \"bob\""),
        ] {
            if is_missing {
                self.problem(place, "alias", What::Missing(key), Remedy::Add(example));
            }
        }
        if let Some(domain) = &own {
            self.known_domain(entry.domain.place, "alias.domain", domain, domains);
        }
        for UserAt { user, domain } in &entry.user.value.0.0 {
            if let Some(domain) = domain {
                self.known_domain(entry.user.place, "alias.user", domain, domains);
            }
            for name in &entry.name.value.0.0 {
                let user = (user.clone(), domain.as_ref().map(|name| canonical(domains, name)));
                let domain = own.as_ref().map(|name| canonical(domains, name));
                aliases.add(name.as_str().into(), Alias { domain, user });
            }
        }
    }

    fn without_meaning(&mut self, place: Option<Place>, key: &str, only_with: &'static str) {
        self.problem(place, key, What::OnlyWith(only_with), Remedy::Remove);
    }

    fn known_trunk(&mut self, place: Option<Place>, key: &str, name: &SmolStr) {
        if !self.config.trunk.iter().any(|trunk| trunk.name.value.as_str() == name) {
            self.problem(place, key, What::NoSuch("trunk", shortened(name)), Remedy::AddTable("trunk"));
        }
    }

    fn known_domain(&mut self, place: Option<Place>, key: &str, name: &SmolStr, domains: &[Domain]) {
        if !domains.iter().any(|domain| domain.name == *name || domain.aliases.contains(name)) {
            let what = What::NoSuch("domain of this server", shortened(name));
            self.problem(place, key, what, Remedy::AddTable("domain"));
        }
    }
}

/// The name of the domain that a name or alias stands for.
fn canonical(domains: &[Domain], name: &SmolStr) -> SmolStr {
    let known = domains.iter().find(|domain| domain.name == *name || domain.aliases.contains(name));
    known.map_or_else(|| name.clone(), |domain| domain.name.clone())
}

/// The codes of a redirection (RFC 3261 §21.3).
const REDIRECTIONS: [u64; 5] = [300, 301, 302, 305, 380];

/// The rule of an entry in which nothing is wrong; of another one something like it, which nobody sees.
fn rule(entry: &RuleEntry, zone: &Zone, domains: &[Domain]) -> Rule {
    let status = |default: u16| {
        let code = entry.code.value.and_then(|code| u16::try_from(code).ok()).and_then(Status::new);
        code.unwrap_or(Status::of(default))
    };
    let action = match entry.to.value.0.clone().unwrap_or(To::AsDialled) {
        To::AsDialled => Action::AsDialled,
        To::User(user, domain) => Action::User { user, domain: domain.map(|name| canonical(domains, &name)) },
        To::Group(group) => Action::Group(group),
        To::Trunk(trunk) => Action::Trunk(trunk),
        To::Uri(uri) => Action::Uri(uri),
        To::Redirect => Action::Redirect {
            status: status(302),
            contacts: entry.contacts.value.0.iter().map(|ContactValue(contact)| contact.clone()).collect(),
        },
        To::Refuse => Action::Refuse {
            status: status(403),
            reason: entry.reason.value.as_ref().map(|Words(words)| words.clone()),
            error_info: entry.error_info.value.as_ref().map(|Announcement(uri)| uri.clone()),
        },
    };
    let (days, hours) = (&entry.days.value.0, &entry.hours.value.0);
    let times = (!days.is_empty() || !hours.is_empty()).then(|| Times {
        zone: entry.zone.value.clone().unwrap_or_else(|| zone.clone()),
        days: days.clone(),
        hours: hours.clone(),
    });
    let callers = entry.from.value.0.iter().cloned().map(|caller| match caller {
        CallerPattern::User { user, domain } => {
            CallerPattern::User { user, domain: domain.map(|name| canonical(domains, &name)) }
        }
        other => other,
    });
    Rule {
        name: entry.name.value.0.as_ref().map_or_else(SmolStr::default, |Label(name)| name.clone()),
        numbers: entry.number.value.0.clone(),
        domains: entry.domain.value.0.clone(),
        callers: callers.collect(),
        times,
        strip: usize::try_from(entry.strip.value).unwrap_or(usize::MAX),
        prepend: entry.prepend.value.as_ref().map_or_else(SmolStr::default, |Prefix(text)| text.clone()),
        action,
        mode: entry.mode.value,
    }
}

#[cfg(test)]
mod tests;
