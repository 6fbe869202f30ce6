//! What is told of changes in real network namespaces. Needs root: makes its own and removes them.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "root_config/actors.rs"]
mod actors;
#[path = "root_config/bursts.rs"]
mod bursts;
#[path = "root_config/devices.rs"]
mod devices;
#[path = "root_config/firewalls.rs"]
mod firewalls;
#[path = "root_config/invariants.rs"]
mod invariants;
#[path = "root_config/neighbours.rs"]
mod neighbours;
#[path = "root_config/programs.rs"]
mod programs;
#[path = "root_config/routes.rs"]
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, channel, error::TryRecvError};
use tracer::event::{
    Body, Capability, CapabilityState, Event, Notice, NoticeKind, Seen, Setting, Thing, Unknown,
};
use tracer::model::Model;
use tracer::node::Netns;
use tracer::node::clock;
use tracer::node::config::{self, Watched};
use tracer::node::source::Source;
use tracer::node::xtables;
use tracer::probe::Xtables;

/// How long a change may take until it is told.
const PATIENCE: Duration = Duration::from_secs(30);
/// From one round of the whole tracer to the next, about.
const ROUND: Duration = Duration::from_millis(100);

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

    /// The index of a device in it.
    fn index_of(&self, device: &str) -> u32 {
        let shown = Command::new("ip")
            .args(["-n", &self.0, "-o", "link", "show", device])
            .output()
            .unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        shown.split(':').next().unwrap().parse().unwrap()
    }

    /// Runs `ip` in it, and tells its process id.
    fn ip(&self, arguments: &str) -> u32 {
        run("ip", &format!("-n {} {arguments}", self.0))
    }

    /// A device `up0` with something at its other end. Both have what the kernel gives them once it has noticed that they
    /// have a carrier.
    fn add_device(&self) {
        self.ip("link add up0 type veth peer name far0");
        self.ip("link set far0 up");
        self.ip("link set up0 up");
        self.wait_until_shown(
            "-6 route show table local type multicast",
            &["dev up0 ", "dev far0 "],
        );
    }

    /// Has `ip` do this, and live on.
    fn asks(&self, arguments: &str) -> Asker {
        Asker::new("ip", &self.0, arguments)
    }

    /// The same for any command.
    fn exec(&self, arguments: &str) -> u32 {
        run("ip", &format!("netns exec {} {arguments}", self.0))
    }

    /// Waits for the local route of an address of IPv6: the kernel makes it once it has noticed that the device has a
    /// carrier.
    fn wait_until_local(&self, address: &str) {
        self.wait_until_shown(&format!("-6 route show table local {address}"), &[address]);
    }

    /// Waits until `ip` shows all of these.
    fn wait_until_shown(&self, arguments: &str, all: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ip = Command::new("ip")
                .args(["-n", &self.0])
                .args(arguments.split(' '))
                .output();
            let shown = String::from_utf8(ip.unwrap().stdout).unwrap();
            if all.iter().all(|one| shown.contains(one)) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "ip {arguments} does not show {all:?}: {shown}"
            );
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

/// Who has asked for a change, and lives until it was told whose it is. Nobody remembers here those that have ended.
struct Asker {
    child: Child,
    command: &'static str,
}

