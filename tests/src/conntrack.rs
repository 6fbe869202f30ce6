//! Connection tracking of a namespace, filled up by netlink.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::check;

/// How many connections each namespace may have: a setting of the machine, which may be read everywhere.
const MOST: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// How many the calling thread's namespace has.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
/// Above this many, filling it would take too long, in s and in memory (some 300 bytes each).
pub const AT_MOST: u32 = 1 << 19;

/// From linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h.
const NEW: u16 = 1 << 8;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const TIMEOUT: u16 = 7;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_V4_SRC: u16 = 1;
const IP_V4_DST: u16 = 2;
const PROTO_NUM: u16 = 1;
const PROTO_SRC_PORT: u16 = 2;
const PROTO_DST_PORT: u16 = 3;
const NESTED: u16 = 1 << 15;
/// `IPS_SEEN_REPLY`, `IPS_ASSURED` and `IPS_CONFIRMED`: one that does not make room for another.
const ASSURED: u32 = (1 << 1) | (1 << 2) | (1 << 3);
/// How long they stay, in s.
const STAY: u32 = 600;
/// How many are made beyond what is wanted, as some may end meanwhile.
const MORE: u32 = 256;
/// How often a table that is kept full is looked at.
const OFTEN: Duration = Duration::from_millis(20);
/// How many bytes of messages go in one call.
const CALL: usize = 16 << 10;

/// How many connections a namespace may have.
///
/// # Errors
/// If connection tracking is not there.
pub fn most() -> Result<u32> {
    let text = fs::read_to_string(MOST).with_context(|| format!("{MOST}: cannot be read"))?;
    number(MOST, &text)
}

fn number(file: &str, text: &str) -> Result<u32> {
    text.trim()
        .parse()
        .with_context(|| format!("{file}: not a number: {text:?}"))
}

/// The table of a namespace's connections, to be filled with datagrams between addresses that nobody has
/// (198.18.0.0/15).
#[derive(Debug)]
pub struct Table {
    socket: OwnedFd,
    /// The file that tells how many there are: in the namespace where it was opened.
    count: File,
    most: u32,
    /// The number of the next connection. No two have the same.
    next: u32,
}

impl Table {
    /// The table of the calling thread's namespace.
    ///
    /// # Errors
    /// If connection tracking is not there, or more would fit than can be made.
    pub fn open() -> Result<Self> {
        let most = most()?;
        if !(1..=AT_MOST).contains(&most) {
            bail!("{MOST} is {most}: too many to be made");
        }
        Ok(Self {
            socket: socket().context("cannot open a netlink socket of netfilter")?,
            count: File::open(COUNT).with_context(|| format!("{COUNT}: cannot be opened"))?,
            most,
            next: 0,
        })
    }

    /// Fills it until there is room for `spare` others. It may be called again with less to spare.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn fill(&mut self, spare: u32) -> Result<()> {
        let wanted = self.most.saturating_sub(spare);
        self.add(wanted.saturating_sub(self.count()?) + MORE)?;
        let made = self.count()?;
        if made < wanted {
            bail!("the kernel has taken {made} connections of {wanted}");
        }
        Ok(())
    }

    /// Keeps it full from now on. Left to itself the kernel makes room: it ends connections that close, and those that
    /// nobody has answered, where it meets them (`gc_worker`).
    pub fn keep_full(mut self) -> Filler {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(OFTEN) == Err(RecvTimeoutError::Timeout) {
                let missing = self.most.saturating_sub(self.count()?);
                self.add(missing)?;
            }
            Ok(())
        });
        Filler {
            stop,
            thread: Some(thread),
        }
    }

    fn count(&self) -> Result<u32> {
        let mut text = [0; 16];
        let length = self
            .count
            .read_at(&mut text, 0)
            .with_context(|| format!("{COUNT}: cannot be read"))?;
        number(COUNT, &String::from_utf8_lossy(&text[..length]))
    }

    /// Adds so many. Those for which there is no room the kernel refuses, which is not read: what it has taken is seen by
    /// how many there are.
    fn add(&mut self, connections: u32) -> Result<()> {
        let mut messages = Vec::with_capacity(CALL);
        for number in self.next..self.next + connections {
            append(&mut messages, number);
            if messages.len() > CALL - 256 {
                send(&self.socket, &messages).context("cannot make connections")?;
                messages.clear();
            }
        }
        self.next += connections;
        // The kernel refuses to be sent nothing (`netlink_sendmsg`).
        if !messages.is_empty() {
            send(&self.socket, &messages).context("cannot make connections")?;
        }
        Ok(())
    }
}

