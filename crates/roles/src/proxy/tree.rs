//! The tree of legs of a response context: each place that is tried, and what became of it.
//!
//! ```text
//!   INVITE sip:sales@…      leg 0  group          Trying
//!                            +- leg 1  user bob     Trying   branches: two devices, which ring
//!                            +- leg 2  user carol   Done(Busy)
//!                            +- leg 3  user dave    Trying   (where carol forwards to when busy)
//! ```
//!
//! A leg is begun, perhaps after a delay; it looks its user up; it tries its targets, those with the best q first; and
//! when the last of them has failed, or its ring time is over, it is done: then the services of its user may name
//! another leg, else its parent goes on.

use std::collections::VecDeque;
use std::time::Duration;

use dialtone_wire::Status;
use dialtone_wire::time::Instant;
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::target::Target;
use crate::services::{self, Services};
use crate::settings::{Destination, Limits, Member};

/// Targets that are tried at once: at least one.
pub(super) type Stage = SmallVec<[Target; 1]>;

/// Names a leg within its response context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LegId(u16);

/// Legs that are tried at once: at least one.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) cause: Cause,
    pub(super) members: SmallVec<[Member; 1]>,
}

/// One destination that is being tried.
#[derive(Debug)]
pub(crate) struct Leg {
    /// `None` is where the request itself says.
    pub(crate) destination: Option<Destination>,
    /// The group that it is a member of.
    pub(crate) parent: Option<LegId>,
    pub(crate) cause: Cause,
    /// How many groups, forwards and redirections led here.
    pub(crate) depth: u16,
    pub(super) state: LegState,
    /// How long it may ring.
    pub(super) ring: Option<Duration>,
    /// When that is over.
    pub(super) ring_until: Option<Instant>,
    /// When those that ring now have had their time, while others wait for their turn.
    pub(super) stage_until: Option<Instant>,
    /// How long a target of it may be silent before the next one is tried; `None`: how long it may ring.
    pub(super) answer_within: Option<Duration>,
    /// Questions whose answers are not there: bindings, host names.
    pub(super) waiting: u16,
    /// Targets that are tried when those before them have failed.
    pub(super) stages: VecDeque<Stage>,
    /// Legs below this one that are tried when those before them have failed.
    pub(super) turns: VecDeque<Turn>,
    /// The request was sent to targets of it.
    pub(super) is_sent: bool,
    /// A device rings or has rung.
    pub(super) rang: bool,
    /// The ring time is over.
    pub(super) rang_out: bool,
    /// The status that says most about the user.
    pub(super) status: Option<Status>,
    pub(super) services: Services,
    /// Its user has devices.
    pub(super) has_bindings: bool,
}

/// Why there is a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The request came for it.
    Request,
    /// It is a member of its parent.
    Member,
    /// A 3xx to a branch of its parent named it (RFC 3261 §16.7 step 4).
    Redirect,
    /// The services of the user of this leg named it, or what a group says for calls that nobody takes.
    Forward(LegId, services::Cause),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LegState {
    /// It begins then.
    Delayed(Instant),
    /// It is being looked up or tried.
    Trying,
    /// It is over.
    Done,
}

/// What became of a leg that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 486 or 600.
    Busy,
    /// It rang, and nobody answered in time.
    NoAnswer,
    /// There is no device, or none that answers.
    NotReachable,
    /// 603 or another 6xx.
    Declined,
    /// 3xx.
    Redirected,
    /// Another status.
    Refused(Status),
}

