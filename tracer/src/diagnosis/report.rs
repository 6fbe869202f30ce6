//! The picture of the model and the diagnosis that the faces show.

mod changes;
mod episodes;
mod invariants;
mod led;
mod namespaces;
mod node;
mod told;
mod verdicts;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::episodes::Episodes;
use super::tolls::Past;
use super::words::end;
use crate::event::{EntryKey, Fate, FlowKey, OTHER, Protocol, SocketState, Version};
use crate::model::Model;
use crate::model::books::{Line, in_ledger};
use crate::model::clock::seconds;
use crate::model::counters::{LISTEN_DROPS, LISTEN_OVERFLOWS, netstat};
use crate::model::flows::Flow as Counted;
use crate::model::growth::History;
use crate::model::hooks::{self, Hook};
use crate::model::ledger::{Silent, Totals};
use crate::model::{class, ends};
use crate::report::{
    Capability, Class, Drop, FORWARDS, Flow, Forward, Fragments, Kernel, Neighbour, Rates, Report, SCHEMA,
    SCHEMA_VERSION, Schema, Window,
};

pub(super) use changes::namespace;
pub(super) use episodes::episode;
pub(super) use invariants::{object as invariant_object, text as invariant_text};
pub use node::alone;
pub(super) use node::{actor, place};
pub use verdicts::Standing;
pub(super) use verdicts::{Outcome, brought_about, cause, mended, outcome};

/// Rows of drops that are told; the rest is one more row.
const DROPS: usize = 200;
/// What the rows of drops without an event have for their reasons, which are not the kernel's: the accept queue of a
/// listener was full, or it dropped what was to open a connection for another reason.
const ACCEPT_QUEUE_FULL: &str = "accept_queue_full";
const NOT_OPENED: &str = "connection_not_opened";

/// See [`super::Diagnosis::report`].
pub(super) fn report(model: &Model, past: &Past, episodes: &Episodes, most: usize) -> Report {
    let found = verdicts::all(model, past, most);
    let first = found.first().filter(|first| first.decides());
    let first = first.and_then(|first| first.place);
    let (place, settling) = verdicts::place(model, past, first, None);
    let (starved, starved_total) = starved(model, most);
    let (namespaces, namespaces_total) = namespaces::rows(model);
    let (counters, counters_total) = told::counters(model);
    let (queues, queues_total) = told::queues(model, most);
    let (forwards, forwards_total) = forwards(model);
    let (datagrams, memory) = model.fragments();
    let (unresolved, unresolved_total) = told::unresolved(model);
    let (totals, own) = (model.totals(), model.node().own());
    let (started, now) = (model.started(), model.now());
    Report {
        schema: Schema {
            name: SCHEMA.to_owned(),
            version: SCHEMA_VERSION,
        },
        window: Window {
            start: model.utc(started),
            end: model.utc(now),
            seconds: seconds(now.saturating_sub(started)),
        },
        kernel: kernel(model),
        capabilities: capabilities(model),
        filter: None,
        ledger: totals.ledger,
        bytes: totals.bytes,
        rates: rates(model, model.history()),
        uplinks: own
            .iter()
            .flat_map(|inode| model.node().uplinks_of(*inode))
            .map(|device| device.name.clone())
            .collect(),
        namespaces_watched: model.namespaces_watched() as u64,
        namespaces,
        namespaces_total,
        place,
        settling,
        verdicts: found,
        episodes: episodes::told(model, episodes),
        episodes_total: episodes.total(),
        drops: drops(model),
        no_packets: no_packets(model),
        counters,
        counters_total,
        lost_before_arrival: model.counters().lost_before_arrival(model.books(), model.node()),
        queues,
        queues_total,
        forwards,
        forwards_total,
        neighbours: neighbours(model),
        unresolved,
        unresolved_total,
        fragments: Fragments { datagrams, memory },
        starved,
        starved_total,
        losses: model.losses(),
        node: node::node(model),
    }
}

fn kernel(model: &Model) -> Kernel {
    let start = model.start();
    Kernel {
        release: start.map(|start| start.kernel.clone()).unwrap_or_default(),
        host: start.map(|start| start.host.clone()).unwrap_or_default(),
        boot_id: start.map(|start| start.boot_id.clone()).unwrap_or_default(),
    }
}

fn capabilities(model: &Model) -> Vec<Capability> {
    let capability = |known: &crate::event::Capability| Capability {
        name: known.name.clone(),
        state: known.state,
        why: known.why.clone(),
    };
    model.capabilities().iter().map(capability).collect()
}

