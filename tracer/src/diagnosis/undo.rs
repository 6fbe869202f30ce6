//! Commands that take back what explains a finding, exactly as it was before.

mod device;
mod firewall;
mod history;
mod instead;
mod ipsec;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub(super) use self::device::comes_with;
pub(super) use self::firewall::put_back;
use self::history::History;
use self::instead::{is_taken, leads_as_before, stands_elsewhere};
use super::effects::{covers, leads_as};
use super::words::{CGROUP2, command, count};
use crate::event::value::{self, NF_TABLES};
use crate::event::{TABLE_LOCAL, TABLE_MAIN, Thing, Version, network, ruleset};
use crate::model::Model;
use crate::model::timeline::{Change, Subject, Told};
use crate::shell::quoted;

/// Commands that are told; the rest is counted.
const MOST: usize = 8;

const AS_BEFORE: &str = "Risk: low, it is what was there before.";
const CAME: &str = "Risk: low, it was not there before; ask whose it is.";

/// What takes changes back.
#[derive(Debug, Default)]
pub(super) struct Undo {
    /// Commands, each with a word on its risk behind `  # `; and sentences where there is no command.
    pub(super) lines: Vec<String>,
    /// They take all of it back.
    pub(super) is_whole: bool,
}

/// What became of changes later. What the rules of nf_tables went through is read once, where it is asked for.
pub(super) struct Later<'a> {
    model: &'a Model,
    from: u64,
    history: OnceCell<History<'a>>,
}

impl<'a> Later<'a> {
    /// Of changes that were made then, or later.
    pub(super) fn of(model: &'a Model, from: u64) -> Self {
        Self {
            model,
            from,
            history: OnceCell::new(),
        }
    }

    fn history(&self) -> &History<'a> {
        self.history.get_or_init(|| History::of(self.model, self.from))
    }

    /// Somebody has taken the change back.
    pub(super) fn is_back(&self, change: &Change) -> bool {
        match &change.subject {
            Subject::Setting(_, Thing::Ruleset { firewall }) if firewall == NF_TABLES => {
                firewall::is_back(self.history(), change)
            }
            // Lines say it of what has several parts.
            Subject::Setting(_, Thing::Link { .. } | Thing::Traffic { .. }) => {
                self.one(change).is_some_and(|lines| lines.is_empty())
            }
            Subject::Setting(netns, thing) => is_undone(self.model, *netns, thing, change) == Some(true),
            _ => false,
        }
    }

    /// By what the change is taken back, as far as it stood until then.
    pub(super) fn taken_back(&self, change: &Change) -> TakenBack {
        match (history::namespace(change), &change.subject) {
            (Some(_), _) => TakenBack::At(self.history().undone(change)),
            (None, Subject::Setting(_, Thing::Ruleset { .. })) => {
                TakenBack::ByTable(change.before.clone(), change.after.clone())
            }
            (None, _) => TakenBack::ByAnother(change.after.clone()),
        }
    }

    /// Takes one change back, each line in its namespace. Empty where that was done; `None` where it is not known how.
    pub(super) fn one(&self, change: &Change) -> Option<Vec<String>> {
        let model = self.model;
        let Subject::Setting(netns, thing) = &change.subject else {
            return None;
        };
        if let Thing::Ruleset { firewall } = thing
            && firewall == NF_TABLES
        {
            return firewall::take_back(model, self.history(), *netns, change);
        }
        if let Some(is_back) = is_undone(model, *netns, thing, change) {
            return is_back.then(Vec::new);
        }
        let lines = match (&change.before, &change.after) {
            (Some(was), None) if is_taken(model, *netns, thing) => {
                vec![(route(thing, "replace", was)?, AS_BEFORE)]
            }
            (Some(was), Some(is)) if let Thing::Link { device } = thing => {
                device::link(model, device, was, is)?
            }
            (before, after) => setting(thing, before.as_deref(), after.as_deref())?,
        };
        let line = |(line, risk): (String, &str)| format!("{}  # {risk}", command(model, *netns, &line));
        Some(lines.into_iter().map(line).collect())
    }
}

/// By what a change is taken back.
pub(super) enum TakenBack {
    /// By what was done then.
    At(BTreeSet<u64>),
    /// By one of the same thing that makes something else of it.
    ByAnother(Option<String>),
    /// By one by which a table of iptables, which was this and became that, drops no more of it.
    ByTable(Option<String>, Option<String>),
}

