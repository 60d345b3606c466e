//! Bytes and values: SIP messages, headers, URIs, SDP, RTP and RTCP, and the vocabulary that all layers share
//! (flows, points in time). No state, no clock, no input or output.
//!
//! A received message is one shared buffer and an index into it; typed headers are read when they are asked
//! for, and [`Edits`] writes a changed copy in one pass, with untouched bytes as they came.

pub mod auth;
pub mod bodies;
mod edits;
mod error;
pub mod framing;
mod header_name;
pub mod headers;
pub mod ladder;
mod message;
mod method;
pub mod multipart;
pub mod net;
mod params;
pub mod peek;
pub mod refusal;
pub mod rtcp;
pub mod rtp;
mod scan;
mod screen;
pub mod sdp;
pub mod stun;
pub mod time;
pub mod uri;
mod writer;

pub use edits::Edits;
pub use error::{Fault, HeaderError, ParseError, UriError};
pub use header_name::HeaderName;
pub use message::{Header, Limits, Message, with_whole_body};
pub use method::{Method, Status};
pub use scan::{ListValues, unquote};
pub use screen::{ScreenFault, Screened};
pub use writer::Writer;
