//! The books: every line that was told, with its growth.

use std::collections::{BTreeMap, BTreeSet};

use super::clock::When;
use super::endpoints::Endpoint;
use super::ends::{self, Keeper, Sign, Signature};
use super::growth::{Growing, History, Spell, growth};
use super::hooks::{self, Hook};
use super::node::Node;
use super::shown::{Shown, is_of};
use crate::event::{Entry, EntryKey, Example, Fate, FlowKey, Owner, Protocol};

/// Units that are named for one line of drops, at most: the latest.
const UNITS: usize = 8;
/// Flows of a line that are kept whose packets found no way out, at most: the latest.
const WAYLESS: usize = 64;
/// Flows that are kept of what examples have shown dropped of what had arrived, at most.
const SHOWN: usize = 4_096;
/// Flows that are kept of what a firewall or a cgroup keeps from leaving, at most, and as many remote ends that none is opened to.
const FILTERED: usize = 1_024;

/// What has been told of a line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    /// Packets since the start, or since its namespace's inode is that of another one.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets over the last seconds.
    pub history: History<u64>,
    /// When packets of it were told last, in boot time.
    pub last: u64,
    /// Packets and bytes that were told of the namespace before.
    before: (u64, u64),
}

/// What examples have shown of a line of drops.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sighting {
    /// Units of the sockets that had been found.
    pub units: Shown<String>,
    /// Owner of the last socket that had been found, with when that was.
    owner: Option<(u64, Owner)>,
    /// Flow of the last example.
    pub flow: Option<FlowKey>,
    /// Flow of the last example that was for one of this node's own addresses, with when that was.
    own: Option<(u64, FlowKey)>,
    /// The same of those for which there was a socket.
    awaited: Option<(u64, FlowKey)>,
    /// Packets of examples for own addresses: there were at least so many.
    own_packets: Growing,
    /// Hooks of netfilter at which they were dropped, with when that was shown last.
    pub hooks: BTreeMap<Hook, u64>,
    /// Flows whose packets found no way out: connections where they had no route, for the packets have no headers yet, and flows whose
    /// next hop is silent.
    wayless: Shown<FlowKey>,
    /// When the first packet was shown that had not been counted by then.
    first: Option<u64>,
}

impl Sighting {
    /// The hooks at which some were shown to be dropped of what was counted since then.
    pub(crate) fn hooks_since(&self, since: u64) -> impl Iterator<Item = Hook> {
        let all = self.hooks.iter().filter(move |(_, last)| is_of(**last, since));
        all.map(|(hook, _)| *hook)
    }

    /// The owner of the last socket that had been found for what was counted since then.
    pub(crate) fn owner_since(&self, since: u64) -> Option<&Owner> {
        let (last, owner) = self.owner.as_ref()?;
        is_of(*last, since).then_some(owner)
    }

    /// Flows whose packets found no way out, of those that were counted since then.
    pub(crate) fn wayless_since(&self, since: u64) -> impl Iterator<Item = FlowKey> {
        self.wayless.since(since).copied()
    }

    /// Flow of the last example that was for one of this node's own addresses, of what was counted since then.
    pub(crate) fn own_since(&self, since: u64) -> Option<FlowKey> {
        let (last, flow) = self.own?;
        is_of(last, since).then_some(flow)
    }

    /// The same of those for which there was a socket: somebody waits for them.
    pub(crate) fn awaited_since(&self, since: u64) -> Option<FlowKey> {
        let (last, flow) = self.awaited?;
        is_of(last, since).then_some(flow)
    }

    /// Packets of examples for own addresses in this spell: there were at least so many.
    pub(crate) fn own_packets(&self, spell: Spell) -> Option<u64> {
        Some(self.own_packets.within(spell)?.packets)
    }

    /// What was lost until then is over. Its units stay: they are of all that the line has.
    fn conclude(&mut self, until: u64) {
        self.owner = self.owner.take().filter(|(last, _)| *last > until);
        self.wayless.conclude(until);
        self.own = self.own.filter(|(last, _)| *last > until);
        self.awaited = self.awaited.filter(|(last, _)| *last > until);
        self.own_packets.conclude(until);
    }

    /// A packet was shown.
    fn show(&mut self, at: u64) {
        let is_new = |first: u64| at.saturating_sub(first) <= ROUND;
        self.first = self.first.filter(|first| is_new(*first)).or(Some(at));
    }

