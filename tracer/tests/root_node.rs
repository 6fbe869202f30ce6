//! What is learnt of real namespaces and cgroups. Needs root: makes its own and removes them.
//! `cargo xtask test --no-root` leaves out files that are named so.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

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
const PATIENCE: Duration = Duration::from_secs(5);

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

/// Sockets of a namespace, as they should be found.
struct Expected<'a> {
    netns: u32,
    found: &'a [Socket],
}

impl Expected<'_> {
    fn check(
        &self,
        socket: &impl AsFd,
        state: SocketState,
        protocol: Protocol,
        (local, local_port): (IpAddr, u16),
        (remote, remote_port): (IpAddr, u16),
    ) {
        let flow = FlowKey {
            netns: self.netns,
            protocol,
            local,
            local_port,
            remote,
            remote_port,
        };
        let same: Vec<&Socket> = self
            .found
            .iter()
            .filter(|found| found.inode == inode(socket))
            .collect();
        let [found] = same[..] else {
            panic!("{flow} once: {same:?}")
        };
        assert_eq!((found.flow, found.state, found.from), (flow, state, None));
        let owner = found
            .owner
            .as_ref()
            .unwrap_or_else(|| panic!("{flow} has no owner"));
        assert_eq!(owner.pid, std::process::id(), "{flow}");
        assert_eq!(
            owner.command,
            fs::read_to_string("/proc/self/comm").unwrap().trim_end()
        );
    }
}

/// Lists the sockets of a namespace, with owners.
fn listed(netns: &Netns) -> Vec<Socket> {
    let mut found = sockets::list(netns).unwrap();
    assert_eq!(found.unread, Vec::<String>::new());
    assert_eq!(found.capability().state, CapabilityState::Available);
    Owners::new().fill(&mut found.sockets, clock::boottime_ns());
    found.sockets
}

#[test]
fn tcp_sockets_are_listed_with_their_owner() {
    let named = Named::new();
    let netns = named.open();
    let connection = |listener: &TcpListener, to: IpAddr| {
        let client = TcpStream::connect((to, listener.local_addr().unwrap().port())).unwrap();
        (listener.accept().unwrap().0, client)
    };
    let (lo4, lo6, any4, any6) = (v4("127.0.0.1"), v6("::1"), v4("0.0.0.0"), v6("::"));
    let (listener, (server, client), dual, (server4, client4), (server6, client6), pending) = netns
        .enter(|| {
            let listener = TcpListener::bind((lo4, 0)).unwrap();
            let pair = connection(&listener, lo4);
            let dual = TcpListener::bind((any6, 0)).unwrap();
            let (pair4, pair6) = (connection(&dual, lo4), connection(&dual, lo6));
            // Left in the queue of the listener.
            let pending = TcpStream::connect((lo6, dual.local_addr().unwrap().port())).unwrap();
            (listener, pair, dual, pair4, pair6, pending)
        })
        .unwrap();
    let found = listed(&netns);
    let expected = Expected {
        netns: netns.inode(),
        found: &found,
    };
    let port = |stream: &TcpStream| stream.local_addr().unwrap().port();
    let tcp = Protocol::Tcp;

    let service = listener.local_addr().unwrap().port();
    expected.check(&listener, Listen, tcp, (lo4, service), (any4, 0));
    expected.check(&client, Established, tcp, (lo4, port(&client)), (lo4, service));
    expected.check(&server, Established, tcp, (lo4, service), (lo4, port(&client)));

    let service = dual.local_addr().unwrap().port();
    expected.check(&dual, Listen, tcp, (any6, service), (any6, 0));
    expected.check(&client4, Established, tcp, (lo4, port(&client4)), (lo4, service));
    expected.check(&server4, Established, tcp, (lo4, service), (lo4, port(&client4)));
    expected.check(&client6, Established, tcp, (lo6, port(&client6)), (lo6, service));
    expected.check(&server6, Established, tcp, (lo6, service), (lo6, port(&client6)));

    // Nobody has accepted the other side yet, so it has no file and no owner.
    let other_side = found
        .iter()
        .find(|socket| socket.flow.remote_port == port(&pending))
        .unwrap();
    assert_eq!(
        (other_side.inode, &other_side.owner, other_side.state),
        (0, &None, Established)
    );

    // Nothing of it is in another namespace.
    let outside = sockets::list(&Netns::current().unwrap()).unwrap();
    assert!(
        outside
            .sockets
            .iter()
            .all(|socket| socket.inode != inode(&client))
    );
}

