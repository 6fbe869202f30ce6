//! All that stands in a namespace, read at once.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use super::super::netlink::{self, Asker, ROUTE, XFRM};
use super::address::Addresses;
use super::expiry::Expiry;
use super::known::Known;
use super::link::Link;
use super::neighbour::State;
use super::offload::Ethtool;
use super::words::{Devices, IPV4, IPV6};
use super::{address, ipsec, link, neighbour, netconf, nexthop, nsid, programs, route, rule, traffic};
use crate::event::{Thing, Version};

/// `IFLA_EXT_MASK` with `RTEXT_FILTER_SKIP_STATS`: leaves out the counters, which are most of the answer.
const WITHOUT_COUNTERS: [u8; 8] = {
    let ([a, b], [c, d], [e, f, g, h]) = (8_u16.to_ne_bytes(), 29_u16.to_ne_bytes(), 8_u32.to_ne_bytes());
    [a, b, c, d, e, f, g, h]
};

/// What stands.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) known: Known,
    pub(super) devices: Devices,
    pub(super) links: BTreeMap<u32, Link>,
    pub(super) addresses: Addresses,
    /// When a route ends by itself.
    pub(super) expiry: Expiry,
    /// Neighbours that no route leads by and that were not set by hand.
    pub(super) others: Vec<(Thing, String)>,
}

/// Reads all of the namespace of this thread; policies of IPsec and offloads only where that can be asked.
///
/// # Errors
/// Where the kernel does not tell.
pub(super) fn everything(has_ipsec: bool, ethtool: Option<&Ethtool>) -> Result<Standing, netlink::Error> {
    let request = [&[0; link::HEADER][..], &WITHOUT_COUNTERS].concat();
    let links = netlink::dump(ROUTE, link::GET, &request, |body| Some(link::parse(body)))?;
    let named = |mut link: Link| {
        link.name_programs(None, &programs::words);
        (link.index, link)
    };
    let links: BTreeMap<u32, Link> = links.into_iter().flatten().map(named).collect();
    let devices = Devices(
        links
            .iter()
            .map(|(index, link)| (*index, link.name.clone()))
            .collect(),
    );
    let (routes, expiry) = routes(&devices)?;
    let known = RefCell::new(routes);
    let add = |thing: Thing, value: String| {
        known.borrow_mut().add(thing, value);
    };
    for link in links.values() {
        let device = link.name.clone();
        add(Thing::Link { device }, link.value(&devices));
    }
    let addresses = RefCell::new(Addresses::default());
    list(address::GET, &[0; address::HEADER], &|body| {
        if let Some(address) = address::parse(body, &devices) {
            addresses.borrow_mut().note(&address);
            add(address.thing, address.value);
        }
    })?;
    list(nsid::GET, &[0; nsid::HEADER], &|body| {
        if let Some(thing) = nsid::parse(body) {
            add(thing, String::new());
        }
    })?;
    for (family, version) in [(IPV4, Version::V4), (IPV6, Version::V6)] {
        let are_there = list(rule::GET, &of(family, rule::HEADER), &|body| {
            if let Some(thing) = rule::parse(body) {
                add(thing, String::new());
            }
        })?;
        if !are_there {
            add(Thing::NoRules { version }, String::new());
        }
        list(netconf::GET, &of(family, netconf::HEADER), &|body| {
            for (name, value) in netconf::parse(body, &devices) {
                add(Thing::Sysctl { name }, value);
            }
        })?;
    }
    let gateways = gateways(&known.borrow());
    let others = RefCell::new(Vec::new());
    list(neighbour::GET, &[0; neighbour::HEADER], &|body| {
        let Some(found) = neighbour::parse(body) else {
            return;
        };
        let (value, matters) = match found.state {
            State::Permanent(value) => (value, true),
            State::Silent(state) => (state.to_owned(), gateways.contains(&found.address)),
            State::Usual(value) => (value, gateways.contains(&found.address)),
            State::Unknown => return,
        };
        let device = devices.name(found.device);
        let address = found.address;
        let thing = Thing::Neighbour { device, address };
        if matters {
            add(thing, value);
        } else {
            others.borrow_mut().push((thing, value));
        }
    })?;
    list(neighbour::GET, &neighbour::PROXIES, &|body| {
        if let Some(thing) = neighbour::proxy(body, &devices) {
            add(thing, String::new());
        }
    })?;
    let qdiscs = RefCell::new(Vec::new());
    list(traffic::GET_QDISC, &[0; traffic::HEADER], &|body| {
        qdiscs.borrow_mut().extend(traffic::qdisc(body, &devices));
    })?;
    let classes = |qdisc: &traffic::Qdisc| {
        let all = traffic::those_of(qdisc.index, 0);
        list(traffic::GET_CLASS, &all, &|body| {
            if let Some((thing, value)) = traffic::class(body, &devices) {
                add(thing, value);
            }
        })
    };
    for qdisc in qdiscs.into_inner() {
        if qdisc.has_classes {
            classes(&qdisc)?;
        }
        for parent in qdisc.parents {
            list(
                traffic::GET_FILTER,
                &traffic::those_of(qdisc.index, parent),
                &|body| {
                    if let Some((thing, value)) = traffic::filter(body, &devices) {
                        add(thing, value);
                    }
                },
            )?;
        }
        add(qdisc.thing, qdisc.value);
    }
    if let Some(ethtool) = ethtool {
        for (thing, value) in ethtool.all(&devices)? {
            add(thing, value);
        }
    }
    if has_ipsec {
        for (thing, value) in policies()? {
            add(thing, value);
        }
    }
    Ok(Standing {
        known: known.into_inner(),
        devices,
        links,
        addresses: addresses.into_inner(),
        expiry,
        others: others.into_inner(),
    })
}

