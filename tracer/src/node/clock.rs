//! The clock of every event, and how it stands to the clock on the wall.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Less than this between two clocks, in ns, may be the time that reading them takes: no suspension is that short.
const NOISE: i64 = 10_000_000;

/// Nanoseconds since boot, suspended time included (`CLOCK_BOOTTIME`): the clock of
/// [`crate::event::Event::at`] and of `bpf_ktime_get_boot_ns()`.
#[must_use]
pub fn boottime_ns() -> u64 {
    u64::try_from(nanoseconds(clock_gettime(ClockId::Boottime))).unwrap_or(0)
}

/// Nanoseconds to add to [`boottime_ns`] to have UTC since 1970, as the wall clock stands now.
#[must_use]
pub fn wall_offset() -> i64 {
    // The wall is read between two readings of the other clock: a wait in between counts half.
    let before = nanoseconds(clock_gettime(ClockId::Boottime));
    let wall = nanoseconds(clock_gettime(ClockId::Realtime));
    let after = nanoseconds(clock_gettime(ClockId::Boottime));
    wall - (before + (after - before) / 2)
}

/// By how many ns boot time is ahead of `CLOCK_MONOTONIC`, the clock of systemd: the time that the machine was suspended.
#[must_use]
pub fn suspended() -> u64 {
    let before = nanoseconds(clock_gettime(ClockId::Monotonic));
    let boot = nanoseconds(clock_gettime(ClockId::Boottime));
    let after = nanoseconds(clock_gettime(ClockId::Monotonic));
    // It cannot be behind; where they are the same, the two readings say less than nothing.
    match boot - (before + (after - before) / 2) {
        noise if noise < NOISE => 0,
        ahead => ahead.unsigned_abs(),
    }
}

/// 64 bits of nanoseconds reach until the year 2262.
fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn boot_time_is_what_proc_uptime_says() {
        let uptime = || -> f64 {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            text.split_whitespace().next().unwrap().parse().unwrap()
        };
        let before = uptime();
        let now = boottime_ns() as f64 / 1e9;
        // The file has hundredths of a second, rounded down.
        assert!(before <= now && now <= uptime() + 0.011, "{before} {now}");
    }

    #[test]
    fn boot_time_and_offset_give_the_wall_clock() {
        let since_1970 = || {
            i64::try_from(
                SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap()
                    .as_nanos(),
            )
            .unwrap()
        };
        let before = since_1970();
        let offset = wall_offset();
        let now = i64::try_from(boottime_ns()).unwrap() + offset;
        let slack = 10_000_000;
        assert!(before - slack <= now && now <= since_1970() + slack);
    }
}
