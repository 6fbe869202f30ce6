//! Times: boot nanoseconds in, UTC text out.

use std::collections::VecDeque;
use std::num::NonZero;

use jiff::Timestamp;

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// Evidence older than this does not count any more: 10 s.
pub(crate) const MEMORY: u64 = 10 * SECOND;

/// A boot time, or never, in one word: very many are kept. Never is before all times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct When(Option<NonZero<u64>>);

impl When {
    /// Never.
    pub(crate) const NEVER: Self = Self(None);

    /// At this time. The moment of the boot is taken for the one after it.
    pub(crate) fn at(time: u64) -> Self {
        Self(NonZero::new(time.max(1)))
    }

    /// The time, `None` for never.
    pub(crate) fn time(self) -> Option<u64> {
        self.0.map(NonZero::get)
    }
}

impl From<Option<u64>> for When {
    fn from(time: Option<u64>) -> Self {
        time.map_or(Self::NEVER, Self::at)
    }
}

/// Times at which the wall clock was told to stand otherwise that are kept, the latest.
const OFFSETS: usize = 1024;

/// How far the wall clock was ahead of the time since the boot, in ns, each from when on.
#[derive(Clone, Debug, Default)]
pub(super) struct Offsets(VecDeque<(u64, i64)>);

impl Offsets {
    /// It is so far ahead from then on.
    pub(super) fn told(&mut self, at: u64, offset: i64) {
        if self.0.len() == OFFSETS {
            self.0.pop_front();
        }
        self.0.push_back((at, offset));
    }

    /// How far it was ahead then: as it was first told, where that was not told yet.
    pub(super) fn at(&self, time: u64) -> i64 {
        let then = self.0.iter().rev().find(|(at, _)| *at <= time);
        then.or(self.0.front()).map_or(0, |(_, offset)| *offset)
    }
}

/// Seconds of a span in nanoseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "a span of 104 days is still exact to the nanosecond"
)]
pub(crate) fn seconds(span: u64) -> f64 {
    span as f64 / 1e9
}

/// RFC 3339 in UTC with milliseconds, from nanoseconds since 1970. What lies before 1970 or beyond the calendar
/// becomes the nearest time inside.
pub(crate) fn rfc3339(nanoseconds: i128) -> String {
    let inside = nanoseconds.clamp(0, Timestamp::MAX.as_nanosecond());
    let time = Timestamp::from_nanosecond(inside).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
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
            (253_402_207_200, "9999-12-30T22:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(i128::from(seconds) * 1_000_000_000), text);
        }
        assert_eq!(rfc3339(1_696_744_800_123_999_999), "2023-10-08T06:00:00.123Z");
    }

    #[test]
    fn times_beyond_the_calendar_are_clamped() {
        assert_eq!(rfc3339(i128::MIN), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(i128::MAX), "9999-12-30T22:00:00.999Z");
    }
}
