//! What could not be recorded.

use serde::{Deserialize, Serialize};

/// What could not be recorded since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Losses {
    /// Examples that were not sent because the budget of their place was spent. Their packets are counted.
    pub examples_not_sent: u64,
    /// Records that did not fit in the ring buffer.
    pub ring_full: u64,
    /// Packets whose entry did not fit in the books: the ledger lacks them.
    pub map_full: u64,
    /// Packets that the ledger has, although what became of them did not fit in the books: drops are in a row
    /// [`OTHER`], without reason, place and protocol. Of what the kernel used up itself it is not known
    /// whether that answered it: that is unexplained.
    #[serde(default)]
    pub in_other: u64,
    /// Packets that no flow could be counted for because the table was full. The ledger has them, but for the
    /// segments of TCP connections that close: of these, each change of state counts as one packet here.
    pub flows_full: u64,
    /// Times that a place did not fit in the table of example budgets.
    pub places_full: u64,
    /// Messages of neighbours whose address did not fit in the table of those.
    #[serde(default)]
    pub neighbours_full: u64,
    /// Packets that wait for a neighbour and did not fit in the table of those: they are unexplained until they are
    /// sent or dropped.
    #[serde(default)]
    pub unresolved_full: u64,
    /// Times that one of the kernel's counters had grown and could not be kept, because too many have: what it tells
    /// is missing.
    #[serde(default)]
    pub counters_full: u64,
    /// Times that a socket in which something waits could not be kept, because too many do: it is not among the
    /// queues.
    #[serde(default)]
    pub queues_full: u64,
    /// Times that a unit, a timer or a thing of the configuration was told for which there was no room: it is not shown.
    #[serde(default)]
    pub things_full: u64,
    /// Runs of a program that the kernel left out, since something had interrupted it on that CPU: the ledger
    /// lacks what they would have counted.
    pub runs_skipped: u64,
}