    /// When that began which is told at this time: counts are told twice a second, and what they count is shown to the moment.
    fn begun(&mut self, at: u64) -> u64 {
        let is_its = |first: &u64| *first <= at && at - first <= ROUND;
        self.first.take().filter(is_its).unwrap_or(at)
    }
}

/// What was kept from leaving of a flow.
#[derive(Clone, Debug, Default)]
struct Filtered {
    dropped: Growing,
    /// Packets of the flow that had left when that began.
    left_before: u64,
    /// The latest of these between which nothing left.
    in_a_row: Option<Spell>,
}

/// What was lately kept from leaving of a flow: packets of examples, there were at least so many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldBack {
    /// All of them.
    pub dropped: Spell,
    /// Packets of the flow that had left when that began.
    pub left_before: u64,
    /// The latest of them, between which nothing left.
    pub in_a_row: Spell,
}

/// What was lately kept from leaving in a namespace, in packets.
#[derive(Clone, Debug, Default)]
struct Withheld {
    counted: Growing,
    /// Those of them that examples have shown.
    shown: Growing,
}

/// That a packet left is told up to a round later, in ns.
const ROUND: u64 = 600_000_000;

impl Filtered {
    /// Packets were kept from leaving. So many had left, the last of them then.
    fn note(&mut self, at: u64, packets: u64, (left, last_left): (u64, When)) {
        let is_new = self.dropped.note(at, at, packets);
        if is_new {
            self.left_before = left;
        }
        let goes_on =
            |spell: &&mut Spell| !is_new && last_left <= When::at(spell.since.saturating_add(ROUND));
        match self.in_a_row.as_mut().filter(goes_on) {
            Some(spell) => {
                spell.last = spell.last.max(at);
                spell.packets = spell.packets.saturating_add(packets);
            }
            None => {
                self.in_a_row = Some(Spell {
                    since: at,
                    last: at,
                    packets,
                });
            }
        }
    }
}

impl HeldBack {
    /// Nothing leaves any more of a flow of which something left then last: so many packets at least, over so much time.
    pub(crate) fn is_all(&self, last_left: When, packets: u64, time: u64) -> bool {
        self.in_a_row.lasts(packets, time) && last_left <= When::at(self.in_a_row.since.saturating_add(ROUND))
    }
}

/// All lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    lines: BTreeMap<EntryKey, Line>,
    sightings: BTreeMap<EntryKey, Sighting>,
    spells: BTreeMap<Signature, Growing>,
    treated_as_foreign: Growing,
    /// By namespace and device.
    signs: BTreeMap<(Sign, u32, u32), Growing>,
    /// Flows whose packets were kept from leaving, and by whom, as examples showed it: there were at least so many.
    filtered: BTreeMap<(Keeper, FlowKey), Filtered>,
    /// The same of connections of which nothing had left, by their remote ends: each that is tried anew is a flow of its own.
    unopened: BTreeMap<(Keeper, Endpoint), Growing>,
    /// Flows of which examples have shown what had arrived and was dropped: when that was, to the moment.
    shown: BTreeMap<FlowKey, Growing>,
    /// What each kept from leaving, of all flows of a namespace.
    withheld: BTreeMap<(Keeper, u32), Withheld>,
    /// What connection tracking may have dropped, by namespace: see [`ends::may_be_untracked`].
    untracked: BTreeMap<u32, Growing>,
    /// Both, the proof and what supports it.
    foreign: Growing,
    matches: bool,
}

impl Books {
    /// A line was told.
    pub(crate) fn entry(&mut self, node: &Node, at: u64, entry: &Entry) {
        for key in ends::lines(&entry.key) {
            self.enter(node, at, &key, entry);
        }
    }

