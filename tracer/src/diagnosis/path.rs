//! The way to the node: requests are made and no answer arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::addresses::Addresses;
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{count, distinct, list, moment, span};
use super::{About, Finding, Rule, View, effects, evidence};
use crate::event::{FlowKey, Protocol, Thing, value};
use crate::model::Model;
use crate::model::clock::{SECOND, When};
use crate::model::endpoints::{Endpoint, Silence};
use crate::model::ends;
use crate::model::growth::Spell;
use crate::model::plight::Plight;
use crate::model::queues::Port;
use crate::numbers::thousands;
use crate::report::{Confidence, Evidence, Where};

/// The capability that counts arrivals: without it silence says nothing.
pub(super) const ARRIVALS: &str = "arrivals";

/// D01: requests are made, no answer arrives, and none was dropped here.
pub(super) const SILENT: Rule = Rule {
    id: "D01",
    slug: "silent-path",
    title: "What this node sends is not answered",
    place: Some(Where::DataPath),
    about: About {
        signature: "This node makes requests, by TCP again and again, and nothing comes back by an uplink; nothing that did was \
                    dropped here. Where the next hop does not tell its link-layer address they do not even leave. A weak sign where only \
                    peers are silent that never answered, or whose machine lives and refuses by ICMP.",
        meaning: "The fault is not in this node's receive path: what it asks for is lost on the way there, there, or on \
                  the way back. Where the next hop does not tell its link-layer address, nothing leaves at all.",
        check: &[
            "ip neigh  # the gateway must not be FAILED",
            "ip route get PEER",
            "ip -s link show dev DEVICE",
        ],
        mend: &[
            "This is for whoever runs the network, with the times and peers of the verdict. Risk: a reboot of the node \
             destroys the evidence and mends nothing.",
        ],
    },
    examine: silent,
    explains: effects::requests,
    proved_by: effects::none,
    follows: &[
        "R01", "R03", "R04", "R05", "R22", "D02", "R09", "R11", "R20", "R23", "R30", "R31", "R33",
    ],
};

fn silent(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    if !model.can(ARRIVALS) {
        return None;
    }
    let case = Case::of(view)?;
    let confidence = case.confidence()?;
    let since = model
        .silence()
        .map_or(case.since, |spell| spell.since.min(case.since));

    let lasts = match case.ended {
        None => format!(
            "for {} no answer has come from there",
            span(model.now().saturating_sub(since))
        ),
        Some(until) => format!(
            "for {} no answer came from there, until one did",
            span(until.saturating_sub(since))
        ),
    };
    let reach = match (case.ended, case.others, case.alive) {
        (Some(_), ..) => String::new(),
        (None, _, alive) if case.all_alive => format!(
            " The way there works: packets of {} with the same peers, for other ports or protocols, arrived in this time.",
            count(alive, "other flow")
        ),
        (None, 0, 0) => " Nothing arrived for any other flow in this time either.".to_owned(),
        (None, 0, alive) => format!(
            " Packets of {} with some of these peers arrived in this time.",
            count(alive, "other flow")
        ),
        (None, others, _) => format!(
            " Only some peers are silent: packets of {} with others arrived in this time.",
            count(others, "flow")
        ),
    };
    let refused = case.refusals.text();
    let dropped = match case.strays {
        0 => "no reply was seen to be dropped here".to_owned(),
        strays => format!(
            "{} came from there by another port than was asked, for which no socket waits: something on the way may \
             have changed the port",
            count(strays, "packet")
        ),
    };
    let hops = case.silent_hops(model);
    let hop = match hops.len() {
        0 => String::new(),
        1 => format!(
            " The next hop {} does not tell its link-layer address: what is to go by it does not leave this node.",
            list(&hops)
        ),
        _ => format!(
            " The next hops {} do not tell their link-layer addresses: what is to go by them does not leave this node.",
            list(&hops)
        ),
    };
    let explanation = format!(
        "This node made {} to {}, and {lasts}; {dropped}.{reach}{refused}{hop}{}",
        count(case.requests, "request"),
        Addresses::of(case.peers.iter().map(|(_, address)| *address)).told(),
        case.suffering.affected()
    );

    let mut evidence: Vec<Evidence> = case
        .silences
        .iter()
        .take(5)
        .map(|(peer, silence)| endpoint(model, *peer, *silence))
        .collect();
    if case.retransmitted > 0 {
        let text = format!(
            "{} by TCP since the start",
            count(case.retransmitted, "retransmission")
        );
        evidence.push(evidence::counter("retransmissions", case.retransmitted, text));
    }
    let unsent = case.unsent(model);
    if unsent > 0 {
        let text = format!(
            "{} of this node could not leave since the start: {} not tell the link-layer address",
            count(unsent, "packet"),
            match list(&hops) {
                none if none.is_empty() => "the next hop does".to_owned(),
                one if hops.len() == 1 => format!("{one} does"),
                several => format!("{several} do"),
            }
        );
        evidence.push(evidence::drop("NEIGH_FAILED", None, unsent, text));
    }
    evidence.extend(case.refusals.evidence(model));
    let arrived = model.totals().ledger.arrived;
    let before = model.history().before(model.now()).ledger.arrived;
    let text = format!(
        "{} arrived since the start, {} of them in the last 2 s",
        count(arrived, "packet"),
        thousands(arrived.saturating_sub(before))
    );
    evidence.push(evidence::ledger(model, text));

    let mut check = Vec::new();
    for (netns, peer) in case.peers.iter().take(3) {
        let ip = super::words::ip(*peer);
        check.push(super::words::command(
            model,
            *netns,
            &format!("{ip} route get {peer}"),
        ));
    }
    let namespaces: BTreeSet<u32> = case.peers.iter().map(|(netns, _)| *netns).collect();
    for netns in &namespaces {
        check.push(super::words::command(model, *netns, "ip neigh"));
        check.push(super::words::command(model, *netns, "ip -s link"));
        check.push(format!(
            "{}  # must show `lookup local`: else this node does not answer ARP",
            super::words::command(model, *netns, "ip rule")
        ));
    }

    Some(Finding {
        confidence,
        explanation,
        since,
        last: case.ended.unwrap_or(model.now()),
        evidence,
        namespaces,
        standing: None,
        devices: BTreeSet::new(),
        units: case.suffering.units([]),
        flows: case.suffering.flows,
        prevent: Vec::new(),
        check,
        remedy: vec![
            "Look outside this node: the peer, the router, the provider's network, its firewall. Nothing has \
             to be changed here first."
                .to_owned(),
        ],
    })
}

