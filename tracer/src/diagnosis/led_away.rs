//! Servers of this node whose packets a rule of a firewall leads elsewhere since it came.
//!
//! Where they are led to and answered there all is well, and the rule is there on purpose. What is led elsewhere is forwarded, and
//! whether it is answered no program tells of each flow. So it is told by what arrives: who is not answered opens a connection by the
//! same segment again and again, and gets no further.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::firewalls::arriving;
use super::gone_rules::Translation;
use super::matching::{Fit, Packet};
use super::redirects::Leading;
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, distinct, list, moment, owner};
use super::{About, Finding, Rule, View, effects, evidence};
use crate::event::{Device, FlowKey, Origin, Protocol, Version};
use crate::model::Model;
use crate::model::clock::{SECOND, When};
use crate::model::ends;
use crate::model::flows::Flow;
use crate::model::queues::Port;
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
                    it had served there 2 connections or more in 1.5 s or more get no further than what opens them.",
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
const CONNECTIONS: usize = 2;
const LASTING: u64 = SECOND * 3 / 2;
/// A connection that was served had so many packets of the peer's at least: the three by which it is opened, and a question or its
/// end.
const SERVED: u64 = 4;
/// Rules that are held against what is for one port, at most: the latest.
const RULES: usize = 16;

/// A rule that came, stands and leads elsewhere.
struct Led<'a> {
    rule: &'a Translation,
    leading: Leading,
    /// What it asks of the device by which packets arrive, each of which must hold.
    devices: Vec<Arriving<'a>>,
}

/// What a rule asks of that device.
enum Arriving<'a> {
    By { is: bool, name: &'a str },
    ByIndex { is: bool, index: &'a str },
}

impl<'a> Led<'a> {
    /// `None` where what it is for cannot be told.
    fn of(rule: &'a Translation) -> Option<Self> {
        Some(Self {
            rule,
            leading: Leading::of(rule.family, &rule.words)?,
            devices: Arriving::read(&rule.words)?,
        })
    }

    /// It surely leads elsewhere what arrives of this flow by a device for which it is.
    fn leads(&self, key: &FlowKey) -> bool {
        self.rule.netns == key.netns && self.leading.leads(&arriving(key)) == Some(Fit::Surely)
    }

    /// It is for what arrives by this device.
    fn is_by(&self, model: &Model, device: u32) -> bool {
        let is_by = |asked: &Arriving<'_>| asked.is_by(model, self.rule.netns, device);
        self.devices.iter().all(is_by)
    }

    /// It leads elsewhere what arrives from somebody at this port, where a server listens at this address or at any. For which own
    /// address it is, and from whom, the flows tell.
    fn is_for(&self, port: Port, address: IpAddr) -> bool {
        let leads = |version| {
            self.leading.leads(&Packet {
                version,
                protocol: port.protocol,
                source: (None, None),
                destination: (
                    Some(address).filter(|one| !one.is_unspecified()),
                    Some(port.number),
                ),
            })
        };
        // Who listens at any address of IPv6 may do so at those of IPv4 (`ipv6_only_sock`).
        let both = [Version::V4, Version::V6];
        let versions = both
            .into_iter()
            .filter(|version| address.is_unspecified() || *version == Version::of(address));
        self.rule.netns == port.netns && versions.map(leads).any(|leads| leads == Some(Fit::Surely))
    }
}

impl<'a> Arriving<'a> {
    /// By the words of a rule; `None` where one of them is no single device, as with a set.
    fn read(words: &'a str) -> Option<Vec<Self>> {
        let (mut all, mut words) = (Vec::new(), words.split(' '));
        while let Some(word) = words.next() {
            if !["iif", "iifname"].contains(&word) {
                continue;
            }
            let (is, name) = match words.next()? {
                "!=" => (false, words.next()?),
                "in" | "not" | "." | "map" | "vmap" | "<" | "<=" | ">" | ">=" => return None,
                name => (true, name),
            };
            all.push(match word {
                "iif" => Self::ByIndex { is, index: name },
                _ => Self::By { is, name },
            });
        }
        Some(all)
    }

    /// What arrives by this device, or by what stands on it, as a bond on its ports.
    fn is_by(&self, model: &Model, netns: u32, device: u32) -> bool {
        let mut devices = model.node().standing_on(netns, device);
        match *self {
            // Without its end it is the beginning of a name (`nft_meta_store_ifname`).
            Self::By { is, name } => {
                let is_named = |device: &Device| match name.strip_suffix('*') {
                    Some(beginning) => device.name.starts_with(beginning),
                    None => device.name == name,
                };
                devices.any(is_named) == is
            }
            Self::ByIndex { is, index } => {
                let index: Option<u32> = index.parse().ok();
                devices.any(|device| Some(device.index) == index) == is
            }
        }
    }
}

/// An address of a server, and the connections to it that got no further since the rule came.
struct Away<'a> {
    rule: &'a Translation,
    flows: Vec<FlowKey>,
    since: u64,
    last: u64,
    packets: u64,
    /// Somebody got further, or reached the server by a connection that was opened since.
    is_answered: bool,
}

