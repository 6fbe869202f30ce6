//! The lines of the books, and examples of dropped packets.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FlowKey, Owner, Protocol, SocketState};

/// A place in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Location {
    /// The function, as `/proc/kallsyms` names it (without compiler suffixes such as `.constprop.0`);
    /// the address in hexadecimal where no name is to be had.
    pub symbol: String,
    /// Bytes into it.
    pub offset: u32,
}

impl fmt::Display for Location {
    /// `ip_forward+0x1c4`; an address without a name as it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.symbol.starts_with("0x") {
            return f.pad(&self.symbol);
        }
        f.pad(&format!("{}+{:#x}", self.symbol, self.offset))
    }
}

/// What became of the packets of an [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// They arrived on a device.
    Arrived,
    /// The kernel found their TCP socket.
    Matched,
    /// A process read the datagram. Only told where the kernel does not tell [`Fate::Queued`].
    Read,
    /// The datagram was put in a socket's receive queue.
    Queued,
    /// They left by a device after they had arrived by one.
    Forwarded,
    /// The kernel used them up itself.
    Consumed,
    /// They were dropped.
    Dropped,
}

/// A line in the books: all packets that share what is said here, since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What tells this line from others.
    pub key: EntryKey,
    /// Packets, as the wire carried them.
    pub packets: u64,
    /// Their bytes, from the network header on.
    pub bytes: u64,
}

/// The reason of packets that somebody else took from the kernel, such as a tc program: it tells of no drop and has
/// no name for it.
pub const STOLEN: &str = "stolen";

/// The reason of drops whose lines the books had no room for: neither reason nor place nor protocol is known of
/// them any more.
pub const OTHER: &str = "other";

/// What tells one [`Entry`] from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryKey {
    /// What became of the packets.
    pub fate: Fate,
    /// Inode of the namespace, 0 where it cannot be known.
    pub netns: u32,
    /// Index of the device by which the packets arrived, 0 where none is known.
    pub iif: u32,
    /// Index of the device that the packets were at, 0 where none is known.
    pub device: u32,
    /// Ethernet protocol.
    pub ethertype: u16,
    /// IP protocol.
    pub protocol: Protocol,
    /// The kernel's reason for a drop.
    pub reason: Option<String>,
    /// Where in the kernel they ended.
    pub location: Option<Location>,
    /// The kernel had already found the socket that they belong to.
    pub socket_found: bool,
    /// They had arrived on a device; else this node was sending them.
    pub incoming: bool,
    /// They had been entered as [`Fate::Matched`] before.
    pub matched: bool,
    /// Fragments, and not the first ones of their packets: each packet is counted by its first one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub piece: bool,
}

/// One dropped packet, in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The line in the books that it was counted under.
    pub entry: EntryKey,
    /// Its flow, where it has one.
    pub flow: Option<FlowKey>,
    /// Packets that the buffer stands for.
    pub packets: u32,
    /// Length from the network header on.
    pub length: u32,
    /// The socket that had been found, with its state.
    pub socket: Option<(FlowKey, SocketState)>,
    /// Who has that socket.
    pub owner: Option<Owner>,
    /// Kernel stack from the place to its callers; empty where the same one was told of this line before.
    pub stack: Vec<Location>,
    /// The packet from its network header on, at most [`tracer_ebpf::SNAPLEN`] bytes. Not part of the
    /// JSON form: in a trace the bytes are the packet block's own.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}
