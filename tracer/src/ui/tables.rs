//! Drops and flows as tables.

use std::collections::BTreeSet;

use super::format::{brief, bytes, clean, count, fit, rate, seconds};
use super::table::{Column, Kind, LUXURY, Table};
use super::words;
use crate::report::{Class, Drop, Flow};

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
/// socket before. `out`: was leaving.
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

/// A table of drops. The namespace is told where there is more than one.
#[must_use]
pub fn drops(drops: &[Drop]) -> Table {
    let netns = several(drops.iter().map(|drop| drop.netns.as_str()));
    let mut columns = vec![
        Column::new("reason", Kind::Text(19), 0),
        Column::new("location", Kind::Text(14), 0),
        Column::new("class", Kind::Text(8), 1),
        Column::new("packets", Kind::Number, 0),
        Column::new("rate", Kind::Number, 0),
        Column::new("sock", Kind::Text(4), 2),
        Column::new("device", Kind::Ends(6), 3),
        Column::new("proto", Kind::Text(5), 4),
        Column::new("way", Kind::Text(5), LUXURY),
        Column::new("bytes", Kind::Number, LUXURY + 2),
        Column::new("units", Kind::Text(12), LUXURY + 1),
    ];
    if netns {
        columns.push(Column::new("netns", Kind::Ends(8), 5));
    }
    let mut table = Table::new(columns);
    for drop in drops {
        table.row([
            drop.reason.clone(),
            drop.location.clone(),
            class(drop.class).to_owned(),
            count(drop.packets),
            rate(drop.rate),
            if drop.socket_found { "yes" } else { "no" }.to_owned(),
            drop.device.clone(),
            drop.protocol.clone(),
            way(drop).to_owned(),
            bytes(drop.bytes as f64),
            drop.units.join(" "),
            namespace(&drop.netns).to_owned(),
        ]);
    }
    table
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
            flow.state.clone(),
            count(flow.arrived),
            count(flow.delivered),
            count(flow.dropped),
            count(flow.sent),
            count(flow.retransmitted),
            brief(flow.starved_seconds),
            flow.last_drop.clone(),
            namespace(&flow.netns).to_owned(),
        ]);
    }
    table
}

fn narrow(flows: &[Flow], room: usize) -> Flows {
    let netns = several(flows.iter().map(|flow| flow.netns.as_str()));
    let mut table = Table::new(vec![
        Column::new("flow", Kind::Ends(12), 0),
        Column::new("arrived", Kind::Number, 0),
        Column::new("delivered", Kind::Number, 0),
        Column::new("dropped", Kind::Number, 2),
        Column::new("starved", Kind::Number, 1),
    ]);
    for flow in flows {
        table.row([
            words::flow(flow),
            count(flow.arrived),
            count(flow.delivered),
            count(flow.dropped),
            brief(flow.starved_seconds),
        ]);
    }
    let set = table.set(room);
    let rows = set.rows.into_iter().zip(flows);
    Flows {
        header: set.header,
        flows: rows
            .map(|(row, flow)| vec![row, fit(&detail(flow, netns), room)])
            .collect(),
    }
}

/// What the first line of a flow has no room for.
fn detail(flow: &Flow, netns: bool) -> String {
    let mut parts = vec![
        format!("{} {}", words::owner(flow), words::unit(flow))
            .trim()
            .to_owned(),
    ];
    parts.push(format!(
        "sent {}, resent {}",
        count(flow.sent),
        count(flow.retransmitted)
    ));
    if !flow.state.is_empty() {
        parts.push(flow.state.clone());
    }
    if netns {
        parts.push(format!("netns {}", namespace(&flow.netns)));
    }
    if !flow.last_drop.is_empty() {
        parts.push(flow.last_drop.clone());
    }
    clean(&format!("  {}", parts.join(", "))).into_owned()
}

/// A flow as one sentence.
#[must_use]
pub fn sentence(flow: &Flow) -> String {
    let unit = match words::unit(flow) {
        "" => String::new(),
        unit => format!(" ({unit})"),
    };
    let text = format!(
        "{}  {}{unit}  arrived {}, delivered {}, dropped {}, sent {}, resent {}, starved for {}",
        words::flow(flow),
        words::owner(flow),
        count(flow.arrived),
        count(flow.delivered),
        count(flow.dropped),
        count(flow.sent),
        count(flow.retransmitted),
        seconds(flow.starved_seconds),
    );
    clean(&text).into_owned()
}
