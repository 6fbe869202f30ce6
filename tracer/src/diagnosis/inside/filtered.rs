//! A firewall of this node drops what it is to pass on.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::{affected, is_foreign};
use crate::diagnosis::befallen::Befallen;
use crate::diagnosis::lost::kinds;
use crate::diagnosis::tolls::{Of, Toll};
use crate::diagnosis::words::{command, count, distinct, moment};
use crate::diagnosis::{About, Finding, Rule, View, addresses::Addresses, effects, evidence};
use crate::event::{FlowKey, Protocol};
use crate::model::Model;
use crate::model::clock::{SECOND, When};
use crate::model::endpoints::Endpoint;
use crate::model::ends;
use crate::model::flows::Flow;
use crate::model::growth::Spell;
use crate::model::hooks::Course;
use crate::model::last_drops::LastDrop;
use crate::model::latest::Latest;
use crate::model::plight::Plight;
use crate::report::{Confidence, Where};

/// R38: what was passed on before, or is asked for from behind this node, is dropped.
pub(in crate::diagnosis) const DROPPED: Rule = Rule {
    id: "R38",
    slug: "forward-filtered",
    title: "A firewall of this node drops what it is to pass on",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Packets for others are dropped for NETFILTER_DROP for 1.5 s, and none of the same two ends gets through: answers, \
                    while who asks for them asks on; or what had been passed on before, of TCP where several connections are tried. \
                    A weak sign where it is between two ends only, which may be on purpose, or where addresses are translated on the \
                    way, so that what gets through is not seen; unless a rule came that may drop and does not name a source.",
        meaning: "A rule or the policy of a chain at the hook forward, or at prerouting, drops what pods, containers or machines \
                  behind this node send or are sent. None of it is for a socket of the node: they starve, not it. What never got \
                  through is told nowhere: it may be forbidden.",
        check: &[
            "nft -a list ruleset",
            "iptables-legacy-save -c; ip6tables-legacy-save -c",
            "tracer node  # lists the rules that can drop, with what they counted",
        ],
        mend: &[
            "Change the rule that the checks show. Risk: it may be there on purpose, as a policy for pods; ask whose it is, and do \
             not flush what others made.",
        ],
    },
    examine: dropped,
    explains: effects::firewall,
    proved_by: effects::firewall_shut,
    follows: &[],
};

/// Packets that must have been dropped, and the time that they must span.
const PACKETS: u64 = 3;
const LASTING: u64 = SECOND * 3 / 2;
/// What came when it began may be told so much later.
const SLACK: u64 = SECOND;
/// Connections that must have been tried: what one sends when it is over may belong to nothing any more.
const TRIED: u64 = 2;

/// Both ends of what is passed on, by namespace: where the packets come from and go to, and the port of the end that is asked, with
/// which of the two that is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Between {
    netns: u32,
    protocol: Protocol,
    to: IpAddr,
    from: IpAddr,
    port: u16,
    is_answer: bool,
}

impl Between {
    /// Those that packets of this flow may be between: nobody tells which of the two ends has asked.
    fn of(key: &FlowKey) -> [Self; 2] {
        let between = |port, is_answer| Self {
            netns: key.netns,
            protocol: key.protocol,
            to: key.local,
            from: key.remote,
            port,
            is_answer,
        };
        [between(key.local_port, false), between(key.remote_port, true)]
    }

    /// The other way round.
    fn back(self) -> Self {
        Self {
            to: self.from,
            from: self.to,
            is_answer: !self.is_answer,
            ..self
        }
    }
}

/// What was dropped between two ends, and what was not.
struct Case<'a> {
    flows: Vec<(&'a Plight, &'a LastDrop, Spell)>,
    spell: Spell,
    /// Flows of which nothing else has come.
    tried: u64,
    /// Something got through at first.
    worked: bool,
    /// When something last did.
    passed: When,
    /// When something last came the other way.
    asked: When,
    /// Some of it is dropped by the addresses that it arrived with: of what is translated on its way it is not seen what gets through.
    is_as_it_came: bool,
}

impl Case<'_> {
    /// Something that was passed on, or is asked for, is passed on no more: enough of it to make a fault of its own.
    fn is_cut(&self, between: &Between) -> bool {
        let is_tried = between.protocol != Protocol::Tcp || self.tried >= TRIED;
        self.spell.lasts(PACKETS, LASTING) && self.is_shut() && (is_tried || self.is_asked_for())
    }

    /// The same, however little: it is part of such a fault between the same two.
    fn is_shut(&self) -> bool {
        self.passed <= self.until() && (self.worked || self.is_asked_for())
    }

    /// Who is to get it asks on.
    fn is_asked_for(&self) -> bool {
        self.asked > self.until()
    }

    /// What came until then may have come before it began.
    fn until(&self) -> When {
        When::at(self.spell.since.saturating_add(SLACK))
    }
}

impl Between {
    /// The two ends, whoever of them sends.
    fn pair(&self) -> (u32, IpAddr, IpAddr) {
        (self.netns, self.to.min(self.from), self.to.max(self.from))
    }
}

