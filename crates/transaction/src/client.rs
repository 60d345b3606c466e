//! The client side of the layer.

use bytes::Bytes;
use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::time::Instant;
use dialtone_wire::{Message, Method, Status};
use thiserror::Error;

use crate::invite_client::{self, InviteClient};
use crate::layer::{ClientId, Event, Owner, Transactions, keep};
use crate::machine::{Machine, fire, wakes};
use crate::non_invite_client::{self, NonInviteClient};
use crate::slab::Handle;
use crate::{Action, Actions, Timers, TransactionLimits, built, key};

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// As many client transactions as [`TransactionLimits::clients_max`] allows.
    #[error("{limit} client transactions are running, which is the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The request would exceed [`TransactionLimits::kept_bytes_max`].
    #[error("the transactions would keep more than {limit} bytes, which is the limit")]
    TooManyBytes {
        /// The limit.
        limit: usize,
    },
    /// Another client transaction has the same branch and method.
    #[error("the branch is in use for this method")]
    BranchInUse,
    /// There is no client transaction for ACK (RFC 3261 §17.1): it goes straight to the transport.
    #[error("an ACK has no client transaction")]
    Ack,
}

/// Where a response went that belongs to a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// It is news for the transaction user.
    PassUp(ClientId),
    /// It repeats what is known, and has been dealt with.
    Absorbed(ClientId),
}

/// A client transaction.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) machine: ClientMachine,
    pub(crate) flow: Flow,
    /// What may have to be sent again: the request until the final response, from then on the ACK where the
    /// layer sends one.
    kept: Bytes,
    key: Vec<u8>,
    /// The deadline in the queue that counts; [`Instant::NEVER`] for none.
    pub(crate) deadline: Instant,
}

/// The machine of either figure.
#[derive(Debug)]
pub(crate) enum ClientMachine {
    Invite(InviteClient),
    NonInvite(NonInviteClient),
}

impl ClientMachine {
    fn start(now: Instant, method: &Method, reliable: bool, timers: &Timers) -> (ClientMachine, Actions) {
        if *method == Method::Invite {
            let (machine, actions) = InviteClient::start(now, reliable, timers);
            (ClientMachine::Invite(machine), actions)
        } else {
            let (machine, actions) = NonInviteClient::start(now, reliable, timers);
            (ClientMachine::NonInvite(machine), actions)
        }
    }

    pub(crate) fn wakes(&self) -> Option<(Instant, &'static str)> {
        match self {
            ClientMachine::Invite(machine) => wakes(machine),
            ClientMachine::NonInvite(machine) => wakes(machine),
        }
    }

    fn fire(&mut self, now: Instant, timers: &Timers) -> Option<Actions> {
        match self {
            ClientMachine::Invite(machine) => fire(machine, now, timers),
            ClientMachine::NonInvite(machine) => fire(machine, now, timers),
        }
    }

    fn response(&mut self, now: Instant, status: Status, timers: &Timers) -> Actions {
        let actions = match self {
            ClientMachine::Invite(machine) => {
                invite_client::Event::of_status(status.code()).map(|event| machine.handle(now, event, timers))
            }
            ClientMachine::NonInvite(machine) => non_invite_client::Event::of_status(status.code())
                .map(|event| machine.handle(now, event, timers)),
        };
        actions.unwrap_or(Actions::NONE)
    }

    fn transport_error(&mut self, now: Instant, timers: &Timers) -> Actions {
        match self {
            ClientMachine::Invite(machine) => {
                machine.handle(now, invite_client::Event::TransportError, timers)
            }
            ClientMachine::NonInvite(machine) => {
                machine.handle(now, non_invite_client::Event::TransportError, timers)
            }
        }
    }

    /// Whether the request can still be needed, for sending it again or for building its ACK.
    fn needs_request(&self) -> bool {
        match self {
            ClientMachine::Invite(machine) => {
                matches!(machine.state(), invite_client::State::Calling | invite_client::State::Proceeding)
            }
            ClientMachine::NonInvite(machine) => matches!(
                machine.state(),
                non_invite_client::State::Trying | non_invite_client::State::Proceeding
            ),
        }
    }
}

