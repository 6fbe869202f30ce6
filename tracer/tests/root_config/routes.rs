//! Routes that take the place of others, and ways of them that come and go.

use std::collections::BTreeMap;
use std::time::Instant;

use tracer::event::{Body, Seen, Setting, Thing};

use super::{Asker, Listening, Named, PATIENCE, with_address};

impl Listening {
    /// The next that is told of a route to another network than those of the node's addresses, which the kernel makes.
    fn next_route(&mut self) -> Setting {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.next().body {
                Body::Setting(setting) if leads_beyond(&setting.thing) => return *setting,
                _ => {}
            }
        }
        panic!("no more is told of routes");
    }

    /// What is told of routes when `ip` does this: so many changes.
    fn told_of(&mut self, named: &Named, act: &str, number: usize) -> Vec<String> {
        let asker = named.asks(act);
        let told: Vec<Setting> = (0..number).map(|_| self.next_route()).collect();
        asker.made_these(&told);
        told.iter().map(words).collect()
    }
}

impl Asker {
    fn made_these(self, told: &[Setting]) {
        let by = |setting: &Setting| setting.by.as_ref().map(|by| (by.pid, by.command.clone()));
        self.made_all(told.iter().map(by).collect::<Vec<_>>());
    }
}

fn leads_beyond(thing: &Thing) -> bool {
    let Thing::Route { destination, .. } = thing else {
        return false;
    };
    let destination = destination.to_string();
    ["10.97.", "10.98.", "2001:db8:1:"]
        .iter()
        .any(|network| destination.starts_with(network))
}

fn words(setting: &Setting) -> String {
    let how = match setting.seen {
        Seen::Found => ", found",
        Seen::Told => "",
        Seen::Noticed => ", noticed",
    };
    let value = setting.value.as_deref().unwrap_or("gone");
    format!("{}: {value}{how}", setting.thing)
}

/// Such routes of what was found.
fn routes(listening: &Listening) -> BTreeMap<&Thing, &Option<String>> {
    let found = listening.found.iter();
    let routes = found.filter(|setting| leads_beyond(&setting.thing));
    routes.map(|setting| (&setting.thing, &setting.value)).collect()
}

#[test]
fn the_route_that_is_replaced_is_gone_by_who_replaced_it_whatever_it_does_with_packets() {
    let named = with_address();
    let mut listening = Listening::to(&named);
    for (network, gateway, by) in [
        ("10.98.0.0/16 metric 5", "10.99.0.9", "proto boot"),
        ("2001:db8:1::/48 metric 5", "2001:db8::9", "dev lo proto boot"),
    ] {
        let way = |gateway: &str| format!("via {gateway} dev up0 proto boot");
        let mut told = |act: &str, number| listening.told_of(&named, act, number);
        assert_eq!(
            told(&format!("route add {network} via {gateway}"), 1),
            [format!("route {network}: {}", way(gateway))]
        );
        // One of another metric is another one.
        let other = network.replace('5', "6");
        assert_eq!(
            told(&format!("route replace throw {other}"), 1),
            [format!("route throw {other}: {by}")]
        );
        for (act, from, to) in [
            ("replace", "", "blackhole "),
            ("change", "blackhole ", "unreachable "),
            ("replace", "unreachable ", "throw "),
        ] {
            assert_eq!(
                told(&format!("route {act} {to}{network}"), 2),
                [
                    format!("route {from}{network}: gone"),
                    format!("route {to}{network}: {by}")
                ]
            );
        }
        assert_eq!(
            told(&format!("route replace {network} via {gateway}"), 2),
            [
                format!("route throw {network}: gone"),
                format!("route {network}: {}", way(gateway))
            ]
        );
        assert_eq!(
            told(&format!("route del {network}"), 1),
            [format!("route {network}: gone")]
        );
        assert_eq!(
            told(&format!("route del throw {other}"), 1),
            [format!("route throw {other}: gone")]
        );
    }
}

