//! Who asked the kernel for a change: the process that has the netlink socket which it was asked by.
//!
//! The kernel tells the socket's address. By default that is the id of the process that opened it, *as that process
//! sees it*: in a container another one than here, and often 1. So the socket itself is looked for, and where it is gone
//! already a process is believed only if it may be the one.

use std::collections::HashMap;
use std::fs;

use super::super::Netns;
use super::super::cgroup::Cgroup;
use super::super::ended::{Ended, Memory, WHILE};
use super::super::owners::{Owners, sockets_of};
use super::super::text;
use super::told::Who;
use crate::event::{Owner, Unknown};

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
    /// By namespace and address, with the time when it was looked for.
    known: HashMap<(u32, u32), (u64, Who)>,
}

impl Requesters {
    /// `memory` is of processes that have ended.
    pub(super) fn new(memory: Option<Memory>) -> Self {
        Self {
            ended: Ended::new(memory),
            ..Self::default()
        }
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
            && !(process_of(port) == Some(INIT) && owner.as_ref().is_ok_and(|owner| !has_files(owner.pid)))
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
            .or_else(|| self.ended(pid, netns, now).filter(is_it))
            .unwrap_or_else(|| Owner::named(pid, command))
    }

    /// One that has just ended.
    fn ended(&mut self, pid: u32, netns: &Netns, now: u64) -> Option<Owner> {
        let ended = self.ended.just(pid, netns.inode(), now)?;
        let cgroup = self.owners.by_cgroup(ended.cgroup, now).cloned();
        let Cgroup { path, unit } = cgroup.unwrap_or_default();
        Some(Owner {
            pid,
            command: ended.command,
            cgroup: path,
            unit,
            parent: Some(Box::new(ended.parent)),
        })
    }

    fn look(&mut self, netns: &Netns, port: u32, now: u64) -> Option<Owner> {
        let pid = process_of(port);
        // At once: the process may be short-lived.
        let found = pid.and_then(|pid| Some((pid, Owners::actor(pid)?)));
        let theirs = pid.and_then(|pid| sockets_of(pid).ok().filter(|_| has_files(pid)));
        let socket =
            netns.enter(|| inode_of(&fs::read_to_string("/proc/thread-self/net/netlink").ok()?, port));
        match (socket.ok().flatten(), theirs) {
            (Some(inode), Some(theirs)) if theirs.contains(&inode) && pid != Some(INIT) => {
                return found.map(|(_, owner)| owner);
            }
            // It is another process's, or that one has just ended; or systemd has opened it for a service.
            (Some(inode), theirs) => {
                let owner = self.owners.by_inode_now(inode, now).cloned();
                // What a process has is known for longer than who its parent is.
                let owner = owner.map(|owner| Owners::actor(owner.pid).unwrap_or(owner));
                if owner.is_some() || theirs.is_some() {
                    return owner;
                }
            }
            (None, _) => {}
        }
        match found {
            // It lives on without the socket: pid 1 and threads of the kernel are others' 1 and so on.
            Some((pid, owner)) => (pid != INIT && has_a_program(pid)).then_some(owner),
            None => {
                let pid = pid?;
                match self.ended(pid, netns, now) {
                    // The number is one of another pid namespace, as in a container: here it is nobody's, or another's.
                    None if self.ended.is_told() => None,
                    None => Some(Owner::named(pid, "")),
                    ended => ended,
                }
            }
        }
    }
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

/// A thread of the kernel has none; nor has a process that is just ending, of which the name is all that matters.
fn has_a_program(pid: u32) -> bool {
    let Ok(status) = text::read(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // PF_KTHREAD in the flags, the seventh field behind the name.
    let flags = status
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(6)?.parse::<u32>().ok());
    flags.is_none_or(|flags| flags & 0x0020_0000 == 0)
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
    use super::super::super::netlink::{Listener, ROUTE};
    use super::*;

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
    fn a_number_that_none_of_the_machine_has_had_is_not_told() {
        let netns = Netns::current().unwrap();
        // No process of this machine has so large a number.
        let port = PROCESSES - 1;
        let who = Requesters::default().who(&netns, port, 1);
        assert_eq!(who, Ok(Owner::named(port, "")), "nobody remembers who has ended");
        let mut remembering = Requesters::new(Some(Box::new(|_| None)));
        // Where these tests run in a pid namespace of their own nobody is asked.
        if remembering.ended.is_told() {
            assert_eq!(remembering.who(&netns, port, 1), Err(Unknown::NotFound));
        }
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
    fn a_process_that_has_ended_keeps_its_number() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let netns = Netns::current().unwrap();
        let owner = Requesters::default().who(&netns, pid, 1).unwrap();
        // Nothing is guessed of its unit and parent.
        assert_eq!(owner, Owner::named(pid, ""));
        assert_eq!(
            Requesters::default().who(&netns, 1, 1),
            Err(Unknown::NotFound),
            "it may be 1 in a container"
        );
        assert_eq!(
            Requesters::default().who(&netns, u32::MAX - 7, 1),
            Err(Unknown::NotFound),
            "an address that the kernel chose, and nobody has"
        );
    }
}
