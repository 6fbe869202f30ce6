//! Which changes lead elsewhere what this node sends, and which of it they lead.

use std::net::{IpAddr, SocketAddr};

use super::super::effects;
use super::super::firewalls::leaving;
use super::super::hops::goes_by;
use super::super::matching::{Asks, Fit};
use crate::event::ruleset::{self, Came, Did};
use crate::event::{Family, FlowKey, Source, TABLE_MAIN, Thing, Version, value};
use crate::model::Model;
use crate::model::timeline::{Change, Subject};

/// Words of a policy rule for what is not seen of a packet: who sends it, its mark, and what it was bound to.
const UNSEEN: [&str; 5] = ["fwmark", "tos", "uidrange", "oif", "[l3mdev-table]"];

/// The device by which, for the kernel, comes what this node sends itself.
const LOOPBACK: &str = "lo";

/// In words of a firewall's rule that marks.
const MARK_SET: &str = "mark set";
/// The targets of iptables are written in capitals.
const MARKS: [&str; 2] = ["MARK", "CONNMARK"];
const SOURCES: [&str; 2] = ["snat", "SNAT"];
const DESTINATIONS: [&str; 2] = ["dnat", "DNAT"];

/// Words of a firewall's rule that leave open what it is for: what it asks stands elsewhere.
const ELSEWHERE: [&str; 6] = ["in", "map", "payload", "...", "multiport", "cmp"];

/// Packets go another way than before, or from another address, or for another one: a route of table main came or leads elsewhere, a
/// policy rule came, the neighbour by which they go was set by hand, a rule of a firewall came that marks them or gives them another
/// address, or a device takes smaller ones. A route that sends them nowhere is another matter.
pub(in crate::diagnosis) fn leads_astray(change: &Change) -> bool {
    let Subject::Setting(_, thing) = &change.subject else {
        return false;
    };
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
        (Thing::Link { .. }, ..) => effects::is_smaller(change),
        (Thing::Ruleset { .. }, _, Some(_)) => !Giver::all_of(change).is_empty(),
        _ => false,
    }
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
                [_, _, _, "fwmark", mark, value::LOOKUP, ..] if mark != "0x0" => Fit::Surely,
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
pub(super) struct LookUp {
    version: Version,
    selector: Selector,
    /// Where the table leads. A rule that finds nothing in its table leaves it to the next one.
    ways: Vec<(IpAddr, u8)>,
}

impl LookUp {
    fn of(model: &Model, netns: u32, thing: &Thing) -> Option<Self> {
        let Thing::Rule {
            version, text, table, ..
        } = thing
        else {
            return None;
        };
        let ways = model.settings().iter().filter_map(|(of, thing, _)| match thing {
            Thing::Route {
                table: its,
                action,
                destination,
                prefix,
                ..
            } if of == netns && its == table && action == value::UNICAST => Some((*destination, *prefix)),
            _ => None,
        });
        let selector = Selector::of(text).filter(|_| is_look_up(text))?;
        Some(Self {
            version: *version,
            selector,
            ways: ways.collect(),
        })
    }

    fn fit(&self, key: &FlowKey) -> Option<Fit> {
        let leads = |(network, prefix): &(IpAddr, u8)| effects::covers(*network, *prefix, key.remote);
        let is_its = self.version == Version::of(key.remote) && self.ways.iter().any(leads);
        self.selector.fit(key).filter(|_| is_its)
    }
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
            return Some(Self::Mark(value::after(words, "set").and_then(number)));
        }
        if has_any(words, &SOURCES) {
            return Some(Self::Source(to()));
        }
        has_any(words, &DESTINATIONS).then(|| Self::Destination(to()))
    }
}

/// A rule of a firewall that gives packets something.
pub(super) struct Giver {
    asks: Asks,
    /// What it asks for stands elsewhere.
    is_open: bool,
    gift: Gift,
}

impl Giver {
    /// Those that a change of a firewall brought, of what this node sends itself.
    fn all_of(change: &Change) -> Vec<Self> {
        let now = change.after.as_deref().unwrap_or_default();
        // Of very many changes few bring one.
        let mut words = [MARK_SET]
            .into_iter()
            .chain(MARKS)
            .chain(SOURCES)
            .chain(DESTINATIONS);
        if !words.any(|word| now.contains(word)) {
            return Vec::new();
        }
        // Whoever loads all rules anew takes each away and sets it again.
        let gone = rules(change, Came::Gone);
        let came = rules(change, Came::New)
            .into_iter()
            .filter(|rule| !gone.contains(rule));
        came.filter_map(|(family, words)| {
            let gift = Gift::of(&words)?;
            // What this node sends itself arrived by no device.
            let all: Vec<&str> = words.split(' ').collect();
            (!has_any(&words, &["iif", "iifname"])).then(|| Self {
                asks: Asks::of(family, &all),
                is_open: has_any(&words, &ELSEWHERE),
                gift,
            })
        })
        .collect()
    }

