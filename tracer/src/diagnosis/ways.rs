//! The way to peers that was changed on this node itself: a route, a rule, or the link-layer address of a next hop.

mod astray;
mod told;

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::change::sentence;
use super::matching::Fit;
use super::path::{self, ARRIVALS};
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, list, moment};
use super::{About, Finding, Rule, View, effects, evidence, taken};
use crate::event::{FlowKey, Origin, Protocol, SocketState, TABLE_MAIN, Thing, value};
use crate::model::Model;
use crate::model::clock::{SECOND, When};
use crate::model::endpoints::Endpoint;
use crate::model::plight::Plight;
use crate::model::timeline::{Change, Subject};
use crate::report::{Confidence, Where};

use astray::{Gift, Gone, Policy, Way, may_lead_astray};
pub(super) use astray::{is_given, leads_astray};
pub(super) use told::{forget, tracked};

/// R37: the way out leads elsewhere than before.
pub(super) const CHANGED: Rule = Rule {
    id: "R37",
    slug: "way-changed",
    title: "The way to its peers was changed on this node, and flows get nothing since",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Peers that answered are silent from within 10 s after a route to them came or leads elsewhere, a policy rule for \
                    what is sent to them came, a rule of a firewall came that gives it a mark for which there is such a rule, or \
                    another address, the entry of the neighbour by which they are reached was set by hand (PERMANENT) with another \
                    link-layer address than before, the device takes smaller packets than before, whose counters tell of drops, or \
                    ARP was switched off at the uplink by which they are reached; and nobody who was asked by that way since has answered. A weak sign where that neighbour was not known before; \
                    and where it is not seen whether the rule is for these packets, and nobody else answers either. Or the \
                    address of a peer that answered came to this node, no answer from there has reached a socket since, and what is for \
                    it is refused here. A weak sign where it came to an uplink, as that of a service that wanders, and where a socket \
                    of this node waits there.",
        meaning: "What is sent leaves by another device, to another gateway, from or for another address, or with a link-layer address \
                  that is nobody's: it reaches nobody, or nobody who answers; or what comes back is too large for the device. The \
                  kernel does not ask for a neighbour that was set by hand, nor for any at a device without ARP, goes on translating what began with a rule that is gone, \
                  and sends nothing out that is for an own address.",
        check: &[
            "ip route get PEER",
            "ip rule; ip route show table all",
            "nft -a list ruleset; conntrack -L",
            "ip -s link show dev DEVICE  # dropped: what it did not take",
            "ip link show dev DEVICE  # must not say NOARP",
            "ip neigh show nud permanent",
            "arping -I DEVICE ADDRESS  # who answers, and by which link-layer address",
        ],
        mend: &[
            "Take back what was changed (ip route del, ip route replace), as the verdict says. Risk: low where it was not so before.",
            "ip neigh del ADDRESS dev DEVICE  # Risk: low, the kernel asks for it anew.",
            "ip link set dev DEVICE arp on  # Risk: low where it was on before.",
            "conntrack -D --src-nat ADDRESS; conntrack -D --dst-nat ADDRESS  # Once a rule that translates is gone. Risk: low.",
            "ip address del ADDRESS dev DEVICE  # Risk: low where it was not so before.",
        ],
    },
    examine: |view| changed(view).or_else(|| taken::examine(view)),
    explains: effects::led_astray,
    proved_by: effects::none,
    follows: &["R04", "R22", "D02", "R36"],
};

/// Who asks all the time is silent so soon after the change: what begins later is something else.
const SOON: u64 = 10 * SECOND;
/// What was on its way when it was changed arrives so late, at most.
const LATE: u64 = 2 * SECOND;

/// A change of the way, and the flows that are silent since.
struct Case<'a, 'p> {
    netns: u32,
    change: &'a Change,
    way: Way<'p>,
    asking: Vec<path::Asking<'a>>,
    /// What is sent goes by what was changed, as its words say and what is seen of packets, and not only perhaps.
    is_sure: bool,
}

