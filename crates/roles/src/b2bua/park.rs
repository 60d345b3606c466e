//! Calls that wait for whoever takes them (RFC 5359 §2.15), and calls that ring elsewhere and are taken here (§2.16).
//!
//! The RFC's flows let phones find these calls by the dialog event package. Here a number is dialled: a code with a slot or
//! an extension behind it. Who transfers a call to `*51` parks it in slot 1, and who dials `*51` takes it; who dials `*8201`
//! takes the call that rings at 201. The slot is chosen by who parks, since no voice could tell him which one it is.
//!
//! ```text
//!   parker --REFER *51--> [ slot 1: transferee, held ] <--INVITE *51-- who takes it
//!                                  | after a time
//!                                  +--INVITE--> parker
//! ```

use std::collections::BTreeMap;

use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Method, Status};
use smol_str::SmolStr;

use super::align::{black_hole, inactive};
use super::bodies;
use super::deadlines::Wake;
use super::desk::{Purpose, Why};
use super::join::{Goal, Task, TaskStage};
use super::originate::{Party, Wanted};
use super::progress::Accepted;
use super::{Asked, B2bua, LegId, Stage, pass};
use crate::aliases::slot_name;
use crate::context::Context;
use crate::policy::Decision;
use crate::settings::{Destination, Settings};
use crate::star_codes::{self, CallCode};

/// How often a parked call goes back to who has parked it before it is given up.
const RETURNS_MAX: u8 = 3;

/// Why the phones stop ringing whose call was taken elsewhere (RFC 3326).
const TAKEN: &str = "SIP ;cause=200 ;text=\"Call completed elsewhere\"";

/// A slot of a domain, by the name that it has among all shards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(pub(super) SmolStr);

impl Slot {
    /// The domain that it is of ([`slot_name`]).
    pub(super) fn domain(&self) -> &str {
        self.0.split(' ').nth(1).unwrap_or_default()
    }
}

/// What is known of a call in a slot.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) slot: Slot,
    /// The shard that is its home, if that is another one.
    pub(super) home: Option<u16>,
    /// Who gets it back.
    pub(super) parker: Party,
    returns: u8,
    /// Who plays music to the one who waits.
    pub(super) music: Option<LegId>,
}

/// Which slot has which call.
#[derive(Debug, Default)]
pub(super) struct Lot(pub(super) BTreeMap<Slot, LegId>);

impl Lot {
    pub(super) fn free(&mut self, parked: &Parked) {
        self.0.remove(&parked.slot);
    }
}

/// What is asked for by calling a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// The call in a slot.
    Slot(Slot),
    /// The call that rings at an extension of a domain.
    PickUp { domain: SmolStr, extension: SmolStr },
}

impl Code {
    /// The domain whose calls it takes.
    fn domain(&self) -> &str {
        match self {
            Code::Slot(slot) => slot.domain(),
            Code::PickUp { domain, .. } => domain,
        }
    }
}

/// The code that a URI of ours names, if it is one.
pub(super) fn read(settings: &Settings, uri: &UriBuf) -> Option<Code> {
    let parsed = uri.uri();
    let sip = parsed.as_sip()?;
    let user = sip.user_unescaped()?;
    let code = star_codes::of_calls(&settings.star_codes, &user)?;
    let domain = settings.domain_of(&sip.host, sip.port)?.name.clone();
    Some(match code {
        CallCode::Slot(number) => Code::Slot(Slot(slot_name(&domain, number))),
        CallCode::PickUp(extension) => Code::PickUp { domain, extension: SmolStr::new(extension) },
    })
}

impl B2bua {
    /// Puts a call into a slot; the status says why not. Its partner has it no more.
    pub(super) fn park(
        &mut self,
        cx: &mut Context<'_>,
        id: LegId,
        slot: Slot,
        parker: Party,
    ) -> Result<(), Status> {
        let home = cx.home_elsewhere(&slot.0);
        let is_elsewhere = home.is_none() && cx.core.aliases.owner_of(&slot.0).is_some();
        if is_elsewhere || self.lot.0.contains_key(&slot) {
            return Err(Status::of(486));
        }
        if self.lot.0.len() >= cx.settings.limits.parked {
            return Err(Status::of(480));
        }
        self.unpeer(id);
        let Some(leg) = self.legs.get_mut(&id) else { return Err(Status::of(480)) };
        self.lot.0.insert(slot.clone(), id);
        leg.parked = Some(Box::new(Parked { slot, home, parker, returns: 0, music: None }));
        cx.core.counters.calls_parked += 1;
        self.begin_renewing(cx, id);
        self.desk.deadlines.start(Wake::Parked(id), cx.now + cx.settings.bridges.park_time);
        if !self.music_plays_on(id) {
            self.hold(cx, id);
            self.play_music(cx, id);
        }
        Ok(())
    }

