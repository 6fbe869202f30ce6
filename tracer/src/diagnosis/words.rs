//! How findings are put into words.

use std::net::IpAddr;

use crate::event::{FlowKey, Owner};
use crate::model::Model;

/// Names told in one sentence before the rest is counted.
const NAMED: usize = 3;

/// `1 packet`, `5 packets`.
pub(super) fn count(number: u64, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// `a`, `a and b`, `a, b, c and 2 more`.
pub(super) fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        names if names.len() > NAMED => {
            format!("{} and {} more", names[..NAMED].join(", "), names.len() - NAMED)
        }
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// Sorted, each once.
pub(super) fn distinct(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// `curl[123] (web.service)`
pub(super) fn owner(owner: &Owner) -> String {
    let unit = if owner.unit.is_empty() {
        String::new()
    } else {
        format!(" ({})", owner.unit)
    };
    format!("{}[{}]{unit}", owner.command, owner.pid)
}

/// `curl[123] (web.service), tcp 10.0.0.2:40000 → 192.0.2.10:80`; without an owner the flow alone.
pub(super) fn flow(model: &Model, key: &FlowKey) -> String {
    match model.owner(key) {
        Some(found) => format!("{}, {key}", owner(found)),
        None => key.to_string(),
    }
}

/// A command, as it is to be run for that namespace.
pub(super) fn command(model: &Model, netns: u32, command: &str) -> String {
    match model
        .node()
        .namespace(netns)
        .map(|namespace| namespace.name.as_str())
    {
        None | Some("host" | "") => command.to_owned(),
        Some(path) if path.contains('/') => format!("nsenter --net={path} {command}"),
        Some(name) => format!("ip netns exec {name} {command}"),
    }
}

/// `ip` or `ip -6`.
pub(super) fn ip(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "ip -6" } else { "ip" }
}

/// `06:14:05 UTC`, with the date before it where that is not today's.
pub(super) fn moment(model: &Model, at: u64) -> String {
    let (text, now) = (model.utc(at), model.utc(model.now()));
    match (text.split_once('T'), now.split_once('T')) {
        (Some((day, time)), Some((today, _))) => {
            let time = time.get(..8).unwrap_or(time);
            let day = if day == today {
                String::new()
            } else {
                format!("{day} ")
            };
            format!("{day}{time} UTC")
        }
        _ => text,
    }
}

/// `2.5 s`
pub(super) fn span(nanoseconds: u64) -> String {
    format!("{:.1} s", crate::model::clock::seconds(nanoseconds))
}
