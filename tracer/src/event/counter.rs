//! Counters that the kernel keeps by itself.

use serde::{Deserialize, Serialize};

use super::is_zero;

/// A counter of a watched namespace that the kernel keeps by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// What tells it from others.
    pub key: CounterKey,
    /// By how much it has grown since the tracer first saw it, at the start or when its namespace or device came.
    /// What it grew by just before it fell back is not in it.
    pub grown: u64,
}

/// What tells one [`Counter`] from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CounterKey {
    /// Inode of the namespace; of the first one that is watched for what the whole machine has ([`Source::Softnet`]).
    pub netns: u32,
    /// Who counts.
    pub source: Source,
    /// Index of the device that it is one of, 0 where it is one of no device.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub device: u32,
    /// Its name, as `nstat`, `ethtool -S`, `ip -s link` or `conntrack -S` have it: `TcpExtListenOverflows`.
    pub name: String,
}

/// Where a [`Counter`] is from.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// /proc/net/snmp: IPv4, and TCP and UDP of both.
    Snmp,
    /// /proc/net/snmp6: IPv6.
    Snmp6,
    /// /proc/net/netstat: what snmp has no room for.
    Netstat,
    /// /proc/net/softnet_stat: the receive queues of all CPUs, for the whole machine.
    Softnet,
    /// Statistics that every device has (`struct rtnl_link_stats64`).
    Device,
    /// Statistics of a device's driver (`ethtool -S`).
    Ethtool,
    /// Connection tracking.
    Conntrack,
}