fn rates(model: &Model, history: &History<Totals>) -> Rates {
    let lately = model.lately();
    let (before, last) = (history.at(lately.from), history.last());
    // There are fewer than before where they are counted elsewhere since, as those of a device that became a bridge's.
    let packets = |before: u64, now: u64| lately.rate(before.into(), now.max(before).into());
    let (old, new) = (&before.ledger, &last.ledger);
    Rates {
        arrived: packets(old.arrived, new.arrived),
        arrived_bytes: packets(before.bytes.arrived, last.bytes.arrived),
        delivered: packets(old.delivered, new.delivered),
        forwarded: packets(old.forwarded, new.forwarded),
        answered: packets(old.answered, new.answered),
        dropped: packets(old.dropped, new.dropped),
        unexplained: lately.rate(old.unexplained.into(), new.unexplained.into()),
    }
}

/// By which devices what was forwarded came and left, and how many there are.
fn forwards(model: &Model) -> (Vec<Forward>, u64) {
    let mut ways: BTreeMap<(u32, u32, u32), u64> = BTreeMap::new();
    for (key, line) in model.books().lines() {
        if key.fate == Fate::Forwarded
            && let Some(netns) = in_ledger(model.node(), key)
        {
            let packets = ways.entry((netns, key.iif, key.device)).or_default();
            *packets = packets.saturating_add(line.packets);
        }
    }
    let mut ways: Vec<_> = ways.into_iter().collect();
    // The sort is stable.
    ways.sort_by_key(|(_, packets)| Reverse(*packets));
    let total = ways.len() as u64;
    ways.truncate(FORWARDS);
    let told = ways
        .into_iter()
        .map(|((netns, from, to), packets)| Forward {
            from: model.node().device_name(netns, from),
            to: model.node().device_name(netns, to),
            netns: model.node().netns_label(netns),
            packets,
        })
        .collect();
    (told, total)
}

fn neighbours(model: &Model) -> Vec<Neighbour> {
    model
        .neighbours()
        .iter()
        .map(|(netns, address, asked)| Neighbour {
            address: address.to_string(),
            device: model.node().device_name(netns, asked.device),
            netns: model.node().netns_label(netns),
            asked: asked.asked,
            answered: asked.answered,
            unanswered: asked.unanswered.map_or(0, |spell| spell.packets),
        })
        .collect()
}

/// What tells one row of drops from another.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Row<'a> {
    reason: &'a str,
    location: Option<&'a crate::event::Location>,
    netns: u32,
    iif: u32,
    protocol: String,
    version: Option<Version>,
    socket_found: bool,
    incoming: bool,
    in_ledger: bool,
    class: Class,
    hooks: Vec<Hook>,
}

/// What a row of drops sums up.
#[derive(Default)]
struct Sum {
    packets: u64,
    bytes: u64,
    rate: f64,
    units: BTreeSet<String>,
}

impl Sum {
    /// Adds so many of a line's packets, which has some.
    fn add(&mut self, model: &Model, key: &EntryKey, line: &Line, packets: u64) {
        if packets == 0 {
            return;
        }
        let lately = model.lately();
        let before = line.history.at(lately.from);
        let share = share(packets, line.packets);
        let bytes = u128::from(line.bytes) * u128::from(packets) / u128::from(line.packets);
        self.packets = self.packets.saturating_add(packets);
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.rate += share * lately.rate(before.into(), line.packets.into());
        if let Some(sighting) = model.books().sighting(key) {
            self.units.extend(sighting.units.all().cloned());
        }
    }
}

