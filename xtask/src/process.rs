//! Running other programs, and saying in one line what went wrong.

use std::{
    ffi::OsStr,
    fmt::Display,
    io::{self, BufRead, BufReader, ErrorKind, Write},
    os::{
        fd::AsFd,
        unix::{fs::MetadataExt, fs::PermissionsExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
};

use anyhow::{Context, Result, anyhow, bail};

/// Says one line on standard error.
pub(crate) fn note(line: impl Display) {
    // Nobody may be reading; that is no reason to stop.
    let _ = writeln!(io::stderr(), "xtask: {line}");
}

/// Runs a program to its end. What it prints goes to standard error.
///
/// # Errors
/// If it cannot be started or does not succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let stderr = io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .context("standard error: cannot be shared")?;
    run_with_stdout(command.stdout(Stdio::from(stderr)))
}

/// Runs a program to its end, with its standard output where the command has it (by default, ours).
///
/// # Errors
/// If it cannot be started or does not succeed.
pub(crate) fn run_with_stdout(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    succeeded(command, status)
}

fn succeeded(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{}: {status}; its messages above say why", describe(command));
    }
    Ok(())
}

/// Runs a program to its end. Each line of its standard output is given to `read`, and printed as it comes.
///
/// # Errors
/// If it cannot be started, does not succeed, or its output cannot be read.
pub(crate) fn run_with_lines(command: &mut Command, mut read: impl FnMut(&str)) -> Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(command, &error))?;
    let output = child.stdout.take().context("standard output: is missing")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.with_context(|| format!("{}: its output cannot be read", describe(command)))?;
        let line = String::from_utf8_lossy(&line);
        // Nobody may be reading; that is no reason to stop.
        let _ = writeln!(io::stdout(), "{line}");
        read(&line);
    }
    succeeded(command, child.wait()?)
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// If it cannot be started or does not succeed; the error holds the last line that it printed.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    String::from_utf8(capture_bytes(command)?)
        .map_err(|_| anyhow!("{}: printed something that is no text", describe(command)))
}

/// Runs a program to its end and returns what it printed, which need not be text.
///
/// # Errors
/// As [`capture`].
pub(crate) fn capture_bytes(command: &mut Command) -> Result<Vec<u8>> {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().map_err(|error| cannot_start(command, &error))?;
    if !status.success() {
        let stderr = String::from_utf8_lossy(&stderr);
        let last = stderr
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or("no message");
        bail!("{}: {status}: {}", describe(command), last.trim());
    }
    Ok(stdout)
}

/// The error for a program that did not start.
pub(crate) fn cannot_start(command: &Command, error: &io::Error) -> anyhow::Error {
    let program = command.get_program().to_string_lossy();
    match error.kind() {
        ErrorKind::NotFound => anyhow!("{program}: not found; install it or put it on PATH"),
        _ => anyhow!("{program}: cannot be started: {error}"),
    }
}

/// The program's name and its first argument, as a person would name the command.
fn describe(command: &Command) -> String {
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let mut words = vec![name.to_string_lossy()];
    words.extend(
        command
            .get_args()
            .next()
            .map(OsStr::to_string_lossy)
            .filter(|word| !word.starts_with('-')),
    );
    words.join(" ")
}

/// All programs of this name on PATH, then in the system's own folders, which a user's PATH may lack.
pub(crate) fn find_all(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = Vec::new();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    for folder in std::env::split_paths(&path).chain(system) {
        let file = folder.join(name);
        if folder.is_absolute() && is_executable(&file) && !found.contains(&file) {
            found.push(file);
        }
    }
    found
}

/// The first program of this name, see [`find_all`].
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    find_all(name).into_iter().next()
}

/// Whether it is a file that can be run.
pub(crate) fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether this process is root.
///
/// # Errors
/// If /proc is not mounted.
pub(crate) fn is_root() -> Result<bool> {
    // The owner of /proc/self is the effective user (proc(5)).
    Ok(Path::new("/proc/self")
        .metadata()
        .context("/proc: cannot be read; mount it")?
        .uid()
        == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_remedy() {
        let error = run(&mut Command::new("/nowhere/at-all")).unwrap_err().to_string();
        assert_eq!(error, "/nowhere/at-all: not found; install it or put it on PATH");
    }

    #[test]
    fn a_failing_program_is_named_with_its_status() {
        let error = run(Command::new("sh").args(["-c", "exit 3"]))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "sh: exit status: 3; its messages above say why");
    }

    #[test]
    fn capture_keeps_the_last_message() {
        assert_eq!(capture(Command::new("echo").arg("a")).unwrap(), "a\n");
        let error = capture(Command::new("sh").args(["-c", "echo why >&2; echo >&2; false"])).unwrap_err();
        assert_eq!(error.to_string(), "sh: exit status: 1: why");
    }

    #[test]
    fn finds_programs_and_no_folders() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program").is_none());
        assert!(!is_executable(Path::new("/")));
    }
}
