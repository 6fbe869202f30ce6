//! What pods send had this node's address, by a rule of a firewall, until that went away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{affected, is_foreign};
use crate::diagnosis::firewalls::arriving;
use crate::diagnosis::gone_rules::{Translation, went_away};
use crate::diagnosis::matching::{Asks, Packet};
use crate::diagnosis::words::{command, count, distinct, list};
use crate::diagnosis::{About, Finding, Rule, View, effects, evidence};
use crate::event::FlowKey;
use crate::model::clock::{MEMORY, SECOND, When};
use crate::model::endpoints::Endpoint;
use crate::model::flows::Flow;
use crate::model::latest::{Gathering, Latest};
use crate::report::{Confidence, Where};

/// R40: a rule that gives pods the node's address went away.
pub(in crate::diagnosis) const LOST: Rule = Rule {
    id: "R40",
    slug: "masquerade-lost",
    title: "The rule that gave what pods send this node's address went away",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "A rule of nf_tables with `masquerade` or `snat` went away while tracer looked and did not come again. What it may \
                    have been for goes on arriving by a device that is no uplink, 2 s after and later, and of those whom it is for, \
                    none answers any more what was sent by others than this node itself, as it did before.",
        meaning: "Pods and machines behind this node have addresses that nobody outside knows a way to. The rule let what they send \
                  leave as if it were this node's, and led the answers back. Without it they leave as they are, and answers go nowhere. \
                  Connections that stand keep what they were given; the node itself has no need of the rule: it is well.",
        check: &[
            "nft -a list ruleset",
            "iptables-legacy-save -c; ip6tables-legacy-save -c",
            "conntrack -L -n  # what is translated still",
        ],
        mend: &[
            "Put the rule back, or have whoever set it load its rules again (systemctl restart of the firewall's or the network \
             plugin's unit). Risk: low for the former; the latter may replace rules of others.",
        ],
    },
    examine: lost,
    explains: effects::masking,
    proved_by: effects::none,
    follows: &["R01", "R22", "D02"],
};

/// What arrives so long after the rule went away is no packet that was on its way.
const ON_ITS_WAY: u64 = SECOND;
/// Who asks for so long after it went away is no pod that was ended with it.
const LASTING: u64 = 2 * SECOND;
/// An answer may take so long.
const ANSWERS: u64 = SECOND;

/// Somebody outside who is asked by pods, and how.
struct Asked<'a> {
    rule: &'a Translation,
    flows: Vec<FlowKey>,
    devices: BTreeSet<u32>,
    /// When the flow was last heard that has been silent longest.
    first: When,
    /// Some of them sent more than one packet.
    asks_again: bool,
    /// When the last of them arrived.
    last: When,
    /// An answer to somebody behind this node came before the rule went.
    was_answered: bool,
    /// And since.
    is_answered: bool,
}

/// It comes from behind this node.
fn is_from_inside(view: &View<'_>, key: &FlowKey, flow: &Flow) -> bool {
    ![0, tracer_ebpf::LOOPBACK].contains(&flow.iif) && !view.by_uplink(key.netns, flow.iif)
}

/// It may be an answer to somebody behind this node: nobody of the node itself sent there or took it.
fn is_for_others(view: &View<'_>, key: &FlowKey, flow: &Flow) -> bool {
    let is_of_node = || flow.sent > 0 || flow.matched > 0 || flow.queued > 0;
    flow.iif != 0 && view.by_uplink(key.netns, flow.iif) && !is_of_node()
}

