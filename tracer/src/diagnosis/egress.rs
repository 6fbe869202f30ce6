//! More is to leave than the queue of a device lets out.

use std::collections::BTreeSet;

use super::sufferers::Sufferers;
use super::words::{command, count, distinct, list, moment, owner};
use super::{About, Finding, Rule, effects, evidence};
use crate::event::{Thing, value};
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::ends::{self, Sign};
use crate::model::growth::Spell;
use crate::report::{Confidence, Where};
use crate::shell::quoted;

/// K06: the queue of an uplink drops what this node sends.
pub(super) const QUEUE_FULL: Rule = Rule {
    id: "K06",
    slug: "egress-drops",
    title: "The queue of an uplink drops what this node sends",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Ten packets a second or more, for 3 s at least, that were to leave by an uplink which is up are dropped by its \
                    queueing discipline (QDISC_DROP and the like). Always a weak sign: a queue that is full drops as it is meant to.",
        meaning: "More is to be sent than the device, or a shaper at it (tbf, htb, fq_codel, netem), lets out. Answers to who \
                  waits for them may be among what is dropped: connections become slow, and datagrams are lost.",
        check: &[
            "tc -s qdisc show dev DEVICE",
            "tc -s class show dev DEVICE",
            "ip -s link show dev DEVICE",
        ],
        mend: &[
            "tc qdisc del dev DEVICE root  # where a shaper is there that nobody wants. Risk: what it was to keep back leaves at once.",
            "Else find who sends so much, and have it send less. Risk: none for others.",
        ],
    },
    examine: |view| dropped(view.model),
    explains: effects::queueing,
    proved_by: effects::none,
    follows: &["R22", "D02"],
};

/// How long it must go on.
const LASTING: u64 = 3 * SECOND;
/// Packets a second at least: a few that are dropped tell the sender to be slower.
const RATE: u64 = 10;
/// Nothing more was dropped for so long: it is over.
const OVER: u64 = 3 * SECOND;

/// Queues that drop: namespace, device and how.
fn queues(model: &Model) -> Vec<(u32, u32, Spell)> {
    let works = |netns, device| {
        let link = Thing::Link {
            device: model.node().device_name(netns, device),
        };
        let state = model.settings().value(netns, link);
        state.is_none_or(|state| value::is_up(state) && value::has_carrier(state))
    };
    let all = model.books().signs(Sign::NotTaken, model.now());
    all.filter(|(netns, device, spell)| {
        let span = spell.last.saturating_sub(spell.since);
        let least = (span / SECOND).saturating_mul(RATE);
        model.node().is_over_uplink(*netns, *device)
            && spell.lasts(least.max(1), LASTING)
            && model.now().saturating_sub(spell.last) <= OVER
            && works(*netns, *device)
    })
    .collect()
}

fn dropped(model: &Model) -> Option<Finding> {
    let queues = queues(model);
    let since = queues.iter().map(|(.., spell)| spell.since).min()?;
    let last = queues.iter().map(|(.., spell)| spell.last).max()?;
    let packets = queues
        .iter()
        .fold(0, |sum: u64, (.., spell)| sum.saturating_add(spell.packets));
    let places: BTreeSet<(u32, u32)> = queues
        .iter()
        .map(|(netns, device, _)| (*netns, *device))
        .collect();
    let name = |(netns, device): &(u32, u32)| model.node().device_name(*netns, *device);
    let names = distinct(places.iter().map(name));
    let lines = model.books().lines().filter(|(key, _)| {
        ends::sign(key) == Some(Sign::NotTaken) && places.contains(&(key.netns, key.device))
    });
    let sightings: Vec<_> = lines.filter_map(|(key, _)| model.books().sighting(key)).collect();
    let owners = distinct(
        sightings
            .iter()
            .filter_map(|sighting| Some(owner(sighting.owner_since(since)?))),
    );
    let of = if owners.is_empty() {
        String::new()
    } else {
        format!(" Some of them were of {}.", list(&owners))
    };
    let check = places.iter().take(3).flat_map(|place| {
        let device = name(place);
        let device = quoted(&device);
        [
            format!("tc -s qdisc show dev {device}"),
            format!("ip -s link show dev {device}"),
        ]
        .map(|line| command(model, place.0, &line))
    });
    Some(Finding {
        confidence: Confidence::Weak,
        explanation: format!(
            "Since {} the queue of {} has dropped {} that this node was sending or passing on: as where more is to leave than it \
             lets out, or where it is set to lose some.{of}",
            moment(model, since),
            list(&names),
            count(packets, "packet"),
        ),
        since,
        last,
        evidence: evidence::at_devices(model, Sign::NotTaken, &places).into_iter().take(5).collect(),
        flows: Sufferers::default(),
        namespaces: places.iter().map(|(netns, _)| *netns).collect(),
        standing: None,
        devices: names.into_iter().collect(),
        units: distinct(sightings.iter().flat_map(|sighting| sighting.units.since(since).cloned())),
        prevent: Vec::new(),
        check: check.collect(),
        remedy: vec![
            "Find who sends so much, or whoever shapes what leaves there, as the checks show. Risk: none by looking.".to_owned(),
        ],
    })
}
