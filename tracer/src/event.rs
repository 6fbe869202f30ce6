//! What a source can say. Everything that [`crate::model::Model`] knows came to it as an [`Event`].
//!
//! Events are recorded as they are (see [`crate::trace`]) and replayed into the same model, so they
//! carry names, not numbers that only the running kernel could explain. Counts are cumulative since
//! the start (those of a flow since its `life` began), which makes each event idempotent and a lost one
//! harmless.

mod actor;
mod chains;
mod notice;
mod packages;
mod setting;
mod unit;
pub(crate) mod value;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

pub use actor::{Owner, Parent, Unknown};
pub use chains::{Chain, Chains, Counted, Dropper, Droppers, Family, Point};
pub use notice::{Clock, Notice, NoticeKind};
pub use packages::{Manager, Packages, Unfinished, Upgrade, Upgrades};
pub use setting::{Seen, Setting, Thing, Version};
pub(crate) use setting::{TABLE_LOCAL, TABLE_MAIN};
pub use unit::{Job, JobState, Limits, Run, Runs, Timer, Unit, UnitState};

/// Something that was seen, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub at: u64,
    /// What was seen.
    pub body: Body,
}

/// All that a source can say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// The tracer starts: the first event of every stream.
    Start(Start),
    /// A capability is there, or why it is not.
    Capability(Capability),
    /// A network namespace that is watched from now on, beside those of the start; or what one is called now.
    Namespace(Namespace),
    /// A watched network namespace is found no more: it has ended, as far as can be seen.
    NamespaceEnded(NamespaceEnded),
    /// A network device of a watched namespace.
    Device(Device),
    /// A line in the books: all packets with one fate.
    Entry(Entry),
    /// What a flow has counted so far.
    Flow(FlowCount),
    /// What was asked for an address of this node on the link, and what it answered.
    Neighbour(Neighbour),
    /// What waits until the link-layer address of a neighbour is known, or that nothing does any more.
    Unresolved(Unresolved),
    /// How many datagrams wait for missing fragments.
    Fragments(Fragments),
    /// A dropped packet, in full.
    Example(Box<Example>),
    /// A socket is known, opened, changed or closed.
    Socket(Socket),
    /// A counter of the kernel that has grown since the start.
    Counter(Counter),
    /// What waits in a socket, or that nothing does any more.
    Queue(Box<Queue>),
    /// The chains of a firewall by which packets come into its rules, as they stand now.
    Chains(Chains),
    /// The rules of a firewall that can drop packets, and what they have counted.
    Droppers(Droppers),
    /// How a thing is configured.
    Setting(Box<Setting>),
    /// A unit of systemd.
    Unit(Box<Unit>),
    /// A job of systemd.
    Job(Job),
    /// A timer of systemd.
    Timer(Box<Timer>),
    /// Past runs of a unit that a timer starts.
    Runs(Box<Runs>),
    /// What the package manager does, and what it has left undone.
    Packages(Box<Packages>),
    /// What a package manager has done, as its logs have it.
    Upgrades(Box<Upgrades>),
    /// Something happened on the node.
    Notice(Notice),
    /// How the clocks stand to one another.
    Clock(Clock),
    /// The node has been healthy for a while: as it stands now it is well.
    Baseline,
    /// What could not be recorded so far.
    Losses(Losses),
    /// All counts of a round have been told; the model draws its conclusions.
    Tick,
    /// The tracer stops: the last event of a whole stream.
    Stop,
}

