//! `cargo xtask fmt` and `cargo xtask lint`.

use anyhow::{Context, Result};

use crate::{
    process::{self, note},
    setup, workspace,
};

/// Formats the code, or only checks that it is formatted.
///
/// # Errors
/// If rustfmt is missing or finds something.
pub(crate) fn format(check: bool) -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.args(["fmt", "--all"]);
    if check {
        cargo.arg("--check");
    }
    process::run(&mut cargo).context(if check {
        "formatting; `cargo xtask fmt` mends it"
    } else {
        "formatting"
    })
}

/// Checks everything that a change must pass before it is tested.
///
/// # Errors
/// At the first check that finds something.
pub(crate) fn main() -> Result<u8> {
    format(true)?;
    let clippy = [
        "clippy",
        "--locked",
        "--workspace",
        "--exclude",
        "tracer-ebpf",
        "--all-targets",
    ];
    process::run(workspace::cargo().args(clippy).args(["--", "-Dwarnings"])).context("lints")?;
    bpf()?;
    if process::find("cargo-deny").is_some() {
        process::run(workspace::cargo().args(["deny", "check"])).context("dependencies")?;
    } else {
        note("dependencies: not checked, there is no cargo-deny (cargo install cargo-deny --locked)");
    }
    Ok(0)
}

/// Lints the BPF programs with the clippy of their own compiler: another's cannot read its libraries.
fn bpf() -> Result<()> {
    let remedy = "rust-web-clippy on Debian, clippy in rustup's nightly";
    let Some(tools) = setup::find()? else {
        note("BPF programs: not linted, their compiler is not here; `cargo xtask setup` finds it");
        return Ok(());
    };
    let driver = tools.compiler.sysroot.join("bin/clippy-driver");
    if !process::is_executable(&driver) {
        note(format_args!(
            "BPF programs: not linted, their compiler has no clippy ({remedy})"
        ));
        return Ok(());
    }
    // What `cargo clippy` does, but with that driver and not the one that belongs to cargo.
    let mut cargo = tools.cargo("check");
    cargo
        .env("RUSTC_WORKSPACE_WRAPPER", driver)
        .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    process::run(&mut cargo).context("lints of the BPF programs")
}
