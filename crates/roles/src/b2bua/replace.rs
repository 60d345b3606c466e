//! An INVITE that comes in place of a leg (RFC 3891): whoever talks with that leg, or calls it, has the new one instead.
//!
//! ```text
//!   L (named) <==== bridge ====> P            N --INVITE, Replaces: L--> server
//!                                             P <--re-INVITE, offer of N-- , 200, ACK
//!   L <--BYE--                                N <--200, answer of P--
//! ```
//!
//! An early dialog can be taken at the side only that we have called: then it is a pick-up. Who may: the user whose own
//! leg it is, from another phone of his; for a call that rings, whoever may dial the code of pick-up,
//! a user of the domain in which it rings; for one that was
//! answered, who was referred by the user whose leg it is (Referred-By, RFC 3892), and is no stranger; and that user, from
//! whom he has sent there in his own place (RFC 5359 §2.3). The tags that he must know are told to the ends of the dialog
//! only.

use bytes::Bytes;
use dialtone_wire::headers::{ReferredBy, Replaces, TypedHeader as _};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message, Status};
use smol_str::SmolStr;

use super::join::{Goal, Task, TaskStage};
use super::refusal::Refusal;
use super::{B2bua, LegId, Party, Stage, bodies};
use crate::context::Context;
use crate::policy::Decision;
use crate::settings::{Destination, Settings};

/// Why whoever is replaced is hung up (RFC 3326).
const REPLACED: &str = "SIP ;cause=200 ;text=\"Call completed elsewhere\"";

/// Why whoever has no offer takes no place.
pub(super) const NEEDS_OFFER: &str = "Who takes a call over has to offer a session";

/// What an INVITE takes the place of.
pub(super) struct Place {
    /// The leg that goes.
    leg: LegId,
    /// Whom it leaves.
    peer: LegId,
    /// It rings, and nobody has answered.
    is_early: bool,
    offer: Bytes,
    /// The party whose place it is, if the new one says that he was sent by it.
    sent_by: Option<Box<Party>>,
}

impl B2bua {
    /// The place that an INVITE takes, if it takes one (RFC 3891 §3).
    pub(super) fn place_of(
        &self,
        cx: &mut Context<'_>,
        request: &Message,
        by: &Party,
    ) -> Result<Option<Place>, Refusal> {
        let mut values = request.values(HeaderName::Replaces);
        let Some(value) = values.next() else { return Ok(None) };
        // "the UAS … MUST reject the request with a 400": more than one, or one with a contradictory Join (RFC 3911 §4).
        let is_sole = values.next().is_none() && !request.has(HeaderName::Join);
        let replaces = Replaces::parse(value).ok().filter(|_| is_sole).ok_or(Refusal::of(400))?;
        let name = (SmolStr::new(&replaces.call_id), SmolStr::new(&replaces.to_tag));
        let leg = self.desk.dialogs.get(&name).and_then(|id| self.legs.get(id));
        let is_it = |strand: &super::Strand| {
            let tag = &strand.dialog.id().remote_tag;
            *tag == *replaces.from_tag || (tag.is_empty() && replaces.from_tag == "0")
        };
        let Some(leg) = leg.filter(|leg| leg.strands.iter().any(is_it)) else { return Err(Refusal::of(481)) };
        let is_early = match leg.stage {
            // "If the Replaces header field matches a dialog which has already terminated, the UA SHOULD decline".
            Stage::Over => return Err(Refusal::of(603)),
            // "an early dialog that was not initiated by this UA".
            Stage::Setup if !leg.outgoing => return Err(Refusal::of(481)),
            Stage::Setup => true,
            Stage::Talking => false,
        };
        let takes_ringing = is_early && rings_in(cx.settings, leg).is_some_and(|domain| by.is_of(&domain));
        if !may_replace(cx, leg, by, request, takes_ringing) {
            return Err(Refusal::of(403).because(cx.settings, "That call is somebody else's"));
        }
        if replaces.early_only && !is_early {
            return Err(Refusal::of(486));
        }
        // One that waits in a slot has no place to give.
        let partner = leg.peer.filter(|_| !self.is_of_parked(leg.id));
        let peer = partner.and_then(|peer| self.legs.get(&peer)).ok_or(Refusal::of(481))?;
        let is_settled = is_early || peer.stage == Stage::Talking;
        let offers = |asked: &super::Asked| bodies::description(&asked.request).is_some();
        let has_offer = !is_early || peer.asked.as_ref().is_some_and(offers);
        if self.is_engaged(leg.id) || self.is_engaged(peer.id) || !is_settled || !has_offer {
            return Err(Refusal::later(cx));
        }
        // Whoever is joined at once has to begin with something.
        let offer =
            bodies::description(request).ok_or_else(|| Refusal::of(488).because(cx.settings, NEEDS_OFFER))?;
        let offer = Bytes::copy_from_slice(offer);
        let is_sent = !leg.party.is(by) && is_referred(&leg.party, request);
        let sent_by = is_sent.then(|| Box::new(leg.party.clone()));
        Ok(Some(Place { leg: leg.id, peer: peer.id, is_early, offer, sent_by }))
    }

