//! What is known of the node, from nothing but events.
//!
//! [`Model::apply`] is the only thing that changes a model. It does no I/O and reads no clock, and every
//! collection that is iterated is ordered, so the same events give the same model, live or replayed. What is kept is bounded;
//! the ledger is made of lines that are never forgotten, so it loses nothing by that.
//!
//! One file for each part: `node` devices, `books` lines, `ledger` double entry, `namespaces` their rows, `queues` and
//! `waiting` what waits, `counters` of the kernel, `chains` of firewalls, `flows`, `endpoints` who is asked and answers,
//! `neighbours` who is asked for on the link, `unresolved` what waits for the answers of others, `unheard` what they said and was dropped, `sockets` and owners,
//! `plight` how flows are off, `rows` keeps them side by side, `latest` what many of them share, `turn` what goes with them in their order, `starvation` when they begin to starve; `settings` the network
//! configuration and its baseline, `invariants` what must hold in it, `parameters` which of the kernel's say something, `tables` of tracked connections, `units` of systemd, `deadlines` when it acts on them, `packages`, `timeline` all of their changes, `folding` which of these belong together, `bands` the books
//! beside it; `ends`, `class` and `hooks` are the tables of the kernel's names, `shown` keeps what examples showed last.

mod asked;
pub(crate) mod bands;
pub(crate) mod books;
mod bound;
pub(crate) mod chains;
pub(crate) mod class;
pub(crate) mod clock;
pub(crate) mod counters;
pub(crate) mod deadlines;
pub(crate) mod endpoints;
pub(crate) mod ends;
pub(crate) mod flows;
pub(crate) mod folding;
pub(crate) mod growth;
pub(crate) mod hooks;
pub(crate) mod invariants;
pub(crate) mod last_drops;
pub(crate) mod latest;
pub(crate) mod ledger;
pub(crate) mod namespaces;
pub(crate) mod neighbours;
pub(crate) mod node;
pub(crate) mod packages;
pub(crate) mod parameters;
pub(crate) mod plight;
pub(crate) mod queues;
mod rows;
pub(crate) mod runs;
pub(crate) mod settings;
mod shown;
pub(crate) mod sockets;
mod starvation;
pub(crate) mod tables;
pub(crate) mod timeline;
mod turn;
pub(crate) mod unheard;
pub(crate) mod units;
pub(crate) mod unresolved;
pub(crate) mod waiting;

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{
    Body, Capability, Clock, Droppers, Event, Example, FlowCount, FlowKey, Fragments, Losses, Namespace,
    Origin, Protocol, SocketState, Start,
};
use crate::report::Ledger;

use bands::Bands;
use books::Books;
use chains::Chains;
use clock::{Offsets, SECOND, When};
use counters::Counters;
use endpoints::{Endpoint, Endpoints, Silences};
use flows::{Flow, Flows};
use growth::History;
use ledger::Totals;
use namespaces::{Closed, Namespaces};
use neighbours::Neighbours;
use node::Node;
use packages::Managers;
use plight::{Plight, Waits};
use queues::{Port, Queues};
use settings::Settings;
use sockets::Sockets;
use starvation::{Starving, Worked};
use tables::Tables;
use timeline::{Change, Timeline};
use unheard::Unheard;
use units::Units;
use waiting::Waiting;

/// A flow whose packets have reached no socket for this long is starved: 1 s.
const STARVED: u64 = SECOND;
/// What is old is looked for at most this often: every 10 s.
const SWEEP: u64 = 10 * SECOND;

/// All that the events have told.
#[derive(Clone, Debug, Default)]
pub struct Model {
    start: Option<Start>,
    started: Option<u64>,
    offsets: Offsets,
    now: u64,
    swept: u64,
    capabilities: Vec<Capability>,
    losses: Losses,
    node: Node,
    namespaces: Namespaces,
    books: Books,
    flows: Flows,
    /// How those were off at the last tick that something befell.
    plights: Vec<Plight>,
    endpoints: Endpoints,
    /// What was silent at the last tick.
    silences: Silences,
    queues: Queues,
    counters: Counters,
    waiting: Waiting,
    chains: Chains,
    /// Rules of firewalls that can drop, by namespace.
    droppers: BTreeMap<u32, Droppers>,
    /// Datagrams that wait for missing fragments, by namespace.
    fragments: BTreeMap<u32, Fragments>,
    neighbours: Neighbours,
    unresolved: unresolved::Queues,
    unheard: Unheard,
    sockets: Sockets,
    history: History<Totals>,
    settings: Settings,
    /// Those of tracked connections, by namespace.
    tables: Tables,
    units: Units,
    packages: Managers,
    timeline: Timeline,
    bands: Bands,
    worked: Worked,
    /// What starved at the last tick.
    starving: Starving,
}

