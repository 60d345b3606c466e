//! The INVITE client transaction (RFC 3261 §17.1.1 as changed by RFC 6026 §8.4).
//!
//! ```text
//!                          | INVITE from TU: send it; A, B on
//!                          V
//!   Timer A         +-------------+  Timer B: timed out
//!   send, double A  |   Calling   |  transport error: tell TU
//!        +----------|             |----------------------------------+
//!        +--------->|             |                                  |
//!                   +-------------+                                  |
//!    300-699         |     |     |  2xx: to TU                       |
//!    ACK, to TU      |     | 1xx: to TU                              |
//!   +----------------+     V     +---------------------+             |
//!   |               +-------------+                    |             |
//!   |   1xx: to TU  | Proceeding  |  2xx: to TU        |             |
//!   |    +----------|             |--------------------+             |
//!   |    +--------->|             |                    |             |
//!   |               +-------------+                    |             |
//!   |    300-699: ACK, to TU |                         |             |
//!   |                        V                         V             |
//!   |               +-------------+             +------------+       |
//!   +-------------->|  Completed  |             |  Accepted  |       |
//!                   |             |             |            |       |
//!    300-699: ACK   |    D on     |  2xx: to TU |    M on    |       |
//!        +----------|             |      +------|            |       |
//!        +--------->|             |      +----->|            |       |
//!                   +-------------+             +------------+       |
//!      transport error:  |     | Timer D               | Timer M     |
//!      tell TU           V     V                       V             |
//!                   +----------------------------------------+       |
//!                   |               Terminated               |<------+
//!                   +----------------------------------------+
//! ```
//!
//! In Proceeding no timer runs: how long it may ring is the transaction user's decision (Timer C of a proxy,
//! RFC 3261 §16.6; CANCEL and 64·T1 of a user agent, §9.1), which then abandons the transaction.

use std::time::Duration;

use dialtone_wire::time::Instant;

use crate::timers::earliest;
use crate::{Action, Actions, Edge, InviteClientEdge, Machine, Timers};

/// The states of Figure 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The INVITE was sent; nothing came back.
    Calling,
    /// A provisional response came.
    Proceeding,
    /// A response 300-699 came and was acknowledged.
    Completed,
    /// A 2xx response came; further ones may (RFC 6026).
    Accepted,
    /// The end.
    Terminated,
}

/// What can happen to the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A response 100-199.
    Provisional,
    /// A response 200-299.
    Success,
    /// A response 300-699.
    Failure,
    /// The transport could not send the INVITE or the ACK.
    TransportError,
    /// Time to send the INVITE again.
    TimerA,
    /// No response for 64·T1.
    TimerB,
    /// The server has stopped repeating its response.
    TimerD,
    /// No more 2xx responses are to be expected.
    TimerM,
}

impl Event {
    /// The event that a response with this status is; `None` outside 100-699.
    pub const fn of_status(status: u16) -> Option<Event> {
        match status {
            100..=199 => Some(Event::Provisional),
            200..=299 => Some(Event::Success),
            300..=699 => Some(Event::Failure),
            _ => None,
        }
    }
}

/// The INVITE client transaction.
#[derive(Clone, Debug)]
pub struct InviteClient {
    state: State,
    reliable: bool,
    timer_a: Instant,
    timer_a_interval: Duration,
    timer_b: Instant,
    timer_d: Instant,
    timer_m: Instant,
}

impl InviteClient {
    /// Enters Calling: the INVITE is to be sent now.
    pub fn start(now: Instant, reliable: bool, timers: &Timers) -> (InviteClient, Actions) {
        let machine = InviteClient {
            state: State::Calling,
            reliable,
            // §17.1.1.2: Timer A only over an unreliable transport, Timer B over any.
            timer_a: if reliable { Instant::NEVER } else { now + timers.t1() },
            timer_a_interval: timers.t1(),
            timer_b: now + timers.transaction_timeout(),
            timer_d: Instant::NEVER,
            timer_m: Instant::NEVER,
        };
        (machine, along(InviteClientEdge::Start).and(Action::SendRequest))
    }

