//! Listening in on what really passes on the wire.

use std::sync::Arc;

use bytes::Bytes;
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It came from the socket.
    In,
    /// It was given to the socket.
    Out,
}

/// One SIP message that passed a socket.
#[derive(Clone, Debug)]
pub struct Tapped {
    /// When, on the time line of this process.
    pub at: Instant,
    /// Which way.
    pub way: Way,
    /// Between which addresses; the local one is ours.
    pub flow: Flow,
    /// All of it, with whatever secrets it holds: not for logs.
    pub bytes: Bytes,
}

/// Is called for each message by the thread of the shard, which waits for it: it must be quick.
#[derive(Clone)]
pub struct Tap(Arc<dyn Fn(Tapped) + Send + Sync>);

impl Tap {
    /// Hands each message to a function.
    pub fn new(listen: impl Fn(Tapped) + Send + Sync + 'static) -> Tap {
        Tap(Arc::new(listen))
    }

    pub(crate) fn heard(&self, tapped: Tapped) {
        (self.0)(tapped);
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tap(..)")
    }
}
