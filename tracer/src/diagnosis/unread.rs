//! Sockets that have packets waiting, and processes that do not read them.
//!
//! One mechanism for three rules: what waits is not read, and the socket has room (R14) or has none any more (R13); or it is read,
//! too slowly (K05).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::ports::socket;
use super::sufferers::Sufferer;
use super::suffering::{Gathered, Suffering};
use super::words::{self, count, span};
use super::{About, Finding, Rule, View, effects};
use crate::event::{FlowKey, Held, Owner, Protocol, SocketState};
use crate::model::Model;
use crate::model::clock::{SECOND, When};
use crate::model::ends;
use crate::model::flows::Flow;
use crate::model::latest::{Gathering, Latest};
use crate::model::queues::Port;
use crate::model::waiting::Wait;
use crate::numbers::thousands;
use crate::report::{Confidence, Where};
use crate::shell::quoted;

/// R13: the buffer of a socket is full, since its process does not read.
pub(super) const FULL: Rule = Rule {
    id: "R13",
    slug: "socket-full",
    title: "A socket is full and its process does not read",
    place: Some(Where::Process),
    about: About {
        signature: "Datagrams are dropped for SOCKET_RCVBUFF, as the buffer of their socket is full, and nothing is read from it \
                    for 2.4 s. A weak sign where no process is known to have the socket, or one that is neither a service's nor a \
                    pod's and is stopped at a terminal, traced or frozen: that may be meant.",
        meaning: "The network has done its part. The process is stopped, frozen, blocked, or busy with something else; the \
                  verdict says which, where that can be seen.",
        check: &[
            "ss -lnump sport = :PORT",
            "ps -o pid,stat,wchan:32,cmd -p PID",
            "cat /proc/PID/stack",
        ],
        mend: &[
            "kill -CONT PID  # where it is stopped. Risk: somebody may have stopped it on purpose.",
            "Else see what the process waits for: this is no fault of the network. Risk: none for others.",
        ],
    },
    examine: |view| unread(view, no_room(view)),
    explains: effects::unit_frozen,
    proved_by: effects::none,
    follows: &[],
};

/// R14: what reaches a socket is not read.
///
/// A TCP receiver that pauses is flow control, which cannot be told from a hang by counts. Where its process runs it is a weak
/// sign, unless nothing at all is read at the port of a service or a pod for long.
pub(super) const UNREAD: Rule = Rule {
    id: "R14",
    slug: "unread",
    title: "Packets reach the socket and the process does not read them",
    place: Some(Where::Process),
    about: About {
        signature: "Datagrams are put in a socket's receive queue, and nothing is read from it for 2.4 s, where it was before. Or \
                    data of TCP waits in a socket whose process is stopped or frozen. A weak sign where no process is known to \
                    have the socket, or one that is neither a service's nor a pod's and is traced, frozen, or stopped at a terminal, \
                    with TCP stopped at all: that may be meant. Where the process runs: nothing is read of a connection for 10 s, although data waits \
                    and its peer sends more or asks for room. That is a weak sign, unless several connections of a port of a service or a pod \
                    wait so for 30 s, and nothing is read at that port.",
        meaning: "The network has done its part. The process is stopped, frozen, blocked, or busy with something else; the \
                  verdict says which, where that can be seen. When the buffer of datagrams is full, it becomes R13. A process \
                  that does not read a connection on purpose, as a proxy whose client is slow, looks the same for a while.",
        check: &[
            "ss -lnump sport = :PORT",
            "ps -o pid,stat,wchan:32,cmd -p PID",
            "cat /proc/PID/stack",
        ],
        mend: &[
            "kill -CONT PID  # where it is stopped. Risk: somebody may have stopped it on purpose.",
            "Else see what the process waits for: this is no fault of the network. Risk: none for others.",
        ],
    },
    examine: |view| unread(view, not_read(view)),
    explains: effects::unit_frozen,
    proved_by: effects::none,
    follows: &["R13"],
};

