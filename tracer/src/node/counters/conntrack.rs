//! Statistics of connection tracking, by ctnetlink, or where that is not loaded by a file of /proc.

use std::fs;
use std::io;
use std::path::Path;

use super::Value;
use crate::event::value::TRACKED;
use crate::event::{Seen, Setting, Source, Thing};
use crate::node::Netns;
use crate::node::netlink::{self, array_at, attributes};

/// What answers, by nfnetlink, which it needs and some kernels have no module for.
pub(super) const MODULE: &str = "nf_conntrack_netlink";

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_GET_STATS_CPU` (include/uapi/linux/netfilter/nfnetlink*.h).
const GET_STATS_CPU: u16 = 1 << 8 | 4;
/// The same where the kernel is built with `CONFIG_NF_CONNTRACK_PROCFS`, as Debian's are (`ct_cpu_seq_show` in
/// net/netfilter/nf_conntrack_standalone.c).
const FILE: &str = "/proc/thread-self/net/stat/nf_conntrack";
/// Is there where connections are tracked.
const BOUND: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// Length of `struct nfgenmsg`.
const HEADER: usize = 4;
/// `enum ctattr_stats_cpu`, as `conntrack -S` names them, and the columns of the file.
const NAMES: [(u16, &str, &str); 6] = [
    (4, "invalid", "invalid"),
    (9, "insert_failed", "insert_failed"),
    (10, "drop", "drop"),
    (11, "early_drop", "early_drop"),
    (12, "error", "icmp_error"),
    (15, "chaintoolong", "chainlength"),
];

/// Adds the statistics of this thread's namespace, summed up over all CPUs. `netlink`: the module that answers is there.
pub(super) fn read(netlink: bool, values: &mut Vec<Value>) -> Result<(), String> {
    let cpus = if netlink {
        match netlink::dump(netlink::NETFILTER, GET_STATS_CPU, &[0; HEADER], |body| {
            Some(parse(body))
        }) {
            Ok(cpus) => cpus,
            // This kernel is built without it, and then there is nothing to be lost in it.
            Err(error) if error.is_unsupported() => return Ok(()),
            Err(error) => return Err(format!("Statistics of connection tracking: {error}.")),
        }
    } else {
        match from_file(fs::read_to_string(FILE), Path::new(BOUND).exists())? {
            Some(cpus) => cpus,
            None => return Ok(()),
        }
    };
    values.extend(NAMES.iter().enumerate().map(|(place, (_, name, _))| Value {
        source: Source::Conntrack,
        device: 0,
        name: (*name).to_owned(),
        value: cpus.iter().map(|cpu| u64::from(cpu[place])).sum(),
    }));
    Ok(())
}

/// How many connections a namespace tracks now, as the kernel parameter that tells it; `None` where it tracks none, or cannot be
/// entered. It changes all the time, and so is told where somebody asks.
#[must_use]
pub fn tracked(netns: &Netns) -> Option<Setting> {
    let path = format!("/proc/sys/{}", TRACKED.replace('.', "/"));
    let value = netns.enter(|| fs::read_to_string(path).ok()).ok()??;
    Some(Setting {
        netns: netns.inode(),
        thing: Thing::Sysctl {
            name: TRACKED.to_owned(),
        },
        value: Some(value.trim().to_owned()),
        seen: Seen::Found,
        by: None,
        by_unknown: None,
    })
}

/// What the file says; `None` where no connections are tracked.
fn from_file(text: io::Result<String>, tracked: bool) -> Result<Option<Vec<Cpu>>, String> {
    match text {
        Ok(text) => Ok(Some(columns(&text))),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("Statistics of connection tracking: cannot read {FILE}: {error}."))
        }
        Err(_) if tracked => Err(
            "Statistics of connection tracking: this kernel tells them by its module nf_conntrack_netlink only, \
             which is not loaded (modprobe nf_conntrack_netlink)."
                .to_owned(),
        ),
        Err(_) => Ok(None),
    }
}

/// A line of names, and one of hexadecimal numbers for each CPU.
fn columns(text: &str) -> Vec<Cpu> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .collect();
    let places = NAMES.map(|(_, _, column)| names.iter().position(|name| *name == column));
    lines
        .map(|line| {
            let numbers: Vec<&str> = line.split_ascii_whitespace().collect();
            let number = |place: usize| u32::from_str_radix(numbers.get(place)?, 16).ok();
            places.map(|place| place.and_then(number).unwrap_or(0))
        })
        .collect()
}

/// The numbers of one CPU, in the order of [`NAMES`].
type Cpu = [u32; NAMES.len()];

fn parse(body: &[u8]) -> Cpu {
    let mut numbers = [0; NAMES.len()];
    for (kind, value) in body.get(HEADER..).map(attributes).into_iter().flatten() {
        if let Some(place) = NAMES.iter().position(|(number, ..)| *number == kind) {
            numbers[place] = array_at(value, 0).map_or(0, u32::from_be_bytes);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_cpu_are_read() {
        let mut body = vec![0; HEADER];
        for (kind, number) in [(2_u16, 9_u32), (10, 3), (15, 1)] {
            body.extend(8_u16.to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(number.to_be_bytes());
        }
        assert_eq!(parse(&body), [0, 0, 3, 0, 0, 1]);
        assert_eq!(parse(&body[..9]), [0; 6]);
        assert_eq!(parse(&[]), [0; 6]);
    }

    #[test]
    fn the_file_says_the_same() {
        let text = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop \
                    icmp_error  expect_new expect_create expect_delete search_restart\n\
                    00000011  00000000 00000007 00000000 0000000a 00000000 00000000 00000002 00000000 00000003 000000ff \
                    00000000 00000001  00000000 00000000 00000000 00000000\n\
                    00000011  nonsense\n";
        assert_eq!(columns(text), [[10, 3, 255, 0, 1, 2], [0; 6]]);
        assert_eq!(columns(""), [[0; 6]; 0]);
    }

    #[test]
    fn what_cannot_be_read_is_said_where_connections_are_tracked() {
        let gone = || Err(io::ErrorKind::NotFound.into());
        assert_eq!(from_file(gone(), false), Ok(None));
        let why = from_file(gone(), true).unwrap_err();
        assert!(why.contains("modprobe nf_conntrack_netlink"), "{why}");
        assert!(from_file(Err(io::ErrorKind::PermissionDenied.into()), false).is_err());
    }

    /// Of a kernel that has the file.
    #[test]
    fn this_kernel_has_these_columns() {
        let Ok(text) = fs::read_to_string(FILE) else {
            return;
        };
        let header: Vec<&str> = text.lines().next().unwrap().split_ascii_whitespace().collect();
        for (_, _, column) in NAMES {
            assert!(header.contains(&column), "{column}: {header:?}");
        }
        assert!(!columns(&text).is_empty());
    }
}
