//! The server side of the layer.

use std::num::NonZeroU64;

use bytes::Bytes;
use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderError, Message, Method, Status};
use thiserror::Error;

use crate::invite_server::{self, InviteServer};
use crate::key::Matching;
use crate::layer::{Event, Owner, ServerId, Transactions, keep};
use crate::machine::{Machine, fire, wakes};
use crate::non_invite_server::{self, NonInviteServer};
use crate::slab::Handle;
use crate::{Action, Actions, Timers, built, key};

/// What a request from the network was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A new request: its server transaction has begun and waits for a response.
    New(ServerId),
    /// A retransmission, or the ACK for a final response other than 2xx: dealt with.
    Absorbed,
    /// The ACK for a 2xx, or one that belongs to nothing known: for the transaction user. The server transaction is
    /// named where the ACK has the branch of its INVITE.
    Ack(Option<ServerId>),
    /// A new request, and a limit is reached: no transaction was begun. The caller answers 503 statelessly, or drops
    /// it.
    Full,
    /// It lacks a header that a transaction is known by, so that it can't be handled statefully.
    Malformed(HeaderError),
}

/// What became of a response of the transaction user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Responded {
    /// It was sent.
    Sent,
    /// It was thrown away: a final response was sent before, or RFC 4320 §4 forbids it (a provisional response other
    /// than 100, a 100 too early, or 408, to a request other than INVITE).
    Discarded,
}

/// The handle names a transaction that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the transaction is gone")]
pub struct Gone;

/// A server transaction.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) machine: ServerMachine,
    /// Where responses go.
    pub(crate) flow: Flow,
    /// Kept until the final response.
    request: Bytes,
    /// The last response, where the machine repeats it.
    response: Bytes,
    key: Vec<u8>,
    /// The hash of what merged requests have in common; `None` for a request within a dialog.
    same_request: Option<NonZeroU64>,
    /// The deadline in the queue that counts; [`Instant::NEVER`] for none.
    pub(crate) deadline: Instant,
}

/// The machine of either figure.
#[derive(Debug)]
pub(crate) enum ServerMachine {
    Invite(InviteServer),
    NonInvite(NonInviteServer),
}

impl ServerMachine {
    fn start(now: Instant, method: &Method, reliable: bool, timers: &Timers) -> (ServerMachine, Actions) {
        if *method == Method::Invite {
            let (machine, actions) = InviteServer::start(now, reliable, timers);
            (ServerMachine::Invite(machine), actions)
        } else {
            let (machine, actions) = NonInviteServer::start(now, reliable, timers);
            (ServerMachine::NonInvite(machine), actions)
        }
    }

    pub(crate) fn wakes(&self) -> Option<(Instant, &'static str)> {
        match self {
            ServerMachine::Invite(machine) => wakes(machine),
            ServerMachine::NonInvite(machine) => wakes(machine),
        }
    }

    fn fire(&mut self, now: Instant, timers: &Timers) -> Option<Actions> {
        match self {
            ServerMachine::Invite(machine) => fire(machine, now, timers),
            ServerMachine::NonInvite(machine) => fire(machine, now, timers),
        }
    }

    fn retransmission(&mut self, now: Instant, timers: &Timers) -> Actions {
        match self {
            ServerMachine::Invite(machine) => machine.handle(now, invite_server::Event::Invite, timers),
            ServerMachine::NonInvite(machine) => {
                machine.handle(now, non_invite_server::Event::Request, timers)
            }
        }
    }

    /// Takes an ACK. Only an INVITE has one: keys see to it that no other transaction is found for it.
    fn ack(&mut self, now: Instant, timers: &Timers) -> Actions {
        match self {
            ServerMachine::Invite(machine) => machine.handle(now, invite_server::Event::Ack, timers),
            ServerMachine::NonInvite(_) => Actions::NONE,
        }
    }

