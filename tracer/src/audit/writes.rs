//! Files that change the network or the node when they are written to, and the programs that write to files. Pure.

use super::Effect;
use super::options::{is_among, is_option, operands, value};
use super::scope::Scope;

/// What is written there the kernel does.
const SYSRQ: &str = "/proc/sysrq-trigger";
/// Files of the kernel, by how they begin.
const OF_KERNEL: [(&str, Effect, Scope); 4] = [
    ("/proc/sys/net/", Effect::Network, Scope::NETWORK),
    ("/sys/bus/pci/", Effect::Network, Scope::SYSTEM),
    ("/sys/bus/virtio/", Effect::Network, Scope::SYSTEM),
    ("/sys/class/net/", Effect::Network, Scope::NETWORK),
];

/// The configuration of the network: files, and folders with all that is in them.
const CONFIGURATION: &str = "/etc/NetworkManager /etc/dhcp /etc/dhcpcd.conf /etc/firewalld /etc/frr /etc/iptables \
    /etc/netplan /etc/network /etc/nftables.conf /etc/nftables.d /etc/resolv.conf /etc/resolvconf \
    /etc/sysconfig/network /etc/sysconfig/network-scripts /etc/sysctl.conf /etc/sysctl.d /etc/systemd/network \
    /etc/systemd/networkd.conf /etc/systemd/networkd.conf.d /etc/systemd/resolved.conf \
    /etc/systemd/resolved.conf.d /etc/ufw /etc/wireguard /etc/wpa_supplicant \
    /run/resolvconf/resolv.conf /run/systemd/network /run/systemd/resolve";

/// What it changes to write to a file, and what of the node is needed for that; `text` is what is written, where that is known.
pub(super) fn of_file(path: &str, text: Option<&str>) -> Option<(Effect, Scope)> {
    if path == SYSRQ {
        return of_keys(text).map(|effect| (effect, Scope::SYSTEM));
    }
    if let Some((_, effect, needs)) = OF_KERNEL.iter().find(|(begin, ..)| path.starts_with(begin)) {
        return Some((*effect, *needs));
    }
    let is_in = |known: &str| {
        path.strip_prefix(known)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    CONFIGURATION
        .split_ascii_whitespace()
        .any(is_in)
        .then_some((Effect::Network, Scope::FILES))
}

/// What the kernel does by these keys (Documentation/admin-guide/sysrq.rst): of what is written the first one counts, or all
/// behind `_`. Others show something, or change nothing that is told here.
fn of_keys(text: Option<&str>) -> Option<Effect> {
    let Some(text) = text.map(str::trim_start) else {
        return Some(Effect::Reboot);
    };
    let keys = match text.strip_prefix('_') {
        Some(keys) => keys,
        None => text.get(..1).unwrap_or(text),
    };
    // `$`, a backtick: what is written is not known.
    if keys.contains(['b', 'c', 'o', '$', '`', '\\']) {
        return Some(Effect::Reboot);
    }
    // All processes but init are ended.
    keys.contains(['e', 'i']).then_some(Effect::Services)
}

/// Programs that take files away.
pub(super) const REMOVERS: &str = "rm rmdir shred unlink";

/// Which files a program writes to.
enum Targets {
    /// All that it names.
    All(&'static str),
    /// The last one, or the folder that an option names.
    Last(&'static str, &'static str),
    /// What an option names.
    Option(&'static str),
    /// What stands behind a word: `of=`.
    Behind(&'static str),
    /// All, where it has that option.
    With(&'static str, &'static str),
}

const WRITERS: &[(&str, Targets)] = &[
    ("rm rmdir shred sponge tee truncate unlink", Targets::All("-s")),
    ("cp mv", Targets::Last("-S -t", "-t --target-directory")),
    (
        "install",
        Targets::Last("-S -g -m -o -t", "-t --target-directory"),
    ),
    ("ln", Targets::Last("-S -t", "-t --target-directory")),
    ("rsync scp", Targets::Last("-P -e -f -i -o", "--")),
    ("curl", Targets::Option("-o --output")),
    (
        "wget",
        Targets::Option("-O -P --directory-prefix --output-document"),
    ),
    ("dd", Targets::Behind("of=")),
    ("sed perl", Targets::With("-i --in-place", "-e -f")),
];

/// The files that a program of that name writes to with these arguments.
pub(super) fn of_program<'a>(name: &str, arguments: &[&'a str]) -> Vec<&'a str> {
    let Some((_, targets)) = WRITERS.iter().find(|(names, _)| is_among(names, name)) else {
        return Vec::new();
    };
    let all = |valued| operands(arguments, valued).map(|at| arguments[at]);
    match targets {
        Targets::All(valued) => all(valued).collect(),
        Targets::Last(valued, folder) => value(arguments, folder)
            .or_else(|| all(valued).last())
            .into_iter()
            .collect(),
        Targets::Option(names) => value(arguments, names).into_iter().collect(),
        Targets::Behind(begin) => arguments
            .iter()
            .filter_map(|word| word.strip_prefix(begin))
            .collect(),
        Targets::With(options, valued) => {
            let has = arguments
                .iter()
                .filter(|word| is_option(word))
                .any(|word| options.split(' ').any(|option| word.starts_with(option)) || is_in_place(word));
            all(valued).filter(|_| has).collect()
        }
    }
}

/// The files that what fetches something makes with these arguments: those that it is told, and those by the names of what it
/// fetches.
pub(super) fn fetched<'a>(name: &str, arguments: &[&'a str]) -> Vec<&'a str> {
    let mut files = of_program(name, arguments);
    let sources = arguments.iter().filter(|word| !is_option(word));
    files.extend(
        sources
            .filter_map(|source| source.rsplit_once('/'))
            .map(|(_, file)| file),
    );
    files.retain(|file| !file.is_empty());
    files
}

/// Whether it is known of a program which files it writes to, and that it runs none.
pub(super) fn is_known(name: &str) -> bool {
    WRITERS.iter().any(|(names, _)| is_among(names, name))
}

/// `-pi`, `-ni`, `-Ei`
fn is_in_place(word: &str) -> bool {
    !word.starts_with("--") && word.ends_with('i')
}
