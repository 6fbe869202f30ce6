//! Which changes lead elsewhere what this node sends, and which of it they lead.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use foldhash::quality::RandomState;

use super::super::effects;
use super::super::firewalls::leaving;
use super::super::hops::goes_by;
use super::super::matching::{Asks, Fit};
use crate::event::ruleset::{self, Came, Did};
use crate::event::{Family, FlowKey, Source, TABLE_MAIN, Thing, Version, value};
use crate::model::Model;
use crate::model::timeline::{Change, Subject};

/// In the text of a policy rule, before the mark of the packets that it is for.
const FWMARK: &str = "fwmark";
/// Words of a policy rule for what is not seen of a packet: who sends it, its mark, and what it was bound to.
const UNSEEN: [&str; 5] = [FWMARK, "tos", "uidrange", "oif", "[l3mdev-table]"];

/// The device by which, for the kernel, comes what this node sends itself.
const LOOPBACK: &str = "lo";

/// In words of a firewall's rule that marks.
const MARK_SET: &str = "mark set";
/// The targets of iptables are written in capitals.
const MARKS: [&str; 2] = ["MARK", "CONNMARK"];
const SOURCES: [&str; 2] = ["snat", "SNAT"];
const DESTINATIONS: [&str; 2] = ["dnat", "DNAT"];

/// Words of a firewall's rule that leave open what it is for: what it asks stands elsewhere.
const ELSEWHERE: [&str; 10] = [
    "in",
    "map",
    "payload",
    "...",
    "multiport",
    "cmp",
    "skuid",
    "skgid",
    "meta",
    "ct",
];

/// Packets go another way than before, or from another address, or for another one: a route of table main came or leads elsewhere, a
/// policy rule came, the neighbour by which they go was set by hand, a rule of a firewall came that marks them or gives them another
/// address, or a device takes smaller ones or asks for no link-layer address any more. A route that sends them nowhere is another matter.
pub(in crate::diagnosis) fn leads_astray(change: &Change) -> bool {
    let Subject::Setting(_, thing) = &change.subject else {
        return false;
    };
    if !may_lead_astray(&change.subject) {
        return false;
    }
    match (thing, &change.before, &change.after) {
        (Thing::Neighbour { .. }, ..) => effects::misleads_by_hand(change),
        (
            Thing::Route {
                table: TABLE_MAIN,
                action,
                ..
            },
            before,
            Some(after),
        ) => {
            let leads_as = |before: &String| effects::leads_as(before, after);
            action == value::UNICAST && !before.as_ref().is_some_and(leads_as)
        }
        (Thing::Rule { text, .. }, None, Some(_)) => is_look_up(text),
        (Thing::Link { .. }, ..) => effects::is_smaller(change) || effects::asks_no_more(change),
        (Thing::Ruleset { .. }, _, Some(_)) => !Giver::all_of(change).is_empty(),
        _ => false,
    }
}

/// Of this some changes do, see [`leads_astray`]. Most that is told is of something else.
pub(super) fn may_lead_astray(subject: &Subject) -> bool {
    matches!(
        subject,
        Subject::Setting(
            _,
            Thing::Neighbour { .. }
                | Thing::Route { .. }
                | Thing::Rule { .. }
                | Thing::Link { .. }
                | Thing::Ruleset { .. }
        )
    )
}

/// A policy rule of this text has a whole table looked up.
fn is_look_up(text: &str) -> bool {
    value::after(text, value::LOOKUP).is_some() && !value::has(text, value::SUPPRESS)
}

/// What a policy rule asks of a packet.
struct Selector {
    from: Option<(IpAddr, u8)>,
    to: Option<(IpAddr, u8)>,
    asks: Asks,
    /// It is for what its words do not say (`FIB_RULE_INVERT`): how sure it is for others.
    inverted: Option<Fit>,
    /// It asks for something that is not seen.
    is_open: bool,
    names_ports: bool,
}

