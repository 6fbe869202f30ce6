//! What this node sends is kept from leaving by its own firewall.

use std::collections::BTreeSet;

use super::lost::kinds;
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, moment};
use super::{About, Finding, Rule, effects, evidence};
use crate::event::{FlowKey, SocketState};
use crate::model::Model;
use crate::model::clock::{SECOND, When};
use crate::model::ends;
use crate::model::flows::Flow;
use crate::model::growth::Spell;
use crate::report::{Confidence, Where};

/// K02: a firewall drops what open connections send.
pub(super) const FILTERED: Rule = Rule {
    id: "K02",
    slug: "output-filtered",
    title: "A firewall drops what this node sends on connections that worked",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "What this node sends is dropped for NETFILTER_DROP before it leaves: of connections that are open, or of flows \
                    in which packets had come and left before, and of which nothing has left since.",
        meaning: "A rule or the policy of a chain at the hook output or postrouting drops it. What arrives reaches its socket, and \
                  no answer leaves. What never got through is told nowhere: it may be forbidden on purpose.",
        check: &[
            "nft -a list ruleset",
            "iptables-legacy-save -c; ip6tables-legacy-save -c",
            "tracer node  # lists the rules that can drop, with what they counted",
        ],
        mend: &[
            "Change the rule that the checks show. Risk: it may be there on purpose; ask whose it is, and do not flush what \
             others made.",
        ],
    },
    examine: |view| filtered(view.model),
    explains: effects::firewall,
    proved_by: effects::none,
    follows: &[],
};

/// Packets of a flow that must have been shown as dropped, and the time that they must span.
const PACKETS: u64 = 2;
const LASTING: u64 = SECOND;
/// That a packet left is told up to a round later.
const ROUND: u64 = 600_000_000;

/// Flows that nothing leaves of any more, and which got answers before.
fn blocked(model: &Model) -> Vec<(&FlowKey, &Flow, Spell)> {
    let all = model.books().filtered(model.now());
    all.filter(|(_, spell)| spell.lasts(PACKETS, LASTING))
        .filter_map(|(key, spell)| {
            let flow = model.flows().get(key)?;
            let nothing_left = flow.last_sent <= When::at(spell.since.saturating_add(ROUND));
            (nothing_left && used_to_work(model, key, flow)).then_some((key, flow, spell))
        })
        .collect()
}

/// It is an open connection, or something has come back of it.
fn used_to_work(model: &Model, key: &FlowKey, flow: &Flow) -> bool {
    let is_open = |state| matches!(state, SocketState::Established | SocketState::CloseWait);
    let connection = model.sockets().connection(key);
    connection.map_or(flow.arrived > 0 && flow.sent > 0, |found| is_open(found.state))
}

fn filtered(model: &Model) -> Option<Finding> {
    let blocked = blocked(model);
    let since = blocked.iter().map(|(.., spell)| spell.since).min()?;
    let last = blocked.iter().map(|(.., spell)| spell.last).max()?;
    let flows = blocked
        .iter()
        .map(|(key, flow, _)| (*key, *flow, model.plight_of(key)));
    let suffering = Suffering::of(flows.map(Sufferer::in_turn(model)));
    let namespaces = suffering.flows.namespaces();
    let lines = || {
        let all = model.books().lines();
        all.filter(|(key, line)| ends::filtered(key) && line.packets > 0 && namespaces.contains(&key.netns))
            .map(|(key, line)| (key, line.packets))
    };
    let packets = lines().fold(0, |sum: u64, (_, packets)| sum.saturating_add(packets));
    // Of these only examples are shown, and the flows' packets are a part of them.
    let of_these = blocked
        .iter()
        .fold(0, |sum: u64, (.., spell)| sum.saturating_add(spell.packets));
    let hooks = match kinds::hooks_in(model, &namespaces, false) {
        hooks if hooks.is_empty() => String::new(),
        hooks => format!(" {}", kinds::hooks_text(&hooks)),
    };
    let evidence = evidence::unsent(lines(), ends::version)
        .into_iter()
        .take(5)
        .collect();
    let flows = suffering.flows.len() as u64;
    let first = *namespaces.first()?;
    Some(Finding {
        confidence: Confidence::Strong,
        explanation: format!(
            "Since {} nothing leaves of {} on which packets came and went before: this node's own firewall drops it. Of what this \
             node was sending it has dropped {} since the start of tracer, at least {of_these} of them of {}.{hooks}{}",
            moment(model, since),
            count(flows, "flow"),
            count(packets, "packet"),
            if flows == 1 { "this flow" } else { "these flows" },
            suffering.named()
        ),
        since,
        last,
        evidence,
        units: suffering.units([]),
        flows: suffering.flows,
        standing: None,
        prevent: Vec::new(),
        devices: BTreeSet::new(),
        check: ["nft -a list ruleset", "iptables-legacy-save -c"]
            .map(|line| command(model, first, line))
            .into(),
        namespaces,
        remedy: vec![
            "Change the rule that the checks show. Risk: it may be there on purpose; ask whose it is, and do not flush what \
             others made."
                .to_owned(),
        ],
    })
}
