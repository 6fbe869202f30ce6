//! Reading a `sock`: its tuple, namespace, state, cgroup and inode.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use tracer_ebpf::{ABSENT, FlowKey, Socket};

use crate::globals::{Kernel, load, offset};
use crate::packet::netns;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `SOCK_RAW` (include/linux/net.h).
const SOCK_RAW: u16 = 3;
/// States of a socket that is only a `sock_common` (include/net/tcp_states.h).
const TIME_WAIT: u8 = 6;
const NEW_SYN_RECV: u8 = 12;
pub const LISTEN: u8 = 10;

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

    /// Inode of its namespace.
    #[inline(always)]
    pub fn netns(self) -> u32 {
        // SAFETY: `sock.__sk_common.skc_net.net`, see `load`.
        netns(unsafe { load(self.0, offset!(sk_net)) })
    }

    /// Its tuple. IPv4 addresses are mapped, as in the keys of packets.
    #[inline(always)]
    pub fn flow(self, netns: u32, protocol: u8) -> FlowKey {
        let (local, remote): ([u32; 4], [u32; 4]);
        if self.family() == AF_INET {
            let mapped = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
            // SAFETY: `sock.__sk_common.skc_rcv_saddr` and `.skc_daddr`, see `load`.
            let (saddr, daddr) = unsafe {
                (
                    load::<u32>(self.0, offset!(sk_saddr)),
                    load::<u32>(self.0, offset!(sk_daddr)),
                )
            };
            // An unspecified address stays all zeros, whatever the family.
            local = [0, 0, if saddr == 0 { 0 } else { mapped }, saddr];
            remote = [0, 0, if daddr == 0 { 0 } else { mapped }, daddr];
        } else {
            local = self.address6(offset!(sk_saddr6));
            remote = self.address6(offset!(sk_daddr6));
        }
        FlowKey {
            // SAFETY: four words are sixteen bytes in the order that they stood in the socket.
            local: unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(local) },
            // SAFETY: as above.
            remote: unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(remote) },
            netns,
            local_port: self.local_port(),
            // SAFETY: `sock.__sk_common.skc_dport`, see `load`.
            remote_port: u16::from_be(unsafe { load(self.0, offset!(sk_dport)) }),
            protocol: u32::from(protocol),
        }
    }

    #[inline(always)]
    fn address6(self, at: u32) -> [u32; 4] {
        // SAFETY: `sock.__sk_common.skc_v6_rcv_saddr` or `.skc_v6_daddr`, see `load`.
        unsafe {
            [
                load(self.0, at),
                load(self.0, at + 4),
                load(self.0, at + 8),
                load(self.0, at + 12),
            ]
        }
    }

    /// `tcp_sock.segs_in`: segments that reached this socket, weighted as [`crate::packet::Packet::weight`].
    /// Only of a full TCP socket.
    #[inline(always)]
    pub fn segments_in(self) -> u32 {
        let address = self.0 as u64 + u64::from(offset!(tcp_segs_in));
        // SAFETY: a helper that checks the address itself. The verifier knows a `sock`, not the
        // `tcp_sock` around it, so this cannot be a direct load.
        unsafe { bpf_probe_read_kernel(address as *const u32) }.unwrap_or(0)
    }

    /// Fills in all that is known of the socket. `flow` is its tuple.
    #[inline(always)]
    pub fn describe(self, flow: FlowKey, into: &mut Socket) {
        into.flow = flow;
        into.state = u32::from(self.state());
        into.cgroup = 0;
        into.inode = 0;
        if !self.is_full() {
            return;
        }
        // SAFETY: `sock.sk_socket`, see `load`.
        let socket: u64 = unsafe { load(self.0, offset!(sk_socket)) };
        if socket != 0 {
            let address = socket + u64::from(offset!(socket_ino));
            // SAFETY: a helper that checks the address itself.
            into.inode = unsafe { bpf_probe_read_kernel(address as *const u64) }.unwrap_or(0);
        }
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

/// Whether a tuple stays on the loopback device: both ends are one address, or 127.0.0.0/8.
#[inline(always)]
pub fn is_loopback(flow: &FlowKey) -> bool {
    // SAFETY: sixteen bytes are four words; the alignment of the key is four.
    let (local, remote) = unsafe {
        (
            &*flow.local.as_ptr().cast::<[u32; 4]>(),
            &*flow.remote.as_ptr().cast::<[u32; 4]>(),
        )
    };
    let same =
        local[3] == remote[3] && local[2] == remote[2] && local[1] == remote[1] && local[0] == remote[0];
    same || (remote[2] == u32::from_ne_bytes([0, 0, 0xff, 0xff]) && flow.remote[12] == 127)
}

/// Whether a tuple's local end is a multicast address, or IPv4's limited broadcast: one packet may then be
/// put in the queues of several sockets.
#[inline(always)]
pub fn is_multicast(flow: &FlowKey) -> bool {
    let v4 = flow.local[10] == 0xff && flow.local[11] == 0xff && flow.local[0] == 0;
    if v4 {
        flow.local[12] >= 224
    } else {
        flow.local[0] == 0xff
    }
}
