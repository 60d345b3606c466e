//! What can be wrong with a settings file, in the words of an operator.

use std::fmt;
use std::io;
use std::sync::Arc;

use dialtone_roles::settings::dial_plan::PatternError;

/// A place in a file: line and column, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// One thing that is wrong with a settings file, or with the command line that goes with it.
///
/// Its `Display` is two lines, as of a compiler: `FILE:LINE:COLUMN: what`, then `  help: remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The name of the file as it was given.
    pub file: Arc<str>,
    /// The line, counted from 1; 0 where the file as a whole or the command line is meant.
    pub line: u32,
    /// The column in characters, counted from 1; 0 where the line is 0.
    pub column: u32,
    /// The key with its table, `registrar.expires_min`; empty where none is concerned.
    pub key: String,
    /// What is wrong.
    pub what: What,
    /// What to do about it.
    pub remedy: Remedy,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() && !matches!(self.what, What::UnknownKey | What::UnknownTable) {
            write!(f, "`{}`: ", self.key)?;
        } else if !self.key.is_empty() {
            write!(f, "`{}` ", self.key)?;
        }
        write!(f, "{}\n  help: {}", self.what, self.remedy)
    }
}

/// What is wrong. Its `Display` reads after the name of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The file can't be read.
    Unreadable(io::ErrorKind),
    /// A file with a password can't be read, or is empty.
    UnreadableSecret(io::ErrorKind),
    /// The file is longer than this many bytes.
    FileTooLong(usize),
    /// The bytes from here on are no UTF-8.
    NotUtf8,
    /// It is no TOML; the words are those of the TOML parser.
    Syntax(Box<str>),
    /// A key or table stands there for the second time.
    Duplicate,
    /// There is no such key.
    UnknownKey,
    /// There is no such table.
    UnknownTable,
    /// The value is of another type.
    WrongType {
        /// What belongs there, with its article.
        expected: &'static str,
        /// The type in TOML's words.
        came: &'static str,
    },
    /// The text does not have the form.
    Malformed {
        /// What belongs there, with its article.
        expected: &'static str,
        /// What stands there, shortened where it is long.
        came: Box<str>,
    },
    /// The value is below the least.
    TooSmall(Box<str>),
    /// The value is above the most.
    TooLarge(Box<str>),
    /// The list has more entries than this.
    TooMany(usize),
    /// The same entry stands in the list before, or in another list that it must differ from.
    Twice(Box<str>),
    /// A key that must be there is not.
    Missing(&'static str),
    /// One value must not be larger than another.
    Order {
        /// The key whose value is too large, as text `key = value`.
        less: Box<str>,
        /// The key whose value is too small, likewise.
        more: Box<str>,
    },
    /// An address that others than this machine reach, where only this machine may.
    NotLoopback(Box<str>),
    /// An address that can be reached from outside, without `server.public`.
    Public(Box<str>),
    /// With `server.public`, everybody could send calls anywhere through this server.
    OpenRelay,
    /// With `server.public`, everybody could register as anybody.
    OpenToAll,
    /// Foreign domains are for whoever has authenticated, and nobody is asked to.
    NobodyAuthenticates,
    /// The text is no pattern of a number.
    Pattern(Box<str>, PatternError),
    /// The key says nothing where `to` is not this.
    OnlyWith(&'static str),
    /// A code that does not go with this `to`.
    Code(Box<str>, &'static str),
    /// Something of this kind is named that is not there.
    NoSuch(&'static str, Box<str>),
    /// The path of a Unix socket is longer than the system takes.
    PathTooLong(usize),
    /// More problems than are listed; this many were left out.
    More(usize),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Unreadable(kind) => write!(f, "this settings file can't be read: {kind}"),
            What::UnreadableSecret(kind) => write!(f, "no password can be read from this file: {kind}"),
            What::FileTooLong(most) => {
                write!(f, "this file is longer than {most} bytes: it is no settings file")
            }
            What::NotUtf8 => f.write_str("what stands here is no UTF-8 text"),
            What::Syntax(words) => f.write_str(words),
            What::Duplicate => f.write_str("stands here for the second time"),
            What::UnknownKey => f.write_str("is no key that Dialtone knows"),
            What::UnknownTable => f.write_str("is no table that Dialtone knows"),
            What::WrongType { expected, came } => write!(f, "expected {expected}, found TOML type {came}"),
            What::Malformed { expected, came } => write!(f, "expected {expected}, found `{came}`"),
            What::TooSmall(came) => write!(f, "{came} is too little"),
            What::TooLarge(came) => write!(f, "{came} is too much"),
            What::TooMany(most) => write!(f, "the list has more than {most} entries"),
            What::Twice(came) => write!(f, "`{came}` is named twice"),
            What::Missing(key) => write!(f, "the key `{key}` is missing here"),
            What::Order { less, more } => write!(f, "`{less}` is more than `{more}`"),
            What::NotLoopback(came) => write!(f, "`{came}` can be reached from other machines"),
            What::Public(came) => write!(f, "`{came}` can be reached from outside"),
            What::OpenRelay => {
                f.write_str("with `server.public` everybody could send calls anywhere through this server")
            }
            What::OpenToAll => f.write_str("with `server.public` everybody could register as anybody"),
            What::NobodyAuthenticates => {
                f.write_str("`authenticated` lets nobody through while `digest.required` is false")
            }
            What::Pattern(came, error) => write!(f, "`{came}` is no pattern of a number: {error}"),
            What::OnlyWith(to) => write!(f, "says something only with `to = \"{to}\"`"),
            What::Code(code, to) => write!(f, "{code} is no code for `to = \"{to}\"`"),
            What::NoSuch(kind, name) => write!(f, "`{name}` is no {kind}"),
            What::PathTooLong(length) => write!(f, "the path of this socket is {length} bytes long"),
            What::More(count) => write!(f, "{count} more problems are not listed"),
        }
    }
}

/// What to do about a problem. Its `Display` reads after `help: `.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Look whether the file is there and may be read.
    CheckFile,
    /// Write a password into a file.
    WritePassword,
    /// Name another file.
    NameSettingsFile,
    /// Save it as UTF-8.
    SaveAsUtf8,
    /// Write it as TOML wants it.
    WriteToml,
    /// Keep one of two.
    KeepOne,
    /// The nearest name that there is.
    DidYouMean(Box<str>),
    /// The key is known, in another table.
    BelongsTo(&'static str),
    /// No name is near: where they are listed.
    PrintDefaults,
    /// Secrets never stand in the settings file.
    NoSecrets,
    /// One of these values.
    OneOf(&'static [&'static str]),
    /// What a right value looks like, as TOML.
    Example(&'static str),
    /// Write the header of this table with two brackets, since it may stand several times.
    Header(&'static str),
    /// Take it away.
    Remove,
    /// Add an entry of this table, or name one that is there.
    AddTable(&'static str),
    /// No less than this.
    AtLeast(Box<str>),
    /// No more than this.
    AtMost(Box<str>),
    /// No more than so many entries.
    AtMostEntries(usize),
    /// Write the key with a value like this one.
    Add(&'static str),
    /// Change one of the two.
    ChangeEither,
    /// Say that it is meant, or name a private address.
    SayPublic,
    /// Take the settings that keep strangers out.
    Close(&'static str),
    /// Leave out one of two options of the command line.
    LeaveOutEither(&'static str, &'static str),
    /// Shorten the path.
    ShorterPath(usize),
    /// Mend these first.
    MendFirst,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remedy::CheckFile => f.write_str("look whether the file is there and may be read by this user"),
            Remedy::WritePassword => {
                f.write_str("write the password into its first line, and let nobody but the server read it")
            }
            Remedy::NameSettingsFile => f.write_str("name the settings file with --config"),
            Remedy::SaveAsUtf8 => f.write_str("save the file as UTF-8"),
            Remedy::WriteToml => {
                f.write_str("write `key = value`, texts in double quotes, tables as `[name]` (see toml.io)")
            }
            Remedy::KeepOne => f.write_str("keep one of the two and remove the other"),
            Remedy::DidYouMean(name) => write!(f, "did you mean `{name}`?"),
            Remedy::BelongsTo(table) => write!(f, "it belongs into the table `[{table}]`"),
            Remedy::PrintDefaults => {
                f.write_str("remove it; `dialtone serve --print-defaults` lists all keys")
            }
            Remedy::NoSecrets => f.write_str(
                "remove it: no secret stands in this file; passwords are set with `dialtone user add`",
            ),
            Remedy::OneOf(choices) => {
                f.write_str("write ")?;
                for (index, choice) in choices.iter().enumerate() {
                    let before = match index {
                        0 => "",
                        _ if index + 1 == choices.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{before}\"{choice}\"")?;
                }
                Ok(())
            }
            Remedy::Example(example) => write!(f, "write for example {example}"),
            Remedy::Header(table) => write!(f, "write for example `[[{table}]]` with two brackets"),
            Remedy::Remove => f.write_str("remove it"),
            Remedy::AddTable(table) => write!(f, "name one that is there, or add it as `[[{table}]]`"),
            Remedy::AtLeast(least) => write!(f, "write {least} or more"),
            Remedy::AtMost(most) => write!(f, "write {most} or less"),
            Remedy::AtMostEntries(most) => write!(f, "keep {most} entries or fewer"),
            Remedy::Add(example) => write!(f, "add a line like `{example}`"),
            Remedy::ChangeEither => f.write_str("change one of the two"),
            Remedy::SayPublic => f.write_str(
                "name a private address, or set `server.public = true` or --public if that is what you want",
            ),
            Remedy::Close(line) => write!(f, "set `{line}`, or leave out `public`"),
            Remedy::LeaveOutEither(one, other) => write!(f, "leave out {one} or {other}"),
            Remedy::ShorterPath(most) => write!(f, "name a path of at most {most} bytes, best below /run"),
            Remedy::MendFirst => f.write_str("mend those above and check again"),
        }
    }
}
