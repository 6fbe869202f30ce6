//! `lab incident`: the story of an incident, as it happens.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::incident::Variant;
use crate::incident::proof::{self, Told};
use crate::signals::{Signals, Wake};

/// Plays an incident, and tells it line by line.
pub(super) fn tell(variant: &Variant, program: &Path, signals: &Signals) -> Result<i32> {
    println!("{}: {}\n{}\n", variant.name, variant.title, variant.breaks);
    let mut told = Told::default();
    proof::play(variant, program, &mut told, &mut |line| {
        if let Wake::End { signal, .. } = signals.wait(Duration::ZERO)? {
            bail!("ended by signal {signal}");
        }
        println!("{line}");
        Ok(())
    })?;
    println!("\nThe tracer has said all of it, and in this order:");
    for (what, when) in told.moments {
        println!("  {when}  {what}");
    }
    Ok(0)
}
