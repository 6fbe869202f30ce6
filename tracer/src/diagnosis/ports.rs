//! Sockets and the processes that have them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::suffering::Suffering;
use super::words::{self, count, span};
use super::{About, Finding, Rule, effects, evidence, namespaces};
use crate::event::{FlowKey, Owner, Protocol};
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::ends;
use crate::model::flows::Flow;
use crate::model::growth::Spell;
use crate::model::queues::Port;
use crate::report::{Confidence, Evidence, Fact, Where};

/// R12: nothing listens any more.
pub(super) const NO_SOCKET: Rule = Rule {
    id: "R12",
    slug: "no-socket",
    title: "Nothing listens where packets keep arriving",
    place: Some(Where::Process),
    about: About {
        signature: "Packets for a port of this node are dropped for NO_SOCKET, where a socket was before.",
        meaning: "Nothing listens there any more: the process that had the port ended or closed it. The network works as \
                  far as that.",
        check: &[
            "ss -lntp sport = :PORT",
            "systemctl status UNIT",
            "journalctl -u UNIT -n 50",
        ],
        mend: &["systemctl restart UNIT  # Risk: ends what the unit still does; read its status first."],
    },
    examine: |view| no_socket(view.model),
    explains: effects::unit_ended,
    proved_by: effects::none,
    follows: &[],
};

/// P01: datagrams reach the socket and the process does not read them.
///
/// UDP only: a TCP receiver that pauses is flow control, which cannot be told from a hang by counts.
pub(super) const UNREAD: Rule = Rule {
    id: "P01",
    slug: "unread",
    title: "Datagrams reach the socket and the process does not read them",
    place: Some(Where::Process),
    about: About {
        signature: "Datagrams are put in a socket's receive queue, or find it full, and nothing is read from it.",
        meaning: "The network has done its part. The process is stopped, blocked, or busy with something else.",
        check: &[
            "ss -lnump sport = :PORT",
            "ps -o pid,stat,wchan:32,cmd -p PID",
            "cat /proc/PID/stack",
        ],
        mend: &["This is no fault of the network: see what the process waits for. Risk: none for others."],
    },
    examine: |view| unread(view.model),
    explains: effects::none,
    proved_by: effects::none,
    follows: &[],
};

/// Packets that come so soon after a socket was closed belong to what it was doing.
const AFTERMATH: u64 = SECOND;
/// Refusals at a port that nobody was ever seen to have are told from this number on.
const STRANGERS: u64 = 5;
/// A process that has not read for this long, while more was queued, does not read: 2.4 s. Ticks are half a second apart, and
/// within 3 s it is to be told.
const NOT_READ: u64 = SECOND * 12 / 5;
/// What was queued last so long ago at most is what comes now: 3 s.
const STILL_COMES: u64 = 3 * SECOND;
/// It must be this many datagrams behind.
const BEHIND: u64 = 3;

/// A local end that refuses packets.
struct Refusal<'a> {
    port: Port,
    address: IpAddr,
    spell: Spell,
    confidence: Confidence,
    owner: Option<&'a Owner>,
    /// When the socket was last known to be there.
    had_until: Option<u64>,
}

