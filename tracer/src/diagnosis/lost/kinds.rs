//! In which ways packets are lost before a socket, by the kernel's reason and place.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Loss, Lost, link_address, routing, table};
use crate::diagnosis::evidence;
use crate::diagnosis::tolls::Toll;
use crate::diagnosis::words::{count, distinct, list, moment};
use crate::event::{CounterKey, EntryKey, FlowKey, STOLEN, Source, Thing};
use crate::model::Model;
use crate::model::class;
use crate::model::clock::SECOND;
use crate::model::ends::{self, NOT_SPECIFIED};
use crate::model::growth::Spell;
use crate::model::hooks::{self, Course};
use crate::model::last_drops::LastDrop;
use crate::model::plight::{Plight, Waits};
use crate::model::timeline::Subject;
use crate::numbers::thousands;
use crate::report::{Class, Confidence, Evidence};

/// A way of losing packets. Each has a rule of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::diagnosis) enum Kind {
    /// The address is no longer the node's.
    Address,
    /// Connection tracking has no room.
    TableFull,
    /// Connection tracking does not know the connection, and a rule drops what it does not know.
    Invalid,
    /// A firewall's rule.
    Firewall,
    /// An XDP program.
    Xdp,
    /// A program or filter at a device.
    Traffic,
    /// A program or filter at a device, which keeps the packet.
    Stolen,
    /// A program of a cgroup, or the socket's own filter.
    SocketFilter,
    /// The checksum is wrong.
    Checksum,
    /// They are for another link-layer address.
    LinkAddress,
    /// They are for another link-layer address since who sends them has a wrong entry.
    SendersEntry,
    /// IPv6 is switched off.
    Ipv6Off,
    /// The device of an overlay network is gone.
    Overlay,
    /// Their source is an address of this node, or one that cannot be.
    Source,
    /// Another, or none that could be seen.
    Other,
}

/// What an end says, whichever flow it is of.
#[derive(Clone, Copy)]
pub(super) struct Way {
    kind: Kind,
    /// The packets may have been for an address that is no longer the node's.
    may_be_address: bool,
    /// They may have been damaged on the way.
    is_checksum: bool,
    /// The kernel's own discards and full queues have other causes.
    is_kernels: bool,
    /// Another rule tells of it: for addresses of this node, or for all.
    told_of_own: bool,
    is_told: bool,
    /// They waited for the link-layer address of a neighbour before: for up to 3 s (`neigh_timer_handler`, net/core/neighbour.c).
    pub(super) has_waited: bool,
}

impl Way {
    pub(super) fn of(model: &Model, (reason, location): &LastDrop) -> Self {
        let symbol = location.symbol.as_str();
        Self {
            kind: kind(reason, symbol),
            may_be_address: matches!(
                (reason.as_str(), symbol),
                ("IP_INADDRERRORS" | "IP_INNOROUTES", _)
                    | (NOT_SPECIFIED, "ip_forward" | "ip6_forward" | "ip_error")
            ),
            is_checksum: reason.ends_with("_CSUM"),
            is_kernels: matches!(class::of(reason, symbol), Class::Protocol | Class::Resource),
            told_of_own: routing::tells_of_own(model, reason, symbol),
            is_told: routing::tells(model, reason),
            has_waited: ends::is_for_silent_hop(reason, symbol),
        }
    }

    /// Packets of a flow that waits for them, which ended so, are lost, and no other rule tells why.
    pub(super) fn loses(&self, model: &Model, plight: &Plight) -> bool {
        let key = &plight.key;
        if self.is_told || (self.told_of_own && model.node().has_address(key.netns, key.local)) {
            return false;
        }
        // What is not meant for this node reaches no socket that waits; where it does, the node and its network do not
        // agree on what is. But answers may arrive damaged.
        let is_answer = plight.is_reply || plight.waits == Waits::Connected;
        !self.is_kernels || (self.is_checksum && is_answer)
    }

    /// A firewall's rule or policy did it.
    pub(super) fn is_of_firewall(&self) -> bool {
        self.kind == Kind::Firewall
    }

