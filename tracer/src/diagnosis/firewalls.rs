//! What of a change of a firewall's rules can have to do with a finding.
//!
//! A rule drops packets only where it is asked about them, and only those that it is for. So what changed elsewhere than where the
//! drops of a finding were seen does not explain them, nor does a rule that none of its packets can have met, however close in
//! time it came.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::net::IpAddr;

use super::matching::{Asks, Packet};
use super::{Finding, Rule, hops, inside, lost, names, neighbours, outgoing, path};
use crate::event::ruleset::{self, Did, Table};
use crate::event::value::{self, NF_TABLES};
use crate::event::{Fate, FlowKey, Protocol, Thing, Version};
use crate::model::Model;
use crate::model::ends;
use crate::model::hooks::{Course, Hook};
use crate::model::timeline::{Change, Subject};

/// Flows of a finding that a rule is held against, at most: of more, as many from all over.
const MOST: usize = 1_024;

/// The packets that a rule of a firewall must be for to bring such a finding about.
#[derive(Clone, Copy)]
enum Packets {
    /// What arrives of its flows.
    In,
    /// What is sent of them.
    Out,
    /// Either.
    Both,
    /// What neighbours on the link say to each other.
    OfNeighbours,
    /// Messages of ICMP.
    Icmp,
}

/// A finding, as far as rules of firewalls can explain it.
pub(super) struct Scene<'a> {
    model: &'a Model,
    finding: &'a Finding,
    /// `None` where they are not held against its packets.
    packets: Option<Packets>,
    /// Which way what was dropped went; `None` where it is not by a firewall's drops that it was found.
    course: Option<Course>,
    known: OnceCell<Vec<Packet>>,
    places: OnceCell<Option<BTreeSet<(u32, Hook)>>>,
}

impl<'a> Scene<'a> {
    /// That of what this rule has found.
    pub(super) fn of(model: &'a Model, rule: &Rule, finding: &'a Finding) -> Self {
        let is = |rules: &[&Rule]| rules.iter().any(|one| one.id == rule.id);
        let (packets, course) = if is(&[
            &lost::rules::FIREWALL,
            &lost::rules::INVALID,
            &lost::rules::PARTLY,
        ]) {
            (Some(Packets::In), Some(Course::In))
        } else if is(&[&inside::filtered::DROPPED]) {
            (Some(Packets::In), Some(Course::Through))
        } else if is(&[&outgoing::FILTERED, &outgoing::PARTLY]) {
            (Some(Packets::Out), Some(Course::Out))
        } else if is(&[&lost::rules::OTHER]) {
            (Some(Packets::In), None)
        } else if is(&[&path::SILENT, &names::UNANSWERED]) {
            (Some(Packets::Both), None)
        } else if is(&[&hops::FILTERED, &neighbours::UNANSWERED]) {
            (Some(Packets::OfNeighbours), None)
        } else if is(&[&inside::large::TOO_LARGE]) {
            (Some(Packets::Icmp), None)
        } else {
            (None, None)
        };
        Self {
            model,
            finding,
            packets,
            course,
            known: OnceCell::new(),
            places: OnceCell::new(),
        }
    }

