//! All sources together: one stream of events.

mod beside;
mod chains;
mod counting;
mod namespaces;
mod openings;
mod sources;
mod turn;
mod waiting;
mod without;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::event::{Body, Capability, CapabilityState, Event, FlowKey, Owner, SocketState};
use crate::model::ends::{self, End};
use crate::node::config::Bpf;
use crate::node::sockets::Sockets;
use crate::node::{self, Memory, Netns, Owners, journal, sockets, systemd};
use crate::probe::{self, Probe, Sort};

pub use beside::Beside;
use chains::Chains;
use counting::Counting;
use namespaces::{BUSY, Namespaces};
use openings::Openings;
pub use sources::Ending;
use sources::Sources;
use waiting::Waiting;

/// How often the counts are read, in milliseconds.
pub const ROUND_MS: u64 = 500;
/// Rounds between two looks at sockets: those that came without an event of their own.
const ROUNDS_PER_LISTING: u64 = 8;
/// Rounds between two looks at the kernel's counters, and at the chains of firewalls.
const ROUNDS_PER_COUNTERS: u64 = 2;
/// Lists of sockets that could not be read are named up to this number, and then counted.
const LISTS_NAMED: usize = 4;

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `None`: the tracer's own namespace; `all`; a name; or a path.
    pub netns: Option<String>,
    /// Devices that count as uplinks beside those with a hardware parent.
    pub uplinks: Vec<String>,
    /// Examples a second that each (reason, location) may send.
    pub examples_per_second: u32,
    /// Capabilities to leave out.
    pub without: Vec<String>,
    /// Let the BPF programs tell what they do.
    pub verbose: bool,
    /// Also attach the empty program.
    pub floor: bool,
    /// Which systemd to listen to.
    pub systemd: systemd::Options,
    /// The folder of its journal. `None`: that of the node, where it is the node's systemd.
    pub journal: Option<PathBuf>,
    /// The root below which package managers keep their files. `None`: that of the node.
    pub package_root: Option<PathBuf>,
}

impl Options {
    /// Which journal is that of the systemd that is listened to.
    fn journal(&self) -> journal::Options {
        match &self.journal {
            Some(folder) => journal::Options::In(folder.clone()),
            None if self.systemd.is_of_node() => journal::Options::OfNode,
            None => journal::Options::Unknown,
        }
    }
}

/// The running sources. Dropping it detaches everything.
pub struct Watch {
    probe: Probe,
    owners: Known,
    openings: Openings,
    namespaces: Namespaces,
    /// When it began, in boot time in ns.
    began: u64,
    rounds: u64,
    told_sockets: HashSet<(FlowKey, SocketState, u64, bool)>,
    waiting: Waiting,
    counting: Counting,
    chains: Chains,
    /// The kernel is asked for its lists of sockets.
    lists_sockets: bool,
    /// Lists of sockets that could not be read, by namespace.
    unread: BTreeMap<u32, Vec<String>>,
    told: Capabilities,
    sources: Sources,
}

impl Watch {
    /// Attaches, and tells what stands at the start.
    ///
    /// # Errors
    ///
    /// Where nothing could be seen at all. One line, naming the thing and the remedy.
    pub fn start(options: &Options, tell: &mut dyn FnMut(Event)) -> Result<Self> {
        without::check(&options.without)?;
        let (namespaces, all) = watched(options)?;
        let others = namespaces.iter().any(|netns| !netns.is_current());
        let missing = node::preflight::missing(others).context("reading the tracer's own privileges")?;
        if let Some(missing) = missing.iter().find(|missing| missing.required) {
            bail!("{missing}");
        }
        // A device that is not there is known before anything is attached.
        let devices = node::devices::list(&namespaces, &options.uplinks)?.devices;
        node::devices::require(&options.uplinks, &namespaces, &devices)?;
        let only = if let ([netns], true) = (namespaces.as_slice(), all.is_none()) {
            Some(probe::Only {
                inode: netns.inode(),
                // Its own cannot end before the tracer does.
                cookie: if netns.is_current() { 0 } else { netns.cookie() },
            })
        } else {
            None
        };
        let probe = Probe::attach(&probe::Options {
            netns: only,
            examples_per_second: options.examples_per_second,
            verbose: options.verbose,
            without: options.without.clone(),
            floor: options.floor,
            sort: |key| match ends::end(key) {
                End::AsTold | End::MadeUp | End::Part => None,
                End::BeforeArrival => Some(Sort::BeforeArrival),
                End::Stolen => Some(Sort::Taken),
            },
        })?;

        let now = node::clock::boottime_ns();
        let mut say = |body| tell(Event { at: now, body });
        say(Body::Start(node::start(&namespaces)));
        for capability in probe.capabilities() {
            say(Body::Capability(capability.clone()));
        }
        say(Body::Capability(node::preflight::capability(&missing)));
        let mut watch = Self {
            probe,
            owners: Known {
                owners: Owners::new(),
                addresses: HashSet::new(),
                now,
            },
            openings: Openings::default(),
            namespaces: Namespaces::new(namespaces, all.is_some(), &options.uplinks, &devices),
            began: now,
            rounds: 0,
            told_sockets: HashSet::new(),
            waiting: Waiting::default(),
            counting: Counting::new(&options.without),
            chains: Chains::new(&options.without),
            lists_sockets: !without::is_left_out(&options.without, sockets::CAPABILITY),
            unread: BTreeMap::new(),
            told: Capabilities::default(),
            sources: Sources::new(),
        };
        if let Some(capability) = all {
            watch.told.tell(now, capability, tell);
        }
        let ended = watch.probe.take_ended();
        let bpf = Bpf {
            ended: ended.map(|ended| -> Memory { Box::new(move |number, netns| ended.last(number, netns)) }),
            tables: Some(probe::Xtables::open),
        };
        watch
            .sources
            .start_all(options, watch.namespaces.iter(), bpf, now, &mut watch.told, tell);
        let every = watch.namespaces.every();
        watch.namespaces.read(&every, now, &mut watch.told, tell)?;
        watch.list_sockets(&every, now, tell);
        watch.read_counters(BUSY, now, tell);
        watch.read_chains(BUSY, now, tell);
        Ok(watch)
    }

