//! What every flow has counted, and since when it gets nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::clock::{SECOND, When};
use super::ends;
use super::growth::{Growing, Spell, growth};
use super::last_drops::{LastDrop, LastDrops, used_up};
use super::rows::Rows;
use crate::event::{FlowCount, FlowKey, Origin, Owner, Protocol};

/// Flows that are kept, at most: as many as the programs count at a time.
pub(crate) const MOST_FLOWS: usize = 131_072;
/// Tuples of sockets that are not connected are kept beyond that, at most: what is read by them balances what
/// their flows queue.
const ROOM_FOR_SOCKETS: usize = 16_384;
/// Above so many, idle ones without a socket are forgotten. Below it none is: a flow that is told again after
/// it was forgotten would count anew what it had counted before.
const MANY_FLOWS: usize = MOST_FLOWS / 4 * 3;
/// Idle for this long.
const IDLE: u64 = 60 * SECOND;

/// Packets arrive for a flow and none reaches a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hunger {
    /// The first such packet.
    pub since: u64,
    /// The last one.
    pub last: u64,
    /// So many of them were seen dropped.
    pub dropped: u32,
    /// So many of those ended as the last one did. What is told together with the first of them is taken for one of them.
    pub so: u32,
    /// Since when they do: since the hunger began, or when the first of them was told, where others had ended otherwise.
    pub so_since: u64,
}

/// One flow. What rules ask of all of them is kept with their keys, which lie side by side; to look at the counts of very many takes
/// several times as long, since each has to be waited for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    /// When something last arrived.
    pub last_arrived: When,
    /// Who sends its datagrams or echo requests.
    pub owner: Option<Arc<Owner>>,
    pub iif: u32,
    pub origin: Origin,
    counts: Box<Counts>,
}

impl Deref for Flow {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.counts
    }
}

impl DerefMut for Flow {
    fn deref_mut(&mut self) -> &mut Counts {
        &mut self.counts
    }
}

impl From<Counts> for Flow {
    /// Of which nothing else is known.
    fn from(counts: Counts) -> Self {
        Self {
            last_arrived: When::NEVER,
            owner: None,
            iif: 0,
            origin: Origin::default(),
            counts: Box::new(counts),
        }
    }
}

/// Counts of one flow, which lie where there was room for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub arrived: u64,
    pub sent: u64,
    pub matched: u64,
    pub queued: u64,
    pub read: u64,
    /// Dropped packets, without those that are no loss: see [`ends::may_be_twin`], [`ends::used_up`] and
    /// [`ends::acknowledged`].
    pub dropped: u64,
    /// As it was told, with those.
    dropped_as_told: u64,
    /// The most where there were more, which takes months.
    pub retransmitted: u32,
    /// See [`FlowCount::life`].
    life: u32,
    /// The inode of the socket that its datagrams or echo requests were last sent by.
    sender: u64,
    /// When something last left.
    pub last_sent: When,
    /// When it last asked for an answer, never where it has one.
    pub asked: When,
    /// When it was last told to have grown: not before something last arrived.
    pub last: u64,
    /// See [`Seldom`].
    seldom: Option<Box<Seldom>>,
}

/// What few flows have. It is kept apart, because very many are kept.
#[derive(Clone, Debug, Default)]
struct Seldom {
    /// What is to be added to its counts as they are told: what it had counted in its lives before this one, less
    /// what it had when it began anew.
    offset: Option<Box<Offset>>,
    hunger: Option<Hunger>,
    sated: Option<Box<Hunger>>,
    drops: Growing,
    /// Packets that had arrived before the first of those, and with the last one.
    arrived_amid_drops: (u64, u64),
    /// Those of them that were told with the first drops, and were not dropped: they may have come just before.
    arrived_at_first: u64,
    last_drop: Option<Arc<LastDrop>>,
    /// Twins were seen.
    has_twins: bool,
}

