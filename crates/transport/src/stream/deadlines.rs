//! The deadlines of one connection.

use dialtone_wire::time::Instant;

use super::CloseReason;

/// When what must have happened; `None` where nothing is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deadlines {
    pub(super) connect: Option<Instant>,
    pub(super) first_message: Option<Instant>,
    pub(super) message: Option<Instant>,
    pub(super) idle: Option<Instant>,
    pub(super) stall: Option<Instant>,
    pub(super) linger: Option<Instant>,
}

/// One of the [`Deadlines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Connect,
    FirstMessage,
    Message,
    Idle,
    Stall,
    Linger,
}

impl Deadlines {
    /// The earliest one.
    pub(super) fn first(&self) -> Option<(Instant, Which)> {
        [
            (self.connect, Which::Connect),
            (self.first_message, Which::FirstMessage),
            (self.message, Which::Message),
            (self.idle, Which::Idle),
            (self.stall, Which::Stall),
            (self.linger, Which::Linger),
        ]
        .into_iter()
        .filter_map(|(at, which)| Some((at?, which)))
        .min_by_key(|(at, _)| *at)
    }
}

impl Which {
    /// Its name, for whoever asks what is being waited for.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Which::Connect => "stream connect",
            Which::FirstMessage => "stream first message",
            Which::Message => "stream message",
            Which::Idle => "stream idle",
            Which::Stall => "stream stall",
            Which::Linger => "stream linger",
        }
    }

    /// Why a connection ends that lets it pass.
    pub(super) const fn reason(self) -> CloseReason {
        match self {
            Which::Connect => CloseReason::ConnectTimedOut,
            Which::FirstMessage => CloseReason::Silent,
            Which::Message => CloseReason::SlowMessage,
            Which::Idle => CloseReason::Idle,
            Which::Stall => CloseReason::NotReading,
            // A connection that lingers has a reason of its own.
            Which::Linger => CloseReason::Malformed,
        }
    }
}
