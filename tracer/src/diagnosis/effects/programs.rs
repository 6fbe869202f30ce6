//! What BPF programs can bring about that come, by links or by themselves: what they do is not known, only where they are asked.

use super::{concerns, is_at, is_gone, thing};
use crate::diagnosis::Finding;
use crate::event::value;
use crate::event::{Thing, Version};
use crate::model::ends;
use crate::model::timeline::Change;
use crate::report::{Evidence, Fact};

/// An XDP program was attached: by a link, or to the device itself, whose value names it.
pub(in crate::diagnosis) fn xdp(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::BpfLink { .. }) => takes_at(finding, change, &["xdp"]),
        Some(Thing::Link { device }) => {
            let (was, is) = (change.before.as_deref(), change.after.as_deref());
            let has = |program: &str| value::xdp(was.unwrap_or_default()).any(|was| was == program);
            is_at(finding, device) && value::xdp(is.unwrap_or_default()).any(|program| !has(program))
        }
        _ => false,
    }
}

/// A filter, or a program at a device, came or changed.
pub(in crate::diagnosis) fn traffic(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::BpfLink { .. }) => takes_at(finding, change, &["tcx"]),
        // A class of a queueing discipline takes nothing away that arrives.
        Some(Thing::Traffic { device, text }) => {
            !is_gone(change) && is_at(finding, device) && !text.starts_with("class ")
        }
        _ => false,
    }
}

/// A program was attached to a cgroup, by a link or by itself; or one came of which is not known where it is.
pub(in crate::diagnosis) fn cgroup(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::BpfLink { .. }) => is_of(change, "cgroup"),
        Some(Thing::CgroupPrograms { hook, .. }) => is_asked(finding, hook) && !is_gone(change),
        Some(Thing::Program { .. }) => is_of(change, "cgroup_skb"),
        _ => false,
    }
}

/// Programs at this hook of a cgroup are asked about packets of the finding: about what is sent not those at
/// `cgroup_inet_ingress`.
fn is_asked(finding: &Finding, hook: &str) -> bool {
    let is_sent = |evidence: &Evidence| matches!(&evidence.fact, Fact::Drop { reason, .. } if ends::is_refused_to_leave(reason));
    let all = &finding.evidence;
    let is_all_sent = !all.is_empty() && all.iter().all(is_sent);
    hook.starts_with("cgroup_inet_") && !(is_all_sent && hook == "cgroup_inet_ingress")
}

/// A link came that has its program asked at a hook of netfilter, as a firewall's rules are, about packets of that version of IP.
pub(super) fn filters(finding: &Finding, change: &Change) -> bool {
    let hook = || value::netfilter_hook(change.after.as_deref()?);
    is_of(change, value::NETFILTER)
        && hook().is_none_or(|(_, family)| match family {
            "ip" => concerns(finding, Version::V4),
            "ip6" => concerns(finding, Version::V6),
            _ => true,
        })
}

/// A link of one of these types came, at a device of the finding, as far as that is known.
pub(super) fn takes_at(finding: &Finding, change: &Change, kinds: &[&str]) -> bool {
    let device = || value::linked_device(change.after.as_deref()?);
    kinds.iter().any(|kind| is_of(change, kind)) && device().is_none_or(|device| is_at(finding, device))
}

/// A program or link of this type is there.
fn is_of(change: &Change, kind: &str) -> bool {
    change.after.as_deref().is_some_and(|now| value::is_of(now, kind))
}
