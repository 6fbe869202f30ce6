//! `cargo xtask test`: everything that can be tested, in one command.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    build::{self, Profile},
    process::{self, note},
    setup, workspace,
};

/// The package whose integration tests need root: they break nodes and load BPF programs.
const LAB: &str = "lab";

/// Builds, and runs all tests; `args` go to the test programs.
///
/// # Errors
/// If a test fails, or tests cannot run here and were not left out by `no_root`.
pub(crate) fn main(no_root: bool, args: &[String]) -> Result<u8> {
    if !no_root && !process::is_root()? {
        bail!(
            "tests: some break network namespaces and load BPF programs, which needs root; run them by sudo, or leave them out with --no-root"
        );
    }
    setup::test_programs(!no_root)?;
    build::bpf()?;
    let tracer = build::tracer(Profile::Release)?;
    let mut steps = Vec::new();
    if no_root {
        say_what_is_left_out(&tracer)?;
        let mut lab = test(&tracer, &["--lib", "--bins", "--manifest-path"]);
        lab.arg(workspace::lab_manifest());
        steps.push(lab);
        steps.push(test(
            &tracer,
            &["--workspace", "--exclude", "tracer-ebpf", "--exclude", LAB],
        ));
    } else {
        steps.push(test(&tracer, &["--workspace", "--exclude", "tracer-ebpf"]));
    }
    let mut failure = None;
    for mut step in steps {
        step.arg("--no-fail-fast").arg("--").args(args);
        failure = failure.or(process::run_with_stdout(&mut step).err());
    }
    failure.map_or(Ok(0), |error| Err(error.context("tests")))
}

/// `cargo test` on a part of the workspace. The BPF crate is in none: it cannot run here, and its sizes are asserted
/// where it is compiled.
fn test(tracer: &Path, part: &[&str]) -> Command {
    let mut cargo = workspace::cargo();
    cargo
        .arg("test")
        .arg("--locked")
        .args(part)
        .env("TRACER_BIN", tracer);
    cargo
}

/// Names every test that needs root, by file.
fn say_what_is_left_out(tracer: &Path) -> Result<()> {
    let mut cargo = test(tracer, &["--test", "*", "--no-run", "--manifest-path"]);
    cargo.arg(workspace::lab_manifest());
    // Cargo takes a pattern that fits nothing for a mistake.
    let files = workspace::root().join("tests/tests");
    if !files.is_dir() {
        return Ok(());
    }
    let mut programs = workspace::programs(&mut cargo)?;
    programs.retain(|program| program.source.starts_with(&files));
    programs.sort_by(|one, other| one.source.cmp(&other.source));
    note("left out, for they need root:");
    for program in programs {
        let list = process::capture(Command::new(&program.executable).args(["--list", "--format", "terse"]))
            .with_context(|| format!("tests of {}", program.name))?;
        let file = program
            .source
            .strip_prefix(workspace::root())
            .unwrap_or(&program.source);
        note(format_args!("  {}: {}", file.display(), names(&list).join(", ")));
    }
    Ok(())
}

/// The names in a test program's list (`name: test`).
fn names(list: &str) -> Vec<&str> {
    list.lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_list_of_tests() {
        assert_eq!(
            names("healthy: test\nrules::lost: test\nspeed: benchmark\n"),
            ["healthy", "rules::lost"]
        );
    }
}