    /// Enters what a line tells under this key.
    fn enter(&mut self, node: &Node, at: u64, key: &EntryKey, entry: &Entry) {
        let line = match self.lines.get_mut(key) {
            Some(line) => line,
            None => self.lines.entry(key.clone()).or_default(),
        };
        // A count that went backwards was started anew.
        if entry.packets < line.before.0 {
            line.before = (0, 0);
        }
        let packets = entry.packets - line.before.0;
        let grown = growth(line.packets, packets);
        if grown > 0 {
            line.last = at;
        }
        line.packets = packets;
        line.bytes = entry.bytes.saturating_sub(line.before.1);
        if key.fate == Fate::Dropped {
            line.history.push(at, packets);
        }
        self.matches |= key.fate == Fate::Matched && packets > 0;
        let begun = |sighting: &mut Sighting| sighting.begun(at);
        let since = self
            .sightings
            .get_mut(key)
            .filter(|_| grown > 0)
            .map_or(at, begun);
        if let Some(sign) = ends::sign(key)
            && node.namespace(key.netns).is_some()
        {
            let place = (sign, key.netns, key.device);
            self.signs.entry(place).or_default().note(since, at, grown);
        }
        if let Some(keeper) = ends::keeper(key) {
            self.withheld
                .entry((keeper, key.netns))
                .or_default()
                .counted
                .note(since, at, grown);
        }
        if ends::may_be_untracked(key) {
            self.untracked
                .entry(key.netns)
                .or_default()
                .note(since, at, grown);
        }
        if let Some(signature) = ends::signature(key)
            && counts(node, key, signature)
        {
            self.spells.entry(signature).or_default().note(since, at, grown);
            if signature == Signature::RoutedAsForeign {
                self.foreign.note(since, at, grown);
            }
        }
    }

    /// The inodes of these namespaces are or will be those of others: their lines begin at 0 once more.
    pub(crate) fn begin_anew(&mut self, namespaces: &BTreeSet<u32>) {
        let of_these = |key: &EntryKey| namespaces.contains(&key.netns);
        for (_, line) in self.lines.iter_mut().filter(|(key, _)| of_these(key)) {
            let (packets, bytes) = line.before;
            *line = Line {
                before: (
                    packets.saturating_add(line.packets),
                    bytes.saturating_add(line.bytes),
                ),
                ..Line::default()
            };
        }
        self.sightings.retain(|key, _| !of_these(key));
        self.signs.retain(|(_, netns, _), _| !namespaces.contains(netns));
        self.filtered
            .retain(|(_, flow), _| !namespaces.contains(&flow.netns));
        self.unopened
            .retain(|(_, end), _| !namespaces.contains(&end.netns));
        self.shown.retain(|flow, _| !namespaces.contains(&flow.netns));
        self.withheld.retain(|(_, netns), _| !namespaces.contains(netns));
        self.untracked.retain(|netns, _| !namespaces.contains(netns));
    }

    /// What was lost until then is over: what is lost later is another loss.
    pub(crate) fn conclude(&mut self, until: u64) {
        for sighting in self.sightings.values_mut() {
            sighting.conclude(until);
        }
        self.spells.retain(|_, spell| !spell.conclude(until));
        self.signs.retain(|_, spell| !spell.conclude(until));
        self.untracked.retain(|_, spell| !spell.conclude(until));
        self.filtered.retain(|_, one| !one.dropped.conclude(until));
        self.unopened.retain(|_, spell| !spell.conclude(until));
        self.shown.retain(|_, spell| !spell.conclude(until));
        self.withheld.retain(|_, one| {
            let is_over = one.counted.conclude(until);
            !one.shown.conclude(until) || !is_over
        });
        self.treated_as_foreign.conclude(until);
        self.foreign.conclude(until);
    }

