//! State that the host lost: rules, routes, filters.

mod lookups;
mod losers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use self::lookups::{broken, is_looked_up};
use self::losers::{found, suffering};
use super::addresses::Addresses;
use super::tolls::Of;
use super::words::{self, command, count, distinct, list};
use super::{About, Finding, Rule, View, effects, evidence};
use crate::event::{EntryKey, FlowKey, Location, Protocol, Thing, Version};
use crate::model::Model;
use crate::model::ends::{self, Signature};
use crate::model::growth::Spell;
use crate::numbers::thousands;
use crate::report::{Confidence, Evidence, Where};
use crate::shell::quoted;

/// Packets with a signature that no flow waits for make a finding from this number on.
const UNWANTED: u64 = 3;

/// The value of rp_filter for loose mode.
const LOOSE: &str = "2";

/// Of what must hold and does not, so much is told as evidence.
const BROKEN: usize = 3;

pub(super) use self::losers::{Losing, Routed};

/// R01: replies find their socket and are routed as somebody else's.
///
/// Early demux has set the packet's socket, then routing took it for a packet to forward, and `ip_forward()`
/// drops what has a socket. Where forwarding is off, or the packet had no socket, the same loss shows as
/// packets for an own address that fail as unknown address or unreachable neighbour.
pub(super) const ROUTED_AS_FOREIGN: Rule = Rule {
    id: "R01",
    slug: "reply-routed-as-foreign",
    title: "Kernel found the socket but routed the reply as foreign",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Packets that had been matched to a socket of this node are dropped in ip_forward() or ip6_forward() \
                    without a reason; or packets for an own address of the node fail as an unknown address, \
                    without a route, or with an unreachable neighbour.",
        meaning: "The kernel looks for the socket of a packet before it routes it (early demux). Here routing then took \
                  the packet for somebody else's, and what is to be forwarded must have no socket: it is dropped. So \
                  replies reach the machine, and no process. This is what happens when no routing rule looks up table \
                  local, or the local route of the address is gone. 127.0.0.1 is as dead as the network. Connections \
                  that are open stay open and get nothing; what the node sends leaves.",
        check: &[
            "ip rule  # must show `lookup local`",
            "ip route show table local  # must show each own address",
            "ip route get ADDRESS from PEER iif DEVICE  # must answer `local`",
            "journalctl -u systemd-networkd -n 50",
        ],
        mend: &[
            "ip rule add pref 0 lookup local  # Risk: low, it is the kernel's own default. Lasts until it is deleted again.",
            "Set ManageForeignRoutingPolicyRules=no in a file in /etc/systemd/networkd.conf.d/ (section [Network]), \
             where systemd-networkd runs. Risk: rules that others forget stay.",
        ],
    },
    examine: routed_as_foreign,
    explains: effects::own_lookup,
    proved_by: effects::none,
    follows: &[],
};

/// R03: the reverse path filter refuses packets.
pub(super) const REVERSE_PATH: Rule = Rule {
    id: "R03",
    slug: "reverse-path-filter",
    title: "Reverse path filter drops packets",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Packets are dropped for IP_RPFILTER.",
        meaning: "Strict reverse path filtering lets a packet in only by the device by which an answer to its source \
                  would leave; loose filtering, if there is any way back at all. Either the filter became stricter, or \
                  the way back is another than before: a route was lost or added.",
        check: &[
            "sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.DEVICE.rp_filter  # the greater of both counts",
            "ip route get SOURCE  # must name the device by which the packets arrive",
            "nstat -az TcpExtIPReversePathFilter",
        ],
        mend: &[
            "Where the way back is wrong, put the route back first: then the filter can stay. Risk: low, where it is the \
             route that was there before.",
            "sysctl -w net.ipv4.conf.DEVICE.rp_filter=2  # loose mode. Risk: forged sources are let in more easily.",
        ],
    },
    examine: reverse_path,
    explains: effects::reverse_path,
    proved_by: effects::none,
    follows: &["R01"],
};

/// One of these rules tells of packets for addresses of this node with this drop.
pub(super) fn tells_of_own(model: &Model, reason: &str, symbol: &str) -> bool {
    ends::treated_as_foreign(reason, symbol) && is_foreign(model)
}

/// The same of all packets.
pub(super) fn tells(model: &Model, reason: &str) -> bool {
    reason == ends::RPFILTER && model.books().spell(Signature::ReversePath, model.now()).is_some()
}

