//! Calls that meet and live on two shards: an INVITE goes where the call is that it is to meet, and what belongs to a call
//! follows it ([`aliases`](crate::aliases)).
//!
//! ```text
//!   INVITE *51 --> home of its Call-ID: password, decision
//!                       |  alias left            home of slot 1         shard of the parked call
//!                       +------- Arrived ---------->  alias  ------ Arrived ------> act
//!   ACK, BYE -----> alias ---------------- Packet --------------------------------> dialog
//! ```

use dialtone_wire::headers::{Replaces, TypedHeader as _};
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::SmolStr;

use super::{Arrived, Engine};
use crate::aliases::{HOPS_MAX, LEASE, queue_name};
use crate::handover::{Handover, Word};
use crate::io::QueryId;
use crate::loopback;
use crate::policy::Decision;
use crate::queries::Waiting;
use crate::settings::{Destination, Mode};
use crate::steer::shard_of;

/// When to try again what finds no room to be handed over, in seconds.
const RETRY_AFTER_S: u32 = 10;

/// Where an INVITE belongs that is to meet another call.
pub(crate) enum Meeting {
    /// To the call, slot or queue of this name.
    With(SmolStr),
    /// To the oldest call that rings at an extension of a domain, wherever it is.
    Ringing { domain: SmolStr, extension: SmolStr },
}

/// An INVITE that takes a call that rings; the shards are asked for one.
#[derive(Debug)]
pub(crate) struct PickUpAsked {
    arrived: Arrived,
    /// The oldest one that is known.
    oldest: Option<(Instant, u16)>,
    /// So many have not answered.
    unanswered: u16,
}

impl Engine {
    /// Whether a request belongs to a call that another shard has.
    pub(super) fn is_elsewhere(&self, request: &Message) -> bool {
        if self.core.aliases.is_empty() {
            return false;
        }
        // These follow the address-of-record in To.
        let is_steered_by_to = matches!(request.method(), Some(Method::Register | Method::Publish));
        !is_steered_by_to && self.owner(request).is_some()
    }

    fn owner(&self, message: &Message) -> Option<u16> {
        self.core.aliases.owner_of(message.call_id().ok()?)
    }

    /// Sends on what belongs to a call that another shard has; says whether it does.
    pub(super) fn follow(&mut self, flow: Flow, message: &Message) -> bool {
        if self.core.aliases.is_empty() || loopback::is_loopback(&flow) {
            return false;
        }
        let Some(to) = self.owner(message) else { return false };
        if self.core.hops >= HOPS_MAX {
            self.core.counters.hops_exceeded += 1;
            return true;
        }
        self.core.counters.followed += 1;
        let word = Word::Packet { flow, bytes: message.bytes().clone(), hops: self.core.hops + 1 };
        self.core.tell_shard(to, word);
        true
    }

    /// Hands an INVITE to the shard of the call that it is to meet; gives it back where that is this one, or none.
    pub(super) fn hand_over(&mut self, now: Instant, arrived: Arrived) -> Option<Arrived> {
        if self.settings.shards <= 1
            || arrived.decision.mode() != Mode::B2bua
            || arrived.request.method() != Some(&Method::Invite)
            || !matches!(arrived.request.to_tag(), Ok(None))
        {
            return Some(arrived);
        }
        let to = match self.meeting(&arrived) {
            None => return Some(arrived),
            Some(Meeting::Ringing { .. }) if arrived.hops > 0 => return Some(arrived),
            Some(Meeting::Ringing { domain, extension }) => {
                self.ask_ringing(now, arrived, &domain, &extension);
                return None;
            }
            Some(Meeting::With(name)) => self.owner_of(&name, arrived.hops),
        };
        self.send_arrived(now, arrived, to)
    }

    /// What an INVITE is to meet, if it is to meet a call that is there already.
    fn meeting(&self, arrived: &Arrived) -> Option<Meeting> {
        let Arrived { request, decision, .. } = arrived;
        if let Some(replaces) = request.value(HeaderName::Replaces) {
            let call_id = Replaces::parse(replaces).ok()?.call_id;
            return Some(Meeting::With(SmolStr::new(call_id)));
        }
        if let Some(code) = request.uri_buf().ok().and_then(|uri| crate::b2bua::meeting(&self.settings, &uri))
        {
            return Some(code);
        }
        match decision {
            Decision::To { destination: Destination::Group(group), .. }
            | Decision::FromTrunk { destination: Destination::Group(group), .. } => {
                let has_queue = self.settings.bridges.queues.contains_key(group);
                has_queue.then(|| Meeting::With(queue_name(group)))
            }
            _ => None,
        }
    }

