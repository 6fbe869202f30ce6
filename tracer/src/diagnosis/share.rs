//! What is lost of something that goes on, and whether that is too much.

use crate::model::clock::SECOND;
use crate::model::growth::Spell;
use crate::report::Confidence;

/// Packets that all flows together must have lost, over so much time.
const SIGN: (u64, u64) = (5, 2 * SECOND);
/// For more than a sign, so many.
const MANY: u64 = 6;
/// One in so many of all must be lost for a sign, ...
const SIGN_SHARE: u64 = 100;
/// ... and for more than that.
const SHARE: u64 = 20;
/// What is to be expected so often at least is likely.
const LIKELY: f64 = 0.1;
/// More in a row are no chance, however much is lost of other flows.
const IN_A_ROW: u32 = 4;

/// How much of something is lost.
pub(super) struct Share {
    /// What is lost.
    pub(super) lost: Spell,
    /// Of how many packets.
    pub(super) of: u64,
    /// So many of those lost are of what this node asked, or of connections that stand.
    pub(super) of_own: u64,
}

impl Share {
    /// How sure it is that something is wrong; `None` where a few packets are lost now and then, as they always are.
    pub(super) fn confidence(&self) -> Option<Confidence> {
        let is_share = |lost: u64, of: u64| lost.saturating_mul(of) >= self.of;
        let (packets, time) = SIGN;
        if !self.lost.lasts(packets, time) || !is_share(self.lost.packets, SIGN_SHARE) {
            None
        } else if self.of_own >= MANY && is_share(self.of_own, SHARE) {
            Some(Confidence::Strong)
        } else {
            // Who asks too much of a server may be held back on purpose.
            Some(Confidence::Weak)
        }
    }

    /// Of as many packets, so many in a row are likely to be lost where this share is, by chance.
    #[expect(clippy::cast_precision_loss, reason = "a chance is told roughly")]
    pub(super) fn makes_likely(&self, in_a_row: u32) -> bool {
        let of = self.of as f64;
        let share = self.lost.packets as f64 / of.max(1.0);
        in_a_row <= IN_A_ROW && share.powf(f64::from(in_a_row)) * of >= LIKELY
    }
}
