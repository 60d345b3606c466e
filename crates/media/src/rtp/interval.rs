//! When to send RTCP (RFC 3550 §6.2, §6.3, A.7).

use std::time::Duration;

use dialtone_wire::time::Instant;

use crate::random::SplitMix64;

/// The minimum interval, halved before the first report (§6.2).
const RTCP_MIN_TIME: Duration = Duration::from_secs(5);
/// Share of the RTCP bandwidth for senders where they are a quarter of the members or less.
const SENDER_BANDWIDTH_FRACTION: f64 = 0.25;
/// e − 3/2: timer reconsideration converges to less than the intended bandwidth (§6.3.1).
const COMPENSATION: f64 = std::f64::consts::E - 1.5;
/// The most members with which a BYE goes out at once (§6.3.7).
pub const BYE_IMMEDIATE_MEMBERS_MAX: usize = 50;
/// Octets of IPv4 and UDP headers, which count into the average size (§6.2).
pub(super) const LOWER_LAYERS_LEN: usize = 28;

/// What the interval depends on beside chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RtcpBandwidth {
    /// Members of the session, this one included.
    pub members: usize,
    /// Senders among them.
    pub senders: usize,
    /// RTCP bandwidth of the whole session in octets per second; 5 % of the session bandwidth.
    pub rtcp_octets_per_second: f64,
    /// Whether this participant sent RTP since the second last report.
    pub we_sent: bool,
    /// Average size of compound packets in octets, lower layers included.
    pub average_size: f64,
    /// Whether no report was sent yet.
    pub initial: bool,
}

/// The deterministic calculated interval Td (§6.3.1, steps 1 to 3).
pub fn deterministic_interval(state: &RtcpBandwidth) -> Duration {
    let minimum = if state.initial { RTCP_MIN_TIME / 2 } else { RTCP_MIN_TIME };
    let (members, senders) = (state.members as f64, state.senders as f64);
    let (share, count) = if senders > members * SENDER_BANDWIDTH_FRACTION {
        (1.0, members)
    } else if state.we_sent {
        (SENDER_BANDWIDTH_FRACTION, senders)
    } else {
        (1.0 - SENDER_BANDWIDTH_FRACTION, members - senders)
    };
    let seconds = state.average_size * count / (state.rtcp_octets_per_second * share);
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).max(minimum)
}

/// The interval T of the drawn number 0 ≤ `unit` < 1 (§6.3.1, steps 4 and 5).
pub fn randomized_interval(deterministic: Duration, unit: f64) -> Duration {
    Duration::try_from_secs_f64(deterministic.as_secs_f64() * (unit + 0.5) / COMPENSATION)
        .unwrap_or(Duration::MAX)
}

/// What the timer waits to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Report,
    Bye,
}

/// The state of A.7: tp, tn, pmembers, initial, avg_rtcp_size.
#[derive(Clone, Debug)]
pub(super) struct RtcpTimer {
    last_sent: Instant,
    next: Instant,
    members_before: usize,
    initial: bool,
    average_size: f64,
    rtcp_octets_per_second: f64,
    pub(super) awaited: Awaited,
    /// Members counted anew while waiting to send a BYE (§6.3.7).
    bye_members: usize,
}

impl RtcpTimer {
    /// Begins at `now` (§6.3.2) with the probable size of the first packet.
    pub(super) fn new(now: Instant, rtcp_octets_per_second: f64, first_size: usize, unit: f64) -> RtcpTimer {
        let mut timer = RtcpTimer {
            last_sent: now,
            next: now,
            members_before: 1,
            initial: true,
            average_size: (first_size + LOWER_LAYERS_LEN) as f64,
            rtcp_octets_per_second: rtcp_octets_per_second.max(1.0),
            awaited: Awaited::Report,
            bye_members: 1,
        };
        timer.next = now + randomized_interval(timer.deterministic(1, 0, false), unit);
        timer
    }