/// Reads for whom the node answers in the namespace that is asked: they are listed apart from other neighbours, and no change of them
/// is told. `None` where the list changed while it was told.
///
/// # Errors
/// Where the kernel does not tell.
pub(super) fn proxies(asker: &Asker, devices: &Devices) -> Result<Option<BTreeSet<Thing>>, netlink::Error> {
    let all = asker.list(neighbour::GET, &neighbour::PROXIES, |body| {
        Some(neighbour::proxy(body, devices))
    })?;
    Ok(all.map(|all| all.into_iter().flatten().collect()))
}

/// What the kernel tells of the device with this index in the namespace of this thread, as [`link::parse`] reads it.
///
/// # Errors
/// Where the kernel does not tell.
pub(super) fn device(index: u32) -> Result<Option<Vec<u8>>, netlink::Error> {
    let mut header = [0; link::HEADER];
    // `struct ifinfomsg`: the index is behind family and type.
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let request = [&header[..], &WITHOUT_COUNTERS].concat();
    netlink::get(ROUTE, link::GET, &request, |body| Some(body.to_vec()))
}

/// Reads the policies of IPsec of the namespace of this thread.
///
/// # Errors
/// Where the kernel does not tell.
pub(super) fn policies() -> Result<Vec<(Thing, String)>, netlink::Error> {
    let all = netlink::dump(XFRM, ipsec::GET, &[0; ipsec::HEADER], |body| {
        Some(ipsec::parse(body))
    })?;
    Ok(all.into_iter().flatten().collect())
}

/// Reads the routes of the namespace of this thread, and the next hops that they name; and when the first route ends by itself.
///
/// # Errors
/// Where the kernel does not tell.
pub(super) fn routes(devices: &Devices) -> Result<(Known, Expiry), netlink::Error> {
    let known = RefCell::new(Known::default());
    let expiry = Cell::new(Expiry::default());
    for family in [IPV4, IPV6] {
        list(route::GET, &of(family, route::HEADER), &|body| {
            let Some(route) = route::parse(body, devices) else {
                return;
            };
            if let Some(left) = route.left {
                let mut first = expiry.get();
                first.note(left, Instant::now());
                expiry.set(first);
            }
            if !route.is_over() {
                known.borrow_mut().add(route.thing, route.value);
            }
        })?;
    }
    list(nexthop::GET, &[0; nexthop::HEADER], &|body| {
        if let Some((thing, value)) = nexthop::parse(body, devices) {
            known.borrow_mut().add(thing, value);
        }
    })?;
    Ok((known.into_inner(), expiry.get()))
}

/// What [`routes`] reads.
pub(super) fn is_route(thing: &Thing) -> bool {
    matches!(thing, Thing::Route { .. } | Thing::Nexthop { .. })
}

/// The neighbours that routes lead by.
pub(super) fn gateways(known: &Known) -> BTreeSet<IpAddr> {
    let routes = known
        .iter()
        .filter(|(thing, _)| matches!(thing, Thing::Route { .. }));
    routes
        .flat_map(|(_, values)| values)
        .flat_map(|value| route::gateways(value))
        .collect()
}

/// A list; false, and nothing in it, where this kernel has no such things (IPv6, rules of it, or qdiscs).
fn list(request: u16, body: &[u8], take: &dyn Fn(&[u8])) -> Result<bool, netlink::Error> {
    let read = netlink::dump(ROUTE, request, body, |body| {
        take(body);
        Some(())
    });
    is_there(read)
}

/// Whether this kernel has what was asked for.
fn is_there<T>(read: Result<T, netlink::Error>) -> Result<bool, netlink::Error> {
    let has_none = |error: &netlink::Error| {
        error.is_unsupported()
            || error.is_no_such_request()
            || error.is_of_no_such_family()
            || error.is_gone()
    };
    match read {
        Err(error) if has_none(&error) => Ok(false),
        read => read.map(|_| true),
    }
}

/// The header of a request, which begins with the family.
fn of(family: u8, length: usize) -> Vec<u8> {
    let mut body = vec![0; length];
    body[0] = family;
    body
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refused(number: i32) -> Result<(), netlink::Error> {
        Err(netlink::Error::Refused {
            request: rule::GET,
            source: io::Error::from_raw_os_error(number),
        })
    }

    #[test]
    fn what_a_kernel_has_not_is_an_empty_list() {
        for number in [
            libc::EAFNOSUPPORT,
            libc::EOPNOTSUPP,
            libc::EPROTONOSUPPORT,
            libc::EINVAL,
            libc::ENODEV,
        ] {
            assert!(!is_there(refused(number)).unwrap(), "{number}");
        }
        assert!(is_there(Ok(())).unwrap());
        assert!(is_there(refused(libc::EPERM)).is_err());
    }

    #[test]
    fn a_family_without_rules_is_empty() {
        // AF_DECnet: no kernel has rules of it any more.
        assert!(!list(rule::GET, &of(12, rule::HEADER), &|_| ()).unwrap());
    }

    #[test]
    fn all_of_this_namespace_can_be_read() {
        let standing = everything(false, None).unwrap();
        for version in [Version::V4, Version::V6] {
            let has_rules = standing
                .known
                .iter()
                .any(|(thing, _)| matches!(thing, Thing::Rule { version: of, .. } if *of == version));
            let has_none = standing.known.has(&Thing::NoRules { version });
            assert!(!(has_rules && has_none), "{version}");
        }
    }
}
