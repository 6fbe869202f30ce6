//! A small language for streams of events: what happens is said, rounds are told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tracer::diagnosis::Diagnosis;
use tracer::event::{
    Body, Capability, CapabilityState, Counter, CounterKey, Device, Entry, EntryKey, Event, Example, Fate,
    FlowCount, FlowKey, Location, Namespace, Origin, Owner, Protocol, Socket, SocketState, Source, Start,
};
use tracer::filter::Filter;
use tracer::model::Model;
use tracer::report::{Report, Verdict, Where};

pub(crate) const NETNS: u32 = 4_026_531_840;
pub(crate) const LO: u32 = 1;
pub(crate) const ETH0: u32 = 2;
pub(crate) const LXC1: u32 = 3;
const ROUND: u64 = 500_000_000;
/// 2023-10-08T06:00:00Z, less the first boot time of a story.
const WALL: i64 = 1_696_744_800_000_000_000 - 100_000_000_000;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn flow(
    protocol: Protocol,
    local: &str,
    local_port: u16,
    remote: &str,
    remote_port: u16,
) -> FlowKey {
    FlowKey {
        netns: NETNS,
        protocol,
        local: ip(local),
        local_port,
        remote: ip(remote),
        remote_port,
    }
}

/// A connection of this node to 192.0.2.10:80.
pub(crate) fn client(port: u16) -> FlowKey {
    flow(Protocol::Tcp, "10.10.0.2", port, "192.0.2.10", 80)
}

/// A connection of 192.0.2.10 to port 8080 of this node.
pub(crate) fn served(port: u16) -> FlowKey {
    flow(Protocol::Tcp, "10.10.0.2", 8080, "192.0.2.10", port)
}

pub(crate) fn ping(id: u16, peer: &str) -> FlowKey {
    flow(Protocol::Icmp, "10.10.0.2", id, peer, 0)
}

pub(crate) fn udp(port: u16, peer: &str, peer_port: u16) -> FlowKey {
    flow(Protocol::Udp, "10.10.0.2", port, peer, peer_port)
}

/// A socket that waits for anybody: no address is `::`, see [`FlowKey::canonical`].
pub(crate) fn bound(protocol: Protocol, port: u16) -> FlowKey {
    flow(protocol, "::", port, "::", 0)
}

pub(crate) fn owner(command: &str) -> Owner {
    Owner {
        pid: 123,
        command: command.to_owned(),
        cgroup: format!("/system.slice/{command}.service"),
        unit: format!("{command}.service"),
        parent: None,
    }
}

pub(crate) fn at(symbol: &str) -> Location {
    Location {
        symbol: symbol.to_owned(),
        offset: 0x1c4,
    }
}

/// A line of packets that came by eth0.
pub(crate) fn line(fate: Fate, protocol: Protocol) -> EntryKey {
    EntryKey {
        fate,
        netns: NETNS,
        iif: ETH0,
        device: ETH0,
        ethertype: 0x0800,
        protocol,
        reason: None,
        location: None,
        socket_found: false,
        incoming: true,
        matched: false,
        piece: false,
    }
}

pub(crate) fn drop(reason: &str, symbol: &str, protocol: Protocol) -> EntryKey {
    EntryKey {
        reason: Some(reason.to_owned()),
        location: Some(at(symbol)),
        ..line(Fate::Dropped, protocol)
    }
}

/// The incident's own drop.
pub(crate) fn foreign() -> EntryKey {
    EntryKey {
        socket_found: true,
        ..drop("NOT_SPECIFIED", "ip_forward", Protocol::Tcp)
    }
}

/// A counter of the kernel has grown by so much since the start.
pub(crate) fn counter(source: Source, device: u32, name: &str, grown: u64) -> Body {
    Body::Counter(Counter {
        key: CounterKey {
            netns: NETNS,
            source,
            device,
            name: name.to_owned(),
        },
        grown,
    })
}

/// The same, of /proc/net/netstat.
pub(crate) fn netstat(name: &str, grown: u64) -> Body {
    counter(Source::Netstat, 0, name, grown)
}

#[derive(Clone)]
pub(crate) struct Story {
    now: u64,
    pub(crate) events: Vec<Event>,
    entries: BTreeMap<EntryKey, u64>,
    flows: BTreeMap<FlowKey, FlowCount>,
    changed_entries: BTreeSet<EntryKey>,
    changed_flows: BTreeSet<FlowKey>,
}

impl Story {
    /// A node with `lo`, the uplink `eth0` and a pod's `lxc1`, in the namespace `host`.
    pub(crate) fn begin() -> Self {
        let mut story = Self::with_namespaces(&[(NETNS, "host")]);
        for (index, name, uplink, addresses) in [
            (LO, "lo", false, vec![ip("127.0.0.1")]),
            (ETH0, "eth0", true, vec![ip("10.10.0.2"), ip("2001:db8::2")]),
            (LXC1, "lxc1", false, vec![]),
        ] {
            story.device(NETNS, index, name, uplink, addresses);
        }
        story
    }

