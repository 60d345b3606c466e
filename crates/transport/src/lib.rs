//! Datagrams and flows: what a datagram is, and the sockets.
//!
//! [`datagram`] is the part without input and output, which the simulator uses too. [`sys`] is the machine: UDP
//! sockets that send and receive in batches, waiting for many of them at once, and process signals. It is the one
//! place outside external libraries where `unsafe` code stands, each block under a SAFETY line.
//!
//! Not here: what a message means, when something is retransmitted, and which address is written into a Via.

pub mod datagram;
pub mod sys;
