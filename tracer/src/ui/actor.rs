//! Who did something, in words.

use crate::event::{ENDED, process};
use crate::report::{Actor, Unknown};

/// Digits of a container's id that are shown: as many as its tools show.
const ID: usize = 12;
/// systemd and the kernel's own (`kthreadd`), of which everybody may be a child: that says nothing.
const NOBODYS: [u32; 2] = [1, 2];

/// `; by ip[4711] (web.service, child of sh[4710])`, behind `before`; why that is not known; or nothing.
pub(super) fn by(before: &str, by: Option<&Actor>, unknown: Option<Unknown>) -> String {
    match (by, unknown) {
        (Some(by), _) => format!("{before}by {}", actor(by)),
        (None, Some(why)) => format!("{before}{}", why.told()),
        (None, None) => String::new(),
    }
}

/// `systemd-networkd[812] (systemd-networkd.service)`
pub(super) fn actor(actor: &Actor) -> String {
    let name = process(&actor.command, actor.pid);
    let mut more = Vec::new();
    if !actor.unit.is_empty() {
        more.push(actor.unit.clone());
    }
    // What is called by its id says it already.
    if let Some(id) = actor
        .container
        .get(..ID)
        .filter(|_| !actor.unit.contains(&actor.container))
    {
        more.push(format!("container {id}"));
    }
    if !actor.pod.is_empty() {
        more.push(format!("pod {}", actor.pod));
    }
    if let Some(parent) = actor
        .parent
        .as_ref()
        .filter(|parent| !NOBODYS.contains(&parent.pid))
    {
        more.push(format!("child of {}", process(&parent.command, parent.pid)));
    }
    if actor.command.is_empty() && actor.pid != 0 {
        more.push(ENDED.to_owned());
    }
    match (name.as_str(), more.is_empty()) {
        (_, true) => name,
        ("", false) => more.join(", "),
        (_, false) => format!("{name} ({})", more.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Parent;

    fn ip(unit: &str, container: &str, parent: Option<(u32, &str)>) -> Actor {
        Actor {
            pid: 7,
            command: "ip".to_owned(),
            unit: unit.to_owned(),
            container: container.to_owned(),
            pod: String::new(),
            parent: parent.map(|(pid, command)| Parent {
                pid,
                command: command.to_owned(),
            }),
        }
    }

    #[test]
    fn a_tool_is_known_by_who_runs_it() {
        let id = "0a1b2c3d4e5f6071".repeat(4);
        let scope = format!("cri-containerd-{id}.scope");
        for (told, expected) in [
            (ip("", "", None), "ip[7]"),
            (ip("web.service", "", Some((1, "systemd"))), "ip[7] (web.service)"),
            (
                ip("web.service", "", Some((6, "sh"))),
                "ip[7] (web.service, child of sh[6])",
            ),
            (
                ip("", &id, Some((6, ""))),
                "ip[7] (container 0a1b2c3d4e5f, child of process 6)",
            ),
            (ip(&scope, &id, None), &format!("ip[7] ({scope})")),
        ] {
            assert_eq!(actor(&told), expected);
        }
        let of_pod = Actor {
            pod: "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9".to_owned(),
            ..ip(&scope, &id, None)
        };
        assert_eq!(
            actor(&of_pod),
            format!("ip[7] ({scope}, pod 0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9)")
        );
    }

    #[test]
    fn why_nobody_is_named_is_told() {
        let known = ip("", "", None);
        assert_eq!(by("; ", Some(&known), None), "; by ip[7]");
        assert_eq!(by("; ", None, None), "");
        assert_eq!(
            by(", ", None, Some(Unknown::Compared)),
            ", by whom is not known: seen by comparing with the look before, the kernel does not tell who does this"
        );
        let ended = Actor {
            command: String::new(),
            ..known
        };
        assert_eq!(
            by("; ", Some(&ended), None),
            "; by process 7 (ended before it could be asked)"
        );
    }
}
