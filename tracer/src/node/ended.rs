//! Processes that had ended before anybody could look at them.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::event::{EndedProcess, Number};

/// Whoever remembers them: the last one in a network namespace, by its inode, that had a number.
pub type Memory = Box<dyn Fn(Number, u32) -> Option<EndedProcess> + Send>;

/// The inode of the machine's first pid namespace (`PROC_PID_INIT_INO`, include/uapi/linux/nsfs.h; before 6.19
/// include/linux/proc_ns.h).
const FIRST: u64 = 0xEFFF_FFFC;
/// For so long, in ns, a number is believed to be of the same process or socket: 2 s. Longer ago it may have been another one's.
pub(super) const WHILE: u64 = 2_000_000_000;

/// Asks whoever remembers.
#[derive(Default)]
pub(super) struct Ended(Option<Memory>);

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ended").field(&self.0.is_some()).finish()
    }
}

impl Ended {
    /// Asks nobody where there is no memory, or where the tracer counts processes in another way than the machine.
    pub(super) fn new(memory: Option<Memory>) -> Self {
        let first = fs::metadata("/proc/self/ns/pid").is_ok_and(|namespace| namespace.ino() == FIRST);
        Self(memory.filter(|_| first))
    }

    /// Asks this memory, however the tracer counts.
    #[cfg(test)]
    pub(super) fn by(memory: Memory) -> Self {
        Self(Some(memory))
    }

    /// The process with this number that has just ended, not before `since`, and did so in this network namespace. `None`
    /// where two have that each had it in a pid namespace of its own. `since` and `now` are boot time in ns.
    pub(super) fn just(&self, number: Number, netns: u32, since: u64, now: u64) -> Option<EndedProcess> {
        let is_now = |at: u64| at >= since && now.saturating_sub(at) < WHILE;
        let ended = self.0.as_ref()?(number, netns)?;
        (is_now(ended.at) && !ended.other.is_some_and(is_now)).then_some(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Parent;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn only_who_has_just_ended_and_alone_had_the_number_is_believed() {
        let memory = |number: Number, netns: u32| {
            let other = match number {
                Number::Own(7) => None,
                Number::Own(8) => Some(9 * SECOND),
                _ => return None,
            };
            (netns == 100).then(|| EndedProcess {
                at: 10 * SECOND,
                other,
                pid: 2007,
                command: "ip".to_owned(),
                parent: Parent {
                    pid: 6,
                    command: "bash".to_owned(),
                },
                cgroup: 1,
                cgroup_parent: 0,
                cgroup_name: String::new(),
                netns,
            })
        };
        let ended = Ended(Some(Box::new(memory)));
        let just = |number, netns, now| ended.just(number, netns, 0, now).map(|ended| ended.pid);
        assert_eq!(just(Number::Own(7), 100, 10 * SECOND + 1), Some(2007));
        assert_eq!(
            just(Number::Machine(7), 100, 10 * SECOND + 1),
            None,
            "not remembered"
        );
        assert_eq!(just(Number::Own(7), 101, 10 * SECOND + 1), None, "elsewhere");
        assert_eq!(just(Number::Own(7), 100, 12 * SECOND), None, "long ago");
        assert_eq!(just(Number::Own(8), 100, 10 * SECOND + 1), None, "one of two");
        assert_eq!(
            just(Number::Own(8), 100, 11 * SECOND + 1),
            Some(2007),
            "the other one ended long before"
        );
        let since = |since| {
            ended
                .just(Number::Own(8), 100, since, 10 * SECOND + 1)
                .map(|ended| ended.pid)
        };
        assert_eq!(
            since(9 * SECOND + 1),
            Some(2007),
            "the other one cannot have been it"
        );
        assert_eq!(since(10 * SECOND + 1), None, "nor can this one");
        assert_eq!(Ended::new(None).just(Number::Own(7), 100, 0, 1), None);
    }
}
