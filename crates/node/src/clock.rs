//! The only place that reads the time.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dialtone_wire::time::Instant;
use smol_str::SmolStr;

/// Seconds from the start of NTP's time (1900) to that of Unix (RFC 5905 §6).
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

/// The start of the time line of this process, which all its engines share.
static START: OnceLock<Start> = OnceLock::new();

struct Start {
    monotonic: std::time::Instant,
    unix: Duration,
}

#[allow(clippy::disallowed_methods, reason = "this is the clock that all others take `now` from")]
fn start() -> &'static Start {
    START.get_or_init(|| Start {
        monotonic: std::time::Instant::now(),
        unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    })
}

/// The time now, on the monotonic time line of this process.
#[allow(clippy::disallowed_methods, reason = "this is the clock that all others take `now` from")]
pub fn now() -> Instant {
    // The start first: the time line begins with the first question for the time.
    let begin = start().monotonic;
    let elapsed = std::time::Instant::now().saturating_duration_since(begin);
    Instant::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

/// Seconds of Unix time at [`Instant::START`].
pub fn unix_start_s() -> u64 {
    start().unix.as_secs()
}

/// Seconds of Unix time now, by the clock of the machine.
#[allow(clippy::disallowed_methods, reason = "this is the clock that all others take `now` from")]
pub(crate) fn unix_now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// One moment by all clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// On the time line of this process.
    pub(crate) now: Instant,
    /// Milliseconds of Unix time, by the clock of the machine, which may be set at any time.
    pub(crate) unix_ms: u64,
    /// Names the start of the machine.
    pub(crate) boot: SmolStr,
    /// Milliseconds since the machine was started, which nobody can set.
    pub(crate) boot_ms: u64,
}

impl Moment {
    /// Milliseconds of Unix time at an earlier or later time of this process.
    pub(crate) fn unix_ms_at(&self, at: Instant) -> u64 {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        self.unix_ms.saturating_add(ms(at.since(self.now))).saturating_sub(ms(self.now.since(at)))
    }
}

/// This moment.
#[allow(clippy::disallowed_methods, reason = "this is the clock that all others take `now` from")]
pub(crate) fn moment() -> Moment {
    static BOOT: OnceLock<SmolStr> = OnceLock::new();
    let boot = BOOT.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        SmolStr::new(id.trim())
    });
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default();
    Moment {
        now: now(),
        unix_ms: u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis())
            .unwrap_or(u64::MAX),
        boot: boot.clone(),
        boot_ms: (seconds * 1000.0) as u64,
    }
}

/// The NTP timestamp (32.32 fixed point) of [`Instant::START`], for RTCP (RFC 3550 §4).
pub(crate) fn ntp_at_start() -> u64 {
    let unix = start().unix;
    let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
    // The seconds of era 0 end in 2036 and begin anew, as the format wants.
    (unix.as_secs().wrapping_add(NTP_TO_UNIX_S) << 32) | fraction
}

/// Lets the calling thread rest.
#[allow(
    clippy::disallowed_methods,
    reason = "a thread that failed keeps out of the way before it starts anew"
)]
pub(crate) fn rest(duration: Duration) {
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_line_begins_with_the_process_and_goes_on() {
        let first = now();
        let second = now();
        assert!(first <= second);
        assert!(first.since(Instant::START) < Duration::from_secs(3600));
    }

    #[test]
    fn ntp_and_unix_time_tell_the_same_second() {
        assert_eq!((ntp_at_start() >> 32) & 0xffff_ffff, (unix_start_s() + NTP_TO_UNIX_S) & 0xffff_ffff);
    }
}
