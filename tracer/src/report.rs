//! What the faces show: an immutable picture of the model and the diagnosis at one tick.
//!
//! The live screen, the plain text and `tracer diagnose` all render a [`Report`]; its JSON form is a
//! contract (docs/report.md, docs/report.schema.json). Packets are counted as the wire carried them.

mod episode;
mod node;
mod packages;
mod verdict;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::event::{CapabilityState, Losses, Source, Unknown};
pub use episode::{Beside, EPISODE_UNITS, Episode};
pub use node::{
    Actor, Band, Became, Change, ChangeKind, Deadline, Difference, Dropper, EARLIEST, Following, Invariant,
    InvariantState, JobLimit, NODE_SCHEMA, NODE_SCHEMA_VERSION, Node, NodeReport, Onsets, Parent, Run,
    Setting, Span, Timer, Unit, What,
};
pub use packages::{Outcome, Packages, Standing as PackagesStanding, Unfinished, Upgrade};
pub use verdict::{Cause, Coincidence, Confidence, Evidence, Fact, Later, Relation, Step, Verdict, Where};

/// Name of the contract.
pub const SCHEMA: &str = "tracer.report";
/// Version of the contract: raised when a member changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

/// Namespaces that a report has at most.
pub const NAMESPACES: usize = 1000;
/// Flows that one list of a report has at most.
pub const FLOWS: usize = 100;

/// Members that `forwards` has at most.
pub const FORWARDS: usize = 100;

/// The picture at one tick.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Name and version of this contract.
    pub schema: Schema,
    /// The time that was watched.
    pub window: Window,
    /// The node and its kernel.
    pub kernel: Kernel,
    /// What the tracer can see, and what it cannot and why.
    pub capabilities: Vec<Capability>,
    /// The books of the node, in packets since the start: of its uplinks. What is forwarded to a pod's namespace is
    /// entered as forwarded here, and once more in that one's own books, see `namespaces`.
    pub ledger: Ledger,
    /// The same in bytes, as far as they are known.
    pub bytes: Bytes,
    /// The same per second, over the last seconds.
    pub rates: Rates,
    /// Devices whose arrivals are in the ledger.
    pub uplinks: Vec<String>,
    /// How many network namespaces are watched now: 0 where the one that was asked for has ended.
    #[serde(default)]
    pub namespaces_watched: u64,
    /// The books of each namespace where something arrived or ended, where several are or were watched: the node's
    /// own first, then by what arrived, at most 1000.
    pub namespaces: Vec<Namespace>,
    /// How many there are, also those for which `namespaces` has no room.
    pub namespaces_total: u64,
    /// Where the fault is.
    #[serde(rename = "where")]
    pub place: Where,
    /// A fault was mended, and it was mended or seen last less than 5 s ago, and flows starve still; or less than 9 s ago, and a default
    /// route that went with it is not back: whether it hid another fault, or left one, is not known yet. Or it was seen last less than 10 s
    /// ago, and the rules of a firewall that explain it still stand: it may drop a part. Then `where` is `unknown`.
    #[serde(default)]
    pub settling: bool,
    /// Findings, the most important one first. Empty where the node is healthy.
    pub verdicts: Vec<Verdict>,
    /// The times in which the network was broken, the latest first, at most 64.
    #[serde(default)]
    pub episodes: Vec<Episode>,
    /// How many there were, also those for which `episodes` has no room.
    #[serde(default)]
    pub episodes_total: u64,
    /// Drops, most packets first.
    pub drops: Vec<Drop>,
    /// Buffers that were thrown away and are no packets of a network, as messages of netlink and of unix sockets: neither
    /// device nor namespace nor protocol is known of them. They are not in `drops`.
    #[serde(default)]
    pub no_packets: u64,
    /// Counters of the kernel that have grown since the start, most packets first, at most 100.
    #[serde(default)]
    pub counters: Vec<Counter>,
    /// How many there are, also those for which `counters` has no room.
    pub counters_total: u64,
    /// Packets that devices lost before they arrived, at least: they are in no column of the ledger.
    #[serde(default)]
    pub lost_before_arrival: u64,
    /// Sockets in which something waits: full accept queues first, then what has waited longest, at most 100.
    #[serde(default)]
    pub queues: Vec<Queue>,
    /// How many there are, also those for which `queues` has no room.
    pub queues_total: u64,
    /// By which devices what was forwarded came and left, most packets first, at most 100.
    pub forwards: Vec<Forward>,
    /// How many there are, also those for which `forwards` has no room.
    pub forwards_total: u64,
    /// Addresses of this node for which neighbours asked, by ARP or neighbour discovery.
    pub neighbours: Vec<Neighbour>,
    /// Neighbours for whose answer packets wait that arrived, most packets first, at most 100.
    #[serde(default)]
    pub unresolved: Vec<Unresolved>,
    /// How many there are, also those for which `unresolved` has no room.
    pub unresolved_total: u64,
    /// Datagrams that wait for missing fragments.
    pub fragments: Fragments,
    /// Flows that get less than what arrives for them, most starved first, at most 100.
    pub starved: Vec<Flow>,
    /// How many flows are starved, also those for which `starved` has no room.
    pub starved_total: u64,
    /// What could not be recorded.
    pub losses: Losses,
    /// What stands on the node beside packets, and what changed there.
    #[serde(flatten)]
    pub node: Node,
    /// What the reader asked to hide; absent where nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filtered>,
}

