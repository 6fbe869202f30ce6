//! What is told of changes in real network namespaces. Needs root: makes its own and removes them.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "root_config/actors.rs"]
mod actors;
#[path = "root_config/invariants.rs"]
mod invariants;
#[path = "root_config/programs.rs"]
mod programs;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, channel, error::TryRecvError};
use tracer::event::{Body, Capability, CapabilityState, Event, NoticeKind, Seen, Setting, Thing, Unknown};
use tracer::model::Model;
use tracer::node::Netns;
use tracer::node::config::{self, Watched};
use tracer::node::source::Source;

/// How long a change may take until it is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// A named network namespace that ends with the value.
struct Named(String);

impl Named {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let named = Self(format!("tc{}-{number}", std::process::id()));
        run("ip", &format!("netns add {}", named.0));
        named.ip("link set lo up");
        named
    }

    /// Runs `ip` in it, and tells its process id.
    fn ip(&self, arguments: &str) -> u32 {
        run("ip", &format!("-n {} {arguments}", self.0))
    }

    /// A device `up0` with something at its other end.
    fn add_device(&self) {
        self.ip("link add up0 type veth peer name far0");
        self.ip("link set far0 up");
        self.ip("link set up0 up");
    }

    /// The same for any command.
    fn exec(&self, arguments: &str) -> u32 {
        run("ip", &format!("netns exec {} {arguments}", self.0))
    }

    /// Waits for the local route of an address of IPv6: the kernel makes it once it has noticed that the device has a
    /// carrier.
    fn wait_until_local(&self, address: &str) {
        let arguments = format!("-n {} -6 route show table local {address}", self.0);
        let deadline = Instant::now() + PATIENCE;
        let is_there = || {
            let shown = Command::new("ip").args(arguments.split(' ')).output();
            !shown.unwrap().stdout.is_empty()
        };
        while !is_there() {
            assert!(Instant::now() < deadline, "ip {arguments} shows nothing");
        }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        // One test removes it by itself.
        let _ = Command::new("ip")
            .args(["netns", "del", &self.0])
            .stderr(Stdio::null())
            .status();
    }
}

/// A node with an address, and a default route.
fn with_address() -> Named {
    let named = Named::new();
    named.add_device();
    named.ip("address add 10.99.0.1/24 dev up0");
    named.ip("address add 2001:db8::1/64 dev up0 nodad");
    named.ip("route add default via 10.99.0.254");
    named.wait_until_local("2001:db8::1");
    named
}

/// Runs a command to its end, and tells its process id.
fn run(program: &str, arguments: &str) -> u32 {
    let child = Command::new(program)
        .args(arguments.split_whitespace())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    pid
}

/// The source, listening to one namespace, and what it told.
struct Listening {
    // Closed before the source is asked to end.
    events: Receiver<Event>,
    _watched: Watched,
    _source: Source,
    found: Vec<Setting>,
    netns: u32,
    /// What is known from all that was taken so far.
    model: Model,
    /// What is not seen, as was said at the start.
    unseen: String,
}

impl Listening {
    fn to(named: &Named) -> Self {
        Self::to_all(std::slice::from_ref(named))
    }

    fn to_all(all: &[Named]) -> Self {
        let all: Vec<_> = all.iter().map(|named| Netns::open(&named.0).unwrap()).collect();
        let inode = all[0].inode();
        let (watched, inbox) = config::watched().unwrap();
        watched.set(all);
        let (sender, events) = channel(1 << 16);
        let source = Source::start("test", sender, move |teller| config::run(&inbox, None, teller)).unwrap();
        let mut listening = Self {
            events,
            _watched: watched,
            _source: source,
            found: Vec::new(),
            netns: inode,
            model: Model::new(),
            unseen: String::new(),
        };
        // The capability follows what was found.
        loop {
            match listening.next().body {
                Body::Setting(setting) => listening.found.push(*setting),
                Body::Capability(capability) if capability.name == config::CAPABILITY => {
                    listening.unseen = capability.why;
                    break;
                }
                _ => {}
            }
        }
        listening
    }

