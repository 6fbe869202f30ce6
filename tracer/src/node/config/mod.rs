//! How the network of this node is configured, and who changes it: rules, routes, addresses, devices, neighbours, traffic
//! control, policies of IPsec, kernel parameters, firewalls, BPF programs, name servers, and what the kernel's log says of the network.
//!
//! Each watched namespace has a netlink socket that hears its changes. A socket keeps its namespace alive, so it is
//! closed as soon as nothing else leads there any more: at once where a name was removed, after a second where the
//! last process ended.

mod address;
mod anew;
mod answer;
mod bpf_info;
mod bpf_link;
mod cgroup_programs;
mod commit;
mod discipline;
mod dump;
mod error;
mod expiry;
mod ipsec;
mod known;
mod known_chains;
mod legacy;
mod link;
mod log;
mod moment;
mod neighbour;
mod netconf;
mod nexthop;
mod node;
mod nsid;
mod offload;
mod programs;
mod requester;
mod resolver;
mod route;
mod rule;
mod ruleset;
mod space;
mod sysctl;
mod told;
mod tracking;
mod traffic;
mod watched;
mod ways;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::bpf_link::Place;
use self::legacy::Reader;
use self::moment::Moments;
use self::node::Node;
use self::offload::Ethtool;
use self::requester::Requesters;
use self::space::{Loaded, Space};
use self::told::Told;
use super::ended::Memory;
use super::modules::Module;
use super::names::NameChanges;
use super::source::{Gone, Teller};
use super::xtables::{Firewall, Open};
use super::{Netns, clock};
use crate::event::{Body, Capability, CapabilityState, Seen};

pub use watched::{Inbox, Watched, watched};

/// The capability of this source.
pub const CAPABILITY: &str = "configuration";
/// What is not seen without it.
pub const LOST: &str = "rules, routes, addresses, devices, kernel parameters, firewalls, BPF programs, name servers and lines of the kernel's \
     log are not seen";

/// How often is looked at what nobody tells.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two looks at whether there is nf_tables by now, and the like.
const TICKS_PER_MODULES: u64 = 10;
/// Ticks between two looks at BPF programs.
const TICKS_PER_PROGRAMS: u64 = 2;
/// Namespaces that are listened to at most, in the order of their inodes, the tracer's own always: each takes two files.
const HEARD: usize = 128;
/// Up to so many namespaces have the kernel parameters read of which no change is told.
const FEW: usize = 16;

/// What is known by BPF alone.
#[derive(Default)]
pub struct Bpf {
    /// Of processes that have ended.
    pub ended: Option<Memory>,
    /// Of the rules of older firewalls.
    pub tables: Option<Open>,
}

/// Runs until the teller says that it is to end.
pub fn run(inbox: &Inbox, bpf: Bpf, teller: &Teller) {
    // Nobody listens any more: that is what ends it.
    let _ = Configuration::new(bpf).run(inbox, teller);
}

struct Configuration {
    node: Node,
    spaces: BTreeMap<u32, Space>,
    requesters: Requesters,
    moments: Moments,
    names: NameChanges,
    nf_tables: Module,
    xfrm: Module,
    tracking: Module,
    legacy: Reader,
    /// What tells the offloads of devices, or why nothing does.
    ethtool: Result<Arc<Ethtool>, String>,
    loaded: Loaded,
    ticks: u64,
    own: Option<u32>,
    /// Namespaces beyond the bound.
    unheard: usize,
    /// Those that could not be listened to from the first, and why. It is tried again.
    failed: BTreeMap<u32, (Netns, String)>,
}

impl Configuration {
    fn new(bpf: Bpf) -> Self {
        Self {
            node: Node::new(),
            spaces: BTreeMap::new(),
            requesters: Requesters::new(bpf.ended, clock::boottime_ns()),
            moments: Moments::of_this_thread(),
            names: NameChanges::default(),
            nf_tables: Module::new("nf_tables"),
            xfrm: Module::new("xfrm_user"),
            tracking: Module::new(tracking::MODULE),
            legacy: Reader::new(bpf.tables),
            ethtool: Ethtool::find(),
            loaded: Loaded::default(),
            ticks: 0,
            own: Netns::current().ok().map(|own| own.inode()),
            unheard: 0,
            failed: BTreeMap::new(),
        }
    }