    /// tn: the next time at which [`RtcpTimer::expire`] wants to run.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn deterministic(&self, members: usize, senders: usize, we_sent: bool) -> Duration {
        deterministic_interval(&RtcpBandwidth {
            members,
            senders,
            rtcp_octets_per_second: self.rtcp_octets_per_second,
            we_sent,
            average_size: self.average_size,
            initial: self.initial,
        })
    }

    /// Runs the timer reconsideration of §6.3.6; whether the packet is to be sent now. For reports the caller calls
    /// [`RtcpTimer::sent`] afterwards.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        members: usize,
        senders: usize,
        we_sent: bool,
        random: &mut SplitMix64,
    ) -> bool {
        let (members, senders, we_sent) = match self.awaited {
            Awaited::Report => (members, senders, we_sent),
            Awaited::Bye => (self.bye_members, 0, false),
        };
        let interval = randomized_interval(self.deterministic(members, senders, we_sent), random.next_unit());
        let due = self.last_sent + interval;
        self.members_before = members;
        if due > now {
            self.next = due;
            return false;
        }
        true
    }

    /// Notes a sent report and draws the next interval.
    pub(super) fn sent(
        &mut self,
        now: Instant,
        size: usize,
        members: usize,
        senders: usize,
        we_sent: bool,
        random: &mut SplitMix64,
    ) {
        self.note_size(size);
        self.last_sent = now;
        // A.7 draws the next interval before `initial` falls, §6.3.6 after. The text says first "tn is set to
        // tc + T" and then "initial is set to FALSE"; so does this.
        let interval = randomized_interval(self.deterministic(members, senders, we_sent), random.next_unit());
        self.next = now + interval;
        self.initial = false;
    }

    /// Updates the average size with a packet sent or received (§6.3.3).
    pub(super) fn note_size(&mut self, size: usize) {
        self.average_size += ((size + LOWER_LAYERS_LEN) as f64 - self.average_size) / 16.0;
    }

    /// Reverse reconsideration (§6.3.4), when the number of members fell.
    pub(super) fn members_fell(&mut self, now: Instant, members: usize) {
        if self.awaited == Awaited::Bye || members >= self.members_before {
            return;
        }
        let ratio = members as f64 / self.members_before as f64;
        self.next = now + self.next.since(now).mul_f64(ratio);
        let since = now.since(self.last_sent).mul_f64(ratio);
        self.last_sent = Instant::from_nanos(now.as_nanos().saturating_sub(since.as_nanos() as u64));
        self.members_before = members;
    }

    /// Begins the BYE back-off (§6.3.7).
    pub(super) fn await_bye(&mut self, now: Instant, bye_size: usize, random: &mut SplitMix64) {
        self.awaited = Awaited::Bye;
        self.last_sent = now;
        self.bye_members = 1;
        self.members_before = 1;
        self.initial = true;
        self.average_size = (bye_size + LOWER_LAYERS_LEN) as f64;
        self.next = now + randomized_interval(self.deterministic(1, 0, false), random.next_unit());
    }

    /// Notes a BYE that came while ours waits.
    pub(super) fn note_bye(&mut self, size: usize) {
        self.bye_members = self.bye_members.saturating_add(1);
        self.note_size(size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_PARTIES: RtcpBandwidth = RtcpBandwidth {
        members: 2,
        senders: 2,
        rtcp_octets_per_second: 500.0,
        we_sent: true,
        average_size: 100.0,
        initial: false,
    };

    #[test]
    fn the_minimum_is_five_seconds_and_half_of_it_at_first() {
        assert_eq!(deterministic_interval(&TWO_PARTIES), Duration::from_secs(5));
        let initial = RtcpBandwidth { initial: true, ..TWO_PARTIES };
        assert_eq!(deterministic_interval(&initial), Duration::from_millis(2500));
    }

    #[test]
    fn senders_get_a_quarter_of_the_bandwidth_where_they_are_few() {
        // 1000 members, 10 of them senders, 500 octets a second: senders 100·10/(500·¼) = 8 s,
        // receivers 100·990/(500·¾) = 264 s.
        let many = RtcpBandwidth { members: 1000, senders: 10, ..TWO_PARTIES };
        assert_eq!(deterministic_interval(&many), Duration::from_secs(8));
        let receiver = RtcpBandwidth { we_sent: false, ..many };
        assert_eq!(deterministic_interval(&receiver), Duration::from_secs(264));
    }

    #[test]
    fn all_share_alike_where_senders_are_more_than_a_quarter() {
        // 100 · 400 / 500 = 80 s for both.
        let many = RtcpBandwidth { members: 400, senders: 101, ..TWO_PARTIES };
        assert_eq!(deterministic_interval(&many), Duration::from_secs(80));
        assert_eq!(
            deterministic_interval(&RtcpBandwidth { we_sent: false, ..many }),
            Duration::from_secs(80)
        );
        // Exactly a quarter is not more: 100·300/(500·¾) = 80 s for receivers, 100·100/(500·¼) = 80 s for senders.
        let quarter = RtcpBandwidth { members: 400, senders: 100, ..many };
        assert_eq!(deterministic_interval(&quarter), Duration::from_secs(80));
    }

    #[test]
    fn the_drawn_interval_lies_between_half_and_one_and_a_half_over_e_minus_three_halves() {
        let base = Duration::from_secs(5);
        assert!((randomized_interval(base, 0.0).as_secs_f64() - 2.5 / 1.21828).abs() < 1e-4);
        assert!((randomized_interval(base, 1.0).as_secs_f64() - 7.5 / 1.21828).abs() < 1e-4);
    }

    #[test]
    fn reports_of_two_parties_come_each_five_seconds_on_average() {
        let mut random = SplitMix64::new(1);
        let mut now = Instant::START;
        let mut timer = RtcpTimer::new(now, 500.0, 100, random.next_unit());
        let mut sent = 0;
        while now < Instant::from_millis(50_000_000) {
            now = timer.next();
            if timer.expire(now, 2, 2, true, &mut random) {
                timer.sent(now, 72, 2, 2, true, &mut random);
                sent += 1;
            }
        }
        let mean = 50_000.0 / f64::from(sent);
        assert!((4.9..5.1).contains(&mean), "{mean}");
    }

    #[test]
    fn the_traffic_of_a_large_group_keeps_to_its_bandwidth() {
        // One of 1000 receivers: each may send 100 octets in 100·1000/(500·¾) = 267 s.
        let mut random = SplitMix64::new(2);
        let mut now = Instant::START;
        let mut timer = RtcpTimer::new(now, 500.0, 72, random.next_unit());
        let (mut sent, mut drawn) = (0, 0);
        while now < Instant::from_millis(1_000_000_000) {
            now = timer.next();
            drawn += 1;
            if timer.expire(now, 1000, 0, false, &mut random) {
                timer.sent(now, 72, 1000, 0, false, &mut random);
                sent += 1;
            }
        }
        let mean = 1_000_000.0 / f64::from(sent);
        assert!((260.0..274.0).contains(&mean), "{mean}");
        assert!(drawn > sent, "reconsideration never postponed a report");
    }

    #[test]
    fn reverse_reconsideration_brings_the_next_report_nearer() {
        let mut random = SplitMix64::new(3);
        let mut timer = RtcpTimer::new(Instant::START, 500.0, 72, 0.5);
        timer.expire(Instant::from_millis(1), 1000, 0, false, &mut random);
        timer.next = Instant::from_millis(200_000);
        timer.last_sent = Instant::from_millis(0);
        timer.members_fell(Instant::from_millis(100_000), 500);
        // tn = 100 + 500/1000 · (200 − 100), tp = 100 − 500/1000 · (100 − 0).
        assert_eq!(timer.next(), Instant::from_millis(150_000));
        assert_eq!(timer.last_sent, Instant::from_millis(50_000));
        assert_eq!(timer.members_before, 500);
        timer.members_fell(Instant::from_millis(100_000), 600);
        assert_eq!(timer.next(), Instant::from_millis(150_000), "growth changes nothing");
    }

    #[test]
    fn a_bye_waits_longer_the_more_byes_are_heard() {
        let mut random = SplitMix64::new(4);
        let mut timer = RtcpTimer::new(Instant::START, 500.0, 72, 0.5);
        timer.await_bye(Instant::START, 72, &mut random);
        for _ in 0..1000 {
            timer.note_bye(72);
        }
        let first = timer.next();
        assert!(first < Instant::from_millis(3100), "{first:?}");
        assert!(!timer.expire(first, 2, 2, true, &mut random), "1001 leaving members must not flood");
        assert!(timer.next() > Instant::from_millis(100_000), "{:?}", timer.next());
    }
}
