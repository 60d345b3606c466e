//! `[[trunk]]`: the types of its values, and what they become.

use std::collections::BTreeMap;
use std::path::Path;

use dialtone_roles::settings::dial_plan::Pattern;
use dialtone_roles::settings::{Account, Destination, Domain, InboundNumber, Password, Trunk, TrunkAccess};
use dialtone_wire::uri::{Uri, UriBuf, escape_user};
use smol_str::{SmolStr, format_smolstr};
use toml::Spanned;
use toml::de::DeValue;

use super::keys::TrunkEntry;
use super::problem::{Place, Remedy, What};
use super::value::{Fault, Faults, Scalar, Value, malformed, quoted, shortened, wrong_type};

/// Entries of one map.
const MAP_MAX: usize = 10_000;
/// Bytes of a file with a password.
const PASSWORD_MAX: u64 = 1_024;

/// The name of a trunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrunkName(pub(super) SmolStr);

impl TrunkName {
    const BYTES_MAX: usize = 64;
    const EXAMPLE: &'static str = "\"carrier\"";

    /// The name; empty where the file names none.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Scalar for TrunkName {
    type Bounds = ();
    const KIND: &'static str = "a name of letters, digits, `-`, `_` and `.`";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<TrunkName, Fault> {
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, Self::EXAMPLE))?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() || text.len() > Self::BYTES_MAX || !text.bytes().all(legal) {
            return Err(malformed(text, Self::KIND, Self::EXAMPLE));
        }
        Ok(TrunkName(text.into()))
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }

    fn example((): &()) -> String {
        Self::EXAMPLE.to_owned()
    }
}

/// Where a server is: a SIP URI without a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUri(pub(super) UriBuf);

impl ServerUri {
    const EXAMPLE: &'static str = "\"sip:192.0.2.1:5060\" or \"sip:example.com;transport=tcp\"";

    /// The URI.
    pub fn uri(&self) -> &UriBuf {
        &self.0
    }
}

impl Scalar for ServerUri {
    type Bounds = ();
    const KIND: &'static str = "a SIP URI without user";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<ServerUri, Fault> {
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, Self::EXAMPLE))?;
        let read = UriBuf::parse(text).ok().filter(|uri| match uri.uri() {
            Uri::Sip(sip) => !sip.secure && sip.user.is_none() && sip.headers.is_empty(),
            _ => false,
        });
        read.map(ServerUri).ok_or_else(|| malformed(text, Self::KIND, Self::EXAMPLE))
    }

    fn write(&self) -> String {
        quoted(self.0.as_str())
    }

    fn example((): &()) -> String {
        quoted("sip:example.com")
    }
}

/// Where servers are, the preferred one first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerUris(pub(super) Vec<ServerUri>);

impl Value for ServerUris {
    type Bounds = ();

    fn read(value: &Spanned<DeValue<'_>>, (): &(), faults: &mut Faults) -> Option<ServerUris> {
        <Vec<ServerUri> as Value>::read(value, &(), faults).map(ServerUris)
    }

    fn write(&self) -> String {
        if self.0.is_empty() { quoted("") } else { Value::write(&self.0) }
    }

    fn kind() -> String {
        <Vec<ServerUri> as Value>::kind()
    }

    fn limits(bounds: &()) -> String {
        <Vec<ServerUri> as Value>::limits(bounds)
    }

    fn example((): &()) -> String {
        "[\"sip:192.0.2.1\"]".to_owned()
    }
}

/// A user here or there, with or without a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkUser(pub(super) SmolStr);

impl TrunkUser {
    const BYTES_MAX: usize = 128;
    const EXAMPLE: &'static str = "\"4930123\"";

    /// The user and, where it stands, the domain.
    pub fn parts(&self) -> (&str, Option<&str>) {
        self.0.rsplit_once('@').map_or((&self.0, None), |(user, domain)| (user, Some(domain)))
    }
}

impl Scalar for TrunkUser {
    type Bounds = ();
    const KIND: &'static str = "a user name";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<TrunkUser, Fault> {
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, Self::EXAMPLE))?;
        let legal = |character: char| {
            !character.is_whitespace() && !character.is_control() && !"<>\"".contains(character)
        };
        if text.is_empty() || text.len() > Self::BYTES_MAX || !text.chars().all(legal) {
            return Err(malformed(text, Self::KIND, Self::EXAMPLE));
        }
        Ok(TrunkUser(text.into()))
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }

    fn example((): &()) -> String {
        Self::EXAMPLE.to_owned()
    }
}

/// A number as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownNumber(pub(super) SmolStr);

