//! What neighbours told this node on the link, or asked it, by ARP or neighbour discovery, and was dropped before it was heard.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ends::{self, ETHERTYPE_ARP, ETHERTYPE_IPV6};
use super::growth::{Growing, Spell};
use super::node::Node;
use crate::event::{EntryKey, Example, Fate};

/// Neighbours that are kept for all lines of drops, at most.
const MOST: usize = 1_024;

const ICMPV6: u8 = 58;
// Types of neighbour discovery (RFC 4861), and operations of ARP (RFC 826).
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// What a neighbour said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Said {
    /// Its link-layer address: what this node had asked for.
    Answer,
    /// It asked for that of this node.
    Question,
}

/// Something that a neighbour said to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    pub said: Said,
    /// Whose address it is, or who asked.
    pub who: IpAddr,
    /// Whom it was told, or the address that was asked for.
    pub to: IpAddr,
}

/// The messages that were shown as dropped: there were at least so many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unheard(BTreeMap<(EntryKey, Message), Growing>);

impl Unheard {
    /// A dropped packet was shown.
    pub(crate) fn example(&mut self, node: &Node, at: u64, example: &Example) {
        let key = &example.entry;
        let is_used_up = ends::used_up(ends::reason(key), ends::symbol(key));
        if key.fate != Fate::Dropped || !key.incoming || is_used_up {
            return;
        }
        let Some(message) = Message::read(key.ethertype, &example.bytes) else {
            return;
        };
        if !node.has_address(key.netns, message.to) {
            return;
        }
        let of = (key.clone(), message);
        if self.0.len() >= MOST && !self.0.contains_key(&of) {
            self.0.retain(|_, spell| spell.recent(at).is_some());
        }
        if self.0.len() < MOST || self.0.contains_key(&of) {
            self.0.entry(of).or_default().note(at, at, 1);
        }
    }

    /// What was lately dropped, each with its line.
    pub(crate) fn lately(&self, now: u64) -> impl Iterator<Item = (&EntryKey, Message, Spell)> {
        let all = self.0.iter();
        all.filter_map(move |((key, message), spell)| Some((key, *message, spell.recent(now)?)))
    }

    /// What was dropped until then is over.
    pub(crate) fn conclude(&mut self, until: u64) {
        self.0.retain(|_, spell| !spell.conclude(until));
    }

    /// Forgets those of these namespaces.
    pub(crate) fn leave(&mut self, namespaces: &BTreeSet<u32>) {
        self.0.retain(|(key, ..), _| !namespaces.contains(&key.netns));
    }
}

impl Message {
    /// Of a packet from its network header on.
    fn read(ethertype: u16, bytes: &[u8]) -> Option<Self> {
        match ethertype {
            // `struct arphdr` and what follows it for Ethernet and IPv4.
            ETHERTYPE_ARP => {
                let address = |at: usize| {
                    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
                    Some(IpAddr::from(Ipv4Addr::from(four)))
                };
                let said = match bytes.get(6..8)? {
                    [0, REQUEST] => Said::Question,
                    [0, REPLY] => Said::Answer,
                    _ => return None,
                };
                Some(Self {
                    said,
                    who: address(14)?,
                    to: address(24)?,
                })
            }
            ETHERTYPE_IPV6 if *bytes.get(6)? == ICMPV6 => {
                let address = |at: usize| {
                    let sixteen: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
                    Some(Ipv6Addr::from(sixteen))
                };
                let (source, destination, target) = (address(8)?, address(24)?, address(48)?);
                match *bytes.get(40)? {
                    SOLICITATION => Some(Self {
                        said: Said::Question,
                        who: source.into(),
                        to: target.into(),
                    }),
                    // What it tells all was not asked for.
                    ADVERTISEMENT if !destination.is_multicast() => Some(Self {
                        said: Said::Answer,
                        who: target.into(),
                        to: destination.into(),
                    }),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A message of neighbour discovery.
    fn discovery(kind: u8, from: &str, to: &str, target: &str) -> Vec<u8> {
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let mut bytes = vec![0x60, 0, 0, 0, 0, 24, ICMPV6, 255];
        bytes.extend(address(from));
        bytes.extend(address(to));
        bytes.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(address(target));
        bytes
    }

    #[test]
    fn what_neighbours_say_is_read() {
        let read = |bytes: &[u8]| Message::read(ETHERTYPE_IPV6, bytes);
        let answer = discovery(136, "fe80::1", "2001:db8::2", "2001:db8::1");
        assert_eq!(
            read(&answer),
            Some(Message {
                said: Said::Answer,
                who: ip("2001:db8::1"),
                to: ip("2001:db8::2"),
            })
        );
        assert_eq!(read(&discovery(136, "fe80::1", "ff02::1", "fe80::1")), None);
        let question = read(&discovery(135, "2001:db8::1", "ff02::1:ff00:2", "2001:db8::2")).unwrap();
        assert_eq!(
            (question.said, question.who, question.to),
            (Said::Question, ip("2001:db8::1"), ip("2001:db8::2"))
        );
        assert_eq!(read(&discovery(128, "fe80::1", "fe80::2", "fe80::2")), None);
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1];
        arp.extend([2, 0, 0, 0, 0, 2, 10, 0, 0, 2]);
        assert_eq!(
            Message::read(ETHERTYPE_ARP, &arp),
            Some(Message {
                said: Said::Answer,
                who: ip("10.0.0.1"),
                to: ip("10.0.0.2"),
            })
        );
        for bytes in [answer, arp] {
            for end in 0..bytes.len() {
                let _ = Message::read(ETHERTYPE_ARP, &bytes[..end]);
                let _ = read(&bytes[..end]);
            }
        }
    }
}
