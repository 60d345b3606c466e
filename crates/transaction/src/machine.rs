//! What the four machines have in common.

use dialtone_wire::time::Instant;

use crate::{Actions, Timers};

/// One transaction's state machine: pure, small, and without any message in it.
pub trait Machine {
    /// What can happen to it: a message of a class, a transport error, a timer of its own.
    type Event: Copy;

    /// Takes one event and says what is to be done. An event that the figure does not show for the present state
    /// changes nothing.
    fn handle(&mut self, now: Instant, event: Self::Event, timers: &Timers) -> Actions;

    /// The earliest running timer: when, its name, and the event to hand to [`Machine::handle`] at that time.
    /// Changes only by [`Machine::handle`].
    fn next_timer(&self) -> Option<(Instant, &'static str, Self::Event)>;

    /// Whether the machine has reached "Terminated" and must be destroyed now.
    fn is_terminated(&self) -> bool;
}

/// Lets the earliest timer fire if it is due; `None` when none is.
pub(crate) fn fire<M: Machine>(machine: &mut M, now: Instant, timers: &Timers) -> Option<Actions> {
    let (at, _, event) = machine.next_timer()?;
    (at <= now).then(|| machine.handle(now, event, timers))
}

/// When the earliest timer fires, and its name.
pub(crate) fn wakes<M: Machine>(machine: &M) -> Option<(Instant, &'static str)> {
    machine.next_timer().map(|(at, name, _)| (at, name))
}