/// Flows of others whose packets a firewall has lately dropped, in the order of their keys.
fn of_others<'a>(
    model: &'a Model,
    befallen: &Befallen<'a>,
) -> impl Iterator<Item = (&'a Plight, &'a LastDrop, Spell)> {
    let mut foreign = Latest::default();
    befallen
        .unwanted_dropped_by(ends::by_firewall)
        .filter(move |Plight { key, .. }| {
            foreign.of((key.netns, key.local), || is_foreign(model, key.netns, key.local))
        })
        .filter_map(|plight| {
            let (drop, spell) = plight.last_drop.as_deref().zip(plight.dropped)?;
            Some((plight, drop, spell))
        })
}

/// Flows that the firewall of some namespace of this node drops on their way through it, whichever end it is that counts them.
#[derive(Default)]
pub(in crate::diagnosis) struct Filtered {
    flows: HashSet<FlowKey, RandomState>,
    ends: HashSet<(Protocol, IpAddr, u16), RandomState>,
}

impl Filtered {
    pub(in crate::diagnosis) fn of<'a>(model: &'a Model, befallen: &Befallen<'a>) -> Self {
        let mut all = Self::default();
        for (Plight { key, .. }, ..) in of_others(model, befallen) {
            all.flows.insert(through(key));
            all.ends.insert((key.protocol, key.local, key.local_port));
            all.ends.insert((key.protocol, key.remote, key.remote_port));
        }
        all
    }

    /// This is one of them.
    pub(in crate::diagnosis) fn have(&self, key: &FlowKey) -> bool {
        !self.flows.is_empty() && self.flows.contains(&through(key))
    }

    /// One of them is of this end.
    pub(in crate::diagnosis) fn are_of(&self, end: &Endpoint) -> bool {
        self.ends.contains(&(end.protocol, end.address, end.port))
    }
}

/// The flow, as it is the same in any namespace and seen from both of its ends.
fn through(key: &FlowKey) -> FlowKey {
    let (one, other) = ((key.local, key.local_port), (key.remote, key.remote_port));
    // The identifier of an echo is that of both.
    let (first, last) = match key.protocol {
        Protocol::Icmp | Protocol::Icmp6 => ((one.0.min(other.0), one.1), (one.0.max(other.0), 0)),
        _ => (one.min(other), one.max(other)),
    };
    FlowKey {
        netns: 0,
        protocol: key.protocol,
        local: first.0,
        local_port: first.1,
        remote: last.0,
        remote_port: last.1,
    }
}

/// What is dropped and was or is to be passed on, by its ends.
fn cases<'a>(view: &View<'a>) -> BTreeMap<Between, Case<'a>> {
    let model = view.model;
    let mut cases: BTreeMap<Between, Case<'_>> = BTreeMap::new();
    for (plight, drop, spell) in of_others(model, view.befallen()) {
        for between in Between::of(&plight.key) {
            let case = cases.entry(between).or_insert_with(|| Case {
                flows: Vec::new(),
                spell,
                tried: 0,
                worked: false,
                passed: When::NEVER,
                asked: When::NEVER,
                is_as_it_came: false,
            });
            if !case.flows.is_empty() {
                case.spell = case.spell.and(spell);
            }
            case.flows.push((plight, drop, spell));
        }
    }
    if cases.is_empty() {
        return cases;
    }
    let mut foreign = Latest::default();
    for (key, flow, plight) in model.flows_and_plights() {
        if !foreign.of((key.netns, key.local), || is_foreign(model, key.netns, key.local)) {
            continue;
        }
        let (passed, is_tried) = (passed(flow, plight), flow.arrived <= flow.dropped);
        for between in Between::of(key) {
            if let Some(case) = cases.get_mut(&between) {
                case.worked |=
                    passed > When::NEVER && passed <= When::at(case.spell.since.saturating_add(SLACK));
                case.passed = case.passed.max(passed);
                case.tried += u64::from(is_tried);
                case.is_as_it_came |= flow.arrived > 0 && flow.arrived >= flow.dropped && flow.dropped > 0;
            }
            if let Some(case) = cases.get_mut(&between.back()) {
                case.asked = case.asked.max(passed);
            }
        }
    }
    cases
}

/// When something of a flow last got through; never where nothing did.
fn passed(flow: &Flow, plight: Option<&Plight>) -> When {
    if flow.arrived <= flow.dropped {
        return When::NEVER;
    }
    match plight.and_then(|plight| Some((plight.dropped?, flow.arrived_after_drops()))) {
        None => flow.last_arrived,
        // More than one in five.
        Some((spell, amid)) if amid.saturating_mul(4) > spell.packets.saturating_mul(5) => flow.last_arrived,
        Some((spell, _)) if flow.last_arrived > When::at(spell.last.saturating_add(SLACK)) => {
            flow.last_arrived
        }
        // Before that.
        Some((spell, _)) => When::at(spell.since),
    }
}

/// What is cut off now.
pub(in crate::diagnosis) struct Cut<'a> {
    cases: BTreeMap<Between, Case<'a>>,
    /// When something last got through, by the two ends.
    passed: BTreeMap<(u32, IpAddr, IpAddr), When>,
    /// What each flow is found to lose, in the order of their keys.
    pub tolls: Vec<Toll<'a>>,
}

