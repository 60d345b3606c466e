//! From bytes to [`Config`], with all problems on the way.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{Config, TableInfo, tables};
use super::nearest::nearest;
use super::problem::{Place, Problem, Remedy, What};
use super::table::FaultReader;
use super::value::{Fault, shortened};

/// Bytes of a settings file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Problems of one file that are listed.
pub const PROBLEMS_MAX: usize = 100;

impl Config {
    /// Reads a file from the disk.
    ///
    /// # Errors
    /// All problems of the file in the order of their places; one without a place if it can't be read.
    pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
        let name = path.display().to_string();
        Config::read(bytes_of(path)?, &name)
    }

    /// Reads the text of a file; the name is for messages only.
    ///
    /// # Errors
    /// All problems of the file in the order of their places, at most [`PROBLEMS_MAX`] and one that counts the rest.
    pub fn read(text: impl AsRef<[u8]>, file_name: &str) -> Result<Config, Vec<Problem>> {
        let (config, problems) = Config::read_all(text.as_ref(), file_name);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// Reads what can be read; what is wrong has its default.
    pub(super) fn read_all(bytes: &[u8], file_name: &str) -> (Config, Vec<Problem>) {
        let file: Arc<str> = file_name.into();
        let mut config = Config { file: Arc::clone(&file), ..Config::default() };
        if bytes.len() > FILE_BYTES_MAX {
            let what = What::FileTooLong(FILE_BYTES_MAX);
            return (config, vec![without_place(&file, what, Remedy::NameSettingsFile)]);
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let good = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
                let mut source = Source::new(&good);
                source.add(good.len(), String::new(), (What::NotUtf8, Remedy::SaveAsUtf8));
                return (config, source.problems(&file));
            }
        };
        let mut source = Source::new(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        source.walk(table.get_ref(), &mut config);
        source.add_syntax(&errors);
        (config, source.problems(&file))
    }
}

/// Reads the bytes of a file, at most one more than [`FILE_BYTES_MAX`].
pub(super) fn bytes_of(path: &Path) -> Result<Vec<u8>, Vec<Problem>> {
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let file: Arc<str> = path.display().to_string().into();
            Err(vec![without_place(&file, What::Unreadable(error.kind()), Remedy::CheckFile)])
        }
    }
}

fn without_place(file: &Arc<str>, what: What, remedy: Remedy) -> Problem {
    Problem { file: Arc::clone(file), line: 0, column: 0, key: String::new(), what, remedy }
}

/// A text, where its lines begin, and what was found in it.
struct Source<'t> {
    text: &'t str,
    /// Offsets of the beginnings of lines.
    lines: Vec<usize>,
    found: Vec<Found>,
    /// Problems beyond [`PROBLEMS_MAX`].
    more: usize,
    tables: Vec<TableInfo>,
}

/// A problem at an offset.
struct Found {
    offset: usize,
    key: String,
    fault: Fault,
}

impl<'t> Source<'t> {
    fn new(text: &'t str) -> Source<'t> {
        let after_newlines =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(after_newlines).collect();
        Source { text, lines, found: Vec::new(), more: 0, tables: tables() }
    }

    /// Index of the line that an offset is in.
    fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.line(offset);
        let before = self.lines.get(line).and_then(|start| self.text.get(*start..offset)).unwrap_or_default();
        let counted = |number: usize| u32::try_from(number.saturating_add(1)).unwrap_or(u32::MAX);
        Place { line: counted(line), column: counted(before.chars().count()) }
    }

    fn is_full(&self) -> bool {
        self.found.len() >= PROBLEMS_MAX
    }

    fn add(&mut self, offset: usize, key: String, fault: Fault) {
        if self.is_full() {
            self.more += 1;
        } else {
            self.found.push(Found { offset, key, fault });
        }
    }