impl Model {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of an event. Counts are cumulative, so the same event twice changes nothing.
    pub fn apply(&mut self, event: &Event) {
        let at = event.at;
        self.started.get_or_insert(at);
        // The end of a recording is no sight of anything: the picture stays that of the last tick.
        if event.body != Body::Stop {
            self.now = self.now.max(at);
        }
        match &event.body {
            Body::Start(start) => {
                self.started = Some(at);
                self.node.start(&start.namespaces);
                self.clock(
                    at,
                    Clock {
                        suspended: 0,
                        wall_offset: start.wall_offset,
                    },
                );
                self.start = Some(start.clone());
            }
            Body::Capability(capability) => self.capability(at, capability),
            Body::Namespace(namespace) => self.watched(at, namespace),
            Body::NamespaceEnded(ended) => self.ended(at, ended.inode),
            Body::Device(device) => self.node.device(at, device),
            Body::Entry(entry) => self.books.entry(&self.node, at, entry),
            Body::Flow(count) => self.flow(at, count),
            Body::Neighbour(told) => self.neighbours.told(&self.node, at, told),
            Body::Unresolved(told) => self.unresolved.told(at, told),
            Body::Example(example) => {
                let flows = &self.flows;
                let left = |key: &FlowKey| {
                    let flow = flows.get(key);
                    flow.map_or((0, When::NEVER), |flow| (flow.sent, flow.last_sent))
                };
                let is_bound = |flow: &FlowKey| {
                    let bound = self.sockets.bound(Port::of(flow), flow.local);
                    bound.is_some_and(|bound| bound.closed.is_none())
                };
                self.books.example(&self.node, at, example, left, is_bound);
                self.unheard.example(&self.node, at, example);
                if let Some((flow, state)) = &example.socket
                    && self.sockets.connection(flow).is_none()
                    && *state != SocketState::Listen
                    && flow.remote_port != 0
                {
                    self.sockets.learn(at, flow, *state, example.owner.as_ref());
                }
                self.unsent(at, example);
            }
            Body::Socket(socket) => self.sockets.socket(at, socket),
            Body::Counter(counter) => self.counters.counter(at, counter),
            Body::Queue(queue) => {
                let owner = queue.owner.as_ref().map(|owner| self.sockets.shared(owner));
                self.waiting.queue(at, queue, owner);
            }
            Body::Fragments(waiting) if waiting.datagrams == 0 => {
                self.fragments.remove(&waiting.netns);
            }
            Body::Fragments(waiting) => {
                self.fragments.insert(waiting.netns, *waiting);
            }
            Body::Chains(chains) => self.chains.told(chains),
            Body::Droppers(droppers) => {
                self.droppers.insert(droppers.netns, droppers.clone());
            }
            Body::Setting(setting) => {
                self.tables.told(at, setting);
                let change = self.settings.told(at, setting);
                self.timeline.extend(change);
            }
            Body::Unit(unit) => {
                let change = self.units.unit(at, unit);
                self.timeline.extend(change);
            }
            Body::Job(job) => {
                let change = self.units.job(at, job);
                self.timeline.extend(change);
            }
            Body::Timer(timer) => {
                let change = self.units.timer(at, timer);
                self.timeline.extend(change);
            }
            Body::Runs(runs) => self.units.runs(runs),
            Body::Packages(packages) => {
                let change = self.packages.told(at, packages);
                self.timeline.extend(change);
            }
            Body::Upgrades(upgrades) => self.packages.upgrades(upgrades),
            Body::Notice(notice) => self.timeline.add(Change::happened(at, notice)),
            Body::Clock(clock) => self.clock(at, *clock),
            Body::Baseline => self.settings.rebase(at),
            Body::Losses(losses) => self.losses = *losses,
            Body::Tick => self.tick(),
            Body::Stop => {}
        }
    }

    /// The ledger of every namespace that has an uplink or a line in the books, by inode.
    #[must_use]
    pub fn ledgers(&self) -> Vec<(u32, Ledger)> {
        self.by_namespace()
            .into_iter()
            .map(|(netns, totals)| (netns, totals.ledger))
            .collect()
    }

