//! Lines of the kernel's log that are of meaning for the network (`/dev/kmsg`), from now on.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::super::cgroup;
use super::super::owners::Owners;
use crate::event::{Notice, NoticeKind};

/// Longer than any record (`PRINTKRB_RECORD_MAX`, 1024, and what goes before).
const ROOM: usize = 8192;
/// Characters of a line that are told.
const TOLD: usize = 300;
/// Lines that are told in one go, at most: a network card that fails may say so a thousand times.
const TURN: usize = 64;
/// Facility of the kernel itself: others come from processes.
const LOG_KERN: u32 = 0;

/// What the line has that says who is killed (`__oom_kill_process`).
const KILLED: &str = "ut of memory: Killed process ";
/// How the line ends that says that all processes of a cgroup are killed with one of them (`mem_cgroup_print_oom_group`).
const OF_GROUP: &str = " are going to be killed due to memory.oom.group set";

/// What a line must have in it, all of these, and what kind of thing it tells of.
const LINES: [(&[&str], NoticeKind); 31] = [
    // mm/oom_kill.c
    (&[KILLED], NoticeKind::OutOfMemory),
    (&["oom_reaper: reaped process "], NoticeKind::OutOfMemory),
    (&["Tasks in ", OF_GROUP], NoticeKind::OutOfMemory),
    // kernel/module, and what modprobe and systemd say
    (&["odule ", " not found"], NoticeKind::Module),
    (&["disagrees about version of symbol"], NoticeKind::Module),
    (&["Unknown symbol"], NoticeKind::Module),
    (&["version magic '", "' should be '"], NoticeKind::Module),
    (&["Loading of ", " is rejected"], NoticeKind::Module),
    (&["Failed to insert module '"], NoticeKind::Module),
    (&["could not insert '"], NoticeKind::Module),
    // net/netfilter/nf_conntrack_core.c
    (
        &["nf_conntrack: ", "table full, dropping packet"],
        NoticeKind::Kernel,
    ),
    // net/core/neighbour.c
    (&["neighbour: ", "neighbor table overflow!"], NoticeKind::Kernel),
    // net/ipv4/route.c, fib_frontend.c
    (&["martian "], NoticeKind::Kernel),
    (&["Route cache is full"], NoticeKind::Kernel),
    // net/ipv4/tcp_input.c, tcp.c
    (&["Possible SYN flooding on port"], NoticeKind::Kernel),
    (&["out of memory -- consider tuning tcp_mem"], NoticeKind::Kernel),
    (&["too many orphaned sockets"], NoticeKind::Kernel),
    // net/netfilter/nfnetlink_queue.c
    (&["nf_queue: full at "], NoticeKind::Kernel),
    // net/bridge/br_fdb.c
    (&["with own address as source address"], NoticeKind::Kernel),
    // net/core/dev.c: a namespace, and with it a pod, cannot end
    (&["unregister_netdevice: waiting for "], NoticeKind::Kernel),
    (&["Dead loop on virtual device "], NoticeKind::Kernel),
    // net/sched/sch_generic.c
    (&["NETDEV WATCHDOG"], NoticeKind::Kernel),
    // drivers of network cards
    (&["Link is Up"], NoticeKind::Kernel),
    (&["Link is Down"], NoticeKind::Kernel),
    (&["NIC Link is "], NoticeKind::Kernel),
    (&["eset adapter"], NoticeKind::Kernel),
    // net/ipv6/addrconf.c
    (&["IPv6 duplicate address "], NoticeKind::Kernel),
    // kernel/hung_task.c, watchdog.c, rcu/tree_stall.h
    (&["INFO: task ", " blocked for more than "], NoticeKind::Kernel),
    (&["soft lockup"], NoticeKind::Kernel),
    (&["rcu", "self-detected stall"], NoticeKind::Kernel),
    (&["rcu", "detected stalls on CPUs"], NoticeKind::Kernel),
];

/// The log.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    doomed: Doomed,
}

/// Whom the kernel kills for want of memory, as it has said last.
#[derive(Debug, Default, PartialEq, Eq)]
struct Doomed {
    /// It says whom it has chosen in a line of its own, before it does.
    chosen: Option<Chosen>,
    /// The memory cgroup of which all are to follow (`memory.oom.group`). It says so behind the first one.
    group: Option<Group>,
}

