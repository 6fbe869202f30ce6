//! Finding or installing bpf-linker, which links BPF programs with the LLVM of the compiler that made them.

use std::{
    env, fmt, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    compiler::{self, Compiler},
    process::{self, note},
    workspace,
};

/// The release that setup installs. Features exist for the LLVM versions in [`LLVM_VERSIONS`].
const VERSION: &str = "0.13.0";
/// The oldest release that is taken from PATH: the first that links programs of these compilers.
const OLDEST: [u32; 2] = [0, 13];
/// The LLVM versions that release [`VERSION`] has a feature for.
const LLVM_VERSIONS: [u32; 3] = [21, 22, 23];

/// A linker for the BPF programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Linker {
    /// The program.
    pub(crate) path: PathBuf,
    /// What it calls itself.
    version: String,
}

impl fmt::Display for Linker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.version)
    }
}

impl Linker {
    /// The linker to use with a compiler, if this machine has one: `$BPF_LINKER`, on PATH, or installed by setup.
    ///
    /// # Errors
    /// If `$BPF_LINKER` is set and cannot be used.
    pub(crate) fn find(compiler: &Compiler) -> Result<Option<Self>> {
        if let Some(path) = env::var_os("BPF_LINKER") {
            let path = PathBuf::from(path);
            let linker = Self::inspect(&path);
            return linker
                .map(Some)
                .with_context(|| format!("BPF_LINKER={}", path.display()));
        }
        let on_path = process::find_all("bpf-linker").into_iter();
        let usable = on_path
            .filter_map(|path| Self::inspect(&path).ok())
            .find(Self::is_recent);
        Ok(usable.or_else(|| {
            let installed_for = installed_llvm().filter(|llvm| *llvm >= compiler.release.llvm);
            installed_for.and_then(|_| Self::inspect(&workspace::tools().join("bin/bpf-linker")).ok())
        }))
    }

    /// Starts the linker: it may be there, and its LLVM gone.
    fn inspect(path: &Path) -> Result<Self> {
        let said = process::capture(Command::new(path).arg("--version"))?;
        let version = said
            .trim()
            .strip_prefix("bpf-linker ")
            .context("is no bpf-linker; unset it")?;
        Ok(Self {
            path: path.to_owned(),
            version: version.to_owned(),
        })
    }

    fn is_recent(&self) -> bool {
        let mut numbers = self.version.split('.').map_while(|part| part.parse().ok());
        [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)] >= OLDEST
    }

    /// Builds and installs a linker into target/tools, with the compiler's own LLVM. Takes about a minute.
    ///
    /// # Errors
    /// If it cannot be built: no network, or an LLVM that this release does not know.
    pub(crate) fn install(compiler: &Compiler) -> Result<Self> {
        let by_hand = "install bpf-linker by hand (github.com/aya-rs/bpf-linker) and set BPF_LINKER to it";
        let llvm = compiler.release.llvm;
        if !LLVM_VERSIONS.contains(&llvm) {
            bail!("bpf-linker: release {VERSION} does not know LLVM {llvm} of {compiler}; {by_hand}");
        }
        let Some(library) = compiler.llvm() else {
            bail!("bpf-linker: the LLVM {llvm} of {compiler} is no library that can be shared; {by_hand}");
        };
        note(format_args!(
            "building bpf-linker {VERSION} with {} (about a minute)",
            library.display()
        ));
        let tools = workspace::tools();
        let prefix = link_llvm(&tools, &library)?;
        let feature = format!("llvm-{llvm}");
        let mut cargo = workspace::cargo();
        cargo.args([
            "install",
            "bpf-linker",
            "--version",
            VERSION,
            "--locked",
            "--force",
            "--quiet",
        ]);
        cargo
            .args(["--no-default-features", "--features", &feature, "--root"])
            .arg(&tools);
        cargo
            .env("LLVM_PREFIX", prefix)
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env_remove("RUSTFLAGS");
        if let Err(error) = process::run(&mut cargo) {
            bail!("bpf-linker: {error:#}; with a network, run `cargo xtask setup` again, or {by_hand}");
        }
        Self::inspect(&tools.join("bin/bpf-linker")).context("bpf-linker: was built and does not start")
    }
}

/// Makes a folder `llvm/lib` that holds nothing but this LLVM, by the name to link with and the name to load by. It is
/// also the record of what the installed linker was built with, see [`installed_llvm`].
fn link_llvm(tools: &Path, library: &Path) -> Result<PathBuf> {
    let prefix = tools.join("llvm");
    let folder = prefix.join("lib");
    let made = || -> std::io::Result<()> {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        symlink(library, folder.join("libLLVM.so"))?;
        symlink(library, folder.join(library.file_name().unwrap_or_default()))
    };
    made().with_context(|| format!("{}: cannot be made", folder.display()))?;
    Ok(prefix)
}

/// Major version of the LLVM that the linker in target/tools was built with.
fn installed_llvm() -> Option<u32> {
    let library = fs::read_link(workspace::tools().join("llvm/lib/libLLVM.so")).ok()?;
    compiler::llvm_major(&library.file_name()?.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linker(version: &str) -> Linker {
        Linker {
            path: "bpf-linker".into(),
            version: version.into(),
        }
    }

    #[test]
    fn takes_recent_linkers_only() {
        assert!(linker("0.13.0").is_recent());
        assert!(linker("0.14.0-rc.1").is_recent());
        assert!(linker("1.0.0").is_recent());
        assert!(!linker("0.9.14").is_recent());
        assert!(!linker("unknown").is_recent());
    }

    #[test]
    fn the_llvm_folder_is_made_anew_each_time() {
        let tools = env::temp_dir().join(format!("xtask-llvm-{}", std::process::id()));
        link_llvm(&tools, Path::new("/old/libLLVM.so.21.1")).unwrap();
        let prefix = link_llvm(&tools, Path::new("/new/libLLVM.so.22.1")).unwrap();
        let mut names: Vec<_> = fs::read_dir(prefix.join("lib"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        let target = fs::read_link(prefix.join("lib/libLLVM.so")).unwrap();
        fs::remove_dir_all(&tools).unwrap();
        assert_eq!(names, ["libLLVM.so", "libLLVM.so.22.1"]);
        assert_eq!(target, Path::new("/new/libLLVM.so.22.1"));
    }
}
