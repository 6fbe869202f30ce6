//! Things that go by networks, such as routes that were lost: found by an address, of which flows have very many.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use crate::event::network;

/// Networks of namespaces, each with the places of what is theirs in a list.
#[derive(Default)]
pub(super) struct Networks {
    prefixes: BTreeSet<u8>,
    places: HashMap<(u32, u8, IpAddr), Vec<usize>, RandomState>,
}

impl FromIterator<(u32, IpAddr, u8)> for Networks {
    /// By namespace, address and prefix, in the order of the list.
    fn from_iter<T: IntoIterator<Item = (u32, IpAddr, u8)>>(all: T) -> Self {
        let mut networks = Self::default();
        for (place, (netns, destination, prefix)) in all.into_iter().enumerate() {
            let of = (netns, prefix, network(destination, prefix));
            networks.prefixes.insert(prefix);
            networks.places.entry(of).or_default().push(place);
        }
        networks
    }
}

impl Networks {
    /// The places of those that have this address.
    pub(super) fn covering(&self, netns: u32, address: IpAddr) -> impl Iterator<Item = usize> {
        let its = move |prefix: &u8| self.places.get(&(netns, *prefix, network(address, *prefix)));
        self.prefixes.iter().filter_map(its).flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_have_an_address_are_found() {
        let networks: Networks = [
            (1, "10.0.0.0", 8),
            (1, "10.1.0.0", 16),
            (1, "10.1.0.7", 32),
            (2, "10.1.0.0", 16),
            (1, "10.1.0.0", 16),
        ]
        .map(|(netns, address, prefix)| (netns, address.parse().unwrap(), prefix))
        .into_iter()
        .collect();
        for (address, found) in [
            ("10.1.0.7", vec![0, 1, 4, 2]),
            ("10.1.0.8", vec![0, 1, 4]),
            ("10.2.0.7", vec![0]),
            ("192.0.2.1", vec![]),
            ("2001:db8::1", vec![]),
        ] {
            let covering: Vec<usize> = networks.covering(1, address.parse().unwrap()).collect();
            assert_eq!(covering, found, "{address}");
        }
    }
}