/// K05: the buffer of a socket is full again and again, although its process reads.
pub(super) const SLOW: Rule = Rule {
    id: "K05",
    slug: "socket-overrun",
    title: "A socket is full: its process reads too slowly",
    place: Some(Where::Process),
    about: About {
        signature: "At least 20 datagrams, one in 20 of what came, are dropped for SOCKET_RCVBUFF in 2.4 s or more, as the buffer of \
                    their socket is full, while its process reads. A weak sign where that is neither a service's nor a pod's.",
        meaning: "The network has done its part. More comes than the process takes, for long or in bursts: it is busy, waits for \
                  something else between two reads, or its socket has too little room for a burst.",
        check: &[
            "ss -lunmp sport = :PORT  # d: drops; rb: its room in bytes",
            "nstat -az UdpRcvbufErrors Udp6RcvbufErrors",
            "top -H -p PID",
        ],
        mend: &[
            "sysctl -w net.core.rmem_default=BYTES  # more room for sockets that are made after it: start the program anew. Risk: more \
             memory for each socket, and what is late anyway waits for longer. Lasts until the next boot.",
            "Else let less be sent, or more processes read. Risk: none for others.",
        ],
    },
    examine: |view| unread(view, too_slow(view)),
    explains: effects::none,
    proved_by: effects::none,
    follows: &["R13"],
};

/// A process that has not read for this long, while more was queued, does not read.
const NOT_READ: u64 = SECOND * 12 / 5;
/// What was queued last so long ago at most is what comes now: 3 s.
const STILL_COMES: u64 = 3 * SECOND;
/// It must be this many datagrams behind.
const BEHIND: u64 = 3;
/// One that reads must have lost so many, ...
const OVERRUN: u64 = 20;
/// ... one in so many of what came.
const OVERRUN_SHARE: u64 = 20;

/// A process that runs has not read a connection for so long: 10 s.
const PAUSES: u64 = 10 * SECOND;
/// A service that reads none of several connections for so long hangs: 30 s.
const HANGS: u64 = 30 * SECOND;
const SEVERAL: u64 = 2;

/// How it shows that nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    /// The process runs, and data of TCP waits.
    Runs,
    /// The same of all connections of a service, for long.
    Hangs,
    /// Its process cannot run, and data of TCP waits.
    Held,
    /// More and more datagrams wait.
    Waits,
    /// The socket's buffer is full, and the kernel drops what comes.
    Full,
    /// The same, and the process reads.
    Slow,
}

/// A port at which nobody reads what arrives.
#[derive(Clone, Copy)]
pub(super) struct Unread {
    port: Port,
    /// What was not read: datagrams, or connections with data that was not.
    datagrams: u64,
    /// Datagrams that came while some were dropped.
    came: u64,
    since: u64,
    how: How,
}

/// What stops the process that has the sockets of a port, where something waits in one of them.
pub(super) fn held(model: &Model, port: Port) -> Option<(Held, &Owner)> {
    let of_it = model.waiting().iter().filter(|(flow, _)| Port::of(flow) == port);
    of_it
        .filter_map(|(_, wait)| Some((holds(model, wait)?, wait.owner.as_deref()?)))
        .next()
}

/// What stops the process that has a socket: what was seen of the process itself, or that its unit is frozen, of which the kernel
/// tells at once.
fn holds(model: &Model, wait: &Wait) -> Option<Held> {
    let is_in_frozen_unit = |owner: &Owner| {
        let state = model.units().state(&owner.unit);
        let below = state.filter(|state| state.frozen);
        let below = below.and_then(|state| owner.cgroup.strip_prefix(&state.cgroup));
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    };
    let by_unit = || wait.owner.as_deref().is_some_and(is_in_frozen_unit);
    wait.held.or_else(|| by_unit().then_some(Held::Frozen))
}