    fn run(&mut self, inbox: &Inbox, teller: &Teller) -> Result<(), Gone> {
        self.look_for_modules();
        self.node.begin(teller)?;
        let mut next = Instant::now() + TICK;
        loop {
            if let Some(namespaces) = inbox.take() {
                self.watch(namespaces, teller)?;
                self.tell_capability(teller)?;
            }
            self.hear(teller)?;
            self.node.hear(teller)?;
            if Instant::now() >= next {
                next = Instant::now() + TICK;
                self.tick(teller)?;
                self.tell_capability(teller)?;
            }
            let due = self.spaces.values().filter_map(Space::due).min();
            let tick = next.saturating_duration_since(Instant::now());
            if self.wait(inbox, teller.stop(), due.map_or(tick, |due| due.min(tick))) {
                return Ok(());
            }
        }
    }

    /// Waits until there is something to read; true where the source is to end.
    fn wait(&mut self, inbox: &Inbox, stop: BorrowedFd<'_>, at_most: Duration) -> bool {
        let ears = self.spaces.values().flat_map(Space::ears);
        let mut files: Vec<PollFd<'_>> = [stop, inbox.as_fd()]
            .into_iter()
            .chain(self.names.as_fd())
            .chain(self.node.ears())
            .chain(ears)
            .map(|file| PollFd::from_borrowed_fd(file, PollFlags::IN))
            .collect();
        let timeout = Timespec::try_from(at_most).unwrap_or_default();
        let before = self.moments.now();
        // A signal is no reason to end; what is wrong with a file shows when it is read.
        let _ = poll(&mut files, Some(&timeout));
        let is_over = files.first().is_some_and(|stop| !stop.revents().is_empty());
        // Where it slept, nothing was left to be read before.
        if let Some(since) = self.moments.now().told_since(before) {
            self.requesters.told_since(since);
        }
        is_over
    }

    /// These namespaces are watched, and no others.
    fn watch(&mut self, mut namespaces: Vec<Netns>, teller: &Teller) -> Result<(), Gone> {
        namespaces.sort_by_key(|netns| (self.own != Some(netns.inode()), netns.inode()));
        let unheard = namespaces.split_off(namespaces.len().min(HEARD));
        self.unheard = unheard.len();
        let few = namespaces.len() <= FEW;
        let watched = |inode: &u32| namespaces.iter().any(|netns| netns.inode() == *inode);
        // What was told of them is known no longer, rather than taken to stand for ever. That others have ended is told by
        // who found it.
        for netns in &unheard {
            if let Some(mut space) = self.spaces.remove(&netns.inode()) {
                let gone = space.forget();
                tell_all(&space, gone, teller)?;
            }
        }
        self.spaces.retain(|inode, _| watched(inode));
        self.failed.retain(|inode, _| watched(inode));
        for netns in namespaces {
            if let Some(space) = self.spaces.get_mut(&netns.inode()) {
                space.moved(netns);
                continue;
            }
            self.begin(netns, few, teller)?;
        }
        self.names.begin();
        let spaces = &self.spaces;
        self.node
            .watch(&|id, program, place| holder(spaces, id, program, place), teller)
    }

    /// Begins to listen to a namespace, which is one of few.
    fn begin(&mut self, netns: Netns, few: bool, teller: &Teller) -> Result<(), Gone> {
        match Space::open(netns.clone(), self.loaded, self.ethtool.as_ref().ok()) {
            Ok((mut space, mut told)) => {
                told.extend(space.look_at_legacy(&mut self.legacy, Seen::Found));
                if few || self.own == Some(netns.inode()) {
                    told.extend(space.look_at_sysctls());
                }
                self.failed.remove(&netns.inode());
                tell_all(&space, told, teller)?;
                self.spaces.insert(netns.inode(), space);
            }
            Err(error) if error.is_end() => {
                self.failed.remove(&netns.inode());
            }
            Err(error) => {
                self.failed.insert(netns.inode(), (netns, error.to_string()));
            }
        }
        Ok(())
    }