    fn respond(&mut self, now: Instant, status: Status, timers: &Timers) -> Actions {
        let actions = match self {
            ServerMachine::Invite(machine) => {
                invite_server::Event::of_status(status.code()).map(|event| machine.handle(now, event, timers))
            }
            ServerMachine::NonInvite(machine) => non_invite_server::Event::of_status(status.code())
                .map(|event| machine.handle(now, event, timers)),
        };
        actions.unwrap_or(Actions::NONE)
    }

    fn transport_error(&mut self, now: Instant, timers: &Timers) -> Actions {
        match self {
            ServerMachine::Invite(machine) => {
                machine.handle(now, invite_server::Event::TransportError, timers)
            }
            ServerMachine::NonInvite(machine) => {
                machine.handle(now, non_invite_server::Event::TransportError, timers)
            }
        }
    }

    /// Whether a final response is still to come.
    fn awaits_answer(&self) -> bool {
        match self {
            ServerMachine::Invite(machine) => machine.state() == invite_server::State::Proceeding,
            ServerMachine::NonInvite(machine) => matches!(
                machine.state(),
                non_invite_server::State::Trying | non_invite_server::State::Proceeding
            ),
        }
    }

    /// Whether the kept response can still be needed.
    fn repeats_response(&self) -> bool {
        match self {
            ServerMachine::Invite(machine) => {
                matches!(machine.state(), invite_server::State::Proceeding | invite_server::State::Completed)
            }
            ServerMachine::NonInvite(machine) => {
                matches!(
                    machine.state(),
                    non_invite_server::State::Proceeding | non_invite_server::State::Completed
                )
            }
        }
    }
}

impl Transactions {
    /// Takes a request from the network and matches it (RFC 3261 §17.2.3). A request that is new begins a server
    /// transaction; `flow` is where its responses will go (RFC 3261 §18.2.2, RFC 3581 §4), which over UDP need not
    /// be where it came from. An ACK begins no transaction and needs no answer, whatever comes of it.
    pub fn receive_request(&mut self, now: Instant, flow: Flow, request: &Message) -> Received {
        // A response is the business of `receive_response`.
        let Some(method) = request.method() else { return Received::Absorbed };
        if *method == Method::Ack {
            return self.receive_ack(now, request);
        }
        if let Err(error) = key::server(&mut self.key, request, method) {
            self.counters.requests_malformed += 1;
            return Received::Malformed(error);
        }
        let hash = self.key_hash();
        if let Some(handle) = self.server_by_key(hash) {
            self.absorb(now, handle);
            return Received::Absorbed;
        }
        let size = self.key.len() + request.bytes().len();
        if self.servers.len() >= self.limits.servers_max
            || self.kept_bytes + size > self.limits.kept_bytes_max
            || self.server_slots.contains_key(&hash)
        {
            self.counters.refused_by_limit += 1;
            return Received::Full;
        }
        let (machine, actions) = ServerMachine::start(now, method, flow.is_reliable(), &self.timers);
        let key = self.copy_key();
        // An exact-size copy: the message may be a slice of a batch that was received at once.
        let kept = Bytes::copy_from_slice(request.bytes());
        self.kept_bytes += kept.len();
        // A registrar has no use for RFC 3261 §8.2.2.2: a REGISTER that comes twice is told by §10.3 step 7.
        let same_request = if *method == Method::Register { None } else { self.count_same_request(request) };
        let handle = self.servers.insert(Server {
            machine,
            flow,
            request: kept,
            response: Bytes::new(),
            key,
            same_request,
            deadline: Instant::NEVER,
        });
        self.server_slots.insert(hash, handle.slot);
        self.server_peers.enter(self.peer_hash(&flow), handle.slot);
        self.counters.servers_created += 1;
        self.carry_out_server(handle, actions, Bytes::new());
        Received::New(ServerId(handle))
    }