fn no_socket(model: &Model) -> Option<Finding> {
    let now = model.now();
    let mut refusals: Vec<Refusal<'_>> = model
        .sockets()
        .refusals()
        .filter_map(|(port, address, growing)| refusal(model, port, address, growing.recent(now)?))
        .collect();
    // The surest first, then the busiest; the order of ports decides the rest.
    refusals.sort_by_key(|refusal| Reverse((refusal.confidence, refusal.spell.packets)));
    let worst = refusals.first()?;
    let Port { protocol, number, .. } = worst.port;

    let had = match (worst.owner, worst.had_until) {
        (Some(owner), Some(at)) => format!(
            "; {} had it until {}",
            words::owner(owner),
            words::moment(model, at)
        ),
        (Some(owner), None) => format!("; {} had it", words::owner(owner)),
        (None, Some(at)) => format!("; a socket was there until {}", words::moment(model, at)),
        (None, None) => "; no socket was seen there since the start".to_owned(),
    };
    // A port may refuse at several addresses.
    let alike = || {
        refusals
            .iter()
            .filter(|other| other.confidence == worst.confidence)
    };
    let packets = alike()
        .filter(|other| other.port == worst.port)
        .map(|other| other.spell.packets)
        .fold(0, u64::saturating_add);
    let others = alike()
        .filter(|other| other.port != worst.port)
        .map(|other| format!("{} {}", other.port.protocol, other.port.number))
        // In another namespace.
        .filter(|other| *other != format!("{protocol} {number}"));
    let others = match words::list(&words::distinct(others)) {
        more if more.is_empty() => more,
        more => format!(" The same goes for {more}."),
    };
    let explanation = format!(
        "Nothing listens on {protocol} {number}{had}. {} for it arrived since and found no socket.{others}",
        count(packets, "packet")
    );

    let evidence = alike()
        .take(5)
        .map(|other| {
            let Port { protocol, number, .. } = other.port;
            let text = format!(
                "{} to {protocol} {} port {number}: {}",
                count(other.spell.packets, "packet"),
                other.address,
                ends::NO_SOCKET
            );
            evidence::drop(ends::NO_SOCKET, None, other.spell.packets, text)
        })
        .chain(worst.had_until.map(|at| {
            let text = format!(
                "{protocol} {number} was last there at {}",
                words::moment(model, at)
            );
            socket(model, worst.port, text)
        }))
        .collect();
    let suffering = Suffering::of(model, refused(model, &alike().map(|other| other.port).collect()));
    let unit = worst
        .owner
        .map(|owner| owner.unit.clone())
        .filter(|unit| !unit.is_empty());
    let mut ports: Vec<Port> = Vec::new();
    for other in alike() {
        if !ports.contains(&other.port) {
            ports.push(other.port);
        }
    }
    let mut check: Vec<String> = ports
        .iter()
        .take(3)
        .map(|port| {
            let option = if port.protocol == Protocol::Udp { "u" } else { "t" };
            let command = format!("ss -ln{option}p sport = :{}", port.number);
            words::command(model, port.netns, &command)
        })
        .collect();
    let mut remedy = Vec::new();
    if let Some(unit) = worst.owner.and_then(words::managed_unit) {
        check.push(format!("systemctl status {unit}"));
        check.push(format!("journalctl -u {unit} -n 50"));
        remedy.push(format!(
            "systemctl restart {unit}  # Risk: ends what the unit still does; read its status first."
        ));
    }

    Some(Finding {
        confidence: worst.confidence,
        explanation,
        since: worst.spell.since.max(worst.had_until.unwrap_or(0)),
        last: worst.spell.last,
        evidence,
        units: suffering.units(unit),
        namespaces: alike().map(|other| other.port.netns).collect(),
        standing: None,
        devices: BTreeSet::new(),
        flows: suffering.flows,
        prevent: Vec::new(),
        check,
        remedy: if !remedy.is_empty() {
            remedy
        } else if worst.confidence == Confidence::Weak {
            vec![
                "Nothing, where nobody on this node is meant to listen there: then it is the sender's fault. Else \
                 start the program that is. Risk: none for others."
                    .to_owned(),
            ]
        } else {
            vec!["Start the program that listened there again. Risk: none for others.".to_owned()]
        },
    })
}

/// A port's socket, and what was put in its queue and read from it.
fn socket(model: &Model, port: Port, text: String) -> Evidence {
    let queue = model.queues().get(port).copied().unwrap_or_default();
    Evidence {
        text,
        fact: Fact::Socket {
            protocol: port.protocol.to_string(),
            port: port.number,
            queued: queue.queued,
            read: queue.read,
        },
    }
}

/// Flows that were refused at these ports. Who is refused tries again from another port, so one flow stands
/// for each client.
fn refused<'a>(model: &'a Model, ports: &BTreeSet<Port>) -> impl Iterator<Item = (&'a FlowKey, &'a Flow)> {
    let mut clients: BTreeMap<(Port, IpAddr, IpAddr), (&FlowKey, &Flow)> = BTreeMap::new();
    for (key, flow) in model.flows().iter() {
        if ports.contains(&Port::of(key)) && flow.dropped_by(model.now(), ends::no_socket) {
            let last = clients
                .entry((Port::of(key), key.local, key.remote))
                .or_insert((key, flow));
            if flow.last > last.1.last {
                *last = (key, flow);
            }
        }
    }
    clients.into_values()
}

fn refusal(model: &Model, port: Port, address: IpAddr, spell: Spell) -> Option<Refusal<'_>> {
    let bound = model.sockets().bound(port, address);
    let owner = bound.and_then(|bound| bound.owner.as_deref());
    let refusal = |confidence, had_until| Refusal {
        port,
        address,
        spell,
        confidence,
        owner,
        had_until,
    };
    let strangers = || (spell.packets >= STRANGERS).then(|| refusal(Confidence::Weak, None));
    match (port.protocol, bound) {
        (_, None) => strangers(),
        (Protocol::Tcp, Some(bound)) => {
            // While a socket is there, what is refused is for another address or was already lost.
            let closed = bound.closed?;
            (spell.packets >= 2 && spell.last >= closed.saturating_add(AFTERMATH))
                .then(|| refusal(Confidence::Conclusive, Some(closed)))
        }
        // Nothing tells when such a socket is closed: that none is there, the refusals say themselves.
        (_, Some(_)) => {
            let queue = model.queues().get(port);
            let used = queue.map(|queue| queue.last_queued.max(queue.last_read.unwrap_or(0)));
            let back = used.is_some_and(|used| used >= spell.last);
            let lasting = spell.last.saturating_sub(used.unwrap_or(0).max(spell.since)) >= AFTERMATH;
            (spell.packets >= 3 && lasting && !back).then(|| refusal(Confidence::Conclusive, used))
        }
    }
}