/// What is to be added to the counts of a flow.
#[derive(Clone, Copy, Debug, Default)]
struct Offset {
    arrived: i64,
    sent: i64,
    matched: i64,
    queued: i64,
    read: i64,
    dropped: i64,
    retransmitted: i64,
}

/// By how much a flow grew.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Growth {
    pub arrived: u64,
    pub sent: u64,
    pub queued: u64,
    pub read: u64,
    pub dropped: u64,
    /// Packets that ask for an answer.
    pub requests: u64,
    /// Something reached a socket.
    pub has_reached: bool,
    /// Nothing of it had before.
    pub is_first: bool,
    /// Something arrived that this node did not have already.
    pub is_heard: bool,
}

impl Flow {
    /// Packets that reached the socket.
    pub(crate) fn delivered(&self, protocol: Protocol) -> u64 {
        match protocol {
            Protocol::Tcp => self.matched,
            // Several sockets may get a copy of one datagram, and each of ICMP's gets one of all.
            _ if self.arrived > 0 => {
                let most = self.arrived.saturating_sub(self.dropped);
                self.read.max(self.queued).min(most)
            }
            _ => self.read.max(self.queued),
        }
    }

    /// Something of this flow has reached a socket.
    pub(crate) fn has_reached(&self) -> bool {
        self.matched > 0 || self.queued > 0 || self.read > 0
    }

    /// See [`Hunger`].
    pub(crate) fn hunger(&self) -> Option<&Hunger> {
        self.seldom.as_deref()?.hunger.as_ref()
    }

    /// The last hunger that is over.
    pub(crate) fn sated(&self) -> Option<&Hunger> {
        self.seldom.as_deref()?.sated.as_deref()
    }

    /// Its drops, where the last of them was a short time ago.
    pub(crate) fn dropped_lately(&self, now: u64) -> Option<Spell> {
        self.seldom.as_deref()?.drops.recent(now)
    }

    /// Packets that arrived from the first to the last drop of its latest spell of them.
    pub(crate) fn arrived_amid_drops(&self) -> u64 {
        let amid = self.seldom.as_deref().map(|seldom| seldom.arrived_amid_drops);
        amid.map_or(0, |(before, with)| with.saturating_sub(before))
    }

    /// The same without those that were told with the first drops and may have come just before.
    pub(crate) fn arrived_after_drops(&self) -> u64 {
        let first = self.seldom.as_deref().map_or(0, |seldom| seldom.arrived_at_first);
        self.arrived_amid_drops().saturating_sub(first)
    }

    /// Where and why it was last dropped.
    pub(crate) fn last_drop(&self) -> Option<&LastDrop> {
        self.seldom.as_deref()?.last_drop.as_deref()
    }

    /// The same, to be kept.
    pub(crate) fn shared_last_drop(&self) -> Option<Arc<LastDrop>> {
        self.seldom.as_deref()?.last_drop.clone()
    }

    fn has_twins(&self) -> bool {
        self.seldom.as_deref().is_some_and(|seldom| seldom.has_twins)
    }

    fn offset(&self) -> Option<&Offset> {
        self.seldom.as_deref()?.offset.as_deref()
    }

    fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
    }

    /// What it has counted in all its lives.
    fn whole(&mut self, mut count: FlowCount) -> FlowCount {
        if count.life != self.life {
            self.life = count.life;
            let counted = self.counted();
            self.seldom().offset = Some(Box::new(counted));
        }
        if let Some(offset) = self.offset() {
            for (count, offset) in [
                (&mut count.arrived, offset.arrived),
                (&mut count.sent, offset.sent),
                (&mut count.matched, offset.matched),
                (&mut count.queued, offset.queued),
                (&mut count.read, offset.read),
                (&mut count.dropped, offset.dropped),
                (&mut count.retransmitted, offset.retransmitted),
            ] {
                *count = count.saturating_add_signed(offset);
            }
        }
        count
    }

    /// All that it has counted.
    fn counted(&self) -> Offset {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Offset {
            arrived: signed(self.arrived),
            sent: signed(self.sent),
            matched: signed(self.matched),
            queued: signed(self.queued),
            read: signed(self.read),
            dropped: signed(self.dropped_as_told),
            retransmitted: self.retransmitted.into(),
        }
    }

    /// Its namespace has ended, and another one may have a flow with the same key: that begins with what is told
    /// from now on, and nothing is known of it.
    fn begin_anew(&mut self) {
        let (before, counted) = (self.offset().copied().unwrap_or_default(), self.counted());
        let less = |before: i64, counted: i64| before.saturating_sub(counted);
        let offset = Offset {
            arrived: less(before.arrived, counted.arrived),
            sent: less(before.sent, counted.sent),
            matched: less(before.matched, counted.matched),
            queued: less(before.queued, counted.queued),
            read: less(before.read, counted.read),
            dropped: less(before.dropped, counted.dropped),
            retransmitted: less(before.retransmitted, counted.retransmitted),
        };
        let counts = Counts {
            life: self.life,
            last: self.last,
            ..Counts::default()
        };
        *self = counts.into();
        self.seldom().offset = Some(Box::new(offset));
    }

    fn update(&mut self, at: u64, count: &FlowCount, drops: &mut LastDrops) -> Growth {
        let whole;
        let count = if count.life != self.life || self.offset().is_some() {
            whole = self.whole(count.clone());
            &whole
        } else {
            count
        };
        let mut grown = Growth {
            arrived: growth(self.arrived, count.arrived),
            sent: growth(self.sent, count.sent),
            queued: growth(self.queued, count.queued),
            read: growth(self.read, count.read),
            dropped: growth(self.dropped_as_told, count.dropped),
            requests: 0,
            has_reached: false,
            is_first: !self.has_reached(),
            is_heard: false,
        };
        grown.dropped -= self.not_lost(count, &grown);
        // What a peer sends again and again since it hears nothing of this node answers nothing.
        let is_repeated = count
            .last_drop
            .as_ref()
            .is_some_and(|(reason, _)| grown.dropped >= grown.arrived && ends::is_repeated(reason));
        grown.is_heard = grown.arrived > 0 && !is_repeated;
        let matched = growth(self.matched, count.matched);
        let retransmitted = growth(self.retransmitted.into(), count.retransmitted);
        grown.requests = match count.flow.protocol {
            // The first packet of a connection that this node opens, and what TCP itself believes lost.
            Protocol::Tcp => {
                let opening = self.sent == 0 && grown.sent > 0 && count.arrived == 0;
                retransmitted.saturating_add(u64::from(opening))
            }
            _ if !is_answered(&count.flow) => 0,
            _ => grown.sent,
        };

        // In a later life it is only who broke the silence.
        if self.origin == Origin::Unknown {
            self.origin = count.origin;
        }
        if count.iif != 0 {
            self.iif = count.iif;
        }
        self.arrived = count.arrived;
        self.sent = count.sent;
        self.matched = count.matched;
        self.queued = count.queued;
        self.read = count.read;
        self.dropped_as_told = count.dropped;
        self.dropped = self.dropped.saturating_add(grown.dropped);
        self.retransmitted = u32::try_from(count.retransmitted).unwrap_or(u32::MAX);
        let mut ends_otherwise = false;
        if let Some(drop) = &count.last_drop
            && !(self.has_twins() && ends::no_ping_socket(&drop.0, &drop.1.symbol))
            && !used_up(drop)
            && self.last_drop() != Some(drop)
        {
            ends_otherwise = self.seldom().last_drop.replace(drops.share(drop)).is_some();
        }
        self.last = at;
        if grown.dropped > 0 {
            let (before, with) = (self.arrived.saturating_sub(grown.arrived), self.arrived);
            let seldom = self.seldom();
            if seldom.drops.note(at, at, grown.dropped) {
                seldom.arrived_amid_drops.0 = before;
                seldom.arrived_at_first = grown.arrived.saturating_sub(grown.dropped);
            }
            seldom.arrived_amid_drops.1 = with;
        }

        if grown.sent > 0 {
            self.last_sent = When::at(at);
        }
        if grown.arrived > 0 {
            self.last_arrived = When::at(at);
        }
        if grown.is_heard {
            self.asked = When::NEVER;
        } else if grown.requests > 0 {
            self.asked = When::at(at);
        }
        grown.has_reached = matched > 0 || grown.queued > 0 || grown.read > 0;
        if grown.has_reached {
            if let Some(seldom) = &mut self.seldom
                && let Some(hunger) = seldom.hunger.take()
            {
                seldom.sated = Some(Box::new(hunger));
            }
        } else if grown.arrived > 0 || grown.dropped > 0 {
            let hunger = self.seldom().hunger.get_or_insert(Hunger {
                since: at,
                last: at,
                dropped: 0,
                so: 0,
                so_since: at,
            });
            hunger.last = at;
            if ends_otherwise && hunger.dropped > 0 {
                (hunger.so, hunger.so_since) = (0, at);
            }
            let dropped = u32::try_from(grown.dropped).unwrap_or(u32::MAX);
            hunger.dropped = hunger.dropped.saturating_add(dropped);
            hunger.so = hunger.so.saturating_add(dropped);
        }
        grown
    }

    /// How many of the packets that were dropped now are no loss: messages that the kernel has used up, or
    /// its own copies of ICMP messages that a raw socket got, of which it drops one for each. Where it drops a raw socket's clone
    /// as well, no more messages are lost than arrived.
    fn not_lost(&mut self, count: &FlowCount, grown: &Growth) -> u64 {
        if count.last_drop.as_ref().is_some_and(used_up) {
            return grown.dropped;
        }
        if !ends::is_icmp(count.flow.protocol) {
            return 0;
        }
        let is_twin = |drop: &LastDrop| ends::no_ping_socket(&drop.0, &drop.1.symbol);
        let reached = grown.queued.max(grown.read);
        if reached > 0 && count.last_drop.as_ref().is_some_and(is_twin) {
            self.seldom().has_twins = true;
        }
        let twins = if self.has_twins() {
            reached.min(grown.dropped)
        } else {
            0
        };
        let lost = grown.dropped - twins;
        let may_have_clones = |drop: &LastDrop| ends::may_have_clone(&drop.0, &drop.1.symbol);
        if count.last_drop.as_ref().is_some_and(may_have_clones) {
            // What arrived may have been told a round before.
            twins + lost.saturating_sub(grown.arrived.max(lost.div_ceil(2)))
        } else {
            twins
        }
    }
}

