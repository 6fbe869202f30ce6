//! Suspending this machine, and having it wake up by itself.

use std::fs;

use anyhow::{Context, Result};

/// The states that the kernel can be brought to (Documentation/admin-guide/pm/sleep-states.rst).
const STATE: &str = "/sys/power/state";
/// The one in which all but the memory has no power.
const TO_MEMORY: &str = "mem";
/// What wakes it up: the alarm of its clock (Documentation/ABI/testing/sysfs-class-rtc).
const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";

/// Why this machine cannot be suspended for a time; `None` where it can.
pub fn missing() -> Option<String> {
    let states = match fs::read_to_string(STATE) {
        Ok(states) => states,
        Err(error) => return Some(format!("it cannot be suspended: {STATE}: {error}")),
    };
    if !states.split_whitespace().any(|state| state == TO_MEMORY) {
        return Some(format!("it cannot be suspended: {STATE} has no {TO_MEMORY}"));
    }
    match fs::metadata(ALARM) {
        Ok(_) => None,
        Err(error) => Some(format!("nothing would wake it up: {ALARM}: {error}")),
    }
}

/// Suspends it for so many seconds; it is awake again when this returns.
///
/// # Errors
/// If it cannot be.
pub fn suspend(seconds: u32) -> Result<()> {
    let write =
        |path: &str, text: &str| fs::write(path, text).with_context(|| format!("{path}: cannot be written"));
    // An alarm that was set is in the way of another.
    write(ALARM, "0")?;
    write(ALARM, &format!("+{seconds}"))?;
    write(STATE, TO_MEMORY)
}
