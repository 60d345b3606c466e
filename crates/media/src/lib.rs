//! The media plane, without sockets and clocks.
pub mod codecs;
pub mod random;
