//! Packets arrive on a device.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tracer_ebpf::{Entry, LOOPBACK, LastArrival, flag, kind, origin};

use crate::books::{count_flow, enter, last_arrival, watched};
use crate::globals::Kernel;
use crate::packet::{Direction, Headers, Packet, TCP};

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
    let headers = Headers::read(network, ethertype, netns, Direction::In);
    if headers.countable
        && headers.protocol != TCP
        && let Some(last) = last_arrival()
    {
        *last = LastArrival {
            flow: headers.flow,
            iif: index,
            entered: 0,
        };
    }
    if index == LOOPBACK {
        return 0;
    }
    let packets = packet.weight();
    let bytes = u64::from(packet.length(network));
    let entry = Entry {
        location: 0,
        netns,
        iif: index,
        dev: index,
        reason: 0,
        flags: flag::INCOMING,
        ethertype,
        protocol: headers.protocol,
        kind: kind::ARRIVED,
    };
    enter(&entry, packets, bytes);
    if headers.countable {
        count_flow(&headers.flow, origin::REMOTE, packets, |count| {
            count.arrived += packets;
            count.arrived_bytes += bytes;
            count.iif = index;
        });
    }
    0
}
