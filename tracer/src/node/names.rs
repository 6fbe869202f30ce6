//! Names of network namespaces that come and go.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use super::namespace::NAMES;

/// Room for the names that came in one round; more are read in turns.
const ROOM: usize = 4096;

/// Tells which names have come or gone. Where the kernel cannot tell, nobody ever has.
#[derive(Debug, Default)]
pub struct NameChanges {
    /// `None` while there is no folder of names.
    watch: Option<OwnedFd>,
    /// What was told the last time: a name comes before its namespace is mounted there.
    last: BTreeSet<String>,
}

impl NameChanges {
    /// Begins to watch the folder of names, where that is there by now.
    pub fn begin(&mut self) {
        if self.watch.is_none() {
            let flags = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
            self.watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
                .ok()
                .filter(|watch| inotify::add_watch(watch, NAMES, flags).is_ok());
        }
    }

    /// Readable when a name has come or gone.
    #[must_use]
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Names that have come or gone since the last time or the time before.
    pub fn take(&mut self) -> BTreeSet<String> {
        let mut now = BTreeSet::new();
        let mut gone = false;
        if let Some(watch) = &self.watch {
            let mut buffer = [MaybeUninit::uninit(); ROOM];
            let mut reader = Reader::new(watch, &mut buffer);
            while let Ok(event) = reader.next() {
                // The folder itself has been removed.
                gone |= event.events().contains(ReadFlags::IGNORED);
                let name = event.file_name();
                now.extend(name.map(|name| name.to_string_lossy().into_owned()));
            }
        }
        if gone {
            self.watch = None;
        }
        let mut all = std::mem::replace(&mut self.last, now.clone());
        all.extend(now);
        all
    }
}
