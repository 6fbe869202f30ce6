//! Servers of this node whose packets a rule of a firewall leads elsewhere since it came.
//!
//! Where they are led to and answered there all is well, and the rule is there on purpose. What is led elsewhere is forwarded, and
//! whether it is answered no program tells of each flow. So it is told by what arrives: who is not answered opens a connection by the
//! same segment again and again, and gets no further.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::gone_rules::{leads_elsewhere, may_tell_of_leading};
use super::matching::Fit;
use super::redirects;
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, distinct, list, moment, owner};
use super::{About, Finding, Rule, View, effects, evidence};
use crate::event::ruleset::{self, Came, Did};
use crate::event::value::NF_TABLES;
use crate::event::{Family, FlowKey, Origin, Protocol, Thing};
use crate::model::Model;
use crate::model::clock::{SECOND, When};
use crate::model::flows::Flow;
use crate::model::queues::Port;
use crate::model::timeline::Subject;
use crate::report::{Confidence, Where};

/// R41: what is for a server here is led elsewhere, and not answered there.
pub(super) const LED_AWAY: Rule = Rule {
    id: "R41",
    slug: "service-led-away",
    title: "A rule that came leads packets away from a server of this node, to where nobody answers",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "A rule of nf_tables with `redirect`, `dnat` or `tproxy` came that is for a port at which a server of this node \
                    listens over TCP and was asked. Since then no new connection reaches it at one of its addresses, and of peers that \
                    it had served there 3 connections or more in 2 s or more get no further than what opens them.",
        meaning: "The rule leads what is for the server to another port or address, as a proxy or a published port of a container \
                  does. Nobody listens there, or no answer comes back from there. The server itself is well.",
        check: &[
            "nft -a list ruleset",
            "conntrack -L -p tcp --dport PORT  # where they are led to",
            "ss -lntp",
        ],
        mend: &[
            "Delete the rule that came, as the verdict says, or start what it leads to. Risk: it may be there on purpose; ask whose \
             it is.",
        ],
    },
    examine: led_away,
    explains: effects::leads_away,
    proved_by: effects::none,
    follows: &[],
};

/// What was on its way when the rule came reaches the server so late, at most.
const LATE: u64 = 2 * SECOND;
/// Connections that must have got no further, and the time that they must span.
const CONNECTIONS: usize = 3;
const LASTING: u64 = 2 * SECOND;
/// A connection that was served had so many packets of the peer's at least: the three by which it is opened, and a question or its
/// end.
const SERVED: u64 = 4;
/// Rules that came, which are held against the servers, at most: the latest.
const RULES: usize = 256;

/// A rule that came and leads elsewhere.
struct Led {
    netns: u32,
    at: u64,
    family: Family,
    words: String,
}

/// Those that stand, the latest first.
fn rules(model: &Model) -> Vec<Led> {
    let mut gone: BTreeSet<(u32, String)> = BTreeSet::new();
    let mut all: Vec<Led> = Vec::new();
    for (_, change) in model.timeline().all().rev() {
        let Subject::Setting(netns, Thing::Ruleset { firewall }) = &change.subject else {
            continue;
        };
        let after = change.after.as_deref().unwrap_or_default();
        if firewall != NF_TABLES || !may_tell_of_leading(after) {
            continue;
        }
        let mut came = Vec::new();
        for did in ruleset::read(after) {
            match did {
                Some(Did::Rule {
                    table,
                    words,
                    came: Came::New,
                    ..
                }) if leads_elsewhere(&words) => came.push((table.family, words)),
                // It went later, or was loaded anew.
                Some(Did::Rule {
                    words,
                    came: Came::Gone,
                    ..
                }) => {
                    gone.insert((*netns, words));
                }
                _ => {}
            }
        }
        for (family, words) in came {
            if !gone.contains(&(*netns, words.clone())) {
                all.push(Led {
                    netns: *netns,
                    at: change.at,
                    family,
                    words,
                });
            }
        }
        if all.len() >= RULES {
            break;
        }
    }
    all
}

/// An address of a server, and the connections to it that got no further since the rule came.
struct Away<'a> {
    rule: &'a Led,
    flows: Vec<FlowKey>,
    since: u64,
    last: u64,
    packets: u64,
    /// Somebody got further, or reached the server by a connection that was opened since.
    is_answered: bool,
}

impl<'a> Away<'a> {
    fn by(rule: &'a Led) -> Self {
        Self {
            rule,
            flows: Vec::new(),
            since: u64::MAX,
            last: 0,
            packets: 0,
            is_answered: false,
        }
    }
}

/// The latest rule for each port at which a server listens that was asked before.
fn servers<'a>(model: &Model, rules: &'a [Led]) -> BTreeMap<Port, &'a Led> {
    let mut all = BTreeMap::new();
    for (port, address, bound) in model.sockets().bound_sockets() {
        if port.protocol != Protocol::Tcp || bound.closed.is_some() || all.contains_key(&port) {
            continue;
        }
        if model.last_served(port).is_none() {
            continue;
        }
        let is_its = |rule: &&Led| {
            let address = address_of(rule.family, address);
            rule.netns == port.netns
                && bound.opened < rule.at
                && redirects::leads(rule.family, &rule.words, port.protocol, port.number, address)
                    == Some(Fit::Surely)
        };
        if let Some(rule) = rules.iter().find(is_its) {
            all.insert(port, rule);
        }
    }
    all
}

