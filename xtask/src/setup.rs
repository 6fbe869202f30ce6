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

/// Programs that the tests and the lab run, and the Debian packages that they are in.
const TEST_PROGRAMS: [(&str, &str); 4] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("tmux", "tmux"),
    ("tshark", "tshark"),
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
        test_programs()?;
        note(format_args!(
            "test programs: {}",
            TEST_PROGRAMS.map(|(program, _)| program).join(", ")
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
            "BPF compiler: none on this machine, and {error:#}; remedies: {}",
            compiler::remedy()
        );
    }
    Compiler::find()?.with_context(|| {
        format!(
            "BPF compiler: {} are installed and hold none; {}",
            compiler::PACKAGES.join(" and "),
            compiler::remedy()
        )
    })
}

/// Makes sure that the programs which the tests and the lab run are there: installs them where that needs no
/// question, that is as root.
///
/// # Errors
/// If some are missing and cannot be installed; the error names the packages.
pub(crate) fn test_programs() -> Result<()> {
    let missing = || {
        TEST_PROGRAMS
            .into_iter()
            .filter(|(program, _)| process::find(program).is_none())
    };
    let packages: Vec<_> = missing().map(|(_, package)| package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing().map(|(program, _)| program).collect();
    if !(apt::is_there() && process::is_root()?) {
        bail!(
            "{}: not found, the tests run them; run as root: {}",
            names.join(", "),
            apt::command_line(&packages)
        );
    }
    apt::install(&packages)
}
