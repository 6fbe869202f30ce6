//! The traffic program: a few small roles with telling names, so that what the tracer says about owners can
//! be checked, and the handle by which the lab runs them.
//!
//! A role runs as `lab traffic ROLE ADDRESS…`. It writes `ready` when its sockets stand, answers each line
//! of its input with its counts as one line of JSON, and ends with its input.

mod client;
mod counts;
mod crowd;
mod dhcp;
mod everyday;
mod frames;
mod http;
mod keys;
mod members;
mod odd;
mod one_way;
mod ping;
mod server;
mod shuffled;
mod storm;
mod stuck;
mod tap;

use std::ffi::{CStr, CString};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::counts::Scores;
pub use self::counts::{Counts, Tally, Target};
pub use self::frames::Frame;
use crate::cgroup::Cgroup;
use crate::netns::Netns;
use crate::process;

/// First argument of the program that makes it traffic.
pub const ROLE: &str = "traffic";
/// First argument of the program that makes it traffic as a unit of systemd runs it.
pub const SERVICE: &str = "service";

/// How long a client waits for a connection or an answer over TCP. The first repetition of a SYN is sent
/// after 1 s: a client that gives up sooner never repeats one.
pub const TCP_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long a client waits for a datagram or an echo.
pub const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(1);

/// What a process of the traffic does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Listens at its addresses: HTTP/1.1 over TCP (`GET /n` gives n bytes) and an echo over UDP.
    Server,
    /// Asks each of its addresses: a small request every 100 ms on a connection that it keeps, and every
    /// 500 ms one on a new connection and an exchange over UDP. It goes on whatever fails.
    Client,
    /// Asks each of its addresses for the healthy workload once: 20 MB over HTTP, 200 small requests on new
    /// connections, 1,000 exchanges over UDP. Then goes on as a client.
    Bulk,
    /// Asks each of its addresses like a client, but without a pause.
    Flood,
    /// Sends datagrams to each of its addresses without a pause, and waits for nothing.
    Storm,
    /// Asks each of its addresses over UDP as 100,000 clients, each by an address of its own.
    Crowd,
    /// Asks each of its addresses over UDP as a resolver of names does: each question from a port of its own.
    Resolver,
    /// Fetches one long answer after the other from each of its addresses.
    Haul,
    /// Tries all ports of each of its addresses, whose own port does not matter, over TCP and UDP.
    Scan,
    /// Sends by each of the devices that are its addresses what neighbours of IPv6 send all the time.
    Chatter,
    /// Sends an ICMP echo request to each of its addresses (without port) every 500 ms.
    Ping,
    /// Looks at everything that passes each of the devices that are its addresses, as tcpdump does.
    Tap,
    /// Sends frames of 40,000 Ethernet types by each of the devices that are its addresses.
    Keys,
    /// The same with 6,000 types, for which the tracer's books have room.
    FewKeys,
    /// Two sockets for each of its addresses, which are multicast groups: both read what comes.
    Members,
    /// Pings with messages that fill a packet of 1,500 bytes and must not be cut in pieces.
    LargePing,
    /// Pings with messages that are cut in pieces.
    HugePing,
    /// Sends a datagram to each of its addresses every 20 ms, and waits for nothing.
    Drip,
    /// Writes a stream of TCP to each of its addresses, 1,000 bytes every 20 ms. It opens another connection where one
    /// breaks off.
    Pour,
    /// The same with a byte every 2 ms.
    Trickle,
    /// Opens a connection to each of its addresses every 200 ms and closes it at once.
    Knock,
    /// Asks each of its addresses over HTTP, on a new connection each time, with segments that come out of order.
    Shuffled,
    /// Asks each of its addresses for a long answer, shuts its own side of the connection, and reads the answer by and by.
    HalfClosed,
    /// Keeps connections to each of its addresses that the server has closed, and asks by them 2 s later, in vain.
    Stale,
    /// Listens at its addresses over UDP and TCP with the smallest buffers, and reads nothing.
    Deaf,
    /// Listens at its addresses over UDP with the smallest buffer, and reads a datagram every 100 ms.
    Slow,
    /// Listens at its addresses over UDP and TCP, with a filter of its own that refuses all packets.
    Filtered,
    /// Listens at its addresses over TCP, with room for one connection, and accepts none.
    Full,
    /// Listens at its addresses over TCP, and closes each connection at the first bytes that come by it.
    Quitter,
    /// Listens at its addresses over TCP. The socket of each connection is busy for 2 s, so that the kernel can hand it
    /// nothing; then it reads all that comes.
    Stuck,
    /// Gives each of its addresses (without port) by DHCP to whoever asks for one.
    Dhcp,
    /// Sends frames of one kind by each of the devices that are its addresses, every 50 ms.
    Frames(Frame),
}