    /// The shard that has a call, slot or queue: one that has come the whole way asks its home no more.
    fn owner_of(&self, name: &str, hops: u8) -> u16 {
        if self.b2bua.has(name) {
            return self.core.shard;
        }
        let home = if hops == 0 { shard_of(&self.settings, name.as_bytes()) } else { self.core.shard };
        self.core.aliases.owner_of(name).unwrap_or(home)
    }

    /// Leaves an alias and sends an INVITE on, whose server transaction begins anew there: it has had no response but 100.
    fn send_arrived(&mut self, now: Instant, mut arrived: Arrived, to: u16) -> Option<Arrived> {
        if to == self.core.shard || arrived.hops >= HOPS_MAX {
            return Some(arrived);
        }
        let call_id = SmolStr::new(arrived.request.call_id().unwrap_or_default());
        let home = shard_of(&self.settings, call_id.as_bytes());
        let is_home = home == self.core.shard;
        let moves = arrived.hops + if is_home || arrived.hops > 0 { 1 } else { 2 };
        let time = self.settings.timers.transaction_timeout();
        if !self.context(now).alias(&call_id, to, moves, time) {
            self.respond(now, arrived.server, &arrived.request, Status::of(480), |writer| {
                writer.number(HeaderName::RetryAfter, RETRY_AFTER_S);
            });
            return None;
        }
        if !is_home {
            self.core.tell_shard(home, Word::Alias { name: call_id, owner: to, moves });
        }
        let since = self.core.servers.remove(&arrived.server).map_or(now, |record| record.since);
        self.core.transactions.abandon_server(arrived.server);
        self.core.counters.handed_over += 1;
        arrived.hops = moves;
        self.core.tell_shard(to, Word::Arrived { arrived: Box::new(arrived), since });
        None
    }

    /// Asks all shards for the oldest call that rings at an extension.
    fn ask_ringing(&mut self, now: Instant, arrived: Arrived, domain: &SmolStr, extension: &SmolStr) {
        let own = self.ringing_since(domain, extension).map(|since| (since, self.core.shard));
        let (server, shards, from) = (arrived.server, self.settings.shards, self.core.shard);
        let asked = PickUpAsked { arrived, oldest: own, unanswered: shards - 1 };
        let Some(query) = self.context(now).wait(Waiting::PickUp(Box::new(asked))) else {
            self.core.counters.overload += 1;
            let request = self.core.transactions.server_request(server).cloned();
            let request = request.and_then(|bytes| Message::parse(bytes, &loopback::UNLIMITED).ok());
            if let Some(request) = request {
                self.respond(now, server, &request, Status::of(500), |_| ());
            }
            return;
        };
        for to in (0..shards).filter(|to| *to != from) {
            let (domain, extension) = (domain.clone(), extension.clone());
            self.core.tell_shard(to, Word::AskRinging { from, query, domain, extension });
        }
    }

    fn ringing_since(&self, domain: &str, extension: &str) -> Option<Instant> {
        let server = self.b2bua.rings_at(&self.settings, domain, extension)?;
        self.core.servers.get(&server).map(|record| record.since)
    }

    /// A shard has said whether a call rings there.
    fn rings(&mut self, now: Instant, from: u16, query: QueryId, since: Option<Instant>) {
        let Some(Waiting::PickUp(asked)) = self.core.queries.get_mut(query) else { return };
        asked.unanswered = asked.unanswered.saturating_sub(1);
        asked.oldest = [asked.oldest, since.map(|since| (since, from))].into_iter().flatten().min();
        if asked.unanswered == 0
            && let Some(Waiting::PickUp(asked)) = self.core.queries.take(query)
        {
            self.pick_up_at(now, *asked);
        }
    }

    /// All that could be asked have answered, or have had the time to.
    pub(super) fn pick_up_at(&mut self, now: Instant, asked: PickUpAsked) {
        let PickUpAsked { mut arrived, oldest, .. } = asked;
        if !self.still_waits(&arrived) {
            return;
        }
        let to = oldest.map_or(self.core.shard, |(_, shard)| shard);
        if to == self.core.shard {
            // It asks nobody any more.
            arrived.hops = arrived.hops.max(1);
            return self.act(now, arrived);
        }
        if let Some(arrived) = self.send_arrived(now, arrived, to) {
            self.act(now, arrived);
        }
    }

