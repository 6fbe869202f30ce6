//! The lab's command line.

/// Stub: the lab is not written yet.
///
/// # Errors
/// Always.
pub fn main(args: Vec<String>) -> anyhow::Result<i32> {
    anyhow::bail!("lab: is not there yet, so it cannot do {args:?}; wait for it")
}
