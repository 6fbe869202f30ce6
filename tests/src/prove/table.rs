//! The table of what was said of each scenario, and what was promised of it.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::scenario::Scenario;
use crate::tracer::Break;

/// From the first evidence to the verdict, at most, in seconds.
const LATE: f64 = 3.0;
/// Of 100 root verdicts so many are right at least.
const RIGHT: usize = 98;
/// Where the table begins in the document; it is the rest of it.
const HEADING: &str = "## Proof: the scenarios of the lab";

/// What was said in a run of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// The verdict that is right.
    pub expected: String,
    /// Where that says that the fault is.
    pub expected_place: String,
    /// Nothing is broken: no verdict may be more than a weak sign, at any time.
    pub is_sound: bool,
    /// Why this machine cannot produce it.
    pub missing: Option<String>,
    /// The first verdict; `None` where there is no report.
    pub given: Option<String>,
    /// Where the report says that the fault is.
    pub place: String,
    /// From the first evidence to the verdict, in seconds.
    pub late: Option<f64>,
    /// The verdicts that ever decided where the fault is.
    pub alarms: Vec<String>,
    /// All that is not as the scenario expects.
    pub failures: Vec<String>,
}

impl Row {
    /// What is right for a scenario.
    pub fn expected(scenario: &Scenario, when: Break) -> Self {
        let expect = &scenario.expect;
        let late = if when == Break::Before {
            ", before the start"
        } else {
            ""
        };
        let verdict = match expect.verdict {
            None => "none".to_owned(),
            Some(id) if expect.exit_code == 0 => format!("{id}, weak"),
            Some(id) => id.to_owned(),
        };
        Self {
            name: format!("{}{late}", scenario.name),
            expected: verdict,
            expected_place: expect.place.to_owned(),
            is_sound: scenario.is_sound(),
            ..Self::default()
        }
    }

    fn is_root_right(&self) -> bool {
        self.given.as_ref() == Some(&self.expected)
    }

    fn is_place_right(&self) -> bool {
        self.place == self.expected_place
    }

    /// `right`, what is wrong, or why it was left out.
    pub fn word(&self) -> String {
        match (&self.missing, self.failures.as_slice()) {
            (Some(why), _) => format!("left out: {why}"),
            (None, []) => "right".to_owned(),
            (None, failures) => failures.join("; "),
        }
    }
}

/// All of them.
#[derive(Debug)]
pub struct Table(Vec<Row>);

impl Table {
    /// Of these rows.
    pub fn new(rows: Vec<Row>) -> Self {
        Self(rows)
    }

    fn ran(&self) -> impl Iterator<Item = &Row> {
        self.0.iter().filter(|row| row.missing.is_none())
    }

    fn count(&self, so: impl Fn(&&Row) -> bool) -> usize {
        self.ran().filter(so).count()
    }

    /// The latest verdict.
    fn latest(&self) -> Option<(f64, &str)> {
        let late = self.ran().filter_map(|row| Some((row.late?, row.name.as_str())));
        late.max_by(|one, other| one.0.total_cmp(&other.0))
    }

    /// All that was promised is so.
    pub fn is_kept(&self) -> bool {
        let all = self.count(|_| true);
        self.count(|row| row.is_root_right()) * 100 >= all * RIGHT
            && self.count(|row| row.is_place_right()) == all
            && self.count(|row| row.is_sound && !row.alarms.is_empty()) == 0
            && self.latest().is_none_or(|(late, _)| late <= LATE)
    }

