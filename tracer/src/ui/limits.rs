//! What limits units of systemd: what it is about to do, and how long that is off.

use super::format::{brief, date_and_time, seconds};
use crate::event::NodeAction;
use crate::report::{Deadline, Node, Unit};

/// What systemd does next by itself: the end of the node before all else, then the soonest first.
pub(super) fn coming(node: &Node) -> Vec<String> {
    let ends = node.units.iter().filter_map(|unit| {
        let action = NodeAction::of_job(&unit.name, &unit.job)?;
        Some(format!(
            "{action} once its units have stopped ({}: {})",
            unit.name, unit.job
        ))
    });
    let as_of = as_of(node);
    ends.chain(limits(node)).map(|text| text + &as_of).collect()
}

/// `, as last known at 11-27 21:10:37 UTC`, behind what systemd told where it tells nothing any more; else nothing.
pub(super) fn as_of(node: &Node) -> String {
    // It was in the course of this watch: of no other year that would have to be told.
    let at = node.units_as_of.as_deref().map(|at| date_and_time(at, at));
    at.map_or_else(String::new, |at| format!(", as last known at {at} UTC"))
}

/// What limits units, the soonest first.
fn limits(node: &Node) -> impl Iterator<Item = String> {
    let mut coming: Vec<(f64, String)> = node
        .units
        .iter()
        .filter_map(|unit: &Unit| {
            let limit = unit.deadline.as_ref().filter(|limit| limit.is_ahead())?;
            let left = limit.seconds?;
            let unless = match limit.watchdog {
                Some(_) => ", unless it gives a sign of life before",
                None => "",
            };
            let (name, sub, action) = (&unit.name, &unit.sub, &limit.action);
            let text = if is_over(limit) {
                let ago = seconds(-left.round());
                format!("{name} ({sub}), was due {ago} ago: {action}; what became of it is not known")
            } else {
                format!("{name} ({sub}), {}: {action}{unless}", when(left, limit))
            };
            Some((left, text))
        })
        .collect();
    coming.sort_by(|one, other| one.0.total_cmp(&other.0));
    coming.into_iter().map(|(_, text)| text)
}

/// systemd is late, or it has acted and that was not told.
fn is_over(limit: &Deadline) -> bool {
    limit.seconds.is_some_and(|left| left.round() < 0.0)
}

/// `in 5 s`, `in 5 s to 35 s`, `within 25 s`
fn when(left: f64, limit: &Deadline) -> String {
    let left = left.round();
    match limit.seconds_at_most.map(f64::round) {
        Some(most) if left <= 0.0 => format!("within {}", seconds(most)),
        Some(most) => format!("in {} to {}", seconds(left), seconds(most)),
        None if left > 0.0 => format!("in {}", seconds(left)),
        None => "now".to_owned(),
    }
}

/// The time that is left, for tables.
pub(super) fn time_left(limit: Option<&Deadline>) -> String {
    let Some(limit) = limit else {
        return "-".to_owned();
    };
    match (limit.seconds, limit.seconds_at_most) {
        (None, _) => "none".to_owned(),
        (Some(_), _) if !limit.is_ahead() => "watchdog".to_owned(),
        (Some(_), None) if is_over(limit) => "overdue".to_owned(),
        (Some(least), Some(most)) => format!("{}-{}", brief(least), brief(most)),
        (Some(left), None) => brief(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    #[test]
    fn that_the_node_is_about_to_go_is_told_before_all_limits() {
        let mut node = sample::incident().node;
        let limits = coming(&node);
        let mut target = node.units[0].clone();
        target.deadline = None;
        target.name = "reboot.target".to_owned();
        target.job = "start queued".to_owned();
        node.units.push(target);
        let told = coming(&node);
        assert_eq!(
            told[0],
            "the node is rebooted once its units have stopped (reboot.target: start queued)"
        );
        assert_eq!(told[1..], limits);
        for (name, job) in [
            ("reboot.target", "stop queued"),
            ("multi-user.target", "start queued"),
            ("reboot.target", ""),
        ] {
            let last = node.units.last_mut().unwrap();
            (last.name, last.job) = (name.to_owned(), job.to_owned());
            assert_eq!(coming(&node), limits, "{name} {job}");
        }
    }

    #[test]
    fn what_systemd_is_about_to_do_is_told_with_when() {
        let of = |seconds: Option<f64>, seconds_at_most, watchdog| Deadline {
            seconds,
            seconds_at_most,
            watchdog,
            action: "SIGTERM to all its processes".to_owned(),
        };
        let says = |deadline: Deadline| {
            let mut node = sample::incident().node;
            node.units.truncate(1);
            node.units[0].deadline = Some(deadline.clone());
            (
                coming(&node).pop().unwrap_or_default(),
                time_left(Some(&deadline)),
            )
        };
        let is = |when: &str, unless: &str, left: &str| {
            let text = format!("kubelet.service (running), {when}: SIGTERM to all its processes{unless}");
            (text, left.to_owned())
        };
        assert_eq!(says(of(Some(5.2), None, None)), is("in 5 s", "", "5.2s"));
        assert_eq!(says(of(Some(0.3), None, None)), is("now", "", "0.3s"));
        let over = "; what became of it is not known";
        assert_eq!(
            says(of(Some(-9.0), None, None)),
            is("was due 9 s ago", over, "overdue")
        );
        assert_eq!(
            says(of(Some(5.0), Some(35.0), None)),
            is("in 5 s to 35 s", "", "5s-35s")
        );
        assert_eq!(
            says(of(Some(0.0), Some(25.0), None)),
            is("within 25 s", "", "0s-25s")
        );
        let unless = ", unless it gives a sign of life before";
        assert_eq!(says(of(Some(9.0), None, Some(60.0))), is("in 9 s", unless, "9s"));
        let nothing = |left: &str| (String::new(), left.to_owned());
        assert_eq!(says(of(Some(45.0), None, Some(60.0))), nothing("watchdog"));
        assert_eq!(says(of(None, None, None)), nothing("none"));
        assert_eq!(time_left(None), "-");
    }

    #[test]
    fn what_systemd_told_before_it_was_lost_is_as_last_known() {
        let mut node = sample::incident().node;
        assert!(!coming(&node).is_empty());
        assert_eq!(as_of(&node), "");
        node.units_as_of = Some("2023-10-10T06:14:07.352Z".to_owned());
        for text in coming(&node) {
            assert!(text.ends_with(", as last known at 10-10 06:14:07 UTC"), "{text}");
        }
    }
}
