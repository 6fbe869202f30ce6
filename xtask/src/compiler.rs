//! Finding a Rust compiler that can make BPF programs: one that has the library `core` for that target,
//! prebuilt or as source. Library and compiler must be of one release, so they are looked for together.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

/// The Debian packages that hold such a compiler and its library.
pub(crate) const PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// What a person can do who has rustup.
pub(crate) const REMEDY_RUSTUP: &str = "rustup toolchain install nightly --component rust-src";

/// What a person can do where there is none.
pub(crate) fn remedy() -> String {
    format!(
        "either {REMEDY_RUSTUP}, or on Debian (as root) {}, or set BPF_RUSTC to a rustc that has core for {}",
        crate::apt::command_line(&PACKAGES),
        workspace::BPF_TARGET
    )
}

/// A compiler for the BPF programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// The compiler itself.
    pub(crate) rustc: PathBuf,
    /// The folder that holds it and its libraries.
    pub(crate) sysroot: PathBuf,
    /// Where its `core` is.
    pub(crate) core: Core,
    /// Which release it is.
    pub(crate) release: Release,
}

/// The form of a compiler's `core` for the BPF target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// Compiled.
    Prebuilt,
    /// Source, which cargo compiles (`-Z build-std=core`).
    Source,
}

/// What `rustc -vV` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    /// Such as `1.96.0`, `1.97.0-nightly`.
    pub(crate) version: String,
    /// The target it makes programs for by itself.
    pub(crate) host: String,
    /// Major version of its LLVM.
    pub(crate) llvm: u32,
}

impl Compiler {
    /// The compiler to use, if this machine has one: `$BPF_RUSTC`; a nightly of rustup with rust-src; any rustc
    /// with a prebuilt core.
    ///
    /// # Errors
    /// If `$BPF_RUSTC` is set and cannot be used.
    pub(crate) fn find() -> Result<Option<Self>> {
        if let Some(rustc) = env::var_os("BPF_RUSTC") {
            let rustc = PathBuf::from(rustc);
            return match Self::inspect(&rustc).with_context(|| format!("BPF_RUSTC={}", rustc.display()))? {
                Some(compiler) => Ok(Some(compiler)),
                None => bail!(
                    "BPF_RUSTC={}: has no core library for {}; unset it, or add the library or rust-src to it",
                    rustc.display(),
                    workspace::BPF_TARGET
                ),
            };
        }
        let of_rustup = nightlies()
            .into_iter()
            .map(|toolchain| toolchain.join("bin/rustc"));
        for rustc in of_rustup.chain(process::find_all("rustc")) {
            // One that does not even start is of no use; another may be.
            if let Ok(Some(compiler)) = Self::inspect(&rustc)
                && (compiler.core == Core::Prebuilt || compiler.release.is_nightly())
            {
                return Ok(Some(compiler));
            }
        }
        Ok(None)
    }

    /// Looks at one compiler: `None` if it has no core for BPF.
    fn inspect(rustc: &Path) -> Result<Option<Self>> {
        let sysroot =
            PathBuf::from(process::capture(Command::new(rustc).args(["--print", "sysroot"]))?.trim_end());
        let Some(core) = Core::of(&sysroot) else {
            return Ok(None);
        };
        let release = Release::parse(&process::capture(Command::new(rustc).arg("-vV"))?)?;
        Ok(Some(Self {
            rustc: rustc.to_owned(),
            sysroot,
            core,
            release,
        }))
    }

    /// A cargo that can drive this compiler, with its environment set.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = workspace::cargo();
        if self.core == Core::Source {
            // build-std is a matter between a compiler and the cargo of the same release.
            let own = self.sysroot.join("bin/cargo");
            if process::is_executable(&own) {
                cargo = Command::new(own);
                cargo.current_dir(workspace::root());
            }
        }
        let unstable = match self.core {
            Core::Source => "1",
            // These two use `asm_experimental_arch`, and only they.
            Core::Prebuilt => "aya_ebpf,aya_ebpf_bindings,tracer_ebpf",
        };
        cargo.env("RUSTC", &self.rustc).env("RUSTC_BOOTSTRAP", unstable);
        // Empty, not unset, so that a wrapper from cargo's configuration is left out too.
        cargo
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "")
            .env_remove("RUSTFLAGS");
        cargo
    }

    /// The LLVM library that this compiler uses, where it is a library of its own.
    pub(crate) fn llvm(&self) -> Option<PathBuf> {
        let multiarch = format!("lib/{}-linux-gnu", env::consts::ARCH);
        let own = ["lib".into(), multiarch.clone()].map(|folder: String| self.sysroot.join(folder));
        let system = [
            "lib64".into(),
            "lib".into(),
            multiarch,
            format!("lib/llvm-{}/lib", self.release.llvm),
        ]
        .map(|folder: String| Path::new("/usr").join(folder));
        own.iter()
            .chain(&system)
            .find_map(|folder| llvm_in(folder, self.release.llvm))
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = match self.core {
            Core::Prebuilt => "prebuilt core",
            Core::Source => "core built from rust-src",
        };
        write!(
            f,
            "{} {}, LLVM {}, {core}",
            self.rustc.display(),
            self.release.version,
            self.release.llvm
        )
    }
}

impl Core {
    /// What a sysroot has; compiled rather than source where it has both.
    fn of(sysroot: &Path) -> Option<Self> {
        let rustlib = sysroot.join("lib/rustlib");
        let compiled = fs::read_dir(rustlib.join(workspace::BPF_TARGET).join("lib"));
        let is_core = |name: &str| name.starts_with("libcore-") && name.ends_with(".rlib");
        if compiled.is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.file_name().to_str().is_some_and(is_core))
        }) {
            return Some(Self::Prebuilt);
        }
        rustlib
            .join("src/rust/library/core/Cargo.toml")
            .is_file()
            .then_some(Self::Source)
    }
}

