//! The topology and the traffic on it.
//!
//! ```text
//!  peer: router and "internet"            node: what the tracer watches        pod
//!  lo    192.0.2.10/32                    lo
//!        2001:db8:ffff::10/128
//!  node0 10.10.0.1/24  ───────────── eth0 10.10.0.2/24
//!        2001:db8:10::1/64                2001:db8:10::2/64
//!                                         lxc1 10.244.0.1/32  ────────── eth0  10.244.0.2/32
//!                                              2001:db8:244::1/128             2001:db8:244::2/128
//! ```
//! The node forwards and its default route is by the peer; the peer routes the pod's range by the node.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bpf::{self, Way};
use crate::cgroup::Cgroup;
use crate::conntrack;
use crate::keeper::Keeper;
use crate::netns::Netns;
use crate::process;
use crate::scenario::{self, Actor, Place, Scenario, Step};
use crate::suspend;
use crate::traffic::{Counts, Traffic};

/// The device by which the node's packets arrive.
pub const UPLINK: &str = "eth0";

/// How long a step may take to show in the traffic: more is a failure of the lab.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What the sockets of a cgroup have where the lab leaves them next to none, in bytes: room for some packets, so that the
/// first ones wait as they would at any bound.
const SOCKET_MEMORY: u64 = 128 * 1024;
/// And what a protocol has, in pages: below which it is free to take, where it begins to spare, and the most.
const NO_SOCKET_MEMORY: &str = "0 0 0";

/// Packets are to meet what a scenario sets, not what the machine has set for new namespaces. And addresses
/// of IPv6 are to work at once: nobody else can have them.
const SYSCTLS: &[(&str, &str)] = &[
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.default.disable_ipv6", "0"),
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
];
const FORWARDING: &[(&str, &str)] = &[
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv6.conf.all.forwarding", "1"),
];

/// Three namespaces and the traffic between them. All of it is gone when this is dropped.
#[derive(Debug)]
pub struct Lab {
    // Dropped in this order: first those who use the namespaces.
    traffic: Vec<(Actor, Traffic)>,
    attached: Vec<OwnedFd>,
    /// The table of connections that has been filled in part.
    connections: Option<conntrack::Table>,
    /// What keeps it full.
    filler: Option<conntrack::Filler>,
    cgroup: Option<Cgroup>,
    /// Bounds the memory of the sockets of all processes in it.
    bound: Option<Cgroup>,
    machine: Machine,
    peer: Netns,
    node: Netns,
    pod: Netns,
    program: PathBuf,
    _keeper: Keeper,
}

impl Lab {
    /// Builds the topology, without traffic. `program` is the lab's binary. Needs root.
    pub fn build(program: &Path) -> Result<Self> {
        let [peer, node, pod] = names();
        let keeper = Keeper::start(program, &[peer.clone(), node.clone(), pod.clone()])?;
        let make = |name| -> Result<Netns> {
            let netns = Netns::create(name).context("the lab makes network namespaces, which needs root")?;
            netns.set(SYSCTLS)?;
            Ok(netns)
        };
        let lab = Self {
            traffic: Vec::new(),
            attached: Vec::new(),
            connections: None,
            filler: None,
            cgroup: None,
            bound: None,
            machine: Machine::default(),
            peer: make(peer)?,
            node: make(node)?,
            pod: make(pod)?,
            program: program.to_owned(),
            _keeper: keeper,
        };
        lab.connect()?;
        Ok(lab)
    }

    /// Builds the topology as `scenario` wants it, starts its traffic and waits until all of it flows.
    pub fn of(scenario: &Scenario, program: &Path) -> Result<Self> {
        let mut lab = Self::build(program)?;
        lab.apply(scenario.setup)?;
        for actor in scenario.traffic {
            lab.start(*actor)?;
        }
        for actor in scenario.traffic {
            lab.wait_for(actor.name, |counts| {
                counts.values().all(|target| target.done() > 0)
            })?;
        }
        Ok(lab)
    }

