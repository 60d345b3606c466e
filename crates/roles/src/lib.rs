//! The roles of SIP on one machinery: registrar, proxy, user agent. A role looks at a request and decides; the
//! [`Engine`] carries it out with the transaction layer below. No socket, no clock, no thread: values go into
//! [`turn`] and values come out.

mod aliases;
mod auth;
mod b2bua;
mod binding;
mod contact_user;
mod context;
mod counters;
mod date;
mod deadlines;
pub mod dial_plan;
mod engine;
mod events;
mod gruu;
mod guesses;
mod handover;
mod history_info;
mod identity;
pub mod io;
mod keep_alive;
mod leases;
pub mod listing;
mod location;
mod loopback;
mod old_phones;
mod policy;
mod proxy;
mod queries;
mod random;
mod records;
mod registrar;
mod reply;
mod route_token;
pub mod services;
pub mod settings;
mod star_codes;
mod steer;
mod text;
mod trunks;
mod ua;

pub use binding::{Binding, Details};
pub use counters::{Counters, Tables};
pub use engine::{Engine, turn};
pub use events::reg::{ContactEvent, ContactState};
pub use guesses::{Freed, Guesser, HeldOff, Hold, Source};
pub use services::Services;
pub use settings::Settings;
pub use steer::{shard_of_aor, steer};

/// What the door speaks of and lower layers define.
pub use dialtone_dialog::digest::StoredCredential;
pub use dialtone_transaction::{Edge, EdgeCounts, Timers};