/// All flows that are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flows {
    flows: Rows<Flow>,
    last_drops: LastDrops,
    /// When something last arrived for any of them.
    last_arrived: When,
    other: u64,
    /// The last life that was told of any flow.
    life: u32,
    /// That life when flows were last forgotten, `None` where none ever were.
    forgotten: Option<u32>,
}

impl Flows {
    /// A flow was told. `None` where the table is full: then it is counted in [`Self::other`].
    pub(crate) fn count(&mut self, at: u64, count: &FlowCount) -> Option<Growth> {
        self.life = self.life.max(count.life);
        if let Some(known) = self.flows.get_mut(&count.flow) {
            let grown = known.update(at, count, &mut self.last_drops);
            self.last_arrived = self.last_arrived.max(known.last_arrived);
            return Some(grown);
        }
        let is_socket = count.flow.remote.is_unspecified();
        if self.flows.len() >= MOST_FLOWS + usize::from(is_socket) * ROOM_FOR_SOCKETS {
            self.other = self.other.saturating_add(1);
            return None;
        }
        let flow = self.flows.get_or_insert(count.flow, || {
            let counts = Counts {
                life: count.life,
                ..Counts::default()
            };
            counts.into()
        });
        let mut grown = flow.update(at, count, &mut self.last_drops);
        self.last_arrived = self.last_arrived.max(flow.last_arrived);
        if self.forgotten >= Some(count.life) {
            // It may be one of those: then what it queued is accounted for already.
            (grown.queued, grown.read) = (0, 0);
        }
        Some(grown)
    }