/// Those outside who are asked since some rule went away, and lately, and do not answer.
fn asked<'a>(view: &'a View<'_>, rules: &[&'a Translation]) -> BTreeMap<Endpoint, Asked<'a>> {
    let model = view.model;
    let words: Vec<Vec<&str>> = rules.iter().map(|rule| rule.words.split(' ').collect()).collect();
    let lately = When::at(model.now().saturating_sub(MEMORY));
    // The latest first.
    let rules: Vec<(&Translation, Asks)> = rules
        .iter()
        .zip(&words)
        .rev()
        .map(|(rule, words)| (*rule, Asks::of(rule.family, words)))
        .collect();
    let mut all: Gathering<Endpoint, Asked<'a>> = Gathering::default();
    // Flows to one end, and of one pod to it, are side by side.
    let mut latest = None;
    let mut lost: Latest<(Endpoint, IpAddr), Option<&'a Translation>> = Latest::default();
    // Those for what is sent to an end, whoever sends it.
    let mut to_end: Option<(Endpoint, Vec<&(&'a Translation, Asks)>)> = None;
    for (key, flow) in model.flows().iter() {
        // What becomes of what is asked no more is not known.
        if flow.last_arrived < lately || !is_from_inside(view, key, flow) {
            continue;
        }
        let end = Endpoint::at(key);
        let find = || {
            // Which port of its own a pod has says nothing.
            let sent = |source| Packet {
                source: (source, None),
                ..arriving(key)
            };
            if !matches!(&to_end, Some((of, _)) if *of == end) {
                let packet = sent(None);
                let is_for = |(rule, asks): &&(&Translation, Asks)| {
                    rule.netns == key.netns && asks.fit(&packet).is_some()
                };
                let is_foreign = is_foreign(model, key.netns, key.local);
                let of_it = rules.iter().filter(|_| is_foreign).filter(is_for).collect();
                to_end = Some((end, of_it));
            }
            let (_, rules) = to_end.as_ref()?;
            let packet = sent(Some(key.remote));
            let lost = rules.iter().find(|(_, asks)| asks.fit(&packet).is_some());
            lost.map(|(rule, _)| *rule)
        };
        let Some(rule) = lost.of((end, key.remote), find) else {
            continue;
        };
        if flow.last_arrived < When::at(rule.at.saturating_add(ON_ITS_WAY)) {
            continue;
        }
        let asked = all.of(end, || Asked {
            rule,
            flows: Vec::new(),
            devices: BTreeSet::new(),
            first: flow.last_arrived,
            asks_again: false,
            last: When::NEVER,
            was_answered: false,
            is_answered: false,
        });
        asked.flows.push(*key);
        if latest != Some((end, flow.iif)) {
            latest = Some((end, flow.iif));
            asked.devices.insert(flow.iif);
        }
        asked.first = asked.first.min(flow.last_arrived);
        asked.asks_again = asked.asks_again || flow.arrived > 1;
        asked.last = asked.last.max(flow.last_arrived);
    }
    let mut all = all.whole();
    if all.is_empty() {
        return all;
    }
    for (key, flow, plight) in view.flows(|key, flow| is_for_others(view, key, flow)) {
        let Some(asked) = all.get_mut(&Endpoint::of(key)) else {
            continue;
        };
        // What a peer sends once more to this node itself, which knows of no such connection, reaches nobody.
        let dropped = plight.and_then(|plight| plight.dropped);
        let refused = dropped.filter(|spell| When::at(spell.last) >= flow.last_arrived);
        let is_late = flow.last_arrived >= When::at(asked.rule.at.saturating_add(ON_ITS_WAY));
        // Of an end that answers late as well it is not known when it did first, but where only that is refused.
        let had_passed = refused.is_some_and(|_| flow.arrived > flow.dropped);
        asked.was_answered |= !is_late || had_passed;
        asked.is_answered |= is_late && refused.is_none();
    }
    let is_late = When::at(model.now().saturating_sub(ANSWERS));
    all.retain(|_, asked| {
        let lasts = asked.last >= When::at(asked.rule.at.saturating_add(LASTING));
        let is_overdue = asked.asks_again || asked.first <= is_late;
        asked.was_answered && !asked.is_answered && lasts && is_overdue
    });
    all
}

fn lost(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let rules: Vec<&Translation> = view.gone_rules().masking().collect();
    if rules.is_empty() {
        return None;
    }
    let asked = asked(view, &rules);
    let rules: BTreeSet<&Translation> = asked.values().map(|asked| asked.rule).collect();
    let since = rules.iter().map(|rule| rule.at).min()?;
    let last = asked.values().filter_map(|asked| asked.last.time()).max()?;
    let mut flows: Vec<FlowKey> = asked
        .values()
        .flat_map(|asked| asked.flows.iter().copied())
        .collect();
    flows.sort_unstable();
    // Flows of one pod to one end are side by side.
    let runs = flows.chunk_by(|one, next| one.remote == next.remote);
    let pods: BTreeSet<IpAddr> = runs.filter_map(|run| run.first()).map(|key| key.remote).collect();
    let pods = distinct(pods.iter().map(ToString::to_string));
    let devices = asked.iter().flat_map(|(end, asked)| {
        let name = |device: &u32| model.node().device_name(end.netns, *device);
        asked.devices.iter().map(name).collect::<Vec<_>>()
    });
    let devices = distinct(devices);
    let peers = distinct(asked.keys().map(told));
    let explanation = format!(
        "{} What {} {} to {} goes on arriving by {}, and no answer for anybody behind this node has come from there by an uplink \
         since, as there did before.{}",
        went_away(
            model,
            if rules.len() == 1 {
                "The rule that may have given what pods send this node's address"
            } else {
                "The rules that may have given what pods send this node's address"
            },
            &rules
        ),
        list(&pods),
        if pods.len() == 1 { "sends" } else { "send" },
        list(&peers),
        list(&devices),
        affected(&flows)
    );
    let evidence = asked
        .iter()
        .take(5)
        .map(|(end, asked)| {
            let how = format!("{} to it, and no answer", count(asked.flows.len() as u64, "flow"));
            evidence::state(told(end), how)
        })
        .collect();
    let netns = rules.first().map(|rule| rule.netns)?;
    Some(Finding {
        confidence: Confidence::Strong,
        explanation,
        since,
        last,
        evidence,
        namespaces: rules.iter().map(|rule| rule.netns).collect(),
        devices: BTreeSet::new(),
        flows: flows.into(),
        units: Vec::new(),
        standing: None,
        check: vec![command(model, netns, "nft -a list ruleset")],
        remedy: rules.iter().map(|rule| rule.put_back()).collect(),
        prevent: Vec::new(),
    })
}

/// `udp 192.0.2.53 port 53`
fn told(end: &Endpoint) -> String {
    match end.port {
        0 => format!("{} {}", end.protocol, end.address),
        port => format!("{} {} port {port}", end.protocol, end.address),
    }
}
