//! What the running kernel, or the system, must have to produce a scenario.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::tracefs::Tracefs;
use crate::{cgroup, conntrack, suspend};

/// Something that not every machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The kernel makes devices of this kind (`ip link add type KIND`).
    Device(&'static str),
    /// A program of the system, and the package that has it.
    Program(&'static str, &'static str),
    /// Functions of the kernel, by their names in /proc/kallsyms: a part that it may be built without.
    Symbol(&'static str),
    /// A tracepoint hands over something: its name in tracefs, such as `skb/consume_skb`, and that of the field.
    Field(&'static str, &'static str),
    /// The cgroup v2 hierarchy is mounted.
    CgroupV2,
    /// A machine that runs nothing else: a setting is changed that all its namespaces have in common.
    Machine,
    /// It can be suspended, and wakes up by itself.
    Suspend,
    /// The memory of the node's sockets can be bounded, that of others not: see [`super::Step::BoundSocketMemory`].
    SocketMemory,
    /// The kernel tracks connections, and its table can be filled: it has not room for too many.
    Conntrack,
}

/// Whoever starts the lab on a machine that may be changed as a whole sets this variable.
const OWN_MACHINE: &str = "LAB_OWN_MACHINE";

/// Whether this machine may be changed as a whole.
pub fn is_own_machine() -> bool {
    std::env::var_os(OWN_MACHINE).is_some()
}

impl Need {
    /// Why a scenario that needs this cannot be produced here; `None` where it can.
    pub fn missing(&self) -> Option<String> {
        match *self {
            Self::Device(kind) => {
                (!makes(kind)).then(|| format!("this kernel makes no devices of the kind {kind}"))
            }
            Self::Program(name, package) => {
                (!is_installed(name)).then(|| format!("{name} is not installed (package {package})"))
            }
            Self::CgroupV2 => cgroup::hierarchy()
                .is_none()
                .then(|| "no cgroup v2 hierarchy is mounted".to_owned()),
            Self::Machine => (!is_own_machine())
                .then(|| "it changes a setting of the whole machine: it runs in `cargo xtask vm`".to_owned()),
            Self::Suspend => suspend::missing(),
            Self::SocketMemory => (!is_own_machine() && cgroup::memory_hierarchy().is_none()).then(|| {
                "no cgroup v1 bounds the memory of sockets, and else it is a setting of the whole machine: it runs in \
                 `cargo xtask vm`"
                    .to_owned()
            }),
            Self::Conntrack => match conntrack::most() {
                Ok(most) if most > conntrack::AT_MOST => {
                    Some(format!("{most} connections have room, too many to fill its table"))
                }
                Ok(_) => None,
                Err(error) => Some(format!("{error:#}")),
            },
            Self::Field(tracepoint, field) => untold(tracepoint, field),
            Self::Symbol(name) => (!has_symbol(name)).then(|| format!("this kernel has no {name}")),
        }
    }
}

/// Asks for the help of `ip` would not tell: whether the kernel knows the kind. In a namespace of its own, which ends
/// with the command.
fn makes(kind: &str) -> bool {
    let script = format!(
        "ip link add tl-base type veth peer name tl-peer && ip link add link tl-base tl-new type {kind}"
    );
    // Options that a kind insists on. They do no harm elsewhere, but the kernel refuses what it does not know.
    let script = match kind {
        "vlan" => format!("{script} id 7"),
        "vxlan" => format!("{script} id 7 dstport 4789"),
        "vrf" => format!("{script} table 7"),
        _ => script,
    };
    Command::new("unshare")
        .args(["--net", "sh", "-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path)
        .chain(system)
        .any(|folder| Path::new(&folder).join(name).exists())
}

fn has_symbol(name: &str) -> bool {
    std::fs::read_to_string("/proc/kallsyms").is_ok_and(|symbols| {
        symbols
            .lines()
            .filter_map(|line| line.split_whitespace().nth(2))
            .any(|symbol| symbol == name)
    })
}

/// Why a tracepoint does not tell a field; `None` where it does. Its format has a line for each:
/// `field:void * location; offset:16; size:8; signed:0;`.
fn untold(tracepoint: &str, field: &str) -> Option<String> {
    let file = format!("events/{tracepoint}/format");
    let read = Tracefs::mount().and_then(|tracefs| Ok(std::fs::read_to_string(tracefs.path(&file))?));
    let format = match read {
        Ok(format) => format,
        Err(error) => return Some(format!("{file} of tracefs: cannot be read: {error:#}")),
    };
    let tells = format
        .lines()
        .filter_map(|line| line.trim().strip_prefix("field:")?.split(';').next())
        .any(|declaration| declaration.split_whitespace().last() == Some(field));
    (!tells).then(|| format!("this kernel's tracepoint {tracepoint} does not tell {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_missing() {
        assert_eq!(Need::Program("sh", "dash").missing(), None);
        assert_eq!(Need::Symbol("ip_rcv").missing(), None);
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert_eq!(
            Need::Program("no-such-program", "nothing").missing().unwrap(),
            "no-such-program is not installed (package nothing)"
        );
        assert_eq!(
            Need::Symbol("no_such_symbol").missing().unwrap(),
            "this kernel has no no_such_symbol"
        );
        let format = "no_such/tracepoint";
        assert!(
            Need::Field(format, "location")
                .missing()
                .unwrap()
                .contains(format)
        );
    }
}