/// A memory cgroup of which all are killed, one right after the other.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    path: String,
    /// When the kernel spoke of it last, or of one that was killed then, in us.
    last: u64,
}

/// Lines of one such death come closer together than this, in us: the kernel writes each to a serial console before the next.
const TOGETHER: u64 = 100_000;

#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    pid: u32,
    /// The path of its memory cgroup.
    cgroup: String,
}

impl Log {
    /// Opens it behind its last line.
    ///
    /// # Errors
    /// Where it may not be read.
    pub(super) fn open() -> io::Result<Self> {
        let mut file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            doomed: Doomed::default(),
        })
    }

    /// What it says since the last time.
    pub(super) fn notices(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut buffer = [0; ROOM];
        while notices.len() < TURN {
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    let record = buffer.get(..length).unwrap_or_default();
                    let record = String::from_utf8_lossy(record);
                    self.doomed.hear(&record);
                    notices.extend(notice(&record, &self.doomed));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Lines were overwritten before they were read; or one is longer than any.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::EINVAL)) => {
                    // It may have chosen another one there.
                    self.doomed = Doomed::default();
                }
                Err(_) => break,
            }
        }
        notices
    }
}

impl AsFd for Log {
    /// Readable when it says more.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A record: `priority,number,time,flags[,…];text`, then lines that begin with a space. Its priority and its text.
fn parts(record: &str) -> Option<(u32, &str)> {
    let (head, rest) = record.split_once(';')?;
    let priority = head.split(',').next()?.parse().ok()?;
    Some((priority, rest.lines().next()?))
}

/// When that was said, in us.
fn time(record: &str) -> Option<u64> {
    let (head, _) = record.split_once(';')?;
    head.split(',').nth(2)?.parse().ok()
}

fn notice(record: &str, doomed: &Doomed) -> Option<Notice> {
    let (priority, line) = parts(record)?;
    let (_, kind) = LINES
        .iter()
        .find(|(words, _)| words.iter().all(|word| line.contains(word)))?;
    // Anybody with privileges may write here; of modules it is modprobe or systemd that tells.
    if priority >> 3 != LOG_KERN && *kind != NoticeKind::Module {
        return None;
    }
    let mut text: String = line.chars().take(TOLD).collect();
    if *kind == NoticeKind::OutOfMemory
        && let Some(victim) = Victim::of(line)
    {
        text += &victim.whose(doomed);
    }
    Some(Notice {
        kind: *kind,
        text,
        // Who was killed did nothing, and who asked for the memory is not told here.
        by: None,
    })
}

impl Doomed {
    fn hear(&mut self, record: &str) {
        if let Some(chosen) = Chosen::of(record) {
            *self = Self {
                chosen: Some(chosen),
                group: None,
            };
        } else if let Some(group) = Group::of(record) {
            self.group = Some(group);
        } else if let Some((_, line)) = parts(record)
            && line.contains(KILLED)
        {
            // Who is killed later has another cause. The kernel does not say whom it has chosen each time where it kills many.
            let at = time(record);
            self.group = self.group.take().and_then(|group| group.with(at?));
        }
    }
}

impl Group {
    /// `Tasks in /a/b are going to be killed due to memory.oom.group set`
    fn of(record: &str) -> Option<Self> {
        let cgroup = of_kernel(record)?
            .strip_prefix("Tasks in ")?
            .strip_suffix(OF_GROUP)?;
        Some(Self {
            path: unescaped(cgroup),
            last: time(record)?,
        })
    }

    /// The same, where somebody who was killed then may be of it.
    fn with(self, at: u64) -> Option<Self> {
        (at.saturating_sub(self.last) <= TOGETHER).then_some(Self { last: at, ..self })
    }

