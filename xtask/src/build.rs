//! `cargo xtask build`: the BPF object into target/ebpf, then the tracer, which takes the object in.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{
    fresh,
    process::{self, note},
    setup::{self, Tools},
    workspace,
};

/// How the tracer is compiled. The BPF programs are always compiled for speed: the verifier asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For speed.
    Release,
    /// For a debugger.
    Debug,
}

impl Profile {
    /// By the flag of the command line.
    pub(crate) fn of(debug: bool) -> Self {
        if debug { Self::Debug } else { Self::Release }
    }
}

/// Builds, and says where the tracer is.
///
/// # Errors
/// If something cannot be built.
pub(crate) fn main(profile: Profile) -> Result<u8> {
    bpf()?;
    note(format_args!("built {}", tracer(profile)?.display()));
    Ok(0)
}

/// Builds the BPF object. Where its tools are missing, an object that fits the sources is taken as it is, so that
/// a node that has lost its network (and was cleaned of the tools) can still run what was built.
///
/// # Errors
/// If tools are missing and cannot be installed, or the programs do not compile.
pub(crate) fn bpf() -> Result<()> {
    match setup::find()? {
        Some(tools) => compile(&tools),
        None if fresh::bpf_object() => {
            note(
                "tools for BPF programs are missing; the BPF object is up to date, so it goes on without them",
            );
            Ok(())
        }
        None => compile(&setup::ensure()?),
    }
}

fn compile(tools: &Tools) -> Result<()> {
    let mut cargo = tools.cargo("build");
    process::run(cargo.arg("--bins")).with_context(|| {
        format!(
            "BPF programs (compiler {}; linker {})",
            tools.compiler, tools.linker
        )
    })
}

impl Tools {
    /// A cargo command on the BPF programs.
    pub(crate) fn cargo(&self, subcommand: &str) -> std::process::Command {
        let mut cargo = self.compiler.cargo();
        cargo.args([subcommand, "--locked", "--package", "tracer-ebpf", "--release"]);
        cargo
            .args(["--target", workspace::BPF_TARGET, "--target-dir"])
            .arg(workspace::bpf_target());
        if self.compiler.core == crate::compiler::Core::Source {
            cargo.args(["-Z", "build-std=core"]);
        }
        let flags = [
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            format!("-Clinker={}", self.linker.path.display()),
            // The layout of the registers that programs see is that of the machine which runs them.
            format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        ];
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        cargo
    }
}

/// Builds the tracer and returns the program's path.
///
/// # Errors
/// If it does not compile.
pub(crate) fn tracer(profile: Profile) -> Result<PathBuf> {
    if !workspace::bpf_object().is_file() {
        bail!(
            "{}: is not there; build it first: cargo xtask build",
            workspace::bpf_object().display()
        );
    }
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--locked", "--package", "tracer", "--bin", "tracer"]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    workspace::program("tracer", &mut cargo)
}
