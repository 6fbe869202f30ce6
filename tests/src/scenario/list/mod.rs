//! The scenarios, a file for each stage of the way of a packet.

mod actors;
mod astray;
mod delivery;
mod device;
mod everyday;
mod forward;
mod header;
mod netfilter;
mod path;
mod process;
mod routing;
mod sound;
mod transport;

use super::Stage;

/// What all files of the list are made of.
mod prelude {
    pub(super) use crate::bpf::{Hook, Way, Word};
    pub(super) use crate::scenario::{
        Actor, Class, Column, Expectation, ExpectedDrop, Need, Place, Scenario, Step,
    };
    pub(super) use crate::traffic::{Frame, Role};
}

/// Every scenario, stage by stage.
pub static STAGES: &[Stage] = &[
    Stage {
        title: "nothing is broken",
        scenarios: sound::ALL,
    },
    Stage {
        title: "nothing is broken: what goes on around every node",
        scenarios: everyday::ALL,
    },
    Stage {
        title: "devices, XDP, tc and the ingress hook",
        scenarios: device::ALL,
    },
    Stage {
        title: "headers and fragments of IP",
        scenarios: header::ALL,
    },
    Stage {
        title: "netfilter",
        scenarios: netfilter::ALL,
    },
    Stage {
        title: "routing: which way, and from where",
        scenarios: routing::ALL,
    },
    Stage {
        title: "forwarding: to pods and elsewhere",
        scenarios: forward::ALL,
    },
    Stage {
        title: "delivery on the node: protocols and tunnels",
        scenarios: delivery::ALL,
    },
    Stage {
        title: "transport: sockets of TCP, UDP and ICMP",
        scenarios: transport::ALL,
    },
    Stage {
        title: "processes that do not take what waits for them",
        scenarios: process::ALL,
    },
    Stage {
        title: "in front of the node",
        scenarios: path::ALL,
    },
    Stage {
        title: "led astray on the node itself",
        scenarios: astray::ALL,
    },
];