/// A next hop by its number takes the place of another way, and the other way round.
#[test]
fn next_hops_and_several_ways_are_replaced_as_one_way_is() {
    let named = with_address();
    let mut listening = Listening::to(&named);
    listening.told_of(&named, "nexthop add id 7 via 10.99.0.253 dev up0", 0);
    let network = "10.98.0.0/16";
    let mut told = |act: &str, number| listening.told_of(&named, &format!("route {act}"), number);
    told(&format!("add blackhole {network}"), 1);
    assert_eq!(
        told(&format!("replace {network} nhid 7"), 2),
        [
            "route blackhole 10.98.0.0/16: gone",
            "route 10.98.0.0/16: nhid 7 via 10.99.0.253 dev up0 proto boot"
        ]
    );
    assert_eq!(
        told(
            &format!("replace {network} nexthop via 10.99.0.7 nexthop via 10.99.0.8"),
            1
        ),
        [
            "route 10.98.0.0/16: proto boot nexthop via 10.99.0.7 dev up0 weight 1 nexthop via 10.99.0.8 dev up0 weight 1"
        ]
    );
    assert_eq!(
        told(&format!("replace prohibit {network}"), 2),
        [
            "route 10.98.0.0/16: gone",
            "route prohibit 10.98.0.0/16: proto boot"
        ]
    );
    // For packets of another type of service it is another one.
    assert_eq!(
        told(&format!("replace {network} tos 0x10 via 10.99.0.7"), 1),
        ["route 10.98.0.0/16: tos 0x10 via 10.99.0.7 dev up0 proto boot"]
    );
    // Of several that may be meant it is looked which is gone.
    assert_eq!(
        told(&format!("append {network} via 10.99.0.8"), 1),
        ["route 10.98.0.0/16: tos 0x10 via 10.99.0.7 dev up0 proto boot; via 10.99.0.8 dev up0 proto boot"]
    );
    let mut replaced = told(&format!("replace throw {network}"), 2);
    replaced.sort_unstable();
    assert_eq!(
        replaced,
        [
            "route prohibit 10.98.0.0/16: gone, noticed",
            "route throw 10.98.0.0/16: proto boot, noticed"
        ]
    );
}

#[test]
fn ways_of_a_route_of_ipv6_come_and_go_by_who_did_it() {
    let named = with_address();
    let mut listening = Listening::to(&named);
    let network = "2001:db8:1::/48";
    let route = format!("route {network} metric 1024");
    let several = |gateways: &[u8]| {
        let ways = gateways
            .iter()
            .map(|last| format!(" nexthop via 2001:db8::{last} dev up0 weight 1"));
        format!("{route}: proto boot{}", ways.collect::<String>())
    };
    let one = |last: u8| format!("{route}: via 2001:db8::{last} dev up0 proto boot");
    for (act, expected) in [
        (
            "add NET nexthop via 2001:db8::9 nexthop via 2001:db8::7",
            vec![several(&[7, 9])],
        ),
        ("append NET via 2001:db8::8", vec![several(&[7, 8, 9])]),
        ("del NET via 2001:db8::7", vec![several(&[8, 9])]),
        ("del NET via 2001:db8::9", vec![one(8)]),
        ("append NET via 2001:db8::6", vec![several(&[6, 8])]),
        (
            "replace unreachable NET",
            vec![
                format!("{route}: gone"),
                format!("route unreachable {network} metric 1024: dev lo proto boot"),
            ],
        ),
        (
            "replace NET nexthop via 2001:db8::5 nexthop via 2001:db8::4",
            vec![
                format!("route unreachable {network} metric 1024: gone"),
                several(&[4, 5]),
            ],
        ),
        ("replace NET via 2001:db8::3", vec![one(3)]),
        ("append NET via 2001:db8::2", vec![several(&[2, 3])]),
        ("del NET", vec![format!("{route}: gone")]),
    ] {
        let act = format!("route {}", act.replace("NET", network));
        let told = listening.told_of(&named, &act, expected.len());
        assert_eq!(told, expected, "{act}");
    }
    // Another source of packets: another one.
    let of = format!("{network} from 2001:db8:2::/64");
    listening.told_of(&named, &format!("route add {of} via 2001:db8::9"), 1);
    assert_eq!(
        listening.told_of(&named, &format!("route add blackhole {network}"), 1),
        [format!(
            "route blackhole {network} metric 1024: dev lo proto boot"
        )]
    );
    assert_eq!(
        listening.told_of(&named, &format!("route replace {network} via 2001:db8::8"), 2)[0],
        format!("route blackhole {network} metric 1024: gone")
    );
}

