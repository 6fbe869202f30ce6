//! Package managers in a report: how packages stand, and what was done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Actor;

/// A package manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Packages {
    /// `dpkg` or `rpm`.
    pub manager: String,
    /// How its packages stand.
    pub standing: Standing,
    /// The same in a sentence, with the packages that are not finished.
    pub text: String,
    /// The packages that are not finished, by name, at most 1,000; `text` names the first of them. While it is at work they are
    /// on their way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<Unfinished>,
    /// How many there are, also those for which `unfinished` has no room.
    #[serde(default)]
    pub unfinished_total: u64,
    /// Who holds its lock; absent for nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Actor>,
    /// The package in work, empty for none.
    pub working_on: String,
    /// What it has done, by its logs, also before the start: the latest run first, at most 20.
    #[serde(default)]
    pub past: Vec<Upgrade>,
    /// How many runs are known, also those for which `past` has no room.
    #[serde(default)]
    pub past_total: u64,
    /// All runs that began from then on are known; absent where its logs tell of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past_since: Option<String>,
}

/// A package that is neither installed in full nor removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unfinished {
    /// Its name.
    pub name: String,
    /// Its state in the manager's word: `unpacked`, `half-configured`, `half-installed` …
    pub state: String,
}

/// A run of a package manager: it installs, upgrades or removes. Times are UTC, RFC 3339, of whole seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upgrade {
    /// When it began.
    pub begun: String,
    /// When it ended; absent where no end is logged. It is before `begun` where the clock was set back meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// When something was done to a package last; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// The command that was given, empty where none is logged.
    pub command: String,
    /// The user for whom another one gave it: `ann (1000)`. Empty where that is not logged.
    pub requested_by: String,
    /// What went wrong, empty for nothing.
    pub error: String,
    /// Packages that it was to install, or install again.
    pub installed: u32,
    /// Packages that it was to bring to another version.
    pub upgraded: u32,
    /// Packages that it was to remove.
    pub removed: u32,
    /// Packages that it did nothing but configure.
    #[serde(default)]
    pub configured: u32,
    /// The names of some of all of these, at most 8: first those that carry or set up the network.
    pub names: Vec<String>,
    /// How many further names there are.
    pub more: u32,
    /// How many times flows began to starve while it was at work, or up to 60 s after.
    pub onsets: u64,
}

/// What became of a run of a package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It told its end.
    Ended,
    /// It told its end, and that something went wrong.
    Failed,
    /// It has told no end, and somebody is at work on packages.
    InWork,
    /// It has told no end, and nobody is at work on it any more.
    Interrupted,
}

/// How packages stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// All are installed in full, or removed.
    Whole,
    /// Somebody works on them.
    InWork,
    /// Somebody began, and nobody works on them any more: packages are left half-way, or a run has told no end and not
    /// all that it was to do is done.
    Interrupted,
    /// Not all are known: the manager's status is not there, torn, or not as it writes it. Of rpm where nobody works on
    /// them: its files do not tell what it has left half-way.
    Unknown,
}