impl Selector {
    /// By its text; `None` where it is for nothing that this node sends itself: that comes by loopback, for the kernel
    /// (`ip_route_output_key_hash`).
    fn of(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let is_of_others = value::after(text, "iif").is_some_and(|device| device != LOOPBACK);
        (!is_of_others).then(|| Self {
            from: value::source(text),
            to: value::destination(text),
            asks: Asks::of(Family::Inet, &words),
            inverted: value::has(text, value::NOT).then(|| match words[..] {
                // As VPNs have it for all but their own packets: others have no mark.
                [_, _, _, FWMARK, mark, value::LOOKUP, ..] if marked(mark).is_some_and(|(is, _)| is != 0) => {
                    Fit::Surely
                }
                _ => Fit::Perhaps,
            }),
            is_open: has_any(text, &UNSEEN),
            names_ports: has_any(text, &["sport", "dport"]),
        })
    }

    /// Whether it is for what the flow sends; `None` where it is not.
    fn fit(&self, key: &FlowKey) -> Option<Fit> {
        if self.inverted.is_some() {
            return self.inverted;
        }
        let is_in = |network: Option<(IpAddr, u8)>, address| {
            network.is_none_or(|(network, prefix)| effects::covers(network, prefix, address))
        };
        let fit = self.asks.fit(&leaving(key))?;
        let is_open = self.is_open || (self.names_ports && fit == Fit::Perhaps);
        let how = if is_open { Fit::Perhaps } else { Fit::Surely };
        (is_in(self.from, key.local) && is_in(self.to, key.remote)).then_some(how)
    }
}

/// A policy rule by which packets are looked up in a table.
struct LookUp<'a> {
    /// Of routes only those count whose prefix is longer than this (`suppress_prefixlength`).
    longer_than: Option<u8>,
    netns: u32,
    version: Version,
    priority: u32,
    table: u32,
    text: &'a str,
    selector: Selector,
}

impl<'a> LookUp<'a> {
    fn of(netns: u32, thing: &'a Thing) -> Option<Self> {
        let Thing::Rule {
            version,
            priority,
            text,
            table,
        } = thing
        else {
            return None;
        };
        value::after(text, value::LOOKUP)?;
        let selector = Selector::of(text)?;
        let suppressed = value::after(text, value::SUPPRESS);
        Some(Self {
            longer_than: suppressed.map(|length| length.parse().unwrap_or(u8::MAX)),
            netns,
            version: *version,
            priority: *priority,
            table: *table,
            text,
            selector,
        })
    }
}

/// A route, as its table has it.
struct Route<'a> {
    destination: IpAddr,
    prefix: u8,
    metric: u32,
    action: &'a str,
    leads: &'a str,
}

/// The policy rules of all namespaces, and the tables in which they look.
pub(super) struct Policy<'a> {
    rules: Vec<LookUp<'a>>,
    /// Where no rule is for that namespace but the kernel's own, nothing is kept.
    routes: BTreeMap<(u32, u32), Vec<Route<'a>>>,
}

impl<'a> Policy<'a> {
    pub(super) fn of(model: &'a Model) -> Self {
        let settings = || model.settings().iter();
        let rules: Vec<LookUp<'a>> = settings()
            .filter_map(|(netns, thing, _)| LookUp::of(netns, thing))
            .collect();
        let tables = |rule: &LookUp<'_>| [rule.table, TABLE_MAIN].map(|table| (rule.netns, table));
        let asked: BTreeSet<(u32, u32)> = rules.iter().flat_map(tables).collect();
        let mut routes: BTreeMap<(u32, u32), Vec<Route<'a>>> = BTreeMap::new();
        for (netns, thing, leads) in settings() {
            match thing {
                Thing::Route {
                    table,
                    action,
                    destination,
                    prefix,
                    metric,
                } if asked.contains(&(netns, *table)) => {
                    routes.entry((netns, *table)).or_default().push(Route {
                        destination: *destination,
                        prefix: *prefix,
                        metric: *metric,
                        action,
                        leads,
                    });
                }
                _ => {}
            }
        }
        Self { rules, routes }
    }