    fn add_second_uplink(&self) -> Result<()> {
        self.node.ip_batch(&format!(
            "link add eth1 index 12 type veth peer name node1 netns {}
             addr add 10.11.0.2/24 dev eth1
             link set eth1 up",
            self.peer.name()
        ))?;
        self.peer.ip_batch(
            "addr add 10.11.0.1/24 dev node1
             link set node1 up",
        )
    }

    fn connect(&self) -> Result<()> {
        self.node.set(FORWARDING)?;
        let (peer, pod) = (self.peer.name(), self.pod.name());
        // The kernel takes a veth whose peer has the same index for a device without a peer, and then may
        // wait a second before it sees that the carrier is there.
        self.node.ip_batch(&format!(
            "link set lo up
             link add eth0 index 10 address 02:00:0a:0a:00:02 type veth peer name node0 address 02:00:0a:0a:00:01 netns {peer}
             link add lxc1 index 11 type veth peer name eth0 netns {pod}
             addr add 10.10.0.2/24 dev eth0
             addr add 2001:db8:10::2/64 dev eth0
             addr add 10.244.0.1/32 dev lxc1
             addr add 2001:db8:244::1/128 dev lxc1
             link set eth0 up
             link set lxc1 up
             route add default via 10.10.0.1
             route add default via 2001:db8:10::1
             route add 10.244.0.2/32 dev lxc1
             route add 2001:db8:244::2/128 dev lxc1
             "
        ))?;
        self.peer.ip_batch(
            "link set lo up
             addr add 192.0.2.10/32 dev lo
             addr add 2001:db8:ffff::10/128 dev lo
             addr add 10.10.0.1/24 dev node0
             addr add 2001:db8:10::1/64 dev node0
             link set node0 up
             route add 10.244.0.0/16 via 10.10.0.2
             route add 2001:db8:244::/64 via 2001:db8:10::2
             ",
        )?;
        self.pod.ip_batch(
            "link set lo up
             addr add 10.244.0.2/32 dev eth0
             addr add 2001:db8:244::2/128 dev eth0
             link set eth0 up
             route add 10.244.0.1/32 dev eth0
             route add 2001:db8:244::1/128 dev eth0
             route add default via 10.244.0.1
             route add default via 2001:db8:244::1
             ",
        )?;
        // The solicited-node groups of the addresses above: ff02::1:ff00:0 and the last 24 bits.
        self.peer
            .wait_for_group("node0", "ff0200000000000000000001ff000001", PATIENCE)?;
        self.node
            .wait_for_group("eth0", "ff0200000000000000000001ff000002", PATIENCE)?;
        self.node
            .wait_for_group("lxc1", "ff0200000000000000000001ff000001", PATIENCE)?;
        self.pod
            .wait_for_group("eth0", "ff0200000000000000000001ff000002", PATIENCE)
    }

    /// The namespace of a place.
    pub fn netns(&self, place: Place) -> &Netns {
        match place {
            Place::Peer => &self.peer,
            Place::Node => &self.node,
            Place::Pod => &self.pod,
        }
    }

    /// Starts a process of the traffic.
    pub fn start(&mut self, actor: Actor) -> Result<()> {
        let bound = self.bound.as_ref().filter(|_| actor.place == Place::Node);
        let traffic = self.start_in(actor, bound)?;
        self.traffic.push((actor, traffic));
        Ok(())
    }

    fn start_in(&self, actor: Actor, cgroup: Option<&Cgroup>) -> Result<Traffic> {
        let netns = self.netns(actor.place);
        Traffic::start(&self.program, netns, cgroup, actor.role, actor.addresses)
            .with_context(|| format!("cannot start {}", actor.name))
    }

    fn signal(&mut self, name: &str, signal: libc::c_int) -> Result<()> {
        let pid = self.traffic(name)?.pid();
        process::send(pid, signal).with_context(|| format!("cannot send a signal to {name}"))
    }

