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