    /// The route of a table by which what is for this address goes.
    fn route(&self, netns: u32, table: u32, address: IpAddr) -> Option<&Route<'a>> {
        let all = self.routes.get(&(netns, table))?.iter();
        let its = all.filter(|route| effects::covers(route.destination, route.prefix, address));
        let best = its.max_by_key(|route| (route.prefix, Reverse(route.metric)));
        // What it throws is left to the next rule.
        best.filter(|route| route.action != value::THROW)
    }

    /// Whether what the flow sends goes by the table of this rule, and another way than table main has it; `None` where it does not.
    /// A rule that finds nothing in its table leaves it to the next one, and one before it may have led it already.
    fn fit(&self, rule: &LookUp<'_>, key: &FlowKey) -> Option<Fit> {
        let (netns, remote) = (key.netns, key.remote);
        if rule.netns != netns || rule.version != Version::of(remote) || rule.longer_than.is_some() {
            return None;
        }
        let fit = rule.selector.fit(key)?;
        let route = self.route(netns, rule.table, remote)?;
        let main = self.route(netns, TABLE_MAIN, remote);
        let leads_as_main = || main.is_some_and(|main| effects::leads_as(main.leads, route.leads));
        if route.action != value::UNICAST || leads_as_main() {
            return None;
        }
        let is_before = |other: &&LookUp<'_>| {
            other.netns == netns && other.version == rule.version && other.priority < rule.priority
        };
        let mut before = self.rules.iter().filter(is_before);
        let is_led = before.any(|other| {
            let leads = |route: &Route<'_>| other.longer_than.is_none_or(|length| route.prefix > length);
            other.table != rule.table
                && other.selector.fit(key) == Some(Fit::Surely)
                && self.route(netns, other.table, remote).is_some_and(leads)
        });
        (!is_led).then_some(fit)
    }

    /// The rule of this thing.
    fn rule(&self, netns: u32, thing: &Thing) -> Option<usize> {
        let Thing::Rule {
            version,
            priority,
            text,
            table,
        } = thing
        else {
            return None;
        };
        self.rules.iter().position(|rule| {
            (rule.netns, rule.version, rule.priority, rule.table) == (netns, *version, *priority, *table)
                && rule.text == text
        })
    }

    /// Those for what has this mark.
    fn by_mark(&self, netns: u32, mark: Option<u32>) -> Vec<usize> {
        let is_its = |rule: &LookUp<'_>| {
            let wanted = value::after(rule.text, FWMARK).and_then(marked);
            let fits = |(is, mask)| mark.is_none_or(|mark| mark & mask == is);
            rule.netns == netns && rule.selector.inverted.is_none() && wanted.is_some_and(fits)
        };
        let all = self.rules.iter().enumerate();
        all.filter(|(_, rule)| is_its(rule))
            .map(|(place, _)| place)
            .collect()
    }
}

/// The mark and the mask that a policy rule asks for.
fn marked(word: &str) -> Option<(u32, u32)> {
    let (mark, mask) = word.split_once('/').unwrap_or((word, "0xffffffff"));
    Some((number(mark)?, number(mask)?))
}

/// What a rule of a firewall gives a packet that it is for.
#[derive(Clone, Copy)]
pub(super) enum Gift {
    /// A mark, where it is a constant.
    Mark(Option<u32>),
    /// Another source, likewise.
    Source(Option<IpAddr>),
    /// Another destination.
    Destination(Option<IpAddr>),
}

impl Gift {
    /// By the words of the rule. What is masqueraded has the address of the device by which it leaves, and is none.
    fn of(words: &str) -> Option<Self> {
        let to = || {
            let to = value::after(words, "to")?;
            to.parse()
                .or_else(|_| to.parse().map(|end: SocketAddr| end.ip()))
                .ok()
        };
        if words.contains(MARK_SET) || has_any(words, &MARKS) {
            let behind = words.split_once(MARK_SET).map(|(_, behind)| behind.trim_start());
            let mark = behind.and_then(|behind| behind.split(' ').next());
            return Some(Self::Mark(mark.and_then(number)));
        }
        if has_any(words, &SOURCES) {
            return Some(Self::Source(to()));
        }
        has_any(words, &DESTINATIONS).then(|| Self::Destination(to()))
    }
}