    /// A firewall keeps requests from a server of this node.
    pub(super) fn is_barred(&self, plight: &Plight) -> bool {
        self.is_of_firewall() && !plight.is_reply && plight.hunger.is_none()
    }

    /// Of which kind the loss is.
    pub(super) fn kind(&self, model: &Model, returned: &Returned, key: &FlowKey, dropped: &Spell) -> Kind {
        let came_back = || {
            let at = returned.get(&(key.netns, key.local));
            at.is_some_and(|at| *at >= dropped.since)
        };
        if self.may_be_address && (!model.node().has_address(key.netns, key.local) || came_back()) {
            Kind::Address
        } else {
            self.kind
        }
    }
}

/// Of which kind a drop is, but for [`Kind::Address`].
pub(super) fn kind(reason: &str, symbol: &str) -> Kind {
    match (reason, symbol) {
        (reason, symbol) if ends::by_firewall(reason, symbol) => Kind::Firewall,
        ("XDP", _) | (_, "do_xdp_generic" | "veth_xdp_rcv_skb" | "veth_xdp_rcv" | "veth_poll") => Kind::Xdp,
        (STOLEN, _) => Kind::Stolen,
        (reason, _) if reason.starts_with("TC_") => Kind::Traffic,
        ("SOCKET_FILTER", _) => Kind::SocketFilter,
        (reason, _) if reason.starts_with("BPF_CGROUP_") => Kind::SocketFilter,
        (reason, _) if reason.ends_with("_CSUM") => Kind::Checksum,
        ("OTHERHOST", _) => Kind::LinkAddress,
        ("IPV6DISABLED", _) => Kind::Ipv6Off,
        ("VXLAN_VNI_NOT_FOUND", _) | (NOT_SPECIFIED, "vxlan_rcv") => Kind::Overlay,
        ("IP_LOCAL_SOURCE" | "IP_LOCALNET", _) => Kind::Source,
        (reason, _) if reason.starts_with("IP_INVALID_") => Kind::Source,
        _ => Kind::Other,
    }
}

/// Addresses that came back, by namespace, and when each last did.
pub(super) type Returned = BTreeMap<(u32, IpAddr), u64>;

/// Those that the timeline knows of.
pub(super) fn returned(model: &Model) -> Returned {
    let came = model.timeline().all().filter_map(|(_, change)| {
        let Subject::Setting(netns, Thing::Address { address, .. }) = &change.subject else {
            return None;
        };
        (change.before.is_none() && change.after.is_some()).then_some(((*netns, *address), change.at))
    });
    // In the order of time: the last one stays.
    came.collect()
}

/// What netfilter drops is what connection tracking has no room for, or what it called invalid, where it counted as many such
/// packets since the loss began: some it always counts.
pub(super) fn of_netfilter(model: &Model, lost: &Lost<'_>) -> Kind {
    let packets = lost
        .losses
        .values()
        .map(|loss| loss.packets)
        .fold(0, u64::saturating_add);
    let is_counted = |name| {
        let spells = spells(model, lost, name);
        let counted: u64 = spells.iter().map(|spell| spell.packets).sum();
        let is_new = |spell: &Spell| spell.since.saturating_add(LOOK) >= lost.since;
        !spells.is_empty() && spells.iter().all(is_new) && counted >= packets
    };
    let at_hook = |loss: &Loss<'_>| loss.end.is_some_and(|(_, place)| place.symbol == ends::AT_A_HOOK);
    if lost.losses.values().all(at_hook) && is_counted("drop") {
        Kind::TableFull
    } else if is_counted("invalid") {
        Kind::Invalid
    } else {
        Kind::Firewall
    }
}

/// Counters are read so often at least, and a flow begins to starve up to so long after its first loss.
const LOOK: u64 = 3 * SECOND;

/// How a counter of connection tracking grew lately in the namespaces of these.
fn spells(model: &Model, lost: &Lost<'_>, name: &str) -> Vec<Spell> {
    spells_in(model, &namespaces(lost), name)
}

