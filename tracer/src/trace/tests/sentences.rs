//! What people read.

use super::samples::{self, every_kind};
use crate::event::{Body, Device, Protocol};
use crate::trace::{Names, sentence};

#[test]
fn every_event_is_a_sentence() {
    let mut names = Names::default();
    let sentences: Vec<_> = every_kind()
        .iter()
        .map(|event| {
            names.learn(&event.body);
            sentence(&event.body, &names)
        })
        .collect();
    assert_eq!(
        sentences,
        [
            "tracer 0.1.0 starts on node-7, Linux 6.1.0-56-cloud-amd64; it watches netns host 4026531840, netns red 4026532201",
            "capability drops: available",
            "capability reads: not available: no tracepoint \"skb:x\"\nuse 6.1",
            "uplink eth0 is device 2 (netns host 4026531840), 10.10.0.2, fd00:10::2",
            "device lo is device 1 (netns red 4026532201), ::ffff:192.0.2.1",
            "dropped so far: 12 packets (1234 bytes) IP_RPFILTER at ip_rcv_finish_core+0x1ac tcp on eth0 (netns host 4026531840)",
            "arrived so far: 18446744073709551615 packets (18446744073709551615 bytes) proto 47 on eth0 (netns host 4026531840)",
            "flow tcp 10.10.0.2:40000 → 192.0.2.10:80 (netns host 4026531840): arrived 10 (440 bytes), sent 4, matched 0, queued 0, read 0 (0 bytes), dropped 10, retransmitted 3; opened by this node; last drop NOT_SPECIFIED at ip_forward+0x1c4",
            "socket tcp [fd00:10::2]:40000 → [2001:db8::10]:80, ESTABLISHED, lab-client[123], unit x.service, SYN_SENT before (netns host 4026531840)",
            "socket tcp 10.10.0.2:40000 → 192.0.2.10:80, LISTEN (netns host 4026531840)",
            "not recorded so far: 5 examples over their budget, 1 packets that the books had no room for, \
             7 reasons and places of packets that the books had no room for",
            "not recorded so far: nothing",
            "NOT_SPECIFIED at ip_forward+0x1c4 on eth0 (netns host 4026531840); socket found: tcp 10.10.0.2:40000 → 192.0.2.10:80, SYN_SENT, lab-client[123], unit x.service; 1 packet\nstack: ip_forward+0x1c4 < ip_rcv+0xa0",
            "IP_INADDRERRORS at ip6_forward+0x20 on eth0 (netns host 4026531840); no socket found: tcp [fd00:10::2]:40000 → [2001:db8::10]:80; 3 packets",
            "NOT_SPECIFIED at arp_rcv+0x9c on eth0 (netns host 4026531840); no socket found; 1 packet",
            "netns blue 4026532202 is watched",
            "counter rx_queue_0_xdp_drops has grown by 7 so far (eth0, netns host 4026531840)",
            "waiting at the socket: 129 connections of 128, 3 dropped since it was opened: tcp 10.10.0.2:40000 → 192.0.2.10:80, LISTEN, lab-client[123], unit x.service (netns host 4026531840)",
            "waiting at the socket: 1 byte: tcp [fd00:10::2]:40000 → [2001:db8::10]:80, ESTABLISHED (netns host 4026531840)",
            "10.10.0.2 was asked for on eth0 and answered 2 of 5 times (netns host 4026531840)",
            "4 packets by eth0 waiting for the neighbour 10.244.0.9 on device 3 (netns host 4026531840); 3 packets waited when the tracer started",
            "chains that filter: table inet guard, chain in at input with priority -1 (netns host 4026531840)",
            "chains that filter: none (netns red 4026532201)",
            "rules that can drop: drop (table inet guard, chain in, handle 7) (netns host 4026531840)",
            "all counts of this round are told",
            "tracer stops",
        ]
    );
}

#[test]
fn names_are_those_of_the_last_word() {
    let mut names = Names::default();
    assert_eq!(
        (names.netns(0), names.netns(7)),
        ("netns unknown".into(), "netns 7".into())
    );
    assert_eq!(
        (names.device(7, 0), names.device(7, 3)),
        ("no known device".into(), "device 3".into())
    );
    names.learn(&Body::Device(samples::device()));
    names.learn(&Body::Device(Device {
        name: "wan".into(),
        ..samples::device()
    }));
    assert_eq!(names.device(samples::HOST, 2), "wan");
}

#[test]
fn a_packet_that_leaves_is_shown_where_it_left() {
    let mut example = samples::example4();
    example.entry.incoming = false;
    example.entry.iif = 0;
    example.entry.device = 5;
    example.entry.reason = None;
    example.entry.location = None;
    example.entry.protocol = Protocol::Icmp;
    example.socket = None;
    example.stack.clear();
    assert_eq!(
        sentence(&Body::Example(Box::new(example)), &Names::default()),
        "dropped on device 5 (netns 4026531840); socket found: tcp 10.10.0.2:40000 → 192.0.2.10:80; sent by this node; 1 packet"
    );
}
