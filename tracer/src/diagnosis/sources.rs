//! What a pod sends takes another way than before, since the rule that gave it its own is lost.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::networks::Networks;
use super::sufferers::Sufferers;
use super::words::{command, count, distinct, ip, list, moment};
use super::{About, Finding, Rule, View, effects, evidence};
use crate::event::{FlowKey, Thing, value};
use crate::model::clock::{MEMORY, SECOND, When};
use crate::model::flows::Flow;
use crate::report::{Confidence, Where};
use crate::shell::quoted;

/// R33: a rule that chooses by the source is lost.
pub(super) const SOURCE_RULE: Rule = Rule {
    id: "R33",
    slug: "source-rule-lost",
    title: "What pods send takes another way since their routing rules are lost",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "A routing rule for packets from some address was lost while tracer looked; packets from that address go on \
                    arriving by a device that is no uplink, and since then nothing for it arrives by an uplink, which did before.",
        meaning: "Network plugins give pods a way of their own by such rules, as that of the device whose addresses they have \
                  (`from POD lookup TABLE`). Without the rule what they send leaves by the node's default route, from an address \
                  that the network does not expect there, and is lost. The node itself has no need of these rules: it is well.",
        check: &[
            "ip rule  # must show `from POD lookup TABLE`, as on a node that is well",
            "ip route get PEER from POD iif DEVICE  # by which device it leaves",
            "journalctl -u systemd-networkd -n 50",
        ],
        mend: &[
            "Put the rules back, or restart the network plugin's agent. Risk: low, where it is what was there before.",
            "Set ManageForeignRoutingPolicyRules=no in a file in /etc/systemd/networkd.conf.d/ (section [Network]), \
             where systemd-networkd runs. Risk: rules that others forget stay.",
        ],
    },
    examine: |view| lost(view),
    explains: effects::source_rule,
    proved_by: effects::none,
    follows: &["R01", "R22"],
};

/// What arrives so long after the rule was lost is no packet that was on its way.
const ON_ITS_WAY: u64 = SECOND;
/// Who sends for so long after it was lost is no pod that was ended with its rules.
const LASTING: u64 = 2 * SECOND;

/// A rule that was lost, and the flows that went by it: as the node has them, with the pod as the remote end.
struct Gone<'a> {
    netns: u32,
    thing: &'a Thing,
    source: (IpAddr, u8),
    at: u64,
    asking: Asking<'a>,
    /// Something for the address arrived by an uplink before.
    was_answered: bool,
    /// And does still.
    is_answered: bool,
}

/// Flows that went by a rule that was lost, and go on: something of each arrived lately.
#[derive(Default)]
struct Asking<'a> {
    flows: u64,
    /// The first of them, with the device by which it arrives.
    first: Option<(&'a FlowKey, u32)>,
    /// When the last packet arrived.
    last: When,
    pods: BTreeSet<IpAddr>,
    /// The devices by which they arrive, by namespace and index.
    devices: BTreeSet<(u32, u32)>,
}

impl<'a> Asking<'a> {
    fn add(&mut self, key: &'a FlowKey, flow: &Flow) {
        self.flows += 1;
        self.first.get_or_insert((key, flow.iif));
        self.last = self.last.max(flow.last_arrived);
        // Most are of the same ones.
        let device = (key.netns, flow.iif);
        if self.pods.last() != Some(&key.remote) {
            self.pods.insert(key.remote);
        }
        if self.devices.last() != Some(&device) {
            self.devices.insert(device);
        }
    }
}

