//! `cargo xtask lab`: the lab itself is the package in tests/; here it is only given a tracer.

use anyhow::{Context, Result};

use crate::build::{self, Profile};

/// Runs the lab's command line. Where a scenario is to run, the tracer is built first.
///
/// # Errors
/// If the tracer cannot be built, or the lab fails.
pub(crate) fn main(args: Vec<String>) -> Result<u8> {
    let own = args.split(|arg| arg == "--").next().unwrap_or_default();
    if !own.is_empty()
        && !own
            .iter()
            .any(|arg| matches!(arg.as_str(), "--list" | "--help" | "-h"))
    {
        build::bpf()?;
        let tracer = build::tracer(Profile::Release)?;
        // SAFETY: no other thread runs yet that could read the environment.
        unsafe { std::env::set_var("TRACER_BIN", tracer) };
    }
    let code = lab::cli::main(args)?;
    u8::try_from(code).with_context(|| format!("lab: exit code {code} is none"))
}
