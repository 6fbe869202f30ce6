//! How flows are off: found out once, at every tick, of those that something befalls.
//!
//! Whether somebody waits for a flow takes a look at its socket, at who is bound to its port and at its remote end. The tick needs
//! that to say which flows starve, and rules need it of very many: so it is kept until the next one.

use std::net::IpAddr;
use std::sync::Arc;

use super::clock::{MEMORY, SECOND, When};
use super::flows::{Flow, Hunger};
use super::growth::Spell;
use super::last_drops::LastDrop;
use super::latest::Latest;
use super::queues::Port;
use super::sockets::{self, Connection};
use super::turn::in_turn;
use super::{Model, STARVED, class, ends};
use crate::event::{FlowKey, Origin, Owner, Protocol, SocketState};
use crate::report::{Class, Destination};

/// Who on this node waits for a flow's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Nobody.
    Nobody,
    /// Nobody any more: the socket was closed only after the flow's packets had been dropped.
    GaveUp,
    /// A connected socket.
    Connected,
    /// Who opened the flow, by a socket that is not known.
    Asker,
    /// Who has the port, or had it last.
    Bound,
}

impl Waits {
    /// Somebody waits.
    pub(crate) fn is_wanted(self) -> bool {
        !matches!(self, Self::Nobody | Self::GaveUp)
    }
}

/// How a flow was off at the last tick.
#[derive(Clone, Debug)]
pub(crate) struct Plight {
    /// The flow.
    pub key: FlowKey,
    /// Since when it is starved: packets arrive for it and reach no socket, or it asks and nothing arrives. Never where it
    /// is not, or has not been for [`STARVED`], or the evidence is old.
    pub starved: When,
    /// Who waits for it.
    pub waits: Waits,
    /// See [`Model::is_reply`].
    pub is_reply: bool,
    /// Something has arrived.
    pub has_arrived: bool,
    /// See [`Flow::has_reached`].
    pub has_reached: bool,
    /// Its hunger, or the one that is over, where somebody waits for it; or who gave up before any of its packets had reached
    /// them: then it lasted until they did.
    pub hunger: Option<Hunger>,
    /// That is over.
    pub is_sated: bool,
    /// Its recent drops.
    pub dropped: Option<Spell>,
    /// When the first of them was shown, to the moment: counts are told some time later.
    pub shown: When,
    /// See [`Flow::arrived_amid_drops`].
    pub arrived_amid_drops: u64,
    /// See [`Flow::arrived_after_drops`].
    pub arrived_after_drops: u64,
    /// See [`Flow::last_drop`].
    pub last_drop: Option<Arc<LastDrop>>,
    /// See [`Flow::last_sent`].
    pub last_sent: When,
    /// Packets that arrived and reached no socket.
    pub missing: u64,
    /// See [`Flow::retransmitted`].
    pub retransmitted: u64,
    /// Device by which its packets arrive.
    pub iif: u32,
    /// Its place in [`Model::silences`], where it is part of one.
    pub silence: Option<u32>,
    /// Nothing of it has left since that began.
    pub is_held_back: bool,
    /// See [`Model::owner_of`].
    pub owner: Option<Arc<Owner>>,
}

/// What is lost is counted so much later at most: the counts are read twice a second, and of some flows a round late.
pub(crate) const COUNTED: u64 = 3 * SECOND / 2;

impl Plight {
    /// When that began of which it is counted at this time that it had begun.
    pub(crate) fn began(&self, counted: u64) -> u64 {
        // What was shown first may have ended otherwise.
        let is_later = self
            .hunger
            .is_some_and(|hunger| hunger.since < hunger.so_since && hunger.so_since <= counted);
        let shown = self
            .shown
            .time()
            .filter(|shown| !is_later && *shown <= counted && counted - *shown <= COUNTED);
        shown.unwrap_or(counted)
    }
}

impl Model {
    /// How the flows are off that something befalls, or did lately, in the order of their keys. All that rules need of very many
    /// is in it and lies side by side: to look at the flows themselves takes several times as long.
    pub(crate) fn plights(&self) -> &[Plight] {
        &self.plights
    }

    /// How this flow is off.
    pub(crate) fn plight_of(&self, key: &FlowKey) -> Option<&Plight> {
        let place = self.plights.binary_search_by(|plight| plight.key.cmp(key)).ok()?;
        self.plights.get(place)
    }

