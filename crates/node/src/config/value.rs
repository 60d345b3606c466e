//! The types of values: how each is read from TOML, kept within its limits, and written.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dialtone_roles::settings::{Foreign, Integrity, KeepAliveContacts, Mode, TrunkFrom};
use dialtone_wire::Method;
use toml::Spanned;
use toml::de::DeValue;

use super::forwarding::DoNotDisturb;
use super::problem::{Place, Remedy, What};

/// Entries of one list.
pub(super) const LIST_MAX: usize = 256;

/// A value with the place where it stands; a default stands nowhere. Two are equal when their values are.
#[derive(Clone, Debug)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where the file sets it.
    pub place: Option<Place>,
}

impl<T: PartialEq> PartialEq for Setting<T> {
    fn eq(&self, other: &Setting<T>) -> bool {
        self.value == other.value
    }
}

impl<T> Setting<T> {
    pub(super) fn default(value: T) -> Setting<T> {
        Setting { value, place: None }
    }
}

/// What is wrong with a value, and how it is mended.
pub(super) type Fault = (What, Remedy);

/// Faults with where in the text they are.
pub(super) type Faults = Vec<(Range<usize>, Fault)>;

/// What a key can hold.
pub(super) trait Value: Clone + PartialEq + Sized {
    /// The limits of the key.
    type Bounds;
    /// Whether there may be no value: then it is written as `""`.
    const OPTIONAL: bool = false;
    /// A right value as TOML, where the type has one that helps more than a default.
    fn example(_: &Self::Bounds) -> String {
        String::new()
    }
    /// Reads the value; faults are added to the list, and then there is none.
    fn read(value: &Spanned<DeValue<'_>>, bounds: &Self::Bounds, faults: &mut Faults) -> Option<Self>;
    /// Writes it as TOML.
    fn write(&self) -> String;
    /// What it is, in the manual.
    fn kind() -> String;
    /// Its limits, in the manual; empty if the kind says all.
    fn limits(bounds: &Self::Bounds) -> String;
}

/// A value that is no list.
pub(super) trait Scalar: Clone + PartialEq + Sized {
    type Bounds;
    /// What it is, with its article.
    const KIND: &'static str;
    fn parse(value: &DeValue<'_>, bounds: &Self::Bounds) -> Result<Self, Fault>;
    fn write(&self) -> String;
    fn limits(_: &Self::Bounds) -> String {
        String::new()
    }
    /// A right value as TOML, for a key without a default.
    fn example(_: &Self::Bounds) -> String {
        String::new()
    }
}

impl<T: Scalar> Value for T {
    type Bounds = T::Bounds;

    fn read(value: &Spanned<DeValue<'_>>, bounds: &T::Bounds, faults: &mut Faults) -> Option<T> {
        T::parse(value.get_ref(), bounds).map_err(|fault| faults.push((value.span(), fault))).ok()
    }

    fn write(&self) -> String {
        Scalar::write(self)
    }

    fn kind() -> String {
        T::KIND.to_owned()
    }

    fn limits(bounds: &T::Bounds) -> String {
        <T as Scalar>::limits(bounds)
    }

    fn example(bounds: &T::Bounds) -> String {
        <T as Scalar>::example(bounds)
    }
}

/// A key that may be left out and has no default.
impl<T: Scalar> Value for Option<T> {
    type Bounds = T::Bounds;
    const OPTIONAL: bool = true;

    fn read(value: &Spanned<DeValue<'_>>, bounds: &T::Bounds, faults: &mut Faults) -> Option<Option<T>> {
        <T as Value>::read(value, bounds, faults).map(Some)
    }

    fn write(&self) -> String {
        self.as_ref().map_or_else(|| quoted(""), Scalar::write)
    }

    fn kind() -> String {
        T::KIND.to_owned()
    }

    fn limits(bounds: &T::Bounds) -> String {
        <T as Scalar>::limits(bounds)
    }

    fn example(bounds: &T::Bounds) -> String {
        <T as Scalar>::example(bounds)
    }
}

/// A key that must be there, though its type has a value for its absence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Required<T>(pub T);

impl<T: Value> Value for Required<T> {
    type Bounds = T::Bounds;

    fn read(value: &Spanned<DeValue<'_>>, bounds: &T::Bounds, faults: &mut Faults) -> Option<Required<T>> {
        T::read(value, bounds, faults).map(Required)
    }

    fn write(&self) -> String {
        self.0.write()
    }

    fn kind() -> String {
        T::kind()
    }

    fn limits(bounds: &T::Bounds) -> String {
        T::limits(bounds)
    }

