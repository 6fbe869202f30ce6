//! What a device's new name changes: what is on it, and what leads by it, is called otherwise and stands as before.

use super::value::{DEVICE, LABEL, MASTER, OF_DEVICE, WAYS, former};
use super::{Setting, Thing, of_each_device};

/// A device that has another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Renamed<'a> {
    /// The one that it had.
    pub(crate) from: &'a str,
    /// The one that it has.
    pub(crate) to: &'a str,
}

impl<'a> Renamed<'a> {
    /// What a setting tells of a device, where `is_known` of names: it has the one that another one had, which is there still as
    /// far as is known.
    pub(crate) fn told(setting: &'a Setting, is_known: impl Fn(&str) -> bool) -> Option<Self> {
        let (Thing::Link { device: to }, Some(value)) = (&setting.thing, &setting.value) else {
            return None;
        };
        let from = former(value)?;
        (is_known(from) && !is_known(to)).then_some(Self { from, to })
    }

    /// A thing by its new name; `None` for one that has the same. Rules have the name that somebody wrote there.
    pub(crate) fn thing(self, thing: &Thing) -> Option<Thing> {
        let mut thing = thing.clone();
        match &mut thing {
            Thing::Link { device }
            | Thing::Address { device, .. }
            | Thing::Answer { device, .. }
            | Thing::Offloads { device }
            | Thing::Neighbour { device, .. }
            | Thing::Proxy { device, .. }
            | Thing::Traffic { device, .. }
                if device == self.from =>
            {
                self.to.clone_into(device);
            }
            Thing::Sysctl { name } => {
                let (begin, _, end) = of_each_device(name).filter(|(_, device, _)| *device == self.from)?;
                *name = format!("{begin}{}{end}", self.to);
            }
            _ => return None,
        }
        Some(thing)
    }

    /// The value of a thing with the new name in it; `None` for one that stays the same.
    pub(crate) fn value(self, thing: &Thing, value: &str) -> Option<String> {
        let now = match thing {
            Thing::Route { .. } | Thing::Nexthop { .. } | Thing::Answer { .. } => {
                self.behind(DEVICE, value, " ", WAYS)
            }
            Thing::Address { .. } => self.behind(LABEL, value, " ", WAYS),
            Thing::Link { .. } => self.behind(MASTER, value, " ", OF_DEVICE),
            _ => return None,
        };
        (now != value).then_some(now)
    }

    /// The new name wherever the old one stands behind a word.
    fn behind(self, word: &str, value: &str, between: &str, parts: &str) -> String {
        let part = |part: &str| {
            let mut is_next = false;
            let words = part.split(between).map(|one| {
                let is_it = std::mem::replace(&mut is_next, one == word);
                match one.strip_prefix(self.from) {
                    // `eth0:1` is the label of an address on it.
                    Some(rest) if is_it && (rest.is_empty() || rest.starts_with(':')) => {
                        format!("{}{rest}", self.to)
                    }
                    _ => one.to_owned(),
                }
            });
            words.collect::<Vec<_>>().join(between)
        };
        value.split(parts).map(part).collect::<Vec<_>>().join(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{TABLE_MAIN, Version};

    const RENAMED: Renamed<'_> = Renamed {
        from: "eth0",
        to: "lan.0",
    };

    fn sysctl(name: &str) -> Thing {
        Thing::Sysctl {
            name: name.to_owned(),
        }
    }

    fn link(name: &str) -> Thing {
        Thing::Link {
            device: name.to_owned(),
        }
    }

    #[test]
    fn things_on_a_device_have_its_new_name() {
        let address = |device: &str| Thing::Address {
            device: device.to_owned(),
            address: "10.0.0.2".parse().unwrap(),
            prefix: 24,
        };
        assert_eq!(RENAMED.thing(&address("eth0")), Some(address("lan.0")));
        assert_eq!(RENAMED.thing(&address("eth0.7")), None);
        assert_eq!(
            RENAMED.thing(&sysctl("net.ipv4.conf.eth0.rp_filter")),
            Some(sysctl("net.ipv4.conf.lan.0.rp_filter"))
        );
        assert_eq!(RENAMED.thing(&sysctl("net.ipv4.conf.all.rp_filter")), None);
        let rule = Thing::Rule {
            version: Version::V4,
            priority: 5,
            text: "from all iif eth0 lookup 7".to_owned(),
            table: 7,
        };
        assert_eq!(RENAMED.thing(&rule), None);
    }

    #[test]
    fn values_have_it_where_they_name_a_device() {
        let route = Thing::Route {
            table: TABLE_MAIN,
            action: "unicast".to_owned(),
            destination: "10.0.0.0".parse().unwrap(),
            prefix: 8,
            metric: 0,
        };
        let of_route = |value| RENAMED.value(&route, value);
        assert_eq!(
            of_route("via 10.0.0.1 dev eth0; via 10.0.0.9 dev eth1").as_deref(),
            Some("via 10.0.0.1 dev lan.0; via 10.0.0.9 dev eth1")
        );
        assert_eq!(of_route("dev eth1 proto eth0"), None);
        assert_eq!(
            RENAMED.value(&link("p0"), "up, mtu 1500, master eth0").as_deref(),
            Some("up, mtu 1500, master lan.0")
        );
        assert_eq!(RENAMED.value(&link("p0"), "up, was eth0"), None);
    }

    #[test]
    fn a_new_name_is_told_by_the_device_that_has_it() {
        let told = Setting {
            netns: 1,
            thing: link("lan.0"),
            value: Some("down, mtu 1500, was eth0".to_owned()),
            seen: crate::event::Seen::Told,
            by: None,
            by_unknown: None,
        };
        let of = |known: &[&str]| Renamed::told(&told, |name| known.contains(&name));
        assert_eq!(of(&["eth0", "lo"]), Some(RENAMED));
        assert_eq!(
            of(&["eth0", "lan.0"]),
            None,
            "another one has the old name by now"
        );
        assert_eq!(of(&["lo"]), None);
    }
}