/// The JSON Schema of [`Report`], which docs/report.schema.json holds.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Report).to_value()
}

/// The JSON Schema of [`NodeReport`], which docs/node.schema.json holds.
#[must_use]
pub fn node_schema() -> serde_json::Value {
    schemars::schema_for!(NodeReport).to_value()
}

/// Name and version of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Schema {
    /// `tracer.report`
    pub name: String,
    /// Raised when a member changes its meaning or goes away.
    pub version: u32,
}

/// What `--pid`, `--unit` and `--flow` hide. The ledger and the verdicts count everything all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Filtered {
    /// The filter, as the reader gave it.
    pub text: String,
    /// Starved flows that are hidden; they are not in `starved_total`.
    pub starved: u64,
    /// Members of `drops` that are hidden.
    pub drops: u64,
    /// Members of `queues` that are hidden; they are not in `queues_total`.
    #[serde(default)]
    pub queues: u64,
    /// Flows of verdicts that are hidden; they are not in `flows_total`.
    pub verdict_flows: u64,
    /// What it shows: starved flows, flows of verdicts and queues, and drops where it is about a unit.
    #[serde(default)]
    pub shown: u64,
    /// Absent, or `--unit` names a unit that systemd has not loaded and that no flow is of: the names that are most like
    /// it, the nearest first, at most 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_such_unit: Option<Vec<String>>,
}

/// The time that was watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// When it began, UTC, RFC 3339.
    pub start: String,
    /// When it ended, UTC, RFC 3339.
    pub end: String,
    /// Its length in seconds.
    pub seconds: f64,
}

/// The node and its kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kernel {
    /// `uname -r`
    pub release: String,
    /// `uname -n`
    pub host: String,
    /// Id of this boot.
    pub boot_id: String,
}

/// A part of what the tracer can see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capability {
    /// Its name.
    pub name: String,
    /// Whether it works.
    pub state: CapabilityState,
    /// Why it does not, and what is therefore not seen; empty where it works.
    pub why: String,
}

/// Double-entry books: `arrived = delivered + forwarded + answered + dropped + queued + unexplained`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    /// Packets that arrived on an uplink; also what had arrived and waited for a neighbour when the tracer started.
    pub arrived: u64,
    /// Reached a socket: matched (TCP), or queued and read by a process (UDP, ICMP).
    pub delivered: u64,
    /// Left by a device.
    pub forwarded: u64,
    /// Used up by the kernel itself: ARP, ICMP, neighbour discovery, handshakes.
    pub answered: u64,
    /// Dropped by the kernel.
    pub dropped: u64,
    /// In a socket's receive queue, not read yet; or waiting for the answer of a neighbour, to be forwarded.
    pub queued: u64,
    /// The residual, never hidden. Negative where something was entered twice.
    pub unexplained: i64,
}

/// A ledger in bytes, from the network header on. The kernel does not tell the bytes of what is matched or queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bytes {
    /// Bytes of what arrived.
    pub arrived: u64,
    /// Bytes of what was forwarded, as it left.
    pub forwarded: u64,
    /// Bytes of what was answered.
    pub answered: u64,
    /// Bytes of what was dropped.
    pub dropped: u64,
    /// What of `arrived` the others leave: delivered, queued and unexplained together. Negative where packets grew on
    /// their way or were entered twice.
    pub rest: i64,
}

/// What a network namespace is to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Its uplinks are the node's: its books are part of the report's ledger.
    Node,
    /// A device of it is linked to one in another namespace, as those of pods and containers are.
    Pod,
    /// Neither.
    Other,
}

