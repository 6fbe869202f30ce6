//! Units whose processes are frozen. systemd tells nobody before its version 256, and knows nothing of what a container runtime
//! freezes: but the kernel wakes whoever watches `cgroup.events` of a cgroup (cgroup v2, Documentation/admin-guide/cgroup-v2.rst).

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::super::unwatched;

/// The file of a cgroup that changes as it is frozen.
const EVENTS: &str = "cgroup.events";

/// Cgroups that are watched.
#[derive(Debug, Default)]
pub(super) struct Freezing {
    inotify: Option<AsyncFd<OwnedFd>>,
    /// The units of watches.
    units: BTreeMap<i32, String>,
    /// Units whose cgroup cannot be watched, and why.
    unwatched: BTreeMap<String, String>,
}

impl Freezing {
    /// Watches the cgroup of a unit. One that is watched stays so.
    pub(super) fn watch(&mut self, unit: &str, folder: &Path) {
        match self.add(folder) {
            Ok(watch) => {
                self.unwatched.remove(unit);
                self.units.extend(watch.map(|watch| (watch, unit.to_owned())));
            }
            Err(error) => {
                let why = unwatched::why(&folder.display().to_string(), error);
                self.unwatched.insert(unit.to_owned(), why);
            }
        }
    }

    /// The unit has ended, and its cgroup with it.
    pub(super) fn leave(&mut self, unit: &str) {
        self.unwatched.remove(unit);
    }

    /// `None` where there is no such file: in cgroup v1, and where the cgroup has gone.
    fn add(&mut self, folder: &Path) -> Result<Option<i32>, Errno> {
        if self.inotify.is_none() {
            let new = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            // SAFETY: the descriptor belongs to what is made of it, which never gives it away.
            let registered = unsafe { AsyncFd::register_with_interest(new, Interest::READABLE) };
            let refused = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
            self.inotify = Some(registered.map_err(io::Error::from).map_err(refused)?);
        }
        let Some(inotify) = &self.inotify else {
            return Ok(None);
        };
        match inotify::add_watch(inotify.get_ref(), folder.join(EVENTS), WatchFlags::MODIFY) {
            Ok(watch) => Ok(Some(watch)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until something happened to cgroups, and says of which units. It may be given up at any time without loss.
    pub(super) async fn changed(&mut self) -> BTreeSet<String> {
        let Some(inotify) = &self.inotify else {
            return pending().await;
        };
        let Ok(mut ready) = inotify.readable().await else {
            return pending().await;
        };
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut reader = Reader::new(inotify.get_ref(), &mut buffer);
        let mut changed = BTreeSet::new();
        loop {
            match reader.next() {
                // The cgroup has gone.
                Ok(event) if event.events().contains(ReadFlags::IGNORED) => {
                    self.units.remove(&event.wd());
                }
                // More happened than the kernel keeps.
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    changed.extend(self.units.values().cloned());
                }
                Ok(event) => changed.extend(self.units.get(&event.wd()).cloned()),
                Err(_) => break,
            }
        }
        ready.clear_ready();
        changed
    }

    /// Why not all can be watched.
    pub(super) fn problem(&self) -> Option<String> {
        let (_, why) = self.unwatched.first_key_value()?;
        Some(format!(
            "that a unit is frozen is seen late, as not all cgroups can be watched: {why}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn that_a_cgroup_could_not_be_watched_is_told_until_it_can_be_or_is_gone() {
        let folder = std::env::temp_dir().join(format!("tracer-freezing-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let circle = folder.join(EVENTS);
        symlink(&circle, &circle).unwrap();
        let mut freezing = Freezing::default();
        for unit in ["a.service", "b.service"] {
            freezing.watch(unit, &folder);
            assert!(freezing.problem().unwrap().contains("symbolic links"));
        }
        fs::remove_file(&circle).unwrap();
        fs::write(&circle, "frozen 0\n").unwrap();
        freezing.watch("a.service", &folder);
        assert!(freezing.problem().is_some(), "that of the other one");
        freezing.leave("b.service");
        assert_eq!(freezing.problem(), None);
        fs::remove_dir_all(&folder).unwrap();
    }
}