impl Role {
    const ALL: [Self; 31] = [
        Self::Server,
        Self::Client,
        Self::Bulk,
        Self::Flood,
        Self::Storm,
        Self::Crowd,
        Self::Resolver,
        Self::Haul,
        Self::Scan,
        Self::Chatter,
        Self::Ping,
        Self::Tap,
        Self::Keys,
        Self::FewKeys,
        Self::Members,
        Self::LargePing,
        Self::HugePing,
        Self::Drip,
        Self::Pour,
        Self::Trickle,
        Self::Knock,
        Self::Shuffled,
        Self::HalfClosed,
        Self::Stale,
        Self::Deaf,
        Self::Slow,
        Self::Filtered,
        Self::Full,
        Self::Quitter,
        Self::Stuck,
        Self::Dhcp,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Bulk => "bulk",
            Self::Flood => "flood",
            Self::Storm => "storm",
            Self::Crowd => "crowd",
            Self::Resolver => "resolver",
            Self::Haul => "haul",
            Self::Scan => "scan",
            Self::Chatter => "chatter",
            Self::Ping => "ping",
            Self::Tap => "tap",
            Self::Keys => "keys",
            Self::FewKeys => "few-keys",
            Self::Members => "members",
            Self::LargePing => "large-ping",
            Self::HugePing => "huge-ping",
            Self::Drip => "drip",
            Self::Pour => "pour",
            Self::Trickle => "trickle",
            Self::Knock => "knock",
            Self::Shuffled => "shuffled",
            Self::HalfClosed => "half-closed",
            Self::Stale => "stale",
            Self::Deaf => "deaf",
            Self::Slow => "slow",
            Self::Filtered => "filtered",
            Self::Full => "full",
            Self::Quitter => "quitter",
            Self::Stuck => "stuck",
            Self::Dhcp => "dhcp",
            Self::Frames(frame) => frame.name(),
        }
    }

    /// The name of its process: at most 15 bytes.
    pub fn command(self) -> &'static CStr {
        match self {
            Self::Server => c"lab-server",
            Self::Client | Self::Bulk | Self::Flood => c"lab-client",
            Self::Storm => c"lab-storm",
            Self::Crowd => c"lab-crowd",
            Self::Resolver => c"lab-resolver",
            Self::Haul => c"lab-haul",
            Self::Scan => c"lab-scan",
            Self::Chatter => c"lab-chatter",
            Self::Tap => c"lab-tap",
            Self::Members => c"lab-members",
            Self::Ping | Self::LargePing | Self::HugePing => c"lab-ping",
            Self::Drip => c"lab-drip",
            Self::Pour | Self::Trickle => c"lab-pour",
            Self::Knock => c"lab-knock",
            Self::Shuffled => c"lab-shuffled",
            Self::HalfClosed => c"lab-half-closed",
            Self::Stale => c"lab-stale",
            Self::Deaf => c"lab-deaf",
            Self::Slow => c"lab-slow",
            Self::Filtered => c"lab-filtered",
            Self::Full => c"lab-full",
            Self::Quitter => c"lab-quitter",
            Self::Stuck => c"lab-stuck",
            Self::Dhcp => c"lab-dhcp",
            Self::Keys | Self::FewKeys | Self::Frames(_) => c"lab-frames",
        }
    }

    /// The role of that name.
    fn named(name: &str) -> Result<Self> {
        let frames = Frame::ALL.iter().copied().map(Self::Frames);
        let mut all = Self::ALL.into_iter().chain(frames);
        all.find(|role| role.name() == name)
            .with_context(|| format!("no role of the traffic is called {name}"))
    }

    /// Starts its threads, which end with the process.
    fn start(self, addresses: &[String]) -> Result<Scores> {
        let scores = Scores::new(addresses);
        for (address, score) in scores.iter() {
            let score = Arc::clone(score);
            match self {
                Self::Server => server::start(parse(address)?, &score)?,
                Self::Client => client::start(parse(address)?, &score, client::Load::Light),
                Self::Bulk => client::start(parse(address)?, &score, client::Load::BulkFirst),
                Self::Flood => client::start(parse(address)?, &score, client::Load::Flood),
                Self::Storm => storm::start(parse(address)?, score)?,
                Self::Crowd => crowd::start(parse(address)?, score)?,
                Self::Resolver => everyday::resolve(parse(address)?, &score),
                Self::Haul => everyday::haul(parse(address)?, &score),
                Self::Scan => everyday::scan(parse(address)?, &score)?,
                Self::Chatter => everyday::chatter(address, &score)?,
                Self::Tap => tap::start(address, &score)?,
                Self::Keys => keys::start(address, &score, keys::MANY)?,
                Self::FewKeys => keys::start(address, &score, keys::THAT_FIT)?,
                Self::Members => members::start(parse(address)?, &score)?,
                Self::Ping => ping::start(parse(address)?, score, ping::SMALL)?,
                Self::LargePing => ping::start(parse(address)?, score, ping::LARGE)?,
                Self::HugePing => ping::start(parse(address)?, score, ping::HUGE)?,
                Self::Drip => one_way::drip(parse(address)?, &score)?,
                Self::Pour => one_way::pour(parse(address)?, &score, one_way::STREAM),
                Self::Trickle => one_way::pour(parse(address)?, &score, one_way::TRICKLE),
                Self::Knock => one_way::knock(parse(address)?, &score),
                Self::Shuffled => shuffled::start(parse(address)?, &score)?,
                Self::HalfClosed => one_way::listen_only(parse(address)?, &score),
                Self::Stale => one_way::ask_late(parse(address)?, &score),
                Self::Deaf => odd::deaf(parse(address)?, &score)?,
                Self::Slow => odd::slow(parse(address)?, &score)?,
                Self::Filtered => odd::filtered(parse(address)?)?,
                Self::Full => odd::full(parse(address)?)?,
                Self::Quitter => odd::quitter(parse(address)?, &score)?,
                Self::Stuck => stuck::start(parse(address)?, &score)?,
                Self::Dhcp => dhcp::start(parse(address)?, &score)?,
                Self::Frames(frame) => frames::start(frame, address, &score)?,
            }
        }
        Ok(scores)
    }
}

