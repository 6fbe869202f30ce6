//! What waits for neighbours already when the tracer starts.
//!
//! No program has seen these packets arrive, and all will be seen to leave. So they are looked for once, in the
//! neighbour tables of IPv4 and IPv6 (`arp_tbl`, `nd_tbl`), which all namespaces share. The way there is by the loopback
//! device of this thread's namespace: `in_device.arp_parms.tbl`, `inet6_dev.nd_parms.tbl`. No lock of the kernel's is
//! held: what changes meanwhile is looked at again, and whatever is found is checked.

use aya::Ebpf;
use tracer_ebpf::{ArrivedBy, DEVICES, Offsets, Unresolved};

use super::btf::Btf;
use super::memory::{KernelMemory, Memory, Reading, member};
use super::unresolved;
use crate::event::{Capability, CapabilityState};

/// The capability of the programs that tell what waits for neighbours.
pub(super) const CAPABILITY: &str = "neighbour-queues";
/// What is not seen where it does not tell what waits at the start.
const LOST: &str = "packets that waited for a neighbour when the tracer started are not counted as arrived, and \
                    unexplained falls below 0 by as many when they leave";

/// Neighbours of one table that are looked at, at most: 16 times as many as a table holds by default (`gc_thresh3`).
const MOST: usize = 16_384;
/// Buckets of a table have at most this power of two: far above what the kernel makes.
const LARGEST_SHIFT: u32 = 24;
/// Buffers of one queue that are looked at, at most. By default there is room for less than 300
/// (`unres_qlen_bytes`).
const LONGEST: u32 = 4_096;
/// How often a queue is looked at that changes meanwhile.
const LOOKS: usize = 4;

/// A queue in which something waits that had arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// The neighbour's address in the kernel.
    pub neighbour: u64,
    /// As the programs tell it.
    pub queue: Unresolved,
    /// Bytes of each of `queue.arrived`.
    pub bytes: [u64; DEVICES],
}

/// Where the kernel keeps it.
#[derive(Clone, Debug)]
struct Layout {
    offsets: Offsets,
    loopback: u64,
    /// From a device to the neighbour table of IPv4 or IPv6, step by step.
    tables: [[u64; 3]; 2],
    hashes: u64,
    shift: u64,
    buckets: u64,
    /// The link between neighbours of one bucket. Until 6.12 it leads to the neighbour itself, since then to its link.
    link: u64,
    leads_to_link: bool,
    queue: u64,
    next: u64,
}

impl Layout {
    /// Of the running kernel. The error names what it lacks.
    fn of(btf: &Btf, offsets: &Offsets) -> Result<Self, String> {
        let find = |structure: &str, member: &str| btf.offset(structure, member).map(u64::from);
        let at = |structure: &str, member: &str| {
            find(structure, member).ok_or_else(|| format!("this kernel has no {structure}.{member}"))
        };
        let link = find("neighbour", "hash");
        Ok(Self {
            offsets: *offsets,
            loopback: at("net", "loopback_dev")?,
            tables: [
                [
                    at("net_device", "ip_ptr")?,
                    at("in_device", "arp_parms")?,
                    at("neigh_parms", "tbl")?,
                ],
                [
                    at("net_device", "ip6_ptr")?,
                    at("inet6_dev", "nd_parms")?,
                    at("neigh_parms", "tbl")?,
                ],
            ],
            hashes: at("neigh_table", "nht")?,
            shift: at("neigh_hash_table", "hash_shift")?,
            buckets: find("neigh_hash_table", "hash_heads")
                .map_or_else(|| at("neigh_hash_table", "hash_buckets"), Ok)?,
            link: link.map_or_else(|| at("neighbour", "next"), Ok)?,
            leads_to_link: link.is_some(),
            queue: at("neighbour", "arp_queue")?,
            next: at("sk_buff", "next")?,
        })
    }
}

/// A way through the kernel's memory that led nowhere.
#[derive(Debug, PartialEq, Eq)]
enum Lost {
    /// There is more than is looked at.
    TooMany,
    /// What was to be there was not.
    Unreadable,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany => write!(f, "there are more than {MOST} neighbours"),
            Self::Unreadable => f.write_str("the neighbour tables could not be followed"),
        }
    }
}

