//! How counts grew: when, and how fast.

use std::collections::VecDeque;

use super::clock::{MEMORY, SECOND, seconds};

/// Rates are told over this span.
const SPAN: u64 = 2 * SECOND;

/// What a cumulative count has grown by. One that went backwards was started anew.
pub(crate) fn growth(before: u64, now: u64) -> u64 {
    if now >= before { now - before } else { now }
}

/// A spell in which something went on, never interrupted for longer than [`MEMORY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spell {
    /// When it began, in boot time.
    pub since: u64,
    /// When it was last seen.
    pub last: u64,
    /// Packets in it.
    pub packets: u64,
}

impl Spell {
    /// Both, as if they were one.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            since: self.since.min(other.since),
            last: self.last.max(other.last),
            packets: self.packets.saturating_add(other.packets),
        }
    }

    /// It has so many packets at least, and they span so much time at least.
    pub(crate) fn lasts(&self, packets: u64, time: u64) -> bool {
        self.packets >= packets && self.last.saturating_sub(self.since) >= time
    }
}

/// The latest [`Spell`] of a count. Most of those that are kept never grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Growing(Option<Box<Spell>>);

impl Growing {
    /// The count grew. `since` and `at` are the same but where it is known to have begun earlier. Whether a new spell began.
    pub(crate) fn note(&mut self, since: u64, at: u64, packets: u64) -> bool {
        if packets == 0 {
            return false;
        }
        match &mut self.0 {
            Some(spell) if at.saturating_sub(spell.last) <= MEMORY => {
                spell.last = spell.last.max(at);
                spell.packets = spell.packets.saturating_add(packets);
                false
            }
            old => {
                *old = Some(Box::new(Spell {
                    since,
                    last: at,
                    packets,
                }));
                true
            }
        }
    }

    /// What was seen until then is over: what is seen later begins a new spell. Whether there is none any more.
    pub(crate) fn conclude(&mut self, until: u64) -> bool {
        self.0 = self.0.take().filter(|spell| spell.last > until);
        self.0.is_none()
    }

    /// The spell, where some of it lies within another.
    pub(crate) fn within(&self, other: Spell) -> Option<Spell> {
        self.0
            .as_deref()
            .copied()
            .filter(|spell| spell.last >= other.since && spell.since <= other.last)
    }

    /// The spell, where its end lies within the last [`MEMORY`].
    pub(crate) fn recent(&self, now: u64) -> Option<Spell> {
        self.0
            .as_deref()
            .copied()
            .filter(|spell| now.saturating_sub(spell.last) <= MEMORY)
    }
}

/// The last few values of something that is told now and then.
#[derive(Clone, Debug)]
pub(crate) struct History<T>(VecDeque<(u64, T)>);

impl<T> Default for History<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Copy + Default> History<T> {
    /// The value from `at` on.
    pub(crate) fn push(&mut self, at: u64, value: T) {
        // A time before the last one is a damaged recording's; the order must hold for `before`.
        let at = self.0.back().map_or(at, |(last, _)| at.max(*last));
        self.0.push_back((at, value));
        let begin = at.saturating_sub(SPAN);
        while self.0.get(1).is_some_and(|(second, _)| *second <= begin) {
            self.0.pop_front();
        }
    }

    /// The value one [`SPAN`] before `now`: the default where nothing had been told yet.
    pub(crate) fn before(&self, now: u64) -> T {
        self.at(now.saturating_sub(SPAN))
    }

    /// The value at that time, which is one [`SPAN`] before the last one at most.
    pub(crate) fn at(&self, time: u64) -> T {
        self.told_by(time).map_or_else(T::default, |(_, value)| value)
    }

    /// What was told last until then, and when.
    fn told_by(&self, time: u64) -> Option<(u64, T)> {
        self.0.iter().rev().find(|(at, _)| *at <= time).copied()
    }

    /// The last value.
    pub(crate) fn last(&self) -> T {
        self.0.back().map_or_else(T::default, |(_, value)| *value)
    }
}

/// The time that a rate stands for: from one reading of the counts to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lately {
    /// The first reading.
    pub from: u64,
    /// The last one.
    pub to: u64,
}

impl Lately {
    /// From the last reading that was one [`SPAN`] ago to the last one of all; from `start` where there is none so old.
    /// Readings come `every` so often, or nobody is told of them because nothing has grown.
    pub(crate) fn of<T: Copy + Default>(readings: &History<T>, start: u64, now: u64, every: u64) -> Self {
        // A reading may be a little late.
        let late = every + every / 2;
        let last = readings.told_by(now).map_or(now, |(at, _)| at);
        let to = if now.saturating_sub(last) > late {
            now
        } else {
            last
        };
        let begin = to.saturating_sub(SPAN);
        // Or a little early: all rates are then of the same time, as a rule.
        let from = readings.told_by(begin + every / 8).map_or(start, |(at, _)| at);
        Self {
            from: if begin.saturating_sub(from) > late {
                begin
            } else {
                from.min(to)
            },
            to,
        }
    }

    /// By how much something grew in a second that was `before` at the first reading and is `now`; 0 where no time has passed.
    #[expect(clippy::cast_precision_loss, reason = "a rate is told to a few digits")]
    pub(crate) fn rate(self, before: i128, now: i128) -> f64 {
        let span = seconds(self.to.saturating_sub(self.from));
        if span > 0.0 {
            (now - before) as f64 / span
        } else {
            0.0
        }
    }
}