/// A rule of a firewall.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Rule {
    family: Family,
    chain: String,
    words: String,
}

/// Chains that iptables has by itself, whose names are written in capitals: of what this node sends itself the first ones are not asked,
/// and of nothing else the last one.
const ARRIVING: [&str; 3] = ["PREROUTING", "INPUT", "FORWARD"];
const LEAVING: &str = "OUTPUT";

/// A rule of a firewall that gives packets something.
pub(super) struct Giver {
    asks: Asks,
    /// What it asks for stands elsewhere, or it may be for what arrives.
    is_open: bool,
    gift: Gift,
}

impl Giver {
    /// Those that a change of a firewall brought, of what this node sends itself.
    fn all_of(change: &Change) -> Vec<Self> {
        if !may_give(change) {
            return Vec::new();
        }
        rules(change, Came::New).iter().filter_map(Self::of).collect()
    }

    fn of(Rule { family, chain, words }: &Rule) -> Option<Self> {
        let gift = Gift::of(words)?;
        // What this node sends itself arrived by no device.
        if has_any(words, &["iif", "iifname"]) || ARRIVING.contains(&chain.as_str()) {
            return None;
        }
        // What arrives for an own address may be what is sent elsewhere.
        let may_be_for_what_arrives =
            matches!(gift, Gift::Destination(_)) && !words.contains("daddr") && chain != LEAVING;
        let all: Vec<&str> = words.split(' ').collect();
        Some(Self {
            asks: Asks::of(*family, &all),
            // What is asked of a mark stands before what is given.
            is_open: has_any(words, &ELSEWHERE)
                || words.starts_with("mark ") && !words.starts_with(MARK_SET)
                || may_be_for_what_arrives,
            gift,
        })
    }

    /// Whether it is for what the flow sends; `None` where it is not.
    fn fit(&self, key: &FlowKey) -> Option<Fit> {
        self.asks.fit(&leaving(key))?;
        Some(if self.is_open { Fit::Perhaps } else { Fit::Surely })
    }
}

/// Some rule that the change of a firewall tells of gives packets something: of very many changes few do.
fn may_give(change: &Change) -> bool {
    let told = change.after.as_deref().unwrap_or_default();
    let mut words = [MARK_SET]
        .into_iter()
        .chain(MARKS)
        .chain(SOURCES)
        .chain(DESTINATIONS);
    words.any(|word| told.contains(word))
}

/// When rules of a firewall that give packets something went, by namespace: as it is looked back from the latest change, the first
/// time since.
#[derive(Default)]
pub(super) struct Gone {
    rules: HashMap<(u32, Rule), u64, RandomState>,
    /// Changes that were read.
    read: usize,
}

/// Changes that are read at most: there may be thousands, as where a proxy of services sets its rules every second.
const READ: usize = 256;

impl Gone {
    /// When all of this change's went that came by it; `None` where some stands. Then what went by this one is known too.
    pub(super) fn taken_back(&mut self, netns: u32, change: &Change) -> Option<u64> {
        if self.read >= READ || !may_give(change) {
            return None;
        }
        self.read += 1;
        let key = |rule: Rule| (netns, rule);
        let mut last = None;
        let mut all = true;
        for rule in rules(change, Came::New) {
            match self.rules.get(&key(rule)) {
                Some(at) => last = last.max(Some(*at)),
                None => all = false,
            }
        }
        for rule in rules(change, Came::Gone) {
            self.rules.insert(key(rule), change.at);
        }
        last.filter(|_| all)
    }
}

