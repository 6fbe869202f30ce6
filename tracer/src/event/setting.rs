//! How the node is configured, and what changes in it.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::value::NF_TABLES;
use super::{Owner, Unknown};

/// How one thing stands. It is told when its source first looks, and whenever it has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Inode of its network namespace, 0 for what the whole node has.
    pub netns: u32,
    /// What it is.
    pub thing: Thing,
    /// Its value in the words of the tool that shows it (`ip`, `sysctl`, `bpftool`), empty for what has none but its
    /// being there. `None`: it is not there, or not any more.
    pub value: Option<String>,
    /// Whether it was found so or has changed.
    pub seen: Seen,
    /// Who changed it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Owner>,
    /// Why that is not known; `None` where it is, and where nobody changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_unknown: Option<Unknown>,
}

/// How a source came to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It was so when the source first looked: nothing is known of when it came to be so.
    Found,
    /// The kernel, or who keeps it, told the change when it happened.
    Told,
    /// It was different when the source looked before.
    Noticed,
}

/// Something that is configured. What tells it from others is in it, what may change is its [`Setting::value`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Thing {
    /// A rule that chooses a routing table (`ip rule`). The value is empty.
    Rule {
        /// IPv4 or IPv6.
        version: Version,
        /// Its preference: lower ones are asked first.
        priority: u32,
        /// What it applies to, and what it does: `from all lookup local`.
        text: String,
        /// The table that it chooses, 0 where it does something else.
        table: u32,
    },
    /// This kernel has no rules of a version, as one without `CONFIG_IPV6_MULTIPLE_TABLES`: it finds all routes without.
    /// The value is empty.
    NoRules {
        /// IPv4 or IPv6.
        version: Version,
    },
    /// A route (`ip route`). The value is where it leads.
    Route {
        /// The table that it is in: 255 local, 254 main.
        table: u32,
        /// What it does with a packet: `unicast`, `local`, `blackhole` … (`rtm_type`, as `ip` names it).
        action: String,
        /// Where packets go to; `0.0.0.0` or `::` with `prefix` 0 for the default route.
        destination: IpAddr,
        /// Bits of `destination` that count.
        prefix: u8,
        /// Its metric: lower ones are preferred.
        metric: u32,
    },
    /// A next hop that routes name by its number (`ip nexthop`). The value is where it leads.
    Nexthop {
        /// Its number.
        id: u32,
    },
    /// A number by which the namespace knows another one (`ip netns list-id`). The value is empty.
    Nsid {
        /// It.
        id: i32,
    },
    /// An address of the node (`ip address`).
    Address {
        /// The device that has it.
        device: String,
        /// It.
        address: IpAddr,
        /// Bits of it that are the link's.
        prefix: u8,
    },
    /// What the kernel answers when it is asked what it would do with a packet for an own address that comes in by that
    /// address's device; by loopback with one that this node sends (`ip route get`). The value is `local` where it takes it,
    /// what it does else, and `unclear` with a reason where it does not say.
    Answer {
        /// The device that has the address.
        device: String,
        /// It.
        address: IpAddr,
    },
    /// A network device (`ip link`). The value names its state, MTU, master, XDP program.
    Link {
        /// Its name.
        device: String,
    },
    /// The offloads of a device (`ethtool -k`). The value is which of those are on that could be: `all`, or `all but rx-checksum, rx-gro`,
    /// as the kernel names them.
    Offloads {
        /// The device.
        device: String,
    },
    /// A neighbour that routes lead by, or that was set by hand (`ip neigh`), and what becomes of such a one. The value is its
    /// link-layer address, or that it does not tell one: `FAILED`.
    Neighbour {
        /// The device that it is on.
        device: String,
        /// Its address.
        address: IpAddr,
    },
    /// An address for which this node answers who asks for it at a device, as if it were its own (`ip neigh show proxy`). The value
    /// is empty.
    Proxy {
        /// The device at which it answers.
        device: String,
        /// The address.
        address: IpAddr,
    },
    /// A queueing discipline, a class of one, or a filter of a device (`tc`).
    Traffic {
        /// The device.
        device: String,
        /// What it is, with its handle or parent: `qdisc clsact ffff:`, `class htb 1:10 parent 1:1`, `filter ingress pref 1 bpf`.
        text: String,
    },
    /// A policy of IPsec (`ip xfrm policy`). The value is what it asks for.
    Ipsec {
        /// Which packets it is about: direction, addresses, protocol, ports, mark, priority.
        text: String,
    },
    /// A kernel parameter (`sysctl`).
    Sysctl {
        /// Its name: `net.ipv4.conf.eth0.rp_filter`.
        name: String,
    },
    /// The rules of a firewall. The value tells one set of rules from another: those of `nf_tables` by their generation and
    /// tables, with what that generation has changed, and those of a table of iptables by their number and a hash.
    Ruleset {
        /// Which: `nf_tables`, or a table of the older ones: `ip_tables filter`, `ip6_tables nat`.
        firewall: String,
    },
    /// The table of tracked connections (`conntrack`). The value is what of it was deleted last.
    Tracking,
    /// A BPF program that nothing tells more of: where it is attached is not seen. The value is its type, name, tag and who
    /// loaded it.
    Program {
        /// Its id.
        id: u32,
    },
    /// The BPF programs that are attached to a cgroup in one way, without a link. The value is each one's id, type, name, tag
    /// and who loaded it.
    CgroupPrograms {
        /// The path of the cgroup.
        cgroup: String,
        /// The type of attachment: `cgroup_inet_ingress`.
        hook: String,
    },
    /// A BPF link. The value is what it attaches to what.
    BpfLink {
        /// Its id.
        id: u32,
    },
    /// A file (`/etc/resolv.conf`). The value is what of it matters.
    File {
        /// Its path.
        path: String,
    },
    /// The kernels that are installed, by the folders of their modules. The value is their names, and which of them runs.
    Kernels,
    /// The folder of the running kernel's modules. The value is empty where they can be loaded, and else says why not.
    Modules {
        /// Its path.
        path: String,
    },
}

