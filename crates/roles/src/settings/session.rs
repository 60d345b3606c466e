//! What the user agent wants of the sessions of its calls.

use dialtone_dialog::session_timer::{MIN_SE_S, SessionTimerPolicy};

/// The rules for sessions of our own calls (phone, robots).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// The session interval that is asked for, and to which longer ones are cut, in seconds (RFC 4028 §7.1, §9); `None`
    /// asks for none, and takes part in the timer where the other side asks.
    pub timer_s: Option<u32>,
    /// Shorter intervals are refused with 422, in seconds; at least 90 (RFC 4028 §5).
    pub timer_min_s: u32,
    /// Whether callers who know reliable provisional responses get them (RFC 3262); those who require them always do.
    pub reliable_ringing: bool,
    /// Whether a phone takes the video that it is offered. It is received and counted; none is sent (`recvonly`).
    pub video: bool,
}

impl Default for SessionSettings {
    fn default() -> Self {
        SessionSettings { timer_s: Some(1_800), timer_min_s: MIN_SE_S, reliable_ringing: false, video: false }
    }
}

impl SessionSettings {
    /// The rules of the timer.
    pub(crate) const fn timer(self) -> SessionTimerPolicy {
        SessionTimerPolicy { interval_s: self.timer_s, min_s: self.timer_min_s }
    }
}
