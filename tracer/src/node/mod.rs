//! What is learnt about the node without BPF: its namespaces, devices, sockets, processes and clocks.
//!
//! Everything here only reads. No IP socket is opened, no kernel module is caused to be loaded, and no
//! namespace is kept alive by being watched (by [`config`] for no longer than a second). What is found leaves as [`crate::event`] types.

pub mod cgroup;
pub mod chains;
pub mod clock;
pub mod clocks;
pub mod config;
pub mod counters;
pub mod devices;
pub mod droppers;
mod ended;
pub mod fragments;
pub(crate) mod held;
mod inotify;
pub mod journal;
mod links;
mod modules;
pub mod names;
pub mod namespace;
mod netlink;
pub mod owners;
pub mod packages;
pub mod peers;
pub mod preflight;
mod proc_net;
mod regular;
mod rules;
pub mod sockets;
pub mod source;
mod start;
pub mod systemd;
mod text;
mod unwatched;
mod visitor;
pub mod xtables;

pub use ended::Memory;
pub use namespace::Netns;
pub use owners::Owners;
pub use start::start;
