//! How the network is configured, and how that differs from when the node was last well.

mod way;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub(crate) use self::way::Way;
use super::folding::{With, what};
use super::invariants::Invariants;
use super::parameters;
use super::timeline::{Change, Subject};
use crate::event::{Owner, Renamed, Seen, Setting, TABLE_MAIN, Thing, Unknown, network, value};
use crate::report::{Became, What};

/// Things that are kept at most, see [`Thing::room`]; further ones are counted.
const KEPT: usize = 65_536;

/// What stands, by namespace and thing.
pub(super) type Standing = BTreeMap<(u32, Thing), String>;

/// What stands, what follows from it, and how it differs from before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    now: Standing,
    invariants: Invariants,
    /// What is not as it was in the baseline.
    differs: BTreeMap<(u32, Thing), Difference>,
    /// When the baseline was taken, in boot time.
    since: Option<u64>,
    other: u64,
}

/// How a thing differs from the baseline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// How it was in the baseline, `None` where it was not there.
    pub(crate) before: Option<String>,
    /// How it is now, `None` where it is not there.
    pub(crate) now: Option<String>,
    /// When it last changed, in boot time.
    pub(crate) at: u64,
    /// Who changed it last, where that is known.
    pub(crate) by: Option<Owner>,
    /// Why that is not known.
    pub(crate) by_unknown: Option<Unknown>,
}

impl Settings {
    /// Takes note of how a thing stands. Returns what changed, if anything did.
    pub(super) fn told(&mut self, at: u64, setting: &Setting) -> Option<Change> {
        let is_known = |name: &str| {
            let device = name.to_owned();
            self.now.contains_key(&(setting.netns, Thing::Link { device }))
        };
        if let Some(renamed) = Renamed::told(setting, is_known) {
            self.rename(setting.netns, renamed);
        }
        let key = (setting.netns, setting.thing.clone());
        let is_full = self.now.len() >= setting.thing.room(KEPT);
        if is_full && setting.value.is_some() && !self.now.contains_key(&key) {
            self.other += 1;
            return None;
        }
        let before = match &setting.value {
            Some(value) => self.now.insert(key.clone(), value.clone()),
            None => self.now.remove(&key),
        };
        if before != setting.value {
            self.invariants.told(&self.now, at, setting);
        }
        if before == setting.value {
            return None;
        }
        if setting.seen == Seen::Found {
            // It came or went with something else: nobody has changed it.
            self.differs.remove(&key);
            return None;
        }
        let before = match before {
            Some(_) if key.1.is_told_by_changes() => Some(String::new()),
            before => before,
        };
        if !parameters::is_state(&key.1) {
            self.differ(key.clone(), at, before.clone(), setting);
        }
        Some(Change {
            at,
            subject: Subject::Setting(key.0, key.1),
            before,
            after: setting.value.clone(),
            by: setting.by.clone(),
            by_unknown: setting.by_unknown,
            noticed: setting.seen == Seen::Noticed,
        })
    }

    /// A device has another name, and with it all that is on it or leads by it: nothing of that has changed.
    fn rename(&mut self, netns: u32, renamed: Renamed<'_>) {
        let key = |thing: &Thing| Some((netns, renamed.thing(thing)?));
        for ((_, thing), value) in self.now.iter_mut().filter(|((of, _), _)| *of == netns) {
            if let Some(now) = renamed.value(thing, value) {
                *value = now;
            }
        }
        let is_its = |(of, thing): &(u32, Thing)| *of == netns && renamed.thing(thing).is_some();
        let now: Vec<_> = self.now.extract_if(.., |key, _| is_its(key)).collect();
        self.now.extend(
            now.into_iter()
                .filter_map(|((_, thing), value)| Some((key(&thing)?, value))),
        );
        for ((_, thing), difference) in self.differs.iter_mut().filter(|((of, _), _)| *of == netns) {
            for value in [&mut difference.before, &mut difference.now]
                .into_iter()
                .flatten()
            {
                if let Some(now) = renamed.value(thing, value) {
                    *value = now;
                }
            }
        }
        let differs: Vec<_> = self.differs.extract_if(.., |key, _| is_its(key)).collect();
        self.differs.extend(
            differs
                .into_iter()
                .filter_map(|((_, thing), is)| Some((key(&thing)?, is))),
        );
        self.invariants.rename(netns, renamed);
    }

