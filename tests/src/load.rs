//! `lab load KIND SECONDS`: traffic to measure tools by. It makes two namespaces with a cable between them, writes
//! `ready`, sends for so long at each line of its input, and answers with what it counted as one line of JSON. So
//! whoever measures has its tool attached before the first packet, and ends it after the last.

use std::io::{self, BufRead, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::netns::Netns;
use crate::process::check;

/// First argument of the program that makes it the load.
pub const ROLE: &str = "load";

const RECEIVER: &str = "10.20.0.2:7000";
/// Packets to here are dropped by a rule at input.
const REFUSED: &str = "10.20.0.2:7001";
const RULE: &str =
    "table ip load { chain input { type filter hook input priority 0; udp dport 7001 drop; }; }";
/// Bytes of a datagram, of a request and of its answer.
const SMALL: usize = 64;
/// Bytes that the bulk stream writes at once.
const LARGE: usize = 128 << 10;
/// Connections that requests are sent on. With one, client and server sleep most of the time, and the scheduler is measured.
const CONNECTIONS: usize = 8;

/// What is sent, and what of it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Datagrams that a sink reads: those read count.
    Flood,
    /// Rounds of small requests, one on each of several TCP connections, each round after the answers to the last:
    /// answers count.
    Requests,
    /// One TCP stream: bytes read count.
    Bulk,
    /// Datagrams that a rule drops: those sent count.
    Storm,
}

/// What one turn counted.
#[derive(Debug, Serialize)]
struct Turn {
    sent: u64,
    received: u64,
    seconds: f64,
    /// What counts of it in a second, in the best tenth of its slices: what else runs on the machine does not disturb it
    /// there.
    best: f64,
}

/// Runs the load.
///
/// # Errors
/// Where a namespace cannot be made (needs root) or a socket not be opened.
pub fn main(args: &[String]) -> Result<()> {
    let (kind, seconds) = match args {
        [kind, seconds] => (kind.as_str(), seconds.parse().context("SECONDS is no number")?),
        _ => bail!("usage: load flood|requests|bulk|storm SECONDS"),
    };
    let kind = match kind {
        "flood" => Kind::Flood,
        "requests" => Kind::Requests,
        "bulk" => Kind::Bulk,
        "storm" => Kind::Storm,
        other => bail!("no load is called {other}: flood, requests, bulk or storm"),
    };
    let pid = std::process::id();
    let sender = Netns::create(format!("load-{pid}-tx"))?;
    let receiver = Netns::create(format!("load-{pid}-rx"))?;
    sender.ip_batch(&format!(
        "link add eth0 type veth peer name eth0 netns {}\naddr add 10.20.0.1/24 dev eth0\nlink set eth0 up\n",
        receiver.name()
    ))?;
    receiver.ip_batch("addr add 10.20.0.2/24 dev eth0\nlink set eth0 up\n")?;
    receiver.nft(RULE)?;
    writeln!(io::stdout(), "ready {}", receiver.name())?;
    for line in io::stdin().lock().lines() {
        line?;
        let turn = turn(kind, &sender, &receiver, Duration::from_secs_f64(seconds))?;
        writeln!(io::stdout(), "{}", serde_json::to_string(&turn)?)?;
    }
    Ok(())
}

fn turn(kind: Kind, sender: &Netns, receiver: &Netns, length: Duration) -> Result<Turn> {
    let received = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    // Sockets stay in the namespace that they were opened in.
    let listener = receiver.enter(|| TcpListener::bind(RECEIVER))??;
    let sink = receiver.enter(|| UdpSocket::bind(RECEIVER))??;
    sink.set_read_timeout(Some(Duration::from_millis(50)))?;
    thread::scope(|scope| {
        let sink = scope.spawn(|| {
            pin(1)?;
            match kind {
                Kind::Flood => count_datagrams(&sink, &received, &over),
                Kind::Storm => Ok(()),
                Kind::Requests | Kind::Bulk => answer(&listener, kind, &received),
            }
        });
        let sent = sender.enter(|| -> Result<(u64, f64, f64)> {
            pin(0)?;
            let begin = Instant::now();
            let mut slices = Slices::begin(begin);
            let sent = match kind {
                Kind::Flood => send(RECEIVER, begin + length, |_| slices.tick(received.load(Relaxed))),
                Kind::Storm => send(REFUSED, begin + length, |sent| slices.tick(sent)),
                Kind::Requests | Kind::Bulk => {
                    ask(kind, begin + length, |_| slices.tick(received.load(Relaxed)))
                }
            }?;
            Ok((sent, begin.elapsed().as_secs_f64(), slices.best()))
        });
        over.store(true, Relaxed);
        if let Ok(result) = sink.join() {
            result?;
        }
        let (sent, seconds, best) = sent??;
        Ok(Turn {
            sent,
            received: received.load(Relaxed),
            seconds,
            best,
        })
    })
}

