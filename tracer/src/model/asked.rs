//! What the diagnosis asks.

use std::collections::{BTreeMap, BTreeSet};

use super::bands::Bands;
use super::books::Books;
use super::chains::Chains;
use super::counters::Counters;
use super::endpoints::Silences;
use super::flows::Flows;
use super::growth::{History, Lately};
use super::invariants::State;
use super::ledger::Totals;
use super::namespaces::{Followed, Namespaces};
use super::neighbours::Neighbours;
use super::node::Node;
use super::packages::Managers;
use super::queues::Queues;
use super::settings::Settings;
use super::sockets::Sockets;
use super::tables::Tables;
use super::timeline::{Subject, Timeline};
use super::unheard::Unheard;
use super::units::Units;
use super::waiting::Waiting;
use super::{Model, clock, ledger, namespaces, unresolved};
use crate::event::{Capability, CapabilityState, Droppers, Losses, Protocol, Start};

impl Model {
    /// What changed on the node.
    pub(crate) fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Flows starve by now.
    pub(crate) fn starves(&self) -> bool {
        self.starving.flows() > 0
    }

    /// The books over time.
    pub(crate) fn bands(&self) -> &Bands {
        &self.bands
    }

    /// How the network is configured.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Rules of firewalls that can drop, of each namespace.
    pub(crate) fn droppers(&self) -> impl Iterator<Item = &Droppers> {
        self.droppers.values()
    }

    /// The units that run, timers among them.
    pub(crate) fn running_units(&self) -> BTreeSet<String> {
        let units = self
            .units
            .iter()
            .filter(|(_, known)| known.state.active == "active");
        let timers = self.units.timers().filter(|timer| timer.active);
        let units = units.map(|(name, _)| name.to_owned());
        units.chain(timers.map(|timer| timer.name.clone())).collect()
    }

    /// What systemd told.
    pub(crate) fn units(&self) -> &Units {
        &self.units
    }

    /// What package managers told.
    pub(crate) fn packages(&self) -> &Managers {
        &self.packages
    }

    /// Time of the latest event, in boot time.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// When the first event came, in boot time.
    pub(crate) fn started(&self) -> u64 {
        self.started.unwrap_or(self.now)
    }

    /// With what the tracer was started.
    pub(crate) fn start(&self) -> Option<&Start> {
        self.start.as_ref()
    }

    /// A boot time as the wall clock had it then, in ns since 1970, UTC: so are times that others wrote down.
    pub(crate) fn wall_then(&self, at: u64) -> i64 {
        self.offsets.at(at).saturating_add_unsigned(at)
    }

    /// A boot time as ns since 1970, UTC, by the wall clock as it stood at the start: so are all times that are told.
    pub(crate) fn wall(&self, at: u64) -> i64 {
        self.wall_offset().saturating_add_unsigned(at)
    }

    /// How far the wall clock was ahead of the time since the boot at the start.
    pub(super) fn wall_offset(&self) -> i64 {
        self.start.as_ref().map_or(0, |start| start.wall_offset)
    }

    /// A boot time as UTC text.
    pub(crate) fn utc(&self, at: u64) -> String {
        clock::rfc3339(self.wall(at).into())
    }

    /// Flows that starved at the last tick.
    pub(crate) fn starved(&self) -> u64 {
        self.starving.flows()
    }

    /// The configuration has not changed for so long: what was broken just now may not be seen to be yet.
    pub(crate) fn is_settled(&self, time: u64) -> bool {
        let all = self.timeline.all().rev().map(|(_, change)| change);
        let mut lately = all.take_while(|change| change.at.saturating_add(time) > self.now);
        !lately.any(|change| matches!(change.subject, Subject::Setting(..)))
    }

    /// Nothing that must hold was seen to cease to.
    pub(crate) fn holds(&self) -> bool {
        let mut all = self.settings.invariants().iter(self.now);
        all.all(|(_, _, standing)| standing.since.is_none() || standing.state == State::Holds)
    }

    /// All capabilities, in the order in which they were first told.
    pub(crate) fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// This capability was not told to be unavailable.
    pub(crate) fn can(&self, name: &str) -> bool {
        !self
            .capabilities
            .iter()
            .any(|known| known.name == name && known.state == CapabilityState::Unavailable)
    }

    /// The names of all units: of those that systemd has loaded, and of what flows belong to. `None` where not all are known,
    /// because systemd has not told them, or not in full.
    pub(crate) fn unit_names(&self) -> Option<BTreeSet<&str>> {
        let told = |known: &Capability| known.name == "systemd" && known.state == CapabilityState::Available;
        if !self.capabilities.iter().any(told) || self.losses().things_full > 0 {
            return None;
        }
        let mut owner = self.owners_in_turn();
        let owners = self
            .flows_and_plights()
            .filter_map(|(key, flow, plight)| owner(key, flow, plight))
            .map(|owner| owner.unit.as_str());
        Some(self.units.iter().map(|(name, _)| name).chain(owners).collect())
    }

