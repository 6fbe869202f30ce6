//! `cargo xtask run`: builds what is not up to date, then becomes the tracer.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Result, bail};

use crate::{
    build::{self, Profile},
    process::{self, note},
};

/// Builds and runs the tracer with these arguments. It takes this process's place: its output, its signals and its
/// exit code are the tracer's own.
///
/// # Errors
/// If it cannot be built or started, or needs root and there is no sudo.
pub(crate) fn main(args: &[String]) -> Result<u8> {
    build::bpf()?;
    let tracer = build::tracer(Profile::Release)?;
    let mut command = if process::is_root()? {
        Command::new(&tracer)
    } else {
        if process::find("sudo").is_none() {
            bail!(
                "tracer: needs root, and there is no sudo; run it as root: {}",
                tracer.display()
            );
        }
        note("not root: starting the tracer by sudo");
        let mut sudo = Command::new("sudo");
        sudo.arg("--").arg(&tracer);
        sudo
    };
    let error = command.args(args).exec();
    Err(process::cannot_start(&command, &error))
}
