//! Targets of iptables-nft, told in the words by which `nft` tells its own expressions for the same.

use std::net::{IpAddr, SocketAddr};

use super::super::super::netlink::{array_at, string};
use super::super::Expression;
use super::{SET, mark};
use crate::event::Family;

/// `XT_CT_NOTRACK`, in the flags with which `struct xt_ct_target_info` begins.
const NOTRACK: u16 = 1;
/// `NF_NAT_RANGE_MAP_IPS`, `NF_NAT_RANGE_PROTO_SPECIFIED`
const GIVES_ADDRESS: u32 = 1;
const GIVES_PORT: u32 = 2;

/// What the target does, where it is one of these and read by its layout: `dnat to 192.0.2.7:80`.
pub(super) fn of(target: &Expression<'_>, family: Family) -> Option<String> {
    // NFTA_TARGET_NAME, NFTA_TARGET_REV, NFTA_TARGET_INFO
    let name = string(target.member(1)?);
    let (revision, info) = (target.number(2)?, target.member(3)?);
    let words = match name.as_str() {
        "CT" => {
            let flags = u16::from_ne_bytes(array_at(info, 0)?);
            return (flags & NOTRACK != 0).then(|| "notrack".to_owned());
        }
        "MARK" if revision == 2 => {
            // `struct xt_mark_tginfo2`
            let all = array_at(info, 4) == Some([u8::MAX; 4]);
            (format!("mark {SET}"), mark(info).filter(|_| all))
        }
        "MASQUERADE" => ("masquerade".to_owned(), None),
        "REDIRECT" => ("redirect".to_owned(), None),
        "SNAT" | "DNAT" => {
            let end = if revision == 0 {
                range_of_ipv4(info)
            } else {
                range(info, family)
            };
            (name.to_lowercase(), end.map(|end| format!("to {end}")))
        }
        _ => return None,
    };
    Some(match words {
        (does, None) => does,
        (does, Some(what)) => format!("{does} {what}"),
    })
}

/// The one end of `struct nf_nat_ipv4_multi_range_compat`.
fn range_of_ipv4(info: &[u8]) -> Option<String> {
    let flags = u32::from_ne_bytes(array_at(info, 4)?);
    let address = |at| Some(IpAddr::from(array_at::<4>(info, at)?));
    let port = |at| array_at(info, at).map(u16::from_be_bytes);
    end(flags, (address(8)?, address(12)?), (port(16)?, port(18)?))
}

/// The one end of `struct nf_nat_range`, and of `nf_nat_range2`, which begins like it.
fn range(info: &[u8], family: Family) -> Option<String> {
    let flags = u32::from_ne_bytes(array_at(info, 0)?);
    let address = |at| {
        Some(match family {
            Family::Ip => IpAddr::from(array_at::<4>(info, at)?),
            _ => IpAddr::from(array_at::<16>(info, at)?),
        })
    };
    let port = |at| array_at(info, at).map(u16::from_be_bytes);
    end(flags, (address(4)?, address(20)?), (port(36)?, port(38)?))
}

/// What is given, where it is one address, and one port if any.
fn end(flags: u32, addresses: (IpAddr, IpAddr), ports: (u16, u16)) -> Option<String> {
    let gives_port = flags & GIVES_PORT != 0;
    let is_one = addresses.0 == addresses.1 && (!gives_port || ports.0 == ports.1);
    (flags & GIVES_ADDRESS != 0 && is_one).then(|| match gives_port {
        true => SocketAddr::new(addresses.0, ports.0).to_string(),
        false => addresses.0.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::super::netlink::tests::attribute;
    use super::*;

    fn told(name: &str, revision: u32, info: &[u8], family: Family) -> Option<String> {
        let data = [
            attribute(1, &[name.as_bytes(), b"\0"].concat()),
            attribute(2, &revision.to_be_bytes()),
            attribute(3, info),
        ]
        .concat();
        let target = Expression {
            name: "target".to_owned(),
            data: &data,
        };
        of(&target, family)
    }

    /// As iptables 1.8.9 lays it out.
    #[test]
    fn what_it_translates_to_is_told() {
        let compat = |flags: u32, last: u8| {
            let (first, last) = ([10, 10, 0, 55], [10, 10, 0, last]);
            let ports = [8080_u16, 8080].map(u16::to_be_bytes).concat();
            let range = [&flags.to_ne_bytes()[..], &first, &last, &ports].concat();
            [&1_u32.to_ne_bytes()[..], &range].concat()
        };
        let snat = |info: &[u8]| told("SNAT", 0, info, Family::Ip);
        assert_eq!(snat(&compat(1, 55)).as_deref(), Some("snat to 10.10.0.55"));
        assert_eq!(snat(&compat(3, 55)).as_deref(), Some("snat to 10.10.0.55:8080"));
        assert_eq!(snat(&compat(1, 60)).as_deref(), Some("snat"), "a range");
        assert_eq!(snat(&[]).as_deref(), Some("snat"));
        let range = |flags: u32, first: &[u8]| {
            let address = [first, &vec![0; 16 - first.len()]].concat();
            let ports = [8080_u16, 8080, 0].map(u16::to_be_bytes).concat();
            [&flags.to_ne_bytes()[..], &address, &address, &ports].concat()
        };
        assert_eq!(
            told("DNAT", 2, &range(3, &[10, 10, 0, 77]), Family::Ip).as_deref(),
            Some("dnat to 10.10.0.77:8080")
        );
        let six = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!(
            told("DNAT", 1, &range(1, &six), Family::Ip6).as_deref(),
            Some("dnat to 2001:db8::7")
        );
        for (name, words) in [("MASQUERADE", "masquerade"), ("REDIRECT", "redirect")] {
            assert_eq!(told(name, 0, &compat(0, 55), Family::Ip).as_deref(), Some(words));
        }
    }

    #[test]
    fn what_mark_it_gives_and_that_it_keeps_from_tracking_is_told() {
        let info = |mark: u32, mask: u32| [mark.to_ne_bytes(), mask.to_ne_bytes()].concat();
        let marks = |info: &[u8]| told("MARK", 2, info, Family::Ip);
        assert_eq!(marks(&info(7, u32::MAX)).as_deref(), Some("mark set 0x7"));
        assert_eq!(marks(&info(7, 0xff)).as_deref(), Some("mark set"));
        let target = |flags: u16| [&flags.to_ne_bytes()[..], &[0; 30]].concat();
        assert_eq!(told("CT", 2, &target(1), Family::Ip).as_deref(), Some("notrack"));
        assert_eq!(told("CT", 2, &target(0), Family::Ip), None);
        assert_eq!(told("LOG", 0, &[0; 32], Family::Ip), None);
    }
}