/// One of these rules has found something.
pub(super) fn is_lost(model: &Model) -> bool {
    is_foreign(model) || model.books().spell(Signature::ReversePath, model.now()).is_some()
}

/// See [`ROUTED_AS_FOREIGN`].
fn is_foreign(model: &Model) -> bool {
    model.books().foreign(model.now()).is_some()
}

fn routed_as_foreign(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let whole = model.books().foreign(model.now())?;
    let proof = model.books().foreign_proof(whole);
    let support = model.books().foreign_support(whole);
    let spell = proof.or(support)?;

    let losing = found(view, Of::Foreign)?;
    let now = &losing.tolls;
    // Where none of them was for an address that the node had, that is what was wrong: R05.
    let is_own = |flow: &FlowKey| {
        let end = model
            .plight_of(flow)
            .and_then(|plight| plight.dropped.zip(plight.last_drop.as_deref()));
        end.is_some_and(|(dropped, (_, place))| {
            let routed = ends::routed(&place.symbol, dropped.last);
            model.node().had_address(flow.netns, flow.local, routed)
        })
    };
    if !now.is_empty() && !now.iter().any(|toll| is_own(toll.key())) {
        return None;
    }
    let suffering = suffering(view, losing);
    let own: Vec<FlowKey> = model
        .books()
        .sightings()
        .filter(|(key, _)| ends::treated_as_foreign(ends::reason(key), ends::symbol(key)))
        .filter_map(|(_, sighting)| sighting.own_since(whole.since))
        .collect();
    let devices = devices(model, Signature::RoutedAsForeign, whole.since);

    let mut evidence = drops(model, Signature::RoutedAsForeign, whole.since);
    if support.is_some() {
        evidence.extend(own_address_drops(model, whole));
    }
    evidence.push(books(model));
    evidence.extend(flow_evidence(model, &suffering.flows));

    let what = if proof.is_some() {
        let on = if devices.is_empty() {
            String::new()
        } else {
            format!(" on {}", list(&devices))
        };
        format!(
            "{} that arrived{on} had already been matched to a socket of this node and were then routed as \
             somebody else's: the kernel dropped them where it forwards.",
            count(spell.packets, "packet")
        )
    } else {
        format!(
            "At least {} for this node's own address {} were handled as somebody else's.",
            count(spell.packets, "packet"),
            list(&distinct(own.iter().map(|flow| flow.local.to_string())))
        )
    };
    let (mut check, mut remedy) = (Vec::new(), Vec::new());
    // One example for each namespace and address family.
    let mut told: Vec<(u32, bool)> = Vec::new();
    for key in suffering.flows.iter().chain(&own) {
        if told.contains(&(key.netns, key.local.is_ipv6())) {
            continue;
        }
        told.push((key.netns, key.local.is_ipv6()));
        let ip = words::ip(key.local);
        check.push(command(model, key.netns, &format!("{ip} rule")));
        if let Some(device) = arrival_device(model, key) {
            check.push(command(
                model,
                key.netns,
                &format!(
                    "{ip} route get {} from {} iif {}",
                    key.local,
                    key.remote,
                    quoted(&device)
                ),
            ));
        }
        remedy.push(format!(
            "{}  # where `{ip} rule` shows no `lookup local`. Risk: low, it is the kernel's own default; a \
             network plugin that moved the rule on purpose may put it back elsewhere. Lasts until it is \
             deleted again.",
            command(model, key.netns, &format!("{ip} rule add pref 0 lookup local"))
        ));
    }
    if told.is_empty() {
        check.push("ip rule".to_owned());
        remedy.push(
            "ip rule add pref 0 lookup local  # where `ip rule` shows no `lookup local`. Risk: low, it is the \
             kernel's own default."
                .to_owned(),
        );
    }
    let prevent = "Set ManageForeignRoutingPolicyRules=no in a file in /etc/systemd/networkd.conf.d/ (section [Network]), \
                   where systemd-networkd runs: it then leaves the rules of others alone when it restarts. Risk: rules \
                   that others forget stay.";

    let namespaces = scope(
        model,
        Signature::RoutedAsForeign,
        whole.since,
        &suffering.flows,
        own.iter(),
    );
    evidence.extend(
        broken(model, &namespaces)
            .take(BROKEN)
            .map(|(invariant, _, text)| evidence::state(super::report::invariant_object(invariant), text)),
    );
    let why = match broken(model, &namespaces).next() {
        Some((_, _, text)) => format!("{}.", words::capital(&text)),
        None => {
            let holds = |(_, is_v6): &(u32, bool)| {
                let version = if *is_v6 { Version::V6 } else { Version::V4 };
                is_looked_up(model, &namespaces, version)
            };
            let now = if !told.is_empty() && told.iter().all(holds) {
                "; neither is so now"
            } else {
                ": the checks below show whether that is so now"
            };
            format!(
                "This is what is seen when no routing rule looks up table local, or a local route is missing{now}."
            )
        }
    };
    let explanation = format!("{what}{} {why}", suffering.affected());
    let standing = broken(model, &namespaces)
        .find(|(_, since, _)| since.is_none())
        .map(|(_, _, text)| format!("{}.", words::capital(&text)));
    Some(Finding {
        confidence: if proof.is_some() {
            Confidence::Conclusive
        } else {
            Confidence::Strong
        },
        explanation,
        since: whole.since,
        last: whole.last,
        evidence,
        standing,
        devices: BTreeSet::new(),
        namespaces,
        units: suffering.units(units(model, Signature::RoutedAsForeign, whole.since)),
        flows: suffering.flows,
        prevent: vec![prevent.to_owned()],
        check,
        remedy,
    })
}