/// What holds it may be meant to: what somebody stops at a terminal, debugs, or pauses as a container has sockets too, and a
/// receiver of TCP that pauses may be part of what somebody does with it. That a service or a pod is held is nobody's way of working.
pub(super) fn may_be_meant(protocol: Protocol, (held, owner): (Held, &Owner)) -> bool {
    !is_service(owner) && (protocol == Protocol::Tcp || held != Held::Stopped)
}

/// Somebody has it run for others, and looks after it: systemd, or the kubelet.
fn is_service(owner: &Owner) -> bool {
    owner.unit.ends_with(".service") || !owner.pod().is_empty()
}

/// What is to be said of what holds the process that has a socket, with a leading space, and what lets it go on.
pub(super) fn held_text(protocol: Protocol, holds: (Held, &Owner)) -> (String, String) {
    let (text, goes_on) = held_by(holds);
    let meant = if may_be_meant(protocol, holds) {
        " It is neither a service nor of a pod: whether that is meant is not known."
    } else {
        ""
    };
    (format!("{text}{meant}"), goes_on)
}

fn held_by((held, owner): (Held, &Owner)) -> (String, String) {
    let who = words::owner(owner);
    match held {
        Held::Stopped | Held::Suspended => (
            if held == Held::Suspended {
                format!(" {who} is stopped in the background of its terminal, as after ^Z.")
            } else {
                format!(" {who} is stopped by a signal, as SIGSTOP.")
            },
            format!(
                "kill -CONT {}  # Risk: somebody may have stopped it on purpose.",
                owner.pid
            ),
        ),
        Held::Traced => (
            format!(" {who} is stopped by a debugger."),
            format!(
                "grep TracerPid /proc/{}/status  # who stops it. Risk: none.",
                owner.pid
            ),
        ),
        Held::Frozen => (
            format!(" {who} is frozen, by the freezer of its cgroup."),
            match words::managed_unit(owner) {
                Some(unit) => {
                    format!("systemctl thaw {unit}  # Risk: somebody may have frozen it on purpose.")
                }
                None => format!(
                    "echo 0 > {}  # Risk: somebody may have frozen it on purpose. One of the groups above may be what is frozen.",
                    format_args!(
                        "{}{}",
                        words::CGROUP2,
                        quoted(&format!("{}/cgroup.freeze", owner.cgroup))
                    )
                ),
            },
        ),
    }
}

/// Ports that have room, and at which nobody reads what waits.
fn not_read(view: &View<'_>) -> Vec<Unread> {
    let (model, full) = (view.model, no_room(view));
    let has_room = |unread: &Unread| full.iter().all(|other| other.port != unread.port);
    waiting(model)
        .chain(stopped(model))
        .chain(running(model))
        .filter(has_room)
        .collect()
}