fn drops(model: &Model) -> Vec<Drop> {
    let mut rows: BTreeMap<Row<'_>, Sum> = BTreeMap::new();
    let mut left_out = model.left_out();
    let own = model.node().own();
    for (key, line) in model.books().lines() {
        if key.fate != Fate::Dropped || line.packets == 0 || ends::is_no_packet(key) {
            continue;
        }
        let home = in_ledger(model.node(), key)
            .filter(|_| !key.piece && !ends::used_up(ends::reason(key), ends::symbol(key)));
        let sighting = model.books().sighting(key);
        let row = |in_ledger| Row {
            reason: ends::reason(key),
            location: key.location.as_ref(),
            netns: key.netns,
            iif: key.iif,
            protocol: protocol(key),
            version: ends::version(key),
            socket_found: key.socket_found,
            incoming: key.incoming,
            in_ledger,
            class: class::class(key),
            hooks: sighting
                .into_iter()
                .flat_map(|sighting| sighting.hooks.keys().copied())
                .collect(),
        };
        // What is in no column gets a row of its own.
        let outside = home
            .and_then(|netns| left_out.get_mut(&(netns, key.protocol)))
            .map_or(0, |left_out| {
                let left = if ends::may_be_twin(key) {
                    &mut left_out.copies
                } else if ends::raw_clone(key) {
                    &mut left_out.clones
                } else if ends::purged(key) {
                    &mut left_out.stale
                } else {
                    return 0;
                };
                let outside = line.packets.min(*left);
                *left -= outside;
                outside
            });
        let inside = home.is_some_and(|netns| own.contains(&netns));
        for (in_ledger, packets) in [(false, outside), (inside, line.packets - outside)] {
            if packets > 0 {
                rows.entry(row(in_ledger))
                    .or_default()
                    .add(model, key, line, packets);
            }
        }
    }
    for (row, sum) in silent(model) {
        rows.insert(row, sum);
    }
    let (overflow, mut rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(row, _)| row.reason == OTHER);
    // The sort is stable: rows with as many packets stay in the order of their names.
    rows.sort_by_key(|(_, sum)| Reverse(sum.packets));
    let mut rest = rows.split_off(rows.len().min(DROPS));
    rest.extend(overflow);
    let mut drops: Vec<Drop> = rows
        .into_iter()
        .map(|(row, sum)| drop_row(model, &row, sum))
        .collect();
    // Apart, so that the rows in the ledger add up to its column.
    let (inside, outside): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(row, _)| row.in_ledger);
    for rest in [inside, outside] {
        if !rest.is_empty() {
            drops.push(other(rest));
        }
    }
    drops
}

/// Buffers that were thrown away and are no packets of a network.
fn no_packets(model: &Model) -> u64 {
    let lines = model.books().lines().filter(|(key, _)| ends::is_no_packet(key));
    lines.fold(0, |sum: u64, (_, line)| sum.saturating_add(line.packets))
}

/// Rows of what was dropped without an event. Their bytes are not known.
fn silent(model: &Model) -> Vec<(Row<'static>, Sum)> {
    let mut rows = Vec::new();
    for (netns, totals) in model.by_namespace() {
        let Silent {
            accept_queue_full,
            not_opened,
        } = totals.silent;
        for (reason, counter, packets) in [
            (ACCEPT_QUEUE_FULL, LISTEN_OVERFLOWS, accept_queue_full),
            (NOT_OPENED, LISTEN_DROPS, not_opened),
        ] {
            let Some(counted) = model.counters().netstat(netns, counter).filter(|_| packets > 0) else {
                continue;
            };
            let row = Row {
                reason,
                location: None,
                netns,
                iif: 0,
                protocol: Protocol::Tcp.to_string(),
                version: None,
                socket_found: true,
                incoming: true,
                in_ledger: true,
                class: Class::Resource,
                hooks: Vec::new(),
            };
            let sum = Sum {
                packets,
                rate: told::rate_of(model, &netstat(netns, counter)) * share(packets, counted.grown),
                ..Sum::default()
            };
            rows.push((row, sum));
        }
    }
    rows
}

/// A part of a whole that is not 0.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share of a rate is told to a few digits"
)]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

fn drop_row(model: &Model, row: &Row<'_>, sum: Sum) -> Drop {
    Drop {
        reason: row.reason.to_owned(),
        location: row.location.map(ToString::to_string).unwrap_or_default(),
        class: row.class,
        packets: sum.packets,
        bytes: sum.bytes,
        rate: sum.rate,
        socket_found: row.socket_found,
        incoming: row.incoming,
        in_ledger: row.in_ledger,
        device: model.node().device_name(row.netns, row.iif),
        protocol: row.protocol.clone(),
        version: row.version.map(|version| version.to_string()).unwrap_or_default(),
        netns: model.node().netns_label(row.netns),
        units: sum.units.into_iter().collect(),
        detail: hooks::told(row.hooks.iter().map(|hook| {
            let chain = model.chains().at(row.netns, *hook);
            (*hook, chain)
        })),
    }
}

