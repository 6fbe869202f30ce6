//! A rule of nf_tables, as a message tells it, and what it does with packets.

mod words;

use super::chains::{family, members, number};
use super::netlink::{array_at, attributes, string};
use crate::event::Family;

/// Verdicts (include/uapi/linux/netfilter.h).
pub(super) const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const NF_QUEUE: u32 = 3;
/// The lower half of a verdict; the upper has the queue's number (`NF_VERDICT_MASK`, whose flags are in the next byte).
const NF_VERDICT: u32 = 0xff;
/// The register that holds the verdict (`NFT_REG_VERDICT`).
const VERDICT: u32 = 0;

/// A rule (`nf_tables_fill_rule_info` in net/netfilter/nf_tables_api.c).
#[derive(Debug)]
pub(super) struct Rule<'a> {
    pub(super) family: Family,
    pub(super) table: String,
    pub(super) chain: String,
    /// The number by which `nft -a` knows it.
    pub(super) handle: u64,
    /// `NFTA_RULE_EXPRESSIONS`
    expressions: &'a [u8],
}

impl<'a> Rule<'a> {
    /// `None` for what is no rule.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut rule = Self {
            family: family(*body.first()?)?,
            table: String::new(),
            chain: String::new(),
            handle: 0,
            expressions: &[],
        };
        for (kind, value) in members(body) {
            match kind {
                1 => rule.table = string(value),
                2 => rule.chain = string(value),
                3 => rule.handle = array_at(value, 0).map(u64::from_be_bytes)?,
                4 => rule.expressions = value,
                _ => {}
            }
        }
        Some(rule)
    }

    /// What it asks and does, in its order: a list of `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`.
    pub(super) fn expressions(&self) -> impl Iterator<Item = Expression<'a>> {
        attributes(self.expressions).map(|(_, expression)| Expression {
            name: string(member(expression, 1).unwrap_or_default()),
            data: member(expression, 2).unwrap_or_default(),
        })
    }

    /// In words close to those of `nft`: `tcp dport 22 drop`. What has no words here is told by the name of its
    /// expression.
    pub(super) fn words(&self) -> String {
        words::of(self.family, self.expressions())
    }
}

/// One step of a rule.
#[derive(Debug)]
pub(super) struct Expression<'a> {
    /// `cmp`, `counter`, `immediate` …
    pub(super) name: String,
    pub(super) data: &'a [u8],
}

impl<'a> Expression<'a> {
    fn member(&self, wanted: u16) -> Option<&'a [u8]> {
        member(self.data, wanted)
    }

    fn number(&self, wanted: u16) -> Option<u32> {
        self.member(wanted).and_then(number)
    }

    /// What it does with a packet, where that can be its end.
    pub(super) fn ends(&self) -> Option<&'static str> {
        match self.name.as_str() {
            "reject" => Some("reject"),
            "queue" => Some("queue"),
            "immediate" => match self.verdict()? {
                Verdict::Drop => Some("drop"),
                Verdict::Queue => Some("queue"),
                Verdict::Accept | Verdict::GoOn(_) | Verdict::To(..) => None,
            },
            // NFTA_LOOKUP_DREG: the map is one of verdicts.
            "lookup" => (self.number(3)? == VERDICT).then_some("vmap"),
            // NFTA_TARGET_NAME: as iptables-nft has it.
            "target" => match string(self.member(1)?).as_str() {
                "REJECT" => Some("reject"),
                "DROP" => Some("drop"),
                "NFQUEUE" => Some("queue"),
                _ => None,
            },
            _ => None,
        }
    }

    /// `NFTA_IMMEDIATE_DATA`, `NFTA_DATA_VERDICT`, `NFTA_VERDICT_CODE`, `NFTA_VERDICT_CHAIN`
    fn verdict(&self) -> Option<Verdict> {
        let verdict = member(self.member(2)?, 2)?;
        let code = number(member(verdict, 1)?)?;
        let chain = || string(member(verdict, 2).unwrap_or_default());
        // `enum nft_verdicts`, then those of netfilter.
        Some(match (code.cast_signed(), code & NF_VERDICT) {
            (-1, _) => Verdict::GoOn("continue"),
            (-2, _) => Verdict::GoOn("break"),
            (-3, _) => Verdict::To("jump", chain()),
            (-4, _) => Verdict::To("goto", chain()),
            (-5, _) => Verdict::GoOn("return"),
            (_, NF_DROP) => Verdict::Drop,
            (_, NF_ACCEPT) => Verdict::Accept,
            (_, NF_QUEUE) => Verdict::Queue,
            _ => return None,
        })
    }
}

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Drop,
    Accept,
    Queue,
    GoOn(&'static str),
    /// Another chain decides.
    To(&'static str, String),
}

fn member(of: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(of).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::netlink::tests::attribute;

    pub(in crate::node) fn expression(name: &str, data: &[u8]) -> Vec<u8> {
        let name = attribute(1, &[name.as_bytes(), b"\0"].concat());
        attribute(1, &[name, attribute(2, data)].concat())
    }

    pub(in crate::node) fn verdict(code: i32) -> Vec<u8> {
        let verdict = attribute(2, &attribute(1, &code.to_be_bytes()));
        expression(
            "immediate",
            &[attribute(1, &[0; 4]), attribute(2, &verdict)].concat(),
        )
    }

    /// Rule 7 of table `inet guard`, chain `in`.
    pub(in crate::node) fn message(expressions: &[Vec<u8>]) -> Vec<u8> {
        [
            vec![1, 0, 0, 0],
            attribute(1, b"guard\0"),
            attribute(2, b"in\0"),
            attribute(3, &7_u64.to_be_bytes()),
            attribute(4, &expressions.concat()),
        ]
        .concat()
    }
}