    fn next(&mut self) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.events.try_recv() {
                Ok(event) => {
                    self.model.apply(&event);
                    return event;
                }
                Err(TryRecvError::Empty) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(error) => panic!("nothing is told: {error}"),
            }
        }
    }

    /// The next change of a thing that is called so, as it is displayed.
    fn change_of(&mut self, thing: &str) -> (Event, Setting) {
        let mut others = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let event = self.next();
            if let Body::Setting(setting) = &event.body {
                if setting.thing.to_string() == thing && setting.seen != Seen::Found {
                    let setting = setting.as_ref().clone();
                    assert_eq!(setting.netns, self.netns);
                    return (event, setting);
                }
                others.push(setting.thing.to_string());
            }
        }
        panic!("{thing} is not among {others:?}");
    }

    /// The same, and what it has become.
    fn value_of(&mut self, thing: &str) -> Option<String> {
        self.change_of(thing).1.value
    }

    fn has_found(&self, thing: &str) -> Option<&str> {
        let setting = self
            .found
            .iter()
            .find(|setting| setting.thing.to_string() == thing)?;
        assert_eq!(setting.seen, Seen::Found);
        setting.value.as_deref()
    }
}

/// A change was made by this process. It is short-lived, and may be gone before its name could be read.
fn is_by(setting: &Setting, pid: u32, command: &str) {
    let by = setting.by.as_ref().unwrap_or_else(|| panic!("{setting:?}"));
    assert_eq!(by.pid, pid);
    assert!([command, ""].contains(&by.command.as_str()), "{by:?}");
}

#[test]
fn what_stands_is_found() {
    let named = Named::new();
    named.add_device();
    named.ip("address add 10.99.0.1/24 dev up0");
    named.ip("route add default via 10.99.0.254");
    named.ip("neigh add 10.99.0.7 lladdr 02:00:00:00:00:07 dev up0");
    let listening = Listening::to(&named);
    let found = |thing: &str| listening.has_found(thing);
    assert_eq!(found("IPv4 rule 0: from all lookup local"), Some(""));
    assert_eq!(found("IPv6 rule 0: from all lookup local"), Some(""));
    assert_eq!(found("IPv4 rule 32766: from all lookup main"), Some(""));
    assert_eq!(
        found("route default (IPv4)"),
        Some("via 10.99.0.254 dev up0 proto boot")
    );
    assert_eq!(
        found("route local 10.99.0.1/32 table local"),
        Some("dev up0 proto kernel scope host src 10.99.0.1")
    );
    assert_eq!(found("address 10.99.0.1/24 on up0"), Some("scope global"));
    assert_eq!(
        found("neighbour 10.99.0.7 on up0"),
        Some("lladdr 02:00:00:00:00:07 PERMANENT")
    );
    assert!(
        found("device up0")
            .unwrap()
            .starts_with("up, carrier, mtu 1500, address ")
    );
    assert_eq!(found("sysctl net.ipv4.conf.up0.proxy_arp"), Some("0"));
    assert!(found("device lo").is_some_and(|lo| lo.starts_with("up, carrier, mtu 65536")));
}

