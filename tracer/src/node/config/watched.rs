//! Which namespaces are watched: told by whoever finds them, read by the source.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use super::super::Netns;

/// Both ends of what tells the namespaces that are watched.
///
/// # Errors
/// Where no file can be opened any more.
pub fn watched() -> io::Result<(Watched, Inbox)> {
    let shared = Arc::new(Shared {
        namespaces: Mutex::new(Vec::new()),
        wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
    });
    let watched = Watched {
        shared: Arc::clone(&shared),
    };
    Ok((watched, Inbox { shared }))
}

#[derive(Debug)]
struct Shared {
    namespaces: Mutex<Vec<Netns>>,
    wake: OwnedFd,
}

/// Tells which namespaces are watched.
#[derive(Debug)]
pub struct Watched {
    shared: Arc<Shared>,
}

impl Watched {
    /// These are watched from now on, and no others.
    pub fn set(&self, namespaces: Vec<Netns>) {
        *self
            .shared
            .namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = namespaces;
        // It cannot be full: each reading empties it.
        let _ = rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes());
    }
}

/// What the source reads of it.
#[derive(Debug)]
pub struct Inbox {
    shared: Arc<Shared>,
}

impl Inbox {
    /// The namespaces, where they have been told since the last time.
    pub(super) fn take(&self) -> Option<Vec<Netns>> {
        rustix::io::read(&self.shared.wake, &mut [0; 8]).ok()?;
        let namespaces = self
            .shared
            .namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Some(namespaces.clone())
    }
}

impl AsFd for Inbox {
    /// Readable when namespaces have been told.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_last_is_read_once() {
        let (watched, inbox) = watched().unwrap();
        assert!(inbox.take().is_none());
        watched.set(Vec::new());
        watched.set(vec![Netns::current().unwrap()]);
        assert_eq!(inbox.take().map(|namespaces| namespaces.len()), Some(1));
        assert!(inbox.take().is_none());
    }
}
