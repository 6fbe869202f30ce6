//! Control groups: which one a process is in, which one an id stands for, and the unit that its path names.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::owners::{Nobodys, Pace};
use super::text;

/// Folders below the mount that are looked at, at most: deeper nesting than any manager makes.
const DEPTH: usize = 32;
/// Groups that are remembered: past and present ones of a busy node, some 10 MB at most.
const REMEMBERED: usize = 50_000;

/// A control group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Its path below the root of the hierarchy, `/` for the root itself.
    pub path: String,
    /// The systemd unit that the path names (see [`unit`]), empty where none.
    pub unit: String,
}

impl Cgroup {
    fn at(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            unit: unit(path).unwrap_or_default().to_owned(),
        }
    }

    /// What is known of a group that is removed: what it was called, empty where that is not known, and the group that it was
    /// in, if that is still there. Of the name alone no slice is told: a unit of another kind around it would come before that.
    pub(super) fn removed(parent: Option<&Self>, name: &str) -> Self {
        match parent {
            _ if name.is_empty() => Self::default(),
            Some(parent) => Self::at(&format!("{}/{name}", parent.path.trim_end_matches('/'))),
            None => Self {
                path: String::new(),
                unit: unit(name)
                    .filter(|unit| !unit.ends_with(".slice"))
                    .unwrap_or_default()
                    .to_owned(),
            },
        }
    }

    /// Reads `/proc/PID/cgroup` (a line is `number:controllers:path`). The v2 hierarchy (`0::`) counts; on
    /// nodes where systemd keeps its tree in v1 only, that of `name=systemd`. `None` where there is neither.
    #[must_use]
    pub fn from_proc(text: &str) -> Option<Self> {
        let path = |hierarchy: &str| {
            text.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':');
                let number = fields.next()?;
                let controllers = fields.next()?;
                let path = fields.next()?;
                // What the kernel adds where the group has been removed under its last process.
                let path = path.strip_suffix(" (deleted)").unwrap_or(path);
                (controllers == hierarchy && (number == "0" || !controllers.is_empty())).then_some(path)
            })
        };
        let v2 = path("").filter(|path| *path != "/");
        v2.or_else(|| path("name=systemd"))
            .or_else(|| path(""))
            .map(Self::at)
    }
}

/// The systemd unit that a cgroup path names: the innermost component that is the name of a unit with
/// processes of its own (`.service`, `.scope`, `.socket`, `.mount`, `.swap`), else the innermost `.slice`.
///
/// Innermost, because managers nest: a user's own manager (`user@1000.service/app.slice/editor.service`), a
/// container runtime (`kubepods-….slice/cri-containerd-ID.scope`), a system in a container
/// (`machine.slice/box.service/payload/system.slice/cron.service`). Groups that a service makes for itself
/// (`/system.slice/k3s.service/worker`) bear no such suffix and belong to it. `None` where the path names no
/// unit, as for runtimes that do without systemd (`/kubepods/burstable/podUID/ID`, `/docker/ID`).
#[must_use]
pub fn unit(path: &str) -> Option<&str> {
    let innermost = |suffixes: &[&str]| {
        path.rsplit('/')
            // systemd puts a `_` before names that the kernel might take for its own (`_cpu.service`).
            .map(|component| component.strip_prefix('_').unwrap_or(component))
            .find(|component| {
                suffixes.iter().any(|suffix| {
                    component
                        .strip_suffix(suffix)
                        .is_some_and(|stem| !stem.is_empty())
                })
            })
    };
    innermost(&[".service", ".scope", ".socket", ".mount", ".swap"]).or_else(|| innermost(&[".slice"]))
}

/// What the ids of cgroup v2 stand for: those that a BPF program has from a socket or a task.
#[derive(Debug)]
pub(super) struct Cgroups {
    /// Where the v2 hierarchy is mounted, `None` where it is not.
    root: Option<PathBuf>,
    by_id: HashMap<u64, Cgroup>,
    gone: Nobodys,
    pace: Pace,
}

impl Cgroups {
    pub(super) fn new() -> Self {
        Self {
            root: v2(),
            by_id: HashMap::new(),
            gone: Nobodys::default(),
            pace: Pace::default(),
        }
    }

    /// The group of this id; looks again where it is not known yet and the pace allows it.
    pub(super) fn by_id(&mut self, id: u64, now: u64) -> Option<&Cgroup> {
        if let (false, Some(root)) = (self.by_id.contains_key(&id), &self.root)
            && self.pace.allows(now)
            && !self.gone.contains(id, now)
        {
            let begin = Instant::now();
            // Groups that have gone stay known, as their sockets may still be spoken of; within bounds.
            if self.by_id.len() > REMEMBERED {
                self.by_id.clear();
            }
            walk(root, &mut self.by_id);
            self.pace.done(now, begin.elapsed());
            self.gone.looked(now);
            if !self.by_id.contains_key(&id) {
                self.gone.missed(id, now);
            }
        }
        self.by_id.get(&id)
    }
}

