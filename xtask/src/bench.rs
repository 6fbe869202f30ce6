//! `cargo xtask bench`: stub
use anyhow::Result;
pub(crate) fn main() -> Result<u8> {
    Ok(0)
}
