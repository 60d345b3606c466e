//! The non-INVITE server transaction (RFC 3261 §17.2.2 with erratum 1470, and RFC 4320 §4).
//!
//! ```text
//!                          | request: to TU
//!                          V
//!                   +-------------+
//!                   |   Trying    |------------------------+
//!                   +-------------+   200-699 from TU      |
//!                          | 1xx from TU: send it          | send it
//!                          |                               |
//!   request                V                               |
//!   send last again +-------------+  1xx from TU           |
//!        +----------| Proceeding  |  send it               |
//!        +--------->|             |-----+                  |
//!                   |             |<----+                  |
//!                   |             |  transport error       |
//!                   |             |  tell TU               |
//!                   |             |---------------->+      |
//!                   +-------------+                 |      |
//!                          | 200-699 from TU        |      |
//!   request                V send it                |      |
//!   send again      +-------------+                 |      |
//!        +----------|  Completed  |<----------------|------+
//!        +--------->|             |  transport error|
//!                   |    J on     |  tell TU        |
//!                   |             |---------------->+
//!                   +-------------+                 |
//!                          | Timer J                |
//!                          V                        |
//!                   +-------------+                 |
//!                   | Terminated  |<----------------+
//!                   +-------------+
//! ```
//!
//! RFC 4320 adds: the only provisional response is 100, over an unreliable transport not before a client's Timer E
//! has reached T2, and then it must be sent (`timer_trying`); 408 is never sent. A request that the transaction user
//! leaves without a final response is therefore dropped when the client must have given up (`timer_expiry`, 64·T1).
//!
//! A transport error ends this transaction, as Figure 8 has it: RFC 6026 §7 and §8.6 change it for INVITE only.

use dialtone_wire::time::Instant;

use crate::timers::earliest;
use crate::{Action, Actions, Edge, Machine, NonInviteServerEdge, Timers};

/// The states of Figure 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The transaction user has not answered.
    Trying,
    /// A 100 (Trying) was sent.
    Proceeding,
    /// The final response was sent.
    Completed,
    /// The end.
    Terminated,
}

/// What can happen to the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The request came once more.
    Request,
    /// A 100 (Trying) from the transaction user.
    Provisional,
    /// A response 200-699 from the transaction user.
    Final,
    /// The transport could not send a response.
    TransportError,
    /// A client's Timer E has reached T2 (RFC 4320 §4.1).
    TimerTrying,
    /// A client's Timer F has fired (RFC 4320 §4.2).
    TimerExpiry,
    /// No more copies of the request are to be expected.
    TimerJ,
}

impl Event {
    /// The event that the transaction user's response with this status is; `None` for a status that must not answer
    /// a request other than INVITE: a provisional response other than 100, and 408 (RFC 4320 §4.1, §4.2).
    pub const fn of_status(status: u16) -> Option<Event> {
        match status {
            100 => Some(Event::Provisional),
            408 => None,
            200..=699 => Some(Event::Final),
            _ => None,
        }
    }
}

/// The non-INVITE server transaction.
#[derive(Clone, Debug)]
pub struct NonInviteServer {
    state: State,
    reliable: bool,
    timer_trying: Instant,
    timer_expiry: Instant,
    timer_j: Instant,
}

impl NonInviteServer {
    /// Enters Trying: the request is to be passed up.
    pub fn start(now: Instant, reliable: bool, timers: &Timers) -> (NonInviteServer, Actions) {
        let machine = NonInviteServer {
            state: State::Trying,
            reliable,
            timer_trying: now + timers.non_invite_trying(),
            timer_expiry: now + timers.transaction_timeout(),
            timer_j: Instant::NEVER,
        };
        (machine, along(NonInviteServerEdge::Start).and(Action::PassUp))
    }

    /// The present state.
    pub const fn state(&self) -> State {
        self.state
    }

    fn proceed(&mut self, action: Action) -> Actions {
        self.state = State::Proceeding;
        self.timer_trying = Instant::NEVER;
        along(NonInviteServerEdge::TryingProvisional).and(action)
    }

    fn complete(&mut self, now: Instant, timers: &Timers, edge: NonInviteServerEdge) -> Actions {
        self.state = State::Completed;
        self.timer_trying = Instant::NEVER;
        self.timer_expiry = Instant::NEVER;
        self.timer_j = now + Timers::unless_reliable(timers.transaction_timeout(), self.reliable);
        along(edge).and(Action::SendAndKeep)
    }

