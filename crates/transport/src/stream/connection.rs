//! One connection.

use dialtone_wire::framing::Framer;
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;

use super::CloseReason;
use super::deadlines::Deadlines;
use super::send_queue::SendQueue;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// We open it; what is to be sent waits.
    Connecting,
    /// Messages come and go.
    Established,
    /// The last words and answers that are due are being written; nothing is read any more.
    Ending,
    /// The last words are written; the peer's end is waited for.
    Draining,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) flow: Flow,
    pub(super) state: State,
    /// When it was accepted; `None` for one that we opened.
    pub(super) accepted: Option<Instant>,
    pub(super) brought_message: bool,
    pub(super) framer: Framer,
    /// The beginning of a message; no memory is held between messages.
    pub(super) received: Vec<u8>,
    pub(super) queue: SendQueue,
    pub(super) deadlines: Deadlines,
    /// The entry among the deadlines of all connections.
    pub(super) scheduled: Option<Instant>,
    /// Why it is being ended, once it is.
    pub(super) ending: Option<CloseReason>,
    /// It is being ended, but answers to messages that came before may still go out.
    pub(super) answers_due: bool,
}

impl Connection {
    pub(super) fn new(
        flow: Flow,
        state: State,
        accepted: Option<Instant>,
        deadlines: Deadlines,
    ) -> Connection {
        Connection {
            flow,
            state,
            accepted,
            brought_message: false,
            framer: Framer::new(),
            received: Vec::new(),
            queue: SendQueue::default(),
            deadlines,
            scheduled: None,
            ending: None,
            answers_due: false,
        }
    }

    /// Whether a message may still be sent over it by those who name it.
    pub(super) const fn takes_messages(&self) -> bool {
        self.ending.is_none() || self.answers_due
    }

    /// Memory that it holds for bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.received.capacity() + self.queue.bytes()
    }
}