/// The rules that give packets something, that came or went by a change of nf_tables, and did not go and come by it: whoever loads all
/// anew takes each away and sets it again.
fn rules(change: &Change, which: Came) -> Vec<Rule> {
    let did = ruleset::read(change.after.as_deref().unwrap_or_default());
    let mut all: BTreeMap<Rule, (bool, bool)> = BTreeMap::new();
    for did in did.into_iter().flatten() {
        if let Did::Rule {
            table,
            chain,
            words,
            came,
            ..
        } = did
            && Gift::of(&words).is_some()
        {
            let family = table.family;
            let (new, gone) = all.entry(Rule { family, chain, words }).or_default();
            match came {
                Came::New => *new = true,
                Came::Gone => *gone = true,
            }
        }
    }
    let wanted = match which {
        Came::New => (true, false),
        Came::Gone => (false, true),
    };
    all.into_iter()
        .filter(|(_, how)| *how == wanted)
        .map(|(rule, _)| rule)
        .collect()
}

/// A change of a firewall brought a rule that gives something to what one of these flows sends.
pub(in crate::diagnosis) fn is_given<'a>(
    change: &Change,
    mut flows: impl Iterator<Item = &'a FlowKey>,
) -> bool {
    let givers = Giver::all_of(change);
    flows.any(|key| givers.iter().any(|giver| giver.fit(key).is_some()))
}

/// What a change does to what this node sends in one namespace.
pub(super) struct Way<'a> {
    pub(super) does: Does<'a>,
    model: &'a Model,
    policy: &'a Policy<'a>,
    netns: u32,
}

