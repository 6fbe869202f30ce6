//! Drops and flows as tables.

use std::collections::BTreeSet;

use super::format::{brief, bytes, clean, compact, count, fit, rate, time_of_day};
use super::table::{Column, Kind, LUXURY, Set, Table};
use super::{told, words};
use crate::report::{Class, Counter, Destination, Drop, Flow, Namespace, Queue, Role, Unresolved};

/// A class of drops, in a word.
#[must_use]
pub fn class(class: Class) -> &'static str {
    match class {
        Class::State => "state",
        Class::Resource => "resource",
        Class::Policy => "policy",
        Class::Protocol => "protocol",
        Class::Environment => "environment",
        Class::Unclassified => "unclassified",
    }
}

/// `in`: arrived by an uplink, part of the ledger. `inner`: arrived by another device, or had reached its TCP
/// socket before, or the kernel had used it up. `out`: was leaving.
fn way(drop: &Drop) -> &'static str {
    match (drop.incoming, drop.in_ledger) {
        (_, true) => "in",
        (true, false) => "inner",
        (false, false) => "out",
    }
}

/// The name of a namespace, without its inode.
fn namespace(netns: &str) -> &str {
    netns.rsplit_once(':').map_or(netns, |(name, _)| name)
}

fn several<'a>(namespaces: impl Iterator<Item = &'a str>) -> bool {
    namespaces.collect::<BTreeSet<_>>().len() > 1
}

/// In the order of reading: what is housekeeping for most nodes stands last, else as the report has it.
#[must_use]
pub fn in_order(drops: &[Drop]) -> Vec<&Drop> {
    let mut order: Vec<&Drop> = drops.iter().collect();
    order.sort_by_key(|drop| matches!(drop.class, Class::Protocol | Class::Environment));
    order
}

/// `tcp`, over IPv6 `tcp6`, as other tools have it: rows that differ in nothing else are told apart by it.
fn protocol(drop: &Drop) -> String {
    let is_plain = drop.protocol.ends_with(|c: char| c.is_ascii_alphabetic());
    let version = match drop.version.as_str() {
        "IPv6" if is_plain && drop.protocol != "ipv6" => "6",
        "IPv6" if drop.protocol.starts_with("proto ") => " of IPv6",
        _ => "",
    };
    format!("{}{version}", drop.protocol)
}

/// Drops, one a row, in at most `room` columns.
///
/// The namespace is told where there is more than one, units and details where there are any.
#[must_use]
pub fn drops(drops: &[&Drop], room: usize) -> Set {
    let netns = several(drops.iter().map(|drop| drop.netns.as_str()));
    let units = drops.iter().any(|drop| !drop.units.is_empty());
    let details = drops.iter().any(|drop| !drop.detail.is_empty());
    let mut columns = vec![
        Column::new("reason", Kind::Text(19), 0),
        Column::new("location", Kind::Place(18), 0),
        Column::new("class", Kind::Text(8), 1),
        Column::new("packets", Kind::Number, 0),
        Column::new("rate", Kind::Number, 0),
        Column::new("sock", Kind::Text(4), 2),
        Column::new("dev", Kind::Ends(6), 4),
        Column::new("proto", Kind::Text(5), 3),
        Column::new("way", Kind::Text(5), LUXURY),
        Column::new("bytes", Kind::Number, LUXURY + 2),
    ];
    if units {
        columns.push(Column::new("units", Kind::Text(12), LUXURY + 1));
    }
    if details {
        columns.push(Column::new("detail", Kind::Text(22), LUXURY));
    }
    if netns {
        columns.push(Column::new("netns", Kind::Ends(8), 5));
    }
    let mut table = Table::new(columns);
    for drop in drops {
        let mut row = vec![
            drop.reason.clone(),
            drop.location.clone(),
            class(drop.class).to_owned(),
            count(drop.packets),
            rate(drop.rate),
            if drop.socket_found { "yes" } else { "no" }.to_owned(),
            drop.device.clone(),
            protocol(drop),
            way(drop).to_owned(),
            bytes(drop.bytes as f64),
        ];
        if units {
            row.push(drop.units.join(" "));
        }
        if details {
            row.push(drop.detail.clone());
        }
        row.push(namespace(&drop.netns).to_owned());
        table.row(row);
    }
    table.set(room)
}

/// The column of counters that tells what each says, where there is room for all of it.
pub const SAYS: &str = "what it says";