impl ShownNumber {
    const EXAMPLE: &'static str = "\"+4930123\"";

    fn read(text: &str) -> Option<ShownNumber> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let legal =
            !digits.is_empty() && digits.len() <= 32 && digits.bytes().all(|byte| byte.is_ascii_digit());
        legal.then(|| ShownNumber(text.into()))
    }
}

impl Scalar for ShownNumber {
    type Bounds = ();
    const KIND: &'static str = "a number of digits, with or without +";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<ShownNumber, Fault> {
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, Self::EXAMPLE))?;
        ShownNumber::read(text).ok_or_else(|| malformed(text, Self::KIND, Self::EXAMPLE))
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }

    fn example((): &()) -> String {
        Self::EXAMPLE.to_owned()
    }
}

/// Where a number leads: `user:bob`, `user:bob@example.com`, `group:sales`, `trunk:branch` or a SIP URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InboundTo {
    /// A user, and his domain where it is not the first one.
    User(SmolStr, Option<SmolStr>),
    /// A group by its name.
    Group(SmolStr),
    /// Another trunk by its name.
    Trunk(SmolStr),
    /// Anywhere.
    Uri(UriBuf),
}

impl InboundTo {
    const EXAMPLE: &'static str = "\"user:bob\", \"group:sales\" or \"sip:sales@192.0.2.1\"";

    fn read(text: &str) -> Option<InboundTo> {
        if let Some(user) = text.strip_prefix("user:") {
            let (user, domain) =
                user.rsplit_once('@').map_or((user, None), |(user, domain)| (user, Some(domain)));
            let legal = |part: &str| {
                !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control())
            };
            return (legal(user) && domain.is_none_or(legal)).then(|| {
                InboundTo::User(user.into(), domain.map(|domain| domain.to_ascii_lowercase().into()))
            });
        }
        if let Some(group) = text.strip_prefix("group:") {
            return (!group.is_empty()).then(|| InboundTo::Group(group.into()));
        }
        if let Some(trunk) = text.strip_prefix("trunk:") {
            return (!trunk.is_empty()).then(|| InboundTo::Trunk(trunk.into()));
        }
        let uri = UriBuf::parse(text).ok()?;
        uri.uri().as_sip().is_some().then_some(InboundTo::Uri(uri))
    }

    fn write(&self) -> String {
        match self {
            InboundTo::User(user, None) => format!("user:{user}"),
            InboundTo::User(user, Some(domain)) => format!("user:{user}@{domain}"),
            InboundTo::Group(group) => format!("group:{group}"),
            InboundTo::Trunk(trunk) => format!("trunk:{trunk}"),
            InboundTo::Uri(uri) => uri.as_str().to_owned(),
        }
    }
}

/// Numbers that are called from a trunk, in the order of the file, and where they lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberMap(pub(super) Vec<(Pattern, InboundTo)>);

impl Value for NumberMap {
    type Bounds = ();

    fn read(value: &Spanned<DeValue<'_>>, (): &(), faults: &mut Faults) -> Option<NumberMap> {
        let entries =
            read_map(value, "{ \"+4930123xx\" = \"user:bob\" }", faults, |key, to, faults, span| {
                let pattern = key.parse::<Pattern>().map_err(|_| {
                    faults.push((
                        span.clone(),
                        malformed(key, "a number, in which x is any digit", "\"+4930123xx\""),
                    ));
                });
                let to = InboundTo::read(to).ok_or_else(|| {
                    faults.push((span, malformed(to, "a user, a group or a SIP URI", InboundTo::EXAMPLE)));
                });
                pattern.ok().zip(to.ok())
            })?;
        Some(NumberMap(entries))
    }

    fn write(&self) -> String {
        let entries = self.0.iter();
        write_map(entries.map(|(pattern, to)| (pattern.as_str().to_owned(), to.write())))
    }

    fn kind() -> String {
        "a map of numbers to users, groups or SIP URIs".to_owned()
    }

    fn limits((): &()) -> String {
        format!("at most {MAP_MAX} entries")
    }
}

/// Which number a user shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerIds(pub(super) Vec<(TrunkUser, ShownNumber)>);

impl Value for CallerIds {
    type Bounds = ();

    fn read(value: &Spanned<DeValue<'_>>, (): &(), faults: &mut Faults) -> Option<CallerIds> {
        let entries = read_map(value, "{ alice = \"+49301231\" }", faults, |user, number, faults, span| {
            let number = ShownNumber::read(number);
            if number.is_none() {
                let fault = malformed(user, "a user and a number of digits", "{ alice = \"+49301231\" }");
                faults.push((span, fault));
            }
            Some((TrunkUser(user.into()), number?))
        })?;
        Some(CallerIds(entries))
    }

