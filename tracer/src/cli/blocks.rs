//! When plain text shows a block.

use crate::diagnosis::Diagnosis;
use crate::watch::ROUND_MS;

/// Rounds from one block to the next: one a second.
const ROUNDS_PER_BLOCK: u64 = 1000 / ROUND_MS;

/// A block a second, and one at once where another verdict leads: live and replayed the same.
#[derive(Debug, Default)]
pub(super) struct Due {
    rounds: u64,
    /// What led in the last block.
    led: Option<&'static str>,
}

impl Due {
    /// A round is over. Whether a block is due.
    pub(super) fn is_now(&mut self, diagnosis: &Diagnosis) -> bool {
        self.rounds += 1;
        let leads = diagnosis.leading().map(|leading| leading.rule.id);
        let is_now = self.rounds.is_multiple_of(ROUNDS_PER_BLOCK) || leads != self.led;
        if is_now {
            self.led = leads;
        }
        is_now
    }
}
