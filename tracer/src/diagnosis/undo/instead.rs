//! What stands in the place of what went away, and does as well.

use std::cmp::Reverse;

use crate::diagnosis::effects::covers;
use crate::event::{TABLE_LOCAL, Thing, value};
use crate::model::Model;
use crate::model::timeline::Change;

/// Another rule looks table local up instead: which it is makes no difference.
pub(super) fn stands_elsewhere(model: &Model, netns: u32, gone: &Thing) -> bool {
    let Thing::Rule {
        version: of,
        table: TABLE_LOCAL,
        text,
        ..
    } = gone
    else {
        return false;
    };
    let is_same = |thing: &Thing| matches!(thing, Thing::Rule { version, table: TABLE_LOCAL, text, .. } if version == of && value::is_for_all(text));
    value::is_for_all(text)
        && model
            .settings()
            .iter()
            .any(|(in_netns, thing, _)| in_netns == netns && is_same(thing))
}

/// Where the route led, another one of its table leads now: one of another metric or origin, or of a network around it that is not
/// all there is, as the route of an address leads to the gateway in its network.
pub(super) fn leads_as_before(model: &Model, netns: u32, gone: &Thing, change: &Change) -> bool {
    let (
        Thing::Route {
            table: of_table,
            action: of_action,
            destination: to,
            prefix: bits,
            ..
        },
        Some(was),
    ) = (gone, &change.before)
    else {
        return false;
    };
    let around = model.settings().iter().filter_map(|(of, thing, is)| match thing {
        Thing::Route {
            table,
            action,
            destination,
            prefix,
            metric,
        } if of == netns
            && table == of_table
            && destination.is_ipv4() == to.is_ipv4()
            && (prefix == bits || (1..*bits).contains(prefix))
            && covers(*destination, *prefix, *to) =>
        {
            Some((*prefix, *metric, action, is))
        }
        _ => None,
    });
    // The kernel takes the longest prefix, and of these the lowest metric.
    let best = around.max_by_key(|(prefix, metric, ..)| (*prefix, Reverse(*metric)));
    best.is_some_and(|(_, _, action, is)| action == of_action && value::leads_alike(was, is))
}

/// Another route stands in the place of the one that went, of the same table, network and metric, whatever it does with packets: that
/// one cannot be added then, but `ip route replace` puts it there.
pub(super) fn is_taken(model: &Model, netns: u32, gone: &Thing) -> bool {
    let Thing::Route {
        table: of_table,
        destination: to,
        prefix: bits,
        metric: of_metric,
        ..
    } = gone
    else {
        return false;
    };
    let is_there = |thing: &Thing| {
        matches!(thing, Thing::Route { table, destination, prefix, metric, .. }
            if (table, destination, prefix, metric) == (of_table, to, bits, of_metric))
    };
    let mut all = model.settings().iter();
    all.any(|(of, thing, _)| of == netns && is_there(thing))
}
