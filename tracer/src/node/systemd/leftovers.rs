//! Processes in the cgroup of a unit that does nothing any more.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::node::cgroup;

/// Groups below that of a unit that are looked at, at most.
const GROUPS: usize = 1000;

/// Where the cgroups of systemd are.
#[derive(Debug)]
pub(super) struct Hierarchy {
    /// Where it is mounted: v2 first, and the one that systemd keeps for itself beside v1.
    mounts: Vec<PathBuf>,
    /// Below the mounts, the path that is the root to systemd; empty where they are the same.
    root: String,
}

impl Hierarchy {
    /// That of the node, or of a systemd whose tree begins deeper, at `root`.
    pub(super) fn new(root: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self {
            mounts: cgroup::of_systemd(&mounts),
            root: below(root),
        }
    }

    /// A path that systemd names, as `/proc/PID/cgroup` has it.
    pub(super) fn path(&self, of_systemd: &str) -> String {
        match of_systemd {
            "" => String::new(),
            path => format!("{}{}", self.root, below(path)),
        }
    }

    /// Processes in a cgroup and those below it. None where there is no such group.
    pub(super) fn processes(&self, path: &str) -> u32 {
        let relative = path.trim_start_matches('/');
        let folders = self.mounts.iter().map(|mount| mount.join(relative));
        match folders.into_iter().find(|folder| folder.is_dir()) {
            Some(folder) if !relative.is_empty() => count(folder),
            _ => 0,
        }
    }
}

/// A path with a slash before each component, without any that leads up.
fn below(path: &str) -> String {
    let components = Path::new(path).components();
    let names = components.filter_map(|component| match component {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    names.fold(String::new(), |path, name| path + "/" + name)
}

fn count(folder: PathBuf) -> u32 {
    let mut processes = 0;
    let mut folders = vec![folder];
    for _ in 0..GROUPS {
        let Some(folder) = folders.pop() else { break };
        // Groups end at any time.
        let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        processes += listed.lines().count();
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    u32::try_from(processes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_counted_in_a_group_and_below() {
        let mount = std::env::temp_dir().join(format!("tracer-leftovers-{}", std::process::id()));
        let unit = mount.join("box/system.slice/a.service");
        fs::create_dir_all(unit.join("below")).unwrap();
        fs::write(unit.join("cgroup.procs"), "1\n2\n").unwrap();
        fs::write(unit.join("below/cgroup.procs"), "3\n").unwrap();
        let hierarchy = Hierarchy {
            mounts: vec![PathBuf::from("/nonexistent"), mount.clone()],
            root: below("/box/"),
        };
        let path = hierarchy.path("/system.slice/a.service");
        let counts = [&path, "/system.slice/a.service", "", "/"].map(|path| hierarchy.processes(path));
        fs::remove_dir_all(mount).unwrap();
        assert_eq!(path, "/box/system.slice/a.service");
        assert_eq!(counts, [3, 0, 0, 0]);
    }

    #[test]
    fn paths_lead_only_down() {
        let hierarchy = Hierarchy {
            mounts: Vec::new(),
            root: below("box//./inner"),
        };
        assert_eq!(hierarchy.path("/../../etc"), "/box/inner/etc");
        assert_eq!(hierarchy.path(""), "");
        assert_eq!(below("/"), "");
    }
}
