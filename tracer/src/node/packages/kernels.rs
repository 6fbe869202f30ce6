//! The kernels that are installed, and whether the running one still has its modules: an upgrade can take them away
//! under it, and what was not loaded before cannot be loaded then.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::WatchFlags;

use super::files;
use super::watches::{self, below};
use crate::node::modules;

const MODULES: &str = "/lib/modules";
const GONE: &str = "gone, so that none can be loaded";
/// Kernels that are told at most.
const MOST: usize = 100;

/// The folder of a kernel's modules, as it is called on the node.
pub(super) fn folder_of(release: &str) -> String {
    format!("{MODULES}/{release}")
}

/// What it is to be woken by.
pub(super) fn watched(root: &Path, release: &str, has_modules: bool) -> Vec<(PathBuf, WatchFlags)> {
    let mut all = vec![(below(root, MODULES), watches::FOLDER)];
    if has_modules {
        all.push((below(root, &folder_of(release)), watches::FOLDER));
    }
    all
}

/// Kernels that have modules on the node, and which of them runs: `6.1.0-13-amd64 (running), 6.1.0-14-amd64`. `None` where
/// there are none.
pub(super) fn told(root: &Path, running: &str) -> io::Result<Option<String>> {
    let mut names = installed(root)?;
    if names.is_empty() {
        return Ok(None);
    }
    let is_there = names.iter().any(|name| name == running);
    for name in names.iter_mut().filter(|name| *name == running) {
        name.push_str(" (running)");
    }
    let without = match is_there {
        true => String::new(),
        false => format!("; {running}, which runs, has no modules there"),
    };
    Ok(Some(names.join(", ") + &without))
}

/// Kernels that have modules on the node, in the order of their names.
fn installed(root: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(below(root, MODULES)) {
        Ok(entries) => entries,
        Err(error) if files::is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .take(MOST)
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// How the modules of a kernel stand, in the form of a setting's value: `None` where there are none. `were_there` when that was
/// looked at last.
pub(super) fn modules_of(root: &Path, release: &str, were_there: bool) -> Option<String> {
    let folder = below(root, &folder_of(release));
    if !folder.is_dir() {
        // A kernel may have none at all, and in a container they may be out of sight. Where others have theirs, that is not so.
        let others = installed(root).unwrap_or_default();
        let are_missed = were_there || (modules::can_load() && !others.is_empty());
        return are_missed.then(|| match others.as_slice() {
            [] => GONE.to_owned(),
            others => format!("{GONE}: there are those of {}", others.join(", ")),
        });
    }
    let has = |name: &str| folder.join(name).exists();
    // modprobe(8) goes by either.
    Some(if has("modules.dep.bin") || has("modules.dep") {
        String::new()
    } else {
        "without modules.dep, so that none can be found".to_owned()
    })
}
