//! Neighbours that are asked for, and what waits for others: their answers, or missing fragments.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::is_zero;

/// Messages of ARP and neighbour discovery about an address of this node, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Inode of the namespace.
    pub netns: u32,
    /// Index of the device by which the requests arrived, or the answers left.
    pub device: u32,
    /// The address.
    pub address: IpAddr,
    /// Requests that arrived.
    pub asked: u64,
    /// Answers that left.
    pub answered: u64,
}

/// Packets that arrived by one device, are to leave by another, and wait until the link-layer address of the neighbour
/// there is known. Those that this node sends itself are not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unresolved {
    /// Inode of the namespace.
    pub netns: u32,
    /// Index of the device that the neighbour is at.
    pub device: u32,
    /// The neighbour's address.
    pub address: IpAddr,
    /// Index of the device by which they arrived.
    pub iif: u32,
    /// How many wait now; 0: none any more.
    pub packets: u64,
    /// How many waited already when the tracer started: nobody saw them arrive. Told once for each queue.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub before: u64,
    /// Their bytes, from the network header on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub before_bytes: u64,
}

/// Datagrams of which some fragments have arrived and others have not. The kernel keeps those until all are there, and
/// drops them after 30 s (IPv4) or 60 s (IPv6) by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragments {
    /// Inode of the namespace.
    pub netns: u32,
    /// How many datagrams wait now, whatever device they arrived by.
    pub datagrams: u64,
    /// Memory that their fragments take, in bytes.
    pub memory: u64,
}