impl<'a: 'p, 'p> Case<'a, 'p> {
    /// A change by which packets go another way than before, and so it stood until the next one. `asking` are all flows that are
    /// silent.
    fn of(
        view: &View<'a>,
        policy: &'p Policy<'p>,
        change: &'a Change,
        next: Option<u64>,
        asking: &[path::Asking<'a>],
        opened: &Opened<'_>,
    ) -> Option<Self> {
        let Subject::Setting(netns, thing) = &change.subject else {
            return None;
        };
        if !is_of_uplink(view, *netns, thing) {
            return None;
        }
        let way = Way::of(view.model, policy, change, next)?;
        let silences = view.model.silences().all();
        let is_its = |(plight, place): &path::Asking<'a>| {
            let Some((_, silence)) = silences.get(*place) else {
                return false;
            };
            // What left just before may be lost with it.
            let is_after = silence.since.saturating_add(SECOND) >= change.at
                && silence.since <= change.at.saturating_add(SOON)
                && next.is_none_or(|next| silence.since < next);
            // Who never answered may not be there at all, but for what was for somebody who did.
            let is_known = silence.proven || plight.has_arrived || opened.before(&way, &plight.key).is_some();
            // Else it was by this way that they answered.
            let is_cause = silence.answered <= When::at(change.at.saturating_add(LATE));
            is_after && is_known && is_cause
        };
        // What is told of connections that went on as they did is of something else.
        let is_new = |plight: &Plight| {
            let connection = view.model.sockets().connection(&plight.key);
            match connection {
                Some(connection) => connection.began_after(change.at),
                None => !plight.has_arrived,
            }
        };
        let (mut is_sure, mut at_once) = (false, true);
        let is_led = |one: &path::Asking<'a>| {
            if !is_its(one) || (way.leads_new_only() && !is_new(one.0)) {
                return false;
            }
            let key = &one.0.key;
            let fit = way.leads(opened.before(&way, key).unwrap_or(key));
            is_sure |= fit == Some(Fit::Surely);
            let silence = silences.get(one.1).map(|(_, silence)| silence.since);
            at_once &= silence.is_some_and(|since| since <= change.at.saturating_add(LATE));
            fit.is_some()
        };
        let asking: Vec<path::Asking<'a>> = asking.iter().copied().filter(is_led).collect();
        let model = view.model;
        let is_one = !asking.is_empty() && !is_as_before(model, change) && !works(model, change, &way, next);
        is_one.then(|| Self {
            netns: *netns,
            change,
            asking,
            way,
            // Where others are answered, and these fell silent at once, it is not all of the network that is silent.
            is_sure: is_sure
                || (matches!(thing, Thing::Rule { .. })
                    && at_once
                    && others_are_answered(model, *netns, change.at)),
        })
    }

    /// Where no link-layer address was known before, the one that was set may be right.
    fn confidence(&self) -> Confidence {
        match (&self.change.subject, &self.change.before) {
            (Subject::Setting(_, Thing::Neighbour { .. }), None) => Confidence::Weak,
            _ if !self.is_sure => Confidence::Weak,
            _ => Confidence::Strong,
        }
    }

    /// By the same hand, and at the same time.
    fn belongs_to(&self, other: &Self) -> bool {
        let hand = |case: &Self| {
            let by = case.change.by.as_ref();
            by.map(|by| (by.command.clone(), by.unit.clone()))
        };
        self.netns == other.netns
            && self.change.at.abs_diff(other.change.at) <= SECOND
            && hand(self) == hand(other)
    }
}

/// Connections by which this node asks whom it had been answered by: what a rule gives another destination leaves by a flow that has
/// only the own end of one of them.
struct Opened<'a> {
    model: &'a Model,
    /// By their own ends; looked for where they are asked for.
    all: OnceCell<HashMap<OwnEnd, &'a FlowKey, RandomState>>,
}

/// Namespace, protocol, address and port.
type OwnEnd = (u32, Protocol, IpAddr, u16);

fn own_end(key: &FlowKey) -> OwnEnd {
    (key.netns, key.protocol, key.local, key.local_port)
}

impl<'a> Opened<'a> {
    fn of(model: &'a Model) -> Self {
        let all = OnceCell::new();
        Self { model, all }
    }

