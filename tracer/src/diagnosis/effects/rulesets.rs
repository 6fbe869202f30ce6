//! What changes of a firewall's rules can bring about.

use super::programs::filters;
use super::{FLOWS, thing};
use crate::diagnosis::matching::Asks;
use crate::diagnosis::{Finding, firewalls, gone_rules, redirects};
use crate::event::ruleset::{self, Came, Did, Policy};
use crate::event::value::NF_TABLES;
use crate::event::{Family, Thing};
use crate::model::timeline::Change;

/// The rules of a firewall changed, so that more may be dropped, a program came that is asked beside them, or what it knows of
/// connections was deleted.
pub(in crate::diagnosis) fn firewall(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Ruleset { firewall }) if firewall == NF_TABLES => {
            let did = ruleset::read(change.after.as_deref().unwrap_or_default());
            did.is_empty() || did.iter().any(|did| did.as_ref().is_none_or(may_drop))
        }
        Some(Thing::Ruleset { .. }) => {
            ruleset::may_drop_more(change.before.as_deref(), change.after.as_deref())
        }
        Some(Thing::Tracking) => true,
        Some(Thing::BpfLink { .. }) => filters(finding, change),
        _ => false,
    }
}

/// The rules of a firewall changed, so that more may be dropped from anybody: not by a rule that says from whom, or an element of
/// a set, as where somebody is shut out on purpose.
pub(in crate::diagnosis) fn firewall_shut(finding: &Finding, change: &Change) -> bool {
    let Some(Thing::Ruleset { .. }) = thing(finding, change) else {
        return false;
    };
    if !ruleset::newly_shut(change.before.as_deref(), change.after.as_deref()).is_empty() {
        return true;
    }
    let did = ruleset::read(change.after.as_deref().unwrap_or_default());
    did.iter().flatten().any(|did| match did {
        Did::Elements(..) | Did::More(_) => false,
        Did::Rule { words, .. } => may_drop(did) && !words.contains("saddr"),
        did => may_drop(did),
    })
}

/// A rule went away that led packets elsewhere which are for a port of the finding.
pub(in crate::diagnosis) fn redirection(finding: &Finding, change: &Change) -> bool {
    a_rule(finding, change, Came::Gone, |family, words| {
        finding.flows.some(FLOWS).any(|flow| {
            redirects::leads(family, words, flow.protocol, flow.local_port, flow.local).is_some()
                || redirects::leads_out(family, words, flow.protocol, flow.remote_port, flow.remote)
        })
    })
}

/// A rule came that leads packets elsewhere which are for a port of the finding.
pub(in crate::diagnosis) fn leads_away(finding: &Finding, change: &Change) -> bool {
    a_rule(finding, change, Came::New, |family, words| {
        let mut flows = finding.flows.some(FLOWS);
        flows
            .any(|flow| redirects::leads(family, words, flow.protocol, flow.local_port, flow.local).is_some())
    })
}

/// A rule went away that gave what is passed on another source, and may have been for a flow of the finding.
pub(in crate::diagnosis) fn masking(finding: &Finding, change: &Change) -> bool {
    a_rule(finding, change, Came::Gone, |family, words| {
        let all: Vec<&str> = words.split(' ').collect();
        let asks = Asks::of(family, &all);
        let mut flows = finding.flows.some(FLOWS);
        gone_rules::gives_a_source(words) && flows.any(|flow| asks.fit(&firewalls::arriving(flow)).is_some())
    })
}

/// A rule of a table of this family and with these words that is such a one came or went away.
fn a_rule(finding: &Finding, change: &Change, how: Came, is_it: impl Fn(Family, &str) -> bool) -> bool {
    let Some(Thing::Ruleset { .. }) = thing(finding, change) else {
        return false;
    };
    let did = ruleset::read(change.after.as_deref().unwrap_or_default());
    did.iter().flatten().any(
        |did| matches!(did, Did::Rule { table, words, came, .. } if *came == how && is_it(table.family, words)),
    )
}

