//! Packets arrive for a socket that waits for them and never reach it, whatever the cause.
//!
//! What has a rule of its own is told by that; this one tells the rest, from nothing but the counts of flows.

use std::collections::BTreeMap;

use super::routing;
use super::suffering::Suffering;
use super::words::{self, command, count, distinct, list};
use super::{About, Finding, Rule, effects, evidence, namespaces};
use crate::event::{FlowKey, Location, Protocol, STOLEN};
use crate::model::Model;
use crate::model::class;
use crate::model::clock::{SECOND, When};
use crate::model::flows::Flow;
use crate::model::queues::Port;
use crate::report::{Class, Confidence, Evidence, Where};
use crate::shell::quoted;

/// K01: what arrives for a socket does not reach it.
pub(super) const LOST: Rule = Rule {
    id: "K01",
    slug: "lost-before-socket",
    title: "Packets arrive for sockets that wait, and reach none of them",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Packets arrive for a socket of this node that waits for them, and end by a drop that no other rule \
                    knows, or without any.",
        meaning: "Whatever the cause: something between the device and the socket takes the packets away. The verdict \
                  names the kernel's reason and the place.",
        check: &[
            "nft list ruleset",
            "tc -s filter show dev DEVICE ingress",
            "ip -d link show dev DEVICE",
            "bpftool net list",
            "bpftool cgroup tree",
        ],
        mend: &[
            "Change the rule, filter or program that the checks show. Risk: it may be there on purpose; ask whose it is, \
             and do not flush what others made.",
            "Where they show nothing, take a recording (--record) before anything is restarted. Risk: none; a restart destroys \
             the evidence.",
        ],
    },
    examine: lost,
    explains: effects::receive_path,
    follows: &["R01", "R03"],
};

/// Packets that a flow must have lost to a drop that was seen.
const DROPPED: u64 = 2;
/// Where no drop was seen, a flow must lack so many packets for so long: one may be on its way, or wait for a
/// neighbour.
const VANISHED: u64 = 3;
const VANISHED_FOR: u64 = 6 * SECOND;
/// A flow must starve for longer than this.
const LASTING: u64 = SECOND;

/// The reason and the place at which packets ended; `None` where no drop was seen.
type End<'a> = Option<&'a (String, Location)>;

/// What ended in one way.
#[derive(Default)]
struct Loss {
    packets: u64,
    flows: u64,
    devices: Vec<String>,
    example: Option<FlowKey>,
}

fn lost(model: &Model) -> Option<Finding> {
    let mut losses: BTreeMap<End<'_>, Loss> = BTreeMap::new();
    let mut flows: Vec<(&FlowKey, &Flow)> = Vec::new();
    let (mut since, mut last) = (model.now(), 0);
    for (key, flow) in model.flows().iter() {
        let Some((end, packets)) = loses(model, key, flow) else {
            continue;
        };
        let loss = losses.entry(end).or_default();
        loss.packets = loss.packets.saturating_add(packets);
        loss.flows += 1;
        loss.devices.push(model.node().device_name(key.netns, flow.iif));
        loss.example.get_or_insert(*key);
        let hunger = flow.hunger.as_deref().or(flow.sated.as_deref());
        since = since.min(hunger.map_or(since, |hunger| hunger.since));
        last = last.max(hunger.map_or(0, |hunger| hunger.last));
        flows.push((key, flow));
    }
    if flows.is_empty() {
        return None;
    }
    let suffering = Suffering::of(model, flows.into_iter());
    let mut losses: Vec<(End<'_>, Loss)> = losses.into_iter().collect();
    // The sort is stable: ends with as many packets stay in the order of their names.
    losses.sort_by_key(|(_, loss)| std::cmp::Reverse(loss.packets));

    let packets = losses
        .iter()
        .map(|(_, loss)| loss.packets)
        .fold(0, u64::saturating_add);
    let ends: Vec<String> = losses
        .iter()
        .map(|(end, loss)| told(*end, loss.packets))
        .collect();
    let explanation = format!(
        "{} arrived for sockets of this node that wait for them, and reached none: {}.{}",
        count(packets, "packet"),
        list(&ends),
        suffering.affected()
    );
    let evidence = losses
        .iter()
        .take(5)
        .map(|(end, loss)| seen(*end, loss))
        .chain(routing::flow_evidence(model, &suffering.flows))
        .collect();
    let mut check = Vec::new();
    let mut remedy = Vec::new();
    for (end, loss) in losses.iter().take(3) {
        let Some(key) = loss.example else { continue };
        let device = routing::arrival_device(model, &key).unwrap_or_default();
        for line in checks(*end, &key, &device) {
            let line = command(model, key.netns, &line);
            if !check.contains(&line) {
                check.push(line);
            }
        }
        let line = mend(*end).to_owned();
        if !remedy.contains(&line) {
            remedy.push(line);
        }
    }
    Some(Finding {
        confidence: Confidence::Strong,
        explanation,
        since,
        last,
        evidence,
        namespaces: namespaces(&suffering.flows),
        standing: None,
        units: suffering.units([]),
        flows: suffering.flows,
        check,
        remedy,
    })
}

/// How a flow loses its packets, and how many were lost; `None` where it does not starve from that, or
/// another rule tells why.
fn loses<'a>(model: &Model, key: &FlowKey, flow: &'a Flow) -> Option<(End<'a>, u64)> {
    // What is over is told while it is fresh.
    let hunger = flow.hunger.as_deref().or(flow.sated.as_deref())?;
    let until = flow.hunger.as_ref().map_or(hunger.last, |_| model.now());
    let since = hunger.since;
    let lasting = until.saturating_sub(since) > LASTING;
    if !lasting || !model.hungers(key, flow, hunger) || !waits(model, key, flow, since) {
        return None;
    }
    if !hunger.dropped {
        // The kernel may take datagrams for itself, such as a tunnel's, between others that are a process's.
        let told = key.protocol != Protocol::Udp && model.can_in_full("sockets");
        let missing = flow.arrived.saturating_sub(flow.delivered(key.protocol));
        let long = hunger.last.saturating_sub(since) >= VANISHED_FOR;
        return (told && long && missing >= VANISHED && !routing::is_lost(model)).then_some((None, missing));
    }
    let drop = flow.last_drop.as_deref()?;
    let spell = flow.drops.recent(model.now())?;
    let told_elsewhere = routing::tells(model, &drop.0, &drop.1.symbol);
    // What is not meant for this node reaches no socket that waits; where it does, the node and its network do not
    // agree on what is. The protocols' own discards and full queues have other causes.
    let kernels = !matches!(
        class::of(&drop.0, &drop.1.symbol),
        Class::Protocol | Class::Resource
    );
    (kernels && !told_elsewhere && spell.packets >= DROPPED).then_some((Some(drop), spell.packets))
}