    /// A namespace is watched. Where its inode was that of another one, that one's row is closed.
    fn watched(&mut self, at: u64, namespace: &Namespace) {
        let inode = namespace.inode;
        let known = self.node.namespace(inode);
        let mut is_new = known.is_none();
        if let Some(known) = known {
            let is_another = match (known.cookie, namespace.cookie) {
                // Not told which it is: one that was found no more has ended.
                (0, _) | (_, 0) => self.namespaces.end(inode).is_some(),
                (before, now) => before != now,
            };
            if is_another {
                is_new = true;
                self.close(known.clone());
            }
        }
        self.node.watched(namespace);
        self.namespaces.watched(inode);
        // Those of the start are told with it.
        if is_new && self.start.is_some() && namespace.is_named() {
            self.timeline.add(Change::namespace(at, &namespace.name, true));
        }
    }

    /// A namespace has ended, and all that stood in it.
    fn ended(&mut self, at: u64, inode: u32) {
        let known = self.node.namespace(inode).filter(|known| known.is_named());
        if let Some(known) = known.filter(|_| self.namespaces.end(inode).is_none()) {
            let change = Change::namespace(at, &known.name, false);
            self.timeline.add_with(change, self.settings.going(inode));
        }
        self.namespaces.ended(at, inode);
        self.leave(&BTreeSet::from([inode]));
    }

    /// Closes the row of a namespace: its inode is that of another one.
    fn close(&mut self, namespace: Namespace) {
        let inode = namespace.inode;
        self.timeline.close(inode, &self.node.netns_label(inode));
        self.namespaces.close(Closed {
            ended: self.namespaces.end(inode).unwrap_or(self.now),
            role: self.node.role(inode, &self.node.own()),
            uplinks: self
                .node
                .uplinks_of(inode)
                .map(|device| device.name.clone())
                .collect(),
            totals: self.by_namespace().get(&inode).copied().unwrap_or_default(),
            followed: self.followed().get(&inode).copied(),
            namespace,
        });
        self.begin_anew(&BTreeSet::from([inode]));
    }

    /// Nothing is known any more of what has these inodes.
    fn begin_anew(&mut self, inodes: &BTreeSet<u32>) {
        self.leave(inodes);
        self.counters.begin_anew(inodes, &self.books, &self.node);
        self.books.begin_anew(inodes);
        self.unresolved.begin_anew(inodes);
        self.chains.begin_anew(inodes);
        self.node.forget(inodes);
    }

    /// Nobody waits for anything any more in these namespaces.
    fn leave(&mut self, inodes: &BTreeSet<u32>) {
        self.flows.begin_anew(inodes);
        self.plights.retain(|plight| !inodes.contains(&plight.key.netns));
        for netns in inodes {
            self.settings.leave(*netns);
            self.tables.leave(*netns);
        }
        self.sockets.leave(inodes);
        self.endpoints.leave(inodes);
        self.neighbours.leave(inodes);
        self.worked.leave(inodes);
        self.queues.leave(inodes);
        self.unresolved.leave(inodes);
        self.unheard.leave(inodes);
        self.fragments.retain(|netns, _| !inodes.contains(netns));
        self.droppers.retain(|netns, _| !inodes.contains(netns));
    }

    fn clock(&mut self, at: u64, clock: Clock) {
        self.offsets.told(at, clock.wall_offset);
        self.units.clock(clock);
    }

    fn capability(&mut self, at: u64, capability: &Capability) {
        self.units.capability(at, capability);
        match self
            .capabilities
            .iter_mut()
            .find(|known| known.name == capability.name)
        {
            Some(known) => known.clone_from(capability),
            None => self.capabilities.push(capability.clone()),
        }
    }

    /// What arrives of this flow is for this node, and not passed on.
    pub(crate) fn is_its_own(&self, key: &FlowKey, flow: &Flow) -> bool {
        flow.sent > 0 || flow.has_reached() || self.node.has_address(key.netns, key.local)
    }

