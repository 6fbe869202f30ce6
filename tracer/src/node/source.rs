//! Sources that tell by themselves when something changes: each runs in a thread of its own.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::Sender;

use super::clock;
use crate::event::{Body, Capability, Event};

/// A source that runs. It is asked to end when it is dropped, and waited for.
#[derive(Debug)]
pub struct Source {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    /// Starts a source. `work` is to return when its [`Teller`] says so.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start(
        name: &str,
        events: Sender<Event>,
        work: impl FnOnce(&Teller) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let teller = Teller {
            events,
            stop: Arc::clone(&stop),
            works: RefCell::new(None),
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&teller))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Source {
    /// Asks it to end, and does not wait for it.
    pub fn ask_to_end(&self) {
        // It cannot be full: nobody else adds to it.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }
}

impl Drop for Source {
    /// Whoever takes the events must have closed its end before: a source may wait for room there.
    fn drop(&mut self) {
        self.ask_to_end();
        if let Some(thread) = self.thread.take() {
            // One that has panicked has ended, too.
            let _ = thread.join();
        }
    }
}

/// Nobody takes the events any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// What a source tells its events to.
#[derive(Debug)]
pub struct Teller {
    events: Sender<Event>,
    stop: Arc<OwnedFd>,
    /// How well the source works, as it was told last.
    works: RefCell<Option<Capability>>,
}

impl Teller {
    /// Tells what has happened just now. Waits for room where much is told at once. How well the source works may be
    /// told as often as it is looked at: what says nothing new wakes nobody.
    ///
    /// # Errors
    /// When the source is to end.
    pub fn tell(&self, body: Body) -> Result<(), Gone> {
        self.tell_of(clock::boottime_ns(), body)
    }

    /// Tells what happened at that boot time, in ns.
    ///
    /// # Errors
    /// When the source is to end.
    pub fn tell_of(&self, at: u64, body: Body) -> Result<(), Gone> {
        if self.is_known(&body) {
            return if self.events.is_closed() {
                Err(Gone)
            } else {
                Ok(())
            };
        }
        self.events.blocking_send(Event { at, body }).map_err(|_| Gone)
    }

    /// The same where the source runs in an asynchronous runtime of its own.
    ///
    /// # Errors
    /// When the source is to end.
    pub async fn send(&self, at: u64, body: Body) -> Result<(), Gone> {
        if self.is_known(&body) {
            return if self.events.is_closed() {
                Err(Gone)
            } else {
                Ok(())
            };
        }
        self.events.send(Event { at, body }).await.map_err(|_| Gone)
    }

    /// It says only how well the source works, and that was told. Takes note of it.
    fn is_known(&self, body: &Body) -> bool {
        let Body::Capability(works) = body else {
            return false;
        };
        let before = self.works.replace(Some(works.clone()));
        before.as_ref() == Some(works)
    }

    /// Does work in an asynchronous runtime of its own, until that is done or the source is to end.
    ///
    /// # Errors
    /// Where there can be no such runtime.
    pub fn block_on(&self, work: impl Future<Output = Gone>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        runtime.block_on(async {
            // SAFETY: it is the same descriptor as long as it is borrowed, and is closed after that.
            let stop = unsafe { AsyncFd::register_with_interest(self.stop(), Interest::READABLE) }?;
            tokio::select! {
                _ = stop.readable() => {}
                Gone = work => {}
            }
            Ok(())
        })
    }

    /// Becomes readable, and stays so, when the source is to end.
    #[must_use]
    pub fn stop(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};
    use tokio::sync::mpsc::channel;

    use super::*;
    use crate::event::CapabilityState;

    fn wait(teller: &Teller) {
        let mut fds = [PollFd::from_borrowed_fd(teller.stop(), PollFlags::IN)];
        poll(&mut fds, None).unwrap();
    }

    #[test]
    fn a_source_tells_and_ends_when_asked() {
        let (sender, mut events) = channel(1);
        let source = Source::start("test", sender, |teller| {
            teller.tell(Body::Tick).unwrap();
            wait(teller);
            teller.tell_of(7, Body::Stop).unwrap();
        })
        .unwrap();
        assert_eq!(events.blocking_recv().map(|event| event.body), Some(Body::Tick));
        drop(source);
        assert_eq!(
            events.blocking_recv(),
            Some(Event {
                at: 7,
                body: Body::Stop
            })
        );
        assert_eq!(events.blocking_recv(), None);
    }

    #[test]
    fn how_well_it_works_is_told_where_that_is_new() {
        let capability = |why: &str| {
            Body::Capability(Capability {
                name: "test".to_owned(),
                state: CapabilityState::Partial,
                why: why.to_owned(),
            })
        };
        let (sender, mut events) = channel(8);
        let source = Source::start("test", sender, move |teller| {
            for why in ["a", "a", "b", "b", "a"] {
                teller.tell(capability(why)).unwrap();
                teller.tell(Body::Tick).unwrap();
            }
        })
        .unwrap();
        let mut told = Vec::new();
        while let Some(event) = events.blocking_recv() {
            told.extend(Some(event.body).filter(|body| *body != Body::Tick));
        }
        drop(source);
        assert_eq!(told, ["a", "b", "a"].map(capability));
    }

    #[test]
    fn a_source_that_waits_for_room_ends_with_its_reader() {
        let (sender, events) = channel(1);
        let source =
            Source::start("test", sender, |teller| while teller.tell(Body::Tick).is_ok() {}).unwrap();
        drop(events);
        drop(source);
    }
}
