//! Packets arrive for a socket that waits for them and never reach it, whatever the cause.
//!
//! What flows lose falls into kinds, by the kernel's reason and place (`kinds`), and each kind has a rule (`rules`) and its
//! commands (`commands`); `table` is of tracked connections, `link_address` of what is for another link-layer address, `partly` of
//! flows that lose some packets and go on, `barred` of servers that a firewall cuts off.

mod barred;
mod commands;
pub(super) mod kinds;
mod link_address;
mod partly;
pub(super) mod rules;
mod table;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::routing;
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::tolls::{Of, Toll};
use super::words::{command, count, list};
use super::{Finding, View};
use crate::event::{FlowKey, Protocol};
use crate::model::Model;
use crate::model::clock::{SECOND, When};
use crate::model::endpoints::Endpoint;
use crate::model::flows::Hunger;
use crate::model::growth::Spell;
use crate::model::last_drops::LastDrop;
use crate::model::latest::Latest;
use crate::model::plight::{Plight, Waits};
use crate::model::queues::Port;
use crate::report::{Confidence, Evidence};

use barred::Barred;
pub(super) use barred::Shut;
use kinds::{Kind, Returned, Way};
use partly::Partly;

/// Packets that a flow must have lost to a drop that was seen.
const DROPPED: u64 = 2;
/// Where no drop was seen, a flow must lack so many packets for so long: one may be on its way, or wait for a
/// neighbour.
const VANISHED: u64 = 3;
const VANISHED_FOR: u64 = 6 * SECOND;
/// A flow must starve for longer than this.
const LASTING: u64 = SECOND;
/// So long are those who give up to have waited together: who waits for a second and asks again may be told sooner by a hair.
const TOGETHER: u64 = SECOND / 10 * 9;
/// Who asks by a socket for each question waits so long for its answer, mostly (`timeout` of resolv.conf).
const PATIENCE: u64 = 5 * SECOND;

/// The reason and the place at which packets ended; `None` where no drop was seen.
type End<'a> = Option<&'a LastDrop>;

/// What ended in one way.
#[derive(Clone)]
pub(super) struct Loss<'a> {
    end: End<'a>,
    packets: u64,
    flows: u64,
    /// Devices by which they arrived, by namespace and index.
    devices: BTreeSet<(u32, u32)>,
    example: FlowKey,
}

impl Loss<'_> {
    /// The names of its devices.
    fn device_names(&self, model: &Model) -> BTreeSet<String> {
        let name = |(netns, index): &(u32, u32)| model.node().device_name(*netns, *index);
        self.devices.iter().map(name).collect()
    }
}

/// What was lost by one kind of loss.
#[derive(Clone)]
pub(super) struct Lost<'a> {
    /// By the places of their ends; none where no drop was seen.
    losses: BTreeMap<Option<usize>, Loss<'a>>,
    flows: Vec<Toll<'a>>,
    since: u64,
    last: u64,
}

impl<'a> Lost<'a> {
    /// Nothing yet, until now.
    fn nothing(model: &Model) -> Self {
        Self {
            losses: BTreeMap::new(),
            flows: Vec::new(),
            since: model.now(),
            last: 0,
        }
    }

    /// So many packets of this flow ended so, in a spell that began then.
    fn add(&mut self, plight: &'a Plight, place: Option<usize>, lost: Spell, began: u64) {
        self.enter(Toll::of(plight, place.is_some(), lost, began), place);
    }

    /// What a flow lost, with the place of how that ended; `None` where no drop was seen.
    fn enter(&mut self, toll: Toll<'a>, place: Option<usize>) {
        let Spell { since, last, packets } = toll.lost;
        let loss = self.losses.entry(place).or_insert_with(|| Loss {
            end: toll.end().map(Arc::as_ref),
            packets: 0,
            flows: 0,
            devices: BTreeSet::new(),
            example: *toll.key(),
        });
        loss.packets = loss.packets.saturating_add(packets);
        loss.flows += 1;
        loss.devices.insert((toll.key().netns, toll.iif()));
        self.since = self.since.min(since);
        self.last = self.last.max(last);
        self.flows.push(toll);
    }

