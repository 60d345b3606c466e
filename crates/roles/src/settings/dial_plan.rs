//! The dial plan: ordered rules that say where a call goes. [`decide`](crate::dial_plan::decide) reads them.

use std::collections::BTreeMap;

use dialtone_wire::Status;
use dialtone_wire::headers::NameAddr;
use dialtone_wire::uri::{UriBuf, escape_user};
use smol_str::{SmolStr, format_smolstr};

use super::Mode;

mod hours;
mod pattern;

pub use hours::{Days, DaysError, Hours, HoursError, Times, UnknownZone, Zone, day_word};
pub use pattern::{Fit, PATTERN_CHARACTERS_MAX, Pattern, PatternError};

/// Rules in their order, and what numbers and names mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialPlan {
    /// The rules: the first one that matches counts.
    pub rules: Vec<Rule>,
    /// How a dialled number becomes an international one.
    pub numbering: Numbering,
    /// The time zone of rules that name none.
    pub zone: Zone,
    /// Other names of users.
    pub aliases: Aliases,
    /// Whether a number of nobody here is refused with 604 instead of 404: no other server need be asked.
    pub nobody_anywhere: bool,
    /// What is answered where a name means several users.
    pub ambiguous: Ambiguous,
}

impl DialPlan {
    /// Whether it says nothing that is not so without it.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.aliases.is_empty() && !self.nobody_anywhere
    }
}

/// What is answered where a name means several users (RFC 3261 §21.4.23, which leaves the choice to whoever runs the
/// server, since the names of others are private).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ambiguous {
    /// 485 and no more.
    #[default]
    Bare,
    /// 485 with the users as Contacts.
    WithContacts,
    /// 404, as if nobody had the name.
    NotFound,
}

impl Ambiguous {
    /// What is answered.
    pub const fn status(self) -> Status {
        match self {
            Ambiguous::Bare | Ambiguous::WithContacts => Status::of(485),
            Ambiguous::NotFound => Status::of(404),
        }
    }
}

/// One rule: all of its conditions must hold. A condition without an entry always holds, but where it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which no other rule has.
    pub name: SmolStr,
    /// The called number or name: one of these.
    pub numbers: Vec<Pattern>,
    /// The called domain: one of these; without an entry, any of ours.
    pub domains: Vec<DomainPattern>,
    /// Who calls: one of these; without an entry, a user of ours, or anyone where the rule refuses.
    pub callers: Vec<CallerPattern>,
    /// When.
    pub times: Option<Times>,
    /// How many characters are taken from the front of the number.
    pub strip: usize,
    /// What is put in front of it then.
    pub prepend: SmolStr,
    /// Where the call goes.
    pub action: Action,
    /// How much is remembered of it; `None` as its domain has it. Without state only what nobody is asked a password
    /// for, to one place; the rest like [`Mode::Transaction`].
    pub mode: Option<Mode>,
}

/// What the called domain must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DomainPattern {
    /// Any, of ours or not.
    Any,
    /// This one, in lower case.
    Name(SmolStr),
    /// Any below this one, in lower case and without the leading dot; not itself.
    Below(SmolStr),
}

/// Who the caller must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerPattern {
    /// Anybody, also who shows no password.
    Anyone,
    /// Any user of ours.
    Users,
    /// This user, in this domain of ours or in any.
    User {
        /// The user part.
        user: SmolStr,
        /// The name of the domain.
        domain: Option<SmolStr>,
    },
    /// Whoever comes in over this trunk.
    Trunk(SmolStr),
}

/// Where a rule leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Where it would go without the rule, if the rule allows it: the user of the number, or the foreign domain.
    AsDialled,
    /// A user of ours.
    User {
        /// The user part.
        user: Template,
        /// The name of the domain; `None` is that which was called.
        domain: Option<SmolStr>,
    },
    /// A group by its name.
    Group(SmolStr),
    /// The number, over a trunk.
    Trunk(SmolStr),
    /// A URI.
    Uri(Template),
    /// The caller is told to try elsewhere himself (RFC 3261 §8.3).
    Redirect {
        /// 300, 301, 302, 305 or 380.
        status: Status,
        /// Contact values; the best comes first.
        contacts: Vec<Template>,
    },
    /// Refused.
    Refuse {
        /// 400 to 699.
        status: Status,
        /// Why, in words for the caller.
        reason: Option<SmolStr>,
        /// Where he is told more: an announcement that he may call (Error-Info, RFC 3261 §20.18).
        error_info: Option<UriBuf>,
    },
}

