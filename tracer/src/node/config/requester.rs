//! Who asked the kernel for a change: the process that has the netlink socket which it was asked by.
//!
//! The kernel tells the socket's address. By default that is the number of the process that opened it, *as that process
//! sees it*: in a container another one than here, and often 1. So the socket itself is looked for. Where it is gone
//! already, the process is believed that has this number in its own pid namespace, and is in the network namespace, if there is
//! only one; or that was so and has just ended, not before the change: a socket that a process shares lives on without it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::super::Netns;
use super::super::cgroup::Cgroup;
use super::super::ended::{Ended, Memory, WHILE};
use super::super::owners::{Owners, numbers, pids, sockets_of};
use super::super::text;
use super::told::Who;
use crate::event::{Number, Owner, Unknown};

/// Sockets that are remembered at most.
const MOST: usize = 256;
/// Addresses from here on are chosen by the kernel, and say nothing (`netlink_autobind`).
const CHOSEN_BY_KERNEL: u32 = 1 << 31;
/// systemd, here or in a container. It opens sockets for services, which then ask by them (`ListenNetlink=`), as networkd
/// does; and when one is restarted, the next process has the same socket.
const INIT: u32 = 1;
/// The largest process id is one less (`PID_MAX_LIMIT`); libnl puts the number of the socket above it.
const PROCESSES: u32 = 1 << 22;

/// Finds out who has a socket, and remembers it for a while.
#[derive(Debug, Default)]
pub(super) struct Requesters {
    owners: Owners,
    ended: Ended,
    /// What is heard now was told then or later: boot time in ns.
    since: u64,
    /// By namespace and address, with the time when it was looked for.
    known: HashMap<(u32, u32), (u64, Who)>,
}

impl Requesters {
    /// `memory` is of processes that have ended. What will be heard is told from `since` on.
    pub(super) fn new(memory: Option<Memory>, since: u64) -> Self {
        Self {
            ended: Ended::new(memory),
            since,
            ..Self::default()
        }
    }

    /// What is heard from now on was not told before `since`.
    pub(super) fn told_since(&mut self, since: u64) {
        self.since = since;
    }

    /// Who has the socket with this address in a namespace, read at once; or why that is not known. `now` is boot time in
    /// ns.
    pub(super) fn who(&mut self, netns: &Netns, port: u32, now: u64) -> Who {
        if port == 0 {
            return Err(Unknown::Kernel);
        }
        let key = (netns.inode(), port);
        if let Some((at, owner)) = self.known.get(&key)
            && now.saturating_sub(*at) < WHILE
            && self.holds(*at, port, owner)
        {
            return owner.clone();
        }
        let owner = self.look(netns, port, now).ok_or(Unknown::NotFound);
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(key, (now, owner.clone()));
        owner
    }

    /// The process with this number and name, as the kernel tells them both: it counts as the machine does, and where the
    /// tracer counts otherwise the name tells.
    pub(super) fn process(&mut self, pid: u32, command: &str, netns: &Netns, now: u64) -> Owner {
        let is_it = |owner: &Owner| owner.command == command;
        Owners::actor(pid)
            .filter(is_it)
            .or_else(|| self.ended(Number::Machine(pid), netns, now).filter(is_it))
            .unwrap_or_else(|| Owner::named(pid, command))
    }

    /// One that has just ended.
    fn ended(&mut self, number: Number, netns: &Netns, now: u64) -> Option<Owner> {
        let ended = self.ended.just(number, netns.inode(), self.since, now)?;
        let cgroup = self.owners.by_cgroup(ended.cgroup, now).cloned();
        let Cgroup { path, unit } = cgroup.unwrap_or_else(|| {
            let parent = self.owners.by_cgroup(ended.cgroup_parent, now);
            Cgroup::removed(parent, &ended.cgroup_name)
        });
        Some(Owner {
            pid: ended.pid,
            command: ended.command,
            cgroup: path,
            unit,
            parent: Some(Box::new(ended.parent)),
        })
    }

    /// Who was found at some time is who asks now. Once the process is gone, another may have the socket, as the next one of a
    /// service has one that systemd opened for it; but not where nothing was to be read in between.
    fn holds(&self, at: u64, port: u32, who: &Who) -> bool {
        let is_same = at >= self.since && process_of(port) != Some(INIT);
        // Nor is it known for long that nobody has one that systemd opened: another one may be there by now.
        let is_unknown = process_of(port) != Some(INIT);
        is_same || who.as_ref().map_or(is_unknown, |owner| has_files(owner.pid))
    }

