//! Calls that meet one of another shard: a bridge goes as it is from the shard that has it to the one where it is wanted.
//!
//! ```text
//!   shard of the REFER                home of the call that it names          shard that has it
//!     |--- TakeOver, by whom ------------------->|--- (alias) ----------------------->|
//!     |                                          |      waits until the bridge is quiet, and leaves aliases
//!     |<--------- TakenOver: both legs, their record, their trunk -------------------|
//!     |--- Alias: it is here ------------------->|
//! ```
//!
//! Quiet means that both sides talk and that no request of either is under way. What transactions still have to repeat,
//! answers and ACKs, stays where it was sent.

use std::time::Duration;

use dialtone_dialog::DialogId;
use dialtone_transaction::ServerId;
use dialtone_wire::headers::Replaces;
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{Message, Status};
use smol_str::SmolStr;

use super::deadlines::Wake;
use super::desk::{Purpose, copy};
use super::in_dialog::Came;
use super::park::{self, Code, Parked, Slot};
use super::refusal::Refusal;
use super::{B2bua, Leg, LegId, Party, Stage};
use crate::aliases::{LEASE, RENEW_EVERY};
use crate::context::Context;
use crate::engine::meeting::Meeting;
use crate::handover::Word;
use crate::io::QueryId;
use crate::queries::Waiting;
use crate::records::Talking;
use crate::settings::Settings;

/// How often a bridge that is wanted is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The dialog of a leg, as the value of Replaces names it.
#[derive(Clone, Debug)]
pub(crate) struct Replaced {
    pub(crate) call_id: SmolStr,
    pub(crate) to_tag: SmolStr,
    pub(crate) from_tag: SmolStr,
}

impl Replaced {
    pub(super) fn new(replaces: &Replaces<'_>) -> Replaced {
        Replaced {
            call_id: SmolStr::new(&replaces.call_id),
            to_tag: SmolStr::new(&replaces.to_tag),
            from_tag: SmolStr::new(&replaces.from_tag),
        }
    }
}

/// A bridge on its way to another shard.
#[derive(Debug)]
pub(crate) struct MovedBridge {
    legs: [Box<Leg>; 2],
    record: Option<Talking>,
    /// The trunks that they count with, and since when.
    trunks: [Option<(SmolStr, Instant)>; 2],
}

/// Another shard waits for a leg and its peer.
#[derive(Debug)]
pub(super) struct Wanted {
    from: u16,
    query: QueryId,
    replaced: Replaced,
    by: Party,
    until: Instant,
}

/// A REFER that waits for word from another shard.
#[derive(Debug)]
pub(crate) struct ReferAside {
    server: ServerId,
    request: Message,
    flow: Flow,
    /// The slot that is asked for, and its home.
    claim: Option<(Slot, u16)>,
}

/// What an INVITE to this URI is to meet, if the URI is a code that is called to take another call.
pub(crate) fn meeting(settings: &Settings, uri: &UriBuf) -> Option<Meeting> {
    Some(match park::read(settings, uri)? {
        Code::Slot(Slot(name)) => Meeting::With(name),
        Code::PickUp { domain, extension } => Meeting::Ringing { domain, extension },
    })
}

