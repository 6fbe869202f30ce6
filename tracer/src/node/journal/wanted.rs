//! Which units are asked for: told by whoever asks systemd, read by the source.

use std::collections::BTreeSet;

use tokio::sync::watch::{Receiver, Sender, channel};

/// Both ends of what tells the units that are wanted.
#[must_use]
pub fn wanted() -> (Wanted, Inbox) {
    let (sender, receiver) = channel(Request::default());
    let inbox = Inbox {
        receiver,
        asked: Request::default(),
    };
    (Wanted(sender), inbox)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Request {
    /// Another number than before where all are wanted again; 0 until the first are told.
    turn: u64,
    units: BTreeSet<String>,
}

/// Tells which units are wanted.
#[derive(Debug)]
pub struct Wanted(Sender<Request>);

impl Wanted {
    /// These are all that timers start, as far as is known. Those that were told before are not asked for again.
    pub(in crate::node) fn set(&self, units: BTreeSet<String>) {
        self.0.send_if_modified(|request| {
            let turn = request.turn.max(1);
            let new = Request { turn, units };
            let differs = *request != new;
            *request = new;
            differs
        });
    }

    /// Something may have been missed: all that are told from now on are asked for, also those that were before.
    pub(in crate::node) fn begin_anew(&self) {
        self.0.send_modify(|request| {
            request.turn += 1;
            request.units.clear();
        });
    }
}

/// What the source reads of it.
#[derive(Debug)]
pub struct Inbox {
    receiver: Receiver<Request>,
    asked: Request,
}

impl Inbox {
    /// How many were asked for so far, since all were wanted again.
    pub(super) fn asked(&self) -> usize {
        self.asked.units.len()
    }

    /// Whether this one was.
    pub(super) fn has_asked(&self, unit: &str) -> bool {
        self.asked.units.contains(unit)
    }

    /// Waits for units that were not asked for yet; there are none where it is just known that no timer starts any.
    /// `None` where nobody tells any more.
    pub(super) async fn next(&mut self) -> Option<Vec<String>> {
        loop {
            self.receiver.changed().await.ok()?;
            let request = self.receiver.borrow_and_update().clone();
            let is_first = self.asked.turn == 0;
            if request.turn != self.asked.turn {
                self.asked = Request {
                    turn: request.turn,
                    units: BTreeSet::new(),
                };
            }
            let new: Vec<String> = request.units.difference(&self.asked.units).cloned().collect();
            if is_first || !new.is_empty() {
                self.asked.units.extend(new.iter().cloned());
                return Some(new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn units(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// What is to be asked for just now.
    fn now(inbox: &mut Inbox) -> Poll<Option<Vec<String>>> {
        pin!(inbox.next()).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn each_unit_is_asked_for_once_until_all_are_wanted_again() {
        let (wanted, mut inbox) = wanted();
        let is = |names: &[&str]| Poll::Ready(Some(names.iter().map(|name| (*name).to_owned()).collect()));
        assert_eq!(now(&mut inbox), Poll::Pending);
        wanted.set(units(&[]));
        assert_eq!(now(&mut inbox), is(&[]), "that there are none is told");
        wanted.set(units(&[]));
        assert_eq!(now(&mut inbox), Poll::Pending);
        wanted.set(units(&["a"]));
        assert_eq!(now(&mut inbox), is(&["a"]));
        wanted.set(units(&["a", "b"]));
        assert_eq!(now(&mut inbox), is(&["b"]));
        assert_eq!(inbox.asked(), 2);
        assert!(inbox.has_asked("b"));
        wanted.set(units(&["b"]));
        assert_eq!(now(&mut inbox), Poll::Pending);
        wanted.begin_anew();
        wanted.set(units(&["a"]));
        assert_eq!(now(&mut inbox), is(&["a"]));
        assert!(!inbox.has_asked("b"));
        drop(wanted);
        assert_eq!(now(&mut inbox), Poll::Ready(None));
    }
}