/// The same in these namespaces.
pub(super) fn spells_in(model: &Model, namespaces: &BTreeSet<u32>, name: &str) -> Vec<Spell> {
    let of_it = |key: &CounterKey| {
        key.source == Source::Conntrack && key.name == name && namespaces.contains(&key.netns)
    };
    let counters = model.counters().iter().filter(|(key, _)| of_it(key));
    counters
        .filter_map(|(_, counted)| counted.recent(model.now()))
        .collect()
}

impl Kind {
    /// How sure it is, from the drops alone.
    pub(super) fn confidence(self, model: &Model, lost: &Lost<'_>) -> Confidence {
        match self {
            Self::Address if locals(lost).iter().all(|local| was_a_guest(model, *local)) => Confidence::Weak,
            // That connections are called invalid may have another cause than the drops.
            // Nor is it seen what who sends them has for an entry.
            Self::Invalid | Self::Stolen | Self::SendersEntry | Self::Other => Confidence::Strong,
            _ => Confidence::Conclusive,
        }
    }

    /// What there is to say of it on this node, with a leading space.
    pub(super) fn more(self, model: &Model, lost: &Lost<'_>) -> String {
        match self {
            Self::Address => {
                let locals = locals(lost);
                let addresses = distinct(locals.iter().map(|(_, local)| local.to_string()));
                let is_back = locals
                    .iter()
                    .all(|(netns, local)| model.node().has_address(*netns, *local));
                let (is, address) = match (addresses.len(), is_back) {
                    (1, false) => ("is", "address of this node"),
                    (_, false) => ("are", "addresses of this node"),
                    (1, true) => ("was", "address of this node then"),
                    (_, true) => ("were", "addresses of this node then"),
                };
                format!(" {} {is} no {address}.", list(&addresses))
            }
            Self::Firewall | Self::Invalid => match hooks_of(model, lost) {
                hooks if hooks.is_empty() => String::new(),
                hooks => format!(" {}", hooks_text(&hooks)),
            },
            Self::TableFull => table::text(model, &namespaces(lost)),
            Self::LinkAddress => link_address::unclear(model, lost),
            Self::SendersEntry => link_address::at_sender(model, lost),
            _ => String::new(),
        }
    }

    /// What else was seen of it.
    pub(super) fn evidence(self, model: &Model, lost: &Lost<'_>) -> Vec<Evidence> {
        let namespaces = namespaces(lost);
        let counter = match self {
            Self::TableFull => no_room(model, &namespaces),
            Self::Invalid => grown(
                model,
                &namespaces,
                "invalid",
                "packets of connections that it does not know",
            ),
            _ => return Vec::new(),
        };
        counter
            .into_iter()
            .chain(table::evidence(model, &namespaces))
            .collect()
    }
}

/// How often connection tracking had no room for a connection lately.
pub(super) fn no_room(model: &Model, namespaces: &BTreeSet<u32>) -> Option<Evidence> {
    grown(model, namespaces, "drop", "it had no room for a connection")
}

/// How a counter of connection tracking grew lately, and what that says.
fn grown(model: &Model, namespaces: &BTreeSet<u32>, name: &'static str, says: &str) -> Option<Evidence> {
    let spell = spells_in(model, namespaces, name)
        .into_iter()
        .reduce(Spell::and)?;
    let (grown, since) = (spell.packets, moment(model, spell.since));
    let text = format!("connection tracking's counter {name} has grown by {grown} since {since}: {says}");
    Some(evidence::counter(name, grown, text))
}

/// So long an address must have stood to be this node's own, and none that was given away again.
const OWN: u64 = 60 * SECOND;

