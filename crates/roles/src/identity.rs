//! Who calls, as others are told: P-Asserted-Identity within a trust domain (RFC 3325) and Privacy (RFC 3323).
//!
//! ```text
//!   from                     to a user of ours           to a trunk that we trust   to another trunk
//!   a user, by his password  no assertion                his number is asserted     none, but for Privacy: none
//!   a trunk that we trust    as it came; not with id     as it came                 as above
//!   anybody else             what he asserts is removed  removed                    removed
//! ```
//!
//! The user himself says with From what his own phone wants to show; on the way out it becomes his number, or nobody's.

use dialtone_wire::headers::NameAddr;
use dialtone_wire::uri::{Uri, escape_user};
use dialtone_wire::{HeaderName, Message, Status};
use smol_str::{SmolStr, format_smolstr};

use crate::settings::{Destination, Settings, Trunk, TrunkFrom};

/// What From says of somebody who wants to stay unknown (RFC 3323 §4.1.1.3).
pub(crate) const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

/// What a caller wants kept private (RFC 3323 §4.2, RFC 3325 §9.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Privacy {
    id: bool,
    user: bool,
    header: bool,
    session: bool,
    none: bool,
    critical: bool,
}

impl Privacy {
    pub(crate) fn of(request: &Message) -> Privacy {
        let mut privacy = Privacy::default();
        for header in request.header_lines().filter(|header| header.name == HeaderName::Privacy) {
            // `priv-value *(";" priv-value)`; some write commas.
            for value in header.value.split(|byte| matches!(byte, b';' | b',')).map(<[u8]>::trim_ascii) {
                let wanted = match value {
                    _ if value.eq_ignore_ascii_case(b"id") => &mut privacy.id,
                    _ if value.eq_ignore_ascii_case(b"user") => &mut privacy.user,
                    _ if value.eq_ignore_ascii_case(b"header") => &mut privacy.header,
                    _ if value.eq_ignore_ascii_case(b"session") => &mut privacy.session,
                    _ if value.eq_ignore_ascii_case(b"none") => &mut privacy.none,
                    _ if value.eq_ignore_ascii_case(b"critical") => &mut privacy.critical,
                    _ => continue,
                };
                *wanted = true;
            }
        }
        privacy
    }

    /// Whether From shall not say who calls.
    pub(crate) const fn hides_caller(self) -> bool {
        !self.none && (self.id || self.user || self.header || self.session)
    }

    /// RFC 3323 §5: "if the privacy service is incapable of performing all of the levels of privacy … it MUST fail the
    /// request with a 500". A proxy has to leave Contact, Via and the session as they are.
    pub(crate) const fn is_beyond_a_proxy(self) -> bool {
        self.critical && !self.none && (self.header || self.session)
    }
}

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    /// A user of ours, by his canonical address-of-record.
    User(&'a str),
    /// A trunk of our trust domain.
    Trusted,
    /// Anybody else.
    Unknown,
}

/// Header lines that one branch of a request has otherwise than the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// Headers that are left out.
    pub(crate) removed: Vec<HeaderName>,
    /// Lines that are added: name and value.
    pub(crate) added: Vec<(SmolStr, SmolStr)>,
    /// From shall name nobody, in the whole dialog: [`Shift`](crate::proxy::shift::Shift) sees to that.
    pub(crate) anonymous: bool,
}

/// What becomes of the lines that say who calls when a request goes to a user of ours. The usual request has none.
pub(crate) fn to_user(request: &Message, source: Source<'_>) -> Lines {
    let keeps = source == Source::Trusted && !Privacy::of(request).id;
    Lines { removed: identity_lines(request, keeps), ..Lines::default() }
}

