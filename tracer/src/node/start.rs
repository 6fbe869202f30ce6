//! The first event of every stream.

use std::fs;

use super::{Netns, clock};
use crate::event::{Namespace, Start};

/// Where and with what the tracer starts. `namespaces` are those that it watches.
///
/// The boot id is empty where /proc does not give it.
#[must_use]
pub fn start(namespaces: &[Netns]) -> Start {
    let system = rustix::system::uname();
    Start {
        tracer: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: system.release().to_string_lossy().into_owned(),
        host: system.nodename().to_string_lossy().into_owned(),
        boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|text| text.trim().to_owned())
            .unwrap_or_default(),
        wall_offset: clock::wall_offset(),
        namespaces: namespaces.iter().map(Namespace::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_says_what_the_kernel_says() {
        let here = Netns::current().unwrap();
        let start = start(std::slice::from_ref(&here));
        let kernel = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap();
        assert_eq!(start.kernel, kernel("osrelease").trim());
        assert_eq!(start.host, kernel("hostname").trim());
        assert_eq!(start.boot_id.len(), 36);
        assert_eq!(
            start.namespaces,
            [Namespace {
                inode: here.inode(),
                name: "host".to_owned(),
                ..Namespace::default()
            }]
        );
    }
}