impl<'a> Away<'a> {
    fn by(rule: &'a Translation) -> Self {
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

/// The latest rules that may be for a port at which a server listens that was asked before, by that port.
fn servers<'a>(model: &Model, rules: &'a [Led<'a>]) -> BTreeMap<Port, Vec<(usize, &'a Led<'a>)>> {
    let mut all: BTreeMap<Port, Vec<(usize, &Led<'_>)>> = BTreeMap::new();
    for (port, address, bound) in model.sockets().bound_sockets() {
        if port.protocol != Protocol::Tcp || bound.closed.is_some() || all.contains_key(&port) {
            continue;
        }
        if !model.was_served(port) {
            continue;
        }
        let its = rules
            .iter()
            .enumerate()
            .filter(|(_, led)| bound.opened < led.rule.at && led.is_for(port, address))
            .take(RULES);
        let its: Vec<_> = its.collect();
        if !its.is_empty() {
            all.insert(port, its);
        }
    }
    all
}

/// It is one that no answer came for: TCP opens a connection again after a second or more each time.
fn is_stuck(flow: &Flow, since: u64) -> bool {
    let last = flow.last_arrived.time().unwrap_or(since);
    flow.arrived <= 2 + last.saturating_sub(since) / SECOND
}

/// Its packets were dropped for another cause than that nobody listens where they are led, as where the server's queue is full.
fn ends_otherwise(flow: &Flow) -> bool {
    flow.last_drop()
        .is_some_and(|(reason, _)| reason != ends::NO_SOCKET)
}

fn led_away(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let rules: Vec<Led<'_>> = view.gone_rules().standing().filter_map(Led::of).collect();
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
    // By the place of the rule too: one may be for one client, and another for the next.
    let mut all: BTreeMap<(Port, IpAddr, usize), Away<'_>> = BTreeMap::new();
    // They are asked for of many flows, and few devices.
    let mut devices: BTreeMap<(usize, u32), bool> = BTreeMap::new();
    for (key, flow, _) in &flows {
        let port = Port::of(key);
        let mut its = servers.get(&port).into_iter().flatten();
        let mut is_by = |place: usize, led: &Led<'_>| {
            let find = || led.is_by(model, flow.iif);
            *devices.entry((place, flow.iif)).or_insert_with(find)
        };
        let its = its.find(|(place, led)| led.leads(key) && is_by(*place, led));
        let Some((place, led)) = its else {
            continue;
        };
        let rule = led.rule;
        if flow.last_arrived <= When::at(rule.at) || ends_otherwise(flow) {
            continue;
        }
        let away = all
            .entry((port, key.local, *place))
            .or_insert_with(|| Away::by(rule));
        if flow.has_reached() {
            // Open connections go on as they were (`nf_nat_inet_fn` asks no rule for them).
            let connection = model.sockets().connection(key);
            away.is_answered |=
                connection.is_some_and(|connection| connection.began_after(rule.at.saturating_add(LATE)));
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
    let lasts = |(_, away): &(&(Port, IpAddr, usize), &Away<'_>)| {
        !away.is_answered
            && away.flows.len() >= CONNECTIONS
            && away.last.saturating_sub(away.since) >= LASTING
    };
    let ((port, ..), away) = all
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
