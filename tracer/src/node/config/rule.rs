//! Rules that choose a routing table (`ip rule`).

use super::super::netlink::{attributes, string, u16_at, u32_at};
use super::words::{IPV4, action, address, network, protocol, sentence, table};
use crate::event::{Thing, Version, value};

// include/uapi/linux/fib_rules.h
pub(super) const GET: u16 = 34;
pub(super) const NEW: u16 = 32;
pub(super) const DELETE: u16 = 33;
/// Length of `struct fib_rule_hdr`.
pub(super) const HEADER: usize = 12;
const FIB_RULE_INVERT: u32 = 2;
const FR_ACT_TO_TBL: u8 = 1;
const FR_ACT_GOTO: u8 = 2;
const FR_ACT_NOP: u8 = 3;

/// A rule, `None` for what is none of IPv4 or IPv6.
/// `struct fib_rule_hdr` { u8 family, destination and source length, tos, table, 2 × reserved, action; u32 flags }
pub(super) fn parse(body: &[u8]) -> Option<Thing> {
    let &[family, to_length, from_length, tos, short_table, _, _, act, ..] = body else {
        return None;
    };
    super::words::unspecified(family)?;
    let flags = u32_at(body, 8)?;
    let mut table_number = u32::from(short_table);
    let mut priority = 0;
    let (mut from, mut to) = (None, None);
    let (mut mark, mut mask) = (None, u32::MAX);
    let (mut target, mut suppressed, mut by) = (0, None, 0);
    // In the order of `ip`: devices, l3mdev, users, protocol and ports.
    let (mut iif, mut oif, mut l3mdev) = (String::new(), String::new(), false);
    let (mut users, mut transport, mut from_port, mut to_port) =
        (String::new(), String::new(), String::new(), String::new());
    for (kind, value) in attributes(body.get(HEADER..)?) {
        match kind {
            1 => to = address(value),
            2 => from = address(value),
            3 => iif = format!("iif {}", string(value)),
            4 => target = u32_at(value, 0)?,
            6 => priority = u32_at(value, 0)?,
            10 => mark = u32_at(value, 0),
            14 => suppressed = u32_at(value, 0).filter(|length| *length != u32::MAX),
            15 => table_number = u32_at(value, 0)?,
            16 => mask = u32_at(value, 0)?,
            17 => oif = format!("oif {}", string(value)),
            19 => l3mdev = value.first() == Some(&1),
            20 => users = format!("uidrange {}-{}", u32_at(value, 0)?, u32_at(value, 4)?),
            21 => by = *value.first()?,
            22 => transport = format!("ipproto {}", ip_protocol(*value.first()?)),
            23 => from_port = ports("sport", value)?,
            24 => to_port = ports("dport", value)?,
            _ => {}
        }
    }
    let side = |word: &str, address: Option<std::net::IpAddr>, length: u8| match address {
        Some(address) => format!("{word} {}", network(address, length)),
        None if length > 0 => format!("{word} 0/{length}"),
        None => String::new(),
    };
    let from = match side(value::FROM, from, from_length) {
        any if any.is_empty() => value::FROM_ALL.to_owned(),
        from => from,
    };
    let words = [
        if flags & FIB_RULE_INVERT == 0 {
            ""
        } else {
            value::NOT
        }
        .to_owned(),
        from,
        side(value::TO, to, to_length),
        if tos == 0 {
            String::new()
        } else {
            format!("tos {tos:#04x}")
        },
        match mark {
            // A mask alone asks for a mark of 0.
            None if mask == u32::MAX => String::new(),
            mark if mask == u32::MAX => format!("fwmark {:#x}", mark.unwrap_or(0)),
            mark => format!("fwmark {:#x}/{mask:#x}", mark.unwrap_or(0)),
        },
        iif,
        oif,
        users,
        transport,
        from_port,
        to_port,
        match act {
            FR_ACT_TO_TBL if l3mdev => format!("{} [l3mdev-table]", value::LOOKUP),
            FR_ACT_TO_TBL => format!("{} {}", value::LOOKUP, table(table_number)),
            FR_ACT_GOTO => format!("goto {target}"),
            FR_ACT_NOP => "nop".to_owned(),
            other => action(other),
        },
        suppressed.map_or_else(String::new, |length| format!("{} {length}", value::SUPPRESS)),
        // The kernel's own rules are of it; those that say nothing are older than this attribute.
        if matches!(by, 0 | 2) {
            String::new()
        } else {
            format!("proto {}", protocol(by))
        },
    ];
    Some(Thing::Rule {
        version: if family == IPV4 { Version::V4 } else { Version::V6 },
        priority,
        text: sentence(words),
        table: if act == FR_ACT_TO_TBL { table_number } else { 0 },
    })
}

