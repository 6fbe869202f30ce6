//! Reading an `sk_buff`: who, where, how much, and which flow.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel as raw_probe_read_kernel;
use tracer_ebpf::{FlowKey, flag, origin};

use crate::globals::{Kernel, config, load, offset};

pub const ETH_IPV4: u16 = 0x0800;
pub const ETH_IPV6: u16 = 0x86dd;
pub const ETH_ARP: u16 = 0x0806;
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP6: u8 = 58;
/// A protocol of ICMP, of either version.
#[inline(always)]
pub fn is_icmp(protocol: u8) -> bool {
    protocol == ICMP || protocol == ICMP6
}

/// Control bits of TCP, see [`tcp_control`].
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;

/// The header of IPv6 that says that the packet is a fragment (`IPPROTO_FRAGMENT`).
const FRAGMENT: u8 = 44;

/// Flag in the low bit of `sk_buff._skb_refdst` (`SKB_DST_NOREF`, include/linux/skbuff.h).
const DST_NOREF: u64 = 1;

/// An `sk_buff` that a tracepoint handed over.
#[derive(Clone, Copy)]
pub struct Packet(pub Kernel);

impl Packet {
    /// The device that it is at. Not to be trusted while it lies in a UDP receive queue, where the
    /// member serves another purpose (`udp_set_dev_scratch`); it then reads as device 0, namespace 0. Nor of a segment
    /// that lies in a tree of its TCP socket: see [`Self::is_linked`].
    #[inline(always)]
    pub fn device(self) -> Device {
        // SAFETY: `sk_buff.dev`, see `load`.
        Device(unsafe { load(self.0, offset!(skb_dev)) })
    }

    /// It is in a list or a tree, or was when it was last put away: what takes a packet out of a list says that it has no
    /// next one any more, and what takes one out of a tree leaves the node as it was, whose parent or colour stands in that
    /// place (`sk_buff.rbnode`).
    #[inline(always)]
    pub fn is_linked(self) -> bool {
        // SAFETY: `sk_buff.next`, see `load`.
        unsafe { load::<u64>(self.0, offset!(skb_next)) != 0 }
    }

    /// What stands where the device is, as a number: `slot` is a place in a map, of this program on this CPU. To the
    /// verifier a pointer is no number; what is read from a map may be any.
    #[inline(always)]
    pub fn device_word(self, slot: *mut u64) -> u64 {
        // SAFETY: as above. Volatile: the compiler must not know that it is the same.
        unsafe {
            slot.write_volatile(self.device().0 as u64);
            slot.read_volatile()
        }
    }

    /// It has lost its route, or never had one.
    #[inline(always)]
    pub fn has_no_route(self) -> bool {
        // SAFETY: `sk_buff._skb_refdst`, see `load`.
        unsafe { load::<u64>(self.0, offset!(skb_dst)) == 0 }
    }

    /// Its socket as the buffer says, null for none.
    #[inline(always)]
    pub fn socket(self) -> Kernel {
        // SAFETY: `sk_buff.sk`, see `load`.
        unsafe { load(self.0, offset!(skb_sk)) }
    }

    /// Index of the device by which it arrived, 0 where it did not.
    #[inline(always)]
    pub fn iif(self) -> u32 {
        // SAFETY: `sk_buff.skb_iif`, see `load`.
        unsafe { load(self.0, offset!(skb_iif)) }
    }

    /// Its Ethernet protocol.
    #[inline(always)]
    pub fn ethertype(self) -> u16 {
        // SAFETY: `sk_buff.protocol`, see `load`.
        u16::from_be(unsafe { load(self.0, offset!(skb_protocol)) })
    }

    /// How many references to the buffer there are. A peeked datagram has more than one.
    #[inline(always)]
    pub fn users(self) -> u32 {
        // SAFETY: `sk_buff.users`, see `load`.
        unsafe { load(self.0, offset!(skb_users)) }
    }

    /// Address where its network header starts.
    #[inline(always)]
    pub fn network(self) -> u64 {
        // SAFETY: `sk_buff.head` and `.network_header`, see `load`.
        unsafe {
            load::<u64>(self.0, offset!(skb_head))
                + u64::from(load::<u16>(self.0, offset!(skb_network_header)))
        }
    }

