//! Ports at which nobody listens any more.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

use super::addresses::Addresses;
use super::mending::TOLD_LATE;
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{self, count};
use super::{About, Finding, Rule, View, effects, evidence, redirects};
use crate::event::{FlowKey, Owner, Protocol};
use crate::model::Model;
use crate::model::clock::{SECOND, When};
use crate::model::ends;
use crate::model::growth::Spell;
use crate::model::plight::Plight;
use crate::model::queues::Port;
use crate::report::{Confidence, Evidence, Fact, Where};

/// R12: nothing listens any more.
pub(super) const NO_SOCKET: Rule = Rule {
    id: "R12",
    slug: "no-socket",
    title: "Nothing listens where packets keep arriving",
    place: Some(Where::Process),
    about: About {
        signature: "Packets for a port of this node are dropped for NO_SOCKET for 2 s, where a socket was before. A weak sign for 5 s where \
                    systemd stopped its unit in good order, as where it is deployed, and for 2.5 s where it has not told what became of it, or has started it again.",
        meaning: "Nothing listens there any more: the process that had the port ended or closed it. The network works as \
                  far as that.",
        check: &[
            "ss -lntp sport = :PORT",
            "systemctl status UNIT",
            "journalctl -u UNIT -n 50",
        ],
        mend: &["systemctl restart UNIT  # Risk: ends what the unit still does; read its status first."],
    },
    examine: no_socket,
    explains: effects::nobody_listens,
    proved_by: effects::none,
    follows: &["R37", "R41"],
};

/// What is told of a socket that was closed comes so much later at most.
const AFTERMATH: u64 = SECOND;
/// Whoever is started again is away for as long as that takes, and what was refused then is counted up to half a second later: what is
/// refused for longer is missed.
const MISSED: u64 = 2 * SECOND;
/// A unit that was stopped in good order may be about to be started again, as where it is deployed: for so long that is no fault.
const DEPLOYED: u64 = 5 * SECOND;
/// What is refused so long after a socket was opened is not for that socket.
const OPEN: u64 = 3 * SECOND;
/// Refusals at a port that nobody was ever seen to have are told from this number on.
const STRANGERS: u64 = 5;

/// A local end that refuses packets.
struct Refusal<'a> {
    port: Port,
    address: IpAddr,
    spell: Spell,
    confidence: Confidence,
    owner: Option<&'a Owner>,
    /// When the socket was last known to be there.
    had_until: Option<u64>,
    /// See [`waited_for`].
    waited_for: Option<&'static str>,
}

