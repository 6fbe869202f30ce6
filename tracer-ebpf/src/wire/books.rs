//! The books: lines, their counts, the lines kept at hand, and what could not be entered.

/// What an [`Entry`] in the books says.
pub mod kind {
    /// A packet arrived on a device (`netif_receive_skb`).
    pub const ARRIVED: u8 = 1;
    /// The kernel found the packet's TCP socket.
    pub const MATCHED: u8 = 2;
    /// A process read the datagram. Only entered with [`crate::datagrams::WHEN_READ`].
    pub const READ: u8 = 3;
    /// The packet left by a device after it had arrived by one.
    pub const FORWARDED: u8 = 4;
    /// The kernel used the packet up itself (`consume_skb`).
    pub const CONSUMED: u8 = 5;
    /// The packet was dropped (`kfree_skb`).
    pub const DROPPED: u8 = 6;
    /// The datagram was put in a socket's receive queue.
    pub const QUEUED: u8 = 7;
}

/// Details of an [`Entry`].
pub mod flag {
    /// The kernel had already found the socket that the packet belongs to.
    pub const SOCKET_FOUND: u32 = 1;
    /// The packet had arrived on a device (`skb_iif` is set); without it, this node was sending it.
    pub const INCOMING: u32 = 2;
    /// The packet had already been entered as [`crate::kind::MATCHED`].
    pub const MATCHED: u32 = 4;
    /// The books had no room for the packet's own line, see [`crate::Entry::reduced`].
    pub const REDUCED: u32 = 8;
    /// It is a piece of a packet and not the first: that one stands for the packet.
    pub const PIECE: u32 = 16;
}

/// A line in the books: packets with one fate. The key of the per-CPU map `BOOKS`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// Kernel address where the packet ended, 0 where there is none.
    pub location: u64,
    /// Inode of the network namespace, 0 where it cannot be known.
    pub netns: u32,
    /// Index of the device by which the packet arrived, 0 where none is known.
    pub iif: u32,
    /// Index of the device that the packet was at, 0 where none is known.
    pub dev: u32,
    /// Drop reason as the running kernel numbers it; 0 where there is none.
    pub reason: u32,
    /// See [`flag`].
    pub flags: u32,
    /// Ethernet protocol (0x0800, 0x86dd, 0x0806 …), host byte order.
    pub ethertype: u16,
    /// IP protocol number, 0 for what is not IP.
    pub protocol: u8,
    /// See [`kind`].
    pub kind: u8,
}

impl Entry {
    /// Builds a line by whole words, see [`crate::FlowKey::new`].
    #[inline(always)]
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "each is a member")]
    pub const fn new(
        kind: u8,
        netns: u32,
        iif: u32,
        dev: u32,
        ethertype: u16,
        protocol: u8,
        flags: u32,
        location: u64,
        reason: u32,
    ) -> Self {
        let what = flags as u64 | (ethertype as u64) << 32 | (protocol as u64) << 48 | (kind as u64) << 56;
        let words = [
            location,
            (netns as u64 | (iif as u64) << 32).to_le(),
            (dev as u64 | (reason as u64) << 32).to_le(),
            what.to_le(),
        ];
        // SAFETY: the layout of Entry, of integers only, and the same size (asserted below).
        unsafe { core::mem::transmute::<[u64; 4], Self>(words) }
    }

    /// The line that packets are entered in where the books have no room for theirs: without place, reason and
    /// protocols, so that there are few such lines, and with all that tells the column of the ledger that they
    /// are in, but for what the kernel used up itself. That of a datagram depends on its protocol, of which
    /// there are three.
    #[inline(always)]
    #[must_use]
    pub const fn reduced(&self) -> Self {
        let protocol = match self.kind {
            kind::QUEUED | kind::READ => self.protocol,
            _ => 0,
        };
        let flags = self.flags | flag::REDUCED;
        Self::new(
            self.kind, self.netns, self.iif, self.dev, 0, protocol, flags, 0, 0,
        )
    }
}

/// Packets and bytes of an [`Entry`], on each CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets, weighted.
    pub packets: u64,
    /// Bytes from the network header on.
    pub bytes: u64,
}

