//! What this node sends, and a rule of its firewall gives another source address, which it does not have.
//!
//! Where the rule came while tracer looked, R37 tells of it. Rules that stood at the start are not read; but a flow that leaves so has a
//! twin: the one that the socket knows, with the same ports and an address of this node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::path::{self, ARRIVALS};
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::ways::{self, forget, tracked};
use super::words::{command, count, distinct, list};
use super::{About, Finding, Rule, View, effects, evidence};
use crate::event::{FlowKey, Protocol, value};
use crate::model::Model;
use crate::model::clock::When;
use crate::model::latest::Latest;
use crate::model::plight::Plight;
use crate::report::{Confidence, Where};

/// R42: what is sent leaves from an address that is not this node's.
pub(super) const SOURCE: Rule = Rule {
    id: "R42",
    slug: "source-not-its-own",
    title: "What this node sends leaves from an address that it does not have, and nothing comes back",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Requests of this node leave by an uplink from an address that no device of it has, at least two of them with the \
                    ports of connections that sockets of it open from its own address; nobody who was asked so answers, and nothing \
                    has arrived for that address. A weak sign where nobody else is answered; and \
                    where only one peer is asked so, which answers nothing else either, and the address is of no network on a link.",
        meaning: "A rule of the firewall translates the source (snat, SNAT), or did when these connections began. What comes back for that \
                  address does not come to this node, unless somebody leads it here; the sockets wait in vain.",
        check: &[
            "nft -a list ruleset; iptables-save -t nat; ip6tables-save -t nat",
            "conntrack -L --src-nat ADDRESS  # with -f ipv6 for one of IPv6",
            "ip address show to ADDRESS",
        ],
        mend: &[
            "Delete the rule that translates, or let it name an address that this node has (masquerade). Risk: it may be there on \
             purpose, where others lead that address to this node; ask whose it is.",
            "conntrack -D --src-nat ADDRESS  # Once the rule is gone: what began with it keeps that address. Risk: low.",
        ],
    },
    examine: translated,
    explains: effects::led_astray,
    proved_by: effects::none,
    follows: &["R37", "R04", "R22", "D02", "R36"],
};

/// Flows of one source address that must have a twin.
const TWINS: usize = 2;

/// What leaves from an address that this node does not have.
#[derive(Default)]
struct Leaving<'a> {
    asking: Vec<path::Asking<'a>>,
    /// What the sockets know of them, where a flow has a twin; it itself, where not.
    known: Vec<&'a Plight>,
    /// The addresses of this node from which the sockets sent it.
    own: BTreeSet<IpAddr>,
    twins: usize,
}

/// What two flows share of which one is the other with its source translated. Ports stay where they are free
/// (`nf_nat_l4proto_unique_tuple`, net/netfilter/nf_nat_core.c).
type Asked = (u32, Protocol, u16, IpAddr, u16);

fn asked(key: &FlowKey) -> Asked {
    (
        key.netns,
        key.protocol,
        key.local_port,
        key.remote,
        key.remote_port,
    )
}

/// All of it, by namespace and address.
fn all<'a>(view: &View<'a>) -> BTreeMap<(u32, IpAddr), Leaving<'a>> {
    // Mostly there are none.
    if !view.befallen().ask_from_elsewhere_too {
        return BTreeMap::new();
    }
    let node = view.model.node();
    let mut known = Latest::default();
    let mut is_own = |key: &FlowKey| {
        let from = (key.netns, key.local);
        known.of(from, || node.has_address(from.0, from.1))
    };
    let (own, others): (Vec<_>, Vec<_>) = view
        .asking()
        .iter()
        .copied()
        .partition(|(plight, _)| is_own(&plight.key));
    let mut twins: HashMap<Asked, Option<&'a Plight>, RandomState> = HashMap::default();
    for (plight, _) in &others {
        twins.insert(asked(&plight.key), None);
    }
    for (plight, _) in own {
        if let Some(twin) = twins.get_mut(&asked(&plight.key)) {
            *twin = Some(plight);
        }
    }
    let mut all: BTreeMap<(u32, IpAddr), Leaving<'a>> = BTreeMap::new();
    for (plight, place) in others {
        let twin = twins.get(&asked(&plight.key)).copied().flatten();
        let leaving = all.entry((plight.key.netns, plight.key.local)).or_default();
        leaving.asking.push((plight, place));
        leaving.twins += usize::from(twin.is_some());
        leaving.own.extend(twin.map(|twin| twin.key.local));
        leaving.known.push(twin.unwrap_or(plight));
    }
    all.retain(|_, leaving| leaving.twins >= TWINS);
    all
}

