//! All flows at a glance.
//!
//! What a flow has counted lies where there was room for it, so that to look at all of them, one after the other, takes ever so
//! long: each is waited for. So what rules ask of very many is gathered first, by nothing but reading it.

use super::Model;
use super::clock::When;
use super::flows::Flow;
use super::growth::Spell;
use super::plight::Plight;
use crate::event::FlowKey;

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
    /// See [`Flow::is_plain`].
    is_plain: bool,
}

impl Glance<'_> {
    /// See [`Flow::dropped_lately`].
    pub(crate) fn dropped_lately(&self, now: u64) -> Option<Spell> {
        if self.is_plain {
            None
        } else {
            self.flow.dropped_lately(now)
        }
    }
}

impl Model {
    /// All flows in the order of their keys.
    pub(crate) fn glances(&self) -> Vec<Glance<'_>> {
        let glance = |(key, flow)| -> Glance<'_> {
            let flow: &Flow = flow;
            Glance {
                key,
                flow,
                last: flow.last,
                last_arrived: flow.last_arrived,
                iif: flow.iif,
                is_plain: flow.is_plain(),
            }
        };
        self.flows.iter().map(glance).collect()
    }

    /// How flows are off that are asked for in the order of their keys.
    pub(crate) fn plights_in_turn<'a>(&'a self) -> impl FnMut(&FlowKey) -> Option<&'a Plight> {
        let mut plights = self.plights.iter().peekable();
        move |key| {
            let mut its = plights.next_if(|plight| plight.key == *key);
            // A flow may have been forgotten since.
            while its.is_none() && plights.next_if(|plight| plight.key < *key).is_some() {
                its = plights.next_if(|plight| plight.key == *key);
            }
            its
        }
    }
}
