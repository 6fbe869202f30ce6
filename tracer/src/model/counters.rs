//! Counters that the kernel keeps by itself, and what each means for the books.
//!
//! Every table that is keyed on a counter's name is here.

use std::collections::{BTreeMap, BTreeSet};

use super::books::{Books, in_ledger};
use super::clock::SECOND;
use super::ends;
use super::growth::{Growing, History, Lately, Spell, growth};
use super::node::Node;
use crate::event::{Counter, CounterKey, Fate, Source, Version};
use crate::report::{Class, CounterKind};

/// Counters that are kept, at most: those of a thousand namespaces in which much goes wrong.
const MOST: usize = 65_536;

/// How often the counters of a namespace are read, where something is counted in it.
const EVERY: u64 = SECOND;
/// What grows in three readings in a row does so for two seconds, less what the last one may come early.
pub(crate) const THREE_READINGS: u64 = 2 * EVERY - EVERY / 4;

/// Connections that a listener dropped without a word, for whatever reason: `tcp_listendrop`.
pub(crate) const LISTEN_DROPS: &str = "TcpExtListenDrops";
/// Those of them that found its accept queue full.
pub(crate) const LISTEN_OVERFLOWS: &str = "TcpExtListenOverflows";

/// Counts packets of which fragments did not come in time, or did not fit.
pub(crate) fn is_of_fragments(name: &str) -> bool {
    matches!(name, "IpReasmFails" | "Ip6ReasmFails")
}

/// Counts what this node's sockets sent and IP gave back, for whatever reason.
pub(crate) fn is_refused_sending(name: &str) -> bool {
    matches!(name, "IpOutDiscards" | "Ip6OutDiscards" | "TcpExtTCPRetransFail")
}

/// What counts that this node had no route for what it was to send (`IPSTATS_MIB_OUTNOROUTES`).
pub(crate) fn no_route_counter(version: Version) -> (Source, &'static str) {
    match version {
        Version::V4 => (Source::Snmp, "IpOutNoRoutes"),
        Version::V6 => (Source::Snmp6, "Ip6OutNoRoutes"),
    }
}

/// What counts the messages of ICMP that say that what was sent cannot be delivered (`icmp_rcv`, `icmpv6_rcv`).
fn unreachable_counter(version: Version) -> (Source, &'static str) {
    match version {
        Version::V4 => (Source::Snmp, "IcmpInDestUnreachs"),
        Version::V6 => (Source::Snmp6, "Icmp6InDestUnreachs"),
    }
}

/// What a counter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// What kind of loss.
    pub class: Class,
    /// How it relates to the books.
    pub kind: CounterKind,
    /// In a sentence.
    pub text: &'static str,
}

