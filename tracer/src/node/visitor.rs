//! Threads that enter network namespaces in place of others.
//!
//! No thread of the tracer ever leaves its own namespace: what it opens must be there, and a namespace with a thread in it
//! cannot end. So each that wants something done elsewhere has a visitor, which goes there, does it, and comes back. It
//! is one thread for all visits: to make one for each takes longer than most visits.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What a visitor is to do. Returns whether it has left its own namespace. It does not unwind.
type Work<'a> = Box<dyn FnOnce() -> bool + Send + 'a>;

/// The other thread.
struct Visitor {
    work: Sender<Work<'static>>,
    done: Receiver<()>,
}

thread_local! {
    /// That of this thread, once it has needed one. It ends with this thread.
    static VISITOR: RefCell<Option<Visitor>> = const { RefCell::new(None) };
}

/// Lets the visitor of this thread do something, and waits until that is done.
///
/// # Errors
/// Where there is no thread to be had. Then nothing is done.
pub(super) fn visit(work: Work<'_>) -> io::Result<()> {
    // SAFETY: only the lifetime changes. The work is run and gone before this returns: the visitor says so, or has ended.
    // It ends only behind a work, and while this waits there is but one.
    let work = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
    VISITOR.with_borrow_mut(|visitor| {
        let here = match visitor.take() {
            Some(here) => here,
            None => Visitor::start()?,
        };
        if here.work.send(work).is_err() {
            return Err(io::Error::other("the thread that enters namespaces has ended"));
        }
        // One that could not come back has ended: the next is another one.
        if here.done.recv().is_ok() {
            *visitor = Some(here);
        }
        Ok(())
    })
}

impl Visitor {
    fn start() -> io::Result<Self> {
        let (work, works) = channel::<Work<'static>>();
        let (tell, done) = channel();
        let home = File::open("/proc/thread-self/ns/net")?;
        thread::Builder::new().name("netns".to_owned()).spawn(move || {
            for work in works {
                let is_home = !work()
                    || move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network)).is_ok();
                if !is_home || tell.send(()).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { work, done })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_does_all_until_it_cannot_come_back() {
        let mut threads = Vec::new();
        for _ in 0..3 {
            visit(Box::new(|| {
                threads.push(thread::current().id());
                false
            }))
            .unwrap();
        }
        assert!(threads.iter().all(|id| *id == threads[0]));
        assert_ne!(threads[0], thread::current().id());
        let other = thread::spawn(|| {
            let mut id = None;
            visit(Box::new(|| {
                id = Some(thread::current().id());
                false
            }))
            .unwrap();
            id
        });
        assert_ne!(other.join().unwrap(), Some(threads[0]), "each thread has its own");
    }
}
