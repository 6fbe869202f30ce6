//! Servers of this node that a firewall cuts off.
//!
//! What a firewall keeps from a server is its job: every node on the Internet has packets dropped for a port that listens. So it is
//! told only where it had let the same peers in before, and now lets nobody in, or, since rules changed, nobody new while what stands
//! goes on. A rule of iptables is for one version of IP: who asks by the other says nothing of it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::kinds::Kind;
use super::{DROPPED, Ended, LASTING, Loss, Lost, finding};
use crate::diagnosis::sufferers::Sufferer;
use crate::diagnosis::suffering::Suffering;
use crate::diagnosis::tolls::Of;
use crate::diagnosis::words::{count, distinct, list, moment};
use crate::diagnosis::{Finding, View, effects};
use crate::event::Version;
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::growth::Spell;
use crate::model::latest::{Gathering, Latest};
use crate::model::plight::Plight;
use crate::model::queues::Port;
use crate::model::timeline::{Change, Subject};
use crate::report::Confidence;

/// So many peers are not shut out on purpose, as one who asks too much is.
const SEVERAL: usize = 2;

/// What came in just before rules changed is told up to so long after that, and so may the change be after what it dropped.
const TOLD: u64 = SECOND;

/// Where a server is asked: by its port, and by which version.
type Door = (Port, Version);

/// What is known of a peer, as its flows lie side by side.
type Peers = Latest<(IpAddr, IpAddr), bool>;

/// Whom a flow is with, and at which address of this node.
fn ends(plight: &Plight) -> (IpAddr, IpAddr) {
    (plight.key.local, plight.key.remote)
}

/// What a firewall keeps from servers of this node, by where it was for.
#[derive(Default)]
pub(super) struct Barred<'a>(Gathering<Door, Vec<(&'a Plight, Ended<'a>)>>);

impl<'a> Barred<'a> {
    /// A flow whose packets a firewall dropped.
    pub(super) fn add(&mut self, plight: &'a Plight, end: Ended<'a>) {
        let door = (Port::of(&plight.key), Version::of(plight.key.local));
        self.0.of(door, Vec::new).push((plight, end));
    }

    /// What was dropped of peers that had been let in, at ports that nothing reaches any more, or nothing new.
    pub(super) fn shut(&self, model: &Model) -> Shut<'a> {
        let mut shut = Shut {
            lost: Lost::nothing(model),
            doors: BTreeSet::new(),
            served: 0,
            spares: false,
        };
        for (door @ (port, version), flows) in self.0.iter() {
            if let Some(served) = model.last_served(*port, *version) {
                let mut peers = Peers::default();
                let is_known = |plight: &Plight| peers.of(ends(plight), || model.let_in(&plight.key));
                shut.add(*door, flows, served, is_known);
            }
        }
        if shut.doors.is_empty() {
            self.shut_to_new(model, &mut shut);
        }
        shut.lost.flows.sort_by_key(|toll| toll.key());
        shut
    }

    /// Adds what was dropped at ports that nothing new reaches since rules changed, of peers that are let in with what stood. Whoever
    /// is kept out on purpose has nothing that goes on; who may have only so many connections is held back by a rule that was there.
    fn shut_to_new(&self, model: &Model, shut: &mut Shut<'a>) {
        for (door @ (port, version), flows) in self.0.iter() {
            let Some(opened) = model.last_opened(*port, *version) else {
                continue;
            };
            // Since when what is new is dropped.
            let new = flows.iter().filter(|(plight, _)| !plight.has_reached);
            let dropped = new.map(|(_, (.., spell))| spell.since);
            let Some(began) = dropped.filter(|since| *since > opened).min() else {
                continue;
            };
            let may_be = |change: &Change| match change.subject {
                Subject::Setting(netns, _) => {
                    (netns == 0 || netns == port.netns) && change.at <= began.saturating_add(TOLD)
                }
                _ => false,
            };
            let rules = model.timeline().of_rules().rev();
            let mut rules = rules.take_while(|(change, _)| change.at.saturating_add(TOLD) >= opened);
            if !rules.any(|(change, did)| may_be(change) && did.iter().any(effects::may_drop)) {
                continue;
            }
            let mut peers = Peers::default();
            let is_new = |plight: &Plight| {
                !plight.has_reached && peers.of(ends(plight), || model.goes_on(&plight.key, began))
            };
            shut.add(*door, flows, opened, is_new);
            shut.spares = true;
        }
    }
}

/// Servers that a firewall cuts off.
pub(in crate::diagnosis) struct Shut<'a> {
    /// What it drops, in the order of the flows' keys.
    pub(super) lost: Lost<'a>,
    doors: BTreeSet<Door>,
    /// The last time that something reached one of them, or something new.
    served: u64,
    /// What had been let in before goes on.
    spares: bool,
}

impl<'a> Shut<'a> {
    /// Adds what was dropped at a door since something was last let in there, of flows that are `barred`, where that lasts.
    fn add(
        &mut self,
        door: Door,
        flows: &[(&'a Plight, Ended<'a>)],
        last: u64,
        mut barred: impl FnMut(&Plight) -> bool,
    ) {
        // Of a spell that began before, it is not known how many came after.
        let after = |spell: &Spell| Spell {
            since: spell.since.max(last),
            last: spell.last,
            packets: if spell.since > last { spell.packets } else { 1 },
        };
        let is_after = |(.., spell): &Ended<'_>| spell.last > last;
        let lasts = |spells: &mut dyn Iterator<Item = &Spell>| {
            let lost = spells.map(after).reduce(Spell::and);
            lost.is_some_and(|lost| lost.lasts(DROPPED + 1, LASTING))
        };
        // Very many may be dropped, and of most nothing more has to be asked.
        let all = flows.iter().filter(|(_, end)| is_after(end));
        if !lasts(&mut all.clone().map(|(_, (.., spell))| spell)) {
            return;
        }
        let of_barred: Vec<_> = all.filter(|(plight, _)| barred(plight)).collect();
        if !lasts(&mut of_barred.iter().map(|(_, (.., spell))| spell)) {
            return;
        }
        self.doors.insert(door);
        self.served = self.served.max(last);
        for (plight, (_, place, spell)) in of_barred {
            self.lost.add(plight, Some(*place), after(spell), spell.since);
        }
    }
}

/// What is found of them.
pub(super) fn examine(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let Shut {
        lost,
        doors,
        served,
        spares,
    } = view.befallen().shut(model);
    if doors.is_empty() {
        return None;
    }
    let now = lost.flows.len();
    let lost = lost.whole(view, Of::Barred);
    // Of those that are no more, it is not known what goes on.
    let spares = *spares && lost.flows.len() == now;
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
        "{} for {} of this node, from {} that had been let in before, {} dropped by a firewall. The last {}that reached a socket there did \
         so at {}{}.{}{}",
        count(lost.packets(), "packet"),
        list(&names),
        list(&distinct(peers.iter().map(ToString::to_string))),
        if lost.packets() == 1 { "was" } else { "were" },
        if spares { "new one " } else { "" },
        moment(model, *served),
        if spares {
            "; what they had opened before goes on"
        } else {
            ""
        },
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
