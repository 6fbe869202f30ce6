//! What wakes the source: changes of the files and folders that it reads (inotify(7)).

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::super::unwatched;

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
    inotify: Result<OwnedFd, Errno>,
    paths: Vec<(PathBuf, WatchFlags)>,
}

impl Watches {
    pub(super) fn new(paths: Vec<(PathBuf, WatchFlags)>) -> Self {
        Self {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK),
            paths,
        }
    }

    /// Watches what has come, and what has taken the place of what was watched. What is watched already stays so. To
    /// be called before things are read: what changes afterwards is told.
    ///
    /// Returns why not all of it can be watched, other than that it is not there, or may not be read: who reads it
    /// tells of that.
    pub(super) fn renew(&self) -> Option<String> {
        let inotify = match &self.inotify {
            Ok(inotify) => inotify,
            Err(error) => return Some(why("inotify", *error)),
        };
        let mut problem = None;
        for (path, flags) in &self.paths {
            match inotify::add_watch(inotify, path.as_path(), *flags) {
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
                Err(error) => problem = Some(why(&path.display().to_string(), error)),
            }
        }
        problem
    }

    /// Becomes readable when something has changed. `None` where nothing can be watched.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().ok().map(AsFd::as_fd)
    }

    /// Takes what was told, which is no more than that something has changed: all is looked at then. Returns whether
    /// anything was.
    pub(super) fn drain(&self) -> bool {
        /// Reads at most: who goes on changing things does not keep the source from looking at them.
        const READS: usize = 64;
        let Some(fd) = self.fd() else { return false };
        let mut any = false;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
        for _ in 0..READS {
            match rustix::io::read(fd, &mut buffer) {
                Ok((told, _)) if !told.is_empty() => any = true,
                _ => break,
            }
        }
        any
    }
}

/// Why something cannot be watched, and what follows from that.
fn why(what: &str, error: Errno) -> String {
    let why = unwatched::why(what, error);
    format!("changes are noticed up to 1 s late, as not all files can be watched: {why}")
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
    fn the_remedy_is_one_against_what_is_wrong() {
        let remedy = |error| {
            let why = why("/var/log/dpkg.log", error);
            assert!(why.contains("/var/log/dpkg.log: "), "{why}");
            why.split_once("; ").map(|(_, remedy)| remedy.to_owned())
        };
        let says = |error, word: &str| remedy(error).is_some_and(|remedy| remedy.contains(word));
        assert!(says(Errno::NOSPC, "max_user_watches"));
        assert!(says(Errno::MFILE, "max_user_instances"));
        assert!(says(Errno::ACCESS, "as root"));
        for error in [Errno::LOOP, Errno::NOENT] {
            assert!(says(error, "namei -l"));
        }
        assert_eq!(remedy(Errno::IO), None);
    }

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