#[test]
fn sockets_without_connections_are_listed_with_their_owner() {
    const OSPF: SocketProtocol = SocketProtocol::from_raw(NonZeroU32::new(89).unwrap());
    let named = Named::new();
    let netns = named.open();
    let (lo4, lo6, any4, any6) = (v4("127.0.0.1"), v6("::1"), v4("0.0.0.0"), v6("::"));
    let open = |family, kind, protocol| socket(family, kind, Some(protocol)).unwrap();
    let ([udp, connected, dual], [ping, ping6], [raw, raw6, ospf]): (_, _, [OwnedFd; 3]) = netns
        .enter(|| {
            let udp = UdpSocket::bind((any4, 0)).unwrap();
            let connected = UdpSocket::bind((lo6, 0)).unwrap();
            connected.connect((lo6, 9)).unwrap();
            let dual = UdpSocket::bind((any6, 0)).unwrap();
            fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
            let ping = open(AddressFamily::INET, SocketType::DGRAM, ipproto::ICMP);
            bind(&ping, &"127.0.0.1:77".parse::<SocketAddrV4>().unwrap()).unwrap();
            let ping6 = open(AddressFamily::INET6, SocketType::DGRAM, ipproto::ICMPV6);
            bind(&ping6, &"[::1]:78".parse::<SocketAddrV6>().unwrap()).unwrap();
            let raw = open(AddressFamily::INET, SocketType::RAW, ipproto::ICMP);
            let raw6 = open(AddressFamily::INET6, SocketType::RAW, ipproto::ICMPV6);
            let ospf = open(AddressFamily::INET, SocketType::RAW, OSPF);
            ([udp, connected, dual], [ping, ping6], [raw, raw6, ospf])
        })
        .unwrap();
    let found = listed(&netns);
    let expected = Expected {
        netns: netns.inode(),
        found: &found,
    };
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();

    expected.check(&udp, Close, Protocol::Udp, (any4, port(&udp)), (any4, 0));
    expected.check(
        &connected,
        Established,
        Protocol::Udp,
        (lo6, port(&connected)),
        (lo6, 9),
    );
    expected.check(&dual, Close, Protocol::Udp, (any6, port(&dual)), (any6, 0));
    expected.check(&ping, Close, Protocol::Icmp, (lo4, 77), (any4, 0));
    expected.check(&ping6, Close, Protocol::Icmp6, (lo6, 78), (any6, 0));
    expected.check(&raw, Close, Protocol::Icmp, (any4, 0), (any4, 0));
    expected.check(&raw6, Close, Protocol::Icmp6, (any6, 0), (any6, 0));
    expected.check(&ospf, Close, Protocol::Other(89), (any4, 0), (any4, 0));
}

#[test]
fn a_closed_connection_is_listed_in_time_wait_without_owner() {
    let named = Named::new();
    let netns = named.open();
    let ports = netns
        .enter(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let ports = (
                client.local_addr().unwrap().port(),
                listener.local_addr().unwrap().port(),
            );
            drop(client);
            assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
            ports
        })
        .unwrap();
    // The last segments may be on their way for an instant.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = listed(&netns);
        let client = found
            .iter()
            .find(|socket| (socket.flow.local_port, socket.flow.remote_port) == ports);
        match client {
            Some(socket) if socket.state == TimeWait => {
                assert_eq!((socket.inode, &socket.owner), (0, &None));
                break;
            }
            other => assert!(Instant::now() < deadline, "no TIME-WAIT: {other:?}"),
        }
        std::thread::yield_now();
    }
}

/// What waits in the socket with this inode.
fn waiting(netns: &Netns, inode: u64) -> Option<Queue> {
    let found = sockets::list(netns).unwrap();
    found.queues.into_iter().find(|queue| queue.inode == inode)
}

