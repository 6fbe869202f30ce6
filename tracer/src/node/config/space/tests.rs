//! A space of the namespace of the tests, of which more is known than stands.

use super::super::super::netlink;
use super::*;

const GHOST: Thing = Thing::Nexthop { id: 4_000_000_000 };

fn haunted() -> (Space, Vec<Told>) {
    let (mut space, found) = Space::open(Netns::current().unwrap(), Loaded::default(), None).unwrap();
    space.known.add(GHOST, "via 192.0.2.1".to_owned()).unwrap();
    (space, found)
}

#[test]
fn what_went_while_nobody_listened_is_told_once_it_is_listened_to_again() {
    let (mut space, _) = haunted();
    let error = netlink::Error::Socket(std::io::ErrorKind::OutOfMemory.into());
    space.broke(&Error::Netlink(error));
    assert!(space.broken().unwrap().contains("netlink does not work"));
    assert_eq!((space.ears().count(), space.due()), (0, None));

    let told = space.mend().unwrap();
    let ghost = told.iter().find(|told| told.change == (GHOST, None)).unwrap();
    assert_eq!(
        (ghost.seen, &ghost.by),
        (Seen::Noticed, &Some(Err(Unknown::Lost)))
    );
    assert_eq!((space.broken(), space.ears().count()), (None, 1));
}

/// `eth0.100` is a device of its own.
#[test]
fn the_parameters_of_a_device_go_with_it_and_those_of_others_stay() {
    let (mut space, _) = haunted();
    let of = |device: &str| Thing::Sysctl {
        name: format!("net.ipv4.conf.{device}.rp_filter"),
    };
    for device in ["ghost0", "ghost0.100"] {
        space.known.add(of(device), "1".to_owned());
    }
    let gone = space.forget_parameters_of("ghost0");
    assert_eq!(gone, [((of("ghost0"), None), Seen::Found)]);
    assert!(space.known.has(&of("ghost0.100")));
}

#[test]
fn what_is_not_listened_to_any_more_is_told_as_gone() {
    let (mut space, found) = haunted();
    let told = space.forget();
    assert!(
        told.iter()
            .all(|told| told.change.1.is_none() && told.seen == Seen::Found)
    );
    let gone: BTreeSet<&Thing> = told.iter().map(|told| &told.change.0).collect();
    assert!(gone.contains(&GHOST));
    for found in &found {
        assert!(gone.contains(&found.change.0), "{}", found.change.0);
    }
    assert!(space.forget().is_empty(), "once");
}
