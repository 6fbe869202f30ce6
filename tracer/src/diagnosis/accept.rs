//! A listener that accepts no connections, or too few.

use std::collections::BTreeSet;

use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::unread::{held, held_text, may_be_meant};
use super::words::{self, command, count, list, moment};
use super::{About, Finding, Rule, View, effects, evidence};
use crate::event::{FlowKey, Protocol};
use crate::model::Model;
use crate::model::clock::When;
use crate::model::counters::{LISTEN_OVERFLOWS, THREE_READINGS};
use crate::model::growth::Spell;
use crate::model::latest::Latest;
use crate::model::queues::Port;
use crate::model::waiting::Wait;
use crate::report::{Confidence, Where};

/// R15: the accept queue of a listener is full.
pub(super) const QUEUE_FULL: Rule = Rule {
    id: "R15",
    slug: "accept-queue-full",
    title: "The accept queue of a server is full",
    place: Some(Where::Process),
    about: About {
        signature: "TcpExtListenOverflows grows in three readings, a second apart, and the kernel's list of sockets has a \
                    listener with more connections waiting than it has room for. No drop tells of it: the SYNs are called consumed. The counter has all \
                    listeners of a network namespace, and each SYN anew that a client sends again. A weak sign where the process is stopped or frozen and neither a service's \
                    nor a pod's: that may be meant.",
        meaning: "The process does not accept connections as fast as they come, or not at all. The kernel discards further SYNs, \
                  and the ACKs that complete handshakes, without a word: to clients that looks as if the network lost them.",
        check: &[
            "ss -lntp sport = :PORT  # Recv-Q is more than Send-Q",
            "nstat -az TcpExtListenOverflows TcpExtListenDrops",
            "ps -o pid,stat,wchan:32,cmd -p PID",
        ],
        mend: &[
            "See what the process waits for. A longer queue helps against bursts only: the backlog that the program asks for, and \
             net.core.somaxconn. Risk: none for others.",
        ],
    },
    examine: full,
    explains: effects::none,
    proved_by: effects::none,
    follows: &[],
};

/// Requests that must have been turned away, and the time that they must span: a burst is none of it.
const OVERFLOWS: u64 = 3;
const LASTING: u64 = THREE_READINGS;

/// What the counter counts: a SYN that finds the queue full (`tcp_conn_request`), and the third segment of a handshake that does
/// (`tcp_v4_syn_recv_sock`).
const COUNTED: &str = "SYNs and last ACKs of handshakes";

/// Listeners that had no room when sockets were last listed, where requests were turned away before and after.
fn listeners(model: &Model) -> Vec<(&FlowKey, &Wait, Spell)> {
    let all = model.waiting().iter().filter(|(_, wait)| wait.is_full());
    all.filter_map(|(flow, wait)| {
        let counted = model.counters().netstat(flow.netns, LISTEN_OVERFLOWS)?;
        let spell = counted.recent(model.now())?;
        (spell.lasts(OVERFLOWS, LASTING) && spell.last >= wait.since).then_some((flow, wait, spell))
    })
    .collect()
}

fn full(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let listeners = listeners(model);
    let (first, ..) = *listeners.first()?;
    let since = listeners.iter().map(|(.., spell)| spell.since).min()?;
    let last = listeners.iter().map(|(.., spell)| spell.last).max()?;
    let namespaces: BTreeSet<u32> = listeners.iter().map(|(flow, ..)| flow.netns).collect();
    let ports: BTreeSet<Port> = listeners.iter().map(|(flow, ..)| Port::of(flow)).collect();
    let named: Vec<String> = listeners
        .iter()
        .map(|(flow, wait, _)| {
            let of = wait
                .owner
                .as_deref()
                .map_or_else(String::new, |owner| format!(" of {}", words::owner(owner)));
            let room = wait
                .limit
                .map_or_else(String::new, |limit| format!(" with room for {limit}"));
            format!(
                "tcp {}{of}, where {} to be accepted{room}",
                flow.local_port,
                match wait.waiting {
                    1 => "1 connection waited".to_owned(),
                    more => format!("{more} connections waited"),
                }
            )
        })
        .collect();
    // A namespace has one counter for all its listeners.
    let spell = |netns: u32| {
        let of_it = listeners.iter().find(|(flow, ..)| flow.netns == netns);
        of_it.map(|(.., spell)| *spell)
    };
    let turned_away = |netns: u32| spell(netns).map_or(0, |spell| spell.packets);
    let begun = |netns: u32| spell(netns).map_or(since, |spell| spell.since);
    let all = namespaces
        .iter()
        .map(|netns| turned_away(*netns))
        .fold(0, u64::saturating_add);
    let stopped = ports.iter().find_map(|port| held(model, *port));
    let (how, goes_on) = stopped.map_or_else(Default::default, |holds| held_text(Protocol::Tcp, holds));
    let evidence = listeners
        .iter()
        .take(3)
        .map(|(flow, wait, _)| {
            let limit = wait
                .limit
                .map_or_else(String::new, |limit| format!(", room for {limit}"));
            evidence::state(
                format!("listener tcp {}", flow.local_port),
                format!("{} waiting{limit}", count(wait.waiting.into(), "connection")),
            )
        })
        .chain(namespaces.iter().map(|netns| {
            let grown = turned_away(*netns);
            let text = format!(
                "{LISTEN_OVERFLOWS} has grown by {grown} since {}: {COUNTED} that found an accept queue full",
                moment(model, begun(*netns))
            );
            evidence::counter(LISTEN_OVERFLOWS, grown, text)
        }))
        .collect();
    let mut latest = Latest::default();
    let flows = view.flows(|key, flow| {
        let port = Port::of(key);
        flow.last_arrived >= When::at(since)
            && key.remote_port != 0
            && latest.of(port, || ports.contains(&port))
    });
    let suffering = Suffering::of(flows.map(Sufferer::in_turn(model)));
    let owners = listeners.iter().filter_map(|(_, wait, _)| wait.owner.as_deref());
    let units: Vec<String> = owners.clone().map(|owner| owner.unit.clone()).collect();
    let mut check = vec![
        command(
            model,
            first.netns,
            &format!("ss -lntp sport = :{}", first.local_port),
        ),
        command(
            model,
            first.netns,
            "nstat -az TcpExtListenOverflows TcpExtListenDrops",
        ),
    ];
    if let Some(owner) = owners.clone().find(|owner| owner.pid != 0) {
        check.push(format!("ps -o pid,stat,wchan:32,cmd -p {}", owner.pid));
    }
    let mut remedy = vec![
        "See what the process waits for. A longer queue helps against bursts only: the backlog that the program asks for, and \
         net.core.somaxconn. Risk: none for others."
            .to_owned(),
    ];
    if !goes_on.is_empty() {
        remedy.insert(0, goes_on);
    }
    Some(Finding {
        confidence: if stopped.is_some_and(|holds| may_be_meant(Protocol::Tcp, holds)) {
            Confidence::Weak
        } else {
            Confidence::Strong
        },
        explanation: format!(
            "{} {}, {} full when sockets were last listed.{how} Since {} the kernel dropped {} to connect for want of room in an accept queue ({COUNTED}; what is sent again counts again).",
            if named.len() == 1 {
                "The accept queue of"
            } else {
                "The accept queues of"
            },
            list(&named),
            if named.len() == 1 { "was" } else { "were" },
            moment(model, since),
            count(all, "request"),
        ),
        since,
        last,
        evidence,
        units: suffering.units(units),
        namespaces,
        devices: BTreeSet::new(),
        flows: suffering.flows,
        standing: None,
        prevent: Vec::new(),
        check,
        remedy,
    })
}
