//! The tracer that runs from before and records.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Node;
use super::plain::{Headline, Headlines};
use crate::folder::Folder;
use crate::process;
use crate::tracer::{command, run, wait_until_it_watches};

/// What is not said by then is not said at all. The slowest is that all is well again: what is over is told for 10 s more.
const PATIENCE: Duration = Duration::from_secs(60);

/// A tracer that watches a node, says so once a second, and records all that it sees.
#[derive(Debug)]
pub struct Watcher {
    child: Child,
    headlines: Headlines,
    folder: Folder,
}

impl Watcher {
    /// Starts it, and waits until it watches.
    pub fn start(node: &Node) -> Result<Self> {
        let folder = Folder::new()?;
        let file = folder.file("trace.pcapng");
        let mut tracer = command(&["--plain", "--record", &file.to_string_lossy()])?;
        tracer.args(node.where_to_look()?).stderr(Stdio::inherit());
        let mut child = tracer.spawn().context("cannot start the tracer")?;
        let headlines = Headlines::of(child.stdout.take().context("the tracer has no output")?);
        let mut watcher = Self {
            child,
            headlines,
            folder,
        };
        wait_until_it_watches(&mut watcher.child)?;
        Ok(watcher)
    }

    /// Waits for a headline that it writes.
    pub fn headline(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<Headline> {
        match self.headlines.next(Instant::now() + PATIENCE, wanted) {
            Some(found) => Ok(found),
            None => {
                self.lives()?;
                bail!(
                    "the tracer does not say in {PATIENCE:?}: {what}; it says:\n{}",
                    self.page()?
                )
            }
        }
    }

    /// Waits until it has written all these parts, in this order.
    pub fn has_written(&mut self, parts: &[String]) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while let Some(part) = self.headlines.unsaid(parts) {
            self.lives()?;
            if Instant::now() > end {
                bail!("the tracer does not write in {PATIENCE:?}, or not in this order: {part}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Its report, as it stands: by what it has recorded so far, of which a tracer makes the same.
    pub fn report(&self) -> Result<Value> {
        let file = self.folder.file("trace.pcapng");
        let args = ["diagnose", "--trace", &file.to_string_lossy(), "--format", "json"];
        run(&mut command(&args)?, |_| Ok(()))?.report()
    }

    /// The same as a page of text.
    pub fn page(&self) -> Result<String> {
        let file = self.folder.file("trace.pcapng");
        let args = ["diagnose", "--trace", &file.to_string_lossy()];
        Ok(run(&mut command(&args)?, |_| Ok(()))?.stdout)
    }

    /// Waits until something is in its report.
    pub fn until<T>(&mut self, what: &str, look: impl Fn(&Value) -> Option<T>) -> Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            let report = self.report()?;
            if let Some(found) = look(&report) {
                return Ok(found);
            }
            self.lives()?;
            if Instant::now() > end {
                bail!(
                    "the tracer does not say in {PATIENCE:?}: {what}; it says:\n{}",
                    self.page()?
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn lives(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the tracer has ended: {status}"),
            None => Ok(()),
        }
    }

    /// Ends it as a person does.
    pub fn end(&mut self) -> Result<()> {
        process::send(self.child.id(), libc::SIGINT).context("cannot end the tracer")?;
        let status = crate::terminal::wait_for_end(&mut self.child, PATIENCE)?;
        if !status.success() {
            bail!("the tracer has ended: {status}");
        }
        Ok(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
