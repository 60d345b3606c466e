//! Callers of a group who wait while all of its members are busy (RFC 3261 §21.1.4, 182 Queued).
//!
//! ```text
//!   caller --INVITE--> [ group: 486 from all ] ---> queue: 182 Queued, position 2 ... 1
//!                                  ^                  | each few seconds the first one is tried again
//!                                  +------------------+ until a member answers, or the time is over: elsewhere, or 480
//! ```
//!
//! One who waits keeps both legs of his bridge; the second one has no INVITE under way, and gets the next one of the same
//! call with the next CSeq.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use dialtone_wire::Status;
use dialtone_wire::time::Instant;
use smol_str::{SmolStr, format_smolstr};

use super::deadlines::Wake;
use super::desk::Sent;
use super::{Asked, B2bua, LegId, Stage};
use crate::context::Context;
use crate::policy::Decision;
use crate::settings::{Destination, Settings};

/// How often the first one is tried again, and the others are looked after.
const TRY_EVERY: Duration = Duration::from_secs(5);
/// How often those who wait are told at most that they have moved up: many may leave a long queue at the same time.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// RFC 3261 §13.3.1.1: "the UAS MUST send a non-100 provisional response at every minute".
const TELL_EVERY: Duration = Duration::from_secs(60);

/// One who waits.
#[derive(Debug)]
struct Waiting {
    /// His second leg.
    far: LegId,
    /// Its INVITE; `None` while it is under way.
    invite: Option<Sent>,
    until: Instant,
    /// The position that he was told, and when.
    told: (usize, Instant),
}

/// Who waits for which group, the first one first.
#[derive(Debug, Default)]
pub(super) struct Queues {
    waiting: BTreeMap<SmolStr, VecDeque<Waiting>>,
    /// Groups where somebody has left, and the others are not told yet.
    left: BTreeSet<SmolStr>,
}

impl Queues {
    fn place(&self, group: &str, far: LegId) -> Option<usize> {
        self.waiting.get(group)?.iter().position(|waiting| waiting.far == far)
    }

    /// Somebody waits no longer.
    pub(super) fn leave(&mut self, far: LegId) {
        let Queues { waiting, left } = self;
        waiting.retain(|group, queue| {
            let before = queue.len();
            queue.retain(|waiting| waiting.far != far);
            if queue.len() < before {
                left.insert(group.clone());
            }
            !queue.is_empty()
        });
    }
}

impl B2bua {
    /// The group with a queue that a leg calls.
    fn queue_of(&self, settings: &Settings, far: LegId) -> Option<SmolStr> {
        match &self.legs.get(&far)?.errand.as_ref()?.decision {
            Decision::To { destination: Destination::Group(name), .. }
            | Decision::FromTrunk { destination: Destination::Group(name), .. } => {
                settings.bridges.queues.contains_key(name).then(|| name.clone())
            }
            _ => None,
        }
    }

    /// Whether somebody waits already for the group that a leg is to call: nobody overtakes him.
    pub(super) fn has_to_wait(&self, settings: &Settings, far: LegId) -> bool {
        self.queue_of(settings, far).is_some_and(|group| self.queues.waiting.contains_key(&group))
    }

    /// Lets a caller wait whose INVITE was refused, or is not sent since others wait; `false` where nobody waits
    /// for this, or as many do as may.
    pub(super) fn enqueue(&mut self, cx: &mut Context<'_>, invite: Sent, status: Status) -> bool {
        let far = invite.leg;
        let is_busy = matches!(status.code(), 480 | 486 | 600);
        let group = self.queue_of(cx.settings, far).filter(|_| is_busy);
        let Some((group, queue)) = group.and_then(|group| {
            let settings = cx.settings.bridges.queues.get(&group)?;
            Some((group, settings))
        }) else {
            self.queues.leave(far);
            return false;
        };
        let waiting = self.queues.waiting.values().map(VecDeque::len).sum::<usize>();
        match self.queues.place(&group, far) {
            Some(place) => {
                if let Some(waiting) =
                    self.queues.waiting.get_mut(&group).and_then(|queue| queue.get_mut(place))
                {
                    waiting.invite = Some(invite);
                }
            }
            None if waiting >= cx.settings.limits.queued => return false,
            None => {
                cx.core.counters.calls_queued += 1;
                let until = cx.now + queue.time;
                let waiting = Waiting { far, invite: Some(invite), until, told: (0, cx.now) };
                self.queues.waiting.entry(group.clone()).or_default().push_back(waiting);
            }
        }
        self.forget_forks(cx, far);
        self.time_queue(cx, far);
        self.tell_places(cx, &group);
        true
    }