impl Release {
    /// Reads the output of `rustc -vV`.
    fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.with_context(|| format!("rustc -vV: says no {name}; is it a Rust compiler?"))
        };
        let llvm = field("LLVM version")?;
        Ok(Self {
            version: field("release")?.to_owned(),
            host: field("host")?.to_owned(),
            llvm: llvm
                .split('.')
                .next()
                .and_then(|major| major.parse().ok())
                .with_context(|| format!("rustc -vV: LLVM version {llvm} is no version"))?,
        })
    }

    /// The release of the compiler that cargo uses by itself.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn of_default() -> Result<Self> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        Self::parse(&process::capture(
            Command::new(rustc).arg("-vV").current_dir(workspace::root()),
        )?)
    }

    fn is_nightly(&self) -> bool {
        self.version.ends_with("-nightly") || self.version.ends_with("-dev")
    }
}

/// Rustup's nightly toolchains, the undated one first, then the newest.
fn nightlies() -> Vec<PathBuf> {
    let home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".rustup")));
    let Some(Ok(entries)) = home.map(|home| fs::read_dir(home.join("toolchains"))) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    names.retain(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("nightly"))
    });
    names.sort_by_key(|path| nightly_order(&path.file_name().unwrap_or_default().to_string_lossy()));
    names
}

/// Sorts `nightly-x86_64…` before `nightly-2026-11-01-x86_64…` before older dates.
fn nightly_order(name: &str) -> (bool, std::cmp::Reverse<String>) {
    let dated = name
        .strip_prefix("nightly-")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    (dated, std::cmp::Reverse(name.to_owned()))
}

/// The LLVM library of a major version in a folder. Only the real file's name has the dot: rustup's
/// `libLLVM-22-rust-….so` is a text for the linker.
fn llvm_in(folder: &Path, major: u32) -> Option<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    found.retain(|path| {
        path.file_name()
            .is_some_and(|name| llvm_major(&name.to_string_lossy()) == Some(major))
    });
    found.sort();
    found.into_iter().next()
}

/// The major version in the name of an LLVM library: `libLLVM.so.22.1`, `libLLVM.so.22.1-rust-1.97.0-nightly`.
pub(crate) fn llvm_major(name: &str) -> Option<u32> {
    let version = name.strip_prefix("libLLVM.so.")?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STABLE: &str = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)
binary: rustc
commit-hash: ac68faa20c58cbccd01ee7208bf3b6e93a7d7f96
commit-date: 2026-05-25
host: x86_64-unknown-linux-gnu
release: 1.96.0
LLVM version: 22.1.8
";

    #[test]
    fn reads_what_the_compiler_says_of_itself() {
        let release = Release::parse(STABLE).unwrap();
        assert_eq!((release.version.as_str(), release.llvm), ("1.96.0", 22));
        assert_eq!(release.host, "x86_64-unknown-linux-gnu");
        assert!(!release.is_nightly());
        assert!(
            Release::parse(&STABLE.replace("release: 1.96.0", "release: 1.97.0-nightly"))
                .unwrap()
                .is_nightly()
        );
    }

    #[test]
    fn refuses_what_is_no_compiler() {
        let error = Release::parse("gcc (Debian 12.2.0)").unwrap_err().to_string();
        assert!(error.contains("LLVM version"), "{error}");
        assert!(Release::parse(&STABLE.replace("22.1.8", "none")).is_err());
    }

    #[test]
    fn knows_llvm_by_its_file_name() {
        assert_eq!(llvm_major("libLLVM.so.22.1"), Some(22));
        assert_eq!(llvm_major("libLLVM.so.22.1-rust-1.97.0-nightly"), Some(22));
        assert_eq!(llvm_major("libLLVM-22-rust-1.97.0-nightly.so"), None);
        assert_eq!(llvm_major("libLLVM-14.so.1"), None);
        assert_eq!(llvm_major("libLLVM.so"), None);
    }

    #[test]
    fn the_undated_nightly_is_first_then_the_newest() {
        let mut names = [
            "nightly-2026-01-01-x86_64",
            "nightly-2026-11-01-x86_64",
            "nightly-x86_64",
        ];
        names.sort_by_key(|name| nightly_order(name));
        assert_eq!(
            names,
            [
                "nightly-x86_64",
                "nightly-2026-11-01-x86_64",
                "nightly-2026-01-01-x86_64"
            ]
        );
    }

    #[test]
    fn a_sysroot_has_core_compiled_or_as_source_or_not() {
        let sysroot = env::temp_dir().join(format!("xtask-sysroot-{}", std::process::id()));
        let compiled = sysroot.join("lib/rustlib/bpfel-unknown-none/lib");
        let source = sysroot.join("lib/rustlib/src/rust/library/core");
        fs::create_dir_all(&compiled).unwrap();
        fs::create_dir_all(&source).unwrap();
        let mut seen = vec![Core::of(&sysroot)];
        fs::write(source.join("Cargo.toml"), "").unwrap();
        seen.push(Core::of(&sysroot));
        fs::write(compiled.join("libcore-00ff.rlib"), "").unwrap();
        seen.push(Core::of(&sysroot));
        fs::remove_dir_all(&sysroot).unwrap();
        assert_eq!(seen, [None, Some(Core::Source), Some(Core::Prebuilt)]);
    }
}
