//! The report as tables, for people.

use std::fmt;

use super::report::{Bound, Cost, Limit, Measure, Node, Report, Rules, Side, Taken, What};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cost = self.cost.as_ref().map(ToString::to_string);
        let side = self.side.as_ref().map(ToString::to_string);
        let node = self.node.as_ref().map(ToString::to_string);
        let rules = self.rules.as_ref().map(ToString::to_string);
        let parts: Vec<String> = [cost, side, node, rules].into_iter().flatten().collect();
        f.write_str(&parts.join("\n"))
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16}{:>10}{:>10}{:>10}{:>8}   bounds",
            "program", "runs", "ns/run", "floor", "ratio"
        )?;
        for one in &self.programs {
            write!(f, "{:<16}{:>10}", one.name, one.runs)?;
            write!(
                f,
                "{:>10.1}{:>10.1}{:>8.2}",
                one.ns_per_run, one.floor_ns, one.ratio
            )?;
            end(f, &one.bounds)?;
        }
        writeln!(f)?;
        for one in &self.moments {
            write!(f, "{:<32}{:>6.2} s ", one.what.label(), one.seconds)?;
            end(f, &one.bounds)?;
        }
        for one in &self.memory {
            let label = format!("resident memory under {}", one.under);
            write!(f, "{label:<32}{:>6.1} MB", one.megabytes)?;
            end(f, &one.bounds)?;
        }
        Ok(())
    }
}

impl What {
    fn label(self) -> &'static str {
        match self {
            Self::Start => "start to first packet, at most",
            Self::Verdict => "break to verdict, at most",
            Self::OfflineRun => "cargo xtask run, no network",
            Self::Lab => "the lab, made and removed",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10}{:<10}{:>6}", "load", "tool", "pairs")?;
        write!(f, "{:>13}{:>13}", "without/s", "with/s")?;
        write!(f, "{:>7}{:>7}{:>7}{:>7}", "left", "from", "to", "best")?;
        write!(f, "{:>7}{:>7}", "user%", "sys%")?;
        writeln!(f, "{:>10}{:>10}{:>10}   bounds", "made", "counted", "lost")?;
        for row in &self.rows {
            let (left, cpu) = (row.left, row.cpu);
            write!(f, "{:<10}{:<10}", row.load.name(), row.tool.name())?;
            write!(f, "{:>6}{:>13.0}{:>13.0}", row.pairs.len(), row.without, row.with)?;
            write!(f, "{:>7.3}{:>7.3}{:>7.3}", left.median, left.low, left.high)?;
            write!(f, "{:>7.3}", row.best)?;
            write!(f, "{:>7.1}{:>7.1}", cpu.user_percent, cpu.system_percent)?;
            let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
            let made = number(row.counts.map(|counts| counts.made));
            let counted = number(row.counts.and_then(|counts| counts.counted));
            let lost = number(row.counts.and_then(|counts| counts.lost));
            write!(f, "{made:>10}{counted:>10}{lost:>10}")?;
            end(f, &row.bounds)?;
        }
        for tool in &self.missing {
            writeln!(f, "{}: not measured; it needs {}", tool.name(), tool.needs())?;
        }
        Ok(())
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = format!("idle, with {} units", self.units);
        writeln!(
            f,
            "{title:<32}{:>9}{:>9}{:>9}   bounds",
            "with", "without", "more"
        )?;
        for one in &self.idle {
            let label = one.what.label();
            write!(f, "{label:<32}{:>9.2}{:>9.2}", one.with, one.without)?;
            write!(f, "{:>9.2}", one.with - one.without)?;
            end(f, &one.bounds)?;
        }
        writeln!(f)?;
        write!(
            f,
            "{:<32}{:>9}{:>9}",
            "from a change to the model, ms", "changes", "p50"
        )?;
        writeln!(f, "{:>9}{:>9}   bounds", "p99", "most")?;
        for one in &self.late {
            write!(f, "{:<32}{:>9}{:>9.1}", one.kind, one.ms.len(), one.p50_ms)?;
            write!(f, "{:>9.1}{:>9.1}", one.p99_ms, one.most_ms)?;
            end(f, &one.bounds)?;
        }
        Ok(())
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = format!("all rules over {} flows, ms", self.flows);
        writeln!(f, "{title:<32}{:>9}{:>9}{:>9}   bounds", "p50", "least", "most")?;
        for one in &self.cases {
            write!(f, "{:<32}{:>9.1}", one.name, one.ms.median)?;
            write!(f, "{:>9.1}{:>9.1}", one.ms.lowest, one.ms.highest)?;
            end(f, &one.bounds)?;
        }
        Ok(())
    }
}

impl Taken {
    fn label(self) -> &'static str {
        match self {
            Self::Threads => "threads of sources, % of a core",
            Self::Main => "main thread, % of a core",
            Self::Memory => "resident memory, MB",
        }
    }
}

/// Ends a line with its bounds.
fn end(f: &mut fmt::Formatter<'_>, bounds: &[Bound]) -> fmt::Result {
    for (n, bound) in bounds.iter().enumerate() {
        write!(f, "{}{bound}", if n == 0 { "   " } else { ", " })?;
    }
    writeln!(f)
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, limit) = match self.limit {
            Limit::AtMost(most) => ("<=", most),
            Limit::AtLeast(least) => (">=", least),
        };
        let what = match self.of {
            Measure::NsPerRun => "ns/run",
            Measure::Ratio => "ratio",
            Measure::Seconds => "s",
            Measure::Megabytes => "MB",
            Measure::Left => "left",
            Measure::UserPercent => "user%",
            Measure::Miscounted => "miscounted",
            Measure::Percent => "%",
            Measure::P99 => "p99",
            Measure::Median => "p50",
        };
        write!(
            f,
            "{what} {sign} {limit}{}",
            if self.kept { "" } else { " MISSED" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn a_bound_that_is_missed_is_named() {
        let kept = report(0.95).to_string();
        assert!(!kept.contains("MISSED"), "{kept}");
        let missed = report(0.875).to_string();
        assert!(missed.contains("left >= 0.93 MISSED"), "{missed}");
    }

    #[test]
    fn the_tables_show_noise_counts_and_what_is_not_installed() {
        let text = report(0.875).to_string();
        let storm = text.lines().find(|line| line.starts_with("storm")).unwrap();
        let words: Vec<_> = storm.split_whitespace().collect();
        assert_eq!(
            words[..14],
            [
                "storm", "tracer", "1", "1000", "900", "0.875", "0.850", "1.125", "0.900", "1.5", "4.0",
                "1000", "998", "-"
            ]
        );
        assert!(text.contains("package linux-perf"), "{text}");
        let memory = text
            .lines()
            .find(|line| line.starts_with("resident memory, MB"))
            .unwrap();
        let words: Vec<_> = memory.split_whitespace().skip(3).collect();
        assert_eq!(words, ["60.00", "55.50", "4.50", "MB", "<=", "20"]);
        let route = text.lines().find(|line| line.starts_with("route")).unwrap();
        let words: Vec<_> = route.split_whitespace().collect();
        assert_eq!(words, ["route", "3", "2.0", "3.0", "3.0", "p99", "<=", "250"]);
        let rules = text.lines().find(|line| line.starts_with("all are answered"));
        let words: Vec<_> = rules.unwrap().split_whitespace().skip(3).collect();
        assert_eq!(words, ["7.5", "6.0", "9.0", "p50", "<=", "20"]);
    }

    #[test]
    fn what_was_not_measured_is_not_printed() {
        assert_eq!(Report::new(None, None, None, None).to_string(), "");
    }
}