fn reverse_path(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let losing = found(view, Of::ReversePath)?;
    let spell = losing.spell;
    let suffering = suffering(view, losing);
    let lines = || {
        let books = model.books();
        books.signed(model.node(), Signature::ReversePath, spell.since)
    };
    let sightings = || lines().filter_map(|(key, _)| model.books().sighting(key));
    let awaited = sightings().find_map(|sighting| sighting.awaited_since(spell.since));
    let own = awaited.or_else(|| sightings().find_map(|sighting| sighting.own_since(spell.since)));
    let cut_off = cut_off(model, losing);
    let confidence = if !suffering.flows.is_empty() {
        Confidence::Conclusive
    } else if (awaited.is_some() || !cut_off.is_empty()) && spell.packets >= UNWANTED {
        Confidence::Strong
    } else {
        // Strays that nobody waits for are what the filter is there for: who forges a source does so for addresses of this node.
        Confidence::Weak
    };

    let devices = devices(model, Signature::ReversePath, spell.since);
    let example = suffering
        .flows
        .first()
        .or(own.as_ref())
        .or(cut_off.first())
        .copied();
    let flows = suffering.flows.iter().chain(&own).chain(&cut_off);
    let sources = Addresses::of(flows.map(|flow| flow.remote));
    let from = match sources.told() {
        none if none.is_empty() => none,
        sources => format!(" from {sources}"),
    };
    let explanation = format!(
        "{}{from} arrived on {} and were dropped by the reverse path filter.{}{}",
        count(spell.packets, "packet"),
        list(&devices),
        wants(model, lines().map(|(key, _)| key)),
        suffering.affected()
    );

    let mut evidence = drops(model, Signature::ReversePath, spell.since);
    evidence.push(books(model));
    evidence.extend(flow_evidence(model, &suffering.flows));

    let (mut check, mut remedy) = (Vec::new(), Vec::new());
    let mut told: Vec<(u32, u32)> = Vec::new();
    for (key, _) in lines() {
        let netns = model.node().home(key.netns, key.iif).unwrap_or(key.netns);
        if told.contains(&(netns, key.iif)) {
            continue;
        }
        told.push((netns, key.iif));
        // In a sysctl's name a dot of the device is written as a slash.
        let device = model.node().device_name(netns, key.iif).replace('.', "/");
        let setting = format!("net.ipv4.conf.{device}.rp_filter");
        let loose: Vec<&str> = ["net.ipv4.conf.all.rp_filter", &setting]
            .into_iter()
            .filter(|name| {
                let name = (*name).to_owned();
                model.settings().value(netns, Thing::Sysctl { name }) == Some(LOOSE)
            })
            .collect();
        check.push(command(
            model,
            netns,
            &format!("sysctl net.ipv4.conf.all.rp_filter {}", quoted(&setting)),
        ));
        // A device without an address fails that, too (`__fib_validate_source`).
        if !loose.is_empty() {
            let off = loose.iter().map(|name| quoted(&format!("{name}=0")).into_owned());
            remedy.push(format!(
                "{}  # off: it is loose already, which wants a route back and an address at the device. Risk: forged sources are \
                 let in. Lasts until the settings are loaded again.",
                command(
                    model,
                    netns,
                    &format!("sysctl -w {}", off.collect::<Vec<_>>().join(" "))
                )
            ));
            continue;
        }
        remedy.push(format!(
            "{}  # loose mode: any route back will do. Risk: forged sources are let in more easily; use it \
             only where the way back is meant to differ. Lasts until the settings are loaded again.",
            command(
                model,
                netns,
                &format!("sysctl -w {}", quoted(&format!("{setting}=2")))
            )
        ));
    }
    if let Some(flow) = example {
        check.push(command(
            model,
            flow.netns,
            &format!("ip route get {}", flow.remote),
        ));
        let missing = format!(
            "Where `ip route get {}` names another device or fails, put the route back first: then the filter \
             can stay. Risk: low, where it is the route that was there before.",
            flow.remote
        );
        remedy.insert(0, missing);
    }

    Some(Finding {
        confidence,
        explanation,
        since: spell.since,
        last: spell.last,
        evidence,
        namespaces: scope(
            model,
            Signature::ReversePath,
            spell.since,
            &suffering.flows,
            own.iter(),
        ),
        standing: None,
        devices: BTreeSet::new(),
        units: suffering.units(units(model, Signature::ReversePath, spell.since)),
        // It is the way back to them that counts, whoever suffers.
        flows: suffering.flows.with_remotes(sources),
        prevent: Vec::new(),
        check,
        remedy,
    })
}

