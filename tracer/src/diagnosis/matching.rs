//! Which packets a rule of a firewall can be for, by the words in which it is told.

use std::net::IpAddr;

use super::effects::covers;
use crate::event::{Family, Protocol, Version};

/// What is known of packets. Of what is not, nothing is held against a rule.
#[derive(Clone, Copy)]
pub(super) struct Packet {
    pub version: Version,
    pub protocol: Protocol,
    /// Address and port.
    pub source: (Option<IpAddr>, Option<u16>),
    /// The same.
    pub destination: (Option<IpAddr>, Option<u16>),
}

/// What the words of a rule say of whether it is for some packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It may be: what it is for stands in a set, or in the match of iptables, or in what is left out.
    Perhaps,
    /// It is.
    Surely,
}

/// What a rule asks of a packet. All of it must hold.
pub(super) struct Asks {
    family: Family,
    all: Vec<Condition>,
}

/// It is read once, and held against very many packets.
enum Condition {
    Version(Version),
    Protocol {
        is: bool,
        protocol: Protocol,
    },
    /// At which end; `None` where what is asked is no single number or network, as a set.
    Port(End, Option<Ports>),
    Address(End, Option<Addresses>),
}

/// Which port is asked for.
#[derive(Clone, Copy)]
enum Ports {
    Is(u16),
    IsNot(u16),
    Below(u16),
    UpTo(u16),
    Above(u16),
    From(u16),
}

/// Which addresses are.
#[derive(Clone, Copy)]
struct Addresses {
    are_in: bool,
    network: IpAddr,
    prefix: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

impl Asks {
    /// Those of a rule in a table of this family, whose words these are.
    pub(super) fn of(family: Family, words: &[&str]) -> Self {
        let (mut all, mut rest) = (Vec::new(), words);
        while let [word, behind @ ..] = rest {
            rest = match (*word, behind) {
                // The names of devices, chains and sets are no words of the rule.
                ("iifname" | "oifname" | "jump" | "goto" | "in" | "map" | "vmap", ["!=", _, behind @ ..])
                | ("iifname" | "oifname" | "jump" | "goto" | "in" | "map" | "vmap", [_, behind @ ..]) => {
                    behind
                }
                ("!=", [name, behind @ ..]) if protocol(name, behind).is_some() => {
                    all.extend(
                        protocol(name, behind).map(|protocol| Condition::Protocol { is: false, protocol }),
                    );
                    behind
                }
                (name, behind) => {
                    all.extend(match name {
                        "ipv4" | "ip" => Some(Condition::Version(Version::V4)),
                        "ipv6" | "ip6" => Some(Condition::Version(Version::V6)),
                        "sport" => Some(Condition::Port(End::Source, Ports::read(behind))),
                        "dport" => Some(Condition::Port(End::Destination, Ports::read(behind))),
                        "saddr" => Some(Condition::Address(End::Source, Addresses::read(behind))),
                        "daddr" => Some(Condition::Address(End::Destination, Addresses::read(behind))),
                        name => {
                            protocol(name, behind).map(|protocol| Condition::Protocol { is: true, protocol })
                        }
                    });
                    behind
                }
            };
        }
        Self { family, all }
    }

    /// Whether the rule is for such packets; `None` where it is not. What it leaves open about one end the other does not close.
    pub(super) fn fit(&self, packet: &Packet) -> Option<Fit> {
        let is_of_family = match self.family {
            Family::Ip => packet.version == Version::V4,
            Family::Ip6 => packet.version == Version::V6,
            _ => true,
        };
        let mut fit = None;
        for condition in &self.all {
            let (asked, known) = match condition {
                Condition::Version(version) => (is(*version == packet.version), false),
                Condition::Protocol { is: wanted, protocol } => {
                    (is((*protocol == packet.protocol) == *wanted), false)
                }
                Condition::Port(end, ports) => match packet.at(*end).1 {
                    Some(port) => (may_be(ports.map(|ports| ports.have(port))), true),
                    None => continue,
                },
                Condition::Address(end, addresses) => match packet.at(*end).0 {
                    Some(address) => (may_be(addresses.map(|addresses| addresses.have(address))), true),
                    None => continue,
                },
            };
            let asked = asked?;
            if known {
                fit = Some(fit.map_or(asked, |fit: Fit| fit.min(asked)));
            }
        }
        is_of_family.then_some(fit.unwrap_or(Fit::Perhaps))
    }

