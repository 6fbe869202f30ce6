//! Servers of this node that a firewall cuts off.
//!
//! What a firewall keeps from a server is its job: every node on the Internet has packets dropped for a port that listens. So it is
//! told only where it had let the same peers in before, and now lets nobody in. A rule of iptables is for one version of IP: who asks
//! by the other says nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use super::kinds::Kind;
use super::{DROPPED, Ended, LASTING, Loss, Lost, finding};
use crate::diagnosis::sufferers::Sufferer;
use crate::diagnosis::suffering::Suffering;
use crate::diagnosis::tolls::Of;
use crate::diagnosis::words::{count, distinct, list, moment};
use crate::diagnosis::{Finding, View};
use crate::event::Version;
use crate::model::Model;
use crate::model::growth::Spell;
use crate::model::plight::Plight;
use crate::model::queues::Port;
use crate::report::Confidence;

/// So many peers are not shut out on purpose, as one who asks too much is.
const SEVERAL: usize = 2;

/// Where a server is asked: by its port, and by which version.
type Door = (Port, Version);

/// What a firewall keeps from servers of this node, by where it was for.
#[derive(Default)]
pub(super) struct Barred<'a>(BTreeMap<Door, Vec<(&'a Plight, Ended<'a>)>>);

impl<'a> Barred<'a> {
    /// A flow whose packets a firewall dropped.
    pub(super) fn add(&mut self, plight: &'a Plight, end: Ended<'a>) {
        let door = (Port::of(&plight.key), Version::of(plight.key.local));
        self.0.entry(door).or_default().push((plight, end));
    }

    /// What was dropped of peers that had been let in, at ports that nothing reaches any more.
    pub(super) fn shut(&self, model: &Model) -> Shut<'a> {
        let mut shut = Shut {
            lost: Lost::nothing(model),
            doors: BTreeSet::new(),
            served: 0,
        };
        for (door @ (port, version), flows) in &self.0 {
            let Some(last) = model.last_served(*port, *version) else {
                continue;
            };
            let of_known = flows
                .iter()
                .filter(|(plight, (.., spell))| spell.last > last && model.let_in(&plight.key));
            // Of a spell that began before, it is not known how many came after.
            let after = |spell: &Spell| Spell {
                since: spell.since.max(last),
                last: spell.last,
                packets: if spell.since > last { spell.packets } else { 1 },
            };
            let lost = of_known.clone().map(|(_, (.., spell))| after(spell));
            if lost
                .reduce(Spell::and)
                .is_some_and(|lost| lost.lasts(DROPPED + 1, LASTING))
            {
                shut.doors.insert(*door);
                shut.served = shut.served.max(last);
                for (plight, (_, place, spell)) in of_known {
                    shut.lost.add(plight, Some(*place), after(spell), spell.since);
                }
            }
        }
        shut.lost.flows.sort_by_key(|toll| toll.key());
        shut
    }
}

/// Servers that a firewall cuts off.
pub(in crate::diagnosis) struct Shut<'a> {
    /// What it drops, in the order of the flows' keys.
    pub(super) lost: Lost<'a>,
    doors: BTreeSet<Door>,
    /// The last time that something reached one of them.
    served: u64,
}

/// What is found of them.
pub(super) fn examine(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let Shut { lost, doors, served } = view.befallen().shut(model);
    if doors.is_empty() {
        return None;
    }
    let lost = lost.whole(view, Of::Barred);
    let suffering = Suffering::of(lost.flows.iter().map(Sufferer::from));
    let peers: BTreeSet<_> = suffering.flows.iter().map(|flow| flow.remote).collect();
    let names = doors.iter().map(|(port, version)| {
        let others = match version {
            Version::V4 => Version::V6,
            Version::V6 => Version::V4,
        };
        let by = match model.last_served(*port, others) {
            Some(_) if !doors.contains(&(*port, others)) => format!(" over {version}"),
            _ => String::new(),
        };
        format!("{} {}{by}", port.protocol, port.number)
    });
    let names = distinct(names);
    let explanation = format!(
        "{} for {} of this node, from {} that had been let in before, {} dropped by a firewall. The last that reached a socket there did \
         so at {}.{}{}",
        count(lost.packets(), "packet"),
        list(&names),
        list(&distinct(peers.iter().map(ToString::to_string))),
        if lost.packets() == 1 { "was" } else { "were" },
        moment(model, *served),
        Kind::Firewall.more(model, &lost),
        suffering.named(),
    );
    let confidence = if peers.len() >= SEVERAL {
        Confidence::Strong
    } else {
        Confidence::Weak
    };
    let (of, what) = (|_: &Loss<'_>| Kind::Firewall, (confidence, explanation));
    Some(finding(model, &lost, suffering, of, what, Vec::new()))
}