/// What was told of each change ends in what stands.
#[test]
fn what_is_told_of_routes_ends_in_what_stands() {
    let named = with_address();
    let mut listening = Listening::to(&named);
    let acts = "route add 2001:db8:1::/48 nexthop via 2001:db8::9 nexthop via 2001:db8::7\n\
                route append 2001:db8:1::/48 via 2001:db8::8\n\
                route del 2001:db8:1::/48 via 2001:db8::9\n\
                route append prohibit 2001:db8:1::/48\n\
                route append 2001:db8:1::/48 dev up0\n\
                route replace blackhole 2001:db8:1::/48\n\
                route replace 2001:db8:1::/48 via 2001:db8::6\n\
                route add 10.98.0.0/16 via 10.99.0.9\n\
                route prepend blackhole 10.98.0.0/16\n\
                route append throw 10.98.0.0/16\n\
                route replace 10.98.0.0/16 via 10.99.0.7\n\
                route add 10.97.0.0/16 via 10.99.0.7\n\
                route replace blackhole 10.97.0.0/16\n\
                rule add pref 9 lookup 9";
    named.asks(acts).made_all([]);
    let fresh = Listening::to(&named);
    let expected = routes(&fresh);
    let mut known: BTreeMap<Thing, Option<String>> = routes(&listening)
        .into_iter()
        .map(|(thing, value)| (thing.clone(), value.clone()))
        .collect();
    let sorted = |value: &Option<String>| {
        let ways = value.as_deref().unwrap_or_default().split("; ");
        let mut ways: Vec<String> = ways.map(str::to_owned).collect();
        ways.sort_unstable();
        ways
    };
    let is_so = |known: &BTreeMap<Thing, Option<String>>| {
        known.len() == expected.len()
            && known
                .iter()
                .all(|(thing, value)| expected.get(thing).is_some_and(|is| sorted(is) == sorted(value)))
    };
    while !is_so(&known) {
        let Setting { thing, value, .. } = listening.next_route();
        match value {
            Some(_) => known.insert(thing, value),
            None => known.remove(&thing),
        };
    }
}

#[test]
fn what_a_route_sets_is_told_as_ip_writes_it() {
    let named = with_address();
    let mut listening = Listening::to(&named);
    let set = "mtu lock 1400 window 5000 rtt 10ms rttvar 5ms reordering 4 advmss 1300 hoplimit 60 initcwnd 20 features ecn \
               rto_min 300ms initrwnd 30 quickack 1 congctl cubic fastopen_no_cookie 1";
    let [network, leads] = ["10.98.0.0/16", "via 10.99.0.9 dev up0 proto boot"];
    let told = listening.told_of(&named, &format!("route add {network} {leads} {set}"), 1);
    let words = |text: &str| {
        let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        words.sort_unstable();
        words
    };
    let expected = format!("route {network}: {leads} {set}");
    assert_eq!(words(&told[0]), words(&expected), "{}", told[0]);
    // It is what `ip` takes.
    let (_, value) = told[0].split_once(": ").unwrap();
    listening.told_of(&named, &format!("route del {network}"), 1);
    let again = listening.told_of(&named, &format!("route add {network} {value}"), 1);
    assert_eq!(again, told);
    assert_eq!(
        listening.told_of(&named, &format!("route replace {network} {leads} initcwnd 10"), 1),
        [format!("route {network}: {leads} initcwnd 10")]
    );
}
