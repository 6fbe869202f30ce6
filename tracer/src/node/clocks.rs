//! How the clocks of the node stand to one another, and that one was set.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::clock;
use super::source::{Gone, Teller};
use crate::event::{Body, Capability, CapabilityState, Clock, Notice, NoticeKind};

/// The capability of this source.
pub const CAPABILITY: &str = "clock";
/// What is not seen without it.
pub const LOST: &str = "that the clock was set, or the machine suspended, is not seen";

/// Less than this is not told, in ns: 10 ms.
const NOTABLE: u64 = 10_000_000;
/// From one look to the next at what the kernel does not tell: a clock that is made faster or slower (`adjtimex(2)`).
const LOOK: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// Tells how the clocks stand, and when that has changed, until the source is to end.
pub fn run(teller: &Teller) {
    let (state, why) = match watch(teller) {
        Ok(Gone) => return,
        Err(error) => (
            CapabilityState::Unavailable,
            format!("the kernel does not tell when the clock is set: {error}; {LOST}"),
        ),
    };
    // Nobody may take it any more: then it ends as well.
    let _ = teller.tell(Body::Capability(capability(state, why)));
}

fn capability(state: CapabilityState, why: String) -> Capability {
    Capability {
        name: CAPABILITY.to_owned(),
        state,
        why,
    }
}

fn watch(teller: &Teller) -> rustix::io::Result<Gone> {
    // It never elapses: it is cancelled when the clock is set, and when the machine wakes up (timerfd_create(2)).
    let timer = timerfd_create(
        TimerfdClockId::Realtime,
        TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
    )?;
    arm(&timer)?;
    let mut told = now();
    let first = [
        Body::Clock(told),
        Body::Capability(capability(CapabilityState::Available, String::new())),
    ];
    for body in first {
        if let Err(gone) = teller.tell(body) {
            return Ok(gone);
        }
    }
    loop {
        let stop = teller.stop();
        let mut fds = [
            PollFd::from_borrowed_fd(stop, PollFlags::IN),
            PollFd::new(&timer, PollFlags::IN),
        ];
        match poll(&mut fds, Some(&LOOK)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        if !fds[0].revents().is_empty() {
            return Ok(Gone);
        }
        let was_set = !fds[1].revents().is_empty();
        if was_set {
            arm(&timer)?;
        }
        let clock = now();
        let Some(change) = change(told, clock) else {
            continue;
        };
        told = clock;
        let notice = Body::Notice(Notice {
            kind: NoticeKind::Clock,
            text: change.words(),
            by: None,
        });
        // One that was only made faster is no news.
        for body in [Body::Clock(clock)].into_iter().chain(was_set.then_some(notice)) {
            if let Err(gone) = teller.tell(body) {
                return Ok(gone);
            }
        }
    }
}

/// Winds the timer up, also after it was cancelled.
fn arm(timer: impl std::os::fd::AsFd) -> rustix::io::Result<()> {
    let never = Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: Timespec {
            tv_sec: i64::MAX / 2_000_000_000,
            tv_nsec: 0,
        },
    };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    match timerfd_settime(timer, flags, &never) {
        // It is wound up all the same, and says that the clock was set before.
        Ok(_) | Err(Errno::CANCELED) => Ok(()),
        Err(error) => Err(error),
    }
}

fn now() -> Clock {
    Clock {
        suspended: clock::suspended(),
        wall_offset: clock::wall_offset(),
    }
}

/// What two looks at the clocks differ by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    /// By so many ns the machine was suspended.
    suspended: u64,
    /// By so many ns the wall clock was set forward.
    forward: i64,
}

/// What is notable of the change from one look to another.
fn change(before: Clock, after: Clock) -> Option<Change> {
    let change = Change {
        suspended: after.suspended.saturating_sub(before.suspended),
        forward: after.wall_offset.saturating_sub(before.wall_offset),
    };
    (change.suspended > NOTABLE || change.forward.unsigned_abs() > NOTABLE).then_some(change)
}

impl Change {
    fn words(self) -> String {
        let mut words = Vec::new();
        if self.suspended > NOTABLE {
            words.push(format!(
                "the machine was suspended for {:.3} s",
                self.suspended as f64 / 1e9
            ));
        }
        if self.forward.unsigned_abs() > NOTABLE {
            let way = if self.forward > 0 { "forward" } else { "back" };
            let by = self.forward.unsigned_abs() as f64 / 1e9;
            words.push(format!("the clock was set {way} by {by:.3} s"));
        }
        words.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::channel;

    use super::*;
    use crate::node::source::Source;

    fn clocks(suspended: u64, wall_offset: i64) -> Clock {
        Clock {
            suspended,
            wall_offset,
        }
    }

    #[test]
    fn only_what_is_notable_is_a_change() {
        let before = clocks(5, 1_000_000_000_000);
        let words = |after| change(before, after).map(Change::words);
        assert_eq!(words(before), None);
        assert_eq!(words(clocks(5, 1_000_010_000_000)), None);
        assert_eq!(
            words(clocks(5, 999_000_000_000)).as_deref(),
            Some("the clock was set back by 1.000 s")
        );
        assert_eq!(
            words(clocks(3_000_000_005, 1_000_020_000_000)).as_deref(),
            Some("the machine was suspended for 3.000 s; the clock was set forward by 0.020 s")
        );
    }

    #[test]
    fn the_clocks_are_told_at_the_start() {
        let (sender, mut events) = channel(4);
        let source = Source::start("clock", sender, run).unwrap();
        let Some(Body::Clock(clock)) = events.blocking_recv().map(|event| event.body) else {
            panic!("no clock is told");
        };
        assert_eq!(change(clock, now()), None);
        let Some(Body::Capability(told)) = events.blocking_recv().map(|event| event.body) else {
            panic!("no capability is told");
        };
        assert_eq!(
            (told.name.as_str(), told.state),
            ("clock", CapabilityState::Available)
        );
        drop(events);
        drop(source);
    }
}
