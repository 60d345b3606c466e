//! The RTP session of RFC 3550: one synchronization source that sends, and the sources that it hears.

mod interval;
mod participants;
mod reception;
mod sequence;
mod session;
#[cfg(test)]
mod tests;

pub use interval::{BYE_IMMEDIATE_MEMBERS_MAX, RtcpBandwidth, deterministic_interval, randomized_interval};
pub use participants::PARTICIPANTS_MAX;
pub use reception::{Jitter, Reception};
pub use sequence::{MAX_DROPOUT, MAX_MISORDER, MIN_SEQUENTIAL, SequenceState, SequenceVerdict};
pub(crate) use session::timestamp_units;
pub use session::{
    Arrival, CONFLICTS_MAX, Rejected, RemoteView, RtpSession, RtpSessionSettings, RtpStats, RtpTotals,
};
