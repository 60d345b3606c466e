//! Bytes and values: SIP messages, headers, URIs, SDP, RTP and RTCP, and the vocabulary that all layers share
//! (flows, points in time). No state, no clock, no input or output.

pub mod net;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod time;
