//! The non-INVITE client transaction (RFC 3261 §17.1.2).
//!
//! ```text
//!                          | request from TU: send it; E, F on
//!                          V
//!   Timer E         +-------------+  Timer F: timed out
//!   send,           |   Trying    |  transport error: tell TU
//!   double E to T2  |             |
//!        +----------|             |--------------------------+
//!        +--------->|             |                          |
//!                   +-------------+                          |
//!    200-699: to TU   |         | 1xx: to TU                 |
//!   +-----------------+         V                            |
//!   |               +-------------+  Timer F: timed out      |
//!   |   Timer E     | Proceeding  |  transport error: tell TU|
//!   |   send, E=T2  |             |                          |
//!   |    +----------|             |------------------------->|
//!   |    +--------->|             |-----+ 1xx: to TU         |
//!   |               |             |<----+                    |
//!   |               +-------------+                          |
//!   |                   | 200-699: to TU                     |
//!   |                   V                                    |
//!   |               +-------------+                          |
//!   +-------------->|  Completed  |                          |
//!                   |    K on     |                          |
//!                   +-------------+                          |
//!                          | Timer K                         |
//!                          V                                 |
//!                   +-------------+                          |
//!                   | Terminated  |<-------------------------+
//!                   +-------------+
//! ```

use std::time::Duration;

use dialtone_wire::time::Instant;

use crate::timers::earliest;
use crate::{Action, Actions, Edge, Machine, NonInviteClientEdge, Timers};

/// The states of Figure 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The request was sent; nothing came back.
    Trying,
    /// A provisional response came.
    Proceeding,
    /// A final response came.
    Completed,
    /// The end.
    Terminated,
}

/// What can happen to the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A response 100-199.
    Provisional,
    /// A response 200-699.
    Final,
    /// The transport could not send the request.
    TransportError,
    /// Time to send the request again.
    TimerE,
    /// No final response for 64·T1.
    TimerF,
    /// The network has no more copies of the response.
    TimerK,
}

impl Event {
    /// The event that a response with this status is; `None` outside 100-699.
    pub const fn of_status(status: u16) -> Option<Event> {
        match status {
            100..=199 => Some(Event::Provisional),
            200..=699 => Some(Event::Final),
            _ => None,
        }
    }
}

/// The non-INVITE client transaction.
#[derive(Clone, Debug)]
pub struct NonInviteClient {
    state: State,
    reliable: bool,
    timer_e: Instant,
    timer_e_interval: Duration,
    timer_f: Instant,
    timer_k: Instant,
}

impl NonInviteClient {
    /// Enters Trying: the request is to be sent now.
    pub fn start(now: Instant, reliable: bool, timers: &Timers) -> (NonInviteClient, Actions) {
        let machine = NonInviteClient {
            state: State::Trying,
            reliable,
            timer_e: if reliable { Instant::NEVER } else { now + timers.t1() },
            timer_e_interval: timers.t1(),
            timer_f: now + timers.transaction_timeout(),
            timer_k: Instant::NEVER,
        };
        (machine, along(NonInviteClientEdge::Start).and(Action::SendRequest))
    }

    /// The present state.
    pub const fn state(&self) -> State {
        self.state
    }

    fn resend(&mut self, now: Instant, interval: Duration, edge: NonInviteClientEdge) -> Actions {
        self.timer_e_interval = interval;
        self.timer_e = now + interval;
        along(edge).and(Action::SendRequest)
    }

    fn proceed(&mut self, edge: NonInviteClientEdge) -> Actions {
        // Timer E runs on as it is; when it fires the next interval is T2 (§17.1.2.2).
        self.state = State::Proceeding;
        along(edge).and(Action::PassUp)
    }

    fn complete(&mut self, now: Instant, timers: &Timers, edge: NonInviteClientEdge) -> Actions {
        self.state = State::Completed;
        self.timer_e = Instant::NEVER;
        self.timer_f = Instant::NEVER;
        self.timer_k = now + Timers::unless_reliable(timers.t4(), self.reliable);
        along(edge).and(Action::PassUp)
    }

