//! The way to a pod is gone: its route, or the other end of its device.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{affected, is_inner, passing, silent};
use crate::diagnosis::networks::Networks;
use crate::diagnosis::words::{command, count, distinct, ip, list, moment};
use crate::diagnosis::{About, Finding, Rule, View, effects, evidence, undo};
use crate::event::{FlowKey, Thing, Version, value};
use crate::model::Model;
use crate::model::class;
use crate::model::clock::{SECOND, When};
use crate::model::ends::Sign;
use crate::model::growth::Spell;
use crate::model::latest::Latest;
use crate::model::plight::Plight;
use crate::report::{Class, Confidence, Where};
use crate::shell::quoted;

/// R18: what is for a pod does not get there.
pub(in crate::diagnosis) const LOST: Rule = Rule {
    id: "R18",
    slug: "pod-cut-off",
    title: "The way to a pod of this node is lost",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "A route by a device that is no uplink was lost while tracer looked, or leads by another device since, and \
                    packets for its addresses go on arriving: they are dropped, or leave by the uplink by which they came. A weak \
                    sign where the route leads by an uplink now, through a gateway, or by a device by which others lead too. Or packets are dropped for QDISC_DROP \
                    at such a device, which is up and has no carrier. A weak sign where the device went with its route, as when \
                    a pod is ended; or where other routes lead by it still and it is no end of a pod's pair, as when a client of \
                    a VPN goes.",
        meaning: "The pod's end of its pair of devices is down, or the node's end is, or somebody removed the route: a network \
                  plugin that was stopped half-way, or a network manager that does not know the route. Where a default route \
                  takes its place, packets for the pod go back to where they came from.",
        check: &[
            "ip route get ADDRESS  # must lead to the pod's device",
            "ip -d link show dev DEVICE",
            "crictl pods; crictl ps -a",
        ],
        mend: &[
            "Put the route back, or set the device up: the verdict says which. Risk: low, where it is what was there before.",
            "Restart the network plugin's agent. Risk: pods of this node may lose their network while it starts.",
        ],
    },
    examine: lost,
    explains: effects::way_in,
    proved_by: effects::none,
    follows: &["R31"],
};

/// Packets that must have been lost at a device.
const PACKETS: u64 = 3;
/// What goes on for so long is no moment in which a pod is ended or made.
const LASTING: u64 = 2 * SECOND;
/// Packets that must have been lost since a route is gone, by all flows that it led, and the time that they must span: who
/// waits for an answer asks again after 1 s or more.
const OF_ROUTE: u64 = 2;
const OF_ROUTE_LASTING: u64 = SECOND;

/// A route to pods that was lost, and what arrives for it all the same.
struct Gone<'a> {
    netns: u32,
    /// Where it led to.
    network: (u32, IpAddr, u8),
    thing: &'a Thing,
    before: &'a str,
    /// Where it leads now, if it is there.
    now: Option<&'a str>,
    device: &'a str,
    at: u64,
    end: End,
    flows: Vec<FlowKey>,
    /// When the last of them arrived.
    last: When,
    /// The devices by which they arrive, by namespace and index.
    devices: BTreeSet<(u32, u32)>,
    /// Those of them by which packets leave again.
    back: BTreeSet<(u32, u32)>,
    /// What was lost by them since it is gone.
    lost: Option<Spell>,
}

/// What is known of the other end of a route that was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is there: the device leads to one pod, and goes with it; or it has no other route, so that nothing behind it can be
    /// reached.
    Stands,
    /// The device leads to others too, as that of a VPN server: who was behind this route may have gone by itself.
    MayBeGone,
    /// The device is gone too.
    Gone,
    /// The route itself leads by an uplink now, or by a device that leads to others too, as a tunnel: who was behind it may have
    /// moved to another node.
    Moved,
}

impl Gone<'_> {
    fn is_missed(&self) -> bool {
        self.end == End::Stands
    }

    /// The device of that namespace is one by which its flows arrive. Most come by the same one.
    fn arrives_by(&mut self, device: (u32, u32)) {
        if self.devices.last() != Some(&device) {
            self.devices.insert(device);
        }
    }

    /// Packets of it leave by the device by which they arrive.
    fn goes_back_by(&mut self, device: (u32, u32)) {
        if self.back.last() != Some(&device) {
            self.back.insert(device);
        }
    }
}