/// What the counter means; `None` for one that tells no loss of a packet that arrived or was to be sent.
pub(crate) fn meaning(source: Source, name: &str) -> Option<Meaning> {
    use Class::{Environment, Policy, Protocol, Resource, State};
    use CounterKind::{Before, Evented, Moves, Other, Sent};
    let (class, kind, text) = match (source, name) {
        (_, LISTEN_OVERFLOWS) => (
            Resource,
            Moves,
            "the accept queue of a listener was full: the process does not accept",
        ),
        (_, LISTEN_DROPS) => (
            Resource,
            Moves,
            "a listener dropped a connection that was being opened",
        ),
        (_, "TcpExtTCPReqQFullDrop") => (
            Resource,
            Moves,
            "too many connections of a listener were being opened, and cookies are off; part of TcpExtListenDrops",
        ),

        (_, "IpExtInNoRoutes" | "Ip6InNoRoutes") => (State, Evented, "no route led to the destination"),
        (_, "IpInAddrErrors" | "Ip6InAddrErrors") => (
            State,
            Evented,
            "the destination is not this node's, and is not forwarded",
        ),
        (_, "TcpExtIPReversePathFilter") => (State, Evented, "the reverse path filter refused the source"),
        (_, "IpInHdrErrors" | "Ip6InHdrErrors") => (
            Protocol,
            Evented,
            "the header is wrong, or the packet had passed too many routers",
        ),
        (_, "IpExtInTruncatedPkts" | "Ip6InTruncatedPkts") => {
            (Protocol, Evented, "the packet is shorter than it says")
        }
        (_, "Ip6InTooBigErrors") => (
            State,
            Evented,
            "the packet is too big for the device it was to leave by",
        ),
        (_, "IpInUnknownProtos" | "Ip6InUnknownProtos") => {
            (Protocol, Evented, "nobody here speaks the protocol")
        }
        (_, "IpInDiscards") => (
            Resource,
            Evented,
            "IP had no memory or a filter refused the packet",
        ),
        // The same, and what comes while `disable_ipv6` is set (`ip6_rcv_core` in net/ipv6/ip6_input.c).
        (_, "Ip6InDiscards") => (
            Class::Unclassified,
            Evented,
            "IPv6 is off at the device, it had no memory or a filter refused the packet",
        ),
        (_, name) if is_of_fragments(name) => (
            Protocol,
            Evented,
            "fragments of a packet did not come in time or did not fit",
        ),
        (
            _,
            "IpExtInCsumErrors"
            | "TcpInCsumErrors"
            | "UdpInCsumErrors"
            | "Udp6InCsumErrors"
            | "IcmpInCsumErrors"
            | "Icmp6InCsumErrors"
            | "UdpLiteInCsumErrors"
            | "UdpLite6InCsumErrors",
        ) => (Protocol, Evented, "the checksum is wrong"),
        (_, "TcpInErrs" | "UdpInErrors" | "Udp6InErrors" | "IcmpInErrors" | "Icmp6InErrors") => (
            Protocol,
            Evented,
            "the protocol could not use the packet; the sum of its other counters",
        ),
        (_, "UdpNoPorts" | "Udp6NoPorts") => (Protocol, Evented, "no socket is bound to the port"),
        (_, "UdpRcvbufErrors" | "Udp6RcvbufErrors") => (
            Resource,
            Evented,
            "the receive queue of a socket was full: the process reads too slowly",
        ),
        (_, "UdpMemErrors" | "Udp6MemErrors") => (Resource, Evented, "UDP had used up its memory (udp_mem)"),
        (_, "TcpExtTCPBacklogDrop") => (Resource, Evented, "the backlog of a busy socket was full"),
        (_, "TcpExtTCPRcvQDrop" | "TcpExtRcvPruned") => (
            Resource,
            Evented,
            "the receive queue of a socket was full: the process reads too slowly",
        ),
        (_, "TcpExtOfoPruned" | "TcpExtTCPOFODrop") => {
            (Resource, Evented, "no room for segments that came out of order")
        }
        (_, "TcpExtTCPZeroWindowDrop") => (
            Resource,
            Evented,
            "data came for a socket whose window was closed",
        ),
        (_, "TcpExtPFMemallocDrop") => (
            Resource,
            Evented,
            "the packet was in memory that is kept for swapping",
        ),
        (_, "TcpExtTCPMinTTLDrop") => (
            Policy,
            Evented,
            "the packet had passed more routers than the socket allows",
        ),
        (_, "TcpExtTCPDeferAcceptDrop") => (
            Protocol,
            Evented,
            "the listener waits for data before it opens the connection",
        ),
        (_, "TcpExtTCPMD5Failure" | "TcpExtTCPMD5NotFound" | "TcpExtTCPMD5Unexpected") => {
            (Policy, Evented, "the segment's signature is missing or wrong")
        }
        (Source::Softnet, "softnet_dropped") => (
            Resource,
            Evented,
            "the receive queue of a CPU was full (netdev_max_backlog), for the whole machine",
        ),
        (Source::Conntrack, "drop") => (
            Resource,
            Evented,
            "connection tracking had no room for a connection",
        ),
        (Source::Conntrack, "insert_failed" | "chaintoolong") => (
            Resource,
            Evented,
            "a connection could not be entered in connection tracking",
        ),
        (Source::Conntrack, "early_drop") => (
            Resource,
            Other,
            "a connection was forgotten to make room for another",
        ),
        (Source::Conntrack, "invalid") => (
            State,
            Other,
            "the packet belongs to no connection that is tracked; what becomes of it is up to the rules",
        ),
        (Source::Conntrack, "error") => (Protocol, Other, "connection tracking could not read the packet"),

        (Source::Device, "rx_dropped") => (
            Resource,
            Before,
            "the driver, or the kernel just behind it, had no use or no room for the packet",
        ),
        (Source::Device, "rx_missed_errors" | "rx_fifo_errors") => {
            (Resource, Before, "the device had no buffer for the packet")
        }
        (Source::Device, "rx_errors" | "rx_crc_errors") => {
            (Environment, Before, "the frame was damaged on its way")
        }
        (Source::Device, "rx_nohandler") => (
            Environment,
            Evented,
            "a device that takes no part, as an idle member of a bond, got the packet",
        ),
        (Source::Device, "rx_otherhost_dropped") => (Environment, Evented, "the frame is for another host"),
        (Source::Device, "tx_dropped" | "tx_errors") => {
            (Resource, Sent, "the device could not send the packet")
        }
        (Source::Ethtool, name)
            if name.starts_with("tx") || name.contains("xmit") || name.contains("_tx") =>
        {
            (Class::Unclassified, Sent, "the driver could not send the packet")
        }
        (Source::Ethtool, name) if name.contains("xdp") => (
            Policy,
            Before,
            "an XDP program dropped the packet, or it could not be handed on",
        ),
        (Source::Ethtool, name)
            if ["crc", "symbol", "align", "length"]
                .iter()
                .any(|word| name.contains(word)) =>
        {
            (Environment, Before, "the frame was damaged on its way")
        }
        (Source::Ethtool, name)
            if name.starts_with("rx")
                || name.contains("miss")
                || name.contains("no_buf")
                || name.contains("nobuf") =>
        {
            (
                Resource,
                Before,
                "the driver had no use or no room for the packet",
            )
        }

        (_, "IpOutNoRoutes" | "Ip6OutNoRoutes") => (
            State,
            Sent,
            "this node had no route for what it was to send, as for its replies",
        ),
        // `ip_send_skb` (net/ipv4/ip_output.c) and `__tcp_retransmit_skb` (net/ipv4/tcp_output.c): whatever the error was that IP
        // gave back, as EPERM where netfilter drops.
        (_, name) if is_refused_sending(name) => (
            Class::Unclassified,
            Sent,
            match name {
                "TcpExtTCPRetransFail" => "what a connection sent again was refused",
                _ => "what a socket sent was refused",
            },
        ),
        (_, "UdpSndbufErrors" | "Udp6SndbufErrors") => (
            Resource,
            Sent,
            "a socket's send buffer or the queue of a device was full, or there was no memory",
        ),
        (_, "IcmpOutErrors" | "Icmp6OutErrors" | "IpFragFails" | "Ip6FragFails") => {
            (Protocol, Sent, "this node could not send")
        }

        (_, "IcmpInDestUnreachs" | "Icmp6InDestUnreachs") => (
            Environment,
            Other,
            "a peer, a router on the way, or this node itself refused what it had sent",
        ),

        // These count connections and guesses, not packets that were lost.
        (
            _,
            "TcpAttemptFails"
            | "TcpExtPruneCalled"
            | "TcpExtTCPTimeWaitOverflow"
            | "TcpExtTCPAbortFailed"
            | "TcpExtTCPFastOpenPassiveFail",
        ) => return None,
        _ => (
            Class::Unclassified,
            Other,
            "what it means for the books is not known",
        ),
    };
    Some(Meaning { class, kind, text })
}

