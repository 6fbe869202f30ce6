//! Lines of `/var/log/dpkg.log`, and what they say of the package in work (dpkg(1), option `--log`).

/// Where it is.
pub(super) const PATH: &str = "/var/log/dpkg.log";
/// What stands for a version that there is not.
const NONE: &str = "<none>";

/// How a line begins, with a digit for each `d`.
const TIME: &str = "dddd-dd-dd dd:dd:dd";

/// A line without its date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// dpkg starts: `archives unpack`, `packages configure`.
    Startup(&'a str),
    /// A package has come to a state.
    Status {
        /// The state: unpacked, half-configured …
        state: &'a str,
        /// The package, with its architecture where dpkg says it.
        package: &'a str,
    },
    /// What was done with a file of the configuration.
    ConfigurationFile {
        /// The file.
        path: &'a str,
        /// `install`: the package's own took its place; `keep`: it stays.
        decision: &'a str,
    },
    /// Something is begun with a package.
    Action {
        /// What: install, upgrade, reinstall, configure, trigproc, disappear, remove, purge. dpkg calls it an upgrade, too, where
        /// the version is the one that is there.
        action: &'a str,
        /// The package.
        package: &'a str,
        /// The version that is there, empty for none.
        old: &'a str,
        /// The version that is to be there, empty for none.
        new: &'a str,
    },
}

impl<'a> Line<'a> {
    /// Reads a line: `2026-11-26 11:04:22 configure iptables:amd64 1.8.9-2 <none>`. `None` for any other text.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        Self::dated(line).map(|(_, line)| line)
    }

    /// The same with its time, as it is written there: the node's own.
    pub(super) fn dated(line: &'a str) -> Option<(&'a str, Self)> {
        let time = line.get(..TIME.len()).filter(|time| has_form(time, TIME))?;
        let rest = line.get(TIME.len()..)?.strip_prefix(' ')?;
        Some((time, Self::undated(rest)?))
    }

    fn undated(rest: &'a str) -> Option<Self> {
        let (word, rest) = rest.split_once(' ')?;
        let rest = rest.trim();
        let version = |text: &'a str| if text == NONE { "" } else { text };
        match word {
            "startup" => Some(Self::Startup(rest)),
            "status" => {
                let mut fields = rest.split(' ');
                let (state, package) = (fields.next()?, fields.next()?);
                Some(Self::Status { state, package })
            }
            "conffile" => {
                let (path, decision) = rest.rsplit_once(' ')?;
                Some(Self::ConfigurationFile { path, decision })
            }
            "install" | "upgrade" | "configure" | "trigproc" | "disappear" | "remove" | "purge" => {
                let mut fields = rest.split(' ');
                let (package, old, new) = (fields.next()?, fields.next()?, fields.next()?);
                let is_same = word == "upgrade" && old == new;
                (!package.is_empty()).then_some(Self::Action {
                    action: if is_same { "reinstall" } else { word },
                    package,
                    old: version(old),
                    new: version(new),
                })
            }
            _ => None,
        }
    }
}

/// Whether a text has digits where `form` has a `d`, and what `form` has elsewhere.
fn has_form(text: &str, form: &str) -> bool {
    let fits = |(byte, wanted): (u8, u8)| match wanted {
        b'd' => byte.is_ascii_digit(),
        other => byte == other,
    };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}

/// The package in work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    package: String,
    /// What is done to it, empty where nothing is: `upgrade systemd:amd64 252.16-1 → 252.17-1`.
    pub(super) working_on: String,
}