/// Where and with what the tracer was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Version of tracer.
    pub tracer: String,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -n`.
    pub host: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Nanoseconds to add to a boot time to have UTC since 1970.
    pub wall_offset: i64,
    /// The namespaces that are watched from the start.
    pub namespaces: Vec<Namespace>,
}

/// A network namespace that is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its inode.
    pub inode: u32,
    /// What the user called it: `host`, a name, or a path.
    pub name: String,
    /// What tells it from an earlier one with the same inode (`SO_NETNS_COOKIE`, since 5.14), 0 where the kernel does
    /// not tell.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cookie: u64,
    /// A process that lives in it, and where that belongs; `None` for the tracer's own, and where none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// A network namespace that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceEnded {
    /// Its inode, which the kernel gives to the next one.
    pub inode: u32,
}

/// A part of what the tracer can see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Its name, such as `drops`.
    pub name: String,
    /// Whether it works.
    pub state: CapabilityState,
    /// Why it does not, and what is therefore not seen; empty where it works.
    pub why: String,
}

/// Whether a capability works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CapabilityState {
    /// It works.
    Available,
    /// It works in part.
    Partial,
    /// It does not work.
    Unavailable,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Inode of its namespace.
    pub netns: u32,
    /// Its index in that namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Packets that arrive here are arrivals: it has a hardware parent, or the user said so, or `assumed`.
    pub uplink: bool,
    /// It is taken for an uplink since its namespace has no other, as those of pods have none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub assumed: bool,
    /// Its own addresses; none for one that is gone.
    pub addresses: Vec<IpAddr>,
    /// Indices of the devices below it, in order: what has arrived by one of them comes up by this one, as the
    /// same packet (the members of a bond, what a VLAN is on), or as what it carried (what a tunnel goes through).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<u32>,
    /// The device that it is linked to, where that is in another namespace: the other end of a virtual pair, or what
    /// a macvlan is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
}

/// A device in another namespace than the one that is linked to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// Inode of its namespace, 0 where it is not known: that may not be watched.
    pub netns: u32,
    /// Its index there.
    pub index: u32,
}

/// A 5-tuple as the local socket sees it, with its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowKey {
    /// Inode of the namespace.
    pub netns: u32,
    /// Protocol.
    pub protocol: Protocol,
    /// Address on this node; unspecified for a socket bound to any.
    pub local: IpAddr,
    /// Port on this node; for ICMP echo its identifier.
    pub local_port: u16,
    /// Address of the peer; unspecified for a socket that is not connected.
    pub remote: IpAddr,
    /// Port of the peer; 0 for ICMP and for a socket that is not connected.
    pub remote_port: u16,
}

impl FlowKey {
    /// With `::` for every address that is not specified. A socket that is bound to any, or not
    /// connected, has no address, and so no family: the BPF programs and the kernel's lists of sockets
    /// then name it alike.
    #[must_use]
    pub fn canonical(self) -> Self {
        let address = |address: IpAddr| {
            if address.is_unspecified() {
                IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            } else {
                address
            }
        };
        Self {
            local: address(self.local),
            remote: address(self.remote),
            ..self
        }
    }
}

impl fmt::Display for FlowKey {
    /// `tcp 10.10.0.2:40000 → 192.0.2.10:80`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |address: IpAddr, port: u16| match address {
            any if any.is_unspecified() => format!("*:{port}"),
            IpAddr::V6(v6) => format!("[{v6}]:{port}"),
            IpAddr::V4(v4) => format!("{v4}:{port}"),
        };
        match self.protocol {
            Protocol::Icmp | Protocol::Icmp6 => {
                write!(
                    f,
                    "{} {} → {} id {}",
                    self.protocol, self.local, self.remote, self.local_port
                )
            }
            _ => write!(
                f,
                "{} {} → {}",
                self.protocol,
                end(self.local, self.local_port),
                end(self.remote, self.remote_port)
            ),
        }
    }
}

/// An IP protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// ICMP for IPv4.
    Icmp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP for IPv6.
    Icmp6,
    /// Another one, by number; 0 for what is not IP.
    Other(u8),
}

impl From<u8> for Protocol {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::Icmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            58 => Self::Icmp6,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp => f.pad("icmp"),
            Self::Tcp => f.pad("tcp"),
            Self::Udp => f.pad("udp"),
            Self::Icmp6 => f.pad("icmp6"),
            Self::Other(number) => f.pad(&format!("proto {number}")),
        }
    }
}

/// A place in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Location {
    /// The function, as `/proc/kallsyms` names it (without compiler suffixes such as `.constprop.0`);
    /// the address in hexadecimal where no name is to be had.
    pub symbol: String,
    /// Bytes into it.
    pub offset: u32,
}

impl fmt::Display for Location {
    /// `ip_forward+0x1c4`; an address without a name as it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.symbol.starts_with("0x") {
            return f.pad(&self.symbol);
        }
        f.pad(&format!("{}+{:#x}", self.symbol, self.offset))
    }
}

/// What became of the packets of an [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// They arrived on a device.
    Arrived,
    /// The kernel found their TCP socket.
    Matched,
    /// A process read the datagram. Only told where the kernel does not tell [`Fate::Queued`].
    Read,
    /// The datagram was put in a socket's receive queue.
    Queued,
    /// They left by a device after they had arrived by one.
    Forwarded,
    /// The kernel used them up itself.
    Consumed,
    /// They were dropped.
    Dropped,
}

/// A line in the books: all packets that share what is said here, since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What tells this line from others.
    pub key: EntryKey,
    /// Packets, as the wire carried them.
    pub packets: u64,
    /// Their bytes, from the network header on.
    pub bytes: u64,
}

/// The reason of packets that somebody else took from the kernel, such as a tc program: it tells of no drop and has
/// no name for it.
pub const STOLEN: &str = "stolen";

/// The reason of drops whose lines the books had no room for: neither reason nor place nor protocol is known of
/// them any more.
pub const OTHER: &str = "other";

/// What tells one [`Entry`] from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryKey {
    /// What became of the packets.
    pub fate: Fate,
    /// Inode of the namespace, 0 where it cannot be known.
    pub netns: u32,
    /// Index of the device by which the packets arrived, 0 where none is known.
    pub iif: u32,
    /// Index of the device that the packets were at, 0 where none is known.
    pub device: u32,
    /// Ethernet protocol.
    pub ethertype: u16,
    /// IP protocol.
    pub protocol: Protocol,
    /// The kernel's reason for a drop.
    pub reason: Option<String>,
    /// Where in the kernel they ended.
    pub location: Option<Location>,
    /// The kernel had already found the socket that they belong to.
    pub socket_found: bool,
    /// They had arrived on a device; else this node was sending them.
    pub incoming: bool,
    /// They had been entered as [`Fate::Matched`] before.
    pub matched: bool,
}

/// Who sent the first packet of a flow that was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Not known.
    #[default]
    Unknown,
    /// This node: what arrives is a reply.
    Local,
    /// The peer.
    Remote,
}

/// What a flow has counted since the start, or since the last time that its place was given away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCount {
    /// The flow.
    pub flow: FlowKey,
    /// Another number than before where the flow's place in the table of flows had been given away, since it
    /// was idle: all counts then began at 0 once more. It only rises.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub life: u32,
    /// Who began.
    pub origin: Origin,
    /// Device of the last arrival.
    pub iif: u32,
    /// Packets that arrived on a device other than loopback.
    pub arrived: u64,
    /// Their bytes.
    pub arrived_bytes: u64,
    /// Packets that left.
    pub sent: u64,
    /// Packets for which the kernel found the TCP socket.
    pub matched: u64,
    /// Times that data was put in the socket's receive queue. UDP and ICMP: datagrams, under their own
    /// tuple where it is known, else under the socket's; from loopback under the port alone.
    pub queued: u64,
    /// Datagrams that a process read (UDP: under the socket's tuple; TCP: buffers).
    pub read: u64,
    /// Bytes copied to a process.
    pub read_bytes: u64,
    /// Arrived packets that were dropped.
    pub dropped: u64,
    /// TCP retransmissions that this node sent.
    pub retransmitted: u64,
    /// Reason and location of the last drop.
    pub last_drop: Option<(String, Location)>,
    /// Inode of the socket that the flow's datagrams or echo requests were last sent by, 0 where none is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sender: u64,
    /// Who has that socket, where that could be found out. TCP's owners are told by [`Socket`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Box<Owner>>,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// Messages of ARP and neighbour discovery about an address of this node, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Inode of the namespace.
    pub netns: u32,
    /// Index of the device by which the requests arrived, or the answers left.
    pub device: u32,
    /// The address.
    pub address: IpAddr,
    /// Requests that arrived.
    pub asked: u64,
    /// Answers that left.
    pub answered: u64,
}

/// Packets that arrived by one device, are to leave by another, and wait until the link-layer address of the neighbour
/// there is known. Those that this node sends itself are not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unresolved {
    /// Inode of the namespace.
    pub netns: u32,
    /// Index of the device that the neighbour is at.
    pub device: u32,
    /// The neighbour's address.
    pub address: IpAddr,
    /// Index of the device by which they arrived.
    pub iif: u32,
    /// How many wait now; 0: none any more.
    pub packets: u64,
    /// How many waited already when the tracer started: nobody saw them arrive. Told once for each queue.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub before: u64,
    /// Their bytes, from the network header on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub before_bytes: u64,
}

/// Datagrams of which some fragments have arrived and others have not. The kernel keeps those until all are there, and
/// drops them after 30 s (IPv4) or 60 s (IPv6) by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragments {
    /// Inode of the namespace.
    pub netns: u32,
    /// How many datagrams wait now, whatever device they arrived by.
    pub datagrams: u64,
    /// Memory that their fragments take, in bytes.
    pub memory: u64,
}

/// State of a TCP socket (include/net/tcp_states.h); other protocols use `Established` for connected
/// and `Close` for not connected, as the kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the TCP specification")]
pub enum SocketState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
}

impl SocketState {
    /// From the kernel's number, `None` for one that it does not have.
    #[must_use]
    pub fn from_kernel(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            12 => Self::NewSynRecv,
            _ => return None,
        })
    }
}

/// What happened to a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Its tuple.
    pub flow: FlowKey,
    /// Its state now.
    pub state: SocketState,
    /// Its state before, where this is a change; `None` where it was found in the kernel's list.
    pub from: Option<SocketState>,
    /// Inode of the socket file, 0 where there is none.
    pub inode: u64,
    /// Who has it, where that could be found out.
    pub owner: Option<Owner>,
}

/// A counter of a watched namespace that the kernel keeps by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// What tells it from others.
    pub key: CounterKey,
    /// By how much it has grown since the tracer first saw it, at the start or when its namespace or device came.
    /// What it grew by just before it fell back is not in it.
    pub grown: u64,
}

/// What tells one [`Counter`] from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CounterKey {
    /// Inode of the namespace; of the first one that is watched for what the whole machine has ([`Source::Softnet`]).
    pub netns: u32,
    /// Who counts.
    pub source: Source,
    /// Index of the device that it is one of, 0 where it is one of no device.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub device: u32,
    /// Its name, as `nstat`, `ethtool -S`, `ip -s link` or `conntrack -S` have it: `TcpExtListenOverflows`.
    pub name: String,
}

/// Where a [`Counter`] is from.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// /proc/net/snmp: IPv4, and TCP and UDP of both.
    Snmp,
    /// /proc/net/snmp6: IPv6.
    Snmp6,
    /// /proc/net/netstat: what snmp has no room for.
    Netstat,
    /// /proc/net/softnet_stat: the receive queues of all CPUs, for the whole machine.
    Softnet,
    /// Statistics that every device has (`struct rtnl_link_stats64`).
    Device,
    /// Statistics of a device's driver (`ethtool -S`).
    Ethtool,
    /// Connection tracking.
    Conntrack,
}

/// What waits in a socket, as the kernel's list of sockets has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// The socket's tuple.
    pub flow: FlowKey,
    /// Its state; that of [`SocketState::Listen`] has connections waiting, the others bytes.
    pub state: SocketState,
    /// Inode of the socket file, 0 where there is none.
    pub inode: u64,
    /// TCP: bytes that were received and not read. Listening: connections that were not accepted. UDP, ICMP and raw:
    /// memory that unread packets take, in bytes. 0: nothing waits any more.
    pub waiting: u32,
    /// Listening: connections that may wait, where the kernel tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Packets that the socket has dropped since it was opened, where the kernel tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drops: Option<u32>,
    /// Who has the socket, where that could be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// One dropped packet, in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The line in the books that it was counted under.
    pub entry: EntryKey,
    /// Its flow, where it has one.
    pub flow: Option<FlowKey>,
    /// Packets that the buffer stands for.
    pub packets: u32,
    /// Length from the network header on.
    pub length: u32,
    /// The socket that had been found, with its state.
    pub socket: Option<(FlowKey, SocketState)>,
    /// Who has that socket.
    pub owner: Option<Owner>,
    /// Kernel stack from the place to its callers; empty where the same one was told of this line before.
    pub stack: Vec<Location>,
    /// The packet from its network header on, at most [`tracer_ebpf::SNAPLEN`] bytes. Not part of the
    /// JSON form: in a trace the bytes are the packet block's own.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// What could not be recorded since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Losses {
    /// Examples that were not sent because the budget of their place was spent. Their packets are counted.
    pub examples_not_sent: u64,
    /// Records that did not fit in the ring buffer.
    pub ring_full: u64,
    /// Packets whose entry did not fit in the books: the ledger lacks them.
    pub map_full: u64,
    /// Packets that the ledger has, although what became of them did not fit in the books: drops are in a row
    /// [`OTHER`], without reason, place and protocol. Of what the kernel used up itself it is not known
    /// whether that answered it: that is unexplained.
    #[serde(default)]
    pub in_other: u64,
    /// Packets that no flow could be counted for because the table was full. The ledger has them, but for the
    /// segments of TCP connections that close: of these, each change of state counts as one packet here.
    pub flows_full: u64,
    /// Times that a place did not fit in the table of example budgets.
    pub places_full: u64,
    /// Messages of neighbours whose address did not fit in the table of those.
    #[serde(default)]
    pub neighbours_full: u64,
    /// Packets that wait for a neighbour and did not fit in the table of those: they are unexplained until they are
    /// sent or dropped.
    #[serde(default)]
    pub unresolved_full: u64,
    /// Times that one of the kernel's counters had grown and could not be kept, because too many have: what it tells
    /// is missing.
    #[serde(default)]
    pub counters_full: u64,
    /// Times that a socket in which something waits could not be kept, because too many do: it is not among the
    /// queues.
    #[serde(default)]
    pub queues_full: u64,
    /// Times that a unit, a timer or a thing of the configuration was told for which there was no room: it is not shown.
    #[serde(default)]
    pub things_full: u64,
    /// Runs of a program that the kernel left out, since something had interrupted it on that CPU: the ledger
    /// lacks what they would have counted.
    pub runs_skipped: u64,
}