    /// The early dialogs of a try that came to nothing. Those of the next one have other tags towards the caller, who has seen
    /// numbers of ours in these.
    fn forget_forks(&mut self, cx: &mut Context<'_>, far: LegId) {
        let near = self.legs.get(&far).and_then(|leg| leg.peer);
        for id in [Some(far), near].into_iter().flatten() {
            self.desk.deadlines.stop(Wake::Reliable(id));
            let Some(leg) = self.legs.get_mut(&id) else { continue };
            if !leg.outgoing && !leg.strands.is_empty() {
                leg.tag = cx.token();
            }
            for strand in leg.strands.drain(..) {
                self.desk.forget_dialog(&strand.dialog);
            }
            // The first tag of ours stays the name of the leg.
            self.desk.dialogs.insert((leg.call_id.clone(), leg.tag.clone()), id);
        }
    }

    fn time_queue(&mut self, cx: &Context<'_>, far: LegId) {
        self.desk.deadlines.start(Wake::Queued(far), cx.now + TRY_EVERY);
    }

    /// Some seconds are over: the first one is tried again, and who has waited too long goes elsewhere.
    pub(super) fn queue_due(&mut self, cx: &mut Context<'_>, far: LegId) {
        let Some(group) = self.queue_of(cx.settings, far) else { return };
        let Some(place) = self.queues.place(&group, far) else { return };
        let Some(waiting) = self.queues.waiting.get_mut(&group).and_then(|queue| queue.get_mut(place)) else {
            return;
        };
        if waiting.invite.is_none() {
            // A phone rings.
            return self.time_queue(cx, far);
        }
        if waiting.until <= cx.now {
            let invite = waiting.invite.take();
            self.queues.leave(far);
            return self.waited_too_long(cx, far, &group, invite);
        }
        let invite = if place == 0 { waiting.invite.take() } else { None };
        self.time_queue(cx, far);
        if let Some(invite) = invite {
            self.call_again(cx, far, invite);
        }
        self.tell_places(cx, &group);
    }

    fn call_again(&mut self, cx: &mut Context<'_>, far: LegId, invite: Sent) {
        self.wait_for_answer(cx, far);
        self.ask_again(cx, far, invite);
    }

    /// Where the settings say so the call goes elsewhere, else it is refused.
    fn waited_too_long(&mut self, cx: &mut Context<'_>, far: LegId, group: &str, invite: Option<Sent>) {
        cx.core.counters.calls_queued_in_vain += 1;
        let otherwise = cx.settings.bridges.queues.get(group).and_then(|queue| queue.otherwise.clone());
        let errand = self.legs.get_mut(&far).and_then(|leg| leg.errand.as_mut());
        if let (Some(otherwise), Some(errand), Some(invite)) = (otherwise, errand, invite) {
            if let Decision::To { destination, .. } | Decision::FromTrunk { destination, .. } =
                &mut errand.decision
            {
                *destination = otherwise;
            }
            return self.call_again(cx, far, invite);
        }
        self.give_up(cx, far, Status::of(480), None);
    }

    /// At the end of a turn: whoever has moved up is told, unless that was done just now.
    pub(crate) fn tell_moved_up(&mut self, cx: &mut Context<'_>) {
        if self.queues.left.is_empty() || self.desk.deadlines.runs(Wake::MovedUp) {
            return;
        }
        self.desk.deadlines.start(Wake::MovedUp, cx.now + TELL_AGAIN);
        for group in std::mem::take(&mut self.queues.left) {
            self.tell_places(cx, &group);
        }
    }

    /// Tells each one his position where it has changed, and once a minute.
    fn tell_places(&mut self, cx: &mut Context<'_>, group: &str) {
        let Some(queue) = self.queues.waiting.get_mut(group) else { return };
        let mut to_tell = Vec::new();
        for (place, waiting) in queue.iter_mut().enumerate() {
            let (told, at) = waiting.told;
            if waiting.invite.is_some() && (told != place + 1 || at + TELL_EVERY <= cx.now) {
                waiting.told = (place + 1, cx.now);
                to_tell.push((waiting.far, place + 1));
            }
        }
        for (far, position) in to_tell {
            let near = self.legs.get(&far).and_then(|leg| leg.peer).and_then(|near| self.legs.get(&near));
            let Some(near) = near.filter(|near| near.stage == Stage::Setup) else { continue };
            let Some(Asked { server, request, .. }) = &near.asked else { continue };
            // RFC 3261 §21.1.4: "The reason phrase MAY give further details about the status of the call".
            let phrase = format_smolstr!("Queued, position {position}");
            cx.respond_saying(*server, request, Status::of(182), &phrase, &near.tag, &near.contact(cx));
        }
    }
}