/// A device that takes no packets, as it has no carrier.
struct Cut {
    netns: u32,
    device: u32,
    spell: Spell,
    flows: Vec<FlowKey>,
}

/// Routes by inner devices that were lost, and whose packets end here or go back to where they came from.
fn gone<'a>(view: &View<'a>) -> Vec<Gone<'a>> {
    let model = view.model;
    let mut all: Vec<Gone<'_>> = model
        .settings()
        .differences()
        .filter_map(|(netns, thing, difference)| {
            let Thing::Route {
                action,
                destination,
                prefix,
                ..
            } = thing
            else {
                return None;
            };
            let before = difference.before.as_deref()?;
            let device = value::leads_by(before)?;
            let index = model.node().device_named(netns, device)?.index;
            let now = difference.now.as_deref();
            // By another gateway or from another address it still leads to the same device.
            let leads_there = now.is_some_and(|now| value::leads_by(now) == Some(device));
            let is_way = action == value::UNICAST && *prefix > 0 && !leads_there;
            (is_way && is_inner(model, netns, index)).then(|| Gone {
                netns,
                network: (netns, *destination, *prefix),
                thing,
                before,
                now,
                device,
                at: difference.at,
                end: End::Gone,
                flows: Vec::new(),
                last: When::NEVER,
                devices: BTreeSet::new(),
                back: BTreeSet::new(),
                lost: None,
            })
        })
        .collect();
    let Some(first) = all.iter().map(|gone| gone.at).min() else {
        return all;
    };
    let networks: Networks = all.iter().map(|gone| gone.network).collect();
    let mut covering = Latest::default();
    let (mut back, mut backs) = (Latest::default(), BTreeMap::new());
    // Where a route leads to another device, nobody there may have the address.
    let leads_elsewhere = all.iter().any(|gone| gone.now.is_some());
    let waits = if leads_elsewhere {
        silent::waits(model)
    } else {
        BTreeMap::new()
    };
    for (key, flow, plight) in passing(view, first) {
        let (netns, address) = (key.netns, key.local);
        let place = covering.of((netns, address), || networks.covering(netns, address).min());
        let Some(gone) = place.and_then(|place| all.get_mut(place)) else {
            continue;
        };
        let dropped = plight.and_then(dropped);
        let ends_here = dropped.or_else(|| waits.get(&(netns, address)).copied());
        let spell = ends_here.or_else(|| {
            // What goes back is counted at the device: others of it may do so at all times.
            let way = (netns, address, flow.iif);
            let find = || *backs.entry(way).or_insert_with(|| sent_back(model, way));
            back.of(way, find)
                .filter(|_| flow.last_arrived >= When::at(gone.at.saturating_add(LASTING)))
        });
        let Some(spell) = spell.filter(|spell| spell.last >= gone.at) else {
            continue;
        };
        gone.flows.push(*key);
        gone.last = gone.last.max(flow.last_arrived);
        gone.arrives_by((netns, flow.iif));
        if ends_here.is_none() {
            gone.goes_back_by((netns, flow.iif));
        }
        let spell = Spell {
            since: spell.since.max(gone.at),
            ..spell
        };
        gone.lost = Some(gone.lost.map_or(spell, |lost| lost.and(spell)));
    }
    all.retain(|gone| {
        let lasts = gone
            .lost
            .is_some_and(|lost| lost.lasts(OF_ROUTE, OF_ROUTE_LASTING));
        lasts && model.now().saturating_sub(gone.at) >= LASTING
    });
    for gone in &mut all {
        gone.end = other_end(model, gone);
    }
    all
}

/// See [`End`].
fn other_end(model: &Model, gone: &Gone<'_>) -> End {
    let link = Thing::Link {
        device: gone.device.to_owned(),
    };
    if model.settings().value(gone.netns, link).is_none() {
        return End::Gone;
    }
    if gone.now.is_some_and(|now| !leads_to_one(model, gone, now)) {
        return End::Moved;
    }
    let is_pair = model
        .node()
        .device_named(gone.netns, gone.device)
        .is_some_and(|device| device.peer.is_some());
    if is_pair || !leads_to_others(model, gone, gone.device) {
        End::Stands
    } else {
        End::MayBeGone
    }
}

