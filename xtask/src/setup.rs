//! `cargo xtask setup`: finds or installs what building the BPF programs needs, and nothing that is there already.

use anyhow::{Context, Result, bail};

use crate::{
    apt,
    compiler::{self, Compiler},
    linker::Linker,
    process::{self, note},
};

/// What the BPF programs are built with.
pub(crate) struct Tools {
    /// Compiler and core library.
    pub(crate) compiler: Compiler,
    /// Linker that fits it.
    pub(crate) linker: Linker,
}

/// A program that tests or the lab run.
struct Needed {
    program: &'static str,
    /// The Debian package that holds it.
    package: &'static str,
    /// Whether only tests that need root run it.
    by_root: bool,
}

const NEEDED: [Needed; 4] = [
    Needed {
        program: "ip",
        package: "iproute2",
        by_root: true,
    },
    Needed {
        program: "nft",
        package: "nftables",
        by_root: true,
    },
    Needed {
        program: "tmux",
        package: "tmux",
        by_root: true,
    },
    Needed {
        program: "tshark",
        package: "tshark",
        by_root: false,
    },
];

/// Sets up, and says what is used.
///
/// # Errors
/// If something is missing and cannot be installed.
pub(crate) fn main(tests: bool) -> Result<u8> {
    let tools = ensure()?;
    note(format_args!("BPF compiler: {}", tools.compiler));
    note(format_args!("BPF linker: {}", tools.linker));
    if tests {
        test_programs(true)?;
        note(format_args!(
            "test programs: {}",
            NEEDED.map(|needed| needed.program).join(", ")
        ));
    }
    Ok(0)
}

/// The tools, if all are on this machine. Needs no network.
///
/// # Errors
/// If the environment names one that cannot be used.
pub(crate) fn find() -> Result<Option<Tools>> {
    let Some(compiler) = Compiler::find()? else {
        return Ok(None);
    };
    Ok(Linker::find(&compiler)?.map(|linker| Tools { compiler, linker }))
}

/// The tools; what is missing is installed, with a word about it.
///
/// # Errors
/// If that fails; the error names the remedies.
pub(crate) fn ensure() -> Result<Tools> {
    let compiler = match Compiler::find()? {
        Some(compiler) => compiler,
        None => install_compiler()?,
    };
    let linker = match Linker::find(&compiler)? {
        Some(linker) => linker,
        None => Linker::install(&compiler)?,
    };
    Ok(Tools { compiler, linker })
}

fn install_compiler() -> Result<Compiler> {
    if !apt::is_there() {
        bail!("BPF compiler: none on this machine; {}", compiler::remedy());
    }
    note("no compiler for BPF programs on this machine; Debian has one");
    if let Err(error) = apt::install(&compiler::PACKAGES) {
        bail!(
            "BPF compiler: none on this machine, and {error:#}; or else {}",
            compiler::REMEDY_RUSTUP
        );
    }
    Compiler::find()?.with_context(|| {
        let packages = compiler::PACKAGES.join(" ");
        format!(
            "BPF compiler: none found though {packages} are installed; reinstall them, or else {}",
            compiler::REMEDY_RUSTUP
        )
    })
}

/// Makes sure that the programs which the tests run are there: installs them where that needs no question, that is
/// as root. Without `root` only those of the tests that do not need root.
///
/// # Errors
/// If some are missing and cannot be installed; the error names the packages.
pub(crate) fn test_programs(root: bool) -> Result<()> {
    let mut missing: Vec<_> = NEEDED.iter().filter(|needed| root || !needed.by_root).collect();
    missing.retain(|needed| process::find(needed.program).is_none());
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|needed| needed.package).collect();
    if apt::is_there() && process::is_root()? {
        return apt::install(&packages);
    }
    let programs: Vec<_> = missing.iter().map(|needed| needed.program).collect();
    bail!(
        "{}: not found, tests run them; run as root: {}",
        programs.join(", "),
        apt::command_line(&packages)
    );
}
