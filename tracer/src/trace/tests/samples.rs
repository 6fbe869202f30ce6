//! Events to record: one of each kind, and streams of random ones.

use std::net::IpAddr;

use crate::event::*;

pub(super) const HOST: u32 = 4_026_531_840;
pub(super) const RED: u32 = 4_026_532_201;
/// 2026-03-01 12:00:00 UTC, less the 1000 s of the first event.
pub(super) const WALL_OFFSET: i64 = 1_772_366_400_000_000_000 - 1_000_000_000_000;

pub(super) fn event(at: u64, body: Body) -> Event {
    Event {
        at: 1_000_000_000_000 + at,
        body,
    }
}

pub(super) fn start() -> Start {
    Start {
        tracer: "0.1.0".into(),
        kernel: "6.1.0-56-cloud-amd64".into(),
        host: "node-7".into(),
        boot_id: "01234567-89ab-cdef-0123-456789abcdef".into(),
        wall_offset: WALL_OFFSET,
        namespaces: vec![
            Namespace {
                inode: HOST,
                name: "host".into(),
                ..Namespace::default()
            },
            Namespace {
                inode: RED,
                name: "red".into(),
                ..Namespace::default()
            },
        ],
    }
}

pub(super) fn device() -> Device {
    Device {
        netns: HOST,
        index: 2,
        name: "eth0".into(),
        uplink: true,
        addresses: vec!["10.10.0.2".parse().unwrap(), "fd00:10::2".parse().unwrap()],
        over: Vec::new(),
        assumed: false,
        peer: None,
    }
}

fn flow(protocol: Protocol, local: &str, remote: &str) -> FlowKey {
    FlowKey {
        netns: HOST,
        protocol,
        local: local.parse().unwrap(),
        local_port: 40_000,
        remote: remote.parse().unwrap(),
        remote_port: 80,
    }
}

pub(super) fn tcp4() -> FlowKey {
    flow(Protocol::Tcp, "10.10.0.2", "192.0.2.10")
}

pub(super) fn tcp6() -> FlowKey {
    flow(Protocol::Tcp, "fd00:10::2", "2001:db8::10")
}

pub(super) fn location(symbol: &str, offset: u32) -> Location {
    Location {
        symbol: symbol.into(),
        offset,
    }
}

pub(super) fn dropped(ethertype: u16, protocol: Protocol, reason: &str, place: Location) -> EntryKey {
    EntryKey {
        fate: Fate::Dropped,
        netns: HOST,
        iif: 2,
        device: 2,
        ethertype,
        protocol,
        reason: Some(reason.into()),
        location: Some(place),
        socket_found: false,
        incoming: true,
        matched: false,
        piece: false,
    }
}

pub(super) fn owner() -> Owner {
    Owner {
        pid: 123,
        command: "lab-client".into(),
        cgroup: "/system.slice/x.service".into(),
        unit: "x.service".into(),
        parent: None,
    }
}

/// A SYN-ACK for [`tcp4`] that is dropped though its socket was found.
pub(super) fn example4() -> Example {
    let mut bytes = vec![
        0x45, 0, 0, 44, 0, 1, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 10, 10, 10, 0, 2,
    ];
    bytes.extend(syn_ack());
    Example {
        entry: EntryKey {
            socket_found: true,
            ..dropped(
                0x0800,
                Protocol::Tcp,
                "NOT_SPECIFIED",
                location("ip_forward", 0x1c4),
            )
        },
        flow: Some(tcp4()),
        packets: 1,
        length: 44,
        socket: Some((tcp4(), SocketState::SynSent)),
        owner: Some(owner()),
        stack: vec![location("ip_forward", 0x1c4), location("ip_rcv", 0xa0)],
        bytes,
    }
}

