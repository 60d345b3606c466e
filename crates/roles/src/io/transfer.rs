//! Whom somebody is sent to, and what becomes of it.

use dialtone_wire::Status;
use dialtone_wire::uri::UriBuf;

use super::CallHandle;

/// Whom the other side of a call shall call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferTo {
    /// Somebody who does not know of it yet: blind transfer.
    Address(UriBuf),
    /// The other side of this call of ours, whose place the new call takes (Replaces, RFC 3891): attended transfer.
    Call(CallHandle),
}

/// What became of [`Command::Transfer`](super::Command::Transfer), or of [`Command::Music`](super::Command::Music).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferOutcome {
    /// The other side talks to whom it was sent to.
    Done,
    /// Its call failed with this status.
    Failed(Status),
    /// It refused to call, or the REFER never reached it.
    Refused(Status),
    /// It never said.
    Unknown,
    /// The call, or the one that was to be replaced, is not in a state in which it can be transferred, or a transfer of
    /// it is under way, or there are as many as may be.
    NotPossible,
}
