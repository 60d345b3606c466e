//! The deadlines of the user agent: each of its timers runs at most once at a time.

use crate::context::UaRequest;
use crate::deadlines::{Deadlines, Timer};
use crate::io::CallHandle;

/// A timer and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// The registration is refreshed or tried again.
    Registration,
    /// 64·T1 after the first 2xx to an INVITE of ours, or after it lost its call: no response will come any more
    /// (RFC 3261 §13.2.2.4).
    InviteOver(UaRequest),
    /// The 2xx to an INVITE is sent again (RFC 3261 §13.3.1.4).
    RepeatAnswer(CallHandle),
    /// The ACK for a 2xx has not come in 64·T1 (RFC 3261 §13.3.1.4).
    NoAck(CallHandle),
    /// The 180 is sent again, so that proxies keep waiting (RFC 3261 §13.3.1.1).
    RepeatRinging(CallHandle),
    /// Nobody has answered the call.
    Unanswered(CallHandle),
    /// The INVITE that was cancelled has had no final response in 64·T1 (RFC 3261 §9.1).
    CancelOver(CallHandle),
    /// A 2xx whose call is over is sent again; named by its number.
    Leftover(u64),
    /// What is to be heard has been heard.
    HangUp(CallHandle),
    /// The change of the session that met a 491 is tried again (RFC 3261 §14.1).
    Reoffer(CallHandle),
    /// The subscription of a REFER is over (RFC 3515 §2.4.4); named by its number.
    Transfer(u64),
    /// A reliable provisional response is sent again, or given up (RFC 3262 §3).
    Reliable(CallHandle),
    /// The session is refreshed, or over (RFC 4028 §10).
    Session(CallHandle),
}

impl Timer for Wake {
    fn name(self) -> &'static str {
        match self {
            Wake::Registration => "registration",
            Wake::InviteOver(_) => "INVITE over",
            Wake::RepeatAnswer(_) => "2xx again",
            Wake::NoAck(_) => "no ACK",
            Wake::RepeatRinging(_) => "180 again",
            Wake::Unanswered(_) => "unanswered",
            Wake::CancelOver(_) => "CANCEL over",
            Wake::Leftover(_) => "2xx of a call that is over",
            Wake::HangUp(_) => "hang up",
            Wake::Reoffer(_) => "re-INVITE again",
            Wake::Transfer(_) => "transfer",
            Wake::Reliable(_) => "18x again",
            Wake::Session(_) => "session timer",
        }
    }
}

impl Wake {
    /// All timers that a call can have.
    const fn of_call(call: CallHandle) -> [Wake; 9] {
        [
            Wake::RepeatAnswer(call),
            Wake::NoAck(call),
            Wake::RepeatRinging(call),
            Wake::Unanswered(call),
            Wake::CancelOver(call),
            Wake::HangUp(call),
            Wake::Reoffer(call),
            Wake::Reliable(call),
            Wake::Session(call),
        ]
    }
}

impl Deadlines<Wake> {
    /// Stops all timers of a call.
    pub(super) fn stop_call(&mut self, call: CallHandle) {
        Wake::of_call(call).into_iter().for_each(|wake| self.stop(wake));
    }
}
