//! The settings file: one TOML file in which every key is optional.
//!
//! `keys.rs` is the one table of all keys: what a key is called, its type, default, limits, meaning, and whether a
//! running server takes a new value. Reading, `--print-defaults`, the manual's page and the list of changes that need
//! a restart all come from it. Reading and resolving find all problems of a file, not only the first, and name for
//! each the place and the way out.
//!
//! ```text
//!     file --Config::read--> Config --resolve(Facts)--> Resolved --settings(...)--> Arc<Settings> --> Input::Configure
//!             |                          |
//!             +--- Vec<Problem> ---------+
//! ```

mod address;
mod dial_plan;
mod forwarding;
mod group;
mod keys;
mod media;
mod nearest;
mod problem;
mod read;
mod resolve;
mod route;
mod table;
mod text;
mod trunks;
mod value;

#[cfg(test)]
mod tests;

pub use crate::listen::ListenAddress;
pub use address::{HostName, HttpListen, UserName};
pub use dial_plan::{ContactValue, CountryCode, Label, OneOrMore, Prefix, To, UnknownUser, UserAt, Words};
pub use group::{Callee, MemberEntry};
pub use keys::{
    AliasEntry, Change, Config, Control, DialPlan, Digest, DomainEntry, GroupEntry, Http, KeyInfo, Limits,
    Log, Proxy, Registrar, Robots, RuleEntry, Server, Store, TableInfo, Timers, TrunkEntry, changes,
    changes_needing_restart, tables,
};
pub use problem::{Place, Problem, Remedy, What};
pub use read::{FILE_BYTES_MAX, PROBLEMS_MAX};
pub use resolve::{Facts, Resolved, StoreSettings};
pub use text::{defaults, manual};
pub use trunks::{CallerIds, InboundTo, NumberMap, ServerUri, ServerUris, ShownNumber, TrunkName, TrunkUser};
pub use value::{AskedMethod, Extension, FilePath, LogFormat, LogLevel, Required, Setting, Size};
