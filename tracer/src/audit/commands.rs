//! What command lines and scripts can change on a node, by the programs that they name. Pure.
//!
//! No shell is understood here: a word in what is said may be taken for a program. Too much is found rather than too
//! little.

use std::collections::BTreeSet;

use super::Effect;
use super::programs::{NETWORK_UNITS, REBOOTS, RESTARTS, WORDS, changes};

/// What can be changed, and by what: `apt-get`, `systemctl restart systemd-networkd.service`.
pub(super) type Effects = BTreeSet<(Effect, String)>;

/// Words behind which a program is looked for, and not run.
const BEFORE_NAMES: [&str; 7] = ["-e", "-f", "-v", "-x", "hash", "type", "which"];

/// Words behind which a command begins.
const BEFORE_COMMANDS: [&str; 15] = [
    "!", "-c", "command", "do", "elif", "else", "env", "exec", "if", "nice", "nohup", "setsid", "sudo",
    "then", "while",
];

/// Folders that hold programs: a path that begins otherwise (`/var/lib/dpkg`) is that of something else.
const FOLDERS: [&str; 10] = [
    "/usr/bin/",
    "/usr/sbin/",
    "/usr/lib/",
    "/usr/libexec/",
    "/usr/local/",
    "/bin/",
    "/sbin/",
    "/lib/",
    "/opt/",
    "/snap/",
];

/// Words of one command that are looked at, at most, those on both sides of a `=` by themselves: for each that is a
/// program all behind it are gone through.
pub(super) const MOST_WORDS: usize = 512;

/// What the lines of a script or command can change; comments say nothing. Of a command that is too long, see
/// [`is_looked_through`], by its beginning.
pub(super) fn effects(text: &str) -> Effects {
    let shell = is_of_shell(text);
    code(text)
        .flat_map(statements)
        .flat_map(|words| of_statement(beginning(&words), shell))
        .collect()
}

/// Whether no command of these lines has more than [`MOST_WORDS`] words.
pub(super) fn is_looked_through(text: &str) -> bool {
    code(text)
        .flat_map(statements)
        .all(|words| beginning(&words).len() == words.len())
}

/// The words of a command that are looked at.
fn beginning<'a, 'b>(words: &'a [&'b str]) -> &'a [&'b str] {
    let mut parts = 0;
    let fits = |word: &&&str| {
        parts += word.split('=').count();
        parts <= MOST_WORDS
    };
    &words[..words.iter().take_while(fits).count()]
}

/// Paths of files that the lines of a script or command name, which may be scripts. What the kernel shows as files is
/// none: to read it may do something.
pub(super) fn paths(text: &str) -> impl Iterator<Item = &str> {
    let words = code(text).flat_map(statements).flatten();
    words.flat_map(|word| word.split('=')).filter(|word| {
        let is_of_kernel = ["/dev/", "/proc/", "/sys/"]
            .iter()
            .any(|folder| word.starts_with(folder));
        word.starts_with('/') && !is_of_kernel
    })
}

/// The lines of a script without comments.
pub(super) fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with('#'))
}

/// The words of each command of a line.
fn statements(line: &str) -> impl Iterator<Item = Vec<&str>> {
    line.split(|c| ";|&(){}`".contains(c)).map(|statement| {
        let words = statement.split(|c: char| c.is_ascii_whitespace() || "\"'$[],<>".contains(c));
        words
            .map(|word| match word {
                "!" => word,
                // The signs before a command of systemd (systemd.service(5)).
                _ if word.contains('/') => word.trim_start_matches(['-', '@', ':', '+', '!']),
                _ => word,
            })
            .filter(|word| !word.is_empty())
            .collect()
    })
}

/// Whether this is a command line, or a script of a shell: in other languages any word may stand anywhere.
fn is_of_shell(text: &str) -> bool {
    let Some(interpreter) = text.lines().next().and_then(|line| line.strip_prefix("#!")) else {
        return true;
    };
    let mut words = interpreter
        .split_ascii_whitespace()
        .filter(|word| !word.starts_with('-'));
    let first = words.next().unwrap_or_default();
    let program = if first.ends_with("/env") {
        words.next()
    } else {
        Some(first)
    };
    program.is_some_and(|program| program.ends_with("sh"))
}