    pub(crate) fn with_namespaces(namespaces: &[(u32, &str)]) -> Self {
        let mut story = Self {
            now: 100_000_000_000,
            events: Vec::new(),
            entries: BTreeMap::new(),
            flows: BTreeMap::new(),
            changed_entries: BTreeSet::new(),
            changed_flows: BTreeSet::new(),
        };
        let namespaces = namespaces
            .iter()
            .map(|(inode, name)| Namespace {
                inode: *inode,
                name: (*name).to_owned(),
                ..Namespace::default()
            })
            .collect();
        story.say(Body::Start(Start {
            tracer: "0.1.0".to_owned(),
            kernel: "6.18.44".to_owned(),
            host: "node-1".to_owned(),
            boot_id: "b00t".to_owned(),
            wall_offset: WALL,
            namespaces,
        }));
        story
    }

    pub(crate) fn device(
        &mut self,
        netns: u32,
        index: u32,
        name: &str,
        uplink: bool,
        addresses: Vec<IpAddr>,
    ) {
        self.say(Body::Device(Device {
            netns,
            index,
            name: name.to_owned(),
            uplink,
            addresses,
            over: Vec::new(),
            assumed: false,
            peer: None,
        }));
    }

    pub(crate) fn say(&mut self, body: Body) {
        self.events.push(Event { at: self.now, body });
    }

    pub(crate) fn capability(&mut self, name: &str, state: CapabilityState) {
        self.say(Body::Capability(Capability {
            name: name.to_owned(),
            state,
            why: "not here".to_owned(),
        }));
    }

    /// More packets of a line, 100 bytes each.
    pub(crate) fn add(&mut self, key: EntryKey, packets: u64) -> &mut Self {
        *self.entries.entry(key.clone()).or_default() += packets;
        self.changed_entries.insert(key);
        self
    }

    pub(crate) fn arrived(&mut self, protocol: Protocol, packets: u64) -> &mut Self {
        self.add(line(Fate::Arrived, protocol), packets)
    }

    /// A flow counts more.
    pub(crate) fn count(&mut self, key: FlowKey, change: impl FnOnce(&mut FlowCount)) -> &mut Self {
        let flow = self.flows.entry(key).or_insert_with(|| FlowCount {
            flow: key,
            life: 0,
            sender: 0,
            origin: Origin::Unknown,
            iif: 0,
            arrived: 0,
            arrived_bytes: 0,
            sent: 0,
            matched: 0,
            queued: 0,
            read: 0,
            read_bytes: 0,
            dropped: 0,
            retransmitted: 0,
            last_drop: None,
            owner: None,
        });
        change(flow);
        self.changed_flows.insert(key);
        self
    }

    pub(crate) fn socket(&mut self, flow: FlowKey, from: Option<SocketState>, state: SocketState, who: &str) {
        let owner = (!who.is_empty()).then(|| owner(who));
        self.say(Body::Socket(Socket {
            flow,
            state,
            from,
            inode: 1,
            owner,
        }));
    }

    pub(crate) fn listen(&mut self, port: u16, who: &str) {
        self.socket(bound(Protocol::Tcp, port), None, SocketState::Listen, who);
    }

    pub(crate) fn example(&mut self, entry: EntryKey, flow: FlowKey, socket: Option<SocketState>, who: &str) {
        self.say(Body::Example(Box::new(Example {
            entry,
            flow: Some(flow),
            packets: 1,
            length: 100,
            socket: socket.map(|state| (flow, state)),
            owner: (!who.is_empty()).then(|| owner(who)),
            stack: Vec::new(),
            bytes: Vec::new(),
        })));
    }

    /// Half a second passes and the round is told.
    pub(crate) fn tick(&mut self) -> &mut Self {
        self.now += ROUND;
        for key in std::mem::take(&mut self.changed_entries) {
            let packets = self.entries[&key];
            self.say(Body::Entry(Entry {
                key,
                packets,
                bytes: packets * 100,
            }));
        }
        for key in std::mem::take(&mut self.changed_flows) {
            let count = self.flows[&key].clone();
            self.say(Body::Flow(count));
        }
        self.say(Body::Tick);
        self
    }

    /// So many rounds; in each, `what` happens.
    pub(crate) fn rounds(&mut self, rounds: u32, mut what: impl FnMut(&mut Self)) -> &mut Self {
        for _ in 0..rounds {
            what(self);
            self.tick();
        }
        self
    }

    pub(crate) fn idle(&mut self, rounds: u32) -> &mut Self {
        self.rounds(rounds, |_| ())
    }

    /// So many seconds pass in which nothing is told.
    pub(crate) fn pause(&mut self, seconds: u64) -> &mut Self {
        self.now += seconds * 1_000_000_000;
        self
    }

