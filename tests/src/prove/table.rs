//! The tables of what was said of each scenario and of each incident, and what was promised of it.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::incident::{Sound, Variant};
use crate::scenario::Scenario;
use crate::tracer::Break;

/// From the first evidence to the verdict, at most, in seconds.
const LATE: f64 = 3.0;
/// Of 100 root verdicts so many are right at least.
const RIGHT: usize = 98;
/// What every section of a document begins with.
const SECTION: &str = "\n## ";

/// Which table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nodes of network namespaces that are broken by steps.
    Scenarios,
    /// Nodes with a systemd of their own, which an upgrade breaks.
    Incidents,
}

impl Kind {
    /// The heading of its section in the document.
    fn heading(self) -> &'static str {
        match self {
            Self::Scenarios => "## Proof: the scenarios of the lab",
            Self::Incidents => "## Proof: the incidents with the real systemd",
        }
    }

    /// What the section begins with, before the figures.
    fn introduction(self) -> &'static str {
        match self {
            Self::Scenarios => "",
            Self::Incidents => {
                "Each is told by a tracer that runs from before (`--plain`): first that the node is healthy, the timer's coming window \
                 and the upgrade at work, then the verdict with its victims and what brought it about, the kill and the packages \
                 left half-way where systemd ends the upgrade, and that it is over. A story is whole with all of that, in that order. \
                 The time ends when the line with the verdict is written, which is once a second.\n\n"
            }
        }
    }

    /// The heads of the columns.
    fn columns(self) -> &'static str {
        match self {
            Self::Scenarios => {
                "| scenario | right is | given | where | given | s after the first evidence |\n|---|---|---|---|---|---|"
            }
            Self::Incidents => {
                "| incident | right is | given | where | given | s after the first evidence | story | as what brought it about it tells |\n\
                 |---|---|---|---|---|---|---|---|"
            }
        }
    }
}

