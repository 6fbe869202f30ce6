//! Ports from which a rule of a firewall led packets to a service, until it went away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::gone_rules::{GoneRules, Translation, leads_elsewhere, went_away};
use super::matching::{Asks, Fit as Leads, Packet};
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, distinct, list, moment};
use super::{About, Finding, Rule, View, effects, evidence, pairing, path, ports};
use crate::event::{Family, Protocol, Version};
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::endpoints::Endpoint;
use crate::model::ends;
use crate::model::growth::Spell;
use crate::model::queues::Port;
use crate::report::{Confidence, Where};

/// R34: a redirection went away, and what it led elsewhere finds no socket.
pub(super) const LOST: Rule = Rule {
    id: "R34",
    slug: "redirect-lost",
    title: "The rule that led packets to a service went away",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Packets for a port of this node that no socket was seen to have are dropped for NO_SOCKET, and before \
                    a rule of nf_tables with `redirect`, `dnat` or `tproxy` for that protocol and port, for ports among which it is, or for \
                    all of an address went away and did not come again. A weak sign, unless packets for that port had come before and \
                    were not refused, where what the rule was for cannot be told from its words, as with a set, and where \
                    the first packet was refused more than a minute after. Or what this node asks of a port at an address that such a \
                    rule names gets no answer since within a minute after the rule went away.",
        meaning: "The service listens at another port or address, and the firewall led packets there: as for a proxy, a container's \
                  published port or a service of Kubernetes. Without the rule they come to a port at which nothing listens, or leave for an \
                  address that is nobody's. The service itself may be well, and who asks does nothing wrong.",
        check: &[
            "nft -a list ruleset",
            "iptables-legacy-save -c; ip6tables-legacy-save -c",
            "ss -lntup  # whether the service still listens where the rule led",
        ],
        mend: &[
            "Put the rule back, or have whoever set it load its rules again (systemctl restart of the firewall's or the network \
             plugin's unit). Risk: low for the former; the latter may replace rules of others.",
        ],
    },
    examine: lost,
    explains: effects::redirection,
    proved_by: effects::none,
    follows: &[],
};

/// Packets that must have been refused, and the time that they must span.
const PACKETS: u64 = 3;
const LASTING: u64 = SECOND;

/// The latest rule that surely led elsewhere what this node sent to such a remote end, and went away just before.
fn led_out<'a>(gone: &'a GoneRules, end: &Endpoint, since: u64) -> Option<&'a Translation> {
    let until = since.saturating_add(pairing::TOLD);
    gone.leading().rev().find(|one| {
        one.netns == end.netns
            && one.at <= until
            && since <= one.at.saturating_add(pairing::WINDOW)
            && leads_out(one.family, &one.words, end.protocol, end.port, end.address)
    })
}

/// The latest rule that led what is for this port and address elsewhere and went away before: one whose words say so comes
/// before one whose words leave it open.
pub(super) fn led(
    gone: &GoneRules,
    port: Port,
    address: IpAddr,
    since: u64,
) -> Option<(&Translation, Leads)> {
    let until = since.saturating_add(pairing::TOLD);
    let all = gone.leading();
    let leading = all
        .filter(|one| one.netns == port.netns && one.at <= until)
        .filter_map(|one| {
            let leads = leads(one.family, &one.words, port.protocol, port.number, address)?;
            Some((one, leads))
        });
    // The last one of the greatest.
    leading.max_by_key(|(_, leads)| *leads)
}

/// Whether a rule with these words leads elsewhere what is for that port at that address; `None` where it does not.
pub(super) fn leads(
    family: Family,
    words: &str,
    protocol: Protocol,
    port: u16,
    address: IpAddr,
) -> Option<Leads> {
    Leading::of(family, words)?.leads(&Packet {
        version: Version::of(address),
        protocol,
        source: (None, None),
        destination: (Some(address), Some(port)),
    })
}