fn unread(view: &View<'_>, ports: Vec<Unread>) -> Option<Finding> {
    let model = view.model;
    let now = model.now();
    let mut all = suffering(view, ports);
    // The surest first, then the busiest; the order of ports decides the rest.
    all.sort_by_key(|(unread, suffering)| {
        let known = suffering.owner().is_some();
        (Reverse((known, unread.how, unread.datagrams)), unread.port)
    });
    let mut all = all.into_iter();
    let (unread, suffering) = all.next()?;
    let alike: Vec<(Unread, Suffering<'_>)> = all
        .filter(|(other, its)| {
            other.port != unread.port
                && its.owner().is_some() == suffering.owner().is_some()
                && (other.how == How::Runs) == (unread.how == How::Runs)
        })
        .collect();
    let others = words::distinct(alike.iter().map(|(other, its)| match its.owner() {
        Some(owner) => format!(
            "{} {} of {}",
            other.port.protocol,
            other.port.number,
            words::owner(owner)
        ),
        None => format!("{} {}", other.port.protocol, other.port.number),
    }));
    let others = match words::list(&others) {
        more if more.is_empty() => more,
        more => format!(" The same goes for {more}."),
    };
    let port = unread.port;
    let owner = suffering.owner();
    let held = held(model, port);
    let is_tcp = port.protocol == Protocol::Tcp;
    // A socket that nobody is known to have may be the kernel's own.
    let is_certain = |owner: &Owner| match unread.how {
        How::Runs => false,
        How::Hangs | How::Slow => is_service(owner),
        How::Held | How::Full | How::Waits => !held.is_some_and(|holds| may_be_meant(port.protocol, holds)),
    };
    let confidence = if owner.is_some_and(is_certain) {
        Confidence::Strong
    } else {
        Confidence::Weak
    };
    let who = owner.map_or_else(|| "no known process".to_owned(), words::owner);
    let datagrams = count(unread.datagrams, "datagram");
    let number = port.number;
    let lasting = span(now.saturating_sub(unread.since));
    let what = if is_tcp {
        format!(
            "{} to tcp {number} {} data that nothing has read for {lasting}.",
            count(unread.datagrams, "connection"),
            if unread.datagrams == 1 { "has" } else { "have" }
        )
    } else if unread.how == How::Slow {
        format!(
            "Of {} that came for udp {number} in {lasting}, {} found the socket and its buffer full, and were dropped.",
            count(unread.came, "datagram"),
            thousands(unread.datagrams)
        )
    } else if unread.how == How::Full {
        format!(
            "{datagrams} for udp {number} found the socket and its buffer full, and were dropped; nothing was read \
             for {lasting}."
        )
    } else {
        format!("{datagrams} for udp {number} reached the socket and nothing was read for {lasting}.")
    };
    let mut check = vec![words::command(
        model,
        port.netns,
        &if is_tcp {
            format!("ss -ntmp sport = :{number} or dport = :{number}")
        } else {
            format!("ss -lnump sport = :{number}")
        },
    )];
    if let Some(owner) = owner.filter(|owner| owner.pid != 0) {
        check.push(format!("ps -o pid,stat,wchan:32,cmd -p {}", owner.pid));
        check.push(format!("cat /proc/{}/stack", owner.pid));
    }
    let units: Vec<String> = alike.iter().flat_map(|(_, its)| its.units([])).collect();
    let units = suffering.units(units);
    let flows = suffering.flows.and(alike.into_iter().map(|(_, its)| its.flows));
    let queue = model.queues().get(port).copied().unwrap_or_default();
    let queues = format!(
        "{} {number}: {} queued, {} read since the start",
        port.protocol,
        thousands(queue.queued),
        thousands(queue.read)
    );
    let (how, goes_on) = match (held, unread.how) {
        (Some(held), _) => held_text(port.protocol, held),
        (None, How::Runs) => (
            " It runs: it may be busy or wait for something else, or not read on purpose for a while. The senders wait.".to_owned(),
            String::new(),
        ),
        (None, How::Slow) => (
            " It reads, but more slowly than they come, or not often enough for the room that the socket has.".to_owned(),
            "sysctl -w net.core.rmem_default=BYTES  # more room for sockets that are made after it: start the program anew. Risk: more \
             memory for each socket, and what is late anyway waits for longer. Lasts until the next boot."
                .to_owned(),
        ),
        (None, How::Hangs) => (
            " It runs, and has read nothing at this port meanwhile. The senders wait.".to_owned(),
            String::new(),
        ),
        (None, _) => Default::default(),
    };
    let see = match unread.how {
        How::Slow => {
            "This is no fault of the network: see why the process reads slowly, or who sends so much."
        }
        _ => "This is no fault of the network: see what the process waits for.",
    };
    let mut remedy = vec![see.to_owned()];
    if !goes_on.is_empty() {
        remedy.insert(0, goes_on);
    }
    Some(Finding {
        confidence,
        explanation: format!("{what} The socket belongs to {who}.{how}{others}"),
        since: unread.since,
        last: now,
        evidence: vec![socket(model, port, queues)],
        units,
        namespaces: flows.namespaces(),
        standing: None,
        prevent: Vec::new(),
        devices: BTreeSet::new(),
        flows,
        check,
        remedy,
    })
}

/// The flows of each of these ports that were seen since.
fn suffering<'a>(view: &View<'a>, ports: Vec<Unread>) -> Vec<(Unread, Suffering<'a>)> {
    let since: BTreeMap<Port, u64> = ports.iter().map(|unread| (unread.port, unread.since)).collect();
    let mut flows: Gathering<Port, Gathered<'_>> = Gathering::default();
    if !since.is_empty() {
        let (mut latest, mut own) = (Latest::default(), Latest::default());
        let is_own = |key: &FlowKey| view.model.node().has_address(key.netns, key.local);
        let all = view.flows(|key, flow| {
            let port = Port::of(key);
            let since = latest.of(port, || since.get(&port).copied());
            // To look at the counts takes longer.
            since.is_some_and(|since| flow.last_arrived >= When::at(since) || flow.last >= since)
                && (own.of((key.netns, key.local), || is_own(key)) || view.model.is_its_own(key, flow))
        });
        for one in all.map(Sufferer::in_turn(view.model)) {
            flows.of(Port::of(&one.key), Gathered::default).add(one);
        }
    }
    let mut flows = flows.whole();
    let its = |unread: Unread| {
        let flows = flows.remove(&unread.port).unwrap_or_default();
        (unread, flows.whole())
    };
    ports.into_iter().map(its).collect()
}