/// More may be dropped by it than before: a rule that is new only by what it says itself, one that is gone by what it let
/// pass, which is nothing where all that it did was to drop.
pub(in crate::diagnosis) fn may_drop(did: &Did) -> bool {
    match did {
        // Of one that goes, all that was in it is told (`nft_flush_table` in net/netfilter/nf_tables_api.c).
        Did::Table(..) => false,
        Did::Chain(_, _, policy, came) => *came != Came::Gone && *policy == Some(Policy::Drop),
        Did::Policy { now, .. } => *now == Some(Policy::Drop),
        Did::Set(..) | Did::Renamed { .. } => false,
        Did::Object(_, object, ..) => !object.only_counts(),
        Did::Device { came, .. } => *came == Came::New,
        Did::Dormant(_, is_dormant) => !is_dormant,
        Did::Elements(..) | Did::More(_) => true,
        Did::Anew { has_elements } => *has_elements,
        Did::Rule {
            words,
            came: Came::New,
            ..
        } if firewalls::untracks(words) => true,
        Did::Rule { words, came, .. } => {
            // The targets of iptables are written in capitals.
            let words = words.to_ascii_lowercase();
            match came {
                Came::New => ["drop", "reject", "queue", "jump", "goto", "vmap"]
                    .iter()
                    .any(|word| words.contains(word)),
                Came::Gone => !only_drops(&words),
            }
        }
    }
}

/// All that a rule with these words does is to drop: where it goes, nothing is dropped that was not before.
pub(in crate::diagnosis) fn only_drops(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    let last = words.rsplit(' ').next().unwrap_or_default();
    !words.contains("jump") && !words.contains("goto") && ["drop", "reject"].contains(&last)
}

/// By it packets may leave for somebody else than before, or from another address. What a rule drops is no such thing: the drop
/// itself is seen.
pub(super) fn may_lead_elsewhere(did: &Did) -> bool {
    const WORDS: [&str; 15] = [
        "dnat",
        "snat",
        "masquerade",
        "redirect",
        "tproxy",
        "mark",
        "set ",
        "dup",
        "fwd",
        "notrack",
        "queue",
        "jump",
        "goto",
        "map",
        "target",
    ];
    match did {
        Did::Chain(_, _, _, came) => *came == Came::Gone,
        // Of one that goes, all that was in it is told (`nft_flush_table` in net/netfilter/nf_tables_api.c).
        Did::Table(..)
        | Did::Policy { .. }
        | Did::Set(..)
        | Did::Object(..)
        | Did::Renamed { .. }
        | Did::Anew { .. } => false,
        Did::Elements(..) | Did::More(_) | Did::Device { .. } | Did::Dormant(..) => true,
        Did::Rule { words, .. } => WORDS.iter().any(|word| words.contains(word)),
    }
}

/// The same rules were loaded once more: whether their sets have elements, of which it is not known what they were before.
pub(super) fn loaded_anew(change: &Change) -> Option<bool> {
    match ruleset::read(change.after.as_deref().unwrap_or_default())[..] {
        [Some(Did::Anew { has_elements })] => Some(has_elements),
        _ => None,
    }
}

/// It may make packets take another end: not what only makes room for rules, as a table, or a chain that lets all pass.
pub(super) fn may_decide(change: &Change) -> bool {
    let did = ruleset::read(change.after.as_deref().unwrap_or_default());
    let is_room = |did: &Did| match did {
        Did::Table(_, came) => *came == Came::New,
        Did::Chain(_, _, policy, came) => *came == Came::New && *policy != Some(Policy::Drop),
        Did::Object(_, object, ..) => object.only_counts(),
        Did::Set(..) | Did::Renamed { .. } | Did::Anew { has_elements: false } => true,
        _ => false,
    };
    did.is_empty() || did.iter().any(|did| did.as_ref().is_none_or(|did| !is_room(did)))
}