    /// Whether it is for what the flow sends; `None` where it is not.
    fn fit(&self, key: &FlowKey) -> Option<Fit> {
        self.asks.fit(&leaving(key))?;
        Some(if self.is_open { Fit::Perhaps } else { Fit::Surely })
    }
}

/// The rules, with the family of their tables, that came or went by a change of nf_tables.
fn rules(change: &Change, which: Came) -> Vec<(Family, String)> {
    let did = ruleset::read(change.after.as_deref().unwrap_or_default());
    let rules = did.into_iter().flatten().filter_map(|did| match did {
        Did::Rule {
            table, words, came, ..
        } if came == which => Some((table.family, words)),
        _ => None,
    });
    rules.collect()
}

/// All rules that the one change of nf_tables brought went by the later one.
pub(super) fn takes_back(later: &Change, change: &Change) -> bool {
    let (gone, came) = (rules(later, Came::Gone), rules(change, Came::New));
    !came.is_empty() && came.iter().all(|rule| gone.contains(rule))
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
    pub(super) model: &'a Model,
    pub(super) netns: u32,
    pub(super) does: Does<'a>,
}

pub(super) enum Does<'a> {
    /// This neighbour has another link-layer address.
    Neighbour {
        device: &'a str,
        address: IpAddr,
    },
    /// The route to this network leads so.
    Route {
        network: (IpAddr, u8),
        leads: Option<&'a str>,
        /// It was changed once more: it led so then, and does not now.
        is_over: bool,
    },
    LooksUp(LookUp),
    /// Each with the rules that lead what is marked so, where it marks.
    Gives(Vec<(Giver, Vec<LookUp>)>),
    /// What leaves by this device, which takes packets of so many bytes at most and has dropped so many since.
    Shrinks {
        device: &'a str,
        mtu: u32,
        dropped: u64,
    },
}

impl<'a> Way<'a> {
    /// `next` is when the same was changed once more. `None` where it leads nothing astray.
    pub(super) fn of(model: &'a Model, change: &'a Change, next: Option<u64>) -> Option<Self> {
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
            Thing::Rule { .. } => Does::LooksUp(LookUp::of(model, netns, thing)?),
            Thing::Ruleset { .. } => {
                let with_rules = |giver: Giver| {
                    let rules = match giver.gift {
                        Gift::Mark(mark) => by_mark(model, netns, mark),
                        Gift::Source(_) | Gift::Destination(_) => Vec::new(),
                    };
                    (giver, rules)
                };
                Does::Gives(Giver::all_of(change).into_iter().map(with_rules).collect())
            }
            Thing::Link { device } => Does::Shrinks {
                device,
                mtu: value::mtu(change.after.as_deref()?)?,
                dropped: dropped(model, netns, device, change.at)?,
            },
            _ => return None,
        };
        leads_astray(change).then_some(Self { model, netns, does })
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
            Does::LooksUp(rule) => rule.fit(key),
            Does::Gives(givers) => givers.iter().filter_map(|giver| self.given(giver, key)).max(),
            Does::Shrinks { device, .. } => {
                let leads = settings.route(self.netns, remote);
                surely(leads.and_then(|(_, leads)| value::leads_by(leads)) == Some(device))
            }
        }
    }

    /// The same of what a rule of a firewall gives it.
    fn given(&self, (giver, by_mark): &(Giver, Vec<LookUp>), key: &FlowKey) -> Option<Fit> {
        let fit = giver.fit(key)?;
        let led = match giver.gift {
            Gift::Mark(mark) => {
                by_mark.iter().find_map(|rule| rule.fit(key))?;
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

/// The policy rules that stand for what has this mark.
fn by_mark(model: &Model, netns: u32, mark: Option<u32>) -> Vec<LookUp> {
    let rules = model.settings().iter().filter_map(|(of, thing, _)| match thing {
        Thing::Rule { text, .. } if of == netns => {
            let wanted = value::after(text, "fwmark")?;
            let (wanted, mask) = wanted.split_once('/').unwrap_or((wanted, "0xffffffff"));
            let (wanted, mask) = (number(wanted)?, number(mask)?);
            let is_its = mark.is_none_or(|mark| mark & mask == wanted);
            LookUp::of(model, netns, thing).filter(|_| is_its)
        }
        _ => None,
    });
    rules.collect()
}

/// As marks are written.
fn number(word: &str) -> Option<u32> {
    u32::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// One of these words stands in a value.
fn has_any(value: &str, words: &[&str]) -> bool {
    value.split(' ').any(|word| words.contains(&word))
}

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
        (key.netns == netns && key.device == index && is_drop && recent.since >= since)
            .then_some(recent.packets)
    });
    // The driver may count the same once more.
    spells.max()
}
