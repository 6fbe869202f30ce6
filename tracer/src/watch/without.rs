//! What nobody wants.

use anyhow::{Result, bail};

use crate::event::{Capability, CapabilityState};
use crate::node::{
    chains, clocks, config, counters, devices, journal, namespace, packages, preflight, sockets, systemd,
};
use crate::probe;

/// Capabilities that may be left out beside those of the probe, and what is not seen without them.
const PARTS: [(&str, &str); 8] = [
    (
        sockets::CAPABILITY,
        "sockets that were there before the start are known only once they carry packets, and what waits in sockets \
         is not told",
    ),
    (
        counters::CAPABILITY,
        "losses that raise no event, as of a full accept queue, are not told, nor what is lost before it arrives",
    ),
    (
        chains::CAPABILITY,
        "no drop tells the chain of a firewall in which it happened",
    ),
    (clocks::CAPABILITY, clocks::LOST),
    (systemd::CAPABILITY, systemd::LOST),
    (journal::CAPABILITY, journal::LOST),
    (packages::CAPABILITY, packages::LOST),
    (config::CAPABILITY, config::LOST),
];

/// What stands in the same list and is no part that could be left out: it tells what the others rest on.
const CONDITIONS: [&str; 5] = [
    preflight::CAPABILITY,
    devices::CAPABILITY,
    namespace::CAPABILITY,
    crate::session::RECORDING,
    crate::beacon::CAPABILITY,
];

/// Refuses names of capabilities that cannot be left out.
///
/// # Errors
/// One line with the names of those that can.
pub(super) fn check(without: &[String]) -> Result<()> {
    let mut all: Vec<&str> = probe::programs()
        .iter()
        .map(|program| program.capability)
        .collect();
    all.dedup();
    all.push(probe::PLACES);
    all.extend(PARTS.map(|(name, _)| name));
    for name in without {
        let name = name.as_str();
        if all.contains(&name) {
            continue;
        }
        let why = if CONDITIONS.contains(&name) {
            "that is nothing to be left out, it tells what the rest stands on"
        } else {
            "there is no such capability"
        };
        bail!("--without {name}: {why}; there are: {}", all.join(", "));
    }
    Ok(())
}

/// Whether nobody wants this capability.
pub(super) fn is_left_out(without: &[String], capability: &str) -> bool {
    without.iter().any(|name| name == capability)
}

/// One of the parts beside the probe's, left out as asked.
pub(super) fn left_out(capability: &str) -> Capability {
    let unseen = PARTS.iter().find(|(name, _)| *name == capability);
    Capability {
        name: capability.to_owned(),
        state: CapabilityState::Unavailable,
        why: format!("left out as asked; {}", unseen.map_or("", |(_, unseen)| unseen)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_why_and_what_there_is() {
        let refused = |name: &str| check(&[name.to_owned()]).unwrap_err().to_string();
        let unknown = refused("arival");
        assert!(
            unknown.contains("no such capability") && unknown.contains("arrivals"),
            "{unknown}"
        );
        for name in CONDITIONS {
            let why = refused(name);
            assert!(
                why.starts_with(&format!("--without {name}: that is nothing")),
                "{why}"
            );
            assert!(why.contains("chains"), "{why}");
        }
    }
}
