//! Units of systemd as rows, and in words what of them has no room there.

use super::details::more;
use super::format::{count, seconds};
use super::limits::time_left;
use super::table::{Column, Kind as Cell, Set, Table};
use crate::event::NodeAction;
use crate::report::{Deadline, JobLimit, Node, Unit};

/// A unit of interest: a service at work, or one about which something is to be said. There are hundreds of others.
pub(super) fn is_told(unit: &Unit) -> bool {
    let is_service = [".service", ".scope"]
        .iter()
        .any(|kind| unit.name.ends_with(kind));
    let is_at_rest = match unit.active.as_str() {
        "inactive" => true,
        "active" => !is_service || unit.sub == "exited",
        _ => false,
    };
    let is_well = matches!(unit.result.as_str(), "" | "success")
        && unit.reload_result.is_empty()
        && unit.job.is_empty()
        && !unit.frozen
        && !unit.deadline.as_ref().is_some_and(Deadline::is_ahead);
    let did_nothing = unit.starts == 0 && unit.processes == 0 && unit.arrived == 0 && unit.starved == 0;
    !(is_at_rest && is_well && did_nothing)
}

/// The time that is left until systemd acts on it. What limits the job of a unit that rests may be unknown: not of each more is read
/// than its state.
fn limit(unit: &Unit) -> String {
    match &unit.deadline {
        None if !unit.job.is_empty() => "unknown".to_owned(),
        limit => time_left(limit.as_ref()),
    }
}

/// A column of the table of units: what of a unit stands there, and whether that says anything of this one.
struct UnitColumn {
    column: Column,
    cell: fn(&Unit) -> String,
    says: fn(&Unit) -> bool,
}

/// The columns of the table of units; those of packets where these are counted. They are there at 80 columns, whatever they
/// say: names and states are cut for them, and what else is told of a unit gives way.
fn unit_columns(counted: bool) -> Vec<UnitColumn> {
    let one = |name, kind, rank, cell, says| UnitColumn {
        column: Column::new(name, kind, rank),
        cell,
        says,
    };
    let mut columns = vec![
        one("unit", Cell::Ends(20), 0, |unit| unit.name.clone(), |_| true),
        one("state", Cell::Text(11), 0, state, |_| true),
        one("result", Cell::Text(9), 5, result, |unit| {
            !matches!(unit.result.as_str(), "" | "success") || !unit.reload_result.is_empty()
        }),
        one(
            "job",
            Cell::Text(12),
            4,
            |unit| unit.job.clone(),
            |unit| !unit.job.is_empty(),
        ),
        one("limit", Cell::Number, 3, limit, |_| true),
    ];
    if counted {
        columns.extend([
            one(
                "starts",
                Cell::Number,
                6,
                |unit| count(unit.starts.into()),
                |unit| unit.starts > 0,
            ),
            one(
                "arrived",
                Cell::Number,
                1,
                |unit| count(unit.arrived),
                |unit| unit.arrived > 0,
            ),
            one(
                "delivered",
                Cell::Number,
                1,
                |unit| count(unit.delivered),
                |unit| unit.delivered > 0,
            ),
            one(
                "starved",
                Cell::Number,
                1,
                |unit| count(unit.starved),
                |unit| unit.starved > 0,
            ),
        ]);
    } else {
        // It asks once: what was started since then tells nothing.
        columns.push(one(
            "restarts",
            Cell::Number,
            5,
            |unit| count(unit.restarts.into()),
            |unit| unit.restarts > 0,
        ));
    }
    columns
}

/// That it is frozen comes before what does not matter then.
fn state(unit: &Unit) -> String {
    match unit.frozen {
        true => format!("frozen, {} ({})", unit.active, unit.sub),
        false => format!("{} ({})", unit.active, unit.sub),
    }
}

/// How its last run ended, and that there is none any more; how its last reload did, where that failed.
fn result(unit: &Unit) -> String {
    if !unit.reload_result.is_empty() {
        format!("reload: {}", unit.reload_result)
    } else if unit.start_limit_hit && !unit.result.contains("limit-hit") {
        format!("{}, start limit hit", unit.result)
    } else {
        unit.result.clone()
    }
}

/// Columns in which no unit has anything to say leave their room to the others.
pub(super) fn units_table(units: &[&Unit], counted: bool, room: usize) -> Set {
    let mut columns = unit_columns(counted);
    columns.retain(|column| units.iter().any(|unit| (column.says)(unit)));
    let mut table = Table::new(columns.iter().map(|column| column.column.clone()).collect());
    for unit in units {
        table.row(columns.iter().map(|column| (column.cell)(unit)));
    }
    table.set(room)
}