impl TakenBack {
    /// By this change of the same thing.
    pub(super) fn by(&self, other: &Change) -> bool {
        match self {
            Self::At(times) => times.contains(&other.at),
            Self::ByAnother(after) => *after != other.after,
            Self::ByTable(before, after) => {
                ruleset::is_undone(before.as_deref(), after.as_deref(), other.after.as_deref())
            }
        }
    }
}

/// Takes these changes back, as far as they still stand, and what went away with them: a device that is set down and an address
/// that is removed take routes along.
pub(super) fn of(model: &Model, act: &[Told<'_>]) -> Undo {
    let leaders: BTreeSet<u64> = act.iter().map(Told::leader).collect();
    let is_act = |told: &Told<'_>| act.iter().any(|one| one.number == told.number);
    let went_along = |told: &Told<'_>| leaders.contains(&told.leader()) && is_lost(told.change);
    let all: Vec<&Change> = model
        .timeline()
        .folded()
        .filter(|told| is_act(told) || went_along(told))
        .map(|told| told.change)
        .collect();
    let devices: BTreeSet<(u32, String)> = all.iter().filter_map(|change| device(change)).collect();
    let mut lost: Vec<&Change> = all
        .iter()
        .copied()
        .filter(|change| !comes_by_itself(model, change, &all, &devices))
        .collect();
    let primary = primaries(&lost);
    // The sort is stable: what others need comes first.
    lost.sort_by_key(|change| (order(change), !is_primary(&primary, change)));
    let mut undo = Undo {
        is_whole: true,
        ..Undo::default()
    };
    let from = lost.iter().map(|change| change.at).min().unwrap_or_default();
    let later = Later::of(model, from);
    for change in lost {
        let Some(back) = later.one(change) else {
            undo.is_whole = false;
            continue;
        };
        let new: Vec<String> = back
            .into_iter()
            .filter(|line| !undo.lines.contains(line))
            .collect();
        undo.lines.extend(new);
    }
    undo.is_whole &= !undo.lines.is_empty();
    let more = undo.lines.len().saturating_sub(MOST) as u64;
    undo.lines.truncate(MOST);
    if more > 0 {
        undo.is_whole = false;
        undo.lines.push(format!(
            "And take back {} that the timeline has. {AS_BEFORE}",
            count(more, "more change")
        ));
    }
    undo
}

/// A way out, or an address, that is gone.
fn is_lost(change: &Change) -> bool {
    let counts = matches!(
        change.subject,
        Subject::Setting(
            _,
            Thing::Route { .. } | Thing::Nexthop { .. } | Thing::Address { .. }
        )
    );
    counts && change.before.is_some() && change.after.is_none()
}

/// A network of IPv4 at a device.
type Net<'a> = (u32, &'a str, IpAddr, u8);

/// The network of an address of IPv4 that is gone.
fn net(change: &Change) -> Option<Net<'_>> {
    match &change.subject {
        Subject::Setting(
            netns,
            Thing::Address {
                device,
                address,
                prefix,
            },
        ) if address.is_ipv4() && is_lost(change) => {
            Some((*netns, device, network(*address, *prefix), *prefix))
        }
        _ => None,
    }
}

/// Of each network the address that went last: with the primary one, from which is sent, the kernel takes away the others of its
/// network before (`__inet_del_ifa`). It is the one that is added first.
fn primaries<'a>(lost: &[&'a Change]) -> BTreeMap<Net<'a>, &'a Change> {
    lost.iter()
        .filter_map(|change| Some((net(change)?, *change)))
        .collect()
}

fn is_primary(primaries: &BTreeMap<Net<'_>, &Change>, change: &Change) -> bool {
    let of = net(change).and_then(|net| primaries.get(&net));
    of.is_none_or(|primary| std::ptr::eq(*primary, change))
}

/// The device of a change of it or of its addresses.
fn device(change: &Change) -> Option<(u32, String)> {
    match &change.subject {
        Subject::Setting(netns, Thing::Link { device } | Thing::Address { device, .. }) => {
            Some((*netns, device.clone()))
        }
        _ => None,
    }
}

