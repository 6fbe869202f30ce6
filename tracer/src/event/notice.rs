//! What happens on the node and leaves no state behind.

use serde::{Deserialize, Serialize};

use super::Owner;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What kind of thing.
    pub kind: NoticeKind,
    /// It, in one sentence.
    pub text: String,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Owner>,
}

/// Kinds of what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The package manager did something to a package.
    Package,
    /// A process was killed since memory ran out.
    OutOfMemory,
    /// A module of the kernel could not be loaded.
    Module,
    /// The clock was set.
    Clock,
    /// A line of the kernel's log that is about the network.
    Kernel,
    /// systemd itself: it reloads, runs itself anew, came back on the bus.
    Systemd,
}

/// How the clocks stand to one another. Told at the start of what needs it, and when one was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// By how many ns boot time is ahead of `CLOCK_MONOTONIC`: the time that the machine was suspended.
    pub suspended: u64,
    /// Nanoseconds to add to a boot time to have UTC since 1970.
    pub wall_offset: i64,
}