    /// The present state.
    pub const fn state(&self) -> State {
        self.state
    }

    fn leave_calling(&mut self) {
        self.timer_a = Instant::NEVER;
        self.timer_b = Instant::NEVER;
    }

    fn proceed(&mut self, edge: InviteClientEdge) -> Actions {
        self.leave_calling();
        self.state = State::Proceeding;
        along(edge).and(Action::PassUp)
    }

    fn accept(&mut self, now: Instant, timers: &Timers, edge: InviteClientEdge) -> Actions {
        self.leave_calling();
        self.state = State::Accepted;
        self.timer_m = now + timers.transaction_timeout();
        along(edge).and(Action::PassUp)
    }

    fn complete(&mut self, now: Instant, timers: &Timers, edge: InviteClientEdge) -> Actions {
        self.leave_calling();
        self.state = State::Completed;
        self.timer_d = now + Timers::unless_reliable(timers.timer_d(), self.reliable);
        along(edge).and(Action::SendAck).and(Action::PassUp)
    }

    fn terminate(&mut self, edge: InviteClientEdge) -> Actions {
        self.leave_calling();
        self.timer_d = Instant::NEVER;
        self.timer_m = Instant::NEVER;
        self.state = State::Terminated;
        along(edge).and(Action::Terminate)
    }
}

impl Machine for InviteClient {
    type Event = Event;

    fn handle(&mut self, now: Instant, event: Event, timers: &Timers) -> Actions {
        use InviteClientEdge as To;
        match (self.state, event) {
            (State::Calling, Event::TimerA) => {
                // "retransmitted with intervals that double after each transmission", without a cap.
                self.timer_a_interval = self.timer_a_interval.saturating_mul(2);
                self.timer_a = now + self.timer_a_interval;
                along(To::CallingTimerA).and(Action::SendRequest)
            }
            (State::Calling, Event::TimerB) => self.terminate(To::CallingTimerB).and(Action::TimedOut),
            (State::Calling, Event::TransportError) => {
                self.terminate(To::CallingTransportError).and(Action::TransportFailed)
            }
            (State::Calling, Event::Provisional) => self.proceed(To::CallingProvisional),
            (State::Calling, Event::Success) => self.accept(now, timers, To::CallingSuccess),
            (State::Calling, Event::Failure) => self.complete(now, timers, To::CallingFailure),
            (State::Calling, Event::TimerD | Event::TimerM) => Actions::NONE,

            (State::Proceeding, Event::Provisional) => self.proceed(To::ProceedingProvisional),
            (State::Proceeding, Event::Success) => self.accept(now, timers, To::ProceedingSuccess),
            (State::Proceeding, Event::Failure) => self.complete(now, timers, To::ProceedingFailure),
            // Nothing is sent in Proceeding, and the response may come over another connection (§18.2.2).
            (State::Proceeding, Event::TransportError) => Actions::NONE,
            (State::Proceeding, Event::TimerA | Event::TimerB | Event::TimerD | Event::TimerM) => {
                Actions::NONE
            }

            (State::Completed, Event::Failure) => along(To::CompletedFailure).and(Action::SendAck),
            (State::Completed, Event::TransportError) => {
                self.terminate(To::CompletedTransportError).and(Action::TransportFailed)
            }
            (State::Completed, Event::TimerD) => self.terminate(To::CompletedTimerD),
            // A 1xx that was overtaken, or a 2xx that lost against a failure: neither is in the figure.
            (State::Completed, Event::Provisional | Event::Success) => Actions::NONE,
            (State::Completed, Event::TimerA | Event::TimerB | Event::TimerM) => Actions::NONE,

            (State::Accepted, Event::Success) => along(To::AcceptedSuccess).and(Action::PassUp),
            (State::Accepted, Event::TimerM) => self.terminate(To::AcceptedTimerM),
            (State::Accepted, Event::Provisional | Event::Failure | Event::TransportError) => Actions::NONE,
            (State::Accepted, Event::TimerA | Event::TimerB | Event::TimerD) => Actions::NONE,

            (State::Terminated, _) => Actions::NONE,
        }
    }

