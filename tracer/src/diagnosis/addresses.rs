//! Addresses, of which there may be very many: sorted once, by their numbers, which takes a part of the time that it takes by
//! themselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::effects::covers;
use super::words::{NAMED, distinct, list};
use crate::event::{Version, network};

/// Addresses, each once and in order.
#[derive(Clone, Default)]
pub(super) struct Addresses {
    v4: Vec<u32>,
    v6: Vec<u128>,
    /// Where none is told: of this version they are, if that is known.
    untold: Option<Version>,
}

impl Addresses {
    /// These.
    pub(super) fn of(all: impl Iterator<Item = IpAddr>) -> Self {
        let mut found = Self::default();
        for address in all {
            match address {
                IpAddr::V4(v4) => found.v4.push(v4.to_bits()),
                IpAddr::V6(v6) => found.v6.push(v6.to_bits()),
            }
        }
        sort(&mut found.v4);
        sort(&mut found.v6);
        found
    }

    /// None is told; they are of this version, if that is known.
    pub(super) fn untold(version: Option<Version>) -> Self {
        Self {
            untold: version,
            ..Self::default()
        }
    }

    /// None is told, and they may be of this version.
    fn may_be(&self, version: Version) -> bool {
        !self.are_told() && self.untold.is_none_or(|of| of == version)
    }

    /// Some are told.
    pub(super) fn are_told(&self) -> bool {
        !self.v4.is_empty() || !self.v6.is_empty()
    }

    /// Those that are told, each once.
    pub(super) fn iter(&self) -> impl Iterator<Item = IpAddr> {
        let all = self.v4.iter().copied().map(v4);
        all.chain(self.v6.iter().copied().map(v6))
    }

    /// One of them is this one; or none is told.
    pub(super) fn have(&self, address: IpAddr) -> bool {
        let has = match address {
            IpAddr::V4(v4) => self.v4.binary_search(&v4.to_bits()).is_ok(),
            IpAddr::V6(v6) => self.v6.binary_search(&v6.to_bits()).is_ok(),
        };
        has || self.may_be(Version::of(address))
    }

    /// One of them is in the network of that prefix; or none is told.
    pub(super) fn are_in(&self, destination: IpAddr, prefix: u8) -> bool {
        let next = match network(destination, prefix) {
            IpAddr::V4(first) => next(&self.v4, first.to_bits()).map(v4),
            IpAddr::V6(first) => next(&self.v6, first.to_bits()).map(v6),
        };
        next.is_some_and(|address| covers(destination, prefix, address))
            || self.may_be(Version::of(destination))
    }

    /// One of them is of this version of IP; or none is told.
    pub(super) fn are_of(&self, version: Version) -> bool {
        let are = match version {
            Version::V4 => !self.v4.is_empty(),
            Version::V6 => !self.v6.is_empty(),
        };
        are || self.may_be(version)
    }

    /// The first of them, and how many more there are: `192.0.2.7`, `192.0.2.7, 192.0.2.8, 192.0.2.9 and 5 more`.
    pub(super) fn told(&self) -> String {
        let first: Vec<String> = self
            .iter()
            .take(NAMED)
            .map(|address| address.to_string())
            .collect();
        match self.v4.len() + self.v6.len() - first.len() {
            0 => list(&distinct(first)),
            more => format!("{} and {more} more", first.join(", ")),
        }
    }
}

/// Sorts numbers, and leaves each once.
fn sort<T: Ord>(numbers: &mut Vec<T>) {
    // Those of flows with one address are mostly side by side.
    numbers.dedup();
    numbers.sort_unstable();
    numbers.dedup();
}

/// The first of these that is so great.
fn next<T: Copy + Ord>(numbers: &[T], least: T) -> Option<T> {
    numbers
        .get(numbers.partition_point(|number| *number < least))
        .copied()
}

fn v4(bits: u32) -> IpAddr {
    Ipv4Addr::from_bits(bits).into()
}

fn v6(bits: u128) -> IpAddr {
    Ipv6Addr::from_bits(bits).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Addresses {
        Addresses::of(texts.iter().map(|text| text.parse().unwrap()))
    }

    #[test]
    fn addresses_are_found_by_their_networks() {
        let some = addresses(&["198.51.100.7", "192.0.2.10", "192.0.2.10", "2001:db8::1"]);
        for (network, prefix, are) in [
            ("0.0.0.0", 0, true),
            ("192.0.2.0", 24, true),
            ("192.0.2.8", 29, true),
            ("192.0.2.10", 32, true),
            ("192.0.2.11", 32, false),
            ("192.0.3.0", 24, false),
            ("198.51.100.0", 24, true),
            ("203.0.113.0", 24, false),
            ("2001:db8::", 64, true),
            ("2001:db8:1::", 64, false),
            ("::", 0, true),
        ] {
            assert_eq!(
                some.are_in(network.parse().unwrap(), prefix),
                are,
                "{network}/{prefix}"
            );
        }
        assert!(some.have("192.0.2.10".parse().unwrap()) && !some.have("192.0.2.9".parse().unwrap()));
        assert!(some.are_of(Version::V4) && some.are_of(Version::V6));
        assert!(!addresses(&["192.0.2.10"]).are_of(Version::V6));
    }

    #[test]
    fn where_none_is_told_it_may_be_any() {
        let none = addresses(&[]);
        let address = "192.0.2.10".parse().unwrap();
        assert!(none.are_in(address, 32) && none.have(address) && none.are_of(Version::V6));
        let of_v6 = Addresses::untold(Some(Version::V6));
        assert!(!of_v6.are_in(address, 32) && !of_v6.have(address) && !of_v6.are_of(Version::V4));
        assert!(of_v6.have("::1".parse().unwrap()) && of_v6.are_of(Version::V6));
    }
}