    /// The same with what was found before.
    fn whole(&self, view: &View<'a>, of: Of) -> Cow<'_, Self> {
        let beside = view.past.beside(of, &self.flows, |_| When::NEVER);
        if beside.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut whole = Self::nothing(view.model);
        let mut places: BTreeMap<&LastDrop, usize> = BTreeMap::new();
        for toll in beside.with(&self.flows).iter() {
            let next = places.len();
            let place = toll.end().map(|end| *places.entry(end.as_ref()).or_insert(next));
            whole.enter(*toll, place);
        }
        Cow::Owned(whole)
    }

    /// All packets of it.
    fn packets(&self) -> u64 {
        let packets = self.losses.values().map(|loss| loss.packets);
        packets.fold(0, u64::saturating_add)
    }

    /// What ended in each way, the most first: those with as many packets are in the order of their names.
    fn by_packets(&self) -> Vec<&Loss<'a>> {
        let mut losses: Vec<&Loss<'_>> = self.losses.values().collect();
        losses.sort_by_key(|loss| (Reverse(loss.packets), loss.end));
        losses
    }
}

/// How a flow's packets ended last: at a place, in a spell.
type Ended<'a> = (&'a LastDrop, usize, Spell);

/// A flow whose asker gave up, for how long it had waited, and how its packets ended.
type GaveUp<'a> = (&'a Plight, Hunger, Ended<'a>);

/// All that is lost, by its kind.
pub(super) struct Losses<'a> {
    kinds: BTreeMap<Kind, Lost<'a>>,
    /// Flows whose askers gave up, or asked once and may have, by whom they asked and where the answers ended. Who waits for a second
    /// only asks over and over again, by another port each time: together they may have waited for long.
    gave_up: BTreeMap<(Endpoint, usize), Vec<GaveUp<'a>>>,
    /// What a firewall keeps from servers of this node.
    barred: Barred<'a>,
    /// What flows lose that get the rest.
    partly: Partly<'a>,
    /// What is known of each end, by its place.
    ways: BTreeMap<usize, Way>,
    returned: Returned,
    /// Whether who sends what is lost has a wrong link-layer address for it, by device and address.
    misled: BTreeMap<(u32, u32, IpAddr), bool>,
    /// Whether a socket waits for anybody at the local end of the last flow.
    listens: Latest<(Port, IpAddr), bool>,
}

impl<'a> Losses<'a> {
    pub(super) fn new(model: &Model) -> Self {
        Self {
            kinds: BTreeMap::new(),
            gave_up: BTreeMap::new(),
            barred: Barred::default(),
            partly: Partly::nothing(model),
            ways: BTreeMap::new(),
            returned: kinds::returned(model),
            misled: BTreeMap::new(),
            listens: Latest::default(),
        }
    }

    /// Takes a flow in, where it loses packets that somebody waits for. Its last drop with the place of how it ended, and the
    /// spell of its drops, are told where they are recent.
    pub(super) fn add(&mut self, model: &Model, plight: &'a Plight, end: Option<Ended<'a>>) {
        if plight.waits == Waits::GaveUp {
            if let Some((hunger, end)) = plight.hunger.filter(|hunger| hunger.dropped > 0).zip(end) {
                let asked = (Endpoint::of(&plight.key), end.1);
                self.gave_up.entry(asked).or_default().push((plight, hunger, end));
            }
            return;
        }
        if let Some((hunger, end)) = plight.hunger.zip(end)
            && asked_in_vain(plight)
            && !(u64::from(hunger.dropped) >= DROPPED && self.waits(model, plight, hunger.since))
            && self.way(model, end).is_of_firewall()
        {
            // How long all of them have waited together counts, not each.
            let asked = (Endpoint::of(&plight.key), end.1);
            self.gave_up.entry(asked).or_default().push((plight, hunger, end));
            return;
        }
        let Some(hunger) = lasting(model, plight) else {
            self.partly(model, plight, end);
            return;
        };
        if !self.waits(model, plight, hunger.since) {
            return;
        }
        if u64::from(hunger.dropped) >= DROPPED {
            if let Some(end) = end {
                self.dropped(model, plight, &hunger, end);
            }
        } else if hunger.dropped > 0 {
            if partly::lost_before(plight).is_some() {
                self.partly(model, plight, end);
            }
        } else if has_vanished(model, plight, &hunger) {
            let lost = Spell {
                since: began(plight, &hunger),
                last: hunger.last,
                packets: plight.missing,
            };
            self.lose(model, plight, (Kind::Other, None), lost, hunger.so_since);
        }
    }

