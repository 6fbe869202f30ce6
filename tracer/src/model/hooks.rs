//! At which hook of netfilter a packet was dropped, by the kernel's stack: the place itself is the same for all of
//! them (`nft_do_chain`, `nf_hook_slow`).

use std::collections::BTreeSet;
use std::fmt;

use crate::event::{Chain, Family, Location, Point};

/// A hook of netfilter, as `nft` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hook {
    /// Where it is.
    pub point: Point,
    /// Of which packets.
    family: &'static str,
    /// Family of the chain of nf_tables whose rules dropped the packet, where that is known.
    pub chains: Option<Family>,
}

impl fmt::Display for Hook {
    /// `input, ipv4`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.point, self.family)
    }
}

impl Hook {
    /// A BPF program may have dropped the packets that was put at the hook of this number (`enum nf_inet_hooks`) for packets of this
    /// family: no rule of nf_tables did.
    pub(crate) fn may_be_of_program(self, number: u32, family: &str) -> bool {
        let point = match number {
            0 => Point::Prerouting,
            1 => Point::Input,
            2 => Point::Forward,
            3 => Point::Output,
            4 => Point::Postrouting,
            _ => return true,
        };
        let family = match family {
            "ip" => "ipv4",
            "ip6" => "ipv6",
            _ => return true,
        };
        (self.point, self.family, self.chains) == (point, family, None)
    }
}

/// Which way packets go that a firewall drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// To this node itself.
    In,
    /// Through it.
    Through,
    /// From it.
    Out,
}

impl Course {
    /// They arrived.
    pub(crate) fn is_incoming(self) -> bool {
        self != Self::Out
    }

    /// Packets that go this way may come by this hook. What is handed up by a bridge, or out by one, may go on through the node.
    fn comes_by(self, hook: Hook) -> bool {
        match self {
            _ if hook.family == "bridge" => true,
            Self::In => hook.point != Point::Forward,
            Self::Through => !matches!(hook.point, Point::Input | Point::Output),
            Self::Out => true,
        }
    }

    /// Those of these hooks, each of a namespace, that packets come by that go this way. All of them where that is none: what is for
    /// this node itself is passed on where its rules of routing are lost.
    pub(crate) fn of(self, mut hooks: BTreeSet<(u32, Hook)>) -> BTreeSet<(u32, Hook)> {
        if hooks.iter().any(|(_, hook)| self.comes_by(*hook)) {
            hooks.retain(|(_, hook)| self.comes_by(*hook));
        }
        hooks
    }
}

/// Hooks as one text, each with the chain that was asked, where that is known: `netfilter: forward, ipv4; input, ipv6:
/// table inet guard, chain in`. Empty where there are none.
pub(crate) fn told<'a>(hooks: impl IntoIterator<Item = (Hook, Option<&'a Chain>)>) -> String {
    let tell = |(hook, chain): (Hook, Option<&Chain>)| match chain {
        Some(chain) => format!("{hook}: {chain}"),
        None => hook.to_string(),
    };
    // Those that differ in what is not told are one.
    let hooks: BTreeSet<String> = hooks.into_iter().map(tell).collect();
    if hooks.is_empty() {
        String::new()
    } else {
        format!("netfilter: {}", Vec::from_iter(hooks).join("; "))
    }
}

/// The hook that dropped a packet at this place, by the stack, innermost function first; `None` where it was none of
/// netfilter's, or is one that is not known.
pub(crate) fn hook(place: &Location, stack: &[Location]) -> Option<Hook> {
    // What a hook lets pass may be handed on from within it (`NF_HOOK` of a bridge).
    if !matches!(place.symbol.as_str(), "nf_hook_slow" | "nft_do_chain") {
        return None;
    }
    let (depth, (point, family)) = stack
        .iter()
        .enumerate()
        .find_map(|(depth, frame)| Some((depth, of_caller(&frame.symbol)?)))?;
    let by_bridge = (point, family) == BRIDGE_FORWARD;
    Some(Hook {
        point: if by_bridge && is_from_bridge(&stack[depth..]) {
            Point::Output
        } else {
            point
        },
        family,
        // Where the frames of a bridge do not tell, the other of its two hooks may have been asked.
        chains: chains_of(place, &stack[..depth]).filter(|_| !by_bridge),
    })
}