    fn find(&self) -> HashMap<OwnEnd, &'a FlowKey, RandomState> {
        let flows = self.model.flows().iter();
        let answered: HashSet<Endpoint, RandomState> = flows
            .filter(|(_, flow)| flow.origin == Origin::Local && flow.arrived > 0)
            .map(|(key, _)| Endpoint::of(key))
            .collect();
        let all = self.model.sockets().connections();
        all.filter(|(key, _)| answered.contains(&Endpoint::of(key)))
            .map(|(key, _)| (own_end(key), key))
            .collect()
    }

    /// What the flow was for before this way gave it the destination that it has; `None` where it did not, as far as is seen.
    fn before(&self, way: &Way<'_>, key: &FlowKey) -> Option<&'a FlowKey> {
        let gives = |gift| matches!(gift, Gift::Destination(Some(to)) if to == key.remote);
        if !way.gifts().any(gives) {
            return None;
        }
        self.all.get_or_init(|| self.find()).get(&own_end(key)).copied()
    }
}

/// A neighbour is on an uplink. Routes and rules lead anywhere.
fn is_of_uplink(view: &View<'_>, netns: u32, thing: &Thing) -> bool {
    let node = view.model.node();
    match thing {
        Thing::Neighbour { device, .. } => node
            .device_named(netns, device)
            .is_some_and(|device| node.is_over_uplink(netns, device.index)),
        _ => true,
    }
}

/// Packets go as they did. A route that came leads as another one to the same network does or did before: one with another metric,
/// which may go only then,
/// or the same one that was there from the start, set anew as by whoever configures the device once more; or as the one to the network
/// around it does. Or one went, and another one leads there as it did; or it was changed, and leads as before. The same of a rule; or
/// it looks up what the next one does. Or one came that is only for when another one goes.
pub(super) fn is_as_before(model: &Model, change: &Change) -> bool {
    let Subject::Setting(netns, thing) = &change.subject else {
        return false;
    };
    let (now, came) = match (&change.before, &change.after) {
        (None, Some(now)) => (now, true),
        (Some(was), None) => (was, false),
        (Some(was), Some(now)) => return matches!(thing, Thing::Route { .. }) && effects::leads_as(was, now),
        (None, None) => return false,
    };
    let is_alike = |other: &Thing, value: &str| match (thing, other) {
        (
            Thing::Route {
                destination, prefix, ..
            },
            Thing::Route {
                table: TABLE_MAIN,
                destination: to,
                prefix: of,
                ..
            },
        ) => (destination, prefix) == (to, of) && value::leads_alike(value, now),
        (
            Thing::Rule { version, text, .. },
            Thing::Rule {
                version: of,
                text: other,
                ..
            },
        ) => (version, text) == (of, other),
        _ => false,
    };
    if !matches!(thing, Thing::Route { .. } | Thing::Rule { .. }) {
        return false;
    }
    let changes = || model.timeline().all().map(|(_, other)| other);
    // It may be what put things right.
    let came_later = |thing: &Thing| {
        changes().any(|other| {
            let is_it = matches!(&other.subject, Subject::Setting(of, its) if of == netns && its == thing);
            is_it && other.at > change.at && other.before.is_none()
        })
    };
    let is_before = |other: &Thing| match (thing, other) {
        (
            Thing::Route {
                table,
                destination,
                prefix,
                metric,
                ..
            },
            Thing::Route {
                table: in_table,
                destination: to,
                prefix: of,
                metric: before,
                ..
            },
        ) => (table, destination, prefix) == (in_table, to, of) && before < metric,
        _ => false,
    };
    // What stood before anything was told of it has done no harm; what came while tracer looked, and went, may have.
    let stood_before = |thing: &Thing| {
        let first = changes()
            .find(|other| matches!(&other.subject, Subject::Setting(of, its) if of == netns && its == thing));
        first.is_some_and(|first| first.before.is_some())
    };
    if leads_as_around(model, *netns, thing, now, came_later) || is_followed(model, *netns, thing, came_later)
    {
        return true;
    }
    let mut stands = model.settings().iter();
    let mut went = changes().filter(|_| came);
    stands.any(|(of, other, value)| {
        let does_it = || is_alike(other, value) || (came && is_before(other));
        of == *netns && other != thing && does_it() && !came_later(other)
    }) || went.any(|other| {
        let was = || other.before.as_deref();
        other.at <= change.at.saturating_add(LATE)
            && matches!(&other.subject, Subject::Setting(of, thing)
                    if of == netns && was().is_some_and(|was| is_alike(thing, was)) && stood_before(thing))
    })
}

