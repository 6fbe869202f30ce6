//! The tables of the older firewalls (iptables, `net/netfilter/x_tables.c`), as somebody reads them who can.
//!
//! User space can ask for their rules by an IP socket only (`IPT_SO_GET_ENTRIES`), which the tracer never opens.

/// One of the older firewalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Firewall {
    /// `iptables`
    Ip,
    /// `ip6tables`
    Ip6,
}

impl Firewall {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Ip, Self::Ip6];

    /// Its chains that the kernel enters by itself, in the order of `NF_INET_*` (`hooknames` in
    /// net/ipv4/netfilter/ip_tables.c).
    pub const CHAINS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

    /// Its module, by which its files are named too.
    #[must_use]
    pub fn module(self) -> &'static str {
        match self {
            Self::Ip => "ip_tables",
            Self::Ip6 => "ip6_tables",
        }
    }
}

/// Where the rules of a table stand. They are never changed in place: other rules stand elsewhere
/// (`xt_replace_table`), if not twice in a row where they stood before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name of the table: `filter`.
    pub name: String,
    /// The table.
    pub table: u64,
    /// Its rules.
    pub rules: u64,
    /// Bytes of them.
    pub size: u32,
    /// Entries: rules, policies, and two for each chain that somebody made.
    pub entries: u32,
}

/// What the rules of a table are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Of all but what they have counted.
    pub hash: u32,
    /// The chains whose policy is to drop.
    pub shut: Vec<&'static str>,
    /// A rule or policy may drop: all say where to go on, but some that drop, and those whose target is a module's
    /// (`-j REJECT`, `-j LOG`), of which is not known here what they do.
    pub may_drop: bool,
}

/// Reads the tables in the kernel's memory.
pub trait Tables: Send + Sync {
    /// Where the tables of a firewall are listed in the network namespace of this thread, as long as that does not end. One of
    /// them has one of these names. `None` where there is none such.
    fn list(&self, firewall: Firewall, names: &[String]) -> Option<u64>;

    /// The tables that are listed there. `None` where they changed meanwhile.
    fn places(&self, firewall: Firewall, list: u64) -> Option<Vec<Place>>;

    /// The rules of a table. `None` where they changed meanwhile.
    fn rules(&self, firewall: Firewall, place: &Place) -> Option<Rules>;

    /// Why the rules of a firewall can never be read, where that has been found.
    fn why(&self, firewall: Firewall) -> Option<&str>;
}

/// Opens them, or says why nobody can read them.
pub type Open = fn() -> Result<Box<dyn Tables>, String>;