    /// Reads what was told in all namespaces.
    fn hear(&mut self, teller: &Teller) -> Result<(), Gone> {
        if !self.names.take().is_empty() {
            self.leave();
        }
        let mut ended = Vec::new();
        let heard = self.spaces.values_mut().filter(|space| space.broken().is_none());
        for space in heard {
            let mut told = Vec::new();
            let heard = space.hear(&mut self.requesters, &mut |at, change| told.push((at, change)));
            for (at, change) in told {
                teller.tell_of(at, Body::Setting(Box::new(space.setting(change))))?;
            }
            match heard.and_then(|()| space.settle()) {
                Ok(told) => tell_all(space, told, teller)?,
                Err(error) if error.is_end() => ended.push(space.netns().inode()),
                Err(error) => space.broke(&error),
            }
        }
        for inode in ended {
            self.spaces.remove(&inode);
        }
        Ok(())
    }

    /// Listens again where that broke off.
    fn mend(&mut self, teller: &Teller) -> Result<(), Gone> {
        let broken = self.spaces.values_mut().filter(|space| space.broken().is_some());
        for space in broken {
            match space.mend() {
                Ok(told) => tell_all(space, told, teller)?,
                // What has ended is let go of when that is looked at.
                Err(error) => space.broke(&error),
            }
        }
        Ok(())
    }

    /// Looks at what nobody tells.
    fn tick(&mut self, teller: &Teller) -> Result<(), Gone> {
        self.leave();
        self.mend(teller)?;
        self.node.tick(teller)?;
        self.look_for_modules();
        let failed: Vec<Netns> = self.failed.values().map(|(netns, _)| netns.clone()).collect();
        let few = self.are_few();
        for netns in failed {
            self.begin(netns, few, teller)?;
        }
        for (inode, space) in &mut self.spaces {
            if few || self.own == Some(*inode) {
                let mut told = space.look_at_sysctls();
                told.extend(space.look_at_proxies());
                told.extend(space.look_at_legacy(&mut self.legacy, Seen::Noticed));
                told.extend(space.look_at_tracking());
                tell_all(space, told, teller)?;
            }
            if self.ticks.is_multiple_of(TICKS_PER_MODULES) {
                space.begin_tracking(self.loaded.tracking);
                if self.loaded.nf_tables {
                    let told = space.begin_rules();
                    tell_all(space, told, teller)?;
                }
                if self.loaded.ipsec {
                    let told = space.begin_ipsec();
                    tell_all(space, told, teller)?;
                }
            }
        }
        if self.ticks.is_multiple_of(TICKS_PER_PROGRAMS) {
            let spaces = &self.spaces;
            self.node.list_programs(
                Seen::Noticed,
                &|id, program, place| holder(spaces, id, program, place),
                teller,
            )?;
            for index in self.node.touched() {
                for space in self.spaces.values_mut() {
                    let told = space.look_at_device(index);
                    tell_all(space, told, teller)?;
                }
            }
        }
        self.ticks += 1;
        Ok(())
    }

    fn look_for_modules(&mut self) {
        self.loaded = Loaded {
            nf_tables: self.nf_tables.visit(),
            ipsec: self.xfrm.visit(),
            tracking: self.tracking.visit(),
        };
    }

    /// So few namespaces that each has its kernel parameters read.
    fn are_few(&self) -> bool {
        self.spaces.len() + self.failed.len() <= FEW
    }

    /// Lets namespaces end that nobody else holds.
    fn leave(&mut self) {
        self.spaces.retain(|_, space| !space.has_ended());
    }

    fn tell_capability(&self, teller: &Teller) -> Result<(), Gone> {
        teller.tell(Body::Capability(self.capability()))
    }

