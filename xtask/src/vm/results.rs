//! What a virtual machine says on its second serial port, and what a person is shown of it.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// A line from the machine: `init.sh` writes the first and the last, the lab all others.
#[derive(Debug)]
pub(crate) enum Line {
    /// The kernel runs: its release.
    Booted(String),
    /// A scenario was run.
    Checked(Box<Checked>),
    /// The lab ended, with this exit code.
    Ended(String),
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// If it is none of these.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Some(release) = text.strip_prefix("booted ") {
            return Ok(Self::Booted(release.to_owned()));
        }
        if let Some(code) = text.strip_prefix("ended ") {
            return Ok(Self::Ended(code.to_owned()));
        }
        let checked = serde_json::from_str(text)
            .with_context(|| format!("said something that nobody understands: {text}"))?;
        Ok(Self::Checked(Box::new(checked)))
    }
}

/// What `lab check` prints of a scenario.
#[derive(Debug, Deserialize)]
pub(crate) struct Checked {
    pub(crate) scenario: String,
    /// Why this kernel cannot produce it.
    skipped: Option<String>,
    /// All that is not as expected.
    pub(crate) failures: Vec<String>,
    exit_code: Option<i32>,
    /// What the tracer said: null where it said nothing.
    pub(crate) report: Value,
    pub(crate) stderr: String,
}

/// The part of the tracer's report that is shown.
#[derive(Debug, Deserialize)]
struct Report {
    r#where: String,
    verdicts: Vec<Verdict>,
    ledger: Ledger,
    capabilities: Vec<Capability>,
}

#[derive(Debug, Deserialize)]
struct Verdict {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Ledger {
    arrived: u64,
    unexplained: i64,
}

#[derive(Debug, Deserialize)]
struct Capability {
    name: String,
    state: String,
    why: String,
}

impl Capability {
    fn is_off(&self) -> bool {
        self.state != "available"
    }
}

impl Checked {
    /// `right`, `WRONG`, or that it was left out.
    pub(crate) fn word(&self) -> &'static str {
        match (&self.skipped, self.failures.as_slice()) {
            (Some(_), _) => "skipped",
            (None, []) => "right",
            (None, _) => "WRONG",
        }
    }

    /// In a line: exit code, where, first verdict, the share that is unexplained, and what is off.
    pub(crate) fn summary(&self) -> String {
        if let Some(why) = &self.skipped {
            return why.clone();
        }
        let code = self.exit_code.map_or("none".to_owned(), |code| code.to_string());
        let Some(report) = self.parsed() else {
            return format!("exit {code}, no report");
        };
        let verdict = report
            .verdicts
            .first()
            .map_or("no verdict", |verdict| &verdict.id);
        let Ledger { arrived, unexplained } = report.ledger;
        let share = 100.0 * unexplained as f64 / arrived.max(1) as f64;
        let off: Vec<_> = report
            .capabilities
            .iter()
            .filter(|capability| capability.is_off())
            .map(|capability| capability.name.as_str())
            .collect();
        let off = if off.is_empty() {
            "nothing".to_owned()
        } else {
            off.join(", ")
        };
        format!(
            "exit {code}, {}, {verdict}, {share:.2} % of {arrived} unexplained, off: {off}",
            report.r#where
        )
    }

    /// Why each capability that is off is off.
    pub(crate) fn off(&self) -> Vec<String> {
        let capabilities = self.parsed().map_or_else(Vec::new, |report| report.capabilities);
        let told = |capability: Capability| format!("{}: {}", capability.name, capability.why);
        capabilities
            .into_iter()
            .filter(Capability::is_off)
            .map(told)
            .collect()
    }

    fn parsed(&self) -> Option<Report> {
        Report::deserialize(&self.report).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Checked {
        match Line::parse(text).unwrap() {
            Line::Checked(checked) => *checked,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_of_the_machine_are_read() {
        assert!(
            matches!(Line::parse("booted 6.1.0-56\r").unwrap(), Line::Booted(release) if release == "6.1.0-56")
        );
        assert!(matches!(Line::parse("ended 1").unwrap(), Line::Ended(code) if code == "1"));
        assert!(
            Line::parse("[    1.0] oops")
                .unwrap_err()
                .to_string()
                .contains("oops")
        );
    }

    #[test]
    fn a_report_is_told_in_a_line() {
        let line = r#"{"scenario":"rp-filter","failures":[],"exit_code":1,"stderr":"","report":{"where":"guest-kernel",
            "verdicts":[{"id":"R03"},{"id":"R12"}],"ledger":{"arrived":400,"unexplained":-2,"delivered":402},
            "capabilities":[{"name":"queued","state":"off","why":"no tracepoint"},{"name":"drop","state":"available","why":""}]}}"#;
        let checked = checked(&line.replace('\n', ""));
        assert_eq!(
            checked.summary(),
            "exit 1, guest-kernel, R03, -0.50 % of 400 unexplained, off: queued"
        );
        assert_eq!(checked.off(), ["queued: no tracepoint"]);
    }

    #[test]
    fn what_did_not_run_has_no_report() {
        let line = r#"{"scenario":"busy","failures":["no ip"],"exit_code":null,"report":null,"stderr":""}"#;
        assert_eq!(checked(line).summary(), "exit none, no report");
        assert!(checked(line).off().is_empty());
    }

    #[test]
    fn what_the_kernel_cannot_produce_is_neither_right_nor_wrong() {
        let line = r#"{"scenario":"tc-drops","skipped":"no tcx","failures":[],"exit_code":null,"report":null,"stderr":""}"#;
        assert_eq!(
            (checked(line).word(), checked(line).summary().as_str()),
            ("skipped", "no tcx")
        );
        let line = r#"{"scenario":"busy","failures":["no ip"],"exit_code":null,"report":null,"stderr":""}"#;
        assert_eq!(checked(line).word(), "WRONG");
    }
}