/// The same over IPv6, of three packets, and cut off after 128 bytes.
pub(super) fn example6() -> Example {
    let mut bytes = vec![0x60, 0, 0, 0, 0x0f, 0xa0, 6, 64];
    bytes.extend("2001:db8::10".parse::<std::net::Ipv6Addr>().unwrap().octets());
    bytes.extend("fd00:10::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
    bytes.extend(syn_ack());
    bytes.resize(128, b'.');
    Example {
        entry: dropped(
            0x86dd,
            Protocol::Tcp,
            "IP_INADDRERRORS",
            location("ip6_forward", 0x20),
        ),
        flow: Some(tcp6()),
        packets: 3,
        length: 4040,
        socket: None,
        owner: None,
        stack: vec![],
        bytes,
    }
}

/// `who has 10.10.0.2, tell 10.10.0.1`
pub(super) fn example_arp() -> Example {
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 1];
    bytes.extend([2, 0, 0, 0, 0, 1, 10, 10, 0, 1]);
    bytes.extend([0, 0, 0, 0, 0, 0, 10, 10, 0, 2]);
    Example {
        entry: dropped(
            0x0806,
            Protocol::Other(0),
            "NOT_SPECIFIED",
            location("arp_rcv", 0x9c),
        ),
        flow: None,
        packets: 1,
        length: 28,
        socket: None,
        owner: None,
        stack: vec![],
        bytes,
    }
}

/// A TCP header with the ports of [`flow`] the other way round, and one option.
fn syn_ack() -> [u8; 24] {
    [
        0, 80, 0x9c, 0x40, 0, 0, 0, 1, 0, 0, 0, 2, 0x60, 0x12, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4,
    ]
}

/// A stream with every kind of event.
pub(super) fn every_kind() -> Vec<Event> {
    let v4_mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
    let bodies = vec![
        Body::Start(start()),
        Body::Capability(Capability {
            name: "drops".into(),
            state: CapabilityState::Available,
            why: String::new(),
        }),
        Body::Capability(Capability {
            name: "reads".into(),
            state: CapabilityState::Unavailable,
            why: "no tracepoint \"skb:x\"\nuse 6.1".into(),
        }),
        Body::Device(device()),
        Body::Device(Device {
            netns: RED,
            index: 1,
            name: "lo".into(),
            uplink: false,
            addresses: vec![v4_mapped],
            over: Vec::new(),
            assumed: false,
            peer: None,
        }),
        Body::Entry(Entry {
            key: dropped(
                0x0800,
                Protocol::Tcp,
                "IP_RPFILTER",
                location("ip_rcv_finish_core", 0x1ac),
            ),
            packets: 12,
            bytes: 1234,
        }),
        Body::Entry(Entry {
            key: EntryKey {
                fate: Fate::Arrived,
                reason: None,
                location: None,
                protocol: Protocol::Other(47),
                ..dropped(0x0800, Protocol::Udp, "", location("", 0))
            },
            packets: u64::MAX,
            bytes: u64::MAX,
        }),
        Body::Flow(FlowCount {
            flow: tcp4(),
            life: 3,
            sender: 4711,
            origin: Origin::Local,
            iif: 2,
            arrived: 10,
            arrived_bytes: 440,
            sent: 4,
            matched: 0,
            queued: 0,
            read: 0,
            read_bytes: 0,
            dropped: 10,
            retransmitted: 3,
            last_drop: Some(("NOT_SPECIFIED".into(), location("ip_forward", 0x1c4))),
            owner: None,
        }),
        Body::Socket(Socket {
            flow: tcp6(),
            state: SocketState::Established,
            from: Some(SocketState::SynSent),
            inode: 77,
            owner: Some(owner()),
        }),
        Body::Socket(Socket {
            flow: tcp4(),
            state: SocketState::Listen,
            from: None,
            inode: 0,
            owner: None,
        }),
        Body::Losses(Losses {
            examples_not_sent: 5,
            map_full: 1,
            in_other: 7,
            ..Losses::default()
        }),
        Body::Losses(Losses::default()),
        Body::Example(Box::new(example4())),
        Body::Example(Box::new(example6())),
        Body::Example(Box::new(example_arp())),
        Body::Namespace(Namespace {
            inode: RED + 1,
            name: "blue".into(),
            ..Namespace::default()
        }),
        Body::Counter(Counter {
            key: CounterKey {
                netns: HOST,
                source: Source::Ethtool,
                device: 2,
                name: "rx_queue_0_xdp_drops".into(),
            },
            grown: 7,
        }),
        Body::Queue(Box::new(Queue {
            flow: tcp4(),
            state: SocketState::Listen,
            inode: 77,
            waiting: 129,
            limit: Some(128),
            drops: Some(3),
            retries: 0,
            owner: Some(owner()),
            held: Some(crate::event::Held::Frozen),
        })),
        Body::Queue(Box::new(Queue {
            flow: tcp6(),
            state: SocketState::Established,
            inode: 0,
            waiting: 1,
            limit: None,
            drops: None,
            retries: 0,
            owner: None,
            held: None,
        })),
        Body::Neighbour(Neighbour {
            netns: HOST,
            device: 2,
            address: IpAddr::from([10, 10, 0, 2]),
            asked: 5,
            answered: 2,
        }),
        Body::Unresolved(Unresolved {
            netns: HOST,
            device: 3,
            address: IpAddr::from([10, 244, 0, 9]),
            iif: 2,
            packets: 4,
            before: 3,
            before_bytes: 180,
        }),
        Body::Chains(Chains {
            netns: HOST,
            chains: vec![Chain {
                family: Family::Inet,
                hook: Point::Input,
                priority: -1,
                table: "guard".into(),
                name: "in".into(),
            }],
        }),
        Body::Chains(Chains {
            netns: RED,
            chains: vec![],
        }),
        Body::Droppers(Droppers {
            netns: HOST,
            rules: vec![Dropper {
                family: Family::Inet,
                table: "guard".into(),
                chain: "in".into(),
                handle: 7,
                verdict: "drop".into(),
                counted: Some(Counted {
                    packets: 3,
                    bytes: 180,
                }),
            }],
            left_out: 0,
        }),
        Body::Tick,
        Body::Stop,
    ];
    bodies
        .into_iter()
        .enumerate()
        .map(|(number, body)| event(number as u64 * 100_000_001, body))
        .collect()
}

