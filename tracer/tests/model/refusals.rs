//! What is asked for refuses by ICMP: somebody is there, and the path is not silent.

use tracer::event::{Body, Counter, CounterKey, EntryKey, Protocol, Seen, Setting, Source, Thing};
use tracer::report::{Confidence, Where};

use crate::story::*;

const SERVER: &str = "198.51.100.1";

/// So many messages of ICMP have said that something cannot be reached.
fn unreachable(story: &mut Story, grown: u64) {
    story.say(Body::Counter(Counter {
        key: CounterKey {
            netns: NETNS,
            source: Source::Snmp,
            device: 0,
            name: "IcmpInDestUnreachs".to_owned(),
        },
        grown,
    }));
}

/// A server that answers for two seconds, and is asked in vain for `rounds` more; each request is refused where `refuses`. In each
/// round something else happens.
fn asked(port: u16, rounds: u64, refuses: bool, meanwhile: impl Fn(&mut Story)) -> Story {
    let mut story = healthy();
    let asked = udp(50_000, SERVER, port);
    story.rounds(4, |story| {
        story.exchange(asked);
        meanwhile(story);
    });
    for round in 1..=rounds {
        story.ask(asked);
        if refuses {
            unreachable(&mut story, round);
        }
        meanwhile(&mut story);
        story.tick();
    }
    story
}

fn others(story: &mut Story) {
    story.exchange(client(40_000));
}

#[test]
fn a_server_that_is_gone_and_whose_host_refuses_is_a_weak_sign() {
    let story = asked(9000, 8, true, |story| {
        others(story);
        story.exchange(ping(9, SERVER));
    });
    assert_eq!(story.report().place, Where::Healthy);
    let verdict = story.verdict("D01");
    assert_eq!(verdict.confidence, Confidence::Weak);
    for says in [
        "But 8 messages of ICMP (IcmpInDestUnreachs) that what was sent cannot be delivered came meanwhile: who is asked refuses, or \
         somebody on the way does.",
        "198.51.100.1 is there all the same: packets of 1 flow with it arrived in this time; only udp port 9000 is silent.",
    ] {
        assert!(verdict.explanation.contains(says), "{}", verdict.explanation);
    }
    assert!(
        verdict
            .evidence
            .iter()
            .any(|one| one.text.starts_with("IcmpInDestUnreachs has grown by 8")),
        "{:#?}",
        verdict.evidence
    );
    assert!(
        verdict.remedy[0].starts_with("Start at the peer"),
        "{:?}",
        verdict.remedy
    );
}

/// Nothing is refused: only the port is silent, and that is said.
#[test]
fn a_port_that_is_silent_where_its_host_is_not() {
    let story = asked(9000, 8, false, |story| {
        others(story);
        story.exchange(ping(9, SERVER));
    });
    let verdict = story.verdict("D01");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        verdict
            .explanation
            .contains("no reply was seen to be dropped here. 198.51.100.1 is there all the same")
            && !verdict.explanation.contains("ICMP"),
        "{}",
        verdict.explanation
    );
}

/// It never answered there: that may be so on purpose.
#[test]
fn a_port_that_never_answered_is_a_weak_sign() {
    let mut story = healthy();
    let port = flow(Protocol::Tcp, "10.10.0.2", 42_000, SERVER, 81);
    story.rounds(8, |story| {
        story.ask(port);
        story.exchange(ping(9, SERVER));
    });
    let verdict = story.verdict("D01");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        verdict.explanation.contains("only tcp port 81 is silent"),
        "{}",
        verdict.explanation
    );
}

/// Then all of it is silent, and what came before says nothing any more.
#[test]
fn a_host_that_falls_silent_after_its_port_did() {
    let mut story = healthy();
    let (one, other) = (udp(50_000, SERVER, 9000), ping(9, SERVER));
    story.rounds(4, |story| {
        story.exchange(one);
        story.exchange(other);
    });
    story.rounds(6, |story| {
        story.ask(one);
        story.exchange(other);
    });
    story.rounds(6, |story| {
        story.ask(one);
        story.ask(other);
        others(story);
    });
    let verdict = story.verdict("D01");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        !verdict.explanation.contains("all the same"),
        "{}",
        verdict.explanation
    );
}

