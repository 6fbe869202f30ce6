//! The real tshark reads a trace.
