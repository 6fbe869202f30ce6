//! The books over time: what arrived and what became of it, in spans of equal length.

use std::collections::VecDeque;

use super::clock::SECOND;
use crate::report::Ledger;

/// Length of a band: 10 s.
pub(crate) const LENGTH: u64 = 10 * SECOND;
/// Bands that are kept at most: an hour.
const KEPT: usize = 360;

/// The bands, the earliest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bands {
    bands: VecDeque<Band>,
    /// The ledger as it was told last.
    before: Ledger,
}

/// What the books grew by in one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Band {
    /// When it began, in boot time: at a multiple of [`LENGTH`] of the wall clock as that was at the start.
    pub(crate) at: u64,
    /// Packets that arrived.
    pub(crate) arrived: u64,
    /// Packets that reached a socket.
    pub(crate) delivered: u64,
    /// Packets that were dropped.
    pub(crate) dropped: u64,
    /// Most flows that starved at once.
    pub(crate) starved: u64,
}

impl Bands {
    /// Takes note of the ledger as it stands, and of how many flows starve. The wall clock is that far ahead of the time
    /// since the boot.
    pub(super) fn tick(&mut self, now: u64, wall_offset: i64, ledger: Ledger, starved: u64) {
        let offset = wall_offset.rem_euclid(LENGTH.cast_signed()).cast_unsigned();
        let at = now.saturating_sub((now % LENGTH + offset) % LENGTH);
        if self.bands.back().is_none_or(|band| band.at < at) {
            self.bands.push_back(Band {
                at,
                ..Band::default()
            });
            if self.bands.len() > KEPT {
                self.bands.pop_front();
            }
        }
        let before = std::mem::replace(&mut self.before, ledger);
        if let Some(band) = self.bands.back_mut() {
            // A column falls where something is entered in another after all: then nothing came to it.
            let grew = |before: u64, now: u64| now.saturating_sub(before);
            band.arrived = band.arrived.saturating_add(grew(before.arrived, ledger.arrived));
            band.delivered = band
                .delivered
                .saturating_add(grew(before.delivered, ledger.delivered));
            band.dropped = band.dropped.saturating_add(grew(before.dropped, ledger.dropped));
            band.starved = band.starved.max(starved);
        }
    }

    /// The bands, the earliest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Band> {
        self.bands.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(arrived: u64, delivered: u64) -> Ledger {
        Ledger {
            arrived,
            delivered,
            ..Ledger::default()
        }
    }

    #[test]
    fn each_span_has_what_the_books_grew_by() {
        let mut bands = Bands::default();
        bands.tick(LENGTH, 0, ledger(5, 5), 0);
        bands.tick(LENGTH + 1, 0, ledger(7, 6), 2);
        bands.tick(3 * LENGTH, 0, ledger(9, 5), 1);
        let seen: Vec<_> = bands
            .iter()
            .map(|band| (band.at / LENGTH, band.arrived, band.delivered, band.starved))
            .collect();
        assert_eq!(seen, [(1, 7, 6, 2), (3, 2, 0, 1)]);
    }

    #[test]
    fn spans_begin_at_whole_multiples_of_the_wall_clock() {
        let begin = |now, wall_offset| {
            let mut bands = Bands::default();
            bands.tick(now, wall_offset, Ledger::default(), 0);
            let at = bands.iter().next().unwrap().at;
            assert!(at <= now && now - at < LENGTH);
            at
        };
        // 12 s after the boot it is some whole multiple and 15 s.
        assert_eq!(begin(12 * SECOND, 3 * SECOND.cast_signed()), 7 * SECOND);
        assert_eq!(begin(7 * SECOND, 3 * SECOND.cast_signed()), 7 * SECOND);
        assert_eq!(begin(6 * SECOND, -4 * SECOND.cast_signed()), 4 * SECOND);
        // Before the boot there is nothing.
        assert_eq!(begin(3 * SECOND, 0), 0);
        assert_eq!(begin(SECOND, 3 * SECOND.cast_signed()), 0);
        for offset in [i64::MIN, i64::MAX, 1_696_744_800_123_456_789] {
            let at = begin(u64::MAX / 4, offset);
            assert_eq!(
                (i128::from(at) + i128::from(offset)).rem_euclid(i128::from(LENGTH)),
                0
            );
        }
    }

    #[test]
    fn an_hour_is_kept() {
        let mut bands = Bands::default();
        for span in 0..1000 {
            bands.tick(span * LENGTH, 0, Ledger::default(), 0);
        }
        assert_eq!(bands.iter().count(), KEPT);
        assert_eq!(bands.iter().next_back().map(|band| band.at), Some(999 * LENGTH));
    }
}