    /// `a.service` where that is all of it, else `cgroup /system.slice/a.service/b`
    fn name(&self) -> String {
        match cgroup::unit(&self.path).filter(|unit| self.path.ends_with(&format!("/{unit}"))) {
            Some(unit) => unit.to_owned(),
            None => format!("cgroup {}", self.path),
        }
    }
}

/// What the kernel itself says in a record.
fn of_kernel(record: &str) -> Option<&str> {
    let (priority, line) = parts(record)?;
    (priority >> 3 == LOG_KERN).then_some(line)
}

/// systemd has backslashes in names, and this file escapes them.
fn unescaped(cgroup: &str) -> String {
    cgroup.replace("\\x5c", "\\")
}

impl Chosen {
    /// `oom-kill:constraint=…,oom_memcg=/a,task_memcg=/a/b,task=name,pid=1234,uid=0` (`mem_cgroup_print_oom_context`,
    /// `dump_oom_victim`).
    fn of(record: &str) -> Option<Self> {
        let told = of_kernel(record)?.strip_prefix("oom-kill:")?;
        let (_, rest) = told.split_once(",task_memcg=")?;
        let (rest, pid) = rest.rsplit_once(",pid=")?;
        let (cgroup, _) = rest.rsplit_once(",task=")?;
        Some(Self {
            pid: pid.split(',').next()?.parse().ok()?,
            cgroup: unescaped(cgroup),
        })
    }
}

/// `… Killed process 1234 (name), …`
struct Victim<'l> {
    pid: u32,
    command: &'l str,
}

impl<'l> Victim<'l> {
    fn of(line: &'l str) -> Option<Self> {
        let (_, rest) = line.split_once("process ")?;
        let (pid, rest) = rest.split_once(" (")?;
        let (command, _) = rest.rsplit_once(')')?;
        let pid = pid.parse().ok()?;
        Some(Self { pid, command })
    }

