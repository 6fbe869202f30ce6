//! What the diagnosis asks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::bands::Bands;
use super::books::Books;
use super::chains::Chains;
use super::clock::{MEMORY, When};
use super::counters::Counters;
use super::endpoints::{Endpoint, Endpoints};
use super::flows::{Flow, Flows, Hunger};
use super::growth::{History, Spell};
use super::ledger::Totals;
use super::namespaces::{Followed, Namespaces};
use super::neighbours::Neighbours;
use super::node::Node;
use super::packages::Managers;
use super::queues::{Port, Queues};
use super::settings::Settings;
use super::sockets::Sockets;
use super::tables::Tables;
use super::timeline::Timeline;
use super::units::Units;
use super::waiting::Waiting;
use super::{Model, STARVED, class, clock, ends, ledger, namespaces, unresolved};
use crate::event::{
    Capability, CapabilityState, Droppers, FlowKey, Losses, Origin, Owner, Protocol, SocketState, Start,
};
use crate::report::Class;

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

    /// A boot time as ns since 1970, UTC.
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

    pub(crate) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
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

    /// The spell in which something that was asked did not answer.
    pub(crate) fn silence(&self) -> Option<Spell> {
        self.silence.recent(self.now)
    }

    /// Who has the flow: who sends its datagrams, else who has the socket that its packets are for.
    pub(crate) fn owner(&self, key: &FlowKey) -> Option<&Owner> {
        match self.flows.get(key) {
            Some(flow) => self.owner_of(key, flow),
            None => self.sockets.owner(key),
        }
    }

    /// The same for a flow that is at hand.
    pub(crate) fn owner_of<'a>(&'a self, key: &FlowKey, flow: &'a Flow) -> Option<&'a Owner> {
        flow.owner
            .as_deref()
            .or_else(|| self.sockets.owner(key).filter(|_| self.may_be_own(key, flow)))
    }

    /// The flow may be this node's own. A socket that is bound to a port of any address has that of no other machine: what is
    /// forwarded to that port there is not for it.
    fn may_be_own(&self, key: &FlowKey, flow: &Flow) -> bool {
        let local = key.local;
        let is_one = !local.is_unspecified() && !local.is_multicast();
        let is_broadcast = matches!(local, IpAddr::V4(v4) if v4.octets()[3] == 255);
        !is_one
            || is_broadcast
            || flow.has_reached()
            || self.sockets.connection(key).is_some()
            || self.node.has_address(key.netns, local)
    }

    /// This node opened the flow: what arrives is a reply.
    pub(crate) fn is_reply(&self, key: &FlowKey, flow: &Flow) -> bool {
        let Some(connection) = self.sockets.connection(key) else {
            return flow.origin == Origin::Local;
        };
        match connection.opened {
            Some(opened) => opened == Origin::Local,
            // It was there before it was first seen, so its first packet says nothing. The port of a client
            // is bound by nobody.
            None => self.sockets.bound(Port::of(key), key.local).is_none(),
        }
    }

    /// Somebody on this node waits for the flow's packets.
    pub(crate) fn is_wanted(&self, key: &FlowKey, flow: &Flow) -> bool {
        match self.sockets.connection(key) {
            Some(connection) => connection.is_live(),
            None => {
                self.is_reply(key, flow)
                    || (matches!(key.protocol, Protocol::Tcp | Protocol::Udp)
                        && self.sockets.bound(Port::of(key), key.local).is_some()
                        && self.may_be_own(key, flow))
            }
        }
    }

    /// Since when the flow is starved: packets arrive for it and reach no socket, or it asks and nothing
    /// arrives. `None` where it is not, or has not been for [`STARVED`], or the evidence is old.
    pub(super) fn starved_since(&self, key: &FlowKey, flow: &Flow) -> Option<u64> {
        let hunger = flow
            .hunger
            .as_deref()
            .filter(|hunger| self.hungers(key, flow, hunger))
            .map(|hunger| hunger.since);
        let silence = flow
            .asked
            .time()
            .and_then(|_| self.endpoints.silence(&Endpoint::of(key), self.now))
            .filter(|silence| flow.asked >= When::at(silence.since) && self.is_wanted(key, flow))
            .map(|silence| silence.since);
        let since = hunger.into_iter().chain(silence).min()?;
        (self.now.saturating_sub(since) > STARVED).then_some(since)
    }

    /// Somebody waits for the flow whose hunger this is or was, and its packets reach no socket. Not where they may
    /// do so unseen, or the evidence is old.
    pub(crate) fn hungers(&self, key: &FlowKey, flow: &Flow, hunger: &Hunger) -> bool {
        if self.now.saturating_sub(hunger.last) > MEMORY || !self.is_wanted(key, flow) {
            return false;
        }
        if hunger.dropped {
            // What finds no socket is answered with a refusal: who sent it does not wait.
            let refused = flow
                .last_drop
                .as_ref()
                .is_some_and(|drop| ends::no_socket(&drop.0, &drop.1.symbol));
            if refused && self.sockets.connection(key).is_none() && !self.is_reply(key, flow) {
                return false;
            }
            // What a firewall keeps from a server is its job, not its fault.
            let policy = flow
                .last_drop
                .as_ref()
                .is_some_and(|drop| class::of(&drop.0, &drop.1.symbol) == Class::Policy);
            return !policy || self.is_reply(key, flow);
        }
        // Nothing was seen dropped. The packets may have reached a socket that is not connected, ...
        let taken = self
            .queues
            .get(Port::of(key))
            .is_some_and(|queue| queue.last_queued >= hunger.since || queue.last_read >= Some(hunger.since));
        // ... or one whose deliveries cannot be seen, such as a tunnel's in the kernel.
        let seen = match key.protocol {
            // In other states a match may be counted late.
            Protocol::Tcp => {
                self.books.has_matches()
                    && self.sockets.connection(key).is_some_and(|found| {
                        matches!(found.state, SocketState::Established | SocketState::SynSent)
                    })
            }
            _ => flow.has_reached(),
        };
        seen && !taken
    }
}