/// A route that leads there leads to an inner device, and to nobody behind it but who was behind the lost one.
fn leads_to_one(model: &Model, gone: &Gone<'_>, leads: &str) -> bool {
    let device = value::leads_by(leads).and_then(|name| model.node().device_named(gone.netns, name));
    device.is_some_and(|device| {
        is_inner(model, gone.netns, device.index)
            && !value::has_gateway(leads)
            && (device.peer.is_some() || !leads_to_others(model, gone, &device.name))
    })
}

/// Other routes of the same version lead by this device.
fn leads_to_others(model: &Model, gone: &Gone<'_>, device: &str) -> bool {
    let version = |thing: &Thing| match thing {
        // Each device has those of its own link.
        Thing::Route {
            action, destination, ..
        } if action == value::UNICAST && !effects::is_link_local(*destination) => {
            Some(Version::of(*destination))
        }
        _ => None,
    };
    let of_this = version(gone.thing);
    model.settings().iter().any(|(netns, thing, leads)| {
        netns == gone.netns
            && thing != gone.thing
            && version(thing) == of_this
            && value::leads_by(leads) == Some(device)
    })
}

/// The flow's packets that were dropped for want of a way.
fn dropped(plight: &Plight) -> Option<Spell> {
    let spell = plight.dropped?;
    let (reason, place) = plight.last_drop.as_deref()?;
    (class::of(reason, &place.symbol) == Class::State).then_some(spell)
}

/// An address that packets are for, with its namespace, and the device by which they come.
type Way = (u32, IpAddr, u32);

/// By the routes that are left packets leave by the device by which they come: what did so there, if something did.
fn sent_back(model: &Model, (netns, address, iif): Way) -> Option<Spell> {
    let leads = model.settings().route(netns, address);
    let device = model.node().device_name(netns, iif);
    let is_back = leads.and_then(|(_, leads)| value::leads_by(leads)) == Some(device.as_str());
    let mut back = model.books().signs(Sign::SentBack, model.now());
    let (.., spell) = back.find(|(of, index, _)| (*of, *index) == (netns, iif))?;
    is_back.then_some(spell)
}

/// A route by the device leads to all addresses, or to half of them, as a VPN has it: that is no way to a pod.
fn leads_everywhere(model: &Model, netns: u32, device: u32) -> bool {
    let name = model.node().device_name(netns, device);
    model.settings().iter().any(|(of, thing, leads)| {
        matches!(thing, Thing::Route { prefix: 0 | 1, .. })
            && of == netns
            && value::leads_by(leads) == Some(name.as_str())
    })
}

/// Inner devices without a carrier at which packets are dropped.
fn cut(view: &View<'_>) -> Vec<Cut> {
    let model = view.model;
    let has_none = |netns, device| {
        let link = Thing::Link {
            device: model.node().device_name(netns, device),
        };
        let state = model.settings().value(netns, link);
        state.is_some_and(|state| value::is_up(state) && !value::has_carrier(state))
    };
    let mut all: Vec<Cut> = model
        .books()
        .signs(Sign::NotTaken, model.now())
        .filter(|(netns, device, spell)| {
            is_inner(model, *netns, *device)
                && spell.lasts(PACKETS, LASTING)
                && has_none(*netns, *device)
                && !leads_everywhere(model, *netns, *device)
        })
        .map(|(netns, device, spell)| Cut {
            netns,
            device,
            spell,
            flows: Vec::new(),
        })
        .collect();
    let Some(first) = all.iter().map(|cut| cut.spell.since).min() else {
        return all;
    };
    // The networks that some route to one of these devices leads to.
    let name = |cut: &Cut| (cut.netns, model.node().device_name(cut.netns, cut.device));
    let names: Vec<(u32, String)> = all.iter().map(name).collect();
    let place = |netns: u32, leads: &str| {
        let by = value::leads_by(leads)?;
        names.iter().position(|(of, name)| *of == netns && name == by)
    };
    let routes = model
        .settings()
        .iter()
        .filter_map(|(netns, thing, leads)| match thing {
            Thing::Route {
                destination, prefix, ..
            } => place(netns, leads).map(|_| (netns, *destination, *prefix)),
            _ => None,
        });
    let networks: Networks = routes.collect();
    let leads_to = |netns: u32, address: IpAddr| {
        networks.covering(netns, address).next()?;
        let (_, leads) = model.settings().route(netns, address)?;
        place(netns, leads)
    };
    let mut latest = Latest::default();
    for (key, ..) in passing(view, first) {
        let (netns, address) = (key.netns, key.local);
        let place = latest.of((netns, address), || leads_to(netns, address));
        if let Some(cut) = place.and_then(|place| all.get_mut(place)) {
            cut.flows.push(*key);
        }
    }
    all
}