/// What becomes of them when it goes out over a trunk.
///
/// # Errors
/// 500 when the caller insists on more privacy than a proxy has to give.
pub(crate) fn to_trunk(
    settings: &Settings,
    trunk: &Trunk,
    request: &Message,
    source: Source<'_>,
) -> Result<Lines, Status> {
    let privacy = Privacy::of(request);
    if privacy.is_beyond_a_proxy() {
        return Err(Status::of(500));
    }
    let tells = trunk.trust || privacy.none;
    let keeps = tells && source == Source::Trusted;
    let number = match source {
        Source::User(aor) => Some(preferred(settings, aor, request).unwrap_or_else(|| shown(trunk, aor))),
        Source::Trusted | Source::Unknown => None,
    };
    let mut lines = Lines { removed: identity_lines(request, keeps), ..Lines::default() };
    if let Some(number) = number.as_ref().filter(|_| tells) {
        let host = host_of(settings, trunk);
        let identity = format_smolstr!("<sip:{}@{host}{}>", escape_user(number), phone(number));
        lines.added.push((SmolStr::new_static(HeaderName::PAssertedIdentity.as_str()), identity));
    }
    lines.anonymous = privacy.hides_caller();
    if !lines.anonymous
        && let Some(from) = from_line(settings, trunk, request, number.as_deref())
    {
        lines.removed.push(HeaderName::From);
        lines.added.push((SmolStr::new_static(HeaderName::From.as_str()), from));
    }
    Ok(lines)
}

/// From with another address, and with the parameters that it came with: the tag above all.
pub(crate) fn from_with(request: &Message, address: &str) -> Option<SmolStr> {
    let from = request.from().ok()?;
    Some(format_smolstr!("{address}{}", from.params.as_str()))
}

/// What From says over a trunk; `None` if it says what came.
fn from_line(settings: &Settings, trunk: &Trunk, request: &Message, number: Option<&str>) -> Option<SmolStr> {
    let from = request.from().ok()?;
    let display = from.display.map(|display| format_smolstr!("{display} ")).unwrap_or_default();
    let address = match (trunk.from, number) {
        (TrunkFrom::Account, _) => format_smolstr!("{display}<{}>", trunk.account()?.aor),
        (TrunkFrom::Number, Some(number)) => {
            let host = host_of(settings, trunk);
            format_smolstr!("{display}<sip:{}@{host}{}>", escape_user(number), phone(number))
        }
        (TrunkFrom::Keep, _) | (TrunkFrom::Number, None) => return None,
    };
    from_with(request, &address)
}

/// The number that a user shows: his own for this trunk, else the only one that is his, else that of the trunk, else
/// his name.
fn shown(trunk: &Trunk, aor: &str) -> SmolStr {
    let is_his = |to: &Destination| matches!(to, Destination::User(user) if user == aor);
    let mut own = trunk.numbers.iter().filter(|entry| is_his(&entry.to));
    let single = || own.find_map(|entry| entry.single().map(SmolStr::new));
    let named = trunk.caller_ids.get(aor).cloned();
    named.or_else(single).or_else(|| trunk.caller_id.clone()).unwrap_or_else(|| user_of(aor))
}

/// RFC 3325 §6: the number that the caller prefers, if it is one of his.
fn preferred(settings: &Settings, aor: &str, request: &Message) -> Option<SmolStr> {
    let wanted = NameAddr::parse(request.value(HeaderName::PPreferredIdentity)?).ok()?;
    let number = number_of(&wanted.uri)?;
    let is_his = |trunk: &Trunk| {
        let leads_to_him = |to: &Destination| matches!(to, Destination::User(user) if user == aor);
        trunk.caller_ids.get(aor) == Some(&number) || trunk.destination_of(&number).is_some_and(leads_to_him)
    };
    (settings.trunks.iter().any(is_his) || number == user_of(aor)).then_some(number)
}

/// The number that a URI calls: the user part, or the digits of a `tel:`.
pub(crate) fn number_of(uri: &Uri<'_>) -> Option<SmolStr> {
    match uri {
        Uri::Sip(sip) => {
            // RFC 3261 §19.1.1: a telephone-subscriber in the user part may have parameters of its own.
            let user = sip.user_unescaped()?;
            let number = user.split(';').next().unwrap_or_default();
            let is_number = number.starts_with(|first: char| first == '+' || first.is_ascii_digit());
            Some(if is_number { without_separators(number) } else { user })
        }
        Uri::Tel(tel) => Some(tel.digits().collect()),
        _ => None,
    }
}

/// RFC 3966 §5.1.1: visual separators say nothing.
fn without_separators(number: &str) -> SmolStr {
    number.chars().filter(|digit| !matches!(digit, '-' | '.' | '(' | ')')).collect()
}

/// The user part of a canonical address-of-record.
pub(crate) fn user_of(aor: &str) -> SmolStr {
    let user = aor.strip_prefix("sip:").and_then(|rest| rest.rsplit_once('@')).map_or("", |(user, _)| user);
    dialtone_wire::uri::unescape(user)
}