    /// What is known of an end.
    fn way(&mut self, model: &Model, (drop, place, _): Ended<'_>) -> Way {
        *self.ways.entry(place).or_insert_with(|| Way::of(model, drop))
    }

    /// A flow lost packets to a drop, where no other rule tells of it.
    fn dropped(&mut self, model: &Model, plight: &'a Plight, hunger: &Hunger, end: Ended<'a>) {
        let (_, place, spell) = end;
        let way = self.way(model, end);
        if way.loses(model, plight) {
            let kind = match way.kind(model, &self.returned, &plight.key, &spell) {
                Kind::LinkAddress if self.is_misled(model, plight) => Kind::SendersEntry,
                kind => kind,
            };
            let since = if way.has_waited {
                hunger.so_since
            } else {
                began(plight, hunger)
            };
            let lost = Spell {
                since,
                last: hunger.last,
                packets: hunger.so.into(),
            };
            self.lose(model, plight, (kind, Some(place)), lost, hunger.so_since);
        }
    }

    /// See [`link_address::is_wrong_at_sender`].
    fn is_misled(&mut self, model: &Model, plight: &Plight) -> bool {
        let (key, iif) = (&plight.key, plight.iif);
        *self
            .misled
            .entry((key.netns, iif, key.local))
            .or_insert_with(|| link_address::is_wrong_at_sender(model, key, iif))
    }

    /// A flow that does not starve, or is not told to, lost packets to drops, where no other rule tells of it.
    fn partly(&mut self, model: &Model, plight: &'a Plight, end: Option<Ended<'a>>) {
        let Some(end @ (drop, place, spell)) = end else {
            return;
        };
        let way = self.way(model, end);
        let is_barred = way.is_barred(plight);
        // What came just before all of it began to be dropped is no rest that it gets.
        let most = if is_barred { 2 } else { 1 };
        let is_some = partly::is_some(plight, &spell, most);
        if (is_barred || is_some) && way.loses(model, plight) && self.waits(model, plight, spell.since) {
            if is_barred {
                self.barred.add(plight, (drop, place, spell));
            }
            if is_some {
                self.partly.add(plight, (drop, place, spell));
            }
        }
    }

    /// A flow lost this, in a spell that began then; with the place of how it ended, where that was seen.
    fn lose(
        &mut self,
        model: &Model,
        plight: &'a Plight,
        (kind, place): (Kind, Option<usize>),
        lost: Spell,
        began: u64,
    ) {
        let all = self.kinds.entry(kind).or_insert_with(|| Lost::nothing(model));
        all.add(plight, place, lost, began);
        self.partly.starves(plight);
    }

    /// A socket of this node waits for the flow's packets: it is connected to that peer, or the flow still asks, or it
    /// is bound to the port and the packets are for an address of this node. What comes late for a socket that is gone
    /// is waited for by nobody.
    fn waits(&mut self, model: &Model, plight: &Plight, since: u64) -> bool {
        let key = &plight.key;
        match plight.waits {
            // See `gave_up`.
            Waits::Nobody | Waits::GaveUp => false,
            Waits::Connected => true,
            Waits::Asker => plight.last_sent >= When::at(since),
            Waits::Bound => {
                let (port, local) = (Port::of(key), key.local);
                self.listens.of((port, local), || {
                    let bound = model.sockets().bound(port, local);
                    bound.is_some_and(|bound| bound.closed.is_none())
                        && model.node().has_address(key.netns, local)
                })
            }
        }
    }

