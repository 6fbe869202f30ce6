//! `cargo xtask test`: everything that can be tested, in one command.

use std::{
    ffi::OsStr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    build::{self, Profile},
    lab,
    process::{self, note},
    setup,
    workspace::{self, Program},
};

/// All of the workspace that runs here. The BPF crate does not, and its sizes are asserted where it is compiled.
const ALL: [&str; 3] = ["--workspace", "--exclude", "tracer-ebpf"];

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
        let (rootless, rooted): (Vec<_>, _) = integration_tests(&tracer)?
            .into_iter()
            .partition(|program| !needs_root(&in_workspace(program)));
        say_what_is_left_out(&rooted)?;
        let mut tests = test(&tracer, &["--lib", "--bins"]);
        for program in rootless {
            tests.arg("--test").arg(program.name);
        }
        steps.push(tests);
        steps.push(test(&tracer, &["--doc"]));
    } else {
        steps.push(test(&tracer, &[]));
    }
    let (mut failure, mut failures) = (None, Failures::default());
    for mut step in steps {
        step.arg("--no-fail-fast").arg("--").args(args);
        failure = failure.or(process::run_with_lines(&mut step, |line| failures.read(line)).err());
    }
    failures.told.into_iter().for_each(note);
    failure.map_or(Ok(0), |error| Err(error.context("tests")))
}

/// What test programs say of tests that failed. It is told once more at the end, where one finds it.
#[derive(Default)]
struct Failures {
    told: Vec<String>,
    inside: bool,
}

impl Failures {
    /// Reads the next line of what test programs print: it stands between `failures:` and the result.
    fn read(&mut self, line: &str) {
        self.inside |= line == "failures:";
        self.inside &= !line.starts_with("test result:");
        if self.inside && !line.trim().is_empty() {
            self.told.push(line.to_owned());
        }
    }
}

/// Arguments of the lab that tell which verdict is given for each scenario and incident, and keep that in the document.
pub(crate) const REPORT: [&str; 3] = ["prove", "--write", "docs/verdicts.md"];
/// Arguments of the lab that watch for long where nothing is broken. Some of the scenarios take all that a core has.
pub(crate) const LONG: [&str; 4] = ["prove", "--sound", "--for=120", "--at-a-time=4"];

/// Becomes the lab, which holds what the tracer says of its scenarios against what was promised.
///
/// # Errors
/// If the lab or the tracer cannot be built or started.
pub(crate) fn prove(args: &[&str]) -> Result<u8> {
    if !process::is_root()? {
        bail!(
            "scenarios: they break network namespaces and load BPF programs, which needs root; run them by sudo"
        );
    }
    setup::test_programs(true)?;
    build::bpf()?;
    let mut lab = Command::new(lab::program()?);
    lab.args(args)
        .current_dir(workspace::root())
        .env("TRACER_BIN", build::tracer(Profile::Release)?);
    let error = lab.exec();
    Err(process::cannot_start(&lab, &error))
}

/// `cargo test` on these targets.
fn test(tracer: &Path, targets: &[&str]) -> Command {
    let mut cargo = workspace::cargo();
    cargo
        .args(["test", "--locked"])
        .args(ALL)
        .args(targets)
        .env("TRACER_BIN", tracer);
    cargo
}

/// The test programs that are made of the files in the packages' `tests` folders, in the order of their files.
fn integration_tests(tracer: &Path) -> Result<Vec<Program>> {
    let mut programs = workspace::programs(&mut test(tracer, &["--test", "*", "--no-run"]))?;
    // Programs that they run are made along with them.
    programs.retain(|program| in_workspace(program).iter().nth(1) == Some(OsStr::new("tests")));
    programs.sort_by(|one, other| one.source.cmp(&other.source));
    Ok(programs)
}

/// The main source file of a program, from the workspace's folder on.
fn in_workspace(program: &Program) -> PathBuf {
    let source = &program.source;
    source
        .strip_prefix(workspace::root())
        .unwrap_or(source)
        .to_owned()
}

/// Whether the tests of this file need root: those of the lab do, as they break nodes and load BPF programs, and
/// others whose file says so by its name.
fn needs_root(source: &Path) -> bool {
    let named = source
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"root_"));
    named || source.starts_with("tests/tests")
}

/// Names every test that needs root, by file.
fn say_what_is_left_out(programs: &[Program]) -> Result<()> {
    note("left out, for they need root:");
    for program in programs {
        let list = process::capture(Command::new(&program.executable).args(["--list", "--format", "terse"]))
            .with_context(|| format!("tests of {}", program.name))?;
        let file = in_workspace(program);
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
    fn tests_that_need_root_are_known_by_their_files() {
        for (file, needed) in [
            ("tests/tests/faults.rs", true),
            ("tracer/tests/root_node.rs", true),
            ("tracer/tests/model/main.rs", false),
            ("xtask/tests/rooted.rs", false),
        ] {
            assert_eq!(needs_root(Path::new(file)), needed, "{file}");
        }
    }

    #[test]
    fn what_is_said_of_failures_is_kept() {
        let mut failures = Failures::default();
        let text = "running 2 tests\ntest a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nwhy\n\nfailures:\n    b\n\n\
                    test result: FAILED. 1 passed\nrunning 1 test\ntest c ... ok\ntest result: ok.";
        text.lines().for_each(|line| failures.read(line));
        assert_eq!(
            failures.told,
            ["failures:", "---- b stdout ----", "why", "failures:", "    b"]
        );
    }

    #[test]
    fn reads_a_list_of_tests() {
        assert_eq!(
            names("healthy: test\nrules::lost: test\nspeed: benchmark\n"),
            ["healthy", "rules::lost"]
        );
    }
}