    fn terminate(&mut self, edge: NonInviteClientEdge) -> Actions {
        self.state = State::Terminated;
        self.timer_e = Instant::NEVER;
        self.timer_f = Instant::NEVER;
        self.timer_k = Instant::NEVER;
        along(edge).and(Action::Terminate)
    }
}

impl Machine for NonInviteClient {
    type Event = Event;

    fn handle(&mut self, now: Instant, event: Event, timers: &Timers) -> Actions {
        use NonInviteClientEdge as To;
        match (self.state, event) {
            (State::Trying, Event::TimerE) => {
                self.resend(now, timers.doubled_to_t2(self.timer_e_interval), To::TryingTimerE)
            }
            (State::Trying, Event::TimerF) => self.terminate(To::TryingTimerF).and(Action::TimedOut),
            (State::Trying, Event::TransportError) => {
                self.terminate(To::TryingTransportError).and(Action::TransportFailed)
            }
            (State::Trying, Event::Provisional) => self.proceed(To::TryingProvisional),
            (State::Trying, Event::Final) => self.complete(now, timers, To::TryingFinal),
            (State::Trying, Event::TimerK) => Actions::NONE,

            (State::Proceeding, Event::TimerE) => self.resend(now, timers.t2(), To::ProceedingTimerE),
            (State::Proceeding, Event::TimerF) => self.terminate(To::ProceedingTimerF).and(Action::TimedOut),
            (State::Proceeding, Event::TransportError) => {
                self.terminate(To::ProceedingTransportError).and(Action::TransportFailed)
            }
            (State::Proceeding, Event::Provisional) => self.proceed(To::ProceedingProvisional),
            (State::Proceeding, Event::Final) => self.complete(now, timers, To::ProceedingFinal),
            (State::Proceeding, Event::TimerK) => Actions::NONE,

            (State::Completed, Event::TimerK) => self.terminate(To::CompletedTimerK),
            // The state exists to swallow repeated responses.
            (State::Completed, Event::Provisional | Event::Final | Event::TransportError) => Actions::NONE,
            (State::Completed, Event::TimerE | Event::TimerF) => Actions::NONE,

            (State::Terminated, _) => Actions::NONE,
        }
    }

    fn next_timer(&self) -> Option<(Instant, &'static str, Event)> {
        earliest([
            (self.timer_f, "timer_f", Event::TimerF),
            (self.timer_e, "timer_e", Event::TimerE),
            (self.timer_k, "timer_k", Event::TimerK),
        ])
    }

    fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}

