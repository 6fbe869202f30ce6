//! What the package manager does, and what it has left undone.

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
    /// Changes that the manager has noted and not yet taken into its status (`/var/lib/dpkg/updates`).
    #[serde(default)]
    pub leftovers: u32,
    /// A run began and has not told its end, and not all that it was to do is done (`/var/log/apt/history.log`).
    #[serde(default)]
    pub open_run: bool,
    /// Packages that ask for a reboot (`/run/reboot-required.pkgs`); `None` where none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot: Option<Vec<String>>,
    /// Kernels that have modules on the node (`/lib/modules`), in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<String>,
}

/// A package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manager {
    /// dpkg and apt.
    Dpkg,
    /// rpm and dnf.
    Rpm,
}

/// A package that the manager has not finished with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unfinished {
    /// Its name.
    pub name: String,
    /// Its state in the manager's word: unpacked, half-configured, half-installed, triggers-pending …
    pub state: String,
}
