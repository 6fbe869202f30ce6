//! Name servers that are asked and do not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::refusals::Refusals;
use super::sufferers::{Sufferer, Sufferers};
use super::suffering::Suffering;
use super::words::{command, count, distinct, list, moment, span};
use super::{About, Finding, Rule, View, effects, evidence, path};
use crate::event::{FlowKey, Thing, value};
use crate::model::Model;
use crate::model::clock::When;
use crate::model::endpoints::{Endpoint, NAMES, Silence};
use crate::model::ends;
use crate::model::queues::Port;
use crate::report::{Confidence, Where};

/// R23: questions for names get no answer, or nobody is left to ask.
pub(super) const UNANSWERED: Rule = Rule {
    id: "R23",
    slug: "names-unanswered",
    title: "Name servers do not answer this node",
    place: Some(Where::DataPath),
    about: About {
        signature: "Questions are asked at port 53 of name servers, three or more in 1.5 s, and nothing comes back from there, while no \
                    other peer is silent. A weak sign where another name server answers, or where the silent one never did and \
                    /etc/resolv.conf does not name it; and where that has no name server any more, which it had.",
        meaning: "Programs that connect by name hang or fail, although the network carries all else. The servers are out of reach or \
                  down, no server runs there and they refuse by ICMP, a firewall on the way drops what is for port 53, answers come \
                  back from another address than was asked, or /etc/resolv.conf names others than before: by a lease, by \
                  systemd-resolved, or by an upgrade.",
        check: &[
            "cat /etc/resolv.conf; resolvectl status",
            "getent ahostsv4 NAME  # asks as programs do; a name that should be known",
            "dig @SERVER . NS +time=2 +tries=1  # asks this one server, where dig is installed",
            "ip route get SERVER",
        ],
        mend: &[
            "resolvectl dns DEVICE SERVER  # one that answers, where systemd-resolved runs; else in /etc/resolv.conf. Risk: low; lasts \
             until the device is configured anew.",
            "Where the servers are right, it is for whoever runs them or the network. Risk: none.",
        ],
    },
    examine: unanswered,
    explains: effects::names,
    proved_by: effects::none,
    follows: &[
        "R01", "R03", "R04", "R05", "R06", "R22", "D02", "K02", "R34", "R36", "R37", "R40", "R42",
    ],
};

/// Name servers that are silent, and who asks them.
struct Case<'a> {
    silences: Vec<&'a (Endpoint, Silence)>,
    suffering: Suffering<'a>,
    /// When the last of them answered, where all did.
    ended: Option<u64>,
    /// Name servers of the same namespaces that answer meanwhile.
    others: Vec<String>,
    /// Who sent something to a port that a question had left by, and was not asked; and how many packets.
    strangers: BTreeMap<IpAddr, u64>,
    refusals: Refusals,
}

impl<'a> Case<'a> {
    /// `None` where name servers are not silent, or others are too: then it is the path that is.
    fn of(view: &View<'a>) -> Option<Self> {
        let model = view.model;
        let asking = view.asking();
        let all = model.silences().all();
        let is_other = |place: usize| all.get(place).is_some_and(|(endpoint, _)| endpoint.port != NAMES);
        if asking.iter().any(|(_, place)| is_other(*place)) {
            return None;
        }
        let silences = path::silences(model, asking.iter().map(|(_, place)| *place));
        let since = silences.iter().map(|(_, silence)| silence.since).min()?;
        let suffering = Suffering::of(asking.iter().map(|(plight, _)| Sufferer::from(*plight)));
        let ports: BTreeSet<Port> = suffering.flows.iter().map(Port::of).collect();
        let is_asked = |key: &FlowKey| {
            silences
                .iter()
                .any(|(server, _)| server.netns == key.netns && server.address == key.remote)
        };
        let is_near = |netns: u32| silences.iter().any(|(server, _)| server.netns == netns);
        let others = model.flows().iter().filter(|(key, flow)| {
            key.remote_port == NAMES
                && flow.last_arrived > When::at(since)
                && is_near(key.netns)
                && !is_asked(key)
                && flow.sent > 0
        });
        let others: BTreeSet<IpAddr> = others.map(|(key, _)| key.remote).collect();
        let mut strangers: BTreeMap<IpAddr, u64> = BTreeMap::new();
        for plight in view.befallen().dropped_by(ends::no_socket) {
            if ports.contains(&Port::of(&plight.key)) && !is_asked(&plight.key) {
                let known = strangers.entry(plight.key.remote).or_default();
                *known = known.saturating_add(plight.dropped.map_or(0, |spell| spell.packets));
            }
        }
        let ended = silences.iter().map(|(_, silence)| silence.until);
        Some(Self {
            ended: ended
                .collect::<Option<Vec<u64>>>()
                .and_then(|ends| ends.into_iter().max()),
            refusals: Refusals::of(model, &silences),
            silences,
            suffering,
            others: distinct(others.iter().map(ToString::to_string)),
            strangers,
        })
    }

    /// One of them used to answer, or is whom the node's own programs are told to ask. What a program asks by itself may be
    /// forbidden on purpose.
    fn should_answer(&self, model: &Model) -> bool {
        let file = model.settings().value(0, file()).unwrap_or_default();
        let is_named = |address: IpAddr| value::name_servers(file).any(|named| named == address);
        self.silences
            .iter()
            .any(|(server, silence)| silence.proven || is_named(server.address))
    }