    fn example(bounds: &T::Bounds) -> String {
        T::example(bounds)
    }
}

/// A list of texts without repetition, at most [`LIST_MAX`] long.
impl<T: Scalar<Bounds = ()>> Value for Vec<T> {
    type Bounds = ();

    fn read(value: &Spanned<DeValue<'_>>, (): &(), faults: &mut Faults) -> Option<Vec<T>> {
        let Some(array) = value.get_ref().as_array() else {
            let came = value.get_ref().type_str();
            let what = What::WrongType { expected: "a list", came };
            faults.push((value.span(), (what, Remedy::Example("[\"one\", \"two\"]"))));
            return None;
        };
        let faults_before = faults.len();
        let mut list: Vec<T> = Vec::new();
        for item in array.iter() {
            if list.len() >= LIST_MAX {
                faults.push((item.span(), (What::TooMany(LIST_MAX), Remedy::AtMostEntries(LIST_MAX))));
                break;
            }
            match <T as Value>::read(item, &(), faults) {
                Some(read) if list.contains(&read) => {
                    let came = Scalar::write(&read).trim_matches('"').into();
                    faults.push((item.span(), (What::Twice(came), Remedy::KeepOne)));
                }
                Some(read) => list.push(read),
                None => {}
            }
        }
        (faults.len() == faults_before).then_some(list)
    }

    fn write(&self) -> String {
        let items: Vec<String> = self.iter().map(Scalar::write).collect();
        format!("[{}]", items.join(", "))
    }

    fn kind() -> String {
        format!("list; each {}", T::KIND)
    }

    fn limits((): &()) -> String {
        format!("at most {LIST_MAX} entries")
    }
}

pub(super) fn wrong_type(value: &DeValue<'_>, expected: &'static str, example: &'static str) -> Fault {
    (What::WrongType { expected, came: value.type_str() }, Remedy::Example(example))
}

pub(super) fn malformed(came: &str, expected: &'static str, example: &'static str) -> Fault {
    (What::Malformed { expected, came: shortened(came) }, Remedy::Example(example))
}

/// What somebody wrote, short enough for a line on a terminal and without characters that would disturb it.
pub(super) fn shortened(text: &str) -> Box<str> {
    const CHARACTERS_MAX: usize = 60;
    let mut short: String = text.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().count() > CHARACTERS_MAX {
        short.push('…');
    }
    short.into()
}

/// A text as TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn within<T: PartialOrd + Scalar>(value: T, bounds: &RangeInclusive<T>) -> Result<T, Fault> {
    if value < *bounds.start() {
        let least = Scalar::write(bounds.start()).into();
        Err((What::TooSmall(Scalar::write(&value).into()), Remedy::AtLeast(least)))
    } else if value > *bounds.end() {
        let most = Scalar::write(bounds.end()).into();
        Err((What::TooLarge(Scalar::write(&value).into()), Remedy::AtMost(most)))
    } else {
        Ok(value)
    }
}

fn range<T: Scalar>(bounds: &RangeInclusive<T>) -> String {
    format!("{} to {}", Scalar::write(bounds.start()), Scalar::write(bounds.end()))
}

impl Scalar for bool {
    type Bounds = ();
    const KIND: &'static str = "true or false";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<bool, Fault> {
        value.as_bool().ok_or_else(|| wrong_type(value, Self::KIND, "true, without quotes"))
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

/// The number of a TOML integer; too large a one as the largest, a negative one as an error.
fn number(value: &DeValue<'_>, least: &str) -> Option<Result<u64, Fault>> {
    let integer = value.as_integer()?;
    let text = integer.as_str();
    Some(match i128::from_str_radix(text, integer.radix()) {
        Ok(number) if number < 0 => Err((What::TooSmall(shortened(text)), Remedy::AtLeast(least.into()))),
        Ok(number) => Ok(u64::try_from(number).unwrap_or(u64::MAX)),
        Err(_) if text.starts_with('-') => {
            Err((What::TooSmall(shortened(text)), Remedy::AtLeast(least.into())))
        }
        Err(_) => Ok(u64::MAX),
    })
}

impl Scalar for u64 {
    type Bounds = RangeInclusive<u64>;
    const KIND: &'static str = "a whole number";

