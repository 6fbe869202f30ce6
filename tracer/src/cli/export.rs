//! `tracer export`: a recording in a form that other tools take.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use super::output::{say, say_skipped, says_gone};
use crate::trace;
use crate::trace::export::{End, Exported, Format, export};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The recording
    file: PathBuf,
    /// pcapng (Wireshark) or jsonl (one event a line)
    #[arg(long, default_value = "pcapng")]
    format: Format,
    /// Where to: a new file, or - for standard output
    #[arg(long, value_name = "PATH|-", default_value = "-")]
    out: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let to_stdout = arguments.out.as_os_str() == "-";
    let done = if to_stdout {
        write(arguments, std::io::stdout().lock())
    } else {
        to_file(arguments)
    };
    match done {
        Err(error) if to_stdout && says_gone(error.as_ref()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
        Ok(exported) => {
            if arguments.format == Format::Jsonl {
                say_skipped(&arguments.file, exported.skipped);
            }
            match exported.end {
                End::Whole => Ok(ExitCode::SUCCESS),
                End::Torn(torn) => {
                    say(&format!("{}: {torn}", arguments.file.display()));
                    Ok(ExitCode::SUCCESS)
                }
                End::Broken(error) => Err(error.into()),
            }
        }
    }
}

fn to_file(arguments: &Arguments) -> Result<Exported> {
    let path = &arguments.out;
    let file = trace::create(path).with_context(|| {
        format!(
            "{}: cannot be made; name a file that is not there yet",
            path.display()
        )
    })?;
    let done = write(arguments, file);
    if done.is_err() {
        // Half an export would only stand in the way of the next try.
        let _ = std::fs::remove_file(path);
    }
    done
}

fn write(arguments: &Arguments, out: impl Write) -> Result<Exported> {
    let mut out = BufWriter::new(out);
    let exported = export(&arguments.file, arguments.format, &mut out)?;
    out.flush().context("the export cannot be written")?;
    Ok(exported)
}
