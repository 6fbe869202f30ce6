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

/// A program that a command of xtask runs.
pub(crate) struct Needed {
    pub(crate) program: &'static str,
    /// The Debian package that holds it.
    pub(crate) package: &'static str,
}

/// What the tests and the lab run as root.
const BY_ROOT: [Needed; 9] = [
    IP,
    NFT,
    CONNTRACK,
    IPTABLES,
    Needed {
        program: "ethtool",
        package: "ethtool",
    },
    Needed {
        program: "tmux",
        package: "tmux",
    },
    // It need not be the machine's own: the tests boot it in a world of theirs.
    Needed {
        program: "systemctl",
        package: "systemd",
    },
    Needed {
        program: "dbus-daemon",
        package: "dbus",
    },
    DEPMOD,
];

/// What the tests run whoever they are.
const BY_ALL: [Needed; 1] = [Needed {
    program: "tshark",
    package: "tshark",
}];

/// Loads rules of netfilter.
pub(crate) const NFT: Needed = Needed {
    program: "nft",
    package: "nftables",
};

/// Empties the table of connections.
pub(crate) const CONNTRACK: Needed = Needed {
    program: "conntrack",
    package: "conntrack",
};

/// Loads rules of netfilter as was done before, and on top of nft.
pub(crate) const IPTABLES: Needed = Needed {
    program: "iptables-legacy",
    package: "iptables",
};

/// Lists the modules of a kernel.
pub(crate) const DEPMOD: Needed = Needed {
    program: "depmod",
    package: "kmod",
};

/// Makes network namespaces and what is in them.
pub(crate) const IP: Needed = Needed {
    program: "ip",
    package: "iproute2",
};

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
        let programs: Vec<_> = BY_ROOT
            .iter()
            .chain(&BY_ALL)
            .map(|needed| needed.program)
            .collect();
        note(format_args!("test programs: {}", programs.join(", ")));
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

/// Makes sure that the programs which the tests run are there; without `root` only those of the tests that do not
/// need root.
///
/// # Errors
/// As [`programs`].
pub(crate) fn test_programs(root: bool) -> Result<()> {
    let by_root = if root { BY_ROOT.as_slice() } else { &[] };
    programs("tests", by_root.iter().chain(&BY_ALL))
}

/// Makes sure that the programs which something needs are there: installs them where that needs no question, that is
/// as root.
///
/// # Errors
/// If some are missing and cannot be installed; the error names the packages.
pub(crate) fn programs<'a>(purpose: &str, needed: impl IntoIterator<Item = &'a Needed>) -> Result<()> {
    let mut missing: Vec<_> = needed.into_iter().collect();
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
        "{}: not found, needed for {purpose}; run as root: {}",
        programs.join(", "),
        apt::command_line(&packages)
    );
}
