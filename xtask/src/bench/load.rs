//! `lab load`: traffic that is sent turn by turn.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::process;

/// How long each turn sends, in seconds.
const SECONDS: &str = "0.8";

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Datagrams that a rule drops: its rate is of those sent.
    Storm,
    /// Datagrams that a sink reads: of those read.
    Flood,
    /// Small requests over TCP: of the answers.
    Requests,
    /// One TCP stream: of its bytes.
    Bulk,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Storm, Self::Flood, Self::Requests, Self::Bulk];

    /// As `lab load` calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Storm => "storm",
            Self::Flood => "flood",
            Self::Requests => "requests",
            Self::Bulk => "bulk",
        }
    }
}

/// What one turn of the load counted, as the lab prints it.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Counted {
    sent: u64,
    received: u64,
    seconds: f64,
    best: f64,
}

/// One turn of the load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) sent: u64,
    /// A second; more than 0.
    pub(super) rate: f64,
    /// A second, in the best tenth of its slices; more than 0.
    pub(super) best: f64,
}

/// `lab load`, running. It ends where nobody writes to it any more.
pub(super) struct Load {
    pub(super) kind: Kind,
    /// The namespace that receives.
    pub(super) netns: String,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Load {
    /// # Errors
    /// If the lab cannot make it; the lab says why.
    pub(super) fn start(lab: &Path, kind: Kind) -> Result<Self> {
        let mut command = Command::new(lab);
        command
            .args(["load", kind.name(), SECONDS])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| process::cannot_start(&command, &error))?;
        let input = child.stdin.take().context("lab load: has no input")?;
        let output = BufReader::new(child.stdout.take().context("lab load: has no output")?);
        let mut load = Self {
            kind,
            netns: String::new(),
            child,
            input,
            output: output.lines(),
        };
        let ready = load.line()?;
        load.netns = ready
            .strip_prefix("ready ")
            .context("lab load: is not ready; its messages above say why")?
            .to_owned();
        Ok(load)
    }

    fn line(&mut self) -> Result<String> {
        let line = self
            .output
            .next()
            .context("lab load: has ended; its messages above say why")?;
        line.context("lab load: its output cannot be read")
    }

    /// Sends for one turn, and waits for its end.
    ///
    /// # Errors
    /// If the lab ends, or nothing that counts was sent.
    pub(super) fn turn(&mut self) -> Result<Turn> {
        writeln!(self.input).context("lab load: has ended; its messages above say why")?;
        let counted: Counted = serde_json::from_str(&self.line()?).context("lab load: not a turn")?;
        turn(self.kind, counted)
    }

    /// # Errors
    /// If it cannot be waited for.
    pub(super) fn end(mut self) -> Result<()> {
        drop(self.input);
        self.child.wait().context("lab load: cannot be waited for")?;
        Ok(())
    }
}

fn turn(kind: Kind, counted: Counted) -> Result<Turn> {
    let done = match kind {
        Kind::Storm => counted.sent,
        Kind::Flood | Kind::Requests | Kind::Bulk => counted.received,
    };
    if done == 0 || counted.seconds <= 0.0 || counted.best <= 0.0 {
        bail!(
            "lab load {}: nothing went through in a turn; is lo or veth forbidden here?",
            kind.name()
        );
    }
    Ok(Turn {
        sent: counted.sent,
        rate: done as f64 / counted.seconds,
        best: counted.best,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_the_rate_of_what_counts() {
        let counted = serde_json::from_str(r#"{"sent":100,"received":50,"seconds":0.5,"best":300}"#).unwrap();
        assert_eq!(turn(Kind::Storm, counted).unwrap().rate, 200.0);
        assert_eq!(turn(Kind::Flood, counted).unwrap().rate, 100.0);
        let dead = serde_json::from_str(r#"{"sent":100,"received":0,"seconds":0.5,"best":300}"#).unwrap();
        assert!(turn(Kind::Bulk, dead).is_err());
    }
}