    /// A packet of a line was shown. `left` tells how many packets have left so far of a flow, and when the last did;
    /// `is_bound`, that a socket is bound to its local end.
    pub(crate) fn example(
        &mut self,
        node: &Node,
        at: u64,
        example: &Example,
        left: impl FnOnce(&FlowKey) -> (u64, When),
        is_bound: impl FnOnce(&FlowKey) -> bool,
    ) {
        let Some(key) = ends::lines(&example.entry).last() else {
            return;
        };
        let key = key.as_ref();
        if key.fate != Fate::Dropped {
            return;
        }
        if let Some(flow) = example.flow
            && let Some(keeper) = ends::keeper(key)
        {
            let packets = u64::from(example.packets.max(1));
            self.withheld
                .entry((keeper, key.netns))
                .or_default()
                .shown
                .note(at, at, packets);
            let left = left(&flow);
            if flow.protocol == Protocol::Tcp && left.0 == 0 {
                self.note_unopened(at, (keeper, Endpoint::of(&flow)), packets);
            }
            if self.filtered.len() >= FILTERED {
                self.filtered.retain(|_, one| one.dropped.recent(at).is_some());
            }
            let kept = (keeper, flow);
            if self.filtered.len() < FILTERED || self.filtered.contains_key(&kept) {
                self.filtered.entry(kept).or_default().note(at, packets, left);
            }
        }
        if let Some(flow) = example.flow.filter(|_| key.incoming) {
            if self.shown.len() >= SHOWN && !self.shown.contains_key(&flow) {
                self.shown.retain(|_, spell| spell.recent(at).is_some());
            }
            if self.shown.len() < SHOWN || self.shown.contains_key(&flow) {
                self.shown.entry(flow).or_default().note(at, at, 1);
            }
        }
        let sighting = match self.sightings.get_mut(key) {
            Some(sighting) => sighting,
            None => self.sightings.entry(key.clone()).or_default(),
        };
        sighting.show(at);
        if let Some(place) = &key.location {
            let hook = hooks::hook(place, &example.stack);
            sighting.hooks.extend(hook.map(|hook| (hook, at)));
        }
        if let Some(owner) = &example.owner {
            if !owner.unit.is_empty() {
                sighting.units.note(at, &owner.unit, UNITS);
            }
            sighting.owner = Some((at, owner.clone()));
        }
        let wayless = match &example.socket {
            Some((flow, _)) if ends::unroutable(key) => Some(*flow),
            _ => example.flow.filter(|_| ends::next_hop_is_silent(key)),
        };
        if let Some(flow) = wayless {
            sighting.wayless.note(at, &flow, WAYLESS);
        }
        sighting.flow = example.flow.or(sighting.flow);
        if let Some(flow) = example.flow
            && key.incoming
            && node.had_address(flow.netns, flow.local, ends::routed(ends::symbol(key), at))
        {
            let packets = u64::from(example.packets.max(1));
            sighting.own = Some((at, flow));
            if example.owner.is_some() || is_bound(&flow) {
                sighting.awaited = sighting.own;
            }
            sighting.own_packets.note(at, at, packets);
            if in_ledger(node, key).is_some() && ends::supports_foreign(key) {
                self.treated_as_foreign.note(at, at, packets);
                self.foreign.note(at, at, packets);
            }
        }
    }

    /// A packet of a connection to this remote end was kept from leaving, of which nothing had left.
    fn note_unopened(&mut self, at: u64, end: (Keeper, Endpoint), packets: u64) {
        if self.unopened.len() >= FILTERED && !self.unopened.contains_key(&end) {
            self.unopened.retain(|_, spell| spell.recent(at).is_some());
        }
        if self.unopened.len() < FILTERED || self.unopened.contains_key(&end) {
            self.unopened.entry(end).or_default().note(at, at, packets);
        }
    }

    /// When the first of what was lately dropped of a flow was shown, in boot time.
    pub(super) fn first_shown(&self, flow: &FlowKey, now: u64) -> Option<u64> {
        Some(self.shown.get(flow)?.recent(now)?.since)
    }

