//! Datagrams of which parts are missing.

use std::fs;

use super::{Netns, namespace};
use crate::event::Fragments;

/// What waits in a namespace now: nothing where the kernel does not tell, as of IPv6 where it has none.
///
/// # Errors
/// Where the namespace cannot be entered.
pub fn waiting(netns: &Netns) -> Result<Fragments, namespace::Error> {
    let (datagrams, memory) = netns.enter(|| {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        let (ipv4, ipv6) = (parse(&read("sockstat")), parse(&read("sockstat6")));
        (ipv4.0.saturating_add(ipv6.0), ipv4.1.saturating_add(ipv6.1))
    })?;
    Ok(Fragments {
        netns: netns.inode(),
        datagrams,
        memory,
    })
}

/// `FRAG: inuse 3 memory 4608`, for IPv6 `FRAG6: …`: queues, one for each datagram, and the memory that their parts
/// take (`sockstat_seq_show` in net/ipv4/proc.c, `sockstat6_seq_show` in net/ipv6/proc.c).
fn parse(text: &str) -> (u64, u64) {
    let line = text.lines().find_map(|line| line.strip_prefix("FRAG"));
    let words: Vec<&str> = line.unwrap_or_default().split_ascii_whitespace().collect();
    let number = |name: &str| {
        let place = words.iter().position(|word| *word == name)?;
        words.get(place + 1)?.parse().ok()
    };
    (number("inuse").unwrap_or(0), number("memory").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_read_of_both_families() {
        let ipv4 = "sockets: used 9\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 0\nFRAG: inuse 3 memory 4608\n";
        assert_eq!(parse(ipv4), (3, 4608));
        assert_eq!(parse("RAW6: inuse 7\nFRAG6: inuse 2 memory 99\n"), (2, 99));
        assert_eq!(parse("TCP: inuse 1\nFRAG:\n"), (0, 0));
        assert_eq!(parse(""), (0, 0));
    }

    #[test]
    fn the_kernel_has_such_a_line() {
        assert!(
            fs::read_to_string("/proc/thread-self/net/sockstat")
                .unwrap()
                .contains("\nFRAG: inuse ")
        );
    }
}