/// The kernel sets it by itself when one of these devices, or its address, is back: the routes of addresses, and those addresses
/// that a device gets when it is set up.
fn comes_by_itself(
    model: &Model,
    change: &Change,
    all: &[&Change],
    devices: &BTreeSet<(u32, String)>,
) -> bool {
    if device::is_switched_with(change, all) {
        return true;
    }
    let (Subject::Setting(netns, thing), Some(before), None) =
        (&change.subject, &change.before, &change.after)
    else {
        return false;
    };
    match thing {
        Thing::Address { device, address, .. } => device::gets(model, (*netns, device), *address, all),
        Thing::Route {
            destination, prefix, ..
        } => {
            let device = value::leads_by(before).unwrap_or_default();
            // Whoever wants no route of an address has set another itself.
            let has_none = |of: u32, thing: &Thing, is: &str| {
                let is_its = matches!(thing, Thing::Address { device: its, address, .. }
                    if its == device && covers(*destination, *prefix, *address));
                of == *netns && is_its && value::has(is, value::NO_ROUTE)
            };
            let went_without = || {
                let mut all = all.iter().filter_map(|change| match &change.subject {
                    Subject::Setting(of, thing) => Some((*of, thing, change.before.as_deref()?)),
                    _ => None,
                });
                all.any(|(of, thing, was)| has_none(of, thing, was))
            };
            let stands_without = || {
                let mut all = model.settings().iter();
                all.any(|(of, thing, is)| has_none(of, thing, is))
            };
            value::after(before, value::ORIGIN) == Some("kernel")
                && devices.contains(&(*netns, device.to_owned()))
                && !went_without()
                && !stands_without()
        }
        _ => false,
    }
}

/// What is put back earlier comes first: a route by a gateway needs the one that leads to that, and what stands in the place of
/// another has to go before.
fn order(change: &Change) -> (u8, bool) {
    let by_gateway = |value: &Option<String>| value.as_deref().is_some_and(|value| value.contains("via "));
    match &change.subject {
        Subject::Setting(_, thing) => match thing {
            Thing::Link { .. } => (0, false),
            Thing::Sysctl { name } if device::switches_ipv6(name) => (0, false),
            Thing::Address { .. } => (1, false),
            Thing::Nexthop { .. } => (2, false),
            Thing::Route { .. } if change.before.is_none() => (2, true),
            Thing::Route { .. } => (3, by_gateway(&change.before)),
            _ => (4, false),
        },
        _ => (5, false),
    }
}

/// The thing is as it was before, or another one does as well; `None` where it is as the change left it.
fn is_undone(model: &Model, netns: u32, thing: &Thing, change: &Change) -> Option<bool> {
    let now = model.settings().value(netns, thing.clone());
    if now != change.after.as_deref() {
        return Some(match thing {
            Thing::Ruleset { .. } => {
                ruleset::is_undone(change.before.as_deref(), change.after.as_deref(), now)
            }
            // An address works whatever else is said of it, as who gave it for how long, if no other node has it too.
            Thing::Address { .. } => {
                change.before.is_some() && now.is_some_and(|now| !value::is_duplicate(now))
            }
            Thing::Neighbour { .. } if is_by_hand(change.after.as_deref()) => {
                !is_by_hand(now) || now == change.before.as_deref()
            }
            // What came leads there no more, whatever stands in its place: that is another change.
            Thing::Route { .. } if change.before.is_none() => {
                let leads_so = now.zip(change.after.as_deref());
                leads_so.is_none_or(|(now, came)| !leads_as(came, now))
            }
            Thing::Link { .. } => {
                now == change.before.as_deref() || device::is_back(change, now.unwrap_or_default())
            }
            _ => now == change.before.as_deref() || leads_as_before(model, netns, thing, change),
        });
    }
    let is_another = stands_elsewhere(model, netns, thing) || leads_as_before(model, netns, thing, change);
    (now.is_none() && is_another).then_some(true)
}

