//! Counters that the kernel keeps by itself: losses that raise no event are seen by them alone.
//!
//! One file for each source. All of a namespace is read in one visit.

mod conntrack;
mod device;
mod ethtool;
mod proc;

use std::collections::{HashMap, HashSet};

pub use self::conntrack::tracked;
use super::modules::Module;
use super::{Netns, namespace};
use crate::event::{Capability, CapabilityState, Counter, CounterKey, Device, Source};

/// The capability's name.
pub const CAPABILITY: &str = "counters";

/// A counter as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    source: Source,
    device: u32,
    name: String,
    value: u64,
}

/// Whether a counter of this name is told: one that counts what was lost, refused or thrown away, also where others say so of
/// what this node sent. What it means for a packet is the model's to say.
#[must_use]
pub fn is_told(name: &str) -> bool {
    const WORDS: [&str; 19] = [
        "drop",
        "err",
        "fail",
        "overflow",
        "prune",
        "discard",
        "miss",
        "noroutes",
        "noports",
        "indestunreachs",
        "unknownproto",
        "reversepathfilter",
        "nohandler",
        "no_buf",
        "nobuf",
        "crc",
        "fifo",
        "truncated",
        "invalid",
    ];
    // Guesses of TCP about what became of its own segments, not of ours.
    const OTHERS: [&str; 6] = [
        "TcpExtTCPRenoFailures",
        "TcpExtTCPSackFailures",
        "TcpExtTCPLossFailures",
        "TcpExtTCPFastOpenActiveFail",
        "TcpExtTCPMTUPFail",
        "TcpExtTCPDSACKIgnoredOld",
    ];
    let lower = name.to_ascii_lowercase();
    WORDS.iter().any(|word| lower.contains(word)) && !OTHERS.contains(&name)
}

/// Reads counters, and knows by how much they have grown.
#[derive(Debug)]
pub struct Counters {
    known: HashMap<CounterKey, Known>,
    text: String,
    visited: HashSet<u32>,
    conntrack: Module,
    unread: Vec<String>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            text: String::new(),
            visited: HashSet::new(),
            conntrack: Module::new(conntrack::MODULE),
            unread: Vec::new(),
        }
    }
}

/// What is known of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    value: u64,
    grown: u64,
}

impl Known {
    /// The counter now has this value; whether it has grown. Where it fell it was begun anew: how far it had come
    /// before is not known, so nothing is taken for growth.
    fn becomes(&mut self, value: u64) -> bool {
        let more = value.saturating_sub(self.value);
        self.value = value;
        self.grown = self.grown.saturating_add(more);
        more > 0
    }
}

impl Counters {
    /// Visits a namespace and tells its counters that have grown since they were first seen, and again since the
    /// last visit. `devices` are its uplinks; `machine`: also those of the whole machine.
    ///
    /// # Errors
    /// Where the namespace cannot be entered. A source that cannot be read is told by [`Self::capability`].
    pub fn visit(
        &mut self,
        netns: &Netns,
        devices: &[Device],
        machine: bool,
    ) -> Result<Vec<Counter>, namespace::Error> {
        let (text, conntrack) = (&mut self.text, self.conntrack.visit());
        let Reading {
            values,
            unread,
            whole,
        } = netns.enter(|| read(text, devices, machine, conntrack))?;
        for unread in unread {
            if !self.unread.contains(&unread) {
                self.unread.push(unread);
            }
        }
        let netns = netns.inode();
        let told = values
            .into_iter()
            .filter_map(|value| self.told(netns, value))
            .collect();
        if whole {
            self.visited.insert(netns);
        }
        Ok(told)
    }

    /// Whether this namespace has been visited.
    #[must_use]
    pub fn knows(&self, netns: &Netns) -> bool {
        self.visited.contains(&netns.inode())
    }

    /// Leaves those alone whose namespace is no longer watched.
    pub fn keep(&mut self, is_watched: impl Fn(u32) -> bool) {
        self.visited.retain(|netns| is_watched(*netns));
        self.known.retain(|key, _| is_watched(key.netns));
    }

    /// The capability `counters`: partial where a source could not be read since the start.
    #[must_use]
    pub fn capability(&self) -> Capability {
        let why = match self.unread.as_slice() {
            [] => String::new(),
            some => format!(
                "{} Losses that only these counters tell stay unexplained, or are not seen where packets were lost \
                 before they arrived.",
                some.join(" ")
            ),
        };
        Capability {
            name: CAPABILITY.to_owned(),
            state: if why.is_empty() {
                CapabilityState::Available
            } else {
                CapabilityState::Partial
            },
            why,
        }
    }

