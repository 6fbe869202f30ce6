//! How findings are put into words.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::event::{ENDED, FlowKey, Owner, process};
use crate::model::Model;
use crate::model::clock::rfc3339;
use crate::numbers::thousands;
use crate::shell::quoted;

/// Names told in one sentence before the rest is counted.
pub(super) const NAMED: usize = 3;

/// `1 packet`, `5 packets`, `2 addresses`.
pub(super) fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ if noun.ends_with('s') => format!("{} {noun}es", thousands(number)),
        _ => format!("{} {noun}s", thousands(number)),
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

/// `curl[123] (web.service)`, `process 123 (web.service, ended before it could be asked)`; the unit alone, or else the
/// group, where no process is known.
pub(super) fn owner(owner: &Owner) -> String {
    if owner.pid == 0 {
        let known = if owner.unit.is_empty() {
            &owner.cgroup
        } else {
            &owner.unit
        };
        return known.clone();
    }
    let ended = if owner.command.is_empty() { ENDED } else { "" };
    let more: Vec<&str> = [owner.unit.as_str(), ended]
        .into_iter()
        .filter(|one| !one.is_empty())
        .collect();
    let name = process(&owner.command, owner.pid);
    if more.is_empty() {
        name
    } else {
        format!("{name} ({})", more.join(", "))
    }
}

/// `curl[123] (web.service), tcp 10.0.0.2:40000 → 192.0.2.10:80`; without an owner the flow alone.
pub(super) fn flow(model: &Model, key: &FlowKey) -> String {
    match model.owner(key) {
        Some(found) => format!("{}, {key}", owner(found)),
        None => key.to_string(),
    }
}

/// `of this node`, or `in pod-a:4026532202` where several namespaces are watched.
pub(super) fn whose(model: &Model, namespaces: &BTreeSet<u32>) -> String {
    if !model.node().several() {
        return "of this node".to_owned();
    }
    let labels = namespaces.iter().map(|netns| model.node().netns_label(*netns));
    format!("in {}", list(&distinct(labels)))
}

/// A command, as it is to be run for that namespace. Its own words must be [`quoted`] where need be.
pub(super) fn command(model: &Model, netns: u32, command: &str) -> String {
    let Some(namespace) = model.node().namespace(netns) else {
        // Not one of those that are watched: this node's commands would speak of another.
        return match netns {
            0 => command.to_owned(),
            inode => format!(
                "nsenter --net=/proc/PID/ns/net {command}  # PID: a process of network namespace {inode} (lsns -t net)"
            ),
        };
    };
    let name = namespace.name.as_str();
    // It has no name of its own, and what a process calls itself is of no use to a command.
    if let Some(pid) = pid(name) {
        return format!("nsenter --net=/proc/{pid}/ns/net {command}");
    }
    match name {
        own if is_of_reader(own) => command.to_owned(),
        path if path.contains('/') => format!("nsenter --net={} {command}", quoted(path)),
        name => format!("ip netns exec {} {command}", quoted(name)),
    }
}

/// Where cgroup v2 is mounted, as a word of a command: beside v1 it is a folder below `/sys/fs/cgroup`.
pub(super) const CGROUP2: &str = "\"$(findmnt -nt cgroup2 -o TARGET | head -n1)\"";

/// A namespace of this name is the one that the reader's commands run in.
pub(super) fn is_of_reader(name: &str) -> bool {
    matches!(name, "" | "host")
}

/// The process after which a namespace without a name is called.
fn pid(name: &str) -> Option<u32> {
    name.strip_prefix("pid:")?.split(' ').next()?.parse().ok()
}

/// The unit of an owner as an argument of systemctl; `None` where it is not one that the node's own systemd
/// knows by that name.
///
/// Only slices stand above such a unit: inside of others another manager gives the names, that of a user or of a
/// container, and anybody may make a group there that is called as a unit of the node. What is no valid name of
/// a unit, such as `*.service`, could mean others to systemctl.
pub(super) fn managed_unit(owner: &Owner) -> Option<String> {
    let unit = owner.unit.as_str();
    let is_valid = |c: char| c.is_ascii_alphanumeric() || r":-_.\@".contains(c);
    if unit.is_empty() || unit.starts_with('-') || !unit.chars().all(is_valid) {
        return None;
    }
    let above = owner
        .cgroup
        .split('/')
        .take_while(|component| component.strip_prefix('_').unwrap_or(component) != unit);
    let mut above = above.filter(|component| !component.is_empty());
    above
        .all(|component| component.ends_with(".slice"))
        .then(|| quoted(unit).into_owned())
}