impl Transactions {
    /// Begins a client transaction and sends its request over `flow` (RFC 3261 §17.1).
    ///
    /// `branch` is that of the topmost Via in `bytes`, unique for each request but CANCEL; `bytes` is the whole
    /// message in an exact-size buffer of its own, which is sent again unchanged.
    ///
    /// # Errors
    /// [`SendError`] when a limit is reached, the branch is in use, or the method is ACK: nothing is sent.
    pub fn send_request(
        &mut self,
        now: Instant,
        flow: Flow,
        method: &Method,
        branch: &str,
        bytes: Bytes,
    ) -> Result<ClientId, SendError> {
        if *method == Method::Ack {
            return Err(SendError::Ack);
        }
        key::client(&mut self.key, branch, method.as_str());
        let hash = self.key_hash();
        if self.client_slots.contains_key(&hash) {
            return Err(SendError::BranchInUse);
        }
        self.client_room(bytes.len()).inspect_err(|_| self.counters.refused_by_limit += 1)?;
        let (machine, actions) = ClientMachine::start(now, method, flow.is_reliable(), &self.timers);
        let key = self.copy_key();
        self.kept_bytes += bytes.len();
        let deadline = Instant::NEVER;
        let client = Client { machine, flow, kept: bytes, key, deadline };
        let handle = self.clients.insert(client);
        self.client_slots.insert(hash, handle.slot);
        self.client_peers.enter(self.peer_hash(&flow), handle.slot);
        self.counters.clients_created += 1;
        self.carry_out_client(handle, actions);
        Ok(ClientId(handle))
    }

    fn client_room(&self, request_bytes: usize) -> Result<(), SendError> {
        let TransactionLimits { clients_max, kept_bytes_max, .. } = self.limits;
        if self.clients.len() >= clients_max {
            return Err(SendError::TooMany { limit: clients_max });
        }
        if self.kept_bytes + self.key.len() + request_bytes > kept_bytes_max {
            return Err(SendError::TooManyBytes { limit: kept_bytes_max });
        }
        Ok(())
    }

    /// Takes a response from the network and matches it by the branch of its topmost Via and the method of its CSeq
    /// (RFC 3261 §17.1.3).
    ///
    /// `None` when it belongs to no client transaction: it must not be forwarded (RFC 6026 §7.3).
    pub fn receive_response(&mut self, now: Instant, response: &Message) -> Option<Matched> {
        let matched = self.match_response(response);
        let Some((handle, status)) = matched else {
            self.counters.responses_stray += 1;
            return None;
        };
        let client = self.clients.get_mut(handle)?;
        let had_request = client.machine.needs_request();
        let actions = client.machine.response(now, status, &self.timers);
        if had_request && !client.machine.needs_request() {
            let ack = actions.has(Action::SendAck).then(|| built::ack(&client.kept, response)).flatten();
            self.take_ack(handle, ack.unwrap_or_default());
        }
        self.carry_out_client(handle, actions);
        if actions.has(Action::PassUp) {
            Some(Matched::PassUp(ClientId(handle)))
        } else {
            self.counters.responses_absorbed += 1;
            Some(Matched::Absorbed(ClientId(handle)))
        }
    }

    /// Puts the ACK in the place of the request. The response may have made it larger: beyond the byte limit it is
    /// sent now and not kept.
    fn take_ack(&mut self, handle: Handle, ack: Bytes) {
        let Some(client) = self.clients.get_mut(handle) else { return };
        keep(&mut self.kept_bytes, &mut client.kept, Bytes::new());
        if self.kept_bytes + ack.len() <= self.limits.kept_bytes_max {
            keep(&mut self.kept_bytes, &mut client.kept, ack);
        } else {
            self.counters.acks_sent += 1;
            self.counters.acks_not_kept += 1;
            self.transmits.push_back(Transmit { flow: client.flow, bytes: ack });
        }
    }