/// A router has no way to where connections lead: that is the path.
#[test]
fn connections_whose_hosts_cannot_be_reached_are_a_fault_of_the_path() {
    let mut story = healthy();
    for round in 1..=8 {
        story.ask(client(40_000));
        story.ask(client(40_001));
        unreachable(&mut story, round);
        story.exchange(ping(9, SERVER));
        story.tick();
    }
    let verdict = story.verdict("D01");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        verdict
            .explanation
            .contains(" Meanwhile 8 messages of ICMP (IcmpInDestUnreachs)"),
        "{}",
        verdict.explanation
    );
}

/// The next hop is silent: it is this node itself that tells its sockets so.
#[test]
fn what_this_node_itself_refuses_is_nobodys_refusal() {
    let story = asked(9000, 8, true, |story| {
        others(story);
        let unsent = EntryKey {
            incoming: false,
            ..drop("NEIGH_FAILED", "neigh_invalidate", Protocol::Udp)
        };
        story.add(unsent, 1);
    });
    let verdict = story.verdict("D01");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(!verdict.explanation.contains("ICMP"), "{}", verdict.explanation);
}

/// What was refused before and goes on to be is another's.
#[test]
fn refusals_that_came_before_say_nothing_of_a_silence() {
    let mut story = healthy();
    let asked = udp(50_000, SERVER, 9000);
    let mut refused = 0;
    let mut one_more = |story: &mut Story| {
        refused += 1;
        unreachable(story, refused);
        others(story);
    };
    story.rounds(8, |story| {
        story.exchange(asked);
        one_more(story);
    });
    story.rounds(8, |story| {
        story.ask(asked);
        one_more(story);
    });
    let verdict = story.verdict("D01");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(!verdict.explanation.contains("ICMP"), "{}", verdict.explanation);
}

/// Two of so many requests cannot be what all of them get.
#[test]
fn a_few_refusals_are_not_those_of_all_requests() {
    let mut story = healthy();
    let asked = udp(50_000, SERVER, 9000);
    story.rounds(4, |story| story.exchange(asked));
    for round in 1..=16_u64 {
        story.ask(asked);
        if round == 1 || round == 3 {
            unreachable(&mut story, round);
        }
        others(&mut story);
        story.exchange(ping(9, SERVER));
        story.tick();
    }
    let verdict = story.verdict("D01");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        verdict.explanation.contains(" Meanwhile 3 messages of ICMP"),
        "{}",
        verdict.explanation
    );
}

#[test]
fn a_name_server_that_refuses_is_told_as_one_that_refuses() {
    let mut story = healthy();
    story.say(Body::Setting(Box::new(Setting {
        netns: 0,
        thing: Thing::File {
            path: "/etc/resolv.conf".to_owned(),
        },
        value: Some(format!("nameservers {SERVER}")),
        seen: Seen::Found,
        by: None,
        by_unknown: None,
    })));
    for round in 1..=8_u16 {
        story.ask(udp(50_000 + round, SERVER, 53));
        unreachable(&mut story, round.into());
        others(&mut story);
        story.exchange(flow(Protocol::Tcp, "10.10.0.2", 41_000, SERVER, 80));
        story.tick();
    }
    let verdict = story.verdict("R23");
    assert!(
        verdict.explanation.contains(
            "But 8 messages of ICMP (IcmpInDestUnreachs) that what was sent cannot be delivered came meanwhile: \
             198.51.100.1, or somebody on the way, refuses the questions, as where no server runs."
        ),
        "{}",
        verdict.explanation
    );
    assert_eq!(story.verdict("D01").confidence, Confidence::Weak);
}
