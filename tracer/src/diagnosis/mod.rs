//! What the model's numbers mean: rules, and the report that carries their findings.
//!
//! A rule is a value of [`RULES`]; its `examine` looks for one signature in the model and says what it
//! found, with the evidence. Rules are pure: they see nothing but the [`Model`]. One file for each family:
//! `routing` state that the host lost, `lost` what else keeps packets from their sockets,
//! `links` devices that are down, `loopback` the one by which the node speaks to itself, `unroutable` what has no way out, `stranded` connections to whose peers no route leads, `outgoing` what a firewall keeps from leaving, `inside` what
//! does not get to pods, `sources` what pods send by other ways than before, `neighbours` who is not answered on the link, `hops` next hops
//! that this node itself keeps out of reach, `ways` where it changed the way to its peers, `taken` where it took the address of one, `path`
//! the way to the node, `next_hops` one of several by which it goes, `names` name servers, `fragments` what does not arrive whole, `redirects` what a firewall no longer leads to a service, `led_away` what it leads away from one, `ports`, `accept` and `unread` sockets and processes, `backlog` a CPU that does not keep up, `egress` a queue that drops what is to leave; `managers`
//! what network managers took away, `units` what systemd killed, `upgrades` what
//! was left half-done.
//!
//! Beside the rules: `befallen` sorts the flows that something befalls, once for all of them, `suffering` and `sufferers` say whose
//! they are, `share` how much of something is lost, `refusals` what ICMP says of what is asked for, `networks` finds things by addresses, of which `addresses` has very many, `numbers` numbers what flows share; `pairing` holds a finding against what changed before, `effects` says which changes can bring what about, `firewalls` what of a firewall's rules can have, `matching` which packets a rule can be for, `undo` how they are taken back,
//! `chain` how whoever made a change came to do so, `tolls` what flows have lost since a fault began, `aftermath` what is left of one that was mended, `roots` which finding hangs under which, `episodes` when the network was
//! broken, `beside` does the same for several by two threads; [`Diagnosis`] holds all of it from one tick to the next.

mod accept;
mod addresses;
mod aftermath;
mod backlog;
mod befallen;
mod beside;
mod chain;
mod change;
mod course;
mod effects;
mod egress;
mod episodes;
mod evidence;
mod firewalls;
mod fragments;
mod gone_rules;
mod hops;
mod inside;
mod led_away;
mod links;
mod loopback;
mod lost;
mod managers;
mod matching;
mod mending;
mod names;
mod neighbours;
mod networks;
mod next_hops;
mod numbers;
mod outgoing;
mod pairing;
mod path;
mod ports;
mod redirects;
mod refusals;
mod report;
mod roots;
mod routing;
mod share;
mod sources;
mod stranded;
mod sufferers;
mod suffering;
mod taken;
mod tolls;
mod translated;
mod undo;
mod units;
mod unread;
mod unroutable;
mod upgrades;
mod ways;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::OnceLock;

use foldhash::fast::RandomState;

use crate::event::FlowKey;
use crate::model::Model;
use crate::model::clock::When;
use crate::model::flows::Flow;
use crate::model::plight::Plight;
use crate::model::queues::Port;
use crate::model::timeline::Change;
use crate::report::{Confidence, Evidence, Where};

use addresses::Addresses;
use befallen::Befallen;
use gone_rules::GoneRules;
use inside::filtered::Cut;
use path::Asking;
use routing::Losing;
use sufferers::Sufferers;
use tolls::{Of, Past, Toll};
use unread::Unread;

pub use course::Diagnosis;
pub use episodes::Leading;
pub use report::{Standing, alone as node};

/// A failure mode that can be recognised.
pub struct Rule {
    /// Short id, as verdicts carry it.
    pub id: &'static str,
    /// The id in words, for file names and links.
    pub slug: &'static str,
    /// The verdict in a few words.
    pub title: &'static str,
    /// Where the fault is; `None` for what says nothing of packets by itself.
    pub place: Option<Where>,
    /// What there is to know of it.
    pub about: About,
    /// Looks for it.
    examine: fn(&View<'_>) -> Option<Finding>,
    /// The change can bring such a finding about, by the way the kernel works.
    explains: fn(&Finding, &Change) -> bool,
    /// The same, and nobody does it without a cause: where one such change was in the minute before, a weak sign is strong.
    proved_by: fn(&Finding, &Change) -> bool,
    /// Rules of whose findings this one's may be a consequence.
    pub(crate) follows: &'static [&'static str],
}

