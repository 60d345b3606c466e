//! What a refusal of a request within a dialog says of the dialog itself.

use dialtone_wire::Status;

/// Whether a refusal of a request that belongs to a call ends the call: 408 and 481 (RFC 3261 §12.2.1.2), and those with
/// which the other side, or the way to it, is not there any more (RFC 5057 §5.1; RFC 6665 §4.1.2.2 has the same list for
/// subscriptions, there with 405, 489 and 501).
pub const fn ends_call(status: Status) -> bool {
    matches!(status.code(), 404 | 408 | 410 | 416 | 480 | 481 | 482 | 483 | 484 | 485 | 502 | 604)
}