    /// How flows are off that are asked for in the order of their keys.
    pub(crate) fn plights_in_turn<'a>(&'a self) -> impl FnMut(&FlowKey) -> Option<&'a Plight> {
        in_turn(self.plights.iter().map(|plight| (&plight.key, plight)))
    }

    /// All flows in the order of their keys, with how they are off.
    pub(crate) fn flows_and_plights(&self) -> impl Iterator<Item = (&FlowKey, &Flow, Option<&Plight>)> {
        let mut plight = self.plights_in_turn();
        self.flows.iter().map(move |(key, flow)| (key, flow, plight(key)))
    }

    /// How a flow is off; `None` where nothing befalls it, nor did lately.
    pub(super) fn plight(&self, key: &FlowKey, flow: &Flow) -> Option<Plight> {
        let is_fresh = |hunger: &Hunger| self.now.saturating_sub(hunger.last) <= MEMORY;
        let hunger = flow.hunger().or(flow.sated());
        let hunger = hunger.filter(|hunger| is_fresh(hunger));
        let dropped = flow.dropped_lately(self.now);
        let silence = self.silences.of(key, flow);
        if hunger.is_none() && silence.is_none() && dropped.is_none() {
            return None;
        }
        let connection = self.sockets.connection(key);
        let is_reply = self.replies(key, flow, connection);
        let waits = self.waits(key, flow, connection, is_reply);
        let gave_up = connection.filter(|_| waits == Waits::GaveUp && is_reply && !flow.has_reached());
        let hunger = hunger
            .filter(|_| waits.is_wanted() || gave_up.is_some())
            .filter(|hunger| self.hungers(key, flow, hunger, connection, is_reply))
            .map(|hunger| Hunger {
                last: gave_up.map_or(hunger.last, |closed| closed.since),
                ..*hunger
            })
            .filter(is_fresh);
        // Nobody's hunger, as of what is forwarded, befalls nobody.
        if hunger.is_none() && silence.is_none() && dropped.is_none() {
            return None;
        }
        let is_sated = flow.hunger().is_none() || gave_up.is_some();
        let its = silence.and_then(|place| self.silences.all().get(place));
        let silent = its.filter(|(_, silence)| silence.until.is_none() && waits.is_wanted());
        let since = hunger.filter(|_| !is_sated).map(|hunger| hunger.since);
        let since = since
            .into_iter()
            .chain(silent.map(|(_, silence)| silence.since))
            .min();
        let is_over = self.namespaces.end(key.netns).is_some();
        Some(Plight {
            key: *key,
            starved: since
                .filter(|since| !is_over && self.now.saturating_sub(*since) > STARVED)
                .into(),
            waits,
            is_reply,
            has_arrived: flow.arrived > 0,
            has_reached: flow.has_reached(),
            hunger,
            is_sated,
            dropped,
            shown: dropped.and_then(|_| self.books.first_shown(key, self.now)).into(),
            arrived_amid_drops: flow.arrived_amid_drops(),
            arrived_after_drops: flow.arrived_after_drops(),
            last_drop: flow.shared_last_drop(),
            last_sent: flow.last_sent,
            missing: flow.arrived.saturating_sub(flow.delivered(key.protocol)),
            retransmitted: flow.retransmitted.into(),
            iif: flow.iif,
            silence: silence.and_then(|place| u32::try_from(place).ok()),
            is_held_back: its.is_some_and(|(_, silence)| flow.last_sent < When::at(silence.since)),
            owner: self.shared_owner(key, flow, connection).cloned(),
        })
    }

    /// A connected socket waits for the flow.
    pub(crate) fn is_connected(&self, key: &FlowKey, plight: Option<&Plight>) -> bool {
        match plight {
            Some(plight) => plight.waits == Waits::Connected,
            None => self.sockets.connection(key).is_some_and(Connection::is_live),
        }
    }

    /// This node opened the flow: what arrives is a reply.
    pub(crate) fn is_reply(&self, key: &FlowKey, flow: &Flow) -> bool {
        self.replies(key, flow, self.sockets.connection(key))
    }

    /// The same, by the socket that the flow has.
    fn replies(&self, key: &FlowKey, flow: &Flow, connection: Option<&Connection>) -> bool {
        let Some(connection) = connection else {
            // The answer to an echo that somebody else asked for is passed on, and says that it was asked for here.
            let may_have_asked = || flow.last_sent > When::NEVER || self.is_own_end(key);
            return flow.origin == Origin::Local && may_have_asked();
        };
        match connection.opened {
            Some(opened) => opened == Origin::Local,
            // It was there before it was first seen, so its first packet says nothing. The port of a client
            // is bound by nobody.
            None => self.sockets.bound(Port::of(key), key.local).is_none(),
        }
    }

    fn waits(&self, key: &FlowKey, flow: &Flow, connection: Option<&Connection>, is_reply: bool) -> Waits {
        let has_ports = matches!(key.protocol, Protocol::Tcp | Protocol::Udp);
        match connection {
            Some(found) if found.is_live() => Waits::Connected,
            Some(found) => {
                let dropped = flow.dropped_lately(self.now);
                if dropped.is_some_and(|spell| spell.since <= found.since) {
                    Waits::GaveUp
                } else {
                    Waits::Nobody
                }
            }
            None if is_reply => Waits::Asker,
            None if has_ports
                && self.sockets.bound(Port::of(key), key.local).is_some()
                && self.may_be_own(key, flow, None) =>
            {
                Waits::Bound
            }
            None => Waits::Nobody,
        }
    }

    /// Packets of the flow whose hunger this is or was, and for which somebody waits, reach no socket. Not where they may do so
    /// unseen.
    fn hungers(
        &self,
        key: &FlowKey,
        flow: &Flow,
        hunger: &Hunger,
        connection: Option<&Connection>,
        is_reply: bool,
    ) -> bool {
        if hunger.dropped > 0 {
            let Some((reason, place)) = flow.last_drop() else {
                return true;
            };
            // What finds no socket is answered with a refusal: who sent it does not wait. And what a firewall keeps from a
            // server is its job, not its fault.
            let refused = ends::no_socket(reason, &place.symbol) && connection.is_none();
            // One that gave up before its connection was open says so once, and that is dropped. Who waits comes again.
            let gave_up =
                ends::ends_opening(reason, &place.symbol) && connection.is_none() && flow.dropped < 2;
            return is_reply || !(refused || gave_up || class::of(reason, &place.symbol) == Class::Policy);
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
                    && connection.is_some_and(|found| {
                        matches!(found.state, SocketState::Established | SocketState::SynSent)
                    })
            }
            _ => flow.has_reached(),
        };
        seen && !taken
    }

    /// Who has the flow: who sends its datagrams, else who has the socket that its packets are for.
    pub(crate) fn owner(&self, key: &FlowKey) -> Option<&Owner> {
        match self.flows.get(key) {
            Some(flow) => self.shared_owner(key, flow, self.sockets.connection(key)),
            None => self.sockets.owner(key, self.sockets.connection(key)),
        }
        .map(Arc::as_ref)
    }

    /// The same of flows that are asked for in the order of their keys, with how they are off: sockets are gone through
    /// with them, and what is known of a local end is looked up once for all that have it.
    pub(crate) fn owners_in_turn<'a>(
        &'a self,
    ) -> impl FnMut(&FlowKey, &'a Flow, Option<&'a Plight>) -> Option<&'a Owner> {
        let mut connections = self.sockets.connections_in_turn();
        let (mut bound, mut own) = (Latest::default(), Latest::default());
        move |key, flow, plight| {
            if let Some(plight) = plight {
                return plight.owner.as_deref();
            }
            let of_socket = || {
                let connection = connections(key);
                let at_end = || bound.of((Port::of(key), key.local), || self.sockets.bound_owner(key));
                let owner = sockets::owner(key, connection, at_end)?;
                let is_own = connection.is_some()
                    || own.of((key.netns, key.local), || self.is_own_end(key))
                    || flow.has_reached();
                is_own.then_some(owner.as_ref())
            };
            flow.owner.as_deref().or_else(of_socket)
        }
    }

    /// The same, by the socket that the flow has.
    fn shared_owner<'a>(
        &'a self,
        key: &FlowKey,
        flow: &'a Flow,
        connection: Option<&'a Connection>,
    ) -> Option<&'a Arc<Owner>> {
        let of_socket = || {
            let owner = self.sockets.owner(key, connection)?;
            self.may_be_own(key, flow, connection).then_some(owner)
        };
        flow.owner.as_ref().or_else(of_socket)
    }

    /// Where the packets of this flow end that are not dropped.
    pub(crate) fn destination(&self, key: &FlowKey, flow: &Flow) -> Destination {
        let connection = self.sockets.connection(key);
        if flow.origin != Origin::Local && !self.may_be_own(key, flow, connection) {
            return Destination::Transit;
        }
        let has_listener = || {
            let bound = self.sockets.bound(Port::of(key), key.local);
            bound.is_some_and(|bound| bound.closed.is_none())
        };
        if key.protocol == Protocol::Tcp && connection.is_none() && !flow.has_reached() && has_listener() {
            return Destination::Listener;
        }
        Destination::Socket
    }

    /// Packets that reached the flow's socket, where that is told by flow.
    pub(crate) fn delivered(&self, key: &FlowKey, flow: &Flow) -> Option<u64> {
        (self.destination(key, flow) == Destination::Socket).then(|| flow.delivered(key.protocol))
    }

    /// What is read of the flow is told with it. A UDP socket that is not connected is read by its own tuple.
    pub(crate) fn tells_reads(&self, key: &FlowKey, flow: &Flow) -> bool {
        key.protocol != Protocol::Udp || flow.read > 0 || self.sockets.connection(key).is_some()
    }

    /// The flow may be this node's own. A socket that is bound to a port of any address has that of no other machine: what is
    /// forwarded to that port there is not for it.
    fn may_be_own(&self, key: &FlowKey, flow: &Flow, connection: Option<&Connection>) -> bool {
        flow.has_reached() || connection.is_some() || self.is_own_end(key)
    }

    /// The flow's local address is one of this node, or none of any one machine.
    fn is_own_end(&self, key: &FlowKey) -> bool {
        let local = key.local;
        let is_one = !local.is_unspecified() && !local.is_multicast();
        let is_broadcast = matches!(local, IpAddr::V4(v4) if v4.octets()[3] == 255);
        !is_one || is_broadcast || self.node.has_address(key.netns, local)
    }
}