/// What a rule asks of packets that leads them elsewhere: read once, and held against many.
pub(super) struct Leading {
    asks: Asks,
    /// It names no port, and may be for some all the same.
    is_open: bool,
}

impl Leading {
    /// Of one with these words; `None` where it leads nothing elsewhere.
    pub(super) fn of(family: Family, words: &str) -> Option<Self> {
        if !leads_elsewhere(words) {
            return None;
        }
        let all: Vec<&str> = words.split(' ').collect();
        let asks = Asks::of(family, &all);
        // Without a port it says only for which address.
        let is_open = !asks.names_a_port() && all.iter().any(|word| LEFT_OPEN.contains(word));
        Some(Self { asks, is_open })
    }

    /// Whether it leads such packets elsewhere; `None` where it does not.
    pub(super) fn leads(&self, packet: &Packet) -> Option<Leads> {
        let leads = self.asks.fit(packet)?;
        Some(if self.is_open { Leads::Perhaps } else { leads })
    }
}

/// Words of a rule without a port that may stand for one: what is not told in words, what is left out, and matches of iptables.
const LEFT_OPEN: [&str; 4] = ["payload", "...", "multiport", "cmp"];

/// Ends that are asked in vain, and those that are asked for, which are held against the rules that went, at most.
const ENDS: usize = 256;

/// What is refused at a port and address, and the rule that led it elsewhere.
struct Refused<'a> {
    port: Port,
    address: IpAddr,
    spell: Spell,
    rule: &'a Translation,
    leads: Leads,
    /// What came for it before the rule went away was not refused.
    has_worked: bool,
}

impl Refused<'_> {
    /// The rule's words and the time say enough, or what came before does.
    fn is_sure(&self) -> bool {
        let is_fresh = self.spell.since <= self.rule.at.saturating_add(pairing::WINDOW);
        self.has_worked || (self.leads == Leads::Surely && is_fresh)
    }
}