    fn told(&mut self, netns: u32, value: Value) -> Option<Counter> {
        let key = CounterKey {
            netns,
            source: value.source,
            device: value.device,
            name: value.name,
        };
        // Nearly all of them are 0 in nearly all namespaces, and are not kept: of one that a namespace had at its first
        // visit, and that is not known, that is known.
        let from_zero = matches!(key.source, Source::Snmp | Source::Snmp6 | Source::Netstat);
        let is_nothing = if from_zero && value.value == 0 {
            !self.known.contains_key(&key)
        } else {
            !is_told(&key.name)
        };
        if is_nothing {
            return None;
        }
        let began = if from_zero && self.visited.contains(&netns) {
            0
        } else {
            value.value
        };
        let known = self.known.entry(key.clone()).or_insert(Known {
            value: began,
            grown: 0,
        });
        known.becomes(value.value).then_some(Counter {
            grown: known.grown,
            key,
        })
    }
}

/// What a visit found.
struct Reading {
    values: Vec<Value>,
    /// A sentence of each source that cannot be read.
    unread: Vec<String>,
    /// All that a namespace has without devices and modules could be read.
    whole: bool,
}

/// Reads all sources in the namespace of this thread.
fn read(text: &mut String, devices: &[Device], machine: bool, conntrack: bool) -> Reading {
    let mut values = Vec::new();
    let proc = proc::read(text, machine, &mut values);
    let whole = proc.is_ok();
    let mut unread = Vec::from_iter(proc.err());
    for device in devices {
        unread.extend(device::read(device.index, &mut values).err());
        unread.extend(ethtool::read(device, &mut values).err());
    }
    unread.extend(conntrack::read(conntrack, &mut values).err());
    Reading {
        values,
        unread,
        whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_falls_has_not_grown_and_loses_nothing_of_before() {
        let mut known = Known { value: 10, grown: 0 };
        assert!(known.becomes(13) && !known.becomes(13));
        assert!(!known.becomes(2), "begun anew");
        assert!(known.becomes(4));
        assert_eq!(known, Known { value: 4, grown: 5 });
    }

    #[test]
    fn counters_of_traffic_are_not_told() {
        for name in [
            "TcpExtListenOverflows",
            "IpExtInNoRoutes",
            "Udp6RcvbufErrors",
            "rx_queue_0_xdp_drops",
            "rx_missed_errors",
            "insert_failed",
        ] {
            assert!(is_told(name), "{name}");
        }
        for name in [
            "IpInReceives",
            "TcpInSegs",
            "TcpExtTCPTimeouts",
            "rx_packets",
            "TcpExtTCPSackFailures",
        ] {
            assert!(!is_told(name), "{name}");
        }
    }

    #[test]
    fn counting_begins_at_the_first_look() {
        let value = |device, name: &str, value| Value {
            source: if device == 0 { Source::Snmp } else { Source::Device },
            device,
            name: name.to_owned(),
            value,
        };
        let mut counters = Counters::default();
        let grown = |counters: &mut Counters, value| counters.told(7, value).map(|counter| counter.grown);
        assert_eq!(grown(&mut counters, value(0, "a_drops", 5)), None);
        assert_eq!(grown(&mut counters, value(0, "b_drops", 0)), None);
        counters.visited.insert(7);
        assert_eq!(grown(&mut counters, value(0, "a_drops", 6)), Some(1));
        assert_eq!(grown(&mut counters, value(0, "b_drops", 3)), Some(3), "it was 0");
        assert_eq!(grown(&mut counters, value(0, "b_drops", 0)), None, "begun anew");
        assert_eq!(grown(&mut counters, value(0, "b_drops", 1)), Some(4));
        // A device may come later, with what it had counted before.
        assert_eq!(grown(&mut counters, value(2, "a_drops", 9)), None);
        assert_eq!(grown(&mut counters, value(2, "a_drops", 11)), Some(2));
    }

    #[test]
    fn this_namespace_is_read() {
        let here = Netns::current().unwrap();
        let mut counters = Counters::default();
        assert_eq!(
            counters.visit(&here, &[], true).unwrap(),
            [],
            "the first look is where counting begins"
        );
        assert!(counters.knows(&here));
        counters.keep(|_| false);
        assert!(counters.known.is_empty() && !counters.knows(&here));
    }
}
