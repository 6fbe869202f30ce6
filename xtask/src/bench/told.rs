//! How each tool tells what it counted.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::tool::Tool;

/// The drops of the load, as the tracer names them.
const REASON: &str = "NETFILTER_DROP";

/// What a tool told at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Drops (of tcpdump: packets). None where it told no number.
    pub(super) counted: Option<u64>,
    /// What it says that it lost. None where it tells no number.
    pub(super) lost: Option<u64>,
}

/// What a tool wrote.
pub(super) struct Said {
    pub(super) output: String,
    pub(super) errors: String,
}

/// Reads it.
///
/// # Errors
/// If the tracer printed no report.
pub(super) fn read(tool: Tool, said: &Said, netns: &str) -> Result<Told> {
    Ok(match tool {
        Tool::Tracer => of_tracer(said, netns)?,
        // It counts nothing.
        Tool::Floor => Told {
            counted: None,
            lost: None,
        },
        Tool::Bpftrace => of_bpftrace(said),
        Tool::Perf => of_perf(said),
        Tool::Tcpdump => of_tcpdump(said),
    })
}

/// The part of `tracer diagnose --format json` that is needed here.
#[derive(Debug, Deserialize)]
struct Report {
    drops: Vec<Drops>,
    losses: Losses,
}

#[derive(Debug, Deserialize)]
struct Drops {
    reason: String,
    packets: u64,
    netns: String,
}

#[derive(Debug, Deserialize)]
struct Losses {
    map_full: u64,
}

fn of_tracer(said: &Said, netns: &str) -> Result<Told> {
    let report: Report = serde_json::from_str(&said.output)
        .with_context(|| format!("tracer diagnose: prints no report: {}", said.errors.trim()))?;
    let own = format!("{netns}:");
    let drops = report.drops.iter();
    let drops = drops.filter(|drop| drop.reason == REASON && drop.netns.starts_with(&own));
    Ok(Told {
        counted: Some(drops.map(|drop| drop.packets).sum()),
        lost: Some(report.losses.map_full),
    })
}

/// One line for each reason, by number; that of the storm is the longest by far.
fn of_bpftrace(said: &Said) -> Told {
    let counts = said.output.lines().filter_map(|line| line.split_once("]: "));
    Told {
        counted: counts.filter_map(|(_, n)| n.trim().parse().ok()).max(),
        lost: None,
    }
}

/// One line for each event, with its reason by name or, in older versions, by number; that of the storm is the most
/// frequent by far. `LOST n events!` stands between them (tools/perf/builtin-trace.c, `trace__process_event`): of all
/// reasons, and only where an event found room after those that found none.
fn of_perf(said: &Said) -> Told {
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let mut lost = 0;
    for line in said.output.lines() {
        if let Some((_, rest)) = line.split_once("skb:kfree_skb(") {
            let reason = rest.split_once("reason: ").map(|(_, reason)| reason);
            let reason = reason.and_then(|reason| reason.split([',', ')']).next());
            *reasons.entry(reason.unwrap_or_default()).or_default() += 1;
        } else if let Some((_, rest)) = line.split_once("LOST ") {
            let number = rest.split_once(" events!").and_then(|(n, _)| n.parse().ok());
            lost += number.unwrap_or(0_u64);
        }
    }
    Told {
        counted: Some(reasons.into_values().max().unwrap_or(0)),
        lost: Some(lost),
    }
}

fn of_tcpdump(said: &Said) -> Told {
    let before = |mark: &str| {
        said.errors
            .lines()
            .find_map(|line| line.strip_suffix(mark)?.trim().parse().ok())
    };
    Told {
        counted: before(" packets captured"),
        lost: before(" packets dropped by kernel"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tool: Tool, output: &str, errors: &str) -> (Option<u64>, Option<u64>) {
        let said = Said {
            output: output.into(),
            errors: errors.into(),
        };
        let told = read(tool, &said, "a").unwrap();
        (told.counted, told.lost)
    }

    #[test]
    fn the_tracers_report_is_read() {
        let report = r#"{"drops":[{"reason":"NETFILTER_DROP","packets":7,"netns":"a:1"},
            {"reason":"NETFILTER_DROP","packets":1,"netns":"ab:2"},{"reason":"NO_SOCKET","packets":2,"netns":"a:1"}],
            "losses":{"map_full":3}}"#;
        assert_eq!(told(Tool::Tracer, report, ""), (Some(7), Some(3)));
    }

    #[test]
    fn bpftraces_counts_are_read() {
        let output = "Attaching 1 probe...\n\n@[3]: 2\n@[8]: 90\n";
        assert_eq!(told(Tool::Bpftrace, output, ""), (Some(90), None));
    }

    #[test]
    fn perfs_lines_are_counted_and_its_losses_summed() {
        // Of perf 6.1, which prints numbers.
        let numbers = "\
     0.000 kworker/0:5-mm/26440 skb:kfree_skb(skbaddr: 0xffff888104f18300, location: 0xffffffff820ebad1, protocol: 34525, reason: 2)
  2612.816 lab/20005 skb:kfree_skb(skbaddr: 0xffff888104f18300, location: 0xffffffff81f657b8, protocol: 2048, reason: 12)
LOST 94779 events!
  2612.849 lab/20005 skb:kfree_skb(skbaddr: 0xffff888104f18300, location: 0xffffffff81f657b8, rx_sk: 0x0, protocol: 2048, reason: 12)
LOST 21 events!
";
        assert_eq!(told(Tool::Perf, numbers, ""), (Some(2), Some(94800)));
        // Colours of a terminal, and names.
        let names = "\
     0.000 lab/1 skb:kfree_skb(skbaddr: 0x1, location: 0x2, protocol: 2048, reason: NETFILTER_DROP)
     0.001 lab/1 skb:kfree_skb(skbaddr: 0x1, location: 0x2, protocol: 2048, reason: NOT_SPECIFIED)
\u{1b}[31mLOST 5 events!
     0.002 lab/1 skb:kfree_skb(skbaddr: 0x1, location: 0x2, protocol: 2048, reason: NETFILTER_DROP)
";
        assert_eq!(told(Tool::Perf, names, ""), (Some(2), Some(5)));
        assert_eq!(told(Tool::Perf, "", ""), (Some(0), Some(0)));
    }

    #[test]
    fn tcpdumps_last_words_are_read() {
        let errors = "5 packets captured\n6 packets received by filter\n1 packets dropped by kernel\n";
        assert_eq!(told(Tool::Tcpdump, "", errors), (Some(5), Some(1)));
    }
}
