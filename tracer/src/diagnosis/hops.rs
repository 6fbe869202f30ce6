//! Next hops that this node itself keeps out of its own reach: what they say is dropped here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::lost::kinds::{hooks_text, hooks_told};
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, distinct, list, moment};
use super::{About, Finding, Rule, View, effects, evidence};
use crate::event::{EntryKey, FlowKey, Thing, Version, value};
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::ends;
use crate::model::growth::Spell;
use crate::model::plight::Plight;
use crate::model::unheard::{Message, Said};
use crate::report::{Confidence, Where};

/// R36: a firewall drops what neighbours say.
pub(super) const FILTERED: Rule = Rule {
    id: "R36",
    slug: "neighbours-filtered",
    title: "A firewall of this node drops what its neighbours say on the link",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "What neighbours on an uplink answer or ask, by ARP or neighbour discovery (ICMPv6), is dropped for NETFILTER_DROP, \
                    while what this node sends waits for their link-layer addresses in vain, or is not answered. A weak sign where \
                    what is not answered goes by others, or from another address than is asked for.",
        meaning: "Neighbour discovery is part of ICMPv6: a firewall that drops all of that, or what it does not know, cuts the node off \
                  from its gateway as soon as what it remembers is too old, which takes from seconds to minutes. ARP is filtered \
                  in a family of its own. It looks as if the gateway were silent.",
        check: &[
            "ip -6 neigh; ip neigh  # FAILED or INCOMPLETE",
            "nft -a list ruleset",
            "ip6tables-legacy-save -c; arptables-legacy-save -c",
        ],
        mend: &[
            "Let the firewall pass icmpv6 type nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert; and arp. Risk: low, every \
             node on a link needs them.",
        ],
    },
    examine: filtered,
    explains: effects::firewall,
    proved_by: effects::none,
    follows: &["R22", "R30", "D02"],
};

/// Messages that must have been dropped, and the time that they must span: a neighbour is asked once a second.
const SEVERAL: u64 = 2;
const LASTING: u64 = SECOND;

/// Peers that are looked at, at most: nearly all go by the same next hop.
pub(super) const PEERS: usize = 256;

/// What neighbours said on uplinks to these flows' harm, and was dropped lately, but for what was before `since`: by where, and how
/// many at least.
pub(super) fn unheard<'a>(
    model: &Model,
    asking: impl Iterator<Item = &'a FlowKey> + Clone,
    since: u64,
) -> BTreeMap<String, u64> {
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    for (key, message, spell) in model.unheard().lately(model.now()) {
        if spell.last >= since
            && model.node().is_over_uplink(key.netns, key.iif)
            && is_needed(model, key.netns, &message, asking.clone())
        {
            let at = key
                .location
                .as_ref()
                .map_or_else(String::new, |at| format!(" at {at}"));
            let packets = all.entry(format!("{}{at}", ends::reason(key))).or_default();
            *packets = packets.saturating_add(spell.packets);
        }
    }
    all.retain(|_, packets| *packets >= SEVERAL);
    all
}

/// Some of these flows, which ask in vain, cannot do without it: what they send goes by who said it, and there is the answer that this
/// node waits for, or the question for the address that they have. Others may be shut out on purpose, as the questions for an address
/// that several nodes have.
fn is_needed<'a>(
    model: &Model,
    netns: u32,
    message: &Message,
    asking: impl Iterator<Item = &'a FlowKey>,
) -> bool {
    let mut its = asking.filter(|key| key.netns == netns).take(PEERS);
    its.any(|key| {
        (message.said == Said::Answer || key.local == message.to)
            && goes_by(model, netns, key.remote, message.who)
    })
}

/// What is for this address goes by that neighbour: it is the neighbour itself, or beyond it.
pub(super) fn goes_by(model: &Model, netns: u32, remote: IpAddr, neighbour: IpAddr) -> bool {
    remote == neighbour || gateway(model, netns, remote) == Some(neighbour)
}

/// The gateway by which the routes lead to this address; `None` where it is on a link.
pub(super) fn gateway(model: &Model, netns: u32, remote: IpAddr) -> Option<IpAddr> {
    let (_, leads) = model.settings().route(netns, remote)?;
    value::after(leads, value::GATEWAY)?.parse().ok()
}

/// Neighbours on uplinks that are set by hand and by which requests to some of these go, each with its link-layer address.
pub(super) fn set_by_hand(model: &Model, peers: &[(u32, IpAddr)]) -> Vec<String> {
    let all = model.settings().iter().filter_map(|(netns, thing, state)| {
        let Thing::Neighbour { device, address } = thing else {
            return None;
        };
        if !value::has(state, value::PERMANENT) {
            return None;
        }
        let index = model.node().device_named(netns, device)?.index;
        let leads_there = |(of, peer): &(u32, IpAddr)| *of == netns && goes_by(model, netns, *peer, *address);
        let is_its = model.node().is_over_uplink(netns, index) && peers.iter().take(PEERS).any(leads_there);
        is_its.then(|| format!("{thing} ({state})"))
    });
    distinct(all)
}

