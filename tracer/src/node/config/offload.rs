//! Offloads of devices (`ethtool -k`): what a device, its driver or the stack does for many packets at once, and what of that is
//! switched off.
//!
//! The kernel tells changes by a group of generic netlink, whoever makes them and by whatever way (`NETDEV_FEAT_CHANGE`), but
//! not who that is.

use std::sync::Arc;

use super::super::netlink::{self, Listener, attributes, string, u16_at, u32_at};
use super::known::{Change, Known};
use super::words::Devices;
use crate::event::{Thing, value};

// include/uapi/linux/{genetlink,ethtool_netlink,ethtool}.h
/// The family that lists the families.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
/// `ETHTOOL_GENL_NAME` and `ETHTOOL_MCGRP_MONITOR_NAME`
const FAMILY: &str = "ethtool";
const GROUP: &str = "monitor";
/// `ETHTOOL_MSG_STRSET_GET`, `ETHTOOL_MSG_FEATURES_GET`
const GET_STRINGS: u8 = 1;
const GET_FEATURES: u8 = 11;
/// What the kernel sends: `ETHTOOL_MSG_FEATURES_NTF`
const CHANGED: u8 = 13;
const ETH_SS_FEATURES: u32 = 4;
const ETHTOOL_FLAG_COMPACT_BITSETS: u32 = 1;
/// Length of `struct genlmsghdr` { u8 command, version; u16 reserved }.
const HEADER: usize = 4;
const NESTED: u16 = 0x8000;

/// The part of the kernel that tells them. It is built in where it is there at all, so that asking it loads nothing; and it is
/// found by a list, since to ask for a family that there is not makes the kernel look for a module (`ctrl_getfamily`).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ethtool {
    /// The number of its messages.
    family: u16,
    /// Where it tells changes.
    group: u32,
    /// What each feature is called, by its bit.
    names: Vec<String>,
}

impl Ethtool {
    /// Finds it.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) fn find() -> Result<Arc<Self>, String> {
        let asked = request(GET_FAMILY, &[]);
        let families = netlink::dump(netlink::GENERIC, CONTROL, &asked, |body| Some(family(body)));
        let families = families.map_err(|error| error.to_string())?;
        let Some((family, group)) = families.into_iter().flatten().next() else {
            return Err("this kernel has no netlink of ethtool".to_owned());
        };
        let set = attribute(1, &ETH_SS_FEATURES.to_ne_bytes());
        // Of no device. Without this the kernel finds nothing to answer.
        let header = nested(1, &[]);
        let sets = nested(2, &nested(1, &set));
        let asked = request(GET_STRINGS, &[header, sets].concat());
        let names = netlink::get(netlink::GENERIC, family, &asked, |body| Some(names(body)));
        match names.map_err(|error| error.to_string())? {
            Some(names) => Ok(Arc::new(Self { family, group, names })),
            None => Err("the kernel does not tell what the features are called".to_owned()),
        }
    }

    /// Listens to changes in the namespace of this thread.
    ///
    /// # Errors
    /// Where that does not work.
    pub(super) fn listen(&self) -> Result<Listener, netlink::Error> {
        Listener::open(netlink::GENERIC, &[self.group])
    }

    /// Those of all devices of this thread's namespace.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub(super) fn all(&self, devices: &Devices) -> Result<Vec<(Thing, String)>, netlink::Error> {
        let flags = attribute(3, &ETHTOOL_FLAG_COMPACT_BITSETS.to_ne_bytes());
        let asked = request(GET_FEATURES, &nested(1, &flags));
        let all = netlink::dump(netlink::GENERIC, self.family, &asked, |body| {
            Some(self.parse(body, devices))
        })?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Those of one device of this thread's namespace; `None` where it is gone or has none that could be switched.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub(super) fn of(
        &self,
        index: u32,
        devices: &Devices,
    ) -> Result<Option<(Thing, String)>, netlink::Error> {
        let which = [
            attribute(1, &index.to_ne_bytes()),
            attribute(3, &ETHTOOL_FLAG_COMPACT_BITSETS.to_ne_bytes()),
        ];
        let asked = request(GET_FEATURES, &nested(1, &which.concat()));
        let told = netlink::get(netlink::GENERIC, self.family, &asked, |body| {
            Some(self.parse(body, devices))
        });
        match told {
            Err(error) if error.is_gone() => Ok(None),
            told => Ok(told?.flatten()),
        }
    }

    /// What a message changes.
    pub(super) fn take(
        &self,
        kind: u16,
        body: &[u8],
        devices: &Devices,
        known: &mut Known,
    ) -> Option<Change> {
        // Other things that change are told by the same group.
        if kind != self.family || body.first() != Some(&CHANGED) {
            return None;
        }
        let (thing, value) = self.parse(body, devices)?;
        known.set(thing, value)
    }

    /// `all but rx-checksum, rx-gro`, of those that can be switched.
    fn parse(&self, body: &[u8], devices: &Devices) -> Option<(Thing, String)> {
        let (mut index, mut switchable, mut active) = (None, Vec::new(), Vec::new());
        for (kind, value) in attributes(body.get(HEADER..)?) {
            match kind {
                // ETHTOOL_A_FEATURES_HEADER, _HW, _ACTIVE
                1 => index = member(value, 1).and_then(|index| u32_at(index, 0)),
                2 => switchable = words(value),
                4 => active = words(value),
                _ => {}
            }
        }
        let has = |words: &[u32], bit: usize| {
            let word = words.get(bit / 32).copied().unwrap_or_default();
            word >> (bit % 32) & 1 != 0
        };
        let bits = switchable.len() * 32;
        let can: Vec<usize> = (0..bits).filter(|bit| has(&switchable, *bit)).collect();
        if can.is_empty() {
            return None;
        }
        let off: Vec<String> = can
            .into_iter()
            .filter(|bit| !has(&active, *bit))
            .map(|bit| match self.names.get(bit) {
                Some(name) if !name.is_empty() => name.clone(),
                _ => format!("bit {bit}"),
            })
            .collect();
        let value = match off.as_slice() {
            [] => value::ALL.to_owned(),
            off => format!("{}{}", value::ALL_BUT, off.join(value::OF_OFFLOADS)),
        };
        let device = devices.name(index?);
        Some((Thing::Offloads { device }, value))
    }
}

