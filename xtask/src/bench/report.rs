//! What the bench found, as data: the tables and the JSON are printed from the same values.

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
    /// None where it was not measured.
    pub(super) node: Option<Node>,
    /// None where it was not measured.
    pub(super) rules: Option<Rules>,
}

impl Report {
    pub(super) fn new(
        cost: Option<Cost>,
        side: Option<Side>,
        node: Option<Node>,
        rules: Option<Rules>,
    ) -> Self {
        let kept = cost.iter().flat_map(Cost::bounds).all(|bound| bound.kept)
            && side.iter().flat_map(Side::bounds).all(|bound| bound.kept)
            && node.iter().flat_map(Node::bounds).all(|bound| bound.kept)
            && rules.iter().flat_map(Rules::bounds).all(|bound| bound.kept);
        Self {
            schema: Schema {
                name: "xtask.bench".into(),
                version: 1,
            },
            kept,
            cost,
            side,
            node,
            rules,
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
    /// Processor time, in percent of a core.
    Percent,
    /// 99 of 100 are no more, in milliseconds.
    P99,
    /// The middle of all, in milliseconds.
    Median,
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
    /// Tools that were not measured: they, or what they read, are not there.
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
    /// What is left of the rate.
    pub(super) left: Spread,
    /// What is left of the rate in the best tenth of slices, in the middle of all pairs.
    pub(super) best: f64,
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
    /// The same of the rates that were reached in the best tenth of slices.
    pub(super) best: f64,
    pub(super) cpu: Cpu,
    pub(super) counts: Option<Counts>,
}

/// What it costs to watch the rest of the node, and how late what changes there is known.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Node {
    /// Units of systemd that were there.
    pub(super) units: u64,
    /// Where nothing happens.
    pub(super) idle: Vec<Idle>,
    /// Changes that are made.
    pub(super) late: Vec<Late>,
}

impl Node {
    fn bounds(&self) -> impl Iterator<Item = &Bound> {
        let idle = self.idle.iter().flat_map(|one| &one.bounds);
        idle.chain(self.late.iter().flat_map(|one| &one.bounds))
    }
}

/// What an idle tracer takes more with its sources beside the packets than without.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Idle {
    pub(super) what: Taken,
    pub(super) with: f64,
    pub(super) without: f64,
    pub(super) bounds: Vec<Bound>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Taken {
    /// Processor time of all threads but the main one, in percent of a core: those of the sources, and what they start.
    Threads,
    /// That of the main thread, which takes what they tell. It reads the counts of packets too, and so varies.
    Main,
    /// Resident memory, in units of 2^20 bytes.
    Memory,
}

/// How late changes were in the model: from before the command that makes one was started.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Late {
    /// Of which kind.
    pub(super) kind: String,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) most_ms: f64,
    pub(super) bounds: Vec<Bound>,
    /// Each, in the order in which they were made.
    pub(super) ms: Vec<f64>,
}

/// How long it takes to ask all rules how the verdicts stand.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rules {
    /// Flows of the node.
    pub(super) flows: u64,
    /// Changes that it knows of.
    pub(super) changes: u64,
    pub(super) cases: Vec<Case>,
}

impl Rules {
    fn bounds(&self) -> impl Iterator<Item = &Bound> {
        self.cases.iter().flat_map(|one| &one.bounds)
    }
}

/// What becomes of all these flows.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Case {
    pub(super) name: String,
    /// In milliseconds.
    pub(super) ms: Spread,
    pub(super) bounds: Vec<Bound>,
}

/// The middle, the lowest and the highest of several values, and how well they tell the middle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) lowest: f64,
    pub(super) highest: f64,
    /// The middle of ever more values would be between these, in 95 of 100 cases: the sign test's interval, which asks
    /// nothing of how the values are spread.
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Spread {
    /// None of none.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let number = values.len() as f64;
        // How many of them are below the true middle: half, give or take 1.96 standard deviations of sqrt(n) / 2.
        let cut = (number / 2.0 - 0.98 * number.sqrt()).max(0.0) as usize;
        Some(Self {
            median: *values.get(values.len() / 2)?,
            lowest: *values.first()?,
            highest: *values.last()?,
            low: *values.get(cut)?,
            high: *values.get(values.len() - 1 - cut)?,
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One of everything, with so much left under the storm.
    pub(in super::super) fn report(left: f64) -> Report {
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
                    low: 0.85,
                    high: 1.125,
                },
                best: 0.9,
                cpu,
                counts,
                bounds: vec![Bound::new(Measure::Left, left, Limit::AtLeast(0.93))],
                pairs: vec![Pair {
                    before: 1000.0,
                    with: 900.0,
                    after: 1000.0,
                    left,
                    best: 0.9,
                    cpu,
                    counts,
                }],
            }],
            missing: vec![Tool::Perf],
        };
        let node = Node {
            units: 300,
            idle: vec![Idle {
                what: Taken::Memory,
                with: 60.0,
                without: 55.5,
                bounds: vec![Bound::new(Measure::Megabytes, 4.5, Limit::AtMost(20.0))],
            }],
            late: vec![Late {
                kind: "route".into(),
                p50_ms: 2.0,
                p99_ms: 3.0,
                most_ms: 3.0,
                bounds: vec![Bound::new(Measure::P99, 3.0, Limit::AtMost(250.0))],
                ms: vec![1.0, 3.0, 2.0],
            }],
        };
        let rules = Rules {
            flows: 100_000,
            changes: 4096,
            cases: vec![Case {
                name: "all are answered".into(),
                ms: Spread {
                    median: 7.5,
                    lowest: 6.0,
                    highest: 9.0,
                    low: 7.0,
                    high: 8.0,
                },
                bounds: vec![Bound::new(Measure::Median, 7.5, Limit::AtMost(20.0))],
            }],
        };
        Report::new(Some(cost), Some(side), Some(node), Some(rules))
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
        assert_eq!(json["node"]["late"][0]["ms"][1], 3.0);
    }

    #[test]
    fn a_bound_that_is_missed_fails_the_whole() {
        assert!(report(0.95).kept);
        assert!(!report(0.875).kept);
        assert!(Report::new(None, None, None, None).kept);
    }

    #[test]
    fn the_middle_of_several_counts() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.lowest, spread.median, spread.highest), (1.0, 2.0, 3.0));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn more_values_tell_the_middle_better() {
        let between = |number: u32| {
            let spread = Spread::of((0..number).map(f64::from)).unwrap();
            (spread.low, spread.high)
        };
        assert_eq!(between(3), (0.0, 2.0));
        // The table of the sign test has these for 9, 25 and 45 values.
        assert_eq!(between(9), (1.0, 7.0));
        assert_eq!(between(25), (7.0, 17.0));
        assert_eq!(between(45), (15.0, 29.0));
    }
}