    /// See [`Barred::shut`].
    pub(super) fn shut(&self, model: &Model) -> Shut<'a> {
        self.barred.shut(model)
    }

    /// All are added: those who gave up are taken together, who had bad luck is with those that lose a part, and what netfilter
    /// drops is given its name.
    pub(super) fn name(&mut self, model: &'a Model) {
        let has_given_up = !self.gave_up.is_empty();
        for attempts in std::mem::take(&mut self.gave_up).into_values() {
            let since = attempts.iter().map(|(_, hunger, _)| hunger.since).min();
            let last = attempts.iter().map(|(_, hunger, _)| hunger.last).max();
            let waited = last.unwrap_or(0).saturating_sub(since.unwrap_or(0));
            let packets = attempts.iter().map(|(_, hunger, _)| u64::from(hunger.dropped));
            if waited >= TOGETHER && packets.fold(0, u64::saturating_add) >= DROPPED {
                for (plight, hunger, end) in attempts {
                    self.dropped(model, plight, &hunger, end);
                }
            }
        }
        // What is kept of flows is found by their keys.
        for lost in self.kinds.values_mut().filter(|_| has_given_up) {
            lost.flows.sort_by_key(|toll| toll.key());
        }
        self.partly.claim(model, &mut self.kinds);
        if let Some(firewall) = self.kinds.remove(&Kind::Firewall) {
            self.kinds.insert(kinds::of_netfilter(model, &firewall), firewall);
        }
    }
}

/// What each flow is found to lose now, before a socket.
pub(super) fn tolls<'v, 'a>(view: &'v View<'a>) -> impl Iterator<Item = (Of, &'v [Toll<'a>])> {
    let losses = &view.befallen().losses;
    let kinds = losses.kinds.iter();
    let kinds = kinds.map(|(kind, lost)| (Of::Kind(*kind), &lost.flows[..]));
    let shut = view.befallen().shut(view.model);
    kinds.chain([(Of::Barred, &shut.lost.flows[..])])
}

/// Who waited for its packets has given up, or asked once and may have.
pub(super) fn gave_up(plight: &Plight) -> bool {
    plight.waits == Waits::GaveUp || asked_in_vain(plight)
}

/// What the rule for one kind of loss has found.
fn lost(view: &View<'_>, kind: Kind) -> Option<Finding> {
    let model = view.model;
    let lost = &view
        .befallen()
        .losses
        .kinds
        .get(&kind)?
        .whole(view, Of::Kind(kind));
    let losses = lost.by_packets();
    // There may be very many: they are looked at once.
    let mut given_up = 0;
    let suffering = Suffering::of(lost.flows.iter().map(|toll| {
        given_up += usize::from(toll.gave_up(gave_up));
        Sufferer::from(toll)
    }));
    let ends: Vec<String> = losses.iter().map(|loss| kinds::told(loss)).collect();
    let wait = match given_up {
        0 => "wait for them",
        all if all == lost.flows.len() => "waited for them until they gave up",
        _ => "wait for them, or did until they gave up",
    };
    let explanation = format!(
        "{} arrived for sockets of this node that {wait}, and reached none: {}.{}{}",
        count(lost.packets(), "packet"),
        list(&ends),
        kind.more(model, lost),
        suffering.affected()
    );
    let found = finding(
        model,
        lost,
        suffering,
        |_| kind,
        (kind.confidence(model, lost), explanation),
        kind.evidence(model, lost),
    );
    Some(match kind {
        Kind::TableFull => Finding {
            remedy: commands::more_room(model, &found.flows.namespaces()),
            ..found
        },
        Kind::SendersEntry => {
            let (check, remedy) = link_address::advice(model, lost);
            Finding {
                check,
                remedy,
                ..found
            }
        }
        _ => found,
    })
}

