//! Processes in the cgroup of a unit: those that are left when it does nothing any more, and which is its main process.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::node::{cgroup, owners, text};

/// Groups below that of a unit that are looked at, at most.
const GROUPS: usize = 1000;
/// Processes of a unit among which its main process is looked for, at most.
const NUMBERED: usize = 256;

/// Where the cgroups of systemd are.
#[derive(Debug)]
pub(super) struct Hierarchy {
    /// Where it is mounted: v2 first, and the one that systemd keeps for itself beside v1.
    mounts: Vec<PathBuf>,
    /// Below the mounts, the path that is the root to systemd; empty where they are the same.
    root: String,
}

/// Cgroups that systemd names and that are not there, as are most of its units': its root is another one than was said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Astray {
    pub(super) missing: usize,
    pub(super) named: usize,
    pub(super) example: String,
}

impl Hierarchy {
    /// That of the node, or of a systemd whose tree begins deeper, at `root`.
    pub(super) fn new(root: &str) -> Self {
        let mounts = text::read("/proc/self/mounts").unwrap_or_default();
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

    /// The path that was said to be the root to systemd, where there is no such cgroup.
    pub(super) fn missing_root(&self) -> Option<&str> {
        let is_there = |mount: &PathBuf| mount.join(self.root.trim_start_matches('/')).is_dir();
        (!self.root.is_empty() && !self.mounts.iter().any(is_there)).then_some(self.root.as_str())
    }

    /// Whether these cgroups of units that run are mostly not there. A few may have ended meanwhile, and a few are there by
    /// chance: those of this node have the same names.
    pub(super) fn astray<'p>(&self, paths: impl Iterator<Item = &'p str>) -> Option<Astray> {
        let (mut missing, mut named, mut example) = (0, 0, None);
        for path in paths {
            named += 1;
            if self.folder(path).is_none() {
                missing += 1;
                example.get_or_insert(path);
            }
        }
        let example = example.filter(|_| missing * 2 > named)?.to_owned();
        Some(Astray {
            missing,
            named,
            example,
        })
    }

    /// How many processes are in a cgroup and those below it. None where there is no such group.
    pub(super) fn processes(&self, path: &str) -> u32 {
        u32::try_from(self.members(path).len()).unwrap_or(u32::MAX)
    }

    /// The main process of a unit with this cgroup, by its number here. systemd tells the number in its own pid
    /// namespace: where that is another one, the process is found among those of the unit. 0 where it is not, since
    /// the number would be that of some other process.
    pub(super) fn main_process(&self, told: u32, path: &str) -> u32 {
        if told == 0 || is_in(told, path) {
            return told;
        }
        let members = self.members(path);
        if members.len() > NUMBERED {
            return 0;
        }
        let mut found = members
            .into_iter()
            .filter(|pid| owners::numbers(*pid).iter().skip(1).any(|number| *number == told));
        match (found.next(), found.next()) {
            (Some(pid), None) => pid,
            // Two of them have that number, each in its own namespace.
            _ => 0,
        }
    }

    /// Processes in a cgroup and those below it.
    fn members(&self, path: &str) -> Vec<u32> {
        self.folder(path).map(members).unwrap_or_default()
    }

    /// Whether the processes of a cgroup are frozen, whoever froze it or one above it.
    pub(super) fn is_frozen(&self, path: &str) -> bool {
        let events = self.folder(path).map(|folder| folder.join("cgroup.events"));
        let events = events.and_then(|path| fs::read_to_string(path).ok());
        events.is_some_and(|events| events.lines().any(|line| line == "frozen 1"))
    }

    /// Where a cgroup is; `None` for the root, and where there is no such group.
    pub(super) fn folder(&self, path: &str) -> Option<PathBuf> {
        let relative = path.trim_start_matches('/');
        let mut folders = self.mounts.iter().map(|mount| mount.join(relative));
        folders.find(|folder| !relative.is_empty() && folder.is_dir())
    }
}

/// Whether a process is in a cgroup or one below it, in any hierarchy.
fn is_in(pid: u32, path: &str) -> bool {
    let groups = text::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    !path.is_empty() && has_group(&groups, path)
}

/// Whether one of the lines of `/proc/PID/cgroup` names a cgroup or one below it.
fn has_group(groups: &str, path: &str) -> bool {
    groups.lines().any(|line| {
        let group = line.splitn(3, ':').nth(2);
        let below = group.and_then(|group| group.strip_prefix(path));
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    })
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

fn members(folder: PathBuf) -> Vec<u32> {
    let mut members = Vec::new();
    let mut folders = vec![folder];
    for _ in 0..GROUPS {
        let Some(folder) = folders.pop() else { break };
        // Groups end at any time.
        let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        members.extend(listed.lines().filter_map(|line| line.parse::<u32>().ok()));
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_counted_in_a_group_and_below() {
        let mount = std::env::temp_dir().join(format!("tracer-processes-{}", std::process::id()));
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
        assert_eq!(hierarchy.missing_root(), None);
        let astray = |paths: &[&str]| hierarchy.astray(paths.iter().copied());
        let (a, b) = ("/system.slice/a.service", "/system.slice/b.service");
        assert_eq!(astray(&[]), None);
        assert_eq!(astray(&[&path, a]), None, "one may have ended meanwhile");
        let most = Astray {
            missing: 2,
            named: 3,
            example: a.to_owned(),
        };
        assert_eq!(astray(&[&path, a, b]), Some(most));
        fs::remove_dir_all(mount).unwrap();
        assert_eq!(hierarchy.missing_root(), Some("/box"));
        assert_eq!(path, "/box/system.slice/a.service");
        assert_eq!(counts, [3, 0, 0, 0]);
    }

    #[test]
    fn a_process_is_in_its_group_and_in_those_above() {
        let groups = "12:pids:/a\n1:name=systemd:/system.slice/a.service/below\n0::/b:c\n\n7\n";
        for (path, is_in) in [
            ("/system.slice/a.service", true),
            ("/system.slice/a.service/below", true),
            ("/system.slice/a.serv", false),
            ("/below", false),
            ("/b:c", true),
        ] {
            assert_eq!(has_group(groups, path), is_in, "{path}");
        }
        assert!(!has_group("", "/a"));
    }

    #[test]
    fn a_number_that_is_not_one_of_the_unit_is_none() {
        let own = std::process::id();
        let hierarchy = Hierarchy {
            mounts: Vec::new(),
            root: String::new(),
        };
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
        let group = groups.lines().next().unwrap().splitn(3, ':').nth(2).unwrap();
        if group != "/" {
            assert_eq!(hierarchy.main_process(own, group), own);
        }
        assert_eq!(hierarchy.main_process(own, "/system.slice/none-such.service"), 0);
        assert_eq!(hierarchy.main_process(own, ""), 0);
        assert_eq!(hierarchy.main_process(0, group), 0);
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