/// A flow that is part of a silence says something of the path.
fn says_something(view: &View<'_>, plight: &Plight) -> bool {
    // What this node's own rules keep from leaving nobody else can answer.
    let books = view.model.books();
    let is_held_back = plight.is_held_back && books.holds_back(plight.key.netns, view.model.now());
    !is_held_back && plight.dropped.is_none() && !by_inner_device(view, &plight.key, plight.iif)
}

/// A flow that is part of a silence and says something of the path, with the place of that.
pub(super) type Asking<'a> = (&'a Plight, usize);

/// All of them.
pub(super) fn asking<'a>(view: &View<'a>) -> Vec<Asking<'a>> {
    let plights = view.model.plights().iter();
    let silent = plights.filter_map(|plight| Some((plight, usize::try_from(plight.silence?).ok()?)));
    silent
        .filter(|(plight, _)| says_something(view, plight))
        .collect()
}

/// The silences with these places, each once and in order.
pub(super) fn silences(model: &Model, places: impl Iterator<Item = usize>) -> Vec<&(Endpoint, Silence)> {
    let all = model.silences().all();
    let mut is_asked = vec![false; all.len()];
    for place in places {
        if let Some(is) = is_asked.get_mut(place) {
            *is = true;
        }
    }
    let all = all.iter().zip(is_asked);
    all.filter_map(|(one, is)| is.then_some(one)).collect()
}

/// What is silent, all together.
struct Case<'a> {
    silences: Vec<&'a (Endpoint, Silence)>,
    /// Each once and in order, with the namespace that asks.
    peers: Vec<(u32, IpAddr)>,
    suffering: Suffering<'a>,
    requests: u64,
    /// What came to the same sockets from other ports of these peers, and was not for them.
    strays: u64,
    /// Retransmissions of these flows since the start.
    retransmitted: u64,
    since: u64,
    /// When the last of them answered, where all did.
    ended: Option<u64>,
    /// Flows of other peers that received something meanwhile, where some peer is silent yet.
    others: u64,
    /// The same of other flows of the silent peers.
    alive: u64,
    /// Each of the peers has such a flow.
    all_alive: bool,
    /// What came meanwhile that refuses what this node sent.
    refusals: Refusals<'a>,
    /// Something had arrived for one of the flows, or its peer used to answer.
    answered: bool,
    /// Some of the flows were opened by this node.
    asked_by_us: bool,
}

