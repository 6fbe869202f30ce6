//! What this node sends is kept from leaving by its own firewall, or by a program of a cgroup.

use std::collections::{BTreeMap, BTreeSet};

use super::lost::kinds;
use super::share::Share;
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, distinct, list, managed_unit, moment};
use super::{About, Finding, Rule, effects, evidence};
use crate::event::{EntryKey, FlowKey, Origin, Owner, Protocol, SocketState};
use crate::model::Model;
use crate::model::books::HeldBack;
use crate::model::clock::{SECOND, When};
use crate::model::endpoints::Endpoint;
use crate::model::ends::{self, Keeper};
use crate::model::flows::Flow;
use crate::model::growth::Spell;
use crate::model::hooks::Course;
use crate::numbers::thousands;
use crate::report::{Confidence, Where};

/// K02: a firewall drops what open connections send.
pub(super) const FILTERED: Rule = Rule {
    id: "K02",
    slug: "output-filtered",
    title: "A firewall drops what this node sends",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "What this node sends is dropped for NETFILTER_DROP before it leaves: of connections that are open, or of flows \
                    in which packets had come and left before, and of which nothing has left since; or 3 packets or more in 2 s or more \
                    that were to open connections to whom this node had been answered by, and none was opened since. A weak sign where nothing at all that \
                    this node asks of others has left since the start.",
        meaning: "A rule or the policy of a chain at the hook output or postrouting drops it. What arrives reaches its socket, and \
                  no answer leaves. What never got through while other requests did is told nowhere: it may be forbidden on \
                  purpose.",
        check: &[
            "nft -a list ruleset",
            "iptables-legacy-save -c; ip6tables-legacy-save -c",
            "tracer node  # lists the rules that can drop, with what they counted",
        ],
        mend: &[
            "Change the rule that the checks show. Risk: it may be there on purpose; ask whose it is, and do not flush what \
             others made.",
        ],
    },
    examine: |view| {
        let whole = whole(view.model, Keeper::Firewall);
        whole
            .or_else(|| not_opened(view.model))
            .or_else(|| nothing_leaves(view.model))
    },
    explains: effects::firewall,
    proved_by: effects::none,
    follows: &[],
};

/// K07: a firewall drops a part of what open connections send.
pub(super) const PARTLY: Rule = Rule {
    id: "K07",
    slug: "output-partly-lost",
    title: "A firewall drops a part of what this node sends on connections that go on",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Of what this node sends of flows in which packets come and go, at least one packet in 20 and 6 packets in 2 s or \
                    more are dropped for NETFILTER_DROP before they leave. A weak sign where it is one in 100 and 5 packets, or where \
                    they are of answers to others over UDP only. Of more drops than examples show, the others count as if they were \
                    of the same flows.",
        meaning: "A rule at the hook output or postrouting takes some packets away, by chance, by a limit of their rate, or since it \
                  knows some connections only. Nobody starves, but each loss is a wait: TCP sends again after 200 ms or more, and \
                  goes slower.",
        check: &[
            "nft -a list ruleset  # numgen, limit, ct state invalid",
            "iptables-legacy-save -c; ip6tables-legacy-save -c",
            "nstat -az TcpRetransSegs",
        ],
        mend: &[
            "Change the rule that the checks show. Risk: it may be there on purpose, to hold somebody back; ask whose it is.",
        ],
    },
    examine: |view| partly(view.model),
    explains: effects::firewall,
    proved_by: effects::none,
    follows: &["K02"],
};

/// Packets of a flow that must have been shown as dropped, and the time that they must span, where nothing leaves.
const PACKETS: u64 = 2;
const LASTING: u64 = SECOND;

/// A flow that worked, and of which something was kept from leaving.
struct Kept<'a> {
    key: &'a FlowKey,
    /// `None` where nothing of it has come or left since the start.
    flow: Option<&'a Flow>,
    held: HeldBack,
}