    fn look(&mut self, netns: &Netns, port: u32, now: u64) -> Option<Owner> {
        let pid = process_of(port);
        // At once: the process may be short-lived.
        let found = pid.and_then(Owners::actor);
        // One that was gone, and not waited for, may have been so for long.
        let was_alive = pid.is_some_and(is_alive);
        let may_be = found.is_some() && pid.is_some_and(|pid| may_be(pid, pid, netns));
        let theirs = pid.and_then(|pid| sockets_of(pid).ok().filter(|_| has_files(pid)));
        let socket = socket_of(netns, port);
        let number = pid.filter(|pid| *pid != INIT);
        // Whoever has it is not to be seen.
        let mut is_hidden = false;
        if let Some(inode) = socket {
            if number.is_some() && theirs.as_ref().is_some_and(|theirs| theirs.contains(&inode)) {
                return found;
            }
            // It is another process's, as of one that counts otherwise; or that one has just closed it, or ended; or systemd
            // has opened it for a service.
            let owner = number
                .and_then(|number| holder(number, inode, netns))
                .or_else(|| self.owners.by_inode_now(inode, now, pid == Some(INIT)).cloned());
            if let Some(owner) = owner {
                // What a process has is known for longer than who its parent is.
                let more =
                    Owners::actor(owner.pid).or_else(|| self.ended(Number::Machine(owner.pid), netns, now));
                return Some(more.unwrap_or(owner));
            }
            is_hidden = socket_of(netns, port) == socket;
            if is_hidden && may_be && theirs.is_some() {
                return None;
            }
        }
        // Pid 1 is others' 1, and has closed no socket.
        let number = number?;
        self.ended(Number::Own(number), netns, now)
            .or_else(|| living(number, netns).filter(|owner| !(is_hidden && has_files(owner.pid))))
            // It has ended while it was looked for.
            .or_else(|| self.ended(Number::Own(number), netns, now))
            .or_else(|| found.filter(|_| may_be && was_alive && is_ending(number)))
    }
}

/// The only process that has this number in its own pid namespace, and is in this network namespace: it lives on without the
/// socket.
fn living(number: u32, netns: &Netns) -> Option<Owner> {
    let is_it = |pid: &u32| may_be(*pid, number, netns) && !is_ending(*pid) && has_a_program(*pid);
    let mut all = pids().into_iter().filter(is_it);
    let only = all.next()?;
    all.next().is_none().then(|| Owners::actor(only))?
}

/// It has this number in its own pid namespace, and is in this network namespace, or is in none any more.
fn may_be(pid: u32, number: u32, netns: &Netns) -> bool {
    let is_here = |inode: u64| inode == u64::from(netns.inode());
    numbers(pid).last() == Some(&number) && network_of(pid).is_none_or(is_here)
}

/// The process that has this number in its own pid namespace, and the socket.
fn holder(number: u32, inode: u64, netns: &Netns) -> Option<Owner> {
    let has_it = |pid: u32| sockets_of(pid).is_ok_and(|sockets| sockets.contains(&inode));
    let mut all = pids().into_iter();
    let pid = all.find(|pid| may_be(*pid, number, netns) && has_it(*pid))?;
    Owners::actor(pid)
}

/// The inode of the socket with this address in a namespace, while there is one.
fn socket_of(netns: &Netns, port: u32) -> Option<u64> {
    let inode = netns.enter(|| inode_of(&fs::read_to_string("/proc/thread-self/net/netlink").ok()?, port));
    inode.ok().flatten()
}

/// The inode of its network namespace. `None` where it is ending, or may not be looked at.
fn network_of(pid: u32) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/net"))
        .ok()
        .map(|namespace| namespace.ino())
}

/// The process that an address names.
fn process_of(port: u32) -> Option<u32> {
    (port < CHOSEN_BY_KERNEL)
        .then_some(port % PROCESSES)
        .filter(|pid| *pid != 0)
}

/// A process that is just ending has none any more, while its socket is still there.
fn has_files(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|mut files| files.next().is_some())
}

/// A thread of the kernel has none (`PF_KTHREAD`).
fn has_a_program(pid: u32) -> bool {
    flags(pid).is_none_or(|flags| flags & 0x0020_0000 == 0)
}

/// It is gone, or about to be (`PF_EXITING`).
fn is_ending(pid: u32) -> bool {
    flags(pid).is_none_or(|flags| flags & 0x0000_0004 != 0)
}

/// It is there, and more of it than how it ended, which its parent has not asked yet.
fn is_alive(pid: u32) -> bool {
    field(pid, 0).is_some_and(|state| !matches!(state.as_str(), "Z" | "X"))
}