impl<'a> Case<'a> {
    fn of(view: &View<'a>) -> Option<Self> {
        let model = view.model;
        let silent = view.asking();
        // Clients that go away without a word are a server's daily bread; they count where nothing is heard
        // from anybody.
        let is_ours = |plight: &Plight| !plight.has_arrived || plight.is_reply;
        let asked_by_us = silent.iter().any(|(plight, _)| is_ours(plight));
        let asking = || {
            silent
                .iter()
                .filter(|(plight, _)| !asked_by_us || is_ours(plight))
        };
        let mut retransmitted: u64 = 0;
        let places = asking().map(|(plight, place)| {
            retransmitted = retransmitted.saturating_add(plight.retransmitted);
            *place
        });
        let silences = silences(model, places);
        let since = silences.iter().map(|(_, silence)| silence.since).min()?;
        let ended = silences
            .iter()
            .try_fold(0, |last: u64, (_, silence)| Some(last.max(silence.until?)));
        let suffering = Suffering::of(asking().map(|(plight, _)| Sufferer::from(*plight)));
        let mut peers: Vec<(u32, IpAddr)> = silences
            .iter()
            .map(|(endpoint, _)| (endpoint.netns, endpoint.address))
            .collect();
        peers.sort();
        peers.dedup();
        let has_peer = |key: &FlowKey| peers.binary_search(&(key.netns, key.remote)).is_ok();
        let heard = || {
            view.glances().iter().filter(|flow| {
                let key = flow.key;
                // Few have, mostly: that is asked first.
                flow.last_arrived > When::at(since)
                    && is_conversation(key)
                    && !by_inner_device(view, key, flow.iif)
            })
        };
        // Of a silence that is over they say nothing; and where nothing arrives at all there are none.
        let may_be = ended.is_none() && model.flows().last_arrived() > When::at(since);
        let (mut others, mut alive, mut live) = (0_u64, 0_u64, BTreeSet::new());
        if may_be {
            for flow in heard() {
                let key = flow.key;
                if has_peer(key) {
                    alive += 1;
                    live.insert((key.netns, key.remote));
                } else {
                    others += 1;
                }
            }
        }
        let all_alive = live.len() == peers.len();
        let answered = asking().any(|(plight, _)| plight.has_arrived)
            || silences.iter().any(|(_, silence)| silence.proven);
        let refusals = Refusals::of(model, &silences, since);
        Some(Self {
            requests: silences
                .iter()
                .map(|(_, silence)| silence.requests)
                .fold(0, u64::saturating_add),
            ended,
            others,
            alive,
            all_alive,
            refusals,
            answered,
            strays: strays(view, &suffering.flows),
            silences,
            peers,
            suffering,
            retransmitted,
            since,
            asked_by_us,
        })
    }

    /// Neighbours on uplinks by which routes lead and which do not answer: `10.10.0.1 on eth0`.
    fn silent_hops(&self, model: &Model) -> Vec<String> {
        let all = model.settings().iter().filter_map(|(netns, thing, state)| {
            let Thing::Neighbour { device, address } = thing else {
                return None;
            };
            let index = model.node().device_named(netns, device)?.index;
            let is_its = self.peers.iter().any(|(of, _)| *of == netns)
                && model.node().is_over_uplink(netns, index)
                && value::SILENT.contains(&state);
            is_its.then(|| format!("{address} on {device}"))
        });
        distinct(all)
    }

    /// Packets of these namespaces that could not leave by an uplink since the start, because the next hop is silent.
    fn unsent(&self, model: &Model) -> u64 {
        model
            .books()
            .lines()
            .filter(|(key, _)| {
                ends::next_hop_is_silent(key)
                    && model.node().is_over_uplink(key.netns, key.device)
                    && self.peers.iter().any(|(netns, _)| *netns == key.netns)
            })
            .fold(0, |packets, (_, line)| packets.saturating_add(line.packets))
    }

    /// How sure it is that the path is silent, `None` where this is no finding at all.
    fn confidence(&self) -> Option<Confidence> {
        if !self.asked_by_us {
            return (self.others + self.alive == 0 && self.ended.is_none() && self.peers.len() >= 2)
                .then_some(Confidence::Strong);
        }
        if self.ended.is_some() {
            return Some(Confidence::Strong);
        }
        if self.others + self.alive == 0 {
            let several = self.suffering.flows.len() >= 2;
            return Some(if several {
                Confidence::Conclusive
            } else {
                Confidence::Strong
            });
        }
        // Others get through. A peer that never answered may be switched off, and always have been; and one that lives and refuses
        // may have nobody any more who would answer there.
        let is_refused = self.all_alive && self.refusals.are_many(self.requests, self.since);
        Some(if self.answered && !is_refused {
            Confidence::Strong
        } else {
            Confidence::Weak
        })
    }
}

