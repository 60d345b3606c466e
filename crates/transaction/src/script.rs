//! Scripts on virtual time for the tests of the state machines.

use dialtone_wire::time::Instant;

use crate::{Action, Actions, Machine, Timers};

/// A machine, the clock and the timer values.
pub(crate) struct Run<M> {
    pub(crate) machine: M,
    pub(crate) now: Instant,
    timers: Timers,
}

impl<M: Machine> Run<M> {
    /// Starts the machine at time zero with the default timer values.
    pub(crate) fn start(start: impl FnOnce(Instant, &Timers) -> (M, Actions)) -> (Run<M>, Actions) {
        let timers = Timers::default();
        let (machine, actions) = start(Instant::START, &timers);
        (Run { machine, now: Instant::START, timers }, actions)
    }

    /// Lets `event` happen now.
    pub(crate) fn feed(&mut self, event: M::Event) -> Actions {
        self.machine.handle(self.now, event, &self.timers)
    }

    /// Waits until `millis`.
    pub(crate) fn wait_until(&mut self, millis: u64) {
        self.now = Instant::from_millis(millis);
    }

    /// Jumps to the next timer and lets it fire: its name, the time in ms, and what is to be done.
    pub(crate) fn fire(&mut self) -> (&'static str, u64, Actions) {
        let (at, name, event) = self.machine.next_timer().expect("a timer runs");
        self.now = at;
        (name, at.as_millis(), self.feed(event))
    }

    /// Lets timers fire until the one called `name` has.
    pub(crate) fn fire_until(&mut self, name: &str) -> (u64, Actions) {
        for _ in 0..100 {
            let (fired, at, actions) = self.fire();
            if fired == name {
                return (at, actions);
            }
        }
        panic!("{name} never fired");
    }

    /// Fires every timer until none is left: name and time in ms of each.
    pub(crate) fn fire_all(&mut self) -> Vec<(&'static str, u64)> {
        let mut fired = Vec::new();
        while self.machine.next_timer().is_some() {
            let (name, at, _) = self.fire();
            fired.push((name, at));
            assert!(fired.len() < 100, "the timers never end: {fired:?}");
        }
        fired
    }
}

/// Asserts that exactly `expected` is to be done, and hands the actions on.
pub(crate) fn exactly(actions: Actions, expected: &[Action]) -> Actions {
    let set = expected.iter().fold(Actions::NONE, |set, action| set.and(*action));
    let plain =
        |actions: Actions| ALL.iter().copied().filter(|action| actions.has(*action)).collect::<Vec<_>>();
    assert_eq!(plain(actions), plain(set));
    actions
}

const ALL: [Action; 12] = [
    Action::SendRequest,
    Action::SendAck,
    Action::SendAndKeep,
    Action::SendOnce,
    Action::Resend,
    Action::SendTrying,
    Action::PassUp,
    Action::TimedOut,
    Action::TransportFailed,
    Action::NoAck,
    Action::Unanswered,
    Action::Terminate,
];

/// One test for each arrow of a figure. Each block is a script whose last step takes the arrow; the list as a whole
/// must be the list of arrows, so that an arrow without a test, or with two, fails.
macro_rules! arrow_tests {
    ($all:expr; $($name:ident => $edge:expr, $script:block)*) => {
        $(
            #[test]
            fn $name() {
                let actions: $crate::Actions = $script;
                assert_eq!(actions.edge(), Some($crate::Edge::from($edge)));
            }
        )*

        #[test]
        fn every_arrow_of_the_figure_has_one_test() {
            assert_eq!([$($edge),*].as_slice(), $all);
        }
    };
}
pub(crate) use arrow_tests;
