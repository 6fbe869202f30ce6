//! The network configuration as it stands, in lines.

use crate::event::of_each_device;
use crate::report::Setting;

/// The network configuration, a line for each thing. Kernel parameters of devices that are alike share one, in the
/// words of the shell: `sysctl net.ipv4.conf.{all,eth0}.rp_filter: 0`.
pub(super) fn lines(settings: &[Setting]) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>, String)> = Vec::new();
    for one in settings {
        let place = match one.netns.as_str() {
            "" => String::new(),
            netns => format!(" ({netns})"),
        };
        let value = match one.value.as_str() {
            "" => place,
            value => format!(": {value}{place}"),
        };
        const PARAMETER: &str = "sysctl ";
        let parts = one.object.strip_prefix(PARAMETER).and_then(of_each_device);
        let (begin, device, end) = match parts {
            Some((begin, device, end)) => (format!("{PARAMETER}{begin}"), Some(device), end),
            None => (one.object.clone(), None, ""),
        };
        let end = format!("{end}{value}");
        let alike = lines
            .iter_mut()
            .find(|line| device.is_some() && line.0 == begin && line.2 == end);
        match (alike, device) {
            (Some((_, devices, _)), Some(device)) => devices.push(device),
            _ => lines.push((begin, device.into_iter().collect(), end)),
        }
    }
    lines
        .into_iter()
        .map(|(begin, devices, end)| match devices[..] {
            [] => begin + &end,
            [device] => begin + device + &end,
            _ => format!("{begin}{{{}}}{end}", devices.join(",")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_devices_that_are_alike_share_a_line() {
        let setting = |object: &str, netns: &str, value: &str| Setting {
            object: object.to_owned(),
            netns: netns.to_owned(),
            value: value.to_owned(),
        };
        let told = lines(&[
            setting("IPv4 rule 0: from all lookup local", "", ""),
            setting("sysctl net.ipv4.conf.all.rp_filter", "", "0"),
            setting("sysctl net.ipv4.conf.eth0.rp_filter", "", "1"),
            setting("sysctl net.ipv4.conf.eth0.100.rp_filter", "", "0"),
            setting("sysctl net.ipv6.conf.all.rp_filter", "", "0"),
            setting("sysctl net.ipv4.conf.all.rp_filter", "red", "0"),
            setting("sysctl net.ipv4.ip_forward", "", "1"),
            setting("sysctl net.ipv4.ip_forward", "", "1"),
        ]);
        assert_eq!(
            told,
            [
                "IPv4 rule 0: from all lookup local",
                "sysctl net.ipv4.conf.{all,eth0.100}.rp_filter: 0",
                "sysctl net.ipv4.conf.eth0.rp_filter: 1",
                "sysctl net.ipv6.conf.all.rp_filter: 0",
                "sysctl net.ipv4.conf.all.rp_filter: 0 (red)",
                "sysctl net.ipv4.ip_forward: 1",
                "sysctl net.ipv4.ip_forward: 1",
            ]
        );
    }
}