/// A text in which `{number}` stands for the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(SmolStr);

/// What stands for the number in a [`Template`].
const NUMBER: &str = "{number}";

impl Template {
    /// A name of a user.
    pub fn of_user(text: &str) -> Option<Template> {
        let is_legal = |character: char| {
            !character.is_control() && !character.is_whitespace() && !"@\"<>{}".contains(character)
        };
        let rest = text.replace(NUMBER, "");
        (!text.is_empty() && rest.chars().all(is_legal)).then(|| Template(text.into()))
    }

    /// A SIP, SIPS or tel URI.
    pub fn of_uri(text: &str) -> Option<Template> {
        let template = Template(text.into());
        let uri = UriBuf::parse(&template.with_escaped("0")).ok()?;
        let is_known = !matches!(uri.uri(), dialtone_wire::uri::Uri::Other { .. });
        is_known.then_some(template)
    }

    /// A Contact value with a SIP, SIPS or tel URI and, where it has one, a right `q` (RFC 3261 §20.10).
    pub fn of_contact(text: &str) -> Option<Template> {
        let template = Template(text.into());
        let shown = template.with_escaped("0");
        let contact = NameAddr::parse(shown.as_bytes()).ok()?;
        Template::of_uri(contact.uri_text)?;
        let q = contact.params.value("q");
        (text.is_ascii() && q.is_none_or(|q| thousandths(q).is_some())).then_some(template)
    }

    /// With the number in its place, as it is.
    pub fn with(&self, number: &str) -> SmolStr {
        if self.0.contains(NUMBER) { self.0.replace(NUMBER, number).into() } else { self.0.clone() }
    }

    /// With the number in its place, escaped as in a user part.
    pub fn with_escaped(&self, number: &str) -> SmolStr {
        if self.0.contains(NUMBER) { self.with(&escape_user(number)) } else { self.0.clone() }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A `qvalue` in thousandths (RFC 3261 §25.1): 0 to 1 with up to three digits behind the point.
pub fn thousandths(q: &str) -> Option<u16> {
    let (whole, part) = q.split_once('.').unwrap_or((q, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) || !matches!(whole, "0" | "1") {
        return None;
    }
    let part: u16 = format!("{part:0<3}").parse().ok()?;
    let q = if whole == "1" { 1000 + part } else { part };
    (q <= 1000).then_some(q)
}

/// How dialled numbers become international ones, with which patterns that begin with `+` are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbering {
    /// The country code, `49`; empty: only a number that begins with `+` is international.
    pub country: SmolStr,
    /// What is dialled before a number of the same country, `0`.
    pub national: SmolStr,
    /// What is dialled before a country code, `00`.
    pub international: SmolStr,
}

impl Default for Numbering {
    fn default() -> Numbering {
        Numbering {
            country: SmolStr::default(),
            national: SmolStr::new_static("0"),
            international: SmolStr::new_static("00"),
        }
    }
}

impl Numbering {
    /// A dialled number as E.164 has it: `+` and digits. `None` where it is none: an extension, a name.
    pub fn international(&self, dialled: &str) -> Option<SmolStr> {
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(rest) = dialled.strip_prefix('+') {
            return is_digits(rest).then(|| SmolStr::new(dialled));
        }
        if self.country.is_empty() || !is_digits(dialled) {
            return None;
        }
        // `00` before `0`: the longer of the two that fit.
        let abroad = dialled.strip_prefix(self.international.as_str());
        if let Some(rest) = abroad.filter(|rest| !self.international.is_empty() && !rest.is_empty()) {
            return Some(format_smolstr!("+{rest}"));
        }
        let home = dialled.strip_prefix(self.national.as_str());
        let home = home.filter(|rest| !self.national.is_empty() && !rest.is_empty());
        Some(format_smolstr!("+{}{}", self.country, home?))
    }
}

/// Other names of users, each with those that it stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases(BTreeMap<SmolStr, Vec<Alias>>);

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The domain in which it counts; `None` is each of ours.
    pub domain: Option<SmolStr>,
    /// The user, and his domain where it is not that which was called.
    pub user: (SmolStr, Option<SmolStr>),
}

impl Aliases {
    /// Lets a name stand for one more user.
    pub fn add(&mut self, name: SmolStr, alias: Alias) {
        let known = self.0.entry(name).or_default();
        if !known.contains(&alias) {
            known.push(alias);
        }
    }

