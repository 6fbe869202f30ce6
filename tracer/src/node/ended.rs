//! Processes that had ended before anybody could look at them.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::event::EndedProcess;

/// Whoever remembers them: the last one that had a number, as the machine counts.
pub type Memory = Box<dyn Fn(u32) -> Option<EndedProcess> + Send>;

/// The inode of the machine's first pid namespace (`PROC_PID_INIT_INO`, include/uapi/linux/nsfs.h; before 6.19
/// include/linux/proc_ns.h).
const FIRST: u64 = 0xEFFF_FFFC;
/// For so long, in ns, a number is believed to be of the same process or socket: 2 s. Longer ago it may have been another one's, such
/// as that of a process in a container.
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

    /// Somebody remembers processes that have ended: one of the machine's that is not among them has not just ended.
    pub(super) fn is_told(&self) -> bool {
        self.0.is_some()
    }

    /// The process with this number that has just ended, and did so in this network namespace. `now` is boot time in ns.
    pub(super) fn just(&self, pid: u32, netns: u32, now: u64) -> Option<EndedProcess> {
        let ended = self.0.as_ref()?(pid)?;
        (ended.netns == netns && now.saturating_sub(ended.at) < WHILE).then_some(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Parent;

    #[test]
    fn only_who_has_just_ended_there_is_believed() {
        const SECOND: u64 = 1_000_000_000;
        let memory = |pid: u32| {
            (pid == 7).then(|| EndedProcess {
                at: 10 * SECOND,
                command: "ip".to_owned(),
                parent: Parent {
                    pid: 6,
                    command: "bash".to_owned(),
                },
                cgroup: 1,
                netns: 100,
            })
        };
        let ended = Ended(Some(Box::new(memory)));
        assert_eq!(ended.just(7, 100, 10 * SECOND + 1).unwrap().command, "ip");
        assert_eq!(ended.just(8, 100, 10 * SECOND + 1), None, "not remembered");
        assert_eq!(ended.just(7, 101, 10 * SECOND + 1), None, "elsewhere");
        assert_eq!(ended.just(7, 100, 12 * SECOND), None, "long ago");
        assert_eq!(Ended::new(None).just(7, 100, 1), None);
    }
}
