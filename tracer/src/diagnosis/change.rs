//! A change of the timeline, in words.

use super::report;
use super::words::{moment, owner};
use crate::event::{Thing, only, started_anew, value};
use crate::model::Model;
use crate::model::timeline::{Change, Subject};

/// `at 06:14:05 UTC`. Of what was only noticed the time is that of the look.
pub(super) fn time(model: &Model, change: &Change) -> String {
    let at = moment(model, change.at);
    if change.noticed {
        format!("(noticed at {at} by comparing with the look before; it happened between the two)")
    } else {
        format!("at {at}")
    }
}

/// `IPv4 rule 0: from all lookup local went away, by systemd-networkd[812] (systemd-networkd.service)`. Where several network
/// namespaces are watched, the one is named that it is in.
pub(super) fn sentence(model: &Model, change: &Change) -> String {
    let object = match &change.subject {
        Subject::Setting(netns, thing) => placed(thing, &report::place(model, *netns)),
        Subject::Closed(label, thing) => placed(thing, label),
        Subject::Namespace(name) => report::namespace(name),
        Subject::Unit(name) | Subject::Job(name) | Subject::Timer(name) => name.clone(),
        Subject::Packages(_) => "packages".to_owned(),
        Subject::Notice(_) | Subject::Starvation(_) => String::new(),
    };
    let after = change.after.as_deref().map(|after| change.subject.shown(after));
    let what = match (&change.before, after.as_deref()) {
        (Some(before), None) if !before.is_empty() => format!("went away (was {before})"),
        (_, None) => "went away".to_owned(),
        (None, Some("")) => "came".to_owned(),
        (None, Some(now)) if object.is_empty() => now.to_owned(),
        (None, Some(now)) => format!("came: {now}"),
        (Some(before), Some(now)) if before.is_empty() => format!("changed to {now}"),
        (Some(before), Some(now)) => {
            // It is another run.
            let anew = match change.subject {
                Subject::Unit(_) => started_anew(Some(before), now),
                _ => None,
            };
            if let Some(stands) = anew {
                return format!("{object} was started anew: {stands}");
            }
            let only = match change.subject {
                Subject::Unit(_) => only(before, now),
                _ => None,
            };
            if let Some(only) = only {
                return format!("{object}: {only}");
            }
            let (renamed, before, now) = match value::renaming(before, now) {
                Some((was, before, now)) => (Some(format!("was renamed from {was}")), before, now),
                None => (None, before.as_str(), now),
            };
            let changed = || {
                let (before, now) = value::differing(before, now);
                format!("changed from {before} to {now}")
            };
            match renamed {
                Some(renamed) if before == now => renamed,
                Some(renamed) => format!("{renamed} and {}", changed()),
                None => changed(),
            }
        }
    };
    let by = match &change.by {
        Some(by) => format!(", by {}", owner(by)),
        None => String::new(),
    };
    let space = if object.is_empty() { "" } else { " " };
    format!("{object}{space}{what}{by}")
}

fn placed(thing: &Thing, netns: &str) -> String {
    if netns.is_empty() {
        thing.to_string()
    } else {
        format!("{thing} in network namespace {netns}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_by_what_differs() {
        let told = |subject, before: &str, after: &str| {
            let change = Change {
                at: 1,
                subject,
                before: Some(before.to_owned()),
                after: Some(after.to_owned()),
                by: None,
                by_unknown: None,
                noticed: false,
            };
            sentence(&Model::new(), &change)
        };
        let unit = Subject::Unit("a.service".to_owned());
        assert_eq!(
            told(unit, "active (running)", "active (running)"),
            "a.service was started anew: active (running)"
        );
        assert_eq!(
            told(
                Subject::Unit("a.service".to_owned()),
                "activating (start)",
                "active (running), started anew, main process 471, was 460"
            ),
            "a.service was started anew: active (running), main process 471, was 460"
        );
        let device = "eth0".to_owned();
        assert_eq!(
            told(
                Subject::Setting(1, Thing::Link { device }),
                "up, carrier, mtu 1500",
                "down, no carrier, mtu 1500"
            ),
            "device eth0 changed from up, carrier to down, no carrier"
        );
    }
}