impl<'a> Cut<'a> {
    /// Since something got through last between the two ends of the flow: what was dropped before is of another fault.
    pub(in crate::diagnosis) fn since(&self, key: &FlowKey) -> When {
        let [between, _] = Between::of(key);
        let passed = self.passed.get(&between.pair()).and_then(|passed| passed.time());
        passed.map_or(When::NEVER, |passed| When::at(passed.saturating_sub(SLACK)))
    }

    pub(in crate::diagnosis) fn of(view: &View<'a>) -> Self {
        let mut cases = cases(view);
        let shut: HashSet<(u32, IpAddr, IpAddr), RandomState> = cases
            .iter()
            .filter(|(between, case)| case.is_cut(between))
            .map(|(between, _)| between.pair())
            .collect();
        cases.retain(|between, case| case.is_shut() && shut.contains(&between.pair()));
        let mut passed = BTreeMap::new();
        // Of what has not been dropped for some time it is not known that it did not get through: the first counts.
        for (between, case) in cases.iter().filter(|(_, case)| case.passed > When::NEVER) {
            let first = passed.entry(between.pair()).or_insert(case.passed);
            *first = case.passed.min(*first);
        }
        let flows = cases.values().flat_map(|case| &case.flows);
        let mut tolls: Vec<Toll<'a>> = flows
            .map(|(plight, _, spell)| Toll::of(plight, true, *spell, spell.since))
            .collect();
        tolls.sort_by_key(|toll| toll.key());
        // Whoever of the two has asked.
        tolls.dedup_by_key(|toll| toll.key());
        Self { cases, passed, tolls }
    }
}

fn dropped(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let cut = view.cut();
    let Cut { cases, tolls, .. } = cut;
    if cases.is_empty() {
        return None;
    }
    let tolls = view
        .past
        .beside(Of::PassedOn, tolls, |key| cut.since(key))
        .with(tolls);
    let lost = tolls.iter().map(|toll| toll.lost).reduce(Spell::and)?;
    let (since, last) = (lost.since, lost.last);
    let pairs: BTreeSet<(IpAddr, IpAddr)> = cases
        .iter()
        .filter(|(_, case)| case.is_as_it_came)
        .map(|(between, _)| (between.to.min(between.from), between.to.max(between.from)))
        .collect();
    let mut ends: BTreeMap<&LastDrop, (u64, u64)> = BTreeMap::new();
    for toll in tolls.iter() {
        if let Some(drop) = toll.end() {
            let end = ends.entry(drop.as_ref()).or_default();
            *end = (end.0.saturating_add(toll.lost.packets), end.1 + 1);
        }
    }
    let packets = lost.packets;
    let keys: Vec<FlowKey> = tolls.iter().map(|toll| *toll.key()).collect();
    let namespaces: BTreeSet<u32> = keys.iter().map(|key| key.netns).collect();
    let hooks = match kinds::hooks_in(model, &namespaces, Course::Through, lost.since) {
        hooks if hooks.is_empty() => String::new(),
        hooks => format!(" {}", kinds::hooks_text(&hooks)),
    };
    let to = Addresses::of(keys.iter().map(|key| key.local));
    let from = Addresses::of(keys.iter().map(|key| key.remote));
    let first = *namespaces.first()?;
    let seen = |(drop, (packets, flows)): (&&LastDrop, &(u64, u64))| {
        let (reason, location) = (&drop.0, &drop.1);
        let text = format!(
            "{reason} at {location}: {} that this node was to pass on, of {}",
            count(*packets, "packet"),
            count(*flows, "flow")
        );
        evidence::drop(reason, Some(location), *packets, text)
    };
    Some(Finding {
        confidence: if pairs.len() > 1 {
            Confidence::Strong
        } else {
            view.past.aftermath.confidence(DROPPED.id)
        },
        explanation: format!(
            "{} for {} from {}, which this node was to pass on, {} dropped by its own firewall since {}, and none was seen \
             to get through.{hooks}{}",
            count(packets, "packet"),
            to.told(),
            from.told(),
            if packets == 1 { "was" } else { "were" },
            moment(model, since),
            affected(&keys)
        ),
        since,
        last,
        evidence: ends.iter().map(seen).take(5).collect(),
        devices: distinct(keys.iter().filter_map(|key| {
            let flow = model.flows().get(key).filter(|flow| flow.iif != 0)?;
            Some(model.node().device_name(key.netns, flow.iif))
        }))
        .into_iter()
        .collect(),
        flows: keys.into(),
        namespaces,
        units: Vec::new(),
        standing: None,
        prevent: Vec::new(),
        check: ["nft -a list ruleset", "iptables-legacy-save -c"]
            .map(|line| command(model, first, line))
            .into(),
        remedy: vec![
            "Change the rule that the checks show. Risk: it may be there on purpose, as a policy for pods; ask whose it is, and do \
             not flush what others made."
                .to_owned(),
        ],
    })
}