fn no_socket(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let now = model.now();
    let mut refusals: Vec<Refusal<'_>> = model
        .sockets()
        .refusals()
        .filter_map(|(port, address, growing)| refusal(view, port, address, growing.recent(now)?))
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
    let deployed = worst.waited_for.unwrap_or_default();
    let of_port = alike().filter(|other| other.port == worst.port);
    let refusing: BTreeSet<IpAddr> = of_port.map(|other| other.address).collect();
    let at = Addresses::of(refusing.iter().copied()).told();
    let elsewhere = elsewhere(model, worst.port, &refusing);
    let instead = match &elsewhere {
        None => String::new(),
        Some(there) => format!(" {there}: not for what comes for {at}."),
    };
    let nobody = match connected(model, worst) {
        None => format!("Nothing listens on {protocol} {number} at {at}{had}."),
        Some(key) => format!(
            "At {protocol} {number} of {at} is a socket that talks with {} ({}), and takes nothing from others.",
            words::end(key.remote, key.remote_port),
            words::flow(model, key)
        ),
    };
    let explanation = format!(
        "{nobody}{instead}{deployed} {} for it arrived since and found no socket.{others}",
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
    let refused = refused(view, &alike().map(|other| other.port).collect());
    let suffering = Suffering::of(refused.into_iter().map(Sufferer::from));
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
        if elsewhere.is_none() {
            remedy.push(format!(
                "systemctl restart {unit}  # Risk: ends what the unit still does; read its status first."
            ));
        }
    }
    if elsewhere.is_some() {
        remedy.push(format!(
            "Let the program that listens at another address listen at {at}, where it is meant to: its configuration, or its unit's, \
             names the address. Risk: then it can be reached from there."
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

/// A flow by which a socket of this node has sent from this end since packets of others are refused there: it is connected. Only
/// those of UDP leave it open who answers.
fn connected<'a>(model: &'a Model, refusal: &Refusal<'_>) -> Option<&'a FlowKey> {
    let Port {
        netns,
        protocol,
        number,
    } = refusal.port;
    let end = |remote: [u8; 16], remote_port| FlowKey {
        netns,
        protocol,
        local: refusal.address,
        local_port: number,
        remote: IpAddr::from(remote),
        remote_port,
    };
    let first = FlowKey {
        remote: IpAddr::from([0; 4]),
        ..end([0; 16], 0)
    };
    let may_be = protocol == Protocol::Udp && refusal.owner.is_none() && refusal.had_until.is_none();
    if !may_be {
        return None;
    }
    let mut all = model.flows().between(first, end([u8::MAX; 16], u16::MAX));
    // What is told of one that was closed is told a round later.
    let after = When::at(refusal.spell.since.saturating_add(AFTERMATH));
    let found = all.find(|(_, flow)| flow.sent > 0 && flow.last_sent > after);
    found.map(|(key, _)| key)
}

/// What listens at the same port, and at other addresses: `nginx[12] (nginx.service) listens at 127.0.0.1`.
fn elsewhere(model: &Model, port: Port, refusing: &BTreeSet<IpAddr>) -> Option<String> {
    let all = model.sockets().listening(port);
    let all = all.filter(|(address, _)| !refusing.contains(address));
    let all = words::distinct(all.map(|(address, bound)| {
        let who = bound
            .owner
            .as_deref()
            .map_or_else(|| "somebody".to_owned(), words::owner);
        if address.is_unspecified() {
            format!("{who} listens at this port, for the other version of IP or at one device only")
        } else {
            format!("{who} listens at {address}")
        }
    }));
    (!all.is_empty()).then(|| words::list(&all))
}

/// A port's socket, and what was put in its queue and read from it.
pub(super) fn socket(model: &Model, port: Port, text: String) -> Evidence {
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
/// for each client: the last one.
pub(super) fn refused<'a>(view: &View<'a>, ports: &BTreeSet<Port>) -> Vec<&'a Plight> {
    let client = |key: &FlowKey| (Port::of(key), key.local, key.remote);
    let last = |plight: &Plight| plight.dropped.map(|spell| spell.last);
    let all = view.befallen().dropped_by(ends::no_socket);
    let mut clients: Vec<&'a Plight> = Vec::new();
    for plight in all.filter(|plight| ports.contains(&Port::of(&plight.key))) {
        // Those of a client are side by side.
        match clients.last_mut() {
            Some(known) if client(&known.key) == client(&plight.key) => {
                if last(plight) > last(known) {
                    *known = plight;
                }
            }
            _ => clients.push(plight),
        }
    }
    clients
}

/// What is refused at ports of which no socket was ever seen.
pub(super) fn strangers(model: &Model) -> impl Iterator<Item = (Port, IpAddr, Spell)> {
    let all = model.sockets().refusals();
    all.filter_map(|(port, address, growing)| {
        let spell = growing.recent(model.now())?;
        let is_known = model.sockets().bound(port, address).is_some();
        (!is_known).then_some((port, address, spell))
    })
}

fn refusal<'a>(view: &View<'a>, port: Port, address: IpAddr, spell: Spell) -> Option<Refusal<'a>> {
    let model = view.model;
    let bound = model.sockets().bound(port, address);
    let owner = bound.and_then(|bound| bound.owner.as_deref());
    let refusal = |confidence, had_until: Option<u64>, gone: u64| {
        let waited_for = waited_for(model, owner, gone);
        Refusal {
            port,
            address,
            spell,
            confidence: waited_for.map_or(confidence, |_| Confidence::Weak),
            owner,
            had_until,
            waited_for,
        }
    };
    let strangers = || {
        // Another rule tells of what the firewall led elsewhere.
        let is_led = || redirects::led(view.gone_rules(), port, address, spell.since).is_some();
        (spell.packets >= STRANGERS && !is_led()).then(|| refusal(Confidence::Weak, None, spell.since))
    };
    match (port.protocol, bound) {
        (_, None) => strangers(),
        (Protocol::Tcp, Some(bound)) => {
            // While a socket is there, what is refused is for another address or was already lost; or the socket is of the other
            // version of IP alone, or of one device.
            let Some(closed) = bound.closed else {
                let is_since = spell.last >= bound.opened.saturating_add(OPEN);
                let found = is_since.then(strangers).flatten();
                // Its owner never had it there.
                return found.map(|refusal| Refusal {
                    owner: None,
                    ..refusal
                });
            };
            (spell.packets >= 2 && spell.last >= closed.saturating_add(MISSED))
                .then(|| refusal(Confidence::Conclusive, Some(closed), closed))
        }
        // Nothing tells when such a socket is closed: that none is there, the refusals say themselves.
        (_, Some(bound)) => {
            let queue = model.queues().get(port);
            let used = queue.map(|queue| queue.last_queued.max(queue.last_read.unwrap_or(0)));
            // It may be known by its use alone, or be in the kernel's list and not used yet.
            let there = used.max(bound.listed);
            let back = there.is_some_and(|there| there >= spell.last);
            let lasting = spell.last.saturating_sub(there.unwrap_or(0).max(spell.since)) >= MISSED;
            // Of a socket that nothing was seen to come to nobody knows when it went: it was missed since then.
            let gone = used.unwrap_or(spell.since);
            (spell.packets >= 3 && lasting && !back).then(|| refusal(Confidence::Conclusive, there, gone))
        }
    }
}

/// Why it may be there again at once, in a sentence with a leading space: systemd has stopped the unit of the process that had the
/// socket in good order a moment ago, is about to start it, has just done so, or has not told yet what became of it.
fn waited_for(model: &Model, owner: Option<&Owner>, gone: u64) -> Option<&'static str> {
    let unit = &owner?.unit;
    let state = model.units().state(unit)?;
    let started = model.units().begun(unit, model.now());
    let started = started.map(|begun| begun.at).filter(|at| *at >= gone);
    let (why, since, least) = match state.active.as_str() {
        // What has failed waits as `auto-restart` to be started again.
        "activating" if state.sub == "auto-restart" => return None,
        "inactive" if state.result != "success" => return None,
        "activating" | "deactivating" | "inactive" => (
            " Its unit was stopped in good order, and may be about to be started again.",
            gone,
            DEPLOYED,
        ),
        "active" => match started {
            Some(at) => (" Its unit was started a moment ago.", at, TOLD_LATE),
            None => (" That its unit has ended is not told yet.", gone, TOLD_LATE),
        },
        _ => return None,
    };
    (model.now().saturating_sub(since) < least).then_some(why)
}
