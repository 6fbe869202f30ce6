//! Loading and attaching: each program is a capability of its own.

use std::io::{ErrorKind, Write as _};

use aya::programs::{BtfTracePoint, ProgramError};
use aya::{Btf as AyaBtf, Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use tracer_ebpf::{Config, Offsets};

use super::Error;
use super::btf::Btf;
use super::offsets::{self, Group, Missing};
use super::poll::Counters;
use super::skipped::Skipped;
use super::symbols::{Reasons, Symbols};
use crate::event::{Capability, CapabilityState, EntryKey};

#[cfg(bpf_object)]
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer-ebpf.bpf.o"));
#[cfg(not(bpf_object))]
static OBJECT: &[u8] = &[];

/// A BPF program, and what it gives.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name in the object.
    pub name: &'static str,
    /// The tracepoint that it is attached to.
    pub tracepoint: &'static str,
    /// The capability that it stands for.
    pub capability: &'static str,
    /// What is not seen without it.
    pub unseen: &'static str,
    needs: &'static [Group],
}

/// Every program of the tracer.
#[must_use]
pub fn programs() -> &'static [Program] {
    use Group::{Device, Packet, Segments, Socket, Task};
    macro_rules! program {
        ($name:literal, $tracepoint:literal, $capability:literal, $needs:expr, $unseen:literal) => {
            Program {
                name: $name,
                tracepoint: $tracepoint,
                capability: $capability,
                unseen: $unseen,
                needs: $needs,
            }
        };
    }
    const PROGRAMS: &[Program] = &[
        program!(
            "arrival",
            "netif_receive_skb",
            "arrivals",
            &[Packet, Device],
            "packets that arrive are not counted: the ledger does not balance"
        ),
        program!(
            "drop",
            "kfree_skb",
            "drops",
            &[Packet, Device, Socket],
            "drops are not seen: they stay unexplained"
        ),
        program!(
            "consumed",
            "consume_skb",
            "answers",
            &[Packet, Device, Socket],
            "packets that the kernel answers itself stay unexplained"
        ),
        program!(
            "matched",
            "tcp_probe",
            "matched",
            &[Packet, Socket, Segments],
            "TCP segments that reach their socket stay unexplained"
        ),
        program!(
            "state",
            "inet_sock_set_state",
            "connections",
            &[Socket, Segments],
            "connections that open and close are not seen; segments outside of established ones stay unexplained"
        ),
        program!(
            "queued",
            "sk_data_ready",
            "queued",
            &[Socket],
            "datagrams that wait in a receive queue stay unexplained until a process reads them"
        ),
        program!(
            "read",
            "skb_copy_datagram_iovec",
            "reads",
            &[Packet, Device, Socket, Task],
            "what processes read of TCP and ICMP is not seen"
        ),
        program!(
            "received",
            "sock_recv_length",
            "datagram-reads",
            &[Socket],
            "datagrams that wait in a receive queue cannot be told from those that were read"
        ),
        program!(
            "sent",
            "net_dev_start_xmit",
            "sent",
            &[Packet, Device],
            "packets that leave are not seen: replies cannot be told from requests, forwarded packets stay unexplained"
        ),
        program!(
            "retransmitted",
            "tcp_retransmit_skb",
            "retransmits",
            &[Socket],
            "retransmissions are not seen"
        ),
    ];
    PROGRAMS
}

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
    pub(super) sort: fn(&EntryKey) -> Option<Sort>,
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
        if OBJECT.is_empty() {
            return Err(Error::NoObject);
        }
        let btf = Btf::of_kernel()?;
        let aya_btf = AyaBtf::from_sys_fs().map_err(|cause| Error::Refused(chain(&cause)))?;
        let (offsets, missing) = offsets::resolve(&btf);
        let queue_is_told = btf.tracepoint_arguments("sk_data_ready").is_some()
            && !options.without.iter().any(|name| name == "queued");
        let config = Config {
            netns: options.netns.unwrap_or(0),
            examples_per_second: options.examples_per_second,
            verbose: u32::from(options.verbose),
            count_reads: u32::from(!queue_is_told),
            seed: random()?,
        };
        let mut ebpf = load(&offsets, &config, &aya_btf)?;

        // Loading takes a hundred times as long as attaching. All programs are loaded first, and attached at
        // once, arrivals last: so that no packet is seen to arrive whose end nobody would see. What was
        // counted by then is forgotten: ends whose arrival nobody saw.
        let mut outcomes: Vec<(&Program, Option<Failure>)> = Vec::new();
        for program in programs() {
            let why = if options.without.iter().any(|name| name == program.capability) {
                Some(Failure::Asked)
            } else {
                load_program(&mut ebpf, program, &btf, &aya_btf, &missing).err()
            };
            outcomes.push((program, why));
        }
        for (program, why) in outcomes.iter_mut().rev().filter(|(_, why)| why.is_none()) {
            *why = attach_program(&mut ebpf, program).err();
        }
        let attached: Vec<_> = outcomes
            .iter()
            .filter(|(_, why)| why.is_none())
            .map(|(program, _)| program.name)
            .collect();
        if !attached.contains(&"arrival") && !attached.contains(&"drop") {
            return Err(nothing(outcomes));
        }
        let mut capabilities: Vec<_> = outcomes
            .into_iter()
            .map(|(program, why)| Capability {
                name: program.capability.to_owned(),
                state: if why.is_none() {
                    CapabilityState::Available
                } else {
                    CapabilityState::Unavailable
                },
                why: why.map_or_else(String::new, |why| format!("{why}; {}", program.unseen)),
            })
            .collect();
        capabilities.push(Symbols::capability());
        let mut counters = Counters::take(&mut ebpf, config.seed)?;
        counters.forget()?;
        counters.watch(Skipped::of(&ebpf, &attached));
        if options.floor {
            let floor = Program {
                name: "floor",
                ..programs()[0]
            };
            load_program(&mut ebpf, &floor, &btf, &aya_btf, &missing)
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
            symbols: Symbols::default(),
            reasons: Reasons::of(&btf),
            sort: options.sort,
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

fn load(offsets: &Offsets, config: &Config, btf: &AyaBtf) -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        .override_global("OFFSETS", offsets, true)
        .override_global("CONFIG", config, true);
    loader.load(OBJECT).map_err(|cause| Error::Refused(chain(&cause)))
}

