//! The INVITE server transaction (RFC 3261 §17.2.1 as changed by RFC 6026 §8.5 to §8.8).
//!
//! ```text
//!                          | INVITE: to TU
//!                          V          (100 Trying if TU is silent for 200 ms)
//!   INVITE          +-------------+  101-199 from TU
//!   send last again | Proceeding  |  send it
//!        +----------|             |-----+
//!        +--------->|             |<----+
//!                   |             |-----+ transport error
//!                   |             |<----+ tell TU
//!                   +-------------+
//!      300-699 from TU  |     |  2xx from TU
//!      send it          |     |  send it
//!   +-------------------+     +---------------------+
//!   |                                               V
//!   |   INVITE      +-------------+          +-------------+
//!   |   send again  |  Completed  |  INVITE  |  Accepted   |  ACK
//!   |    +----------|             |  nothing |             |  to TU
//!   |    +--------->|  G, H on    |     +----|    L on     |-----+
//!   +-------------->|             |     +--->|             |<----+
//!   Timer G         |             |          |             |
//!   send, double G  |             |  2xx     |             |  transport
//!   to T2           |             |  from TU |             |  error
//!        +----------|             |  send it |             |  tell TU
//!        +--------->|             |     +----|             |-----+
//!   transport error |             |     +--->|             |<----+
//!   tell TU         |             |          +-------------+
//!        +----------|             |                 | Timer L
//!        +--------->|             |                 |
//!                   +-------------+                 |
//!     Timer H: tell TU  |     | ACK                 |
//!     no ACK came       |     V                     |
//!                       |  +-------------+          |
//!                       |  |  Confirmed  |          |
//!                       |  |    I on     |          |
//!                       |  +-------------+          |
//!                       |     | Timer I             |
//!                       V     V                     V
//!                   +-----------------------------------+
//!                   |            Terminated             |
//!                   +-----------------------------------+
//! ```
//!
//! Figure 7 of RFC 6026 has "-" at Timer H; the text of §17.2.1 has "MUST indicate to the TU that a transaction
//! failure has occurred", which no erratum takes back. We indicate it.

use std::time::Duration;

use dialtone_wire::time::Instant;

use crate::timers::earliest;
use crate::{Action, Actions, Edge, InviteServerEdge, Machine, Timers};

/// The states of Figure 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The transaction user has not given a final response.
    Proceeding,
    /// A response 300-699 was sent and waits for its ACK.
    Completed,
    /// The ACK came.
    Confirmed,
    /// A 2xx was sent (RFC 6026).
    Accepted,
    /// The end.
    Terminated,
}

/// What can happen to the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The INVITE came once more.
    Invite,
    /// An ACK with the branch of the INVITE came.
    Ack,
    /// A response 100-199 from the transaction user.
    Provisional,
    /// A response 200-299 from the transaction user.
    Success,
    /// A response 300-699 from the transaction user.
    Failure,
    /// The transport could not send a response.
    TransportError,
    /// The transaction user was silent for 200 ms.
    TimerTrying,
    /// Time to send the response again.
    TimerG,
    /// No ACK for 64·T1.
    TimerH,
    /// The network has no more copies of the ACK.
    TimerI,
    /// No more copies of the INVITE and no more 2xx are to be expected.
    TimerL,
}

impl Event {
    /// The event that the transaction user's response with this status is; `None` outside 100-699.
    pub const fn of_status(status: u16) -> Option<Event> {
        match status {
            100..=199 => Some(Event::Provisional),
            200..=299 => Some(Event::Success),
            300..=699 => Some(Event::Failure),
            _ => None,
        }
    }
}

/// The INVITE server transaction.
#[derive(Clone, Debug)]
pub struct InviteServer {
    state: State,
    reliable: bool,
    timer_trying: Instant,
    timer_g: Instant,
    timer_g_interval: Duration,
    timer_h: Instant,
    timer_i: Instant,
    timer_l: Instant,
}

impl InviteServer {
    /// Enters Proceeding: the INVITE is to be passed up.
    pub fn start(now: Instant, reliable: bool, timers: &Timers) -> (InviteServer, Actions) {
        let machine = InviteServer {
            state: State::Proceeding,
            reliable,
            timer_trying: now + timers.invite_trying(),
            timer_g: Instant::NEVER,
            timer_g_interval: timers.t1(),
            timer_h: Instant::NEVER,
            timer_i: Instant::NEVER,
            timer_l: Instant::NEVER,
        };
        (machine, along(InviteServerEdge::Start).and(Action::PassUp))
    }

    /// The present state.
    pub const fn state(&self) -> State {
        self.state
    }