/// A port whose datagrams nobody reads.
struct Unread {
    port: Port,
    /// What was not read.
    datagrams: u64,
    since: u64,
    /// The socket's buffer is full, and the kernel drops what comes.
    full: bool,
}

fn unread(model: &Model) -> Option<Finding> {
    let now = model.now();
    let mut all: Vec<(Unread, Suffering<'_>)> = waiting(model)
        .chain(full(model))
        .map(|unread| {
            let of_port =
                |(key, flow): &(&FlowKey, &Flow)| Port::of(key) == unread.port && flow.last >= unread.since;
            let suffering = Suffering::of(model, model.flows().iter().filter(of_port));
            (unread, suffering)
        })
        .collect();
    // The surest first, then the busiest; the order of ports decides the rest.
    all.sort_by_key(|(unread, suffering)| {
        let known = suffering.owner().is_some();
        (Reverse((known, unread.full, unread.datagrams)), unread.port)
    });
    let mut all = all.into_iter();
    let (unread, mut suffering) = all.next()?;
    let alike: Vec<(Unread, Suffering<'_>)> = all
        .filter(|(other, its)| {
            other.port != unread.port && its.owner().is_some() == suffering.owner().is_some()
        })
        .collect();
    let others = words::distinct(alike.iter().map(|(other, its)| match its.owner() {
        Some(owner) => format!("udp {} of {}", other.port.number, words::owner(owner)),
        None => format!("udp {}", other.port.number),
    }));
    let others = match words::list(&others) {
        more if more.is_empty() => more,
        more => format!(" The same goes for {more}."),
    };
    let port = unread.port;
    let owner = suffering.owner();
    // A socket that nobody is known to have may be the kernel's own.
    let confidence = if owner.is_some() {
        Confidence::Strong
    } else {
        Confidence::Weak
    };
    let who = owner.map_or_else(|| "no known process".to_owned(), words::owner);
    let datagrams = count(unread.datagrams, "datagram");
    let number = port.number;
    let lasting = span(now.saturating_sub(unread.since));
    let what = if unread.full {
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
        &format!("ss -lnump sport = :{number}"),
    )];
    if let Some(owner) = owner.filter(|owner| owner.pid != 0) {
        check.push(format!("ps -o pid,stat,wchan:32,cmd -p {}", owner.pid));
        check.push(format!("cat /proc/{}/stack", owner.pid));
    }
    let units: Vec<String> = alike.iter().flat_map(|(_, its)| its.units([])).collect();
    let units = suffering.units(units);
    for (_, its) in alike {
        suffering.flows.extend(its.flows);
    }
    let queue = model.queues().get(port).copied().unwrap_or_default();
    let queues = format!(
        "udp {number}: {} queued, {} read since the start",
        queue.queued, queue.read
    );
    Some(Finding {
        confidence,
        explanation: format!("{what} The socket belongs to {who}.{others}"),
        since: unread.since,
        last: now,
        evidence: vec![socket(model, port, queues)],
        units,
        namespaces: namespaces(&suffering.flows),
        standing: None,
        devices: BTreeSet::new(),
        flows: suffering.flows,
        prevent: Vec::new(),
        check,
        remedy: vec!["This is no fault of the network: see what the process waits for.".to_owned()],
    })
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
            since: queue.waiting_since,
            full: false,
        })
}

/// Ports whose datagrams are dropped because the socket's buffer is full, and from which nothing is read: also
/// those that were full before the start.
fn full(model: &Model) -> impl Iterator<Item = Unread> {
    let now = model.now();
    // Before 6.3 what is read is seen as it is freed.
    let sees_reads = model.can("datagram-reads") || (!model.can("queued") && model.can("answers"));
    let mut ports: BTreeMap<Port, Unread> = BTreeMap::new();
    for (key, flow) in model.flows().iter() {
        let Some(spell) = flow
            .drops
            .recent(now)
            .filter(|_| flow.dropped_by(now, ends::buffer_full))
        else {
            continue;
        };
        let port = Port::of(key);
        let unread = ports.entry(port).or_insert(Unread {
            port,
            datagrams: 0,
            since: spell.since,
            full: true,
        });
        unread.datagrams = unread.datagrams.saturating_add(spell.packets);
        unread.since = unread.since.min(spell.since);
    }
    ports.into_values().filter(move |unread| {
        let last_read = model.queues().get(unread.port).and_then(|queue| queue.last_read);
        sees_reads
            && unread.datagrams >= BEHIND
            && now.saturating_sub(unread.since) >= NOT_READ
            && last_read.is_none_or(|read| now.saturating_sub(read) >= NOT_READ)
    })
}
