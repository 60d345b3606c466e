//! The media plane: RTP sessions, RTCP, codecs, jitter buffer with concealment, measurement, and the audio of a call
//! leg that joins them. No socket, clock, thread or file: bytes and `now` in, values out.
//!
//! ```text
//! Source -> encode -> RtpSession -> poll_transmit        handle_packet -> RtpSession -> Playout -> meter, recording
//! ```
//!
//! Not here: SDP (in wire), offer and answer (in dialog), ports and sockets (in node).

mod audio_session;
pub mod codecs;
mod concealment;
mod delay;
mod jitter_buffer;
pub mod meter;
mod playout;
mod random;
mod report;
mod ringback;
pub mod rtp;
mod signal;
mod spectrum;
#[cfg(test)]
mod tests;
pub mod wav;

pub use audio_session::{Accept, AudioSession, AudioSettings, Direction, Outgoing, PTIME_MS_MAX};
pub use codecs::Codec;
pub use playout::{Playout, PlayoutStats};
pub use random::SplitMix64;
pub use report::{DirectionReport, Loss, Report};
pub use ringback::Ringback;
pub use signal::{Source, speech_like};
