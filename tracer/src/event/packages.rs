//! What the package manager does, and what it has left undone.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Owner;

/// How the node's packages stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// Who keeps them.
    pub manager: Manager,
    /// Who holds its lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Owner>,
    /// The package in work, and what is done to it: `unpack systemd 252.17-1~deb12u1`. Empty where nothing is.
    #[serde(default)]
    pub working_on: String,
    /// Packages that are neither installed in full nor removed, in the order of their names.
    #[serde(default)]
    pub unfinished: Vec<Unfinished>,
    /// How many further such packages there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unfinished_more: u32,
    /// Not all packages are known: the manager's status is not there, torn, or not as it writes it. Always of rpm, whose
    /// files do not tell what it has left half-way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// Changes that the manager has noted and not yet taken into its status (`/var/lib/dpkg/updates`).
    #[serde(default)]
    pub leftovers: u32,
    /// A run began and has not told its end, and not all that it was to do is done (`/var/log/apt/history.log`). Of rpm:
    /// the last run has not closed the database.
    #[serde(default)]
    pub open_run: bool,
    /// Packages that ask for a reboot (`/run/reboot-required.pkgs`); `None` where none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot: Option<Vec<String>>,
}

impl Packages {
    /// How many packages are not finished, also those that are not named.
    #[must_use]
    pub fn unfinished_total(&self) -> usize {
        self.unfinished
            .len()
            .saturating_add(self.unfinished_more as usize)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manager {
    /// dpkg and apt.
    Dpkg,
    /// rpm and dnf.
    Rpm,
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Dpkg => "dpkg",
            Self::Rpm => "rpm",
        })
    }
}

/// A package that the manager has not finished with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unfinished {
    /// Its name.
    pub name: String,
    /// Its state in the manager's word: unpacked, half-configured, half-installed, triggers-pending …
    pub state: String,
}

/// Runs of a package manager, as its logs have them: also those before the tracer started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrades {
    /// Whose logs.
    pub manager: Manager,
    /// The logs that were read begin here, and no run since then is left out: ns since 1970, UTC. `None` where they tell
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// The runs, in the order of their beginnings.
    pub runs: Vec<Upgrade>,
}

/// One run of a package manager: it installs, upgrades or removes. Times are ns since 1970, UTC, of whole seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// When it began.
    pub begun: i64,
    /// When it ended; `None` where no end is logged. It is before `begun` where the clock was set back meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
    /// When something was done to a package last; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<i64>,
    /// Who held the lock was at work on it when its log was read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_work: bool,
    /// The command that was given, empty where none is logged.
    #[serde(default)]
    pub command: String,
    /// The user for whom it was run by another one: `ann (1000)`. Empty where that is not logged.
    #[serde(default)]
    pub requested_by: String,
    /// What went wrong, empty for nothing.
    #[serde(default)]
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
    /// The names of some of all of these, without architecture: first those that carry or set up the network.
    pub names: Vec<String>,
    /// How many further names there are.
    #[serde(default)]
    pub more: u32,
}
