//! The timer values of RFC 3261 §17 (Table 4) and of RFC 6026 and RFC 4320.

use std::time::Duration;

use dialtone_wire::time::Instant;

/// The base values that all transaction timers are computed from (RFC 3261 §17.1.1.1 and Table 4).
///
/// A timer keeps the value that it was started with: a change of these values concerns timers started later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    t1: Duration,
    t2: Duration,
    t4: Duration,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

impl Timers {
    /// Takes T1 (round-trip estimate), T2 (cap of the retransmission interval) and T4 (how long the network keeps
    /// a message). T1 is raised to 1 ms and lowered to 1 minute, T2 raised to T1 and lowered to 1 hour, T4 lowered
    /// to 1 hour, so that intervals always grow and never overflow.
    pub fn new(t1: Duration, t2: Duration, t4: Duration) -> Timers {
        const HOUR: Duration = Duration::from_secs(3600);
        let t1 = t1.clamp(Duration::from_millis(1), Duration::from_secs(60));
        Timers { t1, t2: t2.clamp(t1, HOUR), t4: t4.min(HOUR) }
    }

    /// T1: the estimate of the round-trip time; 500 ms unless set.
    pub const fn t1(&self) -> Duration {
        self.t1
    }

    /// T2: the longest interval between retransmissions of a non-INVITE request or an INVITE response; 4 s unless
    /// set.
    pub const fn t2(&self) -> Duration {
        self.t2
    }

    /// T4: how long a message may stay in the network; 5 s unless set.
    pub const fn t4(&self) -> Duration {
        self.t4
    }

    /// 64·T1: the length of Timers B, F, H, J, L and M.
    pub const fn transaction_timeout(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    /// Timer D over an unreliable transport. RFC 3261 §17.1.1.2: "at least 32 seconds", because the server's T1 is
    /// not known here; longer if ours is longer.
    pub fn timer_d(&self) -> Duration {
        self.transaction_timeout().max(Duration::from_secs(32))
    }

    /// How long the transaction user may take before a 100 (Trying) answers an INVITE (RFC 3261 §17.2.1).
    pub const fn invite_trying(&self) -> Duration {
        Duration::from_millis(200)
    }

    /// The time it takes a client's Timer E to be reset to T2: before it no 100 (Trying) may answer a non-INVITE
    /// request over an unreliable transport, after it one must (RFC 4320 §4.1). 3.5 s by default.
    pub fn non_invite_trying(&self) -> Duration {
        let mut interval = self.t1;
        let mut elapsed = Duration::ZERO;
        while interval < self.t2 {
            elapsed += interval;
            interval *= 2;
        }
        elapsed
    }

    /// The interval after `interval` when it doubles up to T2 (Timers E and G).
    pub(crate) fn doubled_to_t2(&self, interval: Duration) -> Duration {
        interval.saturating_mul(2).min(self.t2)
    }

    /// `duration` over an unreliable transport, zero over a reliable one (Timers D, I, J and K).
    pub(crate) fn unless_reliable(duration: Duration, reliable: bool) -> Duration {
        if reliable { Duration::ZERO } else { duration }
    }
}

/// Picks the earliest running timer; of several at the same point in time the first in the list.
pub(crate) fn earliest<E: Copy, const N: usize>(
    timers: [(Instant, &'static str, E); N],
) -> Option<(Instant, &'static str, E)> {
    timers.into_iter().filter(|timer| timer.0 != Instant::NEVER).min_by_key(|timer| timer.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_values_are_those_of_table_4() {
        let timers = Timers::default();
        assert_eq!(timers.t1(), Duration::from_millis(500));
        assert_eq!(timers.t2(), Duration::from_secs(4));
        assert_eq!(timers.t4(), Duration::from_secs(5));
        assert_eq!(timers.transaction_timeout(), Duration::from_secs(32));
        assert_eq!(timers.timer_d(), Duration::from_secs(32));
    }

    #[test]
    fn timer_d_is_never_shorter_than_32_seconds() {
        let quick = Timers::new(Duration::from_millis(10), Duration::from_secs(1), Duration::from_secs(1));
        assert_eq!(quick.transaction_timeout(), Duration::from_millis(640));
        assert_eq!(quick.timer_d(), Duration::from_secs(32));
        let slow = Timers::new(Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(5));
        assert_eq!(slow.timer_d(), Duration::from_secs(64));
    }

    #[test]
    fn timer_e_reaches_t2_after_three_and_a_half_seconds() {
        assert_eq!(Timers::default().non_invite_trying(), Duration::from_millis(3500));
    }

    #[test]
    fn absurd_values_are_brought_into_range() {
        let timers = Timers::new(Duration::ZERO, Duration::ZERO, Duration::MAX);
        assert_eq!(timers.t1(), Duration::from_millis(1));
        assert_eq!(timers.t2(), timers.t1());
        assert_eq!(timers.non_invite_trying(), Duration::ZERO);
        assert_eq!(Timers::new(Duration::MAX, Duration::MAX, Duration::ZERO).t1(), Duration::from_secs(60));
    }

    #[test]
    fn of_two_timers_due_at_once_the_first_listed_is_picked() {
        let at = Instant::from_millis(7);
        let picked = earliest([(Instant::NEVER, "a", 1), (at, "b", 2), (at, "c", 3)]);
        assert_eq!(picked, Some((at, "b", 2)));
        assert_eq!(earliest([(Instant::NEVER, "a", 1)]), None);
    }
}