    fn write(&self) -> String {
        write_map(self.0.iter().map(|(user, number)| (user.0.to_string(), number.0.to_string())))
    }

    fn kind() -> String {
        "a map of users to numbers".to_owned()
    }

    fn limits((): &()) -> String {
        format!("at most {MAP_MAX} entries")
    }
}

/// Reads a map of texts to texts, in the order of the file; `None` if there was a fault.
fn read_map<T>(
    value: &Spanned<DeValue<'_>>,
    example: &'static str,
    faults: &mut Faults,
    mut read: impl FnMut(&str, &str, &mut Faults, std::ops::Range<usize>) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(table) = value.get_ref().as_table() else {
        faults.push((value.span(), wrong_type(value.get_ref(), "a map", example)));
        return None;
    };
    let before = faults.len();
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    if let Some((key, _)) = entries.get(MAP_MAX) {
        faults.push((key.span(), (What::TooMany(MAP_MAX), Remedy::AtMostEntries(MAP_MAX))));
    }
    let mut out = Vec::new();
    for (key, value) in entries.into_iter().take(MAP_MAX) {
        match value.get_ref().as_str() {
            Some(text) => out.extend(read(key.get_ref(), text, faults, value.span())),
            None => faults.push((value.span(), wrong_type(value.get_ref(), "a text", example))),
        }
    }
    (faults.len() == before).then_some(out)
}

