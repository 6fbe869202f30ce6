//! Processes that have ended.

/// Ended processes that are remembered; the one that was not asked for the longest makes room.
pub const ENDED: u32 = 4_096;

/// Who a process was that has ended. The value of the map `ENDED`; the key is its number.
///
/// Only of processes that no pid namespace gives another number than the machine's.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// When it ended, boot time in ns.
    pub at: u64,
    /// Id of its cgroup (v2), 1 for the root.
    pub cgroup: u64,
    /// Inode of its network namespace, 0 where it had none any more.
    pub netns: u32,
    /// Number of its parent.
    pub parent: u32,
    /// What the kernel called it.
    pub command: [u8; 16],
    /// What it called its parent.
    pub parent_command: [u8; 16],
}

const _: () = assert!(size_of::<Ended>() == 56);
