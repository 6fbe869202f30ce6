//! The program that reads the journal: one at a time, each with bounds of time and length.

use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Options, entries};
use crate::event::Run;

/// The program.
const PROGRAM: &str = "journalctl";
/// So far back is asked: 31 days.
const REACH: Duration = Duration::from_secs(31 * 86_400);
/// Entries of a unit that are asked for at most, the latest: some 50 runs.
const ENTRIES: usize = 192;
/// What takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that are read at most: more than so many entries have.
const BYTES: u64 = 1 << 20;

/// A journal.
#[derive(Debug)]
pub(super) struct Journal {
    /// What says which one.
    place: Vec<OsString>,
    /// In seconds since 1970: what is older is not asked for.
    from: u64,
}

impl Journal {
    /// Why not, in words, where nobody said which.
    pub(super) fn of(options: &Options) -> Result<Self, String> {
        let place = match options {
            Options::OfNode => vec!["--system".into()],
            Options::In(folder) => vec!["--directory".into(), folder.into()],
            Options::Unknown => {
                return Err(
                    "the journal of that systemd is not known: --journal names its folder".to_owned(),
                );
            }
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            place,
            from: now.saturating_sub(REACH).as_secs(),
        })
    }

    /// When it begins, in ns since 1970, or begins to matter.
    pub(super) async fn begins(&self) -> Result<i64, String> {
        let mut child = self.start(&["--output-fields=PRIORITY"], std::iter::empty())?;
        let mut line = String::new();
        let output = child.stdout.take();
        let read = async {
            if let Some(output) = output {
                BufReader::new(output.take(BYTES)).read_line(&mut line).await?;
            }
            Ok(())
        };
        in_time(read).await?;
        if let Some(time) = entries::time(&line) {
            // It would go on with all the others.
            return Ok(time);
        }
        let why = in_time(all_of(child.stderr.take())).await?;
        Err(match why.trim() {
            "" => format!("{PROGRAM} shows no entry of the last 31 days"),
            why => format!("{PROGRAM}: {}", why.replace('\n', "; ")),
        })
    }

    /// The runs of a unit, and from when on they are all there.
    pub(super) async fn runs(&self, unit: &str, begins: i64) -> Result<(i64, Vec<Run>), String> {
        let fields = format!("--output-fields={}", entries::FIELDS.join(","));
        let most = format!("--lines={ENTRIES}");
        let mut child = self.start(&[&fields, &most], entries::matches(unit))?;
        let text = in_time(all_of(child.stdout.take())).await?;
        let is_all = text.lines().count() < ENTRIES;
        let first = text.lines().next().and_then(entries::time);
        let since = first.filter(|_| !is_all).unwrap_or(begins).max(begins);
        Ok((since, entries::runs(&text)))
    }

    /// Starts the program. It ends with the value.
    fn start(&self, arguments: &[&str], matches: impl Iterator<Item = String>) -> Result<Child, String> {
        Command::new(PROGRAM)
            .args(["--no-pager", "--output=json"])
            .args(&self.place)
            .arg(format!("--since=@{}", self.from))
            .args(arguments)
            .args(matches)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{PROGRAM} cannot be run: {error}"))
    }
}

/// What can be read, up to the bound.
async fn all_of(output: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        output.take(BYTES).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|error| format!("what {PROGRAM} prints cannot be read: {error}")),
        Err(_) => Err(format!("no answer of {PROGRAM} in {PATIENCE:?}")),
    }
}
