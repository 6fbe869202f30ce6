//! Files and folders that are watched: what wakes those who read them (inotify(7)).

use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::unwatched;

/// What is watched.
#[derive(Debug)]
pub(super) struct Inotify(Result<OwnedFd, Errno>);

/// Why something cannot be watched.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unwatched {
    pub(super) what: String,
    pub(super) error: Errno,
}

/// And what follows from that: who cannot be woken looks every second.
impl fmt::Display for Unwatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = unwatched::why(&self.what, self.error);
        write!(
            f,
            "changes are noticed up to 1 s late, as not all files can be watched: {why}"
        )
    }
}

impl Inotify {
    pub(super) fn new() -> Self {
        Self(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK))
    }

    /// Watches what is there by now; what is watched already stays so. To be called before each look at it: the kernel lets go of
    /// what is removed, and what takes its place is watched only by this. Returns whether there is such a file.
    ///
    /// # Errors
    /// Where it cannot be watched.
    pub(super) fn add(&self, path: &Path, flags: WatchFlags) -> Result<bool, Unwatched> {
        let refused = |what: &dyn fmt::Display, error| Unwatched {
            what: what.to_string(),
            error,
        };
        let inotify = self.0.as_ref().map_err(|error| refused(&"inotify", *error))?;
        match inotify::add_watch(inotify, path, flags) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(refused(&path.display(), error)),
        }
    }

    /// Becomes readable when something has changed. `None` where nothing can be watched.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().ok().map(AsFd::as_fd)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_is_one_against_what_is_wrong() {
        let remedy = |error| {
            let what = "/var/log/dpkg.log".to_owned();
            let why = Unwatched { what, error }.to_string();
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
}