/// Counters, one a row, in at most `room` columns.
#[must_use]
pub fn counters(counters: &[Counter], room: usize) -> Set {
    let netns = several(counters.iter().map(|counter| counter.netns.as_str()));
    let mut columns = vec![
        Column::new("counter", Kind::Ends(44), 0),
        Column::new("packets", Kind::Number, 0),
        Column::new("rate", Kind::Number, 0),
        Column::new("class", Kind::Text(8), 2),
        Column::new("books", Kind::Text(10), 1),
        Column::new("dev", Kind::Ends(6), 3),
        Column::new(SAYS, Kind::Text(24), LUXURY),
    ];
    if netns {
        columns.push(Column::new("netns", Kind::Ends(8), 5));
    }
    let mut table = Table::new(columns);
    for counter in counters {
        table.row([
            told::counter(counter),
            count(counter.packets),
            rate(counter.rate),
            class(counter.class).to_owned(),
            told::counter_kind(counter.kind).to_owned(),
            counter.device.clone(),
            counter.text.clone(),
            namespace(&counter.netns).to_owned(),
        ]);
    }
    table.set(room)
}

/// Sockets in which something waits, one a row, in at most `room` columns.
#[must_use]
pub fn queues(queues: &[&Queue], room: usize) -> Set {
    let mut columns = vec![
        Column::new("socket", Kind::Ends(20), 0),
        Column::new("owner", Kind::Text(12), 1),
        Column::new("waiting", Kind::Text(12), 0),
        Column::new("for", Kind::Number, 0),
        Column::new("dropped", Kind::Number, 2),
        Column::new("state", Kind::Text(6), 3),
        Column::new("unit", Kind::Ends(14), 4),
    ];
    if several(queues.iter().map(|queue| queue.netns.as_str())) {
        columns.push(Column::new("netns", Kind::Ends(8), 5));
    }
    let mut table = Table::new(columns);
    for queue in queues {
        table.row([
            format!("{} {}", queue.protocol, queue.local),
            words::process(&queue.command, queue.pid, &queue.unit),
            told::waiting(queue),
            brief(queue.age),
            queue.drops.map_or("-".to_owned(), count),
            queue.state.clone(),
            queue.unit.clone(),
            namespace(&queue.netns).to_owned(),
        ]);
    }
    table.set(room)
}

/// Neighbours for whose answer packets wait, one a row, in at most `room` columns.
#[must_use]
pub fn unresolved(neighbours: &[&Unresolved], room: usize) -> Set {
    let mut columns = vec![
        Column::new("neighbour", Kind::Ends(20), 0),
        Column::new("device", Kind::Text(8), 0),
        Column::new("packets", Kind::Number, 0),
        Column::new("for", Kind::Number, 0),
    ];
    if several(neighbours.iter().map(|neighbour| neighbour.netns.as_str())) {
        columns.push(Column::new("netns", Kind::Ends(8), 1));
    }
    let mut table = Table::new(columns);
    for neighbour in neighbours {
        table.row([
            neighbour.address.clone(),
            neighbour.device.clone(),
            count(neighbour.packets),
            brief(neighbour.age),
            namespace(&neighbour.netns).to_owned(),
        ]);
    }
    table.set(room)
}

/// How long it has been starved, `-` where it is not.
fn starved(flow: &Flow) -> String {
    if flow.starved_seconds > 0.0 {
        brief(flow.starved_seconds)
    } else {
        "-".to_owned()
    }
}

/// Columns from which a flow has room on one line.
const ONE_LINE: usize = 132;

/// Flows, each on one line or, where there is less room, on two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flows {
    /// The titles.
    pub header: String,
    /// The flows, each of the same number of lines.
    pub flows: Vec<Vec<String>>,
}

/// The flows in at most `room` columns; `usize::MAX` for as wide as it gets.
#[must_use]
pub fn flows(flows: &[Flow], room: usize) -> Flows {
    if room >= ONE_LINE {
        let set = wide(flows).set(room);
        Flows {
            header: set.header,
            flows: set.rows.into_iter().map(|row| vec![row]).collect(),
        }
    } else {
        narrow(flows, room)
    }
}

