//! What wakes the source: changes of the files and folders that it reads (inotify(7)).

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::WatchFlags;
use rustix::io::Errno;

use super::super::inotify::Inotify;

/// Names that come and go in a folder, and files in it that have been written.
pub(super) const FOLDER: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ONLYDIR);
/// Names that come into a folder whose files are written all the time.
pub(super) const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR);
/// What is added to a file.
pub(super) const LOG: WatchFlags = WatchFlags::MODIFY;
/// A lock is opened before it is taken; once it is free again, its file has been closed.
pub(super) const LOCK: WatchFlags = WatchFlags::OPEN.union(WatchFlags::CLOSE_WRITE);

/// Files and folders that are watched.
#[derive(Debug)]
pub(super) struct Watches {
    inotify: Inotify,
    paths: Vec<(PathBuf, WatchFlags)>,
}

impl Watches {
    pub(super) fn new(paths: Vec<(PathBuf, WatchFlags)>) -> Self {
        Self {
            inotify: Inotify::new(),
            paths,
        }
    }

    /// Watches what has come, and what has taken the place of what was watched. What is watched already stays so. To
    /// be called before things are read: what changes afterwards is told.
    ///
    /// Returns why not all of it can be watched, other than that it is not there, or may not be read: who reads it
    /// tells of that.
    pub(super) fn renew(&self) -> Option<String> {
        let mut problem = None;
        for (path, flags) in &self.paths {
            let refused = self.inotify.add(path, *flags).err();
            problem = refused
                .filter(|refused| refused.error != Errno::ACCESS)
                .or(problem);
        }
        problem.map(|problem| problem.to_string())
    }

    /// See [`Inotify::fd`].
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.fd()
    }

    /// See [`Inotify::drain`].
    pub(super) fn drain(&self) -> bool {
        self.inotify.drain()
    }
}

/// A folder below the root, whether that is `/` or another.
pub(super) fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_log_that_is_a_link_to_itself_is_told_as_that() {
        let log = std::env::temp_dir().join(format!("tracer-watches-{}", std::process::id()));
        symlink(&log, &log).unwrap();
        let told = Watches::new(vec![(log.clone(), LOG)]).renew();
        fs::remove_file(&log).unwrap();
        let told = told.unwrap();
        assert!(told.contains("Too many levels of symbolic links"), "{told}");
        assert!(
            told.contains("namei -l") && !told.contains("fs.inotify"),
            "{told}"
        );
    }
}