    fn differ(&mut self, key: (u32, Thing), at: u64, before: Option<String>, setting: &Setting) {
        let before = self.differs.remove(&key).map_or(before, |known| known.before);
        if before != setting.value {
            let difference = Difference {
                before,
                now: setting.value.clone(),
                at,
                by: setting.by.clone(),
                by_unknown: setting.by_unknown,
            };
            self.differs.insert(key, difference);
        }
    }

    /// The node is well: what stands now is the baseline.
    pub(super) fn rebase(&mut self, at: u64) {
        self.differs.clear();
        self.since = Some(at);
    }

    /// Nothing is known any more of a namespace.
    pub(super) fn leave(&mut self, netns: u32) {
        self.now.retain(|(of, _), _| *of != netns);
        self.differs.retain(|(of, _), _| *of != netns);
        self.invariants.leave(netns);
    }

    /// What goes with a namespace: all that stands in it, but for what a device or the kernel has of itself.
    pub(super) fn going(&self, netns: u32) -> With {
        let mut with = With::new();
        let its = self.now.keys().filter(|(of, _)| *of == netns);
        for kind in its.map(|(_, thing)| what(thing)) {
            if !matches!(kind, What::Answer | What::Sysctl | What::Offloads) {
                *with.entry((kind, Became::Gone)).or_default() += 1;
            }
        }
        with
    }

    /// What must hold.
    pub(crate) fn invariants(&self) -> &Invariants {
        &self.invariants
    }

    /// How a thing stands, `None` where it is not there.
    pub(crate) fn value(&self, netns: u32, thing: Thing) -> Option<&str> {
        self.now.get(&(netns, thing)).map(String::as_str)
    }

    /// The route of table main that leads to an address, without a look at the rules: that of the longest prefix, and of these
    /// of the lowest metric; with its prefix and where it leads.
    pub(crate) fn route(&self, netns: u32, address: IpAddr) -> Option<(u8, &str)> {
        let (thing, leads) = self.chosen(netns, address)?;
        match thing {
            Thing::Route { prefix, .. } => Some((*prefix, leads)),
            _ => None,
        }
    }

    /// The same route, with where it leads.
    pub(crate) fn chosen(&self, netns: u32, address: IpAddr) -> Option<(&Thing, &str)> {
        let mut prefixes = (0..=longest(address)).rev();
        prefixes.find_map(|prefix| self.first(netns, TABLE_MAIN, value::UNICAST, address, prefix))
    }

    /// Where the route of table main leads that was made for this one address.
    pub(crate) fn own_route(&self, netns: u32, address: IpAddr) -> Option<&str> {
        self.route_by(netns, address, longest(address))
    }

    /// The addresses that have a route of their own in table main, by namespace.
    pub(crate) fn own_routes(&self) -> impl Iterator<Item = (u32, IpAddr)> {
        self.now.keys().filter_map(|(netns, thing)| match thing {
            Thing::Route {
                table: TABLE_MAIN,
                destination,
                prefix,
                ..
            } if *prefix == longest(*destination) => Some((*netns, *destination)),
            _ => None,
        })
    }

    /// Where the route leads whose prefix is so long and has the address.
    fn route_by(&self, netns: u32, address: IpAddr, prefix: u8) -> Option<&str> {
        self.first(netns, TABLE_MAIN, value::UNICAST, address, prefix)
            .map(|(_, leads)| leads)
    }

