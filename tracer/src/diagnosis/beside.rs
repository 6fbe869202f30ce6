//! The same for each of several things, by two threads at a time.
//!
//! A node may have 100,000 flows, which rules look through one after the other. One thread more than this one takes a part of them; not
//! one for each CPU, which are there for others.

use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

/// What becomes of each, in their order. One thread takes them from the first on, the other one from the last on: what takes long at the
/// end would else be begun when all else is done.
pub(super) fn each<'a, T: Sync, R: Send>(all: &'a [T], becomes: impl Fn(&'a T) -> R + Sync) -> Vec<R> {
    let taken = AtomicUsize::new(0);
    let work = |one: &'a T| (taken.fetch_add(1, Ordering::Relaxed) < all.len()).then(|| becomes(one));
    if all.len() < 2 {
        return all.iter().map(becomes).collect();
    }
    thread::scope(|scope| {
        let from_last = || all.iter().rev().map_while(work).collect();
        let other: io::Result<ScopedJoinHandle<'_, Vec<R>>> =
            thread::Builder::new().spawn_scoped(scope, from_last);
        let mut done: Vec<R> = all.iter().map_while(work).collect();
        match other.map(ScopedJoinHandle::join) {
            Ok(Ok(others)) => done.extend(others.into_iter().rev()),
            Ok(Err(panic)) => resume_unwind(panic),
            // Where no thread can begin, as with a limit of processes that is reached, this one has done it all.
            Err(_) => {}
        }
        done
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::each;

    #[test]
    fn what_becomes_of_each_is_in_their_order() {
        for many in [0_u64, 1, 2, 1000] {
            let all: Vec<u64> = (0..many).collect();
            let doubled: Vec<u64> = all.iter().map(|one| one * 2).collect();
            assert_eq!(each(&all, |one| one * 2), doubled);
        }
    }

    #[test]
    fn two_threads_do_it_at_the_same_time() {
        let both = Barrier::new(2);
        let threads = each(&[1, 2], |one| {
            both.wait();
            (*one, thread::current().id())
        });
        let [(1, first), (2, second)] = threads[..] else {
            panic!("{threads:?}");
        };
        assert_ne!(first, second);
    }

    #[test]
    fn the_last_one_is_begun_with_the_first() {
        let (both, is_middle_done) = (Barrier::new(2), AtomicBool::new(false));
        let done = each(&["first", "middle", "last"], |one| {
            if *one == "middle" {
                is_middle_done.store(true, Ordering::Relaxed);
            } else {
                assert!(!is_middle_done.load(Ordering::Relaxed), "{one}");
                both.wait();
            }
            *one
        });
        assert_eq!(done, ["first", "middle", "last"]);
    }

    #[test]
    #[should_panic(expected = "the thing that cannot be done")]
    fn a_panic_of_the_other_thread_is_not_lost() {
        let (both, this) = (Barrier::new(2), thread::current().id());
        each(&[1, 2], |_| {
            both.wait();
            assert_eq!(thread::current().id(), this, "the thing that cannot be done");
        });
    }
}