/// Where cgroup v2 is mounted, by `/proc/self/mounts`: `/sys/fs/cgroup`, or beside v1 a folder below it.
fn mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let place = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(unescape(place)))
    })
}

/// Where systemd keeps its tree, by `/proc/self/mounts`: in v2, or in the hierarchy `name=systemd` of v1. On a node that
/// has both it may be in either.
pub(super) fn of_systemd(mounts: &str) -> Vec<PathBuf> {
    let v1 = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        let is_systemd = kind == "cgroup" && options.split(',').any(|option| option == "name=systemd");
        is_systemd.then(|| PathBuf::from(unescape(place)))
    });
    mount(mounts).into_iter().chain(v1).collect()
}

/// Undoes the `\040` (octal) that stands for white space and backslashes in the lists of mounts.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if code.is_ascii() => {
                plain.push(char::from(code));
                rest = &after[3..];
            }
            _ => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain + rest
}

/// Where cgroup v2 is mounted.
pub(super) fn v2() -> Option<PathBuf> {
    mount(&text::read("/proc/self/mounts").unwrap_or_default())
}

/// The paths of all groups of a hierarchy that is mounted there.
pub(super) fn paths(root: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    each(root, |_, path| paths.push(path.to_owned()));
    paths
}

/// Enters each folder below `root` under its inode, which is the id of its group (`kernfs_node.id`).
fn walk(root: &Path, by_id: &mut HashMap<u64, Cgroup>) {
    each(root, |id, path| {
        by_id.insert(id, Cgroup::at(path));
    });
}

/// Visits each group: its id, and its path.
fn each(root: &Path, mut visit: impl FnMut(u64, &str)) {
    if let Ok(metadata) = fs::metadata(root) {
        visit(metadata.ino(), "/");
    }
    let mut folders = vec![(root.to_path_buf(), String::new(), 0)];
    while let Some((folder, path, depth)) = folders.pop() {
        // Groups end at any time.
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = format!("{path}/{}", entry.file_name().to_string_lossy());
            visit(entry.ino(), &path);
            if depth < DEPTH {
                folders.push((entry.path(), path, depth + 1));
            }
        }
    }
}

