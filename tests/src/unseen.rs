//! How many packets the kernel handled where no BPF program runs.
//!
//! A sandbox may keep its supervisor, which is process 1, from being traced: a soft interrupt that happens on top of
//! it then receives and drops packets that no program is told of, while the kernel's own trace events tell them. It was
//! measured on such a machine: of 18,732 drops a raw tracepoint program counted all but 4, and these 4 were the only
//! ones on top of process 1. On other machines there is no difference, and here it is zero.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result};

use crate::bpf::Counter;
use crate::keeper::Keeper;

/// The process on top of which no program may run.
const SUPERVISOR: u32 = 1;

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
        let names = EVENTS.map(|(_, name)| name);
        let watch = Arc::new(Self {
            programs: Counter::start(SUPERVISOR, &names)?,
            events: Instance::of_process(SUPERVISOR, program)?,
        });
        *shared = Arc::downgrade(&watch);
        Ok(watch)
    }

    /// How many packets arrived or ended without that a program was told, of all namespaces, since it was made.
    ///
    /// # Errors
    /// Where what was counted cannot be read.
    pub fn unseen(&self) -> Result<u64> {
        // The events first: a packet in between is rather not told.
        let events = self.events.count()?;
        Ok(events.saturating_sub(self.programs.read()?))
    }
}

/// The kernel's own account of [`EVENTS`] on top of the threads of a process.
#[derive(Debug)]
struct Instance {
    folder: PathBuf,
    _tracefs: OwnedFd,
    _keeper: Keeper,
}

impl Instance {
    fn of_process(process: u32, program: &Path) -> Result<Self> {
        // There is but one at a time: see `Watch::share`.
        let name = format!("tl-{}-unseen", std::process::id());
        let keeper = Keeper::start(program, std::slice::from_ref(&name))?;
        let tracefs = tracefs().context("cannot mount tracefs")?;
        let folder = instance(&tracefs, &name);
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let instance = Self {
            folder,
            _tracefs: tracefs,
            _keeper: keeper,
        };
        let mut threads = String::new();
        let tasks = format!("/proc/{process}/task");
        for entry in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
            threads += &format!("{} ", entry?.file_name().to_string_lossy());
        }
        instance.write("set_event_pid", &threads)?;
        for (event, _) in EVENTS {
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

/// Removes the instance of that name, where there is one.
pub fn remove(name: &str) {
    if let Ok(tracefs) = tracefs() {
        let _ = fs::remove_dir(instance(&tracefs, name));
    }
}

fn instance(tracefs: &OwnedFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/instances/{name}", tracefs.as_raw_fd()))
}

/// The events in what a CPU's `stats` says: a line each of `entries: 12` and `overrun: 3`.
fn told(stats: &str) -> u64 {
    let lines = stats.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(name, _)| ["entries", "overrun"].contains(name))
        .filter_map(|(_, number)| number.trim().parse::<u64>().ok())
        .sum()
}

/// A mount of tracefs that no other process sees. Not every machine has one where it belongs.
fn tracefs() -> io::Result<OwnedFd> {
    // include/uapi/linux/mount.h
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    let descriptor = |result: libc::c_long| match i32::try_from(result) {
        // SAFETY: the descriptor is new and nobody else's.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: the pointer is to a string that ends in NUL and lives through the call.
    let context = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, c"tracefs".as_ptr(), 0) })?;
    // SAFETY: the command takes neither key nor value.
    let created = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            std::ptr::null::<libc::c_char>(),
            std::ptr::null::<libc::c_char>(),
            0,
        )
    };
    if created != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it takes numbers only.
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 0, 0) })
}