    /// Tells all that has come since the last round, ending in [`Body::Tick`].
    ///
    /// # Errors
    ///
    /// Where the kernel no longer hands over the counts.
    pub fn round(&mut self, tell: &mut dyn FnMut(Event)) -> Result<()> {
        self.look(false, tell)
    }

    /// The last round. Detaches everything; sources end meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Self::round`].
    pub fn finish(mut self, tell: &mut dyn FnMut(Event)) -> Result<Ending> {
        self.look(true, tell)?;
        Ok(self.sources.end())
    }

    fn look(&mut self, last: bool, tell: &mut dyn FnMut(Event)) -> Result<()> {
        let now = node::clock::boottime_ns();
        self.owners.now = now;
        self.rounds += 1;
        self.sources.drain(&mut self.told, tell);
        if last {
            let within = Duration::from_nanos(now.saturating_sub(self.began));
            self.sources.miss(within, "", now, &mut self.told, tell);
        }
        let listing = self.rounds.is_multiple_of(ROUNDS_PER_LISTING);
        let mut fresh = self.namespaces.look(listing, now, &mut self.told, tell);
        // Before the drops: what they are for is told by the addresses that there are now.
        let mut due = self.namespaces.due(listing);
        due.devices.extend(&fresh);
        self.namespaces.read(&due.devices, now, &mut self.told, tell)?;
        if let Some(addresses) = self.namespaces.new_addresses() {
            self.owners.addresses = addresses;
        }
        // Before the drops too: what a counter has and the books do not is then lost without an event.
        if last {
            // Nobody has a turn later: all are asked where something was counted, to the end.
            self.poll(now, tell)?;
            self.read_counters(usize::MAX, now, tell);
            self.read_chains(usize::MAX, now, tell);
            self.probe.close()?;
        } else if self.rounds.is_multiple_of(ROUNDS_PER_COUNTERS) {
            self.read_counters(BUSY, now, tell);
            self.read_chains(BUSY, now, tell);
        }
        self.poll(now, tell)?;
        self.probe.flush_log();
        let found = self.namespaces.look_for_strangers(now, &mut self.told, tell);
        self.namespaces.read(&found, now, &mut self.told, tell)?;
        fresh.extend(found);
        if self.namespaces.were_listed() {
            self.sources.watch(self.namespaces.iter());
        }
        // After the changes: what is listed is newer than all of them.
        self.list_openings(now, tell);
        due.sockets.extend(&fresh);
        if !due.sockets.is_empty() {
            self.list_sockets(&due.sockets, now, tell);
        }
        tell(Event {
            at: now,
            body: Body::Tick,
        });
        Ok(())
    }

    /// Tells what the programs have counted and sent.
    fn poll(&mut self, now: u64, tell: &mut dyn FnMut(Event)) -> Result<()> {
        let Self {
            probe,
            owners,
            openings,
            namespaces,
            counting,
            chains,
            ..
        } = self;
        probe.poll(now, owners, &mut |event| {
            if ends::is_made_up(&event.body) {
                return;
            }
            namespaces.notice(&event);
            counting.notice(&event);
            chains.notice(&event);
            openings.pass(event, tell);
        })?;
        Ok(())
    }

    /// Waits until a source tells something by itself, and tells all that has come.
    pub async fn changed(&mut self, tell: &mut dyn FnMut(Event)) {
        let event = self.sources.next().await;
        sources::pass(event, &mut self.told, tell);
        self.sources.drain(&mut self.told, tell);
    }

    /// The programs, to ask what they cost.
    #[must_use]
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Of at most so many namespaces where something was counted.
    fn read_counters(&mut self, most: usize, now: u64, tell: &mut dyn FnMut(Event)) {
        let capability = self.counting.read(&self.namespaces, most, now, tell);
        self.told.tell(now, capability, tell);
    }

