//! Flows that something befalls, sorted by what rules ask for.
//!
//! They are looked through once: a node may have 100,000, and rules are asked twice a second.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::View;
use super::inside::filtered::Filtered;
use super::lost::{Losses, Shut};
use super::numbers::Numbers;
use super::path::{self, Asking};
use super::routing::{Losing, Routed};
use crate::model::Model;
use crate::model::last_drops::LastDrop;
use crate::model::latest::Latest;
use crate::model::plight::{Plight, Waits};

/// All flows that something befalls, or did lately, in the order of their keys.
pub(super) struct Befallen<'a> {
    /// Some of whose packets were dropped lately, with the place of how in `ends`.
    dropped: Vec<(&'a Plight, usize)>,
    /// Those of them that nobody of this node waits for.
    unwanted: Vec<(&'a Plight, usize)>,
    ends: Vec<&'a LastDrop>,
    /// Flows that are part of a silence and lose nothing here, each with the place of that.
    pub silent: Vec<Asking<'a>>,
    /// Those of them that say something of the path.
    pub asking: Vec<Asking<'a>>,
    /// Some of these have an address of this node, and others one that it does not have.
    pub ask_from_elsewhere_too: bool,
    /// What is lost before sockets.
    pub losses: Losses<'a>,
    /// What is lost where packets are routed.
    pub routed: Vec<Losing<'a>>,
    shut: OnceLock<Shut<'a>>,
    /// What is dropped on its way through this node.
    pub filtered: Filtered,
}

impl<'a> Befallen<'a> {
    /// Looks through all of them.
    pub(super) fn of(view: &View<'a>) -> Self {
        let model = view.model;
        let (mut dropped, mut unwanted) = (Vec::new(), Vec::new());
        let (mut silent, mut asking) = (Vec::new(), Vec::new());
        let mut ends = Ends::default();
        let mut losses = Losses::new(model);
        let mut routed = Routed::new(model);
        let mut is_own = Latest::default();
        let (mut from_own, mut from_others) = (false, false);
        for plight in model.plights() {
            let last = plight.last_drop.as_deref().zip(plight.dropped);
            let end = last.map(|(drop, spell)| {
                let place = ends.place(drop);
                dropped.push((plight, place));
                if plight.waits == Waits::Nobody {
                    unwanted.push((plight, place));
                }
                (drop, place, spell)
            });
            losses.add(model, plight, end);
            if let Some(end) = end {
                routed.add(view, plight, end);
            }
            let Some(one) = path::silent_flow(model, plight) else {
                continue;
            };
            silent.push(one);
            if path::is_of_path(view, plight) {
                let (netns, local) = (plight.key.netns, plight.key.local);
                match is_own.of((netns, local), || model.node().has_address(netns, local)) {
                    true => from_own = true,
                    false => from_others = true,
                }
                asking.push(one);
            }
        }
        losses.name(model);
        let mut all = Self {
            dropped,
            unwanted,
            ends: ends.all,
            silent,
            asking,
            ask_from_elsewhere_too: from_own && from_others,
            losses,
            routed: routed.whole(),
            shut: OnceLock::new(),
            filtered: Filtered::default(),
        };
        all.filtered = Filtered::of(model, &all);
        // What is dropped on its way through this node is not lost outside of it.
        let Self { asking, filtered, .. } = &mut all;
        asking.retain(|(plight, _)| !filtered.have(&plight.key));
        all
    }

    /// Servers that a firewall cuts off.
    pub(super) fn shut(&self, model: &Model) -> &Shut<'a> {
        self.shut.get_or_init(|| self.losses.shut(model))
    }

    /// Flows whose last drop was for a reason and at a place that the signature accepts, and is recent.
    pub(super) fn dropped_by(
        &self,
        signature: impl Fn(&str, &str) -> bool,
    ) -> impl Iterator<Item = &'a Plight> {
        self.of_those(&self.dropped, signature)
    }

    /// The same, of flows that nobody of this node waits for.
    pub(super) fn unwanted_dropped_by(
        &self,
        signature: impl Fn(&str, &str) -> bool,
    ) -> impl Iterator<Item = &'a Plight> {
        self.of_those(&self.unwanted, signature)
    }

    fn of_those(
        &self,
        all: &[(&'a Plight, usize)],
        signature: impl Fn(&str, &str) -> bool,
    ) -> impl Iterator<Item = &'a Plight> {
        let is_it = |drop: &&LastDrop| signature(&drop.0, &drop.1.symbol);
        let are: Vec<bool> = self.ends.iter().map(is_it).collect();
        // Mostly there are none.
        let all = if are.contains(&true) { all } else { &[] };
        let all = all.iter();
        all.filter(move |(_, end)| are.get(*end).is_some_and(|is| *is))
            .map(|(plight, _)| *plight)
    }
}

/// How packets end: each reason and place once.
#[derive(Default)]
struct Ends<'a> {
    all: Vec<&'a LastDrop>,
    places: BTreeMap<&'a LastDrop, usize>,
    /// Flows that end alike mostly share what is told of it.
    numbers: Numbers,
    /// The places of what has these numbers.
    numbered: Vec<usize>,
}

impl<'a> Ends<'a> {
    fn place(&mut self, drop: &'a LastDrop) -> usize {
        let number = self.numbers.of(drop);
        if let Some(place) = self.numbered.get(number) {
            return *place;
        }
        let all = &mut self.all;
        let place = *self.places.entry(drop).or_insert_with(|| {
            all.push(drop);
            all.len() - 1
        });
        self.numbered.push(place);
        place
    }
}