    /// All network namespaces that were watched have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.node.inodes().next().is_some() && self.namespaces_watched() == 0
    }

    /// How many network namespaces are watched now: none, where the one that was asked for has ended.
    pub(crate) fn namespaces_watched(&self) -> usize {
        let lives = |inode: &&u32| self.namespaces.end(**inode).is_none();
        self.node.inodes().filter(lives).count()
    }

    /// This capability works, and not only in part. One that was not told does.
    pub(crate) fn can_in_full(&self, name: &str) -> bool {
        !self
            .capabilities
            .iter()
            .any(|known| known.name == name && known.state != CapabilityState::Available)
    }

    /// What could not be recorded, by the programs or here: each time that a flow could not be kept counts
    /// as one packet without a flow, for it stands for at least one.
    pub(crate) fn losses(&self) -> Losses {
        Losses {
            flows_full: self.losses.flows_full.saturating_add(self.flows.other()),
            neighbours_full: self
                .losses
                .neighbours_full
                .saturating_add(self.neighbours.other()),
            unresolved_full: self
                .losses
                .unresolved_full
                .saturating_add(self.unresolved.other()),
            counters_full: self.losses.counters_full.saturating_add(self.counters.other()),
            queues_full: self.losses.queues_full.saturating_add(self.waiting.other()),
            things_full: self
                .losses
                .things_full
                .saturating_add(self.settings.other() + self.units.other()),
            ..self.losses
        }
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    pub(crate) fn books(&self) -> &Books {
        &self.books
    }

    pub(crate) fn flows(&self) -> &Flows {
        &self.flows
    }

    pub(crate) fn queues(&self) -> &Queues {
        &self.queues
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    pub(crate) fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    pub(crate) fn chains(&self) -> &Chains {
        &self.chains
    }

    pub(crate) fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// What waits for neighbours.
    pub(crate) fn unresolved(&self) -> &unresolved::Queues {
        &self.unresolved
    }

    /// What neighbours said and was dropped.
    pub(crate) fn unheard(&self) -> &Unheard {
        &self.unheard
    }

    /// Datagrams that wait for missing fragments in the node's own namespaces, and their memory in bytes.
    pub(crate) fn fragments(&self) -> (u64, u64) {
        let own = self.node.own();
        let all = self
            .fragments
            .values()
            .filter(|waiting| own.contains(&waiting.netns));
        all.fold((0, 0), |(datagrams, memory): (u64, u64), waiting| {
            (
                datagrams.saturating_add(waiting.datagrams),
                memory.saturating_add(waiting.memory),
            )
        })
    }

    pub(crate) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// Rows of the namespaces.
    pub(crate) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// What was handed to each namespace by the devices that its own are linked to.
    pub(crate) fn followed(&self) -> BTreeMap<u32, Followed> {
        namespaces::followed(&self.books, &self.node)
    }

    /// The ledger of every namespace that has an uplink or a line, by inode.
    pub(crate) fn by_namespace(&self) -> BTreeMap<u32, Totals> {
        ledger::totals(
            &self.books,
            &self.node,
            &self.queues,
            &self.unresolved,
            &self.counters,
            self.sees_queues(),
        )
    }

    /// The kernel tells what is put in a queue.
    fn sees_queues(&self) -> bool {
        self.can("queued")
    }

    /// Drops that are in no column of the ledgers, by namespace and protocol.
    pub(crate) fn left_out(&self) -> BTreeMap<(u32, Protocol), ledger::LeftOut> {
        ledger::left_out(&self.books, &self.node, self.sees_queues())
    }

    /// The node's ledger: of these, the sum of those that are its own, see [`Node::own`].
    pub(super) fn sum(&self, ledgers: &BTreeMap<u32, Totals>) -> Totals {
        let mut sum = *self.namespaces.before();
        for totals in self.node.own().iter().filter_map(|inode| ledgers.get(inode)) {
            sum.add(totals);
        }
        sum
    }

    /// The node's ledger.
    pub(crate) fn totals(&self) -> Totals {
        self.sum(&self.by_namespace())
    }

    /// The node's ledger at the last ticks.
    pub(crate) fn history(&self) -> &History<Totals> {
        &self.history
    }

    /// The time that rates of the books stand for: they are read at every tick.
    pub(crate) fn lately(&self) -> Lately {
        Lately::of(&self.history, self.started(), self.now, clock::SECOND)
    }

    /// What was silent at the last tick.
    pub(crate) fn silences(&self) -> &Silences {
        &self.silences
    }
}
