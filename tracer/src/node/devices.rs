//! Network devices and their addresses, and which of them are uplinks.

use std::collections::{BTreeMap, BTreeSet};

use super::links::{BRIDGE, Link, has_device_in_sys, links};
use super::netlink;
use super::peers::End;
use super::{Netns, namespace};
use crate::event::{Capability, CapabilityState, Device, Peer};

/// The capability's name.
pub const CAPABILITY: &str = "uplinks";

/// Notes that are told; the rest is counted.
const NOTES: usize = 4;
/// Why the devices cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// The kernel does not tell.
    #[error("cannot list the devices of network namespace `{netns}`: {source}")]
    Netlink {
        /// Name of the namespace.
        netns: String,
        /// What is wrong.
        source: netlink::Error,
    },
    /// `--uplink` names a device that no watched namespace has.
    #[error("there is no device `{name}`; there are: {present}")]
    Unknown {
        /// As the user wrote it.
        name: String,
        /// The names that there are, with commas.
        present: String,
    },
}

/// The devices of some namespaces.
#[derive(Debug, Default)]
pub struct Devices {
    /// In the kernel's order, namespace by namespace. Of a [`Device::peer`] the namespace is not known yet.
    pub devices: Vec<Device>,
    /// Those of them that are linked to a device of another namespace.
    pub ends: Vec<End>,
    /// What must be known about uplinks; empty where there is nothing.
    pub notes: Vec<Note>,
    /// By inode, what tells a namespace from an earlier one with the same inode, see [`crate::event::Namespace::cookie`].
    pub cookies: BTreeMap<u32, u64>,
}

/// What must be known about the uplinks of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Inode of the namespace.
    pub netns: u32,
    /// It is no more than that uplinks are assumed, as they are for every pod.
    pub assumed: bool,
    /// A sentence.
    pub text: String,
}

