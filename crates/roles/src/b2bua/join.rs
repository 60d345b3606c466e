//! Two legs become one call, though neither has called the other (RFC 3725, third party call control): for transfers,
//! and calls that were asked for on the command line.
//!
//! ```text
//!   other (talking)              [ task ]              offerer (called, or talking)
//!     |                             |------ INVITE, no description ----->|   Calling, Asking
//!     |                             |<------------ 200, offer -----------|
//!     |<----- INVITE, offer --------|                                    |   Offering
//!     |------ 200, answer --------->|                                    |
//!     |<----------- ACK ------------|------------ ACK, answer ---------->|   joined: each is the other's peer
//! ```
//!
//! Until then the other side has the peer that it had, and gets it back when the task fails.

use std::time::Duration;

use bytes::Bytes;
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::SmolStr;

use super::align::{Aligned, black_hole, sending_only};
use super::bodies;
use super::deadlines::Wake;
use super::desk::{Purpose, Sent, Why};
use super::dial::DialTask;
use super::transfer::Transfer;
use super::{B2bua, Leg, LegId, Stage, pass};
use crate::context::{Context, UaRequest};
use crate::listing::{CallState, ListedCall};

/// How often a side may be busy with an INVITE of its own before the task gives up.
const TRIES_MAX: u8 = 40;
/// So long before the 64·T1 are over for which a 2xx waits for its ACK (RFC 3261 §13.3.1.4) a task gives up: the ACK is to
/// come, though it be lost, while its sender still repeats what it is for.
const SPARE: Duration = Duration::from_secs(8);
/// Between two tries.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// Names one task. The names are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TaskId(pub(super) u64);

/// What brings two legs together.
pub(super) struct Task {
    /// Who gets an INVITE without a description.
    pub(super) offerer: Option<LegId>,
    /// Who gets the offer of that one in a re-INVITE.
    pub(super) other: LegId,
    pub(super) stage: TaskStage,
    pub(super) goal: Goal,
    tries: u8,
    /// The offerer has answered, and waits for his ACK so long.
    until: Option<Instant>,
    aligned: Option<Aligned>,
}

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskStage {
    /// The other side has not answered yet: it was called by us too.
    First,
    /// The offerer is called.
    Calling,
    /// The offerer, who talks with somebody else, is to be asked for an offer, or was.
    Asking,
    /// The offer is to be brought to the other side, or was.
    Offering,
}

/// What a task is for.
pub(super) enum Goal {
    /// One who talked with the other side has asked for it.
    Transfer(Transfer),
    /// It was asked for from outside of SIP.
    Dial(DialTask),
    /// The offerer takes the other side out of its slot.
    Retrieve,
    /// The other side goes from its slot back to who has parked it.
    Return,
    /// The other side is parked, and the offerer plays music to it.
    Music,
    /// The other side takes the call of one who has called somebody else; that one's INVITE has the offer.
    PickUp,
    /// The offerer, who has called for it, takes the place of the partner that the other side has.
    Replace,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Task { offerer, other, stage, .. } = self;
        f.debug_struct("Task").field("offerer", offerer).field("other", other).field("stage", stage).finish()
    }
}

impl Task {
    pub(super) const fn new(offerer: Option<LegId>, other: LegId, stage: TaskStage, goal: Goal) -> Task {
        Task { offerer, other, stage, goal, tries: 0, until: None, aligned: None }
    }
}

impl B2bua {
    /// A name for a task that is about to begin.
    pub(super) fn next_task(&mut self) -> TaskId {
        self.next += 1;
        TaskId(self.next)
    }

    /// Begins a task; its legs know it from now on.
    pub(super) fn begin_task(&mut self, id: TaskId, task: Task) {
        for leg in legs_of(&task) {
            if let Some(leg) = self.legs.get_mut(&leg) {
                leg.task = Some(id);
            }
        }
        self.tasks.insert(id, task);
    }

    /// Ends a task; its legs know nothing of it any more.
    pub(super) fn take_task(&mut self, id: TaskId) -> Option<Task> {
        let task = self.tasks.remove(&id)?;
        self.desk.deadlines.stop(Wake::Task(id));
        for leg in legs_of(&task) {
            if let Some(leg) = self.legs.get_mut(&leg)
                && leg.task == Some(id)
            {
                leg.task = None;
            }
        }
        Some(task)
    }

