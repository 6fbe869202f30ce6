//! Neighbours ask who has an address of this node, and it answers or not.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use tracer_ebpf::{NEIGHBOURS as BOUND, NeighbourCount, NeighbourKey, loss};

use crate::books::{add, lose};
use crate::packet::mapped;

/// Who was asked for, and whether there was an answer. User space makes room: it takes out what is not an address of
/// this node. Overflow: [`loss::NEIGHBOURS_FULL`].
#[map]
static NEIGHBOURS: HashMap<NeighbourKey, NeighbourCount> = HashMap::with_max_entries(BOUND, 0);

// RFC 826 and RFC 4861.
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Length of the header of IPv6.
const IPV6_HEADER: u64 = 40;
/// A link-layer address of six bytes and one of IPv4, in memory order.
const ETHERNET_AND_IPV4: u16 = 0x0406;

/// A message of ARP has arrived: counts a request. `network` is where it starts.
#[inline(always)]
pub fn arp_arrived(network: u64, netns: u32, device: u32) {
    let Some(arp) = Arp::read(network) else { return };
    // Who asks for its own address tells that it has it.
    if arp.operation == ARP_REQUEST && arp.target != arp.sender {
        count(mapped(arp.target), netns, device, 1, 0);
    }
}

/// A message of ARP leaves: counts a reply.
#[inline(always)]
pub fn arp_sent(network: u64, netns: u32, device: u32) {
    let Some(arp) = Arp::read(network) else { return };
    if arp.operation == ARP_REPLY {
        count(mapped(arp.sender), netns, device, 0, 1);
    }
}

/// The kernel has used up a message of ICMPv6 that arrived: counts a neighbour solicitation.
#[inline(always)]
pub fn icmp6_arrived(network: u64, netns: u32, device: u32) {
    if let Some(target) = target(network, SOLICITATION) {
        count(target, netns, device, 1, 0);
    }
}

/// A message of ICMPv6 leaves: counts a neighbour advertisement.
#[inline(always)]
pub fn icmp6_sent(network: u64, netns: u32, device: u32) {
    if let Some(target) = target(network, ADVERTISEMENT) {
        count(target, netns, device, 0, 1);
    }
}

/// What matters of a message of ARP. Addresses as they stand in memory.
struct Arp {
    operation: u16,
    sender: u64,
    target: u64,
}

impl Arp {
    #[inline(always)]
    fn read(network: u64) -> Option<Self> {
        // SAFETY: a helper that checks the address itself. The message has 28 bytes; behind it is other memory.
        let words = unsafe { bpf_probe_read_kernel(network as *const [u64; 4]) }.ok()?;
        if (words[0] >> 32) as u16 != ETHERNET_AND_IPV4 {
            return None;
        }
        Some(Self {
            operation: u16::from_be((words[0] >> 48) as u16),
            sender: words[1] >> 48 | (words[2] & 0xffff) << 16,
            target: words[3] & 0xffff_ffff,
        })
    }
}

/// The target of a message of neighbour discovery, where it is of this type.
#[inline(always)]
fn target(network: u64, kind: u8) -> Option<[u64; 2]> {
    // SAFETY: a helper that checks the address itself.
    let words = unsafe { bpf_probe_read_kernel((network + IPV6_HEADER) as *const [u64; 3]) }.ok()?;
    (words[0] as u8 == kind).then_some([words[1], words[2]])
}

#[inline(always)]
fn count(address: [u64; 2], netns: u32, device: u32, asked: u64, answered: u64) {
    let key = NeighbourKey::new(address, netns, device);
    if NEIGHBOURS.get_ptr(&key).is_none() {
        let none = NeighbourCount {
            asked: 0,
            answered: 0,
        };
        // Another CPU may be first: then the key exists, and the insertion is refused.
        let _ = NEIGHBOURS.insert(&key, none, u64::from(BPF_NOEXIST));
    }
    match NEIGHBOURS.get_ptr_mut(&key) {
        // SAFETY: a valid pointer to a value of the map, to which others may be adding as well.
        Some(count) => unsafe {
            add(&mut (*count).asked, asked);
            add(&mut (*count).answered, answered);
        },
        None => lose(loss::NEIGHBOURS_FULL, 1),
    }
}