/// Pseudorandom numbers, the same on every run (xorshift64*, Vigna 2016).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn flip(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    /// Mostly small, sometimes at the edge.
    fn number(&mut self) -> u64 {
        match self.below(8) {
            0 => u64::MAX,
            1 => self.next(),
            _ => self.next() % 1000,
        }
    }

    /// With all that a careless writer would trip over.
    fn text(&mut self) -> String {
        const PIECES: [&str; 12] = [
            "eth0",
            "",
            "\n",
            "\0",
            "=",
            "→",
            "\"",
            "\\",
            "\u{85}",
            "TRACER_EVENT=",
            "\n\nMESSAGE=x\n",
            "𝕏",
        ];
        (0..self.below(4))
            .map(|_| PIECES[self.below(PIECES.len())])
            .collect()
    }

    fn address(&mut self) -> IpAddr {
        let high = u128::from(self.number());
        match self.below(3) {
            0 => IpAddr::V4((self.next() as u32).into()),
            1 => IpAddr::V6((0xffff_0000_0000 | high & 0xffff_ffff).into()),
            _ => IpAddr::V6((high << 64 | u128::from(self.number())).into()),
        }
    }

    fn flow(&mut self) -> FlowKey {
        FlowKey {
            netns: self.number() as u32,
            protocol: Protocol::from(self.next() as u8 % 60),
            local: self.address(),
            local_port: self.next() as u16,
            remote: self.address(),
            remote_port: self.next() as u16,
        }
    }

    fn location(&mut self) -> Location {
        Location {
            symbol: self.text(),
            offset: self.number() as u32,
        }
    }

    fn key(&mut self) -> EntryKey {
        const FATES: [Fate; 6] = [
            Fate::Arrived,
            Fate::Matched,
            Fate::Read,
            Fate::Forwarded,
            Fate::Consumed,
            Fate::Dropped,
        ];
        EntryKey {
            fate: FATES[self.below(FATES.len())],
            netns: if self.flip() { HOST } else { self.number() as u32 },
            iif: self.below(3) as u32,
            device: self.below(3) as u32,
            ethertype: [0, 0x0800, 0x86dd, 0x0806, 0xffff][self.below(5)],
            protocol: Protocol::from(self.next() as u8),
            reason: self.flip().then(|| self.text()),
            location: self.flip().then(|| self.location()),
            socket_found: self.flip(),
            incoming: self.flip(),
            matched: self.flip(),
            piece: false,
        }
    }

    fn state(&mut self) -> SocketState {
        SocketState::from_kernel(1 + self.below(12) as u32).unwrap()
    }

    fn owner(&mut self) -> Owner {
        Owner {
            pid: self.number() as u32,
            command: self.text(),
            cgroup: self.text(),
            unit: self.text(),
            parent: None,
        }
    }

    fn example(&mut self) -> Example {
        Example {
            entry: self.key(),
            flow: self.flip().then(|| self.flow()),
            packets: self.number() as u32,
            length: self.number() as u32,
            socket: self.flip().then(|| (self.flow(), self.state())),
            owner: self.flip().then(|| self.owner()),
            stack: (0..self.below(4)).map(|_| self.location()).collect(),
            bytes: (0..self.below(129)).map(|_| self.next() as u8).collect(),
        }
    }

    fn chain(&mut self) -> Chain {
        Chain {
            family: [Family::Inet, Family::Bridge][self.below(2)],
            hook: [Point::Ingress, Point::Forward][self.below(2)],
            priority: self.number() as i32,
            table: self.text(),
            name: self.text(),
        }
    }

    pub(super) fn body(&mut self) -> Body {
        match self.below(14) {
            0 => Body::Start(Start {
                wall_offset: self.next() as i64,
                host: self.text(),
                ..start()
            }),
            1 => Body::Capability(Capability {
                name: self.text(),
                state: CapabilityState::Partial,
                why: self.text(),
            }),
            2 => Body::Device(Device {
                netns: HOST,
                index: self.below(3) as u32,
                name: self.text(),
                uplink: self.flip(),
                addresses: (0..self.below(3)).map(|_| self.address()).collect(),
                over: Vec::new(),
                assumed: false,
                peer: None,
            }),
            3 => Body::Entry(Entry {
                key: self.key(),
                packets: self.number(),
                bytes: self.number(),
            }),
            4 => Body::Flow(FlowCount {
                owner: self.flip().then(|| Box::new(self.owner())),
                flow: self.flow(),
                life: self.number() as u32,
                sender: self.number(),
                origin: [Origin::Unknown, Origin::Local, Origin::Remote][self.below(3)],
                iif: self.number() as u32,
                arrived: self.number(),
                arrived_bytes: self.number(),
                sent: self.number(),
                matched: self.number(),
                queued: self.number(),
                read: self.number(),
                read_bytes: self.number(),
                dropped: self.number(),
                retransmitted: self.number(),
                last_drop: self.flip().then(|| (self.text(), self.location())),
            }),
            5 => Body::Socket(Socket {
                flow: self.flow(),
                state: self.state(),
                from: self.flip().then(|| self.state()),
                inode: self.number(),
                owner: self.flip().then(|| self.owner()),
            }),
            6 => Body::Losses(Losses {
                ring_full: self.number(),
                places_full: self.number(),
                runs_skipped: self.number(),
                ..Losses::default()
            }),
            7 => Body::Tick,
            8 => Body::Counter(Counter {
                key: CounterKey {
                    netns: self.number() as u32,
                    source: [Source::Netstat, Source::Device][self.below(2)],
                    device: self.below(3) as u32,
                    name: self.text(),
                },
                grown: self.number(),
            }),
            9 => Body::Queue(Box::new(Queue {
                flow: self.flow(),
                state: self.state(),
                inode: self.number(),
                waiting: self.number() as u32,
                limit: self.flip().then(|| self.number() as u32),
                drops: self.flip().then(|| self.number() as u32),
                retries: 0,
                owner: self.flip().then(|| self.owner()),
                held: self.flip().then_some(crate::event::Held::Stopped),
            })),
            10 => Body::Unresolved(Unresolved {
                netns: self.number() as u32,
                device: self.number() as u32,
                address: IpAddr::from((self.number() as u32).to_be_bytes()),
                iif: self.number() as u32,
                packets: self.number(),
                before: self.number(),
                before_bytes: self.number(),
            }),
            11 => Body::Chains(Chains {
                netns: self.number() as u32,
                chains: (0..self.below(3)).map(|_| self.chain()).collect(),
            }),
            _ => Body::Example(Box::new(self.example())),
        }
    }

    /// A stream of random events behind a start.
    pub(super) fn stream(&mut self, length: usize) -> Vec<Event> {
        let mut events = vec![event(0, Body::Start(start()))];
        events.extend((0..length).map(|_| Event {
            at: self.number(),
            body: self.body(),
        }));
        events
    }
}