    fn walk(&mut self, root: &DeTable<'_>, config: &mut Config) {
        for (name, value) in root.iter() {
            let (offset, name) = (name.span().start, name.get_ref().as_ref());
            let Some(index) = self.tables.iter().position(|table| table.name == name) else {
                self.unknown_at_root(offset, name, value);
                continue;
            };
            match (self.tables[index].entries_max, value.get_ref()) {
                (None, DeValue::Table(table)) => self.table(index, table, config),
                (Some(most), DeValue::Array(entries)) => {
                    for (number, entry) in entries.iter().enumerate() {
                        self.entry(index, number < most, entry, config);
                    }
                }
                (entries_max, other) => {
                    let (expected, remedy) = match entries_max {
                        Some(_) => {
                            ("a table that may stand several times", Remedy::Header(self.tables[index].name))
                        }
                        None => {
                            let example = "`[name]` with one bracket, and the keys below it";
                            ("a table that stands once", Remedy::Example(example))
                        }
                    };
                    let what = What::WrongType { expected, came: other.type_str() };
                    self.add(offset, name.to_owned(), (what, remedy));
                }
            }
        }
    }

    fn table(&mut self, index: usize, table: &DeTable<'_>, config: &mut Config) {
        let table_name = self.tables[index].name;
        for (key, value) in table.iter() {
            let name = key.get_ref().as_ref();
            self.value(index, key.span().start, name, |reader| {
                config.read_key(table_name, name, value, reader)
            });
        }
    }

    /// Takes one entry of a table that may stand several times.
    fn entry(&mut self, index: usize, is_room: bool, entry: &Spanned<DeValue<'_>>, config: &mut Config) {
        let (name, offset) = (self.tables[index].name, entry.span().start);
        if !is_room {
            let most = self.tables[index].entries_max.unwrap_or_default();
            return self.add(offset, name.to_owned(), (What::TooMany(most), Remedy::AtMostEntries(most)));
        }
        let Some(table) = entry.get_ref().as_table() else {
            let what = What::WrongType { expected: "a table", came: entry.get_ref().type_str() };
            return self.add(offset, name.to_owned(), (what, Remedy::Header(name)));
        };
        config.begin_entry(name, self.place(offset));
        for (key, value) in table.iter() {
            let key_name = key.get_ref().as_ref();
            self.value(index, key.span().start, key_name, |reader| {
                config.read_entry_key(name, key_name, value, reader)
            });
        }
    }

    /// Reads the value of one key of a table; `read` says whether the key is known.
    fn value(
        &mut self,
        index: usize,
        offset: usize,
        name: &str,
        read: impl FnOnce(&mut FaultReader<'_>) -> bool,
    ) {
        let mut reader = FaultReader { faults: Vec::new(), place_of: &|offset| self.place(offset) };
        let known = read(&mut reader);
        let faults = std::mem::take(&mut reader.faults);
        let path = format!("{}.{}", self.tables[index].name, shortened(name));
        if !known {
            let fault = if self.is_full() { unlisted() } else { self.unknown_in_table(index, name) };
            return self.add(offset, path, fault);
        }
        for (span, fault) in faults {
            self.add(span.start, path.clone(), fault);
        }
    }

    fn unknown_at_root(&mut self, offset: usize, name: &str, value: &Spanned<DeValue<'_>>) {
        if self.is_full() {
            return self.add(offset, String::new(), unlisted());
        }
        let key = shortened(name).into_string();
        let tables = self.tables.iter().map(|table| table.name);
        let is_table = value.get_ref().is_table();
        let remedy = if names_secret(name) {
            Remedy::NoSecrets
        } else if !is_table && let Some(table) = self.table_with(name) {
            Remedy::BelongsTo(table)
        } else if let Some(near) = nearest(name, tables) {
            Remedy::DidYouMean(format!("[{near}]").into())
        } else if let Some(near) = (!is_table).then(|| self.near_anywhere(name)).flatten() {
            near
        } else {
            Remedy::PrintDefaults
        };
        let what = if is_table { What::UnknownTable } else { What::UnknownKey };
        self.add(offset, key, (what, remedy));
    }

    fn unknown_in_table(&self, index: usize, name: &str) -> Fault {
        let own = self.tables[index].keys.iter().map(|key| key.name);
        let remedy = if names_secret(name) {
            Remedy::NoSecrets
        } else if let Some(near) = nearest(name, own) {
            Remedy::DidYouMean(near.into())
        } else if let Some(table) = self.table_with(name) {
            Remedy::BelongsTo(table)
        } else {
            self.near_anywhere(name).unwrap_or(Remedy::PrintDefaults)
        };
        (What::UnknownKey, remedy)
    }

    /// The first table that has a key of this name.
    fn table_with(&self, name: &str) -> Option<&'static str> {
        let has = |table: &&TableInfo| table.keys.iter().any(|key| key.name == name);
        self.tables.iter().find(has).map(|table| table.name)
    }