    fn parse(value: &DeValue<'_>, bounds: &Self::Bounds) -> Result<u64, Fault> {
        let number = number(value, &bounds.start().to_string())
            .ok_or_else(|| wrong_type(value, Self::KIND, "1000, without quotes"))??;
        within(number, bounds)
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn example(bounds: &Self::Bounds) -> String {
        bounds.start().to_string()
    }

    fn limits(bounds: &Self::Bounds) -> String {
        range(bounds)
    }
}

/// A number of bytes: an integer, or a text with a unit, `"64KiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    const EXAMPLE: &'static str = "\"64KiB\" (the units are B, KiB, MiB and GiB) or 65536";
    const UNITS: [(&'static str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

    fn from_text(text: &str) -> Option<Size> {
        let (number, unit) = number_and_unit(text)?;
        let (_, factor) = Self::UNITS.into_iter().find(|(name, _)| *name == unit)?;
        Some(Size(number.saturating_mul(factor)))
    }
}

impl Scalar for Size {
    type Bounds = RangeInclusive<Size>;
    const KIND: &'static str = "a size in bytes";

    fn parse(value: &DeValue<'_>, bounds: &Self::Bounds) -> Result<Size, Fault> {
        if let Some(number) = number(value, &Scalar::write(bounds.start())) {
            return within(Size(number?), bounds);
        }
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, Self::EXAMPLE))?;
        let size = Size::from_text(text).ok_or_else(|| malformed(text, Self::KIND, Self::EXAMPLE))?;
        within(size, bounds)
    }

    fn write(&self) -> String {
        let unit = Self::UNITS.into_iter().find(|(_, factor)| self.0.is_multiple_of(*factor));
        match unit {
            Some((name, factor)) if factor > 1 && self.0 > 0 => format!("\"{}{name}\"", self.0 / factor),
            _ => self.0.to_string(),
        }
    }

    fn limits(bounds: &Self::Bounds) -> String {
        range(bounds)
    }
}

/// Durations are texts with a unit: `"500ms"`, `"32s"`, `"1h"`.
impl Scalar for Duration {
    type Bounds = RangeInclusive<Duration>;
    const KIND: &'static str = "a duration";

    fn parse(value: &DeValue<'_>, bounds: &Self::Bounds) -> Result<Duration, Fault> {
        const EXAMPLE: &str = "\"500ms\", \"32s\" or \"1h\" (the units are ms, s, m, h and d)";
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, EXAMPLE))?;
        within(duration(text).ok_or_else(|| malformed(text, Self::KIND, EXAMPLE))?, bounds)
    }

    fn write(&self) -> String {
        let ms = self.as_millis();
        let unit = DURATIONS.into_iter().find(|(_, factor)| ms.is_multiple_of(u128::from(*factor)));
        match unit {
            Some((name, factor)) if ms > 0 => format!("\"{}{name}\"", ms / u128::from(factor)),
            _ => "\"0s\"".to_owned(),
        }
    }

    fn limits(bounds: &Self::Bounds) -> String {
        range(bounds)
    }
}

const DURATIONS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let (_, factor) = DURATIONS.into_iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.saturating_mul(factor)))
}

/// `"500ms"` in two; too large a number as the largest.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|character: char| !character.is_ascii_digit())?;
    let (digits, unit) = text.split_at(end);
    (!digits.is_empty()).then(|| (digits.parse().unwrap_or(u64::MAX), unit.trim_start_matches(' ')))
}

/// A path; a relative one starts at the data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(pub(super) PathBuf);

impl FilePath {
    /// The path as it stands in the file.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl Scalar for FilePath {
    type Bounds = ();
    const KIND: &'static str = "a path";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<FilePath, Fault> {
        const EXAMPLE: &str = "\"dialtone.sock\"";
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, EXAMPLE))?;
        if text.is_empty() || text.contains('\0') || text.ends_with('/') {
            return Err(malformed(text, Self::KIND, EXAMPLE));
        }
        Ok(FilePath(text.into()))
    }

    fn example((): &()) -> String {
        quoted("name.password")
    }

    fn write(&self) -> String {
        quoted(&self.0.to_string_lossy())
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The least important log lines that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What stops the server.
    Error,
    /// What would wake someone.
    Warn,
    /// Calls and registrations.
    Info,
    /// Odd branches; users and addresses appear.
    Debug,
    /// Every packet.
    Trace,
}

impl LogLevel {
    /// The word of the settings file.
    pub fn as_str(self) -> &'static str {
        Choice::word(&self)
    }
}

/// An extension that the registrar knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// RFC 3327.
    Path,
    /// RFC 5626.
    Outbound,
    /// RFC 5627.
    Gruu,
}

impl Extension {
    /// Its option tag.
    pub fn tag(self) -> &'static str {
        Choice::word(&self)
    }
}

