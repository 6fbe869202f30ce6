//! Loading and attaching: each program is a capability of its own.

use std::io::{ErrorKind, Write as _};
use std::thread;

use aya::programs::ProgramError;
use aya::{Btf as AyaBtf, Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use tracer_ebpf::{Config, Offsets, datagrams};

use super::Error;
use super::btf::Btf;
use super::ended::EndedProcesses;
use super::gate::Gate;
use super::hook::Hook;
use super::offsets::{self, Missing};
use super::poll::Counters;
use super::programs::{FUNCTIONS, Program, QUEUED, programs};
use super::skipped::Skipped;
use super::standing;
use super::symbols::{PLACES, Reasons, Symbols};
use crate::event::{Capability, CapabilityState, EntryKey};

#[cfg(bpf_object)]
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer-ebpf.bpf.o"));
#[cfg(not(bpf_object))]
static OBJECT: &[u8] = &[];

/// The empty program: what the kernel itself takes to run one.
pub(super) const FLOOR: &str = "floor";

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Inode of the one namespace to count in, `None` for all.
    pub netns: Option<u32>,
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
        // Beside the verifier, which keeps one processor busy for longer.
        let reading = thread::spawn(symbols);
        let kernel = Kernel::running()?;
        let mut config = Config {
            netns: options.netns.unwrap_or(0),
            examples_per_second: options.examples_per_second,
            verbose: u32::from(options.verbose),
            datagrams: datagrams::WHEN_QUEUED,
            count_reads: u32::from(!kernel.has("sock_recv_length")),
            loads_packets: 0,
            seed: random()?,
        };
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
            options.netns,
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

/// What came of each program, in the order of [`programs`]: why it is not attached, if it is not.
type Outcomes = Vec<(&'static Program, Option<Failure>)>;

/// Why programs are not attached as they were to be.
enum Stop {
    /// Functions cannot be observed.
    Functions(Failure),
    /// Nothing can.
    All(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::All(error)
    }
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Functions(why) => why.into(),
            Stop::All(error) => error,
        }
    }
}

/// The running kernel, as its types tell.
pub(super) struct Kernel {
    btf: Btf,
    aya_btf: AyaBtf,
    offsets: Offsets,
    missing: Missing,
}

impl Kernel {
    /// Reads its types.
    ///
    /// # Errors
    ///
    /// Where it tells none, or there is nothing to load into it.
    pub(super) fn running() -> Result<Self, Error> {
        if OBJECT.is_empty() {
            return Err(Error::NoObject);
        }
        let btf = Btf::of_kernel()?;
        let aya_btf = AyaBtf::from_sys_fs().map_err(|cause| Error::Refused(chain(&cause)))?;
        let (offsets, missing) = offsets::resolve(&btf);
        Ok(Self {
            btf,
            aya_btf,
            offsets,
            missing,
        })
    }

    /// As aya reads them.
    pub(super) fn types(&self) -> &AyaBtf {
        &self.aya_btf
    }

    /// There is such a tracepoint.
    fn has(&self, tracepoint: &'static str) -> bool {
        Hook::Tracepoint(tracepoint).is_in(&self.btf)
    }

    /// What the kernel lacks of what a program needs.
    pub(super) fn lacks(&self, program: &Program) -> Option<Failure> {
        if !program.hook.is_in(&self.btf) {
            return Some(Failure::Lack(format!("this kernel has no {}", program.hook)));
        }
        let mut missing = self.missing.iter();
        let (_, member) = missing.find(|(group, _)| program.needs.contains(group))?;
        Some(Failure::Lack(format!("this kernel has no {member}")))
    }

    /// Makes the maps. The programs are loaded one by one.
    fn load(&self, config: &Config) -> Result<Ebpf, Error> {
        self.load_by(&mut EbpfLoader::new(), config)
    }

