//! What ICMP says of what this node asks for: that it cannot be reached, or is refused.

use super::evidence;
use super::words::{distinct, list, moment};
use crate::event::Version;
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::endpoints::{Endpoint, Silence};
use crate::model::ends::Sign;
use crate::model::growth::Spell;
use crate::model::latest::Gathering;
use crate::numbers::thousands;
use crate::report::Evidence;

/// Counters are read once a second, and told with the round.
const TOLD: u64 = SECOND;
/// Who is refused once may have bad luck.
const SEVERAL: u64 = 2;
/// A machine refuses once a second and peer at most, where it is asked more often (`net.ipv4.icmp_ratelimit`); not each of its
/// refusals arrives.
const REFUSES: u64 = 2 * SECOND;

/// Messages of ICMP that came in the namespaces of silences since these began. Which of the requests each is about the kernel does
/// not count.
pub(super) struct Refusals {
    /// The counters that have grown, and how.
    counters: Vec<(&'static str, Spell)>,
    /// They came for each namespace and version of IP in which something is silent, and began with it.
    came_for_all: bool,
    /// How long the longest silence lasts, in ns.
    lasts: u64,
}

impl Refusals {
    pub(super) fn of(model: &Model, silences: &[&(Endpoint, Silence)]) -> Self {
        let mut since: Gathering<(u32, Version), u64> = Gathering::default();
        let mut last = None;
        for (endpoint, silence) in silences {
            let of = (endpoint.netns, Version::of(endpoint.address));
            let first = since.of(of, || silence.since);
            *first = silence.since.min(*first);
            last = last.max(Some(silence.until.unwrap_or(model.now())));
        }
        let since = since.whole();
        // Where a next hop is silent this node tells its own sockets that they reach nobody (`ipv4_link_failure`, `arp_error_report`).
        let is_own = |of: u32| {
            let mut hops = model.books().signs(Sign::SilentHop, model.now());
            hops.any(|(netns, _, spell)| {
                netns == of
                    && since
                        .iter()
                        .any(|((of, _), at)| *of == netns && spell.last >= *at)
            })
        };
        let counters: Vec<(&'static str, Spell)> = since
            .iter()
            .filter(|((netns, _), _)| !is_own(*netns))
            .filter_map(|((netns, version), since)| {
                let (name, spell) = model.counters().unreachable(*netns, *version, model.now())?;
                // What came before as well may be about others.
                let is_its = spell.since.saturating_add(TOLD) >= *since;
                (is_its && spell.packets >= SEVERAL).then_some((name, spell))
            })
            .collect();
        let first = since.values().min().copied().unwrap_or(model.now());
        Self {
            came_for_all: !counters.is_empty() && counters.len() == since.len(),
            counters,
            lasts: last.map_or(0, |last| last.saturating_sub(first)),
        }
    }

    /// Whoever is silent may have refused all of so many requests: there are about as many of both, or as many as a machine
    /// sends at most.
    pub(super) fn are_of_all(&self, requests: u64) -> bool {
        let packets = self.packets();
        self.came_for_all && (packets.saturating_mul(2) >= requests || packets > self.lasts / REFUSES)
    }

    fn packets(&self) -> u64 {
        let packets = self.counters.iter().map(|(_, spell)| spell.packets);
        packets.fold(0, u64::saturating_add)
    }

    /// `12 messages of ICMP (IcmpInDestUnreachs) that what was sent cannot be delivered`; empty where none came. One that a packet is too
    /// large for the way is counted there as well (`icmp_unreach`, net/ipv4/icmp.c).
    pub(super) fn told(&self) -> String {
        let packets = self.packets();
        if packets == 0 {
            return String::new();
        }
        let names = distinct(self.counters.iter().map(|(name, _)| (*name).to_owned()));
        format!(
            "{} messages of ICMP ({}) that what was sent cannot be delivered",
            thousands(packets),
            list(&names)
        )
    }

    pub(super) fn evidence(&self, model: &Model) -> impl Iterator<Item = Evidence> {
        self.counters.iter().map(|(name, spell)| {
            let (grown, since) = (spell.packets, moment(model, spell.since));
            let text = format!("{name} has grown by {} since {since}", thousands(grown));
            evidence::counter(name, grown, text)
        })
    }
}