/// Something of an address of this node was answered since, by one of these peers.
fn are_there(model: &Model, netns: u32, peers: &BTreeSet<IpAddr>, since: u64) -> bool {
    let mut flows = model.flows().iter();
    flows.any(|(key, flow)| {
        flow.last_arrived > When::at(since)
            && key.netns == netns
            && peers.contains(&key.remote)
            && model.node().has_address(netns, key.local)
    })
}

/// The address is of a network that is on a link of this node: who asks there for its link-layer address is told none.
fn is_on_link(model: &Model, netns: u32, address: IpAddr) -> bool {
    let route = model.settings().route(netns, address);
    // What leads everywhere, as to the other end of a tunnel, is no network on a link.
    route.is_some_and(|(prefix, leads)| prefix > 0 && value::after(leads, value::GATEWAY).is_none())
}

fn translated(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    if !model.can(ARRIVALS) {
        return None;
    }
    let mut all = all(view);
    if all.is_empty() {
        return None;
    }
    // Where something comes back, others lead that address to this node.
    for (key, flow) in model.flows().iter() {
        if flow.last_arrived > When::NEVER {
            all.remove(&(key.netns, key.local));
        }
    }
    let ((netns, address), leaving) = all.into_iter().max_by_key(|(_, leaving)| leaving.asking.len())?;
    let silences = path::silences(model, leaving.asking.iter().map(|(_, place)| *place));
    let since = silences.iter().map(|(_, silence)| silence.since).min()?;
    let others = ways::others_are_answered(model, netns, since);
    let asked: BTreeSet<IpAddr> = silences.iter().map(|(peer, _)| peer.address).collect();
    // Others may lead the address here all the same, and a single peer be switched off.
    let is_sure = others
        && (asked.len() >= 2 || is_on_link(model, netns, address) || are_there(model, netns, &asked, since));
    let suffering = Suffering::of(leaving.known.iter().map(|plight| Sufferer::from(*plight)));
    let peers = distinct(asked.iter().map(ToString::to_string));
    let own = distinct(leaving.own.iter().map(ToString::to_string));
    let explanation = format!(
        "What this node sends to {} leaves from {address}, which no device of it has: {} have the ports of connections that sockets of \
         this node open from {}. Nothing has arrived for {address} since the start{}. A rule of its firewall \
         translates the source, or did when they began.{}",
        list(&peers),
        count(leaving.twins as u64, "flow"),
        list(&own),
        if others { ", and others are answered" } else { "" },
        suffering.affected()
    );
    let evidence = silences
        .iter()
        .take(4)
        .map(|(peer, silence)| path::endpoint(model, *peer, *silence));
    let line = |text: String| command(model, netns, &text);
    let namespaces = BTreeSet::from([netns]);
    let state = evidence::state(address.to_string(), "no device of this node has it".to_owned());
    Some(Finding {
        confidence: if is_sure {
            Confidence::Strong
        } else {
            Confidence::Weak
        },
        explanation,
        since,
        last: model.now(),
        evidence: std::iter::once(state).chain(evidence).collect(),
        units: suffering.units([]),
        flows: suffering.flows,
        devices: path::uplinks(model, &namespaces),
        namespaces,
        standing: None,
        prevent: vec![line(forget("--src-nat", address))],
        check: vec![
            line(format!("nft -a list ruleset  # snat to {address}")),
            line(format!(
                "{} -t nat",
                if address.is_ipv4() {
                    "iptables-save"
                } else {
                    "ip6tables-save"
                }
            )),
            line(tracked("-L", "--src-nat", address)),
        ],
        remedy: vec![format!(
            "Delete the rule that gives {address}, or let it name an address that this node has. Risk: it may be there on purpose, \
             where others lead that address to this node; ask whose it is."
        )],
    })
}
