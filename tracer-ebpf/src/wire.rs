//! A file for what each group of types is for.

mod books;
mod flow;
mod neighbour;
#[cfg(feature = "user")]
mod pod;
mod process;
mod ring;
mod setup;

pub use books::*;
pub use flow::*;
pub use neighbour::*;
pub use process::*;
pub use ring::*;
pub use setup::*;
