//! The keeper removes the lab's namespaces, its cgroups and its instance of tracefs when the lab could not, because it was killed.
//!
//! It is a process of its own that waits for the end of a pipe, of which the lab holds the other end. It
//! removes only the names that it was given, and these carry the lab's process id.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::{cgroup, netns, process, unseen};

/// First argument of the program that makes it a keeper.
pub const ROLE: &str = "keeper";

/// A running keeper. When it is dropped, what is left of its namespaces is removed.
#[derive(Debug)]
pub struct Keeper(Child);

impl Keeper {
    /// Starts a keeper of what has one of these names, which need not exist yet. `program` is the lab's binary.
    pub fn start(program: &Path, names: &[String]) -> Result<Self> {
        let child = Command::new(program)
            .arg(ROLE)
            .args(names)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C on the terminal goes to the lab, which the keeper is to outlive.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {} {ROLE}", program.display()))?;
        Ok(Self(child))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It cannot be told to anyone, and the keeper goes on by itself.
        let _ = self.0.wait();
    }
}

/// What the keeper does: waits for the end of its input, then removes what has one of these names.
pub fn main(names: &[String]) -> Result<()> {
    process::set_name(c"lab-keeper");
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .context("cannot wait for the end of the lab")?;
    for name in names {
        netns::remove(name);
        cgroup::remove(name);
        unseen::remove(name);
    }
    Ok(())
}