/// A number that nobody outside can guess.
fn random() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|cause| Error::Random(cause.into()))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Why neither arrivals nor drops are seen: what is in the way of one of them, rather than what was asked for.
fn nothing(outcomes: Vec<(&Program, Option<Failure>)>) -> Error {
    let needed = outcomes
        .into_iter()
        .filter(|(program, _)| matches!(program.name, "arrival" | "drop"));
    let mut why: Vec<Failure> = needed.filter_map(|(_, why)| why).collect();
    why.sort_by_key(|why| matches!(why, Failure::Asked));
    why.into_iter().next().map_or(Error::LeftOut, Error::from)
}

/// Why a program is not attached.
#[derive(Debug)]
enum Failure {
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
    fn of(program: &Program, cause: &ProgramError) -> Self {
        let why = format!("tracepoint {} refused: {}", program.tracepoint, chain(cause));
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

fn load_program(
    ebpf: &mut Ebpf,
    program: &Program,
    btf: &Btf,
    aya_btf: &AyaBtf,
    missing: &Missing,
) -> Result<(), Failure> {
    if btf.tracepoint_arguments(program.tracepoint).is_none() {
        return Err(Failure::Lack(format!(
            "this kernel has no tracepoint {}",
            program.tracepoint
        )));
    }
    if let Some((_, member)) = missing.iter().find(|(group, _)| program.needs.contains(group)) {
        return Err(Failure::Lack(format!("this kernel has no {member}")));
    }
    tracepoint(ebpf, program)?
        .load(program.tracepoint, aya_btf)
        .map_err(|cause| Failure::of(program, &cause))
}

fn attach_program(ebpf: &mut Ebpf, program: &Program) -> Result<(), Failure> {
    match tracepoint(ebpf, program)?.attach() {
        // The link is kept in the program, and lives as long as it.
        Ok(_link) => Ok(()),
        Err(cause) => Err(Failure::of(program, &cause)),
    }
}

fn tracepoint<'a>(ebpf: &'a mut Ebpf, program: &Program) -> Result<&'a mut BtfTracePoint, Failure> {
    ebpf.program_mut(program.name)
        .ok_or_else(|| Failure::Lack(format!("the BPF object has no program {}", program.name)))?
        .try_into()
        .map_err(|cause: ProgramError| Failure::of(program, &cause))
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

    use super::{Failure, nothing, programs};
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
