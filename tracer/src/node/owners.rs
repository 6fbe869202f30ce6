//! Who has a socket: the process by the socket's inode, and from there its cgroup and unit.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use super::cgroup::{self, Cgroup, Cgroups};
use super::text;
use crate::event::{Owner, Parent, Socket};

/// Finds the owners of sockets, and names cgroups.
///
/// To find the process of a socket, the open files of every process are read, which costs about 1 µs a
/// file. That is done only when an unknown socket is asked for, at most once a second, and never for more
/// than a twentieth of the time. A socket that was seen to be opened is known without that.
#[derive(Debug)]
pub struct Owners {
    by_inode: HashMap<u64, Owner>,
    opened: Opened,
    nobodys: Nobodys,
    pace: Pace,
    cgroups: Cgroups,
}

impl Default for Owners {
    fn default() -> Self {
        Self::new()
    }
}

impl Owners {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            by_inode: HashMap::new(),
            opened: Opened::default(),
            nobodys: Nobodys::default(),
            pace: Pace::default(),
            cgroups: Cgroups::new(),
        }
    }

    /// The process that has the socket with this inode. `now` is boot time in ns.
    ///
    /// Where several share it, the lowest pid counts, which is the one that opened it; but pid 1 only where
    /// no other has it, as it opens sockets for the units that it starts, and so does the first process of another pid
    /// namespace where one of another cgroup has it. `None` where no process has it
    /// (inode 0, or it was closed), where the process may not be looked into,
    /// or for up to a second where it was opened after the last look.
    pub fn by_inode(&mut self, inode: u64, now: u64) -> Option<&Owner> {
        if inode == 0 {
            return None;
        }
        let is_known = |owners: &Self| {
            owners.by_inode.contains_key(&inode) || owners.opened.by_inode.contains_key(&inode)
        };
        if !is_known(self) {
            if self.pace.allows(now) && !self.nobodys.contains(inode, now) {
                let begin = Instant::now();
                self.scan();
                self.pace.done(now, begin.elapsed());
                self.nobodys.looked(now);
            }
            if !is_known(self) {
                self.nobodys.missed(inode, now);
            }
        }
        self.by_inode
            .get(&inode)
            .or_else(|| self.opened.by_inode.get(&inode))
    }

    /// The same of a socket that may change hands, as one that systemd keeps for a service does when that is restarted. `is_rare`
    /// says that such a socket is seldom opened: it is looked for at once, however short ago all were looked at.
    pub(super) fn by_inode_now(&mut self, inode: u64, now: u64, is_rare: bool) -> Option<&Owner> {
        let has_it = |owner: &Owner| sockets_of(owner.pid).is_ok_and(|sockets| sockets.contains(&inode));
        match self.by_inode.get(&inode) {
            Some(owner) if has_it(owner) => {}
            // That is rare, too.
            Some(_) => {
                self.pace = Pace::default();
                self.by_inode.remove(&inode);
            }
            None if is_rare => self.pace = Pace::default(),
            None => {}
        }
        self.by_inode(inode, now)
    }

    /// A process was seen to open the socket with this inode, or to listen on it: who that is. `command` is
    /// what the kernel calls it, which is all there is where it has ended already.
    pub fn opened(&mut self, inode: u64, pid: u32, command: &str, now: u64) -> Owner {
        let owner = self.opened.process(pid, command, now).clone();
        if inode != 0 {
            self.opened.remember(inode, owner.clone());
        }
        owner
    }

    /// A process with this id, read at once, as it may be short-lived. `None` where it has ended already.
    #[must_use]
    pub fn by_pid(pid: u32) -> Option<Owner> {
        let command = command(pid)?;
        // It may end in between: then its cgroup stays unknown.
        let Cgroup { path, unit } = cgroup::of_process(pid).ok().flatten().unwrap_or_default();
        Some(Owner {
            pid,
            command,
            cgroup: path,
            unit,
            parent: None,
        })
    }

    /// The same of who does something, with its parent: a tool is known by who runs it. What belongs to the process goes
    /// with it, so it is read before anything else; of one that has ended its parent is not to be known.
    #[must_use]
    pub fn actor(pid: u32) -> Option<Owner> {
        let parent = parent(&text::read(format!("/proc/{pid}/stat")).ok()?);
        let owner = Self::by_pid(pid)?;
        let parent = parent.map(|pid| Parent {
            pid,
            command: command(pid).unwrap_or_default(),
        });
        Some(Owner {
            parent: parent.map(Box::new),
            ..owner
        })
    }

    /// The cgroup (v2) with this id. `now` is boot time in ns. `None` where the id is unknown, as for up to a
    /// second after the group was made, or where cgroup v2 is not mounted.
    pub fn by_cgroup(&mut self, id: u64, now: u64) -> Option<&Cgroup> {
        self.cgroups.by_id(id, now)
    }

    /// Who has a socket: the process, as [`Owners::by_inode`] says; where none is found, as for a socket that its
    /// process has closed, the group that it was made in, without process (pid 0). `None` where that is the root,
    /// which says nothing, as on machines whose groups are all of cgroup v1.
    pub fn by_socket(&mut self, inode: u64, cgroup: u64, now: u64) -> Option<Owner> {
        if let Some(owner) = self.by_inode(inode, now) {
            return Some(owner.clone());
        }
        if cgroup == 0 {
            return None;
        }
        let Cgroup { path, unit } = self.by_cgroup(cgroup, now)?.clone();
        (path != "/").then_some(Owner {
            pid: 0,
            command: String::new(),
            cgroup: path,
            unit,
            parent: None,
        })
    }

    /// Sets the owners of sockets that have none yet.
    pub fn fill(&mut self, sockets: &mut [Socket], now: u64) {
        for socket in sockets.iter_mut().filter(|socket| socket.owner.is_none()) {
            socket.owner = self.by_inode(socket.inode, now).cloned();
        }
    }

    /// Forgets, and looks at every process.
    fn scan(&mut self) {
        self.by_inode.clear();
        let mut pids = pids();
        // The first that has a socket keeps it.
        pids.sort_unstable_by_key(|pid| (*pid == 1, *pid));
        let mut inits = HashMap::new();
        for pid in pids {
            // One that has ended meanwhile has none; for one that may not be looked into a privilege is missing,
            // of which `preflight` tells.
            let sockets = sockets_of(pid).unwrap_or_default();
            let may_be_its_own = |inode: &u64| {
                self.by_inode
                    .get(inode)
                    .is_none_or(|owner| *inits.entry(owner.pid).or_insert_with(|| is_init(owner.pid)))
            };
            let sockets: Vec<u64> = sockets.into_iter().filter(may_be_its_own).collect();
            if !sockets.is_empty()
                && let Some(owner) = Self::by_pid(pid)
            {
                for inode in sockets {
                    let known = self.by_inode.get(&inode);
                    // Else it has forked.
                    if known.is_none_or(|known| known.cgroup != owner.cgroup) {
                        self.by_inode.insert(inode, owner.clone());
                    }
                }
            }
        }
    }
}