    /// The users that a name stands for in a domain, each with his domain; none if it is no alias.
    pub fn of(&self, name: &str, domain: &str) -> Vec<(SmolStr, SmolStr)> {
        let known = self.0.get(name).map(Vec::as_slice).unwrap_or_default();
        let counts = |alias: &&Alias| alias.domain.as_ref().is_none_or(|own| own == domain);
        let mut users: Vec<(SmolStr, SmolStr)> = Vec::new();
        for Alias { user: (user, own), .. } in known.iter().filter(counts) {
            let found = (user.clone(), own.clone().unwrap_or_else(|| domain.into()));
            if !users.contains(&found) {
                users.push(found);
            }
        }
        users
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_international_by_what_is_dialled_before_them() {
        let german = Numbering { country: "49".into(), national: "0".into(), international: "00".into() };
        for (dialled, expected) in [
            ("+441632960083", Some("+441632960083")),
            ("00441632960083", Some("+441632960083")),
            ("030123456", Some("+4930123456")),
            ("123", None),
            ("0", None),
            ("00", Some("+490")),
            ("alice", None),
            ("+49x", None),
            ("", None),
        ] {
            assert_eq!(german.international(dialled).as_deref(), expected, "{dialled}");
        }
        assert_eq!(Numbering::default().international("0049301"), None);
        assert_eq!(Numbering::default().international("+49301").as_deref(), Some("+49301"));
    }

    #[test]
    fn templates_take_only_what_gives_legal_text() {
        assert_eq!(
            Template::of_uri("sip:{number}@gw.test").unwrap().with_escaped("a b"),
            "sip:a%20b@gw.test"
        );
        for text in ["gw.test", "http://gw.test", "sip:{number}@", "sip:{nummer}@gw.test", ""] {
            assert_eq!(Template::of_uri(text), None, "{text}");
        }
        assert!(Template::of_contact("<sip:bob@gw.test;transport=tcp>;q=0.7").is_some());
        assert!(Template::of_contact("\"Bob\" <tel:+4930>;q=1.000").is_some());
        for text in
            ["<sip:bob@gw.test>;q=1.1", "sip:bob@gw.test;q=x", "bob", "<sip:bob@gw.test>\r\nX: y", "*"]
        {
            assert_eq!(Template::of_contact(text), None, "{text}");
        }
        assert!(Template::of_user("sales.{number}").is_some() && Template::of_user("a b").is_none());
    }

    #[test]
    fn a_q_value_has_three_digits_at_most() {
        let read = ["0", "1", "0.5", "0.25", "1.000", "0."].map(thousandths);
        assert_eq!(read, [Some(0), Some(1000), Some(500), Some(250), Some(1000), Some(0)]);
        assert_eq!(["", "2", "1.001", "0.1234", "-1", ".5", "0,5"].map(thousandths), [None; 7]);
    }

    #[test]
    fn an_alias_counts_in_its_domain_and_may_mean_several() {
        let mut aliases = Aliases::default();
        let alias = |domain: Option<&str>, user: &str| Alias {
            domain: domain.map(SmolStr::new),
            user: (user.into(), None),
        };
        aliases.add("info".into(), alias(Some("a.test"), "alice"));
        aliases.add("info".into(), alias(None, "bob"));
        aliases.add("info".into(), alias(Some("b.test"), "bob"));
        let of = |domain: &str| {
            aliases.of("info", domain).iter().map(|(user, _)| user.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            (of("a.test").as_str(), of("b.test").as_str(), of("c.test").as_str()),
            ("alice bob", "bob", "bob")
        );
        assert_eq!(aliases.of("nobody", "a.test"), []);
    }
}