fn ip_protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "ipv6-icmp".to_owned(),
        other => other.to_string(),
    }
}

/// `struct fib_rule_port_range` { u16 start, end }
fn ports(word: &str, value: &[u8]) -> Option<String> {
    let (first, last) = (u16_at(value, 0)?, u16_at(value, 2)?);
    Some(if first == last {
        format!("{word} {first}")
    } else {
        format!("{word} {first}-{last}")
    })
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{attribute, survives};
    use super::*;

    fn message(header: [u8; 8], flags: u32, more: &[Vec<u8>]) -> Vec<u8> {
        [&header[..], &flags.to_ne_bytes(), &more.concat()].concat()
    }

    fn text(body: &[u8]) -> String {
        parse(body).unwrap().to_string()
    }

    fn number(kind: u16, number: u32) -> Vec<u8> {
        attribute(kind, &number.to_ne_bytes())
    }

    #[test]
    fn rules_are_told_as_ip_prints_them() {
        let local = message([2, 0, 0, 0, 255, 0, 0, 1], 1, &[number(15, 255)]);
        assert_eq!(text(&local), "IPv4 rule 0: from all lookup local");
        let is_for_all = |body: &[u8]| match parse(body) {
            Some(Thing::Rule { text, .. }) => value::is_for_all(&text),
            other => panic!("{other:?}"),
        };
        let short = message([2, 0, 0, 0, 254, 0, 0, 1], 0, &[number(15, 254), number(14, 0)]);
        let some = message(
            [2, 0, 8, 0, 254, 0, 0, 1],
            0,
            &[attribute(2, &[10, 0, 0, 0]), number(15, 254)],
        );
        assert!(is_for_all(&local) && !is_for_all(&short) && !is_for_all(&some));
        let marked = [
            number(6, 9),
            number(10, 0x200),
            number(16, 0xf00),
            number(15, 2004),
            attribute(21, &[4]),
        ];
        let marked = message([10, 0, 0, 0, 252, 0, 0, 1], 0, &marked);
        assert_eq!(
            text(&marked),
            "IPv6 rule 9: from all fwmark 0x200/0xf00 lookup 2004 proto static"
        );
        let Some(Thing::Rule { table, .. }) = parse(&marked) else {
            panic!()
        };
        assert_eq!(table, 2004);
        let all = [
            attribute(1, &[10, 1, 0, 0]),
            attribute(2, &[10, 2, 0, 1]),
            attribute(3, b"eth0\0"),
            attribute(17, b"eth1\0"),
            number(6, 5),
            attribute(20, &[0, 0, 0, 0, 9, 0, 0, 0]),
            attribute(22, &[6]),
            attribute(24, &[80, 0, 90, 0]),
            number(15, 254),
            number(14, 0),
        ];
        let all = message([2, 16, 32, 16, 254, 0, 0, 1], 2, &all);
        assert_eq!(
            text(&all),
            "IPv4 rule 5: not from 10.2.0.1 to 10.1.0.0/16 tos 0x10 iif eth0 oif eth1 uidrange 0-9 ipproto tcp \
             dport 80-90 lookup main suppress_prefixlength 0"
        );
        survives(&all, &|body| drop(parse(body)));
    }

    #[test]
    fn rules_that_look_nothing_up_say_what_they_do() {
        for (act, expected) in [
            (2, "goto 100"),
            (3, "nop"),
            (6, "blackhole"),
            (7, "unreachable"),
            (8, "prohibit"),
        ] {
            let body = message([2, 0, 0, 0, 0, 0, 0, act], 0, &[number(6, 7), number(4, 100)]);
            assert_eq!(text(&body), format!("IPv4 rule 7: from all {expected}"));
        }
        assert_eq!(
            parse(&message([128, 0, 0, 0, 0, 0, 0, 1], 0, &[])),
            None,
            "rules for multicast routing"
        );
    }
}
