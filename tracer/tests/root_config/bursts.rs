//! Much at once.

use super::*;

/// `ip` that is fed with commands, in a namespace.
fn batch(named: &Named) -> Child {
    Command::new("ip")
        .args(["-n", &named.0, "-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_burst_of_routes_does_not_lose_how_it_ends() {
    const ROUTES: usize = 10_000;
    let named = Named::new();
    named.add_device();
    let mut listening = Listening::to(&named);
    let mut child = batch(&named);
    let mut stdin = child.stdin.take().unwrap();
    let mut commands = String::new();
    for action in ["add", "del"] {
        for number in 0..ROUTES {
            // The last one stays.
            if action == "add" || number + 1 < ROUTES {
                commands += &format!(
                    "route {action} 10.{}.{}.0/24 dev up0\n",
                    number / 256,
                    number % 256
                );
            }
        }
    }
    commands += "rule add pref 7 lookup 7\n";
    stdin.write_all(commands.as_bytes()).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    let last = format!("route 10.{}.{}.0/24", (ROUTES - 1) / 256, (ROUTES - 1) % 256);
    let last = BTreeSet::from([last]);
    let (mut standing, mut has_ended) = (BTreeSet::new(), false);
    // Where it was too much at once the end may be told before the rest.
    while !has_ended || standing != last {
        let Body::Setting(setting) = listening.next().body else {
            continue;
        };
        let thing = setting.thing.to_string();
        has_ended |= thing == "IPv4 rule 7: from all lookup 7";
        if !thing.starts_with("route 10.") {
        } else if setting.value.is_some() {
            standing.insert(thing);
        } else {
            standing.remove(&thing);
        }
    }
}

#[test]
fn what_was_too_much_at_once_is_read_again() {
    const ROUTES: usize = 20_000;
    let named = Named::new();
    named.add_device();
    // So little room that the source waits for its reader.
    let mut listening = Listening::with_room(std::slice::from_ref(&named), 1);
    let mut child = batch(&named);
    let mut stdin = child.stdin.take().unwrap();
    for number in 0..ROUTES {
        writeln!(
            stdin,
            "route add 10.{}.{}.0/24 dev up0",
            number / 256,
            number % 256
        )
        .unwrap();
    }
    writeln!(stdin, "rule del pref 0").unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    let (mut routes, mut lost, mut gone) = (0, None, false);
    // How well the source works is told each second, so that nothing may be wrong for longer than for all of this.
    let end = Instant::now() + 6 * PATIENCE;
    // The order is not that in which it happened.
    while lost.is_none() || !gone || routes < ROUTES {
        assert!(
            Instant::now() < end,
            "{routes} routes, lost {lost:?}, the rule is gone: {gone}"
        );
        match listening.next().body {
            // BPF programs of others come and go beside.
            Body::Setting(setting) if setting.netns == listening.netns => {
                // Whoever made it was not heard; the kernel's answers are of whoever was heard before they were asked for.
                if setting.seen == Seen::Noticed && !matches!(setting.thing, Thing::Answer { .. }) {
                    let who = (&setting.by, setting.by_unknown);
                    assert_eq!(who, (&None, Some(Unknown::Lost)), "{}", setting.thing);
                }
                match setting.thing {
                    Thing::Route { .. } => routes += usize::from(setting.value.is_some()),
                    Thing::Rule { priority: 0, .. } => gone = setting.value.is_none(),
                    _ => {}
                }
            }
            Body::Capability(Capability { state, why, .. }) if state != CapabilityState::Available => {
                lost = Some(why);
            }
            _ => {}
        }
    }
    assert!(lost.unwrap().contains("more changed at once than could be read"));
}

/// What one did makes a look at all routes necessary, and before that another one does more, which the look finds, too.
#[test]
fn what_is_found_is_whose_it_is() {
    let named = with_address();
    named.ip("nexthop add id 7 via 10.99.0.253 dev up0");
    named.ip("route add 10.97.0.0/16 nhid 7");
    let mut listening = Listening::with_room(std::slice::from_ref(&named), 1);
    // With this one there is no room for more, so that the source waits before it looks.
    named.ip("rule add pref 7 lookup 7");
    let deadline = Instant::now() + PATIENCE;
    while listening.events.is_empty() {
        assert!(Instant::now() < deadline, "nothing is told");
    }
    let first = named.asks("nexthop replace id 7 via 10.99.0.252 dev up0");
    named.wait_until_shown("nexthop show", &["10.99.0.252"]);
    let second = named.asks("nexthop del id 7\naddress add 10.98.0.2/32 dev up0");
    named.wait_until_shown("address show", &["10.98.0.2"]);
    let (_, replaced) = listening.change_of("nexthop 7");
    assert_eq!(replaced.value.as_deref(), Some("via 10.99.0.252 dev up0"));
    first.made(&replaced);
    let (_, gone) = listening.change_of("nexthop 7");
    assert_eq!(gone.value, None);
    second.made(&gone);
}

/// Since the time of a route is over all are read again and again. A list of so many takes its time, and has what is added
/// meanwhile before that is heard.
#[test]
fn what_comes_while_all_is_read_again_is_not_said_to_be_told_by_nobody() {
    const ROUTES: usize = 10_000;
    const MORE: usize = 200;
    let named = Named::new();
    named.add_device();
    let mut child = batch(&named);
    let mut stdin = child.stdin.take().unwrap();
    let to = |number: usize| format!("10.{}.{}.0/24", number / 256, number % 256);
    for number in 0..ROUTES {
        writeln!(stdin, "route add {} dev up0", to(number)).unwrap();
    }
    writeln!(stdin, "rule add pref 7 lookup 7").unwrap();
    stdin.flush().unwrap();
    let mut listening = Listening::to(&named);
    if listening.has_found("IPv4 rule 7: from all lookup 7").is_none() {
        listening.change_of("IPv4 rule 7: from all lookup 7");
    }
    named.ip("-6 route add 2001:db8:77::/48 dev up0 expires 1");
    let (mut is_over, mut number, mut left) = (false, ROUTES, MORE);
    while !is_over || left > 0 {
        let next = to(number);
        number += 1;
        left = left.saturating_sub(usize::from(is_over));
        writeln!(stdin, "route add {next} dev up0").unwrap();
        stdin.flush().unwrap();
        loop {
            let Body::Setting(setting) = listening.next().body else {
                continue;
            };
            let thing = setting.thing.to_string();
            is_over |= thing.starts_with("route 2001:db8:77::/48") && setting.value.is_none();
            if thing == format!("route {next}") {
                assert_ne!(setting.by_unknown, Some(Unknown::Compared), "{thing}");
                break;
            }
        }
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}
