//! Broken nodes made of network namespaces.