fn phone(number: &str) -> &'static str {
    let digits = number.strip_prefix('+').unwrap_or(number);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) { ";user=phone" } else { "" }
}

/// Under which host a number of ours is known to a trunk: that of our account there, else our own domain.
fn host_of(settings: &Settings, trunk: &Trunk) -> SmolStr {
    let account = trunk.account().and_then(|account| match account.aor.uri() {
        Uri::Sip(sip) => Some(format_smolstr!("{}", sip.host)),
        _ => None,
    });
    account
        .or_else(|| settings.domains.first().map(|domain| domain.name.clone()))
        .unwrap_or_else(|| SmolStr::new_static("anonymous.invalid"))
}

/// P-Preferred-Identity, which is for us only, and P-Asserted-Identity unless it holds. The usual request has neither.
fn identity_lines(request: &Message, keeps_asserted: bool) -> Vec<HeaderName> {
    let mut removed = Vec::new();
    if request.has(HeaderName::PAssertedIdentity) && !keeps_asserted {
        removed.push(HeaderName::PAssertedIdentity);
    }
    if request.has(HeaderName::PPreferredIdentity) {
        removed.push(HeaderName::PPreferredIdentity);
    }
    removed
}

#[cfg(test)]
mod tests {
    use dialtone_wire::Limits;

    use super::*;
    use crate::settings::{Account, InboundNumber, Password, Secret, TrunkAccess};
    use dialtone_wire::uri::UriBuf;

    const BOB: &str = "sip:bob@b.test";

    fn uri(text: &str) -> UriBuf {
        UriBuf::parse(text).expect("a URI")
    }

    fn account() -> Account {
        Account {
            aor: uri("sip:4930@carrier.test"),
            display_name: None,
            auth_user: "4930".into(),
            password: Password("secret".into()),
            proxy: None,
            backup_proxy: None,
            realms: Vec::new(),
            expires_s: 600,
        }
    }

    fn trunk(trust: bool) -> Trunk {
        let numbers = |pattern: &str, user: &str| InboundNumber {
            pattern: pattern.parse().expect("a pattern"),
            to: Destination::User(user.into()),
        };
        Trunk {
            trust,
            credentials: Some(account()),
            caller_id: Some("+49300".into()),
            caller_ids: [("sip:carol@b.test".into(), "+49307".into())].into(),
            numbers: vec![numbers("+49301", BOB), numbers("+49302x", BOB)],
            ..Trunk::new("carrier", TrunkAccess::Addresses(vec![uri("sip:192.0.2.1")]))
        }
    }

    fn settings(trunk: &Trunk) -> Settings {
        Settings { trunks: vec![trunk.clone()], ..Settings::new(Secret([1; 32])) }
    }

    fn request(lines: &str) -> Message {
        let text = format!(
            "INVITE sip:+1@b.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.4;branch=z9hG4bK1\r\n\
             From: \"Bob\" <sip:bob@b.test>;tag=f;x=1\r\nTo: <sip:+1@b.test>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{lines}\r\n"
        );
        Message::parse(text.into_bytes().into(), &Limits::default()).expect("a request")
    }

    /// What a trunk is told of a caller: From and what is asserted, and whether the lines of the caller are gone.
    fn told(trunk: &Trunk, lines: &str, source: Source<'_>) -> (Option<String>, Option<String>, usize) {
        let request = request(lines);
        let told = to_trunk(&settings(trunk), trunk, &request, source).expect("it may go");
        let added = |name: &str| {
            let line = told.added.iter().find(|(own, _)| own == name);
            line.map(|(_, value)| value.to_string())
        };
        let removed = told.removed.iter().filter(|name| **name != HeaderName::From).count();
        let from = if told.anonymous { Some("anonymous".to_owned()) } else { added("From") };
        (from, added("P-Asserted-Identity"), removed)
    }

    const NUMBER: &str = "\"Bob\" <sip:+49301@carrier.test;user=phone>;tag=f;x=1";
    const NOBODY: &str = "anonymous";
    const ASSERTED: &str = "<sip:+49301@carrier.test;user=phone>";

