//! Options of all subcommands, and which of them each does not use.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};

use super::output::say;
use crate::beacon;
use crate::filter::{Filter, FlowPattern};
use crate::node::systemd;
use crate::session::Session;
use crate::watch;

/// What to watch.
#[derive(Args, Debug)]
pub(super) struct WatchArgs {
    /// Device by which packets reach this node, beside those with a hardware parent; NETNS:DEV means that of one
    /// namespace (repeatable)
    #[arg(
        long,
        global = true,
        value_name = "[NETNS:]DEV",
        help_heading = "What to watch"
    )]
    pub(super) uplink: Vec<String>,
    /// Network namespace to watch: a name of `ip netns`, a path, or `all` [default: the tracer's own]
    #[arg(
        long,
        global = true,
        value_name = "NAME|PATH|all",
        value_parser = namespace,
        help_heading = "What to watch"
    )]
    pub(super) netns: Option<String>,
    /// Write all that is seen to a new pcapng file
    #[arg(long, global = true, value_name = "FILE", help_heading = "What to watch")]
    pub(super) record: Option<PathBuf>,
    /// Write a line to the kernel's log, standard error or a file when another verdict leads or none does any more; at
    /// most one in 10 s on an average
    #[arg(
        long,
        global = true,
        value_name = "kmsg|stderr|PATH",
        help_heading = "What to watch"
    )]
    pub(super) beacon: Option<beacon::Target>,
    /// Examples (packet, stack, socket) a second of each reason and location (with 0 only its first one);
    /// counts are exact
    #[arg(
        long,
        global = true,
        value_name = "N",
        default_value_t = 10,
        help_heading = "What to watch"
    )]
    pub(super) examples: u32,
    /// Leave a capability out, to see less for less cost (repeatable)
    #[arg(
        long,
        global = true,
        value_name = "CAPABILITY",
        help_heading = "What to watch"
    )]
    pub(super) without: Vec<String>,
    /// The bus of another systemd than the node's: unix:path=… [default: DBUS_SYSTEM_BUS_ADDRESS, else
    /// /run/dbus/system_bus_socket, else systemd's own /run/systemd/private]
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = "What to watch")]
    pub(super) systemd_bus: Option<systemd::Addresses>,
    /// The cgroup that is the root to that systemd, where it runs in a container: a path as /proc/PID/cgroup has it
    #[arg(long, global = true, value_name = "PATH", help_heading = "What to watch")]
    pub(super) cgroup_root: Option<String>,
    /// The folder of that systemd's journal, for past runs of what its timers start [default: the node's own, for the
    /// node's systemd]
    #[arg(long, global = true, value_name = "DIR", help_heading = "What to watch")]
    pub(super) journal: Option<PathBuf>,
    /// The root below which package managers keep their files, where it is not the node's own, as in a container
    #[arg(long, global = true, value_name = "DIR", value_parser = folder, help_heading = "What to watch")]
    pub(super) package_root: Option<PathBuf>,
    /// Print the BPF programs' own messages to standard error
    #[arg(long, global = true, help_heading = "What to watch")]
    pub(super) verbose: bool,
}

impl WatchArgs {
    /// Starts to watch, to record and to tell, as is asked for.
    pub(super) fn session(&self) -> Result<Session> {
        let mut session = Session::start(&self.options(), self.record.as_deref())?;
        if let Some(target) = &self.beacon {
            session.shine(target)?;
        }
        Ok(session)
    }

    pub(super) fn options(&self) -> watch::Options {
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
            package_root: self.package_root.clone(),
        }
    }
}

/// What to show of it.
#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// Print text, a block a second and at each new verdict; also where standard output is no terminal
    #[arg(long, global = true, help_heading = "What to show")]
    pub(super) plain: bool,
    /// Draw with ASCII only
    #[arg(long, global = true, help_heading = "What to show")]
    pub(super) ascii: bool,
    /// Show only flows of this process (everything is counted all the same)
    #[arg(long, global = true, value_name = "PID", help_heading = "What to show")]
    pub(super) pid: Option<u32>,
    /// Show only flows of this systemd unit
    #[arg(long, global = true, value_name = "UNIT", help_heading = "What to show")]
    pub(super) unit: Option<String>,
    /// Show only flows with this address, :port, or protocol at either end
    #[arg(long, global = true, value_name = "PATTERN", help_heading = "What to show")]
    pub(super) flow: Option<FlowPattern>,
}

impl ShowArgs {
    /// Says so where the process that is asked for is not there: its number may be mistyped.
    pub(super) fn look_for_process(&self) {
        if let Some(text) = self.missing_process() {
            say(&text);
        }
    }