/// What the filter wants of what it let not in, by its mode at the devices of these lines of what it dropped, with a leading space. The
/// greater of both parameters counts (`IN_DEV_RPFILTER`, include/linux/inetdevice.h), and loose mode wants an address at the device
/// too (`__fib_validate_source`, net/ipv4/fib_frontend.c).
fn wants<'a>(model: &Model, lines: impl Iterator<Item = &'a EntryKey>) -> &'static str {
    // Loose at the device of this line, or strict; `None` where that is not known.
    let is_loose = |key: &EntryKey| {
        let netns = model.node().home(key.netns, key.iif).unwrap_or(key.netns);
        let set = |of: &str| {
            let name = format!("net.ipv4.conf.{of}.rp_filter");
            model.settings().value(netns, Thing::Sysctl { name })
        };
        match (set("all"), set(&model.node().device_name(netns, key.iif))) {
            (Some(LOOSE), _) | (_, Some(LOOSE)) => Some(true),
            (Some(_), Some(_)) => Some(false),
            _ => None,
        }
    };
    let modes: BTreeSet<Option<bool>> = lines.map(is_loose).collect();
    match Vec::from_iter(modes)[..] {
        [Some(true)] => {
            " The filter is loose: it wants some route back to the source, and an address at the device, and one of the two is \
             missing."
        }
        [Some(false)] => {
            " The filter is strict: it wants this node's route back to the source to lead by the same device, and there is no such \
             route."
        }
        _ => {
            " A strict filter wants this node's route back to the source to lead by the same device; a loose one wants any route \
             back."
        }
    }
}

/// Flows from inside of the node, as those of pods, that were let through before the filter dropped them.
fn cut_off(model: &Model, losing: &Losing<'_>) -> Vec<FlowKey> {
    let was_let_through = |key: &FlowKey| {
        let flow = model.flows().get(key);
        flow.is_some_and(|flow| flow.arrived > flow.dropped)
    };
    let inner = losing.inner.iter().map(|plight| plight.key);
    inner.filter(was_let_through).collect()
}

/// What the lines of one place have in common, and their sum.
#[derive(Default)]
struct Drops {
    packets: u64,
    socket_found: u64,
    protocols: BTreeSet<Protocol>,
}