fn wide(flows: &[Flow]) -> Table {
    let mut columns = vec![
        Column::new("flow", Kind::Ends(36), 0),
        Column::new("owner", Kind::Text(12), 0),
        Column::new("unit", Kind::Ends(14), 1),
        Column::new("state", Kind::Text(11), 4),
        Column::new("arrived", Kind::Number, 0),
        Column::new("delivered", Kind::Number, 0),
        Column::new("dropped", Kind::Number, 0),
        Column::new("sent", Kind::Number, 0),
        Column::new("resent", Kind::Number, 0),
        Column::new("starved", Kind::Number, 0),
        Column::new("last drop", Kind::Ends(20), 3),
        Column::new("matched", Kind::Number, LUXURY + 2),
        Column::new("queued", Kind::Number, LUXURY + 1),
        Column::new("read", Kind::Number, LUXURY),
    ];
    if several(flows.iter().map(|flow| flow.netns.as_str())) {
        columns.push(Column::new("netns", Kind::Ends(8), 2));
    }
    let mut table = Table::new(columns);
    for flow in flows {
        table.row([
            words::flow(flow),
            words::owner(flow),
            words::unit(flow).to_owned(),
            words::stage(flow).to_owned(),
            count(flow.arrived),
            flow.delivered.map_or("-".to_owned(), count),
            count(flow.dropped),
            count(flow.sent),
            count(flow.retransmitted),
            starved(flow),
            flow.last_drop.clone(),
            count(flow.matched),
            count(flow.queued),
            flow.read.map_or("-".to_owned(), count),
            namespace(&flow.netns).to_owned(),
        ]);
    }
    table
}

const DELIVERED: &str = "delivered";
const DROPPED: &str = "dropped";

fn narrow(flows: &[Flow], room: usize) -> Flows {
    let netns = several(flows.iter().map(|flow| flow.netns.as_str()));
    let mut table = Table::new(vec![
        Column::new("flow", Kind::Ends(12), 0),
        Column::new("arrived", Kind::Number, 0),
        // Both ends of a flow must be read: what has no room beside them stands on the second line.
        Column::new(DELIVERED, Kind::Number, LUXURY),
        Column::new(DROPPED, Kind::Number, LUXURY + 1),
        Column::new("starved", Kind::Number, 1),
    ]);
    for flow in flows {
        table.row([
            words::flow(flow),
            count(flow.arrived),
            flow.delivered.map_or("-".to_owned(), count),
            count(flow.dropped),
            starved(flow),
        ]);
    }
    let set = table.set(room);
    let rows = set.rows.into_iter().zip(flows);
    Flows {
        header: set.header,
        flows: rows
            .map(|(row, flow)| vec![row, fit(&detail(flow, netns, &set.left_out), room)])
            .collect(),
    }
}

/// What the first line of a flow has no room for: the columns that were left out, and more.
fn detail(flow: &Flow, netns: bool, left_out: &[&str]) -> String {
    let mut parts = vec![
        format!("{} {}", words::owner(flow), words::unit(flow))
            .trim()
            .to_owned(),
    ];
    for (title, number) in [(DELIVERED, flow.delivered), (DROPPED, Some(flow.dropped))] {
        if let Some(number) = number.filter(|_| left_out.contains(&title)) {
            parts.push(format!("{title} {}", count(number)));
        }
    }
    // What matters most first: the end may be cut.
    if !flow.last_drop.is_empty() {
        parts.push(flow.last_drop.clone());
    }
    let stage = words::stage(flow);
    if !stage.is_empty() {
        parts.push(stage.to_owned());
    }
    // What is passed on is not counted as sent.
    if flow.destination != Destination::Transit || flow.sent > 0 {
        parts.push(format!(
            "sent {}, resent {}",
            count(flow.sent),
            count(flow.retransmitted)
        ));
    }
    parts.extend(levels(flow));
    if netns {
        parts.push(format!("netns {}", namespace(&flow.netns)));
    }
    parts.retain(|part| !part.is_empty());
    clean(&format!("  {}", parts.join(", "))).into_owned()
}

/// How far its packets came, where they came anywhere: `matched 12`, `queued 9, read 0`.
fn levels(flow: &Flow) -> Option<String> {
    let mut levels = Vec::new();
    if flow.matched > 0 {
        levels.push(format!("matched {}", count(flow.matched)));
    }
    if flow.queued > 0 || flow.read > Some(0) {
        levels.push(format!("queued {}", count(flow.queued)));
        levels.extend(flow.read.map(|read| format!("read {}", count(read))));
    }
    (!levels.is_empty()).then(|| levels.join(", "))
}

/// Namespaces, each on two lines: its books, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespaces {
    /// The titles.
    pub header: String,
    /// The books of each.
    pub rows: Vec<String>,
    /// What each is, one sentence.
    pub details: Vec<String>,
}