    fn missing_process(&self) -> Option<String> {
        let pid = self.pid?;
        let is_there = Path::new("/proc").join(pid.to_string()).exists();
        (!is_there).then(|| {
            format!(
                "--pid {pid}: there is no process {pid} now; only flows of one that had this number are shown"
            )
        })
    }

    pub(super) fn filter(&self) -> Filter {
        Filter {
            pid: self.pid,
            unit: self.unit.clone(),
            flow: self.flow.clone(),
        }
    }
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

/// A folder that is there.
fn folder(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(path),
        Ok(_) => {
            Err("it is no folder: name the one that has `var/lib/dpkg` or `var/lib/rpm` in it".to_owned())
        }
        Err(error) => Err(format!(
            "{error}: name the folder that has `var/lib/dpkg` or `var/lib/rpm` in it"
        )),
    }
}

/// What only a face has.
const FACES: &[&str] = &["plain", "ascii"];
/// What narrows the flows that are shown.
const FILTER: &[&str] = &["pid", "unit", "flow"];
/// What is asked of the packets.
const PACKETS: &[&str] = &["uplink", "record", "examples", "verbose", BEACON];
/// What is told of verdicts.
const BEACON: &str = "beacon";
/// What is asked of the rest of the node, but for the bus of systemd.
const NODE: &[&str] = &["netns", "without", "cgroup_root", "journal", "package_root"];
/// The bus of systemd.
const BUS: &[&str] = &["systemd_bus"];

const NO_FACE: &str = "is for the live screen and `tracer replay`; leave it out here";
const NO_FLOWS: &str = "narrows what is shown of flows; leave it out here, where none are";
const NO_PACKETS: &str = "is for watching packets; leave it out here, where none are";
const NO_VERDICTS: &str = "tells verdicts; leave it out here, where none are given";
const NO_SOURCES: &str = "is for watching this node; leave it out here, where files are read";
const NO_NODE: &str = "is for watching this node; leave it out here, where nothing is watched";
const IMAGE: &str = "asks a systemd that runs; leave it out with --root, where files of an image are read";
const RECORDED: &str = "is for watching this node; leave it out where a recording is read";

/// Subcommands, options of all subcommands that it does not use, and why.
const UNUSED: [(&str, &[&str], &str); 24] = [
    ("diagnose", FACES, NO_FACE),
    ("node", PACKETS, NO_PACKETS),
    ("node", FACES, NO_FACE),
    ("node", FILTER, NO_FLOWS),
    ("audit", PACKETS, NO_PACKETS),
    ("audit", NODE, NO_SOURCES),
    ("audit", FACES, NO_FACE),
    ("audit", FILTER, NO_FLOWS),
    ("replay", PACKETS, RECORDED),
    ("replay", NODE, RECORDED),
    ("replay", BUS, RECORDED),
    ("export", PACKETS, RECORDED),
    ("export", NODE, RECORDED),
    ("export", BUS, RECORDED),
    ("export", FACES, NO_FACE),
    ("export", FILTER, NO_FLOWS),
    ("explain", PACKETS, NO_NODE),
    ("explain", NODE, NO_NODE),
    ("explain", BUS, NO_NODE),
    ("explain", FACES, NO_FACE),
    ("explain", FILTER, NO_FLOWS),
    ("cost", FACES, NO_FACE),
    ("cost", FILTER, NO_FLOWS),
    ("cost", &[BEACON], NO_VERDICTS),
];

/// Leaves options out of the help of subcommands that do not use them.
pub(super) fn hide_unused(mut command: Command) -> Command {
    let shared: Vec<clap::Arg> = command.get_arguments().cloned().collect();
    for (name, options, _) in UNUSED {
        let unused = shared
            .iter()
            .filter(|arg| options.contains(&arg.get_id().as_str()));
        let hidden: Vec<_> = unused.map(|arg| arg.clone().hide(true)).collect();
        command = command.mut_subcommand(name, |subcommand| subcommand.args(hidden));
    }
    command
}