/// What there is to know of a rule, for `tracer explain` and docs/verdicts.md.
pub struct About {
    /// By what it is recognised.
    pub signature: &'static str,
    /// What it means: what the kernel does there, and what follows for the node.
    pub meaning: &'static str,
    /// How to check it.
    pub check: &'static [&'static str],
    /// How to mend it, with a word on the risk.
    pub mend: &'static [&'static str],
}

/// All rules. The order is the precedence of their verdicts: what the host lost explains what happens on the
/// path and at a port, not the other way round.
pub const RULES: &[Rule] = &[
    routing::ROUTED_AS_FOREIGN,
    lost::rules::ADDRESS_GONE,
    links::DOWN,
    loopback::DEAD,
    routing::REVERSE_PATH,
    lost::rules::FIREWALL,
    lost::rules::TABLE_FULL,
    lost::rules::INVALID,
    lost::rules::XDP,
    lost::rules::TRAFFIC,
    lost::rules::STOLEN,
    lost::rules::SOCKET_FILTER,
    lost::rules::CHECKSUM,
    lost::rules::LINK_ADDRESS,
    lost::rules::SENDERS_ENTRY,
    lost::rules::IPV6_OFF,
    lost::rules::OVERLAY,
    lost::rules::SOURCE,
    lost::rules::OTHER,
    unroutable::NO_ROUTE,
    outgoing::FILTERED,
    redirects::LOST,
    led_away::LED_AWAY,
    inside::forwarding::OFF,
    inside::filtered::DROPPED,
    inside::way::LOST,
    inside::silent::NEIGHBOUR,
    inside::large::TOO_LARGE,
    sources::SOURCE_RULE,
    inside::masked::LOST,
    neighbours::UNANSWERED,
    hops::FILTERED,
    ways::CHANGED,
    translated::SOURCE,
    links::NO_CARRIER,
    fragments::INCOMPLETE,
    names::UNANSWERED,
    path::SILENT,
    lost::rules::PARTLY,
    outgoing::PARTLY,
    ports::NO_SOCKET,
    accept::QUEUE_FULL,
    unread::FULL,
    unread::UNREAD,
    unread::SLOW,
    backlog::FULL,
    egress::QUEUE_FULL,
    managers::REMOVED,
    units::KILLED,
    upgrades::INTERRUPTED,
    upgrades::NO_MODULES,
    units::LEFT_BEHIND,
];

/// The rule with this id or name, in capitals or not.
#[must_use]
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES
        .iter()
        .find(|rule| rule.id.eq_ignore_ascii_case(name) || rule.slug.eq_ignore_ascii_case(name))
}

/// A flow, and how it is off.
type Off<'a> = (&'a FlowKey, &'a Flow, Option<&'a Plight>);

/// What rules look at: the model, and what several of them need of it, worked out once.
struct View<'a> {
    model: &'a Model,
    past: &'a Past,
    befallen: OnceLock<Befallen<'a>>,
    behind: OnceLock<BTreeMap<u32, Addresses>>,
    overrun: OnceLock<BTreeMap<Port, Unread>>,
    cut: OnceLock<Cut<'a>>,
    /// The devices for which [`Self::by_uplink`] is true.
    over_uplinks: OnceLock<HashSet<(u32, u32), RandomState>>,
}

impl<'a> View<'a> {
    fn of(model: &'a Model, past: &'a Past) -> Self {
        Self {
            model,
            past,
            befallen: OnceLock::new(),
            behind: OnceLock::new(),
            overrun: OnceLock::new(),
            cut: OnceLock::new(),
            over_uplinks: OnceLock::new(),
        }
    }

    /// What comes by this device has arrived by an uplink. It is asked for many flows, and few devices.
    fn by_uplink(&self, netns: u32, device: u32) -> bool {
        let all = || self.model.node().over_uplinks().collect();
        self.over_uplinks.get_or_init(all).contains(&(netns, device))
    }

    /// Addresses of pods and machines behind this node, by namespace.
    fn behind(&self) -> &BTreeMap<u32, Addresses> {
        self.behind.get_or_init(|| inside::behind(self.model))
    }

