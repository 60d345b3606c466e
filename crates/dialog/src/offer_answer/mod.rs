//! Offer and answer (RFC 3264, RFC 3261 §13.2.1): what two parties agree to send each other.
//!
//! ```text
//!                    make_offer                     handle_offer
//!                  +------------+                  +-------------+
//!                  v            |                  |             v
//!          +---------------+    |   +--------+     |     +----------------+
//!          |  LocalOffer   |    +---| Stable |-----+     |  RemoteOffer   |
//!          | offer was sent|------->|        |<----------| offer received |
//!          +---------------+        +--------+           +----------------+
//!                    handle_answer          make_answer
//!                    reject                 reject
//! ```
//!
//! A refused or failed offer leaves the session as it was. Which SIP message carries which description (also the late
//! offer in a 2xx and its answer in the ACK) is for the dialog's owner; each early dialog of a fork has a clone.

mod capabilities;
mod describe;
mod machine;
mod negotiate;

#[cfg(test)]
mod tests;

pub use capabilities::{Capabilities, Codec, LocalStream, StreamKind, held};
pub use describe::LocalOrigin;
pub use machine::{OfferAnswer, OfferAnswerError, OfferAnswerState};
pub use negotiate::{AnswerFault, Negotiated, NegotiatedCodec};
