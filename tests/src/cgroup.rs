//! Cgroups of the lab's own, as systemd makes one for each unit.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::process::check;

/// How long a process that was killed may take to leave its cgroup.
const PATIENCE: Duration = Duration::from_secs(1);

/// Of a cgroup v1: bounds what the kernel keeps for the sockets of its processes, of TCP and of any other protocol that
/// accounts for its memory (`mem_cgroup_charge_skmem`). A v2 has no bound of its own for that.
const SOCKET_MEMORY: &str = "memory.kmem.tcp.limit_in_bytes";

/// Where the cgroup v2 hierarchy is mounted, `None` where it is not.
pub fn hierarchy() -> Option<PathBuf> {
    mounted(|kind, _| kind == "cgroup2")
}

/// Where the cgroup v1 hierarchy is mounted that can bound the memory of sockets, `None` where none is.
pub fn memory_hierarchy() -> Option<PathBuf> {
    mounted(|kind, options| kind == "cgroup" && options.split(',').any(|option| option == "memory"))
        .filter(|folder| folder.join(SOCKET_MEMORY).exists())
}

/// Where something is mounted, by its kind and options.
fn mounted(wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (folder, kind, options) = (words.next()?, words.next()?, words.next()?);
        wanted(kind, options).then(|| PathBuf::from(folder))
    })
}

/// Removes the cgroups of that name and those below them, where there are any. Those in them are given some time to end.
pub fn remove(name: &str) {
    for hierarchy in [hierarchy(), memory_hierarchy()].into_iter().flatten() {
        remove_all(&hierarchy.join(name), Instant::now() + PATIENCE);
    }
}

/// Marks a cgroup of the v2 hierarchy as systemd-oomd does before it kills what is in it (src/oom/oomd-util.c,
/// `oomd_cgroup_kill`): by that systemd knows whose work the kill was.
pub fn mark_as_oomd(cgroup: &str) -> Result<()> {
    let folder = hierarchy().context("no cgroup v2 hierarchy is mounted")?;
    let folder = folder.join(cgroup.trim_start_matches('/'));
    let path = CString::new(folder.as_os_str().as_bytes())?;
    let kills = b"1";
    // SAFETY: name and path end in NUL, the value is as long as is said, and all live through the call.
    let result = unsafe {
        libc::setxattr(
            path.as_ptr(),
            c"user.oomd_ooms".as_ptr(),
            kills.as_ptr().cast(),
            kills.len(),
            0,
        )
    };
    check(result).with_context(|| format!("cannot set an attribute of {}", folder.display()))
}

fn remove_all(folder: &Path, end: Instant) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_all(&entry.path(), end);
        }
    }
    while fs::remove_dir(folder).is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) {
        if Instant::now() > end {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// A cgroup that is removed when the value is dropped.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
    folder: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup of that name in the v2 hierarchy. Needs root.
    pub fn create(name: &str) -> Result<Self> {
        Self::below(&hierarchy().context("no cgroup v2 hierarchy is mounted")?, name)
    }

    /// Makes a cgroup v1 of that name, whose sockets have so much memory. Needs root.
    pub fn with_socket_memory(name: &str, bytes: u64) -> Result<Self> {
        let hierarchy = memory_hierarchy().context("no cgroup v1 bounds the memory of sockets")?;
        let cgroup = Self::below(&hierarchy, name)?;
        cgroup.set_socket_memory(&bytes.to_string())?;
        Ok(cgroup)
    }

    fn below(hierarchy: &Path, name: &str) -> Result<Self> {
        let folder = hierarchy.join(name);
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = format!("/{name}");
        Ok(Self { path, folder })
    }

    /// Of one with a bound: takes it away.
    pub fn free_socket_memory(&self) -> Result<()> {
        self.set_socket_memory("-1")
    }

    fn set_socket_memory(&self, bytes: &str) -> Result<()> {
        let file = self.folder.join(SOCKET_MEMORY);
        fs::write(&file, bytes).with_context(|| format!("cannot write {bytes} to {}", file.display()))
    }

    /// Its path below the mount of the hierarchy, as `/proc/PID/cgroup` has it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Opens its folder, to attach a program.
    pub fn open(&self) -> Result<File> {
        File::open(&self.folder).with_context(|| format!("cannot open {}", self.folder.display()))
    }

    /// Makes `command` run in it, from its start.
    pub fn hold(&self, command: &mut Command) -> Result<()> {
        let path = self.folder.join("cgroup.procs");
        let file = OpenOptions::new()
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        // SAFETY: the closure runs between fork and exec and makes one system call. 0 stands for the caller.
        unsafe {
            command.pre_exec(move || {
                let written = libc::write(file.as_raw_fd(), c"0".as_ptr().cast(), 1);
                if written == -1 {
                    Err(io::Error::last_os_error())
                } else {
                    Ok(())
                }
            });
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove_all(&self.folder, Instant::now() + PATIENCE);
    }
}
