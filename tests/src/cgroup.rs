//! A cgroup of the lab's own, as systemd makes one for each unit.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long a process that was killed may take to leave its cgroup.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the cgroup v2 hierarchy is mounted, `None` where it is not.
pub fn hierarchy() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (folder, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(folder))
    })
}

/// The folder of the cgroup of that name.
fn folder(name: &str) -> Option<PathBuf> {
    Some(hierarchy()?.join(name))
}

/// Removes the cgroup of that name and those below it, where there are any. Those in them are given some time to end.
pub fn remove(name: &str) {
    if let Some(folder) = folder(name) {
        remove_all(&folder, Instant::now() + PATIENCE);
    }
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
    name: String,
    path: String,
    folder: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup of that name in the v2 hierarchy. Needs root.
    pub fn create(name: String) -> Result<Self> {
        let folder = folder(&name).context("no cgroup v2 hierarchy is mounted")?;
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = format!("/{name}");
        Ok(Self { name, path, folder })
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
        remove(&self.name);
    }
}