    /// Whether a request repeats one that has a server transaction, which then does what it does for a copy. For
    /// requests that would otherwise be answered without a transaction: what decides that may have changed since the
    /// first copy came.
    pub fn absorb_repetition(&mut self, now: Instant, request: &Message) -> bool {
        let Some(method) = request.method().filter(|method| **method != Method::Ack) else { return false };
        if key::server(&mut self.key, request, method).is_err() {
            return false;
        }
        match self.server_by_key(self.key_hash()) {
            Some(handle) => {
                self.absorb(now, handle);
                true
            }
            None => false,
        }
    }

    fn absorb(&mut self, now: Instant, handle: Handle) {
        self.counters.requests_absorbed += 1;
        let server = self.servers.get_mut(handle).expect("the key has just found it");
        let actions = server.machine.retransmission(now, &self.timers);
        self.carry_out_server(handle, actions, Bytes::new());
    }

    fn receive_ack(&mut self, now: Instant, ack: &Message) -> Received {
        let handle = match self.server_of_ack(ack) {
            Ok(handle) => handle,
            Err(error) => {
                self.counters.requests_malformed += 1;
                return Received::Malformed(error);
            }
        };
        let Some(handle) = handle else { return Received::Ack(None) };
        let server = self.servers.get_mut(handle).expect("the key has just found it");
        let actions = server.machine.ack(now, &self.timers);
        self.carry_out_server(handle, actions, Bytes::new());
        if actions.has(Action::PassUp) {
            return Received::Ack(Some(ServerId(handle)));
        }
        self.counters.acks_absorbed += 1;
        Received::Absorbed
    }

    /// The INVITE server transaction that an ACK belongs to (RFC 3261 §17.2.3, RFC 6026 §6).
    fn server_of_ack(&mut self, ack: &Message) -> Result<Option<Handle>, HeaderError> {
        match key::server(&mut self.key, ack, &Method::Invite)? {
            Matching::ByBranch => Ok(self.server_by_key(self.key_hash())),
            Matching::ByHeaders => {
                // The To tag of the ACK is that of our response. The INVITE had the same one inside a dialog, and
                // none outside.
                let tag = ack.to_tag()?.unwrap_or("");
                let mut found = self.server_by_key(self.key_hash());
                if found.is_none() {
                    key::server_by_headers(&mut self.key, ack, &Method::Invite, "")?;
                    found = self.server_by_key(self.key_hash());
                }
                Ok(found.filter(|handle| {
                    let server = self.servers.get(*handle);
                    server.is_some_and(|server| {
                        server.response.is_empty() || built::to_tag_is(&server.response, tag)
                    })
                }))
            }
        }
    }

    /// The INVITE server transaction that a CANCEL asks to end (RFC 3261 §9.2): the one that would match if the
    /// CANCEL's method were INVITE.
    pub fn find_cancelled(&mut self, cancel: &Message) -> Option<ServerId> {
        key::server(&mut self.key, cancel, &Method::Invite).ok()?;
        self.server_by_key(self.key_hash()).map(ServerId)
    }

    /// Whether the request, for which [`Transactions::receive_request`] has just given [`Received::New`], has come
    /// before on another path: it has no To tag, and From tag, Call-ID and CSeq of another transaction
    /// (RFC 3261 §8.2.2.2). A user agent answers it with 482. A REGISTER is never said to be merged.
    pub fn is_merged(&mut self, request: &Message) -> bool {
        self.same_request_hash(request)
            .and_then(|hash| self.same_request.get(&hash))
            .is_some_and(|count| *count > 1)
    }

