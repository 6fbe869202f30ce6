//! Where things are, and calling cargo on them.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process;

/// The target of the BPF programs.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    // Cargo says where the package is now; it may have been moved since it was compiled.
    let package =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package
        .parent()
        .map_or_else(|| package.clone(), Path::to_path_buf)
}

/// The folder for everything that is built.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// The folder for tools that setup installs.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// The manifest of the lab. It is named by its file: crates.io has a package of the same name, and a dependency may
/// bring it into the lock file, where `--package lab` would be ambiguous.
pub(crate) fn lab_manifest() -> PathBuf {
    root().join("tests/Cargo.toml")
}

/// The target folder of the BPF build. It is its own, because its compiler and flags differ.
pub(crate) fn bpf_target() -> PathBuf {
    target().join("ebpf")
}

/// The BPF object. `tracer/build.rs` looks for it in the same place.
pub(crate) fn bpf_object() -> PathBuf {
    bpf_target().join(BPF_TARGET).join("release/tracer-ebpf")
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A program that cargo has built.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// Name of its target in Cargo.toml.
    pub(crate) name: String,
    /// The file that can be run.
    pub(crate) executable: PathBuf,
    /// Its main source file.
    pub(crate) source: PathBuf,
}

#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    src_path: PathBuf,
}

/// Runs a cargo command that compiles, and returns the programs that it made.
///
/// # Errors
/// If cargo cannot be started, or fails.
pub(crate) fn programs(cargo: &mut Command) -> Result<Vec<Program>> {
    cargo
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = cargo
        .spawn()
        .map_err(|error| process::cannot_start(cargo, &error))?;
    let mut programs = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            programs.extend(made(&line.context("cargo: its messages cannot be read")?));
        }
    }
    let status = child.wait().context("cargo: cannot be waited for")?;
    if !status.success() {
        bail!("cargo build: {status}; its messages above say why");
    }
    Ok(programs)
}

/// Runs a cargo command that makes this program, and returns where it is.
///
/// # Errors
/// If cargo fails.
pub(crate) fn program(name: &str, cargo: &mut Command) -> Result<PathBuf> {
    let programs = programs(cargo).with_context(|| name.to_owned())?;
    let made = programs.into_iter().find(|program| program.name == name);
    Ok(made
        .with_context(|| format!("{name}: cargo made no program of this name"))?
        .executable)
}

/// The program that one of cargo's messages tells of.
fn made(message: &str) -> Option<Program> {
    let Message { executable, target } = serde_json::from_str(message).ok()?;
    let target = target?;
    Some(Program {
        name: target.name,
        executable: executable?,
        source: target.src_path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_programs_from_cargos_messages() {
        let artifact = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"tracer",
            "src_path":"/w/tracer/src/main.rs"},"executable":"/w/target/release/tracer","fresh":true}"#;
        let found = made(artifact).unwrap();
        assert_eq!(
            (found.name.as_str(), found.executable),
            ("tracer", PathBuf::from("/w/target/release/tracer"))
        );
        assert_eq!(
            made(&artifact.replace("\"/w/target/release/tracer\"", "null")),
            None
        );
        assert_eq!(made(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(made("warning: not JSON"), None);
    }

    #[test]
    fn the_root_holds_the_lock_file() {
        assert!(root().join("Cargo.lock").is_file());
    }
}
