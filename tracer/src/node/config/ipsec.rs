//! Policies of IPsec (`ip xfrm policy`): which packets may come and go only by it, or not at all. Its states are left alone:
//! what the kernel tells of them has their keys in it. Who asked for a change is told only where that process says so itself
//! (`nlmsg_pid` of its request, `xfrm_add_policy`): `ip` does not.

use std::net::IpAddr;

use super::super::netlink::{array_at, attributes, u16_at, u32_at};
use super::known::{Change, Known};
use super::words::{IPV4, IPV6, network, unspecified};
use crate::event::Thing;

// include/uapi/linux/xfrm.h
/// `XFRMNLGRP_POLICY`
pub(super) const GROUP: u32 = 4;
pub(super) const GET: u16 = 0x15;
const NEW: u16 = 0x13;
const DELETE: u16 = 0x14;
const UPDATE: u16 = 0x19;
const EXPIRED: u16 = 0x1b;
const FLUSHED: u16 = 0x1d;
/// Length of `struct xfrm_userpolicy_id`, which asks for policies, and tells which is gone.
pub(super) const HEADER: usize = 64;
/// Length of `struct xfrm_userpolicy_info`.
const POLICY: usize = 168;
/// Length of `struct xfrm_user_tmpl`.
const TEMPLATE: usize = 64;
const BLOCK: u8 = 1;

/// What a message changes.
pub(super) fn take(kind: u16, body: &[u8], known: &mut Known) -> Vec<Change> {
    match kind {
        NEW | UPDATE => parse(body)
            .and_then(|(thing, value)| known.set(thing, value))
            .into_iter()
            .collect(),
        DELETE => {
            // XFRMA_POLICY
            let whole = attributes(body.get(HEADER..).unwrap_or_default()).find(|(kind, _)| *kind == 7);
            let gone = whole.and_then(|(_, policy)| parse(policy));
            gone.and_then(|(thing, _)| known.remove(&thing))
                .into_iter()
                .collect()
        }
        // `struct xfrm_user_polexpire` { struct xfrm_userpolicy_info pol; u8 hard }: at the hard limit it is gone.
        EXPIRED if body.get(POLICY).is_some_and(|hard| *hard != 0) => parse(body)
            .and_then(|(thing, _)| known.remove(&thing))
            .into_iter()
            .collect(),
        FLUSHED => known.remove_all(|thing| matches!(thing, Thing::Ipsec { .. })),
        _ => Vec::new(),
    }
}

/// A policy; `None` for one of a single socket. `struct xfrm_userpolicy_info` { struct xfrm_selector sel; 12 × u64;
/// u32 priority, index; u8 dir, action, flags, share }
pub(super) fn parse(body: &[u8]) -> Option<(Thing, String)> {
    let priority = u32_at(body, 152)?;
    let direction = match *body.get(160)? {
        0 => "in",
        1 => "out",
        2 => "fwd",
        _ => return None,
    };
    let mut words = vec![format!("{direction}, {}", selector(body)?)];
    let mut templates = Vec::new();
    for (kind, value) in attributes(body.get(POLICY..).unwrap_or_default()) {
        match kind {
            // XFRMA_TMPL
            5 => templates.extend(value.chunks_exact(TEMPLATE).filter_map(template)),
            // XFRMA_MARK { u32 value, mask }
            21 => words.push(format!("mark {:#x}/{:#x}", u32_at(value, 0)?, u32_at(value, 4)?)),
            // XFRMA_IF_ID
            31 => words.push(format!("if_id {:#x}", u32_at(value, 0)?)),
            _ => {}
        }
    }
    words.push(format!("priority {priority}"));
    let value = match (*body.get(161)?, templates.is_empty()) {
        (BLOCK, _) => "block".to_owned(),
        (_, true) => "allow".to_owned(),
        (_, false) => templates.join(", "),
    };
    let text = words.join(" ");
    Some((Thing::Ipsec { text }, value))
}

/// `from 10.0.0.0/24 to 10.1.0.0/24 proto 6 dport 80`: `struct xfrm_selector` { 16 bytes daddr, saddr; be16 dport,
/// dport_mask, sport, sport_mask; u16 family; u8 prefixlen_d, prefixlen_s, proto; i32 ifindex; u32 user }
fn selector(body: &[u8]) -> Option<String> {
    let family = u8::try_from(u16_at(body, 40)?).ok()?;
    let (to_bits, from_bits, protocol) = (*body.get(42)?, *body.get(43)?, *body.get(44)?);
    let end = |offset: usize, bits: u8| {
        let address = address(family, body, offset)?;
        Some(match bits {
            0 => "any".to_owned(),
            bits => network(address, bits),
        })
    };
    let mut text = format!("from {} to {}", end(16, from_bits)?, end(0, to_bits)?);
    if from_bits == 0 && to_bits == 0 {
        text = format!("{text} {}", if family == IPV4 { "(IPv4)" } else { "(IPv6)" });
    }
    if protocol != 0 {
        text = format!("{text} proto {protocol}");
    }
    for (word, offset) in [("sport", 36), ("dport", 32)] {
        let port = array_at(body, offset).map(u16::from_be_bytes)?;
        if u16_at(body, offset + 2)? != 0 {
            text = format!("{text} {word} {port}");
        }
    }
    Some(text)
}

