//! The sentences that all faces say.

use std::borrow::Cow;

use super::episodes;
use super::format::{clean, count, moment, plural, rate, seconds, seconds_between, time_of_day};
use super::view::Showing;
use crate::event;
use crate::report::{
    Capability, CapabilityState, Cause, Confidence, Destination, Filtered, Flow, InvariantState, Later,
    Ledger, Losses, Relation, Report, Verdict, Where,
};

/// The capability of watching all network namespaces.
const ALL_NAMESPACES: &str = "namespaces";

/// The one word, or two, that a person needs at first sight.
#[must_use]
pub fn place(place: Where) -> &'static str {
    match place {
        Where::Healthy => "HEALTHY",
        Where::DataPath => "DATA PATH",
        Where::GuestKernel => "GUEST KERNEL",
        Where::Process => "PROCESS",
        Where::Unknown => "UNKNOWN",
    }
}

/// What the word of [`place`] means in this report.
#[must_use]
pub fn meaning(report: &Report) -> Cow<'static, str> {
    let meaning = match report.place {
        Where::Healthy => return episodes::seen(report).map_or("no fault found".into(), Cow::from),
        Where::DataPath => on_the_path(leading(report)),
        Where::GuestKernel => "this node itself keeps packets from where they are for",
        Where::Process => "packets come as far as the process, which does not take them or is gone",
        Where::Unknown if report.namespaces_watched == 0 => {
            "the network namespace that was watched has ended: nothing of it is seen any more"
        }
        Where::Unknown => "not enough was seen to tell",
    };
    meaning.into()
}

/// What is wrong with the data path, by the verdict that leads.
fn on_the_path(leading: Option<&Verdict>) -> &'static str {
    match leading.map(|verdict| verdict.id.as_str()) {
        Some("D01") => "what this node sends is not answered, and nothing here drops the answers",
        Some("D02") => "the link to the network is dead",
        Some("R20") => "what comes from the network is not whole",
        Some("R23") => "name servers do not answer this node, and nothing here drops the answers",
        _ => "the fault is on the way between this node and its peers",
    }
}

/// How sure, in a word.
#[must_use]
pub fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Weak => "weak",
        Confidence::Strong => "strong",
        Confidence::Conclusive => "conclusive",
    }
}

/// What the word of [`confidence`] means.
#[must_use]
pub fn confidence_meaning(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Weak => "a sign only, it needs a second one",
        Confidence::Strong => "very likely",
        Confidence::Conclusive => "the signature alone proves it",
    }
}

/// The verdict line: the first thing that is read, and on a tiny screen the only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headline {
    /// See [`place`].
    pub place: &'static str,
    /// The verdict's id and title, or what a healthy node rests on.
    pub text: String,
    /// `since 06:14:07 (12 s), conclusive`; of a healthy node what does not hold all the same, and that it has recovered, where
    /// something was broken; else empty.
    pub when: String,
}

/// The verdict line of a report.
#[must_use]
pub fn headline(report: &Report) -> Headline {
    let place = place(report.place);
    match leading(report) {
        Some(verdict) => Headline {
            place,
            text: format!("{}  {}", clean(&verdict.id), clean(&verdict.title)),
            when: format!("{}, {}", since(verdict, report), confidence(verdict.confidence)),
        },
        None if report.place == Where::Healthy => Headline {
            place,
            text: balance(report),
            when: [not_held(report), episodes::recovered(report)]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("; "),
        },
        None => Headline {
            place,
            text: meaning(report).into_owned(),
            when: episodes::settling(report).unwrap_or_default(),
        },
    }
}

/// That something does not hold which must, on a node that is healthy by its packets: `but 1 of the 7 things that must hold does
/// not: no rule of IPv4 looks table local up`. `None` where all holds, and where the verdict is another.
#[must_use]
pub fn not_held(report: &Report) -> Option<String> {
    let node = &report.node;
    let first = node
        .invariants
        .iter()
        .find(|one| one.state == InvariantState::Broken)
        .filter(|_| report.place == Where::Healthy)?;
    let (does, others) = match node.invariants_broken {
        0 | 1 => ("does", String::new()),
        more => ("do", format!(", and {} more", count(more - 1))),
    };
    Some(format!(
        "but {} of the {} things that must hold {does} not: {}{others}",
        count(node.invariants_broken),
        count(node.invariants_total),
        clean(&first.text)
    ))
}