fn lost(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let (mut gone, cut) = (gone(view), cut(view));
    // What may have been ended says nothing of what is there.
    if !cut.is_empty() || gone.iter().any(Gone::is_missed) {
        gone.retain(Gone::is_missed);
    }
    let since = gone
        .iter()
        .filter_map(|gone| Some(gone.lost?.since))
        .chain(cut.iter().map(|cut| cut.spell.since))
        .min()?;
    let last = gone
        .iter()
        .filter_map(|gone| gone.last.time())
        .chain(cut.iter().map(|cut| cut.spell.last))
        .max()?;
    let mut flows: Vec<FlowKey> = Vec::new();
    for gone in &gone {
        flows.extend(&gone.flows);
    }
    for cut in &cut {
        flows.extend(&cut.flows);
    }
    flows.sort_unstable();
    flows.dedup();

    let mut explanation = cut_text(model, &cut);
    explanation.extend(gone_text(model, &gone));
    let places: BTreeSet<(u32, u32)> = cut.iter().map(|cut| (cut.netns, cut.device)).collect();
    let name = |netns: &u32, device: &u32| model.node().device_name(*netns, *device);
    let links = places.iter().filter_map(|(netns, device)| {
        let link = Thing::Link {
            device: name(netns, device),
        };
        let state = model.settings().value(*netns, link.clone())?;
        Some(evidence::state(link.to_string(), state.to_owned()))
    });
    let routes = gone.iter().map(|gone| {
        let how = format!("was {} until {}", gone.before, moment(model, gone.at));
        evidence::state(gone.thing.to_string(), how)
    });
    let arrive_by: BTreeSet<(u32, u32)> = gone.iter().flat_map(|gone| &gone.devices).copied().collect();
    let returned = arrive_by.iter().filter_map(|(netns, device)| {
        let mut signs = model.books().signs(Sign::SentBack, model.now());
        let (.., spell) = signs.find(|(of, at, _)| (of, at) == (netns, device))?;
        let name = name(netns, device);
        Some(evidence::state(
            name.clone(),
            format!(
                "{} that arrived left by {name} again",
                count(spell.packets, "packet")
            ),
        ))
    });
    let evidence = routes
        .take(3)
        .chain(links.take(3))
        .chain(
            evidence::at_devices(model, Sign::NotTaken, &places)
                .into_iter()
                .take(3),
        )
        .chain(returned.take(1))
        .collect();

    let mut check: Vec<String> = gone
        .iter()
        .filter_map(|gone| gone.flows.first())
        .take(2)
        .map(|key| {
            command(
                model,
                key.netns,
                &format!("{} route get {}", ip(key.local), key.local),
            )
        })
        .collect();
    let devices = || {
        let lost = gone.iter().map(|gone| (gone.netns, gone.device.to_owned()));
        lost.chain(places.iter().map(|(netns, device)| (*netns, name(netns, device))))
            .collect::<BTreeSet<_>>()
    };
    check.extend(
        devices().into_iter().take(2).map(|(netns, device)| {
            command(model, netns, &format!("ip -d link show dev {}", quoted(&device)))
        }),
    );
    let mut remedy: Vec<String> = gone
        .iter()
        .take(4)
        .filter_map(|gone| put_back(model, gone))
        .collect();
    if !cut.is_empty() {
        remedy.push(
            "Set the other end of the pair up, in the pod's own namespace, or start the pod anew. Risk: to start it anew \
             interrupts its work."
                .to_owned(),
        );
    }
    if remedy.is_empty() || !gone.is_empty() {
        remedy.push(
            "Restart the network plugin's agent, where it has not put back what it keeps. Risk: pods of this node may lose \
             their network while it starts."
                .to_owned(),
        );
    }
    Some(Finding {
        // A device may be without a carrier because nobody is there any more, as a bridge whose last container has ended: only
        // what others send to it tells that somebody should be.
        confidence: if cut.iter().any(|cut| !cut.flows.is_empty()) {
            Confidence::Conclusive
        } else if gone.iter().any(Gone::is_missed) {
            Confidence::Strong
        } else {
            Confidence::Weak
        },
        explanation: explanation.join(" ") + &affected(&flows),
        since,
        last,
        evidence,
        namespaces: devices().into_iter().map(|(netns, _)| netns).collect(),
        devices: devices().into_iter().map(|(_, device)| device).collect(),
        flows: flows.into(),
        units: Vec::new(),
        standing: None,
        check,
        remedy,
        prevent: Vec::new(),
    })
}