/// What tells a counter of /proc/net/netstat from others.
pub(crate) fn netstat(netns: u32, name: &str) -> CounterKey {
    CounterKey {
        netns,
        source: Source::Netstat,
        device: 0,
        name: name.to_owned(),
    }
}

/// What has been told of a counter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    /// Growth since the start, or since its namespace's inode was another's.
    pub grown: u64,
    /// The same over the last seconds.
    history: History<u64>,
    growing: Growing,
    told: u64,
}

impl Counted {
    /// How it grew lately.
    pub(crate) fn recent(&self, now: u64) -> Option<Spell> {
        self.growing.recent(now)
    }
}

/// All counters that have grown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    counters: BTreeMap<CounterKey, Counted>,
    /// When the counters of a namespace were read, as far as some had grown.
    readings: BTreeMap<u32, History<()>>,
    /// What devices of namespaces lost before it arrived whose inodes are others' by now.
    before: u64,
    other: u64,
}

impl Counters {
    /// A counter was told.
    pub(crate) fn counter(&mut self, at: u64, counter: &Counter) {
        if self.counters.len() >= MOST && !self.counters.contains_key(&counter.key) {
            self.other = self.other.saturating_add(1);
            return;
        }
        let counted = self.counters.entry(counter.key.clone()).or_default();
        // One of a namespace or device that came again under the number of another begins anew.
        let grown = growth(counted.told, counter.grown);
        counted.grown = counted.grown.saturating_add(grown);
        counted.growing.note(at, at, grown);
        counted.told = counter.grown;
        counted.history.push(at, counted.grown);
        self.readings.entry(counter.key.netns).or_default().push(at, ());
    }