/// What a packet must have gone through: `esp tunnel 192.0.2.1 -> 198.51.100.1`. `struct xfrm_user_tmpl` { 16 bytes daddr;
/// be32 spi; u8 proto; u16 family; 16 bytes saddr; u32 reqid; u8 mode, share, optional; … }
fn template(body: &[u8]) -> Option<String> {
    let protocol = match *body.get(20)? {
        50 => "esp".to_owned(),
        51 => "ah".to_owned(),
        108 => "comp".to_owned(),
        other => format!("proto {other}"),
    };
    let family = u8::try_from(u16_at(body, 24)?).ok()?;
    let (to, from) = (address(family, body, 0)?, address(family, body, 28)?);
    let mode = match *body.get(48)? {
        0 => "transport".to_owned(),
        1 => "tunnel".to_owned(),
        4 => "beet".to_owned(),
        other => format!("mode {other}"),
    };
    let optional = if *body.get(50)? == 0 { "" } else { ", optional" };
    let ends = if Some(to) == unspecified(family) {
        String::new()
    } else {
        format!(" {from} -> {to}")
    };
    Some(format!("{protocol} {mode}{ends}{optional}"))
}

/// An address of IPv4 is in the first four of sixteen bytes.
fn address(family: u8, body: &[u8], offset: usize) -> Option<IpAddr> {
    match family {
        IPV4 => array_at::<4>(body, offset).map(IpAddr::from),
        IPV6 => array_at::<16>(body, offset).map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{attribute, survives};
    use super::*;

    fn policy(direction: u8, action: u8, more: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![0; POLICY];
        body[..4].copy_from_slice(&[10, 1, 0, 0]);
        body[16..20].copy_from_slice(&[10, 0, 0, 0]);
        body[32..36].copy_from_slice(&[0, 80, 0xff, 0xff]);
        body[40..42].copy_from_slice(&2_u16.to_ne_bytes());
        body[42..45].copy_from_slice(&[24, 24, 6]);
        body[152..156].copy_from_slice(&100_u32.to_ne_bytes());
        body[160..162].copy_from_slice(&[direction, action]);
        body.extend(more.concat());
        body
    }

    fn tunnel() -> Vec<u8> {
        let mut template = vec![0; TEMPLATE];
        template[..4].copy_from_slice(&[198, 51, 100, 1]);
        template[20] = 50;
        template[24..26].copy_from_slice(&2_u16.to_ne_bytes());
        template[28..32].copy_from_slice(&[192, 0, 2, 1]);
        template[48] = 1;
        attribute(5, &template)
    }

    #[test]
    fn policies_are_told() {
        let told = |body: &[u8]| parse(body).map(|(thing, value)| format!("{thing}: {value}"));
        assert_eq!(
            told(&policy(1, 0, &[tunnel()])).as_deref(),
            Some(
                "IPsec policy out, from 10.0.0.0/24 to 10.1.0.0/24 proto 6 dport 80 priority 100: \
                 esp tunnel 192.0.2.1 -> 198.51.100.1"
            )
        );
        let mark = attribute(21, &[1_u32.to_ne_bytes(), 0xff_u32.to_ne_bytes()].concat());
        assert_eq!(
            told(&policy(0, BLOCK, &[mark])).as_deref(),
            Some(
                "IPsec policy in, from 10.0.0.0/24 to 10.1.0.0/24 proto 6 dport 80 mark 0x1/0xff priority 100: \
                 block"
            )
        );
        assert_eq!(told(&policy(3, 0, &[])), None, "of a socket");
        survives(&policy(1, 0, &[tunnel()]), &|body| drop(parse(body)));
    }

    #[test]
    fn policies_come_and_go() {
        let mut known = Known::default();
        let policy = policy(2, 0, &[]);
        let came = take(NEW, &policy, &mut known);
        assert_eq!(came[0].1.as_deref(), Some("allow"));
        let gone = [vec![0; HEADER], attribute(7, &policy)].concat();
        assert_eq!(take(DELETE, &gone, &mut known), [(came[0].0.clone(), None)]);
        assert_eq!(take(UPDATE, &policy, &mut known), came);
        let soft = [&policy[..], &[0; 8]].concat();
        assert_eq!(take(EXPIRED, &soft, &mut known), []);
        assert_eq!(take(FLUSHED, &[], &mut known), [(came[0].0.clone(), None)]);
        survives(&gone, &|body| drop(take(DELETE, body, &mut Known::default())));
    }
}
