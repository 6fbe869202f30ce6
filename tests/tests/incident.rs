//! The incident itself, and what else an upgrade breaks, staged with the real systemd, networkd, apt and dpkg, and told by the
//! tracer as it happens; and what goes on there every day, of which it must not make an alarm.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use lab::incident::proof::{self, Told};
use lab::incident::{AFTERWARDS, SOUND, Sound, VARIANTS, Variant, watch};
use libtest_mimic::{Arguments, Trial};

/// A verdict that takes longer than that after the change that brought it about is too late for anybody. What it takes is
/// printed.
const LATE: Duration = Duration::from_secs(30);
/// Incidents that are staged at a time. Most of their time is spent waiting.
const AT_A_TIME: usize = 4;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    let trials = VARIANTS
        .iter()
        .map(|variant| Trial::test(variant.name, || Ok(tells(variant)?)))
        .chain(
            SOUND
                .iter()
                .map(|sound| Trial::test(sound.name, || Ok(is_calm(sound)?))),
        );
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// The error of the story tells what the tracer did not say, or said otherwise, what was before, and what it says at the end.
fn tells(variant: &Variant) -> Result<()> {
    let program = Path::new(env!("CARGO_BIN_EXE_lab"));
    let (mut lines, mut told) = (Vec::new(), Told::default());
    let played = proof::play(variant, program, &mut told, &mut |line| {
        lines.push(line.to_string());
        Ok(())
    });
    played.map_err(|error| {
        let verdicts = &told.report["verdicts"];
        anyhow!("{}\n{error:#}\nverdicts then: {verdicts:#}", lines.join("\n"))
    })?;
    println!(
        "{}: {:?} after the change that explains it",
        variant.name, told.delay
    );
    ensure!(told.delay < LATE, "{told:#?}");
    Ok(())
}

/// The error tells which alarm there was.
fn is_calm(sound: &Sound) -> Result<()> {
    let program = Path::new(env!("CARGO_BIN_EXE_lab"));
    let (_, failures) = watch(sound, program, AFTERWARDS)?;
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}