/// The flags of a process (include/linux/sched.h). `None` where it is gone.
fn flags(pid: u32) -> Option<u32> {
    field(pid, 6)?.parse().ok()
}

/// A field behind the name of a process in `/proc/PID/stat`, the first is 0. `None` where it is gone.
fn field(pid: u32, number: usize) -> Option<String> {
    let status = text::read(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = status.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(number).map(str::to_owned)
}

/// The inode of the socket of `NETLINK_ROUTE`, `NETLINK_XFRM` or `NETLINK_NETFILTER` with this address, in
/// `/proc/net/netlink`.
fn inode_of(table: &str, port: u32) -> Option<u64> {
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (protocol, address) = (fields.nth(1)?, fields.next()?);
        let is_it = matches!(protocol, "0" | "6" | "12") && address.parse() == Ok(port);
        is_it.then(|| fields.last()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::super::netlink::{Listener, ROUTE};
    use super::*;
    use crate::event::{EndedProcess, Parent};

    #[test]
    fn an_address_names_a_process_or_none() {
        assert_eq!(process_of(812), Some(812));
        assert_eq!(process_of(3 << 22 | 812), Some(812), "as libnl makes them");
        assert_eq!(process_of(4_294_963_000), None, "chosen by the kernel");
        assert_eq!(process_of(1 << 22), None);
    }

    #[test]
    fn a_socket_is_found_by_its_address() {
        let table = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
                     0000000000000000 4   812        00000000 0        0        0     2        0        100\n\
                     0000000000000000 0   812        00000551 0        0        0     2        0        101\n\
                     cut\n";
        assert_eq!(inode_of(table, 812), Some(101));
        assert_eq!(inode_of(table, 81), None);
        assert_eq!(inode_of("", 812), None);
    }

    #[test]
    fn a_socket_of_this_process_is_its_own() {
        let netns = Netns::current().unwrap();
        // The address of a socket that nobody else can have taken: it is bound by the kernel to this process.
        let _listener = Listener::open(ROUTE, &[1]).unwrap();
        let table = fs::read_to_string("/proc/self/net/netlink").unwrap();
        let own = sockets_of(std::process::id()).unwrap();
        let port = table
            .lines()
            .skip(1)
            .filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse().ok())
            .find(|port| inode_of(&table, *port).is_some_and(|inode| own.contains(&inode)))
            .unwrap();
        let owner = Requesters::default().who(&netns, port, 1).unwrap();
        assert_eq!(owner.pid, std::process::id());
        assert!(owner.parent.is_some(), "{owner:?}");
        assert_eq!(Requesters::default().who(&netns, 0, 1), Err(Unknown::Kernel));
    }

    #[test]
    fn nobody_is_named_whose_number_may_be_anothers() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let netns = Netns::current().unwrap();
        for (port, why) in [
            (pid, "it is gone, and nobody remembers who it was"),
            (1, "it may be 1 in a container"),
            (u32::MAX - 7, "an address that the kernel chose, and nobody has"),
        ] {
            let who = Requesters::default().who(&netns, port, 1);
            assert_eq!(who, Err(Unknown::NotFound), "{why}");
        }
    }

    /// Asks a memory that has it that `true` ended at this time, once it has been asked so often.
    fn told_of_true(ended_at: u64, asked: usize) -> Who {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let times = AtomicUsize::new(0);
        let memory = move |number: Number, netns: u32| {
            let is_it = number == Number::Own(pid) && times.fetch_add(1, Ordering::Relaxed) >= asked;
            is_it.then(|| EndedProcess {
                at: ended_at,
                other: None,
                pid,
                command: "true".to_owned(),
                parent: Parent {
                    pid: 6,
                    command: "sh".to_owned(),
                },
                cgroup: 0,
                cgroup_parent: 0,
                cgroup_name: "route.service".to_owned(),
                netns,
            })
        };
        let mut requesters = Requesters {
            ended: Ended::by(Box::new(memory)),
            ..Requesters::default()
        };
        requesters.told_since(1000);
        requesters.who(&Netns::current().unwrap(), pid, 2000)
    }

    #[test]
    fn who_ends_while_it_is_looked_for_is_known() {
        let named = |who: Who| who.map(|owner| (owner.command, owner.unit));
        let known = Ok(("true".to_owned(), "route.service".to_owned()));
        assert_eq!(named(told_of_true(1500, 0)), known);
        assert_eq!(named(told_of_true(1500, 1)), known, "not remembered at first");
        assert_eq!(
            named(told_of_true(999, 0)),
            Err(Unknown::NotFound),
            "before the change"
        );
    }
}
