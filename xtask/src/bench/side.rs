//! Tools side by side: how much of the traffic is left under each, and what each counts of a storm of drops.
//!
//! The machine is shared: each turn with a tool stands between two without one, and is compared with their mean. Tools
//! take turns, so that what changes in the hour changes for all of them. The median of the pairs counts; as many are taken
//! as it needs to tell whether the bound is kept.

use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{
    load::{Kind, Load, Turn},
    report::{Bound, Counts, Cpu, Limit, Measure, Pair, Row, Side, Spread},
    tool::{Killed, Running, Tool},
};
use crate::process::note;

/// Rounds under each load, at first; the tracer has a turn in each.
const ROUNDS: usize = 9;
/// Turns of the tracer under each load, at most: it has more than [`ROUNDS`] where the noise of those leaves open whether
/// its bound is kept.
const MOST: usize = 45;
/// From the start of a tool to the first packet of its turn: what it does first is over then. In a turn without a tool
/// a process is started as well, which sleeps: processors and caches go cold alike.
const SILENCE: Duration = Duration::from_millis(1500);
/// Processor time of the tracer in a storm, at most, in percent of a core.
const CPU: f64 = 2.0;

/// In how many rounds a tool has a turn. What the tracer keeps is to be read beside what empty programs keep, and in the
/// storm beside what bpftrace does; else the other tools only show what they cost.
fn turns(tool: Tool, kind: Kind) -> usize {
    match (tool, kind) {
        (Tool::Tracer | Tool::Floor, _) | (Tool::Bpftrace, Kind::Storm) => ROUNDS,
        (Tool::Bpftrace | Tool::Perf | Tool::Tcpdump, _) => 3,
    }
}

/// The least part of a load's rate that must be left under the tracer.
fn least(kind: Kind) -> f64 {
    match kind {
        Kind::Storm => 0.93,
        Kind::Flood => 0.90,
        Kind::Requests | Kind::Bulk => 0.95,
    }
}

/// Measures all tools under all loads.
///
/// # Errors
/// If something cannot be measured.
pub(super) fn measure(lab: &Path, tracer: &Path) -> Result<Side> {
    let (tools, missing): (Vec<_>, Vec<_>) = Tool::ALL.into_iter().partition(|tool| tool.usable());
    let mut rows = Vec::new();
    for kind in Kind::ALL {
        note(format_args!("measuring tools side by side under {}", kind.name()));
        let mut load = Load::start(lab, kind)?;
        let pairs = pairs(&mut load, tracer, &plan(kind, &tools))?;
        load.end()?;
        for &tool in &tools {
            let own = pairs.iter().filter(|(of, _)| *of == tool);
            rows.push(row(kind, tool, own.map(|(_, pair)| pair.clone()).collect())?);
        }
    }
    Ok(Side { rows, missing })
}

/// Which tool has which turn.
fn plan(kind: Kind, tools: &[Tool]) -> Vec<Tool> {
    let of_round = |round: usize| {
        let has_turn = move |tool: &&Tool| round.is_multiple_of(ROUNDS / turns(**tool, kind));
        tools.iter().filter(has_turn).copied()
    };
    (0..ROUNDS).flat_map(of_round).collect()
}

fn pairs(load: &mut Load, tracer: &Path, plan: &[Tool]) -> Result<Vec<(Tool, Pair)>> {
    // The first turn finds cold caches and no neighbour.
    load.turn()?;
    let mut pairs = Vec::new();
    let mut before = without(load)?;
    let mut planned = plan.iter().copied();
    while let Some(tool) = planned.next().or_else(|| another(load.kind, &pairs)) {
        let with = with(tool, tracer, load)?;
        let after = without(load)?;
        pairs.push((tool, pair(before, with, after)));
        before = after;
    }
    Ok(pairs)
}

/// The tracer, where its pairs do not tell yet whether what is left is within its bound.
fn another(kind: Kind, pairs: &[(Tool, Pair)]) -> Option<Tool> {
    let own = pairs.iter().filter(|(tool, _)| *tool == Tool::Tracer);
    let left: Vec<f64> = own.map(|(_, pair)| pair.left).collect();
    let spread = Spread::of(left.iter().copied())?;
    let open = spread.low < least(kind) && least(kind) <= spread.high;
    (open && left.len() < MOST).then_some(Tool::Tracer)
}

