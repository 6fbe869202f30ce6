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
        in_table(self.family, &self.table, Part::Chain(&self.name)).fmt(f)
    }
}

/// The rules of nf_tables in a namespace that can drop packets, and what they have counted up to now. They are read where
/// somebody asks for them: all that were told of the namespace before are out of date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Droppers {
    /// Inode of the namespace.
    pub netns: u32,
    /// In the order in which the kernel has them, at most [`Droppers::MOST`].
    pub rules: Vec<Dropper>,
    /// How many more there are.
    pub left_out: u64,
}

impl Droppers {
    /// Rules that are told of one namespace.
    pub const MOST: usize = 1000;
}

/// A rule that can drop packets, or the policy of a base chain that does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropper {
    /// Family of its table.
    pub family: Family,
    /// Name of its table.
    pub table: String,
    /// Name of its chain.
    pub chain: String,
    /// The number by which `nft -a` knows it, 0 for the policy of the chain.
    pub handle: u64,
    /// What it does: `drop`, `reject`, `queue`; `policy drop`; `vmap` where a map decides.
    pub verdict: String,
    /// What it has counted, where it does, and counts only what it is the end of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
}

/// What a rule has counted since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl fmt::Display for Dropper {
    /// `table inet guard, chain in, handle 7`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        in_table(self.family, &self.table, Part::Chain(&self.chain)).fmt(f)?;
        match self.handle {
            0 => Ok(()),
            handle => write!(f, ", handle {handle}"),
        }
    }
}

/// `inet guard`
pub(crate) fn table_name(family: Family, table: &str) -> String {
    format!("{family} {}", Name(table))
}

/// A part of a table, with its name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    Whole,
    Chain(&'a str),
    Set(&'a str),
    Object(Object, &'a str),
}

/// What else than chains and sets a table has, and rules name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Object {
    Counter,
    Quota,
    Helper,
    Limit,
    Connections,
    Tunnel,
    Timeout,
    SecurityMark,
    Expectation,
    SynProxy,
    FlowTable,
}

impl Object {
    pub(crate) const ALL: [Self; 11] = [
        Self::Counter,
        Self::Quota,
        Self::Helper,
        Self::Limit,
        Self::Connections,
        Self::Tunnel,
        Self::Timeout,
        Self::SecurityMark,
        Self::Expectation,
        Self::SynProxy,
        Self::FlowTable,
    ];

    /// It decides about no packet.
    pub(crate) fn only_counts(self) -> bool {
        self == Self::Counter
    }

    /// That it came is told in the same way as that it was set to something else.
    pub(crate) fn can_change(self) -> bool {
        matches!(self, Self::Quota | Self::SynProxy | Self::FlowTable)
    }

    /// As `nft` calls it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Quota => "quota",
            Self::Helper => "ct helper",
            Self::Limit => "limit",
            Self::Connections => "ct count",
            Self::Tunnel => "tunnel",
            Self::Timeout => "ct timeout",
            Self::SecurityMark => "secmark",
            Self::Expectation => "ct expectation",
            Self::SynProxy => "synproxy",
            Self::FlowTable => "flowtable",
        }
    }
}

/// `table inet guard, chain in`
pub(crate) fn in_table<'a>(family: Family, table: &'a str, part: Part<'a>) -> impl fmt::Display + 'a {
    fmt::from_fn(move |f| {
        write!(f, "table {}", table_name(family, table))?;
        match part {
            Part::Whole => Ok(()),
            Part::Chain(name) => write!(f, ", chain {}", Name(name)),
            Part::Set(name) => write!(f, ", set {}", Name(name)),
            Part::Object(object, name) => write!(f, ", {} {}", object.word(), Name(name)),
        }
    })
}

/// A name that others have chosen. The kernel allows anything in it: what `nft` would not is quoted, so that it cannot
/// be taken for the words around it, nor for commands to a terminal.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || r"/\_.-".contains(c);
        if !self.0.is_empty() && self.0.chars().all(is_plain) {
            f.write_str(self.0)
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}

/// Family of a table of nf_tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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

impl Family {
    const ALL: [Self; 6] = [
        Self::Inet,
        Self::Ip,
        Self::Arp,
        Self::Netdev,
        Self::Bridge,
        Self::Ip6,
    ];

    /// That of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.to_string() == name)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_be_taken_for_the_words_around_them() {
        let told = |table: &str, name: &str| {
            let chain = Chain {
                family: Family::Inet,
                hook: Point::Input,
                priority: 0,
                table: table.to_owned(),
                name: name.to_owned(),
            };
            chain.to_string()
        };
        assert_eq!(told("guard_2", "in-a.b/c"), "table inet guard_2, chain in-a.b/c");
        assert_eq!(
            told("a, chain b", "\x1b[2J\n\u{202e}"),
            r#"table inet "a, chain b", chain "\u{1b}[2J\n\u{202e}""#
        );
        assert_eq!(told("", "é"), r#"table inet "", chain "é""#);
    }
}
