//! What keeps a process from running at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{cgroup, text};
use crate::event::Held;

/// What keeps the process from running, if anything does; `None` also where it has ended or may not be looked at.
///
/// Of cgroup v2 the kernel tells that a group is frozen. Where that is not to be read, and in v1, the place where the process
/// waits tells: `do_freezer_trap` (kernel/signal.c), which may be a part of `get_signal`, where others wait as well; of v1
/// `__refrigerator` (kernel/freezer.c).
pub(crate) fn held(pid: u32) -> Option<Held> {
    let stat = text::read(format!("/proc/{pid}/stat")).ok()?;
    match state(&stat)? {
        'T' if is_in_background(&stat) => Some(Held::Suspended),
        'T' => Some(Held::Stopped),
        't' => Some(Held::Traced),
        'S' | 'D' => (is_in_frozen_group(pid) || waits_frozen(pid)).then_some(Held::Frozen),
        _ => None,
    }
}

fn is_in_frozen_group(pid: u32) -> bool {
    // Nobody mounts it anew while a node runs.
    static ROOT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let groups = text::read(format!("/proc/{pid}/cgroup"));
    let root = ROOT.get_or_init(cgroup::v2).as_ref();
    root.zip(groups.ok())
        .is_some_and(|(root, groups)| is_frozen(root, &groups))
}

/// The group of v2 in these lines of /proc/PID/cgroup is frozen, by itself or by one above it. The root never is.
fn is_frozen(root: &Path, groups: &str) -> bool {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let events = path.and_then(|path| fs::read_to_string(root.join(path).join("cgroup.events")).ok());
    events.is_some_and(|events| events.lines().any(|line| line == "frozen 1"))
}

fn waits_frozen(pid: u32) -> bool {
    let place = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    matches!(place.trim(), "do_freezer_trap" | "__refrigerator")
}

/// What stands in /proc/PID/stat behind the name, which may hold anything (proc_pid_stat(5)): the state first.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    behind.split_ascii_whitespace()
}

fn state(stat: &str) -> Option<char> {
    fields(stat).next()?.chars().next()
}

/// The process has a terminal, and another group of processes is in front of it: when a job is stopped its shell is.
fn is_in_background(stat: &str) -> bool {
    // State, parent, group, session, terminal, and the group in front of that.
    let fields: Vec<&str> = fields(stat).take(6).collect();
    matches!(fields[..], [_, _, group, _, terminal, front] if terminal != "0" && front != group)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Ends the process whatever becomes of the test.
    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Takes a folder away whatever becomes of the test.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_process_that_is_stopped_is_told_and_one_that_runs_is_none() {
        let sleeper = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn();
        let sleeper = Sleeper(sleeper.unwrap());
        let pid = sleeper.0.id();
        assert_eq!(held(pid), None);
        let stopped = Command::new("kill").args(["-STOP", &pid.to_string()]).status();
        assert!(stopped.unwrap().success());
        // The signal is taken when the process next runs.
        while held(pid).is_none() {
            std::thread::yield_now();
        }
        assert_eq!(held(pid), Some(Held::Stopped));
        drop(sleeper);
        assert_eq!(held(pid), None, "it has ended");
    }

    /// As on a node that has v1 beside it, and as `systemctl freeze` leaves a unit.
    #[test]
    fn the_kernel_says_of_a_group_that_it_is_frozen() {
        let folder = format!("tracer-frozen-{}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(folder));
        let root = &folder.0;
        let groups = "4:freezer:/\n1:name=systemd:/other\n0::/system.slice/web.service\n";
        let group = root.join("system.slice/web.service");
        fs::create_dir_all(&group).unwrap();
        assert!(!is_frozen(root, groups), "nothing says so");
        for (events, is) in [
            ("populated 1\nfrozen 1\n", true),
            ("populated 1\nfrozen 0\n", false),
        ] {
            fs::write(group.join("cgroup.events"), events).unwrap();
            assert_eq!(is_frozen(root, groups), is, "{events}");
            assert!(!is_frozen(root, "0::/\n"), "it is another's");
        }
    }

    #[test]
    fn the_state_stands_behind_a_name_that_may_be_any() {
        assert_eq!(state("7 (a) T b) t 1 7"), Some('t'));
        assert_eq!(state(""), None);
    }

    #[test]
    fn a_job_that_was_stopped_is_in_the_background_of_its_terminal() {
        for (stat, is) in [
            ("7 (vi) T 5 7 5 34816 5 0", true),
            ("7 (vi) T 5 7 5 34816 7 0", false),
            ("7 (daemon) T 1 7 7 0 -1 0", false),
            ("7 (vi) T 5 7", false),
            ("", false),
        ] {
            assert_eq!(is_in_background(stat), is, "{stat}");
        }
    }
}