/// Ports that used to be read, and in whose queues more and more waits.
fn waiting(model: &Model) -> impl Iterator<Item = Unread> {
    let now = model.now();
    model
        .queues()
        .iter()
        .filter(|(port, _)| port.protocol == Protocol::Udp)
        .filter(move |(_, queue)| {
            // Who never read may never want to.
            queue
                .last_read
                .is_some_and(|read| now.saturating_sub(read) >= NOT_READ)
                && queue.since_read >= BEHIND
                && queue.last_queued.saturating_sub(queue.waiting_since) >= SECOND
                && now.saturating_sub(queue.waiting_since) >= NOT_READ
                && now.saturating_sub(queue.last_queued) <= STILL_COMES
        })
        .map(|(port, queue)| Unread {
            port: *port,
            datagrams: queue.since_read,
            came: 0,
            since: queue.waiting_since,
            how: How::Waits,
        })
}

/// Ports whose datagrams are dropped because the socket's buffer is full.
pub(super) fn overrun(view: &View<'_>) -> BTreeMap<Port, Unread> {
    let mut ports: Gathering<Port, Unread> = Gathering::default();
    for plight in view.befallen().dropped_by(ends::buffer_full) {
        let Some(spell) = plight.dropped else {
            continue;
        };
        let port = Port::of(&plight.key);
        let unread = ports.of(port, || Unread {
            port,
            datagrams: 0,
            came: 0,
            since: spell.since,
            how: How::Full,
        });
        unread.datagrams = unread.datagrams.saturating_add(spell.packets);
        unread.came = unread.came.saturating_add(plight.arrived_amid_drops);
        unread.since = unread.since.min(spell.since);
    }
    let mut ports = ports.whole();
    let lasts = |unread: &Unread| view.model.now().saturating_sub(unread.since) >= NOT_READ;
    ports.retain(|_, unread| unread.datagrams >= BEHIND && lasts(unread));
    ports
}

/// Nothing has been read at the port of late.
fn is_unread(model: &Model, port: Port) -> bool {
    let last_read = model.queues().get(port).and_then(|queue| queue.last_read);
    last_read.is_none_or(|read| model.now().saturating_sub(read) >= NOT_READ)
}

/// Ports whose datagrams are dropped because the socket's buffer is full, and from which nothing is read: also
/// those that were full before the start.
fn no_room(view: &View<'_>) -> Vec<Unread> {
    let model = view.model;
    // Before 6.3 what is read is seen as it is freed.
    let sees_reads = model.can("datagram-reads") || (!model.can("queued") && model.can("answers"));
    if !sees_reads {
        return Vec::new();
    }
    let ports = view.overrun().values().copied();
    ports.filter(|unread| is_unread(model, unread.port)).collect()
}

