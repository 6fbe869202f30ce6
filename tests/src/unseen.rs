//! How many packets the kernel handled where it runs no BPF program.
//!
//! A kernel may leave out runs, as where process 1 supervises the machine and is not to be traced: of what a soft
//! interrupt receives and drops on top of it no program is told, while the kernel's own trace events tell it
//! (docs/architecture.md has what was measured). On other machines both count the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result, ensure};

use crate::bpf::Counter;
use crate::keeper::Keeper;
use crate::tracefs::Tracefs;

/// The process on top of which no program may run.
const SUPERVISOR: u32 = 1;

/// What the links in /proc/PID/ns of processes in the first namespace read (include/linux/proc_ns.h, `PROC_PID_INIT_INO`).
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// Of an event that happens there (include/linux/trace_events.h, `TRACE_FLAG_SOFTIRQ`): what the process itself sends and
/// frees is its own.
const IN_SOFT_INTERRUPT: &str = "common_flags & 0x10";

/// What the names of instances end with.
const SUFFIX: &str = "-unseen";

/// The events of a packet that arrives, or ends.
const EVENTS: [(&str, &std::ffi::CStr); 3] = [
    ("net/netif_receive_skb", c"netif_receive_skb"),
    ("skb/consume_skb", c"consume_skb"),
    ("skb/kfree_skb", c"kfree_skb"),
];

/// Counts since it was made. All that watch at a time share one, since each costs the machine a little of every packet.
#[derive(Debug)]
pub struct Watch {
    programs: Counter,
    events: Instance,
}

impl Watch {
    /// The one that there is, or a new one. `program` is the lab's binary.
    ///
    /// # Errors
    /// Where the kernel has no trace events, or refuses.
    pub fn share(program: &Path) -> Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Watch>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = shared.upgrade() {
            return Ok(watch);
        }
        let watch = Arc::new(Self::of_process(SUPERVISOR, program)?);
        *shared = Arc::downgrade(&watch);
        Ok(watch)
    }

    /// One of what happens on top of this process.
    ///
    /// # Errors
    /// As of [`Self::share`].
    pub fn of_process(process: u32, program: &Path) -> Result<Self> {
        let names = EVENTS.map(|(_, name)| name);
        Ok(Self {
            programs: Counter::start(process, &names)?,
            events: Instance::of_process(process, program)?,
        })
    }

    /// How often packets arrived or ended, of all namespaces, by the kernel's own account since it was made.
    ///
    /// # Errors
    /// Where what was counted cannot be read, or may be another process's.
    pub fn told(&self) -> Result<u64> {
        self.events.count()
    }

    /// Of how many of those no program was told.
    ///
    /// # Errors
    /// As of [`Self::told`].
    pub fn unseen(&self) -> Result<u64> {
        // The events first: one in between is rather left out.
        let events = self.told()?;
        Ok(events.saturating_sub(self.programs.read()?))
    }
}

/// The kernel's own account of [`EVENTS`] in soft interrupts on top of the threads of a process.
#[derive(Debug)]
struct Instance {
    folder: PathBuf,
    process: u32,
    /// Those that there were when it was made. What happens on top of later ones is left out.
    threads: Vec<String>,
    _tracefs: Tracefs,
    _keeper: Keeper,
}

impl Instance {
    fn of_process(process: u32, program: &Path) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        ensure!(
            is_first_namespace(),
            "in a namespace of processes it is not known which are which"
        );
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tl-{}-{number}{SUFFIX}", std::process::id());
        let keeper = Keeper::start(program, std::slice::from_ref(&name))?;
        let tracefs = Tracefs::mount()?;
        let folder = instance(&tracefs, &name);
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let instance = Self {
            folder,
            process,
            threads: threads(process)?,
            _tracefs: tracefs,
            _keeper: keeper,
        };
        instance.write("set_event_pid", &instance.threads.join(" "))?;
        for (event, _) in EVENTS {
            instance.write(&format!("events/{event}/filter"), IN_SOFT_INTERRUPT)?;
            instance.write(&format!("events/{event}/enable"), "1")?;
        }
        Ok(instance)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.folder.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {text} to {}", path.display()))
    }

    /// How many there were: those that are kept, and those that were overwritten (kernel/trace/trace.c,
    /// `tracing_stats_read`).
    fn count(&self) -> Result<u64> {
        let there = threads(self.process)?;
        ensure!(
            self.threads.iter().all(|thread| there.contains(thread)),
            "a thread of process {} has ended: another may have its number",
            self.process
        );
        let mut count = 0;
        let folder = self.folder.join("per_cpu");
        for cpu in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = cpu?.path().join("stats");
            let stats =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            count += told(&stats);
        }
        Ok(count)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The keeper tries again.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Removes the instance of that name, where it is one's.
pub fn remove(name: &str) {
    if name.ends_with(SUFFIX)
        && let Ok(tracefs) = Tracefs::mount()
    {
        let _ = fs::remove_dir(instance(&tracefs, name));
    }
}

/// Events and programs name processes as that namespace does.
pub fn is_first_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link == Path::new(FIRST_NAMESPACE))
}

/// The numbers of a process's threads.
fn threads(process: u32) -> Result<Vec<String>> {
    let folder = format!("/proc/{process}/task");
    let threads = fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?;
    threads
        .map(|thread| Ok(thread?.file_name().to_string_lossy().into_owned()))
        .collect()
}

fn instance(tracefs: &Tracefs, name: &str) -> PathBuf {
    tracefs.path("instances").join(name)
}

/// The events in what a CPU's `stats` says: a line each of `entries: 12` and `overrun: 3`.
fn told(stats: &str) -> u64 {
    let lines = stats.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(name, _)| ["entries", "overrun"].contains(name))
        .filter_map(|(_, number)| number.trim().parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn events_are_those_kept_and_those_overwritten() {
        let stats =
            "entries: 12\noverrun: 3\ncommit overrun: 7\nbytes: 480\noldest event ts: 1.5\nread events: 0\n";
        assert_eq!(super::told(stats), 15);
    }
}
