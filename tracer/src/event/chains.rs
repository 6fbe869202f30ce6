//! Chains of nf_tables.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The base chains of type `filter` that a namespace's rules of nf_tables have now: all others that were told of it
/// are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chains {
    /// Inode of the namespace.
    pub netns: u32,
    /// In the order of their families, hooks and priorities. Of those that one family has at one hook, at most
    /// [`Chains::MOST`].
    pub chains: Vec<Chain>,
}

impl Chains {
    /// Chains of one family at one hook that are told: enough to know that there are several.
    pub const MOST: usize = 8;
}

/// A base chain: one in which a packet's way through the rules begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Chain {
    /// Family of its table.
    pub family: Family,
    /// The hook at which it is asked.
    pub hook: Point,
    /// Of the chains at one hook, that of the lowest priority is asked first.
    pub priority: i32,
    /// Name of its table, chosen by whoever made it.
    pub table: String,
    /// Its name, chosen likewise.
    pub name: String,
}

impl fmt::Display for Chain {
    /// `table inet guard, chain in`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {} {}, chain {}", self.family, self.table, self.name)
    }
}

/// Family of a table of nf_tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of `nft`")]
pub enum Family {
    Inet,
    Ip,
    Arp,
    Netdev,
    Bridge,
    Ip6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Arp => "arp",
            Self::Netdev => "netdev",
            Self::Bridge => "bridge",
            Self::Ip6 => "ip6",
        })
    }
}

/// A point of a packet's way at which netfilter is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of `nft`")]
pub enum Point {
    Ingress,
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
    Egress,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ingress => "ingress",
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
            Self::Egress => "egress",
        })
    }
}
