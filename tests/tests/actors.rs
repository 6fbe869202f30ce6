//! Who changes something is known, however short-lived the process is.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::io::{BufRead, BufReader, Lines, Read};
use std::iter::Peekable;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdout, Command};
use std::thread;
use std::time::{Duration, Instant};

use lab::lab::{Lab, PATIENCE};
use lab::netns::Netns;
use lab::process::{bind, check, send};
use lab::scenario::Place;
use lab::tracer::{finish, on_node};

/// Nothing of the process runs any more.
fn wait_until_it_is_stopped(pid: u32) {
    let is_stopped = || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T')
        })
    };
    let begin = Instant::now();
    while !is_stopped() {
        assert!(begin.elapsed() < PATIENCE, "process {pid} does not stop");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Lines of the tracer.
struct Told<R: Read>(Peekable<Lines<BufReader<R>>>);

impl<R: Read> Told<R> {
    /// Lines that are waited for: minutes.
    const MOST: usize = 300;

    /// The next line with each of these in it, in whatever order they come, and what it goes on with: it is wrapped. What
    /// was changed while the tracer stood still is read from two sockets at once: which was first is not told.
    fn whole<const N: usize>(&mut self, whats: [&str; N]) -> [String; N] {
        let goes_on = |line: &str| line.starts_with("  ") && !line.starts_with("  changed ");
        let mut found = [const { None }; N];
        let mut others = Vec::new();
        while found.contains(&None) && others.len() < Self::MOST {
            let Some(line) = self.0.next() else { break };
            let line = line.unwrap();
            let is_it = |what: &&str| line.contains(*what);
            let Some(place) = whats.iter().position(is_it) else {
                others.push(line);
                continue;
            };
            let mut whole = line;
            while let Some(rest) = self
                .0
                .next_if(|line| line.as_ref().is_ok_and(|line| goes_on(line)))
            {
                whole += &rest.unwrap().replacen(' ', "", 1);
            }
            found[place].get_or_insert(whole);
        }
        assert!(
            !found.contains(&None),
            "of {whats:?} one is not told: {found:#?} {others:#?}"
        );
        found.map(Option::unwrap)
    }

    /// The next line with this in it. `meanwhile` is done for each other one.
    fn until(&mut self, what: &str, meanwhile: &mut dyn FnMut(usize)) -> String {
        let mut others = Vec::new();
        for line in self.0.by_ref().take(Self::MOST) {
            let line = line.unwrap();
            if line.contains(what) {
                return line;
            }
            meanwhile(others.len());
            others.push(line);
        }
        panic!("{what} is not told: {others:#?}");
    }
}

/// The tracer stands still while changes are made: when it goes on, those who made them have ended. Then it is asked for
/// its lines.
fn changed_while_it_stands_still<T>(
    make: impl FnOnce(&Netns),
    look: impl FnOnce(&mut Told<ChildStdout>) -> T,
) -> T {
    changed(
        |tracer, node| {
            send(tracer, libc::SIGSTOP).unwrap();
            wait_until_it_is_stopped(tracer);
            make(node);
            send(tracer, libc::SIGCONT).unwrap();
        },
        look,
    )
}

/// Changes are made while the tracer with this number watches, and then it is asked for its lines.
fn changed<T>(make: impl FnOnce(u32, &Netns), look: impl FnOnce(&mut Told<ChildStdout>) -> T) -> T {
    let lab = Lab::build(Path::new(env!("CARGO_BIN_EXE_lab"))).unwrap();
    let node = lab.netns(Place::Node);
    let mut child = on_node(&lab, &["--plain"]).unwrap().spawn().unwrap();
    let mut told = Told(BufReader::new(child.stdout.take().unwrap()).lines().peekable());
    // What is there when it starts is no change. It tells something each second.
    told.until("rule 1", &mut |number| {
        node.ip(&format!("rule add pref {} blackhole", 1000 + number))
            .unwrap();
    });
    make(child.id(), node);
    let seen = look(&mut told);
    send(child.id(), libc::SIGTERM).unwrap();
    finish(&mut child).unwrap();
    seen
}

#[test]
fn who_has_ended_before_it_could_be_asked_is_known() {
    let make = |node: &Netns| {
        node.ip("rule add pref 7 blackhole").unwrap();
        node.nft("add table inet filter").unwrap();
    };
    let own = fs::read_to_string("/proc/self/comm").unwrap();
    let parent = format!("(child of {}[{}])", own.trim_end(), std::process::id());
    changed_while_it_stands_still(make, |told| {
        let lines = told.whole(["rule 7:", "nf_tables"]);
        for (line, command) in lines.iter().zip(["by ip[", "by nft["]) {
            let rest = line.split_once(command).map(|(_, rest)| rest);
            assert!(
                rest.is_some_and(|rest| rest.contains(&parent)),
                "{parent}: {line}"
            );
        }
    });
}

/// There a process has a small number, which on the node is that of a thread of the kernel.
#[test]
fn who_has_ended_in_a_container_is_known_by_the_numbers_of_the_node() {
    let make = |node: &Netns| {
        node.run("unshare --pid --fork sh -c 'true; ip rule add pref 7 blackhole; nft add table inet filter; true'")
            .unwrap();
    };
    let lines = changed_while_it_stands_still(make, |told| told.whole(["rule 7:", "nf_tables"]));
    let number = |line: &str, before: &str| -> u32 {
        let (_, rest) = line
            .split_once(before)
            .unwrap_or_else(|| panic!("{before}: {line}"));
        rest.split(']').next().unwrap().parse().unwrap()
    };
    let [by_ip, by_nft] = ["by ip[", "by nft["];
    let numbers = [(&lines[0], by_ip), (&lines[1], by_nft)]
        .map(|(line, by)| [by, "(child of sh["].map(|before| number(line, before)));
    // The shell is 1 to itself, and ip is 2.
    let [[ip, shell], [nft, parent]] = numbers;
    assert_eq!(shell, parent, "{lines:?}");
    assert!(shell > 1 && shell < ip && ip < nft, "{lines:?}");
}

/// `ip rule add pref 7 blackhole`, as it is asked for (`struct nlmsghdr`, `struct fib_rule_hdr`, `FRA_PRIORITY`).
fn rule_7() -> [u8; 36] {
    const NEW_RULE: u16 = 32;
    /// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_EXCL`, `NLM_F_CREATE`
    const FLAGS: u16 = 0x605;
    const BLACKHOLE: u8 = 6;
    let mut request = [0; 36];
    request[0] = 36;
    request[4..6].copy_from_slice(&NEW_RULE.to_ne_bytes());
    request[6..8].copy_from_slice(&FLAGS.to_ne_bytes());
    request[16] = 2;
    request[23] = BLACKHOLE;
    request[28..32].copy_from_slice(&[8_u16.to_ne_bytes(), 6_u16.to_ne_bytes()].concat());
    request[32] = 7;
    request
}

/// Lets a thread, 0 for this one, run on no other.
fn run_only_on_the_first_processor(thread: libc::pid_t) -> std::io::Result<()> {
    // SAFETY: integers only; all zeros is a valid value.
    let mut processors: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: there is room for the first, and the kernel reads as much as there is.
    unsafe {
        libc::CPU_SET(0, &mut processors);
        check(libc::sched_setaffinity(
            thread,
            size_of_val(&processors),
            &raw const processors,
        ))
    }
}

/// All of a process runs on the first processor, and only when nobody else wants to.
fn let_others_go_first(pid: u32) {
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let thread: u32 = thread.unwrap().file_name().to_str().unwrap().parse().unwrap();
        run_only_on_the_first_processor(thread.cast_signed()).unwrap();
        // SAFETY: a system call with integers.
        check(unsafe { libc::setpriority(libc::PRIO_PROCESS, thread, 19) }).unwrap();
    }
}