    /// Every line, in the order of its key.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&EntryKey, &Line)> {
        self.lines.iter()
    }

    /// Every line of drops that has this signature and counts for it, and has grown since then.
    pub(crate) fn signed(
        &self,
        node: &Node,
        signature: Signature,
        since: u64,
    ) -> impl Iterator<Item = (&EntryKey, &Line)> {
        self.lines().filter(move |(key, line)| {
            line.packets > 0
                && line.last >= since
                && ends::signature(key) == Some(signature)
                && counts(node, key, signature)
        })
    }

    /// What examples have shown of this line.
    pub(crate) fn sighting(&self, key: &EntryKey) -> Option<&Sighting> {
        self.sightings.get(key)
    }

    /// What examples have shown of all lines of drops.
    pub(crate) fn sightings(&self) -> impl Iterator<Item = (&EntryKey, &Sighting)> {
        self.sightings.iter()
    }

    /// The spell of drops with this signature.
    pub(crate) fn spell(&self, signature: Signature, now: u64) -> Option<Spell> {
        self.spells.get(&signature)?.recent(now)
    }

    /// The latest spells of what bears this sign, where they are not long over: by namespace and device.
    pub(crate) fn signs(&self, sign: Sign, now: u64) -> impl Iterator<Item = (u32, u32, Spell)> {
        self.signs
            .range((sign, 0, 0)..=(sign, u32::MAX, u32::MAX))
            .filter_map(move |((_, netns, device), spell)| Some((*netns, *device, spell.recent(now)?)))
    }

    /// The same of one namespace, as one spell.
    pub(crate) fn sign(&self, sign: Sign, netns: u32, now: u64) -> Option<Spell> {
        let of_it = self.signs(sign, now).filter(|(of, ..)| *of == netns);
        of_it.map(|(.., spell)| spell).reduce(Spell::and)
    }

    /// A rule or a program has lately kept from leaving what was sent in this namespace.
    pub(crate) fn holds_back(&self, netns: u32, now: u64) -> bool {
        self.sign(Sign::HeldBack, netns, now).is_some()
    }

    /// The latest spell of what connection tracking may have dropped in this namespace, coming or going.
    pub(crate) fn untracked(&self, netns: u32, now: u64) -> Option<Spell> {
        self.untracked.get(&netns)?.recent(now)
    }

    /// Flows whose packets were lately kept from leaving by this one.
    pub(crate) fn kept_in(&self, by: Keeper, now: u64) -> impl Iterator<Item = (&FlowKey, HeldBack)> {
        let all = self.filtered.iter().filter(move |((keeper, _), _)| *keeper == by);
        all.filter_map(move |((_, flow), one)| {
            let held = HeldBack {
                dropped: one.dropped.recent(now)?,
                left_before: one.left_before,
                in_a_row: one.in_a_row?,
            };
            Some((flow, held))
        })
    }

    /// What this one has kept from leaving without a pause of connections to that remote end of which nothing had left.
    pub(crate) fn unopened(&self, by: Keeper, end: Endpoint, now: u64) -> Option<Spell> {
        self.unopened.get(&(by, end))?.recent(now)
    }

    /// About how many packets this one has lately kept from leaving, where examples have shown so many of them: what is beyond the
    /// budget of examples is taken to be of the same flows as those.
    pub(crate) fn withheld(&self, by: Keeper, netns: u32, now: u64, shown: u64) -> u64 {
        let lately = |growing: &Growing| growing.recent(now).map_or(0, |spell| spell.packets);
        let all = self.withheld.get(&(by, netns));
        let all = all.map(|one| (lately(&one.counted), lately(&one.shown)));
        let (counted, all_shown) = all.unwrap_or_default();
        if counted <= all_shown || all_shown == 0 {
            return shown;
        }
        let half = all_shown / 2;
        shown.saturating_mul(counted).saturating_add(half) / all_shown
    }

    /// The spell in which packets for this node were routed as somebody else's, by
    /// [`Signature::RoutedAsForeign`] or by what supports it. Its packets are no count of anything.
    pub(crate) fn foreign(&self, now: u64) -> Option<Spell> {
        self.foreign.recent(now)
    }

    /// Its proof.
    pub(crate) fn foreign_proof(&self, spell: Spell) -> Option<Spell> {
        self.spells.get(&Signature::RoutedAsForeign)?.within(spell)
    }

    /// What supports it: packets for this node's own addresses that were treated as somebody else's. They are
    /// those of examples: there were at least so many.
    pub(crate) fn foreign_support(&self, spell: Spell) -> Option<Spell> {
        self.treated_as_foreign.within(spell)
    }

    /// Some segment was matched since the start: so matches can be seen.
    pub(crate) fn has_matches(&self) -> bool {
        self.matches
    }
}

/// The line of drops counts for its signature: it is in the ledger; or it is of the reverse path filter, which drops what comes
/// from pods as well.
fn counts(node: &Node, key: &EntryKey, signature: Signature) -> bool {
    in_ledger(node, key).is_some() || (signature == Signature::ReversePath && key.incoming)
}

/// The namespace whose ledger this line is part of: its packets arrived by one of the uplinks, and this is
/// what became of them.
pub(crate) fn in_ledger(node: &Node, key: &EntryKey) -> Option<u32> {
    let netns = node.home(key.netns, key.iif)?;
    if key.fate == Fate::Arrived {
        return node.is_uplink(netns, key.iif).then_some(netns);
    }
    let arrived = node.is_over_uplink(netns, key.iif)
        // A socket may no longer know by which device a packet came.
        || (key.iif == 0
            && (matches!(key.fate, Fate::Matched | Fate::Queued) || ends::dropped_after_match(key))
            && node.uplinks_of(netns).next().is_some());
    let counts = match key.fate {
        Fate::Dropped => (key.incoming || key.matched) && !ends::delivered_segment(key),
        _ => true,
    };
    (arrived && counts).then_some(netns)
}
