//! The rules of nf_tables that can drop packets, with what they have counted: read when somebody asks for them.

use super::chains::{GET_CHAIN, HEADER, MODULE, family, members, number};
use super::modules::is_loaded;
use super::netlink::{self, array_at, attributes, string};
use super::rules::{NF_DROP, Rule};
use super::{Netns, namespace};
use crate::event::{Counted, Dropper, Droppers};

/// `NFNL_SUBSYS_NFTABLES` with `NFT_MSG_GETRULE` (include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h).
const GET_RULE: u16 = 10 << 8 | 7;
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
    let mut found = Dropper {
        family: family(*body.first()?)?,
        table: String::new(),
        chain: String::new(),
        handle: 0,
        verdict: "policy drop".to_owned(),
        counted: None,
    };
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
    is_drop.then_some(found)
}

/// A rule that can drop.
fn rule(body: &[u8]) -> Option<Dropper> {
    let rule = Rule::parse(body)?;
    let (mut verdict, mut counts) = (None, None);
    for expression in rule.expressions() {
        match expression.name.as_str() {
            "counter" if verdict.is_none() => counts = counted(expression.data),
            "log" => {}
            _ => {
                if verdict.is_none() {
                    verdict = expression.ends();
                    // What follows a counter may not match: it has counted others, too.
                    counts = counts.filter(|_| verdict.is_some());
                }
            }
        }
    }
    Some(Dropper {
        family: rule.family,
        table: rule.table,
        chain: rule.chain,
        handle: rule.handle,
        verdict: verdict?.to_owned(),
        counted: counts,
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

#[cfg(test)]
mod tests {
    use super::super::netlink::tests::attribute;
    use super::super::rules::tests::{expression, message, verdict};
    use super::*;

    fn counter(packets: u64, bytes: u64) -> Vec<u8> {
        [
            attribute(1, &bytes.to_be_bytes()),
            attribute(2, &packets.to_be_bytes()),
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