impl Progress {
    /// Takes note of a line. Returns what is worth telling by itself: neither each state nor each trigger is.
    pub(super) fn line(&mut self, line: Line<'_>) -> Option<String> {
        match line {
            Line::Startup(what) => {
                *self = Self::default();
                Some(format!("dpkg starts: {what}"))
            }
            Line::Status { state, package } => {
                let is_done = matches!(state, "installed" | "config-files" | "not-installed");
                if is_done && package == self.package {
                    *self = Self::default();
                }
                None
            }
            Line::ConfigurationFile { path, decision } => Some(match decision {
                "install" => format!("dpkg: configuration file {path} is replaced by the package's"),
                "keep" => format!("dpkg: configuration file {path} is kept, not replaced by the package's"),
                other => format!("dpkg: configuration file {path}: {other}"),
            }),
            Line::Action {
                action,
                package,
                old,
                new,
            } => {
                self.package = package.to_owned();
                self.working_on = match (action, old, new) {
                    ("upgrade", old, new) => format!("upgrade {package} {old} → {new}"),
                    ("trigproc", version, _) => format!("run triggers of {package} {version}"),
                    ("install", _, version) | (_, version, _) => format!("{action} {package} {version}"),
                };
                (action != "trigproc").then(|| format!("dpkg: {}", self.working_on))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of these lines, and what is in work after the last.
    fn after(lines: &[&str]) -> (Vec<String>, String) {
        let mut progress = Progress::default();
        let told = lines
            .iter()
            .filter_map(|line| progress.line(Line::parse(line)?))
            .collect();
        (told, progress.working_on)
    }

    #[test]
    fn an_upgrade_is_told_by_its_steps() {
        let lines = [
            "2026-11-26 11:04:20 startup archives unpack",
            "2026-11-26 11:04:20 upgrade linux-perf:amd64 6.1.187-1 6.1.192-2",
            "2026-11-26 11:04:20 status half-configured linux-perf:amd64 6.1.187-1",
            "2026-11-26 11:04:20 status unpacked linux-perf:amd64 6.1.192-2",
        ];
        let (told, working_on) = after(&lines);
        assert_eq!(
            told,
            [
                "dpkg starts: archives unpack",
                "dpkg: upgrade linux-perf:amd64 6.1.187-1 → 6.1.192-2"
            ]
        );
        assert_eq!(working_on, "upgrade linux-perf:amd64 6.1.187-1 → 6.1.192-2");
        let lines = [
            "2026-11-26 11:04:22 startup packages configure",
            "2026-11-26 11:04:22 conffile /etc/a b.conf keep",
            "2026-11-26 11:04:22 configure linux-perf:amd64 6.1.192-2 <none>",
            "2026-11-26 11:04:22 status half-configured linux-perf:amd64 6.1.192-2",
        ];
        let (told, working_on) = after(&lines);
        assert_eq!(
            told,
            [
                "dpkg starts: packages configure",
                "dpkg: configuration file /etc/a b.conf is kept, not replaced by the package's",
                "dpkg: configure linux-perf:amd64 6.1.192-2",
            ]
        );
        assert_eq!(working_on, "configure linux-perf:amd64 6.1.192-2");
    }

    #[test]
    fn a_package_that_is_unpacked_over_the_same_version_is_reinstalled() {
        let (told, working_on) = after(&["2026-11-26 11:04:20 upgrade tmux:amd64 3.3a-3 3.3a-3"]);
        assert_eq!(told, ["dpkg: reinstall tmux:amd64 3.3a-3"]);
        assert_eq!(working_on, "reinstall tmux:amd64 3.3a-3");
        // Of one that was removed dpkg knows the version by what is left of its configuration.
        let (told, _) = after(&["2026-11-26 11:04:20 install tmux:amd64 3.3a-3 3.3a-3"]);
        assert_eq!(told, ["dpkg: install tmux:amd64 3.3a-3"]);
    }

    #[test]
    fn what_is_done_is_not_in_work() {
        let lines = [
            "2026-11-26 11:04:22 trigproc man-db:amd64 2.11.2-2 <none>",
            "2026-11-26 11:04:22 status half-configured man-db:amd64 2.11.2-2",
            "2026-11-26 11:04:25 status installed libc6:amd64 2.36-9",
        ];
        let (told, working_on) = after(&lines);
        assert_eq!(told, [""; 0]);
        assert_eq!(working_on, "run triggers of man-db:amd64 2.11.2-2");
        let done = [
            &lines[..],
            &["2026-11-26 11:04:25 status installed man-db:amd64 2.11.2-2"],
        ]
        .concat();
        assert_eq!(after(&done).1, "");
        let install = ["2026-11-26 11:04:20 install nftables:amd64 <none> 1.0.6-2"];
        assert_eq!(after(&install).1, "install nftables:amd64 1.0.6-2");
        let remove = ["2026-11-26 11:04:20 remove nftables:amd64 1.0.6-2 <none>"];
        assert_eq!(after(&remove).1, "remove nftables:amd64 1.0.6-2");
    }

    #[test]
    fn foreign_and_torn_lines_say_nothing() {
        for line in [
            "",
            "2026-11-26",
            "2026-11-26 11:04:22",
            "2026-11-26 11:04:22 ",
            "2026-11-26 11:04:22 upgrade",
            "2026-11-26 11:04:22 upgrade a 1",
            "2026-11-26 11:04:22 status installed",
            "2026-11-26 11:04:22 explode a 1 2",
            "2026-11-26T11:04:22 upgrade a 1 2",
            "11:04:22 2026-11-26 upgrade a 1 2",
            "Nov 26 11:04:22 upgrade a 1 2",
            "\u{fffd}\u{fffd}-11-26 11:04:22 upgrade a 1 2",
        ] {
            assert_eq!(Line::parse(line), None, "{line:?}");
        }
    }
}
