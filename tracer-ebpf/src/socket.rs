//! Reading a `sock`: its tuple, namespace, state, cgroup and inode.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::bpf_skc_to_tcp_sock;
use tracer_ebpf::{ABSENT, FlowKey, Socket};

use crate::globals::{Kernel, load, offset};
use crate::packet::{is_group, mapped, netns};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `SOCK_RAW` (include/linux/net.h).
const SOCK_RAW: u16 = 3;
/// States of a socket that is only a `sock_common` (include/net/tcp_states.h).
const TIME_WAIT: u8 = 6;
const NEW_SYN_RECV: u8 = 12;
pub const LISTEN: u8 = 10;
/// Those of a TCP connection that one end has closed, or both: FIN-WAIT-1 and -2, CLOSE-WAIT, LAST-ACK and CLOSING, a bit
/// for each.
const HALF_CLOSED: u32 = 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

/// Whether a TCP connection in this state is closed by one end at least, and has a full socket yet.
#[inline(always)]
pub fn is_half_closed(state: u32) -> bool {
    state < 32 && HALF_CLOSED >> state & 1 != 0
}

/// A `sock` that is not null.
#[derive(Clone, Copy)]
pub struct Sock(pub Kernel);

impl Sock {
    #[inline(always)]
    pub fn is_ip(self) -> bool {
        let family = self.family();
        family == AF_INET || family == AF_INET6
    }

    #[inline(always)]
    fn family(self) -> u16 {
        // SAFETY: `sock.__sk_common.skc_family`, see `load`.
        unsafe { load(self.0, offset!(sk_family)) }
    }

    #[inline(always)]
    pub fn state(self) -> u8 {
        // SAFETY: `sock.__sk_common.skc_state`, see `load`.
        unsafe { load(self.0, offset!(sk_state)) }
    }

    /// It is a `sock` to its end, not only a `sock_common`.
    #[inline(always)]
    pub fn is_full(self) -> bool {
        let state = self.state();
        state != TIME_WAIT && state != NEW_SYN_RECV
    }

    /// IP protocol. Only of a full socket.
    #[inline(always)]
    pub fn protocol(self) -> u8 {
        // SAFETY: `sock.sk_protocol`, see `load`. The first byte holds all protocols below 256; older
        // kernels have no more.
        unsafe { load(self.0, offset!(sk_protocol)) }
    }

    /// Only of a full socket.
    #[inline(always)]
    pub fn is_raw(self) -> bool {
        // SAFETY: `sock.sk_type`, see `load`.
        unsafe { load::<u16>(self.0, offset!(sk_type)) == SOCK_RAW }
    }

    /// Port it is bound to, host byte order.
    #[inline(always)]
    pub fn local_port(self) -> u16 {
        // SAFETY: `sock.__sk_common.skc_num`, see `load`.
        unsafe { load(self.0, offset!(sk_num)) }
    }

    /// Port it was bound to, host byte order: that of [`Self::local_port`], and kept when the port is given
    /// back, which is before a socket is told to be closed (`inet_put_port`). Only of a full IP socket.
    #[inline(always)]
    pub fn source_port(self) -> u16 {
        let address = self.0 as u64 + u64::from(offset!(inet_sport));
        // SAFETY: a helper that checks the address itself; the verifier knows a `sock`, not the `inet_sock`.
        u16::from_be(unsafe { bpf_probe_read_kernel(address as *const u16) }.unwrap_or(0))
    }

    /// Inode of its namespace.
    #[inline(always)]
    pub fn netns(self) -> u32 {
        // SAFETY: `sock.__sk_common.skc_net.net`, see `load`.
        netns(unsafe { load(self.0, offset!(sk_net)) })
    }

    /// Its tuple. IPv4 addresses are mapped, as in the keys of packets; one that is not specified stays
    /// all zeros, whatever the family.
    #[inline(always)]
    pub fn flow(self, netns: u32, protocol: u8) -> FlowKey {
        let (local, remote);
        if self.family() == AF_INET {
            local = self.address4(offset!(sk_saddr));
            remote = self.address4(offset!(sk_daddr));
        } else {
            local = self.address6(offset!(sk_saddr6));
            remote = self.address6(offset!(sk_daddr6));
        }
        // SAFETY: `sock.__sk_common.skc_dport`, see `load`.
        let remote_port = u16::from_be(unsafe { load(self.0, offset!(sk_dport)) });
        FlowKey::new(local, remote, netns, self.local_port(), remote_port, protocol)
    }

    /// [`is_loopback`] of its tuple, which is not read as a whole.
    #[inline(always)]
    pub fn is_loopback(self) -> bool {
        if self.family() == AF_INET {
            // SAFETY: `sock.__sk_common.skc_rcv_saddr` and `.skc_daddr`, see `load`.
            let (local, remote): (u32, u32) =
                unsafe { (load(self.0, offset!(sk_saddr)), load(self.0, offset!(sk_daddr))) };
            return local == remote || remote & 0xff == 127;
        }
        is_between(
            self.address6(offset!(sk_saddr6)),
            self.address6(offset!(sk_daddr6)),
        )
    }