/// What a bridge hands to a port: it came by another port, or the node itself sends it by the bridge.
const BRIDGE_FORWARD: (Point, &str) = (Point::Forward, "bridge");

/// The node itself sends the packet by the bridge: `__br_forward` asks another hook then (`local_orig`).
fn is_from_bridge(callers: &[Location]) -> bool {
    callers
        .iter()
        .find_map(|frame| match frame.symbol.as_str() {
            "br_dev_xmit" => Some(true),
            "br_handle_frame" | "br_handle_frame_finish" => Some(false),
            _ => None,
        })
        .unwrap_or(false)
}

/// The rules of nf_tables drop packets here themselves (nft_do_chain in net/netfilter/nf_tables_core.c, since 6.7).
/// At other places, as all of netfilter's drops before that (`nf_hook_slow`), it may have been connection tracking
/// or anything else that is asked at a hook, so no chain is to be blamed.
pub(crate) fn is_of_rules(place: &Location) -> bool {
    place.symbol == "nft_do_chain"
}

/// Family of the chain of type `filter` whose rules dropped a packet here, by the frames up to that which asks the
/// hook. `None` where it was another chain, and where something else stands between them: then the hook that was asked
/// may be another one, as that of IP by a bridge.
fn chains_of(place: &Location, frames: &[Location]) -> Option<Family> {
    let mut frames = frames
        .iter()
        .map(|frame| frame.symbol.as_str())
        .skip_while(|symbol| *symbol != place.symbol)
        .skip(1);
    let family = Some(frames.next()?)
        .filter(|_| is_of_rules(place))
        .and_then(of_chain)?;
    let is_between = |symbol: &str| symbol.starts_with("nf_hook") || symbol.starts_with("NF_HOOK");
    frames.all(is_between).then_some(family)
}

/// The family of the chains that this function begins (net/netfilter/nft_chain_filter.c).
fn of_chain(symbol: &str) -> Option<Family> {
    Some(match symbol {
        "nft_do_chain_ipv4" => Family::Ip,
        "nft_do_chain_ipv6" => Family::Ip6,
        "nft_do_chain_inet" | "nft_do_chain_inet_ingress" => Family::Inet,
        "nft_do_chain_arp" => Family::Arp,
        "nft_do_chain_bridge" => Family::Bridge,
        "nft_do_chain_netdev" => Family::Netdev,
        _ => return None,
    })
}

