//! What the bench found, as data: the tables and the JSON are printed from the same values.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{load::Kind, tool::Tool};

/// All that one run of the bench found.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) schema: Schema,
    /// Whether all bounds are kept.
    pub(super) kept: bool,
    /// None where it was not measured.
    pub(super) cost: Option<Cost>,
    /// None where it was not measured.
    pub(super) side: Option<Side>,
}

impl Report {
    pub(super) fn new(cost: Option<Cost>, side: Option<Side>) -> Self {
        let kept = cost.iter().flat_map(Cost::bounds).all(|bound| bound.kept)
            && side.iter().flat_map(Side::bounds).all(|bound| bound.kept);
        Self {
            schema: Schema {
                name: "xtask.bench".into(),
                version: 1,
            },
            kept,
            cost,
            side,
        }
    }
}

/// What the document is, and which version of its form.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Schema {
    pub(super) name: String,
    pub(super) version: u32,
}

/// What was promised of a value, and whether it is so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Bound {
    pub(super) of: Measure,
    pub(super) value: f64,
    #[serde(flatten)]
    pub(super) limit: Limit,
    pub(super) kept: bool,
}

impl Bound {
    pub(super) fn new(of: Measure, value: f64, limit: Limit) -> Self {
        let kept = match limit {
            Limit::AtMost(most) => value <= most,
            Limit::AtLeast(least) => value >= least,
        };
        Self {
            of,
            value,
            limit,
            kept,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// What a bound is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Measure {
    /// Nanoseconds of a program's run.
    NsPerRun,
    /// A program's run in times of the empty program's.
    Ratio,
    Seconds,
    /// Resident memory, in units of 2^20 bytes.
    Megabytes,
    /// What is left of the rate.
    Left,
    /// Processor time in user space, in percent of a core.
    UserPercent,
    /// Drops counted too many or too few, of all pairs.
    Miscounted,
}

/// What the tracer itself costs.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cost {
    pub(super) programs: Vec<Program>,
    pub(super) moments: Vec<Moment>,
    pub(super) memory: Vec<Memory>,
}

impl Cost {
    fn bounds(&self) -> impl Iterator<Item = &Bound> {
        let programs = self.programs.iter().flat_map(|one| &one.bounds);
        let moments = self.moments.iter().flat_map(|one| &one.bounds);
        let memory = self.memory.iter().flat_map(|one| &one.bounds);
        programs.chain(moments).chain(memory)
    }
}

/// One BPF program under the load that ran it most often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Program {
    pub(super) name: String,
    /// How often it ran.
    pub(super) runs: u64,
    /// Mean time of a run, the clock of the statistics included.
    pub(super) ns_per_run: f64,
    /// That of the empty program under the same load.
    pub(super) floor_ns: f64,
    /// Times the floor.
    pub(super) ratio: f64,
    pub(super) bounds: Vec<Bound>,
}

/// How long something took.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Moment {
    pub(super) what: What,
    pub(super) seconds: f64,
    pub(super) bounds: Vec<Bound>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// From the tracer's start to the first packet that it counts, at most.
    Start,
    /// From the first reply that reaches no process to the verdict on the screen.
    Verdict,
    /// From `cargo xtask run` to a tracer that watches, where all is built and no network is there.
    OfflineRun,
    /// To make the lab, start its traffic and remove it all again.
    Lab,
}

/// The most memory that the tracer had resident under a scenario of the lab.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) under: String,
    /// In units of 2^20 bytes.
    pub(super) megabytes: f64,
    pub(super) bounds: Vec<Bound>,
}

/// Tools side by side.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Side {
    pub(super) rows: Vec<Row>,
    /// Tools that were not measured, for they are not installed.
    pub(super) missing: Vec<Tool>,
}

impl Side {
    fn bounds(&self) -> impl Iterator<Item = &Bound> {
        self.rows.iter().flat_map(|row| &row.bounds)
    }
}

/// A tool under a load.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) load: Kind,
    pub(super) tool: Tool,
    /// Median rate a second of the turns without it, in the unit of the load.
    pub(super) without: f64,
    /// That of the turns with it.
    pub(super) with: f64,
    /// What is left of the rate. The distance from lowest to highest is the noise.
    pub(super) left: Spread,
    /// Mean of all pairs.
    pub(super) cpu: Cpu,
    /// Sums of all pairs; only of the load whose packets are dropped.
    pub(super) counts: Option<Counts>,
    pub(super) bounds: Vec<Bound>,
    /// In the order of time.
    pub(super) pairs: Vec<Pair>,
}

/// A turn with a tool, and its neighbours without one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pair {
    /// The rates a second of the turn before it, its own, and of the turn after it.
    pub(super) before: f64,
    pub(super) with: f64,
    pub(super) after: f64,
    /// Its rate as a part of the mean of its neighbours': what drifts steadily cancels.
    pub(super) left: f64,
    pub(super) cpu: Cpu,
    pub(super) counts: Option<Counts>,
}

/// The middle, the lowest and the highest of several values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) lowest: f64,
    pub(super) highest: f64,
}

impl Spread {
    /// None of none.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: *values.get(values.len() / 2)?,
            lowest: *values.first()?,
            highest: *values.last()?,
        })
    }
}

/// Processor time of a tool, in percent of a core.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cpu {
    pub(super) user_percent: f64,
    pub(super) system_percent: f64,
}

