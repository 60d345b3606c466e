//! Flows and addresses: how the layers above name the place that a packet came from or goes to.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

/// A transport protocol that carries SIP (RFC 3261 §18, RFC 4168, RFC 7118).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// UDP, unreliable: transactions retransmit.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// SCTP.
    Sctp,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// Whether the transport delivers or reports failure by itself, so that timers A, E and G stay off
    /// (RFC 3261 §17.1.1.2).
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp)
    }

    /// The port used when a URI or Via names none (RFC 3261 §19.1.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp | Transport::Sctp => 5060,
            Transport::Tls => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
        }
    }

    /// The token of the Via header, in upper case (RFC 3261 §20.42).
    pub const fn token(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Sctp => "SCTP",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// Reads a token of a Via header or of a `transport` parameter, in any case.
    pub fn from_token(token: &[u8]) -> Option<Transport> {
        const ALL: [Transport; 6] =
            [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Sctp, Transport::Ws, Transport::Wss];
        ALL.into_iter().find(|transport| transport.token().as_bytes().eq_ignore_ascii_case(token))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// Handle of one connection of a connection-oriented transport. A stale generation is an error, never another
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// The shard whose sockets hold the connection.
    pub shard: u16,
    /// Slot in that shard's table.
    pub slot: u32,
    /// Counts the uses of the slot.
    pub generation: u32,
}

/// A flow: the association between a local and a remote address over one transport (RFC 5626 §3).
///
/// For UDP the local address picks the socket, so that an answer leaves from the address that was asked. For the
/// others `connection` names the open connection; `None` asks for one to be opened or reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The transport protocol.
    pub transport: Transport,
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The open connection; `None` for UDP, but for a flow that never leaves the program.
    pub connection: Option<ConnectionId>,
}

impl Flow {
    /// A UDP flow.
    pub const fn udp(local: SocketAddr, remote: SocketAddr) -> Flow {
        Flow { transport: Transport::Udp, local, remote, connection: None }
    }

    /// Whether what is sent arrives, or its loss is told: over a transport that does so, and whatever it is called, over a
    /// connection.
    pub const fn is_reliable(&self) -> bool {
        self.transport.is_reliable() || self.connection.is_some()
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}->{}", self.transport, self.local, self.remote)
    }
}

/// One message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where it goes, and from where.
    pub flow: Flow,
    /// The whole message, an exact-size buffer of its own.
    pub bytes: Bytes,
}