/// The namespaces in at most `room` columns.
#[must_use]
pub fn namespaces(namespaces: &[Namespace], room: usize) -> Namespaces {
    let followed = namespaces.iter().any(|one| one.followed.is_some());
    let mut columns = vec![
        Column::new("namespace", Kind::Ends(10), 0),
        Column::new("arrived", Kind::Number, 0),
        Column::new(DELIVERED, Kind::Number, 0),
        Column::new("forwarded", Kind::Number, 0),
        Column::new("answered", Kind::Number, 2),
        Column::new(DROPPED, Kind::Number, 0),
        Column::new("queued", Kind::Number, 1),
        Column::new("unexplained", Kind::Number, 0),
        Column::new("rate", Kind::Number, LUXURY),
    ];
    if followed {
        columns.insert(1, Column::new("lost", Kind::Number, 0));
    }
    let mut table = Table::new(columns);
    for one in namespaces {
        let short = |packets: u64| compact(i64::try_from(packets).unwrap_or(i64::MAX));
        let mut row = vec![
            one.name.clone(),
            short(one.ledger.arrived),
            short(one.ledger.delivered),
            short(one.ledger.forwarded),
            short(one.ledger.answered),
            short(one.ledger.dropped),
            short(one.ledger.queued),
            compact(one.ledger.unexplained),
            rate(one.rates.arrived),
        ];
        if followed {
            let lost = one
                .followed
                .as_ref()
                .map_or("-".to_owned(), |followed| short(followed.lost_on_the_way));
            row.insert(1, lost);
        }
        table.row(row);
    }
    let set = table.set(room);
    Namespaces {
        header: set.header,
        rows: set.rows,
        details: namespaces.iter().map(|one| fit(&what(one), room)).collect(),
    }
}

/// `  ended 06:14:07 UTC, pod, by eth0, 120 forwarded to it, 118 came, redis[99] cri-1.scope`
fn what(one: &Namespace) -> String {
    let mut parts = vec![match one.role {
        Role::Node => "node".to_owned(),
        Role::Pod => "pod".to_owned(),
        Role::Other => "neither node nor pod".to_owned(),
    }];
    match one.uplinks.as_slice() {
        [] => {}
        uplinks => parts.push(format!("by {}", uplinks.join(" "))),
    }
    if let Some(followed) = &one.followed {
        parts.push(format!(
            "{} forwarded to it, {} came",
            count(followed.forwarded),
            count(followed.arrived)
        ));
    }
    let place = if one.unit.is_empty() {
        one.cgroup.rsplit('/').next().unwrap_or_default()
    } else {
        &one.unit
    };
    if one.pid != 0 {
        parts.push(format!("{}[{}] {place}", one.command, one.pid).trim().to_owned());
    }
    if let Some(ended) = &one.ended {
        parts.insert(0, format!("ended {} UTC", time_of_day(ended)));
    }
    clean(&format!("  {}", parts.join(", "))).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    #[test]
    fn housekeeping_stands_last_and_the_rest_stays_in_order() {
        let drops = sample::many_drops().drops;
        let order = in_order(&drops);
        assert_eq!(order.len(), drops.len());
        let quiet = |drop: &&Drop| matches!(drop.class, Class::Protocol | Class::Environment);
        let first_quiet = order.iter().position(quiet).unwrap_or(order.len());
        assert!(order[first_quiet..].iter().all(quiet));
        for part in [&order[..first_quiet], &order[first_quiet..]] {
            assert!(part.is_sorted_by(|a, b| a.packets >= b.packets));
        }
    }

    #[test]
    fn rows_that_differ_in_the_version_of_ip_alone_tell_it() {
        let row = |protocol: &str, version: &str| {
            let mut drop = sample::many_drops().drops[0].clone();
            (drop.protocol, drop.version) = (protocol.to_owned(), version.to_owned());
            super::protocol(&drop)
        };
        for (protocol, version, told) in [
            ("tcp", "IPv4", "tcp"),
            ("tcp", "IPv6", "tcp6"),
            ("udp", "IPv6", "udp6"),
            ("icmp6", "IPv6", "icmp6"),
            ("ipv6", "IPv6", "ipv6"),
            ("proto 47", "IPv4", "proto 47"),
            ("proto 47", "IPv6", "proto 47 of IPv6"),
            ("arp", "", "arp"),
        ] {
            assert_eq!(row(protocol, version), told);
        }
    }

    #[test]
    fn every_number_of_a_flow_is_told_at_any_width() {
        let report = sample::incident();
        for room in [60, 80, 100, 131, 132, 200] {
            let set = flows(&report.starved, room);
            let text = set.flows[0].join(" ");
            for (title, number) in [("delivered", "0"), ("dropped", "1,212"), ("arrived", "1,212")] {
                let in_column = set.header.contains(title) && text.contains(number);
                assert!(
                    in_column || text.contains(&format!("{title} {number}")),
                    "{title} at {room}: {text}"
                );
            }
        }
    }
}
