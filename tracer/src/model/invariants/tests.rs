use super::super::settings::Settings;
use super::*;

/// A node of namespace 1 that is told things, one a nanosecond.
#[derive(Default)]
struct Node {
    settings: Settings,
    at: u64,
}

impl Node {
    fn tell(&mut self, thing: Thing, value: Option<&str>, seen: Seen) {
        self.at += 1;
        let setting = Setting {
            netns: 1,
            thing,
            value: value.map(str::to_owned),
            seen,
            by: None,
            by_unknown: None,
        };
        self.settings.told(self.at, &setting);
    }

    fn found(&mut self, thing: Thing, value: &str) {
        self.tell(thing, Some(value), Seen::Found);
    }

    fn gone(&mut self, thing: Thing) {
        self.tell(thing, None, Seen::Told);
    }

    /// Those in this state, with the time since when.
    fn are(&self, state: State) -> Vec<(Invariant, Option<u64>)> {
        let all = self.settings.invariants().iter(self.at + COMES_BY_ITSELF);
        all.filter(|(_, _, standing)| standing.state == state)
            .map(|(_, invariant, standing)| (invariant.clone(), standing.since))
            .collect()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn rule(version: Version, priority: u32, text: &str, table: u32) -> Thing {
    Thing::Rule {
        version,
        priority,
        text: text.to_owned(),
        table,
    }
}

fn local(version: Version) -> Thing {
    rule(version, 0, "from all lookup local", LOCAL)
}

fn address(device: &str, address: &str, prefix: u8) -> Thing {
    Thing::Address {
        device: device.to_owned(),
        address: ip(address),
        prefix,
    }
}

fn answer(device: &str, address: &str) -> Thing {
    Thing::Answer {
        device: device.to_owned(),
        address: ip(address),
    }
}

fn link(device: &str) -> Thing {
    Thing::Link {
        device: device.to_owned(),
    }
}

fn has_route(device: &str, address: &str) -> Invariant {
    super::local_route(device, ip(address))
}

/// `eth0` has 10.0.0.2.
fn node() -> Node {
    let mut node = Node::default();
    node.found(local(Version::V4), "");
    node.found(rule(Version::V4, 32766, "from all lookup main", MAIN), "");
    node.found(route(LOCAL, "local", ip("10.0.0.2"), 32, 0), "dev eth0");
    node.found(address("eth0", "10.0.0.2", 24), "scope global");
    node.found(answer("eth0", "10.0.0.2"), "local");
    node.found(link("eth0"), "up, carrier, mtu 1500");
    node
}

#[test]
fn a_loopback_device_that_was_set_up_must_stay_up() {
    let mut node = node();
    node.found(link("lo"), "down, no carrier, mtu 65536");
    assert_eq!(node.are(State::Broken), [], "nobody has set it up");
    node.found(address("lo", "127.0.0.1", 8), "scope host");
    node.tell(link("lo"), Some("up, carrier, mtu 65536"), Seen::Told);
    assert_eq!(node.are(State::Holds).len(), 4);
    node.tell(link("lo"), Some("down, no carrier, mtu 65536"), Seen::Told);
    assert_eq!(node.are(State::Broken), [(Invariant::Loopback, Some(node.at))]);
}

#[test]
fn what_was_found_broken_has_no_time_and_what_breaks_has_one() {
    let mut node = node();
    assert_eq!(node.are(State::Broken), []);
    assert_eq!(
        node.are(State::Missing),
        [(Invariant::DefaultRoute(Version::V4), None)]
    );
    assert_eq!(node.are(State::Holds).len(), 3);
    node.gone(local(Version::V4));
    let rule_lost = (Invariant::LocalRule(Version::V4), Some(node.at));
    assert_eq!(node.are(State::Broken), std::slice::from_ref(&rule_lost));
    node.tell(
        answer("eth0", "10.0.0.2"),
        Some("unicast dev eth0"),
        Seen::Noticed,
    );
    let is_foreign = Invariant::Answer {
        address: ip("10.0.0.2"),
        device: "eth0".to_owned(),
    };
    assert_eq!(node.are(State::Broken), [rule_lost, (is_foreign, Some(node.at))]);
    // Mended in another place.
    let mended = rule(Version::V4, 100, "from all lookup local proto static", LOCAL);
    node.tell(mended, Some(""), Seen::Told);
    node.tell(answer("eth0", "10.0.0.2"), Some("local"), Seen::Noticed);
    assert_eq!(node.are(State::Broken), []);

    let mut late = Node::default();
    late.found(address("eth0", "10.0.0.2", 24), "scope global");
    assert_eq!(
        late.are(State::Broken),
        [(Invariant::LocalRule(Version::V4), None)]
    );
}

#[test]
fn a_kernel_without_rules_needs_none() {
    let version = Version::V6;
    let mut node = Node::default();
    node.found(address("eth0", "2001:db8::2", 64), "scope global");
    let lost = (Invariant::LocalRule(version), None);
    assert_eq!(
        node.are(State::Broken),
        std::slice::from_ref(&lost),
        "all are flushed"
    );
    node.found(Thing::NoRules { version }, "");
    assert_eq!(node.are(State::Broken), []);
    node.tell(Thing::NoRules { version }, None, Seen::Found);
    assert_eq!(node.are(State::Broken), [lost]);
}

#[test]
fn an_answer_that_is_none_breaks_nothing() {
    let mut node = node();
    let unclear = "unclear, EXDEV (the reverse path filter refuses the source)";
    node.tell(answer("eth0", "10.0.0.2"), Some(unclear), Seen::Noticed);
    assert_eq!(
        (node.are(State::Broken), node.are(State::Holds).len()),
        (vec![], 2)
    );
}

#[test]
fn an_address_without_its_route_is_broken_where_its_device_is_up() {
    let mut node = node();
    node.gone(route(LOCAL, "local", ip("10.0.0.2"), 32, 0));
    assert_eq!(
        node.are(State::Broken),
        [(has_route("eth0", "10.0.0.2"), Some(node.at))]
    );
    // In a VRF.
    node.tell(
        route(10, "local", ip("10.0.0.2"), 32, 0),
        Some("dev eth0"),
        Seen::Told,
    );
    assert_eq!(node.are(State::Broken), []);
    node.gone(route(10, "local", ip("10.0.0.2"), 32, 0));
    assert_eq!(node.are(State::Broken).len(), 1);
    node.tell(link("eth0"), Some("down, no carrier, mtu 1500"), Seen::Told);
    assert_eq!(node.are(State::Broken), []);
    node.tell(link("eth0"), Some("up, carrier, mtu 1500"), Seen::Told);
    assert_eq!(node.are(State::Broken).len(), 1);
    node.gone(address("eth0", "10.0.0.2", 24));
    assert_eq!(node.are(State::Broken), []);
}

#[test]
fn an_address_of_ipv6_is_looked_at_once_it_is_used() {
    let mut node = Node::default();
    node.found(local(Version::V6), "");
    node.found(link("eth0"), "up, carrier, mtu 1500");
    node.tell(
        address("eth0", "2001:db8::2", 64),
        Some("scope global"),
        Seen::Told,
    );
    assert_eq!(node.are(State::Broken), []);
    node.tell(answer("eth0", "2001:db8::2"), Some("local"), Seen::Found);
    assert_eq!(
        node.are(State::Broken),
        [(has_route("eth0", "2001:db8::2"), None)]
    );
    node.tell(
        route(LOCAL, "local", ip("2001:db8::2"), 128, 0),
        Some("dev eth0"),
        Seen::Told,
    );
    assert_eq!(node.are(State::Broken), []);
}

#[test]
fn a_default_route_is_missed_where_it_was_or_is_needed() {
    let default = |table| route(table, "unicast", ip("0.0.0.0"), 0, 100);
    let missing = |node: &Node| node.are(State::Missing).len();
    let mut alone = Node::default();
    alone.found(rule(Version::V4, 32766, "from all lookup main", MAIN), "");
    alone.found(address("lo", "127.0.0.1", 8), "scope host");
    assert_eq!(missing(&alone), 0, "nobody needs one");

    let mut node = node();
    assert_eq!(missing(&node), 1);
    node.found(default(MAIN), "via 10.0.0.1 dev eth0");
    assert_eq!(missing(&node), 0);
    node.gone(default(MAIN));
    assert_eq!(
        node.are(State::Missing),
        [(Invariant::DefaultRoute(Version::V4), Some(node.at))]
    );
    node.tell(default(7), Some("via 10.0.0.1 dev eth0"), Seen::Told);
    assert_eq!(missing(&node), 1, "nobody looks that table up");
    node.tell(rule(Version::V4, 9, "from all lookup 7", 7), Some(""), Seen::Told);
    assert_eq!((missing(&node), node.are(State::Broken)), (0, vec![]));
}

#[test]
fn what_the_kernel_may_still_make_by_itself_is_told_as_broken_only_when_it_did_not() {
    let broken = |node: &Node, after: u64| -> Vec<(Invariant, Option<u64>)> {
        let all = node.settings.invariants().iter(node.at + after);
        all.filter(|(_, _, standing)| standing.state == State::Broken)
            .map(|(_, invariant, standing)| (invariant.clone(), standing.since))
            .collect()
    };
    let mut node = node();
    node.gone(route(LOCAL, "local", ip("10.0.0.2"), 32, 0));
    let since = node.at;
    assert_eq!(broken(&node, COMES_BY_ITSELF - 1), []);
    let told = [(has_route("eth0", "10.0.0.2"), Some(since))];
    assert_eq!(broken(&node, COMES_BY_ITSELF), told);
    // Nothing brings a rule back.
    node.gone(local(Version::V4));
    let rule = (Invariant::LocalRule(Version::V4), Some(node.at));
    assert_eq!(broken(&node, 0), [rule]);

    let mut found = Node::default();
    found.found(address("eth0", "10.0.0.2", 24), "scope global");
    found.found(link("eth0"), "up");
    assert!(
        broken(&found, 0).contains(&(has_route("eth0", "10.0.0.2"), None)),
        "it was so before"
    );
}

#[test]
fn a_namespace_that_is_left_has_none() {
    let mut node = node();
    node.settings.leave(1);
    assert_eq!(node.settings.invariants().iter(node.at).count(), 0);
}
