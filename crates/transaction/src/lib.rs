//! The transaction layer of SIP: RFC 3261 §17 with the corrections of RFC 6026 and RFC 4320.
//!
//! What it is: the four state machines, one file each, with the RFC's figure drawn above it; their deadlines on
//! virtual time; and a count for every arrow of the figures. What it is not: it opens no socket, reads no clock and
//! decides nothing. Bytes go out as values, time comes in as `now`.

mod actions;
mod built;
mod client;
mod counters;
mod deadlines;
mod edge;
pub mod invite_client;
pub mod invite_server;
mod key;
mod layer;
mod machine;
pub mod non_invite_client;
pub mod non_invite_server;
mod peers;
mod server;
mod slab;
mod timers;

#[cfg(test)]
mod script;

pub use actions::{Action, Actions};
pub use client::{Matched, SendError};
pub use counters::Counters;
pub use edge::{
    Edge, EdgeCounts, InviteClientEdge, InviteServerEdge, NonInviteClientEdge, NonInviteServerEdge,
};
pub use layer::{ClientId, Event, ServerId, TransactionLimits, Transactions};
pub use machine::Machine;
pub use server::{Gone, Received, Responded};
pub use timers::Timers;
