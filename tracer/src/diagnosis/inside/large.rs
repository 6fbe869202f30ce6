//! What is passed on is larger than the next device takes, and its senders go on sending it.

use std::collections::BTreeSet;

use super::{affected, is_foreign};
use crate::diagnosis::lost::kinds::{hooks_in, hooks_text};
use crate::diagnosis::words::{command, count, list, moment};
use crate::diagnosis::{About, Finding, Rule, View, effects, evidence};
use crate::event::{FlowKey, Protocol, Thing, value};
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::ends;
use crate::model::growth::Spell;
use crate::model::hooks::Course;
use crate::model::plight::Plight;
use crate::report::{Confidence, Where};
use crate::shell::quoted;

/// R35: segments of TCP that are too large are sent again and again.
pub(in crate::diagnosis) const TOO_LARGE: Rule = Rule {
    id: "R35",
    slug: "too-large",
    title: "What this node passes on is too large for the next device, and its senders do not learn that",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Segments of TCP that this node is to pass on are dropped for PKT_TOO_BIG, the same connection's for more than 1 s: \
                    who is told how large they may be sends smaller ones at once.",
        meaning: "The kernel drops a packet that the next device does not take and that must not be cut in pieces, and answers its \
                  sender with an ICMP message that says how large it may be (ip_forward(), ip6_forward()). Where that message \
                  is dropped, by this node's own firewall or on the way, the sender sends the same again until it gives up: \
                  connections open, small answers come, large ones never do.",
        check: &[
            "ip -d link  # the MTU of each device",
            "nft -a list ruleset  # whether ICMP is dropped at output",
            "nstat -az IpFragFails Ip6InTooBigErrors",
            "ping -c 3 -M do -s 1472 PEER  # from the sender; less where that is too large",
        ],
        mend: &[
            "ip link set dev DEVICE mtu NUMBER  # as large as what comes, where what is behind the device takes that. Risk: packets \
             that are too large for what is behind it are lost there, without a word.",
            "Let ICMP of type 3 code 4, and of IPv6 type 2, through the firewall. Risk: none.",
        ],
    },
    examine: large,
    explains: effects::too_large,
    proved_by: effects::none,
    follows: &[],
};

/// Segments of a connection that must have been dropped, and the time that they must span: a sender that is told has had its answer
/// by then.
const PACKETS: u64 = 3;
const LASTING: u64 = SECOND;

/// Connections through this node whose segments are dropped over and over.
fn stuck<'a>(view: &View<'a>) -> Vec<(&'a Plight, Spell)> {
    let model = view.model;
    let all = view.befallen().dropped_by(|reason, _| reason == ends::TOO_LARGE);
    all.filter(|plight| {
        let key = &plight.key;
        key.protocol == Protocol::Tcp && plight.iif != 0 && is_foreign(model, key.netns, key.local)
    })
    .filter_map(|plight| Some((plight, plight.dropped?)))
    .filter(|(_, spell)| spell.lasts(PACKETS, LASTING))
    .collect()
}

/// Devices of a namespace that take smaller packets than some by which the segments come: their names and MTUs.
fn smaller(model: &Model, stuck: &[(&Plight, Spell)]) -> Vec<(u32, String, u32)> {
    let mtu = |netns: u32, device: &str| {
        let device = device.to_owned();
        value::mtu(model.settings().value(netns, Thing::Link { device })?)
    };
    let came: BTreeSet<(u32, u32)> = stuck
        .iter()
        .map(|(plight, _)| (plight.key.netns, plight.iif))
        .collect();
    let largest = |netns: u32| {
        let its = came.iter().filter(|(of, _)| *of == netns);
        its.filter_map(|(_, device)| mtu(netns, &model.node().device_name(netns, *device)))
            .max()
    };
    let links = model
        .settings()
        .iter()
        .filter_map(|(netns, thing, value)| match thing {
            Thing::Link { device } => Some((netns, device, value::mtu(value)?)),
            _ => None,
        });
    links
        .filter(|(netns, _, mtu)| largest(*netns).is_some_and(|largest| *mtu < largest))
        .map(|(netns, device, mtu)| (netns, device.clone(), mtu))
        .collect()
}