    /// Word of another shard about calls that meet.
    pub(super) fn handed(&mut self, now: Instant, handover: Handover) {
        let Some(word) = handover.take() else { return };
        match word {
            Word::Packet { flow, bytes, hops } => {
                self.core.hops = hops;
                self.packet(now, flow, bytes);
                self.core.hops = 0;
            }
            Word::Arrived { arrived, since } => self.arrived(now, *arrived, since),
            Word::Alias { name, owner, moves } => {
                let is_newer_here = self.b2bua.moves_of(&name).is_some_and(|own| own >= moves);
                if owner != self.core.shard && !is_newer_here {
                    self.context(now).alias(&name, owner, moves, LEASE);
                }
            }
            Word::Release { name, owner } => {
                // A slot has no late copies.
                let is_call = !name.contains(' ');
                let time = self.settings.timers.transaction_timeout();
                let until = if is_call { now + time } else { now };
                self.core.aliases.release(&name, owner, until);
            }
            Word::Claim { from, query, slot } => {
                let is_free = !self.b2bua.has(&slot)
                    && self.core.aliases.owner_of(&slot).is_none()
                    && self.context(now).alias(&slot, from, 1, LEASE);
                self.core.tell_shard(from, Word::Claimed { query, is_free });
            }
            Word::Claimed { query, is_free } => {
                if let Some(Waiting::Refer(aside)) = self.core.queries.take(query) {
                    let status = Status::of(if is_free { 200 } else { 486 });
                    let (b2bua, mut cx) = self.b2bua_and_context(now);
                    b2bua.refer_goes_on(&mut cx, &aside, status);
                }
            }
            Word::AskRinging { from, query, domain, extension } => {
                let since = self.ringing_since(&domain, &extension);
                let word = Word::Ringing { from: self.core.shard, query, since };
                self.core.tell_shard(from, word);
            }
            Word::Ringing { from, query, since } => self.rings(now, from, query, since),
            Word::TakeOver { .. } | Word::TakenOver { .. } => self.take_over(now, word),
        }
    }

    /// An INVITE that another shard has decided about, for a call that is here.
    fn arrived(&mut self, now: Instant, arrived: Arrived, since: Instant) {
        if let Ok(call_id) = arrived.request.call_id() {
            self.core.aliases.remove(call_id);
        }
        let Some(server) = self.begin(now, arrived.flow, &arrived.request, arrived.decision.mode()) else {
            return;
        };
        if let Some(record) = self.core.servers.get_mut(&server) {
            record.since = since;
        }
        self.act(now, Arrived { server, ..arrived });
    }

    /// Tells the homes of calls that have ended here, and of slots that are free.
    pub(super) fn give_back(&mut self) {
        let owner = self.core.shard;
        for (home, name) in self.b2bua.take_released() {
            self.core.tell_shard(home, Word::Release { name, owner });
        }
    }

    fn take_over(&mut self, now: Instant, word: Word) {
        match word {
            Word::TakeOver { from, query, replaced, by, hops } => {
                let elsewhere = self.core.aliases.owner_of(&replaced.call_id);
                if let Some(to) = elsewhere.filter(|_| !self.b2bua.has(&replaced.call_id) && hops < HOPS_MAX)
                {
                    let word = Word::TakeOver { from, query, replaced, by, hops: hops + 1 };
                    return self.core.tell_shard(to, word);
                }
                let (b2bua, mut cx) = self.b2bua_and_context(now);
                b2bua.give_away(&mut cx, from, query, replaced, *by);
            }
            Word::TakenOver { query, bridge } => {
                let (b2bua, mut cx) = self.b2bua_and_context(now);
                let status = match bridge {
                    Ok(bridge) => {
                        b2bua.adopt(&mut cx, *bridge);
                        Status::of(200)
                    }
                    Err(status) => status,
                };
                if let Some(Waiting::Refer(aside)) = cx.core.queries.take(query) {
                    b2bua.refer_goes_on(&mut cx, &aside, status);
                }
            }
            _ => {}
        }
    }
}