#[test]
fn changes_are_told_with_who_made_them() {
    let named = Named::new();
    named.add_device();
    let mut listening = Listening::to(&named);

    let pid = named.ip("rule del pref 0");
    let (_, gone) = listening.change_of("IPv4 rule 0: from all lookup local");
    assert_eq!((&gone.value, gone.seen), (&None, Seen::Told));
    is_by(&gone, pid, "ip");
    let pid = named.ip("rule add pref 9 fwmark 0x200/0xf00 lookup 2004");
    let (_, new) = listening.change_of("IPv4 rule 9: from all fwmark 0x200/0xf00 lookup 2004");
    assert_eq!(new.value.as_deref(), Some(""));
    is_by(&new, pid, "ip");

    let pid = named.ip("address add 10.99.0.1/24 dev up0");
    let (_, new) = listening.change_of("address 10.99.0.1/24 on up0");
    assert_eq!(new.value.as_deref(), Some("scope global"));
    is_by(&new, pid, "ip");
    let pid = named.ip("route add 10.98.0.0/16 via 10.99.0.9 metric 5 mtu 1400");
    let (_, new) = listening.change_of("route 10.98.0.0/16 metric 5");
    assert_eq!(
        new.value.as_deref(),
        Some("via 10.99.0.9 dev up0 proto boot mtu 1400")
    );
    is_by(&new, pid, "ip");
    named.ip("route replace 10.98.0.0/16 via 10.99.0.8 metric 5");
    assert_eq!(
        listening.value_of("route 10.98.0.0/16 metric 5").as_deref(),
        Some("via 10.99.0.8 dev up0 proto boot")
    );
    let pid = named.ip("neigh replace 10.99.0.9 lladdr 02:00:00:00:00:09 dev up0");
    let (_, new) = listening.change_of("neighbour 10.99.0.9 on up0");
    assert_eq!(new.value.as_deref(), Some("lladdr 02:00:00:00:00:09 PERMANENT"));
    is_by(&new, pid, "ip");
    // A route leads by this one; that it fails before it is gone is how the kernel deletes it.
    named.ip("neigh add 10.99.0.8 lladdr 02:00:00:00:00:08 dev up0 nud reachable");
    let (_, new) = listening.change_of("neighbour 10.99.0.8 on up0");
    assert_eq!(new.value.as_deref(), Some("lladdr 02:00:00:00:00:08"));
    let pid = named.ip("neigh del 10.99.0.8 dev up0");
    let (_, gone) = listening.change_of("neighbour 10.99.0.8 on up0");
    assert_eq!(gone.value, None);
    is_by(&gone, pid, "ip");
    run("tc", &format!("-n {} qdisc add dev up0 clsact", named.0));
    assert_eq!(
        listening.value_of("qdisc clsact ffff: on up0").as_deref(),
        Some("")
    );
}

#[test]
fn a_queueing_discipline_that_is_changed_tells_before_and_after() {
    let named = Named::new();
    named.add_device();
    let tc = |arguments: &str| run("tc", &format!("-n {} qdisc {arguments}", named.0));
    tc("add dev up0 root handle 1: tbf rate 8mbit burst 32k limit 64k");
    let mut listening = Listening::to(&named);
    let thing = "qdisc tbf 1: root on up0";
    let found = listening.has_found(thing).unwrap();
    assert!(
        found.starts_with("rate 8000000 bit/s, limit 65536 bytes, options "),
        "{found}"
    );
    let pid = tc("change dev up0 root handle 1: tbf rate 1mbit burst 32k limit 64k");
    let (_, changed) = listening.change_of(thing);
    is_by(&changed, pid, "tc");
    assert!(
        changed
            .value
            .unwrap()
            .starts_with("rate 1000000 bit/s, limit 65536 bytes")
    );
}

#[test]
fn policies_of_ipsec_are_told() {
    let named = Named::new();
    let ask = Command::new("ip")
        .args(["-n", &named.0, "xfrm", "policy"])
        .output();
    if !ask.unwrap().status.success() {
        println!("this kernel has no IPsec");
        return;
    }
    let ends = "src 10.0.0.0/24 dst 10.1.0.0/24";
    named.ip(&format!("xfrm policy add {ends} dir in action block priority 7"));
    let mut listening = Listening::to(&named);
    let found = listening.has_found("IPsec policy in, from 10.0.0.0/24 to 10.1.0.0/24 priority 7");
    assert_eq!(found, Some("block"));
    let tunnel = "tmpl src 192.0.2.1 dst 198.51.100.1 proto esp mode tunnel";
    named.ip(&format!("xfrm policy add {ends} dir out priority 9 {tunnel}"));
    let thing = "IPsec policy out, from 10.0.0.0/24 to 10.1.0.0/24 priority 9";
    let (_, new) = listening.change_of(thing);
    assert_eq!(new.value.as_deref(), Some("esp tunnel 192.0.2.1 -> 198.51.100.1"));
    named.ip(&format!("xfrm policy delete {ends} dir out"));
    let (_, gone) = listening.change_of(thing);
    assert_eq!((&gone.value, gone.seen), (&None, Seen::Told));
    named.ip("xfrm policy flush");
    let first = "IPsec policy in, from 10.0.0.0/24 to 10.1.0.0/24 priority 7";
    assert_eq!(listening.value_of(first), None);
}

