//! Packets leave: sent by this node, or forwarded.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tracer_ebpf::{Entry, LOOPBACK, flag, kind, origin, program};

use crate::books::{add, enter, watched};
use crate::deliver::{answering, follow, note, reply_forwarded};
use crate::flows::count_flow;
use crate::globals::{Kernel, offset};
use crate::neighbour::{arp_sent, icmp6_sent};
use crate::packet::{Device, Direction, ETH_ARP, Headers, ICMP6, Packet, TCP};
use crate::socket::{Sock, is_loopback};

/// `net_dev_start_xmit(skb, dev)`: a packet goes to a driver, past all queues (`xmit_one`,
/// net/core/dev.c). One that had arrived is forwarded. A packet that goes through several devices, one on top of
/// the other, leaves by the last of them.
#[btf_tracepoint(function = "net_dev_start_xmit")]
pub fn sent(ctx: BtfTracePointContext) -> i32 {
    let packet = Packet(ctx.arg::<Kernel>(0));
    let device = Device(ctx.arg::<Kernel>(1));
    let index = device.index();
    let netns = device.netns();
    if index == LOOPBACK || !watched(netns) || device.leads_on() {
        return 0;
    }
    let ethertype = packet.ethertype();
    let network = packet.network();
    let length = packet.length(network);
    let packets = packet.weight(length);
    let iif = packet.iif();
    let headers = Headers::read(network, ethertype, Direction::Out);
    if iif != 0 {
        let entry = Entry::new(
            kind::FORWARDED,
            netns,
            iif,
            index,
            ethertype,
            headers.protocol,
            flag::INCOMING | headers.piece(),
            0,
            0,
        );
        enter(program::SENT, &entry, packets, u64::from(length));
        if headers.is_echo_reply() {
            reply_forwarded();
        }
    } else if headers.countable {
        let began = headers.origin(Direction::Out);
        count_flow(&headers.flow(netns), began, packets, |count| {
            add(&mut count.sent, packets);
            if headers.protocol != TCP && began == origin::LOCAL {
                // A process that was started anew on the same port has another socket.
                let sender = sender(packet, &headers, netns);
                if sender != 0 && sender != count.sender {
                    count.sender = sender;
                }
            }
        });
        if headers.protocol == TCP {
            let socket = packet.socket();
            if let Some(own) = answering(socket, netns) {
                count_flow(&own, origin::UNKNOWN, 1, |count| {
                    if count.iif == 0 {
                        // What arrives has another tuple, which is translated, and nothing came while both ends were open:
                        // nobody has told by which device. Mostly it is the one by which it is answered.
                        count.iif = index;
                    }
                    follow(program::SENT, Sock(socket), netns, count);
                });
            }
        }
    } else if ethertype == ETH_ARP {
        arp_sent(network, netns, index);
    } else if headers.protocol == ICMP6 {
        icmp6_sent(network, netns, index);
    }
    0
}

/// Device or resource busy (include/uapi/asm-generic/errno-base.h).
const EBUSY: i32 = 16;

/// Inode of the socket that a datagram or an echo request was sent by, 0 where the buffer has none, or one
/// that is not the flow's: a tunnel leaves the socket of what it carries on the buffer.
#[inline(always)]
fn sender(packet: Packet, headers: &Headers, netns: u32) -> u64 {
    let socket = packet.socket();
    if socket.is_null() {
        return 0;
    }
    let sock = Sock(socket);
    if !sock.is_ip() || !sock.is_full() || sock.protocol() != headers.protocol || sock.netns() != netns {
        return 0;
    }
    // A raw socket has its protocol in place of a port.
    if sock.local_port() != headers.local_port && !sock.is_raw() {
        return 0;
    }
    sock.inode()
}

/// `tcp_retransmit_skb(sk, skb, err)`: the sender believes that its segment, or the answer, was lost. Where the kernel
/// hands over the error, it also tells of those that it could not send, for which there is no route or whose device is
/// down (`__tcp_retransmit_skb`, net/ipv4/tcp_output.c): nobody was asked by them. Where the first copy still waits to
/// be sent, as for a neighbour that does not answer, the kernel calls that busy: it was asked.
#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn retransmitted(ctx: BtfTracePointContext) -> i32 {
    if offset!(retransmit_has_error) != 0 {
        let error = ctx.arg::<i32>(2);
        if error != 0 && error != -EBUSY {
            return 0;
        }
    }
    let sock = Sock(ctx.arg::<Kernel>(0));
    let netns = sock.netns();
    if !watched(netns) {
        return 0;
    }
    let flow = sock.flow(netns, TCP);
    if !is_loopback(&flow) {
        count_flow(&flow, origin::LOCAL, 1, |count| {
            add(&mut count.retransmitted, 1);
            note(sock, count);
        });
    }
    0
}
