//! Broken nodes made of network namespaces: the way to try the tracer, and to test it, without a node
//! that is really broken.
//!
//! [`lab::Lab`] is the topology and the traffic on it, [`scenario`] holds what can be broken and what the
//! tracer should say about it, [`cli`] puts a tracer on it for a person to look at; [`tracer`] and [`terminal`]
//! do so for the tests. [`check`] runs a scenario, [`judge`] tells what is not as expected, [`unseen`] what
//! the machine kept from all programs meanwhile, and [`prove`] how many are as expected. Everything that is made
//! goes away when its value is dropped, and also when the process is killed: see [`keeper`].

pub mod bpf;
pub mod cgroup;
pub mod check;
pub mod cli;
pub mod conntrack;
pub mod folder;
pub mod incident;
pub mod judge;
pub mod keeper;
pub mod lab;
pub mod load;
// The same file as the tracer's: the lab needs no more of that crate.
#[path = "../../tracer/src/near.rs"]
pub mod near;
pub mod netns;
pub mod process;
pub mod prove;
pub mod recorded;
pub mod scenario;
pub mod signals;
pub mod suspend;
pub mod terminal;
pub mod tracefs;
pub mod tracer;
pub mod traffic;
pub mod unseen;
pub mod world;
