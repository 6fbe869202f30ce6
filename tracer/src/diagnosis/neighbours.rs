//! This node does not answer those who ask for its link-layer address, so that nothing can be sent to it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, list, span};
use super::{About, Finding, Rule, effects, path};
use crate::model::Model;
use crate::model::clock::{MEMORY, SECOND};
use crate::model::growth::Spell;
use crate::model::latest::Latest;
use crate::model::neighbours::Asked;
use crate::report::{Confidence, Evidence, Fact, Where};
use crate::shell::quoted;

/// R30: neighbours ask for an address of this node and get no answer.
pub(super) const UNANSWERED: Rule = Rule {
    id: "R30",
    slug: "neighbours-unanswered",
    title: "This node does not answer who asks for its address",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Neighbours ask for an own address of the node, by ARP or neighbour discovery, and no answer leaves.",
        meaning: "Who gets no answer cannot send the node anything once what it remembers is too old, which takes some \
                  minutes. Then nothing arrives any more, which looks as if the network were at fault.",
        check: &[
            "ip link show dev DEVICE  # must not say NOARP",
            "sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.DEVICE.arp_ignore",
            "ip rule  # must show `lookup local`",
            "nft list ruleset",
        ],
        mend: &[
            "Undo what the checks show: switch ARP on at the device, set arp_ignore to what it was, put the rule back, or \
             let the firewall pass ARP and neighbour discovery. Risk: low, where it is what was there before.",
        ],
    },
    examine: |view| unanswered(view.model),
    explains: effects::answers_to_neighbours,
    proved_by: effects::none,
    follows: &["R01", "R03"],
};

/// Requests that must have been left unanswered: a neighbour repeats what was lost after a second
/// (`retrans_time_ms`), and gives up after three.
const UNANSWERED_REQUESTS: u64 = 3;
/// And the time that they must span.
const LASTING: u64 = SECOND;

/// An address that is asked for in vain.
struct Case<'a> {
    netns: u32,
    address: IpAddr,
    asked: &'a Asked,
    spell: Spell,
}

fn unanswered(model: &Model) -> Option<Finding> {
    if !model.can(path::ARRIVALS) || !model.can("sent") {
        return None;
    }
    let now = model.now();
    let cases: Vec<Case<'_>> = model
        .neighbours()
        .iter()
        .filter_map(|(netns, address, asked)| {
            let spell = asked.unanswered?;
            let lasting = spell.last.saturating_sub(spell.since) >= LASTING;
            let fresh = now.saturating_sub(spell.last) <= MEMORY;
            let own = model.node().has_address(netns, address);
            (own && fresh && lasting && spell.packets >= UNANSWERED_REQUESTS).then_some(Case {
                netns,
                address,
                asked,
                spell,
            })
        })
        .collect();
    let first = cases.first()?;
    let asked: BTreeSet<(u32, IpAddr)> = cases.iter().map(|case| (case.netns, case.address)).collect();
    // They ask a peer that says nothing any more.
    let mut latest = Latest::default();
    let in_vain = model.plights().iter().filter(|plight| {
        let end = (plight.key.netns, plight.key.local);
        plight.silence.is_some() && model.silences().are_lasting() && latest.of(end, || asked.contains(&end))
    });
    let suffering = Suffering::of(in_vain.map(Sufferer::from));
    // Addresses that several machines have, of which one is to answer, are left unanswered on purpose.
    let answered_before = cases.iter().any(|case| case.asked.answered > 0);
    let confidence = if answered_before || !suffering.flows.is_empty() {
        Confidence::Strong
    } else {
        Confidence::Weak
    };
    let since = cases.iter().map(|case| case.spell.since).min()?;
    let last = cases.iter().map(|case| case.spell.last).max()?;
    let requests = cases
        .iter()
        .map(|case| case.spell.packets)
        .fold(0, u64::saturating_add);
    let addresses: Vec<String> = cases.iter().map(|case| case.address.to_string()).collect();
    let explanation = format!(
        "Neighbours asked {} in {} who has {}, and this node has answered none of it: who gets no answer cannot send it anything, \
         once what it remembers is too old.{}",
        count(requests, "time"),
        span(last.saturating_sub(since)),
        list(&addresses),
        suffering.affected()
    );
    let evidence = cases
        .iter()
        .take(5)
        .map(|case| {
            let device = model.node().device_name(case.netns, case.asked.device);
            let text = format!(
                "{} on {device}: {} since the start, {}",
                case.address,
                count(case.asked.asked, "request"),
                count(case.asked.answered, "answer")
            );
            Evidence {
                text,
                fact: Fact::Neighbour {
                    address: case.address.to_string(),
                    device,
                    asked: case.asked.asked,
                    answered: case.asked.answered,
                },
            }
        })
        .collect();
    let device = model.node().device_name(first.netns, first.asked.device);
    // In a sysctl's name a dot of the device is written as a slash.
    let setting = format!("net.ipv4.conf.{}.arp_ignore", device.replace('.', "/"));
    let check = [
        format!("ip link show dev {}  # must not say NOARP", quoted(&device)),
        format!(
            "sysctl net.ipv4.conf.all.arp_ignore {} net.ipv4.conf.all.rp_filter",
            quoted(&setting)
        ),
        "ip rule  # must show `lookup local`".to_owned(),
        "nft list ruleset".to_owned(),
    ]
    .map(|line| command(model, first.netns, &line))
    .into();
    Some(Finding {
        confidence,
        explanation,
        since,
        last,
        evidence,
        namespaces: cases.iter().map(|case| case.netns).collect(),
        standing: None,
        devices: BTreeSet::new(),
        units: suffering.units([]),
        flows: suffering.flows,
        prevent: Vec::new(),
        check,
        remedy: vec![
            "Undo what the checks show: switch ARP on at the device, set arp_ignore to what it was, put the rule \
             back, or let the firewall pass ARP and neighbour discovery. Risk: low, where it is what was there before."
                .to_owned(),
        ],
    })
}
