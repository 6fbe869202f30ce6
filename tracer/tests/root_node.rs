//! What is learnt of real namespaces and cgroups. Needs root: makes its own and removes them.
//! `cargo xtask test --no-root` leaves out files that are named so.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "root_node/listed.rs"]
mod listed;
#[path = "root_node/losses.rs"]
mod losses;

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol as SocketProtocol, SocketFlags, SocketType, bind, connect, ipproto, listen,
    socket, socket_with, sockopt,
};
use tracer::event::SocketState::{Close, Established, Listen, TimeWait};
use tracer::event::{
    CapabilityState, Chain, Chains, Counter, Device, Family, FlowKey, Point, Protocol, Queue, Socket,
    SocketState, Source,
};
use tracer::node::chains::Reader;
use tracer::node::counters::Counters;
use tracer::node::{Netns, Owners, clock, devices, namespace, sockets};

/// How long the kernel may take for what it does on its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// A name that no other test has.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "tn{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("iproute2 is needed");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A named network namespace that ends with the value.
struct Named(String);

impl Named {
    fn new() -> Self {
        let named = Self(unique());
        ip(&format!("netns add {}", named.0));
        ip(&format!("-n {} link set lo up", named.0));
        named
    }

    fn open(&self) -> Netns {
        Netns::open(&self.0).unwrap()
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

/// A process that ends with the value.
struct Process(Child);

impl Process {
    /// Starts a command that says `ready` when it is, and then stays.
    fn start(program: &str, arguments: &[&str]) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = Self(child.unwrap());
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file that is removed with the value.
struct LeftOver(PathBuf);

impl Drop for LeftOver {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A cgroup (v2) named like a service, in a slice of its own.
struct Service(PathBuf);

impl Service {
    fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mount = fields
            .find(|fields| fields[2] == "cgroup2")
            .expect("cgroup v2 must be mounted");
        let service = Self(PathBuf::from(mount[1]).join(format!("{}.slice/test.service", unique())));
        fs::create_dir_all(&service.0).unwrap();
        service
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Only a group without processes can be removed, and the last one may still be leaving.
        let deadline = Instant::now() + PATIENCE;
        while fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        let _ = self.0.parent().map(fs::remove_dir);
    }
}

fn inode(socket: &impl AsFd) -> u64 {
    rustix::fs::fstat(socket).unwrap().st_ino
}

fn v4(text: &str) -> IpAddr {
    IpAddr::V4(text.parse::<Ipv4Addr>().unwrap())
}

fn v6(text: &str) -> IpAddr {
    IpAddr::V6(text.parse::<Ipv6Addr>().unwrap())
}

#[test]
fn devices_have_addresses_and_uplinks() {
    let (near, far) = (Named::new(), Named::new());
    ip(&format!(
        "-n {} link add up0 type veth peer name up0 netns {}",
        near.0, far.0
    ));
    ip(&format!(
        "-n {} link add other0 type veth peer name other1",
        near.0
    ));
    ip(&format!("-n {} address add 10.99.0.1/24 dev up0", near.0));
    ip(&format!(
        "-n {} address add 10.99.1.1 peer 10.99.1.2 dev up0",
        near.0
    ));
    ip(&format!(
        "-n {} address add 2001:db8:99::1/64 dev up0 nodad",
        near.0
    ));
    let netns = [near.open(), far.open()];

    let found = devices::list(&netns, &[]).unwrap();
    let here: Vec<&Device> = found
        .devices
        .iter()
        .filter(|device| device.netns == netns[0].inode())
        .collect();
    let by_name = |name: &str| *here.iter().find(|device| device.name == name).unwrap();
    assert_eq!(here.len(), 4);
    assert_eq!(
        by_name("up0").addresses,
        [v4("10.99.0.1"), v4("10.99.1.1"), v6("2001:db8:99::1")]
    );
    let lo = by_name("lo");
    assert_eq!((lo.index, lo.uplink), (1, false));
    assert_eq!(lo.addresses, [v4("127.0.0.1"), v6("::1")]);
    let index = netns[0]
        .enter(|| {
            let any = socket(AddressFamily::UNIX, SocketType::DGRAM, None).unwrap();
            rustix::net::netdevice::name_to_index(any, "up0").unwrap()
        })
        .unwrap();
    assert_eq!(by_name("up0").index, index);

    // A veth has no hardware parent, and nothing else is there.
    assert!(
        ["up0", "other0", "other1"]
            .iter()
            .all(|name| by_name(name).uplink)
    );
    assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
    assert_eq!(devices::capability(&found.notes).state, CapabilityState::Partial);

    let named = devices::list(&netns, &["other0".to_owned(), "up0".to_owned()]).unwrap();
    let uplinks: HashSet<(u32, &str)> = named
        .devices
        .iter()
        .filter(|device| device.uplink)
        .map(|device| (device.netns, device.name.as_str()))
        .collect();
    let expected = [
        (netns[0].inode(), "other0"),
        (netns[0].inode(), "up0"),
        (netns[1].inode(), "up0"),
    ];
    assert_eq!(uplinks, HashSet::from(expected));
    assert_eq!(
        devices::capability(&named.notes).state,
        CapabilityState::Available
    );

    let missing = ["other0".to_owned()];
    let found = devices::list(&netns[1..], &missing).unwrap();
    let error = devices::require(&missing, &netns[1..], &found.devices).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no device `other0`; there are: lo, up0"
    );
}

fn nft(named: &Named, commands: &str) {
    let output = Command::new("ip")
        .args(["netns", "exec", &named.0, "nft", commands])
        .output()
        .expect("iproute2 is needed");
    assert!(
        output.status.success(),
        "nft {commands}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn base_chains_that_filter_are_told_when_they_change() {
    let (named, other) = (Named::new(), Named::new());
    let (netns, empty) = (named.open(), other.open());
    let mut reader = Reader::default();
    let mut told = || reader.visit(&netns).unwrap();
    assert_eq!(told(), None, "there is none yet");
    nft(
        &named,
        "add table inet guard; \
         add chain inet guard in { type filter hook input priority -5; }; \
         add chain inet guard nat { type nat hook prerouting priority 0; }; \
         add chain inet guard of-others; \
         add table netdev early; \
         add chain netdev early in { type filter hook ingress device lo priority 0; }; \
         add table bridge b; \
         add chain bridge b f { type filter hook forward priority 7; }; \
         add table arp a; \
         add chain arp a o { type filter hook output priority 0; }; \
         add table ip6 six; \
         add chain ip6 six raw { type filter hook prerouting priority raw; }",
    );
    let chain = |family, hook, priority, table: &str, name: &str| Chain {
        family,
        hook,
        priority,
        table: table.to_owned(),
        name: name.to_owned(),
    };
    let mut expected = Chains {
        netns: netns.inode(),
        chains: vec![
            chain(Family::Inet, Point::Input, -5, "guard", "in"),
            chain(Family::Arp, Point::Output, 0, "a", "o"),
            chain(Family::Netdev, Point::Ingress, 0, "early", "in"),
            chain(Family::Bridge, Point::Forward, 7, "b", "f"),
            chain(Family::Ip6, Point::Prerouting, -300, "six", "raw"),
        ],
    };
    assert_eq!(told(), Some(expected.clone()));
    assert_eq!(told(), None, "nothing has changed");
    nft(&named, "add rule inet guard in tcp dport 22 accept");
    assert_eq!(told(), None, "a rule has, but no chain");
    nft(&named, "delete table inet guard");
    expected.chains.remove(0);
    assert_eq!(told(), Some(expected));

    assert_eq!(reader.visit(&empty).unwrap(), None);
    assert!(reader.knows(&netns) && reader.knows(&empty));
    assert_eq!(reader.capability().why, "");
    reader.keep(|inode| inode == empty.inode());
    assert!(!reader.knows(&netns));
}

#[test]
fn namespaces_are_found_by_name_by_path_and_all() {
    let named = Named::new();
    let nameless = Process::start("unshare", &["--net", "sh", "-c", "echo ready; exec cat"]);
    let pid = nameless.0.id();

    let by_name = named.open();
    let path = format!("/run/netns/{}", named.0);
    assert_eq!(Netns::open(&path).unwrap().inode(), by_name.inode());
    assert_eq!(u64::from(by_name.inode()), fs::metadata(&path).unwrap().ino());
    assert!(!by_name.is_current());
    let of_process = Netns::open(&format!("/proc/{pid}/ns/net")).unwrap();
    assert_ne!(of_process.inode(), by_name.inode());

    let all = Netns::all().unwrap();
    assert_eq!(all.namespaces[0].name(), "host");
    let names = |inode: u32| -> Vec<&str> {
        all.namespaces
            .iter()
            .filter(|netns| netns.inode() == inode)
            .map(Netns::name)
            .collect()
    };
    assert_eq!(names(by_name.inode()), [named.0.as_str()]);
    let [name] = names(of_process.inode())[..] else {
        panic!("once: {all:?}")
    };
    assert!(name.starts_with(&format!("pid:{pid} ")), "{name}");
}

#[test]
fn entering_leaves_the_caller_where_it_is() {
    let named = Named::new();
    let netns = named.open();
    let here = || fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
    let before = here();
    assert_eq!(netns.enter(here).unwrap(), u64::from(netns.inode()));
    assert_eq!(here(), before);
}

#[test]
fn a_namespace_is_not_kept_alive_and_its_end_is_told() {
    let named = Named::new();
    let netns = named.open();
    ip(&format!("netns del {}", named.0));
    let error = netns.enter(|| ()).unwrap_err();
    assert!(matches!(error, namespace::Error::Ended { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with(&format!("network namespace `{}` has ended", named.0))
    );

    let both = devices::list(&[Netns::current().unwrap(), netns.clone()], &[]).unwrap();
    assert!(
        both.notes.iter().any(|note| note.text.contains(&named.0)),
        "{:?}",
        both.notes
    );
    assert!(matches!(
        devices::list(&[netns], &[]),
        Err(devices::Error::Namespace(_))
    ));
}

#[test]
fn a_name_that_was_left_behind_is_no_namespace() {
    // Makes the folder, if nothing else has.
    let _named = Named::new();
    let name = unique();
    let left_over = LeftOver(format!("/run/netns/{name}").into());
    fs::write(&left_over.0, "").unwrap();
    assert!(matches!(
        Netns::open(&name),
        Err(namespace::Error::NotNetns { .. })
    ));
    let all = Netns::all().unwrap();
    assert!(all.namespaces.iter().all(|netns| netns.name() != name));
}

#[test]
fn a_process_in_a_unit_is_named_by_pid_and_its_cgroup_by_id() {
    let mut owners = Owners::new();
    let service = Service::new();
    let process = Process::start("sh", &["-c", "echo ready; exec cat"]);
    let pid = process.0.id();
    fs::write(service.0.join("cgroup.procs"), pid.to_string()).unwrap();

    let slice = service.0.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let path = format!("/{slice}/test.service");
    let owner = Owners::by_pid(pid).unwrap();
    assert_eq!(
        (owner.cgroup.as_str(), owner.unit.as_str()),
        (path.as_str(), "test.service")
    );
    let id = fs::metadata(&service.0).unwrap().ino();
    let cgroup = owners.by_cgroup(id, 0).unwrap();
    assert_eq!(
        (cgroup.path.as_str(), cgroup.unit.as_str()),
        (path.as_str(), "test.service")
    );
    drop(process);
    assert_eq!(Owners::by_pid(pid), None);

    // Nobody has a socket of it any more: its group is still known.
    let owner = owners.by_socket(0, id, 0).unwrap();
    assert_eq!(
        (owner.pid, owner.command.as_str(), owner.unit.as_str()),
        (0, "", "test.service")
    );
    assert_eq!(owner.cgroup, path);
    let root = service.0.parent().unwrap().parent().unwrap();
    let root = fs::metadata(root).unwrap().ino();
    assert!(owners.by_cgroup(root, 0).is_some());
    for nobodys in [root, 0, u64::MAX] {
        assert_eq!(owners.by_socket(0, nobodys, u64::MAX), None);
    }
}