    pub(crate) fn model(&self) -> Model {
        model(&self.events)
    }

    pub(crate) fn report(&self) -> Report {
        Filter::default().report(&diagnosis(&self.events))
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.report()
            .verdicts
            .into_iter()
            .map(|verdict| verdict.id)
            .collect()
    }

    pub(crate) fn verdict(&self, id: &str) -> Verdict {
        let report = self.report();
        let found = report.verdicts.iter().find(|verdict| verdict.id == id);
        found
            .unwrap_or_else(|| panic!("no {id} in {:#?}", report.verdicts))
            .clone()
    }

    // What often happens, in one round.

    /// A request of this node and its reply, on an open connection.
    pub(crate) fn exchange(&mut self, key: FlowKey) {
        self.arrived(key.protocol, 1).count(key, |flow| {
            flow.origin = Origin::Local;
            flow.iif = ETH0;
            flow.sent += 1;
            flow.arrived += 1;
            match key.protocol {
                Protocol::Tcp => flow.matched += 1,
                _ => flow.queued += 1,
            }
        });
        let fate = if key.protocol == Protocol::Tcp {
            Fate::Matched
        } else {
            Fate::Queued
        };
        self.add(line(fate, key.protocol), 1);
        match key.protocol {
            Protocol::Tcp => {}
            // By the socket's own tuple: most are not connected.
            Protocol::Udp => self.reads(bound(Protocol::Udp, key.local_port), 1),
            _ => self.reads(key, 1),
        }
    }

    /// A datagram arrives and is put in the queue of a socket.
    pub(crate) fn queue(&mut self, key: FlowKey) {
        self.arrived(key.protocol, 1)
            .add(line(Fate::Queued, key.protocol), 1)
            .count(key, |flow| {
                flow.origin = Origin::Remote;
                flow.iif = ETH0;
                flow.arrived += 1;
                flow.queued += 1;
            });
    }

    /// A process reads from the socket with this tuple.
    pub(crate) fn reads(&mut self, socket: FlowKey, datagrams: u64) {
        self.count(socket, |flow| flow.read += datagrams);
    }

    /// As on kernels before 6.3: a datagram arrives, and is not told until it is read, by its own tuple.
    pub(crate) fn arrive_and_read(&mut self, key: FlowKey) {
        self.arrived(key.protocol, 1)
            .add(line(Fate::Read, key.protocol), 1)
            .count(key, |flow| {
                flow.origin = Origin::Remote;
                flow.iif = ETH0;
                flow.arrived += 1;
                flow.read += 1;
            });
    }

    /// A request, or a retransmission, without an answer.
    pub(crate) fn ask(&mut self, key: FlowKey) {
        self.count(key, |flow| {
            flow.origin = Origin::Local;
            if key.protocol == Protocol::Tcp && flow.sent > 0 {
                flow.retransmitted += 1;
            }
            flow.sent += 1;
        });
    }

    /// A request whose reply arrives and is dropped.
    pub(crate) fn ask_and_lose(&mut self, key: FlowKey, entry: EntryKey) {
        let last = (entry.reason.clone().unwrap(), entry.location.clone().unwrap());
        self.ask(key);
        self.arrived(key.protocol, 1).add(entry, 1).count(key, |flow| {
            flow.iif = ETH0;
            flow.arrived += 1;
            flow.dropped += 1;
            flow.last_drop = Some(last);
        });
    }

    /// A connection request of 192.0.2.10 that finds nobody.
    pub(crate) fn refuse(&mut self, key: FlowKey, symbol: &str) {
        self.arrived(key.protocol, 1)
            .add(drop("NO_SOCKET", symbol, key.protocol), 1)
            .count(key, |flow| {
                flow.origin = Origin::Remote;
                flow.iif = ETH0;
                flow.arrived += 1;
                flow.dropped += 1;
                flow.last_drop = Some(("NO_SOCKET".to_owned(), at(symbol)));
            });
    }
}

pub(crate) fn model(events: &[Event]) -> Model {
    let mut model = Model::new();
    for event in events {
        model.apply(event);
    }
    model
}

pub(crate) fn diagnosis(events: &[Event]) -> Diagnosis {
    let mut diagnosis = Diagnosis::new();
    for event in events {
        diagnosis.apply(event);
    }
    diagnosis
}

/// A node whose connections work, for two seconds.
pub(crate) fn healthy() -> Story {
    let mut story = Story::begin();
    for port in [40_000, 40_001] {
        story.socket(client(port), None, SocketState::Established, "curl");
    }
    story.rounds(4, |story| {
        story.exchange(client(40_000));
        story.exchange(client(40_001));
        story.exchange(ping(7, "192.0.2.10"));
    });
    assert_eq!(story.report().place, Where::Healthy);
    assert!(story.report().verdicts.is_empty() && story.report().starved.is_empty());
    story
}