    /// Tells a side that nothing flows for the time being (RFC 3264 §8.4). Where an INVITE is under way the session stays as
    /// it is: who parks has held it already, as a rule.
    pub(super) fn hold(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| !leg.is_busy()) else { return };
        let (ip, ask) = (leg.local.local.ip(), leg.timer.ask(super::setup::policy(cx.settings)));
        let Some(strand) = leg.strands.first_mut() else { return };
        let before = strand.described.sent.clone();
        let held = inactive(&before);
        let body = strand.described.again(&held, ip);
        let mut draft = strand.dialog.request(Method::Invite).body("application/sdp", body);
        draft = draft.header(HeaderName::Supported, pass::own_supported(cx.settings));
        super::setup::ask_for_timer(&mut draft, &ask);
        let purpose = Purpose::Invite { acks: Vec::new(), why: Why::Refresh { before } };
        let leg = &*leg;
        let sent = self.desk.send(cx, leg, draft, purpose);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.invite = sent;
        }
        self.wait_for_answer(cx, id);
    }

    /// Nobody has taken a parked call: it goes back.
    pub(super) fn park_over(&mut self, cx: &mut Context<'_>, id: LegId) {
        self.drop_music_task(cx, id);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let (Some(parked), None) = (leg.parked.as_mut(), leg.task) else { return };
        parked.returns += 1;
        let (parker, from, local) = (parked.parker.clone(), leg.party.clone(), leg.local);
        let Ok(to) = UriBuf::parse(parker.uri()) else {
            return self.give_up(cx, id, Status::of(480), None);
        };
        let task = self.next_task();
        self.begin_task(task, Task::new(None, id, TaskStage::Calling, Goal::Return));
        let wanted = Wanted { to, from: &from, by: &parker, headers: Vec::new(), local, task };
        match self.originate(cx, wanted) {
            Some(target) => self.task_calls(task, target),
            None => self.task_failed(cx, task, Status::of(500)),
        }
    }

    /// It could not be given back, or whoever wanted to take it could not be joined with it.
    pub(super) fn stay_parked(&mut self, cx: &mut Context<'_>, id: LegId, status: Status) {
        let Some(parked) = self.legs.get(&id).and_then(|leg| leg.parked.as_ref()) else { return };
        if parked.returns >= RETURNS_MAX {
            return self.give_up(cx, id, status, None);
        }
        if !self.desk.deadlines.runs(Wake::Parked(id)) {
            self.desk.deadlines.start(Wake::Parked(id), cx.now + cx.settings.bridges.park_time);
        }
    }

    /// It has a partner again, or ends.
    pub(super) fn unpark(&mut self, id: LegId) {
        self.desk.deadlines.stop(Wake::Parked(id));
        if let Some(parked) = self.legs.get_mut(&id).and_then(|leg| leg.parked.take()) {
            self.free_slot(&parked);
        }
    }

    /// Somebody has called a code.
    pub(super) fn code_called(&mut self, cx: &mut Context<'_>, id: LegId, code: Code, decision: &Decision) {
        let Some(leg) = self.legs.get(&id) else { return };
        // A password is asked for wherever there is one; what needs none reaches phones only.
        let is_known = leg.party.user.is_some() || !cx.settings.authenticate;
        let is_own = leg.party.is_of(code.domain());
        if !is_known || !is_own || !matches!(decision, Decision::To { destination: Destination::User(_), .. })
        {
            return self.hang_up(cx, id, Status::of(403), None);
        }
        let offer = leg.asked.as_ref().and_then(|asked| bodies::description(&asked.request));
        let Some(offer) = offer.map(<[u8]>::to_vec) else {
            // Whoever is joined by re-INVITE at once has to begin with something.
            return self.hang_up(cx, id, Status::of(488), None);
        };
        match code {
            Code::Slot(slot) => self.take_parked(cx, id, &slot, &offer),
            Code::PickUp { domain, extension } => self.pick_up(cx, id, &domain, &extension, &offer),
        }
    }

    fn take_parked(&mut self, cx: &mut Context<'_>, id: LegId, slot: &Slot, offer: &[u8]) {
        let Some(&parked) = self.lot.0.get(slot) else { return self.hang_up(cx, id, Status::of(404), None) };
        self.drop_music_task(cx, parked);
        if self.legs.get(&parked).is_none_or(|leg| leg.task.is_some()) {
            // Somebody else is taking it.
            return self.hang_up(cx, id, Status::of(486), None);
        }
        if !self.accept_alone(cx, id, offer) {
            return self.hang_up(cx, id, Status::of(500), None);
        }
        let task = self.next_task();
        self.begin_task(task, Task::new(Some(id), parked, TaskStage::Asking, Goal::Retrieve));
        self.ask_for_offer(cx, task);
    }

    fn pick_up(&mut self, cx: &mut Context<'_>, id: LegId, domain: &str, extension: &str, offer: &[u8]) {
        let Some((far, near)) = self.ringing_at(cx.settings, domain, extension) else {
            return self.hang_up(cx, id, Status::of(404), None);
        };
        self.take_ringing(cx, id, far, near, offer);
    }

    /// Joins one who has called with the caller of a call that rings elsewhere.
    pub(super) fn take_ringing(
        &mut self,
        cx: &mut Context<'_>,
        id: LegId,
        far: LegId,
        near: LegId,
        offer: &[u8],
    ) {
        let has_offer = |asked: &Asked| bodies::description(&asked.request).is_some();
        if !self.legs.get(&near).and_then(|leg| leg.asked.as_ref()).is_some_and(has_offer) {
            return self.hang_up(cx, id, Status::of(480), None);
        }
        if !self.accept_alone(cx, id, offer) {
            return self.hang_up(cx, id, Status::of(500), None);
        }
        cx.core.counters.calls_picked_up += 1;
        self.unpeer(far);
        let task = self.next_task();
        self.begin_task(task, Task::new(Some(near), id, TaskStage::Offering, Goal::PickUp));
        self.hang_up(cx, far, Status::of(487), Some(SmolStr::new_static(TAKEN)));
        self.task_due(cx, task);
    }

    /// The oldest call that rings at an extension: at its user, or at a group of which he is a member.
    pub(super) fn ringing_at(
        &self,
        settings: &Settings,
        domain: &str,
        extension: &str,
    ) -> Option<(LegId, LegId)> {
        let aor = crate::services::aor(extension, domain);
        let is_his = |destination: &Destination| match destination {
            Destination::User(user) => *user == aor,
            Destination::Group(name) => settings.group(name).is_some_and(|group| {
                (group.domain == domain && group.numbers.iter().any(|number| number == extension))
                    || group.members.iter().any(|member| member.destination == Destination::User(aor.clone()))
            }),
            Destination::Trunk { .. } | Destination::Uri(_) => false,
        };
        let fits = |leg: &super::Leg| match leg.errand.as_ref().map(|errand| &errand.decision) {
            Some(Decision::To { destination, domain: called, .. }) => called == domain && is_his(destination),
            Some(Decision::FromTrunk { destination, .. }) => is_his(destination),
            _ => false,
        };
        let mut ringing =
            self.legs.values().filter(|leg| leg.outgoing && leg.stage == Stage::Setup && fits(leg));
        ringing.find_map(|leg| Some((leg.id, leg.peer?)))
    }

    /// Answers a caller whom nobody talks with yet: his streams are accepted and held.
    fn accept_alone(&mut self, cx: &mut Context<'_>, id: LegId, offer: &[u8]) -> bool {
        let Some(leg) = self.legs.get(&id) else { return false };
        let hole = black_hole(offer, leg.local.local.ip());
        self.accept_own(cx, id, &hole)
    }

    /// Answers a caller with a description that no response of another side brings.
    pub(super) fn accept_own(&mut self, cx: &mut Context<'_>, id: LegId, description: &[u8]) -> bool {
        if !self.choose_own(cx, id) {
            return false;
        }
        let allow = pass::METHODS.join(", ");
        let accepted = Accepted {
            allow,
            supported: pass::own_supported(cx.settings).to_owned(),
            response: None,
            offers: false,
        };
        self.accept(cx, id, accepted, Some(description))
    }
}
