//! Debian's cloud kernels: which one a version means, and its files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::archive::{Archive, SUITES};
use crate::{
    process::{self, note},
    workspace,
};

const IMAGE: &str = "linux-image-";
/// Newer kernels are split: their image depends on this package, which holds the file to boot …
const BINARY: &str = "linux-binary-";
/// … and on this one.
const MODULES: &str = "linux-modules-";
/// All packages of a kernel.
const PARTS: &str = "linux-(base|binary|image|modules)-";
const FLAVOUR: &str = "-cloud-amd64";

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// As it was asked for, such as `6.1`.
    pub(crate) version: String,
    /// What `uname -r` says under it.
    release: String,
    /// Holds what the packages hold.
    files: PathBuf,
}

impl Kernel {
    /// The file to boot.
    pub(crate) fn image(&self) -> Result<PathBuf> {
        let release = &self.release;
        let places = [
            format!("boot/vmlinuz-{release}"),
            format!("{FOLDER}/{release}/vmlinuz"),
        ];
        let mut files = places.iter().map(|place| self.files.join(place));
        files
            .find(|file| file.is_file())
            .with_context(|| format!("{}: holds no kernel image", self.files.display()))
    }

    /// The folder of its modules, with `modules.dep`.
    pub(crate) fn modules(&self) -> PathBuf {
        self.files.join(FOLDER).join(&self.release)
    }

    /// The folder for what is made to run it, and what comes of that.
    pub(crate) fn folder(&self) -> PathBuf {
        folder(&self.version)
    }
}

/// Where a system has its modules, below its root.
const FOLDER: &str = "lib/modules";

fn folder(version: &str) -> PathBuf {
    root().join(version)
}

/// The folder for everything about virtual machines.
fn root() -> PathBuf {
    workspace::target().join("vm")
}

/// The kernels that can be had.
#[derive(Debug)]
pub(crate) struct Kernels {
    own: Archive,
    /// Made when the own ones do not have what is asked for.
    others: Option<Archive>,
}

impl Kernels {
    /// What apt knows.
    pub(crate) fn new() -> Self {
        Self {
            own: Archive::own(),
            others: None,
        }
    }

    fn others(&mut self) -> Result<&Archive> {
        let others = match self.others.take() {
            Some(others) => others,
            None => {
                note(format_args!("looking for kernels in {}", SUITES.join(", ")));
                Archive::of_suites(&root().join("apt")).with_context(|| SUITES.join(", "))?
            }
        };
        Ok(self.others.insert(others))
    }

    /// Of each version that can be had, the package that [`Self::get`] takes.
    ///
    /// # Errors
    /// If apt fails.
    pub(crate) fn list(&mut self) -> Result<Vec<String>> {
        let pattern = pattern("[0-9.]+");
        let own = whole(self.own.packages(&pattern)?);
        let others = whole(self.others()?.packages(&pattern)?);
        Ok(newest_of_each(own, others))
    }

    /// The newest release of a version such as `6.1`, downloaded and unpacked unless that has been done before.
    ///
    /// # Errors
    /// If there is none, or it cannot be fetched.
    pub(crate) fn get(&mut self, version: &str) -> Result<Kernel> {
        let pattern = pattern(&escaped(version));
        if let Some(package) = newest(whole(self.own.packages(&pattern)?)) {
            return unpacked(&self.own, version, &package);
        }
        let others = self.others()?;
        let package = newest(whole(others.packages(&pattern)?)).with_context(|| {
            format!(
                "no package {IMAGE}{version}.*{FLAVOUR} in this machine's sources nor in {}; `cargo xtask vm --list` \
                 shows what there is",
                SUITES.join(", ")
            )
        })?;
        unpacked(others, version, &package)
    }
}

/// The pattern of all packages of a version. The name of a metapackage has nothing between version and flavour.
fn pattern(version: &str) -> String {
    format!("{PARTS}{version}[.+-][^ ]*{FLAVOUR}")
}

/// A version or a release as it stands in a pattern.
fn escaped(release: &str) -> String {
    release.replace('.', "\\.").replace('+', "\\+")
}

/// The release of a package's kernel.
fn release(package: &str) -> &str {
    package.strip_prefix(IMAGE).unwrap_or(package)
}

/// The numbers in a release, which order it among others.
fn numbers(release: &str) -> Vec<u64> {
    let digits = release.split(|character: char| !character.is_ascii_digit());
    digits.filter_map(|number| number.parse().ok()).collect()
}

/// The images among packages that can be had with their modules: an archive may keep an image longer than those.
fn whole(packages: Vec<String>) -> Vec<String> {
    let has = |prefix: &str, image: &str| packages.contains(&format!("{prefix}{}", release(image)));
    let whole = |image: &&String| image.starts_with(IMAGE) && (!has(BINARY, image) || has(MODULES, image));
    packages.iter().filter(whole).cloned().collect()
}

