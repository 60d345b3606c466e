//! A world in one thread, without a clock and without sockets: engines, phones, networks and their faults, decided
//! by one seed.
//!
//! ```text
//!   World: one queue of events on virtual time
//!     hosts   engines of ours (servers with any number of shards, phones with a person's habits)
//!     agents  parties that are not ours: old callers, deaf callers, slow servers, garbage
//!     network delay, loss, duplication, reordering, partition, refusal    store   slow, late, failing answers
//!        |
//!        v
//!   History -> checkers (what must always hold)   -> swarm: thousands of seeds
//!           -> ladder (who sent what to whom)     -> docs/flows
//! ```

mod agent;
mod capture;
pub mod checkers;
mod deliberate;
mod history;
mod host;
mod media_plane;
mod network;
mod phone;
mod population;
mod random;
pub mod scene;
pub mod soak;
mod store;
pub mod swarm;
mod world;

pub use agent::{Agent, AgentContext, Mute};
pub use capture::{Ladder, Step};
pub use deliberate::Deliberate;
pub use history::{AgentFacts, History, HostFacts, Note, What};
pub use host::{phone_settings, server_settings};
pub use media_plane::{LeaseEvent, LeaseFact};
pub use network::{Fate, FaultCounts, Loss, Network, Packet, Partition, Planned, Weather};
pub use phone::Habits;
pub use population::{DeafCaller, Mutilator, OldCaller, SlowServer};
pub use random::Random;
pub use store::{Service, Store};
pub use world::{AgentId, HostId, World};

/// What the door speaks of and lower crates define.
pub use dialtone_roles as roles;