fn of_statement(words: &[&str], shell: bool) -> Vec<(Effect, String)> {
    let mut found = Vec::new();
    for (place, word) in words.iter().enumerate() {
        let (before, after) = (&words[..place], &words[place + 1..]);
        if before.last().is_some_and(|word| BEFORE_NAMES.contains(word)) {
            continue;
        }
        for part in word.split('=') {
            let Some(name) = program(part) else { continue };
            match name {
                "systemctl" => {
                    found.extend(systemctl(after));
                    return found;
                }
                // service(8), invoke-rc.d(8): the service first.
                "service" | "invoke-rc.d" => found.extend(service(after)),
                _ => {
                    let is_meant = !WORDS.contains(&name) || part != name || shell && begins(before);
                    let changed = changes(name, after).filter(|_| is_meant);
                    found.extend(changed.map(|(name, effect)| (effect, name.to_owned())));
                }
            }
        }
        if let Some(name) = word.strip_prefix("/etc/init.d/") {
            found.extend(service(&[&[name], after].concat()));
        }
    }
    found
}

/// The name of the program that a word stands for: the word itself, or what a path ends in.
fn program(word: &str) -> Option<&str> {
    match word.rsplit_once('/') {
        Some((_, name)) => FOLDERS
            .iter()
            .any(|folder| word.starts_with(folder))
            .then_some(name),
        None => Some(word),
    }
}