/// `CTRL_ATTR_FAMILY_ID` and the number of its group, where the message is of the family that is looked for.
fn family(body: &[u8]) -> Option<(u16, u32)> {
    let told = body.get(HEADER..)?;
    let name = member(told, 2).map(string)?;
    if name != FAMILY {
        return None;
    }
    // CTRL_ATTR_MCAST_GROUPS: of each its CTRL_ATTR_MCAST_GRP_NAME and _ID.
    let group = attributes(member(told, 7)?).find_map(|(_, group)| {
        let name = member(group, 1).map(string)?;
        (name == GROUP).then(|| u32_at(member(group, 2)?, 0))?
    });
    Some((u16_at(member(told, 1)?, 0)?, group?))
}

/// `ETHTOOL_A_STRSET_STRINGSETS`, the first set, and of its strings each one's number and text.
fn names(body: &[u8]) -> Vec<String> {
    let set = || {
        let sets = member(body.get(HEADER..)?, 2)?;
        member(member(sets, 1)?, 3)
    };
    let mut names = Vec::new();
    for (_, one) in attributes(set().unwrap_or_default()) {
        let bit = member(one, 1).and_then(|bit| usize::try_from(u32_at(bit, 0)?).ok());
        // The kernel has 64; nobody makes this take more room.
        if let (Some(bit @ 0..1024), Some(name)) = (bit, member(one, 2)) {
            if names.len() <= bit {
                names.resize(bit + 1, String::new());
            }
            names[bit] = string(name);
        }
    }
    names
}

/// `ETHTOOL_A_BITSET_VALUE`: bits in words of 32, where the message has them so.
fn words(bitset: &[u8]) -> Vec<u32> {
    let value = member(bitset, 4).unwrap_or_default();
    value.chunks_exact(4).filter_map(|word| u32_at(word, 0)).collect()
}

fn member(within: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(within).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

fn request(command: u8, attributes: &[u8]) -> Vec<u8> {
    [&[command, 1, 0, 0], attributes].concat()
}

fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, value)
}

/// An attribute of a few bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{devices, survives};
    use super::*;

    fn ethtool() -> Ethtool {
        Ethtool {
            family: 20,
            group: 7,
            names: ["tx-scatter-gather", "rx-checksum", "", "rx-gro"]
                .map(str::to_owned)
                .into(),
        }
    }

    fn message(command: u8, switchable: u32, active: u32) -> Vec<u8> {
        let bits = |bits: u32| attribute(4, &[bits.to_ne_bytes(), 0_u32.to_ne_bytes()].concat());
        let body = [
            nested(1, &attribute(1, &2_u32.to_ne_bytes())),
            nested(2, &bits(switchable)),
            nested(4, &bits(active)),
        ];
        request(command, &body.concat())
    }

    #[test]
    fn what_is_off_of_what_could_be_on_is_told() {
        let value = |switchable, active| {
            let told = ethtool().parse(&message(CHANGED, switchable, active), &devices());
            told.map(|(thing, value)| format!("{thing}: {value}"))
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(value(0b1010, 0b1011), text("offloads of eth0: all"));
        assert_eq!(
            value(0b1011, 0b1000),
            text("offloads of eth0: all but tx-scatter-gather, rx-checksum")
        );
        assert_eq!(
            value(0b10100, 0),
            text("offloads of eth0: all but bit 2, bit 4"),
            "of a newer kernel"
        );
        assert_eq!(value(0, 0b1011), None, "nobody can switch any");
        survives(&message(CHANGED, 0b1010, 0), &|body| {
            drop(ethtool().parse(body, &devices()))
        });
    }

    #[test]
    fn only_changes_of_features_are_changes() {
        let mut known = Known::default();
        let mut take = |kind, command, active| {
            let told = ethtool().take(kind, &message(command, 0b1010, active), &devices(), &mut known);
            told.and_then(|(_, value)| value)
        };
        assert_eq!(take(20, CHANGED, 0b1010).as_deref(), Some("all"));
        assert_eq!(take(20, CHANGED, 0b1010), None, "as before");
        assert_eq!(take(20, 3, 0b1000), None, "of something else");
        assert_eq!(take(21, CHANGED, 0b1000), None, "of another family");
        assert_eq!(take(20, CHANGED, 0b1000).as_deref(), Some("all but rx-checksum"));
    }

    #[test]
    fn this_kernel_tells_them() {
        let ethtool = Ethtool::find().unwrap();
        assert!(
            ethtool.names.iter().any(|name| name == "rx-checksum"),
            "{ethtool:?}"
        );
        ethtool.listen().unwrap();
        let devices = Devices::default();
        for (thing, _) in ethtool.all(&devices).unwrap() {
            assert!(matches!(thing, Thing::Offloads { .. }));
        }
        assert_eq!(
            ethtool.of(u32::MAX >> 1, &devices).unwrap(),
            None,
            "there is no such device"
        );
    }
}
