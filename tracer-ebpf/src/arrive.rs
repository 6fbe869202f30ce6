//! Packets arrive on a device.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tracer_ebpf::{Entry, FlowKey, LOOPBACK, LastArrival, flag, kind, program};

use crate::books::{add, enter, last_arrival, watched};
use crate::deliver::comes_by_loopback;
use crate::flows::count_flow;
use crate::fragments;
use crate::globals::Kernel;
use crate::neighbour::arp_arrived;
use crate::packet::{Direction, ETH_ARP, Headers, Packet, RST, SYN, TCP, is_icmp, tcp_control};
use crate::socket::is_loopback;

/// `netif_receive_skb(skb)`: after GRO, before generic XDP, taps, tc and the protocol handlers
/// (`__netif_receive_skb_core`, net/core/dev.c). Loopback is no arrival.
#[btf_tracepoint(function = "netif_receive_skb")]
pub fn arrival(ctx: BtfTracePointContext) -> i32 {
    let packet = Packet(ctx.arg::<Kernel>(0));
    let device = packet.device();
    let index = device.index();
    let netns = device.netns();
    if !watched(netns) {
        return 0;
    }
    let ethertype = packet.ethertype();
    // The network header is only set after this tracepoint; the data starts there.
    let network = packet.data();
    let headers = Headers::read(network, ethertype, Direction::In);
    let flow = headers.flow(netns);
    if headers.protocol != TCP {
        remember(&headers, &flow, netns, index);
    }
    if index == LOOPBACK {
        // Nearly all that comes by it stays between two ends that are one address.
        if headers.protocol == TCP && headers.countable && !headers.is_fragment && !is_loopback(&flow) {
            let control = tcp_control(network, ethertype);
            if control & (SYN | RST) != 0 {
                comes_by_loopback(&flow, control & RST != 0);
            }
        }
        return 0;
    }
    let length = packet.length_of_data();
    let packets = packet.weight(length);
    let bytes = u64::from(length);
    let entry = Entry::new(
        kind::ARRIVED,
        netns,
        index,
        index,
        ethertype,
        headers.protocol,
        flag::INCOMING | headers.piece(),
        0,
        0,
    );
    enter(program::ARRIVAL, &entry, packets, bytes);
    if headers.countable {
        count_flow(&flow, headers.origin(Direction::In), packets, |count| {
            add(&mut count.arrived, packets);
            add(&mut count.arrived_bytes, bytes);
            count.iif = index;
        });
    } else if ethertype == ETH_ARP {
        arp_arrived(network, netns, index);
    } else {
        fragments::arrived(&headers, netns);
    }
    0
}

/// Leaves a datagram or a message for what its processing leads to.
#[inline(always)]
fn remember(headers: &Headers, flow: &FlowKey, netns: u32, index: u32) {
    let icmp = is_icmp(headers.protocol);
    // The first fragment stands for its packet.
    if headers.is_piece || (!headers.countable && !icmp) {
        return;
    }
    let Some(last) = last_arrival() else {
        return;
    };
    last.flow = *flow;
    last.iif = index;
    if icmp {
        begin(last);
        last.replies += u32::from(headers.is_echo_reply());
        if !headers.countable {
            // What is no echo has no identifier, and is nobody's flow.
            last.flow = headers.port(netns);
        }
    } else if headers.is_to_group() {
        begin(last);
        last.groups += 1;
    }
}

/// What arrives and is to go to each socket that wants it begins another list, where the last one has been
/// delivered.
#[inline(always)]
fn begin(last: &mut LastArrival) {
    last.queued = 0;
    if last.ended != 0 {
        (last.ended, last.replies, last.groups) = (0, 0, 0);
    }
}
