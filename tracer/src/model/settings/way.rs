//! Whether any way leads to an address.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr};

use super::{Settings, longest};
use crate::event::{TABLE_LOCAL, TABLE_MAIN, Thing, Version, network, value};
use crate::model::invariants;

/// How the kernel is to get to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Some route leads there, or may: whether it is asked depends on the rules.
    Leads,
    /// This route of table main sends what is for it nowhere, and no other table has one; or this policy rule does, which is asked
    /// before any table but that of own addresses.
    Refused(Thing),
    /// No table has a route to it.
    None,
}

impl Settings {
    /// How the kernel is to get to an address, whatever its rules say.
    pub(crate) fn way(&self, netns: u32, address: IpAddr) -> Way {
        if let Some(rule) = self.refusing_rule(netns, address) {
            return Way::Refused(rule.clone());
        }
        let best = |table, action: &str| {
            let mut prefixes = (0..=longest(address)).rev();
            let found = prefixes.find_map(|prefix| self.first(netns, table, action, address, prefix));
            found.map(|(thing, _)| thing)
        };
        let leads = best(TABLE_MAIN, value::UNICAST);
        let refusing = value::REFUSING.iter();
        let refused = refusing
            .filter_map(|action| best(TABLE_MAIN, action))
            .max_by_key(|thing| rank(thing));
        match (leads, refused) {
            (Some(_), None) => Way::Leads,
            (Some(leads), Some(refused)) if rank(leads) >= rank(refused) => Way::Leads,
            _ if !self.knows_routes(netns, Version::of(address)) => Way::Leads,
            // What rules ask the other tables for is not known here.
            _ if invariants::tables(&self.now, netns)
                .filter(|table| *table != TABLE_MAIN)
                .any(|table| {
                    [value::UNICAST, value::LOCAL]
                        .iter()
                        .any(|of| best(table, of).is_some())
                }) =>
            {
                Way::Leads
            }
            (_, Some(refused)) => Way::Refused(refused.clone()),
            (_, None) => Way::None,
        }
    }

    /// The policy rule that sends all that is for this address nowhere, before another one may lead it.
    fn refusing_rule(&self, netns: u32, address: IpAddr) -> Option<&Thing> {
        let version = Version::of(address);
        let first = Thing::Rule {
            version,
            priority: 0,
            text: String::new(),
            table: 0,
        };
        let all = self.now.range((netns, first)..);
        let rules = all.map_while(|((of, thing), _)| match thing {
            Thing::Rule {
                version: its,
                text,
                table,
                ..
            } if *of == netns && *its == version => Some((thing, text, *table)),
            _ => None,
        });
        // They are in the order in which they are asked.
        let mut rules = rules.skip_while(|(_, _, table)| *table == TABLE_LOCAL);
        let (rule, text, _) = rules.next()?;
        let mut words = text
            .strip_prefix(value::FROM_ALL)?
            .trim_start()
            .split(' ')
            .peekable();
        if let Some((network, prefix)) = value::destination(text) {
            if !is_in(address, network, prefix) {
                return None;
            }
            words.nth(1);
        }
        value::refuses(words.next()?).then_some(rule)
    }

    /// All routes are known: there was room for them, and there are some of this version, as those of own addresses always are.
    fn knows_routes(&self, netns: u32, version: Version) -> bool {
        let first = Thing::Route {
            table: 0,
            action: String::new(),
            destination: Ipv4Addr::UNSPECIFIED.into(),
            prefix: 0,
            metric: 0,
        };
        let all = self.now.range((netns, first)..);
        let mut versions = all.map_while(|((of, thing), _)| match thing {
            Thing::Route { destination, .. } if *of == netns => Some(Version::of(*destination)),
            _ => None,
        });
        self.other == 0 && versions.any(|of| of == version)
    }
}

fn is_in(address: IpAddr, to: IpAddr, prefix: u8) -> bool {
    network(address, prefix) == network(to, prefix)
}

/// The longest prefix counts, and of these the lowest metric.
fn rank(route: &Thing) -> (u8, Reverse<u32>) {
    match route {
        Thing::Route { prefix, metric, .. } => (*prefix, Reverse(*metric)),
        _ => (0, Reverse(u32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Seen, Setting};

    fn route(table: u32, action: &str, to: &str, prefix: u8, metric: u32) -> Thing {
        Thing::Route {
            table,
            action: action.to_owned(),
            destination: to.parse().unwrap(),
            prefix,
            metric,
        }
    }

    fn way(routes: &[Thing]) -> Way {
        let mut settings = Settings::default();
        for thing in routes {
            let setting = Setting {
                netns: 1,
                thing: thing.clone(),
                value: Some(String::new()),
                seen: Seen::Found,
                by: None,
                by_unknown: None,
            };
            settings.told(1, &setting);
        }
        settings.way(1, "192.0.2.10".parse().unwrap())
    }

    #[test]
    fn a_way_leads_where_the_best_route_does() {
        let link = route(254, "unicast", "10.10.0.0", 24, 0);
        let default = route(254, "unicast", "0.0.0.0", 0, 100);
        let nowhere = |prefix, metric| route(254, "blackhole", "192.0.2.0", prefix, metric);
        assert_eq!(way(&[]), Way::Leads, "nothing is known of routes");
        assert_eq!(way(std::slice::from_ref(&link)), Way::None);
        assert_eq!(way(&[link.clone(), default.clone()]), Way::Leads);
        let refused = nowhere(24, 0);
        assert_eq!(
            way(&[link.clone(), default.clone(), refused.clone()]),
            Way::Refused(refused.clone())
        );
        // The kernel's own, behind all others.
        let last = route(254, "unreachable", "0.0.0.0", 0, u32::MAX);
        assert_eq!(way(&[default.clone(), last.clone()]), Way::Leads);
        assert_eq!(way(&[link.clone(), last.clone()]), Way::Refused(last));
        // Some rule may ask another table.
        let elsewhere = route(100, "unicast", "0.0.0.0", 0, 0);
        assert_eq!(way(&[link.clone(), elsewhere.clone()]), Way::Leads);
        assert_eq!(way(&[link.clone(), refused, elsewhere]), Way::Leads);
        assert_eq!(way(&[link, route(255, "local", "192.0.2.10", 32, 0)]), Way::Leads);
        let rule = |priority, text: &str, table| Thing::Rule {
            version: Version::V4,
            priority,
            text: text.to_owned(),
            table,
        };
        let local = rule(0, "from all lookup local", 255);
        let main = rule(32_766, "from all lookup main", 254);
        let (to, all) = (
            rule(100, "from all to 192.0.2.0/24 blackhole", 0),
            rule(100, "from all prohibit", 0),
        );
        for refusing in [to, all] {
            let rules = [default.clone(), local.clone(), refusing.clone(), main.clone()];
            assert_eq!(way(&rules), Way::Refused(refusing));
        }
        for harmless in [
            rule(100, "from all to 198.51.100.0/24 prohibit", 0),
            rule(100, "from 10.9.0.0/16 prohibit", 0),
            rule(100, "from all fwmark 0x1 prohibit", 0),
            rule(32_767, "from all prohibit", 0),
        ] {
            assert_eq!(
                way(&[default.clone(), local.clone(), harmless, main.clone()]),
                Way::Leads
            );
        }
        let v6 = route(254, "unicast", "::", 0, 0);
        assert_eq!(way(&[v6]), Way::Leads, "nothing is known of IPv4");
    }
}