/// Finds out for which of them packets had arrived before the rule went away, and were not refused. All flows are looked through
/// once, however many ports are refused.
fn look_back(model: &Model, refused: &mut [Refused<'_>]) {
    let places: BTreeMap<(Port, IpAddr), usize> = refused
        .iter()
        .enumerate()
        .map(|(place, one)| ((one.port, one.address), place))
        .collect();
    if places.is_empty() {
        return;
    }
    for (key, flow) in model.flows().iter() {
        let place = places.get(&(Port::of(key), key.local));
        let Some(one) = place.and_then(|place| refused.get_mut(*place)) else {
            continue;
        };
        one.has_worked |= match flow.dropped {
            0 => flow.arrived > 0 && flow.last <= one.rule.at,
            // The last ones may be on their way.
            dropped => flow.arrived > dropped.saturating_add(1),
        };
    }
}

/// A rule with these words surely leads elsewhere what is sent to that port at that address, which it names: one that does not
/// may be for what arrives only.
pub(super) fn leads_out(family: Family, words: &str, protocol: Protocol, port: u16, address: IpAddr) -> bool {
    words.contains("daddr") && leads(family, words, protocol, port, address) == Some(Leads::Surely)
}

/// Whom this node asks in vain since the rule went away that led there what is for an address of a service.
fn unanswered(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    view.gone_rules().leading().next()?;
    let silences = model.silences().all();
    let mut led: BTreeMap<Endpoint, &Translation> = BTreeMap::new();
    let mut known: BTreeMap<Endpoint, Option<&Translation>> = BTreeMap::new();
    let mut asking: Vec<path::Asking<'_>> = Vec::new();
    for (plight, place) in view.asking() {
        let Some((end, silence)) = silences.get(*place) else {
            continue;
        };
        if known.len() >= ENDS && !known.contains_key(end) {
            continue;
        }
        let find = || led_out(view.gone_rules(), end, silence.since);
        if let Some(rule) = *known.entry(*end).or_insert_with(find) {
            led.insert(*end, rule);
            asking.push((plight, *place));
        }
    }
    let (first, _) = led.first_key_value()?;
    let first = first.netns;
    let silences = path::silences(model, asking.iter().map(|(_, place)| *place));
    let since = silences.iter().map(|(_, silence)| silence.since).min()?;
    let ended = silences
        .iter()
        .try_fold(0, |last: u64, (_, silence)| Some(last.max(silence.until?)));
    let requests = silences
        .iter()
        .fold(0_u64, |sum, (_, silence)| sum.saturating_add(silence.requests));
    let suffering = Suffering::of(asking.iter().map(|(plight, _)| Sufferer::from(*plight)));
    let rules: BTreeSet<&Translation> = led.values().copied().collect();
    let services = distinct(
        led.keys()
            .map(|end| format!("{} {} port {}", end.protocol, end.address, end.port)),
    );
    let explanation = format!(
        "This node made {} to {}, and no answer has come from there. {} What is sent there leaves as it is, for an address that may be \
         nobody's.{}",
        count(requests, "request"),
        list(&services),
        went_away(
            model,
            if rules.len() == 1 {
                "The rule that led them to a service"
            } else {
                "The rules that led them to a service"
            },
            &rules
        ),
        suffering.affected()
    );
    Some(Finding {
        confidence: Confidence::Strong,
        explanation,
        since,
        last: ended.unwrap_or(model.now()),
        evidence: silences
            .iter()
            .take(5)
            .map(|(end, silence)| path::endpoint(model, *end, *silence))
            .collect(),
        namespaces: led.keys().map(|end| end.netns).collect(),
        standing: None,
        devices: BTreeSet::new(),
        units: suffering.units([]),
        flows: suffering.flows,
        prevent: Vec::new(),
        check: vec![command(model, first, "nft -a list ruleset")],
        remedy: rules.iter().map(|rule| rule.put_back()).collect(),
    })
}

fn lost(view: &View<'_>) -> Option<Finding> {
    refused(view).or_else(|| unanswered(view))
}

fn refused(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let mut refused: Vec<Refused<'_>> = ports::strangers(model)
        .filter(|(_, _, spell)| spell.lasts(PACKETS, LASTING))
        .take(ENDS)
        .filter_map(|(port, address, spell)| {
            let (rule, leads) = led(view.gone_rules(), port, address, spell.since)?;
            Some(Refused {
                port,
                address,
                spell,
                rule,
                leads,
                has_worked: false,
            })
        })
        .collect();
    look_back(model, &mut refused);
    // What is sure is told without what is not.
    let is_sure = refused.iter().any(Refused::is_sure);
    refused.retain(|one| one.is_sure() == is_sure);
    let all = refused.iter().map(|one| one.spell).reduce(Spell::and)?;
    let first = refused.first()?.port.netns;
    let at: BTreeSet<Port> = refused.iter().map(|one| one.port).collect();
    let suffering = Suffering::of(ports::refused(view, &at).into_iter().map(Sufferer::from));
    let rules: BTreeSet<&Translation> = refused.iter().map(|one| one.rule).collect();
    let told = rules.iter().map(|rule| rule.told());
    let which = if rules.len() == 1 { "the rule" } else { "the rules" };
    let numbers = distinct(
        refused
            .iter()
            .map(|one| format!("{} {}", one.port.protocol, one.port.number)),
    );
    let (led, open) = if refused.iter().all(|one| one.leads == Leads::Surely) {
        ("that led them to a service", String::new())
    } else {
        let before = if is_sure {
            "; what came for it before was not refused"
        } else {
            ""
        };
        (
            "that may have led them to a service",
            format!(" Whether it was for that port its words do not say{before}."),
        )
    };
    let went = distinct(rules.iter().map(|rule| moment(model, rule.at))).join(", ");
    let explanation = format!(
        "{} for {} found no socket, and {which} {led} went away at {went}: {}. Nothing listens at that port itself, and none was seen to \
         since the start.{open}{}",
        count(all.packets, "packet"),
        list(&numbers),
        distinct(told).join("; "),
        suffering.named()
    );
    let evidence = refused
        .iter()
        .take(5)
        .map(|one| {
            let text = format!(
                "{} to {} {} port {}: {}",
                count(one.spell.packets, "packet"),
                one.port.protocol,
                one.address,
                one.port.number,
                ends::NO_SOCKET
            );
            evidence::drop(ends::NO_SOCKET, None, one.spell.packets, text)
        })
        .collect();
    Some(Finding {
        confidence: if is_sure {
            Confidence::Strong
        } else {
            Confidence::Weak
        },
        explanation,
        since: all.since,
        last: all.last,
        evidence,
        namespaces: at.iter().map(|port| port.netns).collect(),
        standing: None,
        devices: BTreeSet::new(),
        units: suffering.units([]),
        flows: suffering.flows,
        prevent: Vec::new(),
        check: ["nft -a list ruleset", "ss -lntup"]
            .map(|line| command(model, first, line))
            .into(),
        remedy: rules.iter().map(|rule| rule.put_back()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_leads_what_it_names() {
        let leads = |family, words, protocol, address: &str| {
            super::leads(family, words, protocol, 80, address.parse().unwrap())
        };
        let (v4, v6) = ("10.10.0.2", "2001:db8:10::2");
        for (family, words, address) in [
            (Family::Inet, "tcp dport 80 redirect", v4),
            (Family::Inet, "tcp dport 80 redirect", v6),
            (Family::Ip, "ip daddr 10.10.0.2 tcp dport 80 dnat", v4),
            (Family::Ip, "ip daddr 10.0.0.0/8 tcp dport 80 DNAT", v4),
            (Family::Inet, "ip daddr != 10.9.0.0/16 tcp dport 80 dnat", v4),
            (Family::Ip6, "tcp dport 80 tproxy", v6),
            (Family::Inet, "tcp dport >= 80 dport <= 90 redirect", v4),
            (Family::Inet, "tcp dport >= 70 dport <= 80 redirect", v4),
            (Family::Inet, "tcp dport != 443 redirect", v4),
            (Family::Ip, "ip daddr 10.10.0.2 dnat", v4),
        ] {
            assert!(
                leads(family, words, Protocol::Tcp, address) == Some(Leads::Surely),
                "{words}"
            );
        }
        for words in [
            "tcp dport in a set redirect",
            "ip daddr . dport in @ports dnat",
            "ip daddr in a set tcp dport 80 dnat",
            "ip daddr 10.10.0.2 tcp multiport DNAT",
            "tcp REDIRECT",
            "iifname eth0 tcp redirect",
        ] {
            assert!(
                leads(Family::Inet, words, Protocol::Tcp, v4) == Some(Leads::Perhaps),
                "{words}"
            );
        }
        for (family, words, address) in [
            (Family::Inet, "tcp dport 80 accept", v4),
            (Family::Inet, "tcp dport 8080 redirect", v4),
            (Family::Inet, "tcp dport >= 81 dport <= 90 redirect", v4),
            (Family::Inet, "tcp dport >= 70 dport <= 79 redirect", v4),
            (Family::Inet, "tcp dport != 80 redirect", v4),
            (Family::Inet, "udp dport 80 redirect", v4),
            (Family::Inet, "udp dport in a set redirect", v4),
            (Family::Ip, "tcp dport 80 redirect", v6),
            (Family::Inet, "ipv4 tcp dport 80 redirect", v6),
            (Family::Ip, "ip daddr 10.10.0.3 tcp dport 80 dnat", v4),
            (Family::Ip, "ip daddr != 10.0.0.0/8 tcp dport 80 dnat", v4),
            (Family::Ip, "ip daddr 10.10.0.3 dnat", v4),
        ] {
            assert!(leads(family, words, Protocol::Tcp, address).is_none(), "{words}");
        }
        let udp = leads(Family::Inet, "udp dport 80 redirect", Protocol::Udp, v4);
        assert!(udp == Some(Leads::Surely));
    }
}
