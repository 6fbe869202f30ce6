//! /proc/net: snmp, snmp6, netstat and softnet_stat.

use std::fs::File;
use std::io::{self, Read};

use super::Value;
use crate::event::Source;

/// Adds the counters of this thread's namespace. `machine`: also those of all CPUs, which no namespace has for itself.
pub(super) fn read(text: &mut String, machine: bool, values: &mut Vec<Value>) -> Result<(), String> {
    for (file, source) in [("snmp", Source::Snmp), ("netstat", Source::Netstat)] {
        load(text, file)?;
        pairs(text, source, values);
    }
    // A kernel without IPv6 has none.
    if load(text, "snmp6").is_ok() {
        columns(text, values);
    }
    if machine {
        load(text, "softnet_stat")?;
        softnet(text, values);
    }
    Ok(())
}

/// /proc/net itself shows the namespace of the process, not of the thread.
fn load(text: &mut String, file: &str) -> Result<(), String> {
    text.clear();
    let path = format!("/proc/thread-self/net/{file}");
    let read = File::open(&path).and_then(|mut file| file.read_to_string(text));
    read.map(drop)
        .map_err(|error: io::Error| format!("Cannot read {path}: {error}."))
}

fn value(source: Source, name: String, value: u64) -> Value {
    Value {
        source,
        device: 0,
        name,
        value,
    }
}

/// Two lines for each group: `TcpExt: SyncookiesSent …` and `TcpExt: 0 …` (snmp_seq_show in net/ipv4/proc.c).
fn pairs(text: &str, source: Source, values: &mut Vec<Value>) {
    let mut lines = text.lines();
    while let (Some(names), Some(numbers)) = (lines.next(), lines.next()) {
        let (Some((group, names)), Some((same, numbers))) = (names.split_once(':'), numbers.split_once(':'))
        else {
            return;
        };
        if group != same {
            return;
        }
        // What is no such number, as TcpMaxConn's -1, is no counter.
        let pairs = names
            .split_ascii_whitespace()
            .zip(numbers.split_ascii_whitespace());
        values.extend(pairs.filter_map(|(name, number)| {
            Some(value(source, format!("{group}{name}"), number.parse().ok()?))
        }));
    }
}

/// `Ip6InReceives    2` (snmp6_seq_show in net/ipv6/proc.c).
fn columns(text: &str, values: &mut Vec<Value>) {
    values.extend(text.lines().filter_map(|line| {
        let (name, number) = line.split_once(|c: char| c.is_ascii_whitespace())?;
        Some(value(Source::Snmp6, name.to_owned(), number.trim().parse().ok()?))
    }));
}

/// A line of hexadecimal numbers for each CPU; the second is what its queue had no room for (softnet_seq_show in
/// net/core/net-procfs.c).
fn softnet(text: &str, values: &mut Vec<Value>) {
    let dropped = text
        .lines()
        .filter_map(|line| u64::from_str_radix(line.split_ascii_whitespace().nth(1)?, 16).ok())
        .fold(0, u64::saturating_add);
    values.push(value(Source::Softnet, "softnet_dropped".to_owned(), dropped));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(values: &[Value]) -> Vec<(&str, u64)> {
        values
            .iter()
            .map(|value| (value.name.as_str(), value.value))
            .collect()
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        let mut values = Vec::new();
        pairs(
            "Tcp: MaxConn InErrs\nTcp: -1 7\nUdp: NoPorts InErrors\nUdp: 3 18446744073709551615\n",
            Source::Snmp,
            &mut values,
        );
        columns(
            "Ip6InReceives                   \t2\nIp6InNoRoutes   \t5\n",
            &mut values,
        );
        softnet(
            "044a4146 00000000 0000004f\n03f37c68 0000001f 00000045\n00000001 00000002 0\n",
            &mut values,
        );
        assert_eq!(
            told(&values),
            [
                ("TcpInErrs", 7),
                ("UdpNoPorts", 3),
                ("UdpInErrors", u64::MAX),
                ("Ip6InReceives", 2),
                ("Ip6InNoRoutes", 5),
                ("softnet_dropped", 33),
            ]
        );
    }

    #[test]
    fn damaged_files_tell_what_can_be_read() {
        let mut values = Vec::new();
        pairs("Tcp: InErrs\nUdp: 7\n", Source::Snmp, &mut values);
        pairs("Tcp: InErrs\n", Source::Snmp, &mut values);
        pairs("nonsense\nnonsense\n", Source::Snmp, &mut values);
        columns("\n \nIp6InReceives\nIp6InNoRoutes x\n", &mut values);
        assert_eq!(told(&values), []);
        softnet("", &mut values);
        softnet("zz\n00 zz\n", &mut values);
        assert_eq!(told(&values), [("softnet_dropped", 0), ("softnet_dropped", 0)]);
    }
}