#[test]
fn a_route_of_ipv6_that_leads_several_ways_is_one() {
    let named = Named::new();
    named.add_device();
    let mut listening = Listening::to(&named);
    let thing = "route 2001:db8:1::/64 metric 1024";
    named.ip("-6 route add 2001:db8:1::/64 nexthop via fe80::1 dev up0 nexthop via fe80::2 dev up0");
    let (_, new) = listening.change_of(thing);
    let both = "proto boot nexthop via fe80::1 dev up0 weight 1 nexthop via fe80::2 dev up0 weight 1";
    assert_eq!(new.value.as_deref(), Some(both));
    named.ip("-6 route del 2001:db8:1::/64 via fe80::1 dev up0");
    assert_eq!(
        listening.value_of(thing).as_deref(),
        Some("via fe80::2 dev up0 proto boot")
    );
    let pid = named.ip("-6 route del 2001:db8:1::/64");
    let (_, gone) = listening.change_of(thing);
    assert_eq!((&gone.value, gone.seen), (&None, Seen::Told));
    is_by(&gone, pid, "ip");
}

#[test]
fn a_device_that_goes_down_takes_its_routes_along() {
    let named = Named::new();
    named.add_device();
    named.ip("address add 10.99.0.1/24 dev up0");
    named.ip("route add default via 10.99.0.254");
    let mut listening = Listening::to(&named);
    named.ip("link set up0 down");
    let device = listening.value_of("device up0").unwrap();
    assert!(device.starts_with("down, "), "{device}");
    // The kernel does not tell this one.
    let (_, gone) = listening.change_of("route default (IPv4)");
    assert_eq!((gone.value, gone.seen), (None, Seen::Noticed));
    named.ip("link set up0 up mtu 1400");
    loop {
        let device = listening.value_of("device up0").unwrap();
        if device.starts_with("up, carrier, mtu 1400") {
            break;
        }
    }
    named.ip("link set up0 down");
    named.ip("link set up0 name down0");
    loop {
        if listening.value_of("device up0").is_none() {
            break;
        }
    }
    let device = listening.value_of("device down0").unwrap();
    assert!(device.ends_with(", was up0"), "{device}");
    assert_eq!(listening.value_of("address 10.99.0.1/24 on up0"), None);
    named.ip("link del down0");
    loop {
        if listening.value_of("device down0").is_none() {
            break;
        }
    }
}

#[test]
fn kernel_parameters_are_told_with_old_and_new() {
    let named = Named::new();
    named.add_device();
    let mut listening = Listening::to(&named);
    assert_eq!(
        listening.has_found("sysctl net.ipv4.conf.all.rp_filter"),
        Some("0")
    );
    named.exec("sysctl -qw net.ipv4.conf.all.rp_filter=1");
    assert_eq!(
        listening
            .value_of("sysctl net.ipv4.conf.all.rp_filter")
            .as_deref(),
        Some("1")
    );
    named.exec("sysctl -qw net.ipv4.ip_forward=1");
    assert_eq!(
        listening
            .value_of("sysctl net.ipv4.conf.all.forwarding")
            .as_deref(),
        Some("1")
    );
    // The kernel does not tell these.
    assert_eq!(
        listening.has_found("sysctl net.ipv4.conf.up0.arp_ignore"),
        Some("0")
    );
    named.exec("sysctl -qw net.ipv4.conf.up0.arp_ignore=1");
    let (_, changed) = listening.change_of("sysctl net.ipv4.conf.up0.arp_ignore");
    assert_eq!(
        (changed.value.as_deref(), changed.seen),
        (Some("1"), Seen::Noticed)
    );
}