/// Whether a command begins behind these words.
fn begins(before: &[&str]) -> bool {
    before.last().is_none_or(|word| {
        BEFORE_COMMANDS.contains(word) || word.contains('=') || word.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// What `systemctl` does with these arguments.
fn systemctl(arguments: &[&str]) -> Option<(Effect, String)> {
    let place = arguments
        .iter()
        .position(|word| RESTARTS.contains(word) || REBOOTS.contains(word))?;
    let verb = arguments[place];
    if REBOOTS.contains(&verb) {
        return Some((Effect::Reboot, format!("systemctl {verb}")));
    }
    let unit = arguments[place + 1..].iter().find(|unit| is_network(unit))?;
    Some((Effect::Network, format!("systemctl {verb} {unit}")))
}

/// What is done to a service: its name, then what.
fn service(arguments: &[&str]) -> Option<(Effect, String)> {
    let [unit, verb, ..] = arguments else { return None };
    (is_network(unit) && RESTARTS.contains(verb)).then(|| (Effect::Network, format!("service {unit} {verb}")))
}

fn is_network(unit: &str) -> bool {
    let name = unit.strip_suffix(".service").unwrap_or(unit);
    let name = name.split('@').next().unwrap_or(name);
    NETWORK_UNITS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        effects(text).into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn programs_are_known_by_name_and_path_wherever_they_stand() {
        for line in [
            "apt-get -y upgrade",
            "-/usr/bin/apt-get update",
            "if true; then DEBIAN_FRONTEND=x apt-get -y upgrade; fi",
            "sh -c 'flock -n /run/lock/x apt-get update'",
            "/usr/bin/run --with=/usr/bin/apt-get",
            "OUT=$(apt-get update)",
            "subprocess.call([\"apt-get\", \"update\"])",
        ] {
            assert_eq!(names(line), ["apt-get"], "{line}");
        }
        for line in [
            "# apt-get",
            "cp -r /var/lib/dpkg /backup",
            "echo adapted",
            "apt-get check",
            "[ -x /usr/bin/apt-get ] && command -v dpkg",
            "test -n \"$(dpkg --print-architecture)\"",
            "rpm -qf /x; ip -4 route; ip addr show; nft list ruleset; sysctl -n a.b; snap wait system seed.loaded",
        ] {
            assert_eq!(names(line), [""; 0], "{line}");
        }
        for (line, name) in [
            ("xargs dpkg -P", "dpkg"),
            ("rpm -e x", "rpm"),
            ("ip -4 route del default", "ip"),
            ("sysctl net.ipv4.ip_forward=0", "sysctl"),
            ("networkctl reload", "networkctl"),
            ("iptables -F", "iptables"),
            ("iptables -t nat -A x -s 10.0.0.0/8", "iptables"),
        ] {
            assert_eq!(names(line), [name], "{line}");
        }
    }

    #[test]
    fn a_restart_of_the_network_is_found_and_that_of_another_service_is_none() {
        for (line, name) in [
            (
                "systemctl try-restart systemd-networkd.service",
                "systemctl try-restart systemd-networkd.service",
            ),
            (
                "/bin/systemctl --no-block restart cron systemd-networkd",
                "systemctl restart systemd-networkd",
            ),
            ("x && systemctl stop ifup@eth0", "systemctl stop ifup@eth0"),
            ("service networking restart", "service networking restart"),
            ("/etc/init.d/networking restart", "service networking restart"),
            ("invoke-rc.d ufw stop", "service ufw stop"),
            (
                "call([\"systemctl\", \"restart\", \"NetworkManager\"])",
                "systemctl restart NetworkManager",
            ),
        ] {
            let found: Vec<_> = effects(line).into_iter().collect();
            assert_eq!(found, [(Effect::Network, name.to_owned())], "{line}");
        }
        for line in [
            "systemctl restart cron; echo networking",
            "systemctl is-active systemd-networkd",
            "systemctl status NetworkManager",
            "systemctl restart",
            "systemctl",
            "service networking status",
            "service",
        ] {
            assert_eq!(names(line), [""; 0], "{line}");
        }
    }

    #[test]
    fn a_reboot_is_a_command_and_no_word() {
        for (line, name) in [
            ("systemctl --force reboot", "systemctl reboot"),
            ("systemctl kexec", "systemctl kexec"),
            ("[ -f /run/reboot-required ] && reboot", "reboot"),
            ("if x; then exec reboot; fi", "reboot"),
            ("sleep 60; /sbin/shutdown -r +5", "shutdown"),
            ("timeout 60 reboot", "reboot"),
            ("sh -c 'shutdown -r now'", "shutdown"),
            ("systemd-run --on-active=60 reboot", "reboot"),
        ] {
            let found: Vec<_> = effects(line).into_iter().collect();
            assert_eq!(found, [(Effect::Reboot, name.to_owned())], "{line}");
        }
        assert_eq!(names("#!/usr/bin/env -S bash -e\nreboot\n"), ["reboot"]);
        for line in [
            "#!/usr/bin/python3\nf('shutdown', 'x')\n",
            "echo please reboot now",
            "/usr/bin/vm --graceful shutdown",
            "log \"shutdown\"",
        ] {
            assert_eq!(names(line), [""; 0], "{line}");
        }
    }

    #[test]
    fn of_a_command_that_is_too_long_the_beginning_counts() {
        // All of them together: a look at all words behind each would take minutes.
        let many = 1 << 16;
        for word in ["ip ", "ip=", "/etc/init.d/x "] {
            let line = word.repeat(many);
            assert!(!is_looked_through(&line), "{word}");
            assert_eq!(names(&line), [""; 0], "{word}");
            assert_eq!(names(&format!("reboot; {line}")), ["reboot"], "{word}");
        }
        let words = |before| format!("ip {}add", "x ".repeat(before));
        assert!(is_looked_through(&words(MOST_WORDS - 2)));
        assert_eq!(names(&words(MOST_WORDS - 2)), ["ip"]);
        assert!(!is_looked_through(&words(MOST_WORDS - 1)));
        assert_eq!(names(&words(MOST_WORDS - 1)), [""; 0]);
        // Many commands are not one that is too long.
        assert!(is_looked_through(&"ip;".repeat(many)));
    }

    #[test]
    fn files_that_a_command_names() {
        let found = |line| paths(line).collect::<Vec<_>>();
        assert_eq!(found("-/opt/tidy.sh now"), ["/opt/tidy.sh"]);
        assert_eq!(
            found("/bin/sh -c '/opt/a.sh && X=/opt/b.sh'"),
            ["/bin/sh", "/opt/a.sh", "/opt/b.sh"]
        );
        assert_eq!(
            found("a b/c ./d\n# /opt/a.sh\nx </proc/kmsg >/dev/watchdog"),
            [""; 0]
        );
    }
}
