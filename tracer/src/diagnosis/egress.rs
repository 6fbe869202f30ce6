//! More is to leave than the queue of a device lets out.

use std::collections::BTreeSet;

use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, distinct, list, moment, owner};
use super::{About, Finding, Rule, View, effects, evidence, path};
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
                    queueing discipline (QDISC_DROP and the like). A weak sign, for a queue that is full drops as it is meant to; \
                    unless what this node asks is not answered since it does, and as many packets as that are dropped: then \
                    after half a second.",
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
    examine: dropped,
    explains: effects::queueing,
    proved_by: effects::none,
    follows: &["R22", "D02"],
};

/// How long it must go on.
const LASTING: u64 = 3 * SECOND;
/// The same, where nothing is answered since.
const SILENT: u64 = SECOND / 2;
/// What nobody answers began to be asked so long before or after the first drop, at most.
const TOGETHER: u64 = 2 * SECOND;
/// Packets a second at least: a few that are dropped tell the sender to be slower.
const RATE: u64 = 10;
/// Nothing more was dropped for so long: it is over.
const OVER: u64 = 3 * SECOND;

/// What nobody answers, of a namespace.
struct Unanswered {
    netns: u32,
    since: u64,
    requests: u64,
}

/// What nobody answers now, by namespace.
fn unanswered(view: &View<'_>) -> Vec<Unanswered> {
    if view.silent_since().is_none() {
        return Vec::new();
    }
    let places = view.asking().iter().map(|(_, place)| *place);
    let mut all: Vec<Unanswered> = Vec::new();
    for (end, silence) in path::silences(view.model, places) {
        match all.iter_mut().find(|one| one.netns == end.netns) {
            None => all.push(Unanswered {
                netns: end.netns,
                since: silence.since,
                requests: silence.requests,
            }),
            Some(one) => {
                one.since = one.since.min(silence.since);
                one.requests = one.requests.saturating_add(silence.requests);
            }
        }
    }
    all
}

/// What is not answered since a queue drops, where that drops as much: nothing of it has left.
fn kept_back<'a>(all: &'a [Unanswered], netns: u32, drops: &Spell) -> Option<&'a Unanswered> {
    all.iter().find(|one| {
        one.netns == netns && one.since.abs_diff(drops.since) <= TOGETHER && drops.packets >= one.requests
    })
}

/// Queues that drop: namespace, device and how.
fn queues(model: &Model, unanswered: &[Unanswered]) -> Vec<(u32, u32, Spell)> {
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
        let is_over = model.now().saturating_sub(spell.last) > OVER;
        let (least, lasting) = match kept_back(unanswered, *netns, spell) {
            Some(unanswered) => (unanswered.requests, SILENT),
            None if is_over => return false,
            None => ((span / SECOND).saturating_mul(RATE), LASTING),
        };
        model.node().is_over_uplink(*netns, *device)
            && spell.lasts(least.max(1), lasting)
            && works(*netns, *device)
    })
    .collect()
}

fn dropped(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    model.books().signs(Sign::NotTaken, model.now()).next()?;
    let unanswered = unanswered(view);
    let queues = queues(model, &unanswered);
    let kept_back: Vec<&Unanswered> = queues
        .iter()
        .filter_map(|(netns, _, spell)| kept_back(&unanswered, *netns, spell))
        .collect();
    let is_kept_back = |netns: u32| kept_back.iter().any(|one| one.netns == netns);
    let flows = view.asking().iter().map(|(plight, _)| *plight);
    let flows = flows.filter(|plight| is_kept_back(plight.key.netns));
    let suffering = Suffering::of(flows.map(Sufferer::from));
    let (confidence, silent) = match kept_back.iter().map(|one| one.requests).max() {
        None => (Confidence::Weak, String::new()),
        Some(requests) => {
            let (made, affected) = (count(requests, "request"), suffering.affected());
            let silent = format!(" Meanwhile no answer came to {made} that this node made.{affected}");
            (Confidence::Strong, silent)
        }
    };
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
        confidence,
        explanation: format!(
            "Since {} the queue of {} has dropped {} that this node was sending or passing on: as where more is to leave than it \
             lets out, or where it is set to lose some.{of}{silent}",
            moment(model, since),
            list(&names),
            count(packets, "packet"),
        ),
        since,
        last,
        evidence: evidence::at_devices(model, Sign::NotTaken, &places).into_iter().take(5).collect(),
        flows: suffering.flows,
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