/// The capability `uplinks`: partial where something must be known.
#[must_use]
pub fn capability<'a>(notes: impl IntoIterator<Item = &'a Note>) -> Capability {
    let mut texts: Vec<&str> = notes.into_iter().map(|note| note.text.as_str()).collect();
    let more = texts.len().saturating_sub(NOTES);
    texts.truncate(NOTES);
    let mut why = texts.join(" ");
    if more > 0 {
        why += &format!(" And {more} more of this kind.");
    }
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

/// A device by which packets reach the guest, as the user names it: `eth0`, or `NETNS:eth0` with the name of its
/// namespace.
#[must_use]
pub fn is_named(named: &[String], netns: &Netns, device: &str) -> bool {
    named.iter().any(|name| match name.rsplit_once(':') {
        Some((owner, name)) => owner == netns.name() && name == device,
        None => name == device,
    })
}

/// The names with that of the namespace `own` for those that it has: beside them the devices of pods that are called
/// alike are not meant.
#[must_use]
pub fn settled(names: &[String], own: &Netns, devices: &[Device]) -> Vec<String> {
    let has = |name: &String| {
        devices
            .iter()
            .any(|device| device.netns == own.inode() && device.name == *name)
    };
    let settle = |name: &String| {
        if has(name) {
            format!("{}:{name}", own.name())
        } else {
            name.clone()
        }
    };
    names.iter().map(settle).collect()
}

/// Each of these names is that of a device of one of these namespaces.
///
/// # Errors
/// The first that none has.
pub fn require(names: &[String], namespaces: &[Netns], devices: &[Device]) -> Result<(), Error> {
    let is_there = |name: &&String| {
        let name = std::slice::from_ref(*name);
        namespaces.iter().any(|netns| {
            let mut here = devices.iter().filter(|device| device.netns == netns.inode());
            here.any(|device| is_named(name, netns, &device.name))
        })
    };
    let Some(unknown) = names.iter().find(|name| !is_there(name)) else {
        return Ok(());
    };
    let mut present: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    present.sort_unstable();
    present.dedup();
    Err(Error::Unknown {
        name: unknown.clone(),
        present: present.join(", "),
    })
}

/// Lists the devices of some namespaces, with their addresses.
///
/// Uplinks are those with a hardware parent, and those that the user names. Where such a device is a port of a
/// bridge, the bridge is the uplink in its place. Where a namespace has none of these, every device of it but
/// loopback is taken for an uplink. All that is said in a note.
///
/// # Errors
/// Where a namespace cannot be entered, or the kernel does not tell.
pub fn list(namespaces: &[Netns], uplinks: &[String]) -> Result<Devices, Error> {
    let mut found = Devices::default();
    for netns in namespaces {
        match found.read(netns, uplinks) {
            // Among many, one may end at any time; the one that the user asked for must be there.
            Err(Error::Namespace(namespace::Error::Ended { name })) if namespaces.len() > 1 => found.note(
                netns,
                false,
                format!("Network namespace `{name}` ended before its devices were read."),
            ),
            done => done?,
        }
    }
    Ok(found)
}

impl Devices {
    /// Adds the devices of one more namespace.
    ///
    /// # Errors
    /// As for [`list`].
    pub fn read(&mut self, netns: &Netns, uplinks: &[String]) -> Result<(), Error> {
        let (links, cookie) = netns.enter(|| (links(), netlink::namespace_cookie()))?;
        let mut links = links.map_err(|source| Error::Netlink {
            netns: netns.name().to_owned(),
            source,
        })?;
        // Before 5.14 no device has the attribute; then /sys tells, but only of our own namespace.
        if links.iter().all(|link| !link.hardware) && netns.is_current() {
            links
                .iter_mut()
                .for_each(|link| link.hardware = has_device_in_sys(link));
        }
        self.cookies.insert(netns.inode(), cookie);
        self.add(netns, links, uplinks);
        Ok(())
    }

    /// Reads those of a namespace again, as others are uplinks.
    ///
    /// # Errors
    /// As for [`list`].
    pub fn again(&mut self, netns: &Netns, uplinks: &[String]) -> Result<(), Error> {
        let inode = netns.inode();
        self.devices.retain(|device| device.netns != inode);
        self.notes.retain(|note| note.netns != inode);
        self.ends.retain(|end| end.netns != inode);
        self.read(netns, uplinks)
    }

    fn note(&mut self, netns: &Netns, assumed: bool, text: String) {
        self.notes.push(Note {
            netns: netns.inode(),
            assumed,
            text,
        });
    }

    fn add(&mut self, netns: &Netns, links: Vec<Link>, named: &[String]) {
        let is_uplink = |link: &&Link| link.hardware || is_named(named, netns, &link.name);
        let mut uplinks: BTreeSet<u32> = links.iter().filter(is_uplink).map(|link| link.index).collect();
        for uplink in links.iter().filter(is_uplink) {
            let Some((port, switch)) = uplink.switch(&links) else {
                continue;
            };
            uplinks.remove(&uplink.index);
            let by = if port.index == uplink.index {
                String::new()
            } else {
                format!(", by {},", port.name)
            };
            if switch.kind == BRIDGE {
                uplinks.insert(switch.index);
                self.note(netns, false, format!(
                    "{} is{by} a port of the bridge {}, which is the uplink in its place: what the bridge hands to \
                     other ports, and what is lost before it, is not in the ledger.",
                    uplink.name, switch.name
                ));
            } else {
                self.note(netns, false, format!(
                    "{} is{by} a port of {}, an Open vSwitch: name the device by which its packets come to this \
                     node with --uplink.",
                    uplink.name, switch.name
                ));
            }
        }
        for port in links.iter().filter(|link| link.stands_on_a_link()) {
            let below = links.iter().find(|link| link.index == port.link);
            if let (Some(below), Some((_, switch))) = (below, port.switch(&links))
                && below.leads_to(&uplinks, &links)
            {
                self.note(
                    netns,
                    false,
                    format!(
                        "{} is on {} and a port of {}: what comes to this node that way stays unexplained.",
                        port.name, below.name, switch.name
                    ),
                );
            }
        }
        let assume = uplinks.is_empty() && (named.is_empty() || !links.iter().any(|link| is_uplink(&link)));
        if uplinks.is_empty() && !assume {
            self.note(
                netns,
                false,
                format!("Network namespace `{}` has no uplink.", netns.name()),
            );
        }
        self.ends.extend(links.iter().filter_map(|link| {
            Some(End {
                netns: netns.inode(),
                index: link.index,
                other: link.other?,
                nsid: link.nsid?,
            })
        }));
        let first = self.devices.len();
        let over: Vec<Vec<u32>> = links.iter().map(|link| link.over(&links, &uplinks)).collect();
        self.devices
            .extend(links.into_iter().zip(over).map(|(link, over)| Device {
                netns: netns.inode(),
                index: link.index,
                uplink: if assume {
                    !link.loopback && over.is_empty()
                } else {
                    uplinks.contains(&link.index)
                },
                assumed: assume && !link.loopback && over.is_empty(),
                name: link.name,
                addresses: link.addresses,
                over,
                peer: link.nsid.and(link.other).map(|index| Peer { netns: 0, index }),
            }));
        if assume {
            let taken: Vec<&str> = self.devices[first..]
                .iter()
                .filter(|device| device.uplink)
                .map(|device| device.name.as_str())
                .collect();
            let text = if taken.is_empty() {
                format!(
                    "Network namespace `{}` has no device but loopback: nothing can arrive.",
                    netns.name()
                )
            } else {
                format!(
                    "Network namespace `{}` has no device with a hardware parent: {} taken as uplink; name \
                     others with --uplink.",
                    netns.name(),
                    taken.join(", ")
                )
            };
            self.note(netns, true, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn link(index: u32, name: &str, hardware: bool) -> Link {
        Link {
            index,
            name: name.to_owned(),
            loopback: name == "lo",
            hardware,
            ..Link::default()
        }
    }

    /// Names of the uplinks among these, and the notes.
    fn uplinks(links: Vec<Link>, named: &[&str]) -> (Vec<String>, Vec<String>) {
        let named: Vec<String> = named.iter().map(ToString::to_string).collect();
        let mut devices = Devices::default();
        devices.add(&Netns::current().unwrap(), links, &named);
        let names = devices
            .devices
            .into_iter()
            .filter(|device| device.uplink)
            .map(|device| device.name);
        let notes = devices.notes.into_iter().map(|note| note.text);
        (names.collect(), notes.collect())
    }

    #[test]
    fn uplinks_have_a_hardware_parent_or_are_named() {
        let links = || {
            vec![
                link(1, "lo", false),
                link(2, "eth0", true),
                link(3, "veth0", false),
            ]
        };
        assert_eq!(uplinks(links(), &[]), (vec!["eth0".to_owned()], vec![]));
        assert_eq!(uplinks(links(), &["veth0"]).0, ["eth0", "veth0"]);
    }

    #[test]
    fn without_hardware_all_but_loopback_are_taken_and_that_is_said() {
        let links = || vec![link(1, "lo", false), link(2, "a", false), link(3, "b", false)];
        let (names, notes) = uplinks(links(), &[]);
        assert_eq!(names, ["a", "b"]);
        assert!(
            notes[0].contains("no device with a hardware parent: a, b taken as uplink"),
            "{notes:?}"
        );
        assert_eq!(
            uplinks(links(), &["b"]),
            (vec!["b".to_owned()], vec![]),
            "a name replaces the assumption"
        );
        let (names, notes) = uplinks(vec![link(1, "lo", false)], &[]);
        assert!(
            names.is_empty() && notes[0].contains("nothing can arrive"),
            "{notes:?}"
        );
    }

    #[test]
    fn a_bridge_is_the_uplink_in_place_of_its_port() {
        let links = |kind: &str| {
            vec![
                Link {
                    master: 4,
                    ..link(2, "eth0", true)
                },
                Link {
                    master: 4,
                    ..link(3, "vnet0", false)
                },
                Link {
                    kind: kind.to_owned(),
                    ..link(4, "br0", false)
                },
            ]
        };
        let (names, notes) = uplinks(links("bridge"), &[]);
        assert_eq!(names, ["br0"]);
        assert!(notes[0].contains("eth0 is a port of the bridge br0"), "{notes:?}");
        let (names, notes) = uplinks(links("openvswitch"), &["vnet0"]);
        assert_eq!(names, Vec::<String>::new());
        assert!(
            notes[0].contains("eth0 is a port of br0, an Open vSwitch") && notes[2].contains("no uplink"),
            "{notes:?}"
        );
        assert_eq!(uplinks(links("bond"), &[]), (vec!["eth0".to_owned()], vec![]));
    }

    #[test]
    fn a_bridge_over_a_bond_or_a_vlan_is_told() {
        let of = |kind: &str, index, name, master, link| Link {
            kind: kind.to_owned(),
            master,
            link,
            ..super::tests::link(index, name, false)
        };
        let eth = |index, name| Link {
            master: 4,
            ..link(index, name, true)
        };
        let bonded = vec![
            eth(2, "eth0"),
            eth(3, "eth1"),
            of("bond", 4, "bond0", 5, 0),
            of("bridge", 5, "vmbr0", 0, 0),
        ];
        let (names, notes) = uplinks(bonded, &[]);
        assert_eq!(names, ["vmbr0"]);
        assert!(
            notes[1].contains("eth1 is, by bond0, a port of the bridge vmbr0"),
            "{notes:?}"
        );
        let tagged = vec![
            link(2, "eth0", true),
            of("vlan", 3, "eth0.10", 4, 2),
            of("bridge", 4, "br10", 0, 0),
        ];
        let (names, notes) = uplinks(tagged, &[]);
        assert_eq!(names, ["eth0"]);
        assert!(
            notes[0].contains("eth0.10 is on eth0 and a port of br10"),
            "{notes:?}"
        );
    }

    #[test]
    fn what_stands_on_another_device_is_told() {
        let of = |kind: &str, index, name| Link {
            kind: kind.to_owned(),
            ..link(index, name, false)
        };
        let links = [
            Link {
                master: 5,
                ..link(2, "eth0", true)
            },
            Link {
                master: 5,
                ..link(3, "eth1", true)
            },
            Link {
                link: 5,
                ..of("vlan", 4, "bond0.7")
            },
            of("bond", 5, "bond0"),
            Link {
                link: 2,
                ..of("veth", 6, "veth0")
            },
            Link {
                master: 7,
                ..of("veth", 8, "veth1")
            },
            of("bridge", 7, "docker0"),
            Link {
                link: 2,
                ..of("vxlan", 9, "flannel.1")
            },
            of("vxlan", 10, "cilium_vxlan"),
        ];
        let uplinks = [5].into();
        let over: Vec<Vec<u32>> = links.iter().map(|link| link.over(&links, &uplinks)).collect();
        assert_eq!(
            over,
            [
                vec![],
                vec![],
                vec![5],
                vec![2, 3],
                vec![],
                vec![],
                vec![],
                vec![2],
                vec![5]
            ]
        );
    }

    #[test]
    fn this_namespace_has_loopback_and_matches_sys() {
        let here = Netns::current().unwrap();
        let found = list(std::slice::from_ref(&here), &[]).unwrap();
        let lo = found.devices.iter().find(|device| device.name == "lo").unwrap();
        assert_eq!(
            (lo.index, lo.netns, lo.uplink),
            (tracer_ebpf::LOOPBACK, here.inode(), false)
        );
        for link in here.enter(links).unwrap().unwrap() {
            let folder = format!("/sys/class/net/{}", link.name);
            if fs::read_to_string(format!("{folder}/ifindex"))
                .is_ok_and(|i| i.trim() == link.index.to_string())
            {
                assert_eq!(
                    link.hardware,
                    fs::exists(format!("{folder}/device")).unwrap(),
                    "{}",
                    link.name
                );
                assert_eq!(link.hardware, has_device_in_sys(&link));
            }
        }
    }

    #[test]
    fn an_unknown_uplink_is_named_with_those_that_there_are() {
        let named = ["lo".to_owned(), "nope0".to_owned()];
        let found = list(&[Netns::current().unwrap()], &named).unwrap();
        let here = [Netns::current().unwrap()];
        let text = require(&named, &here, &found.devices).unwrap_err().to_string();
        assert!(
            text.starts_with("there is no device `nope0`; there are: ") && text.contains("lo"),
            "{text}"
        );
    }
}
