//! The program that reads the journal: one at a time, each with bounds of time and length.

use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
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
    program: &'static str,
    /// What says which one.
    place: Vec<OsString>,
}

/// What the journal has of a unit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Past {
    /// All runs that began from then on are there: ns since 1970.
    pub(super) since: i64,
    pub(super) runs: Vec<Run>,
    /// What the program complained of, where it did: then there may be more.
    pub(super) doubt: Option<String>,
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
        Ok(Self {
            program: PROGRAM,
            place,
        })
    }

    /// A journal that this script of the shell prints.
    #[cfg(test)]
    pub(super) fn of_script(script: &str) -> Self {
        Self {
            program: "sh",
            place: ["-c", script, "sh"].map(OsString::from).to_vec(),
        }
    }

    /// When what systemd wrote begins in it, in ns since 1970, or begins to matter: what others wrote before says nothing of runs.
    pub(super) async fn begins(&self) -> Result<i64, String> {
        let mut child = self.start(
            &["--output-fields=PRIORITY"],
            [entries::BY_SYSTEMD.to_owned()].into_iter(),
        )?;
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
        Err(complaint(&why)
            .unwrap_or_else(|| format!("{PROGRAM} shows no entry of systemd (PID 1) of the last 31 days")))
    }

    /// The runs of a unit, in a journal that begins then.
    pub(super) async fn runs(&self, unit: &str, begins: i64) -> Result<Past, String> {
        let fields = format!("--output-fields={}", entries::FIELDS.join(","));
        let most = format!("--lines={ENTRIES}");
        // From the latest on: before systemd 254 `--lines` counts from where `--since` begins.
        let mut child = self.start(&[&fields, &most, "--reverse"], entries::matches(unit))?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        // Both at once: the program waits for whoever does not read. Where it prints too much it is read no more, and ends.
        let work = async {
            let (text, why) = tokio::try_join!(all_of(output), all_of(errors))?;
            Ok((text, why, child.wait().await?))
        };
        let (text, why, status) = in_time(work).await?;
        if text.len() as u64 >= BYTES {
            return Err(format!("{PROGRAM} prints more than {BYTES} bytes"));
        }
        let doubt = complaint(&why);
        if !status.success() {
            return Err(doubt.unwrap_or_else(|| ended(status)));
        }
        let lines: Vec<&str> = text.lines().rev().collect();
        let is_cut = lines.len() >= ENTRIES;
        let since = match lines.first().copied().and_then(entries::time) {
            // Nobody knows what is in the files that it could not read.
            _ if doubt.is_some() => nanoseconds(now()),
            // The run that the first entry is of may have begun just then, and is left out.
            Some(first) if is_cut => begins.max(first.saturating_add(1)),
            _ => begins,
        };
        Ok(Past {
            since,
            runs: entries::runs(&lines, is_cut),
            doubt,
        })
    }

    /// Starts the program. It ends with the value.
    fn start(&self, arguments: &[&str], matches: impl Iterator<Item = String>) -> Result<Child, String> {
        Command::new(self.program)
            .args(&self.place)
            .args(["--no-pager", "--output=json"])
            .arg(format!("--since=@{}", now().saturating_sub(REACH).as_secs()))
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

/// The time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// What the program has printed as its errors, in one line. `None` for nothing.
fn complaint(errors: &str) -> Option<String> {
    // More is said behind it.
    let errors = errors.trim().trim_end_matches('.');
    (!errors.is_empty()).then(|| format!("{PROGRAM}: {}", errors.replace('\n', "; ")))
}

/// How it ended where it said nothing.
fn ended(status: ExitStatus) -> String {
    format!("{PROGRAM} failed: {status}")
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

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"{"__REALTIME_TIMESTAMP":"7000000","MESSAGE_ID":"7d4958e842da4a758f6c1cdc7b36dcc5","INVOCATION_ID":"a"}"#;

    fn past(script: &str) -> Result<Past, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let journal = Journal::of_script(script);
        runtime.unwrap().block_on(journal.runs("a.service", 5))
    }

    #[test]
    fn a_journal_begins_with_what_systemd_wrote_first() {
        let older = ENTRY.replace('7', "6");
        let script = format!("case \"$*\" in *_PID=1*) echo '{ENTRY}';; *) echo '{older}';; esac");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap();
        let begins = |script: &str| runtime.block_on(Journal::of_script(script).begins());
        assert_eq!(begins(&script), Ok(7_000_000_000));
        let none = begins("exit 0").unwrap_err();
        assert!(none.contains("no entry of systemd"), "{none}");
    }

    #[test]
    fn what_ends_well_is_whole() {
        let past = past(&format!("echo '{ENTRY}'")).unwrap();
        assert_eq!((past.since, past.runs.len(), past.doubt), (5, 1, None));
    }

    #[test]
    fn what_complains_may_not_be_whole() {
        let before = nanoseconds(now());
        let past = past(&format!("echo 'a file is ignored' >&2; echo '{ENTRY}'")).unwrap();
        assert!(past.since >= before, "{past:?}");
        assert_eq!(past.runs.len(), 1);
        assert_eq!(past.doubt.as_deref(), Some("journalctl: a file is ignored"));
    }

    #[test]
    fn what_fails_or_is_cut_is_no_answer() {
        let fails = |script: &str| past(&format!("echo '{ENTRY}'; {script}")).unwrap_err();
        assert_eq!(
            fails("echo no >&2; echo such >&2; exit 1"),
            "journalctl: no; such"
        );
        assert_eq!(fails("exit 3"), "journalctl failed: exit status: 3");
        assert!(fails("kill -9 $$").contains("signal: 9"));
        assert!(fails("exec yes").contains("more than 1048576 bytes"));
    }

    /// With `--since`, `--lines` counts from the beginning where `--reverse` is not said, as in systemd 252.
    #[test]
    fn of_many_runs_the_latest_are_read() {
        let numbered = ENTRY
            .replace(r#""7000000""#, r#""'$i'000000""#)
            .replace(r#""a""#, r#""'$i'""#);
        let script = format!(
            "case \"$*\" in *--reverse*) all=$(seq 300 -1 1);; *) all=$(seq 300);; esac; \
             for i in $(echo $all | cut -d' ' -f1-{ENTRIES}); do echo '{numbered}'; done"
        );
        let past = past(&script).unwrap();
        let (first, last) = (past.runs.first().unwrap(), past.runs.last().unwrap());
        assert_eq!(
            (first.invocation.as_str(), last.invocation.as_str()),
            ("110", "300")
        );
        assert_eq!(
            past.since, 109_000_000_001,
            "of the one that the cut is in, nothing is known"
        );
    }

    #[test]
    fn of_a_cut_answer_all_is_there_from_its_second_run_on() {
        let past = past(&format!("for i in $(seq {ENTRIES}); do echo '{ENTRY}'; done")).unwrap();
        assert_eq!((past.since, past.runs.len()), (7_000_000_001, 0));
    }
}
