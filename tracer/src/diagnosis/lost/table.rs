//! The table of tracked connections: how full it is, and that it is nearly so.

use std::collections::BTreeSet;

use super::commands;
use super::kinds;
use crate::diagnosis::Finding;
use crate::diagnosis::evidence;
use crate::diagnosis::sufferers::Sufferers;
use crate::diagnosis::words::{command, count, moment};
use crate::model::Model;
use crate::model::tables::Table;
use crate::numbers::thousands;
use crate::report::{Confidence, Evidence};

/// `65,536 of 65,536 entries`
fn filled(table: &Table) -> String {
    format!(
        "{} of {} entries",
        thousands(table.entries),
        thousands(table.room)
    )
}

/// How full the tables of these namespaces are, where they are nearly full.
pub(super) fn evidence(model: &Model, namespaces: &BTreeSet<u32>) -> Vec<Evidence> {
    let tables = namespaces.iter().filter_map(|netns| model.tables().get(*netns));
    let full = tables.filter(|table| table.since.is_some());
    full.map(|table| evidence::state("connection tracking".to_owned(), filled(table)))
        .collect()
}

/// The same in a sentence, with a leading space; empty where none is.
pub(super) fn text(model: &Model, namespaces: &BTreeSet<u32>) -> String {
    let mut tables = namespaces.iter().filter_map(|netns| model.tables().get(*netns));
    let full = tables.find(|table| table.since.is_some());
    full.map_or_else(String::new, |table| format!(" The table has {}.", filled(table)))
}

/// A table that is nearly full: a sign of what is to come, or of what is lost that nobody here is known to wait for.
pub(super) fn nearly_full(model: &Model) -> Option<Finding> {
    let all: Vec<(u32, &Table, u64)> = model.tables().nearly_full().collect();
    let (netns, table, since) = *all.iter().min_by_key(|(.., since)| *since)?;
    let namespaces: BTreeSet<u32> = all.iter().map(|(netns, ..)| *netns).collect();
    let dropped: u64 = kinds::spells_in(model, &namespaces, "drop")
        .iter()
        .map(|spell| spell.packets)
        .sum();
    let turned_away = match dropped {
        0 => String::new(),
        dropped => format!(
            " So far it had no room {}; for none of these packets a socket of this node is known to wait.",
            count(dropped, "time")
        ),
    };
    let mut evidence = evidence(model, &namespaces);
    evidence.extend(kinds::no_room(model, &namespaces));
    Some(Finding {
        confidence: Confidence::Weak,
        explanation: format!(
            "The table of connection tracking is nearly full since {}: it has {}. When it is full, what opens another connection is \
             dropped, and each datagram from another port; connections that stand go on.{turned_away}",
            moment(model, since),
            filled(table)
        ),
        since,
        last: model.now(),
        evidence,
        flows: Sufferers::default(),
        units: Vec::new(),
        devices: BTreeSet::new(),
        standing: None,
        prevent: Vec::new(),
        check: commands::TABLE
            .iter()
            .map(|line| command(model, netns, line))
            .collect(),
        remedy: vec![commands::MORE_ROOM.to_owned()],
        namespaces,
    })
}