/// Drops (of tcpdump: packets).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) made: u64,
    /// None where the tool told no number.
    pub(super) counted: Option<u64>,
    /// What it says that it lost; None where it tells no number.
    pub(super) lost: Option<u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cost) = &self.cost {
            write!(f, "{cost}")?;
        }
        if self.cost.is_some() && self.side.is_some() {
            writeln!(f)?;
        }
        if let Some(side) = &self.side {
            write!(f, "{side}")?;
        }
        Ok(())
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
        write!(f, "{:>7}{:>8}{:>9}", "left", "lowest", "highest")?;
        write!(f, "{:>7}{:>7}", "user%", "sys%")?;
        writeln!(f, "{:>10}{:>10}{:>10}   bounds", "made", "counted", "lost")?;
        for row in &self.rows {
            let (left, cpu) = (row.left, row.cpu);
            write!(f, "{:<10}{:<10}", row.load.name(), row.tool.name())?;
            write!(f, "{:>6}{:>13.0}{:>13.0}", row.pairs.len(), row.without, row.with)?;
            write!(f, "{:>7.3}{:>8.3}{:>9.3}", left.median, left.lowest, left.highest)?;
            write!(f, "{:>7.1}{:>7.1}", cpu.user_percent, cpu.system_percent)?;
            let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
            let made = number(row.counts.map(|counts| counts.made));
            let counted = number(row.counts.and_then(|counts| counts.counted));
            let lost = number(row.counts.and_then(|counts| counts.lost));
            write!(f, "{made:>10}{counted:>10}{lost:>10}")?;
            end(f, &row.bounds)?;
        }
        for tool in &self.missing {
            let (name, package) = (tool.name(), tool.package());
            writeln!(
                f,
                "{name}: not measured, for it is not installed (apt install {package})"
            )?;
        }
        Ok(())
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
    use super::*;

    fn report(left: f64) -> Report {
        let cpu = Cpu {
            user_percent: 1.5,
            system_percent: 4.0,
        };
        let counts = Some(Counts {
            made: 1000,
            counted: Some(998),
            lost: None,
        });
        let cost = Cost {
            programs: vec![Program {
                name: "drop".into(),
                runs: 9,
                ns_per_run: 100.0,
                floor_ns: 50.0,
                ratio: 2.0,
                bounds: vec![Bound::new(Measure::NsPerRun, 100.0, Limit::AtMost(250.0))],
            }],
            moments: vec![Moment {
                what: What::OfflineRun,
                seconds: 1.5,
                bounds: vec![],
            }],
            memory: vec![Memory {
                under: "crowd".into(),
                megabytes: 60.0,
                bounds: vec![Bound::new(Measure::Megabytes, 60.0, Limit::AtMost(64.0))],
            }],
        };
        let side = Side {
            rows: vec![Row {
                load: Kind::Storm,
                tool: Tool::Tracer,
                without: 1000.0,
                with: 900.0,
                left: Spread {
                    median: left,
                    lowest: 0.75,
                    highest: 1.25,
                },
                cpu,
                counts,
                bounds: vec![Bound::new(Measure::Left, left, Limit::AtLeast(0.93))],
                pairs: vec![Pair {
                    before: 1000.0,
                    with: 900.0,
                    after: 1000.0,
                    left,
                    cpu,
                    counts,
                }],
            }],
            missing: vec![Tool::Perf],
        };
        Report::new(Some(cost), Some(side))
    }

    #[test]
    fn the_document_says_all_that_the_report_has() {
        let report = report(0.875);
        let json = serde_json::to_string_pretty(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report, "{json}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["schema"]["name"], "xtask.bench");
        assert_eq!(json["kept"], false);
        assert_eq!(json["side"]["missing"][0], "perf");
        let row = &json["side"]["rows"][0];
        assert_eq!((&row["load"], &row["tool"]), (&"storm".into(), &"tracer".into()));
        let bound = serde_json::json!({"of": "left", "value": 0.875, "at_least": 0.93, "kept": false});
        assert_eq!(row["bounds"][0], bound);
        assert_eq!(row["pairs"][0]["counts"]["lost"], serde_json::Value::Null);
    }

    #[test]
    fn a_bound_that_is_missed_is_named_and_fails_the_whole() {
        let kept = report(0.95);
        assert!(kept.kept);
        assert!(!kept.to_string().contains("MISSED"), "{kept}");
        let missed = report(0.875);
        assert!(!missed.kept);
        assert!(missed.to_string().contains("left >= 0.93 MISSED"), "{missed}");
    }

    #[test]
    fn the_tables_show_noise_counts_and_what_is_not_installed() {
        let text = report(0.875).to_string();
        let storm = text.lines().find(|line| line.starts_with("storm")).unwrap();
        let words: Vec<_> = storm.split_whitespace().collect();
        assert_eq!(
            words[..13],
            [
                "storm", "tracer", "1", "1000", "900", "0.875", "0.750", "1.250", "1.5", "4.0", "1000",
                "998", "-"
            ]
        );
        assert!(text.contains("apt install linux-perf"), "{text}");
    }

    #[test]
    fn what_was_not_measured_is_not_printed() {
        let nothing = Report::new(None, None);
        assert_eq!((nothing.to_string().as_str(), nothing.kept), ("", true));
    }

    #[test]
    fn the_middle_of_several_counts() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.lowest, spread.median, spread.highest), (1.0, 2.0, 3.0));
        assert_eq!(Spread::of([]), None);
    }
}