/// Commands and their risks.
type Lines = Vec<(String, &'static str)>;

/// The command that makes a thing again what it was before.
fn setting(thing: &Thing, before: Option<&str>, after: Option<&str>) -> Option<Lines> {
    let line = |text: String, risk| Some(vec![(text, risk)]);
    match (thing, before, after) {
        (Thing::Rule { .. }, Some(_), None) => line(rule(thing, "add")?, AS_BEFORE),
        (Thing::Rule { .. }, None, Some(_)) => line(rule(thing, "del")?, CAME),
        (Thing::Route { .. }, Some(was), None) => line(route(thing, "add", was)?, AS_BEFORE),
        (Thing::Route { .. }, Some(was), Some(_)) => line(route(thing, "replace", was)?, AS_BEFORE),
        (Thing::Route { .. }, None, Some(is)) => line(route(thing, "del", is)?, CAME),
        (Thing::Nexthop { id }, Some(was), None) => line(format!("ip nexthop add id {id} {was}"), AS_BEFORE),
        (Thing::Nexthop { id }, Some(was), Some(_)) => {
            line(format!("ip nexthop replace id {id} {was}"), AS_BEFORE)
        }
        (
            Thing::Address {
                device,
                address,
                prefix,
            },
            Some(was),
            None,
        ) => {
            // One that a lease or a router gave had an end.
            let risk = if value::has(was, "dynamic") {
                "Risk: low, but it was given by DHCP or a router for a time: whoever keeps it must ask for it again."
            } else if !address.is_loopback() {
                "Risk: low, it is what was there before; not where another node has it by now."
            } else {
                AS_BEFORE
            };
            line(own_address(device, *address, *prefix, was), risk)
        }
        (Thing::Neighbour { device, address }, ..) if is_by_hand(before) || is_by_hand(after) => {
            Some(vec![neighbour(device, *address, before)])
        }
        (Thing::Offloads { device }, Some(was), Some(is)) => {
            line(device::offloads(device, was, is)?, AS_BEFORE)
        }
        (Thing::Sysctl { name }, Some(was), Some(_)) => {
            // Where there are several numbers they are one word of the command.
            let set = quoted(&format!("{}={was}", parameter(name))).into_owned();
            line(
                format!("sysctl -w {set}"),
                "Risk: low, it is what it was before. Lasts until the settings are loaded again: mend the file in /etc/sysctl.d \
                 that has the other value.",
            )
        }
        (Thing::Traffic { device, text }, None, Some(is)) => traffic(device, text, is),
        (Thing::CgroupPrograms { cgroup, hook }, None, Some(is)) => {
            let id = is.strip_prefix(value::PROGRAM)?.split([' ', ',']).next()?;
            line(
                format!("bpftool cgroup detach {CGROUP2}{} {hook} id {id}", quoted(cgroup)),
                "Risk: it may be a shield, as what IPAddressDeny= of a unit is; ask whose it is, since systemd attaches it again.",
            )
        }
        (Thing::BpfLink { id }, None, Some(_)) => Some(vec![detach(*id)]),
        (Thing::Ipsec { text }, None, Some(_)) => line(
            ipsec::delete(text)?,
            "Risk: what it was to protect goes as it is, or what it was to hold back comes in; ask whose it is, since a daemon \
             may set it again.",
        ),
        _ => None,
    }
}

/// Takes a BPF link away from where it is.
fn detach(id: u32) -> (String, &'static str) {
    (
        format!("bpftool link detach id {id}"),
        "Risk: it may be a network plugin's or a shield; ask whose it is, since its agent may attach it again.",
    )
}

/// The name of a kernel parameter as `sysctl` takes it: dots in a device's name are slashes (sysctl(8)).
fn parameter(name: &str) -> String {
    let parts = [".conf.", ".neigh."]
        .into_iter()
        .find_map(|folder| Some((name.split_once(folder)?, folder)));
    match parts.and_then(|((head, rest), folder)| Some((head, folder, rest.rsplit_once('.')?))) {
        Some((head, folder, (device, last))) => format!("{head}{folder}{}.{last}", device.replace('.', "/")),
        None => name.to_owned(),
    }
}

fn ip(version: Version) -> &'static str {
    match version {
        Version::V4 => "ip",
        Version::V6 => "ip -6",
    }
}

/// Adds an address as it was: what is not said of it would be what `ip` or the kernel chooses by itself.
fn own_address(device: &str, address: IpAddr, prefix: u8, was: &str) -> String {
    let own = match value::peer(was) {
        Some(peer) => format!("{address} peer {peer}/{prefix}"),
        None => format!("{address}/{prefix}"),
    };
    // With loopback's own the kernel may have been quicker: not each adds it where there is another one.
    let act = if address.is_loopback() { "replace" } else { "add" };
    let mut line = format!("ip addr {act} {own} dev {}", quoted(device));
    let mut add = |word: &str, what: &str| line += &format!(" {word} {}", quoted(what));
    let usual = if address.is_loopback() {
        "host"
    } else {
        value::GLOBAL
    };
    // That of IPv6 is what the address says.
    if let Some(scope) = value::after(was, value::SCOPE).filter(|scope| address.is_ipv4() && *scope != usual)
    {
        add(value::SCOPE, scope);
    }
    for word in [value::LABEL, value::METRIC] {
        if let Some(what) = value::after(was, word) {
            add(word, what);
        }
    }
    for word in [value::NO_ROUTE, value::NO_SEARCH] {
        if value::has(was, word) {
            line += &format!(" {word}");
        }
    }
    line
}

/// A neighbour was set by hand.
fn is_by_hand(neighbour: Option<&str>) -> bool {
    neighbour.is_some_and(|neighbour| value::has(neighbour, value::PERMANENT))
}

