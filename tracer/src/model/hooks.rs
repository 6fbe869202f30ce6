//! At which hook of netfilter a packet was dropped, by the kernel's stack: the place itself is the same for all of
//! them (`nft_do_chain`, `nf_hook_slow`).

use std::fmt;

use crate::event::Location;

/// A hook of netfilter, as `nft` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hook {
    point: &'static str,
    family: &'static str,
}

impl fmt::Display for Hook {
    /// `input, ipv4`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.point, self.family)
    }
}

/// Hooks as one text: `netfilter: forward, ipv4; input, ipv6`. Empty where there are none.
pub(crate) fn told(hooks: impl IntoIterator<Item = Hook>) -> String {
    let hooks: Vec<String> = hooks.into_iter().map(|hook| hook.to_string()).collect();
    if hooks.is_empty() {
        String::new()
    } else {
        format!("netfilter: {}", hooks.join("; "))
    }
}

/// The hook that dropped a packet at this place, by the stack, innermost function first; `None` where it was none of
/// netfilter's, or is one that is not known.
pub(crate) fn hook(place: &Location, stack: &[Location]) -> Option<Hook> {
    // What a hook lets pass may be handed on from within it (`NF_HOOK` of a bridge).
    if !matches!(place.symbol.as_str(), "nf_hook_slow" | "nft_do_chain") {
        return None;
    }
    let (depth, hook) = stack
        .iter()
        .enumerate()
        .find_map(|(depth, frame)| Some((depth, of_caller(&frame.symbol)?)))?;
    Some(if hook == BRIDGE_FORWARD && is_from_bridge(&stack[depth..]) {
        Hook {
            point: "output",
            ..hook
        }
    } else {
        hook
    })
}

/// What a bridge hands to a port: it came by another port, or the node itself sends it by the bridge.
const BRIDGE_FORWARD: Hook = Hook {
    point: "forward",
    family: "bridge",
};

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

/// The hook that this function asks (`NF_HOOK`, `NF_HOOK_COND`, `NF_HOOK_LIST` and `nf_hook` are inlined in it).
fn of_caller(symbol: &str) -> Option<Hook> {
    let (point, family) = match symbol {
        "ip_rcv" | "ip_sublist_rcv" | "ip_list_rcv" => ("prerouting", "ipv4"),
        "ip_local_deliver" => ("input", "ipv4"),
        "ip_forward" => ("forward", "ipv4"),
        "__ip_local_out" => ("output", "ipv4"),
        "ip_output" | "ip_mc_output" => ("postrouting", "ipv4"),
        "ipv6_rcv" | "ip6_sublist_rcv" | "ipv6_list_rcv" => ("prerouting", "ipv6"),
        "ip6_input" | "ip6_mc_input" => ("input", "ipv6"),
        "ip6_forward" => ("forward", "ipv6"),
        "__ip6_local_out" | "ip6_xmit" | "ndisc_send_skb" | "mld_sendpack" | "igmp6_send" => {
            ("output", "ipv6")
        }
        "ip6_output" => ("postrouting", "ipv6"),
        "arp_rcv" => ("input", "arp"),
        "arp_xmit" => ("output", "arp"),
        "__netif_receive_skb_core" => ("ingress", "netdev"),
        "__dev_queue_xmit" => ("egress", "netdev"),
        "br_handle_frame" => ("prerouting", "bridge"),
        "br_pass_frame_up" => ("input", "bridge"),
        "__br_forward" => return Some(BRIDGE_FORWARD),
        _ => return None,
    };
    Some(Hook { point, family })
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
            assert_eq!(told(hook(&stack[0], &stack)), expected, "{symbols:?}");
        }
    }
}