    /// Sends a response of the transaction user over the flow of the request (RFC 3261 §17.2). `bytes` is the whole
    /// message in an exact-size buffer of its own, which is sent again unchanged.
    ///
    /// # Errors
    /// [`Gone`] when the transaction has ended: the response must not be sent (RFC 6026 §8.3, RFC 4320 §4.2).
    pub fn respond(
        &mut self,
        now: Instant,
        id: ServerId,
        status: Status,
        bytes: Bytes,
    ) -> Result<Responded, Gone> {
        let server = self.servers.get_mut(id.0).ok_or(Gone)?;
        let actions = server.machine.respond(now, status, &self.timers);
        if !actions.has(Action::SendAndKeep) && !actions.has(Action::SendOnce) {
            self.counters.responses_discarded += 1;
            return Ok(Responded::Discarded);
        }
        self.carry_out_server(id.0, actions, bytes);
        Ok(Responded::Sent)
    }

    /// Tells a server transaction that its response could not be sent (RFC 3261 §17.2.4, RFC 6026 §8.8). Nothing
    /// happens when the transaction is gone or has sent nothing.
    pub fn server_transport_error(&mut self, now: Instant, id: ServerId) {
        let Some(server) = self.servers.get_mut(id.0) else { return };
        let actions = server.machine.transport_error(now, &self.timers);
        self.carry_out_server(id.0, actions, Bytes::new());
    }

    /// Ends a server transaction without any event and without a response. Says whether there was one.
    pub fn abandon_server(&mut self, id: ServerId) -> bool {
        self.remove_server(id.0)
    }

    /// Whether the server transaction still exists.
    pub fn has_server(&self, id: ServerId) -> bool {
        self.servers.get(id.0).is_some()
    }

    /// Whether the server transaction exists and has had no final response.
    pub fn awaits_answer(&self, id: ServerId) -> bool {
        self.servers.get(id.0).is_some_and(|server| server.machine.awaits_answer())
    }

    /// The flow that responses go over.
    pub fn server_flow(&self, id: ServerId) -> Option<Flow> {
        self.servers.get(id.0).map(|server| server.flow)
    }

    /// The bytes of the request, in a buffer of their own; `None` once its final response was sent.
    pub fn server_request(&self, id: ServerId) -> Option<&Bytes> {
        self.servers.get(id.0).map(|server| &server.request).filter(|request| !request.is_empty())
    }

    /// The To tag of the last response, as long as that is kept.
    pub fn server_tag(&self, id: ServerId) -> Option<String> {
        let server = self.servers.get(id.0).filter(|server| !server.response.is_empty())?;
        built::to_tag(&server.response)
    }

    pub(crate) fn server_wakes(&mut self, now: Instant, at: Instant, handle: Handle) {
        let Some(server) = self.servers.get_mut(handle).filter(|server| server.deadline == at) else {
            return;
        };
        server.deadline = Instant::NEVER;
        while let Some(actions) =
            self.servers.get_mut(handle).and_then(|server| server.machine.fire(now, &self.timers))
        {
            self.carry_out_server(handle, actions, Bytes::new());
        }
        self.schedule_server(handle);
    }

    /// Does what the machine asks for; `bytes` is the response that came with the event, if one did.
    fn carry_out_server(&mut self, handle: Handle, actions: Actions, bytes: Bytes) {
        self.edges.count(actions.edge());
        if actions.has(Action::SendTrying) {
            self.send_trying(handle);
        }
        self.send_response(handle, actions, bytes);
        self.release_messages(handle);
        self.report_server(ServerId(handle), actions);
        if actions.has(Action::Terminate) {
            self.remove_server(handle);
            self.events.push_back(Event::ServerTerminated(ServerId(handle)));
        } else {
            self.schedule_server(handle);
        }
    }

    fn send_trying(&mut self, handle: Handle) {
        let Some(server) = self.servers.get(handle) else { return };
        if let Some(trying) = built::trying(&server.request, &server.flow) {
            self.counters.tryings_sent += 1;
            self.send_and_keep(handle, trying);
        }
    }