/// The address came while tracer looked, and went again soon: as that of a service that wanders, or that was added by mistake. What
/// was connected from it meanwhile ends with it.
fn was_a_guest(model: &Model, (netns, address): (u32, IpAddr)) -> bool {
    let (mut came, mut was_one) = (None, false);
    for (_, change) in model.timeline().all() {
        let is_its = matches!(&change.subject, Subject::Setting(of, Thing::Address { address: its, .. })
            if (*of, *its) == (netns, address));
        match (is_its, &change.before, &change.after) {
            (true, None, Some(_)) => came = Some(change.at),
            (true, Some(_), None) => {
                if came.is_none_or(|came| change.at.saturating_sub(came) >= OWN) {
                    return false;
                }
                (came, was_one) = (None, true);
            }
            _ => {}
        }
    }
    was_one
}

/// The addresses that the packets were for, with their namespaces. Flows of one are mostly side by side.
fn locals(lost: &Lost<'_>) -> BTreeSet<(u32, IpAddr)> {
    let local = |toll: &Toll<'_>| (toll.key().netns, toll.key().local);
    let runs = lost.flows.chunk_by(|one, next| local(one) == local(next));
    runs.filter_map(|run| run.first()).map(local).collect()
}

fn namespaces(lost: &Lost<'_>) -> BTreeSet<u32> {
    let devices = lost.losses.values().flat_map(|loss| &loss.devices);
    devices.map(|(netns, _)| *netns).collect()
}

/// What is to be said of these hooks. Whose packets were dropped at each is not told.
pub(in crate::diagnosis) fn hooks_text(hooks: &[String]) -> String {
    format!("Drops of a firewall were seen at {}.", hooks.join("; "))
}

/// The hooks of netfilter at which packets were dropped there, with table and chain where those are known.
fn hooks_of(model: &Model, lost: &Lost<'_>) -> Vec<String> {
    hooks_in(model, &namespaces(lost), Course::In, lost.since)
}

/// The same for what was dropped in these namespaces since then of what went this way, each once.
pub(in crate::diagnosis) fn hooks_in(
    model: &Model,
    namespaces: &BTreeSet<u32>,
    course: Course,
    since: u64,
) -> Vec<String> {
    let lines = model
        .books()
        .sightings()
        .filter(|(key, _)| key.incoming == course.is_incoming() && namespaces.contains(&key.netns));
    let hooks = lines.flat_map(|(key, sighting)| sighting.hooks_since(since).map(|hook| (key.netns, hook)));
    let hooks = course.of(hooks.collect()).into_iter();
    distinct(hooks.map(|(netns, hook)| hooks::told([(hook, model.chains().at(netns, hook))])))
}

/// The same of one line of the books.
pub(in crate::diagnosis) fn hooks_told(model: &Model, key: &EntryKey) -> String {
    let sighting = model.books().sighting(key);
    let hooks = sighting.into_iter().flat_map(|sighting| sighting.hooks.keys());
    hooks::told(hooks.map(|hook| (*hook, model.chains().at(key.netns, *hook))))
}

/// `5 were dropped for NETFILTER_DROP at nft_do_chain+0x1c4`
pub(super) fn told(loss: &Loss<'_>) -> String {
    let packets = thousands(loss.packets);
    match loss.end {
        None => format!("{packets} vanished without a drop that could be seen"),
        Some((reason, location)) if reason == STOLEN => {
            format!("{packets} were taken away at {location}")
        }
        Some((reason, location)) => {
            format!("{packets} were dropped for {reason} at {location}")
        }
    }
}

/// `NETFILTER_DROP at nft_do_chain+0x1c4: 5 packets that arrived on eth0, of 1 flow`
pub(super) fn seen(model: &Model, loss: &Loss<'_>) -> Evidence {
    let devices = distinct(loss.device_names(model));
    let on = if devices.is_empty() {
        String::new()
    } else {
        format!(" that arrived on {}", list(&devices))
    };
    let what = loss.end.map_or_else(
        || "no drop was seen".to_owned(),
        |(reason, location)| format!("{reason} at {location}"),
    );
    let text = format!(
        "{what}: {}{on}, of {}",
        count(loss.packets, "packet"),
        count(loss.flows, "flow")
    );
    let (reason, location) = loss
        .end
        .map_or(("", None), |(reason, location)| (reason.as_str(), Some(location)));
    evidence::drop(reason, location, loss.packets, text)
}