#[test]
fn who_changes_the_rules_of_a_firewall_is_told() {
    let named = Named::new();
    let mut listening = Listening::to(&named);
    let mut change = |command: &str| {
        let pid = named.exec(command);
        let (_, changed) = listening.change_of("rules of nf_tables");
        // `ip netns exec` becomes what it runs.
        let by = changed.by.unwrap();
        assert_eq!((by.pid, by.command.as_str()), (pid, "nft"));
        changed.value.unwrap()
    };
    assert_eq!(
        change("nft add table inet guard"),
        "generation 2, tables: inet guard; table inet guard new"
    );
    assert_eq!(
        change("nft add chain inet guard in { type filter hook input priority 0 ; policy accept ; }"),
        "generation 3, tables: inet guard; table inet guard, chain in with policy accept new"
    );
    // The numbers of what a table has in it are drawn one after another.
    assert_eq!(
        change("nft add rule inet guard in ip saddr 10.1.0.0/20 tcp dport 22 counter drop"),
        "generation 4, tables: inet guard; table inet guard, chain in: \
         rule handle 2 (ipv4 ip saddr 10.1.0.0/20 tcp dport 22 drop) new"
    );
    assert_eq!(
        change("nft chain inet guard in { policy drop ; }"),
        "generation 5, tables: inet guard; table inet guard, chain in: policy drop, was accept"
    );
    assert_eq!(
        change("nft delete rule inet guard in handle 2"),
        "generation 6, tables: inet guard; table inet guard, chain in: \
         rule handle 2 (ipv4 ip saddr 10.1.0.0/20 tcp dport 22 drop) gone"
    );
    assert_eq!(
        change("nft add set inet guard banned { type ipv4_addr ; }"),
        "generation 7, tables: inet guard"
    );
    assert_eq!(
        change("nft add element inet guard banned { 192.0.2.1, 192.0.2.2 }"),
        "generation 8, tables: inet guard; table inet guard, set banned: 2 elements new"
    );
    let told =
        change("nft add rule inet guard in ip daddr != @banned meta l4proto tcp ip saddr 10.0.0.0/8 drop");
    assert!(
        told.ends_with("(ipv4 ip daddr not in @banned tcp ip saddr 10.0.0.0/8 drop) new"),
        "{told}"
    );
    let told =
        change("nft add rule inet guard in ip daddr . tcp dport != { 192.0.2.1 . 22, 192.0.2.2 . 23 } drop");
    assert!(
        told.ends_with("(ipv4 tcp ip daddr . dport not in a set drop) new"),
        "{told}"
    );
    assert!(change("nft flush chain inet guard in").ends_with("not in a set drop) gone"));
    assert_eq!(
        change("nft delete table inet guard"),
        "generation 12, no tables; table inet guard, chain in gone; table inet guard gone"
    );
}