/// A socket of this node waits for the flow's packets: it is connected to that peer, or the flow still asks, or it
/// is bound to the port and the packets are for an address of this node. What comes late for a socket that is gone
/// is waited for by nobody.
fn waits(model: &Model, key: &FlowKey, flow: &Flow, since: u64) -> bool {
    if let Some(connection) = model.sockets().connection(key) {
        return connection.is_live();
    }
    if model.is_reply(key, flow) {
        return flow.last_sent >= When::at(since);
    }
    let bound = model.sockets().bound(Port::of(key), key.local);
    bound.is_some_and(|bound| bound.closed.is_none()) && model.node().has_address(key.netns, key.local)
}

fn told(end: End<'_>, packets: u64) -> String {
    match end {
        None => format!("{packets} vanished without a drop that could be seen"),
        Some((reason, location)) if reason == STOLEN => {
            format!("{packets} were taken away at {location}, where a program or a filter decides")
        }
        Some((reason, location)) => {
            let by = match class::of(reason, &location.symbol) {
                Class::Policy => ", where a rule, a filter or a program decides",
                _ => "",
            };
            format!("{packets} were dropped for {reason} at {location}{by}")
        }
    }
}

fn seen(end: End<'_>, loss: &Loss) -> Evidence {
    let devices = distinct(loss.devices.iter().cloned());
    let on = if devices.is_empty() {
        String::new()
    } else {
        format!(" that arrived on {}", list(&devices))
    };
    let what = end.map_or_else(
        || "no drop was seen".to_owned(),
        |(reason, location)| format!("{reason} at {location}"),
    );
    let text = format!(
        "{what}: {}{on}, of {}",
        count(loss.packets, "packet"),
        count(loss.flows, "starved flow")
    );
    let (reason, location) = end.map_or(("", None), |(reason, location)| (reason.as_str(), Some(location)));
    evidence::drop(reason, location, loss.packets, text)
}

/// Commands that show what may have done it.
fn checks(end: End<'_>, key: &FlowKey, device: &str) -> Vec<String> {
    let (ip, device) = (words::ip(key.local), quoted(device));
    let tc = || format!("tc -s filter show dev {device} ingress");
    let xdp = || format!("ip -d link show dev {device}");
    let programs = || "bpftool net list".to_owned();
    let Some((reason, location)) = end else {
        return vec![tc(), xdp(), programs(), "nft list ruleset".to_owned()];
    };
    match (reason.as_str(), location.symbol.as_str()) {
        ("NETFILTER_DROP", _) => vec![
            "nft list ruleset".to_owned(),
            "cat /proc/net/stat/nf_conntrack".to_owned(),
            "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max".to_owned(),
        ],
        (reason, _) if reason == STOLEN || reason.starts_with("TC_") => vec![tc(), programs()],
        ("XDP", _) | (_, "do_xdp_generic" | "veth_xdp_rcv_skb" | "veth_xdp_rcv" | "veth_poll") => {
            vec![xdp(), programs()]
        }
        ("SOCKET_FILTER", _) => vec!["bpftool cgroup tree".to_owned(), "ss -lnp".to_owned()],
        (reason, _) if reason.starts_with("BPF_CGROUP_") => vec!["bpftool cgroup tree".to_owned()],
        (reason, _) if reason.starts_with("IP_") || reason.starts_with("NEIGH_") => vec![
            format!("{ip} addr"),
            format!("{ip} rule"),
            format!("{ip} route get {} from {} iif {device}", key.local, key.remote),
        ],
        _ => vec![format!("{ip} rule"), "nft list ruleset".to_owned(), programs()],
    }
}

/// What mends it, as far as that can be said.
fn mend(end: End<'_>) -> &'static str {
    match end.map(|(reason, location)| class::of(reason, &location.symbol)) {
        Some(Class::Policy) => {
            "Change the rule, filter or program that the checks show. Risk: it may be there on purpose; ask whose \
             it is, and do not flush what others made."
        }
        Some(Class::State) => {
            "Put back the address, route or rule that the checks show to be missing. Risk: low, where it is what \
             was there before."
        }
        _ => {
            "The checks show what stands in the way of packets. Where none of it explains the loss, take a \
             recording (--record) before anything is restarted: a restart destroys the evidence."
        }
    }
}
