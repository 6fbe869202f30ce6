//! The command line: one file per subcommand.

mod audit;
mod blocks;
mod cost;
mod diagnose;
mod explain;
mod export;
mod live;
mod node;
mod options;
mod output;
mod replay;
mod stop;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use options::{ShowArgs, WatchArgs};

/// Exit code: a failure mode was found.
const FAILURE_FOUND: u8 = 1;
/// What is asked to last longer than a year is a slip.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// Exit code: the tracer could not do what was asked, or cannot tell.
const COULD_NOT_RUN: u8 = 2;

/// Shows packets that reach this node and never reach a socket, and says why.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, args_conflicts_with_subcommands = false)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch for a while, print what was found, and exit: 0 healthy, 1 a failure mode found, 2 could not run,
    /// or could not tell
    Diagnose(diagnose::Arguments),
    /// Print how the node stands beside its packets: units, timers, packages, network configuration; needs no BPF
    Node(node::Arguments),
    /// List what can change this node while nobody looks, by its files: 0 nothing, 1 something, 2 could not run
    Audit(audit::Arguments),
    /// Show a recording again
    Replay(replay::Arguments),
    /// Copy a recording out in a form that other tools take
    Export(export::Arguments),
    /// Say what a verdict means, how to check it and how to mend it
    Explain(explain::Arguments),
    /// Measure what the tracer's own BPF programs cost
    Cost(cost::Arguments),
}

/// A form of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Runs the command line. Never panics on input; every error is one line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match parse(std::env::args_os()) {
        Ok(Ok(cli)) => cli,
        Ok(Err(refusal)) => {
            output::say(&refusal);
            return ExitCode::from(COULD_NOT_RUN);
        }
        Err(error) => {
            // Help and version are no errors to the parser's user.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { COULD_NOT_RUN } else { 0 });
        }
    };
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            output::say(&output::one_line(error.as_ref()));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

/// The command line; or why it is refused though it is well-formed.
fn parse<T: Into<OsString> + Clone>(
    line: impl IntoIterator<Item = T>,
) -> Result<Result<Cli, String>, clap::Error> {
    let matches = options::hide_unused(Cli::command()).try_get_matches_from(line)?;
    if let Some(refusal) = options::unused(&matches) {
        return Ok(Err(refusal));
    }
    Cli::from_arg_matches(&matches).map(Ok)
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _guard = runtime.enter();
    let code = runtime.block_on(async {
        match &cli.command {
            None => live::run(&cli.watch, &cli.show).await,
            Some(Command::Diagnose(arguments)) => diagnose::run(&cli.watch, &cli.show, arguments).await,
            Some(Command::Node(arguments)) => node::run(&cli.watch, arguments).await,
            Some(Command::Audit(arguments)) => audit::run(&cli.watch, arguments).await,
            Some(Command::Replay(arguments)) => replay::run(&cli.show, arguments).await,
            Some(Command::Export(arguments)) => export::run(arguments),
            Some(Command::Explain(arguments)) => explain::run(arguments).await,
            Some(Command::Cost(arguments)) => cost::run(&cli.watch, arguments).await,
        }
    });
    runtime.shutdown_background();
    code
}

/// `10s`, `500ms`, `2m`, or seconds without a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let wrong = || format!("{text:?} is no duration: write 10s, 500ms or 2m");
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<f64>().map_err(|_| wrong())? * factor;
    // Rounded to nanoseconds first: what is left of it must not be nothing.
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero() && *duration <= LONGEST)
        .ok_or_else(|| format!("{text:?}: a duration is longer than 0 and shorter than a year"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_bus_of_systemd_is_a_unix_socket() {
        let parse = |address: &str| Cli::try_parse_from(["tracer", "--systemd-bus", address]);
        let cli = parse("unix:path=/run/bus").unwrap();
        let bus = cli.watch.options().systemd.bus.unwrap();
        assert_eq!(bus.to_string(), "/run/bus");
        let error = parse("tcp:host=localhost,port=1").unwrap_err().to_string();
        assert!(error.contains("only Unix sockets are taken"), "{error}");
    }

    #[test]
    fn durations() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        let endless = "9".repeat(400);
        for wrong in [
            endless.as_str(),
            "",
            "s",
            ".",
            "1..2",
            "-1s",
            "0",
            "0.0",
            "10 apples",
            "1e300s",
            "1e99h",
            "nan",
            "inf",
            "9000h",
            "0.0000000001s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_reason() {
        let refused = |line: [&str; 4]| Cli::try_parse_from(line).unwrap_err().to_string();
        let negative = refused(["tracer", "diagnose", "--for", "-3s"]);
        assert!(negative.contains("\"-3s\" is no duration"), "{negative}");
        let missing = refused(["tracer", "diagnose", "--for", "--plain"]);
        assert!(missing.contains("is no duration"), "{missing}");
        let nameless = refused(["tracer", "--netns", "", "diagnose"]);
        assert!(nameless.contains("empty name"), "{nameless}");
    }

    #[test]
    fn global_options_stand_before_or_after_the_subcommand() {
        for line in [
            "tracer --netns x --uplink eth0 diagnose --for 5s",
            "tracer diagnose --for 5s --netns x --uplink eth0",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.watch.netns.as_deref(), Some("x"));
            assert_eq!(cli.watch.uplink, ["eth0"]);
        }
    }
}
