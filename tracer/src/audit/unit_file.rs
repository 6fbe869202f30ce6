//! Unit files of systemd: sections of `Key=value`, merged with their drop-ins.
//!
//! Source: systemd.syntax(7). A value goes on after a backslash at a line's end; an empty value takes back what a list
//! had before, with whatever else belongs to that list; of what is no list the last value counts.

use std::collections::BTreeMap;

/// The settings of a unit, by section and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UnitFile {
    settings: BTreeMap<(String, String), Vec<String>>,
}

impl UnitFile {
    /// Takes over what a file says, on top of what is known. What is no setting is passed over, as systemd does.
    pub(super) fn read(&mut self, text: &str) {
        let mut section = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let line = line.trim();
            if line.starts_with(['#', ';']) || line.is_empty() {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name.to_owned();
                continue;
            }
            let mut whole = line.to_owned();
            while whole.ends_with('\\') {
                whole.pop();
                let Some(next) = lines.next() else { break };
                let next = next.trim();
                if next.starts_with(['#', ';']) {
                    whole.push('\\');
                } else {
                    whole.push(' ');
                    whole.push_str(next);
                }
            }
            if let Some((key, value)) = whole.split_once('=') {
                self.set(&section, key.trim(), value.trim());
            }
        }
    }

    fn set(&mut self, section: &str, key: &str, value: &str) {
        // systemd takes these there too, as older ones had them there (systemd's load-fragment-gperf).
        let section = match (section, key) {
            ("Service", "FailureAction" | "StartLimitAction") => "Unit",
            _ => section,
        };
        // systemd passes over what is no boolean where one stands, also where that is empty.
        if BOOLEANS.contains(&key) && boolean(value).is_none() {
            return;
        }
        if value.is_empty() {
            let list = list(section, key);
            self.settings.retain(|(in_section, known), _| {
                let is_of_list = list.iter().any(|begin| known.starts_with(begin));
                in_section != section || !is_of_list && known != key
            });
            return;
        }
        // TimeoutSec stands for both.
        let keys = match (section, key) {
            ("Service", "TimeoutSec") => vec!["TimeoutStartSec", "TimeoutStopSec"],
            _ => vec![key],
        };
        for key in keys {
            let values = self.settings.entry((section.to_owned(), key.to_owned()));
            values.or_default().push(value.to_owned());
        }
    }

    /// All values of a key.
    pub(super) fn all(&self, section: &str, key: &str) -> &[String] {
        self.settings
            .get(&(section.to_owned(), key.to_owned()))
            .map_or(&[], Vec::as_slice)
    }

    /// The last value of a key.
    pub(super) fn last(&self, section: &str, key: &str) -> Option<&str> {
        self.all(section, key).last().map(String::as_str)
    }

    /// Whether a key says yes (systemd.syntax(7): 1, yes, true, on).
    pub(super) fn is_yes(&self, section: &str, key: &str) -> bool {
        self.last(section, key).and_then(boolean) == Some(true)
    }

    /// What a timer, path or socket goes by, as `Key=value`.
    pub(super) fn schedule(&self) -> Vec<String> {
        self.of_lists(&["Timer", "Path", "Socket"])
    }

    /// What must hold when it is started, as `Key=value`.
    pub(super) fn conditions(&self) -> Vec<String> {
        self.of_lists(&["Unit"])
    }

    /// The settings of all lists of these sections that have several keys.
    fn of_lists(&self, sections: &[&str]) -> Vec<String> {
        self.settings
            .iter()
            .filter(|((section, key), _)| {
                sections.contains(&section.as_str()) && !list(section, key).is_empty()
            })
            .flat_map(|((_, key), values)| values.iter().map(move |value| format!("{key}={value}")))
            .collect()
    }

    /// The command lines that it runs when it is started, or when it is stopped. A reload is asked for by someone.
    pub(super) fn commands(&self, at_stop: bool) -> impl Iterator<Item = &str> {
        COMMANDS
            .iter()
            .filter(move |(_, key)| key.starts_with("ExecStop") == at_stop)
            .flat_map(|(section, key)| self.all(section, key))
            .map(String::as_str)
    }

    /// Names of units that it starts with itself, or when it ends.
    pub(super) fn starts(&self) -> impl Iterator<Item = &str> {
        [
            "Wants",
            "Requires",
            "BindsTo",
            "Upholds",
            "OnSuccess",
            "OnFailure",
        ]
        .into_iter()
        .flat_map(|key| self.all("Unit", key))
        .flat_map(|names| names.split_ascii_whitespace())
    }
}