impl B2bua {
    /// Whether the call with this Call-ID, or the slot with this name, is here.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.legs_of_call(name).next().is_some() || self.lot.0.contains_key(&Slot(SmolStr::new(name)))
    }

    /// How often the call with this Call-ID has moved, if it is here.
    pub(crate) fn moves_of(&self, call_id: &str) -> Option<u8> {
        self.legs_of_call(call_id).map(|leg| leg.moves).max()
    }

    fn legs_of_call<'a>(&'a self, call_id: &str) -> impl Iterator<Item = &'a Leg> {
        let call_id = SmolStr::new(call_id);
        let first = (call_id.clone(), SmolStr::default());
        let dialogs = self.desk.dialogs.range(first..).take_while(move |((of, _), _)| *of == call_id);
        dialogs.filter_map(|(_, leg)| self.legs.get(leg)).map(|leg| &**leg)
    }

    /// The INVITE of the oldest call that rings at an extension.
    pub(crate) fn rings_at(&self, settings: &Settings, domain: &str, extension: &str) -> Option<ServerId> {
        let (_, near) = self.ringing_at(settings, domain, extension)?;
        self.legs.get(&near)?.asked.as_ref().map(|asked| asked.server)
    }

    /// What the homes of calls and slots are to be told.
    pub(crate) fn take_released(&mut self) -> Vec<(u16, SmolStr)> {
        std::mem::take(&mut self.released)
    }

    pub(super) fn free_slot(&mut self, parked: &Parked) {
        self.lot.free(parked);
        if let Some(home) = parked.home {
            self.released.push((home, parked.slot.0.clone()));
        }
    }

    /// The home of a call, or of its slot, may be another shard: it is told where it is, now and as long as it is here.
    pub(super) fn begin_renewing(&mut self, cx: &Context<'_>, id: LegId) {
        let has_home = |leg: &Leg| leg.home.or(leg.parked.as_ref().and_then(|parked| parked.home)).is_some();
        if self.legs.get(&id).is_some_and(|leg| has_home(leg)) {
            self.desk.deadlines.start(Wake::Renew(id), cx.now);
        }
    }

    pub(super) fn renew(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(leg) = self.legs.get(&id) else { return };
        let owner = cx.core.shard;
        let call = leg.home.map(|home| (home, leg.call_id.clone(), leg.moves));
        let slot = leg.parked.as_ref().and_then(|parked| Some((parked.home?, parked.slot.0.clone(), 1)));
        if call.is_none() && slot.is_none() {
            return;
        }
        for (home, name, moves) in [call, slot].into_iter().flatten() {
            cx.core.tell_shard(home, Word::Alias { name, owner, moves });
        }
        self.desk.deadlines.start(Wake::Renew(id), cx.now + RENEW_EVERY);
    }

    /// Asks another shard for the slot, or for the call, that a REFER is about, and puts the REFER aside; `false` where it is
    /// about this shard alone.
    pub(super) fn ask_elsewhere(
        &mut self,
        cx: &mut Context<'_>,
        came: &Came<'_>,
        slot: Option<&Slot>,
        replaces: Option<&Replaces<'_>>,
    ) -> bool {
        if cx.settings.shards <= 1 {
            return false;
        }
        let (to, claim) = if let Some(slot) = slot {
            let home = cx.home_elsewhere(&slot.0).filter(|_| !self.lot.0.contains_key(slot));
            let Some(home) = home else { return false };
            (home, Some((slot.clone(), home)))
        } else if let Some(replaces) = replaces.filter(|replaces| !self.has(&replaces.call_id)) {
            let owner = cx.core.aliases.owner_of(&replaces.call_id);
            let Some(to) = owner.or_else(|| cx.home_elsewhere(&replaces.call_id)) else { return false };
            if self.legs.len() + 2 > cx.settings.limits.bridges.saturating_mul(2) {
                cx.core.counters.bridges_full += 1;
                let refusal = Refusal::later(cx);
                came.refuse(cx, &refusal);
                return true;
            }
            (to, None)
        } else {
            return false;
        };
        let by = self.legs.get(&came.leg).map(|leg| leg.party.clone()).unwrap_or_default();
        let request = copy(came.request);
        let aside = ReferAside { server: came.server, request, flow: came.flow, claim: claim.clone() };
        let Some(query) = cx.wait(Waiting::Refer(Box::new(aside))) else {
            cx.core.counters.overload += 1;
            let refusal = Refusal::later(cx);
            came.refuse(cx, &refusal);
            return true;
        };
        let from = cx.core.shard;
        let word = match (claim, replaces) {
            (None, Some(replaces)) => {
                let replaced = Replaced::new(replaces);
                Word::TakeOver { from, query, replaced, by: Box::new(by), hops: 0 }
            }
            (claim, _) => {
                Word::Claim { from, query, slot: claim.map(|(slot, _)| slot.0).unwrap_or_default() }
            }
        };
        cx.core.tell_shard(to, word);
        true
    }

    /// The other shard has said what it has to say about a REFER, or has said nothing in time.
    pub(crate) fn refer_goes_on(&mut self, cx: &mut Context<'_>, aside: &ReferAside, status: Status) {
        let ReferAside { server, request, flow, claim } = aside;
        let dialog = DialogId::of_request(request).ok();
        let found = dialog.zip(self.leg_towards(request)).and_then(|(dialog, id)| {
            let leg = self.legs.get(&id).filter(|leg| leg.stage != Stage::Over)?;
            Some((id, leg.strand_of(&dialog)?))
        });
        if cx.core.transactions.awaits_answer(*server) {
            match found {
                Some((leg, strand)) => {
                    let came = Came { leg, strand, server: *server, request, flow: *flow };
                    self.refer(cx, &came, Some(status));
                }
                None => Refusal::of(481).send(cx, *server, request, None),
            }
        }
        if let Some((slot, home)) = claim
            && status.is_success()
            && !self.lot.0.contains_key(slot)
        {
            self.released.push((*home, slot.0.clone()));
        }
    }

    /// Another shard wants the bridge of a dialog: one of its parties has named it in a call there.
    pub(crate) fn give_away(
        &mut self,
        cx: &mut Context<'_>,
        from: u16,
        query: QueryId,
        replaced: Replaced,
        by: Party,
    ) {
        // Less than the other one waits.
        let until = cx.now + cx.settings.limits.query_time / 2;
        self.give_away_now(cx, Wanted { from, query, replaced, by, until });
    }

    pub(super) fn give_away_again(&mut self, cx: &mut Context<'_>, id: LegId) {
        if let Some(wanted) = self.legs.get_mut(&id).and_then(|leg| leg.wanted.take()) {
            self.give_away_now(cx, *wanted);
        }
    }

    fn give_away_now(&mut self, cx: &mut Context<'_>, wanted: Wanted) {
        let ids = self.to_be_given(&wanted.replaced, &wanted.by);
        for id in ids.into_iter().flatten() {
            // Who plays to it stays here.
            self.end_music_and_hold(cx, id);
        }
        let bridge = match ids {
            Err(status) => Err(status),
            Ok(ids) if self.is_quiet(ids) => self.take_out(cx, ids, wanted.from).map(Box::new),
            Ok([id, _]) => match self.legs.get_mut(&id) {
                Some(leg) if leg.wanted.is_none() && wanted.until > cx.now => {
                    leg.wanted = Some(Box::new(wanted));
                    return self.desk.deadlines.start(Wake::GiveAway(id), cx.now + LOOK_EVERY);
                }
                _ => Err(Status::of(500)),
            },
        };
        cx.core.tell_shard(wanted.from, Word::TakenOver { query: wanted.query, bridge });
    }

    /// The legs of a bridge that he may have who asks for it: that of the dialog, and its peer.
    fn to_be_given(&self, replaced: &Replaced, by: &Party) -> Result<[LegId; 2], Status> {
        let unknown = Status::of(481);
        let name = (replaced.call_id.clone(), replaced.to_tag.clone());
        let id = *self.desk.dialogs.get(&name).ok_or(unknown)?;
        let leg = self.legs.get(&id).filter(|leg| leg.stage != Stage::Over).ok_or(unknown)?;
        let is_it = |strand: &super::Strand| strand.dialog.id().remote_tag == replaced.from_tag;
        if !leg.strands.iter().any(is_it) {
            return Err(unknown);
        }
        if !leg.party.is(by) || self.is_engaged(leg.id) || self.is_of_parked(leg.id) {
            return Err(Status::of(403));
        }
        let peer = leg.peer.and_then(|peer| self.legs.get(&peer));
        match peer.filter(|peer| peer.stage == Stage::Talking && leg.stage == Stage::Talking) {
            Some(peer) if !self.is_engaged(peer.id) => Ok([id, peer.id]),
            _ => Err(Status::of(480)),
        }
    }

    /// Whether nothing is under way on a bridge.
    fn is_quiet(&self, ids: [LegId; 2]) -> bool {
        let waits_for_nothing = |id: &LegId| {
            let mut wakes = Wake::of_leg(*id).into_iter();
            let stays = |wake: &Wake| matches!(wake, Wake::Session(_) | Wake::Renew(_) | Wake::GiveAway(_));
            wakes.all(|wake| stays(&wake) || !self.desk.deadlines.runs(wake))
        };
        let is_idle = |id: &LegId| {
            self.legs.get(id).is_some_and(|leg| {
                let ends = leg.owes_bye.is_some() || leg.bye.is_some();
                !leg.is_busy() && leg.carried == 0 && !ends && leg.strands.len() == 1
            })
        };
        // An INVITE that was answered stays, for a 2xx that comes again; of a NOTIFY nobody awaits the answer.
        let stays = |purpose: &Purpose| matches!(purpose, Purpose::Invite { .. } | Purpose::Alone);
        let mut requests = self.desk.requests.values();
        ids.iter().all(|id| waits_for_nothing(id) && is_idle(id))
            && requests.all(|sent| !ids.contains(&sent.leg) || stays(&sent.purpose))
    }

    /// Takes a bridge out of all tables, and leaves aliases.
    fn take_out(&mut self, cx: &mut Context<'_>, ids: [LegId; 2], to: u16) -> Result<MovedBridge, Status> {
        let names: Vec<(SmolStr, u8, bool)> = ids
            .iter()
            .filter_map(|id| self.legs.get(id))
            .map(|leg| (leg.call_id.clone(), leg.moves.saturating_add(1), leg.home.is_none()))
            .collect();
        for (place, (name, moves, is_home)) in names.iter().enumerate() {
            // Where this is not its home, what is on its way from there finds it still.
            let time = if *is_home { LEASE } else { cx.settings.timers.transaction_timeout() };
            if !cx.alias(name, to, *moves, time) {
                names[..place].iter().for_each(|(name, ..)| cx.core.aliases.remove(name));
                return Err(Status::of(500));
            }
        }
        let mut take = |id: LegId| {
            let mut leg = self.legs.remove(&id)?;
            self.desk.forget(&leg);
            leg.moves = leg.moves.saturating_add(1);
            leg.wanted = None;
            Some(leg)
        };
        let (Some(one), Some(other)) = (take(ids[0]), take(ids[1])) else { return Err(Status::of(481)) };
        let legs = [one, other];
        cx.core.counters.handed_over += 1;
        let mut take = |leg: &Leg| {
            let id = leg.strands.first()?.dialog.id();
            cx.core.records.as_mut()?.take(&id.call_id, &id.local_tag, &id.remote_tag)
        };
        let record = legs.iter().find_map(|leg| take(leg));
        let trunks = [0, 1].map(|side| cx.core.trunks.take_call(&legs[side].call_id));
        Ok(MovedBridge { legs, record, trunks })
    }

    /// Takes a bridge in that another shard has given away.
    pub(crate) fn adopt(&mut self, cx: &mut Context<'_>, moved: MovedBridge) {
        let MovedBridge { legs, record, trunks } = moved;
        let first = self.next + 1;
        self.next += 2;
        let ids = [LegId(first), LegId(first + 1)];
        for (leg, trunk) in legs.iter().zip(trunks) {
            if let Some(trunk) = trunk {
                cx.core.trunks.put_call(&leg.call_id, trunk);
            }
        }
        if let Some(record) = record {
            let mut of_leg = legs.iter().filter(|leg| record.is_of(&leg.call_id));
            let id = of_leg.find_map(|leg| leg.strands.first()).map(|strand| strand.dialog.id().clone());
            if let (Some(id), Some(records)) = (id, &mut cx.core.records) {
                let gone = records.put(cx.now, &id.local_tag, &id.remote_tag, record);
                cx.core.call_recorded(gone);
            }
        }
        for (side, mut leg) in legs.into_iter().enumerate() {
            let id = ids[side];
            leg.id = id;
            leg.peer = Some(ids[1 - side]);
            leg.home = cx.home_elsewhere(&leg.call_id);
            cx.core.aliases.remove(&leg.call_id);
            self.desk.dialogs.insert((leg.call_id.clone(), leg.tag.clone()), id);
            for strand in &leg.strands {
                self.desk.add_dialog(&strand.dialog, id);
            }
            self.legs.insert(id, leg);
            self.time_session(id);
            self.begin_renewing(cx, id);
        }
    }
}