    /// Takes the place.
    pub(super) fn replace(&mut self, cx: &mut Context<'_>, by: LegId, place: Place) {
        let Place { leg, peer, is_early, offer, sent_by } = place;
        cx.core.counters.calls_replaced += 1;
        if let Some(new) = self.legs.get_mut(&by) {
            new.sent_by = sent_by;
        }
        if is_early {
            return self.take_ringing(cx, by, leg, peer, &offer);
        }
        for id in [leg, peer] {
            self.drop_music_task(cx, id);
        }
        let task = self.next_task();
        self.begin_task(task, Task::new(Some(by), peer, TaskStage::Offering, Goal::Replace));
        self.task_due(cx, task);
    }

    /// The new one talks: "the UA … shuts down the replaced dialog".
    pub(super) fn replaced_by_now(&mut self, cx: &mut Context<'_>, left: [Option<LegId>; 2]) {
        for leg in left.into_iter().flatten() {
            self.hang_up(cx, leg, Status::of(487), Some(SmolStr::new_static(REPLACED)));
        }
    }
}

/// The domain of ours in which a leg rings; none for one that leaves the house.
fn rings_in(settings: &Settings, leg: &super::Leg) -> Option<SmolStr> {
    if let Some(user) = &leg.party.user {
        return Some(user.domain.clone());
    }
    match leg.errand.as_ref().map(|errand| &errand.decision) {
        Some(
            Decision::To { destination: Destination::Group(name), .. }
            | Decision::FromTrunk { destination: Destination::Group(name), .. },
        ) => settings.group(name).map(|group| group.domain.clone()),
        _ => None,
    }
}

/// Whether somebody may take the place of a leg.
fn may_replace(
    cx: &Context<'_>,
    leg: &super::Leg,
    by: &Party,
    request: &Message,
    takes_ringing: bool,
) -> bool {
    // A password is asked for wherever there is one; what needs none reaches phones only.
    let is_known = !by.outside && (by.user.is_some() || !cx.settings.authenticate);
    let has_sent = || leg.sent_by.as_ref().is_some_and(|sender| sender.is(by));
    is_known && (leg.party.is(by) || takes_ringing || is_referred(&leg.party, request) || has_sent())
}

/// Whether an INVITE says that a party has sent him who calls.
fn is_referred(party: &Party, request: &Message) -> bool {
    let referred_by = request.header::<ReferredBy<'_>>();
    let own = UriBuf::parse(party.uri());
    matches!((referred_by, own), (Some(Ok(ReferredBy(by))), Ok(own)) if by.uri.equivalent(&own.uri()))
}