/// The route of table main to the network around that of this one leads as this one does, and did so before: the kernel takes the
/// longest prefix, and of these the lowest metric.
fn leads_as_around(
    model: &Model,
    netns: u32,
    thing: &Thing,
    leads: &str,
    came_later: impl Fn(&Thing) -> bool,
) -> bool {
    let Thing::Route {
        table: TABLE_MAIN,
        action,
        destination,
        prefix,
        ..
    } = thing
    else {
        return false;
    };
    let around = model
        .settings()
        .iter()
        .filter_map(|(of, other, value)| match other {
            Thing::Route {
                table: TABLE_MAIN,
                action,
                destination: to,
                prefix: bits,
                metric,
            } if of == netns && bits < prefix && effects::covers(*to, *bits, *destination) => {
                Some((*bits, Reverse(*metric), action, other, value))
            }
            _ => None,
        });
    let best = around.max_by_key(|(bits, metric, ..)| (*bits, *metric));
    best.is_some_and(|(_, _, of, other, value)| {
        of == action && effects::leads_as(value, leads) && !came_later(other)
    })
}

/// Packets that are looked up by this rule would be, without it, in the same table: by the rule behind it, which is for all.
fn is_followed(model: &Model, netns: u32, thing: &Thing, came_later: impl Fn(&Thing) -> bool) -> bool {
    let Thing::Rule {
        version,
        priority,
        table,
        ..
    } = thing
    else {
        return false;
    };
    let behind = model.settings().iter().filter_map(|(of, other, _)| match other {
        Thing::Rule {
            version: its,
            priority: at,
            text,
            table,
        } if of == netns && its == version && at > priority && other != thing => {
            Some((*at, *table, value::is_for_all(text), other))
        }
        _ => None,
    });
    let mut behind: Vec<_> = behind.collect();
    behind.sort_by_key(|(at, ..)| *at);
    let mut same = behind.into_iter().take_while(|(_, of, ..)| of == table);
    same.any(|(.., is_for_all, other)| is_for_all && !came_later(other))
}

/// What is for the finding's peers does not go by what changed: they are reached by narrower routes, which stood before; or it is a
/// rule, and in its table no route leads to them, nor did since.
pub(super) fn is_passed_by(model: &Model, finding: &Finding, change: &Change) -> bool {
    let Subject::Setting(netns, thing) = &change.subject else {
        return false;
    };
    let later = || {
        let all = model.timeline().all().rev().map(|(_, other)| other);
        let later = all.take_while(|other| other.at >= change.at);
        later.filter_map(|other| match &other.subject {
            Subject::Setting(of, thing) if of == netns => Some(thing),
            _ => None,
        })
    };
    let flows = &finding.flows;
    match thing {
        Thing::Route {
            table: TABLE_MAIN,
            destination,
            prefix,
            ..
        } if flows.remotes().are_told() => {
            let mut known: BTreeMap<(u8, IpAddr), bool> = BTreeMap::new();
            let mut is_passed = |peer: IpAddr| match model.settings().chosen(*netns, peer) {
                Some((
                    narrower @ Thing::Route {
                        destination: to,
                        prefix: bits,
                        ..
                    },
                    _,
                )) if bits > prefix => {
                    let stood = || !later().any(|thing| thing == narrower);
                    *known.entry((*bits, *to)).or_insert_with(stood)
                }
                _ => false,
            };
            let mut peers = flows.remotes().iter();
            peers.all(|peer| !effects::covers(*destination, *prefix, peer) || is_passed(peer))
        }
        Thing::Rule { table, text, .. }
            if !flows.is_empty() && value::after(text, value::LOOKUP).is_some() =>
        {
            let is_its = |thing: &Thing| match thing {
                Thing::Route {
                    table: of,
                    destination,
                    prefix,
                    ..
                } => of == table && flows.remotes().are_in(*destination, *prefix),
                _ => false,
            };
            let mut stands = model.settings().iter().filter(|(of, ..)| of == netns);
            !later().any(is_its) && !stands.any(|(_, thing, _)| is_its(thing))
        }
        _ => false,
    }
}

