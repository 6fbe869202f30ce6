//! Kernel parameters and offloads that say something, of the many that stand as the kernel made them.

use super::settings::Settings;
use crate::event::Thing;
use crate::event::value::{self, TRACKED};

/// Offloads that the kernel leaves off, of most devices (`NETIF_F_SOFT_FEATURES_OFF`, `register_netdevice`) or of those that pods
/// have (`veth_fix_features`).
const LEFT_OFF: [&str; 4] = [
    "rx-gro",
    "rx-gro-list",
    "rx-udp-gro-forwarding",
    "tx-nocache-copy",
];

/// Whether it is worth telling how a thing stands: everything but kernel parameters and offloads that are what they are by
/// default. That packets are forwarded, and the reverse path filter, are told for all devices together in any case.
pub(crate) fn says_something(settings: &Settings, netns: u32, thing: &Thing, value: &str) -> bool {
    if is_state(thing) {
        return false;
    }
    let name = match thing {
        Thing::Sysctl { name } => name,
        Thing::Offloads { .. } => return value::off(value).any(|name| !LEFT_OFF.contains(&name)),
        _ => return true,
    };
    let Some((path, last)) = name.rsplit_once('.') else {
        return true;
    };
    // Of all devices: `net.ipv4.conf.all`.
    let of_all = path.ends_with(".conf.all");
    match last {
        "forwarding" | "rp_filter" if of_all => true,
        // The one for all devices sets that of each.
        "forwarding" => {
            let mut parts = path.splitn(3, '.');
            let family = parts.nth(1).unwrap_or_default();
            let all = Thing::Sysctl {
                name: format!("net.{family}.conf.all.forwarding"),
            };
            settings.value(netns, all) != Some(value)
        }
        // Reckoned from the memory that there is.
        "nf_conntrack_max" => true,
        "accept_ra" | "bridge-nf-call-iptables" | "nf_conntrack_tcp_loose" => value != "1",
        _ => value != "0",
    }
}

/// It is a figure, which says how much there is of something: nobody has set it.
pub(crate) fn is_figure(thing: &Thing) -> bool {
    matches!(thing, Thing::Sysctl { name } if name == TRACKED)
}

/// Nobody has set it: it comes and goes with what the node does.
pub(crate) fn is_state(thing: &Thing) -> bool {
    is_figure(thing) || matches!(thing, Thing::Nsid { .. } | Thing::Tracking)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Seen, Setting};

    #[test]
    fn parameters_that_stand_as_the_kernel_made_them_say_nothing() {
        let mut settings = Settings::default();
        let eth0 = Thing::Offloads {
            device: "eth0".to_owned(),
        };
        let says = |value| says_something(&Settings::default(), 7, &eth0, value);
        assert!(!says("all") && !says("all but rx-gro, tx-nocache-copy"));
        assert!(says("all but rx-checksum, rx-gro"));
        let sysctl = |name: &str| Thing::Sysctl {
            name: name.to_owned(),
        };
        settings.told(
            1,
            &Setting {
                netns: 1,
                thing: sysctl("net.ipv4.conf.all.forwarding"),
                value: Some("1".to_owned()),
                seen: Seen::Found,
                by: None,
                by_unknown: None,
            },
        );
        let says = |name: &str, value: &str| says_something(&settings, 1, &sysctl(name), value);
        assert!(says("net.ipv4.conf.all.forwarding", "0"));
        assert!(says("net.ipv4.conf.all.rp_filter", "0"));
        assert!(!says("net.ipv4.conf.eth0.rp_filter", "0"));
        assert!(says("net.ipv4.conf.eth0.1.rp_filter", "2"));
        assert!(!says("net.ipv4.conf.eth0.1.forwarding", "1"));
        assert!(says("net.ipv4.conf.eth0.forwarding", "0"));
        assert!(says("net.ipv6.conf.eth0.accept_ra", "0"));
        assert!(!says("net.ipv6.conf.eth0.accept_ra", "1"));
        assert!(says("net.ipv6.conf.all.disable_ipv6", "1"));
        assert!(says("net.netfilter.nf_conntrack_max", "65536"));
        let device = Thing::Link {
            device: "eth0".to_owned(),
        };
        assert!(says_something(&settings, 1, &device, "0"));
    }
}