/// Sets a neighbour as it was by hand; one that was not is asked for anew.
fn neighbour(device: &str, address: IpAddr, was: Option<&str>) -> (String, &'static str) {
    let neigh = format!("{} neigh", ip(Version::of(address)));
    let dev = quoted(device);
    let before = was.filter(|was| is_by_hand(Some(was)));
    match before.and_then(|was| value::after(was, value::LINK_ADDRESS)) {
        Some(hardware) => (
            format!("{neigh} replace {address} lladdr {hardware} dev {dev} nud permanent"),
            AS_BEFORE,
        ),
        None => (
            format!("{neigh} del {address} dev {dev}"),
            "Risk: low, the kernel asks for it anew.",
        ),
    }
}

pub(super) fn rule(thing: &Thing, act: &str) -> Option<String> {
    let Thing::Rule {
        version,
        priority,
        text,
        ..
    } = thing
    else {
        return None;
    };
    // `ip` has another word for it when it sets it than when it shows it.
    let text = text.replace("lookup [l3mdev-table]", "l3mdev");
    let words: Vec<_> = text.split(' ').map(quoted).collect();
    Some(format!(
        "{} rule {act} pref {priority} {}",
        ip(*version),
        words.join(" ")
    ))
}

/// The command that adds, replaces or deletes a route that leads so; `None` where it is not told whole.
pub(super) fn route(thing: &Thing, act: &str, leads: &str) -> Option<String> {
    let Thing::Route {
        table,
        action,
        destination,
        prefix,
        metric,
    } = thing
    else {
        return None;
    };
    let mut words: Vec<&str> = leads.split(' ').collect();
    // What wraps packets up is not told whole, and one that is told by several ways is not put together again.
    if words.contains(&"encap") || leads.contains(value::WAYS) {
        return None;
    }
    // A next hop by its number says all of the way.
    if let [first, id, ..] = words[..]
        && first == "nhid"
    {
        let made_by = words
            .windows(2)
            .find(|two| two[0] == "proto")
            .map(<[&str]>::to_vec);
        words = vec![first, id];
        words.extend(made_by.into_iter().flatten());
    }
    let to = match prefix {
        0 => "default".to_owned(),
        prefix => format!("{destination}/{prefix}"),
    };
    let action = if action == value::UNICAST {
        String::new()
    } else {
        format!("{action} ")
    };
    let table = match *table {
        TABLE_MAIN => String::new(),
        TABLE_LOCAL => " table local".to_owned(),
        other => format!(" table {other}"),
    };
    let metric = match metric {
        0 => String::new(),
        metric => format!(" metric {metric}"),
    };
    // What tells several ways apart comes last.
    let ways = words
        .iter()
        .position(|word| *word == "nexthop")
        .unwrap_or(words.len());
    let quote = |words: &[&str]| {
        words
            .iter()
            .filter(|word| !word.is_empty())
            .map(|word| format!(" {}", quoted(word)))
            .collect::<String>()
    };
    Some(format!(
        "{} route {act} {action}{to}{}{table}{metric}{}",
        ip(Version::of(*destination)),
        quote(&words[..ways]),
        quote(&words[ways..])
    ))
}

/// Deletes a filter that came, `filter ingress pref 1 bpf handle 0x1` with its protocol in the value, or a queueing discipline:
/// those that only hold filters do nothing by themselves.
fn traffic(device: &str, text: &str, is: &str) -> Option<Lines> {
    let dev = quoted(device);
    let command = if let Some(filter) = text.strip_prefix("filter ") {
        let (place, rest) = filter.split_once(" pref ")?;
        // Without its handle all of that preference would go, others' too.
        let [pref, kind, "handle", handle] = rest.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        let protocol = is.strip_prefix("protocol ")?.split([' ', ',']).next()?;
        format!("tc filter del dev {dev} {place} protocol {protocol} pref {pref} handle {handle} {kind}")
    } else {
        let words: Vec<&str> = text.strip_prefix("qdisc ")?.split(' ').collect();
        match words[..] {
            ["clsact" | "ingress", ..] => return Some(Lines::new()),
            [_, _, "root"] => format!("tc qdisc del dev {dev} root"),
            [_, _, "parent", parent] => format!("tc qdisc del dev {dev} parent {parent}"),
            _ => return None,
        }
    };
    let risk = "Risk: it may be a network plugin's, and pods may need it; ask whose it is.";
    Some(vec![(command, risk)])
}

#[cfg(test)]
mod tests;