/// Lines of the books that one program keeps at hand on each CPU.
pub const TALLIES: usize = 64;

/// A line of the books that is kept at hand: found without a call, where a look-up in a hash map takes
/// several. `entry.kind` is 0 where the place is free; once taken it stays taken.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// The line.
    pub entry: Entry,
    /// What was counted of it here, beside what the books have.
    pub count: Count,
    /// When the budget for its examples was last found spent, in jiffies.
    pub quiet: u64,
    /// Examples of it that were not sent, which [`loss::EXAMPLES_OVER_BUDGET`] leaves out.
    pub unsent: u64,
}

/// The lines that one program keeps at hand. Each program has its own: on one CPU a program never
/// interrupts itself, so nothing is counted by two at once.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tallies {
    /// By [`Tallies::place`].
    pub lines: [Tally; TALLIES],
}

impl Tallies {
    /// Where a line is kept.
    #[inline(always)]
    #[must_use]
    pub const fn place(entry: &Entry) -> usize {
        let mixed = entry.iif
            ^ entry.netns
            ^ (entry.protocol as u32) << 1
            ^ (entry.ethertype as u32) << 2
            ^ entry.dev << 3
            ^ entry.flags << 1
            ^ entry.reason
            ^ (entry.location >> 2) as u32;
        (mixed as usize) & (TALLIES - 1)
    }
}

/// Index of a program in the per-CPU array `TALLIES`.
pub mod program {
    /// `arrival`
    pub const ARRIVAL: u32 = 0;
    /// `drop`
    pub const DROP: u32 = 1;
    /// `consumed`
    pub const CONSUMED: u32 = 2;
    /// `matched`
    pub const MATCHED: u32 = 3;
    /// `state`
    pub const STATE: u32 = 4;
    /// `queued`
    pub const QUEUED: u32 = 5;
    /// `read`
    pub const READ: u32 = 6;
    /// `sent`
    pub const SENT: u32 = 7;
    /// `udp_enqueued`
    pub const UDP_ENQUEUED: u32 = 8;
    /// `icmp_enqueued`
    pub const ICMP_ENQUEUED: u32 = 9;
    /// How many there are.
    pub const COUNT: u32 = 10;
}

/// What the name of a place in the kernel says of the packets that end there. A program knows a place by its
/// address only: user space names it once a line of the books has told of it.
pub mod sort {
    /// Packets that arrive are dropped here, before the kernel enters them as arrived.
    pub const BEFORE_ARRIVAL: u32 = 1;
    /// What the kernel calls consumed here has been taken away by somebody else: it is lost.
    pub const TAKEN: u32 = 2;
}

/// In place of a reason, where packets were taken ([`sort::TAKEN`]) and the kernel has none to give.
pub const REASON_TAKEN: u32 = u32::MAX;

/// Index in the per-CPU array `LOSSES`: what could not be recorded.
pub mod loss {
    /// Packets whose entry did not fit in the books, not even [`crate::Entry::reduced`].
    pub const BOOKS_FULL: u32 = 0;
    /// Packets that no flow could be counted for because the table is full. They are in the books, but for
    /// the segments of TCP connections that close: of these, each change of state counts as one packet here.
    pub const FLOWS_FULL: u32 = 1;
    /// Examples that were not sent because the budget of their place was spent.
    pub const EXAMPLES_OVER_BUDGET: u32 = 2;
    /// Records that did not fit in the ring buffer.
    pub const RING_FULL: u32 = 3;
    /// Places that did not fit in the table of budgets.
    pub const PLACES_FULL: u32 = 4;
    /// Packets whose end did not fit in the books and that are in them by [`crate::Entry::reduced`].
    pub const IN_OTHER: u32 = 5;
    /// Messages of neighbours whose address did not fit in the table of those.
    pub const NEIGHBOURS_FULL: u32 = 6;
    /// Packets that wait for a neighbour and are not counted as such, because the table of those is full.
    pub const UNRESOLVED_FULL: u32 = 7;
    /// How many there are.
    pub const KINDS: u32 = 8;
}

const _: () = {
    assert!(size_of::<Entry>() == 32);
    assert!(size_of::<Count>() == 16);
    assert!(size_of::<Tallies>() == TALLIES * 64);
};