impl Kept<'_> {
    /// Nothing leaves any more.
    fn is_whole(&self) -> bool {
        let last_sent = self.flow.map_or(When::NEVER, |flow| flow.last_sent);
        self.held.is_all(last_sent, PACKETS, LASTING)
    }

    /// Packets that left since some did not.
    fn left(&self) -> u64 {
        let sent = self.flow.map_or(0, |flow| flow.sent);
        sent.saturating_sub(self.held.left_before)
    }

    /// Some did not leave, and later some again; more did.
    fn is_partly(&self) -> bool {
        let dropped = self.held.dropped;
        dropped.last > dropped.since && self.left() > dropped.packets
    }
}

/// Flows that worked, in the order of their keys: those of which nothing leaves any more, and those of which a part does. Where one
/// packet in ten is dropped, now and then two in a row are, which may be all that a flow sends for a while: that is none of the
/// first.
fn kept(model: &Model, by: Keeper) -> (Vec<Kept<'_>>, Vec<Kept<'_>>) {
    let all = model.books().kept_in(by, model.now());
    let worked = all.filter_map(|(key, held)| {
        let flow = model.flows().get(key);
        used_to_work(model, key, flow).then_some(Kept { key, flow, held })
    });
    let (mut whole, mut partly): (Vec<_>, Vec<_>) = worked.partition(Kept::is_whole);
    partly.retain(Kept::is_partly);
    if let Some(share) = share(model, by, &partly) {
        let is_chance = |one: &Kept<'_>| {
            let in_a_row = u32::try_from(one.held.in_a_row.packets).unwrap_or(u32::MAX);
            share.makes_likely(in_a_row)
        };
        whole.retain(|one| !is_chance(one));
    }
    (whole, partly)
}

/// How much these have lost; `None` where they are none.
fn share(model: &Model, by: Keeper, kept: &[Kept<'_>]) -> Option<Share> {
    let dropped = |one: &Kept<'_>| {
        let shown = one.held.dropped;
        Spell {
            packets: model
                .books()
                .withheld(by, one.key.netns, model.now(), shown.packets),
            ..shown
        }
    };
    let lost = kept.iter().map(dropped).reduce(Spell::and)?;
    let is_own = |one: &&Kept<'_>| {
        one.flow.is_some_and(|flow| model.is_reply(one.key, flow))
            || model.is_connected(one.key, model.plight_of(one.key))
    };
    let own = kept.iter().filter(is_own);
    Some(Share {
        lost,
        of: lost.packets.saturating_add(left(kept)),
        of_own: own.fold(0, |sum: u64, one| sum.saturating_add(dropped(one).packets)),
    })
}