/// Why the line is refused: it gives an option that would do nothing. It must not look as if it were done.
pub(super) fn unused(line: &ArgMatches) -> Option<String> {
    let (name, own) = line.subcommand()?;
    let reads_recording = name == "diagnose" && own.contains_id("trace");
    let reads_image = name == "audit"
        && own
            .get_one::<PathBuf>("root")
            .is_some_and(|root| root != Path::new("/"));
    let with_trace = [PACKETS, NODE, BUS].map(|options| ("diagnose", options, RECORDED));
    UNUSED
        .into_iter()
        .chain(with_trace.into_iter().filter(|_| reads_recording))
        .chain(reads_image.then_some(("audit", BUS, IMAGE)))
        .filter(|(subcommand, _, _)| *subcommand == name)
        .find_map(|(_, options, why)| {
            let given = options
                .iter()
                .find(|option| own.value_source(option) == Some(ValueSource::CommandLine))?;
            Some(format!("--{} {why}", given.replace('_', "-")))
        })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::{Cli, parse};
    use super::*;

    fn refusal(line: &str) -> Option<String> {
        parse(line.split(' ')).unwrap().err()
    }

    #[test]
    fn a_process_that_is_not_there_is_said_to_be_so() {
        let said = |pid: &Option<u32>| {
            let show = ShowArgs {
                plain: false,
                ascii: false,
                pid: *pid,
                unit: None,
                flow: None,
            };
            show.missing_process()
        };
        // The largest number of a process is 4,194,304.
        assert!(
            said(&Some(5_000_000)).is_some_and(|text| text.starts_with("--pid 5000000: there is no process"))
        );
        assert_eq!([Some(std::process::id()), None].iter().find_map(said), None);
    }

    #[test]
    fn a_package_root_that_is_no_folder_is_refused() {
        let refused = |root: &str| {
            let line = ["tracer", "node", "--package-root", root];
            parse(line).err().map(|error| error.to_string())
        };
        for root in ["/nonexistent", "/etc/passwd"] {
            let error = refused(root).unwrap();
            assert!(error.contains(root) && error.contains("var/lib/dpkg"), "{error}");
        }
        assert_eq!(refused("/"), None);
    }

    #[test]
    fn help_has_only_what_is_used() {
        let mut command = hide_unused(Cli::command());
        command.build();
        let mut help = |name: &str| {
            let own = command.find_subcommand_mut(name).unwrap();
            own.render_long_help().to_string()
        };
        let audit = help("audit");
        assert!(
            audit.contains("--systemd-bus") && audit.contains("--allow"),
            "{audit}"
        );
        for option in [
            "--record",
            "--netns",
            "--without",
            "--plain",
            "--flow",
            "--examples",
        ] {
            assert!(!audit.contains(option), "{option}: {audit}");
        }
        let node = help("node");
        assert!(node.contains("--netns") && !node.contains("--record"), "{node}");
        let diagnose = help("diagnose");
        assert!(
            diagnose.contains("--record") && diagnose.contains("--flow"),
            "{diagnose}"
        );
    }

    #[test]
    fn what_would_do_nothing_is_refused_before_and_after_the_subcommand() {
        for (line, why) in [
            ("tracer audit --netns x", "--netns is for watching this node"),
            ("tracer --plain audit", "--plain is for the live screen"),
            ("tracer node --examples 3", "--examples is for watching packets"),
            ("tracer --record f node", "--record is for watching packets"),
            ("tracer --flow :80 cost", "--flow narrows what is shown"),
            ("tracer cost --beacon kmsg", "--beacon tells verdicts"),
            ("tracer replay f --beacon stderr", "where a recording is read"),
            (
                "tracer diagnose --trace f --beacon b",
                "where a recording is read",
            ),
            ("tracer node --beacon kmsg", "--beacon is for watching packets"),
            ("tracer replay f --without chains", "where a recording is read"),
            (
                "tracer export f --systemd-bus unix:path=/run/bus",
                "--systemd-bus is for watching",
            ),
            (
                "tracer audit --root /etc --systemd-bus unix:path=/run/bus",
                "--systemd-bus asks a systemd that runs; leave it out with --root",
            ),
            (
                "tracer diagnose --trace f --uplink eth0",
                "where a recording is read",
            ),
        ] {
            let said = refusal(line).unwrap();
            assert!(said.contains(why), "{line}: {said}");
        }
        for line in [
            "tracer --plain --examples 3 --record f",
            "tracer node --netns x --without clock --systemd-bus unix:path=/run/bus",
            "tracer audit --systemd-bus unix:path=/run/bus",
            "tracer audit --root / --systemd-bus unix:path=/run/bus",
            "tracer diagnose --netns x --flow :80 --record f",
            "tracer diagnose --beacon kmsg",
            "tracer --beacon /run/verdicts",
            "tracer diagnose --trace f --flow :80",
            "tracer replay f --plain --flow :80",
        ] {
            assert_eq!(refusal(line), None, "{line}");
        }
    }
}