    /// The change with only those parts that can have to do with the finding; `None` where none can. What is neither of a firewall's
    /// rules nor of a program beside them is whole.
    pub(super) fn part<'c>(&self, change: &'c Change) -> Option<Cow<'c, Change>> {
        let whole = Some(Cow::Borrowed(change));
        let (Subject::Setting(netns, thing), Some(_)) = (&change.subject, self.packets) else {
            return whole;
        };
        let firewall = match thing {
            Thing::Ruleset { firewall } => firewall,
            Thing::BpfLink { .. } => return whole.filter(|_| self.is_asked(change)),
            _ => return whole,
        };
        if firewall != NF_TABLES {
            return whole.filter(|_| !self.is_by_nf_tables());
        }
        let value = change.after.as_deref().unwrap_or_default();
        let is_its = |did: Option<&Did>| did.is_none_or(|did| self.is_at(*netns, did) && self.hits(did));
        let part = ruleset::only(value, is_its)?;
        if part == value {
            return whole;
        }
        Some(Cow::Owned(Change {
            after: Some(part),
            ..change.clone()
        }))
    }

    /// All of its drops were seen at rules of nf_tables.
    fn is_by_nf_tables(&self) -> bool {
        let places = self.places();
        places.is_some_and(|places| places.iter().all(|(_, hook)| hook.chains.is_some()))
    }

    /// The program of a BPF link is asked where the drops were seen; or it is not known where one of the two is.
    fn is_asked(&self, change: &Change) -> bool {
        let hook = change.after.as_deref().and_then(value::netfilter_hook);
        let Some((places, (number, family))) = self.places().zip(hook) else {
            return true;
        };
        places
            .iter()
            .any(|(_, hook)| hook.may_be_of_program(number, family))
    }

    /// It was done where the drops were seen; or it is not known where one of the two was; or it is of consequence elsewhere.
    fn is_at(&self, netns: u32, did: &Did) -> bool {
        if matches!(did, Did::Rule { words, .. } if untracks(words)) {
            return true;
        }
        let Some((places, (table, chain))) = self.places().zip(place(did)) else {
            return true;
        };
        let (family, name) = (table.family, table.name.as_str());
        places.iter().any(|(of, hook)| {
            (netns == 0 || netns == *of) && self.model.chains().may_be_asked(*of, *hook, family, name, chain)
        })
    }

    /// What it did can be to some packet of the finding; or none is known.
    fn hits(&self, did: &Did) -> bool {
        let Did::Rule { table, words, .. } = did else {
            return true;
        };
        let is_untracking = untracks(words);
        let words: Vec<&str> = words.split(' ').collect();
        let asks = Asks::of(table.family, &words);
        if is_untracking {
            // Of a connection of which one way is not tracked the other way is not known.
            let mut flows = self.finding.flows.some(MOST).peekable();
            let is_for = |flow| {
                [arriving(flow), leaving(flow)]
                    .iter()
                    .any(|packet| asks.fit(packet).is_some())
            };
            return flows.peek().is_none() || flows.any(is_for);
        }
        let packets = self.known.get_or_init(|| self.packets());
        packets.is_empty() || packets.iter().any(|packet| asks.fit(packet).is_some())
    }

    fn packets(&self) -> Vec<Packet> {
        let some = || self.finding.flows.some(MOST);
        let message = |version, protocol| Packet {
            version,
            protocol,
            source: (None, None),
            destination: (None, None),
        };
        match self.packets {
            None => Vec::new(),
            Some(Packets::In) => some().map(arriving).collect(),
            Some(Packets::Out) => some().map(leaving).collect(),
            Some(Packets::Both) => some().flat_map(|flow| [arriving(flow), leaving(flow)]).collect(),
            // ARP has neither of the two, nor anything that a rule for one of them could name.
            Some(Packets::OfNeighbours) => vec![message(Version::V6, Protocol::Icmp6)],
            Some(Packets::Icmp) => vec![
                message(Version::V4, Protocol::Icmp),
                message(Version::V6, Protocol::Icmp6),
            ],
        }
    }

    /// The hooks on their way at which a firewall's drops were seen, with their namespaces, where there are some and that is known of
    /// all of them that the finding may be about.
    fn places(&self) -> Option<&BTreeSet<(u32, Hook)>> {
        self.places.get_or_init(|| self.find_places()).as_ref()
    }

    fn find_places(&self) -> Option<BTreeSet<(u32, Hook)>> {
        let (course, namespaces) = (self.course?, &self.finding.namespaces);
        let packets = self.known.get_or_init(|| self.packets());
        let protocols: BTreeSet<Protocol> = packets.iter().map(|packet| packet.protocol).collect();
        let mut places = BTreeSet::new();
        for (key, line) in self.model.books().lines() {
            let is_its = key.fate == Fate::Dropped
                && key.incoming == course.is_incoming()
                && line.packets > 0
                && ends::by_firewall(ends::reason(key), ends::symbol(key))
                && namespaces.contains(&key.netns)
                && (protocols.is_empty() || protocols.contains(&key.protocol));
            if is_its {
                // What was dropped elsewhere before was of another fault.
                let mut lately = self
                    .model
                    .books()
                    .sighting(key)?
                    .hooks_since(self.finding.since)
                    .peekable();
                lately.peek()?;
                places.extend(lately.map(|hook| (key.netns, hook)));
            }
        }
        (!places.is_empty()).then(|| course.of(places))
    }
}

/// What a rule of these words is for is not tracked: to a rule elsewhere that asks what is known of the connection it is unknown
/// (`nft_notrack_eval`, `notrack_tg`).
pub(super) fn untracks(words: &str) -> bool {
    const ACTS: [&str; 2] = ["notrack", "NOTRACK"];
    // It is asked of very many rules, and few do.
    ACTS.iter().any(|act| words.contains(act)) && words.split(' ').any(|word| ACTS.contains(&word))
}

/// Where it was done, and in which chain, if in one alone; `None` where that is not told.
fn place(did: &Did) -> Option<(&Table, Option<&str>)> {
    match did {
        Did::Table(table, _)
        | Did::Dormant(table, _)
        | Did::Set(table, ..)
        | Did::Object(table, ..)
        | Did::Elements(table, ..) => Some((table, None)),
        Did::Chain(table, chain, ..)
        | Did::Renamed { table, chain, .. }
        | Did::Policy { table, chain, .. }
        | Did::Device { table, chain, .. }
        | Did::Rule { table, chain, .. } => Some((table, Some(chain))),
        Did::More(_) | Did::Anew { .. } => None,
    }
}

/// What arrives of a flow.
pub(super) fn arriving(flow: &FlowKey) -> Packet {
    let (ours, theirs) = ends(flow);
    packet(flow, theirs, ours)
}

/// What is sent of it.
pub(super) fn leaving(flow: &FlowKey) -> Packet {
    let (ours, theirs) = ends(flow);
    packet(flow, ours, theirs)
}

/// Address and port.
type End = (Option<IpAddr>, Option<u16>);

/// Its end on this node, and that of its peer.
fn ends(flow: &FlowKey) -> (End, End) {
    let has_ports = matches!(flow.protocol, Protocol::Tcp | Protocol::Udp);
    let port = |port: u16| Some(port).filter(|_| has_ports);
    (
        (Some(flow.local), port(flow.local_port)),
        (Some(flow.remote), port(flow.remote_port)),
    )
}

fn packet(flow: &FlowKey, source: End, destination: End) -> Packet {
    Packet {
        version: Version::of(flow.local),
        protocol: flow.protocol,
        source,
        destination,
    }
}