    fn servers(&self) -> Vec<String> {
        distinct(self.silences.iter().map(|(server, _)| server.address.to_string()))
    }
}

fn unanswered(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    if !model.can(path::ARRIVALS) {
        return None;
    }
    let Some(case) = Case::of(view) else {
        return nobody_to_ask(model);
    };
    let since = case.silences.iter().map(|(_, silence)| silence.since).min()?;
    let until = case.ended.unwrap_or(model.now());
    let questions = case
        .silences
        .iter()
        .map(|(_, silence)| silence.requests)
        .fold(0, u64::saturating_add);
    let servers = case.servers();
    let for_so_long = span(until.saturating_sub(since));
    let lasts = match case.ended {
        None => format!("for {for_so_long} no answer has come from there"),
        Some(_) => format!("for {for_so_long} no answer came from there, until one did"),
    };
    let used_to = if case.silences.iter().all(|(_, silence)| silence.proven) {
        " Before, they were answered."
    } else {
        ""
    };
    let others = match list(&case.others) {
        none if none.is_empty() => " No other name server has answered meanwhile.".to_owned(),
        others => format!(" Another name server answers: {others}."),
    };
    let astray = match case.strangers.iter().next() {
        None => String::new(),
        Some((address, packets)) => format!(
            " {} came from {address} instead, which was not asked, and found no socket: something on the way may have changed the address.",
            count(*packets, "packet")
        ),
    };
    let refused = match case.refusals.told() {
        none if none.is_empty() => String::new(),
        some if case.refusals.are_of_all(questions) => format!(
            " But {some} came meanwhile: {}, or somebody on the way, refuses the questions, as where no server runs.",
            list(&servers)
        ),
        some => format!(" Meanwhile {some} came."),
    };
    let evidence = case
        .silences
        .iter()
        .take(5)
        .map(|(server, silence)| path::endpoint(model, *server, *silence))
        .chain(case.refusals.evidence(model))
        .chain(resolver(model))
        .collect();
    let namespaces: BTreeSet<u32> = case.silences.iter().map(|(server, _)| server.netns).collect();
    let mut check = vec!["cat /etc/resolv.conf".to_owned()];
    if let Some(netns) = namespaces.first() {
        let ask = "getent ahostsv4 NAME  # asks as programs do; a name that should be known";
        check.push(command(model, *netns, ask));
    }
    for (server, _) in case.silences.iter().take(2) {
        let address = server.address;
        check.push(command(
            model,
            server.netns,
            &format!("dig @{address} . NS +time=2 +tries=1  # where dig is installed"),
        ));
        let ip = super::words::ip(address);
        check.push(command(model, server.netns, &format!("{ip} route get {address}")));
    }
    Some(Finding {
        confidence: if case.others.is_empty() && case.should_answer(model) {
            Confidence::Strong
        } else {
            Confidence::Weak
        },
        explanation: format!(
            "This node asked {} at port {NAMES} of {}, and {lasts}.{used_to}{refused}{others}{astray}{}",
            count(questions, "question"),
            list(&servers),
            case.suffering.affected()
        ),
        since,
        last: until,
        evidence,
        units: case.suffering.units([]),
        flows: case.suffering.flows,
        devices: path::uplinks(model, &namespaces),
        namespaces,
        standing: None,
        prevent: Vec::new(),
        check,
        remedy: remedy(),
    })
}

/// What the node's resolver goes by.
const RESOLVER: &str = "/etc/resolv.conf";

fn file() -> Thing {
    Thing::File {
        path: RESOLVER.to_owned(),
    }
}

/// Whom the node's own programs ask.
fn resolver(model: &Model) -> Option<crate::report::Evidence> {
    let value = model.settings().value(0, file())?;
    Some(evidence::state(RESOLVER.to_owned(), value.to_owned()))
}

/// The file named servers and names none any more: what asks for names asks this node itself, which no packet shows.
fn nobody_to_ask(model: &Model) -> Option<Finding> {
    let has_servers = |value: &Option<String>| {
        value::name_servers(value.as_deref().unwrap_or_default())
            .next()
            .is_some()
    };
    let (.., lost) = model
        .settings()
        .differences()
        .find(|(netns, thing, difference)| {
            *netns == 0
                && **thing == file()
                && has_servers(&difference.before)
                && !has_servers(&difference.now)
        })?;
    let before = lost.before.as_deref().unwrap_or_default();
    let now = lost.now.as_deref().unwrap_or("not there");
    Some(Finding {
        confidence: Confidence::Weak,
        explanation: format!(
            "{RESOLVER} names no name server since {}. Before it had: {before}. What asks for names by it asks this node itself.",
            moment(model, lost.at)
        ),
        since: lost.at,
        last: model.now(),
        evidence: vec![evidence::state(RESOLVER.to_owned(), now.to_owned())],
        flows: Sufferers::default(),
        units: Vec::new(),
        namespaces: BTreeSet::new(),
        devices: BTreeSet::new(),
        standing: None,
        prevent: Vec::new(),
        check: vec![
            "ls -l /etc/resolv.conf".to_owned(),
            "resolvectl status".to_owned(),
        ],
        remedy: remedy(),
    })
}

fn remedy() -> Vec<String> {
    vec![
        "Name a server that answers: by `resolvectl dns` of the device where systemd-resolved runs, else in /etc/resolv.conf. \
         Risk: low; lasts until the device is configured anew."
            .to_owned(),
    ]
}