/// The verdict that explains [`Report::place`]: a weak sign explains nothing, neither that a node is healthy nor that this cannot
/// be told.
#[must_use]
pub fn leading(report: &Report) -> Option<&Verdict> {
    report.verdicts.first().filter(|verdict| verdict.decides())
}

/// The verdicts that are not [`leading`].
#[must_use]
pub fn others(report: &Report) -> &[Verdict] {
    let skip = usize::from(leading(report).is_some());
    report.verdicts.get(skip..).unwrap_or_default()
}

/// `also: R12 Nothing listens (weak); follows from R31: D01 What this node sends is not answered (strong)`: first what stands
/// by itself, then what hangs under another verdict. Empty where there is none.
#[must_use]
pub fn also(report: &Report) -> String {
    let others = others(report);
    let of = |root: Option<&str>| -> Vec<String> {
        let told = others.iter().filter(|verdict| verdict.under.as_deref() == root);
        told.map(|verdict| {
            format!(
                "{} {} ({})",
                clean(&verdict.id),
                clean(&verdict.title),
                confidence(verdict.confidence)
            )
        })
        .collect()
    };
    let mut roots: Vec<&str> = Vec::new();
    for root in others.iter().filter_map(|verdict| verdict.under.as_deref()) {
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    let mut parts = Vec::new();
    let alone = of(None);
    if !alone.is_empty() {
        parts.push(format!("also: {}", alone.join("; ")));
    }
    for root in roots {
        let those = of(Some(root));
        let follow = if those.len() == 1 { "follows" } else { "follow" };
        parts.push(format!("{follow} from {}: {}", clean(root), those.join("; ")));
    }
    parts.join("; ")
}

/// What is known of a cause, as a heading.
#[must_use]
pub fn relation(relation: Relation) -> &'static str {
    match relation {
        Relation::Explains => "Explained by",
        Relation::PredatesStart => "Cause: from before the start",
        Relation::Unknown => "Cause: not seen",
    }
}

/// What is known of the cause of a verdict, and of its end, each in a line.
#[must_use]
pub fn cause(verdict: &Verdict, report: &Report) -> Vec<String> {
    let cause = &verdict.cause;
    let mut lines = vec![format!(
        "{}: {}",
        relation(cause.relation).to_lowercase(),
        clean(&cause.text)
    )];
    lines.extend(cause.chain.iter().map(|step| clean(&step.text).into_owned()));
    let at = |change: &Later| {
        let at = moment(&change.at, &report.window.end);
        format!("{} at {at} UTC", clean(&change.text))
    };
    lines.extend(
        verdict
            .also
            .iter()
            .map(|also| format!("can do the same: {}", at(also))),
    );
    let more = verdict.also_total.saturating_sub(verdict.also.len() as u64);
    if more > 0 {
        lines.push(format!("and {more} more that can do the same"));
    }
    lines.extend(
        verdict
            .mended
            .as_ref()
            .map(|mended| format!("mended by: {}", at(mended))),
    );
    lines
}

/// A verdict without new evidence for so many seconds may be over.
const OVER: f64 = 5.0;

/// `since 06:14:07 UTC (4 min 12 s)`; where it was mended, when; where it may be over, `from 06:14:07 to 06:18:19 UTC, nothing of it for 5 s`.
#[must_use]
pub fn since(verdict: &Verdict, report: &Report) -> String {
    let ago = seconds_between(&verdict.since, &report.window.end).map_or_else(String::new, |ago| {
        format!(" ({}{})", at_least(&verdict.cause), seconds(ago.floor()))
    });
    let over = seconds_between(&verdict.last, &report.window.end).filter(|over| *over >= OVER);
    match over {
        _ if let Some(mended) = &verdict.mended => format!(
            "from {} to {} UTC, mended at {} UTC",
            moment(&verdict.since, &report.window.end),
            moment(&verdict.last, &report.window.end),
            moment(&mended.at, &report.window.end),
        ),
        None => format!("since {} UTC{ago}", moment(&verdict.since, &report.window.end)),
        Some(over) => format!(
            "from {} to {} UTC, nothing of it for {}",
            moment(&verdict.since, &report.window.end),
            moment(&verdict.last, &report.window.end),
            seconds(over.floor())
        ),
    }
}