    /// Puts it into a document, in place of the one that it has.
    pub fn write(&self, document: &Path) -> Result<()> {
        let told = || format!("cannot write the table into {}", document.display());
        let before = std::fs::read_to_string(document).with_context(told)?;
        let kept = before.split(HEADING).next().unwrap_or_default();
        let text = format!("{}\n\n{HEADING}\n\n{self}", kept.trim_end());
        std::fs::write(document, text).with_context(told)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.count(|_| true);
        let percent = |part: usize| 100.0 * part as f64 / all.max(1) as f64;
        let (right, placed) = (
            self.count(|row| row.is_root_right()),
            self.count(|row| row.is_place_right()),
        );
        writeln!(
            f,
            "* Root verdict right: {right} of {all} ({:.1} %; at least {RIGHT} %).",
            percent(right)
        )?;
        writeln!(
            f,
            "* *Where* right: {placed} of {all} ({:.1} %; all).",
            percent(placed)
        )?;
        let sound = self.count(|row| row.is_sound);
        let alarms = self.count(|row| row.is_sound && !row.alarms.is_empty());
        writeln!(
            f,
            "* False alarms: {alarms} in {sound} runs in which nothing is broken that this node's sockets wait for (none)."
        )?;
        if let Some((late, name)) = self.latest() {
            writeln!(
                f,
                "* From the first evidence to the verdict: at most {late:.1} s, in `{name}` (at most {LATE:.0} s)."
            )?;
        }
        writeln!(
            f,
            "\n| scenario | right is | given | where | given | s after the first evidence |\n|---|---|---|---|---|---|"
        )?;
        for row in &self.0 {
            let (given, place) = match (&row.missing, &row.given) {
                (Some(_), _) => ("not on this machine", ""),
                (None, None) => ("no report", ""),
                (None, Some(given)) => (given.as_str(), row.place.as_str()),
            };
            let late = row.late.map_or_else(String::new, |late| format!("{late:.1}"));
            writeln!(
                f,
                "| {} | {} | {given} | {} | {place} | {late} |",
                row.name, row.expected, row.expected_place
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::runs;
    use crate::scenario;

    fn row(expected: &str, given: &str) -> Row {
        Row {
            name: "a".to_owned(),
            expected: expected.to_owned(),
            expected_place: "guest-kernel".to_owned(),
            given: Some(given.to_owned()),
            place: "guest-kernel".to_owned(),
            late: Some(1.0),
            ..Row::default()
        }
    }

    /// The document has a row for each run of each scenario, with what is right for it now.
    #[test]
    fn the_document_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verdicts.md");
        let document = std::fs::read_to_string(&path).unwrap();
        let table = document.split(HEADING).nth(1).unwrap_or_default();
        let told: Vec<[&str; 3]> = table
            .lines()
            .filter(|line| line.starts_with("| "))
            .skip(1)
            .map(|line| {
                let cells: Vec<&str> = line.split(" | ").collect();
                [cells[0].trim_start_matches("| "), cells[1], cells[3]]
            })
            .collect();
        let rows: Vec<Row> = scenario::all()
            .flat_map(runs)
            .map(|(scenario, when)| Row::expected(scenario, when))
            .collect();
        let right: Vec<[&str; 3]> = rows
            .iter()
            .map(|row| [row.name.as_str(), &row.expected, &row.expected_place])
            .collect();
        assert!(
            told == right,
            "docs/verdicts.md does not have the scenarios that there are; make it anew: cargo xtask test --report\n\
             {told:#?}\n{right:#?}"
        );
    }

    #[test]
    fn a_bound_that_is_missed_is_seen() {
        let kept = |rows: &[Row]| Table::new(rows.to_vec()).is_kept();
        let right = row("R01", "R01");
        assert!(kept(&vec![right.clone(); 100]));
        let with = |number, other: &Row| {
            let mut rows = vec![right.clone(); 100 - number];
            rows.extend(vec![other.clone(); number]);
            kept(&rows)
        };
        assert!(with(2, &row("R01", "D01")) && !with(3, &row("R01", "D01")));
        let misplaced = Row {
            place: "process".to_owned(),
            ..right.clone()
        };
        let slow = Row {
            late: Some(3.5),
            ..right.clone()
        };
        let alarm = Row {
            is_sound: true,
            alarms: vec!["R12".to_owned()],
            ..right.clone()
        };
        for wrong in [misplaced, slow, alarm] {
            assert!(!with(1, &wrong), "{wrong:?}");
        }
        let elsewhere = Row {
            missing: Some("no".to_owned()),
            given: None,
            ..right.clone()
        };
        assert!(with(50, &elsewhere), "what did not run is not wrong");
    }

    #[test]
    fn the_rest_of_the_document_stays() {
        let folder = crate::folder::Folder::new().unwrap();
        let path = folder.file("a.md");
        std::fs::write(&path, "# A\n\nb\n").unwrap();
        let table = Table::new(vec![row("R01", "R01")]);
        for _ in 0..2 {
            table.write(&path).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(
                text.starts_with(&format!("# A\n\nb\n\n{HEADING}\n\n* Root")),
                "{text}"
            );
            assert_eq!(text.matches("| a | R01 | R01 |").count(), 1, "{text}");
        }
    }
}
