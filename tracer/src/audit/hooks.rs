//! Scripts that something starts by itself because they are in its folder, and jobs of at(1). Pure.

use std::borrow::Cow;

/// A folder of such scripts, or one of them.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    /// Where it is.
    pub(super) path: Cow<'static, str>,
    /// When they are started.
    pub(super) when: &'static str,
    /// Units that start them: where none is enabled they are never started; none for what other things start too.
    pub(super) by: &'static [&'static str],
    /// They are read by a shell, and so need not be executable.
    pub(super) sourced: bool,
}

const fn hook(path: &'static str, when: &'static str, by: &'static [&'static str]) -> Hook {
    Hook {
        path: Cow::Borrowed(path),
        when,
        by,
        sourced: false,
    }
}

const fn sourced(path: &'static str, when: &'static str) -> Hook {
    Hook {
        path: Cow::Borrowed(path),
        when,
        by: &[],
        sourced: true,
    }
}

const NETWORK_MANAGER: &[&str] = &["NetworkManager.service", "NetworkManager-dispatcher.service"];
const DISPATCHER: &[&str] = &["networkd-dispatcher.service"];
const LEASE: &str = "whenever an address is leased, or given up";
const BEFORE_PPP: &str = "before pppd has a link up";
const PPP_UP: &str = "whenever pppd has a link up";
const PPP_DOWN: &str = "whenever pppd has a link down";
const PROFILE: &str = "whenever NetworkManager sees a change of the network";

/// Where networkd-dispatcher has a folder for each state of a link.
const DISPATCHED: [&str; 2] = ["etc/networkd-dispatcher", "usr/lib/networkd-dispatcher"];
/// These states (networkctl(1)), and what brings them.
const STATES: [(&str, &str); 16] = [
    ("carrier", "whenever a link has its carrier and no address"),
    ("configured", "whenever networkd has configured a link"),
    ("configuring", "whenever networkd configures a link"),
    ("degraded", "whenever a link has link-local addresses only"),
    (
        "degraded-carrier",
        "whenever a part of a bond or bridge loses its carrier",
    ),
    ("dormant", "whenever a link is dormant"),
    ("enslaved", "whenever a link becomes part of a bond or bridge"),
    ("failed", "whenever networkd fails to manage a link"),
    ("initialized", "whenever udev is done with a link"),
    (
        "linger",
        "whenever a link is gone and networkd has not forgotten it yet",
    ),
    ("missing", "whenever a link is missing"),
    ("no-carrier", "whenever a link loses its carrier"),
    ("off", "whenever a link is taken down"),
    ("pending", "whenever udev begins to work on a link"),
    ("routable", "whenever a link becomes routable"),
    ("unmanaged", "whenever networkd leaves a link to others"),
];

/// All of them.
pub(super) fn all() -> impl Iterator<Item = Hook> {
    let states = DISPATCHED.iter().flat_map(|folder| {
        STATES.iter().map(move |(state, when)| Hook {
            path: Cow::Owned(format!("{folder}/{state}.d")),
            when,
            by: DISPATCHER,
            sourced: false,
        })
    });
    HOOKS.iter().cloned().chain(states)
}