/// `at least `, of a length that may have begun before the tracer did; else nothing.
pub(crate) fn at_least(cause: &Cause) -> &'static str {
    match cause.relation {
        Relation::PredatesStart => "at least ",
        Relation::Explains | Relation::Unknown => "",
    }
}

/// `arrived 1,234/s, all accounted for`
#[must_use]
pub fn balance(report: &Report) -> String {
    let ledger = &report.ledger;
    if ledger.arrived == 0 {
        return "nothing has arrived yet".to_owned();
    }
    format!("arrived {}, {}", rate(report.rates.arrived), residual(ledger))
}

/// `all accounted for`, or how many packets are not.
fn residual(ledger: &Ledger) -> String {
    match ledger.unexplained {
        0 => "all accounted for".to_owned(),
        rest if rest > 0 => {
            format!(
                "{} of {} packets unexplained ({})",
                count(rest.unsigned_abs()),
                count(ledger.arrived),
                share(rest.unsigned_abs(), ledger.arrived)
            )
        }
        // Entered twice, or arrived before the start.
        more => format!(
            "{} more accounted for than arrived",
            plural(more.unsigned_abs(), "packet")
        ),
    }
}

/// `0.5 %`; a little is never shown as nothing.
fn share(part: u64, whole: u64) -> String {
    let percent = part as f64 / whole.max(1) as f64 * 100.0;
    match percent {
        little if little < 0.05 => "<0.1 %".to_owned(),
        some if some < 9.95 => format!("{some:.1} %"),
        much => format!("{much:.0} %"),
    }
}

/// What the headline rests on, in a sentence or two.
#[must_use]
pub fn explanation(report: &Report) -> String {
    if let Some(verdict) = leading(report) {
        return clean(&verdict.explanation).into_owned();
    }
    let ledger = &report.ledger;
    let length = seconds(report.window.seconds);
    match report.place {
        Where::Healthy if starved(report) == 0 => format!(
            "Of {} that arrived in {length}, {} reached a socket; no flow that somebody waits for starves.",
            plural(ledger.arrived, "packet"),
            count(ledger.delivered),
        ),
        Where::Healthy => format!(
            "Of {} that arrived in {length}, {} reached a socket; {}, which is not enough to call it a fault.",
            plural(ledger.arrived, "packet"),
            count(ledger.delivered),
            starving(report),
        ),
        Where::Unknown if report.settling && report.episodes.first().is_some_and(|last| !last.is_mended()) => {
            "Nothing of what was broken is seen any more, and what explains it still stands: whether it is over shows in some seconds."
                .to_owned()
        }
        Where::Unknown if report.settling => format!(
            "What was broken was mended just now, and {}: whether that is what is left of it, or another fault, shows in some \
             seconds.",
            unsettled(report)
        ),
        _ if ledger.arrived == 0 => format!("Nothing has arrived in {length}."),
        _ => format!(
            "{} arrived in {length}; {}. What was seen is not enough to name a fault, nor to call the node healthy.",
            plural(ledger.arrived, "packet"),
            residual(ledger),
        ),
    }
}

/// Flows that are starved, with those that a filter hides.
#[must_use]
pub fn starved(report: &Report) -> u64 {
    report.starved_total + report.filter.as_ref().map_or(0, |filter| filter.starved)
}

/// What keeps it open whether all is well after a mend.
#[must_use]
pub(super) fn unsettled(report: &Report) -> String {
    if starved(report) > 0 {
        starving(report)
    } else {
        "the default route that went with it is not back".to_owned()
    }
}

