//! All sources together: one stream of events.

mod openings;

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, bail};

use crate::event::{
    Body, Capability, CapabilityState, Device, Event, FlowKey, Owner, Queue, Socket, SocketState,
};
use crate::node::counters::{self, Counters};
use crate::node::sockets::Sockets;
use crate::node::{self, Netns, Owners};
use crate::probe::{self, Probe};

use openings::Openings;

/// How often the counts are read, in milliseconds.
pub const ROUND_MS: u64 = 500;
/// Rounds between two looks at sockets: those that came without an event of their own.
const ROUNDS_PER_LISTING: u64 = 8;
/// Rounds between two looks at the kernel's counters.
const ROUNDS_PER_COUNTERS: u64 = 2;
/// Up to so many namespaces have their devices looked at in each round: an address that was taken away must not be
/// taken for the node's own. Of more than that, which would cost too much, in the rounds of [`ROUNDS_PER_LISTING`].
const FEW_NAMESPACES: usize = 16;
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
}

/// The running sources. Dropping it detaches everything.
pub struct Watch {
    probe: Probe,
    owners: Known,
    openings: Openings,
    namespaces: Vec<Netns>,
    /// Namespaces that come are watched too.
    all: bool,
    uplinks: Vec<String>,
    rounds: u64,
    told_sockets: HashSet<(FlowKey, SocketState, u64, bool)>,
    /// Sockets in which something waits, by tuple and inode.
    told_queues: HashMap<(FlowKey, u64), Queue>,
    /// `None`: nobody wants them.
    counters: Option<Counters>,
    /// Namespaces in which something has grown since their counters were read.
    busy: HashSet<u32>,
    told_capabilities: Vec<Capability>,
    told_devices: Vec<Device>,
}

impl Watch {
    /// Attaches, and tells what stands at the start.
    ///
    /// # Errors
    ///
    /// Where nothing could be seen at all. One line, naming the thing and the remedy.
    pub fn start(options: &Options, tell: &mut dyn FnMut(Event)) -> Result<Self> {
        check_names(&options.without)?;
        let (namespaces, all) = match options.netns.as_deref() {
            None => (vec![Netns::current()?], None),
            Some("all") => {
                let all = Netns::all()?;
                let capability = all.capability();
                (all.namespaces, Some(capability))
            }
            Some(name) => (vec![Netns::open(name)?], None),
        };
        let others = namespaces.iter().any(|netns| !netns.is_current());
        let missing = node::preflight::missing(others).context("reading the tracer's own privileges")?;
        if let Some(missing) = missing.iter().find(|missing| missing.required) {
            bail!("{missing}");
        }
        // A device that is not there is known before anything is attached.
        node::devices::list(&namespaces, &options.uplinks)?.require(&options.uplinks)?;
        let only = if let ([netns], true) = (namespaces.as_slice(), all.is_none()) {
            Some(netns.inode())
        } else {
            None
        };
        let probe = Probe::attach(&probe::Options {
            netns: only,
            examples_per_second: options.examples_per_second,
            verbose: options.verbose,
            without: options.without.clone(),
            floor: options.floor,
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
                now,
            },
            openings: Openings::default(),
            namespaces,
            all: all.is_some(),
            uplinks: options.uplinks.clone(),
            rounds: 0,
            told_sockets: HashSet::new(),
            told_queues: HashMap::new(),
            counters: (!options.without.iter().any(|name| name == counters::CAPABILITY))
                .then(Counters::default),
            busy: HashSet::new(),
            told_capabilities: Vec::new(),
            told_devices: Vec::new(),
        };
        if let Some(capability) = all {
            watch.tell_capability(now, capability, tell);
        }
        watch.list_devices(now, tell)?;
        watch.list_sockets(now, tell);
        match watch.counters {
            Some(_) => watch.read_counters(now, tell),
            None => watch.tell_capability(now, without_counters(), tell),
        }
        Ok(watch)
    }