/// Packets of these that left since some did not. What left within half a second of either may be told later.
fn left(kept: &[Kept<'_>]) -> u64 {
    kept.iter()
        .fold(0, |sum: u64, one| sum.saturating_add(one.left()))
}

/// It is an open connection, or something has come back of it.
fn used_to_work(model: &Model, key: &FlowKey, flow: Option<&Flow>) -> bool {
    let is_open = |state| matches!(state, SocketState::Established | SocketState::CloseWait);
    match (model.sockets().connection(key), flow) {
        (Some(found), Some(_)) => is_open(found.state),
        // A connection of TCP was opened by packets of both ends, be it before the start; to connect a socket of UDP takes none.
        (Some(found), None) => key.protocol == Protocol::Tcp && is_open(found.state),
        (None, flow) => flow.is_some_and(|flow| flow.arrived > 0 && flow.sent > 0),
    }
}

/// What is found of flows of which nothing leaves any more since this one keeps it in.
pub(super) fn whole(model: &Model, by: Keeper) -> Option<Finding> {
    let (kept, _) = kept(model, by);
    let spell = kept.iter().map(|one| one.held.in_a_row).reduce(Spell::and)?;
    let namespaces: BTreeSet<u32> = kept.iter().map(|one| one.key.netns).collect();
    let packets = lines(model, by, &namespaces).fold(0, |sum: u64, (_, packets)| sum.saturating_add(packets));
    let (does, has) = match by {
        Keeper::Firewall => ("this node's own firewall drops it", "it has dropped"),
        Keeper::Cgroup => (
            "a BPF program of the senders' cgroup, or of one above that, drops it",
            "such programs have dropped",
        ),
    };
    let explanation = format!(
        "Since {} nothing leaves of {} on which packets came and went before: {does}. Of what this node was sending {has} {} since \
         the start of tracer, at least {} of them of {}.",
        moment(model, spell.since),
        count(kept.len() as u64, "flow"),
        count(packets, "packet"),
        spell.packets,
        if kept.len() == 1 {
            "this flow"
        } else {
            "these flows"
        },
    );
    Some(finding(
        model,
        by,
        &kept,
        spell,
        (Confidence::Strong, explanation),
    ))
}

/// Requests that must have been shown as dropped, and the time that they must span, where none was ever seen to leave.
const REQUESTS: u64 = 6;
const REQUESTS_LASTING: u64 = 3 * SECOND;

/// What this node asks of others, of which nothing has left.
fn requests(model: &Model) -> impl Iterator<Item = Kept<'_>> {
    let asks = |key: &FlowKey, flow: Option<&Flow>| match key.protocol {
        Protocol::Tcp => model.sockets().connection(key).is_some_and(|connection| {
            connection.state == SocketState::SynSent || connection.opened == Some(Origin::Local)
        }),
        Protocol::Udp => flow.is_none_or(|flow| flow.arrived == 0),
        _ => false,
    };
    let has_left = |flow: Option<&Flow>| flow.is_some_and(|flow| flow.sent > 0);
    let kept = model.books().kept_in(Keeper::Firewall, model.now());
    let kept = kept.map(|(key, held)| Kept {
        key,
        flow: model.flows().get(key),
        held,
    });
    kept.filter(move |one| asks(one.key, one.flow) && !has_left(one.flow))
}

/// Packets that were to open connections to one remote end and must have been shown as dropped, and the time that they must span.
const OPENING: u64 = 3;
const OPENING_LASTING: u64 = 2 * SECOND;