/// A running process of the traffic. It ends when this is dropped, and with the thread that started it.
#[derive(Debug)]
pub struct Traffic {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Traffic {
    /// Starts a role in a namespace and waits until its sockets stand. `program` is the lab's binary.
    /// It is in `cgroup` from before it has any socket, where one is given.
    pub fn start(
        program: &Path,
        netns: &Netns,
        cgroup: Option<&Cgroup>,
        role: Role,
        addresses: &[&str],
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg(ROLE).arg(role.name()).args(addresses);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // A Ctrl-C on the terminal is the tracer's and the lab's.
        command.process_group(0);
        process::bind(&mut command, libc::SIGKILL, Some(netns.open()?));
        if let Some(cgroup) = cgroup {
            cgroup.hold(&mut command)?;
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the {} has no pipes", role.name());
        };
        let mut traffic = Self {
            child,
            input,
            output: BufReader::new(output),
        };
        if traffic.line()?.trim() != "ready" {
            bail!(
                "the {} in {} could not start: its reason is above",
                role.name(),
                netns.name()
            );
        }
        Ok(traffic)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has counted so far.
    pub fn counts(&mut self) -> Result<Counts> {
        writeln!(self.input).context("the traffic program has ended")?;
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("not a line of counts: {line:?}"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .context("cannot read from the traffic program")?;
        Ok(line)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a role: `ROLE ADDRESS…`.
pub fn main(args: &[String]) -> Result<()> {
    let Some((name, addresses)) = args.split_first() else {
        bail!("usage: {ROLE} ROLE ADDRESS…")
    };
    let role = Role::named(name)?;
    process::set_name(role.command());
    report(&role.start(addresses)?)
}

/// Runs a role under a name of its own until it is killed, as the service of a unit does: `NAME ROLE ADDRESS…`. Nobody is
/// told what it counts.
pub fn serve(args: &[String]) -> Result<()> {
    let [name, role, addresses @ ..] = args else {
        bail!("usage: {SERVICE} NAME ROLE ADDRESS…")
    };
    process::set_name(&CString::new(name.as_str())?);
    let _scores = Role::named(role)?.start(addresses)?;
    loop {
        std::thread::park();
    }
}

/// Answers each line of the input with the counts, until the input ends.
fn report(scores: &Scores) -> Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "ready")?;
    for line in io::stdin().lock().lines() {
        line?;
        writeln!(output, "{}", serde_json::to_string(&scores.counts())?)?;
    }
    Ok(())
}

fn parse<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(address: &str) -> Result<T> {
    address
        .parse()
        .with_context(|| format!("not an address of this role: {address}"))
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}
