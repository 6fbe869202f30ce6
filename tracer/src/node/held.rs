//! What keeps a process from running at all.

use std::fs;

use super::text;
use crate::event::Held;

/// What keeps the process from running, if anything does; `None` also where it has ended or may not be looked at.
///
/// A frozen process of cgroup v2 sleeps in `do_freezer_trap` (kernel/signal.c), one of v1 in `__refrigerator`
/// (kernel/freezer.c): only the place where it waits tells.
pub(crate) fn held(pid: u32) -> Option<Held> {
    let stat = text::read(format!("/proc/{pid}/stat")).ok()?;
    match state(&stat)? {
        'T' => Some(Held::Stopped),
        't' => Some(Held::Traced),
        'S' | 'D' => {
            let place = fs::read_to_string(format!("/proc/{pid}/wchan")).ok()?;
            matches!(place.trim(), "do_freezer_trap" | "__refrigerator").then_some(Held::Frozen)
        }
        _ => None,
    }
}

/// The state of /proc/PID/stat, behind the name, which may hold anything (proc_pid_stat(5)).
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
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

    #[test]
    fn the_state_stands_behind_a_name_that_may_be_any() {
        assert_eq!(state("7 (a) T b) t 1 7"), Some('t'));
        assert_eq!(state(""), None);
    }
}