    fn terminate(&mut self, actions: Actions) -> Actions {
        self.state = State::Terminated;
        self.timer_trying = Instant::NEVER;
        self.timer_expiry = Instant::NEVER;
        self.timer_j = Instant::NEVER;
        actions.and(Action::Terminate)
    }
}

impl Machine for NonInviteServer {
    type Event = Event;

    fn handle(&mut self, now: Instant, event: Event, timers: &Timers) -> Actions {
        use NonInviteServerEdge as To;
        match (self.state, event) {
            // RFC 4320 §4.1: "MUST NOT respond […] 100 over any unreliable transport […] before".
            (State::Trying, Event::Provisional) if !self.reliable && now < self.timer_trying => Actions::NONE,
            (State::Trying, Event::Provisional) => self.proceed(Action::SendAndKeep),
            (State::Trying, Event::TimerTrying) => self.proceed(Action::SendTrying),
            (State::Trying, Event::Final) => self.complete(now, timers, To::TryingFinal),
            (State::Trying, Event::TimerExpiry) => {
                self.terminate(Actions::off_figure().and(Action::Unanswered))
            }
            (State::Trying, Event::Request | Event::TransportError | Event::TimerJ) => Actions::NONE,

            (State::Proceeding, Event::Request) => along(To::ProceedingRequest).and(Action::Resend),
            (State::Proceeding, Event::Provisional) => {
                along(To::ProceedingProvisional).and(Action::SendAndKeep)
            }
            (State::Proceeding, Event::TransportError) => {
                self.terminate(along(To::ProceedingTransportError).and(Action::TransportFailed))
            }
            (State::Proceeding, Event::Final) => self.complete(now, timers, To::ProceedingFinal),
            (State::Proceeding, Event::TimerExpiry) => {
                self.terminate(Actions::off_figure().and(Action::Unanswered))
            }
            (State::Proceeding, Event::TimerTrying | Event::TimerJ) => Actions::NONE,

            (State::Completed, Event::Request) => along(To::CompletedRequest).and(Action::Resend),
            (State::Completed, Event::TransportError) => {
                self.terminate(along(To::CompletedTransportError).and(Action::TransportFailed))
            }
            (State::Completed, Event::TimerJ) => self.terminate(along(To::CompletedTimerJ)),
            // §17.2.2: "Any other final responses passed by the TU […] MUST be discarded".
            (State::Completed, Event::Provisional | Event::Final) => Actions::NONE,
            (State::Completed, Event::TimerTrying | Event::TimerExpiry) => Actions::NONE,

            (State::Terminated, _) => Actions::NONE,
        }
    }

    fn next_timer(&self) -> Option<(Instant, &'static str, Event)> {
        earliest([
            (self.timer_expiry, "timer_expiry", Event::TimerExpiry),
            (self.timer_trying, "timer_trying", Event::TimerTrying),
            (self.timer_j, "timer_j", Event::TimerJ),
        ])
    }

    fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}

