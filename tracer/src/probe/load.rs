//! The running kernel, and the programs that are loaded into it.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::{Mutex, PoisonError};
use std::thread;

use aya::programs::ProgramError;
use aya::{Btf as AyaBtf, Ebpf, EbpfLoader};
use tracer_ebpf::{Config, Offsets};

use super::Error;
use super::btf::Btf;
use super::hook::Hook;
use super::offsets::{self, Missing};
use super::programs::{FUNCTIONS, Program, programs};

#[cfg(bpf_object)]
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer-ebpf.bpf.o"));
#[cfg(not(bpf_object))]
static OBJECT: &[u8] = &[];

/// The empty program: what the kernel itself takes to run one.
pub(super) const FLOOR: &str = "floor";

/// So many programs the kernel verifies at a time, each on a processor of its own: it has no lock for those who may load
/// any (`bpf_check`, kernel/bpf/verifier.c). `drop` alone takes as long as all others.
const AT_ONCE: usize = 2;

/// What came of each program, in the order of [`programs`]: why it is not attached, if it is not.
pub(super) type Outcomes = Vec<(&'static Program, Option<Failure>)>;

/// Why programs are not attached as they were to be.
pub(super) enum Stop {
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
    pub(super) btf: Btf,
    aya_btf: AyaBtf,
    pub(super) offsets: Offsets,
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
    pub(super) fn has(&self, tracepoint: &'static str) -> bool {
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
    pub(super) fn loads_packets(&self, config: &Config) -> Result<bool, Error> {
        let peek = Program {
            name: "peek",
            ..programs()[0]
        };
        let mut ebpf = self.load_small(config)?;
        Ok(self.load_program(&mut ebpf, &peek).is_ok())
    }

    /// Makes the maps for programs that count nothing: the large ones have one entry, and that of the events one page.
    pub(super) fn load_small(&self, config: &Config) -> Result<Ebpf, Error> {
        let mut loader = EbpfLoader::new();
        for map in ["FLOWS", "BOOKS", "REST", "EVENTS"] {
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
    pub(super) fn attach(
        &self,
        config: &Config,
        left_out: &dyn Fn(&str) -> bool,
        no_functions: Option<&Failure>,
    ) -> Result<(Ebpf, Outcomes), Stop> {
        let is_function = |program: &Program| program.capability == FUNCTIONS;
        let (functions, others): (Vec<_>, Vec<_>) =
            programs().iter().rev().partition(|program| is_function(program));
        let mut ebpf = self.load(config)?;
        let mut outcomes: Outcomes = match no_functions {
            Some(why) => functions
                .into_iter()
                .map(|program| (program, Some(why.clone())))
                .collect(),
            None => self.load_programs(&mut ebpf, functions, left_out),
        };
        if no_functions.is_none()
            && let Some(why) = outcomes.iter().find_map(|(_, why)| why.as_ref())
        {
            return Err(Stop::Functions(why.clone()));
        }
        outcomes.extend(self.load_programs(&mut ebpf, others, left_out));
        for (program, why) in outcomes.iter_mut().filter(|(_, why)| why.is_none()) {
            *why = attach_program(&mut ebpf, program).err();
            if let Some(why) = why
                && is_function(program)
            {
                return Err(Stop::Functions(why.clone()));
            }
        }
        outcomes.reverse();
        Ok((ebpf, outcomes))
    }

    /// Hands programs to the kernel's verifier, the last first, [`AT_ONCE`] at a time.
    fn load_programs(
        &self,
        ebpf: &mut Ebpf,
        programs: Vec<&'static Program>,
        left_out: &dyn Fn(&str) -> bool,
    ) -> Outcomes {
        let mut outcomes: Outcomes = programs
            .into_iter()
            .map(|program| (program, left_out(program.capability).then_some(Failure::Asked)))
            .collect();
        let mut all: HashMap<_, _> = ebpf.programs_mut().collect();
        let wanted = outcomes.iter_mut().filter(|(_, why)| why.is_none());
        let wanted: Vec<_> = wanted
            .map(|(program, why)| (*program, all.remove(program.name), why))
            .collect();
        let wanted = Mutex::new(wanted);
        let next = || wanted.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let load = || {
            while let Some((program, loaded, why)) = next() {
                let loaded = loaded.ok_or_else(|| no_program(program));
                *why = loaded.and_then(|loaded| self.verify(loaded, program)).err();
            }
        };
        thread::scope(|scope| {
            for _ in 1..AT_ONCE {
                scope.spawn(load);
            }
            load();
        });
        outcomes
    }

    pub(super) fn load_program(&self, ebpf: &mut Ebpf, program: &Program) -> Result<(), Failure> {
        self.verify(find(ebpf, program)?, program)
    }

    fn verify(&self, loaded: &mut aya::programs::Program, program: &Program) -> Result<(), Failure> {
        if let Some(lack) = self.lacks(program) {
            return Err(lack);
        }
        program
            .hook
            .load(loaded, &self.aya_btf)
            .map_err(|cause| Failure::of(program, &cause))
    }
}

pub(super) fn attach_program(ebpf: &mut Ebpf, program: &Program) -> Result<(), Failure> {
    program
        .hook
        .attach(find(ebpf, program)?)
        .map_err(|cause| Failure::of(program, &cause))
}

pub(super) fn find<'a>(
    ebpf: &'a mut Ebpf,
    program: &Program,
) -> Result<&'a mut aya::programs::Program, Failure> {
    ebpf.program_mut(program.name).ok_or_else(|| no_program(program))
}

fn no_program(program: &Program) -> Failure {
    Failure::Lack(format!("the BPF object has no program {}", program.name))
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

/// Between what loading a program failed with, and what the verifier said, in the words of aya.
const LOG: &str = ". Verifier output:";

/// What an error says, in a line. The verifier's log is long, and its last line says why it refused the program.
fn line(said: &str) -> String {
    let (failure, log) = said.split_once(LOG).unwrap_or((said, ""));
    let first = failure.lines().find(|line| !line.trim().is_empty());
    let first = first.unwrap_or_default().trim_end();
    let figures = ["processed ", "verification time ", "stack depth "];
    let is_why = |line: &&str| !line.is_empty() && !figures.iter().any(|of| line.starts_with(of));
    match log.lines().map(str::trim).rfind(is_why) {
        Some(why) => format!("{first}: {why}"),
        None => first.to_owned(),
    }
}

/// An error with its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let said = line(&error.to_string());
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

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Failure, line};
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
    fn the_verifier_says_at_the_end_why_it_refused() {
        let said = "the BPF_PROG_LOAD syscall returned Invalid argument (os error 22). Verifier output: reg type unsupported \
                    for arg#0 function ended#35\n0: (b7) r0 = 0\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n\n";
        assert_eq!(
            line(said),
            "the BPF_PROG_LOAD syscall returned Invalid argument (os error 22): R0 !read_ok"
        );
        assert_eq!(line("returned 1. Verifier output: "), "returned 1");
        assert_eq!(line("\nno such file \nmore"), "no such file");
    }
}
