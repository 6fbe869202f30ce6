//! Who is asked and answers: the remote ends of flows.
//!
//! A client that gives up asks again by another port, so an unanswered request shows at the remote end that
//! it is for, not at a flow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::clock::{MEMORY, SECOND, When};
use super::flows::Flow;
use crate::event::{FlowKey, Protocol};

/// Remote ends that are kept, at most.
const MOST: usize = 131_072;
/// Addresses that something strayed from and are kept, at most: of one beyond, a request more has to go unanswered.
const MOST_STRAYS: usize = 4096;
/// One that is idle is forgotten after this.
const IDLE: u64 = 600 * SECOND;
/// An unanswered request is a silence from this age on.
pub(crate) const SILENCE: u64 = 1_500_000_000;
/// A silence that ended is told where it was at least so long.
const ENDED: u64 = 2 * SECOND;
/// And for so long: that somebody has answered is the sign that it is over.
const TOLD: u64 = 2 * SECOND;
/// The longest interval between two retransmissions (`TCP_RTO_MAX`, 120 s), and some.
const LONGEST_BACKOFF: u64 = 130 * SECOND;
/// UDP requests are one silence where no more than this lies between them.
const UDP_GAP: u64 = 5 * SECOND;
/// The port of name servers. Who asks there wants an answer, and asks again after 5 s (resolv.conf(5)).
pub(crate) const NAMES: u16 = 53;

/// A remote end: who may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    /// Inode of the namespace that asks.
    pub netns: u32,
    /// Protocol.
    pub protocol: Protocol,
    /// Address.
    pub address: IpAddr,
    /// Port, 0 for ICMP.
    pub port: u16,
}

impl Endpoint {
    /// The remote end of a flow.
    pub(crate) fn of(flow: &FlowKey) -> Self {
        Self {
            netns: flow.netns,
            protocol: flow.protocol,
            address: flow.remote,
            port: flow.remote_port,
        }
    }

    /// Whom a flow is for that this node passes on.
    pub(crate) fn at(flow: &FlowKey) -> Self {
        let has_ports = matches!(flow.protocol, Protocol::Tcp | Protocol::Udp);
        Self {
            netns: flow.netns,
            protocol: flow.protocol,
            address: flow.local,
            port: if has_ports { flow.local_port } else { 0 },
        }
    }
}

/// Requests that nothing has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ask {
    since: u64,
    last: u64,
    requests: u64,
    /// When the remote end last answered, where it used to: what it was sent since then asks for nothing.
    answered: When,
}

impl Ask {
    /// As a silence of this remote end that lasts until `until`, where it is one.
    fn silence(&self, of: &Endpoint, until: u64, strays: &Strays) -> Option<Silence> {
        let enough = match of.protocol {
            Protocol::Tcp | Protocol::Icmp | Protocol::Icmp6 => self.requests >= 2,
            // Many who send by UDP expect no answer. One that went astray says as much as a request more.
            Protocol::Udp => {
                let strayed = u64::from(self.requests == 2 && strays.came_for(of, self.since));
                self.requests + strayed >= 3 && (self.answered > When::NEVER || of.port == NAMES)
            }
            Protocol::Other(_) => false,
        };
        (enough && until.saturating_sub(self.since) >= SILENCE).then_some(Silence {
            since: self.since,
            until: None,
            requests: self.requests,
            proven: self.answered > When::NEVER,
            answered: self.answered,
        })
    }
}

/// A remote end that was asked and did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silence {
    /// When it was first asked in vain.
    pub since: u64,
    /// When it answered, `None` while it does not.
    pub until: Option<u64>,
    /// How often it was asked.
    pub requests: u64,
    /// It used to answer.
    pub proven: bool,
    /// When it last did, where it used to: or a moment after that.
    pub answered: When,
}

/// What is known of a remote end. Most answer: requests without an answer are rare.
#[derive(Clone, Debug, Default)]
struct Record {
    sent: u64,
    arrived: u64,
    last: u64,
    ask: Option<Box<Ask>>,
    ended: Option<Box<Silence>>,
}

/// What came by UDP and found no socket, by the namespace and the address that it came from: the last one's time and port.
#[derive(Clone, Debug, Default)]
struct Strays(BTreeMap<(u32, IpAddr), (u64, u16)>);

impl Strays {
    /// One came.
    fn came(&mut self, at: u64, from: Endpoint) {
        let of = (from.netns, from.address);
        if self.0.len() < MOST_STRAYS || self.0.contains_key(&of) {
            self.0.insert(of, (at, from.port));
        }
    }

    /// Since then one came from this address by another port than was asked: it may be the answer.
    fn came_for(&self, asked: &Endpoint, since: u64) -> bool {
        let last = self.0.get(&(asked.netns, asked.address));
        last.is_some_and(|(at, port)| *at >= since && *port != asked.port)
    }
}

/// All remote ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endpoints {
    records: BTreeMap<Endpoint, Record>,
    strays: Strays,
}