fn newest(packages: Vec<String>) -> Option<String> {
    packages
        .into_iter()
        .max_by_key(|package| numbers(release(package)))
}

/// The newest package of each version, which is the first two numbers of a release: of the others only where the
/// own ones have none.
fn newest_of_each(own: Vec<String>, others: Vec<String>) -> Vec<String> {
    let mut chosen = BTreeMap::new();
    for mut packages in [others, own] {
        packages.sort_by_cached_key(|package| numbers(release(package)));
        // What comes later takes the place of what was there.
        chosen.extend(packages.into_iter().map(|package| {
            let version: Vec<_> = numbers(release(&package)).into_iter().take(2).collect();
            (version, package)
        }));
    }
    chosen.into_values().collect()
}

/// Downloads and unpacks a kernel, unless it is there.
fn unpacked(archive: &Archive, version: &str, package: &str) -> Result<Kernel> {
    let release = release(package);
    let kernel = Kernel {
        version: version.to_owned(),
        release: release.to_owned(),
        files: folder(version).join(release),
    };
    if kernel.files.is_dir() {
        return Ok(kernel);
    }
    note(format_args!("fetching {package}"));
    // It gets its name when it is whole.
    let part = kernel.files.with_file_name("part");
    let _ = fs::remove_dir_all(&part);
    let (packages, files) = (part.join("packages"), part.join("files"));
    for folder in [&packages, &files] {
        fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    }
    let parts = archive.packages(&format!("{PARTS}{}", escaped(release)))?;
    archive.download(&parts, &packages).with_context(|| {
        format!("{package}: cannot be fetched; `apt-get update` mends lists that are too old")
    })?;
    let debs = packages.read_dir().context("the packages cannot be listed")?;
    for deb in debs.flatten() {
        process::run(Command::new("dpkg-deb").arg("-x").arg(deb.path()).arg(&files))?;
    }
    index_modules(&files, release)?;
    fs::rename(&files, &kernel.files)
        .with_context(|| format!("{}: cannot be made", kernel.files.display()))?;
    let _ = fs::remove_dir_all(&part);
    Ok(kernel)
}

/// Makes `modules.dep`, which a package gets where it is installed.
fn index_modules(files: &Path, release: &str) -> Result<()> {
    // Newer packages know /usr only; depmod looks where its own system has the modules.
    for (place, other) in [("lib", "usr/lib"), ("usr/lib", "../lib")] {
        if !files.join(place).exists() {
            fs::create_dir_all(files.join("usr"))
                .and_then(|()| std::os::unix::fs::symlink(other, files.join(place)))
                .with_context(|| format!("{}/{place}: cannot be made", files.display()))?;
        }
    }
    if !files.join(FOLDER).join(release).is_dir() {
        bail!("{}: holds no modules of {release}", files.display());
    }
    process::run(Command::new(depmod()?).arg("-b").arg(files).arg(release))
}

fn depmod() -> Result<PathBuf> {
    process::find("depmod").context("depmod: not found (package kmod)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_newest_release_is_chosen_by_its_numbers() {
        let packages = owned(&[
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-47-cloud-amd64",
        ]);
        assert_eq!(newest(packages).unwrap(), "linux-image-6.1.0-56-cloud-amd64");
        assert_eq!(newest(Vec::new()), None);
    }

    #[test]
    fn of_each_version_the_one_that_would_be_taken_is_listed() {
        let own = owned(&[
            "linux-image-6.12.100+deb12-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.12.99+deb12-cloud-amd64",
        ]);
        let others = owned(&[
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-image-6.12.117+deb13-cloud-amd64",
        ]);
        assert_eq!(
            newest_of_each(own, others),
            [
                "linux-image-6.1.0-56-cloud-amd64",
                "linux-image-6.12.100+deb12-cloud-amd64",
                "linux-image-7.3.4+deb13-cloud-amd64"
            ]
        );
    }

    #[test]
    fn an_image_without_its_modules_is_not_taken() {
        let packages = owned(&[
            "linux-binary-7.1.13+deb13-cloud-amd64",
            "linux-image-7.1.13+deb13-cloud-amd64",
            "linux-binary-7.1.8+deb13-cloud-amd64",
            "linux-image-7.1.8+deb13-cloud-amd64",
            "linux-modules-7.1.8+deb13-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
        ]);
        assert_eq!(
            whole(packages),
            [
                "linux-image-7.1.8+deb13-cloud-amd64",
                "linux-image-6.1.0-56-cloud-amd64"
            ]
        );
    }

    #[test]
    fn a_version_is_no_beginning_of_another() {
        assert_eq!(
            pattern("6\\.1"),
            r"linux-(base|binary|image|modules)-6\.1[.+-][^ ]*-cloud-amd64"
        );
    }

    #[test]
    fn a_name_is_no_pattern() {
        assert_eq!(escaped("7.3.4+deb13"), r"7\.3\.4\+deb13");
    }
}
