//! Dialogs, offer and answer, and digest authentication: what two parties agree on between transactions. No
//! clock and no randomness: tags, nonces and points in time are arguments.
//!
//! A [`Dialog`] makes each request as a [`Draft`], which the sender writes once it has chosen the flow.

mod dialog;
pub mod digest;
mod draft;
pub mod offer_answer;
pub mod reliable;
mod route_set;
pub mod session_timer;
mod text;
mod usage;

pub use dialog::{Dialog, DialogError, DialogId, OutOfOrder, State};
pub use draft::{Draft, MAX_FORWARDS};
pub use route_set::{ROUTES_MAX, RouteSet};
pub use usage::ends_call;
