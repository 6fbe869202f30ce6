//! Which finding hangs under which: one root, and what follows from it.

use super::lost::rules::IPV6_OFF;
use super::{Finding, Rule, pairing};
use crate::event::{FlowKey, Version};
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::report::Confidence;

/// What follows from a fault may be seen so long before the fault itself is: the first packets may be others.
const SLACK: u64 = 2 * SECOND;

/// A finding, and whose it is.
pub(super) type Found = (&'static Rule, Finding);

/// A verdict that makes the node unhealthy.
pub(super) fn counts(confidence: Confidence) -> bool {
    confidence > Confidence::Weak
}

/// For each finding the id of the one that it hangs under. They come in the order of their precedence. What is certain, and has a cause
/// that is not that of the other one, is a fault of its own.
pub(super) fn under(model: &Model, found: &[Found]) -> Vec<Option<&'static str>> {
    found
        .iter()
        .enumerate()
        .map(|(place, (rule, finding))| {
            let above = found.iter().enumerate().filter(|(other, _)| *other != place);
            above
                .filter(|(_, (root, cause))| {
                    rule.follows.contains(&root.id)
                        && counts(cause.confidence)
                        && cause.since <= finding.since.saturating_add(SLACK)
                        && (belongs(finding, cause) || is_dropped_there(model, finding, cause))
                        && (root.id != IPV6_OFF.id || !finding.flows.locals().are_of(Version::V4))
                })
                .filter(|(_, (root, cause))| !pairing::is_apart(model, (rule, finding), (root, cause)))
                .map(|(_, (root, _))| root.id)
                .next()
        })
        .collect()
}

/// Of what the flows of a finding send, so many are looked for where that is passed on.
const PASSED_ON: usize = 64;

/// What its flows send was dropped since then in a namespace of the cause, which was to pass it on: as what pods send is by their node.
fn is_dropped_there(model: &Model, finding: &Finding, cause: &Finding) -> bool {
    let is_dropped = |netns: u32, key: &FlowKey| {
        // Where it arrives it is for its peer.
        let there = FlowKey {
            netns,
            protocol: key.protocol,
            local: key.remote,
            local_port: key.remote_port,
            remote: key.local,
            remote_port: key.local_port,
        };
        let dropped = model.plight_of(&there).and_then(|plight| plight.dropped);
        dropped.is_some_and(|spell| spell.last >= cause.since)
    };
    let mut flows = finding.flows.some(PASSED_ON);
    flows.any(|key| cause.namespaces.iter().any(|netns| is_dropped(*netns, key)))
}

/// They are about the same namespace, where both tell theirs.
fn belongs(finding: &Finding, cause: &Finding) -> bool {
    finding.namespaces.is_empty()
        || cause.namespaces.is_empty()
        || !finding.namespaces.is_disjoint(&cause.namespaces)
}
