//! The deadlines of all legs: each timer runs at most once at a time.

use super::LegId;
use super::join::TaskId;
use crate::context::UaRequest;
use crate::deadlines::{Deadlines, Timer};

/// A timer and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// 64·T1 after the first 2xx to an INVITE of ours: no other one will come (RFC 3261 §13.2.2.4).
    InviteOver(UaRequest),
    /// A 2xx of ours is sent again (RFC 3261 §13.3.1.4).
    RepeatAnswer(LegId),
    /// Its ACK has not come in 64·T1 (RFC 3261 §13.3.1.4).
    NoAck(LegId),
    /// Nobody has answered an INVITE of ours, and the proxy has not said so.
    Unanswered(LegId),
    /// An INVITE that was cancelled has had no final response in 64·T1 (RFC 3261 §9.1).
    CancelOver(LegId),
    /// A reliable provisional response is sent again, or given up (RFC 3262 §3).
    Reliable(LegId),
    /// A session is to be refreshed, or over (RFC 4028 §10).
    Session(LegId),
    /// A refresh that met another request is tried again (RFC 3261 §14.1).
    Refresh(LegId),
    /// A parked call was not taken.
    Parked(LegId),
    /// One who waits for a member of a group is looked after.
    Queued(LegId),
    /// Those who have moved up in a queue may be told so again.
    MovedUp,
    /// A transferor has not hung up.
    Release(LegId),
    /// The home of a call, or of its slot, is told again who has it.
    Renew(LegId),
    /// A call that another shard wants may be quiet now.
    GiveAway(LegId),
    /// A task tries again what met another request.
    Task(TaskId),
}

impl Timer for Wake {
    fn name(self) -> &'static str {
        match self {
            Wake::InviteOver(_) => "bridge INVITE over",
            Wake::RepeatAnswer(_) => "bridge 2xx again",
            Wake::NoAck(_) => "bridge no ACK",
            Wake::Unanswered(_) => "bridge unanswered",
            Wake::CancelOver(_) => "bridge CANCEL over",
            Wake::Reliable(_) => "bridge 1xx again",
            Wake::Session(_) => "bridge session",
            Wake::Refresh(_) => "bridge refresh again",
            Wake::Parked(_) => "bridge parked",
            Wake::Queued(_) => "bridge queue",
            Wake::MovedUp => "bridge queue moves up",
            Wake::Release(_) => "bridge transferor",
            Wake::Renew(_) => "bridge alias",
            Wake::GiveAway(_) => "bridge wanted",
            Wake::Task(_) => "bridge task again",
        }
    }
}

impl Wake {
    /// All timers that a leg can have.
    pub(super) const fn of_leg(leg: LegId) -> [Wake; 12] {
        [
            Wake::RepeatAnswer(leg),
            Wake::NoAck(leg),
            Wake::Unanswered(leg),
            Wake::CancelOver(leg),
            Wake::Reliable(leg),
            Wake::Session(leg),
            Wake::Refresh(leg),
            Wake::Release(leg),
            Wake::Parked(leg),
            Wake::Queued(leg),
            Wake::Renew(leg),
            Wake::GiveAway(leg),
        ]
    }
}

impl Deadlines<Wake> {
    /// Stops all timers of a leg.
    pub(super) fn stop_leg(&mut self, leg: LegId) {
        Wake::of_leg(leg).into_iter().for_each(|wake| self.stop(wake));
    }
}