    /// These inodes are those of other namespaces now: what has these counts anew. The source may go on from what it told.
    pub(crate) fn begin_anew(&mut self, namespaces: &BTreeSet<u32>, books: &Books, node: &Node) {
        let lost = self.lost(books, node, |netns| namespaces.contains(&netns));
        self.before = self.before.saturating_add(lost);
        let of_these = |key: &CounterKey| namespaces.contains(&key.netns);
        for (_, counted) in self.counters.iter_mut().filter(|(key, _)| of_these(key)) {
            *counted = Counted {
                told: counted.told,
                ..Counted::default()
            };
        }
        self.readings.retain(|netns, _| !namespaces.contains(netns));
    }

    /// These namespaces have ended long ago: the source knows nothing of them any more.
    pub(crate) fn forget(&mut self, namespaces: &BTreeSet<u32>) {
        self.counters.retain(|key, _| !namespaces.contains(&key.netns));
        self.readings.retain(|netns, _| !namespaces.contains(netns));
    }

    /// What they counted until then belongs to nothing that comes later.
    pub(crate) fn conclude(&mut self, until: u64) {
        for counted in self.counters.values_mut() {
            counted.growing.conclude(until);
        }
    }

    /// How fast a counter grows, where counting began at `start`.
    pub(crate) fn rate(&self, key: &CounterKey, start: u64, now: u64) -> f64 {
        let (Some(counted), Some(readings)) = (self.counters.get(key), self.readings.get(&key.netns)) else {
            return 0.0;
        };
        let lately = Lately::of(readings, start, now, EVERY);
        lately.rate(counted.history.at(lately.from).into(), counted.grown.into())
    }