    /// A packet that this node wanted to send could not leave. Whether it may have been a request: no answer to what the
    /// remote end began.
    pub(crate) fn could_not_ask(&mut self, at: u64, key: FlowKey) -> bool {
        if !is_answered(&key) {
            return false;
        }
        if self.flows.len() >= MOST_FLOWS && !self.flows.has(&key) {
            return false;
        }
        let flow = self.flows.get_or_insert(key, Flow::default);
        if flow.origin == Origin::Remote {
            return false;
        }
        flow.last = at;
        flow.asked = When::at(at);
        true
    }

    /// When something last arrived for any flow.
    pub(crate) fn last_arrived(&self) -> When {
        self.last_arrived
    }

    /// Times that a flow was told for which there was no room.
    pub(crate) fn other(&self) -> u64 {
        self.other
    }

    /// One flow.
    pub(crate) fn get(&self, key: &FlowKey) -> Option<&Flow> {
        self.flows.get(key)
    }

    /// The flow's datagrams or echo requests were last sent by the socket with this inode, 0 for none, which is this
    /// one's, where that is known. Of another socket than before, nothing is known that was of the other.
    pub(crate) fn own(&mut self, key: &FlowKey, sender: u64, owner: Option<Arc<Owner>>) {
        let Some(flow) = self.flows.get_mut(key) else {
            return;
        };
        if sender != 0 && sender != flow.sender {
            flow.sender = sender;
            flow.owner = None;
        }
        if owner.is_some() {
            flow.owner = owner;
        }
    }

    /// Every flow, in the order of its key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&FlowKey, &Flow)> {
        self.flows.iter()
    }

    /// Those from one key to another, both included.
    pub(crate) fn between(&self, first: FlowKey, last: FlowKey) -> impl Iterator<Item = (&FlowKey, &Flow)> {
        self.flows.between(first, last)
    }

    /// As [`Self::iter`], to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&FlowKey, &mut Flow)> {
        self.flows.iter_mut()
    }

    /// The flows of these namespaces have ended; those that others have with their keys begin anew.
    pub(crate) fn begin_anew(&mut self, namespaces: &BTreeSet<u32>) {
        for (_, flow) in self.iter_mut().filter(|(key, _)| namespaces.contains(&key.netns)) {
            flow.begin_anew();
        }
    }

    /// What they lost until then is over: what they lose later is another loss. Of those that `gave_up` accepts all is.
    pub(crate) fn conclude(&mut self, until: u64, gave_up: impl Fn(&FlowKey) -> bool) {
        for (key, flow) in self.iter_mut() {
            let Some(seldom) = &mut flow.seldom else {
                continue;
            };
            if seldom.drops.conclude(until) {
                (seldom.arrived_amid_drops, seldom.arrived_at_first) = ((0, 0), 0);
            }
            let lasts = |hunger: &Hunger| hunger.last > until && !gave_up(key);
            seldom.hunger = seldom.hunger.take().filter(lasts);
            seldom.sated = seldom.sated.take().filter(|hunger| lasts(hunger));
        }
    }

    /// Forgets what is idle and has no socket, where there are many.
    pub(crate) fn forget(&mut self, now: u64, has_socket: impl Fn(&FlowKey) -> bool) {
        let before = self.flows.len();
        if before < MANY_FLOWS {
            return;
        }
        self.flows
            .retain(|key, flow| now.saturating_sub(flow.last) <= IDLE || has_socket(key));
        if self.flows.len() < before {
            self.forgotten = Some(self.life);
        }
    }
}

/// What goes to a group, and an ICMP message that is no echo, is answered by nobody or anybody.
fn is_answered(flow: &FlowKey) -> bool {
    let message = matches!(flow.protocol, Protocol::Icmp | Protocol::Icmp6) && flow.local_port == 0;
    !message && !is_group(flow.remote)
}

fn is_group(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}
