//! Programs that can change a node, and services of its network.

use super::Effect;

/// By which arguments a program changes something.
enum Doing {
    /// By any.
    Always,
    /// By any, where none is one of these: it only reads then.
    Unless(&'static [&'static str]),
    /// By these alone.
    With(&'static [&'static str]),
}

use Doing::{Always, Unless, With};
use Effect::{Firmware, Network, Packages, Reboot, Services};

const APT: Doing = Unless(&[
    "--dry-run",
    "--print-uris",
    "--simulate",
    "-s",
    "changelog",
    "check",
    "download",
    "list",
    "policy",
    "search",
    "show",
]);
const DNF: Doing = Unless(&["check-update", "info", "list", "repolist", "repoquery", "search"]);
const DPKG: Doing = Unless(&[
    "--audit",
    "--compare-versions",
    "--contents",
    "--get-selections",
    "--info",
    "--list",
    "--listfiles",
    "--print-architecture",
    "--print-foreign-architectures",
    "--search",
    "--status",
    "--verify",
    "--version",
    "-C",
    "-I",
    "-L",
    "-S",
    "-V",
    "-c",
    "-l",
    "-s",
]);
const RPM: Doing = Unless(&[
    "--eval",
    "--query",
    "--verify",
    "--version",
    "-E",
    "-V",
    "-Va",
    "-q",
    "-qa",
    "-qf",
    "-qi",
    "-ql",
    "-qp",
]);
const IP: Doing = With(&[
    "-b", "-batch", "add", "append", "change", "del", "delete", "down", "flush", "prepend", "replace",
    "restore", "set", "up",
]);
const IPTABLES: Doing = Unless(&[
    "--check",
    "--list",
    "--list-rules",
    "--version",
    "-C",
    "-L",
    "-S",
    "-V",
    "-nL",
    "-nvL",
    "-vnL",
]);

const PROGRAMS: &[(&str, Effect, Doing)] = &[
    ("apt", Packages, APT),
    ("apt-get", Packages, APT),
    ("apt.systemd.daily", Packages, Always),
    ("aptitude", Packages, APT),
    ("dnf", Packages, DNF),
    ("dnf-3", Packages, DNF),
    ("dnf5", Packages, DNF),
    ("dnf-automatic", Packages, Always),
    ("dpkg", Packages, DPKG),
    ("microdnf", Packages, DNF),
    ("packagekitd", Packages, Always),
    ("pkcon", Packages, Always),
    ("rpm", Packages, RPM),
    ("rpm-ostree", Packages, Unless(&["status"])),
    (
        "snap",
        Packages,
        Unless(&["find", "info", "known", "list", "version", "wait"]),
    ),
    ("snapd", Packages, Always),
    ("transactional-update", Packages, Always),
    ("unattended-upgrade", Packages, Unless(&["--dry-run"])),
    ("unattended-upgrades", Packages, Always),
    ("yum", Packages, DNF),
    ("yum-cron", Packages, Always),
    (
        "zypper",
        Packages,
        Unless(&["info", "list-updates", "lu", "search"]),
    ),
    ("fwupdmgr", Firmware, Always),
    ("fwupdtool", Firmware, Always),
    ("needrestart", Services, Always),
    ("certbot", Services, Unless(&["certificates", "--dry-run"])),
    ("cloud-init", Network, Unless(&["query", "status"])),
    ("dhclient", Network, Always),
    ("ifdown", Network, Always),
    ("ifup", Network, Always),
    ("ip", Network, IP),
    ("ip6tables", Network, IPTABLES),
    ("ip6tables-restore", Network, Always),
    ("iptables", Network, IPTABLES),
    ("iptables-restore", Network, Always),
    ("netplan", Network, With(&["apply", "set", "try"])),
    (
        "networkctl",
        Network,
        With(&[
            "delete",
            "down",
            "forcerenew",
            "reconfigure",
            "reload",
            "renew",
            "up",
        ]),
    ),
    (
        "nft",
        Network,
        Unless(&["--check", "-c", "describe", "list", "monitor"]),
    ),
    (
        "nmcli",
        Network,
        With(&[
            "add",
            "delete",
            "disconnect",
            "down",
            "modify",
            "off",
            "on",
            "reapply",
            "reload",
            "up",
        ]),
    ),
    (
        "sysctl",
        Network,
        With(&["--load", "--system", "--write", "-p", "-w", "="]),
    ),
    ("tc", Network, Unless(&["list", "ls", "show"])),
    ("halt", Reboot, Always),
    ("kexec", Reboot, Always),
    ("poweroff", Reboot, Always),
    ("reboot", Reboot, Always),
    ("shutdown", Reboot, Always),
];

/// What a program of that name changes with these arguments.
pub(super) fn changes(name: &str, arguments: &[&str]) -> Option<(&'static str, Effect)> {
    let has = |some: &[&str]| arguments.iter().any(|argument| some.contains(argument));
    let (known, effect, doing) = PROGRAMS.iter().find(|(known, _, _)| *known == name)?;
    let does = match doing {
        Always => true,
        Unless(reading) => !has(reading),
        // `sysctl a.b=1`
        With(changing) => {
            has(changing) || changing.contains(&"=") && arguments.iter().any(|one| one.contains('='))
        }
    };
    does.then_some((*known, *effect))
}

/// Programs whose names are said of much else: they are known by their path, or where a command of the shell begins.
pub(super) const WORDS: [&str; 3] = ["halt", "reboot", "shutdown"];

/// Services whose restart takes the network along, or what is resolved by it.
pub(super) const NETWORK_UNITS: [&str; 21] = [
    "NetworkManager",
    "connman",
    "dhcpcd",
    "docker",
    "firewalld",
    "ifup",
    "ip6tables",
    "iptables",
    "netfilter-persistent",
    "network",
    "network-online",
    "networking",
    "nftables",
    "shorewall",
    "systemd-networkd",
    "systemd-networkd.socket",
    "systemd-resolved",
    "systemd-sysctl",
    "ufw",
    "wicked",
    "wpa_supplicant",
];

/// What systemctl can do to a service that takes it away, for a moment or for good.
pub(super) const RESTARTS: [&str; 8] = [
    "condrestart",
    "force-reload",
    "kill",
    "reload-or-restart",
    "restart",
    "stop",
    "try-reload-or-restart",
    "try-restart",
];

/// What systemctl can do to the whole node.
pub(super) const REBOOTS: [&str; 6] = ["exit", "halt", "kexec", "poweroff", "reboot", "soft-reboot"];