/// What is found where connections that stand go on, and a firewall lets no new one be opened to whom this node has been answered by.
fn not_opened(model: &Model) -> Option<Finding> {
    let by = Keeper::Firewall;
    // Where connections that stand lose something too, it is a part of all.
    let mut all = model.books().kept_in(by, model.now());
    if all.any(|(key, _)| used_to_work(model, key, model.flows().get(key))) {
        return None;
    }
    let mut ends: BTreeMap<Endpoint, (Spell, Vec<Kept<'_>>)> = BTreeMap::new();
    for one in requests(model).filter(|one| one.key.protocol == Protocol::Tcp) {
        let dropped = one.held.dropped;
        let (spell, kept) = ends
            .entry(Endpoint::of(one.key))
            .or_insert_with(|| (dropped, Vec::new()));
        if !kept.is_empty() {
            *spell = spell.and(dropped);
        }
        kept.push(one);
    }
    ends.retain(|_, (spell, _)| spell.lasts(OPENING, OPENING_LASTING));
    if ends.is_empty() {
        return None;
    }
    // All that was kept in without a pause, where it is longer than what of it is fresh.
    let rows: BTreeMap<Endpoint, Spell> = ends
        .iter()
        .filter_map(|(end, (spell, _))| {
            let row = model.books().unopened(by, *end, model.now())?;
            (row.since < spell.since).then_some((*end, row))
        })
        .collect();
    let (mut worked, mut works, mut worked_amid) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (key, flow) in model.flows().iter() {
        let end = Endpoint::of(key);
        let Some((spell, _)) = ends.get(&end) else {
            continue;
        };
        if flow.origin != Origin::Local || flow.arrived == 0 || flow.sent == 0 {
            continue;
        }
        // What stood goes on until it is closed; what was opened since shows that some can be.
        let connection = model.sockets().connection(key);
        let is_opened_after = |since: u64| {
            connection.is_none_or(|one| one.began_after(since)) && flow.last_arrived > When::at(since)
        };
        if is_opened_after(spell.since) {
            works.insert(end);
        } else {
            worked.insert(end);
            if rows.get(&end).is_some_and(|row| is_opened_after(row.since)) {
                worked_amid.insert(end);
            }
        }
    }
    ends.retain(|end, _| worked.contains(end) && !works.contains(end));
    for (end, (spell, _)) in &mut ends {
        if let Some(row) = rows.get(end).filter(|_| !worked_amid.contains(end)) {
            *spell = *row;
        }
    }
    let peers = distinct(
        ends.keys()
            .map(|end| format!("{} port {}", end.address, end.port)),
    );
    let spell = ends.values().map(|(spell, _)| *spell).reduce(Spell::and)?;
    let kept: Vec<Kept<'_>> = ends.into_values().flat_map(|(_, kept)| kept).collect();
    let explanation = format!(
        "Since {} no connection to {} can be opened: this node's own firewall has dropped at least {} that were to open one, and \
         none was seen to be opened since. Before, there were answers from there.",
        moment(model, spell.since),
        list(&peers),
        count(spell.packets, "packet"),
    );
    Some(finding(
        model,
        by,
        &kept,
        spell,
        (Confidence::Strong, explanation),
    ))
}

/// What is found where a firewall drops all that this node asks of others. One that forbids some of it does so on purpose; where
/// nothing at all gets through it may have been so as well, but who asks does not know.
fn nothing_leaves(model: &Model) -> Option<Finding> {
    let by = Keeper::Firewall;
    let kept: Vec<Kept<'_>> = requests(model).collect();
    let spell = kept.iter().map(|one| one.held.dropped).reduce(Spell::and)?;
    if !spell.lasts(REQUESTS, REQUESTS_LASTING) {
        return None;
    }
    let namespaces: BTreeSet<u32> = kept.iter().map(|one| one.key.netns).collect();
    // Of some other request, or in answer to one.
    let is_other = |(key, flow): (&FlowKey, &Flow)| {
        namespaces.contains(&key.netns)
            && matches!(key.protocol, Protocol::Tcp | Protocol::Udp)
            && flow.sent > 0
    };
    if model.flows().iter().any(is_other) {
        return None;
    }
    let peers = distinct(kept.iter().map(|one| one.key.remote.to_string()));
    let explanation = format!(
        "Nothing that this node asks of others leaves: its own firewall has dropped at least {} to {}, and no packet of TCP or UDP was \
         seen to get through since the start of tracer. It may be forbidden on purpose.",
        count(spell.packets, "request"),
        list(&peers),
    );
    Some(finding(model, by, &kept, spell, (Confidence::Weak, explanation)))
}

fn partly(model: &Model) -> Option<Finding> {
    let by = Keeper::Firewall;
    let (_, kept) = kept(model, by);
    let share = share(model, by, &kept)?;
    let (spell, confidence) = (share.lost, share.confidence()?);
    let shown = kept
        .iter()
        .fold(0, |sum: u64, one| sum.saturating_add(one.held.dropped.packets));
    let how_sure = if spell.packets > shown {
        "about"
    } else {
        "at least"
    };
    let explanation = format!(
        "Of what this node sent from {} to {} on {} on which packets come and go, its own firewall dropped {how_sure} {}, and \
         about {} left. What is sent once more leaves later.",
        moment(model, spell.since),
        moment(model, spell.last),
        count(kept.len() as u64, "flow"),
        count(spell.packets, "packet"),
        thousands(left(&kept)),
    );
    let remedy = "Change the rule that the checks show. Risk: it may be there on purpose, to hold somebody back; ask whose it is.";
    Some(Finding {
        remedy: vec![remedy.to_owned()],
        ..finding(model, by, &kept, spell, (confidence, explanation))
    })
}

/// What this one kept from leaving in these namespaces, and how many packets.
fn lines<'a>(
    model: &'a Model,
    by: Keeper,
    namespaces: &'a BTreeSet<u32>,
) -> impl Iterator<Item = (&'a EntryKey, u64)> {
    let all = model.books().lines();
    let is_its = move |key: &EntryKey| ends::keeper(key) == Some(by) && namespaces.contains(&key.netns);
    all.filter(move |(key, line)| line.packets > 0 && is_its(key))
        .map(|(key, line)| (key, line.packets))
}

