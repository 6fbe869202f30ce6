//! What is attached: each program is a capability of its own.

use std::io::Write as _;
use std::thread;

use aya::Ebpf;
use aya_log::EbpfLogger;
use tracer_ebpf::{ABSENT, Config, datagrams};

use super::Error;
use super::ended::EndedProcesses;
use super::gate::Gate;
use super::load::{FLOOR, Failure, Kernel, Outcomes, Stop, attach_program};
use super::poll::Counters;
use super::programs::{FUNCTIONS, Program, QUEUED, programs};
use super::skipped::Skipped;
use super::standing;
use super::symbols::{PLACES, Reasons, Symbols};
use crate::event::{Capability, CapabilityState, EntryKey};

/// The one namespace to count in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Only {
    /// Its inode.
    pub inode: u32,
    /// What tells it from a later one with its inode, see [`crate::event::Namespace::cookie`]; 0 where that cannot be, or
    /// the kernel does not tell: then what happens in such a one is counted too.
    pub cookie: u64,
}

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// The one namespace to count in, `None` for all.
    pub netns: Option<Only>,
    /// Examples a second that each (reason, location) may send.
    pub examples_per_second: u32,
    /// Let the programs tell what they do.
    pub verbose: bool,
    /// Capabilities to leave out.
    pub without: Vec<String>,
    /// Also attach the empty program that measures what the kernel itself takes.
    pub floor: bool,
    /// What the names in a line of the books say of the place where its packets ended.
    pub sort: fn(&EntryKey) -> Option<Sort>,
}

/// What the programs must know of a place in the kernel to count for flows what ends there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Packets are dropped here before the kernel enters them as arrived.
    BeforeArrival,
    /// What is consumed here was taken away by somebody else.
    Taken,
}

/// The attached programs. When it is dropped nothing stays attached; when the process is killed the
/// kernel sees to the same.
pub struct Probe {
    pub(super) counters: Counters,
    pub(super) symbols: Symbols,
    pub(super) reasons: Reasons,
    gate: Gate,
    pub(super) sort: fn(&EntryKey) -> Option<Sort>,
    ended: Option<EndedProcesses>,
    capabilities: Vec<Capability>,
    logger: Option<EbpfLogger<StderrLog>>,
    ebpf: Ebpf,
}

impl Probe {
    /// Loads and attaches.
    ///
    /// # Errors
    ///
    /// Where nothing could be seen at all: no BTF, BPF refused, neither arrivals nor drops. A program
    /// that cannot be attached is only a capability that is off.
    pub fn attach(options: &Options) -> Result<Self, Error> {
        let left_out = |capability: &str| options.without.iter().any(|name| name == capability);
        let symbols = if left_out(PLACES) {
            Symbols::left_out
        } else {
            Symbols::of_kernel
        };
        // Beside the verifier, which takes longer.
        let reading = thread::spawn(symbols);
        let kernel = Kernel::running()?;
        let mut config = Config {
            netns: options.netns.map_or(0, |only| only.inode),
            netns_cookie: options.netns.map_or(0, |only| only.cookie),
            examples_per_second: options.examples_per_second,
            verbose: u32::from(options.verbose),
            datagrams: datagrams::WHEN_QUEUED,
            count_reads: u32::from(!kernel.has("sock_recv_length")),
            loads_packets: 0,
            seed: random()?,
        };
        if kernel.offsets.net_cookie == ABSENT {
            config.netns_cookie = 0;
        }
        config.loads_packets = u32::from(kernel.loads_packets(&config)?);
        let attached = if left_out(FUNCTIONS) || left_out(QUEUED) {
            Err(Stop::Functions(Failure::Asked))
        } else {
            kernel.attach(&config, &left_out, None)
        };
        let attached = match attached {
            Err(Stop::Functions(why)) => {
                if kernel.has("sk_data_ready") && !left_out(QUEUED) {
                    config.datagrams = datagrams::WHEN_READY;
                } else {
                    (config.datagrams, config.count_reads) = (datagrams::WHEN_READ, 1);
                }
                kernel.attach(&config, &left_out, Some(&why))
            }
            attached => attached,
        };
        let (mut ebpf, outcomes) = attached?;
        let attached: Vec<_> = outcomes
            .iter()
            .filter(|(_, why)| why.is_none())
            .map(|(program, _)| program.name)
            .collect();
        if !attached.contains(&"arrival") && !attached.contains(&"drop") {
            return Err(nothing(outcomes));
        }
        let mut capabilities = capabilities(&outcomes);
        let (symbols, places) = reading.join().unwrap_or_else(|_| symbols());
        capabilities.push(places);
        let mut counters = Counters::take(&mut ebpf, config.seed)?;
        standing::enter(
            &mut counters.unresolved,
            &mut capabilities,
            (&kernel.btf, &kernel.offsets),
            &mut ebpf,
            options.netns.map(|only| only.inode),
        );
        // At once: what comes between is not in the books, and will be seen to leave; what leaves between is not seen to.
        let mut gate = Gate::of(&mut ebpf)?;
        gate.open()?;
        counters.watch(Skipped::of(&ebpf, &attached));
        if options.floor {
            let floor = Program {
                name: FLOOR,
                ..programs()[0]
            };
            kernel
                .load_program(&mut ebpf, &floor)
                .and_then(|()| attach_program(&mut ebpf, &floor))
                .map_err(Error::from)?;
        }
        let logger = if options.verbose {
            EbpfLogger::init_with_logger(&mut ebpf, StderrLog).ok()
        } else {
            None
        };
        Ok(Self {
            counters,
            gate,
            symbols,
            reasons: Reasons::of(&kernel.btf),
            sort: options.sort,
            ended: Some(EndedProcesses::take(&mut ebpf)?).filter(|_| attached.contains(&"ended")),
            capabilities,
            logger,
            ebpf,
        })
    }

