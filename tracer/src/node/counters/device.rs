//! The statistics that every device has.

use super::Value;
use crate::event::Source;
use crate::node::netlink::{self, attributes, u64_at};

// include/uapi/linux/rtnetlink.h, if_link.h
const RTM_GETLINK: u16 = 18;
const IFLA_STATS64: u16 = 23;
/// Length of `struct ifinfomsg`.
const HEADER: usize = 16;
/// What of `struct rtnl_link_stats64` tells losses, by its place in it. A kernel may end before the last ones.
/// `rx_errors` is the sum of the errors that the driver counts apart, so these are left out.
const NAMES: [(usize, &str); 9] = [
    (4, "rx_errors"),
    (5, "tx_errors"),
    (6, "rx_dropped"),
    (7, "tx_dropped"),
    (12, "rx_crc_errors"),
    (14, "rx_fifo_errors"),
    (15, "rx_missed_errors"),
    (23, "rx_nohandler"),
    (24, "rx_otherhost_dropped"),
];

/// Adds the statistics of a device of this thread's namespace; none where it is gone.
pub(super) fn read(index: u32, values: &mut Vec<Value>) -> Result<(), String> {
    let mut request = [0; HEADER];
    request[4..8].copy_from_slice(&index.to_ne_bytes());
    match netlink::get(netlink::ROUTE, RTM_GETLINK, &request, |body| {
        Some(parse(index, body))
    }) {
        Ok(found) => {
            values.extend(found.into_iter().flatten());
            Ok(())
        }
        Err(error) if error.is_gone() => Ok(()),
        Err(error) => Err(format!("Statistics of devices: {error}.")),
    }
}

fn parse(index: u32, body: &[u8]) -> Vec<Value> {
    let attributes = body.get(HEADER..).map(attributes).into_iter().flatten();
    attributes
        .filter(|(kind, _)| *kind == IFLA_STATS64)
        .flat_map(|(_, numbers)| {
            NAMES.iter().filter_map(move |(place, name)| {
                Some(Value {
                    source: Source::Device,
                    device: index,
                    name: (*name).to_owned(),
                    value: u64_at(numbers, 8 * place)?,
                })
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_a_shorter_kernel_are_read() {
        let mut body = vec![0; HEADER];
        body.extend(u16::try_from(4 + 8 * 23).unwrap().to_ne_bytes());
        body.extend(IFLA_STATS64.to_ne_bytes());
        body.extend((0..23_u64).flat_map(u64::to_ne_bytes));
        let values = parse(7, &body);
        assert_eq!(values.len(), NAMES.len() - 2, "without the last two");
        assert!(values.iter().all(|value| value.device == 7));
        let missed = values
            .iter()
            .find(|value| value.name == "rx_missed_errors")
            .unwrap();
        assert_eq!(missed.value, 15);
        for length in 0..body.len() {
            assert!(parse(7, &body[..length]).is_empty(), "no panic, nothing invented");
        }
    }

    #[test]
    fn loopback_has_statistics_and_a_device_that_is_gone_none() {
        let mut values = Vec::new();
        read(1, &mut values).unwrap();
        assert!(values.iter().any(|value| value.name == "rx_dropped"));
        values.clear();
        read(i32::MAX.unsigned_abs(), &mut values).unwrap();
        assert_eq!(values, []);
    }
}
