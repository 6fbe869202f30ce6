//! Firewalls and connection tracking.

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[REPLIES_FILTERED];

/// A ruleset that has lost the line which accepts what belongs to a connection.
const REPLIES_FILTERED: Scenario = Scenario {
    name: "replies-filtered",
    title: "a firewall that has forgotten replies",
    breaks: "A ruleset is loaded whose input chain drops all but SSH and neighbours, and lacks `ct state \
             established,related accept`, as where a half-done upgrade loads half of it.",
    says: "K01, where: guest kernel. Drops NETFILTER_DROP at nft_do_chain; lab-client starves.",
    needs: &[],
    setup: &[],
    traffic: &[PEER_SERVER, NODE_CLIENT, POD_CLIENT, NODE_PING],
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet broken; \
         add chain inet broken input { type filter hook input priority 0; policy drop; }; \
         add rule inet broken input iif lo accept; \
         add rule inet broken input icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; \
         add rule inet broken input tcp dport 22 accept",
    )],
    heal: &[Step::Nft(Place::Node, "delete table inet broken")],
    expect: Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("K01"),
        drops: &[ExpectedDrop::of(
            &["NETFILTER_DROP"],
            &["nft_do_chain", "nf_hook_slow"],
            Class::Policy,
        )
        .socket_found(true)],
        column: None,
        starved: Some(NODE_CLIENT),
        most_unexplained: 0.01,
    },
    late: true,
};