    /// Address of the memory that its headers are in, which its clones share.
    #[inline(always)]
    pub fn memory(self) -> u64 {
        // SAFETY: `sk_buff.head`, see `load`.
        unsafe { load(self.0, offset!(skb_head)) }
    }

    /// Address where its data starts now.
    #[inline(always)]
    pub fn data(self) -> u64 {
        // SAFETY: `sk_buff.data`, see `load`.
        unsafe { load(self.0, offset!(skb_data)) }
    }

    /// Bytes from where its data starts now.
    #[inline(always)]
    pub fn length_of_data(self) -> u32 {
        // SAFETY: `sk_buff.len`, see `load`.
        unsafe { load(self.0, offset!(skb_len)) }
    }

    /// Bytes from `network` on.
    #[inline(always)]
    pub fn length(self, network: u64) -> u32 {
        self.length_of_data()
            .wrapping_add(self.data().wrapping_sub(network) as u32)
    }

    /// Bytes that are not in the linear part.
    #[inline(always)]
    pub fn paged(self) -> u32 {
        // SAFETY: `sk_buff.data_len`, see `load`.
        unsafe { load(self.0, offset!(skb_data_len)) }
    }

    /// Packets on the wire that the buffer stands for: `max(1, gso_segs)`, as `tcp_segs_in` counts.
    /// `length` is that of the packet from its network header on.
    #[inline(always)]
    pub fn weight(self, length: u32) -> u64 {
        // Several segments in one buffer have their data in pages, or are longer than one of them may
        // be. Most packets are neither, and are spared a look at a cold cache line.
        if length <= LONGEST_SEGMENT && self.paged() == 0 {
            return 1;
        }
        // SAFETY: `sk_buff.head` and `.end`, see `load`. On 64-bit kernels `end` is an offset.
        let shared = unsafe {
            load::<u64>(self.0, offset!(skb_head))
                + u64::from(load::<u32>(self.0, offset!(skb_end)) & LARGEST_BUFFER)
        };
        let segments = gso_segments(shared + u64::from(offset!(shinfo_gso_segs)));
        if segments == 0 { 1 } else { u64::from(segments) }
    }

    /// Namespace of its route, 0 where it has none. Slow: for packets that have lost their device.
    #[inline(always)]
    pub fn netns_of_route(self) -> u32 {
        // SAFETY: `sk_buff._skb_refdst`, see `load`; the rest by helpers that check addresses themselves.
        unsafe {
            let dst = load::<u64>(self.0, offset!(skb_dst)) & !DST_NOREF;
            let device = read(dst + u64::from(offset!(dst_dev)));
            let net = read(device + u64::from(offset!(dev_net)));
            if net == 0 {
                return 0;
            }
            let only = config!(netns_cookie);
            if only != 0 && read(net + u64::from(offset!(net_cookie))) != only {
                return ANOTHER;
            }
            bpf_probe_read_kernel((net + u64::from(offset!(net_inum))) as *const u32).unwrap_or(0)
        }
    }
}

/// Reads a pointer or a word of its size, 0 where that fails.
#[inline(always)]
fn read(address: u64) -> u64 {
    // SAFETY: a helper that checks the address itself.
    unsafe { bpf_probe_read_kernel(address as *const u64) }.unwrap_or(0)
}

/// Bound of `sk_buff.end`, far above what the kernel allocates. The verifier wants one.
const LARGEST_BUFFER: u32 = (1 << 24) - 1;

/// Reads `skb_shared_info.gso_segs`, which stands at this address; 0 where that fails.
#[inline(always)]
fn gso_segments(address: u64) -> u16 {
    if config!(loads_packets) == 0 {
        // SAFETY: a helper that checks the address itself.
        return unsafe { bpf_probe_read_kernel(address as *const u16) }.unwrap_or(0);
    }
    let segments: u64;
    // SAFETY: see `load_word`.
    unsafe {
        core::arch::asm!(
            "{segments} = *(u16 *)({address} + 0)",
            segments = out(reg) segments,
            address = in(reg) address,
            options(readonly, nostack),
        );
    }
    segments as u16
}

