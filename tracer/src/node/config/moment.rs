//! From when on what is read now can have been told: the kernel does not say when it told something.
//!
//! A thread that sleeps until something is told is woken by that. So nothing that it then reads is older than its waking, but
//! for the time that it waited for a processor since, which the kernel counts for each thread (`run_delay`,
//! kernel/sched/stats.h). Where it was stopped or frozen meanwhile it was not woken once only: then it is known no better
//! than that nothing is older than its falling asleep.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use libc::c_long;

use super::super::clock;

/// What is measured may be wrong by so much, in ns, as where the machine itself had to wait for a processor: 0.1 s.
const NOISE: u64 = 100_000_000;

/// Tells how a thread fares. It belongs to the thread that made it.
#[derive(Debug)]
pub(super) struct Moments {
    statistics: Option<File>,
}

/// How a thread fared up to some time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment {
    /// Boot time in ns.
    at: u64,
    /// How often it went to sleep; `None` where the kernel does not tell.
    slept: Option<c_long>,
    /// How long it waited for a processor, in ns; `None` where the kernel does not tell.
    waited: Option<u64>,
}

impl Moments {
    /// Those of this thread.
    pub(super) fn of_this_thread() -> Self {
        Self {
            statistics: File::open("/proc/thread-self/schedstat").ok(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        let mut buffer = [0; 96];
        let read = self.statistics.as_ref().map(|file| file.read_at(&mut buffer, 0));
        let text = read.and_then(Result::ok).and_then(|length| buffer.get(..length));
        Moment {
            at: clock::boottime_ns(),
            slept: sleeps(),
            waited: text.and_then(|text| waited(std::str::from_utf8(text).ok()?)),
        }
    }
}

impl Moment {
    /// From when on all can have been told that there is to be read, where the thread waited for that from `before` to this
    /// moment. `None` where it did not sleep: some of it may have been there before.
    pub(super) fn told_since(self, before: Self) -> Option<u64> {
        let (before_it, in_all) = before.slept.zip(self.slept)?;
        let waited = before.waited.zip(self.waited);
        match (in_all - before_it, waited) {
            (0, _) => None,
            (1, Some((before_it, in_all))) => {
                let woken = self.at.saturating_sub(in_all.saturating_sub(before_it));
                Some(woken.saturating_sub(NOISE).max(before.at))
            }
            _ => Some(before.at),
        }
    }
}

/// The second of the numbers of `/proc/PID/schedstat`; `None` where all are 0, as where the kernel does not count.
fn waited(text: &str) -> Option<u64> {
    let numbers = text.split_ascii_whitespace().map(str::parse);
    let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
    match numbers.as_slice() {
        [_, waited, turns] if *turns != 0 => Some(*waited),
        _ => None,
    }
}

/// How often this thread gave its processor away by itself.
fn sleeps() -> Option<c_long> {
    // SAFETY: integers only; all zeros is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `rusage` to where there is room for it.
    let answer = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    (answer == 0).then_some(usage.ru_nvcsw)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn moment(at: u64, slept: c_long, waited: u64) -> Moment {
        Moment {
            at,
            slept: Some(slept),
            waited: Some(waited),
        }
    }

    #[test]
    fn who_sleeps_is_woken_by_what_is_told() {
        let before = moment(10 * SECOND, 7, SECOND);
        let told_since = |after: Moment| after.told_since(before);
        assert_eq!(
            told_since(moment(11 * SECOND, 7, SECOND)),
            None,
            "it did not sleep"
        );
        assert_eq!(
            told_since(moment(11 * SECOND, 8, SECOND)),
            Some(11 * SECOND - NOISE),
            "it was woken just now"
        );
        assert_eq!(
            told_since(moment(11 * SECOND, 8, SECOND + SECOND / 2)),
            Some(10 * SECOND + SECOND / 2 - NOISE),
            "it then waited for a processor"
        );
        assert_eq!(
            told_since(moment(10 * SECOND + 5, 8, SECOND)),
            Some(10 * SECOND),
            "no longer ago than it fell asleep"
        );
        assert_eq!(
            told_since(moment(13 * SECOND, 9, SECOND)),
            Some(10 * SECOND),
            "it was stopped"
        );
        let silent = Moment {
            waited: None,
            ..moment(13 * SECOND, 8, 0)
        };
        assert_eq!(told_since(silent), Some(10 * SECOND), "the kernel does not count");
        assert_eq!(
            told_since(Moment {
                slept: None,
                ..silent
            }),
            None
        );
    }

    #[test]
    fn the_kernel_counts_or_does_not() {
        assert_eq!(waited("72406 1500 12\n"), Some(1500));
        assert_eq!(waited("0 0 0\n"), None);
        assert_eq!(waited("72406 1500"), None);
        assert_eq!(waited(""), None);
    }

    #[test]
    fn this_thread_is_woken_when_somebody_writes() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let moments = Moments::of_this_thread();
        let before = moments.now();
        assert_eq!(moments.now().told_since(before), None);
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            let written = clock::boottime_ns();
            there.write_all(b"x").unwrap();
            written
        });
        let before = moments.now();
        here.read_exact(&mut [0]).unwrap();
        let told_since = moments.now().told_since(before).unwrap();
        let written = writer.join().unwrap();
        assert!(
            (before.at..=written).contains(&told_since),
            "{told_since} {written}"
        );
    }
}