    fn flow(&mut self, at: u64, count: &FlowCount) {
        let key = &count.flow;
        let Some(grown) = self.flows.count(at, count) else {
            return;
        };
        let owner = count.owner.as_ref().map(|owner| self.sockets.shared(owner));
        self.flows.own(key, count.sender, owner);
        self.queues.grew(at, Port::of(key), grown.queued, grown.read);
        if grown.has_reached {
            self.note_worked(at, key, grown.is_first);
        }
        if grown.read > 0 && key.protocol == Protocol::Tcp {
            self.waiting.was_read(at, key);
        }
        let origin = self.flows.get(key).map_or(Origin::Unknown, |flow| flow.origin);
        if grown.queued > 0 || grown.read > 0 {
            self.sockets.received(at, key, origin == Origin::Remote);
        }
        if let Some((reason, location)) = &count.last_drop
            && grown.dropped > 0
            && ends::no_socket(reason, &location.symbol)
            && origin != Origin::Local
        {
            self.sockets.refused(at, key, grown.dropped);
            if key.protocol == Protocol::Udp {
                self.endpoints.came_astray(at, Endpoint::of(key));
            }
        }
        if key.remote.is_unspecified() {
            return;
        }
        let endpoint = Endpoint::of(key);
        if grown.is_heard {
            // What is passed on answers somebody else than this node.
            let is_its = self.flows.get(key).is_some_and(|flow| self.is_its_own(key, flow));
            if is_its {
                self.endpoints.answered(at, endpoint, grown.arrived);
            }
        } else if grown.sent > 0 || grown.requests > 0 {
            self.endpoints.asked(at, endpoint, grown.sent, grown.requests);
        }
    }

    /// A request that could not leave by an uplink, because the next hop is silent, is as unanswered as one that left.
    /// Before 6.17 nothing else tells of it: TCP does not send again what has not left yet
    /// (`skb_still_in_host_queue`), and only later kernels tell that it wanted to (`tcp_retransmit_skb`).
    fn unsent(&mut self, at: u64, example: &Example) {
        let entry = &example.entry;
        let Some(key) = example.flow.filter(|_| {
            ends::next_hop_is_silent(entry) && self.node.is_over_uplink(entry.netns, entry.device)
        }) else {
            return;
        };
        if self.flows.could_not_ask(at, key) {
            let packets = u64::from(example.packets.max(1));
            self.endpoints.asked(at, Endpoint::of(&key), 0, packets);
        }
    }

    /// A fault is over that lasted until then, and no other one lasts: what is lost later is not part of it, however soon it comes.
    pub(crate) fn conclude(&mut self, until: u64) {
        // Whoever gave up until then has lost nothing later, whatever comes for it.
        let gave_up = |plight: &&Plight| {
            let hunger = plight.hunger.filter(|_| plight.waits == Waits::GaveUp);
            hunger.is_some_and(|hunger| hunger.last <= until)
        };
        let over: BTreeSet<FlowKey> = self
            .plights
            .iter()
            .filter(gave_up)
            .map(|plight| plight.key)
            .collect();
        self.flows.conclude(until, |key| over.contains(key));
        self.books.conclude(until);
        self.counters.conclude(until);
        self.sockets.conclude(until);
        self.endpoints.conclude(until);
        self.unresolved.conclude(until);
        self.unheard.conclude(until);
    }

    /// What kept others from answering was mended then: what was asked before says nothing of later.
    pub(crate) fn conclude_asked(&mut self, until: u64) {
        self.endpoints.conclude(until);
    }

    fn tick(&mut self) {
        let now = self.now;
        self.node.tick(now);
        self.silences = self.endpoints.silences(now);
        let mut starving = Starving::default();
        // There may be very many: those of the last tick make room for them first.
        self.plights = Vec::new();
        let mut plights = Vec::new();
        for (key, flow) in self.flows.iter() {
            let Some(plight) = self.plight(key, flow) else {
                continue;
            };
            if let Some(since) = plight.starved.time() {
                starving.add(since, self.worked_before(flow, &plight, since));
            }
            plights.push(plight);
        }
        self.plights = plights;
        self.timeline.extend(starving.change(&self.starving, now));
        self.starving = starving;
        let ledgers = self.by_namespace();
        let totals = self.sum(&ledgers);
        self.bands
            .tick(now, self.wall_offset(), totals.ledger, starving.flows());
        self.history.push(now, totals);
        if self.node.several() {
            self.namespaces.tick(now, &ledgers);
        }
        if now.saturating_sub(self.swept) >= SWEEP {
            self.swept = now;
            let forgotten = self.namespaces.forget(now, &self.node.own());
            if !forgotten.is_empty() {
                self.begin_anew(&forgotten);
                self.counters.forget(&forgotten);
            }
            self.sockets.forget(now);
            self.endpoints.forget(now);
            self.neighbours.forget(&self.node);
            self.worked.forget(now, &self.plights);
            self.queues.forget(now);
            self.unresolved.forget(now);
            let sockets = &self.sockets;
            self.flows.forget(now, |key| {
                sockets.connection(key).is_some_and(sockets::Connection::is_live)
            });
        }
    }
}
