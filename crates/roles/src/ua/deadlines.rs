//! The deadlines of the user agent: each of its timers runs at most once at a time.

use std::collections::{BTreeMap, BTreeSet};

use dialtone_wire::time::Instant;

use crate::context::UaRequest;
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

impl Wake {
    /// What the timer is called in traces.
    pub(super) const fn name(self) -> &'static str {
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

/// The timers that run, by time and by owner.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    order: BTreeSet<(Instant, Wake)>,
    running: BTreeMap<Wake, Instant>,
}

impl Deadlines {
    /// Starts a timer, or starts it anew.
    pub(super) fn start(&mut self, wake: Wake, at: Instant) {
        if let Some(before) = self.running.insert(wake, at) {
            self.order.remove(&(before, wake));
        }
        self.order.insert((at, wake));
    }

    /// Stops a timer if it runs.
    pub(super) fn stop(&mut self, wake: Wake) {
        if let Some(at) = self.running.remove(&wake) {
            self.order.remove(&(at, wake));
        }
    }

    /// Stops all timers of a call.
    pub(super) fn stop_call(&mut self, call: CallHandle) {
        Wake::of_call(call).into_iter().for_each(|wake| self.stop(wake));
    }

    /// Whether a timer runs.
    pub(super) fn runs(&self, wake: Wake) -> bool {
        self.running.contains_key(&wake)
    }

    /// When a timer is due, if it runs.
    pub(super) fn at(&self, wake: Wake) -> Option<Instant> {
        self.running.get(&wake).copied()
    }

    /// Takes the next timer that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Wake> {
        let (_, wake) = *self.order.first().filter(|(at, _)| *at <= now)?;
        self.stop(wake);
        Some(wake)
    }

    /// The timer that is due next.
    pub(super) fn next(&self) -> Option<(Instant, &'static str)> {
        self.order.first().map(|(at, wake)| (*at, wake.name()))
    }
}
