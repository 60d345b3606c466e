//! What is done about calls that are followed.

/// What the proxy does about calls in mode [`Call`](super::Mode::Call).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallSettings {
    /// The session interval that is asked for where nobody else does, and to which longer ones are cut, in seconds
    /// (RFC 4028 §8.1); `None` asks for none and watches those that others agree on.
    pub session_s: Option<u32>,
    /// Shorter intervals are refused with 422, in seconds; at least 90 (RFC 4028 §8.1).
    pub session_min_s: u32,
}

impl Default for CallSettings {
    fn default() -> Self {
        CallSettings { session_s: None, session_min_s: 90 }
    }
}
