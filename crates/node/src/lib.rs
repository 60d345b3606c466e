//! The node: shards on sockets and threads, the clock, the media thread, storage, and on top of them a [`Server`] and
//! a [`Phone`]. The only crate that waits, reads the time, or opens a file.
//!
//! Not here: what a message means (roles and below), and how arguments are written (the command line).

mod clock;
pub mod config;
mod configured;
pub mod control;
mod counters;
pub mod demo;
mod explain;
mod inbox;
pub mod listen;
#[doc(hidden)]
pub mod measure;
mod media;
mod notify;
mod phone;
mod random;
mod resolver;
mod running;
mod server;
mod shard;
pub mod softphone;
pub mod store;
mod subscribers;
mod tap;
mod users;
mod utc;

pub use clock::{now, unix_start_s};
pub use configured::{LogControl, ReloadReport, check};
pub use counters::Counters;
pub use dialtone_media::{Direction, DirectionReport};
pub use dialtone_roles::io::{CallHandle, Command, EndReason, Event, Play, TransferOutcome};
pub use dialtone_roles::settings::{Account, AudioCodec, Listener, Password};
pub use dialtone_transport::sys::{Signal, Signals};
pub use dialtone_wire::Status;
pub use dialtone_wire::time::Instant;
pub use dialtone_wire::uri::UriBuf;
pub use explain::{ExplainError, Explanation, Goes, Question, RuleLine, explain};
pub use media::{MediaReport, MediaSettings, Meter};
pub use notify::Notify;
pub use phone::{Busy, Phone, PhoneConfig, PhoneEvent};
pub use random::password;
pub use running::StartError;
pub use server::{Data, ECHO_USER, FIRST_USERS, NewUser, Server, ServerConfig};
pub use tap::{Tap, Tapped, Way};
