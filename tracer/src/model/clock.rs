//! Times: boot nanoseconds in, UTC text out.

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// Evidence older than this does not count any more: 10 s.
pub(crate) const MEMORY: u64 = 10 * SECOND;

/// Seconds of a span in nanoseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "a span of 104 days is still exact to the nanosecond"
)]
pub(crate) fn seconds(span: u64) -> f64 {
    span as f64 / 1e9
}

/// RFC 3339 in UTC with milliseconds, from nanoseconds since 1970. What lies outside the years 1970 to
/// 9999 becomes the nearest time inside them.
pub(crate) fn rfc3339(nanoseconds: i128) -> String {
    /// The last millisecond of the year 9999.
    const LAST: u64 = 253_402_300_799_999;
    let ms = u64::try_from((nanoseconds / 1_000_000).max(0))
        .unwrap_or(LAST)
        .min(LAST);
    let (days, ms) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, ms) = (ms / 1000 % 60, ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years are taken to begin in March, so that the leap day is the last of a year and months have a
/// regular pattern; a cycle of 400 years has 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (cycle * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn known_times() {
        for (seconds, text) in [
            (0_i64, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_696_744_800, "2023-10-08T06:00:00.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(i128::from(seconds) * 1_000_000_000), text);
        }
        assert_eq!(rfc3339(1_696_744_800_123_999_999), "2023-10-08T06:00:00.123Z");
    }

    #[test]
    fn times_beyond_the_calendar_are_clamped() {
        assert_eq!(rfc3339(i128::MIN), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(i128::MAX), "9999-12-31T23:59:59.999Z");
    }
}