    /// The unit that it is of, by what the kernel has said of its memory; else by its process, which may be there for a moment
    /// more. A cgroup that is of no unit is named itself. Of one that follows with its group and has gone, that the group was to.
    fn whose(&self, doomed: &Doomed) -> String {
        let chosen = doomed.chosen.as_ref().filter(|chosen| chosen.pid == self.pid);
        let unit = chosen.and_then(|chosen| cgroup::unit(&chosen.cgroup));
        let of_process = || {
            let found = Owners::actor(self.pid)?;
            (found.command == self.command && !found.unit.is_empty()).then_some(found.unit)
        };
        if let Some(unit) = unit.map(str::to_owned).or_else(of_process) {
            return format!("; it was of {unit}");
        }
        match (chosen, &doomed.group) {
            (Some(Chosen { cgroup, .. }), _) if cgroup != "/" => format!("; it was of cgroup {cgroup}"),
            (None, Some(group)) => format!("; just before, all of {} was to be killed", group.name()),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_the_network_are_told() {
        let told = |record: &str| notice(record, &Doomed::default()).map(|notice| (notice.kind, notice.text));
        let line = |text: &str| format!("4,100,5000000,-;{text}\n SUBSYSTEM=net\n");
        for (text, kind) in [
            (
                "nf_conntrack: nf_conntrack: table full, dropping packet",
                NoticeKind::Kernel,
            ),
            (
                "IPv4: martian source 10.0.0.1 from 127.0.0.1, on dev eth0",
                NoticeKind::Kernel,
            ),
            ("e1000e 0000:00:19.0 eth0: NIC Link is Down", NoticeKind::Kernel),
            (
                "br0: received packet on p0 with own address as source address (addr:02:00:00:00:00:01, vlan:0)",
                NoticeKind::Kernel,
            ),
            (
                "unregister_netdevice: waiting for lo to become free. Usage count = 2",
                NoticeKind::Kernel,
            ),
            (
                "INFO: task kworker/0:1:7 blocked for more than 120 seconds.",
                NoticeKind::Kernel,
            ),
            (
                "Module br_netfilter not found in directory /lib/modules/6.1.0",
                NoticeKind::Module,
            ),
            (
                "nf_nat: version magic '6.1.0-13-amd64 SMP ' should be '6.1.0-12-amd64 SMP '",
                NoticeKind::Module,
            ),
            ("Loading of unsigned module is rejected", NoticeKind::Module),
        ] {
            assert_eq!(told(&line(text)), Some((kind, text.to_owned())));
        }
        assert_eq!(told(&line("usb 1-1: new device")), None);
        assert_eq!(
            told("30,1,1,-;nf_conntrack: table full, dropping packet"),
            None,
            "said by a process"
        );
        for damaged in ["", ";", "x,1;martian ", "4,1,1,-"] {
            assert_eq!(told(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn who_was_killed_for_want_of_memory_is_told() {
        let record =
            "3,1,1,-;Memory cgroup out of memory: Killed process 4000000 (a) b) total-vm:1kB, anon-rss:1kB";
        let notice = notice(record, &Doomed::default()).unwrap();
        assert_eq!(notice.kind, NoticeKind::OutOfMemory);
        // The victim is nobody's doer.
        assert_eq!(notice.by, None);
        let (_, text) = record.split_once(';').unwrap();
        assert_eq!(notice.text, text);
    }

    const CHOSEN: &str = "6,1,1,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,\
                          oom_memcg=/system.slice,task_memcg=CGROUP,task=a,pid=b,pid=4000000,uid=0";

    /// What the kernel has said of whom it kills.
    fn doomed(records: &[&str]) -> Doomed {
        let mut doomed = Doomed::default();
        for record in records {
            doomed.hear(record);
        }
        doomed
    }

    /// What is told of the death of a process, behind what the kernel says.
    fn of_victim(pid: u32, doomed: &Doomed) -> String {
        let line = format!("Memory cgroup out of memory: Killed process {pid} (a,pid=b) total-vm:1kB");
        let record = format!("3,2,1,-;{line}");
        let text = notice(&record, doomed).unwrap().text;
        text.strip_prefix(&line).unwrap().to_owned()
    }

    #[test]
    fn whose_process_was_killed_is_told_by_the_kernel_before() {
        let of = |cgroup: &str| of_victim(4_000_000, &doomed(&[&CHOSEN.replace("CGROUP", cgroup)]));
        assert_eq!(of("/system.slice/a.service"), "; it was of a.service");
        assert_eq!(
            of(r"/system.slice/a\x5cx2db.service"),
            r"; it was of a\x2db.service"
        );
        assert_eq!(of("/kubepods/pod1/2"), "; it was of cgroup /kubepods/pod1/2");
        assert_eq!(of("/"), "");
        let another = doomed(&[&CHOSEN.replace("CGROUP", "/system.slice/a.service")]);
        assert_eq!(of_victim(4_000_001, &another), "");
        assert_eq!(of_victim(4_000_000, &Doomed::default()), "");
        for nothing in [
            // Said by a process.
            "14,1,1,-;oom-kill:constraint=x,task_memcg=/a,task=a,pid=1,uid=0",
            "14,1,1,-;Tasks in /a are going to be killed due to memory.oom.group set",
            "6,1,1,-;oom-kill:",
            "6,1,1,-;oom-kill:,task_memcg=/a,pid=1",
            "6,1,1,-;oom-kill:,task_memcg=/a,task=a,pid=x",
            "6,1,1,-;Tasks in /a",
        ] {
            assert_eq!(doomed(&[nothing]), Doomed::default(), "{nothing}");
        }
    }

    #[test]
    fn who_is_killed_with_a_whole_cgroup_is_told_with_it() {
        let chosen = CHOSEN.replace("CGROUP", "/system.slice/a.service/worker");
        let group = |cgroup: &str| {
            format!("6,3,1,-;Tasks in {cgroup} are going to be killed due to memory.oom.group set")
        };
        let of_service = group("/system.slice/a.service");
        let all = doomed(&[&chosen, &of_service]);
        assert_eq!(of_victim(4_000_000, &all), "; it was of a.service");
        assert_eq!(
            of_victim(4_000_001, &all),
            "; just before, all of a.service was to be killed"
        );
        let of_pod = doomed(&[&chosen, &group("/kubepods/pod1")]);
        assert_eq!(
            of_victim(4_000_001, &of_pod),
            "; just before, all of cgroup /kubepods/pod1 was to be killed"
        );
        let of_part = doomed(&[&chosen, &group("/system.slice/docker-1.scope/kubepods/pod1/2")]);
        assert_eq!(
            of_victim(4_000_001, &of_part),
            "; just before, all of cgroup /system.slice/docker-1.scope/kubepods/pod1/2 was to be killed"
        );
        let next = doomed(&[&chosen, &of_service, &chosen]);
        assert_eq!(of_victim(4_000_001, &next), "", "the next one dies alone");
        let killed = |at: u64| format!("3,4,{at},-;Memory cgroup out of memory: Killed process 4000001 (a)");
        let soon = doomed(&[&chosen, &of_service, &killed(90_000), &killed(150_000)]);
        assert_ne!(of_victim(4_000_002, &soon), "", "one after the other");
        let later = doomed(&[&chosen, &of_service, &killed(200_000)]);
        assert_eq!(
            of_victim(4_000_002, &later),
            "",
            "another one, of whom nothing was said"
        );
        let told = notice(&of_service, &all).unwrap();
        assert_eq!(told.kind, NoticeKind::OutOfMemory);
        assert!(of_service.ends_with(&told.text));
    }
}
