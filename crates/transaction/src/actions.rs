//! What a state machine asks its owner to do.

use crate::Edge;

/// One thing to be done for a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Action {
    /// Send the request once more or for the first time: the same bytes.
    SendRequest = 1 << 0,
    /// Send the ACK for a final response other than 2xx (RFC 3261 §17.1.1.3); it is built at the first time and
    /// repeated later.
    SendAck = 1 << 1,
    /// Send the response that came with the event, and keep it for retransmission.
    SendAndKeep = 1 << 2,
    /// Send the response that came with the event, and keep nothing: retransmission is not this layer's (2xx to
    /// INVITE, RFC 6026 §7.1).
    SendOnce = 1 << 3,
    /// Send the kept response once more.
    Resend = 1 << 4,
    /// Build a 100 (Trying), send it and keep it.
    SendTrying = 1 << 5,
    /// Pass the message that came with the event to the transaction user.
    PassUp = 1 << 6,
    /// Tell the transaction user that no final response came in time (Timers B and F).
    TimedOut = 1 << 7,
    /// Tell the transaction user that the message could not be sent.
    TransportFailed = 1 << 8,
    /// Tell the transaction user that the ACK never came (Timer H).
    NoAck = 1 << 9,
    /// The transaction user did not answer in time, and now it is too late to answer (RFC 4320 §4.2).
    Unanswered = 1 << 10,
    /// Destroy the transaction.
    Terminate = 1 << 11,
}

/// A set of [`Action`]s, together with the arrow of the figure that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions {
    set: u16,
    edge: Option<Edge>,
}

impl Actions {
    /// Nothing to be done; no arrow taken.
    pub const NONE: Actions = Actions { set: 0, edge: None };

    /// No action yet, for a step that follows no arrow of a figure.
    pub(crate) const fn off_figure() -> Actions {
        Actions::NONE
    }

    /// No action yet, for the step along `edge`.
    pub(crate) const fn along(edge: Edge) -> Actions {
        Actions { set: 0, edge: Some(edge) }
    }

    /// Adds an action.
    pub(crate) const fn and(self, action: Action) -> Actions {
        Actions { set: self.set | action as u16, edge: self.edge }
    }

    /// Whether `action` is to be done.
    pub const fn has(self, action: Action) -> bool {
        self.set & action as u16 != 0
    }

    /// Whether nothing is to be done.
    pub const fn is_empty(self) -> bool {
        self.set == 0
    }

    /// The arrow that was taken; `None` when the event was ignored or is not drawn in the figure.
    pub const fn edge(self) -> Option<Edge> {
        self.edge
    }
}
