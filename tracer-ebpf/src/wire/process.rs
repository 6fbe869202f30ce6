//! Processes that have ended.

/// Entries of ended processes; the one that was not asked for the longest makes room.
pub const ENDED: u32 = 4_096;

/// Which process has ended: the key of the map `ENDED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndedKey {
    /// Its number: as its own pid namespace counts, or as the machine does ([`EndedKey::MACHINE`]).
    pub number: u32,
    /// Inode of its network namespace.
    pub netns: u32,
}

const _: () = assert!(size_of::<EndedKey>() == 8);

impl EndedKey {
    /// In place of a network namespace: the number is the machine's. Only processes have such an entry that their own pid
    /// namespace gives another number.
    pub const MACHINE: u32 = 0;
}

/// Room for the name of a cgroup with the NUL behind it: `cri-containerd-`, 64 digits and `.scope` fit, as do nearly all
/// names of units, which may have 255 characters.
pub const CGROUP_NAME: usize = 128;

/// Who a process was that has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When it ended, boot time in ns.
    pub at: u64,
    /// When another one ended that had the same number in the same network namespace, as of another pid namespace; 0 for
    /// never.
    pub other: u64,
    /// Id of its cgroup (v2), 1 for the root.
    pub cgroup: u64,
    /// Id of the group that this one is in; 0 where it is in none, or this kernel does not tell.
    pub cgroup_parent: u64,
    /// Its number, as the machine counts.
    pub pid: u32,
    /// Inode of its network namespace, 0 where it had none any more.
    pub netns: u32,
    /// Number of its parent, as the machine counts.
    pub parent: u32,
    /// 0.
    pub reserved: u32,
    /// What the kernel called it.
    pub command: [u8; 16],
    /// What it called its parent.
    pub parent_command: [u8; 16],
    /// The cgroup's own name, which is to be had no more once the group is removed; empty where it did not fit, or this
    /// kernel does not tell.
    pub cgroup_name: [u8; CGROUP_NAME],
}

const _: () = assert!(size_of::<Ended>() == 80 + CGROUP_NAME);
