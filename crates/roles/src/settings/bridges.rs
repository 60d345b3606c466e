//! What is done about calls of which we are both ends.

use std::collections::BTreeMap;
use std::time::Duration;

use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;

use super::Destination;

/// What the back-to-back user agent does ([`Mode::B2bua`](super::Mode::B2bua)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeSettings {
    /// The kinds of media that pass, as `m=` lines name them; streams of other kinds are refused with port 0, and the call
    /// goes on without them (RFC 3264 §6).
    pub media: Vec<SmolStr>,
    /// The types of parts that pass beside the description of the session, where a body has several (RFC 5621): `type/subtype`,
    /// `type/*` or `*/*`. A part of another type is left out where its handling is optional, and refused with 415 where it is
    /// not. `message/sip` passes only where it is named.
    pub parts: Vec<SmolStr>,
    /// The session interval of each side where the settings of all calls
    /// ([`CallSettings::session_s`](super::CallSettings)) ask for none, in seconds (RFC 4028): what the server is an end of it
    /// has to end when both others are gone. `None` asks for none.
    pub session_s: Option<u32>,
    /// A REFER within a call is acted on here (RFC 3515), for phones that can't; else it is carried to the other phone.
    pub transfers: bool,
    /// A transferor who has been told that his transfer is done is hung up after this time, unless he did it himself.
    pub release_after: Duration,
    /// A parked call that nobody takes within this time goes back to who has parked it.
    pub park_time: Duration,
    /// Who is called to play something to those whose calls are parked; without it they hear nothing.
    pub music: Option<UriBuf>,
    /// Groups whose callers wait while all members are busy, by name.
    pub queues: BTreeMap<SmolStr, Queue>,
}

/// How callers of a group wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// For how long.
    pub time: Duration,
    /// Where the call goes then; without it, it is refused with 480.
    pub otherwise: Option<Destination>,
}

impl Default for BridgeSettings {
    fn default() -> Self {
        // The kinds that RFC 8866 §5.14 and RFC 6466 register.
        let media = ["audio", "video", "text", "application", "message", "image"];
        let media = media.map(SmolStr::new_static).to_vec();
        BridgeSettings {
            media,
            parts: vec![SmolStr::new_static("*/*")],
            session_s: Some(1_800),
            transfers: true,
            release_after: Duration::from_secs(5),
            park_time: Duration::from_secs(120),
            music: None,
            queues: BTreeMap::new(),
        }
    }
}
