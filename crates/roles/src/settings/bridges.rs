//! What is done about calls of which we are both ends.

use smol_str::SmolStr;

/// What the back-to-back user agent does ([`Mode::B2bua`](super::Mode::B2bua)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeSettings {
    /// The kinds of media that pass, as `m=` lines name them; streams of other kinds are refused with port 0, and the call
    /// goes on without them (RFC 3264 §6).
    pub media: Vec<SmolStr>,
}

impl Default for BridgeSettings {
    fn default() -> Self {
        // The kinds that RFC 8866 §5.14 and RFC 6466 register.
        let media = ["audio", "video", "text", "application", "message", "image"];
        BridgeSettings { media: media.map(SmolStr::new_static).to_vec() }
    }
}