/// A method whose requests may be asked for a password, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the method of its name")]
pub enum AskedMethod {
    Invite,
    Bye,
    Options,
    Prack,
    Update,
    Info,
    Refer,
    Subscribe,
    Notify,
    Publish,
    Message,
}

impl AskedMethod {
    /// The method.
    pub fn method(self) -> Method {
        Method::parse(Choice::word(&self).as_bytes()).expect("each word is a method")
    }
}

/// A value that is one of a few words.
pub(super) trait Choice {
    const WORDS: &'static [&'static str];
    fn word(&self) -> &'static str;
}

macro_rules! choice {
    ($Type:ty, $kind:literal, $first:literal => $first_value:path $(, $word:literal => $value:path)*) => {
        impl $crate::config::value::Choice for $Type {
            const WORDS: &'static [&'static str] = &[$first $(, $word)*];

            fn word(&self) -> &'static str {
                match self {
                    $($value => $word,)*
                    // Some of them may grow; tests hold that each of their values is read as it is written.
                    #[allow(unreachable_patterns, reason = "not all of them may grow")]
                    _ => $first,
                }
            }
        }

        impl $crate::config::value::Scalar for $Type {
            type Bounds = ();
            const KIND: &'static str = $kind;

            fn parse(
                value: &toml::de::DeValue<'_>,
                (): &(),
            ) -> Result<$Type, $crate::config::value::Fault> {
                use $crate::config::problem::{Remedy, What};
                use $crate::config::value::Choice;
                let what = match value.as_str() {
                    Some($first) => return Ok($first_value),
                    $(Some($word) => return Ok($value),)*
                    Some(other) => What::Malformed {
                        expected: $kind,
                        came: $crate::config::value::shortened(other),
                    },
                    None => What::WrongType { expected: $kind, came: value.type_str() },
                };
                Err((what, Remedy::OneOf(Self::WORDS)))
            }

            fn write(&self) -> String {
                $crate::config::value::quoted($crate::config::value::Choice::word(self))
            }

            fn limits((): &()) -> String {
                let words = <$Type as $crate::config::value::Choice>::WORDS.iter();
                let words: Vec<String> = words.map(|word| $crate::config::value::quoted(word)).collect();
                words.join(", ")
            }
        }
    };
}

pub(super) use choice;

choice!(
    DoNotDisturb, "a status of do-not-disturb",
    "480" => DoNotDisturb::Unavailable, "486" => DoNotDisturb::Busy, "603" => DoNotDisturb::Decline
);
choice!(LogFormat, "a log format", "text" => LogFormat::Text, "json" => LogFormat::Json);
choice!(
    LogLevel, "a log level",
    "error" => LogLevel::Error, "warn" => LogLevel::Warn, "info" => LogLevel::Info, "debug" => LogLevel::Debug,
    "trace" => LogLevel::Trace
);
choice!(
    Integrity, "whether bodies are protected",
    "offered" => Integrity::Offered, "off" => Integrity::Off, "required" => Integrity::Required
);
choice!(
    Extension, "an extension",
    "path" => Extension::Path, "outbound" => Extension::Outbound, "gruu" => Extension::Gruu
);
choice!(
    AskedMethod, "a method",
    "INVITE" => AskedMethod::Invite, "BYE" => AskedMethod::Bye, "OPTIONS" => AskedMethod::Options,
    "PRACK" => AskedMethod::Prack, "UPDATE" => AskedMethod::Update, "INFO" => AskedMethod::Info,
    "REFER" => AskedMethod::Refer, "SUBSCRIBE" => AskedMethod::Subscribe, "NOTIFY" => AskedMethod::Notify,
    "PUBLISH" => AskedMethod::Publish, "MESSAGE" => AskedMethod::Message
);
choice!(
    Mode, "a mode of the proxy",
    "call" => Mode::Call, "transaction" => Mode::Transaction, "stateless" => Mode::Stateless,
    "redirect" => Mode::Redirect, "b2bua" => Mode::B2bua
);
choice!(
    KeepAliveContacts, "which contacts are asked",
    "nat" => KeepAliveContacts::Nat, "all" => KeepAliveContacts::All, "off" => KeepAliveContacts::Off
);
choice!(
    TrunkFrom, "what From says",
    "number" => TrunkFrom::Number, "account" => TrunkFrom::Account, "keep" => TrunkFrom::Keep
);
choice!(
    Foreign, "what happens to foreign domains",
    "refuse" => Foreign::Refuse, "authenticated" => Foreign::Authenticated, "open" => Foreign::Open
);
