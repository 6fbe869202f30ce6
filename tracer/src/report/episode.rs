//! The times in which the network was broken.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cause, Confidence, Later, Where};

/// Units that an episode names at most.
pub const EPISODE_UNITS: usize = 16;

/// A time in which some verdict decided where the fault is, without a longer break.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Episode {
    /// When the first evidence was seen, UTC, RFC 3339. What was there when the tracer began to look may be older.
    pub onset: String,
    /// When its root verdict was first given, UTC, RFC 3339.
    pub told: String,
    /// When the last evidence was seen, UTC, RFC 3339; `null` while it lasts.
    pub end: Option<String>,
    /// What took its root away, where that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mended: Option<Later>,
    /// Its length in seconds, until now while it lasts.
    pub seconds: f64,
    /// When most flows were named first, UTC, RFC 3339.
    pub peak: String,
    /// Id of its root verdict: the strongest one that led.
    pub id: String,
    /// That verdict in a few words.
    pub title: String,
    /// Where the fault was, by that verdict.
    #[serde(rename = "where")]
    pub place: Option<Where>,
    /// How sure that verdict was at its surest.
    pub confidence: Confidence,
    /// What brought that verdict about, as far as that was seen while it led.
    pub cause: Cause,
    /// Ids of all verdicts that led while it lasted, in the order in which they came.
    pub led: Vec<String>,
    /// Other faults that stood meanwhile, and had a cause of their own: they were mended by something else than the root, or went on
    /// when that had been mended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<Beside>,
    /// The most flows that the verdict that led named as affected at one time, whether they starved still or not.
    pub flows: u64,
    /// The most flows at once that starved.
    pub starved: u64,
    /// The systemd units that suffered, at most 16.
    pub units: Vec<String>,
    /// How many there were, counted up to 256.
    pub units_total: u64,
    /// Which one it is of the episodes with this root since the start: 1 for the first.
    pub recurrence: u64,
}

/// A fault that stood in an episode beside its root.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Beside {
    /// Id of its verdict.
    pub id: String,
    /// That verdict in a few words.
    pub title: String,
    /// When its first evidence was seen, UTC, RFC 3339.
    pub onset: String,
    /// When its last evidence was seen, or when it was mended where that was later or at most 1.5 s earlier, UTC, RFC 3339.
    pub last: String,
    /// What took it away, where that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mended: Option<Later>,
}