/// Somebody whom this node has asked by this way since then, as long as it was the way, has answered. What comes of connections from
/// before is no sign: peers send again what this node cannot acknowledge.
fn works(model: &Model, change: &Change, way: &Way<'_>, next: Option<u64>) -> bool {
    if !way.is_all_or_nothing() {
        return false;
    }
    let since = change.at.saturating_add(LATE);
    // Sockets that were there before keep their addresses: where only another one was given, they go as they did.
    let source = || {
        let now = value::after(change.after.as_deref()?, value::SOURCE);
        let was = change.before.as_deref();
        let is_new = was.is_some_and(|was| value::after(was, value::SOURCE) != now);
        now.filter(|_| is_new)?.parse::<IpAddr>().ok()
    };
    let source = source();
    let is_in_time = |at: When| next.is_none_or(|next| at < When::at(next));
    let has_answered = |key: &FlowKey| match key.protocol {
        Protocol::Tcp => model.sockets().connection(key).is_some_and(|connection| {
            connection.since > since
                && is_in_time(When::at(connection.since))
                && connection.state == SocketState::Established
                && connection.opened == Some(Origin::Local)
        }),
        // When one of these began is not known.
        _ if way.leads_new_only() => false,
        _ => model.flows().get(key).is_some_and(|flow| {
            flow.origin == Origin::Local && flow.sent > 0 && is_in_time(flow.last_arrived)
        }),
    };
    model.flows().iter().any(|(key, flow)| {
        // Few have, mostly: that is asked first.
        flow.last_arrived > When::at(since)
            && source.is_none_or(|source| source == key.local)
            && has_answered(key)
            && way.leads(key) == Some(Fit::Surely)
    })
}

/// Somebody whom this node asks has answered since.
pub(super) fn others_are_answered(model: &Model, netns: u32, since: u64) -> bool {
    let since = When::at(since.saturating_add(LATE));
    let mut flows = model.flows().iter();
    flows.any(|(key, flow)| {
        flow.last_arrived > since
            && key.netns == netns
            && flow.origin == Origin::Local
            && flow.sent > 0
            && flow.asked == When::NEVER
    })
}

/// Silent flows, and when those whom they ask fell silent.
struct Silent<'v, 'a> {
    asking: &'v [path::Asking<'a>],
    /// In order, each once.
    since: Vec<u64>,
}

impl<'v, 'a> Silent<'v, 'a> {
    fn of(view: &'v View<'a>) -> Self {
        let asking = &view.befallen().silent[..];
        let silences = path::silences(view.model, asking.iter().map(|(_, place)| *place));
        let mut since: Vec<u64> = silences.iter().map(|(_, silence)| silence.since).collect();
        since.sort_unstable();
        since.dedup();
        Self { asking, since }
    }

    /// Somebody fell silent so soon after the change that it may be why.
    fn may_be_by(&self, change: &Change) -> bool {
        let first = self
            .since
            .partition_point(|since| since.saturating_add(SECOND) < change.at);
        let since = self.since.get(first);
        since.is_some_and(|since| *since <= change.at.saturating_add(SOON))
    }
}

/// Those of the latest changes that may be why somebody is silent, the latest first, each with when the same was changed once more.
fn suspects<'a>(model: &'a Model, silent: &Silent<'_, '_>) -> Vec<(&'a Change, Option<u64>)> {
    let Some(first) = silent.since.first() else {
        return Vec::new();
    };
    let mut next: BTreeMap<&Subject, u64> = BTreeMap::new();
    // All that is told of nf_tables has one subject.
    let mut gone = Gone::default();
    let changes = model.timeline().all().rev().map(|(_, change)| change);
    changes
        .take_while(|change| change.at.saturating_add(SOON) >= *first)
        .filter(|change| may_lead_astray(&change.subject))
        .filter_map(|change| {
            let next = match &change.subject {
                Subject::Setting(netns, Thing::Ruleset { .. }) => gone.taken_back(*netns, change),
                subject => next.insert(subject, change.at),
            };
            silent.may_be_by(change).then_some((change, next))
        })
        .filter(|(change, _)| leads_astray(change))
        .collect()
}