/// Keeps a table full until it is dropped.
#[derive(Debug)]
pub struct Filler {
    stop: Sender<()>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Drop for Filler {
    fn drop(&mut self) {
        // Where nobody receives it, the thread has ended by itself.
        let _ = self.stop.send(());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => eprintln!("a table of connections was not kept full: {error:#}"),
            Some(Err(_)) => eprintln!("a table of connections was not kept full: its thread panicked"),
            Some(Ok(Ok(()))) | None => {}
        }
    }
}

fn socket() -> io::Result<OwnedFd> {
    // SAFETY: no memory is handed over, and the descriptor is nobody else's.
    unsafe {
        let socket = libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_NETFILTER,
        );
        check(socket)?;
        Ok(OwnedFd::from_raw_fd(socket))
    }
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a slice.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if sent == bytes.len() as isize {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Appends the message that makes a connection of this number.
fn append(messages: &mut Vec<u8>, number: u32) {
    let start = messages.len();
    // struct nlmsghdr: the length is set below. It asks for no answer.
    messages.extend_from_slice(&[0; 4]);
    messages.extend_from_slice(&NEW.to_ne_bytes());
    messages.extend_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_CREATE) as u16).to_ne_bytes());
    messages.extend_from_slice(&[0; 8]);
    // struct nfgenmsg.
    messages.extend_from_slice(&[libc::AF_INET as u8, 0, 0, 0]);
    // 198.18.0.0 has 65,536 ports; the next address those that follow.
    let client = (0xc612_0000 + (number >> 16)).to_be_bytes();
    let server = 0xc613_0001_u32.to_be_bytes();
    let (port, well_known) = ((number as u16).to_be_bytes(), 9_u16.to_be_bytes());
    tuple(messages, TUPLE_ORIG, (client, port), (server, well_known));
    tuple(messages, TUPLE_REPLY, (server, well_known), (client, port));
    attribute(messages, STATUS, &ASSURED.to_be_bytes());
    attribute(messages, TIMEOUT, &STAY.to_be_bytes());
    let length = (messages.len() - start) as u32;
    messages[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

type End = ([u8; 4], [u8; 2]);

fn tuple(messages: &mut Vec<u8>, kind: u16, (from, from_port): End, (to, to_port): End) {
    nested(messages, kind, |messages| {
        nested(messages, TUPLE_IP, |messages| {
            attribute(messages, IP_V4_SRC, &from);
            attribute(messages, IP_V4_DST, &to);
        });
        nested(messages, TUPLE_PROTO, |messages| {
            attribute(messages, PROTO_NUM, &[libc::IPPROTO_UDP as u8]);
            attribute(messages, PROTO_SRC_PORT, &from_port);
            attribute(messages, PROTO_DST_PORT, &to_port);
        });
    });
}

fn nested(messages: &mut Vec<u8>, kind: u16, within: impl FnOnce(&mut Vec<u8>)) {
    let start = messages.len();
    attribute(messages, kind | NESTED, &[]);
    within(messages);
    let length = (messages.len() - start) as u16;
    messages[start..start + 2].copy_from_slice(&length.to_ne_bytes());
}

/// struct nlattr, filled up to a multiple of 4 bytes.
fn attribute(messages: &mut Vec<u8>, kind: u16, value: &[u8]) {
    messages.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
    messages.extend_from_slice(&kind.to_ne_bytes());
    messages.extend_from_slice(value);
    messages.resize(messages.len().next_multiple_of(4), 0);
}