/// An address of the version that rules of this family are for, where a server listens at any. For which own address a rule is, the
/// flows tell.
fn address_of(family: Family, address: IpAddr) -> IpAddr {
    match family {
        Family::Ip if address.is_unspecified() => IpAddr::from([0; 4]),
        _ => address,
    }
}

/// It is one that no answer came for: TCP opens a connection again after a second or more each time.
fn is_stuck(flow: &Flow, since: u64) -> bool {
    let last = flow.last_arrived.time().unwrap_or(since);
    flow.arrived <= 2 + last.saturating_sub(since) / SECOND
}

fn led_away(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let rules = rules(model);
    if rules.is_empty() {
        return None;
    }
    let servers = servers(model, &rules);
    if servers.is_empty() {
        return None;
    }
    let is_for_one = |key: &FlowKey, flow: &Flow| {
        flow.origin != Origin::Local
            && servers.contains_key(&Port::of(key))
            && view.by_uplink(key.netns, flow.iif)
    };
    let flows: Vec<_> = view.flows(is_for_one).collect();
    let served = flows
        .iter()
        .filter(|(_, flow, _)| flow.has_reached() && flow.matched >= SERVED);
    let known: BTreeSet<(Port, IpAddr, IpAddr)> = served.map(|(key, ..)| peer(key)).collect();
    let mut all: BTreeMap<(Port, IpAddr), Away<'_>> = BTreeMap::new();
    for (key, flow, _) in &flows {
        let port = Port::of(key);
        let Some(rule) = servers.get(&port).copied() else {
            continue;
        };
        let leads = || redirects::leads(rule.family, &rule.words, port.protocol, port.number, key.local);
        if flow.last_arrived <= When::at(rule.at) || leads().is_none() {
            continue;
        }
        let away = all.entry((port, key.local)).or_insert_with(|| Away::by(rule));
        if flow.has_reached() {
            // Open connections go on as they were (`nf_nat_inet_fn` asks no rule for them).
            let connection = model.sockets().connection(key);
            away.is_answered |=
                connection.is_some_and(|connection| connection.since > rule.at.saturating_add(LATE));
            continue;
        }
        let hunger = flow.hunger();
        let Some(hunger) = hunger.filter(|hunger| hunger.since.saturating_add(SECOND) >= rule.at) else {
            continue;
        };
        if !is_stuck(flow, hunger.since) {
            away.is_answered = true;
        } else if known.contains(&peer(key)) {
            away.flows.push(**key);
            away.packets = away.packets.saturating_add(flow.arrived);
            away.since = away.since.min(hunger.since);
            away.last = away.last.max(flow.last_arrived.time().unwrap_or(hunger.last));
        }
    }
    let lasts = |(_, away): &(&(Port, IpAddr), &Away<'_>)| {
        !away.is_answered
            && away.flows.len() >= CONNECTIONS
            && away.last.saturating_sub(away.since) >= LASTING
    };
    let ((port, _), away) = all
        .iter()
        .filter(lasts)
        .max_by_key(|(_, away)| away.flows.len())?;
    finding(view, *port, away)
}

/// Who asks a server, and by which of its addresses.
fn peer(key: &FlowKey) -> (Port, IpAddr, IpAddr) {
    (Port::of(key), key.local, key.remote)
}

fn finding(view: &View<'_>, port: Port, away: &Away<'_>) -> Option<Finding> {
    let model = view.model;
    let mut sufferer = Sufferer::in_turn(model);
    let flows = view.flows(|key, _| away.flows.binary_search(key).is_ok());
    let suffering = Suffering::of(flows.map(&mut sufferer));
    let peers: BTreeSet<IpAddr> = away.flows.iter().map(|key| key.remote).collect();
    let server = suffering
        .owner()
        .map_or_else(String::new, |one| format!(" ({})", owner(one)));
    let explanation = format!(
        "A rule that leads packets elsewhere came at {}: {}. It is for {} {}, at which a server of this node listens{server}. {} of \
         {}, which it had served, got no further since than their first packets ({}): they are led to where nobody answers, and none \
         that was opened since has reached the server.",
        moment(model, away.rule.at),
        away.rule.words,
        port.protocol,
        port.number,
        count(away.flows.len() as u64, "connection"),
        list(&distinct(peers.iter().map(ToString::to_string))),
        count(away.packets, "packet"),
    );
    let told = away.flows.iter().rev().take(3);
    let evidence = told.filter_map(|key| Some(evidence::flow(model, key, model.flows().get(key)?)));
    let line = |text: &str| command(model, port.netns, text);
    Some(Finding {
        confidence: Confidence::Strong,
        explanation,
        since: away.since.max(away.rule.at),
        last: away.last,
        evidence: evidence.collect(),
        units: suffering.units([]),
        flows: suffering.flows,
        namespaces: BTreeSet::from([port.netns]),
        devices: BTreeSet::new(),
        standing: None,
        prevent: Vec::new(),
        check: vec![
            line("nft -a list ruleset"),
            line(&format!("conntrack -L -p tcp --dport {}", port.number)),
        ],
        remedy: vec![
            "Delete the rule that came, or start what it leads to. Risk: it may be there on purpose; ask whose it is."
                .to_owned(),
        ],
    })
}