/// A turn without a tool.
fn without(load: &mut Load) -> Result<Turn> {
    let begin = Instant::now();
    let _sleeper = Killed::start(Command::new("sleep").arg("600"))?;
    wait_until(begin + SILENCE);
    load.turn()
}

fn wait_until(then: Instant) {
    thread::sleep(then.saturating_duration_since(Instant::now()));
}

/// What a turn with a tool shows.
struct With {
    turn: Turn,
    cpu: Cpu,
    counts: Option<Counts>,
}

fn with(tool: Tool, tracer: &Path, load: &mut Load) -> Result<With> {
    let start = Instant::now();
    let running = Running::start(tool, tracer, &load.netns)?;
    wait_until(start + SILENCE);
    let begin = (Instant::now(), running.ticks());
    let turn = load.turn()?;
    let end = (Instant::now(), running.ticks());
    let counts = load.kind == Kind::Storm;
    if counts {
        thread::sleep(tool.lag());
    }
    let told = running.end(&load.netns)?;
    let (Some(before), Some(after)) = (begin.1, end.1) else {
        bail!("{}: ended in its turn", tool.name());
    };
    // A tick is a percent of a second.
    let percent = |after: u64, before: u64| (after - before) as f64 / (end.0 - begin.0).as_secs_f64();
    Ok(With {
        turn,
        cpu: Cpu {
            user_percent: percent(after.user, before.user),
            system_percent: percent(after.system, before.system),
        },
        counts: counts.then_some(Counts {
            made: turn.sent,
            counted: told.counted,
            lost: told.lost,
        }),
    })
}

/// A turn with a tool against those around it.
fn pair(before: Turn, with: With, after: Turn) -> Pair {
    let left = |rate: fn(&Turn) -> f64| rate(&with.turn) / ((rate(&before) + rate(&after)) / 2.0);
    Pair {
        before: before.rate,
        with: with.turn.rate,
        after: after.rate,
        left: left(|turn| turn.rate),
        best: left(|turn| turn.best),
        cpu: with.cpu,
        counts: with.counts,
    }
}

fn row(load: Kind, tool: Tool, pairs: Vec<Pair>) -> Result<Row> {
    let spread = |value: fn(&Pair) -> f64| {
        Spread::of(pairs.iter().map(value)).with_context(|| format!("{}: had no turn", tool.name()))
    };
    let mean =
        |value: fn(&Cpu) -> f64| pairs.iter().map(|pair| value(&pair.cpu)).sum::<f64>() / pairs.len() as f64;
    let left = spread(|pair| pair.left)?;
    let cpu = Cpu {
        user_percent: mean(|cpu| cpu.user_percent),
        system_percent: mean(|cpu| cpu.system_percent),
    };
    let bounds = match tool {
        Tool::Tracer => bounds(load, left.median, cpu, &pairs),
        Tool::Floor | Tool::Bpftrace | Tool::Perf | Tool::Tcpdump => Vec::new(),
    };
    Ok(Row {
        load,
        tool,
        without: spread(|pair| (pair.before + pair.after) / 2.0)?.median,
        with: spread(|pair| pair.with)?.median,
        left,
        best: spread(|pair| pair.best)?.median,
        cpu,
        counts: pairs.iter().filter_map(|pair| pair.counts).reduce(sum),
        bounds,
        pairs,
    })
}

/// A number that one turn did not tell is not told of all.
fn sum(a: Counts, b: Counts) -> Counts {
    let both = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
    Counts {
        made: a.made + b.made,
        counted: both(a.counted, b.counted),
        lost: both(a.lost, b.lost),
    }
}

