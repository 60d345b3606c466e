//! Sockets and signals of the machine (Linux). Nothing here knows SIP.

mod address;
mod files;
mod poller;
mod signals;
mod streams;
mod tcp;
mod udp;
mod udp_errors;

pub use files::raise_open_files;
pub use poller::{Poller, Readiness, Waker};
pub use signals::{Signal, Signals};
pub use streams::{StreamEvent, StreamSockets};
pub use tcp::{Accepted, TcpListener, TcpOptions, TcpStream};
pub use udp::{BATCH_MAX, Outgoing, ReceiveBatch, Sent, UdpOptions, UdpSocket};
pub use udp_errors::Unreachable;