/// Visits a namespace until a counter has grown by so much, and says by how much the others have.
fn grown(counters: &mut Counters, netns: &Netns, devices: &[Device], name: &str, by: u64) -> Vec<Counter> {
    let deadline = Instant::now() + PATIENCE;
    let mut told: Vec<Counter> = Vec::new();
    loop {
        for counter in counters.visit(netns, devices, false).unwrap() {
            told.retain(|known| known.key != counter.key);
            told.push(counter);
        }
        let found = told.iter().find(|counter| counter.key.name == name);
        if found.is_some_and(|counter| counter.grown >= by) {
            return told;
        }
        assert!(
            Instant::now() < deadline,
            "{name} has not grown by {by}: {told:?}"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_full_accept_queue_is_seen_by_its_listener_and_by_the_counters() {
    let named = Named::new();
    let netns = named.open();
    let lo = v4("127.0.0.1");
    let mut counters = Counters::default();
    assert_eq!(counters.visit(&netns, &[], false).unwrap(), []);
    let (listener, _accepted) = netns
        .enter(|| {
            let listener = TcpListener::bind((lo, 0)).unwrap();
            listen(&listener, 1).unwrap();
            let to = listener.local_addr().unwrap();
            // One more than its limit.
            (
                listener,
                [TcpStream::connect(to).unwrap(), TcpStream::connect(to).unwrap()],
            )
        })
        .unwrap();
    let queue = waiting(&netns, inode(&listener)).unwrap();
    assert_eq!((queue.state, queue.waiting, queue.limit), (Listen, 2, Some(1)));
    assert_eq!(queue.drops, Some(0));
    assert_eq!(
        counters.visit(&netns, &[], false).unwrap(),
        [],
        "nothing is lost yet"
    );

    let _refused: OwnedFd = netns
        .enter(|| {
            let tcp = Some(ipproto::TCP);
            let client = socket_with(
                AddressFamily::INET,
                SocketType::STREAM,
                SocketFlags::NONBLOCK,
                tcp,
            )
            .unwrap();
            let asked = connect(&client, &listener.local_addr().unwrap());
            assert_eq!(asked, Err(Errno::INPROGRESS));
            client
        })
        .unwrap();
    let told = grown(&mut counters, &netns, &[], "TcpExtListenOverflows", 1);
    assert!(told.iter().all(|counter| counter.key.netns == netns.inode()));
    assert!(told.iter().any(|counter| counter.key.name == "TcpExtListenDrops"));
    assert!(waiting(&netns, inode(&listener)).unwrap().drops > Some(0));

    // The process accepts again.
    listener.accept().unwrap();
    listener.accept().unwrap();
    let full = |queue: Queue| queue.waiting > 1;
    assert!(!waiting(&netns, inode(&listener)).is_some_and(full));
}

#[test]
fn what_nobody_reads_is_seen_with_what_had_no_room() {
    let named = Named::new();
    let netns = named.open();
    let lo = v4("127.0.0.1");
    let mut counters = Counters::default();
    assert_eq!(counters.visit(&netns, &[], false).unwrap(), []);
    let (receiver, sender) = netns
        .enter(|| {
            let receiver = UdpSocket::bind((lo, 0)).unwrap();
            sockopt::set_socket_recv_buffer_size(&receiver, 4096).unwrap();
            let sender = UdpSocket::bind((lo, 0)).unwrap();
            sender.connect(receiver.local_addr().unwrap()).unwrap();
            sender.send(&[0; 100]).unwrap();
            (receiver, sender)
        })
        .unwrap();
    let queue = waiting(&netns, inode(&receiver)).unwrap();
    assert!(queue.waiting >= 100 && queue.limit.is_none());
    assert_eq!(queue.drops, Some(0));
    assert_eq!(waiting(&netns, inode(&sender)), None);
    for _ in 0..100 {
        sender.send(&[0; 1000]).unwrap();
    }
    let told = grown(&mut counters, &netns, &[], "UdpRcvbufErrors", 1);
    let lost = told
        .iter()
        .find(|counter| counter.key.name == "UdpRcvbufErrors")
        .unwrap();
    assert_eq!(lost.key.source, Source::Snmp);
    assert_eq!(
        waiting(&netns, inode(&receiver)).unwrap().drops.map(u64::from),
        Some(lost.grown)
    );
    let mut buffer = [0; 1000];
    receiver.set_nonblocking(true).unwrap();
    while receiver.recv(&mut buffer).is_ok() {}
    assert_eq!(waiting(&netns, inode(&receiver)), None);
}

#[test]
fn what_a_device_loses_is_seen_of_this_device() {
    let (near, far) = (Named::new(), Named::new());
    let (from, to) = (unique(), unique());
    ip(&format!(
        "link add {from} netns {} type veth peer name {to} netns {}",
        near.0, far.0
    ));
    ip(&format!("-n {} address add 10.9.0.1/24 dev {from}", near.0));
    ip(&format!(
        "-n {} link set {to} mtu 576 address 02:00:00:00:00:02 up",
        far.0
    ));
    ip(&format!("-n {} link set {from} up", near.0));
    ip(&format!(
        "-n {} neighbour add 10.9.0.2 lladdr 02:00:00:00:00:02 dev {from}",
        near.0
    ));
    let netns = far.open();
    let devices = devices::list(std::slice::from_ref(&netns), std::slice::from_ref(&to))
        .unwrap()
        .devices;
    let device: Vec<Device> = devices.into_iter().filter(|device| device.name == to).collect();
    let mut counters = Counters::default();
    assert_eq!(counters.visit(&netns, &device, true).unwrap(), []);
    assert_eq!(counters.capability().why, "");
    near.open()
        .enter(|| {
            let sender = UdpSocket::bind((v4("10.9.0.1"), 0)).unwrap();
            for _ in 0..3 {
                // More than the other end takes (`____dev_forward_skb`).
                sender.send_to(&[0; 1000], (v4("10.9.0.2"), 9)).unwrap();
            }
        })
        .unwrap();
    let told = grown(&mut counters, &netns, &device, "rx_dropped", 3);
    let dropped = told
        .iter()
        .find(|counter| counter.key.name == "rx_dropped")
        .unwrap();
    assert_eq!((dropped.grown, dropped.key.device), (3, device[0].index));
    assert_eq!(dropped.key.source, Source::Device);
    // One that is gone counts nothing, and is no fault.
    ip(&format!("-n {} link del {from}", near.0));
    assert_eq!(counters.visit(&netns, &device, false).unwrap(), []);
    assert_eq!(counters.capability().state, CapabilityState::Available);
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