/// What is found of something that was lost, each way as one of a kind; `more` is evidence beside the drops and flows.
fn finding(
    model: &Model,
    lost: &Lost<'_>,
    suffering: Suffering<'_>,
    kind: impl Fn(&Loss<'_>) -> Kind,
    (confidence, explanation): (Confidence, String),
    more: Vec<Evidence>,
) -> Finding {
    let losses = lost.by_packets();
    let (check, remedy) = advice(model, &losses, kind);
    Finding {
        confidence,
        explanation,
        since: lost.since,
        last: lost.last,
        evidence: losses
            .iter()
            .take(5)
            .map(|loss| kinds::seen(model, loss))
            .chain(more)
            .chain(routing::flow_evidence(model, &suffering.flows))
            .collect(),
        namespaces: suffering.flows.namespaces(),
        standing: None,
        devices: losses.iter().flat_map(|loss| loss.device_names(model)).collect(),
        units: suffering.units([]),
        flows: suffering.flows,
        prevent: Vec::new(),
        check,
        remedy,
    }
}

/// Commands that check what was lost, each way as one of a kind, and what mends it.
fn advice(
    model: &Model,
    losses: &[&Loss<'_>],
    kind: impl Fn(&Loss<'_>) -> Kind,
) -> (Vec<String>, Vec<String>) {
    let (mut check, mut remedy) = (Vec::new(), Vec::new());
    for loss in losses.iter().take(3) {
        let device = routing::arrival_device(model, &loss.example).unwrap_or_default();
        for line in commands::checks(kind(loss), &loss.example, loss.end, &device) {
            let line = command(model, loss.example.netns, &line);
            if !check.contains(&line) {
                check.push(line);
            }
        }
        for line in commands::mend(kind(loss), loss.end, &device) {
            let line = match line.chars().next() {
                // A sentence begins with a capital letter, a command does not.
                Some(first) if first.is_uppercase() => line,
                _ => command(model, loss.example.netns, &line),
            };
            if !remedy.contains(&line) {
                remedy.push(line);
            }
        }
    }
    (check, remedy)
}

/// A question by UDP whose answer was dropped soon after it was asked, and which had got none. Nobody tells when a socket of UDP is
/// closed: who asked may wait yet, or ask anew by another one.
fn asked_in_vain(plight: &Plight) -> bool {
    let is_soon = |hunger: Hunger| plight.last_sent >= When::at(hunger.since.saturating_sub(PATIENCE));
    plight.key.protocol == Protocol::Udp
        && plight.is_reply
        && plight.waits.is_wanted()
        && !plight.has_reached
        && plight
            .hunger
            .is_some_and(|hunger| hunger.dropped > 0 && is_soon(hunger))
}

/// When a flow that starves began to lose packets as it does. What waits in vain for the first time may have done so before anything was
/// dropped so.
fn began(plight: &Plight, hunger: &Hunger) -> u64 {
    let dropped = plight.dropped.map_or(0, |spell| spell.since);
    hunger.so_since.max(dropped)
}

/// The hunger of a flow that has lasted for long enough. What is over is told while it is fresh.
fn lasting(model: &Model, plight: &Plight) -> Option<Hunger> {
    let hunger = plight.hunger?;
    let until = if plight.is_sated { hunger.last } else { model.now() };
    (until.saturating_sub(hunger.since) > LASTING).then_some(hunger)
}

/// Packets of a flow are missing of which no drop was seen; not where they may be on their way, or another rule tells why.
fn has_vanished(model: &Model, plight: &Plight, hunger: &Hunger) -> bool {
    // The kernel may take datagrams for itself, such as a tunnel's, between others that are a process's.
    plight.key.protocol != Protocol::Udp
        && plight.missing >= VANISHED
        && hunger.last.saturating_sub(hunger.since) >= VANISHED_FOR
        && model.can_in_full("sockets")
        && !routing::is_lost(model)
}
