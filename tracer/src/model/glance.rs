//! All flows at a glance.
//!
//! What a flow has counted lies where there was room for it, so that to look at all of them, one after the other, takes ever so
//! long: each is waited for. So what rules ask of very many is gathered first, by nothing but reading it.

use super::Model;
use super::clock::When;
use super::flows::Flow;
use super::plight::Plight;
use super::turn::in_turn;
use crate::event::{FlowKey, Owner};

/// What rules ask of very many flows.
#[derive(Clone, Copy)]
pub(crate) struct Glance<'a> {
    /// The flow.
    pub key: &'a FlowKey,
    /// All that it has counted. It takes time to look there.
    pub flow: &'a Flow,
    /// See [`Flow::last`].
    pub last: u64,
    /// See [`Flow::last_arrived`].
    pub last_arrived: When,
    /// See [`Flow::iif`].
    pub iif: u32,
    /// See [`Flow::owner`].
    pub owner: Option<&'a Owner>,
}

impl<'a> Glance<'a> {
    /// Looks at this one.
    pub(crate) fn of(key: &'a FlowKey, flow: &'a Flow) -> Self {
        Self {
            key,
            flow,
            last: flow.last,
            last_arrived: flow.last_arrived,
            iif: flow.iif,
            owner: flow.owner.as_deref(),
        }
    }
}

impl Model {
    /// All flows in the order of their keys.
    pub(crate) fn glances(&self) -> Vec<Glance<'_>> {
        let all = self.flows.iter();
        all.map(|(key, flow)| Glance::of(key, flow)).collect()
    }

    /// How flows are off that are asked for in the order of their keys.
    pub(crate) fn plights_in_turn<'a>(&'a self) -> impl FnMut(&FlowKey) -> Option<&'a Plight> {
        in_turn(self.plights.iter().map(|plight| (&plight.key, plight)))
    }
}
