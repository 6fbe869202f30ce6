//! All sources together: one stream of events.

mod openings;

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};

use crate::event::{Body, Capability, CapabilityState, Device, Event, FlowKey, Owner, Socket, SocketState};
use crate::node::sockets::Sockets;
use crate::node::{self, Netns, Owners};
use crate::probe::{self, Probe};

use openings::Openings;

/// How often the counts are read, in milliseconds.
pub const ROUND_MS: u64 = 500;
/// Rounds between two looks at sockets: those that came without an event of their own.
const ROUNDS_PER_LISTING: u64 = 8;
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
                addresses: HashSet::new(),
                now,
            },
            openings: Openings::default(),
            namespaces,
            all: all.is_some(),
            uplinks: options.uplinks.clone(),
            rounds: 0,
            told_sockets: HashSet::new(),
            told_capabilities: Vec::new(),
            told_devices: Vec::new(),
        };
        if let Some(capability) = all {
            watch.tell_capability(now, capability, tell);
        }
        watch.list_devices(now, tell)?;
        watch.list_sockets(now, tell);
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
        let Self {
            probe,
            owners,
            openings,
            ..
        } = self;
        probe.poll(now, owners, &mut |event| openings.pass(event, tell))?;
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
        self.owners.addresses = self
            .told_devices
            .iter()
            .flat_map(|device| device.addresses.iter().map(|address| (device.netns, *address)))
            .collect();
        Ok(())
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
            self.tell_sockets(now, found, &mut present, tell);
        }
        self.told_sockets = present;
        let more = unread.len().saturating_sub(LISTS_NAMED);
        unread.truncate(LISTS_NAMED);
        if more > 0 {
            unread.push(format!("And {more} more lists."));
        }
        let all = Sockets {
            sockets: Vec::new(),
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

fn check_names(without: &[String]) -> Result<()> {
    let known = || probe::programs().iter().map(|program| program.capability);
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
