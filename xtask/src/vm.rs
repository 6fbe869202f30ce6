//! `cargo xtask vm`: the lab's scenarios under other kernels, with the program that is carried to a node.
//!
//! Each kernel runs in a virtual machine that has nothing but memory. It checks one scenario after the other, by the
//! lab's own expectations (`lab check`), and says what came of each on a serial port.

mod archive;
mod boot;
mod cpio;
mod initramfs;
mod kernel;
mod modules;
mod results;

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context, Result, bail};
use clap::Args;

use self::{
    boot::{Machine, QEMU},
    initramfs::Programs,
    kernel::{Kernel, Kernels},
    results::{Checked, Line},
};
use crate::{
    apt, dist, lab,
    process::{self, note},
    setup::{self, Needed},
};

/// What runs a machine and makes what is in it.
const NEEDED: [Needed; 8] = [
    setup::IP,
    setup::NFT,
    setup::CONNTRACK,
    setup::IPTABLES,
    Needed {
        program: QEMU,
        package: "qemu-system-x86",
    },
    Needed {
        program: "busybox",
        package: "busybox-static",
    },
    setup::DEPMOD,
    Needed {
        program: "xz",
        package: "xz-utils",
    },
];

/// Reads a kernel's version: numbers with points between them.
///
/// # Errors
/// If it is something else.
fn version(text: &str) -> Result<String, String> {
    let is_number = |part: &str| part.parse::<u32>().is_ok();
    if text.contains('.') && text.split('.').all(is_number) {
        return Ok(text.to_owned());
    }
    Err("not a version such as 6.1".to_owned())
}

/// What runs in the virtual machines, and on what.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Versions of kernels, such as 6.1: of each, the newest release for clouds
    #[arg(value_name = "KERNEL", value_parser = version, default_values = ["6.1", "6.12"])]
    kernels: Vec<String>,
    /// Only this scenario (may be given several times)
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
    /// Leave out a capability of the tracer (may be given several times)
    #[arg(long, value_name = "CAPABILITY")]
    without: Vec<String>,
    /// Processors of each machine
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    processors: u8,
    /// Say which kernels there are
    #[arg(long)]
    list: bool,
}

/// Runs scenarios (all, where none is named) under kernels, with a tracer that leaves some capabilities out, and
/// returns 1 where one is not as it should be; or lists kernels.
///
/// # Errors
/// If something is missing that cannot be installed, or cannot be built, or there is no such scenario.
pub(crate) fn main(options: &Options) -> Result<u8> {
    if options.list {
        return list();
    }
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "vm: runs kernels of x86-64 only, and this machine is {}",
            std::env::consts::ARCH
        );
    }
    let mut kernels = kernels()?;
    setup::programs("virtual machines", &NEEDED)?;
    let lab = lab::static_program()?;
    let scenarios = process::capture(
        Command::new(&lab)
            .args(["check", "--names"])
            .args(&options.scenarios),
    )?;
    let scenarios: Vec<String> = scenarios.lines().map(str::to_owned).collect();
    let arguments: Vec<String> = options
        .without
        .iter()
        .map(|capability| format!("--without={capability}"))
        .chain(scenarios.iter().cloned())
        .collect();
    let programs = Programs::find(dist::tracer()?, lab)?;
    let mut right = true;
    for version in &options.kernels {
        let run = kernels.get(version).and_then(|kernel| {
            let initramfs = programs.pack(&kernel, &arguments)?;
            run(
                &Machine::start(&kernel, &initramfs, options.processors)?,
                &kernel,
                &scenarios,
            )
        });
        // The other kernels can be run all the same.
        right &= run.unwrap_or_else(|error| {
            note(format_args!("kernel {version}: {error:#}"));
            false
        });
    }
    Ok(u8::from(!right))
}

/// Says which kernels there are.
fn list() -> Result<u8> {
    for package in kernels()?.list()? {
        println!("{package}");
    }
    Ok(0)
}

fn kernels() -> Result<Kernels> {
    if !apt::is_there() {
        bail!("vm: takes its kernels from Debian by apt, which this machine does not have");
    }
    Ok(Kernels::new())
}

/// Takes what comes of the scenarios in a kernel's machine, and says whether all are as they should be.
fn run(machine: &Machine, kernel: &Kernel, scenarios: &[String]) -> Result<bool> {
    let version = &kernel.version;
    let mut left: Vec<&str> = scenarios.iter().map(String::as_str).collect();
    let mut off = BTreeSet::new();
    let mut right = true;
    let end = loop {
        match next(machine) {
            Ok(Some(Line::Booted(release))) => note(format_args!("{version}: runs {release}")),
            Ok(Some(Line::Checked(checked))) => {
                left.retain(|scenario| *scenario != checked.scenario);
                right &= checked.failures.is_empty();
                off.extend(checked.off());
                tell(kernel, &checked)?;
            }
            Ok(Some(Line::Ended(code))) => break format!("the lab ended with {code}"),
            Ok(None) => break "the machine ended".to_owned(),
            Err(error) => break format!("the machine {error:#}"),
        }
    };
    for why in off {
        println!("{version:<5} off: {why}");
    }
    for scenario in &left {
        println!(
            "{version:<5} {scenario:<24} WRONG    not run: {end}; its console: {}",
            machine.console().display()
        );
    }
    Ok(right && left.is_empty())
}

fn next(machine: &Machine) -> Result<Option<Line>> {
    machine.line()?.map(|line| Line::parse(&line)).transpose()
}

/// Shows what came of a scenario, and keeps the tracer's report.
fn tell(kernel: &Kernel, checked: &Checked) -> Result<()> {
    let Checked {
        scenario,
        failures,
        report,
        stderr,
        ..
    } = checked;
    println!(
        "{:<5} {scenario:<24} {:<7}  {}",
        kernel.version,
        checked.word(),
        checked.summary()
    );
    let file = kernel.folder().join(format!("{scenario}.json"));
    fs::write(&file, format!("{report:#}\n"))
        .with_context(|| format!("{}: cannot be written", file.display()))?;
    for failure in failures {
        println!("      {failure}");
    }
    if !failures.is_empty() {
        for line in stderr.lines() {
            println!("      tracer: {line}");
        }
        println!("      the tracer's report: {}", file.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_numbers() {
        assert_eq!(version("6.1").unwrap(), "6.1");
        assert_eq!(version("6.12.117").unwrap(), "6.12.117");
        for text in ["6", "6.", ".*", "6.1-rt", ""] {
            assert!(version(text).is_err(), "{text}");
        }
    }
}