fn changed(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    if !model.can(ARRIVALS) || model.silences().all().is_empty() {
        return None;
    }
    let silent = Silent::of(view);
    let suspects = suspects(model, &silent);
    if suspects.is_empty() {
        return None;
    }
    let policy = Policy::of(model);
    let opened = Opened::of(model);
    let mut cases: Vec<Case<'_, '_>> = suspects
        .into_iter()
        .filter_map(|(change, next)| Case::of(view, &policy, change, next, silent.asking, &opened))
        .collect();
    // The one that harms most; of several the latest.
    let worst = (0..cases.len())
        .rev()
        .max_by_key(|place| cases[*place].asking.len())?;
    let case = cases.swap_remove(worst);
    cases.retain(|other| other.belongs_to(&case));
    // What sockets ask for, where that leaves for somebody else.
    let flows: BTreeMap<FlowKey, path::Asking<'_>> = std::iter::once(&case)
        .chain(&cases)
        .flat_map(|case| {
            let asked = |plight: &Plight| opened.before(&case.way, &plight.key).copied();
            let all = case.asking.iter();
            all.map(move |(plight, place)| (asked(plight).unwrap_or(plight.key), (*plight, *place)))
        })
        .collect();
    let silences = path::silences(model, flows.values().map(|(_, place)| *place));
    let since = silences.iter().map(|(_, silence)| silence.since).min()?;
    let ended = silences
        .iter()
        .try_fold(0, |last: u64, (_, silence)| Some(last.max(silence.until?)));
    let suffering = Suffering::of(flows.iter().map(|(key, (plight, _))| Sufferer {
        key: *key,
        owner: plight.owner.as_deref().or_else(|| model.owner(key)),
        ..Sufferer::from(*plight)
    }));
    let peers: BTreeSet<IpAddr> = flows.keys().map(|key| key.remote).collect();
    let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
    let until = if ended.is_some() {
        ", until something did"
    } else {
        ""
    };
    let is_peer = |neighbour| silences.iter().all(|(peer, _)| peer.address == neighbour);
    let to = match &case.change.subject {
        Subject::Setting(_, Thing::Neighbour { address, .. }) if is_peer(*address) => String::new(),
        Subject::Setting(_, Thing::Neighbour { .. }) => format!("; it is the next hop to {}", list(&peers)),
        _ => format!("; by it goes what is for {}", list(&peers)),
    };
    // Others may get something from the same peers, as where only large packets are lost.
    let got = match suffering.flows.len() as u64 {
        1 => "1 flow has got".to_owned(),
        many => format!("{} have got", count(many, "flow")),
    };
    let why = case.way.why();
    let evidence = match &case.change.subject {
        Subject::Setting(netns, thing) => {
            let stands = model.settings().value(*netns, thing.clone());
            Some(evidence::state(
                thing.to_string(),
                match stands {
                    // All of it is in its name, as of a rule.
                    Some("") => "there",
                    Some(value) => value,
                    None => "not there",
                }
                .to_owned(),
            ))
        }
        _ => None,
    };
    let (check, remedy) = case.way.commands(silences.first()?.0.address);
    let line = |text: String| command(model, case.netns, &text);
    let namespaces = BTreeSet::from([case.netns]);
    Some(Finding {
        confidence: case.confidence(),
        explanation: format!(
            "The {}, at {}{to}. Since then {got} nothing from there{until}: {why}.{}",
            sentence(model, case.change),
            moment(model, case.change.at),
            suffering.affected()
        ),
        since,
        last: ended.unwrap_or(model.now()),
        evidence: evidence
            .into_iter()
            .chain(
                silences
                    .iter()
                    .take(4)
                    .map(|(peer, silence)| path::endpoint(model, *peer, *silence)),
            )
            .collect(),
        units: suffering.units([]),
        flows: suffering.flows,
        devices: path::uplinks(model, &namespaces),
        namespaces,
        standing: None,
        prevent: case.way.afterwards().into_iter().map(line).collect(),
        check: check.into_iter().map(line).collect(),
        remedy: remedy.into_iter().map(line).collect(),
    })
}
