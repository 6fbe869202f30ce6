//! What the user calls namespaces and devices, gathered from the events that tell it.

use std::collections::BTreeMap;

use crate::event::Body;

/// Names of namespaces and devices.
#[derive(Clone, Debug, Default)]
pub struct Names {
    namespaces: BTreeMap<u32, String>,
    devices: BTreeMap<(u32, u32), String>,
}

impl Names {
    /// Takes over the names that an event tells.
    pub fn learn(&mut self, body: &Body) {
        match body {
            Body::Start(start) => {
                self.namespaces = start
                    .namespaces
                    .iter()
                    .map(|ns| (ns.inode, ns.name.clone()))
                    .collect();
            }
            Body::Namespace(namespace) => {
                self.namespaces.insert(namespace.inode, namespace.name.clone());
            }
            Body::Device(device) => {
                self.devices
                    .insert((device.netns, device.index), device.name.clone());
            }
            _ => {}
        }
    }

    /// `netns red 4026532201`; without a name, the inode alone. Inode 0 is one that is not known.
    #[must_use]
    pub fn netns(&self, inode: u32) -> String {
        match (inode, self.namespaces.get(&inode)) {
            (0, _) => "netns unknown".into(),
            (_, Some(name)) => format!("netns {name} {inode}"),
            (_, None) => format!("netns {inode}"),
        }
    }

    /// `eth0`; without a name, `device 7`. Index 0 is no device.
    #[must_use]
    pub fn device(&self, netns: u32, index: u32) -> String {
        match (index, self.devices.get(&(netns, index))) {
            (0, _) => "no known device".into(),
            (_, Some(name)) => name.clone(),
            (_, None) => format!("device {index}"),
        }
    }
}
