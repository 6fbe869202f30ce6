//! `cargo xtask lab`: the lab itself is the package in tests/; here it is only built, and given a tracer.

use std::{os::unix::process::CommandExt, path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    build::{self, Profile},
    dist, process, workspace,
};

/// Becomes the lab, with these arguments.
///
/// # Errors
/// If the lab or the tracer cannot be built or started.
pub(crate) fn main(args: &[String]) -> Result<u8> {
    let own = args.split(|arg| arg == "--").next().unwrap_or_default();
    // Where it only tells of itself, there is no need to wait for a tracer.
    let runs = !own.is_empty()
        && !own
            .iter()
            .any(|arg| matches!(arg.as_str(), "--list" | "--help" | "-h"));
    let mut lab = Command::new(program()?);
    if runs {
        build::bpf()?;
        lab.env("TRACER_BIN", build::tracer(Profile::Release)?);
    }
    let error = lab.args(args).exec();
    Err(process::cannot_start(&lab, &error))
}

/// Builds the lab's program and returns its path.
///
/// # Errors
/// If it does not compile.
pub(crate) fn program() -> Result<PathBuf> {
    workspace::program("lab", build_command().args(["--locked", "--bin", "lab"]))
}

/// Builds the lab's program as it is to be measured, and returns its path.
///
/// # Errors
/// If it does not compile.
pub(crate) fn fast_program() -> Result<PathBuf> {
    workspace::program(
        "lab",
        build_command().args(["--locked", "--release", "--bin", "lab"]),
    )
}

/// Builds one of the lab's programs that measure, and returns its path.
///
/// # Errors
/// If it does not compile.
pub(crate) fn bench(name: &str) -> Result<PathBuf> {
    workspace::program(
        name,
        build_command().args(["--locked", "--release", "--bench", name]),
    )
}

/// Builds the lab's program so that it runs in any system, and returns its path.
///
/// # Errors
/// If it does not compile, or is not static.
pub(crate) fn static_program() -> Result<PathBuf> {
    dist::static_program("lab", &mut build_command())
}

fn build_command() -> Command {
    let mut cargo = workspace::cargo();
    cargo
        .args(["build", "--manifest-path"])
        .arg(workspace::lab_manifest());
    cargo
}