/// Sockets that were seen to be opened.
#[derive(Debug, Default)]
struct Opened {
    by_inode: HashMap<u64, Owner>,
    /// The inodes in the order of their opening. The kernel gives none twice in 2^32.
    order: VecDeque<u64>,
    /// Who opened some at `read_at`: a process opens many in a row.
    processes: HashMap<(u32, String), Owner>,
    read_at: u64,
}

impl Opened {
    /// Sockets that are remembered, at most. Those that live longer are found by looking at processes.
    const MOST: usize = 8192;

    fn process(&mut self, pid: u32, command: &str, now: u64) -> &Owner {
        if self.read_at != now {
            self.processes.clear();
            self.read_at = now;
        }
        self.processes
            .entry((pid, command.to_owned()))
            .or_insert_with(|| Owners::by_pid(pid).unwrap_or_else(|| Owner::named(pid, command)))
    }

    fn remember(&mut self, inode: u64, owner: Owner) {
        if self.by_inode.insert(inode, owner).is_none() {
            self.order.push_back(inode);
        }
        while self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_inode.remove(&oldest);
        }
    }
}

/// Sockets that no process had: the kernel's own, and those of processes that have ended. A look at every process
/// for each of them, again and again, would find nothing. Likewise groups that have been removed.
#[derive(Debug, Default)]
pub(super) struct Nobodys {
    /// By inode, when it was looked for.
    missed: HashMap<u64, u64>,
    /// When all processes were looked at last.
    looked: Option<u64>,
}

