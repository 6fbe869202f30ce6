//! The packages that apt knows: by this machine's own sources, or by a private set of them for other suites of
//! Debian, which changes nothing on the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::process::{self, note};

/// Where kernels are looked for that the machine's own suites do not have.
pub(crate) const SUITES: [&str; 3] = ["bookworm", "trixie", "trixie-backports"];

/// Signs all suites of Debian (package `debian-archive-keyring`).
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A set of sources.
#[derive(Debug)]
pub(crate) struct Archive {
    /// Options of apt's programs.
    options: Vec<String>,
}

impl Archive {
    /// The machine's own.
    pub(crate) fn own() -> Self {
        Self { options: Vec::new() }
    }

    /// [`SUITES`], from the mirror that the machine's own sources name. All that apt keeps of them is in `folder`.
    ///
    /// # Errors
    /// If the machine has no Debian as a source, or its lists cannot be fetched and never were.
    pub(crate) fn of_suites(folder: &Path) -> Result<Self> {
        let text = fs::read_to_string("/etc/os-release").context("/etc/os-release: cannot be read")?;
        let codename = value(&text, "VERSION_CODENAME").unwrap_or_default();
        let format = "$(REPO_URI) $(RELEASE) $(CODENAME) $(COMPONENT)";
        let own = process::capture(Command::new("apt-get").args([
            "indextargets",
            "--format",
            format,
            "Created-By: Packages",
        ]))?;
        let mirror = mirror(&own, codename).with_context(|| {
            format!("apt: no source has Debian's suite {codename:?}, from which the mirror is taken; add it")
        })?;
        let archive = Self::with_sources(folder, &sources(mirror))
            .with_context(|| format!("{}: cannot be written", folder.display()))?;
        // What was fetched before may still do.
        if process::run(archive.command("apt-get").args(["update", "-q"])).is_err() {
            note("apt-get update failed; trying with the lists that are there");
        }
        Ok(archive)
    }

    fn with_sources(folder: &Path, sources: &str) -> std::io::Result<Self> {
        let (lists, cache) = (folder.join("lists"), folder.join("cache"));
        fs::create_dir_all(lists.join("partial"))?;
        fs::create_dir_all(cache.join("archives/partial"))?;
        let (list, status) = (folder.join("sources.list"), folder.join("status"));
        fs::write(&list, sources)?;
        // Nothing is installed here.
        fs::write(&status, "")?;
        let paths = [
            ("Dir::Etc::SourceList", list),
            ("Dir::Etc::SourceParts", PathBuf::from("/dev/null")),
            ("Dir::State::Lists", lists),
            ("Dir::State::status", status),
            ("Dir::Cache", cache),
        ];
        let mut options = vec![
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ];
        options.extend(paths.map(|(name, path)| format!("{name}={}", path.display())));
        Ok(Self { options })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    /// The packages whose whole name fits a pattern.
    ///
    /// # Errors
    /// If apt fails.
    pub(crate) fn packages(&self, pattern: &str) -> Result<Vec<String>> {
        let pattern = format!("^{pattern}$");
        let found = process::capture(
            self.command("apt-cache")
                .args(["search", "--names-only", &pattern]),
        )?;
        Ok(names(&found))
    }

    /// Downloads packages into a folder.
    ///
    /// # Errors
    /// If apt fails (no network, no room).
    pub(crate) fn download(&self, packages: &[String], folder: &Path) -> Result<()> {
        process::run(
            self.command("apt-get")
                .args(["download", "-q"])
                .args(packages)
                .current_dir(folder),
        )
    }
}

/// The lines of sources for [`SUITES`].
fn sources(mirror: &str) -> String {
    let line = |suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
    SUITES.map(line).concat()
}

/// The value of a name in a file such as os-release(5).
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix('=');
    Some(text.lines().find_map(value)?.trim_matches('"'))
}

/// Where a suite's component `main` comes from, in lines of address, release, codename and component.
fn mirror<'a>(targets: &'a str, codename: &str) -> Option<&'a str> {
    targets.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (uri, suites) = (words.next()?, [words.next()?, words.next()?]);
        (suites.contains(&codename) && words.next() == Some("main")).then_some(uri)
    })
}

/// The names in what `apt-cache search` prints: `NAME - what it is`.
fn names(found: &str) -> Vec<String> {
    let name = |line: &str| Some(line.split_once(' ')?.0.to_owned());
    found.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_the_system_itself() {
        let targets = "http://a/node/ nodistro $(CODENAME) main\nhttp://b/debian-security/ bookworm-security bookworm-security main\n\
                       http://c/debian/ stable bookworm contrib\nhttp://c/debian/ stable bookworm main\n";
        assert_eq!(mirror(targets, "bookworm"), Some("http://c/debian/"));
        assert_eq!(mirror(targets, "noble"), None);
        assert!(sources("http://c/debian/").contains("http://c/debian/ trixie-backports main\n"));
    }

    #[test]
    fn names_of_the_system_are_read() {
        let text = "NAME=\"A system\"\nVERSION_CODENAME=bookworm\n";
        assert_eq!(value(text, "VERSION_CODENAME"), Some("bookworm"));
        assert_eq!(value(text, "NAME"), Some("A system"));
        assert_eq!(value(text, "VERSION"), None);
    }

    #[test]
    fn what_apt_finds_is_read() {
        let found = "linux-image-6.1.0-56-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)\n";
        assert_eq!(names(found), ["linux-image-6.1.0-56-cloud-amd64"]);
    }
}
