//! Who wrote which lines of dpkg's log, which names nobody: by who was seen to hold the lock, and how long the log was
//! then. Who cannot be told by that is not known: who is asked after the fact may have come later.

use std::collections::VecDeque;

use crate::event::Owner;

/// Tenures that are kept at most, the latest.
const MOST: usize = 64;

/// Somebody held the lock while the log grew from one length to another.
#[derive(Debug)]
struct Tenure {
    holder: Owner,
    from: u64,
    until: u64,
    /// So long the log was when it was first seen, where the process that writes it had begun by then: the last start of
    /// dpkg up to there is its own.
    begun_by: Option<u64>,
}

/// Somebody is seen to hold the lock, before and after the length of the log was asked for twice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    pub(super) holder: &'a Owner,
    /// How long the log was.
    pub(super) from: u64,
    /// The same, after it was asked whether it `has_begun`.
    pub(super) until: u64,
    /// It, or who writes for it, has the log open.
    pub(super) has_begun: bool,
}

/// A line of the log, by where it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) at: u64,
    /// dpkg starts.
    pub(super) is_start: bool,
}

/// Who wrote which lines.
#[derive(Debug, Default)]
pub(super) struct Writers {
    tenures: VecDeque<Tenure>,
    /// The last tenure was not seen to end.
    goes_on: bool,
    /// So far the lines were told apart.
    read: u64,
    /// The run of dpkg that goes on there: where its start ends, and whose it is.
    begun: u64,
    run: Option<Owner>,
}

impl Writers {
    /// Whether this process was the last that was seen, and still is.
    pub(super) fn is_known(&self, holder: &Owner) -> bool {
        self.goes_on
            && self
                .tenures
                .back()
                .is_some_and(|last| last.holder.pid == holder.pid)
    }

    pub(super) fn seen(&mut self, sight: Sight<'_>) {
        if self.is_known(sight.holder) {
            if let Some(last) = self.tenures.back_mut() {
                last.until = sight.until;
            }
            return;
        }
        if self.tenures.len() == MOST {
            self.tenures.pop_front();
        }
        self.tenures.push_back(Tenure {
            holder: sight.holder.clone(),
            from: sight.from,
            until: sight.until,
            begun_by: sight.has_begun.then_some(sight.until),
        });
        self.goes_on = true;
    }

    /// Nobody is seen to hold the lock, or another one than just before.
    pub(super) fn nobody(&mut self) {
        self.goes_on = false;
    }

    /// It is another log from here on.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Who wrote these lines, which follow those that were asked for before.
    pub(super) fn of(&mut self, lines: &[End]) -> Vec<Option<Owner>> {
        let mut owners = Vec::with_capacity(lines.len());
        let mut rest = lines;
        let mut from = self.read;
        while !rest.is_empty() {
            // Up to the next start of dpkg it is one run.
            let next = rest.iter().skip(1).position(|line| line.is_start);
            let (run, others) = rest.split_at(next.map_or(rest.len(), |next| next + 1));
            if let Some(start) = run.first().filter(|line| line.is_start) {
                self.begun = start.at;
                self.run = self.within(from, start.at);
            }
            let until = others.first().map(|next| next.at);
            self.run = self.run.take().or_else(|| self.begun_in(self.begun, until));
            for line in run {
                owners.push(self.within(from, line.at).or_else(|| self.run.clone()));
                from = line.at;
            }
            rest = others;
        }
        self.read = from;
        let last = self.tenures.len().saturating_sub(1);
        let mut number = 0;
        self.tenures.retain(|tenure| {
            number += 1;
            tenure.until > from || number > last
        });
        owners
    }

    /// Who held the lock for all of that.
    fn within(&self, from: u64, until: u64) -> Option<Owner> {
        let holds = |tenure: &&Tenure| tenure.from <= from && until <= tenure.until;
        self.tenures
            .iter()
            .find(holds)
            .map(|tenure| tenure.holder.clone())
    }

    /// Whose the run is that starts there, where the next one starts before `until`.
    fn begun_in(&self, begun: u64, until: Option<u64>) -> Option<Owner> {
        let is_it = |at: u64| begun <= at && until.is_none_or(|until| at < until);
        let of_it = |tenure: &&Tenure| tenure.begun_by.is_some_and(is_it);
        self.tenures
            .iter()
            .find(of_it)
            .map(|tenure| tenure.holder.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of ten bytes each behind those `before`; `S` is a start of dpkg.
    fn lines(before: u64, kinds: &str) -> Vec<End> {
        let numbered = (before + 1..).zip(kinds.chars());
        numbered
            .map(|(number, kind)| End {
                at: number * 10,
                is_start: kind == 'S',
            })
            .collect()
    }

    fn pids(owners: Vec<Option<Owner>>) -> Vec<u32> {
        owners
            .into_iter()
            .map(|owner| owner.map_or(0, |owner| owner.pid))
            .collect()
    }

    fn see(writers: &mut Writers, pid: u32, at: u64, has_begun: bool) {
        let holder = &Owner::named(pid, "dpkg");
        writers.seen(Sight {
            holder,
            from: at,
            until: at,
            has_begun,
        });
    }

    #[test]
    fn what_was_written_while_one_held_the_lock_is_of_that_one() {
        let mut writers = Writers::default();
        see(&mut writers, 7, 0, false);
        see(&mut writers, 7, 30, false);
        assert_eq!(pids(writers.of(&lines(0, "S.S"))), [7, 7, 7]);
        writers.nobody();
        // What the last run wrote at its end, and what a run did that nobody saw.
        see(&mut writers, 8, 60, false);
        see(&mut writers, 8, 70, false);
        assert_eq!(pids(writers.of(&lines(3, ".S..S"))), [7, 0, 0, 8, 0]);
    }

    #[test]
    fn who_came_later_is_not_named() {
        let mut writers = Writers::default();
        see(&mut writers, 8, 30, false);
        assert_eq!(pids(writers.of(&lines(0, "S.."))), [0, 0, 0]);
        // It writes only now.
        see(&mut writers, 8, 50, true);
        assert_eq!(pids(writers.of(&lines(3, "S."))), [8, 8]);
    }

    #[test]
    fn the_run_of_who_has_begun_is_all_its_own_and_no_other_is() {
        let mut writers = Writers::default();
        see(&mut writers, 7, 40, true);
        writers.nobody();
        see(&mut writers, 9, 80, true);
        assert_eq!(pids(writers.of(&lines(0, "S.S..S.S"))), [0, 0, 7, 7, 7, 0, 0, 9]);
        writers.nobody();
        assert_eq!(pids(writers.of(&lines(8, ".S"))), [9, 0]);
    }

    #[test]
    fn a_lock_that_was_given_back_meanwhile_tells_nothing_of_the_time_between() {
        let mut writers = Writers::default();
        see(&mut writers, 7, 0, false);
        writers.nobody();
        see(&mut writers, 7, 30, false);
        assert_eq!(pids(writers.of(&lines(0, "S.."))), [0, 0, 0]);
        see(&mut writers, 7, 40, false);
        writers.forget();
        assert_eq!(pids(writers.of(&lines(0, "S.."))), [0, 0, 0]);
    }
}