/// Enters what waits now, where all programs are there that go on with it. Where it cannot be known their capability
/// says why.
pub(super) fn enter(
    queues: &mut unresolved::Unresolved,
    capabilities: &mut [Capability],
    (btf, offsets): (&Btf, &Offsets),
    ebpf: &mut Ebpf,
    netns: Option<u32>,
) {
    let capability = capabilities
        .iter_mut()
        .find(|known| known.name == CAPABILITY && known.state == CapabilityState::Available);
    let Some(capability) = capability else {
        queues.leave_out();
        return;
    };
    if let Err(why) = stand(queues, btf, offsets, ebpf, netns) {
        capability.state = CapabilityState::Partial;
        capability.why = format!("{why}; {LOST}");
    }
}

/// Looks through the tables, and then once more at the queues alone in which something waited or was put meanwhile: that
/// takes no time, so next to nothing changes from there to the beginning of the books. The error says why what waits is not
/// known.
fn stand(
    queues: &mut unresolved::Unresolved,
    btf: &Btf,
    offsets: &Offsets,
    ebpf: &mut Ebpf,
    netns: Option<u32>,
) -> Result<(), String> {
    let layout = Layout::of(btf, offsets)?;
    KernelMemory::load(ebpf, Reading::Words)?;
    let memory = KernelMemory::of(ebpf)?;
    let found = find(&memory, &layout, netns).map_err(|lost| lost.to_string())?;
    let mut neighbours = queues.neighbours();
    neighbours.extend(found.iter().map(|standing| standing.neighbour));
    let walk = Walk {
        memory: &memory,
        layout: &layout,
    };
    let waits = neighbours
        .into_iter()
        .filter_map(|neighbour| walk.standing(neighbour));
    queues.stand(&waits.collect::<Vec<_>>());
    Ok(())
}

/// Finds every queue in which something waits that had arrived, of one namespace or of all.
fn find(memory: &dyn Memory, layout: &Layout, netns: Option<u32>) -> Result<Vec<Standing>, Lost> {
    let walk = Walk { memory, layout };
    let mut found = Vec::new();
    for table in walk.tables()? {
        for neighbour in walk.waited_for(table)? {
            let standing = walk.standing(neighbour);
            found.extend(standing.filter(|found| netns.is_none_or(|netns| netns == found.queue.netns)));
        }
    }
    Ok(found)
}

struct Walk<'a> {
    memory: &'a dyn Memory,
    layout: &'a Layout,
}

