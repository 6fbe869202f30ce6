//! Unit files of systemd: sections of `Key=value`, merged with their drop-ins.
//!
//! Source: systemd.syntax(7). A value goes on after a backslash at a line's end; an empty value takes back what a list
//! had before; of what is no list the last value counts.

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
        let values = self
            .settings
            .entry((section.to_owned(), key.to_owned()))
            .or_default();
        if value.is_empty() {
            values.clear();
        } else {
            values.push(value.to_owned());
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
        self.last(section, key).is_some_and(|value| {
            ["1", "yes", "y", "true", "t", "on"].contains(&value.to_ascii_lowercase().as_str())
        })
    }

    /// What a timer goes by, as `Key=value`.
    pub(super) fn schedule(&self) -> Vec<String> {
        self.settings
            .iter()
            .filter(|((section, key), _)| section == "Timer" && key.starts_with("On"))
            .flat_map(|((_, key), values)| values.iter().map(move |value| format!("{key}={value}")))
            .collect()
    }

    /// The command lines that it runs.
    pub(super) fn commands(&self) -> impl Iterator<Item = &str> {
        [
            "ExecStartPre",
            "ExecStart",
            "ExecStartPost",
            "ExecStop",
            "ExecStopPost",
            "ExecReload",
        ]
        .into_iter()
        .flat_map(|key| self.all("Service", key))
        .map(String::as_str)
    }
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
        assert!(unit.commands().next().unwrap().starts_with("/bin/a"));
        unit.read("[Timer]\nOnCalendar=\nOnCalendar=weekly\nPersistent=no");
        assert_eq!(unit.schedule(), ["OnCalendar=weekly"]);
        assert!(!unit.is_yes("Timer", "Persistent"));
        assert_eq!(unit.last("Timer", "RandomizedDelaySec"), Some("60m"));
        assert_eq!(unit.last("Timer", "Missing"), None);
    }
}