    fn send_response(&mut self, handle: Handle, actions: Actions, bytes: Bytes) {
        let Some(server) = self.servers.get(handle) else { return };
        if actions.has(Action::SendAndKeep) {
            self.send_and_keep(handle, bytes);
        } else if actions.has(Action::SendOnce) {
            self.transmits.push_back(Transmit { flow: server.flow, bytes });
        } else if actions.has(Action::Resend) && !server.response.is_empty() {
            self.counters.responses_retransmitted += 1;
            self.transmits.push_back(Transmit { flow: server.flow, bytes: server.response.clone() });
        }
    }

    fn send_and_keep(&mut self, handle: Handle, bytes: Bytes) {
        let Some(server) = self.servers.get_mut(handle) else { return };
        self.transmits.push_back(Transmit { flow: server.flow, bytes: bytes.clone() });
        // A final response takes the place of the request, a later one that of an earlier one.
        let freed =
            server.response.len() + if server.machine.awaits_answer() { 0 } else { server.request.len() };
        if self.kept_bytes - freed + bytes.len() <= self.limits.kept_bytes_max {
            keep(&mut self.kept_bytes, &mut server.response, bytes);
        } else {
            self.counters.responses_not_kept += 1;
            keep(&mut self.kept_bytes, &mut server.response, Bytes::new());
        }
    }

    /// Frees what the machine will not ask for any more.
    fn release_messages(&mut self, handle: Handle) {
        let Some(server) = self.servers.get_mut(handle) else { return };
        if !server.machine.awaits_answer() {
            keep(&mut self.kept_bytes, &mut server.request, Bytes::new());
        }
        if !server.machine.repeats_response() {
            keep(&mut self.kept_bytes, &mut server.response, Bytes::new());
        }
    }

    fn report_server(&mut self, id: ServerId, actions: Actions) {
        if actions.has(Action::TransportFailed) {
            self.counters.transport_errors += 1;
            self.events.push_back(Event::ResponseNotSent(id));
        }
        if actions.has(Action::NoAck) {
            self.counters.acks_missing += 1;
            self.events.push_back(Event::NoAck(id));
        }
        if actions.has(Action::Unanswered) {
            self.counters.requests_unanswered += 1;
            self.events.push_back(Event::Unanswered(id));
        }
    }

    fn schedule_server(&mut self, handle: Handle) {
        let Some(server) = self.servers.get(handle) else { return };
        let (counts, next) = (server.deadline, server.machine.wakes());
        self.schedule(Owner::Server(handle), counts, next.map(|next| next.0));
    }

    fn server_by_key(&self, hash: u64) -> Option<Handle> {
        let slot = *self.server_slots.get(&hash)?;
        let (handle, server) = self.servers.at(slot)?;
        (server.key == self.key).then_some(handle)
    }

    fn same_request_hash(&mut self, request: &Message) -> Option<NonZeroU64> {
        if request.to_tag().ok()?.is_some() {
            return None;
        }
        key::merged(&mut self.key, request).ok()?;
        NonZeroU64::new(self.key_hash())
    }

    fn count_same_request(&mut self, request: &Message) -> Option<NonZeroU64> {
        let hash = self.same_request_hash(request)?;
        *self.same_request.entry(hash).or_insert(0) += 1;
        Some(hash)
    }

    fn remove_server(&mut self, handle: Handle) -> bool {
        let Some(server) = self.servers.remove(handle) else { return false };
        self.server_slots.remove(&self.hash(&server.key));
        self.server_peers.leave(handle.slot);
        if let Some(hash) = server.same_request
            && let Some(count) = self.same_request.get_mut(&hash)
        {
            *count -= 1;
            if *count == 0 {
                self.same_request.remove(&hash);
            }
        }
        self.kept_bytes -= server.request.len() + server.response.len();
        self.release_key(server.key);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    #[test]
    fn a_transaction_is_small_beside_what_it_keeps() {
        // A slot, without the text of its key, its entry in the map and that in the queue of deadlines.
        assert!(size_of::<Client>() <= 216, "{}", size_of::<Client>());
        assert!(size_of::<Server>() <= 256, "{}", size_of::<Server>());
    }
}