/// A network namespace and its books.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Namespace {
    /// What it is called: `host`, a name of `ip netns`, a path, or `pid:PID COMMAND`.
    pub name: String,
    /// Its inode. The kernel gives that of one that has ended to the next.
    pub inode: u32,
    /// What it is to the node.
    pub role: Role,
    /// When it was found no more, UTC, RFC 3339; `null` for one that is there.
    pub ended: Option<String>,
    /// Its devices whose arrivals are in its ledger.
    pub uplinks: Vec<String>,
    /// Process id of one that lives in it, 0 where none is known and for the tracer's own.
    pub pid: u32,
    /// Command of that process, empty where none is known.
    pub command: String,
    /// cgroup of that process, by which a container or pod is known; empty where none is known.
    pub cgroup: String,
    /// systemd unit of that process, empty where none is known.
    pub unit: String,
    /// Its books, in packets.
    pub ledger: Ledger,
    /// The same in bytes.
    pub bytes: Bytes,
    /// The same per second, over the last seconds.
    pub rates: Rates,
    /// What was handed to it by the namespaces that its devices are linked to; `null` where nothing was, or it is not
    /// known by which devices.
    pub followed: Option<Followed>,
}

/// What was handed from one namespace to another by a virtual pair of devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Followed {
    /// Packets that left by the other ends of its pairs, and had arrived there before.
    pub forwarded: u64,
    /// Packets that arrived by its own ends: also those that the other namespace sent itself.
    pub arrived: u64,
    /// What of the forwarded did not arrive, protocol by protocol. What the other namespace sends itself by the same
    /// protocol makes up for it: at least so many were lost, but for those that are on their way.
    pub lost_on_the_way: u64,
}

/// The ledger's columns in packets per second, with bytes for the arrivals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the columns of Ledger, per second")]
pub struct Rates {
    pub arrived: f64,
    pub arrived_bytes: f64,
    pub delivered: f64,
    pub forwarded: f64,
    pub answered: f64,
    pub dropped: f64,
    pub unexplained: f64,
}

/// Packets that were dropped at one place for one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drop {
    /// The kernel's name for why, without its prefix.
    pub reason: String,
    /// The kernel function and offset, `ip_forward+0x1c4`.
    pub location: String,
    /// What kind of drop.
    pub class: Class,
    /// Packets since the start.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets per second, over the last seconds.
    pub rate: f64,
    /// The kernel had already found the socket that they belong to.
    pub socket_found: bool,
    /// They had arrived on a device; else this node was sending them.
    pub incoming: bool,
    /// They are part of the report's ledger: they arrived by an uplink of the node, and were not already at work in a TCP socket
    /// that is now closed, or in the kernel itself.
    pub in_ledger: bool,
    /// Device by which they arrived, empty where none is known.
    pub device: String,
    /// Protocol: `tcp`, `udp`, `icmp`, `arp` …
    pub protocol: String,
    /// Version of IP, `IPv4` or `IPv6`; empty for what is not IP, and where it is not told.
    #[serde(default)]
    pub version: String,
    /// Namespace: its name and inode, `host:4026531840`.
    pub netns: String,
    /// Systemd units of the sockets that were found.
    pub units: Vec<String>,
    /// What examples have shown beyond that, such as the hooks of netfilter at which they were dropped,
    /// `netfilter: input, ipv4`; empty where nothing.
    #[serde(default)]
    pub detail: String,
}

/// A counter of the kernel that has grown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counter {
    /// Its name, as `nstat`, `ip -s link`, `ethtool -S` or `conntrack -S` have it.
    pub name: String,
    /// Who counts.
    pub source: Source,
    /// Namespace: its name and inode.
    pub netns: String,
    /// Device that it is one of, empty where it is one of no device.
    pub device: String,
    /// By how much it has grown since the start: packets for most.
    pub packets: u64,
    /// The same per second, over the last seconds.
    pub rate: f64,
    /// What kind of loss.
    pub class: Class,
    /// How it relates to the books.
    pub kind: CounterKind,
    /// What it says, in a sentence.
    pub text: String,
}

/// How a counter relates to the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CounterKind {
    /// No event tells these packets: they had been entered as answered, and are moved to dropped.
    Moves,
    /// These packets never were an arrival.
    Before,
    /// What this node was to send.
    Sent,
    /// What it means for the books is not known, or it counts something else than packets that were lost.
    Other,
    /// An event tells each of these packets too: a cross-check.
    Evented,
}

/// A socket in which something waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Queue {
    /// `tcp`, `udp`, `icmp` …
    pub protocol: String,
    /// Address and port on this node.
    pub local: String,
    /// Address and port of the peer.
    pub remote: String,
    /// Namespace.
    pub netns: String,
    /// State of the socket.
    pub state: String,
    /// Process id of the owner, 0 where unknown.
    pub pid: u32,
    /// Command of the owner, empty where unknown.
    pub command: String,
    /// systemd unit of the owner, empty where unknown.
    pub unit: String,
    /// What waits: connections that were not accepted where `state` is `LISTEN`, else bytes that were not read (UDP:
    /// of memory).
    pub waiting: u64,
    /// Listening: connections that may wait, absent for other sockets and where the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The accept queue has no room for another connection.
    pub full: bool,
    /// Packets that the socket has dropped since it was opened, absent where the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drops: Option<u64>,
    /// Seconds for which something has been waiting without being read or accepted, as far as was seen.
    pub age: f64,
}