/// All but those of networkd-dispatcher. Sources: interfaces(5), dhclient-script(8), dhcpcd-run-hooks(8),
/// NetworkManager-dispatcher(8), networkd-dispatcher(8), pppd(8), ifplugd(8), resolvconf(8), systemd-rc-local-generator(8),
/// systemd-suspend.service(8), logrotate(8).
const HOOKS: &[Hook] = &[
    hook(
        "etc/network/if-pre-up.d",
        "before ifup brings an interface up",
        &[],
    ),
    hook(
        "etc/network/if-up.d",
        "whenever ifup has brought an interface up",
        &[],
    ),
    hook(
        "etc/network/if-post-up.d",
        "whenever ifup has brought an interface up",
        &[],
    ),
    hook(
        "etc/network/if-pre-down.d",
        "before ifdown takes an interface down",
        &[],
    ),
    hook(
        "etc/network/if-down.d",
        "before ifdown takes an interface down",
        &[],
    ),
    hook(
        "etc/network/if-post-down.d",
        "whenever ifdown has taken an interface down",
        &[],
    ),
    sourced("etc/dhcp/dhclient-enter-hooks", LEASE),
    sourced("etc/dhcp/dhclient-enter-hooks.d", LEASE),
    sourced("etc/dhcp/dhclient-exit-hooks", LEASE),
    sourced("etc/dhcp/dhclient-exit-hooks.d", LEASE),
    hook("etc/dhcp/dhclient.d", LEASE, &[]),
    sourced("etc/dhcpcd.enter-hook", LEASE),
    sourced("etc/dhcpcd.exit-hook", LEASE),
    sourced("usr/lib/dhcpcd/dhcpcd-hooks", LEASE),
    sourced("usr/libexec/dhcpcd-hooks", LEASE),
    hook("etc/NetworkManager/dispatcher.d", PROFILE, NETWORK_MANAGER),
    hook(
        "etc/NetworkManager/dispatcher.d/no-wait.d",
        PROFILE,
        NETWORK_MANAGER,
    ),
    hook(
        "etc/NetworkManager/dispatcher.d/pre-down.d",
        PROFILE,
        NETWORK_MANAGER,
    ),
    hook(
        "etc/NetworkManager/dispatcher.d/pre-up.d",
        PROFILE,
        NETWORK_MANAGER,
    ),
    hook("usr/lib/NetworkManager/dispatcher.d", PROFILE, NETWORK_MANAGER),
    hook(
        "usr/lib/NetworkManager/dispatcher.d/no-wait.d",
        PROFILE,
        NETWORK_MANAGER,
    ),
    hook(
        "usr/lib/NetworkManager/dispatcher.d/pre-down.d",
        PROFILE,
        NETWORK_MANAGER,
    ),
    hook(
        "usr/lib/NetworkManager/dispatcher.d/pre-up.d",
        PROFILE,
        NETWORK_MANAGER,
    ),
    hook("etc/ppp/ip-pre-up", BEFORE_PPP, &[]),
    hook("etc/ppp/ip-pre-up.d", BEFORE_PPP, &[]),
    hook("etc/ppp/ip-up", PPP_UP, &[]),
    hook("etc/ppp/ip-up.d", PPP_UP, &[]),
    hook("etc/ppp/ip-up.local", PPP_UP, &[]),
    hook("etc/ppp/ip-down", PPP_DOWN, &[]),
    hook("etc/ppp/ip-down.d", PPP_DOWN, &[]),
    hook("etc/ppp/ip-down.local", PPP_DOWN, &[]),
    hook("etc/ppp/ipv6-up", PPP_UP, &[]),
    hook("etc/ppp/ipv6-up.d", PPP_UP, &[]),
    hook("etc/ppp/ipv6-down", PPP_DOWN, &[]),
    hook("etc/ppp/ipv6-down.d", PPP_DOWN, &[]),
    hook(
        "etc/ifplugd/action.d",
        "whenever ifplugd sees a cable plugged in or out",
        &["ifplugd.service"],
    ),
    hook(
        "etc/resolvconf/update.d",
        "whenever resolvconf learns of name servers, or forgets some",
        &[],
    ),
    hook(
        "etc/resolvconf/update-libc.d",
        "whenever resolvconf has written resolv.conf",
        &[],
    ),
    hook("etc/rc.local", "whenever the node starts", &[]),
    hook(
        "etc/systemd/system-sleep",
        "before the node sleeps, and after",
        &[],
    ),
    hook(
        "usr/lib/systemd/system-sleep",
        "before the node sleeps, and after",
        &[],
    ),
];

/// Where logrotate has its configuration, and when it goes by it.
pub(super) const LOGROTATE: &str = "etc/logrotate.d";
/// When what [`rotations`] finds is run.
pub(super) const ROTATED: &str = "whenever logrotate rotates that log";

/// Where ifupdown has its configuration, and more of it where that names the folder.
pub(super) const INTERFACES: &str = "etc/network/interfaces";
/// When it runs the commands in that (interfaces(5)).
const RUNS: [(&str, &str); 6] = [
    ("pre-up", "before ifup brings an interface up"),
    ("up", "whenever ifup has brought an interface up"),
    ("post-up", "whenever ifup has brought an interface up"),
    ("down", "before ifdown takes an interface down"),
    ("pre-down", "before ifdown takes an interface down"),
    ("post-down", "whenever ifdown has taken an interface down"),
];

