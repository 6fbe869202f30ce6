//! The project's chores: `cargo xtask COMMAND`.
//!
//! Each command is a module. What xtask says itself goes to standard error; standard output belongs to the
//! program that a command runs, so that `cargo xtask run -- diagnose --format json | jq` works.

mod apt;
mod bench;
mod build;
mod compiler;
mod dist;
mod elf;
mod fresh;
mod lab;
mod linker;
mod lint;
mod process;
mod run;
mod setup;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "The project's chores",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or install what building needs: BPF compiler, its core library, bpf-linker
    Setup {
        /// Also the programs that the tests and the lab run (ip, nft, tmux, tshark)
        #[arg(long)]
        tests: bool,
    },
    /// Build the BPF object and the tracer
    Build {
        /// Build the tracer for speed (the default)
        #[arg(long, conflicts_with = "debug")]
        release: bool,
        /// Build the tracer for a debugger
        #[arg(long)]
        debug: bool,
    },
    /// Set up, build, and run the tracer with the privileges that it needs
    Run {
        /// Arguments of the tracer
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Set up, build, and run all tests
    Test {
        /// Leave out the tests that need root, and say which
        #[arg(long)]
        no_root: bool,
        /// Instead of the tests run each scenario and each incident of the lab, and tell which verdict was given for it, how
        /// many were right and how soon; docs/verdicts.md keeps it
        #[arg(long, conflicts_with = "no_root")]
        report: bool,
        /// Instead of the tests run each scenario, and each node with systemd, in which nothing is broken for two minutes, and tell
        /// whether any verdict was more than a weak sign
        #[arg(long, conflicts_with_all = ["no_root", "report"])]
        long: bool,
        /// Arguments of the test programs, such as a part of a test's name
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Format the code
    Fmt {
        /// Only say what is not formatted
        #[arg(long)]
        check: bool,
    },
    /// Check formatting, lints and dependencies
    Lint,
    /// Make the one static binary to carry to a node: target/dist/tracer
    Dist,
    /// Break a node made of network namespaces and run the tracer on it (`lab --list` shows how)
    #[command(disable_help_flag = true)]
    Lab {
        /// Scenario and options of the lab, then `--` and arguments of the tracer
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run the lab's scenarios under Debian's kernels in QEMU, and fail where the tracer says something else than it should
    Vm(vm::Options),
    /// Measure what the tracer costs, and fail where it costs more than was promised
    Bench {
        /// Measure only this part
        #[arg(long)]
        only: Option<bench::Part>,
        /// How what was measured is printed
        #[arg(long, value_enum, default_value_t = bench::Format::Text)]
        format: bench::Format,
    },
}

impl Command {
    /// The exit code where the command itself fails, such as on code that does not compile. Where 1 has a meaning of
    /// its own, a failure mode that was found or a bound that was missed, it is that of the tracer for what could not
    /// run.
    fn failure(&self) -> u8 {
        match self {
            Self::Run { .. } | Self::Lab { .. } | Self::Bench { .. } => 2,
            _ => 1,
        }
    }
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let failure = command.failure();
    let done = match command {
        Command::Setup { tests } => setup::main(tests),
        Command::Build { release: _, debug } => build::main(build::Profile::of(debug)),
        Command::Run { args } => run::main(&args),
        Command::Test { report: true, .. } => test::prove(&test::REPORT),
        Command::Test { long: true, .. } => test::prove(&test::LONG),
        Command::Test { no_root, args, .. } => test::main(no_root, &args),
        Command::Fmt { check } => lint::format(check).map(|()| 0),
        Command::Lint => lint::main(),
        Command::Dist => dist::main(),
        Command::Lab { args } => lab::main(&args),
        Command::Vm(options) => vm::main(&options),
        Command::Bench { only, format } => bench::main(only, format),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            process::note(format_args!("{error:#}"));
            ExitCode::from(failure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_run_found_nothing() {
        for (line, code) in [
            ("run -- diagnose", 2),
            ("lab healthy -- diagnose", 2),
            ("bench", 2),
            ("build", 1),
            ("test", 1),
        ] {
            let line = std::iter::once("xtask").chain(line.split(' '));
            assert_eq!(Cli::parse_from(line.clone()).command.failure(), code, "{line:?}");
        }
    }
}