impl Asker {
    /// A tool that reads what it does, so that it goes on with nothing when that is done.
    fn new(command: &'static str, named: &str, arguments: &str) -> Self {
        let mut child = Command::new(command)
            .args(["-n", named, "-batch", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.as_mut().unwrap();
        writeln!(stdin, "{arguments}").unwrap();
        Self { child, command }
    }

    /// It has made this change.
    fn made(self, setting: &Setting) {
        let by = setting.by.as_ref().map(|by| (by.pid, by.command.clone()));
        assert!(by.is_some(), "{setting:?}");
        self.made_all([by]);
    }

    /// It is who all of these are.
    fn made_all(mut self, all: impl IntoIterator<Item = Option<(u32, String)>>) {
        let own = Some((self.child.id(), self.command.to_owned()));
        for by in all {
            assert_eq!(by, own);
        }
        // It ends with what it reads.
        let output = self.child.wait().unwrap();
        assert!(output.success());
    }
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
        Self::with_room(all, 1 << 16)
    }

    /// The same with room for so many events that are not taken yet: the source waits where there is none.
    fn with_room(all: &[Named], room: usize) -> Self {
        let tables = Some(Xtables::open as xtables::Open);
        Self::with(all, room, config::Bpf { ended: None, tables })
    }

    /// The same, as `tracer node` does.
    fn without_bpf(named: &Named) -> Self {
        Self::with(std::slice::from_ref(named), 1 << 16, config::Bpf::default())
    }

    fn with(all: &[Named], room: usize, bpf: config::Bpf) -> Self {
        let all: Vec<_> = all.iter().map(|named| Netns::open(&named.0).unwrap()).collect();
        let inode = all[0].inode();
        let (watched, inbox) = config::watched().unwrap();
        watched.set(all);
        let (sender, events) = channel(room);
        let source = Source::start("test", sender, move |teller| config::run(&inbox, bpf, teller)).unwrap();
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

    /// The next event; while nothing is told one is that time goes on, as it is of the whole tracer.
    fn next(&mut self) -> Event {
        let silence = Instant::now() + ROUND;
        let event = loop {
            match self.events.try_recv() {
                Ok(event) => break event,
                Err(TryRecvError::Empty) if Instant::now() < silence => {
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(TryRecvError::Empty) => {
                    let at = clock::boottime_ns();
                    let body = Body::Tick;
                    break Event { at, body };
                }
                Err(error) => panic!("nothing is told: {error}"),
            }
        };
        self.model.apply(&event);
        event
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

    let asker = named.asks("rule del pref 0");
    let (_, gone) = listening.change_of("IPv4 rule 0: from all lookup local");
    assert_eq!((&gone.value, gone.seen), (&None, Seen::Told));
    asker.made(&gone);
    let asker = named.asks("rule add pref 9 fwmark 0x200/0xf00 lookup 2004");
    let (_, new) = listening.change_of("IPv4 rule 9: from all fwmark 0x200/0xf00 lookup 2004");
    assert_eq!(new.value.as_deref(), Some(""));
    asker.made(&new);

    let asker = named.asks("address add 10.99.0.1/24 dev up0");
    let (_, new) = listening.change_of("address 10.99.0.1/24 on up0");
    assert_eq!(new.value.as_deref(), Some("scope global"));
    asker.made(&new);
    let asker = named.asks("route add 10.98.0.0/16 via 10.99.0.9 metric 5 mtu 1400");
    let (_, new) = listening.change_of("route 10.98.0.0/16 metric 5");
    assert_eq!(
        new.value.as_deref(),
        Some("via 10.99.0.9 dev up0 proto boot mtu 1400")
    );
    asker.made(&new);
    named.ip("route replace 10.98.0.0/16 via 10.99.0.8 metric 5");
    assert_eq!(
        listening.value_of("route 10.98.0.0/16 metric 5").as_deref(),
        Some("via 10.99.0.8 dev up0 proto boot")
    );
    let asker = named.asks("neigh replace 10.99.0.9 lladdr 02:00:00:00:00:09 dev up0");
    let (_, new) = listening.change_of("neighbour 10.99.0.9 on up0");
    assert_eq!(new.value.as_deref(), Some("lladdr 02:00:00:00:00:09 PERMANENT"));
    asker.made(&new);
    // A route leads by this one; that it fails before it is gone is how the kernel deletes it.
    named.ip("neigh add 10.99.0.8 lladdr 02:00:00:00:00:08 dev up0 nud reachable");
    let (_, new) = listening.change_of("neighbour 10.99.0.8 on up0");
    assert_eq!(new.value.as_deref(), Some("lladdr 02:00:00:00:00:08"));
    let asker = named.asks("neigh del 10.99.0.8 dev up0");
    let (_, gone) = listening.change_of("neighbour 10.99.0.8 on up0");
    assert_eq!(gone.value, None);
    asker.made(&gone);
    run("tc", &format!("-n {} qdisc add dev up0 clsact", named.0));
    assert_eq!(
        listening.value_of("qdisc clsact ffff: on up0").as_deref(),
        Some("")
    );
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

/// A cgroup; removed with the value.
struct Group(PathBuf);

impl Group {
    /// One of v2.
    fn new() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let place = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (place, kind) = (words.next()?, words.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(place))
        });
        let group = Self(place.unwrap().join(format!("tc{}", std::process::id())));
        std::fs::create_dir(&group.0).unwrap();
        group
    }

    /// One with so little memory that nothing but a shell starts in it.
    fn scarce() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let name = format!("tc{}-scarce", std::process::id());
        let made = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (place, kind, options) = (words.next()?, words.next()?, words.next()?);
            let limit = match kind {
                "cgroup" if options.split(',').any(|one| one == "memory") => "memory.limit_in_bytes",
                "cgroup2" => "memory.max",
                _ => return None,
            };
            let group = Self(PathBuf::from(place).join(&name));
            std::fs::create_dir(&group.0).unwrap();
            // Beside v1 one of v2 has no memory of its own.
            std::fs::write(group.0.join(limit), "16777216").ok()?;
            Some(group)
        });
        made.expect("no cgroup can have its memory bounded")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever was killed leaves it at once.
        let end = Instant::now() + PATIENCE;
        while std::fs::remove_dir(&self.0).is_err() && Instant::now() < end {
            std::thread::yield_now();
        }
    }
}