    /// The route of such a table and action whose prefix is so long and has the address, of several that of the lowest metric.
    fn first(
        &self,
        netns: u32,
        table: u32,
        action: &str,
        address: IpAddr,
        prefix: u8,
    ) -> Option<(&Thing, &str)> {
        let route = |metric| {
            (
                netns,
                Thing::Route {
                    table,
                    action: action.to_owned(),
                    destination: network(address, prefix),
                    prefix,
                    metric,
                },
            )
        };
        let mut all = self.now.range(route(0)..=route(u32::MAX));
        all.next().map(|((_, thing), leads)| (thing, leads.as_str()))
    }

    /// What stands, by namespace and thing.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Thing, &str)> {
        self.now
            .iter()
            .map(|((netns, thing), value)| (*netns, thing, value.as_str()))
    }

    /// What is not as it was in the baseline.
    pub(crate) fn differences(&self) -> impl Iterator<Item = (u32, &Thing, &Difference)> {
        self.differs
            .iter()
            .map(|((netns, thing), difference)| (*netns, thing, difference))
    }

    /// When the baseline was taken, in boot time; `None` for the start.
    pub(crate) fn since(&self) -> Option<u64> {
        self.since
    }

    /// Times that a thing was told for which there was no room.
    pub(super) fn other(&self) -> u64 {
        self.other
    }
}