    /// The task of a leg, if it has one.
    fn task_of(&self, id: LegId) -> Option<TaskId> {
        self.legs.get(&id)?.task.filter(|task| self.tasks.contains_key(task))
    }

    /// A provisional response to the INVITE that begins a leg of a task.
    pub(super) fn task_progress(&mut self, cx: &mut Context<'_>, id: LegId, status: Status) {
        let Some(task) = self.task_of(id) else { return };
        match self.tasks.get(&task).map(|task| &task.goal) {
            Some(Goal::Transfer(_)) if status.code() == 180 => self.tell_ringing(cx, task),
            Some(Goal::Dial(_)) => self.dial_progress(task, id, status),
            Some(
                Goal::Transfer(_)
                | Goal::Retrieve
                | Goal::Return
                | Goal::Music
                | Goal::PickUp
                | Goal::Replace,
            )
            | None => {}
        }
    }

    /// The INVITE that begins a leg of a task was answered, with an offer in the 2xx if all is right. Its ACK is owed.
    pub(super) fn task_answered(&mut self, cx: &mut Context<'_>, id: LegId, response: &Message) {
        let Some(task) = self.task_of(id) else { return };
        let offer = bodies::description(response).map(Bytes::copy_from_slice);
        let Some(offer) = offer else {
            self.pay_ack(cx, id, None);
            return self.task_failed(cx, task, Status::of(488));
        };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let ip = leg.local.local.ip();
        if let Some(strand) = leg.strands.first_mut() {
            strand.described.received = offer.clone();
        }
        match self.tasks.get_mut(&task) {
            Some(Task { stage: TaskStage::First, .. }) => {
                let hole = black_hole(&offer, ip);
                self.pay_ack(cx, id, Some(&hole));
                self.dial_second(cx, task);
            }
            Some(_) => self.bring_offer(cx, task),
            None => {}
        }
    }

    /// The INVITE that begins a leg of a task was refused; the leg is gone.
    pub(super) fn task_refused(&mut self, cx: &mut Context<'_>, task: TaskId, status: Status) {
        self.task_failed(cx, task, status);
    }

    /// A try is due: something else was under way when it was tried before.
    pub(super) fn task_due(&mut self, cx: &mut Context<'_>, id: TaskId) {
        match self.tasks.get(&id).map(|task| task.stage) {
            Some(TaskStage::Asking) => self.ask_for_offer(cx, id),
            Some(TaskStage::Offering) => self.bring_offer(cx, id),
            Some(TaskStage::First | TaskStage::Calling) | None => {}
        }
    }

    fn try_later(&mut self, cx: &mut Context<'_>, id: TaskId, wait: Duration) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.tries += 1;
        if task.tries > TRIES_MAX || task.until.is_some_and(|until| cx.now + wait > until) {
            return self.task_failed(cx, id, Status::of(500));
        }
        self.desk.deadlines.start(Wake::Task(id), cx.now + wait);
    }

    /// An INVITE of a leg is over: what its task waited with may go on.
    pub(super) fn task_goes_on(&mut self, cx: &mut Context<'_>, id: LegId) {
        if let Some(task) = self.task_of(id)
            && self.desk.deadlines.runs(Wake::Task(task))
        {
            self.desk.deadlines.stop(Wake::Task(task));
            self.task_due(cx, task);
        }
    }