pub(super) enum Does<'a> {
    /// This neighbour has another link-layer address.
    Neighbour { device: &'a str, address: IpAddr },
    /// The route to this network leads so.
    Route {
        network: (IpAddr, u8),
        leads: Option<&'a str>,
        /// It was changed once more: it led so then, and does not now.
        is_over: bool,
    },
    /// This one of the policy rules.
    LooksUp(usize),
    /// Each with those of the policy rules that lead what is marked so, where it marks.
    Gives(Vec<(Giver, Vec<usize>)>),
    /// What leaves by this device, which takes packets of so many bytes at most and has dropped so many since.
    Shrinks { device: &'a str, mtu: u32, dropped: u64 },
    /// What leaves by this uplink, which asks for no link-layer address any more.
    AsksNoMore { device: &'a str },
}

impl<'a> Way<'a> {
    /// `next` is when the same was changed once more. `None` where it leads nothing astray.
    pub(super) fn of(
        model: &'a Model,
        policy: &'a Policy<'a>,
        change: &'a Change,
        next: Option<u64>,
    ) -> Option<Self> {
        let Subject::Setting(netns, thing) = &change.subject else {
            return None;
        };
        let netns = *netns;
        let does = match thing {
            Thing::Neighbour { device, address } => Does::Neighbour {
                device,
                address: *address,
            },
            Thing::Route {
                destination, prefix, ..
            } => Does::Route {
                network: (*destination, *prefix),
                leads: change.after.as_deref(),
                is_over: next.is_some(),
            },
            Thing::Rule { .. } => Does::LooksUp(policy.rule(netns, thing)?),
            Thing::Ruleset { .. } => {
                let with_rules = |giver: Giver| {
                    let rules = match giver.gift {
                        Gift::Mark(mark) => policy.by_mark(netns, mark),
                        Gift::Source(_) | Gift::Destination(_) => Vec::new(),
                    };
                    (giver, rules)
                };
                Does::Gives(Giver::all_of(change).into_iter().map(with_rules).collect())
            }
            Thing::Link { device } if effects::asks_no_more(change) => {
                let index = model.node().device_named(netns, device)?.index;
                model
                    .node()
                    .is_over_uplink(netns, index)
                    .then_some(Does::AsksNoMore { device })?
            }
            Thing::Link { device } => Does::Shrinks {
                device,
                mtu: value::mtu(change.after.as_deref()?)?,
                dropped: dropped(model, netns, device, change.at)?,
            },
            _ => return None,
        };
        leads_astray(change).then_some(Self {
            does,
            model,
            policy,
            netns,
        })
    }

    /// Whether what the flow sends goes by what was changed; `None` where it does not.
    pub(super) fn leads(&self, key: &FlowKey) -> Option<Fit> {
        if key.netns != self.netns {
            return None;
        }
        let (remote, settings) = (key.remote, self.model.settings());
        let surely = |is: bool| is.then_some(Fit::Surely);
        match &self.does {
            Does::Neighbour { address, .. } => surely(goes_by(self.model, self.netns, remote, *address)),
            Does::Route {
                network: (destination, prefix),
                leads,
                is_over,
            } => {
                // Of several the narrowest counts, and of these the one with the lowest metric.
                let is_chosen = || {
                    let chosen = settings.route(self.netns, remote);
                    chosen.is_some_and(|(of, by)| of == *prefix && *leads == Some(by))
                };
                surely(effects::covers(*destination, *prefix, remote) && (*is_over || is_chosen()))
            }
            Does::LooksUp(place) => self.looked_up(*place, key),
            Does::Gives(givers) => givers.iter().filter_map(|giver| self.given(giver, key)).max(),
            Does::Shrinks { device, .. } | Does::AsksNoMore { device } => {
                let leads = settings.route(self.netns, remote);
                surely(leads.and_then(|(_, leads)| value::leads_by(leads)) == Some(device))
            }
        }
    }

    fn looked_up(&self, place: usize, key: &FlowKey) -> Option<Fit> {
        self.policy.fit(self.policy.rules.get(place)?, key)
    }

    /// The same of what a rule of a firewall gives it.
    fn given(&self, (giver, by_mark): &(Giver, Vec<usize>), key: &FlowKey) -> Option<Fit> {
        let fit = giver.fit(key)?;
        let led = match giver.gift {
            Gift::Mark(mark) => {
                by_mark.iter().find_map(|place| self.looked_up(*place, key))?;
                if mark.is_some() { Fit::Surely } else { Fit::Perhaps }
            }
            // Who has that address answers for it.
            Gift::Source(Some(address)) if self.model.node().has_address(self.netns, address) => return None,
            Gift::Source(Some(_)) | Gift::Destination(Some(_)) => Fit::Surely,
            Gift::Source(None) | Gift::Destination(None) => Fit::Perhaps,
        };
        Some(fit.min(led))
    }

    /// What rules of a firewall give.
    pub(super) fn gifts(&self) -> impl Iterator<Item = Gift> {
        let givers = match &self.does {
            Does::Gives(givers) => &givers[..],
            _ => &[],
        };
        givers.iter().map(|(giver, _)| giver.gift)
    }

    /// Connections that were there before go as they did (`nf_nat_inet_fn` looks rules up for the first packet only).
    pub(super) fn leads_new_only(&self) -> bool {
        self.gifts().any(|gift| !matches!(gift, Gift::Mark(_)))
    }

    /// Who answers shows that the way is well. Of a device that takes smaller packets only, small ones get through.
    pub(super) fn is_all_or_nothing(&self) -> bool {
        !matches!(self.does, Does::Shrinks { .. })
    }
}

/// As marks are written.
fn number(word: &str) -> Option<u32> {
    u32::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// One of these words stands in a value.
fn has_any(value: &str, words: &[&str]) -> bool {
    value.split(' ').any(|word| words.contains(&word))
}

/// Packets that a device must have dropped: single ones that nobody takes it drops on any network.
const DROPPED: u64 = 2;

/// How many packets the device itself, or its driver, has dropped lately, where it has not before; `None` where it has not.
fn dropped(model: &Model, netns: u32, device: &str, since: u64) -> Option<u64> {
    let index = model.node().device_named(netns, device)?.index;
    let spells = model.counters().iter().filter_map(|(key, counted)| {
        let is_drop = match key.source {
            Source::Device => ["rx_dropped", "rx_errors"].contains(&key.name.as_str()),
            Source::Ethtool => key.name.contains("rx") && key.name.contains("drop"),
            _ => false,
        };
        let recent = counted.recent(model.now())?;
        let is_new = recent.since >= since && recent.packets >= DROPPED;
        (key.netns == netns && key.device == index && is_drop && is_new).then_some(recent.packets)
    });
    // The driver may count the same once more.
    spells.max()
}
