//! The rules of nf_tables that can drop packets, with what they have counted: read when somebody asks for them.

use super::chains::{GET_CHAIN, HEADER, MODULE, family, members, number};
use super::modules::is_loaded;
use super::netlink::{self, array_at, attributes, string};
use super::{Netns, namespace};
use crate::event::{Counted, Dropper, Droppers};

/// `NFNL_SUBSYS_NFTABLES` with `NFT_MSG_GETRULE` (include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h).
const GET_RULE: u16 = 10 << 8 | 7;
/// Verdicts (include/uapi/linux/netfilter.h).
const NF_DROP: u32 = 0;
const NF_QUEUE: u32 = 3;
/// The lower half of a verdict; the upper has the queue's number (`NF_VERDICT_MASK`, whose flags are in the next byte).
const NF_VERDICT: u32 = 0xff;
/// The register that holds the verdict (`NFT_REG_VERDICT`).
const VERDICT: u32 = 0;

/// Why they cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// The kernel does not tell.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
}

/// Reads them; `None` where nf_tables is not loaded, since asking would load it, or the kernel has it not.
///
/// # Errors
/// Where the namespace cannot be entered, or the kernel does not tell.
pub fn read(netns: &Netns) -> Result<Option<Droppers>, Error> {
    if !is_loaded(MODULE) {
        return Ok(None);
    }
    match netns.enter(all)? {
        Ok(rules) => {
            let left_out = rules.len().saturating_sub(Droppers::MOST) as u64;
            let rules = rules.into_iter().take(Droppers::MOST).collect();
            let netns = netns.inode();
            Ok(Some(Droppers {
                netns,
                rules,
                left_out,
            }))
        }
        Err(error) if error.is_unsupported() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Those of this thread's namespace.
fn all() -> Result<Vec<Dropper>, netlink::Error> {
    let list = |request, parse: fn(&[u8]) -> Option<Dropper>| {
        let all = netlink::dump(netlink::NETFILTER, request, &[0; HEADER], |body| {
            Some(parse(body))
        })?;
        Ok::<_, netlink::Error>(all.into_iter().flatten())
    };
    Ok(list(GET_CHAIN, policy)?.chain(list(GET_RULE, rule)?).collect())
}

/// A base chain that drops what no rule of it decides about (`nf_tables_fill_chain_info`).
fn policy(body: &[u8]) -> Option<Dropper> {
    let mut found = dropper(*body.first()?)?;
    let mut is_drop = false;
    for (kind, value) in members(body) {
        match kind {
            1 => found.table = string(value),
            3 => found.chain = string(value),
            // NFTA_CHAIN_POLICY
            5 => is_drop = number(value)? == NF_DROP,
            // NFTA_CHAIN_COUNTERS
            8 => found.counted = counted(value),
            _ => {}
        }
    }
    found.verdict = "policy drop".to_owned();
    is_drop.then_some(found)
}

/// A rule that can drop (`nf_tables_fill_rule_info`).
fn rule(body: &[u8]) -> Option<Dropper> {
    let mut found = dropper(*body.first()?)?;
    let mut verdict = None;
    for (kind, value) in members(body) {
        match kind {
            1 => found.table = string(value),
            2 => found.chain = string(value),
            3 => found.handle = array_at(value, 0).map(u64::from_be_bytes)?,
            // NFTA_RULE_EXPRESSIONS: a list of NFTA_EXPR_NAME, NFTA_EXPR_DATA
            4 => {
                for (_, expression) in attributes(value) {
                    let member = |wanted| {
                        attributes(expression).find_map(|(kind, value)| (kind == wanted).then_some(value))
                    };
                    let data = member(2).unwrap_or_default();
                    match string(member(1).unwrap_or_default()).as_str() {
                        "counter" if verdict.is_none() => found.counted = counted(data),
                        "log" => {}
                        name => {
                            if verdict.is_none() {
                                verdict = does(name, data);
                                // What follows a counter may not match: it has counted others, too.
                                found.counted = found.counted.filter(|_| verdict.is_some());
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }
    verdict?.clone_into(&mut found.verdict);
    Some(found)
}

fn dropper(of: u8) -> Option<Dropper> {
    Some(Dropper {
        family: family(of)?,
        table: String::new(),
        chain: String::new(),
        handle: 0,
        verdict: String::new(),
        counted: None,
    })
}

/// `NFTA_COUNTER_BYTES` and `NFTA_COUNTER_PACKETS`.
fn counted(data: &[u8]) -> Option<Counted> {
    let member = |wanted| {
        attributes(data).find_map(|(kind, value)| {
            array_at(value, 0)
                .map(u64::from_be_bytes)
                .filter(|_| kind == wanted)
        })
    };
    Some(Counted {
        bytes: member(1)?,
        packets: member(2)?,
    })
}

/// What an expression does with a packet, where that can be its end.
fn does(expression: &str, data: &[u8]) -> Option<&'static str> {
    let member = |wanted| attributes(data).find_map(|(kind, value)| (kind == wanted).then_some(value));
    match expression {
        "reject" => Some("reject"),
        "queue" => Some("queue"),
        // NFTA_IMMEDIATE_DATA, NFTA_DATA_VERDICT, NFTA_VERDICT_CODE
        "immediate" => {
            let verdict = attributes(member(2)?).find_map(|(kind, value)| (kind == 2).then_some(value))?;
            let code = attributes(verdict).find_map(|(kind, value)| number(value).filter(|_| kind == 1))?;
            match (code.cast_signed(), code & NF_VERDICT) {
                // Those of nf_tables itself: to go on, jumps and the like (`enum nft_verdicts`).
                (-5..=-1, _) => None,
                (_, NF_DROP) => Some("drop"),
                (_, NF_QUEUE) => Some("queue"),
                _ => None,
            }
        }
        // NFTA_LOOKUP_DREG: the map is one of verdicts.
        "lookup" => (number(member(3)?)? == VERDICT).then_some("vmap"),
        // NFTA_TARGET_NAME: as iptables-nft has it.
        "target" => match string(member(1)?).as_str() {
            "REJECT" => Some("reject"),
            "DROP" => Some("drop"),
            "NFQUEUE" => Some("queue"),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::netlink::tests::attribute;
    use super::*;

    fn expression(name: &str, data: &[u8]) -> Vec<u8> {
        let name = attribute(1, &[name.as_bytes(), b"\0"].concat());
        attribute(1, &[name, attribute(2, data)].concat())
    }

    fn counter(packets: u64, bytes: u64) -> Vec<u8> {
        [
            attribute(1, &bytes.to_be_bytes()),
            attribute(2, &packets.to_be_bytes()),
        ]
        .concat()
    }

    fn verdict(code: i32) -> Vec<u8> {
        let verdict = attribute(2, &attribute(1, &code.to_be_bytes()));
        expression(
            "immediate",
            &[attribute(1, &[0; 4]), attribute(2, &verdict)].concat(),
        )
    }

    fn message(expressions: &[Vec<u8>]) -> Vec<u8> {
        [
            vec![1, 0, 0, 0],
            attribute(1, b"guard\0"),
            attribute(2, b"in\0"),
            attribute(3, &7_u64.to_be_bytes()),
            attribute(4, &expressions.concat()),
        ]
        .concat()
    }

    #[test]
    fn rules_that_can_drop_are_told_with_what_they_counted() {
        let whole = message(&[expression("counter", &counter(3, 180)), verdict(0)]);
        let read = rule(&whole).unwrap();
        assert_eq!(read.to_string(), "table inet guard, chain in, handle 7");
        assert_eq!(read.verdict, "drop");
        assert_eq!(
            read.counted,
            Some(Counted {
                packets: 3,
                bytes: 180
            })
        );
        // A counter before a match has counted packets that were not dropped.
        let early = [
            expression("counter", &counter(3, 180)),
            expression("cmp", &[]),
            verdict(0),
        ];
        assert_eq!(rule(&message(&early)).unwrap().counted, None);
        for length in 0..whole.len() {
            assert!(rule(&whole[..length]).is_none_or(|rule| rule.handle == 7));
        }
        let does = |expressions: &[Vec<u8>]| rule(&message(expressions)).map(|rule| rule.verdict);
        assert_eq!(does(&[verdict(1)]), None);
        assert_eq!(does(&[verdict(-3)]), None, "a jump");
        assert_eq!(does(&[verdict(3 | -1 << 16)]).as_deref(), Some("queue"));
        assert_eq!(does(&[expression("reject", &[])]).as_deref(), Some("reject"));
        let target = attribute(1, b"REJECT\0");
        assert_eq!(does(&[expression("target", &target)]).as_deref(), Some("reject"));
        let map = attribute(3, &0_u32.to_be_bytes());
        assert_eq!(does(&[expression("lookup", &map)]).as_deref(), Some("vmap"));
        assert_eq!(does(&[expression("lookup", &attribute(1, b"set\0"))]), None);
    }

    #[test]
    fn a_policy_that_drops_is_told() {
        let chain = |policy: u32| {
            let body = [
                vec![2, 0, 0, 0],
                attribute(1, b"filter\0"),
                attribute(3, b"INPUT\0"),
                attribute(5, &policy.to_be_bytes()),
                attribute(8, &counter(9, 540)),
            ];
            super::policy(&body.concat())
        };
        let told = chain(NF_DROP).unwrap();
        assert_eq!(told.to_string(), "table ip filter, chain INPUT");
        assert_eq!(
            (told.verdict.as_str(), told.counted.map(|one| one.packets)),
            ("policy drop", Some(9))
        );
        assert_eq!(chain(1), None);
    }
}