fn write_map(entries: impl Iterator<Item = (String, String)>) -> String {
    let entries: Vec<String> =
        entries.map(|(key, value)| format!("{} = {}", quoted(&key), quoted(&value))).collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

/// What resolving a trunk finds wrong.
pub(super) type Report<'a> = dyn FnMut(Option<Place>, &str, What, Remedy) + 'a;

/// The trunks of the file.
pub(super) fn resolve(
    entries: &[TrunkEntry],
    data: &Path,
    domains: &[Domain],
    report: &mut Report<'_>,
) -> Vec<Trunk> {
    let mut trunks: Vec<Trunk> = Vec::new();
    for entry in entries {
        let Some(trunk) = resolve_one(entry, data, domains, report) else { continue };
        if trunks.iter().any(|known| known.name == trunk.name) {
            report(entry.name.place, "trunk.name", What::Twice(trunk.name.as_str().into()), Remedy::KeepOne);
        }
        trunks.push(trunk);
    }
    for entry in entries {
        for (_, to) in &entry.numbers.value.0 {
            if let InboundTo::Trunk(name) = to
                && !trunks.iter().any(|trunk| trunk.name == *name)
            {
                let what = What::NoSuch("trunk", shortened(name));
                report(entry.numbers.place, "trunk.numbers", what, Remedy::AddTable("trunk"));
            }
        }
    }
    trunks
}

fn resolve_one(
    entry: &TrunkEntry,
    data: &Path,
    domains: &[Domain],
    report: &mut Report<'_>,
) -> Option<Trunk> {
    let name = &entry.name.value;
    if name.as_str().is_empty() {
        report(entry.name.place, "trunk", What::Missing("name"), Remedy::Add("name = \"carrier\""));
        return None;
    }
    let ways =
        [!entry.address.value.0.is_empty(), entry.registrar.value.is_some(), entry.account.value.is_some()];
    match ways.iter().filter(|given| **given).count() {
        1 => {}
        // One that was refused stands elsewhere than the entry.
        0 if entry.address.place != entry.registrar.place || entry.address.place != entry.account.place => {
            return None;
        }
        0 => {
            let example = "address = [\"sip:192.0.2.1\"]";
            report(entry.name.place, "trunk", What::Missing("address"), Remedy::Add(example));
            return None;
        }
        _ => {
            let what = What::Malformed {
                expected: "one of `address`, `registrar` and `account`",
                came: "several of them".into(),
            };
            report(entry.name.place, "trunk", what, Remedy::KeepOne);
            return None;
        }
    }
    let account = own_account(entry, data, report);
    let access = match (&entry.registrar.value, &entry.account.value) {
        (Some(registrar), _) => {
            let Some(account) = account.clone() else {
                if entry.user.value.is_some() {
                    return None;
                }
                report(
                    entry.registrar.place,
                    "trunk",
                    What::Missing("user"),
                    Remedy::Add("user = \"4930123\""),
                );
                return None;
            };
            TrunkAccess::Registrar { registrar: registrar.0.clone(), account, gin: entry.gin.value }
        }
        (None, Some(user)) => {
            let (user, domain) = user.parts();
            TrunkAccess::User { aor: aor_of(user, domain, domains) }
        }
        (None, None) => {
            TrunkAccess::Addresses(entry.address.value.0.iter().map(|address| address.0.clone()).collect())
        }
    };
    let to = |to: &InboundTo| match to {
        InboundTo::User(user, domain) => Destination::User(aor_of(user, domain.as_deref(), domains)),
        InboundTo::Group(group) => Destination::Group(group.clone()),
        // The number is the one that is called.
        InboundTo::Trunk(trunk) => Destination::Trunk { trunk: trunk.clone(), number: SmolStr::default() },
        InboundTo::Uri(uri) => Destination::Uri(uri.clone()),
    };
    let numbers = entry.numbers.value.0.iter();
    let numbers =
        numbers.map(|(pattern, of)| InboundNumber { pattern: pattern.clone(), to: to(of) }).collect();
    let caller_ids = entry.caller_ids.value.0.iter().map(|(user, number)| {
        let (user, domain) = user.parts();
        (aor_of(user, domain, domains), number.0.clone())
    });
    let probes = matches!(access, TrunkAccess::Addresses(_)) && !entry.probe.value.is_zero();
    Some(Trunk {
        credentials: account.filter(|_| matches!(access, TrunkAccess::Addresses(_))),
        trust: entry.trust.value,
        caller_id: entry.caller_id.value.as_ref().map(|number| number.0.clone()),
        caller_ids: caller_ids.collect::<BTreeMap<_, _>>(),
        from: entry.from.value,
        user_phone: entry.user_phone.value,
        numbers,
        calls_max: usize::try_from(entry.calls.value).unwrap_or(usize::MAX),
        probe: probes.then_some(entry.probe.value),
        answer_within: entry.answer_within.value,
        ..Trunk::new(name.as_str(), access)
    })
}

/// Who we are on the other side, if the file says so.
fn own_account(entry: &TrunkEntry, data: &Path, report: &mut Report<'_>) -> Option<Account> {
    let user = entry.user.value.as_ref()?;
    let (user, domain) = user.parts();
    let server = entry.registrar.value.as_ref().or_else(|| entry.address.value.0.first());
    let host = server.and_then(|server| server.0.uri().as_sip().map(|sip| sip.host.to_string()));
    let host = domain.map(str::to_owned).or(host).unwrap_or_default();
    let aor = UriBuf::parse(&format!("sip:{}@{host}", escape_user(user)));
    let Ok(aor) = aor else {
        let what = What::Malformed { expected: TrunkUser::KIND, came: shortened(user) };
        report(entry.user.place, "trunk.user", what, Remedy::Example(TrunkUser::EXAMPLE));
        return None;
    };
    let Some(file) = &entry.password_file.value else {
        let remedy = Remedy::Add("password_file = \"carrier.password\"");
        report(entry.user.place, "trunk", What::Missing("password_file"), remedy);
        return None;
    };
    let password = match read_password(&data.join(file.as_path())) {
        Ok(password) => password,
        Err(kind) => {
            report(
                entry.password_file.place,
                "trunk.password_file",
                What::UnreadableSecret(kind),
                Remedy::WritePassword,
            );
            return None;
        }
    };
    let auth_user = entry.auth_user.value.as_ref().map_or_else(|| SmolStr::new(user), |user| user.0.clone());
    let expires_s = u32::try_from(entry.expires.value.as_secs()).unwrap_or(u32::MAX);
    let proxy = entry.proxy.value.as_ref().map(|proxy| proxy.0.clone());
    Some(Account {
        aor,
        display_name: None,
        auth_user,
        password: Password(password),
        proxy,
        backup_proxy: None,
        realms: Vec::new(),
        expires_s,
    })
}

/// The first line of a file.
fn read_password(path: &Path) -> Result<SmolStr, std::io::ErrorKind> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.kind())?;
    file.take(PASSWORD_MAX).read_to_string(&mut text).map_err(|error| error.kind())?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() { Err(std::io::ErrorKind::UnexpectedEof) } else { Ok(line.into()) }
}

/// The canonical address-of-record of a user: without a domain, of the first one.
fn aor_of(user: &str, domain: Option<&str>, domains: &[Domain]) -> SmolStr {
    let domain = match domain {
        Some(domain) => SmolStr::new(domain),
        None => domains.first().map(|domain| domain.name.clone()).unwrap_or_default(),
    };
    format_smolstr!("sip:{}@{domain}", escape_user(user))
}

#[cfg(test)]
mod tests;