/// Jobs that systemd has not begun yet: each waits for another one.
pub(super) fn waiting(node: &Node) -> Vec<String> {
    /// Jobs that are told at most: where the node is shut down each unit has one.
    const TOLD: usize = 5;
    /// Where this one waits, or one that does something to the node, that is about to be gone.
    const SHUTDOWN: &str = "shutdown.target";
    let is_last = |unit: &Unit| unit.name == SHUTDOWN || NodeAction::of_job(&unit.name, &unit.job).is_some();
    let all = node.units.iter().filter(|unit| unit.job.ends_with(" queued"));
    let mut all: Vec<&Unit> = all.collect();
    // The sort is stable.
    all.sort_by_key(|unit| !is_last(unit));
    let all = all.into_iter();
    let line = |unit: &Unit| {
        let limit = unit.job_limit.as_ref().map_or_else(String::new, given_up);
        format!("{}: {}{limit}", unit.name, unit.job)
    };
    let mut told: Vec<String> = all.map(line).collect();
    let total = told.len();
    told.truncate(TOLD);
    told.extend(more(total as u64, TOLD));
    told
}

/// `, given up 30 s after it was queued or 10 s after its begin; then the node is rebooted (JobTimeoutAction=)`
fn given_up(limit: &JobLimit) -> String {
    let since = [
        (limit.queued, "after it was queued"),
        (limit.running, "after its begin"),
    ];
    let times = since
        .iter()
        .filter_map(|(span, since)| Some(format!("{} {since}", seconds((*span)?))));
    let then = match limit.action.as_str() {
        "" => String::new(),
        action => format!("; then {action} (JobTimeoutAction=)"),
    };
    format!(", given up {}{then}", times.collect::<Vec<_>>().join(" or "))
}

/// Units that have ended, and processes of them that have not.
pub(super) fn left_over(node: &Node) -> Vec<String> {
    let left = node.units.iter().filter(|unit| unit.processes > 0);
    left.map(|unit| {
        let result = match unit.result.as_str() {
            "" | "success" => String::new(),
            result => format!(", result {result}"),
        };
        let still = match unit.processes {
            1 => "1 process still runs".to_owned(),
            many => format!("{} processes still run", count(many.into())),
        };
        format!("{} ({}{result}): {still} in its cgroup", unit.name, unit.active)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    #[test]
    fn a_job_that_waits_says_for_how_long_it_may() {
        let mut node = sample::incident().node;
        node.units.truncate(1);
        node.units[0].job = "start queued".to_owned();
        let mut says = |queued, running, action: &str| {
            node.units[0].job_limit = Some(JobLimit {
                queued,
                running,
                action: action.to_owned(),
            });
            waiting(&node).pop().unwrap()
        };
        assert_eq!(
            says(Some(30.0), None, ""),
            "kubelet.service: start queued, given up 30 s after it was queued"
        );
        assert_eq!(
            says(Some(30.0), Some(10.0), "the node is rebooted"),
            "kubelet.service: start queued, given up 30 s after it was queued or 10 s after its begin; then the node is \
             rebooted (JobTimeoutAction=)"
        );
    }

    #[test]
    fn a_unit_that_is_frozen_is_told_as_that() {
        let mut unit = sample::incident().node.units.swap_remove(0);
        unit.name = "data.mount".to_owned();
        (unit.sub, unit.deadline) = ("mounted".to_owned(), None);
        (unit.starts, unit.arrived, unit.starved) = (0, 0, 0);
        assert!(!is_told(&unit));
        unit.frozen = true;
        assert!(is_told(&unit));
        assert_eq!(state(&unit), "frozen, active (mounted)");
    }

    /// That nothing is known of a limit is not that there is none.
    #[test]
    fn a_job_whose_limit_is_not_known_says_so() {
        let mut unit = sample::incident().node.units.swap_remove(0);
        unit.deadline = None;
        unit.job = "start running".to_owned();
        assert_eq!(limit(&unit), "unknown");
        unit.job.clear();
        assert_eq!(limit(&unit), "-");
    }

    #[test]
    fn what_a_unit_gets_of_the_network_is_there_at_80_columns() {
        let mut units = sample::incident().node.units;
        units[0].name = "a-service-with-a-name-that-is-rather-long.service".to_owned();
        (units[0].job, units[0].result) = ("stop running".to_owned(), "exit-code".to_owned());
        (units[0].active, units[0].sub) = ("deactivating".to_owned(), "stop-sigterm".to_owned());
        units[0].starts = 3;
        for (arrived, starved) in [(1, 0), (421, 9), (98_765_432, 1234), (9_876_543_210, 123_456)] {
            (units[0].arrived, units[0].delivered, units[0].starved) = (arrived, arrived - 1, starved);
            let told: Vec<&Unit> = units.iter().collect();
            let set = units_table(&told, true, 78);
            let row: Vec<&str> = set.rows[0].split_ascii_whitespace().rev().collect();
            let mut told = vec![count(arrived - 1), count(arrived)];
            if starved > 0 {
                told.insert(0, count(starved));
            } else {
                assert!(!set.header.contains("starved"));
            }
            // What none of them has to say leaves its room.
            let told: Vec<_> = told.into_iter().filter(|number| number != "0").collect();
            assert_eq!(row[..told.len()], told, "{set:?}");
            assert!(
                set.rows[0].len() <= 78 && set.rows[0].starts_with("a-ser"),
                "{set:?}"
            );
        }
    }
}
