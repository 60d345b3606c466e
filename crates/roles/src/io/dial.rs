//! Click to dial.

use dialtone_wire::Status;
use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;

/// A call between two that is asked for from outside of SIP: click to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Chosen by the asker, never the same twice.
    pub token: u64,
    /// The canonical address-of-record of a user of ours: his phones ring first.
    pub first: SmolStr,
    /// Whom he is to talk with, called when he has answered.
    pub second: UriBuf,
    /// The canonical address-of-record of a user of ours, whom the second one sees, and by whose right he is called.
    pub caller: SmolStr,
}

/// How far a [`Dial`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DialState {
    /// One of the two is called.
    Calling {
        /// The second one; the first one has answered.
        second: bool,
    },
    /// His phone rings.
    Ringing {
        /// As above.
        second: bool,
    },
    /// They talk.
    Talking,
    /// One of the two can't be had, and the other one was hung up.
    Refused {
        /// As above.
        second: bool,
        /// Why: what his side answered, 408 when nobody did, 487 when the first one hung up meanwhile.
        status: Status,
    },
}

impl DialState {
    /// Whether nothing more will come of it.
    pub const fn is_over(self) -> bool {
        matches!(self, DialState::Talking | DialState::Refused { .. })
    }
}