impl Leg {
    fn new(destination: Option<Destination>, parent: Option<LegId>, cause: Cause, from: Instant) -> Leg {
        Leg {
            destination,
            parent,
            cause,
            depth: 0,
            state: LegState::Delayed(from),
            ring: None,
            ring_until: None,
            stage_until: None,
            answer_within: None,
            waiting: 0,
            stages: VecDeque::new(),
            turns: VecDeque::new(),
            is_sent: false,
            rang: false,
            rang_out: false,
            status: None,
            services: Services::default(),
            has_bindings: false,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == LegState::Done
    }

    /// Notes a final response of a device or member.
    pub(super) fn note(&mut self, status: Status) {
        let rank = |status: Status| match status.code() {
            600.. => 0,
            486 => 1,
            300..400 => 2,
            408 | 480 | 503 => 4,
            _ => 3,
        };
        if self.status.is_none_or(|noted| rank(status) < rank(noted)) {
            self.status = Some(status);
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.status.map(Status::code) {
            Some(486 | 600) => Outcome::Busy,
            Some(600..) => Outcome::Declined,
            _ if self.rang_out => Outcome::NoAnswer,
            Some(408 | 480) if self.rang => Outcome::NoAnswer,
            None | Some(404 | 408 | 410 | 430 | 480 | 502..=504) => Outcome::NotReachable,
            Some(300..400) => Outcome::Redirected,
            Some(code) => Outcome::Refused(Status::of(code)),
        }
    }

    /// When something is to be done about it.
    fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            LegState::Delayed(until) => Some(until),
            LegState::Trying => self.ring_until.into_iter().chain(self.stage_until).min(),
            LegState::Done => None,
        }
    }
}

/// All legs of a response context.
#[derive(Debug)]
pub(crate) struct Tree {
    legs: SmallVec<[Leg; 1]>,
    /// [`Destination::key`] of all legs: none is tried twice.
    tried: SmallVec<[SmolStr; 1]>,
}

impl Tree {
    pub(crate) fn new(now: Instant, destination: Option<Destination>) -> Tree {
        let tried = destination.iter().map(Destination::key).collect();
        let mut legs = SmallVec::new();
        legs.push(Leg::new(destination, None, Cause::Request, now));
        Tree { legs, tried }
    }

    pub(crate) fn leg(&self, leg: LegId) -> &Leg {
        &self.legs[usize::from(leg.0)]
    }

    pub(crate) fn leg_mut(&mut self, leg: LegId) -> &mut Leg {
        &mut self.legs[usize::from(leg.0)]
    }

    /// All legs that there are now, in the order in which they were added.
    pub(super) fn ids(&self) -> impl Iterator<Item = LegId> + use<> {
        (0..self.legs.len()).filter_map(|at| u16::try_from(at).ok()).map(LegId)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Leg> {
        self.legs.iter()
    }

    /// Adds a leg that begins then. `None` if its destination has been tried in this context, or if there would be
    /// more than `legs_max` or it would be deeper than `depth_max`.
    pub(super) fn add(
        &mut self,
        destination: Destination,
        parent: Option<LegId>,
        cause: Cause,
        begins: Instant,
        limits: &Limits,
    ) -> Option<LegId> {
        let key = destination.key();
        let from = match cause {
            Cause::Forward(leg, _) => Some(leg),
            Cause::Request | Cause::Member | Cause::Redirect => parent,
        };
        let depth = from.map_or(0, |from| self.leg(from).depth.saturating_add(1));
        let id = u16::try_from(self.legs.len()).ok()?;
        let is_full = self.legs.len() >= limits.legs || usize::from(depth) > limits.leg_depth;
        if is_full || self.tried.contains(&key) {
            return None;
        }
        self.tried.push(key);
        self.legs.push(Leg { depth, ..Leg::new(Some(destination), parent, cause, begins) });
        Some(LegId(id))
    }

    /// How many other legs may still send the request: they want a part of Max-Breadth.
    pub(super) fn unsent_beside(&self, leg: LegId) -> usize {
        let at = usize::from(leg.0);
        let unsent = |(other, leg): &(usize, &Leg)| {
            *other != at
                && !leg.is_done()
                && !leg.is_sent
                && !matches!(leg.destination, Some(Destination::Group(_)))
        };
        self.legs.iter().enumerate().filter(unsent).count()
    }

    pub(super) fn has_open_child(&self, parent: LegId) -> bool {
        self.legs.iter().any(|leg| leg.parent == Some(parent) && !leg.is_done())
    }

    /// Whether a destination has not been tried yet.
    pub(super) fn is_new(&self, destination: &Destination) -> bool {
        !self.tried.contains(&destination.key())
    }

    /// Whether a leg is this one or below it.
    pub(super) fn is_within(&self, mut leg: LegId, top: LegId) -> bool {
        while leg != top {
            let Some(parent) = self.leg(leg).parent else { return false };
            leg = parent;
        }
        true
    }

    /// When a delay or a ring time is over next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.legs.iter().filter_map(Leg::poll_timeout).min()
    }
}
