//! What the tracer is allowed to do, before it tries.

use std::fs;
use std::io;

use rustix::thread::{CapabilitySet, capabilities};

use crate::event::{Capability, CapabilityState};

/// The capability's name.
pub const CAPABILITY: &str = "privileges";

/// A privilege that the tracer does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The privilege, as capabilities(7) names it.
    pub privilege: &'static str,
    /// What is therefore not possible.
    pub therefore: &'static str,
    /// Without it the tracer cannot run at all.
    pub required: bool,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} is missing: {}; run tracer as root",
            self.privilege, self.therefore
        )
    }
}

/// Privileges that the tracer can do without, as a part of what it can see.
#[must_use]
pub fn capability(missing: &[Missing]) -> Capability {
    let why: Vec<_> = missing
        .iter()
        .map(|missing| format!("{}: {}", missing.privilege, missing.therefore))
        .collect();
    Capability {
        name: CAPABILITY.to_owned(),
        state: if why.is_empty() {
            CapabilityState::Available
        } else {
            CapabilityState::Partial
        },
        why: if why.is_empty() {
            String::new()
        } else {
            format!("without {}; run tracer as root", why.join(", without "))
        },
    }
}

/// What is missing to watch this node, the worst first; empty where nothing is. `other_namespaces`: not only
/// the tracer's own network namespace is to be watched.
///
/// # Errors
/// Where the kernel does not tell.
pub fn missing(other_namespaces: bool) -> io::Result<Vec<Missing>> {
    let have = capabilities(None)?.effective;
    let uid_map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    Ok(judge(have, &uid_map, other_namespaces))
}

fn judge(have: CapabilitySet, uid_map: &str, other_namespaces: bool) -> Vec<Missing> {
    let admin = have.contains(CapabilitySet::SYS_ADMIN);
    // Since 5.8 a part of CAP_SYS_ADMIN, which still is enough (kernel/bpf/syscall.c, kernel/events/core.c).
    let bpf = admin || have.contains(CapabilitySet::BPF | CapabilitySet::PERFMON);
    let needs = [
        (
            is_initial_user_namespace(uid_map),
            "the node's own user namespace",
            "root of a container with user ids of its own may not load BPF programs",
            true,
        ),
        (
            bpf,
            "CAP_BPF with CAP_PERFMON (or CAP_SYS_ADMIN)",
            "packets cannot be watched at all",
            true,
        ),
        (
            admin || !other_namespaces,
            "CAP_SYS_ADMIN",
            "other network namespaces cannot be entered",
            true,
        ),
        (
            have.contains(CapabilitySet::SYS_PTRACE),
            "CAP_SYS_PTRACE",
            "sockets of other users' processes have no owner",
            false,
        ),
    ];
    needs
        .into_iter()
        .filter(|(held, ..)| !held)
        .map(|(_, privilege, therefore, required)| Missing {
            privilege,
            therefore,
            required,
        })
        .collect()
}

/// The initial user namespace maps all 2^32 − 1 ids to themselves. An unreadable map is no reason to stop.
fn is_initial_user_namespace(uid_map: &str) -> bool {
    let mut lines = uid_map.lines();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.split_ascii_whitespace().eq(["0", "0", "4294967295"]),
        (Some(_), Some(_)) => false,
        (None, _) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INITIAL: &str = "         0          0 4294967295\n";

    fn privileges(have: CapabilitySet, uid_map: &str, other: bool) -> Vec<&'static str> {
        judge(have, uid_map, other)
            .iter()
            .map(|missing| missing.privilege)
            .collect()
    }

    #[test]
    fn root_lacks_nothing_and_nobody_lacks_all() {
        assert!(privileges(CapabilitySet::all(), INITIAL, true).is_empty());
        let all = judge(CapabilitySet::empty(), INITIAL, true);
        assert_eq!(all.iter().filter(|missing| missing.required).count(), 2);
        assert_eq!(all.len(), 3);
        for missing in all {
            assert!(!missing.to_string().contains('\n') && missing.to_string().ends_with("as root"));
        }
    }

    #[test]
    fn new_capabilities_stand_in_for_the_old_one() {
        let bpf = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYS_PTRACE;
        assert!(privileges(bpf, INITIAL, false).is_empty());
        assert_eq!(privileges(bpf, INITIAL, true), ["CAP_SYS_ADMIN"]);
        assert_eq!(
            privileges(bpf - CapabilitySet::PERFMON, INITIAL, false),
            ["CAP_BPF with CAP_PERFMON (or CAP_SYS_ADMIN)"]
        );
        assert_eq!(
            privileges(CapabilitySet::SYS_ADMIN, INITIAL, true),
            ["CAP_SYS_PTRACE"]
        );
    }

    #[test]
    fn what_is_missing_is_a_part_that_is_told() {
        assert_eq!(capability(&[]).state, CapabilityState::Available);
        let have = CapabilitySet::all() - CapabilitySet::SYS_PTRACE;
        let told = capability(&judge(have, INITIAL, false));
        assert_eq!(told.state, CapabilityState::Partial);
        assert_eq!(
            told.why,
            "without CAP_SYS_PTRACE: sockets of other users' processes have no owner; run tracer as root"
        );
    }

    #[test]
    fn root_of_a_container_is_not_root() {
        for map in ["0 100000 65536\n", "0 1000 1\n1 100000 65536\n"] {
            assert_eq!(
                privileges(CapabilitySet::all(), map, false),
                ["the node's own user namespace"]
            );
        }
        assert!(privileges(CapabilitySet::all(), "", false).is_empty());
    }
}
