//! How long packets must wait so that nearly all are there in time: the target delay of the jitter buffer.

/// Samples in one step of the histogram, 5 ms at 8 kHz.
const STEP: u32 = 40;
/// Steps in the histogram: 500 ms.
const STEPS: usize = 100;
/// What a packet's weight shrinks to with each later packet: a memory of some two seconds.
const FORGETTING: f32 = 0.99;
/// The share of packets that shall be in time.
const QUANTILE: f32 = 0.98;
/// Samples until the shortest transit time is looked for anew, 5 s; clock drift is followed that fast.
const BASE_WINDOW: u32 = 40_000;

/// Learns the spread of transit times of a stream.
#[derive(Clone, Debug)]
pub(crate) struct DelayEstimator {
    histogram: [f32; STEPS],
    /// The shortest transit time of the last and of the present window.
    base: Option<(u32, u32)>,
    window_start: u32,
}

impl DelayEstimator {
    pub(crate) fn new() -> DelayEstimator {
        DelayEstimator { histogram: [0.0; STEPS], base: None, window_start: 0 }
    }

    /// Takes in a packet's arrival and timestamp, both in samples.
    pub(crate) fn update(&mut self, arrival: u32, timestamp: u32) {
        let transit = arrival.wrapping_sub(timestamp);
        let (last, present) = match self.base {
            None => {
                self.window_start = arrival;
                (transit, transit)
            }
            Some((_, present)) if arrival.wrapping_sub(self.window_start) > BASE_WINDOW => {
                self.window_start = arrival;
                (present, transit)
            }
            Some((last, present)) => (last, shorter(present, transit)),
        };
        self.base = Some((last, present));
        let late = transit.wrapping_sub(shorter(last, present));
        for weight in &mut self.histogram {
            *weight *= FORGETTING;
        }
        let step = ((late / STEP) as usize).min(STEPS - 1);
        self.histogram[step] += 1.0;
    }

    /// Forgets the clocks of the old stream but not the spread.
    pub(crate) fn resynchronize(&mut self) {
        self.base = None;
    }

    /// The delay in samples that has the wanted share of packets in time.
    pub(crate) fn target(&self) -> u32 {
        let total: f32 = self.histogram.iter().sum();
        let mut sum = 0.0;
        for (step, weight) in self.histogram.iter().enumerate() {
            sum += weight;
            if sum >= total * QUANTILE {
                return (step as u32 + 1) * STEP;
            }
        }
        STEPS as u32 * STEP
    }

    /// How long after the fastest packet's arrival a sample with `timestamp` is played at `now`; negative before.
    pub(crate) fn delay_of(&self, now: u32, timestamp: u32) -> i32 {
        match self.base {
            Some((last, present)) => now.wrapping_sub(timestamp).wrapping_sub(shorter(last, present)) as i32,
            None => 0,
        }
    }
}

/// The shorter of two transit times, whose zero is unknown.
fn shorter(left: u32, right: u32) -> u32 {
    if (left.wrapping_sub(right) as i32) < 0 { left } else { right }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_follows_the_spread_up_and_down() {
        let mut estimator = DelayEstimator::new();
        let mut feed = |packets: std::ops::Range<u32>, late: fn(u32) -> u32| {
            for packet in packets {
                estimator.update(5_000_000 + packet * 160 + late(packet), packet.wrapping_mul(160));
            }
            estimator.target()
        };
        assert_eq!(feed(0..200, |_| 0), 40);
        let spread = feed(200..400, |packet| packet % 10 * 80);
        assert!((720..=760).contains(&spread), "{spread}");
        assert_eq!(feed(400..1000, |_| 0), 40);
    }

    #[test]
    fn a_clock_that_drifts_is_followed() {
        let mut estimator = DelayEstimator::new();
        // The sender is 200 ppm slow: packets come ever later, 1 sample in 31 packets.
        for packet in 0..50_000u32 {
            estimator.update(packet * 160 + packet / 31, packet * 160);
        }
        assert!(estimator.target() <= 80, "{}", estimator.target());
    }
}
