//! Points in time as people and programs read them: UTC by RFC 3339.

use jiff::Timestamp;

/// `YYYY-MM-DDThh:mm:ssZ` (RFC 3339 §5.6) for seconds of Unix time, up to the end of the year 9999.
pub(crate) fn rfc3339(unix_s: u64) -> String {
    let at = i64::try_from(unix_s).ok().and_then(|unix_s| Timestamp::from_second(unix_s).ok());
    format!("{:.0}", at.unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_as_dates() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (u64::MAX, "9999-12-30T22:00:00Z"),
        ] {
            assert_eq!(rfc3339(unix_s), text);
        }
    }
}
