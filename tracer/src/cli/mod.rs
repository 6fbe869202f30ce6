//! The command line: one file per subcommand.

mod audit;
mod cost;
mod diagnose;
mod export;
mod live;
mod node;
mod output;
mod replay;
mod stop;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::filter::{Filter, FlowPattern};
use crate::node::systemd;
use crate::watch;

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
    /// Measure what the tracer's own BPF programs cost
    Cost(cost::Arguments),
}

/// What to watch.
#[derive(Args, Debug)]
struct WatchArgs {
    /// Device by which packets reach this node, beside those with a hardware parent; NETNS:DEV means that of one
    /// namespace (repeatable)
    #[arg(
        long,
        global = true,
        value_name = "[NETNS:]DEV",
        help_heading = "What to watch"
    )]
    uplink: Vec<String>,
    /// Network namespace to watch: a name of `ip netns`, a path, or `all` [default: the tracer's own]
    #[arg(
        long,
        global = true,
        value_name = "NAME|PATH|all",
        value_parser = namespace,
        help_heading = "What to watch"
    )]
    netns: Option<String>,
    /// Write all that is seen to a new pcapng file
    #[arg(long, global = true, value_name = "FILE", help_heading = "What to watch")]
    record: Option<PathBuf>,
    /// Examples (packet, stack, socket) a second of each reason and location (with 0 only its first one);
    /// counts are exact
    #[arg(
        long,
        global = true,
        value_name = "N",
        default_value_t = 10,
        help_heading = "What to watch"
    )]
    examples: u32,
    /// Leave a capability out, to see less for less cost (repeatable)
    #[arg(
        long,
        global = true,
        value_name = "CAPABILITY",
        help_heading = "What to watch"
    )]
    without: Vec<String>,
    /// The bus of another systemd than the node's: unix:path=… [default: DBUS_SYSTEM_BUS_ADDRESS, else
    /// /run/dbus/system_bus_socket, else systemd's own /run/systemd/private]
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = "What to watch")]
    systemd_bus: Option<systemd::Addresses>,
    /// The cgroup that is the root to that systemd, where it runs in a container: a path as /proc/PID/cgroup has it
    #[arg(long, global = true, value_name = "PATH", help_heading = "What to watch")]
    cgroup_root: Option<String>,
    /// The folder of that systemd's journal, for past runs of what its timers start [default: the node's own, for the
    /// node's systemd]
    #[arg(long, global = true, value_name = "DIR", help_heading = "What to watch")]
    journal: Option<PathBuf>,
    /// Print the BPF programs' own messages to standard error
    #[arg(long, global = true, help_heading = "What to watch")]
    verbose: bool,
}

impl WatchArgs {
    fn options(&self) -> watch::Options {
        watch::Options {
            netns: self.netns.clone(),
            uplinks: self.uplink.clone(),
            examples_per_second: self.examples,
            without: self.without.clone(),
            verbose: self.verbose,
            floor: false,
            systemd: systemd::Options {
                bus: self.systemd_bus.clone(),
                cgroup_root: self.cgroup_root.clone().unwrap_or_default(),
            },
            journal: self.journal.clone(),
        }
    }

    /// Refuses what needs the packets, where none are watched.
    fn refuse_packets(&self) -> Result<()> {
        let given = [
            ("--uplink", !self.uplink.is_empty()),
            ("--record", self.record.is_some()),
            ("--verbose", self.verbose),
        ];
        refuse(
            &given,
            "is for watching packets; leave it out here, where none are",
        )
    }

    /// Refuses what has no meaning where a recording is read.
    fn refuse_with_recording(&self) -> Result<()> {
        let given = [
            ("--netns", self.netns.is_some()),
            ("--uplink", !self.uplink.is_empty()),
            ("--record", self.record.is_some()),
            ("--without", !self.without.is_empty()),
            ("--systemd-bus", self.systemd_bus.is_some()),
            ("--cgroup-root", self.cgroup_root.is_some()),
            ("--journal", self.journal.is_some()),
            ("--verbose", self.verbose),
        ];
        refuse(
            &given,
            "is for watching this node; leave it out where a recording is read",
        )
    }
}

/// Refuses the first option that is given: it must not look as if it were done.
fn refuse(options: &[(&str, bool)], why: &str) -> Result<()> {
    match options.iter().find(|(_, given)| *given) {
        Some((option, _)) => bail!("{option} {why}"),
        None => Ok(()),
    }
}

/// What to show of it.
#[derive(Args, Debug)]
struct ShowArgs {
    /// Print a block of text a second; also where standard output is no terminal
    #[arg(long, global = true, help_heading = "What to show")]
    plain: bool,
    /// Draw with ASCII only
    #[arg(long, global = true, help_heading = "What to show")]
    ascii: bool,
    /// Show only flows of this process (everything is counted all the same)
    #[arg(long, global = true, value_name = "PID", help_heading = "What to show")]
    pid: Option<u32>,
    /// Show only flows of this systemd unit
    #[arg(long, global = true, value_name = "UNIT", help_heading = "What to show")]
    unit: Option<String>,
    /// Show only flows with this address, :port, or protocol at either end
    #[arg(long, global = true, value_name = "PATTERN", help_heading = "What to show")]
    flow: Option<FlowPattern>,
}

impl ShowArgs {
    /// Refuses to choose a face where there is but one.
    fn refuse_faces(&self) -> Result<()> {
        let given = [("--plain", self.plain), ("--ascii", self.ascii)];
        refuse(
            &given,
            "is for the live screen and `tracer replay`; leave it out here",
        )
    }

    /// Refuses to narrow what is always whole.
    fn refuse_filter(&self) -> Result<()> {
        let given = [
            ("--pid", self.pid.is_some()),
            ("--unit", self.unit.is_some()),
            ("--flow", self.flow.is_some()),
        ];
        refuse(
            &given,
            "narrows what is shown of flows; leave it out here, where none are",
        )
    }

    fn filter(&self) -> Filter {
        Filter {
            pid: self.pid,
            unit: self.unit.clone(),
            flow: self.flow.clone(),
        }
    }
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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
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

fn run(cli: &Cli) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _guard = runtime.enter();
    let code = runtime.block_on(async {
        match &cli.command {
            None => live::run(&cli.watch, &cli.show).await,
            Some(Command::Diagnose(arguments)) => {
                cli.show.refuse_faces()?;
                diagnose::run(&cli.watch, &cli.show, arguments).await
            }
            Some(Command::Node(arguments)) => {
                cli.watch.refuse_packets()?;
                cli.show.refuse_faces()?;
                cli.show.refuse_filter()?;
                node::run(&cli.watch, arguments).await
            }
            Some(Command::Audit(arguments)) => {
                cli.watch.refuse_packets()?;
                cli.show.refuse_faces()?;
                cli.show.refuse_filter()?;
                audit::run(&cli.watch, arguments).await
            }
            Some(Command::Replay(arguments)) => {
                cli.watch.refuse_with_recording()?;
                replay::run(&cli.show, arguments).await
            }
            Some(Command::Export(arguments)) => {
                cli.watch.refuse_with_recording()?;
                cli.show.refuse_faces()?;
                cli.show.refuse_filter()?;
                export::run(arguments)
            }
            Some(Command::Cost(arguments)) => {
                cli.show.refuse_faces()?;
                cli.show.refuse_filter()?;
                cost::run(&cli.watch, arguments).await
            }
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

/// A name or path that may be one of a network namespace.
fn namespace(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err(
            "no namespace has an empty name: write a name of `ip netns`, a path, or `all`".to_owned(),
        );
    }
    Ok(text.to_owned())
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
