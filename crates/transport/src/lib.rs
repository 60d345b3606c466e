//! Datagrams, connections and flows: what a datagram is, the table of stream connections, and the sockets.
//!
//! [`datagram`] and [`stream`] are the part without input and output, which the simulator uses too. [`sys`] is the machine: UDP
//! sockets that send and receive in batches, waiting for many of them at once, and process signals. It is the one
//! place outside external libraries where `unsafe` code stands, each block under a SAFETY line.
//!
//! Not here: what a message means, when something is retransmitted, and which address is written into a Via.

pub mod datagram;
pub mod stream;
pub mod sys;
