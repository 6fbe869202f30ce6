//! Lines of the kernel's log that are of meaning for the network (`/dev/kmsg`), from now on.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

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

/// What a line must have in it, all of these, and what kind of thing it tells of.
const LINES: [(&[&str], NoticeKind); 20] = [
    // mm/oom_kill.c
    (&["ut of memory: Killed process "], NoticeKind::OutOfMemory),
    (&["oom_reaper: reaped process "], NoticeKind::OutOfMemory),
    // kernel/module, and what modprobe and systemd say
    (&["odule ", " not found"], NoticeKind::Module),
    (&["disagrees about version of symbol"], NoticeKind::Module),
    (&["Unknown symbol"], NoticeKind::Module),
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
    // net/ipv4/tcp_input.c
    (&["Possible SYN flooding on port"], NoticeKind::Kernel),
    (&["out of memory -- consider tuning tcp_mem"], NoticeKind::Kernel),
    // net/sched/sch_generic.c
    (&["NETDEV WATCHDOG"], NoticeKind::Kernel),
    // drivers of network cards
    (&["Link is Up"], NoticeKind::Kernel),
    (&["Link is Down"], NoticeKind::Kernel),
    (&["NIC Link is "], NoticeKind::Kernel),
    (&["eset adapter"], NoticeKind::Kernel),
    // net/ipv6/addrconf.c
    (&["IPv6 duplicate address "], NoticeKind::Kernel),
    // kernel/hung_task.c, watchdog.c
    (&["INFO: task ", " blocked for more than "], NoticeKind::Kernel),
    (&["soft lockup"], NoticeKind::Kernel),
    (&["rcu", "self-detected stall"], NoticeKind::Kernel),
];

/// The log.
#[derive(Debug)]
pub(super) struct Log(File);

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
        Ok(Self(file))
    }

    /// What it says since the last time.
    pub(super) fn notices(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut buffer = [0; ROOM];
        while notices.len() < TURN {
            match self.0.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    let record = buffer.get(..length).unwrap_or_default();
                    notices.extend(notice(&String::from_utf8_lossy(record)));
                }
                // Lines were overwritten before they were read; or one is longer than any.
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::EPIPE | libc::EINVAL | libc::EINTR)
                    ) => {}
                Err(_) => break,
            }
        }
        notices
    }
}

impl AsFd for Log {
    /// Readable when it says more.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A record: `priority,number,time,flags[,…];text`, then lines that begin with a space.
fn notice(record: &str) -> Option<Notice> {
    let (head, rest) = record.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    let line = rest.lines().next()?;
    let (_, kind) = LINES
        .iter()
        .find(|(words, _)| words.iter().all(|word| line.contains(word)))?;
    // Anybody with privileges may write here; of modules it is modprobe or systemd that tells.
    if priority >> 3 != LOG_KERN && *kind != NoticeKind::Module {
        return None;
    }
    let mut text: String = line.chars().take(TOLD).collect();
    if *kind == NoticeKind::OutOfMemory
        && let Some(unit) = unit_of_victim(line)
    {
        text += &format!("; it was of {unit}");
    }
    Some(Notice {
        kind: *kind,
        text,
        // Who was killed did nothing, and who asked for the memory is not told here.
        by: None,
    })
}

/// `… Killed process 1234 (name), …`: the unit that it is of. It may be there for a moment more.
fn unit_of_victim(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("process ")?;
    let (pid, rest) = rest.split_once(" (")?;
    let (command, _) = rest.rsplit_once(')')?;
    let found = Owners::actor(pid.parse().ok()?)?;
    (found.command == command && !found.unit.is_empty()).then_some(found.unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_the_network_are_told() {
        let told = |record: &str| notice(record).map(|notice| (notice.kind, notice.text));
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
                "INFO: task kworker/0:1:7 blocked for more than 120 seconds.",
                NoticeKind::Kernel,
            ),
            (
                "Module br_netfilter not found in directory /lib/modules/6.1.0",
                NoticeKind::Module,
            ),
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
        let notice = notice(record).unwrap();
        assert_eq!(notice.kind, NoticeKind::OutOfMemory);
        // The victim is nobody's doer.
        assert_eq!(notice.by, None);
        let (_, text) = record.split_once(';').unwrap();
        assert_eq!(notice.text, text);
    }
}
