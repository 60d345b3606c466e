//! What a call's audio was like, in numbers.

use std::time::Duration;

use dialtone_wire::time::Instant;

use crate::codecs::Codec;
use crate::meter::Tone;

/// Packets that did not arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Number of packets; negative where a peer counted duplicates (RFC 3550 A.3).
    pub packets: i64,
    /// Share of the packets that were expected, 0 to 1.
    pub fraction: f64,
}

/// One direction of the audio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DirectionReport {
    /// RTP packets; duplicates are not counted.
    pub packets: u64,
    /// Octets of payload.
    pub octets: u64,
    /// Loss: what we missed, or what the peer said it missed of ours in its last report; `None` before the first.
    pub loss: Option<Loss>,
    /// Interarrival jitter in milliseconds, ours or the peer's; `None` before the first packet or report.
    pub jitter_ms: Option<f64>,
    /// RMS level of what was sent or played.
    pub level_dbfs: f64,
    /// The strongest tone in it, where [`AudioSettings::measure_tone`](crate::AudioSettings) asks for it.
    pub tone: Option<Tone>,
    /// When the first packet passed.
    pub first: Option<Instant>,
    /// When the last one passed.
    pub last: Option<Instant>,
}

/// A snapshot of an audio session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// The codec that we send with.
    pub codec: Codec,
    /// Our SSRC.
    pub ssrc: u32,
    /// The peer's SSRC, once heard.
    pub remote_ssrc: Option<u32>,
    /// What we sent.
    pub sent: DirectionReport,
    /// What we received and played.
    pub received: DirectionReport,
    /// Round trip by the peer's last report.
    pub round_trip: Option<Duration>,
    /// Delay of the jitter buffer now, in milliseconds.
    pub delay_ms: f64,
    /// Packets that came twice or more.
    pub duplicates: u64,
    /// Packets that came after their time to be played.
    pub late: u64,
    /// Sound that had to be invented, in milliseconds.
    pub concealed_ms: f64,
    /// Packets with a payload type that nobody asked for.
    pub unknown_payload: u64,
    /// Packets from addresses that are not the peer's; dropped.
    pub strangers: u64,
    /// Packets that were no valid RTP or RTCP.
    pub rejected: u64,
    /// Packets that came while the direction has us receive nothing; counted as received but not played.
    pub unwanted: u64,
    /// SSRC collisions that were survived.
    pub collisions: u32,
    /// Packets of ours that came back: the peer reflects instead of answering with a stream of its own.
    pub loops: u64,
    /// Frames left out because the caller came too late.
    pub skipped_frames: u64,
    /// RTCP packets sent.
    pub rtcp_sent: u64,
    /// RTCP packets received.
    pub rtcp_received: u64,
    /// Whether the peer said BYE.
    pub remote_left: bool,
}
