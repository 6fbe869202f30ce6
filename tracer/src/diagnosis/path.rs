//! The way to the node: requests are made and no answer arrives.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use super::suffering::Suffering;
use super::words::{count, distinct, list, span};
use super::{About, Finding, Rule, effects, evidence, inside};
use crate::event::{FlowKey, Protocol, Thing, value};
use crate::model::Model;
use crate::model::clock::When;
use crate::model::endpoints::{Endpoint, Silence};
use crate::model::ends;
use crate::model::queues::Port;
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
                    dropped here. Where the next hop does not tell its link-layer address they do not even leave.",
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
    examine: |view| silent(view.model),
    explains: effects::requests,
    proved_by: effects::none,
    follows: &[
        "R01", "R03", "R04", "R05", "R22", "D02", "R09", "R11", "R20", "R23", "R30", "R31", "R33",
    ],
};

fn silent(model: &Model) -> Option<Finding> {
    if !model.can(ARRIVALS) {
        return None;
    }
    let case = Case::of(model)?;
    let confidence = case.confidence(model)?;
    let since = model
        .silence()
        .map_or(case.since, |spell| spell.since.min(case.since));

    let lasts = match case.ended {
        None => format!(
            "for {} nothing has come back from there",
            span(model.now().saturating_sub(since))
        ),
        Some(until) => format!(
            "for {} nothing came back from there, until it answered",
            span(until.saturating_sub(since))
        ),
    };
    let reach = match (case.ended, case.others) {
        (Some(_), _) => String::new(),
        (None, 0) => " Nothing arrived for any other flow in this time either.".to_owned(),
        (None, others) => format!(
            " Only some peers are silent: packets of {} with others arrived in this time.",
            count(others, "flow")
        ),
    };
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
        "This node made {} to {}, and {lasts}; {dropped}.{reach}{hop}{}",
        count(case.requests, "request"),
        peers(&case.peers),
        case.suffering.affected()
    );

    let mut evidence: Vec<Evidence> = case
        .silences
        .iter()
        .take(5)
        .map(|(e, s)| endpoint(model, *e, *s))
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
    let arrived = model.totals().ledger.arrived;
    let before = model.history().before(model.now()).ledger.arrived;
    let text = format!(
        "{} arrived since the start, {} of them in the last 2 s",
        count(arrived, "packet"),
        arrived.saturating_sub(before)
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
    for netns in case
        .peers
        .iter()
        .map(|(netns, _)| *netns)
        .collect::<BTreeSet<_>>()
    {
        check.push(super::words::command(model, netns, "ip neigh"));
        check.push(super::words::command(model, netns, "ip -s link"));
        check.push(format!(
            "{}  # must show `lookup local`: else this node does not answer ARP",
            super::words::command(model, netns, "ip rule")
        ));
    }

    Some(Finding {
        confidence,
        explanation,
        since,
        last: case.ended.unwrap_or(model.now()),
        evidence,
        namespaces: case.peers.iter().map(|(netns, _)| *netns).collect(),
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

/// What is silent, all together.
struct Case<'a> {
    silences: Vec<(Endpoint, Silence)>,
    peers: BTreeSet<(u32, IpAddr)>,
    suffering: Suffering<'a>,
    requests: u64,
    /// What came to the same sockets from other ports of these peers, and was not for them.
    strays: u64,
    /// Retransmissions of these flows since the start.
    retransmitted: u64,
    since: u64,
    /// When the last of them answered, where all did.
    ended: Option<u64>,
    /// Flows of other peers that received something meanwhile.
    others: u64,
    /// Some of the flows were opened by this node.
    asked_by_us: bool,
}

impl<'a> Case<'a> {
    fn of(model: &'a Model) -> Option<Self> {
        let now = model.now();
        let mut silences: Vec<(Endpoint, Silence)> = model.endpoints().silences(now).collect();
        // What lasts outranks what is over.
        if silences.iter().any(|(_, silence)| silence.until.is_none()) {
            silences.retain(|(_, silence)| silence.until.is_none());
        }
        if silences.is_empty() {
            return None;
        }
        let found: HashMap<Endpoint, Silence> = silences.iter().copied().collect();
        let mut ours = Vec::new();
        let mut served = Vec::new();
        for (key, flow) in model.flows().iter() {
            let Some(silence) = found.get(&Endpoint::of(key)) else {
                continue;
            };
            let asking = match silence.until {
                None => flow.asked >= When::at(silence.since),
                Some(until) => flow.last_arrived >= When::at(until),
            };
            // This node's own rules keep what is asked from leaving: nobody else can answer it.
            let held_back =
                flow.last_sent < When::at(silence.since) && model.books().holds_back(key.netns, now);
            if !asking
                || held_back
                || flow.drops.recent(now).is_some()
                || by_inner_device(model, key, flow.iif)
            {
                continue;
            }
            if flow.arrived == 0 || model.is_reply(key, flow) {
                ours.push((key, flow));
            } else {
                served.push((key, flow));
            }
        }
        // Clients that go away without a word are a server's daily bread; they count where nothing is heard
        // from anybody.
        let asked_by_us = !ours.is_empty();
        let asking = if asked_by_us { ours } else { served };
        let retransmitted = asking
            .iter()
            .map(|(_, flow)| flow.retransmitted)
            .fold(0, u64::saturating_add);
        let suffering = Suffering::of(model, asking.into_iter());
        let endpoints: HashSet<Endpoint> = suffering.flows.iter().map(Endpoint::of).collect();
        silences.retain(|(endpoint, _)| endpoints.contains(endpoint));
        let since = silences.iter().map(|(_, silence)| silence.since).min()?;
        let ended = silences
            .iter()
            .map(|(_, silence)| silence.until)
            .collect::<Option<Vec<u64>>>();
        let peers: BTreeSet<(u32, IpAddr)> = silences
            .iter()
            .map(|(endpoint, _)| (endpoint.netns, endpoint.address))
            .collect();
        let asked: BTreeSet<_> = suffering
            .flows
            .iter()
            .map(|key| (Port::of(key), key.remote))
            .collect();
        let strays = model
            .flows()
            .iter()
            .filter(|(key, flow)| {
                // Few are: that is asked first.
                flow.dropped_by(now, ends::no_socket) && asked.contains(&(Port::of(key), key.remote))
            })
            .map(|(_, flow)| flow.drops.recent(now).map_or(0, |spell| spell.packets))
            .fold(0, u64::saturating_add);
        let others = model
            .flows()
            .iter()
            .filter(|(key, flow)| {
                flow.last_arrived > When::at(since)
                    && !by_inner_device(model, key, flow.iif)
                    && is_conversation(key)
                    && !peers.contains(&(key.netns, key.remote))
            })
            .count();
        Some(Self {
            requests: silences
                .iter()
                .map(|(_, silence)| silence.requests)
                .fold(0, u64::saturating_add),
            ended: ended.and_then(|ends| ends.into_iter().max()),
            others: u64::try_from(others).unwrap_or(u64::MAX),
            silences,
            peers,
            suffering,
            strays,
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
    fn confidence(&self, model: &Model) -> Option<Confidence> {
        if !self.asked_by_us {
            return (self.others == 0 && self.ended.is_none() && self.peers.len() >= 2)
                .then_some(Confidence::Strong);
        }
        if self.ended.is_some() {
            return Some(Confidence::Strong);
        }
        if self.others == 0 {
            let several = self.suffering.flows.len() >= 2;
            return Some(if several {
                Confidence::Conclusive
            } else {
                Confidence::Strong
            });
        }
        // Others get through. A peer that never answered may be switched off, and always have been.
        let answered = model
            .flows()
            .iter()
            .any(|(key, flow)| flow.arrived > 0 && self.peers.contains(&(key.netns, key.remote)));
        Some(if answered {
            Confidence::Strong
        } else {
            Confidence::Weak
        })
    }
}

/// The addresses, of which there may be very many.
fn peers(peers: &BTreeSet<(u32, IpAddr)>) -> String {
    let mut addresses: Vec<IpAddr> = peers.iter().map(|(_, address)| *address).collect();
    addresses.dedup();
    match addresses.as_slice() {
        few if few.len() <= 3 => list(&distinct(few.iter().map(ToString::to_string))),
        [first, second, third, rest @ ..] => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        _ => String::new(),
    }
}

/// The flow's packets come by a device that leads to no other node.
pub(super) fn by_inner_device(model: &Model, key: &FlowKey, iif: u32) -> bool {
    match iif {
        0 => inside::is_behind(model, key.netns, key.remote),
        iif => !model.node().is_over_uplink(key.netns, iif),
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