const fn along(edge: NonInviteClientEdge) -> Actions {
    Actions::along(Edge::NonInviteClientEdge(edge))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Run, arrow_tests, exactly};

    fn trying() -> Run<NonInviteClient> {
        Run::start(|now, timers| NonInviteClient::start(now, false, timers)).0
    }

    fn reliable() -> Run<NonInviteClient> {
        Run::start(|now, timers| NonInviteClient::start(now, true, timers)).0
    }

    fn after(events: &[Event]) -> Run<NonInviteClient> {
        let mut run = trying();
        for event in events {
            run.feed(*event);
        }
        run
    }

    arrow_tests! { NonInviteClientEdge::ALL;
        sends_the_request_when_it_starts => NonInviteClientEdge::Start, {
            let (run, actions) = Run::start(|now, timers| NonInviteClient::start(now, false, timers));
            assert_eq!(run.machine.state(), State::Trying);
            exactly(actions, &[Action::SendRequest])
        }
        sends_the_request_again_when_timer_e_fires => NonInviteClientEdge::TryingTimerE, {
            let mut run = trying();
            let (name, at, actions) = run.fire();
            assert_eq!((name, at, run.machine.state()), ("timer_e", 500, State::Trying));
            exactly(actions, &[Action::SendRequest])
        }
        reports_a_timeout_when_timer_f_fires_in_trying => NonInviteClientEdge::TryingTimerF, {
            let mut run = trying();
            let (at, actions) = run.fire_until("timer_f");
            assert_eq!((at, run.machine.state()), (32_000, State::Terminated));
            exactly(actions, &[Action::TimedOut, Action::Terminate])
        }
        reports_a_transport_error_in_trying => NonInviteClientEdge::TryingTransportError, {
            let mut run = trying();
            let actions = run.feed(Event::TransportError);
            assert!(run.machine.is_terminated() && run.machine.next_timer().is_none());
            exactly(actions, &[Action::TransportFailed, Action::Terminate])
        }
        passes_the_first_provisional_response_up => NonInviteClientEdge::TryingProvisional, {
            let mut run = trying();
            let actions = run.feed(Event::Provisional);
            assert_eq!(run.machine.state(), State::Proceeding);
            exactly(actions, &[Action::PassUp])
        }
        passes_a_final_response_up_from_trying => NonInviteClientEdge::TryingFinal, {
            let mut run = trying();
            let actions = run.feed(Event::Final);
            assert_eq!(run.machine.state(), State::Completed);
            exactly(actions, &[Action::PassUp])
        }
        sends_the_request_again_each_t2_while_proceeding => NonInviteClientEdge::ProceedingTimerE, {
            let mut run = after(&[Event::Provisional]);
            assert_eq!(run.fire().1, 500);
            let (name, at, actions) = run.fire();
            assert_eq!((name, at, run.machine.state()), ("timer_e", 4_500, State::Proceeding));
            exactly(actions, &[Action::SendRequest])
        }
        reports_a_timeout_when_timer_f_fires_in_proceeding => NonInviteClientEdge::ProceedingTimerF, {
            let mut run = after(&[Event::Provisional]);
            let (at, actions) = run.fire_until("timer_f");
            assert_eq!((at, run.machine.state()), (32_000, State::Terminated));
            exactly(actions, &[Action::TimedOut, Action::Terminate])
        }
        reports_a_transport_error_in_proceeding => NonInviteClientEdge::ProceedingTransportError, {
            let mut run = after(&[Event::Provisional]);
            let actions = run.feed(Event::TransportError);
            assert!(run.machine.is_terminated() && run.machine.next_timer().is_none());
            exactly(actions, &[Action::TransportFailed, Action::Terminate])
        }
        passes_further_provisional_responses_up => NonInviteClientEdge::ProceedingProvisional, {
            let mut run = after(&[Event::Provisional]);
            let actions = run.feed(Event::Provisional);
            assert_eq!(run.machine.state(), State::Proceeding);
            exactly(actions, &[Action::PassUp])
        }
        passes_a_final_response_up_from_proceeding => NonInviteClientEdge::ProceedingFinal, {
            let mut run = after(&[Event::Provisional]);
            let actions = run.feed(Event::Final);
            assert_eq!(run.machine.state(), State::Completed);
            exactly(actions, &[Action::PassUp])
        }
        ends_when_timer_k_fires => NonInviteClientEdge::CompletedTimerK, {
            let mut run = trying();
            run.wait_until(1_000);
            run.feed(Event::Final);
            let (name, at, actions) = run.fire();
            assert_eq!((name, at, run.machine.state()), ("timer_k", 6_000, State::Terminated));
            exactly(actions, &[Action::Terminate])
        }
    }

    #[test]
    fn eleven_requests_are_sent_before_timer_f() {
        let resent: Vec<u64> =
            trying().fire_all().into_iter().filter(|t| t.0 == "timer_e").map(|t| t.1).collect();
        assert_eq!(resent, [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    }

    #[test]
    fn a_reliable_transport_switches_timer_e_off_and_makes_timer_k_zero() {
        assert_eq!(reliable().fire_all(), [("timer_f", 32_000)]);
        let mut run = reliable();
        run.wait_until(100);
        run.feed(Event::Final);
        assert_eq!(run.fire_all(), [("timer_k", 100)]);
    }

    #[test]
    fn repeated_responses_are_swallowed_after_the_final_one() {
        let mut run = after(&[Event::Final]);
        for event in [Event::Final, Event::Provisional, Event::TransportError] {
            assert_eq!(run.feed(event), Actions::NONE);
        }
        assert_eq!(run.machine.state(), State::Completed);
    }

    #[test]
    fn status_codes_are_sorted_into_their_classes() {
        assert_eq!(Event::of_status(199), Some(Event::Provisional));
        assert_eq!(Event::of_status(200), Some(Event::Final));
        assert_eq!(Event::of_status(699), Some(Event::Final));
        assert_eq!(Event::of_status(0), None);
    }
}
