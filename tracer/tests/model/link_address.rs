//! What arrives for another link-layer address: the device's own was changed, or who sends has a wrong entry.

use tracer::event::{Body, Protocol, Seen, Setting, SocketState, Thing};
use tracer::report::{Confidence, Relation, Verdict, Where};

use crate::pairing::set;
use crate::story::*;
use crate::unroutable::default_route;

const RIGHT: &str = "up, carrier, mtu 1500, address 02:00:00:00:00:02";
const OTHER: &str = "up, carrier, mtu 1500, address 02:00:00:00:00:03";

fn link() -> Thing {
    Thing::Link {
        device: "eth0".to_owned(),
    }
}

/// What both connections wait for is for another link-layer address from now on.
fn misled(story: &mut Story) {
    story.rounds(8, |story| {
        for port in [40_000, 40_001] {
            story.ask_and_lose(client(port), drop("OTHERHOST", "ip_rcv_core", Protocol::Tcp));
        }
    });
}

/// The only verdict, and where it says that the fault is.
fn only(story: &mut Story, id: &str) -> (Verdict, Where) {
    misled(story);
    assert_eq!(story.ids(), [id]);
    (story.verdict(id), story.report().place)
}

#[test]
fn a_wrong_entry_at_the_gateway_is_the_paths_fault() {
    let mut story = healthy();
    set(&mut story, link(), Some(RIGHT), Seen::Found, None);
    set(
        &mut story,
        default_route(),
        Some("via 10.10.0.1 dev eth0"),
        Seen::Found,
        None,
    );
    let (verdict, place) = only(&mut story, "R43");
    assert_eq!((place, verdict.confidence), (Where::DataPath, Confidence::Strong));
    assert!(
        verdict.explanation.contains(
            "They were sent to another link-layer address than eth0 has: 02:00:00:00:00:02, which was not seen to change since the \
             start, and by which 8 packets reached connections since then"
        ) && verdict
            .explanation
            .contains("the entry for 10.10.0.2 that is wrong at who sends them: by the routes of this node 10.10.0.1."),
        "{}",
        verdict.explanation
    );
    assert!(
        verdict.remedy[0].starts_with("arping -U -c 3 -I eth0 10.10.0.2  # ")
            && verdict.remedy[1].starts_with("At 10.10.0.1, delete the entry"),
        "{:?}",
        verdict.remedy
    );
}

#[test]
fn a_device_that_was_given_another_address_is_this_nodes_fault() {
    let mut story = healthy();
    set(&mut story, link(), Some(RIGHT), Seen::Found, None);
    set(&mut story, link(), Some(OTHER), Seen::Told, None);
    let (verdict, place) = only(&mut story, "R21");
    assert_eq!(
        (place, verdict.cause.relation),
        (Where::GuestKernel, Relation::Explains)
    );
    // It has its own back: what is over was no less its fault.
    set(&mut story, link(), Some(RIGHT), Seen::Told, None);
    assert_eq!(story.ids(), ["R21"]);
}

/// Other changes of the device are none of its address.
#[test]
fn a_device_that_was_changed_otherwise_has_the_same_address() {
    let mut story = healthy();
    set(&mut story, link(), Some(RIGHT), Seen::Found, None);
    let larger = RIGHT.replace("1500", "9000");
    set(&mut story, link(), Some(&larger), Seen::Told, None);
    only(&mut story, "R43");
}

/// Nothing has come through since the start: whoever changed what had done so before.
#[test]
fn whose_fault_it_is_cannot_be_told_where_nothing_is_known_to_have_worked() {
    let mut story = Story::begin();
    for port in [40_000, 40_001] {
        story.socket(client(port), None, SocketState::Established, "curl");
    }
    set(&mut story, link(), Some(OTHER), Seen::Found, None);
    let (verdict, place) = only(&mut story, "R21");
    assert_eq!(place, Where::GuestKernel);
    assert!(
        verdict
            .explanation
            .contains("Since the start nothing has reached a connection by eth0: whether its link-layer address was another"),
        "{}",
        verdict.explanation
    );
}

#[test]
fn an_entry_that_is_wrong_on_this_node_itself_is_its_own_fault() {
    let mut story = healthy();
    set(&mut story, link(), Some(RIGHT), Seen::Found, None);
    story.say(Body::Setting(Box::new(Setting {
        netns: NETNS + 1,
        thing: Thing::Neighbour {
            device: "eth0".to_owned(),
            address: ip("10.10.0.2"),
        },
        value: Some("lladdr 02:00:00:00:00:99 PERMANENT".to_owned()),
        seen: Seen::Found,
        by: None,
        by_unknown: None,
    })));
    let (_, place) = only(&mut story, "R21");
    assert_eq!(place, Where::GuestKernel);
}
