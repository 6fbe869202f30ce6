//! Who has or does something, and why that is not known.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A process and where it belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Process id in the tracer's own pid namespace, 0 where no process is known but where it belongs is.
    pub pid: u32,
    /// Its command (`/proc/PID/comm`), empty where no process is known.
    pub command: String,
    /// Path of its cgroup, empty where unknown.
    pub cgroup: String,
    /// The systemd unit that the path names, empty where none.
    pub unit: String,
    /// Its parent, where that was asked for as of one who did something, and was still to be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Box<Parent>>,
}

/// The process that is the parent of another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Parent {
    /// Its id.
    pub pid: u32,
    /// Its command, empty where it had ended meanwhile.
    pub command: String,
}

/// The number of a process, by who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Its own pid namespace: what the process takes for its number, and what a socket is named after.
    Own(u32),
    /// The machine's first pid namespace: what the kernel itself tells.
    Machine(u32),
}

/// A process that has ended, as it was remembered when it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedProcess {
    /// When it ended, boot time in ns.
    pub at: u64,
    /// When another one ended that had the same number there, as of another pid namespace.
    pub other: Option<u64>,
    /// Its number, as the machine counts.
    pub pid: u32,
    /// What the kernel called it.
    pub command: String,
    /// Its parent.
    pub parent: Parent,
    /// Id of its cgroup (v2).
    pub cgroup: u64,
    /// Id of the group that this one is in, 0 where that is not known.
    pub cgroup_parent: u64,
    /// What its cgroup is called there, empty where that is not known. A group may be removed with its last process.
    pub cgroup_name: String,
    /// Inode of its network namespace, 0 where it had none any more.
    pub netns: u32,
}

impl Owner {
    /// A process of which no more is known. An empty command: it had ended before it could be asked.
    #[must_use]
    pub fn named(pid: u32, command: &str) -> Self {
        Self {
            pid,
            command: command.to_owned(),
            ..Self::default()
        }
    }

    /// The id of the container that its cgroup is of, empty for none: the innermost folder that is called by 64 digits in
    /// hex, as containerd, CRI-O, Docker and Podman do it. `cri-containerd-ID.scope`, `docker-ID.scope`, `/docker/ID`,
    /// `POD:cri-containerd:ID`; not `crio-conmon-ID.scope`, which is the container's guard.
    #[must_use]
    pub fn container(&self) -> &str {
        /// Digits of an id.
        const DIGITS: usize = 64;
        let id = |folder: &'_ str| -> Option<usize> {
            let name = folder.strip_suffix(".scope").unwrap_or(folder);
            let begin = name.rfind(['-', ':']).map_or(0, |at| at + 1);
            let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
            let is_id = name.len() - begin == DIGITS && name.bytes().skip(begin).all(is_hex);
            (is_id && !name[..begin].ends_with("conmon-")).then_some(begin)
        };
        let mut folders = self.cgroup.rsplit('/');
        let found = folders.find_map(|folder| folder.get(id(folder)?..));
        found.and_then(|id| id.get(..DIGITS)).unwrap_or_default()
    }
}

impl Owner {
    /// The uid of the Kubernetes pod that its cgroup is of, as `kubectl` shows it; empty for none. The innermost folder called after
    /// one, as the kubelet names it with systemd (`kubepods-burstable-podUID.slice`, where `_` stands for `-`) and without
    /// (`/kubepods/burstable/podUID`), whatever the containers in it are called. The uid of a pod of a file on the node
    /// (`staticPodPath`) is a digest, without hyphens.
    #[must_use]
    pub fn pod(&self) -> String {
        /// Digits of a uid.
        const DIGITS: usize = 32;
        if !self.cgroup.contains("kubepods") {
            return String::new();
        }
        let uid = |folder: &str| -> Option<String> {
            // `SLICE:cri-containerd:ID`, where containerd has no folder of its own for the pod.
            let name = folder.split(':').next()?;
            let name = name.strip_suffix(".slice").unwrap_or(name);
            let begin = match name.strip_prefix("pod") {
                Some(uid) => uid,
                None => name.rsplit_once("-pod")?.1,
            };
            let is_uid = begin
                .bytes()
                .all(|c| c.is_ascii_hexdigit() || c == b'-' || c == b'_')
                && begin.bytes().filter(u8::is_ascii_hexdigit).count() == DIGITS;
            is_uid.then(|| begin.replace('_', "-"))
        };
        let mut folders = self.cgroup.rsplit('/');
        folders.find_map(uid).unwrap_or_default()
    }
}

/// Said of a process of which only the id is known.
pub const ENDED: &str = "ended before it could be asked";

