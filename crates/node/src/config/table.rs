//! The macro that turns the table of keys into types, and what it writes for each of them.

use toml::Spanned;
use toml::de::DeValue;

use super::keys::{KeyInfo, TableInfo};
use super::value::{Faults, Setting, Value};

/// One table of the file.
pub(super) trait Table: Default {
    /// What is to be known about it.
    fn info() -> TableInfo;
    /// An entry that begins at a place and sets no key yet.
    fn at(place: super::problem::Place) -> Self;
    /// Takes a value; false if there is no such key.
    fn read(&mut self, key: &str, value: &Spanned<DeValue<'_>>, reader: &mut FaultReader<'_>) -> bool;
    /// The paths of the keys that differ, and when a change of them counts.
    fn changes(&self, new: &Self) -> Vec<(&'static str, super::keys::Change)>;
}

/// Where faults go, and how a position in the text becomes a place.
pub(super) struct FaultReader<'a> {
    pub(super) faults: Faults,
    pub(super) place_of: &'a dyn Fn(usize) -> super::problem::Place,
}

impl FaultReader<'_> {
    pub(super) fn read<T: Value>(
        &mut self,
        setting: &mut Setting<T>,
        value: &Spanned<DeValue<'_>>,
        bounds: &T::Bounds,
    ) {
        // Even a value that is refused has a place: what is found later about the key then points there.
        setting.place = Some((self.place_of)(value.span().start));
        if let Some(read) = T::read(value, bounds, &mut self.faults) {
            setting.value = read;
        }
    }
}

/// The lines of a doc comment as one paragraph.
pub(super) fn paragraph(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

pub(super) fn key_info<T: Value>(
    path: (&'static str, &'static str),
    doc: &[&str],
    default: &T,
    bounds: &T::Bounds,
    change: super::keys::Change,
) -> KeyInfo {
    let (path, name) = path;
    let (kind, default) = (T::kind(), default.write());
    let (limits, example) = (T::limits(bounds), T::example(bounds));
    KeyInfo { name, path, doc: paragraph(doc), kind, default, example, optional: T::OPTIONAL, limits, change }
}

/// Makes of the table of keys: a type for each table of the file, [`Config`](super::Config) with all of them, and
/// what [`Table`] asks for.
macro_rules! tables {
    (
        $( $(#[doc = $doc:literal])+ $name:literal, $field:ident: $Type:ident { $($keys:tt)+ } )+
        repeated
        $(
            $(#[doc = $r_doc:literal])+
            $r_name:literal, $r_field:ident: $RType:ident, at most $r_max:ident { $($r_keys:tt)+ }
        )+
    ) => {
        $( $crate::config::table::one_table! { None, $($doc)+, $name, $Type { $($keys)+ } } )+
        $( $crate::config::table::one_table! { Some($r_max), $($r_doc)+, $r_name, $RType { $($r_keys)+ } } )+

        /// A settings file that was read; what it does not set has its default.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Config {
            /// The name of the file.
            pub(super) file: std::sync::Arc<str>,
            $( $(#[doc = $doc])+ pub $field: $Type, )+
            $( $(#[doc = $r_doc])+ pub $r_field: Vec<$RType>, )+
        }

        impl Config {
            /// Takes one value of a table that stands once; false if there is no such key.
            pub(super) fn read_key(
                &mut self,
                table: &str,
                key: &str,
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                reader: &mut $crate::config::table::FaultReader<'_>,
            ) -> bool {
                match table {
                    $( $name => self.$field.read(key, value, reader), )+
                    _ => false,
                }
            }

            /// Begins an entry of a table that may stand several times. Until a key of it is read, its place is
            /// that of the entry.
            pub(super) fn begin_entry(&mut self, table: &str, place: $crate::config::problem::Place) {
                match table {
                    $( $r_name => self.$r_field.push($RType::at(place)), )+
                    _ => {}
                }
            }

            /// Takes one value of the entry that was begun last; false if there is no such key.
            pub(super) fn read_entry_key(
                &mut self,
                table: &str,
                key: &str,
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                reader: &mut $crate::config::table::FaultReader<'_>,
            ) -> bool {
                match table {
                    $( $r_name => self.$r_field.last_mut().is_some_and(|entry| entry.read(key, value, reader)), )+
                    _ => false,
                }
            }
        }

        /// All tables with all keys, in the order of the manual; those that may stand several times last.
        pub fn tables() -> Vec<TableInfo> {
            vec![$( $Type::info(), )+ $( $RType::info(), )+]
        }

        /// The keys in which the two differ, and when a change of them counts. A table that repeats counts as one key.
        pub fn changes(old: &Config, new: &Config) -> Vec<(&'static str, Change)> {
            let mut changed = Vec::new();
            $( changed.extend(old.$field.changes(&new.$field)); )+
            $(
                if old.$r_field != new.$r_field {
                    changed.push(($r_name, Change::Reload));
                }
            )+
            changed
        }

        /// The keys whose change counts only from the next start on, of those in which the two differ.
        pub fn changes_needing_restart(old: &Config, new: &Config) -> Vec<&'static str> {
            let restart = |(key, change)| (change == Change::Restart).then_some(key);
            changes(old, new).into_iter().filter_map(restart).collect()
        }
    };
}

/// One table of [`tables`].
macro_rules! one_table {
    (
        $entries_max:expr, $($doc:literal)+, $table:literal, $Type:ident {
            $( $(#[doc = $key_doc:literal])+ $key:ident: $T:ty = $default:expr, $bounds:expr, $change:ident; )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $Type {
            $( $(#[doc = $key_doc])+ pub $key: Setting<$T>, )+
        }

        impl Default for $Type {
            fn default() -> $Type {
                $Type { $( $key: Setting::default($default), )+ }
            }
        }

        impl Table for $Type {
            fn info() -> TableInfo {
                let keys = vec![$(
                    $crate::config::table::key_info::<$T>(
                        (concat!($table, ".", stringify!($key)), stringify!($key)),
                        &[$($key_doc),+], &$default, &$bounds, Change::$change,
                    ),
                )+];
                let doc = $crate::config::table::paragraph(&[$($doc),+]);
                TableInfo { name: $table, entries_max: $entries_max, doc, keys }
            }

            fn at(place: $crate::config::problem::Place) -> $Type {
                let mut entry = $Type::default();
                $( entry.$key.place = Some(place); )+
                entry
            }

            fn read(
                &mut self,
                key: &str,
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                reader: &mut $crate::config::table::FaultReader<'_>,
            ) -> bool {
                match key {
                    $( stringify!($key) => reader.read(&mut self.$key, value, &$bounds), )+
                    _ => return false,
                }
                true
            }

            fn changes(&self, new: &Self) -> Vec<(&'static str, Change)> {
                let mut changed = Vec::new();
                $(
                    if self.$key != new.$key {
                        changed.push((concat!($table, ".", stringify!($key)), Change::$change));
                    }
                )+
                changed
            }
        }
    };
}

pub(super) use {one_table, tables};