/// Packets that came by one device and left by another. Where both are the same, the node sent them back to where they
/// came from: it has no route to whom they are for but that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Forward {
    /// Device by which they arrived: an uplink, or what stands on one.
    pub from: String,
    /// Device by which they left.
    pub to: String,
    /// Namespace: its name and inode.
    pub netns: String,
    /// Packets since the start.
    pub packets: u64,
}

/// What was asked for an address of this node on the link. Whoever gets no answer cannot send it anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Neighbour {
    /// The address.
    pub address: String,
    /// Uplink of the last request.
    pub device: String,
    /// Namespace: its name and inode.
    pub netns: String,
    /// Requests that arrived by uplinks.
    pub asked: u64,
    /// Answers that left.
    pub answered: u64,
    /// Requests since the last answer.
    pub unanswered: u64,
}

/// A neighbour whose link-layer address is not known. What arrived and is to leave by it waits until it answers, which
/// takes no time where it is there; where it does not, the kernel drops what waits, after 3 s by default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unresolved {
    /// The neighbour's address.
    pub address: String,
    /// Device that it is asked for on.
    pub device: String,
    /// Namespace: its name and inode.
    pub netns: String,
    /// Packets that wait, whatever device they arrived by. What arrived by an uplink is part of `ledger.queued`.
    pub packets: u64,
    /// Seconds for which something has been waiting, as far as was seen.
    pub age: f64,
}

/// Datagrams of which some fragments have arrived in the node's own namespaces and others have not, by whatever device.
/// Those fragments are part of `ledger.unexplained` until the datagram is whole or dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fragments {
    /// How many datagrams wait.
    pub datagrams: u64,
    /// Memory that their fragments take, in bytes.
    pub memory: u64,
}

/// What kind of drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The host lost state that it needs: a route, a rule, an address, a neighbour.
    State,
    /// A queue, table or buffer is full.
    Resource,
    /// Someone decided it: a firewall, a filter.
    Policy,
    /// The protocol's own housekeeping; benign unless the rate jumps.
    Protocol,
    /// Not meant for us.
    Environment,
    /// No rule knows it.
    Unclassified,
}

/// Where the packets of a flow end that are not dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// At a socket of its own, or one that is not connected.
    #[default]
    Socket,
    /// At a listener of TCP, which opens a connection for it or does not.
    Listener,
    /// Nowhere here: it is forwarded, because the address is none of the namespace's.
    Transit,
}

/// A flow as a reader needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// `tcp`, `udp`, `icmp` …
    pub protocol: String,
    /// Address and port on this node.
    pub local: String,
    /// Address and port of the peer.
    pub remote: String,
    /// Namespace.
    pub netns: String,
    /// This node opened it: what arrives is a reply.
    pub reply: bool,
    /// State of the socket, empty where there is none.
    pub state: String,
    /// Process id of the owner, 0 where unknown.
    pub pid: u32,
    /// Command of the owner, empty where unknown.
    pub command: String,
    /// cgroup of the owner, empty where unknown.
    pub cgroup: String,
    /// systemd unit of the owner, empty where unknown.
    pub unit: String,
    /// Packets that left.
    pub sent: u64,
    /// Packets that arrived.
    pub arrived: u64,
    /// Where its packets end that are not dropped.
    #[serde(default)]
    pub destination: Destination,
    /// Packets that reached the socket; absent where `destination` is another than `socket`: what a listener takes and what
    /// is forwarded is not counted by flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<u64>,
    /// Of TCP: segments that the kernel found the socket for.
    pub matched: u64,
    /// Times that data was put in the socket's receive queue. Of UDP and ICMP: datagrams.
    pub queued: u64,
    /// Reads by a process: of datagrams, or of TCP's buffers; absent where they are not told by flow, as those of a UDP
    /// socket that is not connected: it has no peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<u64>,
    /// Packets that were dropped.
    pub dropped: u64,
    /// Retransmissions sent.
    pub retransmitted: u64,
    /// Reason and location of the last drop, empty where none.
    pub last_drop: String,
    /// Seconds since something last reached the socket while more arrived or was asked for.
    pub starved_seconds: f64,
}

#[cfg(test)]
mod tests;