fn gone<'a>(view: &View<'a>) -> Vec<Gone<'a>> {
    let model = view.model;
    let lost = model
        .settings()
        .differences()
        .filter_map(|(netns, thing, difference)| {
            let Thing::Rule {
                version, text, table, ..
            } = thing
            else {
                return None;
            };
            let is_lost = difference.before.is_some() && difference.now.is_none();
            let source = value::source(text).filter(|_| is_lost)?;
            // Agents make them anew with another preference.
            let is_equal = |other: &Thing| {
                matches!(other, Thing::Rule { version: its, text, table: leads, .. }
                    if its == version && leads == table && value::source(text) == Some(source))
            };
            if model
                .settings()
                .iter()
                .any(|(its, other, _)| its == netns && is_equal(other))
            {
                return None;
            }
            Some(Gone {
                netns,
                thing,
                source,
                at: difference.at,
                asking: Asking::default(),
                was_answered: false,
                is_answered: false,
            })
        });
    let mut all: Vec<Gone<'_>> = lost.collect();
    if all.is_empty() {
        return all;
    }
    let lately = When::at(model.now().saturating_sub(MEMORY));
    let networks: Networks = all
        .iter()
        .map(|gone| (gone.netns, gone.source.0, gone.source.1))
        .collect();
    for (key, flow) in model.flows().iter().filter(|(_, flow)| flow.iif != 0) {
        let by_uplink = view.by_uplink(key.netns, flow.iif);
        let pod = if by_uplink { key.local } else { key.remote };
        for place in networks.covering(key.netns, pod) {
            let Some(gone) = all.get_mut(place) else {
                continue;
            };
            let after = |span: u64| flow.last_arrived >= When::at(gone.at.saturating_add(span));
            if by_uplink {
                gone.was_answered = true;
                gone.is_answered |= after(ON_ITS_WAY);
            } else if after(LASTING) && flow.last_arrived >= lately {
                gone.asking.add(key, flow);
            }
        }
    }
    all.retain(|gone| gone.asking.flows > 0 && gone.was_answered && !gone.is_answered);
    all
}

fn lost(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let gone = gone(view);
    let since = gone.iter().map(|gone| gone.at).min()?;
    let asking = || gone.iter().map(|gone| &gone.asking);
    let last = asking().filter_map(|asking| asking.last.time()).max()?;
    let pods: BTreeSet<&IpAddr> = asking().flat_map(|asking| &asking.pods).collect();
    let pods = distinct(pods.iter().map(ToString::to_string));
    let devices: BTreeSet<&(u32, u32)> = asking().flat_map(|asking| &asking.devices).collect();
    let devices = distinct(
        devices
            .iter()
            .map(|(netns, index)| model.node().device_name(*netns, *index)),
    );
    let rules = distinct(gone.iter().map(|gone| gone.thing.to_string()));
    let explanation = format!(
        "Since {} {} {} not there. What {} {} goes on arriving by {}, in {}, and nothing for {} has arrived by an uplink since: \
         by the rules that are left it takes another way than before.",
        moment(model, since),
        list(&rules),
        if rules.len() == 1 { "is" } else { "are" },
        list(&pods),
        if pods.len() == 1 { "sends" } else { "send" },
        list(&devices),
        count(asking().map(|asking| asking.flows).sum(), "flow"),
        if pods.len() == 1 { "it" } else { "them" },
    );
    let check = gone
        .iter()
        .filter_map(|gone| gone.asking.first)
        .take(2)
        .flat_map(|(key, iif)| {
            let ip = ip(key.remote);
            let device = model.node().device_name(key.netns, iif);
            [
                format!("{ip} rule"),
                format!(
                    "{ip} route get {} from {} iif {}",
                    key.local,
                    key.remote,
                    quoted(&device)
                ),
            ]
            .map(|line| command(model, key.netns, &line))
        })
        .collect();
    Some(Finding {
        confidence: Confidence::Strong,
        explanation,
        since,
        last,
        evidence: gone
            .iter()
            .take(5)
            .map(|gone| {
                let how = format!("was there until {}", moment(model, gone.at));
                evidence::state(gone.thing.to_string(), how)
            })
            .collect(),
        flows: Sufferers::default(),
        namespaces: gone.iter().map(|gone| gone.netns).collect(),
        devices: BTreeSet::new(),
        units: Vec::new(),
        standing: None,
        check,
        prevent: Vec::new(),
        remedy: vec![
            "Put back the rules that are lost, or restart the network plugin's agent. Risk: low, where it is what was there \
             before."
                .to_owned(),
        ],
    })
}
