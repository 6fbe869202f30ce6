//! The flows that suffer from a fault, and what is asked of them for every change that may explain it.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Deref;

use super::effects::covers;
use crate::event::{FlowKey, Owner, Version, network};
use crate::model::Model;
use crate::model::clock::When;
use crate::model::flows::Flow;
use crate::model::plight::Plight;

/// A flow that suffers, and whose it is.
#[derive(Clone, Copy)]
pub(super) struct Sufferer<'a> {
    pub key: &'a FlowKey,
    /// Since when it starves; never where it does not now.
    pub since: When,
    pub owner: Option<&'a Owner>,
}

impl<'a> From<&'a Plight> for Sufferer<'a> {
    fn from(plight: &'a Plight) -> Self {
        Self {
            key: &plight.key,
            since: plight.starved,
            owner: plight.owner.as_deref(),
        }
    }
}

impl<'a> Sufferer<'a> {
    /// Any flow, and how it is off.
    pub(super) fn of(
        model: &'a Model,
        (key, flow, plight): (&'a FlowKey, &'a Flow, Option<&'a Plight>),
    ) -> Self {
        plight.map_or_else(
            || Self {
                key,
                since: When::NEVER,
                owner: model.owner_of(key, flow),
            },
            Self::from,
        )
    }
}

/// Flows that suffer, the most starved first. There may be 100,000, and 4,096 changes that are held against them: so their
/// addresses are sorted once, where they are asked for.
#[derive(Default)]
pub(super) struct Sufferers {
    flows: Vec<FlowKey>,
    locals: OnceCell<Addresses>,
    remotes: OnceCell<Addresses>,
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
    /// These, and others behind them.
    pub(super) fn and(self, others: impl Iterator<Item = Self>) -> Self {
        let others = others.flat_map(|other| other.flows);
        self.flows.into_iter().chain(others).collect::<Vec<_>>().into()
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

/// Addresses, each once and in order.
pub(super) struct Addresses(Vec<IpAddr>);

impl Addresses {
    fn of(all: impl Iterator<Item = IpAddr>) -> Self {
        let mut all: Vec<IpAddr> = all.collect();
        // Flows of one address are mostly side by side.
        all.dedup();
        all.sort_unstable();
        all.dedup();
        Self(all)
    }

    /// One of them is this one; or none is told.
    pub(super) fn have(&self, address: IpAddr) -> bool {
        self.0.is_empty() || self.0.binary_search(&address).is_ok()
    }

    /// One of them is in the network of that prefix; or none is told.
    pub(super) fn are_in(&self, destination: IpAddr, prefix: u8) -> bool {
        let first = network(destination, prefix);
        let place = self.0.partition_point(|address| *address < first);
        let next = self.0.get(place);
        self.0.is_empty() || next.is_some_and(|address| covers(destination, prefix, *address))
    }

    /// One of them is of this version of IP; or none is told.
    pub(super) fn are_of(&self, version: Version) -> bool {
        // Those of IPv4 come before those of IPv6.
        let (first, last) = (self.0.first(), self.0.last());
        let mut ends = first.into_iter().chain(last);
        self.0.is_empty() || ends.any(|address| Version::of(*address) == version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Addresses {
        Addresses::of(texts.iter().map(|text| text.parse().unwrap()))
    }

    #[test]
    fn addresses_are_found_by_their_networks() {
        let some = addresses(&["198.51.100.7", "192.0.2.10", "192.0.2.10", "2001:db8::1"]);
        for (network, prefix, are) in [
            ("0.0.0.0", 0, true),
            ("192.0.2.0", 24, true),
            ("192.0.2.8", 29, true),
            ("192.0.2.10", 32, true),
            ("192.0.2.11", 32, false),
            ("192.0.3.0", 24, false),
            ("198.51.100.0", 24, true),
            ("203.0.113.0", 24, false),
            ("2001:db8::", 64, true),
            ("2001:db8:1::", 64, false),
            ("::", 0, true),
        ] {
            assert_eq!(
                some.are_in(network.parse().unwrap(), prefix),
                are,
                "{network}/{prefix}"
            );
        }
        assert!(some.have("192.0.2.10".parse().unwrap()) && !some.have("192.0.2.9".parse().unwrap()));
        assert!(some.are_of(Version::V4) && some.are_of(Version::V6));
        assert!(!addresses(&["192.0.2.10"]).are_of(Version::V6));
    }

    #[test]
    fn where_none_is_told_it_may_be_any() {
        let none = addresses(&[]);
        let address = "192.0.2.10".parse().unwrap();
        assert!(none.are_in(address, 32) && none.have(address) && none.are_of(Version::V6));
    }
}
