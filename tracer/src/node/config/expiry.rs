//! When the next route ends by itself. Of IPv6 that is so with each that a router has announced for a time: it leads no longer
//! from that moment on, and only half a minute later the kernel looks for those, deletes them and tells it (`fib6_run_gc`). That
//! the time of one is longer by now, as a router announces again and again, it does not tell at all. So the routes are
//! read again when the first one may be over.

use std::time::{Duration, Instant};

/// Times are rounded by the kernel, to 10 ms (`USER_HZ`) at most: one that has no time left may lead for that long.
const ROUNDED: Duration = Duration::from_millis(20);
/// One that is over and not deleted yet may be announced again.
const AGAIN: Duration = Duration::from_secs(2);

/// That moment; `None` where no route ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expiry(Option<Instant>);

impl Expiry {
    /// There is a route which leads for so long; for no time where it is over.
    pub(super) fn note(&mut self, left: Duration, now: Instant) {
        let after = if left.is_zero() {
            AGAIN
        } else {
            left.saturating_add(ROUNDED)
        };
        let at = now.checked_add(after);
        self.0 = self.0.into_iter().chain(at).min();
    }

    /// In how long that is.
    pub(super) fn due(self, now: Instant) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_ends_counts() {
        let now = Instant::now();
        let mut expiry = Expiry::default();
        assert_eq!(expiry.due(now), None);
        expiry.note(Duration::from_secs(9), now);
        expiry.note(Duration::from_secs(5), now);
        expiry.note(Duration::MAX, now);
        let due = Duration::from_secs(5) + ROUNDED;
        assert_eq!(expiry.due(now), Some(due));
        assert_eq!(expiry.due(now + due * 2), Some(Duration::ZERO));
        expiry.note(Duration::ZERO, now);
        assert_eq!(expiry.due(now), Some(AGAIN), "it may be announced again");
    }
}