    /// The offerer of a task is called.
    pub(super) fn task_calls(&mut self, id: TaskId, offerer: LegId) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.offerer = Some(offerer);
        }
    }

    /// Asks one who talks already for an offer: a re-INVITE without a description (RFC 3261 §14.1).
    pub(super) fn ask_for_offer(&mut self, cx: &mut Context<'_>, id: TaskId) {
        let Some(offerer) = self.tasks.get(&id).and_then(|task| task.offerer) else { return };
        self.reinvite(cx, id, offerer, None);
    }

    /// Brings the offer to the other side.
    fn bring_offer(&mut self, cx: &mut Context<'_>, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.stage = TaskStage::Offering;
        let owed = task.offerer.and_then(|offerer| self.legs.get(&offerer)?.owes_ack.as_ref());
        if owed.is_some() && task.until.is_none() {
            task.until = Some(cx.now + cx.settings.timers.transaction_timeout().saturating_sub(SPARE));
        }
        let (offerer, other) = (task.offerer, task.other);
        let offer_of = |id: LegId| {
            let leg = self.legs.get(&id)?;
            match &leg.asked {
                // Its INVITE, which waits for the answer.
                Some(asked) if leg.stage == Stage::Setup => {
                    bodies::description(&asked.request).map(Bytes::copy_from_slice)
                }
                _ => leg.strands.first().map(|strand| strand.described.received.clone()),
            }
        };
        let described = |id: &LegId| {
            self.legs.get(id).and_then(|leg| leg.strands.first()).map(|strand| &strand.described)
        };
        let Some((offer, session)) =
            offerer.and_then(|offerer| Some((offer_of(offerer)?, described(&other)?.sent.clone())))
        else {
            return self.task_failed(cx, id, Status::of(500));
        };
        let plays = self.tasks.get(&id).is_some_and(|task| matches!(task.goal, Goal::Music));
        let offer = if plays { sending_only(&offer).into() } else { offer };
        let aligned = if plays { Aligned::within(&offer, &session) } else { Aligned::new(&offer, &session) };
        if plays && !aligned.is_live() {
            // Nothing that could be heard.
            return self.task_failed(cx, id, Status::of(488));
        }
        let offer = aligned.offer.clone();
        if plays && let Some(leg) = self.legs.get_mut(&other) {
            let strand = leg.strands.first().map(|strand| &strand.described);
            leg.hold.before =
                strand.map(|described| Box::new([described.sent.clone(), described.received.clone()]));
        }
        if let Some(task) = self.tasks.get_mut(&id) {
            task.aligned = Some(aligned);
        }
        self.reinvite(cx, id, other, Some(&offer));
    }

    /// Sends a re-INVITE to a leg that talks, once nothing else is under way on it.
    fn reinvite(&mut self, cx: &mut Context<'_>, id: TaskId, to: LegId, offer: Option<&[u8]>) {
        let Some(leg) = self.legs.get_mut(&to).filter(|leg| leg.stage == Stage::Talking) else {
            return self.task_failed(cx, id, Status::of(480));
        };
        if leg.is_busy() {
            return self.try_later(cx, id, TRY_AGAIN);
        }
        let (ip, ask) = (leg.local.local.ip(), leg.timer.ask(super::setup::policy(cx.settings)));
        let Some(strand) = leg.strands.first_mut() else { return };
        let before = strand.described.sent.clone();
        let mut draft = strand
            .dialog
            .request(Method::Invite)
            .header(HeaderName::Supported, pass::own_supported(cx.settings));
        draft = draft.header(HeaderName::Allow, &pass::METHODS.join(", "));
        super::setup::ask_for_timer(&mut draft, &ask);
        if let Some(offer) = offer {
            draft = draft.body("application/sdp", strand.described.pass(&cx.settings.bridges, offer, ip));
        }
        let purpose =
            Purpose::Invite { acks: Vec::new(), why: Why::Join { before: before.clone(), task: id } };
        let leg = &*leg;
        let Some(request) = self.desk.send(cx, leg, draft, purpose) else {
            if let Some(strand) = self.legs.get_mut(&to).and_then(|leg| leg.strands.first_mut()) {
                strand.described.was_refused(before);
            }
            return self.task_failed(cx, id, Status::of(500));
        };
        if let Some(leg) = self.legs.get_mut(&to) {
            leg.invite = Some(request);
        }
        self.wait_for_answer(cx, to);
    }

    /// A re-INVITE of a task was accepted.
    pub(super) fn join_accepted(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        id: LegId,
        tag: &str,
        response: &Message,
        (before, of): (&Bytes, TaskId),
    ) {
        let offered = self.desk.requests.get(&request).is_some_and(Sent::offers);
        let description = bodies::description(response).map(Bytes::copy_from_slice);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let is_awaited = leg.invite == Some(request);
        leg.invite = leg.invite.filter(|invite| *invite != request);
        leg.allowed.learn(response);
        leg.timer.answered(cx.now, response);
        let is_over = leg.stage == Stage::Over;
        let Some(strand) = leg.strands.first_mut() else { return };
        // A Contact that can't be read leaves the target as it is.
        let _ = strand.dialog.refresh_target(response);
        if let Some(description) = &description {
            strand.described.received = description.clone();
        }
        if !is_over {
            self.time_session(id);
        }
        self.owe_ack(id, request, tag);
        let stage = self.task_of(id).filter(|task| *task == of);
        let stage = stage.and_then(|task| Some((task, self.tasks.get(&task)?)));
        let stage = stage
            .filter(|_| is_awaited && !is_over)
            .map(|(id, task)| (id, task.stage, task.offerer, task.other));
        match (stage, description) {
            (Some((task, TaskStage::Asking, Some(offerer), _)), Some(_)) if offerer == id => {
                self.bring_offer(cx, task);
            }
            (Some((task, TaskStage::Offering, Some(offerer), other)), Some(answer)) if other == id => {
                self.pay_ack(cx, id, None);
                self.joined(cx, task, offerer, other, &answer);
            }
            (stage, description) => {
                match (offered, description) {
                    // Nobody answers this offer any more: what held before does.
                    (false, Some(_)) => self.answer_as_before(cx, id),
                    _ => self.pay_ack(cx, id, None),
                }
                if let Some((task, ..)) = stage {
                    self.task_failed(cx, task, Status::of(488));
                } else if offered && !is_over {
                    // The task is over, and what held before is offered again.
                    self.offer_again(cx, id, before);
                }
            }
        }
        self.sweep(id);
    }

    /// Sends the ACK that a leg owes, with the description that it had before.
    fn answer_as_before(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let (Some(owed), Some(strand)) = (leg.owes_ack.take(), leg.strands.first()) else { return };
        let body = ("application/sdp", strand.described.sent.clone());
        self.desk.acknowledge(cx, owed.request, &strand.dialog, &owed.tag, Some(body));
    }

    /// A re-INVITE of a task was refused: the session of that side is as it was (RFC 3261 §14.1).
    pub(super) fn join_refused(&mut self, cx: &mut Context<'_>, id: LegId, of: TaskId, status: Status) {
        if let Some(task) = self.task_of(id).filter(|task| *task == of) {
            if status.code() == 491 {
                // §14.1: who has made the Call-ID waits 2.1 to 4 seconds, the other up to 2.
                let random = cx.random_u64();
                let owns_call_id = self.legs.get(&id).is_some_and(|leg| leg.outgoing);
                let wait = if owns_call_id { 2_100 + random % 191 * 10 } else { random % 201 * 10 };
                return self.try_later(cx, task, Duration::from_millis(wait));
            }
            self.task_failed(cx, task, status);
        }
        // §12.2.1.2: the other end has no such dialog, or is not there.
        if matches!(status.code(), 408 | 481) {
            self.give_up(cx, id, Status::of(500), None);
        }
        self.sweep(id);
    }

    /// The other side has answered the offer: they are one call.
    fn joined(&mut self, cx: &mut Context<'_>, id: TaskId, offerer: LegId, other: LegId, answer: &[u8]) {
        let Some(task) = self.take_task(id) else { return };
        let restored = task.aligned.as_ref().map(|aligned| aligned.restore(answer));
        let answer = restored.as_deref().unwrap_or(answer);
        if matches!(task.goal, Goal::PickUp | Goal::Replace) {
            if !self.accept_own(cx, offerer, answer) {
                return self.give_up(cx, other, Status::of(500), None);
            }
        } else {
            self.pay_ack(cx, offerer, Some(answer));
        }
        if matches!(task.goal, Goal::Music) {
            cx.core.counters.music_played += 1;
            if self.legs.get(&other).is_some_and(|leg| leg.parked.is_none()) {
                return self.plays_to_held(other, offerer);
            }
        }
        [other, offerer].into_iter().for_each(|id| self.forget_hold(cx, id));
        let left = [self.unpeer(other), self.unpeer(offerer)];
        self.peer(other, offerer);
        cx.core.counters.bridges_joined += 1;
        // Who takes a call by a code has called it, and that call is on record.
        if matches!(task.goal, Goal::Transfer(_) | Goal::Dial(_) | Goal::Return) {
            self.record_pair(cx, other, offerer);
        }
        match task.goal {
            Goal::Transfer(transfer) => self.transfer_done(cx, transfer, left),
            Goal::Dial(dial) => self.dial_done(&dial),
            Goal::Retrieve | Goal::Return => {
                self.unpark(other);
                // What was played to him ends.
                left.into_iter().flatten().for_each(|music| self.hang_up(cx, music, Status::of(487), None));
            }
            Goal::Music | Goal::PickUp => {}
            Goal::Replace => self.replaced_by_now(cx, left),
        }
    }

    /// Makes two legs the sides of one bridge.
    pub(super) fn peer(&mut self, one: LegId, other: LegId) {
        for (id, peer) in [(one, other), (other, one)] {
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.peer = Some(peer);
            }
        }
        let is_listed =
            [one, other].iter().any(|id| self.legs.get(id).is_some_and(|leg| leg.listed.is_some()));
        if let Some(leg) = self.legs.get_mut(&one).filter(|_| !is_listed) {
            let strand = leg.strands.first();
            let listed =
                strand.map(|strand| ListedCall::of_dialog(CallState::Talking, leg.outgoing, &strand.dialog));
            leg.listed = listed.map(Box::new);
        }
    }

    /// Takes a leg out of its bridge; gives its peer.
    pub(super) fn unpeer(&mut self, id: LegId) -> Option<LegId> {
        let peer = self.legs.get_mut(&id)?.peer.take()?;
        if let Some(leg) = self.legs.get_mut(&peer) {
            leg.peer = leg.peer.filter(|own| *own != id);
        }
        Some(peer)
    }

    /// A task has come to nothing. Each side gets back who it had, and ends where there is nobody.
    pub(super) fn task_failed(&mut self, cx: &mut Context<'_>, id: TaskId, status: Status) {
        self.fail(cx, id, status, None);
    }

    /// The same; one of its legs may be about to end by itself.
    fn fail(&mut self, cx: &mut Context<'_>, id: TaskId, status: Status, gone: Option<LegId>) {
        let Some(task) = self.take_task(id) else { return };
        let reason = failure_reason(status);
        match &task.goal {
            Goal::Transfer(transfer) => self.transfer_failed(cx, transfer, status),
            Goal::Dial(dial) => self.dial_failed(cx, &task, dial, status),
            Goal::Retrieve | Goal::Return | Goal::PickUp | Goal::Replace => {}
            Goal::Music => self.music_ended(cx, task.other),
        }
        let legs = [task.offerer, Some(task.other)].into_iter().flatten();
        for leg in legs.filter(|leg| Some(*leg) != gone) {
            let (has_peer, is_parked) =
                self.legs.get(&leg).map_or((true, false), |leg| (leg.peer.is_some(), leg.parked.is_some()));
            if is_parked {
                self.stay_parked(cx, leg, status);
            } else if has_peer {
                self.answer_as_before_if_owed(cx, leg);
            } else {
                self.hang_up(cx, leg, status, Some(reason.clone()));
            }
        }
    }

    fn answer_as_before_if_owed(&mut self, cx: &mut Context<'_>, id: LegId) {
        if self.legs.get(&id).is_some_and(|leg| leg.owes_ack.is_some() && leg.stage == Stage::Talking) {
            self.answer_as_before(cx, id);
        }
    }

    /// A leg of a task is about to end, whatever ends it. It has no task any more afterwards; where others of the task go
    /// on, they no longer have it for a peer.
    pub(super) fn task_lost(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(task_id) = self.task_of(id) else { return };
        let Some(task) = self.tasks.get_mut(&task_id) else { return };
        if let Goal::Transfer(transfer) = &mut task.goal
            && transfer.leave(id)
        {
            // Who has asked for it may go at once (RFC 5589 §6.1); its partner is looked after by the task.
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.task = None;
            }
            self.unpeer(id);
            return;
        }
        // Nobody is left to be joined with.
        self.fail(cx, task_id, Status::of(487), Some(id));
    }
}

impl Leg {
    /// Whether an INVITE or UPDATE is under way on it, in either direction.
    pub(super) fn is_busy(&self) -> bool {
        self.asked.is_some()
            || self.updates
            || self.updated
            || self.invite.is_some()
            || self.unacked.is_some()
            || self.owes_ack.is_some()
    }
}

/// Why a side is hung up: RFC 3326.
fn failure_reason(status: Status) -> SmolStr {
    smol_str::format_smolstr!("SIP ;cause={} ;text=\"{}\"", status.code(), status.reason())
}

fn legs_of(task: &Task) -> impl Iterator<Item = LegId> + use<> {
    let more = match &task.goal {
        Goal::Transfer(transfer) => [transfer.referrer, transfer.consult],
        Goal::Dial(_) | Goal::Retrieve | Goal::Return | Goal::Music | Goal::PickUp | Goal::Replace => {
            [None, None]
        }
    };
    [task.offerer, Some(task.other)].into_iter().chain(more).flatten()
}
