//! The books of each namespace.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::rates;
use crate::event::{self, FlowKey};
use crate::model::ledger::Totals;
use crate::model::namespaces::{self, Closed};
use crate::model::{Model, node};
use crate::report::{Followed, Ledger, NAMESPACES, Namespace, Rates, Role};

/// Namespaces that a verdict names.
const NAMED: usize = 3;

/// The rows, the node's own first, then by what arrived; and how many there are.
pub(super) fn rows(model: &Model) -> (Vec<Namespace>, u64) {
    let node = model.node();
    if !node.several() {
        return (Vec::new(), 0);
    }
    let (own, followed) = (node.own(), model.followed());
    let mut rows: Vec<Row<'_>> = model
        .by_namespace()
        .into_iter()
        .filter(|(inode, totals)| {
            // One that is not watched is none of ours.
            node.namespace(*inode).is_some() && (totals.ledger != Ledger::default() || own.contains(inode))
        })
        .map(|(inode, totals)| Row::Watched(inode, totals, node.role(inode, &own)))
        .collect();
    let closed = model.namespaces().closed();
    rows.extend(
        closed
            .filter(|closed| closed.totals.ledger != Ledger::default())
            .map(Row::Closed),
    );
    // Stable: those with as many stay in the order of their inodes.
    rows.sort_by_key(|row| (row.role(), Reverse(row.totals().ledger.arrived)));
    let total = rows.len() as u64;
    rows.truncate(NAMESPACES);
    let told = rows.iter().map(|row| row.told(model, &followed));
    (told.collect(), total)
}

enum Row<'a> {
    Watched(u32, Totals, node::Role),
    Closed(&'a Closed),
}

impl Row<'_> {
    fn role(&self) -> node::Role {
        match self {
            Self::Watched(_, _, role) => *role,
            Self::Closed(closed) => closed.role,
        }
    }

    fn totals(&self) -> &Totals {
        match self {
            Self::Watched(_, totals, _) => totals,
            Self::Closed(closed) => &closed.totals,
        }
    }

    fn told(&self, model: &Model, followed: &BTreeMap<u32, namespaces::Followed>) -> Namespace {
        let unknown = event::Namespace::default();
        let (namespace, ended, uplinks, rates, followed) = match self {
            Self::Watched(inode, ..) => (
                model.node().namespace(*inode).unwrap_or(&unknown),
                model.namespaces().end(*inode),
                model
                    .node()
                    .uplinks_of(*inode)
                    .map(|device| device.name.clone())
                    .collect(),
                model
                    .namespaces()
                    .history(*inode)
                    .map_or_else(Rates::default, |history| rates(model, history)),
                followed.get(inode).copied(),
            ),
            Self::Closed(closed) => (
                &closed.namespace,
                Some(closed.ended),
                closed.uplinks.clone(),
                Rates::default(),
                closed.followed,
            ),
        };
        let owner = namespace.owner.as_ref();
        let totals = self.totals();
        Namespace {
            name: namespace.name.clone(),
            inode: namespace.inode,
            role: match self.role() {
                node::Role::Node => Role::Node,
                node::Role::Pod => Role::Pod,
                node::Role::Other => Role::Other,
            },
            ended: ended.map(|at| model.utc(at)),
            uplinks,
            pid: owner.map_or(0, |owner| owner.pid),
            command: owner.map(|owner| owner.command.clone()).unwrap_or_default(),
            cgroup: owner.map(|owner| owner.cgroup.clone()).unwrap_or_default(),
            unit: owner.map(|owner| owner.unit.clone()).unwrap_or_default(),
            ledger: totals.ledger,
            bytes: totals.bytes,
            rates,
            // What the node hands on to others is in its own books.
            followed: followed
                .filter(|_| self.role() != node::Role::Node)
                .map(|followed| Followed {
                    forwarded: followed.forwarded,
                    arrived: followed.arrived,
                    lost_on_the_way: followed.lost,
                }),
        }
    }
}

/// In which namespaces these flows are, as a sentence to end an explanation; empty where only one is watched, or
/// there are none.
pub(super) fn of_flows(model: &Model, flows: &[FlowKey]) -> String {
    let inodes: BTreeSet<u32> = flows.iter().map(|flow| flow.netns).collect();
    if !model.node().several() || inodes.is_empty() {
        return String::new();
    }
    let label = |inode: &u32| model.node().netns_label(*inode);
    let mut names: Vec<String> = inodes.iter().take(NAMED).map(label).collect();
    let more = inodes.len() - names.len();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    let what = if inodes.len() == 1 {
        "namespace"
    } else {
        "namespaces"
    };
    format!(" The flows are in network {what} {}.", names.join(", "))
}