/// `lxc1 is up and has no carrier: its other end … is down or gone. 400 packets that were to leave by it were dropped.`
fn cut_text(model: &Model, cut: &[Cut]) -> Vec<String> {
    let names = distinct(
        cut.iter()
            .map(|cut| model.node().device_name(cut.netns, cut.device)),
    );
    let packets = cut
        .iter()
        .map(|cut| cut.spell.packets)
        .fold(0, u64::saturating_add);
    let (are, their) = match names.as_slice() {
        [] => return Vec::new(),
        [_] => (
            "is up and has no carrier: its other end, or each of its ports where it is a bridge, is",
            "it",
        ),
        _ => (
            "are up and have no carrier: their other ends, or all of their ports where they are bridges, are",
            "them",
        ),
    };
    let (packet, was) = (
        count(packets, "packet"),
        if packets == 1 { "was" } else { "were" },
    );
    vec![format!(
        "{} {are} down or gone. {packet} that {was} to leave by {their} {was} dropped.",
        list(&names)
    )]
}

/// `Since 06:14:05 UTC there is no route 10.244.0.2/32, which led by lxc1: what arrives for it goes back by eth0.`
fn gone_text(model: &Model, gone: &[Gone<'_>]) -> Option<String> {
    let first = gone.iter().min_by_key(|gone| gone.at)?;
    let routes = distinct(gone.iter().map(|gone| gone.thing.to_string()));
    let devices = distinct(gone.iter().map(|gone| gone.device.to_owned()));
    let back: BTreeSet<(u32, u32)> = gone.iter().flat_map(|gone| &gone.back).copied().collect();
    let back = distinct(
        back.into_iter()
            .map(|(netns, iif)| model.node().device_name(netns, iif)),
    );
    let what = if back.is_empty() && gone.iter().any(|gone| gone.now.is_some()) {
        "is dropped, or waits there in vain".to_owned()
    } else if back.is_empty() {
        "is dropped".to_owned()
    } else {
        format!("leaves by {}, by which it came", list(&back))
    };
    let may_be_gone = match first.end {
        End::Stands => "",
        End::MayBeGone => {
            " Other routes lead by the device still: who was behind this one may have gone by itself, as a client of a VPN does."
        }
        End::Gone => " The device is gone too: the pod may have been ended.",
        End::Moved => " Who was behind it may have moved to another node.",
    };
    let them = if routes.len() == 1 { "it" } else { "them" };
    let now = distinct(gone.iter().filter_map(|gone| gone.now).map(str::to_owned));
    let (are, leads) = if routes.len() == 1 {
        ("is", "leads")
    } else {
        ("are", "lead")
    };
    let is_there = gone.iter().filter(|gone| gone.now.is_some()).count();
    let state = match is_there {
        0 => format!("{are} not there"),
        all if all == gone.len() => format!("{leads} elsewhere ({})", list(&now)),
        _ => format!("{are} not there, or {leads} elsewhere ({})", list(&now)),
    };
    Some(format!(
        "Since {} {} {state}, which led by {}; what arrives for {them} {what}.{may_be_gone}",
        moment(model, first.at),
        list(&routes),
        list(&devices),
    ))
}

/// The command that sets a route as it was.
fn put_back(model: &Model, gone: &Gone<'_>) -> Option<String> {
    let act = if gone.now.is_some() { "replace" } else { "add" };
    let line = undo::route(gone.thing, act, gone.before)?;
    Some(format!(
        "{}  # Risk: low, it is what was there before. A device that is down must be set up first: ip link set dev {} up",
        command(model, gone.netns, &line),
        quoted(gone.device)
    ))
}