/// The hook that this function asks (`NF_HOOK`, `NF_HOOK_COND`, `NF_HOOK_LIST` and `nf_hook` are inlined in it).
fn of_caller(symbol: &str) -> Option<(Point, &'static str)> {
    Some(match symbol {
        "ip_rcv" | "ip_sublist_rcv" | "ip_list_rcv" => (Point::Prerouting, "ipv4"),
        "ip_local_deliver" => (Point::Input, "ipv4"),
        "ip_forward" => (Point::Forward, "ipv4"),
        "__ip_local_out" => (Point::Output, "ipv4"),
        "ip_output" | "ip_mc_output" => (Point::Postrouting, "ipv4"),
        "ipv6_rcv" | "ip6_sublist_rcv" | "ipv6_list_rcv" => (Point::Prerouting, "ipv6"),
        "ip6_input" | "ip6_mc_input" => (Point::Input, "ipv6"),
        "ip6_forward" => (Point::Forward, "ipv6"),
        "__ip6_local_out" | "ip6_xmit" | "ndisc_send_skb" | "mld_sendpack" | "igmp6_send" => {
            (Point::Output, "ipv6")
        }
        "ip6_output" => (Point::Postrouting, "ipv6"),
        "arp_rcv" => (Point::Input, "arp"),
        "arp_xmit" => (Point::Output, "arp"),
        "__netif_receive_skb_core" => (Point::Ingress, "netdev"),
        "__dev_queue_xmit" => (Point::Egress, "netdev"),
        "br_handle_frame" => (Point::Prerouting, "bridge"),
        "br_pass_frame_up" => (Point::Input, "bridge"),
        "__br_forward" => BRIDGE_FORWARD,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(symbols: &[&str]) -> Vec<Location> {
        symbols
            .iter()
            .map(|symbol| Location {
                symbol: (*symbol).to_owned(),
                offset: 0x10,
            })
            .collect()
    }

    #[test]
    fn the_innermost_caller_of_a_hook_says_which() {
        for (symbols, expected) in [
            (
                &[
                    "nft_do_chain",
                    "nft_do_chain_inet",
                    "nf_hook_slow",
                    "ip_local_deliver",
                    "ip_rcv",
                ][..],
                "netfilter: input, ipv4",
            ),
            (
                &["nf_hook_slow", "ip6_forward", "ipv6_rcv"],
                "netfilter: forward, ipv6",
            ),
            (
                &["nft_do_chain", "nf_hook_slow", "__netif_receive_skb_core"],
                "netfilter: ingress, netdev",
            ),
            // The packet was an answer, sent while another was received.
            (
                &[
                    "nf_hook_slow",
                    "__ip_local_out",
                    "icmp_reply",
                    "icmp_rcv",
                    "ip_local_deliver",
                ],
                "netfilter: output, ipv4",
            ),
            // What a bridge sends to its port, of the node's own and of another port's.
            (
                &[
                    "nft_do_chain",
                    "nf_hook_slow",
                    "__br_forward",
                    "br_dev_xmit",
                    "dev_hard_start_xmit",
                ],
                "netfilter: output, bridge",
            ),
            (
                &[
                    "nft_do_chain",
                    "nf_hook_slow",
                    "__br_forward",
                    "br_handle_frame_finish",
                    "br_handle_frame",
                    "br_dev_xmit",
                ],
                "netfilter: forward, bridge",
            ),
            // Not dropped by a hook.
            (&["tcp_v4_rcv", "nf_hook_slow", "ip_local_deliver", "ip_rcv"], ""),
            (&["nf_hook_slow", "some_module"], ""),
        ] {
            let stack = stack(symbols);
            let hook = hook(&stack[0], &stack).map(|hook| (hook, None));
            assert_eq!(told(hook), expected, "{symbols:?}");
        }
    }

    #[test]
    fn the_family_of_the_chain_is_told_where_the_hook_is_sure() {
        for (symbols, expected) in [
            (
                &[
                    "nft_do_chain",
                    "nft_do_chain_inet",
                    "nf_hook_slow",
                    "NF_HOOK",
                    "ip_local_deliver",
                ][..],
                Some(Family::Inet),
            ),
            (
                &[
                    "nft_do_chain",
                    "nft_do_chain_ipv6",
                    "nf_hook_slow",
                    "nf_hook_slow_list",
                    "ip6_sublist_rcv",
                ],
                Some(Family::Ip6),
            ),
            (
                &[
                    "nft_do_chain",
                    "nft_do_chain_netdev",
                    "nf_hook_slow",
                    "__netif_receive_skb_core",
                ],
                Some(Family::Netdev),
            ),
            // Chains of another type.
            (
                &[
                    "nft_do_chain",
                    "nft_nat_do_chain",
                    "nf_nat_inet_fn",
                    "nf_hook_slow",
                    "ip_rcv",
                ],
                None,
            ),
            // A bridge asks the chains of IP, at a hook of its own.
            (
                &[
                    "nft_do_chain",
                    "nft_do_chain_ipv4",
                    "nf_hook_slow",
                    "br_nf_post_routing",
                    "br_handle_frame",
                ],
                None,
            ),
            // At `forward` or at `output`.
            (
                &[
                    "nft_do_chain",
                    "nft_do_chain_bridge",
                    "nf_hook_slow",
                    "__br_forward",
                ],
                None,
            ),
            // Connection tracking, or all before 6.7.
            (&["nf_hook_slow", "ip_local_deliver", "ip_rcv"], None),
        ] {
            let stack = stack(symbols);
            let hook = hook(&stack[0], &stack).unwrap();
            assert_eq!(hook.chains, expected, "{symbols:?}");
        }
    }
}