    /// Does what the steps say, in their order. Each has been done when this returns.
    pub fn apply(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            match *step {
                Step::Ip(place, args) => {
                    self.netns(place).ip(&args.replace("{peer}", self.peer.name()))?;
                }
                Step::SecondUplink => self.add_second_uplink()?,
                Step::Sysctl(place, key, value) => self.netns(place).set(&[(key, value)])?,
                Step::Machine(key, value) => self.machine.set(key, value)?,
                Step::Clock(seconds) => self.machine.set_clock(seconds.into())?,
                Step::Suspend(seconds) => suspend::suspend(seconds)?,
                Step::MachineBack => {
                    self.machine.back();
                    self.bound.as_ref().map_or(Ok(()), Cgroup::free_socket_memory)?;
                }
                Step::BoundSocketMemory(key) if scenario::is_own_machine() => {
                    self.machine.set(key, NO_SOCKET_MEMORY)?;
                }
                Step::BoundSocketMemory(_) => {
                    self.bound = Some(Cgroup::with_socket_memory(self.node.name(), SOCKET_MEMORY)?);
                }
                Step::Nft(place, commands) => self.netns(place).nft(commands)?,
                Step::Start(actor) => self.start(actor)?,
                Step::Stop(name) => self.traffic.retain(|(actor, _)| actor.name != name),
                Step::Run(place, line) => self.netns(place).run(line)?,
                Step::FillConntrack(place, spare) => {
                    let mut table = self.netns(place).enter(conntrack::Table::open)??;
                    table.fill(spare)?;
                    self.connections = Some(table);
                }
                Step::KeepConntrackFull => {
                    let table = self.connections.take();
                    let mut table = table.context("no table of connections has been filled")?;
                    table.fill(0)?;
                    self.filler = Some(table.keep_full());
                }
                Step::EmptyConntrack(place) => {
                    self.filler = None;
                    self.netns(place).run("conntrack -F")?;
                }
                Step::Attach(place, hook, device, word) => {
                    let attached = self.netns(place).enter(|| bpf::attach(hook, device, word))??;
                    self.attached.push(attached);
                }
                Step::Detach => self.attached.clear(),
                Step::Enclose(actor) => {
                    if self.cgroup.is_none() {
                        self.cgroup = Some(Cgroup::create(self.node.name())?);
                    }
                    self.start_in(actor, self.cgroup.as_ref())
                        .map(|traffic| self.traffic.push((actor, traffic)))?;
                }
                Step::Refuse(way) => {
                    let cgroup = self.cgroup.as_ref().context("no process is in a cgroup")?;
                    self.attached.push(bpf::refuse(&cgroup.open()?, way)?);
                }
                Step::Await(name, done) => {
                    self.wait_for(name, |counts| counts.values().all(|target| target.done() >= done))?;
                }
                Step::Freeze(name) => {
                    self.signal(name, libc::SIGSTOP)?;
                    process::stopped(self.traffic(name)?.pid())
                        .with_context(|| format!("{name} does not stop"))?;
                }
                Step::Thaw(name) => self.signal(name, libc::SIGCONT)?,
            }
        }
        Ok(())
    }

    /// A step as a command that a person could type.
    pub fn told(&self, step: &Step) -> String {
        match *step {
            Step::Ip(place, args) => {
                format!(
                    "ip -n {} {}",
                    self.netns(place).name(),
                    args.replace("{peer}", self.peer.name())
                )
            }
            Step::Sysctl(place, key, value) => {
                format!("ip netns exec {} sysctl {key}={value}", self.netns(place).name())
            }
            Step::Machine(key, value) => format!("sysctl {key}='{value}'"),
            Step::Suspend(seconds) => format!("suspend the machine for {seconds} s"),
            Step::Clock(seconds) => format!("date --set '+{seconds} seconds'"),
            Step::MachineBack => "set back what was set for the machine".to_owned(),
            Step::BoundSocketMemory(key) if scenario::is_own_machine() => {
                format!("sysctl {key}='{NO_SOCKET_MEMORY}'")
            }
            Step::BoundSocketMemory(_) => format!(
                "leave {SOCKET_MEMORY} bytes to the sockets of what starts in the cgroup v1 {}",
                self.node.name()
            ),
            Step::Nft(place, commands) => {
                format!("ip netns exec {} nft '{commands}'", self.netns(place).name())
            }
            Step::Start(actor) => format!("start {} at {}", actor.name, actor.addresses.join(" ")),
            Step::Stop(name) => format!("kill {name}"),
            Step::Run(place, line) => format!("ip netns exec {} {line}", self.netns(place).name()),
            Step::FillConntrack(place, spare) => format!(
                "fill the table of connections of {}, but for {spare}",
                self.netns(place).name()
            ),
            Step::KeepConntrackFull => "fill the rest of it, and keep it full".to_owned(),
            Step::EmptyConntrack(place) => format!(
                "stop to fill it; ip netns exec {} conntrack -F",
                self.netns(place).name()
            ),
            Step::Attach(place, hook, device, word) => {
                let name = self.netns(place).name();
                format!("attach {hook:?} to {device} of {name}, to {word:?} every packet")
            }
            Step::SecondUplink => format!("add eth1 to {}, which leads to the peer", self.node.name()),
            Step::Detach => "detach what was attached".to_owned(),
            Step::Enclose(actor) => format!(
                "start {} at {} in the cgroup {}",
                actor.name,
                actor.addresses.join(" "),
                self.node.name()
            ),
            Step::Refuse(way) => {
                let does = match way {
                    Way::Arrives => "arrives",
                    Way::Leaves => "leaves",
                };
                let name = self.node.name();
                format!("attach a program to the cgroup {name}, to refuse every packet that {does}")
            }
            Step::Await(name, done) => format!("wait until {name} has done {done}"),
            Step::Freeze(name) => format!("kill -STOP {name}"),
            Step::Thaw(name) => format!("kill -CONT {name}"),
        }
    }

    /// A running process of the traffic, by its actor's name.
    pub fn traffic(&mut self, name: &str) -> Result<&mut Traffic> {
        let found = self.traffic.iter_mut().find(|(actor, _)| actor.name == name);
        found
            .map(|(_, traffic)| traffic)
            .with_context(|| format!("no {name} runs in this lab"))
    }

    /// Waits until the counts of a process of the traffic are as wanted, at most [`PATIENCE`].
    pub fn wait_for(&mut self, name: &str, wanted: impl Fn(&Counts) -> bool) -> Result<Counts> {
        let end = Instant::now() + PATIENCE;
        let traffic = self.traffic(name)?;
        loop {
            let counts = traffic.counts()?;
            if wanted(&counts) {
                return Ok(counts);
            }
            if Instant::now() > end {
                bail!("{name} has not come as far as wanted in {PATIENCE:?}: {counts:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Sysctls of the whole machine that were changed, and what they were; and how far its clock was set. They are so again
/// when this is dropped.
#[derive(Debug, Default)]
struct Machine {
    before: Vec<(PathBuf, String)>,
    /// In seconds.
    ahead: i64,
}

impl Machine {
    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        let told = || format!("cannot set {} to {value}", path.display());
        let before = fs::read_to_string(&path).with_context(told)?;
        fs::write(&path, value).with_context(told)?;
        self.before.push((path, before));
        Ok(())
    }

    /// Sets the clock forward by so many seconds; back where they are negative.
    fn set_clock(&mut self, seconds: i64) -> Result<()> {
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: both calls are handed a value that lives through them.
        unsafe {
            process::check(libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now))
                .context("cannot read the clock")?;
            now.tv_sec += seconds;
            process::check(libc::clock_settime(libc::CLOCK_REALTIME, &raw const now))
                .context("cannot set the clock")?;
        }
        self.ahead += seconds;
        Ok(())
    }

    fn back(&mut self) {
        if self.ahead != 0 {
            // What could be set before can be set now.
            let _ = self.set_clock(-self.ahead);
        }
        // The last first: one that was set twice is what it was at first.
        for (path, value) in self.before.drain(..).rev() {
            // What could be written before can be written now.
            let _ = fs::write(path, value);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.back();
    }
}

/// Names that no other lab on this machine has.
fn names() -> [String; 3] {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    ["peer", "node", "pod"].map(|place| format!("tl-{}-{number}-{place}", std::process::id()))
}