/// The row of all drops that have no row of their own.
fn other(rest: Vec<(Row<'_>, Sum)>) -> Drop {
    let mut drop = Drop {
        reason: OTHER.to_owned(),
        location: String::new(),
        class: Class::Unclassified,
        packets: 0,
        bytes: 0,
        rate: 0.0,
        socket_found: false,
        incoming: rest.iter().all(|(row, _)| row.incoming),
        in_ledger: rest.iter().all(|(row, _)| row.in_ledger),
        device: String::new(),
        protocol: String::new(),
        version: String::new(),
        netns: String::new(),
        units: Vec::new(),
        detail: String::new(),
    };
    for (_, sum) in rest {
        drop.packets = drop.packets.saturating_add(sum.packets);
        drop.bytes = drop.bytes.saturating_add(sum.bytes);
        drop.rate += sum.rate;
    }
    drop
}

/// The protocol of a line: IP's where it is IP, else that of the Ethernet frame.
fn protocol(key: &EntryKey) -> String {
    match (key.protocol, key.ethertype) {
        (Protocol::Other(0), 0x0806) => "arp".to_owned(),
        (Protocol::Other(0), 0x0800) => "ip".to_owned(),
        (Protocol::Other(0), 0x86dd) => "ipv6".to_owned(),
        (Protocol::Other(0), 0x0004) => "llc".to_owned(),
        (Protocol::Other(0), 0x88cc) => "lldp".to_owned(),
        (Protocol::Other(0), 0) => OTHER.to_owned(),
        (Protocol::Other(0), ethertype) => format!("ethertype {ethertype:#06x}"),
        (Protocol::Other(2), _) => "igmp".to_owned(),
        (protocol, _) => protocol.to_string(),
    }
}

/// The most starved flows, and how many there are.
fn starved(model: &Model, most: usize) -> (Vec<Flow>, u64) {
    let mut starved: Vec<(u64, &FlowKey)> = model
        .plights()
        .iter()
        .filter_map(|plight| Some((plight.starved.time()?, &plight.key)))
        .collect();
    // Keys come in their order and the sort is stable.
    starved.sort_by_key(|(since, _)| *since);
    let total = starved.len() as u64;
    let told = starved
        .into_iter()
        .filter_map(|(_, key)| Some(flow(model, key, model.flows().get(key)?)))
        .take(most)
        .collect();
    (told, total)
}

fn flow(model: &Model, key: &FlowKey, counted: &Counted) -> Flow {
    let owner = model.owner(key);
    Flow {
        protocol: key.protocol.to_string(),
        local: end(key.local, key.local_port),
        remote: end(key.remote, key.remote_port),
        netns: model.node().netns_label(key.netns),
        reply: model.is_reply(key, counted),
        state: model
            .sockets()
            .connection(key)
            .map_or("", |found| state(found.state))
            .to_owned(),
        pid: owner.map_or(0, |owner| owner.pid),
        command: owner.map(|owner| owner.command.clone()).unwrap_or_default(),
        cgroup: owner.map(|owner| owner.cgroup.clone()).unwrap_or_default(),
        unit: owner.map(|owner| owner.unit.clone()).unwrap_or_default(),
        sent: counted.sent,
        arrived: counted.arrived,
        destination: model.destination(key, counted),
        delivered: model.delivered(key, counted),
        matched: counted.matched,
        queued: counted.queued,
        read: model.tells_reads(key, counted).then_some(counted.read),
        dropped: counted.dropped,
        retransmitted: counted.retransmitted.into(),
        last_drop: counted
            .last_drop()
            .map(|drop| format!("{} at {}", drop.0, drop.1))
            .unwrap_or_default(),
        starved_seconds: model
            .plight_of(key)
            .and_then(|plight| plight.starved.time())
            .map_or(0.0, |since| seconds(model.now().saturating_sub(since))),
    }
}

/// The state's name as `ss` writes it.
fn state(state: SocketState) -> &'static str {
    match state {
        SocketState::Established => "ESTAB",
        SocketState::SynSent => "SYN-SENT",
        SocketState::SynRecv | SocketState::NewSynRecv => "SYN-RECV",
        SocketState::FinWait1 => "FIN-WAIT-1",
        SocketState::FinWait2 => "FIN-WAIT-2",
        SocketState::TimeWait => "TIME-WAIT",
        SocketState::Close => "UNCONN",
        SocketState::CloseWait => "CLOSE-WAIT",
        SocketState::LastAck => "LAST-ACK",
        SocketState::Listen => "LISTEN",
        SocketState::Closing => "CLOSING",
    }
}