/// The longest prefix of an address's version.
fn longest(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Version;

    fn rule(value: Option<&str>, seen: Seen) -> Setting {
        Setting {
            netns: 1,
            thing: Thing::Rule {
                version: Version::V4,
                priority: 0,
                text: "from all lookup local".to_owned(),
                table: 255,
            },
            value: value.map(str::to_owned),
            seen,
            by: None,
            by_unknown: None,
        }
    }

    #[test]
    fn what_is_found_is_the_baseline_and_what_changes_differs_from_it() {
        let mut settings = Settings::default();
        assert_eq!(settings.told(1, &rule(Some(""), Seen::Found)), None);
        assert_eq!(settings.told(2, &rule(Some(""), Seen::Told)), None);
        let change = settings.told(3, &rule(None, Seen::Told)).unwrap();
        assert_eq!(
            (change.at, change.before.as_deref(), change.after),
            (3, Some(""), None)
        );
        let (netns, thing, difference) = settings.differences().next().unwrap();
        assert_eq!((netns, difference.at, difference.now.as_deref()), (1, 3, None));
        assert_eq!(thing.to_string(), "IPv4 rule 0: from all lookup local");
        // It is mended.
        assert!(settings.told(4, &rule(Some(""), Seen::Noticed)).unwrap().noticed);
        assert_eq!(settings.differences().count(), 0);
    }

    #[test]
    fn the_route_to_an_address_has_the_longest_prefix_and_the_lowest_metric() {
        let mut settings = Settings::default();
        let mut add = |action: &str, to: &str, prefix, metric, leads: &str| {
            let thing = Thing::Route {
                table: 254,
                action: action.to_owned(),
                destination: to.parse().unwrap(),
                prefix,
                metric,
            };
            let route = Setting {
                thing,
                ..rule(Some(leads), Seen::Found)
            };
            settings.told(1, &route);
        };
        add("unicast", "0.0.0.0", 0, 100, "via 10.10.0.1 dev eth0");
        add("unicast", "0.0.0.0", 0, 0, "dev wg0");
        add("unicast", "10.244.0.0", 16, 0, "dev cni0");
        add("unicast", "10.244.0.2", 32, 0, "dev lxc1");
        add("blackhole", "10.244.0.3", 32, 0, "");
        add("unicast", "2001:db8::", 32, 0, "dev eth0");
        let to = |address: &str| settings.route(1, address.parse().unwrap());
        assert_eq!(to("10.244.0.2"), Some((32, "dev lxc1")));
        assert_eq!(to("10.244.0.3"), Some((16, "dev cni0")));
        assert_eq!(to("192.0.2.10"), Some((0, "dev wg0")));
        assert_eq!(to("2001:db8::1"), Some((32, "dev eth0")));
        assert_eq!(to("2001:db9::1"), None);
    }

    #[test]
    fn what_is_on_a_device_with_a_new_name_has_not_changed() {
        let link = |device: &str| Thing::Link {
            device: device.to_owned(),
        };
        let address = |device: &str| Thing::Address {
            device: device.to_owned(),
            address: "10.0.0.2".parse().unwrap(),
            prefix: 24,
        };
        let route = Thing::Route {
            table: 254,
            action: "unicast".to_owned(),
            destination: "0.0.0.0".parse().unwrap(),
            prefix: 0,
            metric: 0,
        };
        let mut settings = Settings::default();
        let mut tell = |at, thing: Thing, value: &str, seen| {
            let told = Setting {
                thing,
                ..rule(Some(value), seen)
            };
            settings.told(at, &told)
        };
        tell(1, link("eth0"), "down, mtu 1500", Seen::Found);
        tell(1, address("eth0"), "scope global", Seen::Found);
        tell(1, route.clone(), "via 10.0.0.1 dev eth1", Seen::Found);
        tell(2, route.clone(), "via 10.0.0.1 dev eth0", Seen::Told);
        let renamed = tell(3, link("ens3"), "down, mtu 1500, was eth0", Seen::Told).unwrap();
        assert_eq!(renamed.before.as_deref(), Some("down, mtu 1500"));
        // What is read again tells what is known.
        assert_eq!(tell(4, address("ens3"), "scope global", Seen::Noticed), None);
        assert_eq!(
            tell(4, route.clone(), "via 10.0.0.1 dev ens3", Seen::Noticed),
            None
        );
        let differences: Vec<_> = settings
            .differences()
            .map(|(_, thing, difference)| (thing.clone(), difference.at, difference.now.clone().unwrap()))
            .collect();
        assert_eq!(
            differences,
            [
                (route, 2, "via 10.0.0.1 dev ens3".to_owned()),
                (link("ens3"), 3, "down, mtu 1500, was eth0".to_owned())
            ]
        );
        assert_eq!(settings.value(1, address("eth0")), None);
    }

    #[test]
    fn what_happened_to_a_ruleset_last_is_not_how_it_was() {
        let ruleset = |firewall: &str, value: &str, seen| Setting {
            thing: Thing::Ruleset {
                firewall: firewall.to_owned(),
            },
            ..rule(Some(value), seen)
        };
        let before = |firewall: &str| {
            let mut settings = Settings::default();
            settings.told(1, &ruleset(firewall, "tables: one", Seen::Found));
            let change = settings.told(2, &ruleset(firewall, "tables: two", Seen::Told));
            let (_, _, difference) = settings.differences().next().unwrap();
            assert_eq!(change.as_ref().unwrap().before, difference.before);
            difference.before.clone().unwrap()
        };
        assert_eq!(before("nf_tables"), "");
        assert_eq!(before("ip_tables filter"), "tables: one");
    }

    #[test]
    fn what_goes_with_something_else_differs_no_longer() {
        let mut settings = Settings::default();
        settings.told(1, &rule(Some(""), Seen::Found));
        settings.told(2, &rule(Some("other"), Seen::Told));
        assert_eq!(settings.differences().count(), 1);
        assert_eq!(settings.told(3, &rule(None, Seen::Found)), None);
        assert_eq!(settings.differences().count(), 0);
    }

    #[test]
    fn a_new_baseline_takes_differences_for_granted() {
        let mut settings = Settings::default();
        settings.told(1, &rule(Some(""), Seen::Found));
        settings.told(2, &rule(None, Seen::Told));
        settings.rebase(30);
        assert_eq!((settings.differences().count(), settings.since()), (0, Some(30)));
        settings.told(40, &rule(Some(""), Seen::Told));
        let (_, _, difference) = settings.differences().next().unwrap();
        assert_eq!((&difference.before, difference.now.as_deref()), (&None, Some("")));
    }

    #[test]
    fn a_namespace_that_is_left_is_forgotten() {
        let mut settings = Settings::default();
        settings.told(1, &rule(Some(""), Seen::Found));
        settings.leave(1);
        assert!(settings.now.is_empty() && settings.differs.is_empty());
    }
}