#[test]
fn who_is_killed_for_want_of_memory_is_told() {
    let (named, scarce) = (Named::new(), Group::scarce());
    let mut listening = Listening::to(&named);
    // A line that never ends.
    let greedy = format!(
        "echo $$ >{}/cgroup.procs; exec tail /dev/zero",
        scarce.0.display()
    );
    let mut child = Command::new("sh").args(["-c", &greedy]).spawn().unwrap();
    let killed = format!("Killed process {} (tail)", child.id());
    let is_it = |notice: &Notice| notice.text.contains(&killed);
    let killed = loop {
        match listening.next().body {
            Body::Notice(notice) if is_it(&notice) => break notice,
            _ => {}
        }
    };
    assert_eq!(killed.kind, NoticeKind::OutOfMemory);
    assert!(killed.text.contains("; it was of "), "{}", killed.text);
    // It did not do it.
    assert_eq!(killed.by, None);
    assert!(!child.wait().unwrap().success());
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
    let asker = named.asks("nexthop add id 7 via 10.99.0.253 dev up0");
    let (_, new) = listening.change_of("nexthop 7");
    assert_eq!(new.value.as_deref(), Some("via 10.99.0.253 dev up0"));
    asker.made(&new);
    named.ip("route add 10.97.0.0/16 nhid 7");
    let route = listening.value_of("route 10.97.0.0/16").unwrap();
    assert!(route.contains("via 10.99.0.253"), "{route}");
    named.ip("nexthop replace id 7 via 10.99.0.252 dev up0");
    // Of the route that names it the kernel tells nothing.
    let (_, route) = listening.change_of("route 10.97.0.0/16");
    assert!(route.value.is_some_and(|route| route.contains("via 10.99.0.252")));
    let asker = named.asks("nexthop del id 7");
    let (_, gone) = listening.change_of("nexthop 7");
    assert_eq!(gone.value, None);
    asker.made(&gone);
    assert_eq!(listening.value_of("route 10.97.0.0/16"), None);

    let asker = named.asks(&format!("netns set {} 77", other.0));
    let (_, new) = listening.change_of("another network namespace's id 77");
    assert_eq!(new.value.as_deref(), Some(""));
    asker.made(&new);
}

#[test]
fn what_is_not_seen_is_said() {
    let mut all = vec![Named::new()];
    assert_eq!(Listening::to(&all[0]).unseen, "");
    // Asking makes the table.
    all[0].exec("iptables-legacy -t filter -S");
    let listening = Listening::without_bpf(&all[0]);
    assert_eq!(
        listening.has_found("rules of ip_tables filter"),
        Some("rules not read")
    );
    let of_rules = "Of the rules of ip_tables only the names of their tables are seen";
    assert!(listening.unseen.starts_with(of_rules), "{}", listening.unseen);

    all.extend((0..16).map(|_| Named::new()));
    let listening = Listening::to_all(&all);
    let of_many = "More than 16 network namespaces are watched: changes of kernel parameters";
    assert!(listening.unseen.starts_with(of_many), "{}", listening.unseen);
    assert_eq!(listening.has_found("sysctl net.ipv4.conf.all.arp_ignore"), None);
}