/// The cgroup of a process.
pub(super) fn of_process(pid: u32) -> io::Result<Option<Cgroup>> {
    text::read(format!("/proc/{pid}/cgroup")).map(|text| Cgroup::from_proc(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_unit_is_named() {
        let pod = "kubepods-burstable-pod0a1b2c3d_4e5f_6789_abcd_ef0123456789.slice";
        let id = "5d1e5ce6b0f2a7e0d3f04c1f0c2a9f6b8b2b9c1f7d6c5b4a39281706f5e4d3c2";
        for (path, expected) in [
            ("/", None),
            ("", None),
            ("/system.slice/nginx.service", Some("nginx.service")),
            (
                "/system.slice/system-getty.slice/getty@tty1.service",
                Some("getty@tty1.service"),
            ),
            ("/init.scope", Some("init.scope")),
            ("/system.slice", Some("system.slice")),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                Some("session-3.scope"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service",
                Some("foo.service"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/init.scope",
                Some("init.scope"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice",
                Some("user@1000.service"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-5d1e.scope/container",
                Some("libpod-5d1e.scope"),
            ),
            (
                &format!("/kubepods.slice/kubepods-burstable.slice/{pod}/cri-containerd-{id}.scope"),
                Some(&format!("cri-containerd-{id}.scope") as &str),
            ),
            (
                &format!("/kubepods.slice/kubepods-burstable.slice/{pod}"),
                Some(pod),
            ),
            (
                &format!("/system.slice/containerd.service/{pod}:cri-containerd:{id}"),
                Some("containerd.service"),
            ),
            (&format!("/kubepods/burstable/pod0a1b2c3d/{id}"), None),
            (&format!("/docker/{id}"), None),
            ("/system.slice/docker-5d1e.scope", Some("docker-5d1e.scope")),
            (
                "/system.slice/docker-5d1e.scope/system.slice/cron.service",
                Some("cron.service"),
            ),
            (
                "/machine.slice/box.service/payload/system.slice/cron.service",
                Some("cron.service"),
            ),
            ("/system.slice/k3s.service/worker", Some("k3s.service")),
            ("/system.slice/_cpu.service", Some("cpu.service")),
            ("/system.slice/.service", Some("system.slice")),
            ("/system.slice/dbus.socket", Some("dbus.socket")),
            ("/../../other.service", Some("other.service")),
        ] {
            assert_eq!(unit(path), expected, "{path}");
        }
    }

    #[test]
    fn a_group_that_is_removed_is_known_by_its_name_and_where_it_was() {
        let removed = |parent: Option<&str>, name: &str| {
            let Cgroup { path, unit } = Cgroup::removed(parent.map(Cgroup::at).as_ref(), name);
            (path, unit)
        };
        let known = |path: &str, unit: &str| (path.to_owned(), unit.to_owned());
        assert_eq!(
            removed(Some("/system.slice"), "route.service"),
            known("/system.slice/route.service", "route.service")
        );
        assert_eq!(removed(Some("/"), "a.scope"), known("/a.scope", "a.scope"));
        assert_eq!(
            removed(Some("/system.slice/k3s.service"), "worker"),
            known("/system.slice/k3s.service/worker", "k3s.service")
        );
        assert_eq!(removed(None, "_cpu.service"), known("", "cpu.service"));
        assert_eq!(removed(None, "worker"), known("", ""));
        assert_eq!(removed(Some("/system.slice"), ""), known("", ""));
        assert_eq!(
            removed(None, "app.slice"),
            known("", ""),
            "it may be of a user's manager"
        );
    }

    #[test]
    fn proc_pid_cgroup_is_read_whatever_hierarchy_systemd_uses() {
        let path = |text: &str| Cgroup::from_proc(text).map(|cgroup| cgroup.path);
        let ssh = || Some("/system.slice/ssh.service".to_owned());
        assert_eq!(path("0::/system.slice/ssh.service\n"), ssh());
        let hybrid = "9:name=systemd:/old\n4:cpu,cpuacct:/\n0::/system.slice/ssh.service\n";
        assert_eq!(path(hybrid), ssh(), "v2 before v1");
        let v1 = "9:name=systemd:/system.slice/ssh.service\n4:memory:/else\n";
        assert_eq!(path(v1), ssh());
        let v1_with_empty_v2 = "9:name=systemd:/system.slice/ssh.service\n0::/\n";
        assert_eq!(path(v1_with_empty_v2), ssh());
        assert_eq!(path("9:name=systemd:/\n0::/\n"), Some("/".to_owned()));
        assert_eq!(path("0::/system.slice/ssh.service (deleted)\n"), ssh());
        assert_eq!(path("0::/a:b/c.service\n"), Some("/a:b/c.service".to_owned()));
        assert_eq!(path("4:memory:/else\n"), None);
        assert_eq!(path("nonsense\n\n0:\n"), None);
        assert_eq!(
            Cgroup::from_proc("0::/system.slice/ssh.service").unwrap().unit,
            "ssh.service"
        );
    }

    #[test]
    fn the_mount_is_found_alone_and_beside_v1() {
        let unified = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        assert_eq!(mount(unified), Some("/sys/fs/cgroup".into()));
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/my\\040cgroup\\134 cgroup2 rw 0 0\n";
        assert_eq!(mount(hybrid), Some("/sys/fs/my cgroup\\".into()));
        let named = format!("{hybrid}cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0\n");
        let both = ["/sys/fs/my cgroup\\", "/sys/fs/cgroup/systemd"].map(PathBuf::from);
        assert_eq!(of_systemd(&named), both);
        assert_eq!(mount("proc /proc proc rw 0 0\nbroken\n"), None);
        assert_eq!(unescape("a\\9b\\"), "a\\9b\\");
    }

    #[test]
    fn an_id_is_the_inode_of_its_folder() {
        let root = std::env::temp_dir().join(format!("tracer-cgroup-{}", std::process::id()));
        let folder = root.join("system.slice/a.service");
        fs::create_dir_all(&folder).unwrap();
        let id = |path: &Path| fs::metadata(path).unwrap().ino();
        let mut cgroups = Cgroups {
            root: Some(root.clone()),
            by_id: HashMap::new(),
            gone: Nobodys::default(),
            pace: Pace::default(),
        };
        let found = cgroups.by_id(id(&folder), 0).cloned();
        let top = cgroups.by_id(id(&root), 0).cloned();

        let late = root.join("late.scope");
        fs::create_dir(&late).unwrap();
        let too_soon = cgroups.by_id(id(&late), 1).cloned();
        let later = cgroups.by_id(id(&late), u64::MAX).cloned();
        fs::remove_dir_all(&root).unwrap();

        let expected = Cgroup {
            path: "/system.slice/a.service".to_owned(),
            unit: "a.service".to_owned(),
        };
        assert_eq!(found, Some(expected));
        assert_eq!(
            top,
            Some(Cgroup {
                path: "/".to_owned(),
                unit: String::new()
            })
        );
        assert_eq!(too_soon, None);
        assert_eq!(later.unwrap().unit, "late.scope");
    }
}
