//! The incidents with the real systemd, and what goes on there every day, as runs whose verdicts are told.

use std::path::Path;
use std::time::Duration;

use super::{Row, alarms, given, text};
use crate::incident::proof::{self, Told};
use crate::incident::{SOUND, Sound, VARIANTS, Variant, watch};

/// So many are staged at a time: most of their time is spent waiting, and the rest must not make others late.
pub(super) const AT_A_TIME: usize = 2;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Incident {
    /// An upgrade breaks the node.
    Broken(&'static Variant),
    /// Nothing breaks.
    Sound(&'static Sound),
}

impl Incident {
    /// All of them, in the order of the table.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let broken = VARIANTS.iter().map(Self::Broken);
        broken.chain(SOUND.iter().map(Self::Sound))
    }

    /// The one of that name.
    pub(super) fn find(name: &str) -> Option<Self> {
        Self::all().find(|incident| incident.name() == name)
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Broken(variant) => variant.name,
            Self::Sound(sound) => sound.name,
        }
    }

    /// Nothing breaks.
    pub(super) fn is_sound(&self) -> bool {
        matches!(self, Self::Sound(_))
    }

    /// Stages it once. Where nothing breaks the tracer watches on for this time.
    pub(super) fn row(&self, program: &Path, time: Duration) -> Row {
        match self {
            Self::Broken(variant) => broken(variant, program),
            Self::Sound(sound) => calm(sound, program, time),
        }
    }
}

fn broken(variant: &Variant, program: &Path) -> Row {
    let mut told = Told::default();
    let failures = match proof::play(variant, program, &mut told, &mut |_| Ok(())) {
        Ok(()) => Vec::new(),
        Err(error) => vec![format!("{error:#}")],
    };
    let verdict = &told.report["verdicts"][0];
    Row {
        given: (!told.report.is_null()).then(|| given(verdict)),
        place: text(&told.report["where"]),
        late: told.late.map(|late| late.as_secs_f64()),
        weak_after: told.weak_after.map(|after| after.as_secs_f64()),
        cause: text(&verdict["cause"]["text"]),
        failures,
        ..Row::of_incident(variant)
    }
}

fn calm(sound: &Sound, program: &Path, time: Duration) -> Row {
    let row = Row::of_sound(sound);
    match watch(sound, program, time) {
        Ok((report, failures)) => Row {
            given: Some(given(&report["verdicts"][0])),
            place: text(&report["where"]),
            alarms: alarms(&report),
            failures,
            ..row
        },
        Err(error) => Row {
            failures: vec![format!("{error:#}")],
            ..row
        },
    }
}