fn large(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let stuck = stuck(view);
    let spell = stuck.iter().map(|(_, spell)| *spell).reduce(Spell::and)?;
    let flows: Vec<FlowKey> = stuck.iter().map(|(plight, _)| plight.key).collect();
    let namespaces: BTreeSet<u32> = flows.iter().map(|flow| flow.netns).collect();
    let first = *namespaces.first()?;
    let smaller = smaller(model, &stuck);
    let takes: Vec<String> = smaller
        .iter()
        .map(|(_, device, mtu)| format!("{device} ({mtu} bytes)"))
        .collect();
    let takes = match takes.len() {
        0 => String::new(),
        1 => format!(" Smaller packets than come are what {} takes.", list(&takes)),
        _ => format!(" Smaller packets than come are what {} take.", list(&takes)),
    };
    let of_icmp = |protocol| matches!(protocol, Protocol::Icmp | Protocol::Icmp6);
    let lines = || {
        let lines = model.books().lines().filter(|(key, line)| {
            ends::filtered(key)
                && of_icmp(key.protocol)
                && line.packets > 0
                && namespaces.contains(&key.netns)
        });
        lines.map(|(key, line)| (key, line.packets))
    };
    let refused = lines().fold(0, |sum: u64, (_, packets)| sum.saturating_add(packets));
    let told = if refused == 0 {
        " The kernel answers each with an ICMP message that says how large it may be; the senders go on as if they did not get it."
            .to_owned()
    } else {
        let at = match hooks_in(model, &namespaces, Course::Out, 0) {
            hooks if hooks.is_empty() => String::new(),
            hooks => format!(" {}", hooks_text(&hooks)),
        };
        format!(
            " The kernel answers each with an ICMP message that says how large it may be; this node's own firewall has dropped {} \
             of ICMP that it was sending.{at}",
            count(refused, "packet")
        )
    };
    let connections = count(flows.len() as u64, "connection");
    let evidence = stuck
        .iter()
        .take(3)
        .filter_map(|(plight, spell)| {
            let (reason, location) = plight.last_drop.as_deref()?;
            let text = format!(
                "{reason} at {location}: {} of {}, since {}",
                count(spell.packets, "packet"),
                plight.key,
                moment(model, spell.since)
            );
            Some(evidence::drop(reason, Some(location), spell.packets, text))
        })
        .chain(evidence::unsent(lines(), ends::version).into_iter().take(2))
        .collect();
    let mut check = vec![command(model, first, "ip -d link")];
    if refused > 0 {
        check.push(command(model, first, "nft -a list ruleset"));
    }
    check.push(command(model, first, "nstat -az IpFragFails Ip6InTooBigErrors"));
    let mut remedy: Vec<String> = smaller
        .iter()
        .take(2)
        .map(|(netns, device, _)| {
            let line = format!("ip link set dev {} mtu NUMBER", quoted(device));
            format!(
                "{}  # as large as what comes, where what is behind the device takes that. Risk: packets that are too large for \
                 what is behind it are lost there, without a word.",
                command(model, *netns, &line)
            )
        })
        .collect();
    remedy
        .push("Let ICMP of type 3 code 4, and of IPv6 type 2, through the firewall. Risk: none.".to_owned());
    Some(Finding {
        confidence: Confidence::Strong,
        explanation: format!(
            "{} of {connections} that this node is to pass on {} dropped since {}, because the next device does not take what is so \
             large.{takes}{told}{}",
            count(spell.packets, "packet"),
            if spell.packets == 1 { "was" } else { "were" },
            moment(model, spell.since),
            affected(&flows)
        ),
        since: spell.since,
        last: spell.last,
        evidence,
        flows: flows.into(),
        namespaces,
        devices: smaller.into_iter().map(|(_, device, _)| device).collect(),
        units: Vec::new(),
        standing: None,
        prevent: Vec::new(),
        check,
        remedy,
    })
}
