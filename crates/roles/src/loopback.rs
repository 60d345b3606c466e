//! The way from our back-to-back user agent to our proxy and back: messages that never leave the engine.
//!
//! ```text
//!   caller ---INVITE---> [ leg A | leg B ] ---INVITE---> (loopback) ---> proxy ---INVITE---> phones, groups, trunks
//! ```
//!
//! What the second leg of a bridge sends goes over a flow that no socket has: a connection with a name that the transport
//! never gives. The engine puts it into a queue and takes it in again in the same turn. So who comes over it is known
//! without a password, and nobody else can come over it: packets of the network name their own flow, and a branch of
//! ours on this flow is never the topmost one on the network.

use std::collections::VecDeque;

use dialtone_wire::net::{ConnectionId, Flow, Transmit};
use dialtone_wire::{Limits, Message};

/// Its name: no table of connections has so many slots, no server so many shards.
const LOOPBACK: ConnectionId = ConnectionId { shard: u16::MAX, slot: u32::MAX, generation: u32::MAX };

/// How the branch of a request on the loopback ends.
pub(crate) const MARK: &str = ".loopback";

/// What is our own is never too long for us.
pub(crate) const UNLIMITED: Limits =
    Limits { message_bytes: usize::MAX, headers: usize::MAX, vias: usize::MAX, uri_bytes: usize::MAX };

/// What is on its way.
#[derive(Debug, Default)]
pub(crate) struct Loopback {
    queue: VecDeque<Transmit>,
    /// Something has gone this way.
    was_used: bool,
}

impl Loopback {
    /// Puts a message in; `false` when `limit` messages are on their way, and this one is lost like any packet may be.
    pub(crate) fn push(&mut self, transmit: Transmit, limit: usize) -> bool {
        if self.queue.len() >= limit {
            return false;
        }
        self.queue.push_back(transmit);
        self.was_used = true;
        true
    }

    /// Whether a message of the network has the mark of this way: it could be taken for the answer to one of ours, once
    /// there are any.
    pub(crate) fn is_feigned_by(&self, message: &Message) -> bool {
        self.was_used && is_marked(message)
    }

    pub(crate) fn pop(&mut self) -> Option<Transmit> {
        self.queue.pop_front()
    }
}

/// The loopback, at the address where `flow` comes in.
pub(crate) const fn over(flow: &Flow) -> Flow {
    Flow { transport: flow.transport, local: flow.local, remote: flow.local, connection: Some(LOOPBACK) }
}

/// Whether a flow is the loopback.
pub(crate) fn is_loopback(flow: &Flow) -> bool {
    flow.connection == Some(LOOPBACK)
}

/// Whether the topmost Via of a message is that of a request on the loopback.
fn is_marked(message: &Message) -> bool {
    message.via().ok().and_then(|via| via.branch()).is_some_and(|branch| branch.ends_with(MARK))
}
