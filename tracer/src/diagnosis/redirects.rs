//! Ports from which a rule of a firewall led packets to a service, until it went away.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::effects::covers;
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, distinct, list};
use super::{About, Finding, Rule, View, effects, evidence, pairing, ports, undo};
use crate::event::ruleset::{self, Came, Did, Table};
use crate::event::value::NF_TABLES;
use crate::event::{Family, Protocol, Thing, Version};
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::ends;
use crate::model::growth::Spell;
use crate::model::queues::Port;
use crate::model::timeline::Subject;
use crate::report::{Confidence, Where};

/// R34: a redirection went away, and what it led elsewhere finds no socket.
pub(super) const LOST: Rule = Rule {
    id: "R34",
    slug: "redirect-lost",
    title: "The rule that led packets to a service went away",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Packets for a port of this node that no socket was seen to have are dropped for NO_SOCKET, and in the minute before \
                    a rule of nf_tables with `redirect`, `dnat` or `tproxy` for that protocol and port went away and did not come \
                    again.",
        meaning: "The service listens at another port or address, and the firewall led packets there: as for a proxy, a container's \
                  published port or a service of Kubernetes. Without the rule they come to a port at which nothing listens. The \
                  service itself may be well, and who asks does nothing wrong.",
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

/// A rule that led packets elsewhere and went away.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Redirection {
    netns: u32,
    at: u64,
    family: Family,
    table: String,
    chain: String,
    words: String,
}

/// Those of them that did not come again, in the order of time.
pub(super) struct Redirections(Vec<Redirection>);

impl Redirections {
    pub(super) fn of(model: &Model) -> Self {
        let mut gone: Vec<Redirection> = Vec::new();
        for (_, change) in model.timeline().all() {
            let Subject::Setting(netns, Thing::Ruleset { firewall }) = &change.subject else {
                continue;
            };
            if firewall != NF_TABLES {
                continue;
            }
            let (mut went, mut came) = (Vec::new(), BTreeSet::new());
            for did in ruleset::read(change.after.as_deref().unwrap_or_default()) {
                match did {
                    Some(Did::Rule {
                        table,
                        chain,
                        words,
                        came: Came::Gone,
                        ..
                    }) if acts(&words) => went.push(Redirection {
                        netns: *netns,
                        at: change.at,
                        family: table.family,
                        table: table.name,
                        chain,
                        words,
                    }),
                    Some(Did::Rule {
                        words,
                        came: Came::New,
                        ..
                    }) => {
                        came.insert(words);
                    }
                    _ => {}
                }
            }
            gone.extend(went);
            // Who loads its rules anew deletes them and sets them again, be it in another chain.
            gone.retain(|one| one.netns != *netns || !came.contains(&one.words));
        }
        Self(gone)
    }

    /// The one that led what is for this port and address elsewhere, where it went away in the minute before.
    pub(super) fn led(&self, port: Port, address: IpAddr, since: u64) -> Option<&Redirection> {
        let first = since.saturating_sub(pairing::WINDOW);
        self.0.iter().rev().find(|one| {
            one.netns == port.netns
                && (first..=since.saturating_add(pairing::TOLD)).contains(&one.at)
                && leads(one.family, &one.words, port.protocol, port.number, address)
        })
    }
}

impl Redirection {
    fn table(&self) -> Table {
        Table {
            family: self.family,
            name: self.table.clone(),
        }
    }
}

/// What a rule does with these words may be to lead packets elsewhere: in the words of `nft`, or by the names of iptables' targets.
fn acts(words: &str) -> bool {
    let is_act = |word: &str| {
        ["redirect", "dnat", "tproxy"]
            .iter()
            .any(|act| word.eq_ignore_ascii_case(act))
    };
    words.split(' ').any(is_act)
}