    fn match_response(&mut self, response: &Message) -> Option<(Handle, Status)> {
        let status = response.status()?;
        let via = response.via().ok()?;
        let cseq = response.cseq().ok()?;
        key::client(&mut self.key, via.branch()?, cseq.method.as_str());
        let slot = *self.client_slots.get(&self.key_hash())?;
        let (handle, client) = self.clients.at(slot)?;
        (client.key == self.key).then_some((handle, status))
    }

    /// Tells a client transaction that its request or ACK could not be sent (RFC 3261 §17.1.4). Nothing happens
    /// when the transaction is gone or has nothing on the way.
    pub fn client_transport_error(&mut self, now: Instant, id: ClientId) {
        let Some(client) = self.clients.get_mut(id.0) else { return };
        let actions = client.machine.transport_error(now, &self.timers);
        self.carry_out_client(id.0, actions);
    }

    /// Ends a client transaction without any event: the transaction user has given it up, as after a CANCEL without
    /// a final response (RFC 3261 §9.1) or at Timer C (§16.8). Says whether there was one.
    pub fn abandon_client(&mut self, id: ClientId) -> bool {
        self.remove_client(id.0)
    }

    /// Whether the client transaction still exists.
    pub fn has_client(&self, id: ClientId) -> bool {
        self.clients.get(id.0).is_some()
    }

    /// The flow that the request went over.
    pub fn client_flow(&self, id: ClientId) -> Option<Flow> {
        self.clients.get(id.0).map(|client| client.flow)
    }

    pub(crate) fn client_wakes(&mut self, now: Instant, at: Instant, handle: Handle) {
        let Some(client) = self.clients.get_mut(handle).filter(|client| client.deadline == at) else {
            return;
        };
        client.deadline = Instant::NEVER;
        while let Some(actions) =
            self.clients.get_mut(handle).and_then(|client| client.machine.fire(now, &self.timers))
        {
            self.counters.requests_retransmitted += u64::from(actions.has(Action::SendRequest));
            self.carry_out_client(handle, actions);
        }
        self.schedule_client(handle);
    }

    fn carry_out_client(&mut self, handle: Handle, actions: Actions) {
        self.edges.count(actions.edge());
        let Some(client) = self.clients.get_mut(handle) else { return };
        if actions.has(Action::SendRequest) {
            self.transmits.push_back(Transmit { flow: client.flow, bytes: client.kept.clone() });
        }
        if actions.has(Action::SendAck) && !client.kept.is_empty() {
            self.transmits.push_back(Transmit { flow: client.flow, bytes: client.kept.clone() });
            self.counters.acks_sent += 1;
        }
        let id = ClientId(handle);
        if actions.has(Action::TimedOut) {
            self.counters.clients_timed_out += 1;
            self.events.push_back(Event::TimedOut(id));
        }
        if actions.has(Action::TransportFailed) {
            self.counters.transport_errors += 1;
            self.events.push_back(Event::RequestNotSent(id));
        }
        if actions.has(Action::Terminate) {
            self.remove_client(handle);
            self.events.push_back(Event::ClientTerminated(id));
        } else {
            self.schedule_client(handle);
        }
    }

    fn schedule_client(&mut self, handle: Handle) {
        let Some(client) = self.clients.get(handle) else { return };
        let (counts, next) = (client.deadline, client.machine.wakes());
        self.schedule(Owner::Client(handle), counts, next.map(|next| next.0));
    }

    fn remove_client(&mut self, handle: Handle) -> bool {
        let Some(client) = self.clients.remove(handle) else { return false };
        self.client_slots.remove(&self.hash(&client.key));
        self.client_peers.leave(handle.slot);
        self.kept_bytes -= client.kept.len();
        self.release_key(client.key);
        true
    }
}
