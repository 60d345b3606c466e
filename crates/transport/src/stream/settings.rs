//! What the connections of a shard may take.

use std::time::Duration;

use dialtone_wire::framing::StreamLimits;

/// The limits and times of stream connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// How long a message may be.
    pub message: StreamLimits,
    /// Connections of a shard, in both directions.
    pub connections_max: usize,
    /// Connections that one IPv4 address, or one IPv6 network of 64 bits, may have open to us: a NAT with a whole
    /// office behind it is one address.
    pub connections_per_source_max: usize,
    /// Bytes that may wait to be written on one connection.
    pub send_bytes_max: usize,
    /// Bytes that may wait in all connections of a shard together, to be written or to become messages.
    pub bytes_max: usize,
    /// Within this time a connection that we open must be open.
    pub connect_time: Duration,
    /// Within this time a connection that was accepted must bring its first message.
    pub first_message_time: Duration,
    /// Within this time after its first byte a message must be whole.
    pub message_time: Duration,
    /// Without a message or a keep-alive in either direction for this time a connection is ended. Longer than the
    /// usual registration, for the phone that registered over it is called over it.
    pub idle_time: Duration,
    /// The peer must take something of what waits within this time.
    pub stall_time: Duration,
    /// How long a connection that we end waits for the peer to read our last words.
    pub linger_time: Duration,
    /// How long a destination is left alone after its first failure; each further failure doubles it.
    pub back_off_first: Duration,
    /// How long a destination is left alone at most: so long it may be thought dead though it is back.
    pub back_off_max: Duration,
    /// Destinations that are remembered as failing.
    pub back_offs_max: usize,
}

impl Default for StreamSettings {
    fn default() -> StreamSettings {
        StreamSettings {
            message: StreamLimits::default(),
            connections_max: 10_000,
            connections_per_source_max: 1_000,
            send_bytes_max: 256 * 1024,
            bytes_max: 64 * 1024 * 1024,
            connect_time: Duration::from_secs(5),
            first_message_time: Duration::from_secs(10),
            message_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(3_900),
            stall_time: Duration::from_secs(20),
            linger_time: Duration::from_secs(2),
            back_off_first: Duration::from_millis(500),
            back_off_max: Duration::from_secs(4),
            back_offs_max: 1_024,
        }
    }
}
