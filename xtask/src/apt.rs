//! Installing packages on Debian and its kin.

use std::{
    io::{IsTerminal, stdin},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::process::{self, note};

/// Whether this machine has apt.
pub(crate) fn is_there() -> bool {
    process::find("apt-get").is_some()
}

/// The command that a person would type to install them.
pub(crate) fn command_line(packages: &[&str]) -> String {
    format!("apt-get install --no-install-recommends {}", packages.join(" "))
}

/// Installs packages, by sudo where not root. Never removes any.
///
/// # Errors
/// If there is neither root nor sudo, or apt fails (no network, no such package, a conflict).
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let by_hand = format!("run as root: {}", command_line(packages));
    let privilege = Privilege::find()?
        .with_context(|| format!("apt-get: needs root, and there is no sudo; {by_hand}"))?;
    note(format_args!(
        "installing {}{}",
        packages.join(" "),
        privilege.suffix()
    ));
    // Lists may be missing or too old. If they cannot be fetched, the old ones may still do.
    if process::run(privilege.apt_get().args(["update", "-q"])).is_err() {
        note("apt-get update failed; trying with the lists that are there");
    }
    let arguments = ["install", "-y", "-q", "--no-install-recommends", "--no-remove"];
    let done = process::run(
        privilege
            .apt_get()
            .args(["-o", "DPkg::Lock::Timeout=120"])
            .args(arguments)
            .args(packages),
    );
    if let Err(error) = done {
        bail!("{error:#}; mend that, then {by_hand}");
    }
    Ok(())
}

/// How a command becomes root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Privilege {
    /// It is root.
    Root,
    /// sudo, which may ask for a password where there is someone to ask.
    Sudo { may_ask: bool },
}

impl Privilege {
    fn find() -> Result<Option<Self>> {
        if process::is_root()? {
            return Ok(Some(Self::Root));
        }
        Ok(process::find("sudo").map(|_| Self::Sudo {
            may_ask: stdin().is_terminal(),
        }))
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Sudo { .. } => " (by sudo)",
        }
    }

    fn apt_get(self) -> Command {
        match self {
            Self::Root => {
                let mut command = Command::new("apt-get");
                command.env("DEBIAN_FRONTEND", "noninteractive");
                command
            }
            Self::Sudo { may_ask } => {
                let mut command = Command::new("sudo");
                if !may_ask {
                    command.arg("-n");
                }
                // sudo clears the environment.
                command.args(["--", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
                command
            }
        }
    }
}
