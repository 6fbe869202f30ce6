//! What may be read from maps and written to them as bytes.

use super::{
    Config, Count, Ended, EndedKey, Entry, FlowCount, FlowKey, FlowSet, NeighbourCount, NeighbourKey,
    Offsets, Place, Spent, Tallies, Unresolved,
};

macro_rules! pod {
    ($($name:ty),+) => { $(
        // SAFETY: repr(C), integers and arrays of them only, and no padding (its size is asserted beside it).
        unsafe impl aya::Pod for $name {}
    )+ };
}
pod!(
    Config,
    Count,
    Ended,
    EndedKey,
    Entry,
    FlowCount,
    FlowKey,
    FlowSet,
    NeighbourCount,
    NeighbourKey,
    Offsets,
    Place,
    Spent,
    Tallies,
    Unresolved
);