/// Ports whose datagrams are dropped because the socket's buffer is full, and from which others are read.
fn too_slow(view: &View<'_>) -> Vec<Unread> {
    let ports = view.overrun().values().copied();
    ports
        .filter(|unread| {
            unread.datagrams >= OVERRUN
                && unread.datagrams.saturating_mul(OVERRUN_SHARE) >= unread.came
                && !is_unread(view.model, unread.port)
        })
        .map(|unread| Unread {
            came: unread.came.max(unread.datagrams),
            how: How::Slow,
            ..unread
        })
        .collect()
}

/// Connections of TCP with data that waits, whatever their processes do.
fn connections(model: &Model) -> impl Iterator<Item = (&FlowKey, &Wait)> {
    model
        .waiting()
        .iter()
        .filter(|(flow, wait)| flow.protocol == Protocol::Tcp && wait.state != SocketState::Listen)
}

/// Their ports: how many there are of each, and since when the first of them waits.
fn by_port<'a>(all: impl Iterator<Item = (&'a FlowKey, &'a Wait)>, how: How) -> BTreeMap<Port, Unread> {
    let mut ports: BTreeMap<Port, Unread> = BTreeMap::new();
    for (flow, wait) in all {
        let port = Port::of(flow);
        let unread = ports.entry(port).or_insert(Unread {
            port,
            datagrams: 0,
            came: 0,
            since: wait.since,
            how,
        });
        unread.datagrams = unread.datagrams.saturating_add(1);
        unread.since = unread.since.min(wait.since);
    }
    ports
}

/// Ports of TCP with data that has waited for long in a connection whose process cannot read it.
fn stopped(model: &Model) -> impl Iterator<Item = Unread> {
    let now = model.now();
    let all = connections(model)
        .filter(|(_, wait)| holds(model, wait).is_some() && now.saturating_sub(wait.since) >= NOT_READ);
    by_port(all, How::Held).into_values()
}

/// Ports of TCP with data that has waited for longer in a connection whose process runs, and whose peer goes on.
fn running(model: &Model) -> impl Iterator<Item = Unread> {
    let now = model.now();
    let waits = |least: u64| {
        connections(model).filter(move |(flow, wait)| {
            let runs = holds(model, wait).is_none();
            runs && now.saturating_sub(wait.since) >= least && goes_on(model, flow, wait)
        })
    };
    let mut ports = by_port(waits(PAUSES), How::Runs);
    let is_served = |(flow, _): &(&FlowKey, &Wait)| {
        let bound = model.sockets().bound(Port::of(flow), flow.local);
        bound.is_some_and(|bound| bound.closed.is_none())
    };
    for (port, unread) in by_port(waits(HANGS).filter(is_served), How::Hangs) {
        let queue = model.queues().get(port);
        let last_read = queue.and_then(|queue| queue.last_read).unwrap_or(0);
        if unread.datagrams >= SEVERAL && now.saturating_sub(last_read) >= HANGS {
            ports.insert(port, unread);
        }
    }
    ports.into_values()
}

/// The peer of the connection sends more, or asks whether there is room for it. It asks at intervals that double
/// (`tcp_send_probe0`), so that the last time is not longer ago than all before it took.
fn goes_on(model: &Model, flow: &FlowKey, wait: &Wait) -> bool {
    let now = model.now();
    if wait.grew.is_some_and(|grew| now.saturating_sub(grew) <= PAUSES) {
        return true;
    }
    let asks = |flow: &Flow| {
        let lasted = now.saturating_sub(wait.since);
        let last = flow.last_drop();
        last.is_some_and(|(reason, _)| ends::asks_for_room(reason))
            && flow.last_arrived >= When::at(wait.since.saturating_add(lasted / 3))
    };
    model.flows().get(flow).is_some_and(asks)
}