/// `true` opens a netlink socket, forks and ends; 0.3 s later its child adds a rule by that socket, and ends.
fn asked_by_the_socket_of_one_that_has_ended(node: &Netns) {
    let mut command = Command::new("true");
    bind(&mut command, libc::SIGKILL, Some(node.open().unwrap()));
    let request = rule_7();
    // SAFETY: the closure runs between fork and exec, and so does its child; both make system calls only, on what they have.
    unsafe {
        command.pre_exec(move || {
            let socket = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            check(socket)?;
            let mut address: libc::sockaddr_nl = std::mem::zeroed();
            address.nl_family = 16;
            let length = size_of_val(&address) as libc::socklen_t;
            check(libc::bind(socket, (&raw const address).cast(), length))?;
            run_only_on_the_first_processor(0)?;
            let mut ends = [0; 2];
            check(libc::pipe(ends.as_mut_ptr()))?;
            let child = libc::fork();
            check(child)?;
            if child != 0 {
                return Ok(());
            }
            // All else is closed: whoever starts this waits for a pipe.
            libc::dup2(socket, 0);
            libc::dup2(ends[0], 1);
            libc::syscall(libc::SYS_close_range, 2, u32::MAX, 0);
            let mut buffer = [0_u8; 256];
            // Its parent has the other end, until it ends.
            libc::read(1, buffer.as_mut_ptr().cast(), 1);
            libc::poll(std::ptr::null_mut(), 0, 300);
            libc::send(0, request.as_ptr().cast(), request.len(), 0);
            libc::_exit(0)
        });
    }
    assert!(command.status().unwrap().success());
}

#[test]
fn who_had_ended_before_the_change_is_not_named() {
    let [line] = changed(
        |tracer, node| {
            // When it is told, the child has ended, too.
            let_others_go_first(tracer);
            asked_by_the_socket_of_one_that_has_ended(node);
        },
        |told| told.whole(["rule 7:"]),
    );
    assert!(line.contains("by whom is not known"), "{line}");
}