    /// Tells all that has come since the last round, ending in [`Body::Tick`].
    ///
    /// # Errors
    ///
    /// Where the kernel no longer hands over the counts.
    pub fn round(&mut self, tell: &mut dyn FnMut(Event)) -> Result<()> {
        let now = node::clock::boottime_ns();
        self.owners.now = now;
        self.rounds += 1;
        let listing = self.rounds.is_multiple_of(ROUNDS_PER_LISTING);
        if listing && self.all {
            self.list_namespaces(now, tell);
        }
        // Before the drops: what they are for is told by the addresses that there are now.
        if listing || self.namespaces.len() <= FEW_NAMESPACES {
            self.list_devices(now, tell)?;
        }
        // Before the drops too: what a counter has and the books do not is then lost without an event.
        if self.rounds.is_multiple_of(ROUNDS_PER_COUNTERS) {
            self.read_counters(now, tell);
        }
        let Self {
            probe,
            owners,
            openings,
            busy,
            ..
        } = self;
        probe.poll(now, owners, &mut |event| {
            if let Body::Entry(entry) = &event.body {
                busy.insert(entry.key.netns);
            }
            openings.pass(event, tell);
        })?;
        probe.flush_log();
        // After the changes: what is listed is newer than all of them.
        self.list_openings(now, tell);
        if listing {
            self.list_sockets(now, tell);
        }
        tell(Event {
            at: now,
            body: Body::Tick,
        });
        Ok(())
    }

    /// The programs, to ask what they cost.
    #[must_use]
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Tells namespaces that have come, and leaves those alone that have ended.
    fn list_namespaces(&mut self, now: u64, tell: &mut dyn FnMut(Event)) {
        let all = match Netns::all() {
            Ok(all) => all,
            Err(error) => {
                let why = format!("{error}; namespaces that have come since are not watched.");
                return self.tell_capability(now, partial("namespaces", why), tell);
            }
        };
        self.tell_capability(now, all.capability(), tell);
        for netns in &all.namespaces {
            // The kernel gives the inode of one that has ended to the next.
            let is_same = |known: &Netns| (known.inode(), known.name()) == (netns.inode(), netns.name());
            if !self.namespaces.iter().any(is_same) {
                tell(Event {
                    at: now,
                    body: Body::Namespace(netns.into()),
                });
            }
        }
        self.namespaces = all.namespaces;
    }