impl Walk<'_> {
    /// A member that is a number of four bytes.
    fn word(&self, object: u64, offset: u32) -> Option<u32> {
        self.memory.u32(member(object, offset.into())?)
    }

    /// The neighbour tables: where IPv6 is off, that of IPv4 alone.
    fn tables(&self) -> Result<Vec<u64>, Lost> {
        let offsets = &self.layout.offsets;
        let loopback = || {
            let net = self.memory.namespace(offsets)?;
            self.memory.pointer(net, self.layout.loopback)
        };
        let loopback = loopback().ok_or(Lost::Unreadable)?;
        let mut tables = Vec::new();
        for [device, parms, table] in self.layout.tables {
            let here = self.memory.pointer(loopback, device).ok_or(Lost::Unreadable)?;
            if here == 0 {
                continue;
            }
            let table = self
                .memory
                .pointer(here, parms)
                .and_then(|parms| self.memory.pointer(parms, table));
            tables.push(table.ok_or(Lost::Unreadable)?);
        }
        Ok(tables)
    }

    /// The neighbours of a table for which something waits.
    fn waited_for(&self, table: u64) -> Result<Vec<u64>, Lost> {
        let layout = self.layout;
        let open = || {
            let hashes = self.memory.pointer(table, layout.hashes)?;
            let shift = self.memory.u32(hashes.checked_add(layout.shift)?)?;
            Some((self.memory.pointer(hashes, layout.buckets)?, shift))
        };
        let (buckets, shift) = open()
            .filter(|(_, shift)| *shift <= LARGEST_SHIFT)
            .ok_or(Lost::Unreadable)?;
        let mut found = Vec::new();
        let mut seen = 0;
        for bucket in 0..1_u64 << shift {
            let mut at = self.memory.pointer(buckets, 8 * bucket).ok_or(Lost::Unreadable)?;
            while at != 0 {
                seen += 1;
                if seen > MOST {
                    return Err(Lost::TooMany);
                }
                let neighbour = if layout.leads_to_link {
                    at.wrapping_sub(layout.link)
                } else {
                    at
                };
                // One that was freed meanwhile leads nowhere, or to what is no neighbour: then the rest of its bucket
                // is gone with it.
                if self.memory.pointer(neighbour, layout.offsets.neigh_tbl.into()) != Some(table) {
                    break;
                }
                if self
                    .word(neighbour, layout.offsets.neigh_waiting)
                    .is_some_and(|length| length > 0)
                {
                    found.push(neighbour);
                }
                at = self.memory.pointer(neighbour, layout.link).unwrap_or(0);
            }
        }
        Ok(found)
    }

    /// What waits for a neighbour, as of one moment.
    fn standing(&self, neighbour: u64) -> Option<Standing> {
        let offsets = &self.layout.offsets;
        let now = || {
            let length = self.word(neighbour, offsets.neigh_waiting)?;
            Some((
                length,
                self.memory.pointer(neighbour, offsets.neigh_newest.into())?,
            ))
        };
        (0..LOOKS).find_map(|_| {
            let before = now()?;
            let found = self.look(neighbour, before)?;
            (now() == Some(before)).then_some(found)
        })
    }

    /// `length` buffers wait for it, the last of which is `newest`.
    fn look(&self, neighbour: u64, (length, newest): (u32, u64)) -> Option<Standing> {
        let offsets = &self.layout.offsets;
        let device = self.memory.pointer(neighbour, offsets.neigh_dev.into())?;
        let mut found = Standing {
            neighbour,
            queue: Unresolved {
                address: self.address(neighbour)?,
                netns: self.netns(device)?,
                device: self.word(device, offsets.dev_ifindex)?,
                newest,
                length: length.into(),
                entered: length.into(),
                ..Unresolved::default()
            },
            bytes: [0; DEVICES],
        };
        // The queue is the first and the last of its own ring, and begins with the first buffer.
        let mut at = neighbour.checked_add(self.layout.queue)?;
        for _ in 0..length.min(LONGEST) {
            at = self.memory.pointer(at, self.layout.next)?;
            let iif = u64::from(self.word(at, offsets.skb_iif)?);
            let by = |arrived: &ArrivedBy| arrived.iif == 0 || arrived.iif == iif;
            // Of those that this node sends nothing is to be known; and where there is no room, they stay unexplained.
            let Some(place) = found.queue.arrived.iter().position(by).filter(|_| iif != 0) else {
                continue;
            };
            let (packets, bytes) = self.size(at)?;
            let arrived = &mut found.queue.arrived[place];
            arrived.iif = iif;
            arrived.packets = arrived.packets.saturating_add(packets);
            found.bytes[place] = found.bytes[place].saturating_add(bytes);
        }
        (at == newest && found.queue.arrived[0].iif != 0).then_some(found)
    }

    fn netns(&self, device: u64) -> Option<u32> {
        let offsets = &self.layout.offsets;
        let net = self.memory.pointer(device, offsets.dev_net.into())?;
        self.word(net, offsets.net_inum)
    }

    /// IPv4 addresses are IPv4-mapped.
    fn address(&self, neighbour: u64) -> Option<[u8; 16]> {
        let offsets = &self.layout.offsets;
        let table = self.memory.pointer(neighbour, offsets.neigh_tbl.into())?;
        let key = neighbour.checked_add(offsets.neigh_key.into())?;
        let words = [self.memory.bytes(key)?, self.memory.bytes(key + 8)?];
        match self.word(table, offsets.neigh_family)?.try_into().ok()? {
            libc::AF_INET => {
                let [a, b, c, d, ..] = words[0];
                Some(std::net::Ipv4Addr::new(a, b, c, d).to_ipv6_mapped().octets())
            }
            libc::AF_INET6 => words.concat().try_into().ok(),
            _ => None,
        }
    }

    /// Packets that the buffer stands for, and its bytes from the network header on.
    fn size(&self, buffer: u64) -> Option<(u64, u64)> {
        let offsets = &self.layout.offsets;
        let head = self.memory.pointer(buffer, offsets.skb_head.into())?;
        let network = self
            .memory
            .u16(buffer.checked_add(offsets.skb_network_header.into())?)?;
        let data = self.memory.pointer(buffer, offsets.skb_data.into())?;
        let length = self.word(buffer, offsets.skb_len)?;
        let bytes = length.wrapping_add(data.wrapping_sub(head.wrapping_add(network.into())) as u32);
        let shared = head.checked_add(self.word(buffer, offsets.skb_end)?.into())?;
        let segments = self
            .memory
            .u16(shared.checked_add(offsets.shinfo_gso_segs.into())?)?;
        Some((segments.max(1).into(), bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::fake::Fake;
    use super::*;

    const TASK: u64 = 0x1000;
    const LOOPBACK: u64 = 0x1300;
    const TABLE: u64 = 0x1600;
    const BUCKETS: u64 = 0x1800;
    const DEVICE: u64 = 0x1a00;
    const NET: u64 = 0x1b00;

    fn layout(leads_to_link: bool) -> Layout {
        Layout {
            offsets: Offsets {
                task_nsproxy: 16,
                nsproxy_net: 24,
                neigh_tbl: 32,
                neigh_dev: 40,
                neigh_waiting: 64,
                neigh_newest: 56,
                neigh_key: 72,
                neigh_family: 4,
                dev_net: 8,
                dev_ifindex: 20,
                net_inum: 36,
                skb_iif: 12,
                skb_head: 16,
                skb_data: 24,
                skb_network_header: 34,
                skb_len: 36,
                skb_end: 40,
                shinfo_gso_segs: 6,
                ..Offsets::default()
            },
            loopback: 128,
            tables: [[0, 8, 16], [32, 8, 16]],
            hashes: 24,
            shift: 8,
            buckets: 0,
            link: 8,
            leads_to_link,
            queue: 48,
            next: 0,
        }
    }

    /// The table of IPv4 with two buckets, which are empty; IPv6 is off.
    fn kernel() -> Fake {
        let mut fake = Fake::default();
        fake.point(0, 0, TASK);
        fake.point(TASK, 16, TASK + 0x100);
        fake.point(TASK + 0x100, 24, TASK + 0x200);
        fake.point(TASK + 0x200, 128, LOOPBACK);
        fake.point(LOOPBACK, 0, LOOPBACK + 0x100);
        fake.point(LOOPBACK + 0x100, 8, LOOPBACK + 0x200);
        fake.point(LOOPBACK + 0x200, 16, TABLE);
        fake.write(TABLE, 4, &libc::AF_INET.to_ne_bytes());
        fake.point(TABLE, 24, TABLE + 0x100);
        fake.point(TABLE + 0x100, 0, BUCKETS);
        fake.write(TABLE + 0x100, 8, &1_u32.to_ne_bytes());
        fake.point(BUCKETS, 0, 0);
        fake.point(DEVICE, 8, NET);
        fake.write(DEVICE, 20, &3_u32.to_ne_bytes());
        fake.write(NET, 36, &77_u32.to_ne_bytes());
        fake
    }

    /// A neighbour that leads on to `next`, with buffers that arrived by these devices: `(iif, segments)`.
    fn neighbour(fake: &mut Fake, at: u64, next: u64, waits: &[(u32, u16)]) {
        fake.point(at, 8, next);
        fake.point(at, 32, TABLE);
        fake.point(at, 40, DEVICE);
        fake.write(at, 72, &[10, 244, 0, 9]);
        let length = u32::try_from(waits.len()).unwrap();
        fake.write(at, 64, &length.to_ne_bytes());
        // The queue stands within the neighbour, a buffer alone.
        let mut last = (at, 48);
        for (number, (iif, segments)) in (1..).zip(waits) {
            let buffer = at + 0x200 * number;
            fake.point(last.0, last.1, buffer);
            fake.point(buffer, 0, at + 48);
            fake.write(buffer, 12, &iif.to_ne_bytes());
            fake.point(buffer, 16, buffer + 0x100);
            fake.point(buffer, 24, buffer + 0x100 + 14);
            fake.write(buffer, 34, &14_u16.to_ne_bytes());
            fake.write(buffer, 36, &100_u32.to_ne_bytes());
            fake.write(buffer, 40, &192_u32.to_ne_bytes());
            fake.write(buffer + 0x100, 192 + 6, &segments.to_ne_bytes());
            last = (buffer, 0);
        }
        fake.point(at, 56, last.0 + last.1);
    }

    /// A neighbour, the length of its queue, and by device of arrival packets and bytes.
    type Found = (u64, u64, Vec<(u64, u64, u64)>);

    fn found(fake: &Fake, layout: &Layout, netns: Option<u32>) -> Vec<Found> {
        let all = find(fake, layout, netns).unwrap().into_iter();
        all.map(|standing| {
            let arrived = standing.queue.arrived.iter().zip(standing.bytes);
            let arrived = arrived
                .filter(|(arrived, _)| arrived.iif != 0)
                .map(|(arrived, bytes)| (arrived.iif, arrived.packets, bytes));
            (standing.neighbour, standing.queue.length, arrived.collect())
        })
        .collect()
    }

    #[test]
    fn what_had_arrived_is_found_by_its_device() {
        for leads_to_link in [false, true] {
            let link = if leads_to_link { 8 } else { 0 };
            let mut fake = kernel();
            let [first, second, third, own] = [0x10000, 0x20000, 0x30000, 0x40000];
            fake.point(BUCKETS, 0, first + link);
            fake.point(BUCKETS, 8, third + link);
            neighbour(&mut fake, first, second + link, &[]);
            neighbour(&mut fake, second, 0, &[(2, 0), (0, 0), (5, 1), (2, 3)]);
            neighbour(&mut fake, third, own + link, &[(2, 1)]);
            neighbour(&mut fake, own, 0, &[(0, 0)]);
            let all = [
                (second, 4, vec![(2, 4, 200), (5, 1, 100)]),
                (third, 1, vec![(2, 1, 100)]),
            ];
            assert_eq!(found(&fake, &layout(leads_to_link), None), all);
            assert_eq!(found(&fake, &layout(leads_to_link), Some(77)), all);
            assert_eq!(found(&fake, &layout(leads_to_link), Some(78)), []);
            let told = find(&fake, &layout(leads_to_link), None).unwrap()[0].queue;
            assert_eq!((told.netns, told.device, told.entered), (77, 3, 4));
            assert_eq!(told.address[10..], [0xff, 0xff, 10, 244, 0, 9]);
        }
    }

    #[test]
    fn what_changes_or_was_freed_is_left_out() {
        let mut fake = kernel();
        fake.point(BUCKETS, 0, 0x10000);
        neighbour(&mut fake, 0x10000, 0x20000, &[(2, 1), (2, 1)]);
        neighbour(&mut fake, 0x20000, 0, &[(2, 1)]);
        // The queue's end is not the buffer that was put in last.
        fake.point(0x10000, 56, 0x10200);
        assert_eq!(
            found(&fake, &layout(false), None),
            [(0x20000, 1, vec![(2, 1, 100)])]
        );
        // What follows one that is no neighbour any more cannot be found.
        fake.point(0x10000, 32, 0xdead);
        assert_eq!(found(&fake, &layout(false), None), []);
    }

    #[test]
    fn a_chain_that_does_not_end_is_left() {
        let mut fake = kernel();
        fake.point(BUCKETS, 0, 0x10000);
        neighbour(&mut fake, 0x10000, 0x10000, &[]);
        assert_eq!(find(&fake, &layout(false), None), Err(Lost::TooMany));
        fake.point(TASK, 16, 0);
        assert_eq!(find(&fake, &layout(false), None), Err(Lost::Unreadable));
    }
}
