//! The Date header (RFC 3261 §20.17): RFC 1123 dates, always in GMT.

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// The Date header for a point of Unix time in seconds, up to the end of the year 9999. Each answer to a REGISTER has
/// one, so it is written without the cost of formatting.
pub(crate) fn format(unix_s: u64) -> [u8; 29] {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let weekday = DAYS[(days % 7) as usize];
    let mut date = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    date[..3].copy_from_slice(weekday.as_bytes());
    date[8..11].copy_from_slice(MONTHS[month].as_bytes());
    for (at, number) in [(5, day), (12, year / 100), (14, year % 100), (17, hour), (20, minute), (23, second)]
    {
        date[at] = b'0' + (number / 10 % 10) as u8;
        date[at + 1] = b'0' + (number % 10) as u8;
    }
    date
}

/// The point of Unix time, in seconds, that a Date header says. Elements that send another zone than GMT break the rule
/// and are understood all the same; what can't be read is passed over.
pub(crate) fn parse(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    Some(jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_second())
}

/// Year, month (from 0) and day of a number of days since 1970-01-01, counted in eras of 400 years that begin
/// on 1 March of the year 0, so that the leap day is the last of its year.
const fn civil(days: u64) -> (u64, usize, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + if month < 2 { 1 } else { 0 };
    (year, month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_written_and_passes_over_what_is_no_date() {
        for unix_s in [0, 951_782_400, 970_643_674, 1_795_305_600] {
            assert_eq!(parse(&format(unix_s)), Some(unix_s as i64));
        }
        assert_eq!(parse(b" Sat, 13 Nov 2010 23:29:00 GMT "), Some(1_289_690_940));
        for bad in [&b""[..], b"Fri, 32 Jan 2010 16:00:00 GMT", b"2010-11-13T23:29:00Z", b"\xff"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn formats_known_dates() {
        assert_eq!(&format(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&format(970_643_674), b"Wed, 04 Oct 2000 07:14:34 GMT");
        assert_eq!(&format(951_782_399), b"Mon, 28 Feb 2000 23:59:59 GMT");
        assert_eq!(&format(951_782_400), b"Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(&format(1_795_305_600), b"Sun, 22 Nov 2026 00:00:00 GMT");
    }
}