/// The commands in a configuration of ifupdown: the first and the last line of each, when it is run, and what it says.
pub(super) fn commands_of_interfaces(text: &str) -> Vec<(usize, usize, &'static str, String)> {
    let mut found = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((first, line)) = lines.next() {
        let (mut last, mut whole) = (first, line.to_owned());
        // Also a comment goes on behind a backslash.
        while whole.ends_with('\\')
            && let Some((number, more)) = lines.next()
        {
            last = number;
            whole.push('\n');
            whole.push_str(more);
        }
        let Some((key, command)) = whole.trim().split_once([' ', '\t']) else {
            continue;
        };
        let when = RUNS.iter().find(|(known, _)| *known == key);
        found.extend(when.map(|(_, when)| (first, last, *when, command.trim_start().to_owned())));
    }
    found
}

/// The scripts in a configuration of logrotate: the first and the last line of each, and what it says.
pub(super) fn rotations(text: &str) -> Vec<(usize, usize, String)> {
    let mut found = Vec::new();
    let mut open = None::<(usize, String)>;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.trim(), &mut open) {
            ("endscript", _) => found.extend(open.take().map(|(first, script)| (first, number, script))),
            (_, Some((_, script))) => {
                script.push_str(line);
                script.push('\n');
            }
            ("prerotate" | "postrotate" | "firstaction" | "lastaction" | "preremove", None) => {
                open = Some((number, String::new()));
            }
            _ => {}
        }
    }
    found
}

/// Where at(1) has its jobs: on Debian, on Red Hat, on SUSE.
pub(super) const AT_SPOOLS: [&str; 3] = ["var/spool/cron/atjobs", "var/spool/at", "var/spool/atjobs"];

/// Number and time, in minutes since 1970, of a job of at(1) by the name of its file: a letter for its queue, five digits
/// of its number, eight of its time (`at.c` of at: `"%c%5lx%8lx"`, blanks made to zeros).
pub(super) fn at_job(name: &str) -> Option<(u64, u64)> {
    let (queue, digits) = (name.get(..1)?, name.get(1..).filter(|digits| digits.len() == 13)?);
    let is_queue = queue.starts_with(|c: char| c.is_ascii_alphabetic() || c == '=');
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    is_queue.then_some(())?;
    Some((number(digits.get(..5)?)?, number(digits.get(5..)?)?))
}

/// What a job of at(1) runs: without the environment that it restores first.
pub(super) fn at_commands(text: &str) -> String {
    let is_environment = |line: &str| {
        line.split_once('=')
            .is_some_and(|(name, _)| line.ends_with(&format!("; export {name}")))
    };
    text.lines()
        .map(|line| if is_environment(line) { "" } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_logrotate() {
        let text = "/var/log/a {\n weekly\n postrotate\n  x\n  y\n endscript\n prerotate\n z";
        assert_eq!(rotations(text), [(3, 6, "  x\n  y\n".to_owned())]);
    }

    #[test]
    fn commands_of_ifupdown() {
        let text =
            "auto a\niface a inet dhcp\n  up x\n# up y \\\n up z\n\tpost-down v \\\n  w\n  upper q\nup";
        let up = "whenever ifup has brought an interface up";
        let down = "whenever ifdown has taken an interface down";
        assert_eq!(
            commands_of_interfaces(text),
            [(3, 3, up, "x".to_owned()), (6, 7, down, "v \\\n  w".to_owned())]
        );
    }

    #[test]
    fn jobs_of_at() {
        assert_eq!(at_job("a0001f01c3d2e0"), Some((0x1f, 0x01c3_d2e0)));
        assert_eq!(at_job("=0001f01c3d2e0"), Some((0x1f, 0x01c3_d2e0)));
        for name in ["", ".SEQ", "a0001f01c3d2e", "a0001g01c3d2e0", "ä0001f01c3d2e0"] {
            assert_eq!(at_job(name), None, "{name}");
        }
        let text = "#!/bin/sh\nSUDO_COMMAND=/usr/bin/apt; export SUDO_COMMAND\nA=b; apt-get upgrade\n";
        assert_eq!(at_commands(text), "#!/bin/sh\n\nA=b; apt-get upgrade");
    }
}
