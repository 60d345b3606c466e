//! Session descriptions (RFC 8866): bytes to [`Session`] and back, and typed views of the attributes that audio needs.
//!
//! [`Session::parse`] takes a whole description. In [`Mode::Strict`] it holds the text to the grammar of RFC 8866 §9;
//! in [`Mode::Lenient`] it also takes the faults that [`Fault`] lists, each reported as a [`Diagnosis`]. Writing
//! gives the canonical form: lines in the order of the grammar, each ended with CR LF. Reading back what was written
//! gives an equal value. What a description *means* between two parties (offer and answer) is not decided here.

mod attribute;
mod error;
mod fields;
mod parse;
mod value;
mod write;

#[cfg(test)]
mod tests;

pub use attribute::{Direction, RtcpAddress, RtpMap, static_rtpmap};
pub use error::{Diagnosis, Expected, Fault, Limits, Mode, SdpError};
pub use parse::Parsed;
pub use value::{
    Attribute, Bandwidth, Connection, Host, Media, MediaKind, Origin, Repeat, Session, Text, Time, TimeUnit,
    TypedTime, UnknownLine, Word, ZoneAdjustment,
};