impl Endpoints {
    /// Packets left for it, `requests` of which ask for an answer.
    pub(crate) fn asked(&mut self, at: u64, endpoint: Endpoint, sent: u64, requests: u64) {
        if self.records.len() >= MOST && !self.records.contains_key(&endpoint) {
            return;
        }
        let record = self.records.entry(endpoint).or_default();
        let gap = match (endpoint.protocol, endpoint.port) {
            (Protocol::Tcp, _) => LONGEST_BACKOFF,
            (_, NAMES) => MEMORY,
            _ => UDP_GAP,
        };
        if requests > 0 {
            match &mut record.ask {
                Some(ask) if at.saturating_sub(ask.last) <= gap => {
                    ask.last = ask.last.max(at);
                    ask.requests = ask.requests.saturating_add(requests);
                }
                ask => {
                    // At least one answer to four requests: else it is no conversation.
                    let is_proven = record.arrived > 0 && record.arrived.saturating_mul(4) >= record.sent;
                    let answered = ask
                        .as_ref()
                        .map_or(When::at(record.last), |before| before.answered);
                    *ask = Some(Box::new(Ask {
                        since: at,
                        last: at,
                        requests,
                        answered: if is_proven { answered } else { When::NEVER },
                    }));
                }
            }
        }
        record.sent = record.sent.saturating_add(sent);
        record.last = at;
    }

    /// Something arrived from it.
    pub(crate) fn answered(&mut self, at: u64, endpoint: Endpoint, packets: u64) {
        if self.records.len() >= MOST && !self.records.contains_key(&endpoint) {
            return;
        }
        let record = self.records.entry(endpoint).or_default();
        record.arrived = record.arrived.saturating_add(packets);
        record.last = at;
        if let Some(ask) = record.ask.take()
            && at.saturating_sub(ask.since) >= ENDED
            && let Some(silence) = ask.silence(&endpoint, at, &self.strays)
        {
            record.ended = Some(Box::new(Silence {
                until: Some(at),
                ..silence
            }));
        }
    }

    /// A datagram came from it that no socket waits for.
    pub(crate) fn came_astray(&mut self, at: u64, from: Endpoint) {
        self.strays.came(at, from);
    }

    /// What is silent now; where nothing is, what was until within the last [`TOLD`].
    pub(crate) fn silences(&self, now: u64) -> Silences {
        let lasting = self.records.iter().filter_map(|(endpoint, record)| {
            let silence = record.lasting(endpoint, now, &self.strays)?;
            Some((*endpoint, silence))
        });
        let lasting = Silences::new(lasting.collect());
        if !lasting.all.is_empty() {
            return lasting;
        }
        let ended = self.records.iter().filter_map(|(endpoint, record)| {
            let silence = record.ended.as_deref().copied()?;
            let is_fresh = now.saturating_sub(silence.until?) <= TOLD;
            is_fresh.then_some((*endpoint, silence))
        });
        Silences::new(ended.collect())
    }

    /// What was asked in vain until then is over: who is asked later is asked anew.
    pub(crate) fn conclude(&mut self, until: u64) {
        for record in self.records.values_mut() {
            record.ask = record.ask.take().filter(|ask| ask.last > until);
            record.ended = record.ended.take().filter(|silence| silence.until > Some(until));
        }
    }

    /// Forgets those of these namespaces.
    pub(crate) fn leave(&mut self, namespaces: &BTreeSet<u32>) {
        self.records
            .retain(|endpoint, _| !namespaces.contains(&endpoint.netns));
        self.strays.0.retain(|(netns, _), _| !namespaces.contains(netns));
    }

    /// Forgets the idle ones.
    pub(crate) fn forget(&mut self, now: u64) {
        self.records
            .retain(|_, record| now.saturating_sub(record.last) <= IDLE);
        self.strays.0.retain(|_, (at, _)| now.saturating_sub(*at) <= IDLE);
    }
}

/// Remote ends that were silent at a tick: all of them are still, or none is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Silences {
    /// In the order of the remote ends.
    all: Vec<(Endpoint, Silence)>,
    /// When the first of them fell silent, or the first answered.
    first: When,
}

impl Silences {
    fn new(all: Vec<(Endpoint, Silence)>) -> Self {
        let times = all
            .iter()
            .map(|(_, silence)| silence.until.unwrap_or(silence.since));
        let first = times.min().into();
        Self { all, first }
    }

    /// They last.
    pub(crate) fn are_lasting(&self) -> bool {
        let first = self.all.first();
        first.is_some_and(|(_, silence)| silence.until.is_none())
    }

    /// All of them, in the order of the remote ends.
    pub(crate) fn all(&self) -> &[(Endpoint, Silence)] {
        &self.all
    }

    /// The place of the one that a flow is part of: it has asked in vain since then, or has got something since it was over.
    pub(super) fn of(&self, key: &FlowKey, flow: &Flow) -> Option<usize> {
        let seen = if self.are_lasting() {
            flow.asked
        } else {
            flow.last_arrived
        };
        // Few flows have, mostly: that is asked first.
        if self.all.is_empty() || seen < self.first {
            return None;
        }
        let endpoint = Endpoint::of(key);
        let place = self.all.binary_search_by(|(its, _)| its.cmp(&endpoint)).ok()?;
        let (_, silence) = self.all.get(place)?;
        let is_part = seen >= When::at(silence.until.unwrap_or(silence.since));
        is_part.then_some(place)
    }
}

impl Record {
    fn lasting(&self, of: &Endpoint, now: u64, strays: &Strays) -> Option<Silence> {
        let ask = self.ask.as_deref()?;
        // TCP doubles its interval: the next retransmission is as far away as the first one is ago.
        let patience = match of.protocol {
            Protocol::Tcp => ask
                .last
                .saturating_sub(ask.since)
                .saturating_mul(2)
                .clamp(MEMORY, LONGEST_BACKOFF),
            _ => MEMORY,
        };
        if now.saturating_sub(ask.last) > patience {
            None
        } else {
            ask.silence(of, now, strays)
        }
    }
}