/// `3 flows starve`
#[must_use]
pub(super) fn starving(report: &Report) -> String {
    match starved(report) {
        1 => "1 flow starves".to_owned(),
        many => format!("{} starve", plural(many, "flow")),
    }
}

/// The parts that do not work or work in part, `name: why`; empty where all is seen.
#[must_use]
pub fn not_seen<'a>(capabilities: impl IntoIterator<Item = &'a Capability>) -> Vec<String> {
    capabilities
        .into_iter()
        .filter_map(|capability| {
            let state = match capability.state {
                CapabilityState::Available => return None,
                CapabilityState::Partial => " (in part)",
                CapabilityState::Unavailable => "",
            };
            Some(format!(
                "{}{state}: {}",
                clean(&capability.name),
                clean(&capability.why)
            ))
        })
        .collect()
}

/// What is incomplete in what is told, whether it is recorded or not, the worst first; empty where nothing is.
#[must_use]
pub fn losses(losses: &Losses) -> Vec<String> {
    let mut said = Vec::new();
    let mut say = |number: u64, text: &dyn Fn(String) -> String| {
        if number > 0 {
            said.push(text(count(number)));
        }
    };
    say(losses.map_full, &|n| {
        format!("the ledger lacks {n} packets (books full)")
    });
    say(losses.runs_skipped, &|n| {
        format!("the ledger lacks what {n} runs of a program would have counted (left out by the kernel)")
    });
    say(losses.in_other, &|n| {
        format!("{n} packets are counted as other, without reason and place (books full)")
    });
    say(losses.flows_full, &|n| {
        format!("{n} packets belong to no flow (flow table full)")
    });
    say(losses.ring_full, &|n| {
        format!("{n} records lost (ring buffer full)")
    });
    say(losses.places_full, &|n| {
        let examples = if n == "1" { "example" } else { "examples" };
        format!("{n} {examples} without a budget (place table full)")
    });
    say(losses.neighbours_full, &|n| {
        format!("{n} messages of neighbours not counted (neighbour table full)")
    });
    say(losses.unresolved_full, &|n| {
        format!("{n} packets that wait for a neighbour are not seen to (table full)")
    });
    say(losses.counters_full, &|n| {
        format!("{n} changes of the kernel's counters not kept (too many counters have grown)")
    });
    say(losses.queues_full, &|n| {
        format!("{n} sights of data that waits in sockets not kept (too many sockets)")
    });
    say(losses.things_full, &|n| {
        format!("{n} sights of units, timers or settings not kept (too many)")
    });
    say(losses.examples_not_sent, &|n| {
        let drops = if n == "1" { "drop" } else { "drops" };
        format!("{n} {drops} not shown one by one (over budget; all are counted)")
    });
    said
}

/// Nothing was lost but examples beyond their budget, which is as designed.
#[must_use]
pub fn nothing_lost(losses: &Losses) -> bool {
    let examples = losses.examples_not_sent;
    *losses
        == Losses {
            examples_not_sent: examples,
            ..Losses::default()
        }
}

/// What the reader's filter hides; `None` where there is none.
#[must_use]
pub fn filter(report: &Report) -> Option<String> {
    let Filtered {
        text,
        starved,
        drops,
        queues,
        verdict_flows,
        shown,
        no_such_unit,
    } = report.filter.as_ref()?;
    let hidden: Vec<String> = [
        (*starved, "starved flow", "starved flows"),
        (*drops, "drop", "drops"),
        (*queues, "queue", "queues"),
        (*verdict_flows, "flow of a verdict", "flows of verdicts"),
    ]
    .into_iter()
    .filter(|&(number, ..)| number > 0)
    .map(|(number, one, many)| format!("{} {}", count(number), if number == 1 { one } else { many }))
    .collect();
    let hides = if hidden.is_empty() {
        "nothing".to_owned()
    } else {
        hidden.join(", ")
    };
    let nothing = match (no_such_unit, shown) {
        (Some(near), _) => no_such_unit_text(near),
        (None, 0) => "no starved flow, flow of a verdict or queue is of it; ".to_owned(),
        (None, _) => String::new(),
    };
    Some(format!(
        "filter {}: {nothing}hides {hides}; the ledger counts everything",
        clean(text)
    ))
}