/// A rule with these words leads elsewhere what is for that port, named alone, at that address.
pub(super) fn leads(family: Family, words: &str, protocol: Protocol, port: u16, address: IpAddr) -> bool {
    let all: Vec<&str> = words.split(' ').collect();
    let after = |name: &str| all.windows(2).find(|two| two[0] == name).map(|two| two[1]);
    let other = if protocol == Protocol::Udp { "tcp" } else { "udp" };
    let (version, others) = match Version::of(address) {
        Version::V4 => (Family::Ip, "ipv6"),
        Version::V6 => (Family::Ip6, "ipv4"),
    };
    let is_for = |to: &str| {
        let (network, prefix) = match to.split_once('/') {
            Some((network, prefix)) => (network, prefix.parse().ok()),
            None => (to, Some(if address.is_ipv4() { 32 } else { 128 })),
        };
        // What is not told so, as a set, may be for it.
        match (network.parse::<IpAddr>(), prefix) {
            (Ok(network), Some(prefix)) => {
                network.is_ipv4() == address.is_ipv4() && covers(network, prefix, address)
            }
            _ => true,
        }
    };
    acts(words)
        && after("dport").is_some_and(|number| number.parse() == Ok(port))
        && !all.contains(&other)
        && !all.contains(&others)
        && (family == version || !matches!(family, Family::Ip | Family::Ip6))
        && after("daddr").is_none_or(is_for)
}

/// What is refused at a port and address, and the rule that led it elsewhere.
struct Refused<'a> {
    port: Port,
    address: IpAddr,
    spell: Spell,
    rule: &'a Redirection,
}

fn lost(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let refused: Vec<Refused<'_>> = ports::strangers(model)
        .filter(|(_, _, spell)| spell.lasts(PACKETS, LASTING))
        .filter_map(|(port, address, spell)| {
            let rule = view.redirections().led(port, address, spell.since)?;
            Some(Refused {
                port,
                address,
                spell,
                rule,
            })
        })
        .collect();
    let all = refused.iter().map(|one| one.spell).reduce(Spell::and)?;
    let first = refused.first()?.port.netns;
    let at: BTreeSet<Port> = refused.iter().map(|one| one.port).collect();
    let suffering = Suffering::of(ports::refused(view, &at).into_iter().map(Sufferer::from));
    let rules: BTreeSet<&Redirection> = refused.iter().map(|one| one.rule).collect();
    let told = rules.iter().map(|rule| {
        let table = crate::event::table_name(rule.family, &rule.table);
        format!("`{}` in table {table}, chain {}", rule.words, rule.chain)
    });
    let which = if rules.len() == 1 { "the rule" } else { "the rules" };
    let numbers = distinct(
        refused
            .iter()
            .map(|one| format!("{} {}", one.port.protocol, one.port.number)),
    );
    let explanation = format!(
        "{} for {} found no socket, since {which} went away that led them to a service: {}. Nothing listens at that port itself, and none was seen to \
         since the start.{}",
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
        confidence: Confidence::Strong,
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
        remedy: rules
            .iter()
            .map(|rule| undo::put_back(&rule.table(), &rule.chain, &rule.words))
            .collect(),
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
            (Family::Inet, "ip daddr != 10.0.0.0/8 tcp dport 80 dnat", v4),
            (Family::Ip6, "tcp dport 80 tproxy", v6),
        ] {
            assert!(leads(family, words, Protocol::Tcp, address), "{words}");
        }
        for (family, words, address) in [
            (Family::Inet, "tcp dport 80 accept", v4),
            (Family::Inet, "tcp dport 8080 redirect", v4),
            (Family::Inet, "tcp dport in a set redirect", v4),
            (Family::Inet, "udp dport 80 redirect", v4),
            (Family::Ip, "tcp dport 80 redirect", v6),
            (Family::Inet, "ipv4 tcp dport 80 redirect", v6),
            (Family::Ip, "ip daddr 10.10.0.3 tcp dport 80 dnat", v4),
        ] {
            assert!(!leads(family, words, Protocol::Tcp, address), "{words}");
        }
        assert!(leads(Family::Inet, "udp dport 80 redirect", Protocol::Udp, v4));
    }
}
