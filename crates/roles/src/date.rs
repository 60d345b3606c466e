//! The Date header (RFC 3261 §20.17): RFC 1123 dates, always in GMT.

use jiff::Timestamp;
use jiff::tz::Offset;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// The Date header for a point of Unix time in seconds, up to the end of the year 9999. Each answer to a REGISTER has
/// one, so it is written without the cost of formatting.
pub(crate) fn format(unix_s: u64) -> [u8; 29] {
    let at = i64::try_from(unix_s).ok().and_then(|unix_s| Timestamp::from_second(unix_s).ok());
    let at = Offset::UTC.to_datetime(at.unwrap_or(Timestamp::MAX));
    let mut date = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    date[..3].copy_from_slice(DAYS[at.weekday().to_sunday_zero_offset() as usize].as_bytes());
    date[8..11].copy_from_slice(MONTHS[at.month() as usize - 1].as_bytes());
    let (century, year) = ((at.year() / 100) as i8, (at.year() % 100) as i8);
    let numbers = [at.day(), century, year, at.hour(), at.minute(), at.second()];
    for (place, number) in [5, 12, 14, 17, 20, 23].into_iter().zip(numbers) {
        date[place] = b'0' + number as u8 / 10;
        date[place + 1] = b'0' + number as u8 % 10;
    }
    date
}

/// The point of Unix time, in seconds, that a Date header says. Elements that send another zone than GMT break the rule
/// and are understood all the same; what can't be read is passed over.
pub(crate) fn parse(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    Some(jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_second())
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
        // No year has five digits.
        assert_eq!(&format(253_402_207_200), b"Thu, 30 Dec 9999 22:00:00 GMT");
        assert_eq!(format(u64::MAX), format(253_402_207_200));
    }
}
