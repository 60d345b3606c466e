//! Requests that wait for an answer from outside: DNS, the store, another shard. Each wait has an end.

use std::collections::BTreeMap;

use dialtone_dialog::Draft;
use dialtone_wire::net::Transport;
use dialtone_wire::time::Instant;
use smol_str::SmolStr;

use crate::auth::Presented;
use crate::b2bua::ReferAside;
use crate::contact_user::ContactUser;
use crate::context::UaRequest;
use crate::engine::Arrived;
use crate::engine::meeting::PickUpAsked;
use crate::engine::services::{Keeping, StarTarget};
use crate::io::QueryId;
use crate::proxy::{ContextId, LegId, Passing, Target};
use crate::registrar::Grant;
use crate::trunks::keeper::Errand;

/// What goes on when the answer is there.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// Credentials to be checked against what the store has.
    Credential(Box<Presented>),
    /// Credentials that are right, if the issuing shard says that their nonce count is new.
    NonceUse(Box<Presented>, SmolStr),
    /// An INVITE that takes a call that rings, on whichever shard.
    PickUp(Box<PickUpAsked>),
    /// A REFER that is about a call, or a slot, of another shard.
    Refer(Box<ReferAside>),
    /// A leg of a response context, for the bindings of its user.
    Leg { context: ContextId, leg: LegId },
    /// A leg whose user has no bindings: does the user exist at all?
    Exists { context: ContextId, leg: LegId },
    /// A star code whose target is looked up in the store.
    StarTarget(Box<StarTarget>),
    /// A star code whose change another shard makes.
    StarChange(Box<Arrived>),
    /// A change of a user's services that is told once it is kept.
    ServicesKept(Box<Keeping>),
    /// A REGISTER that is granted once its bindings are journalled.
    Journal(Box<Grant>),
    /// A request of the user agent, to a host name.
    UaSend {
        request: UaRequest,
        draft: Box<Draft>,
        contact_user: Option<ContactUser>,
        transport: Transport,
        port: u16,
    },
    /// The ACK of the user agent for a 2xx to this INVITE, to a host name.
    UaAck {
        invite: UaRequest,
        /// The To tag of the 2xx.
        tag: SmolStr,
        draft: Box<Draft>,
        transport: Transport,
        port: u16,
    },
    /// A request that is forwarded without state, to a host name.
    Pass { passing: Box<Passing>, transport: Transport, port: u16 },
    /// Another one, to the first binding of its address-of-record.
    PassTo(Box<Passing>),
    /// A request to a trunk, to a host name.
    Trunk { name: SmolStr, errand: Errand, transport: Transport, port: u16 },
    /// A branch of a response context, to a host name.
    Branch { context: ContextId, leg: LegId, target: Box<Target>, transport: Transport, port: u16 },
}

/// All that waits, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    next: u64,
    waiting: BTreeMap<QueryId, (Instant, Waiting)>,
}

impl Queries {
    /// Puts something aside; `None` when `limit` things wait already.
    pub(crate) fn add(&mut self, deadline: Instant, waiting: Waiting, limit: usize) -> Option<QueryId> {
        if self.waiting.len() >= limit {
            return None;
        }
        self.next += 1;
        let id = QueryId(self.next);
        self.waiting.insert(id, (deadline, waiting));
        Some(id)
    }

    /// Takes back what waits for this answer; `None` when its time was over.
    pub(crate) fn take(&mut self, id: QueryId) -> Option<Waiting> {
        self.waiting.remove(&id).map(|(_, waiting)| waiting)
    }

    /// What waits for this answer, where more than one is to come.
    pub(crate) fn get_mut(&mut self, id: QueryId) -> Option<&mut Waiting> {
        self.waiting.get_mut(&id).map(|(_, waiting)| waiting)
    }

    /// Takes the oldest wait whose time is over.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<Waiting> {
        let entry = self.waiting.first_entry().filter(|entry| entry.get().0 <= now)?;
        Some(entry.remove().1)
    }

    /// When the oldest wait is over.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.waiting.first_key_value().map(|(_, (deadline, _))| (*deadline, "query"))
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
