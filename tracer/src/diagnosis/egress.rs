//! More is to leave than the queue of a device lets out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, distinct, list, moment, owner};
use super::{About, Finding, Rule, View, effects, evidence, path};
use crate::event::{Thing, value};
use crate::model::Model;
use crate::model::clock::{SECOND, When};
use crate::model::endpoints::SILENCE;
use crate::model::ends::{self, Sign};
use crate::model::growth::Spell;
use crate::model::plight::{COUNTED, Plight};
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
                    queueing discipline (QDISC_DROP and the like). A weak sign, for a queue that is full drops as it is meant to. A \
                    strong one, however few they are, where whom this node asks falls silent within 2 s of the first drop, at least \
                    three packets are dropped for four requests, and from 1.5 s after it on no flow of this device's addresses both \
                    leaves and is answered.",
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
/// What nobody answers began to be asked so long before or after the first drop, at most.
const TOGETHER: u64 = 2 * SECOND;
/// Mostly what left before the first was dropped is answered, and counted, by then.
const SILENT: u64 = SECOND / 2;
/// Packets a second at least: a few that are dropped tell the sender to be slower.
const RATE: u64 = 10;
/// One of so many may be told as a request and not as a drop: counts are read one after the other, and the first requests may have left
/// just before.
const MISSED: u64 = 4;
/// Nothing more was dropped for so long: it is over.
const OVER: u64 = 3 * SECOND;

/// What this node asks and nobody answers, since a queue drops.
struct InVain<'a> {
    flows: Vec<&'a Plight>,
    requests: u64,
}

/// What is not answered since the queue of this device drops, where it drops about as much, and nothing else leaves and is answered:
/// nothing leaves by it.
fn kept_back<'a>(view: &View<'a>, netns: u32, device: u32, drops: &Spell) -> Option<InVain<'a>> {
    let model = view.model;
    // Who was silent before is no sign of it: others need time to be answered.
    let is_new = model.now() < drops.since.saturating_add(SILENCE);
    if is_new || !model.silences().are_lasting() || !model.can(path::ARRIVALS) || !model.can("sent") {
        return None;
    }
    let asking = || {
        let all = view.asking().iter();
        all.filter(|(plight, _)| plight.key.netns == netns && path::is_ours(plight))
    };
    let silences = path::silences(model, asking().map(|(_, place)| *place));
    let since_then = silences
        .iter()
        .filter(|(_, silence)| silence.until.is_none() && silence.since.abs_diff(drops.since) <= TOGETHER);
    let requests = since_then
        .map(|(_, silence)| silence.requests)
        .fold(0, u64::saturating_add);
    let asked = asking().map(|(plight, _)| plight.last_sent).max()?;
    let drops_all = requests > 0
        && drops.packets >= requests - requests / MISSED
        && asked <= When::at(drops.last.saturating_add(OVER))
        && !is_answered(model, netns, device, drops.since);
    drops_all.then(|| InVain {
        flows: asking().map(|(plight, _)| *plight).collect(),
        requests,
    })
}

/// Some flow of this device has left and was answered since its queue drops. What only arrives says nothing: a peer may be slow to
/// answer what had left before, or send again what nobody acknowledges.
///
/// A flow is the device's where its packets come by it, or by one below it, as by a port of a bond, for an address of the device or
/// of one that stands on it: other VLANs come by the same port.
fn is_answered(model: &Model, netns: u32, device: u32, drops: u64) -> bool {
    // At times it is counted as late as this. Until others had time to be answered after that, what is counted sooner says so too.
    let counted = drops.saturating_add(COUNTED);
    let is_settled = model.now() >= counted.saturating_add(SECOND);
    let after = When::at(if is_settled {
        counted
    } else {
        drops.saturating_add(SILENT)
    });
    let node = model.node();
    let is_below = |index: u32| node.standing_on(netns, index).any(|one| one.index == device);
    let below: BTreeSet<u32> = node
        .devices_of(netns)
        .map(|one| one.index)
        .filter(|index| is_below(*index))
        .collect();
    let has = |address: &IpAddr| {
        let mut own = node.standing_on(netns, device);
        own.any(|one| one.addresses.contains(address))
    };
    let mut all = model.flows().iter();
    all.any(|(key, flow)| {
        key.netns == netns
            && flow.last_arrived > after
            && flow.last_sent > after
            && (flow.iif == device || (below.contains(&flow.iif) && has(&key.local)))
    })
}

/// A queue that drops, and what is not answered for that.
struct Dropping<'a> {
    place: (u32, u32),
    spell: Spell,
    in_vain: Option<InVain<'a>>,
}

fn queues<'a>(view: &View<'a>) -> Vec<Dropping<'a>> {
    let model = view.model;
    let works = |netns, device| {
        let link = Thing::Link {
            device: model.node().device_name(netns, device),
        };
        let state = model.settings().value(netns, link);
        state.is_none_or(|state| value::is_up(state) && value::has_carrier(state))
    };
    let all = model.books().signs(Sign::NotTaken, model.now());
    let all = all
        .filter(|(netns, device, _)| model.node().is_over_uplink(*netns, *device) && works(*netns, *device));
    all.filter_map(|(netns, device, spell)| {
        let span = spell.last.saturating_sub(spell.since);
        let least = (span / SECOND).saturating_mul(RATE).max(1);
        let is_over = model.now().saturating_sub(spell.last) > OVER;
        let in_vain = kept_back(view, netns, device, &spell);
        let drops = in_vain.is_some() || (!is_over && spell.lasts(least, LASTING));
        drops.then_some(Dropping {
            place: (netns, device),
            spell,
            in_vain,
        })
    })
    .collect()
}

fn dropped(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let queues = queues(view);
    let in_vain = || queues.iter().filter_map(|queue| queue.in_vain.as_ref());
    let mut silent: Vec<&Plight> = in_vain().flat_map(|one| one.flows.iter().copied()).collect();
    silent.sort_by_key(|plight| plight.key);
    silent.dedup_by_key(|plight| plight.key);
    let suffering = Suffering::of(silent.into_iter().map(Sufferer::from));
    // Several queues of a namespace keep back the same.
    let made = queues
        .iter()
        .filter_map(|queue| Some((queue.place.0, queue.in_vain.as_ref()?.requests)));
    let made: BTreeMap<u32, u64> = made.collect();
    let (confidence, silent) = if made.is_empty() {
        (Confidence::Weak, String::new())
    } else {
        let requests = made.into_values().fold(0, u64::saturating_add);
        let (made, affected) = (count(requests, "request"), suffering.affected());
        let silent = format!(" Meanwhile no answer came to {made} that this node made.{affected}");
        (Confidence::Strong, silent)
    };
    let Spell { since, last, packets } = queues.iter().map(|queue| queue.spell).reduce(Spell::and)?;
    let places: BTreeSet<(u32, u32)> = queues.iter().map(|queue| queue.place).collect();
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