/// `ip` or `ip -6`.
pub(super) fn ip(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "ip -6" } else { "ip" }
}

/// `192.0.2.10:80`, `[2001:db8::1]:80`; the address alone where there is no port.
pub(super) fn end(address: IpAddr, port: u16) -> String {
    if port == 0 {
        address.to_string()
    } else {
        SocketAddr::new(address, port).to_string()
    }
}

/// With a capital letter at its beginning.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `06:14:05 UTC`, with the date before it where that is not today's.
pub(super) fn moment(model: &Model, at: u64) -> String {
    wall_moment(model, model.wall(at))
}

/// The same of a time in ns since 1970.
pub(super) fn wall_moment(model: &Model, at: i64) -> String {
    let (text, now) = (rfc3339(at.into()), model.utc(model.now()));
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

/// `12 ms`, `2.5 s`
pub(super) fn short(nanoseconds: u64) -> String {
    match nanoseconds / 1_000_000 {
        0 => "less than 1 ms".to_owned(),
        short @ 1..1000 => format!("{short} ms"),
        _ => span(nanoseconds),
    }
}

/// `2.5 s`
pub(super) fn span(nanoseconds: u64) -> String {
    format!("{:.1} s", crate::model::clock::seconds(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_owner_is_a_process_that_is_not_known() {
        let told = |pid, command: &str, unit: &str| {
            owner(&Owner {
                pid,
                command: command.to_owned(),
                cgroup: "/pods/1".to_owned(),
                unit: unit.to_owned(),
                parent: None,
            })
        };
        assert_eq!(told(7, "curl", "web.service"), "curl[7] (web.service)");
        assert_eq!(told(7, "curl", ""), "curl[7]");
        assert_eq!(
            told(7, "", "web.service"),
            "process 7 (web.service, ended before it could be asked)"
        );
        assert_eq!(told(7, "", ""), "process 7 (ended before it could be asked)");
        assert_eq!(told(0, "", "web.service"), "web.service");
        assert_eq!(told(0, "", ""), "/pods/1");
    }

    #[test]
    fn only_units_of_the_nodes_own_systemd_are_named_to_systemctl() {
        for (cgroup, unit, expected) in [
            ("/system.slice/ssh.service", "ssh.service", Some("ssh.service")),
            (
                "/system.slice/ssh.service/worker",
                "ssh.service",
                Some("ssh.service"),
            ),
            ("/system.slice/_cpu.service", "cpu.service", Some("cpu.service")),
            ("/init.scope", "init.scope", Some("init.scope")),
            (
                r"/system.slice/system-a\x2db.slice/a\x2db@1.service",
                r"a\x2db@1.service",
                Some(r"'a\x2db@1.service'"),
            ),
            ("/system.slice/ssh.service", "", None),
            // A user's own, and one in a container.
            (
                "/user.slice/user-1.slice/user@1.service/app.slice/ssh.service",
                "ssh.service",
                None,
            ),
            (
                "/machine.slice/box.service/payload/system.slice/ssh.service",
                "ssh.service",
                None,
            ),
            ("/docker/0a1b/ssh.service", "ssh.service", None),
            ("/system.slice/*.service", "*.service", None),
            ("/system.slice/-Hroot@evil.service", "-Hroot@evil.service", None),
            ("/system.slice/a b.service", "a b.service", None),
        ] {
            let owner = Owner {
                pid: 1,
                command: String::new(),
                cgroup: cgroup.to_owned(),
                unit: unit.to_owned(),
                parent: None,
            };
            assert_eq!(managed_unit(&owner).as_deref(), expected, "{cgroup}");
        }
    }
}