/// A version of the Internet Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Version {
    /// That of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Its address that stands for any.
    pub(crate) fn any(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// `RT_TABLE_LOCAL` (include/uapi/linux/rtnetlink.h).
pub(crate) const TABLE_LOCAL: u32 = 255;
/// `RT_TABLE_MAIN`.
pub(crate) const TABLE_MAIN: u32 = 254;

/// The parts of the name of a kernel parameter that each device has: `net.ipv4.conf.`, `eth0`, `.rp_filter`; `None` for
/// others.
#[must_use]
pub(crate) fn of_each_device(name: &str) -> Option<(&str, &str, &str)> {
    let conf = name.starts_with("net.").then(|| name.find(".conf."))??;
    let (begin, rest) = name.split_at(conf + ".conf.".len());
    // A device may have dots in its name.
    let (device, end) = rest.split_at(rest.rfind('.')?);
    Some((begin, device, end))
}

impl Thing {
    /// Up to how many things this one is kept, of `most` that there is room for. A router may have a million routes: they
    /// leave an eighth of the room to the rules, devices and addresses, by which it is told whether something is broken.
    #[must_use]
    pub(crate) fn room(&self, most: usize) -> usize {
        match self {
            Self::Route { table, .. } if *table != TABLE_LOCAL => most - most / 8,
            _ => most,
        }
    }

    /// Whether its value is what has happened to it, so that an older one does not say how it was.
    #[must_use]
    pub(crate) fn is_told_by_changes(&self) -> bool {
        match self {
            Self::Ruleset { firewall } => firewall == NF_TABLES,
            Self::Tracking => true,
            _ => false,
        }
    }
}

impl Thing {
    /// A value of it as people are shown it, where all that it says is more than they read.
    pub(crate) fn shown<'v>(&self, value: &'v str) -> Cow<'v, str> {
        match self {
            Self::Ruleset { .. } => super::ruleset::shown(value),
            _ => Cow::Borrowed(value),
        }
    }
}

impl fmt::Display for Thing {
    /// `IPv4 rule 0: from all lookup local`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule {
                version,
                priority,
                text,
                ..
            } => write!(f, "{version} rule {priority}: {text}"),
            Self::NoRules { version } => write!(f, "a kernel without rules of {version}"),
            Self::Route {
                table,
                action,
                destination,
                prefix,
                metric,
            } => {
                f.write_str("route ")?;
                if action != super::value::UNICAST {
                    write!(f, "{action} ")?;
                }
                match prefix {
                    0 => write!(f, "default ({})", Version::of(*destination))?,
                    _ => write!(f, "{destination}/{prefix}")?,
                }
                match *table {
                    TABLE_MAIN => {}
                    TABLE_LOCAL => f.write_str(" table local")?,
                    other => write!(f, " table {other}")?,
                }
                match metric {
                    0 => Ok(()),
                    metric => write!(f, " metric {metric}"),
                }
            }
            Self::Nexthop { id } => write!(f, "nexthop {id}"),
            Self::Nsid { id } => write!(f, "another network namespace's id {id}"),
            Self::Address {
                device,
                address,
                prefix,
            } => write!(f, "address {address}/{prefix} on {device}"),
            Self::Answer { device, address } => write!(f, "kernel's answer for {address} from {device}"),
            Self::Link { device } => write!(f, "device {device}"),
            Self::Offloads { device } => write!(f, "offloads of {device}"),
            Self::Neighbour { device, address } => write!(f, "neighbour {address} on {device}"),
            Self::Proxy { device, address } => write!(f, "proxy neighbour {address} on {device}"),
            Self::Traffic { device, text } => write!(f, "{text} on {device}"),
            Self::Ipsec { text } => write!(f, "IPsec policy {text}"),
            Self::Sysctl { name } => write!(f, "sysctl {name}"),
            Self::Ruleset { firewall } => write!(f, "rules of {firewall}"),
            Self::Tracking => f.write_str("connection tracking"),
            Self::Program { id } => write!(f, "BPF program {id}"),
            Self::CgroupPrograms { cgroup, hook } => write!(f, "BPF programs at {hook} of cgroup {cgroup}"),
            Self::BpfLink { id } => write!(f, "BPF link {id}"),
            Self::File { path } => f.write_str(path),
            Self::Kernels => f.write_str("installed kernels"),
            Self::Modules { path } => write!(f, "kernel modules {path}"),
        }
    }
}

/// The network of that prefix that an address is in.
#[must_use]
pub(crate) fn network(address: IpAddr, prefix: u8) -> IpAddr {
    let mask = |bits: u32| bits.saturating_sub(prefix.into());
    match address {
        IpAddr::V4(v4) => {
            let all = u32::MAX.checked_shl(mask(32)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & all).into())
        }
        IpAddr::V6(v6) => {
            let all = u128::MAX.checked_shl(mask(128)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & all).into())
        }
    }
}