    /// All that have grown, in the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&CounterKey, &Counted)> {
        self.counters.iter().filter(|(_, counted)| counted.grown > 0)
    }

    /// Times that a counter was told for which there was no room.
    pub(crate) fn other(&self) -> u64 {
        self.other
    }

    /// The latest spell in which this node had no route for what it was to send by IPv4 or IPv6, where that is not long ago.
    /// What its sockets ask for in vain is in it too, which makes no packet.
    pub(crate) fn no_route(&self, netns: u32, version: Version, now: u64) -> Option<Spell> {
        self.recent(netns, no_route_counter(version), now)
    }

    /// The latest spell in which ICMP told this node that what it asks for cannot be reached, where that is not long ago; and the
    /// counter's name.
    pub(crate) fn unreachable(
        &self,
        netns: u32,
        version: Version,
        now: u64,
    ) -> Option<(&'static str, Spell)> {
        let counter = unreachable_counter(version);
        Some((counter.1, self.recent(netns, counter, now)?))
    }

    /// How a counter of a namespace that is one of no device grew lately.
    fn recent(&self, netns: u32, (source, name): (Source, &str), now: u64) -> Option<Spell> {
        let key = CounterKey {
            netns,
            source,
            device: 0,
            name: name.to_owned(),
        };
        self.counters.get(&key)?.growing.recent(now)
    }

    /// A counter of /proc/net/netstat.
    pub(crate) fn netstat(&self, netns: u32, name: &str) -> Option<&Counted> {
        self.counters.get(&netstat(netns, name))
    }

    /// Packets that devices and their drivers lost before they arrived. What counters have in common cannot be known:
    /// of each device it is the sum of what all devices count, or what its driver counts most of, whichever is more,
    /// less the drops of it that are in the ledger. So it is no more than a lower bound.
    pub(crate) fn lost_before_arrival(&self, books: &Books, node: &Node) -> u64 {
        self.before.saturating_add(self.lost(books, node, |_| true))
    }

    /// The same, of the namespaces that are wanted.
    fn lost(&self, books: &Books, node: &Node, is_wanted: impl Fn(u32) -> bool) -> u64 {
        let mut devices: BTreeMap<(u32, u32), Device> = BTreeMap::new();
        for (key, counted) in self.iter().filter(|(key, _)| is_wanted(key.netns)) {
            if meaning(key.source, &key.name).is_some_and(|meaning| meaning.kind == CounterKind::Before) {
                devices
                    .entry((key.netns, key.device))
                    .or_default()
                    .add(key, counted.grown);
            }
        }
        for (key, line) in books.lines() {
            if key.fate == Fate::Dropped && ends::counted_by_device(key) && in_ledger(node, key).is_some() {
                let index = if key.iif == 0 { key.device } else { key.iif };
                if let Some(device) = devices.get_mut(&(key.netns, index)) {
                    device.told = device.told.saturating_add(line.packets);
                }
            }
        }
        devices.values().map(Device::lost).fold(0, u64::saturating_add)
    }
}

/// What the counters of one device say together.
#[derive(Debug, Default)]
struct Device {
    errors: u64,
    dropped: u64,
    missed: u64,
    fifo: u64,
    /// What its driver counts, the same of all queues under one name: `rx#_drops`. Their sum may be there too, as
    /// `rx_drops`.
    driver: BTreeMap<String, u64>,
    /// Drops of it that are in the ledger.
    told: u64,
}

impl Device {
    fn add(&mut self, key: &CounterKey, grown: u64) {
        match (key.source, key.name.as_str()) {
            (Source::Device, "rx_errors") => self.errors = grown,
            (Source::Device, "rx_dropped") => self.dropped = grown,
            (Source::Device, "rx_missed_errors") => self.missed = grown,
            (Source::Device, "rx_fifo_errors") => self.fifo = grown,
            (Source::Ethtool, name) => {
                let digits = |c: char| if c.is_ascii_digit() { '#' } else { c };
                let name = name.chars().map(digits).collect();
                let sum = self.driver.entry(name).or_default();
                *sum = sum.saturating_add(grown);
            }
            // Part of one of the others.
            _ => {}
        }
    }

    fn lost(&self) -> u64 {
        // Many drivers count one thing under both of these names.
        let all = [self.errors, self.dropped, self.missed.max(self.fifo)];
        let all = all.into_iter().fold(0, u64::saturating_add);
        let driver = self.driver.values().copied().max().unwrap_or(0);
        all.max(driver).saturating_sub(self.told)
    }
}