/// `ip[7]`; `process 7` where its command is not known. What is known of it besides belongs in brackets behind it, with
/// [`ENDED`] where there is no command.
#[must_use]
pub fn process(command: &str, pid: u32) -> String {
    match (command, pid) {
        ("", 0) => String::new(),
        ("", pid) => format!("process {pid}"),
        (command, 0) => command.to_owned(),
        (command, pid) => format!("{command}[{pid}]"),
    }
}

/// Why it is not known who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// It was seen by comparing with the look before: nobody tells who does such things, as who writes a kernel parameter.
    Compared,
    /// The kernel told it and named nobody: it acted by itself, or does not say who asked. That it never does of what was
    /// asked by ioctl, /proc or /sys, nor of what is set of a device that is there (`rtnetlink_event`).
    Kernel,
    /// The kernel named a socket, and whose that was could not be found in time: it had been closed, as a rule.
    NotFound,
    /// Several did something that may have brought it about, or the kernel did, too.
    Several,
    /// More changed at once than could be read, or nobody listened for a while: it was different afterwards.
    Lost,
    /// Who told it does not say: systemd of who asks it, the file system of who writes a file.
    NotTold,
    /// Nobody: the time for which it was set was over, as that of a lease that is not renewed.
    Expired,
    /// Nobody: the time for which the address was to be preferred was over. It is valid yet, and no new connection begins at it.
    Deprecated,
}

impl Unknown {
    /// `by whom is not known: …`; or that it was nobody.
    #[must_use]
    pub fn told(self) -> String {
        match self {
            Self::Expired | Self::Deprecated => self.to_string(),
            _ => format!("by whom is not known: {self}"),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Compared => {
                "seen by comparing with the look before, the kernel does not tell who does this"
            }
            Self::Kernel => "the kernel does not say who asked, or did so by itself",
            Self::NotFound => "it was gone before it could be found",
            Self::Several => "several did something at once",
            Self::Lost => {
                "the kernel's message was not heard: more came at once than could be read, or nobody listened"
            }
            Self::NotTold => "what tells of it names nobody",
            Self::Expired => {
                "by the kernel: the time for which it was set was over, and nobody had prolonged it"
            }
            Self::Deprecated => {
                "by the kernel: the time for which it was to be preferred was over, and nobody had prolonged it"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_known_by_the_cgroup() {
        let uid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
        let (in_slice, digest) = (uid.replace('-', "_"), uid.replace('-', ""));
        let of = |cgroup: &str| {
            let owner = Owner {
                cgroup: cgroup.to_owned(),
                ..Owner::default()
            };
            owner.pod()
        };
        for cgroup in [
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{in_slice}.slice/cri-containerd-1.scope"
            ),
            format!("/kubepods.slice/kubepods-pod{in_slice}.slice"),
            format!(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{in_slice}.slice/crio-1.scope/init"
            ),
            format!(
                "/system.slice/containerd.service/kubepods-besteffort-pod{in_slice}.slice:cri-containerd:1"
            ),
            format!("/kubepods/burstable/pod{uid}/0a1b"),
        ] {
            assert_eq!(of(&cgroup), uid, "{cgroup}");
        }
        assert_eq!(
            of(&format!("/kubepods/pod{digest}/1")),
            digest,
            "of a file on the node"
        );
        for cgroup in [
            String::new(),
            "/kubepods.slice/kubepods-burstable.slice".to_owned(),
            format!("/machine.slice/libpod-{digest}.scope"),
            format!("/user.slice/pod{uid}"),
            format!("/kubepods/pod{}", &uid[1..]),
            format!("/kubepods/pod{uid}0"),
            "/kubepods/podé".to_owned(),
        ] {
            assert_eq!(of(&cgroup), "", "{cgroup}");
        }
    }

    #[test]
    fn a_container_is_known_by_the_cgroup() {
        let id = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9";
        let of = |cgroup: &str| {
            let owner = Owner {
                cgroup: cgroup.to_owned(),
                ..Owner::default()
            };
            owner.container().to_owned()
        };
        for cgroup in [
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("/system.slice/docker-{id}.scope/init"),
            format!("/docker/{id}/system.slice/cron.service"),
            format!("/kubepods/burstable/pod0a1b/{id}"),
            format!("/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{id}"),
            format!("/docker/{}/docker/{id}", id.replace('0', "1")),
        ] {
            assert_eq!(of(&cgroup), id, "{cgroup}");
        }
        for cgroup in [
            String::new(),
            "/system.slice/ssh.service".to_owned(),
            format!("/system.slice/crio-conmon-{id}.scope"),
            format!("/docker/{}", &id[1..]),
            format!("/docker/{id}0"),
            format!("/docker/{}", id.to_uppercase()),
            format!("/docker/{}é", &id[2..]),
        ] {
            assert_eq!(of(&cgroup), "", "{cgroup}");
        }
    }
}
