//! The watched namespaces and their devices.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Owner, is_zero};

/// A network namespace that is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its inode.
    pub inode: u32,
    /// What the user called it: `host`, a name, or a path.
    pub name: String,
    /// What tells it from an earlier one with the same inode (`SO_NETNS_COOKIE`, since 5.14), 0 where the kernel does
    /// not tell.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cookie: u64,
    /// A process that lives in it, and where that belongs; `None` for the tracer's own, and where none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// What a namespace without a name is called begins with this, and with the id of a process in it.
pub const OF_PROCESS: &str = "pid:";

impl Namespace {
    /// It has a name of its own, or was named by the user.
    #[must_use]
    pub fn is_named(&self) -> bool {
        !self.name.starts_with(OF_PROCESS)
    }
}

/// A network namespace that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceEnded {
    /// Its inode, which the kernel gives to the next one.
    pub inode: u32,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Inode of its namespace.
    pub netns: u32,
    /// Its index in that namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Packets that arrive here are arrivals: it has a hardware parent, or the user said so, or `assumed`.
    pub uplink: bool,
    /// It is taken for an uplink since its namespace has no other, as those of pods have none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub assumed: bool,
    /// Its own addresses; none for one that is gone.
    pub addresses: Vec<IpAddr>,
    /// Indices of the devices below it, in order: what has arrived by one of them comes up by this one, as the
    /// same packet (the members of a bond, what a VLAN is on), or as what it carried (what a tunnel goes through).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<u32>,
    /// The device that it is linked to, where that is in another namespace: the other end of a virtual pair, or what
    /// a macvlan is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
}

/// A device in another namespace than the one that is linked to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// Inode of its namespace, 0 where it is not known: that may not be watched.
    pub netns: u32,
    /// Its index there.
    pub index: u32,
}
