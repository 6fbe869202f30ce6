//! The table of tracked connections: how full it is, and that new connections fail for want of room in it.

use std::collections::BTreeSet;

use super::commands;
use super::kinds;
use crate::diagnosis::Finding;
use crate::diagnosis::evidence;
use crate::diagnosis::sufferers::Sufferers;
use crate::diagnosis::words::{command, count, end, moment};
use crate::event::{EntryKey, Point};
use crate::model::Model;
use crate::model::counters::THREE_READINGS;
use crate::model::ends;
use crate::model::growth::Spell;
use crate::model::tables::Table;
use crate::numbers::thousands;
use crate::report::{Confidence, Evidence};

/// So often, and for so long, connection tracking must have had no room.
const TIMES: u64 = 3;
const LASTING: u64 = THREE_READINGS;

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

/// A table that is full, or nearly so.
struct Full<'a> {
    netns: u32,
    table: &'a Table,
    /// Since when it is nearly full.
    since: u64,
    /// How often connection tracking had no room lately.
    turned_away: Option<Spell>,
    /// New connections fail for it: it is full, and for some time packets are dropped where connection tracking asks for room.
    fails: bool,
}

/// A table that is full, or nearly so: a weak sign of what is to come, until connections fail for it, whoever opens them.
pub(super) fn full(model: &Model) -> Option<Finding> {
    let all: Vec<Full<'_>> = model
        .tables()
        .nearly_full()
        .map(|(netns, table, since)| full_one(model, netns, table, since))
        .collect();
    let fails = all.iter().any(|one| one.fails);
    let alike: Vec<&Full<'_>> = all.iter().filter(|one| one.fails == fails).collect();
    let since = |one: &Full<'_>| match one.turned_away {
        Some(spell) if one.fails => spell.since,
        _ => one.since,
    };
    let first = *alike.iter().min_by_key(|one| since(one))?;
    let namespaces: BTreeSet<u32> = alike.iter().map(|one| one.netns).collect();
    let lost = if fails {
        lines(model, &namespaces)
    } else {
        Vec::new()
    };
    let mut evidence = evidence(model, &namespaces);
    evidence.extend(kinds::no_room(model, &namespaces));
    evidence.extend(dropped(&lost));
    Some(Finding {
        confidence: if fails {
            Confidence::Strong
        } else {
            Confidence::Weak
        },
        explanation: format!("{}{}", stands(model, first), failures(model, &alike, &lost)),
        since: since(first),
        last: model.now(),
        evidence,
        units: Vec::new(),
        flows: Sufferers::default(),
        devices: BTreeSet::new(),
        standing: None,
        prevent: Vec::new(),
        check: commands::TABLE
            .iter()
            .map(|line| command(model, first.netns, line))
            .collect(),
        remedy: commands::more_room(model, &namespaces),
        namespaces,
    })
}

fn full_one<'a>(model: &Model, netns: u32, table: &'a Table, since: u64) -> Full<'a> {
    let now = model.now();
    let counted = kinds::spells_in(model, &BTreeSet::from([netns]), "drop");
    let turned_away = counted.into_iter().reduce(Spell::and);
    let lasts = |spell: Option<Spell>| spell.is_some_and(|spell| spell.lasts(TIMES, LASTING));
    Full {
        netns,
        table,
        since,
        turned_away,
        fails: table.is_full_lately(now) && lasts(turned_away) && lasts(model.books().untracked(netns, now)),
    }
}

/// How full it is, and what that means.
fn stands(model: &Model, one: &Full<'_>) -> String {
    let (table, now) = (one.table, model.now());
    let has = filled(table);
    if table.is_full() {
        format!(
            "The table of connection tracking is full: it has {has}. What opens another connection is dropped, and each datagram \
             from another port; connections that stand go on."
        )
    } else if table.is_full_lately(now) {
        format!(
            "The table of connection tracking was full a moment ago, and has {has}. While it is full, what opens another \
             connection is dropped, and each datagram from another port; connections that stand go on."
        )
    } else {
        format!(
            "The table of connection tracking is nearly full since {}: it has {has}. When it is full, what opens another \
             connection is dropped, and each datagram from another port; connections that stand go on.",
            moment(model, one.since)
        )
    }
}

/// How often there was no room, and for what, with a leading space.
fn failures(model: &Model, alike: &[&Full<'_>], lost: &[(&EntryKey, u64)]) -> String {
    let Some(spell) = alike.iter().filter_map(|one| one.turned_away).reduce(Spell::and) else {
        return String::new();
    };
    let text = format!(
        " Since {} it had no room {}.",
        moment(model, spell.since),
        count(spell.packets, "time")
    );
    let of = |incoming: bool, whose: &str| {
        let packets = way(lost, incoming).fold(0, |sum: u64, (_, packets)| sum.saturating_add(packets));
        let flow = way(lost, incoming).find_map(|(key, _)| model.books().sighting(key)?.flow);
        let example = flow.map_or_else(String::new, |flow| {
            let (local, remote) = (
                end(flow.local, flow.local_port),
                end(flow.remote, flow.remote_port),
            );
            let (from, to) = if incoming {
                (remote, local)
            } else {
                (local, remote)
            };
            format!(", such as {} from {from} to {to}", flow.protocol)
        });
        (packets > 0).then(|| format!("{} that {whose}{example}", count(packets, "packet")))
    };
    let parts: Vec<String> = [of(true, "arrived"), of(false, "this node was sending")]
        .into_iter()
        .flatten()
        .collect();
    if parts.is_empty() {
        return text;
    }
    format!(
        "{text} Dropped where connection tracking is asked, since the start of tracer: {}.",
        parts.join("; ")
    )
}

/// What of this arrived, or what this node was sending.
fn way<'a>(lost: &[(&'a EntryKey, u64)], incoming: bool) -> impl Iterator<Item = (&'a EntryKey, u64)> {
    lost.iter()
        .filter(move |(key, _)| key.incoming == incoming)
        .copied()
}

/// What was dropped where connection tracking is asked: at the hooks prerouting and output, where the hook is known.
fn lines<'a>(model: &'a Model, namespaces: &BTreeSet<u32>) -> Vec<(&'a EntryKey, u64)> {
    let is_asked_there = |key: &EntryKey| {
        let seen = model.books().sighting(key);
        seen.is_none_or(|seen| {
            let mut points = seen.hooks.keys().map(|hook| hook.point);
            seen.hooks.is_empty() || points.any(|point| matches!(point, Point::Prerouting | Point::Output))
        })
    };
    model
        .books()
        .lines()
        .filter(|(key, line)| {
            line.packets > 0
                && namespaces.contains(&key.netns)
                && ends::may_be_untracked(key)
                && is_asked_there(key)
        })
        .map(|(key, line)| (key, line.packets))
        .collect()
}

/// The same as evidence: what arrived, and what this node was sending.
fn dropped(lost: &[(&EntryKey, u64)]) -> Vec<Evidence> {
    let arrived = way(lost, true).next().map(|(first, _)| {
        let packets = way(lost, true).fold(0, |sum: u64, (_, packets)| sum.saturating_add(packets));
        let place = first.location.as_ref();
        let at = place.map_or_else(String::new, |place| format!(" at {place}"));
        let text = format!(
            "{}{at}: {} that arrived, since the start",
            ends::reason(first),
            count(packets, "packet")
        );
        evidence::drop(ends::reason(first), place, packets, text)
    });
    arrived
        .into_iter()
        .chain(evidence::unsent(way(lost, false), ends::version))
        .collect()
}