    fn complete(&mut self, now: Instant, timers: &Timers) -> Actions {
        self.state = State::Completed;
        self.timer_trying = Instant::NEVER;
        self.timer_g_interval = timers.t1();
        // §17.2.1: Timer G only for unreliable transports, Timer H for all.
        self.timer_g = if self.reliable { Instant::NEVER } else { now + self.timer_g_interval };
        self.timer_h = now + timers.transaction_timeout();
        along(InviteServerEdge::ProceedingFailure).and(Action::SendAndKeep)
    }

    fn accept(&mut self, now: Instant, timers: &Timers) -> Actions {
        self.state = State::Accepted;
        self.timer_trying = Instant::NEVER;
        self.timer_l = now + timers.transaction_timeout();
        along(InviteServerEdge::ProceedingSuccess).and(Action::SendOnce)
    }

    fn confirm(&mut self, now: Instant, timers: &Timers) -> Actions {
        self.state = State::Confirmed;
        self.timer_g = Instant::NEVER;
        self.timer_h = Instant::NEVER;
        self.timer_i = now + Timers::unless_reliable(timers.t4(), self.reliable);
        along(InviteServerEdge::CompletedAck)
    }

    fn terminate(&mut self, edge: InviteServerEdge) -> Actions {
        self.state = State::Terminated;
        self.timer_trying = Instant::NEVER;
        self.timer_g = Instant::NEVER;
        self.timer_h = Instant::NEVER;
        self.timer_i = Instant::NEVER;
        self.timer_l = Instant::NEVER;
        along(edge).and(Action::Terminate)
    }
}

impl Machine for InviteServer {
    type Event = Event;

    fn handle(&mut self, now: Instant, event: Event, timers: &Timers) -> Actions {
        use InviteServerEdge as To;
        match (self.state, event) {
            (State::Proceeding, Event::Invite) => along(To::ProceedingInvite).and(Action::Resend),
            (State::Proceeding, Event::Provisional) => {
                self.timer_trying = Instant::NEVER;
                along(To::ProceedingProvisional).and(Action::SendAndKeep)
            }
            (State::Proceeding, Event::TransportError) => {
                along(To::ProceedingTransportError).and(Action::TransportFailed)
            }
            (State::Proceeding, Event::Success) => self.accept(now, timers),
            (State::Proceeding, Event::Failure) => self.complete(now, timers),
            // Part of the first arrow: "send 100 if TU won't in 200 ms".
            (State::Proceeding, Event::TimerTrying) => {
                self.timer_trying = Instant::NEVER;
                Actions::off_figure().and(Action::SendTrying)
            }
            (State::Proceeding, Event::Ack) => Actions::NONE,
            (State::Proceeding, Event::TimerG | Event::TimerH | Event::TimerI | Event::TimerL) => {
                Actions::NONE
            }

            (State::Completed, Event::Invite) => along(To::CompletedInvite).and(Action::Resend),
            (State::Completed, Event::TimerG) => {
                self.timer_g_interval = timers.doubled_to_t2(self.timer_g_interval);
                self.timer_g = now + self.timer_g_interval;
                along(To::CompletedTimerG).and(Action::Resend)
            }
            (State::Completed, Event::TransportError) => {
                along(To::CompletedTransportError).and(Action::TransportFailed)
            }
            (State::Completed, Event::Ack) => self.confirm(now, timers),
            (State::Completed, Event::TimerH) => self.terminate(To::CompletedTimerH).and(Action::NoAck),
            (State::Completed, Event::Provisional | Event::Success | Event::Failure) => Actions::NONE,
            (State::Completed, Event::TimerTrying | Event::TimerI | Event::TimerL) => Actions::NONE,

            (State::Confirmed, Event::TimerI) => self.terminate(To::ConfirmedTimerI),
            // The state exists to swallow repeated ACKs.
            (State::Confirmed, Event::Invite | Event::Ack | Event::TransportError) => Actions::NONE,
            (State::Confirmed, Event::Provisional | Event::Success | Event::Failure) => Actions::NONE,
            (State::Confirmed, Event::TimerTrying | Event::TimerG | Event::TimerH | Event::TimerL) => {
                Actions::NONE
            }

            (State::Accepted, Event::Invite) => along(To::AcceptedInvite),
            (State::Accepted, Event::TransportError) => {
                along(To::AcceptedTransportError).and(Action::TransportFailed)
            }
            (State::Accepted, Event::Ack) => along(To::AcceptedAck).and(Action::PassUp),
            (State::Accepted, Event::Success) => along(To::AcceptedSuccess).and(Action::SendOnce),
            (State::Accepted, Event::TimerL) => self.terminate(To::AcceptedTimerL),
            (State::Accepted, Event::Provisional | Event::Failure) => Actions::NONE,
            (State::Accepted, Event::TimerTrying | Event::TimerG | Event::TimerH | Event::TimerI) => {
                Actions::NONE
            }

            (State::Terminated, _) => Actions::NONE,
        }
    }