/// Reads words of a packet. Where that fails they are zero, or there are none.
#[inline(always)]
pub fn words<const N: usize>(address: u64) -> Option<[u64; N]> {
    if config!(loads_packets) == 0 {
        // SAFETY: a helper that checks the address itself.
        return unsafe { bpf_probe_read_kernel(address as *const [u64; N]) }.ok();
    }
    let mut words = [0; N];
    let mut index = 0;
    while index < N {
        words[index] = load_word(address + 8 * index as u64);
        index += 1;
    }
    Some(words)
}

/// Loads a word from an address that was made from a pointer of an `sk_buff` into its memory. Only where the verifier
/// knows such a pointer as one that may be followed anywhere (`rdonly_untrusted_mem`, kernel/bpf/verifier.c).
#[inline(always)]
pub fn load_word(address: u64) -> u64 {
    let word: u64;
    // SAFETY: a fault reads as zero (`PROBE_MEM`, kernel/bpf/verifier.c). As assembly, because the compiler knows
    // neither of that, nor that every processor of this target loads from any alignment.
    unsafe {
        core::arch::asm!(
            "{word} = *(u64 *)({address} + 0)",
            word = out(reg) word,
            address = in(reg) address,
            options(readonly, nostack),
        );
    }
    word
}

/// A `net_device`, null allowed.
#[derive(Clone, Copy)]
pub struct Device(pub Kernel);

impl Device {
    pub const NONE: Self = Self(core::ptr::null());

    #[inline(always)]
    pub fn index(self) -> u32 {
        if self.0.is_null() {
            return 0;
        }
        // SAFETY: `net_device.ifindex`, see `load`.
        unsafe { load(self.0, offset!(dev_ifindex)) }
    }

    /// What leaves by this device leaves by one below it, as the same packet: by a port of a bridge or a bond,
    /// by what a VLAN is on. It has lower devices (`netdev_upper_dev_link`). So does a VXLAN, but what it sends
    /// is another packet, with this one inside (`skb_scrub_packet` in `iptunnel_xmit` says so, too: it takes
    /// `skb_iif` away).
    #[inline(always)]
    pub fn leads_on(self) -> bool {
        if self.0.is_null() {
            return false;
        }
        let list = self.0 as u64 + u64::from(offset!(dev_lower));
        // SAFETY: `net_device.adj_list.lower.next`, see `load`. An empty list's head points to itself.
        let next = unsafe { load::<u64>(self.0, offset!(dev_lower)) };
        next != list && !self.is_vxlan()
    }

    #[inline(always)]
    fn is_vxlan(self) -> bool {
        // SAFETY: `net_device.rtnl_link_ops`, see `load`; null for a driver that has none.
        let ops = unsafe { load::<u64>(self.0, offset!(dev_link_ops)) };
        let kind = read(ops + u64::from(offset!(link_ops_kind)));
        // SAFETY: a helper that checks the address itself.
        let name = unsafe { bpf_probe_read_kernel(kind as *const [u8; 6]) };
        name == Ok(*b"vxlan\0")
    }

    /// Inode of its namespace, 0 for no device.
    #[inline(always)]
    pub fn netns(self) -> u32 {
        if self.0.is_null() {
            return 0;
        }
        // SAFETY: `net_device.nd_net.net`, see `load`.
        netns(unsafe { load(self.0, offset!(dev_net)) })
    }
}

/// Stands for the inode of a namespace that is not the one that is watched, though it may have the inode of that one,
/// which has ended. The kernel gives the lowest number that is free from `PROC_DYNAMIC_FIRST`, 0xf0000000, on
/// (`proc_alloc_inum` in fs/proc/generic.c): this would be the last of them.
const ANOTHER: u32 = u32::MAX;

/// Inode of a `net`, 0 for null.
#[inline(always)]
pub fn netns(net: Kernel) -> u32 {
    if net.is_null() {
        return 0;
    }
    let only = config!(netns_cookie);
    // SAFETY: `net.net_cookie`, see `load`.
    if only != 0 && unsafe { load::<u64>(net, offset!(net_cookie)) } != only {
        return ANOTHER;
    }
    // SAFETY: `net.ns.inum`, see `load`.
    unsafe { load(net, offset!(net_inum)) }
}

