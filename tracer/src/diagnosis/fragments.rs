//! Packets that arrive in pieces, and are never whole.

use std::collections::BTreeSet;

use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, distinct, list, moment};
use super::{About, Finding, Rule, View, effects, evidence};
use crate::event::CounterKey;
use crate::model::counters::is_of_fragments;
use crate::model::ends::{self, Sign};
use crate::model::growth::Spell;
use crate::model::plight::Plight;
use crate::numbers::thousands;
use crate::report::{Confidence, Where};
use crate::shell::quoted;

/// R20: the rest of packets in fragments does not come.
pub(super) const INCOMPLETE: Rule = Rule {
    id: "R20",
    slug: "fragments-missing",
    title: "Packets arrive in fragments, and some of each never come",
    place: Some(Where::DataPath),
    about: About {
        signature: "Fragments that arrived by an uplink are dropped for FRAG_REASM_TIMEOUT: the rest of their packets did not come \
                    in time. A weak sign, unless they are answers that a socket of this node waits for and of which nothing \
                    reaches it.",
        meaning: "A packet that is too large for some device on its way is cut in pieces, and some of these are lost: by a \
                  firewall that does not know where they belong, since only the first one has the ports, or at a device that \
                  takes smaller packets than it is said to, as below a tunnel. Small packets get through, large ones do not: \
                  names resolve until an answer is long. What waits is dropped after 30 s (ipfrag_time), so that it is told as \
                  much later. What an XDP program in a driver takes away looks the same.",
        check: &[
            "nstat -az IpReasmFails IpReasmTimeout Ip6ReasmFails",
            "ping -c 3 -M do -s 1472 PEER  # the largest that 1500 bytes have room for, 1452 over IPv6; try less",
            "tracepath PEER  # where it is installed: finds the size by itself",
            "ip -d link show dev DEVICE  # its MTU, and XDP",
        ],
        mend: &[
            "ip link set dev DEVICE mtu NUMBER  # as large as the path takes. Risk: connections that stand may stall for a moment; \
             too small a number costs throughput.",
            "Else it is for whoever runs the network: fragments are lost there. Risk: none.",
        ],
    },
    examine: incomplete,
    explains: effects::pieces,
    proved_by: effects::none,
    follows: &["R06", "R09", "R10", "R11"],
};

/// So many fragments say something: what strangers send is seldom whole.
const STRANGERS: u64 = 5;
/// Answers that must have been incomplete, and lost.
const ANSWERS: u64 = 2;

/// Flows of sockets that wait for answers, of which fragments came and nothing whole does.
fn awaited<'a>(view: &View<'a>) -> Vec<(&'a Plight, Spell)> {
    let model = view.model;
    let all = view.befallen().dropped_by(ends::incomplete).filter_map(|plight| {
        let key = &plight.key;
        let flow = model.flows().get(key)?;
        let is_cut = flow.hunger().is_some()
            && view.by_uplink(key.netns, plight.iif)
            && (plight.is_reply || model.sockets().connection(key).is_some());
        Some((plight, plight.dropped?)).filter(|_| is_cut)
    });
    all.collect()
}

fn incomplete(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let now = model.now();
    let places: Vec<(u32, u32, Spell)> = model
        .books()
        .signs(Sign::Incomplete, now)
        .filter(|(netns, device, _)| model.node().is_over_uplink(*netns, *device))
        .collect();
    let spell = places.iter().map(|(.., spell)| *spell).reduce(Spell::and)?;
    let awaited = awaited(view);
    let answers = awaited
        .iter()
        .map(|(.., spell)| spell.packets)
        .fold(0, u64::saturating_add);
    let is_awaited = answers >= ANSWERS;
    if !is_awaited && spell.packets < STRANGERS {
        return None;
    }
    let at: BTreeSet<(u32, u32)> = places
        .iter()
        .map(|(netns, device, _)| (*netns, *device))
        .collect();
    let namespaces: BTreeSet<u32> = at.iter().map(|(netns, _)| *netns).collect();
    let devices = distinct(
        at.iter()
            .map(|(netns, device)| model.node().device_name(*netns, *device)),
    );
    let suffering = Suffering::of(awaited.iter().map(|(plight, _)| Sufferer::from(*plight)));
    let whose = if is_awaited {
        format!(
            " {} of them were of answers that sockets of this node wait for, and nothing whole has reached these since.{}",
            answers,
            suffering.affected()
        )
    } else {
        " None is known to be of an answer that this node waits for.".to_owned()
    };
    let waiting = match model.fragments().0 {
        0 => String::new(),
        1 => " 1 packet waits for its rest now.".to_owned(),
        more => format!(" {} wait for their rest now.", count(more, "packet")),
    };
    let counted = model.counters().iter().filter_map(|(key, counted)| {
        let CounterKey { netns, name, .. } = key;
        let spell = counted.recent(now)?;
        let text = format!(
            "{name} grew by {} since {}",
            thousands(spell.packets),
            moment(model, spell.since)
        );
        (is_of_fragments(name) && namespaces.contains(netns))
            .then(|| evidence::counter(name, spell.packets, text))
    });
    let evidence = evidence::at_devices(model, Sign::Incomplete, &at)
        .into_iter()
        .take(3)
        .chain(counted.take(2))
        .chain(awaited.iter().take(3).filter_map(|(plight, _)| {
            let flow = model.flows().get(&plight.key)?;
            Some(evidence::flow(model, &plight.key, flow))
        }))
        .collect();
    let first = *namespaces.first()?;
    let mut check = vec![command(
        model,
        first,
        "nstat -az IpReasmFails IpReasmTimeout Ip6ReasmFails",
    )];
    if let Some((plight, _)) = awaited.first() {
        let key = &plight.key;
        // What 1500 bytes have room for behind the headers of IP and ICMP.
        let most = if key.remote.is_ipv4() { 1472 } else { 1452 };
        for line in [
            format!(
                "ping -c 3 -M do -s {most} {}  # the largest that 1500 bytes have room for; try less",
                key.remote
            ),
            format!(
                "tracepath {}  # where it is installed: finds the size by itself",
                key.remote
            ),
        ] {
            check.push(command(model, key.netns, &line));
        }
    }
    check.extend(places.iter().take(2).map(|(netns, device, _)| {
        let name = model.node().device_name(*netns, *device);
        command(model, *netns, &format!("ip -d link show dev {}", quoted(&name)))
    }));
    Some(Finding {
        confidence: if is_awaited {
            Confidence::Strong
        } else {
            Confidence::Weak
        },
        explanation: format!(
            "{} that arrived on {} waited in vain for the rest of their packets, which did not come.{whose}{waiting}",
            count(spell.packets, "fragment"),
            list(&devices)
        ),
        since: spell.since,
        last: spell.last,
        evidence,
        units: suffering.units([]),
        flows: suffering.flows,
        namespaces,
        devices: devices.into_iter().collect(),
        standing: None,
        prevent: Vec::new(),
        check,
        remedy: vec![
            "Find out at which device of the path packets of this size do not get through, and who drops their fragments there: \
             this is for whoever runs the network. Risk: none."
                .to_owned(),
        ],
    })
}