/// What a neighbour said, and a firewall dropped.
struct Case<'a> {
    key: &'a EntryKey,
    said: Said,
    who: IpAddr,
    spell: Spell,
    /// See [`is_needed`]; or nothing could leave that waited for the answer.
    is_needed: bool,
}

/// A namespace, and a version of IP in it.
type Part = (u32, Version);

fn part(plight: &Plight) -> Part {
    (plight.key.netns, Version::of(plight.key.remote))
}

impl Case<'_> {
    fn part(&self) -> Part {
        (self.key.netns, Version::of(self.who))
    }
}

/// Neighbours that are known not to answer, each with its namespace.
fn silent(model: &Model) -> BTreeSet<(u32, IpAddr)> {
    let all = model.settings().iter();
    all.filter_map(|(netns, thing, state)| match thing {
        Thing::Neighbour { address, .. } if value::SILENT.contains(&state) => Some((netns, *address)),
        _ => None,
    })
    .collect()
}

fn filtered(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let plights = || view.asking().iter().map(|(plight, _)| *plight);
    let all = model.unheard().lately(model.now()).filter(|(key, _, spell)| {
        ends::by_firewall(ends::reason(key), ends::symbol(key))
            && spell.lasts(SEVERAL, LASTING)
            && model.node().is_over_uplink(key.netns, key.iif)
    });
    let mut all = all.peekable();
    all.peek()?;
    let asking: BTreeSet<Part> = plights().map(part).collect();
    let silent = silent(model);
    let cases: Vec<Case<'_>> = all
        .map(|(key, message, spell)| Case {
            key,
            said: message.said,
            who: message.who,
            spell,
            is_needed: is_needed(model, key.netns, &message, plights().map(|plight| &plight.key))
                || (message.said == Said::Answer && silent.contains(&(key.netns, message.who))),
        })
        .filter(|case| case.is_needed || asking.contains(&case.part()))
        .collect();
    let since = cases.iter().map(|case| case.spell.since).min()?;
    let last = cases.iter().map(|case| case.spell.last).max()?;
    let namespaces: BTreeSet<u32> = cases.iter().map(|case| case.key.netns).collect();
    let parts: BTreeSet<Part> = cases.iter().map(Case::part).collect();
    let suffers = plights().filter(|plight| parts.contains(&part(plight)));
    let suffering = Suffering::of(suffers.map(Sufferer::from));
    let of = |said: Said| {
        let mut these = cases.iter().filter(move |case| case.said == said).peekable();
        these.peek()?;
        let mut packets = 0_u64;
        let who = distinct(these.map(|case| {
            packets = packets.saturating_add(case.spell.packets);
            let device = model.node().device_name(case.key.netns, case.key.iif);
            format!("{} on {device}", case.who)
        }));
        Some((packets, list(&who)))
    };
    let answers = of(Said::Answer).map(|(packets, who)| {
        format!(
            "at least {} by which {who} told this node the link-layer address that it had asked for: what is to go by there cannot \
             leave once it is not known",
            count(packets, "answer")
        )
    });
    let questions = of(Said::Question).map(|(packets, who)| {
        format!(
            "at least {} of {who} for this node's own link-layer address: who gets no answer cannot send it anything",
            count(packets, "question")
        )
    });
    let dropped: Vec<String> = answers.into_iter().chain(questions).collect();
    let hooks = distinct(cases.iter().map(|case| hooks_told(model, case.key)));
    let hooks = if hooks.is_empty() {
        String::new()
    } else {
        format!(" {}", hooks_text(&hooks))
    };
    let mut lines: BTreeMap<&EntryKey, u64> = BTreeMap::new();
    for case in &cases {
        *lines.entry(case.key).or_default() += case.spell.packets;
    }
    let seen = lines.iter().map(|(key, packets)| {
        let at = key.location.as_ref().map(ToString::to_string).unwrap_or_default();
        let text = format!(
            "{} at {at}: at least {} of neighbours since {}",
            ends::reason(key),
            count(*packets, "message"),
            moment(model, since)
        );
        evidence::drop(ends::reason(key), key.location.as_ref(), *packets, text)
    });
    let first = *namespaces.first()?;
    Some(Finding {
        confidence: if cases.iter().any(|case| case.is_needed) {
            Confidence::Conclusive
        } else {
            Confidence::Weak
        },
        explanation: format!(
            "Since {} this node's own firewall has dropped {}.{hooks}{}",
            moment(model, since),
            dropped.join("; and "),
            suffering.affected()
        ),
        since,
        last,
        evidence: seen.take(5).collect(),
        units: suffering.units([]),
        flows: suffering.flows,
        standing: None,
        prevent: Vec::new(),
        devices: BTreeSet::new(),
        check: ["ip neigh", "ip -6 neigh", "nft -a list ruleset"]
            .map(|line| command(model, first, line))
            .into(),
        namespaces,
        remedy: vec![
            "Let the firewall pass icmpv6 type nd-neighbor-solicit, nd-neighbor-advert and nd-router-advert, and arp. Risk: low, every \
             node on a link needs them."
                .to_owned(),
        ],
    })
}