fn finding(
    model: &Model,
    by: Keeper,
    kept: &[Kept<'_>],
    spell: Spell,
    (confidence, explanation): (Confidence, String),
) -> Finding {
    let mut sufferer = Sufferer::in_turn(model);
    let flows = kept.iter().map(|one| match one.flow {
        Some(flow) => sufferer((one.key, flow, model.plight_of(one.key))),
        None => Sufferer {
            key: *one.key,
            since: When::NEVER,
            owner: model.owner(one.key),
        },
    });
    let flows: Vec<Sufferer<'_>> = flows.collect();
    let owners: Vec<&Owner> = flows.iter().filter_map(|flow| flow.owner).collect();
    let suffering = Suffering::of(flows);
    let namespaces = suffering.flows.namespaces();
    let (place, check, remedy) = match by {
        Keeper::Firewall => (
            match kinds::hooks_in(model, &namespaces, Course::Out, spell.since) {
                hooks if hooks.is_empty() => String::new(),
                hooks => format!(" {}", kinds::hooks_text(&hooks)),
            },
            ["nft -a list ruleset", "iptables-legacy-save -c"]
                .iter()
                .flat_map(|line| namespaces.first().map(|first| command(model, *first, line)))
                .collect(),
            vec![
                "Change the rule that the checks show. Risk: it may be there on purpose; ask whose it is, and do not flush what \
                 others made."
                    .to_owned(),
            ],
        ),
        Keeper::Cgroup => refusal(&owners),
    };
    // systemd attaches a program again that is only detached.
    let (remedy, prevent) = match by {
        Keeper::Firewall => (remedy, Vec::new()),
        Keeper::Cgroup => (Vec::new(), remedy),
    };
    let evidence = evidence::unsent(lines(model, by, &namespaces), ends::version);
    Finding {
        confidence,
        explanation: format!("{explanation}{place}{}", suffering.named()),
        since: spell.since,
        last: spell.last,
        evidence: evidence.into_iter().take(5).collect(),
        units: suffering.units([]),
        flows: suffering.flows,
        standing: None,
        prevent,
        devices: BTreeSet::new(),
        check,
        namespaces,
        remedy,
    }
}

/// Units that commands are told for.
const UNITS: usize = 3;

/// In which cgroups these are whose packets a program refuses, with a leading space; what shows the program, and what mends it.
fn refusal(owners: &[&Owner]) -> (String, Vec<String>, Vec<String>) {
    let cgroups = distinct(owners.iter().map(|owner| owner.cgroup.clone()));
    let place = match cgroups.len() {
        0 => String::new(),
        1 => format!(" The cgroup is {}.", list(&cgroups)),
        _ => format!(" The cgroups are {}.", list(&cgroups)),
    };
    let mut units = distinct(owners.iter().filter_map(|owner| managed_unit(owner)));
    units.truncate(UNITS);
    let shows =
        |unit: &String| format!("systemctl show -p IPAddressDeny,IPAddressAllow,IPEgressFilterPath {unit}");
    let allows = |unit: &String| {
        format!(
            "systemctl set-property --runtime {unit} IPAddressDeny=  # where the checks show that it denies the peer. Risk: it may be \
             refused on purpose; ask whose it is. Lasts until the next boot."
        )
    };
    let mut check: Vec<String> = units.iter().map(shows).collect();
    check.push("bpftool cgroup tree".to_owned());
    let mut remedy: Vec<String> = units.iter().map(allows).collect();
    if remedy.is_empty() {
        remedy.push(
            "See who attached the program that the checks show, and have the peer allowed there. Risk: it may be refused on purpose."
                .to_owned(),
        );
    }
    (place, check, remedy)
}