/// Keys that are read here and are yes or no (`config_parse_bool` of systemd).
const BOOLEANS: [&str; 4] = [
    "Accept",
    "ManageForeignRoutes",
    "ManageForeignRoutingPolicyRules",
    "Persistent",
];

/// What systemd's `parse_boolean` makes of a text.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// What has command lines, in the order in which they are run (systemd.service(5), systemd.socket(5)).
const COMMANDS: [(&str, &str); 10] = [
    ("Service", "ExecCondition"),
    ("Service", "ExecStartPre"),
    ("Service", "ExecStart"),
    ("Service", "ExecStartPost"),
    ("Service", "ExecStop"),
    ("Service", "ExecStopPost"),
    ("Socket", "ExecStartPre"),
    ("Socket", "ExecStartPost"),
    ("Socket", "ExecStopPre"),
    ("Socket", "ExecStopPost"),
];

/// Lists that have several keys, by how these begin: an empty value of one takes back what all of them had
/// (systemd.timer(5), systemd.path(5), systemd.socket(5), systemd.unit(5)).
const LISTS: [(&str, &[&str]); 5] = [
    (
        "Timer",
        &["OnActive", "OnBoot", "OnCalendar", "OnStartup", "OnUnit"],
    ),
    (
        "Path",
        &["DirectoryNotEmpty", "PathChanged", "PathExists", "PathModified"],
    ),
    ("Socket", &["Listen"]),
    ("Unit", &["Condition"]),
    ("Unit", &["Assert"]),
];

/// How the keys of the list begin that a key belongs to; nothing for one that has its own.
fn list(section: &str, key: &str) -> &'static [&'static str] {
    let mut lists = LISTS
        .iter()
        .filter(|(of, _)| *of == section)
        .map(|(_, begins)| *begins);
    lists
        .find(|begins| begins.iter().any(|begin| key.starts_with(begin)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_come_on_top() {
        let mut unit = UnitFile::default();
        unit.read(
            "# a comment\n[Timer]\nOnCalendar=*-*-* 6:00\nRandomizedDelaySec=60m\nPersistent=true\n\
             [Service]\nExecStart=/bin/a \\\n  # said within\n  --long\nnonsense\n",
        );
        assert_eq!(unit.schedule(), ["OnCalendar=*-*-* 6:00"]);
        assert!(unit.is_yes("Timer", "Persistent"));
        assert!(unit.commands(false).next().unwrap().starts_with("/bin/a"));
        unit.read("[Timer]\nOnCalendar=\nOnCalendar=weekly\nPersistent=no");
        assert_eq!(unit.schedule(), ["OnCalendar=weekly"]);
        assert!(!unit.is_yes("Timer", "Persistent"));
        assert_eq!(unit.last("Timer", "RandomizedDelaySec"), Some("60m"));
        assert_eq!(unit.last("Timer", "Missing"), None);
    }

    #[test]
    fn an_empty_value_takes_back_all_of_its_list() {
        let mut unit = UnitFile::default();
        unit.read("[Timer]\nOnCalendar=daily\nOnBootSec=1\nOnClockChange=yes\n[Unit]\nConditionPathExists=/a\nAssertPathExists=/b\nWants=a b\nOnFailure=c");
        unit.read("[Timer]\nOnActiveSec=\n[Unit]\nConditionVirtualization=\n");
        assert_eq!(unit.schedule(), [""; 0]);
        assert_eq!(unit.conditions(), ["AssertPathExists=/b"]);
        assert_eq!(unit.starts().collect::<Vec<_>>(), ["a", "b", "c"]);
        unit.read("[Service]\nTimeoutStartSec=infinity\nTimeoutSec=5\n");
        assert_eq!(unit.last("Service", "TimeoutStartSec"), Some("5"));
        assert_eq!(unit.last("Service", "TimeoutStopSec"), Some("5"));
        unit.read("[Service]\nTimeoutStartSec=7\n");
        assert_eq!(unit.last("Service", "TimeoutStartSec"), Some("7"));
    }
}