    /// Tells devices that have not been told yet.
    fn list_devices(&mut self, now: u64, tell: &mut dyn FnMut(Event)) -> Result<()> {
        let devices = match node::devices::list(&self.namespaces, &self.uplinks) {
            Ok(devices) => devices,
            // A namespace that was there at the start may go.
            Err(error) if self.rounds > 0 => {
                let why = format!("{error}; what has changed of the devices since is not known.");
                self.tell_capability(now, partial("uplinks", why), tell);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.tell_capability(now, devices.capability(), tell);
        let present: HashSet<(u32, u32)> = devices
            .devices
            .iter()
            .map(|device| (device.netns, device.index))
            .collect();
        let mut changed: Vec<Device> = self
            .told_devices
            .iter()
            .filter(|told| !present.contains(&(told.netns, told.index)) && !told.addresses.is_empty())
            .map(|gone| Device {
                addresses: Vec::new(),
                ..gone.clone()
            })
            .collect();
        changed.extend(
            devices
                .devices
                .into_iter()
                .filter(|device| !self.told_devices.contains(device)),
        );
        self.told_devices
            .retain(|told| present.contains(&(told.netns, told.index)));
        for device in changed {
            self.told_devices
                .retain(|told| (told.netns, told.index) != (device.netns, device.index));
            if present.contains(&(device.netns, device.index)) {
                self.told_devices.push(device.clone());
            }
            tell(Event {
                at: now,
                body: Body::Device(device),
            });
        }
        Ok(())
    }

    /// Tells counters that have grown: of few namespaces all, of many those of the first one and of each in which
    /// something has grown in the books since they were last read. A namespace is visited once more when it is seen
    /// for the first time, since counting begins there.
    fn read_counters(&mut self, now: u64, tell: &mut dyn FnMut(Event)) {
        let Some(counters) = &mut self.counters else {
            return;
        };
        let busy = std::mem::take(&mut self.busy);
        counters.keep(&self.namespaces);
        let few = self.namespaces.len() <= FEW_NAMESPACES;
        for (place, netns) in self.namespaces.iter().enumerate() {
            let inode = netns.inode();
            let wanted = few || place == 0 || busy.contains(&inode) || !counters.knows(netns);
            if !wanted {
                continue;
            }
            let uplinks: Vec<Device> = self
                .told_devices
                .iter()
                .filter(|device| device.uplink && device.netns == inode)
                .cloned()
                .collect();
            // One that has ended counts nothing any more.
            for counter in counters.visit(netns, &uplinks, place == 0).unwrap_or_default() {
                tell(Event {
                    at: now,
                    body: Body::Counter(counter),
                });
            }
        }
        let capability = counters.capability();
        self.tell_capability(now, capability, tell);
    }

    /// Tells connections that are being opened, as soon as their tuple is known.
    fn list_openings(&mut self, now: u64, tell: &mut dyn FnMut(Event)) {
        let wanted = self.openings.overdue(now);
        for netns in self
            .namespaces
            .iter()
            .filter(|netns| wanted.contains(&netns.inode()))
        {
            // A namespace that has ended opens nothing any more.
            for mut socket in node::sockets::opening(netns).unwrap_or_default() {
                socket.flow = socket.flow.canonical();
                self.openings.listed(&socket, tell);
            }
        }
    }

    /// Tells sockets that have not been told yet.
    fn list_sockets(&mut self, now: u64, tell: &mut dyn FnMut(Event)) {
        let mut present = HashSet::new();
        let mut unread = Vec::new();
        let mut queues = Vec::new();
        for netns in &self.namespaces {
            // One that has ended has none.
            let Ok(sockets) = node::sockets::list(netns) else {
                continue;
            };
            if self.namespaces.len() > 1 {
                unread.extend(sockets.unread_in(netns));
            } else {
                unread.clone_from(&sockets.unread);
            }
            let mut found = sockets.sockets;
            self.owners.owners.fill(&mut found, now);
            queues.extend(owned(sockets.queues, &found));
            self.tell_sockets(now, found, &mut present, tell);
        }
        self.told_sockets = present;
        self.tell_queues(now, queues, tell);
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
        self.tell_capability(now, all.capability(), tell);
    }

    fn tell_sockets(
        &self,
        now: u64,
        found: Vec<Socket>,
        present: &mut HashSet<(FlowKey, SocketState, u64, bool)>,
        tell: &mut dyn FnMut(Event),
    ) {
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

    /// Tells what waits in sockets, where that has changed, and where nothing does any more.
    fn tell_queues(&mut self, now: u64, found: Vec<Queue>, tell: &mut dyn FnMut(Event)) {
        let mut before = std::mem::take(&mut self.told_queues);
        for mut queue in found {
            queue.flow = queue.flow.canonical();
            let key = (queue.flow, queue.inode);
            if before.remove(&key).as_ref() != Some(&queue) {
                tell(Event {
                    at: now,
                    body: Body::Queue(Box::new(queue.clone())),
                });
            }
            self.told_queues.insert(key, queue);
        }
        // In their order, so that a stream is the same each time.
        let mut gone: Vec<Queue> = before.into_values().collect();
        gone.sort_unstable_by_key(|queue| (queue.flow, queue.inode));
        for queue in gone {
            let empty = Queue { waiting: 0, ..queue };
            tell(Event {
                at: now,
                body: Body::Queue(Box::new(empty)),
            });
        }
    }

    fn tell_capability(&mut self, now: u64, capability: Capability, tell: &mut dyn FnMut(Event)) {
        if self.told_capabilities.contains(&capability) {
            return;
        }
        self.told_capabilities.retain(|told| told.name != capability.name);
        self.told_capabilities.push(capability.clone());
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

/// Gives queues the owners of their sockets.
fn owned(mut queues: Vec<Queue>, sockets: &[Socket]) -> Vec<Queue> {
    let inodes: HashSet<u64> = queues.iter().map(|queue| queue.inode).collect();
    let owners: HashMap<u64, &Owner> = sockets
        .iter()
        .filter(|socket| socket.inode != 0 && inodes.contains(&socket.inode))
        .filter_map(|socket| Some((socket.inode, socket.owner.as_ref()?)))
        .collect();
    for queue in &mut queues {
        queue.owner = owners.get(&queue.inode).map(|owner| (*owner).clone());
    }
    queues
}

fn without_counters() -> Capability {
    Capability {
        name: counters::CAPABILITY.to_owned(),
        state: CapabilityState::Unavailable,
        why: "left out by --without: losses that raise no event, as of a full accept queue, are not told, nor what is \
              lost before it arrives"
            .to_owned(),
    }
}

fn check_names(without: &[String]) -> Result<()> {
    let known = || {
        let programs = probe::programs().iter().map(|program| program.capability);
        programs.chain([counters::CAPABILITY])
    };
    for name in without {
        if !known().any(|capability| capability == name) {
            let all: Vec<_> = known().collect();
            bail!(
                "--without {name}: there is no such capability; there are: {}",
                all.join(", ")
            );
        }
    }
    Ok(())
}

/// What the node knows of owners, for the probe.
struct Known {
    owners: Owners,
    now: u64,
}

impl probe::Owners for Known {
    fn opened(&mut self, inode: u64, pid: u32, command: &str) -> Owner {
        self.owners.opened(inode, pid, command, self.now)
    }

    fn by_socket(&mut self, inode: u64, cgroup: u64) -> Option<Owner> {
        self.owners.by_socket(inode, cgroup, self.now)
    }
}
