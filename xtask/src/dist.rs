//! `cargo xtask dist`: the one static binary that is carried to a node.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::{build, compiler::Release, elf, process::note, workspace};

/// Builds target/dist/tracer.
///
/// # Errors
/// If it cannot be built, or a check fails.
pub(crate) fn main() -> Result<u8> {
    tracer().map(|_| 0)
}

/// Builds the tracer as a static program, checks that it has the BPF object inside, and says where it is.
///
/// # Errors
/// If it cannot be built, or a check fails.
pub(crate) fn tracer() -> Result<PathBuf> {
    build::bpf()?;
    let built = static_program(
        "tracer",
        workspace::cargo().args(["build", "--package", "tracer"]),
    )?;
    let program = fs::read(&built).with_context(|| format!("{}: cannot be read", built.display()))?;
    let object = fs::read(workspace::bpf_object()).context("the BPF object cannot be read")?;
    if !contains(&program, &object) {
        bail!(
            "{}: the BPF object is not inside; does tracer/build.rs look elsewhere?",
            built.display()
        );
    }

    let dist = workspace::target().join("dist/tracer");
    let copied = fs::create_dir_all(workspace::target().join("dist")).and_then(|()| {
        // Not over the old file, which may be running.
        let _ = fs::remove_file(&dist);
        fs::copy(&built, &dist)
    });
    let bytes = copied.with_context(|| format!("{}: cannot be written", dist.display()))?;
    note(format_args!(
        "{}: static, {:.1} MB",
        dist.display(),
        bytes as f64 / 1e6
    ));
    Ok(dist)
}

/// Builds a program for speed with a cargo command that names its package, so that it needs nothing of the system
/// that it runs on, and returns where it is.
///
/// # Errors
/// If it cannot be built, or is not static.
pub(crate) fn static_program(name: &str, cargo: &mut Command) -> Result<PathBuf> {
    cargo.args(["--locked", "--release", "--bin", name]);
    // A target that is named keeps the flags from build scripts and macros, which cannot be static.
    cargo.args(["--target", &Release::of_default()?.host]);
    cargo
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    let built = workspace::program(name, cargo)?;
    if !elf::is_static_file(&built)? {
        bail!(
            "{}: is not static; does the host target of this rustc support crt-static?",
            built.display()
        );
    }
    Ok(built)
}

/// Whether `part` is somewhere in `whole`.
fn contains(whole: &[u8], part: &[u8]) -> bool {
    let Some((first, rest)) = part.split_first() else {
        return true;
    };
    let mut at = 0;
    while let Some(found) = whole[at..].iter().position(|byte| byte == first) {
        at += found + 1;
        if whole[at..].starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_part_at_every_place() {
        assert!(contains(b"abcab", b"ab"));
        assert!(contains(b"aab", b"ab"));
        assert!(contains(b"xyz", b"z"));
        assert!(contains(b"xyz", b""));
        assert!(!contains(b"xyz", b"yy"));
        assert!(!contains(b"xyz", b"zz"));
        assert!(!contains(b"", b"a"));
    }
}