    #[inline(always)]
    fn address4(self, at: u32) -> [u64; 2] {
        // SAFETY: `sock.__sk_common.skc_rcv_saddr` or `.skc_daddr`, see `load`.
        let address: u32 = unsafe { load(self.0, at) };
        if address == 0 {
            [0, 0]
        } else {
            mapped(u64::from(address))
        }
    }

    #[inline(always)]
    fn address6(self, at: u32) -> [u64; 2] {
        // SAFETY: `sock.__sk_common.skc_v6_rcv_saddr` or `.skc_v6_daddr`, see `load`. By words of four
        // bytes, as the verifier sees its members.
        unsafe {
            let word = |index: u32| u64::from(load::<u32>(self.0, at + index * 4));
            [word(0) | word(1) << 32, word(2) | word(3) << 32]
        }
    }

    /// `tcp_sock.segs_in`: segments that reached this socket, weighted as [`crate::packet::Packet::weight`].
    /// Only of a full TCP socket; 0 where this kernel does not count them.
    #[inline(always)]
    pub fn segments_in(self) -> u32 {
        if offset!(tcp_segs_in) == ABSENT {
            return 0;
        }
        // SAFETY: a helper that returns the socket itself, as a type that has the member, or null where it
        // is no full TCP socket (`bpf_skc_to_tcp_sock`, net/core/filter.c). Then see `load`.
        unsafe {
            let tcp = bpf_skc_to_tcp_sock(self.0.cast_mut().cast()) as Kernel;
            if tcp.is_null() {
                return 0;
            }
            load(tcp, offset!(tcp_segs_in))
        }
    }

    /// Inode of the socket file, 0 where there is none. Only of a full socket.
    #[inline(always)]
    pub fn inode(self) -> u64 {
        // SAFETY: `sock.sk_socket`, `socket.file`, `file.f_inode` and `inode.i_ino`, see `load`: of a socket that
        // no process has, one of the pointers is null.
        unsafe {
            let socket: Kernel = load(self.0, offset!(sk_socket));
            if socket.is_null() {
                return 0;
            }
            let file: Kernel = load(socket, offset!(socket_file));
            if file.is_null() {
                return 0;
            }
            let inode: Kernel = load(file, offset!(file_inode));
            if inode.is_null() {
                return 0;
            }
            load(inode, offset!(inode_number))
        }
    }

    /// Fills in all that is known of the socket. `flow` is its tuple.
    #[inline(always)]
    pub fn describe(self, flow: FlowKey, into: &mut Socket) {
        into.flow = flow;
        into.state = u32::from(self.state());
        into.reserved = 0;
        into.cgroup = 0;
        into.inode = 0;
        if !self.is_full() {
            return;
        }
        into.inode = self.inode();
        if offset!(sk_cgroup) != ABSENT {
            // SAFETY: `sock.sk_cgrp_data.cgroup`, see `load`; the rest by helpers that check addresses.
            unsafe {
                let cgroup: u64 = load(self.0, offset!(sk_cgroup));
                let node = bpf_probe_read_kernel((cgroup + u64::from(offset!(cgroup_kn))) as *const u64);
                let id =
                    node.and_then(|kn| bpf_probe_read_kernel((kn + u64::from(offset!(kn_id))) as *const u64));
                into.cgroup = id.unwrap_or(0);
            }
        }
    }
}

/// [`Sock::segments_in`] of the socket that lies there, as the verifier need not know.
#[inline(always)]
pub fn segments_in_at(address: u64) -> u32 {
    if offset!(tcp_segs_in) == ABSENT {
        return 0;
    }
    let address = address + u64::from(offset!(tcp_segs_in));
    // SAFETY: a helper that checks the address itself; a `tcp_sock` begins with its `sock`.
    unsafe { bpf_probe_read_kernel(address as *const u32) }.unwrap_or(0)
}

/// Whether a tuple stays on the loopback device: both ends are one address, or 127.0.0.0/8.
#[inline(always)]
pub fn is_loopback(flow: &FlowKey) -> bool {
    is_between(words(&flow.local), words(&flow.remote))
}

/// The same of its addresses.
#[inline(always)]
fn is_between(local: [u64; 2], remote: [u64; 2]) -> bool {
    (local[0] == remote[0] && local[1] == remote[1])
        || (remote[0] == 0 && remote[1] & 0xff_ffff_ffff == mapped(127)[1])
}

/// Whether a tuple's local end is a multicast address, or IPv4's limited broadcast: one packet may then be
/// put in the queues of several sockets.
#[inline(always)]
pub fn is_multicast(flow: &FlowKey) -> bool {
    is_group(words(&flow.local))
}

/// An address of a [`FlowKey`] as two words.
#[inline(always)]
fn words(address: &[u8; 16]) -> [u64; 2] {
    // SAFETY: sixteen bytes are two words; a key is aligned to eight bytes, and so are its addresses.
    unsafe { *address.as_ptr().cast::<[u64; 2]>() }
}
