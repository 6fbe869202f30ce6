//! What is said of a change that leads astray what this node sends.

use std::net::IpAddr;

use super::astray::{Does, Gift, Way};
use crate::diagnosis::words::{count, distinct, ip, list};
use crate::numbers::thousands;
use crate::shell::quoted;

impl Way<'_> {
    /// Why nothing comes back.
    pub(super) fn why(&self) -> String {
        let elsewhere = "what is sent goes another way than before, and reaches nobody who answers";
        match &self.does {
            Does::Neighbour { .. } => "what leaves with a link-layer address that is not the neighbour's reaches nobody, and the kernel \
                                       does not ask for one that was set by hand"
                .to_owned(),
            Does::Route { .. } | Does::LooksUp(_) => elsewhere.to_owned(),
            Does::Gives(_) => {
                let whys = distinct(self.gifts().map(|gift| {
                    match gift {
                        Gift::Mark(_) => "what is sent has a mark by which it goes another way than before, and reaches nobody who answers",
                        Gift::Source(_) => "what is sent leaves from another address than before, to which no answer comes back",
                        Gift::Destination(_) => "what is sent leaves for another address than is asked for, from which nobody answers",
                    }
                    .to_owned()
                }));
                list(&whys)
            }
            Does::Shrinks {
                device, mtu, dropped, ..
            } => format!(
                "what is larger than {} bytes {device} does not take, and no drop on the node tells of it; its counters have {} since",
                thousands(u64::from(*mtu)),
                count(*dropped, "packet")
            ),
            Does::AsksNoMore { device } => format!(
                "what leaves by {device} has its own link-layer address and reaches nobody, since with ARP off the kernel asks for no \
                 other one, nor does it answer who asks for this node's"
            ),
        }
    }

    /// What is to be looked at, and what takes it back where the kernel alone knows better.
    pub(super) fn commands(&self, peer: IpAddr) -> (Vec<String>, Vec<String>) {
        let by = ip(peer);
        match &self.does {
            Does::Neighbour { device, address } => {
                let (by, device) = (ip(*address), quoted(device));
                (
                    vec![
                        format!("{by} neigh show dev {device}"),
                        format!(
                            "arping -c 2 -I {device} {address}  # who answers, where arping is installed"
                        ),
                    ],
                    vec![format!(
                        "{by} neigh del {address} dev {device}  # Risk: low, the kernel asks for it anew."
                    )],
                )
            }
            Does::Route { .. } | Does::LooksUp(_) => (
                vec![
                    format!("{by} route get {peer}"),
                    format!("{by} rule"),
                    format!("{by} route show table all"),
                ],
                Vec::new(),
            ),
            Does::Gives(_) => {
                let mut check = vec!["nft -a list ruleset".to_owned()];
                check.extend(distinct(self.gifts().filter_map(|gift| match gift {
                    Gift::Mark(Some(mark)) => Some(format!("{by} route get {peer} mark {mark:#x}")),
                    Gift::Mark(None) => Some(format!("{by} rule")),
                    Gift::Source(_) | Gift::Destination(_) => None,
                })));
                (check, Vec::new())
            }
            Does::AsksNoMore { device } => (
                vec![
                    format!("ip link show dev {}  # must not say NOARP", quoted(device)),
                    format!("{by} route get {peer}"),
                ],
                Vec::new(),
            ),
            Does::Shrinks { device, .. } => (
                vec![format!("ip -s link show dev {}", quoted(device))],
                Vec::new(),
            ),
        }
    }

    /// What is to be done when it is taken back: what was translated so far goes on as it does, whatever rules there are
    /// (`nf_nat_inet_fn`).
    pub(super) fn afterwards(&self) -> Vec<String> {
        let lines = self.gifts().filter_map(|gift| match gift {
            Gift::Source(address) => Some(forget("--src-nat", address?)),
            Gift::Destination(address) => Some(forget("--dst-nat", address?)),
            Gift::Mark(_) => None,
        });
        distinct(lines)
    }
}

/// The command by which what was translated is forgotten.
pub(in crate::diagnosis) fn forget(how: &str, address: IpAddr) -> String {
    format!(
        "{}  # Once the rule is gone: what began with it keeps that address. Risk: low, it reaches nobody.",
        tracked("-D", how, address)
    )
}

/// What conntrack does with what was translated so.
pub(in crate::diagnosis) fn tracked(does: &str, how: &str, address: IpAddr) -> String {
    let family = if address.is_ipv4() { "" } else { " -f ipv6" };
    format!("conntrack {does}{family} {how} {address}")
}
