//! Who is asked and answers: the remote ends of flows.
//!
//! A client that gives up asks again by another port, so an unanswered request shows at the remote end that
//! it is for, not at a flow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::clock::{MEMORY, SECOND};
use crate::event::{FlowKey, Protocol};

/// Remote ends that are kept, at most.
const MOST: usize = 131_072;
/// One that is idle is forgotten after this.
const IDLE: u64 = 600 * SECOND;
/// An unanswered request is a silence from this age on.
pub(crate) const SILENCE: u64 = 1_500_000_000;
/// A silence that ended is told where it was at least so long.
const ENDED: u64 = 2 * SECOND;
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
}

/// Requests that nothing has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ask {
    since: u64,
    last: u64,
    requests: u64,
    /// The remote end used to answer.
    proven: bool,
}

impl Ask {
    /// As a silence of this remote end that lasts until `until`, where it is one.
    fn silence(&self, of: &Endpoint, until: u64) -> Option<Silence> {
        let enough = match of.protocol {
            Protocol::Tcp | Protocol::Icmp | Protocol::Icmp6 => self.requests >= 2,
            // Many who send by UDP expect no answer.
            Protocol::Udp => self.requests >= 3 && (self.proven || of.port == NAMES),
            Protocol::Other(_) => false,
        };
        (enough && until.saturating_sub(self.since) >= SILENCE).then_some(Silence {
            since: self.since,
            until: None,
            requests: self.requests,
            proven: self.proven,
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

/// All remote ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endpoints(BTreeMap<Endpoint, Record>);

impl Endpoints {
    /// Packets left for it, `requests` of which ask for an answer.
    pub(crate) fn asked(&mut self, at: u64, endpoint: Endpoint, sent: u64, requests: u64) {
        if self.0.len() >= MOST && !self.0.contains_key(&endpoint) {
            return;
        }
        let record = self.0.entry(endpoint).or_default();
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
                    let proven = record.arrived > 0 && record.arrived.saturating_mul(4) >= record.sent;
                    *ask = Some(Box::new(Ask {
                        since: at,
                        last: at,
                        requests,
                        proven,
                    }));
                }
            }
        }
        record.sent = record.sent.saturating_add(sent);
        record.last = at;
    }

    /// Something arrived from it.
    pub(crate) fn answered(&mut self, at: u64, endpoint: Endpoint, packets: u64) {
        if self.0.len() >= MOST && !self.0.contains_key(&endpoint) {
            return;
        }
        let record = self.0.entry(endpoint).or_default();
        record.arrived = record.arrived.saturating_add(packets);
        record.last = at;
        if let Some(ask) = record.ask.take()
            && at.saturating_sub(ask.since) >= ENDED
            && let Some(silence) = ask.silence(&endpoint, at)
        {
            record.ended = Some(Box::new(Silence {
                until: Some(at),
                ..silence
            }));
        }
    }

    /// Silences that last, and those that ended within the last [`MEMORY`].
    pub(crate) fn silences(&self, now: u64) -> impl Iterator<Item = (Endpoint, Silence)> {
        self.0.iter().filter_map(move |(endpoint, record)| {
            let silence = record.lasting(endpoint, now).or_else(|| {
                record
                    .ended
                    .as_deref()
                    .copied()
                    .filter(|silence| now.saturating_sub(silence.until.unwrap_or(0)) <= MEMORY)
            })?;
            Some((*endpoint, silence))
        })
    }

    /// The silence of this remote end, while it lasts.
    pub(crate) fn silence(&self, endpoint: &Endpoint, now: u64) -> Option<Silence> {
        self.0.get(endpoint)?.lasting(endpoint, now)
    }

    /// Forgets those of these namespaces.
    pub(crate) fn leave(&mut self, namespaces: &BTreeSet<u32>) {
        self.0.retain(|endpoint, _| !namespaces.contains(&endpoint.netns));
    }

    /// Forgets the idle ones.
    pub(crate) fn forget(&mut self, now: u64) {
        self.0.retain(|_, record| now.saturating_sub(record.last) <= IDLE);
    }
}

impl Record {
    fn lasting(&self, of: &Endpoint, now: u64) -> Option<Silence> {
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
            ask.silence(of, now)
        }
    }
}