/// What was said in a run.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// The verdict that is right, or those that are as right, between ` or `.
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
    /// For so long the verdict is a weak sign on purpose, in seconds.
    pub waits: f64,
    /// From the first evidence to when it is told as that, in seconds.
    pub weak_after: Option<f64>,
    /// What brought it about, as the report tells it.
    pub cause: String,
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

    /// What is right for an incident.
    pub fn of_incident(variant: &Variant) -> Self {
        Self {
            name: variant.name.to_owned(),
            expected: variant.expect.right(),
            expected_place: variant.expect.place.to_owned(),
            waits: variant.expect.waits.as_secs_f64(),
            ..Self::default()
        }
    }

    /// What is right where nothing but what goes on every day happens.
    pub fn of_sound(sound: &Sound) -> Self {
        Self {
            name: sound.name.to_owned(),
            expected: "none".to_owned(),
            expected_place: "healthy".to_owned(),
            is_sound: true,
            ..Self::default()
        }
    }

    /// Its line of the table.
    fn line(&self, kind: Kind) -> String {
        let (given, place) = match (&self.missing, &self.given) {
            (Some(_), _) => ("not on this machine", ""),
            (None, None) => ("no report", ""),
            (None, Some(given)) => (given.as_str(), self.place.as_str()),
        };
        let late = self.late.map_or_else(String::new, |late| format!("{late:.1}"));
        let weak = self
            .weak_after
            .map_or_else(String::new, |after| format!(", as a weak sign {after:.1}"));
        let cause = match kind {
            Kind::Scenarios => String::new(),
            Kind::Incidents => {
                let story = if self.failures.is_empty() {
                    "whole"
                } else {
                    "not whole"
                };
                format!(" {story} | {} |", self.cause.replace('|', "\\|"))
            }
        };
        format!(
            "| {} | {} | {given} | {} | {place} | {late}{weak} |{cause}",
            self.name, self.expected, self.expected_place
        )
    }

    fn is_root_right(&self) -> bool {
        let mut right = self.expected.split(" or ");
        right.any(|right| self.given.as_deref() == Some(right))
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
pub struct Table {
    kind: Kind,
    rows: Vec<Row>,
}

impl Table {
    /// Of these rows.
    pub fn new(kind: Kind, rows: Vec<Row>) -> Self {
        Self { kind, rows }
    }

    fn ran(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.missing.is_none())
    }

    fn count(&self, so: impl Fn(&&Row) -> bool) -> usize {
        self.ran().filter(so).count()
    }

    /// The latest verdict of a rule that does not wait on purpose.
    fn latest(&self) -> Option<(f64, &str)> {
        let prompt = self.ran().filter(|row| row.waits == 0.0);
        let late = prompt.filter_map(|row| Some((row.late?, row.name.as_str())));
        late.max_by(|one, other| one.0.total_cmp(&other.0))
    }

    /// Each verdict is given in time.
    fn is_in_time(&self) -> bool {
        let mut late = self.ran().filter_map(|row| Some((row.late?, row)));
        late.all(|(late, row)| late <= LATE + row.waits && row.weak_after.is_none_or(|after| after <= LATE))
    }

    /// All that was promised is so.
    pub fn is_kept(&self) -> bool {
        let all = self.count(|_| true);
        self.count(|row| row.is_root_right()) * 100 >= all * RIGHT
            && self.count(|row| row.is_place_right()) == all
            && self.count(|row| row.is_sound && !row.alarms.is_empty()) == 0
            && self.is_in_time()
            && (self.kind == Kind::Scenarios || self.count(|row| row.failures.is_empty()) == all)
    }

    /// Puts it into a document, in place of the one that it has, else at its end.
    pub fn write(&self, document: &Path) -> Result<()> {
        let told = || format!("cannot write the table into {}", document.display());
        let before = std::fs::read_to_string(document).with_context(told)?;
        let heading = self.kind.heading();
        let (kept, old) = before.split_once(heading).unwrap_or((&before, ""));
        let rest = old.find(SECTION).map_or("", |place| &old[place..]);
        let introduction = self.kind.introduction();
        let text = format!("{}\n\n{heading}\n\n{introduction}{self}{rest}", kept.trim_end());
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
        if self.kind == Kind::Incidents {
            let whole = self.count(|row| row.failures.is_empty());
            writeln!(f, "* Whole stories: {whole} of {all} (all).")?;
        }
        if let Some((late, name)) = self.latest() {
            writeln!(
                f,
                "* From the first evidence to the verdict: at most {late:.1} s, in `{name}` (at most {LATE:.0} s)."
            )?;
        }
        for row in self.rows.iter().filter(|row| row.waits > 0.0) {
            writeln!(
                f,
                "* `{}`: for {:.0} s the verdict is a weak sign on purpose, since who deploys a service stops it too and starts it again \
                 (at most {LATE:.0} s to the weak sign, and as many more to the verdict).",
                row.name, row.waits
            )?;
        }
        writeln!(f, "\n{}", self.kind.columns())?;
        for row in &self.rows {
            writeln!(f, "{}", row.line(self.kind))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::{SOUND, VARIANTS};
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

    /// The document has a row for each run of each scenario and incident, with what is right for it now.
    #[test]
    fn the_document_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verdicts.md");
        let document = std::fs::read_to_string(&path).unwrap();
        let scenarios = scenario::all().flat_map(runs);
        let incidents = VARIANTS.iter().map(Row::of_incident);
        for (kind, rows) in [
            (
                Kind::Scenarios,
                scenarios
                    .map(|(scenario, when)| Row::expected(scenario, when))
                    .collect::<Vec<_>>(),
            ),
            (
                Kind::Incidents,
                incidents.chain(SOUND.iter().map(Row::of_sound)).collect(),
            ),
        ] {
            let section = document.split(kind.heading()).nth(1).unwrap_or_default();
            let table = section.split(SECTION).next().unwrap_or_default();
            let told: Vec<[&str; 3]> = table
                .lines()
                .filter(|line| line.starts_with("| "))
                .skip(1)
                .map(|line| {
                    let cells: Vec<&str> = line.split(" | ").collect();
                    [cells[0].trim_start_matches("| "), cells[1], cells[3]]
                })
                .collect();
            let right: Vec<[&str; 3]> = rows
                .iter()
                .map(|row| [row.name.as_str(), &row.expected, &row.expected_place])
                .collect();
            assert!(
                told == right,
                "docs/verdicts.md does not have the {kind:?} that there are; make it anew: cargo xtask test --report\n\
                 {told:#?}\n{right:#?}"
            );
        }
    }

    #[test]
    fn a_bound_that_is_missed_is_seen() {
        let kept = |rows: &[Row]| Table::new(Kind::Scenarios, rows.to_vec()).is_kept();
        let right = row("R01", "R01");
        assert!(kept(&vec![right.clone(); 100]));
        let with = |number, other: &Row| {
            let mut rows = vec![right.clone(); 100 - number];
            rows.extend(vec![other.clone(); number]);
            kept(&rows)
        };
        assert!(with(100, &row("R04 or R05", "R05")));
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
        let waits = Row {
            waits: 5.0,
            late: Some(7.5),
            weak_after: Some(1.0),
            ..right.clone()
        };
        assert!(with(1, &waits));
        for wrong in [(8.5, 1.0), (7.5, 3.5)] {
            let (late, weak_after) = (Some(wrong.0), Some(wrong.1));
            let row = Row {
                late,
                weak_after,
                ..waits.clone()
            };
            assert!(!with(1, &row), "{row:?}");
        }
        let cut = Row {
            failures: vec!["no end".to_owned()],
            ..right.clone()
        };
        assert!(with(1, &cut), "of a scenario the verdict counts");
        assert!(!Table::new(Kind::Incidents, vec![right.clone(), cut]).is_kept());
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
        let (scenarios, incidents) = (Kind::Scenarios.heading(), Kind::Incidents.heading());
        for kind in [Kind::Incidents, Kind::Scenarios, Kind::Incidents, Kind::Scenarios] {
            let row = Row {
                cause: "it went away".to_owned(),
                ..row("R01", "R01")
            };
            Table::new(kind, vec![row]).write(&path).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with(&format!(
                "# A\n\nb\n\n{incidents}\n\n{}* Root",
                Kind::Incidents.introduction()
            )),
            "{text}"
        );
        assert!(text.contains(&format!("|\n\n{scenarios}\n\n* Root")), "{text}");
        assert_eq!(text.matches("| a | R01 | R01 |").count(), 2, "{text}");
        assert_eq!(
            text.matches("| 1.0 | whole | it went away |").count(),
            1,
            "{text}"
        );
    }
}
