//! Records of the ring buffer, and the budget that limits them.

use super::{Entry, FlowKey};

/// Bytes of a packet that an [`Example`] carries.
pub const SNAPLEN: usize = 128;
/// Frames of a kernel stack that an [`Example`] carries.
pub const STACK_DEPTH: usize = 16;

/// Key of the budget for examples.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// Kernel address of the drop.
    pub location: u64,
    /// Reason number.
    pub reason: u32,
    /// Always 0.
    pub reserved: u32,
}

/// What has been spent at a [`Place`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// The second (of boot time) that `examples` belongs to.
    pub second: u64,
    /// Examples sent in that second.
    pub examples: u64,
}

/// Kind of a record in the ring buffer, its first word.
pub mod record {
    /// An [`crate::Example`] follows.
    pub const EXAMPLE: u32 = 1;
    /// A [`crate::SocketChange`] follows.
    pub const SOCKET: u32 = 2;
}

/// A socket as a program saw it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// Its 4-tuple, protocol and namespace.
    pub flow: FlowKey,
    /// TCP state (include/net/tcp_states.h), 0 for no socket.
    pub state: u32,
    /// Always 0.
    pub reserved: u32,
    /// Id of its cgroup in the v2 hierarchy, 0 where unknown.
    pub cgroup: u64,
    /// Inode of the socket file, 0 where there is none.
    pub inode: u64,
}

/// One dropped packet, in full.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// [`record::EXAMPLE`].
    pub record: u32,
    /// Bytes of `bytes` that are valid.
    pub captured: u32,
    /// Boot time in ns (`CLOCK_BOOTTIME`).
    pub time: u64,
    /// The line in the books that this packet was counted under.
    pub entry: Entry,
    /// The packet's flow, as the local socket sees it; zero where it has none.
    pub flow: FlowKey,
    /// Packets that this buffer stands for.
    pub packets: u32,
    /// Length of the packet from the network header on.
    pub length: u32,
    /// Frames of `stack` that are valid.
    pub frames: u32,
    /// Always 0.
    pub reserved: u32,
    /// The socket, where one had been found.
    pub socket: Socket,
    /// Kernel addresses, innermost first.
    pub stack: [u64; STACK_DEPTH],
    /// The packet from its network header on.
    pub bytes: [u8; SNAPLEN],
}

/// A TCP socket changed its state (`inet_sock_set_state`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SocketChange {
    /// [`record::SOCKET`].
    pub record: u32,
    /// State before (include/net/tcp_states.h).
    pub from: u32,
    /// Boot time in ns (`CLOCK_BOOTTIME`).
    pub time: u64,
    /// The socket, with its state after.
    pub socket: Socket,
    /// The process that opened it (thread group), 0 where no process did (a packet did).
    pub pid: u32,
    /// Always 0.
    pub reserved: u32,
    /// Its command.
    pub command: [u8; 16],
}

const _: () = {
    assert!(size_of::<Place>() == 16);
    assert!(size_of::<Spent>() == 16);
    assert!(size_of::<Socket>() == 48 + 8 + 16);
    assert!(size_of::<Example>() == 16 + 32 + 48 + 16 + 72 + 8 * STACK_DEPTH + SNAPLEN);
    assert!(size_of::<SocketChange>() == 16 + 72 + 8 + 16);
};