    fn next_timer(&self) -> Option<(Instant, &'static str, Event)> {
        earliest([
            (self.timer_h, "timer_h", Event::TimerH),
            (self.timer_g, "timer_g", Event::TimerG),
            (self.timer_i, "timer_i", Event::TimerI),
            (self.timer_l, "timer_l", Event::TimerL),
            (self.timer_trying, "timer_trying", Event::TimerTrying),
        ])
    }

    fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}

const fn along(edge: InviteServerEdge) -> Actions {
    Actions::along(Edge::InviteServerEdge(edge))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Run, arrow_tests, exactly};

    fn proceeding() -> Run<InviteServer> {
        Run::start(|now, timers| InviteServer::start(now, false, timers)).0
    }

    fn after(events: &[Event]) -> Run<InviteServer> {
        let mut run = proceeding();
        for event in events {
            run.feed(*event);
        }
        run
    }

    arrow_tests! { InviteServerEdge::ALL;
        passes_the_invite_up => InviteServerEdge::Start, {
            let (run, actions) = Run::start(|now, timers| InviteServer::start(now, false, timers));
            assert_eq!(run.machine.state(), State::Proceeding);
            exactly(actions, &[Action::PassUp])
        }
        answers_a_repeated_invite_with_the_last_provisional_response => InviteServerEdge::ProceedingInvite, {
            let mut run = after(&[Event::Provisional]);
            let actions = run.feed(Event::Invite);
            assert_eq!(run.machine.state(), State::Proceeding);
            exactly(actions, &[Action::Resend])
        }
        sends_each_provisional_response => InviteServerEdge::ProceedingProvisional, {
            let mut run = after(&[Event::Provisional]);
            let actions = run.feed(Event::Provisional);
            assert_eq!((run.machine.state(), run.machine.next_timer()), (State::Proceeding, None));
            exactly(actions, &[Action::SendAndKeep])
        }
        reports_a_transport_error_of_a_provisional_response_and_stays => InviteServerEdge::ProceedingTransportError, {
            let mut run = after(&[Event::Provisional]);
            let actions = run.feed(Event::TransportError);
            assert_eq!(run.machine.state(), State::Proceeding);
            exactly(actions, &[Action::TransportFailed])
        }
        sends_a_2xx_and_does_not_keep_it => InviteServerEdge::ProceedingSuccess, {
            let mut run = after(&[Event::Provisional]);
            let actions = run.feed(Event::Success);
            assert_eq!(run.machine.state(), State::Accepted);
            exactly(actions, &[Action::SendOnce])
        }
        sends_a_failure_and_keeps_it => InviteServerEdge::ProceedingFailure, {
            let mut run = after(&[Event::Provisional]);
            let actions = run.feed(Event::Failure);
            assert_eq!(run.machine.state(), State::Completed);
            exactly(actions, &[Action::SendAndKeep])
        }
        answers_a_repeated_invite_with_the_failure => InviteServerEdge::CompletedInvite, {
            let mut run = after(&[Event::Failure]);
            let actions = run.feed(Event::Invite);
            assert_eq!(run.machine.state(), State::Completed);
            exactly(actions, &[Action::Resend])
        }
        sends_the_failure_again_when_timer_g_fires => InviteServerEdge::CompletedTimerG, {
            let mut run = after(&[Event::Failure]);
            let (name, at, actions) = run.fire();
            assert_eq!((name, at, run.machine.state()), ("timer_g", 500, State::Completed));
            exactly(actions, &[Action::Resend])
        }
        reports_a_transport_error_of_a_failure_and_stays => InviteServerEdge::CompletedTransportError, {
            let mut run = after(&[Event::Failure]);
            let actions = run.feed(Event::TransportError);
            assert_eq!(run.machine.state(), State::Completed);
            exactly(actions, &[Action::TransportFailed])
        }
        stops_repeating_the_failure_when_the_ack_comes => InviteServerEdge::CompletedAck, {
            let mut run = after(&[Event::Failure]);
            let actions = run.feed(Event::Ack);
            assert_eq!(run.machine.state(), State::Confirmed);
            exactly(actions, &[])
        }
        reports_a_missing_ack_when_timer_h_fires => InviteServerEdge::CompletedTimerH, {
            let mut run = after(&[Event::Failure]);
            let (at, actions) = run.fire_until("timer_h");
            assert_eq!((at, run.machine.state()), (32_000, State::Terminated));
            exactly(actions, &[Action::NoAck, Action::Terminate])
        }
        ends_after_the_ack_when_timer_i_fires => InviteServerEdge::ConfirmedTimerI, {
            let mut run = after(&[Event::Failure]);
            run.wait_until(1_000);
            run.feed(Event::Ack);
            let (name, at, actions) = run.fire();
            assert_eq!((name, at, run.machine.state()), ("timer_i", 6_000, State::Terminated));
            exactly(actions, &[Action::Terminate])
        }
        swallows_a_repeated_invite_after_a_2xx => InviteServerEdge::AcceptedInvite, {
            let mut run = after(&[Event::Success]);
            let actions = run.feed(Event::Invite);
            assert_eq!(run.machine.state(), State::Accepted);
            exactly(actions, &[])
        }
        reports_a_transport_error_of_a_2xx_and_stays => InviteServerEdge::AcceptedTransportError, {
            let mut run = after(&[Event::Success]);
            let actions = run.feed(Event::TransportError);
            assert_eq!(run.machine.state(), State::Accepted);
            exactly(actions, &[Action::TransportFailed])
        }
        passes_an_ack_after_a_2xx_up => InviteServerEdge::AcceptedAck, {
            let mut run = after(&[Event::Success]);
            let actions = run.feed(Event::Ack);
            assert_eq!(run.machine.state(), State::Accepted);
            exactly(actions, &[Action::PassUp])
        }
        sends_each_further_2xx => InviteServerEdge::AcceptedSuccess, {
            let mut run = after(&[Event::Success]);
            let actions = run.feed(Event::Success);
            assert_eq!(run.machine.state(), State::Accepted);
            exactly(actions, &[Action::SendOnce])
        }
        ends_after_a_2xx_when_timer_l_fires => InviteServerEdge::AcceptedTimerL, {
            let mut run = proceeding();
            run.wait_until(1_000);
            run.feed(Event::Success);
            let (name, at, actions) = run.fire();
            assert_eq!((name, at, run.machine.state()), ("timer_l", 33_000, State::Terminated));
            exactly(actions, &[Action::Terminate])
        }
    }

    #[test]
    fn sends_100_trying_when_the_transaction_user_is_silent_for_200_ms() {
        let mut run = proceeding();
        let (name, at, actions) = run.fire();
        assert_eq!((name, at), ("timer_trying", 200));
        exactly(actions, &[Action::SendTrying]);
        assert_eq!((run.machine.state(), run.machine.next_timer()), (State::Proceeding, None));
    }

    #[test]
    fn sends_no_100_trying_once_the_transaction_user_has_answered() {
        for answer in [Event::Provisional, Event::Success, Event::Failure] {
            let mut run = after(&[answer]);
            assert!(run.fire_all().iter().all(|timer| timer.0 != "timer_trying"), "{answer:?}");
        }
    }

    #[test]
    fn the_failure_is_repeated_with_intervals_doubling_up_to_t2() {
        let fired = after(&[Event::Failure]).fire_all();
        let resent: Vec<u64> = fired.iter().filter(|t| t.0 == "timer_g").map(|t| t.1).collect();
        assert_eq!(resent, [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
        assert_eq!(fired.last(), Some(&("timer_h", 32_000)));
    }

    #[test]
    fn a_reliable_transport_switches_timer_g_off_and_makes_timer_i_zero() {
        let mut run = Run::start(|now, timers| InviteServer::start(now, true, timers)).0;
        run.feed(Event::Failure);
        assert_eq!(run.machine.next_timer().map(|timer| timer.1), Some("timer_h"));
        run.wait_until(100);
        run.feed(Event::Ack);
        assert_eq!(run.fire_all(), [("timer_i", 100)]);
    }

    #[test]
    fn a_second_final_response_of_another_kind_is_discarded() {
        let mut completed = after(&[Event::Failure]);
        for event in [Event::Provisional, Event::Success, Event::Failure] {
            assert_eq!(completed.feed(event), Actions::NONE);
        }
        let mut accepted = after(&[Event::Success]);
        for event in [Event::Provisional, Event::Failure] {
            assert_eq!(accepted.feed(event), Actions::NONE);
        }
    }

    #[test]
    fn an_ack_before_any_final_response_changes_nothing() {
        let mut run = proceeding();
        assert_eq!(run.feed(Event::Ack), Actions::NONE);
        assert_eq!(run.machine.state(), State::Proceeding);
    }

    #[test]
    fn repeated_acks_and_invites_are_swallowed_once_confirmed() {
        let mut run = after(&[Event::Failure, Event::Ack]);
        for event in [Event::Ack, Event::Invite, Event::TransportError] {
            assert_eq!(run.feed(event), Actions::NONE);
        }
        assert_eq!(run.machine.state(), State::Confirmed);
    }

    #[test]
    fn status_codes_are_sorted_into_their_classes() {
        assert_eq!(Event::of_status(183), Some(Event::Provisional));
        assert_eq!(Event::of_status(202), Some(Event::Success));
        assert_eq!(Event::of_status(302), Some(Event::Failure));
        assert_eq!(Event::of_status(1000), None);
    }
}
