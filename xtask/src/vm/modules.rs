//! A kernel's modules: which files are loaded, in which order.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::process;

/// The files of modules and of all that they need, in the order in which they can be loaded. A module that is built
/// in has no file. `folder` is that of the kernel's modules.
///
/// # Errors
/// If the kernel has no such module, or its lists cannot be read.
pub(crate) fn files(folder: &Path, names: &[&str]) -> Result<Vec<PathBuf>> {
    let read = |name: &str| {
        let file = folder.join(name);
        fs::read_to_string(&file).with_context(|| format!("{}: cannot be read", file.display()))
    };
    let order = order(&read("modules.dep")?, &read("modules.builtin")?, names)?;
    Ok(order.into_iter().map(|file| folder.join(file)).collect())
}

/// A module as it is loaded: a package may hold it compressed.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn content(file: &Path) -> Result<Vec<u8>> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => fs::read(file).with_context(|| format!("{}: cannot be read", file.display())),
        Some("xz") => process::capture_bytes(Command::new("xz").arg("-dc").arg(file)),
        _ => bail!(
            "{}: is compressed in a way that is not known here",
            file.display()
        ),
    }
}

/// The name of the module in a file such as `kernel/net/ipv4/tcp_diag.ko.xz`, in the form that the kernel gives it.
pub(crate) fn name(file: &str) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// The order of loading, by `modules.dep` and `modules.builtin` (depmod(8)).
fn order(dependencies: &str, builtin: &str, names: &[&str]) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    for wanted in names {
        let rule = dependencies.lines().find_map(|line| {
            let (file, needed) = line.split_once(':')?;
            (name(file) == *wanted).then_some((file, needed))
        });
        let Some((file, needed)) = rule else {
            if builtin.lines().any(|file| name(file) == *wanted) {
                continue;
            }
            bail!("{wanted}: this kernel has no such module");
        };
        // All that it needs is listed, the last of which needs none of the others.
        for file in needed.split_whitespace().rev().chain([file]) {
            if !order.iter().any(|other| other == file) {
                order.push(file.to_owned());
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "kernel/drivers/net/veth.ko:\n\
        kernel/net/ipv4/inet_diag.ko.xz:\n\
        kernel/net/ipv4/tcp_diag.ko.xz: kernel/net/ipv4/inet_diag.ko.xz\n\
        kernel/net/ipv4/raw-diag.ko: kernel/a.ko kernel/net/ipv4/inet_diag.ko.xz\n";

    #[test]
    fn what_is_needed_is_loaded_first_and_once() {
        let order = order(DEPENDENCIES, "", &["tcp_diag", "raw_diag", "veth"]).unwrap();
        assert_eq!(
            order,
            [
                "kernel/net/ipv4/inet_diag.ko.xz",
                "kernel/net/ipv4/tcp_diag.ko.xz",
                "kernel/a.ko",
                "kernel/net/ipv4/raw-diag.ko",
                "kernel/drivers/net/veth.ko"
            ]
        );
    }

    #[test]
    fn what_is_built_in_is_not_loaded() {
        let builtin = "kernel/drivers/net/dummy.ko\n";
        assert!(order(DEPENDENCIES, builtin, &["dummy"]).unwrap().is_empty());
        let error = order(DEPENDENCIES, builtin, &["diag"]).unwrap_err().to_string();
        assert_eq!(error, "diag: this kernel has no such module");
    }
}
