//! A rule in words close to those of `nft`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Expression, VERDICT, Verdict, member};
use crate::node::netlink::{array_at, string};

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
}

/// `NFT_LOOKUP_F_INV`: what is not in the set.
const LOOKUP_INVERTED: u32 = 1;

/// What an expression loads, and into which register.
fn load(expression: &Expression<'_>) -> Option<(u32, Kind)> {
    // NFTA_META_DREG, NFTA_CT_DREG, NFTA_PAYLOAD_DREG: without it something is set.
    let register = expression.number(1)?;
    let number = |member| expression.number(member).unwrap_or_default();
    let what = match expression.name.as_str() {
        // NFTA_META_KEY
        "meta" => meta(number(2)),
        // NFTA_CT_KEY
        "ct" => conntrack(number(2)),
        // NFTA_PAYLOAD_BASE, _OFFSET, _LEN
        "payload" => payload(number(2), number(3), number(4)),
        _ => return None,
    };
    Some((register, what))
}

/// What is asked, and done.
pub(super) fn of<'a>(expressions: impl Iterator<Item = Expression<'a>>) -> String {
    let mut held: BTreeMap<u32, Held> = BTreeMap::new();
    // Registers that were loaded one after the other, in this order: a set may be asked for all of them at once.
    let mut loaded: Vec<u32> = Vec::new();
    let mut words = Vec::new();
    for expression in expressions {
        if words.len() == MOST {
            words.push("...".to_owned());
            break;
        }
        let register = |number| expression.number(number).unwrap_or_default();
        let load = load(&expression);
        if load.is_none() && !matches!(expression.name.as_str(), "bitwise" | "byteorder" | "lookup") {
            loaded.clear();
        }
        match expression.name.as_str() {
            "counter" => {}
            _ if let Some((register, what)) = load => {
                loaded.push(register);
                held.insert(register, what.into());
            }
            // NFTA_BITWISE_SREG, _DREG, _LEN, _MASK, _XOR
            "bitwise" => {
                if let Some(mut of) = held.get(&register(1)).cloned() {
                    of.mask = expression
                        .member(4)
                        .and_then(|mask| member(mask, 1))
                        .map(Vec::from);
                    held.insert(register(2), of);
                }
            }
            // NFTA_CMP_SREG, _OP, _DATA
            "cmp" => {
                let value = expression.member(3).and_then(|data| member(data, 1));
                match held.get(&register(1)) {
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
                let names: Vec<&str> = asked
                    .iter()
                    .map(|one| held.get(one).map_or("a value", |held| held.what.name()))
                    .collect();
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
                words.push(format!("{} {how} {set}", names.join(" . ")));
                if let Some(register) = expression.number(3) {
                    held.remove(&register);
                }
                loaded.clear();
            }
            // NFTA_NAT_TYPE (`enum nft_nat_types`)
            "nat" => words.push(if register(1) == 0 { "snat" } else { "dnat" }.to_owned()),
            "masq" => words.push("masquerade".to_owned()),
            "redir" => words.push("redirect".to_owned()),
            // What is no verdict only puts something into a register.
            "immediate" => words.extend(expression.verdict().map(Verdict::words)),
            // NFTA_MATCH_NAME, NFTA_TARGET_NAME: as iptables-nft has them.
            "match" | "target" => words.push(string(expression.member(1).unwrap_or_default())),
            other => words.push(other.to_owned()),
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
            Self::Other(_) => return None,
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
            Kind::Protocol | Kind::Version => format!("{sign}{text}"),
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