/// Which way a packet goes: whose address is the local one.
#[derive(Clone, Copy, PartialEq)]
pub enum Direction {
    In,
    Out,
}

/// What the headers say. Addresses are words in memory order, see [`FlowKey::new`].
#[derive(Clone, Copy)]
pub struct Headers {
    local: [u64; 2],
    remote: [u64; 2],
    pub local_port: u16,
    remote_port: u16,
    /// IP protocol, 0 for what is not IP. Of a fragment it is that of its packet.
    pub protocol: u8,
    /// There are ports or an identifier: the flow can be counted.
    pub countable: bool,
    /// An ICMP message that the kernel uses up itself, whoever gets a copy: all but the echo reply.
    pub is_for_kernel: bool,
    /// A fragment of a packet.
    pub is_fragment: bool,
    /// A fragment, and not the first one of its packet.
    pub is_piece: bool,
}

/// Longest packet that is taken for one segment if it is linear: the smallest MTU of IPv4 hosts.
const LONGEST_SEGMENT: u32 = 576;

/// Bytes 6 and 7 of an IPv4 header without the flags (`IP_OFFSET`, include/net/ip.h).
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Bytes 2 and 3 of IPv6's fragment header without the flags (`IP6_OFFSET`, include/net/ipv6.h).
const FRAGMENT_OFFSET_6: u16 = 0xfff8;

/// The flag in bytes 6 and 7 of an IPv4 header of every fragment but the last (`IP_MF`).
const MORE_FRAGMENTS: u16 = 0x2000;

/// The first half of `::ffff:0:0/96`'s second half, in memory order on a little-endian machine.
const MAPPED: u64 = 0xffff_0000;

/// An IPv4 address, given as it stands in memory, as two words of a mapped IPv6 address.
#[inline(always)]
pub fn mapped(address: u64) -> [u64; 2] {
    [0, address << 32 | MAPPED]
}

/// Whether an address, as two words in memory order, is a multicast address or IPv4's limited broadcast.
#[inline(always)]
pub fn is_group(address: [u64; 2]) -> bool {
    if address[0] == 0 && address[1] as u32 == MAPPED as u32 {
        (address[1] >> 32) as u8 >= 224
    } else {
        address[0] as u8 == 0xff
    }
}

impl Headers {
    /// Reads the headers that start at `network`, by words of eight bytes: an IPv6 header and eight bytes
    /// more, or an IPv4 header and four, of ICMP eight. A packet that is shorter has other memory behind it
    /// (`skb_shared_info` at least), which its length fields keep from being taken for ports.
    #[inline(always)]
    pub fn read(network: u64, ethertype: u16, direction: Direction) -> Self {
        let mut headers = Self {
            local: [0; 2],
            remote: [0; 2],
            local_port: 0,
            remote_port: 0,
            protocol: 0,
            countable: false,
            is_for_kernel: false,
            is_fragment: false,
            is_piece: false,
        };
        let (source, destination);
        // The first eight bytes behind the network header, in memory order; of some no more than the ports.
        let transport: u64;
        if ethertype == ETH_IPV4 {
            let Some(words) = words::<3>(network) else {
                return headers;
            };
            source = mapped(words[1] >> 32);
            destination = mapped(words[2] & 0xffff_ffff);
            headers.protocol = (words[1] >> 8) as u8;
            let fragment = u16::from_be((words[0] >> 48) as u16);
            headers.is_fragment = fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0;
            headers.is_piece = fragment & FRAGMENT_OFFSET != 0;
            let size = (words[0] & 0x0f) * 4;
            transport = if size == 20 && headers.protocol != ICMP {
                // Ports are all that is needed of it.
                words[2] >> 32
            } else {
                // SAFETY: a helper that checks the address itself.
                unsafe { bpf_probe_read_kernel((network + size) as *const u64) }.unwrap_or(0)
            };
        } else if ethertype == ETH_IPV6 {
            let Some(words) = words::<6>(network) else {
                return headers;
            };
            source = [words[1], words[2]];
            destination = [words[3], words[4]];
            headers.protocol = (words[0] >> 48) as u8;
            headers.is_fragment = headers.protocol == FRAGMENT;
            transport = if headers.is_fragment {
                headers.protocol = words[5] as u8;
                headers.is_piece = u16::from_be((words[5] >> 16) as u16) & FRAGMENT_OFFSET_6 != 0;
                // SAFETY: a helper that checks the address itself.
                unsafe { bpf_probe_read_kernel((network + 48) as *const u64) }.unwrap_or(0)
            } else {
                words[5]
            };
        } else {
            return headers;
        }
        (headers.local, headers.remote) = match direction {
            Direction::In => (destination, source),
            Direction::Out => (source, destination),
        };
        if !headers.is_piece {
            headers.ports(transport, direction);
        }
        headers
    }