    fn capability(&self) -> Capability {
        let mut why: Vec<String> = self.node.unseen().collect();
        let failed = self.failed.values();
        let failed = failed.map(|(netns, error)| (netns, error.as_str()));
        let broken = self.spaces.values();
        let broken = broken.filter_map(|space| Some((space.netns(), space.broken()?)));
        let are_unseen = self.spaces.values().all(|space| space.broken().is_some());
        let unseen: Vec<_> = failed.chain(broken).collect();
        for (netns, error) in unseen.iter().take(2) {
            let name = netns.name();
            why.push(format!(
                "Changes in network namespace `{name}` are not seen: {error}."
            ));
        }
        if unseen.len() > 2 {
            why.push(format!("And {} more of this kind.", unseen.len() - 2));
        }
        let never_still = self.spaces.values().filter(|space| space.is_never_still());
        let never_still: Vec<_> = never_still.map(|space| space.netns().name()).collect();
        if let Some((first, others)) = never_still.split_first() {
            let others = match others.len() {
                0 => String::new(),
                others => format!(", and in {others} more"),
            };
            why.push(format!(
                "In network namespace `{first}`{others} so much changes all the time that no list of it can be read: routes that the \
                 kernel does not tell to be gone, as where a device goes down, are told once it can."
            ));
        }
        if self.unheard > 0 {
            why.push(format!(
                "Changes are seen in {HEARD} network namespaces, and not in {} more; name one of them with --netns.",
                self.unheard
            ));
        }
        if !self.are_few() {
            why.push(format!(
                "More than {FEW} network namespaces are watched: changes of kernel parameters that the kernel does not tell, \
                 of proxy neighbours, and of the tables of older firewalls, are seen in the tracer's own only."
            ));
        }
        let unread: BTreeSet<Firewall> = self.spaces.values().flat_map(Space::unread).collect();
        if !unread.is_empty() {
            let reason = unread.iter().find_map(|firewall| self.legacy.why(*firewall));
            let names: Vec<&str> = unread.into_iter().map(Firewall::module).collect();
            why.push(format!(
                "Of the rules of {} only the names of their tables are seen, so that a change of a rule or policy is not ({}): \
                 iptables-legacy-save shows them.",
                names.join(" and "),
                reason.unwrap_or("they could not be read in the kernel's memory, or are more than 64 MiB"),
            ));
        }
        if let Some(error) = self.spaces.values().find_map(Space::no_rules) {
            why.push(format!(
                "Changes of the rules of nf_tables are not seen ({error}): run tracer as root (CAP_NET_ADMIN)."
            ));
        }
        if let Some(error) = self.spaces.values().find_map(Space::no_ipsec) {
            why.push(format!(
                "Policies of IPsec are not seen ({error}): run tracer as root (CAP_NET_ADMIN)."
            ));
        }
        if let Err(error) = &self.ethtool {
            why.push(format!("Offloads of devices (ethtool -k) are not seen: {error}."));
        }
        let not_asked: usize = self.spaces.values().map(Space::not_asked).sum();
        if not_asked > 0 {
            why.push(format!(
                "Of the addresses of a network namespace the kernel is asked about {}, and not about {not_asked} more.",
                answer::MOST
            ));
        }
        let logged: usize = self.spaces.values().map(Space::logged).sum();
        if logged > 0 {
            let addresses = if logged == 1 { "address" } else { "addresses" };
            why.push(format!(
                "The kernel is not asked about {logged} IPv4 {addresses}, since log_martians is set and it might write that to \
                 its log: ip route get shows its answer."
            ));
        }
        let left_out: u64 = self.spaces.values().map(Space::left_out).sum();
        if left_out > 0 {
            why.push(format!(
                "{left_out} times a route or the like was told for which there was no room."
            ));
        }
        let lost: u64 = self.spaces.values().map(|space| space.lost).sum();
        if lost > 0 {
            why.push(format!(
                "{lost} times more changed at once than could be read: all was read again, and what differed is marked \
                 as noticed, without who did it."
            ));
        }
        Capability {
            name: CAPABILITY.to_owned(),
            state: match (why.is_empty(), are_unseen) {
                (true, _) => CapabilityState::Available,
                (false, true) => CapabilityState::Unavailable,
                (false, false) => CapabilityState::Partial,
            },
            why: why.join(" "),
        }
    }
}

/// Where a BPF link may touch packets of one of these namespaces: the name of the device that it is at, with its namespace
/// where it is one of several, or nothing where it is at none.
fn holder(spaces: &BTreeMap<u32, Space>, id: u32, program: u32, place: Place) -> Option<String> {
    match place {
        Place::Anywhere => Some(String::new()),
        Place::Namespace(inode) => spaces.contains_key(&inode).then(String::new),
        Place::Xdp(_) | Place::Device(..) => spaces.values().find_map(|space| {
            let device = space.holds(id, program, place)?;
            Some(match spaces.len() {
                1 => device.to_owned(),
                _ => format!("{device} in network namespace {}", space.netns().name()),
            })
        }),
    }
}

fn tell_all(space: &Space, told: Vec<Told>, teller: &Teller) -> Result<(), Gone> {
    let now = clock::boottime_ns();
    for change in told {
        teller.tell_of(now, Body::Setting(Box::new(space.setting(change))))?;
    }
    Ok(())
}