    fn next_timer(&self) -> Option<(Instant, &'static str, Event)> {
        earliest([
            (self.timer_b, "timer_b", Event::TimerB),
            (self.timer_a, "timer_a", Event::TimerA),
            (self.timer_d, "timer_d", Event::TimerD),
            (self.timer_m, "timer_m", Event::TimerM),
        ])
    }

    fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}

const fn along(edge: InviteClientEdge) -> Actions {
    Actions::along(Edge::InviteClientEdge(edge))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Run, arrow_tests, exactly};

    fn calling() -> Run<InviteClient> {
        Run::start(|now, timers| InviteClient::start(now, false, timers)).0
    }

    fn reliable() -> Run<InviteClient> {
        Run::start(|now, timers| InviteClient::start(now, true, timers)).0
    }

    fn after(events: &[Event]) -> Run<InviteClient> {
        let mut run = calling();
        for event in events {
            run.feed(*event);
        }
        run
    }

    arrow_tests! { InviteClientEdge::ALL;
        sends_the_invite_when_it_starts => InviteClientEdge::Start, {
            let (run, actions) = Run::start(|now, timers| InviteClient::start(now, false, timers));
            assert_eq!(run.machine.state(), State::Calling);
            exactly(actions, &[Action::SendRequest])
        }
        sends_the_invite_again_when_timer_a_fires => InviteClientEdge::CallingTimerA, {
            let mut run = calling();
            let (name, at, actions) = run.fire();
            assert_eq!((name, at, run.machine.state()), ("timer_a", 500, State::Calling));
            exactly(actions, &[Action::SendRequest])
        }
        reports_a_timeout_when_timer_b_fires => InviteClientEdge::CallingTimerB, {
            let mut run = calling();
            let (at, actions) = run.fire_until("timer_b");
            assert_eq!((at, run.machine.state()), (32_000, State::Terminated));
            exactly(actions, &[Action::TimedOut, Action::Terminate])
        }
        reports_a_transport_error_of_the_invite => InviteClientEdge::CallingTransportError, {
            let mut run = calling();
            let actions = run.feed(Event::TransportError);
            assert!(run.machine.is_terminated() && run.machine.next_timer().is_none());
            exactly(actions, &[Action::TransportFailed, Action::Terminate])
        }
        stops_retransmitting_at_a_provisional_response => InviteClientEdge::CallingProvisional, {
            let mut run = calling();
            let actions = run.feed(Event::Provisional);
            assert_eq!((run.machine.state(), run.machine.next_timer()), (State::Proceeding, None));
            exactly(actions, &[Action::PassUp])
        }
        passes_a_2xx_up_from_calling_without_acknowledging_it => InviteClientEdge::CallingSuccess, {
            let mut run = calling();
            let actions = run.feed(Event::Success);
            assert_eq!(run.machine.state(), State::Accepted);
            exactly(actions, &[Action::PassUp])
        }
        acknowledges_a_failure_from_calling => InviteClientEdge::CallingFailure, {
            let mut run = calling();
            let actions = run.feed(Event::Failure);
            assert_eq!(run.machine.state(), State::Completed);
            exactly(actions, &[Action::SendAck, Action::PassUp])
        }
        passes_further_provisional_responses_up => InviteClientEdge::ProceedingProvisional, {
            let mut run = after(&[Event::Provisional]);
            let actions = run.feed(Event::Provisional);
            assert_eq!(run.machine.state(), State::Proceeding);
            exactly(actions, &[Action::PassUp])
        }
        passes_a_2xx_up_from_proceeding_without_acknowledging_it => InviteClientEdge::ProceedingSuccess, {
            let mut run = after(&[Event::Provisional]);
            let actions = run.feed(Event::Success);
            assert_eq!(run.machine.state(), State::Accepted);
            exactly(actions, &[Action::PassUp])
        }
        acknowledges_a_failure_from_proceeding => InviteClientEdge::ProceedingFailure, {
            let mut run = after(&[Event::Provisional]);
            let actions = run.feed(Event::Failure);
            assert_eq!(run.machine.state(), State::Completed);
            exactly(actions, &[Action::SendAck, Action::PassUp])
        }
        acknowledges_a_repeated_failure_and_does_not_pass_it_up => InviteClientEdge::CompletedFailure, {
            let mut run = after(&[Event::Failure]);
            let actions = run.feed(Event::Failure);
            assert_eq!(run.machine.state(), State::Completed);
            exactly(actions, &[Action::SendAck])
        }
        reports_a_transport_error_of_the_ack => InviteClientEdge::CompletedTransportError, {
            let mut run = after(&[Event::Failure]);
            let actions = run.feed(Event::TransportError);
            assert!(run.machine.is_terminated() && run.machine.next_timer().is_none());
            exactly(actions, &[Action::TransportFailed, Action::Terminate])
        }
        ends_after_a_failure_when_timer_d_fires => InviteClientEdge::CompletedTimerD, {
            let mut run = after(&[Event::Provisional, Event::Failure]);
            let (name, at, actions) = run.fire();
            assert_eq!((name, at, run.machine.state()), ("timer_d", 32_000, State::Terminated));
            exactly(actions, &[Action::Terminate])
        }
        passes_each_further_2xx_up => InviteClientEdge::AcceptedSuccess, {
            let mut run = after(&[Event::Provisional, Event::Success]);
            let actions = run.feed(Event::Success);
            assert_eq!(run.machine.state(), State::Accepted);
            exactly(actions, &[Action::PassUp])
        }
        ends_after_a_2xx_when_timer_m_fires => InviteClientEdge::AcceptedTimerM, {
            let mut run = calling();
            run.wait_until(1_000);
            run.feed(Event::Success);
            run.feed(Event::Success);
            let (name, at, actions) = run.fire();
            assert_eq!((name, at, run.machine.state()), ("timer_m", 33_000, State::Terminated));
            exactly(actions, &[Action::Terminate])
        }
    }

    #[test]
    fn seven_invites_are_sent_before_timer_b() {
        let resent: Vec<u64> =
            calling().fire_all().into_iter().filter(|t| t.0 == "timer_a").map(|t| t.1).collect();
        assert_eq!(resent, [500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    }

    #[test]
    fn a_reliable_transport_switches_timer_a_off_and_makes_timer_d_zero() {
        assert_eq!(reliable().fire_all(), [("timer_b", 32_000)]);
        let mut run = reliable();
        run.wait_until(100);
        run.feed(Event::Failure);
        assert_eq!(run.fire_all(), [("timer_d", 100)]);
    }

    #[test]
    fn overtaken_and_contradicting_responses_change_nothing() {
        let mut completed = after(&[Event::Failure]);
        exactly(completed.feed(Event::Provisional), &[]);
        exactly(completed.feed(Event::Success), &[]);
        assert_eq!(completed.machine.state(), State::Completed);
        let mut accepted = after(&[Event::Success]);
        exactly(accepted.feed(Event::Provisional), &[]);
        exactly(accepted.feed(Event::Failure), &[]);
        exactly(accepted.feed(Event::TransportError), &[]);
        assert_eq!(accepted.machine.state(), State::Accepted);
    }

    #[test]
    fn a_transport_error_while_it_rings_changes_nothing() {
        let mut run = after(&[Event::Provisional]);
        exactly(run.feed(Event::TransportError), &[]);
        assert_eq!(run.machine.state(), State::Proceeding);
    }

    #[test]
    fn status_codes_are_sorted_into_their_classes() {
        assert_eq!(Event::of_status(100), Some(Event::Provisional));
        assert_eq!(Event::of_status(299), Some(Event::Success));
        assert_eq!(Event::of_status(699), Some(Event::Failure));
        assert_eq!(Event::of_status(99), None);
        assert_eq!(Event::of_status(700), None);
    }
}