/// That systemd has not loaded the unit that is asked for, and what to ask for instead.
fn no_such_unit_text(near: &[String]) -> String {
    let near: Vec<Cow<'_, str>> = near.iter().map(|name| clean(name)).collect();
    match near.as_slice() {
        [] => "systemd has loaded no such unit (`systemctl list-units --all` names those that it has); "
            .to_owned(),
        [one] => format!("systemd has loaded no such unit ({one} is like it); "),
        many => format!(
            "systemd has loaded no such unit ({} are like it); ",
            many.join(", ")
        ),
    }
}

/// `node-7, uplink eth0, kernel 6.1.0-18-cloud-amd64`
#[must_use]
pub fn node(report: &Report) -> String {
    let uplinks = match report.uplinks.as_slice() {
        [] => "no uplink".to_owned(),
        [one] => format!("uplink {one}"),
        many => format!("uplinks {}", many.join(" ")),
    };
    clean(&format!(
        "{}, {uplinks}, kernel {}",
        report.kernel.host, report.kernel.release
    ))
    .into_owned()
}

/// How many network namespaces are watched; of one, how to see others, where that can still be asked for.
#[must_use]
pub fn namespaces(report: &Report, showing: Showing) -> String {
    match report.namespaces_watched {
        1 if may_see_others(report, showing) => {
            "1 network namespace; with --netns all also flows of others, as of pods".to_owned()
        }
        1 => "1 network namespace".to_owned(),
        many => format!("{} network namespaces", count(many)),
    }
}

/// Whether other network namespaces can be watched as well. How well all are seen is told only where that was asked for, and a recording
/// stays as it is.
pub(super) fn may_see_others(report: &Report, showing: Showing) -> bool {
    let is_asked = |known: &Capability| known.name == ALL_NAMESPACES;
    showing == Showing::Live && !report.capabilities.iter().any(is_asked)
}

/// `06:14:03 to 06:18:19 UTC (4 min 16 s)`
#[must_use]
pub fn window(report: &Report) -> String {
    let window = &report.window;
    format!(
        "{} to {} UTC ({})",
        moment(&window.start, &window.end),
        time_of_day(&window.end),
        seconds(window.seconds.round())
    )
}

/// `tcp 10.10.0.2:40000 -> 192.0.2.10:443`; the arrow starts at the end that opened the flow.
#[must_use]
pub fn flow(flow: &Flow) -> String {
    let arrow = if flow.reply { "->" } else { "<-" };
    format!("{} {} {arrow} {}", flow.protocol, flow.local, flow.remote)
}

/// How far the flow has come on this node: the state of its socket; of one that has none, where its packets end.
#[must_use]
pub fn stage(flow: &Flow) -> &str {
    match flow.destination {
        Destination::Socket => &flow.state,
        Destination::Listener => "at a listener",
        Destination::Transit => "in transit",
    }
}

/// `kubelet[1234]`; who it is where no more than [`unit`] is known, that says.
#[must_use]
pub fn owner(flow: &Flow) -> String {
    // What is passed on has no process here.
    if flow.destination == Destination::Transit && flow.command.is_empty() && flow.pid == 0 {
        return String::new();
    }
    process(&flow.command, flow.pid, unit(flow))
}

/// `nginx[77]`, or what is known of a process.
#[must_use]
pub fn process(command: &str, pid: u32, unit: &str) -> String {
    match (command, pid) {
        ("", 0) if unit.is_empty() => "owner unknown".to_owned(),
        ("", 0) => "a process of".to_owned(),
        (command, pid) => event::process(command, pid),
    }
}

/// The unit of a flow's owner, else the last parts of its cgroup, else nothing.
#[must_use]
pub fn unit(flow: &Flow) -> &str {
    if flow.unit.is_empty() {
        flow.cgroup.rsplit('/').next().unwrap_or_default()
    } else {
        &flow.unit
    }
}

#[cfg(test)]
mod tests;
