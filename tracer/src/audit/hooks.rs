//! Scripts that something starts by itself because they are in its folder, and jobs of at(1). Pure.

/// A folder of such scripts, or one of them.
pub(super) struct Hook {
    /// Where it is.
    pub(super) path: &'static str,
    /// When they are started.
    pub(super) when: &'static str,
    /// Units that start them: where none is enabled they are never started; none for what other things start too.
    pub(super) by: &'static [&'static str],
    /// They are read by a shell, and so need not be executable.
    pub(super) sourced: bool,
}

const fn hook(path: &'static str, when: &'static str, by: &'static [&'static str]) -> Hook {
    Hook {
        path,
        when,
        by,
        sourced: false,
    }
}

const fn sourced(path: &'static str, when: &'static str) -> Hook {
    Hook {
        path,
        when,
        by: &[],
        sourced: true,
    }
}

const NETWORK_MANAGER: &[&str] = &["NetworkManager.service", "NetworkManager-dispatcher.service"];
const DISPATCHER: &[&str] = &["networkd-dispatcher.service"];
const LEASE: &str = "whenever an address is leased, or given up";
const PROFILE: &str = "whenever NetworkManager sees a change of the network";

/// All of them. Sources: interfaces(5), dhclient-script(8), dhcpcd-run-hooks(8), NetworkManager-dispatcher(8),
/// networkd-dispatcher(8), pppd(8), systemd-rc-local-generator(8), systemd-suspend.service(8), logrotate(8).
pub(super) const HOOKS: &[Hook] = &[
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
    hook(
        "etc/networkd-dispatcher/carrier.d",
        "whenever a link has its carrier and no address",
        DISPATCHER,
    ),
    hook(
        "etc/networkd-dispatcher/configured.d",
        "whenever networkd has configured a link",
        DISPATCHER,
    ),
    hook(
        "etc/networkd-dispatcher/configuring.d",
        "whenever networkd configures a link",
        DISPATCHER,
    ),
    hook(
        "etc/networkd-dispatcher/degraded.d",
        "whenever a link has link-local addresses only",
        DISPATCHER,
    ),
    hook(
        "etc/networkd-dispatcher/dormant.d",
        "whenever a link is dormant",
        DISPATCHER,
    ),
    hook(
        "etc/networkd-dispatcher/no-carrier.d",
        "whenever a link loses its carrier",
        DISPATCHER,
    ),
    hook(
        "etc/networkd-dispatcher/off.d",
        "whenever a link is taken down",
        DISPATCHER,
    ),
    hook(
        "etc/networkd-dispatcher/routable.d",
        "whenever a link becomes routable",
        DISPATCHER,
    ),
    hook(
        "usr/lib/networkd-dispatcher/off.d",
        "whenever a link is taken down",
        DISPATCHER,
    ),
    hook(
        "usr/lib/networkd-dispatcher/routable.d",
        "whenever a link becomes routable",
        DISPATCHER,
    ),
    hook("etc/ppp/ip-up.d", "whenever pppd has a link up", &[]),
    hook("etc/ppp/ip-down.d", "whenever pppd has a link down", &[]),
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