    #[test]
    fn a_trusted_trunk_is_told_who_calls_and_another_one_only_what_from_shows() {
        let some = |text: &str| Some(text.to_owned());
        let of = |trust: bool, lines: &str| told(&trunk(trust), lines, Source::User(BOB));
        assert_eq!(of(true, ""), (some(NUMBER), some(ASSERTED), 0));
        assert_eq!(of(false, ""), (some(NUMBER), None, 0));
        for privacy in ["id", "user", "header;session", "id; user", "user;critical"] {
            let lines = format!("Privacy: {privacy}\r\n");
            assert_eq!(of(true, &lines), (some(NOBODY), some(ASSERTED), 0), "{privacy}");
            assert_eq!(of(false, &lines), (some(NOBODY), None, 0), "{privacy}");
        }
        // RFC 3323 §4.2: none is "regardless of any pre-provisioned profile".
        assert_eq!(of(false, "Privacy: none\r\n"), (some(NUMBER), some(ASSERTED), 0));
    }

    #[test]
    fn what_nobody_has_proven_is_not_passed_on_as_if_it_were() {
        let forged = "P-Asserted-Identity: <sip:+1@x>\r\nP-Asserted-Identity: tel:+1\r\nP-Preferred-Identity: <sip:+1@x>\r\n";
        let (_, asserted, removed) = told(&trunk(true), forged, Source::User(BOB));
        assert_eq!((asserted.as_deref(), removed), (Some(ASSERTED), 2));
        assert_eq!(told(&trunk(true), forged, Source::Unknown), (None, None, 2));
        // What a trusted trunk says holds, and is told to trusted trunks only.
        assert_eq!(told(&trunk(true), forged, Source::Trusted), (None, None, 1));
        assert_eq!(told(&trunk(false), forged, Source::Trusted), (None, None, 2));
        let removed = |lines: &str, source| to_user(&request(lines), source).removed.len();
        assert_eq!(removed("", Source::Unknown), 0);
        assert_eq!(removed(forged, Source::User(BOB)), 2);
        assert_eq!(removed(forged, Source::Trusted), 1);
        assert_eq!(
            removed(&format!("{forged}Privacy: id\r\n"), Source::Trusted),
            2,
            "a phone is no trusted element"
        );
    }

    #[test]
    fn a_caller_shows_the_number_that_is_his() {
        let shown = |source: &str, lines: &str| told(&trunk(true), lines, Source::User(source)).1;
        let asserted = |number: &str| Some(format!("<sip:{number}@carrier.test;user=phone>"));
        let preferred = |number: &str| format!("P-Preferred-Identity: <{number}>\r\n");
        assert_eq!(shown("sip:carol@b.test", ""), asserted("+49307"), "her own");
        assert_eq!(shown("sip:dan@b.test", ""), asserted("+49300"), "that of the trunk");
        assert_eq!(
            shown(BOB, &preferred("sip:+49-30-25@b.test;user=phone")),
            asserted("+493025"),
            "one of his range"
        );
        assert_eq!(shown(BOB, &preferred("tel:+49-30-25")), asserted("+493025"));
        assert_eq!(shown(BOB, &preferred("sip:+49307@b.test")), asserted("+49301"), "not that of another");
        let nameless = Trunk { caller_id: None, ..trunk(true) };
        let own = told(&nameless, "", Source::User("sip:dan@b.test")).1;
        assert_eq!(own.as_deref(), Some("<sip:dan@carrier.test>"));
    }

    #[test]
    fn from_says_what_the_trunk_wants() {
        let from = |from: TrunkFrom| told(&Trunk { from, ..trunk(false) }, "", Source::User(BOB)).0;
        assert_eq!(from(TrunkFrom::Keep), None);
        assert_eq!(from(TrunkFrom::Account).as_deref(), Some("\"Bob\" <sip:4930@carrier.test>;tag=f;x=1"));
    }

    #[test]
    fn who_insists_on_more_than_a_proxy_can_do_is_refused() {
        let refused = |privacy: &str| {
            let request = request(&format!("Privacy: {privacy}\r\n"));
            to_trunk(&settings(&trunk(true)), &trunk(true), &request, Source::User(BOB)).err()
        };
        assert_eq!(refused("header;critical"), Some(Status::of(500)));
        assert_eq!(refused("id;session;critical"), Some(Status::of(500)));
        assert_eq!(refused("id;critical"), None);
        assert_eq!(refused("header"), None);
    }
}
