//! A rule in words close to those of `nft`.

mod registers;
mod targets;

use std::mem;
use std::net::IpAddr;

use super::{Expression, VERDICT, Verdict, member};
use crate::event::Family;
use crate::node::netlink::{array_at, string};

use registers::{Given, Registers};

/// Words of a rule at most: what is left out is told by an ellipsis.
const MOST: usize = 24;

/// What a register holds (`enum nft_registers`).
#[derive(Clone, Debug)]
struct Held {
    what: Kind,
    /// Only these bits of it.
    mask: Option<Vec<u8>>,
}

/// How it is called, and how its values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Device(&'static str),
    Port(&'static str),
    Address(&'static str),
    /// Of the transport: the value says it all.
    Protocol,
    /// IPv4 or IPv6: the value says it all.
    Version,
    State,
    /// In the byte order of the machine, as marks are.
    Number(&'static str),
    Mark(&'static str),
    Other(&'static str),
    /// What loads it has been told just before.
    Told,
}

/// Of what is given to a packet, before its value.
const SET: &str = "set";

/// `NFT_LOOKUP_F_INV`: what is not in the set.
const LOOKUP_INVERTED: u32 = 1;

/// What an expression loads, into which register, and how many bytes of it are known to be written at most.
fn load(expression: &Expression<'_>) -> Option<(u32, Kind, usize)> {
    // NFTA_META_DREG, NFTA_CT_DREG, NFTA_PAYLOAD_DREG: without it something is set.
    let register = expression.number(1)?;
    let number = |member| expression.number(member).unwrap_or_default();
    let mut length = registers::WHOLE;
    let what = match expression.name.as_str() {
        // NFTA_META_KEY
        "meta" => meta(number(2)),
        // NFTA_CT_KEY
        "ct" => conntrack(number(2)),
        // NFTA_PAYLOAD_BASE, _OFFSET, _LEN
        "payload" => {
            length = usize::try_from(number(4)).unwrap_or(length);
            payload(number(2), number(3), number(4))
        }
        _ => return None,
    };
    length = match what {
        Kind::State | Kind::Mark(_) | Kind::Number(_) => size_of::<u32>(),
        Kind::Protocol | Kind::Version => 1,
        _ => length,
    };
    Some((register, what, length))
}

/// Into which register an expression puts something that is told by its name here.
fn other_load(expression: &Expression<'_>) -> Option<u32> {
    match expression.name.as_str() {
        // NFTA_NG_DREG, NFTA_FIB_DREG, NFTA_RT_DREG, NFTA_EXTHDR_DREG, NFTA_OSF_DREG, NFTA_XFRM_DREG
        "numgen" | "fib" | "rt" | "exthdr" | "osf" | "xfrm" => expression.number(1),
        // NFTA_HASH_DREG, NFTA_SOCKET_DREG, NFTA_TUNNEL_DREG
        "hash" | "socket" | "tunnel" => expression.number(2),
        _ => None,
    }
}

/// An expression that has no other words here than its name leaves the registers as they are.
fn leaves_registers(name: &str) -> bool {
    matches!(
        name,
        "connlimit"
            | "dup"
            | "dynset"
            | "exthdr"
            | "flow_offload"
            | "fwd"
            | "last"
            | "limit"
            | "log"
            | "notrack"
            | "objref"
            | "queue"
            | "quota"
            | "range"
            | "reject"
            | "synproxy"
            | "tproxy"
    )
}

/// NFTA_NG_MODULUS, NFTA_NG_TYPE (`enum nft_ng_types`)
fn numbers(expression: &Expression<'_>) -> String {
    let how = match expression.number(3) {
        Some(1) => "random",
        _ => "inc",
    };
    format!("numgen {how} mod {}", expression.number(2).unwrap_or_default())
}

/// What is asked, and done.
pub(super) fn of<'a>(family: Family, expressions: impl Iterator<Item = Expression<'a>>) -> String {
    let mut held = Registers::default();
    // Registers that were loaded one after the other, in this order: a set may be asked for all of them at once.
    let mut loaded: Vec<u32> = Vec::new();
    let mut words = Vec::new();
    // What was put into registers for the expression that comes next.
    let mut given = Given::default();
    for expression in expressions {
        if words.len() == MOST {
            words.push("...".to_owned());
            break;
        }
        let for_this = match expression.name.as_str() {
            "immediate" => Given::default(),
            _ => mem::take(&mut given),
        };
        let register = |number| expression.number(number).unwrap_or_default();
        let (load, other) = (load(&expression), other_load(&expression));
        let goes_on = matches!(expression.name.as_str(), "bitwise" | "byteorder" | "lookup");
        if load.is_none() && other.is_none() && !goes_on {
            loaded.clear();
        }
        match expression.name.as_str() {
            "counter" => {}
            _ if let Some((register, what, length)) = load => {
                loaded.push(register);
                held.put(register, what.into(), length);
            }
            name if let Some(register) = other => {
                words.push(match name {
                    "numgen" => numbers(&expression),
                    name => name.to_owned(),
                });
                loaded.push(register);
                held.forget(register);
                held.put(register, Kind::Told.into(), registers::WHOLE);
            }
            // NFTA_BITWISE_SREG, _DREG, _LEN, _MASK, _XOR, _OP (0: mask and xor)
            "bitwise" => {
                let bits = |kind| expression.member(kind).and_then(|data| member(data, 1));
                let is_mask = register(6) == 0 && bits(5).unwrap_or_default().iter().all(|byte| *byte == 0);
                match held.get(register(1)).cloned() {
                    Some(of) if is_mask && of.mask.is_none() => {
                        let mask = bits(4).map(Vec::from);
                        held.put(register(2), Held { mask, ..of }, register(3) as usize);
                    }
                    _ => held.forget(register(2)),
                }
            }
            // NFTA_BYTEORDER_SREG, _DREG, _OP, _LEN: its values are another's than those that are read here.
            "byteorder" => match held.get(register(1)).cloned() {
                Some(of) => {
                    let turned = Kind::Other(of.what.name());
                    held.put(register(2), turned.into(), register(4) as usize);
                }
                None => held.forget(register(2)),
            },
            // NFTA_CMP_SREG, _OP, _DATA
            "cmp" => {
                let value = expression.member(3).and_then(|data| member(data, 1));
                match held.get(register(1)) {
                    Some(held) => words.extend(held.compared(register(2), value.unwrap_or_default())),
                    None => words.push("cmp".to_owned()),
                }
            }
            // NFTA_LOOKUP_SET, _SREG, _DREG, _FLAGS
            "lookup" => {
                let from = register(2);
                let first = loaded.iter().position(|one| *one == from);
                // More than one of them are a concatenation.
                let one = [from];
                let asked = first.and_then(|first| loaded.get(first..)).unwrap_or(&one);
                let names = asked
                    .iter()
                    .map(|one| held.get(*one).map_or("a value", |held| held.what.name()));
                let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
                let set = string(expression.member(1).unwrap_or_default());
                let set = if set.starts_with("__") {
                    "a set".to_owned()
                } else {
                    format!("@{set}")
                };
                let how = match expression.number(3) {
                    Some(VERDICT) => "vmap",
                    Some(_) => "map",
                    None if register(5) & LOOKUP_INVERTED != 0 => "not in",
                    None => "in",
                };
                words.push(
                    format!("{} {how} {set}", names.join(" . "))
                        .trim_start()
                        .to_owned(),
                );
                if let Some(register) = expression.number(3).filter(|register| *register != VERDICT) {
                    held.forget(register);
                }
                loaded.clear();
            }
            // NFTA_NAT_TYPE (`enum nft_nat_types`)
            "nat" => {
                words.push(if register(1) == 0 { "snat" } else { "dnat" }.to_owned());
                // NFTA_NAT_REG_ADDR_MIN, _MAX, NFTA_NAT_REG_PROTO_MIN, _MAX: of a range nothing is told.
                let is_one = |first, last| register(last) == 0 || register(last) == register(first);
                let is_known = is_one(3, 4) && is_one(5, 6);
                let end = for_this.end(register(3), register(5)).filter(|_| is_known);
                words.extend(end.map(|end| format!("to {end}")));
            }
            "masq" => words.push("masquerade".to_owned()),
            "redir" => words.push("redirect".to_owned()),
            // What is no verdict only puts something into a register: NFTA_IMMEDIATE_DREG.
            "immediate" => match expression.verdict() {
                Some(verdict) => words.push(verdict.words()),
                None => {
                    held.forget(register(1));
                    let data = expression.member(2).and_then(|data| member(data, 1));
                    given.put(register(1), data.unwrap_or_default());
                }
            },
            "target" if let Some(does) = targets::of(&expression, family) => words.push(does),
            // NFTA_MATCH_NAME, NFTA_TARGET_NAME: as iptables-nft has them.
            "match" | "target" => words.push(string(expression.member(1).unwrap_or_default())),
            // What is set has no register that is loaded: NFTA_META_KEY, _SREG.
            "meta" if let Kind::Mark(name) = meta(register(2)) => {
                let mark = for_this.value(register(3)).and_then(mark);
                words.push(format!("{name} {SET}"));
                words.extend(mark);
            }
            "meta" | "ct" | "payload" => words.push(expression.name),
            other => {
                words.push(other.to_owned());
                if !leaves_registers(other) {
                    held = Registers::default();
                }
            }
        }
    }
    words.join(" ")
}

impl Verdict {
    fn words(self) -> String {
        match self {
            Self::Drop => "drop".to_owned(),
            Self::Accept => "accept".to_owned(),
            Self::Queue => "queue".to_owned(),
            Self::GoOn(word) => word.to_owned(),
            Self::To(word, chain) => format!("{word} {chain}"),
        }
    }
}

impl From<Kind> for Held {
    fn from(what: Kind) -> Self {
        Self { what, mask: None }
    }
}

/// `enum nft_meta_keys`
fn meta(key: u32) -> Kind {
    match key {
        3 => Kind::Mark("mark"),
        4 => Kind::Number("iif"),
        5 => Kind::Number("oif"),
        6 => Kind::Device("iifname"),
        7 => Kind::Device("oifname"),
        10 => Kind::Number("skuid"),
        11 => Kind::Number("skgid"),
        15 => Kind::Version,
        16 => Kind::Protocol,
        _ => Kind::Other("meta"),
    }
}

/// `enum nft_ct_keys`
fn conntrack(key: u32) -> Kind {
    match key {
        0 => Kind::State,
        3 => Kind::Mark("ct mark"),
        _ => Kind::Other("ct"),
    }
}

/// `enum nft_payload_bases`, and where things are in the headers.
fn payload(base: u32, offset: u32, length: u32) -> Kind {
    match (base, offset, length) {
        // That of IPv4, and the next header of IPv6. What IPv4 has there is asked for by two bytes (`ip frag-off`).
        (1, 9 | 6, 1) => Kind::Protocol,
        // As many bytes as the prefix has, where those are whole ones. One byte at 8 may be IPv4's TTL.
        (1, 12, 1..=4) => Kind::Address("ip saddr"),
        (1, 16, 1..=4) => Kind::Address("ip daddr"),
        (1, 8, 2..=16) => Kind::Address("ip6 saddr"),
        (1, 24, 1..=16) => Kind::Address("ip6 daddr"),
        (2, 0, 2) => Kind::Port("sport"),
        (2, 2, 2) => Kind::Port("dport"),
        _ => Kind::Other("payload"),
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Device(name)
            | Self::Port(name)
            | Self::Address(name)
            | Self::Number(name)
            | Self::Mark(name)
            | Self::Other(name) => name,
            Self::Told => "",
            Self::Protocol => "protocol",
            Self::Version => "nfproto",
            Self::State => "ct state",
        }
    }

    fn value(self, bytes: &[u8]) -> Option<String> {
        Some(match self {
            Self::Device(_) => {
                // Without the NUL at its end it is the beginning of a name.
                let any = if bytes.contains(&0) { "" } else { "*" };
                format!("{}{any}", string(bytes))
            }
            Self::Port(_) => u16::from_be_bytes(array_at(bytes, 0)?).to_string(),
            Self::Address(name) => address(bytes, if name.starts_with("ip6") { 16 } else { 4 })?,
            Self::Protocol => match *bytes.first()? {
                1 => "icmp".to_owned(),
                6 => "tcp".to_owned(),
                17 => "udp".to_owned(),
                58 => "icmpv6".to_owned(),
                other => format!("protocol {other}"),
            },
            Self::Version => match *bytes.first()? {
                2 => "ipv4".to_owned(),
                10 => "ipv6".to_owned(),
                other => format!("nfproto {other}"),
            },
            Self::Mark(_) => mark(bytes)?,
            Self::Number(_) => u32::from_ne_bytes(array_at(bytes, 0)?).to_string(),
            Self::State => states(bytes)?,
            // Of the machine's byte order, as `numgen` and `hash` have it, and of nothing that is longer.
            Self::Told if bytes.len() == size_of::<u32>() => {
                u32::from_ne_bytes(array_at(bytes, 0)?).to_string()
            }
            Self::Other(_) | Self::Told => return None,
        })
    }
}

/// An address of so many bytes, or as many of it as its prefix has.
fn address(bytes: &[u8], whole: usize) -> Option<String> {
    let missing = whole.checked_sub(bytes.len())?;
    let all = [bytes, &vec![0; missing]].concat();
    let address = match whole {
        4 => IpAddr::from(array_at::<4>(&all, 0)?),
        _ => IpAddr::from(array_at::<16>(&all, 0)?),
    };
    Some(match missing {
        0 => address.to_string(),
        _ => format!("{address}/{}", bytes.len() * 8),
    })
}

/// `NF_CT_STATE_BIT` of `enum ip_conntrack_info`.
fn states(bytes: &[u8]) -> Option<String> {
    let bits = u32::from_ne_bytes(array_at(bytes, 0)?);
    let names = [
        (1, "invalid"),
        (2, "established"),
        (4, "related"),
        (8, "new"),
        (64, "untracked"),
    ];
    let set: Vec<&str> = names
        .into_iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| name)
        .collect();
    (!set.is_empty()).then(|| set.join(","))
}

impl Held {
    /// `enum nft_cmp_ops`
    fn compared(&self, how: u32, value: &[u8]) -> Option<String> {
        let sign = match how {
            0 => "",
            1 => "!= ",
            2 => "< ",
            3 => "<= ",
            4 => "> ",
            _ => ">= ",
        };
        // `ct state A,B` is: these bits of it are not all 0.
        if let (Kind::State, Some(mask)) = (self.what, &self.mask) {
            let not = if how == 0 { "!= " } else { "" };
            return Some(format!("ct state {not}{}", states(mask)?));
        }
        let mut text = self.what.value(value).unwrap_or_else(|| hexadecimal(value));
        if let Some(mask) = &self.mask {
            let bits = match self.what {
                Kind::Address(_) => prefix(mask).map(|bits| bits.to_string()),
                Kind::Mark(_) => mark(mask),
                _ => None,
            };
            text = format!("{text}/{}", bits.unwrap_or_else(|| hexadecimal(mask)));
        }
        Some(match self.what {
            Kind::Protocol | Kind::Version | Kind::Told => format!("{sign}{text}"),
            what => format!("{} {sign}{text}", what.name()),
        })
    }
}

fn mark(bytes: &[u8]) -> Option<String> {
    array_at(bytes, 0).map(|bytes| format!("{:#x}", u32::from_ne_bytes(bytes)))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

/// How many ones a mask begins with, if zeros only follow.
fn prefix(mask: &[u8]) -> Option<u32> {
    let bits: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let leading = mask.iter().take_while(|byte| **byte == 0xff).count();
    let rest = mask.get(leading..).unwrap_or_default();
    let partial = rest.first().map_or(0, |byte| byte.leading_ones());
    let in_front = u32::try_from(leading).ok()? * 8 + partial;
    (in_front == bits).then_some(in_front)
}

#[cfg(test)]
mod tests {
    use super::super::super::netlink::tests::attribute;
    use super::super::Rule;
    use super::super::tests::{expression, message, verdict};

    fn number(kind: u16, number: u32) -> Vec<u8> {
        attribute(kind, &number.to_be_bytes())
    }

    fn load(name: &str, members: &[u32]) -> Vec<u8> {
        let members: Vec<Vec<u8>> = (1..)
            .zip(members)
            .map(|(kind, value)| number(kind, *value))
            .collect();
        expression(name, &members.concat())
    }

    fn compare(how: u32, value: &[u8]) -> Vec<u8> {
        let data = attribute(3, &attribute(1, value));
        expression("cmp", &[number(1, 1), number(2, how), data].concat())
    }

    fn mask(bits: &[u8]) -> Vec<u8> {
        let mask = attribute(4, &attribute(1, bits));
        expression("bitwise", &[number(1, 1), number(2, 1), mask].concat())
    }

    fn words(expressions: &[Vec<u8>]) -> String {
        Rule::parse(&message(expressions)).unwrap().words()
    }

    #[test]
    fn simple_matches_are_told_as_nft_writes_them() {
        let ssh = [
            load("meta", &[1, 6]),
            compare(0, b"eth0\0\0\0\0\0\0\0\0\0\0\0\0"),
            load("meta", &[1, 16]),
            compare(0, &[6]),
            load("payload", &[1, 2, 2, 2]),
            compare(0, &22_u16.to_be_bytes()),
            load("counter", &[]),
            verdict(0),
        ];
        assert_eq!(words(&ssh), "iifname eth0 tcp dport 22 drop");
        let network = [
            load("meta", &[1, 15]),
            compare(0, &[2]),
            load("payload", &[1, 1, 12, 4]),
            mask(&[255, 255, 240, 0]),
            compare(1, &[10, 1, 16, 0]),
            expression("reject", &[]),
        ];
        assert_eq!(words(&network), "ipv4 ip saddr != 10.1.16.0/20 reject");
        let state = [
            load("ct", &[1, 0]),
            mask(&6_u32.to_ne_bytes()),
            compare(1, &[0; 4]),
            verdict(1),
        ];
        assert_eq!(words(&state), "ct state established,related accept");
        let marked = [
            load("meta", &[1, 3]),
            mask(&0xf00_u32.to_ne_bytes()),
            compare(0, &0x200_u32.to_ne_bytes()),
            verdict(-5),
        ];
        assert_eq!(words(&marked), "mark 0x200/0xf00 return");
    }

    fn look_up(set: &[u8], members: &[Vec<u8>]) -> Vec<u8> {
        let set = attribute(1, set);
        expression("lookup", &[set, number(2, 1), members.concat()].concat())
    }

    #[test]
    fn of_a_set_it_is_told_what_is_asked_and_how() {
        let address = || load("payload", &[1, 1, 16, 4]);
        // `nft_dump_register`: the second word of register 1.
        let port = || load("payload", &[9, 2, 2, 2]);
        let guarded = [address(), look_up(b"ok\0", &[number(5, 1)]), verdict(0)];
        assert_eq!(words(&guarded), "ip daddr not in @ok drop");
        let both = [
            load("meta", &[1, 16]),
            compare(0, &[6]),
            address(),
            port(),
            look_up(b"ok\0", &[number(5, 0)]),
            verdict(0),
        ];
        assert_eq!(words(&both), "tcp ip daddr . dport in @ok drop");
        let chains = [address(), port(), look_up(b"__map0\0", &[number(3, 0)])];
        assert_eq!(words(&chains), "ip daddr . dport vmap a set");
        let to = [
            address(),
            look_up(b"to\0", &[number(3, 1)]),
            expression("nat", &number(1, 1)),
        ];
        assert_eq!(words(&to), "ip daddr map @to dnat");
    }

    /// `numgen random mod 4 0` of the machine's byte order, behind a port of the same register.
    #[test]
    fn what_is_loaded_is_no_longer_what_was_there_before() {
        let port = || {
            [
                load("payload", &[1, 2, 0, 2]),
                compare(0, &8080_u16.to_be_bytes()),
            ]
        };
        let zero = || compare(0, &0_u32.to_ne_bytes());
        let chance = [&port()[..], &[load("numgen", &[1, 4, 1]), zero(), verdict(0)]].concat();
        assert_eq!(words(&chance), "sport 8080 numgen random mod 4 0 drop");
        // By a small register, which is a part of that: NFT_REG32_00 is where NFT_REG_1 begins.
        let part = [&port()[..], &[load("numgen", &[8, 4, 0]), zero(), verdict(0)]].concat();
        assert_eq!(words(&part), "sport 8080 numgen inc mod 4 0 drop");
        for (name, members) in [
            ("fib", &[1, 2][..]),
            ("rt", &[1, 0]),
            ("exthdr", &[1, 2]),
            ("hash", &[1, 1]),
            ("socket", &[1, 1]),
        ] {
            let asked = [&port()[..], &[load(name, members), compare(0, &[3]), verdict(0)]].concat();
            assert_eq!(words(&asked), format!("sport 8080 {name} 0x03 drop"));
        }
        let map = look_up(b"to\0", &[number(3, 1)]);
        let value = attribute(2, &attribute(1, &[0; 4]));
        let put = expression("immediate", &[number(1, 1), value].concat());
        let other = expression("news", &[]);
        for (unknown, told) in [(map, "sport map @to "), (put, ""), (other, "news ")] {
            let asked = [&port()[..], &[unknown, zero(), verdict(0)]].concat();
            assert_eq!(words(&asked), format!("sport 8080 {told}cmp drop"));
        }
    }

    #[test]
    fn what_overlaps_is_known_no_more_and_what_does_not_stays() {
        let address = || load("payload", &[1, 1, 16, 4]);
        // The second word of register 1: beside the address, and within the name of a device.
        let mark = || load("meta", &[9, 3]);
        let asks = |first| [first, mark(), compare(0, &[10, 0, 0, 1]), verdict(0)];
        assert_eq!(words(&asks(address())), "ip daddr 10.0.0.1 drop");
        assert_eq!(words(&asks(load("meta", &[1, 6]))), "cmp drop");
    }

    /// `meta mark > 5`
    #[test]
    fn what_is_turned_to_the_byte_order_of_the_network_is_read_as_no_number_of_the_machine() {
        let turn = expression("byteorder", &[number(1, 1), number(2, 1), number(4, 4)].concat());
        let above = [
            load("meta", &[1, 3]),
            turn,
            compare(4, &5_u32.to_be_bytes()),
            verdict(0),
        ];
        assert_eq!(words(&above), "mark > 0x00000005 drop");
    }

    #[test]
    fn what_a_packet_is_given_is_told() {
        let give = |to: u32, value: &[u8]| {
            let data = attribute(2, &attribute(1, value));
            expression("immediate", &[number(1, to), data].concat())
        };
        let set = |key| expression("meta", &[number(2, key), number(3, 1)].concat());
        assert_eq!(
            words(&[give(1, &0x37_u32.to_ne_bytes()), set(3)]),
            "mark set 0x37"
        );
        // `meta mark set ct mark`
        assert_eq!(words(&[load("ct", &[1, 3]), set(3)]), "mark set");
        assert_eq!(words(&[give(1, &[1]), set(0)]), "meta");
        let nat = |members: &[(u16, u32)]| {
            let members: Vec<Vec<u8>> = members
                .iter()
                .map(|(kind, value)| number(*kind, *value))
                .collect();
            expression("nat", &members.concat())
        };
        let address = || give(1, &[203, 0, 113, 9]);
        assert_eq!(words(&[address(), nat(&[(1, 0), (3, 1)])]), "snat to 203.0.113.9");
        let port = give(2, &8080_u16.to_be_bytes());
        let both = [address(), port, nat(&[(1, 1), (3, 1), (5, 2)])];
        assert_eq!(words(&both), "dnat to 203.0.113.9:8080");
        let six = give(1, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(words(&[six, nat(&[(1, 0), (3, 1)])]), "snat to 2001:db8::9");
        // What was given to something else.
        assert_eq!(
            words(&[address(), set(3), nat(&[(1, 0), (3, 1)])]),
            "mark set 0x97100cb snat"
        );
    }

    #[test]
    fn prefixes_of_whole_bytes_are_addresses() {
        let private = [
            load("payload", &[1, 1, 12, 1]),
            compare(0, &[10]),
            expression("masq", &[]),
        ];
        assert_eq!(words(&private), "ip saddr 10.0.0.0/8 masquerade");
        let other = [
            load("payload", &[1, 1, 24, 4]),
            compare(1, &[0x20, 1, 0xd, 0xb8]),
            verdict(0),
        ];
        assert_eq!(words(&other), "ip6 daddr != 2001:db8::/32 drop");
    }

    #[test]
    fn the_next_header_of_ipv6_is_a_protocol() {
        let echo = [
            load("payload", &[1, 1, 6, 1]),
            compare(0, &[58]),
            load("payload", &[1, 1, 6, 2]),
            compare(0, &[0, 0]),
            verdict(1),
        ];
        assert_eq!(words(&echo), "icmpv6 payload 0x0000 accept");
    }

    #[test]
    fn what_has_no_words_is_told_by_its_name() {
        let odd = [
            load("payload", &[1, 0, 6, 6]),
            compare(0, &[2, 0, 0, 0, 0, 1]),
            expression("limit", &[]),
            expression("match", &attribute(1, b"comment\0")),
            compare(5, &[1]),
        ];
        assert_eq!(
            words(&odd),
            "payload 0x020000000001 limit comment payload >= 0x01"
        );
        assert_eq!(
            words(&vec![expression("log", &[]); 99]),
            ["log "; 24].concat() + "..."
        );
        let whole = message(&odd);
        for length in 0..whole.len() {
            let _ = Rule::parse(&whole[..length]).map(|rule| rule.words());
        }
    }
}