impl Nobodys {
    /// For so long they are not looked for again, in ns: 30 s. A socket may be on its way from one process to
    /// another (`SCM_RIGHTS`).
    const WHILE: u64 = 30_000_000_000;

    pub(super) fn contains(&self, inode: u64, now: u64) -> bool {
        let missed = self.missed.get(&inode);
        missed.is_some_and(|at| now.saturating_sub(*at) < Self::WHILE)
    }

    pub(super) fn looked(&mut self, now: u64) {
        self.looked = Some(now);
        self.missed.retain(|_, at| now.saturating_sub(*at) < Self::WHILE);
    }

    /// No process is known to have it; it is nobody's if all processes were looked at just now.
    pub(super) fn missed(&mut self, inode: u64, now: u64) {
        if self.looked == Some(now) {
            self.missed.insert(inode, now);
        }
    }
}

/// When something costly may be done again.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Boot time in ns.
    next: u64,
}

impl Pace {
    const AT_LEAST: Duration = Duration::from_secs(1);
    /// Of the time that passes, one part in so many may be spent.
    const SHARE: u32 = 20;

    pub(super) fn allows(&self, now: u64) -> bool {
        now >= self.next
    }

    pub(super) fn done(&mut self, now: u64, cost: Duration) {
        let pause = Self::AT_LEAST.max(cost.saturating_mul(Self::SHARE));
        self.next = now.saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// All process ids, in no order; empty where /proc is not mounted.
pub(super) fn pids() -> Vec<u32> {
    let Ok(folder) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    folder
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The numbers of a process in all pid namespaces that it is in, this one first (proc(5), `NSpid`); none where it has ended.
pub(super) fn numbers(pid: u32) -> Vec<u32> {
    let status = text::read(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let numbers = numbers.into_iter().flat_map(str::split_ascii_whitespace);
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// Whether a process is the first one of a pid namespace below this one.
fn is_init(pid: u32) -> bool {
    let numbers = numbers(pid);
    numbers.len() > 1 && numbers.last() == Some(&1)
}

/// The command of a process, `None` where it has ended.
pub(super) fn command(pid: u32) -> Option<String> {
    let name = text::read(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end_matches('\n').to_owned())
}

/// The parent in a `/proc/PID/stat`, the second field behind the name; `None` for 0, which is the kernel or a process of
/// a pid namespace above.
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let parent = rest.split_ascii_whitespace().nth(1)?.parse().ok()?;
    (parent != 0).then_some(parent)
}

/// Inodes of the sockets that a process has open.
pub(super) fn sockets_of(pid: u32) -> io::Result<Vec<u64>> {
    let files = fs::read_dir(format!("/proc/{pid}/fd"))?;
    Ok(files
        .flatten()
        .filter_map(|file| socket_inode(fs::read_link(file.path()).ok()?.to_str()?))
        .collect())
}

/// `socket:[N]`
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::UdpSocket;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::process::{Child, Command, Stdio};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn open() -> (UdpSocket, u64) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let inode = socket_inode(link.to_str().unwrap()).unwrap();
        (socket, inode)
    }

    #[test]
    fn links_of_other_files_are_no_sockets() {
        assert_eq!(socket_inode("socket:[42]"), Some(42));
        for other in [
            "pipe:[42]",
            "/tmp/socket:[42]",
            "socket:[]",
            "socket:[42",
            "anon_inode:[eventpoll]",
        ] {
            assert_eq!(socket_inode(other), None, "{other}");
        }
    }

    #[test]
    fn a_socket_of_this_process_is_its_own() {
        let (_socket, inode) = open();
        let mut owners = Owners::new();
        let owner = owners.by_inode(inode, 0).unwrap();
        assert_eq!(owner.pid, std::process::id());
        assert_eq!(
            owner.command,
            fs::read_to_string("/proc/self/comm").unwrap().trim_end()
        );
        let text = fs::read_to_string("/proc/self/cgroup").unwrap();
        assert_eq!(owner.cgroup, Cgroup::from_proc(&text).unwrap_or_default().path);
        assert_eq!(owners.by_inode(0, SECOND), None);
    }

    #[test]
    fn a_new_socket_is_found_after_the_pause_and_not_before() {
        let (_first, known) = open();
        let mut owners = Owners::new();
        assert!(owners.by_inode(known, 5 * SECOND).is_some());
        let (_second, new) = open();
        assert_eq!(owners.by_inode(new, 5 * SECOND + 1), None, "the cost is bounded");
        assert_eq!(owners.by_inode(new, 6 * SECOND - 1), None);
        assert!(
            owners.by_inode(known, 5 * SECOND + 1).is_some(),
            "what is known costs nothing"
        );
        assert!(owners.by_inode(new, 60 * SECOND).is_some());
    }

    #[test]
    fn a_socket_that_nobody_has_is_not_looked_for_again_and_again() {
        let mut owners = Owners::new();
        for nobodys in [u64::MAX, u64::MAX - 1] {
            assert_eq!(owners.by_inode(nobodys, SECOND), None);
        }
        for nobodys in [u64::MAX, u64::MAX - 1] {
            assert_eq!(owners.by_inode(nobodys, 20 * SECOND), None);
        }
        assert!(owners.pace.allows(20 * SECOND), "no process was looked at");
        assert_eq!(owners.by_inode(u64::MAX, 31 * SECOND), None);
        assert!(!owners.pace.allows(31 * SECOND), "all were, once more");
        // Somebody else's is found all the same.
        let (_socket, inode) = open();
        assert!(owners.by_inode(inode, 60 * SECOND).is_some());
    }

    #[test]
    fn a_socket_that_was_seen_to_be_opened_costs_no_look() {
        let mut owners = Owners::new();
        let own = Owners::by_pid(std::process::id()).unwrap();
        assert_eq!(owners.opened(u64::MAX, std::process::id(), "x", 1), own);
        assert_eq!(owners.by_inode(u64::MAX, 1), Some(&own));
        assert!(owners.pace.allows(1), "no process was looked at");
        let gone = owners.opened(u64::MAX - 1, u32::MAX, "gone", 2);
        assert_eq!(
            (gone.pid, gone.command.as_str(), gone.cgroup.as_str()),
            (u32::MAX, "gone", "")
        );
        assert_eq!(owners.by_inode(u64::MAX - 1, 2), Some(&gone));
    }

    #[test]
    fn sockets_that_were_seen_to_be_opened_are_bounded() {
        let mut owners = Owners::new();
        let most = Opened::MOST as u64;
        for inode in 1..=most + 1 {
            owners.opened(inode, u32::MAX, "many", 1);
        }
        // Opened once more, under the same inode: known once.
        owners.opened(most, u32::MAX, "again", 1);
        let opened = &owners.opened;
        assert_eq!((opened.by_inode.len(), opened.order.len()), (8192, 8192));
        assert!(!opened.by_inode.contains_key(&1) && opened.by_inode.contains_key(&2));
        assert_eq!(opened.by_inode[&most].command, "again");
    }

    #[test]
    fn the_parent_stands_behind_a_name_that_may_be_any() {
        assert_eq!(parent("7 (a) S 1) R 42 7 7 0"), Some(42));
        assert_eq!(parent("2 (kthreadd) S 0 0 0"), None);
        for torn in ["", "7 (a", "7 (a)", "7 (a) S", "7 (a) S x"] {
            assert_eq!(parent(torn), None, "{torn}");
        }
    }

    #[test]
    fn the_pause_grows_with_the_cost() {
        let mut pace = Pace::default();
        assert!(pace.allows(0));
        pace.done(0, Duration::from_millis(1));
        assert!(!pace.allows(SECOND - 1) && pace.allows(SECOND));
        pace.done(0, Duration::from_millis(200));
        assert!(!pace.allows(4 * SECOND - 1) && pace.allows(4 * SECOND));
        pace.done(u64::MAX, Duration::MAX);
        assert!(pace.allows(u64::MAX));
    }

    /// `cat` with this standard input, started for sure: what `say` sends to it has come back.
    fn cat(stdin: Stdio, say: impl FnOnce(&mut Child)) -> Child {
        let mut child = Command::new("cat")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        say(&mut child);
        let mut answer = [0; 2];
        child.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hi");
        child
    }

    /// Waits until this process alone has the socket: what others of these tests begin has it too until it runs its own program.
    fn wait_for_sole_owner(pid: u32, inode: u64) {
        let has_it = |other: &u32| *other != pid && sockets_of(*other).is_ok_and(|all| all.contains(&inode));
        while pids().iter().any(has_it) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_owner_of_a_socket_may_exit_meanwhile() {
        let (socket, inode) = open();
        let address = socket.local_addr().unwrap();
        // The child alone has it then.
        let mut child = cat(Stdio::from(OwnedFd::from(socket)), |_| {
            UdpSocket::bind("127.0.0.1:0")
                .unwrap()
                .send_to(b"hi", address)
                .unwrap();
        });
        wait_for_sole_owner(child.id(), inode);
        let mut owners = Owners::new();
        let found = owners.by_inode(inode, 0).cloned();
        child.kill().unwrap();
        child.wait().unwrap();
        let found = found.unwrap();
        assert_eq!((found.pid, found.command.as_str()), (child.id(), "cat"));
        assert_eq!(owners.by_inode(inode, 1), Some(&found), "the last that was known");
        let mut others = Owners::new();
        others.by_inode.insert(inode, found);
        assert_eq!(owners.by_inode(u64::MAX, u64::MAX), None);
        assert_eq!(
            owners.by_inode(inode, u64::MAX),
            None,
            "forgotten with the next look"
        );
        assert_eq!(
            others.by_inode_now(inode, 1, false),
            None,
            "nobody has it any more"
        );
    }

    #[test]
    fn a_socket_that_is_rare_is_looked_for_at_once() {
        let mut owners = Owners::new();
        assert_eq!(owners.by_inode(u64::MAX, 1), None);
        let (_socket, inode) = open();
        let pid =
            |owners: &mut Owners, is_rare| owners.by_inode_now(inode, 2, is_rare).map(|owner| owner.pid);
        assert_eq!(pid(&mut owners, false), None, "all were looked at just now");
        assert_eq!(pid(&mut owners, true), Some(std::process::id()));
    }

    #[test]
    fn a_process_is_known_while_it_lives() {
        let mut child = cat(Stdio::piped(), |child| {
            child.stdin.as_mut().unwrap().write_all(b"hi").unwrap();
        });
        let pid = child.id();
        let owner = Owners::by_pid(pid).unwrap();
        let actor = Owners::actor(pid).unwrap();
        let own = Owners::by_pid(std::process::id()).unwrap();
        let parent = actor
            .parent
            .as_deref()
            .map(|parent| (parent.pid, parent.command.as_str()));
        assert_eq!(parent, Some((own.pid, own.command.as_str())));
        assert_eq!((actor.cgroup, actor.unit), (own.cgroup, own.unit));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!((owner.pid, owner.command.as_str()), (pid, "cat"));
        assert_eq!((Owners::by_pid(pid), Owners::actor(pid)), (None, None));
        assert!(sockets_of(pid).is_err());
    }
}
