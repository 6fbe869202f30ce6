//! Child processes that do not outlive the lab.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use libc::c_int;

/// Makes `command` get the signal `death` when the *thread* that spawns it ends, even by SIGKILL, and run
/// in the network namespace `netns` where one is given. Signals that the lab blocks are not blocked in it.
///
/// The namespace changes, the mounts do not: its `/sys` stays that of the caller.
pub fn bind(command: &mut Command, death: c_int, netns: Option<File>) {
    let parent = std::process::id();
    // SAFETY: the closure runs between fork and exec and makes system calls only: no allocation, no lock.
    unsafe {
        command.pre_exec(move || {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            check(libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()))?;
            check(libc::prctl(libc::PR_SET_PDEATHSIG, death))?;
            if libc::getppid() as u32 != parent {
                return Err(io::Error::from_raw_os_error(libc::ECHILD));
            }
            match &netns {
                Some(netns) => check(libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET)),
                None => Ok(()),
            }
        });
    }
}

/// Gives the calling process the name `name` (at most 15 bytes count), as `ps` and the tracer show it.
/// Threads that are started later carry it as well.
pub fn set_name(name: &std::ffi::CStr) {
    // SAFETY: the pointer is to a string that ends in NUL and lives through the call. The call cannot fail.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Unix sockets that a process has, by their inodes; none where it has ended.
pub fn unix_sockets(pid: u32) -> BTreeSet<u64> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    // Number, references, protocol, flags, type, state, inode.
    let all: BTreeSet<u64> = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(6)?.parse().ok())
        .collect();
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    let links = files.into_iter().flatten().flatten();
    let inodes = links.filter_map(|file| {
        let link = fs::read_link(file.path()).ok()?;
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        inode.parse().ok()
    });
    inodes.filter(|inode| all.contains(inode)).collect()
}

/// Sends a signal to a process that the caller has started and not waited for yet.
pub fn send(pid: u32, signal: c_int) -> io::Result<()> {
    // SAFETY: a system call without pointers.
    check(unsafe { libc::kill(pid as libc::pid_t, signal) })
}

/// The error of a system call that returned `-1`.
pub fn check(result: c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Runs a command with `input`, and makes an error of its failure.
pub(crate) fn run(command: &mut Command, input: &str) -> Result<Output> {
    let told = format!("{command:?}").replace('"', "");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!("cannot run {told} (`cargo xtask setup --tests` installs what the lab runs)")
        })?;
    if let Some(mut pipe) = child.stdin.take() {
        // A command that ends before it has read all says why itself.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .with_context(|| format!("cannot wait for {told}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        bail!("{told} failed: {why}");
    }
    Ok(output)
}

/// Waits until a child that was sent SIGSTOP stands still, with all its threads.
pub fn stopped(pid: u32) -> io::Result<()> {
    // SAFETY: the pointer is to a value that lives through the call. Without WEXITED it reaps nobody.
    unsafe {
        let mut told: libc::siginfo_t = std::mem::zeroed();
        check(libc::waitid(libc::P_PID, pid, &raw mut told, libc::WSTOPPED))
    }
}