    /// What can be seen, and what cannot and why.
    #[must_use]
    pub fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// What is remembered of processes that have ended; for one to take. `None` where nothing is.
    pub fn take_ended(&mut self) -> Option<EndedProcesses> {
        self.ended.take()
    }

    /// Lets the programs count no more, so that what is read next is of one moment.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses it.
    pub fn close(&mut self) -> Result<(), Error> {
        self.gate.close()
    }

    /// Prints what the programs have to tell (aya-log), where `verbose` was asked for.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    pub(super) fn ebpf(&self) -> &Ebpf {
        &self.ebpf
    }
}

/// What can be seen, by what came of each program. A capability of several needs all of them.
fn capabilities(outcomes: &[(&Program, Option<Failure>)]) -> Vec<Capability> {
    let failure = |capability: &str| {
        let mut parts = outcomes
            .iter()
            .filter(|(program, _)| program.capability == capability);
        parts.find_map(|(_, why)| why.as_ref())
    };
    let mut all: Vec<Capability> = Vec::new();
    for (program, _) in outcomes {
        if all.iter().any(|known| known.name == program.capability) {
            continue;
        }
        let given = |instead: &&str| failure(instead).is_none();
        let why = failure(program.capability).filter(|why| {
            let is_lack = matches!(why, Failure::Lack(_));
            !is_lack || program.instead.is_empty() || !program.instead.iter().all(given)
        });
        all.push(Capability {
            name: program.capability.to_owned(),
            state: if why.is_none() {
                CapabilityState::Available
            } else {
                CapabilityState::Unavailable
            },
            why: why.map_or_else(String::new, |why| format!("{why}; {}", program.unseen)),
        });
    }
    all
}

/// A number that nobody outside can guess.
fn random() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|cause| Error::Random(cause.into()))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Why neither arrivals nor drops are seen: what is in the way of one of them, rather than what was asked for.
fn nothing(outcomes: Outcomes) -> Error {
    let needed = outcomes
        .into_iter()
        .filter(|(program, _)| matches!(program.name, "arrival" | "drop"));
    let mut why: Vec<Failure> = needed.filter_map(|(_, why)| why).collect();
    why.sort_by_key(|why| matches!(why, Failure::Asked));
    why.into_iter().next().map_or(Error::LeftOut, Error::from)
}

/// Where the programs' own messages go.
struct StderrLog;

impl log::Log for StderrLog {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let _ = writeln!(
            std::io::stderr(),
            "tracer: bpf: {}: {}",
            record.level().as_str().to_lowercase(),
            record.args()
        );
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::{Failure, Program, capabilities, nothing, programs};
    use crate::event::CapabilityState;

    #[test]
    fn what_others_give_instead_is_available() {
        let lack = || Some(Failure::Lack("this kernel has no tracepoint".to_owned()));
        let refused = || Some(Failure::Refused("not permitted".to_owned()));
        let off = |failure: &dyn Fn(&Program) -> Option<Failure>| {
            let outcomes: Vec<_> = programs()
                .iter()
                .map(|program| (program, failure(program)))
                .collect();
            let all = capabilities(&outcomes).into_iter();
            all.filter(|capability| capability.state != CapabilityState::Available)
                .map(|capability| capability.name)
                .collect::<Vec<_>>()
        };
        let is_new = |program: &Program| matches!(program.name, "queued" | "received");
        assert!(off(&|_| None).is_empty());
        assert!(off(&|program| is_new(program).then(lack).flatten()).is_empty());
        // One of several programs is missing, and with it what would be given by it.
        let fails = |program: &Program| match program.name {
            "udp_enqueued" => refused(),
            _ if is_new(program) => lack(),
            _ => None,
        };
        assert_eq!(off(&fails), ["queued", "datagram-reads", "functions"]);
        // Only the functions are an answer to a lack, and only to a lack.
        assert_eq!(
            off(&|program| is_new(program).then(refused).flatten()),
            ["queued", "datagram-reads"]
        );
        let answers = |program: &Program| match program.name {
            "consumed" => Some(Failure::Asked),
            _ if is_new(program) => lack(),
            _ => None,
        };
        assert_eq!(off(&answers), ["answers", "datagram-reads"]);
    }

    #[test]
    fn what_was_left_out_is_not_blamed_on_the_kernel() {
        let told = |mut arrivals: Option<Failure>, mut drops: Option<Failure>| {
            let mut failure = |name| match name {
                "arrival" => arrivals.take(),
                "drop" => drops.take(),
                _ => Some(Failure::Refused("of no account".to_owned())),
            };
            let outcomes = programs().iter().map(|program| (program, failure(program.name)));
            nothing(outcomes.collect()).to_string()
        };
        let refused = || Some(Failure::Refused("not permitted".to_owned()));
        let asked = || Some(Failure::Asked);
        assert!(told(asked(), asked()).starts_with("arrivals and drops are both left out"));
        for text in [told(asked(), refused()), told(refused(), asked())] {
            assert!(text.contains("could be attached: not permitted"), "{text}");
        }
    }
}