    /// It names a port that they are for.
    pub(super) fn names_a_port(&self) -> bool {
        let is_one = |one: &Condition| matches!(one, Condition::Port(End::Destination, _));
        self.all.iter().any(is_one)
    }
}

impl Packet {
    fn at(&self, end: End) -> (Option<IpAddr>, Option<u16>) {
        match end {
            End::Source => self.source,
            End::Destination => self.destination,
        }
    }
}

fn is(is: bool) -> Option<Fit> {
    is.then_some(Fit::Surely)
}

/// The protocol of this name, or of the number behind it.
fn protocol(name: &str, behind: &[&str]) -> Option<Protocol> {
    Some(match name {
        "icmp" => Protocol::Icmp,
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "icmpv6" | "icmp6" | "ipv6-icmp" => Protocol::Icmp6,
        "protocol" | "ipproto" => Protocol::from(behind.first()?.parse::<u8>().ok()?),
        _ => return None,
    })
}

/// What is asked may be so where that is not known.
fn may_be(known: Option<bool>) -> Option<Fit> {
    known.map_or(Some(Fit::Perhaps), is)
}

impl Ports {
    /// By what stands behind the name of a port.
    fn read(what: &[&str]) -> Option<Self> {
        let (of, number): (fn(u16) -> Self, _) = match what {
            ["!=", number, ..] => (Self::IsNot, number),
            ["<", number, ..] => (Self::Below, number),
            ["<=", number, ..] => (Self::UpTo, number),
            [">", number, ..] => (Self::Above, number),
            [">=", number, ..] => (Self::From, number),
            [number, ..] => (Self::Is, number),
            [] => return None,
        };
        number.parse().ok().map(of)
    }

    fn have(self, port: u16) -> bool {
        match self {
            Self::Is(other) => port == other,
            Self::IsNot(other) => port != other,
            Self::Below(other) => port < other,
            Self::UpTo(other) => port <= other,
            Self::Above(other) => port > other,
            Self::From(other) => port >= other,
        }
    }
}

impl Addresses {
    /// By what stands behind the name of an address.
    fn read(what: &[&str]) -> Option<Self> {
        let (are_in, word) = match what {
            ["!=", word, ..] => (false, word),
            [word, ..] => (true, word),
            [] => return None,
        };
        let (network, prefix) = match word.split_once('/') {
            Some((network, prefix)) => (network, Some(prefix.parse().ok()?)),
            None => (*word, None),
        };
        let network: IpAddr = network.parse().ok()?;
        Some(Self {
            are_in,
            network,
            prefix: prefix.unwrap_or(if network.is_ipv4() { 32 } else { 128 }),
        })
    }

    fn have(self, address: IpAddr) -> bool {
        let is_in = self.network.is_ipv4() == address.is_ipv4() && covers(self.network, self.prefix, address);
        is_in == self.are_in
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(family: Family, words: &str, packet: &Packet) -> Option<Fit> {
        let words: Vec<&str> = words.split(' ').collect();
        Asks::of(family, &words).fit(packet)
    }

    #[test]
    fn a_rule_is_for_what_it_names() {
        let reply = Packet {
            version: Version::V4,
            protocol: Protocol::Tcp,
            source: (Some("198.51.100.1".parse().unwrap()), Some(80)),
            destination: (Some("10.10.0.2".parse().unwrap()), Some(40_000)),
        };
        for (words, expected) in [
            ("drop", Some(Fit::Perhaps)),
            ("tcp drop", Some(Fit::Perhaps)),
            ("udp drop", None),
            ("!= tcp drop", None),
            ("!= udp drop", Some(Fit::Perhaps)),
            ("protocol 6 drop", Some(Fit::Perhaps)),
            ("protocol 47 drop", None),
            ("protocol in a set drop", Some(Fit::Perhaps)),
            ("tcp sport 80 drop", Some(Fit::Surely)),
            ("tcp dport 80 drop", None),
            ("tcp dport > 1023 drop", Some(Fit::Surely)),
            ("ip saddr 198.51.100.0/24 drop", Some(Fit::Surely)),
            ("ipv4 ip saddr 198.51.100.0/24 tcp sport 443 drop", None),
            ("ip saddr != 198.51.100.0/24 drop", None),
            // What is asked beside may be so.
            ("tcp sport 80 numgen random mod 4 0 drop", Some(Fit::Surely)),
            ("tcp sport fib 0x03 drop", Some(Fit::Perhaps)),
            ("ip saddr cmp drop", Some(Fit::Perhaps)),
            ("ip daddr 198.51.100.1 drop", None),
            ("ip saddr in @ban drop", Some(Fit::Perhaps)),
            ("ip saddr in @ban tcp dport 22 drop", None),
            ("ip saddr . dport in @ban drop", Some(Fit::Perhaps)),
            ("ip6 saddr != 2001:db8::/32 drop", None),
            ("ipv6 drop", None),
            // Others chose these names.
            ("iifname udp jump icmp", Some(Fit::Perhaps)),
            ("iifname != udp drop", Some(Fit::Perhaps)),
            ("ip saddr in udp drop", Some(Fit::Perhaps)),
        ] {
            assert_eq!(fit(Family::Inet, words, &reply), expected, "{words}");
        }
        assert_eq!(fit(Family::Ip6, "drop", &reply), None);
        assert_eq!(fit(Family::Ip, "drop", &reply), Some(Fit::Perhaps));
    }

    #[test]
    fn what_is_not_known_of_packets_is_not_held_against_a_rule() {
        let message = Packet {
            version: Version::V6,
            protocol: Protocol::Icmp6,
            source: (None, None),
            destination: (None, None),
        };
        assert!(fit(Family::Inet, "ip6 saddr fe80::1 icmpv6 drop", &message).is_some());
        assert!(fit(Family::Inet, "tcp dport 9999 drop", &message).is_none());
    }
}