fn drops(model: &Model, signature: Signature, since: u64) -> Vec<Evidence> {
    let mut places: BTreeMap<(&str, Option<&Location>, String), Drops> = BTreeMap::new();
    for (key, line) in model.books().signed(model.node(), signature, since) {
        let device = model.node().device_name(key.netns, key.iif);
        let drops = places
            .entry((ends::reason(key), key.location.as_ref(), device))
            .or_default();
        drops.packets = drops.packets.saturating_add(line.packets);
        if key.socket_found {
            drops.socket_found = drops.socket_found.saturating_add(line.packets);
        }
        drops.protocols.insert(key.protocol);
    }
    places
        .into_iter()
        .map(|((reason, location, device), drops)| {
            let place = location.map_or_else(String::new, |at| format!(" at {at}"));
            let socket = match drops.socket_found {
                0 => String::new(),
                all if all == drops.packets => ", socket found".to_owned(),
                some => format!(", socket found for {some}"),
            };
            let protocols = list(
                &drops
                    .protocols
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>(),
            );
            let packets = count(drops.packets, "packet");
            let text = format!(
                "{packets}: {reason}{place}, arrived on {device}, {protocols}{socket}, since the start"
            );
            evidence::drop(reason, location, drops.packets, text)
        })
        .collect()
}

fn own_address_drops(model: &Model, spell: Spell) -> Vec<Evidence> {
    let mut places: BTreeMap<(&str, Option<&Location>, IpAddr), u64> = BTreeMap::new();
    for (key, sighting) in model.books().sightings() {
        let own = sighting.own_since(spell.since).zip(sighting.own_packets(spell));
        let Some((flow, own)) = own.filter(|_| ends::supports_foreign(key)) else {
            continue;
        };
        let packets = places
            .entry((ends::reason(key), key.location.as_ref(), flow.local))
            .or_default();
        *packets = packets.saturating_add(own);
    }
    places
        .into_iter()
        .map(|((reason, location, address), packets)| {
            let symbol = location.map_or("", |location| location.symbol.as_str());
            let text = format!(
                "{reason} at {symbol}: at least {} for {address}, which is an address of this node",
                count(packets, "packet")
            );
            evidence::drop(reason, location, packets, text)
        })
        .collect()
}

fn books(model: &Model) -> Evidence {
    let ledger = model.totals().ledger;
    let text = format!(
        "Since the start {} arrived, {} were delivered, {} dropped, {} forwarded",
        count(ledger.arrived, "packet"),
        thousands(ledger.delivered),
        thousands(ledger.dropped),
        thousands(ledger.forwarded)
    );
    evidence::ledger(model, text)
}

/// What the first flows have counted.
pub(super) fn flow_evidence(model: &Model, flows: &[FlowKey]) -> Vec<Evidence> {
    let told = flows
        .iter()
        .filter_map(|key| Some((key, model.flows().get(key)?)));
    told.take(5)
        .map(|(key, flow)| evidence::flow(model, key, flow))
        .collect()
}

/// The namespaces in which it was seen since then.
fn scope<'a>(
    model: &Model,
    signature: Signature,
    since: u64,
    flows: &'a [FlowKey],
    own: impl Iterator<Item = &'a FlowKey>,
) -> BTreeSet<u32> {
    let lines = model.books().signed(model.node(), signature, since);
    lines
        .map(|(key, _)| model.node().home(key.netns, key.iif).unwrap_or(key.netns))
        .chain(flows.iter().chain(own).map(|flow| flow.netns))
        .collect()
}

fn devices(model: &Model, signature: Signature, since: u64) -> Vec<String> {
    distinct(
        model
            .books()
            .signed(model.node(), signature, since)
            .map(|(key, _)| model.node().device_name(key.netns, key.iif)),
    )
}

fn units(model: &Model, signature: Signature, since: u64) -> Vec<String> {
    distinct(
        model
            .books()
            .signed(model.node(), signature, since)
            .filter_map(|(key, _)| model.books().sighting(key))
            .flat_map(|sighting| sighting.units.since(since).cloned()),
    )
}

/// The device by which packets of the flow arrive.
pub(super) fn arrival_device(model: &Model, key: &FlowKey) -> Option<String> {
    let index = model.flows().get(key).map_or(0, |flow| flow.iif);
    let index = if index != 0 {
        index
    } else {
        // Not told: the device that has the address.
        model
            .node()
            .uplinks()
            .find(|device| device.netns == key.netns && device.addresses.contains(&key.local))?
            .index
    };
    let index = model.node().face(key.netns, index, key.local);
    Some(model.node().device_name(key.netns, index)).filter(|_| key.remote != IpAddr::from([0; 4]))
}