#[test]
fn what_the_kernels_log_says_of_the_network_is_told() {
    let named = Named::new();
    let mut listening = Listening::to(&named);
    let module = format!("Module of-{} not found in directory /nowhere", named.0);
    let mut log = File::options().write(true).open("/dev/kmsg").unwrap();
    writeln!(log, "a test of tracer: this is of no meaning").unwrap();
    writeln!(log, "{module}").unwrap();
    loop {
        if let Body::Notice(notice) = listening.next().body {
            assert!(!notice.text.contains("of no meaning"));
            if notice.text == module {
                assert_eq!(notice.kind, NoticeKind::Module);
                break;
            }
        }
    }
}

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
    let named = Named::new();
    named.add_device();
    let netns = Netns::open(&named.0).unwrap();
    let (watched, inbox) = config::watched().unwrap();
    watched.set(vec![netns]);
    // So little room that the source waits for its reader.
    let (sender, mut events) = channel(1);
    let source = Source::start("test", sender, move |teller| config::run(&inbox, None, teller)).unwrap();
    loop {
        if let Body::Capability(_) = events.blocking_recv().unwrap().body {
            break;
        }
    }
    let mut child = batch(&named);
    let mut stdin = child.stdin.take().unwrap();
    for number in 0..20_000 {
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
    // The order is not that in which it happened.
    while lost.is_none() || !gone || routes < 20_000 {
        match events.blocking_recv().unwrap().body {
            Body::Setting(setting) => {
                if setting.seen == Seen::Noticed {
                    // Whoever made it was not heard.
                    assert_eq!((&setting.by, setting.by_unknown), (&None, Some(Unknown::Lost)));
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
    drop(events);
    drop(source);
}

#[test]
fn a_namespace_ends_although_it_is_watched() {
    let (named, other) = (Named::new(), Named::new());
    named.ip(&format!(
        "link add up0 type veth peer name far0 netns {}",
        other.0
    ));
    let _listening = Listening::to(&named);
    run("ip", &format!("netns del {}", named.0));
    // With it ends what leads there.
    let is_there = || {
        let arguments = ["-n", &other.0, "link", "show", "far0"];
        let shown = Command::new("ip")
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        shown.unwrap().success()
    };
    let deadline = Instant::now() + PATIENCE;
    while is_there() {
        assert!(Instant::now() < deadline, "it is held");
    }
}

#[test]
fn next_hops_and_numbers_of_namespaces_are_told() {
    let (named, other) = (with_address(), Named::new());
    let mut listening = Listening::to(&named);
    let pid = named.ip("nexthop add id 7 via 10.99.0.253 dev up0");
    let (_, new) = listening.change_of("nexthop 7");
    assert_eq!(new.value.as_deref(), Some("via 10.99.0.253 dev up0"));
    is_by(&new, pid, "ip");
    named.ip("route add 10.97.0.0/16 nhid 7");
    let route = listening.value_of("route 10.97.0.0/16").unwrap();
    assert!(route.contains("via 10.99.0.253"), "{route}");
    named.ip("nexthop replace id 7 via 10.99.0.252 dev up0");
    // Of the route that names it the kernel tells nothing.
    let (_, route) = listening.change_of("route 10.97.0.0/16");
    assert!(route.value.is_some_and(|route| route.contains("via 10.99.0.252")));
    let pid = named.ip("nexthop del id 7");
    let (_, gone) = listening.change_of("nexthop 7");
    assert_eq!(gone.value, None);
    is_by(&gone, pid, "ip");
    assert_eq!(listening.value_of("route 10.97.0.0/16"), None);

    let pid = named.ip(&format!("netns set {} 77", other.0));
    let (_, new) = listening.change_of("another network namespace's id 77");
    assert_eq!(new.value.as_deref(), Some(""));
    is_by(&new, pid, "ip");
}

#[test]
fn a_device_without_arp_says_so() {
    let named = with_address();
    let mut listening = Listening::to(&named);
    named.ip("link set up0 arp off");
    let device = listening.value_of("device up0").unwrap();
    assert!(device.contains(", no ARP,"), "{device}");
}

#[test]
fn what_is_not_seen_is_said() {
    let mut all = vec![Named::new()];
    assert_eq!(Listening::to(&all[0]).unseen, "");
    // Asking makes the table.
    all[0].exec("iptables-legacy -t filter -S");
    let listening = Listening::to(&all[0]);
    assert_eq!(listening.has_found("rules of ip_tables"), Some("tables: filter"));
    let of_rules = "Of the rules of ip_tables only the names of their tables are seen";
    assert!(listening.unseen.starts_with(of_rules), "{}", listening.unseen);

    all.extend((0..16).map(|_| Named::new()));
    let listening = Listening::to_all(&all);
    let of_many = "More than 16 network namespaces are watched: changes of kernel parameters";
    assert!(listening.unseen.starts_with(of_many), "{}", listening.unseen);
    assert_eq!(listening.has_found("sysctl net.ipv4.conf.all.arp_ignore"), None);
}