    fn near_anywhere(&self, name: &str) -> Option<Remedy> {
        let keys = || self.tables.iter().flat_map(|table| &table.keys);
        let near = nearest(name, keys().map(|key| key.name))?;
        let path = keys().find(|key| key.name == near).map(|key| key.path)?;
        Some(Remedy::DidYouMean(path.into()))
    }

    /// Adds what the TOML parser says. What was found otherwise on the same line comes from the parser's recovery
    /// and is left out; so is all that stands below a table header that can't be read.
    fn add_syntax(&mut self, errors: &[toml::de::Error]) {
        let at = |error: &toml::de::Error| error.span().map_or(0, |span| span.start.min(self.text.len()));
        let mut listed: Vec<(usize, &toml::de::Error)> =
            errors.iter().map(|error| (at(error), error)).collect();
        listed.sort_by_key(|(offset, _)| *offset);
        let duplicate = |error: &toml::de::Error| error.message() == "duplicate key";
        let mut broken: Vec<usize> = listed
            .iter()
            .filter(|(_, error)| !duplicate(error))
            .map(|(offset, _)| self.line(*offset))
            .collect();
        broken.dedup();
        let is_header = |line: &usize| {
            let text = self.lines.get(*line).and_then(|start| self.text.get(*start..)).unwrap_or_default();
            text.trim_start_matches([' ', '\t']).starts_with('[')
        };
        let header = broken.iter().copied().find(is_header).unwrap_or(usize::MAX);
        let mut found = std::mem::take(&mut self.found);
        found.retain(|found| {
            let line = self.line(found.offset);
            line < header && broken.binary_search(&line).is_err()
        });
        self.more += listed.len().saturating_sub(PROBLEMS_MAX);
        let syntax = listed.into_iter().take(PROBLEMS_MAX).map(|(offset, error)| {
            let fault = if duplicate(error) {
                (What::Duplicate, Remedy::KeepOne)
            } else {
                (What::Syntax(shortened_words(error.message())), Remedy::WriteToml)
            };
            let end = error.span().map_or(offset, |span| span.end);
            let word = self.text.get(offset..end).filter(|_| duplicate(error)).unwrap_or_default();
            Found { offset, key: shortened(word).into_string(), fault }
        });
        found.extend(syntax);
        self.found = found;
    }

    fn problems(mut self, file: &Arc<str>) -> Vec<Problem> {
        self.found.sort_by_key(|found| found.offset);
        self.more += self.found.len().saturating_sub(PROBLEMS_MAX);
        let found: Vec<Found> = std::mem::take(&mut self.found);
        let problem = |found: Found| {
            let Place { line, column } = self.place(found.offset);
            let (what, remedy) = found.fault;
            Problem { file: Arc::clone(file), line, column, key: found.key, what, remedy }
        };
        let mut problems: Vec<Problem> = found.into_iter().take(PROBLEMS_MAX).map(problem).collect();
        if self.more > 0 {
            problems.push(without_place(file, What::More(self.more), Remedy::MendFirst));
        }
        problems
    }
}

/// The fault of a problem that is only counted.
fn unlisted() -> Fault {
    (What::UnknownKey, Remedy::PrintDefaults)
}

/// Whether somebody wants to put a secret into the file.
fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["passw", "secret", "ha1"].iter().any(|word| name.contains(word))
}

/// The parser's words on one line.
fn shortened_words(words: &str) -> Box<str> {
    words.lines().collect::<Vec<_>>().join(" ").into()
}
