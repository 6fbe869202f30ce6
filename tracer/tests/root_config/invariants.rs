//! What must hold on every node: that it is told when it does not, and only then.

use std::time::Instant;

use tracer::diagnosis;
use tracer::report::{Invariant, InvariantState};

use super::{Listening, Named, PATIENCE, with_address};

impl Listening {
    /// Those of what must hold that are in this state.
    fn invariants(&self, state: InvariantState) -> Vec<Invariant> {
        let all = diagnosis::node(&self.model).node.invariants;
        all.into_iter().filter(|one| one.state == state).collect()
    }

    /// What is broken of what must hold.
    fn broken(&self) -> Vec<String> {
        names(&self.invariants(InvariantState::Broken))
    }

    /// Takes events until exactly this is broken, and tells when that was.
    fn until_broken(&mut self, expected: &[&str]) -> u64 {
        let (mut at, deadline) = (0, Instant::now() + PATIENCE);
        loop {
            let broken = self.broken();
            if broken == expected {
                return at;
            }
            assert!(Instant::now() < deadline, "{broken:?}");
            at = self.next().at;
        }
    }
}

fn names(invariants: &[Invariant]) -> Vec<String> {
    invariants.iter().map(|one| one.object.clone()).collect()
}

/// What is broken where nothing looks table local up for IPv4.
const WITHOUT_LOCAL_RULE: [&str; 3] = [
    "IPv4 rule to table local",
    "kernel's answer for 10.99.0.1 from up0",
    "kernel's answer for 127.0.0.1 from lo",
];

#[test]
fn a_rule_that_is_lost_breaks_exactly_what_rests_on_it() {
    let named = with_address();
    let mut listening = Listening::to(&named);
    assert_eq!(listening.broken(), [""; 0]);
    let holds = names(&listening.invariants(InvariantState::Holds));
    let also = [
        "IPv6 rule to table local",
        "local route of 10.99.0.1 on up0",
        "default route (IPv4)",
    ];
    for expected in WITHOUT_LOCAL_RULE.iter().chain(&also) {
        assert!(
            holds.iter().any(|name| name == expected),
            "{expected} is not among {holds:?}"
        );
    }

    let asker = named.asks("rule del pref 0");
    let (event, _) = listening.change_of("IPv4 rule 0: from all lookup local");
    let last = listening.until_broken(&WITHOUT_LOCAL_RULE);
    assert!(last - event.at <= 1_000_000_000, "{} ns", last - event.at);
    let broken = listening.invariants(InvariantState::Broken);
    assert!(broken.iter().all(|one| one.since.is_some()), "{broken:?}");
    let by = broken
        .into_iter()
        .map(|one| one.by.map(|by| (by.pid, by.command)));
    asker.made_all(by);

    // Who comes too late sees the same, and not since when.
    let mut late = Listening::to(&named);
    assert_eq!(late.broken(), WITHOUT_LOCAL_RULE);
    assert!(
        late.invariants(InvariantState::Broken)
            .iter()
            .all(|one| one.since.is_none())
    );

    named.ip("rule add pref 0 lookup local");
    listening.until_broken(&[]);
    late.until_broken(&[]);
}

#[test]
fn a_local_route_that_is_lost_breaks_its_address() {
    let named = with_address();
    let mut listening = Listening::to(&named);
    named.exec("sysctl -qw net.ipv4.ip_forward=1");
    named.ip("route del local 10.99.0.1 dev up0 table local");
    listening.until_broken(&[
        "local route of 10.99.0.1 on up0",
        "kernel's answer for 10.99.0.1 from up0",
    ]);
    let answer = &listening.invariants(InvariantState::Broken)[1];
    assert!(
        answer.text.ends_with("its answer is unicast dev up0"),
        "{answer:?}"
    );
    named.ip("route add local 10.99.0.1 dev up0 table local proto kernel scope host src 10.99.0.1");
    listening.until_broken(&[]);
    named.ip("route del local ::1 dev lo table local");
    listening.until_broken(&["local route of ::1 on lo", "kernel's answer for ::1 from lo"]);
}

#[test]
fn what_a_namespace_need_not_have_is_not_broken() {
    let named = Named::new();
    let listening = Listening::to(&named);
    assert_eq!(listening.broken(), [""; 0]);
    assert_eq!(listening.invariants(InvariantState::Missing), []);

    // Without a default route, a device that is down, an address that another node has.
    named.add_device();
    named.ip("address add 10.99.0.1/24 dev up0");
    named.ip("link add down0 type veth peer name down1");
    named.ip("address add 10.98.0.1/24 dev down0");
    named.ip("address add 2001:db8::1/64 dev far0 nodad");
    named.wait_until_local("2001:db8::1");
    let mut listening = Listening::to(&named);
    assert_eq!(listening.broken(), [""; 0]);
    let missing = names(&listening.invariants(InvariantState::Missing));
    assert_eq!(missing, ["default route (IPv4)", "default route (IPv6)"]);
    named.ip("address add 2001:db8::1/64 dev up0");
    // Its other end has it.
    while listening.value_of("address 2001:db8::1/64 on up0").as_deref() != Some("scope global dadfailed") {}
    assert_eq!(listening.broken(), [""; 0]);

    named.ip("route add default via 10.99.0.254");
    listening.value_of("route default (IPv4)");
    let missing = names(&listening.invariants(InvariantState::Missing));
    assert_eq!(missing, ["default route (IPv6)"]);
}

/// Without its address loopback is dead: what is for it is sent by the default route.
#[test]
fn an_address_of_loopback_that_is_taken_away_is_told_by_where_it_leads() {
    let named = with_address();
    let mut listening = Listening::to(&named);
    let answer = "kernel's answer for 127.0.0.1 from lo";
    assert_eq!(listening.has_found(answer), Some("local"));
    named.ip("address del 127.0.0.1/8 dev lo");
    let leads = listening.value_of(answer).unwrap();
    assert!(leads.starts_with("unicast via 10.99.0.254 dev up0"), "{leads}");
    // So does who comes later.
    let late = Listening::to(&named);
    assert_eq!(late.has_found(answer), Some(leads.as_str()));
}