/// What came while peers were silent that refuses what this node sent: by counter. Whom each is from is not told.
pub(super) struct Refusals<'a> {
    counters: Vec<(&'a str, Spell)>,
    now: u64,
}

/// A machine refuses once a second and peer at most, where it is asked more often (`net.ipv4.icmp_ratelimit`); not each of its
/// refusals arrives.
const REFUSES: u64 = 2 * SECOND;

impl<'a> Refusals<'a> {
    /// What came in the namespaces of these silences since that time.
    pub(super) fn of(model: &'a Model, silences: &[&(Endpoint, Silence)], since: u64) -> Self {
        let namespaces: BTreeSet<u32> = silences.iter().map(|(endpoint, _)| endpoint.netns).collect();
        let is_in = |netns| namespaces.contains(&netns);
        let now = model.now();
        Self {
            counters: model.counters().refusals(is_in, since, now).collect(),
            now,
        }
    }

    /// They may be of all these requests, that have been made since then.
    fn are_many(&self, requests: u64, since: u64) -> bool {
        let packets = self.packets();
        packets.saturating_mul(2) >= requests || packets > self.now.saturating_sub(since) / REFUSES
    }

    /// How many messages.
    pub(super) fn packets(&self) -> u64 {
        let packets = self.counters.iter().map(|(_, spell)| spell.packets);
        packets.fold(0, u64::saturating_add)
    }

    /// In a sentence, with a leading space; empty where none came.
    pub(super) fn text(&self) -> String {
        match self.packets() {
            0 => String::new(),
            packets => format!(
                " {} of ICMP came meanwhile by which a peer, or a router on the way, refuses what this node sent.",
                count(packets, "message")
            ),
        }
    }

    /// The counters that tell it.
    pub(super) fn evidence(&self, model: &Model) -> impl Iterator<Item = Evidence> {
        self.counters.iter().map(|(name, spell)| {
            let (grown, since) = (thousands(spell.packets), moment(model, spell.since));
            let text = format!("{name} grew by {grown} since {since}");
            evidence::counter(name, spell.packets, text)
        })
    }
}

/// Packets that came for the sockets of these flows from other ports of their peers, and found none.
fn strays(view: &View<'_>, flows: &[FlowKey]) -> u64 {
    let ends = |key: &FlowKey| (Port::of(key), key.remote);
    let mut strays: BTreeMap<(Port, IpAddr), u64> = BTreeMap::new();
    for plight in view.befallen().dropped_by(ends::no_socket) {
        let packets = strays.entry(ends(&plight.key)).or_default();
        *packets = packets.saturating_add(plight.dropped.map_or(0, |spell| spell.packets));
    }
    if strays.is_empty() {
        return 0;
    }
    // Each counts once, however many flows of the socket ask that peer.
    let asked = flows.iter().filter_map(|key| strays.remove(&ends(key)));
    asked.fold(0, u64::saturating_add)
}

/// The flow's packets come by a device that leads to no other node.
fn by_inner_device(view: &View<'_>, key: &FlowKey, iif: u32) -> bool {
    match iif {
        0 => view
            .behind()
            .get(&key.netns)
            .is_some_and(|behind| behind.have(key.remote)),
        iif => !view.by_uplink(key.netns, iif),
    }
}

/// The flow leads to somebody, which the neighbours' own housekeeping does not.
fn is_conversation(key: &FlowKey) -> bool {
    let neighbour = effects::is_link_local(key.remote);
    let message = matches!(key.protocol, Protocol::Icmp | Protocol::Icmp6) && key.local_port == 0;
    !neighbour && !message && !key.local.is_multicast()
}

/// A peer that does not answer.
pub(super) fn endpoint(model: &Model, endpoint: Endpoint, silence: Silence) -> Evidence {
    let Endpoint {
        protocol,
        address,
        port,
        ..
    } = endpoint;
    let at_port = if port == 0 {
        String::new()
    } else {
        format!(" port {port}")
    };
    let until = silence.until.unwrap_or(model.now());
    let before = if silence.proven { "; it used to answer" } else { "" };
    let lasted = until.saturating_sub(silence.since);
    let text = format!(
        "{protocol} {address}{at_port}: {} unanswered for {}{before}",
        count(silence.requests, "request"),
        span(lasted)
    );
    let peer = (protocol.to_string(), address.to_string(), port);
    evidence::peer(peer, silence.requests, lasted, text)
}
