//! The flows that suffer from a fault, and what is asked of them for every change that may explain it.

use std::collections::{BTreeSet, HashSet};
use std::ops::Deref;
use std::sync::OnceLock;

use foldhash::fast::RandomState;

use super::Off;
use super::addresses::Addresses;
use crate::event::{FlowKey, Owner, Version};
use crate::model::Model;
use crate::model::clock::When;
use crate::model::plight::Plight;

/// A flow that suffers, and whose it is.
#[derive(Clone, Copy)]
pub(super) struct Sufferer<'a> {
    pub key: FlowKey,
    /// Since when it starves; never where it does not now.
    pub since: When,
    pub owner: Option<&'a Owner>,
}

impl<'a> From<&'a Plight> for Sufferer<'a> {
    fn from(plight: &'a Plight) -> Self {
        Self {
            key: plight.key,
            since: plight.starved,
            owner: plight.owner.as_deref(),
        }
    }
}

impl<'a> Sufferer<'a> {
    /// Any flows, in the order of their keys, and how they are off.
    pub(super) fn in_turn(model: &'a Model) -> impl FnMut(Off<'a>) -> Self {
        let mut owner = model.owners_in_turn();
        move |(key, flow, plight)| Self {
            key: *key,
            since: plight.map_or(When::NEVER, |plight| plight.starved),
            owner: owner(key, flow, plight),
        }
    }
}

/// Flows that suffer, the most starved first. There may be 100,000, and 4,096 changes that are held against them: so their
/// addresses are sorted once, where they are asked for.
#[derive(Clone, Default)]
pub(super) struct Sufferers {
    flows: Vec<FlowKey>,
    locals: OnceLock<Addresses>,
    remotes: OnceLock<Addresses>,
}

impl From<Vec<FlowKey>> for Sufferers {
    fn from(flows: Vec<FlowKey>) -> Self {
        Self {
            flows,
            ..Self::default()
        }
    }
}

impl Deref for Sufferers {
    type Target = [FlowKey];

    fn deref(&self) -> &[FlowKey] {
        &self.flows
    }
}

impl Sufferers {
    /// Flows that are not told; they are of this version, if that is known.
    pub(super) fn untold(version: Option<Version>) -> Self {
        Self {
            flows: Vec::new(),
            locals: Addresses::untold(version).into(),
            remotes: Addresses::untold(version).into(),
        }
    }

    /// These, and others behind them.
    pub(super) fn and(self, others: impl Iterator<Item = Self>) -> Self {
        let mut flows = self.flows;
        others.for_each(|other| flows.extend(other.flows));
        flows.into()
    }

    /// These, and those of the others that are none of them.
    pub(super) fn joined(self, others: Self) -> Self {
        let known: HashSet<FlowKey, RandomState> = self.flows.iter().copied().collect();
        let new: Vec<FlowKey> = others
            .flows
            .into_iter()
            .filter(|flow| !known.contains(flow))
            .collect();
        self.and(std::iter::once(new.into()))
    }

    /// The addresses of their peers are these.
    pub(super) fn with_remotes(self, remotes: Addresses) -> Self {
        Self {
            remotes: remotes.into(),
            ..self
        }
    }

    /// So many of them at most: where there are more, as many from all over.
    pub(super) fn some(&self, most: usize) -> impl Iterator<Item = &FlowKey> {
        self.flows.iter().step_by(self.flows.len().div_ceil(most).max(1))
    }

    /// Their addresses on this node.
    pub(super) fn locals(&self) -> &Addresses {
        self.locals
            .get_or_init(|| Addresses::of(self.flows.iter().map(|flow| flow.local)))
    }

    /// The addresses of their peers.
    pub(super) fn remotes(&self) -> &Addresses {
        self.remotes
            .get_or_init(|| Addresses::of(self.flows.iter().map(|flow| flow.remote)))
    }

    /// The namespaces that they are in. Those of one are mostly side by side.
    pub(super) fn namespaces(&self) -> BTreeSet<u32> {
        let runs = self.flows.chunk_by(|one, next| one.netns == next.netns);
        runs.filter_map(|run| run.first())
            .map(|flow| flow.netns)
            .collect()
    }
}