    /// Of at most so many namespaces where rules have dropped something.
    fn read_chains(&mut self, most: usize, now: u64, tell: &mut dyn FnMut(Event)) {
        let capability = self.chains.read(&self.namespaces, most, now, tell);
        self.told.tell(now, capability, tell);
    }

    /// Tells connections that are being opened, as soon as their tuple is known.
    fn list_openings(&mut self, now: u64, tell: &mut dyn FnMut(Event)) {
        let wanted = self.openings.overdue(now);
        for netns in self.namespaces.these(&wanted) {
            // A namespace that has ended opens nothing any more.
            for mut socket in node::sockets::opening(netns).unwrap_or_default() {
                socket.flow = socket.flow.canonical();
                self.openings.listed(&socket, tell);
            }
        }
    }

    /// Tells sockets of these namespaces that have not been told yet.
    fn list_sockets(&mut self, inodes: &BTreeSet<u32>, now: u64, tell: &mut dyn FnMut(Event)) {
        if !self.lists_sockets {
            self.told.tell(now, without::left_out(sockets::CAPABILITY), tell);
            return;
        }
        let namespaces = &self.namespaces;
        let stays = |netns: u32| namespaces.watches(netns) && !inodes.contains(&netns);
        let others = self.told_sockets.iter().filter(|(flow, ..)| stays(flow.netns));
        let mut present: HashSet<_> = others.copied().collect();
        self.unread.retain(|netns, _| stays(*netns));
        let mut queues = Vec::new();
        for netns in namespaces.these(inodes) {
            // One that has ended has none.
            let Ok(sockets) = node::sockets::list(netns) else {
                continue;
            };
            let unread = if namespaces.are_several() {
                sockets.unread_in(netns).collect()
            } else {
                sockets.unread.clone()
            };
            self.unread.insert(netns.inode(), unread);
            let mut found = sockets.sockets;
            self.owners.owners.fill(&mut found, now);
            queues.extend(waiting::owned(sockets.queues, &found));
            for mut socket in found {
                socket.flow = socket.flow.canonical();
                let mark = (socket.flow, socket.state, socket.inode, socket.owner.is_some());
                if present.insert(mark) && !self.told_sockets.contains(&mark) {
                    tell(Event {
                        at: now,
                        body: Body::Socket(socket),
                    });
                }
            }
        }
        self.waiting.tell(now, queues, stays, tell);
        self.told_sockets = present;
        let mut unread: Vec<String> = self.unread.values().flatten().cloned().collect();
        let more = unread.len().saturating_sub(LISTS_NAMED);
        unread.truncate(LISTS_NAMED);
        if more > 0 {
            unread.push(format!("And {more} more lists."));
        }
        let all = Sockets {
            sockets: Vec::new(),
            queues: Vec::new(),
            unread,
        };
        self.told.tell(now, all.capability(), tell);
    }
}

/// The capabilities as they were last told.
#[derive(Debug, Default)]
struct Capabilities(Vec<Capability>);

impl Capabilities {
    /// This one was told.
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|told| told.name == name)
    }

    /// Tells a capability, unless that would say nothing new.
    fn tell(&mut self, now: u64, capability: Capability, tell: &mut dyn FnMut(Event)) {
        if self.0.contains(&capability) {
            return;
        }
        self.0.retain(|told| told.name != capability.name);
        self.0.push(capability.clone());
        tell(Event {
            at: now,
            body: Body::Capability(capability),
        });
    }
}

/// A capability that works in part.
fn partial(name: &str, why: String) -> Capability {
    Capability {
        name: name.to_owned(),
        state: CapabilityState::Partial,
        why,
    }
}

/// The namespaces to watch; where it is all of them, how well they could be found.
fn watched(options: &Options) -> Result<(Vec<Netns>, Option<Capability>)> {
    Ok(match options.netns.as_deref() {
        None => (vec![Netns::current()?], None),
        Some("all") => {
            let all = Netns::all()?;
            let capability = all.capability();
            (all.namespaces, Some(capability))
        }
        Some(name) => (vec![Netns::open(name)?], None),
    })
}

/// What the node knows of owners and addresses, for the probe.
struct Known {
    owners: Owners,
    addresses: HashSet<(u32, IpAddr)>,
    now: u64,
}

impl probe::Owners for Known {
    fn has_address(&self, netns: u32, address: IpAddr) -> bool {
        self.addresses.contains(&(netns, address))
    }

    fn opened(&mut self, inode: u64, pid: u32, command: &str) -> Owner {
        self.owners.opened(inode, pid, command, self.now)
    }

    fn by_socket(&mut self, inode: u64, cgroup: u64) -> Option<Owner> {
        self.owners.by_socket(inode, cgroup, self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_that_says_nothing_new_is_told_once() {
        let mut capabilities = Capabilities::default();
        let mut heard = Vec::new();
        for why in ["one", "one", "two", "one"] {
            capabilities.tell(0, partial("x", why.to_owned()), &mut |event| {
                heard.push(event.body)
            });
        }
        let why = |why: &str| Body::Capability(partial("x", why.to_owned()));
        assert_eq!(heard, [why("one"), why("two"), why("one")]);
    }
}
