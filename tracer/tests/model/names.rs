//! Name servers that are asked and do not answer.

use tracer::event::{Body, Seen, Setting, Thing};
use tracer::report::{Confidence, Relation, Where};

use crate::story::*;

/// A question leaves by a port of its own.
fn question(story: &mut Story, port: u16, server: &str) {
    story.ask(udp(port, server, 53));
}

/// What `/etc/resolv.conf` says.
fn resolver(story: &mut Story, value: &str, seen: Seen) {
    story.say(Body::Setting(Box::new(Setting {
        netns: 0,
        thing: Thing::File {
            path: "/etc/resolv.conf".to_owned(),
        },
        value: Some(value.to_owned()),
        seen,
        by: None,
        by_unknown: None,
    })));
}

/// A node that goes by a file with that in it.
fn before(value: &str) -> Story {
    let mut story = healthy();
    resolver(&mut story, value, Seen::Found);
    story.idle(4);
    story
}

/// For so many rounds a question leaves, each by another port, and other flows go on.
fn ask_in_vain(story: &mut Story, server: &str, rounds: u16) {
    for port in 0..rounds {
        question(story, 50_000 + port, server);
        story.exchange(client(40_000));
        story.tick();
    }
}

#[test]
fn questions_without_an_answer_are_a_fault_of_the_path() {
    let mut story = before("nameservers 10.10.0.53");
    story.rounds(4, |story| story.exchange(udp(49_999, "10.10.0.53", 53)));
    ask_in_vain(&mut story, "10.10.0.53", 6);
    assert_eq!(story.ids(), ["R23", "D01"], "{:#?}", story.report().verdicts);
    assert_eq!(story.report().place, Where::DataPath);
    let verdict = story.verdict("R23");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        verdict
            .explanation
            .starts_with("This node asked 6 questions at port 53 of 10.10.0.53, and for")
            && verdict
                .explanation
                .contains("Before, they were answered. No other name server has answered meanwhile."),
        "{}",
        verdict.explanation
    );
    assert_eq!(verdict.cause.relation, Relation::Unknown);
    assert_eq!(story.verdict("D01").under.as_deref(), Some("R23"));
}

/// Nobody has ever answered there: a resolver that is asked is expected to.
#[test]
fn a_file_that_names_another_server_explains_it() {
    let mut story = before("nameservers 10.10.0.53");
    resolver(&mut story, "nameservers 203.0.113.53", Seen::Told);
    ask_in_vain(&mut story, "203.0.113.53", 6);
    let verdict = story.verdict("R23");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(verdict.cause.relation, Relation::Explains);
    assert!(
        verdict
            .cause
            .text
            .starts_with("/etc/resolv.conf changed from nameservers 10.10.0.53 to nameservers 203.0.113.53"),
        "{}",
        verdict.cause.text
    );
    let mut other = before("nameservers 10.10.0.53");
    resolver(
        &mut other,
        "nameservers 10.10.0.53, search example.org",
        Seen::Told,
    );
    ask_in_vain(&mut other, "10.10.0.53", 6);
    assert_eq!(other.verdict("R23").cause.relation, Relation::Unknown);
}

#[test]
fn where_another_name_server_answers_it_is_a_weak_sign() {
    let mut story = before("nameservers 10.10.0.53 10.10.0.54");
    for port in 0..6 {
        question(&mut story, 50_000 + port, "10.10.0.53");
        story.exchange(udp(51_000 + port, "10.10.0.54", 53));
        story.tick();
    }
    let verdict = story.verdict("R23");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        verdict
            .explanation
            .contains("Another name server answers: 10.10.0.54."),
        "{}",
        verdict.explanation
    );
    assert_eq!(story.report().place, Where::Healthy);
}

/// As where a program asks a server of its own choice, which the network does not let through.
#[test]
fn a_server_that_never_answered_and_that_nobody_named_is_a_weak_sign() {
    let mut story = before("nameservers 10.10.0.53");
    ask_in_vain(&mut story, "8.8.8.8", 12);
    assert_eq!(story.verdict("R23").confidence, Confidence::Weak);
    assert_eq!(story.report().place, Where::Healthy);
}

/// Two questions may be lost, and nobody is silent who answers now.
#[test]
fn a_question_that_is_asked_again_and_answered_is_none() {
    let mut story = before("nameservers 10.10.0.53");
    for port in 0..2 {
        question(&mut story, 50_000 + port, "10.10.0.53");
        story.idle(2);
    }
    assert!(story.ids().is_empty(), "{:?}", story.ids());
    story.exchange(udp(50_002, "10.10.0.53", 53));
    story.idle(4);
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}

/// Then it is the path that is silent, and names are no more than a part of it.
#[test]
fn where_others_are_silent_too_it_is_the_path() {
    let mut story = before("nameservers 10.10.0.53");
    for port in 0..6 {
        question(&mut story, 50_000 + port, "10.10.0.53");
        story.ask(client(40_000));
        story.tick();
    }
    assert_eq!(story.ids(), ["D01"]);
}

/// A name server that is a pod of this node is no matter of the way to others.
#[test]
fn a_name_server_behind_this_node_is_none() {
    let mut story = before("nameservers 10.244.0.2");
    story.say(Body::Setting(Box::new(Setting {
        netns: NETNS,
        thing: Thing::Route {
            table: 254,
            action: "unicast".to_owned(),
            destination: ip("10.244.0.2"),
            prefix: 32,
            metric: 0,
        },
        value: Some("dev lxc1 scope link".to_owned()),
        seen: Seen::Found,
        by: None,
        by_unknown: None,
    })));
    ask_in_vain(&mut story, "10.244.0.2", 6);
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}

#[test]
fn a_file_without_name_servers_is_a_weak_sign() {
    let mut story = before("nameservers 10.10.0.53");
    resolver(&mut story, "no nameservers, search example.org", Seen::Told);
    story.idle(2);
    let verdict = story.verdict("R23");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert_eq!(verdict.cause.relation, Relation::Explains);
    assert_eq!(story.report().place, Where::Healthy);
    resolver(&mut story, "nameservers 10.10.0.53", Seen::Told);
    story.idle(2);
    assert!(story.ids().is_empty());
}