    /// Rules that translate addresses, which went away, or came.
    fn gone_rules(&self) -> &'a GoneRules {
        &self.past.gone_rules
    }

    /// The flows that are asked for, in the order of their keys, with how they are off.
    fn flows(&self, mut is_wanted: impl FnMut(&FlowKey, &Flow) -> bool) -> impl Iterator<Item = Off<'a>> {
        let mut plight = self.model.plights_in_turn();
        let all = self.model.flows().iter();
        all.filter(move |(key, flow)| is_wanted(key, flow))
            .map(move |(key, flow)| (key, flow, plight(key)))
    }

    /// Ports whose datagrams are dropped for want of room.
    fn overrun(&self) -> &BTreeMap<Port, Unread> {
        self.overrun.get_or_init(|| unread::overrun(self))
    }

    /// Flows that are part of a silence and say something of the path, each with the place of that.
    fn asking(&self) -> &[Asking<'a>] {
        &self.befallen().asking
    }

    /// Since when something of the path has been silent; `None` where nothing is now.
    fn silent_since(&self) -> Option<u64> {
        if !self.model.silences().are_lasting() {
            return None;
        }
        let places = self.asking().iter().map(|(_, place)| *place);
        let silences = path::silences(self.model, places);
        silences.iter().map(|(_, silence)| silence.since).min()
    }

    /// What is to be kept of what each flow is found to lose now.
    fn to_keep(&self) -> tolls::Found {
        let passed_on = (Of::PassedOn, &self.cut().tolls[..]);
        let routed = self.routed().iter();
        let of_routed = routed.map(|losing| (losing.of, &losing.tolls[..]));
        let mut all: Vec<(Of, &[Toll<'a>])> = lost::tolls(self).chain([passed_on]).chain(of_routed).collect();
        all.retain(|(_, tolls)| !tolls.is_empty());
        let since = |of, key: &FlowKey| match of {
            Of::PassedOn => self.cut().since(key),
            Of::Foreign | Of::ReversePath => {
                let of = self.routed().iter().find(|losing| losing.of == of);
                of.map_or(When::NEVER, |losing| When::at(losing.spell.since))
            }
            Of::Kind(_) | Of::Barred => When::NEVER,
        };
        self.past.keep(&all, lost::gave_up, since)
    }

    /// What this node does not pass on though it did.
    fn cut(&self) -> &Cut<'a> {
        self.cut.get_or_init(|| Cut::of(self))
    }

    /// What flows lose where their packets are routed.
    fn routed(&self) -> &[Losing<'a>] {
        &self.befallen().routed
    }

    /// The flows that something befalls.
    fn befallen(&self) -> &Befallen<'a> {
        self.befallen.get_or_init(|| Befallen::of(self))
    }
}

/// What a rule has found.
struct Finding {
    confidence: Confidence,
    /// In plain words, with the real names and numbers.
    explanation: String,
    /// First evidence, in boot time.
    since: u64,
    /// Last evidence, in boot time.
    last: u64,
    evidence: Vec<Evidence>,
    /// Flows that suffer, the most starved first.
    flows: Sufferers,
    /// Network namespaces in which it was found, by inode; none where that is not told.
    namespaces: BTreeSet<u32>,
    /// Devices that it is about, by name; none where that is not told.
    devices: BTreeSet<String>,
    /// Units that suffer, each once and in order.
    units: Vec<String>,
    /// What stands that brings it about, whenever that came to be, in a sentence; `None` where nothing of that kind is known.
    standing: Option<String>,
    check: Vec<String>,
    /// What mends it, where what explains it does not say how to take that back ([`undo`]).
    remedy: Vec<String>,
    /// What is to be done whether that is taken back or not: what else goes on, and what keeps it from happening again.
    prevent: Vec<String>,
}

impl Finding {
    /// This and another one of the same kind, behind it.
    fn and(mut self, other: Self) -> Self {
        fn join<T: PartialEq>(all: &mut Vec<T>, others: Vec<T>) {
            let new: Vec<T> = others.into_iter().filter(|one| !all.contains(one)).collect();
            all.extend(new);
        }
        join(&mut self.evidence, other.evidence);
        join(&mut self.check, other.check);
        join(&mut self.remedy, other.remedy);
        join(&mut self.prevent, other.prevent);
        join(&mut self.units, other.units);
        self.units.sort();
        self.namespaces.extend(other.namespaces);
        self.devices.extend(other.devices);
        Self {
            confidence: self.confidence.max(other.confidence),
            explanation: format!("{} {}", self.explanation, other.explanation),
            since: self.since.min(other.since),
            last: self.last.max(other.last),
            flows: self.flows.joined(other.flows),
            standing: self.standing.or(other.standing),
            ..self
        }
    }

    /// The same, wherever it is.
    fn anywhere(&self) -> Self {
        Self {
            confidence: self.confidence,
            explanation: String::new(),
            since: self.since,
            last: self.last,
            evidence: Vec::new(),
            flows: self.flows.clone(),
            namespaces: BTreeSet::new(),
            devices: BTreeSet::new(),
            units: self.units.clone(),
            standing: None,
            check: Vec::new(),
            remedy: Vec::new(),
            prevent: Vec::new(),
        }
    }
}
