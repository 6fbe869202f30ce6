//! Statistics of connection tracking, by ctnetlink.

use super::Value;
use crate::event::Source;
use crate::node::netlink::{self, array_at, attributes};

/// What answers. The kernel would load it by itself when it is asked; tracer changes nothing on the node.
pub(super) const MODULES: [&str; 2] = ["nfnetlink", "nf_conntrack_netlink"];

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_GET_STATS_CPU` (include/uapi/linux/netfilter/nfnetlink*.h).
const GET_STATS_CPU: u16 = 1 << 8 | 4;
/// Length of `struct nfgenmsg`.
const HEADER: usize = 4;
/// `enum ctattr_stats_cpu`, as `conntrack -S` names them.
const NAMES: [(u16, &str); 6] = [
    (4, "invalid"),
    (9, "insert_failed"),
    (10, "drop"),
    (11, "early_drop"),
    (12, "error"),
    (15, "chaintoolong"),
];

/// Adds the statistics of this thread's namespace, summed up over all CPUs.
pub(super) fn read(values: &mut Vec<Value>) -> Result<(), String> {
    match netlink::dump(netlink::NETFILTER, GET_STATS_CPU, &[0; HEADER], |body| {
        Some(parse(body))
    }) {
        Ok(cpus) => {
            values.extend(NAMES.iter().enumerate().map(|(place, (_, name))| Value {
                source: Source::Conntrack,
                device: 0,
                name: (*name).to_owned(),
                value: cpus.iter().map(|cpu| u64::from(cpu[place])).sum(),
            }));
            Ok(())
        }
        // This kernel is built without it, and then there is nothing to be lost in it.
        Err(error) if error.is_unsupported() => Ok(()),
        Err(error) => Err(format!("Statistics of connection tracking: {error}.")),
    }
}

/// The numbers of one CPU, in the order of [`NAMES`].
fn parse(body: &[u8]) -> [u32; NAMES.len()] {
    let mut numbers = [0; NAMES.len()];
    for (kind, value) in body.get(HEADER..).map(attributes).into_iter().flatten() {
        if let Some(place) = NAMES.iter().position(|(number, _)| *number == kind) {
            numbers[place] = array_at(value, 0).map_or(0, u32::from_be_bytes);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_cpu_are_read() {
        let mut body = vec![0; HEADER];
        for (kind, number) in [(2_u16, 9_u32), (10, 3), (15, 1)] {
            body.extend(8_u16.to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(number.to_be_bytes());
        }
        assert_eq!(parse(&body), [0, 0, 3, 0, 0, 1]);
        assert_eq!(parse(&body[..9]), [0; 6]);
        assert_eq!(parse(&[]), [0; 6]);
    }
}