/// Those of the tracer.
fn bounds(load: Kind, left: f64, cpu: Cpu, pairs: &[Pair]) -> Vec<Bound> {
    let mut bounds = vec![Bound::new(Measure::Left, left, Limit::AtLeast(least(load)))];
    if load == Kind::Storm {
        // Of each pair: what is missing in one and too much in another makes up for nothing.
        let counts = pairs.iter().filter_map(|pair| pair.counts);
        let miscounted: u64 = counts
            .map(|counts| counts.made.abs_diff(counts.counted.unwrap_or(0)))
            .sum();
        bounds.push(Bound::new(
            Measure::Miscounted,
            miscounted as f64,
            Limit::AtMost(0.0),
        ));
        bounds.push(Bound::new(
            Measure::UserPercent,
            cpu.user_percent,
            Limit::AtMost(CPU),
        ));
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(made: u64, counted: u64) -> Counts {
        Counts {
            made,
            counted: Some(counted),
            lost: None,
        }
    }

    fn a_pair(rates: [f64; 3], user_percent: f64, counts: Option<Counts>) -> Pair {
        let cpu = Cpu {
            user_percent,
            system_percent: 0.0,
        };
        let turn = |rate| Turn {
            sent: 10,
            rate,
            best: 2.0 * rate,
        };
        let with = With {
            turn: turn(rates[1]),
            cpu,
            counts,
        };
        pair(turn(rates[0]), with, turn(rates[2]))
    }

    #[test]
    fn every_tool_has_its_turns() {
        for kind in Kind::ALL {
            let plan = plan(kind, &Tool::ALL);
            for tool in Tool::ALL {
                let number = plan.iter().filter(|of| **of == tool).count();
                assert_eq!(number, turns(tool, kind), "{tool:?} under {kind:?}");
            }
        }
        assert!(!plan(Kind::Storm, &[Tool::Tracer]).contains(&Tool::Perf));
    }

    #[test]
    fn the_tracer_has_turns_until_they_tell_whether_its_bound_is_kept() {
        let after = |left: f64, noise: f64, number: usize| {
            let one = |turn: usize| {
                let with = 100.0 * (left + noise * (turn % 3) as f64 - noise);
                (Tool::Tracer, a_pair([100.0, with, 100.0], 0.0, None))
            };
            another(Kind::Storm, &(0..number).map(one).collect::<Vec<_>>())
        };
        assert_eq!(after(0.96, 0.02, 9), None);
        assert_eq!(after(0.90, 0.02, 9), None);
        assert_eq!(after(0.92, 0.20, 9), Some(Tool::Tracer));
        assert_eq!(after(0.92, 0.20, MOST), None);
        assert_eq!(another(Kind::Storm, &[]), None);
    }

    #[test]
    fn a_steady_drift_cancels() {
        assert_eq!(a_pair([100.0, 90.0, 80.0], 0.0, None).left, 1.0);
    }

    #[test]
    fn a_row_has_the_median_the_noise_the_mean_and_the_sums() {
        let pairs = vec![
            a_pair([100.0, 95.0, 100.0], 1.0, Some(counts(10, 9))),
            a_pair([100.0, 50.0, 100.0], 2.0, Some(counts(10, 11))),
            a_pair([100.0, 125.0, 100.0], 6.0, Some(counts(10, 10))),
        ];
        let row = row(Kind::Storm, Tool::Tracer, pairs).unwrap();
        let left = row.left;
        assert_eq!((left.median, left.lowest, left.highest), (0.95, 0.5, 1.25));
        assert_eq!((row.without, row.with, row.best), (100.0, 95.0, 0.95));
        assert_eq!(row.cpu.user_percent, 3.0);
        assert_eq!(row.counts, Some(counts(30, 30)));
        // The sums agree, the pairs do not.
        let kept: Vec<_> = row.bounds.iter().map(|bound| (bound.of, bound.kept)).collect();
        assert_eq!(
            kept,
            [
                (Measure::Left, true),
                (Measure::Miscounted, false),
                (Measure::UserPercent, false)
            ]
        );
        assert_eq!(row.bounds[1].value, 2.0);
    }

    #[test]
    fn only_the_tracer_has_bounds() {
        let pairs = vec![a_pair([100.0, 5.0, 100.0], 90.0, None)];
        assert!(
            row(Kind::Flood, Tool::Perf, pairs.clone())
                .unwrap()
                .bounds
                .is_empty()
        );
        assert_eq!(row(Kind::Flood, Tool::Tracer, pairs).unwrap().bounds.len(), 1);
        assert!(row(Kind::Flood, Tool::Tracer, Vec::new()).is_err());
    }
}
