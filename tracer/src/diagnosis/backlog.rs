//! A CPU has no room for what arrives.

use std::collections::BTreeSet;

use super::sufferers::Sufferers;
use super::words::{count, distinct, list};
use super::{About, Finding, Rule, effects, evidence};
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::ends::Sign;
use crate::model::growth::Spell;
use crate::report::{Confidence, Where};

/// R29: the queue to a CPU is full.
pub(super) const FULL: Rule = Rule {
    id: "R29",
    slug: "cpu-backlog",
    title: "A CPU does not keep up with what arrives",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Packets are dropped for CPU_BACKLOG before they arrive, again and again. A weak sign: what is lost is sent \
                    again, and flows need not suffer.",
        meaning: "Packets that are handed from one CPU to another (RPS, or a virtual pair of devices) wait in a queue of \
                  netdev_max_backlog packets, and that is full: the CPU is busy with something else, or all packets go to the \
                  same one.",
        check: &[
            "cat /proc/net/softnet_stat  # second column: dropped, a line for each CPU",
            "mpstat -P ALL 1 5  # %soft",
            "sysctl net.core.netdev_max_backlog net.core.netdev_budget",
        ],
        mend: &[
            "sysctl -w net.core.netdev_max_backlog=NUMBER  # Risk: packets wait longer where the CPU stays too slow. Lasts until \
             the settings are loaded again.",
            "Spread the packets over more CPUs: /sys/class/net/DEVICE/queues/rx-0/rps_cpus. Risk: low; other work on these CPUs \
             gets slower.",
        ],
    },
    examine: |view| full(view.model),
    explains: effects::none,
    proved_by: effects::none,
    follows: &[],
};

/// Packets that must have been lost, and the time that they must span.
const PACKETS: u64 = 3;
const LASTING: u64 = SECOND;

fn full(model: &Model) -> Option<Finding> {
    let full: Vec<(u32, u32, Spell)> = model
        .books()
        .signs(Sign::Backlog, model.now())
        .filter(|(.., spell)| spell.lasts(PACKETS, LASTING))
        .collect();
    let spell = full.iter().map(|(.., spell)| *spell).reduce(Spell::and)?;
    let places: BTreeSet<(u32, u32)> = full.iter().map(|(netns, device, _)| (*netns, *device)).collect();
    let devices = distinct(
        places
            .iter()
            .map(|(netns, device)| model.node().device_name(*netns, *device)),
    );
    Some(Finding {
        confidence: Confidence::Weak,
        explanation: format!(
            "{} on {} found the queue of a CPU full and were dropped before they arrived.",
            count(spell.packets, "packet"),
            list(&devices)
        ),
        since: spell.since,
        last: spell.last,
        evidence: evidence::at_devices(model, Sign::Backlog, &places),
        flows: Sufferers::default(),
        namespaces: places.iter().map(|(netns, _)| *netns).collect(),
        devices: devices.into_iter().collect(),
        units: Vec::new(),
        standing: None,
        prevent: Vec::new(),
        check: vec![
            "cat /proc/net/softnet_stat  # second column: dropped, a line for each CPU".to_owned(),
            "sysctl net.core.netdev_max_backlog net.core.netdev_budget".to_owned(),
        ],
        remedy: vec![
            "Spread the packets over more CPUs (RPS), or give the queue more room (net.core.netdev_max_backlog). Risk: packets \
             wait longer where the CPU stays too slow."
                .to_owned(),
        ],
    })
}
