//! Has what was written to a file on the disk, without waiting for it.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

/// A thread that syncs a file when it is asked to: a slow disk must not keep the counts from being read.
#[derive(Debug)]
pub(super) struct Syncer {
    ask: SyncSender<()>,
    failed: Receiver<io::Error>,
}

impl Syncer {
    /// For this file, which it keeps open.
    ///
    /// # Errors
    /// Where there is no descriptor or no thread to be had.
    pub(super) fn start(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let (ask, asked) = sync_channel(1);
        let (tell, failed) = channel();
        thread::Builder::new().name("sync".to_owned()).spawn(move || {
            for () in asked {
                if let Err(error) = file.sync_data() {
                    // Where nobody listens, the recording has ended.
                    let _ = tell.send(error);
                }
            }
        })?;
        Ok(Self { ask, failed })
    }

    /// Has what was handed to the kernel until now on the disk soon.
    pub(super) fn ask(&self) {
        // Where one is waiting to begin already, it will do.
        let _ = self.ask.try_send(());
    }

    /// What went wrong since the last call.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failed.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_synced_is_told() {
        // The kernel has nothing to sync in a terminal's or null's place.
        let syncer = Syncer::start(&File::open("/dev/null").unwrap()).unwrap();
        for _ in 0..3 {
            syncer.ask();
        }
        let error = syncer.failed.recv().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
