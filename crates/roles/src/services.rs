//! What the users of ours have asked the server to do with the calls to them.

use crate::proxy::Outcome;
use crate::settings::Destination;

/// What one user has asked for; it is kept where his bindings are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {}

impl Services {
    /// Where a call goes next: before any device of the user rings (`None`), or when they have, with this outcome.
    pub(crate) fn next(&self, after: Option<Outcome>) -> Option<Destination> {
        let _ = after;
        None
    }
}