    fn load_by<'a>(&'a self, loader: &mut EbpfLoader<'a>, config: &'a Config) -> Result<Ebpf, Error> {
        loader
            .btf(Some(&self.aya_btf))
            .override_global("OFFSETS", &self.offsets, true)
            .override_global("CONFIG", config, true)
            .load(OBJECT)
            .map_err(|cause| Error::Refused(chain(&cause)))
    }

    /// This kernel lets programs load a packet's bytes without a helper: it takes one that does.
    fn loads_packets(&self, config: &Config) -> Result<bool, Error> {
        let peek = Program {
            name: "peek",
            ..programs()[0]
        };
        let mut ebpf = self.load_small(config)?;
        Ok(self.load_program(&mut ebpf, &peek).is_ok())
    }

    /// Makes the maps for programs that count nothing: the large ones have one entry.
    pub(super) fn load_small(&self, config: &Config) -> Result<Ebpf, Error> {
        let mut loader = EbpfLoader::new();
        for map in ["FLOWS", "BOOKS", "REST"] {
            loader.map_max_entries(map, 1);
        }
        self.load_by(&mut loader, config)
    }

    /// Makes the maps, and loads and attaches the programs. `no_functions` says why functions are not observed, if
    /// they are not; else, where one of them cannot be, nothing stays attached.
    ///
    /// Loading takes a hundred times as long as attaching. All programs are loaded first, and attached at once,
    /// arrivals last: so that no packet is seen to arrive whose end nobody would see. Functions come first in
    /// both: if they are refused, little was done in vain.
    fn attach(
        &self,
        config: &Config,
        left_out: &dyn Fn(&str) -> bool,
        no_functions: Option<&Failure>,
    ) -> Result<(Ebpf, Outcomes), Stop> {
        let stops = |program: &Program| program.capability == FUNCTIONS && no_functions.is_none();
        let mut ebpf = self.load(config)?;
        let mut outcomes = Outcomes::new();
        for program in programs().iter().rev() {
            let why = match no_functions {
                Some(why) if program.capability == FUNCTIONS => Some(why.clone()),
                _ if left_out(program.capability) => Some(Failure::Asked),
                _ => self.load_program(&mut ebpf, program).err(),
            };
            match why {
                Some(why) if stops(program) => return Err(Stop::Functions(why)),
                why => outcomes.push((program, why)),
            }
        }
        for (program, why) in outcomes.iter_mut().filter(|(_, why)| why.is_none()) {
            *why = attach_program(&mut ebpf, program).err();
            match why {
                Some(why) if stops(program) => return Err(Stop::Functions(why.clone())),
                _ => {}
            }
        }
        outcomes.reverse();
        Ok((ebpf, outcomes))
    }

    fn load_program(&self, ebpf: &mut Ebpf, program: &Program) -> Result<(), Failure> {
        if let Some(lack) = self.lacks(program) {
            return Err(lack);
        }
        program
            .hook
            .load(find(ebpf, program)?, &self.aya_btf)
            .map_err(|cause| Failure::of(program, &cause))
    }
}

fn attach_program(ebpf: &mut Ebpf, program: &Program) -> Result<(), Failure> {
    program
        .hook
        .attach(find(ebpf, program)?)
        .map_err(|cause| Failure::of(program, &cause))
}

pub(super) fn find<'a>(
    ebpf: &'a mut Ebpf,
    program: &Program,
) -> Result<&'a mut aya::programs::Program, Failure> {
    ebpf.program_mut(program.name)
        .ok_or_else(|| Failure::Lack(format!("the BPF object has no program {}", program.name)))
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

/// Why a program is not attached.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The user left it out.
    Asked,
    /// This kernel, or who started the tracer, does not have what it needs.
    Lack(String),
    /// The kernel's verifier does not take it.
    Unfit(String),
    /// The kernel does not allow it.
    Refused(String),
}

impl Failure {
    pub(super) fn of(program: &Program, cause: &ProgramError) -> Self {
        let why = format!("{} refused: {}", program.hook, chain(cause));
        match cause {
            ProgramError::LoadError { io_error, .. } => Self::at_load(why, io_error.kind()),
            _ => Self::Refused(why),
        }
    }

    /// An instruction or a helper that the verifier does not know is an invalid argument to it; what is not
    /// allowed is `EPERM` or `EACCES`.
    fn at_load(why: String, kind: ErrorKind) -> Self {
        if kind == ErrorKind::InvalidInput {
            Self::Unfit(why)
        } else {
            Self::Refused(why)
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Asked => f.write_str("left out as asked"),
            Self::Lack(why) | Self::Unfit(why) | Self::Refused(why) => f.write_str(why),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Asked => Self::LeftOut,
            Failure::Lack(why) | Failure::Unfit(why) => Self::Unfit(why),
            Failure::Refused(why) => Self::NothingAttached(why),
        }
    }
}

/// An error with its causes in one line. The verifier's log is long: only its last line is kept.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let said = error.to_string();
        let said = said
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default()
            .trim_end()
            .trim_end_matches(". Verifier output:")
            .to_owned();
        if !text.contains(&said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&said);
        }
        next = error.source();
    }
    text
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
    use std::io;

    use super::{Failure, Program, capabilities, nothing, programs};
    use crate::event::CapabilityState;
    use crate::probe::Error;

    fn told(errno: i32) -> String {
        let kind = io::Error::from_raw_os_error(errno).kind();
        Error::from(Failure::at_load("refused".to_owned(), kind)).to_string()
    }

    #[test]
    fn a_kernel_that_is_too_old_is_told_from_one_that_does_not_allow() {
        // EINVAL is what Linux 5.10 says, which has no BPF_CMPXCHG.
        assert_eq!(
            told(22),
            "this kernel cannot run the BPF programs: refused; they need Linux 5.12 or newer, with BTF"
        );
        for errno in [1, 13] {
            assert!(told(errno).ends_with("run as root, on a machine whose policy allows BPF"));
        }
    }

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
