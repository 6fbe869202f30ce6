//! The way to the node: requests leave and nothing arrives.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::words::{affected, count, distinct, list, span};
use super::{Finding, Rule, seen};
use crate::event::{FlowKey, Protocol};
use crate::model::Model;
use crate::model::endpoints::{Endpoint, Silence};
use crate::report::{Confidence, Evidence, Where};

/// The capability that counts arrivals: without it silence says nothing.
pub(super) const ARRIVALS: &str = "arrivals";

/// D01: requests leave, nothing arrives, nothing of it was dropped here.
pub(super) const SILENT: Rule = Rule {
    id: "D01",
    slug: "silent-path",
    title: "Requests leave and nothing arrives",
    place: Where::DataPath,
    examine: silent,
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
    let peers = distinct(case.peers.iter().map(|(_, peer)| peer.to_string()));

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
    let explanation = format!(
        "This node sent {} to {}, and {lasts}; no reply was dropped here.{reach}{}",
        count(case.requests, "request"),
        list(&peers),
        affected(model, &case.flows)
    );

    let mut evidence: Vec<Evidence> = case
        .silences
        .iter()
        .take(5)
        .map(|(e, s)| endpoint(model, *e, *s))
        .collect();
    let retransmitted: u64 = case
        .flows
        .iter()
        .filter_map(|key| model.flows().get(key))
        .map(|flow| flow.retransmitted)
        .fold(0, u64::saturating_add);
    if retransmitted > 0 {
        evidence.push(seen(
            "flow",
            format!(
                "{} by TCP since the start",
                count(retransmitted, "retransmission")
            ),
        ));
    }
    let arrived = model.totals().ledger.arrived;
    let before = model.history().before(model.now()).ledger.arrived;
    evidence.push(seen(
        "ledger",
        format!(
            "{} arrived since the start, {} of them in the last 2 s",
            count(arrived, "packet"),
            arrived.saturating_sub(before)
        ),
    ));

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
        evidence,
        flows: case.flows,
        units: Vec::new(),
        check,
        remedy: vec![
            "Look outside this node: the peer, the router, the provider's network, its firewall. Nothing has \
             to be changed here first."
                .to_owned(),
        ],
    })
}

/// What is silent, all together.
struct Case {
    silences: Vec<(Endpoint, Silence)>,
    peers: BTreeSet<(u32, IpAddr)>,
    flows: Vec<FlowKey>,
    requests: u64,
    since: u64,
    /// When the last of them answered, where all did.
    ended: Option<u64>,
    /// Flows of other peers that received something meanwhile.
    others: u64,
    /// Some of the flows were opened by this node.
    asked_by_us: bool,
}

impl Case {
    fn of(model: &Model) -> Option<Self> {
        let now = model.now();
        let mut silences: Vec<(Endpoint, Silence)> = model.endpoints().silences(now).collect();
        // What lasts outranks what is over.
        if silences.iter().any(|(_, silence)| silence.until.is_none()) {
            silences.retain(|(_, silence)| silence.until.is_none());
        }
        let find = |key: &FlowKey| {
            let endpoint = Endpoint::of(key);
            silences
                .binary_search_by(|(known, _)| known.cmp(&endpoint))
                .ok()
                .map(|at| silences[at].1)
        };
        let mut ours = Vec::new();
        let mut served = Vec::new();
        for (key, flow) in model.flows().iter() {
            let Some(silence) = find(key) else { continue };
            let asking = match silence.until {
                None => flow.asked >= Some(silence.since),
                Some(until) => flow.last_arrived >= Some(until),
            };
            if !asking || flow.drops.recent(now).is_some() || by_inner_device(model, key, flow.iif) {
                continue;
            }
            if model.is_reply(key, flow) || flow.arrived == 0 {
                ours.push((silence.since, *key));
            } else {
                served.push((silence.since, *key));
            }
        }
        // Clients that go away without a word are a server's daily bread; they count where nothing is heard
        // from anybody.
        let asked_by_us = !ours.is_empty();
        let mut flows = if asked_by_us { ours } else { served };
        flows.sort_unstable_by_key(|(since, key)| (*since, *key));
        let flows: Vec<FlowKey> = flows.into_iter().map(|(_, key)| key).collect();
        let endpoints: BTreeSet<Endpoint> = flows.iter().map(Endpoint::of).collect();
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
        let others = model
            .flows()
            .iter()
            .filter(|(key, flow)| {
                flow.last_arrived > Some(since)
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
            flows,
            since,
            asked_by_us,
        })
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
            let several = self.flows.len() >= 2;
            return Some(if several {
                Confidence::Conclusive
            } else {
                Confidence::Strong
            });
        }
        // Others get through. A peer that never answered may be switched off, and always have been.
        let answered = |(netns, peer): &(u32, IpAddr)| {
            model
                .flows()
                .iter()
                .any(|(key, flow)| key.netns == *netns && key.remote == *peer && flow.arrived > 0)
        };
        Some(if self.peers.iter().any(answered) {
            Confidence::Strong
        } else {
            Confidence::Weak
        })
    }
}

/// The flow's packets come by a device that leads to no other node.
fn by_inner_device(model: &Model, key: &FlowKey, iif: u32) -> bool {
    iif != 0 && !model.node().is_uplink(key.netns, iif)
}

/// The flow leads to somebody, which the neighbours' own housekeeping does not.
fn is_conversation(key: &FlowKey) -> bool {
    let neighbour = match key.remote {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let message = matches!(key.protocol, Protocol::Icmp | Protocol::Icmp6) && key.local_port == 0;
    !neighbour && !message && !key.local.is_multicast()
}

fn endpoint(model: &Model, endpoint: Endpoint, silence: Silence) -> Evidence {
    let Endpoint {
        protocol,
        address,
        port,
        ..
    } = endpoint;
    let port = if port == 0 {
        String::new()
    } else {
        format!(" port {port}")
    };
    let until = silence.until.unwrap_or(model.now());
    let before = if silence.proven { "; it used to answer" } else { "" };
    seen(
        "flow",
        format!(
            "{protocol} {address}{port}: {} unanswered for {}{before}",
            count(silence.requests, "request"),
            span(until.saturating_sub(silence.since))
        ),
    )
}
