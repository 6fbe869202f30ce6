//! Addresses of the node (`ip address`).

use std::collections::{BTreeMap, BTreeSet};

use super::super::netlink::{attributes, string, u32_at};
use super::words::{Devices, address, scope, sentence, unspecified};
use crate::event::{Renamed, Thing, Unknown, value};

// include/uapi/linux/{rtnetlink,if_addr}.h
pub(super) const GET: u16 = 22;
pub(super) const NEW: u16 = 20;
pub(super) const DELETE: u16 = 21;
/// Length of `struct ifaddrmsg`.
pub(super) const HEADER: usize = 8;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_OPTIMISTIC: u32 = 0x04;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_DEPRECATED: u32 = 0x20;
const IFA_F_TENTATIVE: u32 = 0x40;
const IFA_F_PERMANENT: u32 = 0x80;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;

/// An address and how it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) thing: Thing,
    pub(super) value: String,
    /// IPv6 still looks for another node that has it, as it does with each that is new: until then it is not used. That is
    /// no part of the value.
    pub(super) is_unsettled: bool,
    /// When it was set, as the kernel counts, and whether it is no longer preferred.
    set: Option<(u32, bool)>,
}

/// An address; `None` for what is none of IPv4 or IPv6.
/// `struct ifaddrmsg` { u8 family, prefix length, flags, scope; u32 index }
pub(super) fn parse(body: &[u8], devices: &Devices) -> Option<Address> {
    let &[family, prefix, short_flags, reach, ..] = body else {
        return None;
    };
    unspecified(family)?;
    let index = u32_at(body, 4)?;
    let mut flags = u32::from(short_flags);
    let (mut own, mut other) = (None, None);
    let (mut label, mut metric) = (String::new(), String::new());
    for (kind, value) in attributes(body.get(HEADER..)?) {
        match kind {
            1 => other = address(value),
            2 => own = address(value),
            3 => label = string(value),
            9 => metric = format!("{} {}", value::METRIC, u32_at(value, 0)?),
            8 => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    // On a point-to-point device IFA_ADDRESS is the peer's; IPv6 otherwise has no IFA_LOCAL.
    let address = own.or(other)?;
    let peer = other.filter(|other| *other != address);
    let device = devices.name(index);
    // Without another one the kernel takes the device's name. One that is no single word is nobody's that can be set.
    let has_label = label != device
        && !label.is_empty()
        && !label.contains(|c: char| c.is_whitespace() || c.is_control());
    let flag = |flag: u32, word: &str| {
        if flags & flag == 0 {
            String::new()
        } else {
            word.to_owned()
        }
    };
    let words = [
        peer.map_or_else(String::new, |peer| format!("{} {peer}", value::PEER)),
        format!("{} {}", value::SCOPE, scope(reach)),
        if has_label {
            format!("{} {label}", value::LABEL)
        } else {
            String::new()
        },
        metric,
        if flags & IFA_F_PERMANENT == 0 {
            "dynamic".to_owned()
        } else {
            String::new()
        },
        flag(IFA_F_DEPRECATED, "deprecated"),
        flag(IFA_F_NOPREFIXROUTE, value::NO_ROUTE),
        flag(IFA_F_NODAD, value::NO_SEARCH),
        flag(IFA_F_DADFAILED, value::DUPLICATE),
    ];
    Some(Address {
        thing: Thing::Address {
            device,
            address,
            prefix,
        },
        value: sentence(words),
        is_unsettled: flags & IFA_F_TENTATIVE != 0 && flags & IFA_F_OPTIMISTIC == 0,
        set: times(body).map(|times| (times.set, flags & IFA_F_DEPRECATED != 0)),
    })
}

/// The time is over for which the address was set: then the kernel takes it away by itself (`check_lifetime`,
/// `addrconf_verify_rtnl`).
fn is_over(body: &[u8]) -> bool {
    let is_permanent = body
        .get(2)
        .is_some_and(|flags| u32::from(*flags) & IFA_F_PERMANENT != 0);
    !is_permanent && times(body).is_some_and(|times| times.valid == 0)
}

/// `struct ifa_cacheinfo` { u32 preferred, valid, created, changed }: the first two in seconds from now, the others when that was.
struct Times {
    preferred: u32,
    valid: u32,
    set: u32,
}

fn times(body: &[u8]) -> Option<Times> {
    let (_, value) = attributes(body.get(HEADER..)?).find(|(kind, _)| *kind == 6)?;
    Some(Times {
        preferred: u32_at(value, 0)?,
        valid: u32_at(value, 4)?,
        set: u32_at(value, 12)?,
    })
}

/// What is known of own addresses beside their values.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Those that are not used yet.
    pub(super) unsettled: BTreeSet<Thing>,
    /// When each was set, and whether it is no longer preferred.
    set: BTreeMap<Thing, (u32, bool)>,
}

impl Addresses {
    /// It stands so. Returns whether it is used as it was before.
    pub(super) fn note(&mut self, address: &Address) -> bool {
        let thing = &address.thing;
        match address.set {
            Some(set) => self.set.insert(thing.clone(), set),
            None => self.set.remove(thing),
        };
        let was_unsettled = self.unsettled.remove(thing);
        if address.is_unsettled {
            self.unsettled.insert(thing.clone());
        }
        was_unsettled == address.is_unsettled
    }

    /// It is gone. Returns whether it was not used yet.
    pub(super) fn forget(&mut self, thing: &Thing) -> bool {
        self.set.remove(thing);
        self.unsettled.remove(thing)
    }

    pub(super) fn rename(&mut self, renamed: Renamed<'_>) {
        let now = |thing: Thing| renamed.thing(&thing).unwrap_or(thing);
        self.unsettled = std::mem::take(&mut self.unsettled).into_iter().map(now).collect();
        let set = std::mem::take(&mut self.set).into_iter();
        self.set = set.map(|(thing, set)| (now(thing), set)).collect();
    }

    /// Why a message comes that names nobody, where the kernel does what it tells by itself. Whoever sets an address no longer to be
    /// preferred sets it anew.
    pub(super) fn by_itself(&self, kind: u16, body: &[u8], devices: &Devices) -> Option<Unknown> {
        if kind == DELETE {
            return is_over(body).then_some(Unknown::Expired);
        }
        let address = parse(body, devices).filter(|_| kind == NEW)?;
        let (set, is_deprecated) = address
            .set
            .filter(|_| times(body).is_some_and(|times| times.preferred == 0))?;
        let before = self.set.get(&address.thing);
        (is_deprecated && before == Some(&(set, false))).then_some(Unknown::Deprecated)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::words::tests::{attribute, devices, survives};
    use super::*;

    fn message(header: [u8; 4], more: &[Vec<u8>]) -> Vec<u8> {
        [&header[..], &2_u32.to_ne_bytes(), &more.concat()].concat()
    }

    fn told(body: &[u8]) -> (String, String) {
        let address = parse(body, &devices()).unwrap();
        (address.thing.to_string(), address.value)
    }

    #[test]
    fn addresses_are_told() {
        let own = attribute(2, &[10, 0, 0, 2]);
        let body = message([2, 24, 0x80, 0], &[attribute(1, &[10, 0, 0, 2]), own.clone()]);
        assert_eq!(
            told(&body),
            (
                "address 10.0.0.2/24 on eth0".to_owned(),
                "scope global".to_owned()
            )
        );
        let peer = message([2, 32, 0x80, 0], &[attribute(1, &[10, 0, 0, 9]), own]);
        assert_eq!(told(&peer).1, "peer 10.0.0.9 scope global");
        let kept = [
            attribute(3, b"eth0:1\0"),
            attribute(9, &1024_u32.to_ne_bytes()),
            attribute(8, &0x282_u32.to_ne_bytes()),
        ];
        let more = [&[attribute(2, &[10, 0, 0, 2])], &kept[..]].concat();
        assert_eq!(
            told(&message([2, 24, 0x80, 253], &more)).1,
            "scope link label eth0:1 metric 1024 noprefixroute nodad"
        );
        for usual in ["eth0", "", "eth0:a scope host"] {
            let label = attribute(3, format!("{usual}\0").as_bytes());
            let body = message([2, 24, 0x80, 0], &[attribute(2, &[10, 0, 0, 2]), label]);
            assert_eq!(told(&body).1, "scope global", "{usual}");
        }
        let six = [&[0xfe, 0x80][..], &[0; 13], &[1]].concat();
        let more = [attribute(1, &six), attribute(8, &0x68_u32.to_ne_bytes())];
        let six = message([10, 64, 0, 253], &more);
        assert_eq!(
            told(&six),
            (
                "address fe80::1/64 on eth0".to_owned(),
                "scope link dynamic deprecated dadfailed".to_owned()
            )
        );
        let [body_value, peer_value, six_value] = [&body, &peer, &six].map(|body| told(body).1);
        assert!(
            value::is_global(&body_value) && value::is_global(&peer_value) && !value::is_global(&six_value)
        );
        assert!(value::is_duplicate(&six_value) && !value::is_duplicate(&body_value));
        assert_eq!(value::peer(&peer_value), Some(IpAddr::from([10, 0, 0, 9])));
        assert_eq!(value::peer(&body_value), None);
        assert!(parse(&six, &devices()).unwrap().is_unsettled);
        assert!(!parse(&body, &devices()).unwrap().is_unsettled);
        survives(&six, &|body| drop(parse(body, &devices())));
        let times = |valid: u32| {
            let times = [0, valid, 7, 7].map(u32::to_ne_bytes).concat();
            message(
                [2, 24, 0, 0],
                &[attribute(2, &[10, 0, 0, 2]), attribute(6, &times)],
            )
        };
        assert!(is_over(&times(0)) && !is_over(&times(1)) && !is_over(&times(u32::MAX)) && !is_over(&body));
        assert_eq!(parse(&message([12, 0, 0, 0], &[]), &devices()), None);
    }

    #[test]
    fn that_one_is_preferred_no_longer_is_by_the_kernel_unless_it_is_set_anew() {
        let own = attribute(2, &[10, 0, 0, 2]);
        let message = |flags: u32, preferred: u32, set: u32| {
            let times = [preferred, 9, 7, set].map(u32::to_ne_bytes).concat();
            let more = [
                own.clone(),
                attribute(8, &flags.to_ne_bytes()),
                attribute(6, &times),
            ];
            message([2, 24, 0, 0], &more)
        };
        let mut addresses = Addresses::default();
        let over = message(IFA_F_DEPRECATED, 0, 100);
        let why = |addresses: &Addresses, body: &[u8]| addresses.by_itself(NEW, body, &devices());
        assert_eq!(why(&addresses, &over), None, "nobody knows how it stood before");
        let note = |addresses: &mut Addresses, body: &[u8]| addresses.note(&parse(body, &devices()).unwrap());
        note(&mut addresses, &message(0, 5, 100));
        assert_eq!(why(&addresses, &over), Some(Unknown::Deprecated));
        assert_eq!(
            why(&addresses, &message(IFA_F_DEPRECATED, 0, 200)),
            None,
            "somebody has set it"
        );
        assert_eq!(why(&addresses, &message(0, 5, 100)), None);
        let renamed = Renamed {
            from: "eth0",
            to: "eth0",
        };
        addresses.rename(renamed);
        note(&mut addresses, &over);
        assert_eq!(why(&addresses, &over), None, "it was so before");
        assert_eq!(
            addresses.by_itself(DELETE, &over, &devices()),
            None,
            "it is valid yet"
        );
    }
}
