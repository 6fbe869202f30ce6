//! What a virtual machine has in its memory: the tracer, the lab, and as little else as they need.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{cpio, kernel::Kernel, modules};
use crate::{elf, process};

/// What the scenarios use, and the tracer for its lists of sockets. A whole system loads them when they are asked for.
const MODULES: [&str; 17] = [
    "veth",
    "bridge",
    "vxlan",
    "sch_ingress",
    "cls_bpf",
    "nf_tables",
    "nft_meta_bridge",
    "nft_ct",
    "nft_reject_inet",
    "nft_chain_nat",
    "nft_nat",
    "nft_redir",
    "nf_conntrack_netlink",
    "iptable_filter",
    "tcp_diag",
    "udp_diag",
    "raw_diag",
];

/// What the scenarios and the lab run. None of them needs more of its package than itself: iptables loads its extensions
/// for rules only.
const PROGRAMS: [&str; 9] = [
    "busybox",
    "sh",
    "unshare",
    "ip",
    "tc",
    "nft",
    "conntrack",
    "iptables-legacy",
    "iptables-nft",
];

/// Where file systems are mounted.
const FOLDERS: [&str; 5] = ["/dev", "/proc", "/sys", "/run", "/tmp"];

/// The same for all kernels: programs, and the libraries that they need.
#[derive(Debug)]
pub(crate) struct Programs {
    /// Where each is on this machine, and in the virtual one.
    files: Vec<(PathBuf, PathBuf)>,
}

impl Programs {
    /// The tracer and the lab, which are static, and programs of this machine.
    ///
    /// # Errors
    /// If one is missing, or its libraries cannot be told.
    pub(crate) fn find(tracer: PathBuf, lab: PathBuf) -> Result<Self> {
        let mut files = vec![(tracer, "/bin/tracer".into()), (lab, "/bin/lab".into())];
        let mut libraries = BTreeSet::new();
        for name in PROGRAMS {
            let program = process::find(name).with_context(|| format!("{name}: not found"))?;
            if !elf::is_static_file(&program)? {
                libraries.extend(listed(&process::capture(Command::new("ldd").arg(&program))?));
            }
            files.push((program, Path::new("/bin").join(name)));
        }
        files.extend(libraries.into_iter().map(|library| (library.clone(), library)));
        Ok(Self { files })
    }

    /// Writes the initramfs for a kernel, in which `lab check` runs with these arguments, and returns where it is.
    ///
    /// # Errors
    /// If something that goes into it cannot be read, or it cannot be written.
    pub(crate) fn pack(&self, kernel: &Kernel, arguments: &[String]) -> Result<PathBuf> {
        let mut archive = cpio::Archive::default();
        for folder in FOLDERS {
            archive.folder(Path::new(folder))?;
        }
        for (file, place) in &self.files {
            let content = fs::read(file).with_context(|| format!("{}: cannot be read", file.display()))?;
            archive.file(place, content)?;
        }
        let mut list = String::new();
        for file in modules::files(&kernel.modules(), &MODULES)? {
            let place = format!("/lib/modules/{}.ko", modules::name(&file.to_string_lossy()));
            archive.file(Path::new(&place), modules::content(&file)?)?;
            list += &format!("{place}\n");
        }
        archive.file(Path::new("/modules"), list.into_bytes())?;
        archive.file(Path::new("/arguments"), arguments.join("\n").into_bytes())?;
        archive.file(Path::new("/init"), include_bytes!("init.sh").to_vec())?;

        let file = kernel.folder().join("initramfs");
        fs::write(&file, archive.bytes()?)
            .with_context(|| format!("{}: cannot be written", file.display()))?;
        Ok(file)
    }
}

/// The files in what `ldd` prints, the dynamic loader among them. One of them, the vDSO, is no file.
fn listed(ldd: &str) -> Vec<PathBuf> {
    let file = |line: &str| {
        let place = line.split_once(" => ").map_or(line, |(_, place)| place);
        let path = place.split_whitespace().next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    ldd.lines().filter_map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_their_loader_are_listed() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f)\n\
                   \tlibgone.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(
            listed(ldd),
            [
                PathBuf::from("/lib/x86_64-linux-gnu/libmnl.so.0"),
                PathBuf::from("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }
}
