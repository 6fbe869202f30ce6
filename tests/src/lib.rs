//! Broken nodes made of network namespaces.

pub mod cli;