    /// The flag of the books that says so, if it is a piece of a packet.
    #[inline(always)]
    pub fn piece(&self) -> u32 {
        if self.is_piece { flag::PIECE } else { 0 }
    }

    /// The flow, as the local socket sees it.
    #[inline(always)]
    pub fn flow(&self, netns: u32) -> FlowKey {
        FlowKey::new(
            self.local,
            self.remote,
            netns,
            self.local_port,
            self.remote_port,
            self.protocol,
        )
    }

    /// It arrived for a group: for a multicast address, or IPv4's limited broadcast.
    #[inline(always)]
    pub fn is_to_group(&self) -> bool {
        is_group(self.local)
    }

    /// The flow without its addresses: all of a local port.
    #[inline(always)]
    pub fn port(&self, netns: u32) -> FlowKey {
        FlowKey::new([0; 2], [0; 2], netns, self.local_port, 0, self.protocol)
    }

    /// It answers an echo request. Of one in fragments, the first.
    #[inline(always)]
    pub fn is_echo_reply(&self) -> bool {
        is_icmp(self.protocol) && !self.is_piece && !self.is_for_kernel
    }

    /// Who began the flow, should this packet be the first that is seen of it: who sent it, except that an
    /// echo reply answers a request that came before.
    #[inline(always)]
    pub fn origin(&self, direction: Direction) -> u32 {
        if self.is_echo_reply() == (direction == Direction::In) {
            origin::LOCAL
        } else {
            origin::REMOTE
        }
    }

    /// Takes ports or the echo identifier from the first eight bytes of the transport header.
    #[inline(always)]
    fn ports(&mut self, transport: u64, direction: Direction) {
        match self.protocol {
            TCP | UDP => {
                let source = u16::from_be(transport as u16);
                let destination = u16::from_be((transport >> 16) as u16);
                (self.local_port, self.remote_port) = match direction {
                    Direction::In => (destination, source),
                    Direction::Out => (source, destination),
                };
                self.countable = true;
            }
            ICMP | ICMP6 => {
                // Echo request and reply: ICMP types 8 and 0, ICMPv6 types 128 and 129.
                let kind = transport as u8;
                let echo = if self.protocol == ICMP {
                    kind == 8 || kind == 0
                } else {
                    kind & 0xfe == 128
                };
                let reply = if self.protocol == ICMP { 0 } else { 129 };
                self.is_for_kernel = kind != reply;
                if echo {
                    self.local_port = u16::from_be((transport >> 32) as u16);
                    self.countable = true;
                }
            }
            _ => {}
        }
    }
}

/// The control bits of a TCP segment, whose headers start at `network`; 0 where they cannot be read.
#[inline(always)]
pub fn tcp_control(network: u64, ethertype: u16) -> u8 {
    let size = if ethertype == ETH_IPV4 {
        words::<1>(network).map_or(0, |[word]| (word & 0x0f) * 4)
    } else {
        40
    };
    // They are byte 13 of its header.
    words::<1>(network + size + 8).map_or(0, |[word]| (word >> 40) as u8)
}

/// Copies at most `N` bytes from the packet, from `network` on. Returns how many.
#[inline(always)]
pub fn copy<const N: usize>(packet: Packet, network: u64, length: u32, into: *mut [u8; N]) -> u32 {
    let linear = length.wrapping_sub(packet.paged());
    let wanted = if linear as usize > N { N as u32 } else { linear };
    // SAFETY: `into` has N bytes and `wanted` is at most N; the helper checks the address that it reads.
    let result = unsafe { raw_probe_read_kernel(into.cast(), wanted, network as *const _) };
    if result == 0 { wanted } else { 0 }
}