/// So long a slice of a turn is, at least: shorter than what a processor does of something else at a time.
const SLICE: Duration = Duration::from_micros(500);

/// How fast it goes from one slice of a turn to the next.
struct Slices {
    at: Instant,
    done: u64,
    rates: Vec<f64>,
}

impl Slices {
    fn begin(at: Instant) -> Self {
        Self {
            at,
            done: 0,
            rates: Vec::new(),
        }
    }

    /// The least rate of the best tenth; 0 where there are no slices.
    fn best(mut self) -> f64 {
        self.rates.sort_by(|a, b| b.total_cmp(a));
        self.rates.get(self.rates.len() / 10).copied().unwrap_or(0.0)
    }

    /// So much is done by now.
    fn tick(&mut self, done: u64) {
        let passed = self.at.elapsed();
        if passed >= SLICE {
            self.rates.push((done - self.done) as f64 / passed.as_secs_f64());
            self.at += passed;
            self.done = done;
        }
    }
}

/// Keeps this thread on one CPU, where there are more: else the scheduler's choice is measured.
fn pin(cpu: usize) -> Result<()> {
    let cpus = thread::available_parallelism()?.get();
    // SAFETY: a set of CPUs is a bit field, for which all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is below the size of the set.
    unsafe { libc::CPU_SET(cpu.min(cpus - 1), &mut set) };
    // SAFETY: the pointer is to a set of that size; 0 is the calling thread.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })
        .map(drop)
        .context("cannot pin a thread to its CPU")
}

/// Sends until then; returns how many datagrams the kernel took.
fn send(address: &str, end: Instant, mut tick: impl FnMut(u64)) -> Result<u64> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut sent = 0;
    while Instant::now() < end {
        for _ in 0..32 {
            sent += u64::from(socket.send_to(&[0; SMALL], address).is_ok());
        }
        tick(sent);
    }
    Ok(sent)
}

fn count_datagrams(sink: &UdpSocket, received: &AtomicU64, over: &AtomicBool) -> Result<()> {
    let mut data = [0; SMALL];
    loop {
        match sink.recv(&mut data) {
            Ok(_) => received.fetch_add(1, Relaxed),
            // Nothing came for a while: it is over, or has not begun.
            Err(_) if over.load(Relaxed) => return Ok(()),
            Err(_) => continue,
        };
    }
}

fn answer(listener: &TcpListener, kind: Kind, received: &AtomicU64) -> Result<()> {
    let mut streams = connections(kind, || Ok(listener.accept()?.0))?;
    let mut data = vec![0; LARGE];
    loop {
        for stream in &mut streams {
            if kind == Kind::Bulk {
                match stream.read(&mut data)? {
                    0 => return Ok(()),
                    bytes => received.fetch_add(bytes as u64, Relaxed),
                };
            } else if stream.read_exact(&mut data[..SMALL]).is_ok() {
                stream.write_all(&data[..SMALL])?;
                received.fetch_add(1, Relaxed);
            } else {
                return Ok(());
            }
        }
    }
}

fn ask(kind: Kind, end: Instant, mut tick: impl FnMut(u64)) -> Result<u64> {
    let mut streams = connections(kind, || TcpStream::connect(RECEIVER))?;
    let mut data = vec![0; LARGE];
    let mut sent = 0;
    while Instant::now() < end {
        if kind == Kind::Bulk {
            for stream in &mut streams {
                stream.write_all(&data)?;
                sent += data.len() as u64;
            }
        } else {
            for stream in &mut streams {
                stream.write_all(&data[..SMALL])?;
                sent += 1;
            }
            for stream in &mut streams {
                stream.read_exact(&mut data[..SMALL])?;
            }
        }
        tick(sent);
    }
    Ok(sent)
}

/// As many as the load has, in the order in which both sides serve them.
fn connections(kind: Kind, open: impl Fn() -> io::Result<TcpStream>) -> Result<Vec<TcpStream>> {
    let number = if kind == Kind::Requests { CONNECTIONS } else { 1 };
    let open = || {
        let stream = open()?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    (0..number).map(|_| open()).collect()
}
