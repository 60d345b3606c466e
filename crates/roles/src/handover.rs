//! What shards say to each other when calls are to meet that live on two of them.

use std::sync::Arc;

use bytes::Bytes;
use dialtone_wire::Status;
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use smol_str::SmolStr;

use crate::b2bua::{MovedBridge, Party, Replaced};
use crate::engine::Arrived;
use crate::io::QueryId;

/// Word between shards about calls that meet: a call itself may be in it, so that a copy of it carries nothing.
#[derive(Clone, Debug)]
pub struct Handover(Arc<Word>);

impl Handover {
    pub(crate) fn new(word: Word) -> Handover {
        Handover(Arc::new(word))
    }

    /// What is said, to the one who has it alone.
    pub(crate) fn take(self) -> Option<Word> {
        Arc::try_unwrap(self.0).ok()
    }
}

/// What is said.
#[derive(Debug)]
pub(crate) enum Word {
    /// A packet for a call that the shard has, from its home.
    Packet { flow: Flow, bytes: Bytes, hops: u8 },
    /// An INVITE goes on where the call is that it is to meet. The server transaction that it names is no more.
    Arrived { arrived: Box<Arrived>, since: Instant },
    /// The sender has a call of which the receiver is the home, or has it still.
    Alias { name: SmolStr, owner: u16, moves: u8 },
    /// The sender has it no more.
    Release { name: SmolStr, owner: u16 },
    /// Asks the home of a slot for it.
    Claim { from: u16, query: QueryId, slot: SmolStr },
    /// Answers [`Word::Claim`].
    Claimed { query: QueryId, is_free: bool },
    /// Asks for the oldest call that rings at an extension.
    AskRinging { from: u16, query: QueryId, domain: SmolStr, extension: SmolStr },
    /// Answers [`Word::AskRinging`]: since when it does, if there is one.
    Ringing { from: u16, query: QueryId, since: Option<Instant> },
    /// Asks for the bridge of a dialog that a party of another call has named.
    TakeOver { from: u16, query: QueryId, replaced: Replaced, by: Box<Party>, hops: u8 },
    /// Answers [`Word::TakeOver`].
    TakenOver { query: QueryId, bridge: Result<Box<MovedBridge>, Status> },
}