const fn along(edge: NonInviteServerEdge) -> Actions {
    Actions::along(Edge::NonInviteServerEdge(edge))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Run, arrow_tests, exactly};

    fn trying() -> Run<NonInviteServer> {
        Run::start(|now, timers| NonInviteServer::start(now, false, timers)).0
    }

    fn reliable() -> Run<NonInviteServer> {
        Run::start(|now, timers| NonInviteServer::start(now, true, timers)).0
    }

    fn proceeding() -> Run<NonInviteServer> {
        let mut run = trying();
        run.fire_until("timer_trying");
        run
    }

    fn completed() -> Run<NonInviteServer> {
        let mut run = trying();
        run.feed(Event::Final);
        run
    }

    arrow_tests! { NonInviteServerEdge::ALL;
        passes_the_request_up => NonInviteServerEdge::Start, {
            let (run, actions) = Run::start(|now, timers| NonInviteServer::start(now, false, timers));
            assert_eq!(run.machine.state(), State::Trying);
            exactly(actions, &[Action::PassUp])
        }
        sends_a_100_of_the_transaction_user_once_it_may => NonInviteServerEdge::TryingProvisional, {
            let mut run = trying();
            run.wait_until(3_500);
            let actions = run.feed(Event::Provisional);
            assert_eq!(run.machine.state(), State::Proceeding);
            exactly(actions, &[Action::SendAndKeep])
        }
        sends_a_final_response_from_trying => NonInviteServerEdge::TryingFinal, {
            let mut run = trying();
            let actions = run.feed(Event::Final);
            assert_eq!(run.machine.state(), State::Completed);
            exactly(actions, &[Action::SendAndKeep])
        }
        answers_a_repeated_request_with_the_100 => NonInviteServerEdge::ProceedingRequest, {
            let mut run = proceeding();
            let actions = run.feed(Event::Request);
            assert_eq!(run.machine.state(), State::Proceeding);
            exactly(actions, &[Action::Resend])
        }
        sends_a_further_100_of_the_transaction_user => NonInviteServerEdge::ProceedingProvisional, {
            let mut run = proceeding();
            let actions = run.feed(Event::Provisional);
            assert_eq!(run.machine.state(), State::Proceeding);
            exactly(actions, &[Action::SendAndKeep])
        }
        ends_at_a_transport_error_of_the_100 => NonInviteServerEdge::ProceedingTransportError, {
            let mut run = proceeding();
            let actions = run.feed(Event::TransportError);
            assert!(run.machine.is_terminated() && run.machine.next_timer().is_none());
            exactly(actions, &[Action::TransportFailed, Action::Terminate])
        }
        sends_a_final_response_from_proceeding => NonInviteServerEdge::ProceedingFinal, {
            let mut run = proceeding();
            let actions = run.feed(Event::Final);
            assert_eq!(run.machine.state(), State::Completed);
            exactly(actions, &[Action::SendAndKeep])
        }
        answers_a_repeated_request_with_the_final_response => NonInviteServerEdge::CompletedRequest, {
            let mut run = completed();
            let actions = run.feed(Event::Request);
            assert_eq!(run.machine.state(), State::Completed);
            exactly(actions, &[Action::Resend])
        }
        ends_at_a_transport_error_of_the_final_response => NonInviteServerEdge::CompletedTransportError, {
            let mut run = completed();
            let actions = run.feed(Event::TransportError);
            assert!(run.machine.is_terminated() && run.machine.next_timer().is_none());
            exactly(actions, &[Action::TransportFailed, Action::Terminate])
        }
        ends_when_timer_j_fires => NonInviteServerEdge::CompletedTimerJ, {
            let mut run = trying();
            run.wait_until(1_000);
            run.feed(Event::Final);
            let (name, at, actions) = run.fire();
            assert_eq!((name, at, run.machine.state()), ("timer_j", 33_000, State::Terminated));
            exactly(actions, &[Action::Terminate])
        }
    }

    #[test]
    fn swallows_a_repeated_request_while_there_is_no_response() {
        let mut run = trying();
        assert_eq!(run.feed(Event::Request), Actions::NONE);
        assert_eq!(run.machine.state(), State::Trying);
    }

    #[test]
    fn an_early_100_is_refused_over_udp_and_sent_over_tcp() {
        let mut udp = trying();
        udp.wait_until(3_499);
        assert_eq!(udp.feed(Event::Provisional), Actions::NONE);
        assert_eq!(udp.machine.state(), State::Trying);
        exactly(reliable().feed(Event::Provisional), &[Action::SendAndKeep]);
    }

    #[test]
    fn sends_100_trying_by_itself_when_timer_e_of_the_client_reaches_t2() {
        for mut run in [trying(), reliable()] {
            let (name, at, actions) = run.fire();
            assert_eq!((name, at, run.machine.state()), ("timer_trying", 3_500, State::Proceeding));
            exactly(actions, &[Action::SendTrying]);
        }
    }

    #[test]
    fn is_dropped_without_any_response_when_the_client_has_given_up() {
        let mut run = trying();
        let (at, actions) = run.fire_until("timer_expiry");
        assert_eq!((at, run.machine.state()), (32_000, State::Terminated));
        exactly(actions, &[Action::Unanswered, Action::Terminate]);
    }

    #[test]
    fn a_reliable_transport_makes_timer_j_zero() {
        let mut run = reliable();
        run.wait_until(100);
        run.feed(Event::Final);
        assert_eq!(run.fire_all(), [("timer_j", 100)]);
    }

    #[test]
    fn a_second_final_response_is_discarded() {
        let mut run = completed();
        assert_eq!(run.feed(Event::Final), Actions::NONE);
        assert_eq!(run.feed(Event::Provisional), Actions::NONE);
    }

    #[test]
    fn statuses_that_rfc_4320_forbids_are_no_event() {
        assert_eq!(Event::of_status(100), Some(Event::Provisional));
        assert_eq!(Event::of_status(180), None);
        assert_eq!(Event::of_status(408), None);
        assert_eq!(Event::of_status(200), Some(Event::Final));
        assert_eq!(Event::of_status(486), Some(Event::Final));
        assert_eq!(Event::of_status(700), None);
    }
}
